//! CH-benCHmark (Cole et al., "The mixed workload CH-benCHmark", DBTest 2011): transactions of TPC-C, and beside them
//! queries like those of TPC-H over the same tables, with three tables more.
//!
//! Most requests are TPC-C's; beside their medians in a run of `tpcc` at the same rate stands what the queries cost them.
//! How fresh analytics are is measured as `seen`: a row is committed, and the time ends when a scan of another session,
//! asked again and again, has counted it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::tpcc::{self, Tpcc};
use super::{Done, Random, Session, Workload, answer_text, expect, statement};
use crate::harness::wire::{Client, Error, Result, Target};

const QUERIES: &str = include_str!("queries.sql");
const KINDS: [&str; 28] = [
    "new-order",
    "payment",
    "order-status",
    "delivery",
    "stock-level",
    "seen",
    "q01",
    "q02",
    "q03",
    "q04",
    "q05",
    "q06",
    "q07",
    "q08",
    "q09",
    "q10",
    "q11",
    "q12",
    "q13",
    "q14",
    "q15",
    "q16",
    "q17",
    "q18",
    "q19",
    "q20",
    "q21",
    "q22",
];
/// Kinds of TPC-C's transactions come first, then this, then the queries.
const SEEN: usize = 5;
const FIRST_QUERY: usize = 6;
/// Of so many requests one is a query, and one waits until a row is seen.
const REQUESTS_PER_QUERY: u64 = 40;
/// After this a row will not be seen any more.
const SEEN_LIMIT: Duration = Duration::from_secs(10);

const SUPPLIERS: u64 = 10_000;
const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
/// A nation for each letter that states of customers begin with; its key is the letter's code.
const NATIONS: std::ops::RangeInclusive<u8> = b'a'..=b'z';

pub(super) struct Ch {
    transactions: Tpcc,
    /// The number of the next query.
    next: AtomicUsize,
    /// The number of the next row that is to be seen.
    marks: AtomicU64,
    /// The session that looks for rows of others.
    looker: Mutex<Option<Client>>,
    /// What the queries answered before the first transaction.
    answers: Mutex<BTreeMap<&'static str, String>>,
}

/// The queries without their titles.
fn queries() -> impl Iterator<Item = &'static str> {
    QUERIES
        .split("-- q")
        .skip(1)
        .filter_map(|part| Some(part.split_once('\n')?.1.trim().trim_end_matches(';')))
}

impl Ch {
    pub(super) fn new(scale: f64) -> Ch {
        Ch {
            transactions: Tpcc::new(scale),
            next: AtomicUsize::new(0),
            marks: AtomicU64::new(0),
            looker: Mutex::new(None),
            answers: Mutex::default(),
        }
    }

    /// Commits a row and waits until another session's scan has counted it.
    fn wait_until_seen(&self, client: &mut Client, target: &Target) -> Result<u64> {
        let mark = format!("mark {}", self.marks.fetch_add(1, Ordering::Relaxed));
        let mut looker = self.looker.lock().expect("nobody panics with it");
        let looker = match &mut *looker {
            Some(looker) => looker,
            none => {
                let mut client = Client::connect(target)?;
                client.prepare("look", "SELECT count(*) FROM perf_history WHERE h_data = $1::text")?;
                none.insert(client)
            }
        };
        let retries = statement(client, "mark", &[&mark], "INSERT 0 1")?;
        let committed = Instant::now();
        while looker.run("look", &[&mark])?.number(0, 0)? != 1 {
            if committed.elapsed() > SEEN_LIMIT {
                return Err(Error::Wrong(format!("{mark} is not seen for {SEEN_LIMIT:?}")));
            }
        }
        Ok(retries)
    }
}

impl Workload for Ch {
    fn kinds(&self) -> &[&'static str] {
        &KINDS
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        self.transactions.load(client)?;
        *self.looker.lock().expect("nobody panics with it") = None;
        load_suppliers(client)?;
        client.query("ANALYZE")?;
        let kinds = &KINDS[FIRST_QUERY..];
        let ask = |(kind, sql)| Ok((kind, answer_text(&client.query(sql)?)?));
        *self.answers.lock().expect("nobody panics with it") =
            kinds.iter().copied().zip(queries()).map(ask).collect::<Result<_>>()?;
        Ok(())
    }

    fn prepare(&self, client: &mut Client) -> Result<()> {
        self.transactions.prepare(client)?;
        let mark = "INSERT INTO perf_history VALUES (1, 1, 1, 1, 1, now(), 0, $1::text)";
        client.prepare("mark", mark)?;
        let mut named = KINDS[FIRST_QUERY..].iter().zip(queries());
        named.try_for_each(|(kind, sql)| client.prepare(kind, sql))
    }

    fn request(&self, session: &mut Session, random: &mut Random) -> Result<Done> {
        match random.below(REQUESTS_PER_QUERY) {
            0 => {
                let kind =
                    FIRST_QUERY + self.next.fetch_add(1, Ordering::Relaxed) % (KINDS.len() - FIRST_QUERY);
                session.client.run(KINDS[kind], &[])?;
                Ok(Done { kind, retries: 0 })
            }
            1 => {
                let retries = self.wait_until_seen(&mut session.client, &session.target)?;
                Ok(Done { kind: SEEN, retries })
            }
            _ => self.transactions.request(session, random),
        }
    }

    fn verify(&self, client: &mut Client) -> Result<()> {
        self.transactions.verify(client)?;
        let seen = client.query("SELECT count(*) FROM perf_history WHERE h_data LIKE 'mark %'")?;
        let most = self.marks.load(Ordering::Relaxed) as i64;
        expect("whether no more rows are marked than were written", seen.number(0, 0)? <= most, true)
    }

    fn answers(&self) -> BTreeMap<&'static str, String> {
        self.answers.lock().expect("nobody panics with it").clone()
    }
}

/// The tables that TPC-C does not have. Which supplier has an item follows from its number and its warehouse.
fn load_suppliers(client: &mut Client) -> Result<()> {
    let tables = [
        ("region", "r_regionkey int PRIMARY KEY, r_name text NOT NULL"),
        ("nation", "n_nationkey int PRIMARY KEY, n_name text NOT NULL, n_regionkey int NOT NULL"),
        (
            "supplier",
            "su_suppkey int PRIMARY KEY, su_name text NOT NULL, su_address text NOT NULL, su_nationkey int NOT NULL, \
             su_phone text NOT NULL, su_acctbal numeric(12,2) NOT NULL, su_comment text NOT NULL",
        ),
    ];
    for (name, columns) in tables {
        client.query(&format!("DROP TABLE IF EXISTS perf_{name}"))?;
        client.query(&format!("CREATE TABLE perf_{name} ({columns})"))?;
    }
    let regions = REGIONS.iter().enumerate().map(|(key, name)| format!("{key}\t{name}"));
    client.copy("COPY perf_region FROM STDIN", regions)?;
    let region = |letter: u8| usize::from(letter) % REGIONS.len();
    let nations =
        NATIONS.map(|letter| format!("{letter}\tNATION {}\t{}", char::from(letter), region(letter)));
    client.copy("COPY perf_nation FROM STDIN", nations)?;
    let mut random = Random::new(SUPPLIERS);
    let suppliers = (0..SUPPLIERS).map(|key| {
        let nation = NATIONS.start() + random.below(NATIONS.len() as u64) as u8;
        let (address, phone) = (tpcc::letters(&mut random, 10, 40), random.below(1_000_000_000));
        let comment = if key % 100 == 0 { "bad" } else { "good" };
        format!(
            "{key}\tSUPPLIER {key:05}\t{address}\t{nation}\t{phone:09}\t{}.00\t{comment}",
            random.below(10_000)
        )
    });
    client.copy("COPY perf_supplier FROM STDIN", suppliers).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_query() {
        assert_eq!(queries().count(), KINDS.len() - FIRST_QUERY);
        assert_eq!(KINDS[..SEEN], tpcc::KINDS);
        assert!(queries().all(|sql| sql.contains("SELECT") && !sql.contains("--")));
    }
}
