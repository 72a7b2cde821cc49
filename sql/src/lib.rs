//! SQL of OmenDB: parse, bind, plan, route and execute with PostgreSQL's meaning.
//!
//! A [`session::Session`] is one client's connection seen from SQL. It routes through
//! [`omen_core::router::Router`] and knows no cores, sockets or files.

mod bind;
pub mod copy;
pub mod error;
mod execute;
mod explain;
pub mod expr;
mod files;
mod fragment;
mod logical;
pub mod parse;
mod physical;
mod plan;
mod pushdown;
mod route;
mod rules;
pub mod session;
pub mod settings;
pub mod types;

#[cfg(test)]
mod tests;
