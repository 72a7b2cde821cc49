//! Sums, differences and products of columns of `numeric`, where all values of a column have one scale and coefficients
//! of 64 bits, as those of a `numeric(15, 2)` have: integers are added or multiplied, and nothing can overflow.
//!
//! A result has at most 38 digits: a product of two such coefficients is below 2^126, and a sum is computed only of
//! scales that differ by at most 18 digits, so that it is below 2^63 * 10^18 + 2^63.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal64Type;
use arrow_array::{Array, FixedSizeBinaryArray};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::DataType;
use omen_core::types::numeric::NUMERIC_BYTES;
use omen_core::types::{Datum, Numeric};

use super::Call;
use super::lift::Result;
use super::numeric::binary;
use crate::expr::value::Value;

/// Digits by which scales of terms may differ.
const SHIFT_MAX: u8 = 18;
/// Digits behind the point that a numeric can have.
const SCALE_MAX: u8 = 38;

/// What is done with two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
}

/// `numeric + numeric`
pub(crate) fn add(call: &Call<'_>) -> Result<Value> {
    match small_result(call, Operation::Add) {
        Some(sums) => Ok(sums),
        None => binary(call, Numeric::try_add),
    }
}

/// `numeric - numeric`
pub(crate) fn sub(call: &Call<'_>) -> Result<Value> {
    match small_result(call, Operation::Sub) {
        Some(differences) => Ok(differences),
        None => binary(call, Numeric::try_sub),
    }
}

/// `numeric * numeric`
pub(crate) fn mul(call: &Call<'_>) -> Result<Value> {
    match small_result(call, Operation::Mul) {
        Some(products) => Ok(products),
        None => binary(call, Numeric::try_mul),
    }
}

fn small_result(call: &Call<'_>, operation: Operation) -> Option<Value> {
    let [a, b] = small_arguments(call)?;
    results(operation, &a, &b, call.rows)
}

/// The results for columns of so many rows; `None` if they could have too many digits.
pub(crate) fn results(operation: Operation, a: &Small, b: &Small, rows: usize) -> Option<Value> {
    if operation == Operation::Mul {
        let scale = a.scale + b.scale;
        return (scale <= SCALE_MAX).then(|| array(rows, scale, |row| a.get(row) * b.get(row)));
    }
    let (scale, a_shift, b_shift) = shifts(a, b)?;
    let (a_shift, b_shift) = (i128::from(a_shift), i128::from(b_shift));
    Some(match operation {
        Operation::Add => array(rows, scale, |row| a.get(row) * a_shift + b.get(row) * b_shift),
        _ => array(rows, scale, |row| a.get(row) * a_shift - b.get(row) * b_shift),
    })
}

/// The scale of a sum, and what brings the terms to it.
fn shifts(a: &Small, b: &Small) -> Option<(u8, i64, i64)> {
    let scale = a.scale.max(b.scale);
    let shift =
        |arg: &Small| (scale - arg.scale <= SHIFT_MAX).then(|| 10i64.pow(u32::from(scale - arg.scale)));
    Some((scale, shift(a)?, shift(b)?))
}

/// Both arguments, if one of them is a column.
fn small_arguments(call: &Call<'_>) -> Option<[Small; 2]> {
    if call.is_scalar() {
        return None;
    }
    Some([Small::of(&call.args[0])?, Small::of(&call.args[1])?])
}

/// The bound of any coefficient of 64 bits.
const BITS_MAX: u32 = 63;

/// Numbers of one scale, with coefficients of 64 bits.
#[derive(Debug)]
pub struct Small {
    scale: u8,
    /// No coefficient is further from 0 than 2 to this power.
    bits: u32,
    coefficients: Coefficients,
}

/// The power of 2 that no number is beyond of those whose bits are together these: of negative ones the others.
fn bits_of(together: i64) -> u32 {
    i64::BITS - together.leading_zeros()
}

#[derive(Debug)]
enum Coefficients {
    Each(ScalarBuffer<i64>),
    Same(i64),
}

impl Small {
    /// The argument, which may be coefficients, if it is so; `None` also if it has NULLs, whose places hold anything.
    pub(crate) fn of(value: &Value) -> Option<Small> {
        match value {
            Value::Array(array) if let DataType::Decimal64(_, scale) = array.data_type() => {
                let coefficients = array.as_primitive::<Decimal64Type>().values();
                let together =
                    coefficients.iter().fold(0, |together, value| together | (value ^ (value >> 63)));
                let coefficients = Coefficients::Each(coefficients.clone());
                Some(Small { scale: scale.cast_unsigned(), bits: bits_of(together), coefficients })
            }
            Value::Scalar(Datum::Numeric(value)) => {
                let (scale, coefficient) = small(&value.to_bytes());
                (scale <= SCALE_MAX).then_some(())?;
                let coefficient = coefficient?;
                let bits = bits_of(coefficient ^ (coefficient >> 63));
                Some(Small { scale, bits, coefficients: Coefficients::Same(coefficient) })
            }
            Value::Scalar(_) => None,
            Value::Array(array) => {
                (array.null_count() == 0).then_some(())?;
                let array = array.as_fixed_size_binary();
                let values = &array.value_data().as_chunks::<NUMERIC_BYTES>().0[..array.len()];
                let (scale, _) = small(values.first()?);
                (scale <= SCALE_MAX).then_some(())?;
                let mut coefficients = Vec::with_capacity(values.len());
                // One look at the end instead of one at each value.
                let (mut odd, mut together) = (0, 0);
                coefficients.extend(values.iter().map(|[own, coefficient @ ..]| {
                    let wide = i128::from_le_bytes(*coefficient);
                    let (coefficient, high) = (wide as i64, (wide >> 64) as i64);
                    let sign = coefficient >> 63;
                    odd |= (high ^ sign) | i64::from(*own ^ scale);
                    together |= coefficient ^ sign;
                    coefficient
                }));
                let coefficients = Coefficients::Each(coefficients.into());
                (odd == 0).then_some(Small { scale, bits: bits_of(together), coefficients })
            }
        }
    }

    /// The results for these numbers, one of which is a column; `None` if not all have 64 bits.
    pub(crate) fn combine(operation: Operation, a: &Small, b: &Small) -> Option<Small> {
        if operation == Operation::Mul {
            let scale = a.scale + b.scale;
            (scale <= SCALE_MAX).then_some(())?;
            let bits = a.bits + b.bits;
            return if bits < BITS_MAX {
                Small::zip(scale, bits, a, b, |a, b| (a.wrapping_mul(b), false))
            } else {
                Small::zip(scale, BITS_MAX, a, b, i64::overflowing_mul)
            };
        }
        let (scale, a_shift, b_shift) = shifts(a, b)?;
        let shifted = |arg: &Small, shift: i64| arg.bits + if shift == 1 { 0 } else { bits_of(shift) };
        let bits = shifted(a, a_shift).max(shifted(b, b_shift)) + 1;
        if bits < BITS_MAX {
            return match operation {
                Operation::Add => Small::zip(scale, bits, a, b, |a, b| (a * a_shift + b * b_shift, false)),
                _ => Small::zip(scale, bits, a, b, |a, b| (a * a_shift - b * b_shift, false)),
            };
        }
        let combine = match operation {
            Operation::Add => i64::overflowing_add,
            _ => i64::overflowing_sub,
        };
        Small::zip(scale, BITS_MAX, a, b, |a, b| {
            let ((a, a_over), (b, b_over)) = (a.overflowing_mul(a_shift), b.overflowing_mul(b_shift));
            let (result, over) = combine(a, b);
            (result, a_over | b_over | over)
        })
    }

    /// `f` says whether its result has more bits.
    #[inline]
    fn zip(scale: u8, bits: u32, a: &Small, b: &Small, f: impl Fn(i64, i64) -> (i64, bool)) -> Option<Small> {
        let mut over = false;
        let mut f = |a: i64, b: i64| {
            let (result, own) = f(a, b);
            over |= own;
            result
        };
        let coefficients: Vec<i64> = match (&a.coefficients, &b.coefficients) {
            (Coefficients::Each(a), Coefficients::Each(b)) => a.iter().zip(b).map(pair(&mut f)).collect(),
            (Coefficients::Each(a), Coefficients::Same(b)) => {
                a.iter().map(|a| (a, b)).map(pair(&mut f)).collect()
            }
            (Coefficients::Same(a), Coefficients::Each(b)) => {
                b.iter().map(|b| (a, b)).map(pair(&mut f)).collect()
            }
            (Coefficients::Same(_), Coefficients::Same(_)) => return None,
        };
        (!over).then_some(Small { scale, bits, coefficients: Coefficients::Each(coefficients.into()) })
    }

    /// The sum of the numbers of each of so many groups, and their scale; without groups, of all. `None` if the numbers
    /// are no column.
    pub(crate) fn sums(&self, ids: Option<&[u32]>, groups: usize) -> Option<(Vec<i128>, u8)> {
        let Coefficients::Each(values) = &self.coefficients else { return None };
        let is_narrow = self.bits + usize::BITS - values.len().leading_zeros() < BITS_MAX;
        let sums = match (ids, is_narrow) {
            (None, true) => vec![i128::from(values.iter().sum::<i64>())],
            (None, false) => vec![values.iter().map(|value| i128::from(*value)).sum()],
            (Some(ids), true) => {
                sums_of_groups(ids, values, groups, 0i64, |sum, value| sum + value).map(i128::from).collect()
            }
            (Some(ids), false) => {
                sums_of_groups(ids, values, groups, 0i128, |sum, value| sum + i128::from(value)).collect()
            }
        };
        Some((sums, self.scale))
    }

    #[inline]
    fn get(&self, row: usize) -> i128 {
        i128::from(match &self.coefficients {
            Coefficients::Each(coefficients) => coefficients[row],
            Coefficients::Same(coefficient) => *coefficient,
        })
    }
}

/// The sum of the values of each group.
#[inline]
fn sums_of_groups<T: Copy + std::iter::Sum>(
    ids: &[u32],
    values: &[i64],
    groups: usize,
    zero: T,
    add: impl Fn(T, i64) -> T,
) -> impl Iterator<Item = T> {
    /// Neighbours often have the same group: with sums apart, none waits for that of the row before.
    const LANES: usize = 4;
    let mut sums = vec![[zero; LANES]; groups];
    let ((some_ids, last_ids), (some, last)) = (ids.as_chunks::<LANES>(), values.as_chunks::<LANES>());
    for (ids, values) in some_ids.iter().zip(some) {
        for lane in 0..LANES {
            let sum = &mut sums[ids[lane] as usize][lane];
            *sum = add(*sum, values[lane]);
        }
    }
    for (id, value) in last_ids.iter().zip(last) {
        let [sum, ..] = &mut sums[*id as usize];
        *sum = add(*sum, *value);
    }
    sums.into_iter().map(|lanes| lanes.into_iter().sum())
}

fn pair<'a>(mut f: impl FnMut(i64, i64) -> i64) -> impl FnMut((&'a i64, &'a i64)) -> i64 {
    move |(a, b)| f(*a, *b)
}

/// Scale and coefficient of a numeric that lies in an array, if 64 bits hold it.
#[inline]
fn small(value: &[u8; NUMERIC_BYTES]) -> (u8, Option<i64>) {
    let [scale, coefficient @ ..] = value;
    (*scale, i64::try_from(i128::from_le_bytes(*coefficient)).ok())
}

fn array(rows: usize, scale: u8, coefficient: impl Fn(usize) -> i128) -> Value {
    let mut values = Vec::with_capacity(rows);
    values.extend((0..rows).map(|row| {
        let coefficient = coefficient(row);
        let mut bytes = [0; NUMERIC_BYTES];
        let [start @ .., last] = &mut bytes;
        *start = (coefficient << 8 | i128::from(scale)).to_le_bytes();
        *last = (coefficient >> 120) as u8;
        bytes
    }));
    let values = Buffer::from_vec(values.into_flattened());
    Value::Array(Arc::new(FixedSizeBinaryArray::new(NUMERIC_BYTES as i32, values, None)))
}

#[cfg(test)]
mod tests {
    use omen_core::types::PgType;

    use super::*;
    use crate::expr::EvalContext;

    fn column(texts: &[&str]) -> Value {
        let values = texts.iter().map(|text| Numeric::parse(text).expect(text).to_bytes());
        let values: Vec<u8> = values.flatten().collect();
        Value::Array(Arc::new(FixedSizeBinaryArray::new(17, Buffer::from_vec(values), None)))
    }

    fn texts(value: &Value) -> Vec<String> {
        let Value::Array(array) = value else { panic!("a column") };
        let values = array.as_fixed_size_binary();
        let read = |row| Numeric::from_bytes(values.value(row).try_into().expect("17 bytes")).expect("valid");
        (0..values.len()).map(|row| read(row).to_string()).collect()
    }

    /// Sums of groups at the bounds where more bits are needed, with rows that fill no lanes.
    #[test]
    fn sums_of_groups_are_exact() {
        let mut state = 7u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 11
        };
        for bits in [1, 20, 52, 53, 60, 61, 62, 63] {
            for rows in [1usize, 3, 4, 5, 511, 512, 1_030] {
                let values: Vec<i64> = (0..rows)
                    .map(|row| match row % 3 {
                        0 => (next() as i64) << 11 >> (64 - bits - 1),
                        1 => i64::MAX >> (63 - bits),
                        _ => i64::MIN >> (63 - bits),
                    })
                    .collect();
                let mut bytes = vec![[0; NUMERIC_BYTES]; rows];
                for (value, place) in values.iter().zip(&mut bytes) {
                    Numeric::write_small(3, *value, place);
                    let plain = Numeric::new(i128::from(*value), 3).expect("64 bits");
                    assert_eq!(*place, plain.to_bytes());
                }
                let bytes = Buffer::from_vec(bytes.into_flattened());
                let small = Small::of(&Value::Array(Arc::new(FixedSizeBinaryArray::new(17, bytes, None))));
                let small = small.expect("one scale");
                let ids: Vec<u32> = (0..rows).map(|_| (next() % 5) as u32).collect();
                let mut expected = [0i128; 5];
                for (id, value) in ids.iter().zip(&values) {
                    expected[*id as usize] += i128::from(*value);
                }
                assert_eq!(
                    small.sums(Some(&ids), 5),
                    Some((expected.to_vec(), 3)),
                    "{bits} bits, {rows} rows"
                );
                assert_eq!(small.sums(None, 1), Some((vec![expected.iter().sum()], 3)));
            }
        }
    }

    /// The extremes of 64 bits, at scales that differ by as much as they may and by more, and what is too large.
    #[test]
    fn fast_and_slow_agree() {
        let int8 = ["9223372036854775807", "-9223372036854775808", "0", "-1"];
        let columns = [
            int8.to_vec(),
            vec!["1.50", "-0.25", "0.00", "99999999.99"],
            vec![
                "0.000000000000000001",
                "-9.223372036854775808",
                "9.223372036854775807",
                "1.000000000000000000",
            ],
            vec!["1.5", "2.25", "3", "4"],
            vec!["9223372036854775808", "1", "2", "3"],
            vec!["NaN", "NaN", "NaN", "NaN"],
            vec![
                "0.0000000000000000001",
                "1.0000000000000000000",
                "0.5000000000000000000",
                "-0.2500000000000000000",
            ],
        ];
        let mut values: Vec<Value> = columns.iter().map(|texts| column(texts)).collect();
        values.push(Value::Scalar(Datum::Numeric(Numeric::ONE)));
        values.push(Value::Scalar(Datum::Numeric(Numeric::NAN)));
        type Kernel = fn(&Call<'_>) -> Result<Value>;
        type Slow = fn(Numeric, Numeric) -> std::result::Result<Numeric, omen_core::error::ValueError>;
        let kernels: [(Kernel, Slow, Operation); 3] = [
            (add, Numeric::try_add, Operation::Add),
            (sub, Numeric::try_sub, Operation::Sub),
            (mul, Numeric::try_mul, Operation::Mul),
        ];
        let context = EvalContext::new(1);
        let (mut fast, mut slow, mut combined) = (0, 0, 0);
        for a in &values {
            for b in &values {
                let args = [a.clone(), b.clone()];
                let types = [PgType::Numeric(None); 2];
                let call = Call { args: &args, types: &types, rows: 4, result: types[0], context: &context };
                if call.is_scalar() {
                    continue;
                }
                let is_fast = small_arguments(&call).is_some();
                *(if is_fast { &mut fast } else { &mut slow }) += 1;
                for (kernel, plain, operation) in kernels {
                    let expected = binary(&call, plain).expect("no overflow");
                    assert_eq!(texts(&kernel(&call).expect("no overflow")), texts(&expected));
                    let small = small_arguments(&call).and_then(|[a, b]| Small::combine(operation, &a, &b));
                    if let Some(small) = small {
                        combined += 1;
                        assert_eq!(texts(&array(4, small.scale, |row| small.get(row))), texts(&expected));
                    }
                }
            }
        }
        assert!(fast > 10 && slow > 10, "{fast} fast, {slow} slow");
        assert!(combined > 10 && combined < fast * 3, "{combined} combined");
    }
}
