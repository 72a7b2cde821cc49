//! The row of an integer in a block whose integers rise: the line that they are stored along, inverted.
//!
//! The line names a row; the integer there says how far the next guess is, as in Newton's method, until it is near. What
//! was seen on both sides bounds the answer, so that neither a wrong line nor integers that do not rise lead out of the
//! rows; what is left between the bounds is searched by halves.

use std::ops::Range;

use crate::learned::search::partition_point_far;

/// Fewer rows are searched by halves at once.
const ROWS_MIN: usize = 32;
/// Guesses along the line: the third is near on keys with random gaps.
const GUESSES_MAX: usize = 3;
/// Rows within which a guess is near.
const NEAR: f64 = 4.0;
/// First step from a guess to the other side of the answer.
const STEP: usize = 4;

/// Integers that rise along a line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Line {
    /// Where it begins.
    pub(super) row: usize,
    /// At that row.
    pub(super) start: i64,
    /// From row to row.
    pub(super) rise: f64,
}

/// `a - b`, exact before it becomes a float.
fn difference(a: i64, b: i64) -> f64 {
    let distance = a.abs_diff(b) as f64;
    if a < b { -distance } else { distance }
}

/// The first of these rows whose integer is at least `value`, or their end; `get` rises with the row.
pub(super) fn lower_bound(
    rows: Range<usize>,
    value: i64,
    line: Option<Line>,
    get: impl Fn(usize) -> i64,
) -> usize {
    let line = line.filter(|line| line.rise > 0.0 && rows.len() >= ROWS_MIN);
    let rows = match line {
        Some(line) => approach(rows, value, line, &get),
        None => rows,
    };
    partition_point_far(rows, |row| get(row) < value)
}

/// Bounds of the first row whose integer is at least `value`: it is one of these, or the one behind them.
fn approach(rows: Range<usize>, value: i64, line: Line, get: impl Fn(usize) -> i64) -> Range<usize> {
    let (mut low, mut high) = (rows.start, rows.end);
    let rows_per_unit = 1.0 / line.rise;
    let mut guess = line.row as f64 + difference(value, line.start) * rows_per_unit;
    let mut is_below = false;
    for _ in 0..GUESSES_MAX {
        if low >= high {
            return low..high;
        }
        let row = (guess as usize).clamp(low, high - 1);
        let found = get(row);
        if found == value && row > low && get(row - 1) < value {
            return row..row;
        }
        is_below = found < value;
        (low, high) = if is_below { (row + 1, high) } else { (low, row) };
        let off = difference(value, found) * rows_per_unit;
        if off.abs() < NEAR {
            break;
        }
        guess = row as f64 + off;
    }
    // One bound is near: steps that grow bring the other one near.
    let mut step = STEP;
    while step < high - low {
        let row = if is_below { low + step } else { high - step };
        let is_row_below = get(row) < value;
        (low, high) = if is_row_below { (row + 1, high) } else { (low, row) };
        if is_row_below != is_below {
            break;
        }
        step *= 4;
    }
    low..high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_gives_the_answer() {
        let shapes: [fn(i64) -> i64; 6] = [
            |row| row * 7,
            |row| row * row,
            |row| row / 50 * 1_000,
            |row| i64::MIN + row * 3,
            |row| if row < 500 { row } else { i64::MAX - 1_000 + row },
            |_| 5,
        ];
        let lines =
            [(0, 7.0), (0, 0.001), (-9, 1e300), (i64::MAX, 1.0), (i64::MIN, 3.0), (0, 0.0), (3, -2.0)];
        for shape in shapes {
            let ints: Vec<i64> = (0..1_000).map(shape).collect();
            let around = |int: &i64| [int.saturating_sub(1), *int, int.saturating_add(1)];
            let values: Vec<i64> =
                ints.iter().step_by(13).flat_map(around).chain([i64::MIN, 0, i64::MAX]).collect();
            for (start, rise) in lines {
                for rows in [0..1_000, 0..0, 3..700, 999..1_000, 400..431, 400..433] {
                    for value in &values {
                        let want = rows.start + ints[rows.clone()].partition_point(|int| int < value);
                        let line = Some(Line { row: 0, start, rise });
                        assert_eq!(lower_bound(rows.clone(), *value, line, |row| ints[row]), want, "{value}");
                        assert_eq!(lower_bound(rows.clone(), *value, None, |row| ints[row]), want, "{value}");
                    }
                }
            }
        }
    }

    #[test]
    fn integers_that_do_not_rise_lead_nowhere_else() {
        let ints: Vec<i64> = (0..1_000_i64).map(|row| (row * 7_919) % 1_013 - 500).collect();
        for value in -600..600 {
            let line = Some(Line { row: 3, start: -500, rise: 1.0 });
            assert!((10..=900).contains(&lower_bound(10..900, value, line, |row| ints[row])));
        }
    }

    #[test]
    fn a_line_saves_steps() {
        let ints: Vec<i64> = (0..1_024).map(|row| row * 1_000 + row * row % 997).collect();
        let steps = std::cell::Cell::new(0);
        let get = |row: usize| {
            steps.set(steps.get() + 1);
            ints[row]
        };
        for value in &ints {
            lower_bound(0..1_024, *value, Some(Line { row: 0, start: 0, rise: 1_000.0 }), get);
        }
        assert!(steps.get() < 6 * 1_024, "{} steps", steps.get());
    }
}
