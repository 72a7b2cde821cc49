//! ORDER BY, whole and of the first rows only.

use std::collections::BinaryHeap;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use omen_core::fragment::{BATCH_ROWS, Flow, FragmentRun, batch_bytes};
use omen_core::types::PgType;

use super::rowkey::{KeyColumn, RowKeys};
use super::{Result, batch_of, out_of_memory, schema_of};
use crate::logical::SortKey;

/// Rows of batches that a top-k keeps beyond four times its own, before it copies its rows out of them.
const KEPT_ROWS: usize = 8 * BATCH_ROWS;

fn encode(batch: &RecordBatch, keys: &[SortKey], types: &[PgType]) -> RowKeys {
    let columns: Vec<KeyColumn<'_>> = keys
        .iter()
        .map(|key| KeyColumn {
            values: batch.column(key.column),
            pg_type: types[key.column],
            descending: key.descending,
            nulls_first: key.nulls_first,
        })
        .collect();
    RowKeys::encode(&columns, batch.num_rows())
}

/// The rows at these places, in this order: (batch, row).
fn pick(batches: &[RecordBatch], places: &[(usize, usize)], schema: &SchemaRef) -> RecordBatch {
    let column = |index: usize| -> ArrayRef {
        let columns: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        arrow_select::interleave::interleave(&columns, places).expect("batches of one schema")
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    batch_of(schema, columns, places.len())
}

/// A running sort of all rows.
pub(super) struct SortRun {
    keys: Vec<SortKey>,
    types: Vec<PgType>,
    batches: Vec<RecordBatch>,
    encoded: Vec<RowKeys>,
    size_bytes: usize,
    memory_bytes: usize,
}

impl SortRun {
    pub(super) fn new(keys: &[SortKey], types: &[PgType], memory_bytes: usize) -> SortRun {
        SortRun {
            keys: keys.to_vec(),
            types: types.to_vec(),
            batches: Vec::new(),
            encoded: Vec::new(),
            size_bytes: 0,
            memory_bytes,
        }
    }
}

/// The first bytes of a key as a number: most comparisons end here.
fn prefix(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let count = key.len().min(8);
    bytes[..count].copy_from_slice(&key[..count]);
    u64::from_be_bytes(bytes)
}

impl FragmentRun for SortRun {
    fn push(&mut self, batch: RecordBatch, _out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let encoded = encode(&batch, &self.keys, &self.types);
        self.size_bytes += encoded.size_bytes() + batch_bytes(&batch) + 24 * batch.num_rows();
        if self.size_bytes > self.memory_bytes {
            return Err(out_of_memory("sorting", self.memory_bytes));
        }
        self.encoded.push(encoded);
        self.batches.push(batch);
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        let mut rows: Vec<(u64, u32, u32)> = Vec::new();
        for (batch, encoded) in self.encoded.iter().enumerate() {
            let batch = u32::try_from(batch).expect("memory ends before batches do");
            rows.extend((0..encoded.len()).map(|row| (prefix(encoded.row(row)), batch, row as u32)));
        }
        let key = |batch: u32, row: u32| self.encoded[batch as usize].row(row as usize);
        rows.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| key(a.1, a.2).cmp(key(b.1, b.2))).then((a.1, a.2).cmp(&(b.1, b.2)))
        });
        let schema = schema_of(&self.types);
        for piece in rows.chunks(BATCH_ROWS) {
            let places: Vec<_> =
                piece.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)).collect();
            out.push(pick(&self.batches, &places, &schema));
        }
        self.batches.clear();
        self.encoded.clear();
        Ok(())
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
}

impl FragmentRun for TopKRun {
    fn push(&mut self, batch: RecordBatch, _out: &mut Vec<RecordBatch>) -> Result<Flow> {
        if self.count == 0 {
            return Ok(Flow::Done);
        }
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
        if self.size_bytes + key_bytes > self.memory_bytes {
            return Err(out_of_memory("sorting", self.memory_bytes));
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        if self.heap.is_empty() {
            return Ok(());
        }
        self.compact();
        self.heap.clear();
        if let Some(batch) = self.batches.pop() {
            super::push_in_pieces(batch, out);
        }
        Ok(())
    }
}
