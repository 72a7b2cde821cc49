//! What is known about the rows of a table without reading them. Plans are chosen by it; answers never depend on it.
//!
//! Zone maps say which part of a table's segments a filter can be true in, and within a block how much of the interval
//! between its smallest and largest value. Sketches that come with segments say how many different values a column has,
//! and intervals bound those of whole numbers. Rows that are in memory only are taken to be like those in segments.

use std::sync::Arc;

use crate::filter::is_whole;
use crate::sketch::Sketch;
use crate::types::PgType;

/// What is known about the rows of a table in some spans of keys.
#[derive(Clone, Debug, Default)]
pub struct TableStatistics {
    /// About how many there are.
    pub rows: f64,
    /// About how many of them pass the filters; none if nothing tells.
    pub matching: Option<f64>,
    /// For each column of the table what its segments say; empty if there are none.
    pub columns: Arc<[ColumnStatistics]>,
}

/// What is known about a column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnStatistics {
    pg_type: PgType,
    /// Images of the smallest and the largest value; the first is larger if there is none.
    bounds: (u64, u64),
    /// Its different values.
    sketch: Sketch,
}

impl ColumnStatistics {
    /// A column with values whose images lie within bounds.
    pub(crate) fn new(pg_type: PgType, bounds: (u64, u64), sketch: Sketch) -> ColumnStatistics {
        ColumnStatistics { pg_type, bounds, sketch }
    }

    /// About how many different values there are among so many rows; none if there is no value.
    pub fn distinct(&self, rows: f64) -> Option<f64> {
        let (min, max) = self.bounds;
        let width = if is_whole(self.pg_type) { (max.checked_sub(min)?) as f64 + 1.0 } else { f64::INFINITY };
        (min <= max).then(|| self.sketch.estimate().min(width).min(rows).max(1.0))
    }

    /// Bytes of memory.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + Sketch::BYTES
    }

    /// Those of more rows: of the same column, elsewhere.
    fn merge(&mut self, other: &ColumnStatistics) {
        self.bounds = (self.bounds.0.min(other.bounds.0), self.bounds.1.max(other.bounds.1));
        self.sketch.merge(&other.sketch);
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
        } else if !other.columns.is_empty() {
            let columns = Arc::make_mut(&mut self.columns);
            columns.iter_mut().zip(&*other.columns).for_each(|(one, other)| one.merge(other));
        }
    }
}

fn share(matching: f64, rows: f64) -> f64 {
    if rows > 0.0 { matching / rows } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::ColumnBuf;
    use crate::filter::image;

    fn sketch(values: impl Iterator<Item = i32>) -> Sketch {
        let mut column = ColumnBuf::with_capacity(PgType::Int4, 0, 0);
        let rows = values.map(|value| column.push(Some(&value.to_le_bytes()))).count();
        let mut sketch = Sketch::new();
        sketch.add(PgType::Int4, column.view(), rows);
        sketch
    }

    fn whole(min: i32, max: i32, values: impl Iterator<Item = i32>) -> ColumnStatistics {
        let of = |value: i32| image(PgType::Int4, &value.to_le_bytes());
        ColumnStatistics::new(PgType::Int4, (of(min), of(max)), sketch(values))
    }

    #[test]
    fn intervals_sketches_and_rows_bound_what_is_different() {
        assert_eq!(whole(-5, 4, -1_000..1_000).distinct(1_000.0), Some(10.0));
        assert_eq!(whole(-5, 4, -1_000..1_000).distinct(3.0), Some(3.0));
        assert_eq!(whole(0, 1_000_000, 0..7).distinct(1_000.0), Some(7.0));
        assert_eq!(whole(1, 0, 0..0).distinct(1_000.0), None);
        let text = |bounds| ColumnStatistics::new(PgType::Text, bounds, sketch(0..3));
        assert_eq!(text((0, 9)).distinct(50.0), Some(3.0));
        assert_eq!(text((u64::MAX, 0)).distinct(50.0), None);
    }

    #[test]
    fn parts_of_a_table_add_up() {
        let part = |rows, matching, min, max| {
            let columns = [whole(min, max, min..=max)].into();
            TableStatistics { rows, matching, columns }
        };
        let mut all = part(100.0, Some(10.0), 0, 9);
        all.merge(&part(100.0, Some(30.0), 20, 29));
        assert_eq!((all.rows, all.matching), (200.0, Some(40.0)));
        let distinct = all.columns[0].distinct(1_000.0).expect("told");
        assert!((18.0..=22.0).contains(&distinct), "{distinct}");
        // In memory only.
        all.merge(&TableStatistics { rows: 100.0, matching: None, columns: Arc::default() });
        assert_eq!((all.rows, all.matching), (300.0, Some(60.0)));
        let mut none = TableStatistics { rows: 100.0, matching: None, columns: Arc::default() };
        none.merge(&part(10.0, Some(1.0), 0, 4));
        assert_eq!((none.rows, none.matching), (110.0, Some(11.0)));
        assert_eq!(none.columns[0].distinct(1_000.0), Some(5.0));
    }
}
