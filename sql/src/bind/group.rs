//! Grouping: rewriting expressions over a table's rows into expressions over groups.

use omen_core::catalog::Table;

use super::expr::{AGGREGATE_BASE, GROUPINGS_BASE, SETS_BASE, WINDOWS_BASE};
use super::names::Scope;
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;

/// Column indexes from here on are grouping expressions, counted from 0; below [`AGGREGATE_BASE`].
const GROUP_BASE: usize = 1 << 23;

/// Replaces grouping expressions and aggregates by the columns of an aggregate node: groups first.
///
/// # Errors
/// 42803 if a column is neither.
pub(super) fn over_groups(expr: Expr, groups: &[Expr], groupings: &[Expr], scope: &Scope) -> Result<Expr> {
    let marked = expr.transform(&mut |part| match groups.iter().position(|group| *group == part) {
        Some(position) => Expr::Column { index: GROUP_BASE + position, pg_type: part.pg_type() },
        None => part,
    });
    let mut ungrouped = None;
    marked.visit(&mut |part| match part {
        Expr::Column { index, .. } if *index < GROUP_BASE => ungrouped = ungrouped.or(Some(*index)),
        _ => {}
    });
    if let Some(index) = ungrouped {
        return Err(not_grouped(index, scope, false));
    }
    Ok(marked.transform(&mut |part| match part {
        Expr::Column { index, .. } if (GROUPINGS_BASE..SETS_BASE).contains(&index) => {
            groupings[index - GROUPINGS_BASE].clone()
        }
        Expr::Column { index, .. } if index >= WINDOWS_BASE => part,
        Expr::Column { index, pg_type } if index >= AGGREGATE_BASE => {
            Expr::Column { index: groups.len() + index - AGGREGATE_BASE, pg_type }
        }
        Expr::Column { index, pg_type } => Expr::Column { index: index - GROUP_BASE, pg_type },
        other => other,
    }))
}

/// 42803 for a column that an expression, or a subquery of it, reads.
pub(super) fn not_grouped(index: usize, scope: &Scope, in_subquery: bool) -> SqlError {
    let name = scope.column_at(index).map(|(relation, column)| format!("{}.{}", relation.alias, column.name));
    let name = name.unwrap_or_default();
    let message = match in_subquery {
        true => format!("subquery uses ungrouped column \"{name}\" from outer query"),
        false => format!(
            "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"
        ),
    };
    SqlError::new(SqlState::GROUPING_ERROR, message)
}

/// Adds what a grouped primary key determines: all columns of the table that the expressions read. `offset` is where
/// the table's columns begin.
pub(super) fn add_determined(
    groups: &mut Vec<Expr>,
    table: &Table,
    offset: usize,
    exprs: &mut dyn Iterator<Item = &Expr>,
) {
    let is_grouped = |groups: &[Expr], column: usize| {
        groups.iter().any(|group| matches!(group, Expr::Column { index, .. } if *index == column))
    };
    let mut key = table.schema.key.iter();
    if table.schema.has_hidden_key() || !key.all(|column| is_grouped(groups, offset + *column)) {
        return;
    }
    let own = offset..offset + table.schema.columns.len();
    for expr in exprs {
        expr.visit(&mut |part| match part {
            Expr::Column { index, .. } if own.contains(index) && !is_grouped(groups, *index) => {
                groups.push(part.clone());
            }
            _ => {}
        });
    }
}
