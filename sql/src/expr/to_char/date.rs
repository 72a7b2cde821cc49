//! `to_char` of timestamps and intervals.

use std::fmt::Write as _;

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::interval::Interval;

use super::pattern::{DatePattern, FieldNode, Key, Node};
use super::{Result, ordinal};
use crate::types::calendar::{
    Civil, EPOCH_JULIAN, SECOND_US, is_finite, iso_week, iso_week_start, split, weekday,
};
use crate::types::zone::TimeZone;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
pub(super) const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// A date and time by its parts; all are small and signed, for intervals.
struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    day_of_year: i64,
    /// Days since 1970; `None` for intervals.
    days: Option<i32>,
    offset_s: i64,
    zone: String,
}

/// `to_char(timestamp, pattern)`, appended; false is NULL, for infinity and the empty pattern.
///
/// # Errors
/// None with timestamps.
pub fn timestamp_to_char(pattern: &DatePattern, timestamp_us: i64, out: &mut String) -> Result<bool> {
    local_to_char(pattern, timestamp_us, (0, String::new()), out)
}

/// `to_char(timestamptz, pattern)` as the clocks of a zone show it; NULL as in [`timestamp_to_char`].
///
/// # Errors
/// None with timestamps.
pub fn timestamptz_to_char(
    pattern: &DatePattern,
    utc_us: i64,
    zone: TimeZone,
    out: &mut String,
) -> Result<bool> {
    if !is_finite(utc_us) {
        return Ok(false);
    }
    let offset = i64::from(zone.offset_at(utc_us));
    let local_us = utc_us.saturating_add(offset * SECOND_US).min(i64::MAX - 1);
    local_to_char(pattern, local_us, (offset, zone.abbreviation_at(utc_us)), out)
}

fn local_to_char(
    pattern: &DatePattern,
    local_us: i64,
    zone: (i64, String),
    out: &mut String,
) -> Result<bool> {
    if !is_finite(local_us) || pattern.nodes.is_empty() {
        return Ok(false);
    }
    let (days, micros) = split(local_us);
    let civil = Civil::from_days(days);
    let mut parts = Parts::of_clock(micros);
    parts.year = i64::from(civil.year);
    parts.month = i64::from(civil.month);
    parts.day = i64::from(civil.day);
    parts.day_of_year = i64::from(days) - Civil { month: 1, day: 1, ..civil }.days() + 1;
    parts.days = Some(days);
    (parts.offset_s, parts.zone) = zone;
    parts.write(pattern, out)?;
    Ok(true)
}

/// `to_char(interval, pattern)`, appended; false is NULL, for the empty pattern.
///
/// # Errors
/// 22007 for fields that intervals lack.
pub fn interval_to_char(pattern: &DatePattern, interval: Interval, out: &mut String) -> Result<bool> {
    if pattern.nodes.is_empty() {
        return Ok(false);
    }
    let mut parts = Parts::of_clock(interval.micros);
    parts.year = i64::from(interval.months / 12);
    parts.month = i64::from(interval.months % 12);
    parts.day = i64::from(interval.days);
    parts.day_of_year = i64::from(interval.months) * 30 + parts.day;
    parts.write(pattern, out)?;
    Ok(true)
}

impl Parts {
    fn of_clock(micros: i64) -> Parts {
        let seconds = micros / SECOND_US;
        Parts {
            year: 0,
            month: 0,
            day: 0,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: micros % SECOND_US,
            day_of_year: 0,
            days: None,
            offset_s: 0,
            zone: String::new(),
        }
    }

    fn write(&self, pattern: &DatePattern, out: &mut String) -> Result<()> {
        for node in &pattern.nodes {
            match node {
                Node::Text(c) | Node::Separator(c) => out.push(*c),
                Node::Field(field) => match self.number(field)? {
                    Some((value, width)) => {
                        let start = out.len();
                        put(value, if field.fill { 0 } else { width }, out);
                        if let Some(lower) = field.ordinal {
                            let ending = ordinal(&out[start..], lower);
                            out.push_str(ending);
                        }
                    }
                    None => self.name(field, out)?,
                },
            }
        }
        Ok(())
    }

    /// Days since 1970.
    fn day_number(&self) -> Result<i32> {
        self.days.ok_or_else(|| {
            let message = "invalid format specification for an interval value";
            ValueError::new(SqlState::INVALID_DATETIME_FORMAT, message)
        })
    }

    /// The year as people count, without its era.
    fn shown_year(&self, year: i64) -> i64 {
        if self.days.is_some() && year <= 0 { 1 - year } else { year }
    }

    /// The value of a field that is a number, and its least width without sign.
    fn number(&self, field: &FieldNode) -> Result<Option<(i64, usize)>> {
        let last_digits = |year: i64, digits: u32| {
            let year = self.shown_year(year);
            if digits == 4 { year } else { year % 10_i64.pow(digits) }
        };
        Ok(Some(match field.key {
            Key::Hour12 => (if self.hour % 12 == 0 { 12 } else { self.hour % 12 }, 2),
            Key::Hour24 => (self.hour, 2),
            Key::Minute => (self.minute, 2),
            Key::Second => (self.second, 2),
            Key::SecondOfDay => (self.hour * 3600 + self.minute * 60 + self.second, 0),
            Key::Month => (self.month, 2),
            Key::DayOfYear => (self.day_of_year, 3),
            Key::DayOfMonth => (self.day, 2),
            Key::DayOfWeek => (i64::from(weekday(self.day_number()?)) + 1, 0),
            Key::IsoDayOfWeek => (i64::from((weekday(self.day_number()?) + 6) % 7) + 1, 0),
            Key::WeekOfYear => ((self.day_of_year - 1) / 7 + 1, 2),
            Key::WeekOfMonth => ((self.day - 1) / 7 + 1, 0),
            Key::IsoWeek => (i64::from(iso_week(self.day_number()?).1), 2),
            Key::IsoDayOfYear => {
                let days = self.day_number()?;
                (i64::from(days) - iso_week_start(iso_week(days).0, 1) + 1, 3)
            }
            Key::Quarter if self.month != 0 => ((self.month - 1) / 3 + 1, 0),
            Key::Century => match self.days {
                None => (self.year / 100, 2),
                Some(_) if self.year > 0 => ((self.year - 1) / 100 + 1, 2),
                Some(_) => (self.year / 100 - 1, 2),
            },
            Key::Year(digits) => (last_digits(self.year, digits), digits as usize),
            Key::IsoYear(digits) => {
                (last_digits(i64::from(iso_week(self.day_number()?).0), digits), digits as usize)
            }
            Key::Julian => (i64::from(self.day_number()?) + i64::from(EPOCH_JULIAN), 0),
            _ => return Ok(None),
        }))
    }

    /// Writes a field that is no plain number.
    fn name(&self, field: &FieldNode, out: &mut String) -> Result<()> {
        let start = out.len();
        let pad = if field.fill || field.translate { 0 } else { 9 };
        let month = || self.day_number().map(|_| MONTHS[self.month.rem_euclid(13) as usize - 1]);
        let day = || self.day_number().map(|days| DAYS[weekday(days) as usize]);
        match field.key {
            Key::Meridian | Key::MeridianDots => {
                let letters = if self.hour % 24 >= 12 { ["PM", "P.M."] } else { ["AM", "A.M."] };
                out.push_str(letters[usize::from(field.key == Key::MeridianDots)]);
            }
            Key::Era | Key::EraDots => {
                self.day_number()?;
                let letters = if self.year <= 0 { ["BC", "B.C."] } else { ["AD", "A.D."] };
                out.push_str(letters[usize::from(field.key == Key::EraDots)]);
            }
            Key::MonthName => padded(month()?, pad, out),
            Key::MonthShort => out.push_str(&month()?[..3]),
            Key::Day => padded(day()?, pad, out),
            Key::DayShort => out.push_str(&day()?[..3]),
            Key::Roman if self.month != 0 || self.year != 0 => {
                let month = if self.month < 0 { self.month + 13 } else { self.month };
                padded(ROMAN[(month + 11) as usize % 12], if field.fill { 0 } else { 4 }, out);
            }
            Key::Zone => {
                self.day_number()?;
                out.push_str(&self.zone);
            }
            _ => return self.compound(field, out),
        }
        if field.name.starts_with(|c: char| c.is_lowercase()) {
            out[start..].make_ascii_lowercase();
        } else if field.name.len() < 2 || !field.name[1..].contains(|c: char| c.is_lowercase()) {
            out[start..].make_ascii_uppercase();
        }
        Ok(())
    }

    /// Writes fractions, offsets and years with a comma.
    fn compound(&self, field: &FieldNode, out: &mut String) -> Result<()> {
        let start = out.len();
        let sign = if self.offset_s < 0 { '-' } else { '+' };
        let (hours, minutes) = (self.offset_s.abs() / 3600, self.offset_s.abs() / 60 % 60);
        match field.key {
            Key::Fraction(digits) => put(self.micros / 10_i64.pow(6 - digits), digits as usize, out),
            Key::Milliseconds => put(self.micros / 1000, 3, out),
            Key::Microseconds => put(self.micros, 6, out),
            Key::YearComma => {
                let year = self.shown_year(self.year);
                let _ = write!(out, "{},{:03}", year / 1000, year % 1000);
            }
            Key::ZoneHour | Key::ZoneMinute | Key::Offset => {
                self.day_number()?;
                match field.key {
                    Key::ZoneMinute => put(minutes, 2, out),
                    Key::Offset if field.fill => _ = write!(out, "{sign}{hours}"),
                    _ => _ = write!(out, "{sign}{hours:02}"),
                }
                if field.key == Key::Offset && minutes != 0 {
                    let _ = write!(out, ":{minutes:02}");
                }
                return Ok(());
            }
            _ => return Ok(()),
        }
        if let Some(lower) = field.ordinal {
            let ending = ordinal(&out[start..], lower);
            out.push_str(ending);
        }
        Ok(())
    }
}

/// Writes a number with at least so many digits.
fn put(value: i64, width: usize, out: &mut String) {
    let sign = if value < 0 { "-" } else { "" };
    let _ = write!(out, "{sign}{:0width$}", value.unsigned_abs());
}

fn padded(text: &str, width: usize, out: &mut String) {
    let _ = write!(out, "{text:<width$}");
}
