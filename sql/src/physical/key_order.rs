//! Whether a scan wants the first rows in the order of its table's keys.

use omen_core::router::KeyOrder;

use super::{ScanPlan, Step};
use crate::expr::Expr;
use crate::fragment::Stage;

/// The direction in which a scan wants the first rows of its keys; `None` if it wants all rows, or others. Keys are compared
/// column by column; those that all rows have the same value of do not count.
pub(crate) fn key_order(scan: &ScanPlan) -> Option<KeyOrder> {
    let (Step::TopK { keys, .. }, steps) = scan.fragment.split_last()? else { return None };
    let descending = keys.first()?.descending;
    let columns = columns_of(scan, steps)?;
    let key = &scan.table.schema.key;
    let is_fixed =
        |place: usize| scan.keys.equal.get(place).is_some_and(|equality| equality.values.len() == 1);
    let fixed = (0..key.len()).take_while(|place| is_fixed(*place)).count();
    if scan.keys.equal.len() > fixed {
        // Lists of values: spans of their own, whose order may be another.
        return None;
    }
    let mut place = fixed;
    for sort in keys {
        let column = (*columns.get(sort.column)?)?;
        if key[..fixed].contains(&column) {
            continue;
        }
        if place == key.len() {
            break;
        }
        if column != key[place] || sort.descending != descending {
            return None;
        }
        place += 1;
    }
    Some(if descending { KeyOrder::Descending } else { KeyOrder::Ascending })
}

/// For each column that steps give the table's column that it is.
fn columns_of(scan: &ScanPlan, steps: &[Step]) -> Option<Vec<Option<usize>>> {
    let mut columns: Vec<Option<usize>> = scan.columns.iter().map(|column| Some(*column)).collect();
    for step in steps {
        match step {
            Step::Stage(Stage::Filter(_)) => {}
            Step::Stage(Stage::Project(exprs)) => {
                let column = |expr: &Expr| match expr {
                    Expr::Column { index, .. } => columns.get(*index).copied().flatten(),
                    _ => None,
                };
                columns = exprs.iter().map(column).collect();
            }
            _ => return None,
        }
    }
    Some(columns)
}
