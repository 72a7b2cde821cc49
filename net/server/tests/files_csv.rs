//! CSV files as tables: names, types, answers, and what does not fit.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use omen_tests::server::{Server, Setup, database_error};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const LIMIT: Duration = Duration::from_secs(120);

struct Place {
    _folder: tempfile::TempDir,
    files: PathBuf,
    server: Server,
}

impl Place {
    fn start() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().canonicalize().unwrap().join("files");
        std::fs::create_dir(&files).unwrap();
        let setup = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data"));
        let server = setup.option("--read-files-below", files.to_str().unwrap()).start();
        Place { _folder: folder, files, server }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.files.join(name), bytes).unwrap();
    }
}

/// Rows as text, fields between `|`, NULL as `~`.
async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let fields: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("~")).collect();
            Some(fields.join("|"))
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// SQLSTATE, message and context of a failure.
async fn refusal(client: &Client, sql: &str) -> (String, String, String) {
    let error = client.simple_query(sql).await.err().unwrap_or_else(|| panic!("{sql} is not refused"));
    let error = database_error(&error);
    let context = error.where_().unwrap_or_default().to_owned();
    (error.code().code().to_owned(), error.message().to_owned(), context)
}

/// Names and types of the columns of a file.
async fn columns(client: &Client, path: &str) -> String {
    let prepared = client.prepare(&format!("SELECT * FROM '{path}'")).await;
    let prepared = prepared.unwrap_or_else(|error| panic!("{path}: {error:?}"));
    let shown: Vec<String> = prepared
        .columns()
        .iter()
        .map(|column| format!("{} {}", column.name(), column.type_().name()))
        .collect();
    shown.join(", ")
}

#[test]
fn names_and_types_come_from_the_first_part() {
    let place = Place::start();
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        for (name, text, expected) in [
            (
                "all.csv",
                "b,i,n,f,d,ts,tz,t,none\nt,1,1.5,1e3,2024-01-02,2024-01-02 03:04:05,2024-01-02 03:04:05+01,x,\n",
                "b bool, i int8, n numeric, f float8, d date, ts timestamp, tz timestamptz, t text, none text",
            ),
            ("bare.csv", "1,a\n2,b\n", "column1 int8, column2 text"),
            ("mixed.csv", "v,w\n1,2024-01-01\n2.5,2024-01-01 10:00\n", "v numeric, w timestamp"),
            ("codes.csv", "zip,phone\n02134,+49\n", "zip text, phone text"),
            ("texts.csv", "a,b\nx,y\n", "a text, b text"),
            ("twice.csv", "a,a,a_1\n1,2,3\n", "a int8, a_2 int8, a_1 int8"),
            ("mark.csv", "\u{feff}a,b\n1,2\n", "a int8, b int8"),
            ("one.csv", "only", "only text"),
            ("bools.csv", "t,f\n1,x\n", "t int8, f text"),
            ("true.csv", "t,a\nf,b\n", "column1 bool, column2 text"),
            ("tabs.tsv", "a\tb\n1\t\"x\ty\"\n", "a int8, b text"),
            ("UPPER.CSV", "Name,\"a \"\"b\"\"\"\r\n1,2\r\n", "Name int8, a \"b\" int8"),
        ] {
            place.write(name, text);
            assert_eq!(columns(&client, name).await, expected, "{name}");
        }
        let all = "true|1|1.5|1000|2024-01-02|2024-01-02 03:04:05|2024-01-02 02:04:05+00|x|~";
        let found = rows(&client, "SELECT b::text, i, n, f, d, ts, tz, t, \"none\" FROM 'all.csv'").await;
        assert_eq!(found, [all]);
        assert_eq!(rows(&client, "SELECT * FROM 'bare.csv'").await, ["1|a", "2|b"]);
        assert_eq!(rows(&client, "SELECT * FROM 'tabs.tsv'").await, ["1|x\ty"]);
        assert!(rows(&client, "SELECT * FROM 'one.csv'").await.is_empty());
        // An empty field is NULL, one in quotes is not; lines in quotes and `\.` are data.
        place.write("quotes.csv", "a,b\n\"x\ny\",\n\"\",\"\"\"\"\n\\.,z\n");
        let found = rows(&client, "SELECT a, b, a IS NULL FROM 'quotes.csv'").await;
        assert_eq!(found, ["x\ny|~|f", "|\"|f", "\\.|z|f"]);
    });
    place.server.stop();
}

#[test]
fn a_file_answers_as_the_table_it_was_copied_into() {
    let place = Place::start();
    let mut text = "id,name,price,day\n".to_owned();
    for id in 0..60_000 {
        let name = if id % 7 == 0 { String::new() } else { format!("\"name, {}\"", id % 10) };
        text += &format!("{id},{name},{}.{:02},2024-01-{:02}\n", id % 100, id % 97, id % 28 + 1);
    }
    place.write("t.csv", &text);
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        client.batch_execute("CREATE TABLE t AS SELECT * FROM 't.csv'").await.unwrap();
        let sum = rows(&client, "SELECT count(*), count(name), sum(id), min(day), max(day) FROM t").await;
        assert_eq!(sum, ["60000|51428|1799970000|2024-01-01|2024-01-28"]);
        for query in [
            "SELECT count(*) FROM {}",
            "SELECT sum(price), max(name) FROM {} WHERE id BETWEEN 41000 AND 59000",
            "SELECT name, count(*), sum(price) FROM {} GROUP BY name ORDER BY name",
            "SELECT a.id, b.name FROM {} a JOIN {} b ON a.id = b.id + 59990 ORDER BY 1",
            "SELECT id FROM {} a WHERE day = '2024-01-05' ORDER BY price DESC, id LIMIT 20",
            "SELECT a.id FROM {} a WHERE id < 20 AND EXISTS (SELECT FROM {} b WHERE b.id = a.id * 3000) ORDER BY 1",
        ] {
            let file = rows(&client, &query.replace("{}", "'t.csv'")).await;
            assert_eq!(file, rows(&client, &query.replace("{}", "t")).await, "{query}");
        }
        client.batch_execute("INSERT INTO t SELECT * FROM 't.csv' WHERE id < 10").await.unwrap();
        assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["60010"]);
        let told = rows(&client, "EXPLAIN SELECT name FROM 't.csv' WHERE id < 5").await;
        assert_eq!(told[..2], ["Class: relational", "File: t.csv"], "{told:?}");
    });
    place.server.stop();
}

/// Asserts the SQLSTATE, the beginning of the message and of the context behind the file of queries of files.
async fn assert_refusals(client: &Client, cases: &[[&str; 4]]) {
    for [name, state, message, context] in cases {
        let (got, told, place) = refusal(client, &format!("SELECT * FROM '{name}'")).await;
        assert_eq!(got, *state, "{name}: {told}");
        assert!(told.starts_with(message), "{name}: {told}");
        let at = format!("file \"{name}\", {context}");
        assert!(context.is_empty() || place.starts_with(&at), "{name}: {place}");
    }
}

#[test]
fn what_does_not_fit_later_is_named() {
    let place = Place::start();
    for (name, last) in [
        ("late.csv", &b"many,name"[..]),
        ("zero.csv", b"007,name"),
        ("large.csv", b"99999999999999999999,name"),
        ("utf8.csv", b"1,\xff"),
        ("short.csv", b"1"),
        ("long.csv", b"1,2,3"),
        ("open.csv", b"1,\"open"),
    ] {
        // Longer than the part that the types come from.
        let lines: String = (0..50_000).map(|number| format!("{number},name\n")).collect();
        place.write(name, [b"id,name\n", lines.as_bytes(), last, b"\n"].concat());
    }
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        let not_bigint = |value: &str| format!("invalid input syntax for type bigint: \"{value}\"");
        let large = "value \"99999999999999999999\" is out of range for type bigint";
        let not_utf8 = "invalid byte sequence for encoding \"UTF8\": 0xff";
        let cases = [
            ["late.csv", "22P02", &not_bigint("many"), "line 50002, column id: \"many\""],
            ["zero.csv", "22P02", &not_bigint("007"), "line 50002, column id: \"007\""],
            ["large.csv", "22003", large, "line 50002, column id: \"99999999999999999999\""],
            ["utf8.csv", "22021", not_utf8, "line 50002, column name"],
            ["short.csv", "22P04", "missing data for column \"name\"", "line 50002: \"1\""],
            ["long.csv", "22P04", "extra data after last expected column", "line 50002: \"1,2,3\""],
            ["open.csv", "22P04", "unterminated CSV quoted field", "line 5000"],
        ];
        assert_refusals(&client, &cases).await;
        // A column that nobody asks for is not read as values; lines are still lines.
        assert_eq!(rows(&client, "SELECT count(name), max(name) FROM 'late.csv'").await, ["50001|name"]);
        assert_eq!(rows(&client, "SELECT count(*) FROM 'utf8.csv'").await, ["50001"]);
        assert_eq!(refusal(&client, "SELECT count(*) FROM 'short.csv'").await.0, "22P04");
    });
    place.server.stop();
}

#[test]
fn what_is_no_csv_is_named() {
    let place = Place::start();
    place.write("open.csv", "a,b\n1,\"open\n");
    place.write("ragged.csv", "a,b\n1\n");
    place.write("header.csv", b"a,\xc3(\n1,2\n");
    place.write("empty.csv", "");
    place.write("huge.csv", vec![b'x'; 100 << 20]);
    place.write("huge_quote.csv", [&b"a\n\""[..], &vec![b'\n'; 100 << 20]].concat());
    place.write("wide.csv", vec![b','; 2_000]);
    place.write("other.txt", "1");
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        let not_utf8 = "invalid byte sequence for encoding \"UTF8\": 0xc3 0x28";
        let long_line = "line of data is longer than 4194304 bytes";
        let cases = [
            ["open.csv", "22P04", "unterminated CSV quoted field", "line 3"],
            ["ragged.csv", "22P04", "missing data for column \"column2\"", "line 2: \"1\""],
            ["header.csv", "22021", not_utf8, "line 1, column column2"],
            ["empty.csv", "22P04", "could not read file \"empty.csv\": it is empty", ""],
            ["huge.csv", "54000", long_line, "line 1"],
            ["huge_quote.csv", "54000", long_line, "line 2"],
            ["wide.csv", "54011", "file \"wide.csv\" has more than 1599 columns", ""],
            ["other.txt", "0A000", "reading file \"other.txt\" in place is not supported", ""],
            ["../x.csv", "42501", "", ""],
            ["none.csv", "58P01", "", ""],
        ];
        assert_refusals(&client, &cases).await;
        assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    });
    place.server.stop();
}

#[test]
fn a_file_that_changes_under_a_read_is_an_error() {
    let place = Place::start();
    place.write("t.csv", "a,b\n1,2\n");
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        let prepared = client.prepare("SELECT * FROM 't.csv'").await.unwrap();
        assert_eq!(client.query(&prepared, &[]).await.unwrap().len(), 1);
        place.write("t.csv", "a,b\n1,x\n");
        let error = client.query(&prepared, &[]).await.unwrap_err();
        assert_ne!(database_error(&error).code().code(), "XX000");
        std::fs::remove_file(place.files.join("t.csv")).unwrap();
        let error = client.query(&prepared, &[]).await.unwrap_err();
        assert_eq!(database_error(&error).code().code(), "58P01");
        // The file becomes shorter while its rows are read: the reader waits for its client.
        place.write("long.csv", "a,b\n1,22222222222222222222222222222222222222222\n".repeat(2_000_000));
        let answers = client.simple_query_raw("SELECT * FROM 'long.csv'").await.unwrap();
        let mut answers = pin!(answers);
        assert!(matches!(answers.next().await, Some(Ok(SimpleQueryMessage::RowDescription(_)))));
        let file = std::fs::OpenOptions::new().write(true).open(place.files.join("long.csv")).unwrap();
        file.set_len(1 << 20).unwrap();
        let error = loop {
            match answers.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it has become shorter"),
            }
        };
        assert_eq!(database_error(&error).code().code(), "XX001", "{error:?}");
    });
    place.server.stop();
}

#[test]
fn a_long_read_ends_when_it_is_cancelled() {
    let place = Place::start();
    place.write("long.csv", "a,b\n1,22222222222222222222222222222222222222222\n".repeat(4_000_000));
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        let cancel = client.cancel_token();
        let count = client.simple_query("SELECT count(*) FROM 'long.csv' WHERE a <> b");
        let stop = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let began = Instant::now();
            cancel.cancel_query(NoTls).await.unwrap();
            began
        };
        let (counted, began) = futures_util::future::join(count, stop).await;
        let error = counted.expect_err("it is cancelled");
        assert_eq!(database_error(&error).code().code(), "57014");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    });
    place.server.stop();
}
