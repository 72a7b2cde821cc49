//! Functions that answer rows: `generate_series`, `unnest` and the like.
//!
//! A call is evaluated for one row of arguments at a time and gives its rows in pieces, so that a long series is never
//! there as a whole. Invariant: a cursor that gives fewer rows than it was asked for has no more.

pub(crate) mod json;
pub(crate) mod lists;
pub(crate) mod series;

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{Datum, PgType};

use super::EvalContext;
use super::kernel::Call;
use super::kernel::lift::Result;
use super::value::Value;

/// The arguments of one call; none is NULL if the function is strict.
#[derive(Clone, Copy)]
pub(crate) struct SetArgs<'a> {
    /// The arguments.
    pub(crate) values: &'a [Datum],
    /// The type of the result, if it has one column.
    pub(crate) result: PgType,
    /// Settings and times.
    pub(crate) context: &'a EvalContext,
}

/// The rows of one call.
pub(crate) trait SetCursor {
    /// Appends at most `limit` rows, a value to each column; answers how many.
    fn next(&mut self, limit: usize, out: &mut [Vec<Datum>]) -> Result<usize>;
}

/// How a function that answers rows is started.
pub(crate) type Start = fn(&SetArgs<'_>) -> Result<Box<dyn SetCursor>>;

/// What makes a function one that answers rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetKernel {
    /// Starts a call.
    pub(crate) start: Start,
    /// Names and types of the columns; none: one column of the function's type and name.
    pub(crate) columns: &'static [(&'static str, PgType)],
}

/// Stands in the place of a kernel: what binds calls never evaluates these as values.
pub(crate) fn not_a_value(_: &Call<'_>) -> Result<Value> {
    let message = "set-valued function called in context that cannot accept a set";
    Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
}

/// Rows of one column that an iterator gives.
struct Values<I>(I);

impl<I: Iterator<Item = Result<Datum>>> SetCursor for Values<I> {
    fn next(&mut self, limit: usize, out: &mut [Vec<Datum>]) -> Result<usize> {
        let before = out[0].len();
        for value in self.0.by_ref().take(limit) {
            out[0].push(value?);
        }
        Ok(out[0].len() - before)
    }
}

/// A cursor over the values of one column.
pub(crate) fn values(values: impl Iterator<Item = Result<Datum>> + 'static) -> Box<dyn SetCursor> {
    Box::new(Values(values.fuse()))
}

/// Rows that are there already.
struct Rows<I>(I);

impl<I: Iterator<Item = Vec<Datum>>> SetCursor for Rows<I> {
    fn next(&mut self, limit: usize, out: &mut [Vec<Datum>]) -> Result<usize> {
        let mut count = 0;
        for row in self.0.by_ref().take(limit) {
            out.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            count += 1;
        }
        Ok(count)
    }
}

/// A cursor over rows.
pub(crate) fn rows(rows: Vec<Vec<Datum>>) -> Box<dyn SetCursor> {
    Box::new(Rows(rows.into_iter()))
}
