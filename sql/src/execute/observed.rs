//! What a run of a plan took, for EXPLAIN ANALYZE.
//!
//! Scans and joins are told apart by where their plans lie in memory: what is explained is the very plan that ran.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use omen_core::router::ScanCounts;

use crate::explain::Report;
use crate::physical::ScanPlan;
use crate::physical::join::JoinPlan;
use crate::physical::join_order::{Inputs, JoinTree};

/// Counts rows that a join gives, on whichever cores it runs.
pub(crate) type RowCount = Arc<AtomicU64>;

/// What was seen of a run; nothing unless it is observed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed(Option<Rc<RefCell<Seen>>>);

#[derive(Debug, Default)]
struct Seen {
    scans: BTreeMap<usize, ScanCounts>,
    joins: BTreeMap<(usize, Inputs), RowCount>,
}

impl Observed {
    /// Observes a run.
    pub(crate) fn begin() -> Observed {
        Observed(Some(Rc::default()))
    }

    /// Adds what a run of a scan took.
    pub(crate) fn add_scan(&self, plan: usize, counts: &ScanCounts) {
        if let Some(seen) = &self.0 {
            seen.borrow_mut().scans.entry(plan).or_default().add(counts);
        }
    }

    /// Where to count the rows of a join; none if nobody asks.
    pub(crate) fn join(&self, plan: &JoinPlan, inputs: Inputs) -> Option<RowCount> {
        let mut seen = self.0.as_ref()?.borrow_mut();
        Some(seen.joins.entry((place(plan), inputs)).or_default().clone())
    }

    /// How many rows a join gave.
    pub(crate) fn rows_of_join(&self, plan: &JoinPlan, tree: &JoinTree) -> Option<u64> {
        let seen = self.0.as_ref()?.borrow();
        let rows = seen.joins.get(&(place(plan), tree.inputs()))?;
        Some(rows.load(Ordering::Relaxed))
    }

    /// Adds what a scan took to a report.
    pub(crate) fn tell_scan(&self, report: &mut Report, scan: &ScanPlan) {
        let Some(seen) = &self.0 else { return };
        let Some(counts) = seen.borrow().scans.get(&place(scan)).copied() else { return };
        report.number("Actual rows", counts.rows as f64, counts.rows.to_string());
        let blocks = [
            ("read", counts.blocks_read),
            ("outside of the keys", counts.blocks_outside),
            ("pruned by zones", counts.blocks_pruned),
            ("only counted", counts.blocks_counted),
        ];
        report.counts("Blocks", &blocks);
        let bytes = [
            ("of blocks", counts.block_bytes),
            ("from disk", counts.disk_bytes),
            ("moved", counts.moved_bytes),
        ];
        report.counts("Bytes", &bytes);
        let ms = counts.busy_ns as f64 / 1e6;
        report.number("Time of the fragments, ms", ms, format!("{ms:.3}"));
    }
}

/// Where a plan lies.
pub(crate) fn place<T>(plan: &T) -> usize {
    std::ptr::from_ref(plan).addr()
}
