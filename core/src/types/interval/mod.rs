//! `interval`: months, days and microseconds, kept apart as PostgreSQL does (PG 15, chapter 8.5.4).

mod format;
mod parse;

use crate::error::{SqlState, ValueError};

pub use format::IntervalStyle;
pub use parse::IntervalUnit;

/// Bytes of an interval in rows and Arrow arrays: months i32, days i32, microseconds i64, little-endian.
pub const INTERVAL_BYTES: usize = 16;

const DAY_US: i64 = 86_400_000_000;
const MONTH_DAYS: i32 = 30;

/// A span of time. Equality of fields is not SQL equality: `1 mon` = `30 days` there (`Interval::order`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Interval {
    /// Whole months.
    pub months: i32,
    /// Whole days.
    pub days: i32,
    /// The rest, in microseconds.
    pub micros: i64,
}

fn out_of_range() -> ValueError {
    ValueError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

impl Interval {
    /// Little-endian bytes.
    #[inline]
    pub fn to_bytes(self) -> [u8; INTERVAL_BYTES] {
        let mut bytes = [0; INTERVAL_BYTES];
        bytes[..4].copy_from_slice(&self.months.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.days.to_le_bytes());
        bytes[8..].copy_from_slice(&self.micros.to_le_bytes());
        bytes
    }

    /// Inverse of [`Interval::to_bytes`]; every bit pattern is an interval.
    #[inline]
    pub fn from_bytes(bytes: [u8; INTERVAL_BYTES]) -> Interval {
        let [m0, m1, m2, m3, d0, d1, d2, d3, rest @ ..] = bytes;
        Interval {
            months: i32::from_le_bytes([m0, m1, m2, m3]),
            days: i32::from_le_bytes([d0, d1, d2, d3]),
            micros: i64::from_le_bytes(rest),
        }
    }

    /// What SQL compares by: microseconds with months of 30 days and days of 24 hours.
    pub fn order(self) -> i128 {
        let days = i128::from(self.months) * 30 + i128::from(self.days);
        days * 86_400_000_000 + i128::from(self.micros)
    }

    /// The sum, field by field.
    ///
    /// # Errors
    /// 22008 if a field overflows.
    pub fn try_add(self, other: Interval) -> Result<Interval, ValueError> {
        let add = || {
            Some(Interval {
                months: self.months.checked_add(other.months)?,
                days: self.days.checked_add(other.days)?,
                micros: self.micros.checked_add(other.micros)?,
            })
        };
        add().ok_or_else(out_of_range)
    }

    /// The difference, field by field.
    ///
    /// # Errors
    /// 22008 if a field overflows.
    pub fn try_sub(self, other: Interval) -> Result<Interval, ValueError> {
        let sub = || {
            Some(Interval {
                months: self.months.checked_sub(other.months)?,
                days: self.days.checked_sub(other.days)?,
                micros: self.micros.checked_sub(other.micros)?,
            })
        };
        sub().ok_or_else(out_of_range)
    }

    /// The negative.
    ///
    /// # Errors
    /// 22008 if a field overflows.
    pub fn negated(self) -> Result<Interval, ValueError> {
        Interval::default().try_sub(self)
    }

    /// Multiplied; fractions of months become days, of days microseconds.
    ///
    /// # Errors
    /// 22008 if a field overflows.
    pub fn try_mul(self, factor: f64) -> Result<Interval, ValueError> {
        self.scale(|field| field * factor)
    }

    /// Divided; fractions as in [`Interval::try_mul`].
    ///
    /// # Errors
    /// 22012 for zero, 22008 if a field overflows.
    pub fn try_div(self, divisor: f64) -> Result<Interval, ValueError> {
        if divisor == 0.0 {
            return Err(ValueError::new(SqlState::DIVISION_BY_ZERO, "division by zero"));
        }
        self.scale(|field| field / divisor)
    }

    /// `interval_mul` and `interval_div` of PostgreSQL, with its roundings.
    fn scale(self, change: impl Fn(f64) -> f64) -> Result<Interval, ValueError> {
        const DAY_SECONDS: f64 = 86_400.0;
        let round_us = |value: f64| (value * 1e6).round_ties_even() / 1e6;
        let whole = |value: f64| {
            let fits = value > f64::from(i32::MIN) - 1.0 && value < f64::from(i32::MAX) + 1.0;
            if fits { Ok(value as i32) } else { Err(out_of_range()) }
        };
        let (exact_months, exact_days) = (change(f64::from(self.months)), change(f64::from(self.days)));
        let (months, mut days) = (whole(exact_months)?, whole(exact_days)?);
        let month_rest_days = round_us((exact_months - f64::from(months)) * f64::from(MONTH_DAYS));
        let day_rest = exact_days - f64::from(days) + month_rest_days - month_rest_days.trunc();
        let mut seconds = round_us(day_rest * DAY_SECONDS);
        let mut carry = month_rest_days.trunc();
        if seconds.abs() >= DAY_SECONDS {
            let more = (seconds / DAY_SECONDS).trunc();
            carry += more;
            seconds -= more * DAY_SECONDS;
        }
        days = days.checked_add(carry as i32).ok_or_else(out_of_range)?;
        let micros = (change(self.micros as f64) + seconds * 1e6).round_ties_even();
        // Both bounds are doubles; the upper one is the first that does not fit.
        if !(micros >= i64::MIN as f64 && micros < i64::MAX as f64) {
            return Err(out_of_range());
        }
        Ok(Interval { months, days, micros: micros as i64 })
    }

    /// `justify_hours`: 24 hours become a day.
    ///
    /// # Errors
    /// 22008 if the days overflow.
    pub fn justify_hours(self) -> Result<Interval, ValueError> {
        let days = i32::try_from(self.micros / DAY_US).ok().and_then(|days| self.days.checked_add(days));
        let days = days.ok_or_else(out_of_range)?;
        let mut result = Interval { days, micros: self.micros % DAY_US, ..self };
        result.align_micros();
        Ok(result)
    }

    /// `justify_days`: 30 days become a month.
    ///
    /// # Errors
    /// 22008 if the months overflow.
    pub fn justify_days(self) -> Result<Interval, ValueError> {
        let months = self.months.checked_add(self.days / MONTH_DAYS).ok_or_else(out_of_range)?;
        let mut result = Interval { months, days: self.days % MONTH_DAYS, ..self };
        if result.months > 0 && result.days < 0 {
            result.days += MONTH_DAYS;
            result.months -= 1;
        } else if result.months < 0 && result.days > 0 {
            result.days -= MONTH_DAYS;
            result.months += 1;
        }
        Ok(result)
    }

    /// `justify_interval`: both, with one sign for all fields.
    ///
    /// # Errors
    /// 22008 if a field overflows.
    pub fn justify(self) -> Result<Interval, ValueError> {
        let all_days = i64::from(self.days) + self.micros / DAY_US;
        let months = i64::from(self.months) + all_days / i64::from(MONTH_DAYS);
        let mut result = Interval {
            months: i32::try_from(months).map_err(|_| out_of_range())?,
            days: (all_days % i64::from(MONTH_DAYS)) as i32,
            micros: self.micros % DAY_US,
        };
        let rest = (result.days, result.micros);
        if result.months > 0 && rest < (0, 0) {
            result.days += MONTH_DAYS;
            result.months -= 1;
        } else if result.months < 0 && rest > (0, 0) {
            result.days -= MONTH_DAYS;
            result.months += 1;
        }
        result.align_micros();
        Ok(result)
    }

    /// Gives the microseconds, less than a day, the sign of the days.
    fn align_micros(&mut self) {
        if self.days > 0 && self.micros < 0 {
            self.micros += DAY_US;
            self.days -= 1;
        } else if self.days < 0 && self.micros > 0 {
            self.micros -= DAY_US;
            self.days += 1;
        }
    }
}

#[cfg(test)]
mod tests;
