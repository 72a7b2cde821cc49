//! Sums, differences and products of numerics within each other, as `price * (1 - discount) * (1 + tax)`: what comes in
//! between stays integers of 64 bits, and no column is made of it. What several expressions have in common is computed
//! once for a batch.

use std::rc::Rc;

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
    let mut numbers = Numbers::default();
    let Some(a) = numbers.of(left, frame)? else { return Ok(None) };
    let Some(b) = numbers.of(right, frame)? else { return Ok(None) };
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

/// Whether it has numbers ([`Numbers::of`]) of most batches.
pub(crate) fn has_numbers(expr: &Expr) -> bool {
    matches!(expr.pg_type(), PgType::Numeric(_)) && is_plain(expr, DEPTH_MAX)
}

/// The numbers of expressions over the same rows.
#[derive(Default)]
pub(crate) struct Numbers<'a> {
    known: Vec<(&'a Expr, Option<Rc<Small>>)>,
}

impl<'a> Numbers<'a> {
    /// The numbers of an expression for which `has_numbers` holds; `None` if some need more bits, are NULL, or differ in
    /// scale.
    pub(crate) fn of(&mut self, expr: &'a Expr, frame: Frame<'_>) -> Result<Option<Rc<Small>>> {
        if let Some((_, known)) = self.known.iter().find(|(known, _)| *known == expr) {
            return Ok(known.clone());
        }
        let numbers = match (parts(expr), expr) {
            (Some((operation, [left, right])), _) => match (self.of(left, frame)?, self.of(right, frame)?) {
                (Some(a), Some(b)) => Small::combine(operation, &a, &b),
                _ => None,
            },
            (None, Expr::Column { index, .. }) => Small::of(&frame.column_as_is(*index)?),
            (None, Expr::Literal { value, .. }) => Small::of(&Value::Scalar(value.clone())),
            _ => None,
        };
        let numbers = numbers.map(Rc::new);
        self.known.push((expr, numbers.clone()));
        Ok(numbers)
    }
}
