//! `extract`, `date_part`: one field of a date or time as a number.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::interval::Interval;
use omen_core::types::numeric::Numeric;

use super::{HOUR_US, MINUTE_US, Result};
use crate::types::calendar::{
    Civil, DATE_INFINITY, DATE_NEG_INFINITY, DAY_US, EPOCH_JULIAN, SECOND_US, is_finite, iso_week, split,
    weekday,
};
use crate::types::zone::TimeZone;

/// What a field may be taken of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldSource {
    /// `date`
    Date,
    /// `time`
    Time,
    /// `timestamp`
    Timestamp,
    /// `timestamptz`
    Timestamptz,
    /// `interval`
    Interval,
}

impl FieldSource {
    fn type_name(self) -> &'static str {
        match self {
            FieldSource::Date => "date",
            FieldSource::Time => "time without time zone",
            FieldSource::Timestamp => "timestamp without time zone",
            FieldSource::Timestamptz => "timestamp with time zone",
            FieldSource::Interval => "interval",
        }
    }
}

/// A field of a date or time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names of SQL")]
pub enum Field {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
    Epoch,
    Julian,
    IsoYear,
    Dow,
    IsoDow,
    Doy,
}

/// PostgreSQL compares this many bytes of a name.
const NAME_BYTES: usize = 10;

/// Names cut to [`NAME_BYTES`].
const NAMES: [(Field, &[&str]); 22] = [
    (Field::Microseconds, &["microsecon", "us", "usec", "usecond", "useconds", "usecs"]),
    (Field::Milliseconds, &["millisecon", "ms", "msec", "msecond", "mseconds", "msecs"]),
    (Field::Second, &["s", "sec", "second", "seconds", "secs"]),
    (Field::Minute, &["m", "min", "mins", "minute", "minutes"]),
    (Field::Hour, &["h", "hour", "hours", "hr", "hrs"]),
    (Field::Day, &["d", "day", "days"]),
    (Field::Week, &["w", "week", "weeks"]),
    (Field::Month, &["mon", "mons", "month", "months"]),
    (Field::Quarter, &["qtr", "quarter"]),
    (Field::Year, &["y", "year", "years", "yr", "yrs"]),
    (Field::Decade, &["dec", "decade", "decades", "decs"]),
    (Field::Century, &["c", "cent", "centuries", "century"]),
    (Field::Millennium, &["mil", "millennia", "millennium", "mils"]),
    (Field::Timezone, &["timezone"]),
    (Field::TimezoneHour, &["timezone_h"]),
    (Field::TimezoneMinute, &["timezone_m"]),
    (Field::Epoch, &["epoch"]),
    (Field::Julian, &["j", "jd", "julian"]),
    (Field::IsoYear, &["isoyear"]),
    (Field::Dow, &["dow"]),
    (Field::IsoDow, &["isodow"]),
    (Field::Doy, &["doy"]),
];

fn named(lower: &str) -> Option<Field> {
    let key = lower.as_bytes().get(..NAME_BYTES).unwrap_or(lower.as_bytes());
    NAMES.iter().find(|(_, names)| names.iter().any(|name| name.as_bytes() == key)).map(|(field, _)| *field)
}

fn not_recognized(lower: &str, source: FieldSource) -> ValueError {
    let message = format!("unit \"{lower}\" not recognized for type {}", source.type_name());
    ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn not_supported(lower: &str, source: FieldSource) -> ValueError {
    let message = format!("unit \"{lower}\" not supported for type {}", source.type_name());
    ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

impl Field {
    /// The field that `extract` and `date_part` take of values of a type, in any case of letters.
    ///
    /// # Errors
    /// 22023 for an unknown name, 0A000 if the type has no such field.
    pub fn parse(name: &str, source: FieldSource) -> Result<Field> {
        let lower = name.to_lowercase();
        let field = named(&lower).ok_or_else(|| not_recognized(&lower, source))?;
        if field.is_of(source) { Ok(field) } else { Err(not_supported(&lower, source)) }
    }

    /// The unit that `date_trunc` cuts values of a type to, in any case of letters.
    ///
    /// # Errors
    /// 22023 for an unknown name, 0A000 if the type cannot be cut there.
    pub fn parse_unit(name: &str, source: FieldSource) -> Result<Field> {
        let lower = name.to_lowercase();
        let unit = named(&lower).filter(|unit| unit.is_unit());
        let unit = unit.ok_or_else(|| not_recognized(&lower, source))?;
        match (unit, source) {
            (Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute, _) => {
                Err(not_supported(&lower, source))
            }
            (Field::Week, FieldSource::Interval) => {
                Err(not_supported(&lower, source).with_detail("Months usually have fractional weeks."))
            }
            _ => Ok(unit),
        }
    }

    fn is_unit(self) -> bool {
        use Field::{Dow, Doy, Epoch, IsoDow, IsoYear, Julian};
        !matches!(self, Epoch | Julian | IsoYear | Dow | IsoDow | Doy)
    }

    fn is_of(self, source: FieldSource) -> bool {
        use Field::*;
        let of_time = matches!(self, Microseconds | Milliseconds | Second | Minute | Hour);
        let of_zone = matches!(self, Timezone | TimezoneHour | TimezoneMinute);
        match source {
            FieldSource::Date => !of_time && !of_zone,
            FieldSource::Time => of_time || self == Epoch,
            FieldSource::Timestamp => !of_zone,
            FieldSource::Timestamptz => true,
            FieldSource::Interval => self == Epoch || !of_zone && self != Week && self.is_unit(),
        }
    }

    /// Whether it grows for ever, so that infinity has it.
    fn is_monotonic(self) -> bool {
        use Field::*;
        matches!(self, Year | Decade | Century | Millennium | Julian | IsoYear | Epoch)
    }
}

/// Seconds of a year of an interval, which has 365.25 days.
const YEAR_S: i64 = 31_557_600;
/// Seconds of a month of an interval, which has 30 days.
const MONTH_S: f64 = 2_592_000.0;
const DAY_S: f64 = 86_400.0;

/// The whole years of an interval, and its other months, of 30 days, with its days.
fn years_and_days(interval: Interval) -> (i64, i64) {
    (i64::from(interval.months / 12), i64::from(interval.months % 12) * 30 + i64::from(interval.days))
}

/// The value of a field. `extract` answers a `numeric` of it, `date_part` a `double precision`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FieldValue {
    /// Without fraction.
    Integer(i64),
    /// Microseconds to be shown as seconds.
    Epoch(i64),
    /// An interval to be shown as seconds.
    Length(Interval),
    /// Seconds and microseconds to be shown as seconds.
    Seconds(i64, i64),
    /// Seconds and microseconds to be shown as milliseconds.
    Milliseconds(i64, i64),
    /// A day and the microseconds of it to be shown as days.
    Julian(i64, i64),
    /// Infinity, or its negative.
    Infinite {
        /// Whether it is below all others.
        negative: bool,
    },
}

impl FieldValue {
    /// What `extract` answers.
    ///
    /// # Errors
    /// 0A000 for infinity, which `Numeric` lacks.
    pub fn to_numeric(self) -> Result<Numeric> {
        let scaled = |value: i128, scale: u8| Numeric::new(value, scale).expect("fewer than 38 digits");
        Ok(match self {
            FieldValue::Integer(value) => Numeric::from(value),
            FieldValue::Epoch(micros) => scaled(i128::from(micros), 6),
            FieldValue::Length(interval) => {
                let (years, days) = years_and_days(interval);
                let whole = i128::from(years) * i128::from(YEAR_S) * i128::from(SECOND_US)
                    + i128::from(days) * i128::from(DAY_US);
                scaled(whole + i128::from(interval.micros), 6)
            }
            FieldValue::Seconds(seconds, micros) => scaled(i128::from(seconds * SECOND_US + micros), 6),
            FieldValue::Milliseconds(seconds, micros) => scaled(i128::from(seconds * SECOND_US + micros), 3),
            FieldValue::Julian(day, micros) => {
                Numeric::from(day).try_add(Numeric::from(micros).try_div(Numeric::from(DAY_US))?)?
            }
            FieldValue::Infinite { .. } => Numeric::from_f64(self.to_f64())?,
        })
    }

    /// What `date_part` answers.
    pub fn to_f64(self) -> f64 {
        match self {
            FieldValue::Integer(value) => value as f64,
            FieldValue::Epoch(micros) => micros as f64 / 1e6,
            FieldValue::Length(interval) => {
                // One by one, for PostgreSQL's roundings.
                let (years, months) = (interval.months / 12, interval.months % 12);
                interval.micros as f64 / 1e6
                    + YEAR_S as f64 * f64::from(years)
                    + MONTH_S * f64::from(months)
                    + DAY_S * f64::from(interval.days)
            }
            FieldValue::Seconds(seconds, micros) => seconds as f64 + micros as f64 / 1e6,
            FieldValue::Milliseconds(seconds, micros) => seconds as f64 * 1e3 + micros as f64 / 1e3,
            FieldValue::Julian(day, micros) => day as f64 + micros as f64 / DAY_US as f64,
            FieldValue::Infinite { negative: true } => f64::NEG_INFINITY,
            FieldValue::Infinite { negative: false } => f64::INFINITY,
        }
    }
}

/// A field of a timestamp; `None` is NULL: infinity has no day, and a field that [`Field::parse`] refuses no value.
pub fn timestamp_field(field: Field, timestamp_us: i64) -> Option<FieldValue> {
    if !is_finite(timestamp_us) {
        return field.is_monotonic().then_some(FieldValue::Infinite { negative: timestamp_us < 0 });
    }
    let (days, micros) = split(timestamp_us);
    match field {
        Field::Epoch => Some(FieldValue::Epoch(timestamp_us)),
        Field::Julian => Some(FieldValue::Julian(i64::from(days) + i64::from(EPOCH_JULIAN), micros)),
        _ => clock_field(field, micros).or_else(|| day_field(field, days).map(FieldValue::Integer)),
    }
}

/// A field of a timestamp with time zone, as the clocks of a zone show it; `None` as in [`timestamp_field`].
pub fn timestamptz_field(field: Field, utc_us: i64, zone: TimeZone) -> Option<FieldValue> {
    if field == Field::Epoch || !is_finite(utc_us) {
        return timestamp_field(field, utc_us);
    }
    let offset = i64::from(zone.offset_at(utc_us));
    match field {
        Field::Timezone => Some(FieldValue::Integer(offset)),
        Field::TimezoneHour => Some(FieldValue::Integer(offset / 3600)),
        Field::TimezoneMinute => Some(FieldValue::Integer(offset / 60 % 60)),
        // A local time may lie a few hours outside of the range, yet not be infinite.
        _ => timestamp_field(field, utc_us.saturating_add(offset * SECOND_US).min(i64::MAX - 1)),
    }
}

/// What `extract` takes of a date; `None` as in [`timestamp_field`]. (`date_part` takes it of the timestamp.)
pub fn date_field(field: Field, days: i32) -> Option<FieldValue> {
    if days == DATE_INFINITY || days == DATE_NEG_INFINITY {
        return field.is_monotonic().then_some(FieldValue::Infinite { negative: days < 0 });
    }
    day_field(field, days).map(FieldValue::Integer)
}

/// A field of a time; `None` for a field that it lacks.
pub fn time_field(field: Field, micros: i64) -> Option<FieldValue> {
    match field {
        Field::Epoch => Some(FieldValue::Epoch(micros)),
        _ => clock_field(field, micros),
    }
}

/// A field of an interval; `None` for a field that it lacks.
pub fn interval_field(field: Field, interval: Interval) -> Option<FieldValue> {
    let (years, months) = (i64::from(interval.months / 12), i64::from(interval.months % 12));
    Some(FieldValue::Integer(match field {
        Field::Epoch => return Some(FieldValue::Length(interval)),
        Field::Day => i64::from(interval.days),
        Field::Month => months,
        Field::Quarter => months / 3 + 1,
        Field::Year => years,
        Field::Decade => years / 10,
        Field::Century => years / 100,
        Field::Millennium => years / 1000,
        _ => return clock_field(field, interval.micros),
    }))
}

/// Fields of the clock; all have the sign of `micros`.
fn clock_field(field: Field, micros: i64) -> Option<FieldValue> {
    let (seconds, fraction) = (micros % MINUTE_US / SECOND_US, micros % SECOND_US);
    Some(match field {
        Field::Microseconds => FieldValue::Integer(micros % MINUTE_US),
        Field::Milliseconds => FieldValue::Milliseconds(seconds, fraction),
        Field::Second => FieldValue::Seconds(seconds, fraction),
        Field::Minute => FieldValue::Integer(micros % HOUR_US / MINUTE_US),
        Field::Hour => FieldValue::Integer(micros / HOUR_US),
        _ => return None,
    })
}

/// Fields of the calendar. There is no year 0 in them, nor century 0.
fn day_field(field: Field, days: i32) -> Option<i64> {
    let civil = Civil::from_days(days);
    let year = i64::from(civil.year);
    let period =
        |length: i64| if year > 0 { (year + length - 1) / length } else { -((length - year) / length) };
    Some(match field {
        Field::Day => i64::from(civil.day),
        Field::Month => i64::from(civil.month),
        Field::Quarter => i64::from((civil.month - 1) / 3 + 1),
        Field::Year => without_zero(year),
        Field::Decade => year.div_euclid(10),
        Field::Century => period(100),
        Field::Millennium => period(1000),
        Field::Week => i64::from(iso_week(days).1),
        Field::IsoYear => without_zero(i64::from(iso_week(days).0)),
        Field::Dow => i64::from(weekday(days)),
        Field::IsoDow => i64::from((weekday(days) + 6) % 7 + 1),
        Field::Doy => i64::from(days) - Civil { month: 1, day: 1, ..civil }.days() + 1,
        Field::Julian => i64::from(days) + i64::from(EPOCH_JULIAN),
        Field::Epoch => i64::from(days) * 86_400,
        _ => return None,
    })
}

/// The year as people count: -1 is 1 BC.
fn without_zero(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}
