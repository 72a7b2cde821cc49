//! The text format: fields between delimiters, backslash escapes, `\.` as the end (PG 15, COPY, "Text Format").

use memchr::{memchr_iter, memchr2, memchr3};

use super::decoder::{Fields, LineEnd, LineEnding, Search, Span};
use super::{CopyOptions, malformed};
use crate::error::{Result, SqlError};

/// Searches `data`, which begins with the line, for the line's end; `None` if it needs more data.
pub(super) fn find_end(
    search: &mut Search,
    ending: &mut LineEnding,
    data: &[u8],
    at_end: bool,
) -> Result<Option<LineEnd>> {
    let mut at = search.offset;
    loop {
        let Some(found) = memchr3(b'\n', b'\r', b'\\', &data[at.min(data.len())..]) else {
            search.offset = at.max(data.len());
            return Ok(None);
        };
        at += found;
        search.offset = at;
        let next = data.get(at + 1).copied();
        if next.is_none() && !at_end && data[at] != b'\n' {
            return Ok(None);
        }
        match data[at] {
            b'\n' => return newline(ending, at).map(Some),
            b'\r' => return carriage_return(ending, at, next).map(Some),
            _ => search.special = true,
        }
        if next == Some(b'.') {
            let Some(consumed) = end_marker(*ending, &data[at + 2..], at_end)? else { return Ok(None) };
            return Ok(Some(LineEnd { length: at, consumed: at + 2 + consumed, last: true }));
        }
        at += 2;
    }
}

fn newline(ending: &mut LineEnding, at: usize) -> Result<LineEnd> {
    if matches!(ending, LineEnding::Return | LineEnding::ReturnNewline) {
        return Err(stray("newline", "\\n"));
    }
    *ending = LineEnding::Newline;
    Ok(LineEnd { length: at, consumed: at + 1, last: false })
}

fn carriage_return(ending: &mut LineEnding, at: usize, next: Option<u8>) -> Result<LineEnd> {
    let with_newline = next == Some(b'\n');
    match ending {
        LineEnding::Newline => return Err(stray("carriage return", "\\r")),
        LineEnding::ReturnNewline if !with_newline => return Err(stray("carriage return", "\\r")),
        LineEnding::Unknown if with_newline => *ending = LineEnding::ReturnNewline,
        LineEnding::Unknown => *ending = LineEnding::Return,
        LineEnding::Return | LineEnding::ReturnNewline => {}
    }
    let width = if *ending == LineEnding::ReturnNewline { 2 } else { 1 };
    Ok(LineEnd { length: at, consumed: at + width, last: false })
}

fn stray(what: &str, escape: &str) -> SqlError {
    malformed(format!("literal {what} found in data")).hint(format!("Use \"{escape}\" to represent {what}."))
}

/// Checks what stands behind `\.`: answers its length, or `None` if it needs more data.
fn end_marker(ending: LineEnding, rest: &[u8], at_end: bool) -> Result<Option<usize>> {
    let corrupt = || malformed("end-of-copy marker corrupt");
    let other_style = || malformed("end-of-copy marker does not match previous newline style");
    let width = if ending == LineEnding::ReturnNewline { 2 } else { 1 };
    if rest.len() < width && !at_end {
        return Ok(None);
    }
    match (ending, rest) {
        (LineEnding::ReturnNewline, [b'\r', b'\n', ..]) => Ok(Some(2)),
        (LineEnding::ReturnNewline, [b'\r', b'\r', ..] | [b'\n', ..]) => Err(other_style()),
        (LineEnding::Newline | LineEnding::Unknown, [b'\n', ..]) => Ok(Some(1)),
        (LineEnding::Return | LineEnding::Unknown, [b'\r', ..]) => Ok(Some(1)),
        (LineEnding::Newline, [b'\r', ..]) | (LineEnding::Return, [b'\n', ..]) => Err(other_style()),
        _ => Err(corrupt()),
    }
}

/// Splits a line into at most `limit` fields.
pub(super) fn split(
    options: &CopyOptions,
    line: &[u8],
    has_backslash: bool,
    limit: usize,
    fields: &mut Fields,
) -> Result<()> {
    if limit == 0 {
        return if line.is_empty() { Ok(()) } else { Err(extra_data()) };
    }
    if has_backslash {
        return split_escaped(options, line, limit, fields);
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

pub(super) fn extra_data() -> SqlError {
    malformed("extra data after last expected column")
}

fn split_escaped(options: &CopyOptions, line: &[u8], limit: usize, fields: &mut Fields) -> Result<()> {
    let mut start = 0;
    loop {
        let end = split_one(options, line, start, fields);
        if end == line.len() {
            return Ok(());
        }
        if fields.spans.len() == limit {
            return Err(extra_data());
        }
        start = end + 1;
    }
}

/// Takes the field that begins at `start`; answers where its delimiter or the end of the line is.
fn split_one(options: &CopyOptions, line: &[u8], start: usize, fields: &mut Fields) -> usize {
    // The marker `\N` is by far the most frequent reason for a backslash.
    if line[start..].starts_with(b"\\N") && *options.null == *b"\\N" {
        let end = start + 2;
        if end == line.len() || line[end] == options.delimiter {
            fields.spans.push(Span::NULL);
            return end;
        }
    }
    let scratch_start = fields.scratch.len();
    let (mut at, mut copied) = (start, start);
    let mut is_escaped = false;
    let end = loop {
        let Some(found) = memchr2(options.delimiter, b'\\', &line[at..]) else { break line.len() };
        at += found;
        if line[at] == options.delimiter {
            break at;
        }
        is_escaped = true;
        fields.scratch.extend_from_slice(&line[copied..at]);
        at = unescape(line, at + 1, &mut fields.scratch);
        copied = at;
    };
    if line[start..end] == *options.null {
        fields.scratch.truncate(scratch_start);
        fields.spans.push(Span::NULL);
    } else if is_escaped {
        fields.scratch.extend_from_slice(&line[copied..end]);
        fields.spans.push(Span::scratch(scratch_start, fields.scratch.len()));
    } else {
        fields.spans.push(Span::line(start, end));
    }
    end
}

/// Resolves the escape whose backslash stands in front of `at`; answers where it ends.
fn unescape(line: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let Some(byte) = line.get(at).copied() else { return at };
    let mut end = at + 1;
    let value = match byte {
        b'0'..=b'7' => {
            let mut value = u32::from(byte - b'0');
            while end < at + 3 && matches!(line.get(end), Some(b'0'..=b'7')) {
                value = value << 3 | u32::from(line[end] - b'0');
                end += 1;
            }
            (value & 0xff) as u8
        }
        b'x' => {
            let mut value = None;
            while let Some(digit) =
                line.get(end).filter(|_| end < at + 3).and_then(|b| char::from(*b).to_digit(16))
            {
                value = Some(value.unwrap_or(0) << 4 | digit);
                end += 1;
            }
            value.map_or(b'x', |value| (value & 0xff) as u8)
        }
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        other => other,
    };
    out.push(value);
    end
}

/// Escapes what was appended to `out` after `start`.
pub(super) fn escape(delimiter: u8, out: &mut Vec<u8>, start: usize) {
    let is_special = |byte: u8| matches!(byte, 0x08..=0x0d | b'\\') || byte == delimiter;
    let added = out[start..].iter().fold(0, |count, byte| count + usize::from(is_special(*byte)));
    if added == 0 {
        return;
    }
    // Backwards, so that every byte moves once.
    let mut from = out.len();
    out.resize(from + added, 0);
    let mut to = out.len();
    while from < to {
        from -= 1;
        to -= 1;
        let byte = out[from];
        if !is_special(byte) {
            out[to] = byte;
            continue;
        }
        out[to] = match byte {
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0b => b'v',
            0x0c => b'f',
            b'\r' => b'r',
            other => other,
        };
        to -= 1;
        out[to] = b'\\';
    }
}
