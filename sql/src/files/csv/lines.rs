//! The lines of a file, read piece by piece.

use std::rc::Rc;

use omen_core::readable::ReadableFile;

use crate::copy::{CopyFormat, CopyOptions, CopyRequest, Decoder, Direction, Header, Rows};
use crate::error::Result;

/// 128 KiB: read and searched within a quarter of a millisecond.
const CHUNK_BYTES: u64 = 128 << 10;

/// Longest line: together with the batch that it is in, no more than a few such lines are in memory.
const LINE_BYTES_MAX: usize = 4 << 20;

/// What some programs write in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a file.
pub(super) struct Lines {
    file: Rc<dyn ReadableFile>,
    decoder: Decoder,
    chunk: Vec<u8>,
    /// Bytes of the chunk that were looked at.
    taken: usize,
    /// Where the next chunk begins.
    next_at: u64,
}

impl Lines {
    /// Those of a file with such a delimiter, in front of the first of which a header may stand.
    pub(super) fn new(
        file: Rc<dyn ReadableFile>,
        path: &str,
        delimiter: u8,
        has_header: bool,
        columns: Vec<String>,
    ) -> Result<Lines> {
        let request = CopyRequest {
            format: CopyFormat::Csv,
            delimiter: Some(char::from(delimiter).to_string()),
            header: if has_header { Header::Names } else { Header::None },
            ..CopyRequest::default()
        };
        let options = CopyOptions::new(&request, Direction::From, columns.len())?;
        let decoder = Decoder::of_file(options, path, columns, LINE_BYTES_MAX);
        Ok(Lines { file, decoder, chunk: Vec::new(), taken: 0, next_at: 0 })
    }

    /// Reads the next piece once the last was looked at; false if there is none.
    ///
    /// # Errors
    /// XX001 if the file has become shorter; I/O errors.
    pub(super) async fn fill(&mut self) -> Result<bool> {
        let size_bytes = (self.file.size_bytes() - self.next_at).min(CHUNK_BYTES);
        if size_bytes == 0 {
            self.chunk.clear();
            self.taken = 0;
            return Ok(false);
        }
        self.chunk = self.file.read(self.next_at, usize::try_from(size_bytes).expect("a chunk")).await?;
        self.taken = if self.next_at == 0 && self.chunk.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        self.next_at += size_bytes;
        Ok(true)
    }

    /// The rows of the piece that was not looked at yet. [`Lines::stop`] is told what they leave.
    pub(super) fn rows(&mut self) -> Rows<'_> {
        self.decoder.rows(&self.chunk[self.taken..])
    }

    /// The row behind which no line ends, at the end of the file.
    pub(super) fn finish(&mut self) -> Rows<'_> {
        self.decoder.finish()
    }

    /// So many bytes at the end of the piece were not looked at.
    pub(super) fn stop(&mut self, rest_bytes: usize) {
        self.taken = self.chunk.len() - rest_bytes;
    }

    /// Number of fields of the line read last; no more than columns were expected.
    pub(super) fn field_count(&self) -> usize {
        self.decoder.field_count()
    }

    /// From the next line on there are these columns.
    pub(super) fn set_columns(&mut self, columns: Vec<String>) {
        self.decoder.set_columns(columns);
    }

    /// Bytes of the file up to where lines were read.
    pub(super) fn read_bytes(&self) -> u64 {
        self.next_at - (self.chunk.len() - self.taken) as u64
    }
}
