//! The manifest of one shard: which ranges it holds and which segments hold their rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::Result;
use crate::id::{Lsn, RangeId, TableId, TxnId};
use crate::key::KeySpan;
use crate::segment::{Position, SegmentId, SegmentMeta};
use crate::stamp::Stamp;

/// A change of the manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// The shard takes a new, empty range.
    CreateRange {
        /// The range; not there yet.
        range: RangeId,
        /// Whose rows it holds.
        table: TableId,
        /// Which rows.
        span: KeySpan,
        /// The table's columns and key, encoded by the shard; the manifest does not look at it. At most 1 MiB.
        schema: Rc<[u8]>,
    },
    /// The range is gone, with its segments.
    DropRange {
        /// The range.
        range: RangeId,
    },
    /// A segment belongs to a range.
    AddSegment {
        /// The range.
        range: RangeId,
        /// The segment; in no range yet.
        segment: SegmentMeta,
    },
    /// A segment does not belong to its range any more.
    RemoveSegment {
        /// The range.
        range: RangeId,
        /// The segment.
        segment: SegmentId,
    },
    /// Everything of the range below `lsn` is in segments.
    SetFlushed {
        /// The range.
        range: RangeId,
        /// Where its replay begins.
        lsn: Lsn,
        /// Raft index of the last record below.
        index: u64,
    },
    /// Replaces the ends of a segment's versions.
    SetDeletions {
        /// The range.
        range: RangeId,
        /// The segment.
        segment: SegmentId,
        /// All ends, positions rising.
        entries: Vec<(Position, Stamp)>,
    },
    /// The next segment gets this id or a larger one.
    NextSegment(u64),
    /// No timestamp up to this one is handed out again.
    ClockAtLeast(Timestamp),
    /// The outcome of a transaction that this core coordinated.
    Decided {
        /// The transaction.
        txn: TxnId,
        /// When it committed; `None`: rolled back.
        commit: Option<Timestamp>,
    },
    /// Every participant knows the outcome.
    ForgetDecision {
        /// The transaction.
        txn: TxnId,
    },
    /// The next transaction gets this sequence number or a larger one.
    NextTxn(u64),
}

/// A segment of a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentState {
    /// What it is.
    pub meta: SegmentMeta,
    /// Ends of its versions, positions rising.
    pub deletions: Rc<[(Position, Stamp)]>,
}

/// A range of the shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeState {
    /// Whose rows it holds.
    pub table: TableId,
    /// Which rows.
    pub span: KeySpan,
    /// The table's columns and key, encoded by the shard.
    pub schema: Rc<[u8]>,
    /// Everything below is in segments.
    pub flushed: Lsn,
    /// Raft index of the last record below `flushed`.
    pub index: u64,
    /// In the order they were added.
    pub segments: Vec<SegmentState>,
}

/// All that the manifest says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ManifestState {
    /// The ranges of the shard.
    pub ranges: BTreeMap<RangeId, Rc<RangeState>>,
    /// Outcomes of transactions that this core coordinated.
    pub decisions: BTreeMap<TxnId, Option<Timestamp>>,
    /// The next segment gets this id or a larger one.
    pub next_segment: u64,
    /// The next transaction gets this sequence number or a larger one.
    pub next_txn: u64,
    /// No timestamp up to this one is handed out again.
    pub clock_at_least: Timestamp,
}

/// The manifest, open for changes. Clones are handles of the same manifest.
#[derive(Clone)]
pub struct Manifest<E: Env> {
    env: E,
}

#[allow(unused_variables)]
impl<E: Env> Manifest<E> {
    /// Opens the manifest in `dir`, or creates an empty one.
    pub async fn open(env: E, dir: &Path) -> Result<(Manifest<E>, Rc<ManifestState>)> {
        todo!()
    }

    /// Makes all edits durable, or none. After `DiskFull` none is, and the manifest goes on.
    ///
    /// # Panics
    /// If an edit contradicts the state, e.g. adds a segment to a range that is not there.
    pub async fn apply(&self, edits: &[Edit]) -> Result<()> {
        todo!()
    }

    /// The state after the last durable edit.
    pub fn state(&self) -> Rc<ManifestState> {
        todo!()
    }

    /// Bytes of the manifest's files.
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }

    /// Whether a failed write or sync has ended the manifest.
    pub fn is_stopped(&self) -> bool {
        todo!()
    }
}
