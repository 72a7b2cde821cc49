//! Aggregates the right side of an outer join by the columns of its conditions before they are joined, where each row of
//! the left side is a group of its own: `SELECT a.id, count(b.x) FROM a LEFT JOIN b ON b.a = a.id GROUP BY a.id`. The
//! cores that own the rows of `b` then count them, and only counts are joined. (Yan, Larson: "Eager Aggregation and Lazy
//! Aggregation", VLDB 1995.)

use omen_core::types::{Datum, PgType};

use super::renumber;
use super::unique::is_unique;
use crate::expr::Expr;
use crate::logical::{Aggregate, Join, JoinKind, Logical};

pub(super) fn apply(mut plan: Logical) -> Logical {
    plan.change_inputs(apply);
    let Logical::Aggregate { input, groups, aggregates } = plan else { return plan };
    let Logical::Join(join) = *input else { return Logical::Aggregate { input, groups, aggregates } };
    match keys(&join, &groups, &aggregates) {
        Some(keys) => aggregate_first(*join, &groups, aggregates, &keys),
        None => Logical::Aggregate { input: Box::new(Logical::Join(join)), groups, aggregates },
    }
}

/// A column of the left side and the one of the right side that is to equal it, as the conditions count them.
type KeyPair = [usize; 2];

/// What the conditions compare; `None` if this cannot be aggregated first, or had better not be.
fn keys(join: &Join, groups: &[Expr], aggregates: &[Aggregate]) -> Option<Vec<KeyPair>> {
    let left_width = join.left.types().len();
    // Conditions on the left side would leave out what was aggregated in vain.
    let is_whole = matches!(&join.left, Logical::Scan(scan)
        if scan.filter.is_empty() && scan.pushed.is_empty() && scan.keys.equal.is_empty() && scan.keys.bounds.is_empty());
    if join.kind != JoinKind::Left || !is_whole {
        return None;
    }
    let of_groups: Option<Vec<usize>> = groups.iter().map(|group| column_of(join, group)).collect();
    let of_groups = of_groups?;
    if of_groups.iter().any(|column| *column >= left_width) || !is_unique(&join.left, &of_groups) {
        return None;
    }
    if !aggregates.iter().all(|aggregate| can_come_first(join, aggregate, left_width)) {
        return None;
    }
    let pairs: Option<Vec<KeyPair>> =
        join.conjuncts.iter().map(|conjunct| pair(conjunct, left_width)).collect();
    pairs.filter(|pairs| !pairs.is_empty())
}

/// The column of the join's sides that a column of its output is.
fn column_of(join: &Join, expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column { index, .. } => Some(join.output[*index]),
        _ => None,
    }
}

/// Whether an aggregate is the same of rows that are joined and before, but that a count of nothing is NULL then: it cares
/// for no order, fails for no rows that would not have been joined, and NULLs in place of a partner are nothing to it.
fn can_come_first(join: &Join, aggregate: &Aggregate, left_width: usize) -> bool {
    let call = &aggregate.call;
    let is_plain = aggregate.filter.is_none() && call.order.is_empty() && !call.distinct;
    let [arg] = call.args.as_slice() else { return false };
    let of_right = column_of(join, arg).is_some_and(|column| column >= left_width);
    let is_float = matches!(arg.pg_type(), PgType::Float4 | PgType::Float8);
    is_plain
        && of_right
        && (matches!(call.name, "count" | "min" | "max") || matches!(call.name, "sum" | "avg") && !is_float)
}

/// What a condition compares, if it is that two columns of one type are equal.
fn pair(conjunct: &Expr, left_width: usize) -> Option<KeyPair> {
    let Expr::Call { function, args, .. } = conjunct else { return None };
    let [Expr::Column { index: a, pg_type }, Expr::Column { index: b, pg_type: other }] = args.as_slice()
    else {
        return None;
    };
    let pair = [*a.min(b), *a.max(b)];
    let is_equality = function.name == "=" && pg_type == other;
    (is_equality && pair[0] < left_width && pair[1] >= left_width).then_some(pair)
}

fn aggregate_first(join: Join, groups: &[Expr], aggregates: Vec<Aggregate>, keys: &[KeyPair]) -> Logical {
    let left_width = join.left.types().len();
    let right_types = join.right.types();
    let column = |index: usize, pg_type: PgType| Expr::Column { index, pg_type };
    let right_groups =
        keys.iter().map(|[_, right]| column(right - left_width, right_types[right - left_width])).collect();
    let first = (left_width + keys.len()..).zip(&aggregates).map(|(index, aggregate)| {
        let (call, value) = (&aggregate.call, column(index, aggregate.call.pg_type));
        let zero = Expr::Literal { value: Datum::Int8(0), pg_type: PgType::Int8 };
        if call.name == "count" { Expr::Coalesce(vec![value, zero]) } else { value }
    });
    let output: Vec<Expr> = groups
        .iter()
        .map(|group| column(column_of(&join, group).expect("groups are columns"), group.pg_type()))
        .chain(first)
        .collect();
    let aggregates = aggregates.into_iter().map(|mut aggregate| {
        let args = &mut aggregate.call.args;
        args.iter_mut().for_each(|arg| renumber(arg, &|index| join.output[index] - left_width));
        aggregate
    });
    let aggregates = aggregates.collect();
    let right = Logical::Aggregate { input: Box::new(join.right), groups: right_groups, aggregates };
    let place = |index: usize, conjunct: &mut Expr| {
        let [left, _] = keys[index];
        renumber(conjunct, &|column| if column == left { left } else { left_width + index });
    };
    let mut conjuncts = join.conjuncts;
    conjuncts.iter_mut().enumerate().for_each(|(index, conjunct)| place(index, conjunct));
    let joined = Join::new(join.left, right, JoinKind::Left, conjuncts);
    Logical::Project { input: Box::new(Logical::Join(Box::new(joined))), exprs: output }
}
