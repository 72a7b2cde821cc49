//! Types of Parquet's columns, and their arrays as ours.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Int8Type, Int16Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Int16Array, Int32Array, Int64Array, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_schema::{DataType, TimeUnit};
use omen_core::types::PgType;
use omen_core::types::numeric::{NUMERIC_BYTES, Numeric};

use crate::error::{Result, SqlError, SqlState};

/// The type of a column's values; none if there is no counterpart.
pub(super) fn pg_type(data_type: &DataType) -> Option<PgType> {
    Some(match data_type {
        DataType::Boolean => PgType::Bool,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => PgType::Int2,
        DataType::Int32 | DataType::UInt16 => PgType::Int4,
        DataType::Int64 | DataType::UInt32 => PgType::Int8,
        DataType::UInt64 => PgType::Numeric(None),
        DataType::Float32 => PgType::Float4,
        DataType::Float64 => PgType::Float8,
        DataType::Decimal128(_, scale) if *scale >= 0 => PgType::Numeric(None),
        DataType::Utf8 => PgType::Text,
        DataType::Binary => PgType::Bytea,
        DataType::Date32 => PgType::Date,
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Second => match zone {
            None => PgType::Timestamp,
            Some(_) => PgType::Timestamptz,
        },
        _ => return None,
    })
}

/// An array of Parquet's reader as one of ours. Nothing else than what [`pg_type`] answers for comes in.
///
/// # Errors
/// 22003 and 22008 for values that have no counterpart.
pub(super) fn convert(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Int8 => {
            Arc::new(array.as_primitive::<Int8Type>().unary::<_, Int16Type>(i16::from)) as ArrayRef
        }
        DataType::UInt8 => {
            let converted: Int16Array = array.as_primitive::<UInt8Type>().unary(i16::from);
            Arc::new(converted)
        }
        DataType::UInt16 => {
            let converted: Int32Array = array.as_primitive::<UInt16Type>().unary(i32::from);
            Arc::new(converted)
        }
        DataType::UInt32 => {
            let converted: Int64Array = array.as_primitive::<UInt32Type>().unary(i64::from);
            Arc::new(converted)
        }
        DataType::UInt64 => {
            let values = array.as_primitive::<UInt64Type>();
            numerics(array, values.values().iter().map(|value| i128::from(*value)), 0)?
        }
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            numerics(array, values.values().iter().copied(), u8::try_from(*scale).unwrap_or(0))?
        }
        DataType::Timestamp(unit, zone) => {
            let micros: TimestampMicrosecondArray = match unit {
                TimeUnit::Nanosecond => {
                    array.as_primitive::<TimestampNanosecondType>().unary(|value| value.div_euclid(1_000))
                }
                TimeUnit::Millisecond => {
                    let values = array.as_primitive::<TimestampMillisecondType>();
                    values.try_unary(|value| value.checked_mul(1_000).ok_or_else(out_of_range))?
                }
                _ => array.as_primitive::<TimestampMicrosecondType>().clone(),
            };
            Arc::new(micros.with_timezone_opt(zone.as_ref().map(|_| "UTC")))
        }
        _ => array.clone(),
    })
}

fn out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

fn numerics(array: &ArrayRef, values: impl Iterator<Item = i128>, scale: u8) -> Result<ArrayRef> {
    let mut bytes = MutableBuffer::with_capacity(array.len() * NUMERIC_BYTES);
    for (row, value) in values.enumerate() {
        // Below a NULL anything may lie.
        let value = if array.is_valid(row) { value } else { 0 };
        let value = Numeric::new(value, scale).ok_or_else(|| {
            SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
        })?;
        bytes.extend_from_slice(&value.to_bytes());
    }
    let width = i32::try_from(NUMERIC_BYTES).expect("few bytes");
    let made = FixedSizeBinaryArray::try_new(width, Buffer::from(bytes), array.nulls().cloned());
    made.map(|made| Arc::new(made) as ArrayRef)
        .map_err(|e| SqlError::new(SqlState::INTERNAL_ERROR, e.to_string()))
}
