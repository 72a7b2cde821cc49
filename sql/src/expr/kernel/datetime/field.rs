//! Fields of dates and times: `extract`, `date_part`, `date_trunc` and `date_bin`.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::interval::IntervalUnit;
use omen_core::types::{Interval, Numeric, PgType};

use super::{timestamp_out_of_range, to_local, to_utc};
use crate::expr::kernel::Call;
use crate::expr::kernel::lift::{
    Arg, Clock, Day, Kind, NumBytes, Result, Span, Stamp, Text, each_row, each_row_nullable, map3,
};
use crate::expr::value::Value;
use crate::types::TimeZone;
use crate::types::calendar::{
    Civil, DATE_INFINITY, DATE_NEG_INFINITY, DAY_US, EPOCH_JULIAN, SECOND_US, TIMESTAMP_INFINITY, is_finite,
    iso_week, iso_week_start, join, split, weekday,
};

/// What can be asked of a date or time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Unit(IntervalUnit),
    Quarter,
    IsoYear,
    Dow,
    IsoDow,
    Doy,
    Julian,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl Field {
    fn named(name: &str) -> Option<Field> {
        Some(match name {
            "quarter" | "qtr" => Field::Quarter,
            "isoyear" => Field::IsoYear,
            "dow" => Field::Dow,
            "isodow" => Field::IsoDow,
            "doy" => Field::Doy,
            "j" | "jd" | "julian" => Field::Julian,
            "epoch" => Field::Epoch,
            "timezone" => Field::Timezone,
            "timezone_hour" => Field::TimezoneHour,
            "timezone_minute" => Field::TimezoneMinute,
            _ => Field::Unit(IntervalUnit::named(name)?),
        })
    }

    /// Whether infinity has the field: it grows for ever.
    fn grows(self) -> bool {
        use IntervalUnit::{Century, Decade, Millennium, Year};
        matches!(self, Field::Unit(Year | Decade | Century | Millennium))
            || matches!(self, Field::IsoYear | Field::Julian | Field::Epoch)
    }
}

fn unrecognized(name: &str, pg_type: PgType) -> ValueError {
    let message = format!("unit \"{name}\" not recognized for type {pg_type}");
    ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn unsupported(name: &str, pg_type: PgType) -> ValueError {
    let message = format!("unit \"{name}\" not supported for type {pg_type}");
    ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

/// That a field is no unit to cut at.
fn no_unit(field: Field, name: &str, pg_type: PgType) -> ValueError {
    match field {
        Field::Unit(_) | Field::Quarter | Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute => {
            unsupported(name, pg_type)
        }
        _ => unrecognized(name, pg_type),
    }
}

/// An exact number with a scale: the fields are at most that.
fn decimal(coefficient: i128, scale: u8) -> Result<Answer> {
    Ok(Answer::Number(Numeric::new(coefficient, scale).expect("a field has few digits")))
}

fn whole(value: i64) -> Result<Answer> {
    decimal(value.into(), 0)
}

/// What a field is.
enum Answer {
    Number(Numeric),
    /// Of `date_part`, where PostgreSQL computes with floats.
    Float(f64),
    /// Of infinity, positive or negative.
    Infinite(bool),
    /// Infinity has no such field.
    Nothing,
}

/// Lifts a reading of a field to `extract` (numeric) or `date_part` (double precision), as the result type tells.
fn lift<K: Kind>(
    call: &Call<'_>,
    read: impl Fn(Field, &str, K::Item<'_>) -> Result<Answer>,
) -> Result<Value> {
    let names = Arg::<Text>::of(&call.args[0]);
    let values = Arg::<K>::of(&call.args[1]);
    let pg_type = call.types[1];
    // The field is a constant nearly always: look it up once.
    let constant = match &names {
        Arg::Constant(name) => Some(find(name, pg_type)?),
        Arg::Column(_) => None,
    };
    let answer = |row: usize| -> Result<Answer> {
        match &constant {
            Some((field, name)) => read(*field, name, values.get(row)),
            None => {
                let (field, name) = find(names.get(row), pg_type)?;
                read(field, &name, values.get(row))
            }
        }
    };
    if call.result == PgType::Float8 {
        return each_row_nullable::<f64>(call, |row| {
            Ok(match answer(row)? {
                Answer::Number(value) => Some(value.to_f64()),
                Answer::Float(value) => Some(value),
                Answer::Infinite(positive) => Some(if positive { f64::INFINITY } else { f64::NEG_INFINITY }),
                Answer::Nothing => None,
            })
        });
    }
    each_row_nullable::<NumBytes>(call, |row| {
        Ok(match answer(row)? {
            Answer::Number(value) => Some(value.into()),
            Answer::Float(value) => Some(Numeric::from_f64(value)?.into()),
            Answer::Infinite(_) => return Err(Numeric::parse("infinity").expect_err("there is none")),
            Answer::Nothing => None,
        })
    })
}

fn find(name: &str, pg_type: PgType) -> Result<(Field, String)> {
    let lower = name.to_ascii_lowercase();
    let field = Field::named(&lower).ok_or_else(|| unrecognized(&lower, pg_type))?;
    Ok((field, lower))
}

/// Fields of the day.
fn day_field(field: Field, days: i32) -> Option<i64> {
    let civil = Civil::from_days(days);
    // Year 0 is 1 BC in here and -1 outside.
    let outside = |year: i32| i64::from(if year > 0 { year } else { year - 1 });
    let year = i64::from(civil.year);
    let period = |length: i64| {
        if year > 0 { (year + length - 1) / length } else { -((length - 1 - (year - 1)) / length) }
    };
    Some(match field {
        Field::Unit(IntervalUnit::Day) => civil.day.into(),
        Field::Unit(IntervalUnit::Week) => iso_week(days).1.into(),
        Field::Unit(IntervalUnit::Month) => civil.month.into(),
        Field::Unit(IntervalUnit::Year) => outside(civil.year),
        Field::Unit(IntervalUnit::Decade) if year >= 0 => year / 10,
        Field::Unit(IntervalUnit::Decade) => -((8 - (year - 1)) / 10),
        Field::Unit(IntervalUnit::Century) => period(100),
        Field::Unit(IntervalUnit::Millennium) => period(1_000),
        Field::Quarter => i64::from((civil.month - 1) / 3 + 1),
        Field::IsoYear => outside(iso_week(days).0),
        Field::Dow => weekday(days).into(),
        Field::IsoDow => i64::from((weekday(days) + 6) % 7 + 1),
        Field::Doy => i64::from(days) - Civil { month: 1, day: 1, ..civil }.days() + 1,
        Field::Julian => i64::from(days) + i64::from(EPOCH_JULIAN),
        _ => return None,
    })
}

/// Fields of the time of day, or of the time part of an interval.
fn time_field(field: Field, micros: i64) -> Option<Result<Answer>> {
    let Field::Unit(unit) = field else { return None };
    let seconds = micros / SECOND_US;
    Some(match unit {
        IntervalUnit::Microsecond => whole(micros % (60 * SECOND_US)),
        IntervalUnit::Millisecond => decimal((micros % (60 * SECOND_US)).into(), 3),
        IntervalUnit::Second => decimal((micros % (60 * SECOND_US)).into(), 6),
        IntervalUnit::Minute => whole(seconds / 60 % 60),
        IntervalUnit::Hour => whole(seconds / 3_600),
        _ => return None,
    })
}

fn timestamp_field(field: Field, name: &str, local_us: i64, pg_type: PgType) -> Result<Answer> {
    if !is_finite(local_us) {
        return Ok(if field.grows() {
            Answer::Infinite(local_us == TIMESTAMP_INFINITY)
        } else {
            Answer::Nothing
        });
    }
    let (days, micros) = split(local_us);
    if field == Field::Julian {
        let whole = Numeric::from(i64::from(days) + i64::from(EPOCH_JULIAN));
        let part = Numeric::from(micros).try_div(Numeric::from(DAY_US))?;
        return Ok(Answer::Number(whole.try_add(part)?));
    }
    if field == Field::Epoch {
        return decimal(local_us.into(), 6);
    }
    if let Some(value) = day_field(field, days) {
        return whole(value);
    }
    time_field(field, micros).unwrap_or_else(|| Err(unsupported(name, pg_type)))
}

/// `extract(.. from timestamp)`
pub(crate) fn of_timestamp(call: &Call<'_>) -> Result<Value> {
    lift::<Stamp>(call, |field, name, stamp| timestamp_field(field, name, stamp, PgType::Timestamp))
}

/// `extract(.. from timestamptz)`
pub(crate) fn of_timestamptz(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    lift::<Stamp>(call, |field, name, stamp| {
        if !is_finite(stamp) {
            return timestamp_field(field, name, stamp, PgType::Timestamptz);
        }
        let offset = i64::from(zone.offset_at(stamp));
        match field {
            Field::Epoch => decimal(stamp.into(), 6),
            Field::Timezone => whole(offset),
            Field::TimezoneHour => whole(offset / 3_600),
            Field::TimezoneMinute => whole(offset / 60 % 60),
            _ => timestamp_field(field, name, to_local(stamp, zone)?, PgType::Timestamptz),
        }
    })
}

/// `extract(.. from date)`
pub(crate) fn of_date(call: &Call<'_>) -> Result<Value> {
    lift::<Day>(call, |field, name, day| {
        let time = time_field(field, 0).is_some();
        if time || matches!(field, Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute) {
            return Err(unsupported(name, PgType::Date));
        }
        match day {
            DATE_INFINITY | DATE_NEG_INFINITY if field.grows() => Ok(Answer::Infinite(day > 0)),
            DATE_INFINITY | DATE_NEG_INFINITY => Ok(Answer::Nothing),
            _ if field == Field::Epoch => whole(i64::from(day) * 86_400),
            _ => whole(day_field(field, day).ok_or_else(|| unsupported(name, PgType::Date))?),
        }
    })
}

/// `extract(.. from time)`
pub(crate) fn of_time(call: &Call<'_>) -> Result<Value> {
    lift::<Clock>(call, |field, name, clock| match field {
        Field::Epoch => decimal(clock.into(), 6),
        _ => time_field(field, clock).unwrap_or_else(|| Err(unsupported(name, PgType::Time))),
    })
}

/// `extract(.. from interval)`
pub(crate) fn of_interval(call: &Call<'_>) -> Result<Value> {
    lift::<Span>(call, |field, name, span| {
        let (years, months) = (i64::from(span.months / 12), i64::from(span.months % 12));
        match field {
            Field::Unit(IntervalUnit::Day) => whole(span.days.into()),
            Field::Unit(IntervalUnit::Month) => whole(months),
            Field::Quarter => whole(months / 3 + 1),
            Field::Unit(IntervalUnit::Year) => whole(years),
            Field::Unit(IntervalUnit::Decade) => whole(years / 10),
            Field::Unit(IntervalUnit::Century) => whole(years / 100),
            Field::Unit(IntervalUnit::Millennium) => whole(years / 1_000),
            Field::Epoch if call.result == PgType::Float8 => {
                const DAY_S: f64 = 86_400.0;
                let seconds = span.micros as f64 / 1e6 + 365.25 * DAY_S * years as f64;
                let seconds = seconds + 30.0 * DAY_S * months as f64 + DAY_S * f64::from(span.days);
                Ok(Answer::Float(seconds))
            }
            Field::Epoch => {
                // A year has 365.25 days, a month 30.
                let quarter_days =
                    i128::from(years) * 1_461 + i128::from(months) * 120 + i128::from(span.days) * 4;
                decimal(quarter_days * i128::from(DAY_US / 4) + i128::from(span.micros), 6)
            }
            _ => time_field(field, span.micros).unwrap_or_else(|| Err(unsupported(name, PgType::Interval))),
        }
    })
}

/// A local time cut down to a unit.
fn truncate(field: Field, name: &str, local_us: i64, pg_type: PgType) -> Result<i64> {
    let (days, micros) = split(local_us);
    let civil = Civil::from_days(days);
    let start_of_year = |year: i32| Civil { year, month: 1, day: 1 }.days();
    let period = |length: i32| {
        let year = civil.year;
        let periods =
            if year > 0 { (year + length - 1) / length } else { -((length - 1 - (year - 1)) / length) };
        if year > 0 { periods * length - (length - 1) } else { periods * length + 1 }
    };
    let (days, micros) = match field {
        Field::Unit(unit) => match unit {
            IntervalUnit::Microsecond => (days.into(), micros),
            IntervalUnit::Millisecond => (days.into(), micros / 1_000 * 1_000),
            IntervalUnit::Second => (days.into(), micros / SECOND_US * SECOND_US),
            IntervalUnit::Minute => (days.into(), micros / (60 * SECOND_US) * (60 * SECOND_US)),
            IntervalUnit::Hour => (days.into(), micros / (3_600 * SECOND_US) * (3_600 * SECOND_US)),
            IntervalUnit::Day => (days.into(), 0),
            IntervalUnit::Week => {
                let (year, week) = iso_week(days);
                (iso_week_start(year, week.into()), 0)
            }
            IntervalUnit::Month => (Civil { day: 1, ..civil }.days(), 0),
            IntervalUnit::Year => (start_of_year(civil.year), 0),
            IntervalUnit::Decade if civil.year > 0 => (start_of_year(civil.year / 10 * 10), 0),
            IntervalUnit::Decade => (start_of_year(-((8 - (civil.year - 1)) / 10) * 10), 0),
            IntervalUnit::Century => (start_of_year(period(100)), 0),
            IntervalUnit::Millennium => (start_of_year(period(1_000)), 0),
        },
        Field::Quarter => (Civil { month: (civil.month - 1) / 3 * 3 + 1, day: 1, ..civil }.days(), 0),
        _ => return Err(no_unit(field, name, pg_type)),
    };
    join(days, micros).ok_or_else(timestamp_out_of_range)
}

/// Reads the unit once if it is a constant.
fn with_unit(call: &Call<'_>, pg_type: PgType, f: impl Fn(Field, &str, i64) -> Result<i64>) -> Result<Value> {
    let (names, stamps) = (Arg::<Text>::of(&call.args[0]), Arg::<Stamp>::of(&call.args[1]));
    if let Arg::Constant(name) = names {
        let (field, name) = find(name, pg_type)?;
        return each_row(call, |row| f(field, &name, stamps.get(row)));
    }
    each_row(call, |row| {
        let (field, name) = find(names.get(row), pg_type)?;
        f(field, &name, stamps.get(row))
    })
}

/// `date_trunc(text, timestamp)`
pub(crate) fn trunc_timestamp(call: &Call<'_>) -> Result<Value> {
    with_unit(call, PgType::Timestamp, |field, name, stamp| {
        if is_finite(stamp) { truncate(field, name, stamp, PgType::Timestamp) } else { Ok(stamp) }
    })
}

fn truncate_in(field: Field, name: &str, stamp: i64, zone: TimeZone) -> Result<i64> {
    if !is_finite(stamp) {
        return Ok(stamp);
    }
    let local = to_local(stamp, zone)?;
    let cut = truncate(field, name, local, PgType::Timestamptz)?;
    // Within a day the offset stays that of the instant: an hour that comes twice is not moved.
    match field {
        Field::Unit(unit) if unit < IntervalUnit::Day => Ok(stamp - (local - cut)),
        _ => to_utc(cut, zone),
    }
}

/// `date_trunc(text, timestamptz)`
pub(crate) fn trunc_timestamptz(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    with_unit(call, PgType::Timestamptz, |field, name, stamp| truncate_in(field, name, stamp, zone))
}

/// `date_trunc(text, timestamptz, text)`
pub(crate) fn trunc_timestamptz_in(call: &Call<'_>) -> Result<Value> {
    map3::<Text, Stamp, Text, i64>(call, |name, stamp, zone| {
        let zone = TimeZone::parse(zone)?;
        let (field, name) = find(name, PgType::Timestamptz)?;
        truncate_in(field, &name, stamp, zone)
    })
}

/// `date_trunc(text, interval)`
pub(crate) fn trunc_interval(call: &Call<'_>) -> Result<Value> {
    let (names, spans) = (Arg::<Text>::of(&call.args[0]), Arg::<Span>::of(&call.args[1]));
    each_row(call, |row| {
        let (field, name) = find(names.get(row), PgType::Interval)?;
        let span: Interval = spans.get(row);
        let months = |step: i32| Interval { months: span.months / step * step, days: 0, micros: 0 };
        let micros = |step: i64| Interval { micros: span.micros / step * step, ..span };
        Ok(match field {
            Field::Unit(IntervalUnit::Microsecond) => span,
            Field::Unit(IntervalUnit::Millisecond) => micros(1_000),
            Field::Unit(IntervalUnit::Second) => micros(SECOND_US),
            Field::Unit(IntervalUnit::Minute) => micros(60 * SECOND_US),
            Field::Unit(IntervalUnit::Hour) => micros(3_600 * SECOND_US),
            Field::Unit(IntervalUnit::Day) => Interval { micros: 0, ..span },
            Field::Unit(IntervalUnit::Month) => months(1),
            Field::Quarter => months(3),
            Field::Unit(IntervalUnit::Year) => months(12),
            Field::Unit(IntervalUnit::Decade) => months(120),
            Field::Unit(IntervalUnit::Century) => months(1_200),
            Field::Unit(IntervalUnit::Millennium) => months(12_000),
            _ => {
                let error = no_unit(field, &name, PgType::Interval);
                let week = field == Field::Unit(IntervalUnit::Week);
                let detail = "Months usually have fractional weeks.";
                return Err(if week { error.with_detail(detail) } else { error });
            }
        })
    })
}

/// `date_bin(interval, timestamp, timestamp)`, for both kinds
pub(crate) fn date_bin(call: &Call<'_>) -> Result<Value> {
    map3::<Span, Stamp, Stamp, i64>(call, |stride, stamp, origin| {
        if !is_finite(stamp) {
            return Ok(stamp);
        }
        let wrong = |state, message: &str| Err(ValueError::new(state, message));
        if !is_finite(origin) {
            return wrong(SqlState::DATETIME_FIELD_OVERFLOW, "origin out of range");
        }
        if stride.months != 0 {
            let message = "timestamps cannot be binned into intervals containing months or years";
            return wrong(SqlState::FEATURE_NOT_SUPPORTED, message);
        }
        let step = i128::from(stride.days) * i128::from(DAY_US) + i128::from(stride.micros);
        if step <= 0 {
            return wrong(SqlState::DATETIME_FIELD_OVERFLOW, "stride must be greater than zero");
        }
        let distance = i128::from(stamp) - i128::from(origin);
        let binned = i128::from(origin) + distance.div_euclid(step) * step;
        super::checked(i64::try_from(binned).ok())
    })
}
