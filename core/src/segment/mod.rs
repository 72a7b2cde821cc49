//! Segments: immutable sorted files of committed versions of the rows of one range.
//!
//! A segment is a list of row groups of up to 1,024 versions, in most tables each one block: all columns side by side and
//! encoded (`encoding`), so that a point read is one read from disk and nothing but the row is decoded. Where that would
//! leave few rows to a block, the columns are divided into column groups, each a block of its own (`groups`). Keys are not
//! stored: they follow from the key columns (`keys`). The footer names the row group of a key and stays in memory
//! (`fences`); `format` has the bytes. Where nothing is said of column groups, a block is a row group.
//! Versions end in a deletion vector beside the segment.
//!
//! Invariants: versions are in order of keys, newest first within a key; every begin is a commit's; a byte that is not
//! what was written is found by a checksum before anything is taken from it: blocks are checked at each read, their
//! checksums stand in the footer, the footer's in the trailer, the trailer's in the manifest.

mod block;
mod cache;
mod deletions;
mod encoding;
mod fences;
pub mod format;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod groups;
mod keys;
mod merge;
mod reader;
mod rising;
mod scan;
#[cfg(test)]
mod tests;
mod writer;
pub(crate) mod zone;

use std::rc::Rc;

use crate::env::Env;
use crate::key::Key;
use crate::memtable::{Memtable, RowId};
use crate::row::RowBuilder;
use crate::stamp::Stamp;

pub use block::{Block, RowGroup};
pub use cache::BlockCache;
pub use deletions::DeletionVector;
pub(crate) use deletions::EndsWalk;
pub use encoding::probe as encodings;
pub(crate) use groups::GroupSet;
pub use merge::{CursorVersion, Merged, PositionMap, SegmentCursor, merge, merge_span};
pub use reader::Segment;
pub(crate) use scan::{BlockPlan, BlockScan};
pub use writer::{SegmentWriter, WRITE_BYTES};

/// A segment, unique in its shard for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SegmentId(pub u64);

/// A version in its segment: row group in the upper 22 bits, row in it in the lower 10. Not dense.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub u32);

impl Position {
    fn new(block: usize, row: usize) -> Position {
        debug_assert!(row < format::BLOCK_ROWS);
        Position(u32::try_from(block << format::BLOCK_ROW_BITS | row).expect("at most BLOCKS_MAX blocks"))
    }

    fn block(self) -> usize {
        self.0 as usize >> format::BLOCK_ROW_BITS
    }

    fn row(self) -> usize {
        self.0 as usize & (format::BLOCK_ROWS - 1)
    }
}

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

/// A segment that was written.
pub struct Written {
    /// For the manifest.
    pub meta: SegmentMeta,
    /// Where the versions lie that `SegmentWriter::fill` took.
    pub rows: RowMap,
}

/// Version in a memtable -> position in the segment to which it was flushed. Four bytes for each.
#[derive(Debug, Default)]
pub struct RowMap {
    positions: Vec<u32>,
}

const NOT_FLUSHED: u32 = u32::MAX;

impl RowMap {
    fn set(&mut self, row: RowId, position: Position) {
        let index = row.0 as usize;
        if self.positions.len() <= index {
            self.positions.resize(index + 1, NOT_FLUSHED);
        }
        self.positions[index] = position.0;
    }

    /// Where a version is; `None` if it was left out.
    pub fn get(&self, row: RowId) -> Option<Position> {
        let position = *self.positions.get(row.0 as usize)?;
        (position != NOT_FLUSHED).then_some(Position(position))
    }

    /// Gives every end that the memtable knows now to the segment. To be called in the turn in which readers change over.
    pub fn carry<E: Env>(&self, from: &Memtable, to: &Segment<E>) {
        for (row, end) in from.ended() {
            if let Some(position) = self.get(row) {
                to.set_end(position, end);
            }
        }
    }
}

/// A version that was found; holds its blocks.
#[derive(Clone, Debug)]
pub struct Version {
    position: Position,
    blocks: Blocks,
}

/// Where a version is read from.
#[derive(Clone, Debug)]
enum Blocks {
    /// All columns.
    One(Block),
    /// Those that were asked for.
    Some(Rc<RowGroup>),
}

impl Version {
    fn new(position: Position, blocks: Blocks) -> Version {
        Version { position, blocks }
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// When it begins. Its end is the segment's to say (`Segment::end`).
    pub fn begin(&self) -> Stamp {
        self.seen().begin()
    }

    /// Builds the row of these columns, without finishing it.
    ///
    /// # Panics
    /// If the version was looked for without these columns.
    pub fn read(&self, columns: &[usize], out: &mut RowBuilder) {
        self.seen().read(columns, out);
    }

    /// As it is seen without holding its blocks.
    pub fn seen(&self) -> SeenVersion<'_> {
        let blocks = match &self.blocks {
            Blocks::One(block) => SeenBlocks::One(block),
            Blocks::Some(group) => SeenBlocks::Some(group),
        };
        SeenVersion { position: self.position, blocks }
    }
}

/// A version, where it lies in the cache.
#[derive(Clone, Copy, Debug)]
pub struct SeenVersion<'a> {
    position: Position,
    blocks: SeenBlocks<'a>,
}

/// As `Blocks`.
#[derive(Clone, Copy, Debug)]
enum SeenBlocks<'a> {
    One(&'a Block),
    Some(&'a RowGroup),
}

impl SeenVersion<'_> {
    /// Where it is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// When it begins.
    pub fn begin(&self) -> Stamp {
        let block = match self.blocks {
            SeenBlocks::One(block) => block,
            SeenBlocks::Some(group) => group.key(),
        };
        block.begin(self.position.row())
    }

    /// Builds the row of these columns, without finishing it.
    ///
    /// # Panics
    /// If the version was looked for without these columns.
    pub fn read(&self, columns: &[usize], out: &mut RowBuilder) {
        out.start(columns.len());
        let row = self.position.row();
        match self.blocks {
            SeenBlocks::One(block) => columns.iter().for_each(|column| block.push_to(*column, row, out)),
            SeenBlocks::Some(group) => columns.iter().for_each(|column| group.push_to(*column, row, out)),
        }
    }
}

/// The versions of one key in one segment, newest first.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// Most keys have one version: no allocation for it.
    first: Option<Version>,
    rest: Vec<Version>,
}

impl Versions {
    fn push(&mut self, version: Version) {
        if self.first.is_none() {
            self.first = Some(version);
        } else {
            self.rest.push(version);
        }
    }

    /// The newest.
    pub fn newest(&self) -> Option<&Version> {
        self.first.as_ref()
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        self.first.iter().chain(&self.rest)
    }
}
