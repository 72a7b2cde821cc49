//! Joins in explanations: a line for each join, and below it, further to the right, its two sides.

use super::expr::expr_text;
use super::{Explained, add_steps};
use crate::execute::join::reads_scan;
use crate::fragment::join::Gives;
use crate::physical::estimate::ScanEstimate;
use crate::physical::join::JoinPlan;
use crate::physical::join_order::{JoinTree, OrderedJoin, order};
use crate::physical::{QueryPlan, Source};

impl Explained<'_> {
    /// The lines about a join; answers the names of its columns. `rows` are the estimates of its scans.
    pub(super) fn join(
        &self,
        lines: &mut Vec<String>,
        plan: &JoinPlan,
        rows: &[ScanEstimate],
    ) -> Vec<String> {
        let tree = order(plan, rows);
        self.tree(lines, plan, &tree, rows)
    }

    fn tree(
        &self,
        lines: &mut Vec<String>,
        plan: &JoinPlan,
        tree: &JoinTree,
        rows: &[ScanEstimate],
    ) -> Vec<String> {
        match tree {
            JoinTree::Input { index, .. } => {
                let first: usize = plan.inputs[..*index].iter().map(|input| input.scans().len()).sum();
                let input = &plan.inputs[*index];
                self.join_input(lines, input, &rows[first..first + input.scans().len()])
            }
            JoinTree::Join(join) => {
                let (mut probe_lines, mut build_lines) = (Vec::new(), Vec::new());
                let probe = self.tree(&mut probe_lines, plan, &join.probe, rows);
                let build = self.tree(&mut build_lines, plan, &join.build, rows);
                let mut text = join_text(join, &probe, &build);
                if self.scatter && !join.gives.tracks_build(join.keeps_build) && reads_scan(plan, &join.probe)
                {
                    text += ", where the probe side is read if few rows share a key";
                }
                lines.push(text);
                for (side, below) in [("Probe", probe_lines), ("Build", build_lines)] {
                    lines.push(format!("  {side}:"));
                    lines.extend(below.into_iter().map(|line| format!("    {line}")));
                }
                let mut names = [probe, build].concat();
                names.push("mark".to_owned());
                join.output.iter().map(|column| names[*column].clone()).collect()
            }
        }
    }

    /// The lines about a shared table or a recursive query; answers the names of its columns.
    pub(super) fn recursive(
        &self,
        lines: &mut Vec<String>,
        source: &Source,
        rows: &[ScanEstimate],
    ) -> Vec<String> {
        let types = match source {
            Source::Shared { table, types } => {
                lines.push(format!("Shared table {}", table + 1));
                types
            }
            Source::Recursive(plan) => {
                let kept = if plan.distinct { ", each row once" } else { "" };
                lines.push(format!("Recursive: shared table {}{kept}", plan.working + 1));
                let (first, second) = rows.split_at(plan.base.scans().len().min(rows.len()));
                for (what, plan, rows) in [("First", &plan.base, first), ("Then", &plan.step, second)] {
                    let mut below = Vec::new();
                    self.join_input(&mut below, plan, rows);
                    lines.push(format!("  {what}:"));
                    lines.extend(below.into_iter().map(|line| format!("    {line}")));
                }
                &plan.types
            }
            _ => return Vec::new(),
        };
        (1..=types.len()).map(|number| format!("column{number}")).collect()
    }

    /// The lines about an input; answers the names of its columns.
    pub(super) fn join_input(
        &self,
        lines: &mut Vec<String>,
        input: &QueryPlan,
        rows: &[ScanEstimate],
    ) -> Vec<String> {
        let names = match &input.source {
            Source::Scan(scan) => self.scan_lines(lines, scan, rows.first().map(|scan| scan.rows), true),
            Source::Join(join) => self.join(lines, join, rows),
            Source::Combine(set) => self.combined(lines, set, rows),
            Source::Shared { .. } | Source::Recursive(_) => self.recursive(lines, &input.source, rows),
            Source::Values { rows, types } => {
                lines.push(format!("Values: {}", super::count(rows.len(), "row")));
                (1..=types.len()).map(|number| format!("column{number}")).collect()
            }
            Source::Set(set) => {
                let input = self.join_input(lines, &set.input, rows);
                super::set_text(lines, set, input)
            }
            Source::Point(_) => Vec::new(),
        };
        add_steps(lines, "Merge", &input.steps, names)
    }
}

fn join_text(join: &OrderedJoin, probe: &[String], build: &[String]) -> String {
    let way = if join.keys.is_empty() { "Loop" } else { "Hash" };
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
    let mut text = format!("{way} join: {kept}");
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
