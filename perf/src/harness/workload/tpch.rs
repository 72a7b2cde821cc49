//! TPC-H: its 22 queries, one after the other on each connection. Tables, queries and PostgreSQL's answers at scale 0.01
//! are in `tests/data/tpch`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

use super::{Done, Random, Session, Workload, answer_text, expect, rounded};
use crate::harness::wire::{Client, Error, Result};

/// The scale whose answers are known, and the least.
const KNOWN_SCALE: f64 = 0.01;
const ANSWERS: &str = include_str!("../../../../tests/data/tpch/answers.txt");
const SCHEMA: &str = include_str!("../../../../tests/data/tpch/schema.sql");

macro_rules! queries {
    ($($name:literal)*) => {
        [$(include_str!(concat!("../../../../tests/data/tpch/", $name, ".sql"))),*]
    };
}

const QUERIES: [&str; 22] = queries!(
    "q01" "q02" "q03" "q04" "q05" "q06" "q07" "q08" "q09" "q10" "q11" "q12" "q13" "q14" "q15" "q16" "q17" "q18" "q19"
    "q20" "q21" "q22"
);
const KINDS: [&str; 22] = [
    "q01", "q02", "q03", "q04", "q05", "q06", "q07", "q08", "q09", "q10", "q11", "q12", "q13", "q14", "q15",
    "q16", "q17", "q18", "q19", "q20", "q21", "q22",
];
const TABLES: [&str; 8] =
    ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];
/// Lines of one COPY: what a transaction changes must fit into the memory of small servers.
const COPIED_LINES: usize = 200_000;

pub(super) struct Tpch {
    scale: f64,
    /// The number of the next query.
    next: AtomicUsize,
    /// The first answer to each query, as text.
    answers: Mutex<BTreeMap<usize, String>>,
}

impl Tpch {
    pub(super) fn new(scale: f64) -> Tpch {
        let known = ANSWERS.split("-- q").skip(1).filter_map(|part| part.split_once('\n'));
        let known = known.map(|(_, answer)| answer.to_owned()).enumerate();
        let answers = if scale == KNOWN_SCALE { known.collect() } else { BTreeMap::new() };
        Tpch { scale, next: AtomicUsize::new(0), answers: Mutex::new(answers) }
    }

    fn lines(&self, table: &str) -> Box<dyn Iterator<Item = String>> {
        let scale = self.scale;
        match table {
            "region" => written(RegionGenerator::new(scale, 1, 1).iter()),
            "nation" => written(NationGenerator::new(scale, 1, 1).iter()),
            "supplier" => written(SupplierGenerator::new(scale, 1, 1).iter()),
            "customer" => written(CustomerGenerator::new(scale, 1, 1).iter()),
            "part" => written(PartGenerator::new(scale, 1, 1).iter()),
            "partsupp" => written(PartSuppGenerator::new(scale, 1, 1).iter()),
            "orders" => written(OrderGenerator::new(scale, 1, 1).iter()),
            _ => written(LineItemGenerator::new(scale, 1, 1).iter()),
        }
    }
}

/// Rows without the `|` that ends them.
fn written<'a>(rows: impl Iterator<Item: Display> + 'a) -> Box<dyn Iterator<Item = String> + 'a> {
    Box::new(rows.map(|row| {
        let mut line = row.to_string();
        line.pop();
        line
    }))
}

/// The text with `perf_` in front of the names of tables: others of the database are left alone.
fn with_own_tables(sql: &str) -> String {
    let mut own = String::with_capacity(sql.len() + 64);
    let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == '\'';
    for word in sql.split_inclusive(|character| !is_part(character)) {
        if TABLES.contains(&word.trim_end_matches(|character| !is_part(character))) {
            own.push_str("perf_");
        }
        own.push_str(word);
    }
    own
}

impl Workload for Tpch {
    fn kinds(&self) -> &[&'static str] {
        &KINDS
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        if self.scale < KNOWN_SCALE {
            let why = format!("below scale {KNOWN_SCALE} TPC-H's rows are not unique");
            return Err(Error::Wrong(why));
        }
        for table in TABLES {
            client.query(&format!("DROP TABLE IF EXISTS perf_{table}"))?;
        }
        client.query(&with_own_tables(SCHEMA))?;
        for table in TABLES {
            let mut lines = self.lines(table).peekable();
            while lines.peek().is_some() {
                let part = lines.by_ref().take(COPIED_LINES);
                client.copy(&format!("COPY perf_{table} FROM STDIN WITH (DELIMITER '|')"), part)?;
            }
        }
        for table in TABLES {
            client.query(&format!("VACUUM perf_{table}"))?;
        }
        client.query("ANALYZE").map(drop)
    }

    fn prepare(&self, client: &mut Client) -> Result<()> {
        for (name, sql) in KINDS.iter().zip(QUERIES) {
            client.prepare(name, &with_own_tables(sql))?;
        }
        Ok(())
    }

    fn request(&self, session: &mut Session, _random: &mut Random) -> Result<Done> {
        let kind = self.next.fetch_add(1, Ordering::Relaxed) % KINDS.len();
        let answer = answer_text(&session.client.run(KINDS[kind], &[])?)?;
        let mut answers = self.answers.lock().expect("nobody panics with it");
        let first = answers.entry(kind).or_insert_with(|| answer.clone());
        if *first == answer || session.rounds && rounded(first) == rounded(&answer) {
            return Ok(Done { kind, retries: 0 });
        }
        let line =
            answer.lines().zip(first.lines()).position(|(line, known)| line != known).unwrap_or_default();
        expect(&format!("{}, lines", KINDS[kind]), answer.lines().count(), first.lines().count())?;
        expect(
            &format!("{}, line {}", KINDS[kind], line + 1),
            answer.lines().nth(line),
            first.lines().nth(line),
        )?;
        Ok(Done { kind, retries: 0 })
    }

    fn verify(&self, client: &mut Client) -> Result<()> {
        let lines = client.query("SELECT count(*), count(DISTINCT l_orderkey) FROM perf_lineitem")?;
        let orders = client.query("SELECT count(*) FROM perf_orders")?.number(0, 0)?;
        expect("orders with lines", lines.number(0, 1)?, orders)?;
        expect("whether each order has up to seven lines", lines.number(0, 0)? <= 7 * orders, true)
    }

    fn answers(&self) -> BTreeMap<&'static str, String> {
        let answers = self.answers.lock().expect("nobody panics with it");
        answers.iter().map(|(kind, answer)| (KINDS[*kind], answer.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_get_a_prefix() {
        let sql = "SELECT o_orderkey, 'part' FROM orders, partsupp ps WHERE p_part = c_orders AND supplier_no=part.x";
        let own = "SELECT o_orderkey, 'part' FROM perf_orders, perf_partsupp ps WHERE p_part = c_orders AND supplier_no=perf_part.x";
        assert_eq!(with_own_tables(sql), own);
    }
}
