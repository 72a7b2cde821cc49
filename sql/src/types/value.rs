//! One value, whatever holds it: an array, the bytes of a row, or a datum.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use omen_core::types::{Datum, Interval, Numeric, PgType};

/// A borrowed value. Dates, times and timestamps are integers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Native<'a> {
    /// `boolean`
    Bool(bool),
    /// Integers, dates, times and timestamps.
    Integer(i64),
    /// `real`
    Float4(f32),
    /// `double precision`
    Float8(f64),
    /// `numeric`
    Numeric(Numeric),
    /// `text`, `varchar`, `json`, `jsonb`
    Text(&'a [u8]),
    /// `bytea`
    Bytea(&'a [u8]),
    /// `interval`
    Interval(Interval),
    /// `uuid`
    Uuid(&'a [u8; 16]),
    /// An array's bytes.
    Array(&'a [u8]),
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a value of its type's size")
}

/// The value of an array at a row where it is not NULL.
pub(crate) fn native_of_array(pg_type: PgType, array: &dyn Array, row: usize) -> Native<'_> {
    match pg_type {
        PgType::Bool => Native::Bool(array.as_boolean().value(row)),
        PgType::Int2 => Native::Integer(array.as_primitive::<Int16Type>().value(row).into()),
        PgType::Int4 => Native::Integer(array.as_primitive::<Int32Type>().value(row).into()),
        PgType::Int8 => Native::Integer(array.as_primitive::<Int64Type>().value(row)),
        PgType::Float4 => Native::Float4(array.as_primitive::<Float32Type>().value(row)),
        PgType::Float8 => Native::Float8(array.as_primitive::<Float64Type>().value(row)),
        PgType::Numeric(_) => {
            Native::Numeric(Numeric::from_trusted_bytes(fixed(array.as_fixed_size_binary().value(row))))
        }
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => {
            Native::Text(array.as_string::<i32>().value(row).as_bytes())
        }
        PgType::Bytea => Native::Bytea(array.as_binary::<i32>().value(row)),
        PgType::Array(_) => Native::Array(array.as_binary::<i32>().value(row)),
        PgType::Date => Native::Integer(array.as_primitive::<Date32Type>().value(row).into()),
        PgType::Time => Native::Integer(array.as_primitive::<Time64MicrosecondType>().value(row)),
        PgType::Timestamp | PgType::Timestamptz => {
            Native::Integer(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        PgType::Interval => {
            Native::Interval(Interval::from_bytes(fixed(array.as_fixed_size_binary().value(row))))
        }
        PgType::Uuid => Native::Uuid(array.as_fixed_size_binary().value(row).try_into().expect("16 bytes")),
    }
}

/// The value that these bytes of a row are.
pub(crate) fn native_of_row(pg_type: PgType, bytes: &[u8]) -> Native<'_> {
    match pg_type {
        PgType::Bool => Native::Bool(bytes == [1]),
        PgType::Int2 => Native::Integer(i16::from_le_bytes(fixed(bytes)).into()),
        PgType::Int4 | PgType::Date => Native::Integer(i32::from_le_bytes(fixed(bytes)).into()),
        PgType::Int8 | PgType::Time | PgType::Timestamp | PgType::Timestamptz => {
            Native::Integer(i64::from_le_bytes(fixed(bytes)))
        }
        PgType::Float4 => Native::Float4(f32::from_le_bytes(fixed(bytes))),
        PgType::Float8 => Native::Float8(f64::from_le_bytes(fixed(bytes))),
        PgType::Numeric(_) => Native::Numeric(Numeric::from_trusted_bytes(fixed(bytes))),
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => Native::Text(bytes),
        PgType::Bytea => Native::Bytea(bytes),
        PgType::Array(_) => Native::Array(bytes),
        PgType::Interval => Native::Interval(Interval::from_bytes(fixed(bytes))),
        PgType::Uuid => Native::Uuid(bytes.try_into().expect("16 bytes")),
    }
}

/// The value of a datum; `None` for NULL.
pub(crate) fn native_of_datum(value: &Datum) -> Option<Native<'_>> {
    Some(match value {
        Datum::Null => return None,
        Datum::Bool(value) => Native::Bool(*value),
        Datum::Int2(value) => Native::Integer((*value).into()),
        Datum::Int4(value) | Datum::Date(value) => Native::Integer((*value).into()),
        Datum::Int8(value) | Datum::Time(value) | Datum::Timestamp(value) => Native::Integer(*value),
        Datum::Float4(value) => Native::Float4(*value),
        Datum::Float8(value) => Native::Float8(*value),
        Datum::Numeric(value) => Native::Numeric(*value),
        Datum::Text(value) => Native::Text(value.as_bytes()),
        Datum::Bytea(value) => Native::Bytea(value),
        Datum::Interval(value) => Native::Interval(*value),
        Datum::Uuid(value) => Native::Uuid(value),
        Datum::Array(value) => Native::Array(value),
    })
}
