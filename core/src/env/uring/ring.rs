//! The ring of one core: requests that own what the kernel touches until it is done with them.
//!
//! Invariants:
//! - A request stays in its slot, at rest, from before its entry is pushed until its completion is reaped. Its bytes are
//!   on the heap, so the slab may grow. Dropping the [`Op`] only marks the slot; the completion frees it.
//! - A request keeps its file or socket open, so the number in the entry cannot come to mean another file. Who lets go of
//!   a file last has the ring close it.
//! - Linked entries are pushed side by side and submitted together.
//!
//! Memory is not registered with the ring. Measured (kernel 6.18, virtio disk): a direct read of 16 KiB takes 5.5 us of
//! CPU with registered memory and 5.9 without if 16 are in flight, one of 64 KiB 4.6 and 6.7; but of a cold point read,
//! alone in flight and 66 us of CPU with the sleep and the wake-up, nothing could be seen in six runs side by side.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, FsyncFlags, OpenHow, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode};
use socket2::{SockAddr, Socket};

use crate::env::AlignedBuf;

/// Requests of one core in flight at once: two per connection and some for files.
const OPS_MAX: usize = 1 << 20;

/// User data of entries whose completion nobody waits for.
const IGNORED: u64 = u64::MAX;

/// Something to ask of the kernel, with all the memory it touches.
pub enum Request {
    /// The next connection.
    Accept { socket: Rc<Socket> },
    /// Connect to an address.
    Connect { socket: Rc<Socket>, address: Box<SockAddr> },
    /// Append to `buffer`, within its capacity.
    Receive { socket: Rc<Socket>, buffer: Vec<u8> },
    /// Send `buffer[sent..]`.
    Send { socket: Rc<Socket>, buffer: Vec<u8>, sent: usize },
    /// Read to `buffer[done..]`, from `offset + done`.
    Read { file: Rc<File>, offset: u64, buffer: AlignedBuf, done: usize },
    /// Write `buffer[done..]` at `offset + done`; `durable` with RWF_DSYNC.
    Write { file: Rc<File>, offset: u64, buffer: AlignedBuf, done: usize, durable: bool },
    /// fsync or fdatasync.
    Sync { file: Rc<File>, data_only: bool },
    /// ftruncate.
    SetSize { file: Rc<File>, size: u64 },
    /// openat.
    Open { path: CString, flags: i32 },
    /// openat2, which follows no path out of the directory.
    OpenBelow { dir: Rc<File>, path: CString, how: Box<OpenHow> },
    /// mkdirat.
    MakeDir { path: CString },
    /// unlinkat.
    Remove { path: CString },
    /// renameat.
    Rename { from: CString, to: CString },
    /// linkat.
    Link { from: CString, to: CString },
    /// close. It takes long where it frees the space of a file without a name, so a thread of the kernel does it.
    Close { fd: RawFd },
    /// A read of the eventfd that other threads wake the core by; starts again by itself.
    Wake { event: Rc<File>, count: Box<[u8; 8]> },
}

impl Request {
    /// The entry for the kernel. It points into `self`, which must stay until the completion.
    fn entry(&mut self) -> Entry {
        const HERE: Fd = Fd(libc::AT_FDCWD);
        const FILE_MODE: libc::mode_t = 0o640;
        const DIR_MODE: libc::mode_t = 0o750;
        match self {
            Request::Accept { socket } => {
                let accept = opcode::Accept::new(fd(socket), std::ptr::null_mut(), std::ptr::null_mut());
                accept.flags(libc::SOCK_CLOEXEC).build()
            }
            Request::Connect { socket, address } => {
                opcode::Connect::new(fd(socket), address.as_ptr().cast(), address.len()).build()
            }
            Request::Receive { socket, buffer } => {
                let spare = buffer.spare_capacity_mut();
                opcode::Recv::new(fd(socket), spare.as_mut_ptr().cast(), length(spare.len())).build()
            }
            Request::Send { socket, buffer, sent } => {
                let rest = &buffer[*sent..];
                let send = opcode::Send::new(fd(socket), rest.as_ptr(), length(rest.len()));
                send.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build()
            }
            Request::Read { file, offset, buffer, done } => {
                let rest = &mut buffer[*done..];
                let read = opcode::Read::new(fd(file), rest.as_mut_ptr(), length(rest.len()));
                read.offset(*offset + *done as u64).build()
            }
            Request::Write { file, offset, buffer, done, durable } => {
                let rest = &buffer[*done..];
                let write = opcode::Write::new(fd(file), rest.as_ptr(), length(rest.len()));
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                write.offset(*offset + *done as u64).rw_flags(flags).build()
            }
            Request::Sync { file, data_only } => {
                let flags = if *data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
                opcode::Fsync::new(fd(file)).flags(flags).build()
            }
            Request::SetSize { file, size } => opcode::Ftruncate::new(fd(file), *size).build(),
            Request::Open { path, flags } => {
                opcode::OpenAt::new(HERE, path.as_ptr()).flags(*flags).mode(FILE_MODE).build()
            }
            Request::OpenBelow { dir, path, how } => {
                opcode::OpenAt2::new(fd(dir), path.as_ptr(), &raw const **how).build()
            }
            Request::MakeDir { path } => opcode::MkDirAt::new(HERE, path.as_ptr()).mode(DIR_MODE).build(),
            Request::Remove { path } => opcode::UnlinkAt::new(HERE, path.as_ptr()).build(),
            Request::Rename { from, to } => {
                opcode::RenameAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build()
            }
            Request::Link { from, to } => opcode::LinkAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build(),
            Request::Close { fd } => opcode::Close::new(Fd(*fd)).build().flags(Flags::ASYNC),
            Request::Wake { event, count } => opcode::Read::new(fd(event), count.as_mut_ptr(), 8).build(),
        }
    }

    /// Whether it may wait for ever, so that it must be cancelled when nobody wants its result any more.
    fn is_cancellable(&self) -> bool {
        use Request::{Accept, Connect, Receive, Send, Wake};
        matches!(self, Accept { .. } | Connect { .. } | Receive { .. } | Send { .. } | Wake { .. })
    }

    /// The file that it is about.
    fn into_file(self) -> Option<Rc<File>> {
        match self {
            Request::Read { file, .. }
            | Request::Write { file, .. }
            | Request::Sync { file, .. }
            | Request::SetSize { file, .. } => Some(file),
            _ => None,
        }
    }

    /// Whether a result that is not negative is a new file descriptor.
    fn gives_fd(&self) -> bool {
        matches!(self, Request::Accept { .. } | Request::Open { .. } | Request::OpenBelow { .. })
    }
}

fn fd(file: &Rc<impl AsRawFd>) -> Fd {
    Fd(file.as_raw_fd())
}

/// One transfer; the kernel moves at most 2 GiB at once, callers go on with the rest.
fn length(len: usize) -> u32 {
    u32::try_from(len.min(1 << 30)).expect("at most 1 GiB")
}

/// The descriptor that a completed request has given.
pub fn take_fd(result: u32) -> OwnedFd {
    // SAFETY: accept and openat give a new descriptor, which is turned into an owner exactly once, by the waiting
    // task or by `Slab::finish` for an abandoned request.
    unsafe { OwnedFd::from_raw_fd(result as i32) }
}

enum State {
    Free,
    Waiting(Option<Waker>),
    Done(i32),
    Abandoned,
}

struct Slot {
    generation: u32,
    state: State,
    request: Option<Request>,
}

/// Entries that did not fit the submission queue.
enum Queued {
    One(Entry),
    Two([Entry; 2]),
}

struct Inner {
    uring: IoUring,
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_flight: usize,
    queued: VecDeque<Queued>,
    /// Reused by `reap`.
    wakers: Vec<Waker>,
}

/// The ring of one core.
pub struct Ring {
    inner: RefCell<Option<Inner>>,
    can_truncate: bool,
}

/// Builds the kernel's ring with the cheapest modes that it knows.
pub fn build(entries: u32) -> io::Result<IoUring> {
    let best = IoUring::builder()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_defer_taskrun()
        .setup_cqsize(entries * 4)
        .build(entries);
    match best {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            IoUring::builder().setup_cqsize(entries * 4).build(entries)
        }
        other => other,
    }
}

impl Ring {
    /// A ring whose submission queue has this many entries. To be made on the thread that will use it.
    pub fn new(entries: u32, event: File) -> io::Result<Ring> {
        let uring = build(entries)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let inner = Inner {
            uring,
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            queued: VecDeque::new(),
            wakers: Vec::new(),
        };
        let ring = Ring {
            inner: RefCell::new(Some(inner)),
            can_truncate: probe.is_supported(opcode::Ftruncate::CODE),
        };
        ring.with(|inner| {
            let wake = inner.insert(Request::Wake { event: Rc::new(event), count: Box::new([0; 8]) });
            inner.start(wake.expect("the first slot"));
        });
        Ok(ring)
    }

    /// Whether the kernel has ftruncate in rings (6.9).
    pub fn can_truncate(&self) -> bool {
        self.can_truncate
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> Option<T> {
        self.inner.borrow_mut().as_mut().map(f)
    }

    /// Requests that the kernel is not done with.
    #[cfg(test)]
    pub fn in_flight(&self) -> usize {
        self.with(|inner| inner.in_flight).unwrap_or(0)
    }

    /// Starts a request; the kernel sees it at the end of the turn.
    pub fn start(self: &Rc<Self>, request: Request) -> Op {
        let index = self.with(|inner| {
            let index = inner.insert(request)?;
            inner.start(index);
            Some((index, inner.slots[index as usize].generation))
        });
        self.op(index.flatten())
    }

    /// Starts two requests, the second when the first is done in full; else the second fails with ECANCELED.
    pub fn start_linked(self: &Rc<Self>, first: Request, second: Request) -> (Op, Op) {
        let pair = self.with(|inner| {
            let first = inner.insert(first)?;
            let Some(second) = inner.insert(second) else {
                inner.release(first);
                return None;
            };
            let entries = [inner.entry(first).flags(Flags::IO_LINK), inner.entry(second)];
            inner.in_flight += 2;
            inner.push(Queued::Two(entries));
            let generation = |index: u32| inner.slots[index as usize].generation;
            Some(((first, generation(first)), (second, generation(second))))
        });
        match pair.flatten() {
            Some((first, second)) => (self.op(Some(first)), self.op(Some(second))),
            None => (self.op(None), self.op(None)),
        }
    }

    /// Lets go of a file; closes it if nobody else holds it. Does not wait for that.
    pub fn let_go(&self, file: Rc<File>) {
        self.with(|inner| inner.let_go(file));
    }

    fn op(self: &Rc<Self>, place: Option<(u32, u32)>) -> Op {
        Op { ring: Rc::clone(self), place }
    }

    /// Takes the completions that are there; answers whether there were any.
    pub fn reap(&self) -> bool {
        let Some(mut wakers) = self.with(|inner| mem::take(&mut inner.wakers)) else { return false };
        let worked = self.with(|inner| inner.reap(&mut wakers)).unwrap_or(false);
        wakers.drain(..).for_each(Waker::wake);
        self.with(|inner| inner.wakers = wakers);
        worked
    }

    /// Hands new entries to the kernel and lets it post what is complete. No system call if there is nothing to do.
    pub fn submit(&self) -> io::Result<()> {
        self.with(Inner::submit).unwrap_or(Ok(()))
    }

    /// Submits and sleeps until a completion or the end of the timeout.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.with(|inner| inner.wait(timeout)).unwrap_or(Ok(()))
    }

    /// Cancels what is in flight, waits for it, and closes the ring. All tasks have been dropped before.
    pub fn close(&self) {
        let Some(mut inner) = self.inner.borrow_mut().take() else { return };
        inner.cancel_all();
        // Twenty waits of 100 ms: longer than any transfer takes that cannot be cancelled.
        for _ in 0..20 {
            if inner.in_flight == 0 {
                break;
            }
            let _ = inner.wait(Some(Duration::from_millis(100)));
            inner.reap(&mut Vec::new());
        }
        if inner.in_flight > 0 {
            // The kernel may still write to the buffers: they must never be freed.
            mem::forget(mem::take(&mut inner.slots));
        }
    }
}

impl Inner {
    /// Puts a request into a slot, unless there are too many.
    fn insert(&mut self, request: Request) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < OPS_MAX => {
                self.slots.push(Slot { generation: 0, state: State::Free, request: None });
                (self.slots.len() - 1) as u32
            }
            None => return None,
        };
        let slot = &mut self.slots[index as usize];
        slot.state = State::Waiting(None);
        slot.request = Some(request);
        Some(index)
    }

    /// Frees a slot; gives what was in it.
    fn release(&mut self, index: u32) -> Option<Request> {
        let slot = &mut self.slots[index as usize];
        slot.state = State::Free;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        slot.request.take()
    }

    fn entry(&mut self, index: u32) -> Entry {
        let slot = &mut self.slots[index as usize];
        let id = u64::from(slot.generation) << 32 | u64::from(index);
        slot.request.as_mut().expect("just inserted").entry().user_data(id)
    }

    fn start(&mut self, index: u32) {
        let entry = self.entry(index);
        self.in_flight += 1;
        self.push(Queued::One(entry));
    }

    fn let_go(&mut self, file: Rc<File>) {
        let Ok(file) = Rc::try_unwrap(file) else { return };
        let Some(index) = self.insert(Request::Close { fd: -1 }) else { return };
        let slot = &mut self.slots[index as usize];
        // From here on the kernel owns the descriptor.
        slot.request = Some(Request::Close { fd: file.into_raw_fd() });
        slot.state = State::Abandoned;
        self.start(index);
    }

    fn push(&mut self, queued: Queued) {
        if !self.queued.is_empty() || !self.try_push(&queued) {
            self.queued.push_back(queued);
        }
    }

    fn try_push(&mut self, queued: &Queued) -> bool {
        let entries = match queued {
            Queued::One(entry) => std::slice::from_ref(entry),
            Queued::Two(entries) => entries,
        };
        // SAFETY: each entry points only into a request in a slot, which stays there until its completion, or into
        // nothing at all (cancellations).
        unsafe { self.uring.submission().push_multiple(entries) }.is_ok()
    }

    /// Moves waiting entries to the submission queue, as far as there is space.
    fn refill(&mut self) {
        while let Some(queued) = self.queued.pop_front() {
            if !self.try_push(&queued) {
                self.queued.push_front(queued);
                return;
            }
        }
    }

    fn submit(&mut self) -> io::Result<()> {
        loop {
            let queue = self.uring.submission();
            if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                return Ok(());
            }
            drop(queue);
            if !ignore_transient(self.uring.submitter().submit().map(drop))? || self.queued.is_empty() {
                return Ok(());
            }
            self.refill();
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.queued.is_empty() {
            // More to submit than one call takes: do not sleep on it.
            return self.submit();
        }
        let result = match timeout {
            None => self.uring.submit_and_wait(1),
            Some(timeout) => {
                let time = Timespec::from(timeout);
                self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        ignore_transient(result.map(drop)).map(drop)
    }

    fn reap(&mut self, wakers: &mut Vec<Waker>) -> bool {
        let mut any = false;
        loop {
            let Some((id, result)) = self.uring.completion().next().map(|c| (c.user_data(), c.result()))
            else {
                return any;
            };
            any = true;
            if id != IGNORED {
                self.finish(id, result, wakers);
            }
        }
    }

    fn finish(&mut self, id: u64, result: i32, wakers: &mut Vec<Waker>) {
        let index = id as u32;
        let slot = &mut self.slots[index as usize];
        assert_eq!(u64::from(slot.generation), id >> 32, "a completion for a request that has ended");
        self.in_flight -= 1;
        match (&mut slot.request, &mut slot.state) {
            (Some(Request::Wake { .. }), State::Waiting(_)) => return self.start(index),
            (Some(Request::Receive { buffer, .. }), _) if result > 0 => {
                let len = buffer.len() + result as usize;
                assert!(len <= buffer.capacity(), "the kernel received more than was asked for");
                // SAFETY: the kernel has written `result` bytes after the former length, within the capacity.
                unsafe { buffer.set_len(len) };
            }
            _ => {}
        }
        match mem::replace(&mut slot.state, State::Done(result)) {
            State::Waiting(waker) => wakers.extend(waker),
            State::Abandoned => {
                let request = self.release(index).expect("in flight until now");
                if request.gives_fd() && result >= 0 {
                    drop(take_fd(result as u32));
                }
                request.into_file().into_iter().for_each(|file| self.let_go(file));
            }
            State::Free | State::Done(_) => unreachable!("one completion per request"),
        }
    }

    /// Nobody waits for the request any more: its memory stays until the kernel is done.
    fn abandon(&mut self, index: u32, generation: u32) {
        let slot = &mut self.slots[index as usize];
        slot.state = State::Abandoned;
        if slot.request.as_ref().is_some_and(Request::is_cancellable) {
            let id = u64::from(generation) << 32 | u64::from(index);
            self.push(Queued::One(opcode::AsyncCancel::new(id).build().user_data(IGNORED)));
        }
    }

    fn cancel_all(&mut self) {
        for index in 0..self.slots.len() {
            let generation = self.slots[index].generation;
            if matches!(self.slots[index].state, State::Waiting(_)) {
                self.abandon(index as u32, generation);
            }
        }
        let _ = self.submit();
    }
}

/// Answers whether the call went through; false if it is to be repeated after completions have been reaped.
fn ignore_transient(result: io::Result<()>) -> io::Result<bool> {
    match result.as_ref().map_err(io::Error::raw_os_error) {
        Ok(()) => Ok(true),
        Err(Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)) => Ok(false),
        Err(_) => result.map(|()| true),
    }
}

/// A request in flight. Dropping it leaves the request to the kernel.
pub struct Op {
    ring: Rc<Ring>,
    place: Option<(u32, u32)>,
}

impl Future for Op {
    /// The result, and the request with its memory; no request if the ring is closed or has too many.
    type Output = (io::Result<u32>, Option<Request>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((index, _)) = self.place else {
            return Poll::Ready((
                Err(io::Error::other("too many operations in flight, or the core has ended")),
                None,
            ));
        };
        let mut former = None;
        let result = self.ring.with(|inner| match &mut inner.slots[index as usize].state {
            State::Done(result) => {
                let result = *result;
                Some((result, inner.release(index)))
            }
            State::Waiting(waker) => {
                if !waker.as_ref().is_some_and(|w| w.will_wake(context.waker())) {
                    former = waker.replace(context.waker().clone());
                }
                None
            }
            State::Free | State::Abandoned => unreachable!("the slot belongs to this operation"),
        });
        // Dropping a waker may drop a task, which may use the ring: not while it is borrowed.
        drop(former);
        match result {
            Some(None) => Poll::Pending,
            Some(Some((result, request))) => {
                self.place = None;
                Poll::Ready((
                    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result as u32) },
                    request,
                ))
            }
            None => {
                self.place = None;
                Poll::Ready((Err(io::Error::other("the core has ended")), None))
            }
        }
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        let Some((index, generation)) = self.place else { return };
        let mut waker = None;
        let mut request = None;
        self.ring.with(|inner| match &mut inner.slots[index as usize].state {
            State::Waiting(former) => {
                waker = former.take();
                inner.abandon(index, generation);
            }
            State::Done(result) => {
                let result = *result;
                request = inner.release(index);
                if result >= 0 && request.as_ref().is_some_and(Request::gives_fd) {
                    drop(take_fd(result as u32));
                }
            }
            State::Free | State::Abandoned => unreachable!("the slot belongs to this operation"),
        });
        drop((waker, request));
    }
}
