//! Values of array types, and their bytes in rows and columns.
//!
//! | part | bytes |
//! |---|---|
//! | element type | u16: OID of the type in `pg_type` |
//! | number of dimensions | u8, 0 to 6; 0 for an array without elements |
//! | reserved | u8, 0 |
//! | each dimension | i32 length, at least 1; i32 lower bound |
//! | elements | a row (`row.rs`) with a column for each element, the last dimension's index fastest |
//!
//! Invariant: the number of elements is the product of the lengths.

use super::{Datum, PgType};
use crate::row::{Malformed, RowBuilder, RowReader};

/// Most dimensions (`MAXDIM`).
pub const DIMENSIONS_MAX: usize = 6;

/// Most elements (`MaxArraySize`).
pub const ELEMENTS_MAX: usize = 134_217_727;

/// The type of an array's elements, with its modifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Element {
    oid: u16,
    modifier: i32,
}

impl Element {
    /// Elements of this type; `None` if it is an array itself: dimensions are no part of a type.
    pub const fn of(pg_type: PgType) -> Option<Element> {
        match pg_type {
            PgType::Array(_) => None,
            other => Some(Element { oid: other.oid() as u16, modifier: other.type_modifier() }),
        }
    }

    /// The type.
    pub const fn pg_type(self) -> PgType {
        match PgType::from_oid(self.oid as u32) {
            Some(plain) => plain.with_modifier(self.modifier),
            None => panic!("made from a type"),
        }
    }
}

/// One dimension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dimension {
    /// Number of elements, at least 1.
    pub len: i32,
    /// Index of the first one.
    pub lower: i32,
}

/// An array, taken apart.
#[derive(Clone, PartialEq, Debug)]
pub struct ArrayValue {
    /// Type of the elements, without modifier.
    pub element: PgType,
    /// Its dimensions; none if it has no elements.
    pub dims: Vec<Dimension>,
    /// The elements; NULL as `Datum::Null`.
    pub values: Vec<Datum>,
}

impl ArrayValue {
    /// An array without elements.
    pub fn empty(element: PgType) -> ArrayValue {
        ArrayValue { element: element.base(), dims: Vec::new(), values: Vec::new() }
    }

    /// A list, counted from 1.
    ///
    /// # Panics
    /// If there are more than [`ELEMENTS_MAX`] values.
    pub fn list(element: PgType, values: Vec<Datum>) -> ArrayValue {
        if values.is_empty() {
            return ArrayValue::empty(element);
        }
        assert!(values.len() <= ELEMENTS_MAX, "{} elements", values.len());
        let dims = vec![Dimension { len: values.len() as i32, lower: 1 }];
        ArrayValue { element: element.base(), dims, values }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Box<[u8]> {
        let oid = u16::try_from(self.element.oid()).expect("OIDs of element types are small");
        let mut out = Vec::with_capacity(4 + 8 * self.dims.len() + 9 * self.values.len());
        out.extend_from_slice(&oid.to_le_bytes());
        out.extend_from_slice(&[self.dims.len() as u8, 0]);
        for dim in &self.dims {
            out.extend_from_slice(&dim.len.to_le_bytes());
            out.extend_from_slice(&dim.lower.to_le_bytes());
        }
        let mut row = RowBuilder::default();
        row.start(self.values.len());
        self.values.iter().for_each(|value| row.push(value));
        out.extend_from_slice(row.bytes());
        out.into()
    }

    /// The array as a value.
    pub fn into_datum(self) -> Datum {
        Datum::Array(self.to_bytes())
    }

    /// The array of these bytes.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: &[u8]) -> Result<ArrayValue, Malformed> {
        let ([a, b, count, reserved], mut rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
        let element = PgType::from_oid(u16::from_le_bytes([*a, *b]).into()).ok_or(Malformed)?;
        if usize::from(*count) > DIMENSIONS_MAX || *reserved != 0 || matches!(element, PgType::Array(_)) {
            return Err(Malformed);
        }
        let mut dims = Vec::with_capacity(usize::from(*count));
        let mut elements = usize::from(*count > 0);
        for _ in 0..*count {
            let (dim, after) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
            rest = after;
            let [l0, l1, l2, l3, lower @ ..] = *dim;
            let dim =
                Dimension { len: i32::from_le_bytes([l0, l1, l2, l3]), lower: i32::from_le_bytes(lower) };
            let len = usize::try_from(dim.len).ok().filter(|len| *len > 0).ok_or(Malformed)?;
            dim.lower.checked_add(dim.len).ok_or(Malformed)?;
            elements = elements.checked_mul(len).filter(|all| *all <= ELEMENTS_MAX).ok_or(Malformed)?;
            dims.push(dim);
        }
        // The bitmap of NULLs bounds how many there can be.
        let mut reader = RowReader::new(rest, elements)?;
        let mut values = Vec::with_capacity(elements);
        for _ in 0..elements {
            values.push(reader.next_datum(element)?);
        }
        if reader.is_at_end() { Ok(ArrayValue { element, dims, values }) } else { Err(Malformed) }
    }

    /// The array of bytes that `decode` has passed before, or of none of its bytes if it has not.
    pub fn of_stored(pg_type: PgType, bytes: &[u8]) -> ArrayValue {
        ArrayValue::decode(bytes)
            .unwrap_or_else(|Malformed| ArrayValue::empty(pg_type.element().unwrap_or(PgType::Text)))
    }
}

/// Appends a key whose `memcmp` order is that of PostgreSQL's `array_cmp`: elements one by one, NULL above all others,
/// then their number, then the dimensions. Equal arrays have equal keys.
pub(crate) fn encode_key(array: &ArrayValue, out: &mut Vec<u8>) {
    for value in &array.values {
        match value {
            Datum::Null => out.push(2),
            value => {
                out.push(1);
                crate::key::encode(value, out);
            }
        }
    }
    out.extend_from_slice(&[0, array.dims.len() as u8]);
    for dim in &array.dims {
        out.extend_from_slice(&(dim.len as u32 ^ 1 << 31).to_be_bytes());
    }
    for dim in &array.dims {
        out.extend_from_slice(&(dim.lower as u32 ^ 1 << 31).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn ints(values: &[Option<i32>]) -> ArrayValue {
        let values = values.iter().map(|value| value.map_or(Datum::Null, Datum::Int4)).collect();
        ArrayValue::list(PgType::Int4, values)
    }

    #[test]
    fn bytes_round_trip_and_bad_ones_are_refused() {
        let dims = vec![Dimension { len: 2, lower: 0 }, Dimension { len: 1, lower: -3 }];
        let texts = vec![Datum::Text("naïve".into()), Datum::Null];
        let arrays = [
            ArrayValue::empty(PgType::Uuid),
            ints(&[Some(1), None, Some(i32::MIN)]),
            ArrayValue { element: PgType::Text, dims, values: texts },
        ];
        for array in arrays {
            let bytes = array.to_bytes();
            assert_eq!(ArrayValue::decode(&bytes).as_ref(), Ok(&array));
            for cut in 0..bytes.len() {
                assert_eq!(ArrayValue::decode(&bytes[..cut]), Err(Malformed), "cut to {cut} bytes");
            }
        }
        let mut huge = ints(&[Some(1)]).to_bytes();
        huge[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
        assert_eq!(ArrayValue::decode(&huge), Err(Malformed));
    }

    #[test]
    fn keys_are_ordered_as_arrays_are() {
        let rising = [
            ints(&[]),
            ints(&[Some(-1)]),
            ints(&[Some(1)]),
            ints(&[Some(1), Some(2)]),
            ints(&[Some(1), None]),
            ints(&[Some(2)]),
            ints(&[None]),
        ];
        let keys = rising.map(|array| Key::of(&[array.into_datum()]).expect("short key"));
        assert!(keys.is_sorted());
    }

    #[test]
    fn elements_keep_their_modifier() {
        let types = [
            PgType::Varchar(Some(7)),
            PgType::Numeric(Some((10, 2))),
            PgType::Numeric(Some((3, -2))),
            PgType::Uuid,
        ];
        for pg_type in types {
            assert_eq!(Element::of(pg_type).map(Element::pg_type), Some(pg_type));
        }
        assert_eq!(PgType::Int4.array().map(|array| array.to_string()).as_deref(), Some("integer[]"));
        assert!(size_of::<PgType>() <= 16);
    }
}
