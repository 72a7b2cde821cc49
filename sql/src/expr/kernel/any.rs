//! Functions of arguments of any type: quoting, concatenation, `format`, and which are NULL.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{Datum, PgType};

use super::Call;
use super::lift::{Result, Text, TextSink, each_datum_nulls, each_row, each_text, text1};
use super::string::{char_count, count, pad};
use crate::expr::cast::push_text;
use crate::expr::value::Value;
use crate::types::text::write_datum;

fn push_quoted_literal(text: &str, out: &mut Vec<u8>) {
    if text.contains('\\') {
        out.push(b'E');
    }
    out.push(b'\'');
    for byte in text.bytes() {
        if byte == b'\'' || byte == b'\\' {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

/// Words that cannot be names without quotes: reserved, type or function names, and names of functions spelled in
/// words (PG 15, appendix C).
const QUOTED_WORDS: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary \
    bit boolean both case cast char character check coalesce collate collation column concurrently constraint create \
    cross current_catalog current_date current_role current_schema current_time current_timestamp current_user dec \
    decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze \
    from full grant greatest group grouping having ilike in initially inner inout int integer intersect interval into \
    is isnull join lateral leading least left like limit localtime localtimestamp national natural nchar none \
    normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position \
    precision primary real references returning right row select session_user setof similar smallint some substring \
    symmetric table tablesample then time timestamp to trailing treat trim true union unique user using values \
    varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest \
    xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ";

/// Appends a name, quoted if it must be.
pub(crate) fn push_quoted_ident(name: &str, out: &mut Vec<u8>) {
    let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        && !QUOTED_WORDS.contains(&format!(" {name} "));
    if plain {
        return out.extend_from_slice(name.as_bytes());
    }
    out.push(b'"');
    for byte in name.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

pub(crate) fn quote_ident(call: &Call<'_>) -> Result<Value> {
    text1::<Text>(call, |name, out| {
        push_quoted_ident(name, out);
        Ok(())
    })
}

/// Appends the text of an argument of any type; answers whether it is not NULL.
fn push_any(call: &Call<'_>, arg: usize, row: usize, out: &mut Vec<u8>) -> bool {
    let value = &call.args[arg];
    if let (Value::Array(array), PgType::Text | PgType::Varchar(_)) = (value, call.types[arg]) {
        if array.is_null(row) {
            return false;
        }
        out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes());
        return true;
    }
    let datum = value.datum(call.types[arg], row);
    write_datum(call.types[arg], &datum, &call.context.format, out);
    !datum.is_null()
}

/// `||` of a text and a value of any type, whose text is that of a cast.
pub(crate) fn concat_any(call: &Call<'_>) -> Result<Value> {
    each_text(call, |row, out| {
        for (arg, pg_type) in call.args.iter().zip(call.types) {
            let datum = arg.datum(*pg_type, row);
            push_text(*pg_type, &datum, &call.context.format, out);
        }
        Ok(true)
    })
}

/// `quote_literal(anyelement)`, and with `nullable` `quote_nullable`.
pub(crate) fn quote_literal(call: &Call<'_>, nullable: bool) -> Result<Value> {
    let mut text = Vec::new();
    each_any_text(call, |row, out| {
        text.clear();
        let value = call.args[0].datum(call.types[0], row);
        push_text(call.types[0], &value, &call.context.format, &mut text);
        if !value.is_null() {
            push_quoted_literal(std::str::from_utf8(&text).expect("output is UTF-8"), out);
            return Ok(true);
        }
        if nullable {
            out.extend_from_slice(b"NULL");
        }
        Ok(nullable)
    })
}

/// As [`each_text`] for functions that see NULLs.
fn each_any_text(call: &Call<'_>, mut row: impl FnMut(usize, &mut Vec<u8>) -> Result<bool>) -> Result<Value> {
    let rows = if call.is_scalar() { 1 } else { call.rows };
    let mut sink = TextSink::new(rows);
    let mut valid = Vec::with_capacity(rows);
    for index in 0..rows {
        valid.push(row(index, sink.bytes())?);
        sink.end_row()?;
    }
    let array = sink.into_text(Some(valid.into()));
    let value = Value::Array(array);
    Ok(if call.is_scalar() { Value::Scalar(value.datum(PgType::Text, 0)) } else { value })
}

pub(crate) fn concat(call: &Call<'_>) -> Result<Value> {
    each_any_text(call, |row, out| {
        (0..call.args.len()).for_each(|arg| {
            push_any(call, arg, row, out);
        });
        Ok(true)
    })
}

pub(crate) fn concat_ws(call: &Call<'_>) -> Result<Value> {
    let mut separator = Vec::new();
    let mut part = Vec::new();
    each_any_text(call, |row, out| {
        separator.clear();
        if !push_any(call, 0, row, &mut separator) {
            return Ok(false);
        }
        let mut first = true;
        for arg in 1..call.args.len() {
            part.clear();
            if push_any(call, arg, row, &mut part) {
                if !first {
                    out.extend_from_slice(&separator);
                }
                out.extend_from_slice(&part);
                first = false;
            }
        }
        Ok(true)
    })
}

/// One `%` of a format string.
struct Directive {
    position: Option<usize>,
    at_left: bool,
    width: Width,
    kind: char,
}

enum Width {
    None,
    Fixed(i32),
    Argument(Option<usize>),
}

fn format_error(message: impl Into<String>) -> ValueError {
    ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// `format(text, any...)`: `%s`, `%I`, `%L`, with position, flag and width.
pub(crate) fn format(call: &Call<'_>) -> Result<Value> {
    let mut pattern = Vec::new();
    each_any_text(call, |row, out| {
        pattern.clear();
        if !push_any(call, 0, row, &mut pattern) {
            return Ok(false);
        }
        let text = std::str::from_utf8(&pattern).expect("text is UTF-8");
        let mut rest = text;
        let mut next = 1;
        while let Some(at) = rest.find('%') {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                out.push(b'%');
                rest = after;
                continue;
            }
            let (directive, after) = Directive::parse(rest)?;
            rest = after;
            directive.write(call, row, &mut next, out)?;
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(true)
    })
}

fn leading_number(text: &str) -> Result<(Option<i32>, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Ok((None, text));
    }
    let number = text[..end].parse().map_err(|_| format_error("number is out of range"))?;
    Ok((Some(number), &text[end..]))
}

fn argument_position(number: i32) -> Result<usize> {
    if number < 1 {
        return Err(format_error("format specifies argument 0, but arguments are numbered from 1"));
    }
    Ok(number as usize)
}

impl Directive {
    fn parse(text: &str) -> Result<(Directive, &str)> {
        let unterminated = || {
            format_error("unterminated format() type specifier").with_detail("For a single \"%\" use \"%%\".")
        };
        let (mut number, mut rest) = leading_number(text)?;
        let mut position = None;
        if let (Some(value), Some(after)) = (number, rest.strip_prefix('$')) {
            position = Some(argument_position(value)?);
            (number, rest) = (None, after);
        }
        let mut at_left = false;
        let mut width = number.map_or(Width::None, Width::Fixed);
        if number.is_none() {
            while let Some(after) = rest.strip_prefix('-') {
                at_left = true;
                rest = after;
            }
            if let Some(after) = rest.strip_prefix('*') {
                let (number, after) = leading_number(after)?;
                rest = after;
                width = Width::Argument(None);
                if let Some(number) = number {
                    width = Width::Argument(Some(argument_position(number)?));
                    rest = rest
                        .strip_prefix('$')
                        .ok_or_else(|| format_error("width argument position must be ended by \"$\""))?;
                }
            } else {
                let (number, after) = leading_number(rest)?;
                rest = after;
                width = number.map_or(Width::None, Width::Fixed);
            }
        }
        let kind = rest.chars().next().ok_or_else(unterminated)?;
        if !matches!(kind, 's' | 'I' | 'L') {
            let message = format!("unrecognized format() type specifier \"{kind}\"");
            return Err(format_error(message).with_detail("For a single \"%\" use \"%%\"."));
        }
        Ok((Directive { position, at_left, width, kind }, &rest[1..]))
    }

    fn write(&self, call: &Call<'_>, row: usize, next: &mut usize, out: &mut Vec<u8>) -> Result<()> {
        let mut take = |position: Option<usize>| {
            let arg = position.unwrap_or(*next);
            *next = arg + 1;
            if arg < call.args.len() { Ok(arg) } else { Err(format_error("too few arguments for format()")) }
        };
        let width = match self.width {
            Width::None => 0,
            Width::Fixed(width) => width,
            Width::Argument(position) => {
                let mut text = Vec::new();
                push_any(call, take(position)?, row, &mut text);
                let text = std::str::from_utf8(&text).expect("output is UTF-8");
                if text.is_empty() {
                    0
                } else {
                    text.parse().map_err(|_| format_error("number is out of range"))?
                }
            }
        };
        let mut value = Vec::new();
        let present = push_any(call, take(self.position)?, row, &mut value);
        let text = std::str::from_utf8(&value).expect("output is UTF-8");
        let mut shown = Vec::new();
        match self.kind {
            's' => shown.extend_from_slice(text.as_bytes()),
            'L' if present => push_quoted_literal(text, &mut shown),
            'L' => shown.extend_from_slice(b"NULL"),
            _ if present => push_quoted_ident(text, &mut shown),
            _ => {
                let message = "null values cannot be formatted as an SQL identifier";
                return Err(ValueError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
            }
        }
        let shown = std::str::from_utf8(&shown).expect("made of UTF-8");
        let at_left = self.at_left || width < 0;
        let length = width.saturating_abs().max(count(char_count(shown))?);
        pad(shown, length, " ", !at_left, out)
    }
}

/// The bytes of a column in rows: `pg_column_size` without its compression.
pub(crate) fn column_size(call: &Call<'_>) -> Result<Value> {
    let mut text = Vec::new();
    each_row(call, |row| match call.types[0].row_size() {
        Some(size) => count(size),
        None => {
            text.clear();
            push_any(call, 0, row, &mut text);
            count(text.len() + 4)
        }
    })
}

/// `num_nulls` and `num_nonnulls`
pub(crate) fn count_nulls(call: &Call<'_>, nulls: bool) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let count = args.iter().filter(|arg| arg.is_null() == nulls).count();
        Ok(Datum::Int4(i32::try_from(count).unwrap_or(i32::MAX)))
    })
}
