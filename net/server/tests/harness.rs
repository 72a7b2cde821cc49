//! The load harness on the binary, for a short time: answers and tables are right, and results can be compared and drawn.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::time::Duration;

use omen_perf::harness::load::Arrivals;
use omen_perf::harness::outcome::Outcome;
use omen_perf::harness::run::{Task, run};
use omen_perf::harness::server::Setup;
use omen_perf::harness::{compare, page, sweep, workload};

fn task(folder: &Path, workload: &str, arrivals: Arrivals) -> Task {
    Task {
        workload: workload.to_owned(),
        scale: 0.005,
        servers: vec!["omendb".to_owned()],
        setup: Setup {
            folder: folder.to_owned(),
            omendb: env!("CARGO_BIN_EXE_omendb").into(),
            cores: 2,
            memory_mib: 256,
            connections: 4,
        },
        arrivals,
        connections: 4,
        warm_up: Duration::from_millis(100),
        duration: Duration::from_millis(400),
        rounds: 2,
        seed: 1,
    }
}

fn measure(task: &Task) -> Outcome {
    let outcome = run(task, |_| {}).unwrap();
    assert!(outcome.is_right(), "{}", compare::summary(&outcome));
    assert_eq!(outcome.servers[0].rounds.len(), 2);
    for round in &outcome.servers[0].rounds {
        assert!(!round.all().is_empty() && round.usage.is_some(), "{}", outcome.workload);
    }
    outcome
}

#[test]
fn all_workloads_get_right_answers() {
    let folder = tempfile::tempdir().unwrap();
    for workload::Known { name, .. } in workload::ALL {
        let mut task = task(folder.path(), name, Arrivals::Closed);
        if name == "tpch" {
            // The scale whose answers are known, and time for all queries.
            (task.scale, task.duration) = (0.01, Duration::from_millis(1_500));
        }
        measure(&task);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "servers have removed their data");
}

#[test]
fn results_are_kept_compared_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut both = task(&data, "ycsb-b", Arrivals::Rate(100.0));
    both.servers = vec!["a=omendb".to_owned(), "none=postgres://omen@127.0.0.1:1/omen".to_owned()];
    let outcome = run(&both, |_| {}).unwrap();
    assert!(!outcome.is_right() && outcome.missing.contains_key("none"), "{:?}", outcome.missing);
    let made: u64 = outcome.servers[0].rounds.iter().map(|round| round.all().len()).sum();
    assert_eq!(made, 80, "two rounds of 0.4 s at 100 requests per second");
    let path = folder.path().join("result.json");
    outcome.write(&path).unwrap();
    let read = Outcome::read(&path).unwrap();
    assert_eq!(read, outcome);
    let told = compare::between(&read, &outcome).unwrap();
    assert!(told.contains("too few rounds") && !told.contains("machines"), "{told}");
    let other = Outcome { scale: 2.0, ..outcome.clone() };
    assert!(compare::between(&other, &outcome).is_err());
    let html = page::of(&[outcome]);
    assert!(html.contains("none is missing") && html.ends_with("</body></html>\n") && !html.contains("NaN"));
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

#[test]
fn a_sweep_raises_the_rate_until_it_is_too_high() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let task = task(folder.path(), "select", Arrivals::Closed);
    let points = sweep::run(&task, 20.0, 16.0, |line| told.push(line.to_owned())).unwrap();
    assert!(!points.is_empty() && told.len() == points.len() + 1, "{told:?}");
    let last = points.last().unwrap();
    assert!(last.answered < last.rate * 0.95 || last.us[1] > 500_000.0, "{told:?}");
}
