//! Text form of values: `typinput` and `typoutput` of PostgreSQL.

use arrow_array::Array;
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::row::RowBuilder;
use omen_core::types::{ArrayValue, Datum, Interval, Numeric, PgType};

use super::datetime::{ReadContext, format, parse_date, parse_time, parse_timestamp, parse_timestamptz};
use super::number::{
    invalid_syntax, parse_f32, parse_f64, parse_integer, trim, write_f32, write_f64, write_integer,
};
use super::value::{Native, native_of_array, native_of_datum, native_of_row};
use super::{ByteaOutput, FormatOptions, array, json};

/// Appends the text of one value of a column, which must not be NULL.
///
/// # Panics
/// If the array is not of the type's layout.
pub fn write_array(
    pg_type: PgType,
    array: &dyn Array,
    row: usize,
    options: &FormatOptions,
    out: &mut Vec<u8>,
) {
    write(pg_type, native_of_array(pg_type, array, row), options, out);
}

/// Appends the text of a value given as bytes of a row (`omen_core::row`).
///
/// # Panics
/// If the bytes are not a value of the type.
pub fn write_row_bytes(pg_type: PgType, bytes: &[u8], options: &FormatOptions, out: &mut Vec<u8>) {
    write(pg_type, native_of_row(pg_type, bytes), options, out);
}

/// Appends the text of a value; nothing for NULL.
pub fn write_datum(pg_type: PgType, value: &Datum, options: &FormatOptions, out: &mut Vec<u8>) {
    if let Some(native) = native_of_datum(value) {
        write(pg_type, native, options, out);
    }
}

fn write(pg_type: PgType, value: Native<'_>, options: &FormatOptions, out: &mut Vec<u8>) {
    match value {
        Native::Bool(value) => out.push(if value { b't' } else { b'f' }),
        Native::Integer(value) => match pg_type {
            PgType::Date => format::write_date(value as i32, out),
            PgType::Time => format::write_time(value, out),
            PgType::Timestamp => format::write_timestamp(value, out),
            PgType::Timestamptz => format::write_timestamptz(value, options.timezone, out),
            _ => write_integer(value, out),
        },
        Native::Float4(value) => write_f32(value, options.extra_float_digits, out),
        Native::Float8(value) => write_f64(value, options.extra_float_digits, out),
        Native::Numeric(value) => value.write(out),
        Native::Text(value) => out.extend_from_slice(value),
        Native::Bytea(value) => write_bytea(value, options.bytea_output, out),
        Native::Interval(value) => value.write(options.interval_style, out),
        Native::Uuid(value) => write_uuid(value, out),
        Native::Array(value) => array::write(&ArrayValue::of_stored(pg_type, value), options, out),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]));
}

fn write_bytea(bytes: &[u8], style: ByteaOutput, out: &mut Vec<u8>) {
    if style == ByteaOutput::Hex {
        out.extend_from_slice(b"\\x");
        return write_hex(bytes, out);
    }
    for byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' => out.push(*byte),
            _ => {
                out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)])
            }
        }
    }
}

fn write_uuid(bytes: &[u8; 16], out: &mut Vec<u8>) {
    for (i, part) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if i > 0 {
            out.push(b'-');
        }
        write_hex(&bytes[part], out);
    }
}

/// Reads a value; applies the modifier (`varchar(3)`, `numeric(5,2)`) as an assignment does. `now`, `today` and the
/// like are errors here; see [`parse_at`].
///
/// # Errors
/// 22P02, 22003, 22007, 22008 or 22001 with PostgreSQL's message.
pub fn parse(pg_type: PgType, text: &str, options: &FormatOptions) -> Result<Datum, ValueError> {
    parse_in(pg_type, text, &ReadContext { options, now_us: None })
}

/// As [`parse`], with the start of the transaction in microseconds since 1970 for `now`, `today` and the like.
///
/// # Errors
/// As [`parse`].
pub fn parse_at(
    pg_type: PgType,
    text: &str,
    options: &FormatOptions,
    now_us: i64,
) -> Result<Datum, ValueError> {
    parse_in(pg_type, text, &ReadContext { options, now_us: Some(now_us) })
}

fn parse_in(pg_type: PgType, text: &str, context: &ReadContext<'_>) -> Result<Datum, ValueError> {
    check_nul(text)?;
    let bytes = text.as_bytes();
    let integer = |min: i64, max: i64| parse_integer(bytes, integer_name(pg_type), min, max);
    Ok(match pg_type {
        PgType::Bool => Datum::Bool(parse_bool(bytes)?),
        PgType::Int2 => Datum::Int2(integer(i16::MIN.into(), i16::MAX.into())? as i16),
        PgType::Int4 => Datum::Int4(integer(i32::MIN.into(), i32::MAX.into())? as i32),
        PgType::Int8 => Datum::Int8(integer(i64::MIN, i64::MAX)?),
        PgType::Float4 => Datum::Float4(parse_f32(bytes)?),
        PgType::Float8 => Datum::Float8(parse_f64(bytes)?),
        PgType::Numeric(modifier) => Datum::Numeric(parse_numeric(text, modifier)?),
        PgType::Text => Datum::Text(text.into()),
        PgType::Varchar(limit) => Datum::Text(limited(text, limit)?.into()),
        PgType::Bytea => Datum::Bytea(parse_bytea(bytes)?.into()),
        PgType::Date => Datum::Date(parse_date(text, context)?),
        PgType::Time => Datum::Time(parse_time(text, context)?),
        PgType::Timestamp => Datum::Timestamp(parse_timestamp(text, context)?),
        PgType::Timestamptz => Datum::Timestamp(parse_timestamptz(text, context)?),
        PgType::Interval => Datum::Interval(Interval::parse(text)?),
        PgType::Uuid => Datum::Uuid(parse_uuid(bytes)?),
        PgType::Json => {
            json::check(text)?;
            Datum::Text(text.into())
        }
        PgType::Jsonb => Datum::Text(json::normalize(text)?.into()),
        PgType::Array(element) => {
            let element = element.pg_type();
            array::parse(element, text, &mut |text| parse_in(element, text, context))?.into_datum()
        }
    })
}

/// Reads a value into the next column of a row, without allocating for the types of fixed size and text.
///
/// # Errors
/// As [`parse`]; 22021 if the bytes are not UTF-8.
pub fn parse_into(
    pg_type: PgType,
    text: &[u8],
    options: &FormatOptions,
    row: &mut RowBuilder,
) -> Result<(), ValueError> {
    let integer = |min: i64, max: i64| parse_integer(text, integer_name(pg_type), min, max);
    let context = ReadContext { options, now_us: None };
    match pg_type {
        PgType::Bool => row.push_fixed(&[u8::from(parse_bool(text)?)]),
        PgType::Int2 => row.push_fixed(&(integer(i16::MIN.into(), i16::MAX.into())? as i16).to_le_bytes()),
        PgType::Int4 => row.push_fixed(&(integer(i32::MIN.into(), i32::MAX.into())? as i32).to_le_bytes()),
        PgType::Int8 => row.push_fixed(&integer(i64::MIN, i64::MAX)?.to_le_bytes()),
        PgType::Float4 => row.push_fixed(&parse_f32(text)?.to_le_bytes()),
        PgType::Float8 => row.push_fixed(&parse_f64(text)?.to_le_bytes()),
        PgType::Numeric(modifier) => row.push_fixed(&parse_numeric(utf8(text)?, modifier)?.to_bytes()),
        PgType::Text => row.push_var(utf8(text)?.as_bytes()),
        PgType::Varchar(limit) => row.push_var(limited(utf8(text)?, limit)?.as_bytes()),
        PgType::Date => row.push_fixed(&parse_date(utf8(text)?, &context)?.to_le_bytes()),
        PgType::Time => row.push_fixed(&parse_time(utf8(text)?, &context)?.to_le_bytes()),
        PgType::Timestamp => row.push_fixed(&parse_timestamp(utf8(text)?, &context)?.to_le_bytes()),
        PgType::Timestamptz => row.push_fixed(&parse_timestamptz(utf8(text)?, &context)?.to_le_bytes()),
        PgType::Interval => row.push_fixed(&Interval::parse(utf8(text)?)?.to_bytes()),
        PgType::Uuid => row.push_fixed(&parse_uuid(text)?),
        PgType::Bytea => row.push_var(&parse_bytea(text)?),
        PgType::Json => {
            let text = utf8(text)?;
            json::check(text)?;
            row.push_var(text.as_bytes());
        }
        PgType::Jsonb => row.push_var(json::normalize(utf8(text)?)?.as_bytes()),
        PgType::Array(_) => row.push(&parse_in(pg_type, utf8(text)?, &context)?),
    }
    Ok(())
}

/// The text if it is valid UTF-8 without NUL.
///
/// # Errors
/// 22021 with the first wrong bytes.
pub fn utf8(bytes: &[u8]) -> Result<&str, ValueError> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let rest = &bytes[e.valid_up_to()..];
        // As many bytes as the first one announces, like PostgreSQL.
        let announced = match rest[0] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            _ => 1,
        };
        encoding_error(&rest[..announced.min(rest.len())])
    })?;
    check_nul(text)?;
    Ok(text)
}

fn check_nul(text: &str) -> Result<(), ValueError> {
    if memchr::memchr(0, text.as_bytes()).is_some() { Err(encoding_error(&[0])) } else { Ok(()) }
}

fn encoding_error(bytes: &[u8]) -> ValueError {
    let shown: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
    ValueError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
}

fn integer_name(pg_type: PgType) -> &'static str {
    match pg_type {
        PgType::Int2 => "smallint",
        PgType::Int4 => "integer",
        _ => "bigint",
    }
}

/// Reads a `boolean`: any prefix of its words that is not shared.
fn parse_bool(text: &[u8]) -> Result<bool, ValueError> {
    let trimmed = trim(text);
    let is = |word: &str, least: usize| {
        trimmed.len() >= least && trimmed.len() <= word.len() && {
            word.as_bytes()[..trimmed.len()].eq_ignore_ascii_case(trimmed)
        }
    };
    if is("true", 1) || is("yes", 1) || is("on", 2) || trimmed == b"1" {
        Ok(true)
    } else if is("false", 1) || is("no", 1) || is("off", 2) || trimmed == b"0" {
        Ok(false)
    } else {
        Err(invalid_syntax("boolean", text))
    }
}

fn parse_numeric(text: &str, modifier: Option<(u16, i16)>) -> Result<Numeric, ValueError> {
    let value = Numeric::parse(text)?;
    match modifier {
        Some((precision, scale)) => value.rescale(precision, scale),
        None => Ok(value),
    }
}

/// The text if it has at most `limit` characters; spaces beyond are cut off.
///
/// # Errors
/// 22001 if more than spaces would be lost.
pub fn limited(text: &str, limit: Option<u32>) -> Result<&str, ValueError> {
    let Some(limit) = limit else { return Ok(text) };
    let limit = limit as usize;
    if text.len() <= limit {
        return Ok(text);
    }
    let Some((end, _)) = text.char_indices().nth(limit) else { return Ok(text) };
    if text.as_bytes()[end..].iter().all(|byte| *byte == b' ') {
        return Ok(&text[..end]);
    }
    let message = format!("value too long for type character varying({limit})");
    Err(ValueError::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, message))
}

/// Reads a `bytea`, in hex or escape form.
fn parse_bytea(text: &[u8]) -> Result<Vec<u8>, ValueError> {
    let wrong = |message: String| ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let Some(hex) = text.strip_prefix(b"\\x") else { return parse_bytea_escape(text) };
    let mut out = Vec::with_capacity(hex.len() / 2);
    let mut high = None;
    for byte in hex {
        // White space is allowed between bytes.
        if matches!(byte, b' ' | b'\n' | b'\t' | b'\r') && high.is_none() {
            continue;
        }
        let digit = char::from(*byte).to_digit(16).map(|digit| digit as u8).ok_or_else(|| {
            let lossy = String::from_utf8_lossy(text);
            let shown = lossy.chars().find(|c| u32::from(*c) >= 0x80).filter(|_| !byte.is_ascii());
            wrong(format!("invalid hexadecimal digit: \"{}\"", shown.unwrap_or(char::from(*byte))))
        })?;
        match high.take() {
            Some(first) => out.push(first << 4 | digit),
            None => high = Some(digit),
        }
    }
    match high {
        Some(_) => Err(wrong("invalid hexadecimal data: odd number of digits".into())),
        None => Ok(out),
    }
}

fn parse_bytea_escape(text: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        match tail {
            [b'\\', after @ ..] => {
                out.push(b'\\');
                rest = after;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                let message = "invalid input syntax for type bytea";
                return Err(ValueError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
            }
        }
    }
    Ok(out)
}

/// Reads a `uuid`: 32 digits, a hyphen after any group of four, braces around.
fn parse_uuid(text: &[u8]) -> Result<[u8; 16], ValueError> {
    let invalid = || invalid_syntax("uuid", text);
    let inner = match text {
        [b'{', inner @ .., b'}'] => inner,
        [b'{', ..] => return Err(invalid()),
        inner => inner,
    };
    let mut out = [0; 16];
    let mut rest = inner;
    for (i, byte) in out.iter_mut().enumerate() {
        if i > 0 && i % 2 == 0 && rest.first() == Some(&b'-') {
            rest = &rest[1..];
        }
        let ([a, b], tail) = rest.split_first_chunk::<2>().ok_or_else(invalid)?;
        let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8).ok_or_else(invalid);
        *byte = digit(*a)? << 4 | digit(*b)?;
        rest = tail;
    }
    if rest.is_empty() { Ok(out) } else { Err(invalid()) }
}
