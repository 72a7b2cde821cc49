//! `to_char` of timestamps and intervals (PG 15, table 9.27).

use std::fmt::Write as _;

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::Interval;

use super::to_local;
use crate::expr::kernel::Call;
use crate::expr::kernel::lift::{Arg, Result, Span, Stamp, Text, each_text};
use crate::expr::value::Value;
use crate::types::TimeZone;
use crate::types::calendar::{Civil, EPOCH_JULIAN, SECOND_US, is_finite, iso_week, split, weekday};

/// Template patterns. Longer ones that begin with shorter ones come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pattern {
    Hour12,
    Hour24,
    Minute,
    Second,
    Milli,
    Micro,
    Fraction(usize),
    SecondOfDay,
    /// `AM` or `PM`, with points or without.
    Meridiem(bool),
    /// `BC` or `AD`, with points or without.
    Era(bool),
    YearComma,
    /// So many last digits of the year; 4 means all.
    Year(usize),
    IsoYear(usize),
    MonthName,
    MonthShort,
    Month,
    DayName,
    DayShort,
    DayOfYear,
    IsoDayOfYear,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    Century,
    Julian,
    Quarter,
    Roman,
    Zone,
    ZoneHour,
    ZoneMinute,
    Offset,
}

impl Pattern {
    /// Whether it can be followed by `TH`; behind others that is read and left out.
    fn is_number(self) -> bool {
        !matches!(
            self,
            Pattern::Meridiem(_)
                | Pattern::Era(_)
                | Pattern::MonthName
                | Pattern::MonthShort
                | Pattern::DayName
                | Pattern::DayShort
                | Pattern::Roman
                | Pattern::Zone
                | Pattern::ZoneHour
                | Pattern::ZoneMinute
                | Pattern::Offset
        )
    }
}

const PATTERNS: [(&str, Pattern); 53] = [
    ("Y,YYY", Pattern::YearComma),
    ("SSSSS", Pattern::SecondOfDay),
    ("MONTH", Pattern::MonthName),
    ("SSSS", Pattern::SecondOfDay),
    ("YYYY", Pattern::Year(4)),
    ("IYYY", Pattern::IsoYear(4)),
    ("IDDD", Pattern::IsoDayOfYear),
    ("HH24", Pattern::Hour24),
    ("HH12", Pattern::Hour12),
    ("A.M.", Pattern::Meridiem(true)),
    ("P.M.", Pattern::Meridiem(true)),
    ("A.D.", Pattern::Era(true)),
    ("B.C.", Pattern::Era(true)),
    ("YYY", Pattern::Year(3)),
    ("IYY", Pattern::IsoYear(3)),
    ("DDD", Pattern::DayOfYear),
    ("MON", Pattern::MonthShort),
    ("DAY", Pattern::DayName),
    ("FF1", Pattern::Fraction(1)),
    ("FF2", Pattern::Fraction(2)),
    ("FF3", Pattern::Fraction(3)),
    ("FF4", Pattern::Fraction(4)),
    ("FF5", Pattern::Fraction(5)),
    ("FF6", Pattern::Fraction(6)),
    ("TZH", Pattern::ZoneHour),
    ("TZM", Pattern::ZoneMinute),
    ("HH", Pattern::Hour12),
    ("MI", Pattern::Minute),
    ("SS", Pattern::Second),
    ("MS", Pattern::Milli),
    ("US", Pattern::Micro),
    ("AM", Pattern::Meridiem(false)),
    ("PM", Pattern::Meridiem(false)),
    ("AD", Pattern::Era(false)),
    ("BC", Pattern::Era(false)),
    ("YY", Pattern::Year(2)),
    ("IY", Pattern::IsoYear(2)),
    ("MM", Pattern::Month),
    ("DY", Pattern::DayShort),
    ("DD", Pattern::Day),
    ("ID", Pattern::IsoDayOfWeek),
    ("WW", Pattern::WeekOfYear),
    ("IW", Pattern::IsoWeek),
    ("CC", Pattern::Century),
    ("RM", Pattern::Roman),
    ("TZ", Pattern::Zone),
    ("OF", Pattern::Offset),
    ("Y", Pattern::Year(1)),
    ("I", Pattern::IsoYear(1)),
    ("D", Pattern::DayOfWeek),
    ("W", Pattern::WeekOfMonth),
    ("J", Pattern::Julian),
    ("Q", Pattern::Quarter),
];

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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// A piece of a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Node {
    /// Copied as it is.
    Literal(char),
    /// Replaced.
    Field {
        pattern: Pattern,
        /// As it was written, for its case of letters.
        spelling: String,
        /// `FM`: without padding.
        fill: bool,
        /// `TH` or `th` behind it.
        ordinal: Option<bool>,
    },
}

/// Cuts a template into pieces.
pub(super) fn parse_template(template: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut rest = template;
    // All upper or all lower case; names also with a capital.
    let prefix = |rest: &str, word: &str| {
        let Some(head) = rest.get(..word.len()) else { return false };
        let name = matches!(word, "MONTH" | "MON" | "DAY" | "DY");
        let capital = || name && head[..1] == word[..1] && head[1..] == word[1..].to_ascii_lowercase();
        head == word || head == word.to_ascii_lowercase() || capital()
    };
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            rest = &rest[1..];
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                match c {
                    '"' => break,
                    '\\' => {
                        let c = rest.chars().next().unwrap_or('\\');
                        nodes.push(Node::Literal(c));
                        rest = rest.get(c.len_utf8()..).unwrap_or_default();
                    }
                    c => nodes.push(Node::Literal(c)),
                }
            }
            continue;
        }
        let mut fill = true;
        let mut after = rest;
        while prefix(after, "FM") || prefix(after, "TM") || prefix(after, "FX") {
            fill &= !prefix(after, "FM");
            after = &after[2..];
        }
        let found = PATTERNS.iter().find(|(word, _)| prefix(after, word));
        match found {
            Some((word, pattern)) => {
                let spelling = after[..word.len()].to_owned();
                after = &after[word.len()..];
                let ordinal = prefix(after, "TH").then(|| after.starts_with("TH"));
                rest = if ordinal.is_some() { &after[2..] } else { after };
                nodes.push(Node::Field { pattern: *pattern, spelling, fill, ordinal });
            }
            // A prefix without a pattern stands for itself, like any other text.
            None if after.len() < rest.len() && after.is_empty() => rest = after,
            None => {
                let quoted = c == '\\' && rest[1..].starts_with('"');
                let c = if quoted { '"' } else { c };
                nodes.push(Node::Literal(c));
                rest = &rest[c.len_utf8() + usize::from(quoted)..];
            }
        }
    }
    nodes
}

/// What a template is filled with.
struct Parts {
    year: i32,
    month: u32,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Days since 1970-01-01; none for intervals.
    date: Option<i32>,
    zone: Option<(i32, String)>,
}

impl Parts {
    fn of_timestamp(local_us: i64, zone: Option<(i32, String)>) -> Parts {
        let (days, micros) = split(local_us);
        let civil = Civil::from_days(days);
        let seconds = micros / SECOND_US;
        Parts {
            year: civil.year,
            month: civil.month,
            day: civil.day.into(),
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: micros % SECOND_US,
            date: Some(days),
            zone,
        }
    }

    fn of_interval(interval: Interval) -> Parts {
        let seconds = interval.micros / SECOND_US;
        Parts {
            year: interval.months / 12,
            month: (interval.months % 12).unsigned_abs(),
            day: interval.days.into(),
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: interval.micros % SECOND_US,
            date: None,
            zone: None,
        }
    }

    /// The year as it is written: BC years are positive, with their era behind.
    fn shown(&self, year: i32) -> i64 {
        i64::from(if self.date.is_some() && year <= 0 { 1 - year } else { year })
    }

    fn write(&self, nodes: &[Node], out: &mut String) -> Result<()> {
        for node in nodes {
            match node {
                Node::Literal(c) => out.push(*c),
                Node::Field { pattern, spelling, fill, ordinal } => {
                    let start = out.len();
                    self.write_field(*pattern, spelling, *fill, out)?;
                    if let (Some(upper), true) = (ordinal, pattern.is_number()) {
                        let suffix = ordinal_suffix(&out[start..]);
                        out.push_str(&if *upper { suffix.to_ascii_uppercase() } else { suffix.to_owned() });
                    }
                }
            }
        }
        Ok(())
    }

    fn write_field(&self, pattern: Pattern, spelling: &str, fill: bool, out: &mut String) -> Result<()> {
        let mut number = |value: i64, width: usize| {
            let width = if fill { width + usize::from(value < 0) } else { 0 };
            write!(out, "{value:0width$}").expect("a String takes all");
        };
        let hour12 = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
        match pattern {
            Pattern::Hour12 => number(hour12, 2),
            Pattern::Hour24 => number(self.hour, 2),
            Pattern::Minute => number(self.minute, 2),
            Pattern::Second => number(self.second, 2),
            Pattern::Milli => write!(out, "{:03}", self.micros / 1_000).expect("a String takes all"),
            Pattern::Micro => write!(out, "{:06}", self.micros).expect("a String takes all"),
            Pattern::Fraction(digits) => {
                let value = self.micros.unsigned_abs() / 10u64.pow(6 - digits as u32);
                write!(out, "{value:0digits$}").expect("a String takes all");
            }
            Pattern::SecondOfDay => number(self.hour * 3_600 + self.minute * 60 + self.second, 0),
            Pattern::Month => number(self.month.into(), 2),
            Pattern::Day => number(self.day, 2),
            Pattern::Quarter if self.month > 0 => number(i64::from((self.month - 1) / 3 + 1), 0),
            Pattern::Quarter => {}
            Pattern::Meridiem(points) => {
                let afternoon = self.hour % 24 >= 12;
                out.push_str(&cased(
                    spelling,
                    match (points, afternoon) {
                        (true, true) => "P.M.",
                        (true, false) => "A.M.",
                        (false, true) => "PM",
                        (false, false) => "AM",
                    },
                ));
            }
            Pattern::YearComma => {
                let year = self.shown(self.year);
                write!(out, "{},{:03}", year / 1_000, year % 1_000).expect("a String takes all");
            }
            Pattern::Year(4) => number(self.shown(self.year), 4),
            Pattern::Year(digits) => number(self.shown(self.year) % 10i64.pow(digits as u32), digits),
            Pattern::Century => {
                let year = i64::from(self.year);
                let century = match self.date {
                    None => year / 100,
                    Some(_) if year > 0 => (year - 1) / 100 + 1,
                    Some(_) => year / 100 - 1,
                };
                number(century, if century.abs() < 100 { 2 } else { 0 });
            }
            Pattern::Roman if self.month > 0 => {
                let numeral = ROMAN[self.month as usize - 1];
                let numeral =
                    if spelling.starts_with('r') { numeral.to_ascii_lowercase() } else { numeral.to_owned() };
                let width = if fill { 4 } else { 0 };
                write!(out, "{numeral:width$}").expect("a String takes all");
            }
            Pattern::Roman => {}
            Pattern::Zone | Pattern::ZoneHour | Pattern::ZoneMinute | Pattern::Offset => {
                self.write_zone(pattern, spelling, fill, out);
            }
            _ => return self.write_date_field(pattern, spelling, fill, out),
        }
        Ok(())
    }

    /// Fields that an interval does not have.
    fn write_date_field(&self, pattern: Pattern, spelling: &str, fill: bool, out: &mut String) -> Result<()> {
        let Some(date) = self.date else {
            let message = "invalid format specification for an interval value";
            return Err(ValueError::new(SqlState::INVALID_DATETIME_FORMAT, message)
                .with_detail("Intervals are not tied to specific calendar dates."));
        };
        let day_of_year = i64::from(date) - Civil { year: self.year, month: 1, day: 1 }.days() + 1;
        let (iso_year, iso_week_number) = iso_week(date);
        let week_day = weekday(date);
        let iso_day = i64::from((week_day + 6) % 7 + 1);
        let width = |width: usize| if fill { width } else { 0 };
        let mut number =
            |value: i64, width: usize| write!(out, "{value:0width$}").expect("a String takes all");
        match pattern {
            Pattern::DayOfYear => number(day_of_year, width(3)),
            Pattern::IsoDayOfYear => number(i64::from(iso_week_number - 1) * 7 + iso_day, width(3)),
            Pattern::DayOfWeek => number(i64::from(week_day) + 1, 0),
            Pattern::IsoDayOfWeek => number(iso_day, 0),
            Pattern::WeekOfMonth => number((self.day - 1) / 7 + 1, 0),
            Pattern::WeekOfYear => number((day_of_year - 1) / 7 + 1, width(2)),
            Pattern::IsoWeek => number(iso_week_number.into(), width(2)),
            Pattern::Julian => number(i64::from(date) + i64::from(EPOCH_JULIAN), 0),
            Pattern::IsoYear(4) => number(self.shown(iso_year), width(4)),
            Pattern::IsoYear(digits) => {
                number(self.shown(iso_year) % 10i64.pow(digits as u32), width(digits))
            }
            Pattern::Era(points) => out.push_str(&cased(
                spelling,
                match (points, self.year <= 0) {
                    (true, true) => "B.C.",
                    (true, false) => "A.D.",
                    (false, true) => "BC",
                    (false, false) => "AD",
                },
            )),
            Pattern::MonthName | Pattern::DayName => {
                let month = pattern == Pattern::MonthName;
                let name = if month { MONTHS[self.month as usize - 1] } else { DAYS[week_day as usize] };
                let (name, width) = (cased(spelling, name), width(9));
                write!(out, "{name:width$}").expect("a String takes all");
            }
            Pattern::MonthShort => out.push_str(&cased(spelling, &MONTHS[self.month as usize - 1][..3])),
            Pattern::DayShort => out.push_str(&cased(spelling, &DAYS[week_day as usize][..3])),
            _ => unreachable!("every other pattern is one of time"),
        }
        Ok(())
    }

    fn write_zone(&self, pattern: Pattern, spelling: &str, fill: bool, out: &mut String) {
        let (offset, name) = match &self.zone {
            Some((offset, name)) => (*offset, name.as_str()),
            None => (0, ""),
        };
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 3_600, offset.abs() / 60 % 60);
        match pattern {
            Pattern::Zone if spelling.starts_with('t') => out.push_str(&name.to_ascii_lowercase()),
            Pattern::Zone => out.push_str(name),
            Pattern::ZoneMinute => write!(out, "{minutes:02}").expect("a String takes all"),
            _ => {
                let width = if fill || pattern == Pattern::ZoneHour { 2 } else { 1 };
                write!(out, "{sign}{hours:0width$}").expect("a String takes all");
                if pattern == Pattern::Offset && minutes != 0 {
                    write!(out, ":{minutes:02}").expect("a String takes all");
                }
            }
        }
    }
}

/// A name in the case of letters that its pattern is spelled in.
fn cased(spelling: &str, name: &str) -> String {
    let mut letters = spelling.chars().filter(char::is_ascii_alphabetic);
    match (letters.next().map(|c| c.is_ascii_uppercase()), letters.next().map(|c| c.is_ascii_uppercase())) {
        (Some(true), Some(true)) => name.to_ascii_uppercase(),
        (Some(true), _) => name.to_owned(),
        _ => name.to_ascii_lowercase(),
    }
}

/// `st`, `nd`, `rd` or `th`
pub(crate) fn ordinal_suffix(number: &str) -> &'static str {
    let digits = number.as_bytes();
    let teens = digits.len() > 1 && digits[digits.len() - 2] == b'1';
    match digits.last() {
        Some(b'1') if !teens => "st",
        Some(b'2') if !teens => "nd",
        Some(b'3') if !teens => "rd",
        _ => "th",
    }
}

/// Lifts the filling of a template; a constant template is cut up once.
fn lift(call: &Call<'_>, parts: impl Fn(usize) -> Result<Option<Parts>>) -> Result<Value> {
    let templates = Arg::<Text>::of(&call.args[1]);
    let constant = match &templates {
        Arg::Constant(template) => Some(parse_template(template)),
        Arg::Column(_) => None,
    };
    let mut text = String::new();
    each_text(call, |row, out| {
        let Some(parts) = parts(row)? else { return Ok(false) };
        text.clear();
        match &constant {
            Some(nodes) => parts.write(nodes, &mut text)?,
            None => parts.write(&parse_template(templates.get(row)), &mut text)?,
        }
        out.extend_from_slice(text.as_bytes());
        Ok(true)
    })
}

/// `to_char(timestamp, text)`; NULL for infinity
pub(crate) fn of_timestamp(call: &Call<'_>) -> Result<Value> {
    let stamps = Arg::<Stamp>::of(&call.args[0]);
    lift(call, |row| {
        let stamp = stamps.get(row);
        Ok(is_finite(stamp).then(|| Parts::of_timestamp(stamp, None)))
    })
}

/// `to_char(timestamptz, text)`
pub(crate) fn of_timestamptz(call: &Call<'_>) -> Result<Value> {
    let stamps = Arg::<Stamp>::of(&call.args[0]);
    let zone: TimeZone = call.context.format.timezone;
    lift(call, |row| {
        let stamp = stamps.get(row);
        if !is_finite(stamp) {
            return Ok(None);
        }
        let shown = (zone.offset_at(stamp), zone.abbreviation_at(stamp));
        Ok(Some(Parts::of_timestamp(to_local(stamp, zone)?, Some(shown))))
    })
}

/// `to_char(interval, text)`
pub(crate) fn of_interval(call: &Call<'_>) -> Result<Value> {
    let spans = Arg::<Span>::of(&call.args[0]);
    lift(call, |row| Ok(Some(Parts::of_interval(spans.get(row)))))
}
