//! Dates, times and timestamps from text: the ISO form at once, every other form through `decode`.

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::ReadContext;
use super::decode::{Decoded, Fault, Fields, decode};
use crate::types::calendar::{
    Civil, DATE_INFINITY, DATE_NEG_INFINITY, DAY_US, SECOND_US, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY,
    join, split,
};
use crate::types::zone::TimeZone;

fn fail(fault: &Fault, type_name: &str, text: &str) -> ValueError {
    let overflow = SqlState::DATETIME_FIELD_OVERFLOW;
    match fault {
        Fault::Syntax => {
            let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
            ValueError::new(SqlState::INVALID_DATETIME_FORMAT, message)
        }
        Fault::Field => ValueError::new(overflow, format!("date/time field value out of range: \"{text}\"")),
        Fault::Displacement => {
            let message = format!("time zone displacement out of range: \"{text}\"");
            ValueError::new(SqlState::INVALID_TIME_ZONE_DISPLACEMENT_VALUE, message)
        }
        Fault::Zone(name) => {
            let message = format!("time zone \"{name}\" not recognized");
            ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message)
        }
        Fault::NoClock => {
            let message = format!("date/time value \"{text}\" is not supported here");
            ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
        }
    }
}

fn out_of_range(type_name: &str, text: &str) -> ValueError {
    ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{type_name} out of range: \"{text}\""))
}

/// Two digits.
#[inline]
fn two(bytes: &[u8]) -> Option<u32> {
    let [a, b] = bytes else { return None };
    let (a, b) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'));
    (a < 10 && b < 10).then(|| u32::from(a) * 10 + u32::from(b))
}

/// `yyyy-mm-dd` at the front of a text.
fn iso_date(bytes: &[u8]) -> Option<(Civil, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<10>()?;
    let [century @ .., b'-', _, _, b'-', _, _] = head else { return None };
    let year = two(&century[..2])? * 100 + two(&century[2..])?;
    let civil = Civil { year: year as i32, month: two(&head[5..7])?, day: two(&head[8..])? };
    let valid =
        year > 0 && (1..=12).contains(&civil.month) && civil.day > 0 && civil.day <= civil.days_in_month();
    valid.then_some((civil, rest))
}

/// `hh:mm:ss[.ffffff]` at the front of a text, in microseconds.
fn iso_time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (head, mut rest) = bytes.split_first_chunk::<8>()?;
    let [_, _, b':', _, _, b':', _, _] = head else { return None };
    let (hour, minute, second) = (two(&head[..2])?, two(&head[3..5])?, two(&head[6..])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = i64::from(hour * 3600 + minute * 60 + second) * SECOND_US;
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 6 {
            return None;
        }
        let value = fraction[..digits].iter().fold(0i64, |value, byte| value * 10 + i64::from(byte - b'0'));
        micros += value * 10i64.pow(6 - digits as u32);
        rest = &fraction[digits..];
    }
    Some((micros, rest))
}

/// `Z`, `+hh` or `+hh:mm`, the whole text.
fn iso_offset(bytes: &[u8]) -> Option<i32> {
    let (sign, rest) = match bytes {
        [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let seconds = match rest {
        [_, _] => two(rest)? * 3600,
        [_, _, b':', minutes @ ..] => {
            two(&rest[..2])? * 3600 + two(minutes).filter(|minutes| *minutes < 60)? * 60
        }
        _ => return None,
    };
    (seconds < 16 * 3600).then(|| sign * seconds as i32)
}

/// `yyyy-mm-dd hh:mm:ss[.f][zone]`, or the date alone: local microseconds, and the offset if there is one.
fn iso_timestamp(text: &str) -> Option<(i64, Option<i32>)> {
    let (civil, rest) = iso_date(text.as_bytes())?;
    let days = civil.days();
    let (time, rest) = match rest {
        [] => (0, rest),
        [b' ' | b'T', rest @ ..] => iso_time(rest)?,
        _ => return None,
    };
    let offset = if rest.is_empty() { None } else { Some(iso_offset(rest)?) };
    Some((days * DAY_US + time, offset))
}

/// Days since 1970-01-01.
pub(crate) fn parse_date(text: &str, context: &ReadContext<'_>) -> Result<i32, ValueError> {
    if let Some((civil, [])) = iso_date(text.as_bytes()) {
        return Ok(civil.days() as i32);
    }
    match decode(text, false, context).map_err(|fault| fail(&fault, "date", text))? {
        Decoded::Infinity => Ok(DATE_INFINITY),
        Decoded::NegInfinity => Ok(DATE_NEG_INFINITY),
        Decoded::Epoch => Ok(0),
        Decoded::Now(utc) => Ok(split(localized(utc, context)).0),
        Decoded::Fields(Fields { date: Some(civil), .. }) => {
            civil.date().ok_or_else(|| out_of_range("date", text))
        }
        Decoded::Fields(_) => Err(fail(&Fault::Syntax, "date", text)),
    }
}

/// Microseconds since midnight.
pub(crate) fn parse_time(text: &str, context: &ReadContext<'_>) -> Result<i64, ValueError> {
    if let Some((time, [])) = iso_time(text.as_bytes()) {
        return Ok(time);
    }
    match decode(text, true, context).map_err(|fault| fail(&fault, "time", text))? {
        Decoded::Now(utc) => Ok(split(localized(utc, context)).1),
        Decoded::Fields(Fields { time_us: Some(time), zone, date }) => {
            // A zone with rules has no offset without a date.
            let ruled = matches!(zone, Some(TimeZone::Named(zone)) if zone != chrono_tz::UTC);
            if ruled && date.is_none() { Err(fail(&Fault::Syntax, "time", text)) } else { Ok(time) }
        }
        _ => Err(fail(&Fault::Syntax, "time", text)),
    }
}

/// Local microseconds since 1970.
pub(crate) fn parse_timestamp(text: &str, context: &ReadContext<'_>) -> Result<i64, ValueError> {
    if let Some((local, _)) = iso_timestamp(text) {
        return Ok(local);
    }
    match decode(text, false, context).map_err(|fault| fail(&fault, "timestamp", text))? {
        Decoded::Infinity => Ok(TIMESTAMP_INFINITY),
        Decoded::NegInfinity => Ok(TIMESTAMP_NEG_INFINITY),
        Decoded::Epoch => Ok(0),
        Decoded::Now(utc) => Ok(localized(utc, context)),
        Decoded::Fields(Fields { date: Some(date), time_us, .. }) => {
            join(date.days(), time_us.unwrap_or(0)).ok_or_else(|| out_of_range("timestamp", text))
        }
        Decoded::Fields(_) => Err(fail(&Fault::Syntax, "timestamp", text)),
    }
}

/// Microseconds since 1970 UTC.
pub(crate) fn parse_timestamptz(text: &str, context: &ReadContext<'_>) -> Result<i64, ValueError> {
    const NAME: &str = "timestamp with time zone";
    let default = context.options.timezone;
    if let Some((local, offset)) = iso_timestamp(text) {
        let offset = offset.unwrap_or_else(|| default.offset_at_local(local));
        return Ok(local - i64::from(offset) * SECOND_US);
    }
    match decode(text, false, context).map_err(|fault| fail(&fault, NAME, text))? {
        Decoded::Infinity => Ok(TIMESTAMP_INFINITY),
        Decoded::NegInfinity => Ok(TIMESTAMP_NEG_INFINITY),
        Decoded::Epoch => Ok(0),
        Decoded::Now(utc) => Ok(utc),
        Decoded::Fields(Fields { date: Some(date), time_us, zone }) => {
            let local =
                join(date.days(), time_us.unwrap_or(0)).ok_or_else(|| out_of_range("timestamp", text))?;
            let offset = zone.unwrap_or(default).offset_at_local(local);
            join(0, local - i64::from(offset) * SECOND_US).ok_or_else(|| out_of_range("timestamp", text))
        }
        Decoded::Fields(_) => Err(fail(&Fault::Syntax, NAME, text)),
    }
}

fn localized(utc_us: i64, context: &ReadContext<'_>) -> i64 {
    utc_us + i64::from(context.options.timezone.offset_at(utc_us)) * SECOND_US
}
