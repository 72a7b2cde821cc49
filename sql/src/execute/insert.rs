//! INSERT, with ON CONFLICT.

use std::borrow::Cow;

use arrow_array::RecordBatch;
use hashbrown::HashSet;
use omen_core::catalog::Table;
use omen_core::key::Key;
use omen_core::router::Router;
use omen_core::row::{Row, RowBuilder};
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;

use super::errors::{duplicate_key, engine_error, not_null, upsert_error};
use super::query::{Reader, Running};
use super::rows::{Column, batch_of_rows, push_key};
use super::{Context, OutputRows, StatementTxn, WRITE_BYTES, Watch};
use crate::bind::insert::Conflict;
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::fragment::{batch_of, filter, schema_of};
use crate::plan::{Cell, InsertPlan, InsertRows};

/// Row ids that are asked for at once.
const ROW_IDS: u32 = 1_024;

/// A running INSERT.
pub(crate) struct InsertRun<'a, R: Router> {
    router: &'a R,
    plan: &'a InsertPlan,
    context: &'a Context<'a>,
    watch: &'a Watch<R>,
    builder: RowBuilder,
    row_ids: RowIds,
    /// Rows that wait to be written: key and row.
    pending: Vec<(Key, Row)>,
    pending_bytes: usize,
    /// Keys of this statement, to tell rows that meet each other from rows that meet stored ones.
    seen: HashSet<Key>,
    count: u64,
    output: OutputRows,
}

/// Hidden row ids of a table without primary key.
#[derive(Default)]
pub(crate) struct RowIds {
    next: i64,
    left: u32,
}

impl RowIds {
    /// The next id.
    pub(crate) fn next<R: Router>(&mut self, router: &R, table: &Table, wanted: usize) -> i64 {
        if self.left == 0 {
            self.left = u32::try_from(wanted).unwrap_or(ROW_IDS).clamp(1, ROW_IDS);
            self.next = router.row_ids(table.id, self.left);
        }
        self.left -= 1;
        self.next += 1;
        self.next - 1
    }
}

impl<'a, R: Router> InsertRun<'a, R> {
    /// An INSERT that has not begun.
    pub(crate) fn new(
        router: &'a R,
        plan: &'a InsertPlan,
        context: &'a Context<'a>,
        watch: &'a Watch<R>,
    ) -> Self {
        InsertRun {
            router,
            plan,
            context,
            watch,
            builder: RowBuilder::default(),
            row_ids: RowIds::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            seen: HashSet::new(),
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
        txn.finish(self.router, &self.plan.table, last).await.map_err(|e| self.concurrent(e))?;
        Ok((self.count, self.output.batches))
    }

    /// Runs it as a part of a transaction, or of a statement, that goes on.
    ///
    /// # Errors
    /// As [`InsertRun::run_alone`].
    pub(crate) async fn run(mut self, txn: &mut StatementTxn<R>) -> Result<(u64, Vec<RecordBatch>)> {
        txn.set_upsert(self.plan.conflict.is_some());
        let last = self.all_changes(txn).await?;
        txn.write(self.router, &self.plan.table, last).await.map_err(|e| self.concurrent(e))?;
        Ok((self.count, self.output.batches))
    }

    /// Makes all changes but the last ones, which it answers.
    async fn all_changes(&mut self, txn: &mut StatementTxn<R>) -> Result<WriteBatch> {
        match &self.plan.source {
            InsertRows::Cells(rows) => {
                for cells in rows {
                    self.add_cells(cells, rows.len())?;
                    self.flush_if_full(txn).await?;
                }
            }
            InsertRows::Query(query) => {
                let (view, _reading) = super::reading_view(self.router, &txn.txn);
                let reader = Reader { router: self.router, view, context: self.context, watch: self.watch };
                let mut running = reader.start(query, None).await?;
                if let Running::Row(Some(row)) = &running {
                    let columns: Vec<usize> = (0..query.types.len()).collect();
                    let batch = batch_of_rows(&query.types, &columns, std::iter::once(row.as_ref()))?;
                    running = Running::Batches([batch].into());
                }
                while let Some(batch) = running.next_batch().await? {
                    let columns = Column::all(&query.types, &batch);
                    for row in 0..batch.num_rows() {
                        let values = columns.iter().map(|column| Cow::Owned(column.datum(row))).collect();
                        self.add(values, batch.num_rows())?;
                        self.flush_if_full(txn).await?;
                    }
                }
            }
        }
        self.changes(txn).await
    }

    async fn flush_if_full(&mut self, txn: &mut StatementTxn<R>) -> Result<()> {
        if self.pending_bytes < WRITE_BYTES {
            return Ok(());
        }
        self.watch.check()?;
        let batch = self.changes(txn).await?;
        txn.write(self.router, &self.plan.table, batch).await.map_err(|e| self.concurrent(e))
    }

    fn add_cells(&mut self, cells: &'a [Cell], rows: usize) -> Result<()> {
        let context = self.context;
        let mut values: Vec<Cow<'a, Datum>> = Vec::with_capacity(cells.len() + 1);
        for cell in cells {
            values.push(match cell {
                Cell::Datum(value) => Cow::Borrowed(value),
                Cell::Parameter(index) => Cow::Borrowed(&context.parameters[*index]),
                Cell::Expr(expr) => Cow::Owned(expr.eval_constant(context.get())?),
            });
        }
        self.add(values, rows)
    }

    /// Adds a row, given as its visible columns.
    fn add(&mut self, mut values: Vec<Cow<'_, Datum>>, rows: usize) -> Result<()> {
        let table = &*self.plan.table;
        if table.schema.has_hidden_key() {
            values.push(Cow::Owned(Datum::Int8(self.row_ids.next(self.router, table, rows))));
        }
        check_not_null(table, &values)?;
        let mut key = Vec::with_capacity(9 * table.schema.key.len());
        push_key(&table.schema, |column| Cow::Borrowed(values[column].as_ref()), &mut key)?;
        self.builder.start(values.len());
        values.iter().for_each(|value| self.builder.push(value));
        let row = self.builder.finish()?;
        let key = Key::from_bytes(&key);
        // A single row meets no other.
        if (rows > 1 || self.plan.conflict.is_some()) && !self.seen.insert(key.clone()) {
            return match &self.plan.conflict {
                None => Err(duplicate_key(table, &key)),
                Some(Conflict::DoNothing) => Ok(()),
                Some(Conflict::Update { .. }) => Err(second_time()),
            };
        }
        self.pending_bytes += key.len() + row.len() + 16;
        self.pending.push((key, row));
        Ok(())
    }

    /// The changes that the pending rows make.
    async fn changes(&mut self, txn: &mut StatementTxn<R>) -> Result<WriteBatch> {
        let mut pending = std::mem::take(&mut self.pending);
        let mut batch = WriteBatch::with_capacity(std::mem::take(&mut self.pending_bytes));
        if let Some(conflict) = &self.plan.conflict {
            let keys = pending.iter().map(|(key, _)| key.clone()).collect();
            let table = &self.plan.table;
            let stored = self.router.get_many(table.id, txn.view(), keys).await;
            let stored = stored.map_err(|e| engine_error(e, table))?;
            let mut met = Vec::new();
            let mut new = Vec::with_capacity(pending.len());
            for ((key, row), stored) in pending.into_iter().zip(stored) {
                match stored {
                    None => new.push((key, row)),
                    Some(stored) => met.push((key, row, stored)),
                }
            }
            pending = new;
            if let Conflict::Update { assignments, condition } = conflict {
                self.update_met(&met, assignments, condition.as_ref(), &mut batch)?;
            }
        }
        for (key, row) in &pending {
            batch.insert(key, row);
        }
        self.count += pending.len() as u64;
        self.output.add(
            self.plan.returning.as_ref(),
            &self.plan.types,
            pending.iter().map(|(_, row)| &**row),
            self.context,
        )?;
        Ok(batch)
    }

    /// `DO UPDATE` of stored rows: (key, row that was to be inserted, stored row).
    fn update_met(
        &mut self,
        met: &[(Key, Row, Row)],
        assignments: &[(usize, Expr)],
        condition: Option<&Expr>,
        batch: &mut WriteBatch,
    ) -> Result<()> {
        let types = &self.plan.types;
        let context = self.context.get();
        let all: Vec<usize> = (0..types.len()).collect();
        let stored = batch_of_rows(types, &all, met.iter().map(|(_, _, stored)| &**stored))?;
        let excluded = batch_of_rows(types, &all, met.iter().map(|(_, row, _)| &**row))?;
        let both: Vec<PgType> = types.iter().chain(types).copied().collect();
        let columns = stored.columns().iter().chain(excluded.columns()).cloned().collect();
        let mut rows = batch_of(&schema_of(&both), columns, met.len());
        let mut keys: Vec<&Key> = met.iter().map(|(key, _, _)| key).collect();
        if let Some(condition) = condition {
            let keep = condition.eval_predicate(&rows, context)?;
            keys =
                keys.into_iter().zip(keep.values()).filter(|(_, keep)| *keep).map(|(key, _)| key).collect();
            rows = filter(&rows, &keep);
        }
        let mut changed = rows.columns()[..types.len()].to_vec();
        for (column, expr) in assignments {
            changed[*column] = expr.eval(&rows, context)?;
        }
        let changed = batch_of(&schema_of(types), changed, rows.num_rows());
        let columns = Column::all(types, &changed);
        let table = &*self.plan.table;
        let mut written = Vec::with_capacity(keys.len());
        for (row, key) in keys.into_iter().enumerate() {
            super::modify::check_columns(
                table,
                assignments.iter().map(|(column, _)| *column),
                &columns,
                row,
            )?;
            self.builder.start(types.len());
            columns.iter().for_each(|column| column.push_to(row, &mut self.builder));
            let bytes = self.builder.finish()?;
            let mut new_key = Vec::new();
            push_key(&table.schema, |column| Cow::Owned(columns[column].datum(row)), &mut new_key)?;
            if *new_key == **key {
                batch.update(key, &bytes);
            } else {
                if !self.seen.insert(Key::from_bytes(&new_key)) {
                    return Err(second_time());
                }
                batch.delete(key);
                batch.insert(&new_key, &bytes);
            }
            written.push(bytes);
        }
        self.count += written.len() as u64;
        self.output.add(self.plan.returning.as_ref(), types, written.iter().map(AsRef::as_ref), self.context)
    }

    fn concurrent(&self, error: SqlError) -> SqlError {
        if self.plan.conflict.is_none() { error } else { upsert_error(error) }
    }
}

fn second_time() -> SqlError {
    let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
    let hint = "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.";
    SqlError::new(SqlState::CARDINALITY_VIOLATION, message).hint(hint)
}

/// 23502 if a column that refuses NULL has one.
fn check_not_null(table: &Table, values: &[Cow<'_, Datum>]) -> Result<()> {
    let columns = table.schema.columns.iter().zip(values);
    match columns.enumerate().find(|(_, (column, value))| column.not_null && value.is_null()) {
        None => Ok(()),
        Some((index, _)) => {
            let row: Vec<Datum> = values.iter().map(|value| value.as_ref().clone()).collect();
            Err(not_null(table, index, &row))
        }
    }
}
