//! Functions that look for regular expressions: `regexp_match`, `regexp_split_to_array`, `regexp_count` and others.
//!
//! Positions count characters from 1.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{ArrayValue, Datum, PgType};
use regex_lite::{Captures, Regex};

use super::Call;
use super::lift::{Result, each_datum};
use super::pattern::{push_replacement, regex};
use crate::expr::value::Value;

fn invalid(message: impl Into<String>) -> ValueError {
    ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// Options that follow a pattern.
pub(crate) struct Options {
    ignore_case: bool,
    global: bool,
    lines: bool,
    expanded: bool,
    literal: bool,
}

impl Options {
    /// Reads them.
    pub(crate) fn parse(text: &str) -> Result<Options> {
        let mut options =
            Options { ignore_case: false, global: false, lines: false, expanded: false, literal: false };
        for c in text.chars() {
            match c {
                'g' => options.global = true,
                'i' => options.ignore_case = true,
                'c' => options.ignore_case = false,
                'm' | 'n' => options.lines = true,
                's' => options.lines = false,
                'x' => options.expanded = true,
                't' => options.expanded = false,
                'q' => options.literal = true,
                'e' | 'p' | 'w' | 'b' => {}
                _ => return Err(invalid(format!("invalid regular expression option: \"{c}\""))),
            }
        }
        Ok(options)
    }

    /// For functions that look for all matches anyway, or for one only.
    fn without_global(self, name: &str) -> Result<Options> {
        if self.global {
            return Err(invalid(format!("{name}() does not support the \"global\" option")));
        }
        Ok(self)
    }

    fn compile(&self, pattern: &str) -> Result<Regex> {
        let mut text = String::new();
        if self.lines {
            text.push_str("(?m-s)");
        }
        if self.expanded {
            text.push_str("(?x)");
        }
        if self.literal {
            text.push_str(&regex_lite::escape(pattern));
        } else {
            text.push_str(pattern);
        }
        regex(&text, self.ignore_case)
    }
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
    Options::parse(text(args, flags))?.without_global(name)?.compile(text(args, 1))
}

/// The matches from a byte on, one behind the other.
fn matches<'t>(regex: &'t Regex, text: &'t str, from: usize) -> impl Iterator<Item = Captures<'t>> + 't {
    let mut next = Some(from);
    std::iter::from_fn(move || {
        let captures = regex.captures_at(text, next?)?;
        let all = captures.get(0)?;
        // After an empty match the search goes on one character later.
        let step =
            if all.is_empty() { text[all.end()..].chars().next().map_or(1, char::len_utf8) } else { 0 };
        next = Some(all.end() + step).filter(|next| *next <= text.len());
        Some(captures)
    })
}

/// The groups of a match, or all of it if there are none.
fn groups(captures: &Captures<'_>) -> Datum {
    let first = usize::from(captures.len() > 1);
    let group = |index| captures.get(index).map_or(Datum::Null, |group| Datum::Text(group.as_str().into()));
    ArrayValue::list(PgType::Text, (first..captures.len()).map(group).collect()).into_datum()
}

/// `regexp_match`
pub(crate) fn first_match(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let regex = compiled(args, 2, "regexp_match")?;
        Ok(regex.captures(text(args, 0)).map_or(Datum::Null, |captures| groups(&captures)))
    })
}

/// The rows of `regexp_matches`.
pub(crate) fn all_matches(args: &[Datum]) -> Result<Vec<Datum>> {
    let options = Options::parse(text(args, 2))?;
    let regex = options.compile(text(args, 1))?;
    let count = if options.global { usize::MAX } else { 1 };
    Ok(matches(&regex, text(args, 0), 0).take(count).map(|captures| groups(&captures)).collect())
}

/// The pieces of `regexp_split_to_array` and `regexp_split_to_table`: empty matches at the ends and behind another
/// match do not count.
pub(crate) fn pieces(args: &[Datum], name: &str) -> Result<Vec<Datum>> {
    let regex = compiled(args, 2, name)?;
    let whole = text(args, 0);
    let mut pieces = Vec::new();
    let mut from = 0;
    for captures in matches(&regex, whole, 0) {
        let Some(all) = captures.get(0) else { break };
        if all.start() >= whole.len() || all.end() <= from {
            continue;
        }
        pieces.push(Datum::Text(whole[from..all.start()].into()));
        from = all.end();
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
        let count =
            byte_at(text(args, 0), start).map_or(0, |from| matches(&regex, text(args, 0), from).count());
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
        let found = byte_at(whole, start)
            .and_then(|from| matches(&regex, whole, from).nth(n - 1))
            .and_then(|captures| captures.get(group).map(|group| (group.start(), group.end())));
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
        let found = byte_at(whole, start).and_then(|from| matches(&regex, whole, from).nth(n - 1));
        let part = found.as_ref().and_then(|captures| captures.get(group));
        Ok(part.map_or(Datum::Null, |part| Datum::Text(part.as_str().into())))
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
        let regex = options.compile(text(args, 1))?;
        let (whole, replacement) = (text(args, 0), text(args, 2));
        let Some(from) = byte_at(whole, start) else { return Ok(args[0].clone()) };
        let mut out = Vec::new();
        let mut copied = 0;
        for (index, captures) in matches(&regex, whole, from).enumerate() {
            let Some(all) = captures.get(0).filter(|_| n == 0 || index + 1 == n) else { continue };
            out.extend_from_slice(&whole.as_bytes()[copied..all.start()]);
            push_replacement(replacement, &captures, &mut out);
            copied = all.end();
            if n > 0 {
                break;
            }
        }
        out.extend_from_slice(&whole.as_bytes()[copied..]);
        Ok(Datum::Text(String::from_utf8_lossy(&out).into_owned().into()))
    })
}
