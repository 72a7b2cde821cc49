//! Identifiers. Each is its own type, so that two of them cannot be swapped.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(
    /// A table. Equals the OID that clients see: users' tables start at 16384 (PG 15, chapter 74.2).
    TableId,
    u32
);
id!(
    /// A contiguous interval of one table's key space; unit of replication, split and movement.
    RangeId,
    u64
);
id!(
    /// A core of this node, counted from 0; also names the shard that the core owns.
    CoreId,
    u16
);
id!(
    /// A transaction that has written, unique on this node for ever. The core that runs the session is in the
    /// upper 16 bits, so cores hand out ids without asking each other.
    TxnId,
    u64
);
id!(
    /// Position in the shard's write-ahead log, in bytes since the log began. Never reused.
    Lsn,
    u64
);

impl TxnId {
    /// Bits of the per-core sequence number.
    pub const SEQUENCE_BITS: u32 = 48;

    /// The `sequence`-th transaction of `core`.
    ///
    /// # Panics
    /// If the sequence does not fit 48 bits, which takes 8,900 years at a million per second.
    pub fn new(core: CoreId, sequence: u64) -> TxnId {
        assert!(sequence < 1 << Self::SEQUENCE_BITS, "transaction ids of core {core} are exhausted");
        TxnId(u64::from(core.0) << Self::SEQUENCE_BITS | sequence)
    }

    /// The core whose session runs the transaction and which keeps its commit decision.
    pub fn coordinator(self) -> CoreId {
        CoreId((self.0 >> Self::SEQUENCE_BITS) as u16)
    }
}
