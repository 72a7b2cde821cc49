//! The values of a key, for the details of errors: the inverse of `omen_core::key::encode`.

use omen_core::types::{Datum, Numeric, PgType};

/// The values of a key with columns of these types. `None` if a type cannot be told from its key (intervals that are
/// equal in SQL have one key) or the bytes are not such a key.
pub(crate) fn decode_key(types: &[PgType], key: &[u8]) -> Option<Vec<Datum>> {
    let mut rest = key;
    let values = types.iter().map(|pg_type| decode(*pg_type, &mut rest)).collect::<Option<Vec<_>>>()?;
    rest.is_empty().then_some(values)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

fn decode(pg_type: PgType, rest: &mut &[u8]) -> Option<Datum> {
    let int4 = |rest: &mut &[u8]| Some((u32::from_be_bytes(take(rest)?) ^ 1 << 31) as i32);
    let int8 = |rest: &mut &[u8]| Some((u64::from_be_bytes(take(rest)?) ^ 1 << 63) as i64);
    Some(match pg_type {
        PgType::Bool => Datum::Bool(take::<1>(rest)? == [1]),
        PgType::Int2 => Datum::Int2((u16::from_be_bytes(take(rest)?) ^ 1 << 15) as i16),
        PgType::Int4 => Datum::Int4(int4(rest)?),
        PgType::Date => Datum::Date(int4(rest)?),
        PgType::Int8 => Datum::Int8(int8(rest)?),
        PgType::Time => Datum::Time(int8(rest)?),
        PgType::Timestamp | PgType::Timestamptz => Datum::Timestamp(int8(rest)?),
        // Every float4 is a float8.
        PgType::Float4 => Datum::Float4(float(rest)? as f32),
        PgType::Float8 => Datum::Float8(float(rest)?),
        PgType::Numeric(_) => Datum::Numeric(numeric(rest)?),
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => {
            Datum::Text(String::from_utf8(bytes(rest)?).ok()?.into())
        }
        PgType::Bytea => Datum::Bytea(bytes(rest)?.into()),
        PgType::Uuid => Datum::Uuid(take(rest)?),
        PgType::Interval | PgType::Array(_) => return None,
    })
}

fn float(rest: &mut &[u8]) -> Option<f64> {
    let ordered = u64::from_be_bytes(take(rest)?);
    let bits = if ordered >> 63 == 1 { ordered ^ 1 << 63 } else { !ordered };
    Some(f64::from_bits(bits))
}

fn bytes(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    loop {
        match take::<1>(rest)? {
            [0] => match take::<1>(rest)? {
                [0] => return Some(value),
                _ => value.push(0),
            },
            [byte] => value.push(byte),
        }
    }
}

fn numeric(rest: &mut &[u8]) -> Option<Numeric> {
    let [sign] = take::<1>(rest)?;
    match sign {
        1 => return Some(Numeric::ZERO),
        3 => return Some(Numeric::NAN),
        _ => {}
    }
    let flip = if sign == 0 { 0xFF } else { 0 };
    let [exponent] = take::<1>(rest)?;
    let exponent = i32::from(exponent ^ flip) - 128;
    let mut coefficient = u128::from_be_bytes(take::<16>(rest)?.map(|byte| byte ^ flip));
    let mut scale = Numeric::DIGITS_MAX as i32 - exponent;
    while scale > 0 && coefficient.is_multiple_of(10) {
        coefficient /= 10;
        scale -= 1;
    }
    let signed = i128::try_from(coefficient).ok()? * if sign == 0 { -1 } else { 1 };
    Numeric::new(signed, u8::try_from(scale).ok()?)
}

#[cfg(test)]
mod tests {
    use omen_core::key::Key;

    use super::*;

    #[test]
    fn keys_are_read_back() {
        let number = |coefficient, scale| Datum::Numeric(Numeric::new(coefficient, scale).expect("fits"));
        let values = [
            (PgType::Bool, Datum::Bool(true)),
            (PgType::Int2, Datum::Int2(-3)),
            (PgType::Int4, Datum::Int4(i32::MIN)),
            (PgType::Int8, Datum::Int8(77)),
            (PgType::Float4, Datum::Float4(-1.5)),
            (PgType::Float8, Datum::Float8(2.25)),
            (PgType::Numeric(None), number(-1205, 2)),
            (PgType::Numeric(None), number(1_000, 0)),
            (PgType::Numeric(None), number(0, 0)),
            (PgType::Text, Datum::Text("x\u{e9}".into())),
            (PgType::Bytea, Datum::Bytea([0, 1, 0].into())),
            (PgType::Date, Datum::Date(-1)),
            (PgType::Timestamptz, Datum::Timestamp(5)),
            (PgType::Uuid, Datum::Uuid([7; 16])),
        ];
        let (types, datums): (Vec<PgType>, Vec<Datum>) = values.into_iter().unzip();
        let key = Key::of(&datums).expect("short");
        assert_eq!(decode_key(&types, &key), Some(datums));
        assert_eq!(decode_key(&types, &key[..key.len() - 1]), None);
    }
}
