//! Tells the tasks of one core that the server stops.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A flag that is set once and can be waited for. Clones share it; it stays on its core.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Rc<State>);

#[derive(Debug, Default)]
struct State {
    has_begun: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl Shutdown {
    /// Sets the flag.
    pub fn begin(&self) {
        self.0.has_begun.set(true);
        self.0.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// Whether it is set.
    pub fn has_begun(&self) -> bool {
        self.0.has_begun.get()
    }

    /// Waits until it is set.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.has_begun() {
                return Poll::Ready(());
            }
            let mut wakers = self.0.wakers.borrow_mut();
            if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
