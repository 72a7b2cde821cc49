//! From memory to disk: a flush writes the oldest sealed memtable of a range once every transaction that had touched the
//! range when it was sealed has ended.
//!
//! One manifest edit adds the segment, moves `flushed` on and stores the ends of versions in older segments that the
//! manifest did not have; of many ends, most go before in edits of their own. Everything an edit states is durable in the
//! log before. A crash at any step leaves either the old state and the log, or the new one; files that no manifest names
//! are removed at start.

use std::rc::Rc;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::Result;
use crate::id::{Lsn, RangeId};
use crate::manifest::Edit;
use crate::memtable::SortedCursor;
use crate::segment::{EndsWalk, Position, Segment, SegmentId, SegmentWriter, Written};
use crate::stamp::Stamp;

use super::Inner;
use super::range::SharedMemtable;

/// Ends that are looked at in one step.
pub(super) const ENDS_STEP: usize = 256;
/// Ends in one edit, but for those of new segments.
const ENDS_PER_EDIT: usize = 16 << 10;

/// Ends that were taken from a segment for the manifest.
struct Taken<E: Env> {
    segment: Rc<Segment<E>>,
    ends: Vec<(Position, Stamp)>,
}

impl<E: Env> Inner<E> {
    /// Seals the range's memtable and writes those that no open transaction holds back. A memtable that waits for a
    /// transaction keeps newer ones from being sealed, so that an idle transaction does not cut it into crumbs.
    pub(super) async fn flush_range(&self, id: RangeId) -> Result<()> {
        let _turn = self.background.flushes.enter().await;
        let tail = self.wal.tail_lsn();
        match self.state.borrow_mut().ranges.get_mut(&id) {
            Some(range) if range.memtables.len() == 1 || range.memtables[0].awaits.is_empty() => {
                range.seal(tail)
            }
            _ => return Ok(()),
        }
        while let Some((table, sealed)) = self.ready_to_flush(id) {
            let map_bytes = table.borrow().version_count() * size_of::<u32>();
            let _map = self.background.count_map(map_bytes);
            if !self.flush_memtable(id, table, sealed).await? {
                return Ok(());
            }
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

    /// Answers whether the range was still there.
    async fn flush_memtable(&self, id: RangeId, table: SharedMemtable, sealed: Lsn) -> Result<bool> {
        let horizon = self.horizon().await;
        let written = self.write_segment(&table, horizon).await?;
        let segment = match &written {
            Some(Written { meta, rows }) => {
                let path = self.segment_path(meta.id);
                let schema = table.borrow().schema().clone();
                let segment = Rc::new(Segment::open(self.env.clone(), &path, schema, meta).await?);
                for (row, end) in table.borrow().ended().filter(|(_, end)| end.timestamp().is_some()) {
                    rows.get(row).into_iter().for_each(|position| segment.set_end(position, end));
                }
                Some(segment)
            }
            None => None,
        };
        let flushed = self.commit_flush(id, &table, sealed, horizon, segment.as_ref(), written).await;
        if !matches!(flushed, Ok(true))
            && let Some(segment) = segment
        {
            let _ = self.env.remove_file(segment.path()).await;
        }
        flushed
    }

    /// `None` if there is nothing to keep, and no file then.
    async fn write_segment(&self, table: &SharedMemtable, horizon: Timestamp) -> Result<Option<Written>> {
        if table.borrow().version_count() == 0 {
            return Ok(None);
        }
        let id = self.new_segment_id();
        let schema = table.borrow().schema().clone();
        let mut writer = SegmentWriter::new(self.env.clone(), self.segment_path(id), id, schema).await?;
        writer.set_pace(self.background.flush_pace.clone());
        self.background.flush_pace.start();
        let mut cursor = SortedCursor::default();
        loop {
            let finished = writer.take_rows(&table.borrow(), &mut cursor, horizon);
            writer.seal_rows().await;
            if finished {
                return writer.finish().await;
            }
            if writer.is_write_due() {
                writer.write().await?;
            }
            writer.breathe().await;
        }
    }

    async fn commit_flush(
        &self,
        id: RangeId,
        table: &SharedMemtable,
        sealed: Lsn,
        horizon: Timestamp,
        segment: Option<&Rc<Segment<E>>>,
        written: Option<Written>,
    ) -> Result<bool> {
        let mut taken = self.save_ends(id, horizon).await?;
        let _turn = self.background.edits.enter().await;
        let Some(edits) = self.flush_edits(id, sealed, horizon, segment, &mut taken) else {
            return Ok(false);
        };
        if let Err(error) = self.log_then_apply(edits).await {
            put_back(&taken);
            return Err(error);
        }
        self.swap_flushed(id, table, segment, written);
        Ok(true)
    }

    /// Stores the ends in the range's segments that the manifest does not have, so that what is left for the edit of
    /// the flush is little: it is answered.
    async fn save_ends(&self, id: RangeId, horizon: Timestamp) -> Result<Vec<Taken<E>>> {
        let segments = self.state.borrow().ranges.get(&id).map_or(Vec::new(), |range| range.segments.clone());
        let (mut all, mut count) = (Vec::new(), 0);
        for segment in segments {
            let mut walk = EndsWalk::new();
            while !walk.is_done() {
                segment.settle_ends(&mut walk, ENDS_STEP, horizon);
                self.background.flush_pace.breathe().await;
            }
            walk = EndsWalk::new();
            while !walk.is_done() {
                let mut taken = Taken { segment: segment.clone(), ends: Vec::new() };
                while !walk.is_done() && count < ENDS_PER_EDIT {
                    let before = taken.ends.len();
                    segment.take_fresh_ends(&mut walk, ENDS_STEP, horizon, &mut taken.ends);
                    count += taken.ends.len() - before;
                    self.background.flush_pace.breathe().await;
                }
                all.push(taken);
                if count >= ENDS_PER_EDIT {
                    self.save_taken(id, &all).await?;
                    all.clear();
                    count = 0;
                }
            }
        }
        Ok(all)
    }

    async fn save_taken(&self, id: RangeId, taken: &[Taken<E>]) -> Result<()> {
        let _turn = self.background.edits.enter().await;
        let mut edits = self.ends_edits(id, taken);
        // Settled ends have the horizon as their stamp: no later snapshot may lie below.
        edits.push(Edit::ClockAtLeast(self.tick()));
        let saved = self.log_then_apply(edits).await;
        if saved.is_err() {
            put_back(taken);
        }
        saved
    }

    /// The ends of those segments that the range still has. A merge has taken along those of the others.
    fn ends_edits(&self, id: RangeId, taken: &[Taken<E>]) -> Vec<Edit> {
        let state = self.state.borrow();
        let Some(range) = state.ranges.get(&id) else { return Vec::new() };
        let present =
            |taken: &&Taken<E>| range.segments.iter().any(|other| Rc::ptr_eq(other, &taken.segment));
        let some = taken.iter().filter(|taken| !taken.ends.is_empty()).filter(present);
        some.map(|taken| add_ends(id, taken.segment.id(), taken.ends.clone())).collect()
    }

    /// The manifest edit of a flush: the new segment, where replay begins, and the ends that are not stored yet.
    /// `None` if the range is gone.
    fn flush_edits(
        &self,
        id: RangeId,
        sealed: Lsn,
        horizon: Timestamp,
        new: Option<&Rc<Segment<E>>>,
        taken: &mut Vec<Taken<E>>,
    ) -> Option<Vec<Edit>> {
        let (index, segments) = {
            let state = self.state.borrow();
            let range = state.ranges.get(&id)?;
            (range.index, range.segments.clone())
        };
        let mut edits = vec![Edit::NextSegment(self.next_segment.get()), Edit::ClockAtLeast(self.tick())];
        if let Some(segment) = new {
            edits.push(Edit::AddSegment { range: id, segment: segment.meta().clone() });
        }
        edits.push(Edit::SetFlushed { range: id, lsn: sealed, index });
        edits.extend(self.ends_edits(id, taken));
        // What was set since, and all of segments that came since.
        for segment in segments.iter().chain(new) {
            let mut ends = Vec::new();
            segment.take_fresh_ends(&mut EndsWalk::new(), usize::MAX, horizon, &mut ends);
            if !ends.is_empty() {
                edits.push(add_ends(id, segment.id(), ends.clone()));
                taken.push(Taken { segment: segment.clone(), ends });
            }
        }
        Some(edits)
    }

    /// Applies edits after everything that they rest on is durable in the log.
    pub(super) async fn log_then_apply(&self, edits: Vec<Edit>) -> Result<()> {
        self.wal.durable(self.wal.tail_lsn()).await?;
        self.manifest.apply(&edits).await
    }

    /// Readers change over from the memtable to its segment.
    fn swap_flushed(
        &self,
        id: RangeId,
        table: &SharedMemtable,
        segment: Option<&Rc<Segment<E>>>,
        written: Option<Written>,
    ) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let range = state.ranges.get_mut(&id).expect("ranges go in a turn of `edits` only");
        let flushed = range.memtables.remove(0);
        assert!(Rc::ptr_eq(&flushed.table, table), "memtables are flushed in order");
        range.flushed = flushed.sealed.expect("only sealed memtables are flushed");
        if let (Some(segment), Some(written)) = (segment, written) {
            written.rows.carry(&table.borrow(), segment);
            for txn in &range.open_txns {
                if let Some(participant) = state.txns.get_mut(txn) {
                    participant.moved_to_segment(table, &written.rows, segment);
                }
            }
            range.segments.push(segment.clone());
        }
        range.changed();
    }
}

fn put_back<E: Env>(taken: &[Taken<E>]) {
    taken.iter().for_each(|taken| taken.segment.put_back_ends(&taken.ends));
}

/// The edit that adds these ends.
pub(super) fn add_ends(range: RangeId, segment: SegmentId, entries: Vec<(Position, Stamp)>) -> Edit {
    Edit::AddDeletions { range, segment, entries }
}

/// The committed ends of a segment. Provisional ones are in the log as long as they matter.
pub(super) fn committed_ends<E: Env>(segment: &Segment<E>) -> Vec<(Position, Stamp)> {
    let mut ends = segment.ends();
    ends.retain(|(_, end)| end.timestamp().is_some());
    ends
}
