//! INSERT.

use std::sync::Arc;

use omen_core::catalog::{Table, TableSchema};
use omen_core::types::PgType;
use sqlparser::ast::{
    self, ConflictTarget, Expr as Ast, OnConflictAction, OnInsert, SelectItem, SetExpr, TableObject,
};

use super::Binder;
use super::expr::{ExprScope, bare};
use super::names::{Relation, Scope, fold};
use super::output::column_infos;
use super::select::{BoundQuery, Untyped};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::logical::Logical;
use crate::session::ColumnInfo;

/// An INSERT.
#[derive(Clone, Debug)]
pub(crate) struct Insert {
    /// Into this table.
    pub(crate) table: Arc<Table>,
    /// What is inserted.
    pub(crate) source: InsertSource,
    /// What to do about keys that exist.
    pub(crate) conflict: Option<Conflict>,
    /// What is answered about each row.
    pub(crate) returning: Option<Returning>,
}

/// What is inserted: the values of all visible columns of the table, with their types.
#[derive(Clone, Debug)]
pub(crate) enum InsertSource {
    /// Rows of expressions that read nothing.
    Rows(Vec<Vec<Expr>>),
    /// The rows of a query.
    Query(Logical),
}

/// `ON CONFLICT`
#[derive(Clone, Debug)]
pub(crate) enum Conflict {
    /// Leave the row that exists.
    DoNothing,
    /// Change the row that exists. Expressions read its columns, then those of the row that was to be inserted.
    Update {
        /// New values of columns.
        assignments: Vec<(usize, Expr)>,
        /// Only if this is true.
        condition: Option<Expr>,
    },
}

/// `RETURNING`: expressions over all columns of the table.
#[derive(Clone, Debug)]
pub(crate) struct Returning {
    /// The expressions.
    pub(crate) exprs: Vec<Expr>,
    /// What clients are told about them.
    pub(crate) columns: Vec<ColumnInfo>,
}

/// Number of columns that SQL can name.
pub(crate) fn visible_count(schema: &TableSchema) -> usize {
    schema.columns.iter().filter(|column| !column.hidden).count()
}

impl Binder<'_> {
    /// Binds an INSERT.
    ///
    /// # Errors
    /// All that binding reports.
    pub(crate) fn insert(&mut self, insert: &ast::Insert) -> Result<Insert> {
        self.refuse_insert(insert)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: INSERT needs a table"));
        };
        let name = self.table_name(name)?;
        let table = self.table(&name)?;
        let alias = insert.table_alias.as_ref().map_or_else(|| name.name.clone(), |alias| fold(&alias.alias));
        let targets = self.targets(&table, &insert.columns)?;
        let source = self.insert_source(&table, insert, &targets)?;
        let conflict = match &insert.on {
            None => None,
            Some(OnInsert::OnConflict(on_conflict)) => Some(self.conflict(&table, &alias, on_conflict)?),
            Some(_) => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"ON\"")),
        };
        let scope = Scope::of(Relation::of_table(&table, alias, 0));
        let returning = self.returning(&scope, insert.returning.as_deref())?;
        Ok(Insert { table, source, conflict, returning })
    }

    fn refuse_insert(&self, insert: &ast::Insert) -> Result<()> {
        let ast::Insert {
            insert_token: _,
            optimizer_hints: _,
            or,
            ignore,
            into,
            table: _,
            table_alias: _,
            columns: _,
            overwrite,
            source: _,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on: _,
            returning: _,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        let foreign = or.is_some()
            || *ignore
            || !*into
            || *overwrite
            || !assignments.is_empty()
            || partitioned.is_some()
            || !after_columns.is_empty()
            || *has_table_keyword
            || output.is_some()
            || *replace_into
            || priority.is_some()
            || insert_alias.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        self.not_postgres(foreign, "this form of INSERT")
    }

    /// The columns that values are given for, in the order of the values.
    fn targets(&self, table: &Table, names: &[ast::ObjectName]) -> Result<Vec<usize>> {
        if names.is_empty() {
            return Ok((0..visible_count(&table.schema)).collect());
        }
        let mut targets = Vec::with_capacity(names.len());
        for name in names {
            let target = self.target(table, name)?;
            if targets.contains(&target) {
                let message =
                    format!("column \"{}\" specified more than once", table.schema.columns[target].name);
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(self.place_of_name(name)));
            }
            targets.push(target);
        }
        Ok(targets)
    }

    /// The column that an INSERT or SET names.
    pub(super) fn target(&self, table: &Table, name: &ast::ObjectName) -> Result<usize> {
        let column = super::names::parts(name)?;
        let [column] = column.as_slice() else {
            return Err(SqlError::unsupported("assigning to a part of a column", "Assign the whole column.")
                .at(self.place_of_name(name)));
        };
        self.column_of(table, column).map_err(|e| e.at(self.place_of_name(name)))
    }

    /// The column of a table with this name.
    ///
    /// # Errors
    /// 42703.
    pub(crate) fn column_of(&self, table: &Table, name: &str) -> Result<usize> {
        let found = table.schema.columns.iter().position(|column| !column.hidden && column.name == name);
        found.ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        })
    }

    fn place_of_name(&self, name: &ast::ObjectName) -> u32 {
        match name.0.first() {
            Some(ast::ObjectNamePart::Identifier(ident)) => self.place_of(ident),
            _ => 0,
        }
    }

    fn insert_source(
        &mut self,
        table: &Table,
        insert: &ast::Insert,
        targets: &[usize],
    ) -> Result<InsertSource> {
        let Some(query) = &insert.source else {
            // DEFAULT VALUES
            return Ok(InsertSource::Rows(vec![self.full_row(table, targets, Vec::new(), false)?]));
        };
        if let SetExpr::Values(values) = query.body.as_ref()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none()
            && query.with.is_none()
        {
            let implicit = insert.columns.is_empty();
            let width = values.rows.first().map_or(0, |row| row.content.len());
            let mut rows = Vec::with_capacity(values.rows.len());
            for row in &values.rows {
                if row.content.len() != width {
                    return Err(SqlError::new(
                        SqlState::SYNTAX_ERROR,
                        "VALUES lists must all be the same length",
                    ));
                }
                rows.push(self.values_row(table, &row.content, targets, implicit)?);
            }
            return Ok(InsertSource::Rows(rows));
        }
        let BoundQuery { plan, columns } = self.query(query, Untyped::Keep)?;
        self.match_count(columns.len(), targets.len(), insert.columns.is_empty())?;
        let types = plan.types();
        let (plan, types) = keep_typed(plan, types);
        let given: Vec<(usize, Expr)> = targets
            .iter()
            .zip(types)
            .enumerate()
            .map(|(index, (target, expr))| {
                (*target, expr.unwrap_or(Expr::Column { index, pg_type: columns[index].pg_type }))
            })
            .collect();
        let exprs = self.assign_all(table, given)?;
        Ok(InsertSource::Query(Logical::Project { input: Box::new(plan), exprs }))
    }

    fn match_count(&self, given: usize, targets: usize, implicit: bool) -> Result<()> {
        let message = if given > targets {
            "INSERT has more expressions than target columns"
        } else if given < targets && !implicit {
            "INSERT has more target columns than expressions"
        } else {
            return Ok(());
        };
        Err(SqlError::new(SqlState::SYNTAX_ERROR, message))
    }

    fn values_row(
        &mut self,
        table: &Table,
        row: &[Ast],
        targets: &[usize],
        implicit: bool,
    ) -> Result<Vec<Expr>> {
        self.match_count(row.len(), targets.len(), implicit)?;
        let scope = Scope::default();
        let mut given = Vec::with_capacity(row.len());
        for (ast, target) in row.iter().zip(targets) {
            if !is_default(ast) {
                let bound = self.expr(ast, &mut ExprScope::plain(&scope, "VALUES"))?;
                given.push((*target, bound));
            }
        }
        self.assign_all(table, given)
    }

    fn full_row(
        &mut self,
        table: &Table,
        _: &[usize],
        given: Vec<(usize, Expr)>,
        _: bool,
    ) -> Result<Vec<Expr>> {
        self.assign_all(table, given)
    }

    /// The values of all visible columns: those given, converted, and defaults for the rest.
    fn assign_all(&mut self, table: &Table, given: Vec<(usize, Expr)>) -> Result<Vec<Expr>> {
        let mut row: Vec<Option<Expr>> = vec![None; visible_count(&table.schema)];
        for (target, expr) in given {
            row[target] = Some(self.assigned(table, target, expr)?);
        }
        row.into_iter()
            .enumerate()
            .map(|(column, expr)| match expr {
                Some(expr) => Ok(expr),
                None => self.default_of(table, column),
            })
            .collect()
    }

    /// A value converted to the type of its column.
    pub(super) fn assigned(&mut self, table: &Table, column: usize, expr: Expr) -> Result<Expr> {
        let column = &table.schema.columns[column];
        self.build().assign(expr, column.pg_type, &column.name)
    }

    /// The default of a column.
    ///
    /// # Errors
    /// As binding; the default was checked when the table was made.
    pub(crate) fn default_of(&mut self, table: &Table, column: usize) -> Result<Expr> {
        let definition = &table.schema.columns[column];
        match &definition.default {
            None => Ok(Expr::null(definition.pg_type)),
            Some(sql) => self.default_expr(sql, definition.pg_type, &definition.name),
        }
    }

    /// A DEFAULT as the catalog keeps it, converted to the type of its column.
    pub(crate) fn default_expr(&mut self, sql: &str, pg_type: PgType, column: &str) -> Result<Expr> {
        let ast = crate::parse::parse_expression(sql)?;
        let text = std::mem::take(&mut self.text);
        let scope = Scope::default();
        let bound = self.expr(ast.root(), &mut ExprScope::plain(&scope, "DEFAULT expressions"));
        self.text = text;
        self.build().assign(bound?, pg_type, column)
    }

    fn conflict(&mut self, table: &Table, alias: &str, on_conflict: &ast::OnConflict) -> Result<Conflict> {
        self.conflict_target(table, on_conflict.conflict_target.as_ref())?;
        let update = match &on_conflict.action {
            OnConflictAction::DoNothing => return Ok(Conflict::DoNothing),
            OnConflictAction::DoUpdate(update) => update,
        };
        if on_conflict.conflict_target.is_none() {
            let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message)
                .hint("For example, ON CONFLICT (column_name)."));
        }
        let existing = Relation::of_table(table, alias.to_owned(), 0);
        let excluded = Relation::of_table(table, "excluded".to_owned(), table.schema.columns.len());
        let scope = Scope { relations: vec![existing, excluded], ..Scope::default() };
        let assignments = self.assignments(table, &update.assignments, &scope)?;
        let condition = update.selection.as_ref();
        let condition =
            condition.map(|ast| self.condition(ast, &mut ExprScope::plain(&scope, "WHERE"))).transpose()?;
        Ok(Conflict::Update { assignments, condition })
    }

    /// The conflict target must be the primary key, the only unique constraint there is.
    fn conflict_target(&self, table: &Table, target: Option<&ConflictTarget>) -> Result<()> {
        match target {
            None => Ok(()),
            Some(ConflictTarget::Columns(names)) => {
                let mut columns = Vec::with_capacity(names.len());
                for name in names {
                    columns.push(self.column_of(table, &fold(name)).map_err(|_| {
                        let message = format!("column \"{}\" does not exist", fold(name));
                        SqlError::new(SqlState::UNDEFINED_COLUMN, message).at(self.place_of(name))
                    })?);
                }
                let key = &table.schema.key;
                let same = key.iter().all(|column| columns.contains(column))
                    && columns.iter().all(|column| key.contains(column));
                if same && !table.schema.has_hidden_key() {
                    return Ok(());
                }
                let message =
                    "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message))
            }
            Some(ConflictTarget::OnConstraint(name)) => {
                let name = super::names::parts(name)?.pop().unwrap_or_default();
                if table.schema.key_name.as_ref() == Some(&name) {
                    return Ok(());
                }
                let message = format!("constraint \"{name}\" for table \"{}\" does not exist", table.name);
                Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message))
            }
        }
    }

    /// Binds RETURNING.
    pub(super) fn returning(
        &mut self,
        scope: &Scope,
        list: Option<&[SelectItem]>,
    ) -> Result<Option<Returning>> {
        let Some(list) = list else { return Ok(None) };
        let mut items = self.items(list, &mut ExprScope::plain(scope, "RETURNING"))?;
        for item in &mut items {
            let expr = std::mem::replace(&mut item.expr, Expr::Unknown(None));
            item.expr = self.build().output(expr)?;
        }
        let columns = column_infos(&items, scope);
        Ok(Some(Returning { exprs: items.into_iter().map(|item| item.expr).collect(), columns }))
    }
}

/// Takes output expressions that are still without type out of a query's projection, so that the columns they go to
/// can give them one. Only a projection at the top can have any.
fn keep_typed(mut plan: Logical, types: Vec<PgType>) -> (Logical, Vec<Option<Expr>>) {
    let mut open: Vec<Option<Expr>> = vec![None; types.len()];
    if let Logical::Project { exprs, .. } = &mut plan {
        for (expr, open) in exprs.iter_mut().zip(&mut open) {
            if matches!(expr, Expr::Unknown(_) | Expr::UntypedParameter(_)) {
                *open = Some(std::mem::replace(expr, Expr::null(PgType::Text)));
            }
        }
    }
    (plan, open)
}

/// The word DEFAULT in place of a value.
pub(super) fn is_default(ast: &Ast) -> bool {
    matches!(bare(ast), Ast::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}
