//! Changes of one range: checked, logged and applied in one turn of the loop.

use hashbrown::HashSet;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId, TxnId};
use crate::key::Key;
use crate::router::ReadView;
use crate::stamp::Stamp;
use crate::wal::{Record, Reservation, Wal};
use crate::write_batch::{Write, WriteBatch, WriteOp};

use super::range::{Newest, Place, Range, SegmentHit, newest_in_segments};
use super::records::{CHANGES_OFFSET, encode_changes, kind};
use super::{Inner, Shard};

/// Raft term of a range with a single voter.
pub(super) const TERM: u64 = 1;

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

/// What the segments hold for the keys of a batch, by position in the batch, as of one structure of the range.
struct Searched<E: Env> {
    structure: u64,
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
        if let Some(key) = repeated_key(batch) {
            let table = inner.state.borrow_mut().range(id)?.table;
            return Err(Error::DuplicateKey { table, key });
        }
        inner.admit().await?;
        let mut reservation = inner.wal.reserve(framed).await?;
        let deadline = inner.deadline(inner.config.lock_timeout);
        let mut searched = Searched { structure: 0, hits: Vec::new() };
        let lsn = loop {
            let seen = inner.released.epoch();
            match inner.try_write(id, view, batch, mode, &searched, &mut reservation)? {
                Attempt::Applied(lsn) => break lsn,
                Attempt::NeedsSegments => searched = inner.search_segments(id, batch).await?,
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
        batch: &WriteBatch,
        mode: WriteMode,
        searched: &Searched<E>,
        reservation: &mut Reservation,
    ) -> Result<Attempt> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let range = state.ranges.get_mut(&id).ok_or(Error::RangeMoved)?;
        // A transaction that is at work here may finish: the hand-over waits for it.
        if range.moving && !range.open_txns.contains(&view.txn) {
            return Err(Error::RangeMoved);
        }
        let mut replaced = Vec::new();
        for (index, write) in batch.iter().enumerate() {
            if !range.span.contains(write.key) {
                return Err(Error::RangeMoved);
            }
            let Some(newest) = newest(range, write.key, index, searched) else {
                return Ok(Attempt::NeedsSegments);
            };
            match judge(range, &write, newest, view)? {
                Verdict::New => {}
                Verdict::Replaces(place) => replaced.push(place),
                Verdict::Locked(holder) => return Ok(Attempt::Locked(Key::from_bytes(write.key), holder)),
            }
        }
        let (kind, first, stamp) = match mode {
            WriteMode::Commit => {
                let commit = self.tick();
                (kind::WRITE, commit.0, Stamp::committed(commit))
            }
            WriteMode::Stage => (kind::STAGE, view.txn.0, Stamp::provisional(view.txn)),
        };
        range.index += 1;
        let mut payload = self.payload.borrow_mut();
        encode_changes(first, batch, &mut payload);
        let record = Record { range: id, term: TERM, index: range.index, kind, payload: &payload };
        let lsn = self.wal.append(reservation, record);
        apply(range, batch, stamp, &replaced, |table, row| {
            if mode == WriteMode::Stage {
                state.txns.entry(view.txn).or_default().created(id, table, row);
            }
        });
        match mode {
            WriteMode::Commit => state.undurable.push_back((crate::clock::Timestamp(first), lsn)),
            WriteMode::Stage => {
                range.open_txns.insert(view.txn);
                let participant = state.txns.entry(view.txn).or_default();
                participant.ranges.insert(id);
                participant.ended.extend(replaced.into_iter().map(|place| (id, place)));
            }
        }
        Ok(Attempt::Applied(lsn))
    }

    /// Searches the segments for the keys that the memtables do not hold.
    async fn search_segments(&self, id: RangeId, batch: &WriteBatch) -> Result<Searched<E>> {
        let (structure, segments, absent) = {
            let mut state = self.state.borrow_mut();
            let range = state.range(id)?;
            let absent: Vec<bool> =
                batch.iter().map(|write| range.newest_in_memory(write.key).is_none()).collect();
            (range.structure, range.segments.clone(), absent)
        };
        let mut hits = Vec::with_capacity(absent.len());
        for (write, absent) in batch.iter().zip(absent) {
            let hit = match absent {
                true => Some(newest_in_segments(&segments, write.key, &self.cache).await?),
                false => None,
            };
            hits.push(hit);
        }
        Ok(Searched { structure, hits })
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

/// Applies checked changes to the stores; tells of each version that it made.
pub(super) fn apply<E: Env>(
    range: &mut Range<E>,
    batch: &WriteBatch,
    stamp: Stamp,
    replaced: &[Place<E>],
    mut made: impl FnMut(&super::range::SharedMemtable, crate::memtable::RowId),
) {
    replaced.iter().for_each(|place| place.set_end(stamp));
    range.dirty = true;
    let active = range.active().clone();
    for write in batch.iter().filter(|write| write.op != WriteOp::Delete) {
        let row = active.borrow_mut().insert(write.key, write.row, stamp);
        let row = row.expect("sessions encode rows by the schema of the table, whose id names the range");
        made(&active, row);
    }
}

/// The newest version of a key. Outer `None`: the segments must be searched first.
fn newest<E: Env>(
    range: &Range<E>,
    key: &[u8],
    index: usize,
    searched: &Searched<E>,
) -> Option<Option<Newest<E>>> {
    let in_memory = range.newest_in_memory(key);
    if in_memory.is_some() || !range.may_be_on_disk(key) {
        return Some(in_memory);
    }
    if searched.structure != range.structure {
        return None;
    }
    let hit = searched.hits.get(index)?.as_ref()?;
    Some(hit.as_ref().map(|(segment, position, begin)| Newest {
        place: Place::Segment(segment.clone(), *position),
        begin: *begin,
        end: segment.end(*position),
    }))
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

/// A key that occurs twice in the batch.
fn repeated_key(batch: &WriteBatch) -> Option<Key> {
    let mut last: Option<&[u8]> = None;
    let rising = batch.iter().all(|write| last.replace(write.key).is_none_or(|last| last < write.key));
    if rising {
        return None;
    }
    let mut seen = HashSet::with_capacity(batch.len());
    batch.iter().find(|write| !seen.insert(write.key)).map(|write| Key::from_bytes(write.key))
}
