//! Running plans: reading through cursors, writing inside transactions.

pub(crate) mod errors;
pub(crate) mod initial;
pub(crate) mod insert;
pub(crate) mod join;
pub(crate) mod key_values;
pub(crate) mod modify;
pub(crate) mod observed;
mod ordered_scan;
pub(crate) mod project_set;
pub(crate) mod query;
pub(crate) mod recursive;
pub(crate) mod rows;
pub(crate) mod set;

use std::cell::OnceCell;
use std::sync::Arc;

use arrow_array::RecordBatch;
use omen_core::catalog::Table;
use omen_core::error::ValueError;
use omen_core::fragment::batch_bytes;
use omen_core::router::{CancelFlag, NodeReadings, ReadView, Router, Transaction};
use omen_core::temporary::Answer;
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;

use crate::bind::insert::Returning;
use crate::error::{Result, SqlState};
use crate::expr::{EvalContext, Expr};
use crate::fragment::spill::{DiskSpace, Doing, Work};
use crate::fragment::{batch_of, out_of_memory, schema_of};
use crate::physical::classes::Classes;
use crate::types::FormatOptions;
use errors::engine_error;

/// Bytes of changes that a statement sends in one call.
pub(crate) const WRITE_BYTES: usize = 256 << 10;

/// Microseconds of a turn of a statement that takes in data.
const TURN_US: u64 = 100;

/// Lets all other work of the core have a turn if that which began then, in microseconds of the router's clock, has lasted
/// long enough; answers when the next one began. For work that takes in data as fast as a client sends it.
pub(crate) async fn take_turns<R: Router>(router: &R, began_us: u64) -> u64 {
    if router.monotonic_us().saturating_sub(began_us) < TURN_US {
        return began_us;
    }
    router.take_turns().await;
    router.monotonic_us()
}

/// Tells a running statement to stop.
#[derive(Clone)]
pub(crate) struct Watch<R: Router> {
    router: R,
    cancel: CancelFlag,
    deadline_us: Option<u64>,
}

impl<R: Router> Watch<R> {
    /// Watches the flag, and the clock for `timeout_us` from now on.
    pub(crate) fn new(router: R, cancel: CancelFlag, timeout_us: Option<u64>) -> Watch<R> {
        let deadline_us = timeout_us.map(|timeout| router.monotonic_us().saturating_add(timeout));
        Watch { router, cancel, deadline_us }
    }

    /// The way to the shards.
    pub(crate) fn router(&self) -> &R {
        &self.router
    }

    /// 57014 if the statement is to stop.
    pub(crate) fn check(&self) -> Result<()> {
        Ok(self.stop()?)
    }

    /// Lets all other work of the core go first. Called between steps of a quarter of a millisecond at most.
    ///
    /// # Errors
    /// As [`Watch::check`].
    pub(crate) async fn give_way(&self) -> Result<()> {
        self.check()?;
        self.router.give_way().await;
        Ok(())
    }

    /// As [`take_turns`], for a statement that can be told to stop.
    ///
    /// # Errors
    /// As [`Watch::check`].
    pub(crate) async fn take_turns(&self, began_us: u64) -> Result<u64> {
        let next_us = take_turns(&self.router, began_us).await;
        if next_us != began_us {
            self.check()?;
        }
        Ok(next_us)
    }

    /// As [`Watch::check`].
    fn stop(&self) -> std::result::Result<(), ValueError> {
        let message = if self.cancel.replace(false) {
            "canceling statement due to user request"
        } else if self.deadline_us.is_some_and(|deadline| self.router.monotonic_us() >= deadline) {
            "canceling statement due to statement timeout"
        } else {
            return Ok(());
        };
        Err(ValueError::new(SqlState::QUERY_CANCELED, message))
    }
}

impl<R: Router> Watch<R> {
    /// What operators of this core work with.
    pub(crate) fn work(&self, surroundings: &Surroundings) -> Work {
        let (watch, router) = (self.clone(), self.router.clone());
        let create = move || -> Answer<'static, _> {
            let router = router.clone();
            Box::pin(async move { router.temporary_file().await })
        };
        let pause = move || -> Doing<'static, ()> {
            let watch = watch.clone();
            Box::pin(async move {
                watch.stop()?;
                watch.router.give_way().await;
                Ok(())
            })
        };
        let Surroundings { space, spill_bytes, random_seed, .. } = surroundings;
        let clock = self.router.clone();
        Work::new(pause, move || clock.monotonic_us(), create, space.clone(), *spill_bytes, *random_seed)
    }
}

/// What expressions read beside rows and parameters.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// Start of the transaction, microseconds since 1970 UTC.
    pub(crate) transaction_start_us: i64,
    /// Start of the statement, microseconds since 1970 UTC.
    pub(crate) statement_start_us: i64,
    /// The session's settings.
    pub(crate) format: FormatOptions,
    /// The role.
    pub(crate) user: Arc<str>,
    /// The database.
    pub(crate) database: Arc<str>,
    /// As clients see it.
    pub(crate) backend_pid: i32,
    /// What of the node may be read from any thread.
    pub(crate) readings: Arc<dyn NodeReadings>,
    /// Where `random()` begins.
    pub(crate) random_seed: u64,
    /// `work_mem`
    pub(crate) memory_bytes: usize,
    /// Memory beyond which operators put rows aside that can: `work_mem`, too.
    pub(crate) spill_bytes: usize,
    /// Disk space for what does not fit into it.
    pub(crate) space: DiskSpace,
    /// What may be done.
    pub(crate) classes: Classes,
    /// What EXPLAIN ANALYZE learns of the run.
    pub(crate) observed: observed::Observed,
    /// Tables that parts of the statement share.
    pub(crate) tables: recursive::Tables,
}

impl Surroundings {
    /// A context for evaluation with these parameters.
    pub(crate) fn context(&self, parameters: &[Datum]) -> EvalContext {
        let mut context = EvalContext::new(self.random_seed);
        context.parameters = parameters.into();
        context.transaction_start_us = self.transaction_start_us;
        context.statement_start_us = self.statement_start_us;
        context.format = self.format;
        context.user = self.user.clone();
        context.database = self.database.clone();
        context.backend_pid = self.backend_pid;
        context.node = Some(self.readings.clone());
        context
    }
}

/// What expressions of a statement read beside rows; made for evaluation when the first of them is evaluated, because
/// many statements evaluate none.
pub(crate) struct Context<'a> {
    made: OnceCell<Arc<EvalContext>>,
    /// Values of the parameters, then the late values.
    pub(crate) parameters: &'a [Datum],
    /// What else they read.
    pub(crate) surroundings: &'a Surroundings,
}

impl<'a> Context<'a> {
    /// A context that is not made yet.
    pub(crate) fn new(parameters: &'a [Datum], surroundings: &'a Surroundings) -> Context<'a> {
        Context { made: OnceCell::new(), parameters, surroundings }
    }

    /// A context that is.
    pub(crate) fn made(
        made: Arc<EvalContext>,
        parameters: &'a [Datum],
        surroundings: &'a Surroundings,
    ) -> Self {
        Context { made: OnceCell::from(made), parameters, surroundings }
    }

    /// For evaluation.
    pub(crate) fn get(&self) -> &Arc<EvalContext> {
        self.made.get_or_init(|| Arc::new(self.surroundings.context(self.parameters)))
    }
}

/// A statement's part in a transaction.
pub(crate) struct StatementTxn<R: Router> {
    /// The transaction.
    pub(crate) txn: R::Txn,
    /// It ends with the statement.
    alone: bool,
    held: Option<HeldWrites>,
}

/// Writes that wait until all of a statement has read.
#[derive(Default)]
struct HeldWrites {
    writes: Vec<HeldWrite>,
    /// Whether those that come now are of an INSERT with ON CONFLICT.
    is_upsert: bool,
    bytes: usize,
    bytes_max: usize,
}

struct HeldWrite {
    table: Arc<Table>,
    batch: WriteBatch,
    is_upsert: bool,
}

impl<R: Router> StatementTxn<R> {
    /// A transaction that ends with the statement if it is `alone`.
    pub(crate) fn new(txn: R::Txn, alone: bool) -> StatementTxn<R> {
        StatementTxn { txn, alone, held: None }
    }

    /// One whose writes wait for [`StatementTxn::finish_held`]; they may take so much memory.
    pub(crate) fn holding(txn: R::Txn, alone: bool, bytes_max: usize) -> StatementTxn<R> {
        StatementTxn { txn, alone, held: Some(HeldWrites { bytes_max, ..HeldWrites::default() }) }
    }

    /// What the statement sees.
    pub(crate) fn view(&self) -> ReadView {
        self.txn.view()
    }

    /// Tells whether the writes that are held back from here on are of an INSERT with ON CONFLICT.
    pub(crate) fn set_upsert(&mut self, is_upsert: bool) {
        if let Some(held) = &mut self.held {
            held.is_upsert = is_upsert;
        }
    }

    /// Writes; more follows.
    pub(crate) async fn write(&mut self, router: &R, table: &Arc<Table>, batch: WriteBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(held) = &mut self.held {
            held.bytes += batch.as_bytes().len();
            if held.bytes > held.bytes_max {
                return Err(out_of_memory("a write in WITH", held.bytes_max).into());
            }
            held.writes.push(HeldWrite { table: table.clone(), batch, is_upsert: held.is_upsert });
            return Ok(());
        }
        router.write(&mut self.txn, table.id, batch).await.map_err(|e| engine_error(e, table))
    }

    /// Writes part of a load; what the engine refuses may be reported by a later call.
    pub(crate) async fn write_behind(&mut self, router: &R, table: &Table, batch: WriteBatch) -> Result<()> {
        router.write_behind(&mut self.txn, table.id, batch).await.map_err(|e| engine_error(e, table))
    }

    /// Makes the writes that were held back, and commits if the transaction ends with the statement. Answers the
    /// transaction if it goes on.
    pub(crate) async fn finish_held(mut self, router: &R) -> Result<Option<R::Txn>> {
        let mut last: Option<Arc<Table>> = None;
        for HeldWrite { table, batch, is_upsert } in self.held.take().unwrap_or_default().writes {
            let written = self.write(router, &table, batch).await;
            written.map_err(|error| if is_upsert { errors::upsert_error(error) } else { error })?;
            last = Some(table);
        }
        match last {
            Some(table) => self.finish(router, &table, WriteBatch::new()).await,
            None => Ok((!self.alone).then_some(self.txn)),
        }
    }

    /// Writes the last changes of the statement and commits if the transaction ends with it. Answers the transaction
    /// if it goes on.
    pub(crate) async fn finish(
        mut self,
        router: &R,
        table: &Table,
        batch: WriteBatch,
    ) -> Result<Option<R::Txn>> {
        if !self.alone {
            // Also without changes: it reports what became of those before.
            router.write(&mut self.txn, table.id, batch).await.map_err(|e| engine_error(e, table))?;
            return Ok(Some(self.txn));
        }
        if !batch.is_empty() {
            router.write_and_commit(self.txn, table.id, batch).await.map_err(|e| engine_error(e, table))?;
        } else if self.txn.has_written() {
            router.commit(self.txn).await.map_err(|e| engine_error(e, table))?;
        }
        Ok(None)
    }
}

/// What RETURNING answers.
#[derive(Default)]
pub(crate) struct OutputRows {
    /// The answers.
    pub(crate) batches: Vec<RecordBatch>,
    size_bytes: usize,
}

impl OutputRows {
    /// Adds the answers about stored rows of a table with these types.
    ///
    /// # Errors
    /// Those of the expressions; 53200 if there are too many.
    pub(crate) fn add<'r>(
        &mut self,
        returning: Option<&Returning>,
        types: &[PgType],
        rows: impl ExactSizeIterator<Item = &'r [u8]>,
        context: &Context<'_>,
    ) -> Result<()> {
        let Some(returning) = returning else { return Ok(()) };
        if rows.len() == 0 {
            return Ok(());
        }
        let columns: Vec<usize> = (0..types.len()).collect();
        let batch = rows::batch_of_rows(types, &columns, rows)?;
        self.add_batch(returning, &batch, context)
    }

    /// Adds the answers about a batch of whole rows.
    ///
    /// # Errors
    /// As [`OutputRows::add`].
    pub(crate) fn add_batch(
        &mut self,
        returning: &Returning,
        batch: &RecordBatch,
        context: &Context<'_>,
    ) -> Result<()> {
        let mut arrays = Vec::with_capacity(returning.exprs.len());
        for expr in &returning.exprs {
            arrays.push(expr.eval(batch, context.get())?);
        }
        let types: Vec<PgType> = returning.exprs.iter().map(Expr::pg_type).collect();
        let batch = batch_of(&schema_of(&types), arrays, batch.num_rows());
        self.size_bytes += batch_bytes(&batch);
        let memory_bytes = context.surroundings.memory_bytes;
        if self.size_bytes > memory_bytes {
            return Err(out_of_memory("RETURNING", memory_bytes).into());
        }
        self.batches.push(batch);
        Ok(())
    }
}

/// What a statement reads while it writes: the transaction as it was when the statement began. The transaction that
/// comes with it, if any, only lends its id and must live as long as the reading.
pub(crate) fn reading_view<R: Router>(router: &R, txn: &R::Txn) -> (ReadView, Option<R::Txn>) {
    let view = txn.view();
    if txn.has_written() {
        return (view, None);
    }
    let other = router.begin();
    (ReadView { snapshot: view.snapshot, txn: other.view().txn }, Some(other))
}
