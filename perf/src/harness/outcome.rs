//! What a run leaves behind, as JSON: every round's histograms, what the servers took, and what it was measured on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::load::{Arrivals, Measured};
use super::machine::Machine;
use super::usage::Usage;
use crate::quantile_us;

/// A run of one workload on one or several servers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The workload's name.
    pub workload: String,
    /// How much it loads.
    pub scale: f64,
    /// When requests were made.
    pub arrivals: Arrivals,
    /// Connections.
    pub connections: usize,
    /// Seconds that requests were made for before they were counted.
    pub warm_up_seconds: f64,
    /// Seconds that they were counted for.
    pub seconds: f64,
    /// The seed.
    pub seed: u64,
    /// What it was measured on.
    pub machine: Machine,
    /// The servers, in the order in which they had their turns.
    pub servers: Vec<ServerOutcome>,
    /// Servers that were asked for but are not there, and why.
    pub missing: BTreeMap<String, String>,
}

/// What was measured of a server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServerOutcome {
    /// Its name in this run.
    pub name: String,
    /// What it says of its version.
    pub version: String,
    /// How it was started; empty if it ran already.
    pub settings: String,
    /// Seconds that loading took.
    pub load_seconds: f64,
    /// One for each turn.
    pub rounds: Vec<Round>,
    /// Why answers or tables were not right; empty if they were.
    pub wrong: Vec<String>,
}

/// One turn of a server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Answers per second in the time.
    pub per_second: f64,
    /// Requests that were made, those of the warm-up and those that failed too.
    pub made: u64,
    /// Latencies of each kind of request that was made.
    pub kinds: BTreeMap<String, Times>,
    /// Of all kinds in each second, in microseconds: median, 99th percentile, largest.
    pub by_second: Vec<[f64; 3]>,
    /// Requests that failed.
    pub errors: BTreeMap<String, u64>,
    /// Requests tried again because they met others.
    pub retries: u64,
    /// Requests that were due but never made.
    pub abandoned: u64,
    /// What the server took, for the warm-up, too; absent if it was not started here.
    pub usage: Option<Usage>,
}

/// Latencies: how often which, in nanoseconds to three digits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Times(pub Vec<(u64, u64)>);

impl Times {
    /// Those of a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Times {
        let counted = histogram.iter_recorded();
        Times(counted.map(|each| (each.value_iterated_to(), each.count_at_value())).collect())
    }

    /// As a histogram.
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = crate::histogram();
        self.0.iter().for_each(|(value, count)| histogram.saturating_record_n(*value, *count));
        histogram
    }
}

/// The percentiles that are shown, and their names.
pub const PERCENTILES: [(f64, &str); 5] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];

impl Round {
    /// A round of these measurements; `kinds` are the workload's.
    pub fn of(measured: &Measured, kinds: &[&str], seconds: f64, usage: Option<Usage>) -> Round {
        let named = kinds.iter().zip(&measured.latencies).filter(|(_, times)| !times.is_empty());
        let second = |times: &Histogram<u64>| [0.5, 0.99, 1.0].map(|quantile| quantile_us(times, quantile));
        Round {
            per_second: measured.in_time as f64 / seconds,
            made: measured.made,
            kinds: named.map(|(kind, times)| ((*kind).to_owned(), Times::of(times))).collect(),
            by_second: measured.by_second.iter().map(second).collect(),
            errors: measured.errors.clone(),
            retries: measured.retries,
            abandoned: measured.abandoned,
            usage,
        }
    }

    /// Latencies of all kinds.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = crate::histogram();
        for times in self.kinds.values() {
            all.add(times.histogram()).expect("they have the same bounds");
        }
        all
    }
}

impl ServerOutcome {
    /// All rounds' latencies together.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = crate::histogram();
        for round in &self.rounds {
            all.add(round.all()).expect("they have the same bounds");
        }
        all
    }
}

impl Outcome {
    /// Reads one from a file.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn read(path: &Path) -> Result<Outcome, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Whether all servers were there, and all that they answered was right.
    pub fn is_right(&self) -> bool {
        let has_erred = |server: &ServerOutcome| server.rounds.iter().any(|round| !round.errors.is_empty());
        self.missing.is_empty()
            && !self.servers.iter().any(|server| has_erred(server) || !server.wrong.is_empty())
    }

    /// A server's part.
    pub fn server(&self, name: &str) -> Option<&ServerOutcome> {
        self.servers.iter().find(|server| server.name == name)
    }
}
