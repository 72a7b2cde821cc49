//! Makes `count(DISTINCT x)` a plain count of groups, which ranges can find on their own: `count(x)` by `g` of what is
//! left of grouping by `g, x`. Only where all aggregates are over the same distinct values, in whatever order.

use crate::expr::Expr;
use crate::logical::{Aggregate, Logical};

/// Aggregates that do not care for the order of values.
const ORDERLESS: [&str; 5] = ["avg", "count", "max", "min", "sum"];

pub(super) fn apply(mut plan: Logical) -> Logical {
    plan.change_inputs(apply);
    match plan {
        Logical::Aggregate { input, groups, aggregates } if can_split(&aggregates) => {
            split(input, groups, aggregates)
        }
        other => other,
    }
}

fn can_split(aggregates: &[Aggregate]) -> bool {
    let Some(first) = aggregates.first() else { return false };
    aggregates.iter().all(|aggregate| {
        let call = &aggregate.call;
        call.distinct
            && aggregate.filter.is_none()
            && ORDERLESS.contains(&call.name)
            && call.args == first.call.args
    })
}

fn split(input: Box<Logical>, groups: Vec<Expr>, mut aggregates: Vec<Aggregate>) -> Logical {
    let args = aggregates.first().map(|aggregate| aggregate.call.args.clone()).unwrap_or_default();
    let column = |(index, expr): (usize, &Expr)| Expr::Column { index, pg_type: expr.pg_type() };
    let outer: Vec<Expr> = groups.iter().enumerate().map(column).collect();
    let values: Vec<Expr> = (groups.len()..).zip(&args).map(column).collect();
    for aggregate in &mut aggregates {
        aggregate.call.distinct = false;
        aggregate.call.args.clone_from(&values);
    }
    let inner = Logical::Aggregate {
        input,
        groups: groups.into_iter().chain(args).collect(),
        aggregates: Vec::new(),
    };
    Logical::Aggregate { input: Box::new(inner), groups: outer, aggregates }
}
