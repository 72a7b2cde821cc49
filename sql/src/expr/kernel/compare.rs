//! Comparisons with PostgreSQL's orders: NaN is equal to itself and above all numbers, -0 is 0, text goes by bytes
//! (collation "C"), intervals by their length with months of 30 days.

use std::sync::Arc;

use arrow_array::BooleanArray;
use arrow_buffer::{BooleanBuffer, Buffer};
use omen_core::types::{Interval, Numeric};

use super::Call;
use super::lift::{
    Arg, Bool, Bytes, Clock, Day, F32, F64, I16, I32, I64, Id, Kind, Num, Result, Span, Stamp, Text,
};
use super::lift::{Jsonb, JsonbText, List, ListBytes, NumberKind, common_nulls, map2};
use crate::expr::value::Value;
use crate::types::calendar::{
    DATE_INFINITY, DATE_NEG_INFINITY, DAY_US, SECOND_US, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY,
};
use crate::types::{TimeZone, json};

/// Values with the order of SQL.
pub(crate) trait SqlOrd: Copy {
    /// Whether they are equal.
    fn sql_eq(self, other: Self) -> bool;
    /// Whether this one is less.
    fn sql_lt(self, other: Self) -> bool;
}

macro_rules! native_order {
    ($($type:ty),*) => {$(
        impl SqlOrd for $type {
            #[inline]
            fn sql_eq(self, other: $type) -> bool {
                self == other
            }
            #[inline]
            fn sql_lt(self, other: $type) -> bool {
                self < other
            }
        }
    )*};
}

native_order!(bool, i16, i32, i64, i128, &str, &[u8], [u8; 16]);

macro_rules! float_order {
    ($($type:ty),*) => {$(
        impl SqlOrd for $type {
            #[inline]
            fn sql_eq(self, other: $type) -> bool {
                self == other || (self.is_nan() & other.is_nan())
            }
            #[inline]
            fn sql_lt(self, other: $type) -> bool {
                self < other || (!self.is_nan() & other.is_nan())
            }
        }
    )*};
}

float_order!(f32, f64);

impl SqlOrd for Numeric {
    fn sql_eq(self, other: Numeric) -> bool {
        self.compare(other).is_eq()
    }
    fn sql_lt(self, other: Numeric) -> bool {
        self.compare(other).is_lt()
    }
}

impl SqlOrd for Interval {
    fn sql_eq(self, other: Interval) -> bool {
        self.order() == other.order()
    }
    fn sql_lt(self, other: Interval) -> bool {
        self.order() < other.order()
    }
}

/// By the keys of both.
impl SqlOrd for JsonbText<'_> {
    fn sql_eq(self, other: Self) -> bool {
        self.0 == other.0 || json::key_of(self.0) == json::key_of(other.0)
    }
    fn sql_lt(self, other: Self) -> bool {
        json::key_of(self.0) < json::key_of(other.0)
    }
}

/// By the keys of both, whose order is that of arrays.
impl SqlOrd for ListBytes<'_> {
    fn sql_eq(self, other: Self) -> bool {
        self.0 == other.0 || self.key() == other.key()
    }
    fn sql_lt(self, other: Self) -> bool {
        self.key() < other.key()
    }
}

/// A comparison operator.
pub(crate) trait Operator {
    /// Whether it holds.
    fn holds<T: SqlOrd>(a: T, b: T) -> bool;
}

macro_rules! operators {
    ($($(#[$doc:meta])* $name:ident: |$a:ident, $b:ident| $test:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Operator for $name {
            #[inline]
            fn holds<T: SqlOrd>($a: T, $b: T) -> bool {
                $test
            }
        }
    )*};
}

operators! {
    /// `=`
    Eq: |a, b| a.sql_eq(b);
    /// `<>`
    Ne: |a, b| !a.sql_eq(b);
    /// `<`
    Lt: |a, b| a.sql_lt(b);
    /// `<=`
    Le: |a, b| !b.sql_lt(a);
    /// `>`
    Gt: |a, b| b.sql_lt(a);
    /// `>=`
    Ge: |a, b| !a.sql_lt(b);
}

/// One bit per value.
#[inline]
pub(crate) fn pack1<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> BooleanBuffer {
    let mut words = Vec::with_capacity(values.len().div_ceil(64));
    for chunk in values.chunks(64) {
        let mut word = 0u64;
        for (bit, value) in chunk.iter().enumerate() {
            word |= u64::from(test(*value)) << bit;
        }
        words.push(word);
    }
    BooleanBuffer::new(Buffer::from_vec(words), 0, values.len())
}

/// One bit per pair.
#[inline]
fn pack2<T: Copy>(a: &[T], b: &[T], test: impl Fn(T, T) -> bool) -> BooleanBuffer {
    debug_assert_eq!(a.len(), b.len());
    let mut words = Vec::with_capacity(a.len().div_ceil(64));
    for (a, b) in a.chunks(64).zip(b.chunks(64)) {
        let mut word = 0u64;
        for (bit, (a, b)) in a.iter().zip(b).enumerate() {
            word |= u64::from(test(*a, *b)) << bit;
        }
        words.push(word);
    }
    BooleanBuffer::new(Buffer::from_vec(words), 0, a.len())
}

fn answer(call: &Call<'_>, bits: BooleanBuffer) -> Value {
    Value::Array(Arc::new(BooleanArray::new(bits, common_nulls(call.args))))
}

/// Compares columns that are slices of numbers.
pub(crate) fn numbers<K: NumberKind, O: Operator>(call: &Call<'_>) -> Result<Value>
where
    K::Native: SqlOrd,
{
    let (a, b) = (Arg::<K>::of(&call.args[0]), Arg::<K>::of(&call.args[1]));
    Ok(match (a, b) {
        (Arg::Constant(_), Arg::Constant(_)) => return others::<K, O>(call),
        (Arg::Column(a), Arg::Constant(b)) => answer(call, pack1(a, |a| O::holds(a, b))),
        (Arg::Constant(a), Arg::Column(b)) => answer(call, pack1(b, |b| O::holds(a, b))),
        (Arg::Column(a), Arg::Column(b)) => answer(call, pack2(a, b, O::holds)),
    })
}

/// Compares columns of any kind.
pub(crate) fn others<K: Kind, O: Operator>(call: &Call<'_>) -> Result<Value>
where
    for<'a> <K as Kind>::Item<'a>: SqlOrd,
{
    let (a, b) = (Arg::<K>::of(&call.args[0]), Arg::<K>::of(&call.args[1]));
    let rows = call.rows;
    // Rows under NULL hold some value of the type, so comparing them does no harm.
    Ok(match (a, b) {
        (Arg::Constant(a), Arg::Constant(b)) => Value::Scalar(omen_core::types::Datum::Bool(O::holds(a, b))),
        (Arg::Column(a), Arg::Constant(b)) => {
            answer(call, BooleanBuffer::collect_bool(rows, |row| O::holds(K::get(a, row), b)))
        }
        (Arg::Constant(a), Arg::Column(b)) => {
            answer(call, BooleanBuffer::collect_bool(rows, |row| O::holds(a, K::get(b, row))))
        }
        (Arg::Column(a), Arg::Column(b)) => {
            answer(call, BooleanBuffer::collect_bool(rows, |row| O::holds(K::get(a, row), K::get(b, row))))
        }
    })
}

/// `real` with `double precision`
pub(crate) fn float4_float8<O: Operator>(call: &Call<'_>) -> Result<Value> {
    map2::<F32, F64, bool>(call, |a, b| Ok(O::holds(f64::from(a), b)))
}

/// `double precision` with `real`
pub(crate) fn float8_float4<O: Operator>(call: &Call<'_>) -> Result<Value> {
    map2::<F64, F32, bool>(call, |a, b| Ok(O::holds(a, f64::from(b))))
}

/// The start of a day on a clock, wide enough for every date.
fn start_of_day(days: i32) -> i128 {
    match days {
        DATE_INFINITY => i128::MAX,
        DATE_NEG_INFINITY => i128::MIN,
        _ => i128::from(days) * i128::from(DAY_US),
    }
}

fn instant(timestamp_us: i64) -> i128 {
    match timestamp_us {
        TIMESTAMP_INFINITY => i128::MAX,
        TIMESTAMP_NEG_INFINITY => i128::MIN,
        _ => i128::from(timestamp_us),
    }
}

/// The instant of a local time, wide enough for every date.
fn instant_of_local(local: i128, zone: TimeZone) -> i128 {
    if local == i128::MAX || local == i128::MIN {
        return local;
    }
    let clamped = local.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    local - i128::from(zone.offset_at_local(clamped)) * i128::from(SECOND_US)
}

/// `date` with `timestamp`
pub(crate) fn date_timestamp<O: Operator>(call: &Call<'_>) -> Result<Value> {
    map2::<Day, Stamp, bool>(call, |a, b| Ok(O::holds(start_of_day(a), instant(b))))
}

/// `timestamp` with `date`
pub(crate) fn timestamp_date<O: Operator>(call: &Call<'_>) -> Result<Value> {
    map2::<Stamp, Day, bool>(call, |a, b| Ok(O::holds(instant(a), start_of_day(b))))
}

/// `date` with `timestamptz`
pub(crate) fn date_timestamptz<O: Operator>(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    map2::<Day, Stamp, bool>(call, |a, b| Ok(O::holds(instant_of_local(start_of_day(a), zone), instant(b))))
}

/// `timestamptz` with `date`
pub(crate) fn timestamptz_date<O: Operator>(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    map2::<Stamp, Day, bool>(call, |a, b| Ok(O::holds(instant(a), instant_of_local(start_of_day(b), zone))))
}

/// `timestamp` with `timestamptz`
pub(crate) fn timestamp_timestamptz<O: Operator>(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    map2::<Stamp, Stamp, bool>(call, |a, b| Ok(O::holds(instant_of_local(instant(a), zone), instant(b))))
}

/// `timestamptz` with `timestamp`
pub(crate) fn timestamptz_timestamp<O: Operator>(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    map2::<Stamp, Stamp, bool>(call, |a, b| Ok(O::holds(instant(a), instant_of_local(instant(b), zone))))
}

/// The kernel that compares two values of one type.
pub(crate) const fn same_type<O: Operator>(pg_type: omen_core::types::PgType) -> super::Kernel {
    use omen_core::types::PgType;
    match pg_type {
        PgType::Bool => others::<Bool, O>,
        PgType::Int2 => numbers::<I16, O>,
        PgType::Int4 => numbers::<I32, O>,
        PgType::Int8 => numbers::<I64, O>,
        PgType::Float4 => numbers::<F32, O>,
        PgType::Float8 => numbers::<F64, O>,
        PgType::Numeric(_) => others::<Num, O>,
        PgType::Text | PgType::Varchar(_) | PgType::Json => others::<Text, O>,
        PgType::Jsonb => others::<Jsonb, O>,
        PgType::Bytea => others::<Bytes, O>,
        PgType::Date => numbers::<Day, O>,
        PgType::Time => numbers::<Clock, O>,
        PgType::Timestamp | PgType::Timestamptz => numbers::<Stamp, O>,
        PgType::Interval => others::<Span, O>,
        PgType::Uuid => others::<Id, O>,
        PgType::Array(_) => others::<List, O>,
    }
}
