//! Protocols of OmenDB: the PostgreSQL wire protocol.

pub mod pg;
