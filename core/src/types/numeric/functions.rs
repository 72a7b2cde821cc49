//! Roots, logarithms, exponentials and powers, in fixed-point big integers.
//!
//! Result scales are PostgreSQL's; digits agree with it as far as a numeric holds them.

use num_bigint::BigInt;

use super::Numeric;
use super::arith::{
    SCALE_MAX, SIGNIFICANT_DIGITS, digits_of, divide_rounded_big, division_by_zero, overflow, pow10_big,
};
use crate::error::{SqlState, ValueError};

/// log10(e)
const LOG10_E: f64 = std::f64::consts::LOG10_E;
/// Digits of intermediate results beyond those of the result: 38 for the size of numbers, the rest for rounding.
const GUARD_DIGITS: u32 = 60;
/// Results below `10^-RESULT_EXPONENT_MAX` are zero and above its inverse overflow.
const RESULT_EXPONENT_MAX: f64 = 1_000.0;
/// Largest exponent for which an integer power is computed exactly.
const EXACT_POWER_MAX: u32 = 4_096;

fn power_error(message: &str) -> ValueError {
    ValueError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message)
}

impl Numeric {
    /// The square root.
    ///
    /// # Errors
    /// 2201F for a negative number.
    pub fn sqrt(self) -> Result<Numeric, ValueError> {
        if self.is_nan() {
            return Ok(self);
        }
        if self.is_negative() {
            return Err(power_error("cannot take square root of a negative number"));
        }
        let (weight, _) = self.leading_digit();
        let integer_digits = weight * 2 + 1;
        let scale = result_scale(SIGNIFICANT_DIGITS - integer_digits, &[self]);
        Numeric::fit(root(&BigInt::from(self.coefficient), u32::from(self.scale), scale), scale)
    }

    /// The natural logarithm.
    ///
    /// # Errors
    /// 2201E for zero and negative numbers.
    pub fn ln(self) -> Result<Numeric, ValueError> {
        if self.is_nan() {
            return Ok(self);
        }
        self.check_logarithm()?;
        let scale = result_scale(SIGNIFICANT_DIGITS - self.ln_weight(), &[self]);
        let digits = scale + GUARD_DIGITS;
        Numeric::fit(rounded(&fixed_ln(self, digits), digits, scale), scale)
    }

    /// The logarithm to a base.
    ///
    /// # Errors
    /// 2201E for zero and negative numbers, 22012 for base 1.
    pub fn log(self, base: Numeric) -> Result<Numeric, ValueError> {
        if self.is_nan() || base.is_nan() {
            return Ok(Numeric::NAN);
        }
        base.check_logarithm()?;
        self.check_logarithm()?;
        let weight = self.ln_weight() - base.ln_weight();
        let scale = result_scale(SIGNIFICANT_DIGITS - weight, &[self, base]);
        let digits = scale + GUARD_DIGITS;
        let base = fixed_ln(base, digits);
        if base == BigInt::ZERO {
            return Err(division_by_zero());
        }
        let quotient = divide_rounded_big(&(fixed_ln(self, digits) * pow10_big(scale)), &base);
        Numeric::fit(quotient, scale)
    }

    /// `e` raised to it.
    ///
    /// # Errors
    /// 22003 on overflow.
    pub fn exp(self) -> Result<Numeric, ValueError> {
        if self.is_nan() {
            return Ok(self);
        }
        let exponent = self.to_f64() * LOG10_E;
        if exponent > RESULT_EXPONENT_MAX {
            return Err(overflow());
        }
        let exponent = exponent.max(-RESULT_EXPONENT_MAX);
        let scale = result_scale(SIGNIFICANT_DIGITS - exponent as i64, &[self]);
        if exponent <= -RESULT_EXPONENT_MAX {
            return Numeric::fit(BigInt::ZERO, scale);
        }
        let digits = scale + GUARD_DIGITS;
        Numeric::fit(rounded(&fixed_exp(&self.at_scale_big(digits), digits), digits, scale), scale)
    }

    /// It raised to `exponent`.
    ///
    /// # Errors
    /// 2201F outside the domain, 22012 for zero to a negative integer, 22003 on overflow.
    pub fn power(self, exponent: Numeric) -> Result<Numeric, ValueError> {
        if self.is_nan() || exponent.is_nan() {
            let one = exponent.is_zero() || self.compare(Numeric::ONE).is_eq();
            return Ok(if one { Numeric::ONE } else { Numeric::NAN });
        }
        if exponent.is_zero() {
            return Ok(Numeric::ONE.extended(result_scale(SIGNIFICANT_DIGITS, &[self])));
        }
        if self.is_zero() && exponent.is_negative() {
            return Err(power_error("zero raised to a negative power is undefined"));
        }
        let integer = exponent.normalized();
        if integer.scale == 0
            && let Ok(power) = i32::try_from(integer.coefficient)
        {
            return self.integer_power(power);
        }
        if self.is_zero() {
            return Ok(Numeric::ZERO.extended(16));
        }
        if self.is_negative() && integer.scale != 0 {
            let message = "a negative number raised to a non-integer power yields a complex result";
            return Err(power_error(message));
        }
        let odd = self.is_negative() && integer.coefficient % 2 != 0;
        let magnitude = self.abs().real_power(exponent)?;
        Ok(if odd { magnitude.negated() } else { magnitude })
    }

    /// The base is positive.
    fn real_power(self, exponent: Numeric) -> Result<Numeric, ValueError> {
        let weight = fixed_ln(self, GUARD_DIGITS) * BigInt::from(exponent.coefficient);
        let weight = approximate(&weight, GUARD_DIGITS + u32::from(exponent.scale)) * LOG10_E;
        if weight > RESULT_EXPONENT_MAX {
            return Err(overflow());
        }
        let scale = result_scale(SIGNIFICANT_DIGITS - weight.max(-1_000.0) as i64, &[self, exponent]);
        if weight < -RESULT_EXPONENT_MAX {
            return Numeric::fit(BigInt::ZERO, scale);
        }
        let digits = scale + GUARD_DIGITS;
        let logarithm = fixed_ln(self, digits) * BigInt::from(exponent.coefficient);
        let logarithm = divide_rounded_big(&logarithm, &pow10_big(exponent.scale.into()));
        Numeric::fit(rounded(&fixed_exp(&logarithm, digits), digits, scale), scale)
    }

    fn integer_power(self, power: i32) -> Result<Numeric, ValueError> {
        let scale = result_scale(SIGNIFICANT_DIGITS, &[self]);
        let count = power.unsigned_abs();
        if self.is_zero() {
            return Ok(Numeric::ZERO.extended(scale));
        }
        let weight = f64::from(power) * self.abs().to_f64().log10();
        if weight > RESULT_EXPONENT_MAX {
            return Err(overflow());
        }
        if weight < -RESULT_EXPONENT_MAX {
            return Numeric::fit(BigInt::ZERO, scale);
        }
        if count > EXACT_POWER_MAX {
            let magnitude = self.abs().real_power(Numeric::from(power))?.round(scale as i32)?;
            return Ok(if self.is_negative() && count % 2 == 1 { magnitude.negated() } else { magnitude });
        }
        let digits = BigInt::from(self.coefficient).pow(count);
        let unit = pow10_big(u32::from(self.scale) * count);
        let (n, d) = if power < 0 { (unit, digits) } else { (digits, unit) };
        Numeric::fit(divide_rounded_big(&(n * pow10_big(scale)), &d), scale)
    }

    fn check_logarithm(self) -> Result<(), ValueError> {
        let message = match self.coefficient {
            0 => "cannot take logarithm of zero",
            ..0 => "cannot take logarithm of a negative number",
            _ => return Ok(()),
        };
        Err(ValueError::new(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, message))
    }

    /// `estimate_ln_dweight` of PostgreSQL: the decimal exponent of the natural logarithm, estimated as there.
    fn ln_weight(self) -> i64 {
        let near_one = Numeric { coefficient: 9, scale: 1 }.compare(self).is_le()
            && Numeric { coefficient: 11, scale: 1 }.compare(self).is_ge();
        if near_one {
            return match self.try_sub(Numeric::ONE) {
                Ok(rest) if !rest.is_zero() => {
                    let (weight, digit) = rest.leading_digit();
                    weight * 4 + i64::from(digit.ilog10())
                }
                _ => 0,
            };
        }
        (self.to_f64().ln().abs().log10()) as i64
    }
}

/// The scale of a function's result: so many digits, no fewer than the arguments have.
fn result_scale(wanted: i64, args: &[Numeric]) -> u32 {
    let least = args.iter().map(|arg| i64::from(arg.scale())).max().unwrap_or(0);
    u32::try_from(wanted.max(least).clamp(0, SCALE_MAX)).expect("clamped")
}

/// A fixed-point number at another, smaller scale.
fn rounded(value: &BigInt, digits: u32, scale: u32) -> BigInt {
    divide_rounded_big(value, &pow10_big(digits - scale))
}

/// A fixed-point number as a float.
fn approximate(value: &BigInt, digits: u32) -> f64 {
    if *value == BigInt::ZERO {
        return 0.0;
    }
    let excess = digits_of(value).saturating_sub(20);
    let head = i128::try_from(value / pow10_big(excess)).expect("20 digits") as f64;
    head * 10f64.powi(excess as i32 - digits as i32)
}

/// The root of `coefficient * 10^-from` at scale `to`, rounded.
pub(super) fn root(coefficient: &BigInt, from: u32, to: u32) -> BigInt {
    // One more pair of digits, so that what is cut off below decides nothing.
    let digits = to + from.div_ceil(2) + 1;
    let square = coefficient * pow10_big(2 * digits - from);
    rounded(&square.sqrt(), digits, to)
}

/// `e^x` of a fixed-point number, relative error below `10^-(digits - 45)`.
fn fixed_exp(x: &BigInt, digits: u32) -> BigInt {
    /// Halvings: the series then converges with three digits per term.
    const HALVINGS: u32 = 10;
    let guard = digits + 10;
    let one = pow10_big(guard);
    // Halved until it is below 2^-10; arguments are below 2,400 (`RESULT_EXPONENT_MAX`).
    let halvings = HALVINGS + 12;
    let reduced = (x * pow10_big(10)) >> halvings;
    let mut sum = one.clone();
    let mut term = one.clone();
    let mut n = 1u32;
    loop {
        term = &term * &reduced / &one / n;
        if term.magnitude().bits() == 0 {
            break;
        }
        sum += &term;
        n += 1;
    }
    // Squaring doubles the relative error: 22 doublings cost 7 of the 10 guard digits.
    for _ in 0..halvings {
        sum = &sum * &sum / &one;
    }
    rounded(&sum, guard, digits)
}

/// `ln(x)` as a fixed-point number; `x` is positive.
fn fixed_ln(x: Numeric, digits: u32) -> BigInt {
    // ln(m * 2^k) = ln(m) + k ln(2), with m between 1/2 and 2, so that digits are not lost to the size of x.
    let value = x.at_scale_big(digits.max(u32::from(x.scale)) + u32::from(x.scale));
    let scale = digits.max(u32::from(x.scale)) + u32::from(x.scale);
    let one = pow10_big(scale);
    let shift = value.bits() as i64 - one.bits() as i64;
    let m = if shift > 0 { value >> shift as u64 } else { value << (-shift) as u64 };
    let sum = atanh_series(&(&m - &one), &(&m + &one), scale) * 2;
    let two = atanh_series(&BigInt::from(1), &BigInt::from(3), scale) * 2;
    rounded(&(sum + two * shift), scale, digits)
}

/// `atanh(n / d)` as a fixed-point number.
fn atanh_series(n: &BigInt, d: &BigInt, scale: u32) -> BigInt {
    let one = pow10_big(scale);
    let ratio = n * &one / d;
    let square = &ratio * &ratio / &one;
    let mut power = ratio;
    let mut sum = BigInt::ZERO;
    let mut k = 1u32;
    while power.magnitude().bits() > 0 {
        sum += &power / k;
        power = &power * &square / &one;
        k += 2;
    }
    sum
}
