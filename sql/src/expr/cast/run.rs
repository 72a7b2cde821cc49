//! How conversions run.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{ArrayValue, Datum, Interval, Numeric, PgType};

use crate::execute::rows::array_of;
use crate::expr::kernel::Call;
use crate::expr::kernel::datetime::{date_to_timestamp, timestamp_to_date, to_local, to_utc};
use crate::expr::kernel::lift::{
    Arg, Bool, Clock, Day, F32, F64, I16, I32, I64, Kind, Num, NumBytes, Output, Result, Span, Stamp, Text,
    each_datum, each_row, each_row_nullable, each_text, map1, text1,
};
use crate::expr::kernel::number::out_of_range;
use crate::expr::value::Value;
use crate::types::calendar::{DAY_US, is_finite, split};
use crate::types::text::{limited, parse_at, write_array, write_datum};
use crate::types::{FormatOptions, json};

/// Appends the text that a cast to text makes: as output, but for `boolean`.
pub(crate) fn push_text(pg_type: PgType, value: &Datum, options: &FormatOptions, out: &mut Vec<u8>) {
    match value {
        Datum::Bool(true) => out.extend_from_slice(b"true"),
        Datum::Bool(false) => out.extend_from_slice(b"false"),
        _ => write_datum(pg_type, value, options, out),
    }
}

/// Converts `call.args[0]` to `call.result`, whose modifier is applied. NULL constants have been dealt with before.
pub(crate) fn run(call: &Call<'_>, explicit: bool) -> Result<Value> {
    let (from, to) = (call.types[0], call.result);
    match (from.base(), to.base()) {
        (PgType::Array(_), PgType::Array(_)) => arrays(call, explicit),
        (from_base, to_base) if from_base == to_base => modify(call, explicit),
        (_, PgType::Text | PgType::Varchar(_)) => to_text(call, explicit),
        (PgType::Text | PgType::Varchar(_), _) => from_text(call),
        (PgType::Int2, _) => from_integer::<I16>(call, i64::from),
        (PgType::Int4, PgType::Bool) => map1::<I32, bool>(call, |value| Ok(value != 0)),
        (PgType::Int4, _) => from_integer::<I32>(call, i64::from),
        (PgType::Int8, _) => from_integer::<I64>(call, |value| value),
        (PgType::Bool, _) => map1::<Bool, i32>(call, |value| Ok(i32::from(value))),
        (PgType::Float4, _) => from_float::<F32>(call, f64::from, Numeric::from_f32),
        (PgType::Float8, _) => from_float::<F64>(call, |value| value, Numeric::from_f64),
        (PgType::Numeric(_), _) => from_numeric(call),
        (PgType::Json, _) => text1::<Text>(call, |text, out| {
            out.extend_from_slice(json::normalize(text)?.as_bytes());
            Ok(())
        }),
        (PgType::Jsonb, PgType::Json) => Ok(call.args[0].clone()),
        (PgType::Jsonb, _) => from_jsonb(call),
        _ => dates(call),
    }
}

fn from_integer<K: Kind>(call: &Call<'_>, wide: impl Fn(K::Item<'_>) -> i64) -> Result<Value> {
    match call.result {
        PgType::Int2 => {
            map1::<K, i16>(call, |value| i16::try_from(wide(value)).map_err(|_| out_of_range("smallint")))
        }
        PgType::Int4 => {
            map1::<K, i32>(call, |value| i32::try_from(wide(value)).map_err(|_| out_of_range("integer")))
        }
        PgType::Int8 => map1::<K, i64>(call, |value| Ok(wide(value))),
        PgType::Float4 => map1::<K, f32>(call, |value| Ok(wide(value) as f32)),
        PgType::Float8 => map1::<K, f64>(call, |value| Ok(wide(value) as f64)),
        PgType::Numeric(modifier) => {
            map1::<K, NumBytes>(call, |value| Ok(fitted(Numeric::from(wide(value)), modifier)?.into()))
        }
        other => panic!("no cast from an integer to {other}"),
    }
}

fn fitted(value: Numeric, modifier: Option<(u16, i16)>) -> Result<Numeric> {
    modifier.map_or(Ok(value), |(precision, scale)| value.rescale(precision, scale))
}

fn from_float<K: Kind>(
    call: &Call<'_>,
    wide: impl Fn(K::Item<'_>) -> f64,
    exact: impl Fn(K::Item<'_>) -> Result<Numeric>,
) -> Result<Value> {
    // The bounds are powers of two, so they are exact: ties go to even, then the number must lie below 2^n.
    let integer = |value: f64, limit: f64, name: &str| {
        let rounded = value.round_ties_even();
        if rounded >= -limit && rounded < limit { Ok(rounded) } else { Err(out_of_range(name)) }
    };
    match call.result {
        PgType::Int2 => map1::<K, i16>(call, |value| Ok(integer(wide(value), 32_768.0, "smallint")? as i16)),
        PgType::Int4 => {
            map1::<K, i32>(call, |value| Ok(integer(wide(value), 2f64.powi(31), "integer")? as i32))
        }
        PgType::Int8 => {
            map1::<K, i64>(call, |value| Ok(integer(wide(value), 2f64.powi(63), "bigint")? as i64))
        }
        PgType::Float4 => map1::<K, f32>(call, |value| narrow(wide(value))),
        PgType::Float8 => map1::<K, f64>(call, |value| Ok(wide(value))),
        PgType::Numeric(modifier) => {
            map1::<K, NumBytes>(call, |value| Ok(fitted(exact(value)?, modifier)?.into()))
        }
        other => panic!("no cast from a float to {other}"),
    }
}

fn narrow(value: f64) -> Result<f32> {
    let wrong = |message| Err(ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        wrong("value out of range: overflow")
    } else if narrow == 0.0 && value != 0.0 {
        wrong("value out of range: underflow")
    } else {
        Ok(narrow)
    }
}

fn from_numeric(call: &Call<'_>) -> Result<Value> {
    match call.result {
        PgType::Int2 => map1::<Num, i16>(call, Numeric::to_i16),
        PgType::Int4 => map1::<Num, i32>(call, Numeric::to_i32),
        PgType::Int8 => map1::<Num, i64>(call, Numeric::to_i64),
        PgType::Float4 => map1::<Num, f32>(call, |value| Ok(value.to_f32())),
        PgType::Float8 => map1::<Num, f64>(call, |value| Ok(value.to_f64())),
        other => panic!("no cast from numeric to {other}"),
    }
}

/// Text of at most `n` characters; an explicit cast cuts, others fail on more than spaces.
fn cut(text: &str, limit: Option<u32>, explicit: bool) -> Result<&str> {
    match limit {
        Some(limit) if explicit => {
            let end = text.char_indices().nth(limit as usize).map_or(text.len(), |(at, _)| at);
            Ok(&text[..end])
        }
        limit => limited(text, limit),
    }
}

/// Applies the modifier to a value that has the type already.
fn modify(call: &Call<'_>, explicit: bool) -> Result<Value> {
    match call.result {
        PgType::Numeric(Some((precision, scale))) => {
            map1::<Num, NumBytes>(call, |value| value.rescale(precision, scale).map(NumBytes::from))
        }
        PgType::Varchar(Some(_)) => to_text(call, explicit),
        _ => Ok(call.args[0].clone()),
    }
}

fn to_text(call: &Call<'_>, explicit: bool) -> Result<Value> {
    let limit = match call.result {
        PgType::Varchar(limit) => limit,
        _ => None,
    };
    let from = call.types[0];
    if from.is_text() {
        if limit.is_none() {
            return Ok(call.args[0].clone());
        }
        return text1::<Text>(call, |text, out| {
            out.extend_from_slice(cut(text, limit, explicit)?.as_bytes());
            Ok(())
        });
    }
    let options = &call.context.format;
    let mut text = Vec::new();
    each_text(call, |row, out| {
        let start = out.len();
        let to: &mut Vec<u8> = if limit.is_some() { &mut text } else { out };
        match &call.args[0] {
            Value::Array(array) if from != PgType::Bool => write_array(from, array, row, options, to),
            value => push_text(from, &value.datum(from, row), options, to),
        }
        if limit.is_some() {
            let whole = std::str::from_utf8(&text).expect("output is UTF-8");
            out.extend_from_slice(cut(whole, limit, explicit)?.as_bytes());
            text.clear();
        }
        debug_assert!(out.len() >= start);
        Ok(true)
    })
}

fn from_text(call: &Call<'_>) -> Result<Value> {
    let to = call.result;
    let context = call.context;
    let texts = Arg::<Text>::of(&call.args[0]);
    let read = |row: usize| parse_at(to, texts.get(row), &context.format, context.transaction_start_us);
    /// Reads rows into an array by way of datums of kind `K`.
    fn rows<K: Kind, R: Output>(
        call: &Call<'_>,
        read: impl Fn(usize) -> Result<Datum>,
        out: impl Fn(K::Item<'_>) -> R,
    ) -> Result<Value> {
        each_row(call, |row| Ok(out(K::of(&read(row)?))))
    }
    match to {
        PgType::Bool => rows::<Bool, bool>(call, read, |v| v),
        PgType::Int2 => rows::<I16, i16>(call, read, |v| v),
        PgType::Int4 => rows::<I32, i32>(call, read, |v| v),
        PgType::Int8 => rows::<I64, i64>(call, read, |v| v),
        PgType::Float4 => rows::<F32, f32>(call, read, |v| v),
        PgType::Float8 => rows::<F64, f64>(call, read, |v| v),
        PgType::Numeric(_) => rows::<Num, NumBytes>(call, read, NumBytes::from),
        PgType::Date => rows::<Day, i32>(call, read, |v| v),
        PgType::Time => rows::<Clock, i64>(call, read, |v| v),
        PgType::Timestamp | PgType::Timestamptz => rows::<Stamp, i64>(call, read, |v| v),
        PgType::Interval => rows::<Span, Interval>(call, read, |v| v),
        PgType::Uuid => rows::<crate::expr::kernel::lift::Id, [u8; 16]>(call, read, |v| v),
        PgType::Array(_) => each_datum(call, |args| match args {
            [Datum::Text(text)] => parse_at(to, text, &context.format, context.transaction_start_us),
            other => panic!("a text: {other:?}"),
        }),
        PgType::Text | PgType::Varchar(_) | PgType::Bytea | PgType::Json | PgType::Jsonb => {
            each_text(call, |row, out| {
                match read(row)? {
                    Datum::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Datum::Bytea(bytes) => out.extend_from_slice(&bytes),
                    other => panic!("text read as {other:?}"),
                }
                Ok(true)
            })
        }
    }
}

fn from_jsonb(call: &Call<'_>) -> Result<Value> {
    let to = call.result;
    let wrong = |text: &str| {
        let kind = match text.as_bytes().first() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "boolean",
            Some(b'n') => "null",
            _ => "numeric",
        };
        let message = format!("cannot cast jsonb {kind} to type {}", to.base());
        ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
    };
    let number = |text: &str| match text.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Numeric::parse(text),
        _ => Err(wrong(text)),
    };
    match to {
        PgType::Bool => map1::<Text, bool>(call, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong(text)),
        }),
        PgType::Int2 => map1::<Text, i16>(call, |text| number(text)?.to_i16()),
        PgType::Int4 => map1::<Text, i32>(call, |text| number(text)?.to_i32()),
        PgType::Int8 => map1::<Text, i64>(call, |text| number(text)?.to_i64()),
        PgType::Float4 => map1::<Text, f32>(call, |text| Ok(number(text)?.to_f32())),
        PgType::Float8 => map1::<Text, f64>(call, |text| Ok(number(text)?.to_f64())),
        PgType::Numeric(modifier) => {
            map1::<Text, NumBytes>(call, |text| Ok(fitted(number(text)?, modifier)?.into()))
        }
        other => panic!("no cast from jsonb to {other}"),
    }
}

/// An array to one of another type, or with a modifier: element by element.
fn arrays(call: &Call<'_>, explicit: bool) -> Result<Value> {
    let (Some(from), Some(to)) = (call.types[0].element(), call.result.element()) else {
        return Ok(call.args[0].clone());
    };
    if from == to || (from.base() == to.base() && to == to.base()) {
        return Ok(call.args[0].clone());
    }
    each_datum(call, |args| {
        let [Datum::Array(bytes)] = args else { panic!("an array: {args:?}") };
        let mut array = ArrayValue::of_stored(call.types[0], bytes);
        let column = array_of(from, array.values.iter());
        let rows = array.values.len();
        let cast = run(
            &Call { args: &[Value::Array(column)], types: &[from], rows, result: to, context: call.context },
            explicit,
        )?;
        array.values = (0..rows).map(|row| cast.datum(to, row)).collect();
        array.element = to.base();
        Ok(array.into_datum())
    })
}

/// Among dates, times and intervals.
fn dates(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    let clock_of = |local: i64| is_finite(local).then(|| split(local).1);
    match (call.types[0], call.result) {
        (PgType::Date, PgType::Timestamp) => map1::<Day, i64>(call, date_to_timestamp),
        (PgType::Date, PgType::Timestamptz) => {
            map1::<Day, i64>(call, |day| to_utc(date_to_timestamp(day)?, zone))
        }
        (PgType::Timestamp, PgType::Timestamptz) => map1::<Stamp, i64>(call, |stamp| to_utc(stamp, zone)),
        (PgType::Timestamptz, PgType::Timestamp) => map1::<Stamp, i64>(call, |stamp| to_local(stamp, zone)),
        (PgType::Timestamp, PgType::Date) => map1::<Stamp, i32>(call, |stamp| Ok(timestamp_to_date(stamp))),
        (PgType::Timestamptz, PgType::Date) => {
            map1::<Stamp, i32>(call, |stamp| Ok(timestamp_to_date(to_local(stamp, zone)?)))
        }
        (PgType::Timestamp, PgType::Time) => {
            let stamps = Arg::<Stamp>::of(&call.args[0]);
            each_row_nullable(call, |row| Ok(clock_of(stamps.get(row))))
        }
        (PgType::Timestamptz, PgType::Time) => {
            let stamps = Arg::<Stamp>::of(&call.args[0]);
            each_row_nullable(call, |row| Ok(clock_of(to_local(stamps.get(row), zone)?)))
        }
        (PgType::Time, PgType::Interval) => {
            map1::<Clock, Interval>(call, |micros| Ok(Interval { micros, ..Interval::default() }))
        }
        (PgType::Interval, PgType::Time) => {
            map1::<Span, i64>(call, |span| Ok(span.micros.rem_euclid(DAY_US)))
        }
        (from, to) => panic!("no cast from {from} to {to}"),
    }
}
