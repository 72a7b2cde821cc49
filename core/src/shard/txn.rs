//! Transactions on this shard: what they touched, and how they end.
//!
//! A transaction with one participating shard commits there with one record. With several, each participant prepares,
//! the coordinator's decision is the commit, and the participants resolve. What is not decided has aborted, so an
//! abort needs no record; one is written when there is room, to spare recovery the question.
//!
//! Invariant: a prepared transaction ends in memory in the turn in which its end is logged, so that whatever else is
//! done to its keys stands behind that in the log.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId, TxnId};
use crate::memtable::RowId;
use crate::segment::{PositionMap, RowMap, Segment};
use crate::stamp::Stamp;
use crate::wal::{Record, Reservation, Wal};

use super::range::{Place, SharedMemtable};
use super::records::{encode_outcome, kind};
use super::write::TERM;
use super::{Inner, Shard, State};

/// Payload bytes of the longest record about a transaction.
const OUTCOME_BYTES: usize = 16;
/// Pause before a resolution that found no room in the log is logged again.
const LOG_RETRY: Duration = Duration::from_millis(100);

/// What a transaction has done here and not yet ended.
pub(super) struct Participant<E: Env> {
    /// Versions it made, by memtable.
    created: Vec<(RangeId, SharedMemtable, Vec<RowId>)>,
    /// Versions it ended.
    pub ended: Vec<(RangeId, Place<E>)>,
    /// Ranges it touched.
    pub ranges: BTreeSet<RangeId>,
    /// Set once it has promised to follow the coordinator: it will not commit before this.
    pub prepared: Option<Timestamp>,
}

impl<E: Env> Default for Participant<E> {
    fn default() -> Self {
        Participant { created: Vec::new(), ended: Vec::new(), ranges: BTreeSet::new(), prepared: None }
    }
}

impl<E: Env> Participant<E> {
    /// It made versions.
    pub fn created(&mut self, range: RangeId, table: &SharedMemtable, made: &[RowId]) {
        match self.created.last_mut() {
            Some((_, last, rows)) if Rc::ptr_eq(last, table) => rows.extend_from_slice(made),
            _ => self.created.push((range, table.clone(), made.to_vec())),
        }
    }

    /// A memtable it ended versions of has become a segment.
    pub fn moved_to_segment(&mut self, from: &SharedMemtable, rows: &RowMap, to: &Rc<Segment<E>>) {
        for (_, place) in &mut self.ended {
            if let Place::Memtable(table, row) = place
                && Rc::ptr_eq(table, from)
                && let Some(position) = rows.get(*row)
            {
                *place = Place::Segment(to.clone(), position);
            }
        }
    }

    /// Segments it ended versions of have been merged.
    pub fn moved_to_merged(
        &mut self,
        inputs: &[Rc<Segment<E>>],
        positions: &PositionMap,
        to: &Rc<Segment<E>>,
    ) {
        for (_, place) in &mut self.ended {
            if let Place::Segment(segment, position) = place
                && let Some(input) = inputs.iter().position(|input| Rc::ptr_eq(input, segment))
            {
                let moved = positions.get(input, *position).expect("a version with an open end is kept");
                *place = Place::Segment(to.clone(), moved);
            }
        }
    }

    /// Gives its versions their final stamps.
    fn settle(&self, outcome: Option<Timestamp>) {
        let (begin, end) = match outcome {
            Some(commit) => (Stamp::committed(commit), Stamp::committed(commit)),
            None => (Stamp::ABORTED, Stamp::LIVE),
        };
        for (_, table, rows) in &self.created {
            table.borrow_mut().set_begins(rows, begin);
        }
        self.ended.iter().for_each(|(_, place)| place.set_end(end));
    }
}

impl<E: Env> State<E> {
    /// Ends a transaction in memory. `None` if it had touched nothing, else whether work can be done now that had
    /// to wait for it: a flush or a split.
    pub fn settle(&mut self, txn: TxnId, outcome: Option<Timestamp>) -> Option<bool> {
        let participant = self.txns.remove(&txn)?;
        participant.settle(outcome);
        let mut unblocked = false;
        for id in &participant.ranges {
            if let Some(range) = self.ranges.get_mut(id) {
                range.open_txns.remove(&txn);
                unblocked |= range.wants_split();
                for slot in &mut range.memtables {
                    unblocked |= slot.awaits.remove(&txn) && slot.awaits.is_empty();
                }
            }
        }
        Some(unblocked)
    }

    /// A transaction that has prepared in the range and may commit at or before `at`.
    pub fn prepared_before(&self, id: RangeId, at: Timestamp) -> Option<TxnId> {
        let range = self.ranges.get(&id)?;
        range.open_txns.iter().copied().find(|txn| self.may_commit_by(*txn, at))
    }

    /// Whether the transaction is prepared and may commit at or before `at`.
    pub fn may_commit_by(&self, txn: TxnId, at: Timestamp) -> bool {
        let prepared = self.txns.get(&txn).and_then(|participant| participant.prepared);
        prepared.is_some_and(|prepared| prepared <= at)
    }
}

impl<E: Env> Shard<E> {
    /// Commits a transaction that has written on this shard only. Durable when this returns.
    ///
    /// # Errors
    /// `DiskFull`, after which it can be aborted; `ShardStopped`.
    pub async fn commit(&self, txn: TxnId) -> Result<Timestamp> {
        let inner = &self.0;
        let mut reservation = inner.reserve_outcome().await?;
        let (commit, lsn) = {
            let commit = inner.tick();
            let lsn = inner.log_outcome(&mut reservation, kind::RESOLVE, txn, Some(commit));
            let mut state = inner.state.borrow_mut();
            let Some(unblocked) = state.settle(txn, Some(commit)) else {
                return Err(Error::ShardStopped { reason: format!("transaction {txn} is not open") });
            };
            inner.unblocked.set(unblocked | inner.unblocked.get());
            state.undurable.push_back((commit, lsn));
            (commit, lsn)
        };
        inner.released.notify();
        self.count_written(0);
        inner.wal.durable(lsn).await?;
        inner.settle_durable();
        Ok(commit)
    }

    /// Promises to commit or abort as the coordinator decides. The answer is the earliest timestamp at which it may.
    ///
    /// # Errors
    /// `DiskFull`, `ShardStopped`: the coordinator must abort.
    pub async fn prepare(&self, txn: TxnId) -> Result<Timestamp> {
        let inner = &self.0;
        let mut reservation = inner.reserve_outcome().await?;
        let at = inner.tick();
        let lsn = {
            let mut state = inner.state.borrow_mut();
            let Some(participant) = state.txns.get_mut(&txn) else {
                return Err(Error::ShardStopped { reason: format!("transaction {txn} is not open") });
            };
            participant.prepared = Some(at);
            inner.log_outcome(&mut reservation, kind::PREPARE, txn, Some(at))
        };
        inner.wal.durable(lsn).await?;
        Ok(at)
    }

    /// As coordinator, commits a transaction all of whose participants have prepared. Durable when this returns.
    ///
    /// # Errors
    /// `DiskFull`: the transaction must be aborted; `ShardStopped`: its outcome is found at the next start.
    pub async fn decide(&self, txn: TxnId, commit: Timestamp) -> Result<()> {
        let inner = &self.0;
        inner.clock.observe(commit);
        let mut reservation = inner.reserve_outcome().await?;
        let lsn = inner.log_outcome(&mut reservation, kind::DECIDE, txn, Some(commit));
        inner.state.borrow_mut().decisions.insert(txn, (commit, lsn));
        inner.wal.durable(lsn).await
    }

    /// As coordinator: when the transaction committed; `None` if it has not.
    pub fn decision(&self, txn: TxnId) -> Option<Timestamp> {
        self.0.state.borrow().decisions.get(&txn).map(|(commit, _)| *commit)
    }

    /// As coordinator: every participant has resolved durably.
    pub fn forget(&self, txn: TxnId) {
        let inner = self.0.clone();
        if inner.state.borrow_mut().decisions.remove(&txn).is_none() {
            return;
        }
        self.0.env.spawn(async move {
            if let Ok(mut reservation) = inner.reserve_outcome().await {
                let payload = &txn.0.to_le_bytes();
                inner.log_control(&mut reservation, kind::FORGET, payload);
            }
        });
    }

    /// As coordinator, at the end of recovery: no participant is in doubt any more.
    pub fn forget_all(&self) {
        let decided: Vec<_> = self.0.state.borrow().decisions.keys().copied().collect();
        decided.into_iter().for_each(|txn| self.forget(txn));
    }

    /// Ends a prepared transaction as the coordinator decided. Visible as soon as the log has room for it, which on a
    /// full disk may take a while, and durable when this returns.
    ///
    /// # Errors
    /// `ShardStopped`: recovery will ask the coordinator again.
    pub async fn resolve(&self, txn: TxnId, outcome: Option<Timestamp>) -> Result<()> {
        let inner = &self.0;
        outcome.inspect(|commit| inner.clock.observe(*commit));
        let mut reservation = loop {
            match inner.reserve_outcome().await {
                Ok(reservation) => break reservation,
                Err(Error::ShardStopped { reason }) => return Err(Error::ShardStopped { reason }),
                Err(_) => inner.env.sleep(LOG_RETRY).await,
            }
        };
        let lsn = inner.log_outcome(&mut reservation, kind::RESOLVE, txn, outcome);
        self.settle(txn, outcome);
        inner.wal.durable(lsn).await
    }

    /// Ends a transaction in memory and tells who waits for it; false if it had touched nothing.
    fn settle(&self, txn: TxnId, outcome: Option<Timestamp>) -> bool {
        let inner = &self.0;
        let settled = inner.state.borrow_mut().settle(txn, outcome);
        inner.unblocked.set(settled == Some(true) || inner.unblocked.get());
        inner.released.notify();
        self.count_written(0);
        settled.is_some()
    }

    /// Ends a transaction that has not prepared, without its changes.
    pub fn abort(&self, txn: TxnId) {
        let inner = self.0.clone();
        if !self.settle(txn, None) {
            return;
        }
        self.0.env.spawn(async move {
            if let Ok(mut reservation) = inner.reserve_outcome().await {
                inner.log_outcome(&mut reservation, kind::RESOLVE, txn, None);
            }
        });
    }
}

impl<E: Env> Inner<E> {
    async fn reserve_outcome(&self) -> Result<Reservation> {
        self.wal.reserve(Wal::<E>::framed(OUTCOME_BYTES)).await
    }

    fn log_outcome(&self, reservation: &mut Reservation, kind: u8, txn: TxnId, at: Option<Timestamp>) -> Lsn {
        self.log_control(reservation, kind, &encode_outcome(txn, at))
    }

    fn log_control(&self, reservation: &mut Reservation, kind: u8, payload: &[u8]) -> Lsn {
        let record = Record { range: RangeId(0), term: TERM, index: 0, kind, payload };
        self.wal.append(reservation, record)
    }
}
