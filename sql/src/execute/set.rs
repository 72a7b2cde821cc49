//! Running set operations on the session's core. Inputs start one after another, each when those before it have ended.

use std::sync::Arc;

use arrow_array::RecordBatch;
use omen_core::router::{ReadView, Router};
use omen_core::types::Datum;

use super::query::{Reader, Running};
use super::{Context, Surroundings, Watch};
use crate::error::Result;
use crate::expr::EvalContext;
use crate::fragment::local::{Given, LocalRun};
use crate::fragment::set::{SetRows, SetRun};
use crate::fragment::spill::{Work, steps};
use crate::logical::SetKind;
use crate::physical::Step;
use crate::physical::set::CombinePlan;

/// What starting a plan later takes.
struct Later<R: Router> {
    router: R,
    view: ReadView,
    watch: Watch<R>,
    context: Arc<EvalContext>,
    parameters: Box<[Datum]>,
    surroundings: Surroundings,
}

/// Where rows of the operation come from.
enum Phase<R: Router> {
    /// The present input.
    Input(Running<R>),
    /// The next input is to be started.
    Between,
    /// Rows that had to be compared with those of all inputs.
    Rows(SetRows),
    /// All have been given.
    End,
}

/// A set operation whose batches go through a pipeline.
pub(crate) struct RunningCombine<R: Router> {
    plan: Arc<CombinePlan>,
    /// The next input.
    next: usize,
    phase: Phase<R>,
    /// What compares rows; None if none are compared.
    compared: Option<SetRun>,
    pipeline: LocalRun,
    work: Work,
    later: Later<R>,
    /// A transaction that lasts as long as the operation.
    txn: Option<R::Txn>,
}

impl<R: Router> Reader<'_, R> {
    /// Starts a set operation, with the steps behind it.
    ///
    /// # Errors
    /// Those of evaluating the counts of steps.
    pub(super) fn start_combined(
        &self,
        plan: &Arc<CombinePlan>,
        steps: &[Step],
        txn: Option<R::Txn>,
    ) -> Result<Running<R>> {
        let pipeline = self.pipeline(plan.types.clone(), steps.iter())?;
        let later = Later {
            router: self.router.clone(),
            view: self.view,
            watch: self.watch.clone(),
            context: self.context.get().clone(),
            parameters: self.context.parameters.into(),
            surroundings: self.context.surroundings.clone(),
        };
        let compares = plan.kind != SetKind::UnionAll;
        Ok(Running::Combine(Box::new(RunningCombine {
            plan: plan.clone(),
            next: 0,
            phase: Phase::Between,
            compared: compares.then(|| SetRun::new(plan.kind, &plan.types)),
            pipeline: self.start_local(&pipeline),
            work: self.watch.work(self.context.surroundings),
            later,
            txn,
        })))
    }
}

impl<R: Router> RunningCombine<R> {
    /// The next batch; never an empty one.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.pipeline.next().await? {
                Given::Batch(batch) => return Ok(Some(batch)),
                Given::End => {
                    self.phase = Phase::End;
                    self.txn = None;
                    return Ok(None);
                }
                Given::Input => {}
            }
            self.later.watch.check()?;
            self.step().await?;
            self.later.watch.give_way().await?;
        }
    }

    async fn step(&mut self) -> Result<()> {
        let batch = match &mut self.phase {
            Phase::End => None,
            Phase::Between => return self.begin_input().await,
            Phase::Rows(rows) => rows.next(&self.work).await?,
            Phase::Input(running) => match Box::pin(running.next_batch()).await? {
                Some(batch) => Some(batch),
                None => {
                    self.phase = Phase::Between;
                    if let Some(compared) = &mut self.compared {
                        compared.end_input(&self.work).await?;
                    }
                    return Ok(());
                }
            },
        };
        match (batch, &mut self.compared) {
            (None, _) => {
                self.phase = Phase::End;
                self.txn = None;
                self.pipeline.end();
            }
            (Some(batch), Some(compared)) => {
                for part in steps(&batch) {
                    compared.push(&part, &self.work).await?;
                    self.work.give_way().await?;
                }
            }
            (Some(batch), None) => self.pipeline.push(batch),
        }
        Ok(())
    }

    /// Starts the next input, or gives what was kept of all.
    async fn begin_input(&mut self) -> Result<()> {
        let is_settled = self.compared.as_ref().is_some_and(SetRun::is_settled);
        match self.plan.inputs.get(self.next).filter(|_| !is_settled) {
            Some(input) => {
                self.next += 1;
                let Later { router, view, watch, context, parameters, surroundings } = &self.later;
                let context = Context::made(context.clone(), parameters, surroundings);
                let reader = Reader { router, view: *view, context: &context, watch };
                self.phase = Phase::Input(Box::pin(reader.start(input, None)).await?);
            }
            None => match self.compared.take() {
                Some(compared) => self.phase = Phase::Rows(compared.finish().await?),
                None => self.phase = Phase::End,
            },
        }
        Ok(())
    }
}
