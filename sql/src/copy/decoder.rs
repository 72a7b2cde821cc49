//! Cuts a stream of bytes into lines and hands each, split into fields, to the reader.
//!
//! Lines that lie whole in one chunk are read where they are. What is left at the end of a chunk waits in `carry`,
//! together with how far it has been searched, so that no byte is searched twice.
//! Invariant: `carry_start <= carry.len()`, and `search.offset` counts from the start of the line being searched.

use super::{CopyFormat, CopyOptions, Header, LINE_BYTES_MAX, csv, malformed, plain, shown, text};
use crate::error::{Result, SqlError, SqlState};

/// Most fields of a header line that are looked at; tables have at most 1,600 columns.
const HEADER_FIELDS_MAX: usize = 4_096;

/// How lines end. The first line decides, all others must agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LineEnding {
    Unknown,
    Newline,
    Return,
    ReturnNewline,
}

/// How far the present line has been searched for its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    /// First byte of the line that is not yet decided.
    pub(super) offset: usize,
    /// CSV: inside quotes.
    pub(super) in_quote: bool,
    /// CSV: the byte before `offset` is an escape character that takes the next byte's meaning away.
    pub(super) escaped: bool,
    /// The line has a backslash (text) or a quote (CSV): its fields cannot be taken as they stand.
    pub(super) special: bool,
    /// CSV: line ends inside quotes so far.
    pub(super) embedded_lines: u64,
}

/// Where a line ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LineEnd {
    /// Bytes of the line.
    pub(super) length: usize,
    /// Bytes of the line and what ends it.
    pub(super) consumed: usize,
    /// Nothing after it counts.
    pub(super) last: bool,
}

/// Where the bytes of a field lie: in the line, or in the scratch buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    start: u32,
    /// With [`IN_SCRATCH`], or [`IS_NULL`].
    end: u32,
}

const IN_SCRATCH: u32 = 1 << 31;
const IS_NULL: u32 = u32::MAX;
const _: () = assert!(LINE_BYTES_MAX < IN_SCRATCH as usize);

impl Span {
    pub(super) const NULL: Span = Span { start: 0, end: IS_NULL };

    #[inline]
    pub(super) fn line(start: usize, end: usize) -> Span {
        debug_assert!(end <= LINE_BYTES_MAX, "lines are bounded before they are split");
        Span { start: start as u32, end: end as u32 }
    }

    #[inline]
    pub(super) fn scratch(start: usize, end: usize) -> Span {
        debug_assert!(end <= LINE_BYTES_MAX, "no escape makes a field longer");
        Span { start: start as u32, end: end as u32 | IN_SCRATCH }
    }

    #[inline]
    fn bytes<'a>(self, line: &'a [u8], scratch: &'a [u8]) -> Option<&'a [u8]> {
        if self.end & IN_SCRATCH == 0 {
            Some(&line[self.start as usize..self.end as usize])
        } else if self.end == IS_NULL {
            None
        } else {
            Some(&scratch[self.start as usize..(self.end & !IN_SCRATCH) as usize])
        }
    }
}

/// The fields of one line, and room for those that are not in the line as they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) spans: Vec<Span>,
    pub(super) scratch: Vec<u8>,
}

/// Names for messages.
#[derive(Clone, Debug)]
struct Names {
    /// `COPY t`, or the file.
    place: String,
    columns: Vec<String>,
}

/// Reads COPY data.
#[derive(Clone, Debug)]
pub struct Decoder {
    options: CopyOptions,
    names: Names,
    ending: LineEnding,
    search: Search,
    line_number: u64,
    header_due: bool,
    ended: bool,
    line_bytes_max: usize,
    carry: Vec<u8>,
    carry_start: usize,
    fields: Fields,
}

impl Decoder {
    /// A decoder of data for these columns of a table; the names are for messages and for the header.
    pub fn new(options: CopyOptions, table: impl Into<String>, columns: Vec<String>) -> Decoder {
        Decoder {
            header_due: options.header != Header::None,
            options,
            names: Names { place: format!("COPY {}", table.into()), columns },
            ending: LineEnding::Unknown,
            search: Search::default(),
            line_number: 0,
            ended: false,
            line_bytes_max: LINE_BYTES_MAX,
            carry: Vec::new(),
            carry_start: 0,
            fields: Fields::default(),
        }
    }

    /// A decoder of a file that is read in place: errors name it, `\.` is data, and no line is longer than
    /// `line_bytes_max`, itself at most [`LINE_BYTES_MAX`].
    pub fn of_file(
        mut options: CopyOptions,
        path: &str,
        columns: Vec<String>,
        line_bytes_max: usize,
    ) -> Decoder {
        options.end_marker = false;
        let mut decoder = Decoder::new(options, "", columns);
        decoder.names.place = format!("file \"{path}\"");
        decoder.line_bytes_max = line_bytes_max.min(LINE_BYTES_MAX);
        decoder
    }

    /// From the next line on the data has these columns.
    pub fn set_columns(&mut self, columns: Vec<String>) {
        self.names.columns = columns;
    }

    /// The rows that are whole with this chunk. Call [`Rows::next`] until it answers `None` or an error, or the rest of
    /// the chunk is lost.
    pub fn rows<'a>(&'a mut self, chunk: &'a [u8]) -> Rows<'a> {
        Rows { decoder: self, chunk, at_end: false }
    }

    /// The rows that are whole because no more data comes: at most one.
    pub fn finish(&mut self) -> Rows<'_> {
        Rows { decoder: self, chunk: &[], at_end: true }
    }

    /// Number of fields of the line read last; of one with extra data as many as there are columns.
    pub fn field_count(&self) -> usize {
        self.fields.spans.len()
    }

    /// Number of the line read last, from 1, the header included.
    pub fn line_number(&self) -> u64 {
        self.line_number
    }

    /// The error with the context `COPY t, line n`, for errors that concern no particular row.
    pub fn locate(&self, error: SqlError) -> SqlError {
        self.locate_line(error, self.line_number)
    }

    /// As [`Decoder::locate`], with the line that is being read instead of the one read last.
    pub fn locate_reading(&self, error: SqlError) -> SqlError {
        self.locate_line(error, self.line_number + 1)
    }

    fn locate_line(&self, mut error: SqlError, number: u64) -> SqlError {
        if error.context.is_none() {
            error.context = Some(format!("{}, line {number}", self.names.place));
        }
        error
    }

    /// Takes the line that begins `data` if it needs no care.
    #[inline]
    fn take_plain(&mut self, data: &[u8]) -> Option<LineEnd> {
        if self.header_due {
            return None;
        }
        let limit = self.names.columns.len();
        let end = plain::take_line(&self.options, &mut self.ending, data, limit, &mut self.fields.spans)?;
        self.line_number += 1;
        Some(end)
    }

    /// Searches for the end of the line that begins `data`.
    fn find_end(&mut self, data: &[u8], at_end: bool) -> Result<Option<LineEnd>> {
        let found = match self.options.format {
            CopyFormat::Text => text::find_end(&mut self.search, &mut self.ending, data, at_end),
            CopyFormat::Csv => csv::find_end(&mut self.search, &mut self.ending, &self.options, data, at_end),
        };
        let found = match found {
            Ok(Some(end)) => Some(end),
            Ok(None) if at_end => Some(LineEnd { length: data.len(), consumed: data.len(), last: true }),
            Ok(None) => None,
            Err(error) => {
                self.ended = true;
                self.line_number += 1 + self.search.embedded_lines;
                return Err(self.locate(error));
            }
        };
        if found.map_or(data.len(), |end| end.length) > self.line_bytes_max {
            self.ended = true;
            self.line_number += 1;
            let message = format!("line of data is longer than {} bytes", self.line_bytes_max);
            return Err(self.locate(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)));
        }
        Ok(found)
    }

    /// Splits a line into `fields`. The first line may be the header: then there is no row.
    fn split(&mut self, line: &[u8], end: LineEnd) -> Result<bool> {
        let search = std::mem::take(&mut self.search);
        self.ended = end.last;
        let is_header = std::mem::take(&mut self.header_due);
        if end.last && line.is_empty() && !is_header {
            return Ok(false);
        }
        self.line_number += 1 + search.embedded_lines;
        if is_header && self.options.header == Header::Names {
            return Ok(false);
        }
        self.fields.spans.clear();
        self.fields.scratch.clear();
        let limit = if is_header { HEADER_FIELDS_MAX } else { self.names.columns.len() };
        let split = match self.options.format {
            CopyFormat::Text => text::split(&self.options, line, search.special, limit, &mut self.fields),
            CopyFormat::Csv => csv::split(&self.options, line, search.special, limit, &mut self.fields),
        };
        let checked = split.and_then(|()| if is_header { self.check_header(line) } else { Ok(()) });
        match checked {
            Ok(()) => Ok(!is_header),
            Err(error) => {
                self.ended = true;
                Err(self.row(line).locate(error))
            }
        }
    }

    fn row<'a>(&'a self, line: &'a [u8]) -> Row<'a> {
        Row { decoder: self, line }
    }

    fn check_header(&self, line: &[u8]) -> Result<()> {
        let (got, expected) = (self.fields.spans.len(), self.names.columns.len());
        if got != expected {
            let message = format!("wrong number of fields in header line: got {got}, expected {expected}");
            return Err(malformed(message));
        }
        let row = self.row(line);
        for (index, (span, name)) in self.fields.spans.iter().zip(&self.names.columns).enumerate() {
            let what = match row.bytes(*span) {
                Some(bytes) if bytes == name.as_bytes() => continue,
                Some(bytes) => format!("got \"{}\"", String::from_utf8_lossy(bytes)),
                None => format!("got null value (\"{}\")", String::from_utf8_lossy(&self.options.null)),
            };
            let number = index + 1;
            let message =
                format!("column name mismatch in header line field {number}: {what}, expected \"{name}\"");
            return Err(malformed(message));
        }
        Ok(())
    }
}

/// Lends rows one after another.
#[derive(Debug)]
pub struct Rows<'a> {
    decoder: &'a mut Decoder,
    chunk: &'a [u8],
    at_end: bool,
}

impl Rows<'_> {
    /// Bytes at the end of the chunk that were not looked at yet: [`Decoder::rows`] may go on with them later.
    pub fn rest_bytes(&self) -> usize {
        self.chunk.len()
    }

    /// The next row; `None` when the chunk has no more whole rows.
    ///
    /// # Errors
    /// 22P04 with PostgreSQL's wording and context if the data is malformed. No rows follow an error.
    #[expect(
        clippy::should_implement_trait,
        reason = "rows borrow from the decoder, which Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        loop {
            if self.decoder.ended {
                self.decoder.carry.clear();
                self.decoder.carry_start = 0;
                return Ok(None);
            }
            if self.decoder.carry_start < self.decoder.carry.len() {
                let Some(end) = self.end_in_carry()? else { return Ok(None) };
                let decoder = &mut *self.decoder;
                let start = decoder.carry_start;
                decoder.carry_start += end.consumed;
                let carry = std::mem::take(&mut decoder.carry);
                let is_row = decoder.split(&carry[start..start + end.length], end);
                decoder.carry = carry;
                if is_row? {
                    return Ok(Some(self.decoder.row(&self.decoder.carry[start..start + end.length])));
                }
            } else {
                self.decoder.carry.clear();
                self.decoder.carry_start = 0;
                if self.chunk.is_empty() && !self.at_end {
                    return Ok(None);
                }
                if let Some(end) = self.decoder.take_plain(self.chunk) {
                    let line = &self.chunk[..end.length];
                    self.chunk = &self.chunk[end.consumed..];
                    return Ok(Some(self.decoder.row(line)));
                }
                let Some(end) = self.decoder.find_end(self.chunk, self.at_end)? else {
                    self.decoder.carry.extend_from_slice(self.chunk);
                    self.chunk = &[];
                    return Ok(None);
                };
                let (line, rest) = (&self.chunk[..end.length], &self.chunk[end.consumed..]);
                self.chunk = rest;
                if self.decoder.split(line, end)? {
                    return Ok(Some(self.decoder.row(line)));
                }
            }
        }
    }

    /// The end of the line that began in an earlier chunk. Takes over from the chunk no more than up to the next byte
    /// that may end a line, again and again, so that the rest of the chunk is read where it is.
    fn end_in_carry(&mut self) -> Result<Option<LineEnd>> {
        loop {
            let carry = std::mem::take(&mut self.decoder.carry);
            let found = self.decoder.find_end(&carry[self.decoder.carry_start..], self.at_end);
            self.decoder.carry = carry;
            if let Some(end) = found? {
                return Ok(Some(end));
            }
            if self.chunk.is_empty() {
                self.decoder.carry.drain(..self.decoder.carry_start);
                self.decoder.carry_start = 0;
                return Ok(None);
            }
            let take = memchr::memchr2(b'\n', b'\r', self.chunk).map_or(self.chunk.len(), |at| at + 1);
            let (taken, rest) = self.chunk.split_at(take);
            self.decoder.carry.extend_from_slice(taken);
            self.chunk = rest;
        }
    }
}

/// One row of COPY data.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    decoder: &'a Decoder,
    line: &'a [u8],
}

impl<'a> Row<'a> {
    /// Number of its fields.
    pub fn field_count(&self) -> usize {
        self.decoder.field_count()
    }

    /// The bytes of a column; `None` for NULL.
    ///
    /// # Errors
    /// 22P04 if the line has too few fields. (PostgreSQL too converts the fields in front of it first.)
    #[inline]
    pub fn field(&self, column: usize) -> Result<Option<&'a [u8]>> {
        match self.decoder.fields.spans.get(column) {
            Some(span) => {
                let options = &self.decoder.options;
                if options.force_not_null.is_empty() && options.force_null.is_empty() {
                    return Ok(self.bytes(*span));
                }
                Ok(self.forced(*span, column))
            }
            None => Err(self.missing(column)),
        }
    }

    /// The error with the context `COPY t, line n: "..."`.
    pub fn locate(&self, mut error: SqlError) -> SqlError {
        if error.context.is_none() {
            let place = &self.decoder.names.place;
            error.context =
                Some(format!("{place}, line {}: \"{}\"", self.decoder.line_number, shown(self.line)));
        }
        error
    }

    /// The error with the context `COPY t, line n, column c: "..."`, for a field that is not a value of its type.
    pub fn locate_column(&self, mut error: SqlError, column: usize) -> SqlError {
        if error.context.is_none() {
            let names = &self.decoder.names;
            let value = match self.field(column) {
                Ok(Some(bytes)) => format!("\"{}\"", shown(bytes)),
                _ => "null input".to_owned(),
            };
            let line = self.decoder.line_number;
            error.context =
                Some(format!("{}, line {line}, column {}: {value}", names.place, names.columns[column]));
        }
        error
    }

    #[inline]
    fn bytes(&self, span: Span) -> Option<&'a [u8]> {
        span.bytes(self.line, &self.decoder.fields.scratch)
    }

    #[cold]
    fn forced(&self, span: Span, column: usize) -> Option<&'a [u8]> {
        let options = &self.decoder.options;
        let is_set = |flags: &[bool]| flags.get(column).copied().unwrap_or(false);
        match self.bytes(span) {
            None if is_set(&options.force_not_null) => Some(&options.null),
            Some(bytes) if is_set(&options.force_null) && *bytes == *options.null => None,
            other => other,
        }
    }

    #[cold]
    fn missing(&self, column: usize) -> SqlError {
        let name = &self.decoder.names.columns[column];
        self.locate(malformed(format!("missing data for column \"{name}\"")))
    }
}
