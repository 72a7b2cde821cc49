//! About how many rows a plan gives, and how many different values its columns have.
//!
//! What the engine knows of a scan's keys, filters and columns is taken from it; everything else is guessed.
//! Estimates decide what is fast, never what is answered.

use omen_core::catalog::TableSchema;
use omen_core::types::Datum;

use super::join_order::{JoinTree, below_steps, order};
use super::{QueryPlan, ScanPlan, Source, Step};
use crate::expr::Expr;
use crate::fragment::{AggregateMode, Stage};

/// Share of rows for which an equality with a constant holds.
const EQUAL_SHARE: f64 = 0.1;

/// Share of rows in an interval with one end.
const RANGE_SHARE: f64 = 0.3;

/// Share of rows that a pattern matches.
const PATTERN_SHARE: f64 = 0.1;

/// Share of rows for which any other condition holds.
const OTHER_SHARE: f64 = 0.3;

/// Rows of a shared table, of which nothing is known.
const SHARED_ROWS: f64 = 1_000.0;

/// Rows of a function that answers rows; the same guess as PostgreSQL's for arrays.
const SET_ROWS: f64 = 10.0;

/// What is known about a scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScanEstimate {
    /// About how many rows have its keys.
    pub(crate) rows: f64,
    /// About how many of those pass the filters of the engine, if something tells.
    pub(crate) matching: Option<f64>,
    /// How many different values each of the table's columns has, if something tells.
    pub(crate) distinct: Vec<Option<f64>>,
}

impl ScanEstimate {
    /// About how many rows reach the fragment.
    fn passing(&self, scan: &ScanPlan) -> f64 {
        let guess =
            || self.rows * scan.pushed.iter().map(|pushed| selectivity(&pushed.expr)).product::<f64>();
        self.matching.unwrap_or_else(guess)
    }

    /// About how many different values one of the table's columns has.
    fn distinct(&self, scan: &ScanPlan, column: usize) -> f64 {
        let key = &scan.table.schema.key;
        let guess = || self.rows.powf(if key.first() == Some(&column) { 0.9 } else { 0.75 });
        self.distinct_of(&scan.table.schema, column).unwrap_or_else(guess)
    }

    /// As [`ScanEstimate::distinct`], if something tells.
    pub(crate) fn distinct_of(&self, schema: &TableSchema, column: usize) -> Option<f64> {
        if schema.key.as_slice() == [column] {
            return Some(self.rows);
        }
        self.distinct.get(column).copied().flatten().map(|known| known.min(self.rows))
    }
}

/// About how many rows a plan gives.
pub(crate) fn plan_rows(plan: &QueryPlan, scans: &[ScanEstimate]) -> f64 {
    let mut rows = match (&plan.source, scans) {
        (Source::Values { rows, .. }, _) => rows.len() as f64,
        (Source::Point(_), _) => 1.0,
        (Source::Scan(scan), [estimate, ..]) => {
            let distinct = |column| Some(estimate.distinct(scan, scan.columns[column]));
            after_steps(&scan.fragment, estimate.passing(scan), &distinct)
        }
        (Source::Scan(_), []) => 1.0,
        (Source::Join(join), _) => match order(join, scans) {
            JoinTree::Join(join) => join.rows,
            JoinTree::Input { .. } => 1.0,
        },
        (Source::Set(set), _) => SET_ROWS * plan_rows(&set.input, scans),
        (Source::Combine(set), _) => set.rows(scans),
        (Source::Shared { .. } | Source::Recursive(_), _) => SHARED_ROWS,
    };
    rows = after_steps(&plan.steps, rows, &|column| source_distinct(plan, scans, column));
    rows.max(1.0)
}

/// About how many different values a column of a plan has, if it is one of a table just as it was read.
pub(crate) fn plan_distinct(plan: &QueryPlan, scans: &[ScanEstimate], column: usize) -> Option<f64> {
    source_distinct(plan, scans, below_groups(&plan.steps, column)?)
}

fn source_distinct(plan: &QueryPlan, scans: &[ScanEstimate], column: usize) -> Option<f64> {
    match (&plan.source, scans) {
        (Source::Scan(scan), [estimate, ..]) => {
            let column = below_groups(&scan.fragment, column)?;
            Some(estimate.distinct(scan, scan.columns[column]))
        }
        (Source::Join(join), _) => {
            let (offsets, column) = (join.offsets(), *join.output.get(column)?);
            let input = offsets.partition_point(|offset| *offset <= column) - 1;
            let first: usize = join.inputs[..input].iter().map(|input| input.scans().len()).sum();
            plan_distinct(join.inputs.get(input)?, scans.get(first..)?, column - offsets[input])
        }
        _ => None,
    }
}

/// As [`below_steps`], also through groupings by that column: leaving out rows by it leaves out whole groups.
pub(crate) fn below_groups(steps: &[Step], column: usize) -> Option<usize> {
    let Some(last) = steps.iter().rposition(|step| matches!(step, Step::Stage(Stage::Aggregate { .. })))
    else {
        return below_steps(steps, column);
    };
    let column = below_steps(&steps[last + 1..], column)?;
    let Step::Stage(Stage::Aggregate { groups, .. }) = &steps[last] else { return None };
    match groups.get(column)? {
        Expr::Column { index, .. } => below_groups(&steps[..last], *index),
        _ => None,
    }
}

/// `distinct` answers about how many different values a column has that the steps read.
fn after_steps(steps: &[Step], mut rows: f64, distinct: &dyn Fn(usize) -> Option<f64>) -> f64 {
    for (at, step) in steps.iter().enumerate() {
        rows = match step {
            Step::Stage(Stage::Filter(conjuncts)) => {
                rows * conjuncts.iter().map(selectivity).product::<f64>()
            }
            Step::Stage(Stage::Aggregate { groups, .. }) if groups.is_empty() => 1.0,
            Step::Stage(Stage::Aggregate { mode: AggregateMode::Partial, .. }) => rows,
            Step::Stage(Stage::Aggregate { groups, .. }) => {
                let of_group = |group: &Expr| match group {
                    Expr::Column { index, .. } => distinct(below_groups(&steps[..at], *index)?),
                    _ => None,
                };
                let counts: Option<Vec<f64>> = groups.iter().map(of_group).collect();
                counts.map_or_else(|| rows.powf(0.8), |counts| counts.iter().product::<f64>().min(rows))
            }
            Step::TopK { limit, .. }
            | Step::AtMost { limit, .. }
            | Step::Ties { limit, .. }
            | Step::Limit { limit: Some(limit), .. } => match limit {
                Expr::Literal { value: Datum::Int8(count), .. } => rows.min((*count).max(0) as f64),
                _ => rows,
            },
            Step::Stage(_) | Step::Limit { .. } | Step::LimitBy { .. } => rows,
        };
    }
    rows
}

/// A guess at the share of rows for which a condition is true.
pub(super) fn selectivity(condition: &Expr) -> f64 {
    match condition {
        Expr::And(parts) => parts.iter().map(selectivity).product(),
        Expr::Or(parts) => 1.0 - parts.iter().map(|part| 1.0 - selectivity(part)).product::<f64>(),
        Expr::Not(arg) => 1.0 - selectivity(arg),
        Expr::IsNull { negated, .. } => {
            if *negated {
                1.0 - EQUAL_SHARE
            } else {
                EQUAL_SHARE
            }
        }
        Expr::InList { list, negated, .. } => {
            let share = (EQUAL_SHARE * list.len() as f64).min(0.5);
            if *negated { 1.0 - share } else { share }
        }
        Expr::Call { function, .. } => match function.name {
            "=" => EQUAL_SHARE,
            "<>" => 1.0 - EQUAL_SHARE,
            "<" | "<=" | ">" | ">=" => RANGE_SHARE,
            "~~" | "~~*" | "~" | "~*" => PATTERN_SHARE,
            "!~~" | "!~~*" | "!~" | "!~*" => 1.0 - PATTERN_SHARE,
            _ => OTHER_SHARE,
        },
        Expr::Literal { value: Datum::Bool(true), .. } => 1.0,
        Expr::Literal { .. } => 0.0,
        _ => OTHER_SHARE,
    }
}
