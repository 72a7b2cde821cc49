//! Queries that read their own rows, and tables that parts of a statement share.
//!
//! A recursive query gives the rows of its first term, then again and again those that its second term makes of the
//! rows of the step before, which lie in a table. Steps run as far as their rows are asked for.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use hashbrown::HashSet;
use omen_core::router::{ReadView, Router};
use omen_core::types::{Datum, PgType};

use super::query::{Reader, Running};
use super::{Context, Surroundings, Watch};
use crate::error::Result;
use crate::fragment::local::{Given, LocalRun};
use crate::fragment::rowkey::RowKeys;
use crate::fragment::spill::Work;
use crate::fragment::spill::kept::{Kept, KeptReader};
use crate::fragment::{filter, out_of_memory};
use crate::physical::Step;
use crate::physical::recursive::RecursivePlan;

/// Bytes that a row that was seen takes beside its key.
const SEEN_ROW_BYTES: usize = 32;

/// The rows of shared tables, by number.
pub(crate) type Tables = Rc<BTreeMap<usize, Rc<Kept>>>;

/// A running recursive query whose batches go through a pipeline.
pub(crate) struct RunningRecursive<R: Router> {
    plan: Arc<RecursivePlan>,
    router: R,
    view: ReadView,
    watch: Watch<R>,
    parameters: Box<[Datum]>,
    surroundings: Surroundings,
    /// The present step; none once all rows have been given.
    step: Option<Running<R>>,
    started: bool,
    /// What the present step has made.
    made: Kept,
    /// Rows that were given, if each is to be given once.
    seen: Option<HashSet<Box<[u8]>>>,
    seen_bytes: usize,
    pipeline: LocalRun,
    work: Work,
    /// A transaction that lasts as long as the query.
    txn: Option<R::Txn>,
}

/// A shared table whose batches go through a pipeline.
pub(crate) struct RunningShared<R: Router> {
    rows: KeptReader,
    pipeline: LocalRun,
    watch: Watch<R>,
}

impl<R: Router> Reader<'_, R> {
    /// Starts a recursive query, with the steps behind it.
    pub(super) fn start_recursive(
        &self,
        plan: &Arc<RecursivePlan>,
        steps: &[Step],
        txn: Option<R::Txn>,
    ) -> Result<Running<R>> {
        let pipeline = self.pipeline(plan.types.clone(), steps.iter())?;
        Ok(Running::Recursive(Box::new(RunningRecursive {
            plan: plan.clone(),
            router: self.router.clone(),
            view: self.view,
            watch: self.watch.clone(),
            parameters: self.context.parameters.into(),
            surroundings: self.context.surroundings.clone(),
            step: None,
            started: false,
            made: Kept::default(),
            seen: plan.distinct.then(HashSet::new),
            seen_bytes: 0,
            pipeline: self.start_local(&pipeline),
            work: self.watch.work(self.context.surroundings),
            txn,
        })))
    }

    /// Starts reading a shared table, with the steps behind it.
    pub(super) fn start_shared(&self, table: usize, types: &[PgType], steps: &[Step]) -> Result<Running<R>> {
        let pipeline = self.pipeline(types.to_vec(), steps.iter())?;
        let rows = self.context.surroundings.tables.get(&table).map(|rows| rows.read()).unwrap_or_default();
        Ok(Running::Shared(Box::new(RunningShared {
            rows,
            pipeline: self.start_local(&pipeline),
            watch: self.watch.clone(),
        })))
    }
}

impl<R: Router> RunningShared<R> {
    /// The next batch; never an empty one.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.pipeline.next().await? {
                Given::Batch(batch) => return Ok(Some(batch)),
                Given::End => return Ok(None),
                Given::Input => {}
            }
            self.watch.check()?;
            match self.rows.next().await? {
                Some(batch) => self.pipeline.push(batch),
                None => self.pipeline.end(),
            }
            self.watch.give_way().await?;
        }
    }
}

impl<R: Router> RunningRecursive<R> {
    /// The next batch; never an empty one.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.pipeline.next().await? {
                Given::Batch(batch) => return Ok(Some(batch)),
                Given::End => {
                    self.step = None;
                    self.txn = None;
                    return Ok(None);
                }
                Given::Input => {}
            }
            if !self.started {
                self.started = true;
                self.start_step(false).await?;
            }
            self.watch.check()?;
            let batch = match &mut self.step {
                Some(step) => Box::pin(step.next_batch()).await?,
                None => None,
            };
            match batch {
                Some(batch) => {
                    let batch = self.unseen(batch)?;
                    if batch.num_rows() > 0 {
                        self.made.push(batch.clone(), &self.work).await?;
                        self.pipeline.push(batch);
                    }
                }
                None if self.made.is_empty() => {
                    self.step = None;
                    self.txn = None;
                    self.pipeline.end();
                }
                None => self.start_step(true).await?,
            }
            self.watch.give_way().await?;
        }
    }

    /// Starts the first term, or the second one over what the last step has made.
    async fn start_step(&mut self, again: bool) -> Result<()> {
        let mut tables = BTreeMap::clone(&self.surroundings.tables);
        tables.insert(self.plan.working, Rc::new(std::mem::take(&mut self.made)));
        self.surroundings.tables = Rc::new(tables);
        let context = Context::new(&self.parameters, &self.surroundings);
        let reader = Reader { router: &self.router, view: self.view, context: &context, watch: &self.watch };
        let plan = if again { &self.plan.step } else { &self.plan.base };
        let step = Box::pin(reader.start(plan, None)).await?;
        self.step = Some(step);
        Ok(())
    }

    /// The rows that have not been given yet, if that matters.
    fn unseen(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let Some(seen) = &mut self.seen else { return Ok(batch) };
        let columns: Vec<ArrayRef> = batch.columns().to_vec();
        let keys = RowKeys::of(&columns, &self.plan.types, batch.num_rows());
        let mut keep = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let is_new = !seen.contains(keys.row(row));
            if is_new {
                self.seen_bytes += keys.row(row).len() + SEEN_ROW_BYTES;
                seen.insert(keys.row(row).into());
            }
            keep.push(is_new);
        }
        self.check_memory()?;
        Ok(filter(&batch, &BooleanArray::from(keep)))
    }

    fn check_memory(&self) -> Result<()> {
        let memory_bytes = self.surroundings.memory_bytes;
        if self.seen_bytes > memory_bytes {
            return Err(out_of_memory("a recursive query", memory_bytes).into());
        }
        Ok(())
    }
}
