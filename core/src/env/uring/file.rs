//! Files and directories on the ring.

use std::ffi::CString;
use std::fs::File as StdFile;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use io_uring::types::OpenHow;

use super::core::{Core, WriteMethod};
use super::ring::{Op, Request, take_fd};
use crate::env::{AlignedBuf, File, IO_ALIGN, OpenMode, assert_aligned};

/// An open file of a [`super::UringEnv`].
pub struct UringFile {
    core: Rc<Core>,
    /// Until it is dropped.
    file: Option<Rc<StdFile>>,
}

impl Drop for UringFile {
    fn drop(&mut self) {
        self.file.take().into_iter().for_each(|file| self.core.ring.let_go(file));
    }
}

fn lost() -> io::Error {
    io::Error::other("the core has ended")
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "NUL in a path"))
}

async fn open_fd(core: &Rc<Core>, path: &Path, flags: i32) -> io::Result<StdFile> {
    let request = Request::Open { path: c_path(path)?, flags: flags | libc::O_CLOEXEC };
    let (result, _) = core.ring.start(request).await;
    Ok(StdFile::from(take_fd(result?)))
}

/// Opens a file, for direct I/O unless its file system refuses that, as tmpfs did until Linux 6.6.
pub async fn open(core: &Rc<Core>, path: &Path, mode: OpenMode) -> io::Result<UringFile> {
    let flags = match mode {
        OpenMode::Read => libc::O_RDONLY,
        OpenMode::ReadWrite => libc::O_RDWR,
        OpenMode::CreateNew => libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
    };
    let file = match open_fd(core, path, flags | libc::O_DIRECT).await {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            // Some file systems create the file before they refuse.
            open_fd(core, path, flags & !libc::O_EXCL).await?
        }
        other => other?,
    };
    Ok(UringFile { core: Rc::clone(core), file: Some(Rc::new(file)) })
}

/// Opens a file below a directory. Through the page cache: such files are other programs', and often read again.
pub async fn open_below(core: &Rc<Core>, dir: &Path, path: &Path) -> io::Result<UringFile> {
    let dir = Rc::new(open_fd(core, dir, libc::O_PATH | libc::O_DIRECTORY).await?);
    // A pipe must not make the ring wait for its writer.
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let how = OpenHow::new().flags(u64::from(flags.unsigned_abs())).resolve(libc::RESOLVE_BENEATH);
    let request = Request::OpenBelow { dir, path: c_path(path)?, how: Box::new(how) };
    let (result, _) = core.ring.start(request).await;
    let file = StdFile::from(take_fd(result?));
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(UringFile { core: Rc::clone(core), file: Some(Rc::new(file)) })
}

async fn simple(core: &Rc<Core>, request: Request) -> io::Result<()> {
    core.ring.start(request).await.0.map(drop)
}

/// Syncs a directory.
pub async fn sync_dir(core: &Rc<Core>, path: &Path) -> io::Result<()> {
    let dir = open_fd(core, path, libc::O_RDONLY | libc::O_DIRECTORY).await?;
    simple(core, Request::Sync { file: Rc::new(dir), data_only: false }).await
}

/// Creates a directory and its missing parents, each durable in its parent.
pub async fn create_dir(core: &Rc<Core>, path: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    for ancestor in path.ancestors().filter(|a| !a.as_os_str().is_empty()) {
        if ancestor.is_dir() {
            break;
        }
        missing.push(ancestor.to_path_buf());
    }
    for dir in missing.iter().rev() {
        match simple(core, Request::MakeDir { path: c_path(dir)? }).await {
            // Another core was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            other => other?,
        }
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(core, parent).await?;
    }
    Ok(())
}

/// The names in a directory, sorted. Rings have no operation for it: it blocks, and is used at start only.
pub fn list_dir(path: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<std::fs::DirEntry>| {
        let name = entry?.file_name();
        name.into_string()
            .map_err(|name| io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} is not UTF-8")))
    };
    let mut names = std::fs::read_dir(path)?.map(name).collect::<io::Result<Vec<String>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Removes a name.
pub async fn remove(core: &Rc<Core>, path: &Path) -> io::Result<()> {
    simple(core, Request::Remove { path: c_path(path)? }).await
}

/// Renames.
pub async fn rename(core: &Rc<Core>, from: &Path, to: &Path) -> io::Result<()> {
    simple(core, Request::Rename { from: c_path(from)?, to: c_path(to)? }).await
}

/// Gives a file a second name.
pub async fn hard_link(core: &Rc<Core>, from: &Path, to: &Path) -> io::Result<()> {
    simple(core, Request::Link { from: c_path(from)?, to: c_path(to)? }).await
}

fn is_interrupted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

/// What one transfer came to.
enum Progress {
    /// All is done.
    Done,
    /// Go on from this many bytes.
    At(usize),
    /// The file takes no more.
    Failed(io::Error),
}

/// After a write of `buffer[done..]` of `len` bytes gave `result`. Direct writes go on at an aligned place only.
fn progress(result: io::Result<u32>, done: usize, len: usize) -> Progress {
    match result {
        Ok(n) if done + n as usize >= len => Progress::Done,
        Ok(n) => match (done + n as usize) / IO_ALIGN * IO_ALIGN {
            next if next > done => Progress::At(next),
            // Less than a page was written: the file system is about to say why.
            _ if n > 0 => Progress::Failed(io::ErrorKind::StorageFull.into()),
            _ => Progress::Failed(io::ErrorKind::WriteZero.into()),
        },
        Err(e) if is_interrupted(&e) => Progress::At(done),
        Err(e) => Progress::Failed(e),
    }
}

type Written = (io::Result<()>, AlignedBuf);

impl UringFile {
    fn file(&self) -> Rc<StdFile> {
        Rc::clone(self.file.as_ref().expect("until it is dropped"))
    }

    fn write_request(&self, offset: u64, buffer: AlignedBuf, done: usize, durable: bool) -> Request {
        Request::Write { file: self.file(), offset, buffer, done, durable }
    }

    /// Writes `buffer[done..]`, going on after short writes.
    async fn write_from(
        &self,
        offset: u64,
        mut buffer: AlignedBuf,
        mut done: usize,
        durable: bool,
    ) -> Written {
        let len = buffer.len();
        loop {
            let (result, back) =
                finish_write(self.core.ring.start(self.write_request(offset, buffer, done, durable))).await;
            buffer = match back {
                Some(buffer) => buffer,
                None => return (Err(lost()), AlignedBuf::zeroed(len)),
            };
            match progress(result, done, len) {
                Progress::Done => return (Ok(()), buffer),
                Progress::At(next) => done = next,
                Progress::Failed(e) => return (Err(e), buffer),
            }
        }
    }

    async fn write_linked(&self, offset: u64, buffer: AlignedBuf) -> Written {
        let len = buffer.len();
        let write = self.write_request(offset, buffer, 0, false);
        let sync = Request::Sync { file: self.file(), data_only: true };
        let (write, sync) = self.core.ring.start_linked(write, sync);
        let (result, back) = finish_write(write).await;
        let (synced, _) = sync.await;
        let Some(buffer) = back else { return (Err(lost()), AlignedBuf::zeroed(len)) };
        match progress(result, 0, len) {
            Progress::Done => (synced.map(drop), buffer),
            Progress::Failed(e) => (Err(e), buffer),
            Progress::At(done) => {
                // The short write has broken the link.
                let (written, buffer) = self.write_from(offset, buffer, done, false).await;
                match written {
                    Ok(()) => (self.sync_data().await, buffer),
                    failed => (failed, buffer),
                }
            }
        }
    }

    async fn write_dsync(&self, offset: u64, buffer: AlignedBuf) -> Written {
        let (result, buffer) = self.write_from(offset, buffer, 0, true).await;
        match result {
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                self.core.write_method.set(WriteMethod::Linked);
                self.write_linked(offset, buffer).await
            }
            result => (result, buffer),
        }
    }

    async fn sync_data(&self) -> io::Result<()> {
        simple(&self.core, Request::Sync { file: self.file(), data_only: true }).await
    }
}

async fn finish_write(op: Op) -> (io::Result<u32>, Option<AlignedBuf>) {
    match op.await {
        (result, Some(Request::Write { buffer, .. })) => (result, Some(buffer)),
        (result, _) => (result, None),
    }
}

impl File for UringFile {
    async fn size(&self) -> io::Result<u64> {
        // Answered from memory: the inode of an open file is there.
        self.file().metadata().map(|m| m.len())
    }

    async fn read_at(&self, offset: u64, mut buffer: AlignedBuf) -> io::Result<AlignedBuf> {
        let len = buffer.len();
        assert_aligned(offset, len);
        let mut done = 0;
        while done < len {
            let request = Request::Read { file: self.file(), offset, buffer, done };
            let (result, back) = self.core.ring.start(request).await;
            let Some(Request::Read { buffer: back, .. }) = back else { return Err(lost()) };
            buffer = back;
            match result {
                Ok(n) => {
                    done += n as usize;
                    // A read that ends within a page has met the end of the file.
                    if n == 0 || !done.is_multiple_of(IO_ALIGN) {
                        break;
                    }
                }
                Err(e) if is_interrupted(&e) => {}
                Err(e) => return Err(e),
            }
        }
        buffer.set_len(done);
        Ok(buffer)
    }

    async fn write_at(&self, offset: u64, buffer: AlignedBuf) -> Written {
        assert_aligned(offset, buffer.len());
        self.write_from(offset, buffer, 0, false).await
    }

    async fn write_durable(&self, offset: u64, buffer: AlignedBuf) -> Written {
        assert_aligned(offset, buffer.len());
        match self.core.write_method.get() {
            WriteMethod::Linked => self.write_linked(offset, buffer).await,
            WriteMethod::Dsync => self.write_dsync(offset, buffer).await,
        }
    }

    async fn sync(&self) -> io::Result<()> {
        simple(&self.core, Request::Sync { file: self.file(), data_only: false }).await
    }

    async fn set_size(&self, bytes: u64) -> io::Result<()> {
        if self.core.ring.can_truncate() {
            return simple(&self.core, Request::SetSize { file: self.file(), size: bytes }).await;
        }
        self.file().set_len(bytes)
    }
}
