//! What expressions read beside the rows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use omen_core::router::NodeReadings;
use omen_core::types::Datum;

use crate::types::FormatOptions;

/// What expressions read beside the rows: the session's settings, the times of the transaction, parameters. A clone
/// gives another stream of random numbers.
pub struct EvalContext {
    /// Values of `$1`, `$2`, ..
    pub parameters: Arc<[Datum]>,
    /// `now()`: start of the transaction, microseconds since 1970 UTC.
    pub transaction_start_us: i64,
    /// `statement_timestamp()`, microseconds since 1970 UTC.
    pub statement_start_us: i64,
    /// The session's settings.
    pub format: FormatOptions,
    /// `current_user`
    pub user: Arc<str>,
    /// `current_database()`
    pub database: Arc<str>,
    /// `pg_backend_pid()`
    pub backend_pid: i32,
    /// What is read from the node at each evaluation; none where constants are folded.
    pub node: Option<Arc<dyn NodeReadings>>,
    /// State of the random numbers; threads share it.
    random: AtomicU64,
}

impl EvalContext {
    /// A context without parameters, at the beginning of time; its random numbers follow from the seed.
    pub fn new(random_seed: u64) -> EvalContext {
        EvalContext {
            parameters: Arc::new([]),
            transaction_start_us: 0,
            statement_start_us: 0,
            format: FormatOptions::default(),
            user: "omen".into(),
            database: "omen".into(),
            backend_pid: 0,
            node: None,
            random: AtomicU64::new(random_seed),
        }
    }

    /// The next random number (SplitMix64).
    pub(crate) fn random_u64(&self) -> u64 {
        const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
        // Each number depends on a count only, so it does not matter how threads come to their turns.
        let mut z = self.random.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `clock_timestamp()`; without a node the start of the statement.
    pub(crate) fn clock_us(&self) -> i64 {
        self.node.as_ref().map_or(self.statement_start_us, |node| node.wall_clock_us())
    }

    /// `omen_core_messages()`
    pub(crate) fn core_messages(&self) -> u64 {
        self.node.as_ref().map_or(0, |node| node.core_messages())
    }
}

impl Clone for EvalContext {
    fn clone(&self) -> EvalContext {
        EvalContext {
            parameters: Arc::clone(&self.parameters),
            user: Arc::clone(&self.user),
            database: Arc::clone(&self.database),
            node: self.node.clone(),
            random: AtomicU64::new(self.random_u64()),
            transaction_start_us: self.transaction_start_us,
            statement_start_us: self.statement_start_us,
            format: self.format,
            backend_pid: self.backend_pid,
        }
    }
}

impl fmt::Debug for EvalContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvalContext")
            .field("parameters", &self.parameters)
            .field("transaction_start_us", &self.transaction_start_us)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
