//! The write-ahead log of one shard.

use std::path::Path;

use crate::env::Env;
use crate::error::Result;
use crate::id::{Lsn, RangeId};

/// Bytes that a record takes in the log beside its payload.
pub const RECORD_OVERHEAD_BYTES: usize = 48;

/// Sizes of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalOptions {
    /// Bytes of one log file, a multiple of 4,096 and at least 32 KiB.
    pub file_bytes: u64,
    /// Largest payload of a record; at most half a file.
    pub record_bytes_max: u32,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions { file_bytes: 64 << 20, record_bytes_max: 16 << 20 }
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

/// Space for records to come. Dropping it gives back what was not used.
pub struct Reservation {}

/// A log that is being read at start.
pub struct Replay<E: Env> {
    env: E,
}

/// The log, ready for writing. Clones are handles of the same log.
#[derive(Clone)]
pub struct Wal<E: Env> {
    env: E,
}

#[allow(unused_variables)]
impl<E: Env> Replay<E> {
    /// The next record and the LSN after it; `None` at the end of the log.
    ///
    /// # Errors
    /// `Corrupt` if bytes are damaged that had been acknowledged.
    pub async fn next(&mut self) -> Result<Option<(Lsn, OwnedRecord)>> {
        todo!()
    }

    /// Opens the log for writing after its end. `next` has answered `None`.
    pub async fn finish(self) -> Result<Wal<E>> {
        todo!()
    }
}

#[allow(unused_variables)]
impl<E: Env> Wal<E> {
    /// Opens or creates the log in `dir` for reading. Records below `first_needed` may be gone or be read again.
    pub async fn open(env: E, dir: &Path, options: WalOptions, first_needed: Lsn) -> Result<Replay<E>> {
        todo!()
    }

    /// Bytes to reserve for one record.
    pub fn framed(payload_len: usize) -> usize {
        payload_len + RECORD_OVERHEAD_BYTES
    }

    /// Space for `bytes` of framed records, to be appended without giving way between the first and the last.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation> {
        todo!()
    }

    /// Adds a record; gives the LSN after it.
    pub fn append(&self, reservation: &mut Reservation, record: Record<'_>) -> Lsn {
        todo!()
    }

    /// Everything below is durable.
    pub fn durable_lsn(&self) -> Lsn {
        todo!()
    }

    /// The LSN after the last record.
    pub fn tail_lsn(&self) -> Lsn {
        todo!()
    }

    /// Waits until everything below `lsn` is durable.
    pub async fn durable(&self, lsn: Lsn) -> Result<()> {
        todo!()
    }

    /// Gives up the files that hold nothing at or above `before`.
    pub async fn truncate(&self, before: Lsn) -> Result<()> {
        todo!()
    }

    /// Bytes of all log files.
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }

    /// Whether a failed write or sync has ended the log.
    pub fn is_stopped(&self) -> bool {
        todo!()
    }

    /// Calls `hook` once, when a failed write or sync ends the log (at once if it has), with the reason.
    pub fn on_failure(&self, hook: impl FnOnce(&str) + 'static) {
        todo!()
    }
}
