//! COPY data: options, a streaming decoder and an encoder of the text and CSV formats of PostgreSQL 15.
//!
//! [`Decoder`] takes the bytes of CopyData messages, cut anywhere, and lends rows whose fields are slices: of the chunk
//! itself where a field stands there as it is, of a reused scratch buffer where escapes or quotes had to be resolved.
//! [`Encoder`] quotes and escapes fields in place in the output buffer.
//!
//! Both work on bytes. The decoder does not check UTF-8: whoever turns a field into a value does.

mod csv;
mod decoder;
mod encoder;
mod plain;
mod text;

#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Row, Rows};
pub use encoder::Encoder;

use crate::error::{Result, SqlError, SqlState};

/// Longest line of COPY data; twice a row of the largest size written as hexadecimal `bytea`.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// Bytes of a line or value that an error's context shows, as in PostgreSQL.
const CONTEXT_BYTES_MAX: usize = 100;

/// A format of COPY data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CopyFormat {
    /// Tabs and backslash escapes.
    #[default]
    Text,
    /// Comma-separated values with quotes.
    Csv,
}

/// What the first line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Header {
    /// Data.
    #[default]
    None,
    /// Column names, which are skipped when reading.
    Names,
    /// Column names, which must be the table's.
    Match,
}

/// Which way the data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// COPY FROM: read.
    From,
    /// COPY TO: written.
    To,
}

/// Some of a COPY's columns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ColumnSet {
    /// None of them.
    #[default]
    None,
    /// `*`
    All,
    /// Those at these positions of the COPY's column list, from 0.
    Positions(Vec<usize>),
}

impl ColumnSet {
    fn flags(&self, column_count: usize) -> Vec<bool> {
        match self {
            ColumnSet::None => Vec::new(),
            ColumnSet::All => vec![true; column_count],
            ColumnSet::Positions(positions) => (0..column_count).map(|i| positions.contains(&i)).collect(),
        }
    }
}

/// The options as a statement gives them; `None` where it does not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CopyRequest {
    /// `FORMAT`
    pub format: CopyFormat,
    /// `DELIMITER`
    pub delimiter: Option<String>,
    /// `NULL`
    pub null: Option<String>,
    /// `HEADER`
    pub header: Header,
    /// `QUOTE`
    pub quote: Option<String>,
    /// `ESCAPE`
    pub escape: Option<String>,
    /// `FORCE_QUOTE`
    pub force_quote: ColumnSet,
    /// `FORCE_NOT_NULL`
    pub force_not_null: ColumnSet,
    /// `FORCE_NULL`
    pub force_null: ColumnSet,
}

/// Options that were checked. Invariant: delimiter, quote and null marker do not clash, as [`CopyOptions::new`] checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyOptions {
    format: CopyFormat,
    header: Header,
    delimiter: u8,
    quote: u8,
    escape: u8,
    null: Box<[u8]>,
    /// CSV: a line `\.` ends the data.
    end_marker: bool,
    force_quote: Vec<bool>,
    force_not_null: Vec<bool>,
    force_null: Vec<bool>,
}

impl CopyOptions {
    /// Checks what a statement asks for, for a COPY of `column_count` columns.
    ///
    /// # Errors
    /// 22023 or 0A000 with PostgreSQL's wording if the options contradict each other.
    pub fn new(request: &CopyRequest, direction: Direction, column_count: usize) -> Result<CopyOptions> {
        let csv = request.format == CopyFormat::Csv;
        check_mode(request, direction)?;
        let delimiter = one_byte("delimiter", request.delimiter.as_deref(), if csv { b',' } else { b'\t' })?;
        let quote = one_byte("quote", request.quote.as_deref(), b'"')?;
        let escape = one_byte("escape", request.escape.as_deref(), quote)?;
        let null = request.null.as_deref().unwrap_or(if csv { "" } else { "\\N" }).as_bytes();
        if matches!(delimiter, b'\n' | b'\r') {
            return Err(invalid("COPY delimiter cannot be newline or carriage return"));
        }
        if memchr::memchr2(b'\n', b'\r', null).is_some() {
            return Err(invalid("COPY null representation cannot use newline or carriage return"));
        }
        if !csv
            && (matches!(delimiter, b'\\' | b'.')
                || delimiter.is_ascii_lowercase()
                || delimiter.is_ascii_digit())
        {
            return Err(invalid(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter))));
        }
        if csv && delimiter == quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        if null.contains(&delimiter) {
            return Err(refused("COPY delimiter must not appear in the NULL specification"));
        }
        if csv && null.contains(&quote) {
            return Err(refused("CSV quote character must not appear in the NULL specification"));
        }
        Ok(CopyOptions {
            format: request.format,
            header: request.header,
            delimiter,
            quote,
            escape,
            null: null.into(),
            end_marker: true,
            force_quote: request.force_quote.flags(column_count),
            force_not_null: request.force_not_null.flags(column_count),
            force_null: request.force_null.flags(column_count),
        })
    }

    fn force_quotes(&self, column: usize) -> bool {
        self.force_quote.get(column).copied().unwrap_or(false)
    }
}

/// Refuses options of the other format or direction.
fn check_mode(request: &CopyRequest, direction: Direction) -> Result<()> {
    let named = [
        ("quote", request.quote.is_some(), None),
        ("escape", request.escape.is_some(), None),
        ("force quote", request.force_quote != ColumnSet::None, Some(Direction::To)),
        ("force not null", request.force_not_null != ColumnSet::None, Some(Direction::From)),
        ("force null", request.force_null != ColumnSet::None, Some(Direction::From)),
    ];
    for (name, given, only) in named {
        if given && request.format != CopyFormat::Csv {
            return Err(refused(format!("COPY {name} available only in CSV mode")));
        }
        if given && only.is_some_and(|only| only != direction) {
            let word = if direction == Direction::From { "TO" } else { "FROM" };
            return Err(refused(format!("COPY {name} only available using COPY {word}")));
        }
    }
    if request.header == Header::Match && direction == Direction::To {
        return Err(refused("cannot use \"match\" with HEADER in COPY TO"));
    }
    Ok(())
}

fn one_byte(name: &str, given: Option<&str>, default: u8) -> Result<u8> {
    match given.map(str::as_bytes) {
        None => Ok(default),
        Some([byte]) => Ok(*byte),
        Some(_) => Err(refused(format!("COPY {name} must be a single one-byte character"))),
    }
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn refused(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

fn malformed(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}

/// The bytes as an error's context shows them: cut where they are too long.
fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= CONTEXT_BYTES_MAX {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let is_boundary = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    let cut =
        (CONTEXT_BYTES_MAX - 3..=CONTEXT_BYTES_MAX).rev().find(is_boundary).unwrap_or(CONTEXT_BYTES_MAX);
    format!("{}...", String::from_utf8_lossy(&bytes[..cut]))
}
