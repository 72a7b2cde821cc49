//! Intervals from text: PostgreSQL's, the SQL standard's and ISO 8601 (`DecodeInterval`, `DecodeISO8601Interval`).

use super::{DAY_US, Interval};
use crate::error::{SqlState, ValueError};

/// Units of numbers in an interval.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum IntervalUnit {
    /// 10^-6 s
    Microsecond,
    /// 10^-3 s
    Millisecond,
    /// s
    Second,
    /// 60 s
    Minute,
    /// 60 minutes
    Hour,
    /// days
    Day,
    /// 7 days
    Week,
    /// months
    Month,
    /// 12 months
    Year,
    /// 10 years
    Decade,
    /// 100 years
    Century,
    /// 1,000 years
    Millennium,
}

impl IntervalUnit {
    /// The unit of this name, singular, plural or abbreviated, in lower case.
    pub fn named(name: &str) -> Option<IntervalUnit> {
        Some(match name {
            "us" | "usec" | "usecond" | "useconds" | "usecs" => IntervalUnit::Microsecond,
            // PostgreSQL looks at ten letters only.
            _ if name.starts_with("microsecon") => IntervalUnit::Microsecond,
            "ms" | "msec" | "msecond" | "mseconds" | "msecs" => IntervalUnit::Millisecond,
            _ if name.starts_with("millisecon") => IntervalUnit::Millisecond,
            "s" | "sec" | "second" | "seconds" | "secs" => IntervalUnit::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => IntervalUnit::Minute,
            "h" | "hour" | "hours" | "hr" | "hrs" => IntervalUnit::Hour,
            "d" | "day" | "days" => IntervalUnit::Day,
            "w" | "week" | "weeks" => IntervalUnit::Week,
            "mon" | "mons" | "month" | "months" => IntervalUnit::Month,
            "y" | "year" | "years" | "yr" | "yrs" => IntervalUnit::Year,
            "dec" | "decade" | "decades" | "decs" => IntervalUnit::Decade,
            "c" | "cent" | "centuries" | "century" => IntervalUnit::Century,
            "mil" | "millennia" | "millennium" | "mils" => IntervalUnit::Millennium,
            _ => return None,
        })
    }

    /// Microseconds, for units of time.
    fn micros(self) -> Option<i64> {
        Some(match self {
            IntervalUnit::Microsecond => 1,
            IntervalUnit::Millisecond => 1_000,
            IntervalUnit::Second => 1_000_000,
            IntervalUnit::Minute => 60_000_000,
            IntervalUnit::Hour => 3_600_000_000,
            _ => return None,
        })
    }
}

/// Why a text is no interval.
enum Fault {
    Syntax,
    Overflow,
}

impl Interval {
    /// Reads an interval.
    ///
    /// # Errors
    /// 22007 if it is none, 22015 if a field is too large.
    pub fn parse(text: &str) -> Result<Interval, ValueError> {
        Interval::parse_in(text, None)
    }

    /// Reads the text of `INTERVAL '..' unit`: a last number without unit counts in `unit`, and what is smaller than
    /// `unit` is cut off.
    ///
    /// # Errors
    /// As [`Interval::parse`].
    pub fn parse_in(text: &str, unit: Option<IntervalUnit>) -> Result<Interval, ValueError> {
        let mut sum = Sum::default();
        let mut parsed = sum.decode(text, unit.unwrap_or(IntervalUnit::Second));
        if matches!(parsed, Err(Fault::Syntax)) {
            sum = Sum::default();
            parsed = sum.decode_iso8601(text);
        }
        match parsed.and_then(|()| sum.finish()) {
            Ok(interval) => Ok(unit.map_or(interval, |unit| interval.truncated(unit))),
            Err(Fault::Syntax) => {
                let message = format!("invalid input syntax for type interval: \"{text}\"");
                Err(ValueError::new(SqlState::INVALID_DATETIME_FORMAT, message))
            }
            Err(Fault::Overflow) => {
                let message = format!("interval field value out of range: \"{text}\"");
                Err(ValueError::new(SqlState::INTERVAL_FIELD_OVERFLOW, message))
            }
        }
    }

    /// Without the parts that are smaller than a unit.
    fn truncated(self, unit: IntervalUnit) -> Interval {
        match unit {
            IntervalUnit::Second => self,
            IntervalUnit::Day | IntervalUnit::Week => Interval { micros: 0, ..self },
            IntervalUnit::Month => Interval { months: self.months, ..Interval::default() },
            _ => match unit.micros() {
                Some(micros) => Interval { micros: self.micros / micros * micros, ..self },
                None => Interval { months: self.months / 12 * 12, ..Interval::default() },
            },
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
    /// Units seen, one bit each.
    seen: u32,
}

impl Sum {
    fn finish(&self) -> Result<Interval, Fault> {
        Ok(Interval {
            months: i32::try_from(self.months).map_err(|_| Fault::Overflow)?,
            days: i32::try_from(self.days).map_err(|_| Fault::Overflow)?,
            micros: self.micros,
        })
    }

    fn mark(&mut self, bits: u32) -> Result<(), Fault> {
        if self.seen & bits != 0 {
            return Err(Fault::Syntax);
        }
        self.seen |= bits;
        Ok(())
    }

    fn add(&mut self, value: i64, fraction: f64, unit: IntervalUnit) -> Result<(), Fault> {
        let (months, days) = match unit {
            IntervalUnit::Day => (0, 1),
            IntervalUnit::Week => (0, 7),
            IntervalUnit::Month => (1, 0),
            IntervalUnit::Year => (12, 0),
            IntervalUnit::Decade => (120, 0),
            IntervalUnit::Century => (1_200, 0),
            IntervalUnit::Millennium => (12_000, 0),
            _ => {
                let scale = unit.micros().expect("a unit of time");
                self.add_micros(value.checked_mul(scale).ok_or(Fault::Overflow)?)?;
                return self.add_fraction(fraction, scale);
            }
        };
        let fits = |total: i64| if i32::try_from(total).is_ok() { Ok(total) } else { Err(Fault::Overflow) };
        let add =
            |sum: i64, scale: i64| fits(value.checked_mul(scale).ok_or(Fault::Overflow)?.saturating_add(sum));
        self.months = add(self.months, months)?;
        self.days = add(self.days, days)?;
        match unit {
            IntervalUnit::Day => self.add_fraction(fraction, DAY_US),
            IntervalUnit::Week => self.add_fraction_of_days(fraction * 7.0),
            IntervalUnit::Month => self.add_fraction_of_days(fraction * 30.0),
            _ => {
                self.months = fits(self.months + (fraction * months as f64).round_ties_even() as i64)?;
                Ok(())
            }
        }
    }

    fn add_micros(&mut self, micros: i64) -> Result<(), Fault> {
        self.micros = self.micros.checked_add(micros).ok_or(Fault::Overflow)?;
        Ok(())
    }

    fn add_fraction(&mut self, fraction: f64, scale: i64) -> Result<(), Fault> {
        let exact = fraction * scale as f64;
        let rest = exact - exact.trunc();
        let nudge = i64::from(rest > 0.5) - i64::from(rest < -0.5);
        self.add_micros(exact.trunc() as i64 + nudge)
    }

    fn add_fraction_of_days(&mut self, days: f64) -> Result<(), Fault> {
        self.days += days.trunc() as i64;
        self.add_fraction(days - days.trunc(), DAY_US)
    }

    /// PostgreSQL reads from right to left, so that a number knows the unit behind it.
    fn decode(&mut self, text: &str, default: IntervalUnit) -> Result<(), Fault> {
        let mut unit = None;
        let mut ago = false;
        for token in tokens(&text.to_ascii_lowercase())?.iter().rev() {
            match token {
                Token::Word("ago") => ago = true,
                Token::Word(name) => unit = Some(IntervalUnit::named(name).ok_or(Fault::Syntax)?),
                Token::Number { negative, text } if text.contains(':') => {
                    self.time(*negative, text)?;
                    unit = Some(IntervalUnit::Day);
                }
                Token::Number { negative, text } => {
                    let unit = unit.get_or_insert(default);
                    self.number(*negative, text, unit)?;
                }
            }
        }
        if self.seen == 0 {
            return Err(Fault::Syntax);
        }
        if ago {
            self.months = -self.months;
            self.days = -self.days;
            self.micros = self.micros.checked_neg().ok_or(Fault::Overflow)?;
        }
        Ok(())
    }

    fn number(&mut self, negative: bool, text: &str, unit: &mut IntervalUnit) -> Result<(), Fault> {
        let sign = if negative { -1 } else { 1 };
        if let Some((years, months)) = text.split_once('-') {
            let months = integer(months)?;
            if months >= 12 {
                return Err(Fault::Overflow);
            }
            *unit = IntervalUnit::Month;
            self.mark(1 << IntervalUnit::Month as u32)?;
            let total = integer(years)?.checked_mul(12).and_then(|years| years.checked_add(months));
            return self.add(sign * total.ok_or(Fault::Overflow)?, 0.0, IntervalUnit::Month);
        }
        let (value, fraction) = decimal(text)?;
        let mut bits = 1 << *unit as u32;
        if *unit == IntervalUnit::Second && fraction != 0.0 {
            bits |= 1 << IntervalUnit::Millisecond as u32 | 1 << IntervalUnit::Microsecond as u32;
        }
        self.mark(bits)?;
        self.add(sign * value, f64::from(sign as i32) * fraction, *unit)?;
        if *unit == IntervalUnit::Hour {
            *unit = IntervalUnit::Day;
        }
        Ok(())
    }

    /// `h:m`, `h:m:s` or `m:s.f`
    fn time(&mut self, negative: bool, text: &str) -> Result<(), Fault> {
        let parts: Vec<&str> = text.split(':').collect();
        let (hours, minutes, seconds) = match parts[..] {
            [minutes, seconds] if seconds.contains('.') => ("0", minutes, seconds),
            [hours, minutes] => (hours, minutes, "0"),
            [hours, minutes, seconds] => (hours, minutes, seconds),
            _ => return Err(Fault::Syntax),
        };
        let (hours, minutes) = (integer(hours)?, integer(minutes)?);
        let (seconds, fraction) = decimal(seconds)?;
        if minutes > 59 || seconds > 60 {
            return Err(Fault::Overflow);
        }
        self.mark(
            [IntervalUnit::Hour, IntervalUnit::Minute, IntervalUnit::Second]
                .map(|u| 1 << u as u32)
                .iter()
                .sum(),
        )?;
        let sign = if negative { -1 } else { 1 };
        self.add(sign * hours, 0.0, IntervalUnit::Hour)?;
        self.add(sign * minutes, 0.0, IntervalUnit::Minute)?;
        self.add(sign * seconds, 0.0, IntervalUnit::Second)?;
        self.add_micros(sign * (fraction * 1e6).round_ties_even() as i64)
    }

    fn decode_iso8601(&mut self, text: &str) -> Result<(), Fault> {
        let mut rest = text.strip_prefix('P').ok_or(Fault::Syntax)?;
        let mut is_time = false;
        let mut fields = 0;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('T') {
                (is_time, rest, fields) = (true, after, 0);
                self.seen |= 1;
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            let letter = after.chars().next();
            let unit = match (letter, is_time) {
                (Some('Y'), false) => IntervalUnit::Year,
                (Some('M'), false) => IntervalUnit::Month,
                (Some('W'), false) => IntervalUnit::Week,
                (Some('D'), false) => IntervalUnit::Day,
                (Some('H'), true) => IntervalUnit::Hour,
                (Some('M'), true) => IntervalUnit::Minute,
                (Some('S'), true) => IntervalUnit::Second,
                (None | Some('T'), false) if fields == 0 => {
                    self.alternative_date(number)?;
                    rest = after;
                    continue;
                }
                (Some(':'), true) if fields == 0 => return self.time(false, rest),
                _ => return Err(Fault::Syntax),
            };
            let (negative, magnitude) = sign(number);
            let (value, fraction) = decimal(magnitude)?;
            let factor = if negative { -1 } else { 1 };
            self.add(factor * value, factor as f64 * fraction, unit)?;
            rest = &after[1..];
            fields += 1;
            self.seen |= 1;
        }
        if self.seen == 0 { Err(Fault::Syntax) } else { Ok(()) }
    }

    /// `P2001-02-03`
    fn alternative_date(&mut self, text: &str) -> Result<(), Fault> {
        let units = [IntervalUnit::Year, IntervalUnit::Month, IntervalUnit::Day];
        let mut parts = text.split('-');
        for (unit, part) in units.into_iter().zip(&mut parts) {
            self.add(integer(part)?, 0.0, unit)?;
        }
        self.seen |= 1;
        if parts.next().is_some() { Err(Fault::Syntax) } else { Ok(()) }
    }
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn integer(digits: &str) -> Result<i64, Fault> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Syntax);
    }
    digits.parse().map_err(|_| Fault::Overflow)
}

/// Digits with an optional fraction; at least one digit.
fn decimal(text: &str) -> Result<(i64, f64), Fault> {
    let Some((whole, fraction)) = text.split_once('.') else {
        return Ok((integer(text)?, 0.0));
    };
    if whole.is_empty() && fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Syntax);
    }
    let value = if whole.is_empty() { 0 } else { integer(whole)? };
    let fraction = format!("0.{fraction}").parse().map_err(|_| Fault::Syntax)?;
    Ok((value, fraction))
}

enum Token<'a> {
    /// Digits with points, colons and minus signs.
    Number { negative: bool, text: &'a str },
    /// Letters in lower case.
    Word(&'a str),
}

/// Cuts a text into numbers and words; other punctuation is skipped as `ParseDateTime` does.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    /// More fields than any interval has (`MAXDATEFIELDS`).
    const TOKENS_MAX: usize = 25;
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if tokens.len() == TOKENS_MAX {
            return Err(Fault::Syntax);
        }
        let (negative, body) = match first {
            '+' | '-' => (first == '-', rest[1..].trim_start()),
            _ => (false, rest),
        };
        let lead = body.chars().next();
        if lead.is_some_and(|c| c.is_ascii_digit() || c == '.') {
            let end = body.find(|c: char| !c.is_ascii_digit() && !".:-".contains(c)).unwrap_or(body.len());
            tokens.push(Token::Number { negative, text: &body[..end] });
            rest = &body[end..];
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..end]));
            rest = &rest[end..];
        } else if first.is_ascii_whitespace() || (first.is_ascii_punctuation() && body.len() == rest.len()) {
            rest = &rest[1..];
        } else {
            return Err(Fault::Syntax);
        }
    }
    Ok(tokens)
}
