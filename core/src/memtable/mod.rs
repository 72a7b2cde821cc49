//! The memtable: the newest rows of one range, in columns, with every version that was written since the last flush.
//!
//! Versions are appended to chunks and never move; the index knows the newest version of each key, and each version
//! the one before it. A version begins and ends by its stamps alone (`stamp`): deleting sets the end, rolling back sets
//! the begin to `Stamp::ABORTED`.
//!
//! Invariants: all chunks but the last are frozen; versions of a key lead from the newest to the oldest by `previous`,
//! ids falling; the key of a version in the index is the key of the entry.

mod chunk;
mod index;
mod leaf;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};

use crate::catalog::TableSchema;
use crate::clock::Timestamp;
use crate::column::{BatchSchema, ColumnBuf, Layout, check_row};
use crate::key::{KEY_BYTES_MAX, Key, KeySpan};
use crate::router::{KeyOrder, ReadView};
use crate::row::{Malformed, RowBuilder};
use crate::stamp::{Sight, Stamp, visible};
use crate::types::PgType;
use crate::write_batch::SortedBatch;

use chunk::{CHUNK_BITS, CHUNK_ROWS, Chunk, Visible};
use index::{Index, Located as Places, Place};
use leaf::KeySource;

/// A version in its memtable. Ids rise in the order of insertion and are not dense.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RowId(pub u32);

impl RowId {
    /// `row` may be the number of rows of a full chunk: then it is the start of the next.
    fn new(chunk: usize, row: usize) -> RowId {
        let id = (chunk << CHUNK_BITS) + row;
        RowId(u32::try_from(id).ok().filter(|id| *id < u32::MAX).expect("a memtable is flushed long before"))
    }

    fn chunk(self) -> usize {
        self.0 as usize >> CHUNK_BITS
    }

    fn row(self) -> usize {
        self.0 as usize & (CHUNK_ROWS - 1)
    }
}

/// Where a scan of a memtable goes on. Rows that were inserted after the scan's first call are not part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanPosition(Position);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Position {
    Start,
    /// Chunk by chunk, from `next` on, to before `end`.
    Chunks {
        next: RowId,
        end: RowId,
    },
    /// In order of keys, from the key of `next` on; versions from `end` on came later.
    Keys {
        next: RowId,
        end: RowId,
    },
}

impl ScanPosition {
    /// The beginning.
    pub const START: ScanPosition = ScanPosition(Position::Start);
}

/// Where the keys of a batch are in a memtable, or belong; good until the next insertion.
#[derive(Debug)]
pub(crate) struct Located(Places);

impl Located {
    /// Keys that are there, by their position in the batch, rising, and their newest versions.
    pub(crate) fn found(&self) -> &[(usize, RowId)] {
        &self.0.found
    }
}

/// Walks all versions of a memtable in order of keys, newest first within a key. The memtable must not get new rows
/// meanwhile; stamps may change.
#[derive(Clone, Debug, Default)]
pub struct SortedCursor {
    place: Place,
    version: Option<RowId>,
}

impl SortedCursor {
    /// The next version.
    pub fn next(&mut self, memtable: &Memtable) -> Option<RowId> {
        let version = match self.version {
            Some(version) => version,
            None => {
                let (newest, place) = memtable.index.step(self.place)?;
                self.place = place;
                newest
            }
        };
        self.version = memtable.previous(version);
        Some(version)
    }

    /// Appends the next versions until there are `rows_max` in `out` (false) or no more (true). Leaves out those that
    /// ended at or before `horizon`, and those that were rolled back.
    pub fn next_block(
        &mut self,
        memtable: &Memtable,
        horizon: Timestamp,
        rows_max: usize,
        out: &mut Vec<RowId>,
    ) -> bool {
        while out.len() < rows_max {
            let Some(row) = self.next(memtable) else { return true };
            let dead = memtable.end(row).timestamp().is_some_and(|end| end <= horizon);
            if !dead && memtable.begin(row) != Stamp::ABORTED {
                out.push(row);
            }
        }
        false
    }
}

/// Rows are copied run by run if their runs are this long on average.
const RUN_ROWS_MIN: usize = 4;

/// Cuts versions into runs that lie side by side in one chunk.
fn runs(rows: &[RowId]) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
    let same = |a: &RowId, b: &RowId| b.0 == a.0.wrapping_add(1) && a.chunk() == b.chunk();
    rows.chunk_by(same).map(|run| (run[0].chunk(), run[0].row()..run[0].row() + run.len()))
}

/// About as many bytes are gathered for a batch: more rows at once make nothing faster, and several scans may be under way.
const BATCH_BYTES: usize = 1 << 20;
/// Most bytes of gathered values of varying length in a batch, so that offsets stay far below 2^31.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// A scan of a span with fewer than one in this many of the keys goes through the index: 50 ns a row where keys came in
/// order, 180 where not, against some 10 for each row of a chunk that is looked at and filtered (`perf`, `memtable`).
const INDEX_SCAN_PART: usize = 8;

#[derive(Debug, Default)]
struct Chunks(Vec<Chunk>);

impl KeySource for Chunks {
    #[inline]
    fn key(&self, row: RowId) -> &[u8] {
        self.0[row.chunk()].key(row.row())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Memtable {
    schema: Arc<TableSchema>,
    types: Vec<PgType>,
    chunks: Chunks,
    index: Index,
    versions: usize,
    provisional: usize,
    /// The largest row so far, as it came.
    row_bytes_max: usize,
    /// Bytes of the frozen chunks.
    frozen_bytes: usize,
    batches: BatchSchema,
}

impl Memtable {
    /// An empty memtable for rows of a table.
    pub fn new(schema: Arc<TableSchema>) -> Memtable {
        let types = schema.columns.iter().map(|column| column.pg_type).collect();
        Memtable {
            schema,
            types,
            chunks: Chunks::default(),
            index: Index::new(),
            versions: 0,
            provisional: 0,
            row_bytes_max: 0,
            frozen_bytes: 0,
            batches: BatchSchema::default(),
        }
    }

    /// The table's columns and key.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Adds a version, which becomes the newest of its key; the newest before becomes its predecessor. Its end is LIVE.
    ///
    /// # Errors
    /// If the row does not hold all columns of the table, or the key is too long. Then nothing has changed.
    pub fn insert(&mut self, key: &[u8], row: &[u8], begin: Stamp) -> Result<RowId, Malformed> {
        check_row(&self.types, row)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Malformed);
        }
        self.make_room();
        let chunk_index = self.chunks.0.len() - 1;
        let chunk = &mut self.chunks.0[chunk_index];
        let id = RowId::new(chunk_index, chunk.len());
        chunk.push(&self.types, key, row, begin);
        if let Some(previous) = self.index.upsert(key, id, &self.chunks) {
            self.chunks.0[chunk_index].set_previous(id.row(), previous);
        }
        self.versions += 1;
        self.provisional += usize::from(begin.txn().is_some());
        self.row_bytes_max = self.row_bytes_max.max(row.len());
        Ok(id)
    }

    /// Where the keys of a batch are, or belong.
    pub(crate) fn locate(&self, batch: &SortedBatch<'_>) -> Located {
        Located(self.index.locate(batch, &self.chunks))
    }

    /// Whether nothing has been inserted since keys were located.
    pub(crate) fn is_current(&self, located: &Located) -> bool {
        self.index.is_current(&located.0)
    }

    /// Adds a version of every row of a batch, in order of keys, as `insert` does one by one. The batch removes no rows
    /// and was located since the last insertion. Answers the new versions.
    ///
    /// # Errors
    /// If a row does not hold all columns of the table. Then nothing has changed for any reader.
    ///
    /// # Panics
    /// If the batch was not located since the last insertion.
    pub(crate) fn insert_sorted(
        &mut self,
        batch: &SortedBatch<'_>,
        located: &Located,
        begin: Stamp,
    ) -> Result<Vec<RowId>, Malformed> {
        let mut rows = Vec::with_capacity(batch.len());
        let mut done = 0;
        while done < batch.len() {
            self.make_room();
            let chunk_index = self.chunks.0.len() - 1;
            let chunk = &mut self.chunks.0[chunk_index];
            let first = chunk.len();
            let positions = done..batch.len().min(done + CHUNK_ROWS - first);
            done = positions.end;
            let appended = chunk.extend(&self.types, batch, positions.clone(), begin);
            self.row_bytes_max = self.row_bytes_max.max(match appended {
                Ok(bytes) => bytes,
                Err(malformed) => {
                    // Rows of the batch that went into chunks before this one are in no index.
                    self.disown(&rows);
                    return Err(malformed);
                }
            });
            rows.extend((first..first + positions.len()).map(|row| RowId::new(chunk_index, row)));
        }
        self.index.insert_sorted(batch, &located.0, &rows, &self.chunks);
        for (position, previous) in &located.0.found {
            let row = rows[*position];
            self.chunks.0[row.chunk()].set_previous(row.row(), *previous);
        }
        self.versions += rows.len();
        self.provisional += if begin.txn().is_some() { rows.len() } else { 0 };
        Ok(rows)
    }

    /// Makes rows that no key leads to invisible to scans of chunks.
    fn disown(&mut self, rows: &[RowId]) {
        for (chunk, rows) in runs(rows) {
            self.chunks.0[chunk].set_begins(rows, Stamp::ABORTED);
        }
    }

    /// Makes the last chunk one that is not full.
    fn make_room(&mut self) {
        let last = self.chunks.0.last_mut();
        if last.as_ref().is_some_and(|last| !last.is_full()) {
            return;
        }
        if let Some(last) = last {
            last.freeze();
            self.frozen_bytes += last.size_bytes();
        }
        let next = Chunk::new(&self.types, self.chunks.0.last());
        self.chunks.0.push(next);
    }

    /// The newest version of a key, whatever its stamps; it may be aborted: then `previous` leads on.
    pub fn newest(&self, key: &[u8]) -> Option<RowId> {
        self.index.get(key, &self.chunks)
    }

    /// This version, or the newest before it, that has not aborted.
    pub(crate) fn not_aborted(&self, newest: RowId) -> Option<RowId> {
        let mut row = newest;
        while self.begin(row) == Stamp::ABORTED {
            row = self.previous(row)?;
        }
        Some(row)
    }

    /// The version of the same key before this one.
    pub fn previous(&self, row: RowId) -> Option<RowId> {
        self.chunk(row).previous(row.row())
    }

    /// When a version begins.
    pub fn begin(&self, row: RowId) -> Stamp {
        self.chunk(row).begin(row.row())
    }

    /// When a version ends.
    pub fn end(&self, row: RowId) -> Stamp {
        self.chunk(row).end(row.row())
    }

    /// Changes when a version begins.
    pub fn set_begin(&mut self, row: RowId, begin: Stamp) {
        self.count_provisional(self.begin(row), begin);
        self.chunks.0[row.chunk()].set_begin(row.row(), begin);
    }

    /// Changes when versions begin.
    pub(crate) fn set_begins(&mut self, rows: &[RowId], begin: Stamp) {
        for (chunk, rows) in runs(rows) {
            self.provisional += if begin.txn().is_some() { rows.len() } else { 0 };
            self.provisional -= self.chunks.0[chunk].set_begins(rows, begin);
        }
    }

    /// Changes when a version ends.
    pub fn set_end(&mut self, row: RowId, end: Stamp) {
        self.count_provisional(self.end(row), end);
        let grown = self.chunks.0[row.chunk()].set_end(row.row(), end);
        if row.chunk() + 1 < self.chunks.0.len() {
            self.frozen_bytes += grown;
        }
    }

    fn count_provisional(&mut self, old: Stamp, new: Stamp) {
        self.provisional += usize::from(new.txn().is_some());
        self.provisional -= usize::from(old.txn().is_some());
    }

    fn chunk(&self, row: RowId) -> &Chunk {
        &self.chunks.0[row.chunk()]
    }

    /// The version of the key that the view sees.
    pub fn find(&self, key: &[u8], view: &ReadView) -> Option<RowId> {
        self.visible_version(self.newest(key)?, view)
    }

    /// The version that the view sees among this one and those before it.
    fn visible_version(&self, newest: RowId, view: &ReadView) -> Option<RowId> {
        let mut version = Some(newest);
        while let Some(row) = version {
            let begin = self.begin(row);
            if visible(begin, self.end(row), view) {
                return Some(row);
            }
            if begin.timestamp().is_some_and(|begin| begin <= view.snapshot) {
                // Those before it ended when it began.
                return None;
            }
            version = self.previous(row);
        }
        None
    }

    /// The key of a version.
    pub fn key(&self, row: RowId) -> &[u8] {
        self.chunks.key(row)
    }

    /// Builds the row of these columns of a version, without finishing it.
    pub fn read(&self, row: RowId, columns: &[usize], out: &mut RowBuilder) {
        let chunk = self.chunk(row);
        out.start(columns.len());
        columns.iter().for_each(|column| chunk.view(*column).push_to(row.row(), out));
    }

    /// The largest row so far, in bytes.
    pub(crate) fn row_bytes_max(&self) -> usize {
        self.row_bytes_max
    }

    /// The next visible rows in the span, at most `rows_max`, in no promised order, and where to go on; `None` there
    /// means that the scan is done. A batch may be missing though the scan goes on: one call looks at one chunk.
    pub fn scan(
        &self,
        span: &KeySpan,
        columns: &[usize],
        view: &ReadView,
        from: ScanPosition,
        rows_max: usize,
    ) -> (Option<RecordBatch>, Option<ScanPosition>) {
        assert!(rows_max > 0, "a scan that asks for no rows never ends");
        let (batch, next) = match from.0 {
            Position::Start => {
                let Some(position) = self.plan_scan(span) else { return (None, None) };
                return self.scan(span, columns, view, position, rows_max);
            }
            Position::Chunks { next, end } => self.scan_chunk(span, columns, view, next..end, rows_max),
            Position::Keys { next, end } => self.scan_keys(span, columns, view, next..end, rows_max),
        };
        (batch, next.map(ScanPosition))
    }

    /// How to scan a span; `None` if nothing can be in it.
    fn plan_scan(&self, span: &KeySpan) -> Option<ScanPosition> {
        let last_chunk = self.chunks.0.len().checked_sub(1)?;
        let end = RowId::new(last_chunk, self.chunks.0[last_chunk].len());
        let start = self.index.lower_bound(&span.start, &self.chunks);
        let stop = self.stop_of(span);
        let (first, _) = self.index.step(start).filter(|_| start < stop)?;
        let keys = self.index.count_between(start, stop);
        Some(ScanPosition(if keys * INDEX_SCAN_PART < self.index.len() {
            Position::Keys { next: first, end }
        } else {
            Position::Chunks { next: RowId(0), end }
        }))
    }

    /// The place after the last key of the span.
    fn stop_of(&self, span: &KeySpan) -> Place {
        span.end.as_ref().map_or(self.index.end(), |end| self.index.lower_bound(end, &self.chunks))
    }

    /// One step through the chunks, within one chunk.
    fn scan_chunk(
        &self,
        span: &KeySpan,
        columns: &[usize],
        view: &ReadView,
        rows: Range<RowId>,
        rows_max: usize,
    ) -> (Option<RecordBatch>, Option<Position>) {
        let Range { start: next, end } = rows;
        let chunk = self.chunk(next);
        let chunk_end = if next.chunk() == end.chunk() { end.row() } else { chunk.len() };
        let stop = chunk_end.min(next.row() + rows_max);
        let following = if stop < chunk_end {
            Some(RowId::new(next.chunk(), stop))
        } else {
            Some(RowId::new(next.chunk() + 1, 0)).filter(|next| *next < end)
        };
        let following = following.map(|next| Position::Chunks { next, end });
        let visible = chunk.visible(next.row(), stop, span, Sight::of(view));
        if matches!(visible, Visible::None) {
            return (None, following);
        }
        let (arrays, rows) = chunk.arrays(next.row(), stop, columns, &visible);
        (Some(self.batches.batch(&self.schema, columns, arrays, rows)), following)
    }

    /// One step through the keys.
    fn scan_keys(
        &self,
        span: &KeySpan,
        columns: &[usize],
        view: &ReadView,
        rows: Range<RowId>,
        rows_max: usize,
    ) -> (Option<RecordBatch>, Option<Position>) {
        let row_bytes = self.size_bytes() / self.versions.max(1);
        let fitting = BATCH_BYTES / row_bytes.max(1);
        let rows_max = rows_max.min(fitting).min(BATCH_BYTES_MAX / self.row_bytes_max.max(1)).max(1);
        let stop = self.stop_of(span);
        let mut place = self.index.lower_bound(self.key(rows.start), &self.chunks);
        let mut found = Vec::new();
        let mut following = None;
        for looked_at in 0.. {
            let Some((newest, next)) = self.index.step(place).filter(|_| place < stop) else { break };
            if looked_at == CHUNK_ROWS || found.len() == rows_max {
                following = Some(Position::Keys { next: newest, end: rows.end });
                break;
            }
            found.extend(self.visible_version(newest, view).filter(|version| *version < rows.end));
            place = next;
        }
        if found.is_empty() {
            return (None, following);
        }
        let arrays = columns.iter().map(|column| self.gather(*column, &found)).collect();
        (Some(self.batches.batch(&self.schema, columns, arrays, found.len())), following)
    }

    fn gather(&self, column: usize, rows: &[RowId]) -> ArrayRef {
        let mut values = ColumnBuf::with_capacity(self.types[column], rows.len(), 0);
        self.append_column(column, rows, &mut values);
        values.freeze().array().expect("every value was checked when it was inserted").clone()
    }

    /// Appends the values of one column of some versions, in their order.
    pub(crate) fn append_column(&self, column: usize, rows: &[RowId], out: &mut ColumnBuf) {
        let chunks = &self.chunks.0;
        let fixed = matches!(Layout::of(self.types[column]), Layout::Fixed(_));
        let full = |chunk: &Chunk| chunk.view(column).valid().is_none();
        let plain = fixed && out.view().valid().is_none() && chunks.iter().all(full);
        if plain && runs(rows).count() * RUN_ROWS_MIN > rows.len() {
            return out.gather(rows.iter().map(|row| (chunks[row.chunk()].view(column).values(), row.row())));
        }
        runs(rows).for_each(|(chunk, rows)| out.extend(&chunks[chunk].view(column), rows));
    }

    /// Appends when some versions begin, in their order.
    pub fn append_begins(&self, rows: &[RowId], out: &mut Vec<u64>) {
        out.extend(rows.iter().map(|row| self.begin(*row).to_bits()));
    }

    /// All versions, keys rising, newest first within a key.
    pub fn iter_sorted(&self) -> impl Iterator<Item = RowId> + '_ {
        let mut cursor = SortedCursor::default();
        std::iter::from_fn(move || cursor.next(self))
    }

    /// All versions whose end is not LIVE.
    pub fn ended(&self) -> impl Iterator<Item = (RowId, Stamp)> + '_ {
        let chunks = self.chunks.0.iter().enumerate();
        chunks.flat_map(|(index, chunk)| chunk.ended().map(move |(row, end)| (RowId::new(index, row), end)))
    }

    /// Bytes of memory that it holds: values, keys, stamps and index, with room that is not yet used.
    pub fn size_bytes(&self) -> usize {
        let last = self.chunks.0.last().map_or(0, Chunk::size_bytes);
        self.frozen_bytes + last + self.index.size_bytes()
    }

    /// Distinct keys, whether any version of them is live or not.
    pub fn key_count(&self) -> usize {
        self.index.len()
    }

    /// Versions, aborted ones included.
    pub fn version_count(&self) -> usize {
        self.versions
    }

    /// Whether nothing was ever inserted.
    pub fn is_empty(&self) -> bool {
        self.versions == 0
    }

    /// Stamps that wait for a transaction; a memtable with any cannot be flushed.
    pub fn provisional_count(&self) -> usize {
        self.provisional
    }

    /// Keys in the span, whatever became of their rows.
    pub fn key_count_in(&self, span: &KeySpan) -> usize {
        let start = self.index.lower_bound(&span.start, &self.chunks);
        self.index.count_between(start, self.stop_of(span).max(start))
    }

    /// The key that cuts a span so that the part that comes first in an order has `rows` keys; `None` if the span has no
    /// more.
    pub fn cut_after(&self, span: &KeySpan, rows: usize, order: KeyOrder) -> Option<Key> {
        let start = self.index.lower_bound(&span.start, &self.chunks);
        let stop = self.stop_of(span);
        let cut = match order {
            KeyOrder::Ascending => self.index.after(start, rows),
            KeyOrder::Descending => self.index.before(stop, rows)?,
        };
        if cut <= start || cut >= stop {
            return None;
        }
        let (row, _) = self.index.step(cut)?;
        Some(Key::from_bytes(self.key(row)))
    }

    /// At most `parts - 1` keys, rising, that cut the live keys into parts of about equal size, none empty. Looks at
    /// some 128 keys for each part.
    pub fn split_points(&self, parts: usize) -> Vec<Key> {
        const SAMPLES_PER_PART: usize = 128;
        let stride = (self.index.len() / (parts.max(1) * SAMPLES_PER_PART)).max(1);
        let live = |row: &RowId| {
            let versions = std::iter::successors(Some(*row), |row| self.previous(*row));
            let newest = versions.into_iter().find(|row| self.begin(*row) != Stamp::ABORTED);
            newest.is_some_and(|row| self.end(row).timestamp().is_none())
        };
        let sample: Vec<RowId> = self.index.every(stride).filter(live).collect();
        let mut cuts: Vec<usize> = (1..parts).map(|part| part * sample.len() / parts).collect();
        cuts.dedup();
        cuts.retain(|cut| *cut > 0);
        cuts.into_iter().map(|cut| Key::from_bytes(self.key(sample[cut]))).collect()
    }
}
