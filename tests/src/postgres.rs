//! A PostgreSQL server of our own as the reference, where one is installed.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::{Protocol, WireClient};

/// The major version whose answers scripts expect.
const VERSION: &str = "15";
/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server with data in a folder of its own. Ended when dropped.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts one; the reason if none is installed.
    ///
    /// # Errors
    /// What is missing.
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub fn start() -> Result<Postgres, String> {
        let binaries = PathBuf::from(format!("/usr/lib/postgresql/{VERSION}/bin"));
        if !binaries.join("postgres").exists() {
            return Err(format!("PostgreSQL {VERSION} is not installed"));
        }
        let folder = tempfile::tempdir().unwrap();
        let owner = owner()?;
        let command = |name: &str| {
            let mut command = Command::new(binaries.join(name));
            command.current_dir(folder.path()).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command.stderr(Stdio::null());
            command
        };
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let data = folder.path().join("data");
        let options = ["--no-sync", "--auth=trust", "--username=omen", "--encoding=UTF8", "--locale=C"];
        assert!(command("initdb").args(options).arg("-D").arg(&data).status().unwrap().success());
        let address = free_address();
        let child = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-k", "", "-c", "fsync=off", "-c", "timezone=UTC"])
            .args(["-c", "default_transaction_isolation=repeatable read"])
            .args(["-p", &address.port().to_string()])
            .spawn()
            .unwrap();
        let server = Postgres { child, address, _folder: folder };
        let began = Instant::now();
        while WireClient::connect(address, "omen", "postgres").is_err() {
            assert!(began.elapsed() < START_LIMIT, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes an empty database.
    ///
    /// # Panics
    /// If that fails.
    pub fn create_database(&self, name: &str) {
        let mut client = WireClient::connect(self.address, "omen", "postgres").unwrap();
        client.run(&format!("create database {name}"), Protocol::Simple).unwrap().unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and group to run as, if not those of this process: PostgreSQL refuses to run as root.
fn owner() -> Result<Option<(u32, u32)>, String> {
    let process = Path::new("/proc/self").metadata().map_err(|error| error.to_string())?;
    if process.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let postgres = users.lines().find(|line| line.starts_with("postgres:"));
    let ids = postgres.and_then(|line| {
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    });
    ids.map(Some).ok_or_else(|| "there is no user postgres to run PostgreSQL as".to_owned())
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}
