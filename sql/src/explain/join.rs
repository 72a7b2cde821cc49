//! Joins in explanations: a line for each join, and below it, further to the right, its two sides.

use super::expr::expr_text;
use super::{Explained, Report, add_steps};
use crate::execute::join::reads_scan;
use crate::fragment::join::Gives;
use crate::physical::estimate::ScanEstimate;
use crate::physical::join::JoinPlan;
use crate::physical::join_order::{JoinTree, OrderedJoin, order};
use crate::physical::{QueryPlan, Source};

impl Explained<'_> {
    /// What is said about a join; answers the names of its columns. `rows` are the estimates of its scans.
    pub(super) fn join(&self, report: &mut Report, plan: &JoinPlan, rows: &[ScanEstimate]) -> Vec<String> {
        let tree = order(plan, rows);
        self.tree(report, plan, &tree, rows)
    }

    fn tree(
        &self,
        report: &mut Report,
        plan: &JoinPlan,
        tree: &JoinTree,
        rows: &[ScanEstimate],
    ) -> Vec<String> {
        match tree {
            JoinTree::Input { index, .. } => {
                let first: usize = plan.inputs[..*index].iter().map(|input| input.scans().len()).sum();
                let input = &plan.inputs[*index];
                self.join_input(report, input, &rows[first..first + input.scans().len()])
            }
            JoinTree::Join(join) => {
                let (mut below_probe, mut below_build) = (Report::default(), Report::default());
                let probe = self.tree(&mut below_probe, plan, &join.probe, rows);
                let build = self.tree(&mut below_build, plan, &join.build, rows);
                let mut text = join_text(join, &probe, &build);
                if self.scatter && !join.gives.tracks_build(join.keeps_build) && reads_scan(plan, &join.probe)
                {
                    text += ", where the probe side is read if few rows share a key";
                }
                report.fact(if join.keys.is_empty() { "Loop join" } else { "Hash join" }, text);
                if let Some(rows) = self.seen.rows_of_join(plan, tree) {
                    report.number("Actual rows", rows as f64, rows.to_string());
                }
                report.part("Probe", below_probe);
                report.part("Build", below_build);
                let mut names = [probe, build].concat();
                names.push("mark".to_owned());
                join.output.iter().map(|column| names[*column].clone()).collect()
            }
        }
    }

    /// What is said about a shared table or a recursive query; answers the names of its columns.
    pub(super) fn recursive(
        &self,
        report: &mut Report,
        source: &Source,
        rows: &[ScanEstimate],
    ) -> Vec<String> {
        let types = match source {
            Source::Shared { table, types } => {
                report.fact("Shared table", (table + 1).to_string());
                types
            }
            Source::Recursive(plan) => {
                let kept = if plan.distinct { ", each row once" } else { "" };
                report.fact("Recursive", format!("shared table {}{kept}", plan.working + 1));
                let (first, second) = rows.split_at(plan.base.scans().len().min(rows.len()));
                for (what, plan, rows) in [("First", &plan.base, first), ("Then", &plan.step, second)] {
                    let mut below = Report::default();
                    self.join_input(&mut below, plan, rows);
                    report.part(what, below);
                }
                &plan.types
            }
            _ => return Vec::new(),
        };
        (1..=types.len()).map(|number| format!("column{number}")).collect()
    }

    /// What is said about an input; answers the names of its columns.
    pub(super) fn join_input(
        &self,
        report: &mut Report,
        input: &QueryPlan,
        rows: &[ScanEstimate],
    ) -> Vec<String> {
        let names = match &input.source {
            Source::Scan(scan) => self.scan_lines(report, scan, rows.first().map(|scan| scan.rows), true),
            Source::Join(join) => self.join(report, join, rows),
            Source::Combine(set) => self.combined(report, set, rows),
            Source::Shared { .. } | Source::Recursive(_) => self.recursive(report, &input.source, rows),
            Source::Values { rows, types } => {
                report.fact("Values", super::count(rows.len(), "row"));
                (1..=types.len()).map(|number| format!("column{number}")).collect()
            }
            Source::Set(set) => {
                let input = self.join_input(report, &set.input, rows);
                super::set_text(report, set, input)
            }
            Source::Point(_) => Vec::new(),
        };
        add_steps(report, "Merge", &input.steps, names)
    }
}

fn join_text(join: &OrderedJoin, probe: &[String], build: &[String]) -> String {
    let kept = match (&join.gives, join.keeps_probe, join.keeps_build) {
        (Gives::Rows { of_build: false, with_partner: true }, ..) => "semi, rows of the probe",
        (Gives::Rows { of_build: false, with_partner: false }, ..) => "anti, rows of the probe",
        (Gives::Rows { of_build: true, with_partner: true }, ..) => "semi, rows of the build",
        (Gives::Rows { of_build: true, with_partner: false }, ..) => "anti, rows of the build",
        (Gives::Mark(_) | Gives::Exists, ..) => "mark, rows of the probe",
        (Gives::SinglePairs { of_build: false }, ..) => "single, with all rows of the probe",
        (Gives::SinglePairs { of_build: true }, ..) => "single, with all rows of the build",
        (Gives::Pairs, false, false) => "inner",
        (Gives::Pairs, true, false) => "outer, with all rows of the probe",
        (Gives::Pairs, false, true) => "outer, with all rows of the build",
        (Gives::Pairs, true, true) => "outer, with all rows of both",
    };
    let mut text = kept.to_owned();
    let keys = join.keys.iter().map(|key| {
        let operator = if key.null_safe { "IS NOT DISTINCT FROM" } else { "=" };
        format!("({} {operator} {})", expr_text(&key.probe, probe), expr_text(&key.build, build))
    });
    let names = [probe, build].concat();
    let others = join.conjuncts.iter().map(|conjunct| expr_text(conjunct, &names));
    let asked = match &join.gives {
        Gives::Mark(mark) => mark.as_ref().map(|mark| format!("whether {}", expr_text(mark, &names))),
        _ => None,
    };
    let conditions: Vec<String> = keys.chain(others).chain(asked).collect();
    if !conditions.is_empty() {
        text += &format!(", on {}", conditions.join(" AND "));
    }
    text + &format!(", about {} rows", join.rows.round())
}
