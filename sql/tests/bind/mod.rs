//! Turns the syntax tree of an expression into an expression by way of the builder, for tests.

use omen_core::types::{Datum, PgType};
use omen_sql::error::{SqlError, SqlState};
use omen_sql::expr::build::{LikeKind, LikeParts};
use omen_sql::expr::{Expr, ExprBuilder};
use sqlparser::ast::{
    BinaryOperator, CharacterLength, DataType, ExactNumberInfo, Expr as Ast, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, TimezoneInfo, TrimWhereField, UnaryOperator, Value,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

type Result<T> = std::result::Result<T, SqlError>;

/// Parses and binds an expression.
pub fn expression(sql: &str, builder: &mut ExprBuilder<'_>) -> Result<Expr> {
    let parsed =
        Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
    let ast = parsed.map_err(|e| SqlError::new(SqlState::SYNTAX_ERROR, e.to_string()))?;
    bind(&ast, builder)
}

fn unsupported(what: &dyn std::fmt::Debug) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("the test does not bind {what:?}"))
}

fn all(asts: &[Ast], builder: &mut ExprBuilder<'_>) -> Result<Vec<Expr>> {
    asts.iter().map(|ast| bind(ast, builder)).collect()
}

fn literal(value: &Value, builder: &mut ExprBuilder<'_>) -> Result<Expr> {
    match value {
        Value::Number(digits, _) => builder.number(digits),
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
            Ok(Expr::Unknown(Some(text.as_str().into())))
        }
        Value::Boolean(value) => Ok(Expr::Literal { value: Datum::Bool(*value), pg_type: PgType::Bool }),
        Value::Null => Ok(Expr::Unknown(None)),
        other => Err(unsupported(other)),
    }
}

fn type_of(data_type: &DataType) -> Result<PgType> {
    Ok(match data_type {
        DataType::Bool | DataType::Boolean => PgType::Bool,
        DataType::Int2(_) | DataType::SmallInt(_) => PgType::Int2,
        DataType::Int(_) | DataType::Int4(_) | DataType::Integer(_) => PgType::Int4,
        DataType::Int8(_) | DataType::BigInt(_) => PgType::Int8,
        DataType::Float4 | DataType::Real => PgType::Float4,
        DataType::Float8 | DataType::DoublePrecision | DataType::Float(_) => PgType::Float8,
        DataType::Numeric(info) => PgType::Numeric(match info {
            ExactNumberInfo::None => None,
            ExactNumberInfo::Precision(precision) => Some((*precision as u16, 0)),
            ExactNumberInfo::PrecisionAndScale(precision, scale) => Some((*precision as u16, *scale as i16)),
        }),
        DataType::Text => PgType::Text,
        DataType::Varchar(length) => PgType::Varchar(match length {
            Some(CharacterLength::IntegerLength { length, .. }) => Some(*length as u32),
            _ => None,
        }),
        DataType::Bytea => PgType::Bytea,
        DataType::Date => PgType::Date,
        DataType::Time(..) => PgType::Time,
        DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => PgType::Timestamptz,
        DataType::Timestamp(..) => PgType::Timestamp,
        DataType::Interval { .. } => PgType::Interval,
        DataType::Uuid => PgType::Uuid,
        DataType::JSON => PgType::Json,
        DataType::JSONB => PgType::Jsonb,
        DataType::Custom(name, _) if name.to_string() == "timestamptz" => PgType::Timestamptz,
        other => return Err(unsupported(other)),
    })
}

fn bind(ast: &Ast, b: &mut ExprBuilder<'_>) -> Result<Expr> {
    match ast {
        Ast::Nested(inner) => bind(inner, b),
        Ast::Value(value) => literal(&value.value, b),
        Ast::Identifier(name) => b.function(&name.value.to_lowercase(), vec![]),
        Ast::BinaryOp { left, op, right } => binary(left, op, right, b),
        Ast::UnaryOp { op, expr } => unary(*op, expr, b),
        Ast::Cast { expr, data_type, .. } => {
            let arg = bind(expr, b)?;
            b.cast(arg, type_of(data_type)?)
        }
        Ast::TypedString(typed) => {
            let text = literal(&typed.value.value, b)?;
            b.cast(text, type_of(&typed.data_type)?)
        }
        Ast::Interval(interval) => {
            let text = bind(&interval.value, b)?;
            b.cast(text, PgType::Interval)
        }
        Ast::Function(function) => call(function, b),
        Ast::Case { operand, conditions, else_result, .. } => {
            let operand = operand.as_ref().map(|ast| bind(ast, b)).transpose()?;
            let mut arms = Vec::new();
            for arm in conditions {
                arms.push((bind(&arm.condition, b)?, bind(&arm.result, b)?));
            }
            let otherwise = else_result.as_ref().map(|ast| bind(ast, b)).transpose()?;
            b.case(operand, arms, otherwise)
        }
        Ast::Between { expr, negated, low, high } => {
            let (arg, low, high) = (bind(expr, b)?, bind(low, b)?, bind(high, b)?);
            b.between(arg, low, high, false, *negated)
        }
        Ast::InList { expr, list, negated } => {
            let (arg, list) = (bind(expr, b)?, all(list, b)?);
            b.in_list(arg, list, *negated)
        }
        Ast::Like { negated, expr, pattern, escape_char, .. } => {
            like(LikeKind::Like, *negated, [expr, pattern], escape_char.as_ref().map(|v| &v.value), b)
        }
        Ast::ILike { negated, expr, pattern, escape_char, .. } => {
            like(LikeKind::ILike, *negated, [expr, pattern], escape_char.as_ref().map(|v| &v.value), b)
        }
        Ast::SimilarTo { negated, expr, pattern, escape_char } => {
            like(LikeKind::SimilarTo, *negated, [expr, pattern], escape_char.as_ref().map(|v| &v.value), b)
        }
        _ => test(ast, b),
    }
}

fn test(ast: &Ast, b: &mut ExprBuilder<'_>) -> Result<Expr> {
    let (arg, truth, negated) = match ast {
        Ast::IsNull(arg) | Ast::IsNotNull(arg) => {
            let arg = bind(arg, b)?;
            return Ok(b.is_null(arg, matches!(ast, Ast::IsNotNull(_))));
        }
        Ast::IsDistinctFrom(left, right) | Ast::IsNotDistinctFrom(left, right) => {
            let (left, right) = (bind(left, b)?, bind(right, b)?);
            return b.is_distinct(left, right, matches!(ast, Ast::IsNotDistinctFrom(..)));
        }
        Ast::IsTrue(arg) => (arg, Some(true), false),
        Ast::IsNotTrue(arg) => (arg, Some(true), true),
        Ast::IsFalse(arg) => (arg, Some(false), false),
        Ast::IsNotFalse(arg) => (arg, Some(false), true),
        Ast::IsUnknown(arg) => (arg, None, false),
        Ast::IsNotUnknown(arg) => (arg, None, true),
        _ => return spelled(ast, b),
    };
    let arg = bind(arg, b)?;
    b.is_truth(arg, truth, negated)
}

fn binary(left: &Ast, op: &BinaryOperator, right: &Ast, b: &mut ExprBuilder<'_>) -> Result<Expr> {
    let (left, right) = (bind(left, b)?, bind(right, b)?);
    match op {
        BinaryOperator::And => b.and(vec![left, right]),
        BinaryOperator::Or => b.or(vec![left, right]),
        _ => b.operator(&op.to_string(), left, right),
    }
}

fn unary(op: UnaryOperator, arg: &Ast, b: &mut ExprBuilder<'_>) -> Result<Expr> {
    if let (UnaryOperator::Minus, Ast::Value(value)) = (op, arg)
        && let Value::Number(digits, _) = &value.value
    {
        return b.number(&format!("-{digits}"));
    }
    let arg = bind(arg, b)?;
    match op {
        UnaryOperator::Not => b.not(arg),
        _ => b.prefix(op.to_string().trim(), arg),
    }
}

fn like(
    kind: LikeKind,
    negated: bool,
    [arg, pattern]: [&Ast; 2],
    escape: Option<&Value>,
    b: &mut ExprBuilder<'_>,
) -> Result<Expr> {
    let (arg, pattern) = (bind(arg, b)?, bind(pattern, b)?);
    let escape = escape.map(|escape| literal(escape, b)).transpose()?;
    b.like(LikeParts { arg, pattern, escape, kind, negated })
}

fn call(function: &Function, b: &mut ExprBuilder<'_>) -> Result<Expr> {
    let mut args = Vec::new();
    if let FunctionArguments::List(list) = &function.args {
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => args.push(bind(arg, b)?),
                other => return Err(unsupported(other)),
            }
        }
    }
    b.function(&function.name.to_string().to_lowercase(), args)
}

/// Functions spelled in words.
fn spelled(ast: &Ast, b: &mut ExprBuilder<'_>) -> Result<Expr> {
    let (name, args): (&str, Vec<&Ast>) = match ast {
        Ast::AtTimeZone { timestamp, time_zone } => ("timezone", vec![time_zone, timestamp]),
        Ast::Extract { field, expr, .. } => {
            let field = Expr::Unknown(Some(field.to_string().to_lowercase().trim_matches('\'').into()));
            let arg = bind(expr, b)?;
            return b.function("extract", vec![field, arg]);
        }
        Ast::Ceil { expr, .. } => ("ceil", vec![expr]),
        Ast::Floor { expr, .. } => ("floor", vec![expr]),
        Ast::Position { expr, r#in } => ("strpos", vec![r#in, expr]),
        Ast::Substring { expr, substring_from, substring_for, .. } => {
            let mut args = vec![bind(expr, b)?];
            match substring_from {
                Some(from) => args.push(bind(from, b)?),
                None => args.push(b.number("1")?),
            }
            if let Some(length) = substring_for {
                args.push(bind(length, b)?);
            }
            return b.function("substring", args);
        }
        Ast::Trim { trim_where, trim_what, expr, trim_characters, .. } => {
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            };
            let mut args = vec![expr.as_ref()];
            args.extend(trim_what.as_deref());
            args.extend(trim_characters.iter().flatten());
            (name, args)
        }
        Ast::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let mut args = vec![expr.as_ref(), overlay_what, overlay_from];
            args.extend(overlay_for.as_deref());
            ("overlay", args)
        }
        other => return Err(unsupported(other)),
    };
    let args = args.into_iter().map(|arg| bind(arg, b)).collect::<Result<_>>()?;
    b.function(name, args)
}
