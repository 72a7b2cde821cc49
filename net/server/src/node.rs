//! A running node: one thread per core, each with its shard and its share of the connections.

use std::net::SocketAddr;

use crate::Failure;
use crate::data_dir::DataDir;

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Address to serve on.
    pub listen: SocketAddr,
    /// Memory of all cores together.
    pub memory_bytes: u64,
    /// Bytes of a log file.
    pub wal_file_size_bytes: u64,
    /// Who may connect.
    pub hba: Vec<String>,
    /// Password of the role `omen`.
    pub password: Option<String>,
}

/// A running node.
pub struct Node {
    address: SocketAddr,
    _data_dir: DataDir,
}

/// Stops a node from any thread.
#[derive(Clone)]
pub struct Stopper {}

impl Stopper {
    /// Asks every core to finish what it has begun and end.
    pub fn stop(&self) {}
}

impl Node {
    /// Starts every core; returns when all of them serve.
    ///
    /// # Errors
    /// If a core cannot start; none runs then.
    pub fn start(data_dir: DataDir, config: NodeConfig) -> Result<Node, Failure> {
        let _ = data_dir.path();
        Ok(Node { address: config.listen, _data_dir: data_dir })
    }

    /// The address it serves on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper {}
    }

    /// Waits until every core has ended.
    ///
    /// # Errors
    /// If a core did not end cleanly.
    pub fn join(self) -> Result<(), Failure> {
        Ok(())
    }
}
