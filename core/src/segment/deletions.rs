//! Deletion vectors: the ends of versions in a segment, kept beside it, because the segment never changes.
//!
//! An end goes through three stages. It is *fresh* until the manifest has it: provisional, or committed and in the log.
//! Then it is *settled* if it took place at or before every snapshot: nobody asks any more when, so the settled ends of a
//! block share one stamp and take a bit or two bytes each. Else it is *kept*, with its stamp, until it can settle.
//!
//! Invariants: a position is in one stage only; kept and settled ends are committed; a committed end never changes, but
//! for a later stamp that no snapshot can tell from it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Position;
use super::format::{BLOCK_ROW_BITS, BLOCK_ROWS};
use super::reader::Segment;
use crate::clock::Timestamp;
use crate::env::Env;
use crate::key::KeySpan;
use crate::stamp::Stamp;

/// Bytes of memory for one entry of a map from positions to stamps, with the free places of its nodes.
const ENTRY_BYTES: usize = 20;
/// Bytes of memory for the settled ends of a block, beside its rows.
const SETTLED_BYTES: usize = size_of::<(u32, Settled)>() * 3 / 2;
/// Rows of a block as bits.
type Bits = [u64; BLOCK_ROWS / 64];

/// Ends of versions in one segment. What is not in it is live.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeletionVector {
    fresh: BTreeMap<Position, Stamp>,
    kept: BTreeMap<Position, Stamp>,
    /// By block.
    settled: BTreeMap<u32, Settled>,
    settled_rows: usize,
    settled_bytes: usize,
    /// While somebody watches: positions whose end was set.
    changes: Option<Vec<Position>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Settled {
    stamp: Stamp,
    rows: Rows,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Rows {
    /// Rising.
    Few(Vec<u16>),
    Many(Box<Bits>),
}

impl Rows {
    fn contains(&self, row: u16) -> bool {
        match self {
            Rows::Few(rows) => rows.binary_search(&row).is_ok(),
            Rows::Many(bits) => bits[usize::from(row) / 64] >> (row % 64) & 1 == 1,
        }
    }

    /// Adds a row that is not there.
    fn insert(&mut self, row: u16) {
        match self {
            Rows::Few(rows) if rows.len() * size_of::<u16>() >= size_of::<Bits>() => {
                let mut bits = Box::new([0; BLOCK_ROWS / 64]);
                rows.iter().chain([&row]).for_each(|row| bits[usize::from(*row) / 64] |= 1 << (row % 64));
                *self = Rows::Many(bits);
            }
            Rows::Few(rows) => rows.insert(rows.partition_point(|other| *other < row), row),
            Rows::Many(bits) => bits[usize::from(row) / 64] |= 1 << (row % 64),
        }
    }

    fn remove(&mut self, row: u16) {
        match self {
            Rows::Few(rows) => rows.retain(|other| *other != row),
            Rows::Many(bits) => bits[usize::from(row) / 64] &= !(1 << (row % 64)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Rows::Few(rows) => rows.is_empty(),
            Rows::Many(bits) => bits.iter().all(|word| *word == 0),
        }
    }

    fn to_vec(&self) -> Vec<u16> {
        match self {
            Rows::Few(rows) => rows.clone(),
            Rows::Many(_) => (0..BLOCK_ROWS as u16).filter(|row| self.contains(*row)).collect(),
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Rows::Few(rows) => rows.capacity() * size_of::<u16>(),
            Rows::Many(_) => size_of::<Bits>(),
        }
    }
}

fn block_of(position: Position) -> u32 {
    position.0 >> BLOCK_ROW_BITS
}

fn row_of(position: Position) -> u16 {
    u16::try_from(position.row()).expect("below BLOCK_ROWS")
}

fn positions_of(block: u32) -> RangeInclusive<Position> {
    let first = block << BLOCK_ROW_BITS;
    Position(first)..=Position(first | (BLOCK_ROWS as u32 - 1))
}

impl DeletionVector {
    /// Whether every version is live.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Versions that are not live.
    pub fn len(&self) -> usize {
        self.fresh.len() + self.kept.len() + self.settled_rows
    }

    /// The end of a version.
    pub fn get(&self, position: Position) -> Stamp {
        if self.is_empty() {
            return Stamp::LIVE;
        }
        let exact = self.fresh.get(&position).or_else(|| self.kept.get(&position)).copied();
        exact.or_else(|| self.settled_end(position)).unwrap_or(Stamp::LIVE)
    }

    fn settled_end(&self, position: Position) -> Option<Stamp> {
        let settled = self.settled.get(&block_of(position))?;
        settled.rows.contains(row_of(position)).then_some(settled.stamp)
    }

    /// Sets the end of a version; `Stamp::LIVE` forgets it. Nothing happens if the manifest knows the end already.
    pub fn set(&mut self, position: Position, end: Stamp) {
        if self.kept.contains_key(&position) || self.settled_end(position).is_some() {
            return;
        }
        match end {
            Stamp::LIVE => self.fresh.remove(&position),
            _ => self.fresh.insert(position, end),
        };
        if let Some(changes) = &mut self.changes {
            changes.push(position);
        }
    }

    /// Sets an end that the manifest knows.
    fn restore(&mut self, position: Position, end: Stamp) {
        self.forget_saved(position);
        self.kept.insert(position, end);
    }

    fn forget_saved(&mut self, position: Position) {
        self.kept.remove(&position);
        let block = block_of(position);
        let Some(settled) = self.settled.get_mut(&block).filter(|s| s.rows.contains(row_of(position))) else {
            return;
        };
        settled.rows.remove(row_of(position));
        self.settled_rows -= 1;
        if settled.rows.is_empty() {
            self.settled_bytes -= settled.rows.size_bytes();
            self.settled.remove(&block);
        }
    }

    fn settle(&mut self, position: Position, horizon: Timestamp) {
        let stamp = Stamp::committed(horizon);
        let empty = || Settled { stamp, rows: Rows::Few(Vec::new()) };
        let settled = self.settled.entry(block_of(position)).or_insert_with(empty);
        let before = settled.rows.size_bytes();
        settled.stamp = settled.stamp.max(stamp);
        settled.rows.insert(row_of(position));
        self.settled_bytes = self.settled_bytes + settled.rows.size_bytes() - before;
        self.settled_rows += 1;
    }

    /// Takes committed fresh ends for the manifest, looking at `count` from `from` on; and where to go on. They are then
    /// kept or settled; what settles is given the horizon as its stamp.
    fn take_fresh(
        &mut self,
        from: Position,
        count: usize,
        horizon: Timestamp,
        out: &mut Ends,
    ) -> Option<Position> {
        let mut slice = self.fresh.range(from..).map(|(position, end)| (*position, *end));
        let looked_at: Ends = slice.by_ref().take(count).collect();
        let next = slice.next().map(|(position, _)| position);
        for (position, end) in looked_at {
            let Some(at) = end.timestamp() else { continue };
            self.fresh.remove(&position);
            if at <= horizon {
                self.settle(position, horizon);
                out.push((position, Stamp::committed(horizon)));
            } else {
                self.kept.insert(position, end);
                out.push((position, end));
            }
        }
        next
    }

    /// Settles kept ends, looking at `count` from `from` on; where to go on.
    fn settle_kept(&mut self, from: Position, count: usize, horizon: Timestamp) -> Option<Position> {
        let mut slice = self.kept.range(from..).map(|(position, end)| (*position, *end));
        let looked_at: Ends = slice.by_ref().take(count).collect();
        let next = slice.next().map(|(position, _)| position);
        for (position, end) in looked_at {
            if end.timestamp().is_some_and(|at| at <= horizon) {
                self.kept.remove(&position);
                self.settle(position, horizon);
            }
        }
        next
    }

    /// The manifest did not take these ends after all.
    fn put_back(&mut self, ends: &[(Position, Stamp)]) {
        for (position, end) in ends {
            self.forget_saved(*position);
            self.fresh.insert(*position, *end);
        }
    }

    /// The ends in one block, rows rising.
    pub(super) fn block(&self, block: usize) -> Vec<(u16, Stamp)> {
        let Some(block) = u32::try_from(block).ok().filter(|_| !self.is_empty()) else { return Vec::new() };
        let exact = |map: &BTreeMap<Position, Stamp>, out: &mut Vec<(u16, Stamp)>| {
            let ends = map.range(positions_of(block));
            out.extend(ends.map(|(position, end)| (row_of(*position), *end)));
        };
        let mut ends = Vec::new();
        exact(&self.fresh, &mut ends);
        exact(&self.kept, &mut ends);
        if let Some(settled) = self.settled.get(&block) {
            ends.extend(settled.rows.to_vec().into_iter().map(|row| (row, settled.stamp)));
        }
        ends.sort_unstable_by_key(|(row, _)| *row);
        ends
    }

    /// All that are not live, positions rising.
    pub fn entries(&self) -> impl Iterator<Item = (Position, Stamp)> + '_ {
        let settled = self.settled.iter().flat_map(|(block, settled)| {
            let rows = settled.rows.to_vec().into_iter();
            rows.map(move |row| (Position(block << BLOCK_ROW_BITS | u32::from(row)), settled.stamp))
        });
        let exact = self.fresh.iter().chain(&self.kept).map(|(position, end)| (*position, *end));
        let all: BTreeMap<_, _> = exact.chain(settled).collect();
        all.into_iter()
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        let changes = self.changes.as_ref().map_or(0, |changes| changes.capacity() * size_of::<Position>());
        (self.fresh.len() + self.kept.len()) * ENTRY_BYTES
            + self.settled.len() * SETTLED_BYTES
            + self.settled_bytes
            + changes
    }
}

/// Ends by position.
type Ends = Vec<(Position, Stamp)>;

/// How many ends there are in each stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct EndCounts {
    /// Not in the manifest yet.
    pub fresh: usize,
    /// In the manifest, with a stamp that some snapshot may ask for.
    pub kept: usize,
    /// In the manifest, and at or before every snapshot: a merge drops these versions.
    pub settled: usize,
}

/// A walk over the ends of a segment, a slice at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndsWalk(Option<Position>);

impl EndsWalk {
    /// From the first.
    pub fn new() -> EndsWalk {
        EndsWalk(Some(Position(0)))
    }

    /// Whether all were looked at.
    pub fn is_done(self) -> bool {
        self.0.is_none()
    }
}

impl<E: Env> Segment<E> {
    pub(crate) fn end_counts(&self) -> EndCounts {
        let ends = self.deletions.borrow();
        EndCounts { fresh: ends.fresh.len(), kept: ends.kept.len(), settled: ends.settled_rows }
    }

    /// Sets ends, but not those in blocks without keys of the span.
    pub(crate) fn set_ends_in(&self, span: &KeySpan, ends: Vec<(Position, Stamp)>) {
        let blocks = self.blocks_in(span);
        let inside = ends.into_iter().filter(|(position, _)| blocks.contains(&position.block()));
        inside.for_each(|(position, end)| self.set_end(position, end));
    }

    /// Bytes of memory for ends that the manifest does not have.
    pub(crate) fn fresh_ends_bytes(&self) -> usize {
        self.deletions.borrow().fresh.len() * ENTRY_BYTES
    }

    /// Bytes of memory for the ends of its versions.
    pub(crate) fn ends_bytes(&self) -> usize {
        self.deletions.borrow().size_bytes()
    }

    /// Sets ends that the manifest knows.
    pub(crate) fn restore_ends(&self, ends: impl IntoIterator<Item = (Position, Stamp)>) {
        let mut deletions = self.deletions.borrow_mut();
        ends.into_iter().for_each(|(position, end)| deletions.restore(position, end));
    }

    /// Takes the next committed ends that the manifest does not have, looking at `count`. Positions rise over the walk.
    pub(crate) fn take_fresh_ends(
        &self,
        walk: &mut EndsWalk,
        count: usize,
        horizon: Timestamp,
        out: &mut Vec<(Position, Stamp)>,
    ) {
        let Some(from) = walk.0 else { return };
        walk.0 = self.deletions.borrow_mut().take_fresh(from, count, horizon, out);
    }

    /// Settles what the horizon has passed, looking at the next `count` kept ends.
    pub(crate) fn settle_ends(&self, walk: &mut EndsWalk, count: usize, horizon: Timestamp) {
        let Some(from) = walk.0 else { return };
        walk.0 = self.deletions.borrow_mut().settle_kept(from, count, horizon);
    }

    /// The manifest did not take these ends after all.
    pub(crate) fn put_back_ends(&self, ends: &[(Position, Stamp)]) {
        self.deletions.borrow_mut().put_back(ends);
    }

    /// The ends in one block.
    pub(crate) fn ends_in_block(&self, block: usize) -> Vec<(Position, Stamp)> {
        let ends = self.deletions.borrow().block(block);
        ends.into_iter().map(|(row, end)| (Position::new(block, usize::from(row)), end)).collect()
    }

    /// From now on the positions whose ends are set are written down.
    pub(crate) fn watch_ends(&self) {
        self.deletions.borrow_mut().changes = Some(Vec::new());
    }

    /// At most `count` of the positions whose ends were set since the last call.
    pub(crate) fn changed_ends(&self, count: usize) -> Vec<Position> {
        let mut deletions = self.deletions.borrow_mut();
        let Some(changes) = &mut deletions.changes else { return Vec::new() };
        changes.split_off(changes.len().saturating_sub(count))
    }

    /// Ends `watch_ends`.
    pub(crate) fn unwatch_ends(&self) {
        self.deletions.borrow_mut().changes = None;
    }
}

#[cfg(test)]
mod tests;
