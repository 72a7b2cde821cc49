//! The hash of all that happened.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::env::rng::mix;

/// Events that a failing run prints.
const RECENT_MAX: usize = 40;

/// One thing that happened, with its time in simulated nanoseconds.
#[derive(Clone, Copy)]
struct Event {
    time_ns: u64,
    kind: &'static str,
    a: u64,
    b: u64,
}

/// The hash of all events so far, and the last few of them in words.
pub struct Trace {
    hash: u64,
    events_total: u64,
    recent: VecDeque<Event>,
}

impl Trace {
    /// A trace in which nothing has happened.
    pub fn new(seed: u64) -> Trace {
        Trace { hash: mix(seed), events_total: 0, recent: VecDeque::with_capacity(RECENT_MAX) }
    }

    /// Adds an event.
    pub fn event(&mut self, time_ns: u64, kind: &'static str, a: u64, b: u64) {
        for word in [u64::from(crc32c::crc32c(kind.as_bytes())), time_ns, a, b] {
            self.hash = mix(self.hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        self.events_total += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Event { time_ns, kind, a, b });
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events_total(&self) -> u64 {
        self.events_total
    }

    /// The last events, one per line, oldest first.
    pub fn recent(&self) -> String {
        let mut text = String::new();
        for event in &self.recent {
            let _ = writeln!(text, "  {:>14} ns {} {:#x} {:#x}", event.time_ns, event.kind, event.a, event.b);
        }
        text
    }
}
