//! Values as text and bytes: what PostgreSQL's input and output functions do, for every type.

pub(crate) mod array;
pub mod binary;
pub mod calendar;
pub(crate) mod datetime;
pub(crate) mod json;
pub(crate) mod number;
pub mod text;
pub(crate) mod value;
pub mod zone;

pub use omen_core::types::interval::IntervalStyle;
pub use zone::TimeZone;

/// How values are written and read; follows the session's settings. Part of the values' meaning: text becomes a
/// `timestamptz` in the session's time zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FormatOptions {
    /// `TimeZone`
    pub timezone: TimeZone,
    /// `extra_float_digits`: 1 and more mean the shortest text that reads back as the same number
    pub extra_float_digits: i32,
    /// `bytea_output`
    pub bytea_output: ByteaOutput,
    /// `IntervalStyle`
    pub interval_style: IntervalStyle,
    /// The second part of `DateStyle`: how `01/02/03` is read. Output is always ISO.
    pub date_order: DateOrder,
}

impl Default for FormatOptions {
    fn default() -> FormatOptions {
        FormatOptions {
            timezone: TimeZone::UTC,
            extra_float_digits: 1,
            bytea_output: ByteaOutput::Hex,
            interval_style: IntervalStyle::Postgres,
            date_order: DateOrder::Mdy,
        }
    }
}

/// Values of `bytea_output`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteaOutput {
    /// `\x0102`
    Hex,
    /// `\001\002`
    Escape,
}

/// Values of the second part of `DateStyle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DateOrder {
    /// Month, day, year.
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

#[cfg(test)]
mod tests;
