//! Which row groups a filter cannot be true in, by the smallest and largest values that the footer tells.
//!
//! Floats are left out, because NaN is above all numbers here and unknown to the footer's bounds.

use std::cmp::Ordering;

use omen_core::filter::{ColumnFilter, Comparison, Test};
use omen_core::types::numeric::Numeric;
use omen_core::types::{Datum, PgType};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

/// Whether a row group may have rows that pass.
pub(super) fn may_match(
    group: &RowGroupMetaData,
    columns: &[(String, PgType)],
    filters: &[ColumnFilter],
) -> bool {
    filters.iter().all(|filter| {
        let column = columns.get(filter.column).zip(group.columns().get(filter.column));
        column.is_none_or(|((_, pg_type), chunk)| {
            bounds(chunk, *pg_type).is_none_or(|(min, max)| passes(&filter.test, &min, &max))
        })
    })
}

/// The smallest and the largest value of a column, if the footer has them.
fn bounds(chunk: &ColumnChunkMetaData, pg_type: PgType) -> Option<(Datum, Datum)> {
    let whole = |value: i64| {
        let logical = chunk.column_descr().logical_type_ref();
        Some(match pg_type {
            PgType::Int2 | PgType::Int4 | PgType::Int8 if !is_unsigned(logical) => Datum::Int8(value),
            PgType::Date => Datum::Date(i32::try_from(value).ok()?),
            PgType::Timestamp | PgType::Timestamptz => match logical {
                Some(LogicalType::Timestamp(kind)) if kind.unit == TimeUnit::MICROS => {
                    Datum::Timestamp(value)
                }
                _ => return None,
            },
            PgType::Numeric(_) if !is_unsigned(logical) => {
                let scale = u8::try_from(chunk.column_descr().type_scale()).ok()?;
                Datum::Numeric(Numeric::new(value.into(), scale)?)
            }
            _ => return None,
        })
    };
    match chunk.statistics()? {
        Statistics::Int32(found) => {
            Some((whole((*found.min_opt()?).into())?, whole((*found.max_opt()?).into())?))
        }
        Statistics::Int64(found) => Some((whole(*found.min_opt()?)?, whole(*found.max_opt()?)?)),
        Statistics::ByteArray(found) if pg_type == PgType::Text => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| Datum::Text(text.into()));
            Some((text(found.min_opt()?.data())?, text(found.max_opt()?.data())?))
        }
        _ => None,
    }
}

fn is_unsigned(logical: Option<&LogicalType>) -> bool {
    matches!(logical, Some(LogicalType::Integer(kind)) if !kind.is_signed)
}

/// The order of two values, if they are of one kind.
fn compare(one: &Datum, other: &Datum) -> Option<Ordering> {
    let whole = |datum: &Datum| match datum {
        Datum::Int2(value) => Some(i64::from(*value)),
        Datum::Int4(value) => Some(i64::from(*value)),
        Datum::Int8(value) => Some(*value),
        _ => None,
    };
    match (one, other) {
        (Datum::Text(one), Datum::Text(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
        (Datum::Date(one), Datum::Date(other)) => Some(one.cmp(other)),
        (Datum::Timestamp(one), Datum::Timestamp(other)) => Some(one.cmp(other)),
        (Datum::Numeric(one), Datum::Numeric(other)) => Some(one.compare(*other)),
        (one, other) => Some(whole(one)?.cmp(&whole(other)?)),
    }
}

/// Whether a test may be true for a value between two others.
fn passes(test: &Test, min: &Datum, max: &Datum) -> bool {
    let below = |value: &Datum| compare(value, min) == Some(Ordering::Less);
    let above = |value: &Datum| compare(value, max) == Some(Ordering::Greater);
    match test {
        Test::Compare(Comparison::Equal, value) => !below(value) && !above(value),
        Test::Compare(Comparison::Less, value) => {
            !below(value) && compare(value, min) != Some(Ordering::Equal)
        }
        Test::Compare(Comparison::LessOrEqual, value) => !below(value),
        Test::Compare(Comparison::Greater, value) => {
            !above(value) && compare(value, max) != Some(Ordering::Equal)
        }
        Test::Compare(Comparison::GreaterOrEqual, value) => !above(value),
        Test::Between(low, high) => !below(high) && !above(low),
        Test::In(values) => values.iter().any(|value| !below(value) && !above(value)),
        Test::Never => false,
        Test::Compare(Comparison::NotEqual, _) | Test::IsNull | Test::IsNotNull | Test::Among(_) => true,
    }
}
