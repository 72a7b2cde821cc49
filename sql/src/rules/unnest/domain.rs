//! The general way of unnesting: the inner query is evaluated for all values of the outer columns that it reads.
//!
//! Every node gives its own columns and behind them those values, which say for which outer rows its rows are.

use omen_core::types::{Datum, PgType};

use super::pull::{Pulled, of_no_rows};
use super::{columns_of, joined, shifted};
use crate::expr::Expr;
use crate::expr::aggregate::AggregateCall;
use crate::logical::apply::{is_outer, reads_outer};
use crate::logical::{
    Aggregate, Apply, Join, JoinKind, Logical, ProjectSet, Recursive, SetOperation, SortKey, Window,
    WindowCall,
};
use crate::parse::with_stack;

/// The outer columns that a query reads.
#[derive(Clone)]
struct Domain {
    scope: usize,
    columns: Vec<(usize, PgType)>,
    /// Their values, each combination once.
    values: Logical,
    /// Tables of recursive queries around a part of the plan: their rows have the values, too.
    working: Vec<usize>,
}

/// A dependent join whose inputs have none, as a join with the query for all values.
pub(super) fn unnest(apply: Apply) -> Logical {
    let domain = Domain::of(&apply);
    let width = apply.right.types().len();
    let plan = domain.push(&apply.right);
    let mut outputs = columns_of(&plan);
    let values = outputs.split_off(width);
    let same = domain.columns.iter().zip(values).map(|((index, pg_type), value)| {
        let outer = Expr::Outer { scope: apply.scope, index: *index, pg_type: *pg_type };
        same(outer, value)
    });
    let conjuncts = same.collect();
    joined(apply, Pulled { plan, outputs, conjuncts, missing: None })
}

/// The order of the rows of a plan.
fn order_of(plan: &Logical) -> &[SortKey] {
    match plan {
        Logical::Sort { keys, .. } => keys,
        Logical::DistinctOn { input, .. } | Logical::Ties { input, .. } => order_of(input),
        _ => &[],
    }
}

/// Equal, or both NULL.
fn same(left: Expr, right: Expr) -> Expr {
    Expr::IsDistinct { left: Box::new(left), right: Box::new(right), negated: true }
}

impl Domain {
    fn of(apply: &Apply) -> Domain {
        let mut columns: Vec<(usize, PgType)> = Vec::new();
        apply.right.visit_exprs(&mut |part| match part {
            Expr::Outer { index, pg_type, .. }
                if is_outer(part, apply.scope) && !columns.iter().any(|(known, _)| known == index) =>
            {
                columns.push((*index, *pg_type));
            }
            _ => {}
        });
        let exprs = columns.iter().map(|(index, pg_type)| Expr::Column { index: *index, pg_type: *pg_type });
        let input = Logical::Project { input: Box::new(apply.left.clone()), exprs: exprs.collect() };
        let values = Logical::Distinct { input: Box::new(input) };
        Domain { scope: apply.scope, columns, values, working: Vec::new() }
    }

    fn width(&self) -> usize {
        self.columns.len()
    }

    /// An expression that reads the values at these columns.
    fn over(&self, expr: &Expr, first: usize) -> Expr {
        expr.clone().transform(&mut |part| match &part {
            Expr::Outer { index, pg_type, .. } if is_outer(&part, self.scope) => {
                let position = self.columns.iter().position(|(known, _)| known == index);
                let position = position.expect("all columns were collected");
                Expr::Column { index: first + position, pg_type: *pg_type }
            }
            _ => part,
        })
    }

    fn all_over(&self, exprs: &[Expr], first: usize) -> Vec<Expr> {
        exprs.iter().map(|expr| self.over(expr, first)).collect()
    }

    /// The values as columns from here on.
    fn columns_at(&self, first: usize) -> impl Iterator<Item = Expr> + '_ {
        let column = move |(position, (_, pg_type)): (usize, &(usize, PgType))| Expr::Column {
            index: first + position,
            pg_type: *pg_type,
        };
        self.columns.iter().enumerate().map(column)
    }

    /// The plan's columns, then the values for which its rows are.
    fn push(&self, plan: &Logical) -> Logical {
        if !self.concerns(plan) {
            let join = Join::new(plan.clone(), self.values.clone(), JoinKind::Inner, Vec::new());
            return Logical::Join(Box::new(join));
        }
        with_stack(|| self.push_node(plan))
    }

    /// Whether rows of the plan are for some values only.
    fn concerns(&self, plan: &Logical) -> bool {
        plan.reads_outer(self.scope) || self.working.iter().any(|table| plan.reads_shared(*table))
    }

    fn push_node(&self, plan: &Logical) -> Logical {
        match plan {
            Logical::Values { rows, types } => self.push_values(rows, types),
            Logical::Filter { input, conjuncts } => {
                let width = input.types().len();
                let conjuncts = self.all_over(conjuncts, width);
                Logical::Filter { input: Box::new(self.push(input)), conjuncts }
            }
            Logical::Project { input, exprs } => {
                let width = input.types().len();
                let mut exprs = self.all_over(exprs, width);
                exprs.extend(self.columns_at(width));
                Logical::Project { input: Box::new(self.push(input)), exprs }
            }
            Logical::Aggregate { input, groups, aggregates } => {
                self.push_aggregate(input, groups, aggregates)
            }
            Logical::Distinct { input } => Logical::Distinct { input: Box::new(self.push(input)) },
            Logical::Sort { input, keys } => {
                Logical::Sort { input: Box::new(self.push(input)), keys: keys.clone() }
            }
            Logical::Limit { input, limit, offset } => {
                self.push_limit(input, &[], order_of(input), [limit.as_ref(), offset.as_ref()], false)
            }
            Logical::Ties { input, limit, offset, .. } => {
                self.push_limit(input, &[], order_of(input), [Some(limit), offset.as_ref()], true)
            }
            Logical::LimitBy { input, groups, keys, limit, offset, with_ties } => {
                self.push_limit(input, groups, keys, [limit.as_ref(), offset.as_ref()], *with_ties)
            }
            Logical::DistinctOn { input, columns } => {
                let (below, order) = self.sorted(input);
                let columns = self.positions(input).chain(columns.iter().copied()).collect();
                let input = Box::new(Logical::Sort { input: Box::new(self.push(below)), keys: order });
                Logical::DistinctOn { input, columns }
            }
            Logical::Expand { input, groups, sets } => {
                let groups = self.all_over(groups, input.types().len());
                Logical::Expand { input: Box::new(self.push(input)), groups, sets: sets.clone() }
            }
            Logical::EmptySets { input, sets, width, aggregates } => {
                self.push_empty_sets(input, sets, *width, aggregates)
            }
            Logical::Recursive(recursive) => {
                let mut inside = self.clone();
                inside.working.push(recursive.working);
                Logical::Recursive(Box::new(Recursive {
                    base: self.push(&recursive.base),
                    step: inside.push(&recursive.step),
                    working: recursive.working,
                    distinct: recursive.distinct,
                }))
            }
            Logical::Shared { table, types } => {
                let values = self.columns.iter().map(|(_, pg_type)| *pg_type);
                Logical::Shared { table: *table, types: types.iter().copied().chain(values).collect() }
            }
            Logical::Join(join) => self.push_join(join),
            Logical::ProjectSet(set) => self.push_functions(set),
            Logical::Window(window) => self.push_window(window),
            Logical::Combine(set) => {
                let inputs = set.inputs.iter().map(|input| self.push(input)).collect();
                let types = set.types.iter().copied().chain(self.columns.iter().map(|(_, pg_type)| *pg_type));
                let types = types.collect();
                Logical::Combine(Box::new(SetOperation { kind: set.kind, inputs, types }))
            }
            // Scans read nothing outer, and dependent joins are gone.
            Logical::Scan(_) | Logical::Apply(_) => plan.clone(),
        }
    }

    /// The positions of the values behind the columns of a plan.
    fn positions(&self, plan: &Logical) -> std::ops::Range<usize> {
        let width = plan.types().len();
        width..width + self.width()
    }

    /// What is sorted, and its order with the values in front.
    fn sorted<'p>(&self, plan: &'p Logical) -> (&'p Logical, Vec<SortKey>) {
        let (below, order) = match plan {
            Logical::Sort { input, keys } => (&**input, keys.as_slice()),
            other => (other, [].as_slice()),
        };
        let of_value = |column| SortKey { column, descending: false, nulls_first: false };
        (below, self.positions(below).map(of_value).chain(order.iter().copied()).collect())
    }

    /// A limit of the rows of each of the values.
    fn push_limit(
        &self,
        input: &Logical,
        groups: &[usize],
        keys: &[SortKey],
        counts: [Option<&Expr>; 2],
        with_ties: bool,
    ) -> Logical {
        let width = input.types().len();
        let input = match input {
            Logical::Sort { input, .. } => input,
            other => other,
        };
        let groups = groups.iter().copied().chain(self.positions(input)).collect();
        let [limit, offset] = counts.map(|count| count.map(|count| self.over(count, width)));
        let (input, keys) = (Box::new(self.push(input)), keys.to_vec());
        Logical::LimitBy { input, groups, keys, limit, offset, with_ties }
    }

    /// Of the values, too, for which an aggregation has no rows, so that there are none of sets that group by nothing.
    fn push_empty_sets(
        &self,
        input: &Logical,
        sets: &[i32],
        width: usize,
        aggregates: &[AggregateCall],
    ) -> Logical {
        let number = |set: &i32| Expr::Literal { value: Datum::Int4(*set), pg_type: PgType::Int4 };
        let numbers = sets.iter().map(|set| vec![number(set)]).collect();
        let numbers = Logical::Values { rows: numbers, types: vec![PgType::Int4] };
        let (left, right) = (self.push(&numbers), self.push(input));
        let all = columns_of(&right);
        let first = left.types().len();
        let column = |position: usize| shifted(all[position].clone(), first);
        // The set's number, then the values, on both sides.
        let places = std::iter::once(width).chain(self.positions(input));
        let pairs: Vec<_> = columns_of(&left).into_iter().zip(places.map(column)).collect();
        let conjuncts = pairs.iter().map(|(left, right)| same(left.clone(), right.clone())).collect();
        let either = |(left, right): &(Expr, Expr)| (left.clone(), right.clone());
        let is_missing = Expr::IsNull { arg: Box::new(column(width)), negated: false };
        let of_missing = |missing: Expr, there: Expr| {
            let pg_type = there.pg_type();
            let arms = vec![(is_missing.clone(), missing)];
            Expr::Case { arms, otherwise: Some(Box::new(there)), pg_type }
        };
        let mut given = pairs.iter().map(either).map(|(left, right)| of_missing(left, right));
        let number = given.next().expect("a set's number");
        let values: Vec<Expr> = given.collect();
        let defaults = aggregates
            .iter()
            .enumerate()
            .map(|(index, aggregate)| of_missing(of_no_rows(aggregate), column(width + 1 + index)));
        let groups = (0..width).map(column);
        let exprs = groups.chain([number]).chain(defaults).chain(values).collect();
        let join = Join::new(left, right, JoinKind::Full, conjuncts);
        Logical::Project { input: Box::new(Logical::Join(Box::new(join))), exprs }
    }

    /// The columns of functions come behind the values of the input; they change places.
    fn push_functions(&self, set: &ProjectSet) -> Logical {
        let (width, added) = (set.input.types().len(), self.width());
        let mut set = set.clone();
        set.input = self.push(&set.input);
        for call in &mut set.calls {
            call.args = self.all_over(&call.args, width);
        }
        let plan = Logical::ProjectSet(Box::new(set));
        let columns = columns_of(&plan);
        let (own, functions) = columns.split_at(width + added);
        let exprs = [&own[..width], functions, &own[width..]].concat();
        Logical::Project { input: Box::new(plan), exprs }
    }

    /// Rows with the same values are partitions of their own.
    fn push_window(&self, window: &Window) -> Logical {
        let (width, added) = (window.input.types().len(), self.width());
        let mut window = window.clone();
        let (below, keys) = self.sorted(&window.input);
        let partition = self.positions(below).chain(window.partition).collect();
        window.input = Logical::Sort { input: Box::new(self.push(below)), keys };
        window.partition = partition;
        for expr in window.calls.iter_mut().flat_map(WindowCall::exprs_mut) {
            *expr = self.over(expr, width);
        }
        let plan = Logical::Window(Box::new(window));
        let columns = columns_of(&plan);
        let (own, calls) = columns.split_at(width + added);
        let exprs = [&own[..width], calls, &own[width..]].concat();
        Logical::Project { input: Box::new(plan), exprs }
    }

    /// Each row where its number is.
    fn push_values(&self, rows: &[Vec<Expr>], types: &[PgType]) -> Logical {
        let number = |row: usize| Expr::Literal {
            value: Datum::Int8(i64::try_from(row).unwrap_or(i64::MAX)),
            pg_type: PgType::Int8,
        };
        let numbers = (0..rows.len()).map(|row| vec![number(row)]).collect();
        let numbers = Logical::Values { rows: numbers, types: vec![PgType::Int8] };
        let mut exprs = Vec::with_capacity(types.len() + self.width());
        for (column, pg_type) in types.iter().enumerate() {
            let arm = |row: usize| {
                let left = Box::new(Expr::Column { index: 0, pg_type: PgType::Int8 });
                let is_row = Expr::IsDistinct { left, right: Box::new(number(row)), negated: true };
                (is_row, self.over(&rows[row][column], 1))
            };
            let arms = (0..rows.len()).map(arm).collect();
            exprs.push(Expr::Case { arms, otherwise: None, pg_type: *pg_type });
        }
        exprs.extend(self.columns_at(1));
        Logical::Project { input: Box::new(self.push(&numbers)), exprs }
    }

    fn push_aggregate(&self, input: &Logical, groups: &[Expr], aggregates: &[Aggregate]) -> Logical {
        let width = input.types().len();
        let mut aggregates = aggregates.to_vec();
        for aggregate in &mut aggregates {
            aggregate.call.args = self.all_over(&aggregate.call.args, width);
            aggregate.filter = aggregate.filter.as_ref().map(|filter| self.over(filter, width));
        }
        let mut by = self.all_over(groups, width);
        by.extend(self.columns_at(width));
        let (count, added) = (groups.len(), self.width());
        let defaults: Vec<Expr> = aggregates.iter().map(|one| of_no_rows(&one.call)).collect();
        let plan = Logical::Aggregate { input: Box::new(self.push(input)), groups: by, aggregates };
        let columns = columns_of(&plan);
        if count > 0 {
            let (keys, results) = columns.split_at(count + added);
            let exprs = [&keys[..count], results, &keys[count..]].concat();
            return Logical::Project { input: Box::new(plan), exprs };
        }
        // Without GROUP BY there is a row for values without any: the first column says whether there was one.
        let there = Expr::Literal { value: Datum::Bool(true), pg_type: PgType::Bool };
        let exprs = std::iter::once(there).chain(columns.iter().cloned()).collect();
        let right = Logical::Project { input: Box::new(plan), exprs };
        let own = self.columns_at(0);
        let conjuncts = own.zip(self.columns_at(added + 1)).map(|(a, b)| same(a, b)).collect();
        let join = Join::new(self.values.clone(), right, JoinKind::Left, conjuncts);
        let there = Box::new(Expr::Column { index: added, pg_type: PgType::Bool });
        let is_missing = Expr::IsNull { arg: there, negated: false };
        let results = columns[added..].iter().cloned().zip(defaults).map(|(column, default)| {
            let value = shifted(column, added + 1);
            if super::is_null(&default) {
                return value;
            }
            let pg_type = value.pg_type();
            let arms = vec![(is_missing.clone(), default)];
            Expr::Case { arms, otherwise: Some(Box::new(value)), pg_type }
        });
        let exprs = results.chain(self.columns_at(0)).collect();
        Logical::Project { input: Box::new(Logical::Join(Box::new(join))), exprs }
    }

    fn push_join(&self, join: &Join) -> Logical {
        let (left_width, right_width) = (join.left.types().len(), join.right.types().len());
        let reads = |plan: &Logical| self.concerns(plan);
        let on_reads = join.conjuncts.iter().chain(&join.mark).any(|expr| reads_outer(expr, self.scope));
        let keeps_right = join.kind.keeps_right();
        // A side whose rows are kept must have the values; without any that does, the left one.
        let left_has = reads(&join.left) || !keeps_right || join.kind == JoinKind::Full;
        let left_has = match join.kind {
            JoinKind::Inner => reads(&join.left) || (on_reads && !reads(&join.right)),
            _ => left_has,
        };
        let right_has = reads(&join.right) || keeps_right;
        let left = if left_has { self.push(&join.left) } else { join.left.clone() };
        let right = if right_has { self.push(&join.right) } else { join.right.clone() };
        let first_right = left.types().len();
        let (left_values, right_values) = (left_width, first_right + right_width);
        let values = if left_has { left_values } else { right_values };
        let moved = |column: usize| match column.checked_sub(left_width) {
            None => column,
            Some(column) if column < right_width => first_right + column,
            // The mark.
            Some(_) => first_right + right.types().len(),
        };
        let over = |expr: &Expr| {
            let mut expr = expr.clone();
            crate::rules::renumber(&mut expr, &moved);
            self.over(&expr, values)
        };
        let mut conjuncts: Vec<Expr> = join.conjuncts.iter().map(over).collect();
        if left_has && right_has {
            let pairs = self.columns_at(left_values).zip(self.columns_at(right_values));
            conjuncts.extend(pairs.map(|(a, b)| same(a, b)));
        }
        let mark = join.mark.as_ref().map(over);
        let mut output: Vec<usize> = join.output.iter().map(|column| moved(*column)).collect();
        // A mark stays behind all other columns.
        let is_marked =
            join.kind == JoinKind::Mark && output.last().is_some_and(|last| *last >= right_values);
        let width = output.len();
        let at = if is_marked { width - 1 } else { width };
        let mut given: Vec<usize> = (values..values + self.width()).collect();
        if join.kind == JoinKind::Full {
            given.extend(right_values..right_values + self.width());
        }
        let given_count = given.len();
        output.splice(at..at, given);
        let new = Join { left, right, kind: join.kind, conjuncts, mark, output };
        let plan = Logical::Join(Box::new(new));
        let mut exprs = columns_of(&plan);
        if join.kind == JoinKind::Full {
            let right = exprs.split_off(exprs.len() - self.width());
            let left = exprs.split_off(exprs.len() - self.width());
            exprs.extend(left.into_iter().zip(right).map(|(a, b)| Expr::Coalesce(vec![a, b])));
        } else if is_marked {
            exprs[at..].rotate_left(given_count);
        }
        Logical::Project { input: Box::new(plan), exprs }
    }
}
