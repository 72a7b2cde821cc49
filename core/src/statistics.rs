//! What is known about the rows of a table without reading them. Plans are chosen by it; answers never depend on it.
//!
//! Zone maps say which part of a table's segments a filter can be true in, and within a block how much of the interval
//! between its smallest and largest value; the same intervals bound how many different whole numbers a column has, and
//! dictionaries count the values of others. Rows that are in memory only are taken to be like those in segments.

use crate::filter::is_whole;
use crate::types::PgType;

/// What is known about the rows of a table in some spans of keys.
#[derive(Clone, Debug, Default)]
pub struct TableStatistics {
    /// About how many there are.
    pub rows: f64,
    /// About how many of them pass the filters; none if nothing tells.
    pub matching: Option<f64>,
    /// For each column of the table what its segments say; empty if there are none.
    pub columns: Vec<ColumnStatistics>,
}

/// What is known about a column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnStatistics {
    pg_type: PgType,
    /// Images of the smallest and the largest value; the first is larger if there is none.
    bounds: (u64, u64),
    /// How many different values dictionaries have, if they have all.
    listed: Option<usize>,
}

impl ColumnStatistics {
    /// A column with values whose images lie within bounds.
    pub(crate) fn new(pg_type: PgType, bounds: (u64, u64), listed: Option<usize>) -> ColumnStatistics {
        ColumnStatistics { pg_type, bounds, listed }
    }

    /// About how many different values there are among so many rows; none if nothing tells.
    pub fn distinct(&self, rows: f64) -> Option<f64> {
        let (min, max) = self.bounds;
        let width = (is_whole(self.pg_type) && min <= max).then(|| (max - min) as f64 + 1.0);
        let listed = self.listed.map(|count| count as f64);
        let most = match (width, listed) {
            (Some(width), Some(listed)) => width.min(listed),
            (one, other) => one.or(other)?,
        };
        Some(most.min(rows).max(1.0))
    }

    /// Those of more rows: of the same column, elsewhere.
    fn merge(&mut self, other: &ColumnStatistics) {
        self.bounds = (self.bounds.0.min(other.bounds.0), self.bounds.1.max(other.bounds.1));
        self.listed = self.listed.zip(other.listed).map(|(one, other)| one.max(other));
    }
}

impl TableStatistics {
    /// Adds those of other rows. What is known of the larger part holds for rows of which nothing is known.
    pub fn merge(&mut self, other: &TableStatistics) {
        self.matching = match (self.matching, other.matching) {
            (Some(one), Some(other)) => Some(one + other),
            (Some(matching), None) => Some(matching + other.rows * share(matching, self.rows)),
            (None, Some(matching)) => Some(matching + self.rows * share(matching, other.rows)),
            (None, None) => None,
        };
        self.rows += other.rows;
        if self.columns.is_empty() {
            self.columns.clone_from(&other.columns);
        } else {
            self.columns.iter_mut().zip(&other.columns).for_each(|(one, other)| one.merge(other));
        }
    }
}

fn share(matching: f64, rows: f64) -> f64 {
    if rows > 0.0 { matching / rows } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::image;

    fn whole(min: i32, max: i32, listed: Option<usize>) -> ColumnStatistics {
        let of = |value: i32| image(PgType::Int4, &value.to_le_bytes());
        ColumnStatistics::new(PgType::Int4, (of(min), of(max)), listed)
    }

    #[test]
    fn intervals_dictionaries_and_rows_bound_what_is_different() {
        assert_eq!(whole(-5, 4, None).distinct(1_000.0), Some(10.0));
        assert_eq!(whole(-5, 4, None).distinct(3.0), Some(3.0));
        assert_eq!(whole(0, 1_000_000, Some(7)).distinct(1_000.0), Some(7.0));
        assert_eq!(whole(1, 0, None).distinct(1_000.0), None);
        assert_eq!(ColumnStatistics::new(PgType::Text, (0, 9), None).distinct(50.0), None);
        assert_eq!(ColumnStatistics::new(PgType::Text, (0, 9), Some(3)).distinct(50.0), Some(3.0));
    }

    #[test]
    fn parts_of_a_table_add_up() {
        let part = |rows, matching, min, max| {
            let columns = vec![whole(min, max, None)];
            TableStatistics { rows, matching, columns }
        };
        let mut all = part(100.0, Some(10.0), 0, 9);
        all.merge(&part(100.0, Some(30.0), 20, 29));
        assert_eq!((all.rows, all.matching), (200.0, Some(40.0)));
        assert_eq!(all.columns[0].distinct(1_000.0), Some(30.0));
        // In memory only.
        all.merge(&TableStatistics { rows: 100.0, matching: None, columns: Vec::new() });
        assert_eq!((all.rows, all.matching), (300.0, Some(60.0)));
        let mut none = TableStatistics { rows: 100.0, matching: None, columns: Vec::new() };
        none.merge(&part(10.0, Some(1.0), 0, 9));
        assert_eq!((none.rows, none.matching), (110.0, Some(11.0)));
        assert_eq!(none.columns[0].distinct(1_000.0), Some(10.0));
    }
}
