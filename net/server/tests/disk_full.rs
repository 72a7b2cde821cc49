//! A full disk: writers get 53100, and so do flushes and compactions, readers go on, and nothing acknowledged is lost
//! after there is space again and the node has crashed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use omen_tests::rng::Rng;
use omen_tests::server::{Setup, database_error};
use tokio_postgres::Client;

const LIMIT: Duration = Duration::from_secs(300);
/// How long after space has returned writes may still fail.
const RETURN_LIMIT: Duration = Duration::from_secs(20);

/// A small file system of its own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `path`, or prints why it cannot.
    fn mount(path: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "omendb-test"]).arg(path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk(path.to_owned())),
            Ok(output) => {
                println!("skipped: cannot mount a tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(e) => {
                println!("skipped: cannot mount a tmpfs: {e}");
                None
            }
        }
    }

    fn grow(&self) {
        let status = Command::new("mount").args(["-o", "remount,size=256m"]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Random, so that nothing makes it smaller.
fn payload(id: i64) -> String {
    const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    let mut rng = Rng::new(id as u64);
    let mut text = String::with_capacity(4_000);
    for _ in 0..400 {
        let bits = rng.next_u64();
        (0..10).for_each(|at| text.push(CHARS[(bits >> (at * 6)) as usize % 64].into()));
    }
    text
}

/// Inserts rows from `next` on until one fails; answers the first that is not there, and the SQLSTATE.
async fn fill(client: &Client, mut next: i64) -> (i64, String) {
    let statement = client.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
    loop {
        match client.execute(&statement, &[&next, &payload(next)]).await {
            Ok(_) => next += 1,
            Err(e) => return (next, database_error(&e).code().code().to_owned()),
        }
        assert!(next < 100_000, "the disk does not fill");
    }
}

async fn check_rows(client: &Client, count: i64) {
    let rows = client.query("SELECT id, payload FROM t ORDER BY id", &[]).await.unwrap();
    assert_eq!(i64::try_from(rows.len()).unwrap(), count);
    for (row, id) in rows.iter().zip(0..) {
        assert_eq!((row.get::<_, i64>(0), row.get::<_, String>(1)), (id, payload(id)));
    }
}

#[test]
fn writers_are_told_readers_go_on_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let Some(disk) = SmallDisk::mount(&path) else { return };
    let setup = Setup::new(env!("CARGO_BIN_EXE_omendb"), &path.join("data")).log(&folder.path().join("log"));
    let setup = setup.option("--wal-file-size", "1MiB").option("--memory", "104MiB");
    let server = setup.start();
    let mut count = omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        client.batch_execute("CREATE TABLE t (id bigint PRIMARY KEY, payload text NOT NULL)").await.unwrap();
        let (count, state) = fill(&client, 0).await;
        assert_eq!(state, "53100");
        assert!(count > 1_000, "only {count} rows fitted");
        check_rows(&client, count).await;
        let row = client.query_one("SELECT count(*) FROM t WHERE id % 2 = 0", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), (count + 1) / 2);
        // Small transactions may still fit; what fails leaves nothing.
        let (count, state) = fill(&client, count).await;
        assert_eq!(state, "53100");
        check_rows(&server.connect().await, count).await;
        count
    });
    server.kill();

    // A restart with the disk still full serves what is there.
    let server = setup.start();
    omen_tests::block_on(LIMIT, async { check_rows(&server.connect().await, count).await });

    disk.grow();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        let began = Instant::now();
        let statement = client.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
        while let Err(e) = client.execute(&statement, &[&count, &payload(count)]).await {
            assert_eq!(database_error(&e).code().code(), "53100");
            assert!(began.elapsed() < RETURN_LIMIT, "space has returned and writes still fail");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        count += 1;
        for _ in 0..100 {
            client.execute(&statement, &[&count, &payload(count)]).await.unwrap();
            count += 1;
        }
        check_rows(&client, count).await;
    });
    server.kill();
    let server = setup.start();
    omen_tests::block_on(LIMIT, async { check_rows(&server.connect().await, count).await });
    server.stop();
}

/// What `VACUUM` and `CHECKPOINT` came to.
#[derive(Default, Debug)]
struct Maintained {
    done: u64,
    refused: u64,
}

/// Flushes and compacts until it is told to stop.
async fn maintain(client: Client, stop: Arc<AtomicBool>) -> Maintained {
    let mut maintained = Maintained::default();
    while !stop.load(Ordering::Relaxed) {
        for sql in ["CHECKPOINT", "VACUUM"] {
            match client.batch_execute(sql).await {
                Ok(()) => maintained.done += 1,
                Err(e) => {
                    assert_eq!(database_error(&e).code().code(), "53100", "{sql}");
                    maintained.refused += 1;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    maintained
}

/// Rows by id, as versions of their text.
type Versions = Vec<i64>;

async fn check_versions(client: &Client, versions: &Versions) {
    let rows = client.query("SELECT id, payload FROM t ORDER BY id", &[]).await.unwrap();
    assert_eq!(rows.len(), versions.len());
    for (row, (id, version)) in rows.iter().zip(versions.iter().enumerate()) {
        let expected = (id as i64, payload(id as i64 + version * 1_000_000));
        assert_eq!((row.get::<_, i64>(0), row.get::<_, String>(1)), expected);
    }
}

/// Inserts rows and changes each of them now and then, until this has been refused so often; between these it reads.
async fn write_until_refused(client: &Client, versions: &mut Versions, refusals: u64) {
    let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
    let update = client.prepare("UPDATE t SET payload = $2 WHERE id = $1").await.unwrap();
    let mut refused = 0;
    for turn in 0..100_000 {
        let is_update = turn % 3 == 2;
        let id = if is_update { turn as usize * 7_919 % versions.len() } else { versions.len() };
        let version = if is_update { versions[id] + 1 } else { 0 };
        let statement = if is_update { &update } else { &insert };
        match client.execute(statement, &[&(id as i64), &payload(id as i64 + version * 1_000_000)]).await {
            Ok(count) => {
                assert_eq!(count, 1);
                if is_update { versions[id] = version } else { versions.push(version) }
            }
            Err(e) => {
                assert_eq!(database_error(&e).code().code(), "53100");
                check_versions(client, versions).await;
                refused += 1;
            }
        }
        if refused == refusals {
            return;
        }
    }
    panic!("the disk does not fill");
}

#[test]
fn flushes_and_compactions_are_refused_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let Some(disk) = SmallDisk::mount(&path) else { return };
    let setup = Setup::new(env!("CARGO_BIN_EXE_omendb"), &path.join("data")).log(&folder.path().join("log"));
    let setup = setup.option("--wal-file-size", "1MiB").option("--memory", "104MiB");
    let server = setup.start();
    let mut versions = Versions::new();
    omen_tests::block_on(LIMIT, async {
        let client = server.connect().await;
        client.batch_execute("CREATE TABLE t (id bigint PRIMARY KEY, payload text NOT NULL)").await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let maintenance = tokio::spawn(maintain(server.connect().await, Arc::clone(&stop)));
        write_until_refused(&client, &mut versions, 5).await;
        stop.store(true, Ordering::Relaxed);
        let maintained = maintenance.await.unwrap();
        println!("{} rows; flushes and compactions: {maintained:?}", versions.len());
        assert!(maintained.done > 0 && maintained.refused > 0, "{maintained:?}");
        check_versions(&client, &versions).await;

        disk.grow();
        let began = Instant::now();
        while let Err(e) = client.batch_execute("VACUUM").await {
            assert_eq!(database_error(&e).code().code(), "53100");
            assert!(began.elapsed() < RETURN_LIMIT, "space has returned and VACUUM still fails");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        check_versions(&client, &versions).await;
    });
    server.kill();
    let server = setup.start();
    omen_tests::block_on(LIMIT, async { check_versions(&server.connect().await, &versions).await });
    server.stop();
}
