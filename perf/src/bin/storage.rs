//! What the engine costs without SQL and wire, beside RocksDB and fjall, which `perf/baselines` measures the same way.
//!
//! `storage PART DIRECTORY [NAME=NUMBER]...`; every part prints lines for `perf/report.py`.
//!
//! | part | does |
//! |---|---|
//! | `load` | makes a node in the directory with `rows` rows of the wide table, all in segments |
//! | `read` | reads rows that are in the cache, by random keys, for `ms` milliseconds |
//! | `cold` | makes `reads` random reads with the smallest cache |
//! | `insert` | durable batches of `batch` narrow rows, by `sessions` sessions at once, for `ms` milliseconds, into a new directory; keys rise, or are random if `random=1` |
//! | `update` | loads `rows` wide rows, then updates `updates` of them at random, in durable batches of 1,000: write amplification |
//!
//! `cores` (1; 2 for `insert`) and `memory_mib` size the node.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, process};

use omen_core::env::Env;
use omen_core::env::uring::{CoreOptions, UringEnv, allowed_cpus, start};
use omen_core::error::Result;
use omen_core::id::{CoreId, TableId};
use omen_core::key::Key;
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{CatalogChange, Router, Transaction};
use omen_core::write_batch::WriteBatch;
use omen_perf::args::{Args, print_result, quantile_us};
use omen_perf::rows::{self, mix};
use omen_perf::tables::{load_wide, narrow_schema};
use omen_perf::usage::{device_reads, disk_bytes, process_cpu_time, thread_cpu_time};

type Node = NodeCore<UringEnv>;

const ENGINE: &str = "omendb";
/// Different keys that a round asks for, made before it.
const PROBES: u64 = 1 << 18;
/// Reads between two looks at the clock.
const CHUNK: usize = 1 << 10;
/// Cached bytes of the cold reads: a few blocks, so that hardly one is asked for twice.
const COLD_CACHE_BYTES: usize = 1 << 20;

/// What the cores of an insert have in common.
#[derive(Default)]
struct Inserted {
    rows: AtomicU64,
    cores_ready: AtomicUsize,
    cores_done: AtomicUsize,
}

fn main() {
    let Some(args) = Args::parse(env::args().skip(1)) else {
        eprintln!("usage: storage load|read|cold|insert|update DIRECTORY [NAME=NUMBER]...");
        process::exit(2);
    };
    let inserting = args.part == "insert";
    let core_count = args.number("cores", if inserting { 2 } else { 1 }) as u16;
    let memory = args.number("memory_mib", 2_048) as usize;
    let mut config = NodeConfig::new(args.dir.clone(), core_count, memory << 20);
    if args.part == "cold" {
        config.shard.cache_bytes = COLD_CACHE_BYTES;
    }
    let (cpus, inserted) = (allowed_cpus(), Arc::new(Inserted::default()));
    let mut cores = Vec::new();
    for seat in mesh::connect(core_count, MESH_CAPACITY) {
        let cpu = cpus.get(usize::from(seat.core().0)).copied();
        let (args, config, inserted) = (args.clone(), config.clone(), inserted.clone());
        let handle = start(CoreOptions::new(seat.core(), cpu), move |env| async move {
            let node = NodeCore::start(env.clone(), seat, &config).await.expect("a node starts");
            if inserting {
                insert(&env, &node, &args, &inserted).await.expect("no errors");
            } else if node.core() == CoreId(0) {
                measure(&node, &args).await.expect("no errors");
            }
            if node.core() == CoreId(0) {
                process::exit(0);
            }
            env.stop_requested().await;
        });
        cores.push(handle.expect("a core starts"));
    }
    cores.into_iter().for_each(|core| drop(core.join()));
}

async fn measure(node: &Node, args: &Args) -> Result<()> {
    match &*args.part {
        "load" => load(node, args).await,
        "read" => read(node, args).await,
        "cold" => cold(node, args).await,
        "update" => update(node, args).await,
        part => panic!("no part is called {part}"),
    }
}

async fn load(node: &Node, args: &Args) -> Result<()> {
    let rows = args.number("rows", 1_000_000);
    let (began, cpu) = (Instant::now(), process_cpu_time());
    let table = load_wide(node, rows).await?;
    let bytes = node.relation_size_bytes(table).await? as f64;
    let per_row = |total: f64| total / rows as f64;
    let cpu = (process_cpu_time() - cpu).as_nanos() as f64;
    print_result(
        "load",
        ENGINE,
        &[
            ("rows_per_second", rows as f64 / began.elapsed().as_secs_f64()),
            ("cpu_ns", per_row(cpu)),
            ("bytes_per_row", per_row(bytes)),
        ],
    );
    Ok(())
}

fn wide_table(node: &Node) -> TableId {
    let catalog = node.catalog();
    catalog.table_named("wide").expect("`load` made it").id
}

fn probes(args: &Args) -> Vec<Key> {
    let (rows, seed) = (args.number("rows", 1_000_000), args.number("seed", 1) << 32);
    (seed..seed + PROBES).map(|n| Key::from_bytes(&rows::key(rows::wide_id(mix(n) % rows)))).collect()
}

async fn read(node: &Node, args: &Args) -> Result<()> {
    let table = wide_table(node);
    let keys = probes(args);
    let columns: Arc<[usize]> = (0..rows::WIDE_COLUMNS).collect();
    let time = Duration::from_millis(args.number("ms", 1_000));
    // Every block holds more than 64 rows, so this brings all of them into the cache.
    for number in (0..args.number("rows", 1_000_000)).step_by(64) {
        let key = Key::from_bytes(&rows::key(rows::wide_id(number)));
        node.get(table, node.begin().view(), key, columns.clone()).await?;
    }
    let mut chunks = keys.chunks(CHUNK).cycle();
    let (began, cpu, mut reads) = (Instant::now(), thread_cpu_time(), 0);
    while began.elapsed() < time {
        for key in chunks.next().into_iter().flatten() {
            let txn = node.begin();
            let row = node.get(table, txn.view(), key.clone(), columns.clone()).await?;
            assert!(row.is_some_and(|row| row.len() > 58), "the row was loaded");
        }
        reads += CHUNK;
        node.env().yield_now().await;
    }
    let per_read = |time: Duration| time.as_nanos() as f64 / reads as f64;
    let (ns, cpu_ns) = (per_read(began.elapsed()), per_read(thread_cpu_time() - cpu));
    print_result("point_read_cached", ENGINE, &[("ns", ns), ("cpu_ns", cpu_ns)]);
    read_shard(node, table, &keys, &columns, time);
    Ok(())
}

/// The same reads as the shard answers them, without router, transaction and futures.
fn read_shard(node: &Node, table: TableId, keys: &[Key], columns: &[usize], time: Duration) {
    let (catalog, view) = (node.catalog(), node.begin().view());
    let table = catalog.table(table).expect("loaded");
    let mut chunks = keys.chunks(CHUNK).cycle();
    let (began, cpu, mut reads) = (Instant::now(), thread_cpu_time(), 0);
    while began.elapsed() < time {
        for key in chunks.next().into_iter().flatten() {
            let answer = node.shard().try_get(table.range_of(key).id, view, key, columns);
            assert!(matches!(answer, Some(Ok(Some(_)))), "the row is in the cache");
        }
        reads += CHUNK;
    }
    let per_read = |time: Duration| time.as_nanos() as f64 / reads as f64;
    let (ns, cpu_ns) = (per_read(began.elapsed()), per_read(thread_cpu_time() - cpu));
    print_result("point_read_cached_shard", ENGINE, &[("ns", ns), ("cpu_ns", cpu_ns)]);
}

async fn cold(node: &Node, args: &Args) -> Result<()> {
    let table = wide_table(node);
    let columns: Arc<[usize]> = (0..rows::WIDE_COLUMNS).collect();
    let keys = probes(args);
    let reads = (args.number("reads", 2_000) as usize).min(keys.len());
    let mut times = Vec::with_capacity(reads);
    let mut sizes = Vec::with_capacity(reads);
    let device = device_reads(&args.dir);
    for key in &keys[..reads] {
        let (bytes, began) = (disk_bytes().read, Instant::now());
        let row = node.get(table, node.begin().view(), key.clone(), columns.clone()).await?;
        assert!(row.is_some(), "the row was loaded");
        times.push(began.elapsed().as_nanos() as u64);
        sizes.push(disk_bytes().read - bytes);
    }
    let read: Vec<u64> = sizes.iter().copied().filter(|bytes| *bytes > 0).collect();
    let misses = read.len().max(1) as f64;
    print_result(
        "point_read_cold",
        ENGINE,
        &[
            ("ios", (device_reads(&args.dir) - device) as f64 / misses),
            ("bytes", read.iter().sum::<u64>() as f64 / misses),
            ("bytes_max", read.iter().max().copied().unwrap_or(0) as f64),
            ("missed", read.len() as f64 / reads as f64),
            ("p50_us", quantile_us(&mut times, 0.5)),
            ("p99_us", quantile_us(&mut times, 0.99)),
        ],
    );
    Ok(())
}

/// Bytes written to disk over bytes of keys and rows; the log holds each of them once.
async fn update(node: &Node, args: &Args) -> Result<()> {
    let (rows, updates) = (args.number("rows", 1_000_000), args.number("updates", 1_000_000));
    let table = load_wide(node, rows).await?;
    let (began, written, mut bytes) = (Instant::now(), disk_bytes().written, 0);
    let mut row = Vec::new();
    for first in (0..updates).step_by(1_000) {
        let (mut batch, mut seen) = (WriteBatch::new(), HashSet::new());
        for number in first..first + 1_000 {
            let at = mix(number) % rows;
            if seen.insert(at) {
                let id = rows::wide_id(at);
                rows::Wide { id, ..rows::wide(number + rows) }.encode(&mut row);
                batch.update(&rows::key(id), &row);
                bytes += (8 + row.len()) as u64;
            }
        }
        node.write_and_commit(node.begin(), table, batch).await?;
    }
    let amplification = (disk_bytes().written - written) as f64 / bytes as f64;
    let rate = updates as f64 / began.elapsed().as_secs_f64();
    print_result(
        "write_amplification",
        ENGINE,
        &[("with_log", amplification), ("without_log", amplification - 1.0), ("rows_per_second", rate)],
    );
    Ok(())
}

/// A core's part: its sessions write into a table whose first range lies on this core.
async fn insert(env: &UringEnv, node: &Node, args: &Args, inserted: &Arc<Inserted>) -> Result<()> {
    let cores = usize::from(node.core_count());
    let name = |core: CoreId| format!("narrow{core}");
    if node.core() == CoreId(0) {
        for core in 0..node.core_count() {
            let name = name(CoreId(core));
            node.change_catalog(CatalogChange::CreateTable { name, schema: narrow_schema() }).await?;
        }
    }
    let table = loop {
        let catalog = node.catalog();
        let tables = (0..node.core_count()).filter_map(|core| catalog.table_named(&name(CoreId(core))));
        let own = tables.filter(|table| table.ranges[0].core == node.core()).map(|table| table.id).next();
        match own {
            Some(table) => break table,
            None => env.sleep(Duration::from_millis(1)).await,
        }
    };
    await_all(env, &inserted.cores_ready, cores).await;
    let (began, cpu, written) = (Instant::now(), process_cpu_time(), disk_bytes().written);
    let time = Duration::from_millis(args.number("ms", 2_000));
    sessions(env, node, args, table, began + time, inserted).await;
    await_all(env, &inserted.cores_done, cores).await;
    if node.core() == CoreId(0) {
        let rows = inserted.rows.load(Ordering::Relaxed) as f64;
        let order = if args.number("random", 0) == 1 { "insert_random" } else { "insert_sequential" };
        print_result(
            order,
            ENGINE,
            &[
                ("rows_per_second", rows / began.elapsed().as_secs_f64()),
                ("cpu_ns", (process_cpu_time() - cpu).as_nanos() as f64 / rows),
                ("disk_bytes_per_row", (disk_bytes().written - written) as f64 / rows),
            ],
        );
    }
    Ok(())
}

async fn await_all(env: &UringEnv, arrived: &AtomicUsize, count: usize) {
    arrived.fetch_add(1, Ordering::Relaxed);
    while arrived.load(Ordering::Relaxed) < count {
        env.sleep(Duration::from_micros(200)).await;
    }
}

async fn sessions(
    env: &UringEnv,
    node: &Node,
    args: &Args,
    table: TableId,
    until: Instant,
    inserted: &Arc<Inserted>,
) {
    let count = args.number("sessions", 16) / u64::from(node.core_count());
    let (size, random) = (args.number("batch", 1_000), args.number("random", 0) == 1);
    let (running, next) = (Rc::new(Cell::new(count)), Rc::new(Cell::new(0)));
    for _ in 0..count {
        let (node, running, next) = (node.clone(), running.clone(), next.clone());
        let inserted = inserted.clone();
        env.spawn(async move {
            let mut row = Vec::new();
            while Instant::now() < until {
                let first = next.replace(next.get() + size);
                let mut batch = WriteBatch::with_capacity(size as usize * 48);
                for number in first..first + size {
                    let id = if random { mix(number) as i64 } else { number as i64 };
                    rows::narrow(id).encode(&mut row);
                    batch.insert(&rows::key(id), &row);
                }
                node.write_and_commit(node.begin(), table, batch).await.expect("distinct keys");
                inserted.rows.fetch_add(size, Ordering::Relaxed);
            }
            running.set(running.get() - 1);
        });
    }
    while running.get() > 0 {
        env.sleep(Duration::from_millis(1)).await;
    }
}
