//! `count(*)` and `count(x)`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow_schema::DataType;
use omen_core::error::ValueError;

use super::source::{fold, selected};
use super::{Accumulator, Groups};

/// Rows of each group; rows with NULL as argument do not count. The state is the count.
#[derive(Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups.max(self.counts.len()), 0);
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let rows = selected(args.first().and_then(|arg| arg.nulls()), filter);
        if let Groups::One(count) = groups {
            let count = rows.map_or(count, |rows| rows.count_set_bits());
            self.counts[0] += i64::try_from(count).expect("rows of a batch");
            return Ok(());
        }
        fold(&mut self.counts, groups, rows.as_ref(), |count, _| {
            *count += 1;
            Ok(())
        })
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let counts = states[0].as_primitive::<Int64Type>().values();
        fold(&mut self.counts, groups, None, |count, row| {
            *count += counts[row];
            Ok(())
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        Ok(vec![self.finish()?])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        Ok(Arc::new(Int64Array::from(std::mem::take(&mut self.counts))))
    }

    fn size_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
