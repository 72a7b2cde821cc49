//! A thread that notices cores that are stuck: awake, but without a turn of their loop for too long.
//!
//! Time is counted in checks that the watchdog itself made, so a machine that was suspended is not taken for stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::core::Alarm;
use crate::id::CoreId;

/// What a watchdog looks at.
pub trait Pulse: Send + Sync {
    /// The core.
    fn core(&self) -> CoreId;
    /// Turns of its loop so far; none while it sleeps or after it has ended.
    fn beat(&self) -> Option<u64>;
}

/// How long a core may go without a turn.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Time between checks.
    pub interval: Duration,
    /// Checks without a turn after which a line is printed.
    pub warn_checks: u32,
    /// Checks without a turn after which the alarm is called.
    pub alarm_checks: u32,
}

impl Default for Patience {
    /// A line after 5 s, the alarm after 30 s.
    fn default() -> Patience {
        Patience { interval: Duration::from_secs(1), warn_checks: 5, alarm_checks: 30 }
    }
}

/// A running watchdog; dropping it ends it.
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Watches these cores. `alarm` is called once per core that is stuck.
pub fn watch(pulses: Vec<Arc<dyn Pulse>>, patience: Patience, alarm: Alarm) -> std::io::Result<Watchdog> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        let mut seen: Vec<(Option<u64>, u32)> = vec![(None, 0); pulses.len()];
        while !stopped.load(Ordering::Relaxed) {
            thread::park_timeout(patience.interval);
            for (pulse, seen) in pulses.iter().zip(&mut seen) {
                check(pulse.as_ref(), seen, patience, &alarm);
            }
        }
    })?;
    Ok(Watchdog { stop, thread: Some(thread) })
}

fn check(pulse: &dyn Pulse, (last, checks): &mut (Option<u64>, u32), patience: Patience, alarm: &Alarm) {
    let beat = pulse.beat();
    if beat.is_none() || beat != *last {
        (*last, *checks) = (beat, 0);
        return;
    }
    *checks = checks.saturating_add(1);
    let stuck = patience.interval * *checks;
    if *checks == patience.alarm_checks {
        alarm(pulse.core(), &format!("no turn of its loop for {stuck:?}"));
    } else if *checks == patience.warn_checks {
        eprintln!("omendb: core {}: no turn of its loop for {stuck:?}", pulse.core());
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends by itself; its alarm may be what drops us, so we do not wait for our own thread.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
