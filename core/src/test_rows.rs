//! Seeded random rows of every type, for tests of what stores them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};

use crate::catalog::{Column, TableSchema};
use crate::key::Key;
use crate::learned::IndexKind;
use crate::row::{Row, RowBuilder, RowReader};
use crate::types::{ArrayValue, Datum, Interval, Numeric, PgType};

/// xorshift64*
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

pub(crate) use crate::fuzz::ALL_TYPES;

/// A table of these columns; `key` are its key columns.
pub(crate) fn schema(types: &[PgType], key: &[usize]) -> Arc<TableSchema> {
    let column = |(index, pg_type): (usize, &PgType)| Column {
        name: format!("c{index}"),
        pg_type: *pg_type,
        not_null: key.contains(&index),
        default: None,
        hidden: false,
    };
    Arc::new(TableSchema {
        columns: types.iter().enumerate().map(column).collect(),
        key: key.to_vec(),
        key_name: Some("pk".into()),
        index: IndexKind::Auto,
    })
}

/// A value of the type, often an extreme one.
pub(crate) fn value(random: &mut Random, pg_type: PgType) -> Datum {
    let bits = random.next();
    let text = |random: &mut Random| -> Box<str> {
        let words = ["", "a", "naïve", "\0", "漢字", "longer than any short string is", "\u{10FFFF}"];
        let length = random.below(5);
        (0..length).map(|_| random.pick(&words)).collect::<String>().into()
    };
    match pg_type {
        PgType::Array(element) => {
            let element = element.pg_type();
            let values = (0..random.below(4)).map(|_| match random.below(4) {
                0 => Datum::Null,
                _ => value(random, element),
            });
            ArrayValue::list(element, values.collect()).into_datum()
        }
        PgType::Bool => Datum::Bool(bits & 1 == 1),
        PgType::Int2 => Datum::Int2(random.pick(&[i16::MIN, -1, 0, i16::MAX, bits as i16])),
        PgType::Int4 => Datum::Int4(random.pick(&[i32::MIN, -1, 0, i32::MAX, bits as i32])),
        PgType::Int8 => Datum::Int8(random.pick(&[i64::MIN, -1, 0, i64::MAX, bits as i64])),
        PgType::Float4 => Datum::Float4(random.pick(&[f32::MIN, -0.0, f32::INFINITY, bits as f32 / 7.0])),
        PgType::Float8 => Datum::Float8(random.pick(&[f64::MAX, -0.0, f64::NEG_INFINITY, bits as f64 / 7.0])),
        PgType::Numeric(_) => {
            let limit = 10i128.pow(Numeric::DIGITS_MAX) - 1;
            let coefficient = random.pick(&[limit, -limit, 0, i128::from(bits)]);
            let scale = random.below(39) as u8;
            Datum::Numeric(if bits.is_multiple_of(7) {
                Numeric::NAN
            } else {
                Numeric::new(coefficient, scale).expect("fits")
            })
        }
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => Datum::Text(text(random)),
        PgType::Bytea => Datum::Bytea((0..random.below(40)).map(|_| random.next() as u8).collect()),
        PgType::Date => Datum::Date(random.pick(&[i32::MIN, 0, i32::MAX, bits as i32])),
        PgType::Time => Datum::Time((bits % 86_400_000_000) as i64),
        PgType::Timestamp | PgType::Timestamptz => {
            Datum::Timestamp(random.pick(&[i64::MIN, 0, i64::MAX, bits as i64]))
        }
        PgType::Interval => Datum::Interval(Interval {
            months: bits as i32,
            days: -1,
            micros: random.pick(&[i64::MIN, bits as i64]),
        }),
        PgType::Uuid => Datum::Uuid((u128::from(bits) << 64 | u128::from(random.next())).to_be_bytes()),
    }
}

/// Values of a row: key columns from `key`, the others random, one in five NULL.
pub(crate) fn values(random: &mut Random, schema: &TableSchema, key: &[Datum]) -> Vec<Datum> {
    let mut values: Vec<Datum> = schema
        .columns
        .iter()
        .map(|column| if random.one_in(5) { Datum::Null } else { value(random, column.pg_type) })
        .collect();
    schema.key.iter().zip(key).for_each(|(column, datum)| values[*column] = datum.clone());
    values
}

pub(crate) fn row(values: &[Datum]) -> Row {
    RowBuilder::default().row(values).expect("small")
}

pub(crate) fn key_of(schema: &TableSchema, values: &[Datum]) -> Key {
    schema.key_of(values).expect("short")
}

/// The values of a row of these columns of a table.
pub(crate) fn values_of_row(schema: &TableSchema, columns: &[usize], row: &[u8]) -> Vec<Datum> {
    let mut reader = RowReader::new(row, columns.len()).expect("a row");
    let read = |column: &usize| reader.next_datum(schema.columns[*column].pg_type).expect("a value");
    let values = columns.iter().map(read).collect();
    assert!(reader.is_at_end());
    values
}

/// The rows of a batch, read through Arrow.
pub(crate) fn values_of_batch(
    schema: &TableSchema,
    columns: &[usize],
    batch: &RecordBatch,
) -> Vec<Vec<Datum>> {
    assert_eq!(batch.num_columns(), columns.len());
    let types: Vec<PgType> = columns.iter().map(|column| schema.columns[*column].pg_type).collect();
    for (index, pg_type) in types.iter().enumerate() {
        assert_eq!(batch.column(index).data_type(), &pg_type.arrow());
    }
    let cell = |row: usize, column: usize| value_of_array(types[column], batch.column(column), row);
    (0..batch.num_rows()).map(|row| (0..types.len()).map(|column| cell(row, column)).collect()).collect()
}

fn value_of_array(pg_type: PgType, array: &dyn Array, row: usize) -> Datum {
    if array.is_null(row) {
        return Datum::Null;
    }
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
            let bytes = array.as_fixed_size_binary().value(row).try_into().expect("17 bytes");
            Datum::Numeric(Numeric::from_bytes(bytes).expect("valid"))
        }
        PgType::Interval => {
            let bytes = array.as_fixed_size_binary().value(row).try_into().expect("16 bytes");
            Datum::Interval(Interval::from_bytes(bytes))
        }
        PgType::Uuid => Datum::Uuid(array.as_fixed_size_binary().value(row).try_into().expect("16 bytes")),
    }
}
