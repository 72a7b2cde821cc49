//! What a server of the wire protocol is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::hba::Rules;
use super::scram::{ITERATIONS_DEFAULT, SALT_BYTES, Verifier, derive};

/// The role and the database that exist from the beginning.
pub const BOOTSTRAP_NAME: &str = "omen";

/// A role that may log in.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// What its password is checked against; without one only `trust` lets it in.
    pub verifier: Option<Verifier>,
}

/// What a server is told. Shared by all cores.
#[derive(Debug)]
pub struct ServerConfig {
    /// Sessions at once, on all cores together.
    pub connections_max: u32,
    /// Who may connect.
    pub rules: Rules,
    /// Who exists.
    pub roles: BTreeMap<String, Role>,
    /// What can be connected to.
    pub databases: BTreeSet<String>,
    /// How long running statements may go on once the server stops.
    pub drain_time: Duration,
    /// How long a client may take to authenticate.
    pub authentication_time: Duration,
    /// Key of all secrets that are made for clients: nonces, cancel keys, salts. Random, and new for every start.
    secret: [u8; 32],
    connections: AtomicU32,
}

impl ServerConfig {
    /// The defaults, with the role and the database `omen`. `secret` comes from the system's random source; nothing
    /// that clients see can be foreseen without it.
    pub fn new(secret: [u8; 32]) -> ServerConfig {
        ServerConfig {
            connections_max: 1_000,
            rules: Rules::default(),
            roles: BTreeMap::from([(BOOTSTRAP_NAME.to_owned(), Role::default())]),
            databases: BTreeSet::from([BOOTSTRAP_NAME.to_owned()]),
            drain_time: Duration::from_secs(10),
            authentication_time: Duration::from_secs(60),
            secret,
            connections: AtomicU32::new(0),
        }
    }

    /// Gives a role a password: in plain text, or as `SCRAM-SHA-256$...`.
    pub fn set_password(&mut self, role: &str, password: &str) {
        let verifier = Verifier::parse(password).unwrap_or_else(|| {
            let mut salt = [0; SALT_BYTES];
            let number = self.roles.len() as u64;
            salt.copy_from_slice(&derive(&self.secret, [u64::MAX, number])[..SALT_BYTES]);
            Verifier::from_password(password, &salt, ITERATIONS_DEFAULT)
        });
        self.roles.insert(role.to_owned(), Role { verifier: Some(verifier) });
    }

    /// The key of secrets.
    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Takes a place among the sessions; `None` if all are taken.
    pub(super) fn take_place(config: &std::sync::Arc<ServerConfig>) -> Option<Place> {
        let add = |count: u32| (count < config.connections_max).then_some(count + 1);
        config.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Place(std::sync::Arc::clone(config)))
    }
}

/// A session's place among all sessions, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(std::sync::Arc<ServerConfig>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
