//! What a log knows, without any I/O: space, the batches that collect, and who waits for what.
//!
//! Invariants:
//! - `durable <= tail`; batches become durable in the order of their LSNs, one write at a time.
//! - What is reserved fits: in the rest of the active file, or whole in the next one, which is ready. Each
//!   reservation is charged for the padding that it can cause, so this survives any sealing of batches.
//! - A batch lies in one file and is written once, whole pages at a time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::env::AlignedBuf;
use crate::error::{Error, Result};
use crate::id::Lsn;

use super::format::{self, BATCH_HEADER_BYTES, BatchHeader, FILE_HEADER_BYTES, FileHeader, PAGE_BYTES};
use super::{Record, WalOptions};

/// 1 MiB: a write of this size runs at full device bandwidth and still takes about a millisecond.
pub const BATCH_BYTES: usize = 1 << 20;
/// Appended but not durable bytes, with those reserved, where memory is no concern: 16 full batches.
pub const INFLIGHT_BYTES_MAX: usize = 16 << 20;
/// Callers that may wait for space; above the connections of one core.
const RESERVE_WAITERS_MAX: usize = 16_384;
/// Written batch buffers that are kept for later batches.
const POOL_BUFFERS_MAX: usize = 4;
/// What one batch can take in its file beside its records.
const BATCH_SLACK_BYTES: u64 = PAGE_BYTES + BATCH_HEADER_BYTES as u64;

/// A file that takes no more records.
#[derive(Clone, Copy, Debug)]
pub struct ClosedFile {
    /// Number in its name.
    pub number: u64,
    /// Bytes on disk.
    pub file_bytes: u64,
    /// Where the log went on in the next file: this one holds nothing at or above.
    pub end: Lsn,
    /// Bytes up to the end of its last batch, whole pages.
    pub used_bytes: u64,
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug)]
pub struct BatchPlace {
    /// File to write to.
    pub number: u64,
    /// Where in the file; a page boundary.
    pub offset: u64,
    /// LSN after the last record.
    end: Lsn,
    header: BatchHeader,
}

impl BatchPlace {
    fn len(&self) -> usize {
        self.header.bytes as usize
    }

    /// Where in the file the next batch can begin.
    fn padded_end(&self) -> u64 {
        (self.offset + self.len() as u64).next_multiple_of(PAGE_BYTES)
    }
}

/// Records that are written together.
pub struct Batch {
    /// Where they go.
    pub place: BatchPlace,
    /// The header, which is filled in last, the records, and space for more.
    pub buffer: AlignedBuf,
}

struct DurableWaiter {
    id: u64,
    lsn: Lsn,
    waker: Waker,
}

struct ReserveWaiter {
    id: u64,
    waker: Waker,
}

/// A caller's place in the queue for space.
#[derive(Clone, Copy)]
pub struct Ticket {
    id: u64,
    /// Attempts to make a file before the caller came: their failures are not its concern.
    attempts_seen: u64,
}

/// Called with the reason when the log ends.
pub type Hook = Box<dyn FnOnce(&str)>;

/// What a log knows.
pub struct State {
    options: WalOptions,
    active: Option<FileHeader>,
    /// Where in the active file the next batch begins.
    offset: u64,
    ready: VecDeque<FileHeader>,
    closed: VecDeque<ClosedFile>,
    /// Numbers of files that can be used again.
    spares: Vec<u64>,
    open: Option<Batch>,
    sealed: VecDeque<Batch>,
    pool: Vec<AlignedBuf>,
    tail: Lsn,
    durable: Lsn,
    /// Someone waits for this to be durable.
    wanted: Lsn,
    /// Framed bytes appended and not durable.
    queued_bytes: usize,
    /// Framed bytes reserved and not appended.
    reserved_bytes: usize,
    /// File space that reservations are charged.
    charged_bytes: u64,
    waiter_last: u64,
    durable_waiters: Vec<DurableWaiter>,
    reserve_waiters: VecDeque<ReserveWaiter>,
    /// Wakes the writer.
    writer: Option<Waker>,
    /// Wakes the allocator.
    allocator: Option<Waker>,
    allocation: Allocation,
    /// Why the log has ended.
    stopped: Option<String>,
    hooks: Vec<Hook>,
    closing: bool,
}

/// How it goes with making files ready.
#[derive(Default)]
struct Allocation {
    wanted: bool,
    attempts: u64,
    failed: Option<(u64, Error)>,
    next_number: u64,
    next_start: Lsn,
}

/// What the allocator shall do.
#[derive(PartialEq, Eq, Debug)]
pub enum AllocatorTask {
    /// Make a file ready.
    Make,
    /// End.
    End,
}

impl State {
    /// A log that ends at `end`; the next file has this number and start.
    pub fn new(
        options: WalOptions,
        end: Lsn,
        closed: VecDeque<ClosedFile>,
        next_number: u64,
        next_start: Lsn,
    ) -> State {
        assert!(next_start >= end && next_start.0.is_multiple_of(PAGE_BYTES), "LSNs are never used twice");
        State {
            options,
            active: None,
            offset: 0,
            ready: VecDeque::new(),
            closed,
            spares: Vec::new(),
            open: None,
            sealed: VecDeque::new(),
            pool: Vec::new(),
            tail: end,
            durable: end,
            wanted: end,
            queued_bytes: 0,
            reserved_bytes: 0,
            charged_bytes: 0,
            waiter_last: 0,
            durable_waiters: Vec::new(),
            reserve_waiters: VecDeque::new(),
            writer: None,
            allocator: None,
            allocation: Allocation { next_number, next_start, ..Allocation::default() },
            stopped: None,
            hooks: Vec::new(),
            closing: false,
        }
    }

    /// LSN after the last record.
    pub fn tail(&self) -> Lsn {
        self.tail
    }

    /// Everything below is durable.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Why the log has ended, if it has.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    fn check_stopped(&self) -> Result<()> {
        match &self.stopped {
            Some(reason) => Err(Error::ShardStopped { reason: reason.clone() }),
            None if self.closing => Err(Error::ShardStopped { reason: "the log is closed".into() }),
            None => Ok(()),
        }
    }

    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|file| file.file_bytes).sum();
        let others = usize::from(self.active.is_some()) + self.ready.len() + self.spares.len();
        closed + others as u64 * self.options.file_bytes
    }

    // ---- space ----

    fn batch_capacity(&self) -> usize {
        BATCH_BYTES.min((self.options.file_bytes - FILE_HEADER_BYTES) as usize)
    }

    /// File space that records of `bytes` can take, whatever batches they end up in: two consecutive full batches
    /// hold more than one batch's worth, and the first may have been begun by others.
    fn charge(&self, bytes: usize) -> u64 {
        bytes as u64 + BATCH_SLACK_BYTES * (2 + 2 * (bytes / self.batch_capacity()) as u64)
    }

    fn active_room(&self) -> u64 {
        let used = self.open.as_ref().map_or(self.offset, |batch| batch.place.padded_end());
        self.active.map_or(0, |file| file.file_bytes - used)
    }

    fn has_space(&self, charge: u64) -> bool {
        let charged = self.charged_bytes + charge;
        charged <= self.active_room() || !self.ready.is_empty() && charged <= self.file_room()
    }

    fn file_room(&self) -> u64 {
        self.options.file_bytes - FILE_HEADER_BYTES
    }

    fn has_queue_room(&self, bytes: usize) -> bool {
        let inflight = self.queued_bytes + self.reserved_bytes;
        inflight == 0 || inflight + bytes <= self.options.inflight_bytes_max
    }

    /// One try to reserve `bytes`. Whoever is not at the front of the queue waits.
    pub fn poll_reserve(
        &mut self,
        bytes: usize,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
    ) -> Poll<Result<u64>> {
        let tried = self.try_reserve(bytes, ticket);
        if tried.is_ready() {
            self.leave_queue(ticket);
            return tried;
        }
        match ticket {
            Some(Ticket { id, .. }) => {
                let place = self.reserve_waiters.iter_mut().find(|w| w.id == *id);
                place.expect("a ticket is in the queue").waker.clone_from(waker);
            }
            None if self.reserve_waiters.len() >= RESERVE_WAITERS_MAX => {
                return Poll::Ready(Err(Error::Busy));
            }
            None => {
                self.waiter_last += 1;
                *ticket = Some(Ticket { id: self.waiter_last, attempts_seen: self.allocation.attempts });
                self.reserve_waiters.push_back(ReserveWaiter { id: self.waiter_last, waker: waker.clone() });
            }
        }
        Poll::Pending
    }

    fn try_reserve(&mut self, bytes: usize, ticket: &Option<Ticket>) -> Poll<Result<u64>> {
        self.check_stopped()?;
        let charge = self.charge(bytes);
        if charge > self.file_room() {
            let what = format!(
                "a write of {bytes} bytes does not fit a log file of {} bytes",
                self.options.file_bytes
            );
            return Poll::Ready(Err(Error::TooLarge { what }));
        }
        let front = self.reserve_waiters.front().map(|w| w.id);
        if front != ticket.map(|t| t.id) {
            return Poll::Pending;
        }
        if !self.has_queue_room(bytes) {
            self.want(self.tail);
            return Poll::Pending;
        }
        if self.has_space(charge) {
            self.reserved_bytes += bytes;
            self.charged_bytes += charge;
            return Poll::Ready(Ok(charge));
        }
        if !self.ready.is_empty() {
            return Poll::Pending;
        }
        let seen = ticket.map_or(self.allocation.attempts, |t| t.attempts_seen);
        if let Some((attempt, error)) = &self.allocation.failed
            && *attempt > seen
        {
            return Poll::Ready(Err(error.clone()));
        }
        self.allocation.wanted = true;
        wake(&mut self.allocator);
        Poll::Pending
    }

    /// Gives up a place in the queue, if there is one; the next in line tries.
    pub fn leave_queue(&mut self, ticket: &mut Option<Ticket>) {
        if let Some(Ticket { id, .. }) = ticket.take() {
            self.reserve_waiters.retain(|w| w.id != id);
        }
        self.wake_reserve();
    }

    /// Gives back what a reservation did not use.
    pub fn release(&mut self, bytes: usize, charge: u64) {
        self.reserved_bytes -= bytes;
        self.charged_bytes -= charge;
        self.wake_reserve();
    }

    fn wake_reserve(&self) {
        if let Some(first) = self.reserve_waiters.front() {
            first.waker.wake_by_ref();
        }
    }

    // ---- appending ----

    /// Adds a record for which space is reserved; gives the LSN after it. Its payload begins with `head`.
    pub fn append(&mut self, head: &[u8], record: &Record<'_>) -> Lsn {
        let framed = format::RECORD_HEADER_BYTES + head.len() + record.payload.len();
        self.reserved_bytes -= framed;
        self.charged_bytes -= framed as u64;
        if self.closing {
            // Who had a reservation when the log was closed is told when it waits.
            self.tail = Lsn(self.tail.0 + framed as u64);
            return self.tail;
        }
        self.queued_bytes += framed;
        let Batch { place, buffer } = self.batch_with_room(framed);
        let from = place.len();
        let lsn = Lsn(place.header.lsn.0 + from as u64);
        format::encode_record(head, record, place.header.salt, lsn, &mut buffer[from..from + framed]);
        place.header.bytes += u32::try_from(framed).expect("a batch is smaller than a file");
        place.end = Lsn(lsn.0 + framed as u64);
        self.tail = place.end;
        self.tail
    }

    /// The batch that takes the next `framed` bytes.
    fn batch_with_room(&mut self, framed: usize) -> &mut Batch {
        let fits = |batch: &Batch| batch.place.len() + framed <= batch.buffer.len();
        if !self.open.as_ref().is_some_and(fits) {
            self.seal();
            let batch = self.begin_batch(framed);
            self.open = Some(batch);
        }
        self.open.as_mut().expect("begun above")
    }

    /// Begins a batch in the active file, or in the next one if the record does not fit.
    fn begin_batch(&mut self, framed: usize) -> Batch {
        let least = BATCH_HEADER_BYTES + framed;
        let room = |file: &FileHeader| file.file_bytes - self.offset;
        if self.active.as_ref().is_none_or(|file| room(file) < least as u64) {
            let next = self.ready.pop_front().expect("a reservation fits the active or the next file");
            if let Some(FileHeader { number, file_bytes, .. }) = self.active.replace(next) {
                let (end, used_bytes) = (self.tail, self.offset);
                self.closed.push_back(ClosedFile { number, file_bytes, end, used_bytes });
            }
            self.offset = FILE_HEADER_BYTES;
            wake(&mut self.allocator);
        }
        let file = self.active.expect("set above");
        let room = (file.file_bytes - self.offset) as usize;
        let standard = self.batch_capacity();
        let pooled = if least <= standard { self.pool.pop() } else { None };
        let mut buffer = pooled.unwrap_or_else(|| AlignedBuf::zeroed(least.max(standard)));
        buffer.set_len(buffer.capacity().min(room));
        let lsn = Lsn(file.start.0 + self.offset);
        let bytes = BATCH_HEADER_BYTES as u32;
        let header = BatchHeader { salt: file.salt, lsn, previous: Lsn(0), bytes };
        let place = BatchPlace { number: file.number, offset: self.offset, end: self.tail, header };
        Batch { place, buffer }
    }

    /// Ends the open batch: nothing is added any more.
    fn seal(&mut self) {
        if let Some(batch) = self.open.take() {
            self.offset = batch.place.padded_end();
            self.sealed.push_back(batch);
            wake(&mut self.writer);
        }
    }

    // ---- writing ----

    /// Whether the writer has something to write; `None` if it shall end.
    pub fn poll_writer(&mut self, waker: &Waker) -> Poll<Option<()>> {
        if self.closing || self.stopped.is_some() {
            return Poll::Ready(None);
        }
        if !self.sealed.is_empty() || self.wanted > self.durable {
            return Poll::Ready(Some(()));
        }
        self.writer = Some(waker.clone());
        Poll::Pending
    }

    /// The next batch to write, complete with header and padding.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.closing || self.stopped.is_some() {
            return None;
        }
        if self.sealed.is_empty() && self.wanted > self.durable {
            self.seal();
        }
        let mut batch = self.sealed.pop_front()?;
        let Batch { place, buffer } = &mut batch;
        place.header.previous = self.durable;
        place.header.encode(buffer);
        buffer.set_len((place.padded_end() - place.offset) as usize);
        buffer[place.len()..].fill(0);
        Some(batch)
    }

    /// The batch is durable; its buffer can be used again.
    pub fn batch_written(&mut self, place: BatchPlace, buffer: AlignedBuf) {
        assert!(place.end > self.durable, "batches are written in order");
        self.durable = place.end;
        self.queued_bytes -= place.len() - BATCH_HEADER_BYTES;
        let kept_max = (self.options.inflight_bytes_max / BATCH_BYTES).clamp(1, POOL_BUFFERS_MAX);
        if buffer.capacity() == self.batch_capacity() && self.pool.len() < kept_max {
            self.pool.push(buffer);
        }
        let durable = self.durable;
        self.durable_waiters.retain(|waiter| {
            let waits = waiter.lsn > durable;
            if !waits {
                waiter.waker.wake_by_ref();
            }
            waits
        });
        self.wake_reserve();
    }

    /// Someone needs everything below `lsn` to become durable.
    fn want(&mut self, lsn: Lsn) {
        if lsn > self.wanted {
            self.wanted = lsn;
            wake(&mut self.writer);
        }
    }

    /// One try to see `lsn` durable.
    pub fn poll_durable(&mut self, lsn: Lsn, id: &mut Option<u64>, waker: &Waker) -> Poll<Result<()>> {
        if lsn <= self.durable {
            return Poll::Ready(Ok(()));
        }
        self.check_stopped()?;
        assert!(lsn <= self.tail, "waiting for {lsn}, which was never appended");
        self.want(lsn);
        match id {
            Some(id) => {
                let waiter = self.durable_waiters.iter_mut().find(|w| w.id == *id);
                waiter.expect("waits until it is woken").waker.clone_from(waker);
            }
            None => {
                self.waiter_last += 1;
                *id = Some(self.waiter_last);
                let waker = waker.clone();
                self.durable_waiters.push(DurableWaiter { id: self.waiter_last, lsn, waker });
            }
        }
        Poll::Pending
    }

    // ---- files ----

    /// What the allocator shall do next. After a failure it rests until someone needs a file.
    pub fn poll_allocator(&mut self, waker: &Waker) -> Poll<AllocatorTask> {
        if self.closing || self.stopped.is_some() {
            return Poll::Ready(AllocatorTask::End);
        }
        let allocation = &self.allocation;
        let worth_it = !self.spares.is_empty() || allocation.wanted || allocation.failed.is_none();
        if self.ready.is_empty() && worth_it {
            return Poll::Ready(AllocatorTask::Make);
        }
        self.allocator = Some(waker.clone());
        Poll::Pending
    }

    /// An attempt to make a file begins. Gives the number of a spare file, if there is one.
    pub fn begin_attempt(&mut self) -> Option<u64> {
        self.allocation.attempts += 1;
        self.allocation.wanted = false;
        self.spares.pop()
    }

    /// The number that the next file will have.
    pub fn next_number(&self) -> u64 {
        self.allocation.next_number
    }

    /// Number and start of the next file, never to be given out again.
    pub fn next_file(&mut self, salt: u64) -> FileHeader {
        let Allocation { next_number: number, next_start: start, .. } = self.allocation;
        let header = FileHeader { number, salt, start, file_bytes: self.options.file_bytes };
        self.allocation.next_number += 1;
        self.allocation.next_start = header.end();
        header
    }

    /// The file is on disk, durable with its name.
    pub fn file_ready(&mut self, header: FileHeader) {
        self.allocation.failed = None;
        self.ready.push_back(header);
        self.wake_reserve();
    }

    /// No file could be made, for lack of space.
    pub fn file_failed(&mut self, error: Error) {
        self.allocation.failed = Some((self.allocation.attempts, error));
        self.wake_reserve();
    }

    /// A file that can be used again: the allocator can go on even if the disk is full.
    pub fn add_spare(&mut self, number: u64) {
        self.spares.push(number);
        wake(&mut self.allocator);
    }

    /// Spare files there are.
    pub fn spare_count(&self) -> usize {
        self.spares.len()
    }

    /// Sizes of the log.
    pub fn options(&self) -> WalOptions {
        self.options
    }

    /// Takes the files that hold nothing at or above `before`.
    pub fn take_closed(&mut self, before: Lsn) -> Vec<ClosedFile> {
        let before = before.min(self.durable);
        let count = self.closed.iter().take_while(|file| file.end <= before).count();
        self.closed.drain(..count).collect()
    }

    // ---- the end ----

    /// The log can not be trusted any more: everyone who waits is told, and everyone who comes.
    pub fn stop(&mut self, reason: String) -> Vec<Hook> {
        self.stopped.get_or_insert(reason);
        self.wake_all();
        mem::take(&mut self.hooks)
    }

    /// Adds a hook to be called at the end; gives it back if that has been.
    pub fn add_hook(&mut self, hook: Hook) -> Option<Hook> {
        if self.stopped.is_some() {
            return Some(hook);
        }
        self.hooks.push(hook);
        None
    }

    /// No handle is left: the tasks shall end.
    pub fn close(&mut self) {
        self.closing = true;
        self.wake_all();
    }

    /// Takes nothing more, since all is durable; gives the end of the log.
    pub fn shut(&mut self) -> Result<Lsn> {
        self.check_stopped()?;
        assert_eq!(self.durable, self.tail, "what was appended is made durable first");
        self.close();
        Ok(self.durable)
    }

    /// The files that hold records, and numbers of log files and spare ones that hold none.
    pub fn take_files(&mut self) -> (Vec<ClosedFile>, Vec<u64>, Vec<u64>) {
        let mut used: Vec<ClosedFile> = self.closed.drain(..).collect();
        if let Some(FileHeader { number, file_bytes, .. }) = self.active.take() {
            used.push(ClosedFile { number, file_bytes, end: self.durable, used_bytes: self.offset });
        }
        (used, self.ready.drain(..).map(|file| file.number).collect(), mem::take(&mut self.spares))
    }

    fn wake_all(&mut self) {
        wake(&mut self.writer);
        wake(&mut self.allocator);
        self.durable_waiters.drain(..).for_each(|w| w.waker.wake());
        self.reserve_waiters.iter().for_each(|w| w.waker.wake_by_ref());
    }
}

fn wake(task: &mut Option<Waker>) {
    if let Some(waker) = task.take() {
        waker.wake();
    }
}

/// Space for records to come. Dropping it gives back what was not used.
pub struct Reservation {
    state: Rc<RefCell<State>>,
    bytes: usize,
    charge: u64,
}

impl Reservation {
    pub(super) fn new(state: Rc<RefCell<State>>, bytes: usize, charge: u64) -> Reservation {
        Reservation { state, bytes, charge }
    }

    /// Framed bytes that may still be appended.
    pub fn bytes_left(&self) -> usize {
        self.bytes
    }

    /// Uses `framed` bytes. Gives the charge that is free, because nothing can follow, with the last of them.
    pub(super) fn take(&mut self, framed: usize) -> u64 {
        assert!(framed <= self.bytes, "a record of {framed} bytes in a reservation with {} left", self.bytes);
        self.bytes -= framed;
        self.charge -= framed as u64;
        if self.bytes == 0 { mem::take(&mut self.charge) } else { 0 }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.charge > 0 {
            self.state.borrow_mut().release(self.bytes, self.charge);
        }
    }
}
