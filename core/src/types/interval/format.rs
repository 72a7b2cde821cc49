//! Intervals as text, in the four styles of `IntervalStyle` (`EncodeInterval` of PostgreSQL).

use std::fmt;
use std::io::Write as _;

use super::Interval;

/// Values of `IntervalStyle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IntervalStyle {
    /// `1 year 2 mons 3 days 04:05:06`
    #[default]
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`
    PostgresVerbose,
    /// `+1-2 +3 +4:05:06`
    SqlStandard,
    /// `P1Y2M3DT4H5M6S`
    Iso8601,
}

/// An interval cut into the units that are written. All parts of the time have one sign.
struct Parts {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    micros: i64,
}

impl Parts {
    fn of(interval: Interval) -> Parts {
        let time = interval.micros;
        Parts {
            years: i64::from(interval.months / 12),
            months: i64::from(interval.months % 12),
            days: i64::from(interval.days),
            hours: time / 3_600_000_000,
            minutes: time / 60_000_000 % 60,
            seconds: time / 1_000_000 % 60,
            micros: time % 1_000_000,
        }
    }

    fn all(&self) -> [i64; 7] {
        [self.years, self.months, self.days, self.hours, self.minutes, self.seconds, self.micros]
    }

    fn has_time(&self) -> bool {
        self.all()[3..].iter().any(|part| *part != 0)
    }

    fn is_time_negative(&self) -> bool {
        self.all()[3..].iter().any(|part| *part < 0)
    }

    /// Seconds without sign, with as many digits after the point as are not zero.
    fn write_seconds(&self, fill: bool, out: &mut Vec<u8>) {
        let (seconds, micros) = (self.seconds.abs(), self.micros.abs());
        let width = if fill { 2 } else { 1 };
        put(out, format_args!("{seconds:0width$}"));
        if micros != 0 {
            put(out, format_args!(".{micros:06}"));
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
    }
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes all");
}

impl Interval {
    /// Appends the text in a style.
    pub fn write(self, style: IntervalStyle, out: &mut Vec<u8>) {
        let parts = Parts::of(self);
        match style {
            IntervalStyle::Postgres => write_postgres(&parts, out),
            IntervalStyle::PostgresVerbose => write_verbose(&parts, out),
            IntervalStyle::SqlStandard => write_sql_standard(parts, out),
            IntervalStyle::Iso8601 => write_iso8601(&parts, out),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(48);
        self.write(IntervalStyle::Postgres, &mut text);
        f.write_str(std::str::from_utf8(&text).expect("ASCII"))
    }
}

fn write_postgres(parts: &Parts, out: &mut Vec<u8>) {
    let mut first = true;
    let mut before = false;
    for (value, unit) in [(parts.years, "year"), (parts.months, "mon"), (parts.days, "day")] {
        if value != 0 {
            let space = if first { "" } else { " " };
            let sign = if before && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            put(out, format_args!("{space}{sign}{value} {unit}{plural}"));
            first = false;
            before = value < 0;
        }
    }
    if first || parts.has_time() {
        let space = if first { "" } else { " " };
        let sign = match (parts.is_time_negative(), before) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        put(out, format_args!("{space}{sign}{:02}:{:02}:", parts.hours.abs(), parts.minutes.abs()));
        parts.write_seconds(true, out);
    }
}

fn write_verbose(parts: &Parts, out: &mut Vec<u8>) {
    let mut first = true;
    let mut ago = false;
    out.push(b'@');
    let units = ["year", "mon", "day", "hour", "min"];
    for (value, unit) in parts.all().into_iter().zip(units) {
        if value != 0 {
            ago = if first { value < 0 } else { ago };
            let value = if ago { -value } else { value };
            put(out, format_args!(" {value} {unit}{}", if value == 1 { "" } else { "s" }));
            first = false;
        }
    }
    if parts.seconds != 0 || parts.micros != 0 {
        let negative = parts.seconds < 0 || parts.micros < 0;
        ago = if first { negative } else { ago };
        out.extend_from_slice(if negative == ago { b" " } else { b" -" });
        parts.write_seconds(false, out);
        let plural = if parts.seconds.abs() == 1 && parts.micros == 0 { "" } else { "s" };
        put(out, format_args!(" sec{plural}"));
        first = false;
    }
    if first {
        out.extend_from_slice(b" 0");
    }
    if ago {
        out.extend_from_slice(b" ago");
    }
}

fn write_sql_standard(parts: Parts, out: &mut Vec<u8>) {
    let negative = parts.all().iter().any(|part| *part < 0);
    let positive = parts.all().iter().any(|part| *part > 0);
    let has_months = parts.years != 0 || parts.months != 0;
    let has_days = parts.days != 0 || parts.has_time();
    if !negative && !positive {
        return out.push(b'0');
    }
    let sign = |negative: bool| if negative { '-' } else { '+' };
    let (years, months, days) = (parts.years.abs(), parts.months.abs(), parts.days.abs());
    let (hours, minutes) = (parts.hours.abs(), parts.minutes.abs());
    if (negative && positive) || (has_months && has_days) {
        let month_sign = sign(parts.years < 0 || parts.months < 0);
        let (day_sign, time_sign) = (sign(parts.days < 0), sign(parts.is_time_negative()));
        put(
            out,
            format_args!("{month_sign}{years}-{months} {day_sign}{days} {time_sign}{hours}:{minutes:02}:"),
        );
        return parts.write_seconds(true, out);
    }
    if negative {
        out.push(b'-');
    }
    if has_months {
        return put(out, format_args!("{years}-{months}"));
    }
    if days != 0 {
        put(out, format_args!("{days} "));
    }
    put(out, format_args!("{hours}:{minutes:02}:"));
    parts.write_seconds(true, out);
}

fn write_iso8601(parts: &Parts, out: &mut Vec<u8>) {
    if parts.all() == [0; 7] {
        return out.extend_from_slice(b"PT0S");
    }
    let some = |out: &mut Vec<u8>, value: i64, unit: char| {
        if value != 0 {
            put(out, format_args!("{value}{unit}"));
        }
    };
    out.push(b'P');
    some(out, parts.years, 'Y');
    some(out, parts.months, 'M');
    some(out, parts.days, 'D');
    if parts.has_time() {
        out.push(b'T');
    }
    some(out, parts.hours, 'H');
    some(out, parts.minutes, 'M');
    if parts.seconds != 0 || parts.micros != 0 {
        if parts.seconds < 0 || parts.micros < 0 {
            out.push(b'-');
        }
        parts.write_seconds(false, out);
        out.push(b'S');
    }
}
