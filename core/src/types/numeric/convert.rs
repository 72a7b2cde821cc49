//! Numerics from and to integers and floats.

use super::arith::overflow;
use super::{Numeric, POW10};
use crate::error::{SqlState, ValueError};

/// 0A000: PostgreSQL has infinite numerics since version 14, OmenDB has not.
pub(super) fn no_infinity() -> ValueError {
    ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, "numeric infinity is not supported")
}

impl From<i16> for Numeric {
    fn from(value: i16) -> Numeric {
        Numeric { coefficient: value.into(), scale: 0 }
    }
}

impl From<i32> for Numeric {
    fn from(value: i32) -> Numeric {
        Numeric { coefficient: value.into(), scale: 0 }
    }
}

impl From<i64> for Numeric {
    fn from(value: i64) -> Numeric {
        Numeric { coefficient: value.into(), scale: 0 }
    }
}

impl Numeric {
    /// From an integer of any size.
    ///
    /// # Errors
    /// 22003 if it has more than 38 digits.
    pub fn from_i128(value: i128) -> Result<Numeric, ValueError> {
        Numeric::new(value, 0).ok_or_else(overflow)
    }

    /// From a double with the 15 digits that PostgreSQL trusts in one.
    ///
    /// # Errors
    /// 22003 if it has more than 38 digits before the point, 0A000 for infinity.
    pub fn from_f64(value: f64) -> Result<Numeric, ValueError> {
        from_float(value, 15)
    }

    /// From a float with the 6 digits that PostgreSQL trusts in one.
    ///
    /// # Errors
    /// As [`Numeric::from_f64`].
    pub fn from_f32(value: f32) -> Result<Numeric, ValueError> {
        from_float(f64::from(value), 6)
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        /// Largest integer such that it and all below are doubles.
        const EXACT_MAX: u128 = 1 << 53;
        if self.is_nan() {
            return f64::NAN;
        }
        // Both operands are exact, so the quotient is rounded once.
        if self.coefficient.unsigned_abs() <= EXACT_MAX && self.scale <= 22 {
            return self.coefficient as f64 / POW10[usize::from(self.scale)] as f64;
        }
        self.to_string().parse().expect("a decimal is a float")
    }

    /// The nearest float.
    pub fn to_f32(self) -> f32 {
        if self.is_nan() { f32::NAN } else { self.to_string().parse().expect("a decimal is a float") }
    }

    /// The nearest integer, ties away from zero, if it fits an i128, and NaN told apart.
    fn to_integer(self, type_name: &str) -> Result<i128, ValueError> {
        if self.is_nan() {
            let message = format!("cannot convert NaN to {type_name}");
            return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        Ok(self.round(0)?.coefficient)
    }

    /// The nearest `smallint`, ties away from zero.
    ///
    /// # Errors
    /// 22003 if it does not fit, 0A000 for NaN.
    pub fn to_i16(self) -> Result<i16, ValueError> {
        let value = self.to_integer("smallint")?;
        i16::try_from(value).map_err(|_| out_of_range("smallint"))
    }

    /// The nearest `integer`, ties away from zero.
    ///
    /// # Errors
    /// 22003 if it does not fit, 0A000 for NaN.
    pub fn to_i32(self) -> Result<i32, ValueError> {
        let value = self.to_integer("integer")?;
        i32::try_from(value).map_err(|_| out_of_range("integer"))
    }

    /// The nearest `bigint`, ties away from zero.
    ///
    /// # Errors
    /// 22003 if it does not fit, 0A000 for NaN.
    pub fn to_i64(self) -> Result<i64, ValueError> {
        let value = self.to_integer("bigint")?;
        i64::try_from(value).map_err(|_| out_of_range("bigint"))
    }
}

fn out_of_range(type_name: &str) -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{type_name} out of range"))
}

fn from_float(value: f64, digits: usize) -> Result<Numeric, ValueError> {
    if value.is_nan() {
        return Ok(Numeric::NAN);
    }
    if value.is_infinite() {
        return Err(no_infinity());
    }
    // As C's `%.*g`: so many significant digits, correctly rounded, without trailing zeros.
    let text = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = text.split_once('e').expect("`e` notation has one");
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let mut value = Numeric::parse(&format!("{mantissa}e{exponent}"))?;
    if value.is_zero() {
        value = Numeric::ZERO;
    }
    Ok(value)
}
