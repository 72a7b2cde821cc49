//! Functions of nothing but the place of a row, and rows that are some places away.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array};
use omen_core::error::{SqlState, ValueError};

use super::frame::Seen;
use crate::fragment::Result;
use crate::logical::WindowFunction;

/// The place of a row in its partition.
pub(super) struct InPartition {
    /// Rows in front of it.
    pub(super) row: usize,
    /// Groups of peers in front of its own.
    pub(super) group: usize,
    /// Its peers.
    pub(super) peers: Range<usize>,
    /// Rows of the partition.
    pub(super) count: usize,
}

/// The results of a function that depends on nothing else.
pub(super) fn by_place(
    function: WindowFunction,
    places: impl Iterator<Item = InPartition>,
) -> Option<ArrayRef> {
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    Some(match function {
        WindowFunction::RowNumber => {
            Arc::new(places.map(|place| place.row as i64 + 1).collect::<Int64Array>()) as ArrayRef
        }
        WindowFunction::Rank => {
            Arc::new(places.map(|place| place.peers.start as i64 + 1).collect::<Int64Array>())
        }
        WindowFunction::DenseRank => {
            Arc::new(places.map(|place| place.group as i64 + 1).collect::<Int64Array>())
        }
        WindowFunction::PercentRank => {
            let ranks = places.map(|place| share(place.peers.start, place.count - 1));
            Arc::new(ranks.collect::<Float64Array>())
        }
        WindowFunction::CumeDist => {
            Arc::new(places.map(|place| share(place.peers.end, place.count)).collect::<Float64Array>())
        }
        _ => return None,
    })
}

/// Into how many parts `ntile` cuts a partition, by the argument at its first row.
///
/// # Errors
/// 22014 if that is less than one.
pub(super) fn parts(counts: &ArrayRef, row: usize) -> Result<Option<usize>> {
    let counts = counts.as_primitive::<Int32Type>();
    if counts.is_null(row) {
        return Ok(None);
    }
    match usize::try_from(counts.value(row)) {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ => Err(ValueError::new(
            SqlState::INVALID_ARGUMENT_FOR_NTILE,
            "argument of ntile must be greater than zero",
        )),
    }
}

/// The part that a row is in, of parts of nearly equal size.
pub(super) fn part(row: usize, rows: usize, parts: usize) -> Option<i32> {
    let (size, larger) = (rows / parts, rows % parts);
    let in_larger = larger * (size + 1);
    let part = if row < in_larger { row / (size + 1) } else { larger + (row - in_larger) / size.max(1) };
    i32::try_from(part + 1).ok()
}

/// What `lag` and `lead` give.
pub(super) enum Shifted {
    /// The value of a row.
    Row(usize),
    /// What the call says for rows that are not there.
    Default,
    /// NULL
    Null,
}

/// The row that lies so far from a row as the argument of `lag` or `lead` says at `place`.
pub(super) fn shifted(
    args: &[ArrayRef],
    place: usize,
    row: usize,
    partition: &Range<usize>,
    direction: i64,
) -> Shifted {
    let offset = match args.get(1).map(|offsets| offsets.as_primitive::<Int32Type>()) {
        None => 1,
        Some(offsets) if offsets.is_null(place) => return Shifted::Null,
        Some(offsets) => i64::from(offsets.value(place)),
    };
    match usize::try_from(row as i64 + direction * offset) {
        Ok(target) if partition.contains(&target) => Shifted::Row(target),
        _ if args.len() > 2 => Shifted::Default,
        _ => Shifted::Null,
    }
}

/// The row of its frame whose value a function gives.
///
/// # Errors
/// 22016 if `nth_value` is asked for a place below one.
pub(super) fn picked(
    function: WindowFunction,
    args: &[ArrayRef],
    place: usize,
    seen: &Seen,
) -> Result<Option<usize>> {
    match function {
        WindowFunction::FirstValue => return Ok(seen.nth(0)),
        WindowFunction::LastValue => return Ok(seen.last()),
        _ => {}
    }
    let wanted = args[1].as_primitive::<Int32Type>();
    if wanted.is_null(place) {
        return Ok(None);
    }
    match usize::try_from(wanted.value(place)) {
        Ok(wanted) if wanted > 0 => Ok(seen.nth(wanted - 1)),
        _ => Err(ValueError::new(
            SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE,
            "argument of nth_value must be greater than zero",
        )),
    }
}

/// The parts of a partition's rows.
pub(super) fn ntile(counts: &ArrayRef, partitions: impl Iterator<Item = Range<usize>>) -> Result<ArrayRef> {
    let mut found: Vec<Option<i32>> = Vec::with_capacity(counts.len());
    for partition in partitions {
        let parts = parts(counts, partition.start)?;
        let rows = partition.len();
        found.extend((0..rows).map(|row| parts.and_then(|parts| part(row, rows, parts))));
    }
    Ok(Arc::new(found.into_iter().collect::<Int32Array>()))
}
