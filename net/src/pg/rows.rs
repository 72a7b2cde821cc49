//! Rows of results as DataRow messages.

use arrow_array::{Array, RecordBatch};
use omen_core::row::{Malformed, RowReader};
use omen_sql::error::{SqlError, SqlState};
use omen_sql::session::ColumnInfo;
use omen_sql::types::{FormatOptions, binary, text};

use super::backend::DataRow;
use super::frontend::FormatCodes;

/// Formats of the columns of a result.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Formats {
    /// All as text.
    #[default]
    Text,
    /// All as binary.
    Binary,
    /// Column by column, true for binary.
    Mixed(Box<[bool]>),
}

impl Formats {
    /// The formats that a Bind message asks for.
    ///
    /// # Errors
    /// 08P01 if their number does not fit the columns, 22023 if a code is neither 0 nor 1.
    pub fn new(codes: FormatCodes<'_>, columns: usize) -> Result<Formats, SqlError> {
        let count = codes.len();
        if count > 1 && count != columns {
            let message = format!("bind message has {count} result formats but query has {columns} columns");
            return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message));
        }
        match count {
            0 => Ok(Formats::Text),
            1 => Ok(if is_binary(codes.get(0))? { Formats::Binary } else { Formats::Text }),
            _ => {
                let flags = (0..count).map(|index| is_binary(codes.get(index))).collect::<Result<_, _>>()?;
                Ok(Formats::Mixed(flags))
            }
        }
    }

    /// Whether a column is binary.
    #[inline]
    pub fn is_binary(&self, column: usize) -> bool {
        match self {
            Formats::Text => false,
            Formats::Binary => true,
            Formats::Mixed(flags) => flags[column],
        }
    }
}

/// Whether a format code means binary.
///
/// # Errors
/// 22023 if it is neither 0 nor 1.
#[inline]
pub fn is_binary(code: u16) -> Result<bool, SqlError> {
    match code {
        0 => Ok(false),
        1 => Ok(true),
        other => {
            let message = format!("unsupported format code: {other}");
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
    }
}

/// Appends the DataRow of a row given as bytes.
///
/// # Errors
/// XX001 if the bytes are not a row of these columns; nothing is appended then.
pub fn write_row(
    out: &mut Vec<u8>,
    row: &[u8],
    columns: &[ColumnInfo],
    formats: &Formats,
    options: &FormatOptions,
) -> Result<(), SqlError> {
    let start = out.len();
    write_row_columns(out, row, columns, formats, options).map_err(|Malformed| {
        out.truncate(start);
        SqlError::new(SqlState::DATA_CORRUPTED, "a row does not have the columns of its table")
    })
}

fn write_row_columns(
    out: &mut Vec<u8>,
    row: &[u8],
    columns: &[ColumnInfo],
    formats: &Formats,
    options: &FormatOptions,
) -> Result<(), Malformed> {
    let mut reader = RowReader::new(row, columns.len())?;
    let message = DataRow::start(out, columns.len());
    for (index, column) in columns.iter().enumerate() {
        match reader.next_bytes(column.pg_type)? {
            None => message.null(out),
            Some(bytes) if formats.is_binary(index) => {
                message.value(out, |out| binary::write_row_bytes(column.pg_type, bytes, out));
            }
            Some(bytes) => {
                message.value(out, |out| text::write_row_bytes(column.pg_type, bytes, options, out));
            }
        }
    }
    message.finish(out);
    Ok(())
}

/// Appends the DataRows of a batch from row `first` on, until `rows_max` are written or `out` has reached
/// `out_bytes_max`; answers how many were.
pub fn write_batch(
    out: &mut Vec<u8>,
    batch: &RecordBatch,
    first: usize,
    limits: Limits,
    columns: &[ColumnInfo],
    formats: &Formats,
    options: &FormatOptions,
) -> usize {
    let arrays = batch.columns();
    let last = batch.num_rows().min(first.saturating_add(limits.rows_max));
    for row in first..last {
        if out.len() >= limits.out_bytes_max {
            return row - first;
        }
        let message = DataRow::start(out, columns.len());
        for (index, (column, array)) in columns.iter().zip(arrays).enumerate() {
            if array.is_null(row) {
                message.null(out);
            } else if formats.is_binary(index) {
                message.value(out, |out| binary::write_array(column.pg_type, array, row, out));
            } else {
                message.value(out, |out| text::write_array(column.pg_type, array, row, options, out));
            }
        }
        message.finish(out);
    }
    last - first
}

/// Where [`write_batch`] stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Rows.
    pub rows_max: usize,
    /// Bytes of output.
    pub out_bytes_max: usize,
}
