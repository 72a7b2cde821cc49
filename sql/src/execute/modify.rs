//! UPDATE and DELETE.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use omen_core::catalog::Table;
use omen_core::fragment::batch_bytes;
use omen_core::router::{Router, Transaction};
use omen_core::row::{Row, RowBuilder};
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;

use super::errors::{duplicate_key, not_null};
use super::insert::Written;
use super::query::{Reader, Running};
use super::rows::{Column, push_key};
use super::{Context, OutputRows, StatementTxn, WRITE_BYTES, Watch};
use crate::bind::modify::Change;
use crate::error::Result;
use crate::expr::{EvalContext, Expr};
use crate::fragment::{batch_of, out_of_memory, schema_of};
use crate::plan::ModifyPlan;

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
    moved_bytes: usize,
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
            moved_bytes: 0,
            count: 0,
            output: OutputRows::default(),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// All that evaluation, constraints and the engine report.
    pub(crate) async fn run(mut self, mut txn: StatementTxn<R>) -> Result<Written<R>> {
        let (view, _reading) = super::reading_view(self.router, &txn.txn);
        let reader = Reader { router: self.router, view, context: self.context, watch: self.watch };
        let mut running = reader.scan(&self.plan.scan, &[], None).await?;
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
        let batch = std::mem::take(&mut self.batch);
        let txn = txn.finish(self.router, &self.plan.table, batch).await?;
        Ok(Written { count: self.count, returned: self.output.batches, txn })
    }

    fn apply(&mut self, batch: &RecordBatch) -> Result<()> {
        match &self.plan.change {
            Change::Delete => self.delete(batch),
            Change::Update(assignments) => self.update(batch, assignments),
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
        for row in 0..batch.num_rows() {
            key.clear();
            push_key(schema, |column| Cow::Owned(columns[position(column)].datum(row)), &mut key)?;
            self.batch.delete(&key);
        }
        self.count += batch.num_rows() as u64;
        match &plan.returning {
            Some(returning) => self.output.add_batch(returning, batch, self.context),
            None => Ok(()),
        }
    }

    fn update(&mut self, batch: &RecordBatch, assignments: &[(usize, Expr)]) -> Result<()> {
        let plan = self.plan;
        let table = &*plan.table;
        let changed = assigned(batch, &plan.types, assignments, self.context.get())?;
        let old = Column::all(&plan.types, batch);
        let new = Column::all(&plan.types, &changed);
        let mut key = Vec::new();
        for row in 0..batch.num_rows() {
            check_columns(table, assignments, &new, row)?;
            key.clear();
            push_key(&table.schema, |column| Cow::Owned(old[column].datum(row)), &mut key)?;
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
        self.count += batch.num_rows() as u64;
        match &plan.returning {
            Some(returning) => self.output.add_batch(returning, &changed, self.context),
            None => Ok(()),
        }
    }

    /// Notes that a row goes from one key to another, perhaps the same.
    fn moves(&mut self, from: &[u8], to: Vec<u8>, row: Row) -> Result<()> {
        self.moved_bytes += from.len() + to.len() + row.len() + 100;
        let memory_bytes = self.context.surroundings.memory_bytes;
        if self.moved_bytes > memory_bytes {
            return Err(out_of_memory("changing keys", memory_bytes).into());
        }
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

/// The rows with new values in some columns; `batch` has the columns of the table, and perhaps more.
///
/// # Errors
/// Those of the expressions.
pub(crate) fn assigned(
    batch: &RecordBatch,
    types: &[PgType],
    assignments: &[(usize, Expr)],
    context: &EvalContext,
) -> Result<RecordBatch> {
    let mut columns = batch.columns()[..types.len()].to_vec();
    for (column, expr) in assignments {
        columns[*column] = expr.eval(batch, context)?;
    }
    Ok(batch_of(&schema_of(types), columns, batch.num_rows()))
}

/// 23502 if an assigned column that refuses NULL has one.
///
/// # Errors
/// That one.
pub(crate) fn check_columns(
    table: &Table,
    assignments: &[(usize, Expr)],
    columns: &[Column<'_>],
    row: usize,
) -> Result<()> {
    let broken = assignments
        .iter()
        .find(|(column, _)| table.schema.columns[*column].not_null && columns[*column].is_null(row));
    match broken {
        None => Ok(()),
        Some((column, _)) => {
            let values: Vec<Datum> = columns.iter().map(|column| column.datum(row)).collect();
            Err(not_null(table, *column, &values))
        }
    }
}
