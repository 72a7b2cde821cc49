//! Functions that answer rows in a select list: calls are collected, and a `ProjectSet` below the list answers them.
//!
//! As in PostgreSQL, calls go side by side; one inside another's arguments is a level of its own, below it. Those in
//! a select list come after grouping, those in GROUP BY before it.

use super::expr::{ExprScope, SETS_BASE};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::{Expr, Volatility};
use crate::logical::{Logical, ProjectSet, SetCall};

const HINT_LATERAL: &str = "You might be able to move the set-returning function into a LATERAL FROM item.";

/// A call as an expression refers to it: one that answers rows is collected in the scope.
///
/// # Errors
/// 0A000 where such functions are not allowed.
pub(super) fn collect_set(expr: Expr, scope: &mut ExprScope<'_>) -> Result<Expr> {
    let Expr::Call { function, args, pg_type } = expr else { return Ok(expr) };
    let Some(set) = function.set else { return Ok(Expr::Call { function, args, pg_type }) };
    let refused = |message: String| SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message);
    if scope.in_aggregate {
        let message = "aggregate function calls cannot contain set-returning function calls";
        return Err(refused(message.to_owned()).hint(HINT_LATERAL));
    }
    if scope.clause == super::table_function::CLAUSE {
        return Err(refused("set-returning functions must appear at top level of FROM".to_owned()));
    }
    let Some(collected) = scope.sets.as_mut().filter(|_| !matches!(scope.clause, "HAVING" | "FILTER")) else {
        return Err(refused(format!("set-returning functions are not allowed in {}", scope.clause)));
    };
    if let Some(part) = scope.no_sets_in {
        return Err(refused(format!("set-returning functions are not allowed in {part}")).hint(HINT_LATERAL));
    }
    if set.columns.len() > 1 {
        let hint = "Call it in FROM.";
        return Err(SqlError::unsupported(format!("{}() in a select list", function.name), hint));
    }
    let call = SetCall { function, args, pg_type };
    let is_volatile = call.args.iter().any(|arg| arg.volatility() == Volatility::Volatile);
    let known = collected.iter().position(|other| *other == call && !is_volatile);
    let position = known.unwrap_or_else(|| {
        collected.push(call);
        collected.len() - 1
    });
    Ok(Expr::Column { index: SETS_BASE + position, pg_type })
}

/// Whether an expression refers to a collected call.
pub(super) fn reads_sets(expr: &Expr) -> bool {
    highest_level(expr, &|_| 0).is_some()
}

/// The highest level of the calls that an expression refers to.
fn highest_level(expr: &Expr, level_of: &dyn Fn(usize) -> usize) -> Option<usize> {
    let mut highest = None;
    expr.visit(&mut |part| match part {
        Expr::Column { index, .. } if *index >= SETS_BASE => {
            highest = highest.max(Some(level_of(*index - SETS_BASE)));
        }
        _ => {}
    });
    highest
}

/// The plan with the rows of collected calls, which `exprs` refer to as columns then.
pub(super) fn project<'e>(
    mut plan: Logical,
    calls: Vec<SetCall>,
    exprs: impl Iterator<Item = &'e mut Expr>,
) -> Logical {
    if calls.is_empty() {
        return plan;
    }
    // A call is collected after those in its arguments.
    let mut levels: Vec<usize> = Vec::with_capacity(calls.len());
    for call in &calls {
        let below = call.args.iter().filter_map(|arg| highest_level(arg, &|other| levels[other])).max();
        levels.push(below.map_or(0, |below| below + 1));
    }
    let mut columns = vec![0; calls.len()];
    let mut width = plan.types().len();
    for level in 0..=levels.iter().copied().max().unwrap_or(0) {
        let mut own = Vec::new();
        for (index, call) in calls.iter().enumerate().filter(|(index, _)| levels[*index] == level) {
            let mut call = call.clone();
            call.args.iter_mut().for_each(|arg| refer(arg, &columns));
            own.push(call);
            columns[index] = width;
            width += 1;
        }
        let set = ProjectSet { input: plan, calls: own, ordinality: false, keeps_input: false };
        plan = Logical::ProjectSet(Box::new(set));
    }
    exprs.for_each(|expr| refer(expr, &columns));
    plan
}

/// Replaces references to calls by the columns that they have become.
fn refer(expr: &mut Expr, columns: &[usize]) {
    let old = std::mem::replace(expr, Expr::Unknown(None));
    *expr = old.transform(&mut |part| match part {
        Expr::Column { index, pg_type } if index >= SETS_BASE => {
            Expr::Column { index: columns[index - SETS_BASE], pg_type }
        }
        other => other,
    });
}
