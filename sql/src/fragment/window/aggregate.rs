//! Aggregates over frames.
//!
//! Three ways, all without looking at each row of each frame where that would be long: frames that hold few rows in
//! total are aggregated as groups; frames that only grow are aggregated row by row, with a look at the result after
//! each; all others are put together from a tree of partial states. What depends on the order of additions (floats,
//! joined text) never uses the tree: PostgreSQL, too, computes such frames anew when their beginning moves.

use std::ops::Range;

use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array};
use omen_core::types::PgType;

use super::super::{Result, concat, take};
use super::frame::Seen;
use crate::expr::aggregate::{Accumulator, AggregateCall, Groups};

/// Frames whose results are made at once.
const FRAMES: usize = 8_192;

/// What an aggregate reads.
pub(super) struct Input<'a> {
    pub(super) call: &'a AggregateCall,
    pub(super) args: Vec<ArrayRef>,
    pub(super) filter: Option<BooleanArray>,
    pub(super) rows: usize,
}

impl Input<'_> {
    /// The result for each row.
    pub(super) fn over(&self, seen: &[Seen]) -> Result<ArrayRef> {
        let (mut frames, mut frame_of): (Vec<Seen>, Vec<u32>) = (Vec::new(), Vec::with_capacity(seen.len()));
        for one in seen {
            if frames.last() != Some(one) {
                frames.push(*one);
            }
            frame_of.push(frames.len() as u32 - 1);
        }
        let total: usize = frames.iter().map(Seen::len).sum();
        let results = if total <= Self::few_rows(self.rows) {
            self.as_groups(&frames)?
        } else if self.only_grow(&frames) || !Self::is_exact(self.call) {
            self.one_by_one(&frames)?
        } else {
            self.in_tree(&frames)?
        };
        Ok(if frames.len() == seen.len() { results } else { take(&results, &UInt32Array::from(frame_of)) })
    }

    /// Most rows of all frames together that are aggregated as groups, of so many rows.
    pub(super) fn few_rows(rows: usize) -> usize {
        4 * rows + 1_024
    }

    /// Whether parts can be added in any order.
    pub(super) fn is_exact(call: &AggregateCall) -> bool {
        let float = |arg: &crate::expr::Expr| matches!(arg.pg_type(), PgType::Float4 | PgType::Float8);
        match call.name {
            "count" | "min" | "max" | "bool_and" | "bool_or" | "every" => true,
            "sum" | "avg" | "stddev" | "stddev_samp" | "stddev_pop" | "variance" | "var_samp" | "var_pop" => {
                !call.args.iter().any(float)
            }
            _ => false,
        }
    }

    fn only_grow(&self, frames: &[Seen]) -> bool {
        let moves = frames.windows(2).filter(|pair| !grows(&pair[0], &pair[1])).count();
        moves * 64 <= frames.len()
    }

    fn as_groups(&self, frames: &[Seen]) -> Result<ArrayRef> {
        let (mut rows, mut ids) = (Vec::new(), Vec::new());
        for (id, frame) in frames.iter().enumerate() {
            for part in frame.intervals() {
                ids.resize(ids.len() + part.len(), id as u32);
                rows.extend(part.map(|row| row as u32));
            }
        }
        let mut accumulator = self.call.accumulator();
        accumulator.resize(frames.len());
        let in_place =
            rows.len() == self.rows && rows.iter().enumerate().all(|(place, row)| place == *row as usize);
        if in_place {
            accumulator.update(Groups::Each(&ids), &self.args, self.filter.as_ref())?;
        } else {
            let rows = UInt32Array::from(rows);
            let args: Vec<ArrayRef> = self.args.iter().map(|arg| take(arg, &rows)).collect();
            let filter = self.filter.as_ref().map(|filter| {
                rows.values().iter().map(|row| Some(filter.value(*row as usize))).collect::<BooleanArray>()
            });
            accumulator.update(Groups::Each(&ids), &args, filter.as_ref())?;
        }
        accumulator.finish()
    }

    pub(super) fn one_by_one(&self, frames: &[Seen]) -> Result<ArrayRef> {
        let mut results = Vec::with_capacity(frames.len());
        let mut running: Option<Box<dyn Accumulator>> = None;
        let mut before = Seen::default();
        for frame in frames {
            let mut accumulator = match running.take().filter(|_| grows(&before, frame)) {
                Some(mut accumulator) => {
                    self.add(&mut *accumulator, before.0[0].1..frame.0[0].1)?;
                    accumulator
                }
                None => {
                    let mut accumulator = self.call.accumulator();
                    accumulator.resize(1);
                    for part in frame.intervals() {
                        self.add(&mut *accumulator, part)?;
                    }
                    accumulator
                }
            };
            results.push(accumulator.finish()?);
            running = Some(accumulator);
            before = *frame;
        }
        Ok(concat(&results, self.call.pg_type))
    }

    fn add(&self, accumulator: &mut dyn Accumulator, rows: Range<usize>) -> Result<()> {
        Input::add_rows(accumulator, &self.args, self.filter.as_ref(), rows)
    }

    /// Adds rows to the only group of an accumulator.
    pub(super) fn add_rows(
        accumulator: &mut dyn Accumulator,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: Range<usize>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let args: Vec<ArrayRef> = args.iter().map(|arg| arg.slice(rows.start, rows.len())).collect();
        let filter = filter.map(|filter| filter.slice(rows.start, rows.len()));
        accumulator.update(Groups::One(rows.len()), &args, filter.as_ref())
    }

    /// The states of all rows.
    pub(super) fn tree(&self) -> Result<Tree> {
        let mut accumulator = self.call.accumulator();
        accumulator.resize(self.rows);
        let ids: Vec<u32> = (0..self.rows as u32).collect();
        accumulator.update(Groups::Each(&ids), &self.args, self.filter.as_ref())?;
        Tree::over(self.call, accumulator.state()?, self.rows)
    }

    pub(super) fn in_tree(&self, frames: &[Seen]) -> Result<ArrayRef> {
        let tree = self.tree()?;
        let mut results = Vec::new();
        for frames in frames.chunks(FRAMES) {
            let mut picked = Picked::default();
            for (id, frame) in frames.iter().enumerate() {
                frame.intervals().for_each(|part| picked.add(id, part));
            }
            let mut accumulator = self.call.accumulator();
            accumulator.resize(frames.len());
            tree.merge(picked, &mut *accumulator)?;
            results.push(accumulator.finish()?);
        }
        Ok(concat(&results, self.call.pg_type))
    }
}

/// Partial states: level `k` has those of `2^k` leaves each.
pub(super) struct Tree {
    levels: Vec<Vec<ArrayRef>>,
}

impl Tree {
    /// Over the states of leaves.
    pub(super) fn over(call: &AggregateCall, leaves: Vec<ArrayRef>, count: usize) -> Result<Tree> {
        let mut levels = vec![leaves];
        let mut nodes = count;
        while nodes > 1 {
            let ids: Vec<u32> = (0..nodes as u32).map(|node| node / 2).collect();
            nodes = nodes.div_ceil(2);
            let mut accumulator = call.accumulator();
            accumulator.resize(nodes);
            accumulator.merge(Groups::Each(&ids), &levels[levels.len() - 1])?;
            levels.push(accumulator.state()?);
        }
        Ok(Tree { levels })
    }

    /// The state of all leaves.
    pub(super) fn root(&self) -> &[ArrayRef] {
        &self.levels[self.levels.len() - 1]
    }

    /// Adds what was picked.
    pub(super) fn merge(&self, picked: Picked, accumulator: &mut dyn Accumulator) -> Result<()> {
        for ((ids, nodes), states) in picked.levels.into_iter().zip(&self.levels) {
            if ids.is_empty() {
                continue;
            }
            let nodes = UInt32Array::from(nodes);
            let states: Vec<ArrayRef> = states.iter().map(|state| take(state, &nodes)).collect();
            accumulator.merge(Groups::Each(&ids), &states)?;
        }
        Ok(())
    }
}

/// Which states of a tree frames are put together from: on each level, the frame and the node.
#[derive(Default)]
pub(super) struct Picked {
    levels: Vec<(Vec<u32>, Vec<u32>)>,
}

impl Picked {
    /// Leaves of a frame.
    pub(super) fn add(&mut self, frame: usize, leaves: Range<usize>) {
        let (mut low, mut high, mut level) = (leaves.start, leaves.end, 0);
        while low < high {
            if level == self.levels.len() {
                self.levels.push(Default::default());
            }
            let (ids, nodes) = &mut self.levels[level];
            if low % 2 == 1 {
                ids.push(frame as u32);
                nodes.push(low as u32);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                ids.push(frame as u32);
                nodes.push(high as u32);
            }
            (low, high, level) = (low / 2, high / 2, level + 1);
        }
    }
}

/// Whether a frame is an earlier one with rows added at its end.
pub(super) fn grows(before: &Seen, frame: &Seen) -> bool {
    let single = |seen: &Seen| seen.0[1] == (0, 0) && seen.0[0].1 > 0;
    single(before) && single(frame) && before.0[0].0 == frame.0[0].0 && before.0[0].1 <= frame.0[0].1
}
