//! COPY between client and table.

use std::marker::PhantomData;

use omen_core::router::Router;

use super::Tag;
use crate::error::Result;

/// A COPY FROM STDIN that takes data.
pub struct CopyIn<R: Router> {
    columns: usize,
    router: PhantomData<R>,
}

impl<R: Router> CopyIn<R> {
    /// Columns of the data, for CopyInResponse; all are in text format.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// Takes some data, cut anywhere.
    ///
    /// # Errors
    /// All that reading and storing rows reports; the caller then drops the COPY and calls `Session::fail`.
    pub async fn data(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    /// CopyDone: stores the rest. The session gets its transaction back.
    ///
    /// # Errors
    /// As [`CopyIn::data`].
    pub async fn finish(self) -> Result<Tag> {
        Ok(Tag::Copy(0))
    }
}

/// A COPY TO STDOUT that gives data.
pub struct CopyOut<R: Router> {
    columns: usize,
    rows: u64,
    router: PhantomData<R>,
}

impl<R: Router> CopyOut<R> {
    /// Columns of the data, for CopyOutResponse; all are in text format.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// Some whole rows; `None` at the end.
    ///
    /// # Errors
    /// All that running reports; the caller then calls `Session::fail`.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// The tag after the last row.
    pub fn tag(&self) -> Tag {
        Tag::Copy(self.rows)
    }
}
