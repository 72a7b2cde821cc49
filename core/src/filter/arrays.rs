//! Filters over slices of numbers and over Arrow arrays.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};

use super::mask::{self, and_bits, and_not_bits, retain, retain_values};
use super::{Filter, FloatTest, IntTest, Ready};
use crate::types::PgType;

impl Filter {
    /// Clears the rows whose value fails; NULLs are the caller's to clear. The filter is not about NULL.
    ///
    /// # Panics
    /// If the column's values are not ordered as integers.
    pub(crate) fn retain_ints(&self, values: &[i64], mask: &mut [u64]) {
        let Ready::Ints(test) = &self.ready else {
            panic!("a filter of {} asked about integers", self.pg_type)
        };
        retain_ints(test, values, mask);
    }

    /// As [`Filter::retain_ints`] for floats.
    ///
    /// # Panics
    /// If the column's values are not floats.
    pub(crate) fn retain_floats(&self, values: &[f64], mask: &mut [u64]) {
        let Ready::Floats(test) = &self.ready else {
            panic!("a filter of {} asked about floats", self.pg_type)
        };
        retain_floats(test, values, mask);
    }

    /// Clears the rows for which the condition is not true.
    pub(crate) fn retain_array(&self, array: &dyn Array, mask: &mut [u64]) {
        match &self.ready {
            Ready::Never => mask.fill(0),
            Ready::Null => match array.nulls() {
                None => mask.fill(0),
                Some(nulls) => and_not_bits(mask, nulls.validity(), nulls.offset()),
            },
            _ => {
                if let Some(nulls) = array.nulls() {
                    and_bits(mask, nulls.validity(), nulls.offset());
                }
                self.retain_values_of(array, mask);
            }
        }
    }

    /// As [`Filter::retain_array`] for tests that ask for values, without looking at NULLs.
    fn retain_values_of(&self, array: &dyn Array, mask: &mut [u64]) {
        match (&self.ready, self.pg_type) {
            (Ready::Ints(test), PgType::Bool) => {
                let values = array.as_boolean().values();
                match (test.accepts(1), test.accepts(0)) {
                    (true, true) => {}
                    (true, false) => and_bits(mask, values.values(), values.offset()),
                    (false, true) => and_not_bits(mask, values.values(), values.offset()),
                    (false, false) => mask.fill(0),
                }
            }
            (Ready::Ints(test), PgType::Int2) => {
                retain_ints(test, array.as_primitive::<Int16Type>().values(), mask);
            }
            (Ready::Ints(test), PgType::Int4) => {
                retain_ints(test, array.as_primitive::<Int32Type>().values(), mask);
            }
            (Ready::Ints(test), PgType::Int8) => {
                retain_ints(test, array.as_primitive::<Int64Type>().values(), mask);
            }
            (Ready::Ints(test), PgType::Date) => {
                retain_ints(test, array.as_primitive::<Date32Type>().values(), mask);
            }
            (Ready::Ints(test), PgType::Time) => {
                retain_ints(test, array.as_primitive::<Time64MicrosecondType>().values(), mask);
            }
            (Ready::Ints(test), _) => {
                retain_ints(test, array.as_primitive::<TimestampMicrosecondType>().values(), mask);
            }
            (Ready::Floats(test), PgType::Float4) => {
                retain_floats(test, array.as_primitive::<Float32Type>().values(), mask);
            }
            (Ready::Floats(test), _) => {
                retain_floats(test, array.as_primitive::<Float64Type>().values(), mask);
            }
            (Ready::Bytes(_), PgType::Bytea) => {
                let values = array.as_binary::<i32>();
                retain(mask, |row| self.accepts(Some(values.value(row))));
            }
            (Ready::Bytes(_), pg_type) if pg_type.is_text() => {
                let values = array.as_string::<i32>();
                retain(mask, |row| self.accepts(Some(values.value(row).as_bytes())));
            }
            (Ready::Bytes(_) | Ready::Numerics(_) | Ready::Intervals(_), _) => {
                let values = array.as_fixed_size_binary();
                retain(mask, |row| self.accepts(Some(values.value(row))));
            }
            (Ready::Never | Ready::Null | Ready::NotNull, _) => {}
        }
    }
}

/// The number of a range that a value must not exceed, once the low end is subtracted, is compared as unsigned: one
/// comparison instead of two.
fn retain_ints<T: Copy + Into<i64>>(test: &IntTest, values: &[T], mask: &mut [u64]) {
    match test {
        IntTest::Range(low, i64::MAX) => retain_values(mask, values, |value| value.into() >= *low),
        IntTest::Range(i64::MIN, high) => retain_values(mask, values, |value| value.into() <= *high),
        IntTest::Range(low, high) => {
            let (low, width) = (*low, high.wrapping_sub(*low) as u64);
            retain_values(mask, values, move |value| value.into().wrapping_sub(low) as u64 <= width);
        }
        IntTest::AllBut(one) => retain_values(mask, values, |value| value.into() != *one),
        // Where few rows are left, only those are asked.
        IntTest::Among(set) if 8 * mask::count(mask) < values.len() => {
            retain(mask, |row| set.contains(values[row].into()));
        }
        IntTest::Among(set) => retain_values(mask, values, |value| set.contains(value.into())),
        IntTest::OneOf(list) => {
            // Most rows are beyond the extremes or are asked with few alternatives.
            const FEW: usize = 8;
            if list.len() <= FEW {
                retain_values(mask, values, |value| {
                    let value = value.into();
                    list.iter().fold(false, |found, other| found | (*other == value))
                });
            } else {
                retain(mask, |row| list.binary_search(&values[row].into()).is_ok());
            }
        }
    }
}

fn retain_floats<T: Copy + Into<f64>>(test: &FloatTest, values: &[T], mask: &mut [u64]) {
    match test {
        FloatTest::Range { low, high, nan: false } => {
            retain_values(mask, values, |value| {
                let value = value.into();
                (*low <= value) & (value <= *high)
            });
        }
        FloatTest::Range { low, high, nan: true } => {
            retain_values(mask, values, |value| {
                let value = value.into();
                ((*low <= value) & (value <= *high)) | value.is_nan()
            });
        }
        FloatTest::AllBut(one) => retain_values(mask, values, |value| value.into() != *one),
        FloatTest::OneOf(_) => retain(mask, |row| test.accepts(values[row].into())),
    }
}
