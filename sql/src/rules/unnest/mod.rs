//! Turns dependent joins into joins ("Unnesting Arbitrary Queries", Neumann and Kemper).
//!
//! From the inside out, each in one of two ways. The simple one (`pull`) moves conditions on the outer row up to the
//! join, past grouping if they are equalities. It gives the plans that one would write by hand, and takes nearly all
//! queries. The general one (`domain`) evaluates the inner query for all different values that it reads of the outer
//! rows at once: these values are joined to it where it reads them, and stay columns up to the join.
//!
//! Conditions on marks make semi and anti joins (`marks`).

mod domain;
mod marks;
mod pull;

use crate::expr::Expr;
use crate::logical::apply::{is_outer, reads_outer};
use crate::logical::{Apply, ApplyKind, Join, JoinKind, Logical};
use crate::parse::with_stack;
use crate::rules::is_volatile;
use crate::rules::unique::is_partner_unique;
use pull::Pulled;

/// The plan without dependent joins.
pub(super) fn apply(plan: Logical) -> Logical {
    with_stack(|| {
        let mut plan = match plan {
            Logical::Filter { input, conjuncts } => marks::filter(*input, conjuncts),
            other => other,
        };
        plan.change_inputs(apply);
        match plan {
            Logical::Apply(apply) => unnest(*apply),
            other => other,
        }
    })
}

/// A dependent join whose inputs have none.
fn unnest(apply: Apply) -> Logical {
    if !apply.right.reads_outer(apply.scope) {
        return independent(apply);
    }
    // Without conditions on its rows, one row tells as much as many.
    let rows_count = match &apply.kind {
        ApplyKind::Mark(condition) => condition.is_some(),
        ApplyKind::Semi(conjuncts) | ApplyKind::Anti(conjuncts) => !conjuncts.is_empty(),
        _ => true,
    };
    match pull::pull(&apply.right, apply.scope, rows_count) {
        Some(pulled) if fits(&apply, &pulled) => joined(apply, pulled),
        _ => domain::unnest(apply),
    }
}

/// The right side reads nothing of the left one.
fn independent(apply: Apply) -> Logical {
    let outputs = columns_of(&apply.right);
    let plan = apply.right.clone();
    joined(apply, Pulled { plan, outputs, conjuncts: Vec::new(), missing: None })
}

/// Whether [`joined`] can use what was pulled.
fn fits(apply: &Apply, pulled: &Pulled) -> bool {
    let reads = |expr: &Expr| reads_outer(expr, apply.scope);
    match &apply.kind {
        ApplyKind::Single => {
            let output = &pulled.outputs[0];
            !reads(output) || (pulled.conjuncts.is_empty() && is_one_row(&pulled.plan))
        }
        ApplyKind::Left(_) => pulled.missing.is_none() && !pulled.outputs.iter().any(reads),
        ApplyKind::Inner(_) => pulled.missing.is_none() && !pulled.outputs.iter().any(is_volatile),
        ApplyKind::Mark(_) | ApplyKind::Semi(_) | ApplyKind::Anti(_) => pulled.missing.is_none(),
    }
}

fn joined(apply: Apply, pulled: Pulled) -> Logical {
    let Apply { left, right: _, scope, kind } = apply;
    let left_width = left.types().len();
    let Pulled { plan, outputs, mut conjuncts, missing } = pulled;
    // Over the left side's columns, then those of the pulled plan.
    let beside = |expr: Expr| beside(expr, scope, left_width);
    let over_outputs = |condition: Expr| {
        condition.transform(&mut |part| match part {
            Expr::Column { index, .. } if index >= left_width => beside(outputs[index - left_width].clone()),
            other => other,
        })
    };
    conjuncts = conjuncts.into_iter().map(beside).collect();
    match kind {
        ApplyKind::Semi(own) => {
            conjuncts.extend(own.into_iter().map(over_outputs));
            join(Join::new(left, plan, JoinKind::Semi, conjuncts))
        }
        ApplyKind::Anti(own) => {
            conjuncts.extend(own.into_iter().map(over_outputs));
            join(Join::new(left, plan, JoinKind::Anti, conjuncts))
        }
        ApplyKind::Mark(condition) => {
            let mark = condition.map(over_outputs);
            join(Join { mark, ..Join::new(left, plan, JoinKind::Mark, conjuncts) })
        }
        ApplyKind::Inner(own) => {
            conjuncts.extend(own.into_iter().map(over_outputs));
            let mut exprs = columns_of(&left);
            exprs.extend(outputs.iter().cloned().map(beside));
            let input = Box::new(join(Join::new(left, plan, JoinKind::Inner, conjuncts)));
            Logical::Project { input, exprs }
        }
        ApplyKind::Left(own) => {
            let mut below = outputs.clone();
            let count = below.len();
            below.extend(columns_of(&plan));
            // The answer's columns come first now, the plan's behind them.
            let moved = |expr: Expr| moved_behind(expr, left_width, count);
            conjuncts = conjuncts.into_iter().map(moved).collect();
            conjuncts.extend(own);
            let right = Logical::Project { input: Box::new(plan), exprs: below };
            let mut exprs = columns_of(&left);
            let first = exprs.len();
            exprs.extend(columns_of(&right).into_iter().take(count).map(|column| shifted(column, first)));
            let input = Box::new(join(Join::new(left, right, JoinKind::Left, conjuncts)));
            Logical::Project { input, exprs }
        }
        ApplyKind::Single => single(left, plan, outputs, conjuncts, missing, scope),
    }
}

/// A scalar subquery.
fn single(
    left: Logical,
    plan: Logical,
    mut outputs: Vec<Expr>,
    conjuncts: Vec<Expr>,
    missing: Option<Vec<Expr>>,
    scope: usize,
) -> Logical {
    let left_width = left.types().len();
    let output = outputs.swap_remove(0);
    let mut exprs = columns_of(&left);
    if conjuncts.is_empty() && is_one_row(&plan) {
        exprs.push(beside(output, scope, left_width));
        return Logical::Project { input: Box::new(left), exprs };
    }
    let pg_type = output.pg_type();
    let mut below = vec![output];
    below.extend(columns_of(&plan));
    let is_unique = missing.is_some() || is_partner_unique(&plan, &conjuncts, left_width);
    let conjuncts: Vec<Expr> = conjuncts.into_iter().map(|expr| moved_behind(expr, left_width, 1)).collect();
    // A column of a partner that is not NULL.
    let marker = conjuncts.first().and_then(|conjunct| {
        let mut marker = None;
        conjunct.visit(&mut |part| match part {
            Expr::Column { index, .. } if *index >= left_width => marker = Some(part.clone()),
            _ => {}
        });
        marker
    });
    let right = Logical::Project { input: Box::new(plan), exprs: below };
    let kind = if is_unique { JoinKind::Left } else { JoinKind::Single };
    let value = Expr::Column { index: left_width, pg_type };
    let default = missing.and_then(|mut missing| {
        let default = beside(missing.swap_remove(0), scope, left_width);
        (!is_null(&default)).then_some(default)
    });
    exprs.push(match (default, marker) {
        (Some(default), Some(marker)) => {
            let is_missing = Expr::IsNull { arg: Box::new(marker), negated: false };
            Expr::Case { arms: vec![(is_missing, default)], otherwise: Some(Box::new(value)), pg_type }
        }
        _ => value,
    });
    let input = Box::new(join(Join::new(left, right, kind, conjuncts)));
    Logical::Project { input, exprs }
}

fn join(join: Join) -> Logical {
    Logical::Join(Box::new(join))
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal { value: omen_core::types::Datum::Null, .. })
}

fn is_one_row(plan: &Logical) -> bool {
    matches!(plan, Logical::Values { rows, .. } if rows.len() == 1)
}

/// All columns of a plan.
fn columns_of(plan: &Logical) -> Vec<Expr> {
    let types = plan.types().into_iter();
    types.enumerate().map(|(index, pg_type)| Expr::Column { index, pg_type }).collect()
}

fn shifted(expr: Expr, by: usize) -> Expr {
    expr.transform(&mut |part| match part {
        Expr::Column { index, pg_type } => Expr::Column { index: index + by, pg_type },
        other => other,
    })
}

/// An expression over the columns of the right side and of the outer row as one over those of both sides.
fn beside(expr: Expr, scope: usize, left_width: usize) -> Expr {
    expr.transform(&mut |part| match part {
        Expr::Column { index, pg_type } => Expr::Column { index: index + left_width, pg_type },
        Expr::Outer { index, pg_type, .. } if is_outer(&part, scope) => Expr::Column { index, pg_type },
        other => other,
    })
}

/// An expression over both sides' columns, where so many columns come before those of the right side.
fn moved_behind(expr: Expr, left_width: usize, by: usize) -> Expr {
    expr.transform(&mut |part| match part {
        Expr::Column { index, pg_type } if index >= left_width => Expr::Column { index: index + by, pg_type },
        other => other,
    })
}
