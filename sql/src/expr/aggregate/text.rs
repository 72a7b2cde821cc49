//! `string_agg` of text and of bytea.
//!
//! Each value is kept with its delimiter in front; the first delimiter is cut off at the end, so that states can be
//! joined. A state is these bytes, or NULL without values, and the length of the first delimiter.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow_schema::DataType;
use omen_core::error::ValueError;

use super::source::{bytes_array, bytes_of, fold, selected};
use super::{Accumulator, Groups};

#[derive(Clone, Default)]
struct Joined {
    bytes: Vec<u8>,
    /// Length of the first delimiter, once there is a value.
    first: Option<usize>,
}

/// Joined values of each group.
pub(super) struct StringAgg {
    bytea: bool,
    groups: Vec<Joined>,
    bytes_len: usize,
}

impl StringAgg {
    pub(super) fn new(bytea: bool) -> StringAgg {
        StringAgg { bytea, groups: Vec::new(), bytes_len: 0 }
    }
}

impl Accumulator for StringAgg {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), Joined::default());
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let (values, delimiters) = (&args[0], &args[1]);
        let rows = selected(values.nulls(), filter);
        let bytes_len = &mut self.bytes_len;
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| {
            let delimiter = if delimiters.is_null(row) { &[] } else { bytes_of(delimiters, row) };
            let value = bytes_of(values, row);
            state.first.get_or_insert(delimiter.len());
            state.bytes.extend_from_slice(delimiter);
            state.bytes.extend_from_slice(value);
            *bytes_len += delimiter.len() + value.len();
            Ok(())
        })
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let firsts = states[1].as_primitive::<Int64Type>();
        let rows = selected(states[0].nulls(), None);
        let bytes_len = &mut self.bytes_len;
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| {
            let bytes = bytes_of(&states[0], row);
            let first = usize::try_from(firsts.value(row)).expect("a length");
            state.first.get_or_insert(first);
            state.bytes.extend_from_slice(bytes);
            *bytes_len += bytes.len();
            Ok(())
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![if self.bytea { DataType::Binary } else { DataType::Utf8 }, DataType::Int64]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        let bytes = self.groups.iter().map(|state| state.first.map(|_| state.bytes.as_slice()));
        let first = |first: usize| i64::try_from(first).expect("a length");
        let firsts: Int64Array = self.groups.iter().map(|state| state.first.map(first)).collect();
        Ok(vec![bytes_array(bytes, !self.bytea)?, Arc::new(firsts)])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        let results = self.groups.iter().map(|state| state.first.map(|first| &state.bytes[first..]));
        bytes_array(results, !self.bytea)
    }

    fn size_bytes(&self) -> usize {
        // Vectors double, so they are at most half empty.
        2 * self.bytes_len + self.groups.capacity() * size_of::<Joined>()
    }
}
