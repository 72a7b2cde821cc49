//! One shard in the simulator: flush, merge and the manifest under crashes, lack of space and little memory. Contents are
//! compared with a model.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::env::sim::{NodeId, Rng, Sim, SimEnv};
use crate::env::{AlignedBuf, File, OpenMode};
use crate::key::Key;
use crate::router::ReadView;
use crate::test_rows::schema;
use crate::types::{Datum, PgType};
use crate::write_batch::WriteBatch;

const NODE: NodeId = NodeId(0);
const RANGE: RangeId = RangeId(1);

/// What each key holds.
type Model = BTreeMap<i64, String>;

/// A shard with one range, and what its keys should hold.
struct World {
    env: SimEnv,
    shard: Shard<SimEnv>,
    clock: Rc<Clock>,
    model: Model,
    txns: u64,
    /// The oldest snapshot that somebody reads at.
    pinned: Rc<Cell<Option<Timestamp>>>,
}

/// Nothing happens in the background.
fn quiet() -> ShardConfig {
    ShardConfig { memtable_bytes: 8 << 20, wal_bytes_max: 8 << 20, ..config() }
}

/// Little memory: flushes and merges come often.
fn config() -> ShardConfig {
    ShardConfig {
        memtable_bytes: 192 << 10,
        cache_bytes: 64 << 10,
        wal_file_bytes: 128 << 10,
        wal_record_bytes_max: 60 << 10,
        wal_bytes_max: 512 << 10,
        memory_timeout: Duration::from_millis(200),
        lock_timeout: Duration::from_millis(20),
        ..ShardConfig::new(Path::new("/shard"), 1 << 20)
    }
}

fn key(id: i64) -> Key {
    Key::of(&[Datum::Int8(id)]).unwrap()
}

fn row(id: i64, text: &str) -> crate::row::Row {
    RowBuilder::default().row(&[Datum::Int8(id), Datum::Text(text.into())]).unwrap()
}

fn new_range(id: RangeId) -> NewRange {
    NewRange {
        id,
        table: TableId(7),
        schema: schema(&[PgType::Int8, PgType::Text], &[0]),
        span: KeySpan::all(),
    }
}

impl World {
    /// Opens the shard, with the range if it is new.
    async fn open(sim: &Sim, config: ShardConfig, model: Model) -> World {
        let env = sim.core(NODE, CoreId(0));
        let clock = Rc::new(Clock::new());
        let opened = Shard::open(env.clone(), CoreId(0), clock.clone(), config).await;
        let Recovered { shard, in_doubt } = opened.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(in_doubt, []);
        let pinned = Rc::new(Cell::new(None));
        let (pin, now, at) = (pinned.clone(), clock.clone(), env.clone());
        shard.on_oldest_snapshot(Box::new(move || {
            let oldest = pin.get().unwrap_or_else(|| now.tick(at.wall_clock_ns()));
            Box::pin(async move { oldest })
        }));
        if shard.ranges().is_empty() {
            shard.install_range(new_range(RANGE), RangeImage::default()).await.unwrap();
        }
        World { env, shard, clock, model, txns: 0, pinned }
    }

    fn view(&mut self) -> ReadView {
        self.txns += 1;
        ReadView {
            snapshot: self.clock.tick(self.env.wall_clock_ns()),
            txn: TxnId::new(CoreId(0), self.txns),
        }
    }

    /// Puts these rows, and removes those without a text.
    fn batch(&self, rows: &[(i64, Option<String>)]) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for (id, text) in rows {
            match (text, self.model.contains_key(id)) {
                (Some(text), false) => batch.insert(&key(*id), &row(*id, text)),
                (Some(text), true) => batch.update(&key(*id), &row(*id, text)),
                (None, true) => batch.delete(&key(*id)),
                (None, false) => {}
            }
        }
        batch
    }

    async fn write(&mut self, rows: &[(i64, Option<String>)]) -> Result<()> {
        let batch = self.batch(rows);
        let view = self.view();
        self.shard.write(RANGE, view, &batch, WriteMode::Commit).await?;
        for (id, text) in rows {
            match text {
                Some(text) => self.model.insert(*id, text.clone()),
                None => self.model.remove(id),
            };
        }
        Ok(())
    }

    /// Random changes of keys below `keys`.
    async fn write_some(&mut self, rng: &mut Rng, keys: u64, batches: usize) {
        for _ in 0..batches {
            let ids: BTreeSet<i64> = (0..20).map(|_| rng.below(keys) as i64).collect();
            let value =
                |id: i64, rng: &mut Rng| (id, (!rng.one_in(6)).then(|| format!("{} {id}", rng.next_u64())));
            let rows: Vec<_> = ids.into_iter().map(|id| value(id, rng)).collect();
            self.write(&rows).await.unwrap();
        }
    }

    async fn check(&mut self, keys: u64) {
        let view = self.view();
        for id in 0..keys as i64 {
            let found = self.shard.get(RANGE, view, &key(id), &[0, 1]).await.unwrap();
            let expected = self.model.get(&id).map(|text| row(id, text));
            assert_eq!(found, expected, "key {id}");
        }
    }

    fn segments(&self) -> Vec<u64> {
        let state = self.shard.0.state.borrow();
        state.ranges[&RANGE].segments.iter().map(|segment| segment.meta().rows).collect()
    }
}

fn segment_files(sim: &Sim) -> BTreeSet<PathBuf> {
    sim.files(NODE).into_iter().filter(|path| path.starts_with("/shard/segments")).collect()
}

/// A shard with several segments, ended versions in them, and something in memory.
async fn prepared(sim: &Sim, seed: u64, keys: u64) -> World {
    let mut world = World::open(sim, quiet(), Model::new()).await;
    let mut rng = Rng::new(seed);
    for _ in 0..3 {
        world.write_some(&mut rng, keys, 8).await;
        world.shard.checkpoint(None).await.unwrap();
    }
    world.write_some(&mut rng, keys, 8).await;
    assert_eq!(world.segments().len(), 3);
    world
}

/// What is done to a shard at a crash or with little space.
#[derive(Clone, Copy, Debug)]
enum Work {
    Flush,
    Merge,
}

impl Work {
    async fn run(self, shard: &Shard<SimEnv>) -> Result<()> {
        match self {
            Work::Flush => shard.checkpoint(None).await,
            Work::Merge => shard.0.merge_whole_range(RANGE).await.map(drop),
        }
    }
}

/// Crashes at all moments of a flush or merge, most of whose steps take a few microseconds.
fn crash_at_all_moments(work: Work) {
    let (mut delay_us, mut ended) = (0, 0);
    while ended < 3 {
        let sim = Sim::new(delay_us);
        let model = sim.run(async {
            let world = prepared(&sim, 5, 150).await;
            let done = Rc::new(Cell::new(false));
            let (shard, end) = (world.shard.clone(), done.clone());
            world.env.spawn(async move {
                work.run(&shard).await.unwrap();
                end.set(true);
            });
            sim.sleep(Duration::from_micros(delay_us)).await;
            ended += usize::from(done.get());
            world.model
        });
        if delay_us % 3 == 0 {
            sim.kill(NODE)
        } else {
            sim.crash(NODE)
        }
        sim.run(async {
            let mut world = World::open(&sim, quiet(), model).await;
            world.check(150).await;
            let named = world.segments().len();
            assert_eq!(segment_files(&sim).len(), named, "files without a name in the manifest stay");
            world.write_some(&mut Rng::new(9), 150, 5).await;
            world.shard.vacuum(&[RANGE]).await.unwrap();
            world.check(150).await;
            assert_eq!((world.segments().len(), segment_files(&sim).len()), (1, 1));
        });
        delay_us += 17;
    }
    assert!(delay_us > 500, "the work took no time: {delay_us}");
}

#[test]
fn a_crash_at_any_moment_of_a_flush_loses_nothing() {
    crash_at_all_moments(Work::Flush);
}

#[test]
fn a_crash_at_any_moment_of_a_merge_loses_nothing() {
    crash_at_all_moments(Work::Merge);
}

/// Leaves so much room on the disk that a flush or merge ends at every possible step; each time all is as before.
fn fill_up_at_all_steps(work: Work) {
    let sim = Sim::new(3);
    sim.run(async {
        let mut world = prepared(&sim, 6, 150).await;
        // The next change of the manifest needs space, too.
        sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE)));
        while world.shard.reserve_sequence(1).await.is_ok() {}
        let (mut room, mut failed) = (0, 0);
        loop {
            let before = world.segments();
            sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE) + room));
            let result = work.run(&world.shard).await;
            world.check(150).await;
            match result {
                Ok(()) => break,
                Err(Error::DiskFull { .. }) => failed += 1,
                Err(error) => panic!("{error}"),
            }
            assert_eq!(world.segments(), before);
            assert_eq!(segment_files(&sim).len(), before.len(), "the output stays behind");
            room += 4_096;
        }
        assert!(failed > 0, "there was always room");
        sim.set_disk_capacity(NODE, None);
        world.write_some(&mut Rng::new(1), 150, 10).await;
        world.shard.checkpoint(None).await.unwrap();
        let model = world.model.clone();
        sim.kill(NODE);
        // Nothing is left to replay: what the attempts took for the manifest must be in it.
        let mut again = World::open(&sim, quiet(), model).await;
        again.check(150).await;
        again.shard.vacuum(&[RANGE]).await.unwrap();
        again.check(150).await;
    });
}

#[test]
fn a_full_disk_stops_a_flush_at_any_step_without_harm() {
    fill_up_at_all_steps(Work::Flush);
}

#[test]
fn a_full_disk_stops_a_merge_at_any_step_without_harm() {
    fill_up_at_all_steps(Work::Merge);
}

/// Writers go on, commit and roll back while segments are flushed and merged again and again.
#[test]
fn writes_during_flushes_and_merges_are_kept() {
    for seed in 0..12 {
        let sim = Sim::new(seed);
        let model = sim.run(async {
            let mut world = prepared(&sim, seed, 200).await;
            let mut rng = Rng::new(seed);
            let running = Rc::new(Cell::new(true));
            for work in [Work::Flush, Work::Merge] {
                let (shard, running) = (world.shard.clone(), running.clone());
                world.env.spawn(async move {
                    while running.get() {
                        work.run(&shard).await.unwrap();
                        shard.0.env.sleep(Duration::from_micros(50)).await;
                    }
                });
            }
            for _ in 0..40 {
                world.write_some(&mut rng, 200, 1).await;
                // A transaction that changes rows and goes away.
                let ids: Vec<_> = world.model.keys().copied().filter(|_| rng.one_in(9)).collect();
                let rows: Vec<_> = ids.into_iter().map(|id| (id, rng.one_in(2).then(String::new))).collect();
                let (batch, view) = (world.batch(&rows), world.view());
                world.shard.write(RANGE, view, &batch, WriteMode::Stage).await.unwrap();
                world.env.sleep(Duration::from_micros(rng.below(900))).await;
                world.shard.abort(view.txn);
            }
            running.set(false);
            world.check(200).await;
            world.env.sleep(Duration::from_millis(20)).await;
            world.write_some(&mut rng, 200, 1).await;
            world.model
        });
        sim.crash(NODE);
        sim.run(async {
            let mut world = World::open(&sim, config(), model).await;
            world.check(200).await;
            world.write_some(&mut Rng::new(seed), 200, 20).await;
        });
    }
}

/// A prepared transaction is to end when the disk is full, while a change of one of its rows has room in the log already:
/// that change comes after the end of the transaction, also when it is replayed.
#[test]
fn changes_stand_behind_the_end_of_a_prepared_transaction() {
    let puts =
        |text: &str, ids: &[i64]| ids.iter().map(|id| (*id, Some(text.to_owned()))).collect::<Vec<_>>();
    let mut overtaken = 0;
    for filled in 0..300 {
        let sim = Sim::new(filled);
        let model = sim.run(async {
            let mut world = World::open(&sim, quiet(), Model::new()).await;
            world.write(&puts("old", &[1, 2])).await.unwrap();
            world.shard.checkpoint(None).await.unwrap();
            let (staged, first) = (world.batch(&puts("first", &[1, 3])), world.view());
            world.shard.write(RANGE, first, &staged, WriteMode::Stage).await.unwrap();
            let commit = world.shard.prepare(first.txn).await.unwrap();
            world.shard.decide(first.txn, commit).await.unwrap();
            sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE)));
            for id in 0..filled as i64 {
                if world.write(&puts(&"x".repeat(1_000), &[100 + id])).await.is_err() {
                    return None;
                }
            }
            // Its second row is looked for in a segment, when it has room in the log.
            let second = ReadView { snapshot: Timestamp::MAX, ..world.view() };
            let changed = world.batch(&puts("second", &[1, 2]));
            let (shard, done) = (world.shard.clone(), Rc::new(Cell::new(false)));
            let written = done.clone();
            world.env.spawn(async move {
                written.set(shard.write(RANGE, second, &changed, WriteMode::Commit).await.is_ok());
            });
            world.env.yield_now().await;
            let (shard, resolved) = (world.shard.clone(), Rc::new(Cell::new(false)));
            let end = resolved.clone();
            world.env.spawn(async move {
                shard.resolve(first.txn, Some(commit)).await.unwrap();
                end.set(true);
            });
            world.env.sleep(Duration::from_millis(5)).await;
            overtaken += usize::from(!resolved.get());
            sim.set_disk_capacity(NODE, None);
            world.env.sleep(Duration::from_secs(1)).await;
            assert!(resolved.get());
            world.model.extend([(1, "first".to_owned()), (3, "first".to_owned())]);
            if done.get() {
                world.model.extend([(1, "second".to_owned()), (2, "second".to_owned())]);
            }
            world.check(10).await;
            Some(world.model)
        });
        let Some(model) = model else { break };
        sim.kill(NODE);
        sim.run(async { World::open(&sim, quiet(), model).await.check(10).await });
    }
    assert!(overtaken > 0, "there was always room for the end");
}

/// Files that are not segments of the manifest, whole or not, are gone after a start.
#[test]
fn strangers_are_removed_at_start() {
    let sim = Sim::new(8);
    let model = sim.run(async { prepared(&sim, 8, 100).await.model });
    sim.kill(NODE);
    let known = segment_files(&sim);
    sim.run(async {
        let env = sim.core(NODE, CoreId(0));
        let whole = sim.file_bytes(NODE, known.first().unwrap()).unwrap();
        for (name, bytes) in
            [("00000000000000ff.seg", &whole[..4_096]), ("strange", &whole[..]), ("0.seg.tmp", &[])]
        {
            let path = Path::new("/shard/segments").join(name);
            let file = env.open(&path, OpenMode::CreateNew).await.unwrap();
            if !bytes.is_empty() {
                let mut buffer = AlignedBuf::zeroed(bytes.len());
                buffer.copy_from_slice(bytes);
                file.write_durable(0, buffer).await.0.unwrap();
            }
            env.sync_dir(Path::new("/shard/segments")).await.unwrap();
        }
        assert_eq!(segment_files(&sim).len(), known.len() + 3);
        let mut world = World::open(&sim, quiet(), model).await;
        assert_eq!(segment_files(&sim), known);
        world.check(100).await;
    });
}

/// Ten times the budget, by inserts and then by updates; what is counted stays within it.
#[test]
fn memory_stays_within_its_budget() {
    let sim = Sim::new(9);
    sim.set_steps_max(u64::MAX);
    let config =
        ShardConfig { memtable_bytes: 640 << 10, cache_bytes: 320 << 10, wal_bytes_max: 4 << 20, ..config() };
    let budget = config.memtable_bytes + config.cache_bytes;
    sim.run(async {
        let mut world = World::open(&sim, config, Model::new()).await;
        let text = "some text that takes its place in memory, a hundred bytes of it or a little more than that, if counted";
        let (mut written, mut peak, mut next) = (0, 0, 0);
        while written < 10 * budget {
            let ids = next..next + 200;
            let rows: Vec<_> = ids.map(|id| (id * 7_919 % 30_000, Some(format!("{id} {text}")))).collect();
            world.write(&rows).await.unwrap();
            written += world.batch(&rows).as_bytes().len();
            next += 200;
            let used = world.shard.memory_use();
            peak = peak.max(used.total());
            assert!(used.total() <= budget + budget / 16, "{used:?} of {budget}");
        }
        assert!(peak > budget / 3, "nothing was counted: {peak}");
        assert!(world.shard.depth() <= world.shard.0.config.segments_max * 2 + 1, "{}", world.shard.depth());
        for id in (0..30_000).step_by(997) {
            let view = world.view();
            let found = world.shard.get(RANGE, view, &key(id), &[0, 1]).await.unwrap();
            assert_eq!(found, world.model.get(&id).map(|text| row(id, text)));
        }
    });
}

/// Deleted rows give up their space without anybody asking, once no snapshot needs them.
#[test]
fn garbage_is_collected() {
    let sim = Sim::new(10);
    sim.run(async {
        let mut world = World::open(&sim, config(), Model::new()).await;
        for first in (0..6_000).step_by(200) {
            let rows: Vec<_> = (first..first + 200).map(|id| (id, Some(format!("text {id}")))).collect();
            world.write(&rows).await.unwrap();
        }
        world.shard.vacuum(&[RANGE]).await.unwrap();
        assert_eq!(world.segments(), [6_000]);
        let view = world.view();
        world.pinned.set(Some(view.snapshot));
        for first in (0..4_000).step_by(200) {
            let rows: Vec<_> = (first..first + 200).map(|id| (id, None)).collect();
            world.write(&rows).await.unwrap();
        }
        world.shard.checkpoint(None).await.unwrap();
        world.shard.maintain();
        world.env.sleep(Duration::from_millis(50)).await;
        assert_eq!(world.segments(), [6_000], "a snapshot needs the rows");
        assert!(world.shard.get(RANGE, view, &key(7), &[0]).await.unwrap().is_some());
        world.pinned.set(None);
        world.shard.maintain();
        world.env.sleep(Duration::from_millis(50)).await;
        assert_eq!(world.segments(), [2_000]);
        world.check(6_000).await;
        assert_eq!(world.shard.0.manifest.ends_bytes(), 0);
    });
}

/// Versions that nobody reads are kept until the retention window has passed, then a vacuum, or a write that looks for
/// work, drops them.
#[test]
fn ended_versions_are_retained_for_their_window() {
    let window = Duration::from_secs(60);
    let sim = Sim::new(12);
    sim.run(async {
        let mut world = World::open(&sim, ShardConfig { retention: window, ..quiet() }, Model::new()).await;
        let rows = |text: &str| (0..400).map(|id| (id, Some(text.to_owned()))).collect::<Vec<_>>();
        world.write(&rows("first")).await.unwrap();
        world.shard.checkpoint(None).await.unwrap();
        let past = world.view();
        world.write(&rows("second")).await.unwrap();
        // Of the third versions, the second ones end in the memtable.
        world.write(&rows("third")).await.unwrap();
        world.shard.vacuum(&[RANGE]).await.unwrap();
        assert_eq!(world.segments(), [1_200]);
        world.env.sleep(window / 2).await;
        let middle = world.view();
        world.write(&rows("fourth")).await.unwrap();
        world.shard.vacuum(&[RANGE]).await.unwrap();
        assert_eq!(world.segments(), [1_600]);
        let found = world.shard.get(RANGE, past, &key(7), &[0, 1]).await.unwrap();
        assert_eq!(found, Some(row(7, "first")));
        world.env.sleep(window / 2).await;
        world.shard.vacuum(&[RANGE]).await.unwrap();
        assert_eq!(world.segments(), [800], "what ended by half of the window");
        let found = world.shard.get(RANGE, middle, &key(7), &[0, 1]).await.unwrap();
        assert_eq!(found, Some(row(7, "third")));
        world.env.sleep(window).await;
        world.shard.maintain();
        world.env.sleep(Duration::from_millis(50)).await;
        assert_eq!(world.segments(), [400]);
        world.check(500).await;
    });
}

/// Many ends reach the manifest in edits of bounded size, and all of them are there after a restart.
#[test]
fn many_ends_are_saved_in_pieces() {
    let sim = Sim::new(11);
    sim.set_steps_max(u64::MAX);
    let large = ShardConfig {
        memtable_bytes: 64 << 20,
        wal_bytes_max: 64 << 20,
        split_rows: usize::MAX / 4,
        ..config()
    };
    let model = sim.run(async {
        let mut world = World::open(&sim, large.clone(), Model::new()).await;
        for first in (0..40_000).step_by(1_000) {
            let rows: Vec<_> = (first..first + 1_000).map(|id| (id, Some(String::new()))).collect();
            world.write(&rows).await.unwrap();
        }
        world.shard.checkpoint(None).await.unwrap();
        let view = world.view();
        world.pinned.set(Some(view.snapshot));
        for first in (0..40_000).step_by(1_000) {
            let rows: Vec<_> = (first..first + 1_000).filter(|id| id % 8 != 0).map(|id| (id, None)).collect();
            world.write(&rows).await.unwrap();
        }
        let before = world.shard.memory_use().memtables;
        world.shard.checkpoint(None).await.unwrap();
        let after = world.shard.memory_use();
        assert!(after.memtables < before / 10, "{before} {after:?}");
        world.model
    });
    sim.crash(NODE);
    sim.run(async {
        let mut again = World::open(&sim, large, model).await;
        again.check(2_000).await;
        let state = again.shard.0.state.borrow();
        let ended: usize = state.ranges[&RANGE].segments.iter().map(|segment| segment.ended_count()).sum();
        drop(state);
        assert_eq!((ended, again.model.len()), (35_000, 5_000));
    });
}
