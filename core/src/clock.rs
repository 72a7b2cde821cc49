//! Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014), one per core.
//!
//! A [`Timestamp`] is nanoseconds since the Unix epoch; the logical part is carried by counting on in nanoseconds
//! whenever the wall clock has not moved past the last timestamp that was handed out or observed.
//! Invariant: the clock never hands out a timestamp twice, and never one at or below a timestamp it has observed.

use std::cell::Cell;
use std::fmt;

/// Nanoseconds since 1970-01-01 UTC in a hybrid logical clock. The top bit is always 0; storage uses it to mark
/// provisional versions (see `memtable`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Before every commit.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After every commit: the end of a version that is still live.
    pub const MAX: Timestamp = Timestamp(i64::MAX as u64);
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The clock of one core.
#[derive(Debug, Default)]
pub struct Clock {
    last: Cell<u64>,
}

impl Clock {
    /// A clock that has seen nothing.
    pub fn new() -> Clock {
        Clock::default()
    }

    /// The next timestamp, given the wall clock in nanoseconds since the Unix epoch.
    pub fn tick(&self, wall_ns: u64) -> Timestamp {
        let next = wall_ns.max(self.last.get() + 1);
        assert!(next < Timestamp::MAX.0, "clock ran past the year 2262");
        self.last.set(next);
        Timestamp(next)
    }

    /// Makes every later timestamp larger than `seen`, which came with a message or from disk.
    pub fn observe(&self, seen: Timestamp) {
        if seen != Timestamp::MAX {
            self.last.set(self.last.get().max(seen.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_repeats_and_passes_what_it_saw() {
        let clock = Clock::new();
        let a = clock.tick(100);
        let b = clock.tick(100);
        assert!(b > a);
        clock.observe(Timestamp(5_000));
        assert_eq!(clock.tick(200), Timestamp(5_001));
        assert_eq!(clock.tick(9_000), Timestamp(9_000));
    }
}
