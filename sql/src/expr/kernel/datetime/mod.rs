//! Arithmetic of dates, times, timestamps and intervals, and the clock.

pub(crate) mod field;
pub(crate) mod make;

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{Datum, Interval, PgType};

use super::Call;
use super::lift::{Clock, Day, F64, I32, Kind, Result, Span, Stamp, each_datum, map1, map2};
use crate::expr::value::Value;
use crate::types::TimeZone;
use crate::types::calendar::{
    Civil, DATE_INFINITY, DATE_MAX, DATE_MIN, DATE_NEG_INFINITY, DAY_US, EPOCH_2000_US, SECOND_US,
    TIMESTAMP_INFINITY, TIMESTAMP_MAX, TIMESTAMP_MIN, TIMESTAMP_NEG_INFINITY, is_finite, join, split,
};
use crate::types::number::write_f64;

pub(crate) fn timestamp_out_of_range() -> ValueError {
    ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

fn date_out_of_range() -> ValueError {
    ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range")
}

fn date_is_finite(days: i32) -> bool {
    days != DATE_INFINITY && days != DATE_NEG_INFINITY
}

/// A timestamp if PostgreSQL has it.
fn checked(timestamp_us: Option<i64>) -> Result<i64> {
    let inside = timestamp_us.filter(|us| (TIMESTAMP_MIN..=TIMESTAMP_MAX).contains(us));
    inside.ok_or_else(timestamp_out_of_range)
}

/// The first moment of a date.
pub(crate) fn date_to_timestamp(days: i32) -> Result<i64> {
    match days {
        DATE_INFINITY => Ok(TIMESTAMP_INFINITY),
        DATE_NEG_INFINITY => Ok(TIMESTAMP_NEG_INFINITY),
        _ => join(days.into(), 0).ok_or_else(|| {
            ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")
        }),
    }
}

/// The date of a local time.
pub(crate) fn timestamp_to_date(local_us: i64) -> i32 {
    match local_us {
        TIMESTAMP_INFINITY => DATE_INFINITY,
        TIMESTAMP_NEG_INFINITY => DATE_NEG_INFINITY,
        _ => split(local_us).0,
    }
}

/// The instant of a local time in a zone.
pub(crate) fn to_utc(local_us: i64, zone: TimeZone) -> Result<i64> {
    if !is_finite(local_us) {
        return Ok(local_us);
    }
    checked(local_us.checked_sub(i64::from(zone.offset_at_local(local_us)) * SECOND_US))
}

/// The local time of an instant in a zone.
pub(crate) fn to_local(utc_us: i64, zone: TimeZone) -> Result<i64> {
    if !is_finite(utc_us) {
        return Ok(utc_us);
    }
    checked(utc_us.checked_add(i64::from(zone.offset_at(utc_us)) * SECOND_US))
}

/// A date so many months later; the day is cut to the month's last.
fn add_months(days: i32, months: i32) -> Option<i32> {
    let civil = Civil::from_days(days);
    let total = i64::from(civil.year) * 12 + i64::from(civil.month) - 1 + i64::from(months);
    let year = i32::try_from(total.div_euclid(12)).ok()?;
    let month = total.rem_euclid(12) as u32 + 1;
    let first = Civil { year, month, day: 1 };
    Civil { day: civil.day.min(first.days_in_month()), ..first }.date()
}

/// A local time plus an interval.
pub(crate) fn add_interval(local_us: i64, interval: Interval) -> Result<i64> {
    if !is_finite(local_us) {
        return Ok(local_us);
    }
    let moved = add_days(local_us, interval)?;
    checked(moved.checked_add(interval.micros))
}

/// A local time plus the months and days of an interval.
fn add_days(local_us: i64, interval: Interval) -> Result<i64> {
    if interval.months == 0 && interval.days == 0 {
        return Ok(local_us);
    }
    let (days, micros) = split(local_us);
    let days = if interval.months == 0 { Some(days) } else { add_months(days, interval.months) };
    let days = days.map(|days| i64::from(days) + i64::from(interval.days));
    days.and_then(|days| join(days, micros)).ok_or_else(timestamp_out_of_range)
}

/// An instant plus an interval: months and days are those of the zone's calendar.
pub(crate) fn add_interval_in(utc_us: i64, interval: Interval, zone: TimeZone) -> Result<i64> {
    if !is_finite(utc_us) {
        return Ok(utc_us);
    }
    let moved = if interval.months == 0 && interval.days == 0 {
        utc_us
    } else {
        to_utc(add_days(to_local(utc_us, zone)?, interval)?, zone)?
    };
    checked(moved.checked_add(interval.micros))
}

/// Lifts `timestamp ± interval`; `change` is what becomes of the interval.
pub(crate) fn timestamp_interval(
    call: &Call<'_>,
    change: impl Fn(Interval) -> Result<Interval>,
) -> Result<Value> {
    map2::<Stamp, Span, i64>(call, |stamp, interval| add_interval(stamp, change(interval)?))
}

/// `interval + timestamp`
pub(crate) fn interval_timestamp(call: &Call<'_>) -> Result<Value> {
    map2::<Span, Stamp, i64>(call, |interval, stamp| add_interval(stamp, interval))
}

/// Lifts `timestamptz ± interval`.
pub(crate) fn timestamptz_interval(
    call: &Call<'_>,
    change: impl Fn(Interval) -> Result<Interval>,
) -> Result<Value> {
    let zone = call.context.format.timezone;
    map2::<Stamp, Span, i64>(call, |stamp, interval| add_interval_in(stamp, change(interval)?, zone))
}

/// `interval + timestamptz`
pub(crate) fn interval_timestamptz(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    map2::<Span, Stamp, i64>(call, |interval, stamp| add_interval_in(stamp, interval, zone))
}

/// Lifts `date ± interval`, a timestamp.
pub(crate) fn date_interval(call: &Call<'_>, change: impl Fn(Interval) -> Result<Interval>) -> Result<Value> {
    map2::<Day, Span, i64>(call, |day, interval| add_interval(date_to_timestamp(day)?, change(interval)?))
}

/// `interval + date`
pub(crate) fn interval_date(call: &Call<'_>) -> Result<Value> {
    map2::<Span, Day, i64>(call, |interval, day| add_interval(date_to_timestamp(day)?, interval))
}

fn move_date(days: i32, by: i64) -> Result<i32> {
    if !date_is_finite(days) {
        return Ok(days);
    }
    let moved = i32::try_from(i64::from(days) + by).ok().filter(|days| (DATE_MIN..=DATE_MAX).contains(days));
    moved.ok_or_else(date_out_of_range)
}

/// `date + integer`
pub(crate) fn date_plus(call: &Call<'_>) -> Result<Value> {
    map2::<Day, I32, i32>(call, |day, by| move_date(day, by.into()))
}

/// `integer + date`
pub(crate) fn plus_date(call: &Call<'_>) -> Result<Value> {
    map2::<I32, Day, i32>(call, |by, day| move_date(day, by.into()))
}

/// `date - integer`
pub(crate) fn date_minus(call: &Call<'_>) -> Result<Value> {
    map2::<Day, I32, i32>(call, |day, by| move_date(day, -i64::from(by)))
}

/// `date - date`
pub(crate) fn date_difference(call: &Call<'_>) -> Result<Value> {
    map2::<Day, Day, i32>(call, |a, b| {
        if date_is_finite(a) && date_is_finite(b) {
            Ok(a.wrapping_sub(b))
        } else {
            Err(ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite dates"))
        }
    })
}

/// `date + time`
pub(crate) fn date_time(call: &Call<'_>) -> Result<Value> {
    map2::<Day, Clock, i64>(call, join_day)
}

/// `time + date`
pub(crate) fn time_date(call: &Call<'_>) -> Result<Value> {
    map2::<Clock, Day, i64>(call, |clock, day| join_day(day, clock))
}

fn join_day(day: i32, clock: i64) -> Result<i64> {
    let start = date_to_timestamp(day)?;
    if is_finite(start) { checked(start.checked_add(clock)) } else { Ok(start) }
}

/// Lifts `time ± interval`, which goes round the clock.
pub(crate) fn time_interval(call: &Call<'_>, change: impl Fn(Interval) -> Result<Interval>) -> Result<Value> {
    map2::<Clock, Span, i64>(call, |clock, interval| Ok(round_the_clock(clock, change(interval)?)))
}

/// `interval + time`
pub(crate) fn interval_time(call: &Call<'_>) -> Result<Value> {
    map2::<Span, Clock, i64>(call, |interval, clock| Ok(round_the_clock(clock, interval)))
}

fn round_the_clock(clock: i64, interval: Interval) -> i64 {
    (clock + interval.micros % DAY_US).rem_euclid(DAY_US)
}

/// `time - time`
pub(crate) fn time_difference(call: &Call<'_>) -> Result<Value> {
    map2::<Clock, Clock, Interval>(call, |a, b| Ok(Interval { micros: a - b, ..Interval::default() }))
}

/// `timestamp - timestamp`, for both kinds
pub(crate) fn timestamp_difference(call: &Call<'_>) -> Result<Value> {
    map2::<Stamp, Stamp, Interval>(call, |a, b| {
        if !is_finite(a) || !is_finite(b) {
            let message = "cannot subtract infinite timestamps";
            return Err(ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        let micros = a
            .checked_sub(b)
            .ok_or_else(|| ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range"))?;
        Interval { micros, ..Interval::default() }.justify_hours()
    })
}

/// Lifts a function of one interval.
pub(crate) fn interval1(call: &Call<'_>, f: impl Fn(Interval) -> Result<Interval>) -> Result<Value> {
    map1::<Span, Interval>(call, f)
}

/// `timezone(text, timestamptz)`: `AT TIME ZONE`
pub(crate) fn zone_of_timestamptz(call: &Call<'_>) -> Result<Value> {
    in_zone::<super::lift::Text>(call, TimeZone::parse, to_local)
}

/// `timezone(text, timestamp)`
pub(crate) fn zone_of_timestamp(call: &Call<'_>) -> Result<Value> {
    in_zone::<super::lift::Text>(call, TimeZone::parse, to_utc)
}

/// `timezone(interval, timestamptz)`
pub(crate) fn offset_of_timestamptz(call: &Call<'_>) -> Result<Value> {
    in_zone::<Span>(call, zone_of_interval, to_local)
}

/// `timezone(interval, timestamp)`
pub(crate) fn offset_of_timestamp(call: &Call<'_>) -> Result<Value> {
    in_zone::<Span>(call, zone_of_interval, to_utc)
}

fn zone_of_interval(interval: Interval) -> Result<TimeZone> {
    if interval.months != 0 || interval.days != 0 {
        let message = format!("interval time zone \"{interval}\" must not include months or days");
        return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(TimeZone::Fixed((interval.micros / SECOND_US) as i32))
}

/// Reads the zone once if it is a constant.
fn in_zone<K: Kind>(
    call: &Call<'_>,
    read: impl Fn(K::Item<'_>) -> Result<TimeZone>,
    change: impl Fn(i64, TimeZone) -> Result<i64>,
) -> Result<Value> {
    if let Value::Scalar(zone) = &call.args[0] {
        let zone = read(K::of(zone))?;
        return map2::<K, Stamp, i64>(call, |_, stamp| change(stamp, zone));
    }
    map2::<K, Stamp, i64>(call, |zone, stamp| change(stamp, read(zone)?))
}

/// `now()` and its other names.
pub(crate) fn now(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Scalar(Datum::Timestamp(call.context.transaction_start_us)))
}

pub(crate) fn statement_timestamp(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Scalar(Datum::Timestamp(call.context.statement_start_us)))
}

/// The time on the wall, the same for all rows of a batch.
pub(crate) fn clock_timestamp(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Scalar(Datum::Timestamp(call.context.clock_us())))
}

/// `current_date`, `localtimestamp` and `localtime`, as the result type tells.
pub(crate) fn local_now(call: &Call<'_>) -> Result<Value> {
    let local = to_local(call.context.transaction_start_us, call.context.format.timezone)?;
    Ok(Value::Scalar(match call.result {
        PgType::Date => Datum::Date(split(local).0),
        PgType::Time => Datum::Time(split(local).1),
        _ => Datum::Timestamp(local),
    }))
}

pub(crate) fn date_isfinite(call: &Call<'_>) -> Result<Value> {
    map1::<Day, bool>(call, |day| Ok(date_is_finite(day)))
}

pub(crate) fn timestamp_isfinite(call: &Call<'_>) -> Result<Value> {
    map1::<Stamp, bool>(call, |stamp| Ok(is_finite(stamp)))
}

pub(crate) fn interval_isfinite(call: &Call<'_>) -> Result<Value> {
    map1::<Span, bool>(call, |_| Ok(true))
}

/// `to_timestamp(double precision)`: seconds since 1970
pub(crate) fn to_timestamp(call: &Call<'_>) -> Result<Value> {
    map1::<F64, i64>(call, |seconds| {
        if seconds.is_nan() {
            let message = "timestamp cannot be NaN";
            return Err(ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        if seconds.is_infinite() {
            return Ok(if seconds > 0.0 { TIMESTAMP_INFINITY } else { TIMESTAMP_NEG_INFINITY });
        }
        // Rounded as PostgreSQL does, which counts from 2000.
        const EPOCH_2000_S: f64 = (EPOCH_2000_US / SECOND_US) as f64;
        let micros = ((seconds - EPOCH_2000_S) * 1e6).round_ties_even();
        let inside = micros >= (TIMESTAMP_MIN - EPOCH_2000_US) as f64
            && micros < (TIMESTAMP_MAX - EPOCH_2000_US) as f64;
        if inside {
            Ok(micros as i64 + EPOCH_2000_US)
        } else {
            let mut text = Vec::new();
            write_f64(seconds, -9, &mut text);
            let message = format!("timestamp out of range: \"{}\"", String::from_utf8_lossy(&text));
            Err(ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, message))
        }
    })
}

/// Whether two intervals have a common instant. An end may come before its start; it is exclusive then, too.
fn intervals_overlap(start: i128, end: i128, other_start: i128, other_end: i128) -> bool {
    let (start, end) = (start.min(end), start.max(end));
    let (other_start, other_end) = (other_start.min(other_end), other_start.max(other_end));
    if start == other_start {
        true
    } else if start > other_start {
        start < other_end
    } else {
        other_start < end
    }
}

/// `(a, b) OVERLAPS (c, d)` of dates, times and timestamps.
pub(crate) fn overlaps(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let mut places = [0i128; 4];
        for (place, arg) in places.iter_mut().zip(args) {
            *place = match arg {
                Datum::Date(day) => i128::from(*day),
                Datum::Time(at) | Datum::Timestamp(at) => i128::from(*at),
                _ => return Ok(Datum::Null),
            };
        }
        Ok(Datum::Bool(intervals_overlap(places[0], places[1], places[2], places[3])))
    })
}
