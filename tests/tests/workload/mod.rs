//! Sessions that write and read at random, and the model of what they were told.

mod tables;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use omen_core::env::Env;
use omen_core::env::sim::{NodeId, Sim, SimEnv};
use omen_core::id::TableId;
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{CatalogChange, ReadView, Router, Transaction};
use omen_core::row::{Row, RowReader};
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;
use omen_core::{Error, Result};

use tables::{KINDS, Kind, account, accounts_schema, read_table};

pub const NODE: NodeId = NodeId(0);
const CLIENTS: i64 = 4;
const KEYS_PER_CLIENT: u64 = 60;
const ACCOUNTS: i64 = 8;
const BALANCE: i64 = 1_000;

/// Rows of one client: (which table, number of the row) -> the row as bytes.
type Rows = BTreeMap<(usize, i64), Row>;

/// What one client knows: what was acknowledged, and what a statement under way may make of it.
#[derive(Clone, Default)]
struct Known {
    rows: Rows,
    pending: Option<Rows>,
}

/// A table and what its keys are.
#[derive(Clone, Copy)]
struct Table {
    id: TableId,
    kind: Kind,
}

/// The node under test and what is known of it.
pub struct World {
    config: NodeConfig,
    core_count: u16,
    cores: Vec<NodeCore<SimEnv>>,
    known: Vec<Rc<RefCell<Known>>>,
    tables: Vec<Table>,
    accounts: TableId,
    /// Reads at a snapshot that was held over flushes, compactions and writes.
    pub held: Rc<Cell<u64>>,
}

impl World {
    pub fn new(sim: &Sim) -> World {
        let core_count = 1 + sim.random_below(3) as u16;
        let mut config = NodeConfig::new(PathBuf::from("/data"), core_count, 1 << 20);
        config.shard.memtable_bytes = [24 << 10, 64 << 10, 192 << 10][sim.random_below(3) as usize];
        config.shard.cache_bytes = 64 << 10;
        config.shard.wal_file_bytes = 128 << 10;
        config.shard.wal_record_bytes_max = 60 << 10;
        config.shard.wal_bytes_max = 512 << 10;
        config.shard.segments_max = 1 + sim.random_below(3) as usize;
        config.shard.split_rows = 10 + sim.random_below(60) as usize;
        config.shard.lock_timeout = Duration::from_millis(20);
        config.shard.memory_timeout = Duration::from_millis(50);
        World {
            config,
            core_count,
            cores: Vec::new(),
            known: (0..CLIENTS).map(|_| Rc::default()).collect(),
            tables: Vec::new(),
            accounts: TableId(0),
            held: Rc::default(),
        }
    }

    /// Starts the node on the disk as it is.
    pub fn start(&mut self, sim: &Sim) -> Result<()> {
        self.cores.clear();
        let started: Rc<RefCell<Vec<Result<NodeCore<SimEnv>>>>> = Rc::default();
        for seat in mesh::connect(self.core_count, MESH_CAPACITY) {
            let env = sim.core(NODE, seat.core());
            let (config, started) = (self.config.clone(), started.clone());
            env.clone().spawn(async move {
                let core = NodeCore::start(env, seat, &config).await;
                started.borrow_mut().push(core);
            });
        }
        let all = usize::from(self.core_count);
        let done = sim.run_until(|| {
            let started = started.borrow();
            started.len() == all || started.iter().any(Result::is_err) || sim.is_trapped(NODE)
        });
        assert!(done, "seed {}: the start hangs", sim.seed());
        let whole = started.borrow().len() == all && started.borrow().iter().all(Result::is_ok);
        if !whole {
            sim.kill(NODE);
        }
        for core in started.take() {
            self.cores.push(core?);
        }
        if !whole {
            self.cores.clear();
        }
        self.cores.sort_by_key(|core| core.core());
        Ok(())
    }

    /// Whether the last start came to its end before the trap.
    pub fn is_up(&self) -> bool {
        !self.cores.is_empty()
    }

    /// Runs a task on a core and waits for it.
    fn on_core<T: 'static>(&self, sim: &Sim, core: usize, task: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        self.cores[core].env().spawn(async move {
            let value = task.await;
            *slot.borrow_mut() = Some(value);
        });
        assert!(sim.run_until(|| result.borrow().is_some()), "seed {}: a task hangs", sim.seed());
        result.take().expect("set before run_until ends")
    }

    fn create_table(&self, sim: &Sim, name: &str, schema: omen_core::catalog::TableSchema) -> TableId {
        let core = self.cores[0].clone();
        let change = CatalogChange::CreateTable { name: name.into(), schema };
        self.on_core(sim, 0, async move { core.change_catalog(change).await }).expect("room for a table")
    }

    /// Two tables with keys of different kinds, and the accounts.
    pub fn create_tables(&mut self, sim: &Sim) {
        let first = sim.random_below(KINDS.len() as u64) as usize;
        for (number, name) in ["first", "second"].into_iter().enumerate() {
            let kind = KINDS[(first + number) % KINDS.len()];
            let id = self.create_table(sim, name, kind.schema());
            self.tables.push(Table { id, kind });
        }
        self.accounts = self.create_table(sim, "accounts", accounts_schema());
        let (core, accounts) = (self.cores[0].clone(), self.accounts);
        let filled = self.on_core(sim, 0, async move {
            let mut batch = WriteBatch::new();
            for id in 0..ACCOUNTS {
                let (key, row) = account(id, BALANCE);
                batch.insert(&key, &row);
            }
            core.write_and_commit(core.begin(), accounts, batch).await
        });
        filled.expect("room for the accounts");
    }

    /// Writes so many more accounts, and compacts them while their ranges are still being cut.
    pub fn grow_and_vacuum(&self, sim: &Sim, count: i64) {
        let number = sim.random_below(self.cores.len() as u64) as usize;
        let (core, accounts) = (self.cores[number].clone(), self.accounts);
        let done = self.on_core(sim, number, async move {
            let mut batch = WriteBatch::new();
            for id in 0..count {
                let (key, row) = account(ACCOUNTS + id, BALANCE);
                batch.insert(&key, &row);
            }
            core.write_and_commit(core.begin(), accounts, batch).await?;
            core.vacuum(Some(accounts)).await
        });
        done.unwrap_or_else(|error| panic!("seed {}: {error}", sim.seed()));
    }

    pub fn spawn_clients(&self, sim: &Sim) {
        for (number, known) in self.known.iter().enumerate() {
            let core = self.cores[number % self.cores.len()].clone();
            let client = Client {
                number: number as i64,
                rng: Cell::new(sim.random_u64() | 1),
                seed: sim.seed(),
                tables: self.tables.clone(),
                accounts: self.accounts,
                known: known.clone(),
                held: self.held.clone(),
                core,
            };
            client.core.env().clone().spawn(async move { client.live().await });
        }
    }

    /// Closes the shards in order, while clients still try to write. False if the trap came first.
    pub fn close(&self, sim: &Sim) -> bool {
        let closed: Rc<Cell<usize>> = Rc::default();
        for core in &self.cores {
            let (shard, closed) = (core.shard().clone(), closed.clone());
            core.env().spawn(async move {
                shard.close().await.expect("nothing fails here");
                closed.set(closed.get() + 1);
            });
        }
        let done = sim.run_until(|| closed.get() == self.cores.len() || sim.is_trapped(NODE));
        assert!(done, "seed {}: closing hangs", sim.seed());
        closed.get() == self.cores.len()
    }

    /// Checks every block of every segment.
    pub fn verify(&self, sim: &Sim) -> Result<()> {
        for (number, core) in self.cores.iter().enumerate() {
            let shard = core.shard().clone();
            self.on_core(sim, number, async move { shard.verify().await })?;
        }
        Ok(())
    }

    /// Compares the contents with what the clients know. Only reading may fail.
    pub fn try_check(&mut self, sim: &Sim) -> Result<()> {
        let core = self.cores[sim.random_below(self.cores.len() as u64) as usize].clone();
        let (tables, accounts) = (self.tables.clone(), self.accounts);
        let number = usize::from(core.core().0);
        let (rows, money) = self.on_core(sim, number, async move {
            let txn = core.begin();
            let rows = read_tables(&core, txn.view(), &tables).await?;
            let money = read_money(&core, txn.view(), accounts).await?;
            Ok::<_, Error>((rows, money))
        })?;
        assert_eq!(money, (ACCOUNTS, ACCOUNTS * BALANCE), "seed {}: money", sim.seed());
        for (number, known) in self.known.iter().enumerate() {
            let mut known = known.borrow_mut();
            let own = own_rows(&rows, number as i64);
            let applied = known.pending.take();
            if own != known.rows && Some(&own) != applied.as_ref() {
                report(sim.seed(), number, &own, &known.rows, applied.as_ref());
            }
            known.rows = own;
        }
        Ok(())
    }
}

fn own_rows(rows: &Rows, client: i64) -> Rows {
    let own = rows.iter().filter(|((_, id), _)| id % CLIENTS == client);
    own.map(|(name, row)| (*name, row.clone())).collect()
}

fn report(seed: u64, client: usize, found: &Rows, rows: &Rows, pending: Option<&Rows>) -> ! {
    let wrong = |model: &Rows| -> Vec<String> {
        let names: BTreeSet<_> = model.keys().chain(found.keys()).collect();
        let differ = names.into_iter().filter(|name| model.get(name) != found.get(name));
        let told = |name| format!("{name:?}: expected {:?}, found {:?}", model.get(name), found.get(name));
        differ.take(5).map(told).collect()
    };
    panic!(
        "seed {seed}: client {client} finds neither what was acknowledged {:#?} nor what was under way {:#?}",
        wrong(rows),
        pending.map(wrong)
    );
}

async fn read_tables(core: &NodeCore<SimEnv>, view: ReadView, tables: &[Table]) -> Result<Rows> {
    let mut all = Rows::new();
    for (index, table) in tables.iter().enumerate() {
        let types = table.kind.types();
        let id = types.len() - 5;
        let rows = read_table(core, view, table.id, &types, id).await?;
        all.extend(rows.into_iter().map(|(id, row)| ((index, id), row)));
    }
    Ok(all)
}

/// How many accounts there are and what they hold together.
async fn read_money(core: &NodeCore<SimEnv>, view: ReadView, accounts: TableId) -> Result<(i64, i64)> {
    let rows = read_table(core, view, accounts, &[PgType::Int8; 2], 0).await?;
    Ok((rows.len() as i64, rows.values().map(|row| balance(row)).sum()))
}

fn balance(row: &[u8]) -> i64 {
    let mut reader = RowReader::new(row, 2).expect("a row");
    let _id = reader.next_datum(PgType::Int8).expect("an id");
    let Ok(Datum::Int8(balance)) = reader.next_datum(PgType::Int8) else { panic!("no balance") };
    balance
}

struct Client {
    number: i64,
    rng: Cell<u64>,
    seed: u64,
    tables: Vec<Table>,
    accounts: TableId,
    known: Rc<RefCell<Known>>,
    held: Rc<Cell<u64>>,
    core: NodeCore<SimEnv>,
}

impl Client {
    fn below(&self, bound: u64) -> u64 {
        let mut x = self.rng.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.rng.set(x);
        (x >> 11) % bound
    }

    async fn live(&self) {
        loop {
            let outcome = match self.below(24) {
                0..9 => self.write_at_once().await,
                9..12 => self.write_in_transaction().await,
                12..15 => self.transfer().await,
                15..17 => self.read().await,
                17 | 18 => self.hold().await,
                19..21 => self.core.checkpoint(None).await,
                21 => self.vacuum().await,
                _ => self.change_many().await,
            };
            match outcome {
                Ok(()) => {}
                Err(Error::ShardStopped { .. }) => return,
                Err(Error::Corrupt { place, detail }) => {
                    panic!("seed {}: corrupt {place}: {detail}", self.seed)
                }
                Err(_) => {}
            }
            self.core.env().sleep(Duration::from_micros(self.below(2_000))).await;
        }
    }

    fn table(&self) -> usize {
        self.below(self.tables.len() as u64) as usize
    }

    fn id(&self) -> i64 {
        self.below(KEYS_PER_CLIENT) as i64 * CLIENTS + self.number
    }

    async fn vacuum(&self) -> Result<()> {
        let table = (self.below(3) > 0).then(|| self.tables[self.table()].id);
        self.core.vacuum(table).await
    }

    /// Random changes of `count` own keys of one table that are right for `rows`.
    fn changes(&self, table: usize, count: u64, rows: &mut Rows) -> WriteBatch {
        let kind = self.tables[table].kind;
        let mut batch = WriteBatch::new();
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            let id = self.id();
            if !seen.insert(id) {
                continue;
            }
            let row = kind.row(id, |bound| self.below(bound));
            match rows.contains_key(&(table, id)) {
                true if self.below(3) == 0 => {
                    batch.delete(&kind.key(id));
                    rows.remove(&(table, id));
                }
                true => {
                    batch.update(&kind.key(id), &row);
                    rows.insert((table, id), row);
                }
                false => {
                    batch.insert(&kind.key(id), &row);
                    rows.insert((table, id), row);
                }
            }
        }
        batch
    }

    /// The statement was acknowledged or refused.
    fn settle(&self, result: Result<()>) -> Result<()> {
        let mut known = self.known.borrow_mut();
        match &result {
            Ok(()) => known.rows = known.pending.take().expect("set before the statement"),
            // The log has failed: the statement may be in it or not.
            Err(Error::ShardStopped { .. }) => {}
            Err(_) => known.pending = None,
        }
        result
    }

    async fn write_at_once(&self) -> Result<()> {
        self.write(1 + self.below(3) * self.below(12)).await
    }

    /// Most of the client's rows at once: versions for compactions to drop.
    async fn change_many(&self) -> Result<()> {
        self.write(20 + self.below(40)).await
    }

    async fn write(&self, count: u64) -> Result<()> {
        let table = self.table();
        let mut rows = self.known.borrow().rows.clone();
        let batch = self.changes(table, count, &mut rows);
        self.known.borrow_mut().pending = Some(rows);
        let txn = self.core.begin();
        self.settle(self.core.write_and_commit(txn, self.tables[table].id, batch).await)
    }

    async fn write_in_transaction(&self) -> Result<()> {
        let mut txn = self.core.begin();
        let mut rows = self.known.borrow().rows.clone();
        for _ in 0..1 + self.below(3) {
            let table = self.table();
            let batch = self.changes(table, 1 + self.below(3) * self.below(12), &mut rows);
            self.core.write(&mut txn, self.tables[table].id, batch).await?;
        }
        let seen = read_tables(&self.core, txn.view(), &self.tables).await?;
        self.compare("inside a transaction", &seen, &rows);
        if self.below(4) == 0 {
            self.core.rollback(txn).await;
            return Ok(());
        }
        self.known.borrow_mut().pending = Some(rows);
        self.settle(self.core.commit(txn).await)
    }

    fn compare(&self, when: &str, seen: &Rows, expected: &Rows) {
        let own = own_rows(seen, self.number);
        if own != *expected {
            println!("client {} {when}", self.number);
            report(self.seed, self.number as usize, &own, expected, None);
        }
    }

    /// Moves money between two accounts; the sum stays.
    async fn transfer(&self) -> Result<()> {
        let mut txn = self.core.begin();
        let from = self.below(ACCOUNTS as u64) as i64;
        let to = (from + 1 + self.below(ACCOUNTS as u64 - 1) as i64) % ACCOUNTS;
        let amount = self.below(100) as i64;
        let keys = vec![account(from, 0).0, account(to, 0).0];
        let rows = self.core.get_many(self.accounts, txn.view(), keys).await?;
        let mut batch = WriteBatch::new();
        for ((id, change), row) in [(from, -amount), (to, amount)].into_iter().zip(rows) {
            let row = row.expect("accounts are never deleted");
            let (key, row) = account(id, balance(&row) + change);
            batch.update(&key, &row);
        }
        if self.below(2) == 0 {
            return self.core.write_and_commit(txn, self.accounts, batch).await;
        }
        self.core.write(&mut txn, self.accounts, batch).await?;
        self.core.commit(txn).await
    }

    async fn read(&self) -> Result<()> {
        let txn = self.core.begin();
        let expected = self.known.borrow().rows.clone();
        let money = read_money(&self.core, txn.view(), self.accounts).await?;
        assert_eq!(money, (ACCOUNTS, ACCOUNTS * BALANCE), "seed {}: half a transfer", self.seed);
        self.read_at(txn.view(), &expected).await
    }

    /// Reads own rows by scan and by key.
    async fn read_at(&self, view: ReadView, expected: &Rows) -> Result<()> {
        let seen = read_tables(&self.core, view, &self.tables).await?;
        self.compare("at a snapshot", &seen, expected);
        for _ in 0..5 {
            let (table, id) = (self.table(), self.id());
            let Table { id: table_id, kind } = self.tables[table];
            let columns = (0..kind.types().len()).collect();
            let found = self.core.get(table_id, view, kind.key(id), columns).await?;
            let model = expected.get(&(table, id));
            assert_eq!(found.as_ref(), model, "seed {}: point read of {id} in table {table}", self.seed);
        }
        Ok(())
    }

    /// Holds a snapshot while rows change and versions move: it sees what it saw.
    async fn hold(&self) -> Result<()> {
        let txn = self.core.begin();
        let expected = self.known.borrow().rows.clone();
        for _ in 0..1 + self.below(3) {
            let changed = self.change_many().await;
            if let Err(Error::ShardStopped { .. }) = changed {
                return changed;
            }
            match self.below(2) {
                0 => self.core.checkpoint(None).await?,
                _ => self.vacuum().await?,
            }
        }
        self.read_at(txn.view(), &expected).await?;
        self.held.set(self.held.get() + 1);
        Ok(())
    }
}
