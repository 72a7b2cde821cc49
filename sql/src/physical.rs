//! Physical plans: what runs on owning cores, what on the session's core.
//!
//! The nodes above a scan go into its fragment as long as every core can do them alone; aggregation, DISTINCT, top-k
//! and LIMIT are split into a part per core and a merge. Plans hold no values of parameters: one plan serves all
//! executions of a prepared statement.

pub(crate) mod classes;
mod equal;
pub(crate) mod estimate;
pub(crate) mod join;
pub(crate) mod join_order;
pub(crate) mod key_order;
pub(crate) mod recursive;
pub(crate) mod set;

use std::sync::Arc;

use omen_core::catalog::Table;
use omen_core::error::ValueError;
use omen_core::types::{Datum, PgType};

use crate::expr::{EvalContext, Expr};
use crate::fragment::window::WindowStage;
use crate::fragment::{AggregateMode, Stage, checked_count};
use crate::logical::{Aggregate, Logical, ProjectSet, Scan, SetCall, SortKey, Window, WindowCall};
use crate::pushdown::Pushed;
use crate::route::KeyFilter;
use join::JoinPlan;
use recursive::RecursivePlan;
use set::CombinePlan;

/// A query.
#[derive(Clone, Debug)]
pub(crate) struct QueryPlan {
    /// Where rows come from.
    pub(crate) source: Source,
    /// What the session's core does with them.
    pub(crate) steps: Vec<Step>,
    /// Types of the output.
    pub(crate) types: Vec<PgType>,
}

/// Where rows come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Expressions.
    Values {
        /// The rows.
        rows: Vec<Vec<Expr>>,
        /// Their types.
        types: Vec<PgType>,
    },
    /// Columns of one row, as they are stored: no step follows.
    Point(PointRead),
    /// A table.
    Scan(ScanPlan),
    /// Other plans.
    Join(Box<JoinPlan>),
    /// Functions that answer rows, for each row of another plan.
    Set(Box<SetPlan>),
    /// A table that parts of a statement share.
    Shared {
        /// Its number.
        table: usize,
        /// Types of its columns.
        types: Vec<PgType>,
    },
    /// A query that reads its own rows.
    Recursive(Arc<RecursivePlan>),
    /// Other plans, whose rows are sets.
    Combine(Arc<CombinePlan>),
}

/// Functions that answer rows (`ProjectSet`).
#[derive(Clone, Debug)]
pub(crate) struct SetPlan {
    /// What they are called for.
    pub(crate) input: QueryPlan,
    /// The functions.
    pub(crate) calls: Vec<SetCall>,
    /// A last column counts.
    pub(crate) ordinality: bool,
    /// Rows of the input without any are given once.
    pub(crate) keeps_input: bool,
}

impl QueryPlan {
    /// The scans of it, from the left to the right, without points.
    pub(crate) fn scans(&self) -> Vec<&ScanPlan> {
        match &self.source {
            Source::Values { .. } | Source::Point(_) | Source::Shared { .. } => Vec::new(),
            Source::Recursive(plan) => [plan.base.scans(), plan.step.scans()].concat(),
            Source::Scan(scan) => vec![scan],
            Source::Join(join) => join.inputs.iter().flat_map(QueryPlan::scans).collect(),
            Source::Set(set) => set.input.scans(),
            Source::Combine(set) => set.inputs.iter().flat_map(QueryPlan::scans).collect(),
        }
    }

    /// The plan, giving batches: a point is read as a scan.
    pub(crate) fn in_batches(mut self) -> QueryPlan {
        self.source = match self.source {
            Source::Point(point) => Source::Scan(ScanPlan {
                table: point.table,
                columns: point.columns.to_vec(),
                keys: point.keys,
                pushed: Box::default(),
                fragment: Vec::new(),
            }),
            other => other,
        };
        self
    }

    /// The tables that it reads.
    pub(crate) fn tables(&self) -> Vec<Arc<Table>> {
        match &self.source {
            Source::Point(point) => vec![point.table.clone()],
            _ => self.scans().into_iter().map(|scan| scan.table.clone()).collect(),
        }
    }
}

/// Reads one row by its key.
#[derive(Clone, Debug)]
pub(crate) struct PointRead {
    /// The table.
    pub(crate) table: Arc<Table>,
    /// The key: one value for each of its columns.
    pub(crate) keys: KeyFilter,
    /// The columns.
    pub(crate) columns: Arc<[usize]>,
}

/// Reads a table.
#[derive(Clone, Debug)]
pub(crate) struct ScanPlan {
    /// The table.
    pub(crate) table: Arc<Table>,
    /// The table's columns that are read.
    pub(crate) columns: Vec<usize>,
    /// Which keys.
    pub(crate) keys: KeyFilter,
    /// Conditions that the engine evaluates. None if the keys are known one by one.
    pub(crate) pushed: Box<[Pushed]>,
    /// What happens to the rows on each owning core.
    pub(crate) fragment: Vec<Step>,
}

/// One operation, before parameters are known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Needs no parameters but those inside expressions.
    Stage(Stage),
    /// The first `limit + offset` rows in an order; all if the limit is NULL.
    TopK {
        /// The order.
        keys: Vec<SortKey>,
        /// How many rows are wanted.
        limit: Expr,
        /// How many are left out first.
        offset: Option<Expr>,
    },
    /// The first `limit + offset` rows, whichever they are.
    AtMost {
        /// How many rows are wanted.
        limit: Expr,
        /// How many are left out first.
        offset: Option<Expr>,
    },
    /// FETCH FIRST .. WITH TIES, over rows in order.
    Ties {
        /// Columns of the order.
        columns: Vec<usize>,
        /// How many rows are wanted.
        limit: Expr,
        /// How many are left out first.
        offset: Option<Expr>,
    },
    /// LIMIT and OFFSET of each group of neighbours.
    LimitBy {
        /// What a group has in common.
        groups: Vec<usize>,
        /// How many rows are wanted; may read columns of `groups`.
        limit: Option<Expr>,
        /// How many are left out first; the same.
        offset: Option<Expr>,
        /// WITH TIES: columns of the order.
        ties: Option<Vec<usize>>,
    },
    /// LIMIT and OFFSET.
    Limit {
        /// How many rows are wanted.
        limit: Option<Expr>,
        /// How many are left out first.
        offset: Option<Expr>,
    },
}

impl Step {
    /// The operation for given parameters.
    ///
    /// # Errors
    /// 2201W and 2201X for negative counts; if a count cannot be computed.
    pub(crate) fn ready(&self, context: &EvalContext) -> Result<Stage, ValueError> {
        Ok(match self {
            Step::Stage(stage) => folded(stage, context),
            Step::TopK { keys, limit, offset } => {
                let offset = row_count(offset.as_ref(), "OFFSET", context)?.unwrap_or(0);
                match row_count(Some(limit), "LIMIT", context)? {
                    None => Stage::Sort(keys.clone()),
                    Some(count) => {
                        let count = usize::try_from(count.saturating_add(offset)).unwrap_or(usize::MAX);
                        Stage::TopK { keys: keys.clone(), count }
                    }
                }
            }
            Step::AtMost { limit, offset } => {
                let offset = row_count(offset.as_ref(), "OFFSET", context)?.unwrap_or(0);
                let count = row_count(Some(limit), "LIMIT", context)?.unwrap_or(u64::MAX);
                Stage::Limit { offset: 0, count: count.saturating_add(offset) }
            }
            Step::Ties { columns, limit, offset } => {
                let offset = row_count(offset.as_ref(), "OFFSET", context)?.unwrap_or(0);
                let count = row_count(Some(limit), "LIMIT", context)?.unwrap_or(u64::MAX);
                Stage::Ties { columns: columns.clone(), offset, count }
            }
            Step::LimitBy { groups, limit, offset, ties } => Stage::LimitBy {
                groups: groups.clone(),
                offset: group_count(offset.as_ref(), "OFFSET", context)?,
                limit: group_count(limit.as_ref(), "LIMIT", context)?,
                ties: ties.clone(),
            },
            Step::Limit { limit, offset } => Stage::Limit {
                offset: row_count(offset.as_ref(), "OFFSET", context)?.unwrap_or(0),
                count: row_count(limit.as_ref(), "LIMIT", context)?.unwrap_or(u64::MAX),
            },
        })
    }
}

/// The stage with parameters and what follows from them computed.
fn folded(stage: &Stage, context: &EvalContext) -> Stage {
    let fold = |exprs: &[Expr]| exprs.iter().map(|expr| expr.fold(context)).collect::<Vec<_>>();
    match stage {
        Stage::Filter(conjuncts) => Stage::Filter(fold(conjuncts)),
        Stage::Project(exprs) => Stage::Project(fold(exprs)),
        Stage::Expand { groups, sets } => Stage::Expand { groups: fold(groups), sets: sets.clone() },
        Stage::Aggregate { groups, aggregates, mode } => {
            let mut aggregates = aggregates.clone();
            for aggregate in &mut aggregates {
                aggregate.call.args = fold(&aggregate.call.args);
                aggregate.filter = aggregate.filter.as_ref().map(|filter| filter.fold(context));
            }
            Stage::Aggregate { groups: fold(groups), aggregates, mode: *mode }
        }
        Stage::Window(window) => {
            let mut window = window.clone();
            window
                .calls
                .iter_mut()
                .flat_map(WindowCall::exprs_mut)
                .for_each(|expr| *expr = expr.fold(context));
            Stage::Window(window)
        }
        other => other.clone(),
    }
}

fn row_count(expr: Option<&Expr>, clause: &str, context: &EvalContext) -> Result<Option<u64>, ValueError> {
    let Some(expr) = expr else { return Ok(None) };
    match expr.eval_constant(context)? {
        Datum::Int8(count) => checked_count(count, clause).map(Some),
        _ => Ok(None),
    }
}

/// A count that may differ between groups. One that does not is checked here.
fn group_count(expr: Option<&Expr>, clause: &str, context: &EvalContext) -> Result<Option<Expr>, ValueError> {
    let folded = expr.map(|expr| expr.fold(context));
    if let Some(Expr::Literal { value: Datum::Int8(count), .. }) = &folded {
        checked_count(*count, clause)?;
    }
    Ok(folded)
}

/// Chooses how an optimised logical plan runs.
pub(crate) fn plan_query(plan: Logical) -> QueryPlan {
    crate::parse::with_stack(|| plan_here(plan))
}

fn plan_here(plan: Logical) -> QueryPlan {
    let types = plan.types();
    let mut nodes = Vec::new();
    let mut rest = plan;
    let mut builder = loop {
        match take_input(rest) {
            (Logical::Values { rows, types }, None) => {
                break Builder { source: Source::Values { rows, types }, fragment: None, steps: Vec::new() };
            }
            (Logical::Scan(scan), None) => break Builder::scan(scan, &mut nodes),
            (Logical::Join(join), None) => {
                let source = Source::Join(Box::new(join::plan_join(*join)));
                break Builder { source, fragment: None, steps: Vec::new() };
            }
            (Logical::ProjectSet(set), Some(input)) => {
                let ProjectSet { calls, ordinality, keeps_input, .. } = *set;
                let plan = SetPlan { input: plan_query(input).in_batches(), calls, ordinality, keeps_input };
                break Builder { source: Source::Set(Box::new(plan)), fragment: None, steps: Vec::new() };
            }
            (Logical::Shared { table, types }, None) => {
                let source = Source::Shared { table, types };
                break Builder { source, fragment: None, steps: Vec::new() };
            }
            (Logical::Recursive(recursive), None) => {
                let source = Source::Recursive(Arc::new(recursive::plan_recursive(*recursive)));
                break Builder { source, fragment: None, steps: Vec::new() };
            }
            (Logical::Combine(set), None) => {
                let source = Source::Combine(Arc::new(set::plan_set(*set)));
                break Builder { source, fragment: None, steps: Vec::new() };
            }
            (node, Some(input)) => {
                let types = input.types();
                nodes.push((node, types));
                rest = input;
            }
            (node, None) => {
                // All others have an input.
                let types = node.types();
                break Builder {
                    source: Source::Values { rows: Vec::new(), types },
                    fragment: None,
                    steps: Vec::new(),
                };
            }
        }
    };
    let mut nodes = nodes.into_iter().rev().peekable();
    while let Some((node, input_types)) = nodes.next() {
        match node {
            Logical::Sort { keys, .. } => {
                let next = nodes.next_if(|(next, _)| matches!(next, Logical::Limit { limit: Some(_), .. }));
                match next {
                    Some((Logical::Limit { limit: Some(limit), offset, .. }, _)) => {
                        builder.top_k(keys, limit, offset)
                    }
                    _ => builder.merge(None, Step::Stage(Stage::Sort(keys))),
                }
            }
            node => builder.add(node, &input_types),
        }
    }
    builder.finish(types)
}

/// Takes a node's input away from it.
fn take_input(mut node: Logical) -> (Logical, Option<Logical>) {
    let input = node.input_mut().map(|input| std::mem::replace(input, Logical::one_row()));
    (node, input)
}

struct Builder {
    source: Source,
    /// Steps of the fragment, as long as it takes more.
    fragment: Option<Vec<Step>>,
    steps: Vec<Step>,
}

impl Builder {
    fn scan(scan: Scan, nodes: &mut Vec<(Logical, Vec<PgType>)>) -> Builder {
        let Scan { table, mut columns, filter, keys, pushed } = scan;
        let mut fragment = Vec::new();
        if !filter.is_empty() {
            fragment.push(Step::Stage(Stage::Filter(filter)));
        } else if let Some((Logical::Project { exprs, .. }, _)) = nodes.last()
            && let Some(projected) = plain_columns(exprs, &columns)
        {
            columns = projected;
            nodes.pop();
        }
        let source =
            Source::Scan(ScanPlan { table, columns, keys, pushed: pushed.into(), fragment: Vec::new() });
        Builder { source, fragment: Some(fragment), steps: Vec::new() }
    }

    /// Adds what every core can do alone.
    fn local(&mut self, step: Step) {
        self.fragment.as_mut().unwrap_or(&mut self.steps).push(step);
    }

    /// Adds what needs all rows: a part that each core does first, if there is one, and what the session's core does.
    fn merge(&mut self, part: Option<Step>, whole: Step) {
        self.close(part);
        self.steps.push(whole);
    }

    /// Ends the fragment, with a last step.
    fn close(&mut self, last: Option<Step>) {
        let Some(mut fragment) = self.fragment.take() else { return };
        fragment.extend(last);
        if let Source::Scan(scan) = &mut self.source {
            scan.fragment = fragment;
        }
    }

    fn top_k(&mut self, keys: Vec<SortKey>, limit: Expr, offset: Option<Expr>) {
        let top = Step::TopK { keys, limit: limit.clone(), offset: offset.clone() };
        self.merge(Some(top.clone()), top);
        if offset.is_some() {
            self.steps.push(Step::Limit { limit: Some(limit), offset });
        }
    }

    fn add(&mut self, node: Logical, input: &[PgType]) {
        match node {
            Logical::Filter { conjuncts, .. } => self.local(Step::Stage(Stage::Filter(conjuncts))),
            Logical::Project { exprs, .. } => self.local(Step::Stage(Stage::Project(exprs))),
            Logical::Aggregate { groups, aggregates, .. } => self.aggregate(groups, aggregates),
            Logical::Expand { groups, sets, .. } => self.local(Step::Stage(Stage::Expand { groups, sets })),
            Logical::EmptySets { sets, width, aggregates, .. } => {
                self.merge(None, Step::Stage(Stage::EmptySets { sets, width, aggregates }));
            }
            Logical::DistinctOn { columns, .. } => self.merge(None, Step::Stage(Stage::FirstOf(columns))),
            Logical::Ties { columns, limit, offset, .. } => {
                self.merge(None, Step::Ties { columns, limit, offset });
            }
            Logical::Window(window) => {
                let Window { partition, order, calls, .. } = *window;
                let stage = Box::new(WindowStage { partition, order, calls });
                self.merge(None, Step::Stage(Stage::Window(stage)));
            }
            Logical::Distinct { .. } => self.aggregate(columns_of(input), Vec::new()),
            Logical::Limit { limit, offset, .. } => {
                let part = match (&limit, &self.fragment) {
                    (Some(limit), Some(_)) => {
                        Some(Step::AtMost { limit: limit.clone(), offset: offset.clone() })
                    }
                    _ => None,
                };
                self.merge(part, Step::Limit { limit, offset });
            }
            Logical::Sort { keys, .. } => self.merge(None, Step::Stage(Stage::Sort(keys))),
            Logical::LimitBy { groups, keys, limit, offset, with_ties, .. } => {
                let of_group =
                    |column: &usize| SortKey { column: *column, descending: false, nulls_first: false };
                let ties = with_ties.then(|| keys.iter().map(|key| key.column).collect());
                let rest = keys.into_iter().filter(|key| !groups.contains(&key.column));
                let order = groups.iter().map(of_group).chain(rest).collect();
                self.merge(None, Step::Stage(Stage::Sort(order)));
                self.steps.push(Step::LimitBy { groups, limit, offset, ties });
            }
            Logical::Values { .. }
            | Logical::Scan(_)
            | Logical::Join(_)
            | Logical::Apply(_)
            | Logical::Shared { .. }
            | Logical::Recursive(_)
            | Logical::ProjectSet(_)
            | Logical::Combine(_) => {}
        }
    }

    fn aggregate(&mut self, groups: Vec<Expr>, aggregates: Vec<Aggregate>) {
        let stage =
            |groups, mode| Step::Stage(Stage::Aggregate { groups, aggregates: aggregates.clone(), mode });
        let distinct = aggregates.iter().any(|aggregate| aggregate.call.needs_all_rows());
        if distinct || self.fragment.is_none() {
            // Which arguments are equal can only be told where all rows come together.
            self.merge(None, stage(groups, AggregateMode::Complete));
            return;
        }
        let types: Vec<PgType> = groups.iter().map(Expr::pg_type).collect();
        let whole = stage(columns_of(&types), AggregateMode::Final);
        self.merge(Some(stage(groups, AggregateMode::Partial)), whole);
    }

    fn finish(mut self, types: Vec<PgType>) -> QueryPlan {
        self.close(None);
        let source = match self.source {
            Source::Scan(scan)
                if scan.keys.point_count() == Some(1)
                    && scan.fragment.is_empty()
                    && self.steps.is_empty() =>
            {
                Source::Point(PointRead { table: scan.table, keys: scan.keys, columns: scan.columns.into() })
            }
            other => other,
        };
        QueryPlan { source, steps: self.steps, types }
    }
}

/// All columns of an input.
fn columns_of(types: &[PgType]) -> Vec<Expr> {
    types.iter().enumerate().map(|(index, pg_type)| Expr::Column { index, pg_type: *pg_type }).collect()
}

/// The table's columns that a projection of nothing but different columns gives.
fn plain_columns(exprs: &[Expr], columns: &[usize]) -> Option<Vec<usize>> {
    let mut projected = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let Expr::Column { index, .. } = expr else { return None };
        let column = columns[*index];
        if projected.contains(&column) {
            return None;
        }
        projected.push(column);
    }
    Some(projected)
}
