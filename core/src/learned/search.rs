//! Binary searches over sorted numbers whose steps are selections, not jumps that the processor must guess. The standard
//! library's search of slices is one; written by hand as a loop, the compiler makes jumps of it, which cost four times as
//! much.

use std::hint::select_unpredictable;

/// How many of the rising keys are at most `key`.
pub fn branchless_upper_bound(keys: &[u64], key: u64) -> usize {
    keys.partition_point(|found| *found <= key)
}

/// How many of the rising keys are below `key`.
pub fn branchless_lower_bound(keys: &[u64], key: u64) -> usize {
    keys.partition_point(|found| *found < key)
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
    while low < high {
        let middle = low + (high - low) / 2;
        let goes_right = is_before(middle);
        low = select_unpredictable(goes_right, middle + 1, low);
        high = select_unpredictable(goes_right, high, middle);
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_gives_the_answer() {
        for count in 0..20_usize {
            let keys: Vec<u64> = (0..count as u64).map(|n| n / 3 * 10).collect();
            for key in 0..80 {
                let below = keys.iter().filter(|k| **k < key).count();
                assert_eq!(branchless_lower_bound(&keys, key), below);
                assert_eq!(branchless_upper_bound(&keys, key), keys.iter().filter(|k| **k <= key).count());
                for (low, high) in (0..25).flat_map(|low| (0..25).map(move |high| (low, high))) {
                    assert_eq!(window_partition_point(count, low, high, |n| keys[n] < key), below);
                }
            }
        }
    }
}
