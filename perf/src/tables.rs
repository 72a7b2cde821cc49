//! The tables of the rows in `rows`.

use omen_core::catalog::{Column, TableSchema};
use omen_core::learned::IndexKind;
use omen_core::types::PgType;

fn schema(columns: &[(&str, PgType)]) -> TableSchema {
    let column = |(name, pg_type): &(&str, PgType)| Column {
        name: (*name).to_owned(),
        pg_type: *pg_type,
        not_null: true,
        default: None,
        hidden: false,
    };
    let columns = columns.iter().map(column).collect();
    TableSchema { columns, key: vec![0], key_name: Some("t_pkey".into()), index: IndexKind::Auto }
}

/// Of the wide rows.
pub fn wide_schema() -> TableSchema {
    schema(&[
        ("id", PgType::Int8),
        ("a", PgType::Int8),
        ("price", PgType::Float8),
        ("email", PgType::Text),
        ("ts", PgType::Timestamp),
        ("status", PgType::Text),
    ])
}

/// Of the narrow rows.
pub fn narrow_schema() -> TableSchema {
    schema(&[
        ("id", PgType::Int8),
        ("device", PgType::Int4),
        ("value", PgType::Float8),
        ("ts", PgType::Timestamp),
    ])
}
