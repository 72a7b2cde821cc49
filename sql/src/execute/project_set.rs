//! Running functions that answer rows on the session's core.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use omen_core::fragment::{Flow, FragmentRun};
use omen_core::router::Router;
use omen_core::types::PgType;

use super::query::{Reader, Running};
use super::{Watch, yield_now};
use crate::error::Result;
use crate::expr::EvalContext;
use crate::fragment::PipelineRun;
use crate::fragment::project_set::SetRun;
use crate::logical::added_types;
use crate::physical::{QueryPlan, SetPlan};

/// Functions whose rows go through a pipeline.
pub(crate) struct RunningSet<R: Router> {
    input: Running<R>,
    /// None once all rows have been given.
    run: Option<SetRun>,
    pipeline: PipelineRun,
    ready: VecDeque<RecordBatch>,
    watch: Watch<R>,
}

impl<R: Router> RunningSet<R> {
    /// The next batch; never an empty one.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            let Some(run) = &mut self.run else { return Ok(None) };
            self.watch.check()?;
            let mut out = Vec::new();
            let is_done = match run.next()? {
                Some(batch) => batch.num_rows() > 0 && self.pipeline.push(batch, &mut out)? == Flow::Done,
                None => match Box::pin(self.input.next_batch()).await? {
                    Some(batch) => {
                        run.push(batch)?;
                        continue;
                    }
                    None => true,
                },
            };
            if is_done {
                self.run = None;
                self.input = Running::Batches(VecDeque::new());
                self.pipeline.finish(&mut out)?;
            }
            self.ready.extend(out);
            yield_now().await;
        }
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
        let pipeline = self.pipeline(types, plan.steps.iter())?.start();
        let input = Box::pin(self.start(&set.input, txn)).await?;
        let context = EvalContext::clone(context);
        let run = SetRun::new(&set.input.types, calls, set.ordinality, set.keeps_input, context);
        let watch = self.watch.clone();
        Ok(Running::Set(Box::new(RunningSet {
            input,
            run: Some(run),
            pipeline,
            ready: VecDeque::new(),
            watch,
        })))
    }
}
