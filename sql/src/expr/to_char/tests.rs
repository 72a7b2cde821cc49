use super::*;
use crate::types::datetime::{ReadContext, format, parse_timestamp, parse_timestamptz};
use crate::types::{FormatOptions, TimeZone};
use omen_core::types::interval::Interval;
use omen_core::types::numeric::Numeric;

fn options() -> FormatOptions {
    FormatOptions {
        timezone: TimeZone::parse("America/New_York").expect("exists"),
        ..FormatOptions::default()
    }
}

fn answer(op: &str, value: &str, pattern: &str) -> Result<String> {
    let options = options();
    let context = ReadContext { options: &options, now_us: None };
    let date_pattern = DatePattern::parse(pattern);
    let mut text = String::new();
    let mut bytes = Vec::new();
    let known = match op {
        "timestamp" => timestamp_to_char(&date_pattern, parse_timestamp(value, &context)?, &mut text)?,
        "timestamptz" => {
            let utc_us = parse_timestamptz(value, &context)?;
            timestamptz_to_char(&date_pattern, utc_us, options.timezone, &mut text)?
        }
        "interval" => interval_to_char(&date_pattern, Interval::parse(value)?, &mut text)?,
        "numeric" => NumberPattern::parse(pattern)?.to_char(Numeric::parse(value)?, &mut text)?,
        "to_number" => {
            NumberPattern::parse(pattern)?.to_number(value)?.write(&mut bytes);
            true
        }
        "to_date" => {
            format::write_date(to_date(value, &date_pattern)?, &mut bytes);
            true
        }
        _ => {
            let utc_us = to_timestamp(value, &date_pattern, options.timezone)?;
            format::write_timestamptz(utc_us, options.timezone, &mut bytes);
            true
        }
    };
    text.push_str(&String::from_utf8(bytes).expect("ASCII"));
    Ok(if known { text } else { "NULL".into() })
}

/// Compares with what PostgreSQL answered.
#[test]
fn as_postgres() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in include_str!("testdata/postgres.txt").lines().filter(|line| !line.starts_with('#')) {
        let [op, value, pattern, expected] = line.split('~').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let answer = answer(op, value, pattern);
        let answer = answer.unwrap_or_else(|e| format!("ERROR {} {}", e.state.code(), e.message));
        if answer != expected {
            wrong.push(format!("{line}: {answer}~"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{} of {cases}\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases > 1000);
}
