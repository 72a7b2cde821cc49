//! Background work: when memtables are flushed and segments merged, the memory budget, the truncation of the log.
//!
//! One task flushes and one merges, so a flush never waits for a merge; `edits` lets one at a time change manifest and
//! stores, which takes two syncs. What is worth doing, and how fast, is for `policy` to say.
//!
//! Invariants: a change of the manifest and the change of the stores that it describes happen in one turn of `edits`;
//! memory of memtables and fresh ends stays below `memtables_max`, but for writes that were let in before.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId, TableId};
use crate::manifest::Edit;
use crate::pace::Pace;
use crate::segment::EndsWalk;
use crate::sync::{Signal, Turnstile};

use super::flush::ENDS_STEP;
use super::range::Range;
use super::{Inner, Shard, ShardConfig, policy};

/// How many bytes are written between two looks at whether work is due.
const CHECK_BYTES: usize = 256 << 10;
/// Above this share of the memtable budget, in percent, memtables are flushed in the background.
const FLUSH_PERCENT: usize = 50;
/// A range that is this many times deeper than it should be is not flushed while a merge is at work.
const DEPTH_LAG_MAX: usize = 2;
/// Rounds of a background task before it looks again whether it is due.
const ROUNDS_MAX: usize = 64;
/// Ends that wait settle this many times in a retention window, at most.
const RETENTION_STEPS: u32 = 8;

/// The state of the background tasks.
pub(super) struct Background<E: Env> {
    /// One flush at a time.
    pub flushes: Turnstile,
    /// One merge at a time.
    pub merges: Turnstile,
    /// One change of the manifest and the stores at a time.
    pub edits: Turnstile,
    pub flush_pace: Rc<Pace<E>>,
    pub merge_pace: Rc<Pace<E>>,
    /// Callers that wait for a flush or merge themselves.
    awaited: Cell<u32>,
    flushing: Cell<bool>,
    merging: Cell<bool>,
    /// Bytes written since the last look at whether work is due.
    written_bytes: Cell<usize>,
    /// The memtables had used up their budget at the last look.
    pressed: Cell<bool>,
    /// Memory that memtables and fresh ends may take now.
    memtables_max: Cell<usize>,
    /// Memory of maps from old to new positions, while a flush or merge is at work.
    maps_bytes: Cell<usize>,
    /// Why the last background flush failed; the next writer that lacks memory is told.
    flush_failure: RefCell<Option<Error>>,
    /// The range that was merged last: the next one has its turn first.
    last_merged: Cell<RangeId>,
}

impl<E: Env> Background<E> {
    pub fn new(env: &E, config: &ShardConfig) -> Background<E> {
        let memory = config.memtable_bytes + config.cache_bytes;
        Background {
            flushes: Turnstile::default(),
            merges: Turnstile::default(),
            edits: Turnstile::default(),
            flush_pace: Rc::new(Pace::new(env.clone(), memory)),
            merge_pace: Rc::new(Pace::new(env.clone(), memory)),
            awaited: Cell::new(0),
            flushing: Cell::new(false),
            merging: Cell::new(false),
            written_bytes: Cell::new(0),
            pressed: Cell::new(false),
            memtables_max: Cell::new(config.memtable_bytes),
            maps_bytes: Cell::new(0),
            flush_failure: RefCell::new(None),
            last_merged: Cell::new(RangeId(0)),
        }
    }

    /// Work goes at full speed until the result is dropped: somebody waits for it.
    pub fn hurry(&self) -> Hurry<'_> {
        self.awaited.set(self.awaited.get() + 1);
        self.flush_pace.set_share(100);
        self.merge_pace.set_share(100);
        Hurry(&self.awaited)
    }

    /// Counts the memory of a map from old to new positions.
    pub fn count_map(&self, bytes: usize) -> Counted<'_> {
        self.maps_bytes.set(self.maps_bytes.get() + bytes);
        Counted { total: &self.maps_bytes, bytes }
    }
}

/// Memory that is counted until it is dropped.
pub(super) struct Counted<'a> {
    total: &'a Cell<usize>,
    bytes: usize,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

/// See [`Background::hurry`].
pub(super) struct Hurry<'a>(&'a Cell<u32>);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Memory of a shard in bytes, as far as it is counted. Log buffers and what sessions hold are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryUse {
    /// Memtables, and ends of versions that are not in the manifest yet: a flush frees them.
    pub memtables: usize,
    /// Blocks of segments.
    pub cache: usize,
    /// What must be there: footers, ends of versions, position maps, large dictionaries of segments that are written.
    pub resident: usize,
}

impl MemoryUse {
    /// All of it.
    pub fn total(&self) -> usize {
        self.memtables + self.cache + self.resident
    }
}

impl<E: Env> Shard<E> {
    /// Writes the memtables of one table, or of all, to disk and gives up the log that is not needed any more. Those that an
    /// open transaction has written to stay until it has ended.
    ///
    /// # Errors
    /// `DiskFull`, after which everything is as before; I/O errors.
    pub async fn checkpoint(&self, table: Option<TableId>) -> Result<()> {
        let _hurry = self.0.background.hurry();
        for (id, owner) in self.ranges() {
            if table.is_none_or(|table| table == owner) {
                self.0.flush_range(id).await?;
            }
        }
        self.0.truncate_log().await
    }

    /// Flushes these ranges and merges the segments of each into one, without versions that no snapshot can see. Answers
    /// which were here and not being handed over: the others are as they were.
    ///
    /// # Errors
    /// As [`Shard::checkpoint`].
    pub async fn vacuum(&self, ranges: &[RangeId]) -> Result<Vec<RangeId>> {
        let _hurry = self.0.background.hurry();
        let mut done = Vec::with_capacity(ranges.len());
        for id in ranges {
            self.0.flush_range(*id).await?;
            if self.0.merge_whole_range(*id).await? {
                done.push(*id);
            }
        }
        self.0.truncate_log().await?;
        Ok(done)
    }

    /// Memory it holds.
    pub fn memory_use(&self) -> MemoryUse {
        let inner = &self.0;
        MemoryUse {
            memtables: inner.memtable_bytes(),
            cache: inner.cache.size_bytes(),
            resident: inner.resident_bytes(),
        }
    }

    /// How many segments of one range may hold the same key, at most.
    pub fn depth(&self) -> usize {
        let state = self.0.state.borrow();
        state.ranges.values().map(|range| policy::depth(&range.segment_stats())).max().unwrap_or(0)
    }

    /// Counts bytes that were written and now and then looks whether background work is due.
    pub(super) fn count_written(&self, bytes: usize) {
        let background = &self.0.background;
        let written = background.written_bytes.get() + bytes;
        background.written_bytes.set(written);
        if written >= CHECK_BYTES.min(self.0.config.memtable_bytes / 64) || self.0.unblocked.get() {
            self.maintain();
        }
    }

    /// Starts background work if some is due.
    pub(super) fn maintain(&self) {
        let inner = &self.0;
        inner.background.written_bytes.set(0);
        inner.unblocked.set(false);
        inner.share_memory();
        inner.set_shares();
        if !inner.background.flushing.get() && inner.is_flush_due() {
            inner.background.flushing.set(true);
            let shard = self.clone();
            self.0.env.spawn(async move {
                shard.0.flush_while_due().await;
                shard.0.background.flushing.set(false);
                shard.maintain_merges();
            });
        }
        self.maintain_merges();
    }

    fn maintain_merges(&self) {
        let inner = &self.0;
        if inner.background.merging.get() || !inner.is_merge_due() {
            return;
        }
        inner.background.merging.set(true);
        let shard = self.clone();
        self.0.env.spawn(async move {
            let merged = shard.0.merge_while_due().await;
            shard.0.background.merging.set(false);
            if matches!(merged, Ok(true)) {
                // A flush may have waited for it.
                shard.maintain();
            }
        });
    }
}

impl<E: Env> Inner<E> {
    /// Waits for memory if the memtables have used up their budget.
    pub(super) async fn admit(self: &Rc<Self>) -> Result<()> {
        let background = &self.background;
        if !background.pressed.get() {
            return Ok(());
        }
        Shard(self.clone()).maintain();
        let deadline = self.deadline(self.config.memory_timeout);
        loop {
            let seen = self.freed.epoch();
            self.share_memory();
            if !background.pressed.get() {
                return Ok(());
            }
            if let Some(error) = background.flush_failure.borrow_mut().take() {
                return Err(error);
            }
            if !self.wait(&self.freed, seen, deadline).await {
                return Err(Error::MemoryFull);
            }
        }
    }

    /// Waits until the signal has changed after `seen`; false if the deadline comes first.
    pub(super) async fn wait(&self, signal: &Signal, seen: u64, deadline: u64) -> bool {
        let left = deadline.saturating_sub(self.env.monotonic_ns());
        let timeout = self.env.sleep(Duration::from_nanos(left));
        let changed = async {
            signal.changed(seen).await;
            true
        };
        futures_lite::future::or(changed, async {
            timeout.await;
            false
        })
        .await
    }

    pub(super) fn deadline(&self, timeout: Duration) -> u64 {
        self.env.monotonic_ns() + nanos(timeout)
    }

    /// Memory that flushes free.
    fn memtable_bytes(&self) -> usize {
        self.state.borrow().ranges.values().map(Range::memory_bytes).sum()
    }

    fn resident_bytes(&self) -> usize {
        let state = self.state.borrow();
        let ranges: usize = state.ranges.values().map(Range::resident_bytes).sum();
        let background = &self.background;
        let work = background.flush_pace.held_bytes() + background.merge_pace.held_bytes();
        ranges + self.manifest.ends_bytes() + background.maps_bytes.get() + work
    }

    /// Divides the memory anew between memtables and cache.
    fn share_memory(&self) {
        let config = &self.config;
        let (memtables, cache) =
            policy::split_memory(config.memtable_bytes, config.cache_bytes, self.resident_bytes());
        self.cache.set_bytes_max(cache);
        self.background.memtables_max.set(memtables);
        self.background.pressed.set(self.memtable_bytes() >= memtables);
    }

    /// How fast the background tasks go from now on.
    fn set_shares(&self) {
        let background = &self.background;
        let awaited = background.awaited.get() > 0;
        let memory = policy::percent(self.memtable_bytes() as u64, background.memtables_max.get() as u64);
        let log = policy::percent(self.wal.size_bytes(), self.config.wal_bytes_max);
        background.flush_pace.set_share(policy::flush_share_percent(memory, log, awaited));
        let deepest = self.state.borrow().ranges.values().map(|range| range.depth).max().unwrap_or(0);
        let depth = policy::percent(deepest as u64, self.config.segments_max as u64);
        background.merge_pace.set_share(policy::merge_share_percent(memory, depth, awaited));
    }

    fn is_over(&self) -> bool {
        self.memtable_bytes() > self.background.memtables_max.get() / 100 * FLUSH_PERCENT
    }

    fn is_flush_due(&self) -> bool {
        let waiting = |range: &Range<E>| {
            range.memtables.len() > 1 && range.memtables[0].awaits.is_empty() || range.wants_split()
        };
        self.is_over()
            || self.wal.size_bytes() > self.config.wal_bytes_max
            || self.state.borrow().ranges.values().any(waiting)
    }

    fn is_merge_due(&self) -> bool {
        let state = self.state.borrow();
        let mut ranges = state.ranges.values().filter(|range| !range.moving);
        ranges.any(|range| range.may_merge || range.garbage_waits())
    }

    async fn flush_while_due(self: &Rc<Self>) {
        for _ in 0..ROUNDS_MAX {
            if !self.is_flush_due() {
                return;
            }
            self.ask_for_splits();
            let Some(id) = self.next_flush() else { return };
            self.set_shares();
            if let Err(error) = self.flush_range(id).await {
                self.background.flush_failure.replace(Some(error));
                self.freed.notify();
                return;
            }
            if self.truncate_log().await.is_err() {
                return;
            }
            Shard(self.clone()).maintain_merges();
        }
    }

    /// Answers whether anything was merged.
    async fn merge_while_due(&self) -> Result<bool> {
        self.settle_garbage().await;
        let mut any = false;
        for _ in 0..ROUNDS_MAX {
            let Some(id) = self.next_merge() else { break };
            self.background.last_merged.set(id);
            self.set_shares();
            any |= self.merge_in_range(id).await?;
        }
        Ok(any)
    }

    /// Settles ends in ranges where many wait for it: the snapshots that held them may be gone.
    async fn settle_garbage(&self) {
        let waits = |range: &&Range<E>| range.garbage_waits();
        let waiting: Vec<_> = self.state.borrow().ranges.values().filter(waits).map(|r| r.id).collect();
        if waiting.is_empty() {
            return;
        }
        let horizon = self.horizon().await;
        // A retention window moves on all the time: ends settle in steps of it, not one by one.
        let pause = nanos(self.config.retention / RETENTION_STEPS);
        for id in waiting {
            let segments = match self.state.borrow_mut().ranges.get_mut(&id) {
                Some(range) if horizon.0 > range.settled_at.0.saturating_add(pause) => {
                    range.settled_at = horizon;
                    range.may_merge = true;
                    range.segments.clone()
                }
                _ => continue,
            };
            for segment in segments {
                let mut walk = EndsWalk::new();
                while !walk.is_done() {
                    segment.settle_ends(&mut walk, ENDS_STEP, horizon);
                    self.background.merge_pace.breathe().await;
                }
            }
        }
    }

    fn ask_for_splits(&self) {
        let mut state = self.state.borrow_mut();
        let ask = self.split_wanted.borrow();
        let Some(ask) = ask.as_ref() else { return };
        for range in state.ranges.values_mut() {
            if range.wants_split() {
                range.split_above = usize::MAX;
                ask(range.id);
            }
        }
    }

    /// The range to flush next: the one that holds back the log if that is too long, else one whose memtable waits,
    /// else the largest, because large segments are merged less often.
    fn next_flush(&self) -> Option<RangeId> {
        let state = self.state.borrow();
        let lags = |range: &Range<E>| {
            let limit = self.config.segments_max * DEPTH_LAG_MAX;
            self.background.merging.get() && range.may_merge && range.depth >= limit
        };
        let ready = |range: &&Range<E>| {
            range.memtables[0].awaits.is_empty() && range.needs_log_from().is_some() && !lags(range)
        };
        if self.wal.size_bytes() > self.config.wal_bytes_max {
            let oldest = state.ranges.values().filter(ready).min_by_key(|range| range.needs_log_from());
            if let Some(range) = oldest {
                return Some(range.id);
            }
        }
        let sealed = state.ranges.values().filter(ready).find(|range| range.memtables.len() > 1);
        let over = self.is_over();
        let largest =
            || state.ranges.values().filter(ready).max_by_key(|range| range.memory_bytes()).filter(|_| over);
        sealed.or_else(largest).map(|range| range.id)
    }

    /// The range to merge next: the deepest of those in which a merge pays, and of several the next in turn.
    fn next_merge(&self) -> Option<RangeId> {
        let mut state = self.state.borrow_mut();
        let (mut best, mut idle) = (None, BTreeSet::new());
        for range in state.ranges.values().filter(|range| range.may_merge && !range.moving) {
            if policy::choose(&range.segment_stats(), &self.merge_limits(range)).is_none() {
                idle.insert(range.id);
                continue;
            }
            let after_last = range.id > self.background.last_merged.get();
            let rank = (range.depth, after_last, std::cmp::Reverse(range.id));
            best = best.max(Some((rank, range.id)));
        }
        for range in state.ranges.values_mut().filter(|range| idle.contains(&range.id)) {
            range.may_merge = false;
        }
        best.map(|(_, id)| id)
    }

    /// Gives up log files that no range and no decision needs.
    pub(super) async fn truncate_log(&self) -> Result<()> {
        let needed = {
            let state = self.state.borrow();
            let ranges = state.ranges.values().filter_map(Range::needs_log_from);
            let decisions = state.decisions.values().map(|(_, lsn)| Lsn(lsn.0 - 1));
            ranges.chain(decisions).min().unwrap_or(self.wal.durable_lsn())
        };
        if needed.0 < self.manifest.state().log_from.0 + self.config.wal_file_bytes {
            return Ok(());
        }
        self.manifest.apply(&[Edit::LogFrom(needed)]).await?;
        self.wal.truncate(needed).await
    }

    /// Versions that ended at or before this are seen by no snapshot, and ended longer ago than they are retained.
    pub(super) async fn horizon(&self) -> Timestamp {
        let asked = self.oldest_snapshot.borrow().as_ref().map(|ask| ask());
        let oldest = match asked {
            Some(answer) => answer.await,
            None => Timestamp::ZERO,
        };
        match self.config.retention {
            // A commit may lie ahead of this core's wall clock: it shall not hold anything back.
            Duration::ZERO => oldest,
            retention => oldest.min(Timestamp(self.env.wall_clock_ns().saturating_sub(nanos(retention)))),
        }
    }
}

/// Longer than a machine runs, at most.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}
