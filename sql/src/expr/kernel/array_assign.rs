//! Assignments to elements and slices of arrays (PG 15, chapter 8.15.4).

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::array::{Dimension, ELEMENTS_MAX};
use omen_core::types::{ArrayValue, Datum};

use super::Call;
use super::array::array_of_datum;
use super::lift::{Result, each_datum_nulls};
use crate::expr::value::Value;
use crate::types::array::too_large;

fn wrong(message: &str) -> ValueError {
    ValueError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
}

fn subscript(value: &Datum) -> Result<i32> {
    match value {
        Datum::Int4(value) => Ok(*value),
        _ => {
            let message = "array subscript in assignment must not be null";
            Err(ValueError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message))
        }
    }
}

/// The array with the element at these subscripts replaced, or added: array, value, subscripts.
pub(crate) fn element(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let array = array_of_datum(&args[0], call.types[0]);
        let at: Vec<i32> = args[2..].iter().map(subscript).collect::<Result<_>>()?;
        let bounds: Vec<(i32, i32)> = at.iter().map(|index| (*index, *index)).collect();
        Ok(with_part(array, &bounds, std::slice::from_ref(&args[1]))?.into_datum())
    })
}

/// The array with a slice replaced: array, value, a lower and an upper bound for each dimension; bounds that are left out
/// are the extreme integers.
pub(crate) fn slice(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let array = array_of_datum(&args[0], call.types[0]);
        let limits: Vec<i32> = args[2..].iter().map(subscript).collect::<Result<_>>()?;
        if args[1].is_null() {
            return Ok(args[0].clone());
        }
        let source = array_of_datum(&args[1], call.types[1]);
        let mut bounds = Vec::with_capacity(limits.len() / 2);
        for (place, pair) in limits.chunks(2).enumerate() {
            let dim = array.dims.get(place);
            let (mut lower, mut upper) = (pair[0], pair[1]);
            if array.dims.is_empty() && (lower == i32::MIN || upper == i32::MAX) {
                let detail = "When assigning to a slice of an empty array value, slice boundaries must be fully specified.";
                return Err(wrong("array slice subscript must provide both boundaries").with_detail(detail));
            }
            if let Some(dim) = dim {
                lower = if lower == i32::MIN { dim.lower } else { lower };
                upper = if upper == i32::MAX { dim.lower + dim.len - 1 } else { upper };
            }
            if lower > upper {
                return Err(wrong("upper bound cannot be less than lower bound"));
            }
            bounds.push((lower, upper));
        }
        // Dimensions without bounds are taken whole.
        bounds.extend(array.dims.iter().skip(bounds.len()).map(|dim| (dim.lower, dim.lower + dim.len - 1)));
        Ok(with_part(array, &bounds, &source.values)?.into_datum())
    })
}

/// The array with its elements between bounds replaced by the first of these values. One of one dimension grows.
fn with_part(mut array: ArrayValue, bounds: &[(i32, i32)], values: &[Datum]) -> Result<ArrayValue> {
    if array.dims.is_empty() {
        array.dims = bounds.iter().map(|(lower, _)| Dimension { len: 0, lower: *lower }).collect();
    }
    if array.dims.len() != bounds.len() {
        return Err(wrong("wrong number of array subscripts"));
    }
    let is_new = array.values.is_empty();
    for (dim, (lower, upper)) in array.dims.iter_mut().zip(bounds) {
        let (first, last) = (i64::from(dim.lower), i64::from(dim.lower) + i64::from(dim.len) - 1);
        let (lower, upper) = (i64::from(*lower), i64::from(*upper));
        if bounds.len() > 1 && !is_new && (lower < first || upper > last) {
            return Err(wrong("array subscript out of range"));
        }
        let (new_first, new_last) = (first.min(lower), last.max(upper));
        if new_last - new_first >= ELEMENTS_MAX as i64 || new_last >= i64::from(i32::MAX) {
            return Err(too_large());
        }
        if bounds.len() == 1 && !is_new {
            let before = (first - new_first) as usize;
            array.values.splice(0..0, std::iter::repeat_n(Datum::Null, before));
            array.values.resize((new_last - new_first + 1) as usize, Datum::Null);
        }
        *dim = Dimension { len: (new_last - new_first + 1) as i32, lower: new_first as i32 };
    }
    if is_new {
        let count = array.dims.iter().try_fold(1usize, |count, dim| count.checked_mul(dim.len as usize));
        let count = count.filter(|count| *count <= ELEMENTS_MAX).ok_or_else(too_large)?;
        array.values = vec![Datum::Null; count];
    }
    let mut places = vec![0usize];
    for (dim, (lower, upper)) in array.dims.iter().zip(bounds) {
        let (from, to) = ((lower - dim.lower) as usize, (upper - dim.lower) as usize);
        let longer = places.iter().flat_map(|place| (from..=to).map(move |at| (place, at)));
        places = longer.map(|(place, at)| place * dim.len as usize + at).collect();
    }
    if values.len() < places.len() {
        return Err(wrong("source array too small"));
    }
    places.into_iter().zip(values).for_each(|(place, value)| array.values[place] = value.clone());
    Ok(array)
}
