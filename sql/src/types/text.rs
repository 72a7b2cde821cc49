//! Text form of values.

use arrow_array::Array;
use omen_core::error::ValueError;
use omen_core::row::RowBuilder;
use omen_core::types::{Datum, PgType};

use super::FormatOptions;

/// Appends the text of one value of a column, which must not be NULL.
pub fn write_array(
    _pg_type: PgType,
    _array: &dyn Array,
    _row: usize,
    _options: &FormatOptions,
    _out: &mut Vec<u8>,
) {
    todo!()
}

/// Appends the text of a value given as bytes of a row (`omen_core::row`).
pub fn write_row_bytes(_pg_type: PgType, _bytes: &[u8], _options: &FormatOptions, _out: &mut Vec<u8>) {
    todo!()
}

/// Appends the text of a value; nothing for NULL.
pub fn write_datum(_pg_type: PgType, _value: &Datum, _options: &FormatOptions, _out: &mut Vec<u8>) {
    todo!()
}

/// Reads a value; applies the modifier (`varchar(3)`, `numeric(5,2)`) as an assignment does. `now` in it is read as
/// `options` and the clock given with `parse_at` say; here it is an error.
///
/// # Errors
/// 22P02, 22003, 22007, 22008 or 22001 with PostgreSQL's message.
pub fn parse(_pg_type: PgType, _text: &str, _options: &FormatOptions) -> Result<Datum, ValueError> {
    todo!()
}

/// As [`parse`], with the start of the transaction in microseconds since 1970 for `now`, `today` and the like.
///
/// # Errors
/// As [`parse`].
pub fn parse_at(
    _pg_type: PgType,
    _text: &str,
    _options: &FormatOptions,
    _now_us: i64,
) -> Result<Datum, ValueError> {
    todo!()
}

/// Reads a value into the next column of a row, without allocating.
///
/// # Errors
/// As [`parse`]; 22021 if the bytes are not UTF-8.
pub fn parse_into(
    _pg_type: PgType,
    _text: &[u8],
    _options: &FormatOptions,
    _row: &mut RowBuilder,
) -> Result<(), ValueError> {
    todo!()
}
