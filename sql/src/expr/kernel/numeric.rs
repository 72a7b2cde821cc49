//! Operators and functions of `numeric`, and of `interval` with numbers.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{Interval, Numeric};

use super::Call;
use super::lift::{Arg, F64, I32, I64, Num, NumBytes, Result, Span, each_row_nullable, map1, map2};
use crate::expr::value::Value;

/// Lifts a function of one numeric.
pub(crate) fn unary(call: &Call<'_>, f: impl Fn(Numeric) -> Result<Numeric>) -> Result<Value> {
    map1::<Num, NumBytes>(call, |a| f(a).map(NumBytes::from))
}

/// Lifts a function of two numerics.
pub(crate) fn binary(call: &Call<'_>, f: impl Fn(Numeric, Numeric) -> Result<Numeric>) -> Result<Value> {
    map2::<Num, Num, NumBytes>(call, |a, b| f(a, b).map(NumBytes::from))
}

/// Lifts a function of a numeric and a number of digits.
pub(crate) fn digits(call: &Call<'_>, f: impl Fn(Numeric, i32) -> Result<Numeric>) -> Result<Value> {
    map2::<Num, I32, NumBytes>(call, |a, b| f(a, b).map(NumBytes::from))
}

/// Lifts a function of two intervals.
pub(crate) fn intervals(
    call: &Call<'_>,
    f: impl Fn(Interval, Interval) -> Result<Interval>,
) -> Result<Value> {
    map2::<Span, Span, Interval>(call, f)
}

/// Lifts a function of an interval and a double.
pub(crate) fn interval_float(
    call: &Call<'_>,
    f: impl Fn(Interval, f64) -> Result<Interval>,
) -> Result<Value> {
    map2::<Span, F64, Interval>(call, f)
}

/// `double precision * interval`
pub(crate) fn float_interval(call: &Call<'_>) -> Result<Value> {
    map2::<F64, Span, Interval>(call, |factor, interval| interval.try_mul(factor))
}

/// The decimal logarithm.
pub(crate) fn log10(value: Numeric) -> Result<Numeric> {
    value.log(Numeric::from(10))
}

/// `numeric` digits after the point.
pub(crate) fn scale(call: &Call<'_>) -> Result<Value> {
    let values = Arg::<Num>::of(&call.args[0]);
    each_row_nullable(call, |row| {
        let value = values.get(row);
        Ok((!value.is_nan()).then(|| i32::from(value.scale())))
    })
}

/// `factorial(bigint)`
pub(crate) fn factorial(call: &Call<'_>) -> Result<Value> {
    map1::<I64, NumBytes>(call, |n| {
        if n < 0 {
            let message = "factorial of a negative number is undefined";
            return Err(ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        let mut product = Numeric::ONE;
        for factor in 2..=n {
            product = product.try_mul(Numeric::from(factor))?;
        }
        Ok(product.into())
    })
}
