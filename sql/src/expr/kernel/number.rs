//! Arithmetic of integers and floats, with PostgreSQL's range checks.

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::Call;
use super::lift::{Arg, F32, F64, I16, I32, I64, NumberKind, Output, Result, common_nulls, map1, map2};
use crate::expr::value::Value;

/// 22003 `integer out of range`.
pub(crate) fn out_of_range(type_name: &str) -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{type_name} out of range"))
}

/// 22012.
pub(crate) fn division_by_zero() -> ValueError {
    ValueError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

fn overflow() -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

fn underflow() -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow")
}

/// Computes on all rows without branches, so that the loop vectorises; if the doubts about any result are not zero,
/// `check` looks at the rows that are not NULL one by one.
fn compute2<K: NumberKind<Native = T>, T: Output, D: Doubt>(
    call: &Call<'_>,
    compute: impl Fn(T, T) -> (T, D),
    check: impl Fn(T, T) -> Result<()>,
) -> Result<Value> {
    let (a, b) = (Arg::<K>::of(&call.args[0]), Arg::<K>::of(&call.args[1]));
    let mut doubts = D::default();
    let mut step = |a: T, b: T| {
        let (value, doubt) = compute(a, b);
        doubts |= doubt;
        value
    };
    let values: Vec<T> = match (&a, &b) {
        (Arg::Constant(a), Arg::Constant(b)) => {
            check(*a, *b)?;
            return Ok(Value::Scalar(compute(*a, *b).0.datum(call.result)));
        }
        (Arg::Column(a), Arg::Constant(b)) => a.iter().map(|a| step(*a, *b)).collect(),
        (Arg::Constant(a), Arg::Column(b)) => b.iter().map(|b| step(*a, *b)).collect(),
        (Arg::Column(a), Arg::Column(b)) => a.iter().zip(*b).map(|(a, b)| step(*a, *b)).collect(),
    };
    let nulls = common_nulls(call.args);
    if doubts != D::default() {
        for row in 0..call.rows {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                check(a.get(row), b.get(row))?;
            }
        }
    }
    Ok(Value::Array(T::array(values, nulls, call.result)))
}

/// A flag as wide as the numbers that it is about: any bit that is set is a doubt.
trait Doubt: Copy + Default + PartialEq + std::ops::BitOrAssign {}

impl<T: Copy + Default + PartialEq + std::ops::BitOrAssign> Doubt for T {}

macro_rules! integers {
    ($($module:ident, $kind:ty, $native:ty, $name:literal;)*) => {$(
        /// Operators of one integer type.
        pub(crate) mod $module {
            use super::*;

            fn range() -> ValueError {
                out_of_range($name)
            }

            /// `compute` answers a doubt that is negative on overflow.
            fn binary(
                call: &Call<'_>,
                compute: impl Fn($native, $native) -> ($native, $native),
            ) -> Result<Value> {
                let sign = |a: $native, b: $native| {
                    let (value, doubt) = compute(a, b);
                    (value, doubt & <$native>::MIN)
                };
                compute2::<$kind, $native, $native>(call, sign, |a, b| {
                    if compute(a, b).1 < 0 { Err(range()) } else { Ok(()) }
                })
            }

            pub(crate) fn add(call: &Call<'_>) -> Result<Value> {
                // It overflows if both operands have the sign that the sum has not.
                binary(call, |a, b| {
                    let sum = a.wrapping_add(b);
                    (sum, (a ^ sum) & (b ^ sum))
                })
            }

            pub(crate) fn sub(call: &Call<'_>) -> Result<Value> {
                binary(call, |a, b| {
                    let difference = a.wrapping_sub(b);
                    (difference, (a ^ b) & (a ^ difference))
                })
            }

            pub(crate) fn mul(call: &Call<'_>) -> Result<Value> {
                binary(call, |a, b| {
                    let (product, overflow) = a.overflowing_mul(b);
                    (product, -<$native>::from(overflow))
                })
            }

            pub(crate) fn div(call: &Call<'_>) -> Result<Value> {
                let compute = |a: $native, b: $native| (a.checked_div(b).unwrap_or_default(), b == 0 || b == -1);
                compute2::<$kind, $native, bool>(call, compute, |a, b| match b {
                    0 => Err(division_by_zero()),
                    -1 if a == <$native>::MIN => Err(range()),
                    _ => Ok(()),
                })
            }

            pub(crate) fn rem(call: &Call<'_>) -> Result<Value> {
                // The smallest number modulo -1 is 0, as in PostgreSQL.
                let compute = |a: $native, b: $native| (a.checked_rem(b).unwrap_or_default(), b == 0);
                let check = |_, b| if b == 0 { Err(division_by_zero()) } else { Ok(()) };
                compute2::<$kind, $native, bool>(call, compute, check)
            }

            pub(crate) fn and(call: &Call<'_>) -> Result<Value> {
                binary(call, |a, b| (a & b, 0))
            }

            pub(crate) fn or(call: &Call<'_>) -> Result<Value> {
                binary(call, |a, b| (a | b, 0))
            }

            pub(crate) fn xor(call: &Call<'_>) -> Result<Value> {
                binary(call, |a, b| (a ^ b, 0))
            }

            pub(crate) fn shift_left(call: &Call<'_>) -> Result<Value> {
                map2::<$kind, I32, $native>(call, |a, b| Ok(a.wrapping_shl(b as u32)))
            }

            pub(crate) fn shift_right(call: &Call<'_>) -> Result<Value> {
                map2::<$kind, I32, $native>(call, |a, b| Ok(a.wrapping_shr(b as u32)))
            }

            pub(crate) fn neg(call: &Call<'_>) -> Result<Value> {
                map1::<$kind, $native>(call, |a| a.checked_neg().ok_or_else(range))
            }

            pub(crate) fn not(call: &Call<'_>) -> Result<Value> {
                map1::<$kind, $native>(call, |a| Ok(!a))
            }

            pub(crate) fn abs(call: &Call<'_>) -> Result<Value> {
                map1::<$kind, $native>(call, |a| a.checked_abs().ok_or_else(range))
            }
        }
    )*};
}

integers! {
    int2, I16, i16, "smallint";
    int4, I32, i32, "integer";
    int8, I64, i64, "bigint";
}

macro_rules! divisors {
    ($($module:ident, $kind:ty, $native:ty, $name:literal;)*) => {$(
        /// Common divisors and multiples of one integer type.
        pub(crate) mod $module {
            use super::*;

            fn range() -> ValueError {
                out_of_range($name)
            }

            pub(crate) fn gcd(call: &Call<'_>) -> Result<Value> {
                map2::<$kind, $kind, $native>(call, |a, b| {
                    let (mut a, mut b) = (i128::from(a).abs(), i128::from(b).abs());
                    while b != 0 {
                        (a, b) = (b, a % b);
                    }
                    <$native>::try_from(a).map_err(|_| range())
                })
            }

            pub(crate) fn lcm(call: &Call<'_>) -> Result<Value> {
                map2::<$kind, $kind, $native>(call, |a, b| {
                    let (x, y) = (i128::from(a).abs(), i128::from(b).abs());
                    let (mut g, mut rest) = (x, y);
                    while rest != 0 {
                        (g, rest) = (rest, g % rest);
                    }
                    if g == 0 { Ok(0) } else { <$native>::try_from(x / g * y).map_err(|_| range()) }
                })
            }
        }
    )*};
}

divisors! {
    divisor4, I32, i32, "integer";
    divisor8, I64, i64, "bigint";
}

macro_rules! floats {
    ($($module:ident, $kind:ty, $native:ty;)*) => {$(
        /// Operators of one float type.
        pub(crate) mod $module {
            use super::*;

            pub(crate) fn add(call: &Call<'_>) -> Result<Value> {
                let compute = |a: $native, b: $native| (a + b, (a + b).is_infinite() & a.is_finite() & b.is_finite());
                compute2::<$kind, $native, bool>(call, compute, |a, b| sum(a, b).map(drop))
            }

            pub(crate) fn sub(call: &Call<'_>) -> Result<Value> {
                let compute = |a: $native, b: $native| (a - b, (a - b).is_infinite() & a.is_finite() & b.is_finite());
                compute2::<$kind, $native, bool>(call, compute, |a, b| sum(a, -b).map(drop))
            }

            /// The sum, checked.
            pub(crate) fn sum(a: $native, b: $native) -> Result<$native> {
                let sum = a + b;
                if sum.is_infinite() && a.is_finite() && b.is_finite() { Err(overflow()) } else { Ok(sum) }
            }

            pub(crate) fn mul(call: &Call<'_>) -> Result<Value> {
                let compute = |a: $native, b: $native| {
                    let product = a * b;
                    let overflow = product.is_infinite() & a.is_finite() & b.is_finite();
                    (product, overflow | ((product == 0.0) & (a != 0.0) & (b != 0.0)))
                };
                compute2::<$kind, $native, bool>(call, compute, |a, b| product(a, b).map(drop))
            }

            /// The product, checked.
            pub(crate) fn product(a: $native, b: $native) -> Result<$native> {
                let product = a * b;
                if product.is_infinite() && a.is_finite() && b.is_finite() {
                    Err(overflow())
                } else if product == 0.0 && a != 0.0 && b != 0.0 {
                    Err(underflow())
                } else {
                    Ok(product)
                }
            }

            pub(crate) fn div(call: &Call<'_>) -> Result<Value> {
                let compute = |a: $native, b: $native| {
                    let quotient = a / b;
                    let underflow = (quotient == 0.0) & (a != 0.0) & b.is_finite();
                    (quotient, (quotient.is_infinite() & a.is_finite()) | underflow | (b == 0.0))
                };
                compute2::<$kind, $native, bool>(call, compute, |a, b| quotient(a, b).map(drop))
            }

            /// The quotient, checked.
            pub(crate) fn quotient(a: $native, b: $native) -> Result<$native> {
                if b == 0.0 && !a.is_nan() {
                    return Err(division_by_zero());
                }
                let quotient = a / b;
                if quotient.is_infinite() && !a.is_infinite() {
                    Err(overflow())
                } else if quotient == 0.0 && a != 0.0 && !b.is_infinite() {
                    Err(underflow())
                } else {
                    Ok(quotient)
                }
            }

            pub(crate) fn neg(call: &Call<'_>) -> Result<Value> {
                map1::<$kind, $native>(call, |a| Ok(-a))
            }

            pub(crate) fn abs(call: &Call<'_>) -> Result<Value> {
                map1::<$kind, $native>(call, |a| Ok(a.abs()))
            }
        }
    )*};
}

floats! {
    float4, F32, f32;
    float8, F64, f64;
}

/// `real` with `double precision`, by an operator of the latter.
pub(crate) fn float4_float8(call: &Call<'_>, operator: impl Fn(f64, f64) -> Result<f64>) -> Result<Value> {
    map2::<F32, F64, f64>(call, |a, b| operator(f64::from(a), b))
}

/// `double precision` with `real`, by an operator of the former.
pub(crate) fn float8_float4(call: &Call<'_>, operator: impl Fn(f64, f64) -> Result<f64>) -> Result<Value> {
    map2::<F64, F32, f64>(call, |a, b| operator(a, f64::from(b)))
}

/// The argument itself: prefix `+`.
pub(crate) fn identity(call: &Call<'_>) -> Result<Value> {
    Ok(call.args[0].clone())
}

fn domain(message: &str) -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

fn power_error(message: &str) -> ValueError {
    ValueError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message)
}

/// Lifts a function of a double whose result must be finite if the argument is.
pub(crate) fn finite(call: &Call<'_>, f: impl Fn(f64) -> f64) -> Result<Value> {
    map1::<F64, f64>(call, |a| {
        let value = f(a);
        if value.is_infinite() && a.is_finite() { Err(overflow()) } else { Ok(value) }
    })
}

/// Lifts a trigonometric function, which infinity has no value of.
pub(crate) fn trigonometric(call: &Call<'_>, f: impl Fn(f64) -> f64) -> Result<Value> {
    map1::<F64, f64>(call, |a| if a.is_infinite() { Err(domain("input is out of range")) } else { Ok(f(a)) })
}

/// Lifts an inverse function, which has values between two arguments only.
pub(crate) fn inverse(call: &Call<'_>, low: f64, high: f64, f: impl Fn(f64) -> f64) -> Result<Value> {
    map1::<F64, f64>(call, |a| {
        if a.is_nan() || (low..=high).contains(&a) { Ok(f(a)) } else { Err(domain("input is out of range")) }
    })
}

pub(crate) fn sqrt(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |a| {
        if a < 0.0 { Err(power_error("cannot take square root of a negative number")) } else { Ok(a.sqrt()) }
    })
}

fn check_logarithm(a: f64) -> Result<()> {
    let message = if a == 0.0 {
        "cannot take logarithm of zero"
    } else if a < 0.0 {
        "cannot take logarithm of a negative number"
    } else {
        return Ok(());
    };
    Err(ValueError::new(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, message))
}

pub(crate) fn ln(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |a| check_logarithm(a).map(|()| a.ln()))
}

pub(crate) fn log10(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |a| check_logarithm(a).map(|()| a.log10()))
}

pub(crate) fn exp(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |a| {
        let value = a.exp();
        if value.is_infinite() && a.is_finite() {
            Err(overflow())
        } else if value == 0.0 && a.is_finite() {
            Err(underflow())
        } else {
            Ok(value)
        }
    })
}

/// `a ^ b`
pub(crate) fn power(call: &Call<'_>) -> Result<Value> {
    map2::<F64, F64, f64>(call, |a, b| {
        if a == 0.0 && b < 0.0 {
            return Err(power_error("zero raised to a negative power is undefined"));
        }
        if a.is_finite() && a < 0.0 && b.is_finite() && b.fract() != 0.0 {
            return Err(power_error(
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        let value = a.powf(b);
        if value.is_infinite() && a.is_finite() && b.is_finite() {
            Err(overflow())
        } else if value == 0.0 && a != 0.0 && a.is_finite() && b.is_finite() {
            Err(underflow())
        } else {
            Ok(value)
        }
    })
}

/// `round(double precision)`: ties to even, as C's `rint`.
pub(crate) fn round(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |a| Ok(a.round_ties_even()))
}

pub(crate) fn sign(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |a| {
        // NaN has sign 0, as in PostgreSQL.
        Ok(f64::from(i8::from(a > 0.0) - i8::from(a < 0.0)))
    })
}

pub(crate) fn width_bucket(call: &Call<'_>) -> Result<Value> {
    let [operand, low, high, count] = call.args else { unreachable!("four arguments") };
    let (operand, low) = (Arg::<F64>::of(operand), Arg::<F64>::of(low));
    let (high, count) = (Arg::<F64>::of(high), Arg::<I32>::of(count));
    super::lift::each_row(call, |row| bucket(operand.get(row), low.get(row), high.get(row), count.get(row)))
}

fn bucket(operand: f64, low: f64, high: f64, count: i32) -> Result<i32> {
    let invalid =
        |message: &str| ValueError::new(SqlState::INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION, message);
    if count <= 0 {
        return Err(invalid("count must be greater than zero"));
    }
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return Err(invalid("operand, lower bound, and upper bound cannot be NaN"));
    }
    if low.is_infinite() || high.is_infinite() {
        return Err(invalid("lower and upper bounds must be finite"));
    }
    if low == high {
        return Err(invalid("lower bound cannot equal upper bound"));
    }
    let (position, width) =
        if low < high { (operand - low, high - low) } else { (low - operand, low - high) };
    if position < 0.0 {
        Ok(0)
    } else if position >= width {
        count.checked_add(1).ok_or_else(|| out_of_range("integer"))
    } else {
        Ok((f64::from(count) * (position / width)) as i32 + 1)
    }
}

/// A column of random numbers in `[0, 1)`.
pub(crate) fn random(call: &Call<'_>) -> Result<Value> {
    // 53 bits fill a double's mantissa.
    let next = || (call.context.random_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let values: Vec<f64> = (0..call.rows).map(|_| next()).collect();
    Ok(Value::Array(f64::array(values, None, call.result)))
}

pub(crate) fn atan2(call: &Call<'_>) -> Result<Value> {
    map2::<F64, F64, f64>(call, |y, x| Ok(y.atan2(x)))
}

pub(crate) fn pi(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Scalar(std::f64::consts::PI.datum(call.result)))
}
