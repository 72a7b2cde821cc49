//! Scans of which only the first rows in the order of their keys are wanted, as pages of a list are: keys are read in that
//! order, piece by piece, until enough rows have come. Each piece is four times as large as the one before, because filters
//! may leave few of its rows; so a scan that has to read all reads little twice.

use std::collections::VecDeque;

use omen_core::catalog::Table;
use omen_core::key::KeySpan;
use omen_core::router::{KeyOrder, Router};

use super::errors::engine_error;
use crate::error::Result;
use crate::fragment::Stage;
use crate::physical::ScanPlan;
use crate::physical::key_order::key_order;

/// Rows of the first piece are at least so many: reading fewer costs as much.
const ROWS_MIN: u64 = 64;

/// How many times as large each piece is as the one before.
const GROWTH: u64 = 4;

/// What is left to read of such a scan.
#[derive(Debug)]
pub(super) struct Pieces {
    order: KeyOrder,
    /// In the order of keys.
    spans: VecDeque<KeySpan>,
    /// Rows that are wanted, of those that the scan's fragment gives.
    wanted: u64,
    /// Rows of the next piece.
    rows: u64,
}

impl Pieces {
    /// Those of a scan with such a fragment in spans that rise; `None` if it does not want the first rows by key.
    pub(super) fn of(scan: &ScanPlan, stages: &[Stage], spans: &[KeySpan]) -> Option<Pieces> {
        let (order, Stage::TopK { count, .. }) = (key_order(scan)?, stages.last()?) else { return None };
        let wanted = u64::try_from(*count).ok()?;
        let rows = wanted.saturating_add(wanted / 4).max(ROWS_MIN);
        Some(Pieces { order, spans: spans.iter().cloned().collect(), wanted, rows })
    }

    /// So many rows have come.
    pub(super) fn count(&mut self, rows: usize) {
        self.wanted = self.wanted.saturating_sub(rows as u64);
    }

    /// The next keys to read; none if enough rows have come, or all were read.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn next<R: Router>(&mut self, router: &R, table: &Table) -> Result<Option<KeySpan>> {
        let taken = match self.order {
            _ if self.wanted == 0 => None,
            KeyOrder::Ascending => self.spans.pop_front(),
            KeyOrder::Descending => self.spans.pop_back(),
        };
        let Some(span) = taken else { return Ok(None) };
        let cut = router.cut_after(table.id, span.clone(), self.rows, self.order).await;
        let cut = cut.map_err(|error| engine_error(error, table))?;
        self.rows = self.rows.saturating_mul(GROWTH);
        let inside = cut.filter(|key| span.contains(key) && **key != *span.start);
        let Some(cut) = inside else { return Ok(Some(span)) };
        let below = KeySpan { start: span.start, end: Some(cut.clone()) };
        let above = KeySpan { start: cut, end: span.end };
        Ok(Some(match self.order {
            KeyOrder::Ascending => {
                self.spans.push_front(above);
                below
            }
            KeyOrder::Descending => {
                self.spans.push_back(below);
                above
            }
        }))
    }
}
