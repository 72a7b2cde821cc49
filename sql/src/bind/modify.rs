//! UPDATE and DELETE.

use std::sync::Arc;

use omen_core::catalog::Table;
use sqlparser::ast::{
    self, AssignmentTarget, Expr as Ast, FromTable, TableFactor, TableWithJoins, UpdateTableFromKind,
};

use super::Binder;
use super::expr::{ExprScope, bare};
use super::from::Source;
use super::insert::{Insert, Returning, is_default};
use super::names::{Relation, Scope, fold};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::logical::{Logical, Scan};
use crate::parse::part_assigned;

/// An UPDATE or DELETE, or a SELECT that locks.
#[derive(Clone, Debug)]
pub(crate) struct Modify {
    /// Of this table.
    pub(crate) table: Arc<Table>,
    /// The rows that change: all columns of the table, then those of the tables that are joined with it.
    pub(crate) rows: Logical,
    /// Whether there are such tables, so that a row may come more than once.
    pub(crate) joined: bool,
    /// What happens to them.
    pub(crate) change: Change,
    /// What is answered about each row.
    pub(crate) returning: Option<Returning>,
}

/// What happens to rows.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// New values of columns, over the columns of the rows.
    Update(Vec<(usize, Expr)>),
    /// They go.
    Delete,
    /// They stay, and are the transaction's until it ends; for this command.
    Lock(&'static str),
}

/// A statement that changes rows of a table.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// INSERT
    Insert(Insert),
    /// UPDATE or DELETE
    Modify(Modify),
}

impl Write {
    /// What it answers.
    pub(crate) fn returning(&self) -> Option<&Returning> {
        match self {
            Write::Insert(insert) => insert.returning.as_ref(),
            Write::Modify(modify) => modify.returning.as_ref(),
        }
    }
}

impl Binder<'_> {
    /// Binds an INSERT, UPDATE or DELETE; `None` for any other statement.
    ///
    /// # Errors
    /// All that binding reports.
    pub(crate) fn write(&mut self, statement: &ast::Statement) -> Result<Option<Write>> {
        Ok(Some(match statement {
            ast::Statement::Insert(insert) => Write::Insert(self.insert(insert)?),
            ast::Statement::Update(update) => Write::Modify(self.update(update)?),
            ast::Statement::Delete(delete) => Write::Modify(self.delete(delete)?),
            _ => return Ok(None),
        }))
    }

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
        if !table.joins.is_empty() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: UPDATE changes one table"));
        }
        let from = match from {
            None => [].as_slice(),
            Some(UpdateTableFromKind::AfterSet(from)) => from,
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: FROM comes after SET"));
            }
        };
        let (table, source) = self.modified(&table.relation, from)?;
        let assignments = self.assignments(&table, assignments, &source.scope)?;
        let change = Change::Update(assignments);
        self.modify(table, source, !from.is_empty(), change, selection.as_ref(), returning.as_deref())
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
        let [TableWithJoins { relation, joins }] = from.as_slice() else { return Err(several_tables()) };
        if !joins.is_empty() {
            return Err(several_tables());
        }
        let using = using.as_deref().unwrap_or_default();
        let (table, source) = self.modified(relation, using)?;
        self.modify(
            table,
            source,
            !using.is_empty(),
            Change::Delete,
            selection.as_ref(),
            returning.as_deref(),
        )
    }

    /// The table that changes, and its rows beside those of other tables. What is in FROM cannot name the table.
    pub(super) fn modified(
        &mut self,
        factor: &TableFactor,
        others: &[TableWithJoins],
    ) -> Result<(Arc<Table>, Source)> {
        let TableFactor::Table { name, alias, .. } = factor else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: only a table can be changed"));
        };
        self.refuse_table_extras(factor)?;
        let name = self.table_name(name)?;
        let table = self.table(&name)?;
        let alias = alias.as_ref().map_or_else(|| name.name.clone(), |alias| fold(&alias.name));
        let scope = Scope::of(Relation::of_table(&table, alias, 0));
        let plan = Logical::Scan(Scan::whole(table.clone()));
        let source = Source { plan, scope, tables: vec![(table.clone(), 0)] };
        if others.is_empty() {
            return Ok((table, source));
        }
        let others = self.from(others)?;
        Ok((table, source.crossed(others)?))
    }

    fn modify(
        &mut self,
        table: Arc<Table>,
        source: Source,
        joined: bool,
        mut change: Change,
        selection: Option<&Ast>,
        returning: Option<&[ast::SelectItem]>,
    ) -> Result<Modify> {
        let Source { plan, scope, .. } = source;
        let rows = match selection {
            None => plan,
            Some(condition) => {
                let condition = self.condition(condition, &mut ExprScope::plain(&scope, "WHERE"))?;
                self.filtered(plan, condition)?
            }
        };
        let rows = match &mut change {
            Change::Update(assignments) => {
                let mut values: Vec<&mut Expr> = assignments.iter_mut().map(|(_, value)| value).collect();
                self.attach(rows, &mut values)?
            }
            Change::Delete | Change::Lock(_) => rows,
        };
        let returning = self.returning(&scope, returning)?;
        Ok(Modify { table, rows, joined, change, returning })
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
                    if let Some((part, value)) = part_assigned(&assignment.value) {
                        self.add_part(table, &mut bound, target, [part, value], scope)?;
                        continue;
                    }
                    let value = self.assignment(table, target, &assignment.value, scope)?;
                    add(table, &mut bound, target, value)?;
                }
                AssignmentTarget::Tuple(names) => {
                    let values = match bare(&assignment.value) {
                        Ast::Tuple(values) => values.as_slice(),
                        Ast::Subquery(query) if names.len() != 1 => {
                            let values = self.row_subquery(query, &mut ExprScope::plain(scope, "UPDATE"))?;
                            if values.len() != names.len() {
                                let message = "number of columns does not match number of values";
                                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                            }
                            for (name, value) in names.iter().zip(values) {
                                let target = self.target(table, name)?;
                                let value = self.assigned(table, target, value)?;
                                add(table, &mut bound, target, value)?;
                            }
                            continue;
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

    /// `SET a[1] = 2`, maybe behind other such assignments to the column.
    fn add_part(
        &mut self,
        table: &Table,
        bound: &mut Vec<(usize, Expr)>,
        target: usize,
        [part, value]: [&Ast; 2],
        scope: &Scope,
    ) -> Result<()> {
        let column = &table.schema.columns[target];
        let is_part = |expr: &Expr| {
            let functions = [false, true].map(crate::expr::registry::array_assign);
            matches!(expr, Expr::Call { function, .. } if functions.iter().any(|own| std::ptr::eq(*own, *function)))
        };
        let before = bound.iter().position(|(other, expr)| *other == target && is_part(expr));
        let array = match before {
            Some(place) => bound.remove(place).1,
            None => Expr::Column { index: target, pg_type: column.pg_type },
        };
        let mut scope = ExprScope::plain(scope, "UPDATE");
        let value = self.assign_part(array, &column.name, part, value, &mut scope)?;
        add(table, bound, target, value)
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

fn several_tables() -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: DELETE names one table; others stand behind USING")
}
