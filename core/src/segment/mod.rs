//! Segments: immutable sorted files of rows.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::catalog::TableSchema;
use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::Result;
use crate::key::{Key, KeySpan};
use crate::memtable::{Memtable, RowId, SortedCursor};
use crate::router::ReadView;
use crate::row::RowBuilder;
use crate::stamp::Stamp;

/// A segment, unique in its shard for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SegmentId(pub u64);

/// A version in its segment: block in the upper 22 bits, row in the block in the lower 10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub u32);

/// What the manifest knows of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentMeta {
    /// Its id.
    pub id: SegmentId,
    /// Versions in it.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// crc32c of the file's last page, which holds the checksum of the footer, which holds those of the blocks.
    pub checksum: u32,
    /// Its first key.
    pub first_key: Key,
    /// Its last key.
    pub last_key: Key,
}

/// Writes one segment. A memtable is flushed by `while !writer.fill(&memtable, &mut cursor, horizon) { writer.write().await? }`.
pub struct SegmentWriter<E: Env> {
    env: E,
}

#[allow(unused_variables, missing_docs)]
impl<E: Env> SegmentWriter<E> {
    /// Creates the file; it must not exist.
    pub async fn new(
        env: E,
        path: PathBuf,
        id: SegmentId,
        schema: Arc<TableSchema>,
    ) -> Result<SegmentWriter<E>> {
        todo!()
    }
    /// Appends one version; keys rise, versions of a key come newest first. Writes when a block is full.
    pub async fn push(&mut self, key: &[u8], begin: Stamp, row: &[u8]) -> Result<Position> {
        todo!()
    }
    /// Takes versions from a memtable until a write is due (false) or the cursor is at its end (true). Leaves out
    /// versions that ended at or before `horizon` and aborted ones.
    pub fn fill(&mut self, memtable: &Memtable, cursor: &mut SortedCursor, horizon: Timestamp) -> bool {
        todo!()
    }
    /// Writes what `fill` collected.
    pub async fn write(&mut self) -> Result<()> {
        todo!()
    }
    /// Makes the segment durable, its name too. `None` if it got no row: then there is no file.
    /// On an error the file is removed.
    pub async fn finish(self) -> Result<Option<Written>> {
        todo!()
    }
    /// Gives up: removes the file.
    pub async fn abort(self) {
        todo!()
    }
}

/// A segment that was written.
pub struct Written {
    /// For the manifest.
    pub meta: SegmentMeta,
    /// Where the versions that `fill` took lie.
    pub rows: RowMap,
}

/// Memtable row -> position, for ends that are set while a flush runs.
pub struct RowMap {}

#[allow(unused_variables, missing_docs)]
impl RowMap {
    pub fn get(&self, row: RowId) -> Option<Position> {
        todo!()
    }
    /// Gives every end that the memtable knows now to the segment. Call it in the same turn in which readers change
    /// over from the memtable to the segment.
    pub fn carry<E: Env>(&self, from: &Memtable, to: &Segment<E>) {
        todo!()
    }
}

/// Ends of versions in a segment.
#[derive(Debug, Default, Clone)]
pub struct DeletionVector {}

#[allow(unused_variables, missing_docs)]
impl DeletionVector {
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    /// LIVE if there is no entry.
    pub fn get(&self, position: Position) -> Stamp {
        todo!()
    }
    /// LIVE removes the entry.
    pub fn set(&mut self, position: Position, end: Stamp) {
        todo!()
    }
    /// In order of positions.
    pub fn entries(&self) -> impl Iterator<Item = (Position, Stamp)> + '_ {
        std::iter::empty()
    }
}

/// An open segment; share it in an `Rc`.
pub struct Segment<E: Env> {
    env: E,
}

#[allow(unused_variables, missing_docs)]
impl<E: Env> Segment<E> {
    pub async fn open(
        env: E,
        path: &Path,
        schema: Arc<TableSchema>,
        meta: &SegmentMeta,
    ) -> Result<Segment<E>> {
        todo!()
    }
    pub fn id(&self) -> SegmentId {
        todo!()
    }
    pub fn meta(&self) -> &SegmentMeta {
        todo!()
    }
    pub fn path(&self) -> &Path {
        todo!()
    }
    pub fn covers(&self, key: &[u8]) -> bool {
        todo!()
    }
    /// All versions of a key, newest first.
    pub async fn find(&self, key: &[u8], cache: &BlockCache) -> Result<Versions> {
        todo!()
    }
    /// As `find` without waiting; `None` if a block must be read from disk.
    pub fn find_cached(&self, key: &[u8], cache: &BlockCache) -> Option<Versions> {
        todo!()
    }
    /// The end of a version.
    pub fn end(&self, position: Position) -> Stamp {
        todo!()
    }
    /// Sets the end of a version; LIVE takes it back.
    pub fn set_end(&self, position: Position, end: Stamp) {
        todo!()
    }
    /// All ends that are not LIVE, in order of positions.
    pub fn ends(&self) -> Vec<(Position, Stamp)> {
        todo!()
    }
    /// Whether any end is set.
    pub fn has_ends(&self) -> bool {
        todo!()
    }
    pub fn block_count(&self) -> usize {
        todo!()
    }
    /// Blocks that may hold keys of the span.
    pub fn blocks_in(&self, span: &KeySpan) -> Range<usize> {
        todo!()
    }
    /// The visible rows of one block that lie in the span; `None` if there is none.
    pub async fn scan_block(
        &self,
        block: usize,
        columns: &[usize],
        span: &KeySpan,
        view: &ReadView,
        cache: &BlockCache,
    ) -> Result<Option<RecordBatch>> {
        todo!()
    }
    /// As `scan_block` without waiting; `None` if the block must be read from disk.
    pub fn scan_block_cached(
        &self,
        block: usize,
        columns: &[usize],
        span: &KeySpan,
        view: &ReadView,
        cache: &BlockCache,
    ) -> Option<Result<Option<RecordBatch>>> {
        todo!()
    }
    /// At most `parts - 1` keys, rising, that cut the versions into about equal parts (to the block).
    pub fn split_points(&self, parts: usize) -> Vec<Key> {
        todo!()
    }
    /// Bytes of memory that the open segment holds, beside the cache.
    pub fn size_bytes(&self) -> usize {
        todo!()
    }
}

/// A version that `find` found; holds its block.
#[derive(Clone)]
pub struct Version {
    position: Position,
    begin: Stamp,
}

#[allow(unused_variables, missing_docs)]
impl Version {
    pub fn position(&self) -> Position {
        self.position
    }
    pub fn begin(&self) -> Stamp {
        self.begin
    }
    /// Appends the columns, as one row, to a builder that it starts; the caller finishes.
    pub fn read(&self, columns: &[usize], out: &mut RowBuilder) -> Result<()> {
        todo!()
    }
}

/// The versions of one key in one segment, newest first.
#[derive(Clone, Default)]
pub struct Versions {
    first: Option<Version>,
    rest: Vec<Version>,
}

impl Versions {
    /// The newest.
    pub fn newest(&self) -> Option<&Version> {
        self.first.as_ref()
    }
    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        self.first.iter().chain(&self.rest)
    }
}

/// Blocks of one core's segments in memory, within a budget of bytes.
pub struct BlockCache {}

#[allow(unused_variables, missing_docs)]
impl BlockCache {
    pub fn new(bytes_max: usize) -> BlockCache {
        todo!()
    }
    pub fn size_bytes(&self) -> usize {
        todo!()
    }
    pub fn set_bytes_max(&self, bytes_max: usize) {
        todo!()
    }
    /// Forgets the blocks of a segment that is gone.
    pub fn forget(&self, id: SegmentId) {
        todo!()
    }
    /// Reads that found their block, and that did not.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        todo!()
    }
}

/// What a merge made.
pub struct Merged {
    /// For the manifest; `None` if no version survived and there is no file.
    pub meta: Option<SegmentMeta>,
    /// Where the surviving versions went.
    pub positions: PositionMap,
}

/// Position in an input of a merge -> position in its output.
pub struct PositionMap {}

#[allow(unused_variables, missing_docs)]
impl PositionMap {
    /// `None`: dropped.
    pub fn get(&self, input: usize, position: Position) -> Option<Position> {
        todo!()
    }
    /// Gives every end that the inputs know now to the output. Call it in the same turn in which readers change over.
    pub fn carry<E: Env>(&self, from: &[Rc<Segment<E>>], to: &Segment<E>) {
        todo!()
    }
}

/// Merges segments of one range into one. Drops versions that ended at or before `horizon`. Inputs may get new ends
/// meanwhile: `PositionMap::carry` brings all that survive to the output.
#[allow(unused_variables)]
pub async fn merge<E: Env>(
    inputs: &[Rc<Segment<E>>],
    horizon: Timestamp,
    writer: SegmentWriter<E>,
) -> Result<Merged> {
    todo!()
}
