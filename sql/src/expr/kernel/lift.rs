//! Lifts functions of single values to columns.
//!
//! A [`Kind`] says how values of a type are read from arrays and datums, an [`Output`] how results become arrays.
//! `map1` to `map4` are for strict functions: rows where an argument is NULL are NULL, and the function does not see
//! them, so that it raises nothing for them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{Datum, Interval, Numeric, PgType};

use super::Call;
use crate::expr::value::Value;

/// Result of evaluation.
pub(crate) type Result<T> = std::result::Result<T, ValueError>;

/// How values of a type are read.
pub(crate) trait Kind {
    /// A value.
    type Item<'a>: Copy;
    /// A column.
    type Column<'a>: Copy;

    /// The array as a column.
    fn column(array: &ArrayRef) -> Self::Column<'_>;
    /// The value at a row; anything if it is NULL there.
    fn get<'a>(column: Self::Column<'a>, row: usize) -> Self::Item<'a>;
    /// The value of a datum that is not NULL.
    fn of(datum: &Datum) -> Self::Item<'_>;
}

fn wrong(datum: &Datum) -> ! {
    panic!("an argument of another type: {datum:?}")
}

macro_rules! number_kind {
    ($($(#[$doc:meta])* $name:ident, $arrow:ty, $native:ty, $($variant:ident)|+;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;

        impl Kind for $name {
            type Item<'a> = $native;
            type Column<'a> = &'a [$native];

            #[inline]
            fn column(array: &ArrayRef) -> &[$native] {
                array.as_primitive::<$arrow>().values()
            }
            #[inline]
            fn get<'a>(column: Self::Column<'a>, row: usize) -> Self::Item<'a> {
                column[row]
            }
            fn of(datum: &Datum) -> $native {
                match datum {
                    $(Datum::$variant(value) => *value,)+
                    other => wrong(other),
                }
            }
        }

        impl NumberKind for $name {
            type Native = $native;
        }
    )*};
}

/// A kind whose column is a slice of numbers.
pub(crate) trait NumberKind:
    for<'a> Kind<Item<'a> = <Self as NumberKind>::Native, Column<'a> = &'a [<Self as NumberKind>::Native]>
{
    /// A number.
    type Native: Copy;
}

number_kind! {
    /// `smallint`
    I16, Int16Type, i16, Int2;
    /// `integer`
    I32, Int32Type, i32, Int4;
    /// `bigint`
    I64, Int64Type, i64, Int8;
    /// `real`
    F32, Float32Type, f32, Float4;
    /// `double precision`
    F64, Float64Type, f64, Float8;
    /// `date`
    Day, Date32Type, i32, Date;
    /// `time`
    Clock, Time64MicrosecondType, i64, Time;
    /// `timestamp`, `timestamptz`
    Stamp, TimestampMicrosecondType, i64, Timestamp;
}

/// `boolean`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bool;

impl Kind for Bool {
    type Item<'a> = bool;
    type Column<'a> = &'a BooleanArray;

    fn column(array: &ArrayRef) -> &BooleanArray {
        array.as_boolean()
    }
    fn get<'a>(column: Self::Column<'a>, row: usize) -> Self::Item<'a> {
        column.value(row)
    }
    fn of(datum: &Datum) -> bool {
        match datum {
            Datum::Bool(value) => *value,
            other => wrong(other),
        }
    }
}

/// `text` and what is stored as text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text;

impl Kind for Text {
    type Item<'a> = &'a str;
    type Column<'a> = &'a StringArray;

    fn column(array: &ArrayRef) -> &StringArray {
        array.as_string()
    }
    #[inline]
    fn get<'a>(column: Self::Column<'a>, row: usize) -> Self::Item<'a> {
        column.value(row)
    }
    fn of(datum: &Datum) -> &str {
        match datum {
            Datum::Text(value) => value,
            other => wrong(other),
        }
    }
}

/// `jsonb`, whose equality is not that of its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jsonb;

/// The text of a `jsonb`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonbText<'a>(pub &'a str);

impl Kind for Jsonb {
    type Item<'a> = JsonbText<'a>;
    type Column<'a> = &'a StringArray;

    fn column(array: &ArrayRef) -> &StringArray {
        array.as_string()
    }
    fn get<'a>(column: Self::Column<'a>, row: usize) -> Self::Item<'a> {
        JsonbText(column.value(row))
    }
    fn of(datum: &Datum) -> JsonbText<'_> {
        JsonbText(Text::of(datum))
    }
}

/// An array of any type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List;

/// The bytes of an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListBytes<'a>(pub &'a [u8]);

impl ListBytes<'_> {
    /// Bytes that are ordered as arrays are.
    pub(crate) fn key(self) -> Vec<u8> {
        let mut key = Vec::new();
        omen_core::key::encode(&Datum::Array(self.0.into()), &mut key);
        key
    }
}

impl Kind for List {
    type Item<'a> = ListBytes<'a>;
    type Column<'a> = &'a BinaryArray;

    fn column(array: &ArrayRef) -> &BinaryArray {
        array.as_binary()
    }
    fn get<'a>(column: Self::Column<'a>, row: usize) -> Self::Item<'a> {
        ListBytes(column.value(row))
    }
    fn of(datum: &Datum) -> ListBytes<'_> {
        match datum {
            Datum::Array(value) => ListBytes(value),
            other => wrong(other),
        }
    }
}

/// `bytea`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes;

impl Kind for Bytes {
    type Item<'a> = &'a [u8];
    type Column<'a> = &'a BinaryArray;

    fn column(array: &ArrayRef) -> &BinaryArray {
        array.as_binary()
    }
    #[inline]
    fn get<'a>(column: Self::Column<'a>, row: usize) -> Self::Item<'a> {
        column.value(row)
    }
    fn of(datum: &Datum) -> &[u8] {
        match datum {
            Datum::Bytea(value) => value,
            other => wrong(other),
        }
    }
}

macro_rules! fixed_kind {
    ($($(#[$doc:meta])* $name:ident, $native:ty, $size:literal, $variant:ident, $read:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;

        impl Kind for $name {
            type Item<'a> = $native;
            type Column<'a> = &'a [[u8; $size]];

            fn column(array: &ArrayRef) -> &[[u8; $size]] {
                array.as_fixed_size_binary().value_data().as_chunks().0
            }
            #[inline]
            fn get<'a>(column: Self::Column<'a>, row: usize) -> Self::Item<'a> {
                $read(column[row])
            }
            fn of(datum: &Datum) -> $native {
                match datum {
                    Datum::$variant(value) => *value,
                    other => wrong(other),
                }
            }
        }
    )*};
}

fixed_kind! {
    /// `numeric`
    Num, Numeric, 17, Numeric, Numeric::from_trusted_bytes;
    /// `interval`
    Span, Interval, 16, Interval, Interval::from_bytes;
    /// `uuid`
    Id, [u8; 16], 16, Uuid, std::convert::identity;
}

/// An argument: a column or a constant that is not NULL.
pub(crate) enum Arg<'a, K: Kind> {
    /// One value per row.
    Column(K::Column<'a>),
    /// The same in every row.
    Constant(K::Item<'a>),
}

impl<'a, K: Kind> Arg<'a, K> {
    /// Reads an argument. NULL constants have been dealt with before.
    pub(crate) fn of(value: &'a Value) -> Arg<'a, K> {
        match value {
            Value::Array(array) => Arg::Column(K::column(array)),
            Value::Scalar(datum) => Arg::Constant(K::of(datum)),
        }
    }

    /// The value at a row.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> K::Item<'a> {
        match self {
            Arg::Column(column) => K::get(*column, row),
            Arg::Constant(value) => *value,
        }
    }
}

/// A result of fixed size.
pub(crate) trait Output: Copy + Default {
    /// The array of the values; `pg_type` tells apart types that share a layout.
    fn array(values: Vec<Self>, nulls: Option<NullBuffer>, pg_type: PgType) -> ArrayRef;
    /// The datum.
    fn datum(self, pg_type: PgType) -> Datum;
}

fn number_array<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
    pg_type: PgType,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(pg_type.arrow()))
}

impl Output for bool {
    fn array(values: Vec<bool>, nulls: Option<NullBuffer>, _: PgType) -> ArrayRef {
        Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls))
    }
    fn datum(self, _: PgType) -> Datum {
        Datum::Bool(self)
    }
}

impl Output for i16 {
    fn array(values: Vec<i16>, nulls: Option<NullBuffer>, pg_type: PgType) -> ArrayRef {
        number_array::<Int16Type>(values, nulls, pg_type)
    }
    fn datum(self, _: PgType) -> Datum {
        Datum::Int2(self)
    }
}

impl Output for i32 {
    fn array(values: Vec<i32>, nulls: Option<NullBuffer>, pg_type: PgType) -> ArrayRef {
        match pg_type {
            PgType::Date => number_array::<Date32Type>(values, nulls, pg_type),
            _ => number_array::<Int32Type>(values, nulls, pg_type),
        }
    }
    fn datum(self, pg_type: PgType) -> Datum {
        if pg_type == PgType::Date { Datum::Date(self) } else { Datum::Int4(self) }
    }
}

impl Output for i64 {
    fn array(values: Vec<i64>, nulls: Option<NullBuffer>, pg_type: PgType) -> ArrayRef {
        match pg_type {
            PgType::Time => number_array::<Time64MicrosecondType>(values, nulls, pg_type),
            PgType::Timestamp | PgType::Timestamptz => {
                number_array::<TimestampMicrosecondType>(values, nulls, pg_type)
            }
            _ => number_array::<Int64Type>(values, nulls, pg_type),
        }
    }
    fn datum(self, pg_type: PgType) -> Datum {
        match pg_type {
            PgType::Time => Datum::Time(self),
            PgType::Timestamp | PgType::Timestamptz => Datum::Timestamp(self),
            _ => Datum::Int8(self),
        }
    }
}

impl Output for f32 {
    fn array(values: Vec<f32>, nulls: Option<NullBuffer>, pg_type: PgType) -> ArrayRef {
        number_array::<Float32Type>(values, nulls, pg_type)
    }
    fn datum(self, _: PgType) -> Datum {
        Datum::Float4(self)
    }
}

impl Output for f64 {
    fn array(values: Vec<f64>, nulls: Option<NullBuffer>, pg_type: PgType) -> ArrayRef {
        number_array::<Float64Type>(values, nulls, pg_type)
    }
    fn datum(self, _: PgType) -> Datum {
        Datum::Float8(self)
    }
}

fn fixed_array<const N: usize>(values: Vec<[u8; N]>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::new(N as i32, Buffer::from_vec(values.into_flattened()), nulls))
}

/// A numeric as it lies in an array.
#[derive(Clone, Copy)]
pub(crate) struct NumBytes([u8; 17]);

impl Default for NumBytes {
    fn default() -> NumBytes {
        NumBytes(Numeric::ZERO.to_bytes())
    }
}

impl From<Numeric> for NumBytes {
    fn from(value: Numeric) -> NumBytes {
        NumBytes(value.to_bytes())
    }
}

impl Output for NumBytes {
    fn array(values: Vec<NumBytes>, nulls: Option<NullBuffer>, _: PgType) -> ArrayRef {
        fixed_array(values.into_iter().map(|value| value.0).collect(), nulls)
    }
    fn datum(self, _: PgType) -> Datum {
        Datum::Numeric(Numeric::from_trusted_bytes(self.0))
    }
}

impl Output for Interval {
    fn array(values: Vec<Interval>, nulls: Option<NullBuffer>, _: PgType) -> ArrayRef {
        fixed_array(values.into_iter().map(Interval::to_bytes).collect(), nulls)
    }
    fn datum(self, _: PgType) -> Datum {
        Datum::Interval(self)
    }
}

impl Output for [u8; 16] {
    fn array(values: Vec<[u8; 16]>, nulls: Option<NullBuffer>, _: PgType) -> ArrayRef {
        fixed_array(values, nulls)
    }
    fn datum(self, _: PgType) -> Datum {
        Datum::Uuid(self)
    }
}

/// Rows where none of the arguments is NULL; `None` if that is every row.
pub(crate) fn common_nulls(args: &[Value]) -> Option<NullBuffer> {
    args.iter().fold(None, |nulls, arg| match arg {
        Value::Array(array) => NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref()),
        Value::Scalar(_) => nulls,
    })
}

/// Calls `row` for every row where no argument is NULL and collects what it answers.
pub(crate) fn each_row<R: Output>(call: &Call<'_>, mut row: impl FnMut(usize) -> Result<R>) -> Result<Value> {
    if call.is_scalar() {
        return Ok(Value::Scalar(row(0)?.datum(call.result)));
    }
    let nulls = common_nulls(call.args);
    let mut values = Vec::with_capacity(call.rows);
    match &nulls {
        None => {
            for index in 0..call.rows {
                values.push(row(index)?);
            }
        }
        Some(nulls) => {
            for index in 0..call.rows {
                values.push(if nulls.is_valid(index) { row(index)? } else { R::default() });
            }
        }
    }
    Ok(Value::Array(R::array(values, nulls, call.result)))
}

/// As [`each_row`] for functions that can answer NULL.
pub(crate) fn each_row_nullable<R: Output>(
    call: &Call<'_>,
    mut row: impl FnMut(usize) -> Result<Option<R>>,
) -> Result<Value> {
    if call.is_scalar() {
        return Ok(Value::Scalar(row(0)?.map_or(Datum::Null, |value| value.datum(call.result))));
    }
    let nulls = common_nulls(call.args);
    let mut values = Vec::with_capacity(call.rows);
    let mut valid = Vec::with_capacity(call.rows);
    for index in 0..call.rows {
        let answer =
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(index)) { row(index)? } else { None };
        valid.push(answer.is_some());
        values.push(answer.unwrap_or_default());
    }
    Ok(Value::Array(R::array(values, Some(NullBuffer::from(valid)), call.result)))
}

/// Lifts a strict function of one argument.
pub(crate) fn map1<A: Kind, R: Output>(
    call: &Call<'_>,
    f: impl Fn(A::Item<'_>) -> Result<R>,
) -> Result<Value> {
    let a = Arg::<A>::of(&call.args[0]);
    each_row(call, |row| f(a.get(row)))
}

/// Lifts a strict function of two arguments.
pub(crate) fn map2<A: Kind, B: Kind, R: Output>(
    call: &Call<'_>,
    f: impl Fn(A::Item<'_>, B::Item<'_>) -> Result<R>,
) -> Result<Value> {
    let (a, b) = (Arg::<A>::of(&call.args[0]), Arg::<B>::of(&call.args[1]));
    each_row(call, |row| f(a.get(row), b.get(row)))
}

/// Lifts a strict function of three arguments.
pub(crate) fn map3<A: Kind, B: Kind, C: Kind, R: Output>(
    call: &Call<'_>,
    f: impl Fn(A::Item<'_>, B::Item<'_>, C::Item<'_>) -> Result<R>,
) -> Result<Value> {
    let (a, b) = (Arg::<A>::of(&call.args[0]), Arg::<B>::of(&call.args[1]));
    let c = Arg::<C>::of(&call.args[2]);
    each_row(call, |row| f(a.get(row), b.get(row), c.get(row)))
}

/// Texts of rows, one behind the other.
#[derive(Debug)]
pub(crate) struct TextSink {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

/// Largest column of texts: offsets are 32 bits.
const TEXTS_BYTES_MAX: usize = i32::MAX as usize;

impl TextSink {
    /// A sink for so many rows.
    pub(crate) fn new(rows: usize) -> TextSink {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        TextSink { bytes: Vec::with_capacity(rows * 8), offsets }
    }

    /// The bytes to append the text of the present row to.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the present row.
    pub(crate) fn end_row(&mut self) -> Result<()> {
        if self.bytes.len() > TEXTS_BYTES_MAX {
            let message = "texts of one batch exceed 2 GiB";
            return Err(ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        self.offsets.push(self.bytes.len() as i32);
        Ok(())
    }

    /// The texts as an array of text.
    pub(crate) fn into_text(self, nulls: Option<NullBuffer>) -> ArrayRef {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Arc::new(StringArray::new(offsets, Buffer::from_vec(self.bytes), nulls))
    }

    /// The bytes as an array of `bytea`.
    pub(crate) fn into_bytea(self, nulls: Option<NullBuffer>) -> ArrayRef {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Arc::new(BinaryArray::new(offsets, Buffer::from_vec(self.bytes), nulls))
    }
}

/// Calls `row` for every row where no argument is NULL; it appends UTF-8 (or bytes, if the result is `bytea`) and
/// answers whether the result is not NULL.
pub(crate) fn each_text(
    call: &Call<'_>,
    mut row: impl FnMut(usize, &mut Vec<u8>) -> Result<bool>,
) -> Result<Value> {
    if call.is_scalar() {
        let mut bytes = Vec::new();
        if !row(0, &mut bytes)? {
            return Ok(Value::Scalar(Datum::Null));
        }
        return Ok(Value::Scalar(match call.result {
            PgType::Bytea => Datum::Bytea(bytes.into()),
            _ => Datum::Text(String::from_utf8(bytes).expect("kernels write UTF-8").into()),
        }));
    }
    let nulls = common_nulls(call.args);
    let mut sink = TextSink::new(call.rows);
    let mut missing = Vec::new();
    for index in 0..call.rows {
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(index)) && !row(index, sink.bytes())? {
            missing.push(index);
        }
        sink.end_row()?;
    }
    let nulls = if missing.is_empty() { nulls } else { Some(without(nulls, call.rows, &missing)) };
    Ok(Value::Array(match call.result {
        PgType::Bytea => sink.into_bytea(nulls),
        _ => sink.into_text(nulls),
    }))
}

/// The valid rows without some more.
fn without(nulls: Option<NullBuffer>, rows: usize, missing: &[usize]) -> NullBuffer {
    let mut valid: Vec<bool> = match nulls {
        Some(nulls) => nulls.iter().collect(),
        None => vec![true; rows],
    };
    missing.iter().for_each(|row| valid[*row] = false);
    NullBuffer::from(valid)
}

/// Lifts a strict function of datums: for types whose values are taken apart anyway.
pub(crate) fn each_datum(call: &Call<'_>, f: impl Fn(&[Datum]) -> Result<Datum>) -> Result<Value> {
    each_datum_nulls(call, |args| if args.iter().any(Datum::is_null) { Ok(Datum::Null) } else { f(args) })
}

/// As [`each_datum`] for functions that see NULLs.
pub(crate) fn each_datum_nulls(call: &Call<'_>, f: impl Fn(&[Datum]) -> Result<Datum>) -> Result<Value> {
    let mut args = vec![Datum::Null; call.args.len()];
    let mut row = |row: usize| {
        for ((to, arg), pg_type) in args.iter_mut().zip(call.args).zip(call.types) {
            *to = arg.datum(*pg_type, row);
        }
        f(&args)
    };
    if call.is_scalar() {
        return Ok(Value::Scalar(row(0)?));
    }
    let mut values = Vec::with_capacity(call.rows);
    for index in 0..call.rows {
        values.push(row(index)?);
    }
    Ok(Value::Array(crate::execute::rows::array_of(call.result, values.iter())))
}

/// Lifts a strict function of one argument to text.
pub(crate) fn text1<A: Kind>(
    call: &Call<'_>,
    f: impl Fn(A::Item<'_>, &mut Vec<u8>) -> Result<()>,
) -> Result<Value> {
    let a = Arg::<A>::of(&call.args[0]);
    each_text(call, |row, out| f(a.get(row), out).map(|()| true))
}

/// Lifts a strict function of two arguments to text.
pub(crate) fn text2<A: Kind, B: Kind>(
    call: &Call<'_>,
    f: impl Fn(A::Item<'_>, B::Item<'_>, &mut Vec<u8>) -> Result<()>,
) -> Result<Value> {
    let (a, b) = (Arg::<A>::of(&call.args[0]), Arg::<B>::of(&call.args[1]));
    each_text(call, |row, out| f(a.get(row), b.get(row), out).map(|()| true))
}

/// Lifts a strict function of three arguments to text.
pub(crate) fn text3<A: Kind, B: Kind, C: Kind>(
    call: &Call<'_>,
    f: impl Fn(A::Item<'_>, B::Item<'_>, C::Item<'_>, &mut Vec<u8>) -> Result<()>,
) -> Result<Value> {
    let (a, b) = (Arg::<A>::of(&call.args[0]), Arg::<B>::of(&call.args[1]));
    let c = Arg::<C>::of(&call.args[2]);
    each_text(call, |row, out| f(a.get(row), b.get(row), c.get(row), out).map(|()| true))
}
