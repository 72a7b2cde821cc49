//! Bad input gets an error with its SQLSTATE, and the node goes on serving: the same connection where the protocol
//! allows it, and everybody else in any case.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use futures_util::SinkExt;
use omen_tests::rng::Rng;
use omen_tests::server::{Server, Setup, database_error};
use tokio_postgres::Client;
use tokio_postgres::error::DbError;

const LIMIT: Duration = Duration::from_secs(120);

fn start() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("data")).start();
    (folder, server)
}

/// The node answers a new connection.
async fn still_serves(server: &Server) {
    let row = server.connect().await.query_one("SELECT 40 + 2", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
}

/// Sends raw bytes on a new connection and reads until the node closes it.
fn send_raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The node may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A node that closes with unread input resets the connection; that it hangs is the one thing not allowed.
    let hung = read
        .is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert!(!hung, "the node keeps a broken connection open");
    answer
}

/// The SQLSTATE of the first error message among these messages.
fn sqlstate_of(mut answer: &[u8]) -> Option<String> {
    while answer.len() >= 5 {
        let length = u32::from_be_bytes(answer[1..5].try_into().unwrap()) as usize;
        let (message, rest) = answer.split_at_checked(length + 1)?;
        if message[0] == b'E' {
            let fields = message[5..].split(|byte| *byte == 0);
            let code = fields.filter(|field| field.first() == Some(&b'C')).map(|field| &field[1..]).next()?;
            return Some(String::from_utf8(code.to_vec()).unwrap());
        }
        answer = rest;
    }
    None
}

/// A startup packet with this body.
fn startup(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes(), body].concat()
}

fn version_3() -> [u8; 4] {
    196_608u32.to_be_bytes()
}

#[test]
fn malformed_startup_packets_are_refused() {
    let (_folder, server) = start();
    let with_version = |rest: &[u8]| startup(&[&version_3(), rest].concat());
    let cases: [(&str, Vec<u8>, Option<&str>); 10] = [
        ("nothing at all", vec![], None),
        ("half a length", vec![0, 0], None),
        ("length 0", vec![0; 8], Some("08P01")),
        ("length 2 GiB", [0x7fff_ffffu32.to_be_bytes(), version_3()].concat(), Some("08P01")),
        ("negative length", [u32::MAX.to_be_bytes(), version_3()].concat(), Some("08P01")),
        ("no terminator", with_version(b"user\0omen"), Some("08P01")),
        ("a name without a value", with_version(b"user\0\0"), None),
        ("no user", with_version(b"database\0omen\0\0"), Some("28000")),
        ("text that is not UTF-8", with_version(b"user\0\xff\xfe\0\0"), None),
        ("protocol 2", startup(&131_072u32.to_be_bytes()), None),
    ];
    for (what, bytes, expected) in cases {
        let state = sqlstate_of(&send_raw(server.address(), &bytes));
        if expected.is_some() {
            assert_eq!(state.as_deref(), expected, "{what}");
        }
    }
    let unknown = |body: &[u8]| sqlstate_of(&send_raw(server.address(), &with_version(body)));
    assert_eq!(unknown(b"user\0omen\0database\0nowhere\0\0").as_deref(), Some("3D000"));
    assert_eq!(unknown(b"user\0nobody\0database\0omen\0\0").as_deref(), Some("28000"));
    let mut rng = Rng::from_environment();
    for _ in 0..200 {
        let len = rng.below(100) as usize;
        let noise: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        send_raw(server.address(), &noise);
        send_raw(server.address(), &with_version(&noise));
    }
    omen_tests::block_on(LIMIT, still_serves(&server));
    server.stop();
}

#[test]
fn malformed_messages_end_their_connection_only() {
    let (_folder, server) = start();
    omen_tests::block_on(LIMIT, async {
        let bystander = server.connect().await;
        let hello = startup(&[&version_3(), b"user\0omen\0database\0omen\0\0".as_slice()].concat());
        let after = |bytes: &[u8]| sqlstate_of(&send_raw(server.address(), &[&hello, bytes].concat()));
        assert_eq!(after(b"Q\x7f\xff\xff\xffSELECT 1").as_deref(), Some("08P01"), "oversized");
        assert_eq!(after(b"Q\xff\xff\xff\xffSELECT 1").as_deref(), Some("08P01"), "negative");
        assert_eq!(after(b"Q\0\0\0\x03").as_deref(), Some("08P01"), "shorter than its length field");
        assert_eq!(after(b"Z\0\0\0\x04").as_deref(), Some("08P01"), "a message that clients do not send");
        assert!(after(b"Q\0\0\0\x0cSELECT 1").is_some(), "text without its end");
        assert!(after(b"B\0\0\0\x06\0\0").is_some(), "a Bind that ends early");
        let mut rng = Rng::from_environment();
        for _ in 0..300 {
            let tag = b"QPBEDCHSdcfpFXZ?"[rng.below(16) as usize];
            let len = rng.below(60) as usize;
            let body: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8 & rng.next_u64() as u8).collect();
            let message = [&[tag], &*startup(&body)].concat();
            send_raw(server.address(), &[&*hello, &message, b"S\0\0\0\x04"].concat());
        }
        bystander.query_one("SELECT 1", &[]).await.unwrap();
        still_serves(&server).await;
    });
    server.stop();
}

/// The error of a statement; the connection then still works.
async fn refused(client: &Client, sql: &str) -> DbError {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = database_error(&error).clone();
    client.query_one("SELECT 1", &[]).await.unwrap();
    error
}

#[test]
fn wrong_statements_are_refused() {
    let (_folder, server) = start();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        client
            .batch_execute("CREATE TABLE items (id integer PRIMARY KEY, name varchar(5) NOT NULL)")
            .await
            .unwrap();
        client.batch_execute("INSERT INTO items VALUES (5, 'five')").await.unwrap();
        for (sql, state) in [
            ("SELEC 1", "42601"),
            ("SELECT", "00000"),
            ("SELECT nothing FROM items", "42703"),
            ("SELECT * FROM nowhere", "42P01"),
            ("SELECT nothing(1)", "42883"),
            ("SELECT 1 WHERE 'text'", "22P02"),
            ("SELECT id + name FROM items", "42883"),
            ("SELECT 'x'::integer", "22P02"),
            ("SELECT 1 / 0", "22012"),
            ("SELECT 2147483647 + 1", "22003"),
            ("INSERT INTO items VALUES ('x', 'y')", "22P02"),
            ("INSERT INTO items VALUES (1, NULL)", "23502"),
            ("INSERT INTO items VALUES (1, 'too long')", "22001"),
            ("INSERT INTO items VALUES (1, 'a', 2)", "42601"),
            ("INSERT INTO items VALUES (1, 'a'), (1, 'b')", "23505"),
            ("CREATE TABLE items (x integer)", "42P07"),
            ("DROP TABLE nowhere", "42P01"),
            ("CREATE INDEX ON items USING gist (name)", "0A000"),
        ] {
            if state != "00000" {
                assert_eq!(refused(&client, sql).await.code().code(), state, "{sql}");
            }
        }
        let error = refused(&client, "INSERT INTO items VALUES (6, 'six'), (5, 'five')").await;
        assert_eq!(error.code().code(), "23505");
        assert_eq!(error.constraint(), Some("items_pkey"));
        assert_eq!(error.detail(), Some("Key (id)=(5) already exists."));
        let rows = client.query("SELECT id FROM items", &[]).await.unwrap();
        assert_eq!(rows.len(), 1, "a statement that failed has left rows");
        still_serves(&server).await;
    });
    server.stop();
}

#[test]
fn wrong_parameters_are_refused() {
    let (_folder, server) = start();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        client.batch_execute("CREATE TABLE items (id integer PRIMARY KEY, name text)").await.unwrap();
        let statement = client.prepare("INSERT INTO items VALUES ($1, $2)").await.unwrap();
        let nul = client.execute(&statement, &[&1i32, &"a\0b"]).await.unwrap_err();
        assert_eq!(database_error(&nul).code().code(), "22021");
        assert_eq!(client.execute(&statement, &[&1i32, &"fine"]).await.unwrap(), 1);
        let unknown = client.prepare("SELECT * FROM items WHERE missing = $1").await.unwrap_err();
        assert_eq!(database_error(&unknown).code().code(), "42703");
    });
    server.stop();
}

async fn copy(client: &Client, sql: &str, data: &str) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in(sql).await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::copy_from_slice(data.as_bytes())).await?;
    sink.finish().await
}

#[test]
fn wrong_copy_rows_are_refused_with_their_line() {
    let (_folder, server) = start();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        client
            .batch_execute("CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL)")
            .await
            .unwrap();
        client.batch_execute("INSERT INTO items VALUES (7, 'there')").await.unwrap();
        for (data, state, line) in [
            ("1\ta\n2\n", "22P04", 2),
            ("1\ta\tb\n", "22P04", 1),
            ("1\ta\nx\tb\n", "22P02", 2),
            ("1\ta\n2\t\\N\n", "23502", 2),
            ("1\ta\n99999999999\tb\n", "22003", 2),
        ] {
            let error = copy(&client, "COPY items FROM STDIN", data).await.unwrap_err();
            let error = database_error(&error);
            assert_eq!(error.code().code(), state, "{data:?}");
            let context = error.where_().unwrap_or_default();
            assert!(context.contains(&format!("COPY items, line {line}")), "{data:?}: {context}");
        }
        let error = copy(&client, "COPY items FROM STDIN", "6\tsix\n7\tagain\n").await.unwrap_err();
        assert_eq!(database_error(&error).code().code(), "23505");
        let error = copy(&client, "COPY items FROM STDIN CSV", "8,\"no end\n").await.unwrap_err();
        assert_eq!(database_error(&error).code().code(), "22P04");
        let rows = client.query("SELECT id FROM items", &[]).await.unwrap();
        assert_eq!(rows.len(), 1, "a COPY that failed has left rows");
        assert_eq!(copy(&client, "COPY items FROM STDIN", "8\teight\n").await.unwrap(), 1);
    });
    server.stop();
}

/// A statement that is answered, or refused for being too complex.
async fn answered_or_too_complex(client: &Client, what: &str, sql: &str, expected: &str) {
    match client.simple_query(sql).await {
        Ok(messages) => {
            let row = messages.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            assert_eq!(row, Some(expected), "{what}");
        }
        Err(e) => assert_eq!(database_error(&e).code().code(), "54001", "{what}"),
    }
    client.query_one("SELECT 1", &[]).await.unwrap();
}

#[test]
fn large_and_deep_statements_do_no_harm() {
    let (_folder, server) = start();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        let megabyte = "x".repeat(1 << 20);
        let row = client.query_one(&format!("SELECT length('{megabyte}')"), &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 1 << 20);
        let list = vec!["1"; 500_000].join(",");
        answered_or_too_complex(&client, "a long list", &format!("SELECT 5 IN ({list})"), "f").await;
        let sum = vec!["1"; 250_000].join(" + ");
        answered_or_too_complex(&client, "a long sum", &format!("SELECT {sum}"), "250000").await;
        for depth in [200, 10_000, 400_000] {
            let nested = format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
            answered_or_too_complex(&client, "parentheses", &nested, "1").await;
        }
        let nots = format!("SELECT {} true", "NOT ".repeat(200_000));
        answered_or_too_complex(&client, "many NOTs", &nots, "t").await;
        let cases = format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(5_000), " END".repeat(5_000));
        answered_or_too_complex(&client, "nested CASE", &cases, "1").await;
        let garbage = "(".repeat(1 << 20);
        refused(&client, &garbage).await;
        still_serves(&server).await;
    });
    server.stop();
}
