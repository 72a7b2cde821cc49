//! A run: tables are made on each server, then the servers have their turns, round by round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::load::{self, Arrivals, Measured, Plan, Random};
use super::machine::Machine;
use super::outcome::{Outcome, Round, ServerOutcome};
use super::server::{self, Server, Setup};
use super::usage::Usage;
use super::wire::{self, Client};
use super::workload::{self, Session, Workload, rounded};
use crate::rows::mix;

/// What to run.
#[derive(Clone, Debug)]
pub struct Task {
    /// The workload's name.
    pub workload: String,
    /// How much it loads.
    pub scale: f64,
    /// Servers, as [`server::open`] takes them; `NAME=SERVER` names one.
    pub servers: Vec<String>,
    /// How servers are started.
    pub setup: Setup,
    /// When requests are made.
    pub arrivals: Arrivals,
    /// Connections.
    pub connections: usize,
    /// Before requests are counted, in each round.
    pub warm_up: Duration,
    /// While they are counted, in each round.
    pub duration: Duration,
    /// Turns of each server.
    pub rounds: usize,
    /// Decides all that is random.
    pub seed: u64,
}

/// A server in a run.
pub(super) struct Contestant {
    server: Server,
    workload: Box<dyn Workload>,
    pub(super) outcome: ServerOutcome,
}

/// Runs it. `tell` hears what is being done.
///
/// # Errors
/// If there is no such workload, or no server at all. A server that is not there, or fails, is in the outcome.
pub fn run(task: &Task, mut tell: impl FnMut(&str)) -> Result<Outcome, String> {
    let known = || workload::ALL.map(|known| known.name).join(", ");
    if workload::named(&task.workload, task.scale).is_none() {
        return Err(format!("there is no workload {:?}; there are {}", task.workload, known()));
    }
    let (mut contestants, mut missing) = (Vec::new(), BTreeMap::new());
    for what in &task.servers {
        let (name, what) = what.split_once('=').unwrap_or((what, what));
        tell(&format!("{name}: starts and loads"));
        match prepare(task, name, what) {
            Ok(contestant) => contestants.push(contestant),
            Err(why) => drop(missing.insert(name.to_owned(), why)),
        }
    }
    if contestants.is_empty() {
        let reasons: Vec<String> = missing.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        return Err(format!("no server to measure; {}", reasons.join("; ")));
    }
    for round in 0..task.rounds {
        for contestant in &mut contestants {
            tell(&format!("{}: round {} of {}", contestant.outcome.name, round + 1, task.rounds));
            contestant.measure(task, round);
        }
    }
    for contestant in &mut contestants {
        tell(&format!("{}: what its tables hold is checked", contestant.outcome.name));
        contestant.verify();
    }
    if let [first, others @ ..] = contestants.as_mut_slice() {
        let name = &first.outcome.name;
        others.iter_mut().for_each(|other| other.compare(name, first.workload.as_ref()));
    }
    Ok(Outcome {
        workload: task.workload.clone(),
        scale: task.scale,
        arrivals: task.arrivals,
        connections: task.connections,
        warm_up_seconds: task.warm_up.as_secs_f64(),
        seconds: task.duration.as_secs_f64(),
        seed: task.seed,
        machine: Machine::here(&task.setup.folder),
        servers: contestants.into_iter().map(|contestant| contestant.outcome).collect(),
        missing,
    })
}

/// Starts a server, or finds it, and makes the tables.
pub(super) fn prepare(task: &Task, name: &str, what: &str) -> Result<Contestant, String> {
    let server = server::open(what, &task.setup)?;
    if server.rounds && !workload::ALL.iter().any(|known| known.name == task.workload && known.is_analytic) {
        return Err("it is measured on analytic workloads only".to_owned());
    }
    let workload = workload::named(&task.workload, task.scale).ok_or("there is no such workload")?;
    let in_words = |error: wire::Error| error.to_string();
    let mut client = Client::connect(&server.target).map_err(in_words)?;
    let version = client.query("SELECT version()").map_err(in_words)?;
    let version = version.text(0, 0).map_err(in_words)?.unwrap_or_default().to_owned();
    let began = Instant::now();
    workload.load(&mut client).map_err(in_words)?;
    let outcome = ServerOutcome {
        name: name.to_owned(),
        version,
        settings: server.settings.clone(),
        load_seconds: began.elapsed().as_secs_f64(),
        rounds: Vec::new(),
        wrong: Vec::new(),
    };
    Ok(Contestant { server, workload, outcome })
}

impl Contestant {
    /// Its turn of a round.
    pub(super) fn measure(&mut self, task: &Task, round: usize) {
        let plan = Plan {
            arrivals: task.arrivals,
            connections: task.connections,
            warm_up: task.warm_up,
            duration: task.duration,
            seed: mix(task.seed) ^ round as u64,
        };
        let kinds = self.workload.kinds();
        match measure(&plan, self.workload.as_ref(), &self.server) {
            Ok((measured, usage)) => {
                let known = &mut self.outcome.wrong;
                for error in measured.errors.keys().filter(|error| error.starts_with("wrong answer")) {
                    if !known.contains(error) {
                        known.push(error.clone());
                    }
                }
                self.outcome.rounds.push(Round::of(&measured, kinds, task.duration.as_secs_f64(), usage));
            }
            Err(error) => self.outcome.wrong.push(format!("round {}: {error}", round + 1)),
        }
    }

    /// Checks what its tables hold.
    pub(super) fn verify(&mut self) {
        let client = Client::connect(&self.server.target);
        if let Err(error) = client.and_then(|mut client| self.workload.verify(&mut client)) {
            self.outcome.wrong.push(error.to_string());
        }
    }
}

impl Contestant {
    /// Checks that it has answered as another server has.
    fn compare(&mut self, name: &str, other: &dyn Workload) {
        let answers = self.workload.answers();
        let rounds = self.server.rounds;
        let is_other =
            |answer: &str, other: &str| answer != other && !(rounds && rounded(answer) == rounded(other));
        for (kind, expected) in other.answers() {
            if answers.get(kind).is_some_and(|answer| is_other(answer, &expected)) {
                self.outcome.wrong.push(format!("{kind}: another answer than {name}"));
            }
        }
    }
}

/// Makes load of a workload on a server; answers also what the server took for it.
fn measure(plan: &Plan, workload: &dyn Workload, server: &Server) -> wire::Result<(Measured, Option<Usage>)> {
    let connect = |_| {
        let mut client = Client::connect(&server.target)?;
        workload.prepare(&mut client)?;
        Ok(Session { client, target: server.target.clone(), rounds: server.rounds })
    };
    let mut sessions = load::connections(plan, connect)?;
    let before = server.usage();
    let request = |session: &mut Session, random: &mut Random| workload.request(session, random);
    let measured = load::run(plan, workload.kinds().len(), &mut sessions, connect, request);
    // While the sessions are open: with a process that has ended goes what is known of it.
    let usage = server.usage().zip(before).map(|(now, before)| now.since(&before));
    Ok((measured, usage))
}
