//! Changes of one range: checked, logged and applied in one turn of the loop.
//!
//! A batch is sorted by key once; from then on memtables, segments and columns are gone through in that order, in a
//! few passes over the whole batch.

use std::rc::Rc;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId, TxnId};
use crate::key::Key;
use crate::memtable::{Located, RowId};
use crate::router::ReadView;
use crate::segment::{Segment, Version};
use crate::stamp::Stamp;
use crate::wal::{Record, Reservation, Wal};
use crate::write_batch::{SortedBatch, Write, WriteBatch, WriteOp};

use super::range::{Newest, Place, Range, SegmentHit, SharedMemtable};
use super::records::{CHANGES_OFFSET, kind};
use super::{Inner, Shard};

/// Raft term of a range with a single voter.
pub(super) const TERM: u64 = 1;
/// Keys that are searched in segments between two turns of the loop.
const SEARCHES_PER_TURN: usize = 1_024;

/// What becomes of the changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteMode {
    /// They are all of their transaction: commit at once.
    Commit,
    /// They stay provisional until the transaction ends.
    Stage,
}

/// What one try to write came to.
enum Attempt {
    /// Applied; the log position after its record.
    Applied(Lsn),
    /// Some key may lie in segments and has not been searched there.
    NeedsSegments,
    /// A transaction that is still open has written the key.
    Locked(Key, TxnId),
}

/// A batch in order of keys, and what is known of its keys. Positions count in that order.
struct Changes<'a, E: Env> {
    batch: &'a WriteBatch,
    sorted: SortedBatch<'a>,
    /// Where the keys belong in a memtable that was the active one.
    located: Option<(SharedMemtable, Located)>,
    /// The structure of the range when segments were searched.
    structure: u64,
    /// What they hold for each key; `None` for one that was in memory then.
    hits: Vec<Option<SegmentHit<E>>>,
}

/// What a change does to the newest version of its key.
enum Verdict<E: Env> {
    New,
    Replaces(Place<E>),
    Locked(TxnId),
}

impl<E: Env> Shard<E> {
    /// Checks and applies the changes of one range. In [`WriteMode::Commit`] they are durable when this returns.
    ///
    /// # Errors
    /// `DuplicateKey` and `WriteConflict` as `WriteOp` says; `LockTimeout`; `RangeMoved` if the range is not here or
    /// does not hold a key; `DiskFull`, `MemoryFull`, `ShardStopped`. Nothing is applied then.
    pub async fn write(
        &self,
        id: RangeId,
        view: ReadView,
        batch: &WriteBatch,
        mode: WriteMode,
    ) -> Result<()> {
        let inner = &self.0;
        inner.clock.observe(view.snapshot);
        if batch.is_empty() {
            return Ok(());
        }
        let framed = Wal::<E>::framed(CHANGES_OFFSET + batch.as_bytes().len());
        if framed > inner.config.wal_record_bytes_max as usize {
            let limit = inner.config.wal_record_bytes_max;
            return Err(Error::TooLarge { what: format!("changes of {framed} bytes exceed {limit} bytes") });
        }
        let sorted = match batch.sorted() {
            Ok(sorted) => sorted,
            Err(key) => {
                let table = inner.state.borrow_mut().range(id)?.table;
                return Err(Error::DuplicateKey { table, key });
            }
        };
        inner.admit().await?;
        let mut reservation = inner.wal.reserve(framed).await?;
        let deadline = inner.deadline(inner.config.lock_timeout);
        let mut changes = Changes { batch, sorted, located: None, structure: 0, hits: Vec::new() };
        let lsn = loop {
            let seen = inner.released.epoch();
            match inner.try_write(id, view, &mut changes, mode, &mut reservation)? {
                Attempt::Applied(lsn) => break lsn,
                Attempt::NeedsSegments => inner.search_segments(id, &mut changes).await?,
                Attempt::Locked(key, holder) => {
                    drop(reservation);
                    inner.wait_for_lock(id, seen, deadline, key, holder).await?;
                    reservation = inner.wal.reserve(framed).await?;
                }
            }
        };
        self.count_written(framed);
        if mode == WriteMode::Commit {
            inner.wal.durable(lsn).await?;
            inner.settle_durable();
        }
        Ok(())
    }
}

impl<E: Env> Inner<E> {
    fn try_write(
        &self,
        id: RangeId,
        view: ReadView,
        changes: &mut Changes<'_, E>,
        mode: WriteMode,
        reservation: &mut Reservation,
    ) -> Result<Attempt> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let range = state.ranges.get_mut(&id).ok_or(Error::RangeMoved)?;
        // A transaction that is at work here may finish: the hand-over waits for it.
        if range.moving && !range.open_txns.contains(&view.txn) {
            return Err(Error::RangeMoved);
        }
        let sorted = &changes.sorted;
        let inside = range.span.contains(sorted.key(0)) && range.span.contains(sorted.key(sorted.len() - 1));
        if !inside {
            return Err(Error::RangeMoved);
        }
        let located = changes.locate(range);
        let Some(newest) = changes.newest(range, &located) else {
            changes.located = Some((range.active().clone(), located));
            return Ok(Attempt::NeedsSegments);
        };
        let replaced = match changes.judge(range, newest, view)? {
            Ok(replaced) => replaced,
            Err(locked) => return Ok(locked),
        };
        let (kind, first, stamp) = match mode {
            WriteMode::Commit => {
                let commit = self.tick();
                (kind::WRITE, commit.0, Stamp::committed(commit))
            }
            WriteMode::Stage => (kind::STAGE, view.txn.0, Stamp::provisional(view.txn)),
        };
        range.index += 1;
        let payload = changes.batch.as_bytes();
        let record = Record { range: id, term: TERM, index: range.index, kind, payload };
        let lsn = self.wal.append_after(reservation, &first.to_le_bytes(), record);
        replaced.iter().for_each(|place| place.set_end(stamp));
        range.dirty = true;
        let made = insert(range.active(), &changes.sorted, located, stamp);
        match mode {
            WriteMode::Commit => state.undurable.push_back((crate::clock::Timestamp(first), lsn)),
            WriteMode::Stage => {
                range.open_txns.insert(view.txn);
                let participant = state.txns.entry(view.txn).or_default();
                participant.created(id, range.active(), &made);
                participant.ranges.insert(id);
                participant.ended.extend(replaced.into_iter().map(|place| (id, place)));
            }
        }
        Ok(Attempt::Applied(lsn))
    }

    /// Searches the segments for the keys that the memtables do not hold.
    async fn search_segments(&self, id: RangeId, changes: &mut Changes<'_, E>) -> Result<()> {
        let (segments, in_memory) = {
            let mut state = self.state.borrow_mut();
            let range = state.range(id)?;
            changes.structure = range.structure;
            let located = changes.locate(range);
            let in_memory = changes.newest_in_memory(range, &located);
            changes.located = Some((range.active().clone(), located));
            (range.segments.clone(), in_memory)
        };
        let sorted = &changes.sorted;
        let is_in_memory = |position: usize| in_memory.get(position).is_some_and(Option::is_some);
        changes.hits.clear();
        changes.hits.extend((0..sorted.len()).map(|position| (!is_in_memory(position)).then_some(None)));
        for segment in segments.iter().rev() {
            let mut positions = covered(segment, sorted);
            while !positions.is_empty() {
                let some = positions.start..positions.end.min(positions.start + SEARCHES_PER_TURN);
                positions.start = some.end;
                let mut found = Vec::new();
                let hits = &changes.hits;
                let open = some.filter(|position| matches!(hits[*position], Some(None)));
                let keys = open.map(|position| (position, sorted.key(position)));
                let tell = |position, version: &Version| {
                    found.push((position, version.position(), version.begin()));
                };
                segment.find_rising(keys, &self.cache, tell).await?;
                for (position, place, begin) in found {
                    changes.hits[position] = Some(Some((segment.clone(), place, begin)));
                }
                if !positions.is_empty() {
                    self.env.yield_now().await;
                }
            }
        }
        Ok(())
    }

    async fn wait_for_lock(
        &self,
        id: RangeId,
        seen: u64,
        deadline: u64,
        key: Key,
        holder: TxnId,
    ) -> Result<()> {
        if self.wait(&self.released, seen, deadline).await {
            return Ok(());
        }
        let table = self.state.borrow_mut().range(id)?.table;
        Err(Error::LockTimeout { table, key, holder })
    }
}

/// The positions of keys that a segment may hold.
fn covered<E: Env>(segment: &Segment<E>, sorted: &SortedBatch<'_>) -> std::ops::Range<usize> {
    let meta = segment.meta();
    let start = sorted.end_below(0, &meta.first_key);
    let mut end = sorted.end_below(start, &meta.last_key);
    end += usize::from(end < sorted.len() && *sorted.key(end) == *meta.last_key);
    start..end
}

/// Adds the rows of checked changes to a memtable in which they were located.
fn insert(active: &SharedMemtable, sorted: &SortedBatch<'_>, located: Located, stamp: Stamp) -> Vec<RowId> {
    let mut table = active.borrow_mut();
    let made = match sorted.without_deletes() {
        None => table.insert_sorted(sorted, &located, stamp),
        Some(rows) if rows.is_empty() => Ok(Vec::new()),
        Some(rows) => {
            let located = table.locate(&rows);
            table.insert_sorted(&rows, &located, stamp)
        }
    };
    made.expect("sessions encode rows by the schema of the table, whose id names the range")
}

impl<E: Env> Changes<'_, E> {
    /// Where the keys belong in the range's active memtable.
    fn locate(&mut self, range: &Range<E>) -> Located {
        let active = range.active();
        let table = active.borrow();
        let known = self.located.take().filter(|(of, at)| Rc::ptr_eq(of, active) && table.is_current(at));
        known.map_or_else(|| table.locate(&self.sorted), |(_, located)| located)
    }

    /// The newest versions of the keys in the memtables that did not abort; empty if there is none at all.
    fn newest_in_memory(&self, range: &Range<E>, located: &Located) -> Vec<Option<Newest<E>>> {
        let mut newest: Vec<Option<Newest<E>>> = Vec::new();
        for (age, slot) in range.memtables.iter().rev().enumerate() {
            let table = slot.table.borrow();
            let older = (age > 0).then(|| table.locate(&self.sorted));
            for (position, row) in older.as_ref().unwrap_or(located).found() {
                let Some(row) = table.not_aborted(*row) else { continue };
                newest.resize_with(self.sorted.len(), || None);
                let (begin, end) = (table.begin(row), table.end(row));
                let place = || Place::Memtable(slot.table.clone(), row);
                newest[*position].get_or_insert_with(|| Newest { place: place(), begin, end });
            }
        }
        newest
    }

    /// The newest versions of the keys; empty if there is none at all. `None`: the segments must be searched first.
    fn newest(&self, range: &Range<E>, located: &Located) -> Option<Vec<Option<Newest<E>>>> {
        let mut newest = self.newest_in_memory(range, located);
        for segment in &range.segments {
            for position in covered(segment, &self.sorted) {
                if newest.get(position).is_some_and(Option::is_some) {
                    continue;
                }
                if self.structure != range.structure {
                    return None;
                }
                if let Some((segment, place, begin)) = self.hits.get(position)?.as_ref()? {
                    newest.resize_with(self.sorted.len(), || None);
                    let end = segment.end(*place);
                    let place = Place::Segment(segment.clone(), *place);
                    newest[position] = Some(Newest { place, begin: *begin, end });
                }
            }
        }
        Some(newest)
    }

    /// What the changes replace, or the first lock they meet.
    fn judge(
        &self,
        range: &Range<E>,
        newest: Vec<Option<Newest<E>>>,
        view: ReadView,
    ) -> Result<std::result::Result<Vec<Place<E>>, Attempt>> {
        let mut replaced = Vec::new();
        if newest.is_empty() && self.sorted.is_all_inserts() {
            return Ok(Ok(replaced));
        }
        let mut newest = newest.into_iter();
        for position in 0..self.sorted.len() {
            let write = self.sorted.get(position);
            match judge(range, &write, newest.next().flatten(), view)? {
                Verdict::New => {}
                Verdict::Replaces(place) => replaced.push(place),
                Verdict::Locked(holder) => {
                    return Ok(Err(Attempt::Locked(Key::from_bytes(write.key), holder)));
                }
            }
        }
        Ok(Ok(replaced))
    }
}

fn judge<E: Env>(
    range: &Range<E>,
    write: &Write<'_>,
    newest: Option<Newest<E>>,
    view: ReadView,
) -> Result<Verdict<E>> {
    let conflict = || Error::WriteConflict { table: range.table, key: Key::from_bytes(write.key) };
    let Some(newest) = newest else {
        return if write.op == WriteOp::Insert { Ok(Verdict::New) } else { Err(conflict()) };
    };
    let holder = [newest.begin, newest.end].into_iter().find_map(Stamp::txn).filter(|txn| *txn != view.txn);
    if let Some(holder) = holder {
        return Ok(Verdict::Locked(holder));
    }
    let live = newest.end == Stamp::LIVE;
    match write.op {
        WriteOp::Insert if live => {
            Err(Error::DuplicateKey { table: range.table, key: Key::from_bytes(write.key) })
        }
        WriteOp::Insert => Ok(Verdict::New),
        _ if !live || newest.begin.timestamp().is_some_and(|begin| begin > view.snapshot) => Err(conflict()),
        _ => Ok(Verdict::Replaces(newest.place)),
    }
}
