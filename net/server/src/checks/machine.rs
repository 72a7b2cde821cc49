//! The size of this machine.

use std::fs;

use omen_core::env::uring;

/// CPUs that this process may run on.
pub fn cpu_count() -> u16 {
    let count = match uring::allowed_cpus().len() {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    u16::try_from(count).unwrap_or(u16::MAX).min(omen_core::node::CORES_MAX)
}

/// Memory of this machine, or of the container that this process is in.
pub fn memory_bytes() -> u64 {
    let machine =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text)).unwrap_or(u64::MAX);
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.min(limit.unwrap_or(u64::MAX))
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_measured() {
        assert!(cpu_count() >= 1);
        assert!(memory_bytes() > 64 << 20);
        assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(mem_total("nothing"), None);
    }
}
