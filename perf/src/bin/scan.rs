//! Filtered scans of one core through the engine, beside those of `perf/compare_duckdb.py` on the same rows.
//!
//! `scan DIRECTORY [ROWS]`: makes a node in the folder `scan` of the directory with so many rows of the wide table
//! (5,000,000), all in segments, unless one is there already, and scans it from the cache. Logical bytes are those of
//! the columns that a query names.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use std::{env, process};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use omen_core::env::uring::{CoreOptions, UringEnv, allowed_cpus, start};
use omen_core::error::{Result, ValueError};
use omen_core::filter::{ColumnFilter, Comparison, Test};
use omen_core::fragment::{Flow, Fragment, FragmentRun};
use omen_core::id::{CoreId, TableId};
use omen_core::key::{Key, KeySpan};
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{Cursor, Router, Scan, Transaction};
use omen_core::types::Datum;
use omen_perf::args::print_result;
use omen_perf::rows;
use omen_perf::tables::load_wide;
use omen_perf::usage::process_cpu_time;

type Node = NodeCore<UringEnv>;

/// CPU time is counted in ticks, so a query runs until this much has passed.
const MEASURED: Duration = Duration::from_millis(1_000);
const RUNS: u32 = 7;
const MEMORY_BYTES: usize = 4 << 30;

fn main() {
    let mut args = env::args().skip(1);
    let Some(root) = args.next().map(PathBuf::from) else {
        eprintln!("usage: scan DIRECTORY [ROWS]");
        process::exit(2);
    };
    let row_count = args.next().and_then(|rows| rows.parse().ok()).unwrap_or(5_000_000);
    let config = NodeConfig::new(root.join("scan"), 1, MEMORY_BYTES);
    let cpu = allowed_cpus().first().copied();
    let seat = mesh::connect(1, MESH_CAPACITY).remove(0);
    let core = start(CoreOptions::new(CoreId(0), cpu), move |env| async move {
        let node = NodeCore::start(env, seat, &config).await.expect("a node starts");
        let table = match node.catalog().table_named("wide") {
            Some(table) => table.id,
            None => load_wide(&node, row_count).await.expect("rows fit"),
        };
        for query in queries(row_count) {
            measure(&node, table, row_count, query).await.expect("no errors");
        }
        process::exit(0);
    });
    drop(core.expect("a core starts").join());
}

/// A query: counts the rows that pass, and sums their first column if it reads one.
struct Query {
    name: &'static str,
    columns: Vec<usize>,
    filters: Vec<ColumnFilter>,
    /// Logical bytes of a row.
    width: f64,
    span: KeySpan,
}

fn queries(row_count: u64) -> Vec<Query> {
    let price = Test::Between(Datum::Float8(4_000.0), Datum::Float8(4_999.99));
    let few = Test::Between(Datum::Float8(4_000.0), Datum::Float8(4_000.99));
    let pending = Test::Compare(Comparison::Equal, Datum::Text("pending".into()));
    let latest =
        Test::Compare(Comparison::GreaterOrEqual, Datum::Timestamp(rows::wide(row_count / 100 * 99).ts));
    let status_bytes = (0..10_000).map(|number| rows::wide(number).status.len()).sum::<usize>() as f64 / 1e4;
    let query = |name, columns: &[usize], filters: &[(usize, &Test)], width| Query {
        name,
        columns: columns.to_vec(),
        filters: filters
            .iter()
            .map(|(column, test)| ColumnFilter { column: *column, test: (*test).clone() })
            .collect(),
        width,
        span: KeySpan::all(),
    };
    let part = Key::from_bytes(&rows::key(rows::wide_id(row_count / 10)));
    vec![
        query("scan_filtered_sum", &[1], &[(2, &price)], 16.0),
        query("scan_text_count", &[], &[(5, &pending)], status_bytes),
        query("scan_selective_sum", &[1], &[(2, &few)], 16.0),
        query("scan_sum", &[1], &[], 8.0),
        query("scan_pruned_sum", &[1], &[(4, &latest)], 16.0),
        query("scan_count", &[], &[], 1.0),
        Query {
            span: KeySpan { start: Key::default(), end: Some(part) },
            ..query("scan_key_tenth", &[1], &[], 0.8)
        },
    ]
}

#[derive(Default)]
struct Totals {
    rows: AtomicI64,
    sum: AtomicI64,
}

struct Sum {
    columns: Vec<usize>,
    filters: Vec<ColumnFilter>,
    totals: Arc<Totals>,
}

struct SumRun(Arc<Totals>);

impl Fragment for Sum {
    fn columns(&self) -> &[usize] {
        &self.columns
    }
    fn filters(&self) -> &[ColumnFilter] {
        &self.filters
    }
    fn start(&self) -> Box<dyn FragmentRun> {
        Box::new(SumRun(self.totals.clone()))
    }
}

impl FragmentRun for SumRun {
    fn push(
        &mut self,
        batch: RecordBatch,
        _: &mut Vec<RecordBatch>,
    ) -> std::result::Result<Flow, ValueError> {
        self.0.rows.fetch_add(batch.num_rows() as i64, Ordering::Relaxed);
        if let Some(column) = batch.columns().first() {
            assert!(column.null_count() == 0, "the table has no NULLs");
            let values = column.as_primitive::<Int64Type>().values();
            self.0.sum.fetch_add(values.iter().sum(), Ordering::Relaxed);
        }
        Ok(Flow::More)
    }
    fn finish(&mut self, _: &mut Vec<RecordBatch>) -> std::result::Result<(), ValueError> {
        Ok(())
    }
}

async fn scan(node: &Node, table: TableId, query: &Query) -> Result<Arc<Totals>> {
    let totals = Arc::new(Totals::default());
    let (columns, filters) = (query.columns.clone(), query.filters.clone());
    let fragment = Arc::new(Sum { columns, filters, totals: totals.clone() });
    let txn = node.begin();
    let mut cursor =
        node.scan(Scan { table, view: txn.view(), spans: vec![query.span.clone()], fragment })?;
    while cursor.next().await?.is_some() {}
    Ok(totals)
}

async fn measure(node: &Node, table: TableId, row_count: u64, query: Query) -> Result<()> {
    let mut totals = scan(node, table, &query).await?;
    let (began, cpu, mut best, mut runs) = (Instant::now(), process_cpu_time(), Duration::MAX, 0);
    while runs < RUNS || began.elapsed() < MEASURED {
        let run = Instant::now();
        totals = scan(node, table, &query).await?;
        best = best.min(run.elapsed());
        runs += 1;
    }
    let ms = best.as_secs_f64() * 1e3;
    let cpu_ms = (process_cpu_time() - cpu).as_secs_f64() * 1e3 / f64::from(runs);
    let (rows, sum) = (totals.rows.load(Ordering::Relaxed), totals.sum.load(Ordering::Relaxed));
    print_result(
        query.name,
        "omendb",
        &[
            ("ms", ms),
            ("cpu_ms", cpu_ms),
            ("gb_per_second", row_count as f64 * query.width / ms / 1e6),
            ("gb_per_cpu_second", row_count as f64 * query.width / cpu_ms / 1e6),
            ("rows", rows as f64),
            ("answer", if query.columns.is_empty() { rows as f64 } else { sum as f64 }),
        ],
    );
    Ok(())
}
