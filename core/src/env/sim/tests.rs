use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const CORE: CoreId = CoreId(0);

fn filled(len: usize, byte: u8) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(len);
    buffer.fill(byte);
    buffer
}

async fn create(env: &SimEnv, path: &str) -> SimFile {
    let path = Path::new(path);
    env.create_dir(path.parent().unwrap()).await.unwrap();
    let file = env.open(path, OpenMode::CreateNew).await.unwrap();
    env.sync_dir(path.parent().unwrap()).await.unwrap();
    file
}

fn panic_text(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

/// Files, messages, tasks and a crash on two nodes; gives what was read back and the trace hash.
fn busy(seed: u64) -> (Vec<u8>, u64) {
    let sim = Sim::new(seed);
    let server = sim.core(B, CORE);
    let listener = server.listen(sim.address(B, 7)).unwrap();
    let echo = server.clone();
    server.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let mut buffer = Vec::new();
            while stream.receive(&mut buffer).await.is_ok_and(|n| n > 0) {
                echo.sleep(Duration::from_micros(50)).await;
                if stream.send(&mut buffer).await.is_err() {
                    break;
                }
            }
        }
    });
    let env = sim.core(A, CORE);
    let address = sim.address(B, 7);
    let handle = sim.clone();
    let bytes = sim.run(async move {
        for task in 0..4 {
            let env = env.clone();
            let stream = env.connect(address).await.unwrap();
            env.clone().spawn(async move {
                let file = create(&env, &format!("/data/{task}")).await;
                let _ = file.write_at(0, filled(8192, task)).await;
                let _ = stream.send(&mut vec![task; 1000]).await;
                let mut back = Vec::new();
                while back.len() < 1000 && stream.receive(&mut back).await.is_ok() {}
                assert_eq!(back, vec![task; 1000]);
                env.sleep(Duration::from_nanos(env.random_u64() % 1000)).await;
            });
        }
        handle.sleep(Duration::from_millis(3)).await;
        handle.crash(A);
        handle.files(A).iter().flat_map(|path| handle.file_bytes(A, path).unwrap()).collect()
    });
    (bytes, sim.trace_hash())
}

#[test]
fn same_seed_same_trace() {
    let runs: Vec<_> = (0..10).map(busy).collect();
    assert_eq!(runs, (0..10).map(busy).collect::<Vec<_>>());
    assert!(runs.windows(2).all(|pair| pair[0].1 != pair[1].1), "seeds make no difference");
}

#[test]
fn power_loss_keeps_drops_and_tears_only_what_is_not_synced() {
    let (mut kept, mut dropped, mut torn) = (0, 0, 0);
    for seed in 0..60 {
        let sim = Sim::new(seed);
        let env = sim.core(A, CORE);
        sim.run(async {
            let file = create(&env, "/f").await;
            file.write_at(0, filled(4096, 1)).await.0.unwrap();
            file.sync().await.unwrap();
            file.write_durable(4096, filled(4096, 2)).await.0.unwrap();
            file.write_at(8192, filled(4096, 3)).await.0.unwrap();
        });
        sim.crash(A);
        let bytes = sim.file_bytes(A, Path::new("/f")).unwrap();
        assert!(bytes[..4096].iter().all(|b| *b == 1) && bytes[4096..8192].iter().all(|b| *b == 2));
        match bytes[8192..].iter().filter(|b| **b == 3).count() {
            0 => dropped += 1,
            4096 => kept += 1,
            _ => torn += 1,
        }
        assert!(
            bytes[8192..].chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])),
            "torn in a sector"
        );
    }
    assert!(kept > 5 && dropped > 5 && torn > 5, "{kept} kept, {dropped} dropped, {torn} torn");
}

#[test]
fn an_ignored_sync_loses_data() {
    let lost = (0..20).filter(|seed| {
        let sim = Sim::new(*seed);
        let env = sim.core(A, CORE);
        sim.ignore_sync(A, true);
        sim.run(async {
            let file = create(&env, "/f").await;
            file.write_durable(0, filled(4096, 1)).await.0.unwrap();
            file.sync().await.unwrap();
        });
        sim.crash(A);
        sim.file_bytes(A, Path::new("/f")).unwrap() != vec![1; 4096]
    });
    assert!(lost.count() > 5);
}

#[test]
fn names_need_a_synced_directory() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let sim = Sim::new(seed);
        let env = sim.core(A, CORE);
        sim.run(async {
            create(&env, "/d/synced").await;
            env.open(Path::new("/d/new"), OpenMode::CreateNew).await.unwrap().sync().await.unwrap();
            env.rename(Path::new("/d/synced"), Path::new("/d/renamed")).await.unwrap();
            assert_eq!(env.list_dir(Path::new("/d")).await.unwrap(), ["new", "renamed"]);
        });
        sim.crash(A);
        let names: Vec<_> = sim.files(A).iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        let count = |name: &str| names.iter().filter(|n| *n == name).count();
        assert_eq!(count("synced") + count("renamed"), 1, "a rename is atomic");
        outcomes.insert(names);
    }
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
}

#[test]
fn links_removal_and_listing() {
    let sim = Sim::new(1);
    let env = sim.core(A, CORE);
    sim.run(async {
        let file = create(&env, "/d/a").await;
        file.write_at(0, filled(4096, 9)).await.0.unwrap();
        env.hard_link(Path::new("/d/a"), Path::new("/d/b")).await.unwrap();
        env.remove_file(Path::new("/d/a")).await.unwrap();
        env.create_dir(Path::new("/d/sub/deep")).await.unwrap();
        assert_eq!(env.list_dir(Path::new("/d")).await.unwrap(), ["b", "sub"]);
        let error = env.open(Path::new("/d/a"), OpenMode::Read).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let link = env.open(Path::new("/d/b"), OpenMode::Read).await.unwrap();
        assert_eq!(link.size().await.unwrap(), 4096);
        assert_eq!(*link.read_at(0, AlignedBuf::zeroed(8192)).await.unwrap(), [9; 4096]);
        assert!(link.write_at(0, filled(4096, 1)).await.0.is_err(), "opened to read");
        let again = env.open(Path::new("/d/b"), OpenMode::CreateNew).await.err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        file.set_size(100).await.unwrap();
        file.set_size(4096).await.unwrap();
        let bytes = file.read_at(0, AlignedBuf::zeroed(4096)).await.unwrap();
        assert!(bytes[..100].iter().all(|b| *b == 9) && bytes[100..].iter().all(|b| *b == 0));
    });
}

#[test]
fn a_full_disk_says_so_and_has_space_again() {
    let sim = Sim::new(2);
    let env = sim.core(A, CORE);
    sim.set_disk_capacity(A, Some(8192));
    sim.run(async {
        let file = create(&env, "/f").await;
        file.write_at(0, filled(8192, 1)).await.0.unwrap();
        let error = file.write_at(8192, filled(4096, 1)).await.0.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        file.write_durable(4096, filled(4096, 2)).await.0.unwrap();
        assert_eq!(file.size().await.unwrap(), 8192);
        file.set_size(4096).await.unwrap();
        file.write_at(8192, filled(4096, 1)).await.0.unwrap();
    });
    assert_eq!(sim.disk_used_bytes(A), 8192);
}

#[test]
fn a_failed_sync_does_not_save() {
    let lost = (0..20).filter(|seed| {
        let sim = Sim::new(*seed);
        let env = sim.core(A, CORE);
        sim.run(async {
            let file = create(&env, "/f").await;
            file.write_at(0, filled(4096, 1)).await.0.unwrap();
            sim.fail_next(A, IoKind::Sync);
            assert!(file.sync().await.is_err());
            file.sync().await.unwrap();
        });
        sim.crash(A);
        sim.file_bytes(A, Path::new("/f")).unwrap().is_empty()
    });
    assert!((1..20).contains(&lost.count()));
}

#[test]
fn kill_keeps_completed_writes_and_corruption_stays() {
    let sim = Sim::new(3);
    let env = sim.core(A, CORE);
    sim.run(async {
        let file = create(&env, "/f").await;
        file.write_at(0, filled(4096, 0)).await.0.unwrap();
    });
    sim.kill(A);
    let path = Path::new("/f");
    assert_eq!(sim.file_bytes(A, path).unwrap(), vec![0; 4096]);
    let at = sim.corrupt(A, path, 0..4096).unwrap();
    let bytes = sim.file_bytes(A, path).unwrap();
    assert_eq!(bytes[at as usize].count_ones(), 1);
    assert_eq!(bytes.iter().filter(|b| **b != 0).count(), 1);
}

#[test]
fn a_crash_ends_tasks_and_breaks_connections() {
    let sim = Sim::new(4);
    let (a, b) = (sim.core(A, CORE), sim.core(B, CORE));
    let listener = b.listen(sim.address(B, 7)).unwrap();
    let alive = Rc::new(());
    let witness = Rc::downgrade(&alive);
    b.spawn(async move {
        let _stream = listener.accept().await;
        let _alive = alive;
        std::future::pending::<()>().await;
    });
    sim.run(async {
        let stream = a.connect(sim.address(B, 7)).await.unwrap();
        sim.sleep(Duration::from_millis(10)).await;
        sim.crash(B);
        assert!(witness.upgrade().is_none());
        let error = stream.receive(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(stream.send(&mut vec![1]).await.is_err());
        let refused = a.connect(sim.address(B, 7)).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(b.open(Path::new("/f"), OpenMode::CreateNew).await.is_err(), "of a former life");
    });
}

#[test]
fn a_partition_holds_bytes_back_in_order() {
    let sim = Sim::new(5);
    let (a, b) = (sim.core(A, CORE), sim.core(B, CORE));
    let listener = b.listen(sim.address(B, 7)).unwrap();
    sim.run(async {
        let client = a.connect(sim.address(B, 7)).await.unwrap();
        let server = listener.accept().await.unwrap();
        sim.partition(A, B);
        for byte in 0..100 {
            client.send(&mut vec![byte; 10]).await.unwrap();
        }
        client.shutdown();
        let got = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&got);
        let ended = Rc::new(Cell::new(false));
        let end = Rc::clone(&ended);
        b.spawn(async move {
            let mut buffer = Vec::new();
            while server.receive(&mut buffer).await.unwrap() > 0 {
                sink.borrow_mut().append(&mut buffer);
            }
            end.set(true);
        });
        sim.sleep(Duration::from_secs(1)).await;
        assert!(got.borrow().is_empty());
        let cut = a.connect(sim.address(B, 7)).await.err().unwrap();
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        sim.heal(A, B);
        sim.sleep(Duration::from_secs(1)).await;
        let expected: Vec<u8> = (0..100).flat_map(|byte| [byte; 10]).collect();
        assert_eq!(*got.borrow(), expected);
        assert!(ended.get());
    });
}

#[test]
fn a_slow_receiver_holds_the_sender_back() {
    let sim = Sim::new(6);
    let (a, b) = (sim.core(A, CORE), sim.core(B, CORE));
    let listener = b.listen(sim.address(B, 7)).unwrap();
    sim.run(async {
        let client = a.connect(sim.address(B, 7)).await.unwrap();
        let server = listener.accept().await.unwrap();
        let sent = Rc::new(Cell::new(false));
        let done = Rc::clone(&sent);
        a.spawn(async move {
            client.send(&mut vec![7; 3 * net::WINDOW_BYTES]).await.unwrap();
            done.set(true);
        });
        sim.sleep(Duration::from_secs(1)).await;
        assert!(!sent.get());
        let mut all = Vec::new();
        while server.receive(&mut all).await.unwrap() > 0 {}
        assert_eq!(all, vec![7; 3 * net::WINDOW_BYTES]);
        assert!(sent.get());
    });
}

#[test]
fn hooks_run_when_woken_and_time_passes() {
    let sim = Sim::new(7);
    let env = sim.core(A, CORE);
    let turns = Rc::new(Cell::new(0));
    let counter = Rc::clone(&turns);
    env.on_turn(move || {
        counter.set(counter.get() + 1);
        counter.get() == 5
    });
    assert!(!sim.run_until(|| false), "the core sleeps when its hook has nothing to do");
    assert_eq!(turns.get(), 1);
    turns.set(4);
    env.waker().wake();
    sim.run_until(|| false);
    assert_eq!(turns.get(), 6, "once more after it did something");
    let before = env.monotonic_ns();
    sim.run(env.sleep(Duration::from_secs(3600)));
    assert!(env.monotonic_ns() - before >= 3_600_000_000_000);
}

#[test]
fn deadlocks_and_endless_loops_are_reported_with_the_seed() {
    let sim = Sim::new(0xabc);
    let text = panic_text(|| sim.run(std::future::pending::<()>()));
    assert!(text.contains("0xabc") && text.contains("deadlock"), "{text}");
    let sim = Sim::new(0xdef);
    sim.set_steps_max(1000);
    let env = sim.core(A, CORE);
    let text = panic_text(|| {
        sim.run(async {
            loop {
                env.yield_now().await;
            }
        });
    });
    assert!(text.contains("0xdef") && text.contains("no end"), "{text}");
}

#[test]
#[should_panic(expected = "not aligned")]
fn unaligned_io_is_a_bug() {
    let sim = Sim::new(8);
    let env = sim.core(A, CORE);
    sim.run(async {
        let file = create(&env, "/f").await;
        let _ = file.write_at(512, filled(4096, 1)).await;
    });
}
