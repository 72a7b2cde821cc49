//! Three-valued logic as pairs of bitmaps.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, NullBuffer};
use omen_core::types::Datum;

use super::value::Value;

/// The truth of a condition for each row: yes, no, or neither (NULL).
/// Invariant: no row is in both.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    /// Rows where it is true.
    pub yes: BooleanBuffer,
    /// Rows where it is false.
    pub no: BooleanBuffer,
}

impl Truth {
    /// The same in every row.
    pub(crate) fn constant(value: Option<bool>, rows: usize) -> Truth {
        let all = |set| if set { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) };
        Truth { yes: all(value == Some(true)), no: all(value == Some(false)) }
    }

    /// True or false, never NULL.
    pub(crate) fn certain(yes: BooleanBuffer) -> Truth {
        Truth { no: !&yes, yes }
    }

    /// The truth of a value of type `boolean`.
    pub(crate) fn of(value: &Value, rows: usize) -> Truth {
        match value {
            Value::Scalar(Datum::Bool(value)) => Truth::constant(Some(*value), rows),
            Value::Scalar(_) => Truth::constant(None, rows),
            Value::Array(array) => {
                let array = array.as_boolean();
                match array.nulls() {
                    None => Truth::certain(array.values().clone()),
                    Some(nulls) => {
                        Truth { yes: array.values() & nulls.inner(), no: &!array.values() & nulls.inner() }
                    }
                }
            }
        }
    }

    /// As a column.
    pub(crate) fn into_value(self) -> Value {
        let known = &self.yes | &self.no;
        let nulls = NullBuffer::new(known);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        Value::Array(Arc::new(BooleanArray::new(self.yes, nulls)))
    }

    /// Both.
    pub(crate) fn and(&self, other: &Truth) -> Truth {
        Truth { yes: &self.yes & &other.yes, no: &self.no | &other.no }
    }

    /// Either.
    pub(crate) fn or(&self, other: &Truth) -> Truth {
        Truth { yes: &self.yes | &other.yes, no: &self.no & &other.no }
    }

    /// The opposite.
    pub(crate) fn not(self) -> Truth {
        Truth { yes: self.no, no: self.yes }
    }

    /// The truth of some of `rows` rows; the others are NULL.
    pub(crate) fn spread(&self, selected: &[u32], rows: usize) -> Truth {
        let spread = |bits| Truth::spread_bits(bits, selected, rows);
        Truth { yes: spread(&self.yes), no: spread(&self.no) }
    }

    /// The bits of some of `rows` rows; those of the others are not set.
    pub(crate) fn spread_bits(bits: &BooleanBuffer, selected: &[u32], rows: usize) -> BooleanBuffer {
        let mut out = BooleanBufferBuilder::new(rows);
        out.append_n(rows, false);
        for at in bits.set_indices() {
            out.set_bit(selected[at] as usize, true);
        }
        out.finish()
    }

    /// Rows where a column of type `boolean` is true.
    pub(crate) fn yes_of(array: &ArrayRef) -> BooleanBuffer {
        let array = array.as_boolean();
        match array.nulls() {
            None => array.values().clone(),
            Some(nulls) => array.values() & nulls.inner(),
        }
    }
}

/// The rows whose bit is set.
pub(crate) fn set_rows(bits: &BooleanBuffer) -> Vec<u32> {
    bits.set_indices_u32().collect()
}
