//! Binary form of values on the wire (PG 15, `typsend` and `typreceive`).

use arrow_array::Array;
use omen_core::error::ValueError;
use omen_core::row::RowBuilder;
use omen_core::types::{Datum, PgType};

/// Appends the binary form of one value of a column, which must not be NULL.
pub fn write_array(_pg_type: PgType, _array: &dyn Array, _row: usize, _out: &mut Vec<u8>) {
    todo!()
}

/// Appends the binary form of a value given as bytes of a row (`omen_core::row`).
pub fn write_row_bytes(_pg_type: PgType, _bytes: &[u8], _out: &mut Vec<u8>) {
    todo!()
}

/// Appends the binary form of a value; nothing for NULL.
pub fn write_datum(_pg_type: PgType, _value: &Datum, _out: &mut Vec<u8>) {
    todo!()
}

/// Reads a value.
///
/// # Errors
/// 22P03 if the bytes are not a value of the type, 22021 if text is not UTF-8.
pub fn parse(_pg_type: PgType, _bytes: &[u8]) -> Result<Datum, ValueError> {
    todo!()
}

/// Reads a value into the next column of a row.
///
/// # Errors
/// As [`parse`].
pub fn parse_into(_pg_type: PgType, _bytes: &[u8], _row: &mut RowBuilder) -> Result<(), ValueError> {
    todo!()
}
