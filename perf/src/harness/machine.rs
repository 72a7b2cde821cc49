//! What a result was measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Facts about a machine and what runs on it.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Machine {
    /// The CPU's model.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The kernel's version.
    pub kernel: String,
    /// The governor of the first CPU's frequency; empty if it has none, as in most virtual machines.
    pub governor: String,
    /// The file system and the device of the folder that data is in.
    pub disk: String,
    /// The commit of this program's sources, with `+` if they were changed; empty outside of a repository.
    pub commit: String,
}

impl Machine {
    /// This one, with data in a folder.
    pub fn here(folder: &Path) -> Machine {
        let cpu_info = text("/proc/cpuinfo");
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&text("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory_kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
        Machine {
            cpu: field(&cpu_info, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_kib * 1_024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").trim().to_owned(),
            disk: disk_of(folder),
            commit: commit(),
        }
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `ext4 on /dev/nvme0n1p1`: of the mount that holds a folder.
fn disk_of(folder: &Path) -> String {
    let Ok(folder) = folder.canonicalize() else { return String::new() };
    let mounts = text("/proc/self/mounts");
    let held = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
        folder.starts_with(place).then(|| (place.len(), format!("{kind} on {device}")))
    });
    held.max_by_key(|(length, _)| *length).map(|(_, disk)| disk).unwrap_or_default()
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return String::new() };
    let is_changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.trim().is_empty());
    format!("{}{}", commit.trim(), if is_changed { "+" } else { "" })
}
