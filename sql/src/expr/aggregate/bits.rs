//! `bit_and`, `bit_or` and `bit_xor`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Int16Array, Int32Array, Int64Array};
use arrow_schema::DataType;
use omen_core::error::ValueError;
use omen_core::types::PgType;

use super::resolve::BitOperation;
use super::source::{fold, selected};
use super::{Accumulator, Groups};

/// The bits of each group.
pub(super) struct Bits {
    operation: BitOperation,
    pg_type: PgType,
    groups: Vec<Option<i64>>,
}

impl Bits {
    pub(super) fn new(operation: BitOperation, pg_type: PgType) -> Bits {
        Bits { operation, pg_type, groups: Vec::new() }
    }
}

impl Accumulator for Bits {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), None);
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let rows = selected(args[0].nulls(), filter);
        let value: Box<dyn Fn(usize) -> i64> = match self.pg_type {
            PgType::Int2 => Box::new(|row| args[0].as_primitive::<Int16Type>().value(row).into()),
            PgType::Int4 => Box::new(|row| args[0].as_primitive::<Int32Type>().value(row).into()),
            _ => Box::new(|row| args[0].as_primitive::<Int64Type>().value(row)),
        };
        let operation = self.operation;
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| {
            let value = value(row);
            *state = Some(match (*state, operation) {
                (None, _) => value,
                (Some(bits), BitOperation::And) => bits & value,
                (Some(bits), BitOperation::Or) => bits | value,
                (Some(bits), BitOperation::Xor) => bits ^ value,
            });
            Ok(())
        })
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        self.update(groups, states, None)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.pg_type.arrow()]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        Ok(vec![self.finish()?])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        let groups = self.groups.iter();
        // The bits of narrower integers stay within them.
        Ok(match self.pg_type {
            PgType::Int2 => Arc::new(groups.map(|bits| bits.map(|bits| bits as i16)).collect::<Int16Array>()),
            PgType::Int4 => Arc::new(groups.map(|bits| bits.map(|bits| bits as i32)).collect::<Int32Array>()),
            _ => Arc::new(groups.copied().collect::<Int64Array>()),
        })
    }

    fn size_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Option<i64>>()
    }
}
