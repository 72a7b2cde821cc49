//! Running functions that answer rows on the session's core.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use omen_core::router::Router;
use omen_core::types::PgType;

use super::Watch;
use super::query::{Reader, Running};
use crate::error::Result;
use crate::expr::EvalContext;
use crate::fragment::local::{Given, LocalRun};
use crate::fragment::project_set::SetRun;
use crate::logical::added_types;
use crate::physical::{QueryPlan, SetPlan};

/// Functions whose rows go through a pipeline.
pub(crate) struct RunningSet<R: Router> {
    input: Running<R>,
    /// None once all rows have been given.
    run: Option<SetRun>,
    pipeline: LocalRun,
    watch: Watch<R>,
}

impl<R: Router> RunningSet<R> {
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
            let Some(run) = &mut self.run else {
                self.pipeline.end();
                continue;
            };
            self.watch.check()?;
            match run.next()? {
                Some(batch) => self.pipeline.push(batch),
                None => match Box::pin(self.input.next_batch()).await? {
                    Some(batch) => {
                        run.push(batch)?;
                        continue;
                    }
                    None => self.end(),
                },
            }
            self.watch.give_way().await?;
        }
    }

    fn end(&mut self) {
        self.run = None;
        self.input = Running::Batches(VecDeque::new());
    }
}

impl<R: Router> Reader<'_, R> {
    /// Starts a plan whose source is functions over another plan. `txn` is kept as long as that plan reads.
    pub(super) async fn start_set(
        &self,
        set: &SetPlan,
        plan: &QueryPlan,
        txn: Option<R::Txn>,
    ) -> Result<Running<R>> {
        let context = self.context.get();
        let mut calls = set.calls.clone();
        for arg in calls.iter_mut().flat_map(|call| &mut call.args) {
            *arg = arg.fold(context);
        }
        let types: Vec<PgType> =
            set.input.types.iter().copied().chain(added_types(&calls, set.ordinality)).collect();
        let pipeline = self.start_local(&self.pipeline(types, plan.steps.iter())?);
        let input = Box::pin(self.start(&set.input, txn)).await?;
        let context = EvalContext::clone(context);
        let run = SetRun::new(&set.input.types, calls, set.ordinality, set.keeps_input, context);
        let watch = self.watch.clone();
        Ok(Running::Set(Box::new(RunningSet { input, run: Some(run), pipeline, watch })))
    }
}
