//! How accumulators read arguments and make arrays: values as slices, the selected rows, one loop over groups.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray,
    StringArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use omen_core::error::{SqlState, ValueError};
use omen_core::types::interval::INTERVAL_BYTES;
use omen_core::types::numeric::NUMERIC_BYTES;
use omen_core::types::{Interval, Numeric};

use super::Groups;

/// A type of values and the arrays that hold them.
pub(super) trait Source: 'static {
    /// A value as it lies in an array.
    type Raw: Copy;
    /// A value.
    type Value: Copy;

    /// The values of an array; those of NULLs have no meaning.
    fn raw(array: &ArrayRef) -> &[Self::Raw];

    fn value(raw: Self::Raw) -> Self::Value;

    /// Whether `a` comes after `b` in the order of SQL.
    fn exceeds(a: Self::Value, b: Self::Value) -> bool;

    /// An array of the source's own type.
    fn array(values: impl Iterator<Item = Option<Self::Value>>) -> ArrayRef;
}

/// Numbers, dates and times.
pub(super) struct Primitive<T>(PhantomData<T>);
/// `numeric`
pub(super) struct Numerics;
/// `interval`
pub(super) struct Intervals;

macro_rules! primitive_sources {
    ($($arrow:ident: $exceeds:expr;)*) => {$(
        impl Source for Primitive<$arrow> {
            type Raw = <$arrow as ArrowPrimitiveType>::Native;
            type Value = Self::Raw;

            fn raw(array: &ArrayRef) -> &[Self::Raw] {
                array.as_primitive::<$arrow>().values()
            }

            #[inline]
            fn value(raw: Self::Raw) -> Self::Raw {
                raw
            }

            #[inline]
            fn exceeds(a: Self::Raw, b: Self::Raw) -> bool {
                let exceeds: fn(Self::Raw, Self::Raw) -> bool = $exceeds;
                exceeds(a, b)
            }

            fn array(values: impl Iterator<Item = Option<Self::Raw>>) -> ArrayRef {
                Arc::new(values.collect::<PrimitiveArray<$arrow>>())
            }
        }
    )*};
}

// NaN is above all numbers and equal to itself.
primitive_sources! {
    Int16Type: |a, b| a > b;
    Int32Type: |a, b| a > b;
    Int64Type: |a, b| a > b;
    Date32Type: |a, b| a > b;
    Time64MicrosecondType: |a, b| a > b;
    TimestampMicrosecondType: |a, b| a > b;
    Float32Type: |a, b| a > b || a.is_nan() && !b.is_nan();
    Float64Type: |a, b| a > b || a.is_nan() && !b.is_nan();
}

impl Source for Numerics {
    type Raw = [u8; NUMERIC_BYTES];
    type Value = Numeric;

    fn raw(array: &ArrayRef) -> &[Self::Raw] {
        fixed_values(array)
    }

    #[inline]
    fn value(raw: Self::Raw) -> Numeric {
        Numeric::from_trusted_bytes(raw)
    }

    #[inline]
    fn exceeds(a: Numeric, b: Numeric) -> bool {
        a.compare(b).is_gt()
    }

    fn array(values: impl Iterator<Item = Option<Numeric>>) -> ArrayRef {
        fixed_array(values.map(|value| value.map(Numeric::to_bytes)))
    }
}

impl Source for Intervals {
    type Raw = [u8; INTERVAL_BYTES];
    type Value = Interval;

    fn raw(array: &ArrayRef) -> &[Self::Raw] {
        fixed_values(array)
    }

    #[inline]
    fn value(raw: Self::Raw) -> Interval {
        Interval::from_bytes(raw)
    }

    #[inline]
    fn exceeds(a: Interval, b: Interval) -> bool {
        a.order() > b.order()
    }

    fn array(values: impl Iterator<Item = Option<Interval>>) -> ArrayRef {
        fixed_array(values.map(|value| value.map(Interval::to_bytes)))
    }
}

/// The values of an array of `N` bytes each.
pub(super) fn fixed_values<const N: usize>(array: &ArrayRef) -> &[[u8; N]] {
    let array = array.as_fixed_size_binary();
    assert_eq!(usize::try_from(array.value_length()), Ok(N), "type of the array");
    &array.value_data().as_chunks().0[..array.len()]
}

/// An array of `N` bytes each.
pub(super) fn fixed_array<const N: usize>(values: impl Iterator<Item = Option<[u8; N]>>) -> ArrayRef {
    let mut bytes: Vec<u8> = Vec::with_capacity(values.size_hint().0 * N);
    let mut valid = Vec::with_capacity(values.size_hint().0);
    for value in values {
        valid.push(value.is_some());
        bytes.extend_from_slice(&value.unwrap_or([0; N]));
    }
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
    let size = i32::try_from(N).expect("a few bytes");
    Arc::new(FixedSizeBinaryArray::new(size, Buffer::from_vec(bytes), nulls))
}

/// An array of values of any length.
///
/// # Errors
/// 54000 if they have more bytes than an array holds.
pub(super) fn bytes_array<'a>(
    values: impl Iterator<Item = Option<&'a [u8]>>,
    text: bool,
) -> Result<ArrayRef, ValueError> {
    let mut bytes = Vec::new();
    let mut offsets = vec![0i32];
    let mut valid = Vec::new();
    for value in values {
        valid.push(value.is_some());
        bytes.extend_from_slice(value.unwrap_or_default());
        offsets.push(i32::try_from(bytes.len()).map_err(|_| {
            ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "aggregated values exceed 2 GiB in total")
        })?);
    }
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
    let (offsets, bytes) = (OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(bytes));
    Ok(if text {
        Arc::new(StringArray::new(offsets, bytes, nulls))
    } else {
        Arc::new(BinaryArray::new(offsets, bytes, nulls))
    })
}

/// The bytes of a value of text or bytea.
pub(super) fn bytes_of(array: &ArrayRef, row: usize) -> &[u8] {
    match array.as_string_opt::<i32>() {
        Some(array) => array.value(row).as_bytes(),
        None => array.as_binary::<i32>().value(row),
    }
}

/// The rows that are not NULL and that the filter takes; `None` means all.
pub(super) fn selected(nulls: Option<&NullBuffer>, filter: Option<&BooleanArray>) -> Option<BooleanBuffer> {
    let valid = nulls.filter(|nulls| nulls.null_count() > 0).map(NullBuffer::inner);
    let filter = filter.map(|filter| match filter.nulls() {
        Some(nulls) => filter.values() & nulls.inner(),
        None => filter.values().clone(),
    });
    match (valid, filter) {
        (Some(valid), Some(filter)) => Some(valid & &filter),
        (valid, filter) => filter.or_else(|| valid.cloned()),
    }
}

/// Calls `step` with the state of its group for each selected row.
#[inline]
pub(super) fn fold<S: Default>(
    states: &mut [S],
    groups: Groups<'_>,
    rows: Option<&BooleanBuffer>,
    mut step: impl FnMut(&mut S, usize) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    match (groups, rows) {
        // The only state stays in registers.
        (Groups::One(count), rows) => {
            let mut state = std::mem::take(&mut states[0]);
            match rows {
                None => (0..count).try_for_each(|row| step(&mut state, row))?,
                Some(rows) => rows.set_indices().try_for_each(|row| step(&mut state, row))?,
            }
            states[0] = state;
        }
        (Groups::Each(ids), None) => {
            for (row, id) in ids.iter().enumerate() {
                step(&mut states[*id as usize], row)?;
            }
        }
        (Groups::Each(ids), Some(rows)) => {
            for row in rows.set_indices() {
                step(&mut states[ids[row] as usize], row)?;
            }
        }
    }
    Ok(())
}
