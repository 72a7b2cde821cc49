//! Hash aggregation.
//!
//! Partial: rows into states, on the owning cores. Final: states into results, on the session's core. A partial
//! aggregation that has many groups gives their states away and begins anew, so that its memory stays bounded.
//!
//! On the session's core, groups that fill the memory stay there and take no others beside them: rows of other groups are
//! put aside, in parts by the hash of their group, and aggregated when those groups are done. So every group sees its
//! rows in the order in which they came, and its result does not depend on the memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use hashbrown::HashSet;
use omen_core::fragment::{Flow, FragmentRun, plain};
use omen_core::types::PgType;

use super::groups::{GroupTable, NO_GROUP};
use super::local::LocalStage;
use super::ordered::OrderedRows;
use super::rowkey::{KeyColumn, RowKeys};
use super::spill::partition::{LEVELS_MAX, Partitions};
use super::spill::{Doing, Run, Work, steps};
use super::{AggregateMode, Result, batch_of, out_of_memory, push_in_pieces};
use crate::expr::aggregate::{Accumulator, Groups};
use crate::expr::decimals::{Numbers, has_numbers};
use crate::expr::eval::Frame;
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
    /// Whether its argument has numbers (`Numbers`).
    has_numbers: bool,
    /// Whose states are its own, too.
    same: Option<usize>,
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
            has_numbers: matches!(definition.call.args.as_slice(), [arg] if has_numbers(arg))
                && definition.filter.is_none()
                && !distinct
                && !ordered
                && mode != AggregateMode::Final,
            same: None,
        }
    }

    /// All of an aggregation.
    fn all(definitions: &[Aggregate], mode: AggregateMode) -> Vec<Running> {
        let same = |index: usize| {
            let one: &Aggregate = &definitions[index];
            let shares = |other: &Aggregate| other.filter == one.filter && other.call.shares_state(&one.call);
            definitions[..index].iter().position(shares).filter(|_| mode == AggregateMode::Partial)
        };
        let all = definitions.iter().enumerate();
        all.map(|(index, one)| Running { same: same(index), ..Running::new(one, mode) }).collect()
    }

    /// As `update` of rows whose argument has numbers, maybe.
    fn update_small<'a>(
        &'a mut self,
        batch: &RecordBatch,
        groups: Groups<'_>,
        counts: &[i64],
        numbers: &mut Numbers<'a>,
        context: &EvalContext,
    ) -> Result<()> {
        let Running { definition, accumulator, .. } = self;
        let [arg, ..] = definition.call.args.as_slice() else { return Ok(()) };
        if let Some(values) = numbers.of(arg, Frame::of(batch))?
            && let Some(done) = accumulator.update_small(groups, counts, &values)
        {
            return done;
        }
        accumulator.update(groups, &[arg.eval(batch, context)?], None)
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
            aggregates: Running::all(aggregates, mode),
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
        let mut states: Vec<Range<usize>> = Vec::with_capacity(self.aggregates.len());
        for running in &mut self.aggregates {
            let start = columns.len();
            if let Some(same) = running.same {
                columns.extend_from_within(states[same].clone());
                states.push(start..columns.len());
                continue;
            }
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
            states.push(start..columns.len());
        }
        if rows > 0 {
            push_in_pieces(batch_of(&self.schema, columns, rows), out);
        }
        Ok(())
    }

    /// Takes rows. Answers those of groups that a frozen table does not know, with the keys of their groups.
    fn take(&mut self, mut batch: RecordBatch) -> Result<Option<(RecordBatch, RowKeys)>> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        self.fed = true;
        let Some(table) = &mut self.table else {
            self.update(&batch)?;
            return Ok(None);
        };
        let columns = self.groups.iter().map(|group| match codes_of(group, &batch) {
            Some(codes) => Ok(codes),
            None => group.eval(&batch, &self.context),
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        table.assign(&columns, batch.num_rows(), &mut self.ids);
        let mut unknown = None;
        if self.ids.contains(&NO_GROUP) {
            let mask: BooleanArray = self.ids.iter().map(|id| Some(*id == NO_GROUP)).collect();
            let others = super::filter(&batch, &mask);
            let types: Vec<PgType> = self.groups.iter().map(Expr::pg_type).collect();
            let columns: Vec<ArrayRef> = columns
                .iter()
                .map(|column| arrow_select::filter::filter(column, &mask).expect("as long as the batch"))
                .map(|column| plain(&column))
                .collect();
            let keys = RowKeys::of(&columns, &types, others.num_rows());
            unknown = Some((others, keys));
            let mask: BooleanArray = self.ids.iter().map(|id| Some(*id != NO_GROUP)).collect();
            batch = super::filter(&batch, &mask);
            self.ids.retain(|id| *id != NO_GROUP);
        }
        if batch.num_rows() > 0 {
            self.update(&batch)?;
        }
        Ok(unknown)
    }

    /// Takes rows whose groups are known.
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        let group_count = self.table.as_ref().map_or(1, GroupTable::len);
        let groups = match &self.table {
            Some(_) => Groups::Each(&self.ids),
            None => Groups::One(batch.num_rows()),
        };
        let mut state_column = self.groups.len();
        let (mut numbers, mut counts) = (Numbers::default(), None);
        for running in self.aggregates.iter_mut().filter(|running| running.same.is_none()) {
            running.accumulator.resize(group_count);
            if self.mode == AggregateMode::Final {
                let states = &batch.columns()[state_column..state_column + running.state_count];
                running.accumulator.merge(groups, states)?;
                state_column += running.state_count;
            } else if running.has_numbers && running.accumulator.takes_small() {
                let counts = counts.get_or_insert_with(|| groups.counts(group_count));
                running.update_small(batch, groups, counts, &mut numbers, &self.context)?;
            } else {
                running.update(batch, groups, &self.context)?;
            }
        }
        Ok(())
    }

    /// Whether what a group takes grows with its rows.
    fn grows(&self) -> bool {
        self.aggregates.iter().any(|running| running.definition.call.needs_all_rows())
    }

    fn size_bytes(&self) -> usize {
        let table = self.table.as_ref().map_or(0, GroupTable::size_bytes);
        table + self.aggregates.iter().map(Running::size_bytes).sum::<usize>()
    }
}

/// The codes of a column of texts, if it has such.
fn codes_of(group: &Expr, batch: &RecordBatch) -> Option<ArrayRef> {
    let Expr::Column { index, .. } = group else { return None };
    let column = batch.columns().get(*index)?;
    matches!(column.data_type(), DataType::Dictionary(..)).then(|| Arc::clone(column))
}

impl FragmentRun for AggregateRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        self.take(batch)?;
        let group_count = self.table.as_ref().map_or(1, GroupTable::len);
        let is_full = group_count > PARTIAL_GROUPS_MAX || self.size_bytes() > self.memory_bytes;
        if is_full && self.mode == AggregateMode::Partial {
            self.emit(out)?;
        } else if is_full && self.size_bytes() > self.memory_bytes {
            return Err(out_of_memory("grouping", self.memory_bytes));
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        // One group of all rows exists without rows, too, but once: not for each core.
        if self.table.is_none() && !self.fed && self.mode == AggregateMode::Partial {
            return Ok(());
        }
        self.emit(out)
    }
}

/// A running aggregation of the session's core.
pub(super) struct LocalAggregateRun {
    run: AggregateRun,
    input: SchemaRef,
    /// Rows of groups for which there was no room.
    others: Option<Partitions>,
    /// What the groups took when there was no more room.
    frozen_bytes: usize,
    /// How often the rows that are being aggregated were cut.
    level: u32,
    /// Rows that are still to be aggregated, and how often they were cut.
    parts: Vec<(Run, u32)>,
    ready: VecDeque<RecordBatch>,
    ended: bool,
}

impl LocalAggregateRun {
    pub(super) fn new(run: AggregateRun) -> LocalAggregateRun {
        LocalAggregateRun {
            run,
            input: Arc::new(Schema::empty()),
            others: None,
            frozen_bytes: 0,
            level: 0,
            parts: Vec::new(),
            ready: VecDeque::new(),
            ended: false,
        }
    }

    async fn take(&mut self, batch: RecordBatch, work: &Work) -> Result<()> {
        if self.others.is_none() {
            self.input = batch.schema();
        }
        if let Some((rows, keys)) = self.run.take(batch)?
            && let Some(others) = &mut self.others
        {
            others.push(&rows, &keys, work).await?;
        }
        let size_bytes = self.run.size_bytes();
        if size_bytes > 2 * self.run.memory_bytes.max(self.frozen_bytes) && self.others.is_some()
            || size_bytes > self.run.memory_bytes && self.run.table.is_none()
        {
            return Err(out_of_memory("grouping", self.run.memory_bytes));
        }
        // Groups that grow with their rows need room for that.
        let room = if self.run.grows() { work.memory_bytes() / 2 } else { work.memory_bytes() };
        if let Some(table) = self.run.table.as_mut().filter(|_| self.others.is_none() && size_bytes > room) {
            table.freeze();
            self.frozen_bytes = size_bytes;
            self.others = Some(Partitions::create(work, &self.input, self.level).await?);
        }
        Ok(())
    }

    /// Ends the groups in memory; the rows that were put aside meanwhile come later.
    async fn end(&mut self, work: &Work) -> Result<()> {
        let mut out = Vec::new();
        self.run.finish(&mut out)?;
        work.give_way().await?;
        self.ready.extend(out);
        if let Some(others) = self.others.take() {
            let level = (self.level + 1).min(LEVELS_MAX);
            let parts = others.finish().await?.into_iter().filter(|part| part.rows > 0);
            self.parts.extend(parts.map(|part| (part, level)));
        }
        Ok(())
    }
}

impl LocalStage for LocalAggregateRun {
    fn push<'a>(
        &'a mut self,
        batch: RecordBatch,
        work: &'a Work,
        _out: &'a mut Vec<RecordBatch>,
    ) -> Doing<'a, Flow> {
        Box::pin(async move {
            self.take(batch, work).await?;
            Ok(Flow::More)
        })
    }

    fn rest<'a>(&'a mut self, work: &'a Work) -> Doing<'a, Option<RecordBatch>> {
        Box::pin(async move {
            if !std::mem::replace(&mut self.ended, true) {
                self.end(work).await?;
            }
            loop {
                if let Some(batch) = self.ready.pop_front() {
                    return Ok(Some(batch));
                }
                let Some((mut part, level)) = self.parts.pop() else { return Ok(None) };
                self.level = level;
                while let Some(batch) = part.next().await? {
                    for piece in steps(&batch) {
                        self.take(piece, work).await?;
                        work.give_way().await?;
                    }
                }
                self.end(work).await?;
            }
        })
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
