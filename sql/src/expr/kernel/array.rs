//! Functions and operators of arrays.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::array::{DIMENSIONS_MAX, Dimension, ELEMENTS_MAX};
use omen_core::types::{ArrayValue, Datum, PgType};

use super::Call;
use super::lift::{Result, each_datum, each_datum_nulls};
use crate::expr::value::Value;
use crate::types::array::{too_large, too_many_dimensions};
use crate::types::text::write_datum;

/// The array of an argument that is not NULL.
pub(crate) fn array_of_datum(value: &Datum, pg_type: PgType) -> ArrayValue {
    match value {
        Datum::Array(bytes) => ArrayValue::of_stored(pg_type, bytes),
        _ => ArrayValue::empty(pg_type.element().unwrap_or(PgType::Text)),
    }
}

fn int_of(value: &Datum) -> i32 {
    match value {
        Datum::Int4(value) => *value,
        other => panic!("an integer: {other:?}"),
    }
}

fn element_key(value: &Datum) -> Vec<u8> {
    let mut key = Vec::new();
    match value {
        Datum::Null => {}
        value => {
            key.push(1);
            omen_core::key::encode(value, &mut key);
        }
    }
    key
}

fn same(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Null, Datum::Null) => true,
        (Datum::Null, _) | (_, Datum::Null) => false,
        (a, b) => a == b || element_key(a) == element_key(b),
    }
}

fn error(state: SqlState, message: impl Into<String>) -> ValueError {
    ValueError::new(state, message)
}

fn check_size(count: usize) -> Result<()> {
    if count > ELEMENTS_MAX { Err(too_large()) } else { Ok(()) }
}

/// `ARRAY[..]`: of elements, or of arrays with the same dimensions.
pub(crate) fn constructor(call: &Call<'_>) -> Result<Value> {
    let element = call.result.element().unwrap_or(PgType::Text);
    let nested = call.types.first().is_some_and(|first| matches!(first, PgType::Array(_)));
    each_datum_nulls(call, |args| {
        if !nested {
            return Ok(ArrayValue::list(element, args.to_vec()).into_datum());
        }
        let mismatch = || {
            let message = "multidimensional arrays must have array expressions with matching dimensions";
            error(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
        };
        let mut dims: Option<Vec<Dimension>> = None;
        let mut values = Vec::new();
        for (arg, pg_type) in args.iter().zip(call.types) {
            let part = array_of_datum(arg, *pg_type);
            if dims.get_or_insert_with(|| part.dims.clone()) != &part.dims {
                return Err(mismatch());
            }
            values.extend(part.values);
        }
        let inner = dims.unwrap_or_default();
        if values.is_empty() {
            return Ok(ArrayValue::empty(element).into_datum());
        }
        if inner.len() >= DIMENSIONS_MAX {
            return Err(too_many_dimensions(inner.len() + 1));
        }
        check_size(values.len())?;
        let mut dims = vec![Dimension { len: args.len() as i32, lower: 1 }];
        dims.extend(inner);
        Ok(ArrayValue { element: element.base(), dims, values }.into_datum())
    })
}

/// `a[i][j]`: NULL beyond the ends and with another number of subscripts.
pub(crate) fn subscript(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let array = array_of_datum(&args[0], call.types[0]);
        if array.dims.len() != args.len() - 1 {
            return Ok(Datum::Null);
        }
        let mut place = 0usize;
        for (dim, index) in array.dims.iter().zip(&args[1..]) {
            let offset = i64::from(int_of(index)) - i64::from(dim.lower);
            if !(0..i64::from(dim.len)).contains(&offset) {
                return Ok(Datum::Null);
            }
            place = place * dim.len as usize + offset as usize;
        }
        Ok(array.values[place].clone())
    })
}

/// `a[i:j][k:l]`: a lower and an upper bound for each dimension; bounds that are left out are the extreme integers.
pub(crate) fn slice(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let array = array_of_datum(&args[0], call.types[0]);
        let bounds: Vec<(i32, i32)> =
            args[1..].chunks(2).map(|pair| (int_of(&pair[0]), int_of(&pair[1]))).collect();
        let empty = || Ok(ArrayValue::empty(array.element).into_datum());
        if array.dims.len() < bounds.len() || array.dims.is_empty() {
            return empty();
        }
        // For each dimension the first offset and the number of elements.
        let mut parts = Vec::with_capacity(array.dims.len());
        for (index, dim) in array.dims.iter().enumerate() {
            let last = i64::from(dim.lower) + i64::from(dim.len) - 1;
            let (from, to) = bounds.get(index).map_or((i64::from(dim.lower), last), |(from, to)| {
                (i64::from(*from).max(dim.lower.into()), i64::from(*to).min(last))
            });
            if from > to {
                return empty();
            }
            parts.push(((from - i64::from(dim.lower)) as usize, (to - from + 1) as usize));
        }
        let mut places = vec![0usize];
        for (dim, (first, len)) in array.dims.iter().zip(&parts) {
            let longer = places.iter().flat_map(|place| (0..*len).map(move |at| (place, at)));
            places = longer.map(|(place, at)| place * dim.len as usize + first + at).collect();
        }
        let values = places.into_iter().map(|place| array.values[place].clone()).collect();
        let dims = parts.iter().map(|(_, len)| Dimension { len: *len as i32, lower: 1 }).collect();
        Ok(ArrayValue { element: array.element, dims, values }.into_datum())
    })
}

fn incompatible(detail: &'static str) -> ValueError {
    error(SqlState::ARRAY_SUBSCRIPT_ERROR, "cannot concatenate incompatible arrays").with_detail(detail)
}

/// `array_cat`
pub(crate) fn concat(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let (Datum::Array(_), Datum::Array(_)) = (&args[0], &args[1]) else {
            return Ok(if args[0].is_null() { args[1].clone() } else { args[0].clone() });
        };
        let (a, b) = (array_of_datum(&args[0], call.types[0]), array_of_datum(&args[1], call.types[1]));
        if a.dims.is_empty() || b.dims.is_empty() {
            return Ok(if a.dims.is_empty() { b } else { a }.into_datum());
        }
        check_size(a.values.len() + b.values.len())?;
        let lens = |dims: &[Dimension]| dims.iter().map(|dim| dim.len).collect::<Vec<_>>();
        let element = a.element;
        let dims = match a.dims.len().cmp(&b.dims.len()) {
            std::cmp::Ordering::Equal => {
                if lens(&a.dims[1..]) != lens(&b.dims[1..]) {
                    return Err(incompatible(
                        "Arrays with differing element dimensions are not compatible for concatenation.",
                    ));
                }
                let mut dims = a.dims.clone();
                dims[0].len += b.dims[0].len;
                dims
            }
            std::cmp::Ordering::Less if b.dims.len() == a.dims.len() + 1 => {
                if lens(&a.dims) != lens(&b.dims[1..]) {
                    return Err(incompatible(
                        "Arrays with differing dimensions are not compatible for concatenation.",
                    ));
                }
                let mut dims = b.dims.clone();
                dims[0].len += 1;
                dims
            }
            std::cmp::Ordering::Greater if a.dims.len() == b.dims.len() + 1 => {
                if lens(&b.dims) != lens(&a.dims[1..]) {
                    return Err(incompatible(
                        "Arrays with differing dimensions are not compatible for concatenation.",
                    ));
                }
                let mut dims = a.dims.clone();
                dims[0].len += 1;
                dims
            }
            _ => {
                return Err(incompatible(
                    "Arrays of differing dimensions are not compatible for concatenation.",
                ));
            }
        };
        let mut values = a.values;
        values.extend(b.values);
        Ok(ArrayValue { element, dims, values }.into_datum())
    })
}

fn one_dimension(array: &ArrayValue) -> Result<()> {
    if array.dims.len() > 1 {
        return Err(error(SqlState::DATA_EXCEPTION, "argument must be empty or one-dimensional array"));
    }
    check_size(array.values.len() + 1)
}

/// `array_append`
pub(crate) fn append(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let mut array = array_of_datum(&args[0], call.types[0]);
        one_dimension(&array)?;
        let lower = array.dims.first().map_or(1, |dim| dim.lower);
        array.values.push(args[1].clone());
        array.dims = vec![Dimension { len: array.values.len() as i32, lower }];
        Ok(array.into_datum())
    })
}

/// `array_prepend`
pub(crate) fn prepend(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let mut array = array_of_datum(&args[1], call.types[1]);
        one_dimension(&array)?;
        let lower = array.dims.first().map_or(1, |dim| dim.lower);
        array.values.insert(0, args[0].clone());
        array.dims = vec![Dimension { len: array.values.len() as i32, lower }];
        Ok(array.into_datum())
    })
}

/// `array_ndims`
pub(crate) fn dimension_count(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let count = array_of_datum(&args[0], call.types[0]).dims.len() as i32;
        Ok(if count == 0 { Datum::Null } else { Datum::Int4(count) })
    })
}

/// `array_dims`
pub(crate) fn dimensions(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let array = array_of_datum(&args[0], call.types[0]);
        if array.dims.is_empty() {
            return Ok(Datum::Null);
        }
        let part =
            |dim: &Dimension| format!("[{}:{}]", dim.lower, i64::from(dim.lower) + i64::from(dim.len) - 1);
        Ok(Datum::Text(array.dims.iter().map(part).collect::<String>().into()))
    })
}

fn of_dimension(call: &Call<'_>, of: impl Fn(&Dimension) -> i32) -> Result<Value> {
    each_datum(call, |args| {
        let array = array_of_datum(&args[0], call.types[0]);
        let index = usize::try_from(i64::from(int_of(&args[1])) - 1).ok();
        let dim = index.and_then(|index| array.dims.get(index));
        Ok(dim.map_or(Datum::Null, |dim| Datum::Int4(of(dim))))
    })
}

/// `array_length`
pub(crate) fn length(call: &Call<'_>) -> Result<Value> {
    of_dimension(call, |dim| dim.len)
}

/// `array_lower`
pub(crate) fn lower(call: &Call<'_>) -> Result<Value> {
    of_dimension(call, |dim| dim.lower)
}

/// `array_upper`
pub(crate) fn upper(call: &Call<'_>) -> Result<Value> {
    of_dimension(call, |dim| (i64::from(dim.lower) + i64::from(dim.len) - 1) as i32)
}

/// `cardinality`
pub(crate) fn cardinality(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| Ok(Datum::Int4(array_of_datum(&args[0], call.types[0]).values.len() as i32)))
}

fn searched(array: &ArrayValue) -> Result<()> {
    if array.dims.len() > 1 {
        let message = "searching for elements in multidimensional arrays is not supported";
        return Err(error(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    Ok(())
}

/// `array_position`
pub(crate) fn position(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        if args[0].is_null() {
            return Ok(Datum::Null);
        }
        let array = array_of_datum(&args[0], call.types[0]);
        searched(&array)?;
        let from = match args.get(2) {
            None => i32::MIN,
            Some(Datum::Int4(from)) => *from,
            Some(_) => {
                return Err(error(SqlState::NULL_VALUE_NOT_ALLOWED, "initial position must not be null"));
            }
        };
        let lower = array.dims.first().map_or(1, |dim| dim.lower);
        let mut places = (lower..).zip(&array.values);
        let found = places.find(|(place, value)| *place >= from && same(value, &args[1]));
        Ok(found.map_or(Datum::Null, |(place, _)| Datum::Int4(place)))
    })
}

/// `array_positions`
pub(crate) fn positions(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        if args[0].is_null() {
            return Ok(Datum::Null);
        }
        let array = array_of_datum(&args[0], call.types[0]);
        searched(&array)?;
        let lower = array.dims.first().map_or(1, |dim| dim.lower);
        let places = (lower..).zip(&array.values).filter(|(_, value)| same(value, &args[1]));
        let places = places.map(|(place, _)| Datum::Int4(place)).collect();
        Ok(ArrayValue::list(PgType::Int4, places).into_datum())
    })
}

/// `array_remove`
pub(crate) fn remove(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        if args[0].is_null() {
            return Ok(Datum::Null);
        }
        let mut array = array_of_datum(&args[0], call.types[0]);
        if array.dims.len() > 1 {
            let message = "removing elements from multidimensional arrays is not supported";
            return Err(error(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        array.values.retain(|value| !same(value, &args[1]));
        if array.values.is_empty() {
            array.dims.clear();
        } else {
            array.dims[0].len = array.values.len() as i32;
        }
        Ok(array.into_datum())
    })
}

/// `array_replace`
pub(crate) fn replace(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        if args[0].is_null() {
            return Ok(Datum::Null);
        }
        let mut array = array_of_datum(&args[0], call.types[0]);
        for value in array.values.iter_mut().filter(|value| same(value, &args[1])) {
            *value = args[2].clone();
        }
        Ok(array.into_datum())
    })
}

/// `array_to_string`
pub(crate) fn to_text(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let (Datum::Array(_), Datum::Text(delimiter)) = (&args[0], &args[1]) else {
            return Ok(Datum::Null);
        };
        let array = array_of_datum(&args[0], call.types[0]);
        let mut out = Vec::new();
        let mut first = true;
        for value in &array.values {
            let shown_null = match (value, args.get(2)) {
                (Datum::Null, Some(Datum::Text(null))) => Some(null),
                (Datum::Null, _) => continue,
                _ => None,
            };
            if !first {
                out.extend_from_slice(delimiter.as_bytes());
            }
            first = false;
            match shown_null {
                Some(null) => out.extend_from_slice(null.as_bytes()),
                None => write_datum(array.element, value, &call.context.format, &mut out),
            }
        }
        Ok(Datum::Text(String::from_utf8_lossy(&out).into_owned().into()))
    })
}

/// The pieces of `string_to_array` and `string_to_table`.
pub(crate) fn pieces(text: &str, delimiter: &Datum, null: Option<&Datum>) -> Vec<Datum> {
    let piece = |piece: &str| match null {
        Some(Datum::Text(null)) if **null == *piece => Datum::Null,
        _ => Datum::Text(piece.into()),
    };
    match delimiter {
        _ if text.is_empty() => Vec::new(),
        Datum::Text(delimiter) if delimiter.is_empty() => vec![piece(text)],
        Datum::Text(delimiter) => text.split(&**delimiter).map(piece).collect(),
        _ => text.chars().map(|c| piece(c.encode_utf8(&mut [0; 4]))).collect(),
    }
}

/// `string_to_array`
pub(crate) fn of_text(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let Datum::Text(text) = &args[0] else { return Ok(Datum::Null) };
        Ok(ArrayValue::list(PgType::Text, pieces(text, &args[1], args.get(2))).into_datum())
    })
}

/// `array_fill`
pub(crate) fn fill(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let missing =
            || error(SqlState::NULL_VALUE_NOT_ALLOWED, "dimension array or low bound array cannot be null");
        let numbers = |index: usize| -> Result<Vec<i32>> {
            if args[index].is_null() {
                return Err(missing());
            }
            let array = array_of_datum(&args[index], call.types[index]);
            if array.dims.len() > 1 {
                let message = "wrong number of array subscripts";
                return Err(error(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
                    .with_detail("Dimension array must be one dimensional."));
            }
            let number = |value: &Datum| match value {
                Datum::Int4(value) => Ok(*value),
                _ => Err(error(SqlState::NULL_VALUE_NOT_ALLOWED, "dimension values cannot be null")),
            };
            array.values.iter().map(number).collect()
        };
        let lens = numbers(1)?;
        let lowers = if args.len() > 2 { numbers(2)? } else { vec![1; lens.len()] };
        let element = call.result.element().unwrap_or(PgType::Text);
        if lens.len() > DIMENSIONS_MAX {
            return Err(too_many_dimensions(lens.len()));
        }
        if lens.len() != lowers.len() {
            let message = "wrong number of array subscripts";
            return Err(error(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
                .with_detail("Low bound array has different size than dimensions array."));
        }
        let mut count = 1usize;
        for len in &lens {
            let len = usize::try_from(*len).map_err(|_| too_large())?;
            count = count.checked_mul(len).filter(|count| *count <= ELEMENTS_MAX).ok_or_else(too_large)?;
        }
        if lens.is_empty() || count == 0 {
            return Ok(ArrayValue::empty(element).into_datum());
        }
        let dims = lens.iter().zip(&lowers).map(|(len, lower)| Dimension { len: *len, lower: *lower });
        let array = ArrayValue {
            element: element.base(),
            dims: dims.collect(),
            values: vec![args[0].clone(); count],
        };
        Ok(array.into_datum())
    })
}

/// `trim_array`
pub(crate) fn trim(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let mut array = array_of_datum(&args[0], call.types[0]);
        let count = int_of(&args[1]);
        let len = array.dims.first().map_or(0, |dim| dim.len);
        if !(0..=len).contains(&count) {
            let message = format!("number of elements to trim must be between 0 and {len}");
            return Err(error(SqlState::ARRAY_SUBSCRIPT_ERROR, message));
        }
        if len == count {
            return Ok(ArrayValue::empty(array.element).into_datum());
        }
        let kept = array.values.len() / len as usize * (len - count) as usize;
        array.values.truncate(kept);
        array.dims[0].len -= count;
        array.dims.iter_mut().for_each(|dim| dim.lower = 1);
        Ok(array.into_datum())
    })
}

/// Whether each element of the second array that is not NULL is one of the first.
fn contains_all(all: &ArrayValue, some: &ArrayValue) -> bool {
    if some.values.iter().any(Datum::is_null) {
        return false;
    }
    let keys: std::collections::BTreeSet<Vec<u8>> = all.values.iter().map(element_key).collect();
    some.values.iter().all(|value| keys.contains(&element_key(value)))
}

fn of_two(call: &Call<'_>, test: impl Fn(&ArrayValue, &ArrayValue) -> bool) -> Result<Value> {
    each_datum(call, |args| {
        let (a, b) = (array_of_datum(&args[0], call.types[0]), array_of_datum(&args[1], call.types[1]));
        Ok(Datum::Bool(test(&a, &b)))
    })
}

/// `@>`
pub(crate) fn contains(call: &Call<'_>) -> Result<Value> {
    of_two(call, contains_all)
}

/// `<@`
pub(crate) fn contained(call: &Call<'_>) -> Result<Value> {
    of_two(call, |a, b| contains_all(b, a))
}

/// `&&`
pub(crate) fn overlaps(call: &Call<'_>) -> Result<Value> {
    of_two(call, |a, b| {
        let keys: std::collections::BTreeSet<Vec<u8>> =
            a.values.iter().filter(|value| !value.is_null()).map(element_key).collect();
        b.values.iter().any(|value| !value.is_null() && keys.contains(&element_key(value)))
    })
}

/// `width_bucket(operand, thresholds)`: how many thresholds are not above the operand.
pub(crate) fn width_bucket(call: &Call<'_>) -> Result<Value> {
    let key = |value: &Datum| {
        let mut key = Vec::new();
        omen_core::key::encode(value, &mut key);
        key
    };
    each_datum(call, |args| {
        let thresholds = array_of_datum(&args[1], call.types[1]);
        if thresholds.dims.len() > 1 {
            let message = "thresholds must be one-dimensional array";
            return Err(ValueError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message));
        }
        if thresholds.values.iter().any(Datum::is_null) {
            let message = "thresholds array must not contain NULLs";
            return Err(ValueError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
        }
        let operand = key(&args[0]);
        let bucket = thresholds.values.partition_point(|threshold| key(threshold) <= operand);
        Ok(Datum::Int4(i32::try_from(bucket).unwrap_or(i32::MAX)))
    })
}
