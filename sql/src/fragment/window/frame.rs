//! Which rows a window function sees from each row.
//!
//! Positions are counted over the rows at hand, which are whole partitions in order. A frame is up to three intervals,
//! because EXCLUDE cuts a hole that may have the row itself in it.

use std::ops::Range;

use arrow_array::{ArrayRef, RecordBatch};
use omen_core::error::{SqlState, ValueError};
use omen_core::types::{Datum, Interval, PgType};

use super::super::Result;
use super::super::rowkey::{KeyColumn, RowKeys};
use crate::expr::EvalContext;
use crate::logical::{Exclude, Frame, FrameBound, FrameUnits, SortKey};

/// Rows of whole partitions.
pub(super) struct Rows {
    /// Number of rows.
    pub(super) count: usize,
    /// Where partitions begin; at the end, the number of rows.
    pub(super) partitions: Vec<usize>,
    /// Where peers begin, which are equal in the order; at the end, the number of rows.
    pub(super) groups: Vec<usize>,
    /// The peers of each row.
    pub(super) group_of: Vec<usize>,
}

impl Rows {
    /// From the keys of partitions and of the order.
    pub(super) fn new(partitions: &RowKeys, order: &RowKeys, count: usize) -> Rows {
        let mut rows =
            Rows { count, partitions: Vec::new(), groups: Vec::new(), group_of: Vec::with_capacity(count) };
        for row in 0..count {
            let begins = row == 0 || partitions.row(row) != partitions.row(row - 1);
            if begins {
                rows.partitions.push(row);
            }
            if begins || order.row(row) != order.row(row - 1) {
                rows.groups.push(row);
            }
            rows.group_of.push(rows.groups.len() - 1);
        }
        rows.partitions.push(count);
        rows.groups.push(count);
        rows
    }

    /// The partitions.
    pub(super) fn each_partition(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.partitions.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The peers of a row.
    pub(super) fn peers(&self, row: usize) -> Range<usize> {
        let group = self.group_of[row];
        self.groups[group]..self.groups[group + 1]
    }
}

/// What a row sees: intervals in order, empty ones last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen(pub(super) [(usize, usize); 3]);

impl Seen {
    fn of(parts: impl IntoIterator<Item = Range<usize>>) -> Seen {
        let mut seen = Seen::default();
        let mut next = 0;
        for part in parts {
            if part.start >= part.end {
                continue;
            }
            if next > 0 && seen.0[next - 1].1 == part.start {
                seen.0[next - 1].1 = part.end;
            } else {
                seen.0[next] = (part.start, part.end);
                next += 1;
            }
        }
        seen
    }

    /// The intervals that are not empty.
    pub(super) fn intervals(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.0.iter().filter(|(start, end)| start < end).map(|(start, end)| *start..*end)
    }

    /// The same, counted from a row on.
    pub(super) fn from(&self, first: usize) -> Seen {
        Seen::of(self.intervals().map(|part| part.start - first..part.end - first))
    }

    /// These rows.
    pub(super) fn only(rows: Range<usize>) -> Seen {
        Seen::of([rows])
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.intervals().map(|part| part.len()).sum()
    }

    /// The row at a place, from 0 on.
    pub(super) fn nth(&self, mut place: usize) -> Option<usize> {
        for part in self.intervals() {
            if place < part.len() {
                return Some(part.start + place);
            }
            place -= part.len();
        }
        None
    }

    /// The last row.
    pub(super) fn last(&self) -> Option<usize> {
        self.intervals().last().map(|part| part.end - 1)
    }
}

/// A bound that has been computed.
pub(super) enum Edge {
    /// The end of the partition on its side.
    Unbounded,
    /// The row or its peers.
    Current,
    /// So many rows or peers further.
    Count(i64),
    /// Where values lie beyond those of the row.
    Values(RowKeys),
}

/// Where a row lies.
pub(super) struct Spot {
    /// The row.
    pub(super) row: usize,
    /// The number of its peers.
    pub(super) group: usize,
    /// Its peers.
    pub(super) peers: Range<usize>,
}

/// The rows of a partition, and the numbers of their groups of peers.
pub(super) struct Whole {
    pub(super) rows: Range<usize>,
    pub(super) groups: Range<usize>,
}

/// Where a frame begins or ends: what has to be looked up for it.
pub(super) enum Border {
    /// There.
    Row(usize),
    /// Where these peers begin.
    Group(usize),
    /// At the first row with a value that reaches the bound of the row, or, if it is an end, lies behind it.
    Value,
}

impl Edge {
    /// The border of a row's frame. A row whose order is NULL has no bound.
    pub(super) fn border(
        &self,
        is_start: bool,
        units: FrameUnits,
        spot: &Spot,
        whole: &Whole,
        is_null: bool,
    ) -> Border {
        let peer = if is_start { spot.peers.start } else { spot.peers.end };
        match self {
            Edge::Unbounded if is_start => Border::Row(whole.rows.start),
            Edge::Unbounded => Border::Row(whole.rows.end),
            Edge::Current if units == FrameUnits::Rows => Border::Row(spot.row + usize::from(!is_start)),
            Edge::Current => Border::Row(peer),
            Edge::Count(count) => {
                let count = count.saturating_add(i64::from(!is_start));
                if units == FrameUnits::Rows {
                    return Border::Row(moved(spot.row, count, whole.rows.start, whole.rows.end));
                }
                // The group behind the last one of the partition begins where the partition ends.
                Border::Group(moved(spot.group, count, whole.groups.start, whole.groups.end))
            }
            Edge::Values(_) if is_null => Border::Row(peer),
            Edge::Values(_) => Border::Value,
        }
    }
}

/// The bounds of a frame over a batch.
pub(super) struct Edges {
    pub(super) start: Edge,
    pub(super) end: Edge,
    /// The values that bounds are compared with, and which of them are NULL; empty if no bound is a value.
    pub(super) keys: RowKeys,
    pub(super) nulls: Vec<bool>,
}

impl Edges {
    /// Computes them for the rows of a batch.
    ///
    /// # Errors
    /// 22004 and 22013 for offsets that are NULL or negative.
    pub(super) fn of(
        frame: &Frame,
        batch: &RecordBatch,
        order: &[SortKey],
        context: &EvalContext,
    ) -> Result<Edges> {
        let start = edge(&frame.start, frame.units, "starting", batch, order, context)?;
        let end = edge(&frame.end, frame.units, "ending", batch, order, context)?;
        let (keys, nulls) = base_keys(frame, batch, order, context)?;
        Ok(Edges { start, end, keys, nulls })
    }
}

/// What every row sees in a frame.
///
/// # Errors
/// As [`Edges::of`].
pub(super) fn seen(
    frame: &Frame,
    rows: &Rows,
    batch: &RecordBatch,
    order: &[SortKey],
    context: &EvalContext,
) -> Result<Vec<Seen>> {
    let edges = Edges::of(frame, batch, order, context)?;
    let mut all = Vec::with_capacity(rows.count);
    for partition in rows.each_partition() {
        let valid = if edges.nulls.is_empty() { 0..0 } else { without_nulls(&partition, &edges.nulls) };
        let groups = rows.group_of[partition.start]..rows.group_of[partition.end - 1] + 1;
        let whole = Whole { rows: partition.clone(), groups };
        for row in partition {
            let spot = Spot { row, group: rows.group_of[row], peers: rows.peers(row) };
            let is_null = edges.nulls.get(row).is_some_and(|null| *null);
            let place = |edge: &Edge, is_start: bool| match edge.border(
                is_start,
                frame.units,
                &spot,
                &whole,
                is_null,
            ) {
                Border::Row(row) => row,
                Border::Group(group) => rows.groups[group],
                Border::Value => first_beyond(&edges.keys, valid.clone(), edge, row, is_start),
            };
            let (from, to) = (place(&edges.start, true), place(&edges.end, false));
            all.push(excluding(from..to.max(from), frame.exclude, &spot));
        }
    }
    Ok(all)
}

/// The first of these rows whose value reaches the bound that an edge has for `row`, or, at an end, lies behind it.
pub(super) fn first_beyond(
    keys: &RowKeys,
    rows: Range<usize>,
    edge: &Edge,
    row: usize,
    is_start: bool,
) -> usize {
    first_not(rows, |other| lies_before(keys.row(other), edge, row, is_start))
}

/// Whether a row with this value lies before the border.
pub(super) fn lies_before(key: &[u8], edge: &Edge, row: usize, is_start: bool) -> bool {
    let Edge::Values(bounds) = edge else { return false };
    if is_start { key < bounds.row(row) } else { key <= bounds.row(row) }
}

/// What is left of a frame.
pub(super) fn excluding(whole: Range<usize>, exclude: Exclude, spot: &Spot) -> Seen {
    let row = spot.row;
    let hole = match exclude {
        Exclude::NoOthers => return Seen::of([whole]),
        Exclude::CurrentRow => row..row + 1,
        Exclude::Group | Exclude::Ties => spot.peers.clone(),
    };
    let own = if exclude == Exclude::Ties && whole.contains(&row) { row..row + 1 } else { 0..0 };
    Seen::of([whole.start..whole.end.min(hole.start), own, whole.start.max(hole.end)..whole.end])
}

/// The rows of a partition whose order is not NULL; the others lie at its ends.
fn without_nulls(partition: &Range<usize>, nulls: &[bool]) -> Range<usize> {
    let leading = partition.clone().take_while(|row| nulls[*row]).count();
    let start = partition.start + leading;
    let trailing = (start..partition.end).rev().take_while(|row| nulls[*row]).count();
    start..partition.end - trailing
}

/// The first place for which a condition that holds up to some place does not hold.
pub(super) fn first_not(places: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (places.start, places.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn moved(from: usize, by: i64, low: usize, high: usize) -> usize {
    let wanted = (from as i64).saturating_add(by);
    usize::try_from(wanted).unwrap_or(0).clamp(low, high)
}

/// The values of the order as the bounds of a RANGE are compared with them, and which of them are NULL; empty without
/// such bounds.
pub(super) fn base_keys(
    frame: &Frame,
    batch: &RecordBatch,
    order: &[SortKey],
    context: &EvalContext,
) -> Result<(RowKeys, Vec<bool>)> {
    let base = [&frame.start, &frame.end].into_iter().find_map(|bound| match bound {
        FrameBound::Offset { values: Some(values), .. } => Some(&values.0),
        _ => None,
    });
    let Some(base) = base else { return Ok((RowKeys::default(), Vec::new())) };
    let array = base.eval(batch, context)?;
    let nulls = (0..array.len()).map(|row| array.is_null(row)).collect();
    Ok((keys_of(&array, base.pg_type(), order), nulls))
}

fn keys_of(array: &ArrayRef, pg_type: PgType, order: &[SortKey]) -> RowKeys {
    let descending = order.first().is_some_and(|key| key.descending);
    let column = KeyColumn { values: array, pg_type, descending, nulls_first: false };
    RowKeys::encode(&[column], array.len())
}

fn edge(
    bound: &FrameBound,
    units: FrameUnits,
    side: &str,
    batch: &RecordBatch,
    order: &[SortKey],
    context: &EvalContext,
) -> Result<Edge> {
    let (following, offset, values) = match bound {
        FrameBound::Unbounded => return Ok(Edge::Unbounded),
        FrameBound::Current => return Ok(Edge::Current),
        FrameBound::Offset { following, offset, values } => (*following, offset, values),
    };
    let value = offset.eval_constant(context)?;
    if value == Datum::Null {
        let message = format!("frame {side} offset must not be null");
        return Err(ValueError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
    }
    if units != FrameUnits::Range {
        let Datum::Int8(count) = value else { return Ok(Edge::Current) };
        if count < 0 {
            let message = format!("frame {side} offset must not be negative");
            return Err(ValueError::new(SqlState::INVALID_PRECEDING_OR_FOLLOWING_SIZE, message));
        }
        return Ok(Edge::Count(if following { count } else { -count }));
    }
    let negative = match &value {
        Datum::Int2(value) => *value < 0,
        Datum::Int4(value) => *value < 0,
        Datum::Int8(value) => *value < 0,
        Datum::Float4(value) => *value < 0.0 || value.is_nan(),
        Datum::Float8(value) => *value < 0.0 || value.is_nan(),
        Datum::Numeric(value) => {
            value.compare(omen_core::types::Numeric::from(0i64)).is_lt() || value.is_nan()
        }
        Datum::Interval(value) => value.order() < Interval::default().order(),
        _ => false,
    };
    if negative {
        let message = "invalid preceding or following size in window function";
        return Err(ValueError::new(SqlState::INVALID_PRECEDING_OR_FOLLOWING_SIZE, message));
    }
    match values {
        Some(values) => {
            let shifted = &values.1;
            let array = shifted.eval(batch, context)?;
            Ok(Edge::Values(keys_of(&array, shifted.pg_type(), order)))
        }
        None => Ok(Edge::Current),
    }
}
