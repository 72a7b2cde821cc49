//! SELECT .. FOR UPDATE and FOR SHARE.
//!
//! Rows are locked by writing them again as they are, so that others wait for them, or fail, as for rows that an UPDATE
//! changes. Both kinds of locks are this one: it keeps out more than PostgreSQL's FOR SHARE, never less (PG 15, chapter
//! 13.3.2). Where PostgreSQL locks rows before LIMIT, these are locked behind it; rows that changed meanwhile make the
//! statement run again.

use sqlparser::ast::{self, Distinct, GroupByExpr, LockType, SetExpr, TableFactor};

use super::Binder;
use super::expr::ExprScope;
use super::from::Source;
use super::insert::Returning;
use super::modify::{Change, Modify};
use super::names::fold;
use super::output::column_infos;
use super::select::{Distinctness, OrderSource, finish_select, order_exprs};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;

impl Binder<'_> {
    /// Binds a query that locks rows of the one table it reads.
    ///
    /// # Errors
    /// All that binding reports; 0A000 for what rows cannot be locked through.
    pub(crate) fn lock(&mut self, query: &ast::Query) -> Result<Modify> {
        let command = match query.locks.first().map(|lock| lock.lock_type) {
            Some(LockType::Share) => "SELECT FOR SHARE",
            _ => "SELECT FOR UPDATE",
        };
        let select = match query.body.as_ref() {
            SetExpr::Select(select) => select,
            SetExpr::Query(_) => return Err(one_table(command)),
            SetExpr::Values(_) => {
                let clause = clause_of(command);
                let message = format!("{clause} cannot be applied to VALUES");
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            _ => return Err(not_allowed(command, "UNION/INTERSECT/EXCEPT")),
        };
        self.refuse_select(select)?;
        let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, modifiers)
            if exprs.is_empty() && modifiers.is_empty());
        let clauses = [
            (!matches!(select.distinct, None | Some(Distinct::All)), "DISTINCT clause"),
            (is_grouped, "GROUP BY clause"),
            (select.having.is_some(), "HAVING clause"),
        ];
        if let Some((_, clause)) = clauses.iter().find(|(there, _)| *there) {
            return Err(not_allowed(command, clause));
        }
        let named = self.with(query.with.as_ref())?;
        let bound = self.locked(query, select, command);
        self.ctes.truncate(named);
        bound
    }

    fn locked(&mut self, query: &ast::Query, select: &ast::Select, command: &'static str) -> Result<Modify> {
        let factor = match select.from.as_slice() {
            [from] if from.joins.is_empty() => &from.relation,
            _ => return Err(one_table(command)),
        };
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return Err(one_table(command));
        };
        let table_name = self.table_name(name)?.name;
        if name.0.len() == 1 && self.ctes.iter().any(|cte| cte.name == table_name) {
            return Err(one_table(command));
        }
        let alias = alias.as_ref().map_or(table_name, |alias| fold(&alias.name));
        self.check_locks(&query.locks, &alias, command)?;
        let (table, Source { mut plan, scope, .. }) = self.modified(factor, &[])?;
        if let Some(condition) = &select.selection {
            let condition = self.condition(condition, &mut ExprScope::plain(&scope, "WHERE"))?;
            plan = self.filtered(plan, condition)?;
        }
        let mut outputs = ExprScope::plain(&scope, clause_of(command));
        let calls_refused = |error: SqlError| match error.state {
            SqlState::GROUPING_ERROR => not_allowed(command, "aggregate functions"),
            SqlState::WINDOWING_ERROR => not_allowed(command, "window functions"),
            _ => error,
        };
        let mut items = self.items(&select.projection, &mut outputs).map_err(calls_refused)?;
        for item in &mut items {
            let expr = std::mem::replace(&mut item.expr, Expr::Unknown(None));
            item.expr = self.build().output(expr)?;
        }
        let columns = column_infos(&items, &scope);
        let mut order =
            self.order_by(query.order_by.as_ref(), &items, &mut outputs).map_err(calls_refused)?;
        for item in &mut order {
            if let OrderSource::Item(position) = item.source {
                item.source = OrderSource::Expr(items[position].expr.clone());
            }
        }
        let exprs = items.iter_mut().map(|item| &mut item.expr);
        plan = self.attach(plan, &mut exprs.chain(order_exprs(&mut order)).collect::<Vec<_>>())?;
        let is_ordered = !order.is_empty();
        if is_ordered {
            let column = |(index, pg_type)| Expr::Column { index, pg_type };
            let all = plan.types().into_iter().enumerate().map(column).collect();
            plan = finish_select(plan, all, Distinctness::All, order)?;
        }
        let rows = self.limit(plan, is_ordered, query.limit_clause.as_ref(), query.fetch.as_ref())?;
        let exprs = items.into_iter().map(|item| item.expr).collect();
        let returning = Some(Returning { exprs, columns });
        Ok(Modify { table, rows, joined: false, change: Change::Lock(command), returning })
    }

    /// Whether all locks are of the table that is called `alias`, and wait.
    fn check_locks(&self, locks: &[ast::LockClause], alias: &str, command: &'static str) -> Result<()> {
        for lock in locks {
            if let Some(how) = &lock.nonblock {
                let hint = "Leave it out: a wait ends after 10 seconds with 40P01, or by statement_timeout.";
                return Err(SqlError::unsupported(format!("{command} with {how}"), hint));
            }
            let Some(of) = &lock.of else { continue };
            let of = super::names::parts(of)?.pop().unwrap_or_default();
            if of != alias {
                let message =
                    format!("relation \"{of}\" in {} clause not found in FROM clause", clause_of(command));
                return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
            }
        }
        Ok(())
    }
}

fn clause_of(command: &'static str) -> &'static str {
    command.trim_start_matches("SELECT ")
}

fn not_allowed(command: &'static str, with: &str) -> SqlError {
    let message = format!("{} is not allowed with {with}", clause_of(command));
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

fn one_table(command: &'static str) -> SqlError {
    let hint = "Lock the rows of one table, SELECT .. FROM a WHERE .. FOR UPDATE, and read the others in subqueries.";
    SqlError::unsupported(format!("{command} of other than one table"), hint)
}
