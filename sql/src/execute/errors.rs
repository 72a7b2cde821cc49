//! Errors of the engine and of constraints, in PostgreSQL's words.

use omen_core::Error;
use omen_core::catalog::Table;
use omen_core::types::{Datum, PgType};

use super::key_values::decode_key;
use crate::error::{SqlError, SqlState};
use crate::types::{FormatOptions, text};

/// Most characters of a value in the detail of an error, as in PostgreSQL.
const VALUE_CHARS_MAX: usize = 64;

/// An error of the engine about a table.
pub(crate) fn engine_error(error: omen_core::Error, table: &Table) -> SqlError {
    match &error {
        Error::DuplicateKey { key, .. } => duplicate_key(table, key),
        Error::WriteConflict { key, .. } => {
            let mut found = SqlError::from(error.clone());
            if let Some(key) = describe_key(table, key) {
                found = found.detail(format!("Key {key} was changed by another transaction."));
            }
            located(found, table)
        }
        Error::TableMissing { .. } => {
            let message = format!("relation \"{}\" does not exist", table.name);
            SqlError::new(SqlState::UNDEFINED_TABLE, message)
        }
        _ => SqlError::from(error),
    }
}

/// 23505 for a key that exists.
pub(crate) fn duplicate_key(table: &Table, key: &[u8]) -> SqlError {
    let constraint = table.schema.key_name.clone().unwrap_or_default();
    let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
    let mut error = SqlError::new(SqlState::UNIQUE_VIOLATION, message);
    if let Some(key) = describe_key(table, key) {
        error = error.detail(format!("Key {key} already exists."));
    }
    error.constraint = Some(constraint);
    located(error, table)
}

/// 23502 for a NULL in a column that refuses it; `row` holds all columns.
pub(crate) fn not_null(table: &Table, column: usize, row: &[Datum]) -> SqlError {
    let name = &table.schema.columns[column].name;
    let message = format!(
        "null value in column \"{name}\" of relation \"{}\" violates not-null constraint",
        table.name
    );
    let columns = table.schema.columns.iter().zip(row).filter(|(column, _)| !column.hidden);
    let values: Vec<String> = columns.map(|(column, value)| describe(column.pg_type, value)).collect();
    let mut error = SqlError::new(SqlState::NOT_NULL_VIOLATION, message)
        .detail(format!("Failing row contains ({}).", values.join(", ")));
    error.column = Some(name.clone());
    located(error, table)
}

fn located(mut error: SqlError, table: &Table) -> SqlError {
    error.schema = Some("public".to_owned());
    error.table = Some(table.name.clone());
    error
}

/// `(a, b)=(1, x)`
fn describe_key(table: &Table, key: &[u8]) -> Option<String> {
    let columns = || table.schema.key.iter().map(|column| &table.schema.columns[*column]);
    let types: Vec<PgType> = columns().map(|column| column.pg_type).collect();
    let values = decode_key(&types, key)?;
    let names: Vec<&str> = columns().map(|column| column.name.as_str()).collect();
    let values: Vec<String> =
        types.iter().zip(&values).map(|(pg_type, value)| written(*pg_type, value)).collect();
    Some(format!("({})=({})", names.join(", "), values.join(", ")))
}

fn written(pg_type: PgType, value: &Datum) -> String {
    let mut out = Vec::new();
    text::write_datum(pg_type, value, &FormatOptions::default(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn describe(pg_type: PgType, value: &Datum) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let text = written(pg_type, value);
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// With ON CONFLICT a key that exists all the same was inserted after this transaction's snapshot: 40001.
pub(crate) fn upsert_error(error: SqlError) -> SqlError {
    if error.state != SqlState::UNIQUE_VIOLATION {
        return error;
    }
    let message = "could not serialize access due to concurrent update";
    let mut conflict = SqlError::new(SqlState::SERIALIZATION_FAILURE, message);
    conflict.retryable = true;
    conflict
}
