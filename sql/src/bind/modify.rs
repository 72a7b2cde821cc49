//! UPDATE and DELETE.

use std::sync::Arc;

use omen_core::catalog::Table;
use sqlparser::ast::{self, AssignmentTarget, Expr as Ast, FromTable, TableFactor};

use super::Binder;
use super::expr::{ExprScope, bare};
use super::insert::{Returning, is_default, other_tables};
use super::names::{Relation, Scope, fold};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;

/// An UPDATE or DELETE.
#[derive(Clone, Debug)]
pub(crate) struct Modify {
    /// Of this table.
    pub(crate) table: Arc<Table>,
    /// Which rows: conditions over all columns of the table.
    pub(crate) filter: Vec<Expr>,
    /// What happens to them.
    pub(crate) change: Change,
    /// What is answered about each row.
    pub(crate) returning: Option<Returning>,
}

/// What happens to rows.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// New values of columns, over all columns of the table.
    Update(Vec<(usize, Expr)>),
    /// They go.
    Delete,
}

impl Binder<'_> {
    /// Binds an UPDATE.
    ///
    /// # Errors
    /// All that binding reports.
    pub(crate) fn update(&mut self, update: &ast::Update) -> Result<Modify> {
        let ast::Update {
            update_token: _,
            optimizer_hints: _,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        let foreign = output.is_some() || or.is_some() || !order_by.is_empty() || limit.is_some();
        self.not_postgres(foreign, "this form of UPDATE")?;
        if from.is_some() || !table.joins.is_empty() {
            return Err(other_tables());
        }
        let (table, alias) = self.modified_table(&table.relation)?;
        let scope = Scope::of(Relation::of_table(&table, alias.clone(), 0));
        let assignments = self.assignments(&table, assignments, &scope)?;
        let filter = self.filter(selection.as_ref(), &scope)?;
        let returning = self.returning(&table, &alias, returning.as_deref())?;
        Ok(Modify { table, filter, change: Change::Update(assignments), returning })
    }

    /// Binds a DELETE.
    ///
    /// # Errors
    /// All that binding reports.
    pub(crate) fn delete(&mut self, delete: &ast::Delete) -> Result<Modify> {
        let ast::Delete {
            delete_token: _,
            optimizer_hints: _,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        let foreign = !tables.is_empty() || output.is_some() || !order_by.is_empty() || limit.is_some();
        self.not_postgres(foreign, "this form of DELETE")?;
        let FromTable::WithFromKeyword(from) = from else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: DELETE needs FROM"));
        };
        let [one] = from.as_slice() else { return Err(other_tables()) };
        if using.is_some() || !one.joins.is_empty() {
            return Err(other_tables());
        }
        let (table, alias) = self.modified_table(&one.relation)?;
        let scope = Scope::of(Relation::of_table(&table, alias.clone(), 0));
        let filter = self.filter(selection.as_ref(), &scope)?;
        let returning = self.returning(&table, &alias, returning.as_deref())?;
        Ok(Modify { table, filter, change: Change::Delete, returning })
    }

    fn modified_table(&self, factor: &TableFactor) -> Result<(Arc<Table>, String)> {
        let TableFactor::Table { name, alias, .. } = factor else { return Err(other_tables()) };
        self.refuse_table_extras(factor)?;
        let name = self.table_name(name)?;
        let table = self.table(&name)?;
        let alias = alias.as_ref().map_or_else(|| name.name.clone(), |alias| fold(&alias.name));
        Ok((table, alias))
    }

    fn filter(&mut self, selection: Option<&Ast>, scope: &Scope) -> Result<Vec<Expr>> {
        match selection {
            None => Ok(Vec::new()),
            Some(ast) => Ok(self.condition(ast, &mut ExprScope::plain(scope, "WHERE"))?.into_conjuncts()),
        }
    }

    /// Binds `SET a = 1, (b, c) = (2, DEFAULT)`.
    pub(super) fn assignments(
        &mut self,
        table: &Table,
        assignments: &[ast::Assignment],
        scope: &Scope,
    ) -> Result<Vec<(usize, Expr)>> {
        let mut bound: Vec<(usize, Expr)> = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(name) => {
                    let target = self.target(table, name)?;
                    let value = self.assignment(table, target, &assignment.value, scope)?;
                    add(table, &mut bound, target, value)?;
                }
                AssignmentTarget::Tuple(names) => {
                    let values = match bare(&assignment.value) {
                        Ast::Tuple(values) => values.as_slice(),
                        Ast::Subquery(_) => {
                            return Err(SqlError::unsupported(
                                "a subquery inside an expression",
                                "Run the inner query first and give its answer as parameters.",
                            ));
                        }
                        _ if names.len() == 1 => std::slice::from_ref(&assignment.value),
                        _ => {
                            let message = "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
                            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                        }
                    };
                    if values.len() != names.len() {
                        let message = "number of columns does not match number of values";
                        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                    }
                    for (name, value) in names.iter().zip(values) {
                        let target = self.target(table, name)?;
                        let value = self.assignment(table, target, value, scope)?;
                        add(table, &mut bound, target, value)?;
                    }
                }
            }
        }
        Ok(bound)
    }

    fn assignment(&mut self, table: &Table, target: usize, value: &Ast, scope: &Scope) -> Result<Expr> {
        if is_default(value) {
            return self.default_of(table, target);
        }
        let value = self.expr(value, &mut ExprScope::plain(scope, "UPDATE"))?;
        self.assigned(table, target, value)
    }
}

fn add(table: &Table, bound: &mut Vec<(usize, Expr)>, target: usize, value: Expr) -> Result<()> {
    if bound.iter().any(|(column, _)| *column == target) {
        let message =
            format!("multiple assignments to same column \"{}\"", table.schema.columns[target].name);
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
    }
    bound.push((target, value));
    Ok(())
}
