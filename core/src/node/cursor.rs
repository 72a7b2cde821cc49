//! Scans over several ranges: one fragment runs on each core over those that it owns; parts come as they are ready.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{CoreId, RangeId};
use crate::key::KeySpan;
use crate::router::{Cursor, Scan, ScanCounts};
use crate::shard::{ScanId, ScanOpen, ScanPart};
use crate::sync::Receiver;

use super::message::{Notice, Reply, Request};
use super::router::Moves;
use super::{Local, received};

/// A running scan.
pub struct NodeCursor<E: Env> {
    node: Rc<Local<E>>,
    scan: Scan,
    targets: Vec<Target>,
    counts: ScanCounts,
}

/// A core's ranges that are being scanned.
struct Target {
    core: CoreId,
    id: ScanId,
    /// What is scanned there, to be asked elsewhere if a range has moved; empty once the core has answered.
    spans: Vec<KeySpan>,
    answer: Receiver<Result<Reply>>,
}

impl<E: Env> NodeCursor<E> {
    pub(super) fn open(node: &Rc<Local<E>>, scan: Scan) -> Result<NodeCursor<E>> {
        let mut cursor =
            NodeCursor { node: node.clone(), targets: Vec::new(), scan, counts: ScanCounts::default() };
        let spans = cursor.scan.spans.clone();
        cursor.open_targets(&spans)?;
        Ok(cursor)
    }

    fn open_targets(&mut self, spans: &[KeySpan]) -> Result<()> {
        let catalog = self.node.catalog.borrow().clone();
        let table = self.scan.table;
        let table = catalog.table(table).ok_or(Error::TableMissing { table })?;
        let mut of_cores: BTreeMap<CoreId, Vec<(RangeId, Vec<KeySpan>)>> = BTreeMap::new();
        for range in &table.ranges {
            let spans: Vec<_> = spans.iter().filter_map(|span| span.intersect(&range.span)).collect();
            if !spans.is_empty() {
                of_cores.entry(range.core).or_default().push((range.id, spans));
            }
        }
        for (core, ranges) in of_cores {
            let number = self.node.scans_total.get();
            self.node.scans_total.set(number + 1);
            let id = ScanId { reader: self.node.core, number };
            let spans = ranges.iter().flat_map(|(_, spans)| spans).cloned().collect();
            let fragment = self.scan.fragment.clone();
            let open = ScanOpen { id, ranges, view: self.scan.view, fragment };
            let answer = self.node.start_call(core, Request::OpenScan(Box::new(open)));
            self.targets.push(Target { core, id, spans, answer });
        }
        Ok(())
    }

    /// The next answer of any target, which leaves the list.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<(Target, Result<Reply>)> {
        for index in 0..self.targets.len() {
            if let Poll::Ready(answer) = self.targets[index].answer.poll(cx) {
                let stopped = || Err(Error::ShardStopped { reason: "the core has stopped".into() });
                return Poll::Ready((self.targets.swap_remove(index), answer.unwrap_or_else(stopped)));
            }
        }
        Poll::Pending
    }

    /// Takes a part; asks for the next one at once, so that it is made while this one is used.
    fn take_part(&mut self, mut target: Target, part: ScanPart) -> Vec<RecordBatch> {
        self.counts.add(&part.counts);
        if !part.done {
            target.answer = self.node.start_call(target.core, Request::NextScan(target.id));
            target.spans.clear();
            self.targets.push(target);
        }
        part.batches
    }
}

impl<E: Env> Cursor for NodeCursor<E> {
    async fn next(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        let mut moves = Moves::default();
        while !self.targets.is_empty() {
            let (target, answer) = poll_fn(|cx| self.poll_answer(cx)).await;
            match answer {
                Ok(Reply::Part(part)) => {
                    let batches = self.take_part(target, part);
                    if !batches.is_empty() {
                        return Ok(Some(batches));
                    }
                }
                Ok(_) => unreachable!("a scan is answered by parts"),
                Err(Error::RangeMoved) if !target.spans.is_empty() => {
                    self.node.await_move(&mut moves).await?;
                    self.open_targets(&target.spans)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn counts(&self) -> ScanCounts {
        self.counts
    }
}

impl<E: Env> Drop for NodeCursor<E> {
    fn drop(&mut self) {
        for target in std::mem::take(&mut self.targets) {
            self.node.notify(target.core, Notice::CloseScan(target.id));
            // A part that was on its way may have come before the notice: what it left is closed once it is here.
            let node = self.node.clone();
            self.node.env.spawn(async move {
                let _ = received(target.answer).await;
                node.notify(target.core, Notice::CloseScan(target.id));
            });
        }
    }
}
