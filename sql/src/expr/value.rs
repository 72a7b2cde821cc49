//! Columns and constants while they are evaluated, and the way between arrays and datums.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringArray,
    new_null_array,
};
use arrow_buffer::{BooleanBuffer, Buffer};
use omen_core::types::{Datum, Interval, Numeric, PgType};

/// The values of an expression for all rows.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// One value per row.
    Array(ArrayRef),
    /// The same value in every row.
    Scalar(Datum),
}

impl Value {
    /// As an array of so many rows.
    pub(crate) fn into_array(self, pg_type: PgType, rows: usize) -> ArrayRef {
        match self {
            Value::Array(array) => array,
            Value::Scalar(value) => repeat(&value, pg_type, rows),
        }
    }

    /// Whether it is NULL in every row, as a constant.
    pub(crate) fn is_null_scalar(&self) -> bool {
        matches!(self, Value::Scalar(Datum::Null))
    }

    /// The value of one row.
    pub(crate) fn datum(&self, pg_type: PgType, row: usize) -> Datum {
        match self {
            Value::Array(array) => datum_at(array, pg_type, row),
            Value::Scalar(value) => value.clone(),
        }
    }
}

/// An array that holds a value `rows` times.
pub(crate) fn repeat(value: &Datum, pg_type: PgType, rows: usize) -> ArrayRef {
    fn fixed(bytes: &[u8], rows: usize) -> ArrayRef {
        Arc::new(FixedSizeBinaryArray::new(bytes.len() as i32, Buffer::from_vec(bytes.repeat(rows)), None))
    }
    match value {
        Datum::Null => new_null_array(&pg_type.arrow(), rows),
        Datum::Bool(true) => Arc::new(BooleanArray::new(BooleanBuffer::new_set(rows), None)),
        Datum::Bool(false) => Arc::new(BooleanArray::new(BooleanBuffer::new_unset(rows), None)),
        Datum::Int2(value) => Arc::new(PrimitiveArray::<Int16Type>::from_value(*value, rows)),
        Datum::Int4(value) => Arc::new(PrimitiveArray::<Int32Type>::from_value(*value, rows)),
        Datum::Int8(value) => Arc::new(PrimitiveArray::<Int64Type>::from_value(*value, rows)),
        Datum::Float4(value) => Arc::new(PrimitiveArray::<Float32Type>::from_value(*value, rows)),
        Datum::Float8(value) => Arc::new(PrimitiveArray::<Float64Type>::from_value(*value, rows)),
        Datum::Date(value) => Arc::new(PrimitiveArray::<Date32Type>::from_value(*value, rows)),
        Datum::Time(value) => Arc::new(PrimitiveArray::<Time64MicrosecondType>::from_value(*value, rows)),
        Datum::Timestamp(value) => {
            let array = PrimitiveArray::<TimestampMicrosecondType>::from_value(*value, rows);
            Arc::new(array.with_data_type(pg_type.arrow()))
        }
        Datum::Text(value) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))),
        Datum::Bytea(value) => Arc::new(BinaryArray::from_iter_values(std::iter::repeat_n(value, rows))),
        Datum::Numeric(value) => fixed(&value.to_bytes(), rows),
        Datum::Interval(value) => fixed(&value.to_bytes(), rows),
        Datum::Uuid(value) => fixed(value, rows),
        Datum::Array(value) => Arc::new(BinaryArray::from_iter_values(std::iter::repeat_n(value, rows))),
    }
}

/// The value of an array at a row.
pub fn datum_at(array: &dyn Array, pg_type: PgType, row: usize) -> Datum {
    if array.is_null(row) {
        return Datum::Null;
    }
    let fixed = || array.as_fixed_size_binary().value(row);
    match pg_type {
        PgType::Bool => Datum::Bool(array.as_boolean().value(row)),
        PgType::Int2 => Datum::Int2(array.as_primitive::<Int16Type>().value(row)),
        PgType::Int4 => Datum::Int4(array.as_primitive::<Int32Type>().value(row)),
        PgType::Int8 => Datum::Int8(array.as_primitive::<Int64Type>().value(row)),
        PgType::Float4 => Datum::Float4(array.as_primitive::<Float32Type>().value(row)),
        PgType::Float8 => Datum::Float8(array.as_primitive::<Float64Type>().value(row)),
        PgType::Date => Datum::Date(array.as_primitive::<Date32Type>().value(row)),
        PgType::Time => Datum::Time(array.as_primitive::<Time64MicrosecondType>().value(row)),
        PgType::Timestamp | PgType::Timestamptz => {
            Datum::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => {
            Datum::Text(array.as_string::<i32>().value(row).into())
        }
        PgType::Bytea => Datum::Bytea(array.as_binary::<i32>().value(row).into()),
        PgType::Array(_) => Datum::Array(array.as_binary::<i32>().value(row).into()),
        PgType::Numeric(_) => {
            Datum::Numeric(Numeric::from_trusted_bytes(fixed().try_into().expect("17 bytes")))
        }
        PgType::Interval => Datum::Interval(Interval::from_bytes(fixed().try_into().expect("16 bytes"))),
        PgType::Uuid => Datum::Uuid(fixed().try_into().expect("16 bytes")),
    }
}
