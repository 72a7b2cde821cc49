//! A running node: one pinned thread per core, each with its shard and its share of the connections.
//!
//! Start: every core recovers its shard, then listens; core 0 first, so that a port that the system chooses is known
//! to the others. Stop: every core ends its sessions, waits until all cores have, since sessions need the shards of
//! other cores, and closes its shard; background work of one may ask the others until all are closed. A core that
//! fails ends the process: what it owns is served by no other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use omen_core::env::uring::{self, CoreHandle, CoreOptions, Patience, UringEnv, Watchdog};
use omen_core::env::{Env, Listener};
use omen_core::id::CoreId;
use omen_core::mesh::{self, Seat};
use omen_core::node::message::Message;
use omen_core::node::{self, MESH_CAPACITY, NodeCore};
use omen_core::wal::RECORD_OVERHEAD_BYTES;
use omen_net::pg::{self, ServerConfig, Shutdown};

use crate::data_dir::DataDir;
use crate::{Failure, allocator, log};

/// How often a core looks at what others have done, while it starts or stops.
const POLL: Duration = Duration::from_millis(1);
/// How often a core looks whether its shard still works.
const SHARD_CHECK: Duration = Duration::from_millis(500);

/// Memory of a process that holds no data: its code, and what its cores and the allocator need.
pub const PROCESS_BYTES: u64 = 48 << 20;
/// With less memory than this for each core, pages are small, for huge ones would take much of it for nothing, and go back
/// to the system as soon as they are free.
const FRUGAL_CORE_BYTES: u64 = 512 << 20;
/// With more, free pages are kept for what uses memory next.
const FREE_PAGES_KEPT: Duration = Duration::from_secs(10);

/// What a node is told at its start.
#[derive(Debug)]
pub struct NodeConfig {
    /// Address to serve on.
    pub listen: SocketAddr,
    /// Memory of all cores together.
    pub memory_bytes: u64,
    /// Bytes of a log file.
    pub wal_file_size_bytes: u64,
    /// How long versions are kept after their end.
    pub retention: Duration,
    /// The folder below which statements may read files.
    pub read_files_below: Option<std::path::PathBuf>,
    /// Whom the node lets in, and with what.
    pub server: ServerConfig,
}

/// A running node.
pub struct Node {
    address: SocketAddr,
    cores: Vec<CoreHandle>,
    stopper: Stopper,
    stop: mpsc::Receiver<()>,
    _watchdog: Watchdog,
    _data_dir: DataDir,
}

/// What the cores of a node share.
struct Shared {
    engine: node::NodeConfig,
    server: Arc<ServerConfig>,
    listen: SocketAddr,
    core_count: u16,
    /// Where core 0 listens.
    address: OnceLock<SocketAddr>,
    /// Cores that have ended their sessions.
    quiet: AtomicU16,
    /// Cores that have closed their shards.
    closed: AtomicU16,
}

/// Stops a node from any thread.
#[derive(Clone)]
pub struct Stopper(mpsc::Sender<()>);

impl Stopper {
    /// Asks every core to finish what it has begun and end.
    pub fn stop(&self) {
        // Nobody listens any more when the node has ended.
        let _ = self.0.send(());
    }
}

impl Node {
    /// Starts every core; returns when all of them serve.
    ///
    /// # Errors
    /// If a core cannot start; the process should end then, since others may have.
    pub fn start(data_dir: DataDir, config: NodeConfig) -> Result<Node, Failure> {
        let core_count = data_dir.shards();
        if config.memory_bytes / u64::from(core_count.max(1)) < FRUGAL_CORE_BYTES {
            uring::forbid_huge_pages();
            allocator::give_back_after(Duration::ZERO);
        } else {
            allocator::give_back_after(FREE_PAGES_KEPT);
        }
        let shared = Arc::new(Shared {
            engine: engine_config(&data_dir, &config),
            server: Arc::new(config.server),
            listen: config.listen,
            core_count,
            address: OnceLock::new(),
            quiet: AtomicU16::new(0),
            closed: AtomicU16::new(0),
        });
        let cpus = uring::allowed_cpus();
        let (ready, is_ready) = mpsc::channel();
        let mut cores = Vec::new();
        for (index, seat) in mesh::connect::<Message>(core_count, MESH_CAPACITY).into_iter().enumerate() {
            let (shared, ready, id) = (Arc::clone(&shared), ready.clone(), seat.core());
            let mut options = CoreOptions::new(id, cpus.get(index).copied());
            options.on_panic = Arc::new(abort);
            let main = move |env| run_core(env, seat, shared, ready);
            let started = uring::start(options, main);
            cores.push(started.map_err(|e| Failure::new(format!("core {id} cannot start: {e}")))?);
        }
        drop(ready);
        for _ in 0..core_count {
            is_ready.recv().map_err(|_| Failure::new("a core ended while it started"))??;
        }
        let pulses = cores.iter().map(CoreHandle::pulse).collect();
        let watchdog = uring::watch(pulses, Patience::default(), Arc::new(abort));
        let (stopper, stop) = mpsc::channel();
        Ok(Node {
            address: shared.address.get().copied().unwrap_or(config.listen),
            cores,
            stopper: Stopper(stopper),
            stop,
            _watchdog: watchdog.map_err(|e| Failure::new(format!("the watchdog cannot start: {e}")))?,
            _data_dir: data_dir,
        })
    }

    /// The address it serves on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until it is stopped and every core has ended.
    ///
    /// # Errors
    /// If a core did not end cleanly.
    pub fn join(self) -> Result<(), Failure> {
        // Cannot fail: `self.stopper` holds the other end.
        let _ = self.stop.recv();
        self.cores.iter().for_each(CoreHandle::request_stop);
        for core in self.cores {
            let id = core.core();
            core.join().map_err(|e| Failure::new(format!("core {id} did not end cleanly: {e}")))?;
        }
        Ok(())
    }
}

fn engine_config(data_dir: &DataDir, config: &NodeConfig) -> node::NodeConfig {
    let memory_bytes = config.memory_bytes.saturating_sub(PROCESS_BYTES);
    let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
    let mut engine = node::NodeConfig::new(data_dir.path().to_owned(), data_dir.shards(), memory_bytes);
    let largest = config.wal_file_size_bytes / 2 - RECORD_OVERHEAD_BYTES as u64;
    engine.shard.wal_file_bytes = config.wal_file_size_bytes;
    engine.shard.retention = config.retention;
    engine.read_files_below = config.read_files_below.clone();
    engine.shard.wal_record_bytes_max =
        engine.shard.wal_record_bytes_max.min(u32::try_from(largest).unwrap_or(u32::MAX));
    engine
}

/// Ends the process: after a panic in the middle of a change, or with a core that is stuck, nothing can be trusted.
fn abort(core: CoreId, words: &str) {
    log::error!("core {core}: {words}; the process ends");
    std::process::abort();
}

/// Ends the process in order: the disk failed, memory is sound, and a restart recovers what was acknowledged.
fn fail(core: CoreId, words: &str) -> ! {
    log::error!("core {core}: {words}; the process ends");
    std::process::exit(1)
}

/// The life of a core.
async fn run_core(
    env: UringEnv,
    seat: Seat<Message>,
    shared: Arc<Shared>,
    ready: mpsc::Sender<Result<(), Failure>>,
) {
    let id = seat.core();
    let started = start_core(&env, seat, &shared).await;
    let (node, listener) = match started {
        Ok(started) => started,
        Err(e) => {
            let _ = ready.send(Err(Failure::new(format!("core {id} cannot start: {e}"))));
            return;
        }
    };
    watch_shard(&env, &node);
    let _ = ready.send(Ok(()));
    drop(ready);
    let shutdown = Shutdown::default();
    let (stop, begin) = (env.stop_requested(), shutdown.clone());
    env.spawn(async move {
        stop.await;
        begin.begin();
    });
    pg::serve(env.clone(), node.clone(), listener, Arc::clone(&shared.server), shutdown).await;
    all_reach(&env, &shared.quiet, shared.core_count).await;
    if let Err(e) = node.shard().close().await {
        fail(id, &format!("the shard cannot be closed: {e}"));
    }
    all_reach(&env, &shared.closed, shared.core_count).await;
}

/// Counts this core and waits for the others.
async fn all_reach(env: &UringEnv, count: &AtomicU16, core_count: u16) {
    count.fetch_add(1, Ordering::SeqCst);
    while count.load(Ordering::SeqCst) < core_count {
        env.sleep(POLL).await;
    }
}

/// Recovers the shard, then listens.
async fn start_core(
    env: &UringEnv,
    seat: Seat<Message>,
    shared: &Shared,
) -> Result<(NodeCore<UringEnv>, <UringEnv as Env>::Listener), String> {
    let is_first = seat.core() == CoreId(0);
    let node = NodeCore::start(env.clone(), seat, &shared.engine).await.map_err(|e| e.to_string())?;
    let address = if is_first { shared.listen } else { first_address(env, shared).await };
    let listener = env.listen(address).map_err(|e| format!("{address} cannot be bound: {e}"))?;
    if is_first {
        let address = listener.local_address().map_err(|e| e.to_string())?;
        shared.address.set(address).expect("only core 0 sets it");
    }
    Ok((node, listener))
}

/// Where core 0 listens, once it does.
async fn first_address(env: &UringEnv, shared: &Shared) -> SocketAddr {
    loop {
        if let Some(address) = shared.address.get() {
            return *address;
        }
        env.sleep(POLL).await;
    }
}

/// Ends the process when the shard has stopped.
fn watch_shard(env: &UringEnv, node: &NodeCore<UringEnv>) {
    let (env_of_task, shard) = (env.clone(), node.shard().clone());
    env.spawn(async move {
        while !shard.is_stopped() {
            env_of_task.sleep(SHARD_CHECK).await;
        }
        fail(shard.core(), "its log cannot be written");
    });
}
