//! Window functions, over rows that come sorted by partition and order.
//!
//! Rows are kept until their partition is whole; then, for several small partitions at once, each function gives a
//! column beside those of the input. `work_mem` bounds what is kept.

mod aggregate;
mod frame;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, UInt32Array, new_null_array,
};
use arrow_schema::SchemaRef;
use omen_core::error::{SqlState, ValueError};
use omen_core::fragment::{BATCH_ROWS, Flow, FragmentRun, batch_bytes};
use omen_core::types::PgType;

use self::aggregate::Input;
use self::frame::{Rows, Seen, seen};
use super::rowkey::{KeyColumn, RowKeys};
use super::{Result, batch_of, out_of_memory, push_in_pieces, schema_of, take};
use crate::expr::EvalContext;
use crate::expr::aggregate::AggregateCall;
use crate::logical::{SortKey, WindowCall, WindowFunction};

/// What a window needs to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowStage {
    /// Columns that the rows of a partition have in common.
    pub(crate) partition: Vec<usize>,
    /// The order inside a partition. The input has it.
    pub(crate) order: Vec<SortKey>,
    /// The functions.
    pub(crate) calls: Vec<WindowCall>,
}

/// A running window.
pub(super) struct WindowRun {
    stage: WindowStage,
    input: Vec<PgType>,
    schema: SchemaRef,
    context: EvalContext,
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    /// How many of the kept rows are in whole partitions.
    whole: usize,
    last_partition: Vec<u8>,
    size_bytes: usize,
    memory_bytes: usize,
}

impl WindowRun {
    pub(super) fn new(
        stage: &WindowStage,
        input: &[PgType],
        output: &[PgType],
        context: EvalContext,
        memory_bytes: usize,
    ) -> WindowRun {
        WindowRun {
            stage: stage.clone(),
            input: input.to_vec(),
            schema: schema_of(output),
            context,
            kept: Vec::new(),
            kept_rows: 0,
            whole: 0,
            last_partition: Vec::new(),
            size_bytes: 0,
            memory_bytes,
        }
    }

    fn partition_keys(&self, batch: &RecordBatch) -> RowKeys {
        let column = |column: &usize| KeyColumn {
            values: batch.column(*column),
            pg_type: self.input[*column],
            descending: false,
            nulls_first: false,
        };
        RowKeys::encode(&self.stage.partition.iter().map(column).collect::<Vec<_>>(), batch.num_rows())
    }

    fn order_keys(&self, batch: &RecordBatch) -> RowKeys {
        let column = |key: &SortKey| KeyColumn {
            values: batch.column(key.column),
            pg_type: self.input[key.column],
            descending: false,
            nulls_first: false,
        };
        RowKeys::encode(&self.stage.order.iter().map(column).collect::<Vec<_>>(), batch.num_rows())
    }

    /// Computes the functions of the first rows that are kept, which are whole partitions.
    fn give(&mut self, count: usize, out: &mut Vec<RecordBatch>) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let kept = std::mem::take(&mut self.kept);
        let all = arrow_select::concat::concat_batches(&schema_of(&self.input), &kept)
            .expect("batches of one schema, below 2 GiB as work_mem bounds them");
        drop(kept);
        let batch = all.slice(0, count);
        let rest = all.slice(count, all.num_rows() - count);
        let rows = Rows::new(&self.partition_keys(&batch), &self.order_keys(&batch), count);
        let mut columns = batch.columns().to_vec();
        for call in &self.stage.calls {
            columns.push(self.column(call, &batch, &rows)?);
        }
        push_in_pieces(batch_of(&self.schema, columns, count), out);
        self.size_bytes = batch_bytes(&rest);
        self.kept_rows = rest.num_rows();
        self.whole = 0;
        self.kept = vec![rest];
        Ok(())
    }

    /// The results of a function.
    fn column(&self, call: &WindowCall, batch: &RecordBatch, rows: &Rows) -> Result<ArrayRef> {
        let args = call.args.iter().map(|arg| arg.eval(batch, &self.context));
        let args: Vec<ArrayRef> = args.collect::<Result<_>>()?;
        if let Some(column) = by_place(call.function, rows) {
            return Ok(column);
        }
        match call.function {
            WindowFunction::Ntile => return ntile(&args[0], rows),
            WindowFunction::Lag => return shifted(&args, rows, -1, call.pg_type),
            WindowFunction::Lead => return shifted(&args, rows, 1, call.pg_type),
            _ => {}
        }
        let seen = seen(&call.frame, rows, batch, &self.stage.order, &self.context)?;
        if let WindowFunction::Aggregate(name) = call.function {
            let filter = call.filter.as_ref();
            let filter = filter.map(|filter| filter.eval_predicate(batch, &self.context)).transpose()?;
            let call = AggregateCall::plain(name, call.args.clone(), call.pg_type);
            return Input { call: &call, args, filter, rows: rows.count }.over(&seen);
        }
        let picked: Vec<Option<usize>> = match call.function {
            WindowFunction::FirstValue => seen.iter().map(|seen| seen.nth(0)).collect(),
            WindowFunction::LastValue => seen.iter().map(Seen::last).collect(),
            _ => {
                let places = args[1].as_primitive::<Int32Type>();
                let pick = |(row, seen): (usize, &Seen)| match places.is_null(row) {
                    true => Ok(None),
                    false => match usize::try_from(places.value(row)) {
                        Ok(place) if place > 0 => Ok(seen.nth(place - 1)),
                        _ => Err(ValueError::new(
                            SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE,
                            "argument of nth_value must be greater than zero",
                        )),
                    },
                };
                seen.iter().enumerate().map(pick).collect::<Result<_>>()?
            }
        };
        let indices: UInt32Array = picked.into_iter().map(|row| row.map(|row| row as u32)).collect();
        Ok(take(&args[0], &indices))
    }
}

impl FragmentRun for WindowRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let count = batch.num_rows();
        if count == 0 {
            return Ok(Flow::More);
        }
        let keys = self.partition_keys(&batch);
        for row in 0..count {
            let before = if row == 0 { self.last_partition.as_slice() } else { keys.row(row - 1) };
            if keys.row(row) != before {
                self.whole = self.kept_rows + row;
            }
        }
        self.last_partition.clear();
        self.last_partition.extend_from_slice(keys.row(count - 1));
        self.size_bytes += batch_bytes(&batch) + 16 * count;
        self.kept_rows += count;
        self.kept.push(batch);
        if self.whole >= BATCH_ROWS {
            self.give(self.whole, out)?;
        }
        // Results and keys take about as much again.
        if 2 * self.size_bytes > self.memory_bytes {
            self.give(self.whole, out)?;
            if 2 * self.size_bytes > self.memory_bytes {
                return Err(out_of_memory("a window function", self.memory_bytes));
            }
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        self.give(self.kept_rows, out)
    }
}

/// Functions of nothing but the place of a row among the others.
fn by_place(function: WindowFunction, rows: &Rows) -> Option<ArrayRef> {
    let numbers = |number: &dyn Fn(&std::ops::Range<usize>, usize) -> i64| -> ArrayRef {
        let of =
            |partition: std::ops::Range<usize>| partition.clone().map(move |row| number(&partition, row));
        Arc::new(rows.each_partition().flat_map(of).collect::<Int64Array>())
    };
    let shares = |share: &dyn Fn(&std::ops::Range<usize>, usize) -> f64| -> ArrayRef {
        let of = |partition: std::ops::Range<usize>| partition.clone().map(move |row| share(&partition, row));
        Arc::new(rows.each_partition().flat_map(of).collect::<Float64Array>())
    };
    Some(match function {
        WindowFunction::RowNumber => numbers(&|partition, row| (row - partition.start + 1) as i64),
        WindowFunction::Rank => {
            numbers(&|partition, row| (rows.peers(row).start - partition.start + 1) as i64)
        }
        WindowFunction::DenseRank => {
            numbers(&|partition, row| (rows.group_of[row] - rows.group_of[partition.start] + 1) as i64)
        }
        WindowFunction::PercentRank => shares(&|partition, row| match partition.len() {
            1 => 0.0,
            count => (rows.peers(row).start - partition.start) as f64 / (count - 1) as f64,
        }),
        WindowFunction::CumeDist => {
            shares(&|partition, row| (rows.peers(row).end - partition.start) as f64 / partition.len() as f64)
        }
        _ => return None,
    })
}

/// Cuts each partition into parts of nearly equal size.
fn ntile(counts: &ArrayRef, rows: &Rows) -> Result<ArrayRef> {
    let counts = counts.as_primitive::<Int32Type>();
    let mut parts: Vec<Option<i32>> = Vec::with_capacity(rows.count);
    for partition in rows.each_partition() {
        if counts.is_null(partition.start) {
            parts.resize(partition.end, None);
            continue;
        }
        let Some(count) = usize::try_from(counts.value(partition.start)).ok().filter(|count| *count > 0)
        else {
            let message = "argument of ntile must be greater than zero";
            return Err(ValueError::new(SqlState::INVALID_ARGUMENT_FOR_NTILE, message));
        };
        let (size, larger) = (partition.len() / count, partition.len() % count);
        for place in 0..partition.len() {
            let in_larger = larger * (size + 1);
            let part = if place < in_larger {
                place / (size + 1)
            } else {
                larger + (place - in_larger) / size.max(1)
            };
            parts.push(i32::try_from(part + 1).ok());
        }
    }
    Ok(Arc::new(parts.into_iter().collect::<Int32Array>()))
}

/// The value some rows before or behind.
fn shifted(args: &[ArrayRef], rows: &Rows, direction: i64, pg_type: PgType) -> Result<ArrayRef> {
    let values = &args[0];
    let offsets = args.get(1).map(|offsets| offsets.as_primitive::<Int32Type>());
    let nulls = new_null_array(&pg_type.arrow(), 1);
    let default = args.get(2);
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(rows.count);
    for partition in rows.each_partition() {
        for row in partition.clone() {
            let offset = match offsets {
                None => 1,
                Some(offsets) if offsets.is_null(row) => {
                    places.push((1, 0));
                    continue;
                }
                Some(offsets) => i64::from(offsets.value(row)),
            };
            let target = row as i64 + direction * offset;
            places.push(match usize::try_from(target) {
                Ok(target) if partition.contains(&target) => (0, target),
                _ if default.is_some() => (2, row),
                _ => (1, 0),
            });
        }
    }
    let arrays: Vec<&dyn Array> =
        [Some(values), Some(&nulls), default].into_iter().flatten().map(AsRef::as_ref).collect();
    Ok(arrow_select::interleave::interleave(&arrays, &places).expect("arrays of one type"))
}
