//! Owned messages between the cores of a node.
//!
//! One bounded ring per ordered pair of cores, each with one writer and one reader. A full ring pushes back: the
//! message is returned, or its sender waits. Wake-ups are batched: sending marks the destination, and the turn's hook
//! wakes each marked core once.
//!
//! Invariants: messages from one core to another arrive in the order of their `try_send`; every message that was
//! accepted is delivered as long as both cores run [`Inbox::turn`] in [`crate::env::Env::on_turn`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::env::CoreWaker;
use crate::id::CoreId;

/// Tasks of one core that may wait for space towards one other core.
pub const WAITERS_MAX: usize = 4_096;

/// The ring has no space, or too many wait for it: the message comes back.
pub struct Full<M>(pub M);

impl<M> fmt::Debug for Full<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full")
    }
}

/// What all cores share.
struct Shared {
    wakers: Box<[OnceLock<CoreWaker>]>,
    /// `starved[from * cores + to]`: a sender waits for space in that ring.
    starved: Box<[AtomicBool]>,
    /// Messages that each core has sent to others; it alone writes its own.
    sent: Box<[Sent]>,
}

/// On a cache line of its own, so that counting disturbs nobody.
#[repr(align(128))]
#[derive(Default)]
struct Sent(AtomicU64);

/// Messages between the cores of a mesh, to be read from any thread.
pub struct MessageCount(Arc<Shared>);

impl MessageCount {
    /// Those that cores have sent to other cores so far.
    pub fn total(&self) -> u64 {
        self.0.sent.iter().map(|sent| sent.0.load(Ordering::Relaxed)).sum()
    }
}

impl Shared {
    fn wake(&self, core: usize) {
        if let Some(waker) = self.wakers[core].get() {
            waker.wake();
        }
    }

    fn starved(&self, from: usize, to: usize) -> &AtomicBool {
        &self.starved[from * self.wakers.len() + to]
    }
}

/// The place of one core in the mesh: `Send`, to be carried to its thread and joined there.
pub struct Seat<M> {
    core: usize,
    shared: Arc<Shared>,
    producers: Vec<Option<Producer<M>>>,
    consumers: Vec<Option<Consumer<M>>>,
}

/// Connects `core_count` cores by rings of `capacity` messages; the seats are in the order of the cores.
///
/// # Panics
/// If either is 0.
pub fn connect<M: Send>(core_count: u16, capacity: usize) -> Vec<Seat<M>> {
    assert!(core_count > 0 && capacity > 0, "a mesh has cores and space");
    let count = usize::from(core_count);
    let shared = Arc::new(Shared {
        wakers: (0..count).map(|_| OnceLock::new()).collect(),
        starved: (0..count * count).map(|_| AtomicBool::new(false)).collect(),
        sent: (0..count).map(|_| Sent::default()).collect(),
    });
    let seat =
        |core| Seat { core, shared: Arc::clone(&shared), producers: Vec::new(), consumers: Vec::new() };
    let mut seats: Vec<Seat<M>> = (0..count).map(seat).collect();
    for from in 0..count {
        for to in 0..count {
            let (producer, consumer) = RingBuffer::new(capacity);
            seats[from].producers.push(Some(producer));
            seats[to].consumers.push(Some(consumer));
        }
    }
    seats
}

impl<M: Send + 'static> Seat<M> {
    /// The core this seat belongs to.
    pub fn core(&self) -> CoreId {
        CoreId(self.core as u16)
    }

    /// Takes the seat on its own core. Call [`Inbox::turn`] from a hook of [`crate::env::Env::on_turn`].
    ///
    /// # Panics
    /// If a waker has been set for this core before.
    pub fn join(self, waker: CoreWaker) -> (Outbox<M>, Inbox<M>) {
        let set = self.shared.wakers[self.core].set(waker.clone());
        assert!(set.is_ok(), "core {} joins the mesh once", self.core);
        let link = |producer| Link { producer, dirty: false, waiters: VecDeque::new() };
        let state = State {
            core: self.core,
            shared: self.shared,
            waker,
            links: self.producers.into_iter().flatten().map(link).collect(),
            any_dirty: false,
        };
        let outbox = Outbox(Rc::new(RefCell::new(state)));
        let consumers = self.consumers.into_iter().flatten().collect();
        (outbox.clone(), Inbox { outbox, consumers })
    }
}

struct Link<M> {
    producer: Producer<M>,
    /// A message was sent since the last flush.
    dirty: bool,
    waiters: VecDeque<Waker>,
}

struct State<M> {
    core: usize,
    shared: Arc<Shared>,
    waker: CoreWaker,
    links: Vec<Link<M>>,
    any_dirty: bool,
}

/// The sending side of one core. Clones are the same.
pub struct Outbox<M>(Rc<RefCell<State<M>>>);

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Outbox<M> {
        Outbox(Rc::clone(&self.0))
    }
}

impl<M: Send + 'static> Outbox<M> {
    /// This core.
    pub fn core(&self) -> CoreId {
        CoreId(self.0.borrow().core as u16)
    }

    /// Cores in the mesh.
    pub fn core_count(&self) -> u16 {
        self.0.borrow().links.len() as u16
    }

    /// How many messages all cores send.
    pub fn message_count(&self) -> MessageCount {
        MessageCount(Arc::clone(&self.0.borrow().shared))
    }

    /// Sends, or gives the message back. A core may send to itself.
    pub fn try_send(&self, to: CoreId, message: M) -> Result<(), Full<M>> {
        let state = &mut *self.0.borrow_mut();
        let link = &mut state.links[usize::from(to.0)];
        match link.producer.push(message) {
            Ok(()) => {
                link.dirty = true;
                if usize::from(to.0) != state.core {
                    let sent = &state.shared.sent[state.core].0;
                    sent.store(sent.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
                if !std::mem::replace(&mut state.any_dirty, true) {
                    // The hook that flushes must run, even if the sender is no task of this core.
                    state.waker.wake();
                }
                Ok(())
            }
            Err(PushError::Full(message)) => Err(Full(message)),
        }
    }

    /// Sends, waiting for space. Gives the message back only if [`WAITERS_MAX`] wait already.
    /// Dropping the future before it ends sends nothing.
    pub fn send(&self, to: CoreId, message: M) -> impl Future<Output = Result<(), Full<M>>> + use<M> {
        let outbox = self.clone();
        let mut message = Some(message);
        poll_fn(move |context| {
            let sent = message.take().expect("polled after its end");
            match outbox.try_send(to, sent) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(Full(back)) if outbox.wait(to, context.waker()) => {
                    message = Some(back);
                    Poll::Pending
                }
                Err(full) => Poll::Ready(Err(full)),
            }
        })
    }

    /// Registers a waiter for space; false if too many wait.
    fn wait(&self, to: CoreId, waker: &Waker) -> bool {
        let state = &mut *self.0.borrow_mut();
        let to = usize::from(to.0);
        let waiters = &mut state.links[to].waiters;
        if waiters.len() >= WAITERS_MAX {
            return false;
        }
        waiters.push_back(waker.clone());
        state.shared.starved(state.core, to).store(true, Ordering::SeqCst);
        // The reader may have made space before it could see the flag; then the next turn finds it.
        state.waker.wake();
        true
    }

    /// Wakes the cores that were sent to and the tasks that can go on; answers whether it woke a task.
    fn flush(&self) -> bool {
        let mut ready: Vec<Waker> = Vec::new();
        {
            let state = &mut *self.0.borrow_mut();
            let dirty = std::mem::take(&mut state.any_dirty);
            for (to, link) in state.links.iter_mut().enumerate() {
                if dirty && std::mem::take(&mut link.dirty) && to != state.core {
                    state.shared.wake(to);
                }
                if !link.waiters.is_empty() {
                    // Pairs with the fence in `Inbox::turn`: either we see the space or the reader sees the flag.
                    state.shared.starved(state.core, to).store(true, Ordering::SeqCst);
                    fence(Ordering::SeqCst);
                    let count = link.producer.slots().min(link.waiters.len());
                    ready.extend(link.waiters.drain(..count));
                }
            }
        }
        let worked = !ready.is_empty();
        ready.into_iter().for_each(Waker::wake);
        worked
    }
}

/// The receiving side of one core.
pub struct Inbox<M> {
    outbox: Outbox<M>,
    consumers: Vec<Consumer<M>>,
}

impl<M: Send + 'static> Inbox<M> {
    /// Takes all messages that have arrived, each with its sender, and wakes whom it concerns: the cores that were
    /// sent to in this turn, and the senders that wait for space. Answers whether anything was done.
    pub fn turn(&mut self, mut handle: impl FnMut(CoreId, M)) -> bool {
        let mut taken = 0;
        for from in 0..self.consumers.len() {
            let consumer = &mut self.consumers[from];
            let count = consumer.slots();
            for _ in 0..count {
                let Ok(message) = consumer.pop() else { break };
                handle(CoreId(from as u16), message);
            }
            if count > 0 {
                taken += count;
                self.feed(from);
            }
        }
        self.outbox.flush() || taken > 0
    }

    /// Space was made in the ring from this core: wakes it if a task of it waits.
    fn feed(&self, from: usize) {
        fence(Ordering::SeqCst);
        let state = self.outbox.0.borrow();
        let starved = state.shared.starved(from, state.core);
        if starved.load(Ordering::Relaxed) && starved.swap(false, Ordering::SeqCst) {
            state.shared.wake(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::env::Env;
    use crate::env::sim::{NodeId, Sim, SimEnv};

    fn cores(sim: &Sim, count: u16) -> Vec<SimEnv> {
        (0..count).map(|core| sim.core(NodeId(0), CoreId(core))).collect()
    }

    /// Every core sends numbered messages to every core; each pair's arrive once, in order.
    fn all_to_all(seed: u64, capacity: usize) -> u64 {
        const MESSAGES: u64 = 200;
        let sim = Sim::new(seed);
        let received = Rc::new(Cell::new(0));
        let mut sent = None;
        let envs = cores(&sim, 3);
        for (seat, env) in connect::<u64>(3, capacity).into_iter().zip(envs) {
            let (outbox, mut inbox) = seat.join(env.waker());
            sent = Some(outbox.message_count());
            let received = Rc::clone(&received);
            let mut next = [0; 3];
            env.on_turn(move || {
                inbox.turn(|from, message| {
                    assert_eq!(message, next[usize::from(from.0)]);
                    next[usize::from(from.0)] += 1;
                    received.set(received.get() + 1);
                })
            });
            for to in 0..3 {
                let outbox = outbox.clone();
                env.spawn(async move {
                    for message in 0..MESSAGES {
                        outbox.send(CoreId(to), message).await.unwrap();
                    }
                });
            }
        }
        assert!(sim.run_until(|| received.get() == 9 * MESSAGES), "seed {seed}: {} arrived", received.get());
        // Those of a core to itself do not count.
        assert_eq!(sent.map(|sent| sent.total()), Some(6 * MESSAGES));
        sim.trace_hash()
    }

    #[test]
    fn messages_arrive_once_and_in_order() {
        for seed in 0..20 {
            let capacity = 1 + seed as usize % 7;
            assert_eq!(all_to_all(seed, capacity), all_to_all(seed, capacity));
        }
    }

    #[test]
    fn a_full_ring_pushes_back() {
        let sim = Sim::new(1);
        let envs = cores(&sim, 2);
        let mut seats = connect::<u64>(2, 4).into_iter();
        let (outbox, mut inbox0) = seats.next().unwrap().join(envs[0].waker());
        let (_outbox1, mut inbox1) = seats.next().unwrap().join(envs[1].waker());
        let to = CoreId(1);
        for message in 0..4 {
            outbox.try_send(to, message).unwrap();
        }
        let Full(back) = outbox.try_send(to, 4).unwrap_err();
        assert_eq!(back, 4);
        let done = Rc::new(Cell::new(0));
        for message in 4..20 {
            let (outbox, done) = (outbox.clone(), Rc::clone(&done));
            envs[0].spawn(async move {
                outbox.send(to, message).await.unwrap();
                done.set(done.get() + 1);
            });
        }
        envs[0].on_turn(move || inbox0.turn(|_, _| unreachable!("nobody sends back")));
        sim.run(sim.sleep(Duration::from_secs(1)));
        assert_eq!(done.get(), 0);
        let got = Rc::new(Cell::new(0));
        let counter = Rc::clone(&got);
        envs[1].on_turn(move || inbox1.turn(|_, _| counter.set(counter.get() + 1)));
        envs[1].waker().wake();
        sim.run_until(|| false);
        assert_eq!((done.get(), got.get()), (16, 20));
    }
}
