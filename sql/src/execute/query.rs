//! Reading: a source, and the pipeline of the session's core behind it.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use omen_core::catalog::Table;
use omen_core::filter::ColumnFilter;
use omen_core::fragment::BATCH_ROWS;
use omen_core::key::{self, KEY_BYTES_MAX, Key, KeySpan};
use omen_core::router::{Cursor, ReadView, Router, Scan};
use omen_core::row::Row;
use omen_core::types::{Datum, PgType};

use super::errors::engine_error;
use super::join::RunningJoin;
use super::observed::{Observed, place};
use super::ordered_scan::Pieces;
use super::project_set::RunningSet;
use super::recursive::{RunningRecursive, RunningShared};
use super::rows::{array_of, batch_of_rows, types_of};
use super::set::RunningCombine;
use super::{Context, Watch};
use crate::error::Result;
use crate::expr::{EvalContext, Expr};
use crate::files::{self, RunningFile};
use crate::fragment::local::{Given, LocalRun};
use crate::fragment::{Pipeline, ScanFragment, Stage, batch_of, divide, schema_of};
use crate::physical::{PointRead, QueryPlan, ScanPlan, Source, Step};
use crate::route::{KeyFilter, Keys};

/// Rows that a running query gives.
pub(crate) enum Running<R: Router> {
    /// One row at most, as it is stored.
    Row(Option<Row>),
    /// Batches that are there already.
    Batches(VecDeque<RecordBatch>),
    /// A scan.
    Scan(Box<RunningScan<R>>),
    /// A file.
    File(Box<RunningFile<R>>),
    /// A join.
    Join(Box<RunningJoin<R>>),
    /// Functions that answer rows.
    Set(Box<RunningSet<R>>),
    /// A set operation.
    Combine(Box<RunningCombine<R>>),
    /// A query that reads its own rows.
    Recursive(Box<RunningRecursive<R>>),
    /// A table that parts of the statement share.
    Shared(Box<RunningShared<R>>),
}

/// A scan whose batches go through a pipeline.
pub(crate) struct RunningScan<R: Router> {
    cursor: Option<R::Cursor>,
    /// What to read once the cursor has given all, if the scan is read piece by piece.
    later: Option<Box<Later>>,
    pipeline: LocalRun,
    ready: VecDeque<RecordBatch>,
    watch: Watch<R>,
    /// A transaction that lasts as long as the scan.
    txn: Option<R::Txn>,
    /// Where the plan lies, and who wants to know what the scan takes.
    plan: usize,
    observed: Observed,
}

/// The rest of a scan that is read piece by piece.
struct Later {
    pieces: Pieces,
    table: Arc<Table>,
    view: ReadView,
    fragment: Arc<ScanFragment>,
}

impl<R: Router> Drop for RunningScan<R> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<R: Router> RunningScan<R> {
    /// The next batch; never an empty one.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.pipeline.next().await? {
                Given::Batch(batch) => return Ok(Some(batch)),
                Given::End => {
                    self.end();
                    return Ok(None);
                }
                Given::Input => {}
            }
            if let Some(batch) = self.ready.pop_front() {
                self.pipeline.push(batch);
            } else {
                self.watch.check()?;
                match &mut self.cursor {
                    Some(cursor) => match cursor.next().await? {
                        Some(batches) => {
                            if let Some(later) = &mut self.later {
                                batches.iter().for_each(|batch| later.pieces.count(batch.num_rows()));
                            }
                            self.ready.extend(batches);
                        }
                        None => self.next_piece().await?,
                    },
                    None => self.pipeline.end(),
                }
            }
            if self.pipeline.has_ended() {
                self.end();
            }
        }
    }

    /// Goes on behind what the cursor has given.
    async fn next_piece(&mut self) -> Result<()> {
        let Some(later) = &mut self.later else {
            self.pipeline.end();
            return Ok(());
        };
        let Some(span) = later.pieces.next(self.watch.router(), &later.table).await? else {
            self.pipeline.end();
            return Ok(());
        };
        if let Some(cursor) = self.cursor.take() {
            self.observed.add_scan(self.plan, &cursor.counts());
        }
        let cursor = open(self.watch.router(), &later.table, later.view, vec![span], later.fragment.clone())?;
        self.cursor = Some(cursor);
        Ok(())
    }

    fn end(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            self.observed.add_scan(self.plan, &cursor.counts());
        }
        self.later = None;
        self.txn = None;
        self.ready.clear();
    }
}

/// What a query reads with.
pub(crate) struct Reader<'a, R: Router> {
    /// The way to the shards.
    pub(crate) router: &'a R,
    /// What is seen.
    pub(crate) view: ReadView,
    /// What expressions read.
    pub(crate) context: &'a Context<'a>,
    /// When to stop.
    pub(crate) watch: &'a Watch<R>,
}

impl<R: Router> Reader<'_, R> {
    /// Starts a query. `txn` is kept as long as rows are to come.
    ///
    /// # Errors
    /// All that evaluation and the engine report.
    pub(crate) async fn start(&self, plan: &QueryPlan, txn: Option<R::Txn>) -> Result<Running<R>> {
        match &plan.source {
            Source::Point(point) => self.point(point).await.map(Running::Row),
            Source::Values { rows, types } => {
                let pipeline = self.pipeline(types.clone(), plan.steps.iter())?;
                self.run_locally(pipeline, values(rows, types, self.context.get())?).await
            }
            Source::Scan(scan) => self.scan(scan, &plan.steps, txn).await,
            // In a box: it is large, and most plans have none.
            Source::Join(_) => Box::pin(self.start_join(plan, txn)).await,
            Source::Set(set) => Box::pin(self.start_set(set, plan, txn)).await,
            Source::Combine(set) => self.start_combined(set, &plan.steps, txn),
            Source::Shared { table, types } => self.start_shared(*table, types, &plan.steps),
            Source::Recursive(recursive) => self.start_recursive(recursive, &plan.steps, txn),
        }
    }

    async fn point(&self, point: &PointRead) -> Result<Option<Row>> {
        let key = match plain_key(&point.keys, self.context.parameters) {
            Some(key) => key,
            None => match point.keys.keys(self.context.get())? {
                Keys::Points(keys) => keys.into_iter().next(),
                Keys::Spans(_) => None,
            },
        };
        read_point(self.router, point, self.view, key).await
    }

    /// Starts a scan; its fragment and the steps behind it run where the rows are.
    pub(crate) async fn scan(
        &self,
        scan: &ScanPlan,
        steps: &[Step],
        txn: Option<R::Txn>,
    ) -> Result<Running<R>> {
        self.scan_filtered(place(scan), scan, steps, Vec::new(), Vec::new(), txn).await
    }

    /// As [`Reader::scan`]; the engine may leave out rows for which a filter is not true. Those beyond the plan's are
    /// not promised to be applied. `more` stages follow the steps. `plan`: where the scan's plan lies.
    pub(super) async fn scan_filtered(
        &self,
        plan: usize,
        scan: &ScanPlan,
        steps: &[Step],
        mut filters: Vec<ColumnFilter>,
        more: Vec<Stage>,
        txn: Option<R::Txn>,
    ) -> Result<Running<R>> {
        if files::is_file(&scan.table) {
            for pushed in &scan.pushed {
                filters.push(pushed.ready(self.context.get())?);
            }
            return Box::pin(self.start_file(scan, steps, &filters, txn)).await;
        }
        let types = scan_types(scan);
        let keys = scan.keys.keys(self.context.get())?;
        let spans = match keys {
            Keys::Points(keys) => {
                let batch = self.read_points(scan, keys).await?;
                let mut pipeline = self.pipeline(types, scan.fragment.iter().chain(steps))?;
                pipeline.stages.extend(more);
                return self.run_locally(pipeline, vec![batch]).await;
            }
            Keys::Spans(spans) => spans,
        };
        let mut fragment = self.pipeline(types, scan.fragment.iter())?;
        let (parts, whole) = if steps.is_empty() { divide(more) } else { (Vec::new(), more) };
        fragment.stages.extend(parts);
        let mut pipeline = self.pipeline(fragment.output_types(), steps.iter())?;
        pipeline.stages.extend(whole);
        if spans.is_empty() {
            return self.run_locally(pipeline, Vec::new()).await;
        }
        filters.reserve_exact(scan.pushed.len());
        for pushed in &scan.pushed {
            filters.push(pushed.ready(self.context.get())?);
        }
        let pieces = Pieces::of(scan, &fragment.stages, &spans);
        let fragment = Arc::new(ScanFragment { columns: scan.columns.clone(), filters, pipeline: fragment });
        let (mut spans, mut later) = (spans, None);
        if let Some(mut pieces) = pieces {
            spans = pieces.next(self.router, &scan.table).await?.into_iter().collect();
            let (table, view, fragment) = (scan.table.clone(), self.view, fragment.clone());
            later = Some(Box::new(Later { pieces, table, view, fragment }));
        }
        let cursor = open(self.router, &scan.table, self.view, spans, fragment)?;
        Ok(Running::Scan(Box::new(RunningScan {
            cursor: Some(cursor),
            later,
            pipeline: self.start_local(&pipeline),
            ready: VecDeque::new(),
            watch: self.watch.clone(),
            txn,
            plan,
            observed: self.context.surroundings.observed.clone(),
        })))
    }

    /// The columns of a scan for the rows that have these keys.
    async fn read_points(&self, scan: &ScanPlan, mut keys: Vec<Key>) -> Result<RecordBatch> {
        let table = &scan.table;
        let (types, columns, rows): (Vec<PgType>, Vec<usize>, Vec<Option<Row>>) = match keys.len() {
            0 | 1 => {
                let row = match keys.pop() {
                    None => None,
                    Some(key) => self
                        .router
                        .get(table.id, self.view, key, scan.columns.as_slice().into())
                        .await
                        .map_err(|e| engine_error(e, table))?,
                };
                (scan_types(scan), (0..scan.columns.len()).collect(), vec![row])
            }
            _ => {
                let rows = self.router.get_many(table.id, self.view, keys).await;
                (types_of(&table.schema), scan.columns.clone(), rows.map_err(|e| engine_error(e, table))?)
            }
        };
        batch_of_rows(&types, &columns, rows.iter().flatten().map(AsRef::as_ref))
    }

    /// The pipeline of some steps, with this execution's parameters.
    pub(crate) fn pipeline<'s>(
        &self,
        input: Vec<PgType>,
        steps: impl Iterator<Item = &'s Step>,
    ) -> Result<Pipeline> {
        let mut stages = Vec::new();
        for step in steps {
            stages.push(step.ready(self.context.get())?);
        }
        let memory_bytes = self.context.surroundings.memory_bytes;
        Ok(Pipeline { input, stages, context: self.context.get().clone(), memory_bytes })
    }

    /// Starts a pipeline on this core.
    pub(crate) fn start_local(&self, pipeline: &Pipeline) -> LocalRun {
        pipeline.start_local(&self.watch.work(self.context.surroundings))
    }

    async fn run_locally(&self, pipeline: Pipeline, batches: Vec<RecordBatch>) -> Result<Running<R>> {
        if pipeline.stages.is_empty() {
            let batches = batches.into_iter().filter(|batch| batch.num_rows() > 0);
            return Ok(Running::Batches(batches.collect()));
        }
        let mut run = self.start_local(&pipeline);
        let mut batches = batches.into_iter();
        let mut out = VecDeque::new();
        loop {
            match run.next().await? {
                Given::Batch(batch) => out.push_back(batch),
                Given::End => return Ok(Running::Batches(out)),
                Given::Input => match batches.next() {
                    Some(batch) => {
                        self.watch.check()?;
                        run.push(batch);
                    }
                    None => run.end(),
                },
            }
        }
    }
}

fn open<R: Router>(
    router: &R,
    table: &Table,
    view: ReadView,
    spans: Vec<KeySpan>,
    fragment: Arc<ScanFragment>,
) -> Result<R::Cursor> {
    let request = Scan { table: table.id, view, spans, fragment };
    router.scan(request).map_err(|error| engine_error(error, table))
}

/// Types of the columns that a scan reads.
pub(crate) fn scan_types(scan: &ScanPlan) -> Vec<PgType> {
    scan.columns.iter().map(|column| scan.table.schema.columns[*column].pg_type).collect()
}

/// The key of a point whose values are parameters and literals; the inner `None` means that no row can have it.
/// The outer `None`: it takes evaluation.
pub(crate) fn plain_key(keys: &KeyFilter, parameters: &[Datum]) -> Option<Option<Key>> {
    let mut bytes = Vec::with_capacity(9 * keys.equal.len());
    for equality in &keys.equal {
        let value = match equality.values.first()? {
            Expr::Parameter { index, .. } => parameters.get(*index)?,
            Expr::Literal { value, .. } => value,
            _ => return None,
        };
        match (value, equality.pg_type) {
            (Datum::Null, _) => return Some(None),
            // Wider integers are cut to the column's type.
            (Datum::Int4(_) | Datum::Int8(_), PgType::Int2) | (Datum::Int8(_), PgType::Int4) => return None,
            (Datum::Int2(v), PgType::Int4) => key::encode(&Datum::Int4(i32::from(*v)), &mut bytes),
            (Datum::Int2(v), PgType::Int8) => key::encode(&Datum::Int8(i64::from(*v)), &mut bytes),
            (Datum::Int4(v), PgType::Int8) => key::encode(&Datum::Int8(i64::from(*v)), &mut bytes),
            _ => key::encode(value, &mut bytes),
        }
    }
    Some((bytes.len() <= KEY_BYTES_MAX).then(|| Key::from_bytes(&bytes)))
}

/// Rows of expressions as batches.
fn values(rows: &[Vec<Expr>], types: &[PgType], context: &EvalContext) -> Result<Vec<RecordBatch>> {
    let schema = schema_of(types);
    let mut batches = Vec::with_capacity(rows.len().div_ceil(BATCH_ROWS));
    for rows in rows.chunks(BATCH_ROWS) {
        let mut columns = Vec::with_capacity(types.len());
        for (column, pg_type) in types.iter().enumerate() {
            let values = rows.iter().map(|row| row[column].eval_constant(context));
            let values: Vec<Datum> = values.collect::<std::result::Result<_, _>>()?;
            columns.push(array_of(*pg_type, values.iter()));
        }
        batches.push(batch_of(&schema, columns, rows.len()));
    }
    Ok(batches)
}

/// Reads the columns of a point.
pub(crate) async fn read_point<R: Router>(
    router: &R,
    point: &PointRead,
    view: ReadView,
    key: Option<Key>,
) -> Result<Option<Row>> {
    let Some(key) = key else { return Ok(None) };
    let found = router.get(point.table.id, view, key, point.columns.clone()).await;
    found.map_err(|e| engine_error(e, &point.table))
}

impl<R: Router> Running<R> {
    /// The next batch of a source that is not a stored row. In boxes: plans lie in one another, and what waits is large.
    pub(crate) async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        match self {
            Running::Row(_) => Ok(None),
            Running::Batches(batches) => Ok(batches.pop_front()),
            Running::Scan(scan) => scan.next().await,
            Running::File(file) => Box::pin(file.next()).await,
            Running::Join(join) => Box::pin(join.next()).await,
            Running::Set(set) => Box::pin(set.next()).await,
            Running::Combine(set) => Box::pin(set.next()).await,
            Running::Recursive(recursive) => Box::pin(recursive.next()).await,
            Running::Shared(shared) => Box::pin(shared.next()).await,
        }
    }
}
