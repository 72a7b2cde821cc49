//! From a statement to the plan that a prepared statement keeps.

use std::sync::Arc;

use omen_core::catalog::{Catalog, Table};
use omen_core::types::{Datum, PgType};
use sqlparser::ast;

use crate::bind::ddl::{CreateTable, CreateTableAs, DropTable};
use crate::bind::insert::{Conflict, Insert, InsertSource, Returning};
use crate::bind::modify::{Change, Modify, Write};
use crate::bind::select::{BoundQuery, Untyped};
use crate::bind::subquery::{InitialKind, InitialSource, InitialValue};
use crate::bind::with::write_of;
use crate::bind::{Binder, LateValue};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::{EvalContext, Expr, ParameterTypes};
use crate::files::Files;
use crate::logical::Logical;
use crate::physical::QueryPlan;
use crate::physical::classes::Classes;
use crate::rules::fold_expr;
use crate::session::{ColumnInfo, PARAMETERS_MAX};
use crate::settings::Settings;

/// What a statement does.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Answers rows.
    Query(QueryPlan),
    /// INSERT.
    Insert(InsertPlan),
    /// UPDATE and DELETE.
    Modify(ModifyPlan),
    /// CREATE TABLE.
    CreateTable(CreateTable),
    /// CREATE TABLE AS.
    CreateTableAs(CreateTable, Option<QueryPlan>),
    /// DROP TABLE.
    DropTable(DropTable),
    /// TRUNCATE.
    Truncate(Vec<Arc<Table>>),
}

/// An INSERT.
#[derive(Clone, Debug)]
pub(crate) struct InsertPlan {
    /// Into this table.
    pub(crate) table: Arc<Table>,
    /// Types of all its columns.
    pub(crate) types: Vec<PgType>,
    /// What is inserted: the visible columns.
    pub(crate) source: InsertRows,
    /// What to do about keys that exist.
    pub(crate) conflict: Option<Conflict>,
    /// What is answered about each row.
    pub(crate) returning: Option<Returning>,
}

/// What is inserted.
#[derive(Clone, Debug)]
pub(crate) enum InsertRows {
    /// Rows of cells.
    Cells(Vec<Vec<Cell>>),
    /// The rows of a query.
    Query(QueryPlan),
}

/// A value of an inserted row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// A constant.
    Datum(Datum),
    /// A parameter as it is.
    Parameter(usize),
    /// To be computed.
    Expr(Expr),
}

/// An UPDATE or DELETE, or a SELECT that locks.
#[derive(Clone, Debug)]
pub(crate) struct ModifyPlan {
    /// Of this table.
    pub(crate) table: Arc<Table>,
    /// Types of all its columns.
    pub(crate) types: Vec<PgType>,
    /// Reads the rows that change. For a DELETE without RETURNING: their key columns, in key order. Else all columns of
    /// the table; those of joined tables if there is RETURNING; and the new values of an UPDATE.
    pub(crate) rows: QueryPlan,
    /// Whether a row may come more than once; it changes once.
    pub(crate) joined: bool,
    /// What happens to them.
    pub(crate) action: Action,
    /// Whether keys may change.
    pub(crate) changes_key: bool,
    /// What is answered about each row, over the columns of the table and those of joined tables.
    pub(crate) returning: Option<Returning>,
}

/// What happens to rows that are read.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// These columns get the new values, which are the last columns of what is read.
    Update(Vec<usize>),
    /// They go.
    Delete,
    /// They are written again as they are; for this command.
    Lock(&'static str),
}

impl ModifyPlan {
    /// Whether only key columns of the rows are read.
    pub(crate) fn reads_keys_only(&self) -> bool {
        matches!(self.action, Action::Delete) && self.returning.is_none()
    }
}

/// A planned statement.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    /// What it does.
    pub(crate) plan: Plan,
    /// What it answers; `None` if no rows.
    pub(crate) columns: Option<Vec<ColumnInfo>>,
    /// Types of its parameters.
    pub(crate) parameters: Vec<PgType>,
    /// Values that follow the parameters.
    pub(crate) late: Vec<LateValue>,
    /// Subqueries whose answers are among these values.
    pub(crate) initial: Vec<InitialPlan>,
}

/// What is computed once, before the statement.
#[derive(Clone, Debug)]
pub(crate) struct InitialPlan {
    /// The parameter that takes its answer, or the table.
    pub(crate) parameter: usize,
    /// A query, INSERT, UPDATE or DELETE.
    pub(crate) plan: Plan,
    /// What its answer is.
    pub(crate) kind: InitialKind,
}

impl InitialPlan {
    /// Whether it changes rows.
    pub(crate) fn is_write(&self) -> bool {
        !matches!(self.plan, Plan::Query(_))
    }
}

/// Plans the subqueries that are computed once.
pub(crate) fn plan_initial(binder: &mut Binder<'_>, context: &EvalContext) -> Vec<InitialPlan> {
    let mut plans = Vec::new();
    for InitialValue { parameter, source, kind } in std::mem::take(&mut binder.initial) {
        let plan = match source {
            // One row is enough to know.
            InitialSource::Query(plan) if kind == InitialKind::Exists => {
                let one = Expr::Literal { value: Datum::Int8(1), pg_type: PgType::Int8 };
                Logical::Limit { input: Box::new(plan), limit: Some(one), offset: None }
            }
            InitialSource::Query(plan) => plan,
            InitialSource::Table => match binder.shared_table(parameter) {
                Some(plan) => plan,
                None => continue,
            },
            InitialSource::Write(write) => {
                let (plan, _) = plan_write(write, binder, context);
                plans.push(InitialPlan { parameter, plan, kind });
                continue;
            }
        };
        let query = binder.settings.classes().plan(binder.with_tables(plan), context).in_batches();
        plans.push(InitialPlan { parameter, plan: Plan::Query(query), kind });
    }
    plans
}

/// What statements are planned in.
#[derive(Clone, Copy)]
pub(crate) struct Environment<'a> {
    /// What exists.
    pub(crate) catalog: &'a Catalog,
    /// The session's settings.
    pub(crate) settings: &'a Settings,
    /// How literals are read.
    pub(crate) context: &'a EvalContext,
    /// Files that may be named.
    pub(crate) files: &'a Files,
}

/// Plans a statement.
///
/// # Errors
/// All that binding reports.
pub(crate) fn compile(
    text: &str,
    statement: &ast::Statement,
    parameter_count: usize,
    parameters: ParameterTypes,
    environment: Environment<'_>,
) -> Result<Compiled> {
    if parameter_count > PARAMETERS_MAX {
        let message = format!("a statement can have at most {PARAMETERS_MAX} parameters");
        return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    let Environment { catalog, settings, context, files } = environment;
    let mut binder = Binder::new(text, catalog, settings, context, parameters, parameter_count);
    binder.files = Some(files);
    for index in 0..parameter_count {
        binder.parameters.reference(index);
    }
    let (plan, columns) = bind(&mut binder, statement, context)?;
    let initial = plan_initial(&mut binder, context);
    let plan = match plan {
        Plan::Query(query) if initial.iter().any(InitialPlan::is_write) => Plan::Query(query.in_batches()),
        other => other,
    };
    Ok(Compiled { plan, columns, parameters: binder.parameters.finish()?, late: binder.late, initial })
}

fn bind(
    binder: &mut Binder<'_>,
    statement: &ast::Statement,
    context: &EvalContext,
) -> Result<(Plan, Option<Vec<ColumnInfo>>)> {
    Ok(match statement {
        ast::Statement::Query(query) => {
            if let Some(create) = binder.select_into(query)? {
                return bind(binder, &ast::Statement::CreateTable(create), context);
            }
            binder.is_top = true;
            if let Some(write) = write_of(query) {
                binder.with(query.with.as_ref())?;
                return bind(binder, write, context);
            }
            if !query.locks.is_empty() {
                let lock = Write::Modify(binder.lock(query)?);
                return Ok(plan_write(lock, binder, context));
            }
            let BoundQuery { plan, columns } = binder.query(query, Untyped::Text)?;
            (Plan::Query(binder.settings.classes().plan(binder.with_tables(plan), context)), Some(columns))
        }
        ast::Statement::Insert(_) | ast::Statement::Update(_) | ast::Statement::Delete(_) => {
            match binder.write(statement)? {
                Some(write) => plan_write(write, binder, context),
                None => return Err(unsupported(statement)),
            }
        }
        ast::Statement::CreateTable(create) => match binder.create_table_as(create)? {
            None => (Plan::CreateTable(binder.create_table(create)?), None),
            Some(CreateTableAs { table, rows }) => {
                let rows = rows.map(|rows| binder.settings.classes().plan(binder.with_tables(rows), context));
                (Plan::CreateTableAs(table, rows), None)
            }
        },
        ast::Statement::Truncate(truncate) => (Plan::Truncate(binder.truncate(truncate)?), None),
        ast::Statement::Drop { .. } => match binder.drop_table(statement)? {
            Some(drop) => (Plan::DropTable(drop), None),
            None => return Err(unsupported(statement)),
        },
        other => return Err(unsupported(other)),
    })
}

/// The plan of a write, and what it answers.
fn plan_write(write: Write, binder: &Binder<'_>, context: &EvalContext) -> (Plan, Option<Vec<ColumnInfo>>) {
    let columns = write.returning().map(|returning| returning.columns.clone());
    let plan = match write {
        Write::Insert(mut insert) => {
            if let InsertSource::Query(plan) = &mut insert.source {
                let rows = std::mem::replace(plan, Logical::one_row());
                *plan = binder.with_tables(rows);
            }
            Plan::Insert(plan_insert(insert, context, binder.settings.classes()))
        }
        Write::Modify(mut modify) => {
            modify.rows = binder.with_tables(modify.rows);
            Plan::Modify(plan_modify(modify, context, binder.settings.classes()))
        }
    };
    (plan, columns)
}

/// 0A000 for a statement that is not there yet.
fn unsupported(statement: &ast::Statement) -> SqlError {
    let text = statement.to_string();
    let name: Vec<&str> = text.split_whitespace().take(2).collect();
    let hint = "Statements are SELECT, INSERT, UPDATE, DELETE, COPY, CREATE TABLE, DROP TABLE, TRUNCATE, EXPLAIN, \
                SET, SHOW, BEGIN, COMMIT, ROLLBACK, CHECKPOINT and VACUUM.";
    SqlError::unsupported(name.join(" ").to_uppercase(), hint)
}

fn plan_insert(insert: Insert, context: &EvalContext, classes: Classes) -> InsertPlan {
    let Insert { table, source, conflict, returning } = insert;
    let source = match source {
        InsertSource::Rows(rows) => {
            let cell = |expr: Expr| match fold_expr(expr, context) {
                Expr::Literal { value, .. } => Cell::Datum(value),
                Expr::Parameter { index, .. } => Cell::Parameter(index),
                other => Cell::Expr(other),
            };
            InsertRows::Cells(rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect())
        }
        InsertSource::Query(plan) => InsertRows::Query(classes.plan(plan, context)),
    };
    InsertPlan { types: types_of(&table), table, source, conflict, returning }
}

fn types_of(table: &Table) -> Vec<PgType> {
    table.schema.columns.iter().map(|column| column.pg_type).collect()
}

fn plan_modify(modify: Modify, context: &EvalContext, classes: Classes) -> ModifyPlan {
    let Modify { table, rows, joined, change, returning } = modify;
    let types = types_of(&table);
    let columns = rows.types();
    let column = |index: usize| Expr::Column { index, pg_type: columns[index] };
    let kept = if returning.is_some() { columns.len() } else { types.len() };
    let (exprs, action) = match change {
        Change::Delete if returning.is_none() => {
            (table.schema.key.iter().map(|index| column(*index)).collect(), Action::Delete)
        }
        Change::Delete => ((0..kept).map(column).collect(), Action::Delete),
        Change::Lock(command) => ((0..kept).map(column).collect(), Action::Lock(command)),
        Change::Update(assignments) => {
            let (changed, values): (Vec<usize>, Vec<Expr>) = assignments.into_iter().unzip();
            ((0..kept).map(column).chain(values).collect(), Action::Update(changed))
        }
    };
    let changes_key = match &action {
        Action::Update(changed) => changed.iter().any(|column| table.schema.key.contains(column)),
        Action::Delete | Action::Lock(_) => false,
    };
    // What changes is read as batches.
    let rows = classes.plan(Logical::Project { input: Box::new(rows), exprs }, context).in_batches();
    ModifyPlan { types, table, rows, joined, action, changes_key, returning }
}
