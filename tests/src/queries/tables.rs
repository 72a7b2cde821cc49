//! The tables.

use super::{Generator, Type};
use crate::rng::Rng;

/// Names and types of a table's columns; how many of the first make its key.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Type)],
    pub(super) key: usize,
}

pub(super) const TABLES: [Table; 5] = [
    Table {
        name: "t0",
        columns: &[
            ("id", Type::Int),
            ("a", Type::Int),
            ("s", Type::Text),
            ("d", Type::Date),
            ("ok", Type::Bool),
        ],
        key: 1,
    },
    Table {
        name: "t1",
        columns: &[("k", Type::Int), ("s", Type::Text), ("n", Type::Numeric), ("b", Type::Big)],
        key: 2,
    },
    Table { name: "t2", columns: &[("id", Type::Big), ("a", Type::Int), ("n", Type::Numeric)], key: 1 },
    Table {
        name: "t3",
        columns: &[
            ("s", Type::Text),
            ("b", Type::Big),
            ("d", Type::Date),
            ("ok", Type::Bool),
            ("a", Type::Int),
        ],
        key: 0,
    },
    Table { name: "t4", columns: &[("d", Type::Date), ("a", Type::Int), ("s", Type::Text)], key: 1 },
];

/// The statements that make the tables and their rows. Some rows are on disk, some in memory only, some have changed.
pub fn statements(rng: &mut Rng) -> Vec<String> {
    let mut generator = Generator::new(rng.fork());
    let mut out = Vec::new();
    for table in &TABLES {
        let mut columns: Vec<String> = table.columns.iter().map(|(name, kind)| column(name, *kind)).collect();
        if table.key > 0 {
            let key: Vec<&str> = table.columns[..table.key].iter().map(|(name, _)| *name).collect();
            columns.push(format!("primary key ({})", key.join(", ")));
        }
        out.push(format!("create table {} ({})", table.name, columns.join(", ")));
    }
    for part in 0..3 {
        for table in &TABLES {
            out.extend(generator.inserts(table));
            if part > 0 && generator.chance(50) {
                let change = generator.change(table);
                out.push(change);
            }
        }
        if part < 2 && generator.chance(70) {
            out.push("checkpoint".to_owned());
        }
    }
    out
}

fn column(name: &str, kind: Type) -> String {
    match kind {
        Type::Numeric => format!("{name} numeric(8,2)"),
        kind => format!("{name} {}", kind.name()),
    }
}

impl Generator {
    fn inserts(&mut self, table: &Table) -> Option<String> {
        let count = self.pick(&[0, 1, 4, 9]);
        let rows: Vec<String> = (0..count)
            .map(|_| {
                let values: Vec<String> = table
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(index, (_, kind))| {
                        if index >= table.key && self.chance(20) {
                            "null".to_owned()
                        } else {
                            self.value(*kind, index < table.key)
                        }
                    })
                    .collect();
                format!("({})", values.join(", "))
            })
            .collect();
        let conflict = if table.key > 0 { " on conflict do nothing" } else { "" };
        (count > 0).then(|| format!("insert into {} values {}{conflict}", table.name, rows.join(", ")))
    }

    fn change(&mut self, table: &Table) -> String {
        let key = table.columns[0];
        let value = self.value(key.1, true);
        let of = self.pick(&["=", ">", "<"]);
        if self.chance(40) {
            return format!("delete from {} where {} {of} {value}", table.name, key.0);
        }
        let (name, kind) =
            table.columns[table.key + self.rng.below((table.columns.len() - table.key) as u64) as usize];
        let new = if self.chance(20) { "null".to_owned() } else { self.value(kind, false) };
        format!("update {} set {name} = {new} where {} {of} {value}", table.name, key.0)
    }

    /// A value as a literal; from more different ones if it is part of a key.
    pub(super) fn value(&mut self, kind: Type, wide: bool) -> String {
        let number = self.rng.below(if wide { 25 } else { 7 }) as i64 - 2;
        match kind {
            Type::Int | Type::Big if number < 0 => format!("({number})"),
            Type::Int | Type::Big => number.to_string(),
            Type::Numeric => {
                let cents = self.pick(&[0, 25, 50, 99]);
                if number < 0 { format!("({number}.{cents:02})") } else { format!("{number}.{cents:02}") }
            }
            Type::Text => {
                format!("'{}'", self.pick(&["", "a", "b", "ab", "B", "€", "a%", "zz", "10", "a b"]))
            }
            Type::Date => format!(
                "date '2020-{:02}-{:02}'",
                1 + self.below(3),
                1 + self.below(if wide { 20 } else { 3 })
            ),
            Type::Bool => self.pick(&["true", "false"]).to_owned(),
        }
    }
}
