//! Expressions against what PostgreSQL answered (`data/expressions.txt`): as constants, folded, and over columns.

mod bind;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{Field, Schema};
use arrow_select::concat::concat;
use omen_core::types::{Datum, PgType};
use omen_sql::expr::{EvalContext, Expr, ExprBuilder, ParameterTypes, Volatility, datum_at};
use omen_sql::types::{TimeZone, text};

fn context() -> EvalContext {
    let mut context = EvalContext::new(1);
    context.format.timezone = TimeZone::parse("America/New_York").expect("exists");
    context.transaction_start_us = 1_700_000_000_123_456;
    context.statement_start_us = context.transaction_start_us;
    context
}

/// A value as a cast to text prints it.
fn shown(pg_type: PgType, value: &Datum, context: &EvalContext) -> String {
    match value {
        Datum::Null => "NULL".to_owned(),
        Datum::Bool(value) => value.to_string(),
        _ => {
            let mut out = Vec::new();
            text::write_datum(pg_type, value, &context.format, &mut out);
            String::from_utf8(out).expect("UTF-8").replace('\n', "\\n")
        }
    }
}

fn bound(sql: &str, context: &EvalContext) -> Result<Expr, String> {
    let mut parameters = ParameterTypes::default();
    let mut builder = ExprBuilder { context, parameters: &mut parameters };
    let bound = bind::expression(sql, &mut builder).and_then(|expr| builder.output(expr));
    bound.map_err(|e| format!("ERROR {} {}", e.state.code(), e.message))
}

fn constant(expr: &Expr, context: &EvalContext) -> String {
    match expr.eval_constant(context) {
        Ok(value) => shown(expr.pg_type(), &value, context),
        Err(e) => format!("ERROR {} {}", e.state.code(), e.message),
    }
}

/// The same expression with its constants in columns, and a batch where they stand in rows 1 and 3 of four, NULLs in
/// the others.
fn over_columns(expr: &Expr) -> (Expr, RecordBatch) {
    let mut columns: Vec<ArrayRef> = Vec::new();
    let spread = expr.clone().transform(&mut |part| match part {
        Expr::Literal { value, pg_type } if !value.is_null() => {
            let one = Expr::Literal { value, pg_type };
            let empty = RecordBatch::try_new_with_options(
                Arc::new(Schema::empty()),
                vec![],
                &arrow_array::RecordBatchOptions::new().with_row_count(Some(1)),
            );
            let one = one.eval(&empty.expect("no columns"), &context()).expect("a literal");
            let null = new_null_array(&pg_type.arrow(), 1);
            columns.push(concat(&[&null, &one, &null, &one]).expect("same type"));
            Expr::Column { index: columns.len() - 1, pg_type }
        }
        other => other,
    });
    let fields = columns.iter().enumerate();
    let fields: Vec<Field> =
        fields.map(|(i, column)| Field::new(i.to_string(), column.data_type().clone(), true)).collect();
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(4));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
    (spread, batch.expect("columns of four rows"))
}

fn in_columns(expr: &Expr, context: &EvalContext) -> String {
    let (spread, batch) = over_columns(expr);
    match spread.eval(&batch, context) {
        Ok(array) => {
            let rows =
                [1, 3].map(|row| shown(spread.pg_type(), &datum_at(&array, spread.pg_type(), row), context));
            assert_eq!(rows[0], rows[1]);
            let [first, _] = rows;
            first
        }
        Err(e) => format!("ERROR {} {}", e.state.code(), e.message),
    }
}

#[test]
fn as_postgres() {
    let context = context();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in include_str!("data/expressions.txt").lines().filter(|line| !line.starts_with('#')) {
        let (sql, expected) = line.split_once('\t').expect(line);
        cases += 1;
        let expr = match bound(sql, &context) {
            Ok(expr) => expr,
            Err(error) => {
                if error != expected {
                    wrong.push(format!("{line}: {error}"));
                }
                continue;
            }
        };
        let mut answers = vec![("constant", constant(&expr, &context))];
        answers.push(("folded", constant(&expr.fold(&context), &context)));
        if expr.volatility() != Volatility::Volatile {
            answers.push(("columns", in_columns(&expr, &context)));
            let (spread, batch) = over_columns(&expr);
            let folded = spread.fold(&context);
            let unfolded = spread.eval(&batch, &context).map(|array| format!("{array:?}"));
            assert_eq!(folded.eval(&batch, &context).map(|array| format!("{array:?}")), unfolded, "{line}");
        }
        for (way, answer) in answers {
            if answer != expected {
                wrong.push(format!("{line}: {way} {answer}"));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases >= 600, "{cases} cases");
}
