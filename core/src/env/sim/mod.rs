//! A world in which everything comes from one seed: time, the order of tasks, disks that lose power, the network.
//!
//! A [`Sim`] holds nodes; a node has cores, each a [`SimEnv`], and one disk that outlives the node's crashes. All of it
//! runs on the calling thread. The same seed and program give the same [`Sim::trace_hash`]; a difference means that
//! the program took something from outside, such as the address of an object or the order of a hash map.
//!
//! What a disk does: a completed write is visible to readers at once and survives a power loss only after `sync`, or
//! as `write_durable`; until then [`Sim::crash`] keeps it, drops it, or keeps some of its 512-byte sectors. Names made,
//! removed or changed need `sync_dir`. Syncing a file does not make its name durable, and `write_durable` makes no
//! earlier write durable: weaker than most file systems, so that code relies on nothing but the contract of `Env`.

mod content;
mod disk;
mod net;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

pub use super::rng::Rng;
pub use disk::{FileOp, FileOps, IoKind};
pub use world::Latency;

use super::{AlignedBuf, CoreWaker, Env, File, Listener, OpenMode, SharedClock, Stream, assert_aligned};
use crate::id::CoreId;
use content::Change;
use disk::{Disk, InodeId};
use world::{Core, Inner, Op, World};

/// Turns of the scheduler after which a simulation is given up, unless [`Sim::set_steps_max`] says otherwise.
pub const STEPS_MAX: u64 = 20_000_000;

/// A simulated process with its disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeId(pub u16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

struct Owner(Rc<World>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A simulation. Clones are the same simulation; when the last is dropped, all its tasks are.
/// A task must not keep a clone, or the simulation is never freed.
#[derive(Clone)]
pub struct Sim(Rc<Owner>);

impl Sim {
    /// An empty world.
    pub fn new(seed: u64) -> Sim {
        Sim(Rc::new(Owner(Rc::new(World::new(seed, STEPS_MAX)))))
    }

    fn world(&self) -> &Rc<World> {
        &self.0.0
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let result = f(&mut self.world().inner.borrow_mut());
        self.world().wake_all();
        result
    }

    /// The core `id` of a node; after a crash a new one.
    pub fn core(&self, node: NodeId, id: CoreId) -> SimEnv {
        SimEnv { world: Rc::clone(self.world()), core: self.world().core(node, id) }
    }

    /// Runs `future` and all tasks until it ends.
    ///
    /// # Panics
    /// With the seed, if nothing can run any more, or after [`STEPS_MAX`] turns.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.world().run(future)
    }

    /// Runs all tasks until `done`; false if nothing can run any more before that.
    pub fn run_until(&self, done: impl FnMut() -> bool) -> bool {
        self.world().run_until(done)
    }

    /// Waits, in the future given to [`Sim::run`].
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + use<> {
        sleep(self.world(), None, duration)
    }

    /// Simulated nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        self.world().inner.borrow().now_ns
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.world().inner.borrow().seed
    }

    /// The hash of all that has happened so far.
    pub fn trace_hash(&self) -> u64 {
        self.world().inner.borrow().trace.hash()
    }

    /// How many events there were so far.
    pub fn events_total(&self) -> u64 {
        self.world().inner.borrow().trace.events_total()
    }

    /// A random number from the seed.
    pub fn random_u64(&self) -> u64 {
        self.world().inner.borrow_mut().rng.next_u64()
    }

    /// A random number below `bound`, from the seed.
    pub fn random_below(&self, bound: u64) -> u64 {
        self.world().inner.borrow_mut().rng.below(bound)
    }

    /// Gives up after this many turns.
    pub fn set_steps_max(&self, steps_max: u64) {
        self.world().inner.borrow_mut().steps_max = steps_max;
    }

    /// Changes the times of operations.
    pub fn set_latency(&self, latency: Latency) {
        self.world().inner.borrow_mut().latency = latency;
    }

    /// Power loss: tasks, connections and some of what was not synced are gone.
    pub fn crash(&self, node: NodeId) {
        self.end(node, "crash", Disk::crash);
    }

    /// `kill -9`: tasks and connections are gone; completed writes stay, though unsynced ones are still at risk.
    pub fn kill(&self, node: NodeId) {
        self.end(node, "kill", Disk::kill);
    }

    fn end(&self, node: NodeId, kind: &'static str, apply: impl FnOnce(&mut Disk, &mut Rng)) {
        self.with(|inner| {
            inner.trace(kind, u64::from(node.0), 0);
            net::end_node(inner, node);
            let mut disk = std::mem::take(inner.disk(node));
            apply(&mut disk, &mut inner.rng);
            *inner.disk(node) = disk;
        });
        self.world().end_cores(node);
        self.world().wake_all();
    }

    /// All files of a node, sorted.
    pub fn files(&self, node: NodeId) -> Vec<PathBuf> {
        self.with(|inner| inner.disk(node).files())
    }

    /// The bytes of a file as a process would read them.
    pub fn file_bytes(&self, node: NodeId, path: &Path) -> io::Result<Vec<u8>> {
        self.with(|inner| {
            let disk = inner.disk(node);
            let inode = disk.lookup(path)?;
            let content = disk.inode(inode).current();
            let mut bytes = vec![0; content.size() as usize];
            content.read(0, &mut bytes);
            Ok(bytes)
        })
    }

    /// Flips one bit within `range` of a file, on disk for good; gives its offset. Bits in holes stay.
    pub fn corrupt(&self, node: NodeId, path: &Path, range: Range<u64>) -> io::Result<u64> {
        self.with(|inner| {
            let offset = inner.rng.within(&range);
            let mask = 1 << inner.rng.below(8);
            inner.trace("corrupt", offset, mask);
            let disk = inner.disk(node);
            let inode = disk.lookup(path)?;
            disk.inode(inode).flip(offset, mask as u8);
            Ok(offset)
        })
    }

    /// Gives a node the disk of another, as a process there sees it. The node must not be running.
    pub fn copy_disk(&self, from: NodeId, to: NodeId) {
        self.with(|inner| {
            inner.trace("copy_disk", u64::from(from.0), u64::from(to.0));
            let image = inner.disk(from).image();
            *inner.disk(to) = image;
        });
    }

    /// Flips these bits of one byte of a file, on disk for good. Bits in holes stay.
    pub fn flip(&self, node: NodeId, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        self.with(|inner| {
            inner.trace("flip", offset, u64::from(mask));
            let disk = inner.disk(node);
            let inode = disk.lookup(path)?;
            disk.inode(inode).flip(offset, mask);
            Ok(())
        })
    }

    /// Limits the bytes that a node's files may take; writes beyond give `StorageFull`.
    pub fn set_disk_capacity(&self, node: NodeId, bytes: Option<u64>) {
        self.with(|inner| inner.disk(node).capacity_bytes = bytes);
    }

    /// Bytes that a node's files take.
    pub fn disk_used_bytes(&self, node: NodeId) -> u64 {
        self.with(|inner| inner.disk(node).pages_used() * content::PAGE_BYTES)
    }

    /// A disk that lies: `sync` and `write_durable` succeed and make nothing durable.
    pub fn ignore_sync(&self, node: NodeId, ignore: bool) {
        self.with(|inner| inner.disk(node).ignore_sync = ignore);
    }

    /// As [`Sim::ignore_sync`], for `sync_dir`.
    pub fn ignore_sync_dir(&self, node: NodeId, ignore: bool) {
        self.with(|inner| inner.disk(node).ignore_sync_dir = ignore);
    }

    /// The next operation of this kind fails with an I/O error. A failed sync loses some of what it was to save.
    pub fn fail_next(&self, node: NodeId, kind: IoKind) {
        self.with(|inner| inner.disk(node).failures.push_back(kind));
    }

    /// How often a node has asked for what in which folder, by the last part of the folder's name.
    pub fn file_ops(&self, node: NodeId) -> FileOps {
        self.with(|inner| inner.disk(node).ops.clone())
    }

    /// [`Sim::is_trapped`] once `count` operations like this have begun from now on. Takes the place of the last trap.
    pub fn set_trap(&self, node: NodeId, op: FileOp, folder: &str, count: u64) {
        self.with(|inner| inner.disk(node).set_trap(op, folder, count));
    }

    /// Whether the operation that the trap waits for has begun; it may be over, too.
    pub fn is_trapped(&self, node: NodeId) -> bool {
        self.with(|inner| inner.disk(node).is_trapped())
    }

    /// The address of a node.
    pub fn address(&self, node: NodeId, port: u16) -> SocketAddr {
        SocketAddr::new(net::node_ip(node), port)
    }

    /// Packets between the two nodes wait, in both directions, until [`Sim::heal`].
    pub fn partition(&self, a: NodeId, b: NodeId) {
        self.partition_one_way(a, b);
        self.partition_one_way(b, a);
    }

    /// Packets from one node to the other wait until [`Sim::heal`].
    pub fn partition_one_way(&self, from: NodeId, to: NodeId) {
        self.with(|inner| {
            inner.trace("partition", u64::from(from.0), u64::from(to.0));
            inner.net.cut(from, to);
        });
    }

    /// Ends a partition; what waited arrives.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        self.with(|inner| {
            inner.trace("heal", u64::from(a.0), u64::from(b.0));
            net::heal(inner, a, b);
            net::heal(inner, b, a);
        });
    }

    /// Of a million packets, this many break their connection.
    pub fn set_resets_per_million(&self, resets: u64) {
        self.with(|inner| inner.net.resets_per_million = resets);
    }
}

/// One core of a simulated node.
#[derive(Clone)]
pub struct SimEnv {
    world: Rc<World>,
    core: Rc<Core>,
}

fn crashed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the simulated node has crashed")
}

fn failed(kind: IoKind) -> io::Error {
    io::Error::other(format!("simulated {kind:?} error"))
}

fn sleep(world: &Rc<World>, core: Option<&Rc<Core>>, duration: Duration) -> impl Future<Output = ()> + use<> {
    let inner = &mut *world.inner.borrow_mut();
    let delay_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Op::start(inner, delay_ns, core, |_, _| ())
}

/// Pending once.
struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl SimEnv {
    /// The node that this core belongs to.
    pub fn node(&self) -> NodeId {
        self.core.node
    }

    /// This core's number.
    pub fn core_id(&self) -> CoreId {
        self.core.id
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let result = f(&mut self.world.inner.borrow_mut());
        self.world.wake_all();
        result
    }

    fn note(&self, op: FileOp, path: &Path) {
        self.with(|inner| inner.disk(self.core.node).note(op, path));
    }

    /// Does something with this node's disk after a while.
    fn disk_op<T: 'static>(
        &self,
        kind: &'static str,
        range: impl Fn(&Latency) -> Range<u64>,
        run: impl FnOnce(&mut Disk) -> io::Result<T> + 'static,
    ) -> Op<io::Result<T>> {
        let inner = &mut *self.world.inner.borrow_mut();
        let range = range(&inner.latency);
        let delay_ns = inner.draw_ns(&range);
        let node = self.core.node;
        Op::start(inner, delay_ns, Some(&self.core), move |inner, alive| {
            inner.trace(kind, u64::from(node.0), u64::from(alive));
            if alive { run(inner.disk(node)) } else { Err(crashed()) }
        })
    }
}

impl Env for SimEnv {
    type File = SimFile;
    type Listener = SimListener;
    type Stream = SimStream;

    fn monotonic_ns(&self) -> u64 {
        self.world.inner.borrow().now_ns
    }

    fn wall_clock_ns(&self) -> u64 {
        world::WALL_CLOCK_START_NS + self.monotonic_ns()
    }

    fn shared_clock(&self) -> SharedClock {
        let now_ns = self.world.inner.borrow().shared_now_ns.clone();
        Arc::new(move || world::WALL_CLOCK_START_NS + now_ns.load(Ordering::Relaxed))
    }

    fn random_u64(&self) -> u64 {
        self.world.inner.borrow_mut().rng.next_u64()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.core.spawn(Box::pin(task));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        sleep(&self.world, Some(&self.core), duration)
    }

    fn yield_now(&self) -> impl Future<Output = ()> + 'static {
        YieldNow(false)
    }

    fn give_way(&self) -> impl Future<Output = ()> + 'static {
        // Work takes no time here, and any order of tasks may come.
        YieldNow(false)
    }

    fn waker(&self) -> CoreWaker {
        let shared = std::sync::Arc::clone(&self.core.shared);
        CoreWaker::new(move || shared.wake())
    }

    fn on_turn(&self, hook: impl FnMut() -> bool + 'static) {
        self.core.add_hook(Box::new(hook));
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let path: Rc<Path> = Rc::from(path);
        let name = Rc::clone(&path);
        if mode == OpenMode::CreateNew {
            self.note(FileOp::Create, &path);
        }
        let opened = self.disk_op(
            "open",
            |l| l.disk_ns.clone(),
            move |disk| {
                let inode = match mode {
                    OpenMode::Read | OpenMode::ReadWrite => disk.lookup(&path)?,
                    OpenMode::CreateNew => disk.create(&path)?,
                };
                disk.inode(inode).open_count += 1;
                Ok(inode)
            },
        );
        let inode = opened.await?;
        Ok(SimFile { env: self.clone(), inode, path: name, writable: mode != OpenMode::Read })
    }

    async fn open_below(&self, dir: &Path, path: &Path) -> io::Result<SimFile> {
        // There are no links; only the path itself can lead elsewhere.
        let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !path.components().all(is_plain) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        self.open(&dir.join(path), OpenMode::Read).await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_path_buf();
        let create = move |disk: &mut Disk| {
            disk.create_dir(&path);
            Ok(())
        };
        self.disk_op("create_dir", |l| l.sync_ns.clone(), create).await
    }

    async fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let path = path.to_path_buf();
        self.disk_op("list_dir", |l| l.disk_ns.clone(), move |disk| disk.list(&path)).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.note(FileOp::Remove, path);
        let path = path.to_path_buf();
        self.disk_op("remove_file", |l| l.disk_ns.clone(), move |disk| disk.remove(&path)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note(FileOp::Rename, to);
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        self.disk_op("rename", |l| l.disk_ns.clone(), move |disk| disk.rename(&from, &to)).await
    }

    async fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note(FileOp::Link, to);
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        self.disk_op("hard_link", |l| l.disk_ns.clone(), move |disk| disk.hard_link(&from, &to)).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.note(FileOp::SyncDir, path);
        let path = path.to_path_buf();
        let mark = self.with(|inner| inner.disk(self.core.node).name_mark());
        let sync = move |disk: &mut Disk| match disk.take_failure(IoKind::SyncDir) {
            true => Err(failed(IoKind::SyncDir)),
            false => disk.sync_dir(&path, mark),
        };
        self.disk_op("sync_dir", |l| l.sync_ns.clone(), sync).await
    }

    fn listen(&self, address: SocketAddr) -> io::Result<SimListener> {
        if !self.core.alive.get() {
            return Err(crashed());
        }
        let (id, address) = self.with(|inner| net::listen(inner, &self.core, address))?;
        Ok(SimListener { env: self.clone(), id, address })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let give_up_ns = self.monotonic_ns() + net::CONNECT_TIMEOUT_NS;
        loop {
            let connected = {
                let inner = &mut *self.world.inner.borrow_mut();
                let range = inner.latency.net_ns.clone();
                let delay_ns = inner.draw_ns(&range);
                let core = Rc::clone(&self.core);
                Op::start(inner, delay_ns, Some(&self.core), move |inner, alive| match alive {
                    true => net::connect(inner, &core, address),
                    false => Some(Err(crashed())),
                })
            };
            if let Some(result) = connected.await {
                return result.map(|end| SimStream { env: self.clone(), end });
            }
            if self.monotonic_ns() >= give_up_ns {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.sleep(Duration::from_millis(100)).await;
        }
    }
}

/// An open file of a [`SimEnv`].
pub struct SimFile {
    env: SimEnv,
    inode: InodeId,
    /// Its name when it was opened.
    path: Rc<Path>,
    writable: bool,
}

impl SimFile {
    async fn change(&self, change: Change, durable: bool) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let op = self.start_change(change, durable);
        op.await
    }

    fn start_change(&self, change: Change, durable: bool) -> Op<io::Result<()>> {
        let inner = &mut *self.env.world.inner.borrow_mut();
        let range = inner.latency.disk_ns.clone();
        let mut delay_ns = inner.draw_ns(&range);
        if durable {
            let range = inner.latency.sync_ns.clone();
            delay_ns += inner.draw_ns(&range);
        }
        let (node, id) = (self.env.core.node, self.inode);
        if !self.env.core.alive.get() {
            return Op::start(inner, 0, Some(&self.env.core), |_, _| Err(crashed()));
        }
        inner.disk(node).note(FileOp::Write, &self.path);
        let number = inner.disk(node).inode(id).begin(change.clone());
        Op::start(inner, delay_ns, Some(&self.env.core), move |inner, alive| {
            if !alive {
                return Err(crashed());
            }
            finish_change(inner, node, id, number, &change, durable)
        })
    }
}

fn finish_change(
    inner: &mut Inner,
    node: NodeId,
    id: InodeId,
    number: u64,
    change: &Change,
    durable: bool,
) -> io::Result<()> {
    let (a, b) = match change {
        Change::Write { offset, bytes } => (*offset, u64::from(crc32c::crc32c(bytes))),
        Change::SetSize(size) => (*size, 0),
    };
    inner.trace(if durable { "write_durable" } else { "write" }, id << 48 | a, b);
    let disk = inner.disk(node);
    let is_write = matches!(change, Change::Write { .. });
    let write_failure = if is_write && disk.take_failure(IoKind::Write) {
        Some(failed(IoKind::Write))
    } else if !disk.has_space_for(id, change) {
        Some(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"))
    } else {
        None
    };
    let sync_fails = durable && disk.take_failure(IoKind::Sync);
    let durable = durable && !disk.ignore_sync && !sync_fails;
    let is_lost = sync_fails && inner.rng.one_in(2);
    let Some(inode) = inner.disk(node).inode_if_any(id) else { return Ok(()) };
    match write_failure {
        Some(error) => {
            inode.abandon(number);
            Err(error)
        }
        None => {
            inode.finish(number, durable);
            if is_lost {
                inode.lose_last();
            }
            if sync_fails { Err(failed(IoKind::Sync)) } else { Ok(()) }
        }
    }
}

impl File for SimFile {
    async fn size(&self) -> io::Result<u64> {
        let id = self.inode;
        self.env.disk_op("size", |_| 500..5_000, move |disk| Ok(disk.inode(id).current().size())).await
    }

    async fn read_at(&self, offset: u64, mut buffer: AlignedBuf) -> io::Result<AlignedBuf> {
        assert_aligned(offset, buffer.len());
        let id = self.inode;
        let read = move |disk: &mut Disk| {
            if disk.take_failure(IoKind::Read) {
                return Err(failed(IoKind::Read));
            }
            let len = disk.inode(id).current().read(offset, &mut buffer);
            buffer.set_len(len);
            Ok(buffer)
        };
        self.env.disk_op("read", |l| l.disk_ns.clone(), read).await
    }

    async fn write_at(&self, offset: u64, buffer: AlignedBuf) -> (io::Result<()>, AlignedBuf) {
        assert_aligned(offset, buffer.len());
        (self.change(Change::Write { offset, bytes: Rc::from(&buffer[..]) }, false).await, buffer)
    }

    async fn write_durable(&self, offset: u64, buffer: AlignedBuf) -> (io::Result<()>, AlignedBuf) {
        assert_aligned(offset, buffer.len());
        (self.change(Change::Write { offset, bytes: Rc::from(&buffer[..]) }, true).await, buffer)
    }

    async fn sync(&self) -> io::Result<()> {
        let (node, id) = (self.env.core.node, self.inode);
        self.env.note(FileOp::Sync, &self.path);
        let mark = self.env.with(|inner| inner.disk(node).inode_if_any(id).map_or(0, |inode| inode.mark()));
        let sync = {
            let inner = &mut *self.env.world.inner.borrow_mut();
            let range = inner.latency.sync_ns.clone();
            let delay_ns = inner.draw_ns(&range);
            Op::start(inner, delay_ns, Some(&self.env.core), move |inner, alive| {
                inner.trace("sync", id, mark);
                if !alive {
                    return Err(crashed());
                }
                let Inner { rng, disks, .. } = inner;
                let disk = disks.entry(node).or_default();
                let (fails, ignored) = (disk.take_failure(IoKind::Sync), disk.ignore_sync);
                match disk.inode_if_any(id) {
                    Some(inode) if fails => inode.fail_sync(mark, rng),
                    Some(inode) if !ignored => inode.sync(mark),
                    _ => {}
                }
                if fails { Err(failed(IoKind::Sync)) } else { Ok(()) }
            })
        };
        sync.await
    }

    async fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.change(Change::SetSize(bytes), false).await
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if !self.env.core.alive.get() {
            return;
        }
        // A run that is being torn down may still hold the borrow.
        if let Ok(mut inner) = self.env.world.inner.try_borrow_mut()
            && let Some(inode) = inner.disk(self.env.core.node).inode_if_any(self.inode)
        {
            inode.open_count -= 1;
        }
    }
}

/// A listener of a [`SimEnv`].
pub struct SimListener {
    env: SimEnv,
    id: u64,
    address: SocketAddr,
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> io::Result<SimStream> {
        let (node, port) = (self.env.core.node, self.address.port());
        let end = std::future::poll_fn(|context| {
            match self.env.with(|inner| net::accept(inner, node, port, self.id, context.waker())) {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            }
        });
        end.await.map(|end| SimStream { env: self.env.clone(), end })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if let Ok(mut inner) = self.env.world.inner.try_borrow_mut() {
            net::unlisten(&mut inner, self.env.core.node, self.address.port(), self.id);
        }
    }
}

/// A connection of a [`SimEnv`].
pub struct SimStream {
    env: SimEnv,
    end: net::EndId,
}

impl Stream for SimStream {
    async fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        std::future::poll_fn(|context| {
            match self.env.with(|inner| net::receive(inner, self.end, buffer, context.waker())) {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            }
        })
        .await
    }

    async fn send(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut sent = 0;
        while sent < buffer.len() {
            sent += std::future::poll_fn(|context| {
                match self.env.with(|inner| net::send(inner, self.end, &buffer[sent..], context.waker())) {
                    Some(result) => Poll::Ready(result),
                    None => Poll::Pending,
                }
            })
            .await?;
        }
        buffer.clear();
        Ok(())
    }

    fn peer_address(&self) -> io::Result<SocketAddr> {
        net::peer_address(&self.env.world.inner.borrow(), self.end)
    }

    fn shutdown(&self) {
        self.env.with(|inner| net::shutdown(inner, self.end));
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if let Ok(mut inner) = self.env.world.inner.try_borrow_mut() {
            net::forget(&mut inner, self.end);
        }
    }
}

/// The address of a node, as an IP address.
pub fn node_ip(node: NodeId) -> IpAddr {
    net::node_ip(node)
}
