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

/// Some rows of COPY data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CopyRows {
    /// The rows, one behind the other, each with its line end.
    pub bytes: Vec<u8>,
    /// Where each row ends in `bytes`: clients get every row in a message of its own.
    pub ends: Vec<usize>,
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

    /// The next rows; the header, if there is one, counts as a row. `None` at the end.
    ///
    /// # Errors
    /// All that running reports; the caller then calls `Session::fail`.
    pub async fn next(&mut self) -> Result<Option<CopyRows>> {
        Ok(None)
    }

    /// The tag after the last row.
    pub fn tag(&self) -> Tag {
        Tag::Copy(self.rows)
    }
}
