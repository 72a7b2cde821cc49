//! The memtable: the newest rows of one range, in columns, with every version that was written since the last flush.

use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::catalog::TableSchema;
use crate::key::{Key, KeySpan};
use crate::router::ReadView;
use crate::row::{Malformed, RowBuilder};
use crate::stamp::Stamp;

/// A version in its memtable. Ids rise in the order of insertion and are not dense.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RowId(pub u32);

/// Where a scan of a memtable goes on. Rows that were inserted after the scan's first call are not part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanPosition(Position);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Position {
    Start,
}

impl ScanPosition {
    /// The beginning.
    pub const START: ScanPosition = ScanPosition(Position::Start);
}

/// Walks all versions of a memtable in order of keys, newest first within a key. The memtable must not get new rows
/// meanwhile; stamps may change.
#[derive(Clone, Debug, Default)]
pub struct SortedCursor {}

impl SortedCursor {
    /// The next version.
    pub fn next(&mut self, _memtable: &Memtable) -> Option<RowId> {
        todo!()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Memtable {}

#[allow(unused_variables, missing_docs)]
impl Memtable {
    pub fn new(schema: Arc<TableSchema>) -> Memtable {
        todo!()
    }
    /// Becomes the newest version of its key; the newest before becomes its predecessor. Its end is LIVE.
    pub fn insert(&mut self, key: &[u8], row: &[u8], begin: Stamp) -> Result<RowId, Malformed> {
        todo!()
    }
    /// The newest version of a key, whatever its stamps (it may be aborted: go on with `previous`).
    pub fn newest(&self, key: &[u8]) -> Option<RowId> {
        todo!()
    }
    pub fn previous(&self, row: RowId) -> Option<RowId> {
        todo!()
    }
    pub fn begin(&self, row: RowId) -> Stamp {
        todo!()
    }
    pub fn end(&self, row: RowId) -> Stamp {
        todo!()
    }
    pub fn set_begin(&mut self, row: RowId, begin: Stamp) {
        todo!()
    }
    pub fn set_end(&mut self, row: RowId, end: Stamp) {
        todo!()
    }
    /// The version of the key that the view sees.
    pub fn find(&self, key: &[u8], view: &ReadView) -> Option<RowId> {
        todo!()
    }
    pub fn key(&self, row: RowId) -> &[u8] {
        todo!()
    }
    /// Appends the columns, as one row, to a builder that it starts; the caller finishes.
    pub fn read(&self, row: RowId, columns: &[usize], out: &mut RowBuilder) {
        todo!()
    }
    /// The next visible rows, at most `rows_max`, and where to go on (`None`: the scan is done). The batch may be absent
    /// though the scan goes on: one call looks at a bounded number of rows.
    pub fn scan(
        &self,
        span: &KeySpan,
        columns: &[usize],
        view: &ReadView,
        from: ScanPosition,
        rows_max: usize,
    ) -> (Option<RecordBatch>, Option<ScanPosition>) {
        todo!()
    }
    /// All versions, key ascending, newest first.
    pub fn iter_sorted(&self) -> impl Iterator<Item = RowId> + '_ {
        let mut cursor = SortedCursor::default();
        std::iter::from_fn(move || cursor.next(self))
    }
    /// Bytes of memory it holds.
    pub fn size_bytes(&self) -> usize {
        todo!()
    }
    /// Distinct keys, whether live or not.
    pub fn key_count(&self) -> usize {
        todo!()
    }
    /// Versions, aborted ones included.
    pub fn version_count(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Stamps that wait for a transaction: a memtable with any cannot be flushed.
    pub fn provisional_count(&self) -> usize {
        todo!()
    }
    /// At most `parts - 1` keys, rising, none the first, that cut the live keys into parts of about equal size.
    pub fn split_points(&self, parts: usize) -> Vec<Key> {
        todo!()
    }
    pub fn schema(&self) -> &Arc<TableSchema> {
        todo!()
    }
}
