//! The rows of a CSV file as batches, with the values of those columns alone that are asked for.

use std::rc::Rc;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::SchemaRef;
use omen_core::fragment::BATCH_ROWS;
use omen_core::readable::ReadableFile;
use omen_core::router::Router;
use omen_core::types::{Datum, PgType};

use super::form;
use super::lines::Lines;
use super::sample::Layout;
use crate::copy::Row;
use crate::error::{Result, SqlError};
use crate::execute::Watch;
use crate::execute::rows::array_of;
use crate::fragment::{batch_of, schema_of};
use crate::types::text::utf8;

/// Rows between two looks at the clock.
const TURN_ROWS: usize = 16;

/// Values of a batch: made into arrays within a quarter of a millisecond.
const BATCH_VALUES: usize = 16 << 10;

/// Bytes of text of a batch, beyond which it takes no more rows.
const BATCH_BYTES: usize = 1 << 20;

/// The rows of a file.
pub(in crate::files) struct CsvRows<R: Router> {
    lines: Lines,
    /// Whether all pieces were read.
    at_end: bool,
    column_count: usize,
    batch: Batch,
    rows_max: usize,
    schema: SchemaRef,
    /// The number of the batch's first row.
    first_row: i64,
    watch: Watch<R>,
}

/// The values of a column.
enum Values {
    Text(StringBuilder),
    Other(PgType, Vec<Datum>),
    /// The number of the row.
    Number,
}

/// The rows of a batch.
struct Batch {
    /// With the column of the file that each is.
    columns: Vec<(usize, Values)>,
    row_count: usize,
    text_bytes: usize,
}

impl<R: Router> CsvRows<R> {
    /// Those of a file with such a layout. `wanted`: columns of the file, or the one behind the last for the number of
    /// the row; `types` are theirs.
    pub(in crate::files) fn new(
        file: Rc<dyn ReadableFile>,
        path: &str,
        layout: Layout,
        wanted: &[usize],
        types: &[PgType],
        watch: Watch<R>,
    ) -> Result<CsvRows<R>> {
        let column_count = layout.columns.len();
        let values = |(column, pg_type): (&usize, &PgType)| {
            let values = match pg_type {
                _ if *column >= column_count => Values::Number,
                PgType::Text => Values::Text(StringBuilder::new()),
                pg_type => Values::Other(*pg_type, Vec::new()),
            };
            (*column, values)
        };
        let names = layout.columns.into_iter().map(|(name, _)| name).collect();
        Ok(CsvRows {
            lines: Lines::new(file, path, layout.delimiter, layout.has_header, names)?,
            at_end: false,
            column_count,
            batch: Batch {
                columns: wanted.iter().zip(types).map(values).collect(),
                row_count: 0,
                text_bytes: 0,
            },
            rows_max: (BATCH_VALUES / wanted.len().max(1)).clamp(TURN_ROWS, BATCH_ROWS),
            schema: schema_of(types),
            first_row: 0,
            watch,
        })
    }

    /// The next batch; none at the end.
    ///
    /// # Errors
    /// 22P02, 22003, 22008, 22021 and 22P04 with the file, the line and the column for what does not fit; XX001 if the
    /// file has become shorter; those of [`Watch::check`].
    pub(in crate::files) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.watch.give_way().await?;
            if self.take_rows().await? {
                return Ok(Some(self.take_batch()));
            }
            if self.at_end {
                return Ok((self.batch.row_count > 0).then(|| self.take_batch()));
            }
            self.at_end = !self.lines.fill().await?;
        }
    }

    /// Takes rows until the batch is full, which it answers, or all that was read is looked at.
    async fn take_rows(&mut self) -> Result<bool> {
        let CsvRows { lines, at_end, column_count, batch, rows_max, watch, .. } = self;
        let mut turn_us = watch.router().monotonic_us();
        let mut rows = if *at_end { lines.finish() } else { lines.rows() };
        let is_full = loop {
            let Some(row) = rows.next()? else { break false };
            batch.add(row, *column_count)?;
            if batch.row_count >= *rows_max || batch.text_bytes >= BATCH_BYTES {
                break true;
            }
            if batch.row_count.is_multiple_of(TURN_ROWS) {
                turn_us = watch.take_turns(turn_us).await?;
            }
        };
        let rest_bytes = rows.rest_bytes();
        if !*at_end {
            lines.stop(rest_bytes);
        }
        Ok(is_full)
    }

    fn take_batch(&mut self) -> RecordBatch {
        let rows = self.batch.row_count;
        let arrays = self.batch.take_arrays(self.first_row);
        self.first_row += rows as i64;
        batch_of(&self.schema, arrays, rows)
    }
}

impl Batch {
    fn add(&mut self, row: Row<'_>, column_count: usize) -> Result<()> {
        // A line that is too short is an error whatever is asked for.
        row.field(column_count - 1)?;
        for (column, values) in &mut self.columns {
            match values {
                Values::Number => {}
                Values::Text(builder) => match row.field(*column)? {
                    None => builder.append_null(),
                    Some(field) => {
                        let text = utf8(field).map_err(|error| row.locate_column(error.into(), *column))?;
                        builder.append_value(text);
                        self.text_bytes += text.len();
                    }
                },
                Values::Other(pg_type, values) => values.push(match row.field(*column)? {
                    None => Datum::Null,
                    Some(field) => form::value(*pg_type, field)
                        .map_err(|error| row.locate_column(misfit(error), *column))?,
                }),
            }
        }
        self.row_count += 1;
        Ok(())
    }

    fn take_arrays(&mut self, first_row: i64) -> Vec<ArrayRef> {
        let rows = std::mem::take(&mut self.row_count) as i64;
        self.text_bytes = 0;
        let array = |(_, values): &mut (usize, Values)| match values {
            Values::Number => Arc::new(Int64Array::from_iter_values(first_row..first_row + rows)) as ArrayRef,
            Values::Text(builder) => Arc::new(builder.finish()),
            Values::Other(pg_type, values) => {
                let array = array_of(*pg_type, values.iter());
                values.clear();
                array
            }
        };
        self.columns.iter_mut().map(array).collect()
    }
}

/// The error with what to do about it.
fn misfit(error: SqlError) -> SqlError {
    error.hint("Types of columns come from the first part of a file. COPY reads it into a table with others.")
}
