//! Storage engine, shard runtime, transactions and the `Env` seam of OmenDB.
//!
//! Everything below `shard` belongs to one core: it is `!Send` and reaches the world only through
//! [`env::Env`]. Cores exchange owned messages through `mesh`. `docs/architecture.md` has the map.

pub mod catalog;
pub mod clock;
pub mod cold;
pub mod env;
pub mod error;
pub mod fragment;
pub mod id;
pub mod key;
pub mod mesh;
pub mod manifest;
pub mod memtable;
pub mod router;
pub mod row;
pub mod segment;
pub mod stamp;
pub mod types;
pub mod wal;
pub mod write_batch;

pub use error::{Error, Result, SqlState};
