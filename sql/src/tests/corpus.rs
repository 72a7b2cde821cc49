//! Runs scripts without the wire; `tests/src/slt.rs` describes them and runs those of `tests/slt` with it.
//!
//! With `UPDATE_GOLDENFILES=1` the expected answers of queries under `onlyif omendb` are written anew.

use std::collections::HashMap;
use std::path::Path;

use arrow_array::Array;
use omen_core::router::Router;
use omen_core::row::RowReader;
use omen_core::types::{Datum, PgType};
use sqllogictest::{
    Condition, Connection, DefaultColumnType, ExpectedError, QueryExpect, Record, SortMode, StatementExpect,
};

use super::asked::Asked;
use crate::error::{Result, SqlError};
use crate::session::{ColumnInfo, Outcome, RowBatch, RowStream, Scope, Session};
use crate::types::text;

/// What came of a script.
#[derive(Default)]
pub(super) struct ScriptOutcome {
    /// How many statements and queries ran.
    pub(super) records: usize,
    /// Those that answered something else.
    pub(super) failures: Vec<String>,
}

/// Runs a script; every connection gets a session.
/// `any_order`: queries that ask for no order may answer in any.
pub(super) async fn run<R: Router>(
    path: &Path,
    any_order: bool,
    session: impl Fn() -> Session<R>,
) -> ScriptOutcome {
    let mut outcome = ScriptOutcome::default();
    let mut sessions: HashMap<Connection, Session<R>> = HashMap::new();
    let update = std::env::var("UPDATE_GOLDENFILES").is_ok();
    let mut records = sqllogictest::parse_file::<DefaultColumnType>(path).expect("a script");
    for record in &mut records {
        let (loc, conditions, connection, sql) = match &*record {
            Record::Statement { loc, conditions, connection, sql, .. }
            | Record::Query { loc, conditions, connection, sql, .. } => (loc, conditions, connection, sql),
            _ => continue,
        };
        if conditions.iter().any(is_for_others) {
            continue;
        }
        outcome.records += 1;
        let session = sessions.entry(connection.clone()).or_insert_with(&session);
        let result = execute(session, &Asked::parse(sql)).await;
        let _ = session.sync().await;
        let in_any_order = any_order && !sql.to_lowercase().contains("order by");
        let Err(got) = compare(record, result, in_any_order) else { continue };
        if update
            && !conditions.is_empty()
            && let Record::Query { expected: QueryExpect::Results { results, .. }, .. } = record
        {
            *results = got.split("\n  ").map(str::to_owned).collect();
            continue;
        }
        outcome.failures.push(format!("{loc}\n  {}\n  {got}", sql.replace('\n', "\n  ")));
    }
    if update {
        let text: String = records.iter().map(|record| format!("{record}\n")).collect();
        std::fs::write(path, format!("{}\n", text.trim_end())).expect("a writable script");
    }
    outcome
}

fn is_for_others(condition: &Condition) -> bool {
    match condition {
        Condition::OnlyIf { label } => label != "omendb",
        Condition::SkipIf { label } => label == "omendb",
    }
}

/// What was answered, if the record expects something else.
fn compare(
    record: &Record<DefaultColumnType>,
    result: Result<Ran>,
    any_order: bool,
) -> std::result::Result<(), String> {
    let failed = |error: &ExpectedError, result: Result<Ran>| match result {
        Ok(ran) => Err(format!("worked: {}", ran.tag)),
        Err(got) => {
            let got = one_line(&got);
            if error.is_match(&got, None) { Ok(()) } else { Err(got) }
        }
    };
    let worked = |result: Result<Ran>| result.map_err(|got| one_line(&got));
    match record {
        Record::Statement { expected: StatementExpect::Error(error), .. }
        | Record::Query { expected: QueryExpect::Error(error), .. } => failed(error, result),
        Record::Statement { expected: StatementExpect::Count(count), .. } => {
            let tag = worked(result)?.tag;
            if tag.ends_with(&format!(" {count}")) { Ok(()) } else { Err(tag) }
        }
        Record::Query { expected: QueryExpect::Results { sort_mode, results, .. }, .. } => {
            let mut rows = worked(result)?.rows;
            let mut results = results.clone();
            if *sort_mode == Some(SortMode::RowSort) || any_order {
                rows.sort();
                results.sort();
            }
            if rows == results { Ok(()) } else { Err(rows.join("\n  ")) }
        }
        _ => worked(result).map(|_| ()),
    }
}

/// An error as `ServerError` of `tests/src/wire.rs` shows it.
fn one_line(error: &SqlError) -> String {
    let told =
        error_fields(error).into_iter().filter_map(|(name, value)| Some(format!(" | {name}: {}", value?)));
    format!("{} {}{}", error.state.code(), error.message, told.collect::<String>())
}

/// What an error tells besides code and message.
fn error_fields(error: &SqlError) -> [(&'static str, Option<String>); 6] {
    [
        ("DETAIL", error.detail.clone()),
        ("HINT", error.hint.clone()),
        ("CONSTRAINT", error.constraint.clone()),
        ("COLUMN", error.column.clone()),
        ("POSITION", error.position.map(|position| position.to_string())),
        ("CONTEXT", error.context.clone()),
    ]
}

/// What the last of some statements did.
#[derive(Default)]
struct Ran {
    /// Its rows, columns separated by `|`.
    rows: Vec<String>,
    /// Names of its columns.
    names: Vec<String>,
    /// What is said about it, such as `INSERT 0 1`.
    tag: String,
}

/// Runs the statements of a record.
async fn execute<R: Router>(session: &mut Session<R>, asked: &Asked) -> Result<Ran> {
    let statements = session.split(&asked.sql).await?;
    let count = statements.len();
    let scope = if count == 1 { Scope::Alone } else { Scope::UntilSync };
    let mut ran = Ran::default();
    for statement in &statements {
        let prepared = session.prepare(statement, &[]).await?;
        let mut params = Vec::new();
        for (value, pg_type) in asked.values.iter().flatten().zip(prepared.parameters()) {
            params.push(match value {
                None => Datum::Null,
                Some(value) => text::parse(*pg_type, value, session.settings().format())?,
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
                let mut done = Ok(());
                for piece in asked.data.as_bytes().chunks(7) {
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
    if asked.names {
        ran.rows.insert(0, ran.names.join("|"));
    }
    if asked.tag {
        ran.rows = vec![ran.tag.clone()];
    }
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
        text => text.replace('\n', "\\n"),
    }
}
