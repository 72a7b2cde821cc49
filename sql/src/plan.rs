//! From a statement to the plan that a prepared statement keeps.

use std::sync::Arc;

use omen_core::catalog::{Catalog, Table};
use omen_core::types::{Datum, PgType};
use sqlparser::ast;

use crate::bind::ddl::{CreateTable, DropTable};
use crate::bind::insert::{Conflict, Insert, InsertSource, Returning};
use crate::bind::modify::{Change, Modify};
use crate::bind::select::{BoundQuery, Untyped};
use crate::bind::{Binder, LateValue};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::{EvalContext, Expr, ParameterTypes};
use crate::fragment::Stage;
use crate::logical::{Logical, Scan};
use crate::physical::{QueryPlan, ScanPlan, Step, plan_query};
use crate::route::KeyFilter;
use crate::rules::{fold_expr, optimize};
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

/// An UPDATE or DELETE.
#[derive(Clone, Debug)]
pub(crate) struct ModifyPlan {
    /// Of this table.
    pub(crate) table: Arc<Table>,
    /// Types of all its columns.
    pub(crate) types: Vec<PgType>,
    /// Reads the rows that change: their key columns, in key order, for a DELETE without RETURNING, else all columns.
    pub(crate) scan: ScanPlan,
    /// What happens to them.
    pub(crate) change: Change,
    /// Whether keys may change.
    pub(crate) changes_key: bool,
    /// What is answered about each row.
    pub(crate) returning: Option<Returning>,
}

impl ModifyPlan {
    /// Whether only key columns of the rows are read.
    pub(crate) fn reads_keys_only(&self) -> bool {
        matches!(self.change, Change::Delete) && self.returning.is_none()
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
    let Environment { catalog, settings, context } = environment;
    let mut binder = Binder::new(text, catalog, settings, context, parameters, parameter_count);
    for index in 0..parameter_count {
        binder.parameters.reference(index);
    }
    let (plan, columns) = bind(&mut binder, statement, context)?;
    Ok(Compiled { plan, columns, parameters: binder.parameters.finish()?, late: binder.late })
}

fn bind(
    binder: &mut Binder<'_>,
    statement: &ast::Statement,
    context: &EvalContext,
) -> Result<(Plan, Option<Vec<ColumnInfo>>)> {
    Ok(match statement {
        ast::Statement::Query(query) => {
            let BoundQuery { plan, columns } = binder.query(query, Untyped::Text)?;
            (Plan::Query(plan_query(optimize(plan, context))), Some(columns))
        }
        ast::Statement::Insert(insert) => {
            let plan = plan_insert(binder.insert(insert)?, context);
            let columns = plan.returning.as_ref().map(|returning| returning.columns.clone());
            (Plan::Insert(plan), columns)
        }
        ast::Statement::Update(update) => modified(binder.update(update)?, context),
        ast::Statement::Delete(delete) => modified(binder.delete(delete)?, context),
        ast::Statement::CreateTable(create) => (Plan::CreateTable(binder.create_table(create)?), None),
        ast::Statement::Truncate(truncate) => (Plan::Truncate(binder.truncate(truncate)?), None),
        ast::Statement::Drop { .. } => match binder.drop_table(statement)? {
            Some(drop) => (Plan::DropTable(drop), None),
            None => return Err(unsupported(statement)),
        },
        other => return Err(unsupported(other)),
    })
}

/// 0A000 for a statement that is not there yet.
fn unsupported(statement: &ast::Statement) -> SqlError {
    let text = statement.to_string();
    let name: Vec<&str> = text.split_whitespace().take(2).collect();
    let hint = "Statements are SELECT, INSERT, UPDATE, DELETE, COPY, CREATE TABLE, DROP TABLE, TRUNCATE, EXPLAIN, \
                SET, SHOW, BEGIN, COMMIT, ROLLBACK, CHECKPOINT and VACUUM.";
    SqlError::unsupported(name.join(" ").to_uppercase(), hint)
}

fn plan_insert(insert: Insert, context: &EvalContext) -> InsertPlan {
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
        InsertSource::Query(plan) => InsertRows::Query(plan_query(optimize(plan, context))),
    };
    InsertPlan { types: types_of(&table), table, source, conflict, returning }
}

fn types_of(table: &Table) -> Vec<PgType> {
    table.schema.columns.iter().map(|column| column.pg_type).collect()
}

fn modified(modify: Modify, context: &EvalContext) -> (Plan, Option<Vec<ColumnInfo>>) {
    let plan = plan_modify(modify, context);
    let columns = plan.returning.as_ref().map(|returning| returning.columns.clone());
    (Plan::Modify(plan), columns)
}

fn plan_modify(modify: Modify, context: &EvalContext) -> ModifyPlan {
    let Modify { table, filter, change, returning } = modify;
    let plan =
        Logical::Filter { input: Box::new(Logical::Scan(Scan::whole(table.clone()))), conjuncts: filter };
    let types = types_of(&table);
    let plan = if matches!(change, Change::Delete) && returning.is_none() {
        let column = |index: &usize| Expr::Column { index: *index, pg_type: types[*index] };
        Logical::Project { input: Box::new(plan), exprs: table.schema.key.iter().map(column).collect() }
    } else {
        plan
    };
    let scan = match plan_query(optimize(plan, context)) {
        QueryPlan { source: crate::physical::Source::Scan(scan), .. } => scan,
        QueryPlan { source: crate::physical::Source::Point(point), .. } => ScanPlan {
            table: point.table,
            columns: point.columns.to_vec(),
            keys: point.keys,
            pushed: Box::default(),
            fragment: Vec::new(),
        },
        // A scan under filters and projections stays a scan.
        QueryPlan { .. } => ScanPlan {
            table: table.clone(),
            columns: Vec::new(),
            keys: KeyFilter::default(),
            pushed: Box::default(),
            fragment: vec![Step::Stage(Stage::Filter(vec![Expr::null(PgType::Bool)]))],
        },
    };
    let change = match change {
        Change::Update(assignments) => {
            let fold = |(column, expr): (usize, Expr)| (column, fold_expr(expr, context));
            Change::Update(assignments.into_iter().map(fold).collect())
        }
        Change::Delete => Change::Delete,
    };
    let changes_key = match &change {
        Change::Update(assignments) => {
            assignments.iter().any(|(column, _)| table.schema.key.contains(column))
        }
        Change::Delete => false,
    };
    ModifyPlan { types, table, scan, change, changes_key, returning }
}
