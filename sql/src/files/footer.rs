//! What a Parquet file says about itself: its columns, and where and how many its rows are.

use std::sync::Arc;

use arrow_schema::DataType;
use omen_core::env::catch_panic;
use omen_core::readable::ReadableFile;
use omen_core::types::PgType;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::ParquetMetaDataReader;

use super::{check_column_count, columns};
use crate::error::{Result, SqlError, SqlState};

/// Bytes behind the footer: its length and the magic bytes.
const TAIL_BYTES: usize = 8;

/// Largest footer that is read.
const FOOTER_BYTES_MAX: usize = 64 << 20;

/// What a file says about itself.
pub(crate) struct Footer {
    /// For the reader of Parquet.
    pub(super) metadata: ArrowReaderMetadata,
    /// Names and types of the columns.
    pub(super) columns: Vec<(String, PgType)>,
}

/// XX001: a file is not what it should be.
pub(super) fn damaged(path: &str, why: impl std::fmt::Display) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("could not read file \"{path}\": {why}"))
}

impl Footer {
    /// Reads the footer of a file.
    ///
    /// # Errors
    /// XX001 if it is not Parquet; 0A000 for types without a counterpart.
    pub(super) async fn read(file: &dyn ReadableFile, path: &str) -> Result<Footer> {
        let size_bytes = file.size_bytes();
        let Some(tail_at) = size_bytes.checked_sub(TAIL_BYTES as u64) else {
            return Err(damaged(path, "it is too short for a Parquet file"));
        };
        let tail = file.read(tail_at, TAIL_BYTES).await?;
        let [a, b, c, d, b'P', b'A', b'R', b'1'] = tail[..] else {
            return Err(damaged(path, "it does not end as a Parquet file does"));
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        let footer_at = tail_at.checked_sub(length.into());
        let (Some(footer_at), true) = (footer_at, length as usize <= FOOTER_BYTES_MAX) else {
            return Err(damaged(path, format!("a footer of {length} bytes")));
        };
        let bytes = file.read(footer_at, length as usize).await?;
        let decoded = catch_panic(async {
            let metadata = ParquetMetaDataReader::decode_metadata(&bytes)?;
            // What Arrow writes beside the types of Parquet would give other arrays for the same column.
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            ArrowReaderMetadata::try_new(Arc::new(metadata), options)
        });
        let metadata = decoded.await.map_err(|why| damaged(path, why))?.map_err(|why| damaged(path, why))?;
        let columns = columns_of(path, &metadata)?;
        check_row_groups(path, &metadata, size_bytes)?;
        Ok(Footer { metadata, columns })
    }

    /// Number of its rows.
    pub(super) fn row_count(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }
}

fn columns_of(path: &str, metadata: &ArrowReaderMetadata) -> Result<Vec<(String, PgType)>> {
    let fields = metadata.schema().fields();
    check_column_count(path, fields.len())?;
    let column = |field: &Arc<arrow_schema::Field>| match columns::pg_type(field.data_type()) {
        Some(pg_type) => Ok((field.name().clone(), pg_type)),
        None => {
            let message = format!("column \"{}\" of file \"{path}\"", field.name());
            let hint =
                format!("Its type is {}, which has no counterpart here.", type_name(field.data_type()));
            Err(SqlError::unsupported(message, hint))
        }
    };
    fields.iter().map(column).collect()
}

fn type_name(data_type: &DataType) -> String {
    if data_type.is_nested() { "nested".to_owned() } else { data_type.to_string() }
}

/// Whether all columns lie in the file, and numbers of rows are numbers.
fn check_row_groups(path: &str, metadata: &ArrowReaderMetadata, size_bytes: u64) -> Result<()> {
    let mut rows = 0i64;
    for group in metadata.metadata().row_groups() {
        let more = rows.checked_add(group.num_rows()).filter(|_| group.num_rows() >= 0);
        rows = more.ok_or_else(|| damaged(path, "numbers of rows that cannot be"))?;
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let lies_inside = start >= 0
                && column.compressed_size() >= 0
                && end.and_then(|end| u64::try_from(end).ok()).is_some_and(|end| end <= size_bytes);
            if !lies_inside {
                return Err(damaged(path, "a column lies outside of it"));
            }
        }
    }
    if rows != metadata.metadata().file_metadata().num_rows() {
        return Err(damaged(path, "numbers of rows that do not agree"));
    }
    Ok(())
}
