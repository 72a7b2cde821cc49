//! Evaluation of expressions over the rows of a batch.
//!
//! What decides whether another part is needed (AND, OR, CASE, COALESCE) is evaluated first. The other part is then
//! evaluated for the rows that need it only, if they are few; if they are many, for all rows, which is faster, and
//! again for those that need it if that fails: an error of a row that did not need the part must not surface.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{Datum, PgType};

use super::kernel::compare::{Eq, Gt, Lt, same_type};
use super::kernel::{Call, Kernel};
use super::truth::{Truth, set_rows};
use super::value::Value;
use super::{EvalContext, Expr, cast};

type Result<T> = std::result::Result<T, ValueError>;

/// A part is evaluated for selected rows only if at most one row in so many needs it.
const SPARSE: usize = 8;

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
    fn absolute(&self, rows: Vec<u32>) -> Vec<u32> {
        match self.selection {
            None => rows,
            Some(selection) => rows.into_iter().map(|row| selection[row as usize]).collect(),
        }
    }

    /// The same batch with other rows selected.
    fn with_rows<'b>(&self, rows: &'b [u32]) -> Frame<'b>
    where
        'a: 'b,
    {
        Frame { batch: self.batch, selection: Some(rows), rows: rows.len() }
    }

    fn column(&self, index: usize) -> Result<Value> {
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
fn internal(e: arrow_schema::ArrowError) -> ValueError {
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
        Expr::InSet { arg, set, negated } => {
            let found = set.test(&eval(arg, frame, context)?, arg.pg_type());
            if *negated { Truth::of(&found, frame.rows).not().into_value() } else { found }
        }
        Expr::Coalesce(args) => coalesce(args, expr.pg_type(), frame, context)?,
        Expr::NullIf { value, equal } => {
            let equal = truth(equal, frame, context)?;
            let array = eval(value, frame, context)?.into_array(value.pg_type(), frame.rows);
            let mask = BooleanArray::new(equal.yes, None);
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

/// The truth of a condition.
pub(crate) fn truth(expr: &Expr, frame: Frame<'_>, context: &EvalContext) -> Result<Truth> {
    match expr {
        Expr::And(parts) => chain(parts, true, frame, context),
        Expr::Or(parts) => chain(parts, false, frame, context),
        Expr::Not(arg) => Ok(truth(arg, frame, context)?.not()),
        Expr::IsNull { arg, negated } => {
            let is_null = match eval(arg, frame, context)? {
                Value::Scalar(value) => {
                    return Ok(Truth::constant(Some(value.is_null() != *negated), frame.rows));
                }
                Value::Array(array) => array.logical_nulls().map(|nulls| !nulls.inner()),
            };
            let is_null = is_null.unwrap_or_else(|| BooleanBuffer::new_unset(frame.rows));
            Ok(Truth::certain(if *negated { !&is_null } else { is_null }))
        }
        Expr::IsTruth { arg, truth: wanted, negated } => {
            let found = truth(arg, frame, context)?;
            let bits = match wanted {
                Some(true) => found.yes,
                Some(false) => found.no,
                None => !&(&found.yes | &found.no),
            };
            Ok(Truth::certain(if *negated { !&bits } else { bits }))
        }
        _ => Ok(Truth::of(&eval(expr, frame, context)?, frame.rows)),
    }
}

/// AND, or OR: until `deciding` (false, or true) has been found for every row.
fn chain(parts: &[Expr], conjunction: bool, frame: Frame<'_>, context: &EvalContext) -> Result<Truth> {
    let mut sum = Truth::constant(Some(conjunction), frame.rows);
    for part in parts {
        let decided = if conjunction { &sum.no } else { &sum.yes };
        let open = !decided;
        let open_count = open.count_set_bits();
        if open_count == 0 {
            break;
        }
        let selected = || -> Result<Truth> {
            let rows = set_rows(&open);
            let absolute = frame.absolute(rows.clone());
            Ok(truth(part, frame.with_rows(&absolute), context)?.spread(&rows, frame.rows))
        };
        let found = if open_count * SPARSE <= frame.rows {
            selected()?
        } else {
            match truth(part, frame, context) {
                Err(_) if open_count < frame.rows => selected()?,
                found => found?,
            }
        };
        sum = if conjunction { sum.and(&found) } else { sum.or(&found) };
    }
    Ok(sum)
}

/// Where the value of each row comes from.
struct Choices {
    arrays: Vec<ArrayRef>,
    /// Array and row in it.
    rows: Vec<(usize, usize)>,
}

impl Choices {
    /// All rows NULL.
    fn new(pg_type: PgType, rows: usize) -> Choices {
        Choices { arrays: vec![super::value::repeat(&Datum::Null, pg_type, 1)], rows: vec![(0, 0); rows] }
    }

    /// The value of `expr` for some rows.
    fn choose(&mut self, expr: &Expr, rows: &[u32], frame: Frame<'_>, context: &EvalContext) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let absolute = frame.absolute(rows.to_vec());
        let value = if rows.len() == frame.rows {
            eval(expr, frame, context)?
        } else {
            eval(expr, frame.with_rows(&absolute), context)?
        };
        self.take(&value, expr.pg_type(), rows);
        Ok(())
    }

    fn take(&mut self, value: &Value, pg_type: PgType, rows: &[u32]) {
        let index = self.arrays.len();
        match value {
            Value::Scalar(value) => {
                self.arrays.push(super::value::repeat(value, pg_type, 1));
                rows.iter().for_each(|row| self.rows[*row as usize] = (index, 0));
            }
            Value::Array(array) => {
                self.arrays.push(Arc::clone(array));
                rows.iter().enumerate().for_each(|(at, row)| self.rows[*row as usize] = (index, at));
            }
        }
    }

    fn finish(self) -> Result<Value> {
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        Ok(Value::Array(interleave(&arrays, &self.rows).map_err(internal)?))
    }
}

fn case(
    arms: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    pg_type: PgType,
    frame: Frame<'_>,
    context: &EvalContext,
) -> Result<Value> {
    let mut choices = Choices::new(pg_type, frame.rows);
    let mut open: Vec<u32> = (0..frame.rows as u32).collect();
    for (condition, result) in arms {
        if open.is_empty() {
            break;
        }
        let absolute = frame.absolute(open.clone());
        let found = if open.len() == frame.rows {
            truth(condition, frame, context)?
        } else {
            truth(condition, frame.with_rows(&absolute), context)?
        };
        let yes = found.yes.count_set_bits();
        if yes == 0 {
            continue;
        }
        let chosen: Vec<u32> = found.yes.set_indices().map(|at| open[at]).collect();
        choices.choose(result, &chosen, frame, context)?;
        open = if yes == open.len() {
            Vec::new()
        } else {
            (!&found.yes).set_indices().map(|at| open[at]).collect()
        };
    }
    if let Some(otherwise) = otherwise {
        choices.choose(otherwise, &open, frame, context)?;
    }
    choices.finish()
}

fn coalesce(args: &[Expr], pg_type: PgType, frame: Frame<'_>, context: &EvalContext) -> Result<Value> {
    let [first, rest @ ..] = args else { return Ok(Value::Scalar(Datum::Null)) };
    let value = eval(first, frame, context)?;
    let mut open = match &value {
        Value::Scalar(Datum::Null) => (0..frame.rows as u32).collect(),
        Value::Array(array) if array.null_count() > 0 => match array.nulls() {
            Some(nulls) => set_rows(&!nulls.inner()),
            None => return Ok(value),
        },
        _ => return Ok(value),
    };
    let mut choices = Choices::new(pg_type, frame.rows);
    let all: Vec<u32> = (0..frame.rows as u32).collect();
    choices.take(&value, pg_type, &all);
    for arg in rest {
        if open.is_empty() {
            break;
        }
        let absolute = frame.absolute(open.clone());
        let value = eval(arg, frame.with_rows(&absolute), context)?;
        let still_null: Vec<u32> = match &value {
            Value::Scalar(Datum::Null) => continue,
            Value::Scalar(_) => Vec::new(),
            Value::Array(array) => match array.nulls() {
                None => Vec::new(),
                Some(nulls) => (!nulls.inner()).set_indices().map(|at| open[at]).collect(),
            },
        };
        choices.take(&value, arg.pg_type(), &open);
        open = still_null;
    }
    choices.finish()
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
