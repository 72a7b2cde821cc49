//! What the machine must offer before a core can start, each with one line on what is wrong and how to mend it.
//!
//! glommio panics or gives puzzling errors where these fail, so they come first.

use std::fs;
use std::io;

use super::ring;

/// Linux 5.15: the first with unlinkat, renameat, mkdirat and linkat in rings.
const KERNEL_MIN: (u32, u32) = (5, 15);

/// Linux 6.1: the first with deferred task work, which saves interrupts of a running core.
const KERNEL_GOOD: (u32, u32) = (6, 1);

/// What glommio asks for at start.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// For a few thousand connections and files.
const OPEN_FILES_GOOD: u64 = 4_096;

/// For the files and sockets of a small server.
const OPEN_FILES_MIN: u64 = 256;

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As it should be.
    Fine,
    /// It works, but not as well as it could.
    Weak,
    /// OmenDB cannot run.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What: `io_uring`.
    pub name: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// One line: what was found and, if it is not fine, how to mend it.
    pub line: String,
}

impl Check {
    fn new(name: &'static str, outcome: Outcome, line: impl Into<String>) -> Check {
        Check { name, outcome, line: line.into() }
    }
}

/// Looks at all of it for `core_count` cores, and raises the limits that it may raise.
pub fn check(core_count: usize) -> Vec<Check> {
    vec![kernel(), io_uring(), memlock(core_count), open_files(), cpus(core_count)]
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let (outcome, line) = match version(release) {
        Some(v) if v >= KERNEL_GOOD => (Outcome::Fine, format!("Linux {release}")),
        Some(v) if v >= KERNEL_MIN => {
            (Outcome::Weak, format!("Linux {release} works; 6.1 or later is faster"))
        }
        Some(_) => {
            (Outcome::Failed, format!("Linux {release} is too old: install 5.15 or later, best 6.1 or later"))
        }
        None => (Outcome::Weak, format!("cannot tell the kernel's version from {release:?}")),
    };
    Check::new("kernel", outcome, line)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn io_uring() -> Check {
    match ring::build(8) {
        Ok(_) => Check::new("io_uring", Outcome::Fine, "rings can be made"),
        Err(e) => Check::new("io_uring", Outcome::Failed, why_no_ring(&e)),
    }
}

fn why_no_ring(error: &io::Error) -> String {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.raw_os_error(), disabled.trim()) {
        (Some(libc::EPERM), "2") => {
            "forbidden for all by kernel.io_uring_disabled = 2: run `sysctl -w kernel.io_uring_disabled=0`"
                .to_owned()
        }
        (Some(libc::EPERM), "1") => {
            "forbidden for this user by kernel.io_uring_disabled = 1: run `sysctl -w \
             kernel.io_uring_disabled=0`, or join the group in kernel.io_uring_group"
                .to_owned()
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "forbidden by a seccomp or security profile, as containers have by \
             default: allow io_uring_setup, io_uring_enter and io_uring_register (Docker: `--security-opt \
             seccomp=unconfined`)"
                .to_owned()
        }
        (Some(libc::ENOSYS), _) => {
            "this kernel or sandbox (gVisor, old WSL) has no io_uring: run on Linux 5.15 or later".to_owned()
        }
        (Some(libc::ENOMEM), _) => {
            "no memory may be locked for rings: raise `ulimit -l` to 8192 or more".to_owned()
        }
        _ => format!("io_uring_setup failed: {error}"),
    }
}

fn memlock(core_count: usize) -> Check {
    const NAME: &str = "locked memory";
    let needed = MEMLOCK_BYTES_MIN + (core_count as u64) * (128 << 10);
    match raise(libc::RLIMIT_MEMLOCK) {
        Ok(libc::RLIM_INFINITY) => Check::new(NAME, Outcome::Fine, "no limit"),
        Ok(limit) if limit >= needed => {
            Check::new(NAME, Outcome::Fine, format!("limit is {} KiB", limit >> 10))
        }
        Ok(limit) => {
            let line = format!(
                "limit is {} KiB, {core_count} cores need {}: raise it by `ulimit -l`, LimitMEMLOCK= in the systemd unit, \
                 or `docker run --ulimit memlock=-1`",
                limit >> 10,
                needed >> 10
            );
            Check::new(NAME, Outcome::Failed, line)
        }
        Err(e) => Check::new(NAME, Outcome::Weak, format!("cannot read RLIMIT_MEMLOCK: {e}")),
    }
}

fn open_files() -> Check {
    const NAME: &str = "open files";
    const MEND: &str = "raise it by `ulimit -n` or LimitNOFILE= in the systemd unit";
    match raise(libc::RLIMIT_NOFILE) {
        Ok(limit) if limit >= OPEN_FILES_GOOD => Check::new(NAME, Outcome::Fine, format!("limit is {limit}")),
        Ok(limit) if limit >= OPEN_FILES_MIN => {
            Check::new(NAME, Outcome::Weak, format!("limit is {limit}, which bounds connections: {MEND}"))
        }
        Ok(limit) => Check::new(
            NAME,
            Outcome::Failed,
            format!("limit is {limit}, {OPEN_FILES_MIN} are needed: {MEND}"),
        ),
        Err(e) => Check::new(NAME, Outcome::Weak, format!("cannot read RLIMIT_NOFILE: {e}")),
    }
}

/// Raises a soft limit to the hard one; gives the limit now.
fn raise(resource: libc::__rlimit_resource_t) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit through a pointer to one.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: the kernel reads one rlimit through a pointer to one.
    let failed = limit.rlim_cur < limit.rlim_max && unsafe { libc::setrlimit(resource, &raised) } != 0;
    Ok(if failed { limit.rlim_cur } else { limit.rlim_max })
}

fn cpus(core_count: usize) -> Check {
    const NAME: &str = "CPUs";
    let allowed = allowed_cpus();
    let (outcome, line) = if core_count == 0 {
        (Outcome::Failed, "at least one core is needed".to_owned())
    } else if allowed.is_empty() {
        (Outcome::Weak, "cannot read the allowed CPUs: cores will not be pinned".to_owned())
    } else if core_count > allowed.len() {
        let line = format!("{core_count} cores are asked for, {} may be used: lower --cores", allowed.len());
        (Outcome::Failed, format!("{line}, or widen the CPU set (taskset, cgroup, docker --cpuset-cpus)"))
    } else {
        (Outcome::Fine, format!("{core_count} of {} that may be used", allowed.len()))
    };
    Check::new(NAME, outcome, line)
}

/// The CPUs that this process may run on, in order; empty if they cannot be read.
pub fn allowed_cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    parse_cpu_list(list.unwrap_or_default().trim()).unwrap_or_default()
}

/// `0-3,8` as numbers.
fn parse_cpu_list(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_and_cpu_lists() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("x"), None);
        assert_eq!(parse_cpu_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_cpu_list(""), None);
        assert!(!allowed_cpus().is_empty());
    }

    #[test]
    fn names_the_reason_and_the_remedy() {
        for (errno, word) in
            [(libc::EPERM, "seccomp"), (libc::ENOSYS, "no io_uring"), (libc::ENOMEM, "ulimit -l")]
        {
            let line = why_no_ring(&io::Error::from_raw_os_error(errno));
            assert!(line.contains(word) && !line.contains('\n'), "{line}");
        }
        assert_eq!(cpus(100_000).outcome, Outcome::Failed);
        assert_eq!(cpus(1).outcome, Outcome::Fine);
        assert!(check(1).iter().all(|c| !c.line.is_empty() && !c.line.contains('\n')));
    }
}
