//! Numerics as text.

use std::fmt;

use num_bigint::BigInt;

use super::Numeric;
use crate::error::{SqlState, ValueError};

/// Powers of ten up to the digits of a numeric.
pub const POW10: [i128; 39] = {
    let mut powers = [1; 39];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Largest exponent that is looked at; PostgreSQL has the same order of magnitude (`NUMERIC_MAX_PRECISION`).
const EXPONENT_MAX: i64 = 1_000_000;
/// Longest text of a number that is read: PostgreSQL's digits before and after the point.
const TEXT_BYTES_MAX: usize = 150_000;

impl Numeric {
    /// Reads a decimal: sign, digits, point, exponent, or NaN, with spaces around.
    ///
    /// # Errors
    /// 22P02 if it is no number, 22003 if it has too many digits before the point, 0A000 for infinity.
    pub fn parse(text: &str) -> Result<Numeric, ValueError> {
        let bytes = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']).as_bytes();
        let invalid = || {
            let message = format!("invalid input syntax for type numeric: \"{text}\"");
            ValueError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
        };
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(super::arith::overflow());
        }
        let (negative, unsigned) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if !unsigned.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.') {
            return special(bytes, unsigned).unwrap_or_else(|| Err(invalid()));
        }
        let digits = Digits::scan(unsigned).ok_or_else(invalid)?;
        digits.value(negative).ok_or_else(invalid)?
    }

    /// Appends the text.
    pub fn write(self, out: &mut Vec<u8>) {
        if self.is_nan() {
            return out.extend_from_slice(b"NaN");
        }
        if self.coefficient < 0 {
            out.push(b'-');
        }
        let mut buffer = [b'0'; 40];
        let digits = write_digits(self.coefficient.unsigned_abs(), &mut buffer);
        let scale = usize::from(self.scale);
        // At least one digit before the point; the buffer is filled with zeros in front.
        let length = digits.max(scale + 1);
        let (integer, fraction) = buffer[buffer.len() - length..].split_at(length - scale);
        out.extend_from_slice(integer);
        if scale > 0 {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }
}

/// Writes the digits at the end of the buffer; answers how many.
fn write_digits(value: u128, buffer: &mut [u8; 40]) -> usize {
    const CHUNK: u128 = 1_000_000_000_000_000_000;
    let mut at = buffer.len();
    let mut rest = value;
    loop {
        let more = rest >= CHUNK;
        let mut chunk = if more { (rest % CHUNK) as u64 } else { rest as u64 };
        let stop = at.saturating_sub(18);
        while if more { at > stop } else { chunk > 0 } {
            at -= 1;
            buffer[at] = b'0' + (chunk % 10) as u8;
            chunk /= 10;
        }
        if !more {
            return buffer.len() - at;
        }
        rest /= CHUNK;
    }
}

fn special(signed: &[u8], unsigned: &[u8]) -> Option<Result<Numeric, ValueError>> {
    if signed.eq_ignore_ascii_case(b"nan") {
        return Some(Ok(Numeric::NAN));
    }
    let infinite = unsigned.eq_ignore_ascii_case(b"infinity") || unsigned.eq_ignore_ascii_case(b"inf");
    infinite.then(|| Err(super::convert::no_infinity()))
}

/// The parts of a number's text.
struct Digits<'a> {
    integer: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Digits<'a> {
    fn scan(text: &'a [u8]) -> Option<Digits<'a>> {
        let (integer, rest) = split_digits(text);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => split_digits(rest),
            rest => (&rest[..0], rest),
        };
        if integer.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => scan_exponent(rest)?,
            _ => return None,
        };
        Some(Digits { integer, fraction, exponent })
    }

    /// `None` if the exponent is not a number's; an error if the value does not fit.
    fn value(&self, negative: bool) -> Option<Result<Numeric, ValueError>> {
        if self.exponent.abs() > EXPONENT_MAX {
            return Some(Err(super::arith::overflow()));
        }
        let fraction_digits = i64::try_from(self.fraction.len()).expect("bounded by TEXT_BYTES_MAX");
        let scale = fraction_digits - self.exponent;
        let digits = self.integer.len() + self.fraction.len();
        if digits <= 38 && (0..=38).contains(&scale) {
            let mut coefficient: i128 = 0;
            for byte in self.integer.iter().chain(self.fraction) {
                coefficient = coefficient * 10 + i128::from(byte - b'0');
            }
            let scale = u8::try_from(scale).expect("between 0 and 38");
            let coefficient = if negative { -coefficient } else { coefficient };
            return Some(Ok(Numeric { coefficient, scale }));
        }
        let mut all = Vec::with_capacity(digits);
        all.extend_from_slice(self.integer);
        all.extend_from_slice(self.fraction);
        let significant = all.len() - all.iter().take_while(|byte| **byte == b'0').count();
        let integer_digits = i64::try_from(significant).expect("bounded by TEXT_BYTES_MAX") - scale;
        if significant == 0 {
            return Some(Ok(Numeric { coefficient: 0, scale: scale.clamp(0, 38) as u8 }));
        }
        if integer_digits > 38 {
            return Some(Err(super::arith::overflow()));
        }
        if integer_digits < -38 {
            return Some(Ok(Numeric { coefficient: 0, scale: 38 }));
        }
        let magnitude = BigInt::parse_bytes(&all, 10)?;
        let value = if negative { -magnitude } else { magnitude };
        Some(if scale < 0 {
            let power = u32::try_from(-scale).expect("bounded by EXPONENT_MAX");
            Numeric::fit(value * BigInt::from(10).pow(power), 0)
        } else {
            Numeric::fit(value, u32::try_from(scale).expect("bounded by EXPONENT_MAX"))
        })
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn scan_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0i64, |value, byte| value.saturating_mul(10).saturating_add(i64::from(byte - b'0')));
    Some(if negative { -value } else { value })
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(42);
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).expect("ASCII"))
    }
}
