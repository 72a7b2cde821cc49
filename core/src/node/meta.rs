//! Core 0 keeps the catalog: rows of the system range, one per table and one with counters. Changes are made one
//! after another: ranges are installed first, then the catalog's row is committed, then every core gets the new
//! snapshot. Ranges that no catalog names are dropped, so a change that fails half-way leaves nothing.
//!
//! | kind | id | body |
//! |---|---|---|
//! | 1 table | the table's | `catalog::format` |
//! | 2 counters | 0 | next table id u32, next range id u64, little-endian |

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int64Type};

use crate::catalog::format::{decode_table, encode_table};
use crate::catalog::{Catalog, Column, FIRST_USER_TABLE, RangeDescriptor, Table, TableSchema};
use crate::env::Env;
use crate::error::{Error, Result, ValueError};
use crate::fragment::{Flow, Fragment, FragmentRun};
use crate::id::{CoreId, RangeId, TableId, TxnId};
use crate::key::{Key, KeySpan};
use crate::learned::IndexKind;
use crate::router::{CatalogChange, ReadView};
use crate::row::RowBuilder;
use crate::shard::{NewRange, RangeImage, ScanId, ScanOpen, WriteMode, cut};
use crate::sync::{Signal, Turnstile};
use crate::types::{Datum, PgType};
use crate::write_batch::WriteBatch;

use super::message::{Reply, Request};
use super::router::first_row_id;
use super::{Local, placement, received};

/// The table of the catalog's own rows.
pub(super) const SYSTEM_TABLE: TableId = TableId(1);
/// Their range, on core 0.
pub(super) const SYSTEM_RANGE: RangeId = RangeId(1);
const TABLE: i16 = 1;
const COUNTERS: i16 = 2;

/// What core 0 needs to change the catalog; idle on the other cores.
#[derive(Default)]
pub(super) struct Meta {
    changing: Turnstile,
    counters: Cell<Option<Counters>>,
    /// Cores that have recovered.
    joined: Cell<u16>,
    join: Signal,
    snapshot: RefCell<Option<Arc<Catalog>>>,
}

/// Ids that were never used.
#[derive(Clone, Copy)]
struct Counters {
    table: u32,
    range: u64,
}

fn system_schema() -> TableSchema {
    let column = |name: &str, pg_type| Column {
        name: name.into(),
        pg_type,
        not_null: true,
        default: None,
        hidden: false,
    };
    TableSchema {
        columns: vec![
            column("kind", PgType::Int2),
            column("id", PgType::Int8),
            column("body", PgType::Bytea),
        ],
        key: vec![0, 1],
        key_name: Some("omen_catalog_pkey".into()),
        index: IndexKind::Auto,
    }
}

impl<E: Env> Local<E> {
    /// Reads the catalog from the system range, which is made if this is the first start.
    pub(super) async fn load_catalog(self: &Rc<Self>) -> Result<()> {
        let new = NewRange {
            id: SYSTEM_RANGE,
            table: SYSTEM_TABLE,
            schema: Arc::new(system_schema()),
            span: KeySpan::all(),
        };
        self.shard.install_range(new, RangeImage::default()).await?;
        let open = ScanOpen {
            id: ScanId { reader: self.core, number: u64::MAX },
            ranges: vec![(SYSTEM_RANGE, vec![KeySpan::all()])],
            view: self.system_view(),
            fragment: Arc::new(EveryRow([0, 1, 2])),
        };
        let id = open.id;
        let mut counters = Counters { table: FIRST_USER_TABLE.0, range: SYSTEM_RANGE.0 + 1 };
        let mut catalog = Catalog::default();
        let mut part = self.shard.open_scan(open).await?;
        loop {
            for batch in &part.batches {
                catalog = read_rows(batch, catalog, &mut counters)?;
            }
            if part.done {
                break;
            }
            part = self.shard.next_scan(id).await?;
        }
        self.meta.counters.set(Some(counters));
        self.meta.snapshot.replace(Some(Arc::new(catalog)));
        self.meta.join.notify();
        Ok(())
    }

    /// Answers a core that has recovered once all have and the catalog is read.
    pub(super) async fn admit_core(&self) -> Arc<Catalog> {
        self.meta.joined.set(self.meta.joined.get() + 1);
        self.meta.join.notify();
        loop {
            let seen = self.meta.join.epoch();
            let snapshot = self.meta.snapshot.borrow().clone();
            if let Some(catalog) = snapshot.filter(|_| self.meta.joined.get() == self.outbox.core_count()) {
                return catalog;
            }
            self.meta.join.changed(seen).await;
        }
    }

    /// Makes one change; every core has the new catalog when this returns.
    pub(super) async fn change(self: &Rc<Self>, change: CatalogChange) -> Result<TableId> {
        let _turn = self.meta.changing.enter().await;
        match change {
            CatalogChange::CreateTable { name, schema } => self.create_table(name, schema).await,
            CatalogChange::DropTable(id) => {
                let catalog = self.current();
                let table = catalog.table(id).ok_or(Error::TableMissing { table: id })?;
                let mut batch = WriteBatch::new();
                batch.delete(&row_key(TABLE, i64::from(table.id.0))?);
                self.commit_catalog(batch, catalog.without_table(id)).await?;
                Ok(id)
            }
            CatalogChange::TruncateTable(id) => {
                let catalog = self.current();
                let table = catalog.table(id).ok_or(Error::TableMissing { table: id })?;
                let mut next = Table::clone(table);
                next.ranges = self.install_empty(&next).await?;
                self.replace_table(next).await?;
                Ok(id)
            }
        }
    }

    async fn create_table(self: &Rc<Self>, name: String, schema: TableSchema) -> Result<TableId> {
        let catalog = self.current();
        if catalog.table_named(&name).is_some() {
            return Err(Error::TableExists { name });
        }
        let mut counters = self.counters();
        let id = TableId(counters.table);
        counters.table += 1;
        self.meta.counters.set(Some(counters));
        let mut table = Table { id, name, schema: Arc::new(schema), ranges: Vec::new() };
        table.ranges = self.install_empty(&table).await?;
        let mut batch = WriteBatch::new();
        batch.insert(&row_key(TABLE, i64::from(id.0))?, &table_row(&table)?);
        self.commit_catalog(batch, catalog.with_table(table)).await?;
        Ok(id)
    }

    /// Empty ranges for a table: one, or one per core if its rows get hidden ids.
    async fn install_empty(self: &Rc<Self>, table: &Table) -> Result<Vec<RangeDescriptor>> {
        let core_count = self.outbox.core_count();
        let mut points = Vec::new();
        let mut first_core =
            CoreId(u16::try_from(table.id.0 % u32::from(core_count)).expect("below core_count"));
        if table.schema.has_hidden_key() {
            first_core = CoreId(0);
            for core in 1..core_count {
                points.push(Key::of(&[Datum::Int8(first_row_id(CoreId(core)))])?);
            }
        }
        let spans = cut(&KeySpan::all(), &points);
        let cores = (0..spans.len()).map(|part| CoreId((first_core.0 + part as u16) % core_count));
        let parts = spans.into_iter().zip(cores).collect();
        self.install(table, parts, &RangeImage::default()).await
    }

    /// Installs a range with the rows of `image` for each span on its core.
    async fn install(
        self: &Rc<Self>,
        table: &Table,
        parts: Vec<(KeySpan, CoreId)>,
        image: &RangeImage,
    ) -> Result<Vec<RangeDescriptor>> {
        let mut counters = self.counters();
        let mut ranges = Vec::with_capacity(parts.len());
        for (span, core) in parts {
            ranges.push(RangeDescriptor { id: RangeId(counters.range), span, core });
            counters.range += 1;
        }
        self.meta.counters.set(Some(counters));
        // Ids are used up before any range has one: a range that a crash leaves behind never meets its double.
        self.save_counters().await?;
        let calls: Vec<_> = ranges
            .iter()
            .map(|range| {
                let new = NewRange {
                    id: range.id,
                    table: table.id,
                    schema: table.schema.clone(),
                    span: range.span.clone(),
                };
                self.start_call(range.core, Request::InstallRange(Box::new(new), image.clone()))
            })
            .collect();
        let mut installed = Ok(());
        for call in calls {
            installed = installed.and(received(call).await.map(drop));
        }
        installed.map(|()| ranges)
    }

    /// Cuts a range that has grown and spreads the parts over the cores.
    pub(super) async fn split(self: &Rc<Self>, id: RangeId) -> Result<()> {
        let _turn = self.meta.changing.enter().await;
        self.catalog_is_read().await;
        let catalog = self.current();
        let holds = |table: &&Arc<Table>| table.ranges.iter().any(|range| range.id == id);
        let Some(table) = catalog.tables().find(holds) else { return Ok(()) };
        let index = table.ranges.iter().position(|range| range.id == id).expect("found above");
        let owner = table.ranges[index].core;
        let rows = self.rows_beside(table, id).await?;
        let own_rows = self.estimate_on(owner, vec![id], [KeySpan::all()].into()).await?;
        let parts = placement::parts(own_rows, &rows, table.ranges.len(), self.shard.split_rows());
        let split = self.split_into(table, index, parts, own_rows, rows).await;
        if !matches!(split, Ok(true) | Err(Error::Busy)) {
            self.call(owner, Request::EndHandover(id)).await?;
        }
        split.map(drop)
    }

    /// Answers whether the range was cut.
    async fn split_into(
        self: &Rc<Self>,
        table: &Table,
        index: usize,
        parts: usize,
        own_rows: u64,
        mut rows: Vec<u64>,
    ) -> Result<bool> {
        if parts < 2 {
            return Ok(false);
        }
        let old = &table.ranges[index];
        let Reply::Plan(plan) = self.call(old.core, Request::BeginHandover(old.id, parts)).await? else {
            unreachable!("a hand-over is answered by a plan");
        };
        if plan.points.is_empty() {
            return Ok(false);
        }
        let spans = cut(&old.span, &plan.points);
        let rows_each = own_rows / spans.len() as u64;
        let cores = placement::place(spans.len(), rows_each, &mut rows);
        let spans = spans.into_iter().zip(cores);
        let ranges = self.install(table, spans.collect(), &plan.image).await?;
        let mut next = table.clone();
        next.ranges.splice(index..=index, ranges);
        self.replace_table(next).await?;
        Ok(true)
    }

    /// About how many rows of a table each core has, but for those of one range.
    async fn rows_beside(self: &Rc<Self>, table: &Table, without: RangeId) -> Result<Vec<u64>> {
        let mut rows = Vec::new();
        for core in self.cores() {
            let others = table.ranges.iter().filter(|range| range.core == core && range.id != without);
            let others = others.map(|range| range.id).collect();
            rows.push(self.estimate_on(core, others, [KeySpan::all()].into()).await?);
        }
        Ok(rows)
    }

    async fn replace_table(self: &Rc<Self>, table: Table) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.update(&row_key(TABLE, i64::from(table.id.0))?, &table_row(&table)?);
        let next = self.current().with_table(table);
        self.commit_catalog(batch, next).await
    }

    /// Commits the rows, then gives every core the new catalog.
    async fn commit_catalog(self: &Rc<Self>, batch: WriteBatch, next: Catalog) -> Result<()> {
        self.shard.write(SYSTEM_RANGE, self.system_view(), &batch, WriteMode::Commit).await?;
        let next = Arc::new(next);
        self.meta.snapshot.replace(Some(next.clone()));
        self.call_all(|| Request::InstallCatalog(next.clone())).await.map(drop)
    }

    async fn save_counters(&self) -> Result<()> {
        let counters = self.counters();
        let mut body = counters.table.to_le_bytes().to_vec();
        body.extend_from_slice(&counters.range.to_le_bytes());
        let key = row_key(COUNTERS, 0)?;
        let row = system_row(COUNTERS, 0, body)?;
        let view = self.system_view();
        let exists = self.shard.get(SYSTEM_RANGE, view, &key, &[]).await?.is_some();
        let mut batch = WriteBatch::new();
        match exists {
            true => batch.update(&key, &row),
            false => batch.insert(&key, &row),
        }
        self.shard.write(SYSTEM_RANGE, view, &batch, WriteMode::Commit).await
    }

    /// A core that has recovered early may ask for a split before core 0 knows its tables.
    async fn catalog_is_read(&self) {
        loop {
            let seen = self.meta.join.epoch();
            if self.meta.snapshot.borrow().is_some() {
                return;
            }
            self.meta.join.changed(seen).await;
        }
    }

    fn current(&self) -> Arc<Catalog> {
        self.meta.snapshot.borrow().clone().expect("the catalog is read before changes are served")
    }

    fn counters(&self) -> Counters {
        self.meta.counters.get().expect("the catalog is read before changes are served")
    }

    /// Changes of the catalog follow each other, so they all see everything and need no transaction of their own.
    fn system_view(&self) -> ReadView {
        ReadView { snapshot: self.now(), txn: TxnId(0) }
    }
}

fn row_key(kind: i16, id: i64) -> Result<Key> {
    Ok(Key::of(&[Datum::Int2(kind), Datum::Int8(id)])?)
}

fn system_row(kind: i16, id: i64, body: Vec<u8>) -> Result<crate::row::Row> {
    let values = [Datum::Int2(kind), Datum::Int8(id), Datum::Bytea(body.into())];
    Ok(RowBuilder::default().row(&values)?)
}

fn table_row(table: &Table) -> Result<crate::row::Row> {
    system_row(TABLE, i64::from(table.id.0), encode_table(table))
}

fn read_rows(batch: &RecordBatch, mut catalog: Catalog, counters: &mut Counters) -> Result<Catalog> {
    let kinds = batch.column(0).as_primitive::<Int16Type>();
    let ids = batch.column(1).as_primitive::<Int64Type>();
    let bodies = batch.column(2).as_binary::<i32>();
    let corrupt = || Error::Corrupt { place: "catalog".into(), detail: "unknown row".into() };
    for row in 0..kinds.len() {
        match kinds.value(row) {
            TABLE => {
                let id = TableId(u32::try_from(ids.value(row)).map_err(|_| corrupt())?);
                counters.table = counters.table.max(id.0 + 1);
                catalog = catalog.with_table(decode_table(id, bodies.value(row))?);
            }
            COUNTERS => {
                let (table, range) = bodies.value(row).split_first_chunk::<4>().ok_or_else(corrupt)?;
                counters.table = counters.table.max(u32::from_le_bytes(*table));
                counters.range = u64::from_le_bytes(range.try_into().map_err(|_| corrupt())?);
            }
            _ => return Err(corrupt()),
        }
    }
    Ok(catalog)
}

/// Hands over all rows as they are.
struct EveryRow([usize; 3]);

impl Fragment for EveryRow {
    fn columns(&self) -> &[usize] {
        &self.0
    }

    fn start(&self) -> Box<dyn FragmentRun> {
        Box::new(EveryRowRun)
    }
}

struct EveryRowRun;

impl FragmentRun for EveryRowRun {
    fn push(
        &mut self,
        batch: RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> std::result::Result<Flow, ValueError> {
        out.push(batch);
        Ok(Flow::More)
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> std::result::Result<(), ValueError> {
        Ok(())
    }
}
