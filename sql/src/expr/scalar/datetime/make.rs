//! Dates and times of numbers: `make_date` and the like, `to_timestamp(double precision)`.

use omen_core::types::interval::Interval;

use super::{HOUR_US, MINUTE_US, Result, from_time_zone, interval_out_of_range, overflow, timestamp_of};
use crate::types::calendar::{
    Civil, DAY_US, EPOCH_2000_US, TIMESTAMP_INFINITY, TIMESTAMP_MAX, TIMESTAMP_MIN, TIMESTAMP_NEG_INFINITY,
    days_in_month,
};
use crate::types::zone::TimeZone;

/// A day as `make_date` and `make_timestamp` take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names of SQL")]
pub struct DayFields {
    /// Negative years are BC.
    pub year: i32,
    pub month: i32,
    pub day: i32,
}

/// A time as `make_time` and `make_timestamp` take it.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(missing_docs, reason = "the names of SQL")]
pub struct ClockFields {
    pub hour: i32,
    pub minute: i32,
    pub second: f64,
}

/// What `make_interval` takes.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[expect(missing_docs, reason = "the names of SQL")]
pub struct IntervalFields {
    pub years: i32,
    pub months: i32,
    pub weeks: i32,
    pub days: i32,
    pub hours: i32,
    pub minutes: i32,
    pub seconds: f64,
}

/// `make_date`
///
/// # Errors
/// 22008 if there is no such day.
pub fn make_date(fields: DayFields) -> Result<i32> {
    // PostgreSQL's error has the year of the calendar if it is BC.
    let year_shown = if fields.year < 0 { fields.year.saturating_add(1) } else { fields.year };
    date_of(fields, year_shown)
}

/// The date; `year_shown` is for errors.
fn date_of(fields: DayFields, year_shown: i32) -> Result<i32> {
    let DayFields { year, month, day } = fields;
    let civil = || {
        // -1 is 1 BC, year 0 of the calendar.
        let year = if year < 0 { year.checked_add(1)? } else { Some(year).filter(|year| *year > 0)? };
        let month = u32::try_from(month).ok().filter(|month| (1..=12).contains(month))?;
        let day = u32::try_from(day).ok().filter(|day| (1..=days_in_month(year, month)).contains(day))?;
        Some(Civil { year, month, day })
    };
    let shown = format_args!("{year_shown}-{month:02}-{day:02}");
    let Some(civil) = civil() else {
        return Err(overflow(format!("date field value out of range: {shown}")));
    };
    civil.date().ok_or_else(|| overflow(format!("date out of range: {shown}")))
}

/// `make_time`
///
/// # Errors
/// 22008 if there is no such time.
pub fn make_time(fields: ClockFields) -> Result<i64> {
    let ClockFields { hour, minute, second } = fields;
    let in_range = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&second);
    let whole_us = i64::from(hour) * HOUR_US + i64::from(minute) * MINUTE_US;
    // At most 60 million when in range.
    let micros = whole_us.saturating_add((second * 1e6).round_ties_even() as i64);
    if in_range && micros <= DAY_US {
        return Ok(micros);
    }
    let shown = format!("{hour}:{minute:02}:{:0>2}", significant(second));
    Err(overflow(format!("time field value out of range: {shown}")))
}

/// `make_timestamp`
///
/// # Errors
/// 22008 if there is no such day or time.
pub fn make_timestamp(day: DayFields, clock: ClockFields) -> Result<i64> {
    let (date, time) = (date_of(day, day.year)?, make_time(clock)?);
    timestamp_of(i64::from(date), time).map_err(|_| {
        let date = format!("{}-{:02}-{:02}", day.year, day.month, day.day);
        let second = significant(clock.second);
        overflow(format!("timestamp out of range: {date} {}:{:02}:{second:0>2}", clock.hour, clock.minute))
    })
}

/// `make_timestamptz`
///
/// # Errors
/// 22008 if there is no such day or time.
pub fn make_timestamptz(day: DayFields, clock: ClockFields, zone: TimeZone) -> Result<i64> {
    from_time_zone(make_timestamp(day, clock)?, zone)
}

/// `make_interval`
///
/// # Errors
/// 22008 if a field overflows.
pub fn make_interval(fields: IntervalFields) -> Result<Interval> {
    let seconds_us = (fields.seconds * 1e6).round_ties_even();
    let interval = || {
        let fits = seconds_us >= i64::MIN as f64 && seconds_us < i64::MAX as f64;
        // Both products fit: hours and minutes have 32 bits.
        let clock_us = i64::from(fields.hours) * HOUR_US + i64::from(fields.minutes) * MINUTE_US;
        Some(Interval {
            months: fields.years.checked_mul(12)?.checked_add(fields.months)?,
            days: fields.weeks.checked_mul(7)?.checked_add(fields.days)?,
            micros: clock_us.checked_add(fits.then_some(seconds_us as i64)?)?,
        })
    };
    interval().ok_or_else(interval_out_of_range)
}

/// `to_timestamp(double precision)`: seconds since 1970 UTC.
///
/// # Errors
/// 22008 for NaN and what is out of range.
pub fn to_timestamp(seconds: f64) -> Result<i64> {
    if seconds.is_nan() {
        return Err(overflow("timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(if seconds > 0.0 { TIMESTAMP_INFINITY } else { TIMESTAMP_NEG_INFINITY });
    }
    // PostgreSQL rounds the microseconds since 2000.
    let since_2000_us = ((seconds - EPOCH_2000_US as f64 / 1e6) * 1e6).round_ties_even();
    let timestamp_us = (since_2000_us as i64).checked_add(EPOCH_2000_US);
    let timestamp_us = timestamp_us.filter(|us| (TIMESTAMP_MIN..=TIMESTAMP_MAX).contains(us));
    timestamp_us.ok_or_else(|| overflow(format!("timestamp out of range: \"{}\"", significant(seconds))))
}

/// `%g` of C: six significant digits.
fn significant(value: f64) -> String {
    let scientific = format!("{value:.5e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return if value.is_nan() { "nan".into() } else { scientific };
    };
    let short = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match exponent.parse::<i32>() {
        Ok(exponent @ -4..6) => short(&format!("{value:.*}", usize::try_from(5 - exponent).unwrap_or(0))),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", short(digits), exponent.unsigned_abs())
        }
        Err(_) => scientific,
    }
}
