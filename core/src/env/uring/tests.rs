use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use super::*;
use crate::env::sim::{NodeId, Sim};
use crate::env::{AlignedBuf, File, Listener, Stream};
use crate::mesh;

/// A directory that goes away with the test.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> TempDir {
        TempDir::within(&std::env::temp_dir())
    }

    fn within(parent: &Path) -> TempDir {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("omen-uring-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options() -> (CoreOptions, Arc<Mutex<Vec<String>>>) {
    let panics = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&panics);
    let mut options = CoreOptions::new(CoreId(0), None);
    options.on_panic = Arc::new(move |_, words| seen.lock().unwrap().push(words.to_owned()));
    (options, panics)
}

/// Runs `main` on a core of its own; its panics are the test's.
fn on_core_with<Fut: Future<Output = ()> + 'static>(
    change: impl FnOnce(&mut CoreOptions),
    main: impl FnOnce(UringEnv) -> Fut + Send + 'static,
) {
    let (mut options, panics) = options();
    change(&mut options);
    start(options, main).unwrap().join().unwrap();
    assert_eq!(*panics.lock().unwrap(), Vec::<String>::new());
}

fn on_core<Fut: Future<Output = ()> + 'static>(main: impl FnOnce(UringEnv) -> Fut + Send + 'static) {
    on_core_with(|_| {}, main);
}

fn filled(len: usize, byte: u8) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(len);
    buffer.fill(byte);
    buffer
}

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls once with the waker of the calling task, then drops.
async fn start_and_drop<T>(future: impl Future<Output = T>) {
    let mut future = pin!(future);
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Files, directories, sockets, tasks and timers, with the same outcome on every `Env`.
async fn workload<E: Env>(env: E, dir: PathBuf) -> Vec<u8> {
    let deep = dir.join("a/b");
    env.create_dir(&deep).await.unwrap();
    env.create_dir(&deep).await.unwrap();
    let (one, two) = (deep.join("one"), deep.join("two"));
    let file = env.open(&one, OpenMode::CreateNew).await.unwrap();
    assert_eq!(env.open(&one, OpenMode::CreateNew).await.err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(env.open(&two, OpenMode::Read).await.err().unwrap().kind(), io::ErrorKind::NotFound);
    for (index, byte) in [7, 8, 9].into_iter().enumerate() {
        let (result, back) = file.write_durable(index as u64 * 8192, filled(8192, byte)).await;
        result.unwrap();
        assert_eq!(back.len(), 8192);
    }
    file.write_at(4096, filled(4096, 1)).await.0.unwrap();
    file.sync().await.unwrap();
    file.set_size(20_000).await.unwrap();
    env.sync_dir(&deep).await.unwrap();
    env.hard_link(&one, &two).await.unwrap();
    env.remove_file(&one).await.unwrap();
    env.rename(&two, &deep.join("three")).await.unwrap();
    assert_eq!(env.list_dir(&deep).await.unwrap(), ["three"]);
    assert_eq!(env.list_dir(&dir).await.unwrap(), ["a"]);
    let file = env.open(&deep.join("three"), OpenMode::Read).await.unwrap();
    assert!(file.write_at(0, filled(4096, 1)).await.0.is_err());
    assert_eq!(file.size().await.unwrap(), 20_000);
    assert_eq!(file.read_at(24_576, filled(4096, 1)).await.unwrap().len(), 0);
    let mut all = file.read_at(0, filled(65_536, 0)).await.unwrap().to_vec();
    all.extend(echo(&env).await);
    all
}

async fn echo<E: Env>(env: &E) -> Vec<u8> {
    let listener = env.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().unwrap();
    let server = env.clone();
    env.spawn(async move {
        let stream = listener.accept().await.unwrap();
        assert!(stream.peer_address().is_ok());
        // Meanwhile what is sent fills all there is between.
        server.sleep(Duration::from_millis(100)).await;
        let mut buffer = Vec::new();
        while stream.receive(&mut buffer).await.unwrap() > 0 {
            server.sleep(Duration::from_micros(100)).await;
            stream.send(&mut buffer).await.unwrap();
        }
    });
    let client = Rc::new(env.connect(address).await.unwrap());
    let sender = Rc::clone(&client);
    let sent: Vec<u8> = (0..8_000_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let bytes = sent.clone();
    env.spawn(async move {
        // Faster than the other side takes them: some find no room.
        let (small, large) = bytes.split_at(7_000_000);
        for part in small.chunks(10_000).chain([large]) {
            sender.send(&mut part.to_vec()).await.unwrap();
        }
    });
    let mut back = Vec::new();
    while back.len() < sent.len() {
        assert!(client.receive(&mut back).await.unwrap() > 0);
    }
    assert_eq!(back, sent);
    client.shutdown();
    assert_eq!(client.receive(&mut back).await.unwrap(), 0);
    let before = env.monotonic_ns();
    env.sleep(Duration::from_millis(2)).await;
    assert!(env.monotonic_ns() - before >= 2_000_000);
    assert!(env.wall_clock_ns() > 1_700_000_000_000_000_000);
    back
}

#[test]
fn the_same_workload_on_every_env() {
    let sim = Sim::new(1);
    let expected = sim.run(workload(sim.core(NodeId(0), CoreId(0)), PathBuf::from("/data")));
    let shm = Path::new("/dev/shm");
    for parent in [std::env::temp_dir(), shm.to_path_buf()].into_iter().filter(|p| p.is_dir()) {
        for method in [WriteMethod::Linked, WriteMethod::Dsync] {
            let dir = TempDir::within(&parent);
            let (path, expected) = (dir.0.clone(), expected.clone());
            let set = move |options: &mut CoreOptions| options.write_method = method;
            on_core_with(set, move |env| async move {
                assert!(workload(env, path).await == expected, "{method:?}");
            });
        }
    }
}

#[test]
fn a_full_device_says_so() {
    for method in [WriteMethod::Linked, WriteMethod::Dsync] {
        let set = move |options: &mut CoreOptions| options.write_method = method;
        on_core_with(set, |env| async move {
            let file = env.open(Path::new("/dev/full"), OpenMode::ReadWrite).await.unwrap();
            let (result, buffer) = file.write_durable(0, filled(8192, 3)).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert_eq!(*buffer, [3; 8192]);
            let (result, _) = file.write_at(0, filled(4096, 3)).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        });
    }
}

#[test]
fn more_requests_than_the_queue_takes() {
    let dir = TempDir::new();
    let path = dir.0.join("f");
    on_core_with(
        |options| options.ring_entries = 4,
        move |env| async move {
            let file = Rc::new(env.open(&path, OpenMode::CreateNew).await.unwrap());
            let done = Rc::new(Cell::new(0));
            for index in 0..500_u64 {
                let (file, done) = (Rc::clone(&file), Rc::clone(&done));
                env.spawn(async move {
                    file.write_durable(index * 4096, filled(4096, index as u8)).await.0.unwrap();
                    let back = file.read_at(index * 4096, AlignedBuf::zeroed(4096)).await.unwrap();
                    assert_eq!(*back, [index as u8; 4096]);
                    done.set(done.get() + 1);
                });
            }
            while done.get() < 500 {
                env.sleep(Duration::from_millis(1)).await;
            }
        },
    );
}

#[test]
fn files_are_closed_however_they_are_let_go() {
    let dir = TempDir::new();
    let path = dir.0.join("file");
    let open_files = |path: &Path| {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        files.filter(|fd| std::fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|to| to == path)).count()
    };
    on_core(move |env| async move {
        let file = env.open(&path, OpenMode::CreateNew).await.unwrap();
        let other = env.open(&path, OpenMode::ReadWrite).await.unwrap();
        assert_eq!(open_files(&path), 2);
        drop(file);
        // The write keeps its file open until the kernel is done with it.
        start_and_drop(other.write_at(0, filled(4096, 1))).await;
        drop(other);
        let deadline = Instant::now() + Duration::from_secs(10);
        while open_files(&path) > 0 {
            assert!(Instant::now() < deadline, "files are still open");
            env.sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn dropped_operations_are_safe() {
    let dir = TempDir::new();
    let path = dir.0.join("f");
    on_core_with(
        |options| options.ring_entries = 16,
        move |env| async move {
            let file = env.open(&path, OpenMode::CreateNew).await.unwrap();
            file.write_at(0, filled(1 << 20, 5)).await.0.unwrap();
            let listener = env.listen("[::1]:0".parse().unwrap()).unwrap();
            let address = listener.local_address().unwrap();
            let client = env.connect(address).await.unwrap();
            let server = listener.accept().await.unwrap();
            for round in 0..300 {
                start_and_drop(file.read_at(0, AlignedBuf::zeroed(1 << 20))).await;
                start_and_drop(file.write_durable(0, filled(4096, 6))).await;
                start_and_drop(env.open(&path, OpenMode::Read)).await;
                start_and_drop(listener.accept()).await;
                let mut lost = Vec::with_capacity(1 << 16);
                start_and_drop(server.receive(&mut lost)).await;
                start_and_drop(env.sleep(Duration::from_secs(1000))).await;
                start_and_drop(env.connect(address)).await;
                if round % 10 == 0 {
                    env.yield_now().await;
                }
            }
            drop(server);
            assert_eq!(env.core.timers.first_ns(), None);
            let until_ns = env.monotonic_ns() + 20_000_000_000;
            while env.core.ring.in_flight() > 1 && env.monotonic_ns() < until_ns {
                env.sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(env.core.ring.in_flight(), 1, "only the read of the eventfd");
            assert_eq!(client.receive(&mut Vec::new()).await.unwrap(), 0);
            let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
            let leaked = open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == path));
            assert_eq!(leaked.count(), 1, "only `file`");
            let back = file.read_at(0, AlignedBuf::zeroed(8192)).await.unwrap();
            assert!(back[..4096].iter().all(|b| *b == 6) && back[4096..].iter().all(|b| *b == 5));
        },
    );
}

#[test]
fn plain_clients_talk_to_it() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (options, panics) = options();
    let core = start(options, move |env| async move {
        let listener = env.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let again = env.listen(listener.local_address().unwrap()).unwrap();
        drop(again);
        sender.send(listener.local_address().unwrap()).unwrap();
        let tasks = env.clone();
        env.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                tasks.spawn(async move {
                    let mut buffer = Vec::new();
                    while stream.receive(&mut buffer).await.is_ok_and(|n| n > 0) {
                        if stream.send(&mut buffer).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        env.stop_requested().await;
    })
    .unwrap();
    let address = receiver.recv().unwrap();
    let clients: Vec<_> = (0..4_u8).map(|id| thread::spawn(move || client(address, id))).collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
    core.request_stop();
    core.join().unwrap();
    assert!(panics.lock().unwrap().is_empty());
    assert!(TcpStream::connect(address).is_err(), "its sockets are closed when a core ends");
}

fn client(address: SocketAddr, id: u8) {
    for round in 0..20 {
        let mut stream = TcpStream::connect(address).unwrap();
        for len in [1, 100, 70_000] {
            let sent: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(id).wrapping_add(round)).collect();
            stream.write_all(&sent).unwrap();
            let mut back = vec![0; len];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, sent);
        }
    }
}

#[test]
fn timers_and_tasks_take_their_turns() {
    on_core(|env| async move {
        let order = Rc::new(RefCell::new(Vec::new()));
        for ms in [30, 10, 20] {
            let (order, sleep) = (Rc::clone(&order), env.sleep(Duration::from_millis(ms)));
            env.spawn(async move {
                sleep.await;
                order.borrow_mut().push(ms);
            });
        }
        assert!(poll_once(env.sleep(Duration::ZERO)).is_pending(), "even no time is a turn");
        env.sleep(Duration::ZERO).await;
        env.sleep(Duration::from_millis(40)).await;
        assert_eq!(*order.borrow(), [10, 20, 30]);
        // Two tasks that wake each other, with no I/O to keep the core from sleeping.
        let turn = Rc::new((Cell::new(0), RefCell::new(None::<Waker>)));
        for parity in 0..2 {
            let turn = Rc::clone(&turn);
            env.spawn(poll_fn(move |context| {
                let (count, other) = &*turn;
                if count.get() % 2 == parity {
                    count.set(count.get() + 1);
                }
                if let Some(other) = other.replace(Some(context.waker().clone())) {
                    other.wake();
                }
                if count.get() >= 1000 { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
        let until = Instant::now() + Duration::from_secs(10);
        while turn.0.get() < 1000 {
            assert!(Instant::now() < until, "stuck at {}", turn.0.get());
            env.yield_now().await;
        }
    });
}

#[test]
fn wakes_of_a_chain_of_tasks_are_not_lost() {
    on_core(|env| async move {
        let done = Rc::new(Cell::new(false));
        let ended = Rc::clone(&done);
        let inner = env.clone();
        // Each task is spawned by the one before; nobody else is ready.
        fn chain(env: UringEnv, left: u32, done: Rc<Cell<bool>>) {
            let next = env.clone();
            env.spawn(async move {
                next.yield_now().await;
                if left == 0 { done.set(true) } else { chain(next, left - 1, done) }
            });
        }
        chain(inner, 100, ended);
        let watch = env.clone();
        let started = watch.monotonic_ns();
        // A sleeper wakes the core after 5 s if it should have gone to sleep with tasks ready.
        let sleeper = env.sleep(Duration::from_secs(5));
        env.spawn(sleeper);
        while !done.get() {
            env.sleep(Duration::from_millis(1)).await;
        }
        assert!(watch.monotonic_ns() - started < 2_000_000_000);
    });
}

/// Two tasks wake each other many times while others give way between steps: these hardly get a turn meanwhile, but
/// they do, and all of them do when nothing else is ready.
#[test]
fn work_that_gives_way_lets_chains_of_tasks_pass() {
    on_core(|env| async move {
        let (steps, ends) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(false)));
        for _ in 0..3 {
            let (own, steps, ends) = (env.clone(), Rc::clone(&steps), Rc::clone(&ends));
            env.spawn(async move {
                while !ends.get() {
                    steps.set(steps.get() + 1);
                    own.give_way().await;
                }
            });
        }
        while steps.get() < 1_000 {
            env.sleep(Duration::from_millis(1)).await;
        }
        let (before, began_ns) = (steps.get(), env.monotonic_ns());
        let mut turns = 0;
        while env.monotonic_ns() - began_ns < 20_000_000 {
            env.yield_now().await;
            turns += 1;
        }
        let allowed = 2 + (env.monotonic_ns() - began_ns) / 1_000_000;
        let made = steps.get() - before;
        assert!(turns > 2 && (1..=allowed).contains(&made), "{made} steps of {allowed}, {turns} turns");
        ends.set(true);
    });
}

#[test]
fn a_panic_is_reported_and_stop_drains() {
    let (options, panics) = options();
    let order = Arc::new(Mutex::new(Vec::new()));
    let steps = Arc::clone(&order);
    let core = start(options, move |env| async move {
        env.spawn(async { panic!("on purpose") });
        for step in ["second", "first"] {
            let (steps, sleep) = (Arc::clone(&steps), env.sleep(Duration::from_millis(1)));
            env.on_drain(async move {
                sleep.await;
                steps.lock().unwrap().push(step);
            });
        }
        // A task that never ends, dropped with the core.
        let witness = Arc::clone(&steps);
        env.spawn(async move {
            let _witness = witness;
            std::future::pending::<()>().await;
        });
        env.stop_requested().await;
        steps.lock().unwrap().push("stop");
    })
    .unwrap();
    thread::sleep(Duration::from_millis(20));
    assert!(!core.has_ended());
    core.request_stop();
    core.join().unwrap();
    assert_eq!(*order.lock().unwrap(), ["stop", "first", "second"]);
    assert_eq!(Arc::strong_count(&order), 1, "all tasks are dropped");
    assert_eq!(*panics.lock().unwrap(), ["a task panicked: on purpose"]);
}

#[test]
fn a_panic_of_the_pump_ends_the_core() {
    let (options, panics) = options();
    let core = start(options, |env| async move {
        let turns = Cell::new(0);
        env.on_turn(move || {
            turns.set(turns.get() + 1);
            assert!(turns.get() < 10, "on purpose");
            true
        });
        std::future::pending::<()>().await;
    });
    core.unwrap().join().unwrap();
    assert_eq!(*panics.lock().unwrap(), ["the pump panicked: on purpose"]);
}

#[test]
fn a_cpu_that_is_not_there_is_an_error() {
    let mut options = options().0;
    options.cpu = Some(100_000);
    assert!(start(options, |_| async {}).is_err());
}

#[test]
fn the_watchdog_sees_a_stuck_core_and_no_sleeping_one() {
    let (options, _) = options();
    let core = start(options, move |env| async move {
        env.sleep(Duration::from_millis(300)).await;
        thread::sleep(Duration::from_millis(600));
        env.stop_requested().await;
    })
    .unwrap();
    let alarms = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&alarms);
    let patience = Patience { interval: Duration::from_millis(10), warn_checks: 19, alarm_checks: 20 };
    let alarm: Alarm = Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let _watchdog = watch(vec![core.pulse()], patience, alarm).unwrap();
    thread::sleep(Duration::from_millis(250));
    assert_eq!(alarms.load(Ordering::SeqCst), 0, "it sleeps");
    thread::sleep(Duration::from_millis(600));
    assert_eq!(alarms.load(Ordering::SeqCst), 1);
    core.request_stop();
    core.join().unwrap();
}

/// Fails if, after `duration`, `progress` stands still for two seconds.
fn assert_progress(duration: Duration, progress: impl Fn() -> u64) {
    thread::sleep(duration);
    let (last, since) = (progress(), Instant::now());
    while progress() == last {
        assert!(since.elapsed() < Duration::from_secs(2), "stuck at {last}: a wake was lost");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Burns a random time below `ns_max`, so that messages meet the other core awake, asleep and on its way there.
fn dawdle(env: &UringEnv, ns_max: u64) {
    let until_ns = env.monotonic_ns() + env.random_u64() % ns_max;
    while env.monotonic_ns() < until_ns {
        std::hint::spin_loop();
    }
}

/// Two cores in a mesh. The second looks for messages this often before it sleeps.
fn cores_of<M: Send + 'static, Fut: Future<Output = ()> + 'static>(
    capacity: usize,
    spins_max: u32,
    main: impl Fn(UringEnv, mesh::Seat<M>) -> Fut + Clone + Send + 'static,
) -> (Vec<CoreHandle>, Arc<Mutex<Vec<String>>>) {
    let (options, panics) = options();
    let cpus = allowed_cpus();
    let start_one = |seat: mesh::Seat<M>| {
        let mut options = options.clone();
        options.core = seat.core();
        options.cpu = cpus.get(usize::from(seat.core().0)).copied();
        options.spins_max = u32::from(seat.core().0) * spins_max;
        let main = main.clone();
        start(options, move |env| main(env, seat)).unwrap()
    };
    (mesh::connect(2, capacity).into_iter().map(start_one).collect(), panics)
}

fn end_cores((cores, panics): (Vec<CoreHandle>, Arc<Mutex<Vec<String>>>)) {
    cores.iter().for_each(CoreHandle::request_stop);
    cores.into_iter().for_each(|core| core.join().unwrap());
    assert_eq!(*panics.lock().unwrap(), Vec::<String>::new());
}

/// Messages go to and fro between two cores that have nothing else to wake them. One message and a core that spins
/// let the answer come when the other is just about to sleep.
#[test]
fn no_wake_between_cores_is_lost() {
    for (tokens, spins_max, dawdle_ns) in [(1, 1_000_000, 4_000), (1, 0, 30_000), (3, 0, 30_000)] {
        let passed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&passed);
        let running = cores_of::<u64, _>(8, spins_max, move |env, seat| {
            let passed = Arc::clone(&counter);
            async move {
                let other = CoreId(1 - seat.core().0);
                let first = seat.core() == CoreId(0);
                let (outbox, mut inbox) = seat.join(env.waker());
                let (reply, core) = (outbox.clone(), env.clone());
                env.on_turn(move || {
                    inbox.turn(|_, message| {
                        passed.fetch_add(1, Ordering::Relaxed);
                        let (reply, env) = (reply.clone(), core.clone());
                        if message % 2 == 0 {
                            dawdle(&env, dawdle_ns);
                            reply.try_send(other, message + 1).unwrap();
                        } else {
                            core.spawn(async move {
                                env.yield_now().await;
                                dawdle(&env, dawdle_ns);
                                reply.send(other, message + 1).await.unwrap();
                            });
                        }
                    })
                });
                for token in 0..if first { tokens } else { 0 } {
                    outbox.send(other, token).await.unwrap();
                }
                env.stop_requested().await;
            }
        });
        assert_progress(Duration::from_millis(500), || passed.load(Ordering::Relaxed));
        assert!(passed.load(Ordering::Relaxed) > 100, "{passed:?}");
        end_cores(running);
    }
}

/// A full ring between two cores: the sender sleeps until the reader has made space.
#[test]
fn no_wake_for_space_is_lost() {
    let passed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&passed);
    let running = cores_of::<u64, _>(2, 1_000, move |env, seat| {
        let passed = Arc::clone(&counter);
        async move {
            let first = seat.core() == CoreId(0);
            let (outbox, mut inbox) = seat.join(env.waker());
            let reader = env.clone();
            let mut next = 0;
            env.on_turn(move || {
                inbox.turn(|_, message| {
                    assert_eq!(message, next);
                    next += 1;
                    passed.fetch_add(1, Ordering::Relaxed);
                    dawdle(&reader, 5_000);
                })
            });
            if first {
                env.spawn(async move {
                    for message in 0.. {
                        outbox.send(CoreId(1), message).await.unwrap();
                    }
                });
            }
            env.stop_requested().await;
        }
    });
    assert_progress(Duration::from_millis(500), || passed.load(Ordering::Relaxed));
    end_cores(running);
}

/// Another thread wakes a core at random moments, first alone, then beside traffic on sockets.
#[test]
fn no_foreign_wake_is_lost() {
    let (options, panics) = options();
    let (asked, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (question, answer) = (Arc::clone(&asked), Arc::clone(&seen));
    let (sender, receiver) = std::sync::mpsc::channel();
    let core = start(options, move |env| async move {
        env.on_turn(move || {
            let number = question.load(Ordering::Acquire);
            let is_new = answer.load(Ordering::Relaxed) != number;
            answer.store(number, Ordering::Release);
            is_new
        });
        let listener = env.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        sender.send(listener.local_address().unwrap()).unwrap();
        let tasks = env.clone();
        env.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                tasks.spawn(async move {
                    let mut buffer = Vec::new();
                    while stream.receive(&mut buffer).await.is_ok_and(|n| n > 0)
                        && stream.send(&mut buffer).await.is_ok()
                    {}
                });
            }
        });
        env.stop_requested().await;
    })
    .unwrap();
    let address = receiver.recv().unwrap();
    let waker = core.waker();
    for traffic in [false, true] {
        let clients = traffic.then(|| thread::spawn(move || client(address, 3)));
        let until = Instant::now() + Duration::from_millis(1_000);
        let mut number = asked.load(Ordering::SeqCst);
        while Instant::now() < until {
            number += 1;
            // Most often so soon that the core is about to sleep, now and then so late that it sleeps.
            let pause_ns = number * 7_919 % if number.is_multiple_of(16) { 200_000 } else { 4_000 };
            let seen_at = Instant::now();
            while seen_at.elapsed() < Duration::from_nanos(pause_ns) {
                std::hint::spin_loop();
            }
            asked.store(number, Ordering::Release);
            waker.wake();
            let sent = Instant::now();
            while seen.load(Ordering::SeqCst) != number {
                assert!(sent.elapsed() < Duration::from_secs(2), "wake {number} was lost");
                std::hint::spin_loop();
            }
        }
        clients.into_iter().for_each(|c| c.join().unwrap());
    }
    end_cores((vec![core], panics));
}
