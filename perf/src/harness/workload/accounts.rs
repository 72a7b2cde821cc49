//! Accounts, tellers, branches and a history of what was moved: pgbench's tables and transactions, which are those of
//! TPC-B but for details.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Done, Random, Session, Workload, expect, scaled, statement, transaction};
use crate::harness::wire::{Client, Result};

/// Accounts of scale 1, and of a branch of larger scales.
const ACCOUNTS: u64 = 100_000;
/// Tellers of a branch.
const TELLERS: u64 = 10;

/// What requests do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Select,
    Update,
    Transfer,
}

pub(super) struct Accounts {
    request: Request,
    branches: u64,
    accounts: u64,
    /// Numbers of the history's rows.
    next: AtomicU64,
}

impl Accounts {
    pub(super) fn new(request: Request, scale: f64) -> Accounts {
        let branches = (scale as u64).max(1);
        Accounts { request, branches, accounts: scaled(ACCOUNTS, scale), next: AtomicU64::new(0) }
    }

    fn select(&self, client: &mut Client, account: &str) -> Result<u64> {
        let answer = client.run("select", &[account])?;
        expect("rows of an account", answer.row_count(), 1)?;
        expect("the account", answer.text(0, 0)?, Some(account))?;
        Ok(0)
    }

    fn transfer(&self, client: &mut Client, account: &str, random: &mut Random) -> Result<u64> {
        let teller = (random.below(self.branches * TELLERS) + 1).to_string();
        let branch = (random.below(self.branches) + 1).to_string();
        let delta = (random.below(10_001) as i64 - 5_000).to_string();
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        transaction(client, |client| {
            expect(
                "UPDATE of an account",
                client.run("update", &[&delta, account])?.tag.as_str(),
                "UPDATE 1",
            )?;
            self.select(client, account)?;
            expect("UPDATE of a teller", client.run("teller", &[&delta, &teller])?.tag.as_str(), "UPDATE 1")?;
            expect("UPDATE of a branch", client.run("branch", &[&delta, &branch])?.tag.as_str(), "UPDATE 1")?;
            let row = [&number, &teller, &branch, account, &delta];
            expect("INSERT", client.run("history", &row)?.tag.as_str(), "INSERT 0 1")
        })
    }
}

impl Workload for Accounts {
    fn kinds(&self) -> &[&'static str] {
        match self.request {
            Request::Select => &["select"],
            Request::Update => &["update"],
            Request::Transfer => &["transfer"],
        }
    }

    fn load(&self, client: &mut Client) -> Result<()> {
        for table in ["accounts", "tellers", "branches", "history"] {
            client.query(&format!("DROP TABLE IF EXISTS perf_{table}"))?;
        }
        client
            .query("CREATE TABLE perf_branches (id int PRIMARY KEY, balance bigint NOT NULL, filler text)")?;
        client.query(
            "CREATE TABLE perf_tellers (id int PRIMARY KEY, branch int NOT NULL, balance bigint NOT NULL, filler text)",
        )?;
        client.query(
            "CREATE TABLE perf_accounts (id int PRIMARY KEY, branch int NOT NULL, balance bigint NOT NULL, filler text)",
        )?;
        client.query(
            "CREATE TABLE perf_history (id bigint PRIMARY KEY, teller int, branch int, account int, delta bigint, \
             at timestamptz)",
        )?;
        let filler = "x".repeat(84);
        let rows = |count: u64, of_branch: u64| {
            let filler = &filler;
            (1..=count).map(move |id| format!("{id}\t{}\t0\t{filler}", (id - 1) / of_branch + 1))
        };
        let branches = (1..=self.branches).map(|id| format!("{id}\t0\t{filler}"));
        client.copy("COPY perf_branches FROM STDIN", branches)?;
        client.copy("COPY perf_tellers FROM STDIN", rows(self.branches * TELLERS, TELLERS))?;
        client.copy(
            "COPY perf_accounts FROM STDIN",
            rows(self.accounts, self.accounts.div_ceil(self.branches)),
        )?;
        Ok(())
    }

    fn prepare(&self, client: &mut Client) -> Result<()> {
        client.query("SET default_transaction_isolation = 'read committed'")?;
        client.prepare("select", "SELECT id, balance FROM perf_accounts WHERE id = $1::int")?;
        for (name, table) in [("update", "accounts"), ("teller", "tellers"), ("branch", "branches")] {
            let sql = format!("UPDATE perf_{table} SET balance = balance + $1::bigint WHERE id = $2::int");
            client.prepare(name, &sql)?;
        }
        client.prepare(
            "history",
            "INSERT INTO perf_history VALUES ($1::bigint, $2::int, $3::int, $4::int, $5::bigint, now())",
        )
    }

    fn request(&self, session: &mut Session, random: &mut Random) -> Result<Done> {
        let account = (random.below(self.accounts) + 1).to_string();
        let client = &mut session.client;
        let retries = match self.request {
            Request::Select => self.select(client, &account)?,
            Request::Update => statement(client, "update", &["1", &account], "UPDATE 1")?,
            Request::Transfer => self.transfer(client, &account, random)?,
        };
        Ok(Done { kind: 0, retries })
    }

    fn verify(&self, client: &mut Client) -> Result<()> {
        let counted = client.query("SELECT count(*) FROM perf_accounts")?.number(0, 0)?;
        expect("accounts", counted, self.accounts as i64)?;
        if self.request != Request::Transfer {
            return Ok(());
        }
        let moved = client.query("SELECT coalesce(sum(delta), 0)::bigint FROM perf_history")?.number(0, 0)?;
        for table in ["accounts", "tellers", "branches"] {
            let sum = client.query(&format!("SELECT sum(balance)::bigint FROM perf_{table}"))?;
            expect(&format!("what {table} have"), sum.number(0, 0)?, moved)?;
        }
        Ok(())
    }
}
