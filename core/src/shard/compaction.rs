//! Merging neighbouring segments of a range into one that takes their place, without the versions that no snapshot can
//! see any more.
//!
//! A merge reads its inputs while readers and writers use them. Ends that are set meanwhile are written down by the
//! inputs and carried to the output, the last of them in the turn in which readers change over. Steps: write the output;
//! carry the ends; make log and manifest edit durable; change over; remove the inputs. A crash before the edit leaves
//! the inputs and a file without a name in the manifest; after it, the output and such files.

use std::rc::Rc;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::RangeId;
use crate::manifest::Edit;
use crate::segment::{EndsWalk, Merged, Position, PositionMap, Segment, SegmentWriter, merge_span};
use crate::stamp::Stamp;

use super::flush::{ENDS_STEP, add_ends};
use super::range::Range;
use super::{Inner, policy};

/// Blocks whose ends are carried in one step, and fewer if they have many.
const CARRY_BLOCKS: usize = 8;
/// Most rounds of carrying ends while writers set more; the rest is carried when readers change over.
const CARRY_ROUNDS: usize = 1_000;
/// Rows of the inputs of a merge for which there is always memory.
const MERGE_ROWS_MIN: u64 = 4_096;

/// A merge whose output is written.
struct Merge<'a, E: Env> {
    range: RangeId,
    inputs: &'a [Rc<Segment<E>>],
    output: Option<Rc<Segment<E>>>,
    positions: PositionMap,
    /// Ends of the output, taken for the manifest.
    ends: Vec<(Position, Stamp)>,
    horizon: Timestamp,
}

/// Inputs that write down which ends are set, until it is dropped.
struct Watched<'a, E: Env>(&'a [Rc<Segment<E>>]);

impl<'a, E: Env> Watched<'a, E> {
    fn new(inputs: &'a [Rc<Segment<E>>]) -> Watched<'a, E> {
        inputs.iter().for_each(|input| input.watch_ends());
        Watched(inputs)
    }
}

impl<E: Env> Drop for Watched<'_, E> {
    fn drop(&mut self) {
        self.0.iter().for_each(|input| input.unwatch_ends());
    }
}

impl<E: Env> Merge<'_, E> {
    /// Carries at most `count` of the ends that each input was given since the last call; false if there were none.
    fn carry_changes(&self, count: usize) -> bool {
        let Some(output) = &self.output else { return false };
        let mut any = false;
        for (index, input) in self.inputs.iter().enumerate() {
            for position in input.changed_ends(count) {
                any = true;
                if let Some(to) = self.positions.get(index, position) {
                    output.set_end(to, input.end(position));
                }
            }
        }
        any
    }
}

impl<E: Env> Inner<E> {
    /// What bounds a merge in a range.
    pub(super) fn merge_limits(&self, range: &Range<E>) -> policy::Limits {
        let ends: usize = range.segments.iter().map(|segment| segment.ends_bytes()).sum();
        let rows_max = (self.config.memtable_bytes / 4 / size_of::<u32>()) as u64;
        policy::Limits {
            depth_max: self.config.segments_max,
            rows_max: rows_max.max(MERGE_ROWS_MIN),
            ends_pressed: ends > self.config.cache_bytes / 8,
        }
    }

    /// Does the merge in the range that is worth most; answers whether there was one.
    pub(super) async fn merge_in_range(&self, id: RangeId) -> Result<bool> {
        let _turn = self.background.merges.enter().await;
        let inputs = {
            let mut state = self.state.borrow_mut();
            let range = state.ranges.get_mut(&id).filter(|range| !range.moving);
            let Some(range) = range else { return Ok(false) };
            match policy::choose(&range.segment_stats(), &self.merge_limits(range)) {
                Some(chosen) => range.segments[chosen].to_vec(),
                None => {
                    range.may_merge = false;
                    return Ok(false);
                }
            }
        };
        self.merge(id, &inputs).await.map(|_| true)
    }

    /// Merges all segments of a range; one alone is written anew if it has versions that ended, or that lie in other ranges,
    /// which share its file until all have done so. Answers false, and changes nothing, if the range is not here or is being
    /// handed over.
    pub(super) async fn merge_whole_range(&self, id: RangeId) -> Result<bool> {
        let _turn = self.background.merges.enter().await;
        let inputs = match self.state.borrow().ranges.get(&id).filter(|range| !range.moving) {
            Some(range) => match range.segments.as_slice() {
                [] => return Ok(true),
                [one]
                    if !one.has_ends()
                        && range.span.contains(&one.meta().first_key)
                        && range.span.contains(&one.meta().last_key) =>
                {
                    return Ok(true);
                }
                all => all.to_vec(),
            },
            None => return Ok(false),
        };
        self.merge(id, &inputs).await
    }

    /// Answers whether the range was still here and not being handed over.
    async fn merge(&self, id: RangeId, inputs: &[Rc<Segment<E>>]) -> Result<bool> {
        let _watched = Watched::new(inputs);
        let map_bytes: u64 = inputs.iter().map(|input| input.meta().rows * size_of::<u32>() as u64).sum();
        let _map = self.background.count_map(usize::try_from(map_bytes).unwrap_or(usize::MAX));
        let merged = self.write_and_commit(id, inputs).await?;
        if merged {
            self.remove_segments(inputs).await?;
        }
        Ok(merged)
    }

    /// Answers whether the inputs are of no more use.
    async fn write_and_commit(&self, id: RangeId, inputs: &[Rc<Segment<E>>]) -> Result<bool> {
        let (schema, span) = match self.state.borrow().ranges.get(&id) {
            Some(range) => (range.schema.clone(), range.span.clone()),
            None => return Ok(false),
        };
        let horizon = self.horizon().await;
        let segment_id = self.new_segment_id();
        let path = self.segment_path(segment_id);
        let mut writer =
            SegmentWriter::new(self.env.clone(), path.clone(), segment_id, schema.clone()).await?;
        writer.set_pace(self.background.merge_pace.clone());
        self.background.merge_pace.start();
        let Merged { meta, positions } = merge_span(inputs, &span, horizon, writer).await?;
        let output = match &meta {
            Some(meta) => Some(Rc::new(Segment::open(self.env.clone(), &path, schema, meta).await?)),
            None => None,
        };
        let mut merge = Merge { range: id, inputs, output, positions, ends: Vec::new(), horizon };
        self.carry_ends(&mut merge).await;
        let committed = self.commit_merge(&mut merge).await;
        if !matches!(committed, Ok(true)) && merge.output.is_some() {
            let _ = self.env.remove_file(&path).await;
        }
        committed
    }

    /// Carries the ends of the inputs to the output, and takes those for the manifest.
    async fn carry_ends(&self, merge: &mut Merge<'_, E>) {
        let Some(output) = merge.output.clone() else { return };
        let pace = &self.background.merge_pace;
        for (index, input) in merge.inputs.iter().enumerate() {
            let (mut blocks, mut ends) = (0, 0);
            for block in 0..input.block_count() {
                for (position, end) in input.ends_in_block(block) {
                    ends += 1;
                    if let Some(to) = merge.positions.get(index, position) {
                        output.set_end(to, end);
                    }
                }
                blocks += 1;
                if blocks >= CARRY_BLOCKS || ends >= ENDS_STEP {
                    (blocks, ends) = (0, 0);
                    pace.breathe().await;
                }
            }
        }
        for _ in 0..CARRY_ROUNDS {
            if !merge.carry_changes(ENDS_STEP) {
                break;
            }
            pace.breathe().await;
        }
        let mut walk = EndsWalk::new();
        while !walk.is_done() {
            output.take_fresh_ends(&mut walk, ENDS_STEP, merge.horizon, &mut merge.ends);
            pace.breathe().await;
        }
    }

    /// Answers false, and changes nothing, if the inputs are not the range's any more or it is being handed over.
    async fn commit_merge(&self, merge: &mut Merge<'_, E>) -> Result<bool> {
        let _turn = self.background.edits.enter().await;
        if !self.still_has(merge) {
            return Ok(false);
        }
        let range = merge.range;
        let mut edits = vec![Edit::NextSegment(self.next_segment.get()), Edit::ClockAtLeast(self.tick())];
        let inputs = merge.inputs.iter().map(|input| input.id()).collect();
        let meta = merge.output.as_ref().map(|output| output.meta().clone());
        edits.push(Edit::MergeSegments { range, inputs, output: meta });
        merge.carry_changes(usize::MAX);
        if let Some(output) = &merge.output {
            let mut last = Vec::new();
            output.take_fresh_ends(&mut EndsWalk::new(), usize::MAX, merge.horizon, &mut last);
            let all = [std::mem::take(&mut merge.ends), last].into_iter().filter(|ends| !ends.is_empty());
            edits.extend(all.map(|ends| add_ends(range, output.id(), ends)));
        }
        self.log_then_apply(edits).await?;
        self.swap_merged(merge);
        Ok(true)
    }

    fn still_has(&self, merge: &Merge<'_, E>) -> bool {
        let state = self.state.borrow();
        let range = state.ranges.get(&merge.range).filter(|range| !range.moving);
        range.is_some_and(|range| {
            merge.inputs.iter().all(|input| range.segments.iter().any(|other| Rc::ptr_eq(other, input)))
        })
    }

    /// Readers change over from the inputs to the output.
    fn swap_merged(&self, merge: &Merge<'_, E>) {
        merge.carry_changes(usize::MAX);
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let range = state.ranges.get_mut(&merge.range).expect("ranges go in a turn of `edits` only");
        let at = range.segments.iter().position(|segment| Rc::ptr_eq(segment, &merge.inputs[0]));
        let at = at.expect("segments change in a turn of `edits` only");
        range.segments.splice(at..at + merge.inputs.len(), merge.output.clone());
        if let Some(output) = &merge.output {
            for txn in &range.open_txns {
                if let Some(participant) = state.txns.get_mut(txn) {
                    participant.moved_to_merged(merge.inputs, &merge.positions, output);
                }
            }
        }
        range.changed();
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
}
