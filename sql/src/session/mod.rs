//! One client's connection as SQL sees it: its transaction, settings and prepared statements.
//!
//! Order of calls for the simple protocol: [`Session::split`], then for each statement [`Session::prepare`] and
//! [`Session::execute`], reading its outcome to the end, then [`Session::sync`]. For the extended protocol: `prepare`
//! at Parse, `execute` at Execute, `sync` at Sync. When a stream or copy fails, or the caller itself cannot go on
//! with a statement (a parameter that cannot be decoded), it calls [`Session::fail`]; `prepare` and `execute` do that
//! themselves when they answer an error.

mod copy;
mod rows;

use std::fmt;
use std::rc::Rc;

use omen_core::id::TableId;
use omen_core::router::{CancelFlag, Router};
use omen_core::types::{Datum, PgType};

pub use copy::{CopyIn, CopyOut, CopyRows};
pub use rows::{RowBatch, RowStream};

use crate::error::{Result, SqlError, SqlState};
pub use crate::parse::Statement;
pub use crate::settings::Settings;

/// Most parameters of a statement (a 16-bit count on the wire).
pub const PARAMETERS_MAX: usize = 65_535;

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

/// A planned statement.
#[derive(Debug)]
pub struct Prepared {
    statement: Option<Statement>,
    parameters: Vec<PgType>,
    columns: Option<Vec<ColumnInfo>>,
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
    user: Rc<str>,
    database: Rc<str>,
    cancel: CancelFlag,
    settings: Settings,
    notices: Vec<SqlError>,
}

impl<R: Router> Session<R> {
    /// A session of an authenticated user. `cancel` is the flag that `Router::register_session` gave.
    pub fn new(router: R, user: &str, database: &str, cancel: CancelFlag) -> Session<R> {
        Session {
            router,
            user: user.into(),
            database: database.into(),
            cancel,
            settings: Settings::default(),
            notices: Vec::new(),
        }
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
        self.settings.set(name, value)
    }

    /// All ParameterStatus values at start.
    pub fn reported_parameters(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The ParameterStatus values that changed since the last call.
    pub fn take_changed_parameters(&mut self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Notices and warnings since the last call.
    pub fn take_notices(&mut self) -> Vec<SqlError> {
        std::mem::take(&mut self.notices)
    }

    /// What ReadyForQuery tells.
    pub fn transaction_status(&self) -> TransactionStatus {
        TransactionStatus::Idle
    }

    /// The statements of a simple query; none if the text is empty.
    ///
    /// # Errors
    /// 42601 if it is not SQL.
    pub async fn split(&mut self, _sql: &str) -> Result<Vec<Statement>> {
        Err(not_yet())
    }

    /// The one statement of a Parse message, or an empty statement (see [`Outcome::Empty`]).
    ///
    /// # Errors
    /// 42601 if it is not SQL or more than one statement; and all that binding reports.
    pub async fn parse(&mut self, _sql: &str, _parameter_oids: &[u32]) -> Result<Rc<Prepared>> {
        Err(not_yet())
    }

    /// Plans a statement. An OID of 0, or none given, asks to infer the parameter's type.
    ///
    /// # Errors
    /// All that binding reports; 25P02 in a failed transaction block unless the statement ends it.
    pub async fn prepare(&mut self, _statement: &Statement, _parameter_oids: &[u32]) -> Result<Rc<Prepared>> {
        Err(not_yet())
    }

    /// Runs a statement. `params` have the types of [`Prepared::parameters`].
    ///
    /// # Errors
    /// All that running reports.
    pub async fn execute(
        &mut self,
        _prepared: &Rc<Prepared>,
        _params: &[Datum],
        _scope: Scope,
    ) -> Result<Outcome<R>> {
        Err(not_yet())
    }

    /// Ends the implicit transaction, if there is one: commits it.
    ///
    /// # Errors
    /// If committing fails; nothing is committed then.
    pub async fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    /// The current statement has failed: rolls the implicit transaction back, or puts the block into the failed state.
    pub async fn fail(&mut self) {}
}

fn not_yet() -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "statements are not supported")
}
