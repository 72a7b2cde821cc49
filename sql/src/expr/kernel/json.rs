//! Functions and operators of `json` and `jsonb`.
//!
//! Access walks over the text (`types::json::raw`); comparisons and changes of `jsonb` go by trees.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{ArrayValue, Datum, PgType};

use super::Call;
use super::array::array_of_datum;
use super::lift::{Result, each_datum, each_datum_nulls};
use crate::expr::value::Value as Column;
use crate::types::FormatOptions;
use crate::types::json::raw::{self, Kind};
use crate::types::json::{self, Value};
use crate::types::text::write_datum;

pub(crate) fn invalid(message: impl Into<String>) -> ValueError {
    ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn text_of(value: &Datum) -> &str {
    match value {
        Datum::Text(text) => text,
        _ => "",
    }
}

fn text(value: impl Into<Box<str>>) -> Datum {
    Datum::Text(value.into())
}

/// A part as a value of `json` or as text: strings without quotes, `null` as NULL.
pub(crate) fn part(part: Option<&str>, as_text: bool) -> Result<Datum> {
    let Some(part) = part else { return Ok(Datum::Null) };
    if !as_text {
        return Ok(text(part));
    }
    Ok(match Kind::of(part) {
        Kind::Null => Datum::Null,
        Kind::String => text(raw::unescaped(part)?),
        _ => text(part),
    })
}

/// `->` and `->>` by key.
pub(crate) fn member(call: &Call<'_>, as_text: bool) -> Result<Column> {
    each_datum(call, |args| {
        let json = text_of(&args[0]);
        let found = (Kind::of(json) == Kind::Object).then(|| raw::member(json, text_of(&args[1]))).flatten();
        part(found, as_text)
    })
}

/// `->` and `->>` by number.
pub(crate) fn element(call: &Call<'_>, as_text: bool) -> Result<Column> {
    each_datum(call, |args| {
        let (json, Datum::Int4(index)) = (text_of(&args[0]), &args[1]) else { return Ok(Datum::Null) };
        let found = match Kind::of(json) {
            Kind::Array => raw::element(json, i64::from(*index)),
            Kind::Object => None,
            // A scalar of jsonb is stored as an array of one element.
            _ => (call.types[0] == PgType::Jsonb && matches!(index, 0 | -1)).then_some(json),
        };
        part(found, as_text)
    })
}

/// The texts of an array; `None` if one is NULL.
fn texts(value: &Datum, pg_type: PgType) -> Option<Vec<String>> {
    let item = |value: Datum| match value {
        Datum::Text(text) => Some(text.into_string()),
        _ => None,
    };
    array_of_datum(value, pg_type).values.into_iter().map(item).collect()
}

/// `#>` and `#>>`
pub(crate) fn path(call: &Call<'_>, as_text: bool) -> Result<Column> {
    each_datum(call, |args| {
        let Some(path) = texts(&args[1], call.types[1]) else { return Ok(Datum::Null) };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        part(raw::at_path(text_of(&args[0]), &path), as_text)
    })
}

/// `json_extract_path` and the like, whose path is given as arguments.
pub(crate) fn extract_path(call: &Call<'_>, as_text: bool) -> Result<Column> {
    each_datum(call, |args| {
        let path: Vec<&str> = args[1..].iter().map(text_of).collect();
        part(raw::at_path(text_of(&args[0]), &path), as_text)
    })
}

/// `json_array_length`
pub(crate) fn array_length(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let json = text_of(&args[0]);
        match Kind::of(json) {
            Kind::Array => Ok(Datum::Int4(raw::elements(json).count() as i32)),
            Kind::Object => Err(invalid("cannot get array length of a non-array")),
            _ => Err(invalid("cannot get array length of a scalar")),
        }
    })
}

/// Appends a value as JSON, as `to_json` makes it.
pub(crate) fn push_value(pg_type: PgType, value: &Datum, options: &FormatOptions, out: &mut String) {
    if value.is_null() {
        return out.push_str("null");
    }
    let plain = || {
        let mut bytes = Vec::new();
        write_datum(pg_type, value, options, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    match pg_type {
        PgType::Bool => out.push_str(if *value == Datum::Bool(true) { "true" } else { "false" }),
        PgType::Json | PgType::Jsonb => out.push_str(text_of(value)),
        PgType::Array(_) => push_array(&array_of_datum(value, pg_type), options, out),
        PgType::Timestamp | PgType::Timestamptz => {
            let mut written = plain();
            if let Some(at) = written.find(' ').filter(|_| written.starts_with(|c: char| c.is_ascii_digit()))
            {
                written.replace_range(at..=at, "T");
                // Offsets have minutes.
                let zone = written.rfind(['+', '-']).filter(|at| *at > 10 && written.len() - at == 3);
                if pg_type == PgType::Timestamptz && zone.is_some() {
                    written = match written.find(" BC") {
                        Some(_) => written,
                        None => written + ":00",
                    };
                }
            }
            json::write_string(&written, out);
        }
        PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Float4 | PgType::Float8 | PgType::Numeric(_) => {
            let written = plain();
            match written.as_bytes().last() {
                Some(b'0'..=b'9') => out.push_str(&written),
                _ => json::write_string(&written, out),
            }
        }
        _ => json::write_string(&plain(), out),
    }
}

fn push_array(array: &ArrayValue, options: &FormatOptions, out: &mut String) {
    fn level<'v>(
        lens: &[i32],
        values: &mut impl Iterator<Item = &'v Datum>,
        out: &mut String,
        write: &mut dyn FnMut(&Datum, &mut String),
    ) {
        let Some((len, inner)) = lens.split_first() else {
            if let Some(value) = values.next() {
                write(value, out);
            }
            return;
        };
        out.push('[');
        for index in 0..*len {
            out.push_str(if index > 0 { "," } else { "" });
            level(inner, values, out, write);
        }
        out.push(']');
    }
    if array.dims.is_empty() {
        return out.push_str("[]");
    }
    let lens: Vec<i32> = array.dims.iter().map(|dim| dim.len).collect();
    level(&lens, &mut array.values.iter(), out, &mut |value, out| {
        push_value(array.element, value, options, out);
    });
}

fn finished(out: String, binary: bool) -> Result<Datum> {
    Ok(text(if binary { json::normalize(&out)? } else { out }))
}

fn is_binary(call: &Call<'_>) -> bool {
    call.result == PgType::Jsonb
}

/// `to_json`, `to_jsonb`, `array_to_json`
pub(crate) fn of_value(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let mut out = String::new();
        push_value(call.types[0], &args[0], &call.context.format, &mut out);
        finished(out, is_binary(call))
    })
}

/// `json_build_array`
pub(crate) fn build_array(call: &Call<'_>) -> Result<Column> {
    each_datum_nulls(call, |args| {
        let mut out = String::from("[");
        for (index, (value, pg_type)) in args.iter().zip(call.types).enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            push_value(*pg_type, value, &call.context.format, &mut out);
        }
        out.push(']');
        finished(out, is_binary(call))
    })
}

/// `json_build_object`
pub(crate) fn build_object(call: &Call<'_>) -> Result<Column> {
    let binary = is_binary(call);
    each_datum_nulls(call, |args| {
        if args.len() % 2 == 1 {
            let name = if binary { "jsonb_build_object" } else { "json_build_object" };
            let hint = format!("The arguments of {name}() must consist of alternating keys and values.");
            return Err(invalid("argument list must have even number of elements").with_detail(hint));
        }
        let mut out = String::from("{");
        for (index, (pair, types)) in args.chunks(2).zip(call.types.chunks(2)).enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            if pair[0].is_null() {
                return Err(match binary {
                    true => invalid(format!("argument {}: key must not be null", 2 * index + 1)),
                    false => invalid(format!("argument {} cannot be null", 2 * index + 1)),
                });
            }
            if matches!(types[0], PgType::Array(_) | PgType::Json | PgType::Jsonb) {
                return Err(invalid("key value must be scalar, not array, composite, or json"));
            }
            let mut key = Vec::new();
            crate::expr::cast::push_text(types[0], &pair[0], &call.context.format, &mut key);
            json::write_string(&String::from_utf8_lossy(&key), &mut out);
            out.push_str(" : ");
            push_value(types[1], &pair[1], &call.context.format, &mut out);
        }
        out.push('}');
        finished(out, binary)
    })
}

/// `row_to_json`, of names and values that take turns.
pub(crate) fn row(call: &Call<'_>) -> Result<Column> {
    each_datum_nulls(call, |args| {
        let mut out = String::from("{");
        for (index, (field, types)) in args.chunks_exact(2).zip(call.types.chunks_exact(2)).enumerate() {
            out.push_str(if index > 0 { "," } else { "" });
            json::write_string(text_of(&field[0]), &mut out);
            out.push(':');
            push_value(types[1], &field[1], &call.context.format, &mut out);
        }
        out.push('}');
        finished(out, false)
    })
}

/// `json_object(keys, values)` and `json_object(pairs)`.
pub(crate) fn object_of_texts(call: &Call<'_>) -> Result<Column> {
    let mismatched = |message: &'static str| ValueError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message);
    each_datum(call, |args| {
        let first = array_of_datum(&args[0], call.types[0]);
        let pairs: Vec<(Datum, Datum)> = match args.get(1) {
            Some(second) => {
                let second = array_of_datum(second, call.types[1]);
                if first.dims.len() > 1 || second.dims.len() > 1 {
                    return Err(mismatched("wrong number of array subscripts"));
                }
                if first.values.len() != second.values.len() {
                    return Err(mismatched("mismatched array dimensions"));
                }
                first.values.into_iter().zip(second.values).collect()
            }
            None => {
                match first.dims.as_slice() {
                    [] => {}
                    [one] if one.len % 2 == 1 => {
                        return Err(mismatched("array must have even number of elements"));
                    }
                    [_] => {}
                    [_, two] if two.len != 2 => return Err(mismatched("array must have two columns")),
                    [_, _] => {}
                    _ => return Err(mismatched("wrong number of array subscripts")),
                }
                first.values.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
            }
        };
        let mut out = String::from("{");
        for (index, (key, value)) in pairs.iter().enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            let Datum::Text(key) = key else {
                let message = "null value not allowed for object key";
                return Err(ValueError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
            };
            json::write_string(key, &mut out);
            out.push_str(" : ");
            push_value(PgType::Text, value, &call.context.format, &mut out);
        }
        out.push('}');
        finished(out, is_binary(call))
    })
}

/// `json_strip_nulls`
pub(crate) fn strip_nulls(call: &Call<'_>) -> Result<Column> {
    fn strip(json: &str, out: &mut String) {
        match Kind::of(json) {
            Kind::Array => {
                out.push('[');
                for (index, item) in raw::elements(json).enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    strip(item, out);
                }
                out.push(']');
            }
            Kind::Object => {
                out.push('{');
                let kept = raw::members(json).filter(|(_, value)| Kind::of(value) != Kind::Null);
                for (index, (key, value)) in kept.enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    out.push_str(key);
                    out.push(':');
                    strip(value, out);
                }
                out.push('}');
            }
            _ => out.push_str(json.trim()),
        }
    }
    each_datum(call, |args| {
        let mut out = String::new();
        strip(text_of(&args[0]), &mut out);
        finished(out, is_binary(call))
    })
}

fn trees<const N: usize>(args: &[Datum]) -> Result<[Value; N]> {
    let mut trees = Vec::with_capacity(N);
    for arg in &args[..N] {
        trees.push(Value::parse(text_of(arg))?);
    }
    trees.try_into().map_err(|_| invalid("arguments are missing"))
}

/// `jsonb_pretty`
pub(crate) fn pretty(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let [value] = trees(args)?;
        let mut out = String::new();
        value.write_pretty(0, &mut out);
        Ok(text(out))
    })
}

/// `@>`
pub(crate) fn contains(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let [a, b] = trees(args)?;
        Ok(Datum::Bool(a.contains(&b)))
    })
}

/// `<@`
pub(crate) fn contained(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let [a, b] = trees(args)?;
        Ok(Datum::Bool(b.contains(&a)))
    })
}

fn has_key(json: &str, key: &str) -> bool {
    let is_string =
        |item: &str| Kind::of(item) == Kind::String && raw::unescaped(item).is_ok_and(|item| item == key);
    match Kind::of(json) {
        Kind::Object => raw::member(json, key).is_some(),
        Kind::Array => raw::elements(json).any(is_string),
        _ => is_string(json.trim()),
    }
}

/// `?`
pub(crate) fn exists(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| Ok(Datum::Bool(has_key(text_of(&args[0]), text_of(&args[1])))))
}

/// `?|` and `?&`; NULLs among the keys do not count.
pub(crate) fn exists_some(call: &Call<'_>, all: bool) -> Result<Column> {
    each_datum(call, |args| {
        let json = text_of(&args[0]);
        let keys = array_of_datum(&args[1], call.types[1]).values;
        let mut keys = keys.iter().filter(|key| !key.is_null()).map(text_of);
        Ok(Datum::Bool(if all {
            keys.all(|key| has_key(json, key))
        } else {
            keys.any(|key| has_key(json, key))
        }))
    })
}

/// `||`
pub(crate) fn concat(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let [a, b] = trees(args)?;
        let joined = match (a, b) {
            (Value::Object(mut own), Value::Object(other)) => {
                for (key, value) in other {
                    Value::set_member(&mut own, &key, value);
                }
                Value::Object(own)
            }
            (Value::Array(mut own), Value::Array(other)) => {
                own.extend(other);
                Value::Array(own)
            }
            (Value::Array(mut own), other) => {
                own.push(other);
                Value::Array(own)
            }
            (own, Value::Array(mut other)) => {
                other.insert(0, own);
                Value::Array(other)
            }
            (a, b) => Value::Array(vec![a, b]),
        };
        Ok(text(joined.to_text()))
    })
}

/// `-` of a key, or of several.
pub(crate) fn without_keys(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let [mut value] = trees(args)?;
        let keys: Vec<String> = match &args[1] {
            Datum::Text(key) => vec![key.to_string()],
            keys => {
                let keys = array_of_datum(keys, call.types[1]).values;
                keys.iter().filter(|key| !key.is_null()).map(|key| text_of(key).to_owned()).collect()
            }
        };
        match &mut value {
            Value::Object(members) => members.retain(|(key, _)| !keys.contains(key)),
            Value::Array(items) => {
                items.retain(|item| !matches!(item, Value::String(text) if keys.contains(text)));
            }
            _ => return Err(invalid("cannot delete from scalar")),
        }
        Ok(text(value.to_text()))
    })
}

/// `-` of an element.
pub(crate) fn without_element(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let [mut value] = trees(args)?;
        let Datum::Int4(index) = args[1] else { return Ok(Datum::Null) };
        match &mut value {
            Value::Array(items) => {
                if let Some(at) = place(index, items.len()) {
                    items.remove(at);
                }
            }
            Value::Object(_) => return Err(invalid("cannot delete from object using integer index")),
            _ => return Err(invalid("cannot delete from scalar")),
        }
        Ok(text(value.to_text()))
    })
}

/// Where an index points, counted from the end if it is negative.
fn place(index: i32, len: usize) -> Option<usize> {
    let at = if index < 0 { len as i64 + i64::from(index) } else { i64::from(index) };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// What a path does at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Delete,
    /// Replaces what is there; adds it if that is set.
    Set {
        create: bool,
    },
    /// Before an element, or after it.
    Insert {
        after: bool,
    },
}

fn index_of(step: &str, position: usize) -> Result<i32> {
    step.trim().parse().map_err(|_| {
        let message = format!("path element at position {position} is not an integer: \"{step}\"");
        ValueError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
    })
}

fn change(
    value: &mut Value,
    path: &[String],
    position: usize,
    new: Option<&Value>,
    how: Change,
) -> Result<()> {
    let Some((step, rest)) = path.split_first() else { return Ok(()) };
    match value {
        Value::Object(members) => {
            let known = members.iter().position(|(key, _)| key == step);
            match (known, rest.is_empty()) {
                (Some(at), false) => return change(&mut members[at].1, rest, position + 1, new, how),
                (Some(at), true) => match (how, new) {
                    (Change::Delete, _) => {
                        members.remove(at);
                    }
                    (Change::Insert { .. }, _) => {
                        return Err(invalid("cannot replace existing key")
                            .with_detail("Try using the function jsonb_set to replace key value."));
                    }
                    (Change::Set { .. }, Some(new)) => members[at].1 = new.clone(),
                    _ => {}
                },
                (None, true) if how != Change::Delete && how != (Change::Set { create: false }) => {
                    if let Some(new) = new {
                        Value::set_member(members, step, new.clone());
                    }
                }
                (None, _) => {}
            }
        }
        Value::Array(items) => {
            let index = index_of(step, position)?;
            let at = place(index, items.len());
            match (at, rest.is_empty()) {
                (Some(at), false) => return change(&mut items[at], rest, position + 1, new, how),
                (Some(at), true) => match (how, new) {
                    (Change::Delete, _) => {
                        items.remove(at);
                    }
                    (Change::Set { .. }, Some(new)) => items[at] = new.clone(),
                    (Change::Insert { after }, Some(new)) => {
                        items.insert(at + usize::from(after), new.clone());
                    }
                    _ => {}
                },
                (None, true) if how != Change::Delete && how != (Change::Set { create: false }) => {
                    if let Some(new) = new {
                        let at = if index < 0 { 0 } else { items.len() };
                        items.insert(at, new.clone());
                    }
                }
                (None, _) => {}
            }
        }
        _ => {}
    }
    Ok(())
}

fn path_of(value: &Datum, pg_type: PgType) -> Result<Vec<String>> {
    let array = array_of_datum(value, pg_type);
    if array.dims.len() > 1 {
        return Err(ValueError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts"));
    }
    let step = |(position, value): (usize, Datum)| match value {
        Datum::Text(text) => Ok(text.into_string()),
        _ => {
            let message = format!("path element at position {} is null", position + 1);
            Err(ValueError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message))
        }
    };
    array.values.into_iter().enumerate().map(step).collect()
}

/// `#-`
pub(crate) fn without_path(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let [mut value] = trees(args)?;
        if value.is_scalar() {
            return Err(invalid("cannot delete path in scalar"));
        }
        let path = path_of(&args[1], call.types[1])?;
        change(&mut value, &path, 1, None, Change::Delete)?;
        Ok(text(value.to_text()))
    })
}

fn flag(args: &[Datum], index: usize, default: bool) -> bool {
    match args.get(index) {
        Some(Datum::Bool(value)) => *value,
        _ => default,
    }
}

fn set_path(call: &Call<'_>, args: &[Datum], how: Change) -> Result<Datum> {
    let mut value = Value::parse(text_of(&args[0]))?;
    let new = Value::parse(text_of(&args[2]))?;
    if value.is_scalar() {
        return Err(invalid("cannot set path in scalar"));
    }
    let path = path_of(&args[1], call.types[1])?;
    change(&mut value, &path, 1, Some(&new), how)?;
    Ok(text(value.to_text()))
}

/// `jsonb_set`
pub(crate) fn set(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| set_path(call, args, Change::Set { create: flag(args, 3, true) }))
}

/// `jsonb_insert`
pub(crate) fn insert(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| set_path(call, args, Change::Insert { after: flag(args, 3, false) }))
}

/// `jsonb_set_lax`
pub(crate) fn set_lax(call: &Call<'_>) -> Result<Column> {
    each_datum_nulls(call, |args| {
        if args[0].is_null() || args[1].is_null() || args.get(3).is_some_and(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let create = flag(args, 3, true);
        if !args[2].is_null() {
            return set_path(call, args, Change::Set { create });
        }
        match args.get(4).map(|how| (how.is_null(), text_of(how))) {
            None | Some((false, "use_json_null")) => {
                let mut args = args.to_vec();
                args[2] = text("null");
                set_path(call, &args, Change::Set { create })
            }
            Some((false, "delete_key")) => {
                let mut value = Value::parse(text_of(&args[0]))?;
                let path = path_of(&args[1], call.types[1])?;
                change(&mut value, &path, 1, None, Change::Delete)?;
                Ok(text(value.to_text()))
            }
            Some((false, "return_target")) => Ok(args[0].clone()),
            Some((false, "raise_exception")) => {
                Err(ValueError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "JSON value must not be null"))
            }
            Some((true, _)) => Err(invalid(
                "null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"",
            )),
            Some(_) => Err(invalid(
                "null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"",
            )),
        }
    })
}
