//! The proleptic Gregorian calendar in integers, and the ranges of dates and timestamps.
//!
//! Days and microseconds count from 1970-01-01. Year 0 is 1 BC.

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;
/// Microseconds of a second.
pub const SECOND_US: i64 = 1_000_000;
/// Days from 1970-01-01 to 2000-01-01, where the wire counts from.
pub const EPOCH_2000_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
pub const EPOCH_2000_US: i64 = EPOCH_2000_DAYS as i64 * DAY_US;
/// Julian day number of 1970-01-01.
pub const EPOCH_JULIAN: i32 = 2_440_588;
/// First date: 4714-11-24 BC, Julian day 0.
pub const DATE_MIN: i32 = -EPOCH_JULIAN;
/// Last date: 5874897-12-31.
pub const DATE_MAX: i32 = 2_147_483_493 - EPOCH_JULIAN;
/// First timestamp: 4714-11-24 00:00:00 BC.
pub const TIMESTAMP_MIN: i64 = DATE_MIN as i64 * DAY_US;
/// Last timestamp: 294247-01-10 04:00:54.775806, the last before infinity. PostgreSQL, which counts from 2000, ends
/// with the year 294276.
pub const TIMESTAMP_MAX: i64 = i64::MAX - 1;
/// Infinity of dates.
pub const DATE_INFINITY: i32 = i32::MAX;
/// Negative infinity of dates.
pub const DATE_NEG_INFINITY: i32 = i32::MIN;
/// Infinity of timestamps.
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
/// Negative infinity of timestamps.
pub const TIMESTAMP_NEG_INFINITY: i64 = i64::MIN;

/// A day of the calendar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Civil {
    /// Year; 0 is 1 BC.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

impl Civil {
    /// The day so many days after 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    #[inline]
    pub fn from_days(days: i32) -> Civil {
        let z = i64::from(days) + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
        let month = (if shifted < 10 { shifted + 3 } else { shifted - 9 }) as u32;
        let year = (year_of_era + era * 400) as i32 + i32::from(month <= 2);
        Civil { year, month, day }
    }

    /// Days since 1970-01-01, in 64 bits because the year is not checked.
    #[inline]
    pub fn days(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = i64::from(self.month);
        let shifted = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// Days since 1970-01-01 if that is a date that PostgreSQL has.
    pub fn date(self) -> Option<i32> {
        i32::try_from(self.days()).ok().filter(|days| (DATE_MIN..=DATE_MAX).contains(days))
    }

    /// Days of this month.
    pub fn days_in_month(self) -> u32 {
        days_in_month(self.year, self.month)
    }
}

/// Whether the year has 366 days.
pub fn is_leap_year(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month, 1 to 12.
pub fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap_year(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Day of the week, 0 is Sunday.
pub fn weekday(days: i32) -> u32 {
    (i64::from(days) + 4).rem_euclid(7) as u32
}

/// Year and week of ISO 8601: weeks begin on Monday, week 1 has the year's first Thursday.
pub fn iso_week(days: i32) -> (i32, u32) {
    let monday_based = (i64::from(days) + 3).rem_euclid(7);
    let thursday = i64::from(days) - monday_based + 3;
    let year = Civil::from_days(thursday as i32).year;
    let first = Civil { year, month: 1, day: 1 }.days();
    (year, ((thursday - first) / 7 + 1) as u32)
}

/// First day of a week of ISO 8601.
pub fn iso_week_start(year: i32, week: i64) -> i64 {
    let fourth = Civil { year, month: 1, day: 4 }.days();
    let monday = fourth - (fourth + 3).rem_euclid(7);
    monday + (week - 1) * 7
}

/// Whether a timestamp is neither infinite nor out of range.
pub fn is_finite(timestamp_us: i64) -> bool {
    timestamp_us != TIMESTAMP_INFINITY && timestamp_us != TIMESTAMP_NEG_INFINITY
}

/// Days since 1970-01-01 and microseconds of the day.
#[inline]
pub fn split(timestamp_us: i64) -> (i32, i64) {
    // The quotient of an i64 and a day is below 2^27.
    (timestamp_us.div_euclid(DAY_US) as i32, timestamp_us.rem_euclid(DAY_US))
}

/// A timestamp of a day and the microseconds of that day, if PostgreSQL has it.
pub fn join(days: i64, micros: i64) -> Option<i64> {
    let total = days.checked_mul(DAY_US)?.checked_add(micros)?;
    (TIMESTAMP_MIN..=TIMESTAMP_MAX).contains(&total).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_and_the_ends() {
        let mut expected = Civil { year: 1600, month: 1, day: 1 };
        let start = expected.days() as i32;
        for days in start..start + 800 * 366 {
            assert_eq!(Civil::from_days(days), expected);
            assert_eq!(expected.date(), Some(days));
            expected.day += 1;
            if expected.day > expected.days_in_month() {
                (expected.day, expected.month) = (1, expected.month + 1);
            }
            if expected.month > 12 {
                (expected.month, expected.year) = (1, expected.year + 1);
            }
        }
        assert_eq!(Civil::from_days(DATE_MIN), Civil { year: -4713, month: 11, day: 24 });
        assert_eq!(Civil::from_days(DATE_MAX), Civil { year: 5_874_897, month: 12, day: 31 });
        assert_eq!(Civil { year: 5_874_898, month: 1, day: 1 }.date(), None);
    }

    #[test]
    fn weeks() {
        let day = |year, month, day| Civil { year, month, day }.date().expect("in range");
        assert_eq!(iso_week(day(2021, 1, 3)), (2020, 53));
        assert_eq!(iso_week(day(2021, 1, 4)), (2021, 1));
        assert_eq!(iso_week(day(2019, 12, 30)), (2020, 1));
        assert_eq!(iso_week_start(2021, 1), i64::from(day(2021, 1, 4)));
        assert_eq!(weekday(day(2024, 2, 29)), 4);
    }
}
