//! Results as a section of a Markdown page, with a chart of each workload beside it.

use std::fmt::Write;

use super::chart::number;
use super::compare::{Difference, differences, figures, median};
use super::load::Arrivals;
use super::outcome::{Outcome, ServerOutcome};

/// What the overview has of each workload.
const OVERVIEW: [&str; 4] = ["p50 us", "p99 us", "CPU us/request", "written bytes/request"];
/// Figures beside those of the overview.
const FURTHER: [&str; 6] = [
    "answers/s",
    "read bytes/request",
    "read and write calls/request",
    "ring entries/request",
    "core messages/request",
    "memory peak MiB",
];

/// The section; charts are where `chart` says for a workload.
pub fn of(outcomes: &[Outcome], chart: impl Fn(&Outcome) -> String) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        for (name, why) in &outcome.missing {
            let _ = writeln!(text, "- {}: {name} is missing: {}", outcome.workload, one_line(why));
        }
        for server in &outcome.servers {
            for wrong in &server.wrong {
                let _ = writeln!(text, "- {}: {}: {}", outcome.workload, server.name, one_line(wrong));
            }
            if server.rounds.iter().any(|round| round.abandoned > 0) {
                let _ = writeln!(text, "- {}: {} cannot bear this rate", outcome.workload, server.name);
            }
        }
    }
    if !text.is_empty() {
        text.insert_str(0, "Missing, wrong or too slow:\n\n");
        text.push('\n');
    }
    text.push_str("| workload | requests | figure | of | median | first to this one (95 %) |\n|---|---|---|---|---:|---|\n");
    for outcome in outcomes {
        rows(&mut text, outcome, &OVERVIEW);
    }
    interference(&mut text, outcomes);
    text.push_str("\nWhat else the servers' processes took:\n\n");
    text.push_str("| workload | requests | figure | of | median | first to this one (95 %) |\n|---|---|---|---|---:|---|\n");
    for outcome in outcomes {
        rows(&mut text, outcome, &FURTHER);
    }
    for outcome in outcomes {
        kinds(&mut text, outcome);
    }
    text.push_str("\nLatency by percentile:\n\n");
    for outcome in outcomes {
        let _ = writeln!(text, "![{}]({})", outcome.workload, chart(outcome));
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// `1.52x (1.44 to 1.61)`, or that there is no difference to be seen.
fn ratio(lines: &[Difference], what: &str) -> String {
    lines.iter().find(|line| line.what == what).map_or_else(String::new, Difference::told)
}

/// A row for each of these figures and each server that has it.
fn rows(text: &mut String, outcome: &Outcome, chosen: &[&str]) {
    let Some(first) = outcome.servers.first() else { return };
    let requests = match outcome.arrivals {
        Arrivals::Rate(rate) => format!("{}/s", number(rate)),
        Arrivals::Closed => "closed loop".to_owned(),
    };
    for server in &outcome.servers {
        let compared = differences(first, server, true);
        for figure in figures(server).iter().filter(|figure| chosen.contains(&figure.what.as_str())) {
            let value = number(median(&figure.rounds));
            let against =
                if server.name == first.name { String::new() } else { ratio(&compared, &figure.what) };
            let _ = writeln!(
                text,
                "| {} | {requests} | {} | {} | {value} | {against} |",
                outcome.workload, figure.what, server.name
            );
        }
    }
}

/// Medians of each kind of request, for workloads that have several.
fn kinds(text: &mut String, outcome: &Outcome) {
    let Some(first) = outcome.servers.first() else { return };
    let is_kind = |what: &str| what.ends_with(" p50 us");
    let of_first: Vec<_> = figures(first).into_iter().filter(|figure| is_kind(&figure.what)).collect();
    if of_first.is_empty() {
        return;
    }
    let _ =
        write!(text, "\nMedians of `{}` in microseconds, by kind of request:\n\n| kind |", outcome.workload);
    let others = &outcome.servers[1..];
    let _ = write!(text, " {} |", first.name);
    for other in others {
        let _ = write!(text, " {} | {} / {0} |", other.name, first.name);
    }
    let _ = writeln!(text, "\n|---|---:|{}", "---:|---|".repeat(others.len()));
    let compared: Vec<_> = others.iter().map(|other| differences(first, other, true)).collect();
    for figure in of_first {
        let kind = figure.what.trim_end_matches(" p50 us");
        let _ = write!(text, "| {kind} | {} |", number(median(&figure.rounds)));
        for lines in &compared {
            let line = lines.iter().find(|line| line.what == figure.what);
            let value = line.map_or_else(|| "-".to_owned(), |line| number(line.b));
            let _ = write!(text, " {value} | {} |", ratio(lines, &figure.what));
        }
        text.push('\n');
    }
}

/// What queries beside them cost the transactions of TPC-C: runs of `ch` and `tpcc` at one rate and scale.
fn interference(text: &mut String, outcomes: &[Outcome]) {
    let named = |name: &str| outcomes.iter().find(|outcome| outcome.workload == name);
    let (Some(alone), Some(beside)) = (named("tpcc"), named("ch")) else { return };
    if alone.arrivals != beside.arrivals || alone.scale != beside.scale {
        return;
    }
    text.push_str("\nTransactions of TPC-C beside queries (`ch`) against alone (`tpcc`), medians:\n\n");
    for server in &beside.servers {
        let Some(other) = alone.server(&server.name) else { continue };
        let told: Vec<String> =
            kinds_of(server, other).iter().map(|line| format!("{} {}", line.what, line.told())).collect();
        let _ = writeln!(text, "- {}: {}", server.name, told.join("; "));
    }
}

fn kinds_of(beside: &ServerOutcome, alone: &ServerOutcome) -> Vec<Difference> {
    let mut lines = differences(beside, alone, false);
    lines.retain(|line| line.what.ends_with(" p50 us"));
    lines
}
