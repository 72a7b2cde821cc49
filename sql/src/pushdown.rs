//! Conditions that the engine evaluates: comparisons of a column with what does not depend on the row.
//!
//! A conjunct is taken only if a filter of the engine means exactly the same for every value of the column: values of a
//! wider type are cut to the column's, or the comparison is decided for all rows. Everything else stays with the fragment.

use omen_core::catalog::TableSchema;
use omen_core::error::ValueError;
use omen_core::filter::{ColumnFilter, Comparison, Test};
use omen_core::types::{Datum, PgType};

use crate::expr::{EvalContext, Expr};
use crate::route::{Fit, constant_for, elements_for, fit, keeps_order, values_of};

const DAY_US: i64 = 86_400_000_000;

/// A condition for the engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pushed {
    /// The table's column.
    pub(crate) column: usize,
    /// Its type.
    pg_type: PgType,
    test: PushedTest,
    /// The condition over the table's columns, as it was written.
    pub(crate) expr: Expr,
}

#[derive(Clone, Debug, PartialEq)]
enum PushedTest {
    Compare(Comparison, Expr),
    In(Vec<Expr>),
    IsNull,
    IsNotNull,
}

/// Takes out of `conjuncts` what the engine can evaluate. `columns` are the table's columns that the conjuncts' are.
pub(crate) fn extract(
    schema: &TableSchema,
    columns: &[usize],
    conjuncts: Vec<Expr>,
) -> (Vec<Pushed>, Vec<Expr>) {
    let (mut pushed, mut rest) = (Vec::new(), Vec::new());
    for conjunct in conjuncts {
        match test_of(&conjunct) {
            Some((column, test)) => {
                let column = columns[column];
                let pg_type = schema.columns[column].pg_type;
                let expr = conjunct.transform(&mut |part| match part {
                    Expr::Column { index, pg_type } => Expr::Column { index: columns[index], pg_type },
                    other => other,
                });
                pushed.push(Pushed { column, pg_type, test, expr });
            }
            None => rest.push(conjunct),
        }
    }
    (pushed, rest)
}

impl Pushed {
    /// The filter for given parameters.
    ///
    /// # Errors
    /// If a value cannot be computed.
    pub(crate) fn ready(&self, context: &EvalContext) -> Result<ColumnFilter, ValueError> {
        let test = match &self.test {
            PushedTest::Compare(op, value) => {
                compare(*op, place(&value.eval_constant(context)?, self.pg_type))
            }
            PushedTest::In(values) => {
                let mut list = Vec::with_capacity(values.len());
                for value in values {
                    for value in values_of(value, context)? {
                        if let Place::At(value) = place(&value, self.pg_type) {
                            list.push(value);
                        }
                    }
                }
                Test::In(list)
            }
            PushedTest::IsNull => Test::IsNull,
            PushedTest::IsNotNull => Test::IsNotNull,
        };
        Ok(ColumnFilter { column: self.column, test })
    }
}

/// The filter of a column for one of some values; none of them is NULL.
pub(crate) fn among(column: usize, pg_type: PgType, values: &[Datum]) -> Option<ColumnFilter> {
    let mut list = Vec::with_capacity(values.len());
    for value in values {
        if let Place::At(value) = place(value, pg_type) {
            list.push(value);
        }
    }
    has_order(pg_type).then_some(ColumnFilter { column, test: Test::In(list) })
}

/// The filters of a column for values from `min` to `max`.
pub(crate) fn between(column: usize, pg_type: PgType, min: &Datum, max: &Datum) -> Vec<ColumnFilter> {
    let bounds = [(Comparison::GreaterOrEqual, min), (Comparison::LessOrEqual, max)];
    let filter = |(op, value)| ColumnFilter { column, test: compare(op, place(value, pg_type)) };
    if has_order(pg_type) { bounds.map(filter).into() } else { Vec::new() }
}

fn has_order(pg_type: PgType) -> bool {
    !matches!(pg_type, PgType::Json | PgType::Jsonb | PgType::Array(_))
}

/// Where a value stands among the values of a column's type.
enum Place {
    Null,
    /// It is one of them.
    At(Datum),
    /// Above this one and below the next.
    After(Datum),
    Below,
    Above,
}

fn place(value: &Datum, pg_type: PgType) -> Place {
    match (value, pg_type) {
        (Datum::Timestamp(i64::MIN), PgType::Date) => Place::At(Datum::Date(i32::MIN)),
        (Datum::Timestamp(i64::MAX), PgType::Date) => Place::At(Datum::Date(i32::MAX)),
        (Datum::Timestamp(micros), PgType::Date) => {
            let day =
                i32::try_from(micros.div_euclid(DAY_US)).expect("an i64 of microseconds has fewer days");
            let at = Datum::Date(day);
            if micros.rem_euclid(DAY_US) == 0 { Place::At(at) } else { Place::After(at) }
        }
        _ => match fit(value, pg_type) {
            Fit::Null => Place::Null,
            Fit::Value(value) => Place::At(value),
            Fit::Below => Place::Below,
            Fit::Above => Place::Above,
        },
    }
}

/// `column op value`, wherever the value stands.
fn compare(op: Comparison, place: Place) -> Test {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    match (place, op) {
        (Place::Null, _) => Test::Never,
        (Place::At(value), op) => Test::Compare(op, value),
        (_, Equal) => Test::Never,
        (_, NotEqual) => Test::IsNotNull,
        (Place::After(before), Less | LessOrEqual) => Test::Compare(LessOrEqual, before),
        (Place::After(before), Greater | GreaterOrEqual) => Test::Compare(Greater, before),
        (Place::Below, Less | LessOrEqual) | (Place::Above, Greater | GreaterOrEqual) => Test::Never,
        (Place::Below, Greater | GreaterOrEqual) | (Place::Above, Less | LessOrEqual) => Test::IsNotNull,
    }
}

/// The column and the test, if the condition is of a form that the engine knows.
fn test_of(expr: &Expr) -> Option<(usize, PushedTest)> {
    let (column, test) = match expr {
        Expr::Call { function, args, .. } => {
            let op = comparison(function.name)?;
            let [left, right] = args.as_slice() else { return None };
            let (column, pg_type, value, op) = match (column_of(left), column_of(right)) {
                (Some((column, pg_type)), _) => (column, pg_type, right, op),
                (None, Some((column, pg_type))) => (column, pg_type, left, flipped(op)),
                (None, None) => return None,
            };
            (column, PushedTest::Compare(op, constant(value, pg_type)?))
        }
        Expr::InList { arg, list, negated: false } => {
            let (column, pg_type) = column_of(arg)?;
            let values = list.iter().map(|value| constant(value, pg_type)).collect::<Option<_>>()?;
            (column, PushedTest::In(values))
        }
        Expr::AnyAll { function, left, array, all: false } if function.name == "=" => {
            let (column, pg_type) = column_of(left)?;
            (column, PushedTest::In(vec![elements_for(array, pg_type)?]))
        }
        Expr::Or(parts) => alternatives(parts)?,
        Expr::IsNull { arg, negated } => match **arg {
            Expr::Column { index, .. } if *negated => return Some((index, PushedTest::IsNotNull)),
            Expr::Column { index, .. } => return Some((index, PushedTest::IsNull)),
            _ => return None,
        },
        Expr::Column { index, pg_type: PgType::Bool } => (*index, truth(true)),
        Expr::Not(arg) => match **arg {
            Expr::Column { index, pg_type: PgType::Bool } => (index, truth(false)),
            _ => return None,
        },
        _ => return None,
    };
    Some((column, test))
}

/// Equalities on one column, of which one must hold.
fn alternatives(parts: &[Expr]) -> Option<(usize, PushedTest)> {
    let mut column = None;
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        let (of, test) = test_of(part)?;
        if *column.get_or_insert(of) != of {
            return None;
        }
        match test {
            PushedTest::Compare(Comparison::Equal, value) => values.push(value),
            PushedTest::In(more) => values.extend(more),
            _ => return None,
        }
    }
    Some((column?, PushedTest::In(values)))
}

fn truth(value: bool) -> PushedTest {
    let value = Expr::Literal { value: Datum::Bool(value), pg_type: PgType::Bool };
    PushedTest::Compare(Comparison::Equal, value)
}

fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        "=" => Comparison::Equal,
        "<>" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

/// The operator with its sides exchanged.
fn flipped(op: Comparison) -> Comparison {
    match op {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

/// A column with an order, alone or as a wider type in which its values keep it; and the type of the column.
fn column_of(expr: &Expr) -> Option<(usize, PgType)> {
    let ordered = |pg_type: PgType| has_order(pg_type);
    match expr {
        Expr::Column { index, pg_type } if ordered(*pg_type) => Some((*index, *pg_type)),
        Expr::Cast { arg, to, .. } => match **arg {
            Expr::Column { index, pg_type } if ordered(pg_type) && widens(pg_type, *to) => {
                Some((index, pg_type))
            }
            _ => None,
        },
        _ => None,
    }
}

fn widens(from: PgType, to: PgType) -> bool {
    let more = [(PgType::Float4, PgType::Float8), (PgType::Date, PgType::Timestamp)];
    let loses_modifier = matches!((from, to), (PgType::Numeric(_), PgType::Numeric(None)));
    more.contains(&(from, to)) || loses_modifier || keeps_order(from, to)
}

/// The value of a comparison with a column of this type, if it does not depend on the row.
fn constant(expr: &Expr, pg_type: PgType) -> Option<Expr> {
    let value_type = expr.pg_type();
    let as_column = if widens(pg_type, value_type) { value_type } else { pg_type };
    constant_for(expr, as_column)
}
