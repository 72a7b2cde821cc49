//! Integers and floats as text.

use omen_core::SqlState;
use omen_core::error::ValueError;

/// What C's `isspace` takes for white space.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Without white space around.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Text for a message; bytes that are not UTF-8 are replaced.
pub(crate) fn shown(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// 22P02 `invalid input syntax for type integer: "x"`.
pub(crate) fn invalid_syntax(type_name: &str, text: &[u8]) -> ValueError {
    let message = format!("invalid input syntax for type {type_name}: \"{}\"", shown(text));
    ValueError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
}

/// Reads an integer of up to 64 bits; `min` and `max` are those of the type.
pub(crate) fn parse_integer(text: &[u8], type_name: &str, min: i64, max: i64) -> Result<i64, ValueError> {
    let (negative, digits) = match trim(text) {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    // Eighteen digits cannot overflow.
    let mut value: i64 = 0;
    let mut exact = true;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(invalid_syntax(type_name, text));
        }
        // Counted downwards, because the smallest number has no positive counterpart.
        match value.checked_mul(10).and_then(|value| value.checked_sub(i64::from(digit))) {
            Some(next) => value = next,
            None => exact = false,
        }
    }
    if digits.is_empty() {
        return Err(invalid_syntax(type_name, text));
    }
    let value = if negative { Some(value) } else { value.checked_neg() };
    value.filter(|value| exact && (min..=max).contains(value)).ok_or_else(|| {
        let message = format!("value \"{}\" is out of range for type {type_name}", shown(text));
        ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
    })
}

/// Reads a `double precision`.
pub(crate) fn parse_f64(text: &[u8]) -> Result<f64, ValueError> {
    parse_float(
        text,
        "double precision",
        |text| text.parse::<f64>().ok(),
        |value| (*value == 0.0, value.is_infinite()),
    )
}

/// Reads a `real`.
pub(crate) fn parse_f32(text: &[u8]) -> Result<f32, ValueError> {
    parse_float(text, "real", |text| text.parse::<f32>().ok(), |value| (*value == 0.0, value.is_infinite()))
}

fn parse_float<T>(
    text: &[u8],
    type_name: &str,
    read: impl Fn(&str) -> Option<T>,
    ends: impl Fn(&T) -> (bool, bool),
) -> Result<T, ValueError> {
    let invalid = || invalid_syntax(type_name, text);
    let trimmed = std::str::from_utf8(trim(text)).map_err(|_| invalid())?;
    let value = read(trimmed).ok_or_else(invalid)?;
    let (zero, infinite) = ends(&value);
    let significant = || trimmed.bytes().take_while(|byte| !matches!(byte, b'e' | b'E'));
    let overflow = infinite && significant().any(|byte| byte.is_ascii_digit());
    let underflow = zero && significant().any(|byte| matches!(byte, b'1'..=b'9'));
    if overflow || underflow {
        let message = format!("\"{trimmed}\" is out of range for type {type_name}");
        return Err(ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    Ok(value)
}

const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut i = 0;
    while i < 100 {
        pairs[2 * i] = b'0' + (i / 10) as u8;
        pairs[2 * i + 1] = b'0' + (i % 10) as u8;
        i += 1;
    }
    pairs
};

/// Appends a number below 100 with two digits.
#[inline]
pub(crate) fn write_two(value: u32, out: &mut Vec<u8>) {
    let at = 2 * value as usize;
    out.extend_from_slice(&PAIRS[at..at + 2]);
}

/// Writes the digits at the end of a buffer; answers where they start.
fn digits_of(value: u64, buffer: &mut [u8; 20]) -> usize {
    let mut at = buffer.len();
    let mut rest = value;
    while rest >= 100 {
        let pair = 2 * (rest % 100) as usize;
        rest /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if rest >= 10 {
        let pair = 2 * rest as usize;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buffer[at] = b'0' + rest as u8;
    }
    at
}

/// Appends a number, filled with zeros in front up to `width` digits.
pub(crate) fn write_padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = [0; 20];
    let start = digits_of(value, &mut buffer);
    let digits = &buffer[start..];
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(digits);
}

/// Appends an integer.
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut buffer = [0; 20];
    let start = digits_of(value.unsigned_abs(), &mut buffer);
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&buffer[start..]);
}

/// Appends a `double precision` as `extra_float_digits` says.
pub(crate) fn write_f64(value: f64, extra_digits: i32, out: &mut Vec<u8>) {
    /// Digits that every decimal keeps in a double (`DBL_DIG`).
    const DIGITS: i32 = 15;
    if write_special(value, out) {
        return;
    }
    if extra_digits > 0 {
        let mut buffer = ryu::Buffer::new();
        let shortest = Decimal::parse(buffer.format_finite(value.abs()));
        let shortest =
            if shortest.is_halfway(value.abs(), 53) { closer(value.abs(), &shortest) } else { shortest };
        shortest.write(value.is_sign_negative(), DIGITS, out);
    } else {
        write_digits(value, (DIGITS + extra_digits).max(1), out);
    }
}

/// Appends a `real` as `extra_float_digits` says.
pub(crate) fn write_f32(value: f32, extra_digits: i32, out: &mut Vec<u8>) {
    /// Digits that every decimal keeps in a float (`FLT_DIG`).
    const DIGITS: i32 = 6;
    let wide = f64::from(value);
    if write_special(wide, out) {
        return;
    }
    if extra_digits > 0 {
        let mut buffer = ryu::Buffer::new();
        let shortest = Decimal::parse(buffer.format_finite(value.abs()));
        let shortest =
            if shortest.is_halfway(wide.abs(), 24) { closer_f32(value.abs(), &shortest) } else { shortest };
        shortest.write(value.is_sign_negative(), DIGITS, out);
    } else {
        write_digits(wide, (DIGITS + extra_digits).max(1), out);
    }
}

fn write_special(value: f64, out: &mut Vec<u8>) -> bool {
    let text: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value == f64::INFINITY {
        b"Infinity"
    } else if value == f64::NEG_INFINITY {
        b"-Infinity"
    } else {
        return false;
    };
    out.extend_from_slice(text);
    true
}

/// C's `%.*g`.
fn write_digits(value: f64, digits: i32, out: &mut Vec<u8>) {
    let decimal = Decimal::parse(&format!("{:.*e}", digits as usize - 1, value.abs()));
    decimal.write(value.is_sign_negative(), digits, out);
}

/// `0.digits * 10^point`, without zeros at either end of the digits.
struct Decimal {
    digits: u64,
    length: i32,
    point: i32,
}

impl Decimal {
    /// From digits with an optional point and exponent. At most 17 digits are not zero.
    fn parse(text: &str) -> Decimal {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mut point: i32 = exponent.parse().expect("an exponent of ours");
        let (mut digits, mut length) = (0u64, 0);
        let mut zeros = 0;
        let mut fraction = false;
        for byte in mantissa.bytes() {
            if byte == b'.' {
                fraction = true;
                continue;
            }
            if byte == b'0' {
                zeros += 1;
            } else {
                // Zeros in front are not digits.
                let shift = if length == 0 { 0 } else { zeros };
                length += shift + 1;
                digits = digits * 10u64.pow(shift as u32 + 1) + u64::from(byte - b'0');
                zeros = 0;
            }
            let leading = length == 0;
            point += i32::from(!fraction && !leading) - i32::from(fraction && leading);
        }
        Decimal { digits, length, point }
    }

    /// Whether it lies exactly between `value` and a neighbour. Such a number reads back as `value` only by the rule
    /// to round to even, which PostgreSQL does not rely on. It has to be an integer for that (`bits` of mantissa).
    fn is_halfway(&self, value: f64, bits: i32) -> bool {
        let power = self.point - self.length;
        if power < 0 || value < 2f64.powi(bits) || value >= 2f64.powi(126) {
            return false;
        }
        let Some(exact) = 10u128.checked_pow(power as u32).and_then(|p| p.checked_mul(self.digits.into()))
        else {
            return false;
        };
        let double = value as u128;
        let exponent = 127 - double.leading_zeros() as i32;
        // Half the distance to the neighbours; below a power of two it is a quarter.
        let half = 1u128 << (exponent - bits);
        let difference = exact.abs_diff(double);
        difference == half || (double.is_power_of_two() && exact < double && difference * 2 == half)
    }

    /// As C's `%.{precision}g` lays out: an exponent if it is below -4 or not below the precision.
    fn write(&self, negative: bool, precision: i32, out: &mut Vec<u8>) {
        if negative {
            out.push(b'-');
        }
        if self.length == 0 {
            return out.push(b'0');
        }
        let mut buffer = [0; 20];
        let start = digits_of(self.digits, &mut buffer);
        let digits = &buffer[start..];
        let exponent = self.point - 1;
        if exponent < -4 || exponent >= precision {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.push(b'e');
            out.push(if exponent < 0 { b'-' } else { b'+' });
            return write_padded(exponent.unsigned_abs().into(), 2, out);
        }
        match usize::try_from(self.point) {
            Ok(point) if point >= digits.len() => {
                out.extend_from_slice(digits);
                out.extend(std::iter::repeat_n(b'0', point - digits.len()));
            }
            Ok(point) if point > 0 => {
                out.extend_from_slice(&digits[..point]);
                out.push(b'.');
                out.extend_from_slice(&digits[point..]);
            }
            _ => {
                out.extend_from_slice(b"0.");
                out.extend(std::iter::repeat_n(b'0', self.point.unsigned_abs() as usize));
                out.extend_from_slice(digits);
            }
        }
    }
}

/// The shortest decimal with more digits than one that is halfway.
fn closer(value: f64, halfway: &Decimal) -> Decimal {
    let lengths = halfway.length as usize..17;
    let mut longer =
        lengths.map(|digits| format!("{value:.digits$e}")).filter(|text| text.parse() == Ok(value));
    let found =
        longer.find_map(|text| Some(Decimal::parse(&text)).filter(|decimal| !decimal.is_halfway(value, 53)));
    found.unwrap_or_else(|| Decimal::parse(&format!("{value:.16e}")))
}

/// As [`closer`] for floats.
fn closer_f32(value: f32, halfway: &Decimal) -> Decimal {
    let lengths = halfway.length as usize..9;
    let mut longer =
        lengths.map(|digits| format!("{value:.digits$e}")).filter(|text| text.parse() == Ok(value));
    let wide = f64::from(value);
    let found =
        longer.find_map(|text| Some(Decimal::parse(&text)).filter(|decimal| !decimal.is_halfway(wide, 24)));
    found.unwrap_or_else(|| Decimal::parse(&format!("{value:.8e}")))
}
