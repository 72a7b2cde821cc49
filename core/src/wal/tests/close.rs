//! Logs that are closed in order.

use super::*;

async fn open(env: &SimEnv, extent: Extent) -> Result<(Vec<Entry>, Wal<SimEnv>)> {
    let mut replay = Wal::open(env.clone(), dir(), SMALL, extent).await?;
    let mut records = Vec::new();
    while let Some(entry) = replay.next().await? {
        records.push(entry);
    }
    Ok((records, replay.finish().await?))
}

async fn write(wal: &Wal<SimEnv>, count: u64, rng: &mut Rng, written: &mut Vec<Entry>) {
    for _ in 0..count {
        let record = owned(rng.next_u64() % 10_000, rng.index(6_000));
        written.push(append(wal, &record).await.unwrap());
        if rng.one_in(3) {
            wal.durable(wal.tail_lsn()).await.unwrap();
        }
    }
}

/// Closed, crashed while it was closed, crashed: what was durable is there, and after a close nothing else.
#[test]
fn close_and_crash_in_any_order() {
    for seed in 0..60 {
        let sim = Sim::new(seed);
        let mut rng = Rng::new(seed);
        let (mut written, mut extent, mut closed) = (Vec::new(), Extent::default(), 0);
        for _ in 0..8 {
            let env = core(&sim);
            let wal = sim.run(async {
                let (records, wal) = open(&env, extent).await.unwrap();
                assert!(records.starts_with(&written), "seed {seed}: {} records", records.len());
                assert!(extent.closed.is_none() || records == written, "seed {seed}: more than was closed");
                written = records;
                write(&wal, rng.below(20), &mut rng, &mut written).await;
                wal
            });
            extent.closed = None;
            let fate = rng.below(3);
            if fate == 0 {
                extent.closed = Some(sim.run(wal.close()).unwrap());
                assert_eq!(extent.closed, Some(wal.tail_lsn()));
                assert!(sim.run(wal.reserve(100)).is_err(), "a closed log takes nothing");
                let files = sim.files(NODE);
                let size = |path| sim.file_bytes(NODE, path).unwrap().len();
                assert!(
                    files.iter().all(|path| path.extension() == Some("log".as_ref()) && size(path) > 4_096)
                );
                closed += 1;
            } else if fate == 1 {
                let closing = wal.clone();
                env.spawn(async move { drop(closing.close().await) });
                sim.run(sim.sleep(Duration::from_micros(rng.below(3_000))));
            }
            // What is not durable may be lost.
            let durable = wal.durable_lsn();
            written.retain(|(lsn, _)| *lsn <= durable);
            match rng.below(2) {
                0 => sim.kill(NODE),
                _ => sim.crash(NODE),
            }
        }
        assert!(seed > 0 || closed > 0);
    }
}

/// What is missing from a closed log, and what is there beside it, is found.
#[test]
fn a_closed_log_is_what_was_closed() {
    let sim = Sim::new(3);
    let env = core(&sim);
    let mut written = Vec::new();
    let end = sim.run(async {
        let (_, wal) = open(&env, Extent::default()).await.unwrap();
        write(&wal, 30, &mut Rng::new(3), &mut written).await;
        wal.close().await.unwrap()
    });
    let files = sim.files(NODE);
    assert!(files.len() > 2, "{files:?}");
    let closed = Extent { closed: Some(end), ..Extent::default() };
    let attempt = |change: &dyn Fn(&SimEnv), extent: Extent| {
        let (sim, other) = (&sim, NodeId(1));
        sim.copy_disk(NODE, other);
        let env = sim.core(other, CoreId(0));
        change(&env);
        let opened = sim.run(open(&env, extent));
        sim.kill(other);
        opened.map(|(records, _)| records)
    };
    let remove = |path: &Path| {
        let path = path.to_path_buf();
        let sim = &sim;
        move |env: &SimEnv| sim.run(env.remove_file(&path)).unwrap()
    };
    let resize = |path: &Path, by: i64| {
        let path = path.to_path_buf();
        let sim = &sim;
        move |env: &SimEnv| {
            sim.run(async {
                let file = env.open(&path, OpenMode::ReadWrite).await.unwrap();
                let size = file.size().await.unwrap();
                file.set_size(size.strict_add_signed(by)).await.unwrap();
            });
        }
    };
    assert_eq!(attempt(&|_| {}, closed), Ok(written.clone()));
    assert_eq!(attempt(&|_| {}, Extent::default()), Ok(written.clone()));
    let corrupt =
        |opened: Result<Vec<Entry>>| assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
    for path in &files {
        corrupt(attempt(&remove(path), closed));
        corrupt(attempt(&resize(path, -4_096), closed));
        corrupt(attempt(&resize(path, 4_096), closed));
    }
    for wrong in [end.0 - 1, end.0 + 1] {
        corrupt(attempt(&|_| {}, Extent { closed: Some(Lsn(wrong)), ..closed }));
    }
    // Without the mark the log still has to reach what rests on it.
    let last = remove(&files[files.len() - 1]);
    assert!(attempt(&last, Extent::default()).unwrap().len() < written.len());
    corrupt(attempt(&last, Extent { to: end, ..Extent::default() }));
}
