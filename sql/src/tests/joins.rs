//! Joins that scripts cannot say: random ones, written so that they run in different ways, and their limits.

use std::rc::Rc;

use futures_lite::future::block_on;
use omen_core::env::Env;
use omen_core::router::{CancelFlag, Router};
use omen_core::types::Datum;

use super::mem_router::MemRouter;
use crate::error::{Result, SqlError};
use crate::session::{Outcome, RowBatch, Scope, Session};

pub(super) struct Client<R: Router> {
    pub(super) session: Session<R>,
    cancel: CancelFlag,
}

impl<R: Router> Client<R> {
    pub(super) fn new(router: R) -> Client<R> {
        let cancel = CancelFlag::default();
        Client { session: Session::new(router, "omen", "omen", cancel.clone()), cancel }
    }

    /// The rows of a statement, in order of their text.
    async fn rows(&mut self, sql: &str) -> Result<Vec<String>> {
        let prepared = self.session.parse(sql, &[]).await?;
        let mut rows = Vec::new();
        if let Outcome::Rows(mut stream) = self.session.execute(&prepared, &[], Scope::Alone).await? {
            let columns = prepared.columns().expect("rows have columns");
            while let Some(batch) = stream.next().await? {
                let RowBatch::Arrow(batch) = batch else { panic!("joins give batches") };
                for row in 0..batch.num_rows() {
                    let cells = batch.columns().iter().zip(columns);
                    let cells = cells.map(|(array, column)| {
                        match crate::expr::datum_at(array, column.pg_type, row) {
                            Datum::Null => "NULL ".to_owned(),
                            value => format!("{value:?} "),
                        }
                    });
                    rows.push(cells.collect());
                }
            }
        }
        rows.sort();
        Ok(rows)
    }

    pub(super) fn run(&mut self, sql: &str) -> Result<Vec<String>> {
        block_on(self.rows(sql))
    }

    fn error(&mut self, sql: &str) -> SqlError {
        self.run(sql).expect_err(sql)
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A query over four tables, with `equal` between what must be equal.
fn query(random: &mut Random, equal: fn(&str, &str) -> String) -> String {
    let columns = ["id", "k", "s"];
    let mut from = "t0 a".to_owned();
    let names = ["a", "b", "c", "d"];
    let count = 2 + random.below(3) as usize;
    for index in 1..count {
        let table = random.one(&["t0", "t1", "t2", "t3"]);
        let kind = random.one(&["join", "join", "left join", "right join", "full join"]);
        let partner = names[random.below(index as u64) as usize];
        let column = random.one(&columns);
        let other = if column == "s" { "s" } else { random.one(&["id", "k"]) };
        let name = names[index];
        let mut on = equal(&format!("{partner}.{column}"), &format!("{name}.{other}"));
        match random.below(6) {
            0 => on += &format!(" and {}", equal(&format!("{partner}.k"), &format!("{name}.k"))),
            1 => on += &format!(" and {partner}.id < {name}.k"),
            2 => on += &format!(" and {name}.k > {}", random.below(10)),
            3 => on += &format!(" and {partner}.k > {}", random.below(10)),
            _ => {}
        }
        from += &format!(" {kind} {table} {name} on {on}");
    }
    let mut sql = format!("select * from {from}");
    let name = names[random.below(count as u64) as usize];
    sql += &match random.below(7) {
        0 => format!(" where {name}.k < {}", random.below(20)),
        1 => format!(" where {name}.s is null"),
        2 => format!(" where {name}.id in (1, 2, 3, 200)"),
        3 => format!(" where {}", equal(&format!("{name}.id"), "a.k")),
        4 => format!(" where coalesce({name}.k, 3) < 9 or a.id is null"),
        _ => String::new(),
    };
    sql
}

/// Three tables of different sizes and kinds of keys, and an empty one.
async fn fill<R: Router>(client: &mut Client<R>, random: &mut Random) {
    let keys = ["id int primary key, k int, s text", "id int, k int, s text, primary key (id, k)"];
    for (table, rows) in [("t0", 8), ("t1", 60), ("t2", 25), ("t3", 0)] {
        let columns = match table {
            "t1" => keys[0].replace("k int", "k bigint"),
            "t2" => keys[1].to_owned(),
            _ => keys[0].to_owned(),
        };
        client.rows(&format!("create table {table} ({columns})")).await.expect("valid");
        for id in 0..rows {
            let number = |random: &mut Random| match random.below(6) {
                0 if table != "t2" => "null".to_owned(),
                1 => (195 + random.below(8)).to_string(),
                _ => random.below(20).to_string(),
            };
            let (k, s) = (number(random), random.one(&["null", "'x'", "'yy'", "''"]));
            let id = if id % 5 == 4 { id + 190 } else { id };
            client.rows(&format!("insert into {table} values ({id}, {k}, {s})")).await.expect("valid");
        }
    }
}

/// Two ways to say that values are equal, of which only one is a key of a join.
async fn compare<R: Router>(client: &mut Client<R>, seed: u64, rounds: u64) {
    let mut random = Random(seed);
    fill(client, &mut random).await;
    for round in 0..rounds {
        let state = random.0;
        let hashed = query(&mut random, |a, b| format!("{a} = {b}"));
        random.0 = state;
        let looped = query(&mut random, |a, b| format!("({a} <= {b} and not {a} < {b})"));
        let expected = client.rows(&looped).await.expect("valid");
        assert_eq!(client.rows(&hashed).await.expect("valid"), expected, "round {round}: {hashed}");
    }
}

#[test]
fn joins_by_hash_and_by_loop_on_the_test_double() {
    block_on(compare(&mut Client::new(MemRouter::new()), 0xDEAD_BEEF_0BAD_F00D, 250));
}

#[test]
fn joins_by_hash_and_by_loop_on_the_engine() {
    for seed in 1..4u64 {
        let sim = omen_core::env::sim::Sim::new(seed);
        let cores = super::start_engine(&sim, 2);
        let core = cores[0].clone();
        let done = Rc::new(std::cell::Cell::new(false));
        let told = done.clone();
        core.env().clone().spawn(async move {
            let mut client = Client::new(core);
            compare(&mut client, 0x1234_5678_9ABC_DEF1 * seed, 40).await;
            told.set(true);
        });
        assert!(sim.run_until(|| done.get()), "seed {seed} hangs");
    }
}

#[test]
fn cancelling_and_timeouts_stop_joins() {
    let router = MemRouter::new();
    let mut client = Client::new(router.clone());
    client.run("create table t (id int primary key)").expect("valid");
    let rows = (0..500).map(|id| format!("({id})")).collect::<Vec<_>>().join(", ");
    client.run(&format!("insert into t values {rows}")).expect("valid");
    let endless = "select a.id from t a, t b, t c, t d where a.id + b.id + c.id + d.id < 0";
    block_on(async {
        let select = client.session.parse(endless, &[]).await.expect("valid");
        let Outcome::Rows(mut rows) = client.session.execute(&select, &[], Scope::Alone).await.expect("runs")
        else {
            panic!("rows");
        };
        client.cancel.set(true);
        let Err(error) = rows.next().await else { panic!("cancelled") };
        assert_eq!(error.state.code(), "57014");
    });
    client.run("set statement_timeout = '5ms'").expect("valid");
    block_on(async {
        let select = client.session.parse(endless, &[]).await.expect("valid");
        let Outcome::Rows(mut rows) = client.session.execute(&select, &[], Scope::Alone).await.expect("runs")
        else {
            panic!("rows");
        };
        router.pass_time(6_000);
        let Err(error) = rows.next().await else { panic!("timed out") };
        assert_eq!(
            (error.state.code(), &*error.message),
            ("57014", "canceling statement due to statement timeout")
        );
    });
}

#[test]
fn memory_and_width_are_bounded() {
    let mut client = Client::new(MemRouter::new());
    client.run("create table t (id int primary key, s text)").expect("valid");
    let rows = (0..4_000).map(|n| format!("({n}, 'text number {n}')")).collect::<Vec<_>>().join(", ");
    client.run(&format!("insert into t values {rows}")).expect("valid");
    client.run("set work_mem = '64kB'").expect("valid");
    assert_eq!(client.run("select a.s from t a join t b using (s)").expect("puts aside").len(), 4_000);
    assert_eq!(client.run("select a.s from t a join t b using (s) where b.id < 5").expect("little").len(), 5);
    client.run("set temp_file_limit = '64kB'").expect("valid");
    assert_eq!(client.error("select a.s from t a join t b using (s)").state.code(), "53400");
    client.run("reset all").expect("valid");
    let many = |count: usize| {
        let tables: Vec<String> = (0..count).map(|n| format!("t t{n}")).collect();
        let equal: Vec<String> = (1..count).map(|n| format!("t{n}.id = t{}.id", n - 1)).collect();
        format!("select t0.id from {} where t0.id = 7 and {}", tables.join(", "), equal.join(" and "))
    };
    assert_eq!(client.run(&many(128)).expect("as many as allowed").len(), 1);
    assert_eq!(client.error(&many(129)).state.code(), "54000");
    let nested = |depth: usize| {
        let open = "(".repeat(depth);
        let joins: String = (0..depth).map(|n| format!(" join t t{n} on true)")).collect();
        format!("select 1 from {open}t{joins} where false")
    };
    assert!(client.run(&nested(40)).expect("deep").is_empty());
    let error = client.error(&nested(20_000));
    assert!(["54001", "54000", "42601"].contains(&error.state.code()), "{error}");
}

#[test]
fn joins_do_not_depend_on_memory() {
    let mut client = Client::new(MemRouter::new());
    for table in ["t", "u"] {
        let create = format!("create table {table} (id int primary key, a int, b text, c int)");
        client.run(&create).expect("valid");
        let step = if table == "t" { 1 } else { 2 };
        // `a` has many partners, most rows have one value in `c`, and there are NULLs in both.
        let row = |n: i32| {
            let a = if n % 11 == 0 { "null".to_owned() } else { (n % 97).to_string() };
            let c = if n % 13 == 0 { n.to_string() } else { "5".to_owned() };
            format!("({}, {a}, 'text number {}', {c})", n * step, n % 150)
        };
        let rows = (0..400).map(row).collect::<Vec<_>>().join(", ");
        client.run(&format!("insert into {table} values {rows}")).expect("valid");
    }
    let queries = [
        "select t.id, u.id from t join u using (a) where t.id < 200",
        "select t.id, u.b from t left join u on t.id = u.id and u.a > 3",
        "select t.id, u.id from t full join u on t.a = u.a and t.b = u.b",
        "select t.id, u.id from t right join u on t.b = u.b and t.id < u.id",
        "select count(*), sum(t.id + u.id) from t join u using (c)",
        "select t.id, u.id from t left join u on t.id = 2 * u.id + 1",
        "select count(*), sum(t.id - u.id) from t join u on t.id < u.id and t.a > u.a",
        "select t.id, u.id from t full join u on t.c = u.c and t.id = u.id",
        "select id from t where a in (select a from u where id > 100)",
        "select id from t where a not in (select a from u where a is not null and a < 50)",
        "select id from t where a not in (select a from u)",
        "select id, a in (select a from u where id > 300), a not in (select a from u) from t",
        "select id from t where exists (select from u where u.c = t.c and u.id > t.id)",
        "select id from t where not exists (select from u where u.b = t.b and u.a < t.a)",
        "select id, (select b from u where u.id = t.id) from t",
        "select id, (select max(a) from u where u.id < t.id) from t where id < 30",
        "select t.id, u.id from t join u on t.a is not distinct from u.a where t.id > 350",
    ];
    for sql in queries {
        client.session.spill_beyond(1 << 30);
        let expected = client.run(sql).expect("enough memory");
        for bytes in [1, 3_000, 20_000] {
            client.session.spill_beyond(bytes);
            assert!(client.run(sql).expect("puts aside") == expected, "{bytes} bytes: {sql}");
        }
    }
    let two = client.error("select id, (select b from u where u.c = t.c) from t");
    assert_eq!(two.state.code(), "21000");
}

#[test]
fn plans_of_joins_follow_the_catalog() {
    let router = MemRouter::new();
    let mut client = Client::new(router.clone());
    for table in ["t", "u"] {
        client.run(&format!("create table {table} (id int primary key, v int)")).expect("valid");
        client.run(&format!("insert into {table} values (1, 1)")).expect("valid");
    }
    let select = block_on(client.session.parse("select * from t join u using (id)", &[])).expect("valid");
    let mut execute = || {
        block_on(async {
            match client.session.execute(&select, &[], Scope::Alone).await? {
                Outcome::Rows(mut rows) => rows.next().await.map(|batch| batch.is_some()),
                _ => panic!("rows"),
            }
        })
    };
    assert!(execute().expect("valid"));
    let mut other = Client::new(router);
    other.run("drop table u").expect("valid");
    assert_eq!(execute().expect_err("gone").state.code(), "42P01");
    other.run("create table u (id int primary key, v int)").expect("valid");
    assert!(!execute().expect("the same shape, and empty"));
}

#[test]
fn many_keys_narrow_the_other_scan_to_an_interval() {
    let mut client = Client::new(MemRouter::new());
    for (table, k) in [("small", "bigint"), ("large", "int")] {
        client.run(&format!("create table {table} (id int primary key, k {k})")).expect("valid");
    }
    let mut insert = |table: &str, ids: std::ops::Range<i64>, k: fn(i64) -> i64| {
        let rows = ids.map(|id| format!("({id}, {})", k(id))).collect::<Vec<_>>().join(", ");
        client.run(&format!("insert into {table} values {rows}")).expect("valid");
    };
    insert("small", 0..1_500, |id| 5_000_000_000 * (id / 1_400) + 2_000 + id);
    insert("large", 0..6_000, |id| 6_000 - id);
    for (column, sum) in [("id", 17_997_000), ("k", 18_003_000)] {
        // Keys from 2,000 to 3,399 have a partner; those from 5,000,003,400 on are beyond the other column's type.
        let sql = format!(
            "select count(*), min(s.id), max(s.id), sum(l.{column}) from large l join small s on s.k = l.{column}"
        );
        let expected = "Int8(1400) Int4(0) Int4(1399) Int8(3779300) ";
        assert_eq!(client.run(&sql).expect("valid"), [expected], "{sql}");
        let outer = sql.replace("join small", "left join small");
        let expected = format!("Int8(6000) Int4(0) Int4(1399) Int8({sum}) ");
        assert_eq!(client.run(&outer).expect("valid"), [expected], "{outer}");
    }
}

#[test]
fn keys_narrow_scans_below_groupings() {
    let sim = omen_core::env::sim::Sim::new(5);
    let cores = super::start_engine(&sim, 2);
    let core = cores[0].clone();
    let done = Rc::new(std::cell::Cell::new(0));
    let slot = done.clone();
    core.env().clone().spawn(async move {
        let mut client = Client::new(core);
        for sql in [
            "create table few (id int primary key, k bigint, c int)",
            "create table many (id int primary key, k int, v int)",
            "insert into few select g, 7 * g, g % 3 from generate_series(1, 1500) g",
            "insert into many select g, case when g % 11 = 0 then null else g % 3000 end, g % 5 from generate_series(1, 3000) g",
            "insert into many select g, case when g % 11 = 0 then null else g % 3000 end, g % 5 from generate_series(3001, 6000) g",
        ] {
            client.rows(sql).await.expect("valid");
        }
        let mut compared = 0;
        for join in ["join", "left join", "right join", "full join"] {
            for (few, groups) in [("", "k"), ("where id > 1495", "k"), ("", "k, v"), ("where c = 5", "k")] {
                let sql = format!(
                    "select count(*), sum(f.id), sum(g.n), sum(g.s), min(g.k), max(g.k) from (select * from few {few}) f \
                     {join} (select k, count(*) n, sum(v) s from many group by {groups}) g on g.k = f.k"
                );
                client.rows("set enable_direct = on").await.expect("valid");
                let narrowed = client.rows(&sql).await.expect("valid");
                client.rows("set enable_direct = off").await.expect("valid");
                assert_eq!(narrowed, client.rows(&sql).await.expect("valid"), "{sql}");
                compared += 1;
            }
        }
        slot.set(compared);
    });
    assert!(sim.run_until(|| done.get() > 0), "the queries hang");
    assert_eq!(done.get(), 16);
}
