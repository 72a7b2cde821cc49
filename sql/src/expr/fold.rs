//! What can be computed before the rows come.

use std::sync::Arc;

use omen_core::types::{Datum, PgType};

use super::any_all;
use super::inset::InSet;
use super::registry::{self, Param};
use super::{EvalContext, Expr, Volatility};

impl Expr {
    /// The same expression with parameters and constant parts replaced by their values, to be evaluated in the same
    /// context. Parts that fail stay as they are, so that a branch that is not taken raises nothing. Lists of
    /// constants become sets.
    #[must_use]
    pub fn fold(&self, context: &EvalContext) -> Expr {
        self.clone().transform(&mut |part| fold_part(part, context))
    }
}

/// Folds an expression whose parts have been folded.
fn fold_part(expr: Expr, context: &EvalContext) -> Expr {
    match &expr {
        Expr::Literal { .. } | Expr::Column { .. } | Expr::Outer { .. } | Expr::Subquery { .. } => {
            return expr;
        }
        Expr::InList { arg, list, negated } if !matches!(**arg, Expr::Literal { .. }) => {
            return in_set(arg, list, *negated).unwrap_or(expr);
        }
        Expr::AnyAll { function, left, array, all } if !matches!(**left, Expr::Literal { .. }) => {
            return any_all::as_set(function, left, array, *all).unwrap_or(expr);
        }
        _ => {}
    }
    let mut constant = true;
    expr.for_each_part(&mut |part| constant &= matches!(part, Expr::Literal { .. }));
    let volatile =
        matches!(&expr, Expr::Call { function, .. } if function.volatility == Volatility::Volatile);
    if !constant || volatile {
        return narrowed(expr);
    }
    match expr.eval_constant(context) {
        Ok(value) => Expr::Literal { value, pg_type: expr.pg_type() },
        Err(_) => expr,
    }
}

fn in_set(arg: &Expr, list: &[Expr], negated: bool) -> Option<Expr> {
    let values = list.iter().map(|item| match item {
        Expr::Literal { value, .. } => Some(value),
        _ => None,
    });
    let values: Vec<&Datum> = values.collect::<Option<_>>()?;
    let set = Arc::new(InSet::new(values.iter().copied()));
    Some(Expr::InSet { arg: Box::new(arg.clone()), set, negated })
}

/// `narrow::bigint < 5` as `narrow < 5`: the column is compared as it is.
fn narrowed(expr: Expr) -> Expr {
    let Expr::Call { function, args, pg_type } = &expr else { return expr };
    let comparison = matches!(function.name, "=" | "<>" | "<" | "<=" | ">" | ">=");
    let (true, [left, right]) = (comparison, args.as_slice()) else { return expr };
    let narrow_pair = |cast: &Expr, literal: &Expr| -> Option<(Expr, Expr)> {
        let (Expr::Cast { arg, .. }, Expr::Literal { value, .. }) = (cast, literal) else { return None };
        let wide = match value {
            Datum::Int4(value) => i64::from(*value),
            Datum::Int8(value) => *value,
            _ => return None,
        };
        let value = match arg.pg_type() {
            PgType::Int2 => Datum::Int2(i16::try_from(wide).ok()?),
            PgType::Int4 => Datum::Int4(i32::try_from(wide).ok()?),
            _ => return None,
        };
        let pg_type = arg.pg_type();
        Some((arg.as_ref().clone(), Expr::Literal { value, pg_type }))
    };
    let pair = narrow_pair(left, right).or_else(|| narrow_pair(right, left).map(|(arg, value)| (value, arg)));
    let Some((left, right)) = pair else { return expr };
    let params = [Param::Is(left.pg_type()); 2];
    let same = registry::operators_named(function.name).iter().find(|other| *other.params == params);
    match same {
        Some(function) => Expr::Call { function, args: vec![left, right], pg_type: *pg_type },
        None => expr,
    }
}
