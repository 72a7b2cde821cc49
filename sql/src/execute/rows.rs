//! Between rows as bytes (`omen_core::row`) and Arrow batches.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, PrimitiveBuilder, StringBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch,
    StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use omen_core::catalog::TableSchema;
use omen_core::error::{SqlState, ValueError};
use omen_core::key::{self, KEY_BYTES_MAX};
use omen_core::row::{Malformed, RowBuilder, RowReader, datum_from_bytes};
use omen_core::types::{Datum, PgType};

use crate::error::SqlError;
use crate::fragment::{batch_of, schema_of};

/// The error for stored bytes that are not a row of their table.
pub(crate) fn malformed(_: Malformed) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, "a stored row does not have the columns of its table")
}

/// A batch of some columns of rows that have the given types.
///
/// # Errors
/// XX001 if the bytes are not such rows.
pub(crate) fn batch_of_rows<'a>(
    types: &[PgType],
    columns: &[usize],
    rows: impl Iterator<Item = &'a [u8]>,
) -> Result<RecordBatch, SqlError> {
    let mut values: Vec<Vec<Datum>> = vec![Vec::new(); columns.len()];
    let mut count = 0;
    for row in rows {
        let mut reader = RowReader::new(row, types.len()).map_err(malformed)?;
        for (index, pg_type) in types.iter().enumerate() {
            let bytes = reader.next_bytes(*pg_type).map_err(malformed)?;
            for (values, _) in values.iter_mut().zip(columns).filter(|(_, column)| **column == index) {
                values.push(match bytes {
                    None => Datum::Null,
                    Some(bytes) => datum_from_bytes(*pg_type, bytes).map_err(malformed)?,
                });
            }
        }
        count += 1;
    }
    let types: Vec<PgType> = columns.iter().map(|column| types[*column]).collect();
    let arrays =
        types.iter().zip(&values).map(|(pg_type, values)| array_of(*pg_type, values.iter())).collect();
    Ok(batch_of(&schema_of(&types), arrays, count))
}

/// An array of values of one type, as `PgType::arrow` lays it out.
pub(crate) fn array_of<'a>(pg_type: PgType, values: impl Iterator<Item = &'a Datum>) -> ArrayRef {
    match pg_type {
        PgType::Bool => {
            let mut builder = BooleanBuilder::new();
            values.for_each(|value| {
                builder.append_option(if let Datum::Bool(v) = value { Some(*v) } else { None })
            });
            Arc::new(builder.finish())
        }
        PgType::Int2 => primitives::<Int16Type>(pg_type, values, |value| match value {
            Datum::Int2(v) => Some(*v),
            _ => None,
        }),
        PgType::Int4 => primitives::<Int32Type>(pg_type, values, |value| match value {
            Datum::Int4(v) => Some(*v),
            _ => None,
        }),
        PgType::Date => primitives::<Date32Type>(pg_type, values, |value| match value {
            Datum::Date(v) => Some(*v),
            _ => None,
        }),
        PgType::Int8 => primitives::<Int64Type>(pg_type, values, |value| match value {
            Datum::Int8(v) => Some(*v),
            _ => None,
        }),
        PgType::Time => primitives::<Time64MicrosecondType>(pg_type, values, |value| match value {
            Datum::Time(v) => Some(*v),
            _ => None,
        }),
        PgType::Timestamp | PgType::Timestamptz => {
            primitives::<TimestampMicrosecondType>(pg_type, values, |value| match value {
                Datum::Timestamp(v) => Some(*v),
                _ => None,
            })
        }
        PgType::Float4 => primitives::<Float32Type>(pg_type, values, |value| match value {
            Datum::Float4(v) => Some(*v),
            _ => None,
        }),
        PgType::Float8 => primitives::<Float64Type>(pg_type, values, |value| match value {
            Datum::Float8(v) => Some(*v),
            _ => None,
        }),
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => {
            let mut builder = StringBuilder::new();
            values.for_each(|value| {
                builder.append_option(if let Datum::Text(v) = value { Some(v) } else { None })
            });
            Arc::new(builder.finish())
        }
        PgType::Bytea | PgType::Array(_) => {
            let mut builder = BinaryBuilder::new();
            values.for_each(|value| match value {
                Datum::Bytea(v) | Datum::Array(v) => builder.append_value(v),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        }
        PgType::Numeric(_) => fixed_bytes(pg_type, values, |value| match value {
            Datum::Numeric(v) => Some(v.to_bytes().to_vec()),
            _ => None,
        }),
        PgType::Interval => fixed_bytes(pg_type, values, |value| match value {
            Datum::Interval(v) => Some(v.to_bytes().to_vec()),
            _ => None,
        }),
        PgType::Uuid => fixed_bytes(pg_type, values, |value| match value {
            Datum::Uuid(v) => Some(v.to_vec()),
            _ => None,
        }),
    }
}

fn primitives<'a, T: ArrowPrimitiveType>(
    pg_type: PgType,
    values: impl Iterator<Item = &'a Datum>,
    get: impl Fn(&Datum) -> Option<T::Native>,
) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::new().with_data_type(pg_type.arrow());
    values.for_each(|value| builder.append_option(get(value)));
    Arc::new(builder.finish())
}

fn fixed_bytes<'a>(
    pg_type: PgType,
    values: impl Iterator<Item = &'a Datum>,
    get: impl Fn(&Datum) -> Option<Vec<u8>>,
) -> ArrayRef {
    let size = match pg_type.arrow() {
        DataType::FixedSizeBinary(size) => size,
        _ => 0,
    };
    let mut builder = FixedSizeBinaryBuilder::new(size);
    for value in values {
        match get(value) {
            Some(bytes) => builder.append_value(bytes).expect("values have the size of their type"),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// The values of an array, for reading one by one.
pub(crate) struct Column<'a> {
    pg_type: PgType,
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Bits(&'a BooleanArray),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
}

impl<'a> Column<'a> {
    /// A reader of an array with values of this type.
    pub(crate) fn new(pg_type: PgType, array: &'a ArrayRef) -> Column<'a> {
        let values = match pg_type {
            PgType::Bool => Values::Bits(array.as_boolean()),
            PgType::Int2 => Values::Int16(array.as_primitive::<Int16Type>().values()),
            PgType::Int4 => Values::Int32(array.as_primitive::<Int32Type>().values()),
            PgType::Date => Values::Int32(array.as_primitive::<Date32Type>().values()),
            PgType::Int8 => Values::Int64(array.as_primitive::<Int64Type>().values()),
            PgType::Time => Values::Int64(array.as_primitive::<Time64MicrosecondType>().values()),
            PgType::Timestamp | PgType::Timestamptz => {
                Values::Int64(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            PgType::Float4 => Values::Float32(array.as_primitive::<Float32Type>().values()),
            PgType::Float8 => Values::Float64(array.as_primitive::<Float64Type>().values()),
            PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => {
                Values::Text(array.as_string())
            }
            PgType::Bytea | PgType::Array(_) => Values::Bytes(array.as_binary()),
            PgType::Numeric(_) | PgType::Interval | PgType::Uuid => {
                Values::Fixed(array.as_fixed_size_binary())
            }
        };
        Column { pg_type, nulls: array.nulls(), values }
    }

    /// Readers of the columns of a batch.
    pub(crate) fn all(types: &[PgType], batch: &'a RecordBatch) -> Vec<Column<'a>> {
        types.iter().zip(batch.columns()).map(|(pg_type, array)| Column::new(*pg_type, array)).collect()
    }

    /// Whether the value of a row is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value of a row to a row that is being built.
    pub(crate) fn push_to(&self, row: usize, out: &mut RowBuilder) {
        if self.is_null(row) {
            return out.push_null();
        }
        match &self.values {
            Values::Bits(values) => out.push_fixed(&[u8::from(values.value(row))]),
            Values::Int16(values) => out.push_fixed(&values[row].to_le_bytes()),
            Values::Int32(values) => out.push_fixed(&values[row].to_le_bytes()),
            Values::Int64(values) => out.push_fixed(&values[row].to_le_bytes()),
            Values::Float32(values) => out.push_fixed(&values[row].to_le_bytes()),
            Values::Float64(values) => out.push_fixed(&values[row].to_le_bytes()),
            Values::Text(values) => out.push_var(values.value(row).as_bytes()),
            Values::Bytes(values) => out.push_var(values.value(row)),
            Values::Fixed(values) => out.push_fixed(values.value(row)),
        }
    }

    /// The value of a row.
    pub(crate) fn datum(&self, row: usize) -> Datum {
        if self.is_null(row) {
            return Datum::Null;
        }
        match &self.values {
            Values::Bits(values) => Datum::Bool(values.value(row)),
            Values::Int16(values) => Datum::Int2(values[row]),
            Values::Int32(values) if self.pg_type == PgType::Date => Datum::Date(values[row]),
            Values::Int32(values) => Datum::Int4(values[row]),
            Values::Int64(values) => match self.pg_type {
                PgType::Int8 => Datum::Int8(values[row]),
                PgType::Time => Datum::Time(values[row]),
                _ => Datum::Timestamp(values[row]),
            },
            Values::Float32(values) => Datum::Float4(values[row]),
            Values::Float64(values) => Datum::Float8(values[row]),
            Values::Text(values) => Datum::Text(values.value(row).into()),
            Values::Bytes(values) if matches!(self.pg_type, PgType::Array(_)) => {
                Datum::Array(values.value(row).into())
            }
            Values::Bytes(values) => Datum::Bytea(values.value(row).into()),
            Values::Fixed(values) => datum_from_bytes(self.pg_type, values.value(row))
                .expect("arrays of a type hold values of the type"),
        }
    }
}

/// Appends the key of a row to `out`, its columns given in key order by `value`.
///
/// # Errors
/// 54000 if the key is too long.
pub(crate) fn push_key<'a>(
    schema: &TableSchema,
    value: impl Fn(usize) -> std::borrow::Cow<'a, Datum>,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let start = out.len();
    for column in &schema.key {
        key::encode(&value(*column), out);
    }
    let size = out.len() - start;
    if size > KEY_BYTES_MAX {
        let message = format!("primary key of {size} bytes exceeds the limit of {KEY_BYTES_MAX} bytes");
        return Err(ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    Ok(())
}

/// Types of all columns of a table.
pub(crate) fn types_of(schema: &TableSchema) -> Vec<PgType> {
    schema.columns.iter().map(|column| column.pg_type).collect()
}

/// The values of a whole row.
///
/// # Errors
/// XX001 if the bytes are not a row of these types.
pub(crate) fn datums_of(types: &[PgType], row: &[u8]) -> Result<Vec<Datum>, SqlError> {
    let mut reader = RowReader::new(row, types.len()).map_err(malformed)?;
    types.iter().map(|pg_type| reader.next_datum(*pg_type).map_err(malformed)).collect()
}

#[cfg(test)]
mod tests {
    use omen_core::types::{Interval, Numeric};

    use super::*;

    #[test]
    fn rows_to_batches_and_back() {
        let values = [
            (PgType::Bool, Datum::Bool(true)),
            (PgType::Int2, Datum::Int2(-2)),
            (PgType::Int4, Datum::Int4(7)),
            (PgType::Int8, Datum::Int8(1 << 40)),
            (PgType::Float4, Datum::Float4(1.5)),
            (PgType::Float8, Datum::Float8(-0.25)),
            (PgType::Numeric(None), Datum::Numeric(Numeric::new(125, 2).expect("fits"))),
            (PgType::Text, Datum::Text("naïve".into())),
            (PgType::Varchar(Some(9)), Datum::Text("".into())),
            (PgType::Bytea, Datum::Bytea([0, 255].into())),
            (PgType::Date, Datum::Date(-1)),
            (PgType::Time, Datum::Time(5)),
            (PgType::Timestamp, Datum::Timestamp(6)),
            (PgType::Timestamptz, Datum::Timestamp(7)),
            (PgType::Interval, Datum::Interval(Interval { months: 1, days: 2, micros: 3 })),
            (PgType::Uuid, Datum::Uuid([9; 16])),
            (PgType::Jsonb, Datum::Text("{}".into())),
        ];
        let (types, datums): (Vec<PgType>, Vec<Datum>) = values.into_iter().unzip();
        let nulls = vec![Datum::Null; types.len()];
        let mut builder = RowBuilder::default();
        let rows = [builder.row(&datums).expect("small"), builder.row(&nulls).expect("small")];
        let columns: Vec<usize> = (0..types.len()).rev().collect();
        let batch = batch_of_rows(&types, &columns, rows.iter().map(AsRef::as_ref)).expect("valid rows");
        for (position, column) in columns.iter().enumerate() {
            let read = Column::new(types[*column], batch.column(position));
            assert_eq!(read.datum(0), datums[*column]);
            assert_eq!(read.datum(1), Datum::Null);
        }
        let whole: Vec<usize> = (0..types.len()).collect();
        let batch = batch_of_rows(&types, &whole, rows.iter().map(AsRef::as_ref)).expect("valid rows");
        let read = Column::all(&types, &batch);
        for (row, expected) in rows.iter().enumerate() {
            builder.start(types.len());
            read.iter().for_each(|column| column.push_to(row, &mut builder));
            assert_eq!(builder.finish().expect("small"), *expected);
        }
        assert_eq!(datums_of(&types, &rows[0]).expect("valid row"), datums);
    }
}
