//! Pipelines of the session's core: stages that may wait, for other work of the core to have its turn or for files.
//!
//! Batches are pushed into the first stage and come out of the last one. What a stage holds back comes once the input
//! has ended, and only as fast as it is asked for.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use omen_core::fragment::{BATCH_ROWS, Flow, FragmentRun};

use super::spill::{Doing, Work};
use super::window::WindowRun;
use super::{AggregateMode, Pipeline, Result, Stage, aggregate, sort};
use crate::expr::EvalContext;

/// How long stages may be at work before others have their turn.
const TURN_US: u64 = 125;

/// A batch of so many rows is worth giving way for, however fast it was done.
const TURN_ROWS: usize = BATCH_ROWS / 8;

/// How long a stage may take for a batch. Expressions can take any time for a row, so batches are cut to what was done
/// in this time before.
const STEP_US: u64 = 150;

/// Rows of the first batch that a stage takes.
const FIRST_ROWS: usize = 128;

/// A running stage that may wait.
pub(crate) trait LocalStage {
    /// Takes a batch and appends what it has to say so far to `out`.
    ///
    /// # Errors
    /// Those of expressions, of files, and 57014.
    fn push<'a>(
        &'a mut self,
        batch: RecordBatch,
        work: &'a Work,
        out: &'a mut Vec<RecordBatch>,
    ) -> Doing<'a, Flow>;

    /// Whether it has rows to give before it takes another batch.
    fn has_more(&self) -> bool {
        false
    }

    /// The next batch of those rows; none if it needs another batch for more.
    ///
    /// # Errors
    /// As [`LocalStage::push`].
    fn more<'a>(&'a mut self, _work: &'a Work) -> Doing<'a, Option<RecordBatch>> {
        Box::pin(async { Ok(None) })
    }

    /// Once all batches have been pushed: the next one of the rest.
    ///
    /// # Errors
    /// As [`LocalStage::push`].
    fn rest<'a>(&'a mut self, work: &'a Work) -> Doing<'a, Option<RecordBatch>>;
}

enum Running {
    /// A stage that never waits.
    Quick(Box<dyn FragmentRun>),
    Waiting(Box<dyn LocalStage>),
}

impl Running {
    fn has_more(&self) -> bool {
        matches!(self, Running::Waiting(run) if run.has_more())
    }
}

/// What a pipeline has to say.
#[derive(Debug)]
pub(crate) enum Given {
    /// Rows, at least one.
    Batch(RecordBatch),
    /// It needs the next batch of its input, or to know that there is none.
    Input,
    /// All rows have been given. What it reads from is not needed any more.
    End,
}

/// A running pipeline.
pub(crate) struct LocalRun {
    work: Work,
    stages: Vec<Running>,
    /// Most rows that each stage takes at once.
    rows_max: Vec<usize>,
    /// Batches in front of each stage, and behind the last.
    waiting: Vec<VecDeque<RecordBatch>>,
    /// How long stages were at work since others had their turn.
    turn_us: u64,
    /// The first stage that has anything left to do.
    first: usize,
    /// No batch comes any more.
    ended: bool,
}

impl Pipeline {
    /// Starts it on the session's core.
    pub(crate) fn start_local(&self, work: &Work) -> LocalRun {
        let mut types = self.input.clone();
        let mut stages = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let output = stage.output_types(&types);
            stages.push(match stage {
                Stage::Sort(keys) => Running::Waiting(Box::new(sort::SortRun::new(keys, &types))),
                Stage::TopK { keys, count } => Running::Waiting(Box::new(sort::LocalTopKRun::new(
                    keys,
                    *count,
                    &types,
                    self.memory_bytes,
                ))),
                Stage::Aggregate { groups, aggregates, mode } if *mode != AggregateMode::Partial => {
                    let context = EvalContext::clone(&self.context);
                    let run =
                        aggregate::AggregateRun::new(groups, aggregates, *mode, context, self.memory_bytes);
                    Running::Waiting(Box::new(aggregate::LocalAggregateRun::new(run)))
                }
                Stage::Window(window) => {
                    let context = EvalContext::clone(&self.context);
                    let run = WindowRun::new(window, &types, &output, context, self.memory_bytes);
                    Running::Waiting(Box::new(run))
                }
                _ => Running::Quick(stage.start(&types, &output, &self.context, self.memory_bytes)),
            });
            types = output;
        }
        let waiting = vec![VecDeque::new(); stages.len() + 1];
        let rows_max = vec![FIRST_ROWS; stages.len()];
        LocalRun { work: work.clone(), stages, rows_max, waiting, turn_us: 0, first: 0, ended: false }
    }
}

impl LocalRun {
    /// Takes the next batch, which [`Given::Input`] asked for.
    pub(crate) fn push(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.waiting[0].push_back(batch);
        }
    }

    /// Says that no batch comes any more.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether no batch is needed any more, though rows may still come.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next rows, or what is needed for them.
    ///
    /// # Errors
    /// Those of the stages.
    pub(crate) async fn next(&mut self) -> Result<Given> {
        let last = self.stages.len();
        loop {
            if let Some(batch) = self.waiting[last].pop_front() {
                return Ok(Given::Batch(batch));
            }
            let is_busy = |stage: &usize| !self.waiting[*stage].is_empty() || self.stages[*stage].has_more();
            match (self.first..last).rev().find(is_busy) {
                Some(stage) => self.feed(stage).await?,
                None if !self.ended => return Ok(Given::Input),
                None if self.first == last => return Ok(Given::End),
                None => self.finish_first().await?,
            }
        }
    }

    /// Hands a batch to a stage, or has it give what it has.
    async fn feed(&mut self, stage: usize) -> Result<()> {
        if let Running::Waiting(run) = &mut self.stages[stage]
            && run.has_more()
        {
            let more = run.more(&self.work).await?;
            self.pass_on(stage, more.into_iter().collect());
            return Ok(());
        }
        let Some(mut batch) = self.waiting[stage].pop_front() else { return Ok(()) };
        let (rows, rows_max) = (batch.num_rows(), self.rows_max[stage]);
        if rows > rows_max {
            self.waiting[stage].push_front(batch.slice(rows_max, rows - rows_max));
            batch = batch.slice(0, rows_max);
        }
        let began_us = self.work.busy_us();
        let mut out = Vec::new();
        let flow = match &mut self.stages[stage] {
            Running::Quick(run) => run.push(batch, &mut out)?,
            Running::Waiting(run) => run.push(batch, &self.work, &mut out).await?,
        };
        let took_us = self.work.busy_us().saturating_sub(began_us);
        self.rows_max[stage] = match took_us {
            took if took > STEP_US => (rows_max.min(rows) * STEP_US as usize / took as usize).max(1),
            took if took < STEP_US / 3 => (2 * rows_max).min(BATCH_ROWS),
            _ => rows_max,
        };
        self.pass_on(stage, out);
        if flow == Flow::Done {
            self.waiting[..=stage].iter_mut().for_each(VecDeque::clear);
            (self.first, self.ended) = (stage, true);
        }
        self.turn_us += took_us;
        if self.turn_us >= TURN_US || rows.min(rows_max) >= TURN_ROWS {
            self.turn_us = 0;
            self.work.give_way().await?;
        }
        Ok(())
    }

    /// Has the first stage say the rest, or some of it.
    async fn finish_first(&mut self) -> Result<()> {
        let stage = self.first;
        let mut out = Vec::new();
        let more = match &mut self.stages[stage] {
            Running::Quick(run) => {
                run.finish(&mut out)?;
                false
            }
            Running::Waiting(run) => {
                out.extend(run.rest(&self.work).await?);
                !out.is_empty()
            }
        };
        self.pass_on(stage, out);
        self.first += usize::from(!more);
        Ok(())
    }

    fn pass_on(&mut self, stage: usize, batches: Vec<RecordBatch>) {
        self.waiting[stage + 1].extend(batches.into_iter().filter(|batch| batch.num_rows() > 0));
    }
}
