//! Sums and differences, and `AT TIME ZONE`.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::interval::{Interval, IntervalStyle};

use super::{Result, interval_out_of_range, overflow, timestamp_of, timestamp_out_of_range};
use crate::types::calendar::{
    Civil, DATE_INFINITY, DATE_MAX, DATE_MIN, DATE_NEG_INFINITY, DAY_US, SECOND_US, TIMESTAMP_INFINITY,
    TIMESTAMP_NEG_INFINITY, days_in_month, is_finite, split,
};
use crate::types::zone::TimeZone;

/// Whether a date is not infinite.
pub fn is_finite_date(days: i32) -> bool {
    days != DATE_INFINITY && days != DATE_NEG_INFINITY
}

/// The midnight at which a date begins.
///
/// # Errors
/// 22008 if timestamps do not reach it.
pub fn date_to_timestamp(days: i32) -> Result<i64> {
    match days {
        DATE_INFINITY => Ok(TIMESTAMP_INFINITY),
        DATE_NEG_INFINITY => Ok(TIMESTAMP_NEG_INFINITY),
        _ => timestamp_of(i64::from(days), 0).map_err(|_| overflow("date out of range for timestamp")),
    }
}

/// `date + integer`
///
/// # Errors
/// 22008 if the result is out of range.
pub fn date_add_days(date: i32, days: i32) -> Result<i32> {
    if !is_finite_date(date) {
        return Ok(date);
    }
    let sum = date.checked_add(days).filter(|sum| (DATE_MIN..=DATE_MAX).contains(sum));
    sum.ok_or_else(|| overflow("date out of range"))
}

/// `date - integer`
///
/// # Errors
/// 22008 if the result is out of range.
pub fn date_sub_days(date: i32, days: i32) -> Result<i32> {
    match days.checked_neg() {
        _ if !is_finite_date(date) => Ok(date),
        Some(days) => date_add_days(date, days),
        None => Err(overflow("date out of range")),
    }
}

/// `date - date`, in days.
///
/// # Errors
/// 22008 if one of them is infinite.
pub fn date_sub(left: i32, right: i32) -> Result<i32> {
    if !is_finite_date(left) || !is_finite_date(right) {
        return Err(overflow("cannot subtract infinite dates"));
    }
    left.checked_sub(right).ok_or_else(|| overflow("date out of range"))
}

/// `date + time`
///
/// # Errors
/// 22008 if the result is out of range.
pub fn date_add_time(date: i32, time_us: i64) -> Result<i64> {
    if !is_finite_date(date) {
        return date_to_timestamp(date);
    }
    date_to_timestamp(date)?
        .checked_add(time_us)
        .filter(|sum| is_finite(*sum))
        .ok_or_else(timestamp_out_of_range)
}

/// `time + interval`; only the microseconds count, round the clock.
pub fn time_add_interval(time_us: i64, interval: Interval) -> i64 {
    (time_us + interval.micros % DAY_US).rem_euclid(DAY_US)
}

/// `time - interval`; only the microseconds count, round the clock.
pub fn time_sub_interval(time_us: i64, interval: Interval) -> i64 {
    (time_us - interval.micros % DAY_US).rem_euclid(DAY_US)
}

/// `time - time`
pub fn time_sub(left: i64, right: i64) -> Interval {
    Interval { micros: left - right, ..Interval::default() }
}

/// A local time some months and days later; a day that the month lacks becomes its last one.
fn add_calendar(local_us: i64, months: i32, days: i32) -> Result<i64> {
    let (mut date, micros) = split(local_us);
    if months != 0 {
        let civil = Civil::from_days(date);
        let month = i64::from(civil.year) * 12 + i64::from(civil.month) - 1 + i64::from(months);
        let year = i32::try_from(month.div_euclid(12)).map_err(|_| timestamp_out_of_range())?;
        let month = month.rem_euclid(12) as u32 + 1;
        let day = civil.day.min(days_in_month(year, month));
        let moved = timestamp_of(Civil { year, month, day }.days(), micros)?;
        date = split(moved).0;
    }
    timestamp_of(i64::from(date) + i64::from(days), micros)
}

/// `timestamp + interval`: months, then days, then microseconds.
///
/// # Errors
/// 22008 if a step is out of range.
pub fn timestamp_add_interval(timestamp_us: i64, interval: Interval) -> Result<i64> {
    if !is_finite(timestamp_us) {
        return Ok(timestamp_us);
    }
    let moved = add_calendar(timestamp_us, interval.months, interval.days)?;
    let (days, micros) = split(moved);
    let sum = micros.checked_add(interval.micros).ok_or_else(timestamp_out_of_range)?;
    timestamp_of(i64::from(days), sum)
}

/// `timestamp - interval`
///
/// # Errors
/// 22008 if a step is out of range.
pub fn timestamp_sub_interval(timestamp_us: i64, interval: Interval) -> Result<i64> {
    if !is_finite(timestamp_us) {
        return Ok(timestamp_us);
    }
    timestamp_add_interval(timestamp_us, interval.negated().map_err(|_| timestamp_out_of_range())?)
}

/// `timestamptz + interval`: months and days move the local clock of a zone, microseconds the instant.
///
/// # Errors
/// 22008 if a step is out of range.
pub fn timestamptz_add_interval(utc_us: i64, interval: Interval, zone: TimeZone) -> Result<i64> {
    if !is_finite(utc_us) {
        return Ok(utc_us);
    }
    let mut moved = utc_us;
    for (months, days) in [(interval.months, 0), (0, interval.days)] {
        if months != 0 || days != 0 {
            moved = from_time_zone(add_calendar(at_time_zone(moved, zone)?, months, days)?, zone)?;
        }
    }
    timestamp_add_interval(moved, Interval { micros: interval.micros, ..Interval::default() })
}

/// `timestamptz - interval`
///
/// # Errors
/// 22008 if a step is out of range.
pub fn timestamptz_sub_interval(utc_us: i64, interval: Interval, zone: TimeZone) -> Result<i64> {
    if !is_finite(utc_us) {
        return Ok(utc_us);
    }
    timestamptz_add_interval(utc_us, interval.negated().map_err(|_| timestamp_out_of_range())?, zone)
}

/// `timestamp - timestamp`, of both kinds: days of 24 hours and microseconds.
///
/// # Errors
/// 22008 if one of them is infinite.
pub fn timestamp_sub(left: i64, right: i64) -> Result<Interval> {
    if !is_finite(left) || !is_finite(right) {
        return Err(overflow("cannot subtract infinite timestamps"));
    }
    let micros = left.checked_sub(right).ok_or_else(interval_out_of_range)?;
    Interval { micros, ..Interval::default() }.justify_hours()
}

/// `age(timestamp, timestamp)`: years, months, days and time between them, as people count.
///
/// # Errors
/// 22008 if one of them is infinite.
pub fn age(left: i64, right: i64) -> Result<Interval> {
    if left < right { age_ordered(right, left, true) } else { age_ordered(left, right, false) }
}

/// `age(timestamptz, timestamptz)`: as the clocks of a zone show them.
///
/// # Errors
/// 22008 if one of them is infinite.
pub fn age_in_zone(left: i64, right: i64, zone: TimeZone) -> Result<Interval> {
    let (left_local, right_local) = (at_time_zone(left, zone)?, at_time_zone(right, zone)?);
    if left < right {
        age_ordered(right_local, left_local, true)
    } else {
        age_ordered(left_local, right_local, false)
    }
}

/// The age at `late` of what began at `early`, of local times; negated on request.
fn age_ordered(late: i64, early: i64, negate: bool) -> Result<Interval> {
    if !is_finite(late) || !is_finite(early) {
        return Err(timestamp_out_of_range());
    }
    let ((late_days, late_us), (early_days, early_us)) = (split(late), split(early));
    let (to, from) = (Civil::from_days(late_days), Civil::from_days(early_days));
    let mut micros = late_us - early_us;
    let mut days = to.day as i32 - from.day as i32;
    let mut months = (to.year - from.year) * 12 + to.month as i32 - from.month as i32;
    if micros < 0 {
        micros += DAY_US;
        days -= 1;
    }
    // The month that is lent from is that of the earlier one.
    while days < 0 {
        days += from.days_in_month() as i32;
        months -= 1;
    }
    let interval = Interval { months, days, micros };
    if negate { interval.negated() } else { Ok(interval) }
}

/// `timestamptz AT TIME ZONE zone`: what the clocks of the zone show.
///
/// # Errors
/// 22008 if the result is out of range.
pub fn at_time_zone(utc_us: i64, zone: TimeZone) -> Result<i64> {
    if !is_finite(utc_us) {
        return Ok(utc_us);
    }
    let (days, micros) = split(utc_us);
    timestamp_of(i64::from(days), micros + i64::from(zone.offset_at(utc_us)) * SECOND_US)
}

/// `timestamp AT TIME ZONE zone`: the instant at which the clocks of the zone show it.
///
/// # Errors
/// 22008 if the result is out of range.
pub fn from_time_zone(local_us: i64, zone: TimeZone) -> Result<i64> {
    if !is_finite(local_us) {
        return Ok(local_us);
    }
    let (days, micros) = split(local_us);
    timestamp_of(i64::from(days), micros - i64::from(zone.offset_at_local(local_us)) * SECOND_US)
}

/// The zone of `AT TIME ZONE interval`: so far east of Greenwich.
///
/// # Errors
/// 22023 if the interval has months or days.
pub fn interval_zone(offset: Interval) -> Result<TimeZone> {
    if offset.months != 0 || offset.days != 0 {
        let mut shown = Vec::new();
        offset.write(IntervalStyle::Postgres, &mut shown);
        let shown = String::from_utf8_lossy(&shown);
        let message = format!("interval time zone \"{shown}\" must not include months or days");
        return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    i32::try_from(offset.micros / SECOND_US).map(TimeZone::Fixed).map_err(|_| interval_out_of_range())
}
