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

use std::cmp::Ordering;
use std::ops::Range;

use crate::key::{KEY_BYTES_MAX, Key, prefix64};
use crate::learned::sort::{Scratch, sort_pairs};
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

/// The changes of a batch in order of their keys, which are distinct.
#[derive(Clone, Debug)]
pub struct SortedBatch<'a> {
    bytes: &'a [u8],
    /// The first 8 bytes of each key as a big-endian number, and where the change begins.
    order: Vec<(u64, u32)>,
    key_length: Option<usize>,
    inserts: usize,
    deletes: usize,
}

impl WriteBatch {
    /// The changes in order of keys.
    ///
    /// # Errors
    /// A key that occurs twice.
    ///
    /// # Panics
    /// If the batch has 4 GiB: holders cut batches long before.
    pub fn sorted(&self) -> Result<SortedBatch<'_>, Key> {
        let mut sorted = SortedBatch {
            bytes: &self.bytes,
            order: Vec::with_capacity(self.count),
            key_length: None,
            inserts: 0,
            deletes: 0,
        };
        let mut rising = true;
        let mut last: (u64, &[u8]) = (0, &[]);
        let mut lengths = (usize::MAX, 0);
        let mut at = 0;
        while at < self.bytes.len() {
            let Parts { op, key, end } = parts(&self.bytes, at);
            let key = &self.bytes[key];
            let prefix = prefix64(key);
            let above = prefix > last.0 || prefix == last.0 && last.1 < key;
            rising &= at == 0 || above;
            last = (prefix, key);
            lengths = (lengths.0.min(key.len()), lengths.1.max(key.len()));
            sorted.inserts += usize::from(op == WriteOp::Insert);
            sorted.deletes += usize::from(op == WriteOp::Delete);
            let offset = u32::try_from(at).expect("a batch is smaller than 4 GiB");
            sorted.order.push((prefix, offset));
            at = end;
        }
        sorted.key_length = (lengths.0 == lengths.1).then_some(lengths.0);
        if !rising {
            sorted.sort()?;
        }
        Ok(sorted)
    }
}

impl<'a> SortedBatch<'a> {
    fn sort(&mut self) -> Result<(), Key> {
        sort_pairs(&mut self.order, &mut Scratch::default());
        let bytes = self.bytes;
        for ties in self.order.chunk_by_mut(|a, b| a.0 == b.0) {
            let key = |entry: &(u64, u32)| &bytes[parts(bytes, entry.1 as usize).key];
            ties.sort_unstable_by(|a, b| key(a).cmp(key(b)));
            if let Some(twice) = ties.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
                return Err(Key::from_bytes(key(&twice[0])));
            }
        }
        Ok(())
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The length of every key, if they are equally long.
    pub fn key_length(&self) -> Option<usize> {
        self.key_length
    }

    /// Whether every change is a new row.
    pub fn is_all_inserts(&self) -> bool {
        self.inserts == self.order.len()
    }

    /// The first 8 bytes of a key as a big-endian number; a shorter key is filled up with zeros.
    #[inline]
    pub fn prefix(&self, position: usize) -> u64 {
        self.order[position].0
    }

    /// The key of a change.
    #[inline]
    pub fn key(&self, position: usize) -> &'a [u8] {
        &self.bytes[parts(self.bytes, self.order[position].1 as usize).key]
    }

    /// Where the row of a change lies in `bytes`.
    #[inline]
    pub fn row(&self, position: usize) -> Range<usize> {
        let Parts { key, end, .. } = parts(self.bytes, self.order[position].1 as usize);
        key.end..end
    }

    /// The packed changes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A change.
    pub fn get(&self, position: usize) -> Write<'a> {
        let Parts { op, key, end } = parts(self.bytes, self.order[position].1 as usize);
        Write { op, row: &self.bytes[key.end..end], key: &self.bytes[key] }
    }

    /// Changes from `from` on whose keys are below this one end here.
    pub fn end_below(&self, from: usize, key: &[u8]) -> usize {
        let prefix = prefix64(key);
        let below = |at: usize| match self.prefix(at).cmp(&prefix) {
            Ordering::Equal => self.key(at) < key,
            order => order == Ordering::Less,
        };
        let (mut low, mut high) = (from, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            (low, high) = if below(middle) { (middle + 1, high) } else { (low, middle) };
        }
        low
    }

    /// Some of the changes, packed anew in batches that end when they have reached `bytes_max`.
    pub fn pack(&self, positions: Range<usize>, bytes_max: usize) -> Vec<WriteBatch> {
        let mut left = self.bytes.len() / self.len().max(1) * (positions.len() + 1);
        let mut batches: Vec<WriteBatch> = Vec::new();
        for (_, at) in &self.order[positions] {
            let at = *at as usize;
            let end = parts(self.bytes, at).end;
            let last = match batches.last_mut().filter(|last| last.bytes.len() < bytes_max) {
                Some(last) => last,
                None => {
                    batches.push(WriteBatch::with_capacity(left.min(bytes_max + bytes_max / 4)));
                    batches.last_mut().expect("pushed before")
                }
            };
            last.bytes.extend_from_slice(&self.bytes[at..end]);
            last.count += 1;
            left = left.saturating_sub(end - at);
        }
        batches
    }

    /// Without those that remove a row; `None` if there are none of those.
    pub fn without_deletes(&self) -> Option<SortedBatch<'a>> {
        if self.deletes == 0 {
            return None;
        }
        let stays = |at: &u32| parts(self.bytes, *at as usize).op != WriteOp::Delete;
        let order = self.order.iter().copied().filter(|(_, at)| stays(at)).collect();
        Some(SortedBatch { order, deletes: 0, ..*self })
    }
}

/// One change in packed bytes; the row follows the key.
struct Parts {
    op: WriteOp,
    key: Range<usize>,
    end: usize,
}

/// The change that begins at `at` of bytes that were packed by `push` or checked by `from_bytes`.
#[inline]
fn parts(bytes: &[u8], at: usize) -> Parts {
    let header = bytes[at..].first_chunk::<HEADER_BYTES>().expect("packed by push or checked by from_bytes");
    let [tag, k0, k1, r0, r1, r2, r3] = *header;
    let op = match tag {
        1 => WriteOp::Insert,
        2 => WriteOp::Update,
        _ => WriteOp::Delete,
    };
    let start = at + HEADER_BYTES;
    let key = start..start + usize::from(u16::from_le_bytes([k0, k1]));
    let end = key.end + u32::from_le_bytes([r0, r1, r2, r3]) as usize;
    Parts { op, key, end }
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

    #[test]
    fn sorted_batches_are_in_order_and_refuse_repeated_keys() {
        let mut random = crate::test_rows::Random::new(3);
        for case in 0..400 {
            let mut batch = WriteBatch::new();
            let mut model = std::collections::BTreeMap::new();
            let mut repeated = false;
            for n in 0..random.below(40) {
                let length = if case % 2 == 0 { 8 } else { random.below(12) as usize };
                let mut key = vec![0; length];
                key.iter_mut().rev().take(3).for_each(|byte| *byte = random.below(12) as u8);
                let op = random.pick(&[WriteOp::Insert, WriteOp::Insert, WriteOp::Update, WriteOp::Delete]);
                let row = if op == WriteOp::Delete { vec![] } else { vec![n as u8; n as usize] };
                batch.push(Write { op, key: &key, row: &row });
                repeated |= model.insert(key, (op, row)).is_some();
            }
            let Ok(sorted) = batch.sorted() else {
                assert!(repeated);
                continue;
            };
            assert!(!repeated && sorted.len() == model.len());
            for (position, (key, (op, row))) in model.iter().enumerate() {
                assert_eq!(sorted.get(position), Write { op: *op, key, row });
                assert_eq!(sorted.key(position), &**key);
                assert_eq!(sorted.prefix(position), prefix64(key));
                assert_eq!(&sorted.bytes()[sorted.row(position)], &**row);
                assert_eq!(sorted.end_below(0, key), position);
            }
            assert_eq!(sorted.is_all_inserts(), model.values().all(|(op, _)| *op == WriteOp::Insert));
            let lengths = || model.keys().map(Vec::len);
            assert_eq!(sorted.key_length(), lengths().min().filter(|least| lengths().all(|l| l == *least)));
            let (start, end) = (sorted.len() / 3, sorted.len() - sorted.len() / 4);
            let packed = sorted.pack(start..end, 20);
            let writes = packed.iter().flat_map(WriteBatch::iter);
            assert!(writes.eq((start..end).map(|position| sorted.get(position))));
            assert!(packed.iter().all(|batch| batch.len() == batch.iter().count()));
            let kept = sorted.without_deletes().unwrap_or_else(|| sorted.clone());
            let rows = model.iter().filter(|(_, (op, _))| *op != WriteOp::Delete).map(|(key, _)| &**key);
            assert!((0..kept.len()).map(|position| kept.key(position)).eq(rows));
        }
    }
}
