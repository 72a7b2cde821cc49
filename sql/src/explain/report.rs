//! What an explanation says, as lines for people and as JSON for programs.

use crate::types::json::Value;

/// Facts in order, and reports about parts.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Entry>);

#[derive(Debug)]
enum Entry {
    Fact(&'static str, Said),
    Part(String, Report),
    Of(&'static str, String, Report),
    Member(&'static str, Report),
}

#[derive(Debug)]
enum Said {
    Text(String),
    /// A number, and how a line tells it.
    Number(f64, String),
    /// Numbers of different things.
    Counts(Vec<(&'static str, u64)>),
}

impl Report {
    /// Adds a fact.
    pub(crate) fn fact(&mut self, about: &'static str, text: impl Into<String>) {
        self.0.push(Entry::Fact(about, Said::Text(text.into())));
    }

    /// Adds a number, which lines tell as `text`.
    pub(crate) fn number(&mut self, about: &'static str, number: f64, text: impl Into<String>) {
        self.0.push(Entry::Fact(about, Said::Number(number, text.into())));
    }

    /// Adds numbers of different things.
    pub(crate) fn counts(&mut self, about: &'static str, counts: &[(&'static str, u64)]) {
        self.0.push(Entry::Fact(about, Said::Counts(counts.to_vec())));
    }

    /// Adds a report about a part.
    pub(crate) fn part(&mut self, name: impl Into<String>, part: Report) {
        self.0.push(Entry::Part(name.into(), part));
    }

    /// Adds another report; lines tell it as if it were said here.
    pub(crate) fn member(&mut self, name: &'static str, other: Report) {
        self.0.push(Entry::Member(name, other));
    }

    /// Adds a fact with a report about what it names.
    pub(crate) fn of(&mut self, about: &'static str, text: impl Into<String>, part: Report) {
        self.0.push(Entry::Of(about, text.into(), part));
    }

    /// Adds what another report says.
    pub(crate) fn extend(&mut self, other: Report) {
        self.0.extend(other.0);
    }

    /// A line for each fact; those about parts are further to the right.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.add_lines(0, &mut lines);
        lines
    }

    fn add_lines(&self, indent: usize, lines: &mut Vec<String>) {
        for entry in &self.0 {
            match entry {
                Entry::Fact(about, said) => lines.push(format!("{:indent$}{about}: {}", "", said.text())),
                Entry::Part(name, part) => {
                    lines.push(format!("{:indent$}  {name}:", ""));
                    part.add_lines(indent + 4, lines);
                }
                Entry::Member(_, part) => part.add_lines(indent, lines),
                Entry::Of(about, text, part) => {
                    lines.push(format!("{:indent$}{about}: {text}", ""));
                    part.add_lines(indent + 2, lines);
                }
            }
        }
    }

    /// An object with a member for each fact and part. What is said several times is an array of what was said.
    pub(crate) fn json(&self) -> Value {
        Value::Object(self.members())
    }

    fn members(&self) -> Vec<(String, Value)> {
        let mut members: Vec<(String, Vec<Value>)> = Vec::new();
        for entry in &self.0 {
            let (name, value) = match entry {
                Entry::Fact(about, said) => (*about, said.json()),
                Entry::Member(name, part) => (*name, Value::Object(part.members())),
                Entry::Part(name, part) => (name.as_str(), Value::Object(part.members())),
                Entry::Of(about, text, part) => {
                    let mut members = vec![("What".to_owned(), Value::String(text.clone()))];
                    members.extend(part.members());
                    (*about, Value::Object(members))
                }
            };
            match members.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(value),
                None => members.push((name.to_owned(), vec![value])),
            }
        }
        let member = |(name, mut values): (String, Vec<Value>)| match values.len() {
            1 => (name, values.remove(0)),
            _ => (name, Value::Array(values)),
        };
        members.into_iter().map(member).collect()
    }
}

impl Said {
    fn text(&self) -> String {
        match self {
            Said::Text(text) | Said::Number(_, text) => text.clone(),
            Said::Counts(counts) => {
                let each = counts.iter().map(|(what, count)| format!("{count} {what}"));
                each.collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Said::Text(text) => Value::String(text.clone()),
            Said::Number(number, _) => Value::Scalar(number.to_string()),
            Said::Counts(counts) => {
                let members =
                    counts.iter().map(|(what, count)| ((*what).to_owned(), Value::Scalar(count.to_string())));
                Value::Object(members.collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_json_say_the_same() {
        let mut part = Report::default();
        part.fact("Table", "t");
        part.number("Rows", 5.0, "about 5");
        let mut report = Report::default();
        report.fact("Class", "scatter");
        report.fact("Merge", "sort by a");
        report.fact("Merge", "limit 1");
        report.part("Probe", part);
        let mut first = Report::default();
        first.fact("Class", "local");
        report.of("First", "$1 is the value of", first);
        report.counts("Blocks", &[("read", 1), ("pruned", 2)]);
        assert_eq!(
            report.lines(),
            [
                "Class: scatter",
                "Merge: sort by a",
                "Merge: limit 1",
                "  Probe:",
                "    Table: t",
                "    Rows: about 5",
                "First: $1 is the value of",
                "  Class: local",
                "Blocks: 1 read, 2 pruned"
            ]
        );
        let text = concat!(
            r#"{"Class": "scatter", "Merge": ["sort by a", "limit 1"], "Probe": {"Table": "t", "Rows": 5}, "#,
            r#""First": {"What": "$1 is the value of", "Class": "local"}, "#,
            r#""Blocks": {"read": 1, "pruned": 2}}"#
        );
        assert_eq!(report.json().to_text(), text);
    }
}
