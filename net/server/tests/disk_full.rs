//! A full disk: writers get 53100, readers go on, and nothing acknowledged is lost after there is space again and the
//! node has crashed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

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

fn payload(id: i64) -> String {
    format!("{id:>10}").repeat(400)
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
    let setup = setup.option("--wal-file-size", "1MiB").option("--memory", "64MiB");
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
