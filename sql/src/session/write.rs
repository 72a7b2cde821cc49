//! Running statements that change rows, and running them again after conflicts.

use omen_core::router::{Router, Transaction};

use super::{Outcome, RowStream, Scope, Session, Tag};
use crate::error::{Result, SqlError, SqlState};
use crate::execute::initial::{InitialRun, all_batches};
use crate::execute::insert::InsertRun;
use crate::execute::modify::ModifyRun;
use crate::execute::query::Reader;
use crate::execute::{Context, StatementTxn, Watch, reading_view};
use crate::plan::{Action, Compiled, InitialPlan, Plan};

/// How long a statement is run again after conflicts, in microseconds. Each is another statement's success, but those on the
/// core that owns a row that all want may have many before one from elsewhere has its first.
const TRIES_US: u64 = 30_000_000;

type MakeTag = fn(u64) -> Tag;

/// The command's name, and its tag for so many rows.
fn command_of(plan: &Plan) -> (&'static str, MakeTag) {
    match plan {
        Plan::Query(_) => ("SELECT", Tag::Select),
        Plan::Modify(modify) => match modify.action {
            Action::Update(_) => ("UPDATE", Tag::Update),
            Action::Delete => ("DELETE", Tag::Delete),
            Action::Lock(command) => (command, Tag::Select),
        },
        _ => ("INSERT", Tag::Insert),
    }
}

impl<R: Router> Session<R> {
    /// Runs an INSERT, UPDATE or DELETE, or a SELECT that locks.
    pub(super) async fn run_write(
        &mut self,
        plan: &Plan,
        initial: &[InitialPlan],
        context: &Context<'_>,
        scope: Scope,
    ) -> Result<Outcome<R>> {
        let (command, tag) = command_of(plan);
        self.check_may_write(command)?;
        let alone = self.transaction.is_alone(scope);
        let watch = self.watch();
        let returns = match plan {
            Plan::Insert(insert) => insert.returning.is_some(),
            Plan::Modify(modify) => modify.returning.is_some(),
            _ => false,
        };
        let began_us = self.router.monotonic_us();
        loop {
            let txn = if alone { self.router.begin() } else { self.transaction.take(&self.router) };
            let mut txn = StatementTxn::new(txn, alone);
            let ((with_answers, with_tables), own);
            let context = if initial.is_empty() {
                context
            } else {
                let (view, _reading) = reading_view(&self.router, &txn.txn);
                let Context { parameters, surroundings, .. } = context;
                let run = InitialRun { router: &self.router, view, watch: &watch, txn: None };
                (with_answers, with_tables) = Box::pin(run.run(initial, parameters, surroundings)).await?;
                own = Context::new(&with_answers, &with_tables);
                &own
            };
            let (router, watch) = (&self.router, &watch);
            let (written, rest) = match (plan, alone) {
                (Plan::Insert(insert), true) => {
                    (InsertRun::new(router, insert, context, watch).run_alone(txn).await, None)
                }
                (Plan::Insert(insert), false) => {
                    let run = InsertRun::new(router, insert, context, watch);
                    (run.run(&mut txn).await, Some(txn.txn))
                }
                (Plan::Modify(modify), true) => {
                    (ModifyRun::new(router, modify, context, watch).run_alone(txn).await, None)
                }
                (Plan::Modify(modify), false) => {
                    let run = ModifyRun::new(router, modify, context, watch);
                    (run.run(&mut txn).await, Some(txn.txn))
                }
                _ => return Err(SqlError::new(SqlState::INTERNAL_ERROR, "not a write")),
            };
            match written {
                Ok((count, returned)) => {
                    rest.into_iter().for_each(|txn| self.transaction.put(txn));
                    return Ok(match returns {
                        true => Outcome::Rows(RowStream::of_batches(returned, Some(tag(count)))),
                        false => Outcome::Done(tag(count)),
                    });
                }
                Err(error) if self.may_try_again(&error, began_us, rest.as_ref()) => {
                    rest.into_iter().for_each(|txn| self.transaction.put(txn));
                    watch.give_way().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a statement that has failed may succeed on a newer snapshot. `txn`: it is part of this transaction, which has
    /// got such a snapshot for each statement anyway if it is READ COMMITTED (PG 15, chapter 13.2.1).
    fn may_try_again(&self, error: &SqlError, began_us: u64, txn: Option<&R::Txn>) -> bool {
        if self.router.monotonic_us().saturating_sub(began_us) > TRIES_US {
            return false;
        }
        match txn {
            None => error.retryable,
            Some(txn) => {
                error.state == SqlState::SERIALIZATION_FAILURE
                    && self.transaction.takes_new_snapshots()
                    && !txn.has_written_since_refresh()
            }
        }
    }

    /// Runs a statement whose WITH writes.
    pub(super) async fn run_writing_with(
        &mut self,
        compiled: &Compiled,
        context: &Context<'_>,
        scope: Scope,
    ) -> Result<Outcome<R>> {
        let (command, _) = command_of(&compiled.plan);
        self.check_may_write(command)?;
        let alone = self.transaction.is_alone(scope);
        let watch = self.watch();
        let began_us = self.router.monotonic_us();
        loop {
            let txn = if alone { self.router.begin() } else { self.transaction.take(&self.router) };
            let memory_bytes = context.surroundings.memory_bytes;
            let mut txn = StatementTxn::holding(txn, alone, memory_bytes);
            let outcome = Box::pin(self.try_writing_with(compiled, context, &watch, &mut txn)).await;
            let ended = match outcome {
                Ok(outcome) => txn.finish_held(&self.router).await.map(|txn| (outcome, txn)),
                Err(error) => Err(error),
            };
            match ended {
                Ok((outcome, txn)) => {
                    if let Some(txn) = txn {
                        self.transaction.put(txn);
                    }
                    return Ok(outcome);
                }
                Err(error) if alone && self.may_try_again(&error, began_us, None) => {
                    watch.give_way().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads all that the statement reads; its writes are held back.
    async fn try_writing_with(
        &self,
        compiled: &Compiled,
        context: &Context<'_>,
        watch: &Watch<R>,
        txn: &mut StatementTxn<R>,
    ) -> Result<Outcome<R>> {
        let router = &self.router;
        let (view, _reading) = reading_view(router, &txn.txn);
        let Context { parameters, surroundings, .. } = context;
        let run = InitialRun { router, view, watch, txn: Some(&mut *txn) };
        let (values, surroundings) = run.run(&compiled.initial, parameters, surroundings).await?;
        let context = Context::new(&values, &surroundings);
        let (_, tag) = command_of(&compiled.plan);
        let (count, returned) = match &compiled.plan {
            Plan::Query(query) => {
                let reader = Reader { router, view, context: &context, watch };
                let mut running = reader.start(query, None).await?;
                let batches = all_batches(&mut running, surroundings.memory_bytes, watch).await?;
                return Ok(Outcome::Rows(RowStream::of_batches(batches, None)));
            }
            Plan::Insert(insert) => InsertRun::new(router, insert, &context, watch).run(txn).await?,
            Plan::Modify(modify) => ModifyRun::new(router, modify, &context, watch).run(txn).await?,
            _ => return Err(SqlError::new(SqlState::INTERNAL_ERROR, "not a write")),
        };
        Ok(match compiled.columns {
            Some(_) => Outcome::Rows(RowStream::of_batches(returned, Some(tag(count)))),
            None => Outcome::Done(tag(count)),
        })
    }
}
