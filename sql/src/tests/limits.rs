//! Sizes, depths, cancelling and conflicts: what scripts cannot say.

use std::rc::Rc;

use futures_lite::future::block_on;
use omen_core::router::{CancelFlag, Router, Transaction};
use omen_core::types::{Datum, PgType};

use super::mem_router::MemRouter;
use crate::error::{Result, SqlError};
use crate::session::{Outcome, Prepared, RowBatch, Scope, Session, TransactionStatus};

struct Client {
    session: Session<MemRouter>,
    cancel: CancelFlag,
}

impl Client {
    fn new(router: &MemRouter) -> Client {
        let cancel = CancelFlag::default();
        Client { session: Session::new(router.clone(), "omen", "omen", cancel.clone()), cancel }
    }

    /// Runs a statement alone; answers its tag and number of rows.
    fn run(&mut self, sql: &str) -> Result<(String, u64)> {
        self.run_with(sql, &[])
    }

    fn run_with(&mut self, sql: &str, params: &[Datum]) -> Result<(String, u64)> {
        block_on(async {
            let prepared = self.session.parse(sql, &[]).await?;
            let outcome = self.session.execute(&prepared, params, Scope::Alone).await?;
            read(outcome).await
        })
    }

    fn error(&mut self, sql: &str) -> SqlError {
        match self.run(sql) {
            Ok((tag, _)) => panic!("{tag}: {}", &sql[..sql.len().min(60)]),
            Err(error) => error,
        }
    }
}

async fn read(outcome: Outcome<MemRouter>) -> Result<(String, u64)> {
    match outcome {
        Outcome::Done(tag) => Ok((tag.to_string(), 0)),
        Outcome::Rows(mut stream) => {
            let mut rows = 0;
            while let Some(batch) = stream.next().await? {
                rows += match batch {
                    RowBatch::Arrow(batch) => batch.num_rows() as u64,
                    RowBatch::Row(_) => 1,
                };
            }
            Ok((stream.tag().to_string(), rows))
        }
        _ => panic!("neither done nor rows"),
    }
}

fn client() -> Client {
    Client::new(&MemRouter::new())
}

#[test]
fn deep_and_long_statements() {
    let mut client = client();
    client.run("create table t (id int primary key, a int, s text)").expect("valid");
    let nested = |depth: usize| format!("select {}1{}", "(".repeat(depth), ")".repeat(depth));
    for depth in [200, 3_000] {
        assert_eq!(client.run(&nested(depth)).expect("deep enough").1, 1);
    }
    let sums = |depth: usize| format!("select {}id{} from t", "(".repeat(depth), " + 1)".repeat(depth));
    client.run(&sums(200)).expect("deep enough");
    client.run(&format!("select id{} from t", " + 1".repeat(500))).expect("long enough");
    let cases = "case when a = 1 then ".repeat(200) + "1" + &" end".repeat(200);
    client.run(&format!("select {cases} from t")).expect("deep enough");
    let absurd = [
        nested(50_000),
        sums(50_000),
        sums(2_000),
        format!("select id{} from t", " + 1".repeat(3_000)),
        format!("select {}1", "- ".repeat(3_000)),
        format!("select {}true", "not ".repeat(3_000)),
        format!("select {}", "(".repeat(100_000)),
        format!("select * from {}t{}", "(select * from ".repeat(3_000), ") x".repeat(3_000)),
        format!("select {}1{}", "abs(".repeat(3_000), ")".repeat(3_000)),
        format!("explain {}select 1", "explain ".repeat(10)),
    ];
    for sql in &absurd {
        let code = client.error(sql).state.code();
        assert!(["54001", "42601", "0A000"].contains(&code), "{code}: {}", &sql[..60]);
    }
    assert_eq!(client.error(&absurd[0]).state.code(), "54001");
    let ors = (0..4_000).map(|n| format!("a = {n}")).collect::<Vec<_>>().join(" or ");
    client.run(&format!("select id from t where {ors}")).expect("a flat list");
    let list = (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    client.run(&format!("select id from t where a in ({list}) or id in ({list})")).expect("a flat list");
}

/// A parser that tries one reading of a bracket and then another takes twice the time for every level.
#[test]
fn nesting_costs_no_more_than_its_length() {
    let pairs = [
        ("abs(", ")"),
        ("(", ")"),
        ("((", "), 1)"),
        ("coalesce(1, ", ")"),
        ("cast(", " as int)"),
        ("(", ")::int"),
        ("case when true then ", " end"),
        ("case ", " when 1 then 1 end"),
        ("- (", ")"),
        ("not (", ")"),
        ("1 + (", ")"),
        ("1 in (", ")"),
        ("1 in (1, ", ")"),
        ("1 between 0 and (", ")"),
        ("(1, ", ")"),
        ("row(", ")"),
        ("array[", "]"),
        ("exists (select ", ")"),
        ("(select ", ")"),
        ("1 in (select ", ")"),
        ("extract(year from ", ")"),
        ("position('a' in ", ")"),
        ("substring(", " from 1)"),
        ("trim(", ")"),
        ("trim(both 'x' from ", ")"),
        ("overlay(", " placing 'x' from 1)"),
        ("ceil(", ")"),
        ("count(*) filter (where ", ")"),
        ("sum(1) over (partition by ", ")"),
        ("interval '1' + (", ")"),
        ("(interval ", ")"),
        ("timestamp '2020-01-01' at time zone (", ")"),
        ("any(", ")"),
        ("1 = any(", ")"),
        ("x[", "]"),
        ("(x).", ""),
        ("1 is distinct from (", ")"),
        ("'a' like (", ")"),
        ("{", "}"),
    ];
    let parse = |sql: String| {
        let started = std::time::Instant::now();
        let result = crate::parse::split(&sql);
        let elapsed = started.elapsed();
        assert!(elapsed.as_secs() < 5, "{elapsed:?}: {}", &sql[..sql.len().min(80)]);
        drop(result);
    };
    for (open, close) in pairs {
        for (count, close) in [(60, close), (60, "")] {
            parse(format!("select {}1{}", open.repeat(count), close.repeat(count)));
            parse(format!("insert into t values ({}1{})", open.repeat(count), close.repeat(count)));
            parse(format!("update t set a = {}1{}", open.repeat(count), close.repeat(count)));
            parse(format!("create table t (a int default {}1{})", open.repeat(count), close.repeat(count)));
        }
    }
    for (open, close) in
        [("(select * from ", ") x"), ("(", ")"), ("(t join ", ")"), ("(values (1), ", ")"), ("f(", ")")]
    {
        for close in [close, ""] {
            parse(format!("select * from {}t{}", open.repeat(60), close.repeat(60)));
            parse(format!("{}select 1{}", open.repeat(60), close.repeat(60)));
        }
    }
}

#[test]
fn a_megabyte_of_sql() {
    let mut client = client();
    client.run("create table t (id int primary key, s text)").expect("valid");
    let rows =
        (0..30_000).map(|n| format!("({n}, 'text number {n} of many')")).collect::<Vec<_>>().join(", ");
    assert!(rows.len() > 1 << 20);
    assert_eq!(client.run(&format!("insert into t values {rows}")).expect("valid").0, "INSERT 0 30000");
    assert_eq!(client.run("select * from t where id >= 29990").expect("valid").1, 10);
    let long = "x".repeat(1 << 20);
    assert_eq!(client.run(&format!("select '{long}'")).expect("valid").1, 1);
    assert_eq!(client.error(&format!("selec '{long}'")).state.code(), "42601");
}

#[test]
fn many_parameters() {
    let mut client = client();
    client.run("create table t (id int primary key)").expect("valid");
    let list = |count: usize| (1..=count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let params: Vec<Datum> = (0..65_535).map(Datum::Int4).collect();
    let sql = format!("select id from t where id in ({})", list(65_535));
    assert_eq!(client.run_with(&sql, &params).expect("the most there can be").1, 0);
    let error = client.error(&format!("select id from t where id in ({})", list(65_536)));
    assert_eq!(error.state.code(), "54000");
    assert_eq!(client.error("select $99999999999999999999").state.code(), "42P02");
}

#[test]
fn parameter_types_come_from_where_they_stand() {
    let mut client = client();
    client
        .run("create table t (id int8 primary key, n numeric(6,2), v varchar(5), at timestamptz, ok bool)")
        .expect("valid");
    let cases: [(&str, &[PgType]); 9] = [
        ("select * from t where id = $1", &[PgType::Int8]),
        (
            "insert into t values ($1, $2, $3, $4, $5)",
            &[PgType::Int8, PgType::Numeric(None), PgType::Varchar(None), PgType::Timestamptz, PgType::Bool],
        ),
        ("update t set v = $2 where id = $1", &[PgType::Int8, PgType::Varchar(None)]),
        ("select $1", &[PgType::Text]),
        ("select $1 + 1", &[PgType::Int4]),
        ("select 1 where $1", &[PgType::Bool]),
        ("select id from t limit $1 offset $2", &[PgType::Int8, PgType::Int8]),
        ("select $1::date", &[PgType::Date]),
        (
            "select * from t where at > $1 and id in ($2, $3)",
            &[PgType::Timestamptz, PgType::Int8, PgType::Int8],
        ),
    ];
    for (sql, expected) in cases {
        let prepared: Rc<Prepared> = block_on(client.session.parse(sql, &[])).expect(sql);
        let types: Vec<PgType> = prepared.parameters().iter().map(|pg_type| pg_type.base()).collect();
        assert_eq!(types, expected, "{sql}");
    }
    let declared = block_on(client.session.parse("select $1", &[PgType::Uuid.oid()])).expect("valid");
    assert_eq!(declared.parameters(), [PgType::Uuid]);
    let error = block_on(client.session.parse("select $2", &[])).expect_err("$1 is unknown");
    assert_eq!(error.state.code(), "42P18");
    let error = block_on(client.session.parse("select $1", &[4_294_967_295])).expect_err("no such type");
    assert_eq!(error.state.code(), "42704");
}

#[test]
fn cancelling_and_timeouts() {
    let router = MemRouter::new();
    let mut client = Client::new(&router);
    client.run("create table t (id int primary key)").expect("valid");
    client.run("insert into t values (1), (100), (1000)").expect("valid");
    block_on(async {
        let select = client.session.parse("select id from t", &[]).await.expect("valid");
        let Outcome::Rows(mut rows) = client.session.execute(&select, &[], Scope::Alone).await.expect("runs")
        else {
            panic!("rows");
        };
        assert!(rows.next().await.expect("the first batch").is_some());
        client.cancel.set(true);
        let Err(error) = rows.next().await else { panic!("cancelled") };
        assert_eq!(
            (error.state.code(), &*error.message),
            ("57014", "canceling statement due to user request")
        );
        assert!(!client.cancel.get(), "one request cancels one statement");
    });
    client.cancel.set(true);
    client.run("select 1").expect("a request that came too late is forgotten");
    client.run("set statement_timeout = '5ms'").expect("valid");
    block_on(async {
        let select = client.session.parse("select id from t", &[]).await.expect("valid");
        let Outcome::Rows(mut rows) = client.session.execute(&select, &[], Scope::Alone).await.expect("runs")
        else {
            panic!("rows");
        };
        router.pass_time(4_000);
        assert!(rows.next().await.expect("in time").is_some());
        router.pass_time(2_000);
        let Err(error) = rows.next().await else { panic!("timed out") };
        assert_eq!(
            (error.state.code(), &*error.message),
            ("57014", "canceling statement due to statement timeout")
        );
    });
}

#[test]
fn conflicts_are_retried_alone_and_told_in_a_block() {
    let router = MemRouter::new();
    let (mut a, mut b) = (Client::new(&router), Client::new(&router));
    a.run("create table t (id int primary key, v int)").expect("valid");
    a.run("insert into t values (1, 0)").expect("valid");
    a.run("begin").expect("valid");
    a.run("update t set v = 1").expect("valid");
    // The lock is never given up while the other one tries.
    let error = b.error("update t set v = 2");
    assert_eq!(error.state.code(), "40001");
    assert_eq!(error.detail.as_deref(), Some("Key (id)=(1) was changed by another transaction."));
    assert_eq!(b.session.transaction_status(), TransactionStatus::Idle);
    b.run("begin").expect("valid");
    assert_eq!(b.error("update t set v = 2").state.code(), "40001");
    assert_eq!(b.session.transaction_status(), TransactionStatus::Failed);
    assert_eq!(b.error("select 1").state.code(), "25P02");
    assert_eq!(b.run("commit").expect("ends the block").0, "ROLLBACK");
    a.run("commit").expect("valid");
    b.run("update t set v = v + 10").expect("no conflict any more");
    assert_eq!(b.run("select * from t where v = 11").expect("valid").1, 1);
}

#[test]
fn plans_follow_the_catalog() {
    let router = MemRouter::new();
    let mut client = Client::new(&router);
    client.run("create table t (id int primary key, v int)").expect("valid");
    let (select, count) = block_on(async {
        let select = client.session.parse("select * from t where id = 1", &[]).await.expect("valid");
        let count = client.session.parse("select count(*) from t", &[]).await.expect("valid");
        (select, count)
    });
    let mut execute = |prepared: &Rc<Prepared>| {
        block_on(async { read(client.session.execute(prepared, &[], Scope::Alone).await?).await })
    };
    assert_eq!(execute(&select).expect("valid").1, 0);
    let mut other = Client::new(&router);
    other.run("drop table t").expect("valid");
    assert_eq!(execute(&select).expect_err("gone").state.code(), "42P01");
    other.run("create table t (id int primary key, w text)").expect("valid");
    other.run("insert into t values (1, 'x')").expect("valid");
    let error = execute(&select).expect_err("another shape");
    assert_eq!((error.state.code(), &*error.message), ("0A000", "cached plan must not change result type"));
    assert_eq!(execute(&count).expect("the same shape"), ("SELECT 1".to_owned(), 1));
    other.run("drop table t").expect("valid");
    other.run("create table t (id int primary key, v int)").expect("valid");
    assert_eq!(execute(&select).expect("the same shape again").1, 0);
}

#[test]
fn work_mem_bounds_operators() {
    let mut client = client();
    client.run("create table t (id int primary key, s text)").expect("valid");
    let rows = (0..4_000).map(|n| format!("({n}, 'text number {n}')")).collect::<Vec<_>>().join(", ");
    client.run(&format!("insert into t values {rows}")).expect("valid");
    client.run("set work_mem = '64kB'").expect("valid");
    for sql in [
        "select array_agg(s order by s) from t",
        "update t set id = id + 10000",
        "update t set s = s || s returning *",
    ] {
        let error = client.error(sql);
        assert_eq!(error.state.code(), "53200", "{sql}: {error}");
    }
    client.run("select * from t order by s limit 5").expect("little memory");
    for sql in [
        "select * from t order by s",
        "select s, count(*) from t group by s",
        "select distinct s from t",
        "select s, count(distinct id) from t group by s",
        "(select id, s from t) intersect all select id, s from t",
        "select s from t except select 'none'",
        "with kept as materialized (select * from t) select a.s from kept a join kept b using (id)",
        "with recursive steps as (select 1 as n, s from t union all select n + 1, s from steps where n < 3)
         select s from steps where n = 3",
    ] {
        assert_eq!(client.run(sql).expect("puts rows aside").1, 4_000, "{sql}");
    }
    client.run("set temp_file_limit = '100kB'").expect("valid");
    let error = client.error("select * from t order by s");
    assert_eq!(error.message, "temporary file size exceeds temp_file_limit (100kB)");
    assert_eq!(error.state.code(), "53400");
    client.run("reset work_mem").expect("valid");
    assert_eq!(client.run("select * from t order by s").expect("enough").1, 4_000);
}

#[test]
fn implicit_transactions_end_at_sync() {
    let router = MemRouter::new();
    let mut client = Client::new(&router);
    client.run("create table t (id int primary key)").expect("valid");
    let insert = |client: &mut Client, id: i32, scope: Scope| {
        block_on(async {
            let prepared = client.session.parse("insert into t values ($1)", &[]).await?;
            client.session.execute(&prepared, &[Datum::Int4(id)], scope).await.map(drop)
        })
    };
    insert(&mut client, 1, Scope::UntilSync).expect("valid");
    insert(&mut client, 2, Scope::UntilSync).expect("valid");
    assert_eq!(client.session.transaction_status(), TransactionStatus::Idle);
    let mut other = Client::new(&router);
    assert_eq!(other.run("select * from t").expect("valid").1, 0);
    block_on(client.session.sync()).expect("commits");
    assert_eq!(other.run("select * from t").expect("valid").1, 2);
    insert(&mut client, 3, Scope::UntilSync).expect("valid");
    insert(&mut client, 1, Scope::UntilSync).expect_err("a duplicate");
    block_on(client.session.sync()).expect("nothing to commit");
    assert_eq!(other.run("select * from t").expect("valid").1, 2);
    let open = router.begin();
    assert!(!open.has_written());
}
