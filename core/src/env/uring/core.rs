//! One core: a pinned thread with a task queue, the ring, and the pump that joins them.
//!
//! glommio gives the pinned thread and the queue of tasks; nothing else of it is used (its reactor can sleep while tasks
//! are ready, and its sockets and files cost more than a ring of our own). Its executor never gets to sleep, because
//! the pump is always ready; the pump sleeps in our ring.
//!
//! Work that takes long gives way between its steps: it goes on, one step after another, only when no task is ready and
//! nothing has come from the ring, other cores or timers. So a request waits for at most one such step, however many
//! tasks it passes through. A core that is never idle lets a step run every millisecond all the same.
//!
//! Invariants: the pump sleeps only after a pass over the queue in which no task ran, with nothing to reap, no hook
//! at work, and again no hook at work after `asleep` was set. A task's waker is called on its own core only; other
//! threads use [`CoreWaker`] and leave their message where a hook finds it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement, TaskQueueHandle};

use super::UringEnv;
use super::ring::Ring;
use super::timer::{TimerKey, Timers};
use super::watchdog::Pulse;
use crate::env::rng::Rng;
use crate::env::{CoreWaker, catch_panic, panic_text};
use crate::id::CoreId;

/// Passes over the task queue before new entries go to the kernel: a chain of tasks that wake each other costs no
/// system call, and I/O waits for at most this many tasks of each.
const PASSES_MAX: u32 = 4;

/// Nor do they wait for long: after passes of this many nanoseconds completions and timers have their turn. A step of
/// background work takes hundreds of microseconds, and would run in every pass.
const PASSES_NS_MAX: u64 = 50_000;

/// Work that gives way waits no longer than this many nanoseconds.
const GIVE_WAY_NS_MAX: u64 = 1_000_000;

/// glommio's preemption would make its executor sleep with tasks ready (facts of its version 0.9.0): never.
const PREEMPT_TIMER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Memory for glommio's own I/O, which is not used: its smallest.
const GLOMMIO_IO_BYTES: usize = 64 << 10;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Hook = Box<dyn FnMut() -> bool>;

/// How a write becomes durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WriteMethod {
    /// A write linked to an fdatasync.
    #[default]
    Linked,
    /// One write with RWF_DSYNC.
    Dsync,
}

/// What to do when a task or the pump panics, or a core is stuck: gets the core and the words.
pub type Alarm = Arc<dyn Fn(CoreId, &str) + Send + Sync>;

/// Ends the process: after a panic in the middle of a change nothing in memory can be trusted.
pub fn abort_process(core: CoreId, words: &str) {
    eprintln!("omendb: core {core}: {words}; the process ends");
    std::process::abort();
}

/// How to run a core.
#[derive(Clone)]
pub struct CoreOptions {
    /// Its number.
    pub core: CoreId,
    /// The CPU to pin it to; none leaves the choice to the kernel.
    pub cpu: Option<usize>,
    /// Entries of the submission queue.
    pub ring_entries: u32,
    /// Looks at the ring and the hooks this often before sleeping; more than 0 only on CPUs with nothing else to do.
    pub spins_max: u32,
    /// How `write_durable` writes.
    pub write_method: WriteMethod,
    /// Called when a task or the pump panics.
    pub on_panic: Alarm,
}

impl CoreOptions {
    /// The usual options.
    pub fn new(core: CoreId, cpu: Option<usize>) -> CoreOptions {
        CoreOptions {
            core,
            cpu,
            ring_entries: 1_024,
            spins_max: 0,
            write_method: WriteMethod::default(),
            on_panic: Arc::new(abort_process),
        }
    }
}

/// What other threads know of a core.
pub struct Shared {
    core: CoreId,
    asleep: AtomicBool,
    turns: AtomicU64,
    stop: AtomicBool,
    ended: AtomicBool,
    event: File,
}

impl Shared {
    fn new(core: CoreId) -> io::Result<Arc<Shared>> {
        Ok(Arc::new(Shared {
            core,
            asleep: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            event: event_file()?,
        }))
    }

    /// Wakes the core if it sleeps. What the caller has left for it before is seen by the hooks.
    fn wake(&self) {
        // Pairs with the fence in `Core::sleep`: either the core sees what was left, or we see that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            // An eventfd takes 8 bytes at once and fails only when its count is full, which wakes as well.
            let _ = (&self.event).write(&1_u64.to_ne_bytes());
        }
    }
}

impl Pulse for Shared {
    fn core(&self) -> CoreId {
        self.core
    }

    fn beat(&self) -> Option<u64> {
        let idle = self.asleep.load(Ordering::Relaxed) || self.ended.load(Ordering::Relaxed);
        (!idle).then(|| self.turns.load(Ordering::Relaxed))
    }
}

fn event_file() -> io::Result<File> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and has no other owner.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The clock's zero: the first use in the process.
fn clock_start() -> &'static (Instant, u64) {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    START.get_or_init(|| {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), u64::try_from(wall.as_nanos()).expect("before the year 2554"))
    })
}

/// Nanoseconds since the process's clock began.
pub fn monotonic_ns() -> u64 {
    u64::try_from(clock_start().0.elapsed().as_nanos()).expect("584 years")
}

/// Nanoseconds since the Unix epoch, moving with [`monotonic_ns`].
pub fn wall_clock_ns() -> u64 {
    clock_start().1 + monotonic_ns()
}

/// A seed that differs on each call.
fn random_seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    // SAFETY: the kernel writes at most the 8 bytes that it is given.
    let len = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if len == 8 { Ok(u64::from_ne_bytes(bytes)) } else { Err(io::Error::last_os_error()) }
}

/// The state of a core on its own thread.
pub struct Core {
    pub id: CoreId,
    pub ring: Rc<Ring>,
    pub timers: Timers,
    pub write_method: Cell<WriteMethod>,
    pub shared: Arc<Shared>,
    pub rng: RefCell<Rng>,
    on_panic: Alarm,
    spins_max: u32,
    hooks: RefCell<Vec<Hook>>,
    stop_wakers: RefCell<Vec<Waker>>,
    drains: RefCell<Vec<Task>>,
    tasks: RefCell<Tasks>,
    /// Work that gives way, in the order in which it goes on.
    giving_way: RefCell<VecDeque<Waker>>,
    /// When the first of it began to.
    gave_way_ns: Cell<u64>,
    polls: Cell<u64>,
    main_ended: Cell<bool>,
}

/// The futures of all tasks: glommio keeps only handles, so that they can be dropped when the core ends.
#[derive(Default)]
struct Tasks {
    futures: Vec<Option<Task>>,
    free: Vec<usize>,
}

impl Core {
    fn new(options: CoreOptions, shared: Arc<Shared>) -> io::Result<Rc<Core>> {
        let event = shared.event.try_clone()?;
        Ok(Rc::new(Core {
            id: options.core,
            ring: Rc::new(Ring::new(options.ring_entries, event)?),
            timers: Timers::default(),
            write_method: Cell::new(options.write_method),
            shared,
            rng: RefCell::new(Rng::new(random_seed()?)),
            on_panic: options.on_panic,
            spins_max: options.spins_max,
            hooks: RefCell::default(),
            stop_wakers: RefCell::default(),
            drains: RefCell::default(),
            tasks: RefCell::default(),
            giving_way: RefCell::default(),
            gave_way_ns: Cell::new(0),
            polls: Cell::new(0),
            main_ended: Cell::new(false),
        }))
    }

    /// Starts a task.
    pub fn spawn(self: &Rc<Self>, future: Task) {
        let mut tasks = self.tasks.borrow_mut();
        let index = tasks.free.pop().unwrap_or_else(|| {
            tasks.futures.push(None);
            tasks.futures.len() - 1
        });
        tasks.futures[index] = Some(future);
        drop(tasks);
        let handle = TaskHandle { core: Rc::clone(self), index, done: false };
        // `spawn_local` would poll the task at once, inside its caller.
        let queued = glommio::spawn_local_into(handle, TaskQueueHandle::default());
        queued.expect("the default queue exists").detach();
    }

    /// Adds a hook.
    pub fn add_hook(&self, hook: Hook) {
        self.hooks.borrow_mut().push(hook);
    }

    /// Adds something to do after the main future has ended, before that which was added earlier.
    pub fn add_drain(&self, drain: Task) {
        self.drains.borrow_mut().push(drain);
    }

    /// Whether the core has been asked to stop; if not, wakes the waker then.
    pub fn poll_stop(&self, waker: &Waker) -> Poll<()> {
        if self.shared.stop.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        let mut wakers = self.stop_wakers.borrow_mut();
        if !wakers.iter().any(|w| w.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Messages and requests from outside; answers whether there were any.
    fn run_hooks(&self) -> bool {
        let mut hooks = std::mem::take(&mut *self.hooks.borrow_mut());
        let mut worked = false;
        for hook in &mut hooks {
            worked |= hook();
        }
        let added = std::mem::replace(&mut *self.hooks.borrow_mut(), hooks);
        self.hooks.borrow_mut().extend(added);
        if self.shared.stop.load(Ordering::Relaxed) && !self.stop_wakers.borrow().is_empty() {
            let wakers = std::mem::take(&mut *self.stop_wakers.borrow_mut());
            wakers.into_iter().for_each(Waker::wake);
            worked = true;
        }
        worked
    }

    /// Sleeps in the ring unless something has come in the meantime.
    fn sleep(&self) -> io::Result<()> {
        for _ in 0..self.spins_max {
            if self.ring.reap() || self.run_hooks() || self.fire_timers() {
                return Ok(());
            }
            self.ring.submit()?;
            std::hint::spin_loop();
        }
        self.shared.asleep.store(true, Ordering::SeqCst);
        // Pairs with the fence in `Shared::wake`.
        fence(Ordering::SeqCst);
        let slept = if self.run_hooks() { Ok(()) } else { self.ring.wait(self.timeout()) };
        self.shared.asleep.store(false, Ordering::SeqCst);
        slept
    }

    fn timeout(&self) -> Option<Duration> {
        self.timers.first_ns().map(|first| Duration::from_nanos(first.saturating_sub(monotonic_ns())))
    }

    fn fire_timers(&self) -> bool {
        self.timers.first_ns().is_some() && self.timers.fire(monotonic_ns())
    }

    /// The loop of the core, until its main future has ended.
    async fn pump(&self) -> io::Result<()> {
        loop {
            let turns = self.shared.turns.load(Ordering::Relaxed);
            self.shared.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
            let mut ran = false;
            let began_ns = monotonic_ns();
            for _ in 0..PASSES_MAX {
                let before = self.polls.get();
                futures_lite::future::yield_now().await;
                ran = self.polls.get() != before;
                if !ran || monotonic_ns() - began_ns > PASSES_NS_MAX {
                    break;
                }
            }
            if self.main_ended.get() {
                return Ok(());
            }
            let mut worked = ran;
            worked |= self.ring.reap();
            worked |= self.run_hooks();
            worked |= self.fire_timers();
            let waited_ns = if worked { GIVE_WAY_NS_MAX } else { 0 };
            if worked || !self.giving_way.borrow().is_empty() {
                self.ring.submit()?;
                // What has come meanwhile goes first.
                if worked || !self.ring.reap() {
                    self.go_on(waited_ns);
                }
            } else {
                self.sleep()?;
            }
        }
    }

    /// Wakes the first of the work that gives way, if it has done so for that long.
    fn go_on(&self, waited_ns: u64) {
        let mut giving_way = self.giving_way.borrow_mut();
        if giving_way.is_empty() || (waited_ns > 0 && monotonic_ns() - self.gave_way_ns.get() < waited_ns) {
            return;
        }
        let first = giving_way.pop_front();
        self.gave_way_ns.set(monotonic_ns());
        drop(giving_way);
        first.into_iter().for_each(Waker::wake);
    }

    /// Drops all tasks and closes the ring.
    fn end(&self) {
        loop {
            // Dropping a task may spawn another.
            let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
            if tasks.futures.is_empty() {
                break;
            }
            drop(tasks);
        }
        let hooks = std::mem::take(&mut *self.hooks.borrow_mut());
        let wakers = std::mem::take(&mut *self.stop_wakers.borrow_mut());
        drop((hooks, wakers));
        self.timers.clear();
        self.giving_way.borrow_mut().clear();
        self.ring.close();
        self.shared.ended.store(true, Ordering::SeqCst);
    }

    fn alarm(&self, words: &str) {
        (self.on_panic)(self.id, words);
    }
}

/// What glommio queues for a task.
struct TaskHandle {
    core: Rc<Core>,
    index: usize,
    done: bool,
}

impl Future for TaskHandle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        let core = Rc::clone(&self.core);
        core.polls.set(core.polls.get() + 1);
        let taken = core.tasks.borrow_mut().futures.get_mut(self.index).and_then(Option::take);
        let Some(mut future) = taken else { return Poll::Ready(()) };
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        if let Ok(Poll::Pending) = polled {
            core.tasks.borrow_mut().futures[self.index] = Some(future);
            return Poll::Pending;
        }
        self.done = true;
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        core.tasks.borrow_mut().free.push(self.index);
        for payload in polled.err().into_iter().chain(dropped.err()) {
            core.alarm(&format!("a task panicked: {}", panic_text(payload.as_ref())));
        }
        Poll::Ready(())
    }
}

/// Lets other work go first.
pub struct GiveWay {
    core: Rc<Core>,
    gave: bool,
}

impl GiveWay {
    /// From the first poll on.
    pub fn new(core: &Rc<Core>) -> GiveWay {
        GiveWay { core: Rc::clone(core), gave: false }
    }
}

impl Future for GiveWay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.gave {
            return Poll::Ready(());
        }
        self.gave = true;
        let mut giving_way = self.core.giving_way.borrow_mut();
        if giving_way.is_empty() {
            self.core.gave_way_ns.set(monotonic_ns());
        }
        giving_way.push_back(context.waker().clone());
        Poll::Pending
    }
}

/// Waits for a time.
pub struct Sleep {
    core: Rc<Core>,
    deadline_ns: u64,
    key: Option<TimerKey>,
}

impl Sleep {
    /// Waits from now on.
    pub fn new(core: &Rc<Core>, duration: Duration) -> Sleep {
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Sleep { core: Rc::clone(core), deadline_ns: monotonic_ns().saturating_add(duration_ns), key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.key {
            Some(key) if self.core.timers.renew(key, context.waker()) => Poll::Pending,
            Some(_) => {
                self.key = None;
                self.deadline_ns = 0;
                Poll::Ready(())
            }
            None => {
                self.key = Some(self.core.timers.add(self.deadline_ns, context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.core.timers.remove(key);
        }
    }
}

/// A running core.
pub struct CoreHandle {
    shared: Arc<Shared>,
    thread: ExecutorJoinHandle<()>,
}

impl CoreHandle {
    /// Its number.
    pub fn core(&self) -> CoreId {
        self.shared.core
    }

    /// Wakes it.
    pub fn waker(&self) -> CoreWaker {
        waker(&self.shared)
    }

    /// Asks it to stop: [`UringEnv::stop_requested`] ends.
    pub fn request_stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// What a watchdog looks at.
    pub fn pulse(&self) -> Arc<dyn Pulse> {
        Arc::clone(&self.shared) as Arc<dyn Pulse>
    }

    /// Waits until its main future and its drains have ended.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().map_err(|e| io::Error::other(e.to_string()))
    }
}

/// The waker of a core.
pub fn waker(shared: &Arc<Shared>) -> CoreWaker {
    let shared = Arc::clone(shared);
    CoreWaker::new(move || shared.wake())
}

/// Starts a core. It runs the future that `main` makes, then what was given to [`UringEnv::on_drain`], and ends.
///
/// Fails if the thread cannot be made or pinned, or the ring cannot be made; [`super::check`] says why and what to do.
pub fn start<F, Fut>(options: CoreOptions, main: F) -> io::Result<CoreHandle>
where
    F: FnOnce(UringEnv) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let shared = Shared::new(options.core)?;
    let placement = options.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let (started, has_started) = mpsc::sync_channel(1);
    let on_core = Arc::clone(&shared);
    let thread = LocalExecutorBuilder::new(placement)
        .name(&format!("core-{}", options.core))
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(GLOMMIO_IO_BYTES)
        .spawn(move || async move {
            match Core::new(options, on_core) {
                Ok(core) => {
                    let _ = started.send(Ok(()));
                    run(core, main).await;
                }
                Err(e) => {
                    let _ = started.send(Err(e));
                }
            }
        })
        .map_err(|e| io::Error::other(e.to_string()))?;
    match has_started.recv() {
        Ok(Ok(())) => Ok(CoreHandle { shared, thread }),
        Ok(Err(e)) => Err(e),
        Err(_) => match thread.join() {
            Err(e) => Err(io::Error::other(e.to_string())),
            Ok(()) => Err(io::Error::other("the core's thread ended at once")),
        },
    }
}

async fn run<F, Fut>(core: Rc<Core>, main: F)
where
    F: FnOnce(UringEnv) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let env = UringEnv { core: Rc::clone(&core) };
    let on_core = Rc::clone(&core);
    core.spawn(Box::pin(async move {
        if let Err(words) = catch_panic(async { main(env).await }).await {
            on_core.alarm(&format!("the main task panicked: {words}"));
        }
        loop {
            let Some(drain) = on_core.drains.borrow_mut().pop() else { break };
            drain.await;
        }
        on_core.main_ended.set(true);
    }));
    match catch_panic(core.pump()).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => core.alarm(&format!("the ring failed: {e}")),
        Err(words) => core.alarm(&format!("the pump panicked: {words}")),
    }
    core.end();
}
