//! Compaction: several segments of one range become one, without the versions that no snapshot can see any more.

use std::ops::Range;
use std::rc::Rc;

use super::block::Block;
use super::format::BLOCK_ROWS;
use super::reader::Segment;
use super::writer::SegmentWriter;
use super::{Position, SegmentMeta};
use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::Result;
use crate::key::KeySpan;
use crate::row::RowBuilder;
use crate::stamp::Stamp;

/// Walks all versions of a segment that lie in a span, in order. Holds one block.
pub struct SegmentCursor<E: Env> {
    segment: Rc<Segment<E>>,
    span: KeySpan,
    /// The block that `block` is, or that comes next, and those after it.
    blocks: Range<usize>,
    block: Option<Block>,
    /// The current version in the block, and those after it.
    rows: Range<usize>,
    key: Vec<u8>,
}

impl<E: Env> SegmentCursor<E> {
    /// A cursor before the first version of the span: `load` it first.
    pub fn new(segment: Rc<Segment<E>>, span: KeySpan) -> SegmentCursor<E> {
        let blocks = segment.blocks_in(&span);
        SegmentCursor { segment, span, blocks, block: None, rows: 0..0, key: Vec::new() }
    }

    /// Reads the block of the current version, if it is not here; past the cache, which it would only disturb.
    ///
    /// # Errors
    /// If the block cannot be read or is corrupt.
    pub async fn load(&mut self) -> Result<()> {
        while self.needs_load() {
            let block = self.segment.read_block(self.blocks.start).await?;
            self.rows = block.rows_in(&self.span);
            if self.rows.is_empty() {
                self.blocks.start += 1;
            } else {
                self.block = Some(block);
                self.set_key();
            }
        }
        Ok(())
    }

    /// Whether `load` is due before the current version can be read.
    pub fn needs_load(&self) -> bool {
        self.block.is_none() && !self.blocks.is_empty()
    }

    fn set_key(&mut self) {
        self.key.clear();
        if let Some(block) = &self.block {
            block.append_key(self.rows.start, &mut self.key);
        }
    }

    /// The current version; `None` after the last.
    ///
    /// # Panics
    /// If `load` is due.
    pub fn current(&self) -> Option<CursorVersion<'_>> {
        assert!(!self.needs_load(), "the block was not loaded");
        let block = self.block.as_ref()?;
        let position = Position::new(self.blocks.start, self.rows.start);
        Some(CursorVersion {
            key: &self.key,
            begin: block.begin(self.rows.start),
            end: self.segment.end(position),
            position,
            block,
        })
    }

    /// Moves to the next version.
    pub fn advance(&mut self) {
        if self.block.is_none() {
            return;
        }
        self.rows.start += 1;
        if self.rows.is_empty() {
            self.blocks.start += 1;
            self.block = None;
        }
        self.set_key();
    }
}

/// A version that a cursor stands on.
pub struct CursorVersion<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// When it begins.
    pub begin: Stamp,
    /// When it ends.
    pub end: Stamp,
    /// Where it is.
    pub position: Position,
    block: &'a Block,
}

impl CursorVersion<'_> {
    /// Builds the row of these columns, without finishing it.
    pub fn read(&self, columns: &[usize], out: &mut RowBuilder) {
        out.start(columns.len());
        columns.iter().for_each(|column| self.block.view(*column).push_to(self.position.row(), out));
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
    inputs: Vec<Vec<u32>>,
}

const DROPPED: u32 = u32::MAX;

impl PositionMap {
    fn new<E: Env>(inputs: &[Rc<Segment<E>>]) -> PositionMap {
        PositionMap {
            inputs: inputs.iter().map(|input| vec![DROPPED; input.block_count() * BLOCK_ROWS]).collect(),
        }
    }

    /// Where a version of an input is now; `None` if it was dropped.
    pub fn get(&self, input: usize, position: Position) -> Option<Position> {
        let to = *self.inputs.get(input)?.get(position.0 as usize)?;
        (to != DROPPED).then_some(Position(to))
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
    let cursor = |input: &Rc<Segment<E>>| SegmentCursor::new(Rc::clone(input), span.clone());
    let mut cursors: Vec<_> = inputs.iter().map(cursor).collect();
    loop {
        for cursor in cursors.iter_mut().filter(|cursor| cursor.needs_load()) {
            writer.env().yield_now().await;
            if let Err(e) = cursor.load().await {
                writer.abort().await;
                return Err(e);
            }
        }
        let Some(input) = smallest(&cursors) else { break };
        keep_or_drop(&cursors[input], input, horizon, &mut writer, &mut positions);
        cursors[input].advance();
        if writer.is_write_due() {
            writer.write().await?;
        }
    }
    let meta = writer.finish().await?.map(|written| written.meta);
    Ok(Merged { meta, positions })
}

/// The cursor whose version comes first: smallest key, newest begin.
fn smallest<E: Env>(cursors: &[SegmentCursor<E>]) -> Option<usize> {
    let versions = cursors.iter().enumerate().filter_map(|(index, cursor)| Some((index, cursor.current()?)));
    let first = versions.min_by(|(_, a), (_, b)| a.key.cmp(b.key).then(b.begin.cmp(&a.begin)));
    first.map(|(index, _)| index)
}

fn keep_or_drop<E: Env>(
    cursor: &SegmentCursor<E>,
    input: usize,
    horizon: Timestamp,
    writer: &mut SegmentWriter<E>,
    positions: &mut PositionMap,
) {
    let Some(version) = cursor.current() else { return };
    if version.end.timestamp().is_none_or(|end| end > horizon) {
        let to = writer.add(version.key, version.begin, version.block.values(version.position.row()));
        positions.inputs[input][version.position.0 as usize] = to.0;
    }
}
