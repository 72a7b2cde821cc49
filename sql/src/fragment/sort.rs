//! ORDER BY, whole and of the first rows only.

use std::collections::{BinaryHeap, VecDeque};

use arrow_array::RecordBatch;
use omen_core::fragment::{BATCH_ROWS, Flow, FragmentRun, batch_bytes};
use omen_core::types::PgType;

use super::local::LocalStage;
use super::spill::sorter::{Sorter, encode, pick};
use super::spill::{Doing, Work};
use super::{Result, schema_of};
use crate::logical::SortKey;

/// Rows of batches that a top-k keeps beyond four times its own, before it copies its rows out of them.
const KEPT_ROWS: usize = 8 * BATCH_ROWS;

/// A running sort of all rows.
pub(super) struct SortRun(Sorter);

impl SortRun {
    pub(super) fn new(keys: &[SortKey], types: &[PgType]) -> SortRun {
        SortRun(Sorter::new(keys, types))
    }
}

impl LocalStage for SortRun {
    fn push<'a>(
        &'a mut self,
        batch: RecordBatch,
        work: &'a Work,
        _out: &'a mut Vec<RecordBatch>,
    ) -> Doing<'a, Flow> {
        Box::pin(async move {
            self.0.push(batch, work).await?;
            Ok(Flow::More)
        })
    }

    fn rest<'a>(&'a mut self, work: &'a Work) -> Doing<'a, Option<RecordBatch>> {
        Box::pin(self.0.next(work))
    }
}

/// A row that may be among the first: ordered by its key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    key: Box<[u8]>,
    batch: usize,
    row: usize,
}

/// A running sort that keeps the first rows.
pub(super) struct TopKRun {
    keys: Vec<SortKey>,
    types: Vec<PgType>,
    count: usize,
    /// The largest of the kept rows is on top.
    heap: BinaryHeap<Candidate>,
    batches: Vec<RecordBatch>,
    batch_rows: usize,
    size_bytes: usize,
    memory_bytes: usize,
}

impl TopKRun {
    pub(super) fn new(keys: &[SortKey], count: usize, types: &[PgType], memory_bytes: usize) -> TopKRun {
        TopKRun {
            keys: keys.to_vec(),
            types: types.to_vec(),
            count,
            heap: BinaryHeap::new(),
            batches: Vec::new(),
            batch_rows: 0,
            size_bytes: 0,
            memory_bytes,
        }
    }

    /// Copies the kept rows out of their batches, in order.
    fn compact(&mut self) {
        let kept = std::mem::take(&mut self.heap).into_sorted_vec();
        let places: Vec<_> = kept.iter().map(|candidate| (candidate.batch, candidate.row)).collect();
        let batch = pick(&self.batches, &places, &schema_of(&self.types));
        let renumbered =
            kept.into_iter().enumerate().map(|(row, candidate)| Candidate { batch: 0, row, ..candidate });
        self.heap = renumbered.collect();
        self.batch_rows = batch.num_rows();
        self.size_bytes = batch_bytes(&batch);
        self.batches = vec![batch];
    }

    /// Takes rows. Answers whether those that are kept take more memory than they may.
    fn take(&mut self, batch: RecordBatch) -> bool {
        let encoded = encode(&batch, &self.keys, &self.types);
        let mut used = false;
        for row in 0..encoded.len() {
            let key = encoded.row(row);
            if self.heap.len() == self.count {
                if self.heap.peek().is_some_and(|worst| *worst.key <= *key) {
                    continue;
                }
                self.heap.pop();
            }
            self.heap.push(Candidate { key: key.into(), batch: self.batches.len(), row });
            used = true;
        }
        if used {
            self.batch_rows += batch.num_rows();
            self.size_bytes += batch_bytes(&batch);
            self.batches.push(batch);
        }
        if self.batch_rows > 4 * self.count.min(usize::MAX / 4) + KEPT_ROWS
            || self.size_bytes > self.memory_bytes
        {
            self.compact();
        }
        let key_bytes = self.heap.peek().map_or(0, |candidate| candidate.key.len() + 40) * self.heap.len();
        self.size_bytes + key_bytes > self.memory_bytes
    }

    /// Gives the rows that are kept, in order, and begins anew.
    fn give(&mut self) -> Option<RecordBatch> {
        if self.heap.is_empty() {
            return None;
        }
        self.compact();
        self.heap.clear();
        (self.batch_rows, self.size_bytes) = (0, 0);
        self.batches.pop()
    }
}

impl FragmentRun for TopKRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        if self.count == 0 {
            return Ok(Flow::Done);
        }
        // The first rows of all are among the first rows of parts.
        if self.take(batch)
            && let Some(batch) = self.give()
        {
            super::push_in_pieces(batch, out);
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        if let Some(batch) = self.give() {
            super::push_in_pieces(batch, out);
        }
        Ok(())
    }
}

/// A running sort that keeps the first rows, and sorts all of them if even those are too many for the memory.
pub(super) struct LocalTopKRun {
    first: TopKRun,
    /// All rows that may be among the first, once those do not fit.
    sorter: Option<Sorter>,
    /// The rows, if they do.
    ready: VecDeque<RecordBatch>,
    /// Rows that are still to be given.
    left: usize,
}

impl LocalTopKRun {
    pub(super) fn new(keys: &[SortKey], count: usize, types: &[PgType], memory_bytes: usize) -> LocalTopKRun {
        let first = TopKRun::new(keys, count, types, memory_bytes);
        LocalTopKRun { first, sorter: None, ready: VecDeque::new(), left: count }
    }
}

impl LocalStage for LocalTopKRun {
    fn push<'a>(
        &'a mut self,
        batch: RecordBatch,
        work: &'a Work,
        _out: &'a mut Vec<RecordBatch>,
    ) -> Doing<'a, Flow> {
        Box::pin(async move {
            if self.left == 0 {
                return Ok(Flow::Done);
            }
            if let Some(sorter) = &mut self.sorter {
                sorter.push(batch, work).await?;
            } else if self.first.take(batch) {
                let mut sorter = Sorter::new(&self.first.keys, &self.first.types);
                let mut pieces = Vec::new();
                if let Some(batch) = self.first.give() {
                    super::push_in_pieces(batch, &mut pieces);
                }
                for piece in pieces {
                    sorter.push(piece, work).await?;
                }
                self.sorter = Some(sorter);
            }
            Ok(Flow::More)
        })
    }

    fn rest<'a>(&'a mut self, work: &'a Work) -> Doing<'a, Option<RecordBatch>> {
        Box::pin(async move {
            let batch = match &mut self.sorter {
                Some(sorter) => sorter.next(work).await?,
                None => {
                    if let Some(batch) = self.first.give() {
                        let mut pieces = Vec::new();
                        super::push_in_pieces(batch, &mut pieces);
                        self.ready = pieces.into();
                    }
                    self.ready.pop_front()
                }
            };
            let Some(batch) = batch else { return Ok(None) };
            let rows = batch.num_rows().min(self.left);
            self.left -= rows;
            Ok((rows > 0).then(|| batch.slice(0, rows)))
        })
    }
}
