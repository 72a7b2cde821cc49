//! Aggregate functions over groups.
//!
//! A partial aggregation runs [`Accumulator::update`] on the cores that own rows and sends [`Accumulator::state`], one
//! row per group; the final one runs [`Accumulator::merge`] and [`Accumulator::finish`].

use arrow_array::{ArrayRef, BooleanArray};
use arrow_schema::DataType;
use omen_core::error::ValueError;
use omen_core::types::PgType;

use super::Expr;

/// A resolved call of an aggregate function. `Send + Sync`.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    /// Name, for plans and column titles.
    pub name: &'static str,
    /// Arguments of the types that it takes; none for `count(*)`.
    pub args: Vec<Expr>,
    /// Equal arguments count once.
    pub distinct: bool,
    /// Type of the result.
    pub pg_type: PgType,
}

impl AggregateCall {
    /// A fresh accumulator without groups.
    pub fn accumulator(&self) -> Box<dyn Accumulator> {
        todo!()
    }

    /// Types of the arrays of a partial state.
    pub fn state_types(&self) -> Vec<DataType> {
        todo!()
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

/// Running values of one aggregate for all groups. Groups are counted from 0.
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

    /// Takes partial states: one row per group of the sender, and the group here of each.
    ///
    /// # Errors
    /// As [`Accumulator::update`].
    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError>;

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

/// Whether an aggregate function of this name exists, with whatever arguments.
pub fn exists(_name: &str) -> bool {
    todo!()
}
