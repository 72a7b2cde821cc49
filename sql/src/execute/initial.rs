//! What is computed once, before a statement: subqueries that read nothing around them, and queries of WITH.
//!
//! All parts of a statement see the same rows. So what a WITH writes is held back until the whole statement has read
//! (PG 15, chapter 7.8.4), and then made in the order of the parts.

use std::collections::BTreeMap;
use std::rc::Rc;

use arrow_array::RecordBatch;
use omen_core::fragment::batch_bytes;
use omen_core::router::{ReadView, Router};
use omen_core::types::Datum;

use super::insert::InsertRun;
use super::modify::ModifyRun;
use super::query::{Reader, Running};
use super::{Context, StatementTxn, Surroundings, Watch};
use crate::bind::subquery::InitialKind;
use crate::error::{Result, SqlError, SqlState};
use crate::expr::datum_at;
use crate::fragment::out_of_memory;
use crate::fragment::spill::kept::Kept;
use crate::physical::QueryPlan;
use crate::plan::{InitialPlan, Plan};

/// What reads and writes while the parts of a statement are computed.
pub(crate) struct InitialRun<'a, R: Router> {
    /// Where rows are.
    pub(crate) router: &'a R,
    /// What the statement sees.
    pub(crate) view: ReadView,
    /// Tells it to stop.
    pub(crate) watch: &'a Watch<R>,
    /// What takes writes; `None` if there are none.
    pub(crate) txn: Option<&'a mut StatementTxn<R>>,
}

impl<R: Router> InitialRun<'_, R> {
    /// The parameters with the answers of subqueries that are computed once, and the surroundings with tables that
    /// are. Each may read the answers of those before it.
    ///
    /// # Errors
    /// Those of the parts; 21000 if a subquery has more than one row.
    pub(crate) async fn run(
        mut self,
        initial: &[InitialPlan],
        parameters: &[Datum],
        surroundings: &Surroundings,
    ) -> Result<(Vec<Datum>, Surroundings)> {
        let mut values = parameters.to_vec();
        let mut surroundings = surroundings.clone();
        for InitialPlan { parameter, plan, kind } in initial {
            let context = Context::new(&values, &surroundings);
            let rows = match plan {
                Plan::Query(query) if *kind != InitialKind::Table => {
                    values[*parameter] = self.value(query, *kind, &context).await?;
                    continue;
                }
                Plan::Query(query) => {
                    let mut running = self.start(query, &context).await?;
                    let work = self.watch.work(&surroundings);
                    let mut kept = Kept::default();
                    while let Some(batch) = running.next_batch().await? {
                        kept.push(batch, &work).await?;
                        self.watch.give_way().await?;
                    }
                    kept
                }
                write => Kept::of(self.write(write, &context).await?),
            };
            let mut tables = BTreeMap::clone(&surroundings.tables);
            tables.insert(*parameter, Rc::new(rows));
            surroundings.tables = Rc::new(tables);
        }
        Ok((values, surroundings))
    }

    async fn start(&self, query: &QueryPlan, context: &Context<'_>) -> Result<Running<R>> {
        let reader = Reader { router: self.router, view: self.view, context, watch: self.watch };
        reader.start(query, None).await
    }

    async fn value(&self, query: &QueryPlan, kind: InitialKind, context: &Context<'_>) -> Result<Datum> {
        let mut running = self.start(query, context).await?;
        let exists = kind == InitialKind::Exists;
        let mut answer = if exists { Datum::Bool(false) } else { Datum::Null };
        let mut rows = 0;
        while let Some(batch) = running.next_batch().await? {
            rows += batch.num_rows();
            if rows > 1 && !exists {
                let message = "more than one row returned by a subquery used as an expression";
                return Err(SqlError::new(SqlState::CARDINALITY_VIOLATION, message));
            }
            if exists {
                return Ok(Datum::Bool(true));
            }
            if batch.num_rows() > 0 {
                answer = datum_at(batch.column(0), query.types[0], 0);
            }
        }
        Ok(answer)
    }

    /// What a write returns.
    async fn write(&mut self, plan: &Plan, context: &Context<'_>) -> Result<Vec<RecordBatch>> {
        let (_, returned) = match (plan, self.txn.as_deref_mut()) {
            (Plan::Insert(insert), Some(txn)) => {
                InsertRun::new(self.router, insert, context, self.watch).run(txn).await?
            }
            (Plan::Modify(modify), Some(txn)) => {
                ModifyRun::new(self.router, modify, context, self.watch).run(txn).await?
            }
            _ => return Err(SqlError::new(SqlState::INTERNAL_ERROR, "a write without transaction")),
        };
        Ok(returned)
    }
}

/// All that a query gives.
///
/// # Errors
/// Its own; 53200 if it is too much.
pub(crate) async fn all_batches<R: Router>(
    running: &mut Running<R>,
    memory_bytes: usize,
    watch: &Watch<R>,
) -> Result<Vec<RecordBatch>> {
    let (mut batches, mut size_bytes) = (Vec::new(), 0);
    while let Some(batch) = running.next_batch().await? {
        size_bytes += batch_bytes(&batch);
        if size_bytes > memory_bytes {
            return Err(out_of_memory("a query of WITH", memory_bytes).into());
        }
        batches.push(batch);
        watch.give_way().await?;
    }
    Ok(batches)
}
