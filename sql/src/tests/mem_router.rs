//! A router without an engine: versions in ordered maps, three ranges per table on two imagined cores, small batches.
//! Locks are not waited for: who meets one fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;

use arrow_array::RecordBatch;
use omen_core::catalog::{Catalog, FIRST_USER_TABLE, RangeDescriptor, Table, TableSchema};
use omen_core::clock::Timestamp;
use omen_core::filter::{ColumnFilter, accepts_row};
use omen_core::fragment::{Flow, FragmentRun};
use omen_core::id::{CoreId, RangeId, TableId, TxnId};
use omen_core::key::{Key, KeySpan};
use omen_core::readable::ReadableFile;
use omen_core::router::{
    CancelFlag, CatalogChange, Cursor, KeyOrder, NodeReadings, ReadView, Router, Scan, ScanCounts, SessionId,
    Transaction,
};
use omen_core::row::{Row, RowBuilder};
use omen_core::statistics::TableStatistics;
use omen_core::temporary::{Answer, Place, TemporaryFile};
use omen_core::types::PgType;
use omen_core::write_batch::{WriteBatch, WriteOp};
use omen_core::{Error, Result};

use crate::execute::rows::{batch_of_rows, datums_of};

/// Rows per batch: few, so that every script meets several batches.
const BATCH_ROWS: usize = 3;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Stamp {
    At(u64),
    By(u64),
    Never,
}

#[derive(Clone, Debug)]
struct Version {
    begin: Stamp,
    end: Stamp,
    row: Row,
}

#[derive(Default)]
struct State {
    catalog: Arc<Catalog>,
    rows: BTreeMap<TableId, BTreeMap<Vec<u8>, Vec<Version>>>,
    clock: u64,
    ids: u64,
    open: Vec<u64>,
    elapsed_us: u64,
}

/// What passes while a lock is waited for in vain.
const LOCK_TIMEOUT_US: u64 = 10_000_000;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct MemRouter(Rc<RefCell<State>>);

impl MemRouter {
    pub(crate) fn new() -> MemRouter {
        let router = MemRouter::default();
        router.0.borrow_mut().clock = 1;
        router
    }

    /// Lets the monotonic clock go on.
    pub(crate) fn pass_time(&self, micros: u64) {
        self.0.borrow_mut().elapsed_us += micros;
    }

    fn id(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.ids += 1;
        state.ids
    }
}

fn sees(view: ReadView, version: &Version) -> bool {
    let is_past = |stamp: Stamp| match stamp {
        Stamp::At(at) => at <= view.snapshot.0,
        Stamp::By(txn) => txn == view.txn.0,
        Stamp::Never => false,
    };
    is_past(version.begin) && !is_past(version.end)
}

/// A transaction of the test double.
pub(crate) struct MemTxn {
    router: MemRouter,
    view: ReadView,
    wrote: Cell<bool>,
}

impl Transaction for MemTxn {
    fn view(&self) -> ReadView {
        self.view
    }
    fn refresh(&mut self) {
        self.view.snapshot = Timestamp(self.router.0.borrow().clock);
    }
    fn has_written(&self) -> bool {
        self.wrote.get()
    }
    fn has_written_since_refresh(&self) -> bool {
        self.wrote.get()
    }
}

impl MemTxn {
    fn end(&self, commit: bool) {
        let mut state = self.router.0.borrow_mut();
        let id = self.view.txn.0;
        if !state.open.contains(&id) {
            return;
        }
        state.open.retain(|open| *open != id);
        if commit {
            state.clock += 1;
        }
        let at = Stamp::At(state.clock);
        for versions in state.rows.values_mut().flat_map(BTreeMap::values_mut) {
            if !commit {
                versions.retain(|version| version.begin != Stamp::By(id));
            }
            for version in versions {
                if version.begin == Stamp::By(id) {
                    version.begin = at;
                }
                if version.end == Stamp::By(id) {
                    version.end = if commit { at } else { Stamp::Never };
                }
            }
        }
    }
}

impl Drop for MemTxn {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// A scan that is done already; hands out what it found.
pub(crate) struct MemCursor(Vec<Vec<RecordBatch>>, ScanCounts);

impl Cursor for MemCursor {
    async fn next(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        Ok(self.0.pop())
    }

    fn counts(&self) -> ScanCounts {
        self.1
    }
}

fn types_of(schema: &TableSchema) -> Vec<PgType> {
    schema.columns.iter().map(|column| column.pg_type).collect()
}

impl State {
    fn table(&self, id: TableId) -> Result<Arc<Table>> {
        self.catalog.table(id).cloned().ok_or(Error::TableMissing { table: id })
    }

    fn find(&self, table: TableId, view: ReadView, key: &[u8]) -> Option<Row> {
        let versions = self.rows.get(&table)?.get(key)?;
        versions.iter().find(|version| sees(view, version)).map(|version| version.row.clone())
    }

    fn write(&mut self, view: ReadView, table: TableId, batch: &WriteBatch) -> Result<()> {
        let txn = view.txn;
        for write in batch.iter() {
            let key = Key::from_bytes(write.key);
            let versions = self.rows.entry(table).or_default().entry(write.key.to_vec()).or_default();
            let foreign = |stamp: Stamp| matches!(stamp, Stamp::By(other) if other != txn.0);
            let newer = |stamp: Stamp| matches!(stamp, Stamp::At(at) if at > view.snapshot.0);
            if versions.iter().any(|version| foreign(version.begin) || foreign(version.end)) {
                self.elapsed_us += LOCK_TIMEOUT_US;
                return Err(Error::WriteConflict { table, key });
            }
            let live = versions.iter().position(|version| version.end == Stamp::Never);
            match (write.op, live) {
                (WriteOp::Insert, Some(_)) => return Err(Error::DuplicateKey { table, key }),
                (WriteOp::Insert, None) => {}
                (_, None) => return Err(Error::WriteConflict { table, key }),
                (_, Some(live)) => {
                    if newer(versions[live].begin) {
                        return Err(Error::WriteConflict { table, key });
                    }
                    versions[live].end = Stamp::By(txn.0);
                }
            }
            if write.op != WriteOp::Delete {
                versions.push(Version { begin: Stamp::By(txn.0), end: Stamp::Never, row: write.row.into() });
            }
        }
        Ok(())
    }

    fn scan(&self, scan: &Scan) -> Result<(Vec<Vec<RecordBatch>>, ScanCounts)> {
        let table = self.table(scan.table)?;
        let types = types_of(&table.schema);
        let mut found = Vec::new();
        let mut counts = ScanCounts::default();
        for range in &table.ranges {
            let spans: Vec<KeySpan> =
                scan.spans.iter().filter_map(|span| span.intersect(&range.span)).collect();
            if spans.is_empty() {
                continue;
            }
            let mut run: Box<dyn FragmentRun> = scan.fragment.start();
            let mut out = Vec::new();
            let rows: Vec<&Row> = self
                .rows
                .get(&scan.table)
                .into_iter()
                .flatten()
                .filter(|(key, _)| spans.iter().any(|span| span.contains(key)))
                .filter_map(|(_, versions)| versions.iter().find(|version| sees(scan.view, version)))
                .map(|version| &version.row)
                .filter(|row| accepts_row(scan.fragment.filters(), &table.schema, row).expect("valid rows"))
                .collect();
            counts.rows += rows.len() as u64;
            for rows in rows.chunks(BATCH_ROWS) {
                let batch = batch_of_rows(&types, scan.fragment.columns(), rows.iter().map(|row| &***row));
                if run.push(batch.expect("valid rows"), &mut out)? == Flow::Done {
                    break;
                }
            }
            run.finish(&mut out)?;
            if !out.is_empty() {
                found.push(out);
            }
        }
        Ok((found, counts))
    }
}

/// A time that goes on by a microsecond whenever somebody looks.
struct Looked(AtomicI64);

impl NodeReadings for Looked {
    fn wall_clock_us(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
    fn core_messages(&self) -> u64 {
        0
    }
}

impl Router for MemRouter {
    type Txn = MemTxn;
    type Cursor = MemCursor;

    fn catalog(&self) -> Arc<Catalog> {
        self.0.borrow().catalog.clone()
    }
    fn core(&self) -> CoreId {
        CoreId(0)
    }
    fn core_count(&self) -> u16 {
        2
    }
    fn wall_clock_us(&self) -> i64 {
        1_700_000_000_000_000 + self.0.borrow().clock.cast_signed()
    }
    fn readings(&self) -> Arc<dyn NodeReadings> {
        Arc::new(Looked(self.wall_clock_us().into()))
    }
    fn monotonic_us(&self) -> u64 {
        self.0.borrow().elapsed_us
    }
    fn give_way(&self) -> impl Future<Output = ()> + 'static {
        let mut gave = false;
        poll_fn(move |context| {
            if std::mem::replace(&mut gave, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    fn take_turns(&self) -> impl Future<Output = ()> + 'static {
        self.give_way()
    }
    fn random_u64(&self) -> u64 {
        self.id().wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
    fn row_ids(&self, _table: TableId, count: u32) -> i64 {
        let mut state = self.0.borrow_mut();
        state.ids += u64::from(count);
        (state.ids - u64::from(count) + 1).cast_signed()
    }
    fn begin(&self) -> MemTxn {
        let id = self.id();
        self.0.borrow_mut().open.push(id);
        let view = ReadView { snapshot: Timestamp(self.0.borrow().clock), txn: TxnId(id) };
        MemTxn { router: self.clone(), view, wrote: Cell::new(false) }
    }
    async fn get(
        &self,
        table: TableId,
        view: ReadView,
        key: Key,
        columns: Arc<[usize]>,
    ) -> Result<Option<Row>> {
        let state = self.0.borrow();
        let types = types_of(&state.table(table)?.schema);
        Ok(state.find(table, view, &key).map(|row| {
            let values = datums_of(&types, &row).expect("valid row");
            let values: Vec<_> = columns.iter().map(|column| values[*column].clone()).collect();
            RowBuilder::default().row(&values).expect("small row")
        }))
    }
    async fn get_many(&self, table: TableId, view: ReadView, keys: Vec<Key>) -> Result<Vec<Option<Row>>> {
        let state = self.0.borrow();
        Ok(keys.iter().map(|key| state.find(table, view, key)).collect())
    }
    fn scan(&self, scan: Scan) -> Result<MemCursor> {
        let (mut found, counts) = self.0.borrow().scan(&scan)?;
        found.reverse();
        Ok(MemCursor(found, counts))
    }
    async fn write(&self, txn: &mut MemTxn, table: TableId, writes: WriteBatch) -> Result<()> {
        txn.wrote.set(true);
        let mut state = self.0.borrow_mut();
        state.table(table)?;
        state.write(txn.view, table, &writes)
    }
    async fn readable_file(&self, path: &str) -> Result<Rc<dyn ReadableFile>> {
        Err(omen_core::readable::denied(path))
    }

    async fn temporary_file(&self) -> Result<Rc<dyn TemporaryFile>> {
        Ok(Rc::new(MemFile::default()))
    }
    async fn commit(&self, txn: MemTxn) -> Result<()> {
        txn.end(true);
        Ok(())
    }
    async fn write_and_commit(&self, mut txn: MemTxn, table: TableId, writes: WriteBatch) -> Result<()> {
        self.write(&mut txn, table, writes).await?;
        self.commit(txn).await
    }
    async fn rollback(&self, txn: MemTxn) {
        drop(txn);
    }
    async fn change_catalog(&self, change: CatalogChange) -> Result<TableId> {
        let id = self.id();
        let mut state = self.0.borrow_mut();
        match change {
            CatalogChange::CreateTable { name, schema } => {
                if state.catalog.table_named(&name).is_some() {
                    return Err(Error::TableExists { name });
                }
                let id = TableId(FIRST_USER_TABLE.0 + u32::try_from(id).expect("few tables"));
                // In the middle of small positive int4 and int8 keys; other keys lie in one or two ranges.
                let cuts = [Key::from_bytes(&[0x80, 0, 0, 3]), Key::from_bytes(&[0x80, 0, 0, 200])];
                let starts = std::iter::once(Key::default()).chain(cuts.iter().cloned());
                let ends = cuts.iter().cloned().map(Some).chain([None]);
                let ranges = starts.zip(ends).enumerate().map(|(number, (start, end))| RangeDescriptor {
                    id: RangeId(u64::from(id.0) * 10 + number as u64),
                    span: KeySpan { start, end },
                    core: CoreId((number % 2) as u16),
                });
                let table = Table { id, name, schema: Arc::new(schema), ranges: ranges.collect() };
                state.catalog = Arc::new(state.catalog.with_table(table));
                Ok(id)
            }
            CatalogChange::DropTable(id) => {
                state.table(id)?;
                state.catalog = Arc::new(state.catalog.without_table(id));
                state.rows.remove(&id);
                Ok(id)
            }
            CatalogChange::TruncateTable(id) => {
                state.table(id)?;
                state.rows.remove(&id);
                Ok(id)
            }
        }
    }
    async fn checkpoint(&self, _table: Option<TableId>) -> Result<()> {
        Ok(())
    }
    async fn vacuum(&self, _table: Option<TableId>) -> Result<()> {
        Ok(())
    }
    async fn relation_size_bytes(&self, table: TableId) -> Result<u64> {
        let state = self.0.borrow();
        let versions = state.rows.get(&table).into_iter().flatten().flat_map(|(_, versions)| versions);
        Ok(versions.map(|version| version.row.len() as u64).sum())
    }
    async fn estimate_rows(&self, table: TableId, spans: Vec<KeySpan>) -> Result<u64> {
        let state = self.0.borrow();
        let keys = state.rows.get(&table).into_iter().flat_map(BTreeMap::keys);
        Ok(keys.filter(|key| spans.iter().any(|span| span.contains(key))).count() as u64)
    }
    async fn cut_after(
        &self,
        table: TableId,
        span: KeySpan,
        rows: u64,
        order: KeyOrder,
    ) -> Result<Option<Key>> {
        let state = self.0.borrow();
        let mut keys: Vec<&Vec<u8>> = state.rows.get(&table).into_iter().flat_map(BTreeMap::keys).collect();
        keys.retain(|key| span.contains(key) && ***key != *span.start);
        if order == KeyOrder::Descending {
            keys.reverse();
        }
        let place = if order == KeyOrder::Descending { rows.saturating_sub(1) } else { rows };
        Ok(keys.get(place as usize).map(|key| Key::from_bytes(key)))
    }
    async fn statistics(
        &self,
        table: TableId,
        spans: Vec<KeySpan>,
        _filters: Vec<ColumnFilter>,
    ) -> Result<TableStatistics> {
        let rows = self.estimate_rows(table, spans).await? as f64;
        Ok(TableStatistics { rows, ..TableStatistics::default() })
    }
    fn register_session(&self, _secret: u32) -> (SessionId, CancelFlag) {
        (SessionId(1), CancelFlag::default())
    }
    fn unregister_session(&self, _id: SessionId) {}
    fn cancel_session(&self, _id: SessionId, _secret: u32) {}
}

/// A temporary file in memory.
#[derive(Default)]
pub(crate) struct MemFile(RefCell<Vec<(Place, Vec<u8>)>>);

impl TemporaryFile for MemFile {
    fn append<'a>(&'a self, piece: &'a [u8]) -> Answer<'a, Place> {
        let mut pieces = self.0.borrow_mut();
        let offset = pieces.last().map_or(0, |(place, _)| place.offset() + place.file_bytes());
        let place = Place::new(offset, piece);
        pieces.push((place, piece.to_vec()));
        Box::pin(async move { Ok(place) })
    }

    fn read(&self, place: Place) -> Answer<'_, Vec<u8>> {
        let pieces = self.0.borrow();
        let (_, piece) = pieces.iter().find(|(known, _)| *known == place).expect("it was written");
        let piece = piece.clone();
        Box::pin(async move { Ok(piece) })
    }
}
