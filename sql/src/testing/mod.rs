//! Scripts of SQL with expected answers, and a router to run them on without an engine.

mod mem_router;
mod script;

use std::path::PathBuf;
use std::rc::Rc;

use mem_router::MemRouter;

fn scripts() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let entries = std::fs::read_dir(&dir).expect("folder of scripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    paths.sort();
    paths
}

#[test]
fn scripts_on_the_test_double() {
    let only = std::env::var("SLT").unwrap_or_default();
    let mut failures = Vec::new();
    let mut records = 0;
    for path in scripts().into_iter().filter(|path| path.to_string_lossy().contains(&only)) {
        let router = MemRouter::new();
        let outcome = futures_lite::future::block_on(script::run(&path, || router.clone()));
        records += outcome.records;
        failures.extend(outcome.failures);
    }
    assert!(failures.is_empty(), "{} of {records} records failed\n{}", failures.len(), failures.join("\n"));
    println!("{records} records");
}

#[test]
fn sessions_are_independent_of_streams() {
    use crate::session::{Outcome, Scope, Session};
    use omen_core::router::CancelFlag;
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
