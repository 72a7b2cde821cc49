//! Facts about the data directory and the file system that it lies on.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use omen_core::env::{AlignedBuf, IO_ALIGN};

use super::{Check, Verdict, mib};
use crate::config::Settings;
use crate::data_dir;

/// Free space under which an operator should act.
const FREE_LOW: u64 = 2 << 30;
/// Log files that each core makes before it can take writes: the one in use and the next.
const LOG_FILES: u64 = 2;

/// All facts about the settings' data directory.
pub fn all(settings: &Settings, cores: u16) -> Vec<Check> {
    let name = "data directory";
    let Some(path) = &settings.data_dir else {
        return vec![Check::warn(name, "none is named", "name one with --data-dir")];
    };
    let directory = directory(path, settings.cores);
    if directory.verdict() == Verdict::Fail {
        return vec![directory];
    }
    let made = matches!(data_dir::read_identity(path), Ok(Some(_)));
    let needed = if made { 0 } else { settings.wal_file_size_bytes * LOG_FILES * u64::from(cores) };
    let (Some(probe), Ok(space)) = (existing_parent(path), space(path)) else {
        return vec![directory];
    };
    vec![directory, file_system(&probe), free_space(space, needed)]
}

/// The directory itself, or the nearest one above it that exists.
fn existing_parent(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

fn directory(path: &Path, cores: Option<u16>) -> Check {
    let name = "data directory";
    let shown = path.display();
    if let Some(user) = data_dir::user_of(path) {
        let finding = format!("{shown} is in use by another omendb (process {user})");
        return Check::fail(name, finding, "stop it first, or choose another with --data-dir");
    }
    let identity = match data_dir::read_identity(path) {
        Ok(identity) => identity,
        Err(e) => return Check::fail(name, e.to_string(), "restore it from a backup"),
    };
    if let Some(identity) = &identity
        && let Err(e) = data_dir::check_cores(path, identity, cores)
    {
        return Check::fail(name, e.to_string(), "");
    }
    let Some(parent) = existing_parent(path) else {
        return Check::fail(
            name,
            format!("{shown} has no parent directory"),
            "choose another with --data-dir",
        );
    };
    if let Err(e) = try_write(&parent) {
        let finding = format!("{} cannot be written: {e}", parent.display());
        let remedy = "mend its owner and permissions, or choose another with --data-dir";
        // A full disk is told of under free space, and a node can still serve reads from it.
        if e.kind() != std::io::ErrorKind::StorageFull {
            return Check::fail(name, finding, remedy);
        }
    }
    match identity {
        Some(identity) => Check::ok(name, format!("{shown} holds {} shards", identity.shards)),
        None => Check::ok(name, format!("{shown} will be made")),
    }
}

fn probe_name(parent: &Path) -> PathBuf {
    parent.join(format!(".omendb-probe-{}", std::process::id()))
}

fn try_write(parent: &Path) -> std::io::Result<()> {
    let probe = probe_name(parent);
    let written = File::create(&probe).and_then(|mut file| file.write_all(b"probe"));
    let removed = fs::remove_file(&probe);
    written.and(removed)
}

/// Whether files can be read and written past the kernel's cache, and what kind of file system this is.
fn file_system(parent: &Path) -> Check {
    let name = "file system";
    let kind = file_system_kind(parent).unwrap_or_else(|| "unknown".to_owned());
    if ["nfs", "nfs4", "cifs", "fuse.sshfs", "9p"].contains(&&*kind) {
        let remedy = "use a local disk: the log relies on its locks and syncs";
        return Check::warn(name, format!("{kind} is a network file system"), remedy);
    }
    if kind == "tmpfs" {
        return Check::warn(
            name,
            "tmpfs keeps files in memory",
            "all data is lost when the machine stops: use a disk",
        );
    }
    match try_direct(parent) {
        Ok(()) => Check::ok(name, format!("{kind} with direct I/O")),
        Err(e) if e.kind() == std::io::ErrorKind::StorageFull => Check::ok(name, kind),
        Err(e) => {
            let finding = format!("{kind} without direct I/O ({e})");
            Check::warn(name, finding, "data is cached twice and slower: use ext4 or xfs")
        }
    }
}

fn try_direct(parent: &Path) -> std::io::Result<()> {
    let probe = probe_name(parent);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT);
    let written = options.open(&probe).and_then(|file| file.write_all_at(&AlignedBuf::zeroed(IO_ALIGN), 0));
    let _ = fs::remove_file(&probe);
    written
}

/// The type of the mount that holds a directory.
fn file_system_kind(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    mount_kind(&fs::read_to_string("/proc/self/mounts").ok()?, &directory)
}

/// The last mount whose point is the longest prefix hides the others.
fn mount_kind(mounts: &str, directory: &Path) -> Option<String> {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let point = words.next()?.replace("\\040", " ");
        directory.starts_with(&point).then_some((point.len(), words.next()?.to_owned()))
    };
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

/// Bytes that this process can still write.
fn space(path: &Path) -> std::io::Result<u64> {
    let parent = existing_parent(path).ok_or(std::io::ErrorKind::NotFound)?;
    let stat = rustix::fs::statvfs(&parent)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn free_space(free: u64, needed: u64) -> Check {
    let name = "free space";
    if free < needed {
        let remedy = "free some, choose another --data-dir, or use a smaller --wal-file-size";
        return Check::fail(name, format!("{}, log files need {}", mib(free), mib(needed)), remedy);
    }
    if free < FREE_LOW {
        return Check::warn(name, mib(free), "writes fail when none is left: free some or use a larger disk");
    }
    Check::ok(name, mib(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells_the_kind() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /mnt/my\\040disk tmpfs rw 0 0\nb /mnt xfs rw 0 0\n";
        assert_eq!(mount_kind(mounts, Path::new("/home")).as_deref(), Some("ext4"));
        assert_eq!(mount_kind(mounts, Path::new("/mnt/x")).as_deref(), Some("xfs"));
        assert_eq!(mount_kind(mounts, Path::new("/mnt/my disk/x")).as_deref(), Some("tmpfs"));
        assert_eq!(mount_kind(mounts, Path::new("/mntx")).as_deref(), Some("ext4"));
    }

    #[test]
    fn space_is_judged_by_what_a_new_directory_needs() {
        assert_eq!(free_space(100 << 30, 1 << 30).verdict(), Verdict::Ok);
        assert_eq!(free_space(1 << 30, 0).verdict(), Verdict::Warn);
        assert_eq!(free_space(1 << 20, 2 << 20).verdict(), Verdict::Fail);
    }

    #[test]
    fn probing_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet/made");
        assert_eq!(directory(&path, None).verdict(), Verdict::Ok);
        assert_eq!(existing_parent(&path).unwrap(), folder.path());
        file_system(folder.path());
        assert!(space(&path).unwrap() > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_in_use_or_made_for_another_size_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let held = data_dir::DataDir::open(folder.path(), Some(2), 1).unwrap();
        let check = directory(folder.path(), None);
        assert!(check.to_string().contains("in use"), "{check}");
        drop(held);
        assert_eq!(directory(folder.path(), Some(2)).verdict(), Verdict::Ok);
        let check = directory(folder.path(), Some(3));
        assert_eq!(check.verdict(), Verdict::Fail);
        assert!(check.to_string().contains("was made for 2 cores"), "{check}");
    }
}
