//! Running statements: which transaction they get, and what they answer.

use std::rc::Rc;

use omen_core::catalog::Table;
use omen_core::router::{CatalogChange, ReadView, Router, Transaction};
use omen_core::types::Datum;

use super::prepared::{Body, Prepared};
use super::transaction::Block;
use super::{Outcome, RowStream, Scope, Session, Tag};
use crate::bind::ddl::{CreateTable, DropTable};
use crate::bind::{LateKind, LateValue};
use crate::error::{Result, SqlError, SqlState};
use crate::execute::errors::engine_error;
use crate::execute::initial::InitialRun;
use crate::execute::query::{Reader, Running, plain_key, read_point};
use crate::execute::{Context, Surroundings, Watch};
use crate::parse::utility::TableName;
use crate::physical::{QueryPlan, Source};
use crate::plan::{Compiled, InitialPlan, InsertPlan, InsertRows, Plan};

impl<R: Router> Session<R> {
    /// Runs a statement.
    pub(super) async fn run(
        &mut self,
        prepared: &Rc<Prepared>,
        params: &[Datum],
        scope: Scope,
    ) -> Result<Outcome<R>> {
        self.check_not_failed(prepared.statement())?;
        if params.is_empty() && !prepared.parameters().is_empty() {
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        if params.len() != prepared.parameters().len() {
            let message = format!(
                "bind message supplies {} parameters, but prepared statement requires {}",
                params.len(),
                prepared.parameters().len()
            );
            return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message));
        }
        let body = self.body_with_files(prepared).await?;
        match &*body {
            Body::Empty => Ok(Outcome::Empty),
            Body::Plan(compiled) => self.run_plan(compiled, params, scope).await,
            Body::Utility => self.run_utility(prepared, scope).await,
            Body::Explain { analyze, format, inner } => {
                self.run_explain(*analyze, *format, inner, params, scope).await
            }
            Body::Execute { inner, args } => {
                let surroundings = self.surroundings();
                let context = surroundings.context(&[]);
                let args = args.iter().map(|arg| arg.eval_constant(&context));
                let args: Vec<Datum> = args.collect::<std::result::Result<_, _>>()?;
                Box::pin(self.run(inner, &args, scope)).await
            }
            Body::Copy(plan) => self.run_copy(plan, scope).await,
        }
    }

    /// Watches a statement that begins now.
    pub(super) fn watch(&self) -> Watch<R> {
        Watch::new(self.router.clone(), self.cancel.clone(), self.settings.statement_timeout_us())
    }

    /// Opens the implicit transaction if the statement needs it.
    pub(super) fn enter(&mut self, scope: Scope) -> Result<()> {
        let opens = self.transaction.block == Block::None && scope == Scope::UntilSync;
        let now_us = if opens { self.router.wall_clock_us() } else { 0 };
        self.transaction.enter(scope, &mut self.settings, now_us)
    }

    /// What a reading statement sees, and the transaction that it is, if it is one by itself.
    pub(super) fn read_view(&mut self, scope: Scope) -> (ReadView, Option<R::Txn>) {
        if self.transaction.is_alone(scope) {
            let txn = self.router.begin();
            return (txn.view(), Some(txn));
        }
        let txn = self.transaction.take(&self.router);
        let view = txn.view();
        self.transaction.put(txn);
        (view, None)
    }

    /// Runs a planned statement.
    pub(super) async fn run_plan(
        &mut self,
        compiled: &Compiled,
        params: &[Datum],
        scope: Scope,
    ) -> Result<Outcome<R>> {
        self.enter(scope)?;
        if let Plan::Query(QueryPlan { source: Source::Point(point), .. }) = &compiled.plan
            && compiled.late.is_empty()
            && let Some(key) = plain_key(&point.keys, params)
        {
            // The most frequent statement of all: nothing is evaluated.
            let (view, _txn) = self.read_view(scope);
            let row = read_point(&self.router, point, view, key).await?;
            return Ok(Outcome::Rows(RowStream::of_query(Running::Row(row))));
        }
        let surroundings = self.surroundings();
        let with_late;
        let parameters = if compiled.late.is_empty() {
            params
        } else {
            with_late = self.late_values(&compiled.late, params, &surroundings).await?;
            &with_late
        };
        let context = Context::new(parameters, &surroundings);
        if compiled.initial.iter().any(InitialPlan::is_write) {
            return self.run_writing_with(compiled, &context, scope).await;
        }
        match &compiled.plan {
            Plan::Query(query) => {
                let (view, txn) = self.read_view(scope);
                let watch = self.watch();
                if !compiled.initial.is_empty() {
                    let router = &self.router;
                    let run = InitialRun { router, view, watch: &watch, txn: None };
                    let values = Box::pin(run.run(&compiled.initial, parameters, &surroundings));
                    let (values, surroundings) = values.await?;
                    let context = Context::new(&values, &surroundings);
                    let reader = Reader { router, view, context: &context, watch: &watch };
                    return Ok(Outcome::Rows(RowStream::of_query(reader.start(query, txn).await?)));
                }
                let reader = Reader { router: &self.router, view, context: &context, watch: &watch };
                Ok(Outcome::Rows(RowStream::of_query(reader.start(query, txn).await?)))
            }
            Plan::Insert(_) | Plan::Modify(_) => {
                self.run_write(&compiled.plan, &compiled.initial, &context, scope).await
            }
            Plan::CreateTable(create) => {
                self.before_catalog_change("CREATE TABLE").await?;
                self.create_table(create).await?;
                Ok(Outcome::Done(Tag::Word("CREATE TABLE")))
            }
            Plan::CreateTableAs(create, rows) => {
                self.create_table_as(create, rows.as_ref(), &compiled.initial, &context).await
            }
            Plan::DropTable(drop) => self.drop_tables(drop).await,
            Plan::Truncate(tables) => {
                self.before_catalog_change("TRUNCATE TABLE").await?;
                for table in tables {
                    self.change_catalog(CatalogChange::TruncateTable(table.id), table).await?;
                }
                Ok(Outcome::Done(Tag::Word("TRUNCATE TABLE")))
            }
        }
    }

    /// Refuses a write in a read-only transaction.
    pub(super) fn check_may_write(&self, command: &str) -> Result<()> {
        if !self.transaction.read_only {
            return Ok(());
        }
        let message = format!("cannot execute {command} in a read-only transaction");
        Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message))
    }

    /// Computes what only the session can, in order.
    pub(super) async fn late_values(
        &mut self,
        late: &[LateValue],
        params: &[Datum],
        surroundings: &Surroundings,
    ) -> Result<Vec<Datum>> {
        let mut values = params.to_vec();
        for value in late {
            let context = surroundings.context(&values);
            let args = value.args.iter().map(|arg| arg.eval_constant(&context));
            let args: Vec<Datum> = args.collect::<std::result::Result<_, _>>()?;
            values.push(match (value.kind, args.as_slice()) {
                (LateKind::RelationSize, [Datum::Text(name)]) => self.relation_size(name).await?,
                (LateKind::CurrentSetting, [Datum::Text(name), rest @ ..]) => {
                    match self.settings.show(&name.to_lowercase()) {
                        Ok(setting) => Datum::Text(setting.into()),
                        Err(_) if rest == [Datum::Bool(true)] => Datum::Null,
                        Err(error) => return Err(error),
                    }
                }
                (LateKind::SetConfig, [Datum::Text(name), setting, local]) => {
                    let name = name.to_lowercase();
                    let setting = if let Datum::Text(text) = setting { Some(&**text) } else { None };
                    self.set(&name, setting, *local == Datum::Bool(true))?;
                    self.settings_changed = true;
                    Datum::Text(self.settings.show(&name)?.into())
                }
                // Also subqueries, whose answers come later.
                _ => Datum::Null,
            });
        }
        Ok(values)
    }

    async fn relation_size(&self, name: &str) -> Result<Datum> {
        let name = crate::parse::parse_table_name(name)?;
        let table = self.table_named(&name)?;
        let Some(table) = table else {
            let message = format!("relation \"{}\" does not exist", name.name);
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        };
        let size = self.router.relation_size_bytes(table.id).await.map_err(|e| engine_error(e, &table))?;
        Ok(Datum::Int8(i64::try_from(size).unwrap_or(i64::MAX)))
    }

    /// The table of a name outside a statement's own text.
    pub(super) fn table_named(&self, name: &TableName) -> Result<Option<std::sync::Arc<Table>>> {
        let catalog = self.router.catalog();
        let surroundings = self.surroundings();
        let context = surroundings.context(&[]);
        let binder = crate::bind::Binder::new(
            "",
            &catalog,
            &self.settings,
            &context,
            crate::expr::ParameterTypes::default(),
            0,
        );
        binder.find_table(name)
    }

    /// Catalog changes are transactions by themselves: refused in a block, and the end of what came before them in the
    /// same message.
    async fn before_catalog_change(&mut self, command: &'static str) -> Result<()> {
        self.check_may_write(command)?;
        match self.transaction.block {
            Block::None => Ok(()),
            Block::Implicit => self.commit_transaction().await,
            Block::Explicit | Block::Failed => Err(SqlError::unsupported(
                format!("{command} inside a transaction block"),
                "Run it outside BEGIN and COMMIT.",
            )),
        }
    }

    async fn change_catalog(&self, change: CatalogChange, table: &Table) -> Result<()> {
        let changed = self.router.change_catalog(change).await;
        changed.map(drop).map_err(|e| engine_error(e, table))
    }

    /// Creates a table; answers whether it is new, which it may only not be with IF NOT EXISTS.
    async fn create_table(&mut self, create: &CreateTable) -> Result<bool> {
        let change = CatalogChange::CreateTable { name: create.name.clone(), schema: create.schema.clone() };
        let taken = self.router.catalog().table_named(&create.name).is_some();
        let created = if taken {
            Err(omen_core::Error::TableExists { name: create.name.clone() })
        } else {
            self.router.change_catalog(change).await
        };
        match created {
            Ok(_) => Ok(true),
            Err(omen_core::Error::TableExists { name }) if create.if_not_exists => {
                let message = format!("relation \"{name}\" already exists, skipping");
                self.tell(SqlError::notice(SqlState::DUPLICATE_TABLE, message));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a table, then writes its rows in one transaction. The table goes again if that fails; others can see it
    /// without rows until then.
    async fn create_table_as(
        &mut self,
        create: &CreateTable,
        rows: Option<&QueryPlan>,
        initial: &[InitialPlan],
        context: &Context<'_>,
    ) -> Result<Outcome<R>> {
        self.before_catalog_change("CREATE TABLE AS").await?;
        let is_new = self.create_table(create).await?;
        let Some(rows) = rows.filter(|_| is_new) else {
            return Ok(Outcome::Done(Tag::Word("CREATE TABLE AS")));
        };
        let table = self.router.catalog().table_named(&create.name).cloned();
        let Some(table) = table else {
            let message = format!("relation \"{}\" was dropped while its rows were read", create.name);
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        };
        let insert = Plan::Insert(InsertPlan {
            types: table.schema.columns.iter().map(|column| column.pg_type).collect(),
            table: table.clone(),
            source: InsertRows::Query(rows.clone()),
            conflict: None,
            returning: None,
        });
        match self.run_write(&insert, initial, context, Scope::Alone).await {
            Ok(Outcome::Done(Tag::Insert(count))) => Ok(Outcome::Done(Tag::Select(count))),
            Ok(other) => Ok(other),
            Err(error) => {
                self.change_catalog(CatalogChange::DropTable(table.id), &table).await?;
                Err(error)
            }
        }
    }

    async fn drop_tables(&mut self, drop: &DropTable) -> Result<Outcome<R>> {
        self.before_catalog_change("DROP TABLE").await?;
        let mut tables = Vec::with_capacity(drop.names.len());
        for name in &drop.names {
            match self.table_named(name)? {
                Some(table) => tables.push(table),
                None if drop.if_exists => {
                    let message = format!("table \"{}\" does not exist, skipping", name.name);
                    self.tell(SqlError::notice(SqlState::SUCCESSFUL_COMPLETION, message));
                }
                None => {
                    let message = format!("table \"{}\" does not exist", name.name);
                    return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
                }
            }
        }
        tables.dedup_by_key(|table| table.id);
        for table in tables {
            match self.router.change_catalog(CatalogChange::DropTable(table.id)).await {
                Ok(_) => {}
                Err(omen_core::Error::TableMissing { .. }) if drop.if_exists => {}
                Err(error) => return Err(engine_error(error, &table)),
            }
        }
        Ok(Outcome::Done(Tag::Word("DROP TABLE")))
    }

    /// Commits the transaction, whichever it is.
    pub(super) async fn commit_transaction(&mut self) -> Result<()> {
        self.settings_changed = true;
        match self.transaction.commit(&mut self.settings) {
            Some(txn) if txn.has_written() => Ok(self.router.commit(txn).await?),
            _ => Ok(()),
        }
    }
}
