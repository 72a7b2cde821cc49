//! Dates, times and timestamps to text, ISO style.

use crate::types::calendar::{
    Civil, DATE_INFINITY, DATE_NEG_INFINITY, SECOND_US, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY, split,
};
use crate::types::number::{write_padded, write_two};
use crate::types::zone::TimeZone;

/// Appends `yyyy-mm-dd`; answers whether the year is before Christ, which is written at the very end.
fn write_day(days: i32, out: &mut Vec<u8>) -> bool {
    let civil = Civil::from_days(days);
    let before_christ = civil.year <= 0;
    let year = if before_christ { 1 - civil.year } else { civil.year };
    write_padded(year.unsigned_abs().into(), 4, out);
    out.push(b'-');
    write_two(civil.month, out);
    out.push(b'-');
    write_two(civil.day, out);
    before_christ
}

/// Appends a date.
pub(crate) fn write_date(days: i32, out: &mut Vec<u8>) {
    match days {
        DATE_INFINITY => out.extend_from_slice(b"infinity"),
        DATE_NEG_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => {
            if write_day(days, out) {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// Appends `hh:mm:ss[.f]`, without zeros at the end of the fraction.
pub(crate) fn write_time(micros: i64, out: &mut Vec<u8>) {
    let seconds = (micros / SECOND_US) as u32;
    write_two(seconds / 3600, out);
    out.push(b':');
    write_two(seconds / 60 % 60, out);
    out.push(b':');
    write_two(seconds % 60, out);
    let fraction = micros % SECOND_US;
    if fraction != 0 {
        out.push(b'.');
        write_padded(fraction as u64, 6, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn write_infinity(timestamp_us: i64, out: &mut Vec<u8>) -> bool {
    match timestamp_us {
        TIMESTAMP_INFINITY => out.extend_from_slice(b"infinity"),
        TIMESTAMP_NEG_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => return false,
    }
    true
}

fn write_local(local_us: i64, out: &mut Vec<u8>) -> bool {
    let (days, micros) = split(local_us);
    let before_christ = write_day(days, out);
    out.push(b' ');
    write_time(micros, out);
    before_christ
}

/// Appends a timestamp without zone.
pub(crate) fn write_timestamp(local_us: i64, out: &mut Vec<u8>) {
    if !write_infinity(local_us, out) && write_local(local_us, out) {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a timestamp in a zone, with its offset.
pub(crate) fn write_timestamptz(utc_us: i64, zone: TimeZone, out: &mut Vec<u8>) {
    if write_infinity(utc_us, out) {
        return;
    }
    let offset = zone.offset_at(utc_us);
    let before_christ = write_local(utc_us.saturating_add(i64::from(offset) * SECOND_US), out);
    write_offset(offset, out);
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// Appends `+hh[:mm[:ss]]`.
pub(crate) fn write_offset(seconds: i32, out: &mut Vec<u8>) {
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let seconds = seconds.unsigned_abs();
    write_two(seconds / 3600, out);
    if !seconds.is_multiple_of(3600) {
        out.push(b':');
        write_two(seconds / 60 % 60, out);
    }
    if !seconds.is_multiple_of(60) {
        out.push(b':');
        write_two(seconds % 60, out);
    }
}
