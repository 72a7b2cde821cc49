//! How latency grows with the rate, up to where a server cannot bear it.

use super::load::Arrivals;
use super::run::{Task, prepare};
use crate::quantile_us;

/// Of the requests that are due at least this share has to be answered in time.
const ANSWERED_LEAST: f64 = 0.95;
/// A sweep ends at a 99th percentile of more, in microseconds: queues only grow then.
const P99_US_MAX: f64 = 500_000.0;
/// Most rates of a sweep.
const RATES_MAX: usize = 40;

/// What a server does at one rate.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Point {
    /// The server.
    pub server: String,
    /// Requests that are due in a second.
    pub rate: f64,
    /// Requests that are answered in a second.
    pub answered: f64,
    /// Median, 99th and 99.9th percentile in microseconds.
    pub us: [f64; 3],
    /// Seconds of CPU that the server takes in a second, if it was started here.
    pub cpu: Option<f64>,
}

/// Raises the rate for each server in turn; `tell` hears each point as a line.
///
/// # Errors
/// If a server is not there, or answers wrongly.
pub fn run(task: &Task, from: f64, factor: f64, mut tell: impl FnMut(&str)) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    for what in &task.servers {
        let (name, what) = what.split_once('=').unwrap_or((what, what));
        let mut contestant = prepare(task, name, what).map_err(|why| format!("{name}: {why}"))?;
        tell(&format!("{name}: {}", contestant.outcome.version));
        let mut rate = from;
        for round in 0..RATES_MAX {
            let at_rate = Task { arrivals: Arrivals::Rate(rate), ..task.clone() };
            contestant.measure(&at_rate, round);
            let Some(last) = contestant.outcome.rounds.last() else { break };
            let times = last.all();
            let seconds = (task.warm_up + task.duration).as_secs_f64();
            let point = Point {
                server: name.to_owned(),
                rate,
                answered: last.per_second,
                us: [0.5, 0.99, 0.999].map(|quantile| quantile_us(&times, quantile)),
                cpu: last.usage.as_ref().map(|usage| usage.cpu_seconds / seconds),
            };
            let [median, p99, p999] = point.us;
            let cpu = point.cpu.map_or(String::new(), |cpu| format!(", {cpu:.2} CPUs"));
            tell(&format!(
                "  {rate:>9.0}/s due, {:>9.0}/s answered, p50 {median:.0} us, p99 {p99:.0}, p99.9 {p999:.0}{cpu}",
                point.answered
            ));
            let is_borne =
                point.answered >= rate * ANSWERED_LEAST && p99 <= P99_US_MAX && last.abandoned == 0;
            points.push(point);
            if !is_borne {
                break;
            }
            rate *= factor;
        }
        contestant.verify();
        if let [wrong, ..] = contestant.outcome.wrong.as_slice() {
            return Err(format!("{name}: {wrong}"));
        }
    }
    Ok(points)
}
