//! Parquet files as tables: answers, who may read what, and damaged files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use omen_tests::server::{Server, Setup, database_error};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tokio_postgres::SimpleQueryMessage;

const LIMIT: Duration = Duration::from_secs(120);
const ROWS: i64 = 1_000;

/// A file of all types, with NULLs, in row groups of 100 rows.
fn write_file(path: &Path) {
    let every = |n: i64| (0..ROWS).map(move |row| (row % n != 0).then_some(row));
    let int = |row: Option<i64>| row.map(|row| i32::try_from(row).unwrap());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..ROWS))),
        ("n", Arc::new(Int32Array::from_iter(every(7).map(int)))),
        ("price", {
            let values = Decimal128Array::from_iter(every(5).map(|row| row.map(i128::from)));
            Arc::new(values.with_precision_and_scale(15, 2).unwrap())
        }),
        (
            "name",
            Arc::new(StringArray::from_iter(every(3).map(|row| row.map(|row| format!("name {}", row % 10))))),
        ),
        ("f", Arc::new(Float64Array::from_iter(every(4).map(|row| row.map(|row| row as f64 / 2.0))))),
        ("day", Arc::new(Date32Array::from_iter(every(6).map(int)))),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter(
                every(9).map(|row| row.map(|row| row * 1_500_000)),
            )),
        ),
        ("tz", {
            let values = TimestampMillisecondArray::from_iter(every(8).map(|row| row.map(|row| row * 1_000)));
            Arc::new(values.with_timezone("UTC"))
        }),
        ("ok", Arc::new(BooleanArray::from_iter(every(11).map(|row| row.map(|row| row % 2 == 0))))),
        ("raw", Arc::new(BinaryArray::from_iter(every(13).map(|row| row.map(|row| vec![row as u8, 0]))))),
        ("big", Arc::new(UInt64Array::from_iter(every(2).map(|row| row.map(|_| u64::MAX))))),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(100))
        .set_compression(Compression::SNAPPY)
        .build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

struct Place {
    _folder: tempfile::TempDir,
    files: std::path::PathBuf,
    server: Server,
}

fn start() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().canonicalize().unwrap().join("files");
    std::fs::create_dir(&files).unwrap();
    write_file(&files.join("t.parquet"));
    let setup = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data"));
    let server = setup.option("--read-files-below", files.to_str().unwrap()).start();
    Place { _folder: folder, files, server }
}

type Rows = Vec<Vec<Option<String>>>;

async fn rows(client: &tokio_postgres::Client, sql: &str) -> Rows {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// SQLSTATE and hint of a failure.
async fn refusal(client: &tokio_postgres::Client, sql: &str) -> (String, String) {
    let error = client.simple_query(sql).await.err().unwrap_or_else(|| panic!("{sql} is not refused"));
    let error = database_error(&error);
    (error.code().code().to_owned(), error.hint().unwrap_or_default().to_owned())
}

#[test]
fn a_file_answers_as_a_table_of_its_rows_does() {
    let place = start();
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        let first = rows(&client, "SELECT * FROM 't.parquet' WHERE id = 101").await;
        let expected = [
            "101",
            "101",
            "1.01",
            "name 1",
            "50.5",
            "1970-04-12",
            "1970-01-01 00:02:31.5",
            "1970-01-01 00:01:41+00",
            "f",
            "\\x6500",
            "18446744073709551615",
        ];
        assert_eq!(first, vec![expected.map(|value| Some(value.to_owned())).to_vec()]);
        let made = "CREATE TABLE t AS SELECT * FROM 't.parquet'";
        client.batch_execute(made).await.unwrap();
        let path = place.files.join("t.parquet");
        for query in [
            "SELECT * FROM {} ORDER BY id",
            "SELECT count(*) FROM {}",
            "SELECT count(*), sum(price), min(name), max(at) FROM {} WHERE id BETWEEN 150 AND 449",
            "SELECT name, count(*), sum(n) FROM {} GROUP BY name ORDER BY name",
            "SELECT id FROM {} WHERE name = 'name 4' AND day < '1971-01-01' ORDER BY id",
            "SELECT id FROM {} WHERE price > 9.5 OR n IS NULL ORDER BY id",
            "SELECT id FROM {} WHERE name < 'name 1' OR tz >= '1970-01-01 00:16:00+00' ORDER BY id",
            "SELECT id FROM {} WHERE id > 998 OR id IN (5, 205) ORDER BY 1",
            "SELECT a.id, b.name FROM {} a JOIN {} b ON a.id = b.n + 1 WHERE a.ok ORDER BY 1",
            "SELECT id FROM {} a WHERE EXISTS (SELECT FROM {} b WHERE b.n = a.id + 990) ORDER BY 1",
            "SELECT id, (SELECT max(b.f) FROM {} b WHERE b.name = a.name) FROM {} a ORDER BY id LIMIT 20",
            "SELECT f FROM {} WHERE false",
            "SELECT day, rank() OVER (ORDER BY f DESC) FROM {} ORDER BY id",
            "SELECT x.a FROM {} AS x (a) ORDER BY a DESC LIMIT 3",
            "SELECT raw FROM {} WHERE raw IS NOT NULL ORDER BY raw, id",
        ] {
            let file = rows(&client, &query.replace("{}", &format!("'{}'", path.display()))).await;
            assert_eq!(file, rows(&client, &query.replace("{}", "t")).await, "{query}");
        }
        let found = client.query("SELECT t.id FROM 't.parquet' WHERE id < $1 ORDER BY id", &[&205_i64]).await;
        assert_eq!(found.unwrap().len(), 205);
        client.batch_execute("INSERT INTO t SELECT * FROM 't.parquet'").await.unwrap();
        assert_eq!(rows(&client, "SELECT count(*) FROM t").await[0][0], Some((2 * ROWS).to_string()));
        let told = rows(&client, "EXPLAIN SELECT id FROM 't.parquet' WHERE id < 5").await;
        let told: Vec<&str> = told.iter().filter_map(|row| row[0].as_deref()).collect();
        assert_eq!(told[..2], ["Class: relational", "File: t.parquet"], "{told:?}");
    });
    place.server.stop();
}

#[test]
fn nothing_outside_of_the_folder_is_read() {
    let place = start();
    let outside = place.files.parent().unwrap().join("outside.parquet");
    write_file(&outside);
    std::os::unix::fs::symlink(&outside, place.files.join("link.parquet")).unwrap();
    std::os::unix::fs::symlink("..", place.files.join("up")).unwrap();
    std::fs::create_dir(place.files.join("dir.parquet")).unwrap();
    std::fs::write(place.files.join("a.txt"), "text").unwrap();
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        for path in [
            "../outside.parquet",
            "link.parquet",
            "up/outside.parquet",
            "/etc/passwd",
            outside.to_str().unwrap(),
            &format!("{}/../outside.parquet", place.files.display()),
        ] {
            let (state, hint) = refusal(&client, &format!("SELECT * FROM '{path}'")).await;
            assert_eq!(state, "42501", "{path}");
            assert!(hint.contains("--read-files-below"), "{hint}");
        }
        for (path, expected) in [("none.parquet", "58P01"), ("dir.parquet", "42809"), ("a.txt", "0A000")] {
            assert_eq!(refusal(&client, &format!("SELECT * FROM '{path}'")).await.0, expected, "{path}");
        }
        assert_ne!(refusal(&client, "DELETE FROM 't.parquet'").await.0, "");
        assert_eq!(refusal(&client, "INSERT INTO 't.parquet' VALUES (1)").await.0, "42P01");
    });
    place.server.stop();
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
    omen_tests::block_on(LIMIT, async {
        let path = place.files.join("t.parquet");
        let refused = refusal(&server.connect().await, &format!("SELECT * FROM '{}'", path.display())).await;
        assert_eq!(refused.0, "42501");
    });
    server.stop();
}

#[test]
fn damaged_files_are_errors() {
    let place = start();
    let whole = std::fs::read(place.files.join("t.parquet")).unwrap();
    let damaged = place.files.join("damaged.parquet");
    let mut random = omen_tests::rng::Rng::new(11);
    omen_tests::block_on(LIMIT, async {
        let client = place.server.connect().await;
        let mut failed = 0;
        for round in 0..150 {
            let mut bytes = whole.clone();
            if round % 5 == 0 {
                bytes.truncate(usize::try_from(random.below(whole.len() as u64)).unwrap());
            } else {
                // The footer is the last part, and the one that says most.
                let from = if round % 2 == 0 { whole.len() as u64 * 3 / 4 } else { 0 };
                for _ in 0..=random.below(4) {
                    let at = usize::try_from(from + random.below(whole.len() as u64 - from)).unwrap();
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            std::fs::write(&damaged, &bytes).unwrap();
            if let Err(error) = client.simple_query("SELECT * FROM 'damaged.parquet'").await {
                let state = database_error(&error).code().code().to_owned();
                let allowed = ["XX001", "0A000", "22003", "22008", "53200", "54011"];
                assert!(allowed.contains(&&*state), "{error:?}");
                failed += 1;
            }
        }
        assert!(failed > 50, "{failed} of 150 files were found to be damaged");
        assert_eq!(rows(&client, "SELECT count(*) FROM 't.parquet'").await[0][0], Some(ROWS.to_string()));
    });
    place.server.stop();
}
