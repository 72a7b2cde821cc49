//! What differs: servers of one run, round against round, or a server in two runs.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::bootstrap::{Ratio, paired, unpaired};
use super::load::Arrivals;
use super::outcome::{Outcome, PERCENTILES, Round, ServerOutcome};
use super::usage::Usage;
use crate::quantile_us;

/// One figure of two servers or runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// `p99 us` or `answers/s`.
    pub what: String,
    /// The median of the rounds of the first.
    pub a: f64,
    /// That of the second.
    pub b: f64,
    /// How many times as much the first has; `None` if that cannot be said.
    pub ratio: Option<Ratio>,
}

impl Difference {
    /// In words: `1.52x (1.44 to 1.61)`, or that none is to be seen.
    pub fn told(&self) -> String {
        match self.ratio {
            None => "not to compare".to_owned(),
            Some(ratio) if ratio.high.is_infinite() => {
                format!("{:.2}x, too few rounds to say how sure", ratio.ratio)
            }
            Some(ratio) if !ratio.differs() => {
                format!("no difference: {:.2}x ({:.2} to {:.2})", ratio.ratio, ratio.low, ratio.high)
            }
            Some(ratio) => format!("{:.2}x ({:.2} to {:.2})", ratio.ratio, ratio.low, ratio.high),
        }
    }
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let count = values.len();
    match count {
        0 => f64::NAN,
        _ => (values[(count - 1) / 2] + values[count / 2]) / 2.0,
    }
}

/// One figure of a server, round by round.
pub struct Figure {
    /// `p99 us` or `answers/s`.
    pub what: String,
    /// That of each round.
    pub rounds: Vec<f64>,
}

/// What is said of a server; figures that are not known are left out.
pub fn figures(server: &ServerOutcome) -> Vec<Figure> {
    let figure = |what: &str, rounds| Figure { what: what.to_owned(), rounds };
    let mut all = vec![figure("answers/s", server.rounds.iter().map(|round| round.per_second).collect())];
    let latencies: Vec<_> = server.rounds.iter().map(Round::all).collect();
    for (quantile, name) in PERCENTILES {
        let times = latencies.iter().map(|times| quantile_us(times, quantile)).collect();
        all.push(figure(&format!("{name} us"), times));
    }
    let kinds: BTreeSet<&String> = server.rounds.iter().flat_map(|round| round.kinds.keys()).collect();
    for kind in kinds.iter().filter(|_| kinds.len() > 1) {
        let of_kind = server.rounds.iter().filter_map(|round| round.kinds.get(*kind));
        let times = of_kind.map(|times| quantile_us(&times.histogram(), 0.5)).collect();
        all.push(figure(&format!("{kind} p50 us"), times));
    }
    let mut used = |what: &str, of: &dyn Fn(&Usage) -> Option<f64>| {
        all.push(figure(what, server.per_request(of)));
    };
    used("CPU us/request", &|usage| Some(usage.cpu_seconds * 1e6));
    used("read bytes/request", &|usage| Some(usage.read_bytes as f64));
    used("written bytes/request", &|usage| Some(usage.written_bytes as f64));
    used("read and write calls/request", &|usage| Some(usage.syscalls as f64));
    used("ring entries/request", &|usage| Some(usage.ring_entries as f64));
    used("core messages/request", &|usage| usage.core_messages.map(|count| count as f64));
    // Of one process: what a round has are those before it, too.
    let peak = server.rounds.iter().filter_map(|round| Some(round.usage.as_ref()?.memory_peak_bytes)).max();
    all.push(figure("memory peak MiB", peak.iter().map(|bytes| *bytes as f64 / 1_048_576.0).collect()));
    all.retain(|figure| !figure.rounds.is_empty());
    all
}

/// Differences of two servers in the figures that both have. `same_rounds`: they had their turns in the same rounds.
pub fn differences(a: &ServerOutcome, b: &ServerOutcome, same_rounds: bool) -> Vec<Difference> {
    let others = figures(b);
    let difference = |a: Figure| {
        let b = others.iter().find(|b| b.what == a.what)?;
        let ratio = if same_rounds { paired(&a.rounds, &b.rounds) } else { unpaired(&a.rounds, &b.rounds) };
        Some(Difference { what: a.what, a: median(&a.rounds), b: median(&b.rounds), ratio })
    };
    figures(a).into_iter().filter_map(difference).collect()
}

impl ServerOutcome {
    /// What each round took for a request; empty if that is not known.
    fn per_request(&self, of: &dyn Fn(&Usage) -> Option<f64>) -> Vec<f64> {
        let rounds = self.rounds.iter().filter(|round| round.made > 0);
        rounds.filter_map(|round| Some(of(round.usage.as_ref()?)? / round.made as f64)).collect()
    }
}

/// A run's figures as text: each server, and how the others compare with the first.
pub fn summary(outcome: &Outcome) -> String {
    let mut text = String::new();
    let rate = match outcome.arrivals {
        Arrivals::Rate(rate) => format!("{rate} requests/s, counted from when they were due"),
        Arrivals::Closed => "each connection sends when it is answered".to_owned(),
    };
    let rounds = outcome.servers.iter().map(|server| server.rounds.len()).max().unwrap_or_default();
    let _ = writeln!(
        text,
        "{}, scale {}: {rate}; {} connections, {rounds} rounds of {} s",
        outcome.workload, outcome.scale, outcome.connections, outcome.seconds
    );
    for server in &outcome.servers {
        let _ = writeln!(text, "\n{}: {}", server.name, server.version);
        for (index, wrong) in server.wrong.iter().enumerate() {
            let _ = writeln!(text, "  WRONG {}: {wrong}", index + 1);
        }
        let count = |of: fn(&Round) -> u64| server.rounds.iter().map(of).sum::<u64>();
        let errors = count(|round| round.errors.values().sum());
        let (retries, abandoned) = (count(|round| round.retries), count(|round| round.abandoned));
        let _ = writeln!(text, "  errors {errors}, tried again {retries}, never made {abandoned}");
        if abandoned > 0 {
            let _ = writeln!(text, "  It cannot bear this rate: true percentiles are worse than these.");
        }
        for figure in figures(server) {
            let _ = writeln!(text, "  {:<24} {:>14.1}", figure.what, median(&figure.rounds));
        }
    }
    if let [first, others @ ..] = outcome.servers.as_slice() {
        for other in others {
            let _ = writeln!(text, "\n{} against {}:", first.name, other.name);
            tell(&mut text, &differences(first, other, true));
        }
    }
    for (name, why) in &outcome.missing {
        let _ = writeln!(text, "\n{name}: missing: {why}");
    }
    text
}

/// What differs between two runs, server by server.
///
/// # Errors
/// If they are not runs of the same load, or have no server in common.
pub fn between(a: &Outcome, b: &Outcome) -> Result<String, String> {
    let load = |outcome: &Outcome| (outcome.workload.clone(), outcome.scale, outcome.connections);
    if load(a) != load(b) || a.arrivals != b.arrivals {
        return Err(
            "they are runs of different loads: workload, scale, connections or rate differ".to_owned()
        );
    }
    let both: Vec<_> =
        a.servers.iter().filter_map(|server| Some((server, b.server(&server.name)?))).collect();
    if both.is_empty() {
        return Err("they have no server in common".to_owned());
    }
    let mut text = String::new();
    for (server, other) in both {
        let _ = writeln!(text, "{}: {} against {}", server.name, server.version, other.version);
        tell(&mut text, &differences(server, other, false));
    }
    if a.machine != b.machine {
        let _ = writeln!(text, "The machines or the sources differ: {:?} and {:?}", a.machine, b.machine);
    }
    Ok(text)
}

fn tell(text: &mut String, differences: &[Difference]) {
    for line in differences {
        let _ = writeln!(text, "  {:<24} {:>14.1} {:>14.1}   {}", line.what, line.a, line.b, line.told());
    }
}
