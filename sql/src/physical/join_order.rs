//! The order of inner joins, and how each of them finds partners.
//!
//! Greedy: of all pairs of inputs, those are joined first whose result is smallest, as if it were one input from then
//! on; pairs that no condition ties together come last. Numbers of rows are what the engine knows about the keys that
//! are scanned, times guesses for each other condition. Estimates decide what is fast, never what is answered.

use omen_core::types::{Datum, PgType};

use super::join::{JoinPlan, Role};
use super::{QueryPlan, ScanPlan, Source, Step};
use crate::expr::Expr;
use crate::fragment::Stage;
use crate::fragment::join::{Gives, JoinKey};
use crate::logical::JoinKind;
use crate::rules::{is_volatile, renumber};

/// Share of rows for which an equality with a constant holds.
const EQUAL_SHARE: f64 = 0.1;

/// Share of rows in an interval with one end.
const RANGE_SHARE: f64 = 0.3;

/// Share of rows for which any other condition holds.
const OTHER_SHARE: f64 = 0.3;

/// Rows of a shared table, of which nothing is known.
const SHARED_ROWS: f64 = 1_000.0;

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
    /// What is given.
    pub(crate) gives: Gives,
    /// Whether pairs are followed by rows of the probe side without a partner.
    pub(crate) keeps_probe: bool,
    /// Whether rows of the build side are.
    pub(crate) keeps_build: bool,
    /// Which columns of both sides are given; a mark is behind them.
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
    role: Role,
    inputs: Inputs,
    rows: f64,
}

struct Condition {
    expr: Expr,
    /// The inputs that it reads.
    inputs: Inputs,
    /// The semi or anti joined input whose partners it describes.
    of: Option<usize>,
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
        candidates.extend((0..right).filter_map(|left| ordering.candidate(left, right)));
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
        candidates.extend(rest.filter_map(|part| ordering.candidate(part, last)));
    }
    match ordering.parts[last].take() {
        Some(part) => part.tree,
        None => JoinTree::Input { index: 0, columns: Vec::new() },
    }
}

impl<'a> Ordering<'a> {
    fn new(plan: &'a JoinPlan, scan_rows: &[u64]) -> Ordering<'a> {
        let offsets = plan.offsets();
        let joined = (0..plan.inputs.len()).filter(|input| plan.roles[*input] == Role::Joined);
        let all: Inputs = joined.fold(0, |all, input| all | 1 << input);
        let conditions = plan.conjuncts.iter().map(|tie| {
            let inputs = match tie.of {
                None if is_volatile(&tie.expr) => all,
                _ => inputs_of(&tie.expr, &offsets),
            };
            Condition { expr: tie.expr.clone(), inputs, of: tie.of, used: false }
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
            parts.push(Some(Part { tree, role: plan.roles[index], inputs: 1 << index, rows }));
        }
        Ordering { plan, offsets, conditions, base_rows, parts }
    }

    fn part(&self, number: usize) -> &Part {
        self.parts[number].as_ref().expect("a candidate's parts are there")
    }

    /// Two parts that may come next. Inputs of semi and anti joins come once all is there that decides on partners.
    fn candidate(&self, left: usize, right: usize) -> Option<Candidate> {
        let (a, b) = (self.part(left), self.part(right));
        let (rows, asked) = match (a.role, b.role) {
            (Role::Joined, Role::Joined) => {
                let (tied, rows) = self.estimate(a, b, None);
                return Some(Candidate { left, right, tied, rows });
            }
            (Role::Joined, _) => (a, b),
            (_, Role::Joined) => (b, a),
            _ => return None,
        };
        let of = asked.inputs.trailing_zeros() as usize;
        let both = rows.inputs | asked.inputs;
        if self.conditions.iter().any(|c| c.of == Some(of) && c.inputs & !both != 0) {
            return None;
        }
        let (tied, pairs) = self.estimate(rows, asked, Some(of));
        let with_partner = pairs.min(rows.rows);
        let estimate = match asked.role {
            Role::Anti => (rows.rows - with_partner).max(0.1 * rows.rows),
            _ => with_partner,
        };
        Some(Candidate { left, right, tied, rows: estimate.max(1.0) })
    }

    /// Whether a condition ties two parts together, and about how many rows their join has.
    fn estimate(&self, left: &Part, right: &Part, of: Option<usize>) -> (bool, f64) {
        let both = left.inputs | right.inputs;
        let mut tied = false;
        let mut rows = left.rows * right.rows;
        let (mut left_keys, mut right_keys) = (1.0, 1.0);
        let open = |c: &&Condition| !c.used && c.of == of && c.inputs & !both == 0;
        for condition in self.conditions.iter().filter(open) {
            tied |= condition.inputs & left.inputs != 0 && condition.inputs & right.inputs != 0;
            match self.key(&condition.expr, left.inputs, right.inputs) {
                Some((a, b, _)) => {
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
    /// Whether NULL is equal to NULL there follows.
    fn key<'e>(&self, expr: &'e Expr, left: Inputs, right: Inputs) -> Option<(&'e Expr, &'e Expr, bool)> {
        let (a, b, null_safe) = match expr {
            Expr::Call { function, args, .. } if function.name == "=" => match args.as_slice() {
                [a, b] => (a, b, false),
                _ => return None,
            },
            Expr::IsDistinct { left, right, negated: true } => (&**left, &**right, true),
            _ => return None,
        };
        if !can_hash(a.pg_type(), b.pg_type()) || is_volatile(expr) {
            return None;
        }
        let within = |expr: &Expr, part: Inputs| {
            let inputs = inputs_of(expr, &self.offsets);
            inputs != 0 && inputs & !part == 0
        };
        if within(a, left) && within(b, right) {
            Some((a, b, null_safe))
        } else if within(a, right) && within(b, left) {
            Some((b, a, null_safe))
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

    /// What a join with a part of this role gives.
    fn gives(&self, role: Role, right_is_build: bool) -> Gives {
        match (role, self.plan.kind) {
            (Role::Semi, _) => Gives::Rows { of_build: !right_is_build, with_partner: true },
            (Role::Anti, _) => Gives::Rows { of_build: !right_is_build, with_partner: false },
            (Role::Joined, JoinKind::Single) => Gives::SinglePairs { of_build: !right_is_build },
            (Role::Joined, JoinKind::Mark) => match &self.plan.mark {
                Some(mark) => Gives::Mark(Some(mark.clone())),
                None => Gives::Exists,
            },
            (Role::Joined, _) => Gives::Pairs,
        }
    }

    /// Joins two parts; answers the number of the new one.
    fn join(&mut self, left: usize, right: usize, rows: f64) -> usize {
        let (left, right) = (self.parts[left].take(), self.parts[right].take());
        let mut left = left.expect("a candidate's parts are there");
        let mut right = right.expect("a candidate's parts are there");
        if left.role != Role::Joined {
            std::mem::swap(&mut left, &mut right);
        }
        let inputs = left.inputs | right.inputs;
        let role = right.role;
        let of = (role != Role::Joined).then_some(right.inputs.trailing_zeros() as usize);
        let right_is_build = right.rows <= left.rows || self.plan.kind == JoinKind::Mark;
        let mut gives = self.gives(role, right_is_build);
        let (keeps_left, keeps_right) = (self.plan.kind.keeps_left(), self.plan.kind.keeps_right());
        let (probe, build, keeps_probe, keeps_build) = match right_is_build {
            true => (left, right, keeps_left, keeps_right),
            false => (right, left, keeps_right, keeps_left),
        };
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for index in 0..self.conditions.len() {
            let condition = &self.conditions[index];
            if condition.used || condition.of != of || condition.inputs & !inputs != 0 {
                continue;
            }
            match self.key(&condition.expr, probe.inputs, build.inputs) {
                Some((a, b, null_safe)) => {
                    keys.push(JoinKey { probe: a.clone(), build: b.clone(), null_safe });
                }
                None => others.push(condition.expr.clone()),
            }
            self.conditions[index].used = true;
        }
        // A mark that asks for nothing but equality is found by key; NULLs are told apart there.
        if let Gives::Mark(mark) = &mut gives
            && keys.is_empty()
            && others.is_empty()
            && let Some((a, b, false)) =
                mark.as_ref().and_then(|mark| self.key(mark, probe.inputs, build.inputs))
        {
            keys.push(JoinKey { probe: a.clone(), build: b.clone(), null_safe: false });
            *mark = None;
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
        if let Gives::Mark(Some(mark)) = &mut gives {
            renumber(mark, &|column| position(&sides, column));
        }
        let mark = self.offsets[self.offsets.len() - 1];
        let place = |column: &usize| if *column == mark { sides.len() } else { position(&sides, *column) };
        let join = OrderedJoin {
            output: columns.iter().map(place).collect(),
            gives,
            columns,
            probe: probe.tree,
            build: build.tree,
            keys,
            conjuncts: others,
            keeps_probe,
            keeps_build,
            rows,
        };
        let tree = JoinTree::Join(Box::new(join));
        self.parts.push(Some(Part { tree, role: Role::Joined, inputs, rows }));
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
        (Source::Shared { .. } | Source::Recursive(_), _) => SHARED_ROWS,
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
            Step::Stage(_) | Step::Limit { .. } | Step::LimitBy { .. } => rows,
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
