//! The error of the engine and the SQLSTATE of every error.
//!
//! Errors cross cores in replies, so they are owned, `Clone` and `Send`. Callers match variants; strings are for people.

use std::fmt;

use crate::id::{TableId, TxnId};
use crate::key::Key;

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// A five-character SQLSTATE (PG 15, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(&'static str);

macro_rules! sqlstates {
    ($($name:ident = $code:literal, $doc:literal;)*) => {
        impl SqlState {
            $(#[doc = $doc] pub const $name: SqlState = SqlState($code);)*
        }
    };
}

sqlstates! {
    SUCCESSFUL_COMPLETION = "00000", "No error.";
    WARNING = "01000", "A warning.";
    PROTOCOL_VIOLATION = "08P01", "The client broke the wire protocol.";
    CONNECTION_FAILURE = "08006", "The connection broke.";
    FEATURE_NOT_SUPPORTED = "0A000", "Valid PostgreSQL that OmenDB does not support.";
    CARDINALITY_VIOLATION = "21000", "A statement would touch one row twice, or a subquery gave more than one row.";
    STRING_DATA_RIGHT_TRUNCATION = "22001", "Text longer than varchar(n).";
    DATA_EXCEPTION = "22000", "A value that an operation cannot take.";
    INVALID_PRECEDING_OR_FOLLOWING_SIZE = "22013", "The offset of a window's frame is negative.";
    INVALID_ARGUMENT_FOR_NTILE = "22014", "ntile into no parts.";
    INVALID_ARGUMENT_FOR_NTH_VALUE = "22016", "nth_value of no place.";
    WINDOWING_ERROR = "42P20", "Window functions where they are not allowed, or windows that contradict each other.";
    ARRAY_SUBSCRIPT_ERROR = "2202E", "An index beyond the ends.";
    NULL_VALUE_NOT_ALLOWED = "22004", "NULL where it means nothing.";
    NUMERIC_VALUE_OUT_OF_RANGE = "22003", "A number does not fit its type.";
    INVALID_DATETIME_FORMAT = "22007", "Text is not a date or time.";
    DATETIME_FIELD_OVERFLOW = "22008", "A date or time out of range.";
    INVALID_TIME_ZONE_DISPLACEMENT_VALUE = "22009", "The offset of a time zone is too large.";
    SUBSTRING_ERROR = "22011", "Negative substring length.";
    DIVISION_BY_ZERO = "22012", "Division by zero.";
    INTERVAL_FIELD_OVERFLOW = "22015", "A field of an interval is too large.";
    INVALID_ARGUMENT_FOR_LOGARITHM = "2201E", "Logarithm of zero or a negative number.";
    INVALID_ARGUMENT_FOR_POWER_FUNCTION = "2201F", "Power function outside its domain.";
    INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION = "2201G", "Bounds or count of width_bucket are not allowed.";
    INVALID_ROW_COUNT_IN_LIMIT_CLAUSE = "2201W", "Negative LIMIT.";
    INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE = "2201X", "Negative OFFSET.";
    CHARACTER_NOT_IN_REPERTOIRE = "22021", "Bytes are not valid UTF-8.";
    INVALID_REGULAR_EXPRESSION = "2201B", "A regular expression that cannot be read.";
    INVALID_PARAMETER_VALUE = "22023", "A value is not allowed there.";
    INVALID_ESCAPE_SEQUENCE = "22025", "A LIKE pattern ends in its escape character.";
    INVALID_TEXT_REPRESENTATION = "22P02", "Text is not a value of the type.";
    INVALID_BINARY_REPRESENTATION = "22P03", "Bytes are not a value of the type.";
    UNTRANSLATABLE_CHARACTER = "22P05", "A character that text cannot hold.";
    BAD_COPY_FILE_FORMAT = "22P04", "A COPY row is malformed.";
    INVALID_SQL_JSON_SUBSCRIPT = "22033", "A subscript of a JSON path that is no number or out of bounds.";
    NON_NUMERIC_SQL_JSON_ITEM = "22036", "A method of numbers in a JSON path meets something else.";
    SINGLETON_SQL_JSON_ITEM_REQUIRED = "22038", "A JSON path gives more or less than one value.";
    SQL_JSON_ARRAY_NOT_FOUND = "22039", "A JSON path asks for an array where there is none.";
    SQL_JSON_MEMBER_NOT_FOUND = "2203A", "A JSON path asks for a member that is not there.";
    SQL_JSON_NUMBER_NOT_FOUND = "2203B", "A JSON path asks for a number where there is none.";
    SQL_JSON_OBJECT_NOT_FOUND = "2203C", "A JSON path asks for an object where there is none.";
    NOT_NULL_VIOLATION = "23502", "NULL in a NOT NULL column.";
    UNIQUE_VIOLATION = "23505", "A key exists already.";
    ACTIVE_SQL_TRANSACTION = "25001", "Not allowed inside a transaction block.";
    NO_ACTIVE_SQL_TRANSACTION = "25P01", "Needs a transaction block.";
    IN_FAILED_SQL_TRANSACTION = "25P02", "The transaction has failed and waits for ROLLBACK.";
    READ_ONLY_SQL_TRANSACTION = "25006", "A write in a read-only transaction.";
    INVALID_SQL_STATEMENT_NAME = "26000", "No such prepared statement.";
    INVALID_PASSWORD = "28P01", "Wrong password.";
    INVALID_AUTHORIZATION_SPECIFICATION = "28000", "No such role, or no rule admits the connection.";
    INVALID_CATALOG_NAME = "3D000", "No such database.";
    INVALID_SCHEMA_NAME = "3F000", "No such schema.";
    INVALID_CURSOR_NAME = "34000", "No such portal.";
    SERIALIZATION_FAILURE = "40001", "Another transaction changed the row first; retry.";
    DEADLOCK_DETECTED = "40P01", "Transactions wait for each other; retry.";
    SYNTAX_ERROR = "42601", "Syntax error.";
    INSUFFICIENT_PRIVILEGE = "42501", "The role may not do this.";
    CANNOT_COERCE = "42846", "No cast between the types.";
    GROUPING_ERROR = "42803", "Column neither grouped nor aggregated.";
    DATATYPE_MISMATCH = "42804", "An expression has the wrong type.";
    WRONG_OBJECT_TYPE = "42809", "The object is of another kind.";
    INVALID_NAME = "42602", "A name is not valid.";
    NAME_TOO_LONG = "42622", "A name is longer than 63 bytes.";
    UNDEFINED_COLUMN = "42703", "No such column.";
    UNDEFINED_FUNCTION = "42883", "No such function or operator.";
    UNDEFINED_TABLE = "42P01", "No such table.";
    UNDEFINED_PARAMETER = "42P02", "No such parameter.";
    UNDEFINED_OBJECT = "42704", "No such type, setting or role.";
    DUPLICATE_ALIAS = "42712", "A name stands for two tables of one FROM.";
    DUPLICATE_COLUMN = "42701", "A column is named twice.";
    DUPLICATE_TABLE = "42P07", "The table exists already.";
    DUPLICATE_PREPARED_STATEMENT = "42P05", "The prepared statement exists already.";
    DUPLICATE_CURSOR = "42P03", "The portal exists already.";
    DUPLICATE_DATABASE = "42P04", "The database exists already.";
    AMBIGUOUS_COLUMN = "42702", "A column name fits several columns.";
    AMBIGUOUS_FUNCTION = "42725", "A call fits several functions.";
    AMBIGUOUS_PARAMETER = "42P08", "A parameter would have two types.";
    INDETERMINATE_DATATYPE = "42P18", "The type of a parameter cannot be found.";
    INVALID_RECURSION = "42P19", "A recursive query refers to itself where it may not.";
    INVALID_COLUMN_REFERENCE = "42P10", "A column may not be referred to there.";
    INVALID_TABLE_DEFINITION = "42P16", "A table definition contradicts itself.";
    OUT_OF_MEMORY = "53200", "The memory budget is used up.";
    DISK_FULL = "53100", "No space is left for writes.";
    CONFIGURATION_LIMIT_EXCEEDED = "53400", "A limit that a setting gives is reached.";
    TOO_MANY_CONNECTIONS = "53300", "No connection is left.";
    PROGRAM_LIMIT_EXCEEDED = "54000", "A limit of OmenDB is exceeded.";
    STATEMENT_TOO_COMPLEX = "54001", "A statement is nested too deeply.";
    TOO_MANY_ARGUMENTS = "54023", "A call has too many arguments.";
    TOO_MANY_COLUMNS = "54011", "Too many columns.";
    LOCK_NOT_AVAILABLE = "55P03", "A lock was not granted in time.";
    CANT_CHANGE_RUNTIME_PARAM = "55P02", "The setting cannot be changed.";
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000", "Not possible in the present state.";
    QUERY_CANCELED = "57014", "Cancelled by the client or a timeout.";
    ADMIN_SHUTDOWN = "57P01", "The server is stopping.";
    CANNOT_CONNECT_NOW = "57P03", "The server is starting or stopping.";
    UNDEFINED_FILE = "58P01", "No such file.";
    IO_ERROR = "58030", "Reading or writing a file failed.";
    DATA_CORRUPTED = "XX001", "Bytes on disk are not what was written.";
    INTERNAL_ERROR = "XX000", "A bug in OmenDB.";
}

impl SqlState {
    /// The five characters.
    pub fn code(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A value that cannot be read, converted or computed; what SQL expressions and COPY fields report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueError {
    /// Its SQLSTATE.
    pub state: SqlState,
    /// PostgreSQL's wording where it has one.
    pub message: String,
    /// More about this case; empty if there is nothing to add.
    pub detail: Box<str>,
}

impl ValueError {
    /// An error with this state and message.
    pub fn new(state: SqlState, message: impl Into<String>) -> ValueError {
        ValueError { state, message: message.into(), detail: Box::default() }
    }

    /// The same error with a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Box<str>>) -> ValueError {
        self.detail = detail.into();
        self
    }
}

/// What went wrong in the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// A file operation failed for a reason other than lack of space.
    Io {
        /// What was being done, with the file: `"write wal/000001.log"`.
        action: String,
        /// The operating system's words.
        cause: String,
    },
    /// The file system has no space left; writes may succeed again once there is some.
    DiskFull {
        /// The file that could not grow.
        path: String,
    },
    /// Bytes on disk do not match their checksum or break their format.
    Corrupt {
        /// The file and offset.
        place: String,
        /// What is wrong there.
        detail: String,
    },
    /// An insert met a live row with the same key.
    DuplicateKey {
        /// The table.
        table: TableId,
        /// The key that exists.
        key: Key,
    },
    /// Another transaction committed a change of the key after this one's snapshot.
    WriteConflict {
        /// The table.
        table: TableId,
        /// The key both wrote.
        key: Key,
    },
    /// Waited too long for another transaction's lock.
    LockTimeout {
        /// The table.
        table: TableId,
        /// The locked key.
        key: Key,
        /// Its holder.
        holder: TxnId,
    },
    /// The table is not in the catalog any more.
    TableMissing {
        /// The table.
        table: TableId,
    },
    /// A table of that name exists.
    TableExists {
        /// Its name.
        name: String,
    },
    /// The sender's range map is older than the shard's; look up the range again and retry.
    RangeMoved,
    /// A queue is full; retry later.
    Busy,
    /// The memory budget is used up by data that cannot be written out yet.
    MemoryFull,
    /// One row or one transaction is larger than the engine takes.
    TooLarge {
        /// What is too large, with both sizes.
        what: String,
    },
    /// The shard has stopped because its log could not be trusted any more, or because the node is stopping.
    ShardStopped {
        /// Why.
        reason: String,
    },
    /// The statement was cancelled.
    Cancelled,
    /// A value could not be computed.
    Value(ValueError),
}

impl Error {
    /// An I/O error of `action`, with lack of space told apart.
    pub fn io(action: impl Into<String>, cause: &std::io::Error) -> Error {
        let action = action.into();
        match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Error::DiskFull { path: action }
            }
            _ => Error::Io { action, cause: cause.to_string() },
        }
    }

    /// The SQLSTATE that a client is told.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Error::Io { .. } => SqlState::IO_ERROR,
            Error::DiskFull { .. } => SqlState::DISK_FULL,
            Error::Corrupt { .. } => SqlState::DATA_CORRUPTED,
            Error::DuplicateKey { .. } => SqlState::UNIQUE_VIOLATION,
            Error::WriteConflict { .. } | Error::RangeMoved => SqlState::SERIALIZATION_FAILURE,
            Error::LockTimeout { .. } => SqlState::DEADLOCK_DETECTED,
            Error::TableMissing { .. } => SqlState::UNDEFINED_TABLE,
            Error::TableExists { .. } => SqlState::DUPLICATE_TABLE,
            Error::Busy | Error::MemoryFull => SqlState::OUT_OF_MEMORY,
            Error::TooLarge { .. } => SqlState::PROGRAM_LIMIT_EXCEEDED,
            Error::ShardStopped { .. } => SqlState::CANNOT_CONNECT_NOW,
            Error::Cancelled => SqlState::QUERY_CANCELED,
            Error::Value(e) => e.state,
        }
    }

    /// Whether running the statement again, on a new snapshot, may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Error::WriteConflict { .. } | Error::RangeMoved | Error::LockTimeout { .. } | Error::Busy
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, cause } => write!(f, "could not {action}: {cause}"),
            Error::DiskFull { path } => write!(f, "could not {path}: no space left on device"),
            Error::Corrupt { place, detail } => write!(f, "corrupt data in {place}: {detail}"),
            Error::DuplicateKey { .. } => f.write_str("duplicate key value violates unique constraint"),
            Error::WriteConflict { .. } => f.write_str("could not serialize access due to concurrent update"),
            Error::LockTimeout { holder, .. } => {
                write!(f, "gave up waiting for a lock held by transaction {holder}")
            }
            Error::TableMissing { table } => write!(f, "table with id {table} does not exist"),
            Error::TableExists { name } => write!(f, "relation \"{name}\" already exists"),
            Error::RangeMoved => f.write_str("the range moved while the statement ran"),
            Error::Busy => f.write_str("too many requests are waiting"),
            Error::MemoryFull => f.write_str("the memory budget is used up by data that is not yet on disk"),
            Error::TooLarge { what } => f.write_str(what),
            Error::ShardStopped { reason } => write!(f, "the shard has stopped: {reason}"),
            Error::Cancelled => f.write_str("canceling statement due to user request"),
            Error::Value(e) => f.write_str(&e.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<ValueError> for Error {
    fn from(e: ValueError) -> Error {
        Error::Value(e)
    }
}
