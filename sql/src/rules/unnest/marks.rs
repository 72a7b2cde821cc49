//! Conditions above subqueries: those that read none go below, and those on marks make semi and anti joins.

use omen_core::types::{Datum, PgType};

use super::super::unique::never_null;
use super::{columns_of, is_volatile};
use crate::expr::Expr;
use crate::logical::{Apply, ApplyKind, Logical};

/// A plan under conditions.
pub(super) fn filter(plan: Logical, mut conjuncts: Vec<Expr>) -> Logical {
    match plan {
        Logical::Filter { input, conjuncts: mut own } => {
            own.append(&mut conjuncts);
            filter(*input, own)
        }
        Logical::Apply(apply) if matches!(apply.kind, ApplyKind::Single | ApplyKind::Mark(_)) => {
            above(*apply, conjuncts)
        }
        other => filtered(other, conjuncts),
    }
}

fn above(mut apply: Apply, conjuncts: Vec<Expr>) -> Logical {
    let column = apply.left.types().len();
    let stays = |expr: &Expr| {
        let mut stays = is_volatile(expr);
        expr.visit(&mut |part| stays |= matches!(part, Expr::Column { index, .. } if *index == column));
        stays
    };
    let (mut stay, below): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(stays);
    apply.left = filter(apply.left, below);
    let is_mark = |expr: &Expr| matches!(expr, Expr::Column { index, .. } if *index == column);
    let is_no_mark = |expr: &Expr| matches!(expr, Expr::Not(arg) if is_mark(arg));
    let ApplyKind::Mark(condition) = &apply.kind else {
        return filtered(Logical::Apply(Box::new(apply)), stay);
    };
    let (position, kind, value) = if let Some(position) = stay.iter().position(is_mark) {
        let conjuncts = condition.clone().into_iter().flat_map(Expr::into_conjuncts).collect();
        (position, ApplyKind::Semi(conjuncts), true)
    } else if let Some(position) = stay.iter().position(is_no_mark)
        && condition.as_ref().is_none_or(|condition| is_never_unknown(&apply, condition))
    {
        let conjuncts = condition.clone().into_iter().flat_map(Expr::into_conjuncts).collect();
        (position, ApplyKind::Anti(conjuncts), false)
    } else {
        return filtered(Logical::Apply(Box::new(apply)), stay);
    };
    stay.remove(position);
    let mut exprs = columns_of(&apply.left);
    exprs.push(Expr::Literal { value: Datum::Bool(value), pg_type: PgType::Bool });
    let input = Box::new(Logical::Apply(Box::new(Apply { kind, ..apply })));
    filtered(Logical::Project { input, exprs }, stay)
}

/// Whether a condition over both sides' columns is never NULL: it compares columns that never are.
fn is_never_unknown(apply: &Apply, condition: &Expr) -> bool {
    let left_width = apply.left.types().len();
    let side = |expr: &Expr| -> bool {
        let mut expr = expr;
        while let Expr::Cast { arg, .. } = expr {
            expr = arg;
        }
        match expr {
            Expr::Column { index, .. } if *index < left_width => never_null(&apply.left, *index),
            Expr::Column { index, .. } => never_null(&apply.right, index - left_width),
            Expr::Literal { value, .. } => *value != Datum::Null,
            _ => false,
        }
    };
    match condition {
        Expr::Call { function, args, .. } => {
            matches!(function.name, "=" | "<>" | "<" | "<=" | ">" | ">=") && args.iter().all(side)
        }
        Expr::Not(arg) => is_never_unknown(apply, arg),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().all(|part| is_never_unknown(apply, part)),
        _ => false,
    }
}

fn filtered(plan: Logical, conjuncts: Vec<Expr>) -> Logical {
    if conjuncts.is_empty() { plan } else { Logical::Filter { input: Box::new(plan), conjuncts } }
}
