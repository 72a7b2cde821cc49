//! Moves conditions towards the scans, where they choose keys and save work.
//!
//! Through a join goes what reads one side, as far as that side's rows need a partner or the condition comes from above
//! a join that keeps them. Of alternatives goes what all of them ask, or what each asks of that side. An outer join whose added NULLs a condition above leaves out becomes an inner one.

use super::null_rejection::{rejects_null, sides};
use super::split_or::{factored, of_sides};
use super::{is_volatile, renumber, substitute};
use crate::expr::Expr;
use crate::logical::{Join, JoinKind, Logical};
use crate::parse::with_stack;

pub(super) fn apply(plan: Logical) -> Logical {
    push(plan, Vec::new())
}

/// The plan under these conditions.
fn push(plan: Logical, conjuncts: Vec<Expr>) -> Logical {
    with_stack(|| push_node(plan, conjuncts))
}

#[expect(clippy::too_many_lines, reason = "one arm per node")]
fn push_node(plan: Logical, mut conjuncts: Vec<Expr>) -> Logical {
    match plan {
        Logical::Filter { input, conjuncts: own } => {
            let mut own: Vec<Expr> = own.into_iter().flat_map(factored).collect();
            own.append(&mut conjuncts);
            push(*input, own)
        }
        Logical::Scan(mut scan) => {
            scan.filter.append(&mut conjuncts);
            Logical::Scan(scan)
        }
        Logical::Join(join) => push_join(*join, conjuncts),
        Logical::ProjectSet(mut set) => {
            let width = set.input.types().len();
            let can_pass = |conjunct: &Expr| !is_volatile(conjunct) && !sides(conjunct, width).1;
            let (down, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(can_pass);
            set.input = push(set.input, down);
            filtered(Logical::ProjectSet(set), stay)
        }
        Logical::Combine(mut set) => {
            let (stay, down): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(is_volatile);
            set.inputs = set.inputs.into_iter().map(|input| push(input, down.clone())).collect();
            filtered(Logical::Combine(set), stay)
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
        Logical::Window(mut window) => {
            let can_pass = |conjunct: &Expr| {
                let mut passes = !is_volatile(conjunct);
                conjunct.visit(&mut |part| {
                    if let Expr::Column { index, .. } = part {
                        passes &= window.partition.contains(index);
                    }
                });
                passes
            };
            let (down, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(can_pass);
            window.input = push(window.input, down);
            filtered(Logical::Window(window), stay)
        }
        Logical::Distinct { input } => {
            let (stay, down) = conjuncts.into_iter().partition(is_volatile);
            filtered(Logical::Distinct { input: Box::new(push(*input, down)) }, stay)
        }
        Logical::Sort { input, keys } => Logical::Sort { input: Box::new(push(*input, conjuncts)), keys },
        mut node @ (Logical::Expand { .. }
        | Logical::EmptySets { .. }
        | Logical::DistinctOn { .. }
        | Logical::Ties { .. }) => {
            node.change_inputs(|input| push(input, Vec::new()));
            filtered(node, conjuncts)
        }
        Logical::Limit { input, limit, offset } => {
            filtered(Logical::Limit { input: Box::new(push(*input, Vec::new())), limit, offset }, conjuncts)
        }
        Logical::LimitBy { input, groups, keys, limit, offset, with_ties } => {
            let can_pass = |conjunct: &Expr| {
                let mut passes = !is_volatile(conjunct);
                conjunct.visit(&mut |part| {
                    if let Expr::Column { index, .. } = part {
                        passes &= groups.contains(index);
                    }
                });
                passes
            };
            let (down, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(can_pass);
            let input = Box::new(push(*input, down));
            filtered(Logical::LimitBy { input, groups, keys, limit, offset, with_ties }, stay)
        }
        Logical::Recursive(mut recursive) => {
            recursive.base = push(recursive.base, Vec::new());
            recursive.step = push(recursive.step, Vec::new());
            filtered(Logical::Recursive(recursive), conjuncts)
        }
        other @ (Logical::Values { .. } | Logical::Shared { .. } | Logical::Apply(_)) => {
            filtered(other, conjuncts)
        }
    }
}

/// The join under conditions on its output.
fn push_join(mut join: Join, conjuncts: Vec<Expr>) -> Logical {
    let (mut stay, mut above): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(is_volatile);
    above.iter_mut().for_each(|expr| renumber(expr, &|column| join.output[column]));
    let left_width = join.left.types().len();
    join.kind = needed_kind(join.kind, &above, left_width);
    let (mut left, mut right, mut on) = (Vec::new(), Vec::new(), Vec::new());
    if join.kind == JoinKind::Inner {
        above.append(&mut join.conjuncts);
    }
    for conjunct in above {
        match sides(&conjunct, left_width) {
            // What reads no columns at all decides about all rows, wherever they come from.
            (false, false) if !is_volatile(&conjunct) => {
                left.push(conjunct.clone());
                right.push(conjunct);
            }
            (_, false) if !join.kind.keeps_right() && !is_volatile(&conjunct) => left.push(conjunct),
            (false, _) if !join.kind.keeps_left() && !is_volatile(&conjunct) => right.push(conjunct),
            _ if join.kind == JoinKind::Inner => on.push(conjunct),
            _ => stay.push(over_output(conjunct, &join.output)),
        }
    }
    for conjunct in std::mem::take(&mut join.conjuncts).into_iter().flat_map(factored) {
        match sides(&conjunct, left_width) {
            _ if is_volatile(&conjunct) => on.push(conjunct),
            (_, false) if !join.kind.keeps_left() => left.push(conjunct),
            (false, _) if !join.kind.keeps_right() => right.push(conjunct),
            _ => on.push(conjunct),
        }
    }
    for conjunct in &on {
        let [of_left, of_right] = of_sides(conjunct, left_width);
        left.extend(of_left.filter(|_| !join.kind.keeps_left()));
        right.extend(of_right.filter(|_| !join.kind.keeps_right()));
    }
    right.iter_mut().for_each(|expr| renumber(expr, &|column| column - left_width));
    let Join { left: left_input, right: right_input, kind, mark, output, .. } = join;
    let (left, right) = (push(left_input, left), push(right_input, right));
    filtered(Logical::Join(Box::new(Join { left, right, kind, conjuncts: on, mark, output })), stay)
}

/// The kind that is left when these conditions, over both sides' columns, must be true of what the join gives.
fn needed_kind(kind: JoinKind, conjuncts: &[Expr], left_width: usize) -> JoinKind {
    if !matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full) {
        return kind;
    }
    let rejects = |is_null: &dyn Fn(usize) -> bool| conjuncts.iter().any(|expr| rejects_null(expr, is_null));
    let keeps_left = kind.keeps_left() && !rejects(&|column| column >= left_width);
    let keeps_right = kind.keeps_right() && !rejects(&|column| column < left_width);
    JoinKind::keeping(keeps_left, keeps_right)
}

/// A condition over both sides' columns as one over the output.
fn over_output(mut conjunct: Expr, output: &[usize]) -> Expr {
    let position = |column: usize| output.iter().position(|given| *given == column);
    renumber(&mut conjunct, &|column| position(column).expect("it came from above the join"));
    conjunct
}

fn filtered(plan: Logical, conjuncts: Vec<Expr>) -> Logical {
    if conjuncts.is_empty() { plan } else { Logical::Filter { input: Box::new(plan), conjuncts } }
}
