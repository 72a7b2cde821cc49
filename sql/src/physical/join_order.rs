//! The order of inner joins, and how each of them finds partners.
//!
//! Greedy: of all pairs of inputs, those are joined first whose result is smallest, as if it were one input from then
//! on; pairs that no condition ties together come last. Numbers of rows are what the engine knows about the keys that
//! are scanned, times guesses for each other condition. Estimates decide what is fast, never what is answered.

use omen_core::types::{Datum, PgType};

use super::join::JoinPlan;
use super::{QueryPlan, ScanPlan, Source, Step};
use crate::expr::Expr;
use crate::fragment::Stage;
use crate::fragment::join::JoinKey;
use crate::rules::{is_volatile, renumber};

/// Share of rows for which an equality with a constant holds.
const EQUAL_SHARE: f64 = 0.1;

/// Share of rows in an interval with one end.
const RANGE_SHARE: f64 = 0.3;

/// Share of rows for which any other condition holds.
const OTHER_SHARE: f64 = 0.3;

/// Inputs in the order of their joins.
#[derive(Debug)]
pub(crate) enum JoinTree {
    /// An input of the plan.
    Input {
        /// Which.
        index: usize,
        /// The columns that it gives, counted over all inputs.
        columns: Vec<usize>,
    },
    /// Two parts.
    Join(Box<OrderedJoin>),
}

/// One join of two parts.
#[derive(Debug)]
pub(crate) struct OrderedJoin {
    /// The part whose rows come one batch after another and look for partners.
    pub(crate) probe: JoinTree,
    /// The part that is read first and kept in memory: the one with fewer rows.
    pub(crate) build: JoinTree,
    /// Equalities of both sides' expressions. None: every pair of rows is looked at.
    pub(crate) keys: Vec<JoinKey>,
    /// The other conditions, over the columns of the probe side, then the build side.
    pub(crate) conjuncts: Vec<Expr>,
    /// Whether rows of the probe side are given without a partner.
    pub(crate) keeps_probe: bool,
    /// Whether rows of the build side are.
    pub(crate) keeps_build: bool,
    /// Which columns of both sides are given.
    pub(crate) output: Vec<usize>,
    /// The same columns, counted over all inputs.
    pub(crate) columns: Vec<usize>,
    /// About how many rows come out.
    pub(crate) rows: f64,
}

impl JoinTree {
    /// The columns that it gives, counted over all inputs.
    pub(crate) fn columns(&self) -> &[usize] {
        match self {
            JoinTree::Input { columns, .. } => columns,
            JoinTree::Join(join) => &join.columns,
        }
    }
}

/// A set of inputs.
type Inputs = u128;

/// Some inputs that are joined already.
struct Part {
    tree: JoinTree,
    inputs: Inputs,
    rows: f64,
}

struct Condition {
    expr: Expr,
    /// The inputs that it reads.
    inputs: Inputs,
    used: bool,
}

/// A pair of parts that may come next.
struct Candidate {
    left: usize,
    right: usize,
    tied: bool,
    rows: f64,
}

struct Ordering<'a> {
    plan: &'a JoinPlan,
    offsets: Vec<usize>,
    conditions: Vec<Condition>,
    /// Rows of the tables that the inputs read, before their conditions.
    base_rows: Vec<f64>,
    /// Parts get the next number; those that were joined are gone.
    parts: Vec<Option<Part>>,
}

/// The order of a plan's joins. `scan_rows` tells about how many rows have the keys of each of its scans.
pub(crate) fn order(plan: &JoinPlan, scan_rows: &[u64]) -> JoinTree {
    let mut ordering = Ordering::new(plan, scan_rows);
    let mut candidates: Vec<Candidate> = Vec::new();
    for right in 0..plan.inputs.len() {
        candidates.extend((0..right).map(|left| ordering.candidate(left, right)));
    }
    let mut last = 0;
    // What is as good as anything else goes on with the newest part: fewer results of joins have to be kept.
    while let Some(best) = candidates.iter().min_by(|a, b| {
        let by_age = || (b.right, b.left).cmp(&(a.right, a.left));
        b.tied.cmp(&a.tied).then(a.rows.total_cmp(&b.rows)).then_with(by_age)
    }) {
        let (left, right, rows) = (best.left, best.right, best.rows);
        let gone = |part: usize| part == left || part == right;
        candidates.retain(|candidate| !gone(candidate.left) && !gone(candidate.right));
        last = ordering.join(left, right, rows);
        let rest = (0..last).filter(|part| ordering.parts[*part].is_some());
        candidates.extend(rest.map(|part| ordering.candidate(part, last)));
    }
    match ordering.parts[last].take() {
        Some(part) => part.tree,
        None => JoinTree::Input { index: 0, columns: Vec::new() },
    }
}

impl<'a> Ordering<'a> {
    fn new(plan: &'a JoinPlan, scan_rows: &[u64]) -> Ordering<'a> {
        let offsets = plan.offsets();
        let all: Inputs = (0..plan.inputs.len()).fold(0, |all, input| all | 1 << input);
        let conditions = plan.conjuncts.iter().map(|expr| {
            let inputs = if is_volatile(expr) { all } else { inputs_of(expr, &offsets) };
            Condition { expr: expr.clone(), inputs, used: false }
        });
        let conditions = conditions.collect();
        let (mut parts, mut base_rows, mut from) = (Vec::new(), Vec::new(), 0);
        for (index, input) in plan.inputs.iter().enumerate() {
            let count = input.scans().len();
            let scans = &scan_rows[from..from + count];
            from += count;
            let rows = plan_rows(input, scans);
            base_rows.push(match (&input.source, scans) {
                (Source::Scan(_), [base]) => (*base as f64).max(rows),
                _ => rows,
            });
            let columns = (offsets[index]..offsets[index + 1]).collect();
            let tree = JoinTree::Input { index, columns };
            parts.push(Some(Part { tree, inputs: 1 << index, rows }));
        }
        Ordering { plan, offsets, conditions, base_rows, parts }
    }

    fn part(&self, number: usize) -> &Part {
        self.parts[number].as_ref().expect("a candidate's parts are there")
    }

    fn candidate(&self, left: usize, right: usize) -> Candidate {
        let (tied, rows) = self.estimate(self.part(left), self.part(right));
        Candidate { left, right, tied, rows }
    }

    /// Whether a condition ties two parts together, and about how many rows their join has.
    fn estimate(&self, left: &Part, right: &Part) -> (bool, f64) {
        let both = left.inputs | right.inputs;
        let mut tied = false;
        let mut rows = left.rows * right.rows;
        let (mut left_keys, mut right_keys) = (1.0, 1.0);
        for condition in self.conditions.iter().filter(|c| !c.used && c.inputs & !both == 0) {
            tied |= condition.inputs & left.inputs != 0 && condition.inputs & right.inputs != 0;
            match self.key(&condition.expr, left.inputs, right.inputs) {
                Some((a, b)) => {
                    left_keys *= self.distinct(a);
                    right_keys *= self.distinct(b);
                }
                None => rows *= selectivity(&condition.expr),
            }
        }
        // Keys of several columns are not more than there are rows.
        let most = |inputs: Inputs| -> f64 {
            let bases = self.base_rows.iter().enumerate();
            bases.filter(|(input, _)| inputs & 1 << input != 0).map(|(_, rows)| *rows).fold(1.0, f64::max)
        };
        let distinct = left_keys.min(most(left.inputs)).max(right_keys.min(most(right.inputs)));
        rows = (rows / distinct.max(1.0)).max(1.0);
        if self.plan.kind.keeps_left() {
            rows = rows.max(left.rows);
        }
        if self.plan.kind.keeps_right() {
            rows = rows.max(right.rows);
        }
        (tied, rows)
    }

    /// The two sides of an equality of something on the left and something on the right, in that order.
    fn key<'e>(&self, expr: &'e Expr, left: Inputs, right: Inputs) -> Option<(&'e Expr, &'e Expr)> {
        let Expr::Call { function, args, .. } = expr else { return None };
        let [a, b] = args.as_slice() else { return None };
        if function.name != "=" || !can_hash(a.pg_type(), b.pg_type()) || is_volatile(expr) {
            return None;
        }
        let within = |expr: &Expr, part: Inputs| {
            let inputs = inputs_of(expr, &self.offsets);
            inputs != 0 && inputs & !part == 0
        };
        if within(a, left) && within(b, right) {
            Some((a, b))
        } else if within(a, right) && within(b, left) {
            Some((b, a))
        } else {
            None
        }
    }

    /// About how many different values an expression has.
    fn distinct(&self, expr: &Expr) -> f64 {
        let inputs = inputs_of(expr, &self.offsets);
        let input = inputs.trailing_zeros() as usize;
        let Some(base) = self.base_rows.get(input) else { return 1.0 };
        let column = match expr {
            Expr::Column { index, .. } => *index,
            Expr::Cast { arg, .. } => match **arg {
                Expr::Column { index, .. } => index,
                _ => return base.powf(0.75),
            },
            _ => return base.powf(0.75),
        };
        let plan = &self.plan.inputs[input];
        let traced = plan.table_column(column - self.offsets[input]);
        base.powf(match traced.map(|(scan, column)| (&scan.table.schema.key, column)) {
            Some((key, column)) if key.as_slice() == [column] => 1.0,
            Some((key, column)) if key.first() == Some(&column) => 0.9,
            _ => 0.75,
        })
    }

    /// Joins two parts; answers the number of the new one.
    fn join(&mut self, left: usize, right: usize, rows: f64) -> usize {
        let (left, right) = (self.parts[left].take(), self.parts[right].take());
        let left = left.expect("a candidate's parts are there");
        let right = right.expect("a candidate's parts are there");
        let inputs = left.inputs | right.inputs;
        let right_is_build = right.rows <= left.rows;
        let (keeps_left, keeps_right) = (self.plan.kind.keeps_left(), self.plan.kind.keeps_right());
        let (probe, build, keeps_probe, keeps_build) = match right_is_build {
            true => (left, right, keeps_left, keeps_right),
            false => (right, left, keeps_right, keeps_left),
        };
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for index in 0..self.conditions.len() {
            let condition = &self.conditions[index];
            if condition.used || condition.inputs & !inputs != 0 {
                continue;
            }
            match self.key(&condition.expr, probe.inputs, build.inputs) {
                Some((a, b)) => keys.push(JoinKey { probe: a.clone(), build: b.clone() }),
                None => others.push(condition.expr.clone()),
            }
            self.conditions[index].used = true;
        }
        let sides = [probe.tree.columns(), build.tree.columns()].concat();
        let columns: Vec<usize> = if inputs.count_ones() as usize == self.plan.inputs.len() {
            self.plan.output.clone()
        } else {
            sides.iter().copied().filter(|column| self.is_needed(*column)).collect()
        };
        for key in &mut keys {
            renumber(&mut key.probe, &|column| position(probe.tree.columns(), column));
            renumber(&mut key.build, &|column| position(build.tree.columns(), column));
        }
        others.iter_mut().for_each(|expr| renumber(expr, &|column| position(&sides, column)));
        let join = OrderedJoin {
            output: columns.iter().map(|column| position(&sides, *column)).collect(),
            columns,
            probe: probe.tree,
            build: build.tree,
            keys,
            conjuncts: others,
            keeps_probe,
            keeps_build,
            rows,
        };
        self.parts.push(Some(Part { tree: JoinTree::Join(Box::new(join)), inputs, rows }));
        self.parts.len() - 1
    }

    /// Whether a column is given in the end or read by a condition that is still to come.
    fn is_needed(&self, column: usize) -> bool {
        let reads = |expr: &Expr| {
            let mut found = false;
            expr.visit(&mut |part| found |= matches!(part, Expr::Column { index, .. } if *index == column));
            found
        };
        self.plan.output.contains(&column)
            || self.conditions.iter().any(|condition| !condition.used && reads(&condition.expr))
    }
}

fn position(columns: &[usize], column: usize) -> usize {
    columns.iter().position(|known| *known == column).expect("a part keeps what is needed")
}

fn inputs_of(expr: &Expr, offsets: &[usize]) -> Inputs {
    let mut inputs = 0;
    expr.visit(&mut |part| {
        if let Expr::Column { index, .. } = part {
            inputs |= 1 << (offsets.partition_point(|offset| offset <= index) - 1);
        }
    });
    inputs
}

/// Whether equal values of these types have equal bytes in `RowKeys`.
fn can_hash(a: PgType, b: PgType) -> bool {
    let kind = |pg_type: PgType| match pg_type.base() {
        PgType::Varchar(_) => PgType::Text,
        other => other,
    };
    kind(a) == kind(b) && !matches!(a, PgType::Json | PgType::Jsonb)
}

impl QueryPlan {
    /// The scan and the table's column that one of its columns is, if it is one just as it was read, and if leaving
    /// out rows by it where they are read gives the same as leaving them out here.
    pub(crate) fn table_column(&self, column: usize) -> Option<(&ScanPlan, usize)> {
        let Source::Scan(scan) = &self.source else { return None };
        let column = below_steps(&self.steps, column)?;
        let column = below_steps(&scan.fragment, column)?;
        Some((scan, scan.columns[column]))
    }
}

/// The column of their input that a column of steps is.
pub(crate) fn below_steps(steps: &[Step], mut column: usize) -> Option<usize> {
    for step in steps.iter().rev() {
        match step {
            Step::Stage(Stage::Filter(_) | Stage::Sort(_)) => {}
            Step::Stage(Stage::Project(exprs)) => match exprs.get(column)? {
                Expr::Column { index, .. } => column = *index,
                _ => return None,
            },
            _ => return None,
        }
    }
    Some(column)
}

/// Rows of a function that answers rows; the same guess as PostgreSQL's for arrays.
const SET_ROWS: f64 = 10.0;

/// About how many rows a plan gives.
pub(crate) fn plan_rows(plan: &QueryPlan, scan_rows: &[u64]) -> f64 {
    let mut rows = match (&plan.source, scan_rows) {
        (Source::Values { rows, .. }, _) => rows.len() as f64,
        (Source::Point(_), _) => 1.0,
        (Source::Scan(scan), [rows, ..]) => {
            let pushed = scan.pushed.iter().map(|pushed| selectivity(&pushed.expr)).product::<f64>();
            after_steps(&scan.fragment, *rows as f64 * pushed)
        }
        (Source::Scan(_), []) => 1.0,
        (Source::Join(join), _) => match order(join, scan_rows) {
            JoinTree::Join(join) => join.rows,
            JoinTree::Input { .. } => 1.0,
        },
        (Source::Set(set), _) => SET_ROWS * plan_rows(&set.input, scan_rows),
        (Source::Combine(set), _) => set.rows(scan_rows),
    };
    rows = after_steps(&plan.steps, rows);
    rows.max(1.0)
}

fn after_steps(steps: &[Step], mut rows: f64) -> f64 {
    for step in steps {
        rows = match step {
            Step::Stage(Stage::Filter(conjuncts)) => {
                rows * conjuncts.iter().map(selectivity).product::<f64>()
            }
            Step::Stage(Stage::Aggregate { groups, .. }) if groups.is_empty() => 1.0,
            Step::Stage(Stage::Aggregate { mode: crate::fragment::AggregateMode::Partial, .. }) => rows,
            Step::Stage(Stage::Aggregate { .. }) => rows.powf(0.8),
            Step::TopK { limit, .. }
            | Step::AtMost { limit, .. }
            | Step::Ties { limit, .. }
            | Step::Limit { limit: Some(limit), .. } => match limit {
                Expr::Literal { value: Datum::Int8(count), .. } => rows.min((*count).max(0) as f64),
                _ => rows,
            },
            Step::Stage(_) | Step::Limit { .. } => rows,
        };
    }
    rows
}

/// A guess at the share of rows for which a condition is true.
fn selectivity(condition: &Expr) -> f64 {
    match condition {
        Expr::And(parts) => parts.iter().map(selectivity).product(),
        Expr::Or(parts) => 1.0 - parts.iter().map(|part| 1.0 - selectivity(part)).product::<f64>(),
        Expr::Not(arg) => 1.0 - selectivity(arg),
        Expr::IsNull { negated, .. } => {
            if *negated {
                1.0 - EQUAL_SHARE
            } else {
                EQUAL_SHARE
            }
        }
        Expr::InList { list, negated, .. } => {
            let share = (EQUAL_SHARE * list.len() as f64).min(0.5);
            if *negated { 1.0 - share } else { share }
        }
        Expr::Call { function, .. } => match function.name {
            "=" => EQUAL_SHARE,
            "<>" => 1.0 - EQUAL_SHARE,
            "<" | "<=" | ">" | ">=" => RANGE_SHARE,
            _ => OTHER_SHARE,
        },
        Expr::Literal { value: Datum::Bool(true), .. } => 1.0,
        Expr::Literal { .. } => 0.0,
        _ => OTHER_SHARE,
    }
}
