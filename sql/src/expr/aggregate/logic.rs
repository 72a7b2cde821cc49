//! `bool_and`, `every` and `bool_or`. The state is the result so far, or NULL.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_schema::DataType;
use omen_core::error::ValueError;

use super::source::{fold, selected};
use super::{Accumulator, Groups};

/// The conjunction or disjunction of each group.
pub(super) struct Logic {
    /// The value that decides: false for AND, true for OR.
    decisive: bool,
    groups: Vec<Option<bool>>,
}

impl Logic {
    pub(super) fn and() -> Logic {
        Logic { decisive: false, groups: Vec::new() }
    }

    pub(super) fn or() -> Logic {
        Logic { decisive: true, groups: Vec::new() }
    }
}

impl Accumulator for Logic {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), None);
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let values = args[0].as_boolean();
        let rows = selected(values.nulls(), filter);
        let decisive = self.decisive;
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| {
            if *state != Some(decisive) {
                *state = Some(values.value(row));
            }
            Ok(())
        })
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        self.update(groups, states, None)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Boolean]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        Ok(vec![self.finish()?])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        Ok(Arc::new(self.groups.iter().copied().collect::<BooleanArray>()))
    }

    fn size_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Option<bool>>()
    }
}
