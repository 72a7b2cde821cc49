//! How recursive queries are planned: both terms are plans of their own.

use omen_core::types::PgType;

use super::{QueryPlan, plan_query};
use crate::logical::Recursive;

/// A query that reads its own rows.
#[derive(Clone, Debug)]
pub(crate) struct RecursivePlan {
    /// Gives the first rows.
    pub(crate) base: QueryPlan,
    /// Gives rows made of those of the last step.
    pub(crate) step: QueryPlan,
    /// The shared table that these are in.
    pub(crate) working: usize,
    /// Each row is given once.
    pub(crate) distinct: bool,
    /// Types of the columns.
    pub(crate) types: Vec<PgType>,
}

/// Plans a recursive query.
pub(super) fn plan_recursive(recursive: Recursive) -> RecursivePlan {
    let Recursive { base, step, working, distinct } = recursive;
    let types = base.types();
    let (base, step) = (plan_query(base).in_batches(), plan_query(step).in_batches());
    RecursivePlan { base, step, working, distinct, types }
}
