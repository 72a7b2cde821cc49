//! The scripts of `tests/slt` on the real binary, by both query protocols, and on PostgreSQL where it is installed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use omen_tests::postgres::Postgres;
use omen_tests::server::Setup;
use omen_tests::slt::{Outcome, Target, run, scripts};
use omen_tests::wire::Protocol;

fn check(outcomes: impl Iterator<Item = Outcome>) {
    let (mut records, mut failures) = (0, Vec::new());
    for outcome in outcomes {
        records += outcome.records;
        failures.extend(outcome.failures);
    }
    assert!(failures.is_empty(), "{} of {records} records failed\n{}", failures.len(), failures.join("\n"));
    assert!(records > 0, "there are no scripts");
    println!("{records} records");
}

/// Every script on a node of its own.
fn on_fresh_nodes(protocol: Protocol) {
    check(scripts().iter().map(|script| {
        let folder = tempfile::tempdir().unwrap();
        let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
        let (user, database) = ("omen".to_owned(), "omen".to_owned());
        run(script, &Target { address: server.address(), user, database, engine: "omendb", protocol })
    }));
}

#[test]
fn by_the_simple_protocol() {
    on_fresh_nodes(Protocol::Simple);
}

#[test]
fn by_the_extended_protocol() {
    on_fresh_nodes(Protocol::Extended);
}

#[test]
fn on_postgres() {
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => return println!("skipped: {reason}"),
    };
    check(scripts().iter().enumerate().map(|(number, script)| {
        let database = format!("script{number}");
        server.create_database(&database);
        let (address, user) = (server.address(), "omen".to_owned());
        run(script, &Target { address, user, database, engine: "postgresql", protocol: Protocol::Simple })
    }));
}
