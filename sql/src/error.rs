//! The error of a statement, with the fields of PostgreSQL's `ErrorResponse` (PG 15, chapter 55.8).

use std::fmt;
use std::ops::{Deref, DerefMut};

pub use omen_core::error::SqlState;
use omen_core::error::ValueError;

/// Result of SQL.
pub type Result<T> = std::result::Result<T, SqlError>;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// Something is doubtful; the statement goes on.
    Warning,
    /// Something the user may want to know.
    Notice,
}

impl Severity {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
        }
    }
}

/// What an error or notice says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fields {
    /// How bad it is.
    pub severity: Severity,
    /// Its SQLSTATE.
    pub state: SqlState,
    /// PostgreSQL's wording where it has one.
    pub message: String,
    /// More about this case.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the statement's text, in characters, the first being 1.
    pub position: Option<u32>,
    /// What was being done: the line of COPY data, the parameter that was read.
    pub context: Option<String>,
    /// The schema it is about.
    pub schema: Option<String>,
    /// The table it is about.
    pub table: Option<String>,
    /// The column it is about.
    pub column: Option<String>,
    /// The constraint that was violated.
    pub constraint: Option<String>,
    /// Whether running the statement again, on a new snapshot, may succeed.
    pub retryable: bool,
}

/// An error, warning or notice. Its fields are reached through [`Deref`]; boxed, so that results stay small.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqlError(Box<Fields>);

impl SqlError {
    /// An error with this state and message.
    pub fn new(state: SqlState, message: impl Into<String>) -> SqlError {
        SqlError(Box::new(Fields {
            severity: Severity::Error,
            state,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            schema: None,
            table: None,
            column: None,
            constraint: None,
            retryable: false,
        }))
    }

    /// 0A000 for what OmenDB does not support, with a hint what to do instead.
    pub fn unsupported(what: impl fmt::Display, hint: impl Into<String>) -> SqlError {
        SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported")).hint(hint)
    }

    /// A notice.
    pub fn notice(state: SqlState, message: impl Into<String>) -> SqlError {
        SqlError::new(state, message).severity(Severity::Notice)
    }

    /// A warning.
    pub fn warning(state: SqlState, message: impl Into<String>) -> SqlError {
        SqlError::new(state, message).severity(Severity::Warning)
    }

    /// The same with another severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> SqlError {
        self.0.severity = severity;
        self
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> SqlError {
        self.0.detail = Some(detail.into());
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> SqlError {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same at a character of the statement, unless it has a place already; 0 means unknown.
    #[must_use]
    pub fn at(mut self, position: u32) -> SqlError {
        if self.0.position.is_none() && position > 0 {
            self.0.position = Some(position);
        }
        self
    }

    /// The fields.
    pub fn into_fields(self) -> Fields {
        *self.0
    }
}

impl Deref for SqlError {
    type Target = Fields;
    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl DerefMut for SqlError {
    fn deref_mut(&mut self) -> &mut Fields {
        &mut self.0
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.severity.name(), self.message, self.state.code())
    }
}

impl std::error::Error for SqlError {}

impl From<ValueError> for SqlError {
    fn from(e: ValueError) -> SqlError {
        let error = SqlError::new(e.state, e.message);
        if e.detail.is_empty() { error } else { error.detail(e.detail) }
    }
}

impl From<omen_core::Error> for SqlError {
    fn from(e: omen_core::Error) -> SqlError {
        if let omen_core::Error::Value(value) = e {
            return value.into();
        }
        let mut error = SqlError::new(e.sqlstate(), e.to_string());
        error.retryable = e.is_retryable();
        error
    }
}
