//! What differs: servers of one run, round against round, or a server in two runs.

use std::fmt::Write;

use super::bootstrap::{Ratio, paired, unpaired};
use super::load::Arrivals;
use super::outcome::{Outcome, PERCENTILES, ServerOutcome};

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

/// Differences of two servers. `same_rounds`: they had their turns in the same rounds.
pub fn differences(a: &ServerOutcome, b: &ServerOutcome, same_rounds: bool) -> Vec<Difference> {
    let difference = |what: String, a: Vec<f64>, b: Vec<f64>| {
        let ratio = if same_rounds { paired(&a, &b) } else { unpaired(&a, &b) };
        Difference { what, a: median(&a), b: median(&b), ratio }
    };
    let rates = |server: &ServerOutcome| server.rounds.iter().map(|round| round.per_second).collect();
    let mut all = vec![difference("answers/s".to_owned(), rates(a), rates(b))];
    for (quantile, name) in PERCENTILES {
        let times = |server: &ServerOutcome| server.percentile(None, quantile);
        all.push(difference(format!("{name} us"), times(a), times(b)));
    }
    let cpu = |server: &ServerOutcome| server.per_request(|usage| usage.cpu_seconds * 1e6);
    let written = |server: &ServerOutcome| server.per_request(|usage| usage.written_bytes as f64);
    for (what, a, b) in
        [("CPU us/request", cpu(a), cpu(b)), ("written bytes/request", written(a), written(b))]
    {
        if !a.is_empty() && !b.is_empty() {
            all.push(difference(what.to_owned(), a, b));
        }
    }
    all
}

impl ServerOutcome {
    /// What each round took for a request; empty if that is not known.
    fn per_request(&self, of: impl Fn(&super::usage::Usage) -> f64) -> Vec<f64> {
        let rounds = self.rounds.iter().filter(|round| round.made > 0);
        rounds.filter_map(|round| Some(of(round.usage.as_ref()?) / round.made as f64)).collect()
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
        let count = |of: fn(&super::outcome::Round) -> u64| server.rounds.iter().map(of).sum::<u64>();
        let errors = count(|round| round.errors.values().sum());
        let (retries, abandoned) = (count(|round| round.retries), count(|round| round.abandoned));
        let _ = writeln!(text, "  errors {errors}, tried again {retries}, never made {abandoned}");
        if abandoned > 0 {
            let _ = writeln!(text, "  It cannot bear this rate: true percentiles are worse than these.");
        }
        for line in differences(server, server, true) {
            let _ = writeln!(text, "  {:<22} {:>14.1}", line.what, line.a);
        }
    }
    if let [first, others @ ..] = outcome.servers.as_slice() {
        for other in others {
            let _ = writeln!(text, "\n{} against {}:", first.name, other.name);
            for line in differences(first, other, true) {
                let _ =
                    writeln!(text, "  {:<22} {:>14.1} {:>14.1}   {}", line.what, line.a, line.b, line.told());
            }
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
    let mut text = String::new();
    for server in &a.servers {
        let Some(other) = b.server(&server.name) else { continue };
        let _ = writeln!(text, "{}: {} against {}", server.name, server.version, other.version);
        for line in differences(server, other, false) {
            let _ = writeln!(text, "  {:<22} {:>14.1} {:>14.1}   {}", line.what, line.a, line.b, line.told());
        }
    }
    if a.machine != b.machine {
        let _ = writeln!(text, "The machines or the sources differ: {:?} and {:?}", a.machine, b.machine);
    }
    match text.contains(" against ") {
        true => Ok(text),
        false => Err("they have no server in common".to_owned()),
    }
}
