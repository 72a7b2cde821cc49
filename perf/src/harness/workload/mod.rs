//! What requests ask for. Each workload makes its own tables, checks every answer, and in the end what the tables hold.

mod accounts;
mod ch;
mod connect;
mod flights;
mod ingest;
mod series;
mod tpcc;
mod tpch;
mod ycsb;
mod zipf;

use std::collections::BTreeMap;

use super::load::{Done, Random};
use super::wire::{Answer, Client, Error, Result, Target};

/// A connection, and where it leads.
pub struct Session {
    /// The connection.
    pub client: Client,
    /// For workloads that open further ones.
    pub target: Target,
    /// Whether the server computes with other types than PostgreSQL, so that its answers are compared as [`rounded`].
    pub rounds: bool,
}

/// What requests ask for.
pub trait Workload: Send + Sync {
    /// Names of the kinds of requests.
    fn kinds(&self) -> &[&'static str];

    /// Makes the tables anew and fills them.
    ///
    /// # Errors
    /// What the server reports.
    fn load(&self, client: &mut Client) -> Result<()>;

    /// Prepares a connection for requests.
    ///
    /// # Errors
    /// What the server reports.
    fn prepare(&self, client: &mut Client) -> Result<()>;

    /// Makes a request, again if it meets others, and checks the answer.
    ///
    /// # Errors
    /// What the server reports, and [`Error::Wrong`].
    fn request(&self, session: &mut Session, random: &mut Random) -> Result<Done>;

    /// Checks what the tables hold after all requests.
    ///
    /// # Errors
    /// What the server reports, and [`Error::Wrong`].
    fn verify(&self, client: &mut Client) -> Result<()>;

    /// Answers that all servers have to give alike, by the kind of request.
    fn answers(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::new()
    }
}

/// A workload by its name.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Known {
    /// The name.
    pub name: &'static str,
    /// What its requests are.
    pub what: &'static str,
    /// Requests per second that two cores bear beside the load generator; none for those that are measured by how much is
    /// done.
    pub rate: Option<f64>,
    /// Whether it loads rows and then only asks for few of them, so that engines without transactions can run it.
    pub is_analytic: bool,
}

impl Known {
    /// The scale at which it takes as long as the others at this one.
    pub fn quick_scale(&self, scale: f64) -> f64 {
        match self.name {
            "tpch" => (scale / 100.0).max(0.01),
            _ => scale,
        }
    }
}

const fn known(name: &'static str, rate: Option<f64>, what: &'static str) -> Known {
    Known { name, what, rate, is_analytic: false }
}

const fn analytic(name: &'static str, what: &'static str) -> Known {
    Known { name, what, rate: None, is_analytic: true }
}

/// The workloads.
pub const ALL: [Known; 18] = [
    known("select", Some(1_000.0), "reads a row by its key (pgbench -S); scale 1 is 100,000 rows"),
    known(
        "update",
        Some(300.0),
        "changes a row by its key (pgbench -N without the history); scale as of select",
    ),
    known(
        "tpcb",
        Some(80.0),
        "moves money, 5 statements in a transaction (pgbench); scale 1 is 100,000 accounts of one branch",
    ),
    known(
        "tpcc",
        Some(40.0),
        "TPC-C without thinking times; scale 1 is a warehouse, below it has fewer items and customers",
    ),
    known(
        "ch",
        Some(40.0),
        "CH-benCHmark: of 40 requests one is a query over all orders, one waits until a row is seen, the others are TPC-C's; \
         scale as of tpcc",
    ),
    analytic(
        "flights",
        "8 aggregates, joins and rankings of flights, one after the other; scale 1 is 336,776 flights",
    ),
    analytic(
        "tpch",
        "the 22 queries of TPC-H, one after the other; scale 1 is 6 million lines of orders; the least, 0.01, has known answers",
    ),
    known(
        "ycsb-a",
        Some(500.0),
        "YCSB: half reads, half updates, Zipf-distributed; scale 1 is 100,000 rows of 1 kB",
    ),
    known("ycsb-b", Some(500.0), "95 % reads, 5 % updates"),
    known("ycsb-c", Some(500.0), "reads"),
    known("ycsb-d", Some(500.0), "95 % reads of the newest rows, 5 % inserts"),
    known("ycsb-e", Some(300.0), "95 % scans of up to 100 rows, 5 % inserts"),
    known("ycsb-f", Some(300.0), "half reads, half reads that are followed by an update, in a transaction"),
    known("insert", Some(300.0), "inserts a row"),
    known("insert-many", Some(100.0), "inserts 100 rows by one statement"),
    known("copy", Some(5.0), "copies 10,000 rows into a table"),
    known(
        "series",
        Some(300.0),
        "80 % appends of 10 points, 10 % the newest point of a device, 10 % means by the minute over an hour; scale 1 is \
         1,000 devices of 500 points",
    ),
    known("connect", Some(50.0), "opens a connection, asks for 1, closes it"),
];

/// A workload by its name; `scale` sizes what it loads.
pub fn named(name: &str, scale: f64) -> Option<Box<dyn Workload>> {
    let workload: Box<dyn Workload> = match name {
        "select" => Box::new(accounts::Accounts::new(accounts::Request::Select, scale)),
        "update" => Box::new(accounts::Accounts::new(accounts::Request::Update, scale)),
        "tpcb" => Box::new(accounts::Accounts::new(accounts::Request::Transfer, scale)),
        "ch" => Box::new(ch::Ch::new(scale)),
        "flights" => Box::new(flights::Flights::new(scale)),
        "tpch" => Box::new(tpch::Tpch::new(scale)),
        "series" => Box::new(series::Series::new(scale)),
        "tpcc" => Box::new(tpcc::Tpcc::new(scale)),
        "insert" => Box::new(ingest::Ingest::new(ingest::Request::Insert)),
        "insert-many" => Box::new(ingest::Ingest::new(ingest::Request::InsertMany)),
        "copy" => Box::new(ingest::Ingest::new(ingest::Request::Copy)),
        "connect" => Box::new(connect::Connect),
        _ => Box::new(ycsb::Ycsb::named(name.strip_prefix("ycsb-")?, scale)?),
    };
    Some(workload)
}

/// Rows of a table that has so many at scale 1; never fewer than 100.
fn scaled(rows: u64, scale: f64) -> u64 {
    ((rows as f64 * scale).round() as u64).max(100)
}

/// Makes a transaction, again for as long as it meets others.
fn transaction(client: &mut Client, mut body: impl FnMut(&mut Client) -> Result<()>) -> Result<u64> {
    let mut retries = 0;
    loop {
        let ended = client.query("BEGIN").and_then(|_| body(client)).and_then(|()| client.query("COMMIT"));
        match ended {
            Ok(answer) if answer.tag == "COMMIT" => return Ok(retries),
            Ok(answer) => return Err(Error::Wrong(format!("COMMIT answers {}", answer.tag))),
            Err(Error::Connection(why)) => return Err(Error::Connection(why)),
            Err(error) => {
                // After a COMMIT that failed there is no transaction: a warning at most.
                client.query("ROLLBACK")?;
                if !error.is_conflict() {
                    return Err(error);
                }
                retries += 1;
            }
        }
    }
}

/// Runs a statement of its own, again for as long as it meets others.
fn statement(client: &mut Client, name: &str, params: &[&str], tag: &str) -> Result<u64> {
    let mut retries = 0;
    loop {
        match client.run(name, params) {
            Ok(answer) if answer.tag == tag => return Ok(retries),
            Ok(answer) => return Err(Error::Wrong(format!("{name} answers {} and not {tag}", answer.tag))),
            Err(error) if error.is_conflict() => retries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The rows of an answer as text, a line for each.
fn answer_text(answer: &Answer) -> Result<String> {
    let mut text = String::new();
    for row in 0..answer.row_count() {
        for column in 0..answer.column_count(row) {
            text.push_str(if column > 0 { "|" } else { "" });
            text.push_str(answer.text(row, column)?.unwrap_or("NULL"));
        }
        text.push('\n');
    }
    Ok(text)
}

/// An answer with its numbers to five digits and its lines sorted: what servers agree in that divide and add with other
/// types, and break ties in another order.
pub(super) fn rounded(answer: &str) -> String {
    let value = |value: &str| match value.parse::<f64>() {
        Ok(number) => format!("{number:.4e}"),
        Err(_) => value.to_owned(),
    };
    let mut lines: Vec<String> =
        answer.lines().map(|line| line.split('|').map(value).collect::<Vec<_>>().join("|")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// [`Error::Wrong`] unless both are the same.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Wrong(format!("{what}: {found:?} instead of {expected:?}")))
}
