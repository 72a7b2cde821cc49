//! What the engine costs without SQL and wire: point reads, durable inserts, bulk load and scan, through the router.
//!
//! `engine [DIRECTORY] [CORES]`: makes a node in a new folder of the directory (default: the system's temporary one)
//! and removes it. Figures of one session are latencies; those of several are rates.

use std::cell::Cell;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, process};

use arrow_array::RecordBatch;
use omen_core::catalog::TableSchema;
use omen_core::env::Env;
use omen_core::env::uring::{CoreOptions, UringEnv, allowed_cpus, start};
use omen_core::error::{Result, ValueError};
use omen_core::fragment::{Flow, Fragment, FragmentRun};
use omen_core::id::{CoreId, TableId};
use omen_core::key::{Key, KeySpan};
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{CatalogChange, Cursor, Router, Scan, Transaction};
use omen_core::row::RowBuilder;
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;
use omen_perf::{histogram, process_cpu_time, quantile_us, tables};

const LOAD_ROWS: i64 = 500_000;
const BATCH: i64 = 4_096;

fn main() {
    let mut args = env::args().skip(1);
    let root = args.next().map_or_else(env::temp_dir, PathBuf::from);
    let cpus = allowed_cpus();
    let core_count = args.next().and_then(|n| n.parse().ok()).unwrap_or(cpus.len() as u16);
    let dir = root.join(format!("omendb-engine-{}", process::id()));
    let mut cores = Vec::new();
    for seat in mesh::connect(core_count, MESH_CAPACITY) {
        let config = NodeConfig::new(dir.clone(), core_count, 1 << 30);
        let cpu = cpus.get(usize::from(seat.core().0)).copied();
        let handle = start(CoreOptions::new(seat.core(), cpu), move |env| async move {
            let node = NodeCore::start(env.clone(), seat, &config).await.expect("an empty node starts");
            if node.core() == CoreId(0) {
                measure(&env, &node).await.expect("no errors");
                process::exit(0);
            }
            env.stop_requested().await;
        });
        cores.push(handle.expect("a core starts"));
    }
    cores.into_iter().for_each(|core| drop(core.join()));
}

fn schema() -> TableSchema {
    tables::schema(&[
        ("id", PgType::Int8),
        ("a", PgType::Int4),
        ("b", PgType::Float8),
        ("c", PgType::Text),
        ("d", PgType::Timestamp),
    ])
}

fn key(id: i64) -> Key {
    Key::of(&[Datum::Int8(id)]).expect("short")
}

fn add(batch: &mut WriteBatch, builder: &mut RowBuilder, id: i64) {
    let values = [
        Datum::Int8(id),
        Datum::Int4(id as i32),
        Datum::Float8(id as f64 / 3.0),
        Datum::Text("some text here".into()),
        Datum::Timestamp(id * 1_000),
    ];
    batch.insert(&key(id), &builder.row(&values).expect("small"));
}

async fn measure(env: &UringEnv, node: &NodeCore<UringEnv>) -> Result<()> {
    let create = |name: &str| CatalogChange::CreateTable { name: name.into(), schema: schema() };
    let local = node.change_catalog(create("one")).await?;
    let other = node.change_catalog(create("two")).await?;
    for table in [local, other] {
        let owner = node.catalog().table(table).expect("created").ranges[0].core;
        println!("table on core {owner}, sessions on core {}", node.core());
        insert(env, node, table, 1, 0).await?;
        insert(env, node, table, 16, 1 << 20).await?;
        load(node, table, 1 << 30).await?;
        read(env, node, table, 1).await?;
        read(env, node, table, 16).await?;
        scan(node, table).await?;
    }
    node.checkpoint(None).await?;
    println!("after a checkpoint, from segments");
    read(env, node, local, 1).await?;
    scan(node, local).await?;
    Ok(())
}

/// Runs `sessions` loops of `body` for a second; prints latency, rate and CPU.
async fn run<F: Future<Output = ()>>(
    env: &UringEnv,
    what: &str,
    sessions: usize,
    body: impl Fn(usize, i64) -> F + 'static,
) {
    let body = Rc::new(body);
    let times = Rc::new(std::cell::RefCell::new(histogram()));
    let running = Rc::new(Cell::new(sessions));
    let (begun, cpu) = (Instant::now(), process_cpu_time());
    for session in 0..sessions {
        let (body, times, running) = (body.clone(), times.clone(), running.clone());
        env.spawn(async move {
            let mut number = 0;
            while begun.elapsed() < Duration::from_secs(1) {
                let start = Instant::now();
                body(session, number).await;
                let nanos = start.elapsed().as_nanos() as u64;
                times.borrow_mut().record(nanos).expect("below a minute");
                number += 1;
            }
            running.set(running.get() - 1);
        });
    }
    while running.get() > 0 {
        env.sleep(Duration::from_millis(5)).await;
    }
    let times = times.borrow();
    let cpu_us = (process_cpu_time() - cpu).as_secs_f64() * 1e6 / times.len() as f64;
    println!(
        "  {what}, {sessions} sessions: {:.0}/s, p50 {:.1} us, p99 {:.1} us, CPU {cpu_us:.1} us",
        times.len() as f64 / begun.elapsed().as_secs_f64(),
        quantile_us(&times, 0.5),
        quantile_us(&times, 0.99)
    );
}

async fn insert(
    env: &UringEnv,
    node: &NodeCore<UringEnv>,
    table: TableId,
    sessions: usize,
    base: i64,
) -> Result<()> {
    let node = node.clone();
    run(env, "durable insert", sessions, move |session, number| {
        let node = node.clone();
        async move {
            let mut batch = WriteBatch::new();
            add(&mut batch, &mut RowBuilder::default(), (base + (session as i64)) << 24 | number);
            node.write_and_commit(node.begin(), table, batch).await.expect("distinct keys");
        }
    })
    .await;
    Ok(())
}

async fn load(node: &NodeCore<UringEnv>, table: TableId, base: i64) -> Result<()> {
    let (begun, cpu) = (Instant::now(), process_cpu_time());
    let mut txn = node.begin();
    let mut builder = RowBuilder::default();
    for first in (base..base + LOAD_ROWS).step_by(BATCH as usize) {
        let mut batch = WriteBatch::new();
        (first..(first + BATCH).min(base + LOAD_ROWS)).for_each(|id| add(&mut batch, &mut builder, id));
        node.write(&mut txn, table, batch).await?;
    }
    node.commit(txn).await?;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), (process_cpu_time() - cpu).as_secs_f64());
    println!(
        "  load in one transaction: {:.2} M rows/s, CPU {:.2} us/row",
        LOAD_ROWS as f64 / wall / 1e6,
        cpu * 1e6 / LOAD_ROWS as f64
    );
    Ok(())
}

async fn read(env: &UringEnv, node: &NodeCore<UringEnv>, table: TableId, sessions: usize) -> Result<()> {
    let node = node.clone();
    let columns: Arc<[usize]> = Arc::from([1, 3]);
    run(env, "point read", sessions, move |session, number| {
        let (node, columns) = (node.clone(), columns.clone());
        async move {
            let id = (1 << 30) + (number * 7_919 + session as i64 * 31) % LOAD_ROWS;
            let txn = node.begin();
            let row = node.get(table, txn.view(), key(id), columns).await.expect("no errors");
            assert!(row.is_some(), "row {id} was loaded");
            if number % 64 == 0 {
                node.env().yield_now().await;
            }
        }
    })
    .await;
    Ok(())
}

struct Count;
struct CountRun(usize);

impl Fragment for Count {
    fn columns(&self) -> &[usize] {
        &[1, 2]
    }
    fn start(&self) -> Box<dyn FragmentRun> {
        Box::new(CountRun(0))
    }
}

impl FragmentRun for CountRun {
    fn push(
        &mut self,
        batch: RecordBatch,
        _: &mut Vec<RecordBatch>,
    ) -> std::result::Result<Flow, ValueError> {
        self.0 += batch.num_rows();
        Ok(Flow::More)
    }
    fn finish(&mut self, _: &mut Vec<RecordBatch>) -> std::result::Result<(), ValueError> {
        std::hint::black_box(self.0);
        Ok(())
    }
}

async fn scan(node: &NodeCore<UringEnv>, table: TableId) -> Result<()> {
    for _ in 0..2 {
        let begun = Instant::now();
        let txn = node.begin();
        let scan = Scan { table, view: txn.view(), spans: vec![KeySpan::all()], fragment: Arc::new(Count) };
        let mut cursor = node.scan(scan)?;
        while cursor.next().await?.is_some() {}
        println!("  scan of two columns of all rows: {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
