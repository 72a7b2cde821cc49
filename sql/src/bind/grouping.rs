//! GROUP BY: what rows are grouped by, grouping sets, and GROUPING.
//!
//! With grouping sets, rows are multiplied below the aggregation (`Logical::Expand`): one copy for each set, in which
//! the columns that the set does not have are NULL, with the number of the set as one more column to group by.

use omen_core::types::{Datum, PgType};
use sqlparser::ast::{Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr};

use super::Binder;
use super::expr::{ExprScope, GROUPINGS_BASE, bare};
use super::names::{Scope, fold, parts};
use super::output::Item;
use super::select::{comparable, reads_aggregates};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::logical::{Aggregate, Logical};

/// Most grouping sets, as in PostgreSQL.
const SETS_MAX: usize = 4_096;

/// Most elements of a CUBE, as in PostgreSQL.
const CUBE_MAX: usize = 12;

/// The position of the set's number among what is grouped by; nothing else has it.
const SET_NUMBER: usize = usize::MAX;

/// What rows are grouped by.
pub(super) struct Grouping {
    /// All expressions.
    pub(super) groups: Vec<Expr>,
    /// Which of them each set has; none if there is only one set, of all.
    pub(super) sets: Option<Vec<Vec<usize>>>,
}

impl Binder<'_> {
    /// Binds GROUP BY.
    pub(super) fn group_by(
        &mut self,
        group_by: &GroupByExpr,
        items: &[Item<'_>],
        scope: &Scope,
    ) -> Result<Grouping> {
        let GroupByExpr::Expressions(asts, modifiers) = group_by else {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                "syntax error: GROUP BY ALL is not PostgreSQL",
            ));
        };
        self.not_postgres(!modifiers.is_empty(), "GROUP BY with modifiers")?;
        let mut groups: Vec<Expr> = Vec::with_capacity(asts.len());
        let once = asts.first().is_some_and(crate::parse::is_group_by_distinct);
        let asts = &asts[usize::from(once)..];
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        let mut several = false;
        for ast in asts {
            let own = self.element(ast, items, scope, &mut groups, &mut several)?;
            check_count(sets.len() * own.len())?;
            sets = sets.iter().flat_map(|set| own.iter().map(|own| [&set[..], own].concat())).collect();
        }
        for set in &mut sets {
            set.sort_unstable();
            set.dedup();
        }
        if once {
            let mut seen = std::collections::BTreeSet::new();
            sets.retain(|set| seen.insert(set.clone()));
        }
        Ok(Grouping { groups, sets: several.then_some(sets) })
    }

    /// The grouping sets of one element.
    fn element(
        &mut self,
        ast: &Ast,
        items: &[Item<'_>],
        scope: &Scope,
        groups: &mut Vec<Expr>,
        several: &mut bool,
    ) -> Result<Vec<Vec<usize>>> {
        let called = called(ast);
        let (kind, elements): (&str, Vec<Vec<usize>>) = match (ast, &called) {
            (Ast::Rollup(lists), _) => (
                "rollup",
                lists.iter().map(|list| self.tuple(list, items, scope, groups)).collect::<Result<_>>()?,
            ),
            (Ast::Cube(lists), _) => (
                "cube",
                lists.iter().map(|list| self.tuple(list, items, scope, groups)).collect::<Result<_>>()?,
            ),
            (_, Some((name, args))) => {
                let lists =
                    args.iter().map(|arg| self.tuple(std::slice::from_ref(*arg), items, scope, groups));
                (name, lists.collect::<Result<_>>()?)
            }
            (Ast::GroupingSets(lists), _) => {
                *several = true;
                let mut sets = Vec::new();
                for list in lists {
                    match list.as_slice() {
                        [one] if !matches!(one, Ast::Tuple(_)) => {
                            sets.extend(self.element(one, items, scope, groups, several)?);
                        }
                        list => sets.push(self.tuple(list, items, scope, groups)?),
                    }
                    check_count(sets.len())?;
                }
                return Ok(sets);
            }
            (Ast::Tuple(asts), _) => {
                // `()` alone groups all rows, even if there are none.
                *several |= asts.is_empty();
                return Ok(vec![self.tuple(asts, items, scope, groups)?]);
            }
            (ast, None) => return Ok(vec![self.tuple(std::slice::from_ref(ast), items, scope, groups)?]),
        };
        *several = true;
        if kind == "rollup" {
            return Ok((0..=elements.len()).rev().map(|count| elements[..count].concat()).collect());
        }
        if elements.len() > CUBE_MAX {
            let message = format!("CUBE is limited to {CUBE_MAX} elements");
            return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
        }
        let subset = |mask: usize| {
            let own = elements.iter().enumerate().filter(|(place, _)| mask >> place & 1 == 1);
            own.flat_map(|(_, element)| element.iter().copied()).collect()
        };
        Ok((0..1 << elements.len()).rev().map(subset).collect())
    }

    /// The positions of expressions, some of which may stand in brackets together.
    fn tuple(
        &mut self,
        asts: &[Ast],
        items: &[Item<'_>],
        scope: &Scope,
        groups: &mut Vec<Expr>,
    ) -> Result<Vec<usize>> {
        let mut set = Vec::with_capacity(asts.len());
        for ast in asts {
            match ast {
                Ast::Tuple(asts) => {
                    for ast in asts {
                        set.push(self.group(ast, items, scope, groups)?);
                    }
                }
                ast => set.push(self.group(ast, items, scope, groups)?),
            }
        }
        Ok(set)
    }

    /// The position of an expression among those that are grouped by.
    fn group(
        &mut self,
        ast: &Ast,
        items: &[Item<'_>],
        scope: &Scope,
        groups: &mut Vec<Expr>,
    ) -> Result<usize> {
        let group = self.group_expr(ast, items, scope)?;
        comparable(group.pg_type(), "an equality")?;
        Ok(groups.iter().position(|known| *known == group).unwrap_or_else(|| {
            groups.push(group);
            groups.len() - 1
        }))
    }

    fn group_expr(&mut self, ast: &Ast, items: &[Item<'_>], scope: &Scope) -> Result<Expr> {
        if let Some(position) = self.item_position(ast, items, "GROUP BY")? {
            let expr = items[position].expr.clone();
            refuse_computed(&expr)?;
            return Ok(expr);
        }
        let alias = match bare(ast) {
            Ast::Identifier(ident) if scope.find(None, &fold(ident))?.is_none() => {
                items.iter().position(|item| item.name == fold(ident) && item.ast.is_some())
            }
            _ => None,
        };
        match alias {
            Some(position) => {
                refuse_computed(&items[position].expr)?;
                Ok(items[position].expr.clone())
            }
            None => {
                let mut own = ExprScope::plain(scope, "GROUP BY");
                let expr = self.expr(ast, &mut own)?;
                self.build().output(expr)
            }
        }
    }

    /// Binds a call of GROUPING.
    pub(super) fn grouping(&mut self, args: &[&Ast], scope: &mut ExprScope<'_>) -> Result<Expr> {
        if scope.in_aggregate {
            let message = "aggregate function calls cannot be nested";
            return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
        }
        if scope.windows.is_none() {
            let message = format!("grouping operations are not allowed in {}", scope.clause);
            return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
        }
        if args.len() > 31 {
            let message = "GROUPING must have fewer than 32 arguments";
            return Err(SqlError::new(SqlState::TOO_MANY_ARGUMENTS, message));
        }
        let args = self.exprs(args.iter().copied(), scope)?;
        scope.groupings.push(args);
        Ok(Expr::Column { index: GROUPINGS_BASE + scope.groupings.len() - 1, pg_type: PgType::Int4 })
    }
}

fn refuse_computed(expr: &Expr) -> Result<()> {
    let mut windows = false;
    expr.visit(&mut |part| {
        let range = super::expr::WINDOWS_BASE..GROUPINGS_BASE;
        windows |= matches!(part, Expr::Column { index, .. } if range.contains(index));
    });
    if windows {
        let message = "window functions are not allowed in GROUP BY";
        return Err(SqlError::new(SqlState::WINDOWING_ERROR, message));
    }
    if reads_aggregates(expr) {
        let message = "aggregate functions are not allowed in GROUP BY";
        return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
    }
    Ok(())
}

fn check_count(sets: usize) -> Result<()> {
    if sets > SETS_MAX {
        let message = format!("too many grouping sets present (maximum {SETS_MAX})");
        return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, message));
    }
    Ok(())
}

/// ROLLUP and CUBE inside GROUPING SETS, which `sqlparser` reads as functions.
fn called(ast: &Ast) -> Option<(String, Vec<&Ast>)> {
    let Ast::Function(function) = ast else { return None };
    let name = parts(&function.name).ok()?.pop()?;
    let FunctionArguments::List(list) = &function.args else { return None };
    if !matches!(name.as_str(), "rollup" | "cube") {
        return None;
    }
    let arg = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref arg)) => Some(arg),
        _ => None,
    };
    Some((name, list.args.iter().map(arg).collect::<Option<_>>()?))
}

/// 42803 for what is not grouped by.
pub(super) fn not_grouping() -> SqlError {
    let message = "arguments to GROUPING must be grouping expressions of the associated query level";
    SqlError::new(SqlState::GROUPING_ERROR, message)
}

/// Multiplies rows for grouping sets; groups and aggregates are over the result then.
pub(super) fn expand(
    plan: Logical,
    groups: &mut Vec<Expr>,
    sets: &[Vec<usize>],
    aggregates: &mut [Aggregate],
) -> Logical {
    let width = groups.len() + 1;
    let has = |set: &Vec<usize>| (0..groups.len()).map(|group| set.contains(&group)).collect();
    let sets = sets.iter().map(has).collect();
    let plan = Logical::Expand { input: Box::new(plan), groups: groups.clone(), sets };
    for aggregate in aggregates {
        let exprs = aggregate.call.args.iter_mut().chain(&mut aggregate.filter);
        exprs.for_each(|expr| crate::rules::renumber(expr, &|column| column + width));
    }
    groups.push(Expr::Column { index: SET_NUMBER, pg_type: PgType::Int4 });
    plan
}

/// What calls of GROUPING are, over the aggregation.
pub(super) fn calls(calls: &[Vec<Expr>], groups: &[Expr], sets: Option<&[Vec<usize>]>) -> Result<Vec<Expr>> {
    let mut exprs = Vec::with_capacity(calls.len());
    for args in calls {
        let place = |arg: &Expr| groups.iter().position(|group| group == arg).ok_or_else(not_grouping);
        let places: Vec<usize> = args.iter().map(place).collect::<Result<_>>()?;
        let literal = |value: i32| Expr::Literal { value: Datum::Int4(value), pg_type: PgType::Int4 };
        let Some(sets) = sets else {
            exprs.push(literal(0));
            continue;
        };
        let number = Expr::Column { index: groups.len() - 1, pg_type: PgType::Int4 };
        let mut arms = Vec::with_capacity(sets.len());
        for (set, has) in sets.iter().enumerate() {
            let value = places.iter().fold(0, |value, place| value << 1 | i32::from(!has.contains(place)));
            let (left, right) = (Box::new(number.clone()), Box::new(literal(set as i32)));
            let is_set = Expr::IsDistinct { left, right, negated: true };
            arms.push((is_set, literal(value)));
        }
        exprs.push(Expr::Case { arms, otherwise: None, pg_type: PgType::Int4 });
    }
    Ok(exprs)
}

/// The aggregation.
pub(super) fn aggregate(
    input: Logical,
    mut groups: Vec<Expr>,
    aggregates: Vec<Aggregate>,
    sets: Option<Vec<Vec<usize>>>,
) -> Logical {
    let input = Box::new(input);
    let Some(sets) = sets else { return Logical::Aggregate { input, groups, aggregates } };
    for (index, group) in groups.iter_mut().enumerate() {
        *group = Expr::Column { index, pg_type: group.pg_type() };
    }
    let width = groups.len() - 1;
    let empty = sets.iter().enumerate().filter(|(_, set)| set.is_empty()).map(|(number, _)| number as i32);
    let empty: Vec<i32> = empty.collect();
    let calls = aggregates.iter().map(|aggregate| aggregate.call.clone()).collect();
    let plan = Logical::Aggregate { input, groups, aggregates };
    if empty.is_empty() {
        return plan;
    }
    Logical::EmptySets { input: Box::new(plan), sets: empty, width, aggregates: calls }
}
