//! Sums, differences and products of numerics within each other, as `price * (1 - discount) * (1 + tax)`: what comes in
//! between stays integers of 64 bits, and no column is made of it.

use omen_core::types::PgType;

use super::Expr;
use super::eval::{Frame, Result};
use super::kernel::decimal::{Operation, Small, results};
use super::value::Value;

/// Parts within parts that are looked at.
const DEPTH_MAX: u32 = 6;

/// The values of such an expression; `None` if it is another, or one that needs more bits in between.
pub(super) fn nested(expr: &Expr, frame: Frame<'_>) -> Result<Option<Value>> {
    let Some((operation, [left, right])) = parts(expr) else { return Ok(None) };
    let is_nested = parts(left).is_some() || parts(right).is_some();
    if !is_nested || !is_plain(left, DEPTH_MAX) || !is_plain(right, DEPTH_MAX) {
        return Ok(None);
    }
    let (Some(a), Some(b)) = (numbers(left, frame)?, numbers(right, frame)?) else { return Ok(None) };
    Ok(results(operation, &a, &b, frame.rows()))
}

/// A sum, difference or product of numerics.
fn parts(expr: &Expr) -> Option<(Operation, &[Expr; 2])> {
    let Expr::Call { function, args, pg_type: PgType::Numeric(_) } = expr else { return None };
    let operation = match function.name {
        "+" => Operation::Add,
        "-" => Operation::Sub,
        "*" => Operation::Mul,
        _ => return None,
    };
    let args: &[Expr; 2] = args.as_slice().try_into().ok()?;
    args.iter().all(|arg| matches!(arg.pg_type(), PgType::Numeric(_))).then_some((operation, args))
}

/// Whether it has only columns and constants, besides.
fn is_plain(expr: &Expr, depth: u32) -> bool {
    match parts(expr) {
        Some((_, args)) => depth > 0 && args.iter().all(|arg| is_plain(arg, depth - 1)),
        None => matches!(expr, Expr::Column { .. } | Expr::Literal { .. }),
    }
}

fn numbers(expr: &Expr, frame: Frame<'_>) -> Result<Option<Small>> {
    if let Some((operation, [left, right])) = parts(expr) {
        let Some(a) = numbers(left, frame)? else { return Ok(None) };
        let Some(b) = numbers(right, frame)? else { return Ok(None) };
        return Ok(Small::combine(operation, &a, &b));
    }
    Ok(match expr {
        Expr::Column { index, .. } => Small::of(&frame.column(*index)?),
        Expr::Literal { value, .. } => Small::of(&Value::Scalar(value.clone())),
        _ => None,
    })
}
