//! Timers of one core, in order of their time. The pump sleeps no longer than until the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::task::Waker;

/// When, and which of those at the same time.
pub type TimerKey = (u64, u64);

/// The timers of one core.
#[derive(Default)]
pub struct Timers {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<TimerKey, Waker>,
    number_last: u64,
}

impl Timers {
    /// A timer for `deadline_ns`.
    pub fn add(&self, deadline_ns: u64, waker: Waker) -> TimerKey {
        let mut state = self.state.borrow_mut();
        state.number_last += 1;
        let key = (deadline_ns, state.number_last);
        state.waiting.insert(key, waker);
        key
    }

    /// Replaces the waker of a timer; false if it has fired.
    pub fn renew(&self, key: TimerKey, waker: &Waker) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(present) = state.waiting.get_mut(&key) else { return false };
        let former = (!present.will_wake(waker)).then(|| std::mem::replace(present, waker.clone()));
        drop(state);
        drop(former);
        true
    }

    /// Forgets a timer.
    pub fn remove(&self, key: TimerKey) {
        let former = self.state.borrow_mut().waiting.remove(&key);
        drop(former);
    }

    /// The time of the first timer.
    pub fn first_ns(&self) -> Option<u64> {
        self.state.borrow().waiting.first_key_value().map(|(key, _)| key.0)
    }

    /// Wakes all whose time has come; answers whether there were any.
    pub fn fire(&self, now_ns: u64) -> bool {
        let due = {
            let mut state = self.state.borrow_mut();
            if state.waiting.first_key_value().is_none_or(|(key, _)| key.0 > now_ns) {
                return false;
            }
            let later = state.waiting.split_off(&(now_ns.saturating_add(1), 0));
            std::mem::replace(&mut state.waiting, later)
        };
        due.into_values().for_each(Waker::wake);
        true
    }

    /// Drops all.
    pub fn clear(&self) {
        let waiting = std::mem::take(&mut self.state.borrow_mut().waiting);
        drop(waiting);
    }
}
