//! Files read in place: `FROM 'file.parquet'`, `FROM 'file.csv'`.
//!
//! A file is bound as a table that no catalog has: its id is one of those at the end, its name is the path as written,
//! and its hidden key counts its rows. Binding cannot wait; so it says which file it misses, the session reads what
//! that file's columns are, and binding starts again. A run reads it anew: if columns have changed meanwhile, it fails.
//!
//! Invariant: what a file says is checked before it is believed. A reader of Parquet that panics over damaged bytes is a
//! damaged file.

mod columns;
mod contents;
mod csv;
mod footer;
mod prune;
mod scan;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use omen_core::catalog::Table;
use omen_core::id::TableId;
use omen_core::router::Router;

use crate::error::{Result, SqlError, SqlState};
pub(crate) use contents::Contents;
use contents::check_column_count;
pub(crate) use scan::RunningFile;

/// Most files of one statement.
const FILES_MAX: u32 = 64;

/// Ids from this one on are those of files.
const FIRST_FILE: TableId = TableId(u32::MAX - FILES_MAX);

/// Whether a table is a file.
pub(crate) fn is_file(table: &Table) -> bool {
    table.id >= FIRST_FILE
}

/// The files of the statement that is being planned.
#[derive(Debug, Default)]
pub(crate) struct Files {
    known: RefCell<BTreeMap<String, Arc<Table>>>,
    missing: RefCell<Option<String>>,
    next: Cell<u32>,
}

impl Files {
    /// Forgets all files, which may have changed.
    pub(crate) fn forget(&self) {
        self.known.borrow_mut().clear();
        self.next.set(0);
    }

    /// The table that a file is. If it is not known yet, the error does not matter: see [`Files::take_missing`].
    ///
    /// # Errors
    /// If it has to be read first.
    pub(crate) fn table(&self, path: &str) -> Result<Arc<Table>> {
        if let Some(table) = self.known.borrow().get(path) {
            return Ok(table.clone());
        }
        *self.missing.borrow_mut() = Some(path.to_owned());
        Err(SqlError::new(SqlState::INTERNAL_ERROR, format!("file \"{path}\" was not read")))
    }

    /// The file that has to be read before planning can go on.
    pub(crate) fn take_missing(&self) -> Option<String> {
        self.missing.take()
    }

    /// Reads what a file's columns are.
    ///
    /// # Errors
    /// As [`Contents::read`].
    pub(crate) async fn read<R: Router>(&self, router: &R, path: String) -> Result<()> {
        let number = self.next.get();
        if number >= FILES_MAX {
            let message = format!("a statement can read at most {FILES_MAX} files");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        let (_, contents) = Contents::read(router, &path).await?;
        let id = TableId(FIRST_FILE.0 + number);
        let schema = Arc::new(contents.schema());
        let table = Table { id, name: path.clone(), schema, ranges: Vec::new() };
        self.next.set(number + 1);
        self.known.borrow_mut().insert(path, Arc::new(table));
        Ok(())
    }
}

/// The name that stands for a file in FROM unless an alias is given: that of the file without folder and ending.
pub(crate) fn shown_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}
