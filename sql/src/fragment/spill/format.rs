//! Bytes of a batch that is put aside. They live as long as a statement, so there are no versions.
//!
//! All numbers are little-endian. In front the number of rows (u32); then for each column, whose types the reader
//! knows: u8 1 if there are NULLs, and then their bits (1: a value) in whole bytes; and the values:
//!
//! | type | bytes |
//! |---|---|
//! | boolean | bits in whole bytes |
//! | numbers, dates, times, bytes of one size | the values as they lie in memory |
//! | text, bytes | an offset (i32 or i64) for each row and one more, then all values |
//!
//! The file knows checksums, so damage does not come this far; a reader still never trusts a length.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, GenericByteArray, OffsetSizeTrait, PrimitiveArray,
    RecordBatch, types::ByteArrayType, types::GenericBinaryType, types::GenericStringType,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use omen_core::error::{SqlState, ValueError};

use crate::fragment::{Result, batch_of};

/// The bytes of a batch.
///
/// # Errors
/// 0A000 for types that no operator makes.
pub(super) fn encode(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(omen_core::fragment::batch_bytes(batch) + 64);
    let rows = u32::try_from(batch.num_rows()).expect("batches are small");
    out.extend_from_slice(&rows.to_le_bytes());
    for column in batch.columns() {
        match column.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => out.push(0),
            Some(nulls) => {
                out.push(1);
                bits(nulls.inner(), &mut out);
            }
        }
        values(column, &mut out)?;
    }
    Ok(out)
}

fn bits(buffer: &BooleanBuffer, out: &mut Vec<u8>) {
    let sliced = buffer.sliced();
    out.extend_from_slice(&sliced[..buffer.len().div_ceil(8)]);
}

fn values(column: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    match column.data_type() {
        DataType::Boolean => bits(column.as_boolean().values(), out),
        DataType::Utf8 => texts::<GenericStringType<i32>>(column, out),
        DataType::Binary => texts::<GenericBinaryType<i32>>(column, out),
        DataType::LargeBinary => texts::<GenericBinaryType<i64>>(column, out),
        DataType::FixedSizeBinary(_) => {
            let array = column.as_fixed_size_binary();
            out.extend_from_slice(array.value_data());
        }
        DataType::Int16 => numbers::<Int16Type>(column, out),
        DataType::Int32 => numbers::<Int32Type>(column, out),
        DataType::Int64 => numbers::<Int64Type>(column, out),
        DataType::Float32 => numbers::<Float32Type>(column, out),
        DataType::Float64 => numbers::<Float64Type>(column, out),
        DataType::Date32 => numbers::<Date32Type>(column, out),
        DataType::Time64(TimeUnit::Microsecond) => numbers::<Time64MicrosecondType>(column, out),
        DataType::Timestamp(TimeUnit::Microsecond, _) => numbers::<TimestampMicrosecondType>(column, out),
        other => {
            let message = format!("cannot put values of type {other} aside on disk");
            return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
    }
    Ok(())
}

fn numbers<T: ArrowPrimitiveType>(column: &ArrayRef, out: &mut Vec<u8>) {
    out.extend_from_slice(column.as_primitive::<T>().values().inner());
}

fn texts<T: ByteArrayType>(column: &ArrayRef, out: &mut Vec<u8>) {
    let array = column.as_bytes::<T>();
    let offsets = array.value_offsets();
    let first = offsets[0].as_usize();
    let last = offsets[offsets.len() - 1].as_usize();
    for offset in offsets {
        let offset = offset.as_usize() - first;
        match T::Offset::IS_LARGE {
            true => out.extend_from_slice(&(offset as u64).to_le_bytes()),
            false => out.extend_from_slice(&(offset as u32).to_le_bytes()),
        }
    }
    out.extend_from_slice(&array.value_data()[first..last]);
}

/// Bytes that are still to be read.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn damaged() -> ValueError {
    ValueError::new(SqlState::DATA_CORRUPTED, "a batch in a temporary file cannot be read")
}

/// The batch of these bytes.
///
/// # Errors
/// XX001 if they are none.
pub(super) fn decode(bytes: &[u8], schema: &SchemaRef) -> Result<RecordBatch> {
    let mut source = Source(bytes);
    let rows = source.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| damaged())? as usize;
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let nulls = match source.take(1)? {
            [0] => None,
            _ => Some(NullBuffer::new(read_bits(&mut source, rows)?)),
        };
        columns.push(read(&mut source, field.data_type(), rows, nulls)?);
    }
    match source.0 {
        [] => Ok(batch_of(schema, columns, rows)),
        _ => Err(damaged()),
    }
}

fn read_bits(source: &mut Source<'_>, rows: usize) -> Result<BooleanBuffer> {
    let bytes = source.take(rows.div_ceil(8))?;
    Ok(BooleanBuffer::new(Buffer::from_slice_ref(bytes), 0, rows))
}

fn read(
    source: &mut Source<'_>,
    data_type: &DataType,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Boolean => Arc::new(BooleanArray::new(read_bits(source, rows)?, nulls)),
        DataType::Utf8 => read_texts::<GenericStringType<i32>>(source, rows, nulls)?,
        DataType::Binary => read_texts::<GenericBinaryType<i32>>(source, rows, nulls)?,
        DataType::LargeBinary => read_texts::<GenericBinaryType<i64>>(source, rows, nulls)?,
        DataType::FixedSizeBinary(width) => {
            let bytes = source.take(usize::try_from(*width).map_err(|_| damaged())? * rows)?;
            let array = FixedSizeBinaryArray::try_new(*width, Buffer::from_slice_ref(bytes), nulls);
            Arc::new(array.map_err(|_| damaged())?)
        }
        DataType::Int16 => read_numbers::<Int16Type>(source, data_type, rows, nulls)?,
        DataType::Int32 => read_numbers::<Int32Type>(source, data_type, rows, nulls)?,
        DataType::Int64 => read_numbers::<Int64Type>(source, data_type, rows, nulls)?,
        DataType::Float32 => read_numbers::<Float32Type>(source, data_type, rows, nulls)?,
        DataType::Float64 => read_numbers::<Float64Type>(source, data_type, rows, nulls)?,
        DataType::Date32 => read_numbers::<Date32Type>(source, data_type, rows, nulls)?,
        DataType::Time64(_) => read_numbers::<Time64MicrosecondType>(source, data_type, rows, nulls)?,
        DataType::Timestamp(..) => read_numbers::<TimestampMicrosecondType>(source, data_type, rows, nulls)?,
        _ => return Err(damaged()),
    })
}

fn read_numbers<T: ArrowPrimitiveType>(
    source: &mut Source<'_>,
    data_type: &DataType,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let bytes = source.take(size_of::<T::Native>() * rows)?;
    let values = ScalarBuffer::<T::Native>::new(Buffer::from_slice_ref(bytes), 0, rows);
    let array = PrimitiveArray::<T>::try_new(values, nulls).map_err(|_| damaged())?;
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}

fn read_texts<T: ByteArrayType>(
    source: &mut Source<'_>,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let bytes = source.take(size_of::<T::Offset>() * (rows + 1))?;
    let offsets = ScalarBuffer::<T::Offset>::new(Buffer::from_slice_ref(bytes), 0, rows + 1);
    let rises = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    if !rises || offsets[0].as_usize() != 0 {
        return Err(damaged());
    }
    let values = source.take(offsets[rows].as_usize())?;
    let offsets = OffsetBuffer::new(offsets);
    let array = GenericByteArray::<T>::try_new(offsets, Buffer::from_slice_ref(values), nulls);
    Ok(Arc::new(array.map_err(|_| damaged())?))
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryArray, Int32Array, LargeBinaryArray, StringArray, TimestampMicrosecondArray};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn batch() -> RecordBatch {
        let rows = 21;
        let even = |row: usize| row.is_multiple_of(2);
        let columns: Vec<ArrayRef> = vec![
            Arc::new((0..rows).map(|row| even(row).then_some(row as i32)).collect::<Int32Array>()),
            Arc::new((0..rows).map(|row| (!even(row)).then(|| "x".repeat(row))).collect::<StringArray>()),
            Arc::new((0..rows).map(|row| (row > 3).then_some(even(row))).collect::<BooleanArray>()),
            Arc::new(
                (0..rows)
                    .map(|row| Some(row as i64))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
            Arc::new(BinaryArray::from_iter_values((0..rows).map(|row| vec![row as u8; row]))),
            Arc::new(LargeBinaryArray::from_iter_values((0..rows).map(|row| vec![7; row % 3]))),
            Arc::new(
                FixedSizeBinaryArray::try_from_iter((0..rows).map(|row| [row as u8; 16]))
                    .expect("equal sizes"),
            ),
        ];
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(place, column)| Field::new(place.to_string(), column.data_type().clone(), true))
            .collect();
        batch_of(&Arc::new(Schema::new(fields)), columns, rows)
    }

    #[test]
    fn batches_come_back() {
        let batch = batch();
        for (start, length) in [(0, 21), (3, 11), (20, 1), (5, 0), (8, 8)] {
            let part = batch.slice(start, length);
            let bytes = encode(&part).expect("known types");
            assert_eq!(decode(&bytes, &batch.schema()).expect("whole"), part);
        }
        let none = batch_of(&Arc::new(Schema::empty()), Vec::new(), 5);
        assert_eq!(decode(&encode(&none).expect("no types"), &none.schema()).expect("whole").num_rows(), 5);
    }

    #[test]
    fn damage_is_an_error_or_another_batch() {
        let batch = batch();
        let bytes = encode(&batch).expect("known types");
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], &batch.schema()).is_err());
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x81;
            drop(decode(&damaged, &batch.schema()));
        }
    }
}
