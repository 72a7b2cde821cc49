//! A shard: all that one core owns. Its log, its manifest, and for each of its ranges the memtables and segments.
//!
//! | file | holds |
//! |---|---|
//! | `range.rs` | the stores of one range and the search for the newest version of a key |
//! | `write.rs` | checking, logging and applying changes; commit on this shard |
//! | `txn.rs` | what a transaction has touched here; prepare, resolve; decisions as coordinator |
//! | `read.rs`, `scan.rs` | point reads and scans at a snapshot |
//! | `flush.rs` | memtables to segments |
//! | `compaction.rs` | merging segments |
//! | `maintenance.rs` | when that is done, the memory budget, truncation of the log |
//! | `policy.rs` | what is worth doing and how fast, as functions of numbers |
//! | `recovery.rs` | opening, replay |
//! | `split.rs` | handing ranges over |
//!
//! Invariants:
//! - State changes only in functions that do not await; a borrow of `state` never lives across an await.
//! - A version is locked by a transaction while one of its stamps is provisional by it: there is no other lock table.
//! - Commit timestamps of one shard rise in the order of its log.
//! - A reader at snapshot S gets an answer only when every commit at or before S that it depends on is durable.

mod ahead;
mod compaction;
mod flush;
mod maintenance;
mod policy;
mod range;
mod read;
mod records;
mod recovery;
mod scan;
mod split;
#[cfg(test)]
mod tests;
mod txn;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::TableSchema;
use crate::clock::{Clock, Timestamp};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::filter::ColumnFilter;
use crate::id::{CoreId, Lsn, RangeId, TableId, TxnId};
use crate::key::{Key, KeySpan};
use crate::manifest::Manifest;
use crate::router::KeyOrder;
use crate::row::RowBuilder;
use crate::segment::{BlockCache, SegmentId};
use crate::statistics::TableStatistics;
use crate::sync::Signal;
use crate::wal::Wal;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use records::decode as decode_record;

pub use maintenance::MemoryUse;
pub use recovery::Recovered;
pub use scan::{ScanId, ScanOpen, ScanPart};
pub use split::{RangeImage, SegmentImage, SplitPlan, cut};
pub use write::WriteMode;

use maintenance::Background;
use range::Range;
use scan::ScanRun;
use txn::Participant;

/// Sizes of one shard.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Directory of the shard.
    pub dir: PathBuf,
    /// Memory for memtables, in bytes.
    pub memtable_bytes: usize,
    /// Memory for blocks of segments and for what must be in memory beside memtables, in bytes: see
    /// `policy::split_memory`.
    pub cache_bytes: usize,
    /// Size of a log file in bytes, a multiple of 4096.
    pub wal_file_bytes: u64,
    /// Largest log record in bytes.
    pub wal_record_bytes_max: u32,
    /// Bytes in log buffers, but for a single larger record.
    pub wal_inflight_bytes_max: usize,
    /// The log is kept below this many bytes by flushing what its oldest records are needed for.
    pub wal_bytes_max: u64,
    /// How long a writer waits for another transaction's lock.
    pub lock_timeout: Duration,
    /// How long a writer waits for memory before it gets `Error::MemoryFull`.
    pub memory_timeout: Duration,
    /// Segments of a range that may hold the same key; above, they are merged.
    pub segments_max: usize,
    /// Rows by which a range grows before the node is asked whether to split it.
    pub split_rows: usize,
    /// Versions that ended less than this long ago are kept, whether a snapshot is open that sees them or not.
    pub retention: Duration,
}

impl ShardConfig {
    /// Sizes for a shard that may use `memory_bytes`: a quarter, and not below 12 MiB unless that is more than three
    /// eighths, is for log buffers, for flushes and merges at work, for what sessions hold, and for what the allocator
    /// loses. Of the rest two thirds are for memtables and one is for the cache and what must be in memory.
    pub fn new(dir: &Path, memory_bytes: usize) -> ShardConfig {
        let wal_file_bytes = 64 << 20;
        let others = (memory_bytes / 4).max((12 << 20).min(memory_bytes / 8 * 3));
        let stored = memory_bytes - others;
        ShardConfig {
            dir: dir.to_path_buf(),
            memtable_bytes: stored / 3 * 2,
            cache_bytes: stored / 3,
            wal_file_bytes,
            wal_record_bytes_max: 24 << 20,
            wal_inflight_bytes_max: (memory_bytes / 16).clamp(1 << 20, 16 << 20),
            wal_bytes_max: (memory_bytes as u64).max(4 * wal_file_bytes),
            lock_timeout: Duration::from_secs(10),
            memory_timeout: Duration::from_secs(10),
            segments_max: 8,
            split_rows: 64 << 10,
            retention: Duration::ZERO,
        }
    }
}

/// One core's shard. A cheap handle; `!Send`.
pub struct Shard<E: Env>(Rc<Inner<E>>);

crate::assert_not_send!(Shard<crate::env::uring::UringEnv>);

impl<E: Env> Clone for Shard<E> {
    fn clone(&self) -> Self {
        Shard(self.0.clone())
    }
}

pub(crate) struct Inner<E: Env> {
    env: E,
    core: CoreId,
    config: ShardConfig,
    clock: Rc<Clock>,
    wal: Wal<E>,
    manifest: Manifest<E>,
    cache: BlockCache,
    state: RefCell<State<E>>,
    /// Scratch for rows.
    row_builder: RefCell<RowBuilder>,
    /// A transaction has ended here, or a range is gone: whoever waits for a lock looks again.
    released: Signal,
    /// Memory has become free.
    freed: Signal,
    background: Background<E>,
    /// A sealed memtable waits for no transaction any more.
    unblocked: Cell<bool>,
    oldest_snapshot: RefCell<Option<OldestSnapshot>>,
    split_wanted: RefCell<Option<SplitWanted>>,
    next_segment: Cell<u64>,
}

/// Asks all cores for the oldest snapshot in use: versions that ended at or before it can be dropped.
pub type OldestSnapshot = Box<dyn Fn() -> futures_lite::future::BoxedLocal<Timestamp>>;

/// Tells the node that a range has grown.
type SplitWanted = Box<dyn Fn(RangeId)>;

/// What the loop of the core changes. Ordered maps, so that a simulation's walk over them comes from its seed alone.
struct State<E: Env> {
    ranges: BTreeMap<RangeId, Range<E>>,
    txns: BTreeMap<TxnId, Participant<E>>,
    /// Commits that are applied and not yet durable, oldest first.
    undurable: VecDeque<(Timestamp, Lsn)>,
    /// Transactions that this core coordinates and whose participants have not all resolved.
    decisions: BTreeMap<TxnId, (Timestamp, Lsn)>,
    /// Scans that are read; `None` while one is at work.
    scans: HashMap<ScanId, Option<ScanRun<E>>>,
}

impl<E: Env> State<E> {
    fn new() -> State<E> {
        State {
            ranges: BTreeMap::new(),
            txns: BTreeMap::new(),
            undurable: VecDeque::new(),
            decisions: BTreeMap::new(),
            scans: HashMap::new(),
        }
    }

    fn range(&mut self, id: RangeId) -> Result<&mut Range<E>> {
        self.ranges.get_mut(&id).ok_or(Error::RangeMoved)
    }

    /// The log position that makes every applied commit at or before `at` durable; `None` if they are already.
    fn durability_of(&self, at: Timestamp) -> Option<Lsn> {
        let count = self.undurable.partition_point(|(commit, _)| *commit <= at);
        (count > 0).then(|| self.undurable[count - 1].1)
    }
}

impl<E: Env> Shard<E> {
    /// The core that owns it.
    pub fn core(&self) -> CoreId {
        self.0.core
    }

    /// Where old versions stop being needed comes from the node; until it is set nothing is dropped.
    pub fn on_oldest_snapshot(&self, ask: OldestSnapshot) {
        self.0.oldest_snapshot.replace(Some(ask));
    }

    /// Called when a range has grown past `split_rows`; at most once until the range is gone or the split is refused.
    pub fn on_split_wanted(&self, tell: impl Fn(RangeId) + 'static) {
        self.0.split_wanted.replace(Some(Box::new(tell)));
    }

    /// Ids of its ranges and of their tables, in order.
    pub fn ranges(&self) -> Vec<(RangeId, TableId)> {
        let state = self.0.state.borrow();
        state.ranges.values().map(|range| (range.id, range.table)).collect()
    }

    /// Rows of a range above which it may be split.
    pub fn split_rows(&self) -> usize {
        self.0.config.split_rows
    }

    /// About how many rows of one range lie in the span; none if it is not here.
    pub fn estimate_rows(&self, id: RangeId, span: &KeySpan) -> u64 {
        let state = self.0.state.borrow();
        let span_of = |range: &Range<E>| range.span.intersect(span);
        let found = state.ranges.get(&id).and_then(|range| Some((range, span_of(range)?)));
        found.map_or(0, |(range, span)| range.estimate_rows(&span))
    }

    /// A key that cuts the part of a range in a span, as [`crate::router::Router::cut_after`], and about how many rows lie
    /// there.
    pub fn cut_after(&self, id: RangeId, span: &KeySpan, rows: u64, order: KeyOrder) -> (Option<Key>, u64) {
        let state = self.0.state.borrow();
        let found = state.ranges.get(&id).and_then(|range| Some((range, range.span.intersect(span)?)));
        let Some((range, span)) = found else { return (None, 0) };
        match range.cut_after(&span, rows, order) {
            Some(key) => (Some(key), rows),
            None => (None, range.estimate_rows(&span)),
        }
    }

    /// What is known about the rows of one range in disjoint spans; nothing if it is not here.
    pub fn statistics(&self, id: RangeId, spans: &[KeySpan], filters: &[ColumnFilter]) -> TableStatistics {
        let state = self.0.state.borrow();
        let Some(range) = state.ranges.get(&id) else { return TableStatistics::default() };
        let spans: Vec<KeySpan> = spans.iter().filter_map(|span| range.span.intersect(span)).collect();
        range.statistics(&spans, filters)
    }

    /// Bytes of one range on disk and, for what is not flushed yet, in memory; 0 if it is not here.
    pub fn range_size_bytes(&self, id: RangeId) -> u64 {
        let state = self.0.state.borrow();
        state.ranges.get(&id).map_or(0, Range::size_bytes)
    }

    /// How many bytes may wait for the log.
    pub(crate) fn log_buffer_bytes(&self) -> usize {
        self.0.config.wal_inflight_bytes_max
    }

    /// Whether the log has failed; nothing can be written any more.
    pub fn is_stopped(&self) -> bool {
        self.0.wal.is_stopped()
    }

    /// Makes everything that was logged so far durable.
    ///
    /// # Errors
    /// If the log has failed.
    pub async fn sync(&self) -> Result<()> {
        self.0.wal.durable(self.0.wal.tail_lsn()).await
    }

    /// Ends the shard in order: its log is durable and marked as closed, so that damage to any byte of its files is
    /// found when it is opened, also where after a crash it would look like a torn write. Nothing can be changed
    /// afterwards. Without space for the mark the shard opens as after a crash.
    ///
    /// # Errors
    /// If the log or the manifest has failed; I/O errors. What was acknowledged is there even so.
    pub async fn close(&self) -> Result<()> {
        let inner = &self.0;
        let _hurry = inner.background.hurry();
        let _flush = inner.background.flushes.enter().await;
        // A merge on its way finds the manifest closed and gives up.
        let _turn = inner.background.edits.enter().await;
        inner.wal.truncate(inner.manifest.state().log_from).await?;
        let end = inner.wal.close().await?;
        match inner.manifest.close(end).await {
            Err(Error::DiskFull { .. }) => Ok(()),
            closed => closed,
        }
    }

    /// Reads every block of every segment and checks all of it.
    ///
    /// # Errors
    /// `Corrupt` if one is damaged; I/O errors.
    pub async fn verify(&self) -> Result<()> {
        let segments: Vec<_> = {
            let state = self.0.state.borrow();
            state.ranges.values().flat_map(|range| range.segments.iter().cloned()).collect()
        };
        for segment in segments {
            segment.verify().await?;
        }
        Ok(())
    }

    /// Reserves `count` numbers that this shard has never handed out, durably; the first is returned.
    ///
    /// # Errors
    /// If the manifest cannot be written.
    pub async fn reserve_sequence(&self, count: u64) -> Result<u64> {
        let inner = &self.0;
        let _turn = inner.background.edits.enter().await;
        let first = inner.manifest.state().next_txn;
        inner.manifest.apply(&[crate::manifest::Edit::NextTxn(first + count)]).await?;
        Ok(first)
    }
}

impl<E: Env> Inner<E> {
    fn tick(&self) -> Timestamp {
        self.clock.tick(self.env.wall_clock_ns())
    }

    fn segment_path(&self, id: SegmentId) -> PathBuf {
        segment_path(&self.config.dir, id)
    }

    fn new_segment_id(&self) -> SegmentId {
        let id = self.next_segment.get();
        self.next_segment.set(id + 1);
        SegmentId(id)
    }

    /// Waits until every applied commit at or before `at` is durable.
    async fn durable_at(&self, at: Timestamp) -> Result<()> {
        let lsn = self.state.borrow().durability_of(at);
        match lsn {
            Some(lsn) => self.wal.durable(lsn).await,
            None => Ok(()),
        }
    }

    /// Forgets commits that have become durable.
    fn settle_durable(&self) {
        let durable = self.wal.durable_lsn();
        let mut state = self.state.borrow_mut();
        while state.undurable.front().is_some_and(|(_, lsn)| *lsn <= durable) {
            state.undurable.pop_front();
        }
    }
}

fn segments_dir(dir: &Path) -> PathBuf {
    dir.join("segments")
}

fn segment_path(dir: &Path, id: SegmentId) -> PathBuf {
    segments_dir(dir).join(format!("{:016x}.seg", id.0))
}

/// A range to create on a shard.
#[derive(Clone, Debug)]
pub struct NewRange {
    /// Its id, never used before.
    pub id: RangeId,
    /// Its table.
    pub table: TableId,
    /// The table's columns and key.
    pub schema: Arc<TableSchema>,
    /// The keys it holds.
    pub span: KeySpan,
}
