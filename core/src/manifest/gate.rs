//! One task at a time, in the order in which they came.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Lets one task pass; the others wait.
#[derive(Default)]
pub(super) struct Gate(RefCell<Queue>);

#[derive(Default)]
struct Queue {
    busy: bool,
    id_last: u64,
    waiters: VecDeque<(u64, Waker)>,
}

impl Queue {
    fn poll_enter(&mut self, id: &mut Option<u64>, waker: &Waker) -> Poll<()> {
        let first = self.waiters.front().map(|(first, _)| *first);
        if !self.busy && first == *id {
            self.waiters.pop_front();
            self.busy = true;
            *id = None;
            return Poll::Ready(());
        }
        match self.waiters.iter_mut().find(|(waiter, _)| Some(*waiter) == *id) {
            Some((_, kept)) => kept.clone_from(waker),
            None => {
                self.id_last += 1;
                *id = Some(self.id_last);
                self.waiters.push_back((self.id_last, waker.clone()));
            }
        }
        Poll::Pending
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiters.front() {
            waker.wake_by_ref();
        }
    }
}

/// Opens the gate for the next when dropped.
pub(super) struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.0.borrow_mut();
        queue.busy = false;
        queue.wake_first();
    }
}

/// A place in the queue, given up when dropped.
struct Place<'a> {
    gate: &'a Gate,
    id: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut queue = self.gate.0.borrow_mut();
            queue.waiters.retain(|(waiter, _)| *waiter != id);
            queue.wake_first();
        }
    }
}

impl Gate {
    /// Waits until all who came before have passed.
    pub(super) async fn enter(&self) -> Pass<'_> {
        let mut place = Place { gate: self, id: None };
        poll_fn(|cx| self.0.borrow_mut().poll_enter(&mut place.id, cx.waker())).await;
        Pass(self)
    }
}
