//! What cores of a node say to each other. All of it is owned: nothing here points into a core's state.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::filter::ColumnFilter;
use crate::id::{RangeId, TableId, TxnId};
use crate::key::{Key, KeySpan};
use crate::router::{CatalogChange, KeyOrder, ReadView, SessionId};
use crate::row::Row;
use crate::shard::{NewRange, RangeImage, ScanId, ScanOpen, ScanPart, SplitPlan, WriteMode};
use crate::statistics::TableStatistics;
use crate::write_batch::WriteBatch;

/// Names a request among those that its sender waits for.
pub type CallId = u32;

/// One message. Every one carries the sender's clock, so that what follows from it is later.
pub struct Message {
    /// The sender's clock when it was sent.
    pub clock: Timestamp,
    /// What it says.
    pub body: Body,
}

/// What a message says.
pub enum Body {
    /// Please do this and answer.
    Request(CallId, Request),
    /// The answer.
    Reply(CallId, Result<Reply>),
    /// Please do this; no answer.
    Notice(Notice),
}

/// A request to the core that owns what it names.
pub enum Request {
    /// Columns of one row.
    Get {
        /// Where the key lies.
        range: RangeId,
        /// What is visible.
        view: ReadView,
        /// Whose row.
        key: Key,
        /// Indexes of the wanted columns.
        columns: Arc<[usize]>,
    },
    /// Columns of several rows of one range.
    GetMany {
        /// Where the keys lie.
        range: RangeId,
        /// What is visible.
        view: ReadView,
        /// Whose rows.
        keys: Vec<Key>,
        /// Indexes of the wanted columns.
        columns: Arc<[usize]>,
    },
    /// Changes of one range.
    Write {
        /// Where the keys lie.
        range: RangeId,
        /// Whose changes, and what the transaction sees.
        view: ReadView,
        /// The changes.
        batch: Arc<WriteBatch>,
        /// What becomes of them.
        mode: WriteMode,
    },
    /// Commit of a transaction that has written on this core only.
    Commit(TxnId),
    /// First phase of a commit on several cores.
    Prepare(TxnId),
    /// Second phase.
    Resolve(TxnId, Option<Timestamp>),
    /// As coordinator: has it committed?
    Decision(TxnId),
    /// First part of a scan.
    OpenScan(Box<ScanOpen>),
    /// Next part of a scan.
    NextScan(ScanId),
    /// The oldest snapshot in use on the core.
    OldestSnapshot,
    /// A core has recovered. Answered by core 0 when all have.
    Join,
    /// The newest catalog.
    InstallCatalog(Arc<Catalog>),
    /// A new range, with its rows.
    InstallRange(Box<NewRange>, RangeImage),
    /// Stop writes to a range and get it ready to be cut into this many parts.
    BeginHandover(RangeId, usize),
    /// The hand-over has failed.
    EndHandover(RangeId),
    /// To core 0: change the catalog.
    ChangeCatalog(Box<CatalogChange>),
    /// To core 0: the range has grown.
    Split(RangeId),
    /// Flush one table or all.
    Checkpoint(Option<TableId>),
    /// Compact these ranges.
    Vacuum(Vec<RangeId>),
    /// Bytes of these ranges.
    SizeOf(Vec<RangeId>),
    /// About how many rows these ranges have in these spans.
    EstimateRows(Vec<RangeId>, Arc<[KeySpan]>),
    /// A key behind so many rows of a range in a span.
    CutAfter(RangeId, KeySpan, u64, KeyOrder),
    /// What is known about the rows that these ranges have in these spans.
    Statistics(Vec<RangeId>, Arc<[KeySpan]>, Arc<[ColumnFilter]>),
}

/// The answer to a request.
pub enum Reply {
    /// Done.
    Done,
    /// To `Get`.
    Row(Option<Row>),
    /// To `GetMany`, in the order of the keys.
    Rows(Vec<Option<Row>>),
    /// To `Prepare`, `Commit`, `OldestSnapshot`.
    At(Timestamp),
    /// To `Decision`.
    Outcome(Option<Timestamp>),
    /// To `OpenScan` and `NextScan`.
    Part(ScanPart),
    /// To `Join`.
    Catalog(Arc<Catalog>),
    /// To `BeginHandover`.
    Plan(Box<SplitPlan>),
    /// To `ChangeCatalog`.
    Table(TableId),
    /// To `Vacuum`: the ranges that were here and at rest.
    Vacuumed(Vec<RangeId>),
    /// To `SizeOf`.
    Bytes(u64),
    /// To `EstimateRows`.
    Count(u64),
    /// To `CutAfter`: without a key, how many rows there are.
    Cut(Option<Key>, u64),
    /// To `Statistics`.
    Statistics(Box<TableStatistics>),
}

/// A request that needs no answer.
pub enum Notice {
    /// The transaction has ended without commit; it had not prepared.
    Abort(TxnId),
    /// Nobody reads the scan any more.
    CloseScan(ScanId),
    /// Ask the session's statement to stop, if the secret is right.
    Cancel(SessionId, u32),
}
