//! CSV files: the lines of COPY's CSV format (`crate::copy`), with names and types of columns from their first part.
//!
//! A field is a value of a column's type exactly if it would have led to that type ([`form`]): what comes later in the
//! file never changes its meaning silently, but ends the statement with its file, line and column.

mod form;
mod lines;
mod rows;
mod sample;

pub(super) use rows::CsvRows;
pub(super) use sample::Layout;
