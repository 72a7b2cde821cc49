//! Requests by many connections at once, and how long they took.
//!
//! With a fixed rate (an *open loop*) request `i` is due at `i / rate`, whether or not earlier ones have been answered, and
//! its latency begins when it was due: a server that stalls for a second has made all wait that were due meanwhile. A
//! *closed loop* sends the next request when the last one was answered; it asks a stalled server for nothing, so its
//! percentiles hide the stall (G. Tene, "How NOT to Measure Latency": coordinated omission). It measures throughput.
//!
//! Each connection has a thread, which sleeps until its next request is due; the kernel is asked to wake it at once.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::wire::{Error, Result};
use crate::rows::mix;

/// Most messages of errors that are kept.
const MESSAGES_MAX: usize = 20;

/// When requests are made.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// So many per second in all, evenly.
    Rate(f64),
    /// By each connection, when its last one was answered.
    Closed,
}

/// How much load to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When requests are made.
    pub arrivals: Arrivals,
    /// Connections, each with a thread.
    pub connections: usize,
    /// How long requests are made before they are counted.
    pub warm_up: Duration,
    /// How long they are counted then.
    pub duration: Duration,
    /// Decides all that is random.
    pub seed: u64,
}

/// Random numbers of one connection.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    /// Those of a seed.
    pub fn new(seed: u64) -> Random {
        Random { seed: mix(seed), drawn: 0 }
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.seed.wrapping_add(self.drawn))
    }

    /// One below a bound above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// One from 0 up to 1.
    pub fn share(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What was measured.
pub struct Measured {
    /// Latencies in nanoseconds of each kind of request.
    pub latencies: Vec<Histogram<u64>>,
    /// Of all kinds together for each second that requests were due in, or of a closed loop were sent in.
    pub by_second: Vec<Histogram<u64>>,
    /// Requests that failed, by what failed.
    pub errors: BTreeMap<String, u64>,
    /// Requests that were tried again because they met others.
    pub retries: u64,
    /// Requests that were answered until the end of the time; those that were late are not among them.
    pub in_time: u64,
    /// Requests that were made, those of the warm-up and those that failed too.
    pub made: u64,
    /// Requests that were due but never made, because earlier ones had taken the whole time once more. Above 0 the server
    /// cannot bear the rate, and true percentiles are worse than those measured.
    pub abandoned: u64,
}

impl Measured {
    fn new(kinds: usize) -> Measured {
        Measured {
            latencies: vec![crate::histogram(); kinds],
            by_second: Vec::new(),
            errors: BTreeMap::new(),
            retries: 0,
            in_time: 0,
            made: 0,
            abandoned: 0,
        }
    }

    fn add(&mut self, kind: usize, second: usize, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1);
        while self.by_second.len() <= second {
            let empty = Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("the bounds are in order");
            self.by_second.push(empty);
        }
        self.latencies[kind].saturating_record(ns);
        self.by_second[second].saturating_record(ns);
    }

    fn fail(&mut self, error: &Error) {
        let message = error.to_string();
        if self.errors.len() < MESSAGES_MAX || self.errors.contains_key(&message) {
            *self.errors.entry(message).or_default() += 1;
        } else {
            *self.errors.entry("others".to_owned()).or_default() += 1;
        }
    }

    fn merge(&mut self, other: Measured) {
        let pairs = self.latencies.iter_mut().zip(&other.latencies);
        pairs.for_each(|(own, other)| own.add(other).expect("they have the same bounds"));
        for (second, times) in other.by_second.into_iter().enumerate() {
            match self.by_second.get_mut(second) {
                Some(own) => own.add(&times).expect("they have the same bounds"),
                None => self.by_second.push(times),
            }
        }
        other.errors.into_iter().for_each(|(what, count)| *self.errors.entry(what).or_default() += count);
        self.retries += other.retries;
        self.in_time += other.in_time;
        self.made += other.made;
        self.abandoned += other.abandoned;
    }

    /// Latencies of all kinds together.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = crate::histogram();
        self.latencies.iter().for_each(|times| all.add(times).expect("they have the same bounds"));
        all
    }

    /// Requests that failed.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// How a request ended.
pub struct Done {
    /// Its kind, below the number of kinds.
    pub kind: usize,
    /// How often it was tried again because it met others.
    pub retries: u64,
}

/// Opens the connections of a plan; `connect` opens number `i`.
///
/// # Errors
/// The first that fails.
pub fn connections<C>(plan: &Plan, connect: impl Fn(usize) -> Result<C>) -> Result<Vec<C>> {
    (0..plan.connections).map(connect).collect()
}

/// Makes load on connections, which are as many as the plan says. `request` makes one request and waits for its answer. A
/// connection on which a request fails otherwise than by an error that the server reports is opened again by `connect`.
pub fn run<C, F, G>(plan: &Plan, kinds: usize, connections: &mut [C], connect: F, request: G) -> Measured
where
    F: Fn(usize) -> Result<C> + Sync,
    G: Fn(&mut C, &mut Random) -> Result<Done> + Sync,
    C: Send,
{
    let worker = Worker {
        plan,
        connect: &connect,
        request: &request,
        next: &AtomicU64::new(0),
        began: &Mutex::new(None),
        ready: &Barrier::new(connections.len()),
    };
    let all = thread::scope(|scope| {
        let work = |(number, connection)| scope.spawn(move || worker.work(number, connection, kinds));
        let threads: Vec<_> = connections.iter_mut().enumerate().map(work).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a connection's thread ends"))
            .collect::<Vec<_>>()
    });
    let mut measured = Measured::new(kinds);
    all.into_iter().for_each(|part| measured.merge(part));
    measured
}

struct Worker<'a, F, G> {
    plan: &'a Plan,
    connect: &'a F,
    request: &'a G,
    /// The number of the next request.
    next: &'a AtomicU64,
    /// When the first request is due.
    began: &'a Mutex<Option<Instant>>,
    ready: &'a Barrier,
}

impl<F, G> Clone for Worker<'_, F, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F, G> Copy for Worker<'_, F, G> {}

impl<F, G> Worker<'_, F, G> {
    fn work<C>(&self, number: usize, connection: &mut C, kinds: usize) -> Measured
    where
        F: Fn(usize) -> Result<C>,
        G: Fn(&mut C, &mut Random) -> Result<Done>,
    {
        // Without it a sleep lasts 50 us longer; if it is refused, it does.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        self.ready.wait();
        let began = *self.began.lock().expect("nobody panics with it").get_or_insert_with(Instant::now);
        let counted_from = began + self.plan.warm_up;
        let end = counted_from + self.plan.duration;
        let mut random = Random::new(mix(self.plan.seed) ^ number as u64);
        let mut measured = Measured::new(kinds);
        while let Some(due) = self.next_due(began).filter(|due| *due < end) {
            match due.checked_duration_since(Instant::now()) {
                Some(wait) => thread::sleep(wait),
                None if Instant::now() > end + self.plan.duration => {
                    measured.abandoned += 1;
                    continue;
                }
                None => {}
            }
            let answer = (self.request)(connection, &mut random);
            let now = Instant::now();
            measured.made += 1;
            if let Some(since) = due.checked_duration_since(counted_from) {
                match &answer {
                    Ok(done) => {
                        measured.add(done.kind, since.as_secs() as usize, now - due);
                        measured.retries += done.retries;
                        measured.in_time += u64::from(now <= end);
                    }
                    Err(error) => measured.fail(error),
                }
            }
            if matches!(answer, Err(Error::Connection(_))) {
                match (self.connect)(number) {
                    Ok(opened) => *connection = opened,
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            }
        }
        measured
    }

    /// When this connection's next request is due.
    fn next_due(&self, began: Instant) -> Option<Instant> {
        match self.plan.arrivals {
            Arrivals::Closed => Some(Instant::now()),
            Arrivals::Rate(rate) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let after = Duration::try_from_secs_f64(number as f64 / rate).ok()?;
                began.checked_add(after)
            }
        }
    }
}
