//! The load harness on the binary, for a short time: answers and tables are right, and results can be compared and drawn.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use omen_perf::harness::load::Arrivals;
use omen_perf::harness::outcome::Outcome;
use omen_perf::harness::run::{Task, run};
use omen_perf::harness::server::Setup;
use omen_perf::harness::sweep::Over;
use omen_perf::harness::{compare, markdown, page, sweep, workload};

fn task(folder: &Path, workload: &str, arrivals: Arrivals) -> Task {
    Task {
        workload: workload.to_owned(),
        scale: 0.005,
        servers: vec!["omendb".to_owned()],
        setup: Setup {
            folder: folder.to_owned(),
            omendb: env!("CARGO_BIN_EXE_omendb").into(),
            python: "python3".into(),
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
    // On a busy machine a request may take longer than a round.
    assert!(!outcome.servers[0].all().is_empty(), "{}", outcome.workload);
    for round in &outcome.servers[0].rounds {
        let usage = round.usage.unwrap();
        assert!(usage.cpu_seconds > 0.0 && usage.ring_entries > 0, "{}: {usage:?}", outcome.workload);
        assert!(usage.core_messages.is_some(), "{}: {usage:?}", outcome.workload);
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

/// Where the Python packages are that engines without a server need; else those of `python3` are tried.
const PYTHON: &str = "OMENDB_TEST_PYTHON";

#[test]
fn engines_without_a_server_answer_alike() {
    let folder = tempfile::tempdir().unwrap();
    for engine in ["duckdb", "clickhouse"] {
        let mut both = task(folder.path(), "flights", Arrivals::Closed);
        both.servers.push(engine.to_owned());
        both.setup.python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into()).into();
        // Time for all queries.
        both.duration = Duration::from_millis(1_500);
        let outcome = run(&both, |_| {}).unwrap();
        if let Some(why) = outcome.missing.get(engine) {
            assert!(why.contains("is not installed") || why.contains("does not start"), "{engine}: {why}");
            println!("skipped: {engine}: {why}");
            continue;
        }
        assert!(outcome.is_right(), "{}", compare::summary(&outcome));
        let figures = compare::summary(&outcome);
        assert!(figures.contains("worst p50 us") && figures.contains("carriers p50 us"), "{figures}");
        // What it takes part in is limited.
        let refused = run(&Task { workload: "select".to_owned(), ..both }, |_| {}).unwrap();
        assert!(refused.missing[engine].contains("analytic"), "{:?}", refused.missing);
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
    let text = markdown::of(std::slice::from_ref(&outcome), |outcome| format!("{}.svg", outcome.workload));
    assert!(
        text.contains("none is missing") && text.contains("](ycsb-b.svg)") && !text.contains("NaN"),
        "{text}"
    );
    assert!(text.contains("| ycsb-b | 100/s | p50 us | a |") && text.contains("| read |"), "{text}");
    let html = page::of(&[outcome]);
    assert!(html.contains("none is missing") && html.ends_with("</body></html>\n") && !html.contains("NaN"));
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

#[test]
fn a_sweep_raises_the_rate_until_it_is_too_high() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let task = task(folder.path(), "select", Arrivals::Closed);
    let over = Over::Rate { from: 20.0, factor: 16.0 };
    let points = sweep::run(&task, &over, |line| told.push(line.to_owned())).unwrap();
    assert!(!points.is_empty() && told.len() == points.len() + 1, "{told:?}");
    let last = points.last().unwrap();
    assert!(last.answered < last.rate.unwrap() * 0.95 || last.us[1] > 500_000.0, "{told:?}");
    assert!(sweep::chart("select", &over, &points).contains("<polyline"));
}

#[test]
fn a_sweep_has_a_point_for_each_size_and_number_of_cores() {
    let folder = tempfile::tempdir().unwrap();
    let task = task(folder.path(), "select", Arrivals::Rate(50.0));
    for (over, count) in [(Over::Size(vec![1.0, 4.0]), 2), (Over::Cores(2), 2)] {
        let points = sweep::run(&task, &over, |_| {}).unwrap();
        assert_eq!(points.len(), count);
        assert!(points.iter().all(|point| point.answered > 0.0 && point.cpu_us.is_some()), "{points:?}");
        let grown = (points[1].scale / points[0].scale, points[1].cores - points[0].cores);
        assert_eq!(grown, if matches!(over, Over::Size(_)) { (4.0, 0) } else { (1.0, 1) });
        assert!(sweep::chart("select", &over, &points).contains("<polyline"));
    }
}

/// CSS pixels of a laptop's screen.
const LAPTOP: (u32, u32) = (1_366, 900);
/// A screenshot of less has nothing on it.
const PICTURE_BYTES: usize = 20_000;

/// Runs Chromium without a window as large as a laptop's screen; what it prints, or why it does not start.
fn browse(browser: &str, folder: &Path, options: [&str; 2]) -> Result<String, String> {
    let output = Command::new("timeout")
        .args(["60", browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .arg(format!("--window-size={},{}", LAPTOP.0, LAPTOP.1))
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg("--hide-scrollbars")
        .args(options)
        .output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

#[test]
fn the_page_reads_well_on_a_laptop() {
    let folder = tempfile::tempdir().unwrap();
    let fault = |browser| browse(browser, folder.path(), ["--dump-dom", "about:blank"]).err();
    let Some(browser) = ["chromium", "google-chrome"].into_iter().find(|browser| fault(browser).is_none())
    else {
        return println!("skipped: no browser starts: {}", fault("chromium").unwrap_or_default());
    };
    let mut both = task(&folder.path().join("data"), "ycsb-a", Arrivals::Rate(100.0));
    both.servers = vec!["old=omendb".to_owned(), "new=omendb".to_owned()];
    let html = page::of(&[run(&both, |_| {}).unwrap()]);
    // Says what the browser makes of it: nothing is wider than the window, and charts are large enough to be read.
    let script = "<script>const wide = [...document.querySelectorAll('svg')].filter(svg => \
                  svg.getBoundingClientRect().width >= 400).length; document.title = `width \
                  ${document.documentElement.scrollWidth} charts ${wide} of ${document.querySelectorAll('svg').length}`\
                  </script></body>";
    let (page, probe) = (folder.path().join("page.html"), folder.path().join("probe.html"));
    std::fs::write(&page, &html).unwrap();
    std::fs::write(&probe, html.replace("</body>", script)).unwrap();
    let url = |path: &Path| format!("file://{}", path.display());
    let seen = browse(browser, folder.path(), ["--dump-dom", &url(&probe)]).unwrap();
    let title = seen.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
    assert_eq!(title, Some("width 1366 charts 3 of 3"));
    let picture = folder.path().join("page.png");
    let screenshot = format!("--screenshot={}", picture.display());
    browse(browser, folder.path(), [&screenshot, &url(&page)]).unwrap();
    let picture = std::fs::read(picture).unwrap();
    // Width and height are the first fields of a PNG (RFC 2083, chapter 4.1.1).
    let field = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
    assert_eq!((field(16), field(20)), LAPTOP);
    assert!(picture.len() > PICTURE_BYTES, "{} bytes", picture.len());
}
