//! INTERSECT and EXCEPT: every different row of all inputs is kept once, with how often it is to be given.
//!
//! Inputs come one after another. After each, `left` says how many of a row the result has so far. When there is no
//! room for more different rows, those that are known go on being counted; all others are cut into parts on disk, each
//! with the number of its input, and a part is counted like the whole.
//!
//! Invariant: rows that are equal are all counted in one place, in memory or in one part.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, Int64Array, RecordBatch, UInt32Array};
use omen_core::fragment::BATCH_ROWS;
use omen_core::types::PgType;

use super::groups::{GroupTable, NO_GROUP};
use super::rowkey::RowKeys;
use super::spill::partition::{LEVELS_MAX, Partitions};
use super::spill::{Run, Work, steps};
use super::{Result, batch_of, filter, schema_of, take};
use crate::logical::SetKind;

/// Different rows that are looked at in one step: about a tenth of a millisecond.
const STEP_GROUPS: usize = 64 << 10;

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
    /// Inputs that have ended.
    ended: usize,
    /// Whether the result has no rows so far.
    is_empty: bool,
    /// Rows for which there was no room.
    others: Option<Partitions>,
    /// How often the rows that come were cut.
    level: u32,
}

impl SetRun {
    pub(crate) fn new(kind: SetKind, types: &[PgType]) -> SetRun {
        SetRun {
            kind,
            types: types.to_vec(),
            table: GroupTable::new(types.to_vec()),
            left: Vec::new(),
            here: Vec::new(),
            ids: Vec::new(),
            ended: 0,
            is_empty: true,
            others: None,
            level: 0,
        }
    }

    /// Takes rows of the present input.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) async fn push(&mut self, batch: &RecordBatch, work: &Work) -> Result<()> {
        self.table.assign(batch.columns(), batch.num_rows(), &mut self.ids);
        self.here.resize(self.table.len(), 0);
        for id in &self.ids {
            if let Some(here) = self.here.get_mut(*id as usize) {
                *here += 1;
            }
        }
        if let Some(others) = &mut self.others {
            let unknown: BooleanArray = self.ids.iter().map(|id| Some(*id == NO_GROUP)).collect();
            if unknown.true_count() > 0 {
                let rows = filter(batch, &unknown);
                let keys = RowKeys::of(rows.columns(), &self.types, rows.num_rows());
                others.push(&numbered(&rows, self.ended, &self.types), &keys, work).await?;
            }
        } else if self.table.size_bytes() + 16 * self.here.capacity() > work.memory_bytes() {
            self.table.freeze();
            self.others = Some(Partitions::create(work, &numbered_schema(&self.types), self.level).await?);
        }
        Ok(())
    }

    /// The present input has ended.
    ///
    /// # Errors
    /// 57014
    pub(crate) async fn end_input(&mut self, work: &Work) -> Result<()> {
        self.here.resize(self.table.len(), 0);
        self.left.resize(self.table.len(), 0);
        let is_first = self.ended == 0;
        self.ended += 1;
        self.is_empty = true;
        for (left, here) in self.left.chunks_mut(STEP_GROUPS).zip(self.here.chunks_mut(STEP_GROUPS)) {
            for (left, here) in left.iter_mut().zip(here) {
                *left = kept(self.kind, is_first, *left, std::mem::take(here));
                self.is_empty &= *left == 0;
            }
            work.give_way().await?;
        }
        Ok(())
    }

    /// Whether inputs that are to come can change nothing.
    pub(crate) fn is_settled(&self) -> bool {
        self.ended > 0 && self.is_empty && self.others.is_none()
    }

    /// The rows of the result.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) async fn finish(self) -> Result<SetRows> {
        let rows = batch_of(&schema_of(&self.types), self.table.into_columns(), self.left.len());
        let mut parts = Vec::new();
        if let Some(others) = self.others {
            let level = (self.level + 1).min(LEVELS_MAX);
            let cut = others.finish().await?.into_iter().filter(|part| part.rows > 0);
            parts.extend(cut.map(|part| (part, level)));
        }
        let Self { kind, types, left, ended, .. } = self;
        Ok(SetRows { kind, types, inputs: ended, rows, left, next: 0, parts })
    }
}

/// How many of a row the result has after an input that had it `here` times.
fn kept(kind: SetKind, is_first: bool, left: u64, here: u64) -> u64 {
    match kind {
        SetKind::UnionAll => left + here,
        SetKind::Intersect { all: true } | SetKind::Except { all: true } if is_first => here,
        SetKind::Intersect { all: false } | SetKind::Except { all: false } if is_first => here.min(1),
        SetKind::Intersect { .. } => left.min(here),
        SetKind::Except { all: true } => left.saturating_sub(here),
        SetKind::Except { all: false } => left * u64::from(here == 0),
    }
}

/// Rows on disk: behind their columns, the number of their input.
fn numbered_schema(types: &[PgType]) -> arrow_schema::SchemaRef {
    let mut types = types.to_vec();
    types.push(PgType::Int8);
    schema_of(&types)
}

fn numbered(rows: &RecordBatch, input: usize, types: &[PgType]) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    let number = i64::try_from(input).expect("a statement has few inputs");
    columns.push(Arc::new(Int64Array::from_value(number, rows.num_rows())));
    batch_of(&numbered_schema(types), columns, rows.num_rows())
}

/// What a set operation gives.
pub(crate) struct SetRows {
    kind: SetKind,
    types: Vec<PgType>,
    inputs: usize,
    rows: RecordBatch,
    left: Vec<u64>,
    next: usize,
    /// Rows that are still to be counted, and how often they were cut.
    parts: Vec<(Run, u32)>,
}

impl SetRows {
    /// The next batch.
    ///
    /// # Errors
    /// Those of reading and writing files.
    pub(crate) async fn next(&mut self, work: &Work) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.counted(work).await? {
                return Ok(Some(batch));
            }
            let Some((part, level)) = self.parts.pop() else { return Ok(None) };
            self.rows = RecordBatch::new_empty(self.rows.schema());
            let part = self.count(part, level, work).await?;
            (self.rows, self.left, self.next) = (part.rows, part.left, 0);
            self.parts.extend(part.parts);
        }
    }

    /// The next batch of the rows that have been counted.
    async fn counted(&mut self, work: &Work) -> Result<Option<RecordBatch>> {
        let mut indices = Vec::with_capacity(BATCH_ROWS.min(self.left.len()));
        let mut looked_at = 0;
        while indices.len() < BATCH_ROWS && self.next < self.left.len() {
            let count = self.left[self.next].min((BATCH_ROWS - indices.len()) as u64);
            let index = u32::try_from(self.next).expect("groups are numbered in 32 bits");
            indices.extend(std::iter::repeat_n(index, count as usize));
            self.left[self.next] -= count;
            self.next += usize::from(self.left[self.next] == 0);
            looked_at += 1;
            if looked_at % STEP_GROUPS == 0 {
                work.give_way().await?;
            }
        }
        if indices.is_empty() {
            return Ok(None);
        }
        let indices = UInt32Array::from(indices);
        let columns = self.rows.columns().iter().map(|column| take(column, &indices)).collect();
        Ok(Some(batch_of(&self.rows.schema(), columns, indices.len())))
    }

    /// Counts the rows of a part, which lie in the order of their inputs.
    async fn count(&self, mut part: Run, level: u32, work: &Work) -> Result<SetRows> {
        let mut run = SetRun { level, ..SetRun::new(self.kind, &self.types) };
        let columns: Vec<usize> = (0..self.types.len()).collect();
        while let Some(batch) = part.next().await? {
            let numbers = batch.column(self.types.len()).as_primitive::<Int64Type>().values().clone();
            let rows = batch.project(&columns).expect("it has these columns");
            let mut start = 0;
            for same in numbers.chunk_by(|a, b| a == b) {
                let input = usize::try_from(same[0]).expect("inputs are counted from 0");
                while run.ended < input {
                    run.end_input(work).await?;
                }
                for part in steps(&rows.slice(start, same.len())) {
                    run.push(&part, work).await?;
                    work.give_way().await?;
                }
                start += same.len();
            }
        }
        while run.ended < self.inputs {
            run.end_input(work).await?;
        }
        run.finish().await
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, Int32Array};

    use super::*;

    /// The answer, which does not depend on the memory.
    fn run(kind: SetKind, inputs: &[&[i32]]) -> Vec<i32> {
        let given = run_within(kind, inputs, 1 << 20);
        for memory_bytes in [1, 2_000] {
            let (mut little, mut much) = (run_within(kind, inputs, memory_bytes), given.clone());
            little.sort_unstable();
            much.sort_unstable();
            assert_eq!(little, much);
        }
        given
    }

    fn run_within(kind: SetKind, inputs: &[&[i32]], memory_bytes: usize) -> Vec<i32> {
        let types = [PgType::Int4];
        let work = crate::fragment::tests::work(memory_bytes);
        futures_lite::future::block_on(async {
            let mut run = SetRun::new(kind, &types);
            for input in inputs {
                for piece in input.chunks(3) {
                    let values: ArrayRef = Arc::new(Int32Array::from(piece.to_vec()));
                    let batch = batch_of(&schema_of(&types), vec![values], piece.len());
                    run.push(&batch, &work).await.expect("no errors");
                }
                run.end_input(&work).await.expect("no errors");
            }
            let mut rows = run.finish().await.expect("no errors");
            let mut given = Vec::new();
            while let Some(batch) = rows.next(&work).await.expect("no errors") {
                given.extend_from_slice(batch.column(0).as_primitive::<Int32Type>().values());
            }
            given
        })
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

    #[test]
    fn rows_without_room_are_counted_in_parts() {
        let numbers: Vec<Vec<i32>> = [(7, 2_000), (5, 1_500), (3, 1_000)]
            .map(|(step, count)| (0..count).map(|n| n * step / 4).collect())
            .into();
        let inputs: Vec<&[i32]> = numbers.iter().map(Vec::as_slice).collect();
        for all in [false, true] {
            assert!(run(SetKind::Intersect { all }, &inputs).len() > 100);
            assert!(run(SetKind::Except { all }, &inputs).len() > 100);
            assert!(run(SetKind::Intersect { all }, &[&numbers[0], &[]]).is_empty());
        }
    }
}
