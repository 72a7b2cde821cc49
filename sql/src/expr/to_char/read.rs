//! `to_date` and `to_timestamp(text, pattern)`.

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::Result;
use super::date::{DAYS, MONTHS, ROMAN};
use super::pattern::{DatePattern, FieldNode, Key, Node, is_separator};
use crate::expr::kernel::datetime::{timestamp_out_of_range, to_utc};
use crate::types::calendar::{Civil, DAY_US, EPOCH_JULIAN, SECOND_US, days_in_month, iso_week_start, join};
use crate::types::zone::TimeZone;

/// What a text has given, by field.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    century: Option<i64>,
    before_christ: bool,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    julian: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    hour: Option<i64>,
    twelve_hours: bool,
    afternoon: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    second_of_day: Option<i64>,
    micros: Option<i64>,
    /// Whether a minus sign was skipped as a separator just before.
    minus_skipped: bool,
    zone_sign: i64,
    zone_s: Option<i64>,
}

fn malformed(message: String) -> ValueError {
    ValueError::new(SqlState::INVALID_DATETIME_FORMAT, message)
}

fn out_of_range(text: &str) -> ValueError {
    let message = format!("date/time field value out of range: \"{text}\"");
    ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
}

/// `to_date(text, pattern)`
///
/// # Errors
/// 22007 if the text does not fit the pattern, 22008 if a field is out of range.
pub fn to_date(text: &str, pattern: &DatePattern) -> Result<i32> {
    let found = Found::read(text, pattern)?;
    found.clock(text)?;
    found.date(text)?.date().ok_or_else(|| {
        ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: \"{text}\""))
    })
}

/// `to_timestamp(text, pattern)` in the session's zone, if the text names none.
///
/// # Errors
/// As [`to_date`].
pub fn to_timestamp(text: &str, pattern: &DatePattern, zone: TimeZone) -> Result<i64> {
    let found = Found::read(text, pattern)?;
    let local_us = join(found.date(text)?.days(), found.clock(text)?).ok_or_else(timestamp_out_of_range)?;
    match found.zone_s {
        Some(offset) => {
            let utc_us = local_us.checked_sub(offset * found.zone_sign * SECOND_US);
            join(0, utc_us.ok_or_else(|| out_of_range(text))?).ok_or_else(timestamp_out_of_range)
        }
        None => to_utc(local_us, zone),
    }
}

/// Reads a signed number of at most `width` characters, or all digits if what follows ends it anyway.
fn integer(rest: &mut &str, field: &FieldNode, width: usize, delimited: bool) -> Result<i64> {
    *rest = rest.trim_start();
    let signed = usize::from(rest.starts_with(['-', '+']));
    let run = signed + rest[signed..].bytes().take_while(u8::is_ascii_digit).count();
    let used = if delimited { run } else { run.min(width) };
    let shown: String = rest.chars().take(width).collect();
    let name = field.name;
    if !delimited && shown.chars().count() < width {
        let message = format!("source string too short for \"{name}\" formatting field");
        let remain = shown.chars().count();
        let detail = format!("Field requires {width} characters, but only {remain} remain.");
        return Err(malformed(message).with_detail(detail));
    }
    let invalid = || malformed(format!("invalid value \"{shown}\" for \"{name}\""));
    if used == signed {
        return Err(invalid().with_detail("Value must be an integer."));
    }
    if !delimited && used < width {
        let detail = format!("Field requires {width} characters, but only {used} could be parsed.");
        return Err(invalid().with_detail(detail));
    }
    let value = rest[..used].parse::<i32>().map_err(|_| {
        let message = format!("value for \"{name}\" in source string is out of range");
        ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
    })?;
    *rest = &rest[used..];
    Ok(i64::from(value))
}

/// The index of the name that the text begins with, in any case of letters.
fn name_of<'n>(rest: &mut &str, field: &FieldNode, names: impl Iterator<Item = &'n str>) -> Result<usize> {
    for (index, name) in names.enumerate() {
        if rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            *rest = &rest[name.len()..];
            return Ok(index);
        }
    }
    let shown: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
    let message = format!("invalid value \"{shown}\" for \"{}\"", field.name);
    Err(malformed(message)
        .with_detail("The given value did not match any of the allowed values for this field."))
}

fn set(slot: &mut Option<i64>, value: i64, field: &FieldNode) -> Result<()> {
    match slot.replace(value) {
        Some(before) if before != value => {
            let message = format!("conflicting values for \"{}\" field in formatting string", field.name);
            Err(malformed(message)
                .with_detail("This value contradicts a previous setting for the same field type."))
        }
        _ => Ok(()),
    }
}

impl Found {
    fn read(text: &str, pattern: &DatePattern) -> Result<Found> {
        let mut found = Found { zone_sign: 1, ..Found::default() };
        let mut rest = text;
        // Spaces skipped beyond those of the pattern.
        let mut skipped = 0_i64;
        let skip = |rest: &mut &str| {
            let shorter = rest.trim_start();
            let count = rest.len() - shorter.len();
            *rest = shorter;
            i64::try_from(count).unwrap_or(0)
        };
        for (index, node) in pattern.nodes.iter().enumerate() {
            if rest.is_empty() {
                break;
            }
            if !pattern.exact && (index == 0 || matches!(node, Node::Field(_))) {
                skipped += skip(&mut rest);
            }
            match node {
                Node::Separator(_) if !pattern.exact => {
                    skipped -= 1;
                    if let Some(after) = rest.strip_prefix(|c: char| c.is_whitespace() || is_separator(c)) {
                        rest = after;
                        skipped += 1;
                    }
                }
                Node::Text(_) if skipped > 0 && !pattern.exact => skipped -= 1,
                Node::Text(_) | Node::Separator(_) => {
                    let mut chars = rest.chars();
                    chars.next();
                    rest = chars.as_str();
                }
                Node::Field(field) => {
                    let delimited = field.ordinal.is_some()
                        || match pattern.nodes.get(index + 1) {
                            None => true,
                            Some(Node::Field(next)) => !next.key.is_digits(),
                            Some(Node::Text(c) | Node::Separator(c)) => !c.is_ascii_digit(),
                        };
                    found.minus_skipped = skipped > 0 && text[..text.len() - rest.len()].ends_with('-');
                    found.field(&mut rest, field, field.fill || delimited)?;
                    if field.ordinal.is_some() {
                        rest = rest.get(2..).unwrap_or("");
                    }
                    skipped = if pattern.exact { 0 } else { skip(&mut rest) };
                }
            }
        }
        Ok(found)
    }

    fn field(&mut self, rest: &mut &str, field: &FieldNode, delimited: bool) -> Result<()> {
        let mut number = |width| integer(rest, field, width, delimited);
        match field.key {
            Key::Hour12 => {
                self.twelve_hours = true;
                set(&mut self.hour, number(2)?, field)
            }
            Key::Hour24 => set(&mut self.hour, number(2)?, field),
            Key::Minute => set(&mut self.minute, number(2)?, field),
            Key::Second => set(&mut self.second, number(2)?, field),
            Key::SecondOfDay => set(&mut self.second_of_day, number(5)?, field),
            Key::Month => set(&mut self.month, number(2)?, field),
            Key::DayOfMonth => set(&mut self.day, number(2)?, field),
            Key::DayOfYear => set(&mut self.day_of_year, number(3)?, field),
            Key::IsoDayOfYear => {
                let day = number(3)?;
                self.iso_week = Some((day - 1) / 7 + 1);
                set(&mut self.iso_day, (day - 1) % 7 + 1, field)
            }
            Key::DayOfWeek | Key::Quarter => number(1).map(|_| ()),
            Key::IsoDayOfWeek => set(&mut self.iso_day, number(1)?, field),
            Key::IsoWeek => set(&mut self.iso_week, number(2)?, field),
            Key::WeekOfYear => set(&mut self.week, number(2)?, field),
            Key::WeekOfMonth => set(&mut self.week_of_month, number(1)?, field),
            Key::Century => set(&mut self.century, number(2)?, field),
            Key::Julian => set(&mut self.julian, integer(rest, field, 7, true)?, field),
            Key::Year(digits) | Key::IsoYear(digits) => {
                let before = rest.trim_start().len();
                let value = integer(rest, field, digits as usize, delimited)?;
                let read = if digits == 4 { 4 } else { before - rest.len() };
                let year = full_year(value, read);
                let iso = matches!(field.key, Key::IsoYear(_));
                set(if iso { &mut self.iso_year } else { &mut self.year }, year, field)
            }
            _ => self.word(rest, field, delimited),
        }
    }

    /// Fields that are names, fractions or signed.
    fn word(&mut self, rest: &mut &str, field: &FieldNode, delimited: bool) -> Result<()> {
        match field.key {
            Key::Milliseconds | Key::Microseconds | Key::Fraction(_) => {
                let width = match field.key {
                    Key::Milliseconds => 3,
                    Key::Fraction(digits) => digits,
                    _ => 6,
                };
                let before = rest.trim_start().len();
                let value = integer(rest, field, width as usize, delimited)?;
                let read = u32::try_from(before - rest.len()).unwrap_or(u32::MAX).min(width);
                set(&mut self.micros, value * 10_i64.pow(6 - read), field)
            }
            Key::MonthName => {
                let full = MONTHS.iter().copied();
                let month = name_of(rest, field, full)?;
                set(&mut self.month, month as i64 + 1, field)
            }
            Key::MonthShort => {
                let month = name_of(rest, field, MONTHS.iter().map(|name| &name[..3]))?;
                set(&mut self.month, month as i64 + 1, field)
            }
            Key::Day => name_of(rest, field, DAYS.iter().copied()).map(|_| ()),
            Key::DayShort => name_of(rest, field, DAYS.iter().map(|name| &name[..3])).map(|_| ()),
            Key::Roman => {
                // From the end, so that VIII is not taken for V.
                let longest = [8, 7, 12, 3, 6, 4, 9, 11, 2, 5, 10, 1];
                let index = name_of(rest, field, longest.iter().map(|month| ROMAN[month - 1]))?;
                set(&mut self.month, longest[index] as i64, field)
            }
            Key::Meridian | Key::MeridianDots => {
                let names = if field.key == Key::Meridian { ["AM", "PM"] } else { ["A.M.", "P.M."] };
                self.twelve_hours = true;
                self.afternoon = Some(name_of(rest, field, names.into_iter())? == 1);
                Ok(())
            }
            Key::Era | Key::EraDots => {
                let names = if field.key == Key::Era { ["AD", "BC"] } else { ["A.D.", "B.C."] };
                self.before_christ = name_of(rest, field, names.into_iter())? == 1;
                Ok(())
            }
            Key::YearComma => {
                let thousands = integer(rest, field, 9, true)?;
                *rest = rest.strip_prefix(',').unwrap_or(rest);
                let others = integer(rest, field, 3, true)?;
                set(&mut self.year, thousands * 1000 + others, field)
            }
            Key::ZoneHour => {
                let signed = rest.starts_with(['+', '-', ' ']);
                let minus = if signed { rest.starts_with('-') } else { self.minus_skipped };
                self.zone_sign = if minus { -1 } else { 1 };
                *rest = rest.trim_start_matches(['+', '-', ' ']);
                let hours = integer(rest, field, 2, delimited)?;
                self.zone_s = Some(self.zone_s.unwrap_or(0) + hours * 3600);
                Ok(())
            }
            Key::ZoneMinute => {
                let minutes = integer(rest, field, 2, delimited)?;
                self.zone_s = Some(self.zone_s.unwrap_or(0) + minutes * 60);
                Ok(())
            }
            _ => {
                let message = format!("formatting field \"{}\" is only supported in to_char", field.name);
                Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
            }
        }
    }

    fn date(&self, text: &str) -> Result<Civil> {
        if let Some(julian) = self.julian {
            let days = i32::try_from(julian - i64::from(EPOCH_JULIAN)).map_err(|_| out_of_range(text))?;
            return Ok(Civil::from_days(days));
        }
        let to_civil = |days: i64| i32::try_from(days).map(Civil::from_days).map_err(|_| out_of_range(text));
        if let (Some(year), Some(week)) = (self.iso_year, self.iso_week) {
            let year = i32::try_from(year).map_err(|_| out_of_range(text))?;
            return to_civil(iso_week_start(year, week) + self.iso_day.unwrap_or(1) - 1);
        }
        let mut year = self.year.unwrap_or(0);
        if let Some(century) = self.century {
            year = match self.year {
                Some(year) if year.rem_euclid(100) != 0 => (century - 1) * 100 + year.rem_euclid(100),
                Some(_) => century * 100,
                None => (century - 1) * 100 + 1,
            };
        }
        if self.before_christ && year > 0 {
            year = 1 - year;
        } else if year < 0 {
            year += 1;
        }
        let year = i32::try_from(year).map_err(|_| out_of_range(text))?;
        let first = Civil { year, month: 1, day: 1 }.days();
        if let Some(week) = self.week {
            return to_civil(first + (week - 1) * 7);
        }
        if let (Some(day), None) = (self.day_of_year, self.month) {
            return if (1..=366).contains(&day) {
                to_civil(first + day - 1)
            } else {
                Err(out_of_range(text))
            };
        }
        let month = self.month.unwrap_or(1);
        let day = self.day.or(self.week_of_month.map(|week| (week - 1) * 7 + 1)).unwrap_or(1);
        if !(1..=12).contains(&month) || day < 1 || day > i64::from(days_in_month(year, month as u32)) {
            return Err(out_of_range(text));
        }
        Ok(Civil { year, month: month as u32, day: day as u32 })
    }

    fn clock(&self, text: &str) -> Result<i64> {
        let micros = self.micros.unwrap_or(0);
        if let Some(seconds) = self.second_of_day {
            return match seconds {
                0..=86_400 => Ok(seconds * SECOND_US + micros),
                _ => Err(out_of_range(text)),
            };
        }
        let mut hour = self.hour.unwrap_or(0);
        if self.twelve_hours {
            if self.hour.is_some() && !(1..=12).contains(&hour) {
                let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                return Err(malformed(message));
            }
            match self.afternoon {
                Some(true) if hour < 12 => hour += 12,
                Some(false) if hour == 12 => hour = 0,
                _ => {}
            }
        }
        let (minute, second) = (self.minute.unwrap_or(0), self.second.unwrap_or(0));
        let in_range = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
        let total = ((hour * 60 + minute) * 60 + second) * SECOND_US + micros;
        if in_range && total <= DAY_US { Ok(total) } else { Err(out_of_range(text)) }
    }
}

/// A year of less than four digits is the one nearest to 2020.
fn full_year(year: i64, digits: usize) -> i64 {
    match year {
        _ if digits >= 4 => year,
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}
