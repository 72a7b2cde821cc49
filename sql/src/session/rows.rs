//! Rows on their way to the client.

use std::marker::PhantomData;

use arrow_array::RecordBatch;
use omen_core::router::Router;
use omen_core::row::Row;

use super::Tag;
use crate::error::Result;

/// Some rows.
pub enum RowBatch {
    /// A batch with the columns of the statement.
    Arrow(RecordBatch),
    /// One row in the encoding of `omen_core::row`, its columns being those of the statement.
    Row(Row),
}

/// The rows of one statement, pulled batch by batch. Independent of the session, so that portals stay open while
/// other statements run. Dropping it ends the statement.
pub struct RowStream<R: Router> {
    rows: u64,
    router: PhantomData<R>,
}

impl<R: Router> RowStream<R> {
    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// All that running reports; the caller then calls `Session::fail`.
    pub async fn next(&mut self) -> Result<Option<RowBatch>> {
        Ok(None)
    }

    /// The tag after the last row. `SELECT` counts the rows that `next` has given.
    pub fn tag(&self) -> Tag {
        Tag::Select(self.rows)
    }
}
