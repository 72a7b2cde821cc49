//! RocksDB and fjall, measured with the keys, rows and parts of `perf/src/bin/storage.rs`, which says what they are.
//!
//! `baselines rocksdb|fjall PART DIRECTORY [NAME=NUMBER]...`; also `update`, see there.
//!
//! Settings are those that suit the work: a block cache of a quarter of `memory_mib` (as OmenDB takes), bloom filters
//! of 10 bits per key, index and filters always in memory, no compression, memtables of 256 MiB in all, durable writes
//! by a sync of the log per group of batches. Values are rows as OmenDB returns them; they are not taken apart.

#[path = "../../src/args.rs"]
#[allow(dead_code, reason = "shared with other programs")]
mod args;
mod fjall_store;
mod rocks;
#[path = "../../src/rows.rs"]
#[allow(dead_code, reason = "shared with other programs")]
mod rows;
#[path = "../../src/usage.rs"]
mod usage;

use std::env;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use args::{Args, print_result, quantile_us};
use rows::mix;
use usage::{device_reads, disk_bytes, process_cpu_time, thread_cpu_time};

const PROBES: u64 = 1 << 18;
/// Reads between two looks at the clock.
const CHUNK: usize = 1 << 10;

type Key = [u8; 8];

/// Sizes and habits of an engine under test.
pub struct Settings {
    /// Bytes of the block cache.
    pub cache_bytes: usize,
    /// Bytes of all memtables.
    pub memtable_bytes: usize,
    /// Reads bypass the page cache, where the engine can.
    pub direct: bool,
}

/// What is measured of an engine. Failures end the process.
pub trait Store: Sync {
    /// In results.
    const NAME: &'static str;
    /// Whether it can read past the page cache.
    const DIRECT: bool;
    /// Opens or makes a store.
    fn open(args: &Args, settings: &Settings) -> Self;
    /// Writes key-row pairs, durably.
    fn write(&self, batch: &[(Key, Vec<u8>)]);
    /// The length of the row of a key.
    fn get(&self, key: &Key) -> Option<usize>;
    /// Brings all blocks into the cache; the number of rows.
    fn warm(&self) -> u64;
    /// Everything from memory to disk, and the files merged.
    fn settle(&self);
    /// Bytes on disk, the log left aside.
    fn disk_bytes(&self) -> u64;
}

fn main() {
    let mut words = env::args().skip(1);
    let engine = words.next().unwrap_or_default();
    let args = Args::parse(words);
    match (&*engine, args) {
        ("rocksdb", Some(args)) => measure::<rocks::Rocks>(&args),
        ("fjall", Some(args)) => measure::<fjall_store::Fjall>(&args),
        _ => {
            eprintln!(
                "usage: baselines rocksdb|fjall load|read|cold|insert|update DIRECTORY [NAME=NUMBER]..."
            );
            process::exit(2);
        }
    }
}

fn measure<S: Store>(args: &Args) {
    let memory = (args.number("memory_mib", 2_048) as usize) << 20;
    let cold = args.part == "cold";
    if cold && !S::DIRECT {
        println!("skipped name=point_read_cold engine={} reason=no_direct_reads", S::NAME);
        return;
    }
    let settings = Settings {
        cache_bytes: if cold { 1 << 20 } else { memory / 4 },
        memtable_bytes: if args.part == "update" { memory / 2 } else { 256 << 20 },
        direct: cold,
    };
    let store = S::open(args, &settings);
    match &*args.part {
        "load" => load(&store, args),
        "read" => read(&store, args),
        "cold" => cold_reads(&store, args),
        "insert" => insert(&store, args),
        "update" => update(&store, args),
        part => panic!("no part is called {part}"),
    }
}

fn wide_pair(number: u64) -> (Key, Vec<u8>) {
    let (wide, mut row) = (rows::wide(number), Vec::new());
    wide.encode(&mut row);
    (rows::key(wide.id), row)
}

fn load<S: Store>(store: &S, args: &Args) {
    const BATCH: u64 = 8_192;
    let rows = args.number("rows", 1_000_000);
    let (began, cpu) = (Instant::now(), process_cpu_time());
    for first in (0..rows).step_by(BATCH as usize) {
        let batch: Vec<_> = (first..(first + BATCH).min(rows)).map(wide_pair).collect();
        store.write(&batch);
    }
    store.settle();
    let per_row = |total: f64| total / rows as f64;
    print_result(
        "load",
        S::NAME,
        &[
            ("rows_per_second", rows as f64 / began.elapsed().as_secs_f64()),
            ("cpu_ns", per_row((process_cpu_time() - cpu).as_nanos() as f64)),
            ("bytes_per_row", per_row(store.disk_bytes() as f64)),
        ],
    );
}

fn probes(args: &Args) -> Vec<Key> {
    let (rows, seed) = (args.number("rows", 1_000_000), args.number("seed", 1) << 32);
    (seed..seed + PROBES).map(|n| rows::key(rows::wide_id(mix(n) % rows))).collect()
}

fn read<S: Store>(store: &S, args: &Args) {
    let keys = probes(args);
    let time = Duration::from_millis(args.number("ms", 1_000));
    assert_eq!(store.warm(), args.number("rows", 1_000_000), "`load` made them");
    // The index's own blocks and the caches of the CPU.
    assert!(keys.iter().take(CHUNK * 16).all(|key| store.get(key).is_some()), "the rows were loaded");
    let mut chunks = keys.chunks(CHUNK).cycle();
    let (began, cpu, mut reads) = (Instant::now(), thread_cpu_time(), 0);
    while began.elapsed() < time {
        for key in chunks.next().into_iter().flatten() {
            assert!(store.get(key).is_some_and(|length| length > 58), "the row was loaded");
        }
        reads += CHUNK;
    }
    let per_read = |time: Duration| time.as_nanos() as f64 / reads as f64;
    let (ns, cpu_ns) = (per_read(began.elapsed()), per_read(thread_cpu_time() - cpu));
    print_result("point_read_cached", S::NAME, &[("ns", ns), ("cpu_ns", cpu_ns)]);
}

fn cold_reads<S: Store>(store: &S, args: &Args) {
    let keys = probes(args);
    let reads = (args.number("reads", 2_000) as usize).min(keys.len());
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    let device = device_reads(&args.dir);
    for key in &keys[..reads] {
        let (bytes, began) = (disk_bytes().read, Instant::now());
        assert!(store.get(key).is_some(), "the row was loaded");
        times.push(began.elapsed().as_nanos() as u64);
        sizes.push(disk_bytes().read - bytes);
    }
    let read: Vec<u64> = sizes.iter().copied().filter(|bytes| *bytes > 0).collect();
    let misses = read.len().max(1) as f64;
    print_result(
        "point_read_cold",
        S::NAME,
        &[
            ("ios", (device_reads(&args.dir) - device) as f64 / misses),
            ("bytes", read.iter().sum::<u64>() as f64 / misses),
            ("bytes_max", read.iter().max().copied().unwrap_or(0) as f64),
            ("missed", read.len() as f64 / reads as f64),
            ("p50_us", quantile_us(&mut times, 0.5)),
            ("p99_us", quantile_us(&mut times, 0.99)),
        ],
    );
}

fn insert<S: Store>(store: &S, args: &Args) {
    let sessions = args.number("sessions", 16);
    let (size, random) = (args.number("batch", 1_000), args.number("random", 0) == 1);
    let (next, rows) = (AtomicU64::new(0), AtomicU64::new(0));
    let (began, cpu, written) = (Instant::now(), process_cpu_time(), disk_bytes().written);
    let until = began + Duration::from_millis(args.number("ms", 2_000));
    let session = || {
        let mut batch: Vec<(Key, Vec<u8>)> = vec![Default::default(); size as usize];
        while Instant::now() < until {
            let first = next.fetch_add(size, Ordering::Relaxed);
            for (number, (key, row)) in (first..).zip(&mut batch) {
                let id = if random { mix(number) as i64 } else { number as i64 };
                rows::narrow(id).encode(row);
                *key = rows::key(id);
            }
            store.write(&batch);
            rows.fetch_add(size, Ordering::Relaxed);
        }
    };
    let cpu_time = std::thread::scope(|scope| {
        let session = || {
            session();
            thread_cpu_time()
        };
        let sessions: Vec<_> = (0..sessions).map(|_| scope.spawn(session)).collect();
        sessions.into_iter().map(|session| session.join().expect("no panics")).sum::<Duration>()
    });
    let rows = rows.into_inner() as f64;
    // Threads that have ended have left the sum over the process.
    let cpu_time = (cpu_time + process_cpu_time()).saturating_sub(cpu);
    let order = if random { "insert_random" } else { "insert_sequential" };
    print_result(
        order,
        S::NAME,
        &[
            ("rows_per_second", rows / began.elapsed().as_secs_f64()),
            ("cpu_ns", cpu_time.as_nanos() as f64 / rows),
            ("disk_bytes_per_row", (disk_bytes().written - written) as f64 / rows),
        ],
    );
}

/// Write amplification: `rows` wide rows, which should be five times `memory_mib`, then `updates` of them at random in
/// durable batches of 1,000. Bytes written to disk over bytes of keys and rows, with and without the log, which holds
/// each of them once.
fn update<S: Store>(store: &S, args: &Args) {
    let (rows, updates) = (args.number("rows", 1_000_000), args.number("updates", 1_000_000));
    for first in (0..rows).step_by(8_192) {
        store.write(&(first..(first + 8_192).min(rows)).map(wide_pair).collect::<Vec<_>>());
    }
    store.settle();
    let (began, written, mut bytes) = (Instant::now(), disk_bytes().written, 0);
    for first in (0..updates).step_by(1_000) {
        let pair = |number: u64| {
            let (at, mut row) = (mix(number) % rows, Vec::new());
            rows::Wide { id: rows::wide_id(at), ..rows::wide(number + rows) }.encode(&mut row);
            (rows::key(rows::wide_id(at)), row)
        };
        let batch: Vec<_> = (first..first + 1_000).map(pair).collect();
        bytes += batch.iter().map(|(key, row)| (key.len() + row.len()) as u64).sum::<u64>();
        store.write(&batch);
    }
    let rate = updates as f64 / began.elapsed().as_secs_f64();
    let amplification = (disk_bytes().written - written) as f64 / bytes as f64;
    print_result(
        "write_amplification",
        S::NAME,
        &[("with_log", amplification), ("without_log", amplification - 1.0), ("rows_per_second", rate)],
    );
}
