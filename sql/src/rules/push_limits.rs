//! Moves limits below projections, next to the sort whose first rows they want.

use crate::logical::Logical;

pub(super) fn apply(mut plan: Logical) -> Logical {
    plan.change_inputs(apply);
    match plan {
        Logical::Limit { input, limit, offset } => match *input {
            Logical::Project { input, exprs } => {
                let below = apply(Logical::Limit { input, limit, offset });
                Logical::Project { input: Box::new(below), exprs }
            }
            other => Logical::Limit { input: Box::new(other), limit, offset },
        },
        other => other,
    }
}
