//! Moves conditions towards the scans, where they choose keys and save work.

use super::{is_volatile, substitute};
use crate::expr::Expr;
use crate::logical::Logical;

pub(super) fn apply(plan: Logical) -> Logical {
    push(plan, Vec::new())
}

/// The plan under these conditions.
fn push(plan: Logical, mut conjuncts: Vec<Expr>) -> Logical {
    match plan {
        Logical::Filter { input, conjuncts: mut own } => {
            own.append(&mut conjuncts);
            push(*input, own)
        }
        Logical::Scan(mut scan) => {
            scan.filter.append(&mut conjuncts);
            Logical::Scan(scan)
        }
        Logical::Project { input, exprs } => {
            let can_pass = |conjunct: &Expr| {
                let mut passes = !is_volatile(conjunct);
                conjunct.visit(&mut |part| {
                    if let Expr::Column { index, .. } = part {
                        passes &= !is_volatile(&exprs[*index]);
                    }
                });
                passes
            };
            let (down, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(can_pass);
            let down = down.into_iter().map(|conjunct| substitute(conjunct, &exprs)).collect();
            filtered(Logical::Project { input: Box::new(push(*input, down)), exprs }, stay)
        }
        Logical::Aggregate { input, groups, aggregates } => {
            let can_pass = |conjunct: &Expr| {
                let mut passes = !groups.is_empty() && !is_volatile(conjunct);
                conjunct.visit(&mut |part| {
                    if let Expr::Column { index, .. } = part {
                        passes &= groups.get(*index).is_some_and(|group| !is_volatile(group));
                    }
                });
                passes
            };
            let (down, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(can_pass);
            let down = down.into_iter().map(|conjunct| substitute(conjunct, &groups)).collect();
            filtered(Logical::Aggregate { input: Box::new(push(*input, down)), groups, aggregates }, stay)
        }
        Logical::Distinct { input } => {
            let (stay, down) = conjuncts.into_iter().partition(is_volatile);
            filtered(Logical::Distinct { input: Box::new(push(*input, down)) }, stay)
        }
        Logical::Sort { input, keys } => Logical::Sort { input: Box::new(push(*input, conjuncts)), keys },
        Logical::Limit { input, limit, offset } => {
            filtered(Logical::Limit { input: Box::new(push(*input, Vec::new())), limit, offset }, conjuncts)
        }
        values @ Logical::Values { .. } => filtered(values, conjuncts),
    }
}

fn filtered(plan: Logical, conjuncts: Vec<Expr>) -> Logical {
    if conjuncts.is_empty() { plan } else { Logical::Filter { input: Box::new(plan), conjuncts } }
}
