//! Running joins on the session's core.
//!
//! Starting a join reads all build sides, from the inside out; then batches of the outermost probe side come through.
//! What is known about the keys of a build side narrows the scan of the probe side, if its rows need a partner: a few
//! values become keys to read or a list that the engine looks for, many numbers an interval. That only leaves out rows
//! which the join would leave out.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use omen_core::filter::{ColumnFilter, NumberSet, NumberSetBuilder, Test};
use omen_core::key::KeySpan;
use omen_core::router::Router;
use omen_core::types::{Datum, PgType};

use super::Watch;
use super::errors::engine_error;
use super::observed::place;
use super::query::{Reader, Running};
use crate::error::Result;
use crate::expr::{EvalContext, Expr, datum_at};
use crate::fragment::join::probe::Probe;
use crate::fragment::join::spilled::SpilledJoin;
use crate::fragment::join::{BuildSide, FEW_KEYS, Gives, JoinRun, JoinStage, KeyValues, Next, PARTNERS_MAX};
use crate::fragment::local::{Given, LocalRun};
use crate::fragment::{Pipeline, Stage};
use crate::physical::estimate::ScanEstimate;
use crate::physical::join::JoinPlan;
use crate::physical::join_order::{JoinTree, OrderedJoin, order};
use crate::physical::{QueryPlan, ScanPlan, Source};
use crate::pushdown::{among, between};
use crate::route::{KeyBound, KeyEquality, Keys, Side, keeps_order};

/// A scan reads single keys if it would read so many times more rows otherwise.
const ROWS_PER_KEY: f64 = 4.0;

/// Most values that the engine looks for in a column that is not the key.
const LISTED_VALUES: usize = 64;

/// So many values are compared one by one.
const FEW_ALTERNATIVES: usize = 8;

/// Scans look for numbers that are at most this share of the column's different ones.
const SELECTIVE_SHARE: f64 = 0.6;

type Started<'s, R> = Pin<Box<dyn Future<Output = Result<Running<R>>> + 's>>;

/// A build side that was read.
enum Built {
    /// It fits into memory; and what is known about its keys.
    Table(Box<JoinRun>, KeyValues),
    /// It was put aside.
    Spilled(Box<SpilledJoin>),
}

/// A join whose batches go through a pipeline.
pub(crate) struct RunningJoin<R: Router> {
    probe: Running<R>,
    /// None once all rows have been given.
    join: Option<JoinRun>,
    /// The parts of a join whose build side does not fit into memory.
    spilled: Option<Box<SpilledJoin>>,
    pipeline: LocalRun,
    watch: Watch<R>,
    /// A transaction that lasts as long as the join.
    txn: Option<R::Txn>,
}

impl<R: Router> RunningJoin<R> {
    /// The next batch; never an empty one.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match Box::pin(self.pipeline.next()).await? {
                Given::Batch(batch) => return Ok(Some(batch)),
                Given::End => {
                    self.end();
                    return Ok(None);
                }
                Given::Input => {}
            }
            self.watch.check()?;
            let Some(join) = &mut self.join else {
                Box::pin(self.next_part()).await?;
                continue;
            };
            match join.next()? {
                Next::Batch(batch) => self.pipeline.push(batch),
                Next::Idle => {}
                Next::Input => {
                    let batch = match &mut self.spilled {
                        Some(spilled) => Box::pin(spilled.next_probe()).await?,
                        None => Box::pin(self.probe.next_batch()).await?,
                    };
                    match batch {
                        Some(batch) => join.push(batch)?,
                        None => join.end_probe(),
                    }
                    continue;
                }
                Next::End => match &mut self.spilled {
                    Some(spilled) => {
                        self.join = Box::pin(spilled.next_join(self.join.take())).await?;
                    }
                    None => self.join = None,
                },
            }
            // A step may take as long as a core may be kept from its other work.
            self.watch.give_way().await?;
        }
    }

    /// Begins the parts of a join that has them, once all rows of the probe side are put aside.
    async fn next_part(&mut self) -> Result<()> {
        let Some(spilled) = self.spilled.as_mut().filter(|spilled| spilled.takes_probe()) else {
            self.end();
            self.pipeline.end();
            return Ok(());
        };
        match Box::pin(self.probe.next_batch()).await? {
            Some(batch) => spilled.push_probe(batch).await?,
            None => {
                spilled.end_probe().await?;
                self.probe = Running::Batches(VecDeque::new());
                self.join = spilled.next_join(None).await?;
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.join = None;
        self.spilled = None;
        self.probe = Running::Batches(VecDeque::new());
        self.txn = None;
    }
}

/// What values a column must have, counted over the output of a plan or over the inputs of a join.
#[derive(Clone, Debug)]
struct Narrowing {
    column: usize,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// One of these, none of which is NULL.
    In(Vec<Datum>),
    /// None below the first and none above the second.
    Between(Datum, Datum),
    /// Whole numbers, dates or times, of the key's type, by the numbers that order them.
    Among(Arc<NumberSet>, PgType),
}

/// What the engine knows about scans.
///
/// # Errors
/// Those of the engine.
pub(crate) async fn estimate_scans<R: Router>(
    router: &R,
    scans: &[&ScanPlan],
    context: &EvalContext,
) -> Result<Vec<ScanEstimate>> {
    let mut estimates = Vec::with_capacity(scans.len());
    for scan in scans {
        if crate::files::is_file(&scan.table) {
            let (_, contents) = crate::files::Contents::read(router, &scan.table.name).await?;
            let rows = contents.row_count() as f64;
            estimates.push(ScanEstimate { rows, matching: None, distinct: Vec::new() });
            continue;
        }
        let spans = match scan.keys.keys(context) {
            Ok(Keys::Points(points)) => points.into_iter().map(KeySpan::point).collect(),
            Ok(Keys::Spans(spans)) => spans,
            // The run says what is wrong with them.
            Err(_) => vec![KeySpan::all()],
        };
        let filters = scan.pushed.iter().filter_map(|pushed| pushed.ready(context).ok()).collect();
        let known = router.statistics(scan.table.id, spans, filters).await;
        let known = known.map_err(|error| engine_error(error, &scan.table))?;
        estimates.push(ScanEstimate {
            rows: known.rows,
            matching: known.matching,
            distinct: known.columns.iter().map(|column| column.distinct(known.rows)).collect(),
        });
    }
    Ok(estimates)
}

impl<R: Router> Reader<'_, R> {
    /// Starts a plan whose source is a join.
    pub(super) async fn start_join(&self, plan: &QueryPlan, txn: Option<R::Txn>) -> Result<Running<R>> {
        let rows = estimate_scans(self.router, &plan.scans(), self.context.get()).await?;
        self.start_narrowed(plan, &rows, &[], Vec::new(), txn).await
    }

    /// Starts a plan of which only rows with certain values are needed. `rows` are the estimates of its scans; `more` stages
    /// follow its steps, which only scans and joins have.
    fn start_narrowed<'s>(
        &'s self,
        plan: &'s QueryPlan,
        rows: &'s [ScanEstimate],
        narrowings: &'s [Narrowing],
        more: Vec<Stage>,
        txn: Option<R::Txn>,
    ) -> Started<'s, R> {
        Box::pin(async move {
            match &plan.source {
                Source::Join(join) => {
                    let below = narrowings.iter().filter_map(|narrowing| {
                        let column = crate::physical::estimate::below_groups(&plan.steps, narrowing.column)?;
                        Some(Narrowing { column: join.output[column], ..narrowing.clone() })
                    });
                    let below = below.collect();
                    let tree = order(join, rows);
                    let mut pipeline = self.pipeline(join_types(join), plan.steps.iter())?;
                    pipeline.stages.extend(more);
                    self.start_tree(join, &tree, rows, below, pipeline, txn).await
                }
                Source::Scan(scan) => {
                    let used = if self.context.surroundings.classes.direct { narrowings } else { &[] };
                    let place = place(scan);
                    let (scan, filters) = narrowed(scan, plan, rows, used);
                    self.scan_filtered(place, &scan, &plan.steps, filters, more, txn).await
                }
                Source::Values { .. }
                | Source::Point(_)
                | Source::Set(_)
                | Source::Shared { .. }
                | Source::Recursive(_)
                | Source::Combine(_) => {
                    assert!(more.is_empty(), "only joins and scans take more stages");
                    self.start(plan, txn).await
                }
            }
        })
    }

    /// Starts a part of a join. Narrowings are counted over all inputs. The pipeline has stages only where the part is a join
    /// or a scan.
    fn start_tree<'s>(
        &'s self,
        plan: &'s JoinPlan,
        tree: &'s JoinTree,
        rows: &'s [ScanEstimate],
        narrowings: Vec<Narrowing>,
        pipeline: Pipeline,
        txn: Option<R::Txn>,
    ) -> Started<'s, R> {
        Box::pin(async move {
            let join = match tree {
                JoinTree::Input { index, columns } => {
                    let first: usize = plan.inputs[..*index].iter().map(|input| input.scans().len()).sum();
                    let input = &plan.inputs[*index];
                    let rows = &rows[first..first + input.scans().len()];
                    let own = narrowings.into_iter().filter_map(|narrowing| {
                        let column = columns.binary_search(&narrowing.column).ok()?;
                        Some(Narrowing { column, ..narrowing })
                    });
                    let own: Vec<Narrowing> = own.collect();
                    return self.start_narrowed(input, rows, &own, pipeline.stages, txn).await;
                }
                JoinTree::Join(join) => join,
            };
            let (run, keys) = match self.build(plan, tree, join, rows, &narrowings).await? {
                Built::Table(run, keys) => (run, keys),
                Built::Spilled(spilled) => {
                    let inner = self.pipeline(types_at(plan, join.probe.columns()), [].iter())?;
                    let probe = self.start_tree(plan, &join.probe, rows, narrowings, inner, None).await?;
                    return Ok(self.running(probe, None, Some(spilled), &pipeline, txn));
                }
            };
            let probe = if run.needs_no_probe() {
                Running::Batches(VecDeque::new())
            } else {
                let mut narrowings = narrowings;
                if !join.keeps_probe && join.gives.skips_lonely_probe() {
                    narrowings.extend(narrowings_of(join, &keys));
                }
                let mut inner = self.pipeline(types_at(plan, join.probe.columns()), [].iter())?;
                let fan_out = run.table().fan_out().map(|fan_out| fan_out * pipeline.fan_out());
                let scatters = self.context.surroundings.classes.scatter && reads_scan(plan, &join.probe);
                if scatters && fan_out.is_some_and(|rows| rows <= PARTNERS_MAX) {
                    // The cores that own the rows of the probe side join them, and do what they can of what follows.
                    inner.stages.push(Stage::Probe(Probe(run.table().clone())));
                    inner.stages.extend(pipeline.stages);
                    return self.start_tree(plan, &join.probe, rows, narrowings, inner, txn).await;
                }
                self.start_tree(plan, &join.probe, rows, narrowings, inner, None).await?
            };
            Ok(self.running(probe, Some(*run), None, &pipeline, txn))
        })
    }

    /// Reads the build side of a join. In a box, as [`Reader::put_aside`].
    fn build<'s>(
        &'s self,
        plan: &'s JoinPlan,
        tree: &'s JoinTree,
        join: &'s OrderedJoin,
        rows: &'s [ScanEstimate],
        narrowings: &'s [Narrowing],
    ) -> Pin<Box<dyn Future<Output = Result<Built>> + 's>> {
        Box::pin(async move {
            let mut build = Box::new(BuildSide::new(self.stage(plan, tree, join)));
            let inner = self.pipeline(types_at(plan, join.build.columns()), [].iter())?;
            let mut running =
                self.start_tree(plan, &join.build, rows, narrowings.to_vec(), inner, None).await?;
            while let Some(batch) = running.next_batch().await? {
                self.watch.check()?;
                build.push(batch)?;
                self.watch.give_way().await?;
                if build.is_full() {
                    return Ok(Built::Spilled(self.put_aside(build, running).await?));
                }
            }
            drop(running);
            while !build.index() {
                self.watch.check()?;
                self.watch.give_way().await?;
            }
            let (run, keys) = build.finish();
            Ok(Built::Table(Box::new(run), keys))
        })
    }

    /// Puts a build side aside that does not fit into memory, with the rows that are to come. In a box: it is large, and
    /// joins lie in one another.
    fn put_aside<'s>(
        &'s self,
        build: Box<BuildSide>,
        mut running: Running<R>,
    ) -> Pin<Box<dyn Future<Output = Result<Box<SpilledJoin>>> + 's>> {
        Box::pin(async move {
            let work = self.watch.work(self.context.surroundings);
            let mut spilled = Box::new(SpilledJoin::begin(*build, &work).await?);
            while let Some(batch) = running.next_batch().await? {
                spilled.push_build(batch).await?;
            }
            spilled.end_build().await?;
            Ok(spilled)
        })
    }

    fn running(
        &self,
        probe: Running<R>,
        join: Option<JoinRun>,
        spilled: Option<Box<SpilledJoin>>,
        pipeline: &Pipeline,
        txn: Option<R::Txn>,
    ) -> Running<R> {
        Running::Join(Box::new(RunningJoin {
            probe,
            join,
            spilled,
            pipeline: self.start_local(pipeline),
            watch: self.watch.clone(),
            txn,
        }))
    }

    fn stage(&self, plan: &JoinPlan, tree: &JoinTree, join: &OrderedJoin) -> JoinStage {
        let context = self.context.get();
        let mut keys = join.keys.clone();
        for key in &mut keys {
            key.probe = key.probe.fold(context);
            key.build = key.build.fold(context);
        }
        JoinStage {
            probe: types_at(plan, join.probe.columns()),
            build: types_at(plan, join.build.columns()),
            keys,
            conjuncts: join.conjuncts.iter().map(|conjunct| conjunct.fold(context)).collect(),
            gives: match &join.gives {
                Gives::Mark(mark) => Gives::Mark(mark.as_ref().map(|mark| mark.fold(context))),
                other => other.clone(),
            },
            keeps_probe: join.keeps_probe,
            keeps_build: join.keeps_build,
            output: join.output.clone(),
            context: EvalContext::clone(context),
            memory_bytes: self.context.surroundings.spill_bytes,
            given: self.context.surroundings.observed.join(plan, tree.inputs()),
        }
    }
}

/// Whether the outermost probe side of a tree is a scan of a table.
pub(crate) fn reads_scan(plan: &JoinPlan, tree: &JoinTree) -> bool {
    match tree {
        JoinTree::Input { index, .. } => {
            matches!(&plan.inputs[*index].source, Source::Scan(scan) if !crate::files::is_file(&scan.table))
        }
        JoinTree::Join(join) => reads_scan(plan, &join.probe),
    }
}

/// Types of columns, counted over all inputs.
fn types_at(plan: &JoinPlan, columns: &[usize]) -> Vec<PgType> {
    let types = plan.inputs.iter().flat_map(|input| input.types.iter().copied());
    // A mark is behind all columns.
    let types: Vec<PgType> = types.chain([PgType::Bool]).collect();
    columns.iter().map(|column| types[*column]).collect()
}

/// Types of what a join gives.
fn join_types(plan: &JoinPlan) -> Vec<PgType> {
    types_at(plan, &plan.output)
}

/// What the keys of a build side say about columns of the probe side, counted over all inputs.
fn narrowings_of(join: &OrderedJoin, keys: &KeyValues) -> Vec<Narrowing> {
    let mut narrowings = Vec::new();
    for (position, key) in join.keys.iter().enumerate().filter(|(_, key)| !key.null_safe) {
        let pg_type = key.build.pg_type();
        let column = match &key.probe {
            Expr::Column { index, .. } => *index,
            Expr::Cast { arg, to, .. } => match **arg {
                Expr::Column { index, pg_type } if keeps_order(pg_type, *to) => index,
                _ => continue,
            },
            _ => continue,
        };
        let values = match keys {
            KeyValues::Few(values) => Values::In(distinct(&values[position], pg_type)),
            KeyValues::Numbers(sets) => match &sets[position] {
                Some(set) => Values::Among(set.clone(), pg_type),
                None => continue,
            },
            KeyValues::Between(min, max) => match (as_datum(*min, pg_type), as_datum(*max, pg_type)) {
                (Some(min), Some(max)) => Values::Between(min, max),
                _ => continue,
            },
            KeyValues::Unknown => continue,
        };
        narrowings.push(Narrowing { column: join.probe.columns()[column], values });
    }
    narrowings
}

/// The values of a few rows, each once, without NULL.
fn distinct(chunks: &[ArrayRef], pg_type: PgType) -> Vec<Datum> {
    let mut values: Vec<Datum> = Vec::new();
    let mut seen = hashbrown::HashSet::new();
    for chunk in chunks {
        for row in (0..chunk.len()).filter(|row| !chunk.is_null(*row)) {
            let value = datum_at(chunk, pg_type, row);
            let mut bytes = Vec::new();
            omen_core::key::encode(&value, &mut bytes);
            if seen.insert(bytes) {
                values.push(value);
            }
        }
    }
    values
}

/// A key that the join compares as a number.
fn as_datum(value: i64, pg_type: PgType) -> Option<Datum> {
    Some(match pg_type {
        PgType::Int2 => Datum::Int2(i16::try_from(value).ok()?),
        PgType::Int4 => Datum::Int4(i32::try_from(value).ok()?),
        PgType::Int8 => Datum::Int8(value),
        PgType::Date => Datum::Date(i32::try_from(value).ok()?),
        PgType::Time => Datum::Time(value),
        PgType::Timestamp | PgType::Timestamptz => Datum::Timestamp(value),
        _ => return None,
    })
}

/// Values of a key as numbers, if a column of this type has the same ones.
fn numbers_among(values: &[Datum], pg_type: PgType) -> Option<NumberSet> {
    let number = |value: &Datum| match (value, pg_type) {
        (Datum::Int2(value), PgType::Int2 | PgType::Int4 | PgType::Int8) => Some(i64::from(*value)),
        (Datum::Int4(value), PgType::Int2 | PgType::Int4 | PgType::Int8) => Some(i64::from(*value)),
        (Datum::Int8(value), PgType::Int2 | PgType::Int4 | PgType::Int8) => Some(*value),
        (Datum::Date(value), PgType::Date) => Some(i64::from(*value)),
        _ => None,
    };
    let numbers: Option<Vec<i64>> = values.iter().map(number).collect();
    let mut set = NumberSetBuilder::default();
    set.extend(numbers?.into_iter());
    set.finish()
}

/// From the first to the second.
fn bounds(pg_type: PgType, min: &Datum, max: &Datum) -> Vec<KeyBound> {
    let bound = |side, value: &Datum| {
        let value = Expr::Literal { value: value.clone(), pg_type };
        KeyBound { pg_type, side, inclusive: true, value }
    };
    vec![bound(Side::Lower, min), bound(Side::Upper, max)]
}

/// Whether equal values of these types are the same numbers.
fn has_same_numbers(a: PgType, b: PgType) -> bool {
    let is_integer = |pg_type| matches!(pg_type, PgType::Int2 | PgType::Int4 | PgType::Int8);
    a == b || is_integer(a) && is_integer(b)
}

/// A scan that reads less, and conditions that the engine evaluates beside its own.
fn narrowed(
    scan: &ScanPlan,
    plan: &QueryPlan,
    rows: &[ScanEstimate],
    narrowings: &[Narrowing],
) -> (ScanPlan, Vec<ColumnFilter>) {
    let mut scan = scan.clone();
    let mut filters = Vec::new();
    for Narrowing { column, values } in narrowings {
        let Some(column) = plan.narrowed_column(*column) else { continue };
        let schema = scan.table.schema.clone();
        let pg_type = schema.columns[column].pg_type;
        let is_next_key = schema.key.get(scan.keys.equal.len()) == Some(&column);
        let free = is_next_key && !scan.keys.is_complete && scan.keys.bounds.is_empty();
        let literal = |value: &Datum| Expr::Literal { value: value.clone(), pg_type };
        match values {
            Values::In(values)
                if free
                    && scan.keys.equal.is_empty()
                    && values.len() <= FEW_KEYS
                    && rows.first().is_some_and(|scan| scan.rows >= ROWS_PER_KEY * values.len() as f64) =>
            {
                let completes = schema.key.len() == 1;
                // Rows that are read by their keys pass through no scan of the engine.
                if completes && !scan.pushed.is_empty() {
                    filters.extend(among(column, pg_type, values));
                    continue;
                }
                scan.keys.equal.push(KeyEquality { pg_type, values: values.iter().map(literal).collect() });
                scan.keys.is_complete = completes;
            }
            Values::In(values) if values.len() <= FEW_ALTERNATIVES => {
                filters.extend(among(column, pg_type, values));
            }
            Values::In(values) => match numbers_among(values, pg_type) {
                Some(set) => filters.push(ColumnFilter { column, test: Test::Among(Arc::new(set)) }),
                None if values.len() <= LISTED_VALUES => filters.extend(among(column, pg_type, values)),
                None => {}
            },
            Values::Between(min, max) if free => scan.keys.bounds = bounds(pg_type, min, max),
            Values::Between(min, max) => filters.extend(between(column, pg_type, min, max)),
            Values::Among(set, key_type) => {
                let ends = (as_datum(set.min(), *key_type), as_datum(set.max(), *key_type));
                let (Some(min), Some(max)) = ends else { continue };
                if free {
                    scan.keys.bounds = bounds(pg_type, &min, &max);
                }
                let known = rows.first().and_then(|rows| rows.distinct_of(&scan.table.schema, column));
                let is_selective = known.is_none_or(|known| set.count() as f64 <= SELECTIVE_SHARE * known);
                // As numbers, values of another type may be different ones.
                if is_selective && has_same_numbers(pg_type, *key_type) {
                    filters.push(ColumnFilter { column, test: Test::Among(set.clone()) });
                } else if !free {
                    filters.extend(between(column, pg_type, &min, &max));
                }
            }
        }
    }
    if scan.keys.is_complete {
        // All conditions hold for the keys alone.
        filters.clear();
    }
    (scan, filters)
}
