//! Computes what needs neither rows nor parameters nor the time of the statement.

use omen_core::types::Datum;

use crate::expr::{EvalContext, Expr, Volatility};
use crate::logical::Logical;

pub(super) fn apply(plan: &mut Logical, context: &EvalContext) {
    plan.for_each_expr(|expr| {
        let old = std::mem::replace(expr, Expr::Unknown(None));
        *expr = fold_expr(old, context);
    });
    plan.change_inputs(|mut input| {
        apply(&mut input, context);
        input
    });
    let conjuncts = match plan {
        Logical::Filter { conjuncts, .. } => Some(conjuncts),
        Logical::Join(join) => Some(&mut join.conjuncts),
        _ => None,
    };
    if let Some(conjuncts) = conjuncts {
        let split = std::mem::take(conjuncts).into_iter().flat_map(Expr::into_conjuncts);
        let is_true = |expr: &Expr| matches!(expr, Expr::Literal { value: Datum::Bool(true), .. });
        *conjuncts = split.filter(|conjunct| !is_true(conjunct)).collect();
    }
}

/// The expression with its constant parts computed. A part that fails stays, and fails when a row needs it.
pub(crate) fn fold_expr(expr: Expr, context: &EvalContext) -> Expr {
    if matches!(expr, Expr::Literal { .. } | Expr::Column { .. } | Expr::Parameter { .. }) {
        return expr;
    }
    expr.transform(&mut |part| {
        if !is_foldable(&part) {
            return part;
        }
        match part.eval_constant(context) {
            Ok(value) => Expr::Literal { value, pg_type: part.pg_type() },
            Err(_) => part,
        }
    })
}

fn is_foldable(expr: &Expr) -> bool {
    if matches!(expr, Expr::Literal { .. } | Expr::Column { .. } | Expr::Parameter { .. } | Expr::Unknown(_))
    {
        return false;
    }
    // Lists of literals stay as they are: keys and hash sets are made from them.
    if matches!(expr, Expr::InList { .. }) && !expr.is_constant() {
        return false;
    }
    let mut reads_parameters = false;
    expr.visit(&mut |part| {
        reads_parameters |= matches!(part, Expr::Parameter { .. } | Expr::UntypedParameter(_))
    });
    !reads_parameters && expr.is_constant() && expr.volatility() == Volatility::Immutable
}
