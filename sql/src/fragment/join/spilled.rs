//! Joins whose build side does not fit into memory.
//!
//! Both sides are cut into parts by the hash of their keys, on disk; then the parts are joined one after another, and a
//! part that is still too large is cut again. Where cutting does not help, because there are no keys or most rows have
//! the same one, the build side is taken in blocks, and the rows of the probe side are read again for each; which of
//! them have partners is remembered in between.

use std::collections::VecDeque;

use arrow_array::{ArrayRef, RecordBatch};
use omen_core::types::PgType;

use super::{BuildSide, Flags, JoinRun, JoinStage};
use crate::expr::Expr;
use crate::fragment::rowkey::RowKeys;
use crate::fragment::spill::partition::{LEVELS_MAX, Partitions};
use crate::fragment::spill::{Run, Work};
use crate::fragment::{Result, schema_of};

/// Rows of both sides that are joined alone.
struct Part {
    build: Run,
    probe: Run,
    /// How often they were cut.
    level: u32,
}

/// A join whose build side is on disk.
pub(crate) struct SpilledJoin {
    stage: JoinStage,
    work: Work,
    build: Option<Partitions>,
    /// Rows of the build side.
    build_rows: usize,
    build_has_null: bool,
    /// The parts of the build side, once it is whole.
    build_parts: Vec<Run>,
    probe: Option<Partitions>,
    parts: Vec<Part>,
    /// The part that is being joined: the blocks of its build side that are left, and its probe side.
    blocks: Option<(Run, Run)>,
    /// What is left of the present pass over the probe side.
    reading: Option<Run>,
}

fn keys_of<'k>(
    stage: &JoinStage,
    exprs: impl Iterator<Item = &'k Expr>,
    batch: &RecordBatch,
) -> Result<RowKeys> {
    let exprs: Vec<&Expr> = exprs.collect();
    if exprs.is_empty() {
        return Ok(RowKeys::default());
    }
    let columns: Vec<ArrayRef> =
        exprs.iter().map(|expr| expr.eval(batch, &stage.context)).collect::<Result<_>>()?;
    let types: Vec<PgType> = exprs.iter().map(|expr| expr.pg_type()).collect();
    Ok(RowKeys::of(&columns, &types, batch.num_rows()))
}

fn build_keys(stage: &JoinStage, batch: &RecordBatch) -> Result<RowKeys> {
    keys_of(stage, stage.keys.iter().map(|key| &key.build), batch)
}

fn probe_keys(stage: &JoinStage, batch: &RecordBatch) -> Result<RowKeys> {
    keys_of(stage, stage.keys.iter().map(|key| &key.probe), batch)
}

impl SpilledJoin {
    /// Puts aside what was collected of a build side.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) async fn begin(side: BuildSide, work: &Work) -> Result<SpilledJoin> {
        let build_has_null = side.keys.has_null();
        let stage = side.stage;
        let build = Partitions::create(work, &schema_of(&stage.build), 0).await?;
        let mut join = SpilledJoin {
            stage,
            work: work.clone(),
            build: Some(build),
            build_rows: 0,
            build_has_null,
            build_parts: Vec::new(),
            probe: None,
            parts: Vec::new(),
            blocks: None,
            reading: None,
        };
        for batch in side.batches {
            join.push_build(batch).await?;
        }
        Ok(join)
    }

    /// Adds rows of the build side.
    ///
    /// # Errors
    /// Those of the keys' expressions and of writing files.
    pub(crate) async fn push_build(&mut self, batch: RecordBatch) -> Result<()> {
        let keys = build_keys(&self.stage, &batch)?;
        self.build_rows += batch.num_rows();
        if !self.build_has_null {
            let exprs = self.stage.keys.iter().filter(|key| !key.null_safe);
            for key in exprs {
                self.build_has_null |= key.build.eval(&batch, &self.stage.context)?.null_count() > 0;
            }
        }
        match &mut self.build {
            Some(build) => build.push(&batch, &keys, &self.work).await,
            None => Ok(()),
        }
    }

    /// Says that the build side has ended; the probe side comes next.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) async fn end_build(&mut self) -> Result<()> {
        if let Some(build) = self.build.take() {
            self.build_parts = build.finish().await?;
        }
        self.probe = Some(Partitions::create(&self.work, &schema_of(&self.stage.probe), 0).await?);
        Ok(())
    }

    /// Whether it takes rows of the probe side.
    pub(crate) fn takes_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Adds rows of the probe side.
    ///
    /// # Errors
    /// As [`SpilledJoin::push_build`].
    pub(crate) async fn push_probe(&mut self, batch: RecordBatch) -> Result<()> {
        let keys = probe_keys(&self.stage, &batch)?;
        match &mut self.probe {
            Some(probe) => probe.push(&batch, &keys, &self.work).await,
            None => Ok(()),
        }
    }

    /// Says that the probe side has ended.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) async fn end_probe(&mut self) -> Result<()> {
        if let Some(probe) = self.probe.take() {
            let probe = probe.finish().await?;
            let level = if self.stage.keys.is_empty() { LEVELS_MAX } else { 1 };
            let build = std::mem::take(&mut self.build_parts);
            self.parts =
                build.into_iter().zip(probe).map(|(build, probe)| Part { build, probe, level }).collect();
        }
        Ok(())
    }

    /// The next part to be joined; `before` is the one that has ended.
    ///
    /// # Errors
    /// Those of reading and writing files.
    pub(crate) async fn next_join(&mut self, before: Option<JoinRun>) -> Result<Option<JoinRun>> {
        if let Some((blocks, probe)) = self.blocks.take() {
            let flags = before.map(JoinRun::into_flags).unwrap_or_default();
            return self.block(blocks, probe, flags).await.map(Some);
        }
        drop(before);
        while let Some(part) = self.parts.pop() {
            if part.build.rows == 0 && part.probe.rows == 0 {
                continue;
            }
            if part.level < LEVELS_MAX && !self.fits(&part.build).await? {
                self.cut(part).await?;
                continue;
            }
            return self.block(part.build, part.probe, VecDeque::new()).await.map(Some);
        }
        Ok(None)
    }

    /// Whether a build side is small enough for memory.
    async fn fits(&self, build: &Run) -> Result<bool> {
        let mut side = BuildSide::new(self.stage.clone());
        let mut build = build.clone();
        while let Some(batch) = build.next().await? {
            side.push(batch)?;
            if side.is_full() {
                return Ok(build.is_empty());
            }
        }
        Ok(true)
    }

    /// Cuts a part again.
    async fn cut(&mut self, part: Part) -> Result<()> {
        let Part { build: mut whole_build, probe: mut whole_probe, level } = part;
        let rows = whole_build.rows;
        let mut build = Partitions::create(&self.work, &schema_of(&self.stage.build), level).await?;
        while let Some(batch) = whole_build.next().await? {
            build.push(&batch, &build_keys(&self.stage, &batch)?, &self.work).await?;
        }
        let mut probe = Partitions::create(&self.work, &schema_of(&self.stage.probe), level).await?;
        while let Some(batch) = whole_probe.next().await? {
            probe.push(&batch, &probe_keys(&self.stage, &batch)?, &self.work).await?;
        }
        let (build, probe) = (build.finish().await?, probe.finish().await?);
        for (build, probe) in build.into_iter().zip(probe) {
            // One key has nearly all rows: it stays together however often it is cut.
            let level = if build.rows > rows / 10 * 9 { LEVELS_MAX } else { level + 1 };
            self.parts.push(Part { build, probe, level });
        }
        Ok(())
    }

    /// Joins as much of a build side as fits into memory.
    async fn block(&mut self, mut build: Run, probe: Run, flags: Flags) -> Result<JoinRun> {
        let mut side = BuildSide::new(self.stage.clone());
        while !side.is_full() {
            let Some(batch) = build.next().await? else { break };
            side.push(batch)?;
        }
        while !side.index() {
            self.work.give_way().await?;
        }
        let (mut join, _) = side.finish();
        join.is_part_of(self.build_rows, self.build_has_null, flags, build.is_empty());
        self.reading = Some(probe.clone());
        if !build.is_empty() {
            self.blocks = Some((build, probe));
        }
        Ok(join)
    }

    /// The next rows of the probe side for the part that is being joined.
    ///
    /// # Errors
    /// Those of reading files.
    pub(crate) async fn next_probe(&mut self) -> Result<Option<RecordBatch>> {
        match &mut self.reading {
            Some(run) => run.next().await,
            None => Ok(None),
        }
    }
}
