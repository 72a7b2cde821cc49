//! The files of a log: making them ready ahead of need, using them again, removing them.
//!
//! | name | what |
//! |---|---|
//! | `NNNNNNNNNN.log` | a log file with a durable header; its number is in the name |
//! | `NNNNNNNNNN.spare` | a file of full size that can be used again; its bytes mean nothing |
//! | `NNNNNNNNNN.fill` | a file that is being filled with zeros |
//!
//! Invariant: a file gets the name `.log` only after its new header is durable, and its header is changed only after
//! the loss of that name is durable. So a `.log` file without a valid header is damage, never an accident of timing.
//! Every failure but lack of space stops the log: a name that may or may not be durable is as bad as a lost write.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::error::{Error, Result};

use super::Inner;
use super::format::{FILE_HEADER_BYTES, FileHeader};
use super::state::{AllocatorTask, ClosedFile};

/// Bytes of zeros written at once: small enough that a commit in between waits little.
const FILL_BYTES: usize = 256 << 10;
/// After a failure for lack of space the next attempt waits this long, since each fills the disk for a moment.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Files kept for use again; more are removed.
const SPARE_FILES_MAX: usize = 3;

/// What a file is, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileName {
    /// Holds records or waits for some.
    Log(u64),
    /// Can be used again.
    Spare(u64),
    /// Is not complete.
    Fill(u64),
}

impl FileName {
    /// Reads a name; `None` if no file of a log is called so.
    pub fn parse(name: &str) -> Option<FileName> {
        let (digits, extension) = name.split_once('.')?;
        let number = digits.parse().ok()?;
        let parsed = match extension {
            "log" => FileName::Log(number),
            "spare" => FileName::Spare(number),
            "fill" => FileName::Fill(number),
            _ => return None,
        };
        (parsed.to_string() == name).then_some(parsed)
    }

    /// Where the file lies.
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileName::Log(number) => write!(f, "{number:010}.log"),
            FileName::Spare(number) => write!(f, "{number:010}.spare"),
            FileName::Fill(number) => write!(f, "{number:010}.fill"),
        }
    }
}

/// Keeps one file ready until the log ends.
pub async fn run_allocator<E: Env>(inner: Rc<Inner<E>>) {
    let mut retry_at_ns: u64 = 0;
    loop {
        let task = std::future::poll_fn(|cx| inner.state.borrow_mut().poll_allocator(cx.waker())).await;
        if task == AllocatorTask::End {
            return;
        }
        let pause_ns = retry_at_ns.saturating_sub(inner.env.monotonic_ns());
        if pause_ns > 0 && inner.state.borrow().spare_count() == 0 {
            inner.env.sleep(Duration::from_nanos(pause_ns)).await;
        }
        match make_ready(&inner).await {
            Ok(header) => inner.state.borrow_mut().file_ready(header),
            Err(error @ Error::DiskFull { .. }) => {
                retry_at_ns = inner.env.monotonic_ns() + RETRY_PAUSE.as_nanos() as u64;
                inner.state.borrow_mut().file_failed(error);
            }
            Err(error) => return inner.stop(&error),
        }
    }
}

/// Makes one file ready, from a spare one or a new one. Nothing is left of it if the disk is full.
async fn make_ready<E: Env>(inner: &Inner<E>) -> Result<FileHeader> {
    let spare = inner.state.borrow_mut().begin_attempt();
    let name = match spare {
        Some(number) => FileName::Spare(number),
        None => FileName::Fill(inner.state.borrow().next_number()),
    };
    let made = match spare {
        Some(_) => inner.open_file(name).await,
        None => fill_new(inner, name).await,
    };
    let installed = match made {
        Ok(file) => install(inner, name, file).await,
        Err(error) => Err(error),
    };
    if let Err(Error::DiskFull { .. }) = installed {
        match inner.env.remove_file(&name.path(&inner.dir)).await {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(inner.error("remove", name, &e)),
            _ => {}
        }
    }
    installed
}

/// Gives the file a new header, then its name as a log file.
async fn install<E: Env>(inner: &Inner<E>, from: FileName, file: E::File) -> Result<FileHeader> {
    let salt = inner.env.random_u64();
    let header = inner.state.borrow_mut().next_file(salt);
    let mut page = AlignedBuf::zeroed(FILE_HEADER_BYTES as usize);
    header.encode(&mut page);
    let (written, _) = file.write_durable(0, page).await;
    written.map_err(|e| inner.error("write", from, &e))?;
    let name = FileName::Log(header.number);
    let renamed = inner.env.rename(&from.path(&inner.dir), &name.path(&inner.dir)).await;
    renamed.map_err(|e| inner.error("rename", from, &e))?;
    inner.sync_dir().await?;
    inner.handles.borrow_mut().push_back((header.number, file));
    Ok(header)
}

/// Makes a new file full of zeros, durable but for its name.
async fn fill_new<E: Env>(inner: &Inner<E>, name: FileName) -> Result<E::File> {
    let opened = inner.env.open(&name.path(&inner.dir), OpenMode::CreateNew).await;
    let file = opened.map_err(|e| inner.error("create", name, &e))?;
    let bytes = inner.state.borrow().options().file_bytes;
    fill(&file, bytes).await.map_err(|e| inner.error("fill", name, &e))?;
    Ok(file)
}

async fn fill<F: File>(file: &F, bytes: u64) -> std::io::Result<()> {
    let mut offset = 0;
    let mut zeros = AlignedBuf::zeroed(FILL_BYTES.min(bytes as usize));
    while offset < bytes {
        zeros.set_len(zeros.len().min((bytes - offset) as usize));
        let (written, buffer) = file.write_at(offset, zeros).await;
        written?;
        zeros = buffer;
        offset += zeros.len() as u64;
    }
    file.sync().await
}

/// Turns files that are not needed any more into spare ones, or removes them; durable when it ends.
pub async fn give_up<E: Env>(inner: &Inner<E>, files: &[ClosedFile]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let room = SPARE_FILES_MAX.saturating_sub(inner.state.borrow().spare_count());
    let size = inner.state.borrow().options().file_bytes;
    let mut spares = Vec::with_capacity(room);
    for file in files {
        let name = FileName::Log(file.number);
        let path = name.path(&inner.dir);
        if spares.len() < room && file.file_bytes == size {
            let spare = FileName::Spare(file.number).path(&inner.dir);
            inner.env.rename(&path, &spare).await.map_err(|e| inner.error("rename", name, &e))?;
            spares.push(file.number);
        } else {
            inner.env.remove_file(&path).await.map_err(|e| inner.error("remove", name, &e))?;
        }
    }
    inner.sync_dir().await?;
    let mut state = inner.state.borrow_mut();
    spares.into_iter().for_each(|number| state.add_spare(number));
    Ok(())
}

/// Cuts every file behind its last batch and removes those without one; durable when it ends.
pub async fn trim<E: Env>(inner: &Inner<E>) -> Result<()> {
    let (used, ready, spares) = inner.state.borrow_mut().take_files();
    for ClosedFile { number, used_bytes, .. } in used {
        let name = FileName::Log(number);
        let file = inner.open_file(name).await?;
        // Even if it seems to be cut: an earlier life that was killed may have done that and not synced it.
        file.set_size(used_bytes).await.map_err(|e| inner.error("cut", name, &e))?;
        file.sync().await.map_err(|e| inner.error("sync", name, &e))?;
    }
    inner.handles.borrow_mut().clear();
    let unused = ready.into_iter().map(FileName::Log).chain(spares.into_iter().map(FileName::Spare));
    for name in unused {
        let removed = inner.env.remove_file(&name.path(&inner.dir)).await;
        removed.map_err(|e| inner.error("remove", name, &e))?;
    }
    inner.sync_dir().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [FileName::Log(0), FileName::Spare(12), FileName::Fill(12_345_678_901)] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for name in ["1.log", "0000000001.logs", "+000000001.log", "0000000001", "x.log", ".log"] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
