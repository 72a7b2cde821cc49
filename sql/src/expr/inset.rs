//! Lists of constants, made ready for `IN`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;
use hashbrown::HashSet;
use omen_core::key;
use omen_core::types::{Datum, PgType};

use super::kernel::compare::pack1;
use super::value::{Value, datum_at};

/// Lists up to this length are searched from end to end, without a hash.
const LINEAR_MAX: usize = 8;

/// The constants of an `IN` list.
#[derive(Debug)]
pub struct InSet {
    values: Values,
    has_null: bool,
    count: usize,
}

#[derive(Debug)]
enum Values {
    /// Few integers, dates or times.
    FewIntegers(Vec<i64>),
    Integers(HashSet<i64>),
    Texts(HashSet<Box<str>>),
    /// Encoded as in keys, where equal values have equal bytes.
    Encoded(HashSet<Box<[u8]>>),
}

fn integer(value: &Datum) -> Option<i64> {
    Some(match value {
        Datum::Int2(value) => (*value).into(),
        Datum::Int4(value) | Datum::Date(value) => (*value).into(),
        Datum::Int8(value) | Datum::Time(value) | Datum::Timestamp(value) => *value,
        _ => return None,
    })
}

fn encoded(value: &Datum, out: &mut Vec<u8>) {
    out.clear();
    key::encode(value, out);
}

impl InSet {
    /// A set of these values, all of one type.
    pub(crate) fn new<'a>(list: impl Iterator<Item = &'a Datum> + Clone) -> InSet {
        let has_null = list.clone().any(Datum::is_null);
        let values = || list.clone().filter(|value| !value.is_null());
        let count = values().count();
        let integers: Option<Vec<i64>> = values().map(integer).collect();
        let texts: Option<HashSet<Box<str>>> = values()
            .map(|value| if let Datum::Text(text) = value { Some(text.clone()) } else { None })
            .collect();
        let values = match (integers, texts) {
            (Some(integers), _) if integers.len() <= LINEAR_MAX => Values::FewIntegers(integers),
            (Some(integers), _) => Values::Integers(integers.into_iter().collect()),
            (None, Some(texts)) => Values::Texts(texts),
            (None, None) => {
                let mut buffer = Vec::new();
                Values::Encoded(
                    values()
                        .map(|value| {
                            encoded(value, &mut buffer);
                            buffer.as_slice().into()
                        })
                        .collect(),
                )
            }
        };
        InSet { values, has_null, count }
    }

    /// How many values it was made of, NULL left out.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it was made of no values but NULL.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn contains(&self, value: &Datum, buffer: &mut Vec<u8>) -> bool {
        match &self.values {
            Values::FewIntegers(list) => integer(value).is_some_and(|value| list.contains(&value)),
            Values::Integers(set) => integer(value).is_some_and(|value| set.contains(&value)),
            Values::Texts(set) => matches!(value, Datum::Text(text) if set.contains(text)),
            Values::Encoded(set) => {
                encoded(value, buffer);
                set.contains(buffer.as_slice())
            }
        }
    }

    /// `value IN (..)`
    pub(crate) fn test(&self, value: &Value, pg_type: PgType) -> Value {
        let array = match value {
            Value::Scalar(Datum::Null) => return Value::Scalar(Datum::Null),
            Value::Scalar(value) => {
                let found = self.contains(value, &mut Vec::new());
                let unknown = !found && self.has_null;
                return Value::Scalar(if unknown { Datum::Null } else { Datum::Bool(found) });
            }
            Value::Array(array) => array,
        };
        let found = self.search(array, pg_type);
        let mut nulls = array.logical_nulls();
        if self.has_null {
            // What is not found might be the NULL.
            nulls = arrow_buffer::NullBuffer::union(nulls.as_ref(), Some(&found.clone().into()));
        }
        Value::Array(Arc::new(BooleanArray::new(found, nulls)))
    }

    fn search(&self, array: &ArrayRef, pg_type: PgType) -> BooleanBuffer {
        match pg_type {
            PgType::Int2 => self.search_integers(array.as_primitive::<Int16Type>().values()),
            PgType::Int4 => self.search_integers(array.as_primitive::<Int32Type>().values()),
            PgType::Int8 => self.search_integers(array.as_primitive::<Int64Type>().values()),
            PgType::Date => self.search_integers(array.as_primitive::<Date32Type>().values()),
            PgType::Time => self.search_integers(array.as_primitive::<Time64MicrosecondType>().values()),
            PgType::Timestamp | PgType::Timestamptz => {
                self.search_integers(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            _ => match (&self.values, pg_type.is_text()) {
                (Values::Texts(set), true) => {
                    let texts = array.as_string::<i32>();
                    BooleanBuffer::collect_bool(texts.len(), |row| set.contains(texts.value(row)))
                }
                _ => {
                    let mut buffer = Vec::new();
                    BooleanBuffer::collect_bool(array.len(), |row| {
                        !array.is_null(row) && self.contains(&datum_at(array, pg_type, row), &mut buffer)
                    })
                }
            },
        }
    }

    fn search_integers<T: Copy + Into<i64>>(&self, values: &[T]) -> BooleanBuffer {
        match &self.values {
            Values::FewIntegers(list) => pack1(values, |value| {
                let value: i64 = value.into();
                list.iter().fold(false, |found, other| found | (*other == value))
            }),
            Values::Integers(set) => pack1(values, |value| set.contains(&value.into())),
            // The list has no values.
            Values::Texts(_) | Values::Encoded(_) => BooleanBuffer::new_unset(values.len()),
        }
    }
}
