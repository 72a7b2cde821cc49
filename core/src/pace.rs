//! The pace of background work on a core: it gives way after every step, until others are quiet or have had as long as
//! the step took, and rests after every slice when other work of the core waits, so that it takes no more than its share.
//!
//! Whether other work waits is told by the clock: giving way takes long when others run meanwhile. In the simulator,
//! where work takes no time, background work never rests.

use std::cell::Cell;
use std::time::Duration;

use crate::env::Env;

/// Background work rests at most this often, in nanoseconds of work.
pub(crate) const SLICE_NS: u64 = 250_000;
/// Others are at work when they take more than one part in this many of the time.
const BUSY_PART: u64 = 20;
/// Weight of the past in the average of what others take: of eight slices.
const PAST_WEIGHT: u64 = 8;
/// Turns that it gives to others after a step, at most: what one task does may wake another.
const TURNS_MAX: u32 = 8;
/// The first turn may have come before what a timer or the disk woke meanwhile.
const TURNS_MIN: u32 = 2;
/// Work that can be cut anywhere gives way after a step of this many nanoseconds.
const STEP_NS: u64 = 100_000;
/// Others were quiet when they took less of a turn, in nanoseconds.
const QUIET_NS: u64 = 3_000;
/// Longest rest, in nanoseconds: a step that took long by accident shall not stop the work.
const PAUSE_NS_MAX: u64 = 20_000_000;

/// A segment that is written may take one part in this many of a shard's memory for maps between columns.
const MAPS_PART: usize = 16;

/// The pace of one task.
#[derive(Debug)]
pub(crate) struct Pace<E: Env> {
    env: E,
    share_percent: Cell<u64>,
    /// When the step began.
    step_from: Cell<u64>,
    /// Worked since the last rest.
    worked_ns: Cell<u64>,
    /// What others took of the time, in parts of a million, averaged.
    others_ppm: Cell<u64>,
    /// Memory that the task holds now, as far as it has told.
    held_bytes: Cell<usize>,
    maps_bytes_max: usize,
}

impl<E: Env> Pace<E> {
    /// At full speed. Of the memory of the shard, in bytes, a task may take a part for maps between columns.
    pub fn new(env: E, memory_bytes: usize) -> Pace<E> {
        let now = env.monotonic_ns();
        Pace {
            env,
            share_percent: Cell::new(100),
            step_from: Cell::new(now),
            worked_ns: Cell::new(0),
            others_ppm: Cell::new(0),
            held_bytes: Cell::new(0),
            maps_bytes_max: memory_bytes / MAPS_PART,
        }
    }

    /// Memory that a segment's maps from one column to another may take while it is written.
    pub fn maps_bytes_max(&self) -> usize {
        self.maps_bytes_max
    }

    /// The share of the core that it takes when others wait, in percent.
    pub fn set_share(&self, percent: u64) {
        self.share_percent.set(percent);
    }

    /// The task tells how much memory it holds.
    pub fn hold(&self, bytes: usize) {
        self.held_bytes.set(bytes);
    }

    /// See [`Pace::hold`].
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.get()
    }

    /// The work begins, or goes on after it waited for something.
    pub fn start(&self) {
        self.step_from.set(self.env.monotonic_ns());
    }

    /// The work waits for something.
    pub fn stop(&self) {
        let now = self.env.monotonic_ns();
        self.worked_ns.set(self.worked_ns.get() + now.saturating_sub(self.step_from.get()));
        self.step_from.set(now);
    }

    /// Where the work can be cut: gives way if the step has lasted for a while.
    pub async fn breathe_if_due(&self) {
        if self.env.monotonic_ns().saturating_sub(self.step_from.get()) >= STEP_NS {
            self.breathe().await;
        }
    }

    /// Between two steps: gives way.
    pub async fn breathe(&self) {
        let stopped = self.env.monotonic_ns();
        let step = stopped.saturating_sub(self.step_from.get());
        let others = self.give_way(step).await;
        let ppm = others * 1_000_000 / (step + others).max(1);
        self.others_ppm.set((self.others_ppm.get() * (PAST_WEIGHT - 1) + ppm) / PAST_WEIGHT);
        let worked = self.worked_ns.get() + step;
        self.worked_ns.set(worked);
        if worked >= SLICE_NS {
            self.worked_ns.set(0);
            let pause = pause_ns(worked, self.share_percent.get());
            if pause > 0 && self.others_ppm.get() > 1_000_000 / BUSY_PART {
                self.env.sleep(Duration::from_nanos(pause)).await;
            }
        }
        self.start();
    }

    /// Lets others go first; answers how long they took.
    async fn give_way(&self, step: u64) -> u64 {
        let (mut others, mut turns) = (0, 0);
        loop {
            let from = self.env.monotonic_ns();
            self.env.yield_now().await;
            let took = self.env.monotonic_ns().saturating_sub(from);
            turns += 1;
            let quiet = took < QUIET_NS;
            others += if quiet { 0 } else { took };
            if (quiet && turns >= TURNS_MIN) || turns >= TURNS_MAX || others > step {
                return others;
            }
        }
    }
}

/// How long to rest after so much work to take no more than this share.
fn pause_ns(worked_ns: u64, share_percent: u64) -> u64 {
    let share = share_percent.clamp(1, 100);
    (worked_ns.saturating_mul(100 - share) / share).min(PAUSE_NS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_make_up_for_work() {
        assert_eq!((pause_ns(250_000, 25), pause_ns(250_000, 100), pause_ns(100, 50)), (750_000, 0, 100));
        assert_eq!(pause_ns(u64::MAX, 0), PAUSE_NS_MAX);
    }
}
