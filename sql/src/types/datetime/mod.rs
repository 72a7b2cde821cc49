//! Dates, times and timestamps as text.

mod decode;
pub(crate) mod format;
mod read;

pub(crate) use read::{parse_date, parse_time, parse_timestamp, parse_timestamptz};

use super::{DateOrder, FormatOptions};

/// What reading a date depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadContext<'a> {
    /// The session's settings.
    pub options: &'a FormatOptions,
    /// What `now` means, microseconds since 1970 UTC; `None` where it means nothing.
    pub now_us: Option<i64>,
}

impl ReadContext<'_> {
    fn order(&self) -> DateOrder {
        self.options.date_order
    }
}
