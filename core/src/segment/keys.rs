//! Keys of stored rows, made from their key columns: blocks hold no keys. Encoded blocks are those of the key group.

use std::cmp::Ordering;
use std::ops::Range;

use super::encoding::EncodedBlock;
use super::groups::Groups;
use crate::catalog::TableSchema;
use crate::column::ColumnView;
use crate::key::encode_stored;
use crate::learned::IndexKind;
use crate::learned::search::partition_point;
use crate::types::PgType;

/// Rows that a key is off from where it is expected, often.
const STRAY_ROWS: usize = 10;

/// A column of the key.
#[derive(Clone, Copy, Debug)]
struct KeyColumn {
    /// In the table.
    column: usize,
    /// In the key group, in whose blocks keys are looked for.
    index: usize,
    pg_type: PgType,
}

/// Which columns make the key of a row, and how.
#[derive(Debug)]
pub(super) struct KeyColumns {
    /// In the order of the key.
    columns: Vec<KeyColumn>,
    /// Bytes of each key if every column is an integer or a point in time.
    int_bytes: Option<usize>,
    /// Whether what is known of the integers of a block serves to find one.
    is_learned: bool,
}

/// Memory for one key and one value, used again for each row that a search looks at.
#[derive(Debug, Default)]
struct Scratch {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Bytes of an integer-like type in a key.
fn int_size(pg_type: PgType) -> Option<usize> {
    match pg_type {
        PgType::Int2 => Some(2),
        PgType::Int4 | PgType::Date => Some(4),
        PgType::Int8 | PgType::Time | PgType::Timestamp | PgType::Timestamptz => Some(8),
        _ => None,
    }
}

/// The integer that these bytes of a key stand for.
fn int_of(bytes: &[u8]) -> i64 {
    let unsigned = bytes.iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
    let unused_bits = u64::BITS - 8 * bytes.len() as u32;
    (unsigned << unused_bits ^ 1 << 63).cast_signed() >> unused_bits
}

/// The order of an integer of some size, as the number that its bytes in a key make.
fn order_of(int: i64, size: usize) -> u64 {
    let unused_bits = u64::BITS - 8 * size as u32;
    ((int << unused_bits).cast_unsigned() ^ 1 << 63) >> unused_bits
}

impl KeyColumns {
    pub(super) fn new(schema: &TableSchema, groups: &Groups) -> KeyColumns {
        let key_column = |column: &usize| KeyColumn {
            column: *column,
            index: groups.place(*column).index,
            pg_type: schema.columns[*column].pg_type,
        };
        let columns: Vec<KeyColumn> = schema.key.iter().map(key_column).collect();
        let int_bytes = columns.iter().map(|key| int_size(key.pg_type)).sum();
        KeyColumns { columns, int_bytes, is_learned: schema.index != IndexKind::Binary }
    }

    /// Bytes of each key if 8 bytes hold every key: then [`KeyColumns::word`] is all of it.
    pub(super) fn word_bytes(&self) -> Option<usize> {
        self.int_bytes.filter(|bytes| *bytes <= size_of::<u64>())
    }

    /// The keys of all rows as numbers, in the order of the keys, where `word_bytes` is known.
    pub(super) fn words(&self, columns: &[ColumnView<'_>], rows: usize) -> Vec<u64> {
        let mut words = vec![0; rows];
        for KeyColumn { column, pg_type, .. } in &self.columns {
            let size = int_size(*pg_type).expect("all are integers");
            for (word, value) in words.iter_mut().zip(columns[*column].values().chunks_exact(size)) {
                let mut wide = [0; 8];
                wide[..size].copy_from_slice(value);
                let order = order_of(i64::from_le_bytes(wide), size);
                *word = if size == size_of::<u64>() { order } else { *word << (8 * size) | order };
            }
        }
        words
    }

    /// Appends the key of a row of plain columns.
    pub(super) fn append(&self, columns: &[ColumnView<'_>], row: usize, out: &mut Vec<u8>) {
        for KeyColumn { column, pg_type, .. } in &self.columns {
            encode_stored(*pg_type, columns[*column].value(row).unwrap_or_default(), out);
        }
    }

    /// The key of a row of a block.
    fn key_of<'a>(&self, block: &EncodedBlock, row: usize, scratch: &'a mut Scratch) -> &'a [u8] {
        let Scratch { key: out, value } = scratch;
        out.clear();
        if self.int_bytes.is_some() {
            for KeyColumn { index, pg_type, .. } in &self.columns {
                let size = int_size(*pg_type).expect("all are integers");
                let order = order_of(block.int(*index, row), size).to_be_bytes();
                out.extend_from_slice(&order[order.len() - size..]);
            }
            return out;
        }
        for KeyColumn { index, pg_type, .. } in &self.columns {
            value.clear();
            block.value(*index, row, value);
            encode_stored(*pg_type, value, out);
        }
        out
    }

    /// Looks at what a search in a block needs for a key that is about in this row.
    pub(super) fn touch(&self, block: &EncodedBlock, row: usize) {
        let columns = self.columns.iter().map(|key| key.index);
        for row in [row.saturating_sub(STRAY_ROWS), row, row + STRAY_ROWS] {
            block.touch(columns.clone(), row);
        }
    }

    /// How many of a block's rows have keys below `key`; with `or_equal`, at most `key`. Keys rise.
    pub(super) fn count_below(&self, block: &EncodedBlock, key: &[u8], or_equal: bool) -> usize {
        match self.int_bytes {
            Some(bytes) => self.count_ints_below(block, bytes, key, or_equal),
            None => self.count_bytes_below(block, key, or_equal, &mut Scratch::default()),
        }
    }

    /// The rows of a block whose key is this one.
    pub(super) fn find(&self, block: &EncodedBlock, key: &[u8]) -> Range<usize> {
        if let (Some(bytes), [KeyColumn { index, .. }]) = (self.int_bytes, self.columns.as_slice()) {
            if key.len() != bytes {
                return 0..0;
            }
            // Most keys have one version.
            let wanted = int_of(key);
            let start = self.lower_bound(block, *index, 0..block.rows(), wanted);
            let is_key = |row: &usize| *row < block.rows() && block.int(*index, *row) == wanted;
            return start..(start..).find(|row| !is_key(row)).unwrap_or(start);
        }
        let mut scratch = Scratch::default();
        let start = match self.int_bytes {
            Some(bytes) => self.count_ints_below(block, bytes, key, false),
            None => self.count_bytes_below(block, key, false, &mut scratch),
        };
        let mut is_key = |row: &usize| *row < block.rows() && self.key_of(block, *row, &mut scratch) == key;
        start..(start..).find(|row| !is_key(row)).unwrap_or(start)
    }

    fn lower_bound(&self, block: &EncodedBlock, column: usize, rows: Range<usize>, wanted: i64) -> usize {
        if self.is_learned {
            block.int_lower_bound(column, rows, wanted)
        } else {
            block.int_lower_bound_by_halves(column, rows, wanted)
        }
    }

    fn count_bytes_below(
        &self,
        block: &EncodedBlock,
        key: &[u8],
        or_equal: bool,
        scratch: &mut Scratch,
    ) -> usize {
        partition_point(0..block.rows(), |row| match self.key_of(block, row, scratch).cmp(key) {
            Ordering::Less => true,
            Ordering::Equal => or_equal,
            Ordering::Greater => false,
        })
    }

    /// Column by column: the rows that equal the key so far are searched for the next column.
    fn count_ints_below(&self, block: &EncodedBlock, bytes: usize, key: &[u8], or_equal: bool) -> usize {
        // A shorter key comes before every key that begins with it, a longer one after the key that it begins with.
        let or_equal = key.len() > bytes || (or_equal && key.len() == bytes);
        let mut rows = 0..block.rows();
        let mut rest = &key[..key.len().min(bytes)];
        for KeyColumn { index, pg_type, .. } in &self.columns {
            let size = int_size(*pg_type).expect("all are integers");
            let mut part = [0; 8];
            let here = rest.len().min(size);
            part[..here].copy_from_slice(&rest[..here]);
            rest = &rest[here..];
            let wanted = int_of(&part[..size]);
            let start = self.lower_bound(block, *index, rows.clone(), wanted);
            let end = match wanted.checked_add(1) {
                Some(next) => self.lower_bound(block, *index, start..rows.end, next),
                None => rows.end,
            };
            rows = start..end;
        }
        if or_equal { rows.end } else { rows.start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_the_bytes_of_keys() {
        for (size, ints) in
            [(2, [-32_768, -1, 0, 32_767]), (4, [i64::from(i32::MIN), -7, 5, i64::from(i32::MAX)])]
        {
            for int in ints {
                let order = order_of(int, size).to_be_bytes();
                assert_eq!(int_of(&order[8 - size..]), int, "{size}");
            }
            assert!(ints.map(|int| order_of(int, size)).is_sorted());
        }
        for int in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(int_of(&order_of(int, 8).to_be_bytes()), int);
        }
    }
}
