//! The harness against a server whose latencies are known: percentiles are the true ones, during a stall, too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use omen_perf::harness::load::{Arrivals, Done, Measured, Plan, connections, run};
use omen_perf::harness::wire::{Client, Target};

/// A server that answers every query with nothing, after a while.
#[derive(Default)]
struct Double {
    /// What requests take, in turns.
    service: Vec<Duration>,
    /// It does nothing in this time after the first request: when it begins, and how long it lasts.
    stall: Option<(Duration, Duration)>,
    began: OnceLock<Instant>,
    answered: AtomicU64,
}

impl Double {
    /// Serves until the process ends.
    fn start(self) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let double = Arc::new(self);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let double = double.clone();
                thread::spawn(move || double.serve(stream.unwrap()));
            }
        });
        Target { address, user: "u".into(), password: None, database: "d".into() }
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        stream.set_nodelay(true).ok()?;
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        body(&mut stream, length)?;
        stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").ok()?;
        loop {
            let mut head = [0; 5];
            stream.read_exact(&mut head).ok()?;
            let received = Instant::now();
            body(&mut stream, [head[1], head[2], head[3], head[4]])?;
            let service =
                self.service[self.answered.fetch_add(1, Ordering::Relaxed) as usize % self.service.len()];
            let begins = self.goes_on(received);
            thread::sleep((begins + service).saturating_duration_since(Instant::now()));
            stream.write_all(b"C\0\0\0\x07OK\0Z\0\0\0\x05I").ok()?;
        }
    }

    /// When work on a request that has come now begins.
    fn goes_on(&self, now: Instant) -> Instant {
        let began = *self.began.get_or_init(|| now);
        match self.stall {
            Some((from, length)) if (from..from + length).contains(&(now - began)) => began + from + length,
            _ => now,
        }
    }
}

fn body(stream: &mut TcpStream, length: [u8; 4]) -> Option<()> {
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body).ok()
}

fn load(plan: &Plan, target: &Target) -> Measured {
    let connect = |_| Client::connect(target);
    let request = |client: &mut Client, _: &mut _| client.query("x").map(|_| Done { kind: 0, retries: 0 });
    run(plan, 1, &mut connections(plan, connect).unwrap(), connect, request)
}

fn measure(target: &Target, arrivals: Arrivals, connections: usize, duration: Duration) -> Measured {
    let plan = Plan { arrivals, connections, warm_up: Duration::ZERO, duration, seed: 1 };
    let measured = load(&plan, target);
    assert_eq!((measured.error_count(), measured.abandoned), (0, 0), "{:?}", measured.errors);
    measured
}

/// 90 of 100 requests take 50 ms, 9 take 100 ms, 1 takes 200 ms.
fn service() -> Vec<Duration> {
    let of = |number: u64| {
        if number == 99 {
            200
        } else if number >= 90 {
            100
        } else {
            50
        }
    };
    // 37 and 100 have no common divisor: the slow ones are spread.
    (0..100).map(|number| Duration::from_millis(of(number * 37 % 100))).collect()
}

const RATE: f64 = 200.0;
/// As many as requests that are due during a stall, and more.
const CONNECTIONS: usize = 300;

/// Asserts that what was measured is the percentiles of these latencies within 2 %. The largest is left out: one hiccup of
/// the machine decides it.
fn assert_percentiles(measured: &Measured, mut truth: Vec<Duration>) {
    truth.sort_unstable();
    let times = measured.all();
    assert_eq!(times.len(), truth.len() as u64);
    for quantile in [0.25, 0.5, 0.85, 0.95, 0.98, 0.995] {
        let rank = ((truth.len() as f64 * quantile).ceil() as usize).clamp(1, truth.len()) - 1;
        let (found, expected) =
            (times.value_at_quantile(quantile) as f64 / 1e6, truth[rank].as_secs_f64() * 1e3);
        assert!((found / expected - 1.0).abs() < 0.02, "{quantile}: {found} ms instead of {expected} ms");
    }
}

/// Tests have their turns: each other's threads would be in their latencies.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn percentiles_are_the_true_ones() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let target = Double { service: service(), ..Double::default() }.start();
    let measured = measure(&target, Arrivals::Rate(RATE), CONNECTIONS, Duration::from_secs(3));
    let truth = (0..600).map(|number| service()[number % 100]).collect();
    assert_percentiles(&measured, truth);
    assert_eq!(measured.by_second.len(), 3);
    assert!(measured.by_second.iter().all(|second| second.len() == 200));
}

#[test]
fn a_stall_is_in_the_percentiles_of_an_open_loop() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let stall = Some((Duration::from_secs(1), Duration::from_secs(1)));
    let target = Double { service: service(), stall, ..Double::default() }.start();
    let measured = measure(&target, Arrivals::Rate(RATE), CONNECTIONS, Duration::from_secs(4));
    let truth = (0..800).map(|number| {
        let due = Duration::from_secs_f64(number as f64 / RATE);
        let waits =
            if (1..2).contains(&due.as_secs()) { Duration::from_secs(2) - due } else { Duration::ZERO };
        waits + service()[number % 100]
    });
    assert_percentiles(&measured, truth.collect());
}

/// The same stall: a closed loop asks for nothing meanwhile, so hardly any of its requests has met it.
#[test]
fn a_closed_loop_hides_a_stall() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let start = || {
        let stall = Some((Duration::from_secs(1), Duration::from_secs(1)));
        Double { service: vec![Duration::from_millis(5)], stall, ..Double::default() }.start()
    };
    let p99 =
        |arrivals| measure(&start(), arrivals, 64, Duration::from_secs(4)).all().value_at_quantile(0.99);
    let (open, closed) = (p99(Arrivals::Rate(RATE)), p99(Arrivals::Closed));
    assert!(open > 900_000_000 && closed < 300_000_000, "{open} ns and {closed} ns");
}

/// Requests that a server cannot bear are counted, not forgotten, and do not keep the run for ever.
#[test]
fn too_high_a_rate_is_told() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let target = Double { service: vec![Duration::from_millis(50)], ..Double::default() }.start();
    let plan = Plan {
        arrivals: Arrivals::Rate(400.0),
        connections: 2,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(1),
        seed: 1,
    };
    let measured = load(&plan, &target);
    assert!(measured.abandoned > 200 && measured.made < 150, "{} of {}", measured.abandoned, measured.made);
    assert_eq!(measured.made + measured.abandoned, 400);
    assert!(measured.all().max() > 900_000_000 && measured.in_time < 60);
}

/// A server that breaks connections is connected to again, and what failed is counted.
#[test]
fn broken_connections_are_errors() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 4];
            let _ = stream.read_exact(&mut length);
            let _ = body(&mut stream, length);
            let _ = stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
        }
    });
    let target = Target { address, user: "u".into(), password: None, database: "d".into() };
    let plan = Plan {
        arrivals: Arrivals::Rate(50.0),
        connections: 1,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(500),
        seed: 1,
    };
    let measured = load(&plan, &target);
    assert_eq!((measured.error_count(), measured.in_time), (25, 0), "{:?}", measured.errors);
}
