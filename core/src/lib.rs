//! Storage engine, shard runtime, transactions and the `Env` seam of OmenDB.
//!
//! Everything below `shard` belongs to one core: it is `!Send` and reaches the world only through
//! [`env::Env`]. Cores exchange owned messages through `mesh`. `docs/architecture.md` has the map.

pub mod catalog;
pub mod clock;
pub mod cold;
mod column;
pub mod env;
pub mod error;
pub mod filter;
pub mod fragment;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod id;
pub mod key;
pub mod learned;
pub mod manifest;
pub mod memtable;
pub mod mesh;
pub mod node;
mod pace;
pub mod readable;
pub mod router;
pub mod row;
pub mod segment;
pub mod shard;
mod sketch;
pub mod stamp;
pub mod statistics;
pub mod sync;
pub mod temporary;
#[cfg(test)]
mod test_rows;
pub mod types;
pub mod wal;
pub mod write_batch;

/// Fails to compile if the type is `Send`: what belongs to one core must not leave it.
#[macro_export]
macro_rules! assert_not_send {
    ($type:ty) => {
        const _: fn() = || {
            trait Ambiguous<A> {
                fn check() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct IsSend;
            impl<T: ?Sized + Send> Ambiguous<IsSend> for T {}
            let _ = <$type as Ambiguous<_>>::check;
        };
    };
}

pub use error::{Error, Result, SqlState};
