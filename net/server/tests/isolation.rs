//! Two sessions at once, on the real binary: who sees what, who waits, and who has to try again (PG 15, chapter 13.2).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use omen_tests::server::{Server, Setup};
use omen_tests::wire::{Protocol, WireClient};
use tempfile::TempDir;

/// Sessions that change the same rows.
const SESSIONS: usize = 6;
/// Transactions of each.
const TRANSACTIONS: usize = 40;
/// Long enough for a statement to meet a lock and wait; nothing fails if it is not.
const A_MOMENT: Duration = Duration::from_millis(100);

fn connect(address: SocketAddr) -> WireClient {
    WireClient::connect(address, "omen", "omen").unwrap()
}

/// A node, and two sessions.
fn two_sessions(folder: &TempDir) -> (Server, WireClient, WireClient) {
    let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
    let (first, second) = (connect(server.address()), connect(server.address()));
    (server, first, second)
}

/// The first value of the answer, or its tag; or the error's SQLSTATE.
fn ask(client: &mut WireClient, sql: &str) -> Result<String, String> {
    let answer = client.run(sql, Protocol::Extended).unwrap().map_err(|error| error.code)?;
    let value = answer.rows.first().and_then(|row| row.first().cloned().flatten());
    Ok(value.unwrap_or(answer.tag))
}

/// A session changes the row that another one has changed and commits then.
fn second_update(isolation: &str) -> (Result<String, String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let (_server, mut first, mut second) = two_sessions(&folder);
    ask(&mut first, "create table t (id int primary key, n int, other int)").unwrap();
    ask(&mut first, "insert into t values (1, 10, 0), (2, 0, 0)").unwrap();
    ask(&mut second, &format!("begin isolation level {isolation}")).unwrap();
    ask(&mut second, "update t set other = 1 where id = 2").unwrap();
    assert_eq!(ask(&mut second, "select n from t where id = 1").unwrap(), "10");
    ask(&mut first, "begin").unwrap();
    ask(&mut first, "update t set n = n + 5 where id = 1").unwrap();
    let waiting = thread::spawn(move || {
        let updated = ask(&mut second, "update t set n = n * 2 where id = 1 and n >= 10 returning n");
        let ended = ask(&mut second, "commit").unwrap();
        (updated, ended)
    });
    thread::sleep(A_MOMENT);
    ask(&mut first, "commit").unwrap();
    let (updated, ended) = waiting.join().unwrap();
    let rows = ask(&mut first, "select string_agg(n || ' ' || other, ', ' order by id) from t").unwrap();
    assert_eq!(ended, if updated.is_ok() { "COMMIT" } else { "ROLLBACK" });
    (updated, rows)
}

#[test]
fn read_committed_waits_and_goes_on_with_what_was_committed() {
    assert_eq!(second_update("read committed"), (Ok("30".into()), "30 0, 0 1".into()));
}

#[test]
fn repeatable_read_does_not_see_it_and_fails() {
    assert_eq!(second_update("repeatable read"), (Err("40001".into()), "15 0, 0 0".into()));
}

/// A session reads a row FOR UPDATE, or another way, and changes it by what it has read; another asks for the row meanwhile.
fn read_to_change(lock: &str, isolation: &str, asked: &str) -> (Result<String, String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let (_server, mut first, mut second) = two_sessions(&folder);
    ask(&mut first, "create table t (id int primary key, n int)").unwrap();
    ask(&mut first, "insert into t values (1, 10), (2, 20)").unwrap();
    ask(&mut first, "begin").unwrap();
    assert_eq!(ask(&mut first, &format!("select n from t where id = 1 for {lock}")).unwrap(), "10");
    ask(&mut second, &format!("begin isolation level {isolation}")).unwrap();
    assert_eq!(ask(&mut second, "select n from t where id = 2").unwrap(), "20");
    let asked = asked.to_owned();
    let waiting = thread::spawn(move || {
        let answer = ask(&mut second, &asked);
        ask(&mut second, "commit").unwrap();
        answer
    });
    thread::sleep(A_MOMENT);
    ask(&mut first, "update t set n = 15 where id = 1").unwrap();
    ask(&mut first, "commit").unwrap();
    let answer = waiting.join().unwrap();
    let rows = ask(&mut first, "select string_agg(n::text, ', ' order by id) from t").unwrap();
    (answer, rows)
}

#[test]
fn who_locks_a_row_changes_it_first() {
    let doubled = "update t set n = n * 2 where id = 1 returning n";
    for lock in ["update", "no key update", "share", "key share", "update of t"] {
        let answer = read_to_change(lock, "read committed", doubled);
        assert_eq!(answer, (Ok("30".into()), "30, 20".into()), "{lock}");
    }
    assert_eq!(read_to_change("update", "repeatable read", doubled), (Err("40001".into()), "15, 20".into()));
    // Who waits for the lock sees what was committed meanwhile, or that it was.
    let locks = "select n from t where id < 2 order by n limit 1 for update";
    assert_eq!(read_to_change("update", "read committed", locks), (Ok("15".into()), "15, 20".into()));
    assert_eq!(read_to_change("update", "repeatable read", locks), (Err("40001".into()), "15, 20".into()));
    // Who only reads does not wait.
    let reads = "select n from t where id = 1";
    assert_eq!(read_to_change("update", "read committed", reads), (Ok("10".into()), "15, 20".into()));
}

#[test]
fn a_lock_that_is_rolled_back_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, mut first, mut second) = two_sessions(&folder);
    ask(&mut first, "create table t (id int primary key, n int)").unwrap();
    ask(&mut first, "insert into t values (1, 10)").unwrap();
    ask(&mut first, "begin").unwrap();
    assert_eq!(ask(&mut first, "select n from t for update").unwrap(), "10");
    let waiting = thread::spawn(move || ask(&mut second, "update t set n = n + 1 returning n"));
    thread::sleep(A_MOMENT);
    ask(&mut first, "rollback").unwrap();
    assert_eq!(waiting.join().unwrap(), Ok("11".into()));
    ask(&mut first, "begin read only").unwrap();
    assert_eq!(ask(&mut first, "select n from t for share"), Err("25006".into()));
}

/// As pgbench does it: rows that all want, always in the same order, so that nobody waits in a circle.
#[test]
fn read_committed_loses_no_update() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
    let address = server.address();
    let mut client = connect(address);
    ask(&mut client, "create table t (id int primary key, n int)").unwrap();
    ask(&mut client, "insert into t values (1, 0), (2, 0)").unwrap();
    ask(&mut client, "create table log (session int, number int)").unwrap();
    let work = move |session: usize| {
        let mut client = connect(address);
        for number in 0..TRANSACTIONS {
            let insert = format!("insert into log values ({session}, {number})");
            let first = "update t set n = n + 1 where id = 1";
            let second = "insert into t values (2, 1) on conflict (id) do update set n = t.n + 1";
            for sql in ["begin isolation level read committed", &insert, first, second, "commit"] {
                let answer = ask(&mut client, sql);
                assert!(answer.is_ok(), "{sql}: {answer:?}");
            }
        }
    };
    let sessions: Vec<_> = (0..SESSIONS).map(|session| thread::spawn(move || work(session))).collect();
    sessions.into_iter().for_each(|session| session.join().unwrap());
    let all = (SESSIONS * TRANSACTIONS).to_string();
    for sql in ["select n from t where id = 1", "select n from t where id = 2", "select count(*) from log"] {
        assert_eq!(ask(&mut client, sql).unwrap(), all, "{sql}");
    }
}
