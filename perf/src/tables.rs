//! The tables that are measured, above all those of the rows in `rows`.

use omen_core::catalog::{Column, TableSchema};
use omen_core::env::uring::UringEnv;
use omen_core::error::Result;
use omen_core::id::TableId;
use omen_core::learned::IndexKind;
use omen_core::node::NodeCore;
use omen_core::router::{CatalogChange, Router};
use omen_core::types::PgType;
use omen_core::write_batch::WriteBatch;

use crate::rows;

/// Of columns without NULLs; the first is the key.
pub fn schema(columns: &[(&str, PgType)]) -> TableSchema {
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

/// Makes the table `wide` with this many wide rows, all in segments.
///
/// # Errors
/// If the node refuses.
pub async fn load_wide(node: &NodeCore<UringEnv>, rows: u64) -> Result<TableId> {
    const BATCH: u64 = 8_192;
    let create = CatalogChange::CreateTable { name: "wide".into(), schema: wide_schema() };
    let table = node.change_catalog(create).await?;
    let mut row = Vec::new();
    for first in (0..rows).step_by(BATCH as usize) {
        let mut batch = WriteBatch::new();
        for wide in (first..(first + BATCH).min(rows)).map(rows::wide) {
            wide.encode(&mut row);
            batch.insert(&rows::key(wide.id), &row);
        }
        node.write_and_commit(node.begin(), table, batch).await?;
    }
    node.checkpoint(None).await?;
    node.vacuum(Some(table)).await?;
    Ok(table)
}
