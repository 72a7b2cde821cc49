//! What it costs that a table has many columns: scans and point reads of some of them, from disk.
//!
//! `columns DIRECTORY [NAME=NUMBER]...` makes a table of `columns` columns and `rows` rows in the directory, and reads it
//! with the smallest cache. `text=1`: all columns are texts of about 60 bytes; otherwise every fourth is a short one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, process};

use arrow_array::RecordBatch;
use omen_core::catalog::{Column, TableSchema};
use omen_core::env::uring::{CoreOptions, UringEnv, allowed_cpus, start};
use omen_core::error::{Result, ValueError};
use omen_core::filter::{ColumnFilter, Comparison, Test};
use omen_core::fragment::{Flow, Fragment, FragmentRun};
use omen_core::id::TableId;
use omen_core::key::{Key, KeySpan};
use omen_core::learned::IndexKind;
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{CatalogChange, Cursor, Router, Scan, Transaction};
use omen_core::row::RowBuilder;
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;
use omen_perf::args::{Args, print_result, quantile_us};
use omen_perf::rows::{key, mix};
use omen_perf::usage::disk_bytes;

type Node = NodeCore<UringEnv>;

const ENGINE: &str = "omendb";
/// Cached bytes: a few blocks.
const CACHE_BYTES: usize = 1 << 20;

fn main() {
    let args = env::args().skip(1);
    let Some(args) = Args::parse(std::iter::once("all".to_owned()).chain(args)) else {
        eprintln!("usage: columns DIRECTORY [NAME=NUMBER]...");
        process::exit(2);
    };
    let mut config = NodeConfig::new(args.dir.clone(), 1, 1 << 30);
    config.shard.cache_bytes = CACHE_BYTES;
    let seat = mesh::connect(1, MESH_CAPACITY).remove(0);
    let handle =
        start(CoreOptions::new(seat.core(), allowed_cpus().first().copied()), move |env| async move {
            let node = NodeCore::start(env, seat, &config).await.expect("an empty node starts");
            measure(&node, &args).await.expect("no errors");
            process::exit(0);
        });
    drop(handle.expect("a core starts").join());
}

fn schema(columns: usize, text: bool) -> TableSchema {
    let column = |number: usize| Column {
        name: format!("c{number}"),
        pg_type: match number % 4 {
            _ if number == 0 => PgType::Int8,
            _ if text => PgType::Text,
            0 => PgType::Text,
            1 => PgType::Int8,
            2 => PgType::Float8,
            _ => PgType::Timestamp,
        },
        not_null: true,
        default: None,
        hidden: false,
    };
    let columns = (0..columns).map(column).collect();
    TableSchema { columns, key: vec![0], key_name: Some("t_pkey".into()), index: IndexKind::Auto }
}

fn values(id: u64, columns: usize, text: bool) -> Vec<Datum> {
    let value = |number: usize| {
        let random = mix(id * 1_000 + number as u64);
        match number % 4 {
            _ if number == 0 => Datum::Int8(id as i64),
            _ if text => Datum::Text(
                format!("{random:016x}, {:016x} and {:016x}", mix(random), mix(random + 1)).into(),
            ),
            0 => Datum::Text(format!("user{:08}", random % 100_000_000).into()),
            1 => Datum::Int8((random % 1_000_000) as i64),
            2 => Datum::Float8((random % 1_000_000) as f64 / 100.0),
            _ => Datum::Timestamp(1_704_067_200_000_000 + (random % 86_400_000_000) as i64),
        }
    };
    (0..columns).map(value).collect()
}

async fn fill(node: &Node, rows: u64, columns: usize, text: bool) -> Result<TableId> {
    const BATCH: u64 = 512;
    let create = CatalogChange::CreateTable { name: "broad".into(), schema: schema(columns, text) };
    let table = node.change_catalog(create).await?;
    let mut builder = RowBuilder::default();
    for first in (0..rows).step_by(BATCH as usize) {
        let mut batch = WriteBatch::new();
        for id in first..(first + BATCH).min(rows) {
            let row = builder.row(&values(id, columns, text)).expect("small");
            batch.insert(&key(id as i64), &row);
        }
        node.write_and_commit(node.begin(), table, batch).await?;
    }
    node.checkpoint(None).await?;
    node.vacuum(Some(table)).await?;
    Ok(table)
}

async fn measure(node: &Node, args: &Args) -> Result<()> {
    let rows = args.number("rows", 20_000);
    let columns = args.number("columns", 100) as usize;
    let text = args.number("text", 0) == 1;
    let began = Instant::now();
    let table = fill(node, rows, columns, text).await?;
    let bytes = node.relation_size_bytes(table).await? as f64;
    let load = [("rows_per_second", rows as f64 / began.elapsed().as_secs_f64()), ("bytes", bytes)];
    print_result("columns_load", ENGINE, &load);
    let last = columns - 1;
    let few =
        ColumnFilter { column: 0, test: Test::Compare(Comparison::Less, Datum::Int8(rows as i64 / 50)) };
    scan(node, table, "columns_scan_one", &[last], &[]).await?;
    scan(node, table, "columns_scan_key", &[0], &[]).await?;
    scan(node, table, "columns_scan_filtered", &[last], &[few]).await?;
    let all: Vec<usize> = (0..columns).collect();
    scan(node, table, "columns_scan_all", &all, &[]).await?;
    read(node, table, rows, "columns_read_one", &[last]).await?;
    read(node, table, rows, "columns_read_key", &[0]).await?;
    read(node, table, rows, "columns_read_all", &all).await
}

#[derive(Default)]
struct Count {
    columns: Vec<usize>,
    filters: Vec<ColumnFilter>,
    rows: Arc<AtomicUsize>,
}

struct CountRun(Arc<AtomicUsize>);

impl Fragment for Count {
    fn columns(&self) -> &[usize] {
        &self.columns
    }
    fn filters(&self) -> &[ColumnFilter] {
        &self.filters
    }
    fn start(&self) -> Box<dyn FragmentRun> {
        Box::new(CountRun(self.rows.clone()))
    }
}

impl FragmentRun for CountRun {
    fn push(
        &mut self,
        batch: RecordBatch,
        _: &mut Vec<RecordBatch>,
    ) -> std::result::Result<Flow, ValueError> {
        self.0.fetch_add(batch.num_rows(), Ordering::Relaxed);
        Ok(Flow::More)
    }
    fn finish(&mut self, _: &mut Vec<RecordBatch>) -> std::result::Result<(), ValueError> {
        Ok(())
    }
}

/// The best of a few scans.
async fn scan(
    node: &Node,
    table: TableId,
    name: &str,
    columns: &[usize],
    filters: &[ColumnFilter],
) -> Result<()> {
    const RUNS: usize = 5;
    let (mut best, mut bytes, mut rows) = (f64::MAX, 0, 0);
    for _ in 0..RUNS {
        let fragment = Count { columns: columns.to_vec(), filters: filters.to_vec(), ..Count::default() };
        let count = fragment.rows.clone();
        let (before, began) = (disk_bytes().read, Instant::now());
        let (view, spans) = (node.begin().view(), vec![KeySpan::all()]);
        let mut cursor = node.scan(Scan { table, view, spans, fragment: Arc::new(fragment) })?;
        while cursor.next().await?.is_some() {}
        best = best.min(began.elapsed().as_secs_f64() * 1e3);
        (bytes, rows) = (disk_bytes().read - before, count.load(Ordering::Relaxed));
    }
    print_result(name, ENGINE, &[("ms", best), ("bytes", bytes as f64), ("rows", rows as f64)]);
    Ok(())
}

async fn read(node: &Node, table: TableId, rows: u64, name: &str, columns: &[usize]) -> Result<()> {
    const READS: u64 = 1_000;
    let columns: Arc<[usize]> = columns.into();
    let mut times = Vec::new();
    let before = disk_bytes().read;
    for number in 0..READS {
        let key = Key::from_bytes(&key((mix(number) % rows) as i64));
        let began = Instant::now();
        let row = node.get(table, node.begin().view(), key, columns.clone()).await?;
        assert!(row.is_some(), "the row was loaded");
        times.push(began.elapsed().as_nanos() as u64);
    }
    let bytes = (disk_bytes().read - before) as f64 / READS as f64;
    let (p50, p99) = (quantile_us(&mut times, 0.5), quantile_us(&mut times, 0.99));
    print_result(name, ENGINE, &[("bytes", bytes), ("p50_us", p50), ("p99_us", p99)]);
    Ok(())
}
