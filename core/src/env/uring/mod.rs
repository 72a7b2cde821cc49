//! The real world: one pinned thread and one io_uring per core.
//!
//! [`start`] makes a core and runs a future on it with its [`UringEnv`]; [`check`] says beforehand whether the machine
//! allows it; [`watch`] notices a core that is stuck. The only place that names glommio, io-uring or `Instant`.

pub mod check;
mod core;
mod file;
mod net;
mod ring;
#[cfg(test)]
mod tests;
mod timer;
mod watchdog;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use self::core::{Alarm, CoreHandle, CoreOptions, WriteMethod, abort_process, start};
pub use check::{Check, Outcome, allowed_cpus, check, check_dir, forbid_huge_pages, free_bytes};
pub use file::UringFile;
pub use net::{UringListener, UringStream};
pub use watchdog::{Patience, Pulse, Watchdog, watch};

use self::core::{Core, GiveWay, Sleep};
use super::{CoreWaker, Env, OpenMode, SharedClock};
use crate::id::CoreId;

/// The environment of one core. It stays on its thread.
#[derive(Clone)]
pub struct UringEnv {
    core: Rc<Core>,
}

impl UringEnv {
    /// The core's number.
    pub fn core_id(&self) -> CoreId {
        self.core.id
    }

    /// Ends when [`CoreHandle::request_stop`] has been called.
    pub fn stop_requested(&self) -> impl Future<Output = ()> + 'static {
        let core = Rc::clone(&self.core);
        std::future::poll_fn(move |context| core.poll_stop(context.waker()))
    }

    /// Runs `drain` after the main future has ended, while tasks and I/O still go on; the last one added runs first.
    pub fn on_drain(&self, drain: impl Future<Output = ()> + 'static) {
        self.core.add_drain(Box::pin(drain));
    }

    /// Changes how `write_durable` writes, on all files of this core.
    pub fn set_write_method(&self, method: WriteMethod) {
        self.core.write_method.set(method);
    }

    /// How `write_durable` writes.
    pub fn write_method(&self) -> WriteMethod {
        self.core.write_method.get()
    }
}

impl Env for UringEnv {
    type File = UringFile;
    type Listener = UringListener;
    type Stream = UringStream;

    fn monotonic_ns(&self) -> u64 {
        core::monotonic_ns()
    }

    fn wall_clock_ns(&self) -> u64 {
        core::wall_clock_ns()
    }

    fn shared_clock(&self) -> SharedClock {
        Arc::new(core::wall_clock_ns)
    }

    fn random_u64(&self) -> u64 {
        self.core.rng.borrow_mut().next_u64()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.core.spawn(Box::pin(task));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        Sleep::new(&self.core, duration)
    }

    fn yield_now(&self) -> impl Future<Output = ()> + 'static {
        futures_lite::future::yield_now()
    }

    fn give_way(&self) -> impl Future<Output = ()> + 'static {
        GiveWay::new(&self.core)
    }

    fn waker(&self) -> CoreWaker {
        core::waker(&self.core.shared)
    }

    fn on_turn(&self, hook: impl FnMut() -> bool + 'static) {
        self.core.add_hook(Box::new(hook));
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<UringFile> {
        file::open(&self.core, path, mode).await
    }

    async fn open_below(&self, dir: &Path, path: &Path) -> io::Result<UringFile> {
        file::open_below(&self.core, dir, path).await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        file::create_dir(&self.core, path).await
    }

    async fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        file::list_dir(path)
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        file::remove(&self.core, path).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        file::rename(&self.core, from, to).await
    }

    async fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        file::hard_link(&self.core, from, to).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        file::sync_dir(&self.core, path).await
    }

    fn listen(&self, address: SocketAddr) -> io::Result<UringListener> {
        net::listen(&self.core, address)
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<UringStream> {
        net::connect(&self.core, address).await
    }
}
