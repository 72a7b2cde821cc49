//! LIMIT and OFFSET.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, BooleanArray, Int64Array, RecordBatch};
use omen_core::error::{SqlState, ValueError};
use omen_core::fragment::{Flow, FragmentRun};
use omen_core::types::PgType;

use super::peers::keys;
use super::{Result, filter};
use crate::expr::{EvalContext, Expr};

/// A running limit.
pub(super) struct LimitRun {
    skip: u64,
    left: u64,
}

impl LimitRun {
    pub(super) fn new(offset: u64, count: u64) -> LimitRun {
        LimitRun { skip: offset, left: count }
    }
}

impl FragmentRun for LimitRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let rows = batch.num_rows();
        // Both are at most the rows of a batch.
        let skipped = self.skip.min(rows as u64) as usize;
        self.skip -= skipped as u64;
        let given = self.left.min((rows - skipped) as u64) as usize;
        self.left -= given as u64;
        if given == rows {
            out.push(batch);
        } else if given > 0 {
            out.push(batch.slice(skipped, given));
        }
        Ok(if self.left == 0 { Flow::Done } else { Flow::More })
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

/// A number of rows.
///
/// # Errors
/// 2201W or 2201X, by the clause, if it is negative.
pub(crate) fn checked_count(count: i64, clause: &str) -> Result<u64> {
    u64::try_from(count).map_err(|_| {
        let state = match clause {
            "LIMIT" => SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE,
            _ => SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE,
        };
        ValueError::new(state, format!("{clause} must not be negative"))
    })
}

/// A running limit of each group of neighbours.
pub(super) struct LimitByRun {
    groups: Vec<usize>,
    types: Vec<PgType>,
    limit: Option<Expr>,
    offset: Option<Expr>,
    ties: Option<Vec<usize>>,
    context: EvalContext,
    /// The group that the last row was of.
    group: Option<Group>,
}

struct Group {
    key: Box<[u8]>,
    offset: u64,
    count: u64,
    /// Its rows so far.
    seen: u64,
    /// WITH TIES: the last row of those that were asked for.
    last: Option<Box<[u8]>>,
}

impl LimitByRun {
    pub(super) fn new(
        groups: &[usize],
        [limit, offset]: [Option<Expr>; 2],
        ties: Option<&[usize]>,
        input: &[PgType],
        context: EvalContext,
    ) -> LimitByRun {
        let (groups, types) = (groups.to_vec(), input.to_vec());
        LimitByRun { groups, types, limit, offset, ties: ties.map(<[usize]>::to_vec), context, group: None }
    }

    /// A count for each row.
    fn counts(&self, expr: Option<&Expr>, batch: &RecordBatch) -> Result<Option<Int64Array>> {
        let Some(expr) = expr else { return Ok(None) };
        Ok(Some(expr.eval(batch, &self.context)?.as_primitive::<Int64Type>().clone()))
    }
}

/// The count of a row; NULL and no count at all are the same.
fn count_at(counts: Option<&Int64Array>, row: usize, clause: &str) -> Result<Option<u64>> {
    let count = counts.filter(|counts| counts.is_valid(row)).map(|counts| counts.value(row));
    count.map(|count| checked_count(count, clause)).transpose()
}

impl FragmentRun for LimitByRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let group_keys = keys(&batch, &self.groups, &self.types);
        let tie_keys = self.ties.as_ref().map(|columns| keys(&batch, columns, &self.types));
        let limits = self.counts(self.limit.as_ref(), &batch)?;
        let offsets = self.counts(self.offset.as_ref(), &batch)?;
        let mut keep = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let key = group_keys.row(row);
            let group = match self.group.take_if(|group| *group.key == *key) {
                Some(group) => group,
                None => Group {
                    key: key.into(),
                    offset: count_at(offsets.as_ref(), row, "OFFSET")?.unwrap_or(0),
                    count: count_at(limits.as_ref(), row, "LIMIT")?.unwrap_or(u64::MAX),
                    seen: 0,
                    last: None,
                },
            };
            let group = self.group.insert(group);
            let number = group.seen.checked_sub(group.offset);
            let is_asked = number.is_some_and(|number| number < group.count);
            if is_asked && number == group.count.checked_sub(1) {
                group.last = tie_keys.as_ref().map(|keys| keys.row(row).into());
            }
            let is_tied = || {
                let keys = tie_keys.as_ref()?;
                Some(group.last.as_deref()? == keys.row(row))
            };
            keep.push(is_asked || is_tied().unwrap_or(false));
            group.seen += 1;
        }
        let kept = filter(&batch, &BooleanArray::from(keep));
        if kept.num_rows() > 0 {
            out.push(kept);
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}
