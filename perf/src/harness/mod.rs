//! `omendb-perf`: load over the Postgres wire, on any server that speaks it, and what comes of it.
//!
//! A run of a [`workload`] makes its tables on each server, then measures the servers in turns (A B A B ..), so that what
//! a machine does beside hits all alike. [`load`] makes the requests, at a fixed rate or as fast as answers come, and keeps
//! their times; [`outcome`] is what a run leaves behind, [`compare`] says what differs between two, and [`page`] and
//! [`markdown`] draw them.

pub mod bootstrap;
mod chart;
pub mod compare;
pub mod load;
pub mod machine;
pub mod markdown;
pub mod outcome;
pub mod page;
pub mod run;
pub mod server;
pub mod sweep;
pub mod usage;
pub mod wire;
pub mod workload;
