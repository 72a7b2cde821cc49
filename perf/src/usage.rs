//! What this process and its disk have done so far, from /proc. Uses nothing but the standard library, because the
//! programs in `perf/baselines` include this file, too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

fn run_ns(schedstat: &Path) -> Option<u64> {
    fs::read_to_string(schedstat).ok()?.split_whitespace().next()?.parse().ok()
}

/// How long the calling thread was ready to run so far while others had its CPU; exact.
pub fn thread_waited() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

/// CPU time of the calling thread so far, exact to a timer tick: measure for a second, not for a millisecond.
pub fn thread_cpu_time() -> Duration {
    Duration::from_nanos(run_ns(Path::new("/proc/thread-self/schedstat")).unwrap_or_default())
}

/// CPU time of all threads of this process so far, with the kernel's workers for its rings.
pub fn process_cpu_time() -> Duration {
    cpu_time(Path::new("/proc/self"))
}

/// As [`process_cpu_time`] of the process of this folder in /proc.
pub fn cpu_time(process: &Path) -> Duration {
    let tasks = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let run_ns = |task: fs::DirEntry| run_ns(&task.path().join("schedstat"));
    Duration::from_nanos(tasks.filter_map(run_ns).sum())
}

/// The number of a line `name: 17 ..`, as /proc has them; 0 if there is none.
pub fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Bytes that this process has had read from and written to disks.
#[derive(Clone, Copy, Default, Debug)]
pub struct DiskBytes {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

/// See [`DiskBytes`]. Buffered writes count when they reach the page cache.
pub fn disk_bytes() -> DiskBytes {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    DiskBytes { read: field(&text, "read_bytes"), written: field(&text, "write_bytes") }
}

/// Reads that the disk under this path has completed, whoever asked for them; 0 if the disk keeps no count.
pub fn device_reads(path: &Path) -> u64 {
    let Ok(metadata) = fs::metadata(path) else { return 0 };
    let device = metadata.dev();
    let major = (device >> 8 & 0xFFF).to_string();
    let minor = (device & 0xFF | device >> 12 & 0xFFF00).to_string();
    let table = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|fields| fields.len() > 3 && fields[0] == major && fields[1] == minor);
    line.and_then(|fields| fields[3].parse().ok()).unwrap_or_default()
}
