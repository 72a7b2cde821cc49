//! Prepared statements: planned once, planned again when a table they use has changed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use omen_core::catalog::{Catalog, Table};
use omen_core::router::Router;
use omen_core::types::PgType;

use super::copy::CopyPlan;
use super::transaction::Block;
use super::{ColumnInfo, Session};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::{Expr, ParameterTypes};
use crate::parse::utility::{ExplainFormat, Utility};
use crate::parse::{Parsed, Statement};
use crate::physical::classes::Classes;
use crate::plan::{Compiled, Environment, InsertPlan, InsertRows, ModifyPlan, Plan, compile};

/// A planned statement.
#[derive(Debug)]
pub struct Prepared {
    statement: Option<Statement>,
    parameters: Vec<PgType>,
    columns: Option<Vec<ColumnInfo>>,
    planned: RefCell<Planned>,
}

/// A plan and what it holds for.
#[derive(Clone, Debug)]
struct Planned {
    body: Rc<Body>,
    catalog_version: u64,
    public_in_path: bool,
    classes: Classes,
    /// The tables that it uses, as they were.
    tables: Vec<Arc<Table>>,
}

/// What running a statement needs.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing to do.
    Empty,
    /// About data.
    Plan(Box<Compiled>),
    /// About the session; the statement itself tells.
    Utility,
    /// EXPLAIN of another statement.
    Explain {
        /// Run it, too.
        analyze: bool,
        /// How it is told.
        format: ExplainFormat,
        /// The other statement.
        inner: Rc<Prepared>,
    },
    /// EXECUTE of a stored statement.
    Execute {
        /// The stored statement.
        inner: Rc<Prepared>,
        /// Its parameters.
        args: Vec<Expr>,
    },
    /// COPY.
    Copy(CopyPlan),
}

impl Prepared {
    /// The types of its parameters.
    pub fn parameters(&self) -> &[PgType] {
        &self.parameters
    }

    /// The columns it answers; `None` if it answers no rows.
    pub fn columns(&self) -> Option<&[ColumnInfo]> {
        self.columns.as_deref()
    }

    /// What it was prepared from; `None` for the empty statement.
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }

    /// The empty statement.
    pub(super) fn empty() -> Prepared {
        let planned = Planned {
            body: Rc::new(Body::Empty),
            catalog_version: 0,
            public_in_path: true,
            classes: Classes { direct: true, scatter: true },
            tables: Vec::new(),
        };
        Prepared { statement: None, parameters: Vec::new(), columns: None, planned: RefCell::new(planned) }
    }
}

/// A plan with what clients are told about it.
struct Made {
    body: Body,
    parameters: Vec<PgType>,
    columns: Option<Vec<ColumnInfo>>,
}

impl Made {
    fn plain(body: Body) -> Made {
        Made { body, parameters: Vec::new(), columns: None }
    }
}

impl<R: Router> Session<R> {
    /// Plans a statement.
    fn prepare_now(&self, statement: &Statement, oids: &[u32]) -> Result<Rc<Prepared>> {
        self.check_not_failed(Some(statement))?;
        let catalog = self.router.catalog();
        let made = self.make(statement, ParameterTypes::declared(oids)?, &catalog)?;
        let planned = self.planned(made.body, &catalog);
        Ok(Rc::new(Prepared {
            statement: Some(statement.clone()),
            parameters: made.parameters,
            columns: made.columns,
            planned: RefCell::new(planned),
        }))
    }

    /// As [`Session::prepare_now`], reading what is to be known of files.
    pub(super) async fn prepare_with_files(
        &self,
        statement: &Statement,
        oids: &[u32],
    ) -> Result<Rc<Prepared>> {
        self.with_files(|| self.prepare_now(statement, oids)).await
    }

    /// As [`Session::body_of`], reading what is to be known of files.
    pub(super) async fn body_with_files(&self, prepared: &Prepared) -> Result<Rc<Body>> {
        self.with_files(|| self.body_of(prepared)).await
    }

    async fn with_files<T>(&self, plan: impl Fn() -> Result<T>) -> Result<T> {
        self.files.forget();
        loop {
            match (plan(), self.files.take_missing()) {
                (Err(_), Some(path)) => self.files.read(&self.router, path).await?,
                (planned, _) => return planned,
            }
        }
    }

    fn planned(&self, body: Body, catalog: &Catalog) -> Planned {
        Planned {
            tables: tables_of(&body),
            body: Rc::new(body),
            catalog_version: catalog.version,
            public_in_path: self.settings.public_in_path(),
            classes: self.settings.classes(),
        }
    }

    /// 25P02 in a failed block, unless the statement ends it.
    pub(super) fn check_not_failed(&self, statement: Option<&Statement>) -> Result<()> {
        let ends = statement.is_some_and(|statement| {
            matches!(statement.parsed(), Parsed::Utility(Utility::Commit { .. } | Utility::Rollback { .. }))
        });
        if self.transaction.block != Block::Failed || ends {
            return Ok(());
        }
        let message = "current transaction is aborted, commands ignored until end of transaction block";
        Err(SqlError::new(SqlState::IN_FAILED_SQL_TRANSACTION, message))
    }

    /// The plan of a statement as things are now.
    fn body_of(&self, prepared: &Prepared) -> Result<Rc<Body>> {
        let catalog = self.router.catalog();
        {
            let mut planned = prepared.planned.borrow_mut();
            let same_settings = planned.public_in_path == self.settings.public_in_path()
                && planned.classes == self.settings.classes();
            if same_settings && planned.catalog_version == catalog.version {
                return Ok(planned.body.clone());
            }
            let is_same =
                |table: &Arc<Table>| catalog.table(table.id).is_some_and(|now| Arc::ptr_eq(now, table));
            if same_settings && !planned.tables.is_empty() && planned.tables.iter().all(is_same) {
                planned.catalog_version = catalog.version;
                return Ok(planned.body.clone());
            }
        }
        let Some(statement) = &prepared.statement else { return Ok(prepared.planned.borrow().body.clone()) };
        let oids: Vec<u32> = prepared.parameters.iter().map(|pg_type| pg_type.oid()).collect();
        let made = self.make(statement, ParameterTypes::declared(&oids)?, &catalog)?;
        if made.columns != prepared.columns
            && !same_shape(made.columns.as_deref(), prepared.columns.as_deref())
        {
            let message = "cached plan must not change result type";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        let planned = self.planned(made.body, &catalog);
        let body = planned.body.clone();
        *prepared.planned.borrow_mut() = planned;
        Ok(body)
    }

    fn make(&self, statement: &Statement, parameters: ParameterTypes, catalog: &Catalog) -> Result<Made> {
        let surroundings = self.surroundings();
        let context = surroundings.context(&[]);
        let environment =
            Environment { catalog, settings: &self.settings, context: &context, files: &self.files };
        match statement.parsed() {
            Parsed::Sql(tree) => {
                let count = statement.parameter_count();
                let mut compiled = compile(statement.text(), tree.root(), count, parameters, environment)?;
                let parameters = std::mem::take(&mut compiled.parameters);
                let columns = compiled.columns.clone();
                Ok(Made { body: Body::Plan(Box::new(compiled)), parameters, columns })
            }
            Parsed::Utility(utility) => self.make_utility(statement, utility, parameters, environment),
        }
    }

    fn make_utility(
        &self,
        statement: &Statement,
        utility: &Utility,
        parameters: ParameterTypes,
        environment: Environment<'_>,
    ) -> Result<Made> {
        let text = |name: &str| ColumnInfo { name: name.to_owned(), pg_type: PgType::Text, table: None };
        Ok(match utility {
            Utility::Explain { analyze, format, statement: inner } => {
                if matches!(inner.parsed(), Parsed::Utility(_)) {
                    let message = "EXPLAIN of a statement about the session";
                    return Err(SqlError::unsupported(message, "Explain a query or a write."));
                }
                let made = self.make(inner, parameters, environment.catalog)?;
                let inner = Rc::new(Prepared {
                    statement: Some(inner.clone()),
                    parameters: made.parameters.clone(),
                    columns: made.columns,
                    planned: RefCell::new(self.planned(made.body, environment.catalog)),
                });
                Made {
                    body: Body::Explain { analyze: *analyze, format: *format, inner },
                    parameters: made.parameters,
                    columns: Some(vec![ColumnInfo { pg_type: format.pg_type(), ..text("QUERY PLAN") }]),
                }
            }
            Utility::Execute { name, args } => {
                let inner = self.stored_statement(name)?;
                let args = super::utility::bind_arguments(statement, args.root(), &inner, name, environment)?;
                let columns = inner.columns.clone();
                Made { body: Body::Execute { inner, args }, parameters: Vec::new(), columns }
            }
            Utility::Copy(copy) => {
                Made::plain(Body::Copy(super::copy::plan_copy(statement, copy, environment)?))
            }
            Utility::Show(Some(name)) => {
                let shown = self.settings.canonical_name(name)?;
                Made { columns: Some(vec![text(&shown)]), ..Made::plain(Body::Utility) }
            }
            Utility::Show(None) => {
                let columns = ["name", "setting", "description"].map(text).to_vec();
                Made { columns: Some(columns), ..Made::plain(Body::Utility) }
            }
            _ => Made::plain(Body::Utility),
        })
    }
}

/// Whether clients cannot tell two results apart but by the numbers of their tables.
fn same_shape(a: Option<&[ColumnInfo]>, b: Option<&[ColumnInfo]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && a.pg_type == b.pg_type)
        }
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// The tables that a plan uses.
fn tables_of(body: &Body) -> Vec<Arc<Table>> {
    match body {
        Body::Plan(compiled) => {
            let Compiled { plan, initial, .. } = &**compiled;
            let mut tables = tables_of_plan(plan);
            tables.extend(initial.iter().flat_map(|initial| tables_of_plan(&initial.plan)));
            tables
        }
        Body::Copy(copy) => copy.tables(),
        Body::Empty | Body::Utility | Body::Explain { .. } | Body::Execute { .. } => Vec::new(),
    }
}

/// The tables that a plan uses.
pub(super) fn tables_of_plan(plan: &Plan) -> Vec<Arc<Table>> {
    match plan {
        Plan::Query(query) => query.tables(),
        Plan::CreateTableAs(_, query) => query.iter().flat_map(|query| query.tables()).collect(),
        Plan::Insert(InsertPlan { table, source, .. }) => {
            let mut tables = vec![table.clone()];
            if let InsertRows::Query(query) = source {
                tables.extend(query.tables());
            }
            tables
        }
        Plan::Modify(ModifyPlan { table, rows, .. }) => {
            let mut tables = vec![table.clone()];
            tables.extend(rows.tables());
            tables
        }
        Plan::Truncate(tables) => tables.clone(),
        Plan::CreateTable(_) | Plan::DropTable(_) => Vec::new(),
    }
}
