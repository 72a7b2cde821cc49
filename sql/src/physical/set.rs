//! How set operations are planned: every input is a plan of its own, with fragments where it reads tables.

use omen_core::types::PgType;

use super::estimate::{ScanEstimate, plan_rows};
use super::{QueryPlan, plan_query};
use crate::logical::{SetKind, SetOperation};

/// Inputs whose rows are combined.
#[derive(Clone, Debug)]
pub(crate) struct CombinePlan {
    /// How.
    pub(crate) kind: SetKind,
    /// From the left to the right. None of them is a point.
    pub(crate) inputs: Vec<QueryPlan>,
    /// Types of the columns.
    pub(crate) types: Vec<PgType>,
}

impl CombinePlan {
    /// About how many rows it gives.
    pub(crate) fn rows(&self, mut scans: &[ScanEstimate]) -> f64 {
        let rows = self.inputs.iter().map(|input| {
            let (own, rest) = scans.split_at(input.scans().len().min(scans.len()));
            scans = rest;
            plan_rows(input, own)
        });
        match self.kind {
            SetKind::UnionAll => rows.sum(),
            SetKind::Intersect { .. } => rows.fold(f64::INFINITY, f64::min),
            SetKind::Except { .. } => rows.take(1).sum(),
        }
    }
}

/// Plans a set operation.
pub(super) fn plan_set(set: SetOperation) -> CombinePlan {
    let inputs = set.inputs.into_iter().map(|input| plan_query(input).in_batches()).collect();
    CombinePlan { kind: set.kind, inputs, types: set.types }
}
