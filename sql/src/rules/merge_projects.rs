//! Makes one projection of two, and none of one that changes nothing.

use super::{is_volatile, substitute};
use crate::expr::Expr;
use crate::logical::Logical;

pub(super) fn apply(mut plan: Logical) -> Logical {
    plan.change_inputs(apply);
    let Logical::Project { input, exprs } = plan else { return plan };
    match *input {
        Logical::Project { input, exprs: inner } if can_merge(&exprs, &inner) => {
            let exprs = exprs.into_iter().map(|expr| substitute(expr, &inner)).collect();
            apply(Logical::Project { input, exprs })
        }
        input if is_identity(&exprs, &input) => input,
        input => Logical::Project { input: Box::new(input), exprs },
    }
}

/// Nothing would be computed more often than before.
fn can_merge(outer: &[Expr], inner: &[Expr]) -> bool {
    let mut uses = vec![0; inner.len()];
    for expr in outer {
        expr.visit(&mut |part| {
            if let Expr::Column { index, .. } = part {
                uses[*index] += 1;
            }
        });
    }
    inner.iter().zip(uses).all(|(expr, uses)| {
        let is_free = matches!(expr, Expr::Column { .. } | Expr::Literal { .. } | Expr::Parameter { .. });
        is_free || (uses <= 1 && !is_volatile(expr))
    })
}

fn is_identity(exprs: &[Expr], input: &Logical) -> bool {
    let in_place =
        |(position, expr): (usize, &Expr)| matches!(expr, Expr::Column { index, .. } if *index == position);
    exprs.len() == input.types().len() && exprs.iter().enumerate().all(in_place)
}
