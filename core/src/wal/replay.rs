//! Reading a log back, from the first record that is needed to its end.
//!
//! A batch names the LSN at which the log ended before it, and was written only after all below was durable. This
//! chain decides everything: a damaged record is a torn tail only if no valid batch follows it anywhere; otherwise
//! it had been acknowledged, and the log is corrupt. A file after the torn tail is never read for records.
//!
//! A torn tail is cut when it is found, so that its batch ends with the last whole record. In a log that was closed
//! there is none: it ends where the manifest says, and every file ends with its last batch.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId};

use super::files::{self, FileName};
use super::format::{
    self, BATCH_HEADER_BYTES, BatchHeader, FILE_HEADER_BYTES, FileHeader, PAGE_BYTES, RECORD_HEADER_BYTES,
};
use super::state::{ClosedFile, State};
use super::window::Window;
use super::{Extent, Inner, OwnedRecord, Wal, WalOptions};

/// A log that is being read at start. No record can be written before [`Replay::finish`].
pub struct Replay<E: Env> {
    env: E,
    dir: PathBuf,
    options: WalOptions,
    extent: Extent,
    files: Vec<LogFile>,
    cursor: Option<Cursor<E::File>>,
    /// Where the log ends, once that is known.
    end: Option<Lsn>,
}

struct LogFile {
    header: FileHeader,
    /// Bytes on disk: those in the header, or fewer if the log was closed.
    size: u64,
    /// Where the log ended before this file's first batch; `None` if it has no batch.
    previous: Option<Lsn>,
}

/// A place between two records.
struct Cursor<F> {
    /// Index of the file.
    file: usize,
    window: Window<F>,
    /// Offset in the file.
    offset: u64,
    /// The present batch and where it begins; none before the first.
    batch: Option<(u64, BatchHeader)>,
    /// LSN after the last record.
    lsn: Lsn,
}

impl<E: Env> Replay<E> {
    pub(super) async fn open(env: E, dir: &Path, options: WalOptions, extent: Extent) -> Result<Replay<E>> {
        let failed = |action: &str, e| Error::io(format!("{action} {}", dir.display()), &e);
        env.create_dir(dir).await.map_err(|e| failed("create", e))?;
        env.sync_dir(dir).await.map_err(|e| failed("sync", e))?;
        let names = env.list_dir(dir).await.map_err(|e| failed("list", e))?;
        let mut numbers = Vec::new();
        for name in names.iter().filter_map(|name| FileName::parse(name)) {
            match name {
                FileName::Log(number) => numbers.push(number),
                FileName::Spare(_) | FileName::Fill(_) => {
                    env.remove_file(&name.path(dir)).await.map_err(|e| failed("clean", e))?;
                }
            }
        }
        numbers.sort_unstable();
        let dir = dir.to_path_buf();
        let mut replay = Replay { env, dir, options, extent, files: Vec::new(), cursor: None, end: None };
        for number in numbers {
            replay.add_file(number).await?;
        }
        replay.begin().await?;
        Ok(replay)
    }

    async fn window(&self, number: u64) -> Result<Window<E::File>> {
        Window::open(&self.env, &FileName::Log(number).path(&self.dir)).await
    }

    /// Reads a file's header, and whether a batch follows.
    async fn add_file(&mut self, number: u64) -> Result<()> {
        let mut window = self.window(number).await?;
        let ahead = FILE_HEADER_BYTES + PAGE_BYTES;
        let page = window.fetch_ahead(0, FILE_HEADER_BYTES as usize, ahead).await?;
        let header = FileHeader::decode(page).map_err(|detail| window.corrupt(0, detail))?;
        let size = window.size();
        if header.number != number || header.file_bytes < size || !size.is_multiple_of(PAGE_BYTES) {
            return Err(window.corrupt(0, "number or size of the file are not those in its header"));
        }
        if self.files.last().is_some_and(|last| last.header.end() > header.start) {
            return Err(window.corrupt(0, "the file overlaps the one before"));
        }
        let previous = match size > FILE_HEADER_BYTES {
            true => {
                let bytes = window.fetch_ahead(FILE_HEADER_BYTES, BATCH_HEADER_BYTES, PAGE_BYTES).await?;
                batch_at(bytes, &header, FILE_HEADER_BYTES).map(|batch| batch.previous)
            }
            false => None,
        };
        if self.extent.closed.is_some() && previous.is_none() {
            return Err(window.corrupt(FILE_HEADER_BYTES, "a closed log keeps no file without records"));
        }
        self.files.push(LogFile { header, size, previous });
        Ok(())
    }

    /// Finds the file to begin with: the last one that begins at or below what is needed.
    async fn begin(&mut self) -> Result<()> {
        let Extent { from: needed, to, closed } = self.extent;
        let begins_low = |file: &LogFile| file.previous.is_some_and(|previous| previous <= needed);
        let first = match closed {
            // All is read, so that all is checked.
            Some(_) => self.files.first().filter(|file| begins_low(file)).map(|_| 0),
            None => self.files.iter().rposition(begins_low),
        };
        if let Some(first) = first {
            return self.enter(first).await;
        }
        if let Some(file) = self.files.iter().find(|file| file.previous.is_some()) {
            let place = FileName::Log(file.header.number).path(&self.dir).display().to_string();
            let detail = format!("the log begins too late: records from LSN {needed} on are needed");
            return Err(Error::Corrupt { place, detail });
        }
        for index in 0..self.files.len() {
            self.expect_empty(index).await?;
        }
        if let Some(missing) = closed.or(Some(to)).filter(|missing| *missing > needed) {
            let detail = format!("the log is empty, but went on to LSN {missing}");
            return Err(Error::Corrupt { place: self.dir.display().to_string(), detail });
        }
        self.end = Some(needed);
        Ok(())
    }

    async fn enter(&mut self, file: usize) -> Result<()> {
        let LogFile { header, previous, .. } = &self.files[file];
        let lsn = previous.expect("only files with a batch are read");
        let window = self.window(header.number).await?;
        self.cursor = Some(Cursor { file, window, offset: FILE_HEADER_BYTES, batch: None, lsn });
        Ok(())
    }

    /// The next record and the LSN after it; `None` at the end of the log.
    ///
    /// # Errors
    /// `Corrupt` if bytes are damaged that had been acknowledged, as far as what follows them tells.
    pub async fn next(&mut self) -> Result<Option<(Lsn, OwnedRecord)>> {
        loop {
            let Some(cursor) = self.cursor.as_mut() else { return Ok(None) };
            let header = self.files[cursor.file].header;
            let following = self.files.get(cursor.file + 1).and_then(|file| file.previous);
            if following == Some(cursor.lsn) {
                let next = cursor.file + 1;
                if self.extent.closed.is_some() {
                    cursor.expect_end().await?;
                }
                self.enter(next).await?;
                continue;
            }
            if cursor.offset == cursor.batch_end() {
                if !cursor.next_batch(&header).await? {
                    self.arrive(following).await?;
                }
                continue;
            }
            match cursor.next_record(&header).await? {
                Some(record) => return Ok(Some((cursor.lsn, record))),
                None => self.arrive(following).await?,
            }
        }
    }

    /// The log ends at the cursor, or is corrupt.
    async fn arrive(&mut self, following: Option<Lsn>) -> Result<()> {
        let Some(mut cursor) = self.cursor.take() else { return Ok(()) };
        let Cursor { file, ref mut window, offset, lsn, .. } = cursor;
        if let Some(following) = following {
            let detail = format!("the log ends at LSN {lsn}, but goes on from {following} in the next file");
            return Err(window.corrupt(offset, detail));
        }
        let Extent { from, to, closed } = self.extent;
        let least = closed.unwrap_or(from.max(to));
        if lsn < least {
            return Err(window.corrupt(offset, format!("the log ends at LSN {lsn}, before {least}")));
        }
        if let Some(closed) = closed {
            if lsn > closed || file + 1 < self.files.len() {
                return Err(
                    window.corrupt(offset, format!("the log was closed at LSN {closed}, but goes on"))
                );
            }
            cursor.expect_end().await?;
        } else {
            self.expect_nothing(file, window, offset).await?;
            for later in file + 1..self.files.len() {
                self.expect_empty(later).await?;
            }
            cursor.settle().await?;
        }
        self.end = Some(lsn);
        Ok(())
    }

    /// Makes sure that no valid batch lies at or after `offset`: it would have been written after what is missing
    /// there was acknowledged.
    async fn expect_nothing(&self, file: usize, window: &mut Window<E::File>, offset: u64) -> Result<()> {
        let LogFile { header, size, .. } = self.files[file];
        let mut page = offset.next_multiple_of(PAGE_BYTES);
        while page < size {
            let bytes = window.fetch(page, BATCH_HEADER_BYTES).await?;
            if batch_at(bytes, &header, page).is_some() {
                let detail = format!("damaged here, but whole again at offset {page}");
                return Err(window.corrupt(offset, detail));
            }
            page += PAGE_BYTES;
        }
        Ok(())
    }

    async fn expect_empty(&self, file: usize) -> Result<()> {
        let mut window = self.window(self.files[file].header.number).await?;
        self.expect_nothing(file, &mut window, FILE_HEADER_BYTES).await
    }

    /// Opens the log for writing after its end.
    ///
    /// What follows the end stays where it is and is never read again: the next record goes to a new file with a
    /// salt and LSNs of its own, and its batch names this end. Files after the end are used anew.
    ///
    /// # Panics
    /// If [`Replay::next`] has not answered `None`.
    pub async fn finish(self) -> Result<Wal<E>> {
        let end = self.end.expect("the log is read to its end first");
        let page_up = Lsn(end.0.next_multiple_of(PAGE_BYTES));
        let next_start = self.files.last().map_or(page_up, |file| page_up.max(file.header.end()));
        let next_number = self.files.last().map_or(0, |file| file.header.number + 1);
        // A file whose first batch lost its first record holds nothing.
        let is_used = |file: &LogFile| file.previous.is_some() && file.header.start < end;
        let used = self.files.iter().rposition(is_used).map_or(0, |last| last + 1);
        let close = |index: usize| {
            let LogFile { header, size: file_bytes, .. } = self.files[index];
            let following = self.files[index + 1..used.max(index + 1)].iter().find_map(|file| file.previous);
            let end = following.unwrap_or(end);
            let used_bytes = end.0.saturating_sub(header.start.0).next_multiple_of(PAGE_BYTES);
            ClosedFile { number: header.number, file_bytes, end, used_bytes }
        };
        let closed: VecDeque<ClosedFile> = (0..used).map(close).collect();
        let unused: Vec<ClosedFile> = (used..self.files.len()).map(close).collect();
        let state = State::new(self.options, end, closed, next_number, next_start);
        let inner = Rc::new(Inner::new(self.env, self.dir, state));
        files::give_up(&inner, &unused).await?;
        Ok(Wal::start(inner))
    }
}

impl<F: crate::env::File> Cursor<F> {
    /// Where the records of the present batch end.
    fn batch_end(&self) -> u64 {
        self.batch.map_or(FILE_HEADER_BYTES, |(start, batch)| start + u64::from(batch.bytes))
    }

    /// Steps into the next batch of the file; `false` if there is none.
    async fn next_batch(&mut self, header: &FileHeader) -> Result<bool> {
        let offset = self.offset.next_multiple_of(PAGE_BYTES);
        if offset >= self.window.size() {
            return Ok(false);
        }
        let bytes = self.window.fetch(offset, BATCH_HEADER_BYTES).await?;
        let follows = |batch: &BatchHeader| batch.previous == self.lsn;
        let Some(batch) = batch_at(bytes, header, offset).filter(follows) else { return Ok(false) };
        self.expect_padding().await?;
        self.offset = offset + BATCH_HEADER_BYTES as u64;
        self.batch = Some((offset, batch));
        Ok(true)
    }

    /// Makes sure that zeros fill the last page.
    async fn expect_padding(&mut self) -> Result<()> {
        match self.window.is_zero(self.offset..self.offset.next_multiple_of(PAGE_BYTES)).await? {
            true => Ok(()),
            false => Err(self.window.corrupt(self.offset, "bytes behind a batch that are not zero")),
        }
    }

    /// Makes sure that the file ends here, as every file of a closed log does behind its last batch.
    async fn expect_end(&mut self) -> Result<()> {
        self.expect_padding().await?;
        let at_end = self.offset.next_multiple_of(PAGE_BYTES) == self.window.size();
        match at_end && self.offset == self.batch_end() {
            true => Ok(()),
            false => {
                Err(self.window.corrupt(self.offset, "a file of a closed log goes on behind its records"))
            }
        }
    }

    /// Writes the last batch again, durably, cut behind its last whole record if the rest of it was torn.
    ///
    /// All else was durable before this batch was written. Its own sync may not have run, or may have failed in an
    /// earlier life, after which the kernel can hold bytes that it will never write.
    async fn settle(&mut self) -> Result<()> {
        let Some((start, batch)) = self.batch else { return Ok(()) };
        let bytes = u32::try_from(self.offset - start).expect("a batch is smaller than a file");
        if bytes as usize == BATCH_HEADER_BYTES {
            return Ok(());
        }
        let (end, cut) = (self.offset, BatchHeader { bytes, ..batch });
        let mend = |at: u64, piece: &mut [u8]| {
            if at == start {
                cut.encode(piece);
            }
            let kept = end.saturating_sub(at).min(piece.len() as u64) as usize;
            piece[kept..].fill(0);
        };
        self.window.write_mended(start..end.next_multiple_of(PAGE_BYTES), mend).await
    }

    /// The next record of the batch; `None` if it is damaged.
    async fn next_record(&mut self, header: &FileHeader) -> Result<Option<OwnedRecord>> {
        let room = self.batch_end() - self.offset;
        if room < RECORD_HEADER_BYTES as u64 {
            return Ok(None);
        }
        let bytes = self.window.fetch(self.offset, RECORD_HEADER_BYTES).await?;
        let Some(size) = format::record_size(bytes, room) else { return Ok(None) };
        let bytes = self.window.fetch(self.offset, size).await?;
        let lsn = Lsn(header.start.0 + self.offset);
        let Some(record) = format::decode_record(bytes, header.salt, lsn) else { return Ok(None) };
        let owned = OwnedRecord {
            range: RangeId(record.range.0),
            term: record.term,
            index: record.index,
            kind: record.kind,
            payload: record.payload.to_vec(),
        };
        self.offset += size as u64;
        self.lsn = Lsn(lsn.0 + size as u64);
        Ok(Some(owned))
    }
}

/// The batch header at an offset of a file, if it is there.
fn batch_at(bytes: &[u8], file: &FileHeader, offset: u64) -> Option<BatchHeader> {
    BatchHeader::decode(bytes, file, Lsn(file.start.0 + offset), file.file_bytes - offset)
}
