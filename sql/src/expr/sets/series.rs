//! `generate_series` of numbers and times.

use std::cmp::Ordering;

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{Datum, Interval, Numeric, PgType};

use super::{SetArgs, SetCursor, values};
use crate::expr::kernel::datetime::{add_interval, add_interval_in};
use crate::expr::kernel::lift::Result;

fn invalid(message: &'static str) -> ValueError {
    ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn int(value: Option<&Datum>) -> i64 {
    match value {
        Some(Datum::Int4(value)) => i64::from(*value),
        Some(Datum::Int8(value)) => *value,
        _ => 1,
    }
}

/// Integers; `int4` ends where it would overflow, which no `bigint` step can hide.
struct Integers {
    next: Option<i64>,
    stop: i64,
    step: i64,
    wide: bool,
}

impl SetCursor for Integers {
    fn next(&mut self, limit: usize, out: &mut [Vec<Datum>]) -> Result<usize> {
        for given in 0..limit {
            let Some(value) = self.next else { return Ok(given) };
            if if self.step > 0 { value > self.stop } else { value < self.stop } {
                self.next = None;
                return Ok(given);
            }
            out[0].push(if self.wide { Datum::Int8(value) } else { Datum::Int4(value as i32) });
            self.next = value.checked_add(self.step);
        }
        Ok(limit)
    }
}

/// Of `int4` and `int8`.
pub(crate) fn integers(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    let step = int(args.values.get(2));
    if step == 0 {
        return Err(invalid("step size cannot equal zero"));
    }
    let wide = args.result == PgType::Int8;
    Ok(Box::new(Integers { next: Some(int(args.values.first())), stop: int(args.values.get(1)), step, wide }))
}

/// Of `numeric`.
pub(crate) fn numerics(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    let number = |index: usize| match args.values.get(index) {
        Some(Datum::Numeric(value)) => *value,
        _ => Numeric::from(1),
    };
    let (start, stop, step) = (number(0), number(1), number(2));
    for (value, message) in [
        (start, "start value cannot be NaN"),
        (stop, "stop value cannot be NaN"),
        (step, "step size cannot be NaN"),
    ] {
        if value.is_nan() {
            return Err(invalid(message));
        }
    }
    if step.is_zero() {
        return Err(invalid("step size cannot equal zero"));
    }
    let past = if step.is_negative() { Ordering::Less } else { Ordering::Greater };
    let mut next = Some(start);
    Ok(values(std::iter::from_fn(move || {
        let value = next.filter(|value| value.compare(stop) != past)?;
        next = value.try_add(step).ok();
        Some(Ok(Datum::Numeric(value)))
    })))
}

/// Of `timestamp` and `timestamptz`.
pub(crate) fn timestamps(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    let [Datum::Timestamp(start), Datum::Timestamp(stop), Datum::Interval(step)] = args.values else {
        return Err(ValueError::new(SqlState::INTERNAL_ERROR, "a series of something else"));
    };
    let (stop, step) = (*stop, *step);
    let past = match step.order().cmp(&Interval::default().order()) {
        Ordering::Equal => return Err(invalid("step size cannot equal zero")),
        other => other,
    };
    let zone = (args.result == PgType::Timestamptz).then_some(args.context.format.timezone);
    let mut next = Some(Ok(*start));
    Ok(values(std::iter::from_fn(move || {
        let value = match next.take()? {
            Ok(value) => value,
            Err(error) => return Some(Err(error)),
        };
        if value.cmp(&stop) == past {
            return None;
        }
        next = Some(match zone {
            Some(zone) => add_interval_in(value, step, zone),
            None => add_interval(value, step),
        });
        Some(Ok(Datum::Timestamp(value)))
    })))
}
