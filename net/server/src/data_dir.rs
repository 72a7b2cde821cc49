//! The data directory: who may use it, and what it was made for.
//!
//! | name | what |
//! |---|---|
//! | `identity` | TOML: format version, number of shards, an id; written once, when the directory is made |
//! | `lock` | held by the process that uses the directory; holds its process id |
//! | `omendb.toml` | configuration, if the user put one there |
//! | `shard-000`, ... | what each core keeps |

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Failure;

/// Version of the layout of data directories that this build reads and writes.
const FORMAT: u32 = 1;

/// Names that a directory may hold before it becomes a data directory.
const HARMLESS: [&str; 4] = ["lock", "lock.identity", "omendb.toml", "lost+found"];

/// What a data directory was made for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Version of the layout.
    format: u32,
    /// Number of shards, that is of cores.
    pub shards: u16,
    /// Distinguishes data directories.
    id: String,
}

/// A data directory that this process alone uses, as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    _lock: File,
}

impl DataDir {
    /// Opens the directory, or makes it for `cores`, or `cores_default` if the user did not say.
    ///
    /// # Errors
    /// If another process uses it, it was made for another number of cores or by another version, it holds foreign
    /// files, or it cannot be written.
    pub fn open(path: &Path, cores: Option<u16>, cores_default: u16) -> Result<DataDir, Failure> {
        let fail = |what: &str, e: std::io::Error| {
            Failure::new(format!(
                "data directory {}: {what}: {e}; choose another with --data-dir, or mend its owner and permissions",
                path.display()
            ))
        };
        fs::create_dir_all(path).map_err(|e| fail("cannot be made", e))?;
        let lock = lock(path)?;
        let identity = match read_identity(path)? {
            Some(identity) => identity,
            None => {
                refuse_foreign(path)?;
                let identity =
                    Identity { format: FORMAT, shards: cores.unwrap_or(cores_default), id: new_id() };
                write_identity(path, &identity).map_err(|e| fail("cannot be written", e))?;
                identity
            }
        };
        check_cores(path, &identity, cores)?;
        Ok(DataDir { path: path.to_owned(), identity, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shards it has.
    pub fn shards(&self) -> u16 {
        self.identity.shards
    }
}

/// Whether the directory holds data already, and of how many shards.
///
/// # Errors
/// If its identity cannot be understood.
pub fn read_identity(path: &Path) -> Result<Option<Identity>, Failure> {
    let file = path.join("identity");
    let fail = |why: String| Failure::new(format!("{}: {why}", file.display()));
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(format!("cannot be read: {e}"))),
    };
    let identity: Identity = toml::from_str(&text).map_err(|e| fail(format!("is damaged: {e}")))?;
    if identity.format != FORMAT {
        let format = identity.format;
        return Err(fail(format!(
            "has format {format}, this build reads {FORMAT}; use the omendb that made it"
        )));
    }
    Ok(Some(identity))
}

/// Refuses a number of cores that the directory was not made for.
///
/// # Errors
/// If the user asked for another number.
pub fn check_cores(path: &Path, identity: &Identity, cores: Option<u16>) -> Result<(), Failure> {
    match cores {
        Some(cores) if cores != identity.shards => Err(Failure::new(format!(
            "data directory {} was made for {} cores, and the number is fixed; leave --cores out, or make a new \
             directory with --cores {cores} and copy the tables over",
            path.display(),
            identity.shards
        ))),
        _ => Ok(()),
    }
}

/// The process that uses the directory, if any.
pub fn user_of(path: &Path) -> Option<String> {
    let mut file = File::open(path.join("lock")).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            Some(pid.trim().to_owned())
        }
        _ => None,
    }
}

fn lock(path: &Path) -> Result<File, Failure> {
    let name = path.join("lock");
    let fail = |e: std::io::Error| Failure::new(format!("lock file {}: {e}", name.display()));
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&name);
    let mut file = open.map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let user = user_of(path).unwrap_or_default();
            return Err(Failure::new(format!(
                "data directory {} is in use by another omendb (process {user}); stop it first, or choose another \
                 directory with --data-dir",
                path.display()
            )));
        }
        Err(TryLockError::Error(e)) => return Err(fail(e)),
    }
    let pid = format!("{}\n", std::process::id());
    // The pid is for people only, so a full disk must not keep a node from starting.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes()));
    Ok(file)
}

fn refuse_foreign(path: &Path) -> Result<(), Failure> {
    let unreadable = |e| Failure::new(format!("data directory {}: cannot be read: {e}", path.display()));
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            return Err(Failure::new(format!(
                "{} holds {name:?} but no OmenDB data; name an empty or new directory with --data-dir",
                path.display()
            )));
        }
    }
    Ok(())
}

fn new_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has a random source");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the identity so that after a crash it is there whole or not at all.
fn write_identity(path: &Path, identity: &Identity) -> std::io::Result<()> {
    let body = toml::to_string(identity).map_err(std::io::Error::other)?;
    let text = format!("# Made by omendb together with this directory; do not change.\n{body}");
    let temporary = path.join("lock.identity");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path.join("identity"))?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_and_keeps_its_number_of_shards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(read_identity(&path).unwrap(), None);
        let made = DataDir::open(&path, None, 3).unwrap();
        assert_eq!(made.shards(), 3);
        let id = made.identity.id.clone();
        drop(made);
        let again = DataDir::open(&path, None, 8).unwrap();
        assert_eq!((again.shards(), &again.identity.id), (3, &id));
        drop(again);
        let text = DataDir::open(&path, Some(4), 8).unwrap_err().to_string();
        assert!(text.contains("was made for 3 cores"), "{text}");
    }

    #[test]
    fn every_format_version_is_read() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/identity/v1");
        let identity = read_identity(&fixture).unwrap().unwrap();
        assert_eq!((identity.format, identity.shards), (1, 2));
    }

    #[test]
    fn has_one_user() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(user_of(folder.path()), None);
        let first = DataDir::open(folder.path(), None, 1).unwrap();
        let text = DataDir::open(folder.path(), None, 1).unwrap_err().to_string();
        assert!(text.contains("in use by another omendb"), "{text}");
        assert_eq!(user_of(folder.path()), Some(std::process::id().to_string()));
        drop(first);
        assert!(DataDir::open(folder.path(), None, 1).is_ok());
    }

    #[test]
    fn foreign_files_and_versions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "").unwrap();
        let text = DataDir::open(folder.path(), None, 1).unwrap_err().to_string();
        assert!(text.contains("thesis.txt"), "{text}");
        fs::remove_file(folder.path().join("thesis.txt")).unwrap();
        fs::write(folder.path().join("identity"), "format = 9\nshards = 1\nid = \"x\"").unwrap();
        let text = DataDir::open(folder.path(), None, 1).unwrap_err().to_string();
        assert!(text.contains("format 9"), "{text}");
        fs::write(folder.path().join("identity"), "shards = 1").unwrap();
        let text = DataDir::open(folder.path(), None, 1).unwrap_err().to_string();
        assert!(text.contains("is damaged"), "{text}");
    }
}
