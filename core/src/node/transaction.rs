//! Transactions of this core's sessions. The core of the session is the coordinator.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{CoreId, TableId, TxnId};
use crate::router::{ReadView, Transaction};
use crate::sync::Receiver;
use crate::write_batch::WriteBatch;

use super::message::{Notice, Reply, Request};
use super::router::Moves;
use super::{Local, answered, received};

/// A running transaction. Keeps its snapshot in use; dropped before its commit, it is rolled back.
pub struct NodeTxn<E: Env> {
    node: Rc<Local<E>>,
    view: ReadView,
    /// Cores to which changes were sent.
    participants: BTreeSet<CoreId>,
    /// Those that hold provisional changes: not those that refused all, because the range had moved.
    holders: BTreeSet<CoreId>,
    /// A shard has taken a write since the last refresh.
    has_written_since_refresh: bool,
    /// Writes that the shards have not answered, oldest first.
    behind: VecDeque<(CoreId, Sent)>,
}

/// A write that is under way.
pub(super) struct Sent {
    pub table: TableId,
    /// What was sent, to be sent again if the range has moved.
    pub batch: Arc<WriteBatch>,
    pub answer: Receiver<Result<Reply>>,
}

impl<E: Env> Transaction for NodeTxn<E> {
    fn view(&self) -> ReadView {
        self.view
    }

    fn refresh(&mut self) {
        let former = self.view.snapshot;
        self.view.snapshot = self.node.take_snapshot();
        self.node.release_snapshot(former);
        self.has_written_since_refresh = false;
    }

    fn has_written(&self) -> bool {
        !self.participants.is_empty()
    }

    fn has_written_since_refresh(&self) -> bool {
        self.has_written_since_refresh || !self.behind.is_empty()
    }
}

impl<E: Env> NodeTxn<E> {
    pub(super) fn begin(node: &Rc<Local<E>>) -> NodeTxn<E> {
        let view =
            ReadView { snapshot: node.take_snapshot(), txn: TxnId::new(node.core, node.take_numbers(1)) };
        let (participants, holders) = (BTreeSet::new(), BTreeSet::new());
        NodeTxn {
            node: node.clone(),
            view,
            participants,
            holders,
            has_written_since_refresh: false,
            behind: VecDeque::new(),
        }
    }

    /// A write was sent to a core, which will hold provisional changes unless it refuses them.
    pub(super) fn sent(&mut self, core: CoreId, sent: Sent) {
        self.participants.insert(core);
        self.behind.push_back((core, sent));
    }

    /// Waits until at most `rest` writes are under way. Parts that met a range that has moved are sent again.
    /// After an error all that was sent has been answered.
    pub(super) async fn settle(&mut self, rest: usize) -> Result<()> {
        let mut moves = Moves::default();
        let mut failure = None;
        while self.behind.len() > rest || failure.is_some() && !self.behind.is_empty() {
            let answer = match self.behind.front_mut() {
                Some((_, oldest)) => answered(&mut oldest.answer).await,
                None => break,
            };
            let Some((core, sent)) = self.behind.pop_front() else { break };
            match answer {
                Ok(_) => {
                    self.holders.insert(core);
                    self.has_written_since_refresh = true;
                }
                Err(Error::RangeMoved) if failure.is_none() => {
                    let again = match self.node.await_move(&mut moves).await {
                        Ok(()) => {
                            let batch = Arc::unwrap_or_clone(sent.batch);
                            self.node.clone().send_writes(self, sent.table, batch)
                        }
                        Err(error) => Err(error),
                    };
                    failure = again.err();
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        self.settle(0).await?;
        let id = self.view.txn;
        self.participants = std::mem::take(&mut self.holders);
        let mut participants = self.participants.iter().copied();
        match (participants.next(), participants.next()) {
            (None, _) => Ok(()),
            (Some(core), None) => {
                self.node.call(core, Request::Commit(id)).await?;
                self.participants.clear();
                Ok(())
            }
            _ => self.commit_in_two_phases(id).await,
        }
    }

    async fn commit_in_two_phases(&mut self, id: TxnId) -> Result<()> {
        let node = self.node.clone();
        // From here on the participants wait for the decision: a plain abort is not enough any more.
        let participants = std::mem::take(&mut self.participants);
        let mut pending = Prepared { node: node.clone(), id, participants, decided: false };
        let calls: Vec<_> =
            pending.participants.iter().map(|core| node.start_call(*core, Request::Prepare(id))).collect();
        let mut commit = node.now();
        for call in calls {
            match received(call).await? {
                Reply::At(at) => commit = commit.max(at),
                _ => unreachable!("prepare is answered by a timestamp"),
            }
        }
        node.shard.decide(id, commit).await?;
        pending.decided = true;
        let participants = std::mem::take(&mut pending.participants);
        node.resolve_all(id, participants, Some(commit));
        Ok(())
    }
}

impl<E: Env> Drop for NodeTxn<E> {
    fn drop(&mut self) {
        self.node.release_snapshot(self.view.snapshot);
        let participants = std::mem::take(&mut self.participants);
        let behind = std::mem::take(&mut self.behind);
        let (node, id) = (self.node.clone(), self.view.txn);
        let abort = move || participants.into_iter().for_each(|core| node.notify(core, Notice::Abort(id)));
        if behind.is_empty() {
            return abort();
        }
        // A write that came after the abort would keep its locks for ever.
        self.node.env.spawn(async move {
            for (_, sent) in behind {
                let _ = received(sent.answer).await;
            }
            abort();
        });
    }
}

/// Participants that may have prepared: they must be told the outcome, whatever becomes of the session.
struct Prepared<E: Env> {
    node: Rc<Local<E>>,
    id: TxnId,
    participants: BTreeSet<CoreId>,
    decided: bool,
}

impl<E: Env> Drop for Prepared<E> {
    fn drop(&mut self) {
        // If the log has failed, the decision may be in it: only the next start can tell.
        if !self.decided && !self.node.shard.is_stopped() {
            let participants = std::mem::take(&mut self.participants);
            self.node.resolve_all(self.id, participants, None);
        }
    }
}

impl<E: Env> Local<E> {
    fn take_snapshot(&self) -> Timestamp {
        let snapshot = self.now();
        *self.snapshots.borrow_mut().entry(snapshot).or_default() += 1;
        snapshot
    }

    fn release_snapshot(&self, snapshot: Timestamp) {
        let mut snapshots = self.snapshots.borrow_mut();
        let count = snapshots.get_mut(&snapshot).expect("registered by take_snapshot");
        *count -= 1;
        if *count == 0 {
            snapshots.remove(&snapshot);
        }
    }

    /// Tells all participants the outcome; the decision is forgotten when they all have it durably.
    fn resolve_all(self: &Rc<Self>, id: TxnId, participants: BTreeSet<CoreId>, outcome: Option<Timestamp>) {
        let calls: Vec<_> = participants
            .into_iter()
            .map(|core| self.start_call(core, Request::Resolve(id, outcome)))
            .collect();
        let node = self.clone();
        self.env.spawn(async move {
            for call in calls {
                if received(call).await.is_err() {
                    return;
                }
            }
            node.shard.forget(id);
        });
    }
}
