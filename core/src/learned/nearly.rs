//! Sorting what is in order but for a few values: those are taken out, sorted by themselves and merged in again
//! (drop-merge sort, Ernerfeldt 2017).
//!
//! Invariant: at every step the values kept, those taken out and those not yet looked at are all values, each once.

/// Values taken out in a row before it is the last one kept that is held to be out of order.
const ROW_MAX: usize = 8;
/// What is taken out may be one part in this many of what was looked at, and a few more at the beginning.
const PART: usize = 8;
const FEW: usize = 64;

/// Sorts, or answers false: then too many are out of order, and the values are as they were but for their order.
pub(super) fn sort<T: Copy + Ord>(values: &mut [T], out: &mut Vec<T>) -> bool {
    out.clear();
    // `values[..kept]` is in order; between `kept` and `read` there are as many places as values in `out`.
    let (mut kept, mut read, mut in_row) = (0, 0, 0);
    while read < values.len() {
        let value = values[read];
        if kept == 0 || values[kept - 1] <= value {
            values[kept] = value;
            (kept, read, in_row) = (kept + 1, read + 1, 0);
            continue;
        }
        if out.len() > FEW + read / PART {
            values[kept..read].copy_from_slice(out);
            return false;
        }
        if in_row == 0 && kept > 1 && values[kept - 2] <= value {
            // Only the last one is too large.
            out.push(std::mem::replace(&mut values[kept - 1], value));
            read += 1;
        } else if in_row < ROW_MAX {
            out.push(value);
            (read, in_row) = (read + 1, in_row + 1);
        } else {
            // They, which still stand where they stood, are in order, and the last ones kept are not.
            out.truncate(out.len() - in_row);
            read -= in_row;
            kept = take_back(values, kept, read..read + in_row + 1, out);
            in_row = 0;
        }
    }
    out.sort_unstable();
    merge(values, kept, out);
    true
}

/// Takes out the last ones kept that are above all of some values that follow; answers how many stay, fewer than before.
fn take_back<T: Copy + Ord>(
    values: &[T],
    kept: usize,
    follow: std::ops::Range<usize>,
    out: &mut Vec<T>,
) -> usize {
    let most = values[follow].iter().max().copied();
    let stays = |at: &usize| *at == 0 || Some(values[at - 1]) <= most;
    let start = (0..kept).rev().find(stays).unwrap_or(0);
    out.extend_from_slice(&values[start..kept]);
    start
}

/// Merges sorted values into the first ones, which are in order; there is just enough room.
fn merge<T: Copy + Ord>(values: &mut [T], mut kept: usize, out: &mut Vec<T>) {
    let mut end = values.len();
    while let Some(largest) = out.pop() {
        while kept > 0 && largest < values[kept - 1] {
            values[end - 1] = values[kept - 1];
            (kept, end) = (kept - 1, end - 1);
        }
        values[end - 1] = largest;
        end -= 1;
    }
}
