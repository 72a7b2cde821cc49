//! The write-ahead log of one shard: every change is in it, and durable, before it is acknowledged.
//!
//! Records are appended to a batch in memory; one task writes and syncs whole batches, one at a time, while the next
//! one collects (group commit). Nothing is written before someone waits for it or a batch is full. Files are filled
//! with zeros ahead of need, and space is reserved before a record is made, so lack of space is a clean error
//! before anything has happened.
//!
//! Invariants:
//! - `first LSN that is needed <= durable_lsn <= tail_lsn`; LSNs count bytes, with the padding between batches.
//! - A batch is written only when everything before it is durable, and says where that ended.
//! - An acknowledged page is never written again until its file is used anew, with another salt and other LSNs.
//! - A failed write or sync ends the log for good: what the disk holds is not known any more.
//! - A log that was closed has no byte in its files that is not checked when it is opened: every file ends with its
//!   last batch, and files without one are gone. So damage anywhere is found, also where without the close it would look
//!   like the torn tail of a crash.
//!
//! `format` has the bytes, `state` all decisions, `files` and this module the I/O, `replay` the way back.

mod files;
mod format;
mod replay;
mod state;
pub(crate) mod window;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::env::{Env, File, OpenMode};
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId};
use crate::sync::Signal;

use files::FileName;
use state::{Batch, INFLIGHT_BYTES_MAX, State, Ticket};

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use format::VERSION;
pub use replay::Replay;
pub use state::Reservation;

/// Bytes that a record takes in the log beside its payload.
pub const RECORD_OVERHEAD_BYTES: usize = format::RECORD_HEADER_BYTES;
/// Smallest log file: two pages of records of half its size fit with their padding.
pub const FILE_BYTES_MIN: u64 = 32 << 10;
/// Largest log file: offsets in it fit 32 bits.
pub const FILE_BYTES_MAX: u64 = 1 << 31;

/// Sizes of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalOptions {
    /// Bytes of one log file, a multiple of 4,096 between [`FILE_BYTES_MIN`] and [`FILE_BYTES_MAX`].
    pub file_bytes: u64,
    /// Largest payload of a record; with its overhead at most half a file.
    pub record_bytes_max: u32,
    /// Bytes that are appended and not durable, with those reserved; a single larger record has its turn alone.
    pub inflight_bytes_max: usize,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions {
            file_bytes: 64 << 20,
            record_bytes_max: 16 << 20,
            inflight_bytes_max: INFLIGHT_BYTES_MAX,
        }
    }
}

impl WalOptions {
    fn check(&self) {
        let sized = (FILE_BYTES_MIN..=FILE_BYTES_MAX).contains(&self.file_bytes);
        assert!(
            sized && self.file_bytes.is_multiple_of(format::PAGE_BYTES),
            "log files of {} bytes",
            self.file_bytes
        );
        let largest = u64::from(self.record_bytes_max) + RECORD_OVERHEAD_BYTES as u64;
        assert!(largest <= self.file_bytes / 2, "a record of {} bytes in such files", self.record_bytes_max);
    }
}

/// What must be there when a log is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// Records below may be gone, or be read again.
    pub from: Lsn,
    /// The log ends here or later: something durable rests on it.
    pub to: Lsn,
    /// Where [`Wal::close`] ended it, if nothing was written since.
    pub closed: Option<Lsn>,
}

impl From<Lsn> for Extent {
    fn from(from: Lsn) -> Extent {
        Extent { from, to: from, closed: None }
    }
}

/// One entry of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Whose.
    pub range: RangeId,
    /// Raft term.
    pub term: u64,
    /// Raft index.
    pub index: u64,
    /// What the payload is; the log does not look at it.
    pub kind: u8,
    /// The bytes.
    pub payload: &'a [u8],
}

/// A record that was read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedRecord {
    /// Whose.
    pub range: RangeId,
    /// Raft term.
    pub term: u64,
    /// Raft index.
    pub index: u64,
    /// What the payload is.
    pub kind: u8,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// What the handles and tasks of a log share.
struct Inner<E: Env> {
    env: E,
    dir: PathBuf,
    state: Rc<RefCell<State>>,
    /// Open files that are ready, in the order in which they will be written.
    handles: RefCell<VecDeque<(u64, E::File)>>,
    /// Tasks that have not ended.
    tasks: Cell<u32>,
    task_ended: Signal,
}

impl<E: Env> Inner<E> {
    fn new(env: E, dir: PathBuf, state: State) -> Inner<E> {
        let (tasks, task_ended) = (Cell::new(0), Signal::default());
        let handles = RefCell::new(VecDeque::new());
        Inner { env, dir, state: Rc::new(RefCell::new(state)), handles, tasks, task_ended }
    }

    /// Runs a task of the log and counts it while it lives.
    fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        self.tasks.set(self.tasks.get() + 1);
        let inner = Rc::clone(self);
        self.env.spawn(async move {
            task.await;
            inner.tasks.set(inner.tasks.get() - 1);
            inner.task_ended.notify();
        });
    }

    fn error(&self, action: &str, name: FileName, cause: &io::Error) -> Error {
        Error::io(format!("{action} {}", name.path(&self.dir).display()), cause)
    }

    async fn open_file(&self, name: FileName) -> Result<E::File> {
        let opened = self.env.open(&name.path(&self.dir), OpenMode::ReadWrite).await;
        opened.map_err(|e| self.error("open", name, &e))
    }

    async fn sync_dir(&self) -> Result<()> {
        let synced = self.env.sync_dir(&self.dir).await;
        synced.map_err(|e| Error::io(format!("sync {}", self.dir.display()), &e))
    }

    /// Ends the log for good.
    fn stop(&self, cause: &Error) {
        let reason = cause.to_string();
        let hooks = self.state.borrow_mut().stop(reason.clone());
        hooks.into_iter().for_each(|hook| hook(&reason));
    }
}

/// Writes batches until the log ends.
async fn run_writer<E: Env>(inner: Rc<Inner<E>>) {
    let mut current: Option<(u64, E::File)> = None;
    while poll_fn(|cx| inner.state.borrow_mut().poll_writer(cx.waker())).await.is_some() {
        // Whoever is ready to append now shall be in this write.
        inner.env.yield_now().await;
        while let Some(Batch { place, buffer }) = { inner.state.borrow_mut().take_batch() } {
            while current.as_ref().is_none_or(|(number, _)| *number != place.number) {
                let next = inner.handles.borrow_mut().pop_front();
                current = Some(next.expect("a file that takes records is open"));
            }
            let (number, file) = current.as_ref().expect("found above");
            let (written, buffer) = file.write_durable(place.offset, buffer).await;
            if let Err(e) = written {
                return inner.stop(&inner.error("write", FileName::Log(*number), &e));
            }
            inner.state.borrow_mut().batch_written(place, buffer);
        }
    }
}

/// Ends the tasks when the last handle is gone.
struct Handle<E: Env> {
    inner: Rc<Inner<E>>,
}

impl<E: Env> Drop for Handle<E> {
    fn drop(&mut self) {
        self.inner.state.borrow_mut().close();
    }
}

/// The log, ready for writing. Clones are handles of the same log; records that nobody waited for may be lost when
/// the last one is dropped.
pub struct Wal<E: Env> {
    handle: Rc<Handle<E>>,
}

impl<E: Env> Clone for Wal<E> {
    fn clone(&self) -> Wal<E> {
        Wal { handle: Rc::clone(&self.handle) }
    }
}

/// Leaves the queue for space when its caller gives up.
struct Place<'a> {
    state: &'a RefCell<State>,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.state.borrow_mut().leave_queue(&mut self.ticket);
        }
    }
}

impl<E: Env> Wal<E> {
    /// Opens or creates the log in `dir` for reading.
    ///
    /// # Errors
    /// `Corrupt` if the log is not what `extent` says.
    ///
    /// # Panics
    /// If the options are impossible.
    pub async fn open(
        env: E,
        dir: &Path,
        options: WalOptions,
        extent: impl Into<Extent>,
    ) -> Result<Replay<E>> {
        options.check();
        Replay::open(env, dir, options, extent.into()).await
    }

    fn start(inner: Rc<Inner<E>>) -> Wal<E> {
        inner.spawn(run_writer(Rc::clone(&inner)));
        inner.spawn(files::run_allocator(Rc::clone(&inner)));
        Wal { handle: Rc::new(Handle { inner }) }
    }

    fn state(&self) -> &Rc<RefCell<State>> {
        &self.handle.inner.state
    }

    /// Bytes to reserve for one record with such a payload.
    pub fn framed(payload_len: usize) -> usize {
        payload_len + RECORD_OVERHEAD_BYTES
    }

    /// Space for records of `bytes` together, each counted by [`Wal::framed`]. Waits while too much is on its way
    /// to the disk.
    ///
    /// Appending all records of a reservation without giving way in between keeps its promise; a reservation that
    /// is used over several turns needs one for each.
    ///
    /// # Errors
    /// `DiskFull` if the next file could not be made; the next call tries again. `Busy` if too many callers wait.
    /// `TooLarge` above about half a file. `ShardStopped` after the end.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation> {
        let mut place = Place { state: self.state(), ticket: None };
        let charge =
            poll_fn(|cx| place.state.borrow_mut().poll_reserve(bytes, &mut place.ticket, cx.waker())).await?;
        Ok(Reservation::new(Rc::clone(self.state()), bytes, charge))
    }

    /// Adds a record; gives the LSN after it. It is written when someone waits for it, or with those around it.
    ///
    /// # Panics
    /// If the reservation is too small or the payload larger than the options allow.
    pub fn append(&self, reservation: &mut Reservation, record: Record<'_>) -> Lsn {
        self.append_after(reservation, &[], record)
    }

    /// As `append`, of a record whose payload begins with `head` and goes on with that of `record`: a large payload is
    /// copied only to where it is written from.
    pub fn append_after(&self, reservation: &mut Reservation, head: &[u8], record: Record<'_>) -> Lsn {
        let mut state = self.state().borrow_mut();
        let largest = state.options().record_bytes_max as usize;
        let bytes = head.len() + record.payload.len();
        assert!(bytes <= largest, "a payload of {bytes} bytes, more than {largest}");
        let free = reservation.take(Self::framed(bytes));
        let lsn = state.append(head, &record);
        if free > 0 {
            state.release(0, free);
        }
        lsn
    }

    /// Everything below is durable.
    pub fn durable_lsn(&self) -> Lsn {
        self.state().borrow().durable()
    }

    /// The LSN after the last record.
    pub fn tail_lsn(&self) -> Lsn {
        self.state().borrow().tail()
    }

    /// Waits until everything below `lsn` is durable, and sees to it that it becomes so.
    ///
    /// # Errors
    /// `ShardStopped` if it will never be known to be.
    ///
    /// # Panics
    /// If `lsn` is above [`Wal::tail_lsn`].
    pub async fn durable(&self, lsn: Lsn) -> Result<()> {
        let mut waiter = None;
        poll_fn(|cx| self.state().borrow_mut().poll_durable(lsn, &mut waiter, cx.waker())).await
    }

    /// Gives up the files that hold nothing at or above `before`, which a durable manifest says is not needed.
    pub async fn truncate(&self, before: Lsn) -> Result<()> {
        let files = self.state().borrow_mut().take_closed(before);
        files::give_up(&self.handle.inner, &files).await
    }

    /// Ends the log in order: all that was appended is durable, and its files hold nothing else. Gives the LSN at which
    /// it ends, for [`Extent::closed`]. Whoever appends later is told `ShardStopped`.
    ///
    /// # Errors
    /// `ShardStopped` if the log has failed; I/O errors, after which it can be opened as after a crash.
    pub async fn close(&self) -> Result<Lsn> {
        let inner = &self.handle.inner;
        while self.durable_lsn() < self.tail_lsn() {
            self.durable(self.tail_lsn()).await?;
        }
        let end = inner.state.borrow_mut().shut()?;
        loop {
            let seen = inner.task_ended.epoch();
            if inner.tasks.get() == 0 {
                break;
            }
            inner.task_ended.changed(seen).await;
        }
        files::trim(inner).await?;
        Ok(end)
    }

    /// Bytes of all log files.
    pub fn size_bytes(&self) -> u64 {
        self.state().borrow().size_bytes()
    }

    /// Whether a failed write or sync has ended the log.
    pub fn is_stopped(&self) -> bool {
        self.state().borrow().stopped().is_some()
    }

    /// Calls `hook` with the reason when a failed write or sync ends the log; at once if that has been.
    pub fn on_failure(&self, hook: impl FnOnce(&str) + 'static) {
        let late = self.state().borrow_mut().add_hook(Box::new(hook));
        if let Some(hook) = late {
            let reason = self.state().borrow().stopped().unwrap_or_default().to_string();
            hook(&reason);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
