//! Runs scripts of `tests/slt` without the wire; `tests/src/slt.rs` describes them and runs them with it.

use std::collections::HashMap;
use std::path::Path;

use omen_core::router::Router;
use sqllogictest::{
    Condition, Connection, DefaultColumnType, ExpectedError, QueryExpect, Record, SortMode, StatementExpect,
};

use super::script::{Ran, ScriptOutcome, error_fields, execute};
use crate::error::{Result, SqlError};
use crate::session::Session;

/// Runs a script; every connection gets a session.
/// `any_order`: queries that ask for no order may answer in any.
pub(super) async fn run<R: Router>(
    path: &Path,
    any_order: bool,
    session: impl Fn() -> Session<R>,
) -> ScriptOutcome {
    let mut outcome = ScriptOutcome::default();
    let mut sessions: HashMap<Connection, Session<R>> = HashMap::new();
    for record in sqllogictest::parse_file::<DefaultColumnType>(path).expect("a script") {
        let (loc, conditions, connection, sql) = match &record {
            Record::Statement { loc, conditions, connection, sql, .. }
            | Record::Query { loc, conditions, connection, sql, .. } => (loc, conditions, connection, sql),
            _ => continue,
        };
        if conditions.iter().any(is_for_others) {
            continue;
        }
        outcome.records += 1;
        let session = sessions.entry(connection.clone()).or_insert_with(&session);
        let result = execute(session, sql, &[], &[]).await;
        let _ = session.sync().await;
        if let Err(got) = compare(&record, result, any_order && !sql.to_lowercase().contains("order by")) {
            outcome.failures.push(format!("{loc}\n  {}\n  {got}", sql.replace('\n', "\n  ")));
        }
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
