//! `numeric`: a decimal of up to 38 digits with its own display scale, and NaN.
//!
//! Arithmetic follows PostgreSQL 15 (`src/backend/utils/adt/numeric.c`): scales of sums and products, at least 16
//! significant digits of quotients, roots and logarithms, rounding half away from zero. PostgreSQL keeps up to 131,072
//! digits before and 16,383 after the point. Here a result of more than 38 digits loses digits at its end, rounded,
//! and is an error (22003) if its integer part alone has more than 38. There is no numeric infinity (0A000).

mod arith;
mod convert;
mod functions;
mod moments;
mod parse;

use std::cmp::Ordering;

pub use moments::{Deviation, Moments};
pub use parse::POW10;

/// Bytes of a numeric in rows and Arrow arrays: scale u8 (255 = NaN), coefficient i128 little-endian.
pub const NUMERIC_BYTES: usize = 17;

const NAN_SCALE: u8 = u8::MAX;

/// `coefficient * 10^-scale`, displayed with `scale` fractional digits.
/// Invariant: `|coefficient| < 10^38` and `scale <= 38`, or the value is NaN.
/// Equality of fields is not SQL equality (`1.0 = 1.00`); see [`Numeric::compare`] and [`Numeric::normalized`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Numeric {
    coefficient: i128,
    scale: u8,
}

impl Numeric {
    /// Largest number of significant digits.
    pub const DIGITS_MAX: u32 = 38;
    /// Zero with no fractional digits.
    pub const ZERO: Numeric = Numeric { coefficient: 0, scale: 0 };
    /// One with no fractional digits.
    pub const ONE: Numeric = Numeric { coefficient: 1, scale: 0 };
    /// Not a number: equal to itself and above every number (PG 15, chapter 8.1.2).
    pub const NAN: Numeric = Numeric { coefficient: 0, scale: NAN_SCALE };

    /// `coefficient * 10^-scale`, or `None` if it breaks the invariant.
    #[inline]
    pub fn new(coefficient: i128, scale: u8) -> Option<Numeric> {
        let fits = coefficient.unsigned_abs() < 10u128.pow(Self::DIGITS_MAX);
        (fits && u32::from(scale) <= Self::DIGITS_MAX).then_some(Numeric { coefficient, scale })
    }

    /// The unscaled value; 0 for NaN.
    #[inline]
    pub fn coefficient(self) -> i128 {
        self.coefficient
    }

    /// Fractional digits displayed; 0 for NaN.
    #[inline]
    pub fn scale(self) -> u8 {
        if self.is_nan() { 0 } else { self.scale }
    }

    /// Whether this is NaN.
    #[inline]
    pub fn is_nan(self) -> bool {
        self.scale == NAN_SCALE
    }

    /// Whether this is zero, with whatever scale.
    #[inline]
    pub fn is_zero(self) -> bool {
        self.coefficient == 0 && !self.is_nan()
    }

    /// Whether this is below zero.
    #[inline]
    pub fn is_negative(self) -> bool {
        self.coefficient < 0
    }

    /// Bytes for rows and arrays.
    #[inline]
    pub fn to_bytes(self) -> [u8; NUMERIC_BYTES] {
        let mut bytes = [0; NUMERIC_BYTES];
        bytes[0] = self.scale;
        bytes[1..].copy_from_slice(&self.coefficient.to_le_bytes());
        bytes
    }

    /// Writes what [`Numeric::to_bytes`] gives for a coefficient of 64 bits.
    #[inline]
    pub fn write_small(scale: u8, coefficient: i64, out: &mut [u8; NUMERIC_BYTES]) {
        // All but the last byte are one word, so that nothing is copied from elsewhere.
        let word = (i128::from(coefficient) << 8) | i128::from(scale);
        let [start @ .., last] = out;
        *start = word.to_le_bytes();
        *last = (coefficient >> 63) as u8;
    }

    /// Inverse of [`Numeric::to_bytes`]; `None` if the bytes break the invariant.
    pub fn from_bytes(bytes: [u8; NUMERIC_BYTES]) -> Option<Numeric> {
        let [scale, rest @ ..] = bytes;
        let coefficient = i128::from_le_bytes(rest);
        if scale == NAN_SCALE {
            return (coefficient == 0).then_some(Numeric::NAN);
        }
        Numeric::new(coefficient, scale)
    }

    /// As [`Numeric::from_bytes`] for bytes of an array, which were a numeric when they were stored.
    ///
    /// # Panics
    /// In debug builds if they are not.
    #[inline]
    pub fn from_trusted_bytes(bytes: [u8; NUMERIC_BYTES]) -> Numeric {
        let [scale, rest @ ..] = bytes;
        let value = Numeric { coefficient: i128::from_le_bytes(rest), scale };
        debug_assert!(value.is_nan() || Numeric::new(value.coefficient, scale).is_some());
        value
    }

    /// The order of SQL: by value, whatever the scales; NaN is equal to itself and above all numbers.
    #[inline]
    pub fn compare(self, other: Numeric) -> Ordering {
        if self.is_nan() || other.is_nan() {
            return self.is_nan().cmp(&other.is_nan());
        }
        if self.scale == other.scale {
            return self.coefficient.cmp(&other.coefficient);
        }
        let (a, b) = (self.coefficient, other.coefficient);
        let difference = usize::from(self.scale.abs_diff(other.scale));
        if self.scale < other.scale {
            // An overflow means that |a| scaled is beyond every |b|.
            a.checked_mul(POW10[difference]).map_or_else(|| a.cmp(&0), |a| a.cmp(&b))
        } else {
            b.checked_mul(POW10[difference]).map_or_else(|| 0.cmp(&b), |b| a.cmp(&b))
        }
    }

    /// The same value without trailing zeros after the point: SQL-equal values become equal in all fields, so this is
    /// what hashes are made of.
    #[must_use]
    pub fn normalized(self) -> Numeric {
        if self.is_nan() {
            return self;
        }
        let Numeric { mut coefficient, mut scale } = self;
        while scale > 0 && coefficient % 10 == 0 {
            coefficient /= 10;
            scale -= 1;
        }
        Numeric { coefficient, scale }
    }
}

#[cfg(test)]
mod tests;
