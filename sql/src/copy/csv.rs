//! The CSV format: fields between delimiters, optionally in quotes (PG 15, COPY, "CSV Format").

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::decoder::{Fields, LineEnd, LineEnding, Search, Span};
use super::text::extra_data;
use super::{CopyOptions, malformed};
use crate::error::{Result, SqlError};

/// Searches `data`, which begins with the line, for the line's end; `None` if it needs more data.
pub(super) fn find_end(
    search: &mut Search,
    ending: &mut LineEnding,
    options: &CopyOptions,
    data: &[u8],
    at_end: bool,
) -> Result<Option<LineEnd>> {
    if options.end_marker && search.offset == 0 && data.first() == Some(&b'\\') {
        match end_marker(*ending, data, at_end)? {
            Marker::NeedsData => return Ok(None),
            Marker::Found(consumed) => return Ok(Some(LineEnd { length: 0, consumed, last: true })),
            Marker::No => {}
        }
    }
    loop {
        if search.in_quote && !skip_quoted(search, *ending, options, data) {
            return Ok(None);
        }
        let from = search.offset;
        let Some(found) = memchr3(b'\n', b'\r', options.quote, &data[from..]) else {
            search.offset = data.len();
            return Ok(None);
        };
        let at = from + found;
        search.offset = at;
        if data[at] == options.quote {
            search.special = true;
            search.in_quote = true;
            search.offset = at + 1;
        } else if data[at] == b'\n' {
            return newline(ending, at).map(Some);
        } else {
            let next = data.get(at + 1).copied();
            if next.is_none() && !at_end {
                return Ok(None);
            }
            return carriage_return(ending, at, next).map(Some);
        }
    }
}

/// Moves behind the closing quote; false if it is not there yet.
fn skip_quoted(search: &mut Search, ending: LineEnding, options: &CopyOptions, data: &[u8]) -> bool {
    let embedded = if ending == LineEnding::Newline { b'\n' } else { b'\r' };
    // An escape character that is the quote itself needs no care here: `""` closes and opens again.
    let has_escape = options.escape != options.quote;
    let start = search.offset;
    let mut at = start;
    let end = loop {
        if search.escaped {
            if at == data.len() {
                break at;
            }
            // Only a quote or another escape loses its meaning, yet any byte may be skipped: it had none.
            search.escaped = false;
            at += 1;
        }
        let rest = &data[at..];
        let found = if has_escape {
            memchr2(options.quote, options.escape, rest)
        } else {
            memchr(options.quote, rest)
        };
        let Some(found) = found else { break data.len() };
        at += found + 1;
        if data[at - 1] == options.quote {
            search.in_quote = false;
            break at;
        }
        search.escaped = true;
    };
    search.offset = end;
    search.embedded_lines += memchr_iter(embedded, &data[start..end]).count() as u64;
    !search.in_quote
}

fn newline(ending: &mut LineEnding, at: usize) -> Result<LineEnd> {
    if matches!(ending, LineEnding::Return | LineEnding::ReturnNewline) {
        return Err(stray("newline"));
    }
    *ending = LineEnding::Newline;
    Ok(LineEnd { length: at, consumed: at + 1, last: false })
}

fn carriage_return(ending: &mut LineEnding, at: usize, next: Option<u8>) -> Result<LineEnd> {
    let with_newline = next == Some(b'\n');
    match ending {
        LineEnding::Newline => return Err(stray("carriage return")),
        LineEnding::ReturnNewline if !with_newline => return Err(stray("carriage return")),
        LineEnding::Unknown if with_newline => *ending = LineEnding::ReturnNewline,
        LineEnding::Unknown => *ending = LineEnding::Return,
        LineEnding::Return | LineEnding::ReturnNewline => {}
    }
    let width = if *ending == LineEnding::ReturnNewline { 2 } else { 1 };
    Ok(LineEnd { length: at, consumed: at + width, last: false })
}

fn stray(what: &str) -> SqlError {
    malformed(format!("unquoted {what} found in data"))
        .hint(format!("Use quoted CSV field to represent {what}."))
}

enum Marker {
    NeedsData,
    Found(usize),
    No,
}

/// Whether the line that begins with a backslash is `\.` alone.
fn end_marker(ending: LineEnding, data: &[u8], at_end: bool) -> Result<Marker> {
    let full = if ending == LineEnding::ReturnNewline { 4 } else { 3 };
    let is_other = data.len() >= 2 && data[1] != b'.';
    if !is_other && data.len() < full && !at_end {
        return Ok(Marker::NeedsData);
    }
    match (ending, data.strip_prefix(b"\\.")) {
        (LineEnding::ReturnNewline, Some([b'\r', b'\n', ..])) => Ok(Marker::Found(4)),
        (LineEnding::Newline | LineEnding::Unknown, Some([b'\n', ..])) => Ok(Marker::Found(3)),
        (LineEnding::Return | LineEnding::Unknown, Some([b'\r', ..])) => Ok(Marker::Found(3)),
        (LineEnding::ReturnNewline, Some([b'\r', b'\r', ..]))
        | (LineEnding::Newline, Some([b'\r', ..]))
        | (LineEnding::Return, Some([b'\n', ..])) => {
            Err(malformed("end-of-copy marker does not match previous newline style"))
        }
        _ => Ok(Marker::No),
    }
}

/// Splits a line into at most `limit` fields.
pub(super) fn split(
    options: &CopyOptions,
    line: &[u8],
    has_quote: bool,
    limit: usize,
    fields: &mut Fields,
) -> Result<()> {
    if limit == 0 {
        return if line.is_empty() { Ok(()) } else { Err(extra_data()) };
    }
    if has_quote {
        return split_quoted(options, line, limit, fields);
    }
    let mut start = 0;
    for end in memchr_iter(options.delimiter, line) {
        push_plain(options, line, start, end, fields);
        start = end + 1;
        if fields.spans.len() == limit {
            return Err(extra_data());
        }
    }
    push_plain(options, line, start, line.len(), fields);
    Ok(())
}

#[inline]
fn push_plain(options: &CopyOptions, line: &[u8], start: usize, end: usize, fields: &mut Fields) {
    let is_null = end - start == options.null.len() && line[start..end] == *options.null;
    fields.spans.push(if is_null { Span::NULL } else { Span::line(start, end) });
}

fn split_quoted(options: &CopyOptions, line: &[u8], limit: usize, fields: &mut Fields) -> Result<()> {
    let mut start = 0;
    let mut has_extra = false;
    loop {
        let end = split_one(options, line, start, fields)?;
        if end == line.len() {
            return if has_extra { Err(extra_data()) } else { Ok(()) };
        }
        // Goes on to the end, because a quote that is not closed is reported first.
        if fields.spans.len() >= limit {
            has_extra = true;
            fields.spans.truncate(limit);
        }
        start = end + 1;
    }
}

/// Takes the field that begins at `start`; answers where its delimiter or the end of the line is.
fn split_one(options: &CopyOptions, line: &[u8], start: usize, fields: &mut Fields) -> Result<usize> {
    let found = memchr2(options.delimiter, options.quote, &line[start..]).map_or(line.len(), |at| start + at);
    if found == line.len() || line[found] == options.delimiter {
        push_plain(options, line, start, found, fields);
        return Ok(found);
    }
    if found == start {
        // A field all in quotes without a quote or escape inside is taken as it stands.
        let inner = start + 1;
        let close = memchr2(options.quote, options.escape, &line[inner..]).map(|at| inner + at);
        if let Some(close) = close.filter(|close| line[*close] == options.quote) {
            let end = close + 1;
            if end == line.len() || line[end] == options.delimiter {
                fields.spans.push(Span::line(inner, close));
                return Ok(end);
            }
        }
    }
    let scratch_start = fields.scratch.len();
    let end = copy_mixed(options, line, start, &mut fields.scratch)?;
    fields.spans.push(Span::scratch(scratch_start, fields.scratch.len()));
    Ok(end)
}

/// Copies a field of quoted and unquoted parts without its quotes and escapes; answers where it ends.
fn copy_mixed(options: &CopyOptions, line: &[u8], start: usize, out: &mut Vec<u8>) -> Result<usize> {
    let mut at = start;
    loop {
        let found =
            memchr2(options.delimiter, options.quote, &line[at..]).map_or(line.len(), |found| at + found);
        out.extend_from_slice(&line[at..found]);
        if found == line.len() || line[found] == options.delimiter {
            return Ok(found);
        }
        at = found + 1;
        loop {
            let Some(found) = memchr2(options.quote, options.escape, &line[at..]) else {
                return Err(malformed("unterminated CSV quoted field"));
            };
            out.extend_from_slice(&line[at..at + found]);
            at += found + 1;
            let byte = line[at - 1];
            let next = line.get(at).copied();
            if byte == options.escape
                && next.is_some_and(|next| next == options.escape || next == options.quote)
            {
                out.extend(next);
                at += 1;
            } else if byte == options.quote {
                break;
            } else {
                out.push(byte);
            }
        }
    }
}

/// Puts what was appended to `out` after `start` in quotes, if it needs them.
pub(super) fn quote(options: &CopyOptions, out: &mut Vec<u8>, start: usize, force: bool, only_column: bool) {
    let field = &out[start..];
    let is_special =
        |byte: u8| matches!(byte, b'\n' | b'\r') | (byte == options.delimiter) | (byte == options.quote);
    let needs_quotes = force
        || *field == *options.null
        || (only_column && field == b"\\.")
        || field.iter().fold(false, |found, byte| found | is_special(*byte));
    if !needs_quotes {
        return;
    }
    let needs_escape = |byte: u8| byte == options.quote || byte == options.escape;
    let added = 2 + field.iter().filter(|byte| needs_escape(**byte)).count();
    let mut from = out.len();
    out.resize(from + added, 0);
    let mut to = out.len() - 1;
    out[to] = options.quote;
    while from > start {
        from -= 1;
        to -= 1;
        let byte = out[from];
        out[to] = byte;
        if needs_escape(byte) {
            to -= 1;
            out[to] = options.escape;
        }
    }
    out[start] = options.quote;
}
