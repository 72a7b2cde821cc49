//! JSON values as trees: comparison, containment and changes of `jsonb`.

use std::cmp::Ordering;

use omen_core::error::ValueError;

use super::{Reader, Value};

impl Value {
    /// The tree of a text.
    ///
    /// # Errors
    /// 22P02 if it is not JSON.
    pub(crate) fn parse(text: &str) -> Result<Value, ValueError> {
        Reader { text, at: 0, normalize: true }.document()
    }

    /// The text that `jsonb` prints.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Whether it has no parts.
    pub(crate) fn is_scalar(&self) -> bool {
        matches!(self, Value::Scalar(_) | Value::String(_))
    }

    /// Sets a member of an object, whose order stays that of `jsonb`.
    pub(crate) fn set_member(members: &mut Vec<(String, Value)>, key: &str, value: Value) {
        match members.binary_search_by(|(name, _)| key_order(name, key)) {
            Ok(at) => members[at].1 = value,
            Err(at) => members.insert(at, (key.to_owned(), value)),
        }
    }

    /// The member of a key.
    pub(crate) fn member<'v>(members: &'v [(String, Value)], key: &str) -> Option<&'v Value> {
        let at = members.binary_search_by(|(name, _)| key_order(name, key)).ok()?;
        Some(&members[at].1)
    }

    /// Adds indentation to the text, as `jsonb_pretty`.
    pub(crate) fn write_pretty(&self, level: usize, out: &mut String) {
        let new_line = |level: usize, out: &mut String| {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', 4 * level));
        };
        match self {
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    new_line(level + 1, out);
                    item.write_pretty(level + 1, out);
                }
                new_line(level, out);
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    new_line(level + 1, out);
                    super::write_string(key, out);
                    out.push_str(": ");
                    value.write_pretty(level + 1, out);
                }
                new_line(level, out);
                out.push('}');
            }
            scalar => scalar.write(out),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Scalar(text) => match text.as_bytes().first() {
                Some(b'n') => 0,
                Some(b't' | b'f') => 3,
                _ => 2,
            },
            Value::String(_) => 1,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
        }
    }

    /// Appends bytes that are ordered as `jsonb` is (`compareJsonbContainers`): a scalar on top is an array of one
    /// element, which is below all arrays that are not shorter. Equal values have equal bytes.
    pub(crate) fn encode_key(&self, out: &mut Vec<u8>) {
        match self {
            Value::Object(_) => {
                out.push(2);
                self.encode_inside(out);
            }
            Value::Array(items) => {
                out.push(1);
                push_count(items.len(), out);
                out.push(1);
                items.iter().for_each(|item| item.encode_inside(out));
            }
            scalar => {
                out.push(1);
                push_count(1, out);
                out.push(0);
                scalar.encode_inside(out);
            }
        }
    }

    fn encode_inside(&self, out: &mut Vec<u8>) {
        out.push(self.rank());
        match self {
            Value::Scalar(text) if self.rank() == 2 => push_number(text, out),
            Value::Scalar(text) => out.push(u8::from(text == "true")),
            Value::String(text) => push_string(text, out),
            Value::Array(items) => {
                push_count(items.len(), out);
                items.iter().for_each(|item| item.encode_inside(out));
            }
            Value::Object(members) => {
                push_count(members.len(), out);
                for (key, value) in members {
                    push_string(key, out);
                    value.encode_inside(out);
                }
            }
        }
    }

    fn same_scalar(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Scalar(a), Value::Scalar(b)) if self.rank() == 2 && other.rank() == 2 => {
                compare_numbers(a, b).is_eq()
            }
            (Value::Scalar(a), Value::Scalar(b)) => a == b,
            _ => false,
        }
    }

    /// `@>`: whether the other value is in this one, as a whole or part by part.
    pub(crate) fn contains(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Array(items), scalar) if scalar.is_scalar() => {
                items.iter().any(|item| item.same_scalar(scalar))
            }
            _ => self.contains_inside(other),
        }
    }

    fn contains_inside(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Object(own), Value::Object(members)) => members
                .iter()
                .all(|(key, value)| Value::member(own, key).is_some_and(|own| own.contains_inside(value))),
            (Value::Array(own), Value::Array(items)) => {
                items.iter().all(|item| own.iter().any(|own| own.contains_inside(item)))
            }
            (a, b) => a.same_scalar(b),
        }
    }
}

fn push_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

/// Text has no zero bytes.
fn push_string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Sign, number of digits before the point, digits, end; complemented if it is negative.
fn push_number(text: &str, out: &mut Vec<u8>) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.is_empty() && fraction.is_empty() {
        return out.push(1);
    }
    out.push(if negative { 0 } else { 2 });
    let start = out.len();
    push_count(whole.len(), out);
    out.extend_from_slice(whole.as_bytes());
    out.extend_from_slice(fraction.as_bytes());
    out.push(0);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// The order of keys in objects of `jsonb`: by length, then by bytes.
pub(super) fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Numbers without exponents, of any length.
pub(crate) fn compare_numbers(a: &str, b: &str) -> Ordering {
    fn parts(text: &str) -> (bool, &str, &str) {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        (negative, whole.trim_start_matches('0'), fraction.trim_end_matches('0'))
    }
    let ((a_negative, a_whole, a_fraction), (b_negative, b_whole, b_fraction)) = (parts(a), parts(b));
    let is_zero = |whole: &str, fraction: &str| whole.is_empty() && fraction.is_empty();
    let a_negative = a_negative && !is_zero(a_whole, a_fraction);
    let b_negative = b_negative && !is_zero(b_whole, b_fraction);
    let magnitude = || {
        let whole = a_whole.len().cmp(&b_whole.len()).then_with(|| a_whole.cmp(b_whole));
        whole.then_with(|| a_fraction.cmp(b_fraction))
    };
    match (a_negative, b_negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => magnitude(),
        (true, true) => magnitude().reverse(),
    }
}
