//! Statements of every operator that would run for minutes end when `statement_timeout` or a cancel request says so, and
//! the session goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use futures_util::StreamExt;
use omen_tests::server::{Setup, database_error};
use parquet::arrow::ArrowWriter;
use tokio_postgres::{Client, NoTls};

const LIMIT: Duration = Duration::from_secs(300);
/// How long a statement runs before it is to end.
const RUNS: Duration = Duration::from_millis(150);
/// Far above what it takes to end, and far below what the statement would take.
const END_LIMIT: Duration = Duration::from_secs(20);
/// Rows of `t`.
const ROWS: i64 = 20_000;

/// Numbers without an end that a test could wait for.
const NUMBERS: &str = "generate_series(1, 100000000000)";

/// What each statement is about, its `work_mem`, and its text; `$n` stands for [`NUMBERS`].
const STATEMENTS: [(&str, &str, &str); 47] = [
    ("functions that answer rows", "64MB", "select count(*) from $n"),
    (
        "functions in the select list",
        "64MB",
        "select count(*) from (select generate_series(1, 1000000000), id from t) q",
    ),
    ("rows for the client", "64MB", "select g, md5(g::text) from $n g"),
    ("filters", "64MB", "select count(*) from $n g where g % 7 = 3 and sqrt(g) < 0"),
    (
        "scans",
        "64MB",
        "select count(*) from (select 1 from t a, t b where a.id + b.id < 0 union all select 1 from t c, t d, t e where c.id + d.id + e.id < 0) q",
    ),
    (
        "inner joins",
        "64MB",
        "select count(*) from t a join t b on a.k = b.k join t c on b.k = c.k join t d on c.k = d.k",
    ),
    ("joins of functions", "64MB", "select count(*) from $n g join t on t.k = g % 100"),
    (
        "left joins",
        "64MB",
        "select count(b.id), count(c.id) from t a left join t b on a.k = b.k left join t c on b.k = c.k and c.v > b.v left join t d on c.k = d.k",
    ),
    (
        "full joins",
        "64MB",
        "select count(b.id) from t a full join t b on a.k = b.k full join t c on b.k = c.k full join t d on c.k = d.k",
    ),
    (
        "semi joins",
        "64MB",
        "select count(*) from t a where exists (select from t b, t c where b.k = a.k and c.k = b.k and b.v + a.v + c.v < 0)",
    ),
    (
        "anti joins",
        "64MB",
        "select count(*) from t a where not exists (select from t b, t c where b.k = a.k and c.k = b.k and b.v + a.v + c.v < 0)",
    ),
    (
        "mark joins",
        "64MB",
        "select count(*) from (select exists (select from t b, t c where b.k = a.k and c.k = b.k and b.v + a.v + c.v < 0) or a.k < 0 as x from t a) q where x",
    ),
    ("nested loops", "64MB", "select count(*) from t a, t b, t c where a.v + b.v + c.v < 0"),
    (
        "outer nested loops",
        "64MB",
        "select count(b.id) from t a left join (t b cross join t c) on a.v + b.v + c.v < 0",
    ),
    (
        "spilled joins",
        "256kB",
        "select count(*) from $n a (n) join generate_series(1, 50000000) b (n) using (n)",
    ),
    ("spilled nested loops", "256kB", "select count(*) from t a, t b, t c where a.s || b.s || c.s = 'x'"),
    ("groups", "64MB", "select count(*) from (select g % 1003, count(*), sum(g) from $n g group by 1) q"),
    (
        "groups of text",
        "64MB",
        "select count(*) from (select md5((g % 1003)::text), count(*) from $n g group by 1) q",
    ),
    (
        "spilled groups",
        "256kB",
        "select count(*) from (select g % 10000019, count(*), max(g::text) from $n g group by 1) q",
    ),
    ("spilled DISTINCT", "256kB", "select count(*) from (select distinct g from $n g) q"),
    ("DISTINCT in aggregates", "64MB", "select count(distinct g % 1003) from $n g"),
    (
        "grouping sets",
        "64MB",
        "select count(*) from (select g % 10, g % 7, g % 103, count(*) from $n g group by cube (1, 2, 3)) q",
    ),
    (
        "joined text",
        "64MB",
        "select max(length(x)) from (select string_agg(g::text, ',' order by g desc) x from $n g group by g / 1000) q",
    ),
    ("spilled sorts", "256kB", "select g, md5(g::text) from $n g order by 2"),
    ("sorts", "64MB", "select g from $n g order by g % 1000, g"),
    ("the first rows of an order", "64MB", "select g from $n g order by g % 1000003, md5(g::text) limit 10"),
    ("DISTINCT ON", "1MB", "select distinct on (g % 100) g from $n g order by g % 100, g desc"),
    (
        "windows",
        "64MB",
        "select count(x) from (select sum(f) over (order by f rows between 100000 preceding and current row) x from (select id::float8 as f from t, generate_series(1, 10)) n) q",
    ),
    (
        "windows of one large partition",
        "256kB",
        "select max(x) from (select sum(v) over (rows between 15000 preceding and 1 preceding) x from (select v from t, generate_series(1, 2)) q) q",
    ),
    (
        "spilled windows",
        "256kB",
        "select count(x) from (select sum(n) over (partition by n % 1000 order by n desc) x from $n n) q",
    ),
    ("UNION", "256kB", "select count(*) from (select g % 100003 from $n g union select g from $n g) q"),
    ("INTERSECT", "64MB", "select count(*) from (select g from $n g intersect select g from $n g) q"),
    (
        "spilled EXCEPT",
        "256kB",
        "select count(*) from (select g from generate_series(1, 30000) g except select -g from $n g) q",
    ),
    (
        "recursion by rows",
        "64MB",
        "with recursive r (n) as (select 1 union all select n + 1 from r) select count(*) from r",
    ),
    (
        "recursion by tables",
        "256kB",
        "with recursive r (n, id) as (select 1, id from t union all select n + 1, id from r) select count(*) from r",
    ),
    (
        "queries of WITH that are kept",
        "256kB",
        "with m as materialized (select g from $n g) select count(*) from m a, m b",
    ),
    (
        "correlated subqueries",
        "64MB",
        "select count(*) from t a, t c where a.v < (select avg(b.v) from t b where b.id + c.k < a.id)",
    ),
    (
        "LATERAL",
        "64MB",
        "select count(*) from t a, t c, lateral (select b.id from t b where b.id < a.id + c.id order by b.v limit 3) q",
    ),
    (
        "regular expressions",
        "64MB",
        "select count(*) from $n g where (repeat('ab', 50) || g) ~ '(a|b|ab)*c$'",
    ),
    (
        "back references",
        "64MB",
        "select count(*) from $n g where (repeat('a', 60) || g) ~ '^(a*)(a*)\\1\\2a[0-9]'",
    ),
    ("numerics", "64MB", "select sum(sqrt(g::numeric) * exp(1 / g::numeric)) from $n g"),
    ("COPY TO", "64MB", "copy (select g, md5(g::text) from $n g) to stdout"),
    ("INSERT", "64MB", "insert into w select g from $n g where sqrt(g) < 0"),
    ("CREATE TABLE AS", "64MB", "create table x as select g from $n g where sqrt(g) < 0"),
    ("UPDATE", "64MB", "update t set v = b.v from t b, t c where b.v + c.v + t.v < 0"),
    ("DELETE", "64MB", "delete from t using t b, t c where b.v + c.v + t.v < 0"),
    (
        "files",
        "64MB",
        "select count(*) from 'f.parquet' a, 'f.parquet' b, 'f.parquet' c where a.id + b.id + c.id < 0",
    ),
];

fn write_file(path: &Path) {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Runs a statement whose rows nobody wants.
async fn run(client: &Client, sql: &str) -> Result<(), tokio_postgres::Error> {
    if sql.starts_with("copy") {
        let mut rows = Box::pin(client.copy_out(sql).await?);
        while let Some(bytes) = rows.next().await {
            bytes?;
        }
        return Ok(());
    }
    let mut messages = Box::pin(client.simple_query_raw(sql).await?);
    while let Some(message) = messages.next().await {
        message?;
    }
    Ok(())
}

/// How a statement ended, and how long that took since it was to end.
async fn ended(client: &Client, sql: &str, by_request: bool) -> (String, Duration) {
    let began = Instant::now();
    let token = client.cancel_token();
    let request = async {
        if by_request {
            tokio::time::sleep(RUNS).await;
            token.cancel_query(NoTls).await.unwrap();
        }
    };
    let (result, ()) = tokio::join!(run(client, sql), request);
    let error = result.err().unwrap_or_else(|| panic!("{sql} has come to its end"));
    let error = database_error(&error);
    (format!("{} {}", error.code().code(), error.message()), began.elapsed().saturating_sub(RUNS))
}

#[test]
fn every_operator_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("f.parquet"));
    let setup = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data"));
    let server = setup.option("--read-files-below", folder.path().to_str().unwrap()).start();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        let fill = format!(
            "create table t (id int primary key, k int, v float8, s text);
             create table w (g int8 primary key);
             insert into t select g, g % 100, g, 'text number ' || g from generate_series(1, {ROWS}) g"
        );
        client.batch_execute(&fill).await.unwrap();
        for (what, work_mem, sql) in STATEMENTS {
            let sql = sql.replace("$n", NUMBERS);
            let mut took = Vec::new();
            for (by_request, timeout, reason) in [
                (false, RUNS.as_millis(), "57014 canceling statement due to statement timeout"),
                (true, 0, "57014 canceling statement due to user request"),
            ] {
                let limits = format!("set work_mem = '{work_mem}'; set statement_timeout = {timeout}");
                client.batch_execute(&limits).await.unwrap();
                let (error, after) = ended(&client, &sql, by_request).await;
                assert_eq!(error, reason, "{what}");
                assert!(after < END_LIMIT, "{what}: {after:?}");
                took.push(format!("{} ms", after.as_millis()));
                let one = client.query_one("select 1", &[]).await.unwrap();
                assert_eq!(one.get::<_, i32>(0), 1, "after {what}");
            }
            println!("{what}: {}", took.join(", "));
        }
        let row = client.query_one("select count(*) from t", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), ROWS);
    });
    server.stop();
}
