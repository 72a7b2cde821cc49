//! Answers as tables, laid out as psql does.

use std::io::{self, Write};

use crate::client::ResultColumn;

/// How NULL is shown; psql shows nothing, which looks like an empty text.
const NULL: &str = "NULL";

/// OIDs of the types whose values are aligned to the right: int2, int4, int8, float4, float8, numeric, oid.
const RIGHT: [u32; 7] = [21, 23, 20, 700, 701, 1700, 26];

/// Prints a table and the number of its rows.
pub fn print(out: &mut impl Write, columns: &[ResultColumn], rows: &[Vec<Option<String>>]) -> io::Result<()> {
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let widths: Vec<usize> =
        columns.iter().enumerate().map(|(index, column)| width(index, column, &cells)).collect();
    let header = columns.iter().zip(&widths).map(|(column, width)| format!(" {:^width$} ", column.name));
    writeln!(out, "{}", header.collect::<Vec<_>>().join("|").trim_end())?;
    let rule = widths.iter().map(|width| "-".repeat(width + 2));
    writeln!(out, "{}", rule.collect::<Vec<_>>().join("+"))?;
    for row in &cells {
        let cells = row.iter().zip(columns).zip(&widths).map(|((cell, column), width)| {
            if RIGHT.contains(&column.type_oid) {
                format!(" {cell:>width$} ")
            } else {
                format!(" {cell:<width$} ")
            }
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("|").trim_end())?;
    }
    writeln!(out, "({} row{})", rows.len(), if rows.len() == 1 { "" } else { "s" })
}

fn width(index: usize, column: &ResultColumn, cells: &[Vec<String>]) -> usize {
    let widest = cells.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max();
    widest.unwrap_or(0).max(column.name.chars().count())
}

/// A value in one line.
fn cell(value: &Option<String>) -> String {
    let Some(text) = value else { return NULL.to_owned() };
    if !text.contains(|c: char| c.is_control()) {
        return text.clone();
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_psql() {
        let column = |name: &str, type_oid| ResultColumn { name: name.to_owned(), type_oid };
        let columns = [column("carrier", 25), column("n", 20), column("average delay", 701)];
        let text = |text: &str| Some(text.to_owned());
        let rows = [vec![text("UA"), text("58665"), text("12.5")], vec![text("two\nlines"), text("7"), None]];
        let mut out = Vec::new();
        print(&mut out, &columns, &rows).unwrap();
        let expected = "  carrier   |   n   | average delay
------------+-------+---------------
 UA         | 58665 |          12.5
 two\\nlines |     7 |          NULL
(2 rows)
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
