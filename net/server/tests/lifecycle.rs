//! Starting, stopping and asking: what an operator sees.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use omen_tests::server::{Server, Setup, database_error};

const LIMIT: Duration = Duration::from_secs(120);

fn setup(folder: &tempfile::TempDir) -> (Setup, PathBuf) {
    let data = folder.path().join("data");
    (Setup::new(env!("CARGO_BIN_EXE_omendb"), &data), data)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that fails, and gives what it says on standard error.
fn failure(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

fn sql(setup: &Setup, server: &Server, statements: &[&str]) -> Output {
    let mut command = setup.command("sql");
    command.args(["--address", &server.address().to_string()]);
    for statement in statements {
        command.args(["-c", statement]);
    }
    command.output().unwrap()
}

#[test]
fn a_signal_stops_a_node_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, _) = setup(&folder);
    for signal in ["TERM", "INT"] {
        let mut server = setup.start();
        omen_tests::block_on(LIMIT, async {
            let idle = server.connect().await;
            let open = server.connect().await;
            idle.batch_execute("CREATE TABLE IF NOT EXISTS t (id text PRIMARY KEY)").await.unwrap();
            idle.execute("INSERT INTO t VALUES ($1)", &[&signal]).await.unwrap();
            open.batch_execute("BEGIN; INSERT INTO t VALUES ('never committed')").await.unwrap();
            server.signal(signal);
            let status = server.wait();
            assert!(status.success(), "{status}\n{}", server.log());
            assert!(idle.query("SELECT 1", &[]).await.is_err());
        });
        assert!(server.log().contains("stopped cleanly"), "{}", server.log());
    }
    let server = setup.start();
    omen_tests::block_on(LIMIT, async {
        let rows = server.connect().await.query("SELECT id FROM t ORDER BY id", &[]).await.unwrap();
        let ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(ids, ["INT", "TERM"]);
    });
    server.stop();
}

#[test]
fn a_statement_under_way_is_finished_or_told() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, _) = setup(&folder);
    let mut server = setup.start();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        client.batch_execute("CREATE TABLE t (id bigint PRIMARY KEY)").await.unwrap();
        let writer = tokio::spawn(async move {
            let mut done = 0i64;
            loop {
                match client.execute("INSERT INTO t VALUES ($1)", &[&done]).await {
                    Ok(_) => done += 1,
                    Err(e) => {
                        if e.as_db_error().is_some() {
                            assert_eq!(database_error(&e).code().code(), "57P01");
                        }
                        return done;
                    }
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.signal("TERM");
        assert!(server.wait().success(), "{}", server.log());
        let done = writer.await.unwrap();
        let server = setup.start();
        let rows = server.connect().await.query("SELECT id FROM t", &[]).await.unwrap();
        let there = i64::try_from(rows.len()).unwrap();
        assert!(done > 0 && (there == done || there == done + 1), "{there} rows, {done} acknowledged");
        server.stop();
    });
}

#[test]
fn two_nodes_do_not_share_a_directory_or_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, data) = setup(&folder);
    let server = setup.start();
    let said = failure(&mut setup.node_command("start"));
    assert!(said.contains("is in use by another omendb (process "), "{said}");
    let other = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.path().join("other"));
    let other = other.option("--listen", &server.address().to_string());
    let said = failure(&mut other.node_command("start"));
    assert!(said.contains("is in use by another process") && said.contains("--listen"), "{said}");
    assert!(!folder.path().join("other").exists(), "a start that failed left a directory");
    server.stop();
    let said = failure(&mut setup.clone().option("--cores", "1").node_command("start"));
    assert!(said.contains("was made for 2 cores"), "{said}");
    assert!(data.join("shard-000").is_dir() && data.join("shard-001").is_dir());
}

#[test]
fn doctor_tells_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, data) = setup(&folder);
    let output = setup.node_command("doctor").output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    for fact in
        ["io_uring", "locked memory", "CPUs", "data directory", "file system", "free space", "listen address"]
    {
        assert!(
            said.lines()
                .any(|line| line.starts_with("ok") && line.contains(fact) || line.starts_with("warn")),
            "{said}"
        );
    }
    assert!(said.contains("memory = 256MiB (flag --memory)"), "{said}");
    assert!(!data.exists(), "doctor made something");
    let server = setup.start();
    let busy = setup.clone().option("--listen", &server.address().to_string());
    let output = busy.node_command("doctor").output().unwrap();
    let said = text(&output.stdout);
    assert!(!output.status.success());
    assert!(said.contains("FAIL  data directory") && said.contains("FAIL  listen address"), "{said}");
    server.stop();
    let output = setup.clone().option("--memory", "1MiB").node_command("doctor").output().unwrap();
    assert!(text(&output.stdout).contains("FAIL  memory"), "{}", text(&output.stdout));
}

#[test]
fn configuration_comes_from_flags_environment_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, data) = setup(&folder);
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("omendb.toml"), "memory = \"70MiB\"\nwal_file_size = \"3MiB\"\ncores = 1\n")
        .unwrap();
    let mut doctor = setup.command("doctor");
    doctor.arg("--data-dir").arg(&data).args(["--cores", "2"]).env("OMENDB_MEMORY", "80MiB");
    let said = text(&doctor.output().unwrap().stdout);
    assert!(said.contains("cores = 2 (flag --cores)"), "{said}");
    assert!(said.contains("memory = 80MiB (environment variable OMENDB_MEMORY)"), "{said}");
    assert!(said.contains("wal_file_size = 3MiB (file "), "{said}");
    assert!(said.contains("listen = 127.0.0.1:5442 (default)"), "{said}");
    std::fs::write(data.join("omendb.toml"), "memroy = \"70MiB\"").unwrap();
    let said = failure(&mut setup.node_command("start"));
    assert!(said.contains("unknown key \"memroy\""), "{said}");
    let said = failure(setup.command("start").args(["--data-dir", "x", "--memory", "lots"]));
    assert!(said.contains("memory = \"lots\" (flag --memory)"), "{said}");
    let said = failure(&mut setup.command("start"));
    assert!(said.contains("no data directory"), "{said}");
}

#[test]
fn passwords_are_asked_for_where_the_rules_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, data) = setup(&folder);
    std::fs::create_dir(&data).unwrap();
    let rules = "hba = [\"host all all all scram-sha-256\"]\npassword = \"pencil\"\n";
    std::fs::write(data.join("omendb.toml"), rules).unwrap();
    let server = setup.start();
    let ask = |password: Option<&str>| {
        let mut command = setup.command("sql");
        command.args(["--address", &server.address().to_string(), "-c", "SELECT 1"]);
        password.map(|password| command.env("OMENDB_PASSWORD", password));
        command.output().unwrap()
    };
    assert!(ask(Some("pencil")).status.success());
    let wrong = ask(Some("crayon"));
    assert!(text(&wrong.stderr).contains("28P01"), "{}", text(&wrong.stderr));
    assert!(text(&ask(None).stderr).contains("OMENDB_PASSWORD"));
    server.stop();
}

#[test]
fn sql_prints_answers_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (setup, _) = setup(&folder);
    let server = setup.start();
    let made = sql(&setup, &server, &["CREATE TABLE t (id integer PRIMARY KEY, name text)"]);
    assert_eq!((made.status.code(), &*text(&made.stdout)), (Some(0), "CREATE TABLE\n"));
    let asked = ["INSERT INTO t VALUES (1, 'one'), (20, NULL)", "SELECT * FROM t ORDER BY id"];
    let answered = sql(&setup, &server, &asked);
    let expected = "INSERT 0 2\n id | name\n----+------\n  1 | one\n 20 | NULL\n(2 rows)\n";
    assert_eq!(text(&answered.stdout), expected, "{}", text(&answered.stderr));
    let refused = sql(&setup, &server, &["SELECT * FROM missing", "SELECT 1"]);
    assert_eq!((refused.status.code(), &*text(&refused.stdout)), (Some(1), ""));
    assert!(text(&refused.stderr).contains("42P01"), "{}", text(&refused.stderr));
    let version = setup.command("version").output().unwrap();
    assert_eq!(text(&version.stdout), concat!("omendb ", env!("CARGO_PKG_VERSION"), "\n"));
    let address = server.address().to_string();
    server.stop();
    let said = failure(setup.command("sql").args(["--address", &address, "-c", "SELECT 1"]));
    assert!(said.contains("is a node running?"), "{said}");
}

/// Runs the demo until it serves, and gives what it printed.
fn demo(folder: &Path) -> String {
    let setup = Setup::new(env!("CARGO_BIN_EXE_omendb"), &folder.join("data"));
    let (mut command, log) = (setup.node_command("demo"), folder.join("log"));
    command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut printed = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let said = || std::fs::read_to_string(&log).unwrap();
    while !printed.contains("Ctrl-C stops the node") {
        assert!(out.read_line(&mut printed).unwrap() > 0, "the demo ended:\n{printed}\n{}", said());
    }
    let status = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success() && child.wait().unwrap().success(), "{printed}\n{}", said());
    printed
}

#[test]
fn the_demo_loads_once_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    let first = demo(folder.path());
    assert!(first.contains("flights    336776 rows loaded"), "{first}");
    assert!(first.contains("psql -h 127.0.0.1 -p "), "{first}");
    let second = demo(folder.path());
    assert!(second.contains("flights    336776 rows, loaded by an earlier run"), "{second}");
    let answers = |printed: &str| {
        let lines = printed.lines().skip_while(|line| !line.starts_with("-- "));
        let kept = lines.filter(|line| !line.starts_with("Time: ") && !line.contains("127.0.0.1"));
        kept.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(answers(&first).len() > 40, "{first}");
    assert_eq!(answers(&first), answers(&second));
}
