//! Set operations in explanations: a fact, and the inputs as parts of it.

use super::{Explained, Report};
use crate::logical::SetKind;
use crate::physical::estimate::ScanEstimate;
use crate::physical::set::CombinePlan;

/// Inputs that are shown.
const INPUTS_SHOWN: usize = 50;

impl Explained<'_> {
    /// What is said about a set operation; answers the names of its columns. `rows` are the estimates of its scans.
    pub(super) fn combined(
        &self,
        report: &mut Report,
        plan: &CombinePlan,
        mut rows: &[ScanEstimate],
    ) -> Vec<String> {
        let what = match plan.kind {
            SetKind::UnionAll => "Append",
            SetKind::Intersect { all: false } => "Intersect",
            SetKind::Intersect { all: true } => "Intersect all",
            SetKind::Except { all: false } => "Except",
            SetKind::Except { all: true } => "Except all",
        };
        report.number(what, plan.inputs.len() as f64, format!("{} inputs", plan.inputs.len()));
        let mut names = Vec::new();
        for (number, input) in plan.inputs.iter().enumerate().take(INPUTS_SHOWN) {
            let (own, rest) = rows.split_at(input.scans().len().min(rows.len()));
            rows = rest;
            let mut below = Report::default();
            let columns = self.join_input(&mut below, input, own);
            if number == 0 {
                names = columns;
            }
            report.part(format!("Input {}", number + 1), below);
        }
        if let Some(more @ 1..) = plan.inputs.len().checked_sub(INPUTS_SHOWN) {
            report.number("Inputs not shown", more as f64, more.to_string());
        }
        names
    }
}
