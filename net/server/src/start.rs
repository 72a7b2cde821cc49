//! `omendb start`: checks, then a node until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use omen_net::pg::ServerConfig;
use omen_net::pg::config::BOOTSTRAP_NAME;
use omen_net::pg::hba::Rules;

use crate::Failure;
use crate::checks::{self, Verdict};
use crate::cli::NodeOptions;
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::log;
use crate::node::{Node, NodeConfig};
use crate::signals;

/// Runs the command.
pub fn run(options: &NodeOptions) -> Result<ExitCode, Failure> {
    let settings = Settings::load(options)?;
    let node = match launch(&settings) {
        Ok(node) => node,
        Err(failure) => {
            log::error!("{failure}");
            return Ok(ExitCode::FAILURE);
        }
    };
    log::info!("connect with: {}", psql_line(&node));
    stop_on_signals(&node)?;
    Ok(serve(node))
}

/// Checks the machine and starts a node.
///
/// # Errors
/// If a check forbids it, or a core cannot start.
pub fn launch(settings: &Settings) -> Result<Node, Failure> {
    log::set_level(settings.log_level);
    log::catch_panics();
    let path = settings.data_dir.as_ref().ok_or_else(|| {
        Failure::new(
            "no data directory: name one with --data-dir, OMENDB_DATA_DIR, or data_dir in the configuration",
        )
    })?;
    let checks = checks::all(settings);
    for check in checks.iter().filter(|check| check.verdict() == Verdict::Warn) {
        log::warning!("{check}");
    }
    let failed: Vec<String> =
        checks.iter().filter(|check| check.verdict() == Verdict::Fail).map(ToString::to_string).collect();
    if !failed.is_empty() {
        return Err(Failure::new(failed.join("\n")));
    }
    let server = server_config(settings)?;
    let data_dir = DataDir::open(path, settings.cores, checks::cpu_count())?;
    let cores = data_dir.shards();
    let memory_bytes = checks::memory_budget(settings);
    let config = NodeConfig {
        listen: settings.listen,
        memory_bytes,
        wal_file_size_bytes: settings.wal_file_size_bytes,
        retention: settings.retention,
        read_files_below: folder_of_files(settings)?,
        server,
    };
    let node = Node::start(data_dir, config)?;
    log::info!(
        "serving on {} with {cores} cores and {} MiB of memory, data in {}",
        node.address(),
        memory_bytes >> 20,
        path.display()
    );
    Ok(node)
}

/// The folder below which statements may read files, as an absolute path without links.
fn folder_of_files(settings: &Settings) -> Result<Option<PathBuf>, Failure> {
    let resolved = |dir: &PathBuf| {
        let resolved = dir.canonicalize().and_then(|path| path.read_dir().map(|_| path));
        resolved.map_err(|e| Failure::new(format!("read_files_below: {}: {e}", dir.display())))
    };
    settings.read_files_below.as_ref().map(resolved).transpose()
}

fn server_config(settings: &Settings) -> Result<ServerConfig, Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| Failure::new(format!("no random numbers: {e}")))?;
    let mut server = ServerConfig::new(secret);
    if !settings.hba.is_empty() {
        let rules = Rules::parse(&settings.hba.join("\n"));
        server.rules = rules.map_err(|e| Failure::new(format!("hba: {e}")))?;
    }
    if let Some(password) = &settings.password {
        server.set_password(BOOTSTRAP_NAME, password);
    }
    Ok(server)
}

/// From here on a signal stops the node cleanly.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn stop_on_signals(node: &Node) -> Result<(), Failure> {
    let stopper = node.stopper();
    signals::on_stop(move || {
        log::info!("stopping: a second signal ends the process at once");
        stopper.stop();
    })
}

/// Serves until the node is stopped or a core fails.
pub fn serve(node: Node) -> ExitCode {
    match node.join() {
        Ok(()) => {
            log::info!("stopped cleanly");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            log::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// The command that connects psql to a node.
pub fn psql_line(node: &Node) -> String {
    let address = node.address();
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    format!("psql -h {host} -p {} -U omen omen", address.port())
}
