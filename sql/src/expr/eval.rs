//! Evaluation of expressions over the rows of a batch.
//!
//! What decides whether another part is needed (AND, OR, CASE, COALESCE) is evaluated first. Results of CASE and
//! COALESCE are evaluated for the rows that need them. The next part of an AND or OR is, too, if those rows are few; if
//! they are many, for all rows, which is faster, and again for those that need it if that fails: an error of a row
//! that did not need the part must not surface.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_select::take::take;
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::fragment::plain;
use omen_core::types::{Datum, PgType};

use super::any_all::any_all;
use super::choose::{case, coalesce};
use super::kernel::compare::{Eq, Gt, Lt, same_type};
use super::kernel::{Call, Kernel};
use super::logic::{truth, yes};
use super::truth::Truth;
use super::value::Value;
use super::{EvalContext, Expr, cast, decimals};

/// Result of evaluation.
pub(super) type Result<T> = std::result::Result<T, ValueError>;

/// The rows that an expression is evaluated for.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    batch: Option<&'a RecordBatch>,
    /// Rows of the batch; all if absent.
    selection: Option<&'a [u32]>,
    rows: usize,
}

impl<'a> Frame<'a> {
    /// All rows of a batch.
    pub(crate) fn of(batch: &'a RecordBatch) -> Frame<'a> {
        Frame { batch: Some(batch), selection: None, rows: batch.num_rows() }
    }

    /// One row without columns.
    pub(crate) fn constant() -> Frame<'static> {
        Frame { batch: None, selection: None, rows: 1 }
    }

    /// Some of these rows, as rows of the batch.
    pub(super) fn absolute(&self, rows: &[u32]) -> Vec<u32> {
        match self.selection {
            None => rows.to_vec(),
            Some(selection) => rows.iter().map(|row| selection[*row as usize]).collect(),
        }
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The same batch with other rows selected.
    pub(super) fn with_rows<'b>(&self, rows: &'b [u32]) -> Frame<'b>
    where
        'a: 'b,
    {
        Frame { batch: self.batch, selection: Some(rows), rows: rows.len() }
    }

    /// The values of a column, as expressions of its type give them.
    fn column(&self, index: usize) -> Result<Value> {
        Ok(match self.column_as_is(index)? {
            Value::Array(array) => Value::Array(plain(&array)),
            scalar => scalar,
        })
    }

    /// The values of a column as they lie in the batch: numerics may be coefficients (`Fragment::reads_coefficients`), texts
    /// codes (`Fragment::reads_codes`).
    pub(super) fn column_as_is(&self, index: usize) -> Result<Value> {
        let column = self.batch.and_then(|batch| batch.columns().get(index)).ok_or_else(|| {
            ValueError::new(
                SqlState::INTERNAL_ERROR,
                format!("expression reads column {index}, which is not there"),
            )
        })?;
        Ok(Value::Array(match self.selection {
            None => Arc::clone(column),
            Some(selection) => gather(column, selection)?,
        }))
    }
}

/// Errors of Arrow's kernels say that lengths or types differ, which our callers rule out.
pub(super) fn internal(e: arrow_schema::ArrowError) -> ValueError {
    ValueError::new(SqlState::INTERNAL_ERROR, e.to_string())
}

fn gather(column: &ArrayRef, rows: &[u32]) -> Result<ArrayRef> {
    take(column, &UInt32Array::from(rows.to_vec()), None).map_err(internal)
}

/// The values of an expression.
pub(crate) fn eval(expr: &Expr, frame: Frame<'_>, context: &EvalContext) -> Result<Value> {
    crate::parse::with_stack(|| eval_step(expr, frame, context))
}

fn eval_step(expr: &Expr, frame: Frame<'_>, context: &EvalContext) -> Result<Value> {
    Ok(match expr {
        Expr::Column { index, .. } => frame.column(*index)?,
        Expr::Outer { .. } | Expr::Subquery { .. } => {
            let message = "a subquery is not supported at this place";
            return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        Expr::Literal { value, .. } => Value::Scalar(value.clone()),
        Expr::Unknown(None) => Value::Scalar(Datum::Null),
        Expr::Unknown(Some(text)) => Value::Scalar(Datum::Text(text.clone())),
        Expr::Parameter { index, .. } | Expr::UntypedParameter(index) => {
            let value = context.parameters.get(*index).cloned();
            Value::Scalar(value.ok_or_else(|| {
                let message = format!("there is no parameter ${}", index + 1);
                ValueError::new(SqlState::UNDEFINED_PARAMETER, message)
            })?)
        }
        Expr::Call { function, args, pg_type } => {
            if let Some(value) = decimals::nested(expr, frame)? {
                return Ok(value);
            }
            call(function.kernel, function.strict, args, *pg_type, frame, context)?
        }
        Expr::Cast { arg, to, explicit } => {
            let value = eval(arg, frame, context)?;
            if value.is_null_scalar() {
                return Ok(value);
            }
            let (args, types) = ([value], [arg.pg_type()]);
            cast::run(
                &Call { args: &args, types: &types, rows: frame.rows, result: *to, context },
                *explicit,
            )?
        }
        Expr::Case { arms, otherwise, pg_type } => {
            case(arms, otherwise.as_deref(), *pg_type, frame, context)?
        }
        Expr::And(_) | Expr::Or(_) | Expr::Not(_) | Expr::IsNull { .. } | Expr::IsTruth { .. } => {
            truth(expr, frame, context)?.into_value()
        }
        Expr::IsDistinct { left, right, negated } => {
            is_distinct(left, right, *negated, frame, context)?.into_value()
        }
        Expr::InList { arg, list, negated } => in_list(arg, list, *negated, frame, context)?.into_value(),
        Expr::AnyAll { function, left, array, all } => any_all(function, left, array, *all, frame, context)?,
        Expr::InSet { arg, set, negated } => {
            let found = set.test(&eval(arg, frame, context)?, arg.pg_type());
            if *negated { Truth::of(&found, frame.rows).not().into_value() } else { found }
        }
        Expr::Coalesce(args) => coalesce(args, expr.pg_type(), frame, context)?,
        Expr::NullIf { value, equal } => {
            let equal = yes(equal, frame, context)?;
            let array = eval(value, frame, context)?.into_array(value.pg_type(), frame.rows);
            let mask = BooleanArray::new(equal, None);
            Value::Array(arrow_select::nullif::nullif(&array, &mask).map_err(internal)?)
        }
        Expr::Extreme { args, greatest } => extreme(args, *greatest, frame, context)?,
    })
}

fn call(
    kernel: Kernel,
    strict: bool,
    args: &[Expr],
    result: PgType,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<Value> {
    let mut values = Vec::with_capacity(args.len());
    for arg in args {
        values.push(eval(arg, frame, context)?);
    }
    if strict && values.iter().any(Value::is_null_scalar) {
        return Ok(Value::Scalar(Datum::Null));
    }
    let types: Vec<PgType> = args.iter().map(Expr::pg_type).collect();
    kernel(&Call { args: &values, types: &types, rows: frame.rows, result, context })
}

/// Compares two columns by a kernel that answers `boolean`.
fn compare(
    kernel: Kernel,
    args: &[Value; 2],
    pg_type: PgType,
    rows: usize,
    context: &EvalContext,
) -> Result<Value> {
    if args.iter().any(Value::is_null_scalar) {
        return Ok(Value::Scalar(Datum::Null));
    }
    kernel(&Call { args, types: &[pg_type, pg_type], rows, result: PgType::Bool, context })
}

fn is_distinct(
    left: &Expr,
    right: &Expr,
    negated: bool,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<Truth> {
    let args = [eval(left, frame, context)?, eval(right, frame, context)?];
    let is_null = |value: &Value| match value {
        Value::Scalar(value) if value.is_null() => BooleanBuffer::new_set(frame.rows),
        Value::Scalar(_) => BooleanBuffer::new_unset(frame.rows),
        Value::Array(array) => match array.logical_nulls() {
            Some(nulls) => !nulls.inner(),
            None => BooleanBuffer::new_unset(frame.rows),
        },
    };
    let both = &is_null(&args[0]) & &is_null(&args[1]);
    let equal = compare(same_type::<Eq>(left.pg_type()), &args, left.pg_type(), frame.rows, context)?;
    let same = &Truth::of(&equal, frame.rows).yes | &both;
    Ok(Truth::certain(if negated { same } else { !&same }))
}

/// An `IN` list whose values are not all constants, or not made ready.
fn in_list(
    arg: &Expr,
    list: &[Expr],
    negated: bool,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<Truth> {
    let pg_type = arg.pg_type();
    let mut args = [eval(arg, frame, context)?, Value::Scalar(Datum::Null)];
    let mut sum = Truth::constant(Some(false), frame.rows);
    for item in list {
        if sum.yes.count_set_bits() == frame.rows {
            break;
        }
        args[1] = eval(item, frame, context)?;
        let equal = compare(same_type::<Eq>(pg_type), &args, pg_type, frame.rows, context)?;
        sum = sum.or(&Truth::of(&equal, frame.rows));
    }
    Ok(if negated { sum.not() } else { sum })
}

fn extreme(args: &[Expr], greatest: bool, frame: Frame<'_>, context: &EvalContext) -> Result<Value> {
    let Some((first, rest)) = args.split_first() else { return Ok(Value::Scalar(Datum::Null)) };
    let pg_type = first.pg_type();
    let better = if greatest { same_type::<Gt>(pg_type) } else { same_type::<Lt>(pg_type) };
    let mut best = eval(first, frame, context)?.into_array(pg_type, frame.rows);
    for arg in rest {
        let next = eval(arg, frame, context)?.into_array(pg_type, frame.rows);
        let pair = [Value::Array(Arc::clone(&next)), Value::Array(Arc::clone(&best))];
        let better = compare(better, &pair, pg_type, frame.rows, context)?;
        let better = match better {
            Value::Array(array) => array.as_boolean().values().clone(),
            Value::Scalar(_) => BooleanBuffer::new_unset(frame.rows),
        };
        let valid = |array: &ArrayRef| match array.logical_nulls() {
            Some(nulls) => nulls.into_inner(),
            None => BooleanBuffer::new_set(frame.rows),
        };
        // NULLs do not take part: anything is better than NULL.
        let replace = &valid(&next) & &(&better | &!&valid(&best));
        let mask = BooleanArray::new(replace, None);
        best = arrow_select::zip::zip(&mask, &next, &best).map_err(internal)?;
    }
    Ok(Value::Array(best))
}
