//! What must hold before a node starts, each fact in one line with how to mend it. `doctor` prints all of them;
//! `start` prints those that are not in order and goes on unless one forbids it.

mod machine;
mod storage;

use std::fmt;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use omen_core::env::uring;

use crate::Failure;
use crate::cli::NodeOptions;
use crate::config::{Memory, Settings};
use crate::data_dir;
use crate::node::PROCESS_BYTES;

pub use machine::{cpu_count, memory_bytes};

/// Least memory of a core: its buffers, and a memtable worth flushing.
const MEMORY_PER_CORE_MIN: u64 = 24 << 20;

/// How a fact stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// In order.
    Ok,
    /// A node runs, but worse than it could.
    Warn,
    /// A node cannot run.
    Fail,
}

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    name: &'static str,
    verdict: Verdict,
    finding: String,
    remedy: String,
}

impl Check {
    /// A fact that is in order.
    pub fn ok(name: &'static str, finding: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Ok, finding: finding.into(), remedy: String::new() }
    }

    /// A fact that slows a node down or limits it.
    pub fn warn(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Warn, finding: finding.into(), remedy: remedy.into() }
    }

    /// A fact that keeps a node from running.
    pub fn fail(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Fail, finding: finding.into(), remedy: remedy.into() }
    }

    /// Whether a node can run in spite of it, and how well.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

impl From<uring::Check> for Check {
    fn from(check: uring::Check) -> Check {
        let verdict = match check.outcome {
            uring::Outcome::Fine => Verdict::Ok,
            uring::Outcome::Weak => Verdict::Warn,
            uring::Outcome::Failed => Verdict::Fail,
        };
        Check { name: check.name, verdict, finding: check.line, remedy: String::new() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.finding)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Bytes of memory that the settings allow on this machine.
pub fn memory_budget(settings: &Settings) -> u64 {
    match settings.memory {
        Memory::Bytes(bytes) => bytes,
        Memory::Percent(percent) => memory_bytes() / 100 * percent,
    }
}

/// Cores that a node with these settings uses: those of its data directory, or those asked for, or all.
pub fn core_count(settings: &Settings) -> u16 {
    let made_for = settings.data_dir.as_deref().and_then(|path| data_dir::read_identity(path).ok().flatten());
    made_for.map(|identity| identity.shards).or(settings.cores).unwrap_or_else(cpu_count)
}

/// Every fact about this machine and these settings. Raises the limits of this process where it may, and leaves nothing
/// behind.
pub fn all(settings: &Settings) -> Vec<Check> {
    let cores = core_count(settings);
    let mut checks: Vec<Check> = uring::check(usize::from(cores)).into_iter().map(Check::from).collect();
    checks.push(memory(memory_budget(settings), memory_bytes(), cores));
    checks.extend(storage::all(settings, cores));
    checks.push(listen(settings.listen));
    checks
}

/// The command `doctor`.
pub fn doctor(options: &NodeOptions) -> Result<ExitCode, Failure> {
    let settings = Settings::load(options)?;
    let checks = all(&settings);
    report(&mut std::io::stdout().lock(), &settings, &checks)
        .map_err(|e| Failure::new(format!("could not print: {e}")))?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(out: &mut impl Write, settings: &Settings, checks: &[Check]) -> std::io::Result<()> {
    for line in settings.describe() {
        writeln!(out, "      {line}")?;
    }
    for check in checks {
        let label = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        writeln!(out, "{label}  {}: {}", check.name, check.finding)?;
        if !check.remedy.is_empty() {
            writeln!(out, "      to mend: {}", check.remedy)?;
        }
    }
    Ok(())
}

fn memory(budget: u64, machine: u64, cores: u16) -> Check {
    let finding = format!("{} of {}", mib(budget), mib(machine));
    let least = PROCESS_BYTES + MEMORY_PER_CORE_MIN * u64::from(cores);
    if budget < least {
        let (needs, fewer) =
            if cores == 1 { ("core needs", "") } else { ("cores need", " or use fewer --cores") };
        let remedy = format!("{cores} {needs} {} at least: raise --memory{fewer}", mib(least));
        return Check::fail("memory", finding, remedy);
    }
    if budget > machine / 10 * 9 {
        return Check::fail("memory", finding, "leave some to the system: lower --memory");
    }
    Check::ok("memory", finding)
}

fn listen(address: SocketAddr) -> Check {
    let name = "listen address";
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            let finding = format!("{address} is in use by another process");
            Check::fail(name, finding, "stop that process or choose another address with --listen")
        }
        Err(e) => {
            let finding = format!("{address} cannot be bound: {e}");
            Check::fail(
                name,
                finding,
                "choose an address of this machine, or a port above 1023, with --listen",
            )
        }
    }
}

/// A size for people.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_judged() {
        let gib = 1 << 30;
        assert_eq!(memory(gib, 4 * gib, 2).verdict, Verdict::Ok);
        assert_eq!(memory(4 * gib, 4 * gib, 2).verdict, Verdict::Fail);
        let little = memory(gib / 64, gib, 2);
        assert_eq!(little.verdict, Verdict::Fail);
        let one = memory(71 << 20, gib, 1);
        assert!(one.to_string().contains("1 core needs 72 MiB at least: raise --memory"), "{one}");
        assert_eq!(memory(72 << 20, gib, 1).verdict, Verdict::Ok);
        assert!(little.to_string().contains("2 cores need 96 MiB at least"), "{little}");
    }

    #[test]
    fn an_address_in_use_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let check = listen(address);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.to_string().contains("in use"), "{check}");
        drop(taken);
        assert_eq!(listen(address).verdict, Verdict::Ok);
        assert_eq!(listen("203.0.113.1:1".parse().unwrap()).verdict, Verdict::Fail);
    }
}
