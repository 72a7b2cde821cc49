//! The stores of one range: memtables, newest last, and segments, newest last.
//!
//! Invariants:
//! - Of all versions of a key at most one is neither ended nor aborted, and it is the newest.
//! - Newer stores hold newer versions: a key's versions, newest first, are those of the memtables from last to first,
//!   then those of the segments from last to first.
//! - `structure` changes whenever a store is added or removed, except when a new memtable is opened.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::catalog::TableSchema;
use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::Result;
use crate::filter::{ColumnFilter, Filter};
use crate::id::{Lsn, RangeId, TableId, TxnId};
use crate::key::{Key, KeySpan};
use crate::memtable::{Memtable, RowId};
use crate::router::KeyOrder;
use crate::segment::{BlockCache, Position, Segment};
use crate::stamp::Stamp;
use crate::statistics::TableStatistics;

use super::NewRange;
use super::policy::{self, SegmentStats};

/// A memtable that several holders may look at: the range, scans, transactions that wrote into it.
pub(super) type SharedMemtable = Rc<RefCell<Memtable>>;

/// One of a range's memtables.
pub(super) struct MemtableSlot {
    pub table: SharedMemtable,
    /// Every record of the range in this memtable lies above.
    pub since: Lsn,
    /// Set when no more is written to it: every record of the range in it lies at or below.
    pub sealed: Option<Lsn>,
    /// Transactions that had touched the range and were open when it was sealed: it is flushed after their end.
    pub awaits: BTreeSet<TxnId>,
}

/// A range and where its rows are.
pub(super) struct Range<E: Env> {
    pub id: RangeId,
    pub table: TableId,
    pub schema: Arc<TableSchema>,
    pub span: KeySpan,
    pub memtables: Vec<MemtableSlot>,
    pub segments: Vec<Rc<Segment<E>>>,
    pub structure: u64,
    /// Raft index of its newest record.
    pub index: u64,
    /// Records at or below are in segments and deletion vectors.
    pub flushed: Lsn,
    /// Something was applied since the last seal.
    pub dirty: bool,
    /// Transactions with provisional changes here.
    pub open_txns: BTreeSet<TxnId>,
    /// Being handed over: writers are sent away.
    pub moving: bool,
    /// A merge may pay; looked at when it is due.
    pub may_merge: bool,
    /// How many of its segments may hold one key.
    pub depth: usize,
    /// The horizon at which its ends were last settled because many wait.
    pub settled_at: Timestamp,
    /// Versions above which the node is asked to split it; `usize::MAX` once it has been asked.
    pub split_above: usize,
    /// Versions and bytes of its segments, as far as they lie in its span: other ranges may share their files.
    segment_rows: usize,
    segment_bytes: u64,
}

/// Where a version lies.
pub(super) enum Place<E: Env> {
    Memtable(SharedMemtable, RowId),
    Segment(Rc<Segment<E>>, Position),
}

impl<E: Env> Clone for Place<E> {
    fn clone(&self) -> Self {
        match self {
            Place::Memtable(table, row) => Place::Memtable(table.clone(), *row),
            Place::Segment(segment, position) => Place::Segment(segment.clone(), *position),
        }
    }
}

impl<E: Env> Place<E> {
    pub fn set_end(&self, end: Stamp) {
        match self {
            Place::Memtable(table, row) => table.borrow_mut().set_end(*row, end),
            Place::Segment(segment, position) => segment.set_end(*position, end),
        }
    }
}

/// The newest version of a key that did not abort.
pub(super) struct Newest<E: Env> {
    pub place: Place<E>,
    pub begin: Stamp,
    pub end: Stamp,
}

/// The newest version of a key in the segments, found beforehand.
pub(super) type SegmentHit<E> = Option<(Rc<Segment<E>>, Position, Stamp)>;

impl<E: Env> Range<E> {
    /// An empty range whose records lie above `since`.
    pub fn new(new: NewRange, since: Lsn) -> Range<E> {
        let memtable = MemtableSlot::open(&new.schema, since);
        Range {
            id: new.id,
            table: new.table,
            schema: new.schema,
            span: new.span,
            memtables: vec![memtable],
            segments: Vec::new(),
            structure: 0,
            index: 0,
            flushed: since,
            dirty: false,
            open_txns: BTreeSet::new(),
            moving: false,
            may_merge: false,
            depth: 0,
            settled_at: Timestamp::ZERO,
            split_above: usize::MAX,
            segment_rows: 0,
            segment_bytes: 0,
        }
    }

    /// The memtable that takes writes.
    pub fn active(&self) -> &SharedMemtable {
        &self.memtables.last().expect("a range always has one").table
    }

    /// The newest version of the key in the memtables that did not abort.
    pub fn newest_in_memory(&self, key: &[u8]) -> Option<Newest<E>> {
        self.memtables.iter().rev().find_map(|slot| {
            let table = slot.table.borrow();
            let row = table.not_aborted(table.newest(key)?)?;
            let (begin, end) = (table.begin(row), table.end(row));
            drop(table);
            Some(Newest { place: Place::Memtable(slot.table.clone(), row), begin, end })
        })
    }

    /// Starts a new memtable; the former one takes no more writes. Nothing happens if nothing was applied to it.
    pub fn seal(&mut self, tail: Lsn) {
        if !self.dirty {
            return;
        }
        self.dirty = false;
        let last = self.memtables.last_mut().expect("a range always has one");
        last.sealed = Some(tail);
        last.awaits.clone_from(&self.open_txns);
        self.memtables.push(MemtableSlot::open(&self.schema, tail));
    }

    /// It may be split when it has grown by `rows`.
    pub fn split_after(&mut self, rows: usize) {
        self.split_above = self.version_count() + rows;
    }

    /// Whether it is large enough to be split, and at rest.
    pub fn wants_split(&self) -> bool {
        self.version_count() > self.split_above && self.open_txns.is_empty()
    }

    /// Memory that a flush frees, in bytes: memtables, and ends that are not in the manifest yet.
    pub fn memory_bytes(&self) -> usize {
        let ends: usize = self.segments.iter().map(|segment| segment.fresh_ends_bytes()).sum();
        self.memtables.iter().map(|slot| slot.table.borrow().size_bytes()).sum::<usize>() + ends
    }

    /// Memory of its segments that no flush frees, in bytes: footers and ends.
    pub fn resident_bytes(&self) -> usize {
        let bytes = |segment: &Rc<Segment<E>>| segment.size_bytes() - segment.fresh_ends_bytes();
        self.segments.iter().map(bytes).sum()
    }

    /// A store was added or removed.
    pub fn changed(&mut self) {
        self.structure += 1;
        let stats = self.segment_stats();
        let depth = policy::depth(&stats);
        let rows: u64 = stats.iter().map(|segment| segment.rows).sum();
        let bytes = stats.iter().map(|segment| segment.bytes).sum();
        self.depth = depth;
        self.segment_rows = usize::try_from(rows).expect("rows of a machine's disk");
        self.segment_bytes = bytes;
        self.may_merge = true;
    }

    /// Its segments, oldest first, as far as they lie in its span.
    pub fn segment_stats(&self) -> Vec<SegmentStats<'_>> {
        let stats = self.segments.iter().map(|segment| {
            let (meta, counts) = (segment.meta(), segment.end_counts());
            let inside = self.span.contains(&meta.first_key) && self.span.contains(&meta.last_key);
            let rows = if inside { meta.rows } else { segment.rows_in(&self.span).min(meta.rows) };
            let bytes = u128::from(meta.bytes) * u128::from(rows) / u128::from(meta.rows.max(1));
            let end = self.span.end.as_ref().unwrap_or(&meta.last_key);
            SegmentStats {
                rows,
                bytes: u64::try_from(bytes).expect("at most its bytes"),
                ended: (counts.settled as u64).min(rows),
                held: (counts.kept + counts.fresh) as u64,
                first: (&*meta.first_key).max(&*self.span.start),
                last: (&*meta.last_key).min(&**end),
            }
        });
        stats.collect()
    }

    /// Whether many versions of a segment have ended and some snapshot was in the way of dropping them.
    pub fn garbage_waits(&self) -> bool {
        let waits = |segment: &Rc<Segment<E>>| segment.end_counts().kept as u64 * 4 > segment.meta().rows;
        self.segments.iter().any(waits)
    }

    /// The log position above which its records are still needed; `None` if it needs none.
    pub fn needs_log_from(&self) -> Option<Lsn> {
        let unflushed = self.dirty || self.memtables.len() > 1;
        unflushed.then(|| self.memtables[0].since)
    }

    /// Bytes of its segments, as far as they lie in its span.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Bytes on disk and, for what is not flushed yet, in memory.
    pub fn size_bytes(&self) -> u64 {
        let memory = if self.needs_log_from().is_none() { 0 } else { self.memory_bytes() as u64 };
        self.segment_bytes + memory
    }

    /// About how many rows lie in the span.
    pub fn estimate_rows(&self, span: &KeySpan) -> u64 {
        let memory: usize = self.memtables.iter().map(|slot| slot.table.borrow().key_count_in(span)).sum();
        let disk: f64 = self.segments.iter().map(|segment| segment.estimate_rows(span)).sum();
        memory as u64 + disk.round() as u64
    }

    /// A key that cuts a span so that the part that comes first in an order has about `rows` rows or more; `None` if the
    /// span has no more. The store that has the most rows there decides.
    pub fn cut_after(&self, span: &KeySpan, rows: u64, order: KeyOrder) -> Option<Key> {
        let count = usize::try_from(rows).unwrap_or(usize::MAX / 2);
        let memory =
            self.memtables.iter().filter_map(|slot| slot.table.borrow().cut_after(span, count, order));
        let disk = self.segments.iter().filter_map(|segment| segment.cut_after(span, rows, order));
        match order {
            KeyOrder::Ascending => memory.chain(disk).min(),
            KeyOrder::Descending => memory.chain(disk).max(),
        }
    }

    /// What is known about the rows in disjoint spans.
    pub fn statistics(&self, spans: &[KeySpan], filters: &[ColumnFilter]) -> TableStatistics {
        let filters = Filter::all(filters, &self.schema);
        let in_memory = |span: &KeySpan| -> usize {
            self.memtables.iter().map(|slot| slot.table.borrow().key_count_in(span)).sum()
        };
        let rows = spans.iter().map(in_memory).sum::<usize>() as f64;
        let mut all = TableStatistics { rows, matching: None, columns: Arc::default() };
        self.segments.iter().for_each(|segment| all.merge(&segment.statistics(spans, &filters)));
        all
    }

    /// Versions it holds, a bound on its rows.
    pub fn version_count(&self) -> usize {
        let memory: usize = self.memtables.iter().map(|slot| slot.table.borrow().version_count()).sum();
        memory + self.segment_rows
    }
}

impl MemtableSlot {
    fn open(schema: &Arc<TableSchema>, since: Lsn) -> MemtableSlot {
        let table = Rc::new(RefCell::new(Memtable::new(schema.clone())));
        MemtableSlot { table, since, sealed: None, awaits: BTreeSet::new() }
    }
}

/// The newest version of a key in these segments (oldest first), ended or not.
pub(super) async fn newest_in_segments<E: Env>(
    segments: &[Rc<Segment<E>>],
    key: &[u8],
    cache: &BlockCache,
) -> Result<SegmentHit<E>> {
    for segment in segments.iter().rev().filter(|segment| segment.covers(key)) {
        let versions = segment.find(key, &[], cache).await?;
        if let Some(version) = versions.newest() {
            return Ok(Some((segment.clone(), version.position(), version.begin())));
        }
    }
    Ok(None)
}
