//! The values of a column in the batch of a scan.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal64Array};
use arrow_schema::DataType;

use super::super::encoding::EncodedBlock;
use super::super::format::BLOCK_ROWS;
use super::Scratch;
use crate::column::ColumnBuf;
use crate::fragment::{COEFFICIENTS_SCALE_MAX, numerics_of};
use crate::row::Malformed;
use crate::segment::encoding::is_int;
use crate::types::{Numeric, PgType};

/// Digits of a `Decimal64` (Arrow columnar format, Schema.fbs).
const DECIMAL64_DIGITS: u8 = 18;

/// A column of a batch, which grows.
#[derive(Debug)]
pub(super) enum Values {
    /// Coefficients of numerics of one scale, none of them NULL.
    Coefficients { pg_type: PgType, scale: u8, ints: Vec<i64> },
    /// All else, and what is still empty.
    Plain(ColumnBuf),
}

impl Values {
    /// An empty column with room for `rows` values, and `bytes` bytes if their length varies.
    pub(super) fn with_capacity(pg_type: PgType, rows: usize, bytes: usize) -> Values {
        match pg_type {
            PgType::Numeric(_) => Values::Coefficients { pg_type, scale: 0, ints: Vec::with_capacity(rows) },
            _ => Values::Plain(ColumnBuf::with_capacity(pg_type, rows, bytes)),
        }
    }

    /// Bytes of values whose length varies.
    pub(super) fn bytes_len(&self) -> usize {
        match self {
            Values::Coefficients { .. } => 0,
            Values::Plain(values) => values.bytes_len(),
        }
    }

    /// The values, from here on in no other form.
    fn plain(&mut self) -> &mut ColumnBuf {
        if let Values::Coefficients { pg_type, scale, ints } = self {
            let mut values = ColumnBuf::with_capacity(*pg_type, ints.capacity(), 0);
            values.extend_numerics(*scale, ints.iter().copied());
            *self = Values::Plain(values);
        }
        match self {
            Values::Plain(values) => values,
            Values::Coefficients { .. } => unreachable!("they have become plain"),
        }
    }

    /// Room for the coefficients of numerics of some rows of a block, if they are of the scale of those before.
    fn coefficients(
        &mut self,
        block: &EncodedBlock,
        column: usize,
        rows: &Range<usize>,
    ) -> Option<&mut Vec<i64>> {
        let Values::Coefficients { scale, ints, .. } = self else { return None };
        let own = block.coefficients_scale(column, rows)?;
        if ints.is_empty() {
            *scale = own;
        }
        (*scale == own).then_some(ints)
    }

    /// Appends the values of some rows.
    pub(super) fn append(&mut self, block: &EncodedBlock, column: usize, rows: Range<usize>) {
        match self.coefficients(block, column, &rows) {
            Some(ints) => {
                let start = ints.len();
                ints.resize(start + rows.len(), 0);
                block.coefficients(column, rows, &mut ints[start..]);
            }
            None => block.append_to(column, rows, self.plain()),
        }
    }

    /// Appends the values of the rows in `scratch`, which rise: in bulk if they are many or numbers, else one by one.
    pub(super) fn gather(
        &mut self,
        block: &EncodedBlock,
        column: usize,
        pg_type: PgType,
        scratch: &mut Scratch,
    ) {
        /// Decoding all values of a block costs what decoding one in so many costs one by one.
        const BULK_PART: usize = 32;
        let (rows, selected) = (block.rows(), &scratch.rows);
        let is_many = selected.len() * BULK_PART >= rows;
        let selected_rows = || selected.iter().map(|row| usize::from(*row));
        if let (Some(first), Some(last)) = (selected.first(), selected.last()) {
            let range = usize::from(*first)..usize::from(*last) + 1;
            if let Some(ints) = self.coefficients(block, column, &range) {
                if !is_many {
                    return ints.extend(selected_rows().map(|row| block.coefficient(column, row)));
                }
                scratch.ints.resize(BLOCK_ROWS, 0);
                let unpacked = &mut scratch.ints[..range.len()];
                block.coefficients(column, range.clone(), unpacked);
                return ints.extend(selected_rows().map(|row| unpacked[row - range.start]));
            }
        }
        let out = self.plain();
        let is_plain = block.valid(column).is_none() && !out.has_nulls();
        if is_plain && is_int(pg_type) {
            if !is_many {
                return out.extend_ints(selected_rows().map(|row| block.int(column, row)));
            }
            scratch.ints.resize(BLOCK_ROWS, 0);
            if block.ints(column, 0..rows, &mut scratch.ints[..rows]) {
                return out.extend_ints(selected_rows().map(|row| scratch.ints[row]));
            }
        }
        if is_plain && is_many && matches!(pg_type, PgType::Float4 | PgType::Float8) {
            scratch.floats.resize(BLOCK_ROWS, 0.0);
            if block.floats(column, 0..rows, &mut scratch.floats[..rows]) {
                return out.extend_floats(selected_rows().map(|row| scratch.floats[row]));
            }
        }
        block.gather_to(column, selected, out);
    }

    /// The values as an Arrow array; with `coefficients` as such, if they are (`Fragment::reads_coefficients`).
    ///
    /// # Errors
    /// If some are not values of their type.
    pub(super) fn into_array(self, coefficients: bool) -> Result<ArrayRef, Malformed> {
        match self {
            Values::Plain(values) => values.freeze().array().cloned(),
            Values::Coefficients { scale, .. } if u32::from(scale) > Numeric::DIGITS_MAX => Err(Malformed),
            Values::Coefficients { scale, ints, .. } if coefficients && scale <= COEFFICIENTS_SCALE_MAX => {
                let pg_type = DataType::Decimal64(DECIMAL64_DIGITS, scale.cast_signed());
                Ok(Arc::new(Decimal64Array::from(ints).with_data_type(pg_type)))
            }
            Values::Coefficients { scale, ints, .. } => Ok(numerics_of(scale, &ints)),
        }
    }
}
