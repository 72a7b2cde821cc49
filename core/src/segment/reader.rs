//! An open segment. Its footer stays in memory; blocks come through the cache.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::block::Block;
use super::cache::BlockCache;
use super::deletions::DeletionVector;
use super::format::{self, BLOCKS_MAX, BlockId, Footer, PAGE_BYTES, Trailer};
use super::{Position, SegmentId, SegmentMeta, Version, Versions};
use crate::catalog::TableSchema;
use crate::column::BatchSchema;
use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::error::{Error, Result};
use crate::key::{Key, KeySpan};
use crate::router::ReadView;
use crate::stamp::{Sight, Stamp};
use crate::types::PgType;

/// Bytes of the footer that are read at once.
const FOOTER_READ_BYTES: usize = 1 << 20;

/// An open segment; shared in an `Rc`. Reads of one block at a time may run side by side.
pub struct Segment<E: Env> {
    file: E::File,
    path: PathBuf,
    meta: SegmentMeta,
    /// Under which the file was written. Another shard that takes over a range links its files under ids of its own.
    written_as: SegmentId,
    schema: Arc<TableSchema>,
    types: Vec<PgType>,
    footer: Footer,
    /// The first 16 bytes of the first key of each block, as a big-endian number.
    prefixes: Vec<u128>,
    deletions: RefCell<DeletionVector>,
    batches: BatchSchema,
}

fn corrupt(path: &Path, offset: u64, detail: impl Into<String>) -> Error {
    Error::Corrupt { place: format!("{} at {offset}", path.display()), detail: detail.into() }
}

/// Reads exactly these bytes.
async fn read<F: File>(file: &F, path: &Path, offset: u64, bytes: usize) -> Result<AlignedBuf> {
    let result = file.read_at(offset, AlignedBuf::zeroed(bytes)).await;
    let buffer = result.map_err(|e| Error::io(format!("read {}", path.display()), &e))?;
    if buffer.len() != bytes {
        return Err(corrupt(path, offset, format!("{} bytes instead of {bytes}", buffer.len())));
    }
    Ok(buffer)
}

fn prefix128(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = key.len().min(16);
    bytes[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}

impl<E: Env> Segment<E> {
    /// Opens a segment and checks all of it but its blocks, which are checked whenever they are read.
    ///
    /// # Errors
    /// `Error::Corrupt` if the file is not the segment that `meta` describes, with rows of `schema`.
    pub async fn open(
        env: E,
        path: &Path,
        schema: Arc<TableSchema>,
        meta: &SegmentMeta,
    ) -> Result<Segment<E>> {
        let opened = env.open(path, OpenMode::Read).await;
        let file = opened.map_err(|e| Error::io(format!("open {}", path.display()), &e))?;
        let size = file.size().await.map_err(|e| Error::io(format!("open {}", path.display()), &e))?;
        let trailer_at = size.saturating_sub(PAGE_BYTES as u64);
        if size != meta.bytes || !size.is_multiple_of(PAGE_BYTES as u64) || trailer_at == 0 {
            return Err(corrupt(path, 0, format!("{size} bytes instead of {}", meta.bytes)));
        }
        let page = read(&file, path, trailer_at, PAGE_BYTES).await?;
        let trailer =
            Trailer::decode(&page, meta.checksum).map_err(|detail| corrupt(path, trailer_at, detail))?;
        if (trailer.fingerprint, trailer.rows) != (format::fingerprint(&schema), meta.rows) {
            return Err(corrupt(path, trailer_at, "a segment of another table, or with other rows"));
        }
        let first_page = read(&file, path, 0, PAGE_BYTES).await?;
        if *first_page != *format::header(trailer.id, trailer.fingerprint) {
            return Err(corrupt(path, 0, "wrong header"));
        }
        let footer = read_footer(&file, path, &trailer, trailer_at).await?;
        if footer.rows() != meta.rows
            || footer.first_key(0) != &*meta.first_key
            || footer.last_key() != &*meta.last_key
        {
            return Err(corrupt(path, trailer_at, "a footer of other rows than the manifest says"));
        }
        let prefixes = (0..footer.fences().len()).map(|block| prefix128(footer.first_key(block))).collect();
        let types = schema.columns.iter().map(|column| column.pg_type).collect();
        Ok(Segment {
            file,
            path: path.to_path_buf(),
            meta: meta.clone(),
            written_as: trailer.id,
            schema,
            types,
            footer,
            prefixes,
            deletions: RefCell::default(),
            batches: BatchSchema::default(),
        })
    }

    /// Its id.
    pub fn id(&self) -> SegmentId {
        self.meta.id
    }

    /// What the manifest says of it.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The columns and key of its rows.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Bytes of memory that it holds, beside the cache.
    pub fn size_bytes(&self) -> usize {
        let prefixes = self.prefixes.capacity() * size_of::<u128>();
        size_of::<Self>() + prefixes + self.footer.size_bytes() + self.deletions.borrow().size_bytes()
    }

    /// Whether the key lies between its first and last.
    pub fn covers(&self, key: &[u8]) -> bool {
        *self.meta.first_key <= *key && *key <= *self.meta.last_key
    }

    /// The end of a version.
    pub fn end(&self, position: Position) -> Stamp {
        self.deletions.borrow().get(position)
    }

    /// Sets the end of a version; `Stamp::LIVE` takes it back.
    ///
    /// # Panics
    /// If there is no version at that position.
    pub fn set_end(&self, position: Position, end: Stamp) {
        let fence = self.footer.fences().get(position.block());
        let rows = fence.map_or(0, |fence| usize::from(fence.rows));
        assert!(position.row() < rows, "no version at {position:?} of segment {}", self.id().0);
        self.deletions.borrow_mut().set(position, end);
    }

    /// All ends that are not LIVE, positions rising.
    pub fn ends(&self) -> Vec<(Position, Stamp)> {
        self.deletions.borrow().entries().collect()
    }

    /// Whether any version is not live.
    pub fn has_ends(&self) -> bool {
        !self.deletions.borrow().is_empty()
    }

    /// Versions that are not live.
    pub fn ended_count(&self) -> usize {
        self.deletions.borrow().len()
    }

    /// Blocks.
    pub fn block_count(&self) -> usize {
        self.footer.fences().len()
    }

    /// How many blocks begin with a key below this one; with `or_equal`, at most this one.
    fn blocks_below(&self, key: &[u8], or_equal: bool) -> usize {
        let wanted = prefix128(key);
        let low = self.prefixes.partition_point(|prefix| *prefix < wanted);
        let high = low + self.prefixes[low..].partition_point(|prefix| *prefix == wanted);
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = low + (high - low) / 2;
            let first = self.footer.first_key(middle);
            if first < key || (or_equal && first == key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The first block that can hold the key, if any does.
    fn first_block_of(&self, key: &[u8]) -> usize {
        let mut block = self.blocks_below(key, true).saturating_sub(1);
        while self.footer.fences()[block].continues && self.footer.first_key(block) == key {
            block -= 1;
        }
        block
    }

    /// Blocks that may hold keys of the span.
    pub fn blocks_in(&self, span: &KeySpan) -> Range<usize> {
        let end = span.end.as_ref().map_or(self.block_count(), |end| self.blocks_below(end, false));
        if *span.start > *self.meta.last_key {
            return end..end;
        }
        let start = self.first_block_of(&span.start);
        start..end.max(start)
    }

    /// Blocks that may hold versions of the key.
    fn blocks_of(&self, key: &[u8]) -> Range<usize> {
        if self.covers(key) { self.first_block_of(key)..self.blocks_below(key, true) } else { 0..0 }
    }

    pub(super) fn block_id(&self, block: usize) -> BlockId {
        BlockId { segment: self.meta.id, block: u32::try_from(block).expect("at most BLOCKS_MAX") }
    }

    /// All versions of a key, newest first.
    ///
    /// # Errors
    /// If a block cannot be read or is corrupt.
    pub async fn find(&self, key: &[u8], cache: &BlockCache) -> Result<Versions> {
        let mut versions = Versions::default();
        for number in self.blocks_of(key) {
            let block = self.block(number, cache).await?;
            find_in(&block, number, key, &mut versions);
        }
        Ok(versions)
    }

    /// As `find`, without waiting; `None` if a block is not in the cache.
    pub fn find_cached(&self, key: &[u8], cache: &BlockCache) -> Option<Versions> {
        let mut versions = Versions::default();
        for number in self.blocks_of(key) {
            let block = cache.get(self.block_id(number))?;
            find_in(&block, number, key, &mut versions);
        }
        Some(versions)
    }

    /// A block from the cache, or read into it.
    async fn block(&self, number: usize, cache: &BlockCache) -> Result<Rc<Block>> {
        let id = self.block_id(number);
        if let Some(block) = cache.get(id) {
            return Ok(block);
        }
        let block = Rc::new(self.read_block(number).await?);
        cache.insert(id, Rc::clone(&block));
        Ok(block)
    }

    /// A block as it stands in the file, verified.
    pub(super) async fn read_block(&self, number: usize) -> Result<Block> {
        let fence = self.footer.fences()[number];
        let bytes = read(&self.file, &self.path, fence.offset, fence.bytes as usize).await?;
        if crc32c::crc32c(&bytes) != fence.crc {
            return Err(corrupt(&self.path, fence.offset, format!("wrong checksum of block {number}")));
        }
        let rows = usize::from(fence.rows);
        let id = BlockId { segment: self.written_as, ..self.block_id(number) };
        Block::decode(&bytes, id, rows, &self.types)
            .map_err(|detail| corrupt(&self.path, fence.offset, detail))
    }

    /// Reads every block and checks all of it.
    ///
    /// # Errors
    /// If a block cannot be read or is corrupt.
    pub async fn verify(&self) -> Result<()> {
        for number in 0..self.block_count() {
            let verified = self.read_block(number).await?.verify();
            let offset = self.footer.fences()[number].offset;
            verified.map_err(|detail| corrupt(&self.path, offset, detail))?;
        }
        Ok(())
    }

    /// The visible rows of one block that lie in the span; `None` if there is none.
    ///
    /// # Errors
    /// If the block cannot be read or is corrupt.
    pub async fn scan_block(
        &self,
        block: usize,
        columns: &[usize],
        span: &KeySpan,
        view: &ReadView,
        cache: &BlockCache,
    ) -> Result<Option<RecordBatch>> {
        let found = self.block(block, cache).await?;
        self.scan(&found, block, columns, span, view)
    }

    /// As `scan_block`, without waiting; `None` if the block is not in the cache.
    pub fn scan_block_cached(
        &self,
        block: usize,
        columns: &[usize],
        span: &KeySpan,
        view: &ReadView,
        cache: &BlockCache,
    ) -> Option<Result<Option<RecordBatch>>> {
        let found = cache.get(self.block_id(block))?;
        Some(self.scan(&found, block, columns, span, view))
    }

    fn scan(
        &self,
        block: &Block,
        number: usize,
        columns: &[usize],
        span: &KeySpan,
        view: &ReadView,
    ) -> Result<Option<RecordBatch>> {
        let rows = block.rows_in(span);
        let mask = block.visible(&rows, self.deletions.borrow().block(number), Sight::of(view));
        let count = mask.as_ref().map_or(rows.len(), |mask| mask.iter().filter(|set| **set).count());
        if count == 0 {
            return Ok(None);
        }
        let mask = mask.filter(|_| count < rows.len());
        let arrays = block.arrays(rows, columns, mask).map_err(|_| {
            corrupt(&self.path, self.footer.fences()[number].offset, "a column with values not of its type")
        })?;
        Ok(Some(self.batches.batch(&self.schema, columns, arrays, count)))
    }

    /// At most `parts - 1` keys, rising, that cut the versions into parts of about equal size, to the block.
    pub fn split_points(&self, parts: usize) -> Vec<Key> {
        self.split_points_in(&KeySpan::all(), parts)
    }

    /// As `split_points`, of the versions in the span only; every point is inside it and not its start.
    pub fn split_points_in(&self, span: &KeySpan, parts: usize) -> Vec<Key> {
        let blocks = self.blocks_in(span);
        let rows = self.rows_in(span);
        let mut points = Vec::new();
        let mut before = 0;
        for block in blocks {
            let (fence, first) = (self.footer.fences()[block], self.footer.first_key(block));
            let due = (points.len() as u64 + 1) * rows / parts.max(1) as u64;
            let is_cut = before > 0 && !fence.continues && *span.start < *first;
            if is_cut && points.len() + 1 < parts && before >= due {
                points.push(Key::from_bytes(first));
            }
            before += u64::from(fence.rows);
        }
        points
    }

    /// Versions in the span, to the block.
    pub fn rows_in(&self, span: &KeySpan) -> u64 {
        self.footer.fences()[self.blocks_in(span)].iter().map(|fence| u64::from(fence.rows)).sum()
    }
}

async fn read_footer<F: File>(file: &F, path: &Path, trailer: &Trailer, trailer_at: u64) -> Result<Footer> {
    let page = PAGE_BYTES as u64;
    let malformed = || corrupt(path, trailer_at, "a footer longer than the file");
    let padded = trailer.footer_bytes.checked_next_multiple_of(page).ok_or_else(malformed)?;
    let start = trailer_at.checked_sub(padded).filter(|start| *start >= page).ok_or_else(malformed)?;
    if trailer.blocks == 0 || trailer.blocks as usize > BLOCKS_MAX {
        return Err(corrupt(path, trailer_at, "an impossible number of blocks"));
    }
    // Bounded by the size of the file.
    let padded_bytes = usize::try_from(padded).map_err(|_| malformed())?;
    let mut bytes = Vec::with_capacity(padded_bytes);
    while bytes.len() < padded_bytes {
        let piece = FOOTER_READ_BYTES.min(padded_bytes - bytes.len());
        bytes.extend_from_slice(&read(file, path, start + bytes.len() as u64, piece).await?);
    }
    if crc32c::crc32c(&bytes) != trailer.footer_crc {
        return Err(corrupt(path, start, "wrong checksum of the footer"));
    }
    bytes.truncate(usize::try_from(trailer.footer_bytes).map_err(|_| malformed())?);
    let footer = Footer::decode(&bytes, trailer.blocks, trailer.last_key_bytes);
    let footer = footer.map_err(|detail| corrupt(path, start, detail))?;
    if footer.blocks_end() != start {
        return Err(corrupt(path, start, "blocks that do not end where the footer begins"));
    }
    Ok(footer)
}

fn find_in(block: &Rc<Block>, number: usize, key: &[u8], versions: &mut Versions) {
    for row in block.find(key) {
        versions.push(Version::new(Position::new(number, row), Rc::clone(block)));
    }
}
