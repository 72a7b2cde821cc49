//! From memory to disk: flush, compaction, the memory budget and the truncation of the log.
//!
//! A flush writes the oldest sealed memtable of a range once every transaction that had touched the range when it was
//! sealed has ended. One manifest edit then adds the segment, moves `flushed` on and stores the ends of versions in
//! older segments; everything it states is durable in the log before. A crash at any step leaves either the old state
//! and the log, or the new one; files that no manifest names are removed at start.

use std::rc::Rc;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId, TableId};
use crate::manifest::Edit;
use crate::memtable::SortedCursor;
use crate::segment::{Position, Segment, SegmentMeta, SegmentWriter, Written, merge_span};
use crate::stamp::Stamp;
use crate::sync::Signal;

use super::range::{Range, SharedMemtable};
use super::{Inner, Shard};

/// How many bytes are written between two looks at whether a flush is due.
const CHECK_BYTES: usize = 256 << 10;
/// Above this share of the memtable budget, in percent, memtables are flushed in the background.
const FLUSH_PERCENT: usize = 50;

impl<E: Env> Shard<E> {
    /// Writes all memtables to disk and gives up the log that is not needed any more.
    ///
    /// # Errors
    /// `DiskFull`, after which everything is as before; I/O errors.
    pub async fn checkpoint(&self) -> Result<()> {
        for (id, _) in self.ranges() {
            self.0.flush_range(id).await?;
        }
        self.0.truncate_log().await
    }

    /// Flushes the ranges of one table, or of all, and merges the segments of each range into one, without versions
    /// that no snapshot can see.
    ///
    /// # Errors
    /// As [`Shard::checkpoint`].
    pub async fn vacuum(&self, table: Option<TableId>) -> Result<()> {
        for (id, owner) in self.ranges() {
            if table.is_none_or(|table| table == owner) {
                self.0.flush_range(id).await?;
                self.0.compact_range(id).await?;
            }
        }
        self.0.truncate_log().await
    }

    /// Counts bytes that were written and now and then looks whether background work is due.
    pub(super) fn count_written(&self, bytes: usize) {
        let written = self.0.written_bytes.get() + bytes;
        self.0.written_bytes.set(written);
        if written >= CHECK_BYTES.min(self.0.config.memtable_bytes / 64) || self.0.unblocked.get() {
            self.maintain();
        }
    }

    /// Starts background work if some is due.
    pub(super) fn maintain(&self) {
        let inner = &self.0;
        inner.written_bytes.set(0);
        inner.unblocked.set(false);
        inner.pressed.set(inner.memory_bytes() >= inner.config.memtable_bytes);
        if inner.maintaining.get() || !inner.is_work_due() {
            return;
        }
        inner.maintaining.set(true);
        let inner = inner.clone();
        self.0.env.spawn(async move {
            inner.maintain_while_due().await;
            inner.maintaining.set(false);
        });
    }
}

impl<E: Env> Inner<E> {
    /// Waits for memory if the memtables have used up their budget.
    pub(super) async fn admit(self: &Rc<Self>) -> Result<()> {
        if !self.pressed.get() {
            return Ok(());
        }
        Shard(self.clone()).maintain();
        let deadline = self.deadline(self.config.memory_timeout);
        loop {
            let seen = self.freed.epoch();
            self.pressed.set(self.memory_bytes() >= self.config.memtable_bytes);
            if !self.pressed.get() {
                return Ok(());
            }
            if let Some(error) = self.flush_failure.borrow_mut().take() {
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
        let timeout = self.env.sleep(std::time::Duration::from_nanos(left));
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

    pub(super) fn deadline(&self, timeout: std::time::Duration) -> u64 {
        self.env.monotonic_ns() + u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX / 2)
    }

    fn memory_bytes(&self) -> usize {
        self.state.borrow().ranges.values().map(Range::memory_bytes).sum()
    }

    fn is_work_due(&self) -> bool {
        let over = self.memory_bytes() > self.config.memtable_bytes / 100 * FLUSH_PERCENT;
        let state = self.state.borrow();
        let mut ranges = state.ranges.values();
        let waiting = ranges.any(|range| {
            range.memtables.len() > 1 && range.memtables[0].awaits.is_empty()
                || range.segments.len() > self.config.segments_max
                || range.wants_split()
        });
        over || waiting || self.wal.size_bytes() > self.config.wal_bytes_max
    }

    async fn maintain_while_due(&self) {
        for _ in 0..64 {
            if !self.is_work_due() {
                return;
            }
            self.ask_for_splits();
            let Some(id) = self.next_victim() else { return };
            if let Err(error) = self.flush_range(id).await {
                self.flush_failure.replace(Some(error));
                self.freed.notify();
                return;
            }
            let crowded = self
                .state
                .borrow()
                .ranges
                .get(&id)
                .is_some_and(|range| range.segments.len() > self.config.segments_max);
            if crowded && self.compact_range(id).await.is_err() {
                return;
            }
            if self.truncate_log().await.is_err() {
                return;
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

    /// The range to flush or compact next: the one that holds back the log if that is too long, else the largest.
    fn next_victim(&self) -> Option<RangeId> {
        let state = self.state.borrow();
        let ready =
            |range: &&Range<E>| range.memtables[0].awaits.is_empty() && range.needs_log_from().is_some();
        if self.wal.size_bytes() > self.config.wal_bytes_max {
            let oldest = state.ranges.values().filter(ready).min_by_key(|range| range.needs_log_from());
            if let Some(range) = oldest {
                return Some(range.id);
            }
        }
        let sealed = state
            .ranges
            .values()
            .find(|range| range.memtables.len() > 1 && range.memtables[0].awaits.is_empty());
        let crowded = || state.ranges.values().find(|range| range.segments.len() > self.config.segments_max);
        let over = state.ranges.values().map(Range::memory_bytes).sum::<usize>()
            > self.config.memtable_bytes / 100 * FLUSH_PERCENT;
        let largest =
            || state.ranges.values().filter(ready).max_by_key(|range| range.memory_bytes()).filter(|_| over);
        sealed.or_else(crowded).or_else(largest).map(|range| range.id)
    }

    /// Seals the range's memtable and writes those that no open transaction holds back. A memtable that waits for a
    /// transaction keeps newer ones from being sealed, so that an idle transaction does not cut it into crumbs.
    pub(super) async fn flush_range(&self, id: RangeId) -> Result<()> {
        let _turn = self.maintenance.enter().await;
        let tail = self.wal.tail_lsn();
        match self.state.borrow_mut().ranges.get_mut(&id) {
            Some(range) if range.memtables.len() == 1 || range.memtables[0].awaits.is_empty() => {
                range.seal(tail)
            }
            _ => return Ok(()),
        }
        while let Some((table, sealed)) = self.ready_to_flush(id) {
            self.flush_memtable(id, table, sealed).await?;
            self.freed.notify();
        }
        Ok(())
    }

    /// The oldest sealed memtable, if the transactions that it waits for have ended.
    fn ready_to_flush(&self, id: RangeId) -> Option<(SharedMemtable, Lsn)> {
        let state = self.state.borrow();
        let slot = state.ranges.get(&id)?.memtables.first()?;
        let sealed = slot.sealed?;
        slot.awaits.is_empty().then(|| (slot.table.clone(), sealed))
    }

    async fn flush_memtable(&self, id: RangeId, table: SharedMemtable, sealed: Lsn) -> Result<()> {
        let horizon = self.horizon().await;
        let segment_id = self.new_segment_id();
        let schema = table.borrow().schema().clone();
        let path = self.segment_path(segment_id);
        let mut writer =
            SegmentWriter::new(self.env.clone(), path.clone(), segment_id, schema.clone()).await?;
        let mut cursor = SortedCursor::default();
        loop {
            let finished = writer.fill(&table.borrow(), &mut cursor, horizon);
            writer.write().await?;
            if finished {
                break;
            }
            self.env.yield_now().await;
        }
        let written = writer.finish().await?;
        let segment = match &written {
            Some(Written { meta, rows }) => {
                let segment = Rc::new(Segment::open(self.env.clone(), &path, schema, meta).await?);
                rows.carry(&table.borrow(), &segment);
                Some(segment)
            }
            None => None,
        };
        let edits = self.flush_edits(id, sealed, segment.as_deref());
        if let Err(error) = self.log_then_apply(edits).await {
            if segment.is_some() {
                let _ = self.env.remove_file(&path).await;
            }
            return Err(error);
        }
        self.swap_flushed(id, &table, segment, written);
        Ok(())
    }

    /// The manifest edit of a flush: the new segment, where replay begins, and every committed end.
    fn flush_edits(&self, id: RangeId, sealed: Lsn, new: Option<&Segment<E>>) -> Vec<Edit> {
        let state = self.state.borrow();
        let Some(range) = state.ranges.get(&id) else { return Vec::new() };
        let mut edits = vec![Edit::NextSegment(self.next_segment.get())];
        edits.push(Edit::ClockAtLeast(self.tick()));
        if let Some(segment) = new {
            edits.push(Edit::AddSegment { range: id, segment: segment.meta().clone() });
        }
        edits.push(Edit::SetFlushed { range: id, lsn: sealed, index: range.index });
        let old = range.segments.iter().map(Rc::as_ref);
        for segment in old.chain(new).filter(|segment| segment.has_ends()) {
            edits.push(deletions(id, segment));
        }
        edits
    }

    /// Applies edits after everything that they rest on is durable in the log.
    async fn log_then_apply(&self, edits: Vec<Edit>) -> Result<()> {
        self.wal.durable(self.wal.tail_lsn()).await?;
        self.manifest.apply(&edits).await
    }

    /// Readers change over from the memtable to its segment.
    fn swap_flushed(
        &self,
        id: RangeId,
        table: &SharedMemtable,
        segment: Option<Rc<Segment<E>>>,
        written: Option<Written>,
    ) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(range) = state.ranges.get_mut(&id) else { return };
        let flushed = range.memtables.remove(0);
        assert!(Rc::ptr_eq(&flushed.table, table), "memtables are flushed in order");
        range.flushed = flushed.sealed.expect("only sealed memtables are flushed");
        range.structure += 1;
        if let (Some(segment), Some(written)) = (segment, written) {
            written.rows.carry(&table.borrow(), &segment);
            for txn in &range.open_txns {
                if let Some(participant) = state.txns.get_mut(txn) {
                    participant.moved_to_segment(table, &written.rows, &segment);
                }
            }
            range.segments.push(segment);
        }
    }

    /// Merges the segments of a range into one.
    pub(super) async fn compact_range(&self, id: RangeId) -> Result<()> {
        let _turn = self.maintenance.enter().await;
        let (inputs, schema, span) = match self.state.borrow().ranges.get(&id) {
            Some(range) => (range.segments.clone(), range.schema.clone(), range.span.clone()),
            None => return Ok(()),
        };
        if inputs.is_empty() || inputs.len() == 1 && !inputs[0].has_ends() {
            return Ok(());
        }
        let horizon = self.horizon().await;
        let segment_id = self.new_segment_id();
        let path = self.segment_path(segment_id);
        let writer = SegmentWriter::new(self.env.clone(), path.clone(), segment_id, schema.clone()).await?;
        let merged = merge_span(&inputs, &span, horizon, writer).await?;
        let output = match &merged.meta {
            Some(meta) => Some(Rc::new(Segment::open(self.env.clone(), &path, schema, meta).await?)),
            None => None,
        };
        if let Some(output) = &output {
            merged.positions.carry(&inputs, output);
        }
        let edits = compaction_edits(id, &inputs, output.as_deref(), self.next_segment.get());
        if let Err(error) = self.log_then_apply(edits).await {
            if output.is_some() {
                let _ = self.env.remove_file(&path).await;
            }
            return Err(error);
        }
        self.swap_compacted(id, &inputs, output, &merged.positions);
        self.remove_segments(&inputs).await
    }

    fn swap_compacted(
        &self,
        id: RangeId,
        inputs: &[Rc<Segment<E>>],
        output: Option<Rc<Segment<E>>>,
        positions: &crate::segment::PositionMap,
    ) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(range) = state.ranges.get_mut(&id) else { return };
        range.structure += 1;
        range.segments.retain(|segment| !inputs.iter().any(|input| Rc::ptr_eq(input, segment)));
        let Some(output) = output else { return };
        positions.carry(inputs, &output);
        for txn in &range.open_txns {
            if let Some(participant) = state.txns.get_mut(txn) {
                participant.moved_to_merged(inputs, positions, &output);
            }
        }
        range.segments.insert(0, output);
    }

    /// Removes files that the manifest does not name any more.
    pub(super) async fn remove_segments(&self, segments: &[Rc<Segment<E>>]) -> Result<()> {
        for segment in segments {
            self.cache.forget(segment.id());
            let removed = self.env.remove_file(segment.path()).await;
            removed.map_err(|error| Error::io(format!("remove {}", segment.path().display()), &error))?;
        }
        Ok(())
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

    async fn horizon(&self) -> Timestamp {
        let asked = self.oldest_snapshot.borrow().as_ref().map(|ask| ask());
        match asked {
            Some(answer) => answer.await,
            None => Timestamp::ZERO,
        }
    }
}

/// The committed ends of a segment. Provisional ones are in the log as long as they matter.
pub(super) fn committed_ends<E: Env>(segment: &Segment<E>) -> Vec<(Position, Stamp)> {
    let mut ends = segment.ends();
    ends.retain(|(_, end)| end.timestamp().is_some());
    ends
}

fn deletions<E: Env>(range: RangeId, segment: &Segment<E>) -> Edit {
    Edit::SetDeletions { range, segment: segment.id(), entries: committed_ends(segment) }
}

fn compaction_edits<E: Env>(
    range: RangeId,
    inputs: &[Rc<Segment<E>>],
    output: Option<&Segment<E>>,
    next_segment: u64,
) -> Vec<Edit> {
    let mut edits = vec![Edit::NextSegment(next_segment)];
    edits.extend(inputs.iter().map(|input| Edit::RemoveSegment { range, segment: input.id() }));
    if let Some(output) = output {
        let meta: &SegmentMeta = output.meta();
        edits.push(Edit::AddSegment { range, segment: meta.clone() });
        if output.has_ends() {
            edits.push(deletions(range, output));
        }
    }
    edits
}
