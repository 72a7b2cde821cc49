//! `sum` and `avg`.
//!
//! Integers are summed exactly, in 128 bits. Floats are added in the order of rows and in the precision of
//! PostgreSQL: `sum(real)` as real, averages as double. A state is the total and the count of values.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array};
use arrow_schema::DataType;
use omen_core::error::{SqlState, ValueError};
use omen_core::types::{Interval, Numeric, PgType};

use super::resolve::Average;
use super::source::{Intervals, Numerics, Primitive, Source, fixed_array, fixed_values, fold, selected};
use super::{Accumulator, Groups};
use crate::expr::kernel::decimal::Small;
use crate::expr::value::Value;

/// The accumulator of a sum or average.
pub(super) fn accumulator(arg: PgType, average: Average) -> Box<dyn Accumulator> {
    match arg {
        PgType::Int2 => Box::new(Sums::<Primitive<Int16Type>, Whole>::new(average, Some(sum_integers))),
        PgType::Int4 => Box::new(Sums::<Primitive<Int32Type>, Whole>::new(average, Some(sum_integers))),
        PgType::Int8 => Box::new(Sums::<Primitive<Int64Type>, Wide>::new(average, Some(sum_wide))),
        PgType::Float4 if !average.0 => Box::new(Sums::<Primitive<Float32Type>, f32>::new(average, None)),
        PgType::Float4 => Box::new(Sums::<Primitive<Float32Type>, f64>::new(average, None)),
        PgType::Float8 => Box::new(Sums::<Primitive<Float64Type>, f64>::new(average, None)),
        PgType::Numeric(_) => {
            let sums = Sums::<Numerics, Numeric>::new(average, None);
            Box::new(Sums { together: Some(add_decimals), ..sums })
        }
        PgType::Interval => Box::new(Sums::<Intervals, Interval>::new(average, None)),
        _ => unreachable!("no sum of {arg}"),
    }
}

/// What values are added up in.
trait Total: Copy + 'static {
    /// The total of no values.
    const ZERO: Self;

    fn try_add(self, other: Self) -> Result<Self, ValueError>;
    fn data_type() -> DataType;
    fn to_array(totals: impl Iterator<Item = Self>) -> ArrayRef;
    fn from_array(array: &ArrayRef) -> Vec<Self>;
    fn sums(totals: impl Iterator<Item = Option<Self>>) -> Result<ArrayRef, ValueError>;
    fn averages(totals: impl Iterator<Item = Option<(Self, i64)>>) -> Result<ArrayRef, ValueError>;
}

/// A total of `smallint` or `integer`; its sum is `bigint`.
#[derive(Clone, Copy)]
struct Whole(i128);

/// A total of `bigint`; its sum is `numeric`.
#[derive(Clone, Copy)]
struct Wide(i128);

impl<T: Into<i128>> From<T> for Whole {
    fn from(value: T) -> Whole {
        Whole(value.into())
    }
}

impl From<i64> for Wide {
    fn from(value: i64) -> Wide {
        Wide(value.into())
    }
}

/// The sum, in loops that vectorise: the upper and lower halves of the values apart.
fn sum_i64<T: Copy + Into<i64>>(values: &[T]) -> i128 {
    /// So many halves fit their 64-bit sums.
    const CHUNK_ROWS: usize = 1 << 30;
    let chunk = |values: &[T]| {
        let (mut low, mut high) = (0u64, 0i64);
        for value in values {
            let value: i64 = (*value).into();
            low += value as u64 & 0xffff_ffff;
            high += value >> 32;
        }
        (i128::from(high) << 32) + i128::from(low)
    };
    values.chunks(CHUNK_ROWS).map(chunk).sum()
}

fn sum_integers<T: Copy + Into<i64>>(values: &[T]) -> Whole {
    Whole(sum_i64(values))
}

fn sum_wide(values: &[i64]) -> Wide {
    Wide(sum_i64(values))
}

fn integer_average((total, count): (i128, i64)) -> Result<Numeric, ValueError> {
    Numeric::from_i128(total)?.try_div(Numeric::from(count))
}

macro_rules! integer_total {
    ($name:ident, $sums:expr) => {
        impl Total for $name {
            const ZERO: $name = $name(0);

            /// Cannot overflow: that takes 2^64 values.
            #[inline]
            fn try_add(self, other: $name) -> Result<$name, ValueError> {
                Ok($name(self.0 + other.0))
            }

            fn data_type() -> DataType {
                DataType::FixedSizeBinary(16)
            }

            fn to_array(totals: impl Iterator<Item = $name>) -> ArrayRef {
                fixed_array(totals.map(|total| Some(total.0.to_le_bytes())))
            }

            fn from_array(array: &ArrayRef) -> Vec<$name> {
                fixed_values(array).iter().map(|bytes| $name(i128::from_le_bytes(*bytes))).collect()
            }

            fn sums(totals: impl Iterator<Item = Option<$name>>) -> Result<ArrayRef, ValueError> {
                let sums: fn(i128) -> _ = $sums;
                collect(totals.map(|total| total.map(|total| sums(total.0))))
            }

            fn averages(totals: impl Iterator<Item = Option<($name, i64)>>) -> Result<ArrayRef, ValueError> {
                collect(totals.map(|total| total.map(|(total, count)| integer_average((total.0, count)))))
            }
        }
    };
}

integer_total!(Whole, |total| i64::try_from(total)
    .map_err(|_| { ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range") }));
integer_total!(Wide, Numeric::from_i128);

/// Values of which an array of results is made.
trait Results: Sized {
    fn results(values: Vec<Option<Self>>) -> ArrayRef;
}

impl Results for i64 {
    fn results(values: Vec<Option<i64>>) -> ArrayRef {
        Arc::new(Int64Array::from(values))
    }
}

impl Results for Numeric {
    fn results(values: Vec<Option<Numeric>>) -> ArrayRef {
        Numerics::array(values.into_iter())
    }
}

impl Results for Interval {
    fn results(values: Vec<Option<Interval>>) -> ArrayRef {
        Intervals::array(values.into_iter())
    }
}

fn collect<T: Results>(
    values: impl Iterator<Item = Option<Result<T, ValueError>>>,
) -> Result<ArrayRef, ValueError> {
    Ok(T::results(values.map(Option::transpose).collect::<Result<_, _>>()?))
}

/// 22003 as floats report it.
pub(super) fn float_overflow() -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

macro_rules! float_total {
    ($name:ident, $arrow:ident, $array:ident, $data_type:expr) => {
        impl Total for $name {
            /// Negative, so that the sum of nothing but `-0` is `-0`.
            const ZERO: $name = -0.0;

            #[inline]
            fn try_add(self, other: $name) -> Result<$name, ValueError> {
                let sum = self + other;
                if sum.is_infinite() && !self.is_infinite() && !other.is_infinite() {
                    return Err(float_overflow());
                }
                Ok(sum)
            }

            fn data_type() -> DataType {
                $data_type
            }

            fn to_array(totals: impl Iterator<Item = $name>) -> ArrayRef {
                Arc::new(totals.map(Some).collect::<$array>())
            }

            fn from_array(array: &ArrayRef) -> Vec<$name> {
                array.as_primitive::<$arrow>().values().to_vec()
            }

            fn sums(totals: impl Iterator<Item = Option<$name>>) -> Result<ArrayRef, ValueError> {
                Ok(Arc::new(totals.collect::<$array>()))
            }

            fn averages(totals: impl Iterator<Item = Option<($name, i64)>>) -> Result<ArrayRef, ValueError> {
                let average = |(total, count): ($name, i64)| (f64::from(total) + 0.0) / count as f64;
                Ok(Arc::new(totals.map(|total| total.map(average)).collect::<Float64Array>()))
            }
        }
    };
}

float_total!(f32, Float32Type, Float32Array, DataType::Float32);
float_total!(f64, Float64Type, Float64Array, DataType::Float64);

impl Total for Numeric {
    const ZERO: Numeric = Numeric::ZERO;

    #[inline]
    fn try_add(self, other: Numeric) -> Result<Numeric, ValueError> {
        Numeric::try_add(self, other)
    }

    fn data_type() -> DataType {
        PgType::Numeric(None).arrow()
    }

    fn to_array(totals: impl Iterator<Item = Numeric>) -> ArrayRef {
        Numerics::array(totals.map(Some))
    }

    fn from_array(array: &ArrayRef) -> Vec<Numeric> {
        Numerics::raw(array).iter().map(|raw| Numerics::value(*raw)).collect()
    }

    fn sums(totals: impl Iterator<Item = Option<Numeric>>) -> Result<ArrayRef, ValueError> {
        Ok(Numerics::array(totals))
    }

    fn averages(totals: impl Iterator<Item = Option<(Numeric, i64)>>) -> Result<ArrayRef, ValueError> {
        collect(totals.map(|total| total.map(|(total, count)| total.try_div(Numeric::from(count)))))
    }
}

impl Total for Interval {
    const ZERO: Interval = Interval { months: 0, days: 0, micros: 0 };

    #[inline]
    fn try_add(self, other: Interval) -> Result<Interval, ValueError> {
        Interval::try_add(self, other)
    }

    fn data_type() -> DataType {
        PgType::Interval.arrow()
    }

    fn to_array(totals: impl Iterator<Item = Interval>) -> ArrayRef {
        Intervals::array(totals.map(Some))
    }

    fn from_array(array: &ArrayRef) -> Vec<Interval> {
        Intervals::raw(array).iter().map(|raw| Intervals::value(*raw)).collect()
    }

    fn sums(totals: impl Iterator<Item = Option<Interval>>) -> Result<ArrayRef, ValueError> {
        Ok(Intervals::array(totals))
    }

    fn averages(totals: impl Iterator<Item = Option<(Interval, i64)>>) -> Result<ArrayRef, ValueError> {
        collect(totals.map(|total| total.map(|(total, count)| total.try_div(count as f64))))
    }
}

#[derive(Clone, Copy)]
struct Sum<T> {
    total: T,
    count: i64,
}

impl<T: Total> Default for Sum<T> {
    fn default() -> Sum<T> {
        Sum { total: T::ZERO, count: 0 }
    }
}

type BatchSum<S, T> = fn(&[<S as Source>::Raw]) -> T;
/// Adds numbers to the totals of their groups, which have so many rows; `None` if it leaves that to others.
type Together<T> = fn(&mut [Sum<T>], Groups<'_>, &[i64], &Small) -> Option<Result<(), ValueError>>;

/// Most groups whose sums of one batch are kept apart before they are added to the totals.
const TOGETHER_GROUPS_MAX: usize = 256;

fn add_decimals(
    sums: &mut [Sum<Numeric>],
    groups: Groups<'_>,
    counts: &[i64],
    values: &Small,
) -> Option<Result<(), ValueError>> {
    let ids = match groups {
        Groups::One(_) => None,
        Groups::Each(ids) => Some(ids),
    };
    let (added, scale) = values.sums(ids, sums.len())?;
    let mut sums = sums.iter_mut().zip(added).zip(counts).filter(|(_, count)| **count > 0);
    Some(sums.try_for_each(|((sum, total), count)| {
        let total = Numeric::new(total, scale).expect("the values of a batch are few");
        sum.total = sum.total.try_add(total)?;
        sum.count += count;
        Ok(())
    }))
}

/// Totals of each group.
struct Sums<S: Source, T> {
    sums: Vec<Sum<T>>,
    average: Average,
    /// Adds up a whole batch, where that is faster than value by value.
    batch: Option<BatchSum<S, T>>,
    /// The same for each group.
    together: Option<Together<T>>,
}

impl<S: Source, T: Total> Sums<S, T> {
    fn new(average: Average, batch: Option<BatchSum<S, T>>) -> Sums<S, T> {
        Sums { sums: Vec::new(), average, batch, together: None }
    }
}

impl<S: Source, T: Total + From<S::Value>> Accumulator for Sums<S, T> {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups.max(self.sums.len()), Sum::default());
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let values = &S::raw(&args[0])[..groups.row_count()];
        let rows = selected(args[0].nulls(), filter);
        if let (Groups::One(count), None, Some(batch)) = (groups, &rows, self.batch) {
            let sum = &mut self.sums[0];
            sum.total = sum.total.try_add(batch(values))?;
            sum.count += i64::try_from(count).expect("rows of a batch");
            return Ok(());
        }
        if rows.is_none()
            && self.takes_small()
            && let Some(small) = Small::of(&Value::Array(Arc::clone(&args[0])))
            && let Some(added) = self.update_small(groups, &groups.counts(self.sums.len()), &small)
        {
            return added;
        }
        fold(&mut self.sums, groups, rows.as_ref(), |sum, row| {
            sum.total = sum.total.try_add(T::from(S::value(values[row])))?;
            sum.count += 1;
            Ok(())
        })
    }

    fn takes_small(&self) -> bool {
        self.together.is_some() && self.sums.len() <= TOGETHER_GROUPS_MAX
    }

    fn update_small(
        &mut self,
        groups: Groups<'_>,
        counts: &[i64],
        values: &Small,
    ) -> Option<Result<(), ValueError>> {
        self.together?(&mut self.sums, groups, counts, values)
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let totals = T::from_array(&states[0]);
        let counts = states[1].as_primitive::<Int64Type>().values();
        fold(&mut self.sums, groups, None, |sum, row| {
            if counts[row] > 0 {
                sum.total = sum.total.try_add(totals[row])?;
                sum.count += counts[row];
            }
            Ok(())
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![T::data_type(), DataType::Int64]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        let counts: Int64Array = self.sums.iter().map(|sum| Some(sum.count)).collect();
        Ok(vec![T::to_array(self.sums.iter().map(|sum| sum.total)), Arc::new(counts)])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        let sums = self.sums.iter().map(|sum| (sum.count > 0).then_some((sum.total, sum.count)));
        if self.average.0 { T::averages(sums) } else { T::sums(sums.map(|sum| sum.map(|(total, _)| total))) }
    }

    fn size_bytes(&self) -> usize {
        self.sums.capacity() * size_of::<Sum<T>>()
    }
}
