//! Results as one page of HTML, without scripts and without anything from elsewhere.

use std::fmt::Write;

use super::chart::{Labels, Series, bars, escaped, lines, number};
use super::compare::{differences, figures, median};
use super::load::Arrivals;
use super::outcome::{Outcome, PERCENTILES};
use crate::quantile_us;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1340px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}.wrong{color:#b00020}.charts{display:flex;flex-wrap:wrap;gap:8px}\
h2{margin-top:2em;border-top:1px solid #ccc;padding-top:1em}svg{max-width:100%;height:auto}";

/// The page.
pub fn of(outcomes: &[Outcome]) -> String {
    let mut html = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let _ =
        writeln!(html, "<title>omendb-perf</title><style>{STYLE}</style></head><body><h1>omendb-perf</h1>");
    if let Some(first) = outcomes.first() {
        let machine = &first.machine;
        let _ = writeln!(
            html,
            "<p>{}, {} CPUs, {} GiB of memory; Linux {}; {}; sources {}</p>",
            escaped(&machine.cpu),
            machine.cpus,
            number(machine.memory_bytes as f64 / f64::from(1 << 30)),
            escaped(&machine.kernel),
            escaped(&machine.disk),
            escaped(if machine.commit.is_empty() { "of an unknown commit" } else { &machine.commit }),
        );
    }
    outcomes.iter().for_each(|outcome| section(&mut html, outcome));
    html + "</body></html>\n"
}

fn section(html: &mut String, outcome: &Outcome) {
    let _ = writeln!(html, "<h2>{}</h2>", escaped(&outcome.workload));
    let rate = match outcome.arrivals {
        Arrivals::Rate(rate) => {
            format!("{} requests/s; times count from when requests were due", number(rate))
        }
        Arrivals::Closed => "each connection sends when it is answered: stalls are hidden".to_owned(),
    };
    let rounds = outcome.servers.iter().map(|server| server.rounds.len()).max().unwrap_or_default();
    let _ = writeln!(
        html,
        "<p>Scale {}, {rate}; {} connections, {rounds} rounds of {} s in turns.</p>",
        outcome.scale, outcome.connections, outcome.seconds
    );
    for (name, why) in &outcome.missing {
        let _ = writeln!(html, "<p class=\"wrong\">{} is missing: {}</p>", escaped(name), escaped(why));
    }
    for server in &outcome.servers {
        for wrong in &server.wrong {
            let _ = writeln!(html, "<p class=\"wrong\">{}: {}</p>", escaped(&server.name), escaped(wrong));
        }
        if server.rounds.iter().any(|round| round.abandoned > 0) {
            let name = escaped(&server.name);
            let _ = writeln!(
                html,
                "<p class=\"wrong\">{name} cannot bear this rate: it is worse than shown.</p>"
            );
        }
    }
    table(html, outcome);
    charts(html, outcome);
    for server in &outcome.servers {
        let _ = writeln!(
            html,
            "<p>{}: {}; {}</p>",
            escaped(&server.name),
            escaped(&server.version),
            escaped(&server.settings)
        );
    }
}

/// A row for each figure, a column for each server, and how the others compare with the first.
fn table(html: &mut String, outcome: &Outcome) {
    let [first, others @ ..] = outcome.servers.as_slice() else { return };
    let _ = write!(html, "<table><tr><th></th><th>{}</th>", escaped(&first.name));
    for other in others {
        let _ =
            write!(html, "<th>{0}</th><th>{1} / {0} (95 %)</th>", escaped(&other.name), escaped(&first.name));
    }
    html.push_str("</tr>\n");
    let compared: Vec<_> = others.iter().map(|other| differences(first, other, true)).collect();
    for own in figures(first) {
        let _ = write!(html, "<tr><td>{}</td><td>{}</td>", escaped(&own.what), number(median(&own.rounds)));
        for lines in &compared {
            match lines.iter().find(|line| line.what == own.what) {
                Some(line) => {
                    let _ = write!(html, "<td>{}</td><td>{}</td>", number(line.b), escaped(&line.told()));
                }
                None => html.push_str("<td></td><td></td>"),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
}

fn charts(html: &mut String, outcome: &Outcome) {
    html.push_str("<div class=\"charts\">\n");
    html.push_str(&by_percentile(outcome, "Latency by percentile, all rounds"));
    let over_time = outcome.servers.iter().map(|server| {
        let seconds = server.rounds.iter().flat_map(|round| &round.by_second).enumerate();
        let points = seconds.map(|(second, [_, p99, _])| (second as f64, *p99)).collect();
        Series { name: &server.name, points }
    });
    let over_time: Vec<_> = over_time.collect();
    let count = over_time.iter().map(|line| line.points.len()).max().unwrap_or_default();
    let ticks = (0..count).step_by((count / 8).max(1)).map(|second| (second as f64, second.to_string()));
    let labels = Labels {
        title: "99th percentile of each second, round after round",
        x: "seconds",
        y: "us",
        ticks: ticks.collect(),
    };
    html.push_str(&lines(&labels, &over_time));
    let rates = outcome.servers.iter().map(|server| {
        let rates: Vec<f64> = server.rounds.iter().map(|round| round.per_second).collect();
        (server.name.as_str(), median(&rates))
    });
    let rates: Vec<(&str, f64)> = rates.collect();
    html.push_str(&bars("Answers per second, median of the rounds", "/s", &rates));
    html.push_str("</div>\n");
}

/// A chart of the latencies of all servers.
pub fn by_percentile(outcome: &Outcome, title: &str) -> String {
    // Percentiles are spread so that each further nine takes as much room as the one before.
    let place = |quantile: f64| -(1.0 - quantile).max(1e-5).log10();
    let quantiles = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999];
    let by_percentile = outcome.servers.iter().map(|server| {
        let all = server.all();
        let at = |quantile: &f64| (place(*quantile), quantile_us(&all, *quantile));
        Series { name: &server.name, points: quantiles.iter().map(at).collect() }
    });
    let by_percentile: Vec<_> = by_percentile.collect();
    let ticks = PERCENTILES.iter().filter(|(quantile, _)| *quantile < 1.0);
    let ticks = ticks.map(|(quantile, name)| (place(*quantile), (*name).to_owned())).collect();
    lines(&Labels { title, x: "percentile", y: "us", ticks }, &by_percentile)
}
