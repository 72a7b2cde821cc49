//! The forgiving reader of dates and times: `ParseDateTime`, `DecodeDateTime` and `DecodeTimeOnly` of PostgreSQL.
//!
//! A text is cut into tokens; each token fills fields. Left out of what PostgreSQL reads: Julian days with fractions,
//! units as in `y2001m02d04`, and time zone names with rules.

use super::ReadContext;
use crate::types::DateOrder;
use crate::types::calendar::{Civil, DAY_US, EPOCH_JULIAN, SECOND_US, split};
use crate::types::zone::{self, OFFSET_MAX_S, TimeZone};

/// Why a text is no date or time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Not understood.
    Syntax,
    /// A field is too large.
    Field,
    /// The zone's offset is too large.
    Displacement,
    /// No zone of this name.
    Zone(String),
    /// `now` and its like have no meaning here.
    NoClock,
}

/// What a text says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decoded {
    /// Fields.
    Fields(Fields),
    /// `infinity`
    Infinity,
    /// `-infinity`
    NegInfinity,
    /// `epoch`
    Epoch,
    /// `now`: microseconds since 1970 UTC.
    Now(i64),
}

/// The fields that were there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Fields {
    /// The day.
    pub date: Option<Civil>,
    /// Microseconds since midnight, up to 24:00.
    pub time_us: Option<i64>,
    /// The zone.
    pub zone: Option<TimeZone>,
}

enum Token {
    Number(String),
    /// Parts joined by `-`, `/` or `.`
    Date(String),
    Time(String),
    /// A sign and digits.
    Offset(String),
    Word(String),
    /// A sign and letters.
    Special(String),
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

fn month_named(word: &str) -> Option<u32> {
    if word == "sept" {
        return Some(9);
    }
    let index = MONTHS.iter().position(|name| word == *name || word == &name[..3])?;
    Some(index as u32 + 1)
}

fn is_weekday(word: &str) -> bool {
    let other = ["tues", "wednes", "weds", "thur", "thurs"];
    other.contains(&word) || WEEKDAYS.iter().any(|name| word == *name || word == &name[..3])
}

/// Takes bytes while a condition holds.
fn take<'a>(rest: &mut &'a str, accept: impl Fn(u8) -> bool) -> &'a str {
    let end = rest.bytes().position(|byte| !accept(byte)).unwrap_or(rest.len());
    let (head, tail) = rest.split_at(end);
    *rest = tail;
    head
}

fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    /// `MAXDATEFIELDS` of PostgreSQL.
    const TOKENS_MAX: usize = 25;
    if !text.is_ascii() {
        return Err(Fault::Syntax);
    }
    let lower = text.to_ascii_lowercase();
    let mut rest = lower.as_str();
    let mut tokens = Vec::new();
    while let Some(first) = rest.bytes().next() {
        if tokens.len() == TOKENS_MAX {
            return Err(Fault::Syntax);
        }
        let whole = rest;
        let token = match first {
            b'0'..=b'9' => numeric_token(&mut rest),
            b'.' => {
                rest = &rest[1..];
                take(&mut rest, |byte| byte.is_ascii_digit());
                Token::Number(whole[..whole.len() - rest.len()].to_owned())
            }
            b'a'..=b'z' => word_token(&mut rest),
            b'+' | b'-' => {
                rest = rest[1..].trim_start();
                let sign = char::from(first);
                match rest.bytes().next() {
                    Some(b'0'..=b'9') => {
                        let body = take(&mut rest, |byte| byte.is_ascii_digit() || b":.-".contains(&byte));
                        Token::Offset(format!("{sign}{body}"))
                    }
                    Some(b'a'..=b'z') => {
                        let body = take(&mut rest, |byte| byte.is_ascii_alphabetic());
                        Token::Special(format!("{sign}{body}"))
                    }
                    _ => return Err(Fault::Syntax),
                }
            }
            _ if first.is_ascii_whitespace() || first.is_ascii_punctuation() => {
                rest = &rest[1..];
                continue;
            }
            _ => return Err(Fault::Syntax),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

fn numeric_token(rest: &mut &str) -> Token {
    let whole = *rest;
    let digits = |byte: u8| byte.is_ascii_digit();
    take(rest, digits);
    let kind: fn(String) -> Token = match rest.bytes().next() {
        Some(b':') => {
            take(rest, |byte| byte.is_ascii_digit() || byte == b':' || byte == b'.');
            Token::Time
        }
        Some(separator @ (b'-' | b'/' | b'.')) => {
            *rest = &rest[1..];
            if rest.starts_with(|c: char| c.is_ascii_digit()) {
                take(rest, digits);
                if rest.bytes().next() == Some(separator) {
                    take(rest, |byte| byte.is_ascii_digit() || byte == separator);
                    Token::Date
                } else if separator == b'.' {
                    Token::Number
                } else {
                    Token::Date
                }
            } else {
                take(rest, |byte| byte.is_ascii_alphanumeric() || byte == separator);
                Token::Date
            }
        }
        _ => Token::Number,
    };
    kind(whole[..whole.len() - rest.len()].to_owned())
}

fn word_token(rest: &mut &str) -> Token {
    let whole = *rest;
    let word = take(rest, |byte| byte.is_ascii_alphabetic());
    let joined = match rest.bytes().next() {
        Some(b'-' | b'/' | b'.') => true,
        Some(b'+' | b'0'..=b'9') => !matches!(word, "t" | "j") && month_named(word).is_none(),
        _ => false,
    };
    if !joined {
        return Token::Word(word.to_owned());
    }
    take(rest, |byte| byte.is_ascii_alphanumeric() || b"+-/_.:".contains(&byte));
    Token::Date(whole[..whole.len() - rest.len()].to_owned())
}

/// A number of at most nine digits.
fn integer(digits: &str) -> Result<i32, Fault> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Syntax);
    }
    digits.parse().map_err(|_| Fault::Field)
}

/// Microseconds of digits after a point, rounded.
fn fraction_us(digits: &str) -> Result<i64, Fault> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Syntax);
    }
    let seconds: f64 = format!("0.{digits}0").parse().map_err(|_| Fault::Syntax)?;
    Ok((seconds * 1e6).round_ties_even() as i64)
}

/// Reads `text`; `time_only` for the type `time`, whose lone numbers are times.
pub(super) fn decode(text: &str, time_only: bool, context: &ReadContext<'_>) -> Result<Decoded, Fault> {
    let mut decoder = Decoder { order: Some(context.order()), time_only, ..Decoder::default() };
    for token in tokens(text)? {
        match token {
            Token::Number(text) => decoder.number(&text)?,
            Token::Date(text) => decoder.date(&text)?,
            Token::Time(text) => decoder.time(&text)?,
            Token::Offset(text) => decoder.offset(&text)?,
            Token::Special(text) if text == "-infinity" => decoder.instant = Some(Decoded::NegInfinity),
            Token::Special(text) if text == "+infinity" => decoder.instant = Some(Decoded::Infinity),
            Token::Special(_) => return Err(Fault::Syntax),
            Token::Word(word) => decoder.word(&word, context)?,
        }
    }
    decoder.finish()
}

#[derive(Default)]
struct Decoder {
    order: Option<DateOrder>,
    time_only: bool,
    year: Option<i32>,
    /// The year had at most two digits.
    short_year: bool,
    month: Option<u32>,
    text_month: bool,
    day: Option<u32>,
    day_of_year: Option<u32>,
    julian: Option<i32>,
    /// `J` came, its number not yet.
    julian_next: bool,
    /// `T` came, its time not yet.
    time_next: bool,
    /// A whole date by name: `today`.
    relative: Option<Civil>,
    hour: i64,
    rest_us: i64,
    has_time: bool,
    zone: Option<TimeZone>,
    bc: bool,
    afternoon: Option<bool>,
    instant: Option<Decoded>,
    /// `now` or the like came where it means nothing.
    needs_clock: bool,
}

impl Decoder {
    fn has_date(&self) -> bool {
        let full =
            self.year.is_some() && (self.month.is_some() && self.day.is_some() || self.day_of_year.is_some());
        full || self.julian.is_some() || self.relative.is_some()
    }

    fn number(&mut self, text: &str) -> Result<(), Fault> {
        if std::mem::take(&mut self.julian_next) {
            self.julian = Some(integer(text)?);
            return Ok(());
        }
        let point = text.find('.');
        if self.time_next {
            return self.number_field(text);
        }
        match point {
            Some(_) if !self.has_date() && self.year.is_none() && self.month.is_none() && !self.time_only => {
                if point.is_some_and(|at| at > 4) {
                    self.number_field(text)
                } else {
                    self.date(text)
                }
            }
            Some(at) if at > 2 => self.number_field(text),
            None if text.len() >= 6 && (!self.has_date() || !self.has_time) => self.number_field(text),
            _ => self.date_number(text),
        }
    }

    /// Digits run together: `yyyymmdd`, `yymmdd`, `hhmmss[.f]`, `hhmm`.
    fn number_field(&mut self, text: &str) -> Result<(), Fault> {
        self.time_next = false;
        let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
        let length = digits.len();
        if !text.contains('.') && !self.has_date() && !self.time_only && length >= 6 {
            self.day = Some(integer(&digits[length - 2..])? as u32);
            self.month = Some(integer(&digits[length - 4..length - 2])? as u32);
            self.year = Some(integer(&digits[..length - 4])?);
            self.short_year = length == 6;
            return Ok(());
        }
        if self.has_time || !(length == 6 || length == 4 && fraction.is_empty()) {
            return Err(Fault::Syntax);
        }
        let seconds = if length == 6 { integer(&digits[4..])? } else { 0 };
        self.set_time(integer(&digits[..2])?, integer(&digits[2..4])?, seconds, fraction_us(fraction)?)
    }

    /// `DecodeNumber`: one of year, month and day, as the order and what is already there tell.
    fn date_number(&mut self, text: &str) -> Result<(), Fault> {
        let value = integer(text)?;
        let (small, length) = (value as u32, text.len());
        let ymd = self.order == Some(DateOrder::Ymd);
        let wants_year = length >= 3 || ymd;
        if length == 3 && self.year.is_some() && self.month.is_none() && self.day.is_none() && value <= 366 {
            self.day_of_year = Some(small);
            return Ok(());
        }
        match (self.year, self.month, self.day) {
            _ if self.has_date() || self.time_only => return self.number_field(text),
            (None, None, None) if wants_year => self.set_year(value, length),
            (None, None, None) if self.order == Some(DateOrder::Dmy) => self.day = Some(small),
            (None, None, None) | (Some(_), None, None) | (None, None, Some(_)) => self.month = Some(small),
            (None, Some(_), None) if self.text_month && wants_year => self.set_year(value, length),
            (None, Some(_), None) => self.day = Some(small),
            (Some(year), Some(_), None) if self.text_month && length >= 3 && self.short_year => {
                self.day = Some(year as u32);
                self.set_year(value, length);
            }
            (Some(_), Some(_), None) => self.day = Some(small),
            (None, Some(_), Some(_)) => self.set_year(value, length),
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    fn set_year(&mut self, value: i32, length: usize) {
        self.year = Some(value);
        self.short_year = length <= 2;
    }

    fn set_month_name(&mut self, month: u32) {
        // `1 January 2001` in month-day order: the number was the day.
        if let Some(number) = self.month
            && !self.text_month
            && self.day.is_none()
        {
            self.day = Some(number);
        }
        self.text_month = true;
        self.month = Some(month);
    }

    fn date(&mut self, text: &str) -> Result<(), Fault> {
        let starts_with_digit = text.starts_with(|c: char| c.is_ascii_digit());
        let head: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
        if !starts_with_digit && month_named(&head).is_none() {
            return self.zone_named(text);
        }
        let run_together = text.split_once('-').filter(|(time, offset)| time.len() >= 4 && offset.len() == 2);
        if self.has_date() || (self.time_only && run_together.is_some()) {
            // `hhmmss-zz`
            let (time, offset) = run_together.ok_or(Fault::Syntax)?;
            self.number_field(time)?;
            return self.offset(&format!("-{offset}"));
        }
        let time_only = std::mem::take(&mut self.time_only);
        let parts: Vec<&str> = text.split(['-', '/', '.']).filter(|part| !part.is_empty()).collect();
        if parts.len() > 3 {
            return Err(Fault::Syntax);
        }
        for part in &parts {
            if part.starts_with(|c: char| c.is_ascii_alphabetic()) {
                self.set_month_name(month_named(part).ok_or(Fault::Syntax)?);
            }
        }
        for part in parts.iter().filter(|part| part.starts_with(|c: char| c.is_ascii_digit())) {
            self.date_number(part)?;
        }
        self.time_only = time_only;
        if self.has_date() { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn time(&mut self, text: &str) -> Result<(), Fault> {
        self.time_next = false;
        let mut parts = text.split(':');
        let hour = integer(parts.next().unwrap_or_default())?;
        let minute = parts.next().unwrap_or_default();
        let second = parts.next();
        if parts.next().is_some() || self.has_time {
            return Err(Fault::Syntax);
        }
        // `mm:ss.f` is read as such by PostgreSQL too.
        let (hour, minute, second) = match (minute.split_once('.'), second) {
            (Some(_), None) => (0, hour, minute),
            (None, second) => (hour, integer(minute)?, second.unwrap_or("0")),
            (Some(_), Some(_)) => return Err(Fault::Syntax),
        };
        let (whole, fraction) = second.split_once('.').unwrap_or((second, ""));
        self.set_time(hour, minute, integer(whole)?, fraction_us(fraction)?)
    }

    fn set_time(&mut self, hour: i32, minute: i32, second: i32, fraction_us: i64) -> Result<(), Fault> {
        if minute > 59 || second > 60 || hour > 24 {
            return Err(Fault::Field);
        }
        let rest = i64::from(minute * 60 + second) * SECOND_US + fraction_us;
        if hour == 24 && rest > 0 {
            return Err(Fault::Field);
        }
        self.hour = i64::from(hour);
        self.rest_us = rest;
        self.has_time = true;
        Ok(())
    }

    /// `+hh`, `+hhmm`, `+hh:mm`, `+hh:mm:ss`
    fn offset(&mut self, text: &str) -> Result<(), Fault> {
        let (sign, digits) = text.split_at(1);
        let parts: Vec<i32> = match digits.len() {
            3 | 4 if !digits.contains(':') => {
                let (hours, minutes) = digits.split_at(digits.len() - 2);
                vec![integer(hours)?, integer(minutes)?]
            }
            _ => digits.split(':').map(integer).collect::<Result<_, _>>()?,
        };
        let seconds = match parts[..] {
            [hours] if hours <= 15 => hours * 3600,
            [hours, minutes] if hours <= 15 && minutes < 60 => hours * 3600 + minutes * 60,
            [hours, minutes, seconds] if hours <= 15 && minutes < 60 && seconds < 60 => {
                hours * 3600 + minutes * 60 + seconds
            }
            [_] | [_, _] | [_, _, _] => return Err(Fault::Displacement),
            _ => return Err(Fault::Syntax),
        };
        debug_assert!(seconds <= OFFSET_MAX_S);
        let seconds = if sign == "-" { -seconds } else { seconds };
        // `UTC+3`: the name before says nothing more.
        if self.zone.is_some_and(|zone| zone != TimeZone::Fixed(0)) {
            return Err(Fault::Syntax);
        }
        self.zone = Some(TimeZone::Fixed(seconds));
        Ok(())
    }

    fn zone_named(&mut self, name: &str) -> Result<(), Fault> {
        let zone = zone::named(name).or_else(|| TimeZone::parse(name).ok());
        self.zone = Some(zone.ok_or_else(|| Fault::Zone(name.to_owned()))?);
        Ok(())
    }

    fn word(&mut self, word: &str, context: &ReadContext<'_>) -> Result<(), Fault> {
        if let Some(month) = month_named(word) {
            self.set_month_name(month);
            return Ok(());
        }
        if is_weekday(word) {
            return Ok(());
        }
        let utc = context.now_us.unwrap_or_default();
        match word {
            "am" | "pm" => self.afternoon = Some(word == "pm"),
            "ad" | "bc" => self.bc = word == "bc",
            "at" | "on" => {}
            "t" => self.time_next = true,
            "j" | "jd" | "julian" => self.julian_next = true,
            "allballs" => {
                self.set_time(0, 0, 0, 0)?;
                self.zone = Some(TimeZone::Fixed(0));
            }
            "infinity" => self.instant = Some(Decoded::Infinity),
            "epoch" => self.instant = Some(Decoded::Epoch),
            "now" | "today" | "tomorrow" | "yesterday" if context.now_us.is_none() => self.needs_clock = true,
            "now" => self.instant = Some(Decoded::Now(utc)),
            "today" | "tomorrow" | "yesterday" => {
                let local = utc + i64::from(context.options.timezone.offset_at(utc)) * SECOND_US;
                let shift = i32::from(word == "tomorrow") - i32::from(word == "yesterday");
                self.relative = Some(Civil::from_days(split(local).0 + shift));
            }
            _ => {
                let zone = zone::abbreviation(word).or_else(|| zone::named(word)).ok_or(Fault::Syntax)?;
                if self.zone.replace(zone).is_some() {
                    return Err(Fault::Syntax);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Decoded, Fault> {
        if self.needs_clock {
            return Err(Fault::NoClock);
        }
        if let Some(instant) = self.instant {
            return Ok(instant);
        }
        let date = self.civil()?;
        let mut hour = self.hour;
        if let Some(afternoon) = self.afternoon {
            if hour > 12 || !self.has_time {
                return Err(Fault::Field);
            }
            hour = hour % 12 + if afternoon { 12 } else { 0 };
        }
        let time_us = self.has_time.then_some(hour * 3_600 * SECOND_US + self.rest_us);
        if date.is_none() && time_us.is_none() {
            return Err(Fault::Syntax);
        }
        debug_assert!(time_us.is_none_or(|time| time <= DAY_US + SECOND_US));
        Ok(Decoded::Fields(Fields { date, time_us, zone: self.zone }))
    }

    fn civil(&self) -> Result<Option<Civil>, Fault> {
        if let Some(date) = self.relative {
            return Ok(Some(date));
        }
        if let Some(julian) = self.julian {
            return Ok(Some(Civil::from_days(julian - EPOCH_JULIAN)));
        }
        let year = match self.year {
            None if self.month.is_none() && self.day.is_none() => return Ok(None),
            None => return Err(Fault::Syntax),
            Some(year) if self.bc => {
                if year <= 0 {
                    return Err(Fault::Field);
                }
                1 - year
            }
            Some(year) if self.short_year => year + if year < 70 { 2000 } else { 1900 },
            Some(0) => return Err(Fault::Field),
            Some(year) => year,
        };
        if let Some(day) = self.day_of_year {
            if day == 0 {
                return Err(Fault::Field);
            }
            let first = Civil { year, month: 1, day: 1 }.date().ok_or(Fault::Field)?;
            return Ok(Some(Civil::from_days(first + day as i32 - 1)));
        }
        let (Some(month), Some(day)) = (self.month, self.day) else { return Err(Fault::Syntax) };
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Fault::Field);
        }
        let civil = Civil { year, month, day };
        if day > civil.days_in_month() { Err(Fault::Field) } else { Ok(Some(civil)) }
    }
}
