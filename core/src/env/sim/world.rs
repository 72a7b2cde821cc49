//! The scheduler of the simulation: cores with their tasks, and events in simulated time.
//!
//! Invariants: no borrow of [`Inner`] is held while a task, a hook or a destructor of user code runs. All choices come
//! from one generator, in an order that depends on nothing but the seed and the program.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::NodeId;
use super::disk::Disk;
use super::net::Net;
use super::trace::Trace;
use crate::env::rng::Rng;
use crate::id::CoreId;

/// 2024-01-01 UTC: the wall clock at the start of every simulation.
pub const WALL_CLOCK_START_NS: u64 = 1_704_067_200_000_000_000;

/// Times of operations, in simulated nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Reads and writes of files.
    pub disk_ns: Range<u64>,
    /// Syncs of files and directories.
    pub sync_ns: Range<u64>,
    /// One way between nodes.
    pub net_ns: Range<u64>,
    /// One operation in this many takes `slow_factor` times as long.
    pub slow_one_in: u64,
    /// See `slow_one_in`.
    pub slow_factor: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            disk_ns: 10_000..120_000,
            sync_ns: 50_000..1_000_000,
            net_ns: 20_000..400_000,
            slow_one_in: 200,
            slow_factor: 30,
        }
    }
}

/// What other threads may touch of a core: in the simulator there are none, but wakers are `Send`.
pub struct CoreShared {
    woken: AtomicBool,
    ready: Mutex<Vec<u64>>,
}

impl CoreShared {
    fn new() -> Arc<CoreShared> {
        Arc::new(CoreShared { woken: AtomicBool::new(true), ready: Mutex::new(Vec::new()) })
    }

    fn push(&self, task: u64) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn take_ready(&self) -> Vec<u64> {
        std::mem::take(&mut *self.ready.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_active(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
            || !self.ready.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Gives the core a turn.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Relaxed);
    }
}

struct TaskWake {
    id: u64,
    queued: AtomicBool,
    core: Arc<CoreShared>,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.core.push(self.id);
        }
    }
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    wake: Arc<TaskWake>,
}

type Hook = Box<dyn FnMut() -> bool>;

/// One life of one core: a crash of its node ends it.
pub struct Core {
    /// Its node.
    pub node: NodeId,
    /// Its number on the node.
    pub id: CoreId,
    /// False after a crash.
    pub alive: Cell<bool>,
    /// What its wakers share.
    pub shared: Arc<CoreShared>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    hooks: RefCell<Vec<Hook>>,
    task_last: Cell<u64>,
}

impl Core {
    fn new(node: NodeId, id: CoreId) -> Rc<Core> {
        Rc::new(Core {
            node,
            id,
            alive: Cell::new(true),
            shared: CoreShared::new(),
            tasks: RefCell::default(),
            hooks: RefCell::default(),
            task_last: Cell::new(0),
        })
    }

    /// Adds a task, ready to run; a dead core drops it.
    pub fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) {
        if !self.alive.get() {
            return;
        }
        let id = self.task_last.get() + 1;
        self.task_last.set(id);
        let wake = Arc::new(TaskWake { id, queued: AtomicBool::new(true), core: Arc::clone(&self.shared) });
        self.tasks.borrow_mut().insert(id, Task { future, wake });
        self.shared.push(id);
    }

    /// Adds a hook.
    pub fn add_hook(&self, hook: Hook) {
        if self.alive.get() {
            self.hooks.borrow_mut().push(hook);
        }
    }

    fn task_count(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Drops all tasks and hooks, while nothing is borrowed.
    fn clear(&self) {
        self.alive.set(false);
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        let hooks = std::mem::take(&mut *self.hooks.borrow_mut());
        drop((tasks, hooks));
    }
}

type Happen = Box<dyn FnOnce(&mut Inner, bool)>;

/// Something that happens at a time. `run` gets false if its core has died.
pub struct Event {
    core: Option<Rc<Core>>,
    run: Happen,
}

/// All that is simulated, apart from the tasks.
pub struct Inner {
    /// The seed.
    pub seed: u64,
    /// Source of all choices.
    pub rng: Rng,
    /// Simulated nanoseconds since the start.
    pub now_ns: u64,
    /// The same for closures that are `Send`.
    pub shared_now_ns: Arc<AtomicU64>,
    /// What happened.
    pub trace: Trace,
    /// Times of operations.
    pub latency: Latency,
    /// The disks by node.
    pub disks: BTreeMap<NodeId, Disk>,
    /// The network.
    pub net: Net,
    /// Wakers to call when the borrow has ended.
    pub wakes: Vec<Waker>,
    /// Turns so far.
    pub steps: u64,
    /// Turns after which a run is given up.
    pub steps_max: u64,
    events: BTreeMap<(u64, u64), Event>,
    event_last: u64,
}

impl Inner {
    /// Notes an event in the trace.
    pub fn trace(&mut self, kind: &'static str, a: u64, b: u64) {
        self.trace.event(self.now_ns, kind, a, b);
    }

    fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.shared_now_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Runs something later.
    pub fn schedule(
        &mut self,
        delay_ns: u64,
        core: Option<Rc<Core>>,
        run: impl FnOnce(&mut Inner, bool) + 'static,
    ) {
        self.event_last += 1;
        let time_ns = self.now_ns.saturating_add(delay_ns);
        self.events.insert((time_ns, self.event_last), Event { core, run: Box::new(run) });
    }

    /// The disk of a node.
    pub fn disk(&mut self, node: NodeId) -> &mut Disk {
        self.disks.entry(node).or_default()
    }

    /// A time from `range`, now and then far above it.
    pub fn draw_ns(&mut self, range: &Range<u64>) -> u64 {
        let ns = self.rng.within(range);
        if self.rng.one_in(self.latency.slow_one_in.max(1)) { ns * self.latency.slow_factor } else { ns }
    }
}

/// The simulation.
pub struct World {
    /// All but the tasks.
    pub inner: RefCell<Inner>,
    cores: RefCell<Vec<Rc<Core>>>,
    driver: Arc<CoreShared>,
}

/// What a turn of the scheduler came to.
#[derive(PartialEq, Eq)]
pub enum Step {
    /// Something ran.
    Ran,
    /// Nothing can run any more, ever.
    Idle,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, steps_max: u64) -> World {
        let inner = Inner {
            seed,
            rng: Rng::new(seed),
            now_ns: 0,
            shared_now_ns: Arc::default(),
            trace: Trace::new(seed),
            latency: Latency::default(),
            disks: BTreeMap::new(),
            net: Net::default(),
            wakes: Vec::new(),
            steps: 0,
            steps_max,
            events: BTreeMap::new(),
            event_last: 0,
        };
        World { inner: RefCell::new(inner), cores: RefCell::default(), driver: CoreShared::new() }
    }

    /// The living core, made if there is none.
    pub fn core(&self, node: NodeId, id: CoreId) -> Rc<Core> {
        let mut cores = self.cores.borrow_mut();
        if let Some(core) = cores.iter().find(|c| c.node == node && c.id == id) {
            return Rc::clone(core);
        }
        let core = Core::new(node, id);
        cores.push(Rc::clone(&core));
        core
    }

    /// Ends all cores of a node. Their operations under way end with an error for those outside who still wait.
    pub fn end_cores(&self, node: NodeId) {
        let ended: Vec<Rc<Core>> = {
            let mut cores = self.cores.borrow_mut();
            let (ended, rest) = std::mem::take(&mut *cores).into_iter().partition(|c| c.node == node);
            *cores = rest;
            ended
        };
        for core in ended {
            core.clear();
        }
        let inner = &mut *self.inner.borrow_mut();
        let is_ended = |event: &Event| event.core.as_ref().is_some_and(|c| c.node == node);
        let keys: Vec<(u64, u64)> =
            inner.events.iter().filter(|(_, e)| is_ended(e)).map(|(k, _)| *k).collect();
        for key in keys {
            let event = inner.events.remove(&key).expect("just listed");
            (event.run)(inner, false);
        }
    }

    /// Ends everything, so that nothing keeps itself alive.
    pub fn end(&self) {
        let cores = std::mem::take(&mut *self.cores.borrow_mut());
        for core in cores {
            core.clear();
        }
        let events = std::mem::take(&mut self.inner.borrow_mut().events);
        drop(events);
    }

    /// Runs `future` as the driver, with all else, until it ends.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let _report = ReportSeed(self);
        let mut future = std::pin::pin!(future);
        let wake =
            Arc::new(TaskWake { id: 0, queued: AtomicBool::new(true), core: Arc::clone(&self.driver) });
        self.driver.push(0);
        let waker = Waker::from(Arc::clone(&wake));
        let mut context = Context::from_waker(&waker);
        loop {
            let step = self.step(&mut || {
                wake.queued.store(false, Ordering::Relaxed);
                future.as_mut().poll(&mut context)
            });
            match step {
                Ok(output) => return output,
                Err(Step::Ran) => {}
                Err(Step::Idle) => panic!("{}", self.deadlock()),
            }
        }
    }

    /// Runs all until `done`, or until nothing can run any more; answers whether it is done.
    pub fn run_until(&self, mut done: impl FnMut() -> bool) -> bool {
        let _report = ReportSeed(self);
        while !done() {
            let step = self.step::<()>(&mut || Poll::Pending);
            if matches!(step, Err(Step::Idle)) {
                return done();
            }
        }
        true
    }

    fn deadlock(&self) -> String {
        let cores = self.cores.borrow();
        let waiting =
            cores.iter().map(|c| format!("node {} core {}: {} tasks", c.node, c.id, c.task_count()));
        format!(
            "simulation seed {:#x}: deadlock: nothing can run and no timer is set; waiting: {}",
            self.inner.borrow().seed,
            waiting.collect::<Vec<_>>().join(", ")
        )
    }

    /// One turn: due events, then one core that the seed picks; if none is awake, time jumps to the next event.
    fn step<T>(&self, poll_driver: &mut dyn FnMut() -> Poll<T>) -> Result<T, Step> {
        self.count_step();
        self.fire_due();
        let picked = {
            let cores = self.cores.borrow();
            let active: Vec<&Rc<Core>> = cores.iter().filter(|c| c.shared.is_active()).collect();
            let driver_active = self.driver.is_active();
            let count = active.len() + usize::from(driver_active);
            if count == 0 {
                drop(cores);
                return Err(if self.jump() { Step::Ran } else { Step::Idle });
            }
            let index = self.inner.borrow_mut().rng.index(count);
            active.get(index).map(|core| Rc::clone(core))
        };
        match picked {
            Some(core) => {
                self.turn(&core);
                Err(Step::Ran)
            }
            None => {
                self.driver.woken.store(false, Ordering::Relaxed);
                self.driver.take_ready();
                self.pass_time(1);
                match poll_driver() {
                    Poll::Ready(output) => Ok(output),
                    Poll::Pending => Err(Step::Ran),
                }
            }
        }
    }

    fn count_step(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.steps += 1;
        let (seed, max) = (inner.seed, inner.steps_max);
        assert!(
            inner.steps <= max,
            "simulation seed {seed:#x}: no end after {max} steps: a loop that never waits?"
        );
    }

    /// Fires the events whose time has come.
    fn fire_due(&self) {
        loop {
            let wakes = {
                let inner = &mut *self.inner.borrow_mut();
                match inner.events.first_key_value() {
                    Some((&(time_ns, _), _)) if time_ns <= inner.now_ns => {}
                    _ => return,
                }
                let (_, event) = inner.events.pop_first().expect("just seen");
                let alive = event.core.as_ref().is_none_or(|c| c.alive.get());
                (event.run)(inner, alive);
                std::mem::take(&mut inner.wakes)
            };
            wakes.into_iter().for_each(Waker::wake);
        }
    }

    /// Moves the clock to the next event; false if there is none.
    fn jump(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        match inner.events.first_key_value() {
            Some((&(time_ns, _), _)) => {
                inner.set_now(inner.now_ns.max(time_ns));
                true
            }
            None => false,
        }
    }

    /// Calls the wakers that code outside of events has left behind.
    pub fn wake_all(&self) {
        let wakes = std::mem::take(&mut self.inner.borrow_mut().wakes);
        wakes.into_iter().for_each(Waker::wake);
    }

    fn pass_time(&self, polls: u64) {
        let inner = &mut *self.inner.borrow_mut();
        let passed_ns = polls * inner.rng.within(&(100..2_000));
        inner.set_now(inner.now_ns + passed_ns);
    }

    /// Some ready tasks of a core, in an order that the seed picks, then its hooks.
    fn turn(&self, core: &Core) {
        core.shared.woken.store(false, Ordering::Relaxed);
        let mut ready = core.shared.take_ready();
        {
            let inner = &mut *self.inner.borrow_mut();
            inner.rng.shuffle(&mut ready);
            if ready.len() > 1 && inner.rng.one_in(4) {
                let rest = inner.rng.index(ready.len());
                ready.drain(rest.max(1)..).for_each(|task| core.shared.push(task));
            }
        }
        for task in ready {
            self.poll_task(core, task);
        }
        if !core.alive.get() {
            return;
        }
        let mut hooks = std::mem::take(&mut *core.hooks.borrow_mut());
        let mut worked = false;
        for hook in &mut hooks {
            worked |= hook();
        }
        if core.alive.get() {
            let added = std::mem::replace(&mut *core.hooks.borrow_mut(), hooks);
            core.hooks.borrow_mut().extend(added);
        }
        self.wake_all();
        if worked {
            core.shared.wake();
            self.pass_time(1);
        }
    }

    fn poll_task(&self, core: &Core, id: u64) {
        let Some(mut task) = core.tasks.borrow_mut().remove(&id) else { return };
        self.inner.borrow_mut().trace("run", u64::from(core.node.0) << 32 | u64::from(core.id.0), id);
        self.pass_time(1);
        task.wake.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.wake));
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_pending() && core.alive.get() {
            core.tasks.borrow_mut().insert(id, task);
        }
        self.wake_all();
    }
}

/// Prints the seed and the last events if the run panics.
struct ReportSeed<'a>(&'a World);

impl Drop for ReportSeed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(inner) = self.0.inner.try_borrow()
        {
            eprintln!(
                "simulation seed {:#x} failed at {} ns, step {}; last events:\n{}",
                inner.seed,
                inner.now_ns,
                inner.steps,
                inner.trace.recent()
            );
        }
    }
}

struct OpCell<T> {
    result: Option<T>,
    waker: Option<Waker>,
}

/// Waits for an event's result.
pub struct Op<T>(Rc<RefCell<OpCell<T>>>);

impl<T: 'static> Op<T> {
    /// Runs `run` after `delay_ns` on behalf of `core`, at once if it is dead; dropping the future does not stop it.
    pub fn start(
        inner: &mut Inner,
        delay_ns: u64,
        core: Option<&Rc<Core>>,
        run: impl FnOnce(&mut Inner, bool) -> T + 'static,
    ) -> Op<T> {
        let cell = Rc::new(RefCell::new(OpCell { result: None, waker: None }));
        let op = Op(Rc::clone(&cell));
        let delay_ns = if core.is_none_or(|c| c.alive.get()) { delay_ns } else { 0 };
        inner.schedule(delay_ns, core.cloned(), move |inner, alive| {
            let result = run(inner, alive);
            let mut cell = cell.borrow_mut();
            cell.result = Some(result);
            inner.wakes.extend(cell.waker.take());
        });
        op
    }
}

impl<T> Future for Op<T> {
    type Output = T;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut cell = self.0.borrow_mut();
        match cell.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                cell.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
