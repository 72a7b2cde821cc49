//! Rules that make logical plans cheaper without changing what they answer. Each file is one rule.
//!
//! Order matters: dependent joins become plain ones before anything moves; filters go down then, so that scans see all conditions on their keys; columns are pruned after keys
//! and the engine have taken their conditions away.

mod aggregate_first;
mod fold_constants;
mod merge_projects;
mod null_rejection;
mod order_aggregates;
mod prune_columns;
mod push_filters;
mod push_limits;
mod push_to_engine;
mod split_distinct;
mod split_or;
mod take_keys;
mod unique;
mod unnest;

use crate::expr::{EvalContext, Expr, Volatility};
use crate::logical::Logical;
use crate::physical::classes::Classes;

pub(crate) use fold_constants::fold_expr;

/// Stack that rules may take for a level of a plan.
const LEVEL_STACK_BYTES: usize = 32 << 10;

/// Applies all rules that serve these classes.
pub(crate) fn optimize(plan: Logical, context: &EvalContext, classes: Classes) -> Logical {
    let bytes = LEVEL_STACK_BYTES * (plan.depth() + 4);
    crate::parse::with_stack_of(bytes, || optimize_here(plan, context, classes))
}

fn optimize_here(mut plan: Logical, context: &EvalContext, classes: Classes) -> Logical {
    fold_constants::apply(&mut plan, context);
    // Limits lie next to the order that they mean.
    let plan = push_limits::apply(order_aggregates::apply(plan));
    let plan = unnest::apply(plan);
    let plan = push_filters::apply(plan);
    let plan = if classes.direct { take_keys::apply(plan) } else { plan };
    let plan = if classes.scatter { push_to_engine::apply(plan) } else { plan };
    let plan = push_limits::apply(plan);
    let plan = split_distinct::apply(plan);
    let plan = aggregate_first::apply(plan);
    let plan = prune_columns::apply(plan);
    merge_projects::apply(plan)
}

/// Marks the columns that an expression reads.
pub(crate) fn mark_columns(expr: &Expr, needed: &mut [bool]) {
    expr.visit(&mut |part| {
        if let Expr::Column { index, .. } = part {
            needed[*index] = true;
        }
    });
}

/// The expression with its columns replaced by what they are computed from.
fn substitute(expr: Expr, exprs: &[Expr]) -> Expr {
    expr.transform(&mut |part| match part {
        Expr::Column { index, .. } => exprs[index].clone(),
        other => other,
    })
}

/// The expression with its columns at new positions.
pub(crate) fn renumber(expr: &mut Expr, new_index: &dyn Fn(usize) -> usize) {
    let old = std::mem::replace(expr, Expr::Unknown(None));
    *expr = old.transform(&mut |part| match part {
        Expr::Column { index, pg_type } => Expr::Column { index: new_index(index), pg_type },
        other => other,
    });
}

pub(crate) fn is_volatile(expr: &Expr) -> bool {
    expr.volatility() == Volatility::Volatile
}
