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

/// `numeric + numeric`
pub(crate) fn add(call: &Call<'_>) -> Result<Value> {
    match terms(call, |a, b| a + b) {
        Some(sums) => Ok(sums),
        None => binary(call, Numeric::try_add),
    }
}

/// `numeric - numeric`
pub(crate) fn sub(call: &Call<'_>) -> Result<Value> {
    match terms(call, |a, b| a - b) {
        Some(differences) => Ok(differences),
        None => binary(call, Numeric::try_sub),
    }
}

/// `numeric * numeric`
pub(crate) fn mul(call: &Call<'_>) -> Result<Value> {
    match products(call) {
        Some(products) => Ok(products),
        None => binary(call, Numeric::try_mul),
    }
}

fn terms(call: &Call<'_>, combine: impl Fn(i128, i128) -> i128) -> Option<Value> {
    let [a, b] = small_arguments(call)?;
    let scale = a.scale.max(b.scale);
    let shift =
        |arg: &Small| (scale - arg.scale <= SHIFT_MAX).then(|| 10i128.pow(u32::from(scale - arg.scale)));
    let (a_shift, b_shift) = (shift(&a)?, shift(&b)?);
    Some(array(call.rows, scale, |row| combine(a.get(row) * a_shift, b.get(row) * b_shift)))
}

fn products(call: &Call<'_>) -> Option<Value> {
    let [a, b] = small_arguments(call)?;
    let scale = a.scale + b.scale;
    (scale <= SCALE_MAX).then(|| array(call.rows, scale, |row| a.get(row) * b.get(row)))
}

/// Both arguments, if one of them is a column.
fn small_arguments(call: &Call<'_>) -> Option<[Small; 2]> {
    if call.is_scalar() {
        return None;
    }
    Some([Small::of(&call.args[0])?, Small::of(&call.args[1])?])
}

/// Numbers of one scale.
struct Small {
    scale: u8,
    coefficients: Coefficients,
}

enum Coefficients {
    Each(Vec<i64>),
    Same(i64),
}

impl Small {
    /// The argument, if it is so; `None` also if it has NULLs, whose places hold anything.
    fn of(value: &Value) -> Option<Small> {
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

    #[inline]
    fn get(&self, row: usize) -> i128 {
        i128::from(match &self.coefficients {
            Coefficients::Each(coefficients) => coefficients[row],
            Coefficients::Same(coefficient) => *coefficient,
        })
    }
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
        let kernels: [(Kernel, Slow); 3] =
            [(add, Numeric::try_add), (sub, Numeric::try_sub), (mul, Numeric::try_mul)];
        let context = EvalContext::new(1);
        let (mut fast, mut slow) = (0, 0);
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
                for (kernel, plain) in kernels {
                    let expected = binary(&call, plain).expect("no overflow");
                    assert_eq!(texts(&kernel(&call).expect("no overflow")), texts(&expected));
                }
            }
        }
        assert!(fast > 10 && slow > 10, "{fast} fast, {slow} slow");
    }
}
