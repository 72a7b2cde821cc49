//! Changes of rows of one table, packed into one buffer: what a session sends to a shard is what the shard logs.
//!
//! | part | bytes |
//! |---|---|
//! | op | u8: 1 insert, 2 update, 3 delete |
//! | key length | u16 little-endian |
//! | row length | u32 little-endian, 0 for delete |
//! | key, row | as `key` and `row` say; the row holds all columns |
//!
//! Repeated until the end of the buffer. The number of changes is the holder's to know.

use crate::key::KEY_BYTES_MAX;
use crate::row::{Malformed, ROW_BYTES_MAX};

const HEADER_BYTES: usize = 7;

/// How a key changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOp {
    /// A new row; `Error::DuplicateKey` if a live row has the key.
    Insert,
    /// Replaces the live row; `Error::WriteConflict` if the key changed after the transaction's snapshot or is gone.
    Update,
    /// Removes the live row; conflicts as `Update`.
    Delete,
}

/// One change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write<'a> {
    /// How the key changes.
    pub op: WriteOp,
    /// The key.
    pub key: &'a [u8],
    /// The new row; empty for `Delete`.
    pub row: &'a [u8],
}

/// A list of changes. Keys are distinct.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteBatch {
    bytes: Vec<u8>,
    count: usize,
}

impl WriteBatch {
    /// No changes.
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// No changes yet, with room for `bytes` of them.
    pub fn with_capacity(bytes: usize) -> WriteBatch {
        WriteBatch { bytes: Vec::with_capacity(bytes), count: 0 }
    }

    /// Adds a change.
    ///
    /// # Panics
    /// If the key or row exceeds `KEY_BYTES_MAX` or `ROW_BYTES_MAX`, which `Key::of` and `RowBuilder` refuse.
    pub fn push(&mut self, write: Write<'_>) {
        assert!(write.key.len() <= KEY_BYTES_MAX && write.row.len() <= ROW_BYTES_MAX, "oversized write");
        let tag = match write.op {
            WriteOp::Insert => 1,
            WriteOp::Update => 2,
            WriteOp::Delete => 3,
        };
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&(write.key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(write.row.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(write.key);
        self.bytes.extend_from_slice(write.row);
        self.count += 1;
    }

    /// Adds a new row.
    pub fn insert(&mut self, key: &[u8], row: &[u8]) {
        self.push(Write { op: WriteOp::Insert, key, row });
    }

    /// Adds the replacement of a row.
    pub fn update(&mut self, key: &[u8], row: &[u8]) {
        self.push(Write { op: WriteOp::Update, key, row });
    }

    /// Adds the removal of a row.
    pub fn delete(&mut self, key: &[u8]) {
        self.push(Write { op: WriteOp::Delete, key, row: &[] });
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The packed changes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The changes in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = Write<'_>> {
        Writes { rest: &self.bytes }.map(|write| write.expect("packed by push or checked by from_bytes"))
    }

    /// A batch from packed changes, checked.
    ///
    /// # Errors
    /// If the bytes break the format.
    pub fn from_bytes(bytes: &[u8]) -> Result<WriteBatch, Malformed> {
        let mut count = 0;
        for write in (Writes { rest: bytes }) {
            write?;
            count += 1;
        }
        Ok(WriteBatch { bytes: bytes.to_vec(), count })
    }
}

struct Writes<'a> {
    rest: &'a [u8],
}

impl<'a> Writes<'a> {
    fn take(&mut self) -> Option<Write<'a>> {
        let (header, rest) = self.rest.split_first_chunk::<HEADER_BYTES>()?;
        let [tag, k0, k1, r0, r1, r2, r3] = *header;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([k0, k1])))?;
        let (row, rest) = rest.split_at_checked(u32::from_le_bytes([r0, r1, r2, r3]) as usize)?;
        let op = match tag {
            1 => WriteOp::Insert,
            2 => WriteOp::Update,
            3 if row.is_empty() => WriteOp::Delete,
            _ => return None,
        };
        self.rest = rest;
        (key.len() <= KEY_BYTES_MAX && row.len() <= ROW_BYTES_MAX).then_some(Write { op, key, row })
    }
}

impl<'a> Iterator for Writes<'a> {
    type Item = Result<Write<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let write = self.take().ok_or(Malformed);
        if write.is_err() {
            self.rest = &[];
        }
        Some(write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_truncation() {
        let mut batch = WriteBatch::new();
        batch.insert(b"a", b"row");
        batch.update(b"", b"other");
        batch.delete(b"key");
        let ops: Vec<_> =
            batch.iter().map(|write| (write.op, write.key.to_vec(), write.row.to_vec())).collect();
        assert_eq!(ops[0], (WriteOp::Insert, b"a".to_vec(), b"row".to_vec()));
        assert_eq!(ops[2], (WriteOp::Delete, b"key".to_vec(), vec![]));
        assert_eq!(WriteBatch::from_bytes(batch.as_bytes()), Ok(batch.clone()));
        let whole = [0, 11, 23, 33];
        for cut in 0..batch.as_bytes().len() {
            let read = WriteBatch::from_bytes(&batch.as_bytes()[..cut]);
            assert_eq!(read.is_ok(), whole.contains(&cut), "cut to {cut} bytes");
        }
    }
}
