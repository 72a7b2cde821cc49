//! Joins of two streams of batches, one of which is kept in memory.
//!
//! The build side is collected first ([`BuildSide`]) and indexed by its keys ([`lookup`]); batches of the probe side
//! then look for their partners ([`JoinRun`]). Without keys every row of the build side is a candidate, which is a
//! nested loop. NULL keys have no partners. Pairs are found some at a time, so that a step is short whatever the data;
//! conditions that are no keys are evaluated over the pairs, and only then the output is made.
//!
//! Rows without a partner, where they are kept: those of a probe batch follow its pairs, those of the build side come
//! at the end. So do the rows of semi and anti joins, which give no pairs, and those with marks.

mod lookup;
pub(crate) mod probe;
pub(crate) mod spilled;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow_schema::{DataType, SchemaRef};
use omen_core::error::{SqlState, ValueError};
use omen_core::filter::{NumberSet, NumberSetBuilder};
use omen_core::fragment::{BATCH_ROWS, batch_bytes};
use omen_core::types::PgType;

use super::{Result, batch_of, schema_of, take};
use crate::execute::observed::RowCount;
use crate::expr::{EvalContext, Expr};
use crate::rules::{mark_columns, renumber};
pub(crate) use lookup::PARTNERS_MAX;
use lookup::{KeyBuffer, Lookup, Pairs, Probing};

/// Bytes of a batch that a join gives, about, if its values are long.
const OUTPUT_BYTES: usize = 32 << 20;

/// Bytes of the build side's values in a row that cores may join on their own: what a batch gives there is not divided.
const BUILD_WIDTH_MAX: usize = 1 << 10;

/// What part of the memory of a build side a set of its keys may take, beside it.
const SET_SHARE: usize = 8;

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
    /// NULL is equal to NULL.
    pub(crate) null_safe: bool,
}

/// What a join gives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Gives {
    /// Pairs of partners.
    Pairs,
    /// The same; a row of the probe side (or of the build side) that has two partners is an error.
    SinglePairs {
        /// The side.
        of_build: bool,
    },
    /// The rows of the probe side (or of the build side) that have partners, or those that have none.
    Rows {
        /// The side.
        of_build: bool,
        /// Which rows.
        with_partner: bool,
    },
    /// All rows of the probe side with a mark behind all columns: whether this condition is true of a partner, or NULL
    /// if it is true of none and NULL for some. Without: whether there is a partner, or NULL if NULLs among the keys
    /// leave that open.
    Mark(Option<Expr>),
    /// All rows of the probe side with a mark: whether there is a partner.
    Exists,
}

impl Gives {
    /// Whether rows of the probe side without a partner change nothing.
    pub(crate) fn skips_lonely_probe(&self) -> bool {
        match self {
            Gives::Pairs | Gives::SinglePairs { .. } => true,
            Gives::Rows { of_build, with_partner } => *of_build || *with_partner,
            Gives::Mark(_) | Gives::Exists => false,
        }
    }

    /// Whether it matters which rows of the build side have partners; `keeps_build`: those without are given, too.
    pub(crate) fn tracks_build(&self, keeps_build: bool) -> bool {
        match self {
            Gives::Pairs => keeps_build,
            Gives::SinglePairs { of_build } => keeps_build || *of_build,
            Gives::Rows { of_build, .. } => *of_build,
            Gives::Mark(_) | Gives::Exists => false,
        }
    }
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
    /// What is given.
    pub(crate) gives: Gives,
    /// Whether pairs are followed by rows of the probe side without a partner.
    pub(crate) keeps_probe: bool,
    /// Whether rows of the build side are.
    pub(crate) keeps_build: bool,
    /// Which columns of both sides are given; the mark is behind them.
    pub(crate) output: Vec<usize>,
    /// What expressions read beside the rows.
    pub(crate) context: EvalContext,
    /// Memory that the build side may take before it is put aside.
    pub(crate) memory_bytes: usize,
    /// Where the rows that are given are counted, if anybody asks.
    pub(crate) given: Option<RowCount>,
}

impl JoinStage {
    /// Notes how many rows are given.
    fn count(&self, rows: usize) {
        if let Some(given) = &self.given {
            given.fetch_add(rows as u64, Ordering::Relaxed);
        }
    }

    /// Whether it matters which rows of the probe side have partners.
    fn tracks_probe(&self) -> bool {
        match self.gives {
            Gives::Pairs => self.keeps_probe,
            Gives::SinglePairs { of_build } => self.keeps_probe || !of_build,
            Gives::Rows { of_build, .. } => !of_build,
            Gives::Mark(_) | Gives::Exists => true,
        }
    }

    fn tracks_build(&self) -> bool {
        self.gives.tracks_build(self.keeps_build)
    }

    /// Whether a row of the probe side needs no other partner once it has one.
    fn one_is_enough(&self) -> bool {
        matches!(self.gives, Gives::Rows { of_build: false, .. } | Gives::Mark(_) | Gives::Exists)
    }
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
    /// For each key its values, if they are numbers.
    numbers: Vec<Option<NumberSetBuilder>>,
    rows: usize,
    size_bytes: usize,
}

/// What is known about the keys of a build side.
pub(crate) enum KeyValues {
    /// For each key its values, in pieces, NULLs among them.
    Few(Vec<Vec<ArrayRef>>),
    /// For each key its values, if they are numbers that lie close to each other.
    Numbers(Vec<Option<Arc<NumberSet>>>),
    /// The only key's smallest and largest value, as a number.
    Between(i64, i64),
    /// Nothing that helps.
    Unknown,
}

impl BuildSide {
    /// Nothing yet.
    pub(crate) fn new(stage: JoinStage) -> BuildSide {
        let types = stage.keys.iter().map(|key| key.build.pg_type()).collect();
        let keys = KeyBuffer::new(types, stage.keys.iter().map(|key| key.null_safe).collect());
        let values = Some(vec![Vec::new(); stage.keys.len()]);
        let numbers =
            stage.keys.iter().map(|key| lookup::is_number(key.build.pg_type()).then(Default::default));
        let numbers = numbers.collect();
        let (batches, columns) = (Vec::new(), Vec::new());
        BuildSide { stage, batches, columns, keys, values, numbers, rows: 0, size_bytes: 0 }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Those of the keys' expressions.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let keys = self.stage.keys.iter().map(|key| key.build.eval(&batch, &self.stage.context));
        let keys: Vec<ArrayRef> = keys.collect::<Result<_>>()?;
        self.rows += rows;
        self.size_bytes += batch_bytes(&batch) + self.keys.push(&keys, rows) + INDEX_ROW_BYTES * rows;
        let set_bytes_max = self.stage.memory_bytes / SET_SHARE;
        for ((numbers, key), values) in self.numbers.iter_mut().zip(&self.stage.keys).zip(&keys) {
            if let Some(set) = numbers {
                lookup::add_numbers(values, key.build.pg_type(), set);
                if set.size_bytes() > set_bytes_max {
                    *numbers = None;
                }
            }
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

    /// Whether it takes more memory than it may.
    pub(crate) fn is_full(&self) -> bool {
        self.size_bytes > self.stage.memory_bytes.min(COLUMN_BYTES_MAX)
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
        let BuildSide { stage, columns, keys, values, numbers, rows, .. } = self;
        let batch = batch_of(&schema_of(&stage.build), columns, rows);
        let known = match values {
            Some(values) => KeyValues::Few(values),
            None => {
                let sets = numbers.into_iter().map(|numbers| numbers?.finish().map(Arc::new));
                let sets: Vec<Option<Arc<NumberSet>>> = sets.collect();
                match sets.iter().any(Option::is_some) {
                    true => KeyValues::Numbers(sets),
                    false => {
                        keys.bounds().map_or(KeyValues::Unknown, |(min, max)| KeyValues::Between(min, max))
                    }
                }
            }
        };
        let has_null = keys.has_null();
        let mut table = JoinTable::new(stage, batch, keys.finish());
        table.build_has_null = has_null;
        (JoinRun::new(Arc::new(table)), known)
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

/// Which rows of the probe side's batches have partners in blocks of the build side, and for which a mark is unknown.
pub(crate) type Flags = VecDeque<(Vec<bool>, Vec<bool>)>;

/// A batch of the probe side that is being joined.
struct ProbeBatch {
    batch: RecordBatch,
    probing: Probing,
    /// Which rows have partners; kept if that matters.
    has_partner: Vec<bool>,
    /// For which rows a mark is unknown.
    unknown: Vec<bool>,
    /// Most pairs of one step.
    step_rows: usize,
}

/// A build side that is ready for look-ups, with all that a running join does not change. Cores may share it.
pub(crate) struct JoinTable {
    stage: JoinStage,
    schema: SchemaRef,
    /// The conditions that are no keys, over the columns that `read` names.
    conjuncts: Vec<Expr>,
    /// The condition of a mark, over the same.
    mark: Option<Expr>,
    /// Whether a key of the build side is NULL.
    build_has_null: bool,
    /// The columns of both sides that these read.
    read: Vec<usize>,
    read_schema: SchemaRef,
    build: RecordBatch,
    lookup: Lookup,
    /// Bytes of the longest values of the build side's columns that are given.
    build_width: usize,
}

impl JoinTable {
    /// How many rows a row of the probe side can give, if there is a bound and no other row matters to it: then any number
    /// of runs may each join some rows of the probe side.
    pub(crate) fn fan_out(&self) -> Option<usize> {
        let one = self.stage.one_is_enough() && self.conjuncts.is_empty() && self.mark.is_none();
        if self.stage.tracks_build() || self.build_width > BUILD_WIDTH_MAX {
            return None;
        }
        if one { Some(1) } else { self.lookup.most_partners().map(|partners| partners.max(1)) }
    }
}

/// A running join.
pub(crate) struct JoinRun {
    table: Arc<JoinTable>,
    /// Rows of the whole build side, of which this may be a block.
    build_rows: usize,
    /// Whether a key of the whole build side is NULL.
    build_has_null: bool,
    /// What blocks of the build side before this one found, and what this one found for those behind it.
    before: Flags,
    found: Flags,
    is_last_block: bool,
    /// Which rows of the build side have partners; kept if rows without are given.
    has_partner: Vec<bool>,
    current: Option<ProbeBatch>,
    /// Once the probe side has ended: the row of the build side from which on rows without partners are to be given.
    rest: Option<usize>,
}

impl JoinTable {
    fn new(stage: JoinStage, build: RecordBatch, lookup: Lookup) -> JoinTable {
        let types = [stage.probe.as_slice(), &stage.build].concat();
        let mut is_read = vec![false; types.len()];
        let mut mark = match &stage.gives {
            Gives::Mark(mark) => mark.clone(),
            _ => None,
        };
        stage.conjuncts.iter().chain(&mark).for_each(|expr| mark_columns(expr, &mut is_read));
        let read: Vec<usize> = (0..types.len()).filter(|column| is_read[*column]).collect();
        let types_of = |columns: &[usize]| -> Vec<PgType> {
            columns.iter().map(|c| types.get(*c).copied().unwrap_or(PgType::Bool)).collect()
        };
        let mut conjuncts = stage.conjuncts.clone();
        for conjunct in conjuncts.iter_mut().chain(&mut mark) {
            renumber(conjunct, &|column| read.binary_search(&column).expect("marked before"));
        }
        let of_build = |column: &&usize| (stage.probe.len()..types.len()).contains(*column);
        let given =
            stage.output.iter().filter(of_build).map(|column| build.column(column - stage.probe.len()));
        let build_width = given.map(widest).sum();
        JoinTable {
            schema: schema_of(&types_of(&stage.output)),
            read_schema: schema_of(&types_of(&read)),
            conjuncts,
            mark,
            build_has_null: false,
            read,
            build,
            lookup,
            build_width,
            stage,
        }
    }
}

impl JoinRun {
    /// A join with a build side, from the start.
    pub(crate) fn new(table: Arc<JoinTable>) -> JoinRun {
        let rows = if table.stage.tracks_build() { table.build.num_rows() } else { 0 };
        JoinRun {
            build_rows: table.build.num_rows(),
            build_has_null: table.build_has_null,
            before: Flags::new(),
            found: Flags::new(),
            is_last_block: true,
            has_partner: vec![false; rows],
            current: None,
            rest: None,
            table,
        }
    }

    /// The build side.
    pub(crate) fn table(&self) -> &Arc<JoinTable> {
        &self.table
    }

    /// Says that this is a part of a join with so many rows in the build side, and what blocks before it found.
    fn is_part_of(&mut self, build_rows: usize, build_has_null: bool, before: Flags, is_last_block: bool) {
        (self.build_rows, self.build_has_null) = (build_rows, build_has_null);
        (self.before, self.is_last_block) = (before, is_last_block);
    }

    /// What it found for blocks behind it.
    fn into_flags(self) -> Flags {
        self.found
    }

    /// Whether no row of the probe side can lead to a row of the output.
    pub(crate) fn needs_no_probe(&self) -> bool {
        self.table.lookup.is_empty()
            && !self.table.stage.keeps_probe
            && self.table.stage.gives.skips_lonely_probe()
    }

    /// Takes the next batch of the probe side, which [`Next::Input`] asked for.
    ///
    /// # Errors
    /// Those of the keys' expressions.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let keys = self.table.stage.keys.iter().map(|key| key.probe.eval(&batch, &self.table.stage.context));
        let keys: Vec<ArrayRef> = keys.collect::<Result<_>>()?;
        let types: Vec<PgType> = self.table.stage.keys.iter().map(|key| key.probe.pg_type()).collect();
        let null_safe: Vec<bool> = self.table.stage.keys.iter().map(|key| key.null_safe).collect();
        let rows = batch.num_rows();
        let probing = self.table.lookup.probe(&keys, &types, &null_safe, rows);
        let mut unknown = Vec::new();
        if let Gives::Mark(condition) = &self.table.stage.gives {
            let valid = lookup::all_valid(&keys, &null_safe);
            let is_open = |row: usize| match &valid {
                _ if condition.is_some() || self.build_rows == 0 => false,
                _ if self.build_has_null => true,
                Some(valid) => valid.is_null(row),
                None => false,
            };
            unknown = (0..rows).map(is_open).collect();
        }
        let of_probe = |column: &&usize| **column < self.table.stage.probe.len();
        let given = self.table.stage.output.iter().filter(of_probe).map(|column| batch.column(*column));
        let width = self.table.build_width + given.map(widest).sum::<usize>();
        let (has_partner, unknown) = match self.before.pop_front() {
            Some(flags) => flags,
            None => (vec![false; if self.table.stage.tracks_probe() { rows } else { 0 }], unknown),
        };
        self.current = Some(ProbeBatch {
            has_partner,
            unknown,
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
        let one =
            self.table.stage.one_is_enough() && self.table.conjuncts.is_empty() && self.table.mark.is_none();
        let is_done = self.table.lookup.pairs(&mut current.probing, current.step_rows, one, &mut pairs);
        if pairs.probe.is_empty() {
            if !is_done {
                return Ok(Next::Idle);
            }
            let rest = if self.is_last_block { self.rest_of_probe() } else { None };
            if let Some(current) = self.current.take()
                && !self.is_last_block
            {
                self.found.push_back((current.has_partner, current.unknown));
            }
            return Ok(rest.map_or(Next::Idle, Next::Batch));
        }
        self.filter(&mut pairs)?;
        if self.table.mark.is_some() {
            self.ask(&mut pairs)?;
        }
        if pairs.probe.is_empty() {
            return Ok(Next::Idle);
        }
        self.note_partners(&pairs)?;
        if !matches!(self.table.stage.gives, Gives::Pairs | Gives::SinglePairs { .. }) {
            return Ok(Next::Idle);
        }
        let columns = self.gather(&self.table.stage.output, &pairs);
        self.table.stage.count(pairs.probe.len());
        Ok(Next::Batch(batch_of(&self.table.schema, columns, pairs.probe.len())))
    }

    /// Notes which rows have partners.
    fn note_partners(&mut self, pairs: &Pairs) -> Result<()> {
        let mut has_two = false;
        if let Some(current) = &mut self.current
            && self.table.stage.tracks_probe()
        {
            for row in &pairs.probe {
                has_two |= std::mem::replace(&mut current.has_partner[*row as usize], true);
            }
            has_two &= self.table.stage.gives == Gives::SinglePairs { of_build: false };
        }
        if self.table.stage.tracks_build() {
            let mut again = false;
            for row in &pairs.build {
                again |= std::mem::replace(&mut self.has_partner[*row as usize], true);
            }
            has_two |= again && self.table.stage.gives == Gives::SinglePairs { of_build: true };
        }
        if has_two {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(ValueError::new(SqlState::CARDINALITY_VIOLATION, message));
        }
        Ok(())
    }

    /// Leaves out pairs for which the mark's condition is not true, and notes for which rows it is unknown.
    fn ask(&mut self, pairs: &mut Pairs) -> Result<()> {
        let Some(mark) = &self.table.mark else { return Ok(()) };
        if pairs.probe.is_empty() {
            return Ok(());
        }
        let batch =
            batch_of(&self.table.read_schema, self.gather(&self.table.read, pairs), pairs.probe.len());
        let answers = mark.eval(&batch, &self.table.stage.context)?;
        let answers = answers.as_boolean();
        if let Some(current) = &mut self.current {
            for (position, row) in pairs.probe.iter().enumerate() {
                current.unknown[*row as usize] |= answers.is_null(position);
            }
        }
        let keep = (0..answers.len()).map(|row| answers.is_valid(row) && answers.value(row));
        pairs.retain(&BooleanArray::from(keep.collect::<Vec<bool>>()));
        Ok(())
    }

    /// The rows of the current batch with their marks.
    fn marked_probe(&self, current: &ProbeBatch) -> RecordBatch {
        let unknown = |row: usize| current.unknown.get(row).is_some_and(|unknown| *unknown);
        let mark = |(row, has): (usize, &bool)| if *has || !unknown(row) { Some(*has) } else { None };
        let marks: ArrayRef =
            Arc::new(current.has_partner.iter().enumerate().map(mark).collect::<BooleanArray>());
        let column = |column: &usize| match *column < self.table.stage.probe.len() {
            true => current.batch.column(*column).clone(),
            false => marks.clone(),
        };
        let columns = self.table.stage.output.iter().map(column).collect();
        batch_of(&self.table.schema, columns, current.batch.num_rows())
    }

    /// Leaves out pairs for which a condition is not true.
    fn filter(&self, pairs: &mut Pairs) -> Result<()> {
        if self.table.conjuncts.is_empty() {
            return Ok(());
        }
        let mut batch =
            batch_of(&self.table.read_schema, self.gather(&self.table.read, pairs), pairs.probe.len());
        for conjunct in &self.table.conjuncts {
            let keep = conjunct.eval_predicate(&batch, &self.table.stage.context)?;
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
        let probe_width = self.table.stage.probe.len();
        let probe = self.current.as_ref().map(|current| &current.batch);
        // Every row has one partner: usual for foreign keys.
        let is_whole = probe.is_some_and(|probe| pairs.probe.len() == probe.num_rows())
            && pairs.probe.iter().enumerate().all(|(position, row)| position == *row as usize);
        let probe_rows = UInt32Array::from(pairs.probe.clone());
        let build_rows = UInt32Array::from(pairs.build.clone());
        let column = |column: &usize| match column.checked_sub(probe_width) {
            Some(column) => take(self.table.build.column(column), &build_rows),
            None => match probe {
                Some(probe) if is_whole => probe.column(*column).clone(),
                Some(probe) => take(probe.column(*column), &probe_rows),
                None => new_null_array(&self.table.stage.probe[*column].arrow(), pairs.probe.len()),
            },
        };
        columns.iter().map(column).collect()
    }

    /// The rows of the current batch that follow its pairs: without a partner, as a rule.
    fn rest_of_probe(&self) -> Option<RecordBatch> {
        let current = self.current.as_ref()?;
        let wanted = match self.table.stage.gives {
            Gives::Mark(_) | Gives::Exists => return Some(self.marked_probe(current)),
            Gives::Rows { of_build: true, .. } => return None,
            Gives::Rows { of_build: false, with_partner } => with_partner,
            Gives::Pairs | Gives::SinglePairs { .. } if self.table.stage.keeps_probe => false,
            Gives::Pairs | Gives::SinglePairs { .. } => return None,
        };
        let alone = indices(current.has_partner.iter().map(|has_partner| *has_partner == wanted));
        if alone.is_empty() {
            return None;
        }
        let probe_width = self.table.stage.probe.len();
        let column = |column: &usize| match column.checked_sub(probe_width) {
            Some(column) => new_null_array(&self.table.stage.build[column].arrow(), alone.len()),
            None => take(current.batch.column(*column), &alone),
        };
        let columns = self.table.stage.output.iter().map(column).collect();
        Some(batch_of(&self.table.schema, columns, alone.len()))
    }

    /// The next rows of the build side that are given at the end.
    fn rest_of_build(&mut self, from: usize) -> Next {
        let wanted = match self.table.stage.gives {
            Gives::Rows { of_build: true, with_partner } => with_partner,
            Gives::Pairs | Gives::SinglePairs { .. } if self.table.stage.keeps_build => false,
            _ => return Next::End,
        };
        if from >= self.has_partner.len() {
            return Next::End;
        }
        let step = (OUTPUT_BYTES / self.table.build_width.max(1)).clamp(1, BATCH_ROWS);
        let to = self.has_partner.len().min(from + step);
        self.rest = Some(to);
        let alone = indices(self.has_partner[from..to].iter().map(|has_partner| *has_partner == wanted));
        if alone.is_empty() {
            return Next::Idle;
        }
        let probe_width = self.table.stage.probe.len();
        let column = |column: &usize| match column.checked_sub(probe_width) {
            Some(column) => take(&self.table.build.column(column).slice(from, to - from), &alone),
            None => new_null_array(&self.table.stage.probe[*column].arrow(), alone.len()),
        };
        let columns = self.table.stage.output.iter().map(column).collect();
        self.table.stage.count(alone.len());
        Next::Batch(batch_of(&self.table.schema, columns, alone.len()))
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
