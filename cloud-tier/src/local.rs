//! Objects as files of a folder.
//!
//! An object is written to a temporary file, synced, and given its name by `link`, which fails if the name is taken:
//! so it is there whole or not at all, and of several creators one wins. Temporary files start with a dot, which no
//! object name does; a crash may leave some, and [`LocalFolder::open`] removes them. One process uses a folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use omen_core::cold::{ColdError, ColdStore, ObjectEntry, ObjectName};

/// Deepest nesting of folders that a listing follows: a name has at most 512 bytes, so at most 256 parts.
const DEPTH_MAX: usize = 256;

/// A folder of objects.
#[derive(Debug)]
pub struct LocalFolder {
    root: PathBuf,
    temporary_next: AtomicU64,
}

impl LocalFolder {
    /// Opens a folder, creating it if need be, and removes what a crash left unfinished.
    ///
    /// # Errors
    /// If the folder cannot be made, read or cleaned.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<LocalFolder> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".put-") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(LocalFolder { root, temporary_next: AtomicU64::new(0) })
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.as_str())
    }

    fn put_file(&self, name: &ObjectName, bytes: &[u8]) -> io::Result<()> {
        let target = self.path(name);
        self.create_folder(target.parent().unwrap_or(&self.root))?;
        let number = self.temporary_next.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(format!(".put-{number}"));
        let written = write_synced(&temporary, bytes).and_then(|()| fs::hard_link(&temporary, &target));
        fs::remove_file(&temporary)?;
        written?;
        sync_folder(target.parent().unwrap_or(&self.root))
    }

    /// Makes a folder and its parents below the root, each durably.
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(&self.root);
        self.create_folder(parent)?;
        match fs::create_dir(folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
            _ => sync_folder(parent),
        }
    }

    fn list_folder(&self, folder: &Path, depth: usize, found: &mut Vec<ObjectEntry>) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("folders are nested too deeply"));
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            let relative = path.strip_prefix(&self.root).map_err(io::Error::other)?;
            if metadata.is_dir() {
                self.list_folder(&path, depth + 1, found)?;
            } else if let Some(name) = relative.to_str().and_then(ObjectName::new) {
                found.push(ObjectEntry { name, size_bytes: metadata.len() });
            }
        }
        Ok(())
    }
}

impl ColdStore for LocalFolder {
    async fn put(&self, name: ObjectName, bytes: Vec<u8>) -> Result<(), ColdError> {
        self.put_file(&name, &bytes).map_err(|e| failed("write", &name, &e))
    }

    async fn get(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, ColdError> {
        let read = || {
            let mut file = File::open(self.path(&name))?;
            if range.start > range.end || range.end > file.metadata()?.len() {
                return Ok(None);
            }
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
            file.read_exact(&mut bytes)?;
            Ok(Some(bytes))
        };
        let bytes = read().map_err(|e| failed("read", &name, &e))?;
        bytes.ok_or(ColdError::OutOfBounds(name))
    }

    async fn list(&self, prefix: String) -> Result<Vec<ObjectEntry>, ColdError> {
        let mut found = Vec::new();
        self.list_folder(&self.root, 0, &mut found)
            .map_err(|e| other(format!("list objects {prefix}*"), &e))?;
        found.retain(|entry| entry.name.as_str().starts_with(&prefix));
        found.sort();
        Ok(found)
    }

    async fn delete(&self, name: ObjectName) -> Result<(), ColdError> {
        let path = self.path(&name);
        let removed = fs::remove_file(&path).and_then(|()| sync_folder(path.parent().unwrap_or(&self.root)));
        match removed {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("delete", &name, &e)),
            _ => Ok(()),
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(verb: &str, name: &ObjectName, cause: &io::Error) -> ColdError {
    match cause.kind() {
        ErrorKind::AlreadyExists => ColdError::Exists(name.clone()),
        ErrorKind::NotFound => ColdError::Missing(name.clone()),
        _ => other(format!("{verb} object {}", name.as_str()), cause),
    }
}

fn other(action: String, cause: &io::Error) -> ColdError {
    let retryable = matches!(
        cause.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::Interrupted | ErrorKind::TimedOut
    );
    ColdError::Failed { action, cause: cause.to_string(), retryable }
}

#[cfg(test)]
mod tests;
