//! Joins of two streams of batches, one of which is kept in memory.
//!
//! The build side is collected first ([`BuildSide`]) and indexed by its keys ([`lookup`]); batches of the probe side
//! then look for their partners ([`JoinRun`]). Without keys every row of the build side is a candidate, which is a
//! nested loop. NULL keys have no partners. Pairs are found some at a time, so that a step is short whatever the data;
//! conditions that are no keys are evaluated over the pairs, and only then the output is made.
//!
//! Rows without a partner, where they are kept: those of a probe batch follow its pairs, those of the build side come
//! at the end.

mod lookup;
#[cfg(test)]
mod tests;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow_schema::{DataType, SchemaRef};
use omen_core::fragment::{BATCH_ROWS, batch_bytes};
use omen_core::types::PgType;

use super::{Result, batch_of, out_of_memory, schema_of, take};
use crate::expr::{EvalContext, Expr};
use crate::rules::{mark_columns, renumber};
use lookup::{KeyBuffer, Lookup, Pairs, Probing};

/// Bytes of a batch that a join gives, about, if its values are long.
const OUTPUT_BYTES: usize = 32 << 20;

/// Bytes of columns that offsets of 32 bits can address.
const COLUMN_BYTES_MAX: usize = i32::MAX as usize;

/// Bytes that the index takes for a row of the build side.
const INDEX_ROW_BYTES: usize = 24;

/// Rows of a build side up to which the values of its keys are told to the probe side's scans.
pub(crate) const FEW_KEYS: usize = 1_024;

/// An equality of both sides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JoinKey {
    /// Over the columns of the probe side.
    pub(crate) probe: Expr,
    /// Over the columns of the build side.
    pub(crate) build: Expr,
}

/// What a join does.
#[derive(Clone, Debug)]
pub(crate) struct JoinStage {
    /// Types of the probe side.
    pub(crate) probe: Vec<PgType>,
    /// Types of the build side.
    pub(crate) build: Vec<PgType>,
    /// Equalities.
    pub(crate) keys: Vec<JoinKey>,
    /// Other conditions: over the columns of the probe side, then the build side.
    pub(crate) conjuncts: Vec<Expr>,
    /// Whether rows of the probe side are given without a partner.
    pub(crate) keeps_probe: bool,
    /// Whether rows of the build side are.
    pub(crate) keeps_build: bool,
    /// Which columns of both sides are given.
    pub(crate) output: Vec<usize>,
    /// What expressions read beside the rows.
    pub(crate) context: EvalContext,
    /// Most memory that the build side may take.
    pub(crate) memory_bytes: usize,
}

/// A build side that is being collected.
pub(crate) struct BuildSide {
    stage: JoinStage,
    batches: Vec<RecordBatch>,
    /// Whole columns, as far as they have been made of the batches.
    columns: Vec<ArrayRef>,
    keys: KeyBuffer,
    /// The values of the keys, as long as they are few.
    values: Option<Vec<Vec<ArrayRef>>>,
    rows: usize,
    size_bytes: usize,
}

/// What is known about the keys of a build side.
pub(crate) enum KeyValues {
    /// For each key its values, in pieces, NULLs among them.
    Few(Vec<Vec<ArrayRef>>),
    /// The only key's smallest and largest value, as a number.
    Between(i64, i64),
    /// Nothing that helps.
    Unknown,
}

impl BuildSide {
    /// Nothing yet.
    pub(crate) fn new(stage: JoinStage) -> BuildSide {
        let keys = KeyBuffer::new(stage.keys.iter().map(|key| key.build.pg_type()).collect());
        let values = Some(vec![Vec::new(); stage.keys.len()]);
        BuildSide { stage, batches: Vec::new(), columns: Vec::new(), keys, values, rows: 0, size_bytes: 0 }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Those of the keys' expressions; 53200 if there are too many rows.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let keys = self.stage.keys.iter().map(|key| key.build.eval(&batch, &self.stage.context));
        let keys: Vec<ArrayRef> = keys.collect::<Result<_>>()?;
        self.rows += rows;
        self.size_bytes += batch_bytes(&batch) + self.keys.push(&keys, rows) + INDEX_ROW_BYTES * rows;
        let memory_bytes = self.stage.memory_bytes.min(COLUMN_BYTES_MAX);
        if self.size_bytes > memory_bytes {
            return Err(out_of_memory("a join", memory_bytes));
        }
        if self.rows > FEW_KEYS {
            self.values = None;
        }
        for (values, key) in self.values.iter_mut().flatten().zip(keys) {
            values.push(key);
        }
        self.batches.push(batch);
        Ok(())
    }

    /// Does a part of what [`BuildSide::finish`] needs, once all rows are there; answers whether that was the last one.
    pub(crate) fn index(&mut self) -> bool {
        let column = self.columns.len();
        let Some(pg_type) = self.stage.build.get(column) else { return self.keys.index() };
        let chunks: Vec<ArrayRef> = self.batches.iter().map(|batch| batch.column(column).clone()).collect();
        self.columns.push(super::concat(&chunks, *pg_type));
        false
    }

    /// Indexes the rows.
    pub(crate) fn finish(mut self) -> (JoinRun, KeyValues) {
        while !self.index() {}
        let BuildSide { stage, columns, keys, values, rows, .. } = self;
        let batch = batch_of(&schema_of(&stage.build), columns, rows);
        let known = match (values, keys.bounds()) {
            (Some(values), _) => KeyValues::Few(values),
            (None, Some((min, max))) => KeyValues::Between(min, max),
            (None, None) => KeyValues::Unknown,
        };
        (JoinRun::new(stage, batch, keys.finish()), known)
    }
}

/// What a running join has to say.
#[derive(Debug)]
pub(crate) enum Next {
    /// Rows.
    Batch(RecordBatch),
    /// Nothing came of a step; there is more to do.
    Idle,
    /// It needs the next batch of the probe side, or to know that there is none.
    Input,
    /// All rows have been given.
    End,
}

/// A batch of the probe side that is being joined.
struct ProbeBatch {
    batch: RecordBatch,
    probing: Probing,
    /// Which rows have partners; kept if rows without are given.
    has_partner: Vec<bool>,
    /// Most pairs of one step.
    step_rows: usize,
}

/// A running join.
pub(crate) struct JoinRun {
    stage: JoinStage,
    schema: SchemaRef,
    /// The conditions that are no keys, over the columns that `read` names.
    conjuncts: Vec<Expr>,
    /// The columns of both sides that these read.
    read: Vec<usize>,
    read_schema: SchemaRef,
    build: RecordBatch,
    lookup: Lookup,
    /// Which rows of the build side have partners; kept if rows without are given.
    has_partner: Vec<bool>,
    /// Bytes of the longest values of the build side's columns that are given.
    build_width: usize,
    current: Option<ProbeBatch>,
    /// Once the probe side has ended: the row of the build side from which on rows without partners are to be given.
    rest: Option<usize>,
}

impl JoinRun {
    fn new(stage: JoinStage, build: RecordBatch, lookup: Lookup) -> JoinRun {
        let types = [stage.probe.as_slice(), &stage.build].concat();
        let mut is_read = vec![false; types.len()];
        stage.conjuncts.iter().for_each(|expr| mark_columns(expr, &mut is_read));
        let read: Vec<usize> = (0..types.len()).filter(|column| is_read[*column]).collect();
        let types_of = |columns: &[usize]| -> Vec<PgType> { columns.iter().map(|c| types[*c]).collect() };
        let mut conjuncts = stage.conjuncts.clone();
        for conjunct in &mut conjuncts {
            renumber(conjunct, &|column| read.binary_search(&column).expect("marked before"));
        }
        let of_build = |column: &&usize| **column >= stage.probe.len();
        let given =
            stage.output.iter().filter(of_build).map(|column| build.column(column - stage.probe.len()));
        let build_width = given.map(widest).sum();
        JoinRun {
            schema: schema_of(&types_of(&stage.output)),
            read_schema: schema_of(&types_of(&read)),
            conjuncts,
            read,
            has_partner: vec![false; if stage.keeps_build { build.num_rows() } else { 0 }],
            build,
            lookup,
            build_width,
            current: None,
            rest: None,
            stage,
        }
    }

    /// Whether no row of the probe side can lead to a row of the output.
    pub(crate) fn needs_no_probe(&self) -> bool {
        self.lookup.is_empty() && !self.stage.keeps_probe
    }

    /// Takes the next batch of the probe side, which [`Next::Input`] asked for.
    ///
    /// # Errors
    /// Those of the keys' expressions.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let keys = self.stage.keys.iter().map(|key| key.probe.eval(&batch, &self.stage.context));
        let keys: Vec<ArrayRef> = keys.collect::<Result<_>>()?;
        let types: Vec<PgType> = self.stage.keys.iter().map(|key| key.probe.pg_type()).collect();
        let probing = self.lookup.probe(&keys, &types, batch.num_rows());
        let of_probe = |column: &&usize| **column < self.stage.probe.len();
        let given = self.stage.output.iter().filter(of_probe).map(|column| batch.column(*column));
        let width = self.build_width + given.map(widest).sum::<usize>();
        self.current = Some(ProbeBatch {
            has_partner: vec![false; if self.stage.keeps_probe { batch.num_rows() } else { 0 }],
            step_rows: (OUTPUT_BYTES / width.max(1)).clamp(1, BATCH_ROWS),
            batch,
            probing,
        });
        Ok(())
    }

    /// Says that the probe side has ended.
    pub(crate) fn end_probe(&mut self) {
        self.current = None;
        self.rest = Some(0);
    }

    /// Does one step.
    ///
    /// # Errors
    /// Those of the conditions.
    pub(crate) fn next(&mut self) -> Result<Next> {
        if let Some(from) = self.rest {
            return Ok(self.rest_of_build(from));
        }
        let Some(current) = &mut self.current else { return Ok(Next::Input) };
        let mut pairs = Pairs::default();
        let is_done = self.lookup.pairs(&mut current.probing, current.step_rows, &mut pairs);
        if pairs.probe.is_empty() {
            if !is_done {
                return Ok(Next::Idle);
            }
            let rest = self.rest_of_probe();
            self.current = None;
            return Ok(rest.map_or(Next::Idle, Next::Batch));
        }
        self.filter(&mut pairs)?;
        if pairs.probe.is_empty() {
            return Ok(Next::Idle);
        }
        if let Some(current) = &mut self.current
            && self.stage.keeps_probe
        {
            pairs.probe.iter().for_each(|row| current.has_partner[*row as usize] = true);
        }
        if self.stage.keeps_build {
            pairs.build.iter().for_each(|row| self.has_partner[*row as usize] = true);
        }
        let columns = self.gather(&self.stage.output, &pairs);
        Ok(Next::Batch(batch_of(&self.schema, columns, pairs.probe.len())))
    }

    /// Leaves out pairs for which a condition is not true.
    fn filter(&self, pairs: &mut Pairs) -> Result<()> {
        if self.conjuncts.is_empty() {
            return Ok(());
        }
        let mut batch = batch_of(&self.read_schema, self.gather(&self.read, pairs), pairs.probe.len());
        for conjunct in &self.conjuncts {
            let keep = conjunct.eval_predicate(&batch, &self.stage.context)?;
            if keep.true_count() == batch.num_rows() {
                continue;
            }
            pairs.retain(&keep);
            if pairs.probe.is_empty() {
                return Ok(());
            }
            batch = super::filter(&batch, &keep);
        }
        Ok(())
    }

    /// The values of some columns for pairs.
    fn gather(&self, columns: &[usize], pairs: &Pairs) -> Vec<ArrayRef> {
        let probe_width = self.stage.probe.len();
        let probe = self.current.as_ref().map(|current| &current.batch);
        // Every row has one partner: usual for foreign keys.
        let is_whole = probe.is_some_and(|probe| pairs.probe.len() == probe.num_rows())
            && pairs.probe.iter().enumerate().all(|(position, row)| position == *row as usize);
        let probe_rows = UInt32Array::from(pairs.probe.clone());
        let build_rows = UInt32Array::from(pairs.build.clone());
        let column = |column: &usize| match column.checked_sub(probe_width) {
            Some(column) => take(self.build.column(column), &build_rows),
            None => match probe {
                Some(probe) if is_whole => probe.column(*column).clone(),
                Some(probe) => take(probe.column(*column), &probe_rows),
                None => new_null_array(&self.stage.probe[*column].arrow(), pairs.probe.len()),
            },
        };
        columns.iter().map(column).collect()
    }

    /// The rows of the current batch without a partner.
    fn rest_of_probe(&self) -> Option<RecordBatch> {
        let current = self.current.as_ref()?;
        let alone = indices(current.has_partner.iter().map(|has_partner| !has_partner));
        if alone.is_empty() {
            return None;
        }
        let probe_width = self.stage.probe.len();
        let column = |column: &usize| match column.checked_sub(probe_width) {
            Some(column) => new_null_array(&self.stage.build[column].arrow(), alone.len()),
            None => take(current.batch.column(*column), &alone),
        };
        let columns = self.stage.output.iter().map(column).collect();
        Some(batch_of(&self.schema, columns, alone.len()))
    }

    /// The next rows of the build side without a partner.
    fn rest_of_build(&mut self, from: usize) -> Next {
        if from >= self.has_partner.len() {
            return Next::End;
        }
        let step = (OUTPUT_BYTES / self.build_width.max(1)).clamp(1, BATCH_ROWS);
        let to = self.has_partner.len().min(from + step);
        self.rest = Some(to);
        let alone = indices(self.has_partner[from..to].iter().map(|has_partner| !has_partner));
        if alone.is_empty() {
            return Next::Idle;
        }
        let probe_width = self.stage.probe.len();
        let column = |column: &usize| match column.checked_sub(probe_width) {
            Some(column) => take(&self.build.column(column).slice(from, to - from), &alone),
            None => new_null_array(&self.stage.probe[*column].arrow(), alone.len()),
        };
        let columns = self.stage.output.iter().map(column).collect();
        Next::Batch(batch_of(&self.schema, columns, alone.len()))
    }
}

/// Where a mask is true.
fn indices(mask: impl Iterator<Item = bool>) -> UInt32Array {
    (0u32..).zip(mask).filter(|(_, keep)| *keep).map(|(row, _)| row).collect::<Vec<u32>>().into()
}

/// Bytes of the longest value of a column, if values have different lengths.
fn widest(column: &ArrayRef) -> usize {
    let longest = |offsets: &[i32]| offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    let bytes = match column.data_type() {
        DataType::Utf8 => longest(column.as_string::<i32>().value_offsets()),
        DataType::Binary => longest(column.as_binary::<i32>().value_offsets()),
        _ => 16,
    };
    usize::try_from(bytes).unwrap_or(0)
}
