//! How statements reach the shards that own their rows. SQL speaks to a [`Router`] and knows nothing of cores,
//! messages, logs or replication.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::catalog::{Catalog, TableSchema};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::filter::ColumnFilter;
use crate::fragment::Fragment;
use crate::id::{CoreId, TableId, TxnId};
use crate::key::{Key, KeySpan};
use crate::readable::ReadableFile;
use crate::row::Row;
use crate::statistics::TableStatistics;
use crate::temporary::TemporaryFile;
use crate::write_batch::WriteBatch;

/// What a statement sees: all that was committed at or before `snapshot`, and the writes of `txn`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadView {
    /// Commits at or before this are visible.
    pub snapshot: Timestamp,
    /// The reader's own transaction.
    pub txn: TxnId,
}

/// A scan of the rows of one table that are visible in `view` and lie in any of `spans`.
#[derive(Clone)]
pub struct Scan {
    /// The table.
    pub table: TableId,
    /// What is visible.
    pub view: ReadView,
    /// Disjoint spans of keys; `[KeySpan::all()]` for the whole table.
    pub spans: Vec<KeySpan>,
    /// What the owning cores do with the rows, once on each.
    pub fragment: Arc<dyn Fragment>,
}

/// A change of the catalog. Committed durably and seen by every core before it is acknowledged.
#[derive(Clone, Debug)]
pub enum CatalogChange {
    /// A new table; `Error::TableExists` if the name is taken. Answers its id.
    CreateTable {
        /// Its name.
        name: String,
        /// Its columns and key.
        schema: TableSchema,
    },
    /// Removes a table and its rows; `Error::TableMissing` if it is gone.
    DropTable(TableId),
    /// Removes all rows of a table; `Error::TableMissing` if it is gone.
    TruncateTable(TableId),
}

/// A set flag asks the statement that watches it to stop with `Error::Cancelled`.
pub type CancelFlag = Rc<std::cell::Cell<bool>>;

/// Names a session of this node for `CancelRequest` (PG 15, chapter 55.2.8). As `pid` on the wire: the core in the
/// upper 12 bits, a per-core number in the lower 20.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionId(pub u32);

/// A direction through keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyOrder {
    /// From the smallest on.
    Ascending,
    /// From the largest on.
    Descending,
}

/// What of a node may be read from any thread, also while an expression is evaluated.
pub trait NodeReadings: Send + Sync {
    /// Microseconds since the Unix epoch; never goes back.
    fn wall_clock_us(&self) -> i64;
    /// Messages that cores have sent to other cores since the node started.
    fn core_messages(&self) -> u64;
}

/// One core's way to all shards. Cheap to clone; not `Send`.
pub trait Router: Clone + 'static {
    /// A running transaction. Dropping one that is neither committed nor rolled back rolls it back.
    type Txn: Transaction;
    /// A running scan.
    type Cursor: Cursor;

    /// The newest catalog that this core has.
    fn catalog(&self) -> Arc<Catalog>;
    /// This core.
    fn core(&self) -> CoreId;
    /// Cores of this node.
    fn core_count(&self) -> u16;
    /// Microseconds since the Unix epoch.
    fn wall_clock_us(&self) -> i64;
    /// What may be read from any thread; the same on each call.
    fn readings(&self) -> Arc<dyn NodeReadings>;
    /// Microseconds since some start; never goes back.
    fn monotonic_us(&self) -> u64;
    /// A random number.
    fn random_u64(&self) -> u64;
    /// Between steps of work that takes long, each a quarter of a millisecond at most: all other work of the core goes
    /// first.
    fn give_way(&self) -> impl Future<Output = ()> + 'static;
    /// As [`Router::give_way`], of work that goes on as soon as all other work of the core had a turn: it is foreground
    /// work as they are, but takes long.
    fn take_turns(&self) -> impl Future<Output = ()> + 'static;
    /// The next `count` hidden row ids of a table without primary key; the first is returned, the rest follow it.
    /// Ids from different calls may lie in different ranges, so that loads use all cores.
    fn row_ids(&self, table: TableId, count: u32) -> i64;

    /// Begins a transaction whose snapshot holds everything acknowledged so far.
    fn begin(&self) -> Self::Txn;
    /// The row of this key with the given columns (indexes into the table's columns), encoded as `row` says.
    fn get(
        &self,
        table: TableId,
        view: ReadView,
        key: Key,
        columns: Arc<[usize]>,
    ) -> impl Future<Output = Result<Option<Row>>>;
    /// The full rows of these keys, in the order of the keys.
    fn get_many(
        &self,
        table: TableId,
        view: ReadView,
        keys: Vec<Key>,
    ) -> impl Future<Output = Result<Vec<Option<Row>>>>;
    /// Starts a scan.
    fn scan(&self, scan: Scan) -> Result<Self::Cursor>;
    /// Writes inside the transaction: checks conflicts and locks the keys now, becomes visible to others at commit.
    /// Keys within one batch are distinct. After an error the transaction must be rolled back.
    fn write(
        &self,
        txn: &mut Self::Txn,
        table: TableId,
        writes: WriteBatch,
    ) -> impl Future<Output = Result<()>>;
    /// As [`Router::write`], but may return before the shards have answered: what they refuse is reported by a later
    /// call for the transaction. For loads, which make the next batch meanwhile.
    fn write_behind(
        &self,
        txn: &mut Self::Txn,
        table: TableId,
        writes: WriteBatch,
    ) -> impl Future<Output = Result<()>> {
        self.write(txn, table, writes)
    }
    /// Makes the transaction's writes durable and visible, all or none.
    fn commit(&self, txn: Self::Txn) -> impl Future<Output = Result<()>>;
    /// `write` and `commit` in one: one message and one log record if all keys lie in one range.
    fn write_and_commit(
        &self,
        txn: Self::Txn,
        table: TableId,
        writes: WriteBatch,
    ) -> impl Future<Output = Result<()>>;
    /// Forgets the transaction's writes.
    fn rollback(&self, txn: Self::Txn) -> impl Future<Output = ()>;

    /// Changes the catalog; answers the id of the table.
    fn change_catalog(&self, change: CatalogChange) -> impl Future<Output = Result<TableId>>;
    /// Writes the memtables of one table, or of all, to disk on all cores. What an open transaction has written may stay in
    /// memory.
    fn checkpoint(&self, table: Option<TableId>) -> impl Future<Output = Result<()>>;
    /// Compacts one table, or all: drops versions that no snapshot can see.
    fn vacuum(&self, table: Option<TableId>) -> impl Future<Output = Result<()>>;
    /// Bytes that a table takes on disk in segments and, for what is not flushed yet, in memory.
    fn relation_size_bytes(&self, table: TableId) -> impl Future<Output = Result<u64>>;
    /// About how many rows of a table lie in disjoint spans of keys: what memory knows, without reading from disk.
    fn estimate_rows(&self, table: TableId, spans: Vec<KeySpan>) -> impl Future<Output = Result<u64>>;
    /// A new temporary file of this core.
    fn temporary_file(&self) -> impl Future<Output = Result<Rc<dyn TemporaryFile>>>;
    /// Opens a file of the machine whose folder may be read: 42501 if it may not, 58P01 if there is none.
    fn readable_file(&self, path: &str) -> impl Future<Output = Result<Rc<dyn ReadableFile>>>;
    /// A key that cuts a span of a table's keys so that the part that comes first in an order has about `rows` rows, and
    /// hardly fewer; `None` if the span has no more. Without reading from disk.
    fn cut_after(
        &self,
        table: TableId,
        span: KeySpan,
        rows: u64,
        order: KeyOrder,
    ) -> impl Future<Output = Result<Option<Key>>>;
    /// What is known about a table's rows in disjoint spans of keys and about its columns, without reading from disk.
    fn statistics(
        &self,
        table: TableId,
        spans: Vec<KeySpan>,
        filters: Vec<ColumnFilter>,
    ) -> impl Future<Output = Result<TableStatistics>>;

    /// Registers a session of this core; its flag is set by [`Router::cancel_session`] from any core.
    fn register_session(&self, secret: u32) -> (SessionId, CancelFlag);
    /// Forgets a session.
    fn unregister_session(&self, id: SessionId);
    /// Asks the session's running statement to stop, if the secret is right; says nothing otherwise.
    fn cancel_session(&self, id: SessionId, secret: u32);
}

/// A transaction as its session sees it.
pub trait Transaction {
    /// What its statements see.
    fn view(&self) -> ReadView;
    /// Sees from now on everything acknowledged so far (READ COMMITTED takes a new snapshot for each statement).
    fn refresh(&mut self);
    /// Whether it has written anything.
    fn has_written(&self) -> bool;
    /// Whether something is there of what it has written since it was last refreshed. If not, what failed since then can be
    /// done again on a newer snapshot.
    fn has_written_since_refresh(&self) -> bool;
}

/// What a scan took, summed over the ranges that have answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScanCounts {
    /// Visible rows that passed the filters and reached the fragment.
    pub rows: u64,
    /// Blocks of segments that were looked into.
    pub blocks_read: u64,
    /// Blocks that were left out because fences or models put their keys outside of the spans.
    pub blocks_outside: u64,
    /// Blocks that were left out by their zones.
    pub blocks_pruned: u64,
    /// Blocks of which it was enough to know how many rows they have.
    pub blocks_counted: u64,
    /// Bytes of the blocks that were looked into, as they are encoded.
    pub block_bytes: u64,
    /// Bytes that were read from disk, what was read ahead included.
    pub disk_bytes: u64,
    /// Bytes of the rows that went to the core that asked.
    pub moved_bytes: u64,
    /// Nanoseconds of work and of waiting for the disk, without those in which other work of the core went first.
    pub busy_ns: u64,
}

impl ScanCounts {
    /// Adds those of another part.
    pub fn add(&mut self, other: &ScanCounts) {
        *self = self.with(other, u64::wrapping_add);
    }

    /// What has come since `before`, which is a part of it.
    pub fn since(&self, before: &ScanCounts) -> ScanCounts {
        self.with(before, u64::wrapping_sub)
    }

    fn with(&self, other: &ScanCounts, of: fn(u64, u64) -> u64) -> ScanCounts {
        ScanCounts {
            rows: of(self.rows, other.rows),
            blocks_read: of(self.blocks_read, other.blocks_read),
            blocks_outside: of(self.blocks_outside, other.blocks_outside),
            blocks_pruned: of(self.blocks_pruned, other.blocks_pruned),
            blocks_counted: of(self.blocks_counted, other.blocks_counted),
            block_bytes: of(self.block_bytes, other.block_bytes),
            disk_bytes: of(self.disk_bytes, other.disk_bytes),
            moved_bytes: of(self.moved_bytes, other.moved_bytes),
            busy_ns: of(self.busy_ns, other.busy_ns),
        }
    }
}

/// A running scan. Dropping it ends it on all cores.
pub trait Cursor {
    /// The next batches from any core; an empty vector never comes; `None` when every core has finished.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<RecordBatch>>>>;
    /// What the scan took for the batches that have come.
    fn counts(&self) -> ScanCounts;
}
