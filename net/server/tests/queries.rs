//! Random queries on the real binary: the same answer however a query runs, in whole or in parts, and from PostgreSQL
//! where it is installed.
//!
//! `OMENDB_TEST_SEED` chooses other tables and queries, `OMENDB_TEST_ROUNDS` more of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use omen_tests::postgres::Postgres;
use omen_tests::queries::{Generator, Pair, statements};
use omen_tests::rng::Rng;
use omen_tests::server::{Server, Setup};
use omen_tests::wire::{Answer, Protocol, ServerError, WireClient};

/// The seed unless another is chosen: what these tests do in CI does not depend on the day.
const SEED: u64 = 4;
/// Sets of tables unless others are chosen.
const ROUNDS: u64 = 3;
/// Queries over each set of tables.
const QUERIES: u64 = 50;
/// The type of numbers that are equal with different scales.
const NUMERIC: u32 = 1_700;

fn number_from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A node, its folder, and a session.
fn start() -> (tempfile::TempDir, Server, WireClient) {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
    let client = WireClient::connect(server.address(), "omen", "omen").unwrap();
    (folder, server, client)
}

fn ask(client: &mut WireClient, sql: &str, protocol: Protocol) -> Result<Answer, ServerError> {
    let t = std::time::Instant::now();
    let r = client.run(sql, protocol).unwrap_or_else(|error| panic!("{error} after {sql}"));
    if t.elapsed().as_millis() > 700 {
        println!("SLOW {:?} {sql}", t.elapsed());
    }
    r
}

/// The rows of an answer in an order of their own, numbers without the zeros that only show their scale.
fn rows(answer: &Answer, ordered: bool) -> Vec<Vec<Option<String>>> {
    let mut rows = answer.rows.clone();
    for (column, oid) in answer.types.iter().enumerate().filter(|(_, oid)| **oid == NUMERIC) {
        debug_assert_eq!(*oid, NUMERIC);
        for value in
            rows.iter_mut().filter_map(|row| row[column].as_mut()).filter(|value| value.contains('.'))
        {
            let short = value.trim_end_matches('0').trim_end_matches('.').len();
            value.truncate(short);
        }
    }
    if !ordered {
        rows.sort();
    }
    rows
}

/// Why two answers are not the same.
fn difference(
    expected: &Result<Answer, ServerError>,
    got: &Result<Answer, ServerError>,
    ordered: bool,
) -> Option<String> {
    match (expected, got) {
        (Ok(expected), Ok(got)) => {
            let (expected, got) = (rows(expected, ordered), rows(got, ordered));
            (expected != got).then(|| format!("expected {expected:?}\ngot      {got:?}"))
        }
        (Err(expected), Err(got)) if expected.code == got.code => None,
        (expected, got) => {
            let told = |answer: &Result<Answer, ServerError>| match answer {
                Ok(answer) => format!("{} rows", answer.rows.len()),
                Err(error) => error.to_string(),
            };
            Some(format!("expected {}\ngot      {}", told(expected), told(got)))
        }
    }
}

/// Failures with the statements that make their tables.
fn report(failures: &[String], seed: u64) {
    assert!(
        failures.is_empty(),
        "{} failures with OMENDB_TEST_SEED={seed}\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

fn seed() -> u64 {
    let seed = number_from_environment("OMENDB_TEST_SEED", SEED);
    println!("OMENDB_TEST_SEED={seed}");
    seed
}

fn make_tables(rng: &mut Rng, round: u64, run: &mut dyn FnMut(&str)) {
    if round > 0 {
        run("drop table t0, t1, t2, t3, t4");
    }
    statements(rng).iter().for_each(|statement| run(statement));
}

/// Conditions part a query's rows into three: where they are true, false and unknown (TLP); and their values count as
/// many rows as they let through (NoREC).
#[test]
fn in_parts() {
    let seed = seed();
    let (_folder, _server, mut client) = start();
    let (mut rng, mut failures) = (Rng::new(seed), Vec::new());
    for round in 0..number_from_environment("OMENDB_TEST_ROUNDS", ROUNDS) {
        make_tables(&mut rng, round, &mut |sql| drop(ask(&mut client, sql, Protocol::Simple).unwrap()));
        let mut generator = Generator::new(rng.fork());
        for number in 0..QUERIES {
            let Pair { plain, parts } =
                if number % 3 == 0 { generator.count_pair() } else { generator.partition_pair() };
            let (whole, in_parts) =
                (ask(&mut client, &plain, Protocol::Extended), ask(&mut client, &parts, Protocol::Simple));
            let problem = match &whole {
                Err(error) => Some(error.to_string()),
                Ok(_) => difference(&whole, &in_parts, false),
            };
            failures.extend(problem.map(|problem| format!("round {round}: {plain};\n{parts};\n{problem}")));
        }
    }
    report(&failures, seed);
}

/// A query answers the same whether conditions on keys choose what is read, and wherever it filters and groups.
#[test]
fn in_other_classes() {
    let seed = seed();
    let (_folder, server, mut client) = start();
    let mut others: Vec<WireClient> = [
        "set enable_direct = off",
        "set enable_scatter = off",
        "set enable_direct = off; set enable_scatter = off",
    ]
    .into_iter()
    .map(|settings| {
        let mut client = WireClient::connect(server.address(), "omen", "omen").unwrap();
        ask(&mut client, settings, Protocol::Simple).unwrap();
        client
    })
    .collect();
    let (mut rng, mut failures) = (Rng::new(seed), Vec::new());
    for round in 0..number_from_environment("OMENDB_TEST_ROUNDS", ROUNDS) {
        make_tables(&mut rng, round, &mut |sql| drop(ask(&mut client, sql, Protocol::Simple).unwrap()));
        let mut generator = Generator::new(rng.fork());
        for _ in 0..QUERIES {
            let (sql, ordered) = generator.query();
            let expected = ask(&mut client, &sql, Protocol::Extended);
            for (way, other) in others.iter_mut().enumerate() {
                let problem = difference(&expected, &ask(other, &sql, Protocol::Simple), ordered);
                failures
                    .extend(problem.map(|problem| format!("round {round}, way {way}: {sql};\n{problem}")));
            }
        }
    }
    report(&failures, seed);
}

#[test]
fn as_postgresql() {
    let reference = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let seed = seed();
    let (_folder, _server, mut client) = start();
    let mut expecting = WireClient::connect(reference.address(), "omen", "postgres").unwrap();
    let (mut rng, mut failures) = (Rng::new(seed), Vec::new());
    let mut errors = 0;
    for round in 0..number_from_environment("OMENDB_TEST_ROUNDS", ROUNDS) {
        make_tables(&mut rng, round, &mut |sql| {
            let done = ask(&mut client, sql, Protocol::Simple).unwrap();
            assert_eq!(ask(&mut expecting, sql, Protocol::Simple).unwrap().tag, done.tag, "{sql}");
        });
        let mut generator = Generator::new(rng.fork());
        for number in 0..QUERIES {
            let (sql, ordered) = generator.query();
            let protocol = if number % 2 == 0 { Protocol::Simple } else { Protocol::Extended };
            let (expected, got) =
                (ask(&mut expecting, &sql, Protocol::Simple), ask(&mut client, &sql, protocol));
            errors += u64::from(expected.is_err());
            let problem = difference(&expected, &got, ordered);
            failures.extend(problem.map(|problem| format!("round {round}: {sql};\n{problem}")));
        }
    }
    println!("{errors} errors");
    report(&failures, seed);
}
