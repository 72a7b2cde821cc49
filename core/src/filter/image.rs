//! Order-preserving images: a value as a `u64` such that a smaller value never has a larger image.
//!
//! Images are what zone maps hold. Equal values have equal images; that different values may share one is allowed, and
//! so for texts, which are cut to 8 bytes, for numerics and intervals, which lose digits.

use std::ops::Bound;

use super::{FloatTest, Images, IntTest, Members, Ready, float_of, int_of, interval_order, numeric_of};
use crate::key::{float_order, prefix64};
use crate::types::{Numeric, PgType};

const SIGN: u64 = 1 << 63;

/// Whether different values have different images.
pub(crate) fn is_exact(pg_type: PgType) -> bool {
    match pg_type {
        PgType::Bool
        | PgType::Int2
        | PgType::Int4
        | PgType::Int8
        | PgType::Float4
        | PgType::Float8
        | PgType::Date
        | PgType::Time
        | PgType::Timestamp
        | PgType::Timestamptz => true,
        PgType::Numeric(_)
        | PgType::Interval
        | PgType::Text
        | PgType::Varchar(_)
        | PgType::Bytea
        | PgType::Uuid
        | PgType::Json
        | PgType::Jsonb
        | PgType::Array(_) => false,
    }
}

/// Whether values are counted by their images: one image for each, without gaps.
pub(crate) fn is_whole(pg_type: PgType) -> bool {
    is_exact(pg_type) && !matches!(pg_type, PgType::Float4 | PgType::Float8)
}

/// About where an image stands on a line on which the values of its type are: for estimates.
pub(crate) fn place(pg_type: PgType, image: u64) -> f64 {
    match pg_type {
        PgType::Float4 | PgType::Float8 => match image & SIGN {
            0 => f64::from_bits(!image),
            _ => f64::from_bits(image ^ SIGN),
        },
        PgType::Numeric(_) => numeric_place(image),
        PgType::Text | PgType::Varchar(_) | PgType::Bytea | PgType::Uuid => image as f64,
        _ => (image ^ SIGN) as i64 as f64,
    }
}

/// About the number that has this image (`numeric_image`).
fn numeric_place(image: u64) -> f64 {
    let magnitude = |rest: u64| {
        let exponent = i32::try_from(rest >> 54).expect("eight bits") - 128;
        ((rest & ((1 << 54) - 1)) as f64) * 2f64.powi(73) * 10f64.powi(exponent - 38)
    };
    const REST: u64 = (1 << 62) - 1;
    match image >> 62 {
        0 => -magnitude(!image & REST),
        1 => 0.0,
        2 => magnitude(image & REST),
        _ => f64::MAX,
    }
}

/// The image of a value, as `row` encodes it.
pub(crate) fn image(pg_type: PgType, bytes: &[u8]) -> u64 {
    match pg_type {
        PgType::Float4 | PgType::Float8 => float_order(float_of(bytes)),
        PgType::Numeric(_) => numeric_image(numeric_of(bytes)),
        PgType::Interval => interval_image(interval_order(bytes)),
        PgType::Text | PgType::Varchar(_) | PgType::Bytea | PgType::Uuid => prefix64(bytes),
        // Unordered.
        PgType::Json | PgType::Jsonb | PgType::Array(_) => 0,
        _ => int_image(int_of(bytes)),
    }
}

#[inline]
pub(crate) fn int_image(value: i64) -> u64 {
    value as u64 ^ SIGN
}

/// Inverse of [`int_image`].
#[inline]
pub(crate) fn int_of_image(image: u64) -> i64 {
    (image ^ SIGN) as i64
}

/// Two bits for negative, zero, positive and NaN, eight for the exponent of the first digit, then what fits of the
/// digits, 15 at least.
fn numeric_image(value: Numeric) -> u64 {
    const REST: u64 = (1 << 62) - 1;
    if value.is_nan() {
        return 3 << 62;
    }
    if value.is_zero() {
        return 1 << 62;
    }
    let magnitude = value.coefficient().unsigned_abs();
    let digits = magnitude.ilog10() + 1;
    // Between -38 and 38.
    let exponent = 128 + u64::from(digits) - u64::from(value.scale());
    // Below 10^38 < 2^127.
    let scaled = magnitude * 10u128.pow(Numeric::DIGITS_MAX - digits);
    let rest = exponent << 54 | (scaled >> 73) as u64;
    if value.is_negative() { !rest & REST } else { 2 << 62 | rest }
}

/// Orders of intervals stay below 2^73.
fn interval_image(order: i128) -> u64 {
    int_image(i64::try_from(order >> 10).expect("an interval's order, divided by 1,024, fits"))
}

/// Where the matches of a test lie.
pub(super) fn images(ready: &Ready, pg_type: PgType) -> Images {
    match ready {
        Ready::Never => Images::Nothing,
        Ready::Null => Images::Null,
        Ready::NotNull => Images::Anything,
        Ready::Ints(IntTest::Range(low, high)) => exact(int_image(*low), int_image(*high)),
        Ready::Ints(IntTest::AllBut(one)) => Images::AllBut(int_image(*one)),
        Ready::Ints(IntTest::OneOf(list)) => {
            Images::OneOf(list.iter().map(|value| int_image(*value)).collect())
        }
        Ready::Ints(IntTest::Among(set)) => Images::Among(set.clone()),
        Ready::Floats(FloatTest::Range { low, high, nan }) => {
            let nan_image = float_order(f64::NAN);
            let low = if low <= high { float_order(*low) } else { nan_image };
            let high = if *nan { nan_image } else { float_order(*high) };
            exact(low, high)
        }
        Ready::Floats(FloatTest::AllBut(one)) => Images::AllBut(float_order(*one)),
        Ready::Floats(FloatTest::OneOf(list)) => Images::OneOf(list.clone()),
        Ready::Bytes(members) => images_of(members, pg_type, |value| prefix64(value)),
        Ready::Numerics(members) => images_of(members, pg_type, |value| numeric_image(*value)),
        Ready::Intervals(members) => images_of(members, pg_type, |value| interval_image(*value)),
    }
}

fn exact(low: u64, high: u64) -> Images {
    Images::Range { outer: (low, high), inner: (low, high) }
}

/// Values with the image of a bound may lie on either side of it.
fn images_of<T>(members: &Members<T>, pg_type: PgType, image: impl Fn(&T) -> u64) -> Images {
    debug_assert!(!is_exact(pg_type), "types with exact images have tests of their own");
    const ALL: (u64, u64) = (0, u64::MAX);
    const NONE: (u64, u64) = (1, 0);
    let value = |bound: &Bound<T>| match bound {
        Bound::Unbounded => None,
        Bound::Included(value) | Bound::Excluded(value) => Some(image(value)),
    };
    match members {
        Members::Between(low, high) => {
            let (low, high) = (value(low), value(high));
            let outer = (low.unwrap_or(ALL.0), high.unwrap_or(ALL.1));
            let inner_low = low.map_or(Some(ALL.0), |low| low.checked_add(1));
            let inner_high = high.map_or(Some(ALL.1), |high| high.checked_sub(1));
            Images::Range { outer, inner: inner_low.zip(inner_high).unwrap_or(NONE) }
        }
        Members::AllBut(_) => Images::Range { outer: ALL, inner: NONE },
        Members::OneOf(list) => {
            let mut images: Vec<u64> = list.iter().map(image).collect();
            images.dedup();
            Images::OneOf(images)
        }
    }
}
