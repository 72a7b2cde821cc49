//! Functions of numbers in degrees, of bits, and of which arguments are NULL.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{ArrayValue, Datum, PgType};

use super::Call;
use super::array::array_of_datum;
use super::lift::{Bytes, F64, I64, Result, each_datum, each_datum_nulls, map1, map2, text1};
use crate::expr::value::Value;

fn out_of_range() -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

/// `num_nulls` and `num_nonnulls`
pub(crate) fn count_nulls(call: &Call<'_>, nulls: bool) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let count = args.iter().filter(|arg| arg.is_null() == nulls).count();
        Ok(Datum::Int4(i32::try_from(count).unwrap_or(i32::MAX)))
    })
}

/// The sine of degrees, exact where it is a simple number.
fn sine(degrees: f64) -> f64 {
    let mut angle = degrees % 360.0;
    let mut sign = 1.0;
    if angle < 0.0 {
        (angle, sign) = (-angle, -sign);
    }
    if angle > 180.0 {
        (angle, sign) = (360.0 - angle, -sign);
    }
    if angle > 90.0 {
        angle = 180.0 - angle;
    }
    sign * sine_of_quadrant(angle)
}

fn sine_of_quadrant(angle: f64) -> f64 {
    let radians = |degrees: f64| degrees * (std::f64::consts::PI / 180.0);
    if angle <= 30.0 {
        radians(angle).sin() / radians(30.0).sin() / 2.0
    } else {
        1.0 - (1.0 - radians(90.0 - angle).cos()) / (1.0 - radians(60.0).cos()) / 2.0
    }
}

fn cosine(degrees: f64) -> f64 {
    let mut angle = (degrees % 360.0).abs();
    if angle > 180.0 {
        angle = 360.0 - angle;
    }
    let mut sign = 1.0;
    if angle > 90.0 {
        (angle, sign) = (180.0 - angle, -1.0);
    }
    sign * sine_of_quadrant(90.0 - angle)
}

fn finite(value: f64) -> Result<f64> {
    if value.is_infinite() { Err(out_of_range()) } else { Ok(value) }
}

/// `sind`
pub(crate) fn sind(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| Ok(sine(finite(x)?)))
}

/// `cosd`
pub(crate) fn cosd(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| Ok(cosine(finite(x)?)))
}

/// `tand`
pub(crate) fn tand(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| {
        let x = finite(x)?;
        Ok(sine(x) / cosine(x) + 0.0)
    })
}

/// `cotd`
pub(crate) fn cotd(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| {
        let x = finite(x)?;
        Ok(cosine(x) / sine(x) + 0.0)
    })
}

fn inverse(x: f64, of: impl Fn(f64) -> f64) -> Result<f64> {
    if x.is_nan() {
        return Ok(x);
    }
    if (-1.0..=1.0).contains(&x) { Ok(of(x)) } else { Err(out_of_range()) }
}

/// The angle of a sine, exact at 0, 30 and 90 degrees.
fn angle_of_sine(x: f64) -> f64 {
    let magnitude = x.abs();
    let angle = if magnitude <= 0.5 {
        magnitude.asin() / 0.5f64.asin() * 30.0
    } else {
        90.0 - magnitude.acos() / 0.5f64.acos() * 60.0
    };
    angle.copysign(x)
}

/// `asind`
pub(crate) fn asind(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| inverse(x, angle_of_sine))
}

/// `acosd`
pub(crate) fn acosd(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| inverse(x, |x| 90.0 - angle_of_sine(x)))
}

/// `atand`
pub(crate) fn atand(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| Ok(x.atan() / 1f64.atan() * 45.0))
}

/// `atan2d`
pub(crate) fn atan2d(call: &Call<'_>) -> Result<Value> {
    map2::<F64, F64, f64>(call, |y, x| Ok(y.atan2(x) / 1f64.atan() * 45.0))
}

fn index_error(index: i64, len: usize) -> ValueError {
    let message = format!("index {index} out of valid range, 0..{}", len as i64 - 1);
    ValueError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
}

fn bit_place(index: i64, len: usize) -> Result<(usize, u8)> {
    let bits = len as i64 * 8;
    if (0..bits).contains(&index) {
        Ok(((index / 8) as usize, 1 << (index % 8)))
    } else {
        Err(index_error(index, len * 8))
    }
}

/// `get_bit` of `bytea`
pub(crate) fn get_bit(call: &Call<'_>) -> Result<Value> {
    map2::<Bytes, I64, i32>(call, |bytes, index| {
        let (byte, bit) = bit_place(index, bytes.len())?;
        Ok(i32::from(bytes[byte] & bit != 0))
    })
}

/// `set_bit` of `bytea`
pub(crate) fn set_bit(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let [Datum::Bytea(bytes), Datum::Int8(index), Datum::Int4(new)] = args else {
            return Ok(Datum::Null);
        };
        let mut bytes = bytes.clone();
        let (byte, bit) = bit_place(*index, bytes.len())?;
        match new {
            0 => bytes[byte] &= !bit,
            1 => bytes[byte] |= bit,
            _ => {
                let message = "new bit must be 0 or 1";
                return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
        Ok(Datum::Bytea(bytes))
    })
}

/// `set_byte`
pub(crate) fn set_byte(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let [Datum::Bytea(bytes), Datum::Int4(index), Datum::Int4(new)] = args else {
            return Ok(Datum::Null);
        };
        let mut bytes = bytes.clone();
        let at = usize::try_from(*index).ok().filter(|at| *at < bytes.len());
        let at = at.ok_or_else(|| index_error(i64::from(*index), bytes.len()))?;
        bytes[at] = *new as u8;
        Ok(Datum::Bytea(bytes))
    })
}

/// `bit_count` of `bytea`
pub(crate) fn bit_count(call: &Call<'_>) -> Result<Value> {
    map1::<Bytes, i64>(call, |bytes| Ok(bytes.iter().map(|byte| i64::from(byte.count_ones())).sum()))
}

/// `width_bucket(operand, thresholds)`: how many thresholds are not above the operand.
pub(crate) fn width_bucket(call: &Call<'_>) -> Result<Value> {
    let key = |value: &Datum| {
        let mut key = Vec::new();
        omen_core::key::encode(value, &mut key);
        key
    };
    each_datum(call, |args| {
        let thresholds = array_of_datum(&args[1], call.types[1]);
        if thresholds.dims.len() > 1 {
            let message = "thresholds must be one-dimensional array";
            return Err(ValueError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message));
        }
        if thresholds.values.iter().any(Datum::is_null) {
            let message = "thresholds array must not contain NULLs";
            return Err(ValueError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
        }
        let operand = key(&args[0]);
        let bucket = thresholds.values.partition_point(|threshold| key(threshold) <= operand);
        Ok(Datum::Int4(i32::try_from(bucket).unwrap_or(i32::MAX)))
    })
}

/// `current_schemas`
pub(crate) fn current_schemas(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let mut names = vec![Datum::Text("public".into())];
        if args[0] == Datum::Bool(true) {
            names.insert(0, Datum::Text("pg_catalog".into()));
        }
        Ok(ArrayValue::list(PgType::Text, names).into_datum())
    })
}

/// `format_type`, of types that there are.
pub(crate) fn format_type(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let oid = match args[0] {
            Datum::Int4(oid) => oid as u32,
            Datum::Int8(oid) => u32::try_from(oid).unwrap_or(0),
            _ => return Ok(Datum::Null),
        };
        let modifier = match args[1] {
            Datum::Int4(modifier) => modifier,
            _ => -1,
        };
        let name = PgType::from_oid(oid).map(|pg_type| match pg_type.element() {
            Some(element) => format!("{}[]", element.with_modifier(modifier)),
            None => pg_type.with_modifier(modifier).to_string(),
        });
        Ok(Datum::Text(name.unwrap_or_else(|| if oid == 0 { "-" } else { "???" }.to_owned()).into()))
    })
}

fn bits_overlap(start: i128, end: i128, other_start: i128, other_end: i128) -> bool {
    let (start, end) = (start.min(end), start.max(end));
    let (other_start, other_end) = (other_start.min(other_end), other_start.max(other_end));
    if start == other_start {
        true
    } else if start > other_start {
        start < other_end
    } else {
        other_start < end
    }
}

/// `(a, b) OVERLAPS (c, d)` of dates, times and timestamps.
pub(crate) fn overlaps(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let mut places = [0i128; 4];
        for (place, arg) in places.iter_mut().zip(args) {
            *place = match arg {
                Datum::Date(day) => i128::from(*day),
                Datum::Time(at) | Datum::Timestamp(at) => i128::from(*at),
                _ => return Ok(Datum::Null),
            };
        }
        Ok(Datum::Bool(bits_overlap(places[0], places[1], places[2], places[3])))
    })
}

/// `to_hex` and others have their own files; `unistr` resolves `\XXXX`, `\+XXXXXX`, `\uXXXX` and `\UXXXXXXXX`.
pub(crate) fn unistr(call: &Call<'_>) -> Result<Value> {
    let invalid = || ValueError::new(SqlState::SYNTAX_ERROR, "invalid Unicode escape");
    text1::<super::lift::Text>(call, |text, out| {
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('\\') {
                out.push(b'\\');
                rest = after;
                continue;
            }
            let (digits, len) = match rest.as_bytes().first() {
                Some(b'+') => (&rest[1..], 6),
                Some(b'u') => (&rest[1..], 4),
                Some(b'U') => (&rest[1..], 8),
                _ => (rest, 4),
            };
            let code = digits.get(..len).and_then(|digits| u32::from_str_radix(digits, 16).ok());
            let c = code.and_then(char::from_u32).ok_or_else(invalid)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &digits[len..];
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(())
    })
}
