//! Aggregate functions over groups.
//!
//! A partial aggregation runs [`Accumulator::update`] on the cores that own rows and sends [`Accumulator::state`], one
//! row per group; the final one runs [`Accumulator::merge`] and [`Accumulator::finish`]. Results and errors are those
//! of PostgreSQL 15, floats up to the order in which partial states are merged.
//!
//! NULL arguments are left out. A group without values gives NULL, a count 0.

mod bits;
mod collect;
mod count;
mod deviation;
mod distinct;
mod extreme;
mod logic;
mod ordered_set;
mod regression;
mod resolve;
mod source;
mod sum;
mod text;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_schema::DataType;
use omen_core::error::ValueError;
use omen_core::types::PgType;

use self::deviation::{ExactDeviation, FloatDeviation};
use self::resolve::{AggregateFunction, Average};
use super::Expr;
use super::kernel::decimal::Small;
pub(crate) use resolve::JSON_AGG_LINES;
pub use resolve::{Signature, exists, is_hypothetical, is_ordered_set, resolve};

/// A resolved call of an aggregate function. `Send + Sync`.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    /// Name, for plans and column titles.
    pub name: &'static str,
    /// Arguments of the types that it takes; none for `count(*)`. Behind them, what its rows are ordered by.
    pub args: Vec<Expr>,
    /// How the last of the arguments order the rows.
    pub order: Vec<Direction>,
    /// Equal arguments count once.
    pub distinct: bool,
    /// Type of the result.
    pub pg_type: PgType,
}

/// A key of the order inside a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// `DESC`
    pub descending: bool,
    /// `NULLS FIRST`
    pub nulls_first: bool,
}

impl AggregateCall {
    /// Whether the partial states of both calls are the same, of the same rows: totals and counts.
    pub(crate) fn shares_state(&self, other: &AggregateCall) -> bool {
        let totals = |call: &AggregateCall| {
            use AggregateFunction::{Avg, Sum};
            matches!(AggregateFunction::named(call.name), Some(Sum | Avg)) && !call.needs_all_rows()
        };
        totals(self) && totals(other) && self.args == other.args && self.state_types() == other.state_types()
    }

    /// The number of arguments that the function takes.
    pub fn arg_count(&self) -> usize {
        self.args.len() - self.order.len()
    }

    /// Whether it needs all rows of a group in one place.
    pub fn needs_all_rows(&self) -> bool {
        self.distinct || !self.order.is_empty()
    }

    /// Whether the same rows in another order may give another result.
    pub fn depends_on_order(&self) -> bool {
        use AggregateFunction::{Collect, StringAgg};
        matches!(AggregateFunction::named(self.name), Some(Collect(_) | StringAgg))
    }

    /// A call of the function that [`resolve`] has found, for types that it gave.
    pub fn plain(name: &'static str, args: Vec<Expr>, pg_type: PgType) -> AggregateCall {
        AggregateCall { name, args, order: Vec::new(), distinct: false, pg_type }
    }

    /// A fresh accumulator without groups.
    ///
    /// # Panics
    /// If [`resolve`] does not give the call's name and argument types.
    pub fn accumulator(&self) -> Box<dyn Accumulator> {
        let args: Vec<PgType> = self.args[..self.arg_count()].iter().map(Expr::pg_type).collect();
        match AggregateFunction::named(self.name) {
            Some(AggregateFunction::OrderedSet(function)) => {
                Box::new(ordered_set::OrderedSet::new(function, &args, &self.order, self.pg_type))
            }
            // Where rows are ordered, those that are equal have been left out on the way.
            _ => accumulator(self.name, &args, self.distinct && self.order.is_empty()),
        }
    }

    /// Types of the arrays of a partial state.
    ///
    /// # Panics
    /// As [`AggregateCall::accumulator`].
    pub fn state_types(&self) -> Vec<DataType> {
        self.accumulator().state_types()
    }
}

/// The group of each row of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Groups<'a> {
    /// All rows, so many, belong to group 0.
    One(usize),
    /// The group of each row.
    Each(&'a [u32]),
}

impl Groups<'_> {
    /// How many rows each of so many groups has.
    pub(crate) fn counts(self, groups: usize) -> Vec<i64> {
        let mut counts = vec![0; groups];
        match self {
            Groups::One(rows) => counts[0] = i64::try_from(rows).expect("rows of a batch"),
            Groups::Each(ids) => ids.iter().for_each(|id| counts[*id as usize] += 1),
        }
        counts
    }

    fn row_count(self) -> usize {
        match self {
            Groups::One(rows) => rows,
            Groups::Each(ids) => ids.len(),
        }
    }

    fn of(self, row: usize) -> u32 {
        match self {
            Groups::One(_) => 0,
            Groups::Each(ids) => ids[row],
        }
    }
}

/// Running values of one aggregate for all groups. Groups are counted from 0.
///
/// [`Accumulator::state`] and [`Accumulator::finish`] end the life of the values: only one of them is called, once.
pub trait Accumulator {
    /// Makes room for groups `0..groups`; never shrinks. To be called before rows of new groups come.
    fn resize(&mut self, groups: usize);

    /// Takes rows: the arguments' values and the group of each. Rows where `filter` is false or NULL are left out.
    ///
    /// # Errors
    /// 22003 on overflow.
    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError>;

    /// Whether `update_small` can take rows.
    fn takes_small(&self) -> bool {
        false
    }

    /// As `update` of numerics without NULLs and filter; `counts` tells how many rows each group has. `None` leaves them
    /// to `update`.
    fn update_small(
        &mut self,
        _groups: Groups<'_>,
        _counts: &[i64],
        _values: &Small,
    ) -> Option<Result<(), ValueError>> {
        None
    }

    /// Takes partial states: one row per group of the sender, and the group here of each.
    ///
    /// # Errors
    /// As [`Accumulator::update`].
    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError>;

    /// Types of the arrays of a partial state.
    fn state_types(&self) -> Vec<DataType>;

    /// The partial state of all groups, one row per group.
    ///
    /// # Errors
    /// As [`Accumulator::update`].
    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError>;

    /// The result of all groups, one row per group.
    ///
    /// # Errors
    /// As [`Accumulator::update`].
    fn finish(&mut self) -> Result<ArrayRef, ValueError>;

    /// Bytes of memory that it holds.
    fn size_bytes(&self) -> usize;
}

/// The accumulator of a function that [`resolve`] has found for these argument types.
fn accumulator(name: &str, args: &[PgType], distinct: bool) -> Box<dyn Accumulator> {
    let function = AggregateFunction::named(name).expect("resolved by name");
    if let AggregateFunction::Collect(kind) = function {
        return Box::new(collect::Collect::new(collected(kind, args), distinct));
    }
    let plain = plain_accumulator(function, args);
    // Equal values change neither the extremes nor AND and OR.
    let idempotent = matches!(
        function,
        AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::BoolAnd
            | AggregateFunction::BoolOr
    );
    if !distinct || idempotent || args.is_empty() {
        return plain;
    }
    distinct::accumulator(args, plain, function == AggregateFunction::Count)
}

fn collected(kind: resolve::Collecting, args: &[PgType]) -> collect::Collected {
    match kind {
        resolve::Collecting::Array => {
            collect::Collected::Array(args.first().copied().unwrap_or(PgType::Text))
        }
        resolve::Collecting::Json { binary, lined } => collect::Collected::Json { binary, lined },
        resolve::Collecting::JsonObject(binary) => collect::Collected::JsonObject { binary },
    }
}

fn plain_accumulator(function: AggregateFunction, args: &[PgType]) -> Box<dyn Accumulator> {
    match (function, args) {
        (AggregateFunction::Count, _) => Box::new(count::Count::default()),
        (AggregateFunction::Sum, [arg]) => sum::accumulator(*arg, Average(false)),
        (AggregateFunction::Avg, [arg]) => sum::accumulator(*arg, Average(true)),
        (AggregateFunction::Min, [arg]) => extreme::accumulator(*arg, false),
        (AggregateFunction::Max, [arg]) => extreme::accumulator(*arg, true),
        (AggregateFunction::BoolAnd, _) => Box::new(logic::Logic::and()),
        (AggregateFunction::BoolOr, _) => Box::new(logic::Logic::or()),
        (AggregateFunction::Deviation(kind), [PgType::Float4 | PgType::Float8]) => {
            Box::new(FloatDeviation::new(kind))
        }
        (AggregateFunction::Deviation(kind), _) => Box::new(ExactDeviation::new(kind)),
        (AggregateFunction::StringAgg, [arg, ..]) => Box::new(text::StringAgg::new(*arg == PgType::Bytea)),
        (AggregateFunction::Bits(operation), [arg]) => Box::new(bits::Bits::new(operation, *arg)),
        (AggregateFunction::Regression(result), _) => Box::new(regression::Regression::new(result)),
        _ => unreachable!("{function:?} of {args:?} has not been resolved"),
    }
}

#[cfg(test)]
mod tests;
