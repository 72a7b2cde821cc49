//! The vectorised operators, and fragments made of them.
//!
//! A [`Pipeline`] is a list of stages without parameters, ready to run: each owning core runs one as the
//! [`Fragment`] of a scan, the session's core runs another over what comes back. Both are the same code.

mod aggregate;
mod codes;
mod gather;
mod grouping_sets;
mod groups;
pub(crate) mod join;
mod limit;
pub(crate) mod local;
mod ordered;
mod peers;
pub(crate) mod project_set;
mod repeats;
pub(crate) mod rowkey;
pub(crate) mod set;
mod sort;
pub(crate) mod spill;
pub(crate) mod window;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use omen_core::error::{SqlState, ValueError};
use omen_core::filter::ColumnFilter;
use omen_core::fragment::{BATCH_ROWS, Flow, Fragment, FragmentRun};
use omen_core::types::PgType;

use crate::expr::aggregate::AggregateCall;
use crate::expr::{EvalContext, Expr};
use crate::logical::{Aggregate, SortKey};
pub(crate) use gather::take;
use join::probe::Probe;
pub(crate) use limit::checked_count;
use window::WindowStage;

/// Result of evaluation.
pub(crate) type Result<T> = std::result::Result<T, ValueError>;

/// One operator with all that it needs to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// Rows for which all conditions are true.
    Filter(Vec<Expr>),
    /// One row of expressions for each row.
    Project(Vec<Expr>),
    /// Groups and aggregates.
    Aggregate {
        /// What groups have in common. Over states: their positions in the input.
        groups: Vec<Expr>,
        /// What is computed.
        aggregates: Vec<Aggregate>,
        /// Of what, and into what.
        mode: AggregateMode,
    },
    /// Each row once for each grouping set (`Logical::Expand`).
    Expand {
        /// What groups have in common.
        groups: Vec<Expr>,
        /// Which of that each set has.
        sets: Vec<Vec<bool>>,
    },
    /// Rows of grouping sets without columns, if no others come (`Logical::EmptySets`).
    EmptySets {
        /// Their numbers.
        sets: Vec<i32>,
        /// Number of the columns in front.
        width: usize,
        /// The aggregates behind.
        aggregates: Vec<AggregateCall>,
    },
    /// The first row of those that are equal in some columns, one behind the other.
    FirstOf(Vec<usize>),
    /// The first rows, and those behind that are equal to the last of them in some columns.
    Ties {
        /// The columns.
        columns: Vec<usize>,
        /// Rows left out.
        offset: u64,
        /// Rows then given at least.
        count: u64,
    },
    /// Window functions, over rows that are sorted for them.
    Window(Box<WindowStage>),
    /// Rows with their partners in a build side.
    Probe(Probe),
    /// The first rows in an order.
    TopK {
        /// The order.
        keys: Vec<SortKey>,
        /// How many rows.
        count: usize,
    },
    /// All rows in an order.
    Sort(Vec<SortKey>),
    /// Rows after some and up to a number, of each group of neighbours.
    LimitBy {
        /// Columns that a group has in common.
        groups: Vec<usize>,
        /// Rows then given; may read columns of `groups`. None or NULL: all.
        limit: Option<Expr>,
        /// Rows left out first; the same.
        offset: Option<Expr>,
        /// And rows that are equal in these columns to the last of them.
        ties: Option<Vec<usize>>,
    },
    /// Rows after some and up to a number.
    Limit {
        /// Rows left out.
        offset: u64,
        /// Rows then given.
        count: u64,
    },
}

/// What an aggregation reads and gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AggregateMode {
    /// Rows into states.
    Partial,
    /// States into results.
    Final,
    /// Rows into results.
    Complete,
}

/// Stages in order, with the types of what they read.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    /// Types of the input.
    pub(crate) input: Vec<PgType>,
    /// The stages.
    pub(crate) stages: Vec<Stage>,
    /// What expressions read beside the rows.
    pub(crate) context: Arc<EvalContext>,
    /// Most memory that one stage holds.
    pub(crate) memory_bytes: usize,
}

impl Pipeline {
    /// Starts it.
    pub(crate) fn start(&self) -> PipelineRun {
        let mut types = self.input.clone();
        let mut operators: Vec<Box<dyn FragmentRun>> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let output = stage.output_types(&types);
            operators.push(stage.start(&types, &output, &self.context, self.memory_bytes));
            types = output;
        }
        PipelineRun { operators, done: false }
    }

    /// How many rows its joins may make of one.
    pub(crate) fn fan_out(&self) -> usize {
        let of_stage = |stage: &Stage| match stage {
            Stage::Probe(probe) => probe.0.fan_out(),
            _ => None,
        };
        self.stages.iter().filter_map(of_stage).product()
    }

    /// Types of the output.
    pub(crate) fn output_types(&self) -> Vec<PgType> {
        self.stages.iter().fold(self.input.clone(), |types, stage| stage.output_types(&types))
    }
}

/// Divides stages into what any number of runs can do with parts of the rows, and what is left to do with what they give.
pub(crate) fn divide(stages: Vec<Stage>) -> (Vec<Stage>, Vec<Stage>) {
    let (mut parts, mut whole) = (Vec::new(), Vec::new());
    let mut stages = stages.into_iter();
    for stage in stages.by_ref() {
        match stage {
            Stage::Filter(_) | Stage::Project(_) | Stage::Probe(_) | Stage::Expand { .. } => {
                parts.push(stage);
                continue;
            }
            Stage::Aggregate { groups, aggregates, mode: AggregateMode::Complete }
                if !aggregates.iter().any(|aggregate| aggregate.call.needs_all_rows()) =>
            {
                let types = groups.iter().map(Expr::pg_type).enumerate();
                let columns = types.map(|(index, pg_type)| Expr::Column { index, pg_type }).collect();
                let mode = AggregateMode::Partial;
                parts.push(Stage::Aggregate { groups, aggregates: aggregates.clone(), mode });
                whole.push(Stage::Aggregate { groups: columns, aggregates, mode: AggregateMode::Final });
            }
            Stage::TopK { .. } => {
                parts.push(stage.clone());
                whole.push(stage);
            }
            other => whole.push(other),
        }
        break;
    }
    whole.extend(stages);
    (parts, whole)
}

impl Stage {
    /// Types of the output. States of aggregates have no SQL type; they are not to be asked for.
    fn output_types(&self, input: &[PgType]) -> Vec<PgType> {
        match self {
            Stage::Expand { groups, .. } => {
                let own = groups.iter().map(Expr::pg_type).chain([PgType::Int4]);
                own.chain(input.iter().copied()).collect()
            }
            Stage::EmptySets { .. } | Stage::FirstOf(_) | Stage::Ties { .. } => input.to_vec(),
            Stage::Filter(_)
            | Stage::TopK { .. }
            | Stage::Sort(_)
            | Stage::LimitBy { .. }
            | Stage::Limit { .. } => input.to_vec(),
            Stage::Project(exprs) => exprs.iter().map(Expr::pg_type).collect(),
            Stage::Probe(probe) => probe.output_types(),
            Stage::Window(window) => {
                input.iter().copied().chain(window.calls.iter().map(|call| call.pg_type)).collect()
            }
            Stage::Aggregate { groups, aggregates, .. } => {
                let groups = groups.iter().map(Expr::pg_type);
                groups.chain(aggregates.iter().map(|aggregate| aggregate.call.pg_type)).collect()
            }
        }
    }

    fn start(
        &self,
        input: &[PgType],
        output: &[PgType],
        context: &Arc<EvalContext>,
        memory_bytes: usize,
    ) -> Box<dyn FragmentRun> {
        // Each running operator has its own context: random numbers differ between cores.
        let context = EvalContext::clone(context);
        match self {
            Stage::Filter(conjuncts) => Box::new(FilterRun { conjuncts: conjuncts.clone(), context }),
            Stage::Project(exprs) => {
                Box::new(ProjectRun { exprs: exprs.clone(), schema: schema_of(output), context })
            }
            Stage::Aggregate { groups, aggregates, mode } => {
                Box::new(aggregate::AggregateRun::new(groups, aggregates, *mode, context, memory_bytes))
            }
            Stage::Expand { groups, sets } => {
                Box::new(grouping_sets::ExpandRun::new(groups, sets, output, context))
            }
            Stage::EmptySets { sets, width, aggregates } => {
                Box::new(grouping_sets::EmptySetsRun::new(sets, *width, aggregates, output))
            }
            Stage::FirstOf(columns) => Box::new(peers::FirstOfRun::new(columns, input)),
            Stage::Ties { columns, offset, count } => {
                Box::new(peers::TiesRun::new(columns, input, *offset, *count))
            }
            Stage::Probe(probe) => Box::new(probe.start()),
            Stage::TopK { keys, count } => Box::new(sort::TopKRun::new(keys, *count, input, memory_bytes)),
            // Only all rows together can be sorted and seen through windows: the session's core does.
            Stage::Sort(_) | Stage::Window(_) => Box::new(FilterRun { conjuncts: Vec::new(), context }),
            Stage::LimitBy { groups, limit, offset, ties } => {
                let counts = [limit.clone(), offset.clone()];
                Box::new(limit::LimitByRun::new(groups, counts, ties.as_deref(), input, context))
            }
            Stage::Limit { offset, count } => Box::new(limit::LimitRun::new(*offset, *count)),
        }
    }
}

/// A running pipeline.
pub(crate) struct PipelineRun {
    operators: Vec<Box<dyn FragmentRun>>,
    done: bool,
}

impl PipelineRun {
    /// Hands batches to the operators from `first` on.
    fn feed(&mut self, first: usize, batches: Vec<RecordBatch>, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let Some(operator) = self.operators.get_mut(first) else {
            out.extend(batches.into_iter().filter(|batch| batch.num_rows() > 0));
            return Ok(Flow::More);
        };
        let mut flow = Flow::More;
        let mut passed = Vec::new();
        for batch in batches {
            if operator.push(batch, &mut passed)? == Flow::Done {
                flow = Flow::Done;
                break;
            }
        }
        let later = if passed.is_empty() { Flow::More } else { self.feed(first + 1, passed, out)? };
        Ok(if later == Flow::Done { later } else { flow })
    }
}

impl FragmentRun for PipelineRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        if self.done {
            return Ok(Flow::Done);
        }
        let flow = self.feed(0, vec![batch], out)?;
        self.done = flow == Flow::Done;
        Ok(flow)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        for index in 0..self.operators.len() {
            let mut rest = Vec::new();
            self.operators[index].finish(&mut rest)?;
            self.feed(index + 1, rest, out)?;
        }
        Ok(())
    }
}

/// What owning cores do with the rows of a range.
pub(crate) struct ScanFragment {
    /// The table's columns that it reads.
    pub(crate) columns: Vec<usize>,
    /// Conditions that the engine evaluates.
    pub(crate) filters: Vec<ColumnFilter>,
    /// What it does with them.
    pub(crate) pipeline: Pipeline,
}

impl Fragment for ScanFragment {
    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn filters(&self) -> &[ColumnFilter] {
        &self.filters
    }

    /// Whatever reads rows only through expressions does.
    fn reads_coefficients(&self) -> bool {
        let mut stages = self.pipeline.stages.iter().skip_while(|stage| matches!(stage, Stage::Filter(_)));
        matches!(stages.next(), Some(Stage::Project(_) | Stage::Aggregate { .. }))
    }

    /// Those that an aggregation by texts alone groups by, and that nothing else reads.
    fn reads_codes(&self) -> Vec<usize> {
        let mut read = BTreeSet::new();
        for stage in &self.pipeline.stages {
            let mut note = |expr: &Expr| {
                expr.visit(&mut |part| {
                    if let Expr::Column { index, .. } = part {
                        read.insert(*index);
                    }
                });
            };
            match stage {
                Stage::Filter(conjuncts) => conjuncts.iter().for_each(note),
                Stage::Aggregate { groups, aggregates, .. } => {
                    for aggregate in aggregates {
                        aggregate.call.args.iter().chain(&aggregate.filter).for_each(&mut note);
                    }
                    let text = |group: &Expr| match group {
                        Expr::Column { index, pg_type: PgType::Text | PgType::Varchar(_), .. } => {
                            Some(*index)
                        }
                        _ => None,
                    };
                    let texts = groups.iter().map(text).collect::<Option<Vec<usize>>>().unwrap_or_default();
                    return if texts.iter().any(|text| read.contains(text)) { Vec::new() } else { texts };
                }
                _ => break,
            }
        }
        Vec::new()
    }

    fn start(&self) -> Box<dyn FragmentRun> {
        Box::new(self.pipeline.start())
    }
}

struct FilterRun {
    conjuncts: Vec<Expr>,
    context: EvalContext,
}

impl FragmentRun for FilterRun {
    fn push(&mut self, mut batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        for conjunct in &self.conjuncts {
            let keep = conjunct.eval_predicate(&batch, &self.context)?;
            let kept = keep.true_count();
            if kept == 0 {
                return Ok(Flow::More);
            }
            if kept < batch.num_rows() {
                batch = filter(&batch, &keep);
            }
        }
        out.push(batch);
        Ok(Flow::More)
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

struct ProjectRun {
    exprs: Vec<Expr>,
    schema: SchemaRef,
    context: EvalContext,
}

impl FragmentRun for ProjectRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let mut columns = Vec::with_capacity(self.exprs.len());
        for expr in &self.exprs {
            columns.push(expr.eval(&batch, &self.context)?);
        }
        out.push(batch_of(&self.schema, columns, batch.num_rows()));
        Ok(Flow::More)
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

/// The Arrow schema of columns of these types; columns are named by position.
pub(crate) fn schema_of(types: &[PgType]) -> SchemaRef {
    let field = |(index, pg_type): (usize, &PgType)| Field::new(index.to_string(), pg_type.arrow(), true);
    Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// A batch of columns that an operator made.
pub(crate) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .expect("operators give arrays of their types and of one length")
}

/// The rows that a mask keeps.
pub(crate) fn filter(batch: &RecordBatch, keep: &BooleanArray) -> RecordBatch {
    if batch.num_columns() == 0 {
        return batch_of(batch.schema_ref(), Vec::new(), keep.true_count());
    }
    let is_fixed = |column: &ArrayRef| matches!(column.data_type(), DataType::FixedSizeBinary(_));
    if keep.null_count() == 0 && batch.columns().iter().any(is_fixed) {
        let rows = keep.values().set_indices_u32().collect::<Vec<u32>>();
        let rows = UInt32Array::from(rows);
        let columns = batch.columns().iter().map(|column| take(column, &rows)).collect();
        return batch_of(batch.schema_ref(), columns, rows.len());
    }
    arrow_select::filter::filter_record_batch(batch, keep).expect("the mask is as long as the batch")
}

/// All values of some arrays of one type.
pub(crate) fn concat(chunks: &[ArrayRef], pg_type: PgType) -> ArrayRef {
    match chunks {
        [] => arrow_array::new_empty_array(&pg_type.arrow()),
        [one] => one.clone(),
        _ => {
            let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
            arrow_select::concat::concat(&chunks).expect("arrays of one type below 2 GiB")
        }
    }
}

/// Cuts a batch into batches of the usual size.
pub(crate) fn push_in_pieces(batch: RecordBatch, out: &mut Vec<RecordBatch>) {
    let rows = batch.num_rows();
    if rows <= BATCH_ROWS {
        out.push(batch);
        return;
    }
    out.extend((0..rows).step_by(BATCH_ROWS).map(|start| batch.slice(start, BATCH_ROWS.min(rows - start))));
}

/// 53200 for what would need more memory than `work_mem` allows.
pub(crate) fn out_of_memory(operator: &str, memory_bytes: usize) -> ValueError {
    let message = format!("{operator} needs more memory than work_mem allows ({} kB)", memory_bytes >> 10);
    ValueError::new(SqlState::OUT_OF_MEMORY, message)
}
