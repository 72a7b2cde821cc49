//! Which keys a statement can need: the conditions on the primary key, turned into spans.
//!
//! Equality on all key columns gives points; equality on the first of them, with an interval on the next, gives spans.
//! A condition that the spans express exactly needs no evaluation any more. Key order is SQL order, so this holds for
//! every key type; values of a wider integer type are cut to the column's.

use std::collections::BTreeSet;

use omen_core::catalog::TableSchema;
use omen_core::error::ValueError;
use omen_core::key::{self, KEY_BYTES_MAX, Key, KeySpan};
use omen_core::types::{ArrayValue, Datum, PgType};

use crate::expr::{EvalContext, Expr, Volatility};

/// Most keys or spans of one statement; beyond it conditions on further key columns are evaluated row by row.
pub(crate) const SPANS_MAX: usize = 1_024;

/// Conditions on the key of a table.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct KeyFilter {
    /// For each of the first key columns the values it may have.
    pub(crate) equal: Vec<KeyEquality>,
    /// Bounds of the key column after those.
    pub(crate) bounds: Vec<KeyBound>,
    /// Whether every key column has its values: the keys are known.
    pub(crate) is_complete: bool,
}

/// The values that a key column may have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyEquality {
    /// The column's type.
    pub(crate) pg_type: PgType,
    /// Any of these.
    pub(crate) values: Vec<Expr>,
}

/// A bound of a key column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyBound {
    /// The column's type.
    pub(crate) pg_type: PgType,
    /// Which side it bounds.
    pub(crate) side: Side,
    /// Whether the bound itself is inside.
    pub(crate) inclusive: bool,
    /// The bound.
    pub(crate) value: Expr,
}

/// A side of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// `>` and `>=`
    Lower,
    /// `<` and `<=`
    Upper,
}

/// Keys to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// These keys, in order.
    Points(Vec<Key>),
    /// Keys in these spans, disjoint and in order.
    Spans(Vec<KeySpan>),
}

/// A condition on one key column.
enum Condition {
    Equal(Vec<Expr>),
    Bound(Side, bool, Expr),
}

impl KeyFilter {
    /// Takes out of `conjuncts` what the key can express. `column_of` answers the table's column that an expression's
    /// column is.
    pub(crate) fn extract(
        schema: &TableSchema,
        conjuncts: Vec<Expr>,
        column_of: impl Fn(usize) -> usize,
    ) -> (KeyFilter, Vec<Expr>) {
        let mut rest: Vec<Option<Expr>> = conjuncts.into_iter().map(Some).collect();
        let mut filter = KeyFilter::default();
        let mut spans = 1;
        for key_column in &schema.key {
            let pg_type = schema.columns[*key_column].pg_type;
            let on_column = |expr: &Expr| condition(expr, pg_type, &|index| column_of(index) == *key_column);
            let equal = rest.iter_mut().find_map(|slot| match on_column(slot.as_ref()?) {
                Some(Condition::Equal(values)) if spans * values.len() <= SPANS_MAX => {
                    *slot = None;
                    Some(values)
                }
                _ => None,
            });
            if let Some(values) = equal {
                spans *= values.len();
                filter.equal.push(KeyEquality { pg_type, values });
                continue;
            }
            for slot in &mut rest {
                if let Some(Condition::Bound(side, inclusive, value)) = slot.as_ref().and_then(on_column) {
                    *slot = None;
                    filter.bounds.push(KeyBound { pg_type, side, inclusive, value });
                }
            }
            break;
        }
        filter.is_complete = filter.equal.len() == schema.key.len();
        (filter, rest.into_iter().flatten().collect())
    }

    /// Whether it expresses nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.equal.is_empty() && self.bounds.is_empty()
    }

    /// Most keys that can fit, if they are known one by one.
    pub(crate) fn point_count(&self) -> Option<usize> {
        // An array may hold any number.
        let count = |value: &Expr| if matches!(value.pg_type(), PgType::Array(_)) { 2 } else { 1 };
        let counts = self.equal.iter().map(|equality| equality.values.iter().map(count).sum::<usize>());
        self.is_complete.then(|| counts.product())
    }

    /// The keys for given parameters.
    ///
    /// # Errors
    /// If a value cannot be computed.
    pub(crate) fn keys(&self, context: &EvalContext) -> Result<Keys, ValueError> {
        let mut prefixes: BTreeSet<Vec<u8>> = BTreeSet::from([Vec::new()]);
        for equality in &self.equal {
            let mut longer = BTreeSet::new();
            for value in &equality.values {
                for value in values_of(value, context)? {
                    let Some(bytes) = exact_bytes(&value, equality.pg_type) else { continue };
                    longer.extend(prefixes.iter().map(|prefix| [prefix.as_slice(), &bytes].concat()));
                }
            }
            prefixes = longer;
        }
        if self.is_complete {
            let fits = prefixes.iter().filter(|key| key.len() <= KEY_BYTES_MAX);
            return Ok(Keys::Points(fits.map(|key| Key::from_bytes(key)).collect()));
        }
        let mut spans = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            if let Some(span) = self.span_of(&prefix, context)? {
                spans.push(span);
            }
        }
        Ok(Keys::Spans(spans))
    }

    /// The keys that start with a prefix and lie within the bounds.
    fn span_of(&self, prefix: &[u8], context: &EvalContext) -> Result<Option<KeySpan>, ValueError> {
        let whole = Key::from_bytes(prefix);
        let end = if prefix.is_empty() { None } else { whole.prefix_end() };
        let mut span = KeySpan { start: whole, end };
        for bound in &self.bounds {
            let value = bound.value.eval_constant(context)?;
            let Some(cut) = cut(&value, bound, prefix) else { return Ok(None) };
            match span.intersect(&cut) {
                Some(smaller) => span = smaller,
                None => return Ok(None),
            }
        }
        Ok(Some(span))
    }
}

/// The keys on the right side of a bound; `None` if there is none, as with NULL.
fn cut(value: &Datum, bound: &KeyBound, prefix: &[u8]) -> Option<KeySpan> {
    let value = match fit(value, bound.pg_type) {
        Fit::Null => return None,
        Fit::Value(value) => value,
        // Beyond all values of the column: everything is on one side of it.
        Fit::Below if bound.side == Side::Lower => return Some(KeySpan::all()),
        Fit::Above if bound.side == Side::Upper => return Some(KeySpan::all()),
        Fit::Below | Fit::Above => return None,
    };
    let mut bytes = prefix.to_vec();
    key::encode(&value, &mut bytes);
    let at = Key::from_bytes(&bytes);
    let after = at.prefix_end();
    Some(match (bound.side, bound.inclusive) {
        (Side::Lower, true) => KeySpan { start: at, end: None },
        (Side::Lower, false) => KeySpan { start: after?, end: None },
        (Side::Upper, true) => KeySpan { start: Key::default(), end: after },
        (Side::Upper, false) if at.is_empty() => return None,
        (Side::Upper, false) => KeySpan { start: Key::default(), end: Some(at) },
    })
}

/// A value of a comparison as a value of the column.
pub(crate) enum Fit {
    /// It is NULL.
    Null,
    /// The column can have it.
    Value(Datum),
    /// It is below all values of the column.
    Below,
    /// It is above all values of the column.
    Above,
}

/// Cuts a value to a column of this type.
pub(crate) fn fit(value: &Datum, pg_type: PgType) -> Fit {
    let number = match value {
        Datum::Null => return Fit::Null,
        Datum::Int2(v) => i64::from(*v),
        Datum::Int4(v) => i64::from(*v),
        Datum::Int8(v) => *v,
        other => return Fit::Value(other.clone()),
    };
    let beyond = if number < 0 { Fit::Below } else { Fit::Above };
    match pg_type {
        PgType::Int2 => i16::try_from(number).map_or(beyond, |v| Fit::Value(Datum::Int2(v))),
        PgType::Int4 => i32::try_from(number).map_or(beyond, |v| Fit::Value(Datum::Int4(v))),
        PgType::Int8 => Fit::Value(Datum::Int8(number)),
        _ => Fit::Value(value.clone()),
    }
}

/// The bytes of a value that the column can have.
fn exact_bytes(value: &Datum, pg_type: PgType) -> Option<Vec<u8>> {
    match fit(value, pg_type) {
        Fit::Value(value) => {
            let mut bytes = Vec::with_capacity(9);
            key::encode(&value, &mut bytes);
            Some(bytes)
        }
        Fit::Null | Fit::Below | Fit::Above => None,
    }
}

/// What an expression says about a column of this type, if it is of a form that keys can express.
fn condition(expr: &Expr, pg_type: PgType, is_column: &dyn Fn(usize) -> bool) -> Option<Condition> {
    match expr {
        Expr::Call { function, args, .. } => {
            let [left, right] = args.as_slice() else { return None };
            let (value, flipped) = if is_key_column(left, pg_type, is_column) {
                (right, false)
            } else if is_key_column(right, pg_type, is_column) {
                (left, true)
            } else {
                return None;
            };
            comparison(function.name, flipped, constant_for(value, pg_type)?)
        }
        Expr::InList { arg, list, negated: false } if is_key_column(arg, pg_type, is_column) => {
            let values = list.iter().map(|value| constant_for(value, pg_type)).collect::<Option<Vec<_>>>()?;
            Some(Condition::Equal(values))
        }
        Expr::AnyAll { function, left, array, all: false }
            if function.name == "=" && is_key_column(left, pg_type, is_column) =>
        {
            Some(Condition::Equal(vec![elements_for(array, pg_type)?]))
        }
        Expr::Or(parts) => {
            let mut values = Vec::with_capacity(parts.len());
            for part in parts {
                match condition(part, pg_type, is_column)? {
                    Condition::Equal(more) => values.extend(more),
                    Condition::Bound(..) => return None,
                }
            }
            Some(Condition::Equal(values))
        }
        // A condition of type boolean on a key column of that type.
        Expr::Column { index, pg_type: PgType::Bool } if pg_type == PgType::Bool && is_column(*index) => {
            let value = Expr::Literal { value: Datum::Bool(true), pg_type };
            Some(Condition::Equal(vec![value]))
        }
        _ => None,
    }
}

fn comparison(operator: &str, flipped: bool, value: Expr) -> Option<Condition> {
    let (side, inclusive) = match operator {
        "=" => return Some(Condition::Equal(vec![value])),
        "<" => (Side::Upper, false),
        "<=" => (Side::Upper, true),
        ">" => (Side::Lower, false),
        ">=" => (Side::Lower, true),
        _ => return None,
    };
    let side = match (side, flipped) {
        (side, false) => side,
        (Side::Lower, true) => Side::Upper,
        (Side::Upper, true) => Side::Lower,
    };
    Some(Condition::Bound(side, inclusive, value))
}

/// Whether an expression is the column, possibly as a wider type with the same order.
fn is_key_column(expr: &Expr, pg_type: PgType, is_column: &dyn Fn(usize) -> bool) -> bool {
    match expr {
        Expr::Column { index, .. } => is_column(*index),
        Expr::Cast { arg, to, .. } => {
            matches!(arg.as_ref(), Expr::Column { index, .. } if is_column(*index))
                && keeps_order(pg_type, *to)
        }
        _ => false,
    }
}

/// Whether a cast changes neither order nor equality, and its results can be read back.
pub(crate) fn keeps_order(from: PgType, to: PgType) -> bool {
    match (from, to) {
        (PgType::Int2, PgType::Int4 | PgType::Int8) | (PgType::Int4, PgType::Int8) => true,
        (PgType::Varchar(_) | PgType::Text, PgType::Text | PgType::Varchar(None)) => true,
        _ => from == to,
    }
}

/// An array, if it does not depend on the row and its elements can be compared with a column of this type.
pub(crate) fn elements_for(array: &Expr, pg_type: PgType) -> Option<Expr> {
    let element = array.pg_type().element()?;
    constant_for(&Expr::null(element), pg_type)?;
    (array.is_constant() && array.volatility() != Volatility::Volatile).then(|| array.clone())
}

/// The values of an expression of [`constant_for`] or [`elements_for`].
///
/// # Errors
/// If it cannot be computed.
pub(crate) fn values_of(expr: &Expr, context: &EvalContext) -> Result<Vec<Datum>, ValueError> {
    Ok(match expr.eval_constant(context)? {
        Datum::Array(bytes) => ArrayValue::of_stored(expr.pg_type(), &bytes).values,
        value => vec![value],
    })
}

/// The expression, if it does not depend on the row and can be compared with a column of this type.
pub(crate) fn constant_for(expr: &Expr, pg_type: PgType) -> Option<Expr> {
    if !expr.is_constant() || expr.volatility() == Volatility::Volatile {
        return None;
    }
    let integers = [PgType::Int2, PgType::Int4, PgType::Int8];
    let value_type = expr.pg_type();
    let same = value_type.base() == pg_type.base()
        || (integers.contains(&value_type) && integers.contains(&pg_type))
        || (is_string(value_type) && is_string(pg_type));
    same.then(|| expr.clone())
}

fn is_string(pg_type: PgType) -> bool {
    matches!(pg_type, PgType::Text | PgType::Varchar(_))
}
