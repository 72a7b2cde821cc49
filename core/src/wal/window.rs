//! Reads a file from front to back in large aligned pieces.

use std::ops::Range;
use std::path::Path;

use crate::env::{AlignedBuf, Env, File, IO_ALIGN, OpenMode};
use crate::error::{Error, Result};

/// 1 MiB: large enough that a recovery is bound by the device, small enough for many shards at once.
const PIECE_BYTES: u64 = 1 << 20;

/// A file and the piece of it that was read last.
pub(crate) struct Window<F> {
    file: F,
    place: String,
    size: u64,
    start: u64,
    piece: Option<AlignedBuf>,
}

impl<F: File> Window<F> {
    /// Opens a file.
    pub(crate) async fn open<E: Env<File = F>>(env: &E, path: &Path) -> Result<Window<F>> {
        let place = path.display().to_string();
        let opened = env.open(path, OpenMode::ReadWrite).await;
        let file = opened.map_err(|e| Error::io(format!("open {place}"), &e))?;
        let size = file.size().await.map_err(|e| Error::io(format!("find the size of {place}"), &e))?;
        Ok(Window { file, place, size, start: 0, piece: None })
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The open file.
    pub(crate) fn into_file(self) -> F {
        self.file
    }

    /// `len` bytes at `offset`.
    pub(crate) async fn fetch(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        self.fetch_ahead(offset, len, PIECE_BYTES).await
    }

    /// As `fetch`, where not more than `ahead` bytes are going to be read.
    pub(crate) async fn fetch_ahead(&mut self, offset: u64, len: usize, ahead: u64) -> Result<&[u8]> {
        let Some(end) = offset.checked_add(len as u64).filter(|end| *end <= self.size) else {
            return Err(self.corrupt(offset, "the file ends too early"));
        };
        let held = self.piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if offset < self.start || end > self.start + held {
            self.read(offset, end.max((offset + ahead).min(self.size))).await?;
        }
        let piece = self.piece.as_deref().unwrap_or_default();
        let from = (offset - self.start) as usize;
        match piece.get(from..from + len) {
            Some(bytes) => Ok(bytes),
            None => Err(self.corrupt(offset, "the file ends too early")),
        }
    }

    /// Writes whole pages again as they were read, durably.
    pub(crate) async fn write_again(&mut self, pages: Range<u64>) -> Result<()> {
        self.write_mended(pages, |_, _| {}).await
    }

    /// Writes whole pages again, durably. `mend` gets them in pieces as they were read, with their offset.
    pub(crate) async fn write_mended(
        &mut self,
        pages: Range<u64>,
        mend: impl Fn(u64, &mut [u8]),
    ) -> Result<()> {
        let mut at = pages.start;
        while at < pages.end {
            let len = (pages.end - at).min(PIECE_BYTES) as usize;
            let mut buffer = AlignedBuf::zeroed(len);
            buffer.copy_from_slice(self.fetch(at, len).await?);
            mend(at, &mut buffer);
            let (written, _) = self.file.write_durable(at, buffer).await;
            written.map_err(|e| Error::io(format!("write {}", self.place), &e))?;
            at += len as u64;
        }
        Ok(())
    }

    async fn read(&mut self, from: u64, to: u64) -> Result<()> {
        let align = IO_ALIGN as u64;
        let start = from - from % align;
        let len = (to - start).next_multiple_of(align) as usize;
        let fits = |buffer: &AlignedBuf| buffer.capacity() >= len;
        let mut buffer = self.piece.take().filter(fits).unwrap_or_else(|| AlignedBuf::zeroed(len));
        buffer.set_len(len);
        let read = self.file.read_at(start, buffer).await;
        self.piece = Some(read.map_err(|e| Error::io(format!("read {}", self.place), &e))?);
        self.start = start;
        Ok(())
    }

    /// Whether these bytes are all zero.
    pub(crate) async fn is_zero(&mut self, bytes: Range<u64>) -> Result<bool> {
        const ZEROS: [u8; IO_ALIGN] = [0; IO_ALIGN];
        let mut at = bytes.start;
        while at < bytes.end {
            let len = (bytes.end - at).min(IO_ALIGN as u64) as usize;
            if self.fetch(at, len).await? != &ZEROS[..len] {
                return Ok(false);
            }
            at += len as u64;
        }
        Ok(true)
    }

    /// An error about the bytes at `offset`.
    pub(crate) fn corrupt(&self, offset: u64, detail: impl Into<String>) -> Error {
        Error::Corrupt { place: format!("{} at {offset}", self.place), detail: detail.into() }
    }
}
