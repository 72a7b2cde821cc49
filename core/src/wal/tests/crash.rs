//! Runs the log in a world of one seed: several writers, power losses, kills, full disks, failing operations and
//! damaged bits; after each restart the records are compared with a model of what was appended and acknowledged.
//!
//! Checks of the checks: a disk that lies about syncs must be noticed (below). By hand, each of these changes makes
//! `acknowledged_records_survive` fail: no comparison of checksums in `decode_record`; of neither salt nor LSN in
//! `BatchHeader::decode`; `write_at` for `write_durable` in `run_writer` or `install`; no `sync_dir` in `install` or
//! `give_up`; `finish` without giving up the unused files, or going on with the LSNs of the last file; no
//! `write_again` in `arrive`; batches that share a page; `take_closed` with files that end a little above `before`.

use super::*;

const OPTIONS: WalOptions =
    WalOptions { file_bytes: 32 << 10, record_bytes_max: 16_000, inflight_bytes_max: 16 << 20 };

/// What goes wrong in a run, beside restarts.
#[derive(Clone, Copy, Default)]
struct Faults {
    ignore_sync: bool,
    ignore_sync_dir: bool,
    /// Bits flip while the power is off.
    damage: bool,
}

/// What the log must hold.
#[derive(Default)]
struct Model {
    /// Every record that may still be in the log, in order.
    records: Vec<Entry>,
    /// Number of the next record.
    next: u64,
    /// Everything up to here was acknowledged.
    acknowledged: Lsn,
    /// Nothing up to here is needed.
    needed: Lsn,
}

impl Model {
    /// Compares what was read and takes it as the new truth.
    fn recover(&mut self, read: &[Entry], tail: Lsn, damaged: bool) -> std::result::Result<(), String> {
        let kept = self.records.iter().take_while(|(lsn, _)| *lsn <= tail).count();
        if let Some((lost, _)) =
            self.records.get(kept).filter(|(lsn, _)| *lsn <= self.acknowledged && !damaged)
        {
            return Err(format!("record {lost} was acknowledged, but the log ends at {tail}"));
        }
        self.records.truncate(kept);
        let end = self.records.last().map_or(Lsn(0), |last| last.0);
        if tail != end && tail != self.needed {
            return Err(format!("the log ends at {tail}, its last record at {end}"));
        }
        if !self.records.ends_with(read) {
            let wrong = read.iter().find(|entry| !self.records.contains(entry));
            return Err(format!("{} records read, one of them wrong: {wrong:?}", read.len()));
        }
        let unread = self.records.len() - read.len();
        match self.records[..unread].last() {
            Some((lsn, _)) if *lsn > self.needed => {
                Err(format!("records up to {lsn} were not read, but those after {} are needed", self.needed))
            }
            _ => Ok(()),
        }
    }
}

type Shared<T> = Rc<RefCell<T>>;

/// Appends records, alone or several together, and waits for most of them.
async fn write(env: SimEnv, wal: Wal<SimEnv>, model: Shared<Model>, seed: u64) {
    let mut rng = Rng::new(seed);
    loop {
        let count = if rng.one_in(4) { 1 + rng.below(4) } else { 1 };
        let lens: Vec<usize> = (0..count)
            .map(|_| if rng.one_in(10) { rng.below(16_001 / count) } else { rng.below(300) } as usize)
            .collect();
        let framed = lens.iter().map(|len| Wal::<SimEnv>::framed(*len)).sum();
        let mut reservation = match wal.reserve(framed).await {
            Ok(reservation) => reservation,
            Err(Error::DiskFull { .. }) => {
                env.sleep(Duration::from_millis(rng.below(20))).await;
                continue;
            }
            Err(_) => return,
        };
        if rng.one_in(4) {
            env.sleep(Duration::from_micros(rng.below(500))).await;
        }
        let mut last = Lsn(0);
        for len in lens {
            let mut model = model.borrow_mut();
            let record = owned(model.next, len);
            last = wal.append(&mut reservation, borrowed(&record));
            model.records.push((last, record));
            model.next += 1;
        }
        drop(reservation);
        if !rng.one_in(5) {
            if wal.durable(last).await.is_err() {
                return;
            }
            let mut model = model.borrow_mut();
            model.acknowledged = model.acknowledged.max(last);
        }
        if rng.one_in(3) {
            env.sleep(Duration::from_micros(rng.below(2_000))).await;
        }
    }
}

/// Gives up a part of the log now and then, as a flush does.
async fn truncate(env: SimEnv, wal: Wal<SimEnv>, model: Shared<Model>, seed: u64) {
    let mut rng = Rng::new(seed);
    while !wal.is_stopped() {
        env.sleep(Duration::from_micros(rng.below(30_000))).await;
        let needed = {
            let mut model = model.borrow_mut();
            let durable = wal.durable_lsn();
            let candidates: Vec<Lsn> =
                model.records.iter().map(|r| r.0).filter(|lsn| *lsn <= durable).collect();
            let from = candidates.len() / 2;
            let Some(needed) = candidates[from..].get(rng.index(candidates.len() - from + 1)) else {
                continue;
            };
            model.needed = model.needed.max(*needed);
            model.needed
        };
        let _ = wal.truncate(needed).await;
    }
}

/// One life of the process.
async fn live(env: SimEnv, model: Shared<Model>, failure: Shared<Option<String>>, damaged: bool, seed: u64) {
    let needed = model.borrow().needed;
    let opened = match read_all(&env, OPTIONS, needed).await {
        Ok((records, replay)) => replay.finish().await.map(|wal| (records, wal)),
        Err(error) => Err(error),
    };
    let (records, wal) = match opened {
        Ok(opened) => opened,
        // A simulated failure of some operation that was meant for the life before.
        Err(Error::Io { .. }) => return,
        // Damage must be found, not read.
        Err(Error::Corrupt { .. }) if damaged => return drop(failure.replace(Some(String::new()))),
        Err(error) => return drop(failure.replace(Some(format!("the log does not open: {error}")))),
    };
    if let Err(wrong) = model.borrow_mut().recover(&records, wal.tail_lsn(), damaged) {
        return drop(failure.replace(Some(wrong)));
    }
    for writer in 0..1 + seed % 5 {
        env.spawn(write(env.clone(), wal.clone(), Rc::clone(&model), seed * 10 + writer));
    }
    env.spawn(truncate(env.clone(), wal, model, seed * 10 + 9));
}

/// What a run did.
#[derive(Default, PartialEq, Eq, Debug)]
struct Outcome {
    acknowledged: Lsn,
    trace_hash: u64,
}

fn run(seed: u64, faults: Faults) -> std::result::Result<Outcome, String> {
    let sim = Sim::new(seed);
    sim.ignore_sync(NODE, faults.ignore_sync);
    sim.ignore_sync_dir(NODE, faults.ignore_sync_dir);
    let (model, failure) = (Shared::<Model>::default(), Shared::<Option<String>>::default());
    let mut damaged = false;
    for life in 0..8 {
        let env = core(&sim);
        env.clone().spawn(live(env, Rc::clone(&model), Rc::clone(&failure), damaged, seed * 100 + life));
        if sim.random_below(4) == 0 {
            sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE) + sim.random_below(100_000)));
        }
        if sim.random_below(8) == 0 {
            let kinds = [IoKind::Write, IoKind::Sync, IoKind::SyncDir];
            let pause = Duration::from_micros(10_000 + sim.random_below(20_000));
            sim.run(sim.sleep(pause));
            sim.fail_next(NODE, kinds[sim.random_below(3) as usize]);
        }
        let life_us = if sim.random_below(3) == 0 { 6_000 } else { 60_000 };
        let life_us = sim.random_below(life_us);
        sim.run(sim.sleep(Duration::from_micros(life_us)));
        sim.set_disk_capacity(NODE, None);
        sim.run(sim.sleep(Duration::from_micros(life_us)));
        if sim.random_below(3) == 0 {
            sim.kill(NODE)
        } else {
            sim.crash(NODE)
        }
        match failure.take() {
            Some(found) if found.is_empty() => break,
            Some(wrong) => return Err(wrong),
            None => {}
        }
        if faults.damage && sim.random_below(2) == 0 {
            damaged = true;
            damage(&sim);
        }
    }
    let acknowledged = model.borrow().acknowledged;
    Ok(Outcome { acknowledged, trace_hash: sim.trace_hash() })
}

/// Flips a bit among the first kilobytes of a file, where records are likely.
fn damage(sim: &Sim) {
    let logs: Vec<PathBuf> = sim.files(NODE).into_iter().filter(|file| file.starts_with(dir())).collect();
    if !logs.is_empty() {
        let file = &logs[sim.random_below(logs.len() as u64) as usize];
        let page = sim.random_below(8) * 4_096;
        let _ = sim.corrupt(NODE, file, page..page + 256);
    }
}

#[test]
fn acknowledged_records_survive() {
    let mut acknowledged = 0;
    for seed in 0..250 {
        let outcome = run(seed, Faults::default()).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        acknowledged += outcome.acknowledged.0;
    }
    assert!(acknowledged > 250 * 300_000, "too little happened: {acknowledged} bytes");
}

#[test]
fn damage_is_never_read() {
    let faults = Faults { damage: true, ..Faults::default() };
    for seed in 1_000..1_200 {
        run(seed, faults).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..5 {
        assert_eq!(run(seed, Faults::default()), run(seed, Faults::default()), "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_is_noticed() {
    let noticed = |faults| (0..40).filter(|seed| run(*seed, faults).is_err()).count();
    let (sync, sync_dir) = (
        noticed(Faults { ignore_sync: true, ..Faults::default() }),
        noticed(Faults { ignore_sync_dir: true, ..Faults::default() }),
    );
    assert!(
        sync > 20 && sync_dir > 5,
        "lies about syncs found in {sync} and about names in {sync_dir} of 40 runs"
    );
}
