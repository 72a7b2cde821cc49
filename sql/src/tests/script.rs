//! Runs scripts in the manner of sqllogictest.
//!
//! ```text
//! statement ok                            the statement works
//! statement tag INSERT 0 2                it works, with this tag; RETURNING rows are left aside
//! statement error 42P01 relation ..       it fails: SQLSTATE, and how the message begins; after a line `----` may follow
//!                                         `DETAIL: ..`, `HINT: ..`, `CONSTRAINT: ..`, `POSITION: ..`, `CONTEXT: ..`
//! query [rowsort] [names]                 it answers the rows after `----`: columns separated by `|`, NULL as NULL,
//!                                         empty text as (empty). names: the first line has the columns' names.
//! with 1|NULL                             values of $1, .. for the record that follows in the next line
//! copy                                    COPY FROM STDIN with the lines after `----`
//! connection a                            goes on in another session
//! onlyif omendb                           the next record is not PostgreSQL's
//! # a comment
//! ```
//! With `UPDATE_GOLDENFILES=1` the expected answers of records under `onlyif omendb` are written anew.

use std::collections::HashMap;
use std::path::Path;

use arrow_array::Array;
use omen_core::router::Router;
use omen_core::row::RowReader;
use omen_core::types::{Datum, PgType};

use crate::error::{Result, SqlError};
use crate::session::{ColumnInfo, Outcome, RowBatch, RowStream, Scope, Session};
use crate::types::text;

/// What came of a script.
#[derive(Default)]
pub(crate) struct ScriptOutcome {
    pub(crate) records: usize,
    pub(crate) failures: Vec<String>,
}

struct Record {
    line: usize,
    head: String,
    sql: String,
    expected: Vec<String>,
    only_ours: bool,
    values: Vec<String>,
}

/// Runs a script; every connection gets a session.
pub(crate) async fn run<R: Router>(path: &Path, session: impl Fn() -> Session<R>) -> ScriptOutcome {
    let text = std::fs::read_to_string(path).expect("a script");
    let update = std::env::var("UPDATE_GOLDENFILES").is_ok();
    let mut outcome = ScriptOutcome::default();
    let mut sessions: HashMap<String, Session<R>> = HashMap::new();
    let mut current = "main".to_owned();
    let mut rewritten = String::new();
    for block in text.split("\n\n") {
        let Some(record) = parse(block, &text) else {
            rewritten += &format!("{block}\n\n");
            continue;
        };
        if let Some(name) = record.head.strip_prefix("connection ") {
            current = name.trim().to_owned();
            rewritten += &format!("{block}\n\n");
            continue;
        }
        outcome.records += 1;
        let session = sessions.entry(current.clone()).or_insert_with(&session);
        let got = answer(session, &record).await;
        if got != record.expected {
            if update && record.only_ours {
                let head = block.lines().take_while(|line| *line != "----").collect::<Vec<_>>().join("\n");
                rewritten += &format!("{head}\n----\n{}\n\n", got.join("\n"));
                continue;
            }
            outcome.failures.push(format!(
                "{}:{}: {}\n  {}\n  expected:\n    {}\n  got:\n    {}",
                path.file_name().unwrap_or_default().to_string_lossy(),
                record.line,
                record.head,
                record.sql.replace('\n', "\n  "),
                record.expected.join("\n    "),
                got.join("\n    ")
            ));
        }
        rewritten += &format!("{block}\n\n");
    }
    if update {
        std::fs::write(path, format!("{}\n", rewritten.trim_end())).expect("a writable script");
    }
    outcome
}

fn parse(block: &str, text: &str) -> Option<Record> {
    let offset = block.as_ptr() as usize - text.as_ptr() as usize;
    let line = text[..offset].lines().count() + 1;
    let mut lines = block.lines().filter(|line| !line.starts_with('#')).peekable();
    let mut only_ours = false;
    while lines.peek().is_some_and(|line| line.trim().is_empty() || line.starts_with("onlyif")) {
        only_ours |= lines.next().is_some_and(|line| line.starts_with("onlyif"));
    }
    let mut head = lines.next()?.trim().to_owned();
    let mut values = Vec::new();
    if let Some(list) = head.strip_prefix("with ") {
        values = list.split('|').map(str::to_owned).collect();
        head = lines.next()?.trim().to_owned();
    }
    let sql: Vec<&str> = lines.by_ref().take_while(|line| *line != "----").collect();
    let expected = lines.map(str::to_owned).collect();
    Some(Record { line, head, sql: sql.join("\n"), expected, only_ours, values })
}

/// What a record gives, in the form of its expectation; with a `!` in front if even its head is wrong.
async fn answer<R: Router>(session: &mut Session<R>, record: &Record) -> Vec<String> {
    let mut words = record.head.split(' ');
    let kind = words.next().unwrap_or_default();
    let rest = record.head[kind.len()..].trim();
    let result = execute(session, &record.sql, &record.values, &record.expected).await;
    let _ = session.sync().await;
    match (kind, result) {
        ("statement", Ok(_)) if rest == "ok" => Vec::new(),
        ("statement" | "copy", Ok(ran)) if rest == format!("tag {}", ran.tag) => record.expected.clone(),
        ("statement", Err(error)) if rest.starts_with("error") => error_lines(&error, rest, &record.expected),
        ("query", Ok(ran)) => {
            let mut rows = ran.rows;
            if rest.contains("rowsort") {
                rows.sort();
            }
            if rest.contains("names") {
                rows.insert(0, ran.names.join("|"));
            }
            rows
        }
        ("copy", Err(error)) if rest.starts_with("error") => match error_lines(&error, rest, &[]) {
            lines if lines.is_empty() => record.expected.clone(),
            lines => lines,
        },
        (_, Ok(ran)) => vec![format!("! {}", ran.tag)],
        (_, Err(error)) => vec![format!("! {} {}", error.state.code(), error.message)],
    }
}

/// What an error tells besides code and message.
pub(super) fn error_fields(error: &SqlError) -> [(&'static str, Option<String>); 6] {
    [
        ("DETAIL", error.detail.clone()),
        ("HINT", error.hint.clone()),
        ("CONSTRAINT", error.constraint.clone()),
        ("COLUMN", error.column.clone()),
        ("POSITION", error.position.map(|position| position.to_string())),
        ("CONTEXT", error.context.clone()),
    ]
}

fn error_lines(error: &SqlError, head: &str, expected: &[String]) -> Vec<String> {
    let mut words = head.splitn(3, ' ');
    let (_, state, message) =
        (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if error.state.code() != state || !error.message.starts_with(message) {
        return vec![format!("! error {} {}", error.state.code(), error.message)];
    }
    let mut lines = Vec::new();
    for (name, value) in error_fields(error) {
        if expected.iter().any(|line| line.starts_with(name)) {
            lines.push(format!("{name}: {}", value.unwrap_or_default()));
        }
    }
    lines
}

/// What the last of some statements did.
#[derive(Default)]
pub(super) struct Ran {
    /// Its rows, columns separated by `|`.
    pub(super) rows: Vec<String>,
    /// Names of its columns.
    names: Vec<String>,
    /// What is said about it, such as `INSERT 0 1`.
    pub(super) tag: String,
}

/// Runs statements; the values are of the parameters, the lines the data of COPY.
pub(super) async fn execute<R: Router>(
    session: &mut Session<R>,
    sql: &str,
    values: &[String],
    copied: &[String],
) -> Result<Ran> {
    let statements = session.split(sql).await?;
    let count = statements.len();
    let scope = if count == 1 { Scope::Alone } else { Scope::UntilSync };
    let mut ran = Ran::default();
    for statement in &statements {
        let prepared = session.prepare(statement, &[]).await?;
        let mut params = Vec::with_capacity(values.len());
        for (value, pg_type) in values.iter().zip(prepared.parameters()) {
            params.push(match value.as_str() {
                "NULL" => Datum::Null,
                value => text::parse(*pg_type, value, session.settings().format())?,
            });
        }
        match session.execute(&prepared, &params, scope).await? {
            Outcome::Done(tag) => ran.tag = tag.to_string(),
            Outcome::Empty => {}
            Outcome::Rows(mut rows) => {
                let columns = prepared.columns().expect("a statement with rows has columns");
                ran.names = columns.iter().map(|column| column.name.clone()).collect();
                if let Err(error) = read(&mut rows, columns, session, &mut ran.rows).await {
                    session.fail().await;
                    return Err(error);
                }
                ran.tag = rows.tag().to_string();
            }
            Outcome::CopyIn(mut copy) => {
                let data: String = copied.iter().map(|line| format!("{line}\n")).collect();
                let mut done = Ok(());
                for piece in data.as_bytes().chunks(7) {
                    done = copy.data(piece).await;
                    if done.is_err() {
                        break;
                    }
                }
                let finished = match done {
                    Ok(()) => copy.finish().await,
                    Err(error) => Err(error),
                };
                match finished {
                    Ok(tag) => ran.tag = tag.to_string(),
                    Err(error) => {
                        session.fail().await;
                        return Err(error);
                    }
                }
            }
            Outcome::CopyOut(mut copy) => {
                while let Some(rows) = copy.next().await? {
                    let mut start = 0;
                    for end in rows.ends {
                        let line = String::from_utf8_lossy(&rows.bytes[start..end]);
                        ran.rows.push(line.trim_end_matches('\n').to_owned());
                        start = end;
                    }
                }
                ran.tag = copy.tag().to_string();
            }
        }
    }
    session.sync().await?;
    Ok(ran)
}

async fn read<R: Router>(
    stream: &mut RowStream<R>,
    columns: &[ColumnInfo],
    session: &Session<R>,
    out: &mut Vec<String>,
) -> Result<()> {
    let options = session.settings().format();
    while let Some(batch) = stream.next().await? {
        match batch {
            RowBatch::Row(row) => {
                let mut reader = RowReader::new(&row, columns.len()).expect("a row of the columns");
                let mut line = Vec::new();
                for column in columns {
                    let mut value = Vec::new();
                    let bytes = reader.next_bytes(column.pg_type).expect("a row of the columns");
                    if let Some(bytes) = bytes {
                        text::write_row_bytes(column.pg_type, bytes, options, &mut value);
                    }
                    line.push(shown(bytes.is_none(), value));
                }
                assert!(reader.is_at_end(), "the row has more columns");
                out.push(line.join("|"));
            }
            RowBatch::Arrow(batch) => {
                assert!(batch.num_rows() > 0, "empty batches are not given");
                assert_eq!(batch.num_columns(), columns.len());
                for row in 0..batch.num_rows() {
                    let cells = batch.columns().iter().zip(columns).map(|(array, column)| {
                        assert_eq!(*array.data_type(), column.pg_type.arrow(), "column {}", column.name);
                        cell(array.as_ref(), column.pg_type, row, session)
                    });
                    out.push(cells.collect::<Vec<_>>().join("|"));
                }
            }
        }
    }
    Ok(())
}

fn cell<R: Router>(array: &dyn Array, pg_type: PgType, row: usize, session: &Session<R>) -> String {
    let mut value = Vec::new();
    if !array.is_null(row) {
        text::write_array(pg_type, array, row, session.settings().format(), &mut value);
    }
    shown(array.is_null(row), value)
}

fn shown(is_null: bool, value: Vec<u8>) -> String {
    match String::from_utf8(value).expect("text is UTF-8").as_str() {
        _ if is_null => "NULL".to_owned(),
        "" => "(empty)".to_owned(),
        text => text.to_owned(),
    }
}
