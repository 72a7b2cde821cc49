//! Scripts of SQL with expected answers, and a router to run them on without an engine.

#[path = "../../../tests/src/asked.rs"]
mod asked;
mod corpus;
mod groups;
mod joins;
mod limits;
pub(crate) mod mem_router;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use omen_core::env::Env;
use omen_core::env::sim::{NodeId, Sim, SimEnv};
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};
use omen_core::router::{CancelFlag, Router};

use crate::session::Session;
use corpus::ScriptOutcome;
use mem_router::MemRouter;

/// Scripts that also run over the wire.
const SCRIPTS: &str = "../tests/slt";
/// Explanations: they tell of the test double's ranges, and run nowhere else.
const PLANS: &str = "tests/plans";

/// The scripts of a folder. `OMENDB_SLT` restricts them to those whose path contains it.
fn scripts(folder: &str) -> Vec<PathBuf> {
    let only = std::env::var("OMENDB_SLT").unwrap_or_default();
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&dir).expect("folder of scripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    paths.retain(|path| path.to_string_lossy().contains(&only));
    paths.sort();
    paths
}

/// How statements run; the answers are the same.
#[derive(Clone, Copy, Default)]
struct Way {
    /// Memory beyond which operators put rows aside, if not `work_mem`.
    spill_bytes: Option<usize>,
    /// Settings that are off.
    off: &'static [&'static str],
}

/// Runs a script.
async fn run<R: Router>(path: &Path, way: Way, router: impl Fn() -> R) -> ScriptOutcome {
    let session = || {
        let mut session = Session::new(router(), "omen", "omen", CancelFlag::default());
        if let Some(bytes) = way.spill_bytes {
            session.spill_beyond(bytes);
        }
        for name in way.off {
            session.set_startup_parameter(name, "off").expect("a setting");
        }
        session
    };
    corpus::run(path, way.spill_bytes.is_some(), session).await
}

/// A simulated node with this many cores, whose ranges split early.
fn start_engine(sim: &Sim, core_count: u16) -> Vec<NodeCore<SimEnv>> {
    let mut config = NodeConfig::new(PathBuf::from("/data"), core_count, 8 << 20);
    config.shard.wal_file_bytes = 1 << 20;
    config.shard.wal_record_bytes_max = 256 << 10;
    config.shard.wal_bytes_max = 4 << 20;
    config.shard.split_rows = 4;
    config.shard.lock_timeout = Duration::from_millis(20);
    let started: Rc<RefCell<Vec<NodeCore<SimEnv>>>> = Rc::default();
    for seat in mesh::connect(core_count, MESH_CAPACITY) {
        let env = sim.core(NodeId(0), seat.core());
        let (config, started) = (config.clone(), started.clone());
        env.clone().spawn(async move {
            let core = NodeCore::start(env, seat, &config).await;
            started.borrow_mut().push(core.expect("an empty node starts"));
        });
    }
    assert!(sim.run_until(|| started.borrow().len() == usize::from(core_count)), "the start hangs");
    let mut cores = started.take();
    cores.sort_by_key(Router::core);
    cores
}

/// Runs a script on a fresh engine; sessions live on core 0 or on the last one.
fn run_on_engine(path: PathBuf, seed: u64) -> ScriptOutcome {
    let sim = Sim::new(seed);
    let cores = start_engine(&sim, 1 + (seed % 3) as u16);
    let core = cores[if seed.is_multiple_of(2) { 0 } else { cores.len() - 1 }].clone();
    let outcome: Rc<RefCell<Option<ScriptOutcome>>> = Rc::default();
    let slot = outcome.clone();
    core.env().clone().spawn(async move {
        let way = match seed {
            1 => Way { off: &["enable_direct"], ..Way::default() },
            2 => Way { off: &["enable_direct", "enable_scatter"], ..Way::default() },
            // Puts aside all that can be.
            3 => Way { spill_bytes: Some(1), ..Way::default() },
            _ => Way::default(),
        };
        let outcome = run(&path, way, || core.clone()).await;
        *slot.borrow_mut() = Some(outcome);
    });
    assert!(sim.run_until(|| outcome.borrow().is_some()), "seed {seed}: the script hangs");
    outcome.take().expect("set before run_until ends")
}

#[test]
fn scripts_on_the_engine() {
    let mut failures = Vec::new();
    for path in scripts(SCRIPTS) {
        for seed in 0..4 {
            let outcome = run_on_engine(path.clone(), seed);
            failures.extend(outcome.failures.into_iter().map(|failure| format!("seed {seed}: {failure}")));
        }
    }
    assert!(failures.is_empty(), "{} records failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn scripts_on_the_test_double() {
    on_the_test_double(None);
}

#[test]
fn scripts_without_memory() {
    on_the_test_double(Some(500));
}

fn on_the_test_double(spill_bytes: Option<usize>) {
    let mut failures = Vec::new();
    let mut records = 0;
    for path in scripts(SCRIPTS).into_iter().chain(scripts(PLANS)) {
        let router = MemRouter::new();
        let outcome =
            futures_lite::future::block_on(run(&path, Way { spill_bytes, ..Way::default() }, || {
                router.clone()
            }));
        records += outcome.records;
        failures.extend(outcome.failures);
    }
    assert!(failures.is_empty(), "{} of {records} records failed\n{}", failures.len(), failures.join("\n"));
    println!("{records} records");
}

#[test]
fn sessions_are_independent_of_streams() {
    use crate::session::{Outcome, Scope};
    let router = MemRouter::new();
    futures_lite::future::block_on(async {
        let mut session = Session::new(router, "omen", "omen", CancelFlag::default());
        for sql in ["create table t (id int primary key)", "insert into t values (1), (2), (300)"] {
            let statements = session.split(sql).await.expect("valid");
            let prepared = session.prepare(&statements[0], &[]).await.expect("valid");
            session.execute(&prepared, &[], Scope::Alone).await.expect("works");
        }
        let select = session.parse("select id from t", &[]).await.expect("valid");
        let Outcome::Rows(mut first) = session.execute(&select, &[], Scope::Alone).await.expect("works")
        else {
            panic!("rows");
        };
        let Outcome::Rows(mut second) = session.execute(&select, &[], Scope::Alone).await.expect("works")
        else {
            panic!("rows");
        };
        while first.next().await.expect("works").is_some() {}
        while second.next().await.expect("works").is_some() {}
        assert_eq!(first.tag().to_string(), "SELECT 3");
        assert_eq!(second.tag().to_string(), "SELECT 3");
        assert!(Rc::strong_count(&select) == 1, "streams hold no plan");
    });
}
