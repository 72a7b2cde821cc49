//! Rows on their way to the client.

use arrow_array::RecordBatch;
use omen_core::router::Router;
use omen_core::row::Row;

use super::Tag;
use crate::error::Result;
use crate::execute::query::Running;

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
    running: Running<R>,
    rows: u64,
    tag: Option<Tag>,
}

impl<R: Router> RowStream<R> {
    /// The rows of a query.
    pub(crate) fn of_query(running: Running<R>) -> RowStream<R> {
        RowStream { running, rows: 0, tag: None }
    }

    /// Rows that are there, of a statement that is done.
    pub(crate) fn of_batches(batches: Vec<RecordBatch>, tag: Option<Tag>) -> RowStream<R> {
        RowStream { running: Running::Batches(batches.into()), rows: 0, tag }
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// All that running reports; the caller then calls `Session::fail`.
    pub async fn next(&mut self) -> Result<Option<RowBatch>> {
        if let Running::Row(row) = &mut self.running {
            let row = row.take();
            self.rows += u64::from(row.is_some());
            return Ok(row.map(RowBatch::Row));
        }
        let batch = self.running.next_batch().await?;
        self.rows += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        Ok(batch.map(RowBatch::Arrow))
    }

    /// The tag after the last row. `SELECT` counts the rows that `next` has given.
    pub fn tag(&self) -> Tag {
        self.tag.unwrap_or(Tag::Select(self.rows))
    }
}
