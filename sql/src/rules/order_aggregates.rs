//! Gives aggregates that keep the order of their input that order as their own, where the input is a sorted subquery.
//!
//! `SELECT array_agg(a) FROM (SELECT a FROM t ORDER BY b) s` is what clients write instead of `array_agg(a ORDER BY b)`.
//! PostgreSQL gives both the same answer because it aggregates rows as they come (chapter 9.21); here neither ranges
//! nor unnested subqueries keep an order that nobody asked for.

use crate::expr::Expr;
use crate::expr::aggregate::Direction;
use crate::logical::{Aggregate, Logical};
use crate::parse::with_stack;

/// The plan with sorts below such aggregates taken out.
pub(super) fn apply(plan: Logical) -> Logical {
    with_stack(|| {
        let mut plan = plan;
        plan.change_inputs(apply);
        let Logical::Aggregate { input, groups, mut aggregates } = plan else { return plan };
        let takes_order =
            |one: &Aggregate| one.call.order.is_empty() && !one.call.distinct && one.call.depends_on_order();
        if !aggregates.iter().any(takes_order) {
            return Logical::Aggregate { input, groups, aggregates };
        }
        let (input, order) = without_order(*input);
        for aggregate in aggregates.iter_mut().filter(|one| takes_order(one)) {
            let (exprs, directions): (Vec<Expr>, Vec<Direction>) = order.iter().cloned().unzip();
            aggregate.call.args.extend(exprs);
            aggregate.call.order = directions;
        }
        Logical::Aggregate { input: Box::new(input), groups, aggregates }
    })
}

/// The rows in any order, and what they were ordered by; columns for that may be added behind.
fn without_order(plan: Logical) -> (Logical, Vec<(Expr, Direction)>) {
    match plan {
        Logical::Sort { input, keys } => {
            let types = input.types();
            let order = keys.iter().map(|key| {
                let direction = Direction { descending: key.descending, nulls_first: key.nulls_first };
                (Expr::Column { index: key.column, pg_type: types[key.column] }, direction)
            });
            let order = order.collect();
            (*input, order)
        }
        Logical::Filter { input, conjuncts } => {
            let (input, order) = without_order(*input);
            (Logical::Filter { input: Box::new(input), conjuncts }, order)
        }
        Logical::Project { input, mut exprs } => {
            let (input, order) = without_order(*input);
            let order = order.into_iter().map(|(key, direction)| {
                let pg_type = key.pg_type();
                let index = exprs.iter().position(|expr| *expr == key).unwrap_or_else(|| {
                    exprs.push(key);
                    exprs.len() - 1
                });
                (Expr::Column { index, pg_type }, direction)
            });
            let order = order.collect();
            (Logical::Project { input: Box::new(input), exprs }, order)
        }
        other => (other, Vec::new()),
    }
}
