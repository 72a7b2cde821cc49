//! The simulated disk of one node: directories, files, space, and faults to inject.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::content::{Change, Inode, PAGE_BYTES};
use crate::env::rng::Rng;

/// A file without its names.
pub type InodeId = u64;

/// What kind of operation to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoKind {
    /// `read_at`.
    Read,
    /// `write_at` and `write_durable`.
    Write,
    /// `sync` and `write_durable`.
    Sync,
    /// `sync_dir`.
    SyncDir,
}

/// What was asked of a file or its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileOp {
    /// `open` of a new file.
    Create,
    /// `write_at`, `write_durable` and `set_size`.
    Write,
    /// `sync`.
    Sync,
    /// `remove_file`.
    Remove,
    /// `rename`; the new name counts.
    Rename,
    /// `hard_link`; the new name counts.
    Link,
    /// `sync_dir`.
    SyncDir,
}

/// How often each was asked, by the last part of the name of the folder.
pub type FileOps = BTreeMap<(FileOp, String), u64>;

/// Waits for the last of so many operations in a folder.
struct Trap {
    op: FileOp,
    folder: String,
    left: u64,
}

/// New meaning of names, all at once: several for a rename.
struct NameChange {
    sequence: u64,
    names: Vec<(PathBuf, String, Option<InodeId>)>,
}

#[derive(Default)]
struct Dir {
    current: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
}

/// The disk of one node. It outlives the node's crashes.
#[derive(Default)]
pub struct Disk {
    dirs: BTreeMap<PathBuf, Dir>,
    inodes: BTreeMap<InodeId, Inode>,
    unsynced: Vec<NameChange>,
    name_sequence: u64,
    inode_last: InodeId,
    /// Bytes that files may take; none for no limit.
    pub capacity_bytes: Option<u64>,
    /// `sync` and `write_durable` claim success without making anything durable.
    pub ignore_sync: bool,
    /// `sync_dir` claims success without making anything durable.
    pub ignore_sync_dir: bool,
    /// The next operations of these kinds fail.
    pub failures: VecDeque<IoKind>,
    /// What was asked so far.
    pub ops: FileOps,
    trap: Option<Trap>,
}

impl Disk {
    /// Whether the next operation of this kind is to fail; forgets that it was.
    pub fn take_failure(&mut self, kind: IoKind) -> bool {
        let index = self.failures.iter().position(|k| *k == kind);
        index.is_some_and(|i| self.failures.remove(i).is_some())
    }

    /// Counts an operation on a file, or on a folder for `SyncDir`.
    pub fn note(&mut self, op: FileOp, path: &Path) {
        let folder = if op == FileOp::SyncDir { Some(path) } else { path.parent() };
        let Some(folder) = folder.and_then(Path::file_name).map(|name| name.to_string_lossy()) else {
            return;
        };
        if let Some(trap) = self.trap.as_mut().filter(|trap| trap.op == op && trap.folder == folder) {
            trap.left = trap.left.saturating_sub(1);
        }
        *self.ops.entry((op, folder.into_owned())).or_default() += 1;
    }

    /// Sets a trap in place of any other.
    pub fn set_trap(&mut self, op: FileOp, folder: &str, count: u64) {
        self.trap = Some(Trap { op, folder: folder.into(), left: count });
    }

    /// Whether what the trap waits for has begun.
    pub fn is_trapped(&self) -> bool {
        self.trap.as_ref().is_some_and(|trap| trap.left == 0)
    }

    /// The file of this name.
    pub fn lookup(&self, path: &Path) -> io::Result<InodeId> {
        let (dir, name) = split(path)?;
        self.dirs.get(&dir).and_then(|d| d.current.get(&name)).copied().ok_or_else(|| missing(path))
    }

    /// The file behind an id.
    pub fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("open and named files exist")
    }

    /// The file behind an id, if it is still there.
    pub fn inode_if_any(&mut self, id: InodeId) -> Option<&mut Inode> {
        self.inodes.get_mut(&id)
    }

    /// Makes a new, empty file.
    pub fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        let (dir, name) = self.split_in_dir(path)?;
        if self.dirs[&dir].current.contains_key(&name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", path.display())));
        }
        self.inode_last += 1;
        self.inodes.insert(self.inode_last, Inode::new());
        self.change(vec![(dir, name, Some(self.inode_last))]);
        Ok(self.inode_last)
    }

    /// Makes a directory and its parents; durable at once.
    pub fn create_dir(&mut self, path: &Path) {
        for ancestor in normal(path).ancestors() {
            self.dirs.entry(ancestor.to_path_buf()).or_default();
        }
    }

    /// Names of files and directories, sorted.
    pub fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let path = normal(path);
        let files = self.dirs.get(&path).ok_or_else(|| missing(&path))?.current.keys().cloned();
        let is_child = |dir: &&PathBuf| dir.parent() == Some(path.as_path());
        let dirs = self.dirs.keys().filter(is_child).filter_map(|dir| dir.file_name());
        let names: BTreeSet<String> =
            files.chain(dirs.map(|name| name.to_string_lossy().into_owned())).collect();
        Ok(names.into_iter().collect())
    }

    /// Removes a name.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.lookup(path)?;
        let (dir, name) = split(path)?;
        self.change(vec![(dir, name, None)]);
        Ok(())
    }

    /// Gives a file another name.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.lookup(from)?;
        let (from_dir, from_name) = split(from)?;
        let (to_dir, to_name) = self.split_in_dir(to)?;
        self.change(vec![(from_dir, from_name, None), (to_dir, to_name, Some(inode))]);
        Ok(())
    }

    /// Gives a file a second name.
    pub fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.lookup(from)?;
        let (dir, name) = self.split_in_dir(to)?;
        if self.dirs[&dir].current.contains_key(&name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", to.display())));
        }
        self.change(vec![(dir, name, Some(inode))]);
        Ok(())
    }

    fn split_in_dir(&self, path: &Path) -> io::Result<(PathBuf, String)> {
        let (dir, name) = split(path)?;
        if self.dirs.contains_key(&dir) { Ok((dir, name)) } else { Err(missing(&dir)) }
    }

    fn change(&mut self, names: Vec<(PathBuf, String, Option<InodeId>)>) {
        self.name_sequence += 1;
        let change = NameChange { sequence: self.name_sequence, names };
        change.apply(&mut self.dirs, |dir| &mut dir.current);
        self.unsynced.push(change);
    }

    /// The number of the last change of names, to hand to [`Disk::sync_dir`].
    pub fn name_mark(&self) -> u64 {
        self.name_sequence
    }

    /// Makes the changes of names in this directory up to `mark` durable.
    pub fn sync_dir(&mut self, path: &Path, mark: u64) -> io::Result<()> {
        let path = normal(path);
        if !self.dirs.contains_key(&path) {
            return Err(missing(&path));
        }
        if self.ignore_sync_dir {
            return Ok(());
        }
        let touches = |change: &NameChange| {
            change.sequence <= mark && change.names.iter().any(|(dir, ..)| *dir == path)
        };
        let (synced, rest) = std::mem::take(&mut self.unsynced).into_iter().partition(touches);
        self.unsynced = rest;
        let synced: Vec<NameChange> = synced;
        for change in &synced {
            change.apply(&mut self.dirs, |dir| &mut dir.durable);
        }
        self.forget_unreachable();
        Ok(())
    }

    /// Drops files that have no name, no handle, and cannot get a name back by a power loss.
    pub fn forget_unreachable(&mut self) {
        let mut named: BTreeSet<InodeId> = BTreeSet::new();
        for dir in self.dirs.values() {
            named.extend(dir.current.values().chain(dir.durable.values()));
        }
        named.extend(self.unsynced.iter().flat_map(|c| c.names.iter().filter_map(|(.., inode)| *inode)));
        self.inodes.retain(|id, inode| inode.open_count > 0 || named.contains(id));
    }

    /// Whether the change fits the disk's space.
    pub fn has_space_for(&self, inode: InodeId, change: &Change) -> bool {
        let (Some(capacity), Change::Write { offset, bytes }) = (self.capacity_bytes, change) else {
            return true;
        };
        let Some(file) = self.inodes.get(&inode) else { return true };
        let more = file.current().pages_missing(*offset..*offset + bytes.len() as u64);
        more == 0 || (self.pages_used() + more) * PAGE_BYTES <= capacity
    }

    /// Pages in files that have a name or a handle.
    pub fn pages_used(&self) -> u64 {
        let named: BTreeSet<InodeId> =
            self.dirs.values().flat_map(|dir| dir.current.values().copied()).collect();
        let counts = |(id, inode): &(&InodeId, &Inode)| inode.open_count > 0 || named.contains(id);
        self.inodes.iter().filter(counts).map(|(_, inode)| inode.current().page_count()).sum()
    }

    /// A disk with the same directories and files as a process sees them, all of it durable.
    pub fn image(&self) -> Disk {
        let dirs = self.dirs.iter().map(|(path, dir)| {
            (path.clone(), Dir { current: dir.current.clone(), durable: dir.current.clone() })
        });
        let inodes = self.inodes.iter().map(|(id, inode)| (*id, Inode::with(inode.current())));
        let (dirs, inodes) = (dirs.collect(), inodes.collect());
        Disk { dirs, inodes, inode_last: self.inode_last, ..Disk::default() }
    }

    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.dirs.iter().flat_map(|(dir, d)| d.current.keys().map(|name| dir.join(name))).collect()
    }

    /// The process died, the kernel lives.
    pub fn kill(&mut self, rng: &mut Rng) {
        for inode in self.inodes.values_mut() {
            inode.kill(rng);
            inode.open_count = 0;
        }
        self.forget_unreachable();
    }

    /// Power loss: unsynced changes of names are kept or lost, a prefix of them or any; then those of files.
    pub fn crash(&mut self, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.unsynced);
        let prefix = rng.one_in(2).then(|| rng.index(changes.len() + 1));
        for (index, change) in changes.iter().enumerate() {
            if prefix.map_or_else(|| rng.one_in(2), |kept| index < kept) {
                change.apply(&mut self.dirs, |dir| &mut dir.durable);
            }
        }
        for dir in self.dirs.values_mut() {
            dir.current = dir.durable.clone();
        }
        for inode in self.inodes.values_mut() {
            inode.crash(rng);
        }
        self.failures.clear();
        self.forget_unreachable();
    }
}

impl NameChange {
    fn apply(
        &self,
        dirs: &mut BTreeMap<PathBuf, Dir>,
        view: impl Fn(&mut Dir) -> &mut BTreeMap<String, InodeId>,
    ) {
        for (dir, name, inode) in &self.names {
            let names = view(dirs.get_mut(dir).expect("directories are never removed"));
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
    }
}

/// The path as an absolute one without `.`.
fn normal(path: &Path) -> PathBuf {
    let parts = path.components().filter(|c| matches!(c, Component::Normal(_)));
    Path::new("/").join(parts.collect::<PathBuf>())
}

fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let path = normal(path);
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => Ok((dir.to_path_buf(), name.to_string_lossy().into_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a path without a file name")),
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}
