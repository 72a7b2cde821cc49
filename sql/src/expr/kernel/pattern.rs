//! LIKE, ILIKE, SIMILAR TO and regular expressions.
//!
//! Regular expressions run in linear time (`regex-lite`): PostgreSQL's back references and lookarounds are refused.

use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBuffer;
use memchr::memmem::Finder;
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::Datum;
use regex_lite::Regex;

use super::Call;
use super::lift::{Arg, Kind as _, Result, Text, common_nulls, each_row, each_text, text2};
use super::string::push_lower;
use crate::expr::value::Value;

/// A LIKE pattern made ready.
enum Like {
    /// No wildcards.
    Exact(Vec<u8>),
    /// `abc%`
    Prefix(Vec<u8>),
    /// `%abc`
    Suffix(Vec<u8>),
    /// `%abc%`
    Contains(Box<Finder<'static>>),
    /// Anything else.
    General(Vec<Token>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `_`
    One,
    /// `%`
    Any,
    /// An escape character at the end.
    Dangling,
}

impl Like {
    fn new(pattern: &[u8]) -> Like {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut bytes = pattern.iter();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'%' if tokens.last() == Some(&Token::Any) => continue,
                b'%' => Token::Any,
                b'_' => Token::One,
                b'\\' => bytes.next().map_or(Token::Dangling, |byte| Token::Byte(*byte)),
                byte => Token::Byte(*byte),
            });
        }
        let literal = |tokens: &[Token]| {
            let bytes =
                tokens.iter().map(|token| if let Token::Byte(byte) = token { Some(*byte) } else { None });
            bytes.collect::<Option<Vec<u8>>>()
        };
        let special = match tokens.as_slice() {
            [Token::Any, inner @ .., Token::Any] => {
                literal(inner).map(|part| Like::Contains(Box::new(Finder::new(&part).into_owned())))
            }
            [Token::Any, inner @ ..] => literal(inner).map(Like::Suffix),
            [inner @ .., Token::Any] => literal(inner).map(Like::Prefix),
            inner => literal(inner).map(Like::Exact),
        };
        special.unwrap_or(Like::General(tokens))
    }

    fn matches(&self, text: &[u8]) -> Result<bool> {
        Ok(match self {
            Like::Exact(part) => text == part,
            Like::Prefix(part) => text.starts_with(part),
            Like::Suffix(part) => text.ends_with(part),
            Like::Contains(finder) => finder.find(text).is_some(),
            Like::General(tokens) => return general(tokens, text),
        })
    }
}

/// Goes on from the last `%` when it gets stuck: what an earlier `%` took need never change.
fn general(tokens: &[Token], text: &[u8]) -> Result<bool> {
    let character = |at: usize| match text[at] {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    };
    let (mut token, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::Any) => {
                token += 1;
                retry = Some((token, at));
                continue;
            }
            Some(Token::Byte(byte)) if text.get(at) == Some(byte) => {
                (token, at) = (token + 1, at + 1);
                continue;
            }
            Some(Token::One) if at < text.len() => {
                (token, at) = (token + 1, at + character(at));
                continue;
            }
            Some(Token::Dangling) if at < text.len() => {
                let message = "LIKE pattern must not end with escape character";
                return Err(ValueError::new(SqlState::INVALID_ESCAPE_SEQUENCE, message));
            }
            None if at == text.len() => return Ok(true),
            _ => {}
        }
        match retry {
            Some((after, start)) if start < text.len() => {
                let next = start + character(start);
                retry = Some((after, next));
                (token, at) = (after, next);
            }
            _ => return Ok(false),
        }
    }
}

/// How texts are compared with a LIKE pattern.
#[derive(Clone, Copy)]
pub(crate) struct LikeMode {
    /// ILIKE
    pub ignore_case: bool,
    /// NOT LIKE
    pub negated: bool,
}

/// `~~` and its relatives.
pub(crate) fn like(call: &Call<'_>, mode: LikeMode) -> Result<Value> {
    let (mut folded, mut pattern_bytes) = (Vec::new(), Vec::new());
    let mut prepare = |pattern: &str| {
        if !mode.ignore_case {
            return Like::new(pattern.as_bytes());
        }
        pattern_bytes.clear();
        push_lower(pattern, &mut pattern_bytes);
        Like::new(&pattern_bytes)
    };
    let mut test = |like: &Like, text: &str| {
        if !mode.ignore_case {
            return Ok(like.matches(text.as_bytes())? != mode.negated);
        }
        folded.clear();
        push_lower(text, &mut folded);
        Ok(like.matches(&folded)? != mode.negated)
    };
    let (text, pattern) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    match (text, pattern) {
        (Arg::Column(texts), Arg::Constant(pattern)) => {
            let like = prepare(pattern);
            if matches!(like, Like::General(_)) {
                return each_row(call, |row| test(&like, Text::get(texts, row)));
            }
            // The other kinds never fail, not even under NULLs.
            let bits =
                BooleanBuffer::collect_bool(call.rows, |row| test(&like, Text::get(texts, row)) == Ok(true));
            Ok(Value::Array(Arc::new(BooleanArray::new(bits, common_nulls(call.args)))))
        }
        (text, pattern) => each_row(call, |row| test(&prepare(pattern.get(row)), text.get(row))),
    }
}

/// `like_escape(pattern, escape)`: the pattern with a backslash as its escape character.
pub(crate) fn like_escape(call: &Call<'_>) -> Result<Value> {
    text2::<Text, Text>(call, |pattern, escape, out| {
        let escape = escape_character(escape)?;
        let mut quoted = false;
        for c in pattern.chars() {
            if Some(c) == escape && !quoted {
                quoted = true;
                continue;
            }
            if quoted || c == '\\' {
                out.push(b'\\');
            }
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            quoted = false;
        }
        if quoted {
            out.push(b'\\');
        }
        Ok(())
    })
}

fn escape_character(escape: &str) -> Result<Option<char>> {
    let mut chars = escape.chars();
    let first = chars.next();
    if chars.next().is_some() {
        let message = "invalid escape string";
        let detail = "Escape string must be empty or one character.";
        return Err(ValueError::new(SqlState::INVALID_ESCAPE_SEQUENCE, message).with_detail(detail));
    }
    Ok(first)
}

/// `similar_to_escape(pattern, escape)`: the SQL regular expression as an ordinary one.
pub(crate) fn similar_escape(call: &Call<'_>) -> Result<Value> {
    let escapes = call.args.get(1).map(Arg::<Text>::of);
    let patterns = Arg::<Text>::of(&call.args[0]);
    each_text(call, |row, out| {
        let escape = escapes.as_ref().map_or("\\", |escapes| escapes.get(row));
        let escape = escape_character(escape)?;
        out.extend_from_slice(b"^(?:");
        let (mut quoted, mut in_class) = (false, false);
        for c in patterns.get(row).chars() {
            if Some(c) == escape && !quoted {
                quoted = true;
                continue;
            }
            let text: &[u8] = match c {
                _ if quoted && c.is_ascii_punctuation() => b"\\",
                '%' if !in_class && !quoted => b".*",
                '_' if !in_class && !quoted => b".",
                '(' if !in_class && !quoted => b"(?:",
                '\\' => b"\\",
                '.' | '^' | '$' if !in_class => b"\\",
                _ => b"",
            };
            out.extend_from_slice(text);
            let replaced = !quoted && !in_class && matches!(c, '%' | '_' | '(');
            if !replaced {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            in_class = !quoted && (c == '[' || (in_class && c != ']'));
            quoted = false;
        }
        out.extend_from_slice(b")$");
        Ok(true)
    })
}

/// The regular expression in the syntax of `regex-lite`.
fn translated(pattern: &str, ignore_case: bool) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    // In PostgreSQL a point matches a line break, too.
    out.push_str(if ignore_case { "(?si)" } else { "(?s)" });
    let pattern = pattern.strip_prefix("***:").unwrap_or(pattern);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('y') => out.push_str("\\b"),
            Some('Y') => out.push_str("\\B"),
            Some('m') => out.push_str("\\b{start}"),
            Some('M') => out.push_str("\\b{end}"),
            Some('A') => out.push('^'),
            Some('Z') => out.push('$'),
            Some(c) => {
                out.push('\\');
                out.push(c);
            }
            None => out.push('\\'),
        }
    }
    out
}

/// PostgreSQL's words for the commonest mistakes.
fn worded(mistake: &str) -> &str {
    const WORDS: [(&str, &str); 5] = [
        ("open group", "parentheses () not balanced"),
        ("closing ')'", "parentheses () not balanced"),
        ("unopened group", "parentheses () not balanced"),
        ("class", "brackets [] not balanced"),
        ("repetition", "quantifier operand invalid"),
    ];
    WORDS.iter().find(|(part, _)| mistake.contains(part)).map_or(mistake, |(_, words)| words)
}

/// The regular expression, from the few that this thread used last.
pub(crate) fn regex(pattern: &str, ignore_case: bool) -> Result<Regex> {
    const CACHED_MAX: usize = 32;
    thread_local! {
        static CACHE: RefCell<Vec<(String, bool, Regex)>> = const { RefCell::new(Vec::new()) };
    }
    CACHE.with_borrow_mut(|cache| {
        if let Some((.., regex)) =
            cache.iter().find(|(text, fold, _)| text == pattern && *fold == ignore_case)
        {
            return Ok(regex.clone());
        }
        let regex = Regex::new(&translated(pattern, ignore_case)).map_err(|e| {
            let message = format!("invalid regular expression: {}", worded(&e.to_string()));
            ValueError::new(SqlState::INVALID_REGULAR_EXPRESSION, message)
        })?;
        if cache.len() == CACHED_MAX {
            cache.remove(0);
        }
        cache.push((pattern.to_owned(), ignore_case, regex.clone()));
        Ok(regex)
    })
}

/// `~` and its relatives.
pub(crate) fn regex_match(call: &Call<'_>, mode: LikeMode) -> Result<Value> {
    let (text, pattern) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    if let Arg::Constant(pattern) = pattern {
        let regex = regex(pattern, mode.ignore_case)?;
        return each_row(call, |row| Ok(regex.is_match(text.get(row)) != mode.negated));
    }
    each_row(call, |row| {
        Ok(regex(pattern.get(row), mode.ignore_case)?.is_match(text.get(row)) != mode.negated)
    })
}

/// `regexp_like(text, pattern [, flags])`
pub(crate) fn regexp_like(call: &Call<'_>) -> Result<Value> {
    let (text, pattern) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    let flags = call.args.get(2).map(Arg::<Text>::of);
    each_row(call, |row| {
        let flags = Flags::parse(flags.as_ref().map_or("", |flags| flags.get(row)))?;
        Ok(regex(pattern.get(row), flags.ignore_case)?.is_match(text.get(row)))
    })
}

/// `substring(text from pattern)`: the first group that matched, or the whole match.
pub(crate) fn substring_regex(call: &Call<'_>) -> Result<Value> {
    let (text, pattern) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    each_text(call, |row, out| {
        let regex = regex(pattern.get(row), false)?;
        let Some(captures) = regex.captures(text.get(row)) else { return Ok(false) };
        let group = if captures.len() > 1 { captures.get(1) } else { captures.get(0) };
        out.extend_from_slice(group.map_or("", |group| group.as_str()).as_bytes());
        Ok(group.is_some())
    })
}

struct Flags {
    ignore_case: bool,
    global: bool,
}

impl Flags {
    fn parse(text: &str) -> Result<Flags> {
        let mut flags = Flags { ignore_case: false, global: false };
        for c in text.chars() {
            match c {
                'i' => flags.ignore_case = true,
                'c' => flags.ignore_case = false,
                'g' => flags.global = true,
                's' => {}
                _ => {
                    let message = format!("invalid regular expression option: \"{c}\"");
                    return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
                }
            }
        }
        Ok(flags)
    }
}

/// The first match at or after a place.
fn found_at<'t>(
    regex: &Regex,
    text: &'t str,
    start: usize,
) -> Option<(regex_lite::Captures<'t>, regex_lite::Match<'t>)> {
    let captures = regex.captures_at(text, start)?;
    let all = captures.get(0)?;
    Some((captures, all))
}

/// Appends what a match is replaced by: `\\1` to `\\9` are groups, `\\&` is all of it.
pub(crate) fn push_replacement(replacement: &str, captures: &regex_lite::Captures<'_>, out: &mut Vec<u8>) {
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        let reference = if c == '\\' { chars.next() } else { None };
        let group = match reference {
            Some('&') => Some(0),
            Some(digit @ '1'..='9') => digit.to_digit(10),
            _ => None,
        };
        match (group, reference) {
            (Some(group), _) => {
                let part = captures.get(group as usize).map_or("", |part| part.as_str());
                out.extend_from_slice(part.as_bytes());
            }
            (None, Some('\\')) => out.push(b'\\'),
            (None, Some(other)) => {
                out.push(b'\\');
                out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
            }
            (None, None) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// `regexp_replace(text, pattern, replacement [, flags])`
pub(crate) fn regexp_replace(call: &Call<'_>) -> Result<Value> {
    let (text, pattern) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    let replacement = Arg::<Text>::of(&call.args[2]);
    let flags = call.args.get(3).map(Arg::<Text>::of);
    each_text(call, |row, out| {
        let flags = Flags::parse(flags.as_ref().map_or("", |flags| flags.get(row)))?;
        let regex = regex(pattern.get(row), flags.ignore_case)?;
        let (text, replacement) = (text.get(row), replacement.get(row));
        let (mut copied, mut search) = (0, 0);
        while let Some((captures, all)) = found_at(&regex, text, search) {
            out.extend_from_slice(&text.as_bytes()[copied..all.start()]);
            push_replacement(replacement, &captures, out);
            copied = all.end();
            // After an empty match the search goes on one character later.
            let step =
                if all.is_empty() { text[all.end()..].chars().next().map_or(1, char::len_utf8) } else { 0 };
            search = all.end() + step;
            if !flags.global || search > text.len() {
                break;
            }
        }
        out.extend_from_slice(&text.as_bytes()[copied..]);
        Ok(true)
    })
}

/// What a LIKE pattern without wildcards in front demands: every match starts with this.
pub fn like_prefix(pattern: &Datum) -> Option<String> {
    let Datum::Text(pattern) = pattern else { return None };
    let mut prefix = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' | '_' => break,
            '\\' => prefix.push(chars.next()?),
            c => prefix.push(c),
        }
    }
    (!prefix.is_empty()).then_some(prefix)
}
