//! `kill -9` at random moments while several connections write: after each restart every acknowledged write is there,
//! no statement or transaction is half there, and nothing else is. Contents are compared with a model.
//!
//! A killed process loses nothing that it has given to the kernel, so a forgotten fsync does not show here; the
//! simulator is for that. Here the whole of the real binary is tested, restarts included.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::time::Duration;

use omen_tests::rng::Rng;
use omen_tests::server::{Server, Setup};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

/// Crashes per run.
const ROUNDS: u64 = 40;
/// Connections that write.
const WORKERS: u64 = 6;
/// Far above what all rounds take.
const LIMIT: Duration = Duration::from_secs(900);
/// Longest payload: a few of them fill a log record over several blocks.
const PAYLOAD_MAX: u64 = 1_500;

/// `a` has one key column, `b` two, `c` none.
const TABLES: [&str; 3] = [
    "CREATE TABLE a (id bigint PRIMARY KEY, op bigint NOT NULL, payload text NOT NULL)",
    "CREATE TABLE b (k text, n integer, op bigint NOT NULL, payload text NOT NULL, PRIMARY KEY (k, n))",
    "CREATE TABLE c (op bigint NOT NULL, payload text NOT NULL)",
];

/// A row's name: its table and key as text. Rows of `c` are known by their payload, which no other has.
type Name = (char, String);

/// What a row holds beside its key.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Content {
    op: i64,
    payload: String,
}

/// All rows.
type Rows = BTreeMap<Name, Content>;

/// What an operation leaves of the rows that it touches; `None` for those it removes.
type Effects = BTreeMap<Name, Option<Content>>;

fn apply(rows: &mut Rows, effects: &Effects) {
    for (name, content) in effects {
        match content {
            Some(content) => rows.insert(name.clone(), content.clone()),
            None => rows.remove(name),
        };
    }
}

/// An operation: what to send, and what it leaves if it takes place.
#[derive(Default)]
struct Operation {
    statements: Vec<String>,
    effects: Effects,
    /// Ends with ROLLBACK.
    vain: bool,
}

/// How a connection ended.
#[derive(Default)]
struct Ended {
    acknowledged: Vec<Effects>,
    /// Sent, and not answered before the crash.
    open: Option<Effects>,
}

/// One connection's random choices. It changes only rows that it made itself, so connections do not conflict.
struct Worker {
    number: u64,
    rng: Rng,
    /// Rows of table `a` that are known to be there.
    own: Vec<i64>,
    ops: i64,
}

impl Worker {
    fn content(&mut self, op: i64) -> Content {
        let len = self.rng.below(PAYLOAD_MAX) as usize;
        let salt = self.rng.next_u64();
        Content { op, payload: format!("{salt:016x}{}", self.rng.text(len)) }
    }

    fn insert(&mut self, table: char, op: i64, count: u64, operation: &mut Operation) {
        let mut values = Vec::new();
        for _ in 0..count {
            let content = self.content(op);
            let random = self.rng.next_u64();
            let (key, name) = match table {
                'a' => (format!("{}, ", random >> 1), (random >> 1).to_string()),
                'b' => {
                    let (k, n) = (self.rng.text(6).replace('\'', "q"), random as i32);
                    (format!("'{k}', {n}, "), format!("{k}/{n}"))
                }
                _ => (String::new(), content.payload.clone()),
            };
            values.push(format!("({key}{op}, '{}')", content.payload.replace('\'', "''")));
            operation.effects.insert((table, name), Some(content));
        }
        operation.statements.push(format!("INSERT INTO {table} VALUES {}", values.join(", ")));
    }

    /// Changes or removes one of this worker's rows.
    fn change(&mut self, op: i64, operation: &mut Operation) {
        if self.own.is_empty() {
            return;
        }
        let at = self.rng.below(self.own.len() as u64) as usize;
        let id = self.own[at];
        if operation.effects.contains_key(&('a', id.to_string())) {
            return;
        }
        let changed = if self.rng.below(3) == 0 {
            operation.statements.push(format!("DELETE FROM a WHERE id = {id}"));
            None
        } else {
            let content = self.content(op);
            let payload = content.payload.replace('\'', "''");
            operation
                .statements
                .push(format!("UPDATE a SET op = {op}, payload = '{payload}' WHERE id = {id}"));
            Some(content)
        };
        operation.effects.insert(('a', id.to_string()), changed);
    }

    fn operation(&mut self) -> Operation {
        self.ops += 1;
        let op = i64::try_from(self.number << 32).unwrap() + self.ops;
        let mut operation = Operation::default();
        match self.rng.below(10) {
            0..4 => self.insert('a', op, 1, &mut operation),
            4 => self.insert('c', op, 1, &mut operation),
            5 => self.change(op, &mut operation),
            6 | 7 => {
                let (table, count) = (['a', 'b', 'c'][self.rng.below(3) as usize], 2 + self.rng.below(40));
                self.insert(table, op, count, &mut operation);
            }
            _ => {
                for _ in 0..=self.rng.below(3) {
                    let (table, count) = (['a', 'b', 'c'][self.rng.below(3) as usize], 1 + self.rng.below(5));
                    self.insert(table, op, count, &mut operation);
                    self.change(op, &mut operation);
                }
                operation.vain = self.rng.below(8) == 0;
                operation.statements.insert(0, "BEGIN".to_owned());
                operation.statements.push(if operation.vain { "ROLLBACK" } else { "COMMIT" }.to_owned());
            }
        }
        operation
    }

    /// Sends operations until the connection breaks.
    async fn run(&mut self, client: Client, statement: Statement) -> Ended {
        let mut ended = Ended::default();
        loop {
            let operation = self.operation();
            match self.perform(&client, &statement, &operation).await {
                Ok(()) if operation.vain => {}
                Ok(()) => {
                    for (name, content) in operation.effects.iter().filter(|(name, _)| name.0 == 'a') {
                        let id: i64 = name.1.parse().unwrap();
                        self.own.retain(|own| *own != id);
                        self.own.extend(content.is_some().then_some(id));
                    }
                    ended.acknowledged.push(operation.effects);
                }
                Err(e) if e.as_db_error().is_some() => panic!("{:?}: {e:?}", operation.statements),
                Err(_) => {
                    ended.open = (!operation.vain).then_some(operation.effects);
                    return ended;
                }
            }
        }
    }

    /// Single inserts go through the prepared statement, everything else as text.
    async fn perform(
        &self,
        client: &Client,
        statement: &Statement,
        operation: &Operation,
    ) -> Result<(), tokio_postgres::Error> {
        if let ([_], Some((('a', id), Some(content)))) = (
            &*operation.statements,
            operation.effects.first_key_value().map(|(name, content)| ((name.0, &name.1), content)),
        ) && operation.effects.len() == 1
            && operation.statements[0].starts_with("INSERT")
        {
            let id: i64 = id.parse().unwrap();
            assert_eq!(client.execute(statement, &[&id, &content.op, &content.payload]).await?, 1);
            return Ok(());
        }
        for sql in &operation.statements {
            client.batch_execute(sql).await?;
        }
        Ok(())
    }
}

/// Flushes and compacts while others write, so that crashes meet those too. Answers what the crash has cut off.
async fn maintain(client: Client, mut rng: Rng) -> Option<&'static str> {
    loop {
        let idle = tokio::time::sleep(Duration::from_millis(rng.below(20)));
        tokio::select! {
            () = idle => {}
            () = closed(&client) => return None,
        }
        let sql = if rng.below(2) == 0 { "VACUUM" } else { "CHECKPOINT" };
        if client.batch_execute(sql).await.is_err() {
            return Some(sql);
        }
    }
}

/// Waits until the connection has ended.
async fn closed(client: &Client) {
    while !client.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// All rows of all tables as they are.
async fn contents(client: &Client) -> Rows {
    let mut rows = Rows::new();
    for (table, sql) in [
        ('a', "SELECT id, op, payload FROM a"),
        ('b', "SELECT k, n, op, payload FROM b"),
        ('c', "SELECT payload, op, payload FROM c"),
    ] {
        for message in client.simple_query(sql).await.unwrap() {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let value = |from_end: usize| row.get(row.len() - from_end).unwrap().to_owned();
            let keys: Vec<&str> = (0..row.len() - 2).map(|index| row.get(index).unwrap()).collect();
            let content = Content { op: value(2).parse().unwrap(), payload: value(1) };
            let before = rows.insert((table, keys.join("/")), content);
            assert!(before.is_none(), "the row {keys:?} of table {table} is there twice");
        }
    }
    rows
}

/// Brings the model to what is there: acknowledged writes, and of an open operation all or nothing.
fn settle(model: &mut Rows, actual: &Rows, ended: &[Ended]) -> (usize, usize) {
    let (mut taken, mut dropped) = (0, 0);
    for ended in ended {
        ended.acknowledged.iter().for_each(|effects| apply(model, effects));
        let Some(open) = &ended.open else { continue };
        let there = open.iter().filter(|(name, content)| actual.get(*name) == content.as_ref()).count();
        let untouched = open.keys().filter(|name| actual.get(*name) == model.get(*name)).count();
        if there == open.len() {
            apply(model, open);
            taken += 1;
        } else {
            assert_eq!(untouched, open.len(), "half there: {there} of {} rows changed: {open:?}", open.len());
            dropped += 1;
        }
    }
    (taken, dropped)
}

fn compare(model: &Rows, actual: &Rows) {
    let lost = model.iter().filter(|(name, content)| actual.get(*name) != Some(*content));
    let lost: Vec<String> = lost.map(|row| brief(row, actual.get(row.0))).collect();
    let strange = actual.iter().filter(|(name, _)| !model.contains_key(*name));
    let strange: Vec<String> = strange.map(|row| brief(row, None)).collect();
    assert!(
        lost.is_empty() && strange.is_empty(),
        "acknowledged rows that are lost or wrong: {lost:#?}; rows that nobody committed: {strange:#?}"
    );
}

/// A row, and what is there instead, short enough to read.
fn brief((name, content): (&Name, &Content), instead: Option<&Content>) -> String {
    let start = |text: &str| text.chars().take(24).collect::<String>();
    let Content { op, payload } = content;
    let there = instead.map(|there| (there.op, start(&there.payload)));
    format!("{} {} of operation {op:#x}, {}: {there:?}", name.0, start(&name.1), start(payload))
}

/// Starts the workers, waits a random while, kills the node, and collects what the workers know.
async fn crash(
    server: Server,
    workers: Vec<Worker>,
    rng: &mut Rng,
    cut_off: &mut BTreeMap<&'static str, u64>,
) -> (Vec<Worker>, Vec<Ended>) {
    let mut tasks: Vec<JoinHandle<(Worker, Ended)>> = Vec::new();
    for mut worker in workers {
        let client = server.connect().await;
        let statement = client.prepare("INSERT INTO a VALUES ($1, $2, $3)").await.unwrap();
        tasks.push(tokio::spawn(async move {
            let ended = worker.run(client, statement).await;
            (worker, ended)
        }));
    }
    let maintenance = tokio::spawn(maintain(server.connect().await, rng.fork()));
    tokio::time::sleep(Duration::from_millis(rng.below(500))).await;
    server.kill();
    if let Some(sql) = maintenance.await.unwrap() {
        *cut_off.entry(sql).or_default() += 1;
    }
    let (mut workers, mut ended) = (Vec::new(), Vec::new());
    for task in tasks {
        let (worker, end) = task.await.unwrap();
        workers.push(worker);
        ended.push(end);
    }
    (workers, ended)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_half_there() {
    let folder = tempfile::tempdir().unwrap();
    let setup =
        Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).option("--memory", "104MiB");
    let mut rng = Rng::from_environment();
    let mut model = Rows::new();
    let worker = |number| Worker { number, rng: Rng::new(0), own: Vec::new(), ops: 0 };
    let mut workers: Vec<Worker> = (1..=WORKERS).map(worker).collect();
    workers.iter_mut().for_each(|worker| worker.rng = rng.fork());
    let (mut taken, mut dropped, mut acknowledged) = (0, 0, 0);
    let mut cut_off = BTreeMap::new();
    omen_tests::block_on(LIMIT, async {
        let server = setup.start();
        let client = server.connect().await;
        for sql in TABLES {
            client.batch_execute(sql).await.unwrap();
        }
        drop(client);
        server.kill();
        for round in 0..ROUNDS {
            if round % 4 == 3 {
                setup.start_and_kill(Duration::from_millis(rng.below(150)));
            }
            let ended;
            (workers, ended) =
                crash(setup.start(), std::mem::take(&mut workers), &mut rng, &mut cut_off).await;
            acknowledged += ended.iter().map(|ended| ended.acknowledged.len()).sum::<usize>();
            let server = setup.start();
            let actual = contents(&server.connect().await).await;
            let settled = settle(&mut model, &actual, &ended);
            compare(&model, &actual);
            (taken, dropped) = (taken + settled.0, dropped + settled.1);
            for worker in &mut workers {
                worker.own.retain(|id| model.contains_key(&('a', id.to_string())));
            }
            server.kill();
        }
        let server = setup.start();
        compare(&model, &contents(&server.connect().await).await);
        server.stop();
    });
    println!(
        "{ROUNDS} crashes: {acknowledged} operations acknowledged, {} rows; of those open at a crash {taken} took \
         place and {dropped} did not; the crashes cut off {cut_off:?}",
        model.len()
    );
    assert!(cut_off.len() == 2, "no crash met a flush, or none a compaction: {cut_off:?}");
    assert!(acknowledged > 0 && taken + dropped > 0, "nothing was tested");
}

/// The comparison itself notices what it should.
#[test]
fn the_model_notices_faults() {
    let content = |op| Content { op, payload: op.to_string() };
    let name = |key: &str| ('a', key.to_owned());
    let acknowledged = Effects::from([(name("1"), Some(content(1)))]);
    let open = Effects::from([(name("2"), Some(content(2))), (name("3"), Some(content(2)))]);
    let fails = |actual: Rows| {
        let ended = Ended { acknowledged: vec![acknowledged.clone()], open: Some(open.clone()) };
        std::panic::catch_unwind(move || {
            let mut model = Rows::new();
            settle(&mut model, &actual, &[ended]);
            compare(&model, &actual);
        })
        .is_err()
    };
    let one = (name("1"), content(1));
    let (two, three) = ((name("2"), content(2)), (name("3"), content(2)));
    assert!(!fails(Rows::from([one.clone()])));
    assert!(!fails(Rows::from([one.clone(), two.clone(), three.clone()])));
    assert!(fails(Rows::new()), "lost");
    assert!(fails(Rows::from([one.clone(), two.clone()])), "half there");
    assert!(fails(Rows::from([(name("1"), content(9))])), "wrong");
    assert!(fails(Rows::from([one, (name("9"), content(9))])), "out of nowhere");
}
