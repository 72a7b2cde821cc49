//! TPC-H at a hundredth of its scale: tables, rows and queries of `tests/data/tpch`, and PostgreSQL's answers.

use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

use crate::wire::Answer;

/// How large the tables are.
const SCALE: f64 = 0.01;
/// How many queries there are.
pub const QUERIES: usize = 22;
/// The tables, each behind those that it refers to.
pub const TABLES: [&str; 8] =
    ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tpch")
}

/// The statements that make the tables.
///
/// # Panics
/// If the file cannot be read.
pub fn schema() -> String {
    std::fs::read_to_string(folder().join("schema.sql")).unwrap()
}

/// A query, numbered from 1.
///
/// # Panics
/// If the file cannot be read.
pub fn query(number: usize) -> String {
    std::fs::read_to_string(folder().join(format!("q{number:02}.sql"))).unwrap()
}

/// Where the answers are.
pub fn answers_path() -> PathBuf {
    folder().join("answers.txt")
}

/// The answers of all queries as [`answer_text`] writes them.
///
/// # Panics
/// If the file cannot be read.
pub fn answers() -> Vec<String> {
    let text = std::fs::read_to_string(answers_path()).unwrap();
    text.split("-- q").skip(1).map(|part| part.split_once('\n').unwrap().1.to_owned()).collect()
}

/// An answer as lines of values with `|` between them.
pub fn answer_text(answer: &Answer) -> String {
    let mut text = String::new();
    for row in &answer.rows {
        let values: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
        text += &values.join("|");
        text.push('\n');
    }
    text
}

/// The rows of a table as lines for `COPY .. WITH (DELIMITER '|')`.
///
/// # Panics
/// If there is no such table.
pub fn lines(table: &str) -> Vec<String> {
    match table {
        "region" => all(RegionGenerator::new(SCALE, 1, 1).iter()),
        "nation" => all(NationGenerator::new(SCALE, 1, 1).iter()),
        "supplier" => all(SupplierGenerator::new(SCALE, 1, 1).iter()),
        "customer" => all(CustomerGenerator::new(SCALE, 1, 1).iter()),
        "part" => all(PartGenerator::new(SCALE, 1, 1).iter()),
        "partsupp" => all(PartSuppGenerator::new(SCALE, 1, 1).iter()),
        "orders" => all(OrderGenerator::new(SCALE, 1, 1).iter()),
        "lineitem" => all(LineItemGenerator::new(SCALE, 1, 1).iter()),
        other => panic!("TPC-H has no table {other}"),
    }
}

/// Rows end with a `|` of their own.
fn all(rows: impl Iterator<Item: Display>) -> Vec<String> {
    rows.map(|row| {
        let mut line = String::new();
        let _ = write!(line, "{row}");
        assert_eq!(line.pop(), Some('|'));
        line.push('\n');
        line
    })
    .collect()
}
