//! Writing a segment: rows come in order, blocks go out in pieces of [`WRITE_BYTES`]; memory stays bounded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::BlockBuilder;
use super::format::{self, BLOCKS_MAX, BlockId, Footer, PAGE_BYTES, Trailer};
use super::{Position, RowMap, SegmentId, SegmentMeta, Written};
use crate::catalog::TableSchema;
use crate::clock::Timestamp;
use crate::column::check_row;
use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::error::{Error, Result};
use crate::key::{KEY_BYTES_MAX, Key};
use crate::memtable::{Memtable, SortedCursor};
use crate::row::RowReader;
use crate::stamp::Stamp;
use crate::types::PgType;

/// Bytes that are collected before they are written: enough for full bandwidth, little enough that filling them keeps
/// other work of the core waiting for about a millisecond only.
pub const WRITE_BYTES: usize = 256 << 10;

/// Writes one segment. A memtable is flushed so:
/// `while !writer.fill(&memtable, &mut cursor, horizon) { writer.write().await? }`, then `finish`.
///
/// After an error the file is gone and the writer may only be dropped.
pub struct SegmentWriter<E: Env> {
    env: E,
    path: PathBuf,
    file: E::File,
    id: SegmentId,
    fingerprint: u32,
    types: Vec<PgType>,
    block: BlockBuilder,
    footer: Footer,
    last: Option<(Vec<u8>, u64)>,
    /// Whole pages to be written at `written`.
    pending: Vec<u8>,
    written: u64,
    buffer: Option<AlignedBuf>,
    rows: RowMap,
    failed: bool,
}

impl<E: Env> SegmentWriter<E> {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// If the file system refuses.
    pub async fn new(
        env: E,
        path: PathBuf,
        id: SegmentId,
        schema: Arc<TableSchema>,
    ) -> Result<SegmentWriter<E>> {
        let opened = env.open(&path, OpenMode::CreateNew).await;
        let file = opened.map_err(|e| Error::io(format!("create {}", path.display()), &e))?;
        let types: Vec<PgType> = schema.columns.iter().map(|column| column.pg_type).collect();
        let fingerprint = format::fingerprint(&schema);
        Ok(SegmentWriter {
            env,
            path,
            file,
            id,
            fingerprint,
            block: BlockBuilder::new(&types),
            types,
            footer: Footer::default(),
            last: None,
            pending: format::header(id, fingerprint),
            written: 0,
            buffer: None,
            rows: RowMap::default(),
            failed: false,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn env(&self) -> &E {
        &self.env
    }

    /// Appends one version, and writes when enough has come together. Keys rise; versions of a key come newest first.
    ///
    /// # Errors
    /// If the bytes are not a row of the table (`Error::Corrupt`), or writing fails.
    pub async fn push(&mut self, key: &[u8], begin: Stamp, row: &[u8]) -> Result<Position> {
        let types = std::mem::take(&mut self.types);
        let checked = check_row(&types, row).and_then(|()| RowReader::new(row, types.len()));
        let position = checked.map(|mut reader| {
            let values = types.iter().map(|pg_type| reader.next_bytes(*pg_type).expect("checked"));
            self.add(key, begin, values)
        });
        self.types = types;
        let Ok(position) = position else {
            self.abandon().await;
            let detail = "a row that does not fit its table".to_string();
            return Err(Error::Corrupt { place: self.path.display().to_string(), detail });
        };
        if self.is_write_due() {
            self.write().await?;
        }
        Ok(position)
    }

    /// Takes versions from a memtable until a write is due (false), or there are no more (true). Leaves out those that
    /// ended at or before `horizon`, and those that were rolled back.
    ///
    /// # Panics
    /// If a version begins in a transaction that is not decided.
    pub fn fill(&mut self, memtable: &Memtable, cursor: &mut SortedCursor, horizon: Timestamp) -> bool {
        while !self.is_write_due() {
            let Some(row) = cursor.next(memtable) else { return true };
            let begin = memtable.begin(row);
            let dead = memtable.end(row).timestamp().is_some_and(|end| end <= horizon);
            if !dead && begin != Stamp::ABORTED {
                let position = self.add(memtable.key(row), begin, memtable.columns(row));
                self.rows.set(row, position);
            }
        }
        false
    }

    pub(super) fn is_write_due(&self) -> bool {
        self.pending.len() >= WRITE_BYTES
    }

    /// Appends a version whose values were checked when they were first stored.
    pub(super) fn add<'a>(
        &mut self,
        key: &[u8],
        begin: Stamp,
        values: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Position {
        assert!(begin.timestamp().is_some(), "a segment takes committed versions only, not {begin:?}");
        assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes", key.len());
        let last = self.block.last().or(self.last.as_ref().map(|(key, begin)| (key.as_slice(), *begin)));
        let in_order = last
            .is_none_or(|(last, last_begin)| last < key || (last == key && begin.to_bits() <= last_begin));
        assert!(in_order, "versions come in order of keys, newest first");
        let position = Position::new(self.footer.fences().len(), self.block.rows());
        self.block.push(key, begin.to_bits(), values);
        if self.block.is_full() {
            self.seal_block();
        }
        position
    }

    /// Encodes the block that was filled.
    fn seal_block(&mut self) {
        let number = self.footer.fences().len();
        assert!(number < BLOCKS_MAX, "a segment of {number} blocks");
        let id = BlockId { segment: self.id, block: u32::try_from(number).expect("below BLOCKS_MAX") };
        let start = self.pending.len();
        self.block.encode(id, &mut self.pending);
        let bytes = &self.pending[start..];
        let (crc, length) =
            (crc32c::crc32c(bytes), u32::try_from(bytes.len()).expect("below BLOCK_BYTES_MAX"));
        let first_key = self.block.key(0);
        let continues = self.last.as_ref().is_some_and(|(last, _)| last == first_key);
        let rows = u16::try_from(self.block.rows()).expect("at most BLOCK_ROWS");
        self.footer.push(length, crc, rows, continues, first_key);
        self.last = self.block.last().map(|(key, begin)| (key.to_vec(), begin));
        self.block.clear();
    }

    /// Writes what `fill` collected.
    ///
    /// # Errors
    /// If the file system refuses.
    pub async fn write(&mut self) -> Result<()> {
        let result = self.write_pending().await;
        if result.is_err() {
            self.abandon().await;
        }
        result
    }

    async fn write_pending(&mut self) -> Result<()> {
        let action = || format!("write {}", self.path.display());
        assert!(
            !self.failed && self.pending.len().is_multiple_of(PAGE_BYTES),
            "whole pages of a file that is there"
        );
        let mut done = 0;
        while done < self.pending.len() {
            let piece = &self.pending[done..self.pending.len().min(done + WRITE_BYTES)];
            let mut buffer = self.buffer.take().unwrap_or_else(|| AlignedBuf::zeroed(WRITE_BYTES));
            buffer.set_len(piece.len());
            buffer.copy_from_slice(piece);
            done += piece.len();
            let (result, buffer) = self.file.write_at(self.written, buffer).await;
            result.map_err(|e| Error::io(action(), &e))?;
            self.written += buffer.len() as u64;
            self.buffer = Some(buffer);
        }
        self.pending.clear();
        Ok(())
    }

    /// Completes the segment and makes it durable, its name too. `None` if it got no version: then there is no file.
    ///
    /// # Errors
    /// If the file system refuses; then there is no file either.
    pub async fn finish(mut self) -> Result<Option<Written>> {
        if self.block.rows() > 0 {
            self.seal_block();
        }
        let Some((last_key, _)) = self.last.take() else {
            self.abandon().await;
            return Ok(None);
        };
        let meta = self.add_footer(&last_key);
        let mut result = self.write_pending().await;
        if result.is_ok() {
            result = self.make_durable().await;
        }
        match result {
            Ok(()) => {
                assert_eq!(self.written, meta.bytes, "the file is as long as the manifest will say");
                Ok(Some(Written { meta, rows: self.rows }))
            }
            Err(e) => {
                self.abandon().await;
                Err(e)
            }
        }
    }

    fn add_footer(&mut self, last_key: &[u8]) -> SegmentMeta {
        self.footer.set_last_key(last_key);
        let start = self.pending.len();
        let footer = self.footer.encode();
        self.pending.extend_from_slice(&footer);
        self.pending.resize(self.pending.len().next_multiple_of(PAGE_BYTES), 0);
        let trailer = Trailer {
            id: self.id,
            fingerprint: self.fingerprint,
            rows: self.footer.rows(),
            blocks: u32::try_from(self.footer.fences().len()).expect("at most BLOCKS_MAX"),
            footer_crc: crc32c::crc32c(&self.pending[start..]),
            footer_bytes: footer.len() as u64,
            last_key_bytes: u16::try_from(last_key.len()).expect("at most KEY_BYTES_MAX"),
        };
        let (page, checksum) = trailer.encode();
        self.pending.extend_from_slice(&page);
        SegmentMeta {
            id: self.id,
            rows: trailer.rows,
            bytes: self.written + self.pending.len() as u64,
            checksum,
            first_key: Key::from_bytes(self.footer.first_key(0)),
            last_key: Key::from_bytes(last_key),
        }
    }

    async fn make_durable(&self) -> Result<()> {
        let synced = self.file.sync().await;
        synced.map_err(|e| Error::io(format!("sync {}", self.path.display()), &e))?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.env.sync_dir(dir).await.map_err(|e| Error::io(format!("sync {}", dir.display()), &e))
    }

    /// Gives up: removes the file.
    pub async fn abort(mut self) {
        self.abandon().await;
    }

    /// Removes the file. If that fails it is left to whoever opens the shard next, since no manifest names it.
    async fn abandon(&mut self) {
        if !self.failed {
            self.failed = true;
            let _ = self.env.remove_file(&self.path).await;
        }
    }
}
