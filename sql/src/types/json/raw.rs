//! Parts of JSON texts, found without building a tree: a text that has been checked is walked over, and parts are
//! slices of it. Texts that break the syntax give parts that end early.

use omen_core::SqlState;
use omen_core::error::ValueError;

/// What a JSON value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// `[..]`
    Array,
    /// `{..}`
    Object,
}

impl Kind {
    /// Of a text.
    pub(crate) fn of(text: &str) -> Kind {
        match text.trim_start().as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }
}

/// Where a string that begins at `at` ends.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// Where a value that begins at `at` ends.
fn value_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at),
        Some(b'{' | b'[') => {
            let mut depth = 0usize;
            let mut at = at;
            while let Some(byte) = bytes.get(at) {
                match byte {
                    b'"' => {
                        at = string_end(bytes, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return at + 1;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            bytes.len()
        }
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':') || byte.is_ascii_whitespace();
            let rest = bytes.get(at..).unwrap_or_default();
            at + rest.iter().position(ends).unwrap_or(rest.len())
        }
    }
}

/// The parts of an array or an object: keys, with their quotes, and values take turns.
struct Parts<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Parts<'a> {
        let text = text.trim();
        Parts { text, at: 1.min(text.len()) }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|byte| matches!(byte, b',' | b':') || byte.is_ascii_whitespace())
        {
            self.at += 1;
        }
        if self.at >= bytes.len() || matches!(bytes[self.at], b'}' | b']') {
            return None;
        }
        let start = self.at;
        self.at = value_end(bytes, start).max(start + 1);
        self.text.get(start..self.at.min(self.text.len()))
    }
}

/// The elements of an array.
pub(crate) fn elements(text: &str) -> impl Iterator<Item = &str> {
    Parts::of(text)
}

/// The keys, as strings with quotes, and values of an object.
pub(crate) fn members(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut parts = Parts::of(text);
    std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
}

/// The last member of a key.
pub(crate) fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut found = None;
    for (name, value) in members(text) {
        let plain = &name[1.min(name.len())..name.len().saturating_sub(1).max(1.min(name.len()))];
        let same =
            if plain.contains('\\') { unescaped(name).is_ok_and(|name| name == key) } else { plain == key };
        if same {
            found = Some(value);
        }
    }
    found
}

/// An element, counted from the end if the number is negative.
pub(crate) fn element(text: &str, index: i64) -> Option<&str> {
    let index = if index < 0 {
        let count = i64::try_from(elements(text).count()).ok()?;
        count.checked_add(index)?
    } else {
        index
    };
    elements(text).nth(usize::try_from(index).ok()?)
}

/// The value at a path of keys and numbers.
pub(crate) fn at_path<'a>(text: &'a str, path: &[&str]) -> Option<&'a str> {
    let mut value = text.trim();
    for step in path {
        value = match Kind::of(value) {
            Kind::Object => member(value, step)?,
            Kind::Array => element(value, step.trim_start().parse::<i32>().ok()?.into())?,
            _ => return None,
        };
    }
    Some(value)
}

/// The text of a string, its escapes resolved.
///
/// # Errors
/// 22P05 for the character U+0000.
pub(crate) fn unescaped(string: &str) -> Result<String, ValueError> {
    let inner = string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(string);
    if !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    let mut units: Vec<u16> = Vec::new();
    let flush = |units: &mut Vec<u16>, out: &mut String| {
        out.push_str(&String::from_utf16_lossy(units));
        units.clear();
    };
    while let Some(c) = chars.next() {
        if c != '\\' {
            flush(&mut units, &mut out);
            out.push(c);
            continue;
        }
        let escape = chars.next().unwrap_or('\\');
        if escape == 'u' {
            let digits: String = chars.by_ref().take(4).collect();
            match u16::from_str_radix(&digits, 16).unwrap_or(0xFFFD) {
                0 => {
                    let message = "unsupported Unicode escape sequence";
                    return Err(ValueError::new(SqlState::UNTRANSLATABLE_CHARACTER, message)
                        .with_detail("\\u0000 cannot be converted to text."));
                }
                unit => units.push(unit),
            }
            continue;
        }
        flush(&mut units, &mut out);
        out.push(match escape {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            other => other,
        });
    }
    flush(&mut units, &mut out);
    Ok(out)
}
