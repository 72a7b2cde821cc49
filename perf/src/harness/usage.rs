//! What a server's processes take, from /proc.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::usage::{cpu_time, field};

/// What a server and the processes that it has started took; differences of two are what happened between.
#[derive(Clone, Copy, PartialEq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Seconds of CPU.
    pub cpu_seconds: f64,
    /// Largest resident memory of each process, added up, in bytes. Pages that processes share count for each.
    pub memory_peak_bytes: u64,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written to disks; buffered writes count when they reach the page cache.
    pub written_bytes: u64,
    /// Calls of read and write; what goes through an io_uring is not among them.
    pub syscalls: u64,
    /// Entries that the kernel took from submission queues of io_urings.
    pub ring_entries: u64,
    /// Messages between cores, where the server counts them: `omen_core_messages()`.
    pub core_messages: Option<u64>,
    /// Times that threads gave up their CPU to wait.
    pub waits: u64,
}

impl Usage {
    /// That of a process and its descendants so far.
    pub fn of(pid: u32) -> Usage {
        let mut all = Usage::default();
        descendants(pid).into_iter().for_each(|pid| all.add(&of_process(pid)));
        all
    }

    fn add(&mut self, other: &Usage) {
        self.cpu_seconds += other.cpu_seconds;
        self.memory_peak_bytes += other.memory_peak_bytes;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
        self.syscalls += other.syscalls;
        self.ring_entries += other.ring_entries;
        self.waits += other.waits;
    }

    /// What was taken since; the peak is that of the whole time.
    pub fn since(&self, before: &Usage) -> Usage {
        Usage {
            cpu_seconds: (self.cpu_seconds - before.cpu_seconds).max(0.0),
            memory_peak_bytes: self.memory_peak_bytes,
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            syscalls: self.syscalls.saturating_sub(before.syscalls),
            ring_entries: self.ring_entries.saturating_sub(before.ring_entries),
            core_messages: self
                .core_messages
                .zip(before.core_messages)
                .map(|(now, before)| now.saturating_sub(before)),
            waits: self.waits.saturating_sub(before.waits),
        }
    }
}

/// Entries that the kernel took from the rings of a process; each ring counts to 2^32.
fn ring_entries(process: &Path) -> u64 {
    let files = fs::read_dir(process.join("fdinfo")).into_iter().flatten().flatten();
    files.map(|file| field(&fs::read_to_string(file.path()).unwrap_or_default(), "SqHead")).sum()
}

fn descendants(root: u32) -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, in parentheses, may have spaces.
            let (_, rest) = stat.rsplit_once(") ")?;
            Some((pid, rest.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let count = found.len();
        for (pid, parent) in &parents {
            if found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == count {
            return found;
        }
    }
}

fn of_process(pid: u32) -> Usage {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let tasks = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let waits = tasks.map(|task| field(&text(task.path().join("status")), "voluntary_ctxt_switches")).sum();
    let (status, io) = (text(process.join("status")), text(process.join("io")));
    Usage {
        cpu_seconds: cpu_time(&process).as_secs_f64(),
        memory_peak_bytes: field(&status, "VmHWM") * 1_024,
        read_bytes: field(&io, "read_bytes"),
        written_bytes: field(&io, "write_bytes"),
        syscalls: field(&io, "syscr") + field(&io, "syscw"),
        ring_entries: ring_entries(&process),
        core_messages: None,
        waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let before = Usage::of(std::process::id());
        let mut sum = 0u64;
        while Usage::of(std::process::id()).since(&before).cpu_seconds < 0.05 {
            (0..100_000).for_each(|number| sum = crate::rows::mix(sum ^ number));
        }
        let used = Usage::of(std::process::id()).since(&before);
        assert!(used.memory_peak_bytes > 0 && used.syscalls > 0 && sum != 0, "{used:?}");
    }
}
