//! Sorted strings: each shares its beginning with the one before it.
//!
//! | part | bytes |
//! |---|---|
//! | prefixes | integers (`ints`): how many bytes a row takes over; 0 in each 16th row |
//! | ends | integers: where the rest of each row ends |
//! | rests | one after another |

use std::ops::Range;

use super::block::EncodedBlock;
use super::ints::{Cursor, Ints};

/// Rows that are walked at most to read one.
pub(super) const RESTART_ROWS: usize = 16;

/// Front-coded strings of a block.
#[derive(Clone, Debug)]
pub(super) struct Front {
    pub(super) prefixes: Ints,
    pub(super) ends: Ints,
    rests: Range<usize>,
}

impl Front {
    pub(super) fn decode(cursor: &mut Cursor<'_>, rows: usize) -> Option<Front> {
        let (prefixes, ends) = (Ints::decode(cursor, rows)?, Ints::decode(cursor, rows)?);
        Some(Front { prefixes, ends, rests: cursor.rest() })
    }

    /// Appends the string of a row.
    pub(super) fn append(&self, block: &EncodedBlock, row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        for row in row / RESTART_ROWS * RESTART_ROWS..=row {
            self.step(block, row, start, out);
        }
    }

    /// Makes the string of a row, which begins at `start`, of that of the row before.
    pub(super) fn step(&self, block: &EncodedBlock, row: usize, start: usize, out: &mut Vec<u8>) {
        let prefix = if row.is_multiple_of(RESTART_ROWS) { 0 } else { self.prefixes.get(block, row) };
        out.truncate(start.saturating_add(usize::try_from(prefix).unwrap_or(0)));
        let part = block.part(&self.ends, &self.rests, row);
        out.extend_from_slice(&block.bytes()[self.rests.clone()][part]);
    }

    /// What each row takes over from the one before.
    pub(super) fn prefix(row: usize, last: &[u8], value: &[u8]) -> usize {
        if row.is_multiple_of(RESTART_ROWS) {
            return 0;
        }
        last.iter().zip(value).take_while(|(a, b)| a == b).count()
    }
}
