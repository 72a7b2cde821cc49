//! Hash aggregation.
//!
//! Partial: rows into states, on the owning cores. Final: states into results, on the session's core. A partial
//! aggregation that has many groups gives their states away and begins anew, so that its memory stays bounded.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use hashbrown::HashSet;
use omen_core::fragment::{Flow, FragmentRun};
use omen_core::types::PgType;

use super::groups::GroupTable;
use super::ordered::OrderedRows;
use super::rowkey::{KeyColumn, RowKeys};
use super::{AggregateMode, Result, batch_of, out_of_memory, push_in_pieces};
use crate::expr::aggregate::{Accumulator, Groups};
use crate::expr::{EvalContext, Expr};
use crate::logical::Aggregate;

/// A partial aggregation with this many groups gives them away.
const PARTIAL_GROUPS_MAX: usize = 1 << 16;

/// A running aggregation.
pub(super) struct AggregateRun {
    groups: Vec<Expr>,
    aggregates: Vec<Running>,
    mode: AggregateMode,
    context: EvalContext,
    schema: SchemaRef,
    /// None if all rows are one group.
    table: Option<GroupTable>,
    ids: Vec<u32>,
    /// Whether any row came.
    fed: bool,
    memory_bytes: usize,
}

struct Running {
    definition: Aggregate,
    accumulator: Box<dyn Accumulator>,
    state_count: usize,
    /// Arguments that were seen, with their group, if equal ones count once.
    seen: Option<HashSet<Box<[u8]>>>,
    seen_bytes: usize,
    /// Rows that are waiting to be ordered.
    ordered: Option<OrderedRows>,
}

impl Running {
    fn new(definition: &Aggregate, mode: AggregateMode) -> Running {
        let ordered = !definition.call.order.is_empty();
        let distinct = definition.call.distinct && mode != AggregateMode::Final && !ordered;
        Running {
            ordered: ordered.then(|| OrderedRows::new(&definition.call)),
            accumulator: definition.call.accumulator(),
            state_count: definition.call.state_types().len(),
            seen: distinct.then(HashSet::new),
            seen_bytes: 0,
            definition: definition.clone(),
        }
    }

    fn update(&mut self, batch: &RecordBatch, groups: Groups<'_>, context: &EvalContext) -> Result<()> {
        let args = self.definition.call.args.iter().map(|arg| arg.eval(batch, context));
        let args: Vec<ArrayRef> = args.collect::<Result<_>>()?;
        let filter = self.definition.filter.as_ref();
        let mut filter = filter.map(|filter| filter.eval_predicate(batch, context)).transpose()?;
        if let Some(ordered) = &mut self.ordered {
            ordered.push(groups, args, batch.num_rows(), filter.as_ref());
            return Ok(());
        }
        if self.seen.is_some() {
            filter = Some(self.first_occurrences(&args, groups, batch.num_rows(), filter.as_ref()));
        }
        self.accumulator.update(groups, &args, filter.as_ref())
    }

    /// Marks the rows whose arguments come for the first time in their group.
    fn first_occurrences(
        &mut self,
        args: &[ArrayRef],
        groups: Groups<'_>,
        rows: usize,
        filter: Option<&BooleanArray>,
    ) -> BooleanArray {
        let columns: Vec<KeyColumn<'_>> = args
            .iter()
            .zip(&self.definition.call.args)
            .map(|(values, arg)| KeyColumn {
                values,
                pg_type: arg.pg_type(),
                descending: false,
                nulls_first: false,
            })
            .collect();
        let keys = RowKeys::encode(&columns, rows);
        let seen = self.seen.get_or_insert_default();
        let mut key = Vec::new();
        let first = (0..rows).map(|row| {
            if filter.is_some_and(|filter| !filter.value(row)) {
                return false;
            }
            let group = match groups {
                Groups::One(_) => 0,
                Groups::Each(ids) => ids[row],
            };
            key.clear();
            key.extend_from_slice(&group.to_le_bytes());
            key.extend_from_slice(keys.row(row));
            if seen.contains(key.as_slice()) {
                return false;
            }
            self.seen_bytes += key.len() + 24;
            seen.insert(key.as_slice().into())
        });
        first.collect::<Vec<bool>>().into()
    }

    fn size_bytes(&self) -> usize {
        let ordered = self.ordered.as_ref().map_or(0, OrderedRows::size_bytes);
        self.accumulator.size_bytes() + self.seen_bytes + ordered
    }
}

impl AggregateRun {
    pub(super) fn new(
        groups: &[Expr],
        aggregates: &[Aggregate],
        mode: AggregateMode,
        context: EvalContext,
        memory_bytes: usize,
    ) -> AggregateRun {
        let types: Vec<PgType> = groups.iter().map(Expr::pg_type).collect();
        AggregateRun {
            schema: output_schema(&types, aggregates, mode),
            table: (!types.is_empty()).then(|| GroupTable::new(types)),
            groups: groups.to_vec(),
            aggregates: aggregates.iter().map(|aggregate| Running::new(aggregate, mode)).collect(),
            mode,
            context,
            ids: Vec::new(),
            fed: false,
            memory_bytes,
        }
    }

    /// The groups and their states or results; begins anew.
    fn emit(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        let (rows, mut columns) = match self.table.take() {
            Some(table) => {
                let rows = table.len();
                self.table = Some(GroupTable::new(self.groups.iter().map(Expr::pg_type).collect()));
                (rows, table.into_columns())
            }
            None => (1, Vec::new()),
        };
        for running in &mut self.aggregates {
            running.accumulator.resize(rows);
            if let Some(ordered) = running.ordered.take() {
                ordered.feed(&mut *running.accumulator)?;
            }
            if self.mode == AggregateMode::Partial {
                columns.extend(running.accumulator.state()?);
            } else {
                columns.push(running.accumulator.finish()?);
            }
            *running = Running::new(&running.definition, self.mode);
        }
        if rows > 0 {
            push_in_pieces(batch_of(&self.schema, columns, rows), out);
        }
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        let table = self.table.as_ref().map_or(0, GroupTable::size_bytes);
        table + self.aggregates.iter().map(Running::size_bytes).sum::<usize>()
    }
}

impl FragmentRun for AggregateRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(Flow::More);
        }
        self.fed = true;
        let group_count = match &mut self.table {
            None => 1,
            Some(table) => {
                let columns = self.groups.iter().map(|group| group.eval(&batch, &self.context));
                let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
                table.assign(&columns, rows, &mut self.ids);
                table.len()
            }
        };
        let groups = if self.table.is_some() { Groups::Each(&self.ids) } else { Groups::One(rows) };
        let mut state_column = self.groups.len();
        for running in &mut self.aggregates {
            running.accumulator.resize(group_count);
            if self.mode == AggregateMode::Final {
                let states = &batch.columns()[state_column..state_column + running.state_count];
                running.accumulator.merge(groups, states)?;
                state_column += running.state_count;
            } else {
                running.update(&batch, groups, &self.context)?;
            }
        }
        if self.mode == AggregateMode::Partial && group_count > PARTIAL_GROUPS_MAX {
            self.emit(out)?;
        } else if self.size_bytes() > self.memory_bytes {
            return Err(out_of_memory("grouping", self.memory_bytes));
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        // One group of all rows exists without rows, too, but once: not for each range.
        if self.table.is_none() && !self.fed && self.mode == AggregateMode::Partial {
            return Ok(());
        }
        self.emit(out)
    }
}

fn output_schema(groups: &[PgType], aggregates: &[Aggregate], mode: AggregateMode) -> SchemaRef {
    let mut types: Vec<_> = groups.iter().map(|pg_type| pg_type.arrow()).collect();
    for aggregate in aggregates {
        match mode {
            AggregateMode::Partial => types.extend(aggregate.call.state_types()),
            _ => types.push(aggregate.call.pg_type.arrow()),
        }
    }
    let fields: Vec<Field> =
        types.into_iter().enumerate().map(|(index, t)| Field::new(index.to_string(), t, true)).collect();
    Arc::new(Schema::new(fields))
}
