//! LIMIT and OFFSET.

use arrow_array::RecordBatch;
use omen_core::fragment::{Flow, FragmentRun};

use super::Result;

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
