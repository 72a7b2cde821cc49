//! Servers to measure: started here with data of their own and durable settings, or running already.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::usage::Usage;
use super::wire::{Client, Target};

/// How long a server may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long one may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How often a state is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Serves DuckDB and ClickHouse.
const EMBEDDED: &str = include_str!("../../embedded.py");
/// What OmenDB says of the messages between its cores.
const CORE_MESSAGES: &str = "SELECT omen_core_messages()";

/// How to start servers.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The folder for their data; each makes one of its own in it, which is removed in the end.
    pub folder: PathBuf,
    /// The binary of OmenDB.
    pub omendb: PathBuf,
    /// A Python that has the packages `duckdb` and `chdb`.
    pub python: PathBuf,
    /// Cores of OmenDB.
    pub cores: usize,
    /// Memory for data, in MiB.
    pub memory_mib: u64,
    /// Connections that are to be possible.
    pub connections: usize,
}

/// A server that can be asked.
#[derive(Debug)]
pub struct Server {
    /// How to connect.
    pub target: Target,
    /// What it was started with.
    pub settings: String,
    child: Option<Child>,
    folder: Option<PathBuf>,
    /// Whether it answers [`CORE_MESSAGES`].
    counts_messages: bool,
    /// Whether it computes with other types than PostgreSQL.
    pub rounds: bool,
}

/// Starts a server, or finds one. `what` is `omendb`, `postgres`, `duckdb`, `clickhouse`, or `postgres://USER[:PASSWORD]@HOST:PORT/DATABASE` of
/// one that runs.
///
/// # Errors
/// Why it is not there, in words.
pub fn open(what: &str, setup: &Setup) -> Result<Server, String> {
    match what {
        "omendb" => omendb(setup),
        "postgres" => postgres(setup),
        what if is_embedded(what) => embedded(what, setup),
        url => Ok(Server {
            target: parse(url)?,
            settings: String::new(),
            child: None,
            folder: None,
            counts_messages: false,
            rounds: false,
        }),
    }
}

fn parse(url: &str) -> Result<Target, String> {
    let malformed = || {
        format!(
            "{url:?} is neither omendb, postgres, duckdb, clickhouse nor postgres://USER@HOST:PORT/DATABASE"
        )
    };
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let (user, rest) = rest.and_then(|rest| rest.rsplit_once('@')).ok_or_else(malformed)?;
    let (address, database) = rest.split_once('/').ok_or_else(malformed)?;
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(password.to_owned())),
        None => (user, None),
    };
    let mut found = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    let address = found.next().ok_or_else(malformed)?;
    Ok(Target { address, user: user.to_owned(), password, database: database.to_owned() })
}

fn omendb(setup: &Setup) -> Result<Server, String> {
    if !setup.omendb.exists() {
        return Err(format!("there is no {}", setup.omendb.display()));
    }
    let (folder, address) = (own_folder(setup, "omendb")?, free_address()?);
    let (cores, memory) = (setup.cores.to_string(), format!("{}MiB", setup.memory_mib));
    let mut command = Command::new(&setup.omendb);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMENDB_")) {
        command.env_remove(name);
    }
    command.arg("start").arg("--data-dir").arg(folder.join("data"));
    command.args(["--cores", &cores, "--memory", &memory, "--listen", &address.to_string()]);
    let target = Target { address, user: "omen".into(), password: None, database: "omen".into() };
    let settings = format!("--cores {cores} --memory {memory}");
    started(command, folder, target, settings)
}

fn postgres(setup: &Setup) -> Result<Server, String> {
    let binaries = newest_postgres().ok_or("PostgreSQL is not installed (apt install postgresql)")?;
    let (folder, address) = (own_folder(setup, "postgres")?, free_address()?);
    let owner = owner()?;
    let command = |name: &str| {
        let mut command = Command::new(binaries.join(name));
        command.current_dir(&folder).env_clear();
        if let Some((user, group)) = owner {
            command.uid(user).gid(group);
        }
        command
    };
    if let Some((user, group)) = owner {
        chown(&folder, Some(user), Some(group)).map_err(|error| error.to_string())?;
    }
    let data = folder.join("data");
    let mut make = command("initdb");
    make.args(["--auth=trust", "--username=omen", "--encoding=UTF8", "--locale=C", "-D"]).arg(&data);
    let made = make.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(format!("initdb fails in {}", folder.display()));
    }
    let settings = [
        // A quarter of the memory, as its manual says (PG 15, 20.4).
        format!("shared_buffers={}MB", (setup.memory_mib / 4).max(16)),
        format!("effective_cache_size={}MB", setup.memory_mib),
        "fsync=on".to_owned(),
        "synchronous_commit=on".to_owned(),
        "full_page_writes=on".to_owned(),
        "max_wal_size=4GB".to_owned(),
        format!("max_connections={}", setup.connections + 10),
    ];
    let mut start = command("postgres");
    start.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-k", "", "-p", &address.port().to_string()]);
    start.args(settings.iter().flat_map(|setting| ["-c", setting]));
    let target = Target { address, user: "omen".into(), password: None, database: "postgres".into() };
    started(start, folder, target, settings.join(" "))
}

/// Whether this is an engine without a server of its own, which has no transactions of many sessions.
pub fn is_embedded(what: &str) -> bool {
    matches!(what, "duckdb" | "clickhouse")
}

/// DuckDB or ClickHouse in a process of its own, behind a server of the Postgres protocol.
fn embedded(engine: &str, setup: &Setup) -> Result<Server, String> {
    let (folder, address) = (own_folder(setup, engine)?, free_address()?);
    let program = folder.join("embedded.py");
    fs::write(&program, EMBEDDED).map_err(|error| format!("{}: {error}", program.display()))?;
    let (port, threads) = (address.port().to_string(), setup.cores.to_string());
    let mut command = Command::new(&setup.python);
    command.arg(&program).arg(engine).arg("--folder").arg(&folder).args([
        "--port",
        &port,
        "--threads",
        &threads,
    ]);
    let target = Target { address, user: "omen".into(), password: None, database: "omen".into() };
    let settings = format!("in process, {threads} threads");
    let mut server = started(command, folder, target, settings)?;
    server.rounds = true;
    Ok(server)
}

/// The folder of the newest version that Debian's packages installed.
fn newest_postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |entry: &fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
    let newest = versions.filter_map(|entry| Some((version(&entry)?, entry.path().join("bin"))));
    newest.filter(|(_, binaries)| binaries.join("postgres").exists()).max().map(|(_, binaries)| binaries)
}

/// User and group for a server that refuses to run as root; `None` if this is not root.
fn owner() -> Result<Option<(u32, u32)>, String> {
    let process = Path::new("/proc/self").metadata().map_err(|error| error.to_string())?;
    if process.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let postgres = users.lines().find(|line| line.starts_with("postgres:"));
    let ids = postgres.and_then(|line| {
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    });
    ids.map(Some).ok_or_else(|| "there is no user postgres to run PostgreSQL as".to_owned())
}

fn own_folder(setup: &Setup, name: &str) -> Result<PathBuf, String> {
    let folder = setup.folder.join(format!("{name}-{}", std::process::id()));
    let made = fs::create_dir_all(&folder).and_then(|()| folder.canonicalize());
    made.map_err(|error| format!("{}: {error}", folder.display()))
}

fn free_address() -> Result<SocketAddr, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.map_err(|error| error.to_string())
}

/// Starts a server and waits until it answers.
fn started(
    mut command: Command,
    folder: PathBuf,
    target: Target,
    settings: String,
) -> Result<Server, String> {
    let log_path = folder.join("log");
    let log = File::create(&log_path).and_then(|log| Ok((log.try_clone()?, log)));
    let (out, err) = log.map_err(|error| error.to_string())?;
    let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    let child = child.map_err(|error| format!("{:?} does not start: {error}", command.get_program()))?;
    let mut server = Server {
        target,
        settings,
        child: Some(child),
        folder: Some(folder),
        counts_messages: false,
        rounds: false,
    };
    let began = Instant::now();
    loop {
        let error = match Client::connect(&server.target) {
            Ok(mut client) => {
                server.counts_messages = client.query(CORE_MESSAGES).is_ok();
                return Ok(server);
            }
            Err(error) => error,
        };
        let ended = server.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if ended || began.elapsed() > START_LIMIT {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            let from = log.char_indices().rev().nth(1_000).map_or(0, |(at, _)| at);
            return Err(format!("it does not serve ({error}): {}", log[from..].trim()));
        }
        thread::sleep(POLL);
    }
}

impl Server {
    /// What its processes took so far; `None` if they are not ours.
    pub fn usage(&self) -> Option<Usage> {
        let child = self.child.as_ref()?;
        // A message or two of many: of the session that asks.
        let core_messages = self.counts_messages.then(|| {
            let answer = Client::connect(&self.target)
                .and_then(|mut client| client.query(CORE_MESSAGES)?.number(0, 0));
            answer.ok().and_then(|count| u64::try_from(count).ok())
        });
        Some(Usage { core_messages: core_messages.flatten(), ..Usage::of(child.id()) })
    }
}

/// Ends what was started here, and removes its data.
impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let asked = pid.is_some_and(|pid| kill_process(pid, Signal::INT).is_ok());
            let began = Instant::now();
            while asked && began.elapsed() < STOP_LIMIT && matches!(child.try_wait(), Ok(None)) {
                thread::sleep(POLL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers_are_read() {
        let target = parse("postgres://ann:se:cret@127.0.0.1:5433/shop").expect("well formed");
        assert_eq!(target.address, ([127, 0, 0, 1], 5433).into());
        assert_eq!((target.user.as_str(), target.password.as_deref()), ("ann", Some("se:cret")));
        assert_eq!(target.database, "shop");
        assert_eq!(parse("postgres://ann@127.0.0.1:1/d").expect("well formed").password, None);
        for wrong in ["", "mysql://a@127.0.0.1:1/d", "postgres://127.0.0.1:1/d", "postgres://a@127.0.0.1:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
