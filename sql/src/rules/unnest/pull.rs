//! The simple way of unnesting: conditions on the outer row go up to the dependent join.
//!
//! Past a grouping goes an equality of something outer and something inner: the inner side becomes a grouping
//! expression. Groups without rows are gone then, so an aggregate of no rows at all must be filled in at the join.

use omen_core::types::Datum;

use super::{columns_of, is_volatile};
use crate::expr::Expr;
use crate::expr::aggregate::AggregateCall;
use crate::logical::apply::reads_outer;
use crate::logical::{Join, JoinKind, Logical};
use crate::parse::with_stack;

/// A query without the conditions on the outer row.
#[derive(Clone, Debug)]
pub(super) struct Pulled {
    /// Reads nothing of the outer row.
    pub(super) plan: Logical,
    /// The query's columns, over those of the plan and the outer row.
    pub(super) outputs: Vec<Expr>,
    /// The conditions, over the same.
    pub(super) conjuncts: Vec<Expr>,
    /// If the query has one row for each outer row, but the plan may lack it: that row.
    pub(super) missing: Option<Vec<Expr>>,
}

/// Takes the conditions on the outer row out of a query, if that is possible. `rows_count`: it matters how often a
/// row comes, and what comes first.
#[expect(clippy::too_many_lines, reason = "one arm per node")]
pub(super) fn pull(plan: &Logical, scope: usize, rows_count: bool) -> Option<Pulled> {
    if !plan.reads_outer(scope) {
        let outputs = columns_of(plan);
        return Some(Pulled { plan: plan.clone(), outputs, conjuncts: Vec::new(), missing: None });
    }
    with_stack(|| match plan {
        Logical::Values { rows, .. } => match rows.as_slice() {
            [row] if !row.iter().any(is_volatile) => Some(Pulled {
                plan: Logical::one_row(),
                outputs: row.clone(),
                conjuncts: Vec::new(),
                missing: None,
            }),
            _ => None,
        },
        Logical::Filter { input, conjuncts } => filter(pull(input, scope, rows_count)?, conjuncts, scope),
        Logical::Project { input, exprs } => {
            if exprs.iter().any(is_volatile) {
                return None;
            }
            let pulled = pull(input, scope, rows_count)?;
            let missing = pulled.missing.as_ref().map(|missing| over(exprs, missing));
            Some(Pulled { outputs: over(exprs, &pulled.outputs), missing, ..pulled })
        }
        Logical::Join(join) => pull_join(join, scope, rows_count),
        Logical::Sort { input, .. } => pull(input, scope, rows_count),
        Logical::Distinct { input } => {
            let pulled = pull(input, scope, rows_count)?;
            if !rows_count {
                return Some(pulled);
            }
            let width = pulled.outputs.len();
            let (input, conjuncts) = keyed(pulled, scope)?;
            let plan = Logical::Distinct { input: Box::new(input) };
            let outputs = columns_of(&plan).into_iter().take(width).collect();
            Some(Pulled { plan, outputs, conjuncts, missing: None })
        }
        Logical::Aggregate { input, groups, aggregates } => {
            let pulled = pull(input, scope, true)?;
            let count = groups.len();
            let (mut aggregates, groups) = (aggregates.clone(), over(groups, &pulled.outputs));
            for aggregate in &mut aggregates {
                aggregate.call.args = over(&aggregate.call.args, &pulled.outputs);
                aggregate.filter = aggregate.filter.take().map(|filter| one_over(&filter, &pulled.outputs));
            }
            let own = aggregates.iter().flat_map(|one| one.call.args.iter().chain(&one.filter));
            if pulled.missing.is_some() || own.chain(&groups).any(|expr| reads_outer(expr, scope)) {
                return None;
            }
            let missing = (count == 0).then(|| aggregates.iter().map(|one| of_no_rows(&one.call)).collect());
            let added = pulled.conjuncts.len();
            let (groups, conjuncts) = keys(groups, pulled.conjuncts, scope)?;
            let plan = Logical::Aggregate { input: Box::new(pulled.plan), groups, aggregates };
            let mut outputs = columns_of(&plan);
            outputs.drain(count..count + added);
            Some(Pulled { plan, outputs, conjuncts, missing })
        }
        Logical::Limit { limit, offset, .. }
            if limit.iter().chain(offset).any(|count| reads_outer(count, scope)) =>
        {
            None
        }
        Logical::Limit { input, limit, offset } => {
            let keeps_one =
                |limit: &Expr| matches!(limit, Expr::Literal { value: Datum::Int8(count), .. } if *count > 0);
            let keeps_one = offset.is_none() && limit.as_ref().is_none_or(keeps_one);
            let (input, order) = match &**input {
                Logical::Sort { input, keys } => (&**input, keys.clone()),
                other => (other, Vec::new()),
            };
            let pulled = pull(input, scope, rows_count)?;
            if keeps_one && (!rows_count || pulled.missing.is_some()) {
                return Some(pulled);
            }
            let width = pulled.outputs.len();
            let (input, conjuncts) = keyed(pulled, scope)?;
            let groups = (width..input.types().len()).collect();
            let (limit, offset) = (limit.clone(), offset.clone());
            let input = Box::new(input);
            let plan = Logical::LimitBy { input, groups, keys: order, limit, offset, with_ties: false };
            let outputs = columns_of(&plan).into_iter().take(width).collect();
            Some(Pulled { plan, outputs, conjuncts, missing: None })
        }
        Logical::Scan(_)
        | Logical::Apply(_)
        | Logical::LimitBy { .. }
        | Logical::ProjectSet(_)
        | Logical::Expand { .. }
        | Logical::EmptySets { .. }
        | Logical::DistinctOn { .. }
        | Logical::Ties { .. }
        | Logical::Window(_)
        | Logical::Shared { .. }
        | Logical::Recursive(_)
        | Logical::Combine(_) => None,
    })
}

fn filter(pulled: Pulled, conjuncts: &[Expr], scope: usize) -> Option<Pulled> {
    if pulled.missing.is_some() {
        return None;
    }
    let conjuncts = over(conjuncts, &pulled.outputs);
    let (mut up, stay): (Vec<Expr>, Vec<Expr>) =
        conjuncts.into_iter().partition(|expr| reads_outer(expr, scope));
    if up.iter().any(is_volatile) {
        return None;
    }
    let Pulled { plan, outputs, conjuncts: mut all, .. } = pulled;
    let plan = match stay.is_empty() {
        true => plan,
        false => Logical::Filter { input: Box::new(plan), conjuncts: stay },
    };
    all.append(&mut up);
    Some(Pulled { plan, outputs, conjuncts: all, missing: None })
}

fn pull_join(join: &Join, scope: usize, rows_count: bool) -> Option<Pulled> {
    let left = pull(&join.left, scope, true)?;
    let right = pull(&join.right, scope, true)?;
    if left.missing.is_some() || right.missing.is_some() {
        return None;
    }
    let is_inner = join.kind == JoinKind::Inner;
    if join.kind.keeps_right() || (!is_inner && !right.conjuncts.is_empty()) {
        return None;
    }
    let left_width = left.plan.types().len();
    let shift = |expr: Expr| super::shifted(expr, left_width);
    let mut columns = left.outputs;
    // NULLs take the place of columns, not of what is computed from them.
    let right_columns = columns_of(&right.plan);
    if !is_inner && right.outputs != right_columns {
        return None;
    }
    let (old_left, old_right) = (columns.len(), right.outputs.len());
    columns.extend(right.outputs.into_iter().map(shift));
    let mut conjuncts = left.conjuncts;
    conjuncts.extend(right.conjuncts.into_iter().map(shift));
    let (up, own): (Vec<Expr>, Vec<Expr>) =
        over(&join.conjuncts, &columns).into_iter().partition(|expr| reads_outer(expr, scope));
    let mark = join.mark.as_ref().map(|mark| one_over(mark, &columns));
    let marks_outer = mark.as_ref().is_some_and(|mark| reads_outer(mark, scope));
    if (!is_inner && !up.is_empty()) || marks_outer || up.iter().any(is_volatile) {
        return None;
    }
    conjuncts.extend(up);
    let new = Join { mark, ..Join::new(left.plan, right.plan, join.kind, own) };
    let plan = Logical::Join(Box::new(new));
    let outputs = join.output.iter().map(|column| {
        if *column < old_left + old_right {
            return columns[*column].clone();
        }
        Expr::Column { index: left_width, pg_type: omen_core::types::PgType::Bool }
    });
    let outputs = outputs.collect();
    let _ = rows_count;
    Some(Pulled { plan, outputs, conjuncts, missing: None })
}

/// The query's columns, and behind them the inner sides of the conditions, which must be equalities.
fn keyed(pulled: Pulled, scope: usize) -> Option<(Logical, Vec<Expr>)> {
    if pulled.missing.is_some() || pulled.outputs.iter().any(|expr| reads_outer(expr, scope)) {
        return None;
    }
    let (exprs, conjuncts) = keys(pulled.outputs, pulled.conjuncts, scope)?;
    Some((Logical::Project { input: Box::new(pulled.plan), exprs }, conjuncts))
}

/// Adds the inner sides of equalities to expressions; answers the equalities over these as columns.
fn keys(mut exprs: Vec<Expr>, conjuncts: Vec<Expr>, scope: usize) -> Option<(Vec<Expr>, Vec<Expr>)> {
    let mut over_columns = Vec::with_capacity(conjuncts.len());
    for conjunct in conjuncts {
        let Expr::Call { function, mut args, pg_type } = conjunct else { return None };
        if function.name != "=" || args.len() != 2 {
            return None;
        }
        let inner = args.iter().position(|arg| !reads_outer(arg, scope))?;
        let mut reads_columns = false;
        args[1 - inner].visit(&mut |part| reads_columns |= matches!(part, Expr::Column { .. }));
        if reads_columns {
            return None;
        }
        let column = Expr::Column { index: exprs.len(), pg_type: args[inner].pg_type() };
        exprs.push(std::mem::replace(&mut args[inner], column));
        over_columns.push(Expr::Call { function, args, pg_type });
    }
    Some((exprs, over_columns))
}

/// What an aggregate gives for no rows.
pub(super) fn of_no_rows(call: &AggregateCall) -> Expr {
    match call.name {
        "count" | "regr_count" => Expr::Literal { value: Datum::Int8(0), pg_type: call.pg_type },
        _ => Expr::null(call.pg_type),
    }
}

/// Expressions over columns that are themselves expressions.
fn over(exprs: &[Expr], columns: &[Expr]) -> Vec<Expr> {
    exprs.iter().map(|expr| one_over(expr, columns)).collect()
}

fn one_over(expr: &Expr, columns: &[Expr]) -> Expr {
    super::super::substitute(expr.clone(), columns)
}
