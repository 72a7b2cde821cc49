//! What is known about the rows of a plan: which columns are never NULL, and which tell rows apart.

use crate::expr::Expr;
use crate::logical::{JoinKind, Logical};

/// Whether a column is never NULL.
pub(super) fn never_null(plan: &Logical, column: usize) -> bool {
    match plan {
        Logical::Scan(scan) => {
            let schema = &scan.table.schema;
            let column = scan.columns[column];
            schema.columns[column].not_null || schema.key.contains(&column)
        }
        Logical::Join(join) => {
            let left_width = join.left.types().len();
            match join.output[column].checked_sub(left_width) {
                None => !join.kind.keeps_right() && never_null(&join.left, join.output[column]),
                Some(column) if column < join.right.types().len() => {
                    join.kind == JoinKind::Inner && never_null(&join.right, column)
                }
                Some(_) => join.mark.is_none(),
            }
        }
        Logical::Project { input, exprs } => match &exprs[column] {
            Expr::Column { index, .. } => never_null(input, *index),
            Expr::Literal { value, .. } => *value != omen_core::types::Datum::Null,
            _ => false,
        },
        Logical::Aggregate { input, groups, aggregates } => match groups.get(column) {
            Some(Expr::Column { index, .. }) => never_null(input, *index),
            Some(_) => false,
            None => aggregates[column - groups.len()].call.name == "count",
        },
        Logical::Filter { input, .. }
        | Logical::Distinct { input }
        | Logical::Sort { input, .. }
        | Logical::Limit { input, .. }
        | Logical::LimitBy { input, .. } => never_null(input, column),
        _ => false,
    }
}

/// Whether no two rows agree in these columns, or there is at most one row.
pub(super) fn is_unique(plan: &Logical, columns: &[usize]) -> bool {
    match plan {
        Logical::Values { rows, .. } => rows.len() <= 1,
        Logical::Scan(scan) => {
            let has = |key: &usize| columns.iter().any(|column| scan.columns[*column] == *key);
            scan.table.schema.key.iter().all(has)
        }
        Logical::Project { input, exprs } => {
            let below = columns.iter().filter_map(|column| match &exprs[*column] {
                Expr::Column { index, .. } => Some(*index),
                _ => None,
            });
            is_unique(input, &below.collect::<Vec<_>>())
        }
        Logical::Aggregate { groups, .. } => (0..groups.len()).all(|group| columns.contains(&group)),
        Logical::Distinct { input } => {
            (0..input.types().len()).all(|column| columns.contains(&column)) || is_unique(input, columns)
        }
        Logical::Limit { input, limit, .. } => {
            let is_one = |limit: &Expr| {
                matches!(limit, Expr::Literal { value: omen_core::types::Datum::Int8(0 | 1), .. })
            };
            limit.as_ref().is_some_and(is_one) || is_unique(input, columns)
        }
        Logical::LimitBy { input, groups, limit, with_ties, .. } => {
            let is_one = |limit: &Expr| {
                matches!(limit, Expr::Literal { value: omen_core::types::Datum::Int8(0 | 1), .. })
            };
            (!with_ties
                && limit.as_ref().is_some_and(is_one)
                && groups.iter().all(|group| columns.contains(group)))
                || is_unique(input, columns)
        }
        Logical::Filter { input, .. } | Logical::Sort { input, .. } => is_unique(input, columns),
        Logical::Join(join) if matches!(join.kind, JoinKind::Semi | JoinKind::Anti | JoinKind::Mark) => {
            let left_width = join.left.types().len();
            let below = columns.iter().map(|column| join.output[*column]);
            is_unique(&join.left, &below.filter(|column| *column < left_width).collect::<Vec<_>>())
        }
        _ => false,
    }
}

/// Whether a row has at most one partner in a plan. The conditions are over the columns of the row, so many, and then
/// those of the plan.
pub(super) fn is_partner_unique(plan: &Logical, conjuncts: &[Expr], left_width: usize) -> bool {
    is_unique(plan, &partner_columns(conjuncts, left_width))
}

/// The columns of the right side whose values conditions tell.
fn partner_columns(conjuncts: &[Expr], left_width: usize) -> Vec<usize> {
    let of_left = |expr: &Expr| {
        let mut of_left = true;
        expr.visit(&mut |part| {
            of_left &= !matches!(part, Expr::Column { index, .. } if *index >= left_width);
        });
        of_left
    };
    let of_right = |expr: &Expr| match expr {
        Expr::Column { index, .. } => index.checked_sub(left_width),
        Expr::Cast { arg, .. } => match **arg {
            // Wider integers are equal only if they were.
            Expr::Column { index, .. } => index.checked_sub(left_width),
            _ => None,
        },
        _ => None,
    };
    let mut columns = Vec::new();
    for conjunct in conjuncts {
        let (a, b) = match conjunct {
            Expr::Call { function, args, .. } if function.name == "=" => match args.as_slice() {
                [a, b] => (a, b),
                _ => continue,
            },
            Expr::IsDistinct { left, right, negated: true } => (&**left, &**right),
            _ => continue,
        };
        if of_left(a) {
            columns.extend(of_right(b));
        } else if of_left(b) {
            columns.extend(of_right(a));
        }
    }
    columns
}
