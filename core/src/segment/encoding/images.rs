//! Integers of the columns that others of a block are predicted from, while a scan reads the block.
//!
//! A chain such as line status from ship date from receipt date would else be computed from its beginning for each
//! column of it. What is kept belongs to one copy of the block, the scan's, and goes with it: what is in the cache stays
//! as it is.

use std::cell::OnceCell;
use std::ops::Range;

use super::block::EncodedBlock;
use super::ints::Ints;

/// The integers of all rows of a column.
type Image = OnceCell<Box<[i64]>>;

/// Of one copy of a block.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// By column.
    columns: OnceCell<Box<[Image]>>,
}

/// A copy has none.
impl Clone for Images {
    fn clone(&self) -> Images {
        Images::default()
    }
}

impl Images {
    /// The integers of some rows of a column that others are predicted from; `None` if the rows are few and the integers
    /// not known yet. References between columns end, so none asks for itself.
    pub(super) fn of(
        &self,
        block: &EncodedBlock,
        column: usize,
        ints: &Ints,
        rows: &Range<usize>,
    ) -> Option<&[i64]> {
        let all = if rows.len() * 2 > block.rows() {
            let columns = self.columns.get_or_init(|| vec![OnceCell::new(); block.columns()].into());
            columns.get(column)?.get_or_init(|| {
                let mut all = vec![0; block.rows()].into_boxed_slice();
                ints.fill(block, 0..block.rows(), &mut all);
                all
            })
        } else {
            self.columns.get()?.get(column)?.get()?
        };
        all.get(rows.clone())
    }
}
