//! Reading the rows of a file. Of Parquet one row group after the other, of each only the columns that are needed: their
//! bytes are in memory while it is decoded, within `work_mem`, and other work of the core has its turn after every batch.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use omen_core::env::catch_panic;
use omen_core::filter::ColumnFilter;
use omen_core::fragment::BATCH_ROWS;
use omen_core::readable::ReadableFile;
use omen_core::router::Router;
use omen_core::types::PgType;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};

use super::csv::CsvRows;
use super::footer::{Footer, damaged};
use super::{Contents, columns, prune};
use crate::error::{Result, SqlError, SqlState};
use crate::execute::Watch;
use crate::execute::query::{Reader, Running, scan_types};
use crate::fragment::local::{Given, LocalRun};
use crate::fragment::{batch_of, out_of_memory, schema_of};
use crate::physical::{ScanPlan, Step};

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// A file whose rows go through a pipeline.
pub(crate) struct RunningFile<R: Router> {
    rows: Option<FileRows<R>>,
    pipeline: LocalRun,
    /// A transaction that lasts as long as the scan.
    txn: Option<R::Txn>,
}

impl<R: Router> RunningFile<R> {
    /// The next batch; never an empty one.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.pipeline.next().await? {
                Given::Batch(batch) => return Ok(Some(batch)),
                Given::End => {
                    (self.rows, self.txn) = (None, None);
                    return Ok(None);
                }
                Given::Input => {}
            }
            let next = match &mut self.rows {
                Some(rows) => rows.next().await?,
                None => None,
            };
            match next {
                Some(batch) => self.pipeline.push(batch),
                None => {
                    self.rows = None;
                    self.pipeline.end();
                }
            }
        }
    }
}

impl<R: Router> Reader<'_, R> {
    /// Starts a scan of a file. Row groups in which no row passes the filters may be left out; nothing else is.
    pub(crate) async fn start_file(
        &self,
        scan: &ScanPlan,
        steps: &[Step],
        filters: &[ColumnFilter],
        txn: Option<R::Txn>,
    ) -> Result<Running<R>> {
        let path = &scan.table.name;
        let (file, contents) = Contents::read(self.router, path).await?;
        let known = scan.table.schema.columns.iter().filter(|column| !column.hidden);
        if !known
            .map(|column| (&column.name, column.pg_type))
            .eq(contents.columns().iter().map(|(name, pg_type)| (name, *pg_type)))
        {
            let message = format!("file \"{path}\" has other columns than when the statement was prepared");
            let error = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
            return Err(error.hint("Prepare the statement again."));
        }
        let types = scan_types(scan);
        let pipeline = self.pipeline(types.clone(), scan.fragment.iter().chain(steps))?;
        let rows = match contents {
            Contents::Parquet(footer) => {
                FileRows::Parquet(Box::new(self.parquet_rows(scan, file, footer, filters, &types)))
            }
            Contents::Csv(layout) => {
                let watch = self.watch.clone();
                FileRows::Csv(Box::new(CsvRows::new(file, path, layout, &scan.columns, &types, watch)?))
            }
        };
        Ok(Running::File(Box::new(RunningFile {
            rows: Some(rows),
            pipeline: self.start_local(&pipeline),
            txn,
        })))
    }

    fn parquet_rows(
        &self,
        scan: &ScanPlan,
        file: Rc<dyn ReadableFile>,
        footer: Footer,
        filters: &[ColumnFilter],
        types: &[PgType],
    ) -> ParquetRows<R> {
        ParquetRows {
            path: scan.table.name.clone(),
            file,
            groups: groups_of(&footer, filters).into_iter(),
            mask: ProjectionMask::roots(
                footer.metadata.parquet_schema(),
                scan.columns.iter().copied().filter(|column| *column < footer.columns.len()),
            ),
            places: places_of(&scan.columns, footer.columns.len()),
            footer,
            schema: schema_of(types),
            decoder: None,
            row: 0,
            memory_bytes: self.context.surroundings.memory_bytes,
            watch: self.watch.clone(),
        }
    }
}

/// The rows of a file as batches.
enum FileRows<R: Router> {
    Parquet(Box<ParquetRows<R>>),
    Csv(Box<CsvRows<R>>),
}

impl<R: Router> FileRows<R> {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self {
            FileRows::Parquet(rows) => rows.next().await,
            FileRows::Csv(rows) => rows.next().await,
        }
    }
}

/// A row group, and how many rows lie before it.
struct Group {
    number: usize,
    first_row: i64,
}

fn groups_of(footer: &Footer, filters: &[ColumnFilter]) -> Vec<Group> {
    let (mut first_row, mut groups) = (0, Vec::new());
    for (number, group) in footer.metadata.metadata().row_groups().iter().enumerate() {
        if prune::may_match(group, &footer.columns, filters) {
            groups.push(Group { number, first_row });
        }
        first_row += group.num_rows();
    }
    groups
}

/// For each column that is wanted its place among those that the file gives, which are in the file's order; none for the
/// number of the row.
fn places_of(wanted: &[usize], column_count: usize) -> Vec<Option<usize>> {
    let mut given: Vec<usize> = wanted.iter().copied().filter(|column| *column < column_count).collect();
    given.sort_unstable();
    given.dedup();
    wanted.iter().map(|column| given.binary_search(column).ok()).collect()
}

/// The rows of a Parquet file as batches.
struct ParquetRows<R: Router> {
    path: String,
    file: Rc<dyn ReadableFile>,
    footer: Footer,
    groups: std::vec::IntoIter<Group>,
    mask: ProjectionMask,
    places: Vec<Option<usize>>,
    schema: SchemaRef,
    decoder: Option<ParquetPushDecoder>,
    /// The number of the next row.
    row: i64,
    memory_bytes: usize,
    watch: Watch<R>,
}

impl<R: Router> ParquetRows<R> {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.watch.check()?;
            let Some(decoder) = &mut self.decoder else {
                let Some(group) = self.groups.next() else { return Ok(None) };
                self.row = group.first_row;
                let builder = ParquetPushDecoderBuilder::new_with_metadata(self.footer.metadata.clone())
                    .with_row_groups(vec![group.number])
                    .with_projection(self.mask.clone())
                    .with_batch_size(BATCH_ROWS);
                self.decoder = Some(builder.build().map_err(|why| damaged(&self.path, why))?);
                continue;
            };
            let decoded = catch_panic(async { decoder.try_decode() }).await;
            let decoded = decoded.map_err(|why| damaged(&self.path, why))?;
            match decoded.map_err(|why| damaged(&self.path, why))? {
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.read(&ranges).await?;
                    if let Some(decoder) = &mut self.decoder {
                        decoder.push_ranges(ranges, bytes).map_err(|why| damaged(&self.path, why))?;
                    }
                }
                DecodeResult::Data(batch) => {
                    self.watch.give_way().await?;
                    return self.converted(&batch).map(Some);
                }
                DecodeResult::Finished => self.decoder = None,
            }
        }
    }

    /// What a row group's columns take; together no more than `work_mem`.
    async fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let size_bytes =
            ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.end.saturating_sub(range.start)));
        if usize::try_from(size_bytes).map_or(true, |size| size > self.memory_bytes) {
            return Err(out_of_memory("a row group of a file", self.memory_bytes).into());
        }
        let mut all = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut bytes = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
            let mut at = range.start;
            while at < range.end {
                self.watch.check()?;
                let size = (range.end - at).min(READ_BYTES);
                bytes.extend(self.file.read(at, usize::try_from(size).expect("a MiB")).await?);
                at += size;
            }
            all.push(Bytes::from(bytes));
        }
        Ok(all)
    }

    /// A batch with the columns that are wanted.
    fn converted(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.places.len());
        for place in &self.places {
            arrays.push(match place {
                Some(place) => columns::convert(batch.column(*place))?,
                None => Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|row| self.row + row))),
            });
        }
        self.row += rows as i64;
        let expected = self.schema.fields().iter().map(|field| field.data_type());
        if !arrays.iter().map(|array| array.data_type()).eq(expected) {
            return Err(damaged(&self.path, "columns of other types than it says"));
        }
        Ok(batch_of(&self.schema, arrays, rows))
    }
}
