//! Rows as bytes: how a row travels in writes, in the log and in replies of point reads.
//!
//! | part | bytes |
//! |---|---|
//! | null bitmap | one bit per column, bit `i % 8` of byte `i / 8`, 1 = NULL; unused bits are 0 |
//! | columns in order, without the NULL ones | fixed size (`PgType::row_size`) little-endian, or u32 length + bytes |
//!
//! The number and types of columns are the reader's to know (the schema of the table, or the projection it asked for).

use crate::error::{SqlState, ValueError};
use crate::types::{ArrayValue, Datum, Interval, Numeric, PgType};

/// Largest row; a larger one is an error (54000).
pub const ROW_BYTES_MAX: usize = 16 << 20;

/// An encoded row.
pub type Row = Box<[u8]>;

/// Builds rows, one after another, in one reused buffer.
#[derive(Debug, Default)]
pub struct RowBuilder {
    bytes: Vec<u8>,
    column: usize,
}

impl RowBuilder {
    /// Starts a row of `columns` columns, all NULL until they are pushed.
    pub fn start(&mut self, columns: usize) {
        self.bytes.clear();
        self.bytes.resize(columns.div_ceil(8), 0);
        self.column = 0;
    }

    /// The next column is NULL.
    pub fn push_null(&mut self) {
        self.bytes[self.column / 8] |= 1 << (self.column % 8);
        self.column += 1;
    }

    /// The next column is these bytes, of a type with a fixed size.
    pub fn push_fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.column += 1;
    }

    /// The next column is these bytes, of a type whose length varies.
    pub fn push_var(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a value is smaller than a message");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        self.column += 1;
    }

    /// The next column is what `append` appends: the bytes of a value, whose length varies if `var` is set.
    #[inline]
    pub(crate) fn push_with(&mut self, var: bool, append: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len();
        if var {
            self.bytes.extend_from_slice(&[0; 4]);
        }
        append(&mut self.bytes);
        if var {
            let length = self.bytes.len() - at - 4;
            let length = u32::try_from(length).expect("a value is smaller than a message");
            self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
        self.column += 1;
    }

    /// The next column is this value, which must have the column's type.
    pub fn push(&mut self, value: &Datum) {
        match value {
            Datum::Null => self.push_null(),
            Datum::Bool(v) => self.push_fixed(&[u8::from(*v)]),
            Datum::Int2(v) => self.push_fixed(&v.to_le_bytes()),
            Datum::Int4(v) | Datum::Date(v) => self.push_fixed(&v.to_le_bytes()),
            Datum::Int8(v) | Datum::Time(v) | Datum::Timestamp(v) => self.push_fixed(&v.to_le_bytes()),
            Datum::Float4(v) => self.push_fixed(&v.to_le_bytes()),
            Datum::Float8(v) => self.push_fixed(&v.to_le_bytes()),
            Datum::Numeric(v) => self.push_fixed(&v.to_bytes()),
            Datum::Text(v) => self.push_var(v.as_bytes()),
            Datum::Bytea(v) => self.push_var(v),
            Datum::Interval(v) => self.push_fixed(&v.to_bytes()),
            Datum::Uuid(v) => self.push_fixed(v),
            Datum::Array(v) => self.push_var(v),
        }
    }

    /// The bytes so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes so far: where the next column begins.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no row was started.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished row.
    ///
    /// # Errors
    /// 54000 if it is larger than [`ROW_BYTES_MAX`].
    pub fn finish(&mut self) -> Result<Row, ValueError> {
        self.finished().map(Row::from)
    }

    /// The finished row, until the next is started.
    ///
    /// # Errors
    /// As [`RowBuilder::finish`].
    pub fn finished(&self) -> Result<&[u8], ValueError> {
        if self.bytes.len() > ROW_BYTES_MAX {
            let message =
                format!("row of {} bytes exceeds the limit of {ROW_BYTES_MAX} bytes", self.bytes.len());
            return Err(ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        Ok(&self.bytes)
    }

    /// The row of these values.
    ///
    /// # Errors
    /// As [`RowBuilder::finish`].
    pub fn row(&mut self, values: &[Datum]) -> Result<Row, ValueError> {
        self.start(values.len());
        values.iter().for_each(|value| self.push(value));
        self.finish()
    }
}

/// Walks the columns of a row. Bytes that break the format end the walk with `Err(Malformed)`.
#[derive(Clone, Debug)]
pub struct RowReader<'a> {
    nulls: &'a [u8],
    rest: &'a [u8],
    column: usize,
}

/// The bytes are not a row of the expected columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl<'a> RowReader<'a> {
    /// A reader of a row of `columns` columns.
    ///
    /// # Errors
    /// If the bytes are too short for the null bitmap.
    pub fn new(row: &'a [u8], columns: usize) -> Result<RowReader<'a>, Malformed> {
        let (nulls, rest) = row.split_at_checked(columns.div_ceil(8)).ok_or(Malformed)?;
        Ok(RowReader { nulls, rest, column: 0 })
    }

    /// The bytes of the next column, which has type `pg_type`; `None` if it is NULL.
    ///
    /// # Errors
    /// If the bytes end early.
    pub fn next_bytes(&mut self, pg_type: PgType) -> Result<Option<&'a [u8]>, Malformed> {
        let null = self.nulls.get(self.column / 8).ok_or(Malformed)? >> (self.column % 8) & 1 == 1;
        self.column += 1;
        if null {
            return Ok(None);
        }
        let size = match pg_type.row_size() {
            Some(size) => size,
            None => {
                let (length, rest) = self.rest.split_first_chunk::<4>().ok_or(Malformed)?;
                self.rest = rest;
                u32::from_le_bytes(*length) as usize
            }
        };
        let (value, rest) = self.rest.split_at_checked(size).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Some(value))
    }

    /// The next column as a value.
    ///
    /// # Errors
    /// If the bytes end early or are not a value of the type.
    pub fn next_datum(&mut self, pg_type: PgType) -> Result<Datum, Malformed> {
        match self.next_bytes(pg_type)? {
            None => Ok(Datum::Null),
            Some(bytes) => datum_from_bytes(pg_type, bytes),
        }
    }

    /// Whether every byte has been read.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Whether the bytes are an array of the type.
pub(crate) fn check_array(pg_type: PgType, bytes: &[u8]) -> Result<(), Malformed> {
    let array = ArrayValue::decode(bytes)?;
    if pg_type.element().is_some_and(|element| element.base() == array.element) {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// The value with this encoding.
///
/// # Errors
/// If the bytes are not a value of the type.
pub fn datum_from_bytes(pg_type: PgType, bytes: &[u8]) -> Result<Datum, Malformed> {
    fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
        bytes.try_into().map_err(|_| Malformed)
    }
    Ok(match pg_type {
        PgType::Bool => match bytes {
            [0] => Datum::Bool(false),
            [1] => Datum::Bool(true),
            _ => return Err(Malformed),
        },
        PgType::Int2 => Datum::Int2(i16::from_le_bytes(fixed(bytes)?)),
        PgType::Int4 => Datum::Int4(i32::from_le_bytes(fixed(bytes)?)),
        PgType::Int8 => Datum::Int8(i64::from_le_bytes(fixed(bytes)?)),
        PgType::Float4 => Datum::Float4(f32::from_le_bytes(fixed(bytes)?)),
        PgType::Float8 => Datum::Float8(f64::from_le_bytes(fixed(bytes)?)),
        PgType::Numeric(_) => Datum::Numeric(Numeric::from_bytes(fixed(bytes)?).ok_or(Malformed)?),
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => {
            Datum::Text(std::str::from_utf8(bytes).map_err(|_| Malformed)?.into())
        }
        PgType::Bytea => Datum::Bytea(bytes.into()),
        PgType::Date => Datum::Date(i32::from_le_bytes(fixed(bytes)?)),
        PgType::Time => Datum::Time(i64::from_le_bytes(fixed(bytes)?)),
        PgType::Timestamp | PgType::Timestamptz => Datum::Timestamp(i64::from_le_bytes(fixed(bytes)?)),
        PgType::Interval => Datum::Interval(Interval::from_bytes(fixed(bytes)?)),
        PgType::Uuid => Datum::Uuid(fixed(bytes)?),
        PgType::Array(_) => {
            check_array(pg_type, bytes)?;
            Datum::Array(bytes.into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_truncation() {
        let types = [PgType::Int4, PgType::Text, PgType::Bool, PgType::Numeric(None), PgType::Text];
        let values = [
            Datum::Int4(-7),
            Datum::Text("naïve".into()),
            Datum::Null,
            Datum::Numeric(Numeric::new(125, 2).expect("fits")),
            Datum::Text("".into()),
        ];
        let row = RowBuilder::default().row(&values).expect("small");
        let mut reader = RowReader::new(&row, types.len()).expect("long enough");
        for (pg_type, value) in types.iter().zip(&values) {
            assert_eq!(reader.next_datum(*pg_type).as_ref(), Ok(value));
        }
        assert!(reader.is_at_end());
        for cut in 0..row.len() {
            let walk = RowReader::new(&row[..cut], types.len())
                .and_then(|mut reader| types.iter().try_for_each(|t| reader.next_datum(*t).map(drop)));
            assert_eq!(walk, Err(Malformed), "row cut to {cut} bytes");
        }
    }
}
