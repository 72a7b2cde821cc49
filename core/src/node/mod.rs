//! One core of a node: its shard, its way to the other cores, and the newest catalog.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | start, messages in and out, serving requests |
//! | `message.rs` | what cores say to each other |
//! | `router.rs` | `Router` for this core: where rows are, retries when they move |
//! | `transaction.rs` | transactions of this core's sessions; commit over several cores |
//! | `cursor.rs` | scans over several ranges |
//! | `meta.rs` | core 0: the catalog and its changes |
//!
//! Invariant: a request is answered exactly once, and every message carries the sender's clock.

mod cursor;
pub mod message;
mod meta;
mod placement;
mod router;
mod transaction;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::clock::{Clock, Timestamp};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{CoreId, TxnId};
use crate::mesh::{Full, Outbox, Seat};
use crate::router::{CancelFlag, SessionId};
use crate::shard::{Recovered, Shard, ShardConfig};
use crate::statistics::TableStatistics;
use crate::sync::{Receiver, Sender, Signal, oneshot};
use crate::temporary::TemporaryFiles;

pub use cursor::NodeCursor;
use message::{Body, CallId, Message, Notice, Reply, Request};
use meta::Meta;
pub use transaction::NodeTxn;

/// Messages between one pair of cores that may be on their way.
pub const MESH_CAPACITY: usize = 1_024;
/// Most cores of a node: row ids keep 7 bits for one.
pub const CORES_MAX: u16 = 127;
/// Numbers for transactions and row ids are reserved in the manifest in blocks of this size.
const SEQUENCE_BLOCK: u64 = 1 << 28;
/// Pause before a message that found its ring and its waiting room full is sent again.
const CROWDED_PAUSE: Duration = Duration::from_micros(200);
/// The core that keeps the catalog.
const META_CORE: CoreId = CoreId(0);

/// Sizes of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Data directory; each shard has a folder in it.
    pub dir: PathBuf,
    /// Sizes of each shard, its directory left aside.
    pub shard: ShardConfig,
    /// The folder below which statements may read files; none may if it is not there.
    pub read_files_below: Option<PathBuf>,
}

impl NodeConfig {
    /// A node of `core_count` cores that may use `memory_bytes` in all.
    pub fn new(dir: PathBuf, core_count: u16, memory_bytes: usize) -> NodeConfig {
        let shard = ShardConfig::new(&dir, memory_bytes / usize::from(core_count.max(1)));
        NodeConfig { dir, shard, read_files_below: None }
    }

    /// The directory of a core's shard.
    pub fn shard_dir(&self, core: CoreId) -> PathBuf {
        self.dir.join(format!("shard-{:03}", core.0))
    }
}

/// One core's place in its node; implements `Router`. A cheap handle; `!Send`.
pub struct NodeCore<E: Env>(Rc<Local<E>>);

impl<E: Env> Clone for NodeCore<E> {
    fn clone(&self) -> Self {
        NodeCore(self.0.clone())
    }
}

pub(crate) struct Local<E: Env> {
    env: E,
    core: CoreId,
    shard: Shard<E>,
    outbox: Outbox<Message>,
    /// One for each core, so that cores do not count references on one cache line.
    readings: Arc<router::Readings>,
    clock: Rc<Clock>,
    calls: RefCell<Calls>,
    catalog: RefCell<Arc<Catalog>>,
    /// A newer catalog has come.
    catalog_changed: Signal,
    /// Snapshots in use on this core, and how often.
    snapshots: RefCell<BTreeMap<Timestamp, u32>>,
    sequence: Sequence,
    sessions: RefCell<HashMap<SessionId, (u32, CancelFlag)>>,
    sessions_total: Cell<u32>,
    scans_total: Cell<u64>,
    row_id_core: Cell<u16>,
    temporary: TemporaryFiles<E>,
    read_files_below: Option<PathBuf>,
    meta: Meta,
}

/// Numbers that are never handed out twice on this core.
struct Sequence {
    next: Cell<u64>,
    end: Cell<u64>,
    refilling: Cell<bool>,
}

/// Requests that wait for their answer.
#[derive(Default)]
struct Calls {
    waiting: Vec<Option<Sender<Result<Reply>>>>,
    free: Vec<CallId>,
}

impl Calls {
    fn add(&mut self, sender: Sender<Result<Reply>>) -> CallId {
        match self.free.pop() {
            Some(id) => {
                self.waiting[id as usize] = Some(sender);
                id
            }
            None => {
                self.waiting.push(Some(sender));
                CallId::try_from(self.waiting.len() - 1).expect("sessions are bounded")
            }
        }
    }

    fn take(&mut self, id: CallId) -> Option<Sender<Result<Reply>>> {
        let sender = self.waiting.get_mut(id as usize)?.take();
        if sender.is_some() {
            self.free.push(id);
        }
        sender
    }
}

impl<E: Env> NodeCore<E> {
    /// Opens the core's shard, joins the other cores and waits until all have recovered.
    ///
    /// # Errors
    /// If the shard cannot be opened. The other cores then wait for ever: the process must end.
    pub async fn start(env: E, seat: Seat<Message>, config: &NodeConfig) -> Result<NodeCore<E>> {
        let core = seat.core();
        let clock = Rc::new(Clock::new());
        let shard_config = ShardConfig { dir: config.shard_dir(core), ..config.shard.clone() };
        let Recovered { shard, in_doubt } =
            Shard::open(env.clone(), core, clock.clone(), shard_config).await?;
        let temporary = TemporaryFiles::open(env.clone(), &config.shard_dir(core)).await?;
        let first = shard.reserve_sequence(SEQUENCE_BLOCK).await?;
        let (outbox, mut inbox) = seat.join(env.waker());
        assert!(outbox.core_count() <= CORES_MAX, "a node has at most {CORES_MAX} cores");
        let local = Rc::new(Local {
            core,
            shard,
            readings: Arc::new(router::Readings {
                clock: env.shared_clock(),
                messages: outbox.message_count(),
            }),
            outbox,
            clock,
            calls: RefCell::default(),
            catalog: RefCell::default(),
            catalog_changed: Signal::default(),
            snapshots: RefCell::default(),
            sequence: Sequence {
                next: Cell::new(first),
                end: Cell::new(first + SEQUENCE_BLOCK),
                refilling: Cell::new(false),
            },
            sessions: RefCell::default(),
            sessions_total: Cell::new(0),
            scans_total: Cell::new(0),
            row_id_core: Cell::new(core.0),
            temporary,
            read_files_below: config.read_files_below.clone(),
            meta: Meta::default(),
            env: env.clone(),
        });
        local.connect_shard();
        let receiver = local.clone();
        env.on_turn(move || inbox.turn(|from, message| receiver.receive(from, message)));
        local.recover(in_doubt).await?;
        Ok(NodeCore(local))
    }

    /// The core's shard.
    pub fn shard(&self) -> &Shard<E> {
        &self.0.shard
    }

    /// What this core runs in.
    pub fn env(&self) -> &E {
        &self.0.env
    }
}

impl<E: Env> Local<E> {
    /// Gives the shard what it needs from the node. Weak, so that a node that ends is freed.
    fn connect_shard(self: &Rc<Self>) {
        let node = Rc::downgrade(self);
        self.shard.on_oldest_snapshot(Box::new(move || {
            let node = node.upgrade();
            Box::pin(async move {
                match node {
                    Some(node) => node.oldest_snapshot_of_node().await.unwrap_or(Timestamp::ZERO),
                    None => Timestamp::ZERO,
                }
            })
        }));
        let node = Rc::downgrade(self);
        self.shard.on_split_wanted(move |range| {
            if let Some(node) = node.upgrade() {
                drop(node.start_call(META_CORE, Request::Split(range)));
            }
        });
    }

    async fn recover(self: &Rc<Self>, in_doubt: Vec<TxnId>) -> Result<()> {
        for txn in in_doubt {
            let Reply::Outcome(outcome) = self.call(txn.coordinator(), Request::Decision(txn)).await? else {
                unreachable!("a decision is answered by an outcome");
            };
            self.shard.resolve(txn, outcome).await?;
        }
        if self.core == META_CORE {
            self.load_catalog().await?;
        }
        let Reply::Catalog(catalog) = self.call(META_CORE, Request::Join).await? else {
            unreachable!("joining is answered by the catalog");
        };
        self.shard.forget_all();
        self.install_catalog(catalog);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.clock.tick(self.env.wall_clock_ns())
    }

    fn cores(&self) -> impl Iterator<Item = CoreId> + use<E> {
        (0..self.outbox.core_count()).map(CoreId)
    }

    /// Asks a core, maybe this one, and waits for the answer.
    async fn call(self: &Rc<Self>, to: CoreId, request: Request) -> Result<Reply> {
        if to == self.core {
            return self.serve(request).await;
        }
        received(self.start_call(to, request)).await
    }

    /// Asks every core and waits for all answers.
    async fn call_all(self: &Rc<Self>, mut request: impl FnMut() -> Request) -> Result<Vec<Reply>> {
        let calls: Vec<_> = self.cores().map(|core| self.start_call(core, request())).collect();
        let mut replies = Vec::with_capacity(calls.len());
        for call in calls {
            replies.push(received(call).await?);
        }
        Ok(replies)
    }

    /// Asks a core, maybe this one; the answer comes while the caller does something else.
    fn start_call(self: &Rc<Self>, to: CoreId, request: Request) -> Receiver<Result<Reply>> {
        let (sender, receiver) = oneshot();
        if to == self.core {
            let node = self.clone();
            self.env.spawn(async move { sender.send(node.serve(request).await) });
        } else {
            let call = self.calls.borrow_mut().add(sender);
            self.send(to, Body::Request(call, request));
        }
        receiver
    }

    /// Sends, at once if there is room, in the background otherwise. Requests are bounded by the sessions that wait
    /// for their answers, so the background is too.
    fn send(self: &Rc<Self>, to: CoreId, body: Body) {
        let message = Message { clock: self.now(), body };
        let Err(Full(message)) = self.outbox.try_send(to, message) else { return };
        let node = self.clone();
        self.env.spawn(async move {
            let mut message = message;
            while let Err(Full(back)) = node.outbox.send(to, message).await {
                message = back;
                node.env.sleep(CROWDED_PAUSE).await;
            }
        });
    }

    /// Takes one message. Runs in the turn's hook: what needs waiting becomes a task.
    fn receive(self: &Rc<Self>, from: CoreId, message: Message) {
        self.clock.observe(message.clock);
        match message.body {
            Body::Request(call, request) => {
                if let Some(reply) = self.serve_at_once(&request) {
                    return self.send(from, Body::Reply(call, reply));
                }
                let node = self.clone();
                self.env.spawn(async move {
                    let reply = node.serve(request).await;
                    node.send(from, Body::Reply(call, reply));
                });
            }
            Body::Reply(call, reply) => {
                let sender = self.calls.borrow_mut().take(call);
                sender.expect("a request is answered once").send(reply);
            }
            Body::Notice(notice) => self.heed(notice),
        }
    }

    fn heed(&self, notice: Notice) {
        match notice {
            Notice::Abort(txn) => self.shard.abort(txn),
            Notice::CloseScan(scan) => self.shard.close_scan(scan),
            Notice::Cancel(session, secret) => {
                if let Some((expected, flag)) = self.sessions.borrow().get(&session)
                    && *expected == secret
                {
                    flag.set(true);
                }
            }
        }
    }

    fn notify(self: &Rc<Self>, to: CoreId, notice: Notice) {
        match to == self.core {
            true => self.heed(notice),
            false => self.send(to, Body::Notice(notice)),
        }
    }

    /// The answer to requests that need no waiting, without a task.
    fn serve_at_once(&self, request: &Request) -> Option<Result<Reply>> {
        match request {
            Request::Get { range, view, key, columns } => {
                let row = self.shard.try_get(*range, *view, key, columns)?;
                Some(row.map(Reply::Row))
            }
            Request::OldestSnapshot => Some(Ok(Reply::At(self.oldest_snapshot()))),
            Request::Decision(txn) => Some(Ok(Reply::Outcome(self.shard.decision(*txn)))),
            _ => None,
        }
    }

    async fn serve(self: &Rc<Self>, request: Request) -> Result<Reply> {
        if let Some(reply) = self.serve_at_once(&request) {
            return reply;
        }
        let shard = &self.shard;
        Ok(match request {
            Request::Get { range, view, key, columns } => {
                Reply::Row(shard.get(range, view, &key, &columns).await?)
            }
            Request::GetMany { range, view, keys, columns } => {
                let mut rows = Vec::with_capacity(keys.len());
                for key in keys {
                    rows.push(shard.get(range, view, &key, &columns).await?);
                }
                Reply::Rows(rows)
            }
            Request::Write { range, view, batch, mode } => {
                shard.write(range, view, &batch, mode).await?;
                Reply::Done
            }
            Request::Commit(txn) => Reply::At(shard.commit(txn).await?),
            Request::Prepare(txn) => Reply::At(shard.prepare(txn).await?),
            Request::Resolve(txn, outcome) => done(shard.resolve(txn, outcome).await)?,
            Request::OpenScan(open) => Reply::Part(shard.open_scan(*open).await?),
            Request::NextScan(id) => Reply::Part(shard.next_scan(id).await?),
            Request::BeginHandover(range, parts) => {
                Reply::Plan(Box::new(shard.begin_handover(range, parts).await?))
            }
            Request::EndHandover(range) => {
                shard.end_handover(range);
                Reply::Done
            }
            Request::InstallRange(new, image) => done(shard.install_range(*new, image).await)?,
            Request::Checkpoint(table) => done(shard.checkpoint(table).await)?,
            Request::Vacuum(ranges) => Reply::Vacuumed(shard.vacuum(&ranges).await?),
            Request::SizeOf(ranges) => {
                Reply::Bytes(ranges.into_iter().map(|range| shard.range_size_bytes(range)).sum())
            }
            Request::EstimateRows(ranges, spans) => {
                let spans = || spans.iter();
                let rows = |range| spans().map(|span| shard.estimate_rows(range, span)).sum::<u64>();
                Reply::Count(ranges.into_iter().map(rows).sum())
            }
            Request::CutAfter(range, span, rows, order) => {
                let (key, count) = shard.cut_after(range, &span, rows, order);
                Reply::Cut(key, count)
            }
            Request::Statistics(ranges, spans, filters) => {
                let mut all = TableStatistics::default();
                for range in ranges {
                    all.merge(&shard.statistics(range, &spans, &filters));
                }
                Reply::Statistics(Box::new(all))
            }
            Request::InstallCatalog(catalog) => {
                self.install_catalog(catalog);
                Reply::Done
            }
            // Boxed: what they do asks cores in turn, maybe this one.
            Request::Join => Reply::Catalog(self.admit_core().await),
            Request::ChangeCatalog(change) => Reply::Table(Box::pin(self.change(*change)).await?),
            Request::Split(range) => done(Box::pin(self.split(range)).await)?,
            Request::OldestSnapshot | Request::Decision(_) => unreachable!("served at once"),
        })
    }

    /// Takes a newer catalog; ranges that it does not name are dropped in the background.
    fn install_catalog(self: &Rc<Self>, catalog: Arc<Catalog>) {
        if catalog.version < self.catalog.borrow().version {
            return;
        }
        let named: HashSet<_> =
            catalog.tables().flat_map(|table| &table.ranges).map(|range| range.id).collect();
        self.catalog.replace(catalog);
        self.catalog_changed.notify();
        let ranges = self.shard.ranges();
        let orphans: Vec<_> = ranges
            .into_iter()
            .filter(|(range, table)| !named.contains(range) && *table != meta::SYSTEM_TABLE)
            .collect();
        if orphans.is_empty() {
            return;
        }
        let node = self.clone();
        self.env.spawn(async move {
            for (range, _) in orphans {
                // What cannot be dropped now is dropped with the next catalog or at the next start.
                let _ = node.shard.drop_range(range).await;
            }
        });
    }

    fn oldest_snapshot(&self) -> Timestamp {
        let now = self.now();
        self.snapshots.borrow().first_key_value().map_or(now, |(oldest, _)| *oldest)
    }

    async fn oldest_snapshot_of_node(self: &Rc<Self>) -> Result<Timestamp> {
        let replies = self.call_all(|| Request::OldestSnapshot).await?;
        let oldest = replies.into_iter().map(|reply| match reply {
            Reply::At(at) => at,
            _ => unreachable!("the oldest snapshot is a timestamp"),
        });
        Ok(oldest.min().unwrap_or(Timestamp::ZERO))
    }

    /// `count` numbers in a row; the first is returned.
    fn take_numbers(self: &Rc<Self>, count: u64) -> u64 {
        let sequence = &self.sequence;
        let first = sequence.next.get();
        sequence.next.set(first + count);
        assert!(first + count <= sequence.end.get(), "numbers are used faster than they can be reserved");
        if sequence.end.get() - sequence.next.get() < SEQUENCE_BLOCK / 2 && !sequence.refilling.replace(true)
        {
            let node = self.clone();
            self.env.spawn(async move {
                if let Ok(first) = node.shard.reserve_sequence(SEQUENCE_BLOCK).await {
                    debug_assert_eq!(first, node.sequence.end.get(), "blocks follow each other");
                    node.sequence.end.set(first + SEQUENCE_BLOCK);
                }
                node.sequence.refilling.set(false);
            });
        }
        first
    }
}

fn done(result: Result<()>) -> Result<Reply> {
    result.map(|()| Reply::Done)
}

/// The answer to a call.
async fn received(mut call: Receiver<Result<Reply>>) -> Result<Reply> {
    answered(&mut call).await
}

/// The answer to a call that stays with its owner while it waits.
async fn answered(call: &mut Receiver<Result<Reply>>) -> Result<Reply> {
    let reply = call.receive().await;
    reply.unwrap_or_else(|| Err(Error::ShardStopped { reason: "the core has stopped".into() }))
}
