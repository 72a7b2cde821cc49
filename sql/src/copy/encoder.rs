//! Writes rows of COPY data.

use super::{CopyFormat, CopyOptions, Header, csv, text};

/// Writes rows, field by field, into the caller's buffer:
///
/// ```text
/// for each row:    for each column:  start = encoder.start_field(out); append the value's text to out;
///                                    encoder.end_field(out, start)      (or encoder.null_field(out))
///                  encoder.end_row(out)
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    options: CopyOptions,
    column_count: usize,
    /// Fields of the present row that have been started.
    field_count: usize,
}

impl Encoder {
    /// An encoder of rows with this many columns.
    pub fn new(options: CopyOptions, column_count: usize) -> Encoder {
        Encoder { options, column_count, field_count: 0 }
    }

    /// The header line, if there is to be one.
    pub fn header<'a>(&mut self, names: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
        if self.options.header == Header::None {
            return;
        }
        for name in names {
            let start = self.start_field(out);
            out.extend_from_slice(name.as_bytes());
            match self.options.format {
                CopyFormat::Text => text::escape(self.options.delimiter, out, start),
                CopyFormat::Csv => csv::quote(&self.options, out, start, false, self.column_count == 1),
            }
        }
        self.end_row(out);
    }

    /// Begins a field that is not NULL; answers where its bytes begin.
    #[inline]
    pub fn start_field(&mut self, out: &mut Vec<u8>) -> usize {
        if self.field_count > 0 {
            out.push(self.options.delimiter);
        }
        self.field_count += 1;
        out.len()
    }

    /// Ends a field: quotes and escapes what was appended since [`Encoder::start_field`].
    #[inline]
    pub fn end_field(&mut self, out: &mut Vec<u8>, start: usize) {
        match self.options.format {
            CopyFormat::Text => text::escape(self.options.delimiter, out, start),
            CopyFormat::Csv => {
                let force = self.options.force_quotes(self.field_count - 1);
                csv::quote(&self.options, out, start, force, self.column_count == 1);
            }
        }
    }

    /// A NULL field.
    #[inline]
    pub fn null_field(&mut self, out: &mut Vec<u8>) {
        self.start_field(out);
        out.extend_from_slice(&self.options.null);
    }

    /// Ends the row.
    #[inline]
    pub fn end_row(&mut self, out: &mut Vec<u8>) {
        debug_assert_eq!(self.field_count, self.column_count, "a row has a field for each column");
        out.push(b'\n');
        self.field_count = 0;
    }
}
