//! Which conditions cannot be true where columns are NULL.

use crate::expr::Expr;

/// Operators that answer NULL if an operand is NULL.
const STRICT: [&str; 12] = ["=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||"];

/// Whether a condition is not true as soon as all columns for which `is_null` holds are NULL.
pub(super) fn rejects_null(condition: &Expr, is_null: &dyn Fn(usize) -> bool) -> bool {
    match condition {
        Expr::And(parts) => parts.iter().any(|part| rejects_null(part, is_null)),
        Expr::Or(parts) => parts.iter().all(|part| rejects_null(part, is_null)),
        Expr::IsNull { arg, negated: true } => becomes_null(arg, is_null),
        Expr::IsTruth { arg, truth: Some(_), negated: false } => becomes_null(arg, is_null),
        other => becomes_null(other, is_null),
    }
}

/// Whether an expression is NULL then.
fn becomes_null(expr: &Expr, is_null: &dyn Fn(usize) -> bool) -> bool {
    match expr {
        Expr::Column { index, .. } => is_null(*index),
        Expr::Cast { arg, .. } | Expr::Not(arg) | Expr::InList { arg, .. } => becomes_null(arg, is_null),
        Expr::Call { function, args, .. } if STRICT.contains(&function.name) => {
            args.iter().any(|arg| becomes_null(arg, is_null))
        }
        _ => false,
    }
}

/// Whether an expression over two sides' columns reads the left one, and whether it reads the right one.
pub(super) fn sides(expr: &Expr, left_width: usize) -> (bool, bool) {
    let (mut left, mut right) = (false, false);
    expr.visit(&mut |part| {
        if let Expr::Column { index, .. } = part {
            left |= *index < left_width;
            right |= *index >= left_width;
        }
    });
    (left, right)
}
