//! Cold segments in object storage. This crate belongs to the service world: ordinary blocking or tokio code, `Send`,
//! on threads of its own, never on a core's thread.
//!
//! [`LocalFolder`] keeps objects as files of a local folder: for tests, for a mounted network drive, and as the
//! reference for what the [`ColdStore`] contract means.

mod local;

pub use local::LocalFolder;
pub use omen_core::cold::{ColdError, ColdStore, ObjectEntry, ObjectName};
