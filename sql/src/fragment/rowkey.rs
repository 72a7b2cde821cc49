//! Rows as bytes that compare as SQL compares them, for sorting and grouping.
//!
//! Per column one marker byte that tells NULL from a value, then the value as `omen_core::key` would write it, but
//! text ends with a single 0x00 (it holds none). Values equal in SQL have equal bytes (`1.0` and `1.00`, `-0` and
//! `0`). A descending column has all bytes of its value inverted. Filled column by column, not row by row.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use omen_core::key;
use omen_core::types::{Datum, Interval, Numeric, PgType};

/// A column to be encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyColumn<'a> {
    /// The values.
    pub(crate) values: &'a ArrayRef,
    /// Their type.
    pub(crate) pg_type: PgType,
    /// `DESC`
    pub(crate) descending: bool,
    /// `NULLS FIRST`
    pub(crate) nulls_first: bool,
}

/// Encoded rows.
#[derive(Debug, Default)]
pub(crate) struct RowKeys {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<u32>,
}

impl RowKeys {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a row.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }

    /// Bytes of memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 4
    }

    /// Adds other rows, whose columns have the same types. All together must stay below 4 GiB.
    pub(crate) fn append(&mut self, other: &RowKeys) {
        let base = u32::try_from(self.bytes.len()).expect("the caller bounds the bytes");
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| base + end));
    }

    /// Encodes rows that need no order but only to be equal where SQL says so, as `encode` does.
    pub(crate) fn of(columns: &[ArrayRef], types: &[PgType], rows: usize) -> RowKeys {
        let column = |(values, pg_type): (_, &PgType)| {
            let (pg_type, descending, nulls_first) = (*pg_type, false, false);
            KeyColumn { values, pg_type, descending, nulls_first }
        };
        RowKeys::encode(&columns.iter().zip(types).map(column).collect::<Vec<_>>(), rows)
    }

    /// Encodes the rows of a batch. Batches are small enough for their keys to stay below 4 GiB: a batch holds at most
    /// 8,192 rows, whose values came in messages.
    pub(crate) fn encode(columns: &[KeyColumn<'_>], rows: usize) -> RowKeys {
        let mut ends = vec![0u32; rows];
        for column in columns {
            add_widths(column, &mut ends);
        }
        let mut total = 0u32;
        for end in &mut ends {
            // Until its columns are written, `end` is where the next byte of the row goes.
            let width = std::mem::replace(end, total);
            total = total.checked_add(width).expect("keys of a batch are below 4 GiB");
        }
        let mut bytes = vec![0; total as usize];
        for column in columns {
            write_column(column, &mut bytes, &mut ends);
        }
        RowKeys { bytes, ends }
    }
}

fn fixed_width(pg_type: PgType) -> Option<u32> {
    Some(match pg_type {
        PgType::Bool => 1,
        PgType::Int2 => 2,
        PgType::Int4 | PgType::Date => 4,
        PgType::Int8
        | PgType::Float4
        | PgType::Float8
        | PgType::Time
        | PgType::Timestamp
        | PgType::Timestamptz => 8,
        PgType::Uuid | PgType::Interval => 16,
        PgType::Numeric(_)
        | PgType::Text
        | PgType::Varchar(_)
        | PgType::Json
        | PgType::Jsonb
        | PgType::Bytea
        | PgType::Array(_) => return None,
    })
}

fn add_widths(column: &KeyColumn<'_>, widths: &mut [u32]) {
    let values = column.values;
    let width_of = |row: usize| -> u32 {
        let width = match column.pg_type {
            PgType::Numeric(_) => match numeric_at(values, row) {
                value if value.is_nan() || value.coefficient() == 0 => 1,
                _ => 18,
            },
            PgType::Bytea => {
                let value = values.as_binary::<i32>().value(row);
                value.len() + memchr::memchr_iter(0, value).count() + 2
            }
            PgType::Array(_) | PgType::Jsonb => encoded_value(column, row).len(),
            _ => values.as_string::<i32>().value(row).len() + 1,
        };
        u32::try_from(width).expect("a value is smaller than a message")
    };
    match fixed_width(column.pg_type) {
        Some(width) if values.null_count() == 0 => widths.iter_mut().for_each(|total| *total += 1 + width),
        fixed => {
            for (row, total) in widths.iter_mut().enumerate() {
                *total += 1;
                if !values.is_null(row) {
                    *total += fixed.unwrap_or_else(|| width_of(row));
                }
            }
        }
    }
}

fn write_column(column: &KeyColumn<'_>, bytes: &mut [u8], next: &mut [u32]) {
    let values = column.values;
    match column.pg_type {
        PgType::Bool => {
            let values = values.as_boolean();
            write_fixed(column, bytes, next, |row| [u8::from(values.value(row))]);
        }
        PgType::Int2 => {
            let values = primitive::<Int16Type>(values);
            write_fixed(column, bytes, next, |row| (values.value(row) as u16 ^ 1 << 15).to_be_bytes());
        }
        PgType::Int4 => {
            let values = primitive::<Int32Type>(values);
            write_fixed(column, bytes, next, |row| (values.value(row) as u32 ^ 1 << 31).to_be_bytes());
        }
        PgType::Date => {
            let values = primitive::<Date32Type>(values);
            write_fixed(column, bytes, next, |row| (values.value(row) as u32 ^ 1 << 31).to_be_bytes());
        }
        PgType::Int8 => {
            let values = primitive::<Int64Type>(values);
            write_fixed(column, bytes, next, |row| (values.value(row) as u64 ^ 1 << 63).to_be_bytes());
        }
        PgType::Time => {
            let values = primitive::<Time64MicrosecondType>(values);
            write_fixed(column, bytes, next, |row| (values.value(row) as u64 ^ 1 << 63).to_be_bytes());
        }
        PgType::Timestamp | PgType::Timestamptz => {
            let values = primitive::<TimestampMicrosecondType>(values);
            write_fixed(column, bytes, next, |row| (values.value(row) as u64 ^ 1 << 63).to_be_bytes());
        }
        PgType::Float4 => {
            let values = primitive::<Float32Type>(values);
            write_fixed(column, bytes, next, |row| float_bytes(f64::from(values.value(row))));
        }
        PgType::Float8 => {
            let values = primitive::<Float64Type>(values);
            write_fixed(column, bytes, next, |row| float_bytes(values.value(row)));
        }
        PgType::Uuid => {
            let values = values.as_fixed_size_binary();
            write_fixed(column, bytes, next, |row| values.value(row).try_into().unwrap_or([0; 16]));
        }
        PgType::Interval => {
            let values = values.as_fixed_size_binary();
            write_fixed(column, bytes, next, |row| {
                let interval = Interval::from_bytes(values.value(row).try_into().unwrap_or([0; 16]));
                (interval.order() as u128 ^ 1 << 127).to_be_bytes()
            });
        }
        PgType::Numeric(_) | PgType::Bytea | PgType::Array(_) | PgType::Jsonb => {
            write_encoded(column, bytes, next)
        }
        PgType::Text | PgType::Varchar(_) | PgType::Json => {
            let values = values.as_string::<i32>();
            write_values(column, bytes, next, |row, out| {
                let value = values.value(row).as_bytes();
                out[..value.len()].copy_from_slice(value);
                out[value.len()] = 0;
                value.len() + 1
            });
        }
    }
}

/// Types that only the key encoding of the engine writes.
fn write_encoded(column: &KeyColumn<'_>, bytes: &mut [u8], next: &mut [u32]) {
    let mut encoded = Vec::new();
    write_values(column, bytes, next, |row, out| {
        encoded.clear();
        match column.pg_type {
            PgType::Numeric(_) => key::encode_numeric(numeric_at(column.values, row), &mut encoded),
            PgType::Array(_) | PgType::Jsonb => encoded = encoded_value(column, row),
            _ => key::encode(&Datum::Bytea(column.values.as_binary::<i32>().value(row).into()), &mut encoded),
        }
        out[..encoded.len()].copy_from_slice(&encoded);
        encoded.len()
    });
}

/// The bytes of an array or of jsonb: equal for values that are equal.
fn encoded_value(column: &KeyColumn<'_>, row: usize) -> Vec<u8> {
    let mut encoded = Vec::new();
    if column.pg_type == PgType::Jsonb {
        let text = column.values.as_string::<i32>().value(row);
        key::encode(&Datum::Bytea(crate::types::json::key_of(text).into()), &mut encoded);
    } else {
        key::encode(&Datum::Array(column.values.as_binary::<i32>().value(row).into()), &mut encoded);
    }
    encoded
}

fn numeric_at(values: &ArrayRef, row: usize) -> Numeric {
    let bytes = values.as_fixed_size_binary().value(row);
    bytes.try_into().ok().and_then(Numeric::from_bytes).unwrap_or(Numeric::NAN)
}

fn primitive<T: ArrowPrimitiveType>(values: &ArrayRef) -> &PrimitiveArray<T> {
    values.as_primitive::<T>()
}

/// Bits that order as floats do: NaN is largest, `-0` is `0`.
fn float_bytes(value: f64) -> [u8; 8] {
    let canonical = if value.is_nan() { f64::NAN } else { value + 0.0 };
    let bits = canonical.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    ordered.to_be_bytes()
}

fn write_fixed<const N: usize>(
    column: &KeyColumn<'_>,
    bytes: &mut [u8],
    next: &mut [u32],
    value: impl Fn(usize) -> [u8; N],
) {
    write_values(column, bytes, next, |row, out| {
        out[..N].copy_from_slice(&value(row));
        N
    });
}

/// Writes the marker of each row and, unless it is NULL, what `value` puts into the bytes it is given.
fn write_values(
    column: &KeyColumn<'_>,
    bytes: &mut [u8],
    next: &mut [u32],
    mut value: impl FnMut(usize, &mut [u8]) -> usize,
) {
    let nulls = column.values.nulls();
    let null_marker = if column.nulls_first { 0 } else { 2 };
    for (row, next) in next.iter_mut().enumerate() {
        let start = *next as usize;
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            bytes[start] = null_marker;
            *next += 1;
            continue;
        }
        bytes[start] = 1;
        let width = value(row, &mut bytes[start + 1..]);
        if column.descending {
            bytes[start + 1..=start + width].iter_mut().for_each(|byte| *byte = !*byte);
        }
        *next += u32::try_from(width).expect("measured before") + 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int32Array, StringArray};

    use super::*;

    fn order(values: ArrayRef, pg_type: PgType, descending: bool, nulls_first: bool) -> Vec<usize> {
        let column = KeyColumn { values: &values, pg_type, descending, nulls_first };
        let keys = RowKeys::encode(&[column], values.len());
        let mut rows: Vec<usize> = (0..keys.len()).collect();
        rows.sort_by(|a, b| keys.row(*a).cmp(keys.row(*b)));
        rows
    }

    #[test]
    fn order_of_bytes_is_order_of_values() {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(5), None, Some(-3), Some(i32::MAX)]));
        assert_eq!(order(ints.clone(), PgType::Int4, false, false), [2, 0, 3, 1]);
        assert_eq!(order(ints.clone(), PgType::Int4, true, true), [1, 3, 0, 2]);
        assert_eq!(order(ints, PgType::Int4, true, false), [3, 0, 2, 1]);
        let texts: ArrayRef =
            Arc::new(StringArray::from(vec![Some("ab"), Some("a"), Some(""), None, Some("b")]));
        assert_eq!(order(texts.clone(), PgType::Text, false, true), [3, 2, 1, 0, 4]);
        assert_eq!(order(texts, PgType::Text, true, false), [4, 0, 1, 2, 3]);
        let floats: ArrayRef =
            Arc::new(Float64Array::from(vec![f64::NAN, 1.0, -0.0, 0.0, f64::NEG_INFINITY]));
        let column =
            KeyColumn { values: &floats, pg_type: PgType::Float8, descending: false, nulls_first: false };
        let keys = RowKeys::encode(&[column], 5);
        assert_eq!(keys.row(2), keys.row(3));
        assert_eq!(order(floats.clone(), PgType::Float8, false, false), [4, 2, 3, 1, 0]);
    }

    #[test]
    fn columns_follow_one_another() {
        let first: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "a", "a"]));
        let second: ArrayRef = Arc::new(Int32Array::from(vec![Some(0), Some(2), Some(1), None]));
        let column =
            |values, pg_type, descending| KeyColumn { values, pg_type, descending, nulls_first: false };
        let columns = [column(&first, PgType::Text, false), column(&second, PgType::Int4, true)];
        let keys = RowKeys::encode(&columns, 4);
        let mut rows = vec![0, 1, 2, 3];
        rows.sort_by(|a, b| keys.row(*a).cmp(keys.row(*b)));
        assert_eq!(rows, [1, 2, 3, 0]);
    }
}
