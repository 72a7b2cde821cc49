//! Rows of the parts of JSON values.

use omen_core::types::Datum;

use super::{SetArgs, SetCursor, rows, values};
use crate::expr::kernel::json::{invalid, part};
use crate::expr::kernel::jsonpath;
use crate::expr::kernel::lift::Result;
use crate::types::json::raw::{self, Kind};

fn json_of<'a>(args: &SetArgs<'a>) -> &'a str {
    match &args.values[0] {
        Datum::Text(text) => text.trim(),
        _ => "null",
    }
}

/// `json_array_elements`; `name` is that of a function of `json`, which it is called in errors.
pub(crate) fn elements(args: &SetArgs<'_>, name: Option<&str>, as_text: bool) -> Result<Box<dyn SetCursor>> {
    let json = json_of(args);
    match (Kind::of(json), name) {
        (Kind::Array, _) => {}
        (Kind::Object, Some(name)) => return Err(invalid(format!("cannot call {name} on a non-array"))),
        (_, Some(name)) => return Err(invalid(format!("cannot call {name} on a scalar"))),
        (Kind::Object, None) => return Err(invalid("cannot extract elements from an object")),
        (_, None) => return Err(invalid("cannot extract elements from a scalar")),
    }
    let parts: Result<Vec<Datum>> = raw::elements(json).map(|item| part(Some(item), as_text)).collect();
    Ok(values(parts?.into_iter().map(Ok)))
}

/// `json_object_keys`
pub(crate) fn keys(args: &SetArgs<'_>, name: &str) -> Result<Box<dyn SetCursor>> {
    let json = json_of(args);
    match Kind::of(json) {
        Kind::Object => {}
        Kind::Array => return Err(invalid(format!("cannot call {name} on an array"))),
        _ => return Err(invalid(format!("cannot call {name} on a scalar"))),
    }
    let keys: Result<Vec<Datum>> = raw::members(json).map(|(key, _)| part(Some(key), true)).collect();
    Ok(values(keys?.into_iter().map(Ok)))
}

/// `json_each`; `binary`: of `jsonb`.
pub(crate) fn members(
    args: &SetArgs<'_>,
    name: &str,
    binary: bool,
    as_text: bool,
) -> Result<Box<dyn SetCursor>> {
    let json = json_of(args);
    match Kind::of(json) {
        Kind::Object => {}
        _ if binary => return Err(invalid(format!("cannot call {name} on a non-object"))),
        Kind::Array => return Err(invalid("cannot deconstruct an array as an object")),
        _ => return Err(invalid("cannot deconstruct a scalar")),
    }
    let mut all = Vec::new();
    for (key, value) in raw::members(json) {
        all.push(vec![part(Some(key), true)?, part(Some(value), as_text)?]);
    }
    Ok(rows(all))
}

/// `jsonb_path_query`
pub(crate) fn path(args: &SetArgs<'_>) -> Result<Box<dyn SetCursor>> {
    Ok(values(jsonpath::rows(args.values)?.into_iter().map(Ok)))
}
