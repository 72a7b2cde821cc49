//! LIKE, ILIKE, SIMILAR TO and regular expressions.
//!
//! What regular expressions mean is in [`super::are`].

use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, StringArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use memchr::memmem::Finder;
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::Datum;

use super::Call;
use super::are::{Captures, Options, Regex, Search};
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
    /// `ab%cd%ef`: without `_`.
    Parts(Parts),
    /// Anything else.
    General(Vec<Token>),
}

/// What stands between the `%` of a pattern. Its bytes may be searched for as such, because no character of UTF-8 begins
/// inside another.
struct Parts {
    /// Before the first.
    prefix: Vec<u8>,
    /// Between the first and the last, none of them empty.
    inner: Vec<Finder<'static>>,
    /// Behind the last.
    suffix: Vec<u8>,
}

impl Parts {
    /// Those of these tokens, of which at least one is a `%`; none if there are others than bytes.
    fn of(tokens: &[Token]) -> Option<Parts> {
        let mut parts = vec![Vec::new()];
        for token in tokens {
            match (token, parts.last_mut()) {
                (Token::Byte(byte), Some(last)) => last.push(*byte),
                (Token::Any, _) => parts.push(Vec::new()),
                _ => return None,
            }
        }
        let suffix = parts.pop().filter(|_| !parts.is_empty())?;
        let prefix = parts.remove(0);
        let inner = parts.iter().map(|part| Finder::new(part).into_owned()).collect();
        Some(Parts { prefix, inner, suffix })
    }

    /// The first place of each part behind the one before leaves most room for the others.
    fn matches(&self, text: &[u8]) -> bool {
        let Parts { prefix, inner, suffix } = self;
        let rest = text.strip_prefix(prefix.as_slice()).and_then(|rest| rest.strip_suffix(suffix.as_slice()));
        let Some(mut rest) = rest else { return false };
        inner.iter().all(|part| match part.find(rest) {
            Some(at) => {
                rest = &rest[at + part.needle().len()..];
                true
            }
            None => false,
        })
    }

    /// The rows of a column that match, if what they have to hold can be searched for in all of them at once.
    fn rows_of(&self, texts: &StringArray) -> Option<BooleanBuffer> {
        let first = self.inner.first()?;
        let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
        let end_of = |row: usize| offsets[row + 1] as usize;
        let mut found = BooleanBufferBuilder::new(texts.len());
        found.append_n(texts.len(), false);
        let (mut row, mut at) = (0, offsets[0] as usize);
        while let Some(place) = first.find(bytes.get(at..end_of(texts.len().checked_sub(1)?))?) {
            at += place;
            row += offsets[row + 1..].partition_point(|end| *end as usize <= at);
            // What goes on in the next row is no match, nor is any other in this one before it.
            found.set_bit(row, self.matches(&bytes[offsets[row] as usize..end_of(row)]));
            at = end_of(row);
        }
        Some(found.finish())
    }
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
            [Token::Any, inner @ ..] if !inner.contains(&Token::Any) => literal(inner).map(Like::Suffix),
            [inner @ .., Token::Any] if !inner.contains(&Token::Any) => literal(inner).map(Like::Prefix),
            inner if !inner.contains(&Token::Any) => literal(inner).map(Like::Exact),
            inner => Parts::of(inner).map(Like::Parts),
        };
        special.unwrap_or(Like::General(tokens))
    }

    fn matches(&self, text: &[u8]) -> Result<bool> {
        Ok(match self {
            Like::Exact(part) => text == part,
            Like::Prefix(part) => text.starts_with(part),
            Like::Suffix(part) => text.ends_with(part),
            Like::Parts(parts) => parts.matches(text),
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
            let of_parts = match &like {
                Like::Parts(parts) if !mode.ignore_case => parts.rows_of(texts),
                _ => None,
            };
            let bits = match of_parts {
                Some(found) if mode.negated => !&found,
                Some(found) => found,
                None => BooleanBuffer::collect_bool(call.rows, |row| {
                    test(&like, Text::get(texts, row)) == Ok(true)
                }),
            };
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

/// The regular expression, from the few that this thread used last.
pub(crate) fn regex(pattern: &str, options: Options) -> Result<Regex> {
    const CACHED_MAX: usize = 32;
    thread_local! {
        static CACHE: RefCell<Vec<(String, Options, Regex)>> = const { RefCell::new(Vec::new()) };
    }
    CACHE.with_borrow_mut(|cache| {
        if let Some((.., regex)) = cache.iter().find(|(text, read, _)| text == pattern && *read == options) {
            return Ok(regex.clone());
        }
        let regex = Regex::new(pattern, options)?;
        if cache.len() == CACHED_MAX {
            cache.remove(0);
        }
        cache.push((pattern.to_owned(), options, regex.clone()));
        Ok(regex)
    })
}

/// `~` and its relatives.
pub(crate) fn regex_match(call: &Call<'_>, mode: LikeMode) -> Result<Value> {
    let (text, pattern) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    if let Arg::Constant(pattern) = pattern {
        let regex = regex(pattern, Options::of_case(mode.ignore_case))?;
        return each_row(call, |row| Ok(regex.is_match(text.get(row))? != mode.negated));
    }
    each_row(call, |row| {
        let regex = regex(pattern.get(row), Options::of_case(mode.ignore_case))?;
        Ok(regex.is_match(text.get(row))? != mode.negated)
    })
}

/// `regexp_like(text, pattern [, flags])`
pub(crate) fn regexp_like(call: &Call<'_>) -> Result<Value> {
    let (text, pattern) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    let flags = call.args.get(2).map(Arg::<Text>::of);
    each_row(call, |row| {
        let options = Options::parse(flags.as_ref().map_or("", |flags| flags.get(row)))?;
        regex(pattern.get(row), options.without_global("regexp_like")?)?.is_match(text.get(row))
    })
}

/// `substring(text from pattern)`: the first group that matched, or the whole match.
pub(crate) fn substring_regex(call: &Call<'_>) -> Result<Value> {
    let (text, pattern) = (Arg::<Text>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    each_text(call, |row, out| {
        let (regex, text) = (regex(pattern.get(row), Options::default())?, text.get(row));
        let Some(captures) = regex.captures(text)? else { return Ok(false) };
        let group = if captures.len() > 1 { captures[1] } else { captures[0] };
        out.extend_from_slice(group.map_or("", |(from, to)| &text[from..to]).as_bytes());
        Ok(group.is_some())
    })
}

/// Appends what a match is replaced by: `\\1` to `\\9` are groups, `\\&` is all of it.
pub(crate) fn push_replacement(replacement: &str, text: &str, captures: &Captures, out: &mut Vec<u8>) {
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
                let part = captures.get(group as usize).copied().flatten();
                let part = part.map_or("", |(from, to)| &text[from..to]);
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
        let options = Options::parse(flags.as_ref().map_or("", |flags| flags.get(row)))?;
        let regex = regex(pattern.get(row), options)?;
        let (text, replacement) = (text.get(row), replacement.get(row));
        let mut found = Search::new(&regex, text)?;
        let (mut copied, mut search) = (0, 0);
        let told = replacement.contains('\\');
        while let Some(captures) = found.captures_at(search, told)? {
            let (start, end) = captures[0].unwrap_or((search, search));
            out.extend_from_slice(&text.as_bytes()[copied..start]);
            push_replacement(replacement, text, &captures, out);
            copied = end;
            // After an empty match the search goes on one character later.
            search =
                end + if start == end { text[end..].chars().next().map_or(1, char::len_utf8) } else { 0 };
            if !options.global || search > text.len() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// All words of up to so many letters.
    fn words(letters: &[&str], most: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..most {
            last = last
                .iter()
                .flat_map(|word| letters.iter().map(move |letter| format!("{word}{letter}")))
                .collect();
            all.extend_from_slice(&last);
        }
        all
    }

    /// Patterns that are searched for part by part match what they match letter by letter, row by row and in a column.
    #[test]
    fn parts_of_patterns_are_found() {
        let texts = words(&["a", "b", "ü"], 6);
        let column = StringArray::from_iter_values(&texts);
        let patterns = words(&["%", "a", "b", "ü"], 4);
        let mut in_columns = 0;
        for pattern in patterns.iter().chain(["%ab%ba%".to_owned(), "a%ab%a%b".to_owned()].iter()) {
            let like = Like::new(pattern.as_bytes());
            assert!(!matches!(like, Like::General(_)), "{pattern}");
            let token = |byte: &u8| if *byte == b'%' { Token::Any } else { Token::Byte(*byte) };
            let tokens: Vec<Token> = pattern.as_bytes().iter().map(token).collect();
            let expected: Vec<bool> =
                texts.iter().map(|text| general(&tokens, text.as_bytes()).unwrap()).collect();
            let found: Vec<bool> = texts.iter().map(|text| like.matches(text.as_bytes()).unwrap()).collect();
            assert_eq!(found, expected, "{pattern}");
            if let Like::Parts(parts) = &like
                && let Some(found) = parts.rows_of(&column)
            {
                assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{pattern}");
                let (from, count) = (100, 333);
                let part = parts.rows_of(&column.slice(from, count)).expect("as before");
                assert_eq!(part.iter().collect::<Vec<_>>(), expected[from..from + count], "{pattern}");
                in_columns += 1;
            }
        }
        assert!(in_columns > 30, "{in_columns}");
    }
}
