//! What sessions wait for while their core flushes and merges: point reads and durable updates of one row, at a fixed
//! rate whatever the answers take, on a node of one core.
//!
//! `latency all DIRECTORY [NAME=NUMBER]...` makes a node in the directory with a table for the sessions (`rows` wide
//! rows) and one to merge (`merge_rows` wide rows). Then, in `rounds` rounds, sessions are at work for `ms` milliseconds
//! each while nothing else is (`idle`), while one session loads narrow rows of random keys into a third table as fast as
//! it can, in batches of 1,000 (`load`), and while VACUUM rewrites the table to merge (`merge`). `reads` and `writes` are
//! rates per second. A time begins when the request was due.
//!
//! `step` is how long all other tasks of the core together kept one that is always ready waiting for its next turn, without
//! the time in which other programs had the CPU. That task keeps the core from sleeping, so these times are of phases of
//! their own, of `step_ms` milliseconds; 0 leaves them out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, process};

use hdrhistogram::Histogram;
use omen_core::env::Env;
use omen_core::env::uring::{CoreOptions, UringEnv, allowed_cpus, start};
use omen_core::error::Result;
use omen_core::id::TableId;
use omen_core::key::Key;
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{CatalogChange, Router, Transaction};
use omen_core::write_batch::WriteBatch;
use omen_perf::args::{Args, print_result};
use omen_perf::rows::{self, mix};
use omen_perf::tables::{narrow_schema, wide_schema};
use omen_perf::usage::thread_waited;
use omen_perf::{histogram, quantile_us};

type Node = NodeCore<UringEnv>;

/// Sessions that read, and as many that write: one that is late makes up for it.
const SESSIONS: u32 = 16;
/// Rows of a batch.
const BATCH: u64 = 1_000;
/// Of the table to merge, each of so many rows is changed before it is merged.
const CHANGED_EACH: u64 = 1_000;

/// In shorter steps no other program can have had the CPU for long.
const STEP_LONG: Duration = Duration::from_micros(20);

/// What goes on beside the sessions.
#[derive(Clone, Copy)]
enum Beside {
    Idle,
    Load,
    Merge,
}

impl Beside {
    const ALL: [Beside; 3] = [Beside::Idle, Beside::Load, Beside::Merge];

    fn name(self) -> &'static str {
        ["idle", "load", "merge"][self as usize]
    }
}

/// Times of the sessions.
struct Times {
    reads: RefCell<Histogram<u64>>,
    writes: RefCell<Histogram<u64>>,
    steps: RefCell<Histogram<u64>>,
}

/// The tables, and how far work on them has come.
#[derive(Clone)]
struct World {
    node: Node,
    args: Args,
    foreground: TableId,
    merged: TableId,
    loaded: TableId,
    next_load: Rc<Cell<u64>>,
    next_change: Rc<Cell<u64>>,
    next_request: Rc<Cell<u64>>,
    running: Rc<Cell<bool>>,
    /// Sessions send requests.
    at_work: Rc<Cell<bool>>,
}

fn main() {
    let Some(args) = Args::parse(env::args().skip(1)) else {
        eprintln!("usage: latency all DIRECTORY [NAME=NUMBER]...");
        process::exit(2);
    };
    let memory = args.number("memory_mib", 128) as usize;
    let config = NodeConfig::new(args.dir.clone(), 1, memory << 20);
    let seat = mesh::connect(1, MESH_CAPACITY).remove(0);
    let cpu = allowed_cpus().first().copied();
    let handle = start(CoreOptions::new(seat.core(), cpu), move |env| async move {
        let node = NodeCore::start(env, seat, &config).await.expect("a node starts");
        measure(&node, &args).await.expect("no errors");
        process::exit(0);
    });
    drop(handle.expect("a core starts").join());
}

async fn measure(node: &Node, args: &Args) -> Result<()> {
    let world = World::fill(node, args).await?;
    let times: Vec<Rc<Times>> = Beside::ALL.iter().map(|_| Rc::new(Times::new())).collect();
    let mut rates = [0.0; 3];
    let rounds = args.number("rounds", 3);
    let phase = Duration::from_millis(args.number("ms", 2_000));
    let steps = Duration::from_millis(args.number("step_ms", 1_000));
    for _ in 0..rounds {
        for beside in Beside::ALL {
            let rate = world.phase(beside, phase, &times[beside as usize]).await?;
            rates[beside as usize] += rate / rounds as f64;
        }
        for beside in Beside::ALL {
            let watched = Rc::new(Times::new());
            let watching = world.watch_steps(&times[beside as usize]);
            if !steps.is_zero() {
                world.phase(beside, steps, &watched).await?;
            }
            watching.set(false);
        }
    }
    for beside in Beside::ALL {
        let times = &times[beside as usize];
        for (what, times) in [("read", &times.reads), ("write", &times.writes), ("step", &times.steps)] {
            let times = times.borrow();
            if times.is_empty() {
                continue;
            }
            print_result(
                &format!("latency_{what}_{}", beside.name()),
                "omendb",
                &[
                    ("p50_us", quantile_us(&times, 0.5)),
                    ("p99_us", quantile_us(&times, 0.99)),
                    ("p999_us", quantile_us(&times, 0.999)),
                    ("max_us", quantile_us(&times, 1.0)),
                    ("rows_beside_per_second", rates[beside as usize]),
                ],
            );
        }
    }
    Ok(())
}

impl Times {
    fn new() -> Times {
        let new = || RefCell::new(histogram());
        Times { reads: new(), writes: new(), steps: new() }
    }
}

impl World {
    async fn fill(node: &Node, args: &Args) -> Result<World> {
        let mut tables = Vec::new();
        for (name, schema, rows) in [
            ("foreground", wide_schema(), args.number("rows", 100_000)),
            ("merged", wide_schema(), args.number("merge_rows", 1_000_000)),
            ("loaded", narrow_schema(), 0),
        ] {
            let create = CatalogChange::CreateTable { name: name.into(), schema };
            let table = node.change_catalog(create).await?;
            put(node, table, 0..rows, |number| number, WriteBatch::insert).await?;
            tables.push(table);
        }
        node.checkpoint(None).await?;
        node.vacuum(None).await?;
        Ok(World {
            node: node.clone(),
            args: args.clone(),
            foreground: tables[0],
            merged: tables[1],
            loaded: tables[2],
            next_load: Rc::default(),
            next_change: Rc::default(),
            next_request: Rc::default(),
            running: Rc::default(),
            at_work: Rc::default(),
        })
    }

    /// Answers how many rows were loaded or merged in a second.
    async fn phase(&self, beside: Beside, time: Duration, times: &Rc<Times>) -> Result<f64> {
        let change = CHANGED_EACH * self.next_change.replace(self.next_change.get() + 1);
        if let Beside::Merge = beside {
            let rows = (0..self.merge_rows()).step_by(CHANGED_EACH as usize);
            put(&self.node, self.merged, rows, |number| number ^ change, WriteBatch::update).await?;
        }
        // What earlier rounds left to flush and merge.
        self.node.checkpoint(None).await?;
        self.node.env().sleep(Duration::from_millis(300)).await;
        self.running.set(true);
        let done = Rc::new(Cell::new((false, 0.0)));
        let (world, ended) = (self.clone(), done.clone());
        self.node.env().spawn(async move {
            let began = Instant::now();
            let rows = match beside {
                Beside::Idle => 0,
                Beside::Load => world.load().await.expect("keys differ"),
                Beside::Merge => {
                    world.node.vacuum(Some(world.merged)).await.expect("the disk works");
                    world.merge_rows()
                }
            };
            ended.set((true, rows as f64 / began.elapsed().as_secs_f64()));
            world.running.set(false);
        });
        self.at_work.set(true);
        self.requests(time, matches!(beside, Beside::Idle), times).await;
        self.at_work.set(false);
        self.running.set(false);
        while !done.get().0 {
            self.node.env().sleep(Duration::from_millis(1)).await;
        }
        Ok(done.get().1)
    }

    /// Records steps while sessions are at work, until it is told to stop.
    fn watch_steps(&self, times: &Rc<Times>) -> Rc<Cell<bool>> {
        let (world, times, watching) = (self.clone(), times.clone(), Rc::new(Cell::new(true)));
        let watched = watching.clone();
        self.node.env().spawn(async move {
            let mut waited = thread_waited();
            while watched.get() {
                if !world.at_work.get() {
                    world.node.env().sleep(Duration::from_millis(1)).await;
                    waited = thread_waited();
                    continue;
                }
                let from = Instant::now();
                world.node.env().yield_now().await;
                let mut took = from.elapsed();
                if took > STEP_LONG {
                    let before = std::mem::replace(&mut waited, thread_waited());
                    took = took.saturating_sub(waited - before);
                }
                times.steps.borrow_mut().saturating_record(took.as_nanos() as u64);
            }
        });
        watching
    }

    fn merge_rows(&self) -> u64 {
        self.args.number("merge_rows", 1_000_000)
    }

    async fn load(&self) -> Result<u64> {
        let (mut row, mut count) = (Vec::new(), 0);
        while self.running.get() {
            let first = self.next_load.replace(self.next_load.get() + BATCH);
            let mut batch = WriteBatch::new();
            for number in first..first + BATCH {
                let id = mix(number) as i64;
                rows::narrow(id).encode(&mut row);
                batch.insert(&rows::key(id), &row);
            }
            self.node.write_and_commit(self.node.begin(), self.loaded, batch).await?;
            count += BATCH;
        }
        Ok(count)
    }

    /// Sessions send requests when they are due, until the time is over or there is nothing beside them any more.
    async fn requests(&self, time: Duration, idle: bool, times: &Rc<Times>) {
        let (reads, writes) = (self.args.number("reads", 1_000), self.args.number("writes", 200));
        let began = Instant::now();
        let sessions = Rc::new(Cell::new(0));
        for session in 0..2 * SESSIONS {
            let is_read = session % 2 == 0;
            let gap = Duration::from_secs(1) / if is_read { reads } else { writes } as u32;
            let (world, times, sessions) = (self.clone(), times.clone(), sessions.clone());
            sessions.set(sessions.get() + 1);
            self.node.env().spawn(async move {
                let mut due = began + gap * (session / 2);
                while due.duration_since(began) < time && (idle || world.running.get()) {
                    world.node.env().sleep(due.saturating_duration_since(Instant::now())).await;
                    let done = if is_read { world.read().await } else { world.write().await };
                    done.expect("the row is there");
                    let histogram = if is_read { &times.reads } else { &times.writes };
                    histogram.borrow_mut().saturating_record(due.elapsed().as_nanos() as u64);
                    due += gap * SESSIONS;
                }
                sessions.set(sessions.get() - 1);
            });
        }
        while sessions.get() > 0 {
            self.node.env().sleep(Duration::from_millis(1)).await;
        }
    }

    /// A row of the sessions' table, never one that another request is at work on.
    fn next_row(&self) -> u64 {
        let number = self.next_request.replace(self.next_request.get() + 1);
        number.wrapping_mul(7_919) % self.args.number("rows", 100_000)
    }

    async fn read(&self) -> Result<()> {
        let key = Key::from_bytes(&rows::key(rows::wide_id(self.next_row())));
        let columns: Arc<[usize]> = (0..rows::WIDE_COLUMNS).collect();
        let txn = self.node.begin();
        let row = self.node.get(self.foreground, txn.view(), key, columns).await?;
        assert!(row.is_some(), "the row was loaded");
        Ok(())
    }

    async fn write(&self) -> Result<()> {
        let number = self.next_row();
        put(&self.node, self.foreground, number..number + 1, |number| number + 1, WriteBatch::update).await
    }
}

/// Writes the rows of these numbers, with values of another, in durable batches.
async fn put(
    node: &Node,
    table: TableId,
    numbers: impl Iterator<Item = u64>,
    values_of: impl Fn(u64) -> u64,
    write: fn(&mut WriteBatch, &[u8], &[u8]),
) -> Result<()> {
    let mut numbers = numbers.peekable();
    let mut row = Vec::new();
    while numbers.peek().is_some() {
        let mut batch = WriteBatch::new();
        for number in numbers.by_ref().take(BATCH as usize) {
            let id = rows::wide_id(number);
            rows::Wide { id, ..rows::wide(values_of(number)) }.encode(&mut row);
            write(&mut batch, &rows::key(id), &row);
        }
        node.write_and_commit(node.begin(), table, batch).await?;
    }
    Ok(())
}
