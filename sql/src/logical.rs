//! The logical plan of a query: what it answers, not how.
//!
//! Every node answers rows of positional columns; expressions in a node refer to the columns of its input.

pub(crate) mod apply;

use std::sync::Arc;

use omen_core::catalog::Table;
use omen_core::types::PgType;

use crate::expr::aggregate::AggregateCall;
use crate::expr::{Expr, Function};
use crate::parse::with_stack;
use crate::pushdown::Pushed;
use crate::route::KeyFilter;
pub(crate) use apply::{Apply, ApplyKind};

/// A node and all below it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Logical {
    /// Rows of expressions that read no columns. A query without FROM reads one row of no columns.
    Values {
        /// The rows.
        rows: Vec<Vec<Expr>>,
        /// Types of the columns.
        types: Vec<PgType>,
    },
    /// The rows of a table.
    Scan(Scan),
    /// Rows of two inputs side by side.
    Join(Box<Join>),
    /// The rows of functions beside those of an input.
    ProjectSet(Box<ProjectSet>),
    /// Rows of several inputs below one another, or those that inputs have in common.
    Combine(Box<SetOperation>),
    /// For each row of one input what another one answers, which may read that row. No rule but the first meets any.
    Apply(Box<Apply>),
    /// The rows of a table that parts of a statement share.
    Shared {
        /// Its number.
        table: usize,
        /// Types of its columns.
        types: Vec<PgType>,
    },
    /// A query that reads its own rows.
    Recursive(Box<Recursive>),
    /// The rows for which all conditions are true.
    Filter {
        /// Of these.
        input: Box<Logical>,
        /// The conditions.
        conjuncts: Vec<Expr>,
    },
    /// One row of expressions for each row.
    Project {
        /// Of these.
        input: Box<Logical>,
        /// The expressions.
        exprs: Vec<Expr>,
    },
    /// One row for each group: the group's expressions, then its aggregates.
    Aggregate {
        /// Of these rows.
        input: Box<Logical>,
        /// What groups have in common. None: all rows are one group, which exists even without rows.
        groups: Vec<Expr>,
        /// What is computed for each group.
        aggregates: Vec<Aggregate>,
    },
    /// Window functions, as columns behind those of the input.
    Window(Box<Window>),
    /// Each row once.
    Distinct {
        /// Of these.
        input: Box<Logical>,
    },
    /// Each row once for each grouping set: what groups have in common, NULL where the set does not have it; the
    /// number of the set; and the input's columns.
    Expand {
        /// Of these.
        input: Box<Logical>,
        /// What groups have in common.
        groups: Vec<Expr>,
        /// Which of that each set has.
        sets: Vec<Vec<bool>>,
    },
    /// The rows of an aggregation; those of sets that group by nothing if there are none.
    EmptySets {
        /// The aggregation: columns of groups, the number of the set, and the aggregates.
        input: Box<Logical>,
        /// The numbers of the sets.
        sets: Vec<i32>,
        /// Number of the columns in front of the set's number.
        width: usize,
        /// The aggregates.
        aggregates: Vec<AggregateCall>,
    },
    /// The first row of those that are equal in some columns, one behind the other.
    DistinctOn {
        /// Of these.
        input: Box<Logical>,
        /// The columns.
        columns: Vec<usize>,
    },
    /// Some of the first rows, and those behind that are equal to the last of them in some columns.
    Ties {
        /// Of these.
        input: Box<Logical>,
        /// The columns, by which the input is ordered.
        columns: Vec<usize>,
        /// So many; a bigint.
        limit: Expr,
        /// After so many were left out; a bigint.
        offset: Option<Expr>,
    },
    /// The rows in order.
    Sort {
        /// Of these.
        input: Box<Logical>,
        /// Most important key first.
        keys: Vec<SortKey>,
    },
    /// Some of the first rows.
    Limit {
        /// Of these.
        input: Box<Logical>,
        /// So many at most; a bigint, NULL means all.
        limit: Option<Expr>,
        /// After so many were left out; a bigint.
        offset: Option<Expr>,
    },
    /// Some of the first rows of each group.
    LimitBy {
        /// Of these rows.
        input: Box<Logical>,
        /// Columns that the rows of a group have in common.
        groups: Vec<usize>,
        /// The order within a group, most important key first.
        keys: Vec<SortKey>,
        /// So many at most; a bigint over columns of `groups`, NULL means all.
        limit: Option<Expr>,
        /// After so many were left out; a bigint over the same.
        offset: Option<Expr>,
        /// And those behind that are equal to the last of them in the order.
        with_ties: bool,
    },
}

/// Reads a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scan {
    /// The table.
    pub(crate) table: Arc<Table>,
    /// The table's columns that are read, in the order of the output.
    pub(crate) columns: Vec<usize>,
    /// Conditions over the output.
    pub(crate) filter: Vec<Expr>,
    /// Conditions on the key.
    pub(crate) keys: KeyFilter,
    /// Conditions that the engine evaluates, on any column of the table.
    pub(crate) pushed: Vec<Pushed>,
}

/// Combines the rows of inputs, which have columns of the same types but for modifiers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SetOperation {
    /// How.
    pub(crate) kind: SetKind,
    /// Of these, from the left to the right; at least one.
    pub(crate) inputs: Vec<Logical>,
    /// Types of the columns.
    pub(crate) types: Vec<PgType>,
}

/// How sets are combined. UNION is `UnionAll` whose rows are then given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetKind {
    /// All rows of all inputs.
    UnionAll,
    /// The rows that all inputs have: once, or as often as all of them have them.
    Intersect {
        /// `ALL`
        all: bool,
    },
    /// The rows of the first input that no other one has: once, or as often as it has them more often than the others
    /// together.
    Except {
        /// `ALL`
        all: bool,
    },
}

/// A query that reads its own rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recursive {
    /// Gives the first rows.
    pub(crate) base: Logical,
    /// Gives rows made of those of the last step, until there are none.
    pub(crate) step: Logical,
    /// The shared table that these are in.
    pub(crate) working: usize,
    /// Each row is given once.
    pub(crate) distinct: bool,
}

/// Joins two inputs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Join {
    /// One side.
    pub(crate) left: Logical,
    /// The other one.
    pub(crate) right: Logical,
    /// What becomes of rows without a partner.
    pub(crate) kind: JoinKind,
    /// When rows are partners: over the left side's columns, then the right side's.
    pub(crate) conjuncts: Vec<Expr>,
    /// What a mark asks of partners; none: that there are any.
    pub(crate) mark: Option<Expr>,
    /// The columns of both sides, counted as in the conditions, that are given; a mark follows them.
    pub(crate) output: Vec<usize>,
}

/// For every row of an input, the rows that functions answer for it: the first row of each side by side, then the
/// second ones, with NULLs for functions that answer fewer than others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProjectSet {
    /// The input; its columns come first.
    pub(crate) input: Logical,
    /// The functions, at least one; their columns follow.
    pub(crate) calls: Vec<SetCall>,
    /// A last column counts the rows of each row of the input, from 1.
    pub(crate) ordinality: bool,
    /// Rows of the input for which there are none are given once, with NULLs.
    pub(crate) keeps_input: bool,
}

/// A call of a function that answers rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SetCall {
    /// The function.
    pub(crate) function: &'static Function,
    /// Its arguments, over the columns of the input.
    pub(crate) args: Vec<Expr>,
    /// The type of the result, if it has one column.
    pub(crate) pg_type: PgType,
}

impl SetCall {
    /// Names of the columns, where the function has names for them, and types.
    pub(crate) fn columns(&self) -> Vec<(&'static str, PgType)> {
        match self.function.set {
            Some(set) if !set.columns.is_empty() => set.columns.to_vec(),
            _ => vec![(self.function.name, self.pg_type)],
        }
    }
}

impl ProjectSet {
    /// Types of the columns behind those of the input.
    pub(crate) fn added_types(&self) -> Vec<PgType> {
        added_types(&self.calls, self.ordinality)
    }
}

/// Types of the columns that functions add.
pub(crate) fn added_types(calls: &[SetCall], ordinality: bool) -> Vec<PgType> {
    let columns = calls.iter().flat_map(|call| call.columns().into_iter().map(|(_, pg_type)| pg_type));
    columns.chain(ordinality.then_some(PgType::Int8)).collect()
}

/// What becomes of rows without a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    /// They are left out.
    Inner,
    /// Those of the left side are given, with NULLs.
    Left,
    /// Those of the right side are.
    Right,
    /// Both are.
    Full,
    /// Those of the left side are given, with NULLs; a second partner is an error.
    Single,
    /// Rows of the left side that have partners are given, once.
    Semi,
    /// Rows of the left side that have none are given.
    Anti,
    /// All rows of the left side are given, with a column: whether a condition is true of a partner, or NULL if it is
    /// true of none and NULL for some.
    Mark,
}

impl JoinKind {
    /// Whether rows of the left side are given without a partner.
    pub(crate) fn keeps_left(self) -> bool {
        use JoinKind::{Anti, Full, Left, Mark, Single};
        matches!(self, Left | Full | Single | Anti | Mark)
    }

    /// Whether rows of the right side are given without a partner.
    pub(crate) fn keeps_right(self) -> bool {
        matches!(self, JoinKind::Right | JoinKind::Full)
    }

    /// The kind that keeps rows of these sides.
    pub(crate) fn keeping(left: bool, right: bool) -> JoinKind {
        match (left, right) {
            (false, false) => JoinKind::Inner,
            (true, false) => JoinKind::Left,
            (false, true) => JoinKind::Right,
            (true, true) => JoinKind::Full,
        }
    }
}

impl Join {
    /// A join that gives all columns.
    pub(crate) fn new(left: Logical, right: Logical, kind: JoinKind, conjuncts: Vec<Expr>) -> Join {
        let (left_width, right_width) = (left.types().len(), right.types().len());
        let output = match kind {
            JoinKind::Semi | JoinKind::Anti => (0..left_width).collect(),
            JoinKind::Mark => (0..left_width).chain([left_width + right_width]).collect(),
            _ => (0..left_width + right_width).collect(),
        };
        Join { left, right, kind, conjuncts, mark: None, output }
    }

    /// Types of both sides' columns, and of the mark.
    pub(crate) fn input_types(&self) -> Vec<PgType> {
        let mut types = self.left.types();
        types.extend(self.right.types());
        if self.kind == JoinKind::Mark {
            types.push(PgType::Bool);
        }
        types
    }
}

/// An aggregate of a query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    /// The call.
    pub(crate) call: AggregateCall,
    /// `FILTER (WHERE ..)`
    pub(crate) filter: Option<Expr>,
}

/// Window functions with one partition and order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    /// Over these rows, which are sorted by the partition and then by the order.
    pub(crate) input: Logical,
    /// Columns that the rows of a partition have in common.
    pub(crate) partition: Vec<usize>,
    /// The order inside a partition.
    pub(crate) order: Vec<SortKey>,
    /// The functions.
    pub(crate) calls: Vec<WindowCall>,
}

/// A call of a window function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowCall {
    /// Which.
    pub(crate) function: WindowFunction,
    /// Its arguments.
    pub(crate) args: Vec<Expr>,
    /// `FILTER (WHERE ..)` of an aggregate.
    pub(crate) filter: Option<Expr>,
    /// What it sees.
    pub(crate) frame: Frame,
    /// Type of the result.
    pub(crate) pg_type: PgType,
}

impl WindowCall {
    /// Its expressions.
    pub(crate) fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let bounds = [&self.frame.start, &self.frame.end];
        let bounds = bounds.into_iter().flat_map(|bound| match bound {
            FrameBound::Offset { offset, values, .. } => {
                let values = values.as_ref().map(|values| [&values.0, &values.1]);
                std::iter::once(offset).chain(values.into_iter().flatten()).collect::<Vec<_>>()
            }
            FrameBound::Unbounded | FrameBound::Current => Vec::new(),
        });
        self.args.iter().chain(&self.filter).chain(bounds)
    }

    /// Its expressions.
    pub(crate) fn exprs_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let bounds = [&mut self.frame.start, &mut self.frame.end];
        let bounds = bounds.into_iter().flat_map(|bound| match bound {
            FrameBound::Offset { offset, values, .. } => {
                let values = values.as_mut().map(|values| [&mut values.0, &mut values.1]);
                std::iter::once(offset).chain(values.into_iter().flatten()).collect::<Vec<_>>()
            }
            FrameBound::Unbounded | FrameBound::Current => Vec::new(),
        });
        self.args.iter_mut().chain(&mut self.filter).chain(bounds)
    }
}

/// Functions of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowFunction {
    /// `row_number`
    RowNumber,
    /// `rank`
    Rank,
    /// `dense_rank`
    DenseRank,
    /// `percent_rank`
    PercentRank,
    /// `cume_dist`
    CumeDist,
    /// `ntile`
    Ntile,
    /// `lag`
    Lag,
    /// `lead`
    Lead,
    /// `first_value`
    FirstValue,
    /// `last_value`
    LastValue,
    /// `nth_value`
    NthValue,
    /// An aggregate of this name.
    Aggregate(&'static str),
}

/// Which rows of the partition a window function sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// How offsets count.
    pub(crate) units: FrameUnits,
    /// From where.
    pub(crate) start: FrameBound,
    /// Up to where.
    pub(crate) end: FrameBound,
    /// Without which.
    pub(crate) exclude: Exclude,
}

/// How offsets of a frame count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameUnits {
    /// Rows.
    Rows,
    /// In values of the order.
    Range,
    /// Groups of rows that are equal in the order.
    Groups,
}

/// Where a frame begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FrameBound {
    /// At the end of the partition.
    Unbounded,
    /// At the row, or its peers.
    Current,
    /// Before or behind it.
    Offset {
        /// `FOLLOWING`
        following: bool,
        /// How far; reads no columns.
        offset: Expr,
        /// For RANGE: the order's value as it is compared, and that value moved by the offset, of the same type.
        values: Option<Box<(Expr, Expr)>>,
    },
}

/// Rows that a frame leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exclude {
    /// None.
    NoOthers,
    /// The row.
    CurrentRow,
    /// It and its peers.
    Group,
    /// Its peers.
    Ties,
}

/// One key of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SortKey {
    /// Column of the input.
    pub(crate) column: usize,
    /// `DESC`
    pub(crate) descending: bool,
    /// `NULLS FIRST`
    pub(crate) nulls_first: bool,
}

impl Scan {
    /// All columns of a table.
    pub(crate) fn whole(table: Arc<Table>) -> Scan {
        let columns = (0..table.schema.columns.len()).collect();
        Scan { table, columns, filter: Vec::new(), keys: KeyFilter::default(), pushed: Vec::new() }
    }

    /// Types of the output.
    pub(crate) fn types(&self) -> Vec<PgType> {
        self.columns.iter().map(|column| self.table.schema.columns[*column].pg_type).collect()
    }
}

impl Logical {
    /// One row without columns: what a query without FROM reads.
    pub(crate) fn one_row() -> Logical {
        Logical::Values { rows: vec![Vec::new()], types: Vec::new() }
    }

    /// The types of the columns.
    pub(crate) fn types(&self) -> Vec<PgType> {
        with_stack(|| self.types_here())
    }

    fn types_here(&self) -> Vec<PgType> {
        match self {
            Logical::Values { types, .. } | Logical::Shared { types, .. } => types.clone(),
            Logical::Recursive(recursive) => recursive.base.types(),
            Logical::Scan(scan) => scan.types(),
            Logical::Join(join) => {
                let types = join.input_types();
                join.output.iter().map(|column| types[*column]).collect()
            }
            Logical::ProjectSet(set) => {
                let mut types = set.input.types();
                types.extend(set.added_types());
                types
            }
            Logical::Combine(set) => set.types.clone(),
            Logical::Window(window) => {
                let mut types = window.input.types();
                types.extend(window.calls.iter().map(|call| call.pg_type));
                types
            }
            Logical::Apply(apply) => apply.types(),
            Logical::Project { exprs, .. } => exprs.iter().map(Expr::pg_type).collect(),
            Logical::Aggregate { groups, aggregates, .. } => {
                let groups = groups.iter().map(Expr::pg_type);
                groups.chain(aggregates.iter().map(|aggregate| aggregate.call.pg_type)).collect()
            }
            Logical::Filter { input, .. }
            | Logical::Distinct { input }
            | Logical::DistinctOn { input, .. }
            | Logical::EmptySets { input, .. }
            | Logical::Ties { input, .. }
            | Logical::Sort { input, .. }
            | Logical::Limit { input, .. }
            | Logical::LimitBy { input, .. } => input.types(),
            Logical::Expand { input, groups, .. } => {
                let mut types: Vec<PgType> = groups.iter().map(Expr::pg_type).collect();
                types.push(PgType::Int4);
                types.extend(input.types());
                types
            }
        }
    }

    /// The node that it reads, if it reads exactly one.
    pub(crate) fn input_mut(&mut self) -> Option<&mut Logical> {
        match self {
            Logical::ProjectSet(set) => Some(&mut set.input),
            Logical::Window(window) => Some(&mut window.input),
            Logical::Values { .. }
            | Logical::Scan(_)
            | Logical::Join(_)
            | Logical::Apply(_)
            | Logical::Shared { .. }
            | Logical::Recursive(_)
            | Logical::Combine(_) => None,
            Logical::Filter { input, .. }
            | Logical::Project { input, .. }
            | Logical::Aggregate { input, .. }
            | Logical::Distinct { input }
            | Logical::Expand { input, .. }
            | Logical::EmptySets { input, .. }
            | Logical::DistinctOn { input, .. }
            | Logical::Ties { input, .. }
            | Logical::Sort { input, .. }
            | Logical::Limit { input, .. }
            | Logical::LimitBy { input, .. } => Some(input),
        }
    }

    /// Replaces every node that it reads by what `change` answers.
    pub(crate) fn change_inputs(&mut self, mut change: impl FnMut(Logical) -> Logical) {
        let mut replace = |input: &mut Logical| {
            let below = std::mem::replace(input, Logical::one_row());
            *input = change(below);
        };
        if let Logical::Join(join) = self {
            replace(&mut join.left);
            replace(&mut join.right);
        } else if let Logical::Combine(set) = self {
            set.inputs.iter_mut().for_each(replace);
        } else if let Logical::Apply(apply) = self {
            replace(&mut apply.left);
            replace(&mut apply.right);
        } else if let Logical::Recursive(recursive) = self {
            replace(&mut recursive.base);
            replace(&mut recursive.step);
        } else if let Some(input) = self.input_mut() {
            replace(input);
        }
    }

    /// Calls `change` for every expression of this node, not of those below.
    pub(crate) fn for_each_expr(&mut self, mut change: impl FnMut(&mut Expr)) {
        match self {
            Logical::Values { rows, .. } => rows.iter_mut().flatten().for_each(change),
            Logical::Scan(scan) => scan.filter.iter_mut().for_each(change),
            Logical::Join(join) => join.conjuncts.iter_mut().chain(&mut join.mark).for_each(change),
            Logical::Apply(apply) => apply.exprs_mut().into_iter().for_each(change),
            Logical::ProjectSet(set) => {
                set.calls.iter_mut().flat_map(|call| &mut call.args).for_each(change);
            }
            Logical::Filter { conjuncts, .. } => conjuncts.iter_mut().for_each(change),
            Logical::Project { exprs, .. } => exprs.iter_mut().for_each(change),
            Logical::Aggregate { groups, aggregates, .. } => {
                groups.iter_mut().for_each(&mut change);
                for aggregate in aggregates {
                    aggregate.call.args.iter_mut().for_each(&mut change);
                    aggregate.filter.iter_mut().for_each(&mut change);
                }
            }
            Logical::Limit { limit, offset, .. } | Logical::LimitBy { limit, offset, .. } => {
                limit.iter_mut().for_each(&mut change);
                offset.iter_mut().for_each(change);
            }
            Logical::Window(window) => {
                window.calls.iter_mut().flat_map(WindowCall::exprs_mut).for_each(change);
            }
            Logical::Expand { groups, .. } => groups.iter_mut().for_each(change),
            Logical::Ties { limit, offset, .. } => std::iter::once(limit).chain(offset).for_each(change),
            Logical::EmptySets { aggregates, .. } => {
                aggregates.iter_mut().flat_map(|call| &mut call.args).for_each(change);
            }
            Logical::Shared { .. }
            | Logical::Recursive(_)
            | Logical::Combine(_)
            | Logical::Distinct { .. }
            | Logical::DistinctOn { .. }
            | Logical::Sort { .. } => {}
        }
    }

    /// The expressions of this node.
    fn exprs(&self) -> Vec<&Expr> {
        match self {
            Logical::Values { rows, .. } => rows.iter().flatten().collect(),
            Logical::Scan(scan) => scan.filter.iter().collect(),
            Logical::Join(join) => join.conjuncts.iter().chain(&join.mark).collect(),
            Logical::Apply(apply) => apply.exprs(),
            Logical::ProjectSet(set) => set.calls.iter().flat_map(|call| &call.args).collect(),
            Logical::Window(window) => window.calls.iter().flat_map(WindowCall::exprs).collect(),
            Logical::Filter { conjuncts, .. } => conjuncts.iter().collect(),
            Logical::Project { exprs, .. } => exprs.iter().collect(),
            Logical::Aggregate { groups, aggregates, .. } => {
                let parts = aggregates.iter().flat_map(|one| one.call.args.iter().chain(&one.filter));
                groups.iter().chain(parts).collect()
            }
            Logical::Limit { limit, offset, .. } | Logical::LimitBy { limit, offset, .. } => {
                limit.iter().chain(offset).collect()
            }
            Logical::Expand { groups, .. } => groups.iter().collect(),
            Logical::Ties { limit, offset, .. } => std::iter::once(limit).chain(offset).collect(),
            Logical::EmptySets { aggregates, .. } => aggregates.iter().flat_map(|call| &call.args).collect(),
            Logical::Shared { .. }
            | Logical::Recursive(_)
            | Logical::Combine(_)
            | Logical::Distinct { .. }
            | Logical::DistinctOn { .. }
            | Logical::Sort { .. } => Vec::new(),
        }
    }

    /// The nodes that it reads.
    pub(crate) fn inputs(&self) -> Vec<&Logical> {
        match self {
            Logical::Values { .. } | Logical::Scan(_) | Logical::Shared { .. } => Vec::new(),
            Logical::Recursive(recursive) => vec![&recursive.base, &recursive.step],
            Logical::Join(join) => vec![&join.left, &join.right],
            Logical::Apply(apply) => vec![&apply.left, &apply.right],
            Logical::ProjectSet(set) => vec![&set.input],
            Logical::Window(window) => vec![&window.input],
            Logical::Combine(set) => set.inputs.iter().collect(),
            Logical::Filter { input, .. }
            | Logical::Project { input, .. }
            | Logical::Aggregate { input, .. }
            | Logical::Distinct { input }
            | Logical::DistinctOn { input, .. }
            | Logical::Expand { input, .. }
            | Logical::EmptySets { input, .. }
            | Logical::Ties { input, .. }
            | Logical::Sort { input, .. }
            | Logical::Limit { input, .. }
            | Logical::LimitBy { input, .. } => vec![input],
        }
    }

    /// How many nodes are above one another.
    pub(crate) fn depth(&self) -> usize {
        with_stack(|| 1 + self.inputs().into_iter().map(Logical::depth).max().unwrap_or(0))
    }

    /// Calls `visit` for every part of every expression of this node and of those below.
    pub(crate) fn visit_exprs(&self, visit: &mut dyn FnMut(&Expr)) {
        with_stack(|| {
            self.exprs().into_iter().for_each(|expr| expr.visit(visit));
            self.inputs().into_iter().for_each(|input| input.visit_exprs(visit));
        });
    }

    /// The same plan with every part of every expression replaced by what `change` answers for it.
    pub(crate) fn transform_exprs(&mut self, change: &mut dyn FnMut(Expr) -> Expr) {
        with_stack(|| {
            self.for_each_expr(|expr| {
                let old = std::mem::replace(expr, Expr::Unknown(None));
                *expr = old.transform(change);
            });
            self.change_inputs(|mut input| {
                input.transform_exprs(change);
                input
            });
        });
    }
}
