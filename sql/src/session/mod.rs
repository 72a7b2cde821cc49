//! One client's connection as SQL sees it: its transaction, settings and prepared statements.
//!
//! Order of calls for the simple protocol: [`Session::split`], then for each statement [`Session::prepare`] and
//! [`Session::execute`], reading its outcome to the end, then [`Session::sync`]. For the extended protocol:
//! [`Session::parse`] at Parse, `execute` at Execute, `sync` at Sync. When a stream or copy fails, or the caller itself
//! cannot go on with a statement (a parameter that cannot be decoded), it calls [`Session::fail`]; `split`, `parse`,
//! `prepare` and `execute` do that themselves when they answer an error.
//!
//! Changes of the catalog take effect at once: inside the implicit transaction of a message with several statements
//! they commit what came before them.

mod copy;
mod prepared;
mod rows;
mod run;
mod transaction;
mod utility;
mod write;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use omen_core::id::TableId;
use omen_core::router::{CancelFlag, Router, SessionId};
use omen_core::types::{Datum, PgType};

pub use copy::{CopyIn, CopyOut, CopyRows};
pub use prepared::Prepared;
pub use rows::{RowBatch, RowStream};

use crate::error::{Result, SqlError, SqlState};
use crate::execute::Surroundings;
use crate::execute::observed::Observed;
pub use crate::parse::Statement;
pub use crate::settings::Settings;
use transaction::{Block, TransactionState};

/// Most parameters of a statement (a 16-bit count on the wire).
pub const PARAMETERS_MAX: usize = 65_535;

/// Most statements that PREPARE keeps in a session.
const STORED_STATEMENTS_MAX: usize = 16_384;

/// One column of a result.
#[derive(Clone, PartialEq, Debug)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type.
    pub pg_type: PgType,
    /// The table and column number (from 1) if it is a plain column of a table.
    pub table: Option<(TableId, i16)>,
}

/// What ReadyForQuery tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed transaction block.
    Failed,
}

/// What ends the transaction of a statement outside a transaction block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The statement itself: nothing else comes before the next `sync` (a simple query of one statement, or an
    /// Execute with its Sync right behind it). It commits by itself, in one message where possible, and is run again
    /// on a new snapshot when it conflicts with others.
    Alone,
    /// The next [`Session::sync`]: other statements may belong to the same transaction.
    UntilSync,
}

/// The tag of CommandComplete; `Display` gives its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    /// `INSERT 0 n`
    Insert(u64),
    /// `UPDATE n`
    Update(u64),
    /// `DELETE n`
    Delete(u64),
    /// `SELECT n`
    Select(u64),
    /// `COPY n`
    Copy(u64),
    /// Any other.
    Word(&'static str),
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tag::Insert(n) => write!(f, "INSERT 0 {n}"),
            Tag::Update(n) => write!(f, "UPDATE {n}"),
            Tag::Delete(n) => write!(f, "DELETE {n}"),
            Tag::Select(n) => write!(f, "SELECT {n}"),
            Tag::Copy(n) => write!(f, "COPY {n}"),
            Tag::Word(word) => f.write_str(word),
        }
    }
}

/// What a statement answers.
pub enum Outcome<R: Router> {
    /// It is done.
    Done(Tag),
    /// The statement was empty.
    Empty,
    /// Rows follow.
    Rows(RowStream<R>),
    /// It waits for COPY data.
    CopyIn(CopyIn<R>),
    /// COPY data follows.
    CopyOut(CopyOut<R>),
}

/// One client's connection.
pub struct Session<R: Router> {
    router: R,
    user: Arc<str>,
    database: Arc<str>,
    backend_pid: i32,
    cancel: CancelFlag,
    settings: Settings,
    /// Settings may have changed since the client was told.
    settings_changed: bool,
    /// Files of the statement that is being planned.
    files: crate::files::Files,
    /// Values of reported settings as the client knows them.
    told: Vec<(&'static str, String)>,
    notices: Vec<SqlError>,
    /// What EXPLAIN ANALYZE learns of the statement that it runs.
    observed: Observed,
    transaction: TransactionState<R>,
    stored: HashMap<String, Rc<Prepared>>,
    /// Memory beyond which operators put rows aside that can, if it is not `work_mem`.
    #[cfg(test)]
    spill_bytes: Option<usize>,
}

impl<R: Router> Session<R> {
    /// A session of an authenticated user. `cancel` is the flag that `Router::register_session` gave.
    pub fn new(router: R, user: &str, database: &str, cancel: CancelFlag) -> Session<R> {
        let mut settings = Settings::default();
        settings.set_read_only("session_authorization", user);
        Session {
            router,
            user: user.into(),
            database: database.into(),
            backend_pid: 0,
            cancel,
            settings,
            settings_changed: false,
            files: crate::files::Files::default(),
            told: Vec::new(),
            notices: Vec::new(),
            observed: Observed::default(),
            transaction: TransactionState::new(),
            stored: HashMap::new(),
            #[cfg(test)]
            spill_bytes: None,
        }
    }

    /// Tells the session its name, which `pg_backend_pid()` answers.
    pub fn set_id(&mut self, id: SessionId) {
        self.backend_pid = id.0.cast_signed();
    }

    /// The router it was made with.
    pub fn router(&self) -> &R {
        &self.router
    }

    /// The role that connected.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database it is connected to.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The settings as they are now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A setting of the startup message (or of its `options`), which becomes what RESET goes back to.
    ///
    /// # Errors
    /// 42704 if there is no such setting, 22023 if the value is not allowed.
    pub fn set_startup_parameter(&mut self, name: &str, value: &str) -> Result<()> {
        self.settings.set_startup(name, value)
    }

    /// All ParameterStatus values at start.
    pub fn reported_parameters(&mut self) -> Vec<(&'static str, String)> {
        self.told = self.settings.reported().map(|(name, value)| (name, value.to_owned())).collect();
        self.told.clone()
    }

    /// The ParameterStatus values that changed since the last call.
    pub fn take_changed_parameters(&mut self) -> Vec<(&'static str, String)> {
        if !std::mem::take(&mut self.settings_changed) {
            return Vec::new();
        }
        let before = std::mem::take(&mut self.told);
        let now = self.reported_parameters();
        now.into_iter().filter(|status| !before.contains(status)).collect()
    }

    /// Notices and warnings since the last call.
    pub fn take_notices(&mut self) -> Vec<SqlError> {
        std::mem::take(&mut self.notices)
    }

    /// What ReadyForQuery tells.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    /// The statements of a simple query; none if the text is empty.
    ///
    /// # Errors
    /// 42601 if it is not SQL.
    pub async fn split(&mut self, sql: &str) -> Result<Vec<Statement>> {
        let statements = crate::parse::split(sql);
        self.failing(statements).await
    }

    /// The one statement of a Parse message, or an empty statement (see [`Outcome::Empty`]). An OID of 0, or none
    /// given, asks to infer the parameter's type.
    ///
    /// # Errors
    /// 42601 if it is not SQL or more than one statement; and all that binding reports.
    pub async fn parse(&mut self, sql: &str, parameter_oids: &[u32]) -> Result<Rc<Prepared>> {
        let mut statements = self.split(sql).await?;
        let statement = statements.pop();
        if !statements.is_empty() {
            let message = "cannot insert multiple commands into a prepared statement";
            return self.failing(Err(SqlError::new(SqlState::SYNTAX_ERROR, message))).await;
        }
        match statement {
            Some(statement) => self.prepare(&statement, parameter_oids).await,
            None => Ok(Rc::new(Prepared::empty())),
        }
    }

    /// Plans a statement. An OID of 0, or none given, asks to infer the parameter's type.
    ///
    /// # Errors
    /// All that binding reports; 25P02 in a failed transaction block unless the statement ends it.
    pub async fn prepare(&mut self, statement: &Statement, parameter_oids: &[u32]) -> Result<Rc<Prepared>> {
        let prepared = self.prepare_with_files(statement, parameter_oids).await;
        self.failing(prepared).await
    }

    /// Runs a statement. `params` have the types of [`Prepared::parameters`].
    ///
    /// # Errors
    /// All that running reports.
    pub async fn execute(
        &mut self,
        prepared: &Rc<Prepared>,
        params: &[Datum],
        scope: Scope,
    ) -> Result<Outcome<R>> {
        self.cancel.set(false);
        let outcome = self.run(prepared, params, scope).await;
        self.failing(outcome).await
    }

    /// Ends the implicit transaction, if there is one: commits it.
    ///
    /// # Errors
    /// If committing fails; nothing is committed then.
    pub async fn sync(&mut self) -> Result<()> {
        if self.transaction.block != Block::Implicit {
            return Ok(());
        }
        self.commit_transaction().await
    }

    /// The current statement has failed: rolls the implicit transaction back, or puts the block into the failed state.
    pub async fn fail(&mut self) {
        self.settings_changed = true;
        if let Some(txn) = self.transaction.fail(&mut self.settings) {
            self.router.rollback(txn).await;
        }
    }

    async fn failing<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.fail().await;
        }
        result
    }

    /// Tells the client something, if it wants to know.
    fn tell(&mut self, notice: SqlError) {
        if self.settings.wants(notice.severity) {
            self.notices.push(notice);
        }
    }

    /// Has operators that can put rows aside do so beyond so many bytes, however large `work_mem` is.
    #[cfg(test)]
    pub(crate) fn spill_beyond(&mut self, bytes: usize) {
        self.spill_bytes = Some(bytes);
    }

    /// What expressions of a statement that begins now read.
    fn surroundings(&self) -> Surroundings {
        let now_us = self.router.wall_clock_us();
        Surroundings {
            transaction_start_us: self.transaction.start_us(now_us),
            statement_start_us: now_us,
            format: *self.settings.format(),
            user: self.user.clone(),
            database: self.database.clone(),
            backend_pid: self.backend_pid,
            readings: self.router.readings(),
            random_seed: self.router.random_u64(),
            memory_bytes: self.settings.work_mem_bytes(),
            #[cfg(not(test))]
            spill_bytes: self.settings.work_mem_bytes(),
            #[cfg(test)]
            spill_bytes: self.spill_bytes.unwrap_or_else(|| self.settings.work_mem_bytes()),
            space: crate::fragment::spill::DiskSpace::new(self.settings.temp_file_limit_bytes()),
            classes: self.settings.classes(),
            observed: self.observed.clone(),
            tables: std::rc::Rc::default(),
        }
    }
}
