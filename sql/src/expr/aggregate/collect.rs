//! Aggregates that keep all their values: `array_agg`, `json_agg`, `json_object_agg` and their `jsonb` forms.
//!
//! A state is an array of the values, or NULL without rows. Values of an array type are kept as their bytes; JSON
//! values as their text, and of an object keys and values take turns.

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_schema::DataType;
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::array::{DIMENSIONS_MAX, Dimension};
use omen_core::types::{ArrayValue, Datum, PgType};

use super::source::{bytes_array, fold, selected};
use super::{Accumulator, Groups};
use crate::execute::rows::array_of;
use crate::expr::value::datum_at;
use crate::types::array::{too_large, too_many_dimensions};
use crate::types::json;

/// What becomes of the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Collected {
    /// An array of values of a type.
    Array(PgType),
    /// A JSON array, normalised or as the texts are.
    Json {
        /// `jsonb`
        binary: bool,
        /// Each value but the first is on a line of its own.
        lined: bool,
    },
    /// A JSON object.
    JsonObject {
        /// `jsonb`
        binary: bool,
    },
}

/// Values of each group.
pub(super) struct Collect {
    what: Collected,
    /// Every value once, in order. Then there are no states: equal values can only be told where all come together.
    distinct: bool,
    groups: Vec<Option<Vec<Datum>>>,
    bytes_len: usize,
}

fn wrong(state: SqlState, message: &'static str) -> ValueError {
    ValueError::new(state, message)
}

impl Collect {
    pub(super) fn new(what: Collected, distinct: bool) -> Collect {
        Collect { what, distinct, groups: Vec::new(), bytes_len: 0 }
    }

    /// The type of values in a state.
    fn kept(&self) -> PgType {
        match self.what {
            Collected::Array(PgType::Array(_)) => PgType::Bytea,
            Collected::Array(pg_type) => pg_type.base(),
            Collected::Json { .. } | Collected::JsonObject { .. } => PgType::Text,
        }
    }

    fn result(&self, mut values: Vec<Datum>) -> Result<Datum, ValueError> {
        if self.distinct && !matches!(self.what, Collected::JsonObject { .. }) {
            values = each_once(values);
        }
        match self.what {
            Collected::Array(PgType::Array(element)) => nested(element.pg_type(), &values),
            Collected::Array(element) => Ok(ArrayValue::list(element, values).into_datum()),
            Collected::Json { binary, lined } => {
                let mut out = String::from("[");
                for (index, value) in values.iter().enumerate() {
                    out.push_str(match index {
                        0 => "",
                        _ if lined && !value.is_null() => ", \n ",
                        _ => ", ",
                    });
                    push_json(value, &mut out);
                }
                out.push(']');
                Ok(Datum::Text(if binary { json::normalize(&out)? } else { out }.into()))
            }
            Collected::JsonObject { binary } => {
                let mut out = String::from(if binary { "{" } else { "{ " });
                for (index, pair) in values.chunks(2).enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    match &pair[0] {
                        Datum::Text(key) => json::write_string(key, &mut out),
                        _ => {
                            return Err(wrong(
                                SqlState::INVALID_PARAMETER_VALUE,
                                "field name must not be null",
                            ));
                        }
                    }
                    out.push_str(" : ");
                    push_json(&pair[1], &mut out);
                }
                out.push_str(if binary { "}" } else { " }" });
                Ok(Datum::Text(if binary { json::normalize(&out)? } else { out }.into()))
            }
        }
    }
}

/// The values in order, NULL last.
fn each_once(values: Vec<Datum>) -> Vec<Datum> {
    let keyed = values.into_iter().map(|value| {
        let mut key = vec![u8::from(value.is_null())];
        match &value {
            Datum::Null => {}
            Datum::Bytea(bytes) if ArrayValue::decode(bytes).is_ok() => {
                omen_core::key::encode(&Datum::Array(bytes.clone()), &mut key);
            }
            value => omen_core::key::encode(value, &mut key),
        }
        (key, value)
    });
    let mut keyed: Vec<(Vec<u8>, Datum)> = keyed.collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    keyed.dedup_by(|a, b| a.0 == b.0);
    keyed.into_iter().map(|(_, value)| value).collect()
}

fn push_json(value: &Datum, out: &mut String) {
    match value {
        Datum::Text(text) => out.push_str(text),
        _ => out.push_str("null"),
    }
}

/// An array of arrays, which must have the same dimensions.
fn nested(element: PgType, parts: &[Datum]) -> Result<Datum, ValueError> {
    let mut inner: Option<Vec<Dimension>> = None;
    let mut values = Vec::new();
    for part in parts {
        let Datum::Bytea(bytes) = part else {
            return Err(wrong(SqlState::NULL_VALUE_NOT_ALLOWED, "cannot accumulate null arrays"));
        };
        let part = ArrayValue::of_stored(element.array_of(), bytes);
        if part.dims.is_empty() {
            return Err(wrong(SqlState::ARRAY_SUBSCRIPT_ERROR, "cannot accumulate empty arrays"));
        }
        if inner.get_or_insert_with(|| part.dims.clone()) != &part.dims {
            let message = "cannot accumulate arrays of different dimensionality";
            return Err(wrong(SqlState::ARRAY_SUBSCRIPT_ERROR, message));
        }
        values.extend(part.values);
    }
    let inner = inner.unwrap_or_default();
    if inner.len() >= DIMENSIONS_MAX {
        return Err(too_many_dimensions(inner.len() + 1));
    }
    let len = i32::try_from(parts.len()).map_err(|_| too_large())?;
    let mut dims = vec![Dimension { len, lower: 1 }];
    dims.extend(inner);
    Ok(ArrayValue { element: element.base(), dims, values }.into_datum())
}

fn size_of_datum(value: &Datum) -> usize {
    let held = match value {
        Datum::Text(text) => text.len(),
        Datum::Bytea(bytes) | Datum::Array(bytes) => bytes.len(),
        _ => 0,
    };
    held + size_of::<Datum>()
}

impl Accumulator for Collect {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), None);
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let rows = selected(None, filter);
        let pg_type = match self.what {
            Collected::Array(pg_type) => pg_type,
            _ => PgType::Text,
        };
        let bytes_len = &mut self.bytes_len;
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| {
            let state = state.get_or_insert_default();
            for arg in args {
                let value = match datum_at(arg, pg_type, row) {
                    Datum::Array(bytes) => Datum::Bytea(bytes),
                    value => value,
                };
                *bytes_len += size_of_datum(&value);
                state.push(value);
            }
            Ok(())
        })
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let kept = self.kept().array_of();
        let rows = selected(states[0].nulls(), None);
        let bytes_len = &mut self.bytes_len;
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| {
            if let Datum::Array(bytes) = datum_at(&states[0], kept, row) {
                *bytes_len += bytes.len();
                let values = ArrayValue::of_stored(kept, &bytes).values;
                *bytes_len += values.len() * size_of::<Datum>();
                state.get_or_insert_default().extend(values);
            }
            Ok(())
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        let kept = self.kept();
        let states = self
            .groups
            .iter_mut()
            .map(|state| state.take().map(|values| ArrayValue::list(kept, values).to_bytes()));
        let states: Vec<Option<Box<[u8]>>> = states.collect();
        Ok(vec![bytes_array(states.iter().map(Option::as_deref), false)?])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        let mut results = Vec::with_capacity(self.groups.len());
        for state in std::mem::take(&mut self.groups) {
            results.push(match state {
                Some(values) => self.result(values)?,
                None => Datum::Null,
            });
        }
        let pg_type = match self.what {
            Collected::Array(element) => element.array().unwrap_or(element),
            _ => PgType::Text,
        };
        Ok(array_of(pg_type, results.iter()))
    }

    fn size_bytes(&self) -> usize {
        // Vectors double, so they are at most half empty.
        2 * self.bytes_len + self.groups.capacity() * size_of::<Option<Vec<Datum>>>()
    }
}
