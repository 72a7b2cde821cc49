//! What a Parquet file says about itself: its columns, and where and how many its rows are.

use std::rc::Rc;
use std::sync::Arc;

use arrow_schema::DataType;
use omen_core::catalog::{COLUMNS_MAX, Column, TableSchema};
use omen_core::env::catch_panic;
use omen_core::learned::IndexKind;
use omen_core::readable::ReadableFile;
use omen_core::router::Router;
use omen_core::types::PgType;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::ParquetMetaDataReader;

use super::columns;
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

/// An error of the engine about a file, with what to do about it.
fn with_hint(error: omen_core::Error) -> SqlError {
    let error = SqlError::from(error);
    if error.state == SqlState::INSUFFICIENT_PRIVILEGE {
        return error.hint(
            "Files can be read below the one folder that the node is started with: --read-files-below DIR.",
        );
    }
    error
}

impl Footer {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    /// 42501 if it may not be read; 58P01 if there is none; XX001 if it is not Parquet; 0A000 for types without a
    /// counterpart.
    pub(crate) async fn read<R: Router>(router: &R, path: &str) -> Result<(Rc<dyn ReadableFile>, Footer)> {
        let file = router.readable_file(path).await.map_err(with_hint)?;
        if !path.to_ascii_lowercase().ends_with(".parquet") {
            let hint = "Files in FROM are Parquet files, with names that end in \".parquet\".";
            return Err(SqlError::unsupported(format!("reading file \"{path}\" in place"), hint));
        }
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
        Ok((file, Footer { metadata, columns }))
    }

    /// Number of its rows.
    pub(crate) fn row_count(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// The table that the file is, with a hidden key.
    pub(super) fn schema(&self) -> TableSchema {
        let column = |name: &str, pg_type: PgType, hidden: bool| Column {
            name: name.to_owned(),
            pg_type,
            not_null: hidden,
            default: None,
            hidden,
        };
        let mut columns: Vec<Column> =
            self.columns.iter().map(|(name, pg_type)| column(name, *pg_type, false)).collect();
        columns.push(column("row number", PgType::Int8, true));
        let key = vec![columns.len() - 1];
        TableSchema { columns, key, key_name: None, index: IndexKind::Auto }
    }
}

fn columns_of(path: &str, metadata: &ArrowReaderMetadata) -> Result<Vec<(String, PgType)>> {
    let fields = metadata.schema().fields();
    if fields.len() >= COLUMNS_MAX {
        let message =
            format!("file \"{path}\" has {} columns, {} are allowed", fields.len(), COLUMNS_MAX - 1);
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
    }
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
