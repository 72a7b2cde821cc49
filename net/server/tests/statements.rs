//! Very deep and very long statements on the real binary: an answer or a plain error, and the session goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use omen_tests::server::Setup;
use omen_tests::wire::{Protocol, WireClient};

/// What a statement that asks for too much may end in: too complex, too long, out of memory, not supported.
const REFUSALS: [&str; 4] = ["54001", "54000", "53200", "0A000"];

/// Statements, and the rows that each must have if it is not refused.
fn statements() -> Vec<(&'static str, String, Option<usize>)> {
    let depth = 50_000;
    let list =
        |from: usize| (from..from + 100_000).map(|item| item.to_string()).collect::<Vec<_>>().join(", ");
    let literal = "x".repeat(1 << 20);
    vec![
        ("brackets", format!("select {}1{}", "(".repeat(depth), ")".repeat(depth)), Some(1)),
        ("NOT", format!("select {}true", "not ".repeat(depth)), Some(1)),
        ("signs", format!("select {}1", "- ".repeat(depth)), Some(1)),
        ("sums", format!("select 1{}", " + 1".repeat(depth)), Some(1)),
        ("AND", format!("select 1 where true{}", " and true".repeat(depth)), Some(1)),
        (
            "CASE",
            format!("select {}1{}", "case when true then ".repeat(depth), " end".repeat(depth)),
            Some(1),
        ),
        ("calls", format!("select {}1{}", "abs(".repeat(depth), ")".repeat(depth)), Some(1)),
        (
            "queries",
            format!("select 1 from {}t{}", "(select * from ".repeat(5_000), ") as q".repeat(5_000)),
            Some(2),
        ),
        ("UNION", format!("select 1{}", " union select 1".repeat(20_000)), Some(1)),
        ("UNION ALL", format!("select 1{}", " union all select 1".repeat(20_000)), Some(20_001)),
        ("IN", format!("select id from t where id in ({})", list(2)), Some(1)),
        ("NOT IN", format!("select id from t where a not in ({})", list(100)), Some(2)),
        ("VALUES", format!("values {}", vec!["(1)"; 100_000].join(", ")), Some(100_000)),
        ("a literal", format!("select length('{literal}')"), Some(1)),
        ("a literal as a condition", format!("select id from t where s = '{literal}'"), Some(0)),
        ("a literal as a number", format!("select '{literal}'::int"), None),
        ("a name", format!("select 1 as \"{literal}\""), Some(1)),
        ("digits", format!("select {}", "9".repeat(1 << 20)), None),
    ]
}

fn on_a_node(protocol: Protocol) {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
    let mut client = WireClient::connect(server.address(), "omen", "omen").unwrap();
    let mut run = |sql: &str| client.run(sql, protocol).unwrap();
    run("create table t (id int primary key, a int, s text)").unwrap();
    run("insert into t values (1, 1, 'a'), (2, 2, 'b')").unwrap();
    for (what, sql, rows) in statements() {
        match (run(&sql), rows) {
            (Ok(answer), Some(rows)) => assert_eq!(answer.rows.len(), rows, "{what}"),
            (Ok(_), None) => panic!("{what} is no valid statement"),
            (Err(error), Some(_)) => {
                assert!(REFUSALS.contains(&error.code.as_str()), "{what}: {}", error.code);
                assert!(error.message.len() < 200, "{what}: {}", error.message);
            }
            (Err(error), None) => assert!(error.code.starts_with("22"), "{what}: {}", error.code),
        }
        assert_eq!(run("select count(*) from t").unwrap().rows, [[Some("2".to_owned())]], "after {what}");
    }
    server.stop();
}

#[test]
fn by_the_simple_protocol() {
    on_a_node(Protocol::Simple);
}

#[test]
fn by_the_extended_protocol() {
    on_a_node(Protocol::Extended);
}
