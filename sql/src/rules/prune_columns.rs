//! Reads and computes only the columns that something above needs.

use super::{mark_columns, renumber};
use crate::expr::Expr;
use crate::logical::{Join, JoinKind, Logical, ProjectSet, SetKind, SetOperation, Window, WindowCall};
use crate::parse::with_stack;

pub(super) fn apply(plan: Logical) -> Logical {
    let width = plan.types().len();
    let (plan, kept) = prune(plan, vec![true; width]);
    assert!(kept.len() == width, "all columns of a query are needed");
    plan
}

/// The plan with only the needed columns, and perhaps some more; and which of the old columns they are, in order.
fn prune(plan: Logical, needed: Vec<bool>) -> (Logical, Vec<usize>) {
    with_stack(|| prune_node(plan, needed))
}

#[expect(clippy::too_many_lines, reason = "one arm per node")]
fn prune_node(plan: Logical, mut needed: Vec<bool>) -> (Logical, Vec<usize>) {
    match plan {
        Logical::Values { mut rows, types } => {
            let kept = positions(&needed);
            for row in &mut rows {
                *row = pick(std::mem::take(row), &needed);
            }
            let types = kept.iter().map(|column| types[*column]).collect();
            (Logical::Values { rows, types }, kept)
        }
        Logical::Scan(mut scan) => {
            scan.filter.iter().for_each(|expr| mark_columns(expr, &mut needed));
            let kept = positions(&needed);
            scan.columns = kept.iter().map(|column| scan.columns[*column]).collect();
            scan.filter.iter_mut().for_each(|expr| renumber(expr, &new_index(&kept)));
            (Logical::Scan(scan), kept)
        }
        Logical::Join(join) => prune_join(*join, &needed),
        Logical::ProjectSet(set) => prune_set(*set, needed),
        Logical::Combine(set) => prune_combined(*set, needed),
        Logical::Shared { .. } | Logical::Apply(_) => (plan, (0..needed.len()).collect()),
        Logical::Recursive(mut recursive) => {
            recursive.base = apply(recursive.base);
            recursive.step = apply(recursive.step);
            (Logical::Recursive(recursive), (0..needed.len()).collect())
        }
        Logical::LimitBy { input, mut groups, mut keys, mut limit, mut offset, with_ties } => {
            groups.iter().for_each(|column| needed[*column] = true);
            keys.iter().for_each(|key| needed[key.column] = true);
            let (input, kept) = prune(*input, needed);
            groups.iter_mut().for_each(|column| *column = new_index(&kept)(*column));
            keys.iter_mut().for_each(|key| key.column = new_index(&kept)(key.column));
            limit.iter_mut().chain(&mut offset).for_each(|expr| renumber(expr, &new_index(&kept)));
            (Logical::LimitBy { input: Box::new(input), groups, keys, limit, offset, with_ties }, kept)
        }
        Logical::Filter { input, mut conjuncts } => {
            conjuncts.iter().for_each(|expr| mark_columns(expr, &mut needed));
            let (input, kept) = prune(*input, needed);
            conjuncts.iter_mut().for_each(|expr| renumber(expr, &new_index(&kept)));
            (Logical::Filter { input: Box::new(input), conjuncts }, kept)
        }
        Logical::Project { input, exprs } => {
            let kept = positions(&needed);
            let mut exprs = pick(exprs, &needed);
            let mut below = vec![false; input.types().len()];
            exprs.iter().for_each(|expr| mark_columns(expr, &mut below));
            let (input, below) = prune(*input, below);
            exprs.iter_mut().for_each(|expr| renumber(expr, &new_index(&below)));
            (Logical::Project { input: Box::new(input), exprs }, kept)
        }
        Logical::Aggregate { input, mut groups, aggregates } => {
            needed[..groups.len()].fill(true);
            let kept = positions(&needed);
            let mut aggregates = pick(aggregates, &needed[groups.len()..]);
            let mut below = vec![false; input.types().len()];
            groups.iter().for_each(|expr| mark_columns(expr, &mut below));
            for aggregate in &aggregates {
                let exprs = aggregate.call.args.iter().chain(&aggregate.filter);
                exprs.for_each(|expr| mark_columns(expr, &mut below));
            }
            let (input, below) = prune(*input, below);
            let new_index = new_index(&below);
            groups.iter_mut().for_each(|expr| renumber(expr, &new_index));
            for aggregate in &mut aggregates {
                aggregate.call.args.iter_mut().for_each(|expr| renumber(expr, &new_index));
                aggregate.filter.iter_mut().for_each(|expr| renumber(expr, &new_index));
            }
            (Logical::Aggregate { input: Box::new(input), groups, aggregates }, kept)
        }
        Logical::Window(window) => prune_window(*window, &needed),
        Logical::Distinct { input } => {
            let width = needed.len();
            let (input, kept) = prune(*input, vec![true; width]);
            (Logical::Distinct { input: Box::new(input) }, kept)
        }
        Logical::Sort { input, mut keys } => {
            keys.iter().for_each(|key| needed[key.column] = true);
            let (input, kept) = prune(*input, needed);
            keys.iter_mut().for_each(|key| key.column = new_index(&kept)(key.column));
            (Logical::Sort { input: Box::new(input), keys }, kept)
        }
        Logical::Expand { input, mut groups, sets } => {
            needed[..=groups.len()].fill(true);
            let own = groups.len() + 1;
            let mut below = needed[own..].to_vec();
            groups.iter().for_each(|expr| mark_columns(expr, &mut below));
            let (input, below) = prune(*input, below);
            groups.iter_mut().for_each(|expr| renumber(expr, &new_index(&below)));
            let kept = (0..own).chain(below.into_iter().map(|column| column + own)).collect();
            (Logical::Expand { input: Box::new(input), groups, sets }, kept)
        }
        Logical::EmptySets { input, sets, width, aggregates } => {
            needed[..=width].fill(true);
            let (input, kept) = prune(*input, needed);
            let own = kept.iter().filter(|column| **column > width);
            let aggregates = own.map(|column| aggregates[column - width - 1].clone()).collect();
            (Logical::EmptySets { input: Box::new(input), sets, width, aggregates }, kept)
        }
        Logical::DistinctOn { input, mut columns } => {
            columns.iter().for_each(|column| needed[*column] = true);
            let (input, kept) = prune(*input, needed);
            columns.iter_mut().for_each(|column| *column = new_index(&kept)(*column));
            (Logical::DistinctOn { input: Box::new(input), columns }, kept)
        }
        Logical::Ties { input, mut columns, limit, offset } => {
            columns.iter().for_each(|column| needed[*column] = true);
            let (input, kept) = prune(*input, needed);
            columns.iter_mut().for_each(|column| *column = new_index(&kept)(*column));
            (Logical::Ties { input: Box::new(input), columns, limit, offset }, kept)
        }
        Logical::Limit { input, limit, offset } => {
            let (input, kept) = prune(*input, needed);
            (Logical::Limit { input: Box::new(input), limit, offset }, kept)
        }
    }
}

/// Rows are compared by all columns; only where they are not, some can be left out.
fn prune_combined(mut set: SetOperation, mut needed: Vec<bool>) -> (Logical, Vec<usize>) {
    if set.kind != SetKind::UnionAll {
        needed.fill(true);
    }
    let kept = positions(&needed);
    let pruned = |input: Logical| {
        let (input, own) = prune(input, needed.clone());
        if own == kept {
            return input;
        }
        let types = input.types();
        let column = |column: &usize| {
            let index = new_index(&own)(*column);
            Expr::Column { index, pg_type: types[index] }
        };
        Logical::Project { exprs: kept.iter().map(column).collect(), input: Box::new(input) }
    };
    set.inputs = set.inputs.into_iter().map(pruned).collect();
    set.types = pick(set.types, &needed);
    (Logical::Combine(Box::new(set)), kept)
}

fn prune_window(mut window: Window, needed: &[bool]) -> (Logical, Vec<usize>) {
    let width = window.input.types().len();
    let mut below = needed[..width].to_vec();
    let mut kept: Vec<usize> = (width..needed.len()).filter(|column| needed[*column]).collect();
    window.calls = pick(window.calls, &needed[width..]);
    window.partition.iter().for_each(|column| below[*column] = true);
    window.order.iter().for_each(|key| below[key.column] = true);
    for expr in window.calls.iter_mut().flat_map(WindowCall::exprs_mut) {
        mark_columns(expr, &mut below);
    }
    let (input, below) = prune(window.input, below);
    let new_index = new_index(&below);
    window.partition.iter_mut().for_each(|column| *column = new_index(*column));
    window.order.iter_mut().for_each(|key| key.column = new_index(key.column));
    window.calls.iter_mut().flat_map(WindowCall::exprs_mut).for_each(|expr| renumber(expr, &new_index));
    kept.splice(0..0, below.iter().copied());
    if window.calls.is_empty() {
        return (input, kept);
    }
    (Logical::Window(Box::new(Window { input, ..window })), kept)
}

/// A join gives exactly the needed columns.
fn prune_join(mut join: Join, needed: &[bool]) -> (Logical, Vec<usize>) {
    let kept = positions(needed);
    let output: Vec<usize> = kept.iter().map(|column| join.output[*column]).collect();
    let left_width = join.left.types().len();
    let mark = left_width + join.right.types().len();
    if join.kind == JoinKind::Mark && !output.contains(&mark) {
        // Nobody asks for the mark.
        let mut read = vec![false; left_width];
        output.iter().for_each(|column| read[*column] = true);
        let (left, kept_left) = prune(join.left, read);
        let types = left.types();
        let exprs = output.iter().map(|column| {
            let index = new_index(&kept_left)(*column);
            Expr::Column { index, pg_type: types[index] }
        });
        return (Logical::Project { exprs: exprs.collect(), input: Box::new(left) }, kept);
    }
    let mut read = vec![false; mark];
    output.iter().filter(|column| **column < mark).for_each(|column| read[*column] = true);
    join.conjuncts.iter().chain(&join.mark).for_each(|expr| mark_columns(expr, &mut read));
    let (left, kept_left) = prune(join.left, read[..left_width].to_vec());
    let (right, kept_right) = prune(join.right, read[left_width..].to_vec());
    let mut below = kept_left;
    below.extend(kept_right.iter().map(|column| column + left_width));
    let new_index = |column: usize| if column == mark { below.len() } else { new_index(&below)(column) };
    join.conjuncts.iter_mut().chain(&mut join.mark).for_each(|expr| renumber(expr, &new_index));
    join.output = output.into_iter().map(new_index).collect();
    (Logical::Join(Box::new(Join { left, right, ..join })), kept)
}

/// Functions are called for the number of their rows, even if nothing reads these.
fn prune_set(mut set: ProjectSet, mut needed: Vec<bool>) -> (Logical, Vec<usize>) {
    let (width, added) = (set.input.types().len(), set.added_types().len());
    needed.truncate(width);
    set.calls.iter().flat_map(|call| &call.args).for_each(|expr| mark_columns(expr, &mut needed));
    let (input, mut kept) = prune(set.input, needed);
    let args = set.calls.iter_mut().flat_map(|call| &mut call.args);
    args.for_each(|expr| renumber(expr, &new_index(&kept)));
    kept.extend(width..width + added);
    (Logical::ProjectSet(Box::new(ProjectSet { input, ..set })), kept)
}

fn positions(needed: &[bool]) -> Vec<usize> {
    (0..needed.len()).filter(|column| needed[*column]).collect()
}

fn pick<T>(items: Vec<T>, needed: &[bool]) -> Vec<T> {
    items.into_iter().zip(needed).filter(|(_, needed)| **needed).map(|(item, _)| item).collect()
}

/// Where a kept column is now.
fn new_index(kept: &[usize]) -> impl Fn(usize) -> usize + '_ {
    |old: usize| kept.binary_search(&old).expect("columns that are read were marked")
}
