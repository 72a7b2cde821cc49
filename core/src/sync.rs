//! Waiting among the tasks of one core. Nothing here is `Send`; nothing here locks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Waits for all of them, which run side by side.
pub async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, done) in waiting.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Tells tasks that something changed. A waiter names the epoch it last looked at, so no change is missed.
#[derive(Debug, Default)]
pub struct Signal {
    epoch: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Counts the changes so far.
    pub fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Something changed: every waiter looks again.
    pub fn notify(&self) {
        self.epoch.set(self.epoch.get() + 1);
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until something has changed after `seen`.
    pub async fn changed(&self, seen: u64) {
        poll_fn(|cx| {
            if self.epoch.get() != seen {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Takes one value from one task to another.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Rc::new(Slot { value: RefCell::new(SlotState::Empty(None)) });
    (Sender { slot: Some(slot.clone()) }, Receiver { slot })
}

struct Slot<T> {
    value: RefCell<SlotState<T>>,
}

enum SlotState<T> {
    Empty(Option<Waker>),
    Full(T),
    Closed,
}

/// The end that gives the value.
pub struct Sender<T> {
    slot: Option<Rc<Slot<T>>>,
}

/// The end that waits for it.
pub struct Receiver<T> {
    slot: Rc<Slot<T>>,
}

impl<T> Slot<T> {
    fn settle(&self, state: SlotState<T>) {
        if let SlotState::Empty(Some(waker)) = self.value.replace(state) {
            waker.wake();
        }
    }
}

impl<T> Sender<T> {
    /// Gives the value; a receiver that is gone does not mind.
    pub fn send(mut self, value: T) {
        if let Some(slot) = self.slot.take() {
            slot.settle(SlotState::Full(value));
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.settle(SlotState::Closed);
        }
    }
}

impl<T> Receiver<T> {
    /// The value, or `None` if the sender was dropped without giving one. Asks only once.
    pub async fn receive(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// As [`Receiver::receive`], for callers that wait for several at once.
    pub fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<T>> {
        let mut state = self.slot.value.borrow_mut();
        match std::mem::replace(&mut *state, SlotState::Closed) {
            SlotState::Full(value) => Poll::Ready(Some(value)),
            SlotState::Closed => Poll::Ready(None),
            SlotState::Empty(_) => {
                *state = SlotState::Empty(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Lets one task at a time into a section that awaits; first come, first served.
#[derive(Debug, Default)]
pub struct Turnstile {
    inside: Cell<bool>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    tickets: Cell<u64>,
}

/// Held inside the section.
#[derive(Debug)]
pub struct Turn<'a>(&'a Turnstile);

impl Turnstile {
    /// Waits for the turn, which ends when the result is dropped.
    pub async fn enter(&self) -> Turn<'_> {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        poll_fn(|cx| {
            let mut waiting = self.waiting.borrow_mut();
            let first = waiting.front().is_none_or(|(other, _)| *other >= ticket);
            if !self.inside.get() && first {
                waiting.retain(|(other, _)| *other != ticket);
                self.inside.set(true);
                return Poll::Ready(());
            }
            match waiting.iter_mut().find(|(other, _)| *other == ticket) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => waiting.push_back((ticket, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.inside.set(false);
        if let Some((_, waker)) = self.0.waiting.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once, zip};

    #[test]
    fn signal_wakes_and_misses_nothing() {
        let signal = Signal::default();
        let seen = signal.epoch();
        signal.notify();
        block_on(signal.changed(seen));
        let seen = signal.epoch();
        block_on(zip(signal.changed(seen), async { signal.notify() }));
    }

    #[test]
    fn oneshot_gives_or_closes() {
        let (sender, mut receiver) = oneshot();
        assert_eq!(block_on(poll_once(receiver.receive())), None);
        sender.send(7);
        assert_eq!(block_on(receiver.receive()), Some(7));
        let (sender, mut receiver) = oneshot::<u8>();
        drop(sender);
        assert_eq!(block_on(receiver.receive()), None);
    }

    #[test]
    fn turnstile_admits_one() {
        let turnstile = Turnstile::default();
        let first = block_on(turnstile.enter());
        let mut second = Box::pin(turnstile.enter());
        assert!(block_on(poll_once(&mut second)).is_none());
        drop(first);
        drop(block_on(second));
    }
}
