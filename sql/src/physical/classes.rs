//! Ways of running a query that a session can do without (`enable_direct`, `enable_scatter`), so that tests can tell
//! whether all of them answer the same.

use std::sync::Arc;

use super::{QueryPlan, Source, plan_query};
use crate::expr::EvalContext;
use crate::logical::Logical;
use crate::rules::optimize;

/// What may be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Classes {
    /// Conditions on keys choose what is read; else they are filters.
    pub(crate) direct: bool,
    /// Cores filter, compute and group what they own; else all rows come to the session's core first.
    pub(crate) scatter: bool,
}

impl Classes {
    /// Optimises a query and chooses how it runs.
    pub(crate) fn plan(self, plan: Logical, context: &EvalContext) -> QueryPlan {
        let mut plan = plan_query(optimize(plan, context, self));
        if !self.scatter {
            take_home(&mut plan);
        }
        plan
    }
}

/// Moves what fragments do to the session's core.
fn take_home(plan: &mut QueryPlan) {
    match &mut plan.source {
        Source::Scan(scan) => {
            plan.steps.splice(..0, std::mem::take(&mut scan.fragment));
        }
        Source::Join(join) => join.inputs.iter_mut().for_each(take_home),
        Source::Set(set) => take_home(&mut set.input),
        Source::Recursive(recursive) => {
            let recursive = Arc::make_mut(recursive);
            take_home(&mut recursive.base);
            take_home(&mut recursive.step);
        }
        Source::Combine(set) => Arc::make_mut(set).inputs.iter_mut().for_each(take_home),
        Source::Values { .. } | Source::Point(_) | Source::Shared { .. } => {}
    }
}
