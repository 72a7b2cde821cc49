//! Keys: the primary-key columns of a row as bytes whose `memcmp` order is the SQL order.
//!
//! | type | bytes |
//! |---|---|
//! | bool | 1: 0 or 1 |
//! | int2, int4, int8, date, time, timestamp(tz) | big-endian with the sign bit flipped |
//! | float4, float8 | IEEE bits big-endian, all flipped if negative, else the sign flipped; NaN is largest, -0.0 is 0.0 |
//! | numeric | see [`encode_numeric`] |
//! | text, varchar, bytea | bytes, 0x00 written as 0x00 0xFF, ended by 0x00 0x00 (collation "C") |
//! | uuid | 16 bytes |
//! | arrays | 1 and the element or 2 for NULL, each; 0; u8 dimensions, their lengths, their lower bounds |
//! | interval | its order value (`Interval::order`) as i128 big-endian, sign flipped: equal intervals are one key |
//!
//! A key never needs decoding: rows hold their key columns too.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use crate::error::{SqlState, ValueError};
use crate::row::{Malformed, datum_from_bytes};
use crate::types::{ArrayValue, Datum, Numeric, PgType, array};

/// Longest key in bytes; a longer one is an error (54000).
pub const KEY_BYTES_MAX: usize = 2_048;

/// An encoded key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The key of these column values, in primary-key order.
    ///
    /// # Errors
    /// 54000 if it is longer than [`KEY_BYTES_MAX`]. NULL is the caller's to refuse (23502).
    pub fn of(columns: &[Datum]) -> Result<Key, ValueError> {
        let mut bytes = Vec::with_capacity(columns.len() * 9);
        for column in columns {
            encode(column, &mut bytes);
        }
        if bytes.len() > KEY_BYTES_MAX {
            let message =
                format!("primary key of {} bytes exceeds the limit of {KEY_BYTES_MAX} bytes", bytes.len());
            return Err(ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        Ok(Key(bytes.into()))
    }

    /// A key from bytes that [`Key::of`] made, or any other point of the key space.
    pub fn from_bytes(bytes: &[u8]) -> Key {
        Key(bytes.into())
    }

    /// The first key after every key that starts with this one's bytes; `None` if there is none.
    pub fn prefix_end(&self) -> Option<Key> {
        let last = self.0.iter().rposition(|byte| *byte != 0xFF)?;
        let mut bytes = self.0[..=last].to_vec();
        bytes[last] += 1;
        Some(Key(bytes.into()))
    }
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first 8 bytes as a number; a shorter key is filled up with zeros. Order of numbers never contradicts that of keys.
#[inline]
pub fn prefix64(key: &[u8]) -> u64 {
    if let Some(first) = key.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let mut bytes = [0; 8];
    bytes[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(bytes)
}

/// The order of two keys; their first bytes decide for most.
#[inline]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    prefix64(a).cmp(&prefix64(b)).then_with(|| a.cmp(b))
}

/// Appends the encoding of one column value.
///
/// # Panics
/// On NULL, which no key holds.
pub fn encode(value: &Datum, out: &mut Vec<u8>) {
    match value {
        Datum::Null => panic!("a key column is NULL"),
        Datum::Bool(v) => out.push(u8::from(*v)),
        Datum::Int2(v) => out.extend_from_slice(&(*v as u16 ^ 1 << 15).to_be_bytes()),
        Datum::Int4(v) | Datum::Date(v) => out.extend_from_slice(&(*v as u32 ^ 1 << 31).to_be_bytes()),
        Datum::Int8(v) | Datum::Time(v) | Datum::Timestamp(v) => {
            out.extend_from_slice(&(*v as u64 ^ 1 << 63).to_be_bytes());
        }
        Datum::Float4(v) => encode_float(f64::from(*v), out),
        Datum::Float8(v) => encode_float(*v, out),
        Datum::Numeric(v) => encode_numeric(*v, out),
        Datum::Text(v) => encode_bytes(v.as_bytes(), out),
        Datum::Bytea(v) => encode_bytes(v, out),
        Datum::Interval(v) => out.extend_from_slice(&(v.order() as u128 ^ 1 << 127).to_be_bytes()),
        Datum::Uuid(v) => out.extend_from_slice(v),
        Datum::Array(v) => match ArrayValue::decode(v) {
            Ok(array) => array::encode_key(&array, out),
            Err(Malformed) => encode_bytes(v, out),
        },
    }
}

/// Appends the encoding of a value that is stored as `row` says. Bytes that are not a value of the type add nothing.
pub fn encode_stored(pg_type: PgType, bytes: &[u8], out: &mut Vec<u8>) {
    match pg_type {
        PgType::Text | PgType::Varchar(_) | PgType::Bytea | PgType::Json | PgType::Jsonb => {
            encode_bytes(bytes, out);
        }
        _ => {
            if let Ok(value) = datum_from_bytes(pg_type, bytes) {
                encode(&value, out);
            }
        }
    }
}

/// Bits of a float that rise with it; NaN is largest, -0.0 is 0.0.
#[inline]
pub fn float_order(value: f64) -> u64 {
    let canonical = if value.is_nan() { f64::NAN } else { value + 0.0 };
    let bits = canonical.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn encode_float(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&float_order(value).to_be_bytes());
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for (index, piece) in bytes.split(|byte| *byte == 0).enumerate() {
        if index > 0 {
            out.extend_from_slice(&[0, 0xFF]);
        }
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&[0, 0]);
}

/// Numerics: one byte 0 (negative), 1 (zero), 2 (positive), 3 (NaN); then for non-zero values the decimal exponent
/// of the first digit plus 128 as one byte and the coefficient scaled to 38 digits, 16 bytes big-endian; both
/// complemented for negative values. `1.0` and `1.00` are one key.
pub fn encode_numeric(value: Numeric, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.push(3);
    }
    if value.coefficient() == 0 {
        return out.push(1);
    }
    let magnitude = value.coefficient().unsigned_abs();
    let digits = magnitude.ilog10() + 1;
    let exponent = i32::try_from(digits).expect("at most 39 digits") - i32::from(value.scale());
    let exponent = u8::try_from(exponent + 128).expect("between -38 and 38");
    let scaled = magnitude * 10u128.pow(Numeric::DIGITS_MAX - digits);
    let negative = value.coefficient() < 0;
    out.push(if negative { 0 } else { 2 });
    let flip = if negative { 0xFF } else { 0 };
    out.push(exponent ^ flip);
    out.extend(scaled.to_be_bytes().map(|byte| byte ^ flip));
}

/// The keys `start <= key < end`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeySpan {
    /// First key; empty bytes mean the first of all.
    pub start: Key,
    /// First key beyond; `None` means no end.
    pub end: Option<Key>,
}

impl KeySpan {
    /// Every key.
    pub fn all() -> KeySpan {
        KeySpan::default()
    }

    /// This one key.
    pub fn point(key: Key) -> KeySpan {
        let mut after = key.to_vec();
        after.push(0);
        KeySpan { start: key, end: Some(Key(after.into())) }
    }

    /// Whether the key lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        compare(&self.start, key) != Ordering::Greater
            && self.end.as_ref().is_none_or(|end| compare(key, end) == Ordering::Less)
    }

    /// The keys in both, or `None` if there is none.
    pub fn intersect(&self, other: &KeySpan) -> Option<KeySpan> {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.clone().min(b.clone())),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        end.as_ref().is_none_or(|end| start < *end).then_some(KeySpan { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: Datum) -> Key {
        Key::of(&[value]).expect("short key")
    }

    #[test]
    fn order_of_bytes_is_order_of_values() {
        let ints = [i64::MIN, -5, -1, 0, 1, 7, i64::MAX];
        assert!(ints.map(|v| key(Datum::Int8(v))).is_sorted());
        let floats = [f64::NEG_INFINITY, -1.5, -0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
        assert!(floats.map(|v| key(Datum::Float8(v))).is_sorted());
        assert_eq!(key(Datum::Float8(-0.0)), key(Datum::Float8(0.0)));
        let texts = ["", "\0", "\0a", "a", "a\0", "aa", "b", "é"];
        assert!(texts.map(|v| key(Datum::Text(v.into()))).is_sorted());
        let numerics =
            [(-1234, 2), (-12, 0), (-1, 3), (0, 0), (1, 38), (1, 3), (12, 1), (1234, 2), (1000, 0)];
        let keys = numerics.map(|(c, s)| key(Datum::Numeric(Numeric::new(c, s).expect("fits"))));
        assert!(keys.is_sorted());
        let same =
            [(10, 1), (1000, 3), (1, 0)].map(|(c, s)| key(Datum::Numeric(Numeric::new(c, s).expect("fits"))));
        assert!(same.iter().all(|k| *k == same[0]));
    }

    #[test]
    fn spans() {
        let span = |a: &[u8], b: &[u8]| KeySpan { start: Key::from_bytes(a), end: Some(Key::from_bytes(b)) };
        assert_eq!(span(b"a", b"c").intersect(&span(b"b", b"d")), Some(span(b"b", b"c")));
        assert_eq!(span(b"a", b"b").intersect(&span(b"b", b"d")), None);
        assert!(KeySpan::point(Key::from_bytes(b"a")).contains(b"a"));
        assert!(!KeySpan::point(Key::from_bytes(b"a")).contains(b"aa"));
        assert_eq!(Key::from_bytes(&[1, 0xFF]).prefix_end(), Some(Key::from_bytes(&[2])));
        assert_eq!(Key::from_bytes(&[0xFF]).prefix_end(), None);
    }
}
