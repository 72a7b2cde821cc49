//! Ten times as much data as `--memory` allows: loaded, changed, read meanwhile and afterwards, and read again after a
//! restart. All answers are right, and the whole process never takes more memory than `--memory`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures_util::SinkExt;
use omen_tests::rng::Rng;
use omen_tests::server::{Server, Setup, database_error};
use tokio_postgres::Client;

const LIMIT: Duration = Duration::from_secs(300);
/// The least that a node of one core takes.
const MEMORY_MIN: u64 = 72 << 20;
/// Bytes of the text of one COPY or INSERT.
const STATEMENT_BYTES: u64 = 1 << 20;
/// Rows that are changed between two of them.
const CHANGES: usize = 10;

/// What is loaded.
#[derive(Clone, Copy)]
struct Load {
    memory: u64,
    data_bytes: u64,
    /// Bytes of a row's text.
    text_bytes: u64,
    /// By INSERT with many rows each, else by COPY.
    by_insert: bool,
}

impl Load {
    fn rows(self) -> i64 {
        (self.data_bytes / self.text_bytes) as i64
    }

    /// Rows of one statement.
    fn batch_rows(self) -> i64 {
        (STATEMENT_BYTES / self.text_bytes).clamp(1, 5_000) as i64
    }

    /// What row `id` holds in its `version`: random, so that nothing makes it smaller.
    fn text(self, id: i64, version: u32) -> String {
        let mut rng = Rng::new(id as u64 * 1_000 + u64::from(version));
        let mut text = String::with_capacity(self.text_bytes as usize + 16);
        while text.len() < self.text_bytes as usize {
            write!(text, "{:016x}", rng.next_u64()).unwrap();
        }
        text
    }
}

/// The newest version of each row, where it is not the first; `None` if it is gone.
type Changed = BTreeMap<i64, Option<u32>>;

/// Whether the writer came faster than the disk takes it, and may try again.
fn is_out_of_memory(e: &tokio_postgres::Error) -> bool {
    database_error(e).code().code() == "53200"
}

async fn try_copy(client: &Client, lines: &bytes::Bytes) -> Result<u64, tokio_postgres::Error> {
    let mut sink = pin!(client.copy_in("COPY t FROM STDIN").await?);
    sink.send(lines.clone()).await?;
    sink.finish().await
}

async fn try_insert(client: &Client, sql: &str) -> Result<u64, tokio_postgres::Error> {
    client.batch_execute(sql).await.map(|()| 0)
}

/// Answers how often it was told that memory is used up.
async fn add(client: &Client, load: Load, ids: std::ops::Range<i64>) -> u64 {
    let (mut lines, mut sql) = (String::new(), String::from("INSERT INTO t VALUES "));
    for id in ids.clone() {
        let text = load.text(id, 0);
        if load.by_insert {
            let comma = if id == ids.start { "" } else { "," };
            write!(sql, "{comma}({id},{},'{text}')", id % 10).unwrap();
        } else {
            writeln!(lines, "{id}\t{}\t{text}", id % 10).unwrap();
        }
    }
    let (lines, mut refused) = (bytes::Bytes::from(lines), 0);
    loop {
        let done =
            if load.by_insert { try_insert(client, &sql).await } else { try_copy(client, &lines).await };
        match done {
            Ok(_) => return refused,
            Err(e) => assert!(is_out_of_memory(&e), "{e:?}"),
        }
        refused += 1;
    }
}

/// One statement that changes one row, again until there is memory.
async fn change_one(client: &Client, sql: &str) {
    loop {
        match client.execute(sql, &[]).await {
            Ok(count) => return assert_eq!(count, 1, "{sql}"),
            Err(e) => assert!(is_out_of_memory(&e), "{e:?}"),
        }
    }
}

/// Updates and deletes some rows; those with odd numbers stay as they are.
async fn change(client: &Client, load: Load, below: i64, rng: &mut Rng, changed: &mut Changed) {
    for _ in 0..CHANGES {
        let id = rng.below(below as u64 / 2) as i64 * 2;
        let Some(version) = changed.get(&id).copied().unwrap_or(Some(0)) else { continue };
        let next = (rng.below(4) > 0).then_some(version + 1);
        let sql = match next {
            Some(next) => format!("UPDATE t SET payload = '{}' WHERE id = {id}", load.text(id, next)),
            None => format!("DELETE FROM t WHERE id = {id}"),
        };
        change_one(client, &sql).await;
        changed.insert(id, next);
    }
}

async fn fill(client: &Client, load: Load, loaded: &AtomicI64) -> Changed {
    let (mut rng, mut changed) = (Rng::new(1), Changed::new());
    let mut refused = 0;
    for first in (0..load.rows()).step_by(load.batch_rows() as usize) {
        let end = (first + load.batch_rows()).min(load.rows());
        refused += add(client, load, first..end).await;
        loaded.store(end, Ordering::Relaxed);
        change(client, load, end, &mut rng, &mut changed).await;
    }
    println!("{refused} times out of memory");
    changed
}

async fn get(client: &Client, id: i64) -> Option<String> {
    let row = client.query_opt("SELECT payload FROM t WHERE id = $1", &[&id]).await.unwrap();
    row.map(|row| row.get(0))
}

/// Reads rows that do not change, and counts them, until it is told to stop.
async fn read_meanwhile(
    client: Client,
    load: Load,
    loaded: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
) -> (u64, u64) {
    let (mut rng, mut gets, mut scans) = (Rng::new(2), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        let below = loaded.load(Ordering::Relaxed);
        for _ in 0..20 {
            if below >= 2 {
                let id = rng.below(below as u64 / 2) as i64 * 2 + 1;
                assert_eq!(get(&client, id).await.as_deref(), Some(&*load.text(id, 0)), "row {id}");
                gets += 1;
            }
        }
        let from = rng.below(below.max(1) as u64) as i64 / 2 * 2;
        let to = below.min(from + 1_000);
        let sql = format!("SELECT count(*) FROM t WHERE id >= {from} AND id < {to} AND id % 2 = 1");
        let row = client.query_one(&sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), (to - from) / 2);
        tokio::time::sleep(Duration::from_millis(10)).await;
        scans += 1;
    }
    (gets, scans)
}

async fn check(server: &Server, load: Load, changed: &Changed) {
    let rows = load.rows();
    let client = server.connect().await;
    let row = client.query_one("SELECT count(*), sum(length(payload)) FROM t", &[]).await.unwrap();
    let gone = changed.values().filter(|version| version.is_none()).count() as i64;
    let (there, each) = (rows - gone, load.text(0, 0).len() as i64);
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (there, there * each));
    for (id, version) in changed {
        assert_eq!(get(&client, *id).await, version.map(|version| load.text(*id, version)), "row {id}");
    }
    let mut rng = Rng::new(3);
    for _ in 0..300 {
        let id = rng.below(rows as u64 / 2) as i64 * 2 + 1;
        assert_eq!(get(&client, id).await.as_deref(), Some(&*load.text(id, 0)), "row {id}");
    }
    assert_eq!(get(&client, rows).await, None);
}

/// The most memory that the process has taken.
fn check_memory(server: &Server, load: Load, when: &str) {
    let peak = server.peak_memory_bytes();
    println!("{when}: {} KiB of {}", peak >> 10, load.memory >> 10);
    assert!(peak <= load.memory, "{when}: {peak} bytes of memory, more than {}", load.memory);
}

/// Loads, reads meanwhile and afterwards, and again after a crash.
fn run(load: Load) {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data"));
    let memory = format!("{}MiB", load.memory >> 20);
    let setup = setup.option("--cores", "1").option("--memory", &memory);
    let server = setup.start();
    check_memory(&server, load, "idle");
    let changed = omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        client
            .batch_execute("CREATE TABLE t (id bigint PRIMARY KEY, kind int NOT NULL, payload text NOT NULL)")
            .await
            .unwrap();
        let (loaded, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let reader = read_meanwhile(server.connect().await, load, Arc::clone(&loaded), Arc::clone(&stop));
        let reader = tokio::spawn(reader);
        let changed = fill(&client, load, &loaded).await;
        stop.store(true, Ordering::Relaxed);
        let (gets, scans) = reader.await.unwrap();
        let rows = load.rows();
        println!("{rows} rows, {} of them changed; {gets} gets and {scans} scans meanwhile", changed.len());
        check_memory(&server, load, "load");
        check(&server, load, &changed).await;
        changed
    });
    check_memory(&server, load, "load and reads");
    server.kill();
    let server = setup.start();
    omen_tests::block_on(LIMIT, check(&server, load, &changed));
    check_memory(&server, load, "after a crash");
    server.stop();
}

/// The whole process stays within `--memory`: memtables, cached blocks and indexes are counted, and what else is at work has
/// a part of it.
#[test]
fn ten_times_the_memory_is_read_back() {
    run(Load { memory: MEMORY_MIN, data_bytes: 10 * MEMORY_MIN, text_bytes: 4_000, by_insert: false });
}

#[test]
fn small_rows_keep_to_the_memory() {
    run(Load { memory: MEMORY_MIN, data_bytes: 6 << 20, text_bytes: 16, by_insert: false });
}

#[test]
fn large_rows_keep_to_the_memory() {
    run(Load { memory: MEMORY_MIN, data_bytes: 64 << 20, text_bytes: 20_000, by_insert: true });
}

#[test]
fn more_memory_is_kept_to() {
    run(Load { memory: 128 << 20, data_bytes: 96 << 20, text_bytes: 2_000, by_insert: true });
}
