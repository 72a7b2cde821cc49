//! Compaction: several segments of one range become one, without the versions that no snapshot can see any more.
//!
//! Input blocks are decoded as a whole. Which version comes next is decided run by run; the columns of an output block
//! are then gathered one after another.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use super::block::{PlainRows, RowGroup};
use super::format::BLOCK_ROWS;
use super::reader::Segment;
use super::writer::{PLAIN_BYTES_MAX, PLAIN_GROUPS_MAX, SegmentWriter};
use super::{Position, SegmentMeta};
use crate::clock::Timestamp;
use crate::column::{ColumnBuf, ColumnView};
use crate::env::Env;
use crate::error::Result;
use crate::key::KeySpan;
use crate::learned::search::window_partition_point;
use crate::stamp::Stamp;

/// Bytes that a cursor reads at once, if the blocks are not larger.
const READ_BYTES: u64 = 256 << 10;
/// The cursors of a merge of many segments read less, down to a block, so that what all of them hold stays about this.
const READ_BYTES_ALL: u64 = 2 << 20;
/// Plain bytes of the versions that wait to be written; one row group takes less.
const PLAN_BYTES_MAX: usize = PLAIN_GROUPS_MAX * PLAIN_BYTES_MAX + (64 << 10);

/// The keys of a decoded block, rows rising.
#[derive(Debug)]
enum BlockKeys {
    /// As numbers in the order of the keys, of this many bytes each.
    Words(Vec<u64>, usize),
    /// All bytes, and where each key ends.
    Bytes(Vec<u8>, Vec<usize>),
}

impl BlockKeys {
    fn compare(&self, row: usize, other: &BlockKeys, other_row: usize) -> Ordering {
        match (self, other) {
            (BlockKeys::Words(a, _), BlockKeys::Words(b, _)) => a[row].cmp(&b[other_row]),
            (BlockKeys::Bytes(a, ends), BlockKeys::Bytes(b, other_ends)) => {
                a[key_range(ends, row)].cmp(&b[key_range(other_ends, other_row)])
            }
            _ => unreachable!("inputs of a merge have one schema"),
        }
    }

    fn append(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            BlockKeys::Words(words, bytes) => {
                let word = words[row].to_be_bytes();
                out.extend_from_slice(&word[word.len() - bytes..]);
            }
            BlockKeys::Bytes(bytes, ends) => out.extend_from_slice(&bytes[key_range(ends, row)]),
        }
    }
}

fn key_range(ends: &[usize], row: usize) -> Range<usize> {
    (if row == 0 { 0 } else { ends[row - 1] })..ends[row]
}

/// A row group in plain columns, with its keys.
#[derive(Debug)]
struct Decoded {
    number: usize,
    plain: PlainRows,
    keys: BlockKeys,
    /// About the plain bytes of one of its rows.
    row_bytes: usize,
}

impl Decoded {
    fn new<E: Env>(segment: &Segment<E>, number: usize, block: &RowGroup) -> Decoded {
        let plain = PlainRows::decode(block, segment.types());
        let views = plain.views();
        let keys = match segment.keys().word_bytes() {
            Some(bytes) => BlockKeys::Words(segment.keys().words(&views, plain.rows()), bytes),
            None => {
                let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(plain.rows()));
                for row in 0..plain.rows() {
                    segment.keys().append(&views, row, &mut bytes);
                    ends.push(bytes.len());
                }
                BlockKeys::Bytes(bytes, ends)
            }
        };
        let row_bytes = plain.bytes() / plain.rows().max(1);
        Decoded { number, plain, keys, row_bytes }
    }

    /// Keys rise; versions of a key come newest first.
    fn compare(&self, row: usize, other: &Decoded, other_row: usize) -> Ordering {
        let by_key = self.keys.compare(row, &other.keys, other_row);
        by_key.then_with(|| other.plain.begin(other_row).cmp(&self.plain.begin(row)))
    }
}

/// Walks all versions of a segment that lie in a span, in order. Holds one block, and some that were read with it.
pub struct SegmentCursor<E: Env> {
    segment: Rc<Segment<E>>,
    span: KeySpan,
    /// The block that `block` is, or that comes next, and those after it.
    blocks: Range<usize>,
    /// Blocks that were read: from `blocks.start` on, or the one after it if that is in `block`.
    ahead: VecDeque<RowGroup>,
    block: Option<Rc<Decoded>>,
    /// The current version in the block, and those after it.
    rows: Range<usize>,
    /// Versions that ended at or before this may be left out.
    horizon: Timestamp,
    /// The rows of the block that ended by then, rising.
    dead: Vec<u16>,
    /// Bytes that it reads at once.
    read_bytes: u64,
}

impl<E: Env> SegmentCursor<E> {
    /// A cursor before the first version of the span: `load` it first.
    pub fn new(segment: Rc<Segment<E>>, span: KeySpan) -> SegmentCursor<E> {
        SegmentCursor::with_horizon(segment, span, Timestamp::ZERO)
    }

    fn with_horizon(segment: Rc<Segment<E>>, span: KeySpan, horizon: Timestamp) -> SegmentCursor<E> {
        let (blocks, ahead) = (segment.blocks_in(&span), VecDeque::new());
        let (block, rows, dead) = (None, 0..0, Vec::new());
        SegmentCursor { segment, span, blocks, ahead, block, rows, horizon, dead, read_bytes: READ_BYTES }
    }

    /// Reads the block of the current version, if it is not here; past the cache, which it would only disturb.
    ///
    /// # Errors
    /// If the block cannot be read or is corrupt.
    pub async fn load(&mut self) -> Result<()> {
        while self.needs_load() {
            if self.ahead.is_empty() {
                let all = self.segment.all_groups();
                let numbers = self.segment.blocks_within(self.blocks.clone(), all, self.read_bytes);
                self.ahead = self.segment.read_groups(numbers, all).await?.into();
            }
            let block = self.ahead.pop_front().expect("at least one block was read");
            self.rows = block.key().rows_in(self.segment.keys(), &self.span);
            if self.rows.is_empty() {
                self.blocks.start += 1;
            } else {
                self.block = Some(Rc::new(Decoded::new(&self.segment, self.blocks.start, &block)));
                self.dead = self.segment.dead_in(self.blocks.start, self.horizon);
            }
        }
        Ok(())
    }

    /// Whether `load` is due before the current version can be read.
    pub fn needs_load(&self) -> bool {
        self.block.is_none() && !self.blocks.is_empty()
    }

    /// The current version; `None` after the last.
    ///
    /// # Panics
    /// If `load` is due.
    pub fn current(&self) -> Option<CursorVersion> {
        assert!(!self.needs_load(), "the block was not loaded");
        let block = self.block.clone()?;
        let position = Position::new(self.blocks.start, self.rows.start);
        Some(CursorVersion { end: self.segment.end(position), position, block })
    }

    /// Moves on by this many versions of the current block.
    pub fn advance(&mut self, versions: usize) {
        self.rows.start = self.rows.end.min(self.rows.start + versions);
        if self.block.is_some() && self.rows.is_empty() {
            self.blocks.start += 1;
            self.block = None;
        }
    }

    /// How many versions of the current block come before the current version of every other cursor.
    fn run_before(&self, others: &[SegmentCursor<E>]) -> usize {
        let Some(block) = &self.block else { return 0 };
        let mut end = self.rows.end;
        for other in others.iter().filter(|other| !Rc::ptr_eq(&other.segment, &self.segment)) {
            let Some(limit) = &other.block else { continue };
            let comes_first = |row: usize| block.compare(row, limit, other.rows.start) == Ordering::Less;
            // The first row does, even if it is the same. Runs are often short: looked for from there on.
            let next = self.rows.start + 1;
            end = next + window_partition_point(end - next, 0, 0, |row| comes_first(next + row));
        }
        end - self.rows.start
    }
}

/// A version that a cursor stands on.
pub struct CursorVersion {
    /// When it ends.
    pub end: Stamp,
    /// Where it is.
    pub position: Position,
    block: Rc<Decoded>,
}

impl CursorVersion {
    /// Its key.
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        self.block.keys.append(self.position.row(), &mut key);
        key
    }

    /// When it begins.
    pub fn begin(&self) -> Stamp {
        self.block.plain.begin(self.position.row())
    }

    /// Its values, one for each column, as `row` encodes them.
    pub fn values(&self) -> Vec<Option<Vec<u8>>> {
        let views = self.block.plain.views();
        let columns = &views[..views.len() - 1];
        columns.iter().map(|column| column.value(self.position.row()).map(<[u8]>::to_vec)).collect()
    }
}

/// What a merge made.
pub struct Merged {
    /// For the manifest; `None` if no version was left and there is no file.
    pub meta: Option<SegmentMeta>,
    /// Where the versions that were kept went.
    pub positions: PositionMap,
}

/// Position in an input of a merge -> position in its output. Four bytes for each version of the inputs.
pub struct PositionMap {
    inputs: Vec<Moves>,
}

/// Where the versions of one input went.
struct Moves {
    /// By block: which of `to` is its first row's.
    starts: Vec<usize>,
    to: Vec<u32>,
}

const DROPPED: u32 = u32::MAX;

impl PositionMap {
    fn new<E: Env>(inputs: &[Rc<Segment<E>>]) -> PositionMap {
        let moves = |input: &Rc<Segment<E>>| {
            let (mut starts, mut rows) = (Vec::with_capacity(input.block_count()), 0);
            for block in 0..input.block_count() {
                starts.push(rows);
                rows += input.rows_of(block);
            }
            Moves { starts, to: vec![DROPPED; rows] }
        };
        PositionMap { inputs: inputs.iter().map(moves).collect() }
    }

    /// Where a version of an input is now; `None` if it was dropped.
    pub fn get(&self, input: usize, position: Position) -> Option<Position> {
        let moves = self.inputs.get(input)?;
        let to = *moves.to.get(moves.starts.get(position.block())? + position.row())?;
        (to != DROPPED).then_some(Position(to))
    }

    fn set(&mut self, input: usize, from: Position, to: Position) {
        let Moves { starts, to: moves } = &mut self.inputs[input];
        moves[starts[from.block()] + from.row()] = to.0;
    }

    /// Gives every end that the inputs know now to the output. To be called in the turn in which readers change over.
    pub fn carry<E: Env>(&self, from: &[Rc<Segment<E>>], to: &Segment<E>) {
        for (input, segment) in from.iter().enumerate() {
            for (position, end) in segment.ends() {
                if let Some(position) = self.get(input, position) {
                    to.set_end(position, end);
                }
            }
        }
    }
}

/// Merges segments of one range into one. Drops versions that ended at or before `horizon`. Meanwhile the inputs may get
/// more ends: `PositionMap::carry` takes them along. Gives other tasks a turn with every block.
///
/// # Errors
/// If an input is corrupt or the file system refuses; then there is no file.
pub async fn merge<E: Env>(
    inputs: &[Rc<Segment<E>>],
    horizon: Timestamp,
    writer: SegmentWriter<E>,
) -> Result<Merged> {
    merge_span(inputs, &KeySpan::all(), horizon, writer).await
}

/// As `merge`, of the versions in a span only: a range that was split holds segments of more than its own keys.
///
/// # Errors
/// As `merge`.
pub async fn merge_span<E: Env>(
    inputs: &[Rc<Segment<E>>],
    span: &KeySpan,
    horizon: Timestamp,
    mut writer: SegmentWriter<E>,
) -> Result<Merged> {
    let mut positions = PositionMap::new(inputs);
    let read_bytes = READ_BYTES.min(READ_BYTES_ALL / inputs.len().max(1) as u64);
    let cursor = |input: &Rc<Segment<E>>| {
        let cursor = SegmentCursor::with_horizon(Rc::clone(input), span.clone(), horizon);
        SegmentCursor { read_bytes, ..cursor }
    };
    let mut cursors: Vec<_> = inputs.iter().map(cursor).collect();
    let mut plan = Plan::default();
    loop {
        for cursor in cursors.iter_mut().filter(|cursor| cursor.needs_load()) {
            writer.breathe().await;
            if let Err(e) = cursor.load().await {
                writer.abort().await;
                return Err(e);
            }
            writer.resume();
        }
        let Some(input) = smallest(&cursors) else { break };
        let run = cursors[input].run_before(&cursors);
        plan.add(input, &cursors[input], run);
        cursors[input].advance(run);
        if plan.is_write_due() {
            plan.write(&mut writer, &mut positions, false).await;
            if writer.is_write_due() {
                writer.write().await?;
            }
        }
    }
    plan.write(&mut writer, &mut positions, true).await;
    let meta = writer.finish().await?.map(|written| written.meta);
    Ok(Merged { meta, positions })
}

/// The cursor whose version comes first. A transaction that changed a row twice leaves two versions with one begin; if
/// they lie in two inputs, the newer is in the later one.
fn smallest<E: Env>(cursors: &[SegmentCursor<E>]) -> Option<usize> {
    let mut first: Option<(usize, &Decoded, usize)> = None;
    for (index, cursor) in cursors.iter().enumerate() {
        let Some(block) = &cursor.block else { continue };
        let row = cursor.rows.start;
        if first.is_none_or(|(_, best, best_row)| block.compare(row, best, best_row) != Ordering::Greater) {
            first = Some((index, block, row));
        }
    }
    first.map(|(index, ..)| index)
}

/// Versions for the next blocks of the output, in order.
#[derive(Default)]
struct Plan {
    /// Blocks that they come from, and the input of each.
    sources: Vec<(usize, Rc<Decoded>)>,
    /// Source, and row in it.
    rows: VecDeque<(u32, u16)>,
    /// About their plain bytes.
    bytes: usize,
}

impl Plan {
    /// Adds the next `run` versions of a cursor, without the dead ones.
    fn add<E: Env>(&mut self, input: usize, cursor: &SegmentCursor<E>, run: usize) {
        let Some(block) = &cursor.block else { return };
        let known = self.sources.iter().rposition(|(_, source)| Rc::ptr_eq(source, block));
        let source = known.unwrap_or_else(|| {
            self.sources.push((input, Rc::clone(block)));
            self.sources.len() - 1
        });
        let source = u32::try_from(source).expect("a few blocks for each input");
        let row_of = |row: usize| u16::try_from(row).expect("below BLOCK_ROWS");
        let rows = (cursor.rows.start..cursor.rows.start + run).map(row_of);
        let before = self.rows.len();
        if cursor.dead.is_empty() {
            self.rows.extend(rows.map(|row| (source, row)));
        } else {
            let live = rows.filter(|row| cursor.dead.binary_search(row).is_err());
            self.rows.extend(live.map(|row| (source, row)));
        }
        self.bytes += (self.rows.len() - before) * block.row_bytes;
    }

    /// Whether there are enough versions for a row group.
    fn is_write_due(&self) -> bool {
        self.rows.len() >= BLOCK_ROWS || self.bytes >= PLAN_BYTES_MAX
    }

    /// Makes blocks of the versions: of all, or as long as there are enough to fill one.
    async fn write<E: Env>(&mut self, writer: &mut SegmentWriter<E>, positions: &mut PositionMap, all: bool) {
        while self.is_write_due() || (all && !self.rows.is_empty()) {
            let mut taken = 0;
            // A few at a time: rows may be large.
            while writer.room() > 0 && taken < self.rows.len() {
                let part = (self.rows.len() - taken).min(writer.room()).min(self.step());
                let rows = taken..taken + part;
                writer.plain().extend(part, |column, out| self.gather(column, rows.clone(), out));
                taken += part;
            }
            writer.seal_block().await;
            let (first, sealed) = writer.take_sealed();
            for (block, rows) in sealed.into_iter().enumerate() {
                for (row, (source, from)) in self.rows.drain(..rows).enumerate() {
                    let (input, decoded) = &self.sources[source as usize];
                    self.bytes -= decoded.row_bytes;
                    let from = Position::new(decoded.number, usize::from(from));
                    positions.set(*input, from, Position::new(first + block, row));
                }
            }
        }
        self.forget_used();
    }

    /// Rows that may be copied before the size of the block is looked at again.
    fn step(&self) -> usize {
        let row_bytes = |source: &(usize, Rc<Decoded>)| source.1.plain.bytes() / source.1.plain.rows();
        let largest = self.sources.iter().map(row_bytes).max().unwrap_or(0);
        (READ_BYTES as usize / largest.max(1)).clamp(1, BLOCK_ROWS)
    }

    fn gather(&self, column: usize, rows: Range<usize>, out: &mut ColumnBuf) {
        let views: Vec<ColumnView<'_>> =
            self.sources.iter().map(|(_, source)| source.plain.view(column)).collect();
        let mut rows = self.rows.range(rows).peekable();
        while let Some((source, start)) = rows.next() {
            let mut end = start + 1;
            while rows.next_if_eq(&&(*source, end)).is_some() {
                end += 1;
            }
            out.extend(&views[*source as usize], usize::from(*start)..usize::from(end));
        }
    }

    /// Lets go of blocks whose versions have all been written.
    fn forget_used(&mut self) {
        let mut used = vec![None; self.sources.len()];
        let mut kept = Vec::new();
        for (source, _) in &mut self.rows {
            let at = *source as usize;
            let next = *used[at].get_or_insert_with(|| {
                kept.push(self.sources[at].clone());
                u32::try_from(kept.len() - 1).expect("fewer than before")
            });
            *source = next;
        }
        self.sources = kept;
    }
}
