//! What the tests of the running binary share: starting and killing nodes, the flights as plain Rust values, random
//! choices from a seed, SQL scripts over the wire. The tests themselves are in `net/server/tests`, because Cargo tells only the package of a
//! binary where it was built; tests that need no binary are in `tests/tests`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

pub mod asked;
pub mod flights;
pub mod postgres;
pub mod queries;
pub mod rng;
pub mod server;
pub mod slt;
pub mod tpch;
pub mod wire;

/// Runs a test's future on a runtime of its own, with a limit so that a hang is a failure.
///
/// # Panics
/// If it takes longer.
pub fn block_on<T>(limit: std::time::Duration, test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(limit, test).await.expect("the test took too long") })
}
