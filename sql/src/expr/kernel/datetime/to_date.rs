//! `to_timestamp(text, text)` and `to_date(text, text)`: text read by a template.
//!
//! Spaces and separators of the template match any of the text, as without `FX` in PostgreSQL.

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::to_char::{MONTHS, Node, Pattern, parse_template};
use super::to_utc;
use crate::expr::kernel::Call;
use crate::expr::kernel::lift::{Result, Text, map2};
use crate::expr::value::Value;
use crate::types::TimeZone;
use crate::types::calendar::{Civil, DAY_US, EPOCH_JULIAN, SECOND_US, is_leap_year, join};

#[derive(Default)]
struct Fields {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    julian: Option<i32>,
    hour: i64,
    hour12: bool,
    minute: i64,
    second: i64,
    micros: i64,
    seconds_of_day: Option<i64>,
    afternoon: Option<bool>,
    bc: bool,
    offset: Option<i32>,
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn invalid(&self, field: &str, what: &str) -> ValueError {
        let message = format!("invalid value \"{}\" for \"{field}\"", self.rest.trim_end());
        ValueError::new(SqlState::INVALID_DATETIME_FORMAT, message).with_detail(what)
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// At most `width` digits, as many as there are if the next field is not a number.
    fn number(&mut self, width: usize, next_is_number: bool, field: &str) -> Result<i64> {
        self.skip_spaces();
        let available = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let length = if next_is_number { available.min(width) } else { available };
        if length == 0 {
            return Err(self.invalid(field, "Value must be an integer."));
        }
        let (digits, rest) = self.rest.split_at(length);
        let value = digits.parse().map_err(|_| self.invalid(field, "Value is out of range."))?;
        self.rest = rest;
        Ok(value)
    }

    /// The first of some names, in any case of letters.
    fn name(&mut self, names: &[&str], field: &str) -> Result<usize> {
        self.skip_spaces();
        let starts =
            |name: &&str| self.rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        let found = names.iter().position(|name| starts(&name));
        let what = "The given value did not match any of the allowed values for this field.";
        let index = found.ok_or_else(|| self.invalid(field, what))?;
        self.rest = &self.rest[names[index].len()..];
        Ok(index)
    }
}

fn read(text: &str, template: &str) -> Result<Fields> {
    let nodes = parse_template(template);
    let mut reader = Reader { text, rest: text };
    let mut fields = Fields::default();
    for (index, node) in nodes.iter().enumerate() {
        match node {
            Node::Literal(c) if c.is_whitespace() => reader.skip_spaces(),
            Node::Literal(_) => {
                let mut chars = reader.rest.chars();
                if chars.next().is_some_and(|c| !c.is_ascii_digit()) {
                    reader.rest = chars.as_str();
                }
            }
            Node::Field { pattern, spelling, .. } => {
                if reader.rest.is_empty() {
                    break;
                }
                let next_is_number = matches!(nodes.get(index + 1), Some(Node::Field { .. }));
                fields.take(*pattern, spelling, next_is_number, &mut reader)?;
            }
        }
    }
    debug_assert!(reader.text.ends_with(reader.rest));
    Ok(fields)
}

impl Fields {
    fn take(&mut self, pattern: Pattern, field: &str, next: bool, reader: &mut Reader<'_>) -> Result<()> {
        match pattern {
            Pattern::Hour12 | Pattern::Hour24 => {
                self.hour = reader.number(2, next, field)?;
                self.hour12 = pattern == Pattern::Hour12;
            }
            Pattern::Minute => self.minute = reader.number(2, next, field)?,
            Pattern::Second => self.second = reader.number(2, next, field)?,
            Pattern::SecondOfDay => self.seconds_of_day = Some(reader.number(5, next, field)?),
            Pattern::Milli | Pattern::Micro | Pattern::Fraction(_) => {
                let width = match pattern {
                    Pattern::Milli => 3,
                    Pattern::Fraction(digits) => digits,
                    _ => 6,
                };
                let before = reader.rest.trim_start().len();
                let value = reader.number(width, true, field)?;
                let digits = before - reader.rest.len();
                self.micros = value * 10i64.pow(6u32.saturating_sub(digits as u32));
            }
            Pattern::Meridiem(points) => {
                let names: &[&str] = if points { &["A.M.", "P.M."] } else { &["AM", "PM"] };
                self.afternoon = Some(reader.name(names, field)? == 1);
            }
            Pattern::Era(points) => {
                let names: &[&str] = if points { &["A.D.", "B.C."] } else { &["AD", "BC"] };
                self.bc = reader.name(names, field)? == 1;
            }
            Pattern::Year(digits) => {
                let value = reader.number(digits, next, field)?;
                let year =
                    i32::try_from(value).map_err(|_| reader.invalid(field, "Value is out of range."))?;
                self.year = Some(match digits {
                    4 => year,
                    // Short years are those nearest to 2020, as in PostgreSQL.
                    _ if year < 70 => year + 2_000,
                    _ if year < 100 => year + 1_900,
                    _ if year < 520 => year + 2_000,
                    _ if year < 1_000 => year + 1_000,
                    _ => year,
                });
            }
            Pattern::MonthName | Pattern::MonthShort => {
                let short: Vec<&str> = MONTHS.iter().map(|name| &name[..3]).collect();
                let names = if pattern == Pattern::MonthName { &MONTHS[..] } else { &short[..] };
                self.month = Some(reader.name(names, field)? as u32 + 1);
            }
            Pattern::Month => self.month = Some(reader.number(2, next, field)? as u32),
            Pattern::Day => self.day = Some(reader.number(2, next, field)? as u32),
            Pattern::DayOfYear => self.day_of_year = Some(reader.number(3, next, field)? as u32),
            Pattern::Julian => self.julian = Some(reader.number(7, next, field)? as i32),
            Pattern::DayName | Pattern::DayShort => {
                reader.skip_spaces();
                reader.rest = reader.rest.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            }
            Pattern::ZoneHour => {
                reader.skip_spaces();
                let negative = reader.rest.starts_with('-');
                reader.rest = reader.rest.trim_start_matches(['+', '-']);
                let seconds = reader.number(2, next, field)? as i32 * 3_600;
                self.offset = Some(if negative { -seconds } else { seconds });
            }
            Pattern::ZoneMinute => {
                let minutes = reader.number(2, next, field)? as i32;
                let hours = self.offset.unwrap_or(0);
                self.offset = Some(if hours < 0 { hours - minutes * 60 } else { hours + minutes * 60 });
            }
            _ => {
                let message = format!("formatting field \"{field}\" is only supported in to_char");
                return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
        }
        Ok(())
    }

    fn out_of_range(text: &str) -> ValueError {
        ValueError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{text}\""),
        )
    }

    fn days(&self, text: &str) -> Result<i64> {
        let wrong = || Fields::out_of_range(text);
        if let Some(julian) = self.julian {
            return Ok(i64::from(julian) - i64::from(EPOCH_JULIAN));
        }
        let year = match self.year {
            Some(year) if self.bc => 1 - year,
            Some(year) => year,
            // Without a year it is 1 BC.
            None => 0,
        };
        if let Some(day) = self.day_of_year {
            if day == 0 || day > 365 + u32::from(is_leap_year(year)) {
                return Err(wrong());
            }
            return Ok(Civil { year, month: 1, day: 1 }.days() + i64::from(day) - 1);
        }
        let civil = Civil { year, month: self.month.unwrap_or(1), day: self.day.unwrap_or(1) };
        let valid = (1..=12).contains(&civil.month) && civil.day > 0 && civil.day <= civil.days_in_month();
        if valid { Ok(civil.days()) } else { Err(wrong()) }
    }

    fn clock(&self, text: &str) -> Result<i64> {
        let wrong = || Fields::out_of_range(text);
        if let Some(seconds) = self.seconds_of_day {
            return if seconds < 86_400 { Ok(seconds * SECOND_US) } else { Err(wrong()) };
        }
        let mut hour = self.hour;
        if self.hour12 {
            if !(1..=12).contains(&hour) && self.afternoon.is_some() {
                let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                return Err(ValueError::new(SqlState::INVALID_DATETIME_FORMAT, message));
            }
            hour = if self.afternoon.is_some() { hour % 12 } else { hour };
        }
        if self.afternoon == Some(true) && hour < 12 {
            hour += 12;
        }
        if hour > 24 || self.minute > 59 || self.second > 59 {
            return Err(wrong());
        }
        let micros = (hour * 3_600 + self.minute * 60 + self.second) * SECOND_US + self.micros;
        if micros > DAY_US { Err(wrong()) } else { Ok(micros) }
    }
}

/// `to_timestamp(text, text)`
pub(crate) fn to_timestamp(call: &Call<'_>) -> Result<Value> {
    let session = call.context.format.timezone;
    map2::<Text, Text, i64>(call, |text, template| {
        let fields = read(text, template)?;
        let local =
            join(fields.days(text)?, fields.clock(text)?).ok_or_else(super::timestamp_out_of_range)?;
        to_utc(local, fields.offset.map_or(session, TimeZone::Fixed))
    })
}

/// `to_date(text, text)`
pub(crate) fn to_date(call: &Call<'_>) -> Result<Value> {
    map2::<Text, Text, i32>(call, |text, template| {
        let days = read(text, template)?.days(text)?;
        i32::try_from(days).map_err(|_| Fields::out_of_range(text))
    })
}
