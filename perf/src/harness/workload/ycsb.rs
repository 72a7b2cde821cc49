//! YCSB's core workloads A to F (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010): rows of ten
//! texts of 100 bytes, found by keys like `user6284781860667377211`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::zipf::Zipf;
use super::{Done, Random, Session, Workload, expect, scaled, statement, transaction};
use crate::harness::wire::{Client, Error, Result};
use crate::rows::mix;

const FIELDS: usize = 10;
const FIELD_BYTES: usize = 100;
/// Rows of scale 1.
const ROWS: u64 = 100_000;
/// Longest scan, in rows.
const SCAN_ROWS: u64 = 100;

const KINDS: [&str; 5] = ["read", "update", "insert", "scan", "read-modify-write"];
const READ: usize = 0;
const UPDATE: usize = 1;
const INSERT: usize = 2;
const SCAN: usize = 3;
const MODIFY: usize = 4;

pub(super) struct Ycsb {
    /// Per cent of each of [`KINDS`].
    shares: [u64; 5],
    /// Reads prefer the newest rows instead of the same few.
    latest: bool,
    rows: u64,
    zipf: Zipf,
    /// Rows that there are, or that are being inserted.
    given: AtomicU64,
    /// Rows that were inserted, with what was loaded.
    there: AtomicU64,
}

impl Ycsb {
    pub(super) fn named(name: &str, scale: f64) -> Option<Ycsb> {
        let shares = match name {
            "a" => [50, 50, 0, 0, 0],
            "b" => [95, 5, 0, 0, 0],
            "c" => [100, 0, 0, 0, 0],
            "d" => [95, 0, 5, 0, 0],
            "e" => [0, 0, 5, 95, 0],
            "f" => [50, 0, 0, 0, 50],
            _ => return None,
        };
        let rows = scaled(ROWS, scale);
        let there = || AtomicU64::new(rows);
        Some(Ycsb {
            shares,
            latest: name == "d",
            rows,
            zipf: Zipf::new(rows),
            given: there(),
            there: there(),
        })
    }

    fn kind(&self, random: &mut Random) -> usize {
        let mut drawn = random.below(100);
        for (kind, share) in self.shares.into_iter().enumerate() {
            if drawn < share {
                return kind;
            }
            drawn -= share;
        }
        READ
    }

    /// A row that is there.
    fn row(&self, random: &mut Random) -> u64 {
        let drawn = self.zipf.draw(random);
        match self.latest {
            true => self.there.load(Ordering::Acquire).saturating_sub(drawn + 1),
            // The few that are drawn often lie anywhere.
            false => mix(drawn) % self.rows,
        }
    }

    fn read(&self, client: &mut Client, row: u64) -> Result<()> {
        let answer = client.run("read", &[&key(row)])?;
        // The newest rows may be of inserts that are not answered yet.
        if answer.row_count() == 0 && row >= self.rows {
            return Ok(());
        }
        expect("rows of a key", answer.row_count(), 1)?;
        expect("the key", answer.text(0, 0)?, Some(key(row).as_str()))?;
        expect("a field", answer.text(0, FIELDS)?.map(str::len), Some(FIELD_BYTES))
    }

    fn insert(&self, client: &mut Client, random: &mut Random) -> Result<u64> {
        let row = self.given.fetch_add(1, Ordering::Relaxed);
        let values: Vec<String> =
            std::iter::once(key(row)).chain((0..FIELDS).map(|_| field(random))).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let retries = statement(client, "insert", &values, "INSERT 0 1")?;
        self.there.fetch_add(1, Ordering::Release);
        Ok(retries)
    }

    fn scan(&self, client: &mut Client, random: &mut Random) -> Result<u64> {
        let (first, rows) = (key(self.row(random)), random.below(SCAN_ROWS) + 1);
        let answer = client.run("scan", &[&first, &rows.to_string()])?;
        if answer.row_count() as u64 > rows || answer.row_count() == 0 {
            return Err(Error::Wrong(format!("a scan of {rows} rows gives {}", answer.row_count())));
        }
        expect("the first key of a scan", answer.text(0, 0)?, Some(first.as_str()))?;
        Ok(0)
    }
}

/// A key that does not tell the row's number; different for different ones.
fn key(row: u64) -> String {
    format!("user{:020}", mix(row))
}

/// Letters and digits.
fn field(random: &mut Random) -> String {
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..FIELD_BYTES).map(|_| char::from(letters[random.below(letters.len() as u64) as usize])).collect()
}

impl Workload for Ycsb {
    fn kinds(&self) -> &[&'static str] {
        &KINDS
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        client.query("DROP TABLE IF EXISTS perf_ycsb")?;
        let fields: String = (0..FIELDS).map(|field| format!(", field{field} text")).collect();
        client.query(&format!("CREATE TABLE perf_ycsb (id text PRIMARY KEY{fields})"))?;
        let mut random = Random::new(self.rows);
        let line = |row| {
            let fields: Vec<String> = (0..FIELDS).map(|_| field(&mut random)).collect();
            format!("{}\t{}", key(row), fields.join("\t"))
        };
        let copied = client.copy("COPY perf_ycsb FROM STDIN", (0..self.rows).map(line))?;
        expect("rows copied", copied, self.rows)
    }

    fn prepare(&self, client: &mut Client) -> Result<()> {
        client.query("SET default_transaction_isolation = 'read committed'")?;
        client.prepare("read", "SELECT * FROM perf_ycsb WHERE id = $1::text")?;
        for field in 0..FIELDS {
            let sql = format!("UPDATE perf_ycsb SET field{field} = $1::text WHERE id = $2::text");
            client.prepare(&format!("update{field}"), &sql)?;
        }
        let places: Vec<String> = (1..=FIELDS + 1).map(|place| format!("${place}::text")).collect();
        client.prepare("insert", &format!("INSERT INTO perf_ycsb VALUES ({})", places.join(", ")))?;
        client.prepare("scan", "SELECT * FROM perf_ycsb WHERE id >= $1::text ORDER BY id LIMIT $2::bigint")
    }

    fn request(&self, session: &mut Session, random: &mut Random) -> Result<Done> {
        let (client, kind) = (&mut session.client, self.kind(random));
        let retries = match kind {
            UPDATE => {
                let (row, name) = (self.row(random), format!("update{}", random.below(FIELDS as u64)));
                statement(client, &name, &[&field(random), &key(row)], "UPDATE 1")?
            }
            INSERT => self.insert(client, random)?,
            SCAN => self.scan(client, random)?,
            MODIFY => {
                let (row, name) = (self.row(random), format!("update{}", random.below(FIELDS as u64)));
                let value = field(random);
                transaction(client, |client| {
                    self.read(client, row)?;
                    expect("UPDATE", client.run(&name, &[&value, &key(row)])?.tag.as_str(), "UPDATE 1")
                })?
            }
            _ => {
                self.read(client, self.row(random))?;
                0
            }
        };
        Ok(Done { kind, retries })
    }

    fn verify(&self, client: &mut Client) -> Result<()> {
        let counted = client.query("SELECT count(*), count(DISTINCT id) FROM perf_ycsb")?;
        let (rows, keys) = (counted.number(0, 0)?, counted.number(0, 1)?);
        expect("different keys", keys, rows)?;
        let (least, most) = (self.there.load(Ordering::Acquire), self.given.load(Ordering::Acquire));
        match (least as i64..=most as i64).contains(&rows) {
            true => Ok(()),
            // An insert whose connection broke may be there or not.
            false => Err(Error::Wrong(format!("{rows} rows and not {least} to {most}"))),
        }
    }
}
