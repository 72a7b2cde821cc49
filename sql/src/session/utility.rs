//! Statements about the session and the server.

use std::rc::Rc;

use omen_core::id::TableId;
use omen_core::router::Router;
use omen_core::types::{Datum, PgType};
use sqlparser::ast;

use super::prepared::{Body, Prepared};
use super::transaction::Block;
use super::{Outcome, RowStream, STORED_STATEMENTS_MAX, Scope, Session, Tag};
use crate::bind::{Binder, ExprScope, names, types};
use crate::error::{Result, SqlError, SqlState};
use crate::execute::join::estimate_scans;
use crate::execute::observed::Observed;
use crate::execute::rows::array_of;
use crate::explain::{Explained, Report, scans_of};
use crate::expr::{Coercion, Expr, ParameterTypes};
use crate::fragment::{batch_of, schema_of};
use crate::parse::utility::{
    Discard, ExplainFormat, Isolation, Maintained, SetStatement, TransactionModes, Utility,
};
use crate::parse::{Parsed, Statement};
use crate::plan::{Compiled, Environment};
use crate::types::json::Value;

impl<R: Router> Session<R> {
    /// Runs a statement about the session.
    #[expect(clippy::too_many_lines, reason = "one arm per statement")]
    pub(super) async fn run_utility(&mut self, prepared: &Prepared, scope: Scope) -> Result<Outcome<R>> {
        let Some(Parsed::Utility(utility)) = prepared.statement().map(Statement::parsed) else {
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "not a statement about the session"));
        };
        self.settings_changed = true;
        let word = |tag| Ok(Outcome::Done(Tag::Word(tag)));
        match utility {
            Utility::Begin { modes, tag } => {
                self.begin(*modes)?;
                word(tag)
            }
            Utility::Commit { chain } => self.commit(*chain).await,
            Utility::Rollback { chain } => self.roll_back(*chain).await,
            Utility::SetTransaction(modes) => {
                self.set_transaction(*modes)?;
                word("SET")
            }
            Utility::SetSessionTransaction(modes) => {
                self.set_session_transaction(*modes)?;
                word("SET")
            }
            Utility::Set(SetStatement { name, value, local }) => {
                self.enter(scope)?;
                self.set(name, value.as_deref(), *local)?;
                word("SET")
            }
            Utility::Reset(name) => {
                self.enter(scope)?;
                let name = name.clone();
                self.transaction.set_session(&mut self.settings, |settings| match &name {
                    Some(name) => settings.reset(name),
                    None => {
                        settings.reset_all();
                        Ok(())
                    }
                })?;
                word("RESET")
            }
            Utility::Show(name) => self.show(name.as_deref()),
            Utility::Discard(Discard::Part(tag)) => word(tag),
            Utility::Discard(Discard::All) => {
                self.refuse_in_block(scope, "DISCARD ALL")?;
                self.stored.clear();
                self.settings.reset_all();
                word("DISCARD ALL")
            }
            Utility::Deallocate(None) => {
                self.stored.clear();
                word("DEALLOCATE ALL")
            }
            Utility::Deallocate(Some(name)) => {
                self.stored_statement(name)?;
                self.close_statement(name);
                word("DEALLOCATE")
            }
            Utility::Prepare { name, types, statement } => {
                let oids =
                    types.iter().map(|t| types::pg_type(t).map(PgType::oid)).collect::<Result<Vec<_>>>()?;
                let prepared = self.prepare_with_files(statement, &oids).await?;
                self.store_statement(name, prepared)?;
                word("PREPARE")
            }
            Utility::EndNothing(tag) => word(tag),
            Utility::Checkpoint => {
                self.router.checkpoint(None).await?;
                word("CHECKPOINT")
            }
            Utility::Vacuum(tables) => {
                self.refuse_in_block(scope, "VACUUM")?;
                for table in self.maintained(tables)? {
                    self.router.vacuum(table).await?;
                }
                word("VACUUM")
            }
            // Rows in segments come with what planning goes by.
            Utility::Analyze(tables) => {
                for table in self.maintained(tables)? {
                    self.router.checkpoint(table).await?;
                }
                word("ANALYZE")
            }
            Utility::Execute { .. } | Utility::Explain { .. } | Utility::Copy(_) => {
                Err(SqlError::new(SqlState::INTERNAL_ERROR, "these statements have plans"))
            }
        }
    }

    fn begin(&mut self, modes: TransactionModes) -> Result<()> {
        if self.transaction.block == Block::Explicit {
            let message = "there is already a transaction in progress";
            self.tell(SqlError::warning(SqlState::ACTIVE_SQL_TRANSACTION, message));
            self.transaction.change_modes(modes, &mut self.settings)?;
        } else {
            let now_us = self.router.wall_clock_us();
            self.transaction.begin(modes, &mut self.settings, now_us)?;
        }
        Ok(())
    }

    async fn commit(&mut self, chain: bool) -> Result<Outcome<R>> {
        let modes = self.transaction.modes(&self.settings);
        let tag = match self.transaction.block {
            Block::Failed => {
                self.roll_back_transaction().await;
                "ROLLBACK"
            }
            Block::Explicit => {
                self.commit_transaction().await?;
                "COMMIT"
            }
            Block::None | Block::Implicit => {
                self.refuse_chain(chain, "COMMIT")?;
                self.tell_no_transaction();
                self.commit_transaction().await?;
                "COMMIT"
            }
        };
        self.chain(chain, modes)?;
        Ok(Outcome::Done(Tag::Word(tag)))
    }

    async fn roll_back(&mut self, chain: bool) -> Result<Outcome<R>> {
        let modes = self.transaction.modes(&self.settings);
        if matches!(self.transaction.block, Block::None | Block::Implicit) {
            self.refuse_chain(chain, "ROLLBACK")?;
            self.tell_no_transaction();
        }
        self.roll_back_transaction().await;
        self.chain(chain, modes)?;
        Ok(Outcome::Done(Tag::Word("ROLLBACK")))
    }

    async fn roll_back_transaction(&mut self) {
        if let Some(txn) = self.transaction.roll_back(&mut self.settings) {
            self.router.rollback(txn).await;
        }
    }

    fn refuse_chain(&self, chain: bool, command: &str) -> Result<()> {
        if !chain {
            return Ok(());
        }
        let message = format!("{command} AND CHAIN can only be used in transaction blocks");
        Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message))
    }

    fn tell_no_transaction(&mut self) {
        let message = "there is no transaction in progress";
        self.tell(SqlError::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
    }

    fn chain(&mut self, chain: bool, modes: TransactionModes) -> Result<()> {
        if !chain {
            return Ok(());
        }
        let now_us = self.router.wall_clock_us();
        self.transaction.begin(modes, &mut self.settings, now_us)
    }

    fn refuse_in_block(&self, scope: Scope, command: &str) -> Result<()> {
        if self.transaction.is_alone(scope) {
            return Ok(());
        }
        let message = format!("{command} cannot run inside a transaction block");
        Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message))
    }

    fn set_transaction(&mut self, modes: TransactionModes) -> Result<()> {
        if self.transaction.block == Block::Explicit {
            return self.transaction.change_modes(modes, &mut self.settings);
        }
        let message = "SET TRANSACTION can only be used in transaction blocks";
        self.tell(SqlError::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        Ok(())
    }

    fn set_session_transaction(&mut self, modes: TransactionModes) -> Result<()> {
        let switch = |on: bool| if on { "on" } else { "off" };
        let values = [
            ("default_transaction_isolation", modes.isolation.map(Isolation::name)),
            ("default_transaction_read_only", modes.read_only.map(switch)),
            ("default_transaction_deferrable", modes.deferrable.map(switch)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                self.set(name, Some(value), false)?;
            }
        }
        Ok(())
    }

    /// SET; `None` is DEFAULT.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        let switch = || value.map(|value| matches!(value, "on" | "true" | "1" | "yes"));
        let modes = match name {
            "transaction_isolation" => Some(TransactionModes {
                isolation: value.and_then(Isolation::parse),
                ..TransactionModes::default()
            }),
            "transaction_read_only" => {
                Some(TransactionModes { read_only: switch(), ..TransactionModes::default() })
            }
            "transaction_deferrable" => {
                Some(TransactionModes { deferrable: switch(), ..TransactionModes::default() })
            }
            _ => None,
        };
        if let Some(modes) = modes {
            // The value is checked by the setting, the change made by the transaction.
            self.settings.clone().set(name, value.unwrap_or("off")).or_else(|error| match value {
                None => Ok(()),
                Some(_) => Err(error),
            })?;
            return self.set_transaction(modes);
        }
        let change = |settings: &mut crate::settings::Settings| match value {
            Some(value) => settings.set(name, value),
            None => settings.reset(name),
        };
        if !local {
            return self.transaction.set_session(&mut self.settings, change);
        }
        if self.transaction.block == Block::None || self.transaction.block == Block::Implicit {
            change(&mut self.settings.clone())?;
            let message = "SET LOCAL can only be used in transaction blocks";
            self.tell(SqlError::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
            if self.transaction.block == Block::None {
                return Ok(());
            }
        }
        self.transaction.set_local(&mut self.settings, change)
    }

    fn show(&self, name: Option<&str>) -> Result<Outcome<R>> {
        let rows: Vec<Vec<String>> = match name {
            Some(name) => vec![vec![self.setting(name)?]],
            None => {
                let row = |info: crate::settings::SettingInfo| {
                    vec![info.name.into(), info.value, info.about.to_owned()]
                };
                self.settings.all().into_iter().map(row).collect()
            }
        };
        Ok(Outcome::Rows(text_rows(&rows, if name.is_some() { 1 } else { 3 }, Some(Tag::Word("SHOW")))))
    }

    /// The value of a setting; outside a transaction its modes are the defaults.
    fn setting(&self, name: &str) -> Result<String> {
        let alone = self.transaction.block == Block::None;
        match name {
            "transaction_isolation" if alone => self.settings.show("default_transaction_isolation"),
            "transaction_read_only" if alone => self.settings.show("default_transaction_read_only"),
            "transaction_deferrable" if alone => self.settings.show("default_transaction_deferrable"),
            _ => self.settings.show(name),
        }
    }

    /// The tables that VACUUM or ANALYZE names, or none for all.
    fn maintained(&self, named: &[Maintained]) -> Result<Vec<Option<TableId>>> {
        if named.is_empty() {
            return Ok(vec![None]);
        }
        let mut tables = Vec::with_capacity(named.len());
        for Maintained { table: name, columns } in named {
            let table = self.table_named(name)?.ok_or_else(|| {
                let message = format!("relation \"{}\" does not exist", name.name);
                SqlError::new(SqlState::UNDEFINED_TABLE, message).at(name.position)
            })?;
            for (at, column) in columns.iter().enumerate() {
                let relation = format!("column \"{column}\" of relation \"{}\"", name.name);
                if !table.schema.columns.iter().any(|known| *known.name == **column) {
                    let message = format!("{relation} does not exist");
                    return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
                }
                if columns[..at].contains(column) {
                    let message = format!("{relation} appears more than once");
                    return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
                }
            }
            tables.push(Some(table.id));
        }
        Ok(tables)
    }

    /// Keeps a statement under a name, as PREPARE and Parse with a name do.
    ///
    /// # Errors
    /// 42P05 if the name is taken; 54000 if there are too many.
    pub fn store_statement(&mut self, name: &str, prepared: Rc<Prepared>) -> Result<()> {
        if self.stored.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        if self.stored.len() >= STORED_STATEMENTS_MAX {
            let message = format!("a session can keep at most {STORED_STATEMENTS_MAX} prepared statements");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        self.stored.insert(name.to_owned(), prepared);
        Ok(())
    }

    /// The statement of a name.
    ///
    /// # Errors
    /// 26000 if there is none.
    pub fn stored_statement(&self, name: &str) -> Result<Rc<Prepared>> {
        self.stored.get(name).cloned().ok_or_else(|| {
            let message = format!("prepared statement \"{name}\" does not exist");
            SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Forgets the statement of a name, if there is one.
    pub fn close_statement(&mut self, name: &str) {
        self.stored.remove(name);
    }
}

/// Rows of text.
pub(super) fn text_rows<R: Router>(rows: &[Vec<String>], width: usize, tag: Option<Tag>) -> RowStream<R> {
    let types = vec![PgType::Text; width];
    let column = |index: usize| {
        let values: Vec<Datum> = rows.iter().map(|row| Datum::Text(row[index].as_str().into())).collect();
        array_of(PgType::Text, values.iter())
    };
    let batch = batch_of(&schema_of(&types), (0..width).map(column).collect(), rows.len());
    RowStream::of_batches(vec![batch], tag)
}

/// The arguments of EXECUTE, as values of the statement's parameters.
pub(super) fn bind_arguments(
    statement: &Statement,
    args: &[ast::Expr],
    inner: &Prepared,
    name: &str,
    environment: Environment<'_>,
) -> Result<Vec<Expr>> {
    let expected = inner.parameters();
    if args.len() != expected.len() {
        let message = format!("wrong number of parameters for prepared statement \"{name}\"");
        let detail = format!("Expected {} parameters but got {}.", expected.len(), args.len());
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).detail(detail));
    }
    let mut binder = Binder::new(
        statement.text(),
        environment.catalog,
        environment.settings,
        environment.context,
        ParameterTypes::default(),
        0,
    );
    let scope = names::Scope::default();
    let mut bound = Vec::with_capacity(args.len());
    for (arg, pg_type) in args.iter().zip(expected) {
        let expr = binder.expr(arg, &mut ExprScope::plain(&scope, "EXECUTE parameters"))?;
        bound.push(binder.build().coerce(expr, *pg_type, Coercion::Assignment)?);
    }
    Ok(bound)
}

impl<R: Router> Session<R> {
    /// EXPLAIN, with ANALYZE also what a run takes, whose rows are left out.
    pub(super) async fn run_explain(
        &mut self,
        analyze: bool,
        format: ExplainFormat,
        inner: &Rc<Prepared>,
        params: &[Datum],
        scope: Scope,
    ) -> Result<Outcome<R>> {
        let body = self.body_with_files(inner).await?;
        let Body::Plan(compiled) = &*body else {
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "only plans are explained"));
        };
        // Before the run, which may change what is there to estimate.
        let context = self.surroundings().context(params);
        let rows = estimate_scans(&self.router, &scans_of(&compiled.plan), &context).await?;
        let mut rows_of_initial = Vec::new();
        for initial in &compiled.initial {
            rows_of_initial.push(estimate_scans(&self.router, &scans_of(&initial.plan), &context).await?);
        }
        let mut seen = Observed::default();
        let mut ran = Report::default();
        if analyze {
            seen = Observed::begin();
            self.observed = seen.clone();
            let run = self.run_observed(compiled, params, scope, &mut ran).await;
            self.observed = Observed::default();
            run?;
        }
        let catalog = self.router.catalog();
        let scatter = self.settings.classes().scatter;
        let explained = |rows| Explained { catalog: &catalog, context: &context, scatter, seen: &seen, rows };
        let mut report = Report::default();
        for (initial, rows) in compiled.initial.iter().zip(&rows_of_initial) {
            explained(rows).initial(&mut report, initial);
        }
        report.extend(explained(&rows).plan(&compiled.plan));
        let lines = match format {
            ExplainFormat::Text => {
                report.extend(ran);
                report.lines()
            }
            ExplainFormat::Json => {
                let mut all = Report::default();
                all.member("Plan", report);
                all.extend(ran);
                let mut text = String::new();
                Value::Array(vec![all.json()]).write_pretty(0, &mut text);
                vec![text]
            }
        };
        let values: Vec<Datum> = lines.iter().map(|line| Datum::Text(line.as_str().into())).collect();
        let pg_type = format.pg_type();
        let batch = batch_of(&schema_of(&[pg_type]), vec![array_of(pg_type, values.iter())], values.len());
        Ok(Outcome::Rows(RowStream::of_batches(vec![batch], Some(Tag::Word("EXPLAIN")))))
    }

    /// Runs what is explained, and adds what it took as a whole.
    async fn run_observed(
        &mut self,
        compiled: &Compiled,
        params: &[Datum],
        scope: Scope,
        report: &mut Report,
    ) -> Result<()> {
        let started_us = self.router.monotonic_us();
        let outcome = Box::pin(self.run_plan(compiled, params, scope)).await?;
        let tag = match outcome {
            Outcome::Rows(mut rows) => {
                while rows.next().await?.is_some() {}
                rows.tag()
            }
            Outcome::Done(tag) => tag,
            _ => Tag::Select(0),
        };
        let ms = (self.router.monotonic_us() - started_us) as f64 / 1e3;
        report.fact("Result", tag.to_string());
        report.number("Execution Time", ms, format!("{ms:.3} ms"));
        Ok(())
    }
}
