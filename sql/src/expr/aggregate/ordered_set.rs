//! Functions of `WITHIN GROUP`. Rows come in order; each group keeps the values of its rows.
//!
//! Arguments are the direct ones, of which those of the first row count, and behind them the sorted ones.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow_schema::DataType;
use omen_core::error::{SqlState, ValueError};
use omen_core::key;
use omen_core::types::{Datum, Interval, PgType};

use super::resolve::OrderedSetFunction;
use super::{Accumulator, Direction, Groups};
use crate::execute::rows::array_of;
use crate::expr::datum_at;

#[derive(Clone, Default)]
struct Group {
    direct: Option<Vec<Datum>>,
    values: Vec<Datum>,
    /// Of a hypothetical row: how many rows, different rows and equal rows come before it or with it.
    rows: u64,
    before: u64,
    different: u64,
    equal: u64,
    last: Vec<u8>,
}

/// The rows of each group.
pub(super) struct OrderedSet {
    function: OrderedSetFunction,
    types: Vec<PgType>,
    /// Of the sorted arguments, which are as many.
    order: Vec<Direction>,
    result: PgType,
    groups: Vec<Group>,
    size_bytes: usize,
}

impl OrderedSet {
    pub(super) fn new(
        function: OrderedSetFunction,
        args: &[PgType],
        order: &[Direction],
        result: PgType,
    ) -> OrderedSet {
        let (types, order) = (args.to_vec(), order.to_vec());
        OrderedSet { function, types, order, result, groups: Vec::new(), size_bytes: 0 }
    }

    fn is_hypothetical(&self) -> bool {
        use OrderedSetFunction::{CumeDist, DenseRank, PercentRank, Rank};
        matches!(self.function, Rank | DenseRank | PercentRank | CumeDist)
    }

    /// Bytes that order as the rows do.
    fn key(&self, values: &[Datum]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (value, direction) in values.iter().zip(&self.order) {
            if *value == Datum::Null {
                bytes.push(if direction.nulls_first { 0 } else { 2 });
                continue;
            }
            bytes.push(1);
            let start = bytes.len();
            key::encode(value, &mut bytes);
            if direction.descending {
                bytes[start..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        bytes
    }

    fn add(&mut self, group: usize, direct: Vec<Datum>, mut sorted: Vec<Datum>) {
        if !self.is_hypothetical() {
            let Some(value) = sorted.pop().filter(|value| *value != Datum::Null) else { return };
            self.size_bytes +=
                size_of::<Datum>() + if let Datum::Text(text) = &value { text.len() } else { 0 };
            let group = &mut self.groups[group];
            group.direct.get_or_insert(direct);
            group.values.push(value);
            return;
        }
        let (own, row) = (self.key(&direct), self.key(&sorted));
        let group = &mut self.groups[group];
        group.rows += 1;
        match row.cmp(&own) {
            std::cmp::Ordering::Less => {
                group.different += u64::from(group.before == 0 || group.last != row);
                group.before += 1;
            }
            std::cmp::Ordering::Equal => group.equal += 1,
            std::cmp::Ordering::Greater => {}
        }
        group.last = row;
    }

    /// The result of a group that is a value of the sorted argument's type, or between two.
    fn picked(&self, group: &Group) -> Result<Datum, ValueError> {
        let Some(direct) = &group.direct else { return Ok(Datum::Null) };
        let values = &group.values;
        if self.function == OrderedSetFunction::Mode {
            return Ok(most_frequent(values));
        }
        let share = match direct.first() {
            Some(Datum::Float8(share)) => *share,
            _ => return Ok(Datum::Null),
        };
        if !(0.0..=1.0).contains(&share) {
            let message = format!("percentile value {share} is not between 0 and 1");
            return Err(ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        let count = values.len();
        if self.function == OrderedSetFunction::PercentileDisc {
            let place = (share * count as f64).ceil().max(1.0) as usize;
            return Ok(values[place.min(count) - 1].clone());
        }
        let place = share * (count - 1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        if low == high {
            return Ok(values[low].clone());
        }
        let part = place - low as f64;
        match (&values[low], &values[high]) {
            (Datum::Float8(a), Datum::Float8(b)) => Ok(Datum::Float8(a + part * (b - a))),
            (Datum::Interval(a), Datum::Interval(b)) => between(*a, *b, part).map(Datum::Interval),
            _ => Ok(Datum::Null),
        }
    }

    fn place(&self, group: &Group) -> f64 {
        let rank = group.before + 1;
        match self.function {
            OrderedSetFunction::DenseRank => (group.different + 1) as f64,
            OrderedSetFunction::PercentRank if group.rows == 0 => 0.0,
            OrderedSetFunction::PercentRank => (rank - 1) as f64 / group.rows as f64,
            OrderedSetFunction::CumeDist => (group.before + group.equal + 1) as f64 / (group.rows + 1) as f64,
            _ => rank as f64,
        }
    }
}

/// The value that comes most often, the first in order of several.
fn most_frequent(values: &[Datum]) -> Datum {
    let (mut best, mut best_count) = (0, 0);
    let (mut start, mut before) = (0, Vec::new());
    for (place, value) in values.iter().enumerate() {
        let mut bytes = Vec::new();
        key::encode(value, &mut bytes);
        if place == 0 || bytes != before {
            start = place;
            before = bytes;
        }
        if place - start + 1 > best_count {
            (best, best_count) = (start, place - start + 1);
        }
    }
    values.get(best).cloned().unwrap_or(Datum::Null)
}

/// `a + part * (b - a)`
fn between(a: Interval, b: Interval, part: f64) -> Result<Interval, ValueError> {
    a.try_add(b.try_sub(a)?.try_mul(part)?)
}

impl Accumulator for OrderedSet {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), Group::default());
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let direct = self.types.len() - self.order.len();
        for row in 0..groups.row_count() {
            if filter.is_some_and(|filter| !filter.value(row)) {
                continue;
            }
            let value = |index: usize| datum_at(&args[index], self.types[index], row);
            let (own, sorted) = ((0..direct).map(value).collect(), (direct..args.len()).map(value).collect());
            self.add(groups.of(row) as usize, own, sorted);
        }
        Ok(())
    }

    fn merge(&mut self, _groups: Groups<'_>, _states: &[ArrayRef]) -> Result<(), ValueError> {
        Err(no_parts())
    }

    fn state_types(&self) -> Vec<DataType> {
        Vec::new()
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        Err(no_parts())
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        if self.is_hypothetical() {
            let places = self.groups.iter().map(|group| Some(self.place(group)));
            return Ok(match self.result {
                PgType::Int8 => Arc::new(places.map(|place| place.map(|p| p as i64)).collect::<Int64Array>()),
                _ => Arc::new(places.collect::<Float64Array>()),
            });
        }
        let values = self.groups.iter().map(|group| self.picked(group));
        let values: Vec<Datum> = values.collect::<Result<_, _>>()?;
        Ok(array_of(self.result, values.iter()))
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes + self.groups.capacity() * size_of::<Group>()
    }
}

/// All rows of a group are needed in one place.
fn no_parts() -> ValueError {
    ValueError::new(SqlState::INTERNAL_ERROR, "an ordered-set aggregate has no partial states")
}
