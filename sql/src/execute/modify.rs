//! UPDATE and DELETE, and SELECT that locks.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::Schema;
use omen_core::catalog::Table;
use omen_core::fragment::batch_bytes;
use omen_core::router::{Router, Transaction};
use omen_core::row::{Row, RowBuilder};
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;

use super::errors::{duplicate_key, not_null};
use super::query::{Reader, Running};
use super::rows::{Column, push_key};
use super::{Context, OutputRows, StatementTxn, WRITE_BYTES, Watch};
use crate::error::Result;
use crate::fragment::{batch_of, filter, out_of_memory};
use crate::plan::{Action, ModifyPlan};

/// What becomes of a key whose rows move between keys.
#[derive(Default)]
struct Moved {
    /// Its row goes elsewhere.
    left: bool,
    /// This row comes.
    came: Option<Row>,
}

/// A running UPDATE or DELETE.
pub(crate) struct ModifyRun<'a, R: Router> {
    router: &'a R,
    plan: &'a ModifyPlan,
    context: &'a Context<'a>,
    watch: &'a Watch<R>,
    builder: RowBuilder,
    batch: WriteBatch,
    /// For an UPDATE that changes keys: all its changes by key, since rows may take each other's places.
    moved: BTreeMap<Vec<u8>, Moved>,
    /// For a statement that joins: the keys of the rows that have changed.
    changed: BTreeSet<Vec<u8>>,
    /// Of `moved` and `changed`.
    memory_bytes: usize,
    count: u64,
    output: OutputRows,
}

impl<'a, R: Router> ModifyRun<'a, R> {
    /// A statement that has not begun.
    pub(crate) fn new(
        router: &'a R,
        plan: &'a ModifyPlan,
        context: &'a Context<'a>,
        watch: &'a Watch<R>,
    ) -> Self {
        ModifyRun {
            router,
            plan,
            context,
            watch,
            builder: RowBuilder::default(),
            batch: WriteBatch::new(),
            moved: BTreeMap::new(),
            changed: BTreeSet::new(),
            memory_bytes: 0,
            count: 0,
            output: OutputRows::default(),
        }
    }

    /// Runs it as a transaction of its own. Answers how many rows changed, and what RETURNING does.
    ///
    /// # Errors
    /// All that evaluation, constraints and the engine report.
    pub(crate) async fn run_alone(mut self, mut txn: StatementTxn<R>) -> Result<(u64, Vec<RecordBatch>)> {
        let last = self.all_changes(&mut txn).await?;
        txn.finish(self.router, &self.plan.table, last).await?;
        Ok((self.count, self.output.batches))
    }

    /// Runs it as a part of a transaction, or of a statement, that goes on.
    ///
    /// # Errors
    /// As [`ModifyRun::run_alone`].
    pub(crate) async fn run(mut self, txn: &mut StatementTxn<R>) -> Result<(u64, Vec<RecordBatch>)> {
        let last = self.all_changes(txn).await?;
        txn.write(self.router, &self.plan.table, last).await?;
        Ok((self.count, self.output.batches))
    }

    /// Makes all changes but the last ones, which it answers.
    async fn all_changes(&mut self, txn: &mut StatementTxn<R>) -> Result<WriteBatch> {
        let (view, _reading) = super::reading_view(self.router, &txn.txn);
        let reader = Reader { router: self.router, view, context: self.context, watch: self.watch };
        let mut running = reader.start(&self.plan.rows, None).await?;
        if txn.txn.has_written() {
            // The scan would meet the statement's own writes among those of the transaction: read first, then write.
            let mut batches = Vec::new();
            let mut size_bytes = 0;
            while let Some(batch) = running.next_batch().await? {
                size_bytes += batch_bytes(&batch);
                let memory_bytes = self.context.surroundings.memory_bytes;
                if size_bytes > memory_bytes {
                    return Err(out_of_memory("changing rows", memory_bytes).into());
                }
                batches.push(batch);
            }
            running = Running::Batches(batches.into());
        }
        while let Some(batch) = running.next_batch().await? {
            self.apply(&batch)?;
            if self.batch.as_bytes().len() >= WRITE_BYTES {
                self.watch.check()?;
                let batch = std::mem::take(&mut self.batch);
                txn.write(self.router, &self.plan.table, batch).await?;
            }
        }
        self.add_moved();
        Ok(std::mem::take(&mut self.batch))
    }

    fn apply(&mut self, batch: &RecordBatch) -> Result<()> {
        match &self.plan.action {
            Action::Delete => self.delete(batch),
            Action::Update(columns) => self.update(batch, columns),
            Action::Lock(_) => self.update(batch, &[]),
        }
    }

    fn delete(&mut self, batch: &RecordBatch) -> Result<()> {
        let plan = self.plan;
        let schema = &plan.table.schema;
        // Where the key columns are in what was read.
        let position = |column: usize| match plan.reads_keys_only() {
            true => schema.key.iter().position(|key| *key == column).unwrap_or_default(),
            false => column,
        };
        let types: Vec<PgType> = match plan.reads_keys_only() {
            true => schema.key.iter().map(|column| plan.types[*column]).collect(),
            false => plan.types.clone(),
        };
        let columns = Column::all(&types, batch);
        let mut key = Vec::new();
        let mut deleted = BooleanBufferBuilder::new(batch.num_rows());
        for row in 0..batch.num_rows() {
            key.clear();
            push_key(schema, |column| Cow::Owned(columns[position(column)].datum(row)), &mut key)?;
            let is_first = self.is_first(&key)?;
            deleted.append(is_first);
            if is_first {
                self.batch.delete(&key);
                self.count += 1;
            }
        }
        self.answer(batch.clone(), &BooleanArray::new(deleted.finish(), None))
    }

    fn update(&mut self, batch: &RecordBatch, columns: &[usize]) -> Result<()> {
        let plan = self.plan;
        let table = &*plan.table;
        let changed = with_new_values(batch, columns);
        let old = Column::all(&plan.types, batch);
        let new = Column::all(&plan.types, &changed);
        let mut key = Vec::new();
        let mut updated = BooleanBufferBuilder::new(batch.num_rows());
        for row in 0..batch.num_rows() {
            key.clear();
            push_key(&table.schema, |column| Cow::Owned(old[column].datum(row)), &mut key)?;
            let is_first = self.is_first(&key)?;
            updated.append(is_first);
            if !is_first {
                continue;
            }
            self.count += 1;
            check_columns(table, columns.iter().copied(), &new, row)?;
            self.builder.start(plan.types.len());
            new.iter().for_each(|column| column.push_to(row, &mut self.builder));
            let bytes = self.builder.finish()?;
            if plan.changes_key {
                let mut new_key = Vec::new();
                push_key(&table.schema, |column| Cow::Owned(new[column].datum(row)), &mut new_key)?;
                self.moves(&key, new_key, bytes)?;
            } else {
                self.batch.update(&key, &bytes);
            }
        }
        self.answer(changed, &BooleanArray::new(updated.finish(), None))
    }

    /// Whether the statement has not changed the row with this key yet.
    fn is_first(&mut self, key: &[u8]) -> Result<bool> {
        if !self.plan.joined {
            return Ok(true);
        }
        if self.changed.contains(key) {
            return Ok(false);
        }
        self.changed.insert(key.to_vec());
        self.use_memory(key.len() + 50, "rows that were changed")?;
        Ok(true)
    }

    /// Answers RETURNING about the rows of a batch that were changed.
    fn answer(&mut self, mut batch: RecordBatch, changed: &BooleanArray) -> Result<()> {
        let Some(returning) = &self.plan.returning else { return Ok(()) };
        if changed.true_count() < changed.len() {
            batch = filter(&batch, changed);
        }
        self.output.add_batch(returning, &batch, self.context)
    }

    fn use_memory(&mut self, bytes: usize, what: &str) -> Result<()> {
        self.memory_bytes += bytes;
        let memory_bytes = self.context.surroundings.memory_bytes;
        if self.memory_bytes > memory_bytes {
            return Err(out_of_memory(what, memory_bytes).into());
        }
        Ok(())
    }

    /// Notes that a row goes from one key to another, perhaps the same.
    fn moves(&mut self, from: &[u8], to: Vec<u8>, row: Row) -> Result<()> {
        self.use_memory(from.len() + to.len() + row.len() + 100, "changing keys")?;
        self.moved.entry(from.to_vec()).or_default().left = true;
        match self.moved.get_mut(&to) {
            Some(Moved { came: Some(_), .. }) => return Err(duplicate_key(&self.plan.table, &to)),
            Some(place) => place.came = Some(row),
            None => {
                self.moved.insert(to, Moved { left: false, came: Some(row) });
            }
        }
        Ok(())
    }

    fn add_moved(&mut self) {
        for (key, moved) in std::mem::take(&mut self.moved) {
            match (moved.left, moved.came) {
                (true, Some(row)) => self.batch.update(&key, &row),
                (true, None) => self.batch.delete(&key),
                (false, Some(row)) => self.batch.insert(&key, &row),
                (false, None) => {}
            }
        }
    }
}

/// The rows with new values in these columns; the values are the last columns of `batch`.
fn with_new_values(batch: &RecordBatch, columns: &[usize]) -> RecordBatch {
    let kept = batch.num_columns() - columns.len();
    let mut arrays = batch.columns()[..kept].to_vec();
    for (column, value) in columns.iter().zip(&batch.columns()[kept..]) {
        arrays[*column] = value.clone();
    }
    let schema = Schema::new(&batch.schema_ref().fields()[..kept]);
    batch_of(&Arc::new(schema), arrays, batch.num_rows())
}

/// 23502 if an assigned column that refuses NULL has one.
///
/// # Errors
/// That one.
pub(crate) fn check_columns(
    table: &Table,
    mut assigned: impl Iterator<Item = usize>,
    columns: &[Column<'_>],
    row: usize,
) -> Result<()> {
    let broken =
        assigned.find(|column| table.schema.columns[*column].not_null && columns[*column].is_null(row));
    match broken {
        None => Ok(()),
        Some(column) => {
            let values: Vec<Datum> = columns.iter().map(|column| column.datum(row)).collect();
            Err(not_null(table, column, &values))
        }
    }
}
