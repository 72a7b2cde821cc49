//! Grouping sets: rows multiplied below an aggregation, and what sets without columns give when there are no rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, new_null_array};
use arrow_schema::SchemaRef;
use omen_core::fragment::{Flow, FragmentRun};
use omen_core::types::PgType;

use super::{Result, batch_of, schema_of};
use crate::expr::aggregate::AggregateCall;
use crate::expr::{EvalContext, Expr};

/// A running multiplication of rows.
pub(super) struct ExpandRun {
    groups: Vec<Expr>,
    sets: Vec<Vec<bool>>,
    schema: SchemaRef,
    context: EvalContext,
}

impl ExpandRun {
    pub(super) fn new(
        groups: &[Expr],
        sets: &[Vec<bool>],
        output: &[PgType],
        context: EvalContext,
    ) -> ExpandRun {
        ExpandRun { groups: groups.to_vec(), sets: sets.to_vec(), schema: schema_of(output), context }
    }
}

impl FragmentRun for ExpandRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        let rows = batch.num_rows();
        let groups = self.groups.iter().map(|group| group.eval(&batch, &self.context));
        let groups: Vec<ArrayRef> = groups.collect::<Result<_>>()?;
        for (number, set) in self.sets.iter().enumerate() {
            let own = groups.iter().zip(set).map(|(group, own)| match own {
                true => group.clone(),
                false => new_null_array(group.data_type(), rows),
            });
            let mut columns: Vec<ArrayRef> = own.collect();
            columns.push(Arc::new(Int32Array::from_value(number as i32, rows)));
            columns.extend(batch.columns().iter().cloned());
            out.push(batch_of(&self.schema, columns, rows));
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, _out: &mut Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

/// Passes rows on; if there are none, those of the sets that group by nothing.
pub(super) struct EmptySetsRun {
    sets: Vec<i32>,
    width: usize,
    aggregates: Vec<AggregateCall>,
    schema: SchemaRef,
    fed: bool,
}

impl EmptySetsRun {
    pub(super) fn new(
        sets: &[i32],
        width: usize,
        aggregates: &[AggregateCall],
        output: &[PgType],
    ) -> EmptySetsRun {
        let (sets, aggregates) = (sets.to_vec(), aggregates.to_vec());
        EmptySetsRun { sets, width, aggregates, schema: schema_of(output), fed: false }
    }
}

impl FragmentRun for EmptySetsRun {
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow> {
        self.fed |= batch.num_rows() > 0;
        out.push(batch);
        Ok(Flow::More)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        if self.fed {
            return Ok(());
        }
        let rows = self.sets.len();
        let fields = &self.schema.fields()[..self.width];
        let mut columns: Vec<ArrayRef> =
            fields.iter().map(|field| new_null_array(field.data_type(), rows)).collect();
        columns.push(Arc::new(Int32Array::from(self.sets.clone())));
        for call in &self.aggregates {
            let mut accumulator = call.accumulator();
            accumulator.resize(rows);
            columns.push(accumulator.finish()?);
        }
        out.push(batch_of(&self.schema, columns, rows));
        Ok(())
    }
}
