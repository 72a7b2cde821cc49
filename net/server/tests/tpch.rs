//! TPC-H at a hundredth of its scale on the real binary, whose answers must be PostgreSQL's to the last digit: for rows
//! in memory, on disk, in both and changed many times, and while others change them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::SinkExt;
use omen_tests::postgres::Postgres;
use omen_tests::rng::Rng;
use omen_tests::server::{Server, Setup, connect};
use omen_tests::tpch::{QUERIES, TABLES, answer_text, answers, answers_path, lines, query, schema};
use omen_tests::wire::{Protocol, WireClient};

/// Far above what loading takes.
const LIMIT: Duration = Duration::from_secs(300);
/// Queries that read what is changed while others read.
const CHANGED: [usize; 4] = [3, 4, 12, 21];
/// Statements that change rows before the second snapshot.
const CHANGES_LEAST: u64 = 100;

fn run(client: &mut WireClient, sql: &str) -> String {
    match client.run(sql, Protocol::Simple).unwrap() {
        Ok(answer) => answer_text(&answer),
        Err(error) => panic!("{error} at {sql}"),
    }
}

/// Makes the tables and loads every row for whose number `wanted` is true.
fn load(address: SocketAddr, tables: &[&str], wanted: impl Fn(usize) -> bool) {
    omen_tests::block_on(LIMIT, async {
        let client = connect(address).await.unwrap();
        for table in tables {
            let sink =
                client.copy_in(&format!("copy {table} from stdin with (delimiter '|')")).await.unwrap();
            let mut sink = std::pin::pin!(sink);
            let rows: Vec<String> = lines(table);
            let rows = rows.into_iter().enumerate().filter(|(number, _)| wanted(*number));
            let text: String = rows.map(|(_, line)| line).collect();
            sink.send(bytes::Bytes::from(text)).await.unwrap();
            sink.finish().await.unwrap();
        }
    });
}

/// A node with empty tables.
fn start() -> (tempfile::TempDir, Server, WireClient) {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
    let mut client = WireClient::connect(server.address(), "omen", "omen").unwrap();
    run(&mut client, &schema());
    (folder, server, client)
}

fn check(client: &mut WireClient, state: &str) {
    let expected = answers();
    assert_eq!(expected.len(), QUERIES);
    for number in 1..=QUERIES {
        let got = run(client, &query(number));
        assert!(
            got == expected[number - 1],
            "query {number} over {state}:\n{got}\nexpected:\n{}",
            expected[number - 1]
        );
    }
}

#[test]
fn in_memory_and_on_disk() {
    let (_folder, server, mut client) = start();
    load(server.address(), &TABLES, |_| true);
    check(&mut client, "rows in memory");
    run(&mut client, "checkpoint");
    check(&mut client, "rows on disk");
}

#[test]
fn in_both_and_changed() {
    let (_folder, server, mut client) = start();
    load(server.address(), &TABLES, |number| number % 2 == 0);
    run(&mut client, "checkpoint");
    load(server.address(), &TABLES, |number| number % 2 == 1);
    for sql in [
        "create table gone as select * from lineitem where l_orderkey % 5 = 1",
        "delete from lineitem where l_orderkey % 5 = 1",
        "update lineitem set l_quantity = l_quantity + 7, l_shipmode = 'NONE ' || l_shipmode where l_orderkey % 3 = 0",
        "update orders set o_orderpriority = upper(o_orderpriority) || '!', o_custkey = o_custkey + 1 where o_orderkey % 4 = 1",
        "update customer set c_custkey = c_custkey + 1000000 where c_custkey % 2 = 0",
        "insert into orders select o_orderkey + 1000000, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, o_clerk, \
         o_shippriority, o_comment from orders where o_orderkey % 8 = 1",
        "checkpoint",
        "insert into lineitem select * from gone",
        "update lineitem set l_quantity = l_quantity - 7, l_shipmode = substr(l_shipmode, 6) where l_orderkey % 3 = 0 and l_orderkey % 5 <> 1",
        "update lineitem set l_tax = l_tax where l_orderkey % 5 = 1",
        "update orders set o_orderpriority = left(o_orderpriority, length(o_orderpriority) - 1), o_custkey = o_custkey - 1 \
         where o_orderkey % 4 = 1 and o_orderkey < 1000000",
        "update customer set c_custkey = c_custkey - 1000000 where c_custkey > 1000000",
        "delete from orders where o_orderkey >= 1000000",
        "drop table gone",
    ] {
        run(&mut client, sql);
    }
    check(&mut client, "rows that have changed");
}

/// Changes rows until told to stop; counts the statements.
fn change(address: SocketAddr, stop: &AtomicBool, changes: &AtomicU64) {
    let (mut client, mut rng) = (WireClient::connect(address, "omen", "omen").unwrap(), Rng::new(22));
    while !stop.load(Ordering::Relaxed) {
        let order = rng.below(60_000);
        let sql = match rng.below(5) {
            0 => format!(
                "update lineitem set l_quantity = l_quantity + 1, l_commitdate = l_commitdate - 40 where l_orderkey between {order} and {order} + 40"
            ),
            1 => format!(
                "update orders set o_orderdate = o_orderdate + 1, o_totalprice = o_totalprice * 2 where o_orderkey between {order} and {order} + 90"
            ),
            2 => format!("delete from lineitem where l_orderkey between {order} and {order} + 9"),
            3 => format!("delete from orders where o_orderkey between {order} and {order} + 9"),
            _ => format!(
                "insert into lineitem select l_orderkey, l_partkey, l_suppkey, l_linenumber + 10, l_quantity, l_extendedprice, \
                 l_discount, l_tax, l_returnflag, l_linestatus, l_shipdate, l_commitdate, l_receiptdate, l_shipinstruct, \
                 l_shipmode, l_comment from lineitem where l_orderkey between {order} and {order} + 20 on conflict do nothing"
            ),
        };
        run(&mut client, &sql);
        if changes.fetch_add(1, Ordering::Relaxed) % 50 == 49 {
            run(&mut client, "checkpoint");
        }
    }
}

/// Stops the changes also if a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A snapshot taken before all changes has the known answers; one taken between changes has those of a copy that is
/// made at the same snapshot.
#[test]
fn while_rows_change() {
    let (_folder, server, mut client) = start();
    load(server.address(), &TABLES, |_| true);
    run(&mut client, "create table lineitem_copy as select * from lineitem limit 0");
    run(&mut client, "create table orders_copy as select * from orders limit 0");
    run(&mut client, "begin isolation level repeatable read; select count(*) from region");
    let (stop, changes, expected) = (AtomicBool::new(false), AtomicU64::new(0), answers());
    std::thread::scope(|scope| {
        let stopped = Stop(&stop);
        let writer = scope.spawn(|| change(server.address(), &stop, &changes));
        for number in CHANGED {
            let got = run(&mut client, &query(number));
            assert!(got == expected[number - 1], "query {number} while rows change:\n{got}");
        }
        // On a busy machine the queries may be over before many rows have changed.
        while changes.load(Ordering::Relaxed) < CHANGES_LEAST && !writer.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        run(&mut client, "commit; begin isolation level repeatable read");
        run(&mut client, "insert into lineitem_copy select * from lineitem");
        run(&mut client, "insert into orders_copy select * from orders");
        let mut different = 0;
        for number in CHANGED {
            let sql = query(number);
            let got = run(&mut client, &sql);
            let copied = sql.replace("lineitem", "lineitem_copy").replace(" orders", " orders_copy");
            let of_copy = run(&mut client, &copied);
            assert!(got == of_copy, "query {number}:\n{got}\nover the copy:\n{of_copy}");
            different += usize::from(got != expected[number - 1]);
        }
        assert!(different > 0, "nothing has changed");
        drop(stopped);
        writer.join().unwrap();
        println!("{} changes", changes.load(Ordering::Relaxed));
    });
}

/// The file of answers is what PostgreSQL says. With `OMENDB_WRITE_ANSWERS` it is written.
#[test]
fn answers_are_postgresqls() {
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => return println!("skipped: {reason}"),
    };
    server.create_database("omen");
    let mut client = WireClient::connect(server.address(), "omen", "omen").unwrap();
    run(&mut client, &schema());
    load(server.address(), &TABLES, |_| true);
    run(&mut client, "analyze");
    let mut text = String::new();
    for number in 1..=QUERIES {
        let _ = write!(text, "-- q{number:02}\n{}", run(&mut client, &query(number)));
    }
    if std::env::var_os("OMENDB_WRITE_ANSWERS").is_some() {
        std::fs::write(answers_path(), &text).unwrap();
    }
    assert!(text == std::fs::read_to_string(answers_path()).unwrap(), "PostgreSQL answers something else");
}
