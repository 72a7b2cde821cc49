//! Turns conditions of scans into keys.

use crate::logical::Logical;
use crate::route::KeyFilter;

pub(super) fn apply(mut plan: Logical) -> Logical {
    if let Logical::Scan(scan) = &mut plan {
        let conjuncts = std::mem::take(&mut scan.filter);
        let (keys, rest) = KeyFilter::extract(&scan.table.schema, conjuncts, |index| scan.columns[index]);
        scan.keys = keys;
        scan.filter = rest;
    }
    plan.change_inputs(apply);
    plan
}
