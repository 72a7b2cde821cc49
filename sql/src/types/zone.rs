//! Time zones by name or fixed offset.

use chrono_tz::Tz;
use omen_core::error::ValueError;

/// A time zone of the session, of `AT TIME ZONE` or of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeZone {
    /// A zone of the IANA database.
    Named(Tz),
    /// Seconds east of Greenwich.
    Fixed(i32),
}

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: TimeZone = TimeZone::Named(Tz::UTC);

    /// The zone that `SET TIME ZONE` or `AT TIME ZONE` names, in any case of letters.
    ///
    /// # Errors
    /// 22023 `time zone "x" not recognized`.
    pub fn parse(_name: &str) -> Result<TimeZone, ValueError> {
        todo!()
    }
}
