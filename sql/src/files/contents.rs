//! What is known of a file before its rows are read, by the kind that its name tells.

use std::rc::Rc;

use omen_core::catalog::{COLUMNS_MAX, Column, TableSchema};
use omen_core::learned::IndexKind;
use omen_core::readable::ReadableFile;
use omen_core::router::Router;
use omen_core::types::PgType;

use super::csv::Layout;
use super::footer::Footer;
use crate::error::{Result, SqlError, SqlState};

/// What is known of a file before its rows are read.
pub(crate) enum Contents {
    /// A Parquet file.
    Parquet(Footer),
    /// A CSV file.
    Csv(Layout),
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

/// 54011 for more columns than a table can have.
pub(super) fn check_column_count(path: &str, count: usize) -> Result<()> {
    if count < COLUMNS_MAX {
        return Ok(());
    }
    let message = format!("file \"{path}\" has more than {} columns", COLUMNS_MAX - 1);
    Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message))
}

impl Contents {
    /// Opens a file and reads what its columns are.
    ///
    /// # Errors
    /// 42501 if it may not be read; 58P01 if there is none; XX001 if it is not the Parquet, 22P04 and 22021 if it is
    /// not the CSV that its name says; 0A000 for other names, and for types without a counterpart.
    pub(crate) async fn read<R: Router>(router: &R, path: &str) -> Result<(Rc<dyn ReadableFile>, Contents)> {
        let file = router.readable_file(path).await.map_err(with_hint)?;
        let name = path.to_ascii_lowercase();
        let contents = if name.ends_with(".parquet") {
            Contents::Parquet(Footer::read(file.as_ref(), path).await?)
        } else if name.ends_with(".csv") {
            Contents::Csv(Layout::read(router, &file, path, b',').await?)
        } else if name.ends_with(".tsv") {
            Contents::Csv(Layout::read(router, &file, path, b'\t').await?)
        } else {
            let hint = "Files in FROM have names that end in \".parquet\", \".csv\" or \".tsv\".";
            return Err(SqlError::unsupported(format!("reading file \"{path}\" in place"), hint));
        };
        Ok((file, contents))
    }

    /// Names and types of the columns.
    pub(super) fn columns(&self) -> &[(String, PgType)] {
        match self {
            Contents::Parquet(footer) => &footer.columns,
            Contents::Csv(layout) => &layout.columns,
        }
    }

    /// Number of its rows; of CSV about.
    pub(crate) fn row_count(&self) -> u64 {
        match self {
            Contents::Parquet(footer) => footer.row_count(),
            Contents::Csv(layout) => layout.row_count,
        }
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
            self.columns().iter().map(|(name, pg_type)| column(name, *pg_type, false)).collect();
        columns.push(column("row number", PgType::Int8, true));
        let key = vec![columns.len() - 1];
        TableSchema { columns, key, key_name: None, index: IndexKind::Auto }
    }
}
