//! Stamps: when a stored version of a row begins and ends to exist, and for whom.
//!
//! A stamp is a commit [`Timestamp`], or, with the top bit set, the id of the transaction that has not committed yet.
//! Invariants, as unsigned numbers: every commit < [`Stamp::LIVE`] < every provisional stamp < [`Stamp::ABORTED`];
//! so "committed at or before the snapshot" is one comparison.

use std::fmt;

use crate::clock::Timestamp;
use crate::id::TxnId;
use crate::router::ReadView;

const PROVISIONAL: u64 = 1 << 63;

/// Begin or end of a stored version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The end of a version that nobody has ended.
    pub const LIVE: Stamp = Stamp(Timestamp::MAX.0);
    /// The begin of a version that never came to exist: its transaction rolled back.
    pub const ABORTED: Stamp = Stamp(u64::MAX);

    /// Committed at this time. `Timestamp::MAX` gives [`Stamp::LIVE`].
    ///
    /// # Panics
    /// If the top bit is set, which no clock hands out.
    pub fn committed(at: Timestamp) -> Stamp {
        assert!(at <= Timestamp::MAX, "a timestamp keeps its top bit clear");
        Stamp(at.0)
    }

    /// Done by a transaction that has not committed.
    ///
    /// # Panics
    /// If the id needs 64 bits; ids carry a core below 32,767 in their upper 16.
    pub fn provisional(txn: TxnId) -> Stamp {
        let stamp = Stamp(txn.0 | PROVISIONAL);
        assert!(txn.0 & PROVISIONAL == 0 && stamp != Stamp::ABORTED, "transaction id {txn} is out of range");
        stamp
    }

    /// When it was committed; `None` if it is provisional, aborted or [`Stamp::LIVE`].
    pub fn timestamp(self) -> Option<Timestamp> {
        (self < Stamp::LIVE).then_some(Timestamp(self.0))
    }

    /// The transaction it waits for, if it is provisional.
    pub fn txn(self) -> Option<TxnId> {
        (self > Stamp::LIVE && self != Stamp::ABORTED).then_some(TxnId(self.0 & !PROVISIONAL))
    }

    /// The number that is stored.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Inverse of [`Stamp::to_bits`]; every number is a stamp.
    pub fn from_bits(bits: u64) -> Stamp {
        Stamp(bits)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.timestamp(), self.txn()) {
            (Some(at), _) => write!(f, "{at}"),
            (None, Some(txn)) => write!(f, "txn {txn}"),
            (None, None) => f.write_str(if *self == Stamp::LIVE { "live" } else { "aborted" }),
        }
    }
}

/// A view as the two numbers that stamps are compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    snapshot: u64,
    own: u64,
}

impl Sight {
    pub(crate) fn of(view: &ReadView) -> Sight {
        Sight { snapshot: view.snapshot.0.min(Timestamp::MAX.0 - 1), own: view.txn.0 | PROVISIONAL }
    }

    /// The last commit that is seen, below [`Stamp::LIVE`].
    pub(crate) fn snapshot(self) -> u64 {
        self.snapshot
    }

    /// Whether what the stamp marks has happened for the reader. Written without branches for loops over arrays.
    pub(crate) fn sees(self, stamp: u64) -> bool {
        (stamp <= self.snapshot) | (stamp == self.own)
    }

    /// Whether a stamp that is no transaction's has happened.
    pub(crate) fn sees_commit(self, stamp: u64) -> bool {
        stamp <= self.snapshot
    }
}

/// Whether a reader sees a version.
pub fn visible(begin: Stamp, end: Stamp, view: &ReadView) -> bool {
    let sight = Sight::of(view);
    begin != Stamp::ABORTED && sight.sees(begin.0) && !sight.sees(end.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::CoreId;

    #[test]
    fn who_sees_what() {
        let (own, other) = (TxnId::new(CoreId(1), 7), TxnId::new(CoreId(2), 7));
        let view = ReadView { snapshot: Timestamp(100), txn: own };
        let at = |ts| Stamp::committed(Timestamp(ts));
        let (mine, theirs) = (Stamp::provisional(own), Stamp::provisional(other));
        let cases = [
            (at(100), Stamp::LIVE, true),
            (at(101), Stamp::LIVE, false),
            (at(0), at(100), false),
            (at(0), at(101), true),
            (at(0), mine, false),
            (at(0), theirs, true),
            (mine, Stamp::LIVE, true),
            (mine, mine, false),
            (theirs, Stamp::LIVE, false),
            (Stamp::ABORTED, Stamp::LIVE, false),
            (Stamp::LIVE, Stamp::LIVE, false),
        ];
        for (begin, end, expected) in cases {
            assert_eq!(visible(begin, end, &view), expected, "begin {begin:?} end {end:?}");
        }
        let last = ReadView { snapshot: Timestamp::MAX, txn: own };
        assert!(visible(at(5), Stamp::LIVE, &last));
    }

    #[test]
    fn kinds() {
        let txn = TxnId::new(CoreId(3), 9);
        assert_eq!(Stamp::provisional(txn).txn(), Some(txn));
        assert_eq!(Stamp::provisional(txn).timestamp(), None);
        assert_eq!(Stamp::committed(Timestamp(4)).timestamp(), Some(Timestamp(4)));
        for none in [Stamp::LIVE, Stamp::ABORTED] {
            assert_eq!((none.timestamp(), none.txn()), (None, None));
            assert_eq!(Stamp::from_bits(none.to_bits()), none);
        }
    }
}
