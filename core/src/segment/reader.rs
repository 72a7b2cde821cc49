//! An open segment. Its footer stays in memory; blocks come through the cache.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::block::{Block, RowGroup, with_begins};
use super::cache::{BlockCache, Slot};
use super::deletions::DeletionVector;
use super::encoding::Tables;
use super::fences::Fences;
use super::format::{
    self, BLOCKS_MAX, BlockId, Detail, Fence, Footer, GROUPS_MAX, PAGE_BYTES, Place, Trailer,
};
use super::groups::{GroupSet, Groups, split_tables};
use super::keys::KeyColumns;
use super::zone::{ZONE_BYTES, Zone};
use super::{Blocks, Position, SeenBlocks, SeenVersion, SegmentId, SegmentMeta, Version, Versions};
use crate::catalog::TableSchema;
use crate::clock::Timestamp;
use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::key::{Key, KeySpan};
use crate::router::KeyOrder;
use crate::sketch::Sketch;
use crate::stamp::Stamp;
use crate::statistics::{ColumnStatistics, TableStatistics};
use crate::sync;
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
    /// Of the columns, and of the begins.
    types: Vec<PgType>,
    keys: KeyColumns,
    fences: Fences,
    /// For each block one for each type.
    zones: Vec<Zone>,
    groups: Rc<Groups>,
    /// Of the table's columns.
    columns: Arc<[ColumnStatistics]>,
    /// Of each column group: the types of its columns, and what its blocks share.
    shared: Vec<Shared>,
    pub(super) deletions: RefCell<DeletionVector>,
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
            || footer.last_key != *meta.last_key
        {
            return Err(corrupt(path, trailer_at, "a footer of other rows than the manifest says"));
        }
        let types = with_begins(schema.columns.iter().map(|column| column.pg_type));
        let zones = decode_zones(&footer.zones, footer.directory.fences.len() * types.len());
        let zones = zones.ok_or_else(|| corrupt(path, trailer.footer_at, "malformed zones"))?;
        let count = footer.directory.groups();
        let groups = Groups::decode(&footer.division, count, types.len(), &schema.key);
        let groups = groups.ok_or_else(|| corrupt(path, trailer.footer_at, "malformed column groups"))?;
        let shared = decode_shared(&footer.tables, &groups, &types);
        let shared = shared.map_err(|detail| corrupt(path, trailer.footer_at, detail))?;
        let columns = column_statistics(&zones, &types, &footer.sketches)
            .ok_or_else(|| corrupt(path, trailer.footer_at, "malformed sketches"))?;
        Ok(Segment {
            columns,
            file,
            path: path.to_path_buf(),
            meta: meta.clone(),
            written_as: trailer.id,
            keys: KeyColumns::new(&schema, &groups),
            fences: Fences::new(footer, schema.index),
            schema,
            types,
            zones,
            groups: Rc::new(groups),
            shared,
            deletions: RefCell::default(),
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
        let deletions = self.deletions.borrow().size_bytes();
        let zones = self.zones.capacity() * size_of::<Zone>();
        let tables: usize = self.shared.iter().map(|(_, tables)| tables.size_bytes()).sum();
        let columns: usize = self.columns.iter().map(ColumnStatistics::size_bytes).sum();
        size_of::<Self>() + self.fences.size_bytes() + zones + tables + columns + deletions
    }

    /// Bytes of memory that serve to find the block of a key.
    pub fn index_bytes(&self) -> usize {
        self.fences.index_bytes()
    }

    /// Whether the key lies between its first and last.
    pub fn covers(&self, key: &[u8]) -> bool {
        self.fences.covers(key)
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
        let fence = self.fences.get(position.block());
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
        self.fences.len()
    }

    /// Blocks that may hold keys of the span.
    pub fn blocks_in(&self, span: &KeySpan) -> Range<usize> {
        self.fences.blocks_in(span)
    }

    pub(super) fn keys(&self) -> &KeyColumns {
        &self.keys
    }

    /// Types of the columns, and of the begins.
    pub(super) fn types(&self) -> &[PgType] {
        &self.types
    }

    /// The zone of a column in a block; that of the begins comes last.
    pub(super) fn zone(&self, block: usize, column: usize) -> Zone {
        self.zones[block * self.types.len() + column]
    }

    /// The ends of one block at or before `horizon`.
    pub(super) fn dead_in(&self, block: usize, horizon: Timestamp) -> Vec<u16> {
        let deletions = self.deletions.borrow();
        let is_dead = |end: &Stamp| end.timestamp().is_some_and(|end| end <= horizon);
        deletions.block(block).iter().filter(|(_, end)| is_dead(end)).map(|(row, _)| *row).collect()
    }

    pub(super) fn slot(&self, block: usize, group: usize) -> Slot {
        const _: () = assert!(BLOCKS_MAX * GROUPS_MAX <= u32::MAX as usize);
        let number = u32::try_from(block * self.groups.len() + group).expect("at most BLOCKS_MAX row groups");
        Slot { segment: self.meta.id, number }
    }

    /// All column groups.
    pub(super) fn all_groups(&self) -> GroupSet {
        self.groups.all()
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// All versions of a key, newest first, to be read in these columns.
    ///
    /// # Errors
    /// If a block cannot be read or is corrupt.
    pub async fn find(&self, key: &[u8], columns: &[usize], cache: &BlockCache) -> Result<Versions> {
        let mut versions = Versions::default();
        for number in self.fences.blocks_of(key) {
            let block = self.key_block(number, cache).await?;
            let rows = self.keys.find(block.encoded(), key);
            if !rows.is_empty() {
                let blocks = self.with_columns(number, block, columns, cache).await?;
                rows.for_each(|row| versions.push(Version::new(Position::new(number, row), blocks.clone())));
            }
        }
        Ok(versions)
    }

    /// Calls with the versions of a key, newest first, until it answers something: that, or `Some(None)`. `None` if a block
    /// is not in the cache.
    pub(crate) fn see_cached<T>(
        &self,
        key: &[u8],
        columns: &[usize],
        cache: &BlockCache,
        mut see: impl FnMut(SeenVersion<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        if !self.groups.is_one() {
            return Some(self.find_cached(key, columns, cache)?.iter().find_map(|found| see(found.seen())));
        }
        for number in self.fences.blocks_of(key) {
            let row = self.row_near(number, key);
            let seen = cache.with(self.slot(number, 0), |block| {
                block.touch(columns, row);
                self.keys.find(block.encoded(), key).find_map(|row| {
                    let position = Position::new(number, row);
                    see(SeenVersion { position, blocks: SeenBlocks::One(block) })
                })
            })?;
            if seen.is_some() {
                return Some(seen);
            }
        }
        Some(None)
    }

    /// As `find`, without waiting; `None` if a block is not in the cache.
    pub fn find_cached(&self, key: &[u8], columns: &[usize], cache: &BlockCache) -> Option<Versions> {
        let mut versions = Versions::default();
        for number in self.fences.blocks_of(key) {
            let block = cache.get(self.slot(number, 0))?;
            let rows = self.keys.find(block.encoded(), key);
            if !rows.is_empty() {
                let blocks = self.with_cached_columns(number, block, columns, cache);
                let blocks = blocks.ok()?;
                rows.for_each(|row| versions.push(Version::new(Position::new(number, row), blocks.clone())));
            }
        }
        Some(versions)
    }

    /// A block of the key group and those of some columns; if not all are in the cache, those that are, and the rest.
    fn with_cached_columns(
        &self,
        number: usize,
        key: Block,
        columns: &[usize],
        cache: &BlockCache,
    ) -> std::result::Result<Blocks, (RowGroup, GroupSet)> {
        if self.groups.is_one() {
            return Ok(Blocks::One(key));
        }
        let wanted = self.groups.of_columns(columns).without(GroupSet::KEY);
        let mut group = self.cached_groups(number, wanted, cache);
        group.set(0, key);
        let missing = group.missing(wanted);
        if missing.is_empty() { Ok(Blocks::Some(Rc::new(group))) } else { Err((group, missing)) }
    }

    async fn with_columns(
        &self,
        number: usize,
        key: Block,
        columns: &[usize],
        cache: &BlockCache,
    ) -> Result<Blocks> {
        match self.with_cached_columns(number, key, columns, cache) {
            Ok(blocks) => Ok(blocks),
            Err((mut group, missing)) => {
                group.add(&self.load_groups(number..number + 1, missing, true, cache).await?.remove(0));
                Ok(Blocks::Some(Rc::new(group)))
            }
        }
    }

    /// The versions of a key in a block.
    pub(super) fn key_rows(&self, block: &Block, key: &[u8]) -> Range<usize> {
        self.keys.find(block.encoded(), key)
    }

    /// Looks at what a search for a key in its block needs.
    pub(super) fn touch_key(&self, number: usize, block: &Block, key: &[u8]) {
        self.keys.touch(block.encoded(), self.row_near(number, key));
    }

    /// The row of a block at which a key would be if keys were evenly spread.
    fn row_near(&self, number: usize, key: &[u8]) -> usize {
        (self.fences.part_below(number, key) * self.rows_of(number) as f64) as usize
    }

    /// Bytes of a block of the key group in the file.
    pub(super) fn key_block_bytes(&self, number: usize) -> usize {
        self.place(number, 0).extent.bytes as usize
    }

    pub(super) fn fences(&self) -> &Fences {
        &self.fences
    }

    pub(super) fn without_columns(&self, key: Block) -> Blocks {
        if self.groups.is_one() {
            return Blocks::One(key);
        }
        let mut group = RowGroup::new(&self.groups);
        group.set(0, key);
        Blocks::Some(Rc::new(group))
    }

    /// A block of the key group from the cache, or read into it.
    async fn key_block(&self, number: usize, cache: &BlockCache) -> Result<Block> {
        let slot = self.slot(number, 0);
        if let Some(block) = cache.get(slot) {
            return Ok(block);
        }
        let read = self.read_groups(number..number + 1, GroupSet::KEY).await?.remove(0);
        cache.insert(slot, read.key().clone());
        Ok(read.key().clone())
    }

    fn fence(&self, number: usize) -> Fence {
        *self.fences.get(number).expect("the number of a block")
    }

    fn place(&self, number: usize, group: usize) -> Place {
        self.fences.place(number, group).expect("the number of a block")
    }

    /// Row groups that follow one another, with the blocks of some column groups as they stand in the file, verified.
    /// What lies together is one read, and all reads run side by side.
    pub(super) async fn read_groups(&self, numbers: Range<usize>, groups: GroupSet) -> Result<Vec<RowGroup>> {
        let page = PAGE_BYTES as u64;
        let wanted = numbers.clone().flat_map(|number| groups.iter().map(move |group| (number, group)));
        let wanted: Vec<(usize, usize, Place)> =
            wanted.map(|(number, group)| (number, group, self.place(number, group))).collect();
        let runs: Vec<_> =
            wanted.chunk_by(|(.., a), (.., b)| b.offset / page * page <= a.end() + page).collect();
        let span = |run: &[(usize, usize, Place)]| {
            let start = run.first().map_or(0, |(.., first)| first.offset / page * page);
            let end = run.last().map_or(0, |(.., last)| last.end().next_multiple_of(page));
            (start, usize::try_from(end - start).expect("bounded by the caller"))
        };
        let read_run = |run: &&[(usize, usize, Place)]| {
            let (start, length) = span(run);
            read(&self.file, &self.path, start, length)
        };
        let read = match runs.as_slice() {
            [run] => vec![read_run(run).await],
            runs => sync::all(runs.iter().map(read_run)).await,
        };
        let mut found: Vec<RowGroup> = numbers.clone().map(|_| RowGroup::new(&self.groups)).collect();
        for (run, bytes) in runs.iter().zip(read) {
            let (bytes, (start, _)) = (bytes?, span(run));
            for (number, group, place) in *run {
                let at = usize::try_from(place.offset - start).expect("inside what was read");
                let bytes = &bytes[at..at + place.extent.bytes as usize];
                let block = self.check_block(*number, *group, place, bytes)?;
                found[number - numbers.start].set(*group, block);
            }
        }
        Ok(found)
    }

    /// The first of these row groups, and those after it whose blocks of these column groups have so many bytes together.
    pub(crate) fn blocks_within(&self, numbers: Range<usize>, groups: GroupSet, bytes: u64) -> Range<usize> {
        let mut end = numbers.start + 1;
        let mut sum = self.bytes_of(numbers.start, groups);
        while end < numbers.end {
            sum += self.bytes_of(end, groups);
            if sum > bytes {
                break;
            }
            end += 1;
        }
        numbers.start..end
    }

    /// Bytes of a row group's blocks of these column groups.
    pub(crate) fn bytes_of(&self, number: usize, groups: GroupSet) -> u64 {
        groups.iter().map(|group| u64::from(self.place(number, group).extent.bytes)).sum()
    }

    fn check_block(&self, number: usize, group: usize, place: &Place, bytes: &[u8]) -> Result<Block> {
        if crc32c::crc32c(bytes) != place.extent.crc {
            return Err(corrupt(
                &self.path,
                place.offset,
                format!("wrong checksum of block {number}.{group}"),
            ));
        }
        let number_of = |n: usize| u32::try_from(n).expect("at most BLOCKS_MAX");
        let id = BlockId { segment: self.written_as, block: number_of(number), group: number_of(group) };
        let (types, tables) = &self.shared[group];
        Block::decode(bytes, id, self.rows_of(number), types, tables)
            .map_err(|detail| corrupt(&self.path, place.offset, detail))
    }

    /// Calls with the ends in a block, rows rising.
    pub(super) fn with_ends<T>(&self, number: usize, then: impl FnOnce(&[(u16, Stamp)]) -> T) -> T {
        let ends = self.deletions.borrow().block(number);
        then(&ends)
    }

    /// Rows of a block.
    pub(super) fn rows_of(&self, number: usize) -> usize {
        usize::from(self.fence(number).rows)
    }

    /// A row group with those blocks of these column groups that are in the cache.
    pub(crate) fn cached_groups(&self, number: usize, groups: GroupSet, cache: &BlockCache) -> RowGroup {
        let mut found = RowGroup::new(&self.groups);
        for group in groups.iter() {
            if let Some(block) = cache.get(self.slot(number, group)) {
                found.set(group, block);
            }
        }
        found
    }

    /// Whether these blocks are in the cache; no use of them.
    pub(crate) fn has_cached(&self, number: usize, groups: GroupSet, cache: &BlockCache) -> bool {
        groups.iter().all(|group| cache.contains(self.slot(number, group)))
    }

    /// As `read_groups`; the blocks go into the cache, if there is no room for them only if `keep`.
    ///
    /// # Errors
    /// If a block cannot be read or is corrupt.
    pub(crate) async fn load_groups(
        &self,
        numbers: Range<usize>,
        groups: GroupSet,
        keep: bool,
        cache: &BlockCache,
    ) -> Result<Vec<RowGroup>> {
        let read = self.read_groups(numbers.clone(), groups).await?;
        for (number, found) in numbers.zip(&read) {
            for (group, block) in found.blocks() {
                cache.insert_scanned(self.slot(number, group), block, keep);
            }
        }
        Ok(read)
    }

    /// Reads every block from the file, past the cache: keys must be in order, and columns hold values of their types.
    ///
    /// # Errors
    /// If a block cannot be read or is corrupt.
    pub async fn verify(&self) -> Result<()> {
        for number in 0..self.block_count() {
            let group = self.read_groups(number..number + 1, self.groups.all()).await?.remove(0);
            let verified = group.verify(&self.keys, &self.types);
            verified.map_err(|detail| corrupt(&self.path, self.place(number, 0).offset, detail))?;
        }
        Ok(())
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
            let (fence, first) = (self.fence(block), self.fences.first_key(block));
            let due = (points.len() as u64 + 1) * rows / parts.max(1) as u64;
            let is_cut = before > 0 && !fence.continues && span.start < first;
            if is_cut && points.len() + 1 < parts && before >= due {
                points.push(first);
            }
            before += u64::from(fence.rows);
        }
        points
    }

    /// The first key of a block that cuts the span so that the part that comes first in an order has about `rows` versions
    /// or more; `None` if there is no such block.
    pub fn cut_after(&self, span: &KeySpan, rows: u64, order: KeyOrder) -> Option<Key> {
        let blocks = self.blocks_in(span);
        let rows_of = |block: usize| f64::from(self.fence(block).rows);
        let is_cut = |block: usize| {
            block > blocks.start && !self.fence(block).continues && span.start < self.fences.first_key(block)
        };
        let mut passed = 0.0;
        match order {
            KeyOrder::Ascending => {
                for block in blocks.clone() {
                    if passed >= rows as f64 && is_cut(block) {
                        return Some(self.fences.first_key(block));
                    }
                    let below =
                        if block == blocks.start { self.fences.part_below(block, &span.start) } else { 0.0 };
                    passed += rows_of(block) * (1.0 - below);
                }
            }
            KeyOrder::Descending => {
                for block in blocks.clone().rev() {
                    let below = match &span.end {
                        Some(end) if block + 1 == blocks.end => self.fences.part_below(block, end),
                        _ => 1.0,
                    };
                    passed += rows_of(block) * below;
                    if passed >= rows as f64 && is_cut(block) {
                        return Some(self.fences.first_key(block));
                    }
                }
            }
        }
        None
    }

    /// About how many versions in the span are live: fences say how many blocks, and where in the first and last block the
    /// span begins and ends is taken from the distance to their first keys.
    pub fn estimate_rows(&self, span: &KeySpan) -> f64 {
        let blocks = self.blocks_in(span);
        let rows_of = |block: usize| f64::from(self.fence(block).rows);
        let (Some(first), Some(last)) = (blocks.clone().next(), blocks.clone().last()) else { return 0.0 };
        let before = rows_of(first) * self.fences.part_below(first, &span.start);
        let below_end = span.end.as_ref().map_or(1.0, |end| self.fences.part_below(last, end));
        let after = rows_of(last) * (1.0 - below_end);
        let rows: f64 = blocks.map(rows_of).sum();
        let live = 1.0 - self.ended_count() as f64 / self.meta.rows.max(1) as f64;
        (rows - before - after).max(0.0) * live.max(0.0)
    }

    /// What zone maps say about the rows in disjoint spans, and about the columns.
    pub(crate) fn statistics(&self, spans: &[KeySpan], filters: &[Filter]) -> TableStatistics {
        let distinct: Vec<Option<f64>> = filters
            .iter()
            .map(|filter| self.columns[filter.column].distinct(self.meta.rows as f64))
            .collect();
        let (mut rows, mut matching) = (0.0, 0.0);
        for span in spans {
            let (mut all, mut some) = (0.0, 0.0);
            for block in self.blocks_in(span) {
                let of_filter = |(filter, distinct): (&Filter, &Option<f64>)| {
                    self.zone(block, filter.column).share(filter, *distinct)
                };
                let share: f64 = filters.iter().zip(&distinct).map(of_filter).product();
                let rows = f64::from(self.fence(block).rows);
                all += rows;
                some += share * rows;
            }
            let estimate = self.estimate_rows(span);
            rows += estimate;
            matching += if all > 0.0 { estimate * some / all } else { 0.0 };
        }
        TableStatistics { rows, matching: Some(matching), columns: self.columns.clone() }
    }

    /// Versions in the span, to the block.
    pub fn rows_in(&self, span: &KeySpan) -> u64 {
        self.blocks_in(span).map(|block| u64::from(self.fence(block).rows)).sum()
    }
}

/// The types of a column group's columns, and what its blocks share.
type Shared = (Vec<PgType>, Rc<Tables>);

/// That of each column group.
fn decode_shared(
    tables: &[u8],
    groups: &Groups,
    types: &[PgType],
) -> std::result::Result<Vec<Shared>, Detail> {
    let tables = split_tables(tables, groups.len()).ok_or("malformed tables")?;
    let decode = |(group, tables): (usize, &[u8])| {
        let types: Vec<PgType> = groups.columns(group).iter().map(|column| types[*column]).collect();
        let tables = Tables::decode(tables, &types)?;
        Ok((types, Rc::new(tables)))
    };
    tables.into_iter().enumerate().map(decode).collect()
}

/// What zones and sketches say about each of the table's columns.
fn column_statistics(zones: &[Zone], types: &[PgType], sketches: &[u8]) -> Option<Arc<[ColumnStatistics]>> {
    let (mut all, mut rest) = (Vec::with_capacity(types.len() - 1), sketches);
    for (column, pg_type) in types.iter().enumerate().take(types.len() - 1) {
        let zones = zones.iter().skip(column).step_by(types.len()).map(Zone::bounds);
        let bounds = zones.fold((u64::MAX, 0), |all, zone| (all.0.min(zone.0), all.1.max(zone.1)));
        let (sketch, behind) = Sketch::decode(rest)?;
        all.push(ColumnStatistics::new(*pg_type, bounds, sketch));
        rest = behind;
    }
    rest.is_empty().then(|| all.into())
}

fn decode_zones(bytes: &[u8], count: usize) -> Option<Vec<Zone>> {
    let (zones, rest) = bytes.as_chunks::<ZONE_BYTES>();
    (zones.len() == count && rest.is_empty()).then(|| zones.iter().map(Zone::from_bytes).collect())?
}

async fn read_footer<F: File>(file: &F, path: &Path, trailer: &Trailer, trailer_at: u64) -> Result<Footer> {
    let page = PAGE_BYTES as u64;
    let malformed = || corrupt(path, trailer_at, "a footer that does not fit the file");
    let end = trailer.footer_at.checked_add(trailer.footer_bytes).ok_or_else(malformed)?;
    let fits = trailer.footer_at >= page && end.checked_next_multiple_of(page) == Some(trailer_at);
    if !fits || trailer.blocks == 0 || trailer.blocks as usize > BLOCKS_MAX {
        return Err(malformed());
    }
    // Bounded by the size of the file.
    let start = trailer.footer_at / page * page;
    let length = usize::try_from(trailer_at - start).map_err(|_| malformed())?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let piece = FOOTER_READ_BYTES.min(length - bytes.len());
        bytes.extend_from_slice(&read(file, path, start + bytes.len() as u64, piece).await?);
    }
    let padded = &bytes[usize::try_from(trailer.footer_at - start).map_err(|_| malformed())?..];
    if crc32c::crc32c(padded) != trailer.footer_crc {
        return Err(corrupt(path, trailer.footer_at, "wrong checksum of the footer"));
    }
    let footer_bytes = usize::try_from(trailer.footer_bytes).map_err(|_| malformed())?;
    let footer = Footer::decode(&padded[..footer_bytes], trailer.blocks);
    let footer = footer.map_err(|detail| corrupt(path, trailer.footer_at, detail))?;
    if footer.blocks_end() != trailer.footer_at {
        return Err(corrupt(path, trailer.footer_at, "blocks that do not end where the footer begins"));
    }
    Ok(footer)
}
