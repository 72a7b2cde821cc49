//! UNION, INTERSECT and EXCEPT.
//!
//! `sqlparser` gives a tree as deep on its left as a chain is long; it is bound in a loop, and runs of one operator
//! become one node. Types are matched pair by pair from the left, as PostgreSQL does: `'1' UNION '2' UNION 3` fails,
//! because the first pair makes text.

use omen_core::types::PgType;
use sqlparser::ast::{self, OrderBy, SetExpr, SetOperator, SetQuantifier};

use super::Binder;
use super::expr::ExprScope;
use super::names::{Relation, Scope};
use super::output::Item;
use super::select::{
    BoundQuery, Distinctness, OrderSource, Untyped, comparable, finish_select, scope_columns,
};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::logical::{Logical, SetKind, SetOperation};
use crate::parse::{too_deep, with_stack};

/// Most changes of the operator in a chain, each of which makes the plan deeper.
const CHANGES_MAX: usize = 64;

/// What a set operation inside another one adds to the depth of what is bound.
const NESTED_DEPTH: usize = 8;

/// An operator with the branch on its right.
struct Link<'q> {
    op: SetOperator,
    all: bool,
    branch: &'q SetExpr,
}

impl Binder<'_> {
    /// Binds a set operation with its ORDER BY.
    ///
    /// # Errors
    /// All that its branches report; 42601 and 42804 if they do not fit together; 0A000 for ORDER BY of anything but
    /// output columns.
    pub(super) fn set_operation(&mut self, body: &SetExpr, order_by: Option<&OrderBy>) -> Result<BoundQuery> {
        if self.depth + NESTED_DEPTH > super::EXPR_DEPTH_MAX {
            return Err(too_deep());
        }
        self.depth += NESTED_DEPTH;
        let bound = with_stack(|| self.chain_of_sets(body));
        self.depth -= NESTED_DEPTH;
        let bound = bound?;
        if order_by.is_some() { self.order_set(bound, body, order_by) } else { Ok(bound) }
    }

    fn chain_of_sets(&mut self, body: &SetExpr) -> Result<BoundQuery> {
        let mut links = Vec::new();
        let mut first = body;
        while let SetExpr::SetOperation { op, set_quantifier, left, right } = first {
            let all = match set_quantifier {
                SetQuantifier::All => true,
                SetQuantifier::Distinct | SetQuantifier::None => false,
                SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                    self.not_postgres(true, "BY NAME")?;
                    false
                }
            };
            self.not_postgres(*op == SetOperator::Minus, "MINUS")?;
            links.push(Link { op: *op, all, branch: right });
            first = left;
        }
        links.reverse();
        let changes = links.windows(2).filter(|pair| (pair[0].op, pair[0].all) != (pair[1].op, pair[1].all));
        if changes.count() > CHANGES_MAX {
            return Err(too_deep());
        }
        let mut bound = self.branch(first)?;
        for link in links {
            let right = self.branch(link.branch)?;
            bound = self.combined(bound, right, link.op, link.all)?;
        }
        for column in &mut bound.columns {
            column.table = None;
        }
        Ok(bound)
    }

    /// Binds one branch; literals without a type keep having none.
    fn branch(&mut self, body: &SetExpr) -> Result<BoundQuery> {
        match body {
            SetExpr::Query(query) => self.query(query, Untyped::Keep),
            body => with_stack(|| self.body(body, None, Untyped::Keep)),
        }
    }

    fn combined(
        &mut self,
        mut left: BoundQuery,
        mut right: BoundQuery,
        op: SetOperator,
        all: bool,
    ) -> Result<BoundQuery> {
        let name = op.to_string();
        if left.columns.len() != right.columns.len() {
            let message = format!("each {name} query must have the same number of columns");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        let mut types = Vec::with_capacity(left.columns.len());
        let (mut lefts, mut rights) = (columns_of(&mut left.plan), columns_of(&mut right.plan));
        for (a, b) in lefts.iter_mut().zip(&mut rights) {
            let sides = vec![take(a), take(b)];
            let modifier = (sides[0].pg_type() == sides[1].pg_type()).then(|| sides[0].pg_type());
            let known =
                sides.iter().any(|side| !matches!(side, Expr::Unknown(_) | Expr::UntypedParameter(_)));
            let (mut sides, common) = self.build().unify(&name, sides)?;
            let pg_type = modifier.filter(|_| known).unwrap_or(common);
            if op != SetOperator::Union || !all {
                comparable(pg_type, "an equality")?;
            }
            types.push(pg_type);
            (*b, *a) = (take(&mut sides[1]), take(&mut sides[0]));
        }
        let (first, second) = (with_columns(left.plan, lefts), with_columns(right.plan, rights));
        if types.is_empty() && !(op == SetOperator::Union && all) {
            return Err(SqlError::unsupported(format!("{name} of no columns"), "Give each branch a column."));
        }
        for (column, pg_type) in left.columns.iter_mut().zip(&types) {
            column.pg_type = *pg_type;
        }
        let plan = match op {
            SetOperator::Union if all => appended(first, second, SetKind::UnionAll, types),
            SetOperator::Union => {
                let first = match first {
                    // What was made one already is so again.
                    Logical::Distinct { input } if matches!(*input, Logical::Combine(_)) => *input,
                    other => other,
                };
                Logical::Distinct { input: Box::new(appended(first, second, SetKind::UnionAll, types)) }
            }
            SetOperator::Intersect => appended(first, second, SetKind::Intersect { all }, types),
            SetOperator::Except | SetOperator::Minus => {
                appended(first, second, SetKind::Except { all }, types)
            }
        };
        Ok(BoundQuery { plan, columns: left.columns })
    }

    /// Orders the result by output columns.
    fn order_set(
        &mut self,
        bound: BoundQuery,
        body: &SetExpr,
        order_by: Option<&ast::OrderBy>,
    ) -> Result<BoundQuery> {
        let relation =
            Relation { alias: String::new(), table: None, columns: scope_columns(&bound.columns), offset: 0 };
        let scope = Scope::of(relation);
        let item = |(index, column): (usize, &crate::session::ColumnInfo)| Item {
            expr: Expr::Column { index, pg_type: column.pg_type },
            name: column.name.clone(),
            ast: None,
        };
        let items: Vec<Item<'_>> = bound.columns.iter().enumerate().map(item).collect();
        let order = self.order_by(order_by, &items, &mut ExprScope::plain(&scope, "ORDER BY"))?;
        if order.iter().any(|item| matches!(item.source, OrderSource::Expr(_))) || !plain_order(order_by) {
            let SetExpr::SetOperation { .. } = body else { return Ok(bound) };
            let message = "invalid UNION/INTERSECT/EXCEPT ORDER BY clause";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .detail("Only result column names can be used, not expressions or functions.")
                .hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause."));
        }
        let exprs = items.into_iter().map(|item| item.expr).collect();
        Ok(BoundQuery {
            plan: finish_select(bound.plan, exprs, Distinctness::All, order)?,
            columns: bound.columns,
        })
    }
}

/// Whether all that is ordered by is a name or a number.
fn plain_order(order_by: Option<&ast::OrderBy>) -> bool {
    let Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(asts), .. }) = order_by else { return true };
    asts.iter().all(|order| {
        matches!(
            super::expr::bare(&order.expr),
            ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) | ast::Expr::Value(_)
        )
    })
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Unknown(None))
}

/// The output columns: those whose type nothing tells yet as what they are, which is taken out of the plan.
fn columns_of(plan: &mut Logical) -> Vec<Expr> {
    let types = plan.types();
    let column = |(index, pg_type)| Expr::Column { index, pg_type };
    let mut columns: Vec<Expr> = types.into_iter().enumerate().map(column).collect();
    let mut node = plan;
    while let Logical::Limit { input, .. } = node {
        node = input;
    }
    if let Logical::Project { exprs, .. } = node {
        for (expr, column) in exprs.iter_mut().zip(&mut columns) {
            if matches!(expr, Expr::Unknown(_) | Expr::UntypedParameter(_)) {
                *column = std::mem::replace(expr, Expr::null(PgType::Text));
            }
        }
    }
    columns
}

/// The plan giving these expressions over its columns.
fn with_columns(plan: Logical, columns: Vec<Expr>) -> Logical {
    let in_place =
        |(position, expr): (usize, &Expr)| matches!(expr, Expr::Column { index, .. } if *index == position);
    if columns.iter().enumerate().all(in_place) {
        return plan;
    }
    Logical::Project { input: Box::new(plan), exprs: columns }
}

/// A set operation of two inputs; the first one's inputs if it is the same operation.
fn appended(first: Logical, second: Logical, kind: SetKind, types: Vec<PgType>) -> Logical {
    match first {
        // `a INTERSECT ALL b INTERSECT ALL c` and the like may be done in one go.
        Logical::Combine(mut set) if set.kind == kind => {
            set.inputs.push(second);
            set.types = types;
            Logical::Combine(set)
        }
        first => Logical::Combine(Box::new(SetOperation { kind, inputs: vec![first, second], types })),
    }
}
