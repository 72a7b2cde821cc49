//! `interval`: months, days and microseconds, kept apart as PostgreSQL does (PG 15, chapter 8.5.4).

/// Bytes of an interval in rows and Arrow arrays: months i32, days i32, microseconds i64, little-endian.
pub const INTERVAL_BYTES: usize = 16;

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

impl Interval {
    /// Little-endian bytes.
    pub fn to_bytes(self) -> [u8; INTERVAL_BYTES] {
        let mut bytes = [0; INTERVAL_BYTES];
        bytes[..4].copy_from_slice(&self.months.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.days.to_le_bytes());
        bytes[8..].copy_from_slice(&self.micros.to_le_bytes());
        bytes
    }

    /// Inverse of [`Interval::to_bytes`]; every bit pattern is an interval.
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
}
