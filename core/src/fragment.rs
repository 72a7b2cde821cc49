//! Fragments: the part of a statement that runs on the cores that own the rows.
//!
//! The engine knows no SQL. It hands batches of visible rows to a [`FragmentRun`], takes what comes out, and sends
//! that, not the rows, to the core that asked.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, UInt16Type};
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_schema::DataType;

use crate::error::ValueError;
use crate::filter::ColumnFilter;
use crate::types::Numeric;
use crate::types::numeric::NUMERIC_BYTES;

/// Most rows of a batch that a scan hands to a fragment.
pub const BATCH_ROWS: usize = 8_192;

/// Bytes of the rows of a batch. A slice counts for its own rows only, however large the buffers are that it shares with
/// the rest of a chunk.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| {
        let data = column.to_data();
        data.get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(bytes).sum()
}

/// Most digits behind the point of numerics that lie in a batch as coefficients.
pub const COEFFICIENTS_SCALE_MAX: u8 = 18;

/// Most texts of a dictionary whose codes lie in a batch.
pub const CODES_MAX: usize = 4_096;

/// Numerics of one scale as they lie in batches otherwise (`PgType::arrow`), none of them NULL.
pub fn numerics_of(scale: u8, coefficients: &[i64]) -> ArrayRef {
    let mut bytes = vec![0; coefficients.len() * NUMERIC_BYTES];
    for (place, coefficient) in bytes.as_chunks_mut().0.iter_mut().zip(coefficients) {
        Numeric::write_small(scale, *coefficient, place);
    }
    Arc::new(FixedSizeBinaryArray::new(NUMERIC_BYTES as i32, Buffer::from_vec(bytes), None))
}

/// A column of a batch as it lies there if the fragment reads nothing else (`PgType::arrow`): numerics that are coefficients
/// as such, codes as their texts.
pub fn plain(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Decimal64(_, scale) => {
            numerics_of(scale.cast_unsigned(), column.as_primitive::<Decimal64Type>().values())
        }
        DataType::Dictionary(..) => {
            let coded = column.as_dictionary::<UInt16Type>();
            arrow_select::take::take(coded.values(), coded.keys(), None).expect("keys lie in the values")
        }
        _ => Arc::clone(column),
    }
}

/// What to do with the rows that a core owns of a scan. Crosses cores, so it owns all it needs.
pub trait Fragment: Send + Sync + 'static {
    /// Indexes of the table's columns that it reads, in the order in which it wants them. May be empty: then batches
    /// have a row count and no columns.
    fn columns(&self) -> &[usize];

    /// Conditions that a row must fulfil: rows for which one of them is not true never reach the fragment. They may be on
    /// columns that it does not read.
    fn filters(&self) -> &[ColumnFilter] {
        &[]
    }

    /// Whether it reads numerics as coefficients, too: a column of a batch whose values have one scale of at most
    /// [`COEFFICIENTS_SCALE_MAX`], coefficients of 64 bits and no NULL may then be a `Decimal64` of that scale.
    fn reads_coefficients(&self) -> bool {
        false
    }

    /// Positions among its columns of those whose texts it reads as codes, too: such a column of a batch whose values come
    /// from one dictionary of at most [`CODES_MAX`] texts, none of them NULL, may then be a `Dictionary` with keys of 16 bits.
    fn reads_codes(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Starts it on one core.
    fn start(&self) -> Box<dyn FragmentRun>;
}

/// A fragment running over the rows of one core's ranges; lives there.
pub trait FragmentRun {
    /// Takes a batch of at most [`BATCH_ROWS`] rows, all visible and passed by the filters, in no promised order, and appends what it has to say
    /// so far to `out`.
    ///
    /// # Errors
    /// If an expression fails; the scan ends.
    fn push(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<Flow, ValueError>;

    /// All batches have been pushed, or `push` answered [`Flow::Done`]: appends the rest.
    ///
    /// # Errors
    /// If an expression fails.
    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<(), ValueError>;
}

/// Whether a fragment wants more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Yes.
    More,
    /// No: the rest of the range need not be read.
    Done,
}
