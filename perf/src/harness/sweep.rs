//! How a server fares as one thing grows: the rate of requests, up to where it cannot bear it; the number of rows; its cores.

use std::collections::BTreeSet;

use super::chart::{Labels, Series, lines, number};
use super::load::Arrivals;
use super::run::{Contestant, Task, prepare};
use crate::quantile_us;

/// Of the requests that are due at least this share has to be answered in time.
const ANSWERED_LEAST: f64 = 0.95;
/// A sweep over rates ends at a 99th percentile of more, in microseconds: queues only grow then.
const P99_US_MAX: f64 = 500_000.0;
/// Most rates of a sweep.
const RATES_MAX: usize = 40;

/// What grows.
#[derive(Clone, PartialEq, Debug)]
pub enum Over {
    /// Requests per second: from the first, each so many times the one before.
    Rate {
        /// The first rate.
        from: f64,
        /// More than 1.
        factor: f64,
    },
    /// What is loaded, so many times as much as the task says; requests come as the task says.
    Size(Vec<f64>),
    /// Cores, from 1 to so many; requests come as the task says.
    Cores(usize),
}

/// What a server does at one rate, size and number of cores.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Point {
    /// The server.
    pub server: String,
    /// Requests that are due in a second; `None` in a closed loop.
    pub rate: Option<f64>,
    /// How much was loaded.
    pub scale: f64,
    /// Cores that the server was started with.
    pub cores: usize,
    /// Requests that are answered in a second.
    pub answered: f64,
    /// Median, 99th and 99.9th percentile in microseconds.
    pub us: [f64; 3],
    /// Seconds of CPU that the server takes in a second, if it was started here.
    pub cpu: Option<f64>,
    /// Microseconds of CPU that it takes for a request.
    pub cpu_us: Option<f64>,
    /// Its largest resident memory so far in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Requests that were due but never made.
    pub abandoned: u64,
}

impl Point {
    /// In words.
    fn told(&self) -> String {
        let [median, p99, p999] = self.us;
        let cpu = self.cpu.zip(self.cpu_us);
        let cpu = cpu.map_or(String::new(), |(cpus, us)| format!(", {cpus:.2} CPUs, {us:.0} us each"));
        let due = self.rate.map_or(String::new(), |rate| format!("{rate:>9.0}/s due, "));
        format!(
            "  {due}{:>9.0}/s answered, p50 {median:.0} us, p99 {p99:.0}, p99.9 {p999:.0}{cpu}",
            self.answered
        )
    }

    /// Whether it could go on for ever like this.
    fn is_borne(&self) -> bool {
        let is_answered = self.rate.is_none_or(|rate| self.answered >= rate * ANSWERED_LEAST);
        is_answered && self.abandoned == 0 && self.us[1] <= P99_US_MAX
    }
}

/// Measures each server in turn as something grows; `tell` hears each point as a line.
///
/// # Errors
/// If a server is not there, or answers wrongly.
pub fn run(task: &Task, over: &Over, mut tell: impl FnMut(&str)) -> Result<Vec<Point>, String> {
    let steps: Vec<Task> = match over {
        Over::Rate { .. } => vec![task.clone()],
        Over::Size(factors) => {
            factors.iter().map(|factor| Task { scale: task.scale * factor, ..task.clone() }).collect()
        }
        Over::Cores(most) => (1..=*most).map(|cores| with_cores(task, cores)).collect(),
    };
    let mut points = Vec::new();
    for what in &task.servers {
        for step in &steps {
            let (name, what) = what.split_once('=').unwrap_or((what, what));
            let mut contestant = prepare(step, name, what).map_err(|why| format!("{name}: {why}"))?;
            let (scale, cores) = (step.scale, step.setup.cores);
            tell(&format!("{name}, scale {scale}, {cores} cores: {}", contestant.outcome.version));
            let mut tell = |point: &Point| tell(&point.told());
            match over {
                Over::Rate { from, factor } => {
                    points.extend(rates(step, &mut contestant, *from, *factor, &mut tell));
                }
                Over::Size(_) | Over::Cores(_) => {
                    let point = measure(step, &mut contestant, 0);
                    point.iter().for_each(tell);
                    points.extend(point);
                }
            }
            contestant.verify();
            if let [wrong, ..] = contestant.outcome.wrong.as_slice() {
                return Err(format!("{name}: {wrong}"));
            }
        }
    }
    Ok(points)
}

fn with_cores(task: &Task, cores: usize) -> Task {
    let mut task = task.clone();
    task.setup.cores = cores;
    task
}

/// One turn; `None` if it could not be measured, of which the outcome says why.
fn measure(task: &Task, contestant: &mut Contestant, round: usize) -> Option<Point> {
    let turns = contestant.outcome.rounds.len();
    contestant.measure(task, round);
    let last = contestant.outcome.rounds.get(turns)?;
    let times = last.all();
    let seconds = (task.warm_up + task.duration).as_secs_f64();
    let cpu_seconds = last.usage.as_ref().map(|usage| usage.cpu_seconds);
    Some(Point {
        server: contestant.outcome.name.clone(),
        rate: match task.arrivals {
            Arrivals::Rate(rate) => Some(rate),
            Arrivals::Closed => None,
        },
        scale: task.scale,
        cores: task.setup.cores,
        answered: last.per_second,
        us: [0.5, 0.99, 0.999].map(|quantile| quantile_us(&times, quantile)),
        cpu: cpu_seconds.map(|cpu| cpu / seconds),
        cpu_us: cpu_seconds.map(|cpu| cpu * 1e6 / last.made.max(1) as f64),
        memory_peak_bytes: last.usage.as_ref().map(|usage| usage.memory_peak_bytes),
        abandoned: last.abandoned,
    })
}

/// Raises the rate until the server cannot bear it; the last point is the first that it cannot.
fn rates(
    task: &Task,
    contestant: &mut Contestant,
    from: f64,
    factor: f64,
    tell: &mut impl FnMut(&Point),
) -> Vec<Point> {
    let (mut points, mut rate) = (Vec::new(), from);
    while points.len() < RATES_MAX {
        let at_rate = Task { arrivals: Arrivals::Rate(rate), ..task.clone() };
        let Some(point) = measure(&at_rate, contestant, points.len()) else { break };
        tell(&point);
        let is_borne = point.is_borne();
        points.push(point);
        if !is_borne {
            break;
        }
        rate *= factor;
    }
    points
}

/// The points as a chart: latency against the rate that was answered, cost of a request against size, or what is answered
/// against cores.
pub fn chart(title: &str, over: &Over, points: &[Point]) -> String {
    let (x, y) = match over {
        Over::Rate { .. } => ("answers per second", "p99 us"),
        Over::Size(_) => ("rows, times those of scale 1", "us of CPU for a request"),
        Over::Cores(_) => ("cores", "answers per second"),
    };
    let place = |point: &Point| match over {
        Over::Rate { .. } => (point.answered.log10(), point.us[1]),
        Over::Size(_) => (point.scale.log10(), point.cpu_us.unwrap_or(point.us[0])),
        Over::Cores(_) => (point.cores as f64, point.answered),
    };
    let names: BTreeSet<&str> = points.iter().map(|point| point.server.as_str()).collect();
    let series = names.iter().map(|name| {
        let own = points.iter().filter(|point| point.server == *name);
        Series { name, points: own.map(place).collect() }
    });
    let mut ticks: Vec<(f64, String)> = Vec::new();
    for point in points {
        let (at, _) = place(point);
        let is_near = |(tick, _): &(f64, String)| (tick - at).abs() < 0.2;
        let name = if matches!(over, Over::Cores(_)) { at } else { 10f64.powf(at) };
        if !ticks.iter().any(is_near) {
            ticks.push((at, number(name)));
        }
    }
    lines(&Labels { title, x, y, ticks }, &series.collect::<Vec<_>>())
}
