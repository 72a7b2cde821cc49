//! SQL of OmenDB: parse, bind, plan, route and execute with PostgreSQL's meaning.
//!
//! A [`session::Session`] is one client's connection seen from SQL. It routes through
//! [`omen_core::router::Router`] and knows no cores, sockets or files.

pub mod copy;
pub mod error;
pub mod expr;
pub mod parse;
pub mod session;
pub mod settings;
pub mod types;
