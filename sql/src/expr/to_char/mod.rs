//! `to_char` and its inverses (PG 15, chapter 9.8). A pattern is read once for a column and applied to each value.

mod date;
mod number;
mod pattern;
mod read;

pub use date::{interval_to_char, timestamp_to_char, timestamptz_to_char};
pub use number::NumberPattern;
pub use pattern::DatePattern;
pub use read::{to_date, to_timestamp};

use omen_core::error::ValueError;

type Result<T> = std::result::Result<T, ValueError>;

/// The ending of an ordinal number: `ST`, `ND`, `RD`, `TH`.
fn ordinal(digits: &str, lower: bool) -> &'static str {
    let bytes = digits.as_bytes();
    let teen = bytes.len() > 1 && bytes[bytes.len() - 2] == b'1';
    match (bytes.last().filter(|_| !teen), lower) {
        (Some(b'1'), false) => "ST",
        (Some(b'1'), true) => "st",
        (Some(b'2'), false) => "ND",
        (Some(b'2'), true) => "nd",
        (Some(b'3'), false) => "RD",
        (Some(b'3'), true) => "rd",
        (_, false) => "TH",
        (_, true) => "th",
    }
}

#[cfg(test)]
mod tests;
