//! Count, sum and sum of squares of numerics, exactly, for variance and standard deviation.

use num_bigint::BigInt;

use super::arith::{SCALE_MAX, SIGNIFICANT_DIGITS, digits_of, divide_rounded_big, pow10_big};
use super::functions::root;
use super::{Numeric, POW10};
use crate::error::ValueError;

/// Sums of values and of their squares. Exact whatever the digits.
///
/// Invariant: sums are `small + big`, at `scale` and `2 * scale` fractional digits.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Moments {
    count: u64,
    nans: u64,
    scale: u8,
    small: Sums<i128>,
    big: Option<Box<Sums<BigInt>>>,
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Sums<T> {
    values: T,
    squares: T,
}

/// What [`Moments::deviation`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deviation {
    /// Divides by n - 1 instead of n.
    pub sample: bool,
    /// The square root: standard deviation instead of variance.
    pub root: bool,
}

impl Moments {
    /// Takes an integer.
    #[inline]
    pub fn add_integer(&mut self, value: i64) {
        let wide = i128::from(value);
        if self.scale == 0
            && let Some(squares) = self.small.squares.checked_add(wide * wide)
            && let Some(values) = self.small.values.checked_add(wide)
        {
            self.count += 1;
            self.small = Sums { values, squares };
        } else {
            self.add(Numeric::from(value));
        }
    }

    /// Takes a value.
    pub fn add(&mut self, value: Numeric) {
        self.count += 1;
        if value.is_nan() {
            self.nans += 1;
            return;
        }
        if value.scale() > self.scale {
            self.raise_scale(value.scale());
        }
        let shift = POW10[usize::from(self.scale - value.scale())];
        if let Some(value) = value.coefficient().checked_mul(shift)
            && let Some(square) = value.checked_mul(value)
            && let Some(squares) = self.small.squares.checked_add(square)
            && let Some(values) = self.small.values.checked_add(value)
        {
            self.small = Sums { values, squares };
            return;
        }
        let exact = value.at_scale_big(u32::from(self.scale));
        let big = self.big.get_or_insert_default();
        big.squares += &exact * &exact;
        big.values += exact;
    }

    /// Takes what another has summed.
    pub fn merge(&mut self, other: &Moments) {
        if other.scale > self.scale {
            self.raise_scale(other.scale);
        }
        self.count += other.count;
        self.nans += other.nans;
        let shift = u32::from(self.scale - other.scale);
        let sums = other.total();
        let big = self.big.get_or_insert_default();
        big.values += sums.values * pow10_big(shift);
        big.squares += sums.squares * pow10_big(2 * shift);
        self.settle();
    }

    /// Moves big sums that fit back to the small ones.
    fn settle(&mut self) {
        let total = self.total();
        if let (Ok(values), Ok(squares)) = (i128::try_from(&total.values), i128::try_from(&total.squares)) {
            self.small = Sums { values, squares };
            self.big = None;
        }
    }

    fn raise_scale(&mut self, scale: u8) {
        let shift = u32::from(scale - self.scale);
        let total = self.total();
        self.scale = scale;
        self.small = Sums::default();
        let values = total.values * pow10_big(shift);
        let squares = total.squares * pow10_big(2 * shift);
        self.big = Some(Box::new(Sums { values, squares }));
        self.settle();
    }

    fn total(&self) -> Sums<BigInt> {
        let mut total = Sums { values: self.small.values.into(), squares: self.small.squares.into() };
        if let Some(big) = &self.big {
            total.values += &big.values;
            total.squares += &big.squares;
        }
        total
    }

    /// Values taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Variance or standard deviation; `None` if there are too few values.
    ///
    /// # Errors
    /// 22003 if it has more digits than a numeric holds.
    pub fn deviation(&self, kind: Deviation) -> Result<Option<Numeric>, ValueError> {
        if self.count <= u64::from(kind.sample) {
            return Ok(None);
        }
        if self.nans > 0 {
            return Ok(Some(Numeric::NAN));
        }
        let total = self.total();
        let count = BigInt::from(self.count);
        let n = total.squares * &count - &total.values * &total.values;
        if n <= BigInt::ZERO {
            return Ok(Some(Numeric::ZERO));
        }
        let d = if kind.sample { &count * (self.count - 1) } else { &count * &count };
        let from = 2 * u32::from(self.scale);
        let scale = quotient_scale((&n, from), &d);
        let shift = u32::try_from(scale).expect("not below `from`");
        let variance = divide_rounded_big(&(n * pow10_big(shift - from)), &d);
        let value = if kind.root { root(&variance, shift, shift) } else { variance };
        Numeric::fit(value, shift).map(Some)
    }

    /// Bytes of all fields.
    pub fn to_bytes(&self) -> Vec<u8> {
        let total = self.total();
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.nans.to_le_bytes());
        bytes.push(self.scale);
        let values = total.values.to_signed_bytes_le();
        bytes.extend_from_slice(&(values.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&values);
        bytes.extend_from_slice(&total.squares.to_signed_bytes_le());
        bytes
    }

    /// Inverse of [`Moments::to_bytes`]; `None` if the bytes are no moments.
    pub fn from_bytes(bytes: &[u8]) -> Option<Moments> {
        let (count, rest) = bytes.split_first_chunk::<8>()?;
        let (nans, rest) = rest.split_first_chunk::<8>()?;
        let (scale, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (values, squares) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let sums = Sums {
            values: BigInt::from_signed_bytes_le(values),
            squares: BigInt::from_signed_bytes_le(squares),
        };
        let mut moments = Moments {
            count: u64::from_le_bytes(*count),
            nans: u64::from_le_bytes(*nans),
            scale: *scale,
            small: Sums::default(),
            big: Some(Box::new(sums)),
        };
        moments.settle();
        Some(moments)
    }
}

/// `select_div_scale` of PostgreSQL for a fixed-point number and an integer, both positive.
fn quotient_scale((n, scale): (&BigInt, u32), d: &BigInt) -> i64 {
    let (weight1, digit1) = leading_digit(n, scale);
    let (weight2, digit2) = leading_digit(d, 0);
    let weight = weight1 - weight2 - i64::from(digit1 <= digit2);
    (SIGNIFICANT_DIGITS - weight * 4).clamp(i64::from(scale), SCALE_MAX)
}

fn leading_digit(value: &BigInt, scale: u32) -> (i64, BigInt) {
    let digits = i64::from(digits_of(value));
    let exponent = digits - 1 - i64::from(scale);
    let shift = digits - (exponent.rem_euclid(4) + 1);
    let digit = match u32::try_from(shift) {
        Ok(shift) => value / pow10_big(shift),
        Err(_) => value * pow10_big(u32::try_from(-shift).expect("at most 3")),
    };
    (exponent.div_euclid(4), digit)
}
