//! What exists: tables, their columns, and the ranges that hold their rows.
//!
//! A [`Catalog`] is an immutable snapshot. Its rows live in the system range on core 0; every core holds the newest
//! snapshot, and a change is acknowledged only after every core has it.

pub mod format;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{CoreId, RangeId, TableId};
use crate::key::{Key, KeySpan, compare};
use crate::learned::IndexKind;
use crate::types::{Datum, PgType};

/// Most columns of a table, as in PostgreSQL.
pub const COLUMNS_MAX: usize = 1_600;

/// First OID of users' tables (PG 15, chapter 74.2.2).
pub const FIRST_USER_TABLE: TableId = TableId(16_384);

/// One column of a table.
#[derive(Clone, PartialEq, Debug)]
pub struct Column {
    /// Name, case folded already.
    pub name: String,
    /// Type with modifier.
    pub pg_type: PgType,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// `DEFAULT` expression as SQL text; `None` means NULL.
    pub default: Option<String>,
    /// Not visible to SQL: the row id of tables without a primary key.
    pub hidden: bool,
}

/// A table's shape. Column indexes are positions in `columns`, the hidden one included.
#[derive(Clone, PartialEq, Debug)]
pub struct TableSchema {
    /// All columns. A table without primary key has one hidden `int8` column, last, which is its key.
    pub columns: Vec<Column>,
    /// Column indexes of the primary key, in key order; never empty.
    pub key: Vec<usize>,
    /// Name of the primary-key constraint; `None` if the key is the hidden row id.
    pub key_name: Option<String>,
    /// How its segments find rows.
    pub index: IndexKind,
}

impl TableSchema {
    /// The key of a row given as values of all columns. Key columns must not be NULL.
    ///
    /// # Errors
    /// 54000 if the key is too long.
    pub fn key_of(&self, values: &[Datum]) -> Result<Key, crate::error::ValueError> {
        let mut columns = Vec::with_capacity(self.key.len());
        columns.extend(self.key.iter().map(|index| values[*index].clone()));
        Key::of(&columns)
    }

    /// Whether rows get a hidden row id as their key.
    pub fn has_hidden_key(&self) -> bool {
        self.key_name.is_none()
    }
}

/// Where one range lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeDescriptor {
    /// Never reused.
    pub id: RangeId,
    /// The keys it holds.
    pub span: KeySpan,
    /// The core that owns it.
    pub core: CoreId,
}

/// A table and where its rows are.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// Its OID.
    pub id: TableId,
    /// Name in schema `public`.
    pub name: String,
    /// Its columns and key.
    pub schema: Arc<TableSchema>,
    /// Its ranges in key order; together they cover every key exactly once.
    pub ranges: Vec<RangeDescriptor>,
}

impl Table {
    /// The range that holds a key.
    pub fn range_of(&self, key: &[u8]) -> &RangeDescriptor {
        let after = self.ranges.partition_point(|range| compare(&range.span.start, key) != Ordering::Greater);
        &self.ranges[after - 1]
    }

    /// The ranges that hold any key of the span.
    pub fn ranges_in<'a>(&'a self, span: &'a KeySpan) -> impl Iterator<Item = &'a RangeDescriptor> {
        self.ranges.iter().filter(move |range| range.span.intersect(span).is_some())
    }
}

/// A snapshot of all tables.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Catalog {
    /// Rises by one with every change.
    pub version: u64,
    tables: BTreeMap<TableId, Arc<Table>>,
    by_name: BTreeMap<String, TableId>,
}

impl Catalog {
    /// The table with this id.
    pub fn table(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// The table with this name.
    pub fn table_named(&self, name: &str) -> Option<&Arc<Table>> {
        self.table(*self.by_name.get(name)?)
    }

    /// All tables in order of their ids.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// This catalog with the table added or replaced, one version on.
    #[must_use]
    pub fn with_table(&self, table: Table) -> Catalog {
        let mut next = self.without_table(table.id);
        next.by_name.insert(table.name.clone(), table.id);
        next.tables.insert(table.id, Arc::new(table));
        next
    }

    /// This catalog without the table, one version on.
    #[must_use]
    pub fn without_table(&self, id: TableId) -> Catalog {
        let mut next = self.clone();
        next.version += 1;
        if let Some(old) = next.tables.remove(&id) {
            next.by_name.remove(&old.name);
        }
        next
    }
}
