//! Sums, differences and products of columns of `numeric`, where all values of a column have one scale and coefficients
//! of 64 bits, as those of a `numeric(15, 2)` have: integers are added or multiplied, and nothing can overflow.
//!
//! A result has at most 38 digits: a product of two such coefficients is below 2^126, and a sum is computed only of
//! scales that differ by at most 18 digits, so that it is below 2^63 * 10^18 + 2^63.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, FixedSizeBinaryArray};
use arrow_buffer::Buffer;
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

/// Numbers of one scale, with coefficients of 64 bits.
#[derive(Debug)]
pub(crate) struct Small {
    scale: u8,
    coefficients: Coefficients,
}

#[derive(Debug)]
enum Coefficients {
    Each(Vec<i64>),
    Same(i64),
}

impl Small {
    /// The argument, if it is so; `None` also if it has NULLs, whose places hold anything.
    pub(crate) fn of(value: &Value) -> Option<Small> {
        match value {
            Value::Scalar(Datum::Numeric(value)) => {
                let (scale, coefficient) = small(&value.to_bytes());
                (scale <= SCALE_MAX).then_some(())?;
                Some(Small { scale, coefficients: Coefficients::Same(coefficient?) })
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
                let mut fits = true;
                coefficients.extend(values.iter().map(|value| {
                    let (own, coefficient) = small(value);
                    fits &= own == scale && coefficient.is_some();
                    coefficient.unwrap_or_default()
                }));
                fits.then_some(Small { scale, coefficients: Coefficients::Each(coefficients) })
            }
        }
    }

    /// The results for these numbers, one of which is a column; `None` if not all have 64 bits.
    pub(crate) fn combine(operation: Operation, a: &Small, b: &Small) -> Option<Small> {
        if operation == Operation::Mul {
            let scale = a.scale + b.scale;
            (scale <= SCALE_MAX).then_some(())?;
            return Small::zip(scale, a, b, i64::overflowing_mul);
        }
        let (scale, a_shift, b_shift) = shifts(a, b)?;
        let combine = match operation {
            Operation::Add => i64::overflowing_add,
            _ => i64::overflowing_sub,
        };
        if (a_shift, b_shift) == (1, 1) {
            // Apart, so that the loop has no products.
            return match operation {
                Operation::Add => Small::zip(scale, a, b, i64::overflowing_add),
                _ => Small::zip(scale, a, b, i64::overflowing_sub),
            };
        }
        Small::zip(scale, a, b, |a, b| {
            let ((a, a_over), (b, b_over)) = (a.overflowing_mul(a_shift), b.overflowing_mul(b_shift));
            let (result, over) = combine(a, b);
            (result, a_over | b_over | over)
        })
    }

    /// `f` says whether its result has more bits.
    #[inline]
    fn zip(scale: u8, a: &Small, b: &Small, f: impl Fn(i64, i64) -> (i64, bool)) -> Option<Small> {
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
        (!over).then_some(Small { scale, coefficients: Coefficients::Each(coefficients) })
    }

    #[inline]
    fn get(&self, row: usize) -> i128 {
        i128::from(match &self.coefficients {
            Coefficients::Each(coefficients) => coefficients[row],
            Coefficients::Same(coefficient) => *coefficient,
        })
    }
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
        let mut bytes = [scale; NUMERIC_BYTES];
        bytes[1..].copy_from_slice(&coefficient(row).to_le_bytes());
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
