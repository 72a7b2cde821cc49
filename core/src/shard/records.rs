//! What the records of the write-ahead log say. The frame around them is `wal`'s.
//!
//! | kind | range | payload, little-endian |
//! |---|---|---|
//! | 1 write | of the rows | commit timestamp u64, packed changes |
//! | 2 stage | of the rows | transaction u64, packed changes |
//! | 3 prepare | 0 | transaction u64, prepare timestamp u64 |
//! | 4 resolve | 0 | transaction u64, commit timestamp u64 or 0 for abort |
//! | 5 decide | 0 | transaction u64, commit timestamp u64 |
//! | 6 forget | 0 | transaction u64 |
//!
//! A transaction commits on one shard with its `resolve` record; on several with the coordinator's `decide` record,
//! after every participant's `prepare` is durable. Without one of them it has aborted.

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Lsn, TxnId};
use crate::wal::OwnedRecord;
use crate::write_batch::WriteBatch;

/// Record kinds.
pub mod kind {
    /// Rows committed in one range by one message.
    pub const WRITE: u8 = 1;
    /// Provisional rows of a transaction.
    pub const STAGE: u8 = 2;
    /// A participant promises to follow the coordinator.
    pub const PREPARE: u8 = 3;
    /// The end of a transaction on this shard.
    pub const RESOLVE: u8 = 4;
    /// The coordinator commits a transaction of several shards.
    pub const DECIDE: u8 = 5;
    /// Every participant has resolved; nobody will ask again.
    pub const FORGET: u8 = 6;
}

/// Bytes in front of the packed changes of a write or stage record.
pub const CHANGES_OFFSET: usize = 8;

/// A record, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogRecord {
    /// See [`kind::WRITE`].
    Write {
        /// When it committed.
        commit: Timestamp,
        /// What it changed.
        batch: WriteBatch,
    },
    /// See [`kind::STAGE`].
    Stage {
        /// Whose changes.
        txn: TxnId,
        /// What it changes.
        batch: WriteBatch,
    },
    /// See [`kind::PREPARE`].
    Prepare {
        /// Which transaction.
        txn: TxnId,
        /// Its commit timestamp will not be below this.
        at: Timestamp,
    },
    /// See [`kind::RESOLVE`].
    Resolve {
        /// Which transaction.
        txn: TxnId,
        /// When it committed; `None` if it aborted.
        commit: Option<Timestamp>,
    },
    /// See [`kind::DECIDE`].
    Decide {
        /// Which transaction.
        txn: TxnId,
        /// When it committed.
        commit: Timestamp,
    },
    /// See [`kind::FORGET`].
    Forget {
        /// Which transaction.
        txn: TxnId,
    },
}

/// Payload of a prepare, resolve or decide record.
pub fn encode_outcome(txn: TxnId, at: Option<Timestamp>) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&txn.0.to_le_bytes());
    bytes[8..].copy_from_slice(&at.map_or(0, |at| at.0).to_le_bytes());
    bytes
}

/// Decodes a record whose checksum is right.
///
/// # Errors
/// `Error::Corrupt` if it is none that this version writes.
pub fn decode(lsn: Lsn, record: &OwnedRecord) -> Result<LogRecord> {
    parse(record).ok_or_else(|| Error::Corrupt {
        place: format!("write-ahead log at {lsn}"),
        detail: format!("record of kind {} with {} bytes is malformed", record.kind, record.payload.len()),
    })
}

fn parse(record: &OwnedRecord) -> Option<LogRecord> {
    let (first, rest) = record.payload.split_first_chunk::<8>()?;
    let first = u64::from_le_bytes(*first);
    let txn = TxnId(first);
    let second = || rest.try_into().ok().map(u64::from_le_bytes);
    Some(match record.kind {
        kind::WRITE => {
            LogRecord::Write { commit: Timestamp(first), batch: WriteBatch::from_bytes(rest).ok()? }
        }
        kind::STAGE => LogRecord::Stage { txn, batch: WriteBatch::from_bytes(rest).ok()? },
        kind::PREPARE => LogRecord::Prepare { txn, at: Timestamp(second()?) },
        kind::RESOLVE => {
            let commit = second()?;
            LogRecord::Resolve { txn, commit: (commit != 0).then_some(Timestamp(commit)) }
        }
        kind::DECIDE => LogRecord::Decide { txn, commit: Timestamp(second()?) },
        kind::FORGET if rest.is_empty() => LogRecord::Forget { txn },
        _ => return None,
    })
}
