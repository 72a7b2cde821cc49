//! CASE and COALESCE: each row takes its value from the first part that has one for it.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_select::interleave::interleave;
use omen_core::types::{Datum, Interval, PgType};

use super::eval::{Frame, Result, eval, internal};
use super::kernel::lift::{
    Arg, Bool, Clock, Day, F32, F64, I16, I32, I64, Id, Kind, Num, NumBytes, Output, Span, Stamp,
};
use super::logic::yes;
use super::truth::set_rows;
use super::value::{Value, repeat};
use super::{EvalContext, Expr};

/// Values of rows that come bit by bit; rows that never come are NULL.
trait Collect {
    /// The values of some rows: an array of as many, or one for all of them.
    fn take(&mut self, value: &Value, rows: &[u32]);
    /// All rows.
    fn finish(self: Box<Self>) -> Result<ArrayRef>;
}

/// Values of fixed size, written where they belong.
struct Fixed<R, F> {
    values: Vec<R>,
    valid: Vec<bool>,
    pg_type: PgType,
    scatter: F,
}

impl<R: Output, F: Fn(&Value, &[u32], &mut [R])> Collect for Fixed<R, F> {
    fn take(&mut self, value: &Value, rows: &[u32]) {
        let nulls = match value {
            Value::Scalar(Datum::Null) => return,
            Value::Scalar(_) => None,
            Value::Array(array) => array.logical_nulls(),
        };
        (self.scatter)(value, rows, &mut self.values);
        match nulls {
            None => rows.iter().for_each(|row| self.valid[*row as usize] = true),
            Some(nulls) => rows.iter().zip(&nulls).for_each(|(row, valid)| self.valid[*row as usize] = valid),
        }
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef> {
        let nulls = NullBuffer::from(self.valid);
        Ok(R::array(self.values, (nulls.null_count() > 0).then_some(nulls), self.pg_type))
    }
}

fn fixed<K: Kind, R: Output + 'static>(
    pg_type: PgType,
    rows: usize,
    convert: impl Fn(K::Item<'_>) -> R + 'static,
) -> Box<dyn Collect> {
    let scatter = move |value: &Value, rows: &[u32], out: &mut [R]| match Arg::<K>::of(value) {
        Arg::Constant(value) => {
            let value = convert(value);
            rows.iter().for_each(|row| out[*row as usize] = value);
        }
        Arg::Column(column) => {
            rows.iter().enumerate().for_each(|(at, row)| out[*row as usize] = convert(K::get(column, at)));
        }
    };
    Box::new(Fixed { values: vec![R::default(); rows], valid: vec![false; rows], pg_type, scatter })
}

/// Texts and bytes: where the value of each row lies.
struct Varying {
    arrays: Vec<ArrayRef>,
    /// Array and row in it.
    places: Vec<(usize, usize)>,
    pg_type: PgType,
}

impl Collect for Varying {
    fn take(&mut self, value: &Value, rows: &[u32]) {
        let index = self.arrays.len();
        match value {
            Value::Scalar(value) => {
                self.arrays.push(repeat(value, self.pg_type, 1));
                rows.iter().for_each(|row| self.places[*row as usize] = (index, 0));
            }
            Value::Array(array) => {
                self.arrays.push(Arc::clone(array));
                rows.iter().enumerate().for_each(|(at, row)| self.places[*row as usize] = (index, at));
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        interleave(&arrays, &self.places).map_err(internal)
    }
}

fn collector(pg_type: PgType, rows: usize) -> Box<dyn Collect> {
    match pg_type {
        PgType::Bool => fixed::<Bool, bool>(pg_type, rows, |v| v),
        PgType::Int2 => fixed::<I16, i16>(pg_type, rows, |v| v),
        PgType::Int4 => fixed::<I32, i32>(pg_type, rows, |v| v),
        PgType::Int8 => fixed::<I64, i64>(pg_type, rows, |v| v),
        PgType::Float4 => fixed::<F32, f32>(pg_type, rows, |v| v),
        PgType::Float8 => fixed::<F64, f64>(pg_type, rows, |v| v),
        PgType::Numeric(_) => fixed::<Num, NumBytes>(pg_type, rows, NumBytes::from),
        PgType::Date => fixed::<Day, i32>(pg_type, rows, |v| v),
        PgType::Time => fixed::<Clock, i64>(pg_type, rows, |v| v),
        PgType::Timestamp | PgType::Timestamptz => fixed::<Stamp, i64>(pg_type, rows, |v| v),
        PgType::Interval => fixed::<Span, Interval>(pg_type, rows, |v| v),
        PgType::Uuid => fixed::<Id, [u8; 16]>(pg_type, rows, |v| v),
        PgType::Text
        | PgType::Varchar(_)
        | PgType::Bytea
        | PgType::Json
        | PgType::Jsonb
        | PgType::Array(_) => {
            Box::new(Varying {
                // What no row chooses is NULL.
                arrays: vec![repeat(&Datum::Null, pg_type, 1)],
                places: vec![(0, 0); rows],
                pg_type,
            })
        }
    }
}

/// Evaluates for some rows of a frame.
fn eval_for(expr: &Expr, rows: &[u32], frame: Frame<'_>, context: &EvalContext) -> Result<Value> {
    if rows.len() == frame.rows() {
        return eval(expr, frame, context);
    }
    let absolute = frame.absolute(rows);
    eval(expr, frame.with_rows(&absolute), context)
}

pub(super) fn case(
    arms: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    pg_type: PgType,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<Value> {
    if frame.rows() == 1 {
        return case_of_one(arms, otherwise, frame, context);
    }
    let mut collected = collector(pg_type, frame.rows());
    let mut open: Vec<u32> = (0..frame.rows() as u32).collect();
    for (condition, result) in arms {
        if open.is_empty() {
            break;
        }
        let found = if open.len() == frame.rows() {
            yes(condition, frame, context)?
        } else {
            let absolute = frame.absolute(&open);
            yes(condition, frame.with_rows(&absolute), context)?
        };
        let count = found.count_set_bits();
        if count == 0 {
            continue;
        }
        let chosen: Vec<u32> = found.set_indices().map(|at| open[at]).collect();
        collected.take(&eval_for(result, &chosen, frame, context)?, &chosen);
        open = if count == open.len() {
            Vec::new()
        } else {
            (!&found).set_indices().map(|at| open[at]).collect()
        };
    }
    if let (Some(otherwise), false) = (otherwise, open.is_empty()) {
        collected.take(&eval_for(otherwise, &open, frame, context)?, &open);
    }
    Ok(Value::Array(collected.finish()?))
}

/// A single row needs no collecting.
fn case_of_one(
    arms: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<Value> {
    for (condition, result) in arms {
        if yes(condition, frame, context)?.value(0) {
            return eval(result, frame, context);
        }
    }
    otherwise.map_or(Ok(Value::Scalar(Datum::Null)), |otherwise| eval(otherwise, frame, context))
}

/// Rows of a part's values that are NULL, as rows of the frame.
fn nulls_of(value: &Value, rows: &[u32]) -> Vec<u32> {
    match value {
        Value::Scalar(Datum::Null) => rows.to_vec(),
        Value::Scalar(_) => Vec::new(),
        Value::Array(array) => match array.logical_nulls() {
            Some(nulls) if nulls.null_count() > 0 => {
                set_rows(&!nulls.inner()).into_iter().map(|at| rows[at as usize]).collect()
            }
            _ => Vec::new(),
        },
    }
}

pub(super) fn coalesce(
    args: &[Expr],
    pg_type: PgType,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<Value> {
    let [first, rest @ ..] = args else { return Ok(Value::Scalar(Datum::Null)) };
    let value = eval(first, frame, context)?;
    let complete = match &value {
        Value::Scalar(value) => !value.is_null(),
        Value::Array(array) => array.logical_null_count() == 0,
    };
    if complete || rest.is_empty() {
        return Ok(value);
    }
    let all: Vec<u32> = (0..frame.rows() as u32).collect();
    let mut open = nulls_of(&value, &all);
    let mut collected = collector(pg_type, frame.rows());
    collected.take(&value, &all);
    for arg in rest {
        if open.is_empty() {
            break;
        }
        let value = eval_for(arg, &open, frame, context)?;
        if !value.is_null_scalar() {
            collected.take(&value, &open);
        }
        open = nulls_of(&value, &open);
    }
    Ok(Value::Array(collected.finish()?))
}
