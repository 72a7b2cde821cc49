//! INTERSECT and EXCEPT: every different row of all inputs is kept once, with how often it is to be given.
//!
//! Inputs come one after another. After each, `left` says how many of a row the result has so far.

use arrow_array::{RecordBatch, UInt32Array};
use omen_core::fragment::BATCH_ROWS;
use omen_core::types::PgType;

use super::groups::GroupTable;
use super::{Result, batch_of, out_of_memory, schema_of, take};
use crate::logical::SetKind;

/// A running INTERSECT or EXCEPT of rows with at least one column.
pub(crate) struct SetRun {
    kind: SetKind,
    types: Vec<PgType>,
    table: GroupTable,
    /// How many of each row the result has after the inputs that have ended.
    left: Vec<u64>,
    /// How many of each row the present input has had.
    here: Vec<u64>,
    ids: Vec<u32>,
    is_first: bool,
    memory_bytes: usize,
}

impl SetRun {
    pub(crate) fn new(kind: SetKind, types: &[PgType], memory_bytes: usize) -> SetRun {
        SetRun {
            kind,
            types: types.to_vec(),
            table: GroupTable::new(types.to_vec()),
            left: Vec::new(),
            here: Vec::new(),
            ids: Vec::new(),
            is_first: true,
            memory_bytes,
        }
    }

    /// Takes rows of the present input.
    ///
    /// # Errors
    /// 53200 if there are too many different rows.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.table.assign(batch.columns(), batch.num_rows(), &mut self.ids);
        self.here.resize(self.table.len(), 0);
        for id in &self.ids {
            self.here[*id as usize] += 1;
        }
        if self.table.size_bytes() + 16 * self.here.capacity() > self.memory_bytes {
            return Err(out_of_memory("a set operation", self.memory_bytes));
        }
        Ok(())
    }

    /// The present input has ended.
    pub(crate) fn end_input(&mut self) {
        self.here.resize(self.table.len(), 0);
        self.left.resize(self.table.len(), 0);
        let is_first = std::mem::take(&mut self.is_first);
        for (left, here) in self.left.iter_mut().zip(&mut self.here) {
            let here = std::mem::take(here);
            *left = match self.kind {
                SetKind::UnionAll => *left + here,
                SetKind::Intersect { all: true } | SetKind::Except { all: true } if is_first => here,
                SetKind::Intersect { all: false } | SetKind::Except { all: false } if is_first => here.min(1),
                SetKind::Intersect { .. } => (*left).min(here),
                SetKind::Except { all: true } => left.saturating_sub(here),
                SetKind::Except { all: false } => *left * u64::from(here == 0),
            };
        }
    }

    /// Whether inputs that are to come can change nothing.
    pub(crate) fn is_settled(&self) -> bool {
        !self.is_first && self.left.iter().all(|left| *left == 0)
    }

    /// The rows of the result.
    pub(crate) fn finish(self) -> SetRows {
        let rows = batch_of(&schema_of(&self.types), self.table.into_columns(), self.left.len());
        SetRows { rows, left: self.left, next: 0 }
    }
}

/// What a set operation gives.
pub(crate) struct SetRows {
    rows: RecordBatch,
    left: Vec<u64>,
    next: usize,
}

impl SetRows {
    /// The next batch.
    pub(crate) fn next(&mut self) -> Option<RecordBatch> {
        let mut indices = Vec::with_capacity(BATCH_ROWS.min(self.left.len()));
        while indices.len() < BATCH_ROWS && self.next < self.left.len() {
            let count = self.left[self.next].min((BATCH_ROWS - indices.len()) as u64);
            let index = u32::try_from(self.next).expect("groups are numbered in 32 bits");
            indices.extend(std::iter::repeat_n(index, count as usize));
            self.left[self.next] -= count;
            self.next += usize::from(self.left[self.next] == 0);
        }
        if indices.is_empty() {
            return None;
        }
        let indices = UInt32Array::from(indices);
        let columns = self.rows.columns().iter().map(|column| take(column, &indices)).collect();
        Some(batch_of(&self.rows.schema(), columns, indices.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, Int32Array};

    use super::*;

    fn run(kind: SetKind, inputs: &[&[i32]]) -> Vec<i32> {
        let types = [PgType::Int4];
        let mut run = SetRun::new(kind, &types, 1 << 20);
        for input in inputs {
            let values: ArrayRef = Arc::new(Int32Array::from(input.to_vec()));
            run.push(&batch_of(&schema_of(&types), vec![values], input.len())).expect("little");
            run.end_input();
        }
        let mut rows = run.finish();
        let mut given = Vec::new();
        while let Some(batch) = rows.next() {
            given.extend_from_slice(batch.column(0).as_primitive::<Int32Type>().values());
        }
        given
    }

    #[test]
    fn rows_are_counted() {
        let inputs: [&[i32]; 3] = [&[1, 2, 2, 2, 3, 4, 4], &[2, 2, 4, 5, 2], &[2, 2, 6, 4]];
        assert_eq!(run(SetKind::Intersect { all: false }, &inputs), [2, 4]);
        assert_eq!(run(SetKind::Intersect { all: true }, &inputs), [2, 2, 4]);
        assert_eq!(run(SetKind::Except { all: false }, &inputs), [1, 3]);
        assert_eq!(run(SetKind::Except { all: true }, &inputs), [1, 3]);
        assert_eq!(run(SetKind::Except { all: true }, &[&[7, 7, 7, 8], &[7], &[8]]), [7, 7]);
        assert_eq!(run(SetKind::Except { all: false }, &[&[7, 7, 7, 8]]), [7, 8]);
        let many = vec![9; 20_000];
        assert_eq!(run(SetKind::Intersect { all: true }, &[&many, &many]).len(), 20_000);
    }
}
