//! Functions that look for regular expressions: `regexp_match`, `regexp_split_to_array`, `regexp_count` and others.
//!
//! Positions count characters from 1.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{ArrayValue, Datum, PgType};

use super::Call;
use super::are::{Captures, Options, Regex, Search};
use super::lift::{Result, each_datum};
use super::pattern::{push_replacement, regex};
use crate::expr::value::Value;

fn invalid(message: impl Into<String>) -> ValueError {
    ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn text(args: &[Datum], index: usize) -> &str {
    match args.get(index) {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

fn number(args: &[Datum], index: usize, default: i32) -> i32 {
    match args.get(index) {
        Some(Datum::Int4(number)) => *number,
        _ => default,
    }
}

fn compiled(args: &[Datum], flags: usize, name: &str) -> Result<Regex> {
    regex(text(args, 1), Options::parse(text(args, flags))?.without_global(name)?)
}

/// The matches from a byte on, one behind the other; with their groups if those are asked for.
fn matches<'t>(
    regex: &'t Regex,
    text: &'t str,
    from: usize,
    told: bool,
) -> Result<impl Iterator<Item = Result<Captures>> + 't> {
    let mut search = Search::new(regex, text)?;
    let mut next = Some(from);
    Ok(std::iter::from_fn(move || {
        let captures = match search.captures_at(next?, told) {
            Ok(captures) => captures?,
            Err(error) => {
                next = None;
                return Some(Err(error));
            }
        };
        let (start, end) = captures[0]?;
        // After an empty match the search goes on one character later.
        let step = if start == end { text[end..].chars().next().map_or(1, char::len_utf8) } else { 0 };
        next = Some(end + step).filter(|next| *next <= text.len());
        Some(Ok(captures))
    }))
}

/// The match of a number from 1 on.
fn nth(regex: &Regex, text: &str, start: usize, n: usize, told: bool) -> Result<Option<Captures>> {
    let Some(from) = byte_at(text, start) else { return Ok(None) };
    for (index, captures) in matches(regex, text, from, told)?.enumerate() {
        let captures = captures?;
        if index + 1 == n {
            return Ok(Some(captures));
        }
    }
    Ok(None)
}

/// The groups of a match, or all of it if there are none.
fn groups(text: &str, captures: &Captures) -> Datum {
    let told = if captures.len() > 1 { &captures[1..] } else { &captures[..] };
    let group = |group: &Option<(usize, usize)>| {
        group.map_or(Datum::Null, |(from, to)| Datum::Text(text[from..to].into()))
    };
    ArrayValue::list(PgType::Text, told.iter().map(group).collect()).into_datum()
}

/// `regexp_match`
pub(crate) fn first_match(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let regex = compiled(args, 2, "regexp_match")?;
        let whole = text(args, 0);
        Ok(regex.captures(whole)?.map_or(Datum::Null, |captures| groups(whole, &captures)))
    })
}

/// The rows of `regexp_matches`.
pub(crate) fn all_matches(args: &[Datum]) -> Result<Vec<Datum>> {
    let options = Options::parse(text(args, 2))?;
    let regex = regex(text(args, 1), options)?;
    let count = if options.global { usize::MAX } else { 1 };
    let whole = text(args, 0);
    matches(&regex, whole, 0, true)?.take(count).map(|captures| Ok(groups(whole, &captures?))).collect()
}

/// The pieces of `regexp_split_to_array` and `regexp_split_to_table`: empty matches at the ends and behind another
/// match do not count.
pub(crate) fn pieces(args: &[Datum], name: &str) -> Result<Vec<Datum>> {
    let regex = compiled(args, 2, name)?;
    let whole = text(args, 0);
    let mut pieces = Vec::new();
    let mut from = 0;
    for captures in matches(&regex, whole, 0, false)? {
        let Some((start, end)) = captures?[0] else { break };
        if start >= whole.len() || end <= from {
            continue;
        }
        pieces.push(Datum::Text(whole[from..start].into()));
        from = end;
    }
    pieces.push(Datum::Text(whole[from..].into()));
    Ok(pieces)
}

/// `regexp_split_to_array`
pub(crate) fn split(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        Ok(ArrayValue::list(PgType::Text, pieces(args, "regexp_split_to_array")?).into_datum())
    })
}

/// A number that must be positive, or not negative.
fn checked(name: &str, value: i32, least: i32) -> Result<usize> {
    if value < least {
        return Err(invalid(format!("invalid value for parameter \"{name}\": {value}")));
    }
    usize::try_from(value).map_err(|_| invalid(format!("invalid value for parameter \"{name}\": {value}")))
}

/// The byte of a character counted from 1; `None` behind the end.
fn byte_at(text: &str, position: usize) -> Option<usize> {
    let mut places = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
    places.nth(position - 1)
}

/// `regexp_count`
pub(crate) fn count(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let start = checked("start", number(args, 2, 1), 1)?;
        let regex = compiled(args, 3, "regexp_count")?;
        let mut count = 0_usize;
        if let Some(from) = byte_at(text(args, 0), start) {
            for captures in matches(&regex, text(args, 0), from, false)? {
                captures?;
                count += 1;
            }
        }
        Ok(Datum::Int4(i32::try_from(count).unwrap_or(i32::MAX)))
    })
}

/// `regexp_instr`
pub(crate) fn position(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let start = checked("start", number(args, 2, 1), 1)?;
        let n = checked("n", number(args, 3, 1), 1)?;
        let end = number(args, 4, 0);
        if end != 0 && end != 1 {
            return Err(invalid(format!("invalid value for parameter \"endoption\": {end}")));
        }
        let regex = compiled(args, 5, "regexp_instr")?;
        let group = checked("subexpr", number(args, 6, 0), 0)?;
        let whole = text(args, 0);
        let found = nth(&regex, whole, start, n, group > 0)?;
        let found = found.and_then(|captures| captures.get(group).copied().flatten());
        let at = found.map(|(start, stop)| if end == 1 { stop } else { start });
        Ok(Datum::Int4(at.map_or(0, |at| i32::try_from(whole[..at].chars().count()).unwrap_or(i32::MAX) + 1)))
    })
}

/// `regexp_substr`
pub(crate) fn substring(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let start = checked("start", number(args, 2, 1), 1)?;
        let n = checked("n", number(args, 3, 1), 1)?;
        let regex = compiled(args, 4, "regexp_substr")?;
        let group = checked("subexpr", number(args, 5, 0), 0)?;
        let whole = text(args, 0);
        let found = nth(&regex, whole, start, n, group > 0)?;
        let part = found.and_then(|captures| captures.get(group).copied().flatten());
        Ok(part.map_or(Datum::Null, |(from, to)| Datum::Text(whole[from..to].into())))
    })
}

/// `regexp_replace` with a start, and which match is replaced: 0 means all.
pub(crate) fn replace(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let start = checked("start", number(args, 3, 1), 1)?;
        let options = Options::parse(text(args, 5))?;
        let n = match args.get(4) {
            Some(_) => checked("n", number(args, 4, 1), 0)?,
            None => usize::from(!options.global),
        };
        let regex = regex(text(args, 1), options)?;
        let (whole, replacement) = (text(args, 0), text(args, 2));
        let Some(from) = byte_at(whole, start) else { return Ok(args[0].clone()) };
        let mut out = Vec::new();
        let mut copied = 0;
        for (index, captures) in matches(&regex, whole, from, replacement.contains('\\'))?.enumerate() {
            let captures = captures?;
            let Some((start, end)) = captures[0].filter(|_| n == 0 || index + 1 == n) else { continue };
            out.extend_from_slice(&whole.as_bytes()[copied..start]);
            push_replacement(replacement, whole, &captures, &mut out);
            copied = end;
            if n > 0 {
                break;
            }
        }
        out.extend_from_slice(&whole.as_bytes()[copied..]);
        Ok(Datum::Text(String::from_utf8_lossy(&out).into_owned().into()))
    })
}
