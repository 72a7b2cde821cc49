//! The seam between a shard and the world. Code above it is generic over [`Env`] and runs unchanged on a real core
//! (`uring`) and in the simulator (`sim`). Only this folder names glommio, io-uring, `Instant` or a random source.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

/// The clock, files, network, tasks and randomness of one core.
pub trait Env: Clone + 'static {
    /// An open file.
    type File: File;
    /// A listening socket.
    type Listener: Listener<Stream = Self::Stream>;
    /// A connected socket.
    type Stream: Stream;

    /// Nanoseconds since the process began; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// Nanoseconds since the Unix epoch; moves with `monotonic_ns`, so it never goes back while the process lives.
    fn wall_clock_ns(&self) -> u64;
    /// As [`Env::wall_clock_ns`], for any thread.
    fn shared_clock(&self) -> SharedClock;
    /// A random number; in the simulator from its seed.
    fn random_u64(&self) -> u64;
    /// Runs a task on this core until it ends, not before this call has returned. Tasks are never cancelled: end them
    /// by a flag. Their wakers may be called on this core only.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static;
    /// Lets every other ready task, completion and message have its turn.
    fn yield_now(&self) -> impl Future<Output = ()> + 'static;
    /// Between steps of work that takes long: goes on when nothing else of the core is ready, or after a millisecond.
    fn give_way(&self) -> impl Future<Output = ()> + 'static;
    /// Another thread or core has something for this core: wakes it if it sleeps. `Send` and cheap to clone.
    fn waker(&self) -> CoreWaker;
    /// Runs once per turn of the core's loop, before it decides whether to sleep; answers whether it did anything.
    /// The mesh drains its rings here.
    fn on_turn(&self, hook: impl FnMut() -> bool + 'static);

    /// Opens a file for direct I/O where the file system offers it.
    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = io::Result<Self::File>>;
    /// Opens an existing file below a directory for reading. `path` is relative to it; neither `..` nor symbolic links
    /// lead out of it: `CrossesDevices` if they would. What is no regular file is `InvalidInput`.
    fn open_below(&self, dir: &Path, path: &Path) -> impl Future<Output = io::Result<Self::File>>;
    /// Creates a directory and its parents, durably.
    fn create_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// The names in a directory, sorted.
    fn list_dir(&self, path: &Path) -> impl Future<Output = io::Result<Vec<String>>>;
    /// Removes a file. Durable after `sync_dir` of its directory.
    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Renames a file, replacing any at `to`. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    /// Gives a file a second name. Durable after `sync_dir`.
    fn hard_link(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    /// Makes created, removed and renamed names in a directory durable.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// Listens on an address; several cores may listen on the same one (SO_REUSEPORT).
    fn listen(&self, address: std::net::SocketAddr) -> io::Result<Self::Listener>;
    /// Connects to an address.
    fn connect(&self, address: std::net::SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// Nanoseconds since the Unix epoch, as often as it is called.
pub type SharedClock = std::sync::Arc<dyn Fn() -> u64 + Send + Sync>;

/// Wakes one core from any thread.
#[derive(Clone)]
pub struct CoreWaker(std::sync::Arc<dyn Fn() + Send + Sync>);

impl CoreWaker {
    /// A waker that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> CoreWaker {
        CoreWaker(std::sync::Arc::new(wake))
    }

    /// Wakes the core; nothing happens if it is awake.
    pub fn wake(&self) {
        (self.0)();
    }
}

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Must exist; read only.
    Read,
    /// Must exist.
    ReadWrite,
    /// Must not exist.
    CreateNew,
}

/// Alignment of offsets, lengths and buffers of file I/O, in bytes.
pub const IO_ALIGN: usize = 4_096;

/// An open file. Operations take their buffer and give it back, because the kernel owns it meanwhile.
pub trait File: 'static {
    /// Bytes in the file.
    fn size(&self) -> impl Future<Output = io::Result<u64>>;
    /// Reads `buffer.len()` bytes at `offset`; all three are multiples of [`IO_ALIGN`]. Gives back the buffer cut to
    /// the bytes that were there, fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: AlignedBuf) -> impl Future<Output = io::Result<AlignedBuf>>;
    /// Writes the whole buffer at `offset`, both multiples of [`IO_ALIGN`]. Not durable before `sync`.
    fn write_at(&self, offset: u64, buffer: AlignedBuf)
    -> impl Future<Output = (io::Result<()>, AlignedBuf)>;
    /// `write_at`, then durable, by the cheapest means.
    fn write_durable(
        &self,
        offset: u64,
        buffer: AlignedBuf,
    ) -> impl Future<Output = (io::Result<()>, AlignedBuf)>;
    /// Makes all completed writes durable, and the file's size.
    fn sync(&self) -> impl Future<Output = io::Result<()>>;
    /// Cuts or extends the file to this many bytes.
    fn set_size(&self, bytes: u64) -> impl Future<Output = io::Result<()>>;
}

/// A listening socket.
pub trait Listener: 'static {
    /// What it accepts.
    type Stream;
    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>>;
    /// The address it listens on.
    fn local_address(&self) -> io::Result<std::net::SocketAddr>;
}

/// A connected socket.
pub trait Stream: 'static {
    /// Appends what has arrived to `buffer`, waiting for at least one byte; 0 means the peer has closed. If the future
    /// is dropped, bytes may be lost and `buffer` is left empty.
    fn receive(&self, buffer: &mut Vec<u8>) -> impl Future<Output = io::Result<usize>>;
    /// Sends all of `buffer` and clears it, keeping its capacity.
    fn send(&self, buffer: &mut Vec<u8>) -> impl Future<Output = io::Result<()>>;
    /// The peer's address.
    fn peer_address(&self) -> io::Result<std::net::SocketAddr>;
    /// Closes both directions; a waiting `receive` ends with 0.
    fn shutdown(&self);
}

/// Runs a future to its end or to its panic, whose text it gives. The panic hook has printed it already.
pub async fn catch_panic<T>(future: impl Future<Output = T>) -> std::result::Result<T, String> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(context));
        match std::panic::catch_unwind(poll) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => Poll::Ready(Err(panic_text(payload.as_ref()))),
        }
    })
    .await
}

/// Every implementation checks its callers.
fn assert_aligned(offset: u64, len: usize) {
    let is_aligned = offset.is_multiple_of(IO_ALIGN as u64) && len.is_multiple_of(IO_ALIGN) && len > 0;
    assert!(is_aligned, "file I/O of {len} bytes at {offset} is not aligned to {IO_ALIGN}");
}

/// What a panic said.
fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

mod buf;
mod rng;
pub mod sim;
pub mod uring;

pub use buf::AlignedBuf;
pub use rng::Rng;
