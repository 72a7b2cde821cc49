//! Binary searches over numbered things. Their steps are selections, not jumps that the processor must guess: a plain loop
//! compiles to jumps, which cost four times as much. Of slices the standard library's `partition_point` does the same.

use std::hint::select_unpredictable;
use std::ops::Range;

/// The first of these places for which `is_before` is false, or their end. It is true for all places before that one.
#[inline]
pub fn partition_point(places: Range<usize>, mut is_before: impl FnMut(usize) -> bool) -> usize {
    let Range { start: mut low, end: mut high } = places;
    while low < high {
        let middle = low + (high - low) / 2;
        let goes_right = is_before(middle);
        low = select_unpredictable(goes_right, middle + 1, low);
        high = select_unpredictable(goes_right, high, middle);
    }
    low
}

/// As `partition_point`, of things that lie far apart: each step looks at several at once, which come from memory side by
/// side.
#[inline]
pub fn partition_point_far(places: Range<usize>, mut is_before: impl FnMut(usize) -> bool) -> usize {
    const PARTS: usize = 8;
    let Range { start: mut low, end: mut high } = places;
    while high.saturating_sub(low) > 2 * PARTS {
        let part = (high - low) / PARTS;
        let before = (1..PARTS).map(|n| usize::from(is_before(low + n * part))).sum::<usize>();
        let end = low + (before + 1) * part;
        low += before * part + usize::from(before > 0);
        high = select_unpredictable(before + 1 < PARTS, end, high);
    }
    partition_point(low..high, is_before)
}

/// How many of `count` things `is_before` holds for: true for the first ones, false from some thing on. Looks between
/// `low` and `high` first, and checks both, so that they only have to be likely.
pub fn window_partition_point(
    count: usize,
    low: usize,
    high: usize,
    is_before: impl Fn(usize) -> bool,
) -> usize {
    let mut low = low.min(count);
    let mut high = high.clamp(low, count);
    let mut step = (high - low).max(1);
    while low > 0 && !is_before(low - 1) {
        high = low - 1;
        low = low.saturating_sub(step);
        step = step.saturating_mul(2);
    }
    while high < count && is_before(high) {
        low = high + 1;
        high = high.saturating_add(step).min(count);
        step = step.saturating_mul(2);
    }
    partition_point(low..high, is_before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_gives_the_answer() {
        for count in [0..20_usize, 61..64].into_iter().flatten() {
            let keys: Vec<u64> = (0..count as u64).map(|n| n / 3 * 10).collect();
            for key in 0..220 {
                let below = keys.iter().filter(|k| **k < key).count();
                assert_eq!(partition_point(0..count, |n| keys[n] < key), below);
                assert_eq!(partition_point_far(0..count, |n| keys[n] < key), below);
                for (low, high) in (0..25).flat_map(|low| (0..25).map(move |high| (low, high))) {
                    assert_eq!(window_partition_point(count, low, high, |n| keys[n] < key), below);
                }
            }
        }
    }
}
