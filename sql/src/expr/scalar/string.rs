//! String functions (PG 15, chapter 9.4). Positions and lengths are in characters. Functions that make text append to
//! `out`, so that a column is made in one buffer.

use omen_core::SqlState;
use omen_core::error::ValueError;

/// Longest text that a function makes, as PostgreSQL limits it to 1 GB.
const TEXT_BYTES_MAX: usize = 1 << 30;

type Result<T> = std::result::Result<T, ValueError>;

fn too_long() -> ValueError {
    ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

/// `char_length`
pub fn char_length(text: &str) -> i32 {
    count(text.chars().count())
}

/// A length as `integer`; texts are shorter than 2 GiB.
fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// The part from character `from` to before `to`, counted from 0 and cut to the text.
fn slice(text: &str, from: usize, to: usize) -> &str {
    if text.is_ascii() {
        let end = to.min(text.len());
        return text.get(from.min(end)..end).unwrap_or("");
    }
    let byte_at = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte);
    &text[byte_at(from)..byte_at(to.max(from))]
}

/// `substring(text, start [, length])`, start counted from 1.
///
/// # Errors
/// 22011 if the length is negative.
pub fn substring(text: &str, start: i32, length: Option<i32>) -> Result<&str> {
    let begin = i64::from(start) - 1;
    let end = match length {
        Some(length) if length < 0 => {
            return Err(ValueError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(length) => (begin + i64::from(length)).max(0),
        None => i64::MAX,
    };
    let position = |index: i64| usize::try_from(index.max(0)).unwrap_or(usize::MAX);
    Ok(slice(text, position(begin), position(end)))
}

/// `left(text, n)`: all but the last `-n` characters if negative.
pub fn left(text: &str, n: i32) -> &str {
    slice(text, 0, from_either_end(text, n))
}

/// `right(text, n)`: all but the first `-n` characters if negative.
pub fn right(text: &str, n: i32) -> &str {
    let length = text.chars().count();
    let kept = from_either_end(text, n);
    slice(text, length - kept.min(length), length)
}

fn from_either_end(text: &str, n: i32) -> usize {
    match usize::try_from(n) {
        Ok(n) => n,
        Err(_) => text.chars().count().saturating_sub(n.unsigned_abs() as usize),
    }
}

/// `lpad` (`at_left`) and `rpad`: exactly `length` characters, filled from `fill` or cut at the right.
///
/// # Errors
/// 54000 if the result would be too long.
pub fn pad(text: &str, length: i32, fill: &str, at_left: bool, out: &mut String) -> Result<()> {
    let length = usize::try_from(length).unwrap_or(0);
    if length > TEXT_BYTES_MAX / 4 {
        return Err(too_long());
    }
    let kept = slice(text, 0, length);
    let missing = length - kept.chars().count();
    let filling = fill.chars().cycle().take(if fill.is_empty() { 0 } else { missing });
    if at_left {
        out.extend(filling);
        out.push_str(kept);
    } else {
        out.push_str(kept);
        out.extend(filling);
    }
    Ok(())
}

/// `ltrim`, `rtrim`, `btrim`: without the characters of `set` at the chosen ends.
pub fn trim<'a>(text: &'a str, set: &str, left: bool, right: bool) -> &'a str {
    let in_set = |c: char| set.contains(c);
    let text = if left { text.trim_start_matches(in_set) } else { text };
    if right { text.trim_end_matches(in_set) } else { text }
}

/// `replace(text, from, to)`
pub fn replace(text: &str, from: &str, to: &str, out: &mut String) {
    if from.is_empty() {
        return out.push_str(text);
    }
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(from) {
        out.push_str(before);
        out.push_str(to);
        rest = after;
    }
    out.push_str(rest);
}

/// `strpos(text, part)`: the first position from 1, 0 if it is not there.
pub fn position(text: &str, part: &str) -> i32 {
    text.find(part).map_or(0, |byte| char_length(&text[..byte]) + 1)
}

/// `repeat(text, n)`
///
/// # Errors
/// 54000 if the result would be too long.
pub fn repeat(text: &str, n: i32, out: &mut String) -> Result<()> {
    let n = usize::try_from(n).unwrap_or(0);
    if text.len().checked_mul(n).is_none_or(|bytes| bytes > TEXT_BYTES_MAX) {
        return Err(too_long());
    }
    (0..n).for_each(|_| out.push_str(text));
    Ok(())
}

/// `reverse(text)`
pub fn reverse(text: &str, out: &mut String) {
    out.extend(text.chars().rev());
}

/// `initcap(text)`: the first letter of each word large, the others small.
pub fn initcap(text: &str, out: &mut String) {
    let mut in_word = false;
    for c in text.chars() {
        match in_word {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        in_word = c.is_alphanumeric();
    }
}

/// `upper(text)`: letter by letter, so the number of characters stays, as with libc.
pub fn upper(text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| single(c, c.to_uppercase())));
}

/// `lower(text)`, likewise.
pub fn lower(text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| single(c, c.to_lowercase())));
}

fn single(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

/// `split_part(text, delimiter, n)`; from the end if `n` is negative.
///
/// # Errors
/// 22023 if `n` is 0.
pub fn split_part<'a>(text: &'a str, delimiter: &str, n: i32) -> Result<&'a str> {
    if n == 0 {
        return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    if delimiter.is_empty() {
        return Ok(if n == 1 || n == -1 { text } else { "" });
    }
    let index = n.unsigned_abs() as usize - 1;
    let part = if n > 0 { text.split(delimiter).nth(index) } else { text.rsplit(delimiter).nth(index) };
    Ok(part.unwrap_or(""))
}

/// `ascii(text)`: code point of the first character, 0 if there is none.
pub fn ascii(text: &str) -> i32 {
    text.chars().next().map_or(0, |c| count(c as usize))
}

/// `chr(code)`
///
/// # Errors
/// 54000 for 0 and what is no character.
pub fn chr(code: i32) -> Result<char> {
    let limit = |message: &str| ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message);
    match code {
        0 => Err(limit("null character not permitted")),
        code if code < 0 => Err(limit("character number must be positive")),
        code => char::from_u32(code.unsigned_abs())
            .ok_or_else(|| limit(&format!("requested character too large for encoding: {code}"))),
    }
}

/// `translate(text, from, to)`: each character of `from` becomes the one at its place in `to`, or goes.
pub fn translate(text: &str, from: &str, to: &str, out: &mut String) {
    for c in text.chars() {
        match from.chars().position(|other| other == c) {
            None => out.push(c),
            Some(index) => out.extend(to.chars().nth(index)),
        }
    }
}

/// `overlay(text placing part from start [for length])`
///
/// # Errors
/// 22011 if the start is not positive.
pub fn overlay(text: &str, part: &str, start: i32, length: Option<i32>, out: &mut String) -> Result<()> {
    if start <= 0 {
        return Err(ValueError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let length = length.unwrap_or_else(|| char_length(part));
    let before = i64::from(start) - 1;
    let after = usize::try_from((before + i64::from(length)).max(0)).unwrap_or(usize::MAX);
    out.push_str(slice(text, 0, usize::try_from(before).unwrap_or(0)));
    out.push_str(part);
    out.push_str(slice(text, after, usize::MAX));
    Ok(())
}

/// `to_hex`: two's complement for negative numbers, which the caller passes as the bits of their type.
pub fn to_hex(bits: u64, out: &mut String) {
    use std::fmt::Write;
    write!(out, "{bits:x}").expect("a string takes what is written");
}

/// `quote_ident`
pub fn quote_ident(name: &str, out: &mut String) {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if starts && name.chars().all(plain) && !is_keyword(name) {
        return out.push_str(name);
    }
    out.push('"');
    replace(name, "\"", "\"\"", out);
    out.push('"');
}

/// Whether PostgreSQL quotes the word as an identifier: every keyword that is not unreserved (PG 15, appendix C).
fn is_keyword(word: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "authorization",
        "between",
        "bigint",
        "binary",
        "bit",
        "boolean",
        "both",
        "case",
        "cast",
        "char",
        "character",
        "check",
        "coalesce",
        "collate",
        "collation",
        "column",
        "concurrently",
        "constraint",
        "create",
        "cross",
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "dec",
        "decimal",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "exists",
        "extract",
        "false",
        "fetch",
        "float",
        "for",
        "foreign",
        "freeze",
        "from",
        "full",
        "grant",
        "greatest",
        "group",
        "grouping",
        "having",
        "ilike",
        "in",
        "initially",
        "inner",
        "inout",
        "int",
        "integer",
        "intersect",
        "interval",
        "into",
        "is",
        "isnull",
        "join",
        "lateral",
        "leading",
        "least",
        "left",
        "like",
        "limit",
        "localtime",
        "localtimestamp",
        "national",
        "natural",
        "nchar",
        "none",
        "normalize",
        "not",
        "notnull",
        "null",
        "nullif",
        "numeric",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "out",
        "outer",
        "overlaps",
        "overlay",
        "placing",
        "position",
        "precision",
        "primary",
        "real",
        "references",
        "returning",
        "right",
        "row",
        "select",
        "session_user",
        "setof",
        "similar",
        "smallint",
        "some",
        "substring",
        "symmetric",
        "table",
        "tablesample",
        "then",
        "time",
        "timestamp",
        "to",
        "trailing",
        "treat",
        "trim",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "values",
        "varchar",
        "variadic",
        "verbose",
        "when",
        "where",
        "window",
        "with",
        "xmlattributes",
        "xmlconcat",
        "xmlelement",
        "xmlexists",
        "xmlforest",
        "xmlnamespaces",
        "xmlparse",
        "xmlpi",
        "xmlroot",
        "xmlserialize",
        "xmltable",
    ];
    KEYWORDS.binary_search(&word).is_ok()
}

/// `quote_literal`
pub fn quote_literal(text: &str, out: &mut String) {
    if text.contains('\\') {
        out.push('E');
    }
    out.push('\'');
    for c in text.chars() {
        if c == '\'' || c == '\\' {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
}

/// `format(pattern, args)`: `%s`, `%I`, `%L`, `%%`, with `n$` positions and `-`, width or `*` width. NULL is `None`.
///
/// # Errors
/// 22023 for a pattern that asks for more arguments than there are or is malformed.
pub fn format(pattern: &str, args: &[Option<&str>], out: &mut String) -> Result<()> {
    let invalid = |message: &str| ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut chars = pattern.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut number = digits(&mut chars);
        let mut explicit = None;
        if number.is_some() && chars.next_if_eq(&'$').is_some() {
            if number == Some(0) {
                return Err(invalid("format specifies argument 0, but arguments are numbered from 1"));
            }
            explicit = number.take();
        }
        let mut to_left = false;
        while number.is_none() && chars.next_if_eq(&'-').is_some() {
            to_left = true;
        }
        let mut width = number.or_else(|| digits(&mut chars)).map_or(0, i64::from);
        if chars.next_if_eq(&'*').is_some() {
            let given =
                argument(args, digits(&mut chars).filter(|_| chars.next_if_eq(&'$').is_some()), &mut next)?;
            width = given.map_or(Ok(0), str::parse).map_err(|_| invalid("invalid width in format()"))?;
        }
        let kind = chars.next().ok_or_else(|| invalid("unterminated format() type specifier"))?;
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(invalid(&format!("unrecognized format() type specifier \"{kind}\"")));
        }
        let value = argument(args, explicit, &mut next)?;
        let mut text = String::new();
        match (kind, value) {
            ('s', value) => text.push_str(value.unwrap_or("")),
            ('I', Some(value)) => quote_ident(value, &mut text),
            ('I', None) => return Err(invalid("null values cannot be formatted as an SQL identifier")),
            (_, Some(value)) => quote_literal(value, &mut text),
            (_, None) => text.push_str("NULL"),
        }
        let missing = usize::try_from(width.abs()).unwrap_or(0).saturating_sub(text.chars().count());
        if missing > TEXT_BYTES_MAX {
            return Err(too_long());
        }
        let blanks = std::iter::repeat_n(' ', missing);
        if to_left || width < 0 {
            out.push_str(&text);
            out.extend(blanks);
        } else {
            out.extend(blanks);
            out.push_str(&text);
        }
    }
    Ok(())
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<u32> {
    let mut number: Option<u32> = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
    }
    number
}

fn argument<'a>(
    args: &[Option<&'a str>],
    explicit: Option<u32>,
    next: &mut usize,
) -> Result<Option<&'a str>> {
    let index = explicit.map_or(*next, |number| number as usize - 1);
    *next = index + 1;
    let missing = || ValueError::new(SqlState::INVALID_PARAMETER_VALUE, "too few arguments for format()");
    args.get(index).copied().ok_or_else(missing)
}

/// `md5(text)`: RFC 1321, as 32 hexadecimal digits.
pub fn md5(bytes: &[u8], out: &mut String) {
    for byte in md5_digest(bytes) {
        to_hex_byte(byte, out);
    }
}

fn to_hex_byte(byte: u8, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}

fn md5_digest(bytes: &[u8]) -> [u8; 16] {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let bits = (bytes.len() as u64).wrapping_mul(8);
    let blocks = bytes.chunks_exact(64);
    let mut tail = blocks.remainder().to_vec();
    blocks.for_each(|block| md5_block(block, &mut state));
    tail.push(0x80);
    while tail.len() % 64 != 56 {
        tail.push(0);
    }
    tail.extend_from_slice(&bits.to_le_bytes());
    tail.chunks_exact(64).for_each(|block| md5_block(block, &mut state));
    let mut digest = [0; 16];
    for (out, word) in digest.chunks_exact_mut(4).zip(state) {
        out.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

fn md5_block(block: &[u8], state: &mut [u32; 4]) {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let word = |index: usize| {
        let bytes = &block[index * 4..index * 4 + 4];
        u32::from_le_bytes(bytes.try_into().expect("four bytes"))
    };
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..64_usize {
        let (mixed, index) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
            2 => (b ^ c ^ d, (3 * step + 5) % 16),
            _ => (c ^ (b | !d), (7 * step) % 16),
        };
        // RFC 1321: the constants are the integer parts of 2^32 times |sin(step + 1)|.
        let constant = ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
        let sum = a.wrapping_add(mixed).wrapping_add(constant).wrapping_add(word(index));
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(SHIFTS[step / 16][step % 4]));
    }
    for (total, add) in state.iter_mut().zip([a, b, c, d]) {
        *total = total.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(make: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        make(&mut out);
        out
    }

    #[test]
    fn parts_of_text() {
        assert_eq!(substring("häuser", 2, Some(3)), Ok("äus"));
        assert_eq!(substring("abc", 0, Some(2)), Ok("a"));
        assert_eq!(substring("abc", -5, Some(7)), Ok("a"));
        assert_eq!(substring("abc", 2, None), Ok("bc"));
        assert_eq!(substring("abc", 9, Some(1)), Ok(""));
        assert!(substring("abc", 1, Some(-1)).is_err());
        assert_eq!((left("äbc", 2), left("äbc", -1), left("abc", -9)), ("äb", "äb", ""));
        assert_eq!((right("äbc", 2), right("äbc", -1), right("abc", 9)), ("bc", "bc", "abc"));
        assert_eq!(split_part("a,b,c", ",", 2), Ok("b"));
        assert_eq!(split_part("a,b,c", ",", -1), Ok("c"));
        assert_eq!(split_part("a,b,c", ",", 4), Ok(""));
        assert_eq!(trim("xxaxx", "x", true, false), "axx");
        assert_eq!((position("häuser", "us"), position("a", "b"), position("a", "")), (3, 0, 1));
    }

    #[test]
    fn made_text() {
        assert_eq!(made(|out| pad("hi", 5, "xy", true, out).expect("short")), "xyxhi");
        assert_eq!(made(|out| pad("hello", 2, "xy", false, out).expect("short")), "he");
        assert_eq!(made(|out| initcap("hi THOMAS-o2x", out)), "Hi Thomas-O2x");
        assert_eq!(made(|out| translate("12345", "143", "ax", out)), "a2x5");
        assert_eq!(made(|out| overlay("Txxxxas", "hom", 2, Some(4), out).expect("positive")), "Thomas");
        assert_eq!(made(|out| upper("straße", out)), "STRAßE");
        assert_eq!(made(|out| quote_literal("a'b\\c", out)), "E'a''b\\\\c'");
        assert_eq!(made(|out| quote_ident("Foo bar", out)), "\"Foo bar\"");
        assert_eq!(made(|out| quote_ident("select", out)), "\"select\"");
        assert_eq!(made(|out| md5(b"", out)), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(made(|out| md5(&[b'a'; 80], out)), "b15af9cdabbaea0516866a33d8fd0f98");
        assert_eq!(made(|out| replace("aXbX", "X", "--", out)), "a--b--");
    }

    #[test]
    fn formats() {
        let format = |pattern: &str, args: &[Option<&str>]| {
            let mut out = String::new();
            super::format(pattern, args, &mut out).map(|()| out)
        };
        assert_eq!(format("Hi %s, %1$s %%", &[Some("you")]).as_deref(), Ok("Hi you, you %"));
        assert_eq!(format("%I=%L", &[Some("A"), None]).as_deref(), Ok("\"A\"=NULL"));
        assert_eq!(format("|%10s|%-5s|", &[Some("a"), Some("b")]).as_deref(), Ok("|         a|b    |"));
        assert!(format("%s %s", &[Some("a")]).is_err());
        assert!(format("%x", &[Some("a")]).is_err());
    }
}
