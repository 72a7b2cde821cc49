//! The order of inner joins, and how each of them finds partners.
//!
//! Greedy: of all pairs of inputs, those are joined first whose result is smallest, as if it were one input from then
//! on; pairs that no condition ties together come last. Numbers of rows are `estimate`'s: an equality holds for one of as
//! many pairs as the side with more values has different ones, and a row has at most one partner by a whole primary key.
//! Columns that are equal to the same column are equal (`equal`): what follows ties inputs together as what was written
//! does, and what is known already is not asked again. Estimates decide what is fast, never what is answered.

use omen_core::types::PgType;

use super::equal::{Equal, equal_columns};
use super::estimate::{ScanEstimate, below_groups, plan_distinct, plan_rows, selectivity};
use super::join::{JoinPlan, Role};
use super::{QueryPlan, ScanPlan, Source, Step};
use crate::expr::Expr;
use crate::fragment::Stage;
use crate::fragment::join::{Gives, JoinKey};
use crate::logical::JoinKind;
use crate::rules::{is_volatile, renumber};

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
    /// The inputs in it.
    pub(crate) fn inputs(&self) -> Inputs {
        match self {
            JoinTree::Input { index, .. } => 1 << index,
            JoinTree::Join(join) => join.probe.inputs() | join.build.inputs(),
        }
    }

    /// The columns that it gives, counted over all inputs.
    pub(crate) fn columns(&self) -> &[usize] {
        match self {
            JoinTree::Input { columns, .. } => columns,
            JoinTree::Join(join) => &join.columns,
        }
    }
}

/// What a filtered group costs to keep in memory, compared with another row.
const FILTERED_GROUPS_COST: f64 = 0.25;

/// A set of inputs.
pub(crate) type Inputs = u128;

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
    /// The columns that conditions make equal in the end.
    classes: Vec<Vec<usize>>,
    /// The columns that are equal in the parts as they are.
    equal: Equal,
    /// What is known about the scans of each input.
    scans: Vec<&'a [ScanEstimate]>,
    /// Rows of the tables that the inputs read, before their conditions.
    base_rows: Vec<f64>,
    /// Parts get the next number; those that were joined are gone.
    parts: Vec<Option<Part>>,
}

/// The order of a plan's joins. `scans` tells about each of its scans.
pub(crate) fn order(plan: &JoinPlan, scans: &[ScanEstimate]) -> JoinTree {
    let mut ordering = Ordering::new(plan, scans);
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
    fn new(plan: &'a JoinPlan, estimates: &'a [ScanEstimate]) -> Ordering<'a> {
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
        let conditions: Vec<Condition> = conditions.collect();
        let mut in_the_end = Equal::new(offsets[offsets.len() - 1]);
        let of_inner = conditions.iter().filter(|condition| condition.of.is_none());
        for condition in of_inner.filter(|_| plan.kind == JoinKind::Inner) {
            if let Some((a, b)) = equal_columns(&condition.expr) {
                in_the_end.add(a, b);
            }
        }
        let (mut parts, mut base_rows, mut of_inputs, mut from) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (index, input) in plan.inputs.iter().enumerate() {
            let count = input.scans().len();
            let scans = &estimates[from..from + count];
            from += count;
            let rows = plan_rows(input, scans);
            of_inputs.push(scans);
            base_rows.push(match (&input.source, scans) {
                (Source::Scan(_), [base]) => base.rows.max(rows),
                _ => rows,
            });
            let columns = (offsets[index]..offsets[index + 1]).collect();
            let tree = JoinTree::Input { index, columns };
            parts.push(Some(Part { tree, role: plan.roles[index], inputs: 1 << index, rows }));
        }
        let equal = Equal::new(offsets[offsets.len() - 1]);
        let (classes, scans) = (in_the_end.classes(), of_inputs);
        Ordering { plan, offsets, conditions, classes, equal, scans, base_rows, parts }
    }

    /// The input whose column this is.
    fn input_of(&self, column: usize) -> usize {
        self.offsets.partition_point(|offset| *offset <= column) - 1
    }

    /// The conditions that a join of two sets of inputs must ask, which are all that can be asked then and are not known
    /// to hold, and what else is known to be equal then.
    fn asked(&self, left: Inputs, right: Inputs, of: Option<usize>) -> (Vec<Expr>, Equal) {
        let (mut asked, mut equal) = (Vec::new(), self.equal.clone());
        let open = |c: &&Condition| !c.used && c.of == of && c.inputs & !(left | right) == 0;
        for condition in self.conditions.iter().filter(open) {
            match equal_columns(&condition.expr) {
                Some((a, b)) if of.is_none() && self.plan.kind == JoinKind::Inner => {
                    if !equal.knows(a, b) {
                        equal.add(a, b);
                        asked.push(condition.expr.clone());
                    }
                }
                _ => asked.push(condition.expr.clone()),
            }
        }
        for class in self.classes.iter().filter(|_| of.is_none()) {
            let within = |side: Inputs| {
                class.iter().copied().filter(move |column| side & 1 << self.input_of(*column) != 0)
            };
            // All of a class within a part of several inputs are equal; columns of one input need not be.
            for (a, b) in within(left).zip(within(right)).take(1) {
                if !equal.knows(a, b) {
                    equal.add(a, b);
                    asked.extend(self.equality(a, b));
                }
            }
        }
        (asked, equal)
    }

    /// The condition that two columns of a class are equal.
    fn equality(&self, a: usize, b: usize) -> Option<Expr> {
        let columns = |expr: &Expr| equal_columns(expr).map(|(one, other)| [one, other]);
        let reads = |expr: &Expr| columns(expr).is_some_and(|both| both.contains(&a) || both.contains(&b));
        let mut written = self.conditions.iter().map(|condition| &condition.expr);
        let mut expr = written.find(|expr| reads(expr))?.clone();
        if let Expr::Call { args, .. } = &mut expr
            && let [Expr::Column { index: one, .. }, Expr::Column { index: other, .. }] = args.as_mut_slice()
        {
            (*one, *other) = (a, b);
        }
        Some(expr)
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
        let mut tied = false;
        let mut rows = left.rows * right.rows;
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        let (asked, _) = self.asked(left.inputs, right.inputs, of);
        for condition in &asked {
            let inputs = inputs_of(condition, &self.offsets);
            tied |= inputs & left.inputs != 0 && inputs & right.inputs != 0;
            match self.key(condition, left.inputs, right.inputs) {
                Some((a, b, _)) => {
                    left_keys.push(a);
                    right_keys.push(b);
                }
                None => rows *= selectivity(condition),
            }
        }
        // A key that is unique on one side is a foreign key on the other: it has no other values there.
        let distinct = match (self.distinct_keys(&left_keys), self.distinct_keys(&right_keys)) {
            ((one, true), (_, false)) | ((_, false), (one, true)) => one,
            ((one, _), (other, _)) => one.max(other),
        };
        rows = (rows / distinct.max(1.0)).max(1.0);
        if self.plan.kind.keeps_left() {
            rows = rows.max(left.rows);
        }
        if self.plan.kind.keeps_right() {
            rows = rows.max(right.rows);
        }
        (tied, rows)
    }

    /// About how many different values keys of one side have together, and whether a table's whole primary key is among
    /// them.
    fn distinct_keys(&self, keys: &[&Expr]) -> (f64, bool) {
        let keys = self.as_few_inputs(keys);
        let (mut all, mut is_unique) = (1.0, false);
        let mut inputs = keys.iter().fold(0, |inputs, key| inputs | inputs_of(key, &self.offsets));
        while inputs != 0 {
            let input = inputs.trailing_zeros() as usize;
            inputs &= inputs - 1;
            let of_input = |key: &&Expr| inputs_of(key, &self.offsets).trailing_zeros() as usize == input;
            let product: f64 = keys.iter().filter(of_input).map(|key| self.distinct(key)).product();
            // Keys of several columns are not more than there are rows.
            let rows = self.base_rows[input];
            let columns = keys.iter().filter(of_input).filter_map(|key| self.table_column(key));
            let columns: Vec<(&ScanPlan, usize)> = columns.collect();
            let is_whole = columns.first().is_some_and(|(scan, _)| {
                let key = &scan.table.schema.key;
                !key.is_empty() && key.iter().all(|part| columns.iter().any(|(_, column)| column == part))
            });
            is_unique |= is_whole;
            all *= if is_whole { rows } else { product.min(rows) };
        }
        (all, is_unique)
    }

    /// Keys of one side, as columns of one input if each of them is equal to one: what is known about that input's columns
    /// together tells more than what is known about columns of several.
    fn as_few_inputs(&self, keys: &[&Expr]) -> Vec<Expr> {
        let as_written = || keys.iter().map(|key| (*key).clone()).collect();
        let Some(columns) = keys.iter().map(|key| column_of(key)).collect::<Option<Vec<usize>>>() else {
            return as_written();
        };
        let Some((first, rest)) = columns.split_first() else { return as_written() };
        if rest.iter().all(|column| self.input_of(*column) == self.input_of(*first)) {
            return as_written();
        }
        let equal_in = |column: usize, input: usize| {
            let known = |other: &usize| *other == column || self.equal.knows(column, *other);
            (self.offsets[input]..self.offsets[input + 1]).find(known)
        };
        for input in 0..self.plan.inputs.len() {
            let found: Option<Vec<usize>> = columns.iter().map(|column| equal_in(*column, input)).collect();
            let column = |(index, key): (usize, &&Expr)| Expr::Column { index, pg_type: key.pg_type() };
            if let Some(found) = found {
                return found.into_iter().zip(keys).map(column).collect();
            }
        }
        as_written()
    }

    /// The table's column that an expression of one input is, in a wider type perhaps.
    fn table_column(&self, expr: &Expr) -> Option<(&ScanPlan, usize)> {
        let column = column_of(expr)?;
        let input = self.input_of(column);
        self.plan.inputs[input].table_column(column - self.offsets[input])
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
        let input = inputs_of(expr, &self.offsets).trailing_zeros() as usize;
        let Some(rows) = self.base_rows.get(input) else { return 1.0 };
        let known = column_of(expr).and_then(|column| {
            plan_distinct(&self.plan.inputs[input], self.scans[input], column - self.offsets[input])
        });
        known.unwrap_or_else(|| rows.powf(0.75))
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

    /// How many rows it is like to keep a part in memory. Groups of which a condition leaves some have to be there anyway
    /// before the first of them is known; what is left of them narrows the scans of the other side.
    fn build_cost(&self, part: &Part) -> f64 {
        let JoinTree::Input { index, .. } = &part.tree else { return part.rows };
        let mut steps = self.plan.inputs[*index].steps.iter();
        let groups = steps.any(|step| {
            let Step::Stage(Stage::Aggregate { groups, .. }) = step else { return false };
            !groups.is_empty()
        });
        match groups && steps.any(|step| matches!(step, Step::Stage(Stage::Filter(_)))) {
            true => part.rows * FILTERED_GROUPS_COST,
            false => part.rows,
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
        let right_is_build =
            self.build_cost(&right) <= self.build_cost(&left) || self.plan.kind == JoinKind::Mark;
        let mut gives = self.gives(role, right_is_build);
        let (keeps_left, keeps_right) = (self.plan.kind.keeps_left(), self.plan.kind.keeps_right());
        let (probe, build, keeps_probe, keeps_build) = match right_is_build {
            true => (left, right, keeps_left, keeps_right),
            false => (right, left, keeps_right, keeps_left),
        };
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        let (asked, equal) = self.asked(probe.inputs, build.inputs, of);
        for condition in asked {
            match self.key(&condition, probe.inputs, build.inputs) {
                Some((a, b, null_safe)) => {
                    keys.push(JoinKey { probe: a.clone(), build: b.clone(), null_safe });
                }
                None => others.push(condition),
            }
        }
        self.equal = equal;
        let answered = |c: &&mut Condition| c.of == of && c.inputs & !inputs == 0;
        self.conditions.iter_mut().filter(answered).for_each(|condition| condition.used = true);
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
            sides.iter().copied().filter(|column| self.is_needed(*column, inputs)).collect()
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

    /// Whether a column of some inputs is given in the end or read by a condition that is still to come.
    fn is_needed(&self, column: usize, inputs: Inputs) -> bool {
        let reads = |expr: &Expr| {
            let mut found = false;
            expr.visit(&mut |part| found |= matches!(part, Expr::Column { index, .. } if *index == column));
            found
        };
        self.plan.output.contains(&column)
            || self.conditions.iter().any(|condition| !condition.used && reads(&condition.expr))
            || self.classes.iter().any(|class| {
                let elsewhere = |column: &usize| inputs & 1 << self.input_of(*column) == 0;
                class.contains(&column) && class.iter().any(elsewhere)
            })
    }
}

fn position(columns: &[usize], column: usize) -> usize {
    columns.iter().position(|known| *known == column).expect("a part keeps what is needed")
}

/// The column that an expression is, in a wider type perhaps.
fn column_of(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column { index, .. } => Some(*index),
        Expr::Cast { arg, .. } => column_of(arg),
        _ => None,
    }
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

impl QueryPlan {
    /// As [`QueryPlan::table_column`], of a scan, also through groupings.
    pub(crate) fn narrowed_column(&self, column: usize) -> Option<usize> {
        let Source::Scan(scan) = &self.source else { return None };
        let column = below_groups(&self.steps, column)?;
        let column = below_groups(&scan.fragment, column)?;
        Some(scan.columns[column])
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
