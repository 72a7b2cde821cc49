//! The manifest of one shard: which ranges it holds, which segments hold their rows, and what else must survive the
//! truncation of the log.
//!
//! A file is a snapshot and the changes since; when it gets long, a new one takes over. A change is one frame, so all
//! its edits become durable together or not at all.
//!
//! Invariants:
//! - What [`Manifest::state`] shows is durable.
//! - Space is there, zeroed, before a change is written; so lack of space leaves no trace of it.
//! - A failed write or sync ends the manifest for good: whether the change will be there is not known.
//! - The manifest of a shard that was closed is one whole snapshot and zeros, so that no damage to it passes for the
//!   torn change of a crash.

mod ends;
mod format;
mod gate;
mod state;
mod store;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId, TableId, TxnId};
use crate::key::KeySpan;
use crate::segment::{Position, SegmentId, SegmentMeta};
use crate::stamp::Stamp;

pub use ends::SavedEnds;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use format::VERSION;

use format::FrameKind;
use gate::Gate;
use state::SnapshotFrame;
use store::{Failure, Store};

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
    /// More ends of a segment's versions, or other ones.
    AddDeletions {
        /// The range.
        range: RangeId,
        /// The segment.
        segment: SegmentId,
        /// Ends, positions rising.
        entries: Vec<(Position, Stamp)>,
    },
    /// Neighbouring segments of a range become one, or vanish.
    MergeSegments {
        /// The range.
        range: RangeId,
        /// Which, in their order; at least one.
        inputs: Vec<SegmentId>,
        /// What takes their place.
        output: Option<SegmentMeta>,
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
    /// The log is needed from here on; files below may be gone.
    LogFrom(Lsn),
    /// The shard was closed in order when its log ended here. Holds until the next change.
    Closed(Lsn),
}

/// A segment of a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentState {
    /// What it is.
    pub meta: SegmentMeta,
    /// Ends of its versions.
    pub deletions: SavedEnds,
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
    /// Oldest first.
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
    /// The log is needed from here on.
    pub log_from: Lsn,
    /// No timestamp up to this one is handed out again.
    pub clock_at_least: Timestamp,
    /// Where the log ended when the shard was closed, if nothing has changed since.
    pub closed: Option<Lsn>,
}

/// What the handles of a manifest share.
struct Inner<E: Env> {
    gate: Gate,
    state: RefCell<Rc<ManifestState>>,
    /// Taken while a change is on its way, and not put back if that ends in the dark.
    store: RefCell<Option<Store<E>>>,
    size_bytes: Cell<u64>,
    /// Why the manifest has ended.
    stopped: RefCell<Option<String>>,
}

/// The manifest, open for changes. Clones are handles of the same manifest.
pub struct Manifest<E: Env> {
    inner: Rc<Inner<E>>,
}

impl<E: Env> Clone for Manifest<E> {
    fn clone(&self) -> Manifest<E> {
        Manifest { inner: Rc::clone(&self.inner) }
    }
}

impl<E: Env> Manifest<E> {
    /// Opens the manifest in `dir`, or creates an empty one.
    ///
    /// # Errors
    /// `Corrupt` if bytes are damaged that had been acknowledged, as far as what follows them tells.
    pub async fn open(env: E, dir: &Path) -> Result<(Manifest<E>, Rc<ManifestState>)> {
        let (store, state) = Store::open(env, dir).await?;
        let state = Rc::new(state);
        let inner = Inner {
            gate: Gate::default(),
            state: RefCell::new(Rc::clone(&state)),
            size_bytes: Cell::new(store.size_bytes()),
            store: RefCell::new(Some(store)),
            stopped: RefCell::new(None),
        };
        Ok((Manifest { inner: Rc::new(inner) }, state))
    }

    /// Makes all edits durable, or none. Concurrent calls take effect one after the other, in the order they came.
    ///
    /// # Errors
    /// `DiskFull` or `TooLarge`: nothing has happened and the manifest goes on. `ShardStopped` after a failed write
    /// or sync, or after a call whose future was dropped halfway.
    ///
    /// # Panics
    /// If an edit contradicts the state, e.g. adds a segment to a range that is not there.
    pub async fn apply(&self, edits: &[Edit]) -> Result<()> {
        let inner = &*self.inner;
        let _pass = inner.gate.enter().await;
        let Some(mut store) = inner.store.borrow_mut().take() else { return Err(self.stopped()) };
        let mut next = ManifestState { closed: None, ..ManifestState::clone(&inner.state.borrow()) };
        let mut frame = SnapshotFrame::new(FrameKind::Change);
        for edit in edits {
            if let Err(detail) = next.apply(edit) {
                panic!("impossible change of the manifest: {detail}");
            }
            format::encode_edit(edit, &mut frame.bytes);
            frame.edits += 1;
        }
        match store.append(frame).await {
            Ok(()) => {}
            Err(Failure::Clean(error)) => {
                inner.store.replace(Some(store));
                return Err(error);
            }
            Err(Failure::Final(error)) => return Err(self.stop(&error)),
        }
        let next = Rc::new(next);
        inner.state.replace(Rc::clone(&next));
        if store.is_long() {
            store = store.rewrite(&next).await.map_err(|error| self.stop(&error))?;
        }
        inner.size_bytes.set(store.size_bytes());
        inner.store.replace(Some(store));
        Ok(())
    }

    /// Ends the manifest in order, and says that the log ends at `log_end`, which must be so. Nothing can be changed
    /// afterwards.
    ///
    /// # Errors
    /// `DiskFull`: the shard opens as after a crash. `ShardStopped` as [`Manifest::apply`].
    pub async fn close(&self, log_end: Lsn) -> Result<()> {
        let inner = &*self.inner;
        let _pass = inner.gate.enter().await;
        let Some(store) = inner.store.borrow_mut().take() else { return Err(self.stopped()) };
        let state = ManifestState { closed: Some(log_end), ..ManifestState::clone(&inner.state.borrow()) };
        store.close(&state).await?;
        inner.state.replace(Rc::new(state));
        Ok(())
    }

    fn stop(&self, cause: &Error) -> Error {
        self.inner.stopped.replace(Some(cause.to_string()));
        self.stopped()
    }

    fn stopped(&self) -> Error {
        let reason = self.inner.stopped.borrow().clone();
        Error::ShardStopped {
            reason: reason
                .unwrap_or_else(|| "the manifest is closed, or a change of it was abandoned".into()),
        }
    }

    /// The state after the last durable change.
    pub fn state(&self) -> Rc<ManifestState> {
        Rc::clone(&self.inner.state.borrow())
    }

    /// Bytes of memory for the ends of versions.
    pub fn ends_bytes(&self) -> usize {
        let state = self.inner.state.borrow();
        let segments = state.ranges.values().flat_map(|range| &range.segments);
        segments.map(|segment| segment.deletions.size_bytes()).sum()
    }

    /// Bytes of the manifest's file.
    pub fn size_bytes(&self) -> u64 {
        self.inner.size_bytes.get()
    }

    /// Whether a failed write or sync has ended the manifest.
    pub fn is_stopped(&self) -> bool {
        self.inner.stopped.borrow().is_some()
    }
}

#[cfg(test)]
mod tests;
