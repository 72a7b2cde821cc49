//! Which way of making a commit durable is the cheapest on this disk.
//!
//! `wal-methods DIR [ROUNDS] [BUSY]`: commits of 4 KiB and 64 KiB to preallocated zero-filled files under DIR, the
//! methods taking turns; BUSY is a number of threads that burn CPU meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, io, process, thread};

use hdrhistogram::Histogram;
use omen_core::env::uring::{CoreOptions, UringEnv, UringFile, WriteMethod, allowed_cpus, start};
use omen_core::env::{AlignedBuf, Env, File, OpenMode};
use omen_core::id::CoreId;
use omen_perf::{histogram, process_cpu_time, quantile_us};

/// One log file.
const FILE_BYTES: u64 = 64 << 20;

/// Commits of one method before the next has its turn.
const COMMITS_PER_TURN: u64 = 200;

#[derive(Clone, Copy)]
enum Method {
    /// A write linked to an fdatasync.
    Linked,
    /// RWF_DSYNC.
    Dsync,
    /// A write, awaited, then an fsync.
    Separate,
}

const METHODS: [(Method, &str); 3] = [
    (Method::Linked, "write -> linked fdatasync"),
    (Method::Dsync, "RWF_DSYNC"),
    (Method::Separate, "write, then fsync"),
];

struct Sums {
    times: Histogram<u64>,
    cpu: Duration,
}

fn main() {
    let mut args = env::args().skip(1);
    let Some(dir) = args.next() else {
        eprintln!("usage: wal-methods DIR [ROUNDS] [BUSY]");
        process::exit(2);
    };
    let number = |arg: Option<String>, default| arg.and_then(|a| a.parse().ok()).unwrap_or(default);
    let rounds = number(args.next(), 10);
    let busy = number(args.next(), 0);
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..busy {
        let stop = Arc::clone(&stop);
        thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
    }
    let dir = PathBuf::from(dir).join(format!("wal-methods-{}", process::id()));
    let work = dir.clone();
    let options = CoreOptions::new(CoreId(0), allowed_cpus().first().copied());
    let ran = start(options, move |env| async move {
        if let Err(e) = measure(&env, &work, rounds, busy > 0).await {
            eprintln!("wal-methods: {e}");
        }
    })
    .and_then(|core| core.join());
    stop.store(true, Ordering::Relaxed);
    let _ = fs::remove_dir_all(&dir);
    if let Err(e) = ran {
        eprintln!("wal-methods: {e}");
        process::exit(1);
    }
}

async fn measure(env: &UringEnv, dir: &Path, rounds: u64, busy: bool) -> io::Result<()> {
    env.create_dir(dir).await?;
    let mut files = Vec::new();
    for index in 0..METHODS.len() {
        files.push(preallocate(env, &dir.join(index.to_string())).await?);
    }
    env.sync_dir(dir).await?;
    for size in [4_usize << 10, 64 << 10] {
        let mut sums: Vec<Sums> =
            METHODS.iter().map(|_| Sums { times: histogram(), cpu: Duration::ZERO }).collect();
        for round in 0..rounds {
            for ((file, method), sums) in files.iter().zip(METHODS).zip(&mut sums) {
                turn(env, file, method.0, size, round, sums).await?;
            }
        }
        print(size, rounds * COMMITS_PER_TURN, &sums, busy);
    }
    Ok(())
}

/// A file of zeros: later writes change no metadata.
async fn preallocate(env: &UringEnv, path: &Path) -> io::Result<UringFile> {
    let file = env.open(path, OpenMode::CreateNew).await?;
    let mut zeros = AlignedBuf::zeroed(1 << 20);
    for offset in (0..FILE_BYTES).step_by(1 << 20) {
        let (result, back) = file.write_at(offset, zeros).await;
        result?;
        zeros = back;
    }
    file.sync().await?;
    Ok(file)
}

async fn turn(
    env: &UringEnv,
    file: &UringFile,
    method: Method,
    size: usize,
    round: u64,
    sums: &mut Sums,
) -> io::Result<()> {
    let mut buffer = AlignedBuf::zeroed(size);
    buffer.fill(round as u8 | 1);
    match method {
        Method::Linked => env.set_write_method(WriteMethod::Linked),
        Method::Dsync => env.set_write_method(WriteMethod::Dsync),
        Method::Separate => {}
    }
    let cpu = process_cpu_time();
    for commit in 0..COMMITS_PER_TURN {
        let offset = (round * COMMITS_PER_TURN + commit) * size as u64 % FILE_BYTES;
        let started_ns = env.monotonic_ns();
        let (result, back) = match method {
            Method::Separate => file.write_at(offset, buffer).await,
            Method::Linked | Method::Dsync => file.write_durable(offset, buffer).await,
        };
        result?;
        buffer = back;
        if matches!(method, Method::Separate) {
            file.sync().await?;
        }
        sums.times.saturating_record(env.monotonic_ns() - started_ns);
    }
    sums.cpu += process_cpu_time() - cpu;
    Ok(())
}

fn print(size: usize, commits: u64, sums: &[Sums], busy: bool) {
    println!("{} KiB commits, {commits} of each", size >> 10);
    let base = quantile_us(&sums[0].times, 0.5);
    for ((_, name), Sums { times, cpu }) in METHODS.iter().zip(sums) {
        let (p50, p99) = (quantile_us(times, 0.5), quantile_us(times, 0.99));
        let cpu_us = cpu.as_secs_f64() * 1e6 / commits as f64;
        let cpu = if busy { "CPU not told apart".to_owned() } else { format!("CPU {cpu_us:5.1} us") };
        println!("  {name:26} p50 {p50:7.1} us  p99 {p99:8.1} us  {cpu}  p50 ratio {:.2}", p50 / base);
    }
}
