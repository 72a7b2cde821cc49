//! Dates, times and intervals made of numbers, and ages.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::Interval;

use super::{to_local, to_utc};
use crate::expr::kernel::Call;
use crate::expr::kernel::lift::{Arg, F64, I32, Result, Stamp, Text, each_row, map1, map2, map3};
use crate::expr::value::Value;
use crate::types::TimeZone;
use crate::types::calendar::{Civil, DAY_US, SECOND_US, days_in_month, is_finite, join, split};
use crate::types::number::write_f64;

fn overflow(message: String) -> ValueError {
    ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
}

fn day_of(year: i32, month: i32, day: i32) -> Result<i32> {
    // Negative years are BC; there is no year 0.
    let inner = if year < 0 { year + 1 } else { year };
    let wrong = || overflow(format!("date field value out of range: {inner}-{month:02}-{day:02}"));
    if year == 0 {
        return Err(wrong());
    }
    let (Ok(month @ 1..=12), Ok(day @ 1..)) = (u32::try_from(month), u32::try_from(day)) else {
        return Err(wrong());
    };
    if day > days_in_month(inner, month) {
        return Err(wrong());
    }
    let out_of_range = || overflow(format!("date out of range: {inner}-{month:02}-{day:02}"));
    Civil { year: inner, month, day }.date().ok_or_else(out_of_range)
}

/// A number of seconds as C's `%02g` prints it.
fn shown_seconds(seconds: f64) -> String {
    let mut text = Vec::new();
    write_f64(seconds, -9, &mut text);
    format!("{:0>2}", String::from_utf8_lossy(&text))
}

fn clock_of(hour: i32, minute: i32, second: f64) -> Result<i64> {
    let wrong =
        || overflow(format!("time field value out of range: {hour}:{minute:02}:{}", shown_seconds(second)));
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..=60.0).contains(&second) {
        return Err(wrong());
    }
    let micros = i64::from(hour * 3_600 + minute * 60) * SECOND_US + (second * 1e6).round_ties_even() as i64;
    if micros > DAY_US { Err(wrong()) } else { Ok(micros) }
}

pub(crate) fn make_date(call: &Call<'_>) -> Result<Value> {
    map3::<I32, I32, I32, i32>(call, day_of)
}

pub(crate) fn make_time(call: &Call<'_>) -> Result<Value> {
    map3::<I32, I32, F64, i64>(call, clock_of)
}

fn timestamp_row(call: &Call<'_>) -> impl Fn(usize) -> Result<i64> {
    let ints: [Arg<'_, I32>; 5] = std::array::from_fn(|i| Arg::of(&call.args[i]));
    let seconds = Arg::<F64>::of(&call.args[5]);
    move |row| {
        let [year, month, day, hour, minute] = std::array::from_fn(|i| ints[i].get(row));
        let seconds = seconds.get(row);
        // Here PostgreSQL prints the year as it was given.
        let wrong = |_| overflow(format!("date field value out of range: {year}-{month:02}-{day:02}"));
        let day_number = day_of(year, month, day).map_err(wrong)?;
        let micros = clock_of(hour, minute, seconds)?;
        join(day_number.into(), micros).ok_or_else(|| {
            let clock = format!("{hour:02}:{minute:02}:{}", shown_seconds(seconds));
            overflow(format!("timestamp out of range: {year}-{month:02}-{day:02} {clock}"))
        })
    }
}

pub(crate) fn make_timestamp(call: &Call<'_>) -> Result<Value> {
    each_row(call, timestamp_row(call))
}

/// `make_timestamptz(y, m, d, h, m, s [, zone])`
pub(crate) fn make_timestamptz(call: &Call<'_>) -> Result<Value> {
    let local = timestamp_row(call);
    let zones = call.args.get(6).map(Arg::<Text>::of);
    let session = call.context.format.timezone;
    each_row(call, |row| {
        let zone = zones.as_ref().map_or(Ok(session), |zones| TimeZone::parse(zones.get(row)))?;
        to_utc(local(row)?, zone)
    })
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`, from the left as many as are given
pub(crate) fn make_interval(call: &Call<'_>) -> Result<Value> {
    let count = call.args.len();
    let ints: Vec<Arg<'_, I32>> = call.args[..count.min(6)].iter().map(Arg::of).collect();
    let seconds = call.args.get(6).map(Arg::<F64>::of);
    each_row(call, |row| {
        let part = |i: usize| i64::from(ints.get(i).map_or(0, |arg| arg.get(row)));
        let wrong = || ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range");
        let seconds = seconds.as_ref().map_or(0.0, |arg| arg.get(row)) * 1e6;
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            return Err(wrong());
        }
        let micros = (part(4) * 3_600 + part(5) * 60) * SECOND_US;
        Ok(Interval {
            months: i32::try_from(part(0) * 12 + part(1)).map_err(|_| wrong())?,
            days: i32::try_from(part(2) * 7 + part(3)).map_err(|_| wrong())?,
            micros: micros.checked_add(seconds.round_ties_even() as i64).ok_or_else(wrong)?,
        })
    })
}

/// The difference in years, months, days and time, as a person counts it.
fn age_between(a: i64, b: i64) -> Result<Interval> {
    if !is_finite(a) || !is_finite(b) {
        return Err(super::timestamp_out_of_range());
    }
    let (late, early) = if a < b { (b, a) } else { (a, b) };
    let ((late_days, late_micros), (early_days, early_micros)) = (split(late), split(early));
    let (from, to) = (Civil::from_days(early_days), Civil::from_days(late_days));
    let mut months = i64::from(to.year - from.year) * 12 + i64::from(to.month) - i64::from(from.month);
    let mut days = i64::from(to.day) - i64::from(from.day);
    let mut micros = late_micros - early_micros;
    if micros < 0 {
        micros += DAY_US;
        days -= 1;
    }
    while days < 0 {
        // PostgreSQL borrows the days of the month of its second argument, or of the first if that is earlier.
        days += i64::from(days_in_month(from.year, from.month));
        months -= 1;
    }
    let sign = if a < b { -1 } else { 1 };
    Ok(Interval { months: (sign * months) as i32, days: (sign * days) as i32, micros: sign * micros })
}

/// `age(timestamp, timestamp)`
pub(crate) fn age(call: &Call<'_>) -> Result<Value> {
    map2::<Stamp, Stamp, Interval>(call, age_between)
}

/// `age(timestamptz, timestamptz)`
pub(crate) fn age_in_zone(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    map2::<Stamp, Stamp, Interval>(call, |a, b| age_between(to_local(a, zone)?, to_local(b, zone)?))
}

fn midnight(call: &Call<'_>) -> Result<i64> {
    let local = to_local(call.context.transaction_start_us, call.context.format.timezone)?;
    Ok(local - split(local).1)
}

/// `age(timestamp)`: since that, at midnight
pub(crate) fn age_today(call: &Call<'_>) -> Result<Value> {
    let today = midnight(call)?;
    map1::<Stamp, Interval>(call, |stamp| age_between(today, stamp))
}

/// `age(timestamptz)`
pub(crate) fn age_today_in_zone(call: &Call<'_>) -> Result<Value> {
    let (today, zone) = (midnight(call)?, call.context.format.timezone);
    map1::<Stamp, Interval>(call, |stamp| age_between(today, to_local(stamp, zone)?))
}
