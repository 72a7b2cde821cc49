use super::*;
use crate::types::TimeZone;
use crate::types::calendar::DATE_INFINITY;
use crate::types::datetime::{
    ReadContext, format, parse_date, parse_time, parse_timestamp, parse_timestamptz,
};
use crate::types::{FormatOptions, IntervalStyle, number};
use omen_core::types::interval::Interval;
use omen_core::types::numeric::Numeric;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("ASCII")
}

fn options() -> FormatOptions {
    FormatOptions { timezone: zone(), ..FormatOptions::default() }
}

fn zone() -> TimeZone {
    TimeZone::parse("America/New_York").expect("exists")
}

fn ts(text: &str) -> i64 {
    parse_timestamp(text, &ReadContext { options: &options(), now_us: None }).expect(text)
}

fn tz(text: &str) -> i64 {
    parse_timestamptz(text, &ReadContext { options: &options(), now_us: None }).expect(text)
}

fn date(text: &str) -> i32 {
    parse_date(text, &ReadContext { options: &options(), now_us: None }).expect(text)
}

fn time(text: &str) -> i64 {
    parse_time(text, &ReadContext { options: &options(), now_us: None }).expect(text)
}

fn interval(text: &str) -> Interval {
    Interval::parse(text).expect(text)
}

fn show_ts(value: i64) -> String {
    written(|out| format::write_timestamp(value, out))
}

fn show_tz(value: i64) -> String {
    written(|out| format::write_timestamptz(value, zone(), out))
}

fn show_date(value: i32) -> String {
    written(|out| format::write_date(value, out))
}

fn show_time(value: i64) -> String {
    written(|out| format::write_time(value, out))
}

fn show_interval(value: Interval) -> String {
    written(|out| value.write(IntervalStyle::Postgres, out))
}

fn show_numeric(value: Numeric) -> String {
    written(|out| value.write(out))
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.trim_matches('\'').parse().ok().expect("a number")
}

/// A field as `extract` or `date_part` shows it.
fn field(op: &str, name: &str, value: &str) -> Result<String> {
    let (how, of) = op.split_once(' ').expect("two words");
    let source = match of {
        "timestamp" => FieldSource::Timestamp,
        "timestamptz" => FieldSource::Timestamptz,
        "date" => FieldSource::Date,
        "time" => FieldSource::Time,
        _ => FieldSource::Interval,
    };
    let field = Field::parse(name, source)?;
    let value = match source {
        FieldSource::Timestamp => timestamp_field(field, ts(value)),
        FieldSource::Timestamptz => timestamptz_field(field, tz(value), zone()),
        FieldSource::Date => date_field(field, date(value)),
        FieldSource::Time => time_field(field, time(value)),
        FieldSource::Interval => interval_field(field, interval(value)),
    };
    Ok(match value {
        None => "NULL".into(),
        Some(FieldValue::Infinite { negative }) => if negative { "-Infinity" } else { "Infinity" }.into(),
        Some(value) if how == "part" => written(|out| number::write_f64(value.to_f64(), 1, out)),
        Some(value) => show_numeric(value.to_numeric()?),
    })
}

fn truncated(op: &str, unit: &str, value: &str) -> Result<String> {
    Ok(match op {
        "trunc timestamp" => {
            show_ts(timestamp_trunc(Field::parse_unit(unit, FieldSource::Timestamp)?, ts(value))?)
        }
        "trunc timestamptz" => {
            show_tz(timestamptz_trunc(Field::parse_unit(unit, FieldSource::Timestamptz)?, tz(value), zone())?)
        }
        _ => show_interval(interval_trunc(Field::parse_unit(unit, FieldSource::Interval)?, interval(value))),
    })
}

fn answer(op: &str, args: &[&str]) -> Result<String> {
    let arg = |index: usize| args[index];
    if op.starts_with("extract") || op.starts_with("part") {
        return field(op, arg(0), arg(1));
    }
    Ok(match op {
        "age" => show_interval(age(ts(arg(0)), ts(arg(1)))?),
        "age tz" => show_interval(age_in_zone(tz(arg(0)), tz(arg(1)), zone())?),
        "timestamp +" => show_ts(timestamp_add_interval(ts(arg(0)), interval(arg(1)))?),
        "timestamp -i" => show_ts(timestamp_sub_interval(ts(arg(0)), interval(arg(1)))?),
        "timestamptz +" => show_tz(timestamptz_add_interval(tz(arg(0)), interval(arg(1)), zone())?),
        "timestamptz -i" => show_tz(timestamptz_sub_interval(tz(arg(0)), interval(arg(1)), zone())?),
        "timestamp -" => show_interval(timestamp_sub(ts(arg(0)), ts(arg(1)))?),
        "date +" => show_date(date_add_days(date(arg(0)), number(arg(1)))?),
        "date -n" => show_date(date_sub_days(date(arg(0)), number(arg(1)))?),
        "date -" => date_sub(date(arg(0)), date(arg(1)))?.to_string(),
        "date time" => show_ts(date_add_time(date(arg(0)), time(arg(1)))?),
        "date timestamp" => show_ts(date_to_timestamp(date(arg(0)))?),
        "time +" => show_time(time_add_interval(time(arg(0)), interval(arg(1)))),
        "time -i" => show_time(time_sub_interval(time(arg(0)), interval(arg(1)))),
        "time -" => show_interval(time_sub(time(arg(0)), time(arg(1)))),
        "at zone" => show_ts(at_time_zone(tz(arg(0)), TimeZone::parse(arg(1))?)?),
        "from zone" => show_tz(from_time_zone(ts(arg(0)), TimeZone::parse(arg(1))?)?),
        "at interval" => show_ts(at_time_zone(tz(arg(0)), interval_zone(interval(arg(1)))?)?),
        "date_bin" => show_ts(date_bin(interval(arg(0)), ts(arg(1)), ts(arg(2)))?),
        "to_timestamp" => show_tz(to_timestamp(number(arg(0)))?),
        _ if op.starts_with("make") => return made(op, args),
        _ => return truncated(op, arg(0), arg(1)),
    })
}

fn made(op: &str, args: &[&str]) -> Result<String> {
    let int = |index: usize| number::<i32>(args[index]);
    let clock = |at: usize| ClockFields { hour: int(at), minute: int(at + 1), second: number(args[at + 2]) };
    let day = || DayFields { year: int(0), month: int(1), day: int(2) };
    Ok(match op {
        "make_date" => show_date(make_date(day())?),
        "make_time" => show_time(make_time(clock(0))?),
        "make_timestamp" => show_ts(make_timestamp(day(), clock(3))?),
        _ => show_interval(make_interval(IntervalFields {
            years: int(0),
            months: int(1),
            weeks: int(2),
            days: int(3),
            hours: int(4),
            minutes: int(5),
            seconds: number(args[6]),
        })?),
    })
}

/// Compares with what PostgreSQL answered.
#[test]
fn as_postgres() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in include_str!("testdata/postgres.txt").lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<_> = line.split('|').collect();
        let [op, args @ .., expected] = &parts[..] else { panic!("{line}") };
        let answer = answer(op, args).unwrap_or_else(|e| format!("ERROR {} {}", e.state.code(), e.message));
        if answer != *expected {
            wrong.push(format!("{line}: {answer}"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{} of {cases}\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases > 2000);
}

#[test]
fn infinite_dates_have_no_numeric_year() {
    let year = date_field(Field::Year, DATE_INFINITY).expect("monotonic");
    assert_eq!(year.to_f64(), f64::INFINITY);
    assert_eq!(year.to_numeric().map_err(|e| e.state.code()), Err("0A000"));
}
