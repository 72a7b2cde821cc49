//! Runs scripts of `tests/slt`: SQL with expected answers in the format of sqllogictest, over the wire.
//!
//! ```text
//! statement ok                     the statement works
//! statement count 2                it works and changes two rows
//! statement error ^42P01 relation  it fails; the pattern is one of `SQLSTATE message | DETAIL: .. | HINT: ..` and so on
//! query IT rowsort                 it answers the rows after `----`, here in any order; one letter for each column:
//!                                  I a whole number, R another number, T anything else
//! connection a                     the next record runs in another session
//! onlyif omendb                    the next record is not PostgreSQL's; there is also `skipif`
//! ```
//! In front of the SQL and after it may stand what [`Asked`] reads.
//! Columns are separated by `|`; NULL is `NULL`, an empty text `(empty)`, and a line break in a value `\n`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sqllogictest::{ColumnType, DBOutput, Normalizer, Record, Runner};

use crate::asked::Asked;
use crate::wire::{Answer, Protocol, ServerError, WireClient};

/// Where scripts run.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// The role.
    pub user: String,
    /// A database without tables.
    pub database: String,
    /// The name in `onlyif` and `skipif`.
    pub engine: &'static str,
    /// How statements are sent. Those of several statements always go by the simple protocol.
    pub protocol: Protocol,
}

/// What came of a script.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many statements and queries ran.
    pub records: usize,
    /// Those that answered something else.
    pub failures: Vec<String>,
}

/// The scripts, in order of their names. `OMENDB_SLT` restricts them to those whose path contains it.
///
/// # Panics
/// If the folder cannot be read.
pub fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let only = std::env::var("OMENDB_SLT").unwrap_or_default();
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    paths.retain(|path| path.to_string_lossy().contains(&only));
    paths.sort();
    paths
}

/// Runs a script.
///
/// # Panics
/// If it cannot be read, or the server cannot be reached.
pub fn run(path: &Path, target: &Target) -> Outcome {
    let mut outcome = Outcome::default();
    let mut runner = Runner::new(|| {
        let target = target.clone();
        async move {
            let client = WireClient::connect(target.address, &target.user, &target.database).unwrap();
            Ok(Connection { client, engine: target.engine, protocol: target.protocol })
        }
    });
    runner.with_validator(same_rows);
    runner.with_column_validator(sqllogictest::strict_column_validator);
    for record in sqllogictest::parse_file::<Kind>(path).unwrap() {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        outcome.records += usize::from(matches!(record, Record::Statement { .. } | Record::Query { .. }));
        if let Err(error) = runner.run(record) {
            outcome.failures.push(error.to_string());
        }
    }
    outcome
}

fn same_rows(_: Normalizer, answered: &[Vec<String>], expected: &[String]) -> bool {
    answered.len() == expected.len()
        && answered.iter().zip(expected).all(|(row, expected)| row.join("|") == *expected)
}

/// What a column holds, as far as scripts tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A whole number.
    Integer,
    /// Another number.
    Number,
    /// Anything else.
    Text,
}

impl ColumnType for Kind {
    fn from_char(letter: char) -> Option<Kind> {
        match letter {
            'I' => Some(Kind::Integer),
            'R' => Some(Kind::Number),
            'T' => Some(Kind::Text),
            _ => None,
        }
    }

    fn to_char(&self) -> char {
        match self {
            Kind::Integer => 'I',
            Kind::Number => 'R',
            Kind::Text => 'T',
        }
    }
}

impl Kind {
    /// Of the object ids of PostgreSQL's number types.
    fn of_oid(oid: u32) -> Kind {
        match oid {
            20 | 21 | 23 => Kind::Integer,
            700 | 701 | 1700 => Kind::Number,
            _ => Kind::Text,
        }
    }
}

struct Connection {
    client: WireClient,
    engine: &'static str,
    protocol: Protocol,
}

impl sqllogictest::DB for Connection {
    type Error = ServerError;
    type ColumnType = Kind;

    fn run(&mut self, text: &str) -> Result<DBOutput<Kind>, ServerError> {
        let asked = Asked::parse(text);
        let mut answer = self.client.ask(&asked, self.protocol).expect("the server answers");
        if matches!(&answer, Err(error) if error.message.contains("multiple commands into a prepared")) {
            answer = self.client.ask(&asked, Protocol::Simple).expect("the server answers");
        }
        let Answer { names, types, mut rows, tag } = answer?;
        if asked.tag {
            return Ok(DBOutput::Rows { types: vec![Kind::Text], rows: vec![vec![tag]] });
        }
        if types.is_empty() && rows.is_empty() {
            let count = tag.rsplit(' ').next().and_then(|count| count.parse().ok());
            return Ok(DBOutput::StatementComplete(count.unwrap_or(0)));
        }
        if asked.names {
            rows.insert(0, names.into_iter().map(Some).collect());
        }
        let rows = rows.into_iter().map(|row| row.into_iter().map(shown).collect()).collect();
        Ok(DBOutput::Rows { types: types.into_iter().map(Kind::of_oid).collect(), rows })
    }

    fn engine_name(&self) -> &str {
        self.engine
    }
}

fn shown(value: Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(value) if value.is_empty() => "(empty)".to_owned(),
        Some(value) => value.replace('\n', "\\n"),
    }
}
