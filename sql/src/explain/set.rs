//! Set operations in explanations: a line, and below it, further to the right, the inputs.

use super::Explained;
use crate::logical::SetKind;
use crate::physical::estimate::ScanEstimate;
use crate::physical::set::CombinePlan;

/// Inputs that are shown.
const INPUTS_SHOWN: usize = 50;

impl Explained<'_> {
    /// The lines about a set operation; answers the names of its columns. `rows` are the estimates of its scans.
    pub(super) fn combined(
        &self,
        lines: &mut Vec<String>,
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
        lines.push(format!("{what}: {} inputs", plan.inputs.len()));
        let mut names = Vec::new();
        for (number, input) in plan.inputs.iter().enumerate().take(INPUTS_SHOWN) {
            let (own, rest) = rows.split_at(input.scans().len().min(rows.len()));
            rows = rest;
            let mut below = Vec::new();
            let columns = self.join_input(&mut below, input, own);
            if number == 0 {
                names = columns;
            }
            lines.push(format!("  Input {}:", number + 1));
            lines.extend(below.into_iter().map(|line| format!("    {line}")));
        }
        if plan.inputs.len() > INPUTS_SHOWN {
            lines.push(format!("  and {} more", plan.inputs.len() - INPUTS_SHOWN));
        }
        names
    }
}
