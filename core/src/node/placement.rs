//! Into how many parts a range is cut that has grown, and which cores take them: functions of numbers of rows alone.
//!
//! Rows stand for both room and work. Ranges never move between cores once they are placed; so a table that grows at its
//! end is cut often enough that what grows is a small part of it.

use crate::id::CoreId;

/// A range is as large as this many parts of a core's even share of its table, or larger, before it is cut.
const PARTS_PER_CORE: u64 = 8;

/// Ranges of one table are not cut beyond this many per core.
const RANGES_PER_CORE_MAX: usize = 64;

/// Into how many parts a range of `own_rows` rows is to be cut; 1 if it had better stay whole. `rows`: what each core has
/// of the table beside it. `range_count`: ranges of the table. `split_rows`: no part is to have fewer rows, unless there
/// are fewer ranges than cores.
pub(super) fn parts(own_rows: u64, rows: &[u64], range_count: usize, split_rows: usize) -> usize {
    let cores = rows.len();
    let table_rows = own_rows + rows.iter().sum::<u64>();
    let part_rows = (table_rows / (cores as u64 * PARTS_PER_CORE)).max(split_rows as u64).max(1);
    let least = if range_count < cores { cores } else { 1 };
    let wanted = usize::try_from(own_rows / part_rows).unwrap_or(usize::MAX).max(least);
    let room = (cores * RANGES_PER_CORE_MAX).saturating_sub(range_count);
    wanted.min(room + 1)
}

/// The cores of parts of `rows_each` rows, in their order: each takes the next one if it has the fewest `rows`, which are
/// counted on.
pub(super) fn place(parts: usize, rows_each: u64, rows: &mut [u64]) -> Vec<CoreId> {
    let next = |_| {
        let core = (0..rows.len()).min_by_key(|core| rows[*core]).expect("a node has a core");
        rows[core] += rows_each.max(1);
        CoreId(u16::try_from(core).expect("cores have 16 bits"))
    };
    (0..parts).map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPLIT_ROWS: usize = 1_000;

    #[test]
    fn a_small_table_is_cut_once_for_each_core() {
        assert_eq!(parts(1_100, &[0, 0, 0, 0], 1, SPLIT_ROWS), 4);
        assert_eq!(parts(1_100, &[1_000, 1_000], 3, SPLIT_ROWS), 1);
        assert_eq!(parts(2_000, &[1_000, 1_000], 3, SPLIT_ROWS), 2);
        assert_eq!(parts(2_000, &[1_000_000, 1_000_000], 3, SPLIT_ROWS), 1);
        assert_eq!(parts(1_000_000, &[0], 64, SPLIT_ROWS), 1);
        assert_eq!(parts(1_000_000, &[0], 62, SPLIT_ROWS), 3);
        assert_eq!(parts(0, &[0], 1, 0), 1);
    }

    #[test]
    fn the_core_with_the_fewest_rows_takes_a_part() {
        assert_eq!(place(3, 10, &mut [25, 0]), [CoreId(1), CoreId(1), CoreId(1)]);
        assert_eq!(place(4, 10, &mut [0, 0]), [0, 1, 0, 1].map(CoreId));
        assert_eq!(place(2, 0, &mut [0, 0]), [0, 1].map(CoreId));
    }

    /// A load in the order of keys: each step of it goes to the last range, which is cut after it.
    #[test]
    fn a_table_that_grows_at_its_end_lies_evenly() {
        for (cores, step) in [(2, 500), (2, 700_000), (4, 3_000), (16, 40_000)] {
            let mut ranges: Vec<(u64, usize)> = vec![(0, 0)];
            for _ in 0..400 {
                ranges.last_mut().expect("one").0 += step;
                let (own, _) = *ranges.last().expect("one");
                let mut rows = vec![0; cores];
                ranges[..ranges.len() - 1].iter().for_each(|(count, core)| rows[*core] += count);
                let parts = parts(own, &rows, ranges.len(), SPLIT_ROWS);
                if parts > 1 {
                    ranges.pop();
                    let placed = place(parts, own / parts as u64, &mut rows);
                    ranges.extend(placed.iter().map(|core| (own / parts as u64, usize::from(core.0))));
                }
            }
            let mut rows = vec![0; cores];
            ranges.iter().for_each(|(count, core)| rows[*core] += count);
            let even = rows.iter().sum::<u64>() / cores as u64;
            let most = *rows.iter().max().expect("cores");
            assert!(most < even * 5 / 4, "{cores} cores, steps of {step}: {rows:?}");
            assert!(ranges.len() <= cores * RANGES_PER_CORE_MAX, "{} ranges", ranges.len());
        }
    }
}
