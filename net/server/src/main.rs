//! The binary `omendb`: the command line, configuration and start-up checks, and the only place that joins the crates
//! to a running node. `docs/architecture.md` has the map.

mod allocator;
mod checks;
mod cli;
mod client;
mod config;
mod data_dir;
mod demo;
mod log;
mod node;
mod signals;
mod sql_command;
mod start;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let ended = match cli.command {
        cli::Command::Start(options) => start::run(&options),
        cli::Command::Demo(options) => demo::run(&options),
        cli::Command::Sql(options) => sql_command::run(&options),
        cli::Command::Doctor(options) => checks::doctor(&options),
        cli::Command::Version => {
            println!("{}", cli::version_line());
            Ok(ExitCode::SUCCESS)
        }
    };
    ended.unwrap_or_else(|failure| {
        eprintln!("omendb: {failure}");
        ExitCode::FAILURE
    })
}

/// Why a command cannot go on, in words for the person at the terminal: what is wrong, then how to mend it.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure described by `text`.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure(text.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
