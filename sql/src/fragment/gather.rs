//! Values at positions of arrays: numerics, UUIDs and intervals as whole words, which are copied without a call for each.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, UInt32Array};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_schema::DataType;

/// The values at some positions.
pub(crate) fn take(column: &ArrayRef, indices: &UInt32Array) -> ArrayRef {
    let taken = match column.data_type() {
        DataType::FixedSizeBinary(17) => take_fixed::<17>(column.as_fixed_size_binary(), indices),
        DataType::FixedSizeBinary(16) => take_fixed::<16>(column.as_fixed_size_binary(), indices),
        _ => None,
    };
    taken.unwrap_or_else(|| {
        arrow_select::take::take(column, indices, None).expect("positions lie inside the array")
    })
}

/// None if some positions are NULL.
fn take_fixed<const N: usize>(array: &FixedSizeBinaryArray, indices: &UInt32Array) -> Option<ArrayRef> {
    if indices.null_count() > 0 {
        return None;
    }
    let (values, _) = array.value_data().as_chunks::<N>();
    let values = &values[..array.len()];
    let taken: Vec<[u8; N]> = indices.values().iter().map(|row| values[*row as usize]).collect();
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let nulls = nulls.map(|nulls| {
        indices.values().iter().map(|row| nulls.is_valid(*row as usize)).collect::<NullBuffer>()
    });
    let size = i32::try_from(N).ok()?;
    let array = FixedSizeBinaryArray::try_new(size, Buffer::from_vec(taken.into_flattened()), nulls);
    Some(Arc::new(array.expect("values of one size")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_size_are_taken_as_arrow_takes_them() {
        for size in [16u8, 17, 5] {
            for with_null in [false, true] {
                let value = |row: u8| vec![row; size.into()];
                let rows = (0..40u8).map(|row| (!with_null || row % 3 > 0).then(|| value(row)));
                let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows, size.into())
                    .expect("of one size");
                for (start, len) in [(0, 40), (7, 20), (39, 1), (3, 0)] {
                    let part: ArrayRef = Arc::new(array.slice(start, len));
                    let positions = (0..2 * len).map(|row| (row * 7 % len) as u32);
                    let all = UInt32Array::from_iter_values(positions.clone());
                    let some: UInt32Array = positions.map(|row| (row % 2 > 0).then_some(row)).collect();
                    for indices in [all, some] {
                        let expected = arrow_select::take::take(&part, &indices, None).expect("inside");
                        assert_eq!(&take(&part, &indices), &expected);
                    }
                }
            }
        }
    }
}
