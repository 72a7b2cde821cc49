//! How edits change a state, and how a state is written as edits.

use std::rc::Rc;

use crate::id::RangeId;
use crate::segment::{Position, SegmentId, SegmentMeta};
use crate::stamp::Stamp;

use super::format::{self, FrameKind};
use super::{Edit, ManifestState, RangeState, SavedEnds, SegmentState};

/// 1 MiB: a frame of a snapshot ends with the edit that reaches this.
const SNAPSHOT_PAYLOAD_BYTES: usize = 1 << 20;

impl ManifestState {
    /// Applies one edit. On an error nothing has changed.
    ///
    /// # Errors
    /// How the edit contradicts the state.
    pub(super) fn apply(&mut self, edit: &Edit) -> Result<(), String> {
        match edit {
            Edit::CreateRange { range, table, span, schema } => {
                if self.ranges.contains_key(range) {
                    return Err(format!("range {range} exists already"));
                }
                let state = RangeState {
                    table: *table,
                    span: span.clone(),
                    schema: Rc::clone(schema),
                    flushed: Default::default(),
                    index: 0,
                    segments: Vec::new(),
                };
                self.ranges.insert(*range, Rc::new(state));
            }
            Edit::DropRange { range } => {
                self.ranges
                    .remove(range)
                    .ok_or_else(|| format!("range {range} is not there to be dropped"))?;
            }
            Edit::AddSegment { range, segment } => {
                let state = self.range(*range)?;
                if state.segments.iter().any(|other| other.meta.id == segment.id) {
                    return Err(format!("range {range} has segment {} already", segment.id.0));
                }
                state.segments.push(SegmentState::new(segment.clone()));
            }
            Edit::RemoveSegment { range, segment } => {
                let state = self.range(*range)?;
                let index = state.index_of(*range, *segment)?;
                state.segments.remove(index);
            }
            Edit::SetFlushed { range, lsn, index } => {
                let state = self.range(*range)?;
                if *lsn < state.flushed {
                    return Err(format!("range {range} was flushed to {}, not only to {lsn}", state.flushed));
                }
                (state.flushed, state.index) = (*lsn, *index);
            }
            Edit::SetDeletions { range, segment, entries } => {
                let state = self.range(*range)?.deletions_of(*range, *segment, entries)?;
                *state = SavedEnds::new(entries);
            }
            Edit::AddDeletions { range, segment, entries } => {
                self.range(*range)?.deletions_of(*range, *segment, entries)?.add(entries);
            }
            Edit::MergeSegments { range, inputs, output } => {
                self.range(*range)?.merge(*range, inputs, output.as_ref())?;
            }
            Edit::NextSegment(next) => self.next_segment = self.next_segment.max(*next),
            Edit::ClockAtLeast(at) => self.clock_at_least = self.clock_at_least.max(*at),
            Edit::Decided { txn, commit } => match self.decisions.get(txn) {
                Some(other) if other != commit => {
                    return Err(format!("transaction {txn} was decided otherwise"));
                }
                _ => {
                    self.decisions.insert(*txn, *commit);
                }
            },
            Edit::ForgetDecision { txn } => {
                self.decisions.remove(txn);
            }
            Edit::NextTxn(next) => self.next_txn = self.next_txn.max(*next),
            Edit::LogFrom(lsn) => self.log_from = self.log_from.max(*lsn),
            Edit::Closed(lsn) => self.closed = Some(*lsn),
        }
        Ok(())
    }

    fn range(&mut self, range: RangeId) -> Result<&mut RangeState, String> {
        self.ranges.get_mut(&range).map(Rc::make_mut).ok_or_else(|| format!("range {range} is not there"))
    }

    /// The state as the edits that make it from nothing, in frames: kind, number of edits and payload, which begins
    /// behind the space for the frame's header.
    pub(super) fn snapshot(&self) -> Vec<SnapshotFrame> {
        let mut frames = Frames::default();
        for (range, state) in &self.ranges {
            let RangeState { table, span, schema, flushed, index, segments } = &**state;
            let (range, table) = (*range, *table);
            frames.add(&Edit::CreateRange { range, table, span: span.clone(), schema: Rc::clone(schema) });
            frames.add(&Edit::SetFlushed { range, lsn: *flushed, index: *index });
            for SegmentState { meta, deletions } in segments {
                frames.add(&Edit::AddSegment { range, segment: meta.clone() });
                for entries in deletions.pieces() {
                    frames.add(&Edit::AddDeletions { range, segment: meta.id, entries });
                }
            }
        }
        for (txn, commit) in &self.decisions {
            frames.add(&Edit::Decided { txn: *txn, commit: *commit });
        }
        frames.add(&Edit::ClockAtLeast(self.clock_at_least));
        frames.add(&Edit::NextTxn(self.next_txn));
        frames.add(&Edit::LogFrom(self.log_from));
        frames.add(&Edit::NextSegment(self.next_segment));
        self.closed.iter().for_each(|lsn| frames.add(&Edit::Closed(*lsn)));
        frames.finish()
    }
}

impl RangeState {
    fn index_of(&self, range: RangeId, segment: SegmentId) -> Result<usize, String> {
        let found = self.segments.iter().position(|other| other.meta.id == segment);
        found.ok_or_else(|| format!("range {range} has no segment {}", segment.0))
    }

    /// Replaces neighbouring segments.
    fn merge(
        &mut self,
        range: RangeId,
        inputs: &[SegmentId],
        output: Option<&SegmentMeta>,
    ) -> Result<(), String> {
        let first = inputs.first().ok_or_else(|| format!("a merge of nothing in range {range}"))?;
        let at = self.index_of(range, *first)?;
        let present = self.segments[at..].iter().map(|segment| segment.meta.id);
        if !present.take(inputs.len()).eq(inputs.iter().copied()) {
            return Err(format!("range {range} does not have the inputs of a merge side by side"));
        }
        let mut others = self.segments.iter().filter(|other| !inputs.contains(&other.meta.id));
        if output.is_some_and(|output| others.any(|other| other.meta.id == output.id)) {
            return Err(format!("range {range} has the output of a merge already"));
        }
        let output = output.map(|meta| SegmentState::new(meta.clone()));
        self.segments.splice(at..at + inputs.len(), output);
        Ok(())
    }

    /// The ends of a segment to which these are to be added.
    fn deletions_of(
        &mut self,
        range: RangeId,
        segment: SegmentId,
        entries: &[(Position, Stamp)],
    ) -> Result<&mut SavedEnds, String> {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(format!("positions of deletions in segment {} do not rise", segment.0));
        }
        let index = self.index_of(range, segment)?;
        Ok(&mut self.segments[index].deletions)
    }
}

impl SegmentState {
    fn new(meta: SegmentMeta) -> SegmentState {
        SegmentState { meta, deletions: SavedEnds::default() }
    }
}

/// One frame of a snapshot.
pub(super) struct SnapshotFrame {
    /// What it is.
    pub kind: FrameKind,
    /// Edits in it.
    pub edits: u32,
    /// Space for the header, then the payload.
    pub bytes: Vec<u8>,
}

impl SnapshotFrame {
    /// A frame without edits yet.
    pub(super) fn new(kind: FrameKind) -> SnapshotFrame {
        SnapshotFrame { kind, edits: 0, bytes: vec![0; format::FRAME_HEADER_BYTES] }
    }
}

#[derive(Default)]
struct Frames {
    done: Vec<SnapshotFrame>,
    open: Option<SnapshotFrame>,
}

impl Frames {
    fn add(&mut self, edit: &Edit) {
        let frame = self.open.get_or_insert_with(|| SnapshotFrame::new(FrameKind::Snapshot));
        format::encode_edit(edit, &mut frame.bytes);
        frame.edits += 1;
        if frame.bytes.len() >= SNAPSHOT_PAYLOAD_BYTES {
            self.done.extend(self.open.take());
        }
    }

    fn finish(mut self) -> Vec<SnapshotFrame> {
        self.done.push(self.open.unwrap_or_else(|| SnapshotFrame::new(FrameKind::Snapshot)));
        if let Some(last) = self.done.last_mut() {
            last.kind = FrameKind::SnapshotEnd;
        }
        self.done
    }
}
