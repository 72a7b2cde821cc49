//! Facts about the data directory and the file system that it lies on.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use omen_core::env::uring::{self, check::free_bytes};

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
    let mut checks = vec![directory];
    if let Some(parent) = existing_parent(path) {
        checks.extend(file_system(&parent));
        checks.extend(free_bytes(&parent).map(|free| free_space(free, needed)));
    }
    checks
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

/// What kind of file system this is; `None` if it cannot be told, as on a full disk.
fn file_system(parent: &Path) -> Option<Check> {
    let checks = uring::check_dir(parent);
    checks.into_iter().find(|check| check.name == "file system").map(Check::from)
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
        assert!(file_system(folder.path()).is_some());
        assert!(free_bytes(folder.path()).unwrap() > 0);
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
