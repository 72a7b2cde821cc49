//! Conditions: three-valued logic that evaluates no more than it needs.

use arrow_array::Array;
use arrow_buffer::BooleanBuffer;
use omen_core::types::Datum;

use super::eval::{Frame, Result, eval};
use super::truth::{Truth, set_rows};
use super::value::Value;
use super::{EvalContext, Expr};

/// A part is evaluated for selected rows only if at most one row in so many needs it.
const SPARSE: usize = 8;

/// Rows for which a condition is true. A row for which one part of an AND is not true does not need the others.
pub(super) fn yes(expr: &Expr, frame: Frame<'_>, context: &EvalContext) -> Result<BooleanBuffer> {
    match expr {
        Expr::And(parts) => {
            let [first, rest @ ..] = parts.as_slice() else {
                return Ok(BooleanBuffer::new_set(frame.rows()));
            };
            let mut sum = yes(first, frame, context)?;
            for part in rest {
                match open_rows(&sum) {
                    0 => break,
                    open => sum = &sum & &yes_of_open(part, &sum, open, frame, context)?,
                }
            }
            Ok(sum)
        }
        Expr::Or(parts) => {
            let [first, rest @ ..] = parts.as_slice() else {
                return Ok(BooleanBuffer::new_unset(frame.rows()));
            };
            let mut sum = yes(first, frame, context)?;
            for part in rest {
                let open = !&sum;
                match open_rows(&open) {
                    0 => break,
                    count => sum = &sum | &yes_of_open(part, &open, count, frame, context)?,
                }
            }
            Ok(sum)
        }
        Expr::Not(_) | Expr::IsTruth { .. } => Ok(truth(expr, frame, context)?.yes),
        _ => match eval(expr, frame, context)? {
            Value::Array(array) => Ok(Truth::yes_of(&array)),
            Value::Scalar(Datum::Bool(true)) => Ok(BooleanBuffer::new_set(frame.rows())),
            Value::Scalar(_) => Ok(BooleanBuffer::new_unset(frame.rows())),
        },
    }
}

fn open_rows(open: &BooleanBuffer) -> usize {
    open.count_set_bits()
}

/// As [`yes`] where only some rows need it; other rows may be anything.
fn yes_of_open(
    part: &Expr,
    open: &BooleanBuffer,
    open_count: usize,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<BooleanBuffer> {
    let selected = || -> Result<BooleanBuffer> {
        let rows = set_rows(open);
        let absolute = frame.absolute(&rows);
        Ok(Truth::spread_bits(&yes(part, frame.with_rows(&absolute), context)?, &rows, frame.rows()))
    };
    if open_count * SPARSE <= frame.rows() {
        return selected();
    }
    match yes(part, frame, context) {
        Err(_) if open_count < frame.rows() => selected(),
        found => found,
    }
}

/// The truth of a condition.
pub(super) fn truth(expr: &Expr, frame: Frame<'_>, context: &EvalContext) -> Result<Truth> {
    match expr {
        Expr::And(parts) => chain(parts, true, frame, context),
        Expr::Or(parts) => chain(parts, false, frame, context),
        Expr::Not(arg) => Ok(truth(arg, frame, context)?.not()),
        Expr::IsNull { arg, negated } => {
            let is_null = match eval(arg, frame, context)? {
                Value::Scalar(value) => {
                    return Ok(Truth::constant(Some(value.is_null() != *negated), frame.rows()));
                }
                Value::Array(array) => array.logical_nulls().map(|nulls| !nulls.inner()),
            };
            let is_null = is_null.unwrap_or_else(|| BooleanBuffer::new_unset(frame.rows()));
            Ok(Truth::certain(if *negated { !&is_null } else { is_null }))
        }
        Expr::IsTruth { arg, truth: wanted, negated } => {
            let found = truth(arg, frame, context)?;
            let bits = match wanted {
                Some(true) => found.yes,
                Some(false) => found.no,
                None => !&(&found.yes | &found.no),
            };
            Ok(Truth::certain(if *negated { !&bits } else { bits }))
        }
        _ => Ok(Truth::of(&eval(expr, frame, context)?, frame.rows())),
    }
}

/// AND, or OR: until what decides it (false, or true) has been found for every row.
fn chain(parts: &[Expr], conjunction: bool, frame: Frame<'_>, context: &EvalContext) -> Result<Truth> {
    let [first, rest @ ..] = parts else { return Ok(Truth::constant(Some(conjunction), frame.rows())) };
    let mut sum = truth(first, frame, context)?;
    for part in rest {
        let open = !(if conjunction { &sum.no } else { &sum.yes });
        let open_count = open.count_set_bits();
        if open_count == 0 {
            break;
        }
        let selected = || -> Result<Truth> {
            let rows = set_rows(&open);
            let absolute = frame.absolute(&rows);
            Ok(truth(part, frame.with_rows(&absolute), context)?.spread(&rows, frame.rows()))
        };
        let found = if open_count * SPARSE <= frame.rows() {
            selected()?
        } else {
            match truth(part, frame, context) {
                Err(_) if open_count < frame.rows() => selected()?,
                found => found?,
            }
        };
        sum = if conjunction { sum.and(&found) } else { sum.or(&found) };
    }
    Ok(sum)
}
