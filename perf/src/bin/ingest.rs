//! What durable batches of narrow rows cost the engine, without SQL and wire: 4 columns, int8 key, about 40 bytes.
//!
//! `ingest [DIRECTORY] [CORES] [ROWS] [MEMORY_MB]`: for random and sequential keys and batches of 1,000 and 10,000
//! rows, makes a node in a new folder of the directory, loads ROWS rows from sessions on every core, each batch durable
//! before the session goes on, and removes it. Prints rows a second, CPU of all threads for each row, of which the part
//! that made the rows, and bytes written for each byte of row, once the load is acknowledged and once all is flushed.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;
use std::{env, fs, process};

use omen_core::catalog::TableSchema;
use omen_core::env::Env;
use omen_core::env::uring::{CoreOptions, UringEnv, allowed_cpus, start};
use omen_core::error::Result;
use omen_core::id::{CoreId, TableId};
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{CatalogChange, Router};
use omen_core::types::PgType;
use omen_core::write_batch::WriteBatch;
use omen_perf::{process_cpu_time, tables};

/// Sessions on each core, so that the log has something to do while one waits for its sync.
const SESSIONS: u64 = 4;
/// Bytes of a row's values.
const ROW_BYTES: u64 = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Each row has a random key of the whole table.
    Random,
    /// Every session appends to a part of the key space of its own.
    Sequential,
}

#[derive(Clone)]
struct Load {
    dir: PathBuf,
    cores: u16,
    rows: u64,
    memory_bytes: usize,
    keys: Keys,
    batch_rows: u64,
}

fn main() {
    let mut args = env::args().skip(1);
    let root = args.next().map_or_else(env::temp_dir, PathBuf::from);
    let mut number = |default: u64| args.next().and_then(|n| n.parse().ok()).unwrap_or(default);
    let cores = number(allowed_cpus().len() as u64) as u16;
    let rows = number(2_000_000);
    let memory_bytes = (number(1_024) as usize) << 20;
    let only = env::args().nth(5);
    for keys in [Keys::Random, Keys::Sequential] {
        for batch_rows in [10_000, 1_000] {
            let name = format!(
                "ingest_{}_{batch_rows}_cores_{cores}",
                if keys == Keys::Random { "random" } else { "sequential" }
            );
            if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            let dir = root.join(format!("omendb-ingest-{}", process::id()));
            let load = Load { dir: dir.clone(), cores, rows, memory_bytes, keys, batch_rows };
            run(&name, &load);
            fs::remove_dir_all(&dir).expect("the node has ended");
        }
    }
}

fn schema() -> TableSchema {
    tables::schema(&[
        ("id", PgType::Int8),
        ("device", PgType::Int8),
        ("value", PgType::Float8),
        ("at", PgType::Timestamp),
    ])
}

/// A permutation of the numbers of 64 bits.
fn scatter(n: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ (x >> 32)
}

/// The batch of rows `first..first + count`, as a session would make it.
fn batch(load: &Load, session: u64, first: u64, count: u64) -> WriteBatch {
    let mut batch = WriteBatch::with_capacity((count * (ROW_BYTES + 16)) as usize);
    let mut row = [0u8; 1 + ROW_BYTES as usize];
    for n in first..first + count {
        let id = match load.keys {
            Keys::Random => scatter(n * u64::from(load.cores) * SESSIONS + session) as i64,
            Keys::Sequential => ((session << 40) + n) as i64,
        };
        row[1..9].copy_from_slice(&id.to_le_bytes());
        row[9..17].copy_from_slice(&((n % 1_000) as i64).to_le_bytes());
        row[17..25].copy_from_slice(&((n % 10_007) as f64 / 100.0).to_le_bytes());
        row[25..33].copy_from_slice(&(1_700_000_000_000_000 + n as i64 * 1_000).to_le_bytes());
        batch.insert(&(id as u64 ^ 1 << 63).to_be_bytes(), &row);
    }
    batch
}

/// Bytes that the process has written to files.
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn run(name: &str, load: &Load) {
    let cpus = allowed_cpus();
    let table = Arc::new(AtomicU64::new(0));
    // The cores meet, without working for each other, before the load only.
    let barrier = Arc::new(Barrier::new(usize::from(load.cores)));
    let done = Arc::new(AtomicU64::new(0));
    let mut cores = Vec::new();
    for seat in mesh::connect(load.cores, MESH_CAPACITY) {
        let config = NodeConfig::new(load.dir.clone(), load.cores, load.memory_bytes);
        let cpu = cpus.get(usize::from(seat.core().0)).copied();
        let (load, name, table, barrier, done) =
            (load.clone(), name.to_string(), table.clone(), barrier.clone(), done.clone());
        let handle = start(CoreOptions::new(seat.core(), cpu), move |env| async move {
            let node = NodeCore::start(env.clone(), seat, &config).await.expect("an empty node starts");
            let first = node.core() == CoreId(0);
            if first {
                let created = CatalogChange::CreateTable { name: "t".into(), schema: schema() };
                let created = node.change_catalog(created).await.expect("an empty node has room");
                table.store(u64::from(created.0), Ordering::SeqCst);
            }
            while table.load(Ordering::SeqCst) == 0 {
                env.sleep(std::time::Duration::from_millis(1)).await;
            }
            barrier.wait();
            let id = TableId(table.load(Ordering::SeqCst).try_into().expect("few tables"));
            measure(&env, &node, &load, id, &name, &done).await.expect("no errors");
        });
        cores.push(handle.expect("a core starts"));
    }
    cores.into_iter().for_each(|core| drop(core.join()));
}

async fn measure(
    env: &UringEnv,
    node: &NodeCore<UringEnv>,
    load: &Load,
    table: TableId,
    name: &str,
    done: &AtomicU64,
) -> Result<()> {
    let (begun, cpu, written) = (Instant::now(), process_cpu_time(), written_bytes());
    let each = load.rows / u64::from(load.cores) / SESSIONS;
    let running = Rc::new(Cell::new(SESSIONS));
    let making = Rc::new(Cell::new(0));
    for session in 0..SESSIONS {
        let (node, load, running, making) = (node.clone(), load.clone(), running.clone(), making.clone());
        env.spawn(async move {
            let session = u64::from(node.core().0) * SESSIONS + session;
            for first in (0..each).step_by(load.batch_rows as usize) {
                let start = Instant::now();
                let batch = batch(&load, session, first, load.batch_rows.min(each - first));
                making.set(making.get() + start.elapsed().as_nanos() as u64);
                node.write_and_commit(node.begin(), table, batch).await.expect("distinct keys");
            }
            running.set(running.get() - 1);
        });
    }
    while running.get() > 0 {
        env.sleep(std::time::Duration::from_millis(1)).await;
    }
    let cores = u64::from(load.cores);
    done.fetch_add(1, Ordering::SeqCst);
    while done.load(Ordering::SeqCst) < cores {
        env.sleep(std::time::Duration::from_millis(1)).await;
    }
    let report = |what: &str| {
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), process_cpu_time() - cpu);
        let rows = load.rows as f64;
        println!("result name={name}_{what}_mrows_s value={:.3}", rows / wall / 1e6);
        println!("result name={name}_{what}_cpu_us_row value={:.3}", cpu.as_secs_f64() * 1e6 / rows);
        let amplification = (written_bytes() - written) as f64 / (load.rows * ROW_BYTES) as f64;
        println!("result name={name}_{what}_written_per_byte value={amplification:.2}");
    };
    if node.core() == CoreId(0) {
        report("load");
        let making = making.get() as f64 / 1e3 / (each * SESSIONS) as f64;
        println!("result name={name}_making_us_row value={making:.3}");
        node.checkpoint(None).await?;
        report("all");
        println!("result name={name}_shard_bytes_row value={:.1}", bytes_in(&load.dir) / load.rows as f64);
        done.store(u64::MAX, Ordering::SeqCst);
    }
    while done.load(Ordering::SeqCst) != u64::MAX {
        env.sleep(std::time::Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Bytes of the segments.
fn bytes_in(dir: &Path) -> f64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0.0 };
    let size = |entry: fs::DirEntry| {
        let path = entry.path();
        match path.is_dir() {
            true => bytes_in(&path),
            false if path.extension().is_some_and(|end| end == "seg") => {
                entry.metadata().map_or(0.0, |meta| meta.len() as f64)
            }
            false => 0.0,
        }
    };
    entries.flatten().map(size).sum()
}
