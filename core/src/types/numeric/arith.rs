//! Sums, products, quotients and rounding. All in i128 where the values allow it, in big integers otherwise.

use num_bigint::{BigInt, Sign};

use super::{Numeric, POW10};
use crate::error::{SqlState, ValueError};

/// Least significant digits of quotients and functions (`NUMERIC_MIN_SIG_DIGITS`).
pub(super) const SIGNIFICANT_DIGITS: i64 = 16;
/// Largest scale of intermediate results (`NUMERIC_MAX_DISPLAY_SCALE`).
pub(super) const SCALE_MAX: i64 = 1_000;

/// 22003: more digits before the point than a numeric holds.
pub(super) fn overflow() -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

/// 22012.
pub(super) fn division_by_zero() -> ValueError {
    ValueError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// `n / d` rounded half away from zero; `d` is positive and `|n|` at most half of i128.
fn divide_rounded(n: i128, d: i128) -> i128 {
    let quotient = n / d;
    let rest = (n % d).unsigned_abs();
    if rest >= d.unsigned_abs() - rest { quotient + n.signum() } else { quotient }
}

/// As [`divide_rounded`] for big integers and any `d` that is not zero.
pub(super) fn divide_rounded_big(n: &BigInt, d: &BigInt) -> BigInt {
    let (n_magnitude, d_magnitude) = (n.magnitude(), d.magnitude());
    let quotient = (n_magnitude * 2u32 + d_magnitude) / (d_magnitude * 2u32);
    let negative = (n.sign() == Sign::Minus) != (d.sign() == Sign::Minus);
    BigInt::from_biguint(if negative { Sign::Minus } else { Sign::Plus }, quotient)
}

/// `10^power`.
pub(super) fn pow10_big(power: u32) -> BigInt {
    BigInt::from(10).pow(power)
}

impl Numeric {
    /// `coefficient * 10^-scale`, rounded to what a numeric holds.
    pub(super) fn fit(coefficient: BigInt, scale: u32) -> Result<Numeric, ValueError> {
        let limit = pow10_big(Self::DIGITS_MAX).into_parts().1;
        let mut scale = scale;
        let mut coefficient = coefficient;
        loop {
            let digits = if *coefficient.magnitude() < limit { 0 } else { digits_of(&coefficient) };
            let excess = digits.saturating_sub(Self::DIGITS_MAX).max(scale.saturating_sub(Self::DIGITS_MAX));
            if excess == 0 {
                let coefficient = i128::try_from(&coefficient).expect("below 10^38");
                return Ok(Numeric { coefficient, scale: u8::try_from(scale).expect("at most 38") });
            }
            if excess > scale {
                return Err(overflow());
            }
            // Rounding can carry into one more digit, hence the loop.
            coefficient = divide_rounded_big(&coefficient, &pow10_big(excess));
            scale -= excess;
        }
    }

    /// The value as a big integer at a scale that is not below its own.
    pub(super) fn at_scale_big(self, scale: u32) -> BigInt {
        BigInt::from(self.coefficient) * pow10_big(scale - u32::from(self.scale))
    }

    /// The sum, at the larger scale.
    ///
    /// # Errors
    /// 22003 on overflow.
    #[inline]
    pub fn try_add(self, other: Numeric) -> Result<Numeric, ValueError> {
        if self.scale == other.scale && !self.is_nan() {
            // Two values below 10^38 cannot overflow an i128.
            let sum = self.coefficient + other.coefficient;
            if let Some(sum) = Numeric::new(sum, self.scale) {
                return Ok(sum);
            }
        }
        self.add_unequal(other)
    }

    fn add_unequal(self, other: Numeric) -> Result<Numeric, ValueError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        let (low, high) = if self.scale < other.scale { (self, other) } else { (other, self) };
        let shift = POW10[usize::from(high.scale - low.scale)];
        let sum = low.coefficient.checked_mul(shift).and_then(|low| low.checked_add(high.coefficient));
        match sum.and_then(|sum| Numeric::new(sum, high.scale)) {
            Some(sum) => Ok(sum),
            None => {
                let scale = u32::from(high.scale);
                Numeric::fit(low.at_scale_big(scale) + high.at_scale_big(scale), scale)
            }
        }
    }

    /// The difference, at the larger scale.
    ///
    /// # Errors
    /// 22003 on overflow.
    #[inline]
    pub fn try_sub(self, other: Numeric) -> Result<Numeric, ValueError> {
        self.try_add(other.negated())
    }

    /// The product, at the sum of the scales.
    ///
    /// # Errors
    /// 22003 on overflow.
    #[inline]
    pub fn try_mul(self, other: Numeric) -> Result<Numeric, ValueError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        let product = match (i64::try_from(self.coefficient), i64::try_from(other.coefficient)) {
            (Ok(a), Ok(b)) => Some(i128::from(a) * i128::from(b)),
            _ => self.coefficient.checked_mul(other.coefficient),
        };
        // Neither scale is above 38, so the sum fits.
        match product.and_then(|product| Numeric::new(product, self.scale + other.scale)) {
            Some(product) => Ok(product),
            None => {
                let product = BigInt::from(self.coefficient) * BigInt::from(other.coefficient);
                Numeric::fit(product, u32::from(self.scale) + u32::from(other.scale))
            }
        }
    }

    /// The quotient with at least 16 significant digits.
    ///
    /// # Errors
    /// 22012, 22003 on overflow.
    pub fn try_div(self, other: Numeric) -> Result<Numeric, ValueError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.coefficient == 0 {
            return Err(division_by_zero());
        }
        let scale = self.quotient_scale(other);
        self.div_at(other, u32::try_from(scale).expect("between 0 and SCALE_MAX"))
    }

    /// The quotient rounded to `scale` digits; `other` is neither zero nor NaN.
    fn div_at(self, other: Numeric, scale: u32) -> Result<Numeric, ValueError> {
        let shift = i64::from(scale) + i64::from(other.scale) - i64::from(self.scale);
        if let Some(power) = usize::try_from(shift).ok().and_then(|shift| POW10.get(shift))
            && let Some(n) = self.coefficient.checked_mul(*power)
            && n.unsigned_abs() < 1 << 126
            && let Ok(scale) = u8::try_from(scale)
        {
            let n = if other.coefficient < 0 { -n } else { n };
            let d = other.coefficient.abs();
            if let Some(quotient) = Numeric::new(divide_rounded(n, d), scale) {
                return Ok(quotient);
            }
        }
        let mut n = BigInt::from(self.coefficient);
        let mut d = BigInt::from(other.coefficient);
        match u32::try_from(shift) {
            Ok(shift) => n *= pow10_big(shift),
            Err(_) => d *= pow10_big(u32::try_from(-shift).expect("at most 38")),
        }
        Numeric::fit(divide_rounded_big(&n, &d), scale)
    }

    /// `select_div_scale` of PostgreSQL: 16 significant digits, estimated in base 10,000 as there.
    fn quotient_scale(self, other: Numeric) -> i64 {
        let (weight1, digit1) = self.leading_digit();
        let (weight2, digit2) = other.leading_digit();
        let weight = weight1 - weight2 - i64::from(digit1 <= digit2);
        let scale = SIGNIFICANT_DIGITS - weight * 4;
        scale.max(i64::from(self.scale)).max(i64::from(other.scale)).clamp(0, SCALE_MAX)
    }

    /// Weight and value of the first digit that is not zero in base 10,000; both 0 for zero.
    pub(super) fn leading_digit(self) -> (i64, i64) {
        let magnitude = self.coefficient.unsigned_abs();
        if magnitude == 0 {
            return (0, 0);
        }
        let exponent = self.exponent();
        let weight = exponent.div_euclid(4);
        let wanted = exponent.rem_euclid(4) + 1;
        let digits = i64::from(magnitude.ilog10()) + 1;
        let shift = digits - wanted;
        let digit = if shift >= 0 {
            magnitude / 10u128.pow(shift as u32)
        } else {
            magnitude * 10u128.pow(-shift as u32)
        };
        (weight, digit as i64)
    }

    /// Decimal exponent of the first digit: 0 for 1 to 9.99; the value is not zero.
    pub(super) fn exponent(self) -> i64 {
        i64::from(self.coefficient.unsigned_abs().ilog10()) - i64::from(self.scale)
    }

    /// The rest of the division that truncates, at the larger scale, with the sign of the dividend.
    ///
    /// # Errors
    /// 22012.
    pub fn try_rem(self, other: Numeric) -> Result<Numeric, ValueError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.coefficient == 0 {
            return Err(division_by_zero());
        }
        let scale = self.scale.max(other.scale);
        let a = self.coefficient.checked_mul(POW10[usize::from(scale - self.scale)]);
        let b = other.coefficient.checked_mul(POW10[usize::from(scale - other.scale)]);
        if let (Some(a), Some(b)) = (a, b)
            && let Some(rest) = Numeric::new(a % b, scale)
        {
            return Ok(rest);
        }
        let scale = u32::from(scale);
        Numeric::fit(self.at_scale_big(scale) % other.at_scale_big(scale), scale)
    }

    /// The integer part of the quotient.
    ///
    /// # Errors
    /// 22012, 22003 on overflow.
    pub fn div_trunc(self, other: Numeric) -> Result<Numeric, ValueError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.coefficient == 0 {
            return Err(division_by_zero());
        }
        let scale = u32::from(self.scale.max(other.scale));
        Numeric::fit(self.at_scale_big(scale) / other.at_scale_big(scale), 0)
    }

    /// The negative.
    #[must_use]
    #[inline]
    pub fn negated(self) -> Numeric {
        Numeric { coefficient: -self.coefficient, scale: self.scale }
    }

    /// Without sign.
    #[must_use]
    pub fn abs(self) -> Numeric {
        Numeric { coefficient: self.coefficient.abs(), scale: self.scale }
    }

    /// -1, 0, 1 or NaN.
    #[must_use]
    pub fn signum(self) -> Numeric {
        if self.is_nan() { self } else { Numeric { coefficient: self.coefficient.signum(), scale: 0 } }
    }

    /// Rounded half away from zero to so many digits after the point, before it if negative.
    ///
    /// # Errors
    /// 22003 if rounding carries into a 39th digit.
    pub fn round(self, digits: i32) -> Result<Numeric, ValueError> {
        self.cut(digits, divide_rounded)
    }

    /// Cut off after so many digits after the point, before it if negative.
    ///
    /// # Errors
    /// None in practice; as [`Numeric::round`].
    pub fn trunc(self, digits: i32) -> Result<Numeric, ValueError> {
        self.cut(digits, |n, d| n / d)
    }

    /// The smallest integer that is not less.
    ///
    /// # Errors
    /// None in practice; as [`Numeric::round`].
    pub fn ceil(self) -> Result<Numeric, ValueError> {
        self.cut(0, |n, d| n.div_euclid(d) + i128::from(n.rem_euclid(d) != 0))
    }

    /// The largest integer that is not more.
    ///
    /// # Errors
    /// None in practice; as [`Numeric::round`].
    pub fn floor(self) -> Result<Numeric, ValueError> {
        self.cut(0, i128::div_euclid)
    }

    /// Changes the scale to `digits`, with `divide` saying what becomes of digits that go.
    fn cut(self, digits: i32, divide: impl Fn(i128, i128) -> i128) -> Result<Numeric, ValueError> {
        if self.is_nan() {
            return Ok(self);
        }
        let drop = i32::from(self.scale) - digits;
        if drop <= 0 {
            return Ok(self.extended(u32::try_from(digits).expect("not below the scale")));
        }
        let Some(power) = POW10.get(drop as usize) else {
            return Ok(Numeric { coefficient: 0, scale: digits.clamp(0, 38) as u8 });
        };
        let coefficient = divide(self.coefficient, *power);
        if digits >= 0 {
            return Ok(Numeric { coefficient, scale: digits as u8 });
        }
        let back =
            POW10.get(digits.unsigned_abs() as usize).and_then(|power| coefficient.checked_mul(*power));
        back.and_then(|coefficient| Numeric::new(coefficient, 0)).ok_or_else(overflow)
    }

    /// The same value with zeros appended up to `scale` digits after the point, as far as there is room for them.
    pub(super) fn extended(self, scale: u32) -> Numeric {
        let room = match self.coefficient {
            0 => Self::DIGITS_MAX,
            value => Self::DIGITS_MAX - 1 - value.unsigned_abs().ilog10(),
        };
        let wanted = scale.min(Self::DIGITS_MAX).saturating_sub(u32::from(self.scale));
        let more = wanted.min(room);
        Numeric {
            coefficient: self.coefficient * POW10[more as usize],
            scale: self.scale + u8::try_from(more).expect("at most 38"),
        }
    }

    /// The value as a column of `numeric(precision, scale)` stores it.
    ///
    /// # Errors
    /// 22003 if it has too many digits before the point.
    pub fn rescale(self, precision: u16, scale: i16) -> Result<Numeric, ValueError> {
        if self.is_nan() {
            return Ok(self);
        }
        let rounded = self.round(i32::from(scale))?;
        let limit = i32::from(precision) - i32::from(scale);
        if rounded.is_zero() || rounded.exponent() < i64::from(limit) {
            return Ok(rounded);
        }
        let bound = if limit == 0 { "1".to_owned() } else { format!("10^{limit}") };
        Err(ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
        )))
    }
}

/// Decimal digits of a magnitude that is not zero.
pub(super) fn digits_of(value: &BigInt) -> u32 {
    // The bits give the digits up to one; the comparison decides.
    let estimate = (value.bits() as f64 * std::f64::consts::LOG10_2) as u32;
    let below = u32::from(*value.magnitude() >= *pow10_big(estimate).magnitude());
    estimate + below
}
