//! `Router` of one core: finds the owner of every key and asks it, again if the range has moved meanwhile.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{Catalog, Table};
use crate::env::{Env, SharedClock};
use crate::error::{Error, Result};
use crate::filter::ColumnFilter;
use crate::id::{CoreId, RangeId, TableId};
use crate::key::{Key, KeySpan, prefix64};
use crate::mesh::MessageCount;
use crate::readable::{self, ReadableFile};
use crate::router::{
    CancelFlag, CatalogChange, KeyOrder, NodeReadings, ReadView, Router, Scan, SessionId, Transaction,
};
use crate::row::Row;
use crate::shard::WriteMode;
use crate::statistics::TableStatistics;
use crate::temporary::TemporaryFile;
use crate::write_batch::WriteBatch;

use super::message::{Notice, Reply, Request};
use super::meta::SYSTEM_RANGE;
use super::transaction::Sent;
use super::{Local, META_CORE, NodeCore, NodeCursor, NodeTxn, received};

/// Bytes of changes that travel in one message; larger batches are cut.
const WRITE_BYTES: usize = 4 << 20;
/// Writes of one transaction that may be under way while its session makes the next.
const BEHIND_MAX: usize = 4;
/// How often a request follows a range that moves, waiting a little longer each time: 10 s in all.
const MOVES_MAX: u32 = 210;
const MOVE_PAUSE_MAX: Duration = Duration::from_millis(50);
/// Bits of the row id below the core that hands it out, and below the core that owns its range.
const ROW_ID_NUMBER_BITS: u32 = 49;
const ROW_ID_CORE_BITS: u32 = 7;

/// Counts how often one request met a range that had moved.
#[derive(Default)]
pub(super) struct Moves(u32);

/// First hidden row id of the range that `core` owns; a table without primary key has one range per core.
pub(super) fn first_row_id(core: CoreId) -> i64 {
    i64::from(core.0) << (ROW_ID_NUMBER_BITS + ROW_ID_CORE_BITS)
}

/// Whether the span holds every key.
fn is_within(batch: &WriteBatch, span: &KeySpan) -> bool {
    // Numbers decide for most keys.
    let start = prefix64(&span.start);
    let end = span.end.as_ref().map(|end| prefix64(end));
    batch.iter().all(|write| {
        let prefix = prefix64(write.key);
        start < prefix && end.is_none_or(|end| prefix < end) || span.contains(write.key)
    })
}

/// The part of a batch that one range takes.
struct Part {
    range: RangeId,
    core: CoreId,
    batch: Arc<WriteBatch>,
}

impl<E: Env> Local<E> {
    fn table(&self, table: TableId) -> Result<Arc<Table>> {
        self.catalog.borrow().table(table).cloned().ok_or(Error::TableMissing { table })
    }

    /// Waits for a newer catalog, or a little, before a request that found its range gone looks again.
    pub(super) async fn await_move(&self, moves: &mut Moves) -> Result<()> {
        moves.0 += 1;
        if moves.0 > MOVES_MAX {
            return Err(Error::RangeMoved);
        }
        let seen = self.catalog_changed.epoch();
        let pause = self.env.sleep(Duration::from_millis(u64::from(moves.0)).min(MOVE_PAUSE_MAX));
        futures_lite::future::or(self.catalog_changed.changed(seen), pause).await;
        Ok(())
    }

    /// The ranges of one table, or of all and the catalog's own, that are not among `done`, by the cores that own them.
    fn ranges_left(
        &self,
        table: Option<TableId>,
        done: &BTreeSet<RangeId>,
    ) -> BTreeMap<CoreId, Vec<RangeId>> {
        let mut left: BTreeMap<CoreId, Vec<RangeId>> = BTreeMap::new();
        let mut add = |core, range| {
            if !done.contains(&range) {
                left.entry(core).or_default().push(range);
            }
        };
        if table.is_none() {
            add(META_CORE, SYSTEM_RANGE);
        }
        let catalog = self.catalog.borrow();
        let tables = catalog.tables().filter(|other| table.is_none_or(|table| table == other.id));
        tables.flat_map(|table| &table.ranges).for_each(|range| add(range.core, range.id));
        left
    }

    /// Cuts a batch by the ranges that own its keys, and by size. What is cut is in order of keys.
    fn cut(&self, table: TableId, batch: WriteBatch) -> Result<Vec<Part>> {
        let table = self.table(table)?;
        let Some(first) = batch.iter().next() else { return Ok(Vec::new()) };
        let owner = table.range_of(first.key);
        let small = batch.as_bytes().len() <= WRITE_BYTES || batch.len() == 1;
        if small && is_within(&batch, &owner.span) {
            return Ok(vec![Part { range: owner.id, core: owner.core, batch: Arc::new(batch) }]);
        }
        let sorted = batch.sorted().map_err(|key| Error::DuplicateKey { table: table.id, key })?;
        let mut parts: Vec<Part> = Vec::new();
        let mut start = 0;
        while start < sorted.len() {
            let owner = table.range_of(sorted.key(start));
            let end = match &owner.span.end {
                Some(end) => sorted.end_below(start, end),
                None => sorted.len(),
            };
            for batch in sorted.pack(start..end, WRITE_BYTES) {
                parts.push(Part { range: owner.id, core: owner.core, batch: Arc::new(batch) });
            }
            start = end;
        }
        Ok(parts)
    }

    /// Sends a batch to the ranges that own its keys, as provisional changes of the transaction.
    pub(super) fn send_writes(
        self: &Rc<Self>,
        txn: &mut NodeTxn<E>,
        table: TableId,
        batch: WriteBatch,
    ) -> Result<()> {
        let parts = self.cut(table, batch)?;
        self.send_parts(txn, table, parts);
        Ok(())
    }

    fn send_parts(self: &Rc<Self>, txn: &mut NodeTxn<E>, table: TableId, parts: Vec<Part>) {
        let view = txn.view();
        for Part { range, core, batch } in parts {
            let request = Request::Write { range, view, batch: batch.clone(), mode: WriteMode::Stage };
            let answer = self.start_call(core, request);
            txn.sent(core, Sent { table, batch, answer });
        }
    }

    async fn stage(self: &Rc<Self>, txn: &mut NodeTxn<E>, table: TableId, batch: WriteBatch) -> Result<()> {
        txn.settle(0).await?;
        self.send_writes(txn, table, batch)?;
        txn.settle(0).await
    }

    async fn size_of(self: &Rc<Self>, table: &Table) -> Result<u64> {
        let mut total = 0;
        for core in self.cores() {
            let owned = table.ranges.iter().filter(|range| range.core == core);
            let ranges: Vec<_> = owned.map(|range| range.id).collect();
            if ranges.is_empty() {
                continue;
            }
            if let Reply::Bytes(bytes) = self.call(core, Request::SizeOf(ranges)).await? {
                total += bytes;
            }
        }
        Ok(total)
    }

    async fn estimate(self: &Rc<Self>, table: &Table, spans: Arc<[KeySpan]>) -> Result<u64> {
        let mut total = 0;
        for core in self.cores() {
            let owned = table.ranges.iter().filter(|range| range.core == core);
            let touched = owned.filter(|range| spans.iter().any(|span| range.span.intersect(span).is_some()));
            total += self.estimate_on(core, touched.map(|range| range.id).collect(), spans.clone()).await?;
        }
        Ok(total)
    }

    /// About how many rows these ranges of a core have in these spans.
    pub(super) async fn estimate_on(
        self: &Rc<Self>,
        core: CoreId,
        ranges: Vec<RangeId>,
        spans: Arc<[KeySpan]>,
    ) -> Result<u64> {
        if ranges.is_empty() {
            return Ok(0);
        }
        match self.call(core, Request::EstimateRows(ranges, spans)).await? {
            Reply::Count(rows) => Ok(rows),
            _ => unreachable!("an estimate is answered by a count"),
        }
    }
}

impl<E: Env> Local<E> {
    /// See [`Router::cut_after`]. Ranges are asked in the order, until one has enough rows.
    async fn cut_after(
        self: &Rc<Self>,
        table: &Table,
        span: KeySpan,
        mut rows: u64,
        order: KeyOrder,
    ) -> Result<Option<Key>> {
        let mut ranges: Vec<_> =
            table.ranges.iter().filter(|range| range.span.intersect(&span).is_some()).collect();
        if order == KeyOrder::Descending {
            ranges.reverse();
        }
        for (number, range) in ranges.iter().enumerate() {
            let request = Request::CutAfter(range.id, span.clone(), rows, order);
            let Reply::Cut(key, count) = self.call(range.core, request).await? else {
                unreachable!("a cut is answered by a key");
            };
            if key.is_some() {
                return Ok(key);
            }
            rows = rows.saturating_sub(count);
            // The border to the next range is a cut, too.
            if rows == 0 && number + 1 < ranges.len() {
                return Ok(match order {
                    KeyOrder::Ascending => range.span.end.clone(),
                    KeyOrder::Descending => Some(range.span.start.clone()),
                });
            }
        }
        Ok(None)
    }

    /// What the cores know about a table's rows in disjoint spans; all are asked at once.
    async fn statistics_of(
        self: &Rc<Self>,
        table: &Table,
        spans: Arc<[KeySpan]>,
        filters: Arc<[ColumnFilter]>,
    ) -> Result<TableStatistics> {
        let mut asked = Vec::new();
        for core in self.cores() {
            let owned = table.ranges.iter().filter(|range| range.core == core);
            let touched = owned.filter(|range| spans.iter().any(|span| range.span.intersect(span).is_some()));
            let ranges: Vec<_> = touched.map(|range| range.id).collect();
            if !ranges.is_empty() {
                let request = Request::Statistics(ranges, spans.clone(), filters.clone());
                asked.push(self.start_call(core, request));
            }
        }
        let mut all = TableStatistics::default();
        for reply in asked {
            if let Reply::Statistics(part) = received(reply).await? {
                all.merge(&part);
            }
        }
        Ok(all)
    }
}

/// What of this node may be read from any thread.
pub(super) struct Readings {
    pub(super) clock: SharedClock,
    pub(super) messages: MessageCount,
}

impl NodeReadings for Readings {
    fn wall_clock_us(&self) -> i64 {
        microseconds((self.clock)())
    }

    fn core_messages(&self) -> u64 {
        self.messages.total()
    }
}

fn microseconds(wall_clock_ns: u64) -> i64 {
    i64::try_from(wall_clock_ns / 1_000).expect("before the year 294246")
}

impl<E: Env> Router for NodeCore<E> {
    type Txn = NodeTxn<E>;
    type Cursor = NodeCursor<E>;

    fn catalog(&self) -> Arc<Catalog> {
        self.0.catalog.borrow().clone()
    }

    fn core(&self) -> CoreId {
        self.0.core
    }

    fn core_count(&self) -> u16 {
        self.0.outbox.core_count()
    }

    fn wall_clock_us(&self) -> i64 {
        microseconds(self.0.env.wall_clock_ns())
    }

    fn readings(&self) -> Arc<dyn NodeReadings> {
        self.0.readings.clone()
    }

    fn monotonic_us(&self) -> u64 {
        self.0.env.monotonic_ns() / 1_000
    }

    fn give_way(&self) -> impl Future<Output = ()> + 'static {
        self.0.env.give_way()
    }

    fn take_turns(&self) -> impl Future<Output = ()> + 'static {
        self.0.env.yield_now()
    }

    fn random_u64(&self) -> u64 {
        self.0.env.random_u64()
    }

    fn row_ids(&self, _table: TableId, count: u32) -> i64 {
        let node = &self.0;
        let mut owner = node.core;
        if count > 1 {
            owner = CoreId(node.row_id_core.get());
            node.row_id_core.set((owner.0 + 1) % self.core_count());
        }
        let number = node.take_numbers(u64::from(count));
        assert!(number < 1 << ROW_ID_NUMBER_BITS, "row ids of core {} are exhausted", node.core);
        let number = i64::try_from(number).expect("49 bits");
        first_row_id(owner) | i64::from(node.core.0) << ROW_ID_NUMBER_BITS | number
    }

    fn begin(&self) -> NodeTxn<E> {
        NodeTxn::begin(&self.0)
    }

    async fn get(
        &self,
        table: TableId,
        view: ReadView,
        key: Key,
        columns: Arc<[usize]>,
    ) -> Result<Option<Row>> {
        let node = &self.0;
        let mut moves = Moves::default();
        loop {
            let (range, core) = {
                let catalog = node.catalog.borrow();
                let table = catalog.table(table).ok_or(Error::TableMissing { table })?;
                let owner = table.range_of(&key);
                (owner.id, owner.core)
            };
            if core == node.core {
                match node.shard.try_get(range, view, &key, &columns) {
                    Some(Err(Error::RangeMoved)) => {
                        node.await_move(&mut moves).await?;
                        continue;
                    }
                    Some(row) => return row,
                    None => {}
                }
            }
            let request = Request::Get { range, view, key: key.clone(), columns: columns.clone() };
            match node.call(core, request).await {
                Ok(Reply::Row(row)) => return Ok(row),
                Ok(_) => unreachable!("a get is answered by a row"),
                Err(Error::RangeMoved) => node.await_move(&mut moves).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn get_many(&self, table: TableId, view: ReadView, keys: Vec<Key>) -> Result<Vec<Option<Row>>> {
        let node = &self.0;
        let mut rows: Vec<Option<Row>> = vec![None; keys.len()];
        let mut open: Vec<usize> = (0..keys.len()).collect();
        let mut moves = Moves::default();
        while !open.is_empty() {
            let description = node.table(table)?;
            let columns: Arc<[usize]> = (0..description.schema.columns.len()).collect();
            let mut by_range: Vec<(RangeId, CoreId, Vec<usize>)> = Vec::new();
            for index in open.drain(..) {
                let owner = description.range_of(&keys[index]);
                match by_range.iter_mut().find(|(range, ..)| *range == owner.id) {
                    Some((_, _, indexes)) => indexes.push(index),
                    None => by_range.push((owner.id, owner.core, vec![index])),
                }
            }
            let mut calls = Vec::with_capacity(by_range.len());
            for (range, core, indexes) in by_range {
                let keys = indexes.iter().map(|index| keys[*index].clone()).collect();
                let request = Request::GetMany { range, view, keys, columns: columns.clone() };
                calls.push((indexes, node.start_call(core, request)));
            }
            for (indexes, call) in calls {
                match received(call).await {
                    Ok(Reply::Rows(found)) => {
                        indexes.into_iter().zip(found).for_each(|(index, row)| rows[index] = row);
                    }
                    Ok(_) => unreachable!("a get of many is answered by rows"),
                    Err(Error::RangeMoved) => open.extend(indexes),
                    Err(error) => return Err(error),
                }
            }
            if !open.is_empty() {
                node.await_move(&mut moves).await?;
            }
        }
        Ok(rows)
    }

    fn scan(&self, scan: Scan) -> Result<NodeCursor<E>> {
        NodeCursor::open(&self.0, scan)
    }

    async fn write(&self, txn: &mut NodeTxn<E>, table: TableId, writes: WriteBatch) -> Result<()> {
        self.0.stage(txn, table, writes).await
    }

    async fn write_behind(&self, txn: &mut NodeTxn<E>, table: TableId, writes: WriteBatch) -> Result<()> {
        // Of large writes on a node of little memory fewer wait.
        let fitting = self.0.shard.log_buffer_bytes() / writes.as_bytes().len().max(1);
        txn.settle(fitting.clamp(1, BEHIND_MAX)).await?;
        self.0.send_writes(txn, table, writes)
    }

    async fn commit(&self, txn: NodeTxn<E>) -> Result<()> {
        txn.commit().await
    }

    async fn write_and_commit(&self, mut txn: NodeTxn<E>, table: TableId, writes: WriteBatch) -> Result<()> {
        let node = &self.0;
        let view = txn.view();
        let mut moves = Moves::default();
        let mut batch = writes;
        loop {
            let mut parts = node.cut(table, batch)?;
            if parts.len() > 1 || txn.has_written() {
                txn.settle(0).await?;
                node.send_parts(&mut txn, table, parts);
                return txn.commit().await;
            }
            let Some(Part { range, core, batch: part }) = parts.pop() else { return txn.commit().await };
            let mode = WriteMode::Commit;
            let written = match core == node.core {
                true => node.shard.write(range, view, &part, mode).await,
                false => {
                    let request = Request::Write { range, view, batch: part.clone(), mode };
                    node.call(core, request).await.map(drop)
                }
            };
            match written {
                Err(Error::RangeMoved) => node.await_move(&mut moves).await?,
                other => return other,
            }
            batch = Arc::unwrap_or_clone(part);
        }
    }

    async fn rollback(&self, txn: NodeTxn<E>) {
        drop(txn);
    }

    async fn change_catalog(&self, change: CatalogChange) -> Result<TableId> {
        match self.0.call(META_CORE, Request::ChangeCatalog(Box::new(change))).await? {
            Reply::Table(table) => Ok(table),
            _ => unreachable!("a change of the catalog is answered by a table"),
        }
    }

    async fn checkpoint(&self, table: Option<TableId>) -> Result<()> {
        self.0.call_all(|| Request::Checkpoint(table)).await.map(drop)
    }

    async fn vacuum(&self, table: Option<TableId>) -> Result<()> {
        let node = &self.0;
        let mut done = BTreeSet::new();
        let mut moves = Moves::default();
        loop {
            let rest = node.ranges_left(table, &done);
            if rest.is_empty() {
                return Ok(());
            }
            let asked: usize = rest.values().map(Vec::len).sum();
            let ask = |(core, ranges)| node.start_call(core, Request::Vacuum(ranges));
            let calls: Vec<_> = rest.into_iter().map(ask).collect();
            let before = done.len();
            for call in calls {
                match received(call).await? {
                    Reply::Vacuumed(ranges) => done.extend(ranges),
                    _ => unreachable!("VACUUM is answered by ranges"),
                }
            }
            // The others are being cut: the parts share the files of the whole until each has written its own.
            if done.len() - before < asked {
                node.await_move(&mut moves).await?;
            }
        }
    }

    async fn relation_size_bytes(&self, table: TableId) -> Result<u64> {
        let table = self.0.table(table)?;
        self.0.size_of(&table).await
    }

    async fn estimate_rows(&self, table: TableId, spans: Vec<KeySpan>) -> Result<u64> {
        let table = self.0.table(table)?;
        self.0.estimate(&table, spans.into()).await
    }

    async fn temporary_file(&self) -> Result<Rc<dyn TemporaryFile>> {
        self.0.temporary.create().await
    }

    async fn readable_file(&self, path: &str) -> Result<Rc<dyn ReadableFile>> {
        readable::open(&self.0.env, self.0.read_files_below.as_deref(), path).await
    }

    async fn cut_after(
        &self,
        table: TableId,
        span: KeySpan,
        rows: u64,
        order: KeyOrder,
    ) -> Result<Option<Key>> {
        let table = self.0.table(table)?;
        self.0.cut_after(&table, span, rows, order).await
    }

    async fn statistics(
        &self,
        table: TableId,
        spans: Vec<KeySpan>,
        filters: Vec<ColumnFilter>,
    ) -> Result<TableStatistics> {
        let table = self.0.table(table)?;
        self.0.statistics_of(&table, spans.into(), filters.into()).await
    }

    fn register_session(&self, secret: u32) -> (SessionId, CancelFlag) {
        let node = &self.0;
        let mut sessions = node.sessions.borrow_mut();
        let id = loop {
            let number = node.sessions_total.get();
            node.sessions_total.set(number.wrapping_add(1));
            let id = SessionId(u32::from(node.core.0) << 20 | number & 0xF_FFFF);
            if !sessions.contains_key(&id) {
                break id;
            }
        };
        let flag = CancelFlag::new(Cell::new(false));
        sessions.insert(id, (secret, flag.clone()));
        (id, flag)
    }

    fn unregister_session(&self, id: SessionId) {
        self.0.sessions.borrow_mut().remove(&id);
    }

    fn cancel_session(&self, id: SessionId, secret: u32) {
        let core = CoreId(u16::try_from(id.0 >> 20).expect("12 bits"));
        if core.0 < self.core_count() {
            self.0.notify(core, Notice::Cancel(id, secret));
        }
    }
}
