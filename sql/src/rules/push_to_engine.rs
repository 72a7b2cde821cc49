//! Gives conditions of scans to the engine.

use crate::logical::Logical;
use crate::pushdown;

pub(super) fn apply(mut plan: Logical) -> Logical {
    if let Logical::Scan(scan) = &mut plan
        && !scan.keys.is_complete
    {
        // Rows that are read by their keys pass through no scan of the engine.
        let is_file = crate::files::is_file(&scan.table);
        if is_file && !scan.pushed.is_empty() {
            return plan;
        }
        // Of a file only parts are left out by them: all conditions are evaluated.
        let kept = if is_file { scan.filter.clone() } else { Vec::new() };
        let conjuncts = std::mem::take(&mut scan.filter);
        let (pushed, rest) = pushdown::extract(&scan.table.schema, &scan.columns, conjuncts);
        scan.pushed.extend(pushed);
        scan.filter = if is_file { kept } else { rest };
    }
    plan.change_inputs(apply);
    plan
}
