//! `date_trunc`, `date_bin`.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::interval::Interval;

use super::{
    Field, HOUR_US, MINUTE_US, Result, at_time_zone, from_time_zone, interval_out_of_range, overflow,
    timestamp_of, timestamp_out_of_range,
};
use crate::types::calendar::{
    Civil, DAY_US, SECOND_US, TIMESTAMP_MAX, TIMESTAMP_MIN, is_finite, split, weekday,
};
use crate::types::zone::TimeZone;

/// What a unit of the clock has microseconds; `None` for units of the calendar.
fn unit_us(unit: Field) -> Option<i64> {
    Some(match unit {
        Field::Microseconds => 1,
        Field::Milliseconds => 1000,
        Field::Second => SECOND_US,
        Field::Minute => MINUTE_US,
        Field::Hour => HOUR_US,
        _ => return None,
    })
}

/// `date_trunc(unit, timestamp)`; the unit is one of [`Field::parse_unit`].
///
/// # Errors
/// 22008 if the result is out of range.
pub fn timestamp_trunc(unit: Field, timestamp_us: i64) -> Result<i64> {
    if !is_finite(timestamp_us) {
        return Ok(timestamp_us);
    }
    let (days, micros) = split(timestamp_us);
    match unit_us(unit) {
        Some(length) => timestamp_of(i64::from(days), micros - micros % length),
        None => timestamp_of(day_trunc(unit, days), 0),
    }
}

/// The first day of the unit that a day is in.
fn day_trunc(unit: Field, days: i32) -> i64 {
    let civil = Civil::from_days(days);
    let year = civil.year;
    // Centuries begin with the year 1, before it with 1 BC, which is year 0.
    let period = |length: i32| (year - 1).div_euclid(length) * length + 1;
    let first = |year: i32| Civil { year, month: 1, day: 1 };
    let start = match unit {
        Field::Week => return i64::from(days) - i64::from((weekday(days) + 6) % 7),
        Field::Month => Civil { day: 1, ..civil },
        Field::Quarter => Civil { month: (civil.month - 1) / 3 * 3 + 1, day: 1, ..civil },
        Field::Year => first(year),
        Field::Decade => first(year.div_euclid(10) * 10),
        Field::Century => first(period(100)),
        Field::Millennium => first(period(1000)),
        _ => return i64::from(days),
    };
    start.days()
}

/// `date_trunc(unit, timestamptz)`: what the clocks of a zone show is cut.
///
/// # Errors
/// 22008 if the result is out of range.
pub fn timestamptz_trunc(unit: Field, utc_us: i64, zone: TimeZone) -> Result<i64> {
    if !is_finite(utc_us) {
        return Ok(utc_us);
    }
    let local_us = timestamp_trunc(unit, at_time_zone(utc_us, zone)?)?;
    if unit_us(unit).is_none() {
        return from_time_zone(local_us, zone);
    }
    // Within a day the offset stays, so that the hour that a clock change repeats is cut to itself.
    let utc_us = local_us.checked_sub(i64::from(zone.offset_at(utc_us)) * SECOND_US);
    utc_us.and_then(in_range).ok_or_else(timestamp_out_of_range)
}

fn in_range(timestamp_us: i64) -> Option<i64> {
    (TIMESTAMP_MIN..=TIMESTAMP_MAX).contains(&timestamp_us).then_some(timestamp_us)
}

/// `date_trunc(unit, interval)`; the unit is one of [`Field::parse_unit`].
pub fn interval_trunc(unit: Field, interval: Interval) -> Interval {
    let months_of =
        |length: i32| Interval { months: interval.months / length * length, ..Interval::default() };
    match unit {
        Field::Day => Interval { micros: 0, ..interval },
        Field::Month => months_of(1),
        Field::Quarter => months_of(3),
        Field::Year => months_of(12),
        Field::Decade => months_of(120),
        Field::Century => months_of(1200),
        Field::Millennium => months_of(12_000),
        _ => match unit_us(unit) {
            Some(length) => Interval { micros: interval.micros / length * length, ..interval },
            None => interval,
        },
    }
}

/// `date_bin(stride, timestamp, origin)`: the start of the stride that a timestamp is in, counted from an origin.
///
/// # Errors
/// 22008 if the stride is not above zero or something is out of range, 0A000 for a stride with months.
pub fn date_bin(stride: Interval, timestamp_us: i64, origin_us: i64) -> Result<i64> {
    if !is_finite(timestamp_us) {
        return Ok(timestamp_us);
    }
    if !is_finite(origin_us) {
        return Err(overflow("origin out of range"));
    }
    if stride.months != 0 {
        let message = "timestamps cannot be binned into intervals containing months or years";
        return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    let day_us = i64::from(stride.days).checked_mul(DAY_US);
    let stride_us = day_us.and_then(|day_us| day_us.checked_add(stride.micros));
    let stride_us = stride_us.ok_or_else(interval_out_of_range)?;
    if stride_us <= 0 {
        return Err(overflow("stride must be greater than zero"));
    }
    let distance = timestamp_us.checked_sub(origin_us).ok_or_else(interval_out_of_range)?;
    let start = timestamp_us.checked_sub(distance.rem_euclid(stride_us));
    start.and_then(in_range).ok_or_else(timestamp_out_of_range)
}
