//! Sessions that write and read at random, and the model of what they were told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use omen_core::catalog::{Column, TableSchema};
use omen_core::env::Env;
use omen_core::env::sim::{NodeId, Sim, SimEnv};
use omen_core::error::ValueError;
use omen_core::fragment::{Flow, Fragment, FragmentRun};
use omen_core::id::TableId;
use omen_core::key::{Key, KeySpan};
use omen_core::learned::IndexKind;
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{CatalogChange, Cursor, ReadView, Router, Scan, Transaction};
use omen_core::row::{RowBuilder, RowReader};
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;
use omen_core::{Error, Result};

pub const NODE: NodeId = NodeId(0);
const CLIENTS: i64 = 4;
const KEYS_PER_CLIENT: u64 = 60;
const ACCOUNTS: i64 = 8;
const BALANCE: i64 = 1_000;

/// Value of a row: a number and a text (NULL if `None`).
type Value = (i64, Option<String>);
/// Rows of one client: (which table, key) -> value.
type Rows = BTreeMap<(usize, i64), Value>;

/// What one client knows: what was acknowledged, and what a statement under way may make of it.
#[derive(Clone, Default)]
struct Known {
    rows: Rows,
    pending: Option<Rows>,
}

/// The node under test and what is known of it.
pub struct World {
    core_count: u16,
    cores: Vec<NodeCore<SimEnv>>,
    known: Vec<Rc<RefCell<Known>>>,
    tables: Vec<TableId>,
    accounts: TableId,
    acknowledged: Rc<Cell<u64>>,
}

impl World {
    pub fn new(sim: &Sim) -> World {
        World {
            core_count: 1 + sim.random_below(3) as u16,
            cores: Vec::new(),
            known: (0..CLIENTS).map(|_| Rc::default()).collect(),
            tables: Vec::new(),
            accounts: TableId(0),
            acknowledged: Rc::default(),
        }
    }

    /// Starts the node on the disk as it is.
    pub fn start(&mut self, sim: &Sim) -> Result<()> {
        self.cores.clear();
        let mut config = NodeConfig::new(PathBuf::from("/data"), self.core_count, 1 << 20);
        config.shard.memtable_bytes = 192 << 10;
        config.shard.cache_bytes = 64 << 10;
        config.shard.wal_file_bytes = 128 << 10;
        config.shard.wal_record_bytes_max = 60 << 10;
        config.shard.wal_bytes_max = 512 << 10;
        config.shard.segments_max = 3;
        config.shard.split_rows = 80;
        config.shard.lock_timeout = Duration::from_millis(20);
        config.shard.memory_timeout = Duration::from_millis(50);
        let started: Rc<RefCell<Vec<Result<NodeCore<SimEnv>>>>> = Rc::default();
        for seat in mesh::connect(self.core_count, MESH_CAPACITY) {
            let env = sim.core(NODE, seat.core());
            let (config, started) = (config.clone(), started.clone());
            env.clone().spawn(async move {
                let core = NodeCore::start(env, seat, &config).await;
                started.borrow_mut().push(core);
            });
        }
        let all = usize::from(self.core_count);
        let done = sim.run_until(|| {
            let started = started.borrow();
            started.len() == all || started.iter().any(Result::is_err)
        });
        assert!(done, "seed {}: the start hangs", sim.seed());
        let failed = started.borrow().iter().any(Result::is_err);
        if failed {
            sim.kill(NODE);
        }
        for core in started.take() {
            self.cores.push(core?);
        }
        self.cores.sort_by_key(|core| core.core());
        Ok(())
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

    pub fn create_tables(&mut self, sim: &Sim) {
        for name in ["first", "second", "accounts"] {
            let core = self.cores[0].clone();
            let change = CatalogChange::CreateTable { name: name.into(), schema: schema() };
            let id = self
                .on_core(sim, 0, async move { core.change_catalog(change).await })
                .expect("room for a table");
            match name {
                "accounts" => self.accounts = id,
                _ => self.tables.push(id),
            }
        }
        let (core, accounts) = (self.cores[0].clone(), self.accounts);
        let filled = self.on_core(sim, 0, async move {
            let mut batch = WriteBatch::new();
            (0..ACCOUNTS).for_each(|id| batch.insert(&key(id), &row(id, &(BALANCE, None))));
            core.write_and_commit(core.begin(), accounts, batch).await
        });
        filled.expect("room for the accounts");
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
                acknowledged: self.acknowledged.clone(),
                core,
            };
            client.core.env().clone().spawn(async move { client.live().await });
        }
    }

    /// Compares the contents with what the clients know. Only reading may fail.
    pub fn try_check(&mut self, sim: &Sim) -> Result<()> {
        let core = self.cores[sim.random_below(self.cores.len() as u64) as usize].clone();
        let (tables, accounts) = (self.tables.clone(), self.accounts);
        let number = usize::from(core.core().0);
        let (rows, money) = self.on_core(sim, number, async move {
            let txn = core.begin();
            let rows = read_tables(&core, txn.view(), &tables).await?;
            let money = read_table(&core, txn.view(), accounts).await?;
            Ok::<_, Error>((rows, money))
        })?;
        let total: i64 = money.values().map(|(balance, _)| balance).sum();
        assert_eq!((money.len() as i64, total), (ACCOUNTS, ACCOUNTS * BALANCE), "seed {}: money", sim.seed());
        for (number, known) in self.known.iter().enumerate() {
            let mut known = known.borrow_mut();
            let own: Rows = rows
                .iter()
                .filter(|((_, key), _)| key % CLIENTS == number as i64)
                .map(|(k, v)| (*k, v.clone()))
                .collect();
            let applied = known.pending.take();
            if own != known.rows && Some(&own) != applied.as_ref() {
                report(sim.seed(), number, &own, &known.rows, applied.as_ref());
            }
            known.rows = own;
        }
        Ok(())
    }
}

fn report(seed: u64, client: usize, found: &Rows, rows: &Rows, pending: Option<&Rows>) -> ! {
    let wrong = |model: &Rows| -> Vec<String> {
        let keys: std::collections::BTreeSet<_> = model.keys().chain(found.keys()).collect();
        let differ = keys.into_iter().filter(|key| model.get(key) != found.get(key));
        differ
            .take(5)
            .map(|key| format!("{key:?}: expected {:?}, found {:?}", model.get(key), found.get(key)))
            .collect()
    };
    panic!(
        "seed {seed}: client {client} finds neither what was acknowledged {:#?} nor what was under way {:#?}",
        wrong(rows),
        pending.map(wrong)
    );
}

fn schema() -> TableSchema {
    let column = |name: &str, pg_type, not_null| Column {
        name: name.into(),
        pg_type,
        not_null,
        default: None,
        hidden: false,
    };
    TableSchema {
        columns: vec![
            column("id", PgType::Int8, true),
            column("n", PgType::Int8, true),
            column("t", PgType::Text, false),
        ],
        key: vec![0],
        key_name: Some("pkey".into()),
        index: IndexKind::Auto,
    }
}

fn key(id: i64) -> Key {
    Key::of(&[Datum::Int8(id)]).expect("short")
}

fn row(id: i64, value: &Value) -> Box<[u8]> {
    let text = value.1.as_ref().map_or(Datum::Null, |text| Datum::Text(text.as_str().into()));
    RowBuilder::default().row(&[Datum::Int8(id), Datum::Int8(value.0), text]).expect("small")
}

struct Everything([usize; 3]);
struct Pass;

impl Fragment for Everything {
    fn columns(&self) -> &[usize] {
        &self.0
    }
    fn start(&self) -> Box<dyn FragmentRun> {
        Box::new(Pass)
    }
}

impl FragmentRun for Pass {
    fn push(
        &mut self,
        batch: RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> std::result::Result<Flow, ValueError> {
        out.push(batch);
        Ok(Flow::More)
    }
    fn finish(&mut self, _: &mut Vec<RecordBatch>) -> std::result::Result<(), ValueError> {
        Ok(())
    }
}

async fn read_table(core: &NodeCore<SimEnv>, view: ReadView, table: TableId) -> Result<BTreeMap<i64, Value>> {
    let fragment = Arc::new(Everything([0, 1, 2]));
    let mut cursor = core.scan(Scan { table, view, spans: vec![KeySpan::all()], fragment })?;
    let mut rows = BTreeMap::new();
    while let Some(batches) = cursor.next().await? {
        for batch in batches {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            let numbers = batch.column(1).as_primitive::<Int64Type>();
            let texts = batch.column(2).as_string::<i32>();
            for index in 0..batch.num_rows() {
                let text = texts.is_valid(index).then(|| texts.value(index).to_string());
                let former = rows.insert(ids.value(index), (numbers.value(index), text));
                assert_eq!(former, None, "table {table}: key {} is there twice", ids.value(index));
            }
        }
    }
    Ok(rows)
}

async fn read_tables(core: &NodeCore<SimEnv>, view: ReadView, tables: &[TableId]) -> Result<Rows> {
    let mut all = Rows::new();
    for (index, table) in tables.iter().enumerate() {
        let rows = read_table(core, view, *table).await?;
        all.extend(rows.into_iter().map(|(key, value)| ((index, key), value)));
    }
    Ok(all)
}

struct Client {
    number: i64,
    rng: Cell<u64>,
    seed: u64,
    tables: Vec<TableId>,
    accounts: TableId,
    known: Rc<RefCell<Known>>,
    acknowledged: Rc<Cell<u64>>,
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
            let outcome = match self.below(20) {
                0..8 => self.write_at_once().await,
                8..12 => self.write_in_transaction().await,
                12..15 => self.transfer().await,
                15..18 => self.read().await,
                18 => self.core.checkpoint().await,
                _ => self.core.vacuum(None).await,
            };
            match outcome {
                Ok(()) => self.acknowledged.set(self.acknowledged.get() + 1),
                Err(Error::ShardStopped { .. }) => return,
                Err(Error::Corrupt { place, detail }) => {
                    panic!("seed {}: corrupt {place}: {detail}", self.seed)
                }
                Err(_) => {}
            }
            self.core.env().sleep(Duration::from_micros(self.below(2_000))).await;
        }
    }

    /// Random changes of own keys of one table that are right for `rows`.
    fn changes(&self, table: usize, rows: &mut Rows) -> WriteBatch {
        let mut batch = WriteBatch::new();
        let mut seen = Vec::new();
        for _ in 0..1 + self.below(3) * self.below(12) {
            let id = self.below(KEYS_PER_CLIENT) as i64 * CLIENTS + self.number;
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let text = (self.below(5) > 0).then(|| "x".repeat(self.below(400) as usize));
            let value = (self.below(1 << 40) as i64, text);
            match rows.contains_key(&(table, id)) {
                true if self.below(3) == 0 => {
                    batch.delete(&key(id));
                    rows.remove(&(table, id));
                }
                true => {
                    batch.update(&key(id), &row(id, &value));
                    rows.insert((table, id), value);
                }
                false => {
                    batch.insert(&key(id), &row(id, &value));
                    rows.insert((table, id), value);
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
        let table = self.below(self.tables.len() as u64) as usize;
        let mut rows = self.known.borrow().rows.clone();
        let batch = self.changes(table, &mut rows);
        self.known.borrow_mut().pending = Some(rows);
        let txn = self.core.begin();
        self.settle(self.core.write_and_commit(txn, self.tables[table], batch).await)
    }

    async fn write_in_transaction(&self) -> Result<()> {
        let mut txn = self.core.begin();
        let mut rows = self.known.borrow().rows.clone();
        for _ in 0..1 + self.below(3) {
            let table = self.below(self.tables.len() as u64) as usize;
            let batch = self.changes(table, &mut rows);
            self.core.write(&mut txn, self.tables[table], batch).await?;
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
        let own: Rows = seen
            .iter()
            .filter(|((_, key), _)| key % CLIENTS == self.number)
            .map(|(k, v)| (*k, v.clone()))
            .collect();
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
        let rows = self.core.get_many(self.accounts, txn.view(), vec![key(from), key(to)]).await?;
        let mut batch = WriteBatch::new();
        for ((id, change), row_bytes) in [(from, -amount), (to, amount)].into_iter().zip(rows) {
            let row_bytes = row_bytes.expect("accounts are never deleted");
            let mut reader = RowReader::new(&row_bytes, 3).expect("a row");
            let _id = reader.next_datum(PgType::Int8).expect("an id");
            let Ok(Datum::Int8(balance)) = reader.next_datum(PgType::Int8) else { panic!("no balance") };
            batch.update(&key(id), &row(id, &(balance + change, None)));
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
        let money = read_table(&self.core, txn.view(), self.accounts).await?;
        let total: i64 = money.values().map(|(balance, _)| balance).sum();
        assert_eq!(
            total,
            ACCOUNTS * BALANCE,
            "seed {}: a snapshot sees half a transfer: {money:?}",
            self.seed
        );
        let seen = read_tables(&self.core, txn.view(), &self.tables).await?;
        self.compare("at a snapshot", &seen, &expected);
        for _ in 0..5 {
            let table = self.below(self.tables.len() as u64) as usize;
            let id = self.below(KEYS_PER_CLIENT) as i64 * CLIENTS + self.number;
            let columns = Arc::from([1usize]);
            let found = self.core.get(self.tables[table], txn.view(), key(id), columns).await?;
            let number = found.map(|bytes| {
                let mut reader = RowReader::new(&bytes, 1).expect("a row");
                reader.next_datum(PgType::Int8).expect("a number")
            });
            let model = expected.get(&(table, id)).map(|(number, _)| Datum::Int8(*number));
            assert_eq!(number, model, "seed {}: point read of {id} in table {table}", self.seed);
        }
        Ok(())
    }
}
