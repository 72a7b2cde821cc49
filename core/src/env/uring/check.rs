//! What the machine must offer before a core can start, each with one line on what is wrong and how to mend it.
//!
//! glommio panics or gives puzzling errors where these fail, so they come first.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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

/// Below this a node can hardly start: logs and one flush.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// Below this a node will soon be full.
const FREE_BYTES_GOOD: u64 = 2 << 30;

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

/// From now on the memory of this process is in small pages only, where the kernel lets it choose. Of huge ones a process
/// that uses a part holds the whole: an idle node took 13 MiB more.
pub fn forbid_huge_pages() {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: this option takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, ON, UNUSED, UNUSED, UNUSED) };
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

/// Looks at the directory that is to hold the data; makes it if it is missing.
pub fn check_dir(dir: &Path) -> Vec<Check> {
    const NAME: &str = "data directory";
    if let Err(e) = fs::create_dir_all(dir) {
        let line = format!(
            "cannot make {}: {e}: choose another --data-dir, or give this user the right",
            dir.display()
        );
        return vec![Check::new(NAME, Outcome::Failed, line)];
    }
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    let created = OpenOptions::new().create(true).truncate(true).write(true).open(&probe);
    let written = created.and_then(|mut file| file.write_all(&[0]));
    let writable = match written {
        Ok(()) => Check::new(NAME, Outcome::Fine, format!("{} can be written", dir.display())),
        Err(e) => {
            let line = format!(
                "cannot write in {}: {e}: give this user the right, or free some space",
                dir.display()
            );
            Check::new(NAME, Outcome::Failed, line)
        }
    };
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&probe);
    let _ = fs::remove_file(&probe);
    let mut checks = vec![writable];
    match file_system(dir) {
        Ok(found) => checks.extend([kind(&found, direct.is_ok()), free_space(&found)]),
        Err(e) => checks.push(Check::new("file system", Outcome::Weak, format!("cannot be asked: {e}"))),
    }
    checks
}

/// What is known of a file system.
struct FileSystem {
    magic: i64,
    free_bytes: u64,
}

fn file_system(dir: &Path) -> io::Result<FileSystem> {
    let path = CString::new(dir.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut found = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends in NUL, and the kernel writes one statfs through a pointer to one.
    if unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it holds integers only, zeroed at first and then filled by the kernel.
    let found = unsafe { found.assume_init() };
    let block_bytes = u64::try_from(found.f_bsize).unwrap_or(0);
    Ok(FileSystem { magic: found.f_type, free_bytes: found.f_bavail * block_bytes })
}

/// Bytes that may still be written below a directory.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    file_system(dir).map(|found| found.free_bytes)
}

fn kind(found: &FileSystem, has_direct_io: bool) -> Check {
    const NAME: &str = "file system";
    let name = match found.magic {
        libc::TMPFS_MAGIC | 0x8584_58f6 => {
            return Check::new(
                NAME,
                Outcome::Weak,
                "in memory: all data is lost at a restart of the machine",
            );
        }
        libc::NFS_SUPER_MAGIC | 0x0102_1997 | 0x5346_544e | 0xff53_4d42 => {
            let line = "over the network: a sync may not be durable and locks may fail: use a local disk";
            return Check::new(NAME, Outcome::Weak, line);
        }
        libc::EXT4_SUPER_MAGIC => "ext4",
        libc::XFS_SUPER_MAGIC => "xfs",
        libc::BTRFS_SUPER_MAGIC => "btrfs",
        libc::OVERLAYFS_SUPER_MAGIC => "overlay",
        0x2fc1_2fc1 => "zfs",
        _ => "local",
    };
    match has_direct_io {
        true => Check::new(NAME, Outcome::Fine, format!("{name} with direct I/O")),
        false => {
            Check::new(NAME, Outcome::Weak, format!("{name} without direct I/O: slower, and cached twice"))
        }
    }
}

fn free_space(found: &FileSystem) -> Check {
    const NAME: &str = "free space";
    let mib = found.free_bytes >> 20;
    match found.free_bytes {
        free if free >= FREE_BYTES_GOOD => Check::new(NAME, Outcome::Fine, format!("{mib} MiB")),
        free if free >= FREE_BYTES_MIN => {
            Check::new(NAME, Outcome::Weak, format!("only {mib} MiB: free some soon"))
        }
        _ => {
            let line = format!(
                "{mib} MiB, {} are needed: free some or choose another --data-dir",
                FREE_BYTES_MIN >> 20
            );
            Check::new(NAME, Outcome::Failed, line)
        }
    }
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

    #[test]
    fn looks_at_the_data_directory() {
        let dir = std::env::temp_dir().join(format!("omen-check-{}", std::process::id()));
        let checks = check_dir(&dir);
        let names: Vec<_> = checks.iter().map(|c| c.name).collect();
        assert_eq!(names, ["data directory", "file system", "free space"]);
        assert_eq!(checks[0].outcome, Outcome::Fine);
        assert!(fs::read_dir(&dir).unwrap().next().is_none(), "the probe is gone");
        fs::remove_dir(&dir).unwrap();
        assert_eq!(check_dir(Path::new("/proc/none"))[0].outcome, Outcome::Failed);
        assert_eq!(free_space(&FileSystem { magic: 0, free_bytes: 1 << 20 }).outcome, Outcome::Failed);
        assert_eq!(
            kind(&FileSystem { magic: libc::TMPFS_MAGIC, free_bytes: 0 }, true).outcome,
            Outcome::Weak
        );
    }
}
