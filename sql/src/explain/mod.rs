//! EXPLAIN: which class a statement has, which keys and ranges it touches, what runs on the cores that
//! own them, and what the session's core does with that.

mod expr;
mod join;
mod report;
mod set;
mod window;

use std::collections::BTreeSet;

use omen_core::catalog::{Catalog, Table};
use omen_core::key::KeySpan;
use omen_core::router::KeyOrder;

use crate::bind::insert::{Conflict, Returning};
use crate::bind::subquery::InitialKind;
use crate::execute::observed::Observed;
use crate::expr::{EvalContext, Expr};
use crate::files;
use crate::fragment::{AggregateMode, Stage};
use crate::physical::estimate::ScanEstimate;
use crate::physical::key_order::key_order;
use crate::physical::{QueryPlan, ScanPlan, SetPlan, Source, Step};
use crate::plan::{Action, InitialPlan, InsertPlan, InsertRows, ModifyPlan, Plan};
use crate::pushdown::Pushed;
use crate::route::{KeyFilter, Keys, Side};
use expr::{aggregate_text, expr_text, list_text, order_text};
pub(crate) use report::Report;
use window::{call_name, window_text};

/// What an explanation refers to.
#[derive(Clone, Copy)]
pub(crate) struct Explained<'a> {
    /// Where ranges are.
    pub(crate) catalog: &'a Catalog,
    /// Parameters.
    pub(crate) context: &'a EvalContext,
    /// Whether cores work on what they own.
    pub(crate) scatter: bool,
    /// What a run took.
    pub(crate) seen: &'a Observed,
    /// About how many rows have the keys of each scan.
    pub(crate) rows: &'a [ScanEstimate],
}

/// The scans of a plan.
pub(crate) fn scans_of(plan: &Plan) -> Vec<&ScanPlan> {
    match plan {
        Plan::Query(query) => query.scans(),
        Plan::CreateTableAs(_, query) => query.iter().flat_map(QueryPlan::scans).collect(),
        Plan::Insert(insert) => match &insert.source {
            InsertRows::Query(query) => query.scans(),
            InsertRows::Cells(_) => Vec::new(),
        },
        Plan::Modify(modify) => modify.rows.scans(),
        Plan::CreateTable(_) | Plan::DropTable(_) | Plan::Truncate(_) => Vec::new(),
    }
}

/// Where a statement runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// On the session's core, without data of tables.
    Local,
    /// On keys that are known, or on the one range that has a span of keys.
    Direct,
    /// On all ranges, or several.
    Scatter,
    /// On the session's core, over what comes from ranges of several tables.
    Relational,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::Local => "local",
            Class::Direct => "direct",
            Class::Scatter => "scatter",
            Class::Relational => "relational",
        }
    }
}

impl Explained<'_> {
    /// What is said about a plan.
    pub(crate) fn plan(&self, plan: &Plan) -> Report {
        let mut report = Report::default();
        match plan {
            Plan::Query(query) => report = self.query(query).0,
            Plan::Insert(insert) => report = self.insert(insert),
            Plan::Modify(modify) => report = self.modify(modify),
            Plan::CreateTable(create) => report.fact("Create table", &*create.name),
            Plan::CreateTableAs(create, rows) => {
                report = rows.as_ref().map_or_else(Report::default, |rows| self.query(rows).0);
                report.fact("Create table", &*create.name);
            }
            Plan::DropTable(drop) => {
                let names: Vec<&str> = drop.names.iter().map(|name| name.name.as_str()).collect();
                report.fact("Drop table", names.join(", "));
            }
            Plan::Truncate(tables) => {
                let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
                report.fact("Truncate", names.join(", "));
            }
        }
        report
    }

    /// Adds what is said about a subquery that is computed once, whose scans have about so many rows.
    pub(crate) fn initial(&self, report: &mut Report, initial: &InitialPlan) {
        let number = initial.parameter + 1;
        let what = match initial.kind {
            InitialKind::Value => format!("${number} is the value of"),
            InitialKind::Exists => format!("${number} is whether there is a row of"),
            InitialKind::Table => format!("shared table {number} of"),
        };
        report.of("First", what, self.plan(&initial.plan));
    }

    /// What is said about a query, and the names of its columns.
    fn query(&self, query: &QueryPlan) -> (Report, Vec<String>) {
        let mut report = Report::default();
        let names = match &query.source {
            Source::Values { rows, types } => {
                report.fact("Class", Class::Local.name());
                report.fact("Values", format!("{} of {} columns", count(rows.len(), "row"), types.len()));
                (1..=types.len()).map(|number| format!("column{number}")).collect()
            }
            Source::Point(point) => {
                report.fact("Class", Class::Direct.name());
                self.table(&mut report, &point.table, &point.keys);
                let names = column_names(&point.table, &point.columns);
                report.fact("Read", names.join(", "));
                names
            }
            Source::Scan(scan) => self.scan(&mut report, scan),
            Source::Join(join) => {
                report.fact("Class", Class::Relational.name());
                self.join(&mut report, join, self.rows)
            }
            Source::Set(set) => {
                let input;
                (report, input) = self.query(&set.input);
                set_text(&mut report, set, input)
            }
            Source::Shared { .. } | Source::Recursive(_) => {
                report.fact("Class", Class::Relational.name());
                self.recursive(&mut report, &query.source, self.rows)
            }
            Source::Combine(set) => {
                let read = query.scans();
                let class = if read.is_empty() { Class::Local } else { Class::Relational };
                report.fact("Class", class.name());
                self.combined(&mut report, set, self.rows)
            }
        };
        let names = add_steps(&mut report, "Merge", &query.steps, names);
        (report, names)
    }

    /// What is said about a scan and its fragment; answers the names of the fragment's columns.
    fn scan(&self, report: &mut Report, scan: &ScanPlan) -> Vec<String> {
        let class = match files::is_file(&scan.table) {
            true => Class::Relational,
            false => self.class_of(&scan.table, &scan.keys),
        };
        report.fact("Class", class.name());
        self.scan_lines(report, scan, self.rows.first().map(|scan| scan.rows), false)
    }

    /// As [`Explained::scan`], without the class. `qualified`: names of columns tell the table.
    fn scan_lines(
        &self,
        report: &mut Report,
        scan: &ScanPlan,
        rows: Option<f64>,
        qualified: bool,
    ) -> Vec<String> {
        self.table(report, &scan.table, &scan.keys);
        if let Some(rows) = rows {
            let rows = rows.round();
            report.number("Rows", rows, format!("about {rows} with these keys"));
        }
        match key_order(scan) {
            Some(KeyOrder::Ascending) => report.fact("Order", "keys rise, until there are enough rows"),
            Some(KeyOrder::Descending) => report.fact("Order", "keys fall, until there are enough rows"),
            None => {}
        }
        self.seen.tell_scan(report, scan);
        let mut names = column_names(&scan.table, &scan.columns);
        if qualified {
            names.iter_mut().for_each(|name| *name = format!("{}.{name}", scan.table.name));
        }
        let what =
            if names.is_empty() { "nothing but the number of rows".to_owned() } else { names.join(", ") };
        report.fact("Fragment", format!("read {what}{}", pushed_text(&scan.table, &scan.pushed)));
        add_steps(report, "Fragment", &scan.fragment, names)
    }

    fn class_of(&self, table: &Table, keys: &KeyFilter) -> Class {
        let narrow =
            keys.point_count().is_some() || (!keys.is_empty() && self.ranges(table, keys).len() <= 1);
        if narrow { Class::Direct } else { Class::Scatter }
    }

    /// The ranges that are read, as (number of range, core).
    fn ranges(&self, table: &Table, keys: &KeyFilter) -> BTreeSet<(usize, u16)> {
        let table = self.catalog.table(table.id).map_or(table, |table| table);
        let spans: Vec<KeySpan> = match keys.keys(self.context) {
            Ok(Keys::Points(points)) => points.into_iter().map(KeySpan::point).collect(),
            Ok(Keys::Spans(spans)) => spans,
            Err(_) => vec![KeySpan::all()],
        };
        let ranges = table.ranges.iter().enumerate();
        let read = ranges.filter(|(_, range)| spans.iter().any(|span| range.span.intersect(span).is_some()));
        read.map(|(number, range)| (number, range.core.0)).collect()
    }

    fn table(&self, report: &mut Report, table: &Table, keys: &KeyFilter) {
        if files::is_file(table) {
            return report.fact("File", &*table.name);
        }
        report.fact("Table", &*table.name);
        report.fact("Keys", keys_text(table, keys));
        match keys.keys(self.context) {
            Ok(Keys::Points(points)) if points.len() != 1 => {
                report.number("Spans", points.len() as f64, count(points.len(), "key"))
            }
            Ok(Keys::Spans(spans)) if spans.len() != 1 => {
                report.number("Spans", spans.len() as f64, spans.len().to_string())
            }
            _ => {}
        }
        let read = self.ranges(table, keys);
        let cores: BTreeSet<u16> = read.iter().map(|(_, core)| *core).collect();
        let cores: Vec<String> = cores.iter().map(u16::to_string).collect();
        let all = self.catalog.table(table.id).map_or(table.ranges.len(), |table| table.ranges.len());
        let on = match cores.len() {
            0 => String::new(),
            1 => format!(" on core {}", cores[0]),
            _ => format!(" on cores {}", cores.join(", ")),
        };
        report.fact("Ranges", format!("{} of {all}{on}", read.len()));
    }

    fn insert(&self, insert: &InsertPlan) -> Report {
        let mut report = Report::default();
        match &insert.source {
            InsertRows::Cells(rows) => {
                report.fact("Class", Class::Direct.name());
                report.fact("Insert into", format!("{}, {}", insert.table.name, count(rows.len(), "row")));
            }
            InsertRows::Query(query) => {
                report.extend(self.query(query).0);
                report.fact("Insert into", &*insert.table.name);
            }
        }
        match &insert.conflict {
            None => {}
            Some(Conflict::DoNothing) => report.fact("On conflict", "do nothing"),
            Some(Conflict::Update { assignments, condition }) => {
                let columns = column_names(&insert.table, &(0..insert.types.len()).collect::<Vec<_>>());
                let excluded = columns.iter().map(|name| format!("excluded.{name}"));
                let names: Vec<String> = columns.iter().cloned().chain(excluded).collect();
                report
                    .fact("On conflict", format!("set {}", assignments_text(assignments, &columns, &names)));
                if let Some(condition) = condition {
                    report.fact("On conflict", format!("where {}", expr_text(condition, &names)));
                }
            }
        }
        add_returning(&mut report, insert.returning.as_ref(), &[], &insert.table);
        report
    }

    fn modify(&self, modify: &ModifyPlan) -> Report {
        let (mut report, names) = self.query(&modify.rows);
        let table = &modify.table;
        match &modify.action {
            Action::Delete => report.fact("Delete from", &*table.name),
            Action::Lock(_) => report.fact("Lock rows of", &*table.name),
            Action::Update(columns) => {
                let values = &names[names.len() - columns.len()..];
                let set = column_names(table, columns).into_iter().zip(values);
                let set: Vec<String> = set.map(|(column, value)| format!("{column} = {value}")).collect();
                report.fact("Update", format!("{}, set {}", table.name, set.join(", ")));
            }
        }
        add_returning(&mut report, modify.returning.as_ref(), &names, table);
        report
    }
}

/// Adds what is said about functions that answer rows; answers the names of all columns.
fn set_text(report: &mut Report, set: &SetPlan, mut names: Vec<String>) -> Vec<String> {
    let mut calls = Vec::with_capacity(set.calls.len());
    let mut added = Vec::new();
    for call in &set.calls {
        calls.push(format!("{}({})", call.function.name, list_text(call.args.iter(), &names)));
        added.extend(call.columns().into_iter().map(|(name, _)| name.to_owned()));
    }
    let counted = if set.ordinality { ", counted" } else { "" };
    let outer = if set.keeps_input { ", with all rows" } else { "" };
    report.fact("Rows of", format!("{}{counted}{outer}", calls.join(", ")));
    names.extend(added);
    names.extend(set.ordinality.then(|| "ordinality".to_owned()));
    names
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn column_names(table: &Table, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|column| table.schema.columns[*column].name.clone()).collect()
}

fn assignments_text(assignments: &[(usize, Expr)], columns: &[String], names: &[String]) -> String {
    let text = |(column, expr): &(usize, Expr)| format!("{} = {}", columns[*column], expr_text(expr, names));
    assignments.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// What is answered about rows of a table, behind whose columns those of joined tables may be in what was read.
fn add_returning(report: &mut Report, returning: Option<&Returning>, read: &[String], table: &Table) {
    if let Some(returning) = returning {
        let mut names = column_names(table, &(0..table.schema.columns.len()).collect::<Vec<_>>());
        names.extend(read.iter().skip(names.len()).cloned());
        report.fact("Return", list_text(returning.exprs.iter(), &names));
    }
}

/// The conditions that the engine evaluates.
fn pushed_text(table: &Table, pushed: &[Pushed]) -> String {
    if pushed.is_empty() {
        return String::new();
    }
    let names = column_names(table, &(0..table.schema.columns.len()).collect::<Vec<_>>());
    let parts: Vec<String> = pushed.iter().map(|pushed| expr_text(&pushed.expr, &names)).collect();
    format!(" where {}", parts.join(" AND "))
}

fn keys_text(table: &Table, keys: &KeyFilter) -> String {
    if keys.is_empty() {
        return "all".to_owned();
    }
    let name = |position: usize| {
        table.schema.key.get(position).map_or("", |column| table.schema.columns[*column].name.as_str())
    };
    let mut parts: Vec<String> = keys
        .equal
        .iter()
        .enumerate()
        .map(|(position, equality)| match equality.values.as_slice() {
            [value] => format!("{} = {}", name(position), expr_text(value, &[])),
            values => format!("{} in ({})", name(position), list_text(values.iter(), &[])),
        })
        .collect();
    parts.extend(keys.bounds.iter().map(|bound| {
        let operator = match (bound.side, bound.inclusive) {
            (Side::Lower, true) => ">=",
            (Side::Lower, false) => ">",
            (Side::Upper, true) => "<=",
            (Side::Upper, false) => "<",
        };
        format!("{} {operator} {}", name(keys.equal.len()), expr_text(&bound.value, &[]))
    }));
    parts.join(", ")
}

/// Adds a line for each step; answers the names of the last one's columns.
fn add_steps(
    report: &mut Report,
    place: &'static str,
    steps: &[Step],
    mut names: Vec<String>,
) -> Vec<String> {
    for step in steps {
        let text = match step {
            Step::Stage(stage) => stage_text(stage, &mut names),
            Step::TopK { keys, limit, offset } => {
                let rows = match offset {
                    Some(offset) => format!("{} + {}", expr_text(limit, &[]), expr_text(offset, &[])),
                    None => expr_text(limit, &[]),
                };
                format!("first {rows} by {}", order_text(keys, &names))
            }
            Step::AtMost { limit, offset: None } => format!("any {}", expr_text(limit, &[])),
            Step::AtMost { limit, offset: Some(offset) } => {
                format!("any {} + {}", expr_text(limit, &[]), expr_text(offset, &[]))
            }
            Step::Ties { columns, limit, offset } => {
                let offset = offset.as_ref().map(|offset| format!(" offset {}", expr_text(offset, &[])));
                let (limit, columns) = (expr_text(limit, &[]), columns_text(columns, &names));
                format!("limit {limit}{}, with ties in {columns}", offset.unwrap_or_default())
            }
            Step::LimitBy { groups, limit, offset, ties } => {
                let text = limit_by_text(limit.as_ref(), offset.as_ref(), ties.as_deref(), &names);
                format!("{text} of each {}", columns_text(groups, &names))
            }
            Step::Limit { limit, offset } => {
                let limit = limit.as_ref().map(|limit| format!("limit {}", expr_text(limit, &[])));
                let offset = offset.as_ref().map(|offset| format!("offset {}", expr_text(offset, &[])));
                limit.into_iter().chain(offset).collect::<Vec<_>>().join(" ")
            }
        };
        report.fact(place, text);
    }
    names
}

fn stage_text(stage: &Stage, names: &mut Vec<String>) -> String {
    match stage {
        Stage::Filter(conjuncts) => {
            let parts: Vec<String> = conjuncts.iter().map(|expr| expr_text(expr, names)).collect();
            format!("filter {}", parts.join(" AND "))
        }
        Stage::Project(exprs) => {
            *names = exprs.iter().map(|expr| expr_text(expr, names)).collect();
            format!("compute {}", names.join(", "))
        }
        Stage::Aggregate { groups, aggregates, mode } => {
            // Aggregates of a merge name columns of the fragment; what they are called was said there.
            let groups: Vec<String> = groups.iter().map(|group| expr_text(group, names)).collect();
            let computed: Vec<String> = match mode {
                AggregateMode::Final => names[groups.len().min(names.len())..].to_vec(),
                _ => aggregates.iter().map(|aggregate| aggregate_text(aggregate, names)).collect(),
            };
            *names = groups.iter().chain(&computed).cloned().collect();
            let word = match mode {
                AggregateMode::Partial => "partial ",
                AggregateMode::Final => "final ",
                AggregateMode::Complete => "",
            };
            match (groups.is_empty(), computed.is_empty()) {
                (_, true) => format!("{word}distinct {}", groups.join(", ")),
                (true, false) => format!("{word}aggregate {}", computed.join(", ")),
                (false, false) => format!("{word}aggregate {} by {}", computed.join(", "), groups.join(", ")),
            }
        }
        Stage::Expand { groups, sets } => {
            let groups: Vec<String> = groups.iter().map(|group| expr_text(group, names)).collect();
            let set = |set: &Vec<bool>| {
                let own = groups.iter().zip(set).filter(|(_, own)| **own);
                format!("({})", own.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "))
            };
            let text = format!("once for each of {}", sets.iter().map(set).collect::<Vec<_>>().join(", "));
            *names = groups.into_iter().chain(["grouping set".to_owned()]).chain(names.drain(..)).collect();
            text
        }
        Stage::Probe(_) => "join with the build side".to_owned(),
        Stage::EmptySets { sets, .. } => format!("{} without rows", count(sets.len(), "grouping set")),
        Stage::FirstOf(columns) => format!("first of each {}", columns_text(columns, names)),
        Stage::Ties { columns, offset, count } => {
            format!("limit {count} offset {offset}, with ties in {}", columns_text(columns, names))
        }
        Stage::Window(window) => {
            let text = window_text(window, names);
            names.extend(window.calls.iter().map(|call| call_name(call, names)).collect::<Vec<_>>());
            text
        }
        Stage::TopK { keys, count } => format!("first {count} by {}", order_text(keys, names)),
        Stage::Sort(keys) => format!("sort by {}", order_text(keys, names)),
        Stage::LimitBy { groups, limit, offset, ties } => {
            let text = limit_by_text(limit.as_ref(), offset.as_ref(), ties.as_deref(), names);
            format!("{text} of each {}", columns_text(groups, names))
        }
        Stage::Limit { offset, count } => format!("limit {count} offset {offset}"),
    }
}

fn limit_by_text(
    limit: Option<&Expr>,
    offset: Option<&Expr>,
    ties: Option<&[usize]>,
    names: &[String],
) -> String {
    let limit = limit.map(|limit| format!("limit {}", expr_text(limit, names)));
    let offset = offset.map(|offset| format!("offset {}", expr_text(offset, names)));
    let ties = ties.map(|ties| format!("with ties in {}", columns_text(ties, names)));
    limit.into_iter().chain(offset).chain(ties).collect::<Vec<_>>().join(" ")
}

fn columns_text(columns: &[usize], names: &[String]) -> String {
    let name = |column: &usize| names.get(*column).cloned().unwrap_or_else(|| format!("#{column}"));
    columns.iter().map(name).collect::<Vec<_>>().join(", ")
}
