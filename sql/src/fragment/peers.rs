//! Rows that are equal in some columns, one behind the other: the first of each, and ties at the end of a limit.

use arrow_array::{BooleanArray, RecordBatch};
use omen_core::fragment::{Flow, FragmentRun};
use omen_core::types::PgType;

use super::rowkey::{KeyColumn, RowKeys};
use super::{Result, filter};

/// Bytes of these columns that are equal where rows are.
pub(super) fn keys(batch: &RecordBatch, columns: &[usize], types: &[PgType]) -> RowKeys {
    let column = |column: &usize| KeyColumn {
        values: batch.column(*column),
        pg_type: types[*column],
        descending: false,
        nulls_first: false,
    };
    RowKeys::encode(&columns.iter().map(column).collect::<Vec<_>>(), batch.num_rows())
}

/// DISTINCT ON.
pub(super) struct FirstOfRun {
    columns: Vec<usize>,
    types: Vec<PgType>,
    last: Option<Vec<u8>>,
}

impl FirstOfRun {
    pub(super) fn new(columns: &[usize], types: &[PgType]) -> FirstOfRun {
        FirstOfRun { columns: columns.to_vec(), types: types.to_vec(), last: None }
    }
}

impl FragmentRun for FirstOfRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(Flow::More);
        }
        let keys = keys(&batch, &self.columns, &self.types);
        let is_first = |row: usize| match row {
            0 => self.last.as_deref() != Some(keys.row(0)),
            row => keys.row(row) != keys.row(row - 1),
        };
        let first: BooleanArray = (0..rows).map(|row| Some(is_first(row))).collect();
        self.last = Some(keys.row(rows - 1).to_vec());
        out.push(filter(&batch, &first));
        Ok(Flow::More)
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

/// FETCH FIRST .. WITH TIES.
pub(super) struct TiesRun {
    columns: Vec<usize>,
    types: Vec<PgType>,
    skip: u64,
    left: u64,
    /// The last row of those that were asked for.
    last: Option<Vec<u8>>,
}

impl TiesRun {
    pub(super) fn new(columns: &[usize], types: &[PgType], offset: u64, count: u64) -> TiesRun {
        TiesRun { columns: columns.to_vec(), types: types.to_vec(), skip: offset, left: count, last: None }
    }
}

impl FragmentRun for TiesRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        if self.left == 0 && self.last.is_none() {
            return Ok(Flow::Done);
        }
        let rows = batch.num_rows();
        let skipped = self.skip.min(rows as u64) as usize;
        self.skip -= skipped as u64;
        let keys = keys(&batch, &self.columns, &self.types);
        let mut end = skipped;
        while end < rows {
            if self.left > 0 {
                self.left -= 1;
                if self.left == 0 {
                    self.last = Some(keys.row(end).to_vec());
                }
            } else if self.last.as_deref() != Some(keys.row(end)) {
                break;
            }
            end += 1;
        }
        if end > skipped {
            out.push(batch.slice(skipped, end - skipped));
        }
        Ok(if end < rows { Flow::Done } else { Flow::More })
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}
