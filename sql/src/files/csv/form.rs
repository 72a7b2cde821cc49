//! Which texts are values of which types: the forms in which PostgreSQL and most programs write them, and no others.
//!
//! Numbers have no sign `+` and no needless zeros in front, as codes do that are no numbers; dates and times are those of
//! ISO 8601.

use omen_core::types::{Datum, PgType};

use crate::error::Result;
use crate::types::number::invalid_syntax;
use crate::types::{FormatOptions, text};

/// The types that a column can have besides `text`; the first that all its values are of is taken.
const TYPES: [PgType; 7] = [
    PgType::Bool,
    PgType::Int8,
    PgType::Numeric(None),
    PgType::Float8,
    PgType::Date,
    PgType::Timestamp,
    PgType::Timestamptz,
];

/// The types that all values of a column so far are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Candidates {
    /// A bit for each of [`TYPES`].
    bits: u8,
}

impl Candidates {
    /// Those of a column without values.
    pub(super) const ALL: Candidates = Candidates { bits: (1 << TYPES.len()) - 1 };

    /// Leaves out the types that a field is not of.
    pub(super) fn keep(&mut self, field: &[u8]) {
        for (bit, pg_type) in TYPES.into_iter().enumerate() {
            let flag = 1 << bit;
            if self.bits & flag != 0 && value(pg_type, field).is_err() {
                self.bits &= !flag;
            }
        }
    }

    /// Whether all values so far are of a type, which is not `text`.
    pub(super) fn has(self, pg_type: PgType) -> bool {
        TYPES.iter().position(|each| *each == pg_type).is_some_and(|bit| self.bits & (1 << bit) != 0)
    }

    /// Whether no type but `text` is left.
    pub(super) fn is_text(self) -> bool {
        self.bits == 0
    }

    /// The type of the column: `text` if it has no values.
    pub(super) fn pg_type(self) -> PgType {
        if self == Candidates::ALL {
            return PgType::Text;
        }
        TYPES.get(self.bits.trailing_zeros() as usize).copied().unwrap_or(PgType::Text)
    }
}

/// The value of a type other than `text` that a field is.
///
/// # Errors
/// 22P02 if it does not have the form; 22003 and 22008 if it is out of the type's range.
pub(super) fn value(pg_type: PgType, field: &[u8]) -> Result<Datum> {
    match std::str::from_utf8(field) {
        Ok(text) if has_form(pg_type, field) => Ok(text::parse(pg_type, text, &FormatOptions::default())?),
        _ => Err(invalid_syntax(&pg_type.to_string(), field).into()),
    }
}

fn has_form(pg_type: PgType, field: &[u8]) -> bool {
    match pg_type {
        PgType::Bool => {
            ["t", "f", "true", "false"].iter().any(|word| field.eq_ignore_ascii_case(word.as_bytes()))
        }
        PgType::Int8 => whole(unsigned(field)).is_some_and(<[u8]>::is_empty),
        PgType::Numeric(_) => decimal(unsigned(field)).is_some_and(<[u8]>::is_empty),
        PgType::Float8 => is_float(field),
        PgType::Date => date(field).is_some_and(<[u8]>::is_empty),
        PgType::Timestamp => match date(field) {
            Some([]) => true,
            Some(rest) => time(rest).is_some_and(<[u8]>::is_empty),
            None => false,
        },
        PgType::Timestamptz => date(field).and_then(time).is_some_and(is_zone),
        _ => false,
    }
}

fn unsigned(field: &[u8]) -> &[u8] {
    field.strip_prefix(b"-").unwrap_or(field)
}

/// What is behind the digits in front.
fn digits(text: &[u8]) -> (usize, &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count, &text[count..])
}

/// What is behind a whole number.
fn whole(text: &[u8]) -> Option<&[u8]> {
    let (count, rest) = digits(text);
    (count == 1 || (count > 1 && text[0] != b'0')).then_some(rest)
}

/// What is behind a number with or without a decimal point.
fn decimal(text: &[u8]) -> Option<&[u8]> {
    let rest = if text.first() == Some(&b'.') { text } else { whole(text)? };
    let Some(fraction) = rest.strip_prefix(b".") else { return Some(rest) };
    let (count, rest) = digits(fraction);
    (count > 0).then_some(rest)
}

fn is_float(field: &[u8]) -> bool {
    if [&b"NaN"[..], b"Infinity", b"-Infinity"].contains(&field) {
        return true;
    }
    match decimal(unsigned(field)) {
        Some([]) => true,
        Some([b'e' | b'E', exponent @ ..]) => {
            let exponent = exponent.strip_prefix(b"+").unwrap_or_else(|| unsigned(exponent));
            let (count, rest) = digits(exponent);
            count > 0 && rest.is_empty()
        }
        _ => false,
    }
}

/// What is behind a text that begins with this pattern, in which `9` stands for a digit.
fn shaped<'a>(text: &'a [u8], pattern: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(pattern.len())?;
    let fits = |(byte, wanted): (&u8, &u8)| byte == wanted || (*wanted == b'9' && byte.is_ascii_digit());
    head.iter().zip(pattern).all(fits).then_some(rest)
}

fn date(text: &[u8]) -> Option<&[u8]> {
    shaped(text, b"9999-99-99")
}

/// What is behind ` hh:mm[:ss[.ffffff]]`.
fn time(text: &[u8]) -> Option<&[u8]> {
    let rest = shaped(text, b" 99:99").or_else(|| shaped(text, b"T99:99"))?;
    let Some(rest) = shaped(rest, b":99") else { return Some(rest) };
    let Some(fraction) = rest.strip_prefix(b".") else { return Some(rest) };
    let (count, rest) = digits(fraction);
    (1..=6).contains(&count).then_some(rest)
}

fn is_zone(text: &[u8]) -> bool {
    let Some(offset) = text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-")) else {
        return text == b"Z";
    };
    shaped(offset, b"99").is_some_and(|rest| rest.is_empty() || shaped(rest, b":99") == Some(b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(fields: &[&str]) -> PgType {
        let mut candidates = Candidates::ALL;
        fields.iter().for_each(|field| candidates.keep(field.as_bytes()));
        candidates.pg_type()
    }

    #[test]
    fn a_column_has_the_first_type_that_all_its_values_are_of() {
        for (fields, expected) in [
            (&[][..], PgType::Text),
            (&["t", "FALSE"], PgType::Bool),
            (&["t", "1"], PgType::Text),
            (&["0", "-7", "9223372036854775807"], PgType::Int8),
            (&["9223372036854775808"], PgType::Numeric(None)),
            (&["1", ".5", "-0.250"], PgType::Numeric(None)),
            (&["1", "2.5e-3"], PgType::Float8),
            (&["NaN", "-Infinity", "1"], PgType::Float8),
            (&["2024-02-29"], PgType::Date),
            (&["2023-02-29"], PgType::Text),
            (&["2024-02-29", "2024-02-29 10:00", "2024-02-29T10:00:01.25"], PgType::Timestamp),
            (
                &["2024-02-29 10:00:00+02", "2024-02-29T10:00:00Z", "2024-02-29 10:00-03:30"],
                PgType::Timestamptz,
            ),
            (&["2024-02-29 10:00", "2024-02-29 10:00+01"], PgType::Text),
        ] {
            assert_eq!(type_of(fields), expected, "{fields:?}");
        }
        for code in ["007", "+5", " 5", "5.", "1e", "0x1", "--1", "2024-2-9", "today", "yes", "", "1_0"] {
            assert_eq!(type_of(&[code]), PgType::Text, "{code}");
        }
    }
}
