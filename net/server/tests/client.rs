//! Real clients load the flights and get the answers that a reference gives, in text and in binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use futures_util::SinkExt;
use omen_tests::flights::{self, Flight};
use omen_tests::rng::Rng;
use omen_tests::server::{Server, Setup};
use tokio_postgres::{Client, Row, SimpleQueryMessage};

/// Far above what the slowest test takes.
const LIMIT: Duration = Duration::from_secs(300);

/// The questions, in the order of `reference`.
const QUESTIONS: [&str; 8] = [
    "SELECT carrier, count(*), count(dep_delay), sum(air_time), min(dep_delay), max(arr_delay) \
     FROM flights GROUP BY carrier ORDER BY 2 DESC, 1",
    "SELECT time_hour, carrier, flight, dep_delay FROM flights WHERE dep_delay IS NOT NULL \
     ORDER BY dep_delay DESC, time_hour, carrier, flight LIMIT 10",
    "SELECT count(*), count(dep_time), count(tailnum), sum(distance) FROM flights",
    "SELECT count(*) FROM flights WHERE dep_time IS NULL AND tailnum IS NOT NULL",
    "SELECT month, origin, count(*), sum(CASE WHEN arr_delay > 60 THEN 1 ELSE 0 END) FROM flights \
     WHERE dest IN ('LAX', 'SFO', 'BOS') GROUP BY month, origin ORDER BY month, origin",
    "SELECT * FROM flights WHERE time_hour >= '2013-07-04 00:00:00+00' AND time_hour < '2013-07-04 12:00:00+00' \
     ORDER BY time_hour, carrier, flight",
    "SELECT DISTINCT dest FROM flights WHERE carrier = 'HA' OR dest LIKE 'A%' ORDER BY dest",
    "SELECT dep_delay, flight FROM flights WHERE carrier = 'OO' \
     ORDER BY dep_delay NULLS FIRST, time_hour, flight LIMIT 5 OFFSET 2",
];

type Values = Vec<Option<String>>;

fn text(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}

/// The answers to `QUESTIONS`, computed from the rows.
fn reference(flights: &[Flight]) -> Vec<Vec<Values>> {
    vec![
        by_carrier(flights),
        worst_delays(flights),
        counts(flights),
        vec![vec![text(flights.iter().filter(|f| f.dep_time.is_none() && f.tailnum.is_some()).count())]],
        late_arrivals(flights),
        one_morning(flights),
        destinations(flights),
        nulls_first(flights),
    ]
}

fn by_carrier(flights: &[Flight]) -> Vec<Values> {
    let mut groups: BTreeMap<&str, Vec<&Flight>> = BTreeMap::new();
    for flight in flights {
        groups.entry(&flight.carrier).or_default().push(flight);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(carrier, group)| (usize::MAX - group.len(), *carrier));
    let line = |(carrier, group): (&str, Vec<&Flight>)| {
        vec![
            text(carrier),
            text(group.len()),
            text(group.iter().filter(|f| f.dep_delay.is_some()).count()),
            text(group.iter().filter_map(|f| f.air_time).map(i64::from).sum::<i64>()),
            group.iter().filter_map(|f| f.dep_delay).min().map(|delay| delay.to_string()),
            group.iter().filter_map(|f| f.arr_delay).max().map(|delay| delay.to_string()),
        ]
    };
    groups.into_iter().map(line).collect()
}

fn worst_delays(flights: &[Flight]) -> Vec<Values> {
    let mut known: Vec<&Flight> = flights.iter().filter(|f| f.dep_delay.is_some()).collect();
    known.sort_by_key(|f| (-f.dep_delay.unwrap(), f.time_hour, &f.carrier, f.flight));
    let line = |f: &&Flight| {
        vec![text(flights::utc(f.time_hour)), text(&f.carrier), text(f.flight), text(f.dep_delay.unwrap())]
    };
    known[..10].iter().map(line).collect()
}

fn counts(flights: &[Flight]) -> Vec<Values> {
    vec![vec![
        text(flights.len()),
        text(flights.iter().filter(|f| f.dep_time.is_some()).count()),
        text(flights.iter().filter(|f| f.tailnum.is_some()).count()),
        text(flights.iter().map(|f| i64::from(f.distance)).sum::<i64>()),
    ]]
}

fn late_arrivals(flights: &[Flight]) -> Vec<Values> {
    let mut groups: BTreeMap<(i32, &str), (u64, u64)> = BTreeMap::new();
    for f in flights.iter().filter(|f| ["LAX", "SFO", "BOS"].contains(&&*f.dest)) {
        let (count, late) = groups.entry((f.month, &f.origin)).or_default();
        *count += 1;
        *late += u64::from(f.arr_delay.is_some_and(|delay| delay > 60));
    }
    let line = |((month, origin), (count, late))| vec![text(month), text(origin), text(count), text(late)];
    groups.into_iter().map(line).collect()
}

fn one_morning(flights: &[Flight]) -> Vec<Values> {
    let morning = 1_372_896_000..1_372_939_200;
    let mut found: Vec<&Flight> = flights.iter().filter(|f| morning.contains(&f.time_hour)).collect();
    found.sort_by_key(|f| (f.time_hour, &f.carrier, f.flight));
    found.into_iter().map(Flight::values).collect()
}

fn destinations(flights: &[Flight]) -> Vec<Values> {
    let mut found: Vec<&str> =
        flights.iter().filter(|f| f.carrier == "HA" || f.dest.starts_with('A')).map(|f| &*f.dest).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|dest| vec![text(dest)]).collect()
}

fn nulls_first(flights: &[Flight]) -> Vec<Values> {
    let mut found: Vec<&Flight> = flights.iter().filter(|f| f.carrier == "OO").collect();
    // None sorts before Some.
    found.sort_by_key(|f| (f.dep_delay, f.time_hour, f.flight));
    found[2..7].iter().map(|f| vec![f.dep_delay.map(|delay| delay.to_string()), text(f.flight)]).collect()
}

fn start() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
    (folder, server)
}

/// psql with this server, or `None` with the reason printed where it is not installed.
fn psql(server: &Server) -> Option<Command> {
    let mut command = Command::new("psql");
    if let Err(e) = command.arg("--version").output() {
        println!("skipped: psql cannot be run ({e}); install postgresql-client");
        return None;
    }
    let address = server.address();
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "omen", "-d", "omen", "-h"]);
    command.arg(address.ip().to_string()).arg("-p").arg(address.port().to_string());
    command.env("PGTZ", "UTC").env_remove("PGPASSWORD").stdin(Stdio::null());
    Some(command)
}

fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn psql_loads_and_asks() {
    let (folder, server) = start();
    let Some(_) = psql(&server) else { return };
    let flights = flights::load();
    let names = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,\
                 tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n";
    let csv = folder.path().join("flights.csv");
    std::fs::write(&csv, names.to_owned() + &flights::lines(&flights, ",", "")).unwrap();
    let psql = |arguments: &[&str]| {
        let mut command = psql(&server).unwrap();
        command.args(arguments);
        run(command)
    };
    psql(&["-c", &flights::create_table("flights")]);
    let copy = format!("\\copy flights FROM '{}' WITH (FORMAT csv, HEADER true)", csv.display());
    psql(&["-c", &copy]);
    for (question, expected) in QUESTIONS.iter().zip(reference(&flights)) {
        let answer = psql(&["-A", "-t", "-F", ";", "-P", "null=NULL", "-c", question]);
        let line = |values: Values| {
            values
                .into_iter()
                .map(|value| value.unwrap_or_else(|| "NULL".into()))
                .collect::<Vec<_>>()
                .join(";")
        };
        let expected: Vec<String> = expected.into_iter().map(line).collect();
        assert_eq!(answer.lines().collect::<Vec<_>>(), expected, "{question}");
    }
    let back = folder.path().join("back.csv");
    psql(&["-c", &format!("\\copy flights TO '{}' WITH (FORMAT csv, HEADER true)", back.display())]);
    let sorted = |path: &std::path::Path| {
        let mut lines: Vec<String> =
            std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&back), sorted(&csv));
    server.stop();
}

async fn copy_in(client: &Client, sql: &str, data: String) -> u64 {
    let sink = client.copy_in(sql).await.unwrap();
    let mut sink = std::pin::pin!(sink);
    for chunk in data.into_bytes().chunks(1 << 20) {
        sink.send(bytes::Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    sink.finish().await.unwrap()
}

async fn load(client: &Client, flights: &[Flight]) {
    client.batch_execute(&flights::create_table("flights")).await.unwrap();
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let rows = copy_in(client, "COPY flights FROM STDIN", flights::lines(flights, "\t", "\\N")).await;
    assert_eq!(rows, flights.len() as u64);
}

/// An answer in text format, through the simple protocol.
async fn ask(client: &Client, sql: &str) -> Vec<Values> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect::<Values>())
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// A row of `SELECT * FROM flights` in binary format, as a flight.
fn decode(row: &Row) -> Flight {
    let time: SystemTime = row.get("time_hour");
    let time_hour = time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    Flight {
        year: row.get(0),
        month: row.get(1),
        day: row.get(2),
        dep_time: row.get(3),
        sched_dep_time: row.get(4),
        dep_delay: row.get(5),
        arr_time: row.get(6),
        sched_arr_time: row.get(7),
        arr_delay: row.get(8),
        carrier: row.get(9),
        flight: row.get(10),
        tailnum: row.get(11),
        origin: row.get(12),
        dest: row.get(13),
        air_time: row.get(14),
        distance: row.get(15),
        hour: row.get(16),
        minute: row.get(17),
        time_hour: i64::try_from(time_hour).unwrap(),
    }
}

#[test]
fn tokio_postgres_loads_and_asks() {
    let (_folder, server) = start();
    let mut flights = flights::load();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        load(&client, &flights).await;
        for (question, expected) in QUESTIONS.iter().zip(reference(&flights)) {
            assert_eq!(ask(&client, question).await, expected, "{question}");
        }
        means(&client, &flights).await;
        flights.sort_by(|a, b| (a.time_hour, &a.carrier, a.flight).cmp(&(b.time_hour, &b.carrier, b.flight)));
        point_reads(&client, &flights).await;
        range_reads(&client, &flights).await;
        all_rows(&client, &flights).await;
    });
    server.stop();
}

/// Means and deviations: numeric in text, float8 in binary.
async fn means(client: &Client, flights: &[Flight]) {
    let mut delays: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for flight in flights {
        let known = delays.entry(&flight.carrier).or_default();
        known.extend(flight.dep_delay.map(f64::from));
    }
    let sql = "SELECT carrier, avg(dep_delay), avg(dep_delay)::float8, stddev(dep_delay)::float8 FROM flights \
               WHERE carrier >= $1 GROUP BY carrier ORDER BY carrier";
    let texts = ask(client, &sql.replace("$1", "''")).await;
    let rows = client.query(sql, &[&""]).await.unwrap();
    assert_eq!((rows.len(), texts.len()), (delays.len(), delays.len()));
    for ((row, text), (carrier, delays)) in rows.iter().zip(&texts).zip(&delays) {
        assert_eq!(row.get::<_, &str>(0), *carrier);
        let count = delays.len() as f64;
        let mean = delays.iter().sum::<f64>() / count;
        let variance = delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let close = |value: f64, expected: f64| {
            assert!((value - expected).abs() <= expected.abs() * 1e-9, "{carrier}: {value} {expected}");
        };
        close(text[1].as_ref().unwrap().parse().unwrap(), mean);
        close(row.get(2), mean);
        close(row.get(3), variance.sqrt());
    }
}

async fn point_reads(client: &Client, flights: &[Flight]) {
    let sql = "SELECT * FROM flights WHERE time_hour = $1 AND carrier = $2 AND flight = $3";
    let statement = client.prepare(sql).await.unwrap();
    let mut rng = Rng::from_environment();
    for _ in 0..1_000 {
        let expected = &flights[rng.below(flights.len() as u64) as usize];
        let rows =
            client.query(&statement, &[&expected.time(), &expected.carrier, &expected.flight]).await.unwrap();
        assert_eq!(rows.iter().map(decode).collect::<Vec<_>>(), std::slice::from_ref(expected));
    }
    let nothing = client.query(&statement, &[&flights[0].time(), &"XX", &1i32]).await.unwrap();
    assert!(nothing.is_empty());
}

/// `flights` are in the order of their keys.
async fn range_reads(client: &Client, flights: &[Flight]) {
    let sql =
        "SELECT * FROM flights WHERE time_hour >= $1 AND time_hour < $2 ORDER BY time_hour, carrier, flight";
    let statement = client.prepare(sql).await.unwrap();
    let mut rng = Rng::from_environment();
    for _ in 0..50 {
        let begin = rng.below(flights.len() as u64 - 2_000) as usize;
        let end = begin + rng.below(2_000) as usize;
        let (from, to) = (flights[begin].time_hour, flights[end].time_hour);
        let rows = client.query(&statement, &[&flights[begin].time(), &flights[end].time()]).await.unwrap();
        let first = flights.partition_point(|f| f.time_hour < from);
        let after = flights.partition_point(|f| f.time_hour < to);
        assert_eq!(rows.iter().map(decode).collect::<Vec<_>>(), flights[first..after]);
    }
}

async fn all_rows(client: &Client, flights: &[Flight]) {
    let rows = client.query("SELECT * FROM flights ORDER BY time_hour, carrier, flight", &[]).await.unwrap();
    assert_eq!(rows.len(), flights.len());
    for (row, expected) in rows.iter().zip(flights) {
        assert_eq!(decode(row), *expected);
    }
}

/// The rows are the same after a clean restart, after a crash, and from segments on disk.
#[test]
fn what_was_loaded_outlives_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let setup =
        Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).option("--memory", "144MiB");
    let mut flights = flights::load();
    flights.truncate(120_000);
    let server = setup.start();
    omen_tests::block_on(LIMIT, async { load(&server.connect().await, &flights).await });
    server.kill();
    flights.sort_by(|a, b| (a.time_hour, &a.carrier, a.flight).cmp(&(b.time_hour, &b.carrier, b.flight)));
    for round in 0..3 {
        let server = setup.start();
        omen_tests::block_on(LIMIT, async {
            let client = server.connect().await;
            all_rows(&client, &flights).await;
            if round == 0 {
                client.batch_execute("CHECKPOINT").await.unwrap();
                all_rows(&client, &flights).await;
            }
        });
        if round == 1 { server.kill() } else { server.stop() }
    }
}
