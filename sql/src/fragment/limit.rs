//! LIMIT and OFFSET.

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use omen_core::fragment::{Flow, FragmentRun};
use omen_core::types::PgType;

use super::rowkey::RowKeys;
use super::{Result, filter};

/// A running limit.
pub(super) struct LimitRun {
    skip: u64,
    left: u64,
}

impl LimitRun {
    pub(super) fn new(offset: u64, count: u64) -> LimitRun {
        LimitRun { skip: offset, left: count }
    }
}

impl FragmentRun for LimitRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let rows = batch.num_rows();
        // Both are at most the rows of a batch.
        let skipped = self.skip.min(rows as u64) as usize;
        self.skip -= skipped as u64;
        let given = self.left.min((rows - skipped) as u64) as usize;
        self.left -= given as u64;
        if given == rows {
            out.push(batch);
        } else if given > 0 {
            out.push(batch.slice(skipped, given));
        }
        Ok(if self.left == 0 { Flow::Done } else { Flow::More })
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

/// A running limit of each group of neighbours.
pub(super) struct LimitByRun {
    groups: Vec<usize>,
    types: Vec<PgType>,
    offset: u64,
    count: u64,
    /// The last group that was seen.
    group: Option<Box<[u8]>>,
    /// Its rows so far.
    seen: u64,
}

impl LimitByRun {
    pub(super) fn new(groups: &[usize], input: &[PgType], offset: u64, count: u64) -> LimitByRun {
        let types = groups.iter().map(|column| input[*column]).collect();
        LimitByRun { groups: groups.to_vec(), types, offset, count, group: None, seen: 0 }
    }
}

impl FragmentRun for LimitByRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let columns: Vec<ArrayRef> = self.groups.iter().map(|column| batch.column(*column).clone()).collect();
        let keys = RowKeys::of(&columns, &self.types, batch.num_rows());
        let mut keep = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            if self.group.as_deref() != Some(keys.row(row)) {
                self.group = Some(keys.row(row).into());
                self.seen = 0;
            }
            keep.push(self.seen >= self.offset && self.seen - self.offset < self.count);
            self.seen += 1;
        }
        let kept = filter(&batch, &BooleanArray::from(keep));
        if kept.num_rows() > 0 {
            out.push(kept);
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}
