//! The PostgreSQL wire protocol, version 3.0.
//!
//! ```text
//! server      accepts, counts, drains          one per core
//!   handshake   packets, rules, SCRAM          state machine
//!   connection  messages of a session          one task per client
//!     input       bytes -> messages            state machine
//!     extended    statements, portals, skips   state machine
//!     rows        results -> DataRow
//! frontend, startup: decoding; backend: encoding
//! ```

pub mod backend;
pub mod config;
mod connection;
pub mod extended;
pub mod frontend;
pub mod handshake;
pub mod hba;
pub mod input;
pub mod rows;
pub mod scram;
mod server;
mod shutdown;
pub mod startup;
#[cfg(test)]
mod tests;

pub use config::ServerConfig;
pub use server::serve;
pub use shutdown::Shutdown;
