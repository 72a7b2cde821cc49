//! Finds in alternatives what a join can use: conditions that all of them have, and what they ask of one side.

use super::is_volatile;
use super::null_rejection::sides;
use crate::expr::Expr;

/// `a AND b OR a AND c` as `a` and `b OR c`; anything else as it is.
pub(super) fn factored(condition: Expr) -> Vec<Expr> {
    let Expr::Or(branches) = condition else { return vec![condition] };
    let mut branches: Vec<Vec<Expr>> = branches.into_iter().map(Expr::into_conjuncts).collect();
    let is_common = |part: &Expr| !is_volatile(part) && branches.iter().all(|branch| branch.contains(part));
    let mut common: Vec<Expr> = Vec::new();
    for part in branches.first().into_iter().flatten() {
        if is_common(part) && !common.contains(part) {
            common.push(part.clone());
        }
    }
    for branch in &mut branches {
        branch.retain(|part| !common.contains(part));
    }
    // A branch that asks nothing else is implied by what is common.
    if branches.iter().all(|branch| !branch.is_empty()) {
        common.push(Expr::Or(branches.into_iter().map(all).collect()));
    }
    common
}

/// What alternatives over two sides ask of the left one alone and of the right one alone, if each of them asks something.
pub(super) fn of_sides(condition: &Expr, left_width: usize) -> [Option<Expr>; 2] {
    let Expr::Or(branches) = condition else { return [None, None] };
    let wanted = [(true, false), (false, true)];
    wanted.map(|wanted| {
        let of_branch = |branch: &Expr| {
            let mut parts = branch.clone().into_conjuncts();
            parts.retain(|part| sides(part, left_width) == wanted && !is_volatile(part));
            (!parts.is_empty()).then(|| all(parts))
        };
        branches.iter().map(of_branch).collect::<Option<Vec<Expr>>>().map(Expr::Or)
    })
}

fn all(mut parts: Vec<Expr>) -> Expr {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => Expr::And(parts),
    }
}
