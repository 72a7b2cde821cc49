//! JSON: the check that `json` makes and the form that `jsonb` prints.

pub(crate) mod raw;
mod tree;

pub(crate) use tree::compare_numbers;

use omen_core::SqlState;
use omen_core::error::ValueError;

/// Deepest nesting of arrays and objects; PostgreSQL's limit is its stack.
const DEPTH_MAX: usize = 512;
/// Longest number with its exponent written out.
const NUMBER_DIGITS_MAX: i64 = 131_072;

/// Checks that a text is JSON.
///
/// # Errors
/// 22P02 with what is wrong as detail.
pub(crate) fn check(text: &str) -> Result<(), ValueError> {
    let mut reader = Reader { text, at: 0, normalize: false };
    reader.document().map(drop)
}

/// The text that `jsonb` prints: keys sorted by length, then bytes, the last of equal keys, numbers without exponent.
///
/// # Errors
/// 22P02 as [`check`], 22P05 for the character U+0000.
pub(crate) fn normalize(text: &str) -> Result<String, ValueError> {
    let mut reader = Reader { text, at: 0, normalize: true };
    let value = reader.document()?;
    let mut out = String::with_capacity(text.len() + 16);
    value.write(&mut out);
    Ok(out)
}

/// Bytes of a text of [`normalize`] that are ordered as `jsonb` is; equal values have equal bytes.
pub(crate) fn key_of(text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(text.len() + 8);
    match Value::parse(text) {
        Ok(value) => value.encode_key(&mut key),
        Err(_) => key.extend_from_slice(text.as_bytes()),
    }
    key
}

/// A JSON value; members of objects are in the order of `jsonb`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    /// `null`, `true`, `false` or a number, as it is printed.
    Scalar(String),
    /// A string, escapes resolved.
    String(String),
    /// `[..]`
    Array(Vec<Value>),
    /// `{..}`
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Appends the text that `jsonb` prints.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Value::Scalar(text) => out.push_str(text),
            Value::String(text) => write_string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Value::Object(fields) => {
                out.push('{');
                for (i, (key, value)) in fields.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    write_string(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    normalize: bool,
}

fn error(detail: impl Into<Box<str>>) -> ValueError {
    ValueError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
        .with_detail(detail)
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Value, ValueError> {
        let value = self.value(0)?;
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.unexpected("end of input"));
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// What stands here instead of `expected`.
    fn unexpected(&self, expected: &str) -> ValueError {
        let rest = &self.text[self.at..];
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let length = match rest.chars().next() {
            None => return error("The input string ended unexpectedly."),
            Some(c) if word(c) || c == '-' => {
                rest.char_indices().skip(1).find(|(_, c)| !word(*c)).map(|(end, _)| end)
            }
            Some('"') => rest[1..].find('"').map(|end| end + 2),
            Some(c) => Some(c.len_utf8()),
        };
        let token = &rest[..length.unwrap_or(rest.len())];
        let structural = matches!(token.as_bytes()[0], b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"');
        let number = token.as_bytes()[0].is_ascii_digit();
        if structural || number || matches!(token, "true" | "false" | "null") {
            error(format!("Expected {expected}, but found \"{token}\"."))
        } else {
            error(format!("Token \"{token}\" is invalid."))
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, ValueError> {
        if depth > DEPTH_MAX {
            let message = format!("json is nested deeper than {DEPTH_MAX} levels");
            return Err(ValueError::new(SqlState::STATEMENT_TOO_COMPLEX, message));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let word =
                    ["null", "true", "false"].into_iter().find(|word| self.text[self.at..].starts_with(word));
                let ends = |word: &str| {
                    let next = self.text.as_bytes().get(self.at + word.len());
                    !next.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
                };
                let word = word.filter(|word| ends(word)).ok_or_else(|| self.unexpected("JSON value"))?;
                self.at += word.len();
                Ok(Value::Scalar(if self.normalize { word.to_owned() } else { String::new() }))
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, ValueError> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            let item = self.value(depth + 1)?;
            if self.normalize {
                items.push(item);
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("\",\" or \"]\"")),
            }
        }
        self.at += 1;
        Ok(Value::Array(items))
    }

    fn object(&mut self, depth: usize) -> Result<Value, ValueError> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(fields));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected(if fields.is_empty() { "string or \"}\"" } else { "string" }));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("\":\""));
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            fields.push((key, value));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("\",\" or \"}\"")),
            }
        }
        self.at += 1;
        if self.normalize {
            // The sort is stable, so of equal keys the last one of the text stays last.
            fields.reverse();
            fields.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            fields.dedup_by(|(a, _), (b, _)| a == b);
        }
        Ok(Value::Object(fields))
    }

    fn string(&mut self) -> Result<String, ValueError> {
        let mut out = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let end = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < b' ');
            let Some(end) = end else {
                let token = &self.text[self.at - 1..];
                return Err(error(format!("Token \"{token}\" is invalid.")));
            };
            if self.normalize {
                out.push_str(&rest[..end]);
            }
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Ok(out),
                b'\\' => self.escape(&mut out)?,
                byte => return Err(error(format!("Character with value 0x{byte:02x} must be escaped."))),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), ValueError> {
        let byte = self.peek().ok_or_else(|| error("The input string ended unexpectedly."))?;
        let c = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(out),
            _ => {
                let c = self.text[self.at..].chars().next().unwrap_or('\\');
                return Err(error(format!("Escape sequence \"\\{c}\" is invalid.")));
            }
        };
        self.at += 1;
        out.push(c);
        Ok(())
    }

    fn unicode(&mut self, out: &mut String) -> Result<(), ValueError> {
        let first = self.hex()?;
        if !self.normalize {
            return Ok(());
        }
        let code = match first {
            0xD800..=0xDBFF => {
                let low = if self.text[self.at..].starts_with("\\u") {
                    self.at += 1;
                    self.hex()?
                } else {
                    0
                };
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return Err(error("Unicode low surrogate must follow a high surrogate."));
                }
                0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00)
            }
            0xDC00..=0xDFFF => return Err(error("Unicode low surrogate must follow a high surrogate.")),
            0 => {
                let message = "unsupported Unicode escape sequence";
                let detail = "\\u0000 cannot be converted to text.";
                return Err(ValueError::new(SqlState::UNTRANSLATABLE_CHARACTER, message).with_detail(detail));
            }
            code => code,
        };
        out.push(char::from_u32(code).expect("not a surrogate"));
        Ok(())
    }

    /// `uXXXX`
    fn hex(&mut self) -> Result<u32, ValueError> {
        let digits = self.text.get(self.at + 1..self.at + 5);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.ok_or_else(|| error("\"\\u\" must be followed by four hexadecimal digits."))?;
        self.at += 5;
        Ok(u32::from_str_radix(digits, 16).expect("four hexadecimal digits"))
    }

    fn number(&mut self) -> Result<Value, ValueError> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut at = start + usize::from(bytes[start] == b'-');
        let integer = digits(at);
        let mut valid = integer == 1 || (integer > 1 && bytes[at] != b'0');
        at += integer;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            valid &= fraction > 0;
            at += 1 + fraction;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at);
            valid &= exponent > 0;
            at += exponent;
        }
        let word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || !byte.is_ascii();
        let garbage = bytes[at..].iter().take_while(word).count();
        if !valid || garbage > 0 {
            let token = String::from_utf8_lossy(&bytes[start..at + garbage]);
            return Err(error(format!("Token \"{token}\" is invalid.")));
        }
        self.at = at;
        let text = &self.text[start..at];
        Ok(Value::Scalar(if self.normalize { plain_number(text)? } else { String::new() }))
    }
}

/// A number of JSON as `numeric` prints it: without exponent and without the sign of zero.
fn plain_number(text: &str) -> Result<String, ValueError> {
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.parse::<i64>().ok().filter(|e| e.abs() <= NUMBER_DIGITS_MAX);
    let exponent = exponent.ok_or_else(|| {
        ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
    })?;
    let digits = format!("{integer}{fraction}");
    let point = integer.len() as i64 + exponent;
    let scale = (fraction.len() as i64 - exponent).max(0) as usize;
    let zeros = |count: i64| "0".repeat(count.max(0) as usize);
    let padded = format!("{}{digits}{}", zeros(1 - point), zeros(point - digits.len() as i64));
    let (whole, rest) = padded.split_at(point.max(1) as usize);
    let whole = whole.trim_start_matches('0');
    let zero = digits.bytes().all(|byte| byte == b'0');
    let sign = if negative && !zero { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", &rest[..scale]) })
}
