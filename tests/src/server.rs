//! A node of the real binary as a child process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};

/// How long a node may take to start, which includes recovery, on a machine that builds other things meanwhile.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a node may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How often a state is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How to run nodes.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    data_dir: PathBuf,
    log: PathBuf,
    options: Vec<String>,
}

impl Setup {
    /// Nodes of this binary on this data directory: two cores, little memory, small log files, a port of the system's
    /// choice.
    pub fn new(binary: &str, data_dir: &Path) -> Setup {
        let log = data_dir.with_extension("log");
        let setup = Setup { binary: binary.into(), data_dir: data_dir.into(), log, options: Vec::new() };
        let setup = setup.option("--listen", "127.0.0.1:0").option("--cores", "2");
        setup.option("--memory", "256MiB").option("--wal-file-size", "4MiB")
    }

    /// With its log in this file.
    #[must_use]
    pub fn log(self, path: &Path) -> Setup {
        Setup { log: path.into(), ..self }
    }

    /// With this option set, in place of any former value.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Setup {
        if let Some(at) = self.options.iter().position(|option| option == name) {
            self.options.drain(at..at + 2);
        }
        self.options.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// A command of the binary without any variables of ours.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMENDB_")) {
            command.env_remove(name);
        }
        command.arg(subcommand).stdin(Stdio::null());
        command
    }

    /// A command with this setup's data directory and options.
    pub fn node_command(&self, subcommand: &str) -> Command {
        let mut command = self.command(subcommand);
        command.arg("--data-dir").arg(&self.data_dir).args(&self.options);
        command
    }

    /// Starts a node and ends it after a while, whatever it is doing then.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_and_kill(&self, after: Duration) {
        let mut command = self.node_command("start");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts a node and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(&self) -> Server {
        let file = File::options().create(true).append(true).open(&self.log).unwrap();
        let logged = file.metadata().unwrap().len();
        let mut command = self.node_command("start");
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().expect("the binary runs");
        let mut server = Server { child, address: ([0; 4], 0).into(), log: self.log.clone(), logged };
        let began = Instant::now();
        loop {
            if let Some(address) = served_address(&server.log()) {
                server.address = address;
                return server;
            }
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the node ended with {status}:\n{}", server.log());
            }
            assert!(began.elapsed() < START_LIMIT, "the node does not start:\n{}", server.log());
            std::thread::sleep(POLL);
        }
    }
}

/// The address in the line that a node logs when it serves.
fn served_address(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains(" serving on "))?;
    line.split(" serving on ").nth(1)?.split(' ').next()?.parse().ok()
}

/// A running node. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    logged: u64,
}

impl Server {
    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged since it started.
    ///
    /// # Panics
    /// If the log cannot be read.
    pub fn log(&self) -> String {
        let mut text = String::new();
        File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text.split_off(usize::try_from(self.logged).unwrap())
    }

    /// Largest resident memory since it started, in bytes.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the process lives");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib << 10
    }

    /// Ends the process at once, as a crash does.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the node had ended already:\n{}", self.log());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name: `TERM`, `INT`.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}");
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < STOP_LIMIT, "the node does not stop:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// Asks it to stop and checks that it stops cleanly.
    ///
    /// # Panics
    /// If it does not.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "the node stopped with {status}:\n{}", self.log());
    }

    /// Connects.
    ///
    /// # Errors
    /// If the node refuses or is gone.
    pub async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        connect(self.address).await
    }

    /// Connects to a node that is expected to let us in.
    ///
    /// # Panics
    /// If it does not.
    pub async fn connect(&self) -> Client {
        self.try_connect().await.unwrap_or_else(|e| panic!("could not connect: {e:?}\n{}", self.log()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // To standard output, where the test's own words are.
            let _ = writeln!(std::io::stdout(), "log of the node:\n{}", self.log());
        }
    }
}

/// Connects to a node and serves the connection on the current runtime.
///
/// # Errors
/// If the node refuses or is gone.
pub async fn connect(address: SocketAddr) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port()).user("omen").dbname("omen");
    let (client, connection) = config.connect(NoTls).await?;
    // Whoever uses the client sees the error too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// SQLSTATE and detail of a database error.
///
/// # Panics
/// If the error is none of the database.
pub fn database_error(error: &tokio_postgres::Error) -> &tokio_postgres::error::DbError {
    error.as_db_error().unwrap_or_else(|| panic!("not an error of the database: {error:?}"))
}
