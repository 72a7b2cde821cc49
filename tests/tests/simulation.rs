//! The real engine, transactions and recovery in the simulator: sessions write and read on several cores while the
//! node loses power, is killed, is closed, runs out of disk or gets flipped bits. After every restart the contents are
//! compared with a model: all that was acknowledged is there, and of what was not, a transaction is there whole or not
//! at all.
//!
//! Most lives end at a step that the seed picks of a flush, a compaction, a split, a change of the manifest, the removal
//! of files, a start or a close. What was covered is counted, printed, and must not be nothing.
//!
//! `OMENDB_SIM_SEEDS=first..end` runs other seeds; a failure prints the seed that shows it again.

mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use omen_core::Error;
use omen_core::env::sim::{FileOp, Sim};

use workload::{NODE, World};

/// How a seed treats the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plan {
    /// Crashes, kills and closes only.
    Crashes,
    /// The disk fills up now and then.
    FullDisk,
    /// A bit of some file flips while the node is down.
    FlippedBit,
}

/// Steps at which lives end, and how many of them go by at most.
const STEPS: [(FileOp, &str, u64); 16] = [
    // A flush or a compaction begins.
    (FileOp::Create, "segments", 8),
    // It writes its segment.
    (FileOp::Write, "segments", 20),
    (FileOp::Sync, "segments", 8),
    (FileOp::SyncDir, "segments", 8),
    // A range is handed over.
    (FileOp::Link, "segments", 1),
    // Files that no manifest names any more.
    (FileOp::Remove, "segments", 8),
    // A change of the manifest.
    (FileOp::Write, "manifest", 12),
    (FileOp::Write, "manifest", 40),
    // Its file is replaced.
    (FileOp::Create, "manifest", 1),
    (FileOp::Rename, "manifest", 1),
    (FileOp::Remove, "manifest", 1),
    // The log.
    (FileOp::Write, "wal", 60),
    (FileOp::Rename, "wal", 3),
    (FileOp::Remove, "wal", 2),
    (FileOp::SyncDir, "wal", 4),
    (FileOp::Sync, "wal", 3),
];

/// What the seeds have covered.
#[derive(Default)]
struct Coverage {
    restarts: u64,
    closes: u64,
    held: u64,
    /// What was asked of the disk.
    ops: BTreeMap<(FileOp, String), u64>,
    /// Where lives ended.
    ends: BTreeMap<(FileOp, &'static str), u64>,
}

impl Coverage {
    fn ops(&self, op: FileOp, folder: &str) -> u64 {
        self.ops.get(&(op, folder.into())).copied().unwrap_or(0)
    }

    fn print(&self) {
        println!("{} restarts, {} closes, {} snapshots held", self.restarts, self.closes, self.held);
        for ((op, folder), count) in &self.ops {
            println!("asked {op:?} in {folder}: {count}");
        }
        for ((op, folder), count) in &self.ends {
            println!("ended at {op:?} in {folder}: {count}");
        }
    }
}

fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("OMENDB_SIM_SEEDS") else { return default };
    let (first, end) = text.split_once("..").expect("OMENDB_SIM_SEEDS=first..end");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// Sets a trap at a random step, or none that can be reached.
fn set_trap(sim: &Sim) -> Option<(FileOp, &'static str)> {
    let (op, folder, most) = STEPS[sim.random_below(STEPS.len() as u64) as usize];
    let set = sim.random_below(4) > 0;
    let count = if set { 1 + sim.random_below(most) } else { u64::MAX };
    sim.set_trap(NODE, op, folder, count);
    set.then_some((op, folder))
}

/// Lets the node live until the trap closes or so much time has passed.
fn live(sim: &Sim, plan: Plan) {
    let lives_ms = 5 + sim.random_below(70);
    if plan == Plan::FullDisk {
        let room = sim.random_below(512 << 10);
        sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE) + room));
    }
    let mut end = sim.now_ns() + lives_ms * 1_000_000;
    sim.run_until(|| sim.is_trapped(NODE) || sim.now_ns() >= end);
    if plan == Plan::FullDisk {
        sim.set_disk_capacity(NODE, None);
        end = sim.now_ns() + sim.random_below(60) * 1_000_000;
        sim.run_until(|| sim.is_trapped(NODE) || sim.now_ns() >= end);
    }
}

/// Power loss or `kill -9`, at once or a moment later.
fn end_life(sim: &Sim) {
    if sim.random_below(2) == 0 {
        let end = sim.now_ns() + sim.random_below(1_500_000);
        sim.run_until(|| sim.now_ns() >= end);
    }
    match sim.random_below(4) {
        0 => sim.kill(NODE),
        _ => sim.crash(NODE),
    }
}

/// Runs one seed; answers the trace hash.
fn run(seed: u64, plan: Plan, coverage: &mut Coverage, prepare: impl Fn(&Sim)) -> u64 {
    let sim = Sim::new(seed);
    prepare(&sim);
    let mut world = World::new(&sim);
    world.start(&sim).expect("an empty node starts");
    world.create_tables(&sim);
    for _ in 0..3 {
        let trap = set_trap(&sim);
        world.spawn_clients(&sim);
        live(&sim, plan);
        // The manifest's file is replaced when a shard is closed.
        let replaced = matches!(trap, Some((FileOp::Create | FileOp::Rename | FileOp::Remove, "manifest")));
        let often = if plan == Plan::FlippedBit { 2 } else { 5 };
        let closed = (replaced || sim.random_below(often) == 0) && world.close(&sim);
        coverage.closes += u64::from(closed);
        if let Some(step) = trap.filter(|_| sim.is_trapped(NODE)) {
            *coverage.ends.entry(step).or_default() += 1;
        }
        end_life(&sim);
        coverage.restarts += 1;
        if plan == Plan::FlippedBit && !survives_flip(&sim, &mut world, closed) {
            break;
        }
        restart(&sim, &mut world, coverage);
    }
    coverage.held += world.held.get();
    for (op, count) in sim.file_ops(NODE) {
        *coverage.ops.entry(op).or_default() += count;
    }
    sim.trace_hash()
}

/// Starts the node again, maybe after starts that are cut off, and checks what is there.
fn restart(sim: &Sim, world: &mut World, coverage: &mut Coverage) {
    for _ in 0..sim.random_below(3) {
        let trap = set_trap(sim);
        let started = world.start(sim);
        started.unwrap_or_else(|error| panic!("seed {}: restart failed: {error}", sim.seed()));
        if let Some(step) = trap.filter(|_| !world.is_up()) {
            *coverage.ends.entry(step).or_default() += 1;
        }
        end_life(sim);
        coverage.restarts += 1;
    }
    sim.set_trap(NODE, FileOp::Create, "", u64::MAX);
    let started = world.start(sim);
    started.unwrap_or_else(|error| panic!("seed {}: restart failed: {error}", sim.seed()));
    let checked = world.try_check(sim);
    checked.unwrap_or_else(|error| panic!("seed {}: reading failed: {error}", sim.seed()));
}

/// Flips a bit and starts: it is reported, and the seed ends, or it has done no harm. Harm that is not reported panics.
fn survives_flip(sim: &Sim, world: &mut World, closed: bool) -> bool {
    let Some(path) = flip(sim, closed) else { return true };
    sim.set_trap(NODE, FileOp::Create, "", u64::MAX);
    let mut tried = world.start(sim);
    if tried.is_ok() {
        tried = world.try_check(sim).and_then(|()| world.verify(sim));
    }
    match tried {
        Err(Error::Corrupt { .. }) => false,
        Err(error) => panic!("seed {}: a flipped bit is reported as {error}", sim.seed()),
        Ok(()) => {
            // A flush that the close cut off leaves a file that is removed.
            let is_kept = sim.files(NODE).contains(&path);
            assert!(
                !closed || !is_kept,
                "seed {}: a flipped bit in {} is not reported",
                sim.seed(),
                path.display()
            );
            sim.kill(NODE);
            true
        }
    }
}

/// Flips a bit of some file that is not empty. After a crash that is a segment: damage to the last thing that a log or
/// manifest has acknowledged looks like a torn write then, as their own tests show.
fn flip(sim: &Sim, closed: bool) -> Option<PathBuf> {
    let mut files = sim.files(NODE);
    files.retain(|path| closed || path.to_string_lossy().contains("/segments/"));
    if files.is_empty() {
        return None;
    }
    let path = &files[sim.random_below(files.len() as u64) as usize];
    let size = sim.file_bytes(NODE, path).map_or(0, |bytes| bytes.len() as u64);
    (size > 0 && sim.corrupt(NODE, path, 0..size).is_ok()).then(|| path.clone())
}

/// A quarter of the seeds each, so that they run side by side.
fn crashes_lose_nothing_acknowledged(first: u64) {
    let mut coverage = Coverage::default();
    for seed in seeds(first..first + 100) {
        run(seed, Plan::Crashes, &mut coverage, |_| {});
    }
    coverage.print();
    if std::env::var_os("OMENDB_SIM_SEEDS").is_some() {
        return;
    }
    for (op, folder, _) in STEPS {
        assert!(coverage.ops(op, folder) > 0, "no {op:?} in {folder}");
        assert!(coverage.ends.contains_key(&(op, folder)), "no life ended at {op:?} in {folder}");
    }
    assert!(coverage.closes > 0 && coverage.held > 0);
}

#[test]
fn crashes_lose_nothing_acknowledged_1() {
    crashes_lose_nothing_acknowledged(0);
}

#[test]
fn crashes_lose_nothing_acknowledged_2() {
    crashes_lose_nothing_acknowledged(100);
}

#[test]
fn crashes_lose_nothing_acknowledged_3() {
    crashes_lose_nothing_acknowledged(200);
}

#[test]
fn crashes_lose_nothing_acknowledged_4() {
    crashes_lose_nothing_acknowledged(300);
}

#[test]
fn a_full_disk_loses_nothing_acknowledged() {
    let mut coverage = Coverage::default();
    for seed in seeds(1_000..1_060) {
        run(seed, Plan::FullDisk, &mut coverage, |_| {});
    }
    coverage.print();
}

#[test]
fn a_flipped_bit_is_reported_or_harmless() {
    let mut coverage = Coverage::default();
    for seed in seeds(2_000..2_080) {
        run(seed, Plan::FlippedBit, &mut coverage, |_| {});
    }
    coverage.print();
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds(3_000..3_003) {
        let once = || run(seed, Plan::Crashes, &mut Coverage::default(), |_| {});
        assert_eq!(once(), once(), "seed {seed}");
    }
}

/// The parts of a range that was cut share its files. After VACUUM each has its own, or the space of what the others have
/// rewritten would never come back.
#[test]
fn ranges_share_no_file_after_vacuum() {
    let mut linked = 0;
    for seed in seeds(4_000..4_030) {
        let sim = Sim::new(seed);
        let mut world = World::new(&sim);
        world.start(&sim).expect("an empty node starts");
        world.create_tables(&sim);
        world.grow_and_vacuum(&sim, 600);
        let mut files = sim.files(NODE);
        files.retain(|path| path.to_string_lossy().contains("/segments/"));
        let contents: BTreeSet<_> =
            files.iter().map(|path| sim.file_bytes(NODE, path).expect("it is there")).collect();
        assert_eq!(contents.len(), files.len(), "seed {seed}: names of one file");
        linked += sim.file_ops(NODE).iter().filter(|((op, _), _)| *op == FileOp::Link).count();
    }
    assert!(linked > 0, "no range was cut");
}

/// The tests above would notice a disk that does not keep what `fsync` promised: some seed loses acknowledged rows.
#[test]
fn a_lying_disk_is_noticed() {
    let lies = |seed| run(seed, Plan::Crashes, &mut Coverage::default(), |sim| sim.ignore_sync(NODE, true));
    let noticed = (0..40).any(|seed| std::panic::catch_unwind(|| lies(seed)).is_err());
    assert!(noticed, "no seed noticed that fsync does nothing");
}
