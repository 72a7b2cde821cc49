//! Chunks: up to [`CHUNK_ROWS`] versions of rows in the order in which they came, in columns. A full chunk freezes:
//! its columns become Arrow buffers that scans share; its stamps can still change.

use std::cell::Cell;
use std::ops::Range;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::FilterBuilder;

use super::RowId;
use crate::column::{Column, ColumnBuf, ColumnView, RowCursors};
use crate::key::{KeySpan, prefix64};
use crate::row::{Malformed, RowReader};
use crate::stamp::{Sight, Stamp};
use crate::types::PgType;
use crate::write_batch::SortedBatch;

/// Versions in a chunk, as many as a batch has rows (`fragment::BATCH_ROWS`).
pub(super) const CHUNK_ROWS: usize = 1 << CHUNK_BITS;
/// Bits of a `RowId` that count within a chunk.
pub(super) const CHUNK_BITS: u32 = 13;
/// A chunk that holds this many bytes of values of varying length freezes early: offsets in it stay far below 2^31,
/// with a row of up to `ROW_BYTES_MAX` on top.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;

const NO_ROW: RowId = RowId(u32::MAX);

/// Keys of a chunk, one after another. Offsets are kept only if lengths differ.
#[derive(Debug, Default)]
struct KeyList {
    bytes: Vec<u8>,
    count: usize,
    /// Length of every key while they are all the same.
    length: usize,
    /// Once lengths differ: where each key ends.
    ends: Vec<u32>,
}

impl KeyList {
    fn push(&mut self, key: &[u8]) {
        if self.count == 0 {
            self.length = key.len();
        } else if self.ends.is_empty() && key.len() != self.length {
            self.ends.extend((1..=self.count).map(|i| Self::offset(i * self.length)));
        }
        self.bytes.extend_from_slice(key);
        self.count += 1;
        if !self.ends.is_empty() {
            self.ends.push(Self::offset(self.bytes.len()));
        }
    }

    fn offset(bytes: usize) -> u32 {
        u32::try_from(bytes).expect("CHUNK_ROWS keys of at most KEY_BYTES_MAX")
    }

    /// Adds keys of a batch, at least one.
    fn extend(&mut self, batch: &SortedBatch<'_>, positions: Range<usize>) {
        let eight =
            batch.key_length() == Some(8) && self.ends.is_empty() && (self.count == 0 || self.length == 8);
        if !eight {
            return positions.for_each(|position| self.push(batch.key(position)));
        }
        self.length = 8;
        self.count += positions.len();
        self.bytes.reserve(positions.len() * 8);
        for position in positions {
            self.bytes.extend_from_slice(&batch.prefix(position).to_be_bytes());
        }
    }

    #[inline]
    fn get(&self, index: usize) -> &[u8] {
        if self.ends.is_empty() {
            return &self.bytes[index * self.length..(index + 1) * self.length];
        }
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    fn size_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}

/// Extremes of a chunk's stamps: they tell most views that all rows, or none, are visible without looking at each.
#[derive(Clone, Copy, Debug)]
struct Extremes {
    begin_min: u64,
    begin_max: u64,
    end_min: u64,
    end_max: u64,
}

impl Extremes {
    const NONE: Extremes = Extremes { begin_min: u64::MAX, begin_max: 0, end_min: u64::MAX, end_max: 0 };

    fn with(self, begin: u64, end: u64) -> Extremes {
        Extremes {
            begin_min: self.begin_min.min(begin),
            begin_max: self.begin_max.max(begin),
            end_min: self.end_min.min(end),
            end_max: self.end_max.max(end),
        }
    }
}

/// Which rows a scan gets.
pub(super) enum Visible {
    /// Every one.
    All,
    /// None.
    None,
    /// Those with a set bit.
    Some(BooleanArray),
}

#[derive(Debug)]
enum Columns {
    Growing(Vec<ColumnBuf>),
    Frozen(Vec<Column>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Chunk {
    columns: Columns,
    keys: KeyList,
    begins: Vec<u64>,
    /// Empty while all versions are live.
    ends: Vec<u64>,
    /// The version before this one of the same key; empty while there is none for any.
    previous: Vec<RowId>,
    /// `None` after a stamp has changed.
    extremes: Cell<Option<Extremes>>,
    /// Smallest and largest `prefix64` of the keys.
    prefixes: (u64, u64),
    var_bytes: usize,
}

impl Chunk {
    /// An empty chunk; `like` is the full one before it, which tells how much room to make.
    pub(super) fn new(types: &[PgType], like: Option<&Chunk>) -> Chunk {
        let rows = if like.is_some() { CHUNK_ROWS } else { 0 };
        let column = |(index, pg_type): (usize, &PgType)| {
            let bytes = like.map_or(0, |like| like.column_bytes(index));
            ColumnBuf::with_capacity(*pg_type, rows, bytes + bytes / 16)
        };
        Chunk {
            columns: Columns::Growing(types.iter().enumerate().map(column).collect()),
            keys: KeyList {
                bytes: Vec::with_capacity(like.map_or(0, |like| like.keys.bytes.len())),
                ..KeyList::default()
            },
            begins: Vec::with_capacity(rows),
            ends: Vec::new(),
            previous: Vec::new(),
            extremes: Cell::new(Some(Extremes::NONE)),
            prefixes: (u64::MAX, 0),
            var_bytes: 0,
        }
    }

    fn column_bytes(&self, index: usize) -> usize {
        match &self.columns {
            Columns::Growing(columns) => columns[index].bytes_len(),
            Columns::Frozen(columns) => columns[index].bytes_len(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.begins.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == CHUNK_ROWS || self.var_bytes >= CHUNK_BYTES_MAX
    }

    /// Bytes of memory.
    pub(super) fn size_bytes(&self) -> usize {
        let columns: usize = match &self.columns {
            Columns::Growing(columns) => columns.iter().map(ColumnBuf::size_bytes).sum(),
            Columns::Frozen(columns) => columns.iter().map(Column::size_bytes).sum(),
        };
        columns + self.keys.size_bytes() + self.row_bytes() + size_of::<Chunk>()
    }

    /// Bytes of the arrays that stamps and versions take.
    fn row_bytes(&self) -> usize {
        (self.begins.capacity() + self.ends.capacity()) * size_of::<u64>()
            + self.previous.capacity() * size_of::<RowId>()
    }

    /// Appends a version of a row that `check_row` has passed.
    pub(super) fn push(&mut self, types: &[PgType], key: &[u8], row: &[u8], begin: Stamp) {
        let Columns::Growing(columns) = &mut self.columns else { panic!("a frozen chunk gets no rows") };
        let mut reader = RowReader::new(row, types.len()).expect("checked before");
        for (column, pg_type) in columns.iter_mut().zip(types) {
            column.push(reader.next_bytes(*pg_type).expect("checked before"));
        }
        self.var_bytes += row.len();
        self.keys.push(key);
        self.begins.push(begin.to_bits());
        if !self.ends.is_empty() {
            self.ends.push(Stamp::LIVE.to_bits());
        }
        if !self.previous.is_empty() {
            self.previous.push(NO_ROW);
        }
        if let Some(extremes) = self.extremes.get() {
            self.extremes.set(Some(extremes.with(begin.to_bits(), Stamp::LIVE.to_bits())));
        }
        let prefix = prefix64(key);
        self.prefixes = (self.prefixes.0.min(prefix), self.prefixes.1.max(prefix));
    }

    /// Appends versions of rows of a batch, which have keys of at most `KEY_BYTES_MAX`; answers the size of the largest.
    ///
    /// # Errors
    /// If one does not hold all columns. Then nothing has changed.
    pub(super) fn extend(
        &mut self,
        types: &[PgType],
        batch: &SortedBatch<'_>,
        positions: Range<usize>,
        begin: Stamp,
    ) -> Result<usize, Malformed> {
        let Columns::Growing(columns) = &mut self.columns else { panic!("a frozen chunk gets no rows") };
        let before = self.begins.len();
        let rows = positions.clone().map(|position| batch.row(position));
        let mut rows = RowCursors::new(batch.bytes(), types.len(), rows)?;
        let mut numbered = columns.iter_mut().zip(types).enumerate();
        let read =
            numbered.try_for_each(|(index, (column, pg_type))| column.push_rows(*pg_type, index, &mut rows));
        if let Err(malformed) = read.and_then(|()| rows.check_ends()) {
            columns.iter_mut().for_each(|column| column.truncate(before));
            return Err(malformed);
        }
        self.var_bytes += rows.bytes_total();
        let count = positions.len();
        self.prefixes.0 = self.prefixes.0.min(batch.prefix(positions.start));
        self.prefixes.1 = self.prefixes.1.max(batch.prefix(positions.end - 1));
        self.keys.extend(batch, positions);
        self.begins.resize(before + count, begin.to_bits());
        if !self.ends.is_empty() {
            self.ends.resize(before + count, Stamp::LIVE.to_bits());
        }
        if !self.previous.is_empty() {
            self.previous.resize(before + count, NO_ROW);
        }
        if let Some(extremes) = self.extremes.get() {
            self.extremes.set(Some(extremes.with(begin.to_bits(), Stamp::LIVE.to_bits())));
        }
        Ok(rows.bytes_max())
    }

    /// Makes the columns shareable; no more rows may come.
    pub(super) fn freeze(&mut self) {
        let columns = std::mem::replace(&mut self.columns, Columns::Frozen(Vec::new()));
        self.columns = match columns {
            Columns::Growing(columns) => {
                Columns::Frozen(columns.into_iter().map(ColumnBuf::freeze).collect())
            }
            frozen @ Columns::Frozen(_) => frozen,
        };
    }

    #[inline]
    pub(super) fn key(&self, row: usize) -> &[u8] {
        self.keys.get(row)
    }

    pub(super) fn begin(&self, row: usize) -> Stamp {
        Stamp::from_bits(self.begins[row])
    }

    pub(super) fn end(&self, row: usize) -> Stamp {
        self.ends.get(row).map_or(Stamp::LIVE, |end| Stamp::from_bits(*end))
    }

    pub(super) fn set_begin(&mut self, row: usize, begin: Stamp) {
        self.begins[row] = begin.to_bits();
        self.extremes.set(None);
    }

    /// Changes when some versions begin; answers how many of them were provisional.
    pub(super) fn set_begins(&mut self, rows: Range<usize>, begin: Stamp) -> usize {
        let begins = &mut self.begins[rows];
        let provisional = begins.iter().filter(|bits| Stamp::from_bits(**bits).txn().is_some()).count();
        begins.fill(begin.to_bits());
        self.extremes.set(None);
        provisional
    }

    /// Answers the bytes of memory that this took.
    pub(super) fn set_end(&mut self, row: usize, end: Stamp) -> usize {
        let before = self.row_bytes();
        if self.ends.is_empty() {
            self.ends.reserve_exact(self.begins.capacity());
            self.ends.resize(self.len(), Stamp::LIVE.to_bits());
        }
        self.ends[row] = end.to_bits();
        self.extremes.set(None);
        self.row_bytes() - before
    }

    pub(super) fn ended(&self) -> impl Iterator<Item = (usize, Stamp)> + '_ {
        let ends = self.ends.iter().map(|end| Stamp::from_bits(*end)).enumerate();
        ends.filter(|(_, end)| *end != Stamp::LIVE)
    }

    pub(super) fn previous(&self, row: usize) -> Option<RowId> {
        self.previous.get(row).copied().filter(|previous| *previous != NO_ROW)
    }

    pub(super) fn set_previous(&mut self, row: usize, previous: RowId) {
        if self.previous.is_empty() {
            self.previous.reserve_exact(self.begins.capacity());
            self.previous.resize(self.len(), NO_ROW);
        }
        self.previous[row] = previous;
    }

    pub(super) fn view(&self, column: usize) -> ColumnView<'_> {
        match &self.columns {
            Columns::Growing(columns) => columns[column].view(),
            Columns::Frozen(columns) => columns[column].view(),
        }
    }

    /// The rows of a part of the chunk that a reader sees and whose keys lie in the span.
    pub(super) fn visible(&self, start: usize, end: usize, span: &KeySpan, sight: Sight) -> Visible {
        let (first, last) = self.prefixes;
        let outside =
            last < prefix64(&span.start) || span.end.as_ref().is_some_and(|end| prefix64(end) < first);
        let inside = (span.start.is_empty() || prefix64(&span.start) < first)
            && span.end.as_ref().is_none_or(|end| last < prefix64(end));
        let extremes = self.extremes();
        let begun = sight.sees_commit(extremes.begin_max);
        let live = !sight.sees_commit(extremes.end_min) && extremes.end_max == Stamp::LIVE.to_bits();
        let unborn = !sight.sees_commit(extremes.begin_min) && extremes.begin_max <= Stamp::LIVE.to_bits();
        if outside || unborn {
            return Visible::None;
        }
        if inside && begun && live {
            return Visible::All;
        }
        let mut mask = [0u8; CHUNK_ROWS];
        let mask = &mut mask[..end - start];
        if self.ends.is_empty() {
            mask_begun(&self.begins[start..end], sight, mask);
        } else {
            mask_visible(&self.begins[start..end], &self.ends[start..end], sight, mask);
        }
        if !inside {
            let in_span = |row: usize| span.contains(self.key(start + row));
            mask.iter_mut().enumerate().for_each(|(row, set)| *set &= u8::from(*set == 1 && in_span(row)));
        }
        match mask.iter().map(|set| usize::from(*set)).sum() {
            0 => Visible::None,
            count if count == mask.len() => Visible::All,
            _ => Visible::Some(BooleanArray::new(
                BooleanBuffer::collect_bool(mask.len(), |i| mask[i] == 1),
                None,
            )),
        }
    }

    fn extremes(&self) -> Extremes {
        if let Some(extremes) = self.extremes.get() {
            return extremes;
        }
        let live = Stamp::LIVE.to_bits();
        let (end_min, end_max) = extremes(&self.ends).unwrap_or((live, live));
        let (begin_min, begin_max) = extremes(&self.begins).unwrap_or((u64::MAX, 0));
        let found = Extremes { begin_min, begin_max, end_min, end_max };
        self.extremes.set(Some(found));
        found
    }

    /// Arrays of some columns of a part of the chunk, and their rows: all, or those that are visible.
    pub(super) fn arrays(
        &self,
        start: usize,
        end: usize,
        columns: &[usize],
        visible: &Visible,
    ) -> (Vec<ArrayRef>, usize) {
        let filter = match visible {
            Visible::None => return (Vec::new(), 0),
            Visible::All => None,
            Visible::Some(mask) => Some(FilterBuilder::new(mask).optimize().build()),
        };
        let array = |column: &usize| {
            let part = self.array(*column, start, end);
            match &filter {
                Some(filter) => filter.filter(&part).expect("mask and array have one length"),
                None => part,
            }
        };
        let rows = filter.as_ref().map_or(end - start, |filter| filter.count());
        (columns.iter().map(array).collect(), rows)
    }

    fn array(&self, column: usize, start: usize, end: usize) -> ArrayRef {
        let copied;
        let column = match &self.columns {
            Columns::Frozen(columns) => &columns[column],
            Columns::Growing(columns) => {
                copied = columns[column].copy(end);
                &copied
            }
        };
        let array = column.array().expect("every value was checked when it was inserted");
        if (start, end) == (0, array.len()) { array.clone() } else { array.slice(start, end - start) }
    }
}

fn extremes(stamps: &[u64]) -> Option<(u64, u64)> {
    let first = *stamps.first()?;
    Some(stamps.iter().fold((first, first), |(min, max), stamp| (min.min(*stamp), max.max(*stamp))))
}

fn mask_begun(begins: &[u64], sight: Sight, mask: &mut [u8]) {
    for (begin, set) in begins.iter().zip(mask) {
        *set = u8::from(sight.sees(*begin));
    }
}

fn mask_visible(begins: &[u64], ends: &[u64], sight: Sight, mask: &mut [u8]) {
    for ((begin, end), set) in begins.iter().zip(ends).zip(mask) {
        *set = u8::from(sight.sees(*begin) & !sight.sees(*end));
    }
}
