//! Rows of a measuring device that come in, by one, by the hundred, or by COPY.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Done, Random, Session, Workload, expect, statement};
use crate::harness::wire::{Client, Result};

/// Rows of a statement of `insert-many`.
const MANY: u64 = 100;
/// Rows of a `copy`.
const COPIED: u64 = 10_000;

/// How rows come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Insert,
    InsertMany,
    Copy,
}

pub(super) struct Ingest {
    request: Request,
    /// Rows that were begun; the next one's id.
    next: AtomicU64,
    /// Rows that were acknowledged.
    done: AtomicU64,
}

impl Ingest {
    pub(super) fn new(request: Request) -> Ingest {
        Ingest { request, next: AtomicU64::new(0), done: AtomicU64::new(0) }
    }

    fn rows(&self) -> u64 {
        match self.request {
            Request::Insert => 1,
            Request::InsertMany => MANY,
            Request::Copy => COPIED,
        }
    }
}

impl Workload for Ingest {
    fn kinds(&self) -> &[&'static str] {
        match self.request {
            Request::Insert => &["insert"],
            Request::InsertMany => &["insert-many"],
            Request::Copy => &["copy"],
        }
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        client.query("DROP TABLE IF EXISTS perf_readings")?;
        client.query(
            "CREATE TABLE perf_readings (id bigint PRIMARY KEY, device int, value double precision, at timestamptz)",
        )?;
        Ok(())
    }

    fn prepare(&self, client: &mut Client) -> Result<()> {
        let row = |at: u64| {
            let place = |column| 3 * at + column;
            format!("(${}::bigint, ${}::int, ${}::double precision, now())", place(1), place(2), place(3))
        };
        let count = if self.request == Request::InsertMany { MANY } else { 1 };
        let rows: Vec<String> = (0..count).map(row).collect();
        client.prepare("insert", &format!("INSERT INTO perf_readings VALUES {}", rows.join(", ")))
    }

    fn request(&self, session: &mut Session, random: &mut Random) -> Result<Done> {
        let count = self.rows();
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let client = &mut session.client;
        let mut values = |id: u64| {
            [id.to_string(), random.below(1_000).to_string(), format!("{:.3}", random.share() * 1_000.0)]
        };
        let mut retries = 0;
        if self.request == Request::Copy {
            let lines = (first..first + count).map(|id| values(id).join("\t") + "\t2026-01-01 00:00:00+00");
            expect("rows copied", client.copy("COPY perf_readings FROM STDIN", lines)?, count)?;
        } else {
            let params: Vec<String> = (first..first + count).flat_map(values).collect();
            let params: Vec<&str> = params.iter().map(String::as_str).collect();
            retries = statement(client, "insert", &params, &format!("INSERT 0 {count}"))?;
        }
        self.done.fetch_add(count, Ordering::Relaxed);
        Ok(Done { kind: 0, retries })
    }

    fn verify(&self, client: &mut Client) -> Result<()> {
        let counted = client.query("SELECT count(*) FROM perf_readings")?.number(0, 0)?;
        let (least, most) = (self.done.load(Ordering::Relaxed), self.next.load(Ordering::Relaxed));
        let is_right = (least as i64..=most as i64).contains(&counted);
        expect(&format!("whether {counted} rows are {least} to {most}"), is_right, true)
    }
}
