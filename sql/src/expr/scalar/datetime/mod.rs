//! Functions and operators of dates and times (PG 15, chapter 9.9).
//!
//! Dates are days since 1970, timestamps microseconds since 1970 (of UTC with time zone, of the local clock without),
//! times microseconds of the day. The ends of the integers are the infinities. What PostgreSQL bounds is bounded here
//! too, so every result is infinite or in range.

mod arith;
mod field;
mod make;
mod trunc;

pub use arith::*;
pub use field::*;
pub use make::*;
pub use trunc::*;

use crate::types::calendar::join;
use omen_core::SqlState;
use omen_core::error::ValueError;

type Result<T> = std::result::Result<T, ValueError>;

const HOUR_US: i64 = 3_600_000_000;
const MINUTE_US: i64 = 60_000_000;

fn overflow(message: impl Into<String>) -> ValueError {
    ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
}

pub(super) fn timestamp_out_of_range() -> ValueError {
    overflow("timestamp out of range")
}

fn interval_out_of_range() -> ValueError {
    overflow("interval out of range")
}

/// The timestamp of a day and of microseconds, which may be more or less than a day.
pub(super) fn timestamp_of(days: i64, micros: i64) -> Result<i64> {
    join(days, micros).ok_or_else(timestamp_out_of_range)
}

#[cfg(test)]
mod tests;
