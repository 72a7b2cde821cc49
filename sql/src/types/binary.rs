//! Binary form of values on the wire: `typsend` and `typreceive` of PostgreSQL.
//!
//! | type | bytes, big-endian |
//! |---|---|
//! | bool | 1: 0 or 1 |
//! | int2, int4, int8, float4, float8 | the number |
//! | numeric | i16 count, i16 weight, u16 sign (0, 0x4000 negative, 0xC000 NaN), u16 scale, count digits of 0 to 9,999 |
//! | text, varchar, json, bytea | as they are |
//! | jsonb | 1, then the text |
//! | date | i32 days since 2000-01-01 |
//! | time | i64 microseconds since midnight |
//! | timestamp, timestamptz | i64 microseconds since 2000-01-01 |
//! | interval | i64 microseconds, i32 days, i32 months |
//! | uuid | 16 bytes |
//! | arrays | see `array::write_binary` |

use arrow_array::Array;
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::row::RowBuilder;
use omen_core::types::{ArrayValue, Datum, Interval, Numeric, PgType};

use super::calendar::{
    DATE_INFINITY, DATE_MAX, DATE_MIN, DATE_NEG_INFINITY, DAY_US, EPOCH_2000_DAYS, EPOCH_2000_US,
    TIMESTAMP_INFINITY, TIMESTAMP_MIN, TIMESTAMP_NEG_INFINITY, is_finite,
};
use super::text::{limited, utf8};
use super::value::{Native, native_of_array, native_of_datum, native_of_row};
use super::{array, json};

const JSONB_VERSION: u8 = 1;
const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_NEG_INFINITY: u16 = 0xF000;
/// Most digits of base 10,000 that are written: 38 decimal digits and the fill of the last group.
const NUMERIC_GROUPS_MAX: usize = 12;

/// Appends the binary form of one value of a column, which must not be NULL.
///
/// # Panics
/// If the array is not of the type's layout.
pub fn write_array(pg_type: PgType, array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    write(pg_type, native_of_array(pg_type, array, row), out);
}

/// Appends the binary form of a value given as bytes of a row (`omen_core::row`).
///
/// # Panics
/// If the bytes are not a value of the type.
pub fn write_row_bytes(pg_type: PgType, bytes: &[u8], out: &mut Vec<u8>) {
    write(pg_type, native_of_row(pg_type, bytes), out);
}

/// Appends the binary form of a value; nothing for NULL.
pub fn write_datum(pg_type: PgType, value: &Datum, out: &mut Vec<u8>) {
    if let Some(native) = native_of_datum(value) {
        write(pg_type, native, out);
    }
}

fn write(pg_type: PgType, value: Native<'_>, out: &mut Vec<u8>) {
    match value {
        Native::Bool(value) => out.push(u8::from(value)),
        Native::Integer(value) => match pg_type {
            PgType::Int2 => out.extend_from_slice(&(value as i16).to_be_bytes()),
            PgType::Int4 => out.extend_from_slice(&(value as i32).to_be_bytes()),
            PgType::Date => out.extend_from_slice(&date_to_wire(value as i32).to_be_bytes()),
            PgType::Timestamp | PgType::Timestamptz => {
                let finite = is_finite(value);
                out.extend_from_slice(&(if finite { value - EPOCH_2000_US } else { value }).to_be_bytes());
            }
            _ => out.extend_from_slice(&value.to_be_bytes()),
        },
        Native::Float4(value) => out.extend_from_slice(&value.to_be_bytes()),
        Native::Float8(value) => out.extend_from_slice(&value.to_be_bytes()),
        Native::Numeric(value) => write_numeric(value, out),
        Native::Text(value) => {
            if pg_type == PgType::Jsonb {
                out.push(JSONB_VERSION);
            }
            out.extend_from_slice(value);
        }
        Native::Bytea(value) => out.extend_from_slice(value),
        Native::Interval(value) => {
            out.extend_from_slice(&value.micros.to_be_bytes());
            out.extend_from_slice(&value.days.to_be_bytes());
            out.extend_from_slice(&value.months.to_be_bytes());
        }
        Native::Uuid(value) => out.extend_from_slice(value),
        Native::Array(value) => array::write_binary(&ArrayValue::of_stored(pg_type, value), out),
    }
}

fn date_to_wire(days: i32) -> i32 {
    if days == DATE_INFINITY || days == DATE_NEG_INFINITY { days } else { days - EPOCH_2000_DAYS }
}

fn write_numeric(value: Numeric, out: &mut Vec<u8>) {
    let header = |count: i16, weight: i16, sign: u16, scale: u16, out: &mut Vec<u8>| {
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&weight.to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&scale.to_be_bytes());
    };
    if value.is_nan() {
        return header(0, 0, NUMERIC_NAN, 0, out);
    }
    let scale = u16::from(value.scale());
    let mut rest = value.coefficient().unsigned_abs();
    // Groups of four digits from the right; the last group after the point is filled with zeros.
    let fraction_groups = scale.div_ceil(4);
    let fill = 10u128.pow(u32::from(fraction_groups * 4 - scale));
    let mut groups = [0u16; NUMERIC_GROUPS_MAX];
    let mut count = 0;
    if rest > 0 {
        // The fill has at most three zeros; the first group takes only the rest of four digits, so nothing overflows.
        let first = 10_000 / fill;
        groups[0] = (rest % first * fill) as u16;
        rest /= first;
        count = 1;
    }
    while rest > 0 {
        groups[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let zeros = groups[..count].iter().take_while(|group| **group == 0).count();
    let weight = count as i16 - 1 - fraction_groups as i16;
    let sign = if value.is_negative() { NUMERIC_NEGATIVE } else { 0 };
    let weight = if count == 0 { 0 } else { weight };
    header((count - zeros) as i16, weight, sign, scale, out);
    for group in groups[zeros..count].iter().rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Reads a value.
///
/// # Errors
/// 22P03 if the bytes are not a value of the type, 22021 if text is not UTF-8, 22P02 if it is not JSON, 22001 if it is
/// too long for the modifier.
pub fn parse(pg_type: PgType, bytes: &[u8]) -> Result<Datum, ValueError> {
    Ok(match pg_type {
        PgType::Bool => match bytes {
            [byte] => Datum::Bool(*byte != 0),
            _ => return Err(malformed()),
        },
        PgType::Int2 => Datum::Int2(i16::from_be_bytes(fixed(bytes)?)),
        PgType::Int4 => Datum::Int4(i32::from_be_bytes(fixed(bytes)?)),
        PgType::Int8 => Datum::Int8(i64::from_be_bytes(fixed(bytes)?)),
        PgType::Float4 => Datum::Float4(f32::from_be_bytes(fixed(bytes)?)),
        PgType::Float8 => Datum::Float8(f64::from_be_bytes(fixed(bytes)?)),
        PgType::Numeric(modifier) => {
            let value = parse_numeric(bytes)?;
            Datum::Numeric(match modifier {
                Some((precision, scale)) => value.rescale(precision, scale)?,
                None => value,
            })
        }
        PgType::Text => Datum::Text(utf8(bytes)?.into()),
        PgType::Varchar(limit) => Datum::Text(limited(utf8(bytes)?, limit)?.into()),
        PgType::Json => {
            let text = utf8(bytes)?;
            json::check(text)?;
            Datum::Text(text.into())
        }
        PgType::Jsonb => match bytes {
            [JSONB_VERSION, text @ ..] => Datum::Text(json::normalize(utf8(text)?)?.into()),
            [version, ..] => {
                let message = format!("unsupported jsonb version number {version}");
                return Err(ValueError::new(SqlState::INVALID_BINARY_REPRESENTATION, message));
            }
            [] => return Err(malformed()),
        },
        PgType::Bytea => Datum::Bytea(bytes.into()),
        PgType::Date => Datum::Date(date_from_wire(i32::from_be_bytes(fixed(bytes)?))?),
        PgType::Time => {
            let time = i64::from_be_bytes(fixed(bytes)?);
            if !(0..=DAY_US).contains(&time) {
                return Err(ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "time out of range"));
            }
            Datum::Time(time)
        }
        PgType::Timestamp | PgType::Timestamptz => {
            Datum::Timestamp(timestamp_from_wire(i64::from_be_bytes(fixed(bytes)?))?)
        }
        PgType::Interval => {
            let bytes: [u8; 16] = fixed(bytes)?;
            let [micros @ .., d0, d1, d2, d3, m0, m1, m2, m3] = bytes;
            Datum::Interval(Interval {
                months: i32::from_be_bytes([m0, m1, m2, m3]),
                days: i32::from_be_bytes([d0, d1, d2, d3]),
                micros: i64::from_be_bytes(micros),
            })
        }
        PgType::Uuid => Datum::Uuid(fixed(bytes)?),
        PgType::Array(element) => array::parse_binary(element.pg_type(), bytes)?.into_datum(),
    })
}

/// Reads a value into the next column of a row.
///
/// # Errors
/// As [`parse`].
pub fn parse_into(pg_type: PgType, bytes: &[u8], row: &mut RowBuilder) -> Result<(), ValueError> {
    match pg_type {
        PgType::Text | PgType::Varchar(None) => row.push_var(utf8(bytes)?.as_bytes()),
        PgType::Bytea => row.push_var(bytes),
        _ => row.push(&parse(pg_type, bytes)?),
    }
    Ok(())
}

fn malformed() -> ValueError {
    ValueError::new(SqlState::INVALID_BINARY_REPRESENTATION, "incorrect binary data format")
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ValueError> {
    bytes.try_into().map_err(|_| malformed())
}

fn date_from_wire(days: i32) -> Result<i32, ValueError> {
    if days == DATE_INFINITY || days == DATE_NEG_INFINITY {
        return Ok(days);
    }
    let days = days.checked_add(EPOCH_2000_DAYS).filter(|days| (DATE_MIN..=DATE_MAX).contains(days));
    days.ok_or_else(|| ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range"))
}

fn timestamp_from_wire(micros: i64) -> Result<i64, ValueError> {
    if micros == TIMESTAMP_INFINITY || micros == TIMESTAMP_NEG_INFINITY {
        return Ok(micros);
    }
    let micros =
        micros.checked_add(EPOCH_2000_US).filter(|micros| *micros >= TIMESTAMP_MIN && is_finite(*micros));
    micros.ok_or_else(|| ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"))
}

fn parse_numeric(bytes: &[u8]) -> Result<Numeric, ValueError> {
    let (header, groups) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (count, weight, sign, scale) = (field(0), field(2) as i16, field(4), field(6));
    if groups.len() != usize::from(count) * 2 {
        return Err(malformed());
    }
    let negative = match sign {
        0 => false,
        NUMERIC_NEGATIVE => true,
        NUMERIC_NAN => return Ok(Numeric::NAN),
        NUMERIC_INFINITY | NUMERIC_NEG_INFINITY => return Numeric::parse("infinity"),
        _ => {
            let message = "invalid sign in external \"numeric\" value";
            return Err(ValueError::new(SqlState::INVALID_BINARY_REPRESENTATION, message));
        }
    };
    let groups: Vec<u16> = groups.as_chunks::<2>().0.iter().map(|group| u16::from_be_bytes(*group)).collect();
    if groups.iter().any(|group| *group > 9_999) {
        let message = "invalid digit in external \"numeric\" value";
        return Err(ValueError::new(SqlState::INVALID_BINARY_REPRESENTATION, message));
    }
    // Rare and small, so by way of text: the reader knows how to round what is too long.
    let digits: String = groups.iter().map(|group| format!("{group:04}")).collect();
    let exponent = i32::from(weight) * 4 + 4 - digits.len() as i32;
    let sign = if negative { "-" } else { "" };
    let value = Numeric::parse(&format!("{sign}0{digits}e{exponent}"))?;
    let scale = i32::from(scale.min(Numeric::DIGITS_MAX as u16));
    if scale < i32::from(value.scale()) { value.trunc(scale) } else { value.round(scale) }
}
