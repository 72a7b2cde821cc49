//! Bits and bytes of `bytea`, counted from 0.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::Datum;

use super::Call;
use super::lift::{Bytes, I32, I64, Result, each_datum, map1, map2};
use crate::expr::value::Value;

fn index_error(index: i64, len: usize) -> ValueError {
    let message = format!("index {index} out of valid range, 0..{}", len as i64 - 1);
    ValueError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
}

fn bit_place(index: i64, len: usize) -> Result<(usize, u8)> {
    let bits = len as i64 * 8;
    if (0..bits).contains(&index) {
        Ok(((index / 8) as usize, 1 << (index % 8)))
    } else {
        Err(index_error(index, len * 8))
    }
}

fn byte_place(index: i32, len: usize) -> Result<usize> {
    let place = usize::try_from(index).ok().filter(|place| *place < len);
    place.ok_or_else(|| index_error(i64::from(index), len))
}

/// `get_bit` of `bytea`
pub(crate) fn get_bit(call: &Call<'_>) -> Result<Value> {
    map2::<Bytes, I64, i32>(call, |bytes, index| {
        let (byte, bit) = bit_place(index, bytes.len())?;
        Ok(i32::from(bytes[byte] & bit != 0))
    })
}

/// `set_bit` of `bytea`
pub(crate) fn set_bit(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let [Datum::Bytea(bytes), Datum::Int8(index), Datum::Int4(new)] = args else {
            return Ok(Datum::Null);
        };
        let mut bytes = bytes.clone();
        let (byte, bit) = bit_place(*index, bytes.len())?;
        match new {
            0 => bytes[byte] &= !bit,
            1 => bytes[byte] |= bit,
            _ => {
                let message = "new bit must be 0 or 1";
                return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
        Ok(Datum::Bytea(bytes))
    })
}

/// `get_byte`
pub(crate) fn get_byte(call: &Call<'_>) -> Result<Value> {
    map2::<Bytes, I32, i32>(call, |bytes, index| Ok(i32::from(bytes[byte_place(index, bytes.len())?])))
}

/// `set_byte`
pub(crate) fn set_byte(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let [Datum::Bytea(bytes), Datum::Int4(index), Datum::Int4(new)] = args else {
            return Ok(Datum::Null);
        };
        let mut bytes = bytes.clone();
        let at = byte_place(*index, bytes.len())?;
        bytes[at] = *new as u8;
        Ok(Datum::Bytea(bytes))
    })
}

/// `bit_count` of `bytea`
pub(crate) fn bit_count(call: &Call<'_>) -> Result<Value> {
    map1::<Bytes, i64>(call, |bytes| Ok(bytes.iter().map(|byte| i64::from(byte.count_ones())).sum()))
}
