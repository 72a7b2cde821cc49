//! Rows of the elements of arrays and of the pieces of texts.

use omen_core::types::{ArrayValue, Datum};

use super::{SetArgs, SetCursor, values};
use crate::expr::kernel::lift::Result;
use crate::expr::kernel::{array, regexp};

fn array_of(value: &Datum) -> ArrayValue {
    match value {
        Datum::Array(bytes) => {
            ArrayValue::decode(bytes).unwrap_or(ArrayValue::empty(omen_core::types::PgType::Text))
        }
        _ => ArrayValue::empty(omen_core::types::PgType::Text),
    }
}

/// `unnest`
pub(crate) fn elements(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    Ok(values(array_of(&args.values[0]).values.into_iter().map(Ok)))
}

/// `generate_subscripts`
pub(crate) fn subscripts(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    let array = array_of(&args.values[0]);
    let index = match &args.values[1] {
        Datum::Int4(number) => usize::try_from(i64::from(*number) - 1).ok(),
        _ => None,
    };
    let range = match index.and_then(|index| array.dims.get(index)) {
        Some(dim) => i64::from(dim.lower)..i64::from(dim.lower) + i64::from(dim.len),
        None => 0..0,
    };
    let number = |number: i64| Ok(Datum::Int4(number as i32));
    Ok(match args.values.get(2) {
        Some(Datum::Bool(true)) => values(range.rev().map(number)),
        _ => values(range.map(number)),
    })
}

/// `string_to_table`
pub(crate) fn pieces(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    let Datum::Text(text) = &args.values[0] else { return Ok(values(std::iter::empty())) };
    Ok(values(array::pieces(text, &args.values[1], args.values.get(2)).into_iter().map(Ok)))
}

/// `regexp_matches`
pub(crate) fn matches(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    Ok(values(regexp::all_matches(args.values)?.into_iter().map(Ok)))
}

/// `regexp_split_to_table`
pub(crate) fn split(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    Ok(values(regexp::pieces(args.values, "regexp_split_to_table")?.into_iter().map(Ok)))
}
