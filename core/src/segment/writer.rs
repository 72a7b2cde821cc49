//! Writing a segment: rows come in order, blocks go out in pieces of [`WRITE_BYTES`]; memory stays bounded.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::block::{Block, PlainRows, with_begins};
use super::encoding::{Section, SegmentEncoder, Tables};
use super::format::{
    self, BLOCK_BYTES_TARGET, BLOCK_ROWS, BLOCKS_MAX, BlockId, Directory, Extent, Footer, PAGE_BYTES, Trailer,
};
use super::groups::{self, Groups};
use super::keys::KeyColumns;
use super::zone::Zone;
use super::{Position, RowMap, SegmentId, SegmentMeta, Written};
use crate::catalog::TableSchema;
use crate::clock::Timestamp;
use crate::column::{ColumnBuf, check_row};
use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::memtable::{Memtable, RowId, SortedCursor};
use crate::pace::Pace;
use crate::row::RowReader;
use crate::sketch::Sketch;
use crate::stamp::Stamp;
use crate::types::PgType;

/// Bytes that are collected before they are written: enough for full bandwidth, little enough that filling them keeps
/// other work of the core waiting for about a millisecond only.
pub const WRITE_BYTES: usize = 256 << 10;

/// In debug builds the first blocks of a segment are read back as soon as they are encoded.
const READ_BACK_BLOCKS: usize = 16;

/// No more plain bytes are put into one block: what encodes to less than a sixth of them does not need larger blocks.
pub(super) const PLAIN_BYTES_MAX: usize = 6 * BLOCK_BYTES_TARGET;

/// A row group takes as many plain bytes as so many blocks at most, so that encoding it keeps other work of the core
/// waiting for a few milliseconds only.
pub(super) const PLAIN_GROUPS_MAX: usize = 4;

/// Memory of encoders that every flush and merge may take; what goes beyond is counted.
const ENCODERS_BYTES_FREE: usize = 1 << 20;

/// Writes one segment. A memtable is flushed so:
/// `while !writer.fill(&memtable, &mut cursor, horizon).await { writer.write().await? }`, then `finish`.
///
/// After an error the file is gone and the writer may only be dropped.
pub struct SegmentWriter<E: Env> {
    env: E,
    path: PathBuf,
    file: E::File,
    id: SegmentId,
    fingerprint: u32,
    /// Of the columns, and of the begins.
    types: Vec<PgType>,
    /// The key columns.
    key: Vec<usize>,
    keys: KeyColumns,
    groups: Groups,
    /// One for each column group.
    encoders: Vec<SegmentEncoder>,
    /// Rows that are not in a block yet.
    plain: PlainRows,
    /// Rows of the next row group, as sizes of blocks so far suggest.
    rows_target: usize,
    /// Rows of the row groups that were made since the last look.
    sealed: Vec<usize>,
    footer: Footer,
    /// Of the table's columns.
    sketches: Vec<Sketch>,
    last: Option<(Vec<u8>, Stamp)>,
    row_ids: Vec<RowId>,
    /// What follows in the file from `written` on.
    pending: Vec<u8>,
    /// A multiple of a page.
    written: u64,
    buffer: Option<AlignedBuf>,
    rows: RowMap,
    failed: bool,
    pace: Option<Rc<Pace<E>>>,
    /// Memory that maps from one column to another may take.
    maps_bytes_max: usize,
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
        let types = with_begins(schema.columns.iter().map(|column| column.pg_type));
        let fingerprint = format::fingerprint(&schema);
        let groups = Groups::one(types.len());
        Ok(SegmentWriter {
            env,
            path,
            file,
            id,
            fingerprint,
            key: schema.key.clone(),
            keys: KeyColumns::new(&schema, &groups),
            groups,
            encoders: vec![SegmentEncoder::new(&types)],
            plain: PlainRows::new(&types),
            types,
            rows_target: BLOCK_ROWS,
            sealed: Vec::new(),
            footer: Footer::default(),
            sketches: vec![Sketch::new(); schema.columns.len()],
            last: None,
            row_ids: Vec::new(),
            pending: format::header(id, fingerprint),
            written: 0,
            buffer: None,
            rows: RowMap::default(),
            failed: false,
            pace: None,
            maps_bytes_max: usize::MAX,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on it is background work that keeps to this pace.
    pub(crate) fn set_pace(&mut self, pace: Rc<Pace<E>>) {
        self.maps_bytes_max = pace.maps_bytes_max();
        self.encoders.iter_mut().for_each(|encoder| encoder.limit_maps(self.maps_bytes_max));
        self.pace = Some(pace);
    }

    /// Between two steps of the work: gives way.
    pub(crate) async fn breathe(&self) {
        match &self.pace {
            Some(pace) => {
                let encoders: usize = self.encoders.iter().map(SegmentEncoder::size_bytes).sum();
                pace.hold(encoders.saturating_sub(ENCODERS_BYTES_FREE));
                pace.breathe().await;
            }
            None => self.env.yield_now().await,
        }
    }

    /// The work goes on after it waited for the disk.
    pub(super) fn resume(&self) {
        self.pace.iter().for_each(|pace| pace.start());
    }

    /// Appends one version, and writes when enough has come together. Keys rise; versions of a key come newest first.
    ///
    /// # Errors
    /// If the bytes are not a row of the table (`Error::Corrupt`), or writing fails.
    pub async fn push(&mut self, begin: Stamp, row: &[u8]) -> Result<()> {
        let types = &self.types[..self.types.len() - 1];
        let checked = check_row(types, row).and_then(|()| RowReader::new(row, types.len()));
        let Ok(mut reader) = checked else {
            self.abandon().await;
            let detail = "a row that does not fit its table".to_string();
            return Err(Error::Corrupt { place: self.path.display().to_string(), detail });
        };
        let values = types.iter().map(|pg_type| reader.next_bytes(*pg_type).expect("checked"));
        self.plain.push(begin, values);
        if self.room() == 0 {
            self.seal_block().await;
        }
        if self.is_write_due() { self.write().await } else { Ok(()) }
    }

    /// Takes versions from a memtable until a write is due (false), or there are no more (true). Leaves out those that
    /// ended at or before `horizon`, and those that were rolled back.
    ///
    /// # Panics
    /// If a version begins in a transaction that is not decided.
    pub async fn fill(&mut self, memtable: &Memtable, cursor: &mut SortedCursor, horizon: Timestamp) -> bool {
        let mut finished = false;
        while !finished && !self.is_write_due() {
            finished = self.take_rows(memtable, cursor, horizon);
            self.seal_rows().await;
        }
        finished
    }

    /// Takes versions for one block, as `fill` does; then `seal_rows`.
    pub(crate) fn take_rows(
        &mut self,
        memtable: &Memtable,
        cursor: &mut SortedCursor,
        horizon: Timestamp,
    ) -> bool {
        let mut ids = std::mem::take(&mut self.row_ids);
        let mut finished = false;
        // As many rows as have room however large they are.
        while self.room() > 0 && !finished {
            let part = (PLAIN_BYTES_MAX / memtable.row_bytes_max().max(1)).clamp(1, self.room());
            let before = ids.len();
            finished = cursor.next_block(memtable, horizon, before + part, &mut ids);
            self.plain.extend_from_memtable(memtable, &ids[before..]);
        }
        self.row_ids = ids;
        finished
    }

    /// Encodes the versions that were taken, and remembers where they lie.
    pub(crate) async fn seal_rows(&mut self) {
        if self.plain.rows() == 0 {
            return;
        }
        self.seal_block().await;
        let mut next = self.row_ids.drain(..);
        let first = self.footer.directory.fences.len() - self.sealed.len();
        for (block, rows) in self.sealed.drain(..).enumerate() {
            let rows_of_block = next.by_ref().take(rows).enumerate();
            rows_of_block.for_each(|(row, id)| self.rows.set(id, Position::new(first + block, row)));
        }
    }

    pub(crate) fn is_write_due(&self) -> bool {
        self.pending.len() >= WRITE_BYTES
    }

    /// How many more rows the block that is being filled takes.
    pub(super) fn room(&self) -> usize {
        if self.plain.bytes() >= self.groups.len().min(PLAIN_GROUPS_MAX) * PLAIN_BYTES_MAX {
            return 0;
        }
        self.rows_target.saturating_sub(self.plain.rows())
    }

    /// The block that is being filled, for rows of which `room` says that they fit; then `seal_block`.
    pub(super) fn plain(&mut self) -> &mut PlainRows {
        &mut self.plain
    }

    /// Encodes the rows that were added, as one row group, or as several if they turn out to be large.
    pub(super) async fn seal_block(&mut self) {
        let mut plain = std::mem::replace(&mut self.plain, PlainRows::new(&[]));
        self.encode_block(&plain).await;
        plain.clear();
        self.plain = plain;
    }

    /// The row groups that were made since the last call: the number of the first, and the rows of each.
    pub(super) fn take_sealed(&mut self) -> (usize, Vec<usize>) {
        let sealed = std::mem::take(&mut self.sealed);
        (self.footer.directory.fences.len() - sealed.len(), sealed)
    }

    async fn encode_block(&mut self, plain: &PlainRows) {
        let rows = plain.rows();
        let number = self.footer.directory.fences.len();
        assert!(number < BLOCKS_MAX, "a segment of {number} row groups");
        let (start, mut blocks) = (self.pending.len(), Vec::with_capacity(self.groups.len()));
        for group in 0..self.groups.len() {
            let at = self.pending.len();
            let sections = self.encode_group(plain, number, group).await;
            let length = self.pending.len() - at;
            if length > BLOCK_BYTES_TARGET && rows > 1 {
                self.pending.truncate(start);
                if number > 0 || !self.divide(&sections, rows) {
                    Box::pin(self.encode_block(&plain.part(0..rows / 2))).await;
                    Box::pin(self.encode_block(&plain.part(rows / 2..rows))).await;
                } else {
                    Box::pin(self.encode_block(plain)).await;
                }
                return;
            }
            let bytes = u32::try_from(length).expect("at most BLOCK_BYTES_MAX");
            blocks.push(Extent { bytes, crc: crc32c::crc32c(&self.pending[at..]) });
        }
        // The next row group should fill the bytes of its largest block or its rows, with some reserve for larger rows.
        let largest = blocks.iter().map(|block| block.bytes as usize).max().unwrap_or(1);
        let fitting = rows * BLOCK_BYTES_TARGET / largest * 7 / 8;
        self.rows_target = if fitting >= BLOCK_ROWS { BLOCK_ROWS } else { fitting.max(1) };
        self.add_fence(plain, &blocks).await;
        self.sealed.push(rows);
    }

    /// Encodes the columns of a group.
    async fn encode_group(&mut self, plain: &PlainRows, number: usize, group: usize) -> Vec<Section> {
        let place = |n: usize| u32::try_from(n).expect("below BLOCKS_MAX");
        let id = BlockId { segment: self.id, block: place(number), group: place(group) };
        let start = self.pending.len();
        let columns = self.groups.columns(group);
        let pace = self.pace.clone();
        let (encoder, out) = (&mut self.encoders[group], &mut self.pending);
        let sections = plain.encode(columns, id, encoder, out, &async || pause(pace.as_deref()).await).await;
        debug_assert!(
            number >= READ_BACK_BLOCKS || self.reads_back(plain, id, start),
            "a block that was written wrongly: {plain:?}"
        );
        sections
    }

    /// Divides the columns into groups, if they are not and that is of use; their sections in the first block say how large
    /// they are.
    fn divide(&mut self, sections: &[Section], rows: usize) -> bool {
        if !self.groups.is_one() {
            return false;
        }
        let sizes: Vec<usize> = sections.iter().map(|section| section.bytes as usize).collect();
        self.groups = Groups::choose(&sizes, rows, &self.key);
        if self.groups.is_one() {
            return false;
        }
        let encoder = |group: usize| {
            let mut encoder = SegmentEncoder::new(&self.types_of(group)).one_of(self.groups.len());
            encoder.limit_maps(self.maps_bytes_max / self.groups.len());
            encoder
        };
        self.encoders = (0..self.groups.len()).map(encoder).collect();
        self.footer.directory = Directory::new(self.groups.len());
        true
    }

    fn types_of(&self, group: usize) -> Vec<PgType> {
        self.groups.columns(group).iter().map(|column| self.types[*column]).collect()
    }

    /// Whether the block at `start` holds these rows. Slow: all that blocks share is read anew.
    fn reads_back(&self, plain: &PlainRows, id: BlockId, start: usize) -> bool {
        let (group, rows) = (id.group as usize, plain.rows());
        let types = self.types_of(group);
        let tables = Tables::decode(&self.encoders[group].tables(), &types).map(Rc::new);
        let block =
            tables.and_then(|tables| Block::decode(&self.pending[start..], id, rows, &types, &tables));
        block.is_ok_and(|block| {
            self.groups.columns(group).iter().enumerate().all(|(index, column)| {
                let mut read = ColumnBuf::with_capacity(types[index], rows, 0);
                block.encoded().append_to(index, 0..rows, &mut read);
                let (written, read) = (plain.view(*column), read.view());
                (0..rows).all(|row| written.value(row) == read.value(row))
            })
        })
    }

    async fn add_fence(&mut self, plain: &PlainRows, blocks: &[Extent]) {
        let (views, rows) = (plain.views(), plain.rows());
        let (mut first, mut last) = (Vec::new(), Vec::new());
        self.keys.append(&views, 0, &mut first);
        self.keys.append(&views, rows - 1, &mut last);
        let in_order =
            |(key, begin): &(Vec<u8>, Stamp)| *key < first || (*key == first && plain.begin(0) <= *begin);
        assert!(self.last.as_ref().is_none_or(in_order) && first <= last, "versions come in order");
        for (pg_type, view) in self.types.iter().zip(&views) {
            self.footer.zones.extend_from_slice(&Zone::of(*pg_type, *view, rows).to_bytes());
        }
        let pace = self.pace.clone();
        for ((pg_type, view), sketch) in self.types.iter().zip(&views).zip(&mut self.sketches) {
            sketch.add(*pg_type, *view, rows);
            pause(pace.as_deref()).await;
        }
        let continues = self.last.as_ref().is_some_and(|(key, _)| *key == first);
        let rows_u16 = u16::try_from(rows).expect("at most BLOCK_ROWS");
        let pushed = self.footer.push(blocks, rows_u16, continues, &first);
        assert!(pushed, "a segment of {} bytes", self.footer.blocks_end());
        self.last = Some((last, plain.begin(rows - 1)));
    }

    /// Writes what `fill` collected.
    ///
    /// # Errors
    /// If the file system refuses.
    pub async fn write(&mut self) -> Result<()> {
        self.pace.iter().for_each(|pace| pace.stop());
        let result = self.write_pending().await;
        self.resume();
        if result.is_err() {
            self.abandon().await;
        }
        result
    }

    /// Writes whole pages; what is left of the last one waits for more.
    async fn write_pending(&mut self) -> Result<()> {
        assert!(!self.failed, "a file that is there");
        let whole = self.pending.len() / PAGE_BYTES * PAGE_BYTES;
        let mut done = 0;
        while done < whole {
            let piece = &self.pending[done..whole.min(done + WRITE_BYTES)];
            let mut buffer = self.buffer.take().unwrap_or_else(|| AlignedBuf::zeroed(WRITE_BYTES));
            buffer.set_len(piece.len());
            buffer.copy_from_slice(piece);
            done += piece.len();
            let (result, buffer) = self.file.write_at(self.written, buffer).await;
            result.map_err(|e| Error::io(format!("write {}", self.path.display()), &e))?;
            self.written += buffer.len() as u64;
            self.buffer = Some(buffer);
        }
        self.pending.drain(..whole);
        Ok(())
    }

    /// Completes the segment and makes it durable, its name too. `None` if it got no version: then there is no file.
    ///
    /// # Errors
    /// If the file system refuses; then there is no file either.
    pub async fn finish(mut self) -> Result<Option<Written>> {
        if self.plain.rows() > 0 {
            self.seal_block().await;
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
                Ok(Some(Written { meta, rows: std::mem::take(&mut self.rows) }))
            }
            Err(e) => {
                self.abandon().await;
                Err(e)
            }
        }
    }

    fn add_footer(&mut self, last_key: &[u8]) -> SegmentMeta {
        self.footer.last_key = last_key.to_vec();
        self.footer.division = self.groups.encode();
        self.footer.tables = groups::join_tables(self.encoders.iter().map(SegmentEncoder::tables));
        self.sketches.iter().for_each(|sketch| sketch.encode(&mut self.footer.sketches));
        let start = self.pending.len();
        let footer_at = self.written + start as u64;
        assert_eq!(footer_at, self.footer.blocks_end(), "blocks lie one after another");
        let footer = self.footer.encode();
        self.pending.extend_from_slice(&footer);
        self.pending.resize(self.pending.len().next_multiple_of(PAGE_BYTES), 0);
        let trailer = Trailer {
            id: self.id,
            fingerprint: self.fingerprint,
            rows: self.footer.rows(),
            blocks: u32::try_from(self.footer.directory.fences.len()).expect("at most BLOCKS_MAX"),
            footer_crc: crc32c::crc32c(&self.pending[start..]),
            footer_bytes: footer.len() as u64,
            footer_at,
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

/// Where background work can be cut.
async fn pause<E: Env>(pace: Option<&Pace<E>>) {
    if let Some(pace) = pace {
        pace.breathe_if_due().await;
    }
}

impl<E: Env> Drop for SegmentWriter<E> {
    fn drop(&mut self) {
        self.pace.iter().for_each(|pace| pace.hold(0));
    }
}
