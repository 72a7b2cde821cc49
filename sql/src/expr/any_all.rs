//! `x op ANY (array)` and `x op ALL (array)`.
//!
//! All pairs of a value and an element of its array are compared by one call of the operator.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_select::take::take;
use omen_core::types::{ArrayValue, Datum, PgType};

use super::eval::{Frame, Result, eval, internal};
use super::inset::InSet;
use super::kernel::Call;
use super::value::Value;
use super::{EvalContext, Expr, Function};
use crate::execute::rows::array_of;

/// Pairs that are compared at once, about.
const PAIRS: usize = 1 << 16;

/// Evaluates it for a frame.
pub(super) fn any_all(
    function: &'static Function,
    left: &Expr,
    array: &Expr,
    all: bool,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<Value> {
    let (values, arrays) = (eval(left, frame, context)?, eval(array, frame, context)?);
    if arrays.is_null_scalar() {
        return Ok(Value::Scalar(Datum::Null));
    }
    let element = array.pg_type().element().unwrap_or(PgType::Text);
    let rows = match (&values, &arrays) {
        (Value::Scalar(_), Value::Scalar(_)) => 1,
        _ => frame.rows(),
    };
    let is_scalar = rows == 1 && matches!((&values, &arrays), (Value::Scalar(_), Value::Scalar(_)));
    let constant = match &arrays {
        Value::Scalar(Datum::Array(bytes)) => Some(ArrayValue::of_stored(array.pg_type(), bytes)),
        _ => None,
    };
    let column = values.into_array(left.pg_type(), rows);
    let mut answers: Vec<Option<bool>> = Vec::with_capacity(rows);
    let mut pairs =
        Pairs { function, left: left.pg_type(), element, context, rows: Vec::new(), items: Vec::new() };
    let mut ends: Vec<Option<usize>> = Vec::new();
    for row in 0..rows {
        let own;
        let list = match (&constant, &arrays) {
            (Some(list), _) => Some(list),
            (None, value) => match value.datum(array.pg_type(), row) {
                Datum::Array(bytes) => {
                    own = ArrayValue::of_stored(array.pg_type(), &bytes);
                    Some(&own)
                }
                _ => None,
            },
        };
        if let Some(list) = list {
            pairs.rows.resize(pairs.rows.len() + list.values.len(), row as u32);
            pairs.items.extend(list.values.iter().cloned());
        }
        ends.push(list.map(|_| pairs.rows.len()));
        if pairs.rows.len() >= PAIRS || row + 1 == rows {
            let outcome = pairs.compare(&column)?;
            let mut start = 0;
            for end in ends.drain(..) {
                answers
                    .push(end.and_then(|end| reduce(&outcome, std::mem::replace(&mut start, end)..end, all)));
            }
            pairs.rows.clear();
            pairs.items.clear();
        }
    }
    if is_scalar {
        return Ok(Value::Scalar(answers[0].map_or(Datum::Null, Datum::Bool)));
    }
    let bits = BooleanBuffer::collect_bool(rows, |row| answers[row] == Some(true));
    let nulls = NullBuffer::from(answers.iter().map(Option::is_some).collect::<Vec<bool>>());
    Ok(Value::Array(Arc::new(BooleanArray::new(bits, Some(nulls)))))
}

/// Values and elements to compare.
struct Pairs<'a> {
    function: &'static Function,
    left: PgType,
    element: PgType,
    context: &'a EvalContext,
    /// The row of the value of each pair.
    rows: Vec<u32>,
    /// Its element.
    items: Vec<Datum>,
}

impl Pairs<'_> {
    fn compare(&self, column: &arrow_array::ArrayRef) -> Result<BooleanArray> {
        if self.rows.is_empty() {
            return Ok(BooleanArray::from(Vec::<bool>::new()));
        }
        let left = take(column, &UInt32Array::from(self.rows.clone()), None).map_err(internal)?;
        let args = [Value::Array(left), Value::Array(array_of(self.element, self.items.iter()))];
        let call = Call {
            args: &args,
            types: &[self.left, self.element],
            rows: self.rows.len(),
            result: PgType::Bool,
            context: self.context,
        };
        let answer = (self.function.kernel)(&call)?.into_array(PgType::Bool, self.rows.len());
        Ok(answer.as_boolean().clone())
    }
}

/// OR, or with `all` AND, of some answers.
fn reduce(answers: &BooleanArray, range: std::ops::Range<usize>, all: bool) -> Option<bool> {
    let mut unknown = false;
    for index in range {
        if answers.is_null(index) {
            unknown = true;
        } else if answers.value(index) != all {
            return Some(!all);
        }
    }
    if unknown { None } else { Some(all) }
}

/// `= ANY` and `<> ALL` of a constant array as a set that is looked up; `None` for other operators.
pub(super) fn as_set(function: &Function, left: &Expr, array: &Expr, all: bool) -> Option<Expr> {
    let Expr::Literal { value: Datum::Array(bytes), pg_type } = array else { return None };
    let comparable = |pg_type: PgType| match pg_type.base() {
        PgType::Varchar(_) => PgType::Text,
        other => other,
    };
    let negated = match (function.name, all) {
        ("=", false) => false,
        ("<>", true) => true,
        _ => return None,
    };
    let element = comparable(pg_type.element()?);
    if comparable(left.pg_type()) != element || matches!(element, PgType::Json | PgType::Jsonb) {
        return None;
    }
    let list = ArrayValue::of_stored(*pg_type, bytes);
    if list.values.is_empty() {
        return None;
    }
    let set = Arc::new(InSet::new(list.values.iter()));
    Some(Expr::InSet { arg: Box::new(left.clone()), set, negated })
}
