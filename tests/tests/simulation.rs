//! The real engine, transactions and recovery in the simulator: sessions write and read on several cores while the
//! node loses power, is killed, runs out of disk or gets flipped bits. After every restart the contents are compared
//! with a model: all that was acknowledged is there, and of what was not, a transaction is there whole or not at all.
//!
//! `OMENDB_SIM_SEEDS=first..end` runs other seeds; a failure prints the seed that shows it again.

mod workload;

use std::time::Duration;

use omen_core::Error;
use omen_core::env::sim::Sim;

use workload::{NODE, World};

/// How a seed treats the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plan {
    /// Crashes and kills only.
    Crashes,
    /// The disk fills up now and then.
    FullDisk,
    /// A bit of some file flips while the node is down.
    FlippedBit,
}

fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("OMENDB_SIM_SEEDS") else { return default };
    let (first, end) = text.split_once("..").expect("OMENDB_SIM_SEEDS=first..end");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// Runs one seed; answers the trace hash and the number of restarts.
fn run(seed: u64, plan: Plan, prepare: impl Fn(&Sim)) -> (u64, u32) {
    let sim = Sim::new(seed);
    prepare(&sim);
    let mut world = World::new(&sim);
    let mut restarts = 0;
    world.start(&sim).expect("an empty node starts");
    world.create_tables(&sim);
    for _ in 0..3 {
        world.spawn_clients(&sim);
        let lives_ms = 5 + sim.random_below(120);
        if plan == Plan::FullDisk {
            let room = sim.random_below(512 << 10);
            sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE) + room));
        }
        sim.run(sim.sleep(Duration::from_millis(lives_ms)));
        if plan == Plan::FullDisk {
            sim.set_disk_capacity(NODE, None);
            sim.run(sim.sleep(Duration::from_millis(sim.random_below(60))));
        }
        match sim.random_below(4) {
            0 => sim.kill(NODE),
            _ => sim.crash(NODE),
        }
        restarts += 1;
        if plan == Plan::FlippedBit && flip(&sim) {
            match world.start(&sim) {
                Err(Error::Corrupt { .. }) => return (sim.trace_hash(), restarts),
                Err(error) => panic!("seed {seed}: a flipped bit is reported as {error}"),
                Ok(()) => {}
            }
            match world.try_check(&sim) {
                Err(Error::Corrupt { .. }) => return (sim.trace_hash(), restarts),
                Err(error) => panic!("seed {seed}: a flipped bit is reported as {error}"),
                Ok(()) => continue,
            }
        }
        world.start(&sim).unwrap_or_else(|error| panic!("seed {seed}: restart failed: {error}"));
        world.try_check(&sim).unwrap_or_else(|error| panic!("seed {seed}: reading failed: {error}"));
    }
    (sim.trace_hash(), restarts)
}

/// Flips a bit of some file that is not empty.
fn flip(sim: &Sim) -> bool {
    let files = sim.files(NODE);
    if files.is_empty() {
        return false;
    }
    let path = &files[sim.random_below(files.len() as u64) as usize];
    let size = sim.file_bytes(NODE, path).map_or(0, |bytes| bytes.len() as u64);
    size > 0 && sim.corrupt(NODE, path, 0..size).is_ok()
}

#[test]
fn crashes_lose_nothing_acknowledged() {
    for seed in seeds(0..140) {
        run(seed, Plan::Crashes, |_| {});
    }
}

#[test]
fn a_full_disk_loses_nothing_acknowledged() {
    for seed in seeds(1_000..1_040) {
        run(seed, Plan::FullDisk, |_| {});
    }
}

#[test]
fn a_flipped_bit_is_reported_or_harmless() {
    for seed in seeds(2_000..2_060) {
        run(seed, Plan::FlippedBit, |_| {});
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds(3_000..3_003) {
        assert_eq!(run(seed, Plan::Crashes, |_| {}), run(seed, Plan::Crashes, |_| {}), "seed {seed}");
    }
}

/// The tests above would notice a disk that does not keep what `fsync` promised: some seed loses acknowledged rows.
#[test]
fn a_lying_disk_is_noticed() {
    let noticed = (0..40).any(|seed| {
        std::panic::catch_unwind(|| run(seed, Plan::Crashes, |sim| sim.ignore_sync(NODE, true))).is_err()
    });
    assert!(noticed, "no seed noticed that fsync does nothing");
}
