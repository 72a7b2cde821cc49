//! Time zones by name, abbreviation or fixed offset.

use std::fmt;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use omen_core::SqlState;
use omen_core::error::ValueError;

use super::calendar::{Civil, DAY_US, SECOND_US, is_leap_year, split, weekday};

/// A time zone of the session, of `AT TIME ZONE` or of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeZone {
    /// A zone of the IANA database.
    Named(Tz),
    /// Seconds east of Greenwich.
    Fixed(i32),
}

/// Offsets of abbreviations in hours and minutes east, those of PostgreSQL's `Default` set that are in wide use.
const ABBREVIATIONS: [(&str, i32, i32); 37] = [
    ("acdt", 10, 30),
    ("acst", 9, 30),
    ("aedt", 11, 0),
    ("aest", 10, 0),
    ("akdt", -8, 0),
    ("akst", -9, 0),
    ("art", -3, 0),
    ("awst", 8, 0),
    ("bst", 1, 0),
    ("brt", -3, 0),
    ("cdt", -5, 0),
    ("cest", 2, 0),
    ("cet", 1, 0),
    ("cst", -6, 0),
    ("edt", -4, 0),
    ("eest", 3, 0),
    ("eet", 2, 0),
    ("est", -5, 0),
    ("gmt", 0, 0),
    ("hst", -10, 0),
    ("ist", 2, 0),
    ("jst", 9, 0),
    ("kst", 9, 0),
    ("mdt", -6, 0),
    ("msk", 3, 0),
    ("mst", -7, 0),
    ("nzdt", 13, 0),
    ("nzst", 12, 0),
    ("pdt", -7, 0),
    ("pst", -8, 0),
    ("sast", 2, 0),
    ("ut", 0, 0),
    ("utc", 0, 0),
    ("west", 1, 0),
    ("wet", 0, 0),
    ("z", 0, 0),
    ("zulu", 0, 0),
];

/// Farthest offset that is read, in seconds (`MAX_TZDISP_HOUR` of PostgreSQL).
pub(crate) const OFFSET_MAX_S: i32 = 15 * 3600 + 59 * 60 + 59;
/// Hours in a setting go up to a week, as in POSIX.
const POSIX_HOURS_MAX: i32 = 167;

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: TimeZone = TimeZone::Named(Tz::UTC);

    /// The zone that `AT TIME ZONE` names, in any case of letters: an abbreviation, an IANA name, or a POSIX offset
    /// (`UTC+3` is west of Greenwich).
    ///
    /// # Errors
    /// 22023 `time zone "x" not recognized`.
    pub fn parse(name: &str) -> Result<TimeZone, ValueError> {
        abbreviation(name).or_else(|| named(name)).or_else(|| posix(name)).ok_or_else(|| {
            ValueError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
        })
    }

    /// The zone that `SET TIME ZONE` names: a number of hours east, an IANA name, or a POSIX offset.
    ///
    /// # Errors
    /// 22023 `invalid value for parameter "TimeZone": "x"`.
    pub fn parse_setting(value: &str) -> Result<TimeZone, ValueError> {
        let hours =
            value.trim().parse::<f64>().ok().filter(|hours| hours.abs() <= f64::from(POSIX_HOURS_MAX));
        let fixed = hours.map(|hours| TimeZone::Fixed((hours * 3600.0) as i32));
        fixed.or_else(|| named(value)).or_else(|| posix(value)).ok_or_else(|| {
            let message = format!("invalid value for parameter \"TimeZone\": \"{value}\"");
            ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
        })
    }

    /// Seconds east of Greenwich at an instant, in microseconds since 1970 UTC.
    pub fn offset_at(self, utc_us: i64) -> i32 {
        match self {
            TimeZone::Fixed(seconds) => seconds,
            TimeZone::Named(Tz::UTC) => 0,
            TimeZone::Named(tz) => tz.offset_from_utc_datetime(&naive(utc_us)).fix().local_minus_utc(),
        }
    }

    /// Seconds east of Greenwich at a local time, in microseconds since 1970 of the local clock. A time that a clock
    /// change skips counts as before it, a time that comes twice as the second one, as in PostgreSQL.
    pub fn offset_at_local(self, local_us: i64) -> i32 {
        match self {
            TimeZone::Fixed(seconds) => seconds,
            TimeZone::Named(Tz::UTC) => 0,
            TimeZone::Named(tz) => match tz.offset_from_local_datetime(&naive(local_us)) {
                MappedLocalTime::Single(offset) => offset.fix().local_minus_utc(),
                MappedLocalTime::Ambiguous(_, late) => late.fix().local_minus_utc(),
                MappedLocalTime::None => {
                    tz.offset_from_utc_datetime(&naive(local_us - DAY_US)).fix().local_minus_utc()
                }
            },
        }
    }

    /// The abbreviation in use at an instant, as `to_char` prints it.
    pub fn abbreviation_at(self, utc_us: i64) -> String {
        match self {
            TimeZone::Named(tz) => tz.offset_from_utc_datetime(&naive(utc_us)).to_string(),
            TimeZone::Fixed(seconds) => format!("{:+03}", seconds / 3600),
        }
    }
}

/// The time as `chrono` has it. The zones' tables end with a century, their rules do not: later years are replaced by one
/// that begins with the same day of the week and is as long.
fn naive(us: i64) -> NaiveDateTime {
    const LAST_YEAR: i32 = 2099;
    /// Year 2100.
    const TABLES_END_US: i64 = 4_102_444_800_000_000;
    /// Year -200000: `chrono`'s years are fewer than PostgreSQL's, and zones did not change back then.
    const SECONDS_MIN: i64 = -6_373_559_116_800;
    let us = if us < TABLES_END_US {
        us
    } else {
        let (days, micros) = split(us);
        let civil = Civil::from_days(days);
        let kind = |year| (is_leap_year(year), weekday(Civil { year, month: 1, day: 1 }.days() as i32));
        // All fourteen kinds of years come within 28 years.
        let year =
            (LAST_YEAR - 27..=LAST_YEAR).find(|year| kind(*year) == kind(civil.year)).unwrap_or(LAST_YEAR);
        Civil { year, ..civil }.days() * DAY_US + micros
    };
    let seconds = us.div_euclid(SECOND_US).max(SECONDS_MIN);
    DateTime::from_timestamp(seconds, 0).expect("within chrono's range").naive_utc()
}

/// The offset of an abbreviation, in any case of letters.
pub(crate) fn abbreviation(name: &str) -> Option<TimeZone> {
    let known = ABBREVIATIONS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
    Some(TimeZone::Fixed(known.1 * 3600 + known.2 * 60))
}

/// The zone of the IANA database with this name, in any case of letters.
pub(crate) fn named(name: &str) -> Option<TimeZone> {
    TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(name)).map(|tz| TimeZone::Named(*tz))
}

/// `<name>+hh[:mm[:ss]]`, west of Greenwich if positive; the name may be missing.
fn posix(text: &str) -> Option<TimeZone> {
    let rest = match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?.1,
        None => text.trim_start_matches(|c: char| c.is_ascii_alphabetic()),
    };
    let (sign, rest) = match rest.as_bytes().first()? {
        b'-' => (1, &rest[1..]),
        b'+' => (-1, &rest[1..]),
        _ => (-1, rest),
    };
    let mut seconds = 0;
    let mut units = [(3600, POSIX_HOURS_MAX), (60, 59), (1, 59)].into_iter();
    for part in rest.split(':') {
        let (unit, limit) = units.next()?;
        let digits = !part.is_empty() && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
        let value: i32 = digits.then(|| part.parse().ok())??;
        if value > limit {
            return None;
        }
        seconds += value * unit;
    }
    Some(TimeZone::Fixed(sign * seconds))
}

/// As SHOW prints it; fixed offsets as POSIX has them, with the sign turned round.
impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = match self {
            TimeZone::Named(tz) => return f.write_str(tz.name()),
            TimeZone::Fixed(seconds) => *seconds,
        };
        let (east, west) = if seconds < 0 { ('-', '+') } else { ('+', '-') };
        let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
        if minutes == 0 {
            write!(f, "<{east}{hours:02}>{west}{hours:02}")
        } else {
            write!(f, "<{east}{hours:02}:{minutes:02}>{west}{hours:02}:{minutes:02}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(zone: &str) -> Result<i32, String> {
        TimeZone::parse(zone).map(|zone| zone.offset_at(1_577_836_800_000_000)).map_err(|e| e.message)
    }

    #[test]
    fn names_as_postgres_reads_them() {
        let west = ["+02", "+02:00", "UTC+2", "02:00"];
        west.iter().for_each(|zone| assert_eq!(local(zone), Ok(-7200), "{zone}"));
        assert_eq!(local("-5"), Ok(18_000));
        assert_eq!(local("<abc>-3"), Ok(10_800));
        assert_eq!(local("America/new_york"), Ok(-18_000));
        assert_eq!(local("CEST"), Ok(7_200));
        assert_eq!(local("xyz"), Err("time zone \"xyz\" not recognized".into()));
        let shown = [("-5", "<-05>+05"), ("5.5", "<+05:30>-05:30"), ("europe/berlin", "Europe/Berlin")];
        for (setting, expected) in shown {
            assert_eq!(TimeZone::parse_setting(setting).map(|zone| zone.to_string()), Ok(expected.into()));
        }
        let message = "invalid value for parameter \"TimeZone\": \"Foo/Bar\"";
        assert_eq!(TimeZone::parse_setting("Foo/Bar").map_err(|e| e.message), Err(message.into()));
    }

    #[test]
    fn clock_changes() {
        let zone = TimeZone::parse("America/New_York").expect("exists");
        // 2020-03-08 02:30 does not exist, 2020-11-01 01:30 comes twice.
        assert_eq!(zone.offset_at_local(1_583_634_600_000_000), -5 * 3600);
        assert_eq!(zone.offset_at_local(1_604_194_200_000_000), -5 * 3600);
        assert_eq!(zone.offset_at_local(1_604_190_600_000_000), -4 * 3600);
        assert_eq!(zone.offset_at_local(i64::MIN), zone.offset_at_local(i64::MIN + 1));
    }
}
