//! Functions of `text` and `bytea`. Positions and lengths are in characters and count from 1.

use std::io::Write as _;

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::Call;
use super::lift::{Arg, Bytes, I32, I64, Result, Text, each_text, map1, map2, text1, text2, text3};
use super::md5::md5_hex;
use crate::expr::value::Value;

/// Longest text that a function makes.
const TEXT_BYTES_MAX: usize = 1 << 28;

fn too_long() -> ValueError {
    ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes > TEXT_BYTES_MAX { Err(too_long()) } else { Ok(()) }
}

/// Characters of a text.
pub(crate) fn char_count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// Where the `index`-th character starts; the end if there are fewer.
fn char_start(text: &str, index: usize) -> usize {
    if text.is_ascii() {
        return index.min(text.len());
    }
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

pub(crate) fn count(length: usize) -> Result<i32> {
    i32::try_from(length).map_err(|_| too_long())
}

pub(crate) fn length(call: &Call<'_>) -> Result<Value> {
    map1::<Text, i32>(call, |text| count(char_count(text)))
}

pub(crate) fn octet_length(call: &Call<'_>) -> Result<Value> {
    map1::<Text, i32>(call, |text| count(text.len()))
}

pub(crate) fn bit_length(call: &Call<'_>) -> Result<Value> {
    map1::<Text, i32>(call, |text| count(text.len() * 8))
}

pub(crate) fn bytea_length(call: &Call<'_>) -> Result<Value> {
    map1::<Bytes, i32>(call, |bytes| count(bytes.len()))
}

pub(crate) fn bytea_bits(call: &Call<'_>) -> Result<Value> {
    map1::<Bytes, i32>(call, |bytes| count(bytes.len() * 8))
}

/// The character in another case if that is one character, as C's `towupper` and `towlower` have it.
fn single(mut mapped: impl ExactSizeIterator<Item = char>, original: char) -> char {
    if mapped.len() == 1 { mapped.next().unwrap_or(original) } else { original }
}

fn to_lower(c: char) -> char {
    single(c.to_lowercase(), c)
}

fn to_upper(c: char) -> char {
    single(c.to_uppercase(), c)
}

fn push_char(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends a text in lower case.
pub(crate) fn push_lower(text: &str, out: &mut Vec<u8>) {
    if text.is_ascii() {
        out.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    } else {
        text.chars().for_each(|c| push_char(to_lower(c), out));
    }
}

fn push_upper(text: &str, out: &mut Vec<u8>) {
    if text.is_ascii() {
        out.extend(text.bytes().map(|byte| byte.to_ascii_uppercase()));
    } else {
        text.chars().for_each(|c| push_char(to_upper(c), out));
    }
}

pub(crate) fn lower(call: &Call<'_>) -> Result<Value> {
    text1::<Text>(call, |text, out| {
        push_lower(text, out);
        Ok(())
    })
}

pub(crate) fn upper(call: &Call<'_>) -> Result<Value> {
    text1::<Text>(call, |text, out| {
        push_upper(text, out);
        Ok(())
    })
}

pub(crate) fn initcap(call: &Call<'_>) -> Result<Value> {
    text1::<Text>(call, |text, out| {
        let mut inside = false;
        for c in text.chars() {
            push_char(if inside { to_lower(c) } else { to_upper(c) }, out);
            inside = c.is_alphanumeric();
        }
        Ok(())
    })
}

pub(crate) fn concat_texts(call: &Call<'_>) -> Result<Value> {
    text2::<Text, Text>(call, |a, b, out| {
        out.extend_from_slice(a.as_bytes());
        out.extend_from_slice(b.as_bytes());
        Ok(())
    })
}

pub(crate) fn concat_bytes(call: &Call<'_>) -> Result<Value> {
    text2::<Bytes, Bytes>(call, |a, b, out| {
        out.extend_from_slice(a);
        out.extend_from_slice(b);
        Ok(())
    })
}

/// The interval of characters, from 0, that `substring(.. from .. for ..)` means.
fn slice_of(from: i32, length: Option<i32>) -> Result<(usize, usize)> {
    let start = i64::from(from) - 1;
    let end = match length {
        None => i64::MAX,
        Some(..0) => {
            return Err(ValueError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(length) => start + i64::from(length),
    };
    let start = usize::try_from(start.max(0)).expect("not negative");
    Ok((start, usize::try_from(end.max(0)).expect("not negative").max(start)))
}

fn substring(text: &str, from: i32, length: Option<i32>) -> Result<&str> {
    let (start, end) = slice_of(from, length)?;
    let first = char_start(text, start);
    let rest = &text[first..];
    Ok(if end == usize::MAX >> 1 { rest } else { &rest[..char_start(rest, end - start)] })
}

pub(crate) fn substr2(call: &Call<'_>) -> Result<Value> {
    text2::<Text, I32>(call, |text, from, out| {
        out.extend_from_slice(substring(text, from, None)?.as_bytes());
        Ok(())
    })
}

pub(crate) fn substr3(call: &Call<'_>) -> Result<Value> {
    text3::<Text, I32, I32>(call, |text, from, length, out| {
        out.extend_from_slice(substring(text, from, Some(length))?.as_bytes());
        Ok(())
    })
}

fn bytes_slice(bytes: &[u8], from: i32, length: Option<i32>) -> Result<&[u8]> {
    let (start, end) = slice_of(from, length)?;
    Ok(&bytes[start.min(bytes.len())..end.min(bytes.len())])
}

pub(crate) fn bytea_substr2(call: &Call<'_>) -> Result<Value> {
    text2::<Bytes, I32>(call, |bytes, from, out| {
        out.extend_from_slice(bytes_slice(bytes, from, None)?);
        Ok(())
    })
}

pub(crate) fn bytea_substr3(call: &Call<'_>) -> Result<Value> {
    text3::<Bytes, I32, I32>(call, |bytes, from, length, out| {
        out.extend_from_slice(bytes_slice(bytes, from, Some(length))?);
        Ok(())
    })
}

pub(crate) fn overlay3(call: &Call<'_>) -> Result<Value> {
    text3::<Text, Text, I32>(call, |text, by, from, out| overlay(text, by, from, count(char_count(by))?, out))
}

pub(crate) fn overlay4(call: &Call<'_>) -> Result<Value> {
    let (text, by) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    let (from, length) = (Arg::<I32>::of(&call.args[2]), Arg::<I32>::of(&call.args[3]));
    each_text(call, |row, out| {
        overlay(text.get(row), by.get(row), from.get(row), length.get(row), out).map(|()| true)
    })
}

fn overlay(text: &str, by: &str, from: i32, length: i32, out: &mut Vec<u8>) -> Result<()> {
    if from <= 0 {
        return Err(ValueError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let after = from.checked_add(length).ok_or_else(|| super::number::out_of_range("integer"))?;
    out.extend_from_slice(substring(text, 1, Some(from - 1))?.as_bytes());
    out.extend_from_slice(by.as_bytes());
    out.extend_from_slice(substring(text, after, None)?.as_bytes());
    Ok(())
}

pub(crate) fn left(call: &Call<'_>) -> Result<Value> {
    text2::<Text, I32>(call, |text, n, out| {
        let keep = match usize::try_from(n) {
            Ok(n) => n,
            Err(_) => char_count(text).saturating_sub(n.unsigned_abs() as usize),
        };
        out.extend_from_slice(&text.as_bytes()[..char_start(text, keep)]);
        Ok(())
    })
}

pub(crate) fn right(call: &Call<'_>) -> Result<Value> {
    text2::<Text, I32>(call, |text, n, out| {
        let skip = match usize::try_from(n) {
            Ok(n) => char_count(text).saturating_sub(n),
            Err(_) => n.unsigned_abs() as usize,
        };
        out.extend_from_slice(&text.as_bytes()[char_start(text, skip)..]);
        Ok(())
    })
}

pub(crate) fn pad(text: &str, length: i32, fill: &str, at_left: bool, out: &mut Vec<u8>) -> Result<()> {
    let length = usize::try_from(length).unwrap_or(0);
    check_size(length)?;
    let have = char_count(text);
    if have >= length || fill.is_empty() {
        out.extend_from_slice(&text.as_bytes()[..char_start(text, length)]);
        return Ok(());
    }
    if !at_left {
        out.extend_from_slice(text.as_bytes());
    }
    fill.chars().cycle().take(length - have).for_each(|c| push_char(c, out));
    if at_left {
        out.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

pub(crate) fn lpad2(call: &Call<'_>) -> Result<Value> {
    text2::<Text, I32>(call, |text, length, out| pad(text, length, " ", true, out))
}

pub(crate) fn lpad3(call: &Call<'_>) -> Result<Value> {
    text3::<Text, I32, Text>(call, |text, length, fill, out| pad(text, length, fill, true, out))
}

pub(crate) fn rpad2(call: &Call<'_>) -> Result<Value> {
    text2::<Text, I32>(call, |text, length, out| pad(text, length, " ", false, out))
}

pub(crate) fn rpad3(call: &Call<'_>) -> Result<Value> {
    text3::<Text, I32, Text>(call, |text, length, fill, out| pad(text, length, fill, false, out))
}

/// Which ends are trimmed.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    start: bool,
    end: bool,
}

/// Both.
pub(crate) const BOTH: Ends = Ends { start: true, end: true };
/// `ltrim`
pub(crate) const START: Ends = Ends { start: true, end: false };
/// `rtrim`
pub(crate) const END: Ends = Ends { start: false, end: true };

fn trimmed<'a>(text: &'a str, set: &str, ends: Ends) -> &'a str {
    let inside = |c: char| set.contains(c);
    let text = if ends.start { text.trim_start_matches(inside) } else { text };
    if ends.end { text.trim_end_matches(inside) } else { text }
}

pub(crate) fn trim1(call: &Call<'_>, ends: Ends) -> Result<Value> {
    text1::<Text>(call, |text, out| {
        out.extend_from_slice(trimmed(text, " ", ends).as_bytes());
        Ok(())
    })
}

pub(crate) fn trim2(call: &Call<'_>, ends: Ends) -> Result<Value> {
    text2::<Text, Text>(call, |text, set, out| {
        out.extend_from_slice(trimmed(text, set, ends).as_bytes());
        Ok(())
    })
}

pub(crate) fn bytea_trim(call: &Call<'_>) -> Result<Value> {
    text2::<Bytes, Bytes>(call, |bytes, set, out| {
        let start = bytes.iter().position(|byte| !set.contains(byte)).unwrap_or(bytes.len());
        let end = bytes.iter().rposition(|byte| !set.contains(byte)).map_or(start, |last| last + 1);
        out.extend_from_slice(&bytes[start..end]);
        Ok(())
    })
}

pub(crate) fn replace(call: &Call<'_>) -> Result<Value> {
    text3::<Text, Text, Text>(call, |text, from, to, out| {
        if from.is_empty() {
            out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let start = out.len();
        let mut rest = text;
        while let Some(at) = memchr::memmem::find(rest.as_bytes(), from.as_bytes()) {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            out.extend_from_slice(to.as_bytes());
            check_size(out.len() - start)?;
            rest = &rest[at + from.len()..];
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(())
    })
}

pub(crate) fn strpos(call: &Call<'_>) -> Result<Value> {
    map2::<Text, Text, i32>(call, |text, part| match text.find(part) {
        Some(at) => count(char_count(&text[..at]) + 1),
        None => Ok(0),
    })
}

pub(crate) fn bytea_position(call: &Call<'_>) -> Result<Value> {
    map2::<Bytes, Bytes, i32>(call, |bytes, part| match memchr::memmem::find(bytes, part) {
        Some(at) => count(at + 1),
        None => Ok(0),
    })
}

pub(crate) fn repeat(call: &Call<'_>) -> Result<Value> {
    text2::<Text, I32>(call, |text, times, out| {
        let times = usize::try_from(times).unwrap_or(0);
        check_size(text.len().saturating_mul(times))?;
        (0..times).for_each(|_| out.extend_from_slice(text.as_bytes()));
        Ok(())
    })
}

pub(crate) fn reverse(call: &Call<'_>) -> Result<Value> {
    text1::<Text>(call, |text, out| {
        text.chars().rev().for_each(|c| push_char(c, out));
        Ok(())
    })
}

pub(crate) fn split_part(call: &Call<'_>) -> Result<Value> {
    text3::<Text, Text, I32>(call, |text, separator, field, out| {
        let part = match field {
            0 => {
                let message = "field position must not be zero";
                return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            _ if text.is_empty() => None,
            _ if separator.is_empty() => (field == 1 || field == -1).then_some(text),
            1.. => text.split(separator).nth(field as usize - 1),
            _ => text.rsplit(separator).nth(field.unsigned_abs() as usize - 1),
        };
        out.extend_from_slice(part.unwrap_or_default().as_bytes());
        Ok(())
    })
}

pub(crate) fn starts_with(call: &Call<'_>) -> Result<Value> {
    map2::<Text, Text, bool>(call, |text, prefix| Ok(text.starts_with(prefix)))
}

pub(crate) fn ascii(call: &Call<'_>) -> Result<Value> {
    map1::<Text, i32>(call, |text| Ok(text.chars().next().map_or(0, |c| u32::from(c) as i32)))
}

pub(crate) fn chr(call: &Call<'_>) -> Result<Value> {
    text1::<I32>(call, |code, out| {
        let wrong = |state, message: &str| Err(ValueError::new(state, message));
        match code {
            0 => wrong(SqlState::PROGRAM_LIMIT_EXCEEDED, "null character not permitted"),
            ..0 => wrong(SqlState::INVALID_PARAMETER_VALUE, "character number must be positive"),
            _ => match char::from_u32(code as u32) {
                Some(c) => {
                    push_char(c, out);
                    Ok(())
                }
                None if code > 0x10_FFFF => {
                    let message = format!("requested character too large for encoding: {code}");
                    wrong(SqlState::PROGRAM_LIMIT_EXCEEDED, &message)
                }
                None => {
                    let message = format!("requested character not valid for encoding: {code}");
                    wrong(SqlState::PROGRAM_LIMIT_EXCEEDED, &message)
                }
            },
        }
    })
}

pub(crate) fn md5_text(call: &Call<'_>) -> Result<Value> {
    text1::<Text>(call, |text, out| {
        out.extend_from_slice(&md5_hex(text.as_bytes()));
        Ok(())
    })
}

pub(crate) fn md5_bytea(call: &Call<'_>) -> Result<Value> {
    text1::<Bytes>(call, |bytes, out| {
        out.extend_from_slice(&md5_hex(bytes));
        Ok(())
    })
}

pub(crate) fn translate(call: &Call<'_>) -> Result<Value> {
    text3::<Text, Text, Text>(call, |text, from, to, out| {
        for c in text.chars() {
            match from.chars().position(|other| other == c) {
                None => push_char(c, out),
                Some(index) => {
                    if let Some(c) = to.chars().nth(index) {
                        push_char(c, out);
                    }
                }
            }
        }
        Ok(())
    })
}

pub(crate) fn to_hex4(call: &Call<'_>) -> Result<Value> {
    text1::<I32>(call, |value, out| {
        write!(out, "{value:x}").expect("a Vec takes all");
        Ok(())
    })
}

pub(crate) fn to_hex8(call: &Call<'_>) -> Result<Value> {
    text1::<I64>(call, |value, out| {
        write!(out, "{value:x}").expect("a Vec takes all");
        Ok(())
    })
}

/// A random UUID, version 4.
pub(crate) fn gen_random_uuid(call: &Call<'_>) -> Result<Value> {
    let one = || {
        let bits = u128::from(call.context.random_u64()) << 64 | u128::from(call.context.random_u64());
        let mut bytes = bits.to_be_bytes();
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        bytes
    };
    use super::lift::Output as _;
    let values: Vec<[u8; 16]> = (0..call.rows).map(|_| one()).collect();
    Ok(Value::Array(<[u8; 16]>::array(values, None, call.result)))
}

/// `unistr`: resolves `\\`, `\XXXX`, `\+XXXXXX`, `\uXXXX` and `\UXXXXXXXX`.
pub(crate) fn unistr(call: &Call<'_>) -> Result<Value> {
    let invalid = || ValueError::new(SqlState::SYNTAX_ERROR, "invalid Unicode escape");
    text1::<Text>(call, |text, out| {
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('\\') {
                out.push(b'\\');
                rest = after;
                continue;
            }
            let (digits, len) = match rest.as_bytes().first() {
                Some(b'+') => (&rest[1..], 6),
                Some(b'u') => (&rest[1..], 4),
                Some(b'U') => (&rest[1..], 8),
                _ => (rest, 4),
            };
            let code = digits.get(..len).and_then(|digits| u32::from_str_radix(digits, 16).ok());
            let c = code.and_then(char::from_u32).ok_or_else(invalid)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &digits[len..];
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(())
    })
}
