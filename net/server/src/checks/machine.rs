//! Facts about the machine and the limits of this process.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Check, mib};

/// Files that a node with a few hundred connections opens.
const OPEN_FILES_LOW: u64 = 4_096;
/// Memory that a core's ring locks on kernels that charge it.
const LOCKED_PER_CORE: u64 = 1 << 20;

/// CPUs that this process may run on.
pub fn cpu_count() -> u16 {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(count).unwrap_or(u16::MAX).min(crate::config::CORES_MAX)
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

/// Raises the soft limits of locked memory and open files as far as this process may.
pub fn raise_limits() {
    for resource in [Resource::Memlock, Resource::Nofile] {
        let limit = getrlimit(resource);
        // Only a privileged process may lift the hard limit of locked memory; failing to is no error.
        let lifted = resource == Resource::Memlock
            && setrlimit(resource, Rlimit { current: None, maximum: None }).is_ok();
        if !lifted {
            let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
        }
    }
}

/// Whether the kernel lets this process use io_uring.
pub fn io_uring() -> Check {
    let name = "io_uring";
    let Err(e) = io_uring::IoUring::new(8) else {
        return Check::ok(name, format!("works on Linux {}", release()));
    };
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let remedy = match (e.raw_os_error(), disabled.trim()) {
        (Some(libc::ENOSYS), _) => "use Linux 6.1 or newer".to_owned(),
        (Some(libc::ENOMEM), _) => "raise the limit of locked memory: ulimit -l 65536".to_owned(),
        (Some(libc::EPERM), disabled @ ("1" | "2")) => {
            format!("the kernel forbids it ({disabled}): sysctl kernel.io_uring_disabled=0")
        }
        (Some(libc::EPERM), _) => {
            "the container's seccomp profile forbids it: allow io_uring_setup, io_uring_enter and io_uring_register \
             (docker run --security-opt seccomp=unconfined)"
                .to_owned()
        }
        _ => "see dmesg".to_owned(),
    };
    Check::fail(name, format!("cannot be used: {e}"), remedy)
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned())
}

/// Whether enough memory may be locked for the rings.
pub fn locked_memory(cores: u16) -> Check {
    let name = "locked memory";
    let needed = LOCKED_PER_CORE * u64::from(cores);
    match getrlimit(Resource::Memlock).current {
        None => Check::ok(name, "unlimited"),
        Some(limit) if limit >= needed => Check::ok(name, format!("{} for {cores} cores", mib(limit))),
        Some(limit) => {
            let finding = format!("{} KiB, {cores} cores may need {}", limit >> 10, mib(needed));
            Check::warn(name, finding, "ulimit -l unlimited, or LimitMEMLOCK=infinity in the systemd unit")
        }
    }
}

/// Whether enough files may be open.
pub fn open_files() -> Check {
    let name = "open files";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < OPEN_FILES_LOW => {
            let finding = format!("{limit}, which is few for files and connections");
            Check::warn(name, finding, "ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit")
        }
        limit => Check::ok(name, limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())),
    }
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
        raise_limits();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
