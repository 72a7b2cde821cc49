//! Filters: conditions on one column that the engine evaluates itself, before it makes rows of what it stores.
//!
//! A filter keeps the rows for which its condition is true, with the meaning that PostgreSQL gives it: NULL is never
//! true, NaN is equal to itself and above all numbers, -0.0 = 0.0, numerics are compared by value, texts by their bytes
//! (collation "C"). A fragment names its filters as [`ColumnFilter`]s, with constants of the column's type; a scan
//! makes each ready once and asks it about zones, dictionaries, slices of numbers and arrays.
//!
//! Masks are words of 64 rows, the first row in the lowest bit; filters only clear bits.

mod arrays;
mod image;
pub(crate) mod mask;
mod numbers;
#[cfg(test)]
pub(crate) mod tests;

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use crate::catalog::TableSchema;
use crate::key::float_order;
use crate::row::{Malformed, RowReader};
use crate::types::{Datum, Interval, Numeric, PgType};

pub(crate) use image::{image, int_of_image, is_whole, place};
pub use numbers::{NumberSet, NumberSetBuilder};

/// A condition on one column.
#[derive(Clone, PartialEq, Debug)]
pub struct ColumnFilter {
    /// Index of the table's column.
    pub column: usize,
    /// What its value must fulfil.
    pub test: Test,
}

/// A condition on a value. Constants have the column's type, those for `real` may be `double precision`; a NULL among them is equal to and comparable with nothing.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// The value stands on the left.
    Compare(Comparison, Datum),
    /// At least the first and at most the second.
    Between(Datum, Datum),
    /// Equal to one of these.
    In(Vec<Datum>),
    /// Equal to one of these numbers, by which an `i64` orders the column's type (dates, times, integers).
    Among(Arc<NumberSet>),
    /// `IS NULL`
    IsNull,
    /// `IS NOT NULL`
    IsNotNull,
    /// True for no value.
    Never,
}

/// An operator that compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Test {
    /// Whether there is an order for this test of a type: `json`, `jsonb` and arrays can only be asked for NULL.
    pub fn is_supported(&self, pg_type: PgType) -> bool {
        let asks_null = matches!(self, Test::IsNull | Test::IsNotNull | Test::Never);
        asks_null || !matches!(pg_type, PgType::Json | PgType::Jsonb | PgType::Array(_))
    }
}

/// Whether every filter is true for a row of the table, as `row` encodes it.
///
/// # Errors
/// If the bytes are not a row of the table.
///
/// # Panics
/// If a constant is not of its column's type.
pub fn accepts_row(filters: &[ColumnFilter], schema: &TableSchema, row: &[u8]) -> Result<bool, Malformed> {
    let ready = Filter::all(filters, schema);
    let mut reader = RowReader::new(row, schema.columns.len())?;
    let mut accepted = true;
    for (index, column) in schema.columns.iter().enumerate() {
        let value = reader.next_bytes(column.pg_type)?;
        accepted &= ready.iter().filter(|filter| filter.column == index).all(|filter| filter.accepts(value));
    }
    Ok(accepted)
}

/// Values of an ordered type.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Members<T> {
    /// Those between two bounds.
    Between(Bound<T>, Bound<T>),
    /// All but one.
    AllBut(T),
    /// These, rising.
    OneOf(Vec<T>),
}

impl<T> Members<T> {
    /// Whether the value is one of them; `compare` tells where one of ours stands against it.
    fn contains(&self, compare: impl Fn(&T) -> Ordering) -> bool {
        match self {
            Members::Between(low, high) => {
                let above = match low {
                    Bound::Unbounded => true,
                    Bound::Included(low) => compare(low).is_le(),
                    Bound::Excluded(low) => compare(low).is_lt(),
                };
                above
                    && match high {
                        Bound::Unbounded => true,
                        Bound::Included(high) => compare(high).is_ge(),
                        Bound::Excluded(high) => compare(high).is_gt(),
                    }
            }
            Members::AllBut(one) => compare(one).is_ne(),
            Members::OneOf(list) => list.binary_search_by(compare).is_ok(),
        }
    }
}

/// Whole numbers, dates, times and booleans: all that an `i64` orders.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum IntTest {
    /// From the first to the second, both inside; the first is at most the second.
    Range(i64, i64),
    /// All but one.
    AllBut(i64),
    /// These, rising; at least two.
    OneOf(Vec<i64>),
    /// These.
    Among(Arc<NumberSet>),
}

impl IntTest {
    #[inline]
    pub(crate) fn accepts(&self, value: i64) -> bool {
        match self {
            IntTest::Range(low, high) => (low..=high).contains(&&value),
            IntTest::AllBut(one) => value != *one,
            IntTest::OneOf(list) => list.binary_search(&value).is_ok(),
            IntTest::Among(set) => set.contains(value),
        }
    }
}

/// Floats; `real` is compared as `double precision`, which changes nothing.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum FloatTest {
    /// From `low` to `high`, both inside, and NaN if `nan`. No number lies inside if `low > high`.
    Range { low: f64, high: f64, nan: bool },
    /// All but one, which is not NaN.
    AllBut(f64),
    /// These images (`image`), rising.
    OneOf(Vec<u64>),
}

impl FloatTest {
    #[inline]
    pub(crate) fn accepts(&self, value: f64) -> bool {
        match self {
            FloatTest::Range { low, high, nan } => {
                ((*low <= value) & (value <= *high)) | (*nan & value.is_nan())
            }
            FloatTest::AllBut(one) => value != *one,
            FloatTest::OneOf(list) => list.binary_search(&float_order(value)).is_ok(),
        }
    }
}

/// A condition in the form in which it is evaluated.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Ready {
    Never,
    Null,
    NotNull,
    Ints(IntTest),
    Floats(FloatTest),
    Bytes(Members<Box<[u8]>>),
    Numerics(Members<Numeric>),
    Intervals(Members<i128>),
}

/// Where the images of matches lie.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Images {
    /// No value matches.
    Nothing,
    /// Only NULL matches.
    Null,
    /// Every value matches.
    Anything,
    /// All matches lie within `outer`, all that lies within `inner` is a match; ends are inside. An interval that ends
    /// before it begins is empty.
    Range { outer: (u64, u64), inner: (u64, u64) },
    /// All but this image match.
    AllBut(u64),
    /// All matches have one of these, rising.
    OneOf(Vec<u64>),
    /// These numbers match, by their `int_image`s.
    Among(Arc<NumberSet>),
}

/// A filter, ready to run over a table's rows.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// The table's column.
    pub(crate) column: usize,
    /// Its type.
    pub(crate) pg_type: PgType,
    pub(crate) ready: Ready,
    pub(crate) images: Images,
}

impl Filter {
    /// Makes filters ready; those on one column become one where that is possible.
    ///
    /// # Panics
    /// If a constant is not of its column's type.
    pub(crate) fn all(filters: &[ColumnFilter], schema: &TableSchema) -> Vec<Filter> {
        let mut all: Vec<Filter> = Vec::with_capacity(filters.len());
        for filter in filters {
            let pg_type = schema.columns[filter.column].pg_type;
            let ready = ready(&filter.test, pg_type);
            let others = all.iter().enumerate().filter(|(_, other)| other.column == filter.column);
            let joined = others.into_iter().find_map(|(at, other)| Some((at, both(&other.ready, &ready)?)));
            match joined {
                Some((at, both)) => all[at] = Filter::of(filter.column, pg_type, both),
                None => all.push(Filter::of(filter.column, pg_type, ready)),
            }
        }
        all
    }

    /// A filter on a `bigint` column that is not NULL.
    pub(crate) fn at_most(column: usize, high: i64) -> Filter {
        Filter::of(column, PgType::Int8, int_range(i64::MIN, high))
    }

    fn of(column: usize, pg_type: PgType, ready: Ready) -> Filter {
        let images = image::images(&ready, pg_type);
        Filter { column, pg_type, ready, images }
    }

    /// Whether the condition is true for one value, as `row` encodes it.
    pub(crate) fn accepts(&self, value: Option<&[u8]>) -> bool {
        let Some(bytes) = value else { return self.ready == Ready::Null };
        match &self.ready {
            Ready::Never | Ready::Null => false,
            Ready::NotNull => true,
            Ready::Ints(test) => test.accepts(int_of(bytes)),
            Ready::Floats(test) => test.accepts(float_of(bytes)),
            Ready::Bytes(members) => members.contains(|ours| (**ours).cmp(bytes)),
            Ready::Numerics(members) => {
                let value = numeric_of(bytes);
                members.contains(|ours| ours.compare(value))
            }
            Ready::Intervals(members) => {
                let value = interval_order(bytes);
                members.contains(|ours| ours.cmp(&value))
            }
        }
    }

    /// About what it costs to ask it of a row, and how little it keeps: the lower, the earlier it should run.
    pub(crate) fn rank(&self) -> u8 {
        match &self.ready {
            Ready::Never => 0,
            Ready::Null => 1,
            Ready::Ints(IntTest::Range(low, high)) if low == high => 2,
            Ready::Ints(IntTest::Range(..)) | Ready::Floats(FloatTest::Range { .. }) => 3,
            Ready::Ints(IntTest::OneOf(_)) | Ready::Floats(FloatTest::OneOf(_)) => 4,
            Ready::Ints(IntTest::Among(_)) | Ready::Bytes(Members::OneOf(_)) => 5,
            Ready::Bytes(_) | Ready::Numerics(_) | Ready::Intervals(_) => 6,
            Ready::Ints(IntTest::AllBut(_)) | Ready::Floats(FloatTest::AllBut(_)) => 7,
            Ready::NotNull => 8,
        }
    }
}

/// The whole number in 1, 2, 4 or 8 bytes of a row.
#[inline]
pub(crate) fn int_of(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
        [a, b] => i16::from_le_bytes([a, b]).into(),
        [a] => a.into(),
        _ => unreachable!("integers of rows have 1, 2, 4 or 8 bytes"),
    }
}

/// The float in 4 or 8 bytes of a row.
#[inline]
pub(crate) fn float_of(bytes: &[u8]) -> f64 {
    match *bytes {
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).into(),
        _ => unreachable!("floats of rows have 4 or 8 bytes"),
    }
}

fn numeric_of(bytes: &[u8]) -> Numeric {
    Numeric::from_trusted_bytes(bytes.try_into().expect("a numeric's bytes"))
}

fn interval_order(bytes: &[u8]) -> i128 {
    Interval::from_bytes(bytes.try_into().expect("an interval's bytes")).order()
}

/// One test that says what both say, if there is a form for it.
fn both(one: &Ready, other: &Ready) -> Option<Ready> {
    match (one, other) {
        (Ready::Never, _) | (_, Ready::Never) => Some(Ready::Never),
        (Ready::Null, Ready::Null) => Some(Ready::Null),
        (Ready::Null, _) | (_, Ready::Null) => Some(Ready::Never),
        (Ready::NotNull, test) | (test, Ready::NotNull) => Some(test.clone()),
        (Ready::Ints(IntTest::Range(a, b)), Ready::Ints(IntTest::Range(c, d))) => {
            Some(int_range(*a.max(c), *b.min(d)))
        }
        (
            Ready::Floats(FloatTest::Range { low: a, high: b, nan: m }),
            Ready::Floats(FloatTest::Range { low: c, high: d, nan: n }),
        ) => Some(float_range(a.max(*c), b.min(*d), m & n)),
        _ => None,
    }
}

fn int_range(low: i64, high: i64) -> Ready {
    if low <= high { Ready::Ints(IntTest::Range(low, high)) } else { Ready::Never }
}

fn float_range(low: f64, high: f64, nan: bool) -> Ready {
    if low <= high || nan { Ready::Floats(FloatTest::Range { low, high, nan }) } else { Ready::Never }
}

/// The number by which a value is ordered, if it is of a type that an `i64` orders.
fn int_datum(value: &Datum) -> Option<i64> {
    Some(match value {
        Datum::Bool(value) => i64::from(*value),
        Datum::Int2(value) => i64::from(*value),
        Datum::Int4(value) | Datum::Date(value) => i64::from(*value),
        Datum::Int8(value) | Datum::Time(value) | Datum::Timestamp(value) => *value,
        _ => return None,
    })
}

/// # Panics
/// If a constant is not of the type.
fn ready(test: &Test, pg_type: PgType) -> Ready {
    let (op, value) = match test {
        Test::Never => return Ready::Never,
        Test::IsNull => return Ready::Null,
        Test::IsNotNull => return Ready::NotNull,
        Test::Compare(op, value) => (*op, value),
        Test::Between(low, high) => {
            let low = ready(&Test::Compare(Comparison::GreaterOrEqual, low.clone()), pg_type);
            let high = ready(&Test::Compare(Comparison::LessOrEqual, high.clone()), pg_type);
            return both(&low, &high).or_else(|| between(low, high)).expect("bounds of one type");
        }
        Test::In(list) => return one_of(list, pg_type),
        Test::Among(set) => return Ready::Ints(IntTest::Among(set.clone())),
    };
    assert!(test.is_supported(pg_type), "{pg_type} has no order");
    match pg_type {
        _ if value.is_null() => Ready::Never,
        PgType::Bool
        | PgType::Int2
        | PgType::Int4
        | PgType::Int8
        | PgType::Date
        | PgType::Time
        | PgType::Timestamp
        | PgType::Timestamptz => compare_int(op, int_datum(value).expect("a constant of the column's type")),
        PgType::Float4 | PgType::Float8 => compare_float(op, float_datum(value)),
        PgType::Numeric(_) => Ready::Numerics(compare(op, numeric_datum(value))),
        PgType::Interval => Ready::Intervals(compare(op, interval_datum(value))),
        _ => Ready::Bytes(compare(op, bytes_datum(value))),
    }
}

fn float_datum(value: &Datum) -> f64 {
    match value {
        Datum::Float4(value) => f64::from(*value),
        Datum::Float8(value) => *value,
        other => panic!("{other:?} is not a float"),
    }
}

fn numeric_datum(value: &Datum) -> Numeric {
    match value {
        Datum::Numeric(value) => *value,
        other => panic!("{other:?} is not a numeric"),
    }
}

fn interval_datum(value: &Datum) -> i128 {
    match value {
        Datum::Interval(value) => value.order(),
        other => panic!("{other:?} is not an interval"),
    }
}

fn bytes_datum(value: &Datum) -> Box<[u8]> {
    match value {
        Datum::Text(value) => value.as_bytes().into(),
        Datum::Bytea(value) => value.clone(),
        Datum::Uuid(value) => value.as_slice().into(),
        other => panic!("{other:?} has no bytes that are compared"),
    }
}

fn compare<T: Clone>(op: Comparison, value: T) -> Members<T> {
    match op {
        Comparison::Equal => Members::Between(Bound::Included(value.clone()), Bound::Included(value)),
        Comparison::NotEqual => Members::AllBut(value),
        Comparison::Less => Members::Between(Bound::Unbounded, Bound::Excluded(value)),
        Comparison::LessOrEqual => Members::Between(Bound::Unbounded, Bound::Included(value)),
        Comparison::Greater => Members::Between(Bound::Excluded(value), Bound::Unbounded),
        Comparison::GreaterOrEqual => Members::Between(Bound::Included(value), Bound::Unbounded),
    }
}

/// Two one-sided tests as one with two sides.
fn between(low: Ready, high: Ready) -> Option<Ready> {
    fn join<T>(low: Members<T>, high: Members<T>) -> Option<Members<T>> {
        match (low, high) {
            (Members::Between(low, _), Members::Between(_, high)) => Some(Members::Between(low, high)),
            _ => None,
        }
    }
    match (low, high) {
        (Ready::Bytes(low), Ready::Bytes(high)) => join(low, high).map(Ready::Bytes),
        (Ready::Numerics(low), Ready::Numerics(high)) => join(low, high).map(Ready::Numerics),
        (Ready::Intervals(low), Ready::Intervals(high)) => join(low, high).map(Ready::Intervals),
        _ => None,
    }
}

fn compare_int(op: Comparison, value: i64) -> Ready {
    match op {
        Comparison::Equal => int_range(value, value),
        Comparison::NotEqual => Ready::Ints(IntTest::AllBut(value)),
        Comparison::Less => value.checked_sub(1).map_or(Ready::Never, |high| int_range(i64::MIN, high)),
        Comparison::LessOrEqual => int_range(i64::MIN, value),
        Comparison::Greater => value.checked_add(1).map_or(Ready::Never, |low| int_range(low, i64::MAX)),
        Comparison::GreaterOrEqual => int_range(value, i64::MAX),
    }
}

fn compare_float(op: Comparison, value: f64) -> Ready {
    const ALL: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
    const NONE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);
    let is_nan = value.is_nan();
    let ((low, high), nan) = match op {
        Comparison::Equal if is_nan => (NONE, true),
        Comparison::Equal => ((value, value), false),
        Comparison::NotEqual if is_nan => (ALL, false),
        Comparison::NotEqual => return Ready::Floats(FloatTest::AllBut(value)),
        Comparison::Less if is_nan => (ALL, false),
        Comparison::Less if value == ALL.0 => (NONE, false),
        Comparison::Less => ((ALL.0, value.next_down()), false),
        Comparison::LessOrEqual if is_nan => return Ready::NotNull,
        Comparison::LessOrEqual => ((ALL.0, value), false),
        Comparison::Greater if is_nan => return Ready::Never,
        Comparison::Greater if value == ALL.1 => (NONE, true),
        Comparison::Greater => ((value.next_up(), ALL.1), true),
        Comparison::GreaterOrEqual if is_nan => (NONE, true),
        Comparison::GreaterOrEqual => ((value, ALL.1), true),
    };
    float_range(low, high, nan)
}

fn one_of(list: &[Datum], pg_type: PgType) -> Ready {
    fn rising<T>(mut values: Vec<T>, compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
        values.sort_unstable_by(&compare);
        values.dedup_by(|a, b| compare(a, b).is_eq());
        values
    }
    let values = list.iter().filter(|value| !value.is_null());
    let mut distinct = values.clone();
    match (distinct.next(), distinct.next()) {
        (None, _) => return Ready::Never,
        (Some(one), None) => return ready(&Test::Compare(Comparison::Equal, one.clone()), pg_type),
        _ => {}
    }
    assert!(!matches!(pg_type, PgType::Json | PgType::Jsonb | PgType::Array(_)), "{pg_type} has no order");
    match pg_type {
        PgType::Float4 | PgType::Float8 => {
            let images = values.map(|value| float_order(float_datum(value))).collect();
            Ready::Floats(FloatTest::OneOf(rising(images, Ord::cmp)))
        }
        PgType::Numeric(_) => {
            let values = values.map(numeric_datum).collect();
            Ready::Numerics(Members::OneOf(rising(values, |a: &Numeric, b| a.compare(*b))))
        }
        PgType::Interval => {
            Ready::Intervals(Members::OneOf(rising(values.map(interval_datum).collect(), Ord::cmp)))
        }
        PgType::Text | PgType::Varchar(_) | PgType::Bytea | PgType::Uuid => {
            Ready::Bytes(Members::OneOf(rising(values.map(bytes_datum).collect(), Ord::cmp)))
        }
        _ => {
            let ints = values.map(|value| int_datum(value).expect("a constant of the column's type"));
            let ints = rising(ints.collect(), Ord::cmp);
            let dense = ints[ints.len() - 1].checked_sub(ints[0]) == i64::try_from(ints.len() - 1).ok();
            Ready::Ints(if dense {
                IntTest::Range(ints[0], ints[ints.len() - 1])
            } else {
                IntTest::OneOf(ints)
            })
        }
    }
}
