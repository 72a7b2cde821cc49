//! Expressions.

use omen_core::types::interval::IntervalUnit;
use omen_core::types::{Datum, Interval, PgType};
use sqlparser::ast::{self, BinaryOperator, CastKind, Expr as Ast, UnaryOperator, Value};

use super::array::is_list;
use super::names::Scope;
use super::subquery::Quantifier;
use super::window::Windows;
use super::{Binder, EXPR_DEPTH_MAX};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::expr::build::{LikeKind, LikeParts};
use crate::logical::{Aggregate, SetCall};
use crate::parse::{position_of, too_deep, with_stack};

/// Whether aggregates may be called.
#[derive(Clone, Debug)]
pub(crate) enum Aggregates {
    /// No: 42803 `aggregate functions are not allowed in <clause>`.
    Forbidden,
    /// Yes: they are collected here, and expressions refer to them by position from [`AGGREGATE_BASE`] on.
    Collected(Vec<Aggregate>),
}

/// Column indexes from here on are aggregates, counted from 0.
pub(crate) const AGGREGATE_BASE: usize = 1 << 24;

/// Column indexes from here on are window functions, counted from 0.
pub(crate) const WINDOWS_BASE: usize = 1 << 25;

/// Column indexes from here on are calls of GROUPING, counted from 0.
pub(crate) const GROUPINGS_BASE: usize = 3 << 24;

/// Column indexes from here on are calls of functions that answer rows, counted from 0.
pub(crate) const SETS_BASE: usize = 1 << 26;

/// What an expression may refer to.
#[derive(Debug)]
pub(crate) struct ExprScope<'s> {
    /// Columns.
    pub(crate) columns: &'s Scope,
    /// The clause's name in errors: `WHERE`.
    pub(crate) clause: &'static str,
    /// Aggregates.
    pub(crate) aggregates: Aggregates,
    /// Inside an aggregate's arguments.
    pub(crate) in_aggregate: bool,
    /// Calls of functions that answer rows, if they may be called; expressions refer to them from [`SETS_BASE`] on.
    pub(crate) sets: Option<Vec<SetCall>>,
    /// The part of an expression, if it is evaluated or not, in which such functions may not be called.
    pub(crate) no_sets_in: Option<&'static str>,
    /// Window functions, if they may be called.
    pub(crate) windows: Option<Windows<'s>>,
    /// The arguments of calls of GROUPING.
    pub(crate) groupings: Vec<Vec<Expr>>,
}

impl<'s> ExprScope<'s> {
    /// Columns, but no aggregates.
    pub(crate) fn plain(columns: &'s Scope, clause: &'static str) -> ExprScope<'s> {
        ExprScope {
            columns,
            clause,
            aggregates: Aggregates::Forbidden,
            in_aggregate: false,
            sets: None,
            no_sets_in: None,
            windows: None,
            groupings: Vec::new(),
        }
    }

    /// Columns, aggregates and functions that answer rows.
    pub(crate) fn aggregating(columns: &'s Scope, clause: &'static str) -> ExprScope<'s> {
        ExprScope {
            columns,
            clause,
            aggregates: Aggregates::Collected(Vec::new()),
            in_aggregate: false,
            sets: Some(Vec::new()),
            no_sets_in: None,
            windows: None,
            groupings: Vec::new(),
        }
    }
}

impl Binder<'_> {
    /// Binds an expression.
    ///
    /// # Errors
    /// All that names, functions and types report; 54001 if it is nested too deeply.
    pub(crate) fn expr(&mut self, ast: &Ast, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let mut ast = ast;
        while let Ast::Nested(inner) = ast {
            ast = inner;
        }
        if self.depth >= EXPR_DEPTH_MAX {
            return Err(too_deep());
        }
        self.depth += 1;
        let bound = with_stack(|| self.expr_at_depth(ast, scope));
        self.depth -= 1;
        bound
    }

    /// Binds each expression.
    pub(crate) fn exprs<'e>(
        &mut self,
        asts: impl IntoIterator<Item = &'e Ast>,
        scope: &mut ExprScope<'_>,
    ) -> Result<Vec<Expr>> {
        asts.into_iter().map(|ast| self.expr(ast, scope)).collect()
    }

    /// Binds a condition.
    pub(crate) fn condition(&mut self, ast: &Ast, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let bound = self.expr(ast, scope)?;
        let clause = scope.clause;
        self.build().condition(bound, clause)
    }

    #[expect(clippy::too_many_lines, reason = "one arm per kind of syntax")]
    fn expr_at_depth(&mut self, ast: &Ast, scope: &mut ExprScope<'_>) -> Result<Expr> {
        match ast {
            Ast::Identifier(ident) => self.identifier(ident, scope),
            Ast::CompoundIdentifier(idents) => self.column(scope.columns, idents),
            Ast::Value(value) => self.literal(value),
            Ast::BinaryOp { left, op, right } => self.binary(ast, left, op, right, scope),
            Ast::UnaryOp { op, expr } => self.unary(*op, expr, scope),
            Ast::Cast { kind, expr, data_type, array, format } => {
                self.not_postgres(*array || format.is_some(), "this form of CAST")?;
                self.not_postgres(matches!(kind, CastKind::TryCast | CastKind::SafeCast), "TRY_CAST")?;
                let to = super::types::pg_type(data_type)?;
                // As in PostgreSQL, the type is that of the elements as they are written.
                let arg = match (bare(expr), to.element()) {
                    (Ast::Array(array), Some(element)) if is_list(array) => {
                        self.array(array, Some(element), scope)?
                    }
                    _ => self.expr(expr, scope)?,
                };
                self.build().cast(arg, to).map_err(|e| e.at(self.place_of_literal(expr)))
            }
            Ast::TypedString(typed) => {
                let to = super::types::pg_type(&typed.data_type)?;
                let text = self.literal(&typed.value)?;
                let place = position_of(self.text, typed.value.span.start);
                self.build().cast(text, to).map_err(|e| e.at(place))
            }
            Ast::Interval(interval) => self.interval(interval),
            Ast::IsNull(arg) if row_of(arg).is_some() => self.row_is_null(arg, false, scope),
            Ast::IsNotNull(arg) if row_of(arg).is_some() => self.row_is_null(arg, true, scope),
            Ast::IsNull(arg) => self.is_null(arg, false, scope),
            Ast::IsNotNull(arg) => self.is_null(arg, true, scope),
            Ast::IsDistinctFrom(left, right) if row_of(left).is_some() => {
                self.rows_distinct(left, right, false, scope)
            }
            Ast::IsNotDistinctFrom(left, right) if row_of(left).is_some() => {
                self.rows_distinct(left, right, true, scope)
            }
            Ast::IsTrue(arg) => self.is_truth(arg, Some(true), false, scope),
            Ast::IsNotTrue(arg) => self.is_truth(arg, Some(true), true, scope),
            Ast::IsFalse(arg) => self.is_truth(arg, Some(false), false, scope),
            Ast::IsNotFalse(arg) => self.is_truth(arg, Some(false), true, scope),
            Ast::IsUnknown(arg) => self.is_truth(arg, None, false, scope),
            Ast::IsNotUnknown(arg) => self.is_truth(arg, None, true, scope),
            Ast::IsDistinctFrom(left, right) => {
                let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
                self.build().is_distinct(left, right, false)
            }
            Ast::IsNotDistinctFrom(left, right) => {
                let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
                self.build().is_distinct(left, right, true)
            }
            Ast::InList { expr, list, negated } => self.in_list(expr, list, *negated, scope),
            Ast::Between { expr, negated, low, high } => {
                let arg = self.expr(expr, scope)?;
                let (low, high) = (self.expr(low, scope)?, self.expr(high, scope)?);
                self.build().between(arg, low, high, false, *negated)
            }
            Ast::Like { negated, any, expr, pattern, escape_char } => {
                let pattern = if *any { Pattern::Any(pattern) } else { Pattern::of(pattern) };
                self.like(LikeKind::Like, *negated, expr, pattern, escape_char.as_ref(), scope)
            }
            Ast::ILike { negated, any, expr, pattern, escape_char } => {
                let pattern = if *any { Pattern::Any(pattern) } else { Pattern::of(pattern) };
                self.like(LikeKind::ILike, *negated, expr, pattern, escape_char.as_ref(), scope)
            }
            Ast::SimilarTo { negated, expr, pattern, escape_char } => self.like(
                LikeKind::SimilarTo,
                *negated,
                expr,
                Pattern::One(pattern),
                escape_char.as_ref(),
                scope,
            ),
            Ast::Exists { subquery, negated } => self.exists(subquery, *negated, scope),
            Ast::Subquery(query) => self.scalar_subquery(query, scope),
            Ast::InSubquery { expr, subquery, negated: false } => {
                self.quantified(expr, "=", Quantifier::Any, subquery, scope)
            }
            Ast::InSubquery { expr, subquery, negated: true } => {
                self.quantified(expr, "<>", Quantifier::All, subquery, scope)
            }
            Ast::AnyOp { left, compare_op, right, is_some: _ } => {
                self.any_all(left, compare_op, right, false, scope)
            }
            Ast::AllOp { left, compare_op, right } => self.any_all(left, compare_op, right, true, scope),
            Ast::Array(array) => self.array(array, None, scope),
            Ast::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain, scope),
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), scope)
            }
            Ast::Collate { expr, collation } => {
                self.collation(collation)?;
                self.expr(expr, scope)
            }
            Ast::Function(function) => self.function(function, scope),
            Ast::AtTimeZone { .. }
            | Ast::Extract { .. }
            | Ast::Ceil { .. }
            | Ast::Floor { .. }
            | Ast::Position { .. }
            | Ast::Substring { .. }
            | Ast::Trim { .. }
            | Ast::Overlay { .. } => self.spelled_function(ast, scope),
            Ast::Tuple(_) => {
                Err(SqlError::unsupported("row values here", "Compare or list the columns one by one."))
            }
            Ast::GroupingSets(_) | Ast::Cube(_) | Ast::Rollup(_) => {
                Err(SqlError::unsupported("GROUPING SETS", "Run one query for each set of columns."))
            }
            other => Err(SqlError::unsupported(
                format!("the expression \"{}\"", shortened(other)),
                "Write it with the operators and functions of the manual.",
            )),
        }
    }

    /// A column, or one of the values that PostgreSQL writes without parentheses.
    fn identifier(&mut self, ident: &ast::Ident, scope: &ExprScope<'_>) -> Result<Expr> {
        if ident.quote_style.is_none() && functions_without_parentheses(&ident.value) {
            return self.build().function(&ident.value.to_lowercase(), Vec::new());
        }
        self.column(scope.columns, std::slice::from_ref(ident))
    }

    pub(super) fn literal(&mut self, value: &ast::ValueWithSpan) -> Result<Expr> {
        let at = |error: SqlError, text: &str| error.at(position_of(text, value.span.start));
        match &value.value {
            Value::Number(digits, _) => {
                let text = self.text;
                self.build().number(digits).map_err(|e| at(e, text))
            }
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => Ok(Expr::Unknown(Some(text.as_str().into()))),
            Value::DollarQuotedString(text) => Ok(Expr::Unknown(Some(text.value.as_str().into()))),
            Value::Boolean(value) => Ok(Expr::Literal { value: Datum::Bool(*value), pg_type: PgType::Bool }),
            Value::Null => Ok(Expr::Unknown(None)),
            Value::Placeholder(name) => self.parameter(name).map_err(|e| at(e, self.text)),
            other => Err(at(
                SqlError::unsupported(
                    format!("the literal {other}"),
                    "Write strings as '..' and bytes as '\\x..'.",
                ),
                self.text,
            )),
        }
    }

    fn parameter(&mut self, name: &str) -> Result<Expr> {
        let missing =
            || SqlError::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}"));
        let number: usize = name.strip_prefix('$').and_then(|n| n.parse().ok()).ok_or_else(missing)?;
        if number == 0 || number > self.parameter_count {
            return Err(missing());
        }
        Ok(self.parameters.reference(number - 1))
    }

    /// Where a literal is, for errors of reading it; 0 for anything else.
    fn place_of_literal(&self, ast: &Ast) -> u32 {
        match ast {
            Ast::Value(value) => position_of(self.text, value.span.start),
            _ => 0,
        }
    }

    fn binary(
        &mut self,
        ast: &Ast,
        left: &Ast,
        op: &BinaryOperator,
        right: &Ast,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            return self.chain(ast, op, scope);
        }
        if let (Some(left), Some(right)) = (row_of(left), row_of(right)) {
            if *op == BinaryOperator::Overlaps {
                let args = self.exprs(left.iter().chain(&right), scope)?;
                return self.build().function("overlaps", args);
            }
            return self.compare_rows(&left, op, &right, scope);
        }
        let like = match op {
            BinaryOperator::PGLikeMatch => Some((LikeKind::Like, false)),
            BinaryOperator::PGNotLikeMatch => Some((LikeKind::Like, true)),
            BinaryOperator::PGILikeMatch => Some((LikeKind::ILike, false)),
            BinaryOperator::PGNotILikeMatch => Some((LikeKind::ILike, true)),
            _ => None,
        };
        if let Some((kind, negated)) = like {
            return self.like(kind, negated, left, Pattern::One(right), None, scope);
        }
        let name = operator_name(op)?;
        // A chain of operators is as deep as it is long: bind its left operands first, in a loop.
        let mut pending = vec![(name, right, left)];
        let mut first = bare(left);
        while let Ast::BinaryOp { left, op, right } = first {
            let (Ok(name), false) = (operator_name(op), is_row_comparison(left, right)) else { break };
            pending.push((name, right, left));
            first = bare(left);
        }
        if self.depth + pending.len() > EXPR_DEPTH_MAX {
            return Err(too_deep());
        }
        let mut bound = self.expr(first, scope)?;
        while let Some((name, right, left)) = pending.pop() {
            let place = self.place_of_literal(right).max(self.place_of_literal(left));
            let right = self.expr(right, scope)?;
            bound = self.build().operator(&name, bound, right).map_err(|e| match e.state {
                SqlState::UNDEFINED_FUNCTION => e,
                _ => e.at(place),
            })?;
        }
        Ok(bound)
    }

    /// `a AND b AND c`, however long, as one list.
    fn chain(&mut self, ast: &Ast, op: &BinaryOperator, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let mut parts = Vec::new();
        let mut rest = ast;
        while let Ast::BinaryOp { left, op: next, right } = rest {
            if next != op {
                break;
            }
            parts.push(right.as_ref());
            rest = bare(left);
        }
        parts.push(rest);
        let bound = self.exprs(parts.into_iter().rev(), scope)?;
        match op {
            BinaryOperator::And => self.build().and(bound),
            _ => self.build().or(bound),
        }
    }

    /// `(a, b) < (c, d)`: by the first pair that differs.
    fn compare_rows(
        &mut self,
        left: &[Ast],
        op: &BinaryOperator,
        right: &[Ast],
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        if left.len() != right.len() {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                "unequal number of entries in row expressions",
            ));
        }
        let (left, right) = (self.exprs(left, scope)?, self.exprs(right, scope)?);
        let name = operator_name(op)?;
        let compare = |binder: &mut Self, name: &str, index: usize| {
            binder.build().operator(name, left[index].clone(), right[index].clone())
        };
        let all_equal = |binder: &mut Self, count: usize| -> Result<Vec<Expr>> {
            (0..count).map(|index| compare(binder, "=", index)).collect()
        };
        match name.as_str() {
            "=" | "<>" => {
                let equal = all_equal(self, left.len())?;
                let equal = self.all_of(equal)?;
                if name == "=" { Ok(equal) } else { self.build().not(equal) }
            }
            "<" | "<=" | ">" | ">=" => {
                let strict = &name[..1];
                let mut ways = Vec::with_capacity(left.len());
                for index in 0..left.len() {
                    let mut way = all_equal(self, index)?;
                    let last = index + 1 == left.len();
                    way.push(compare(self, if last { &name } else { strict }, index)?);
                    ways.push(self.all_of(way)?);
                }
                if ways.len() == 1 { Ok(ways.remove(0)) } else { self.build().or(ways) }
            }
            _ => Err(SqlError::unsupported(
                format!("operator {name} on rows"),
                "Compare the columns one by one.",
            )),
        }
    }

    /// `(a, b) IS NULL`: whether all parts are; `IS NOT NULL`: whether none is.
    fn row_is_null(&mut self, arg: &Ast, negated: bool, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let parts = row_of(arg).unwrap_or_default();
        let tests = parts.iter().map(|part| self.is_null(part, negated, scope));
        let tests = tests.collect::<Result<Vec<_>>>()?;
        self.all_of(tests)
    }

    /// `(a, b) IS DISTINCT FROM (c, d)`: whether some parts are.
    fn rows_distinct(
        &mut self,
        left: &Ast,
        right: &Ast,
        negated: bool,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let (left, right) = (row_of(left).unwrap_or_default(), row_of(right).unwrap_or_default());
        if left.len() != right.len() {
            let message = "unequal number of entries in row expressions";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        let mut tests = Vec::with_capacity(left.len());
        for (left, right) in left.iter().zip(&right) {
            let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
            tests.push(self.build().is_distinct(left, right, negated)?);
        }
        if negated || tests.len() == 1 { self.all_of(tests) } else { self.build().or(tests) }
    }

    fn all_of(&mut self, mut parts: Vec<Expr>) -> Result<Expr> {
        if parts.len() == 1 { Ok(parts.remove(0)) } else { self.build().and(parts) }
    }

    fn unary(&mut self, op: UnaryOperator, arg: &Ast, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let name = match op {
            UnaryOperator::Not => {
                let arg = self.expr(arg, scope)?;
                return self.build().not(arg);
            }
            UnaryOperator::Minus => {
                // The smallest bigint has no positive counterpart, so a sign belongs to its number.
                if let Ast::Value(ast::ValueWithSpan { value: Value::Number(digits, _), .. }) = arg {
                    return self.build().number(&format!("-{digits}"));
                }
                "-"
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            UnaryOperator::PGAbs => "@",
            other => {
                let hint = "Use a function of the same meaning.";
                return Err(SqlError::unsupported(format!("operator {other}"), hint));
            }
        };
        let arg = self.expr(arg, scope)?;
        self.build().prefix(name, arg)
    }

    fn is_null(&mut self, arg: &Ast, negated: bool, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let arg = self.expr(arg, scope)?;
        let arg = self.build().output(arg)?;
        Ok(self.build().is_null(arg, negated))
    }

    fn is_truth(
        &mut self,
        arg: &Ast,
        truth: Option<bool>,
        negated: bool,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let arg = self.expr(arg, scope)?;
        self.build().is_truth(arg, truth, negated)
    }

    fn in_list(&mut self, arg: &Ast, list: &[Ast], negated: bool, scope: &mut ExprScope<'_>) -> Result<Expr> {
        if let Ast::Tuple(row) = bare(arg) {
            let mut equal = Vec::with_capacity(list.len());
            for item in list {
                let Ast::Tuple(item) = bare(item) else {
                    return Err(SqlError::new(
                        SqlState::SYNTAX_ERROR,
                        "unequal number of entries in row expressions",
                    ));
                };
                equal.push(self.compare_rows(row, &BinaryOperator::Eq, item, scope)?);
            }
            let any = if equal.len() == 1 { equal.remove(0) } else { self.build().or(equal)? };
            return if negated { self.build().not(any) } else { Ok(any) };
        }
        let arg = self.expr(arg, scope)?;
        let list = self.exprs(list, scope)?;
        self.build().in_list(arg, list, negated)
    }

    fn like(
        &mut self,
        kind: LikeKind,
        negated: bool,
        arg: &Ast,
        pattern: Pattern<'_>,
        escape: Option<&ast::ValueWithSpan>,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let op = match (kind, negated) {
            (LikeKind::Like, false) => BinaryOperator::PGLikeMatch,
            (LikeKind::Like, true) => BinaryOperator::PGNotLikeMatch,
            (_, false) => BinaryOperator::PGILikeMatch,
            (_, true) => BinaryOperator::PGNotILikeMatch,
        };
        let (pattern, all) = match pattern {
            Pattern::One(pattern) => (pattern, None),
            Pattern::Any(pattern) => (pattern, Some(false)),
            Pattern::All(pattern) => (pattern, Some(true)),
        };
        if let Some(all) = all {
            self.not_postgres(escape.is_some(), "ESCAPE behind several patterns")?;
            return self.any_all(arg, &op, pattern, all, scope);
        }
        let arg = self.expr(arg, scope)?;
        let pattern = self.expr(pattern, scope)?;
        let escape = escape.map(|value| self.literal(value)).transpose()?;
        self.build().like(LikeParts { arg, pattern, escape, kind, negated })
    }

    fn case(
        &mut self,
        operand: Option<&Ast>,
        arms: &[ast::CaseWhen],
        otherwise: Option<&Ast>,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let outside = scope.no_sets_in.replace("CASE");
        let bound = self.case_parts(operand, arms, otherwise, scope);
        scope.no_sets_in = outside;
        bound
    }

    fn case_parts(
        &mut self,
        operand: Option<&Ast>,
        arms: &[ast::CaseWhen],
        otherwise: Option<&Ast>,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let operand = operand.map(|operand| self.expr(operand, scope)).transpose()?;
        let mut bound = Vec::with_capacity(arms.len());
        for arm in arms {
            bound.push((self.expr(&arm.condition, scope)?, self.expr(&arm.result, scope)?));
        }
        let otherwise = otherwise.map(|otherwise| self.expr(otherwise, scope)).transpose()?;
        self.build().case(operand, bound, otherwise)
    }

    /// Text is ordered by its bytes, which is what these collations say.
    fn collation(&self, name: &ast::ObjectName) -> Result<()> {
        let last = super::names::parts(name)?.pop().unwrap_or_default();
        match last.as_str() {
            "C" | "POSIX" | "default" | "ucs_basic" => Ok(()),
            other => {
                let hint = "Text is ordered by its bytes: use COLLATE \"C\" or leave it out.";
                Err(SqlError::unsupported(format!("collation \"{other}\""), hint))
            }
        }
    }

    /// `INTERVAL '1' DAY` counts in the unit, and what is smaller is cut off; without unit the text tells.
    fn interval(&mut self, interval: &ast::Interval) -> Result<Expr> {
        let Ast::Value(value) = interval.value.as_ref() else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: INTERVAL needs a string"));
        };
        let rest = interval.last_field.is_some()
            || interval.leading_precision.is_some()
            || interval.fractional_seconds_precision.is_some();
        self.refuse(rest, "an interval with several fields", "Write the units inside the string.")?;
        let place = position_of(self.text, value.span.start);
        let text = self.literal(value)?;
        if let Some(field) = &interval.leading_field {
            let unit = IntervalUnit::named(&field.to_string().to_ascii_lowercase());
            let (Some(unit), Expr::Unknown(Some(text))) = (unit, &text) else {
                return Err(
                    SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: INTERVAL needs a string").at(place)
                );
            };
            let value = Interval::parse_in(text.as_ref(), Some(unit))
                .map_err(|error| SqlError::from(error).at(place))?;
            return Ok(Expr::Literal { value: Datum::Interval(value), pg_type: PgType::Interval });
        }
        self.build().cast(text, PgType::Interval).map_err(|e| e.at(place))
    }
}

/// What LIKE compares with.
enum Pattern<'a> {
    One(&'a Ast),
    /// `ANY (..)`
    Any(&'a Ast),
    /// `ALL (..)`
    All(&'a Ast),
}

impl Pattern<'_> {
    /// A pattern that may be what our dialect makes of `ALL (..)`.
    fn of(pattern: &Ast) -> Pattern<'_> {
        match pattern {
            Ast::AllOp { right, compare_op: BinaryOperator::Custom(_), .. } => Pattern::All(right),
            one => Pattern::One(one),
        }
    }
}

/// The parts of `(a, b)` and `ROW(a, b)`.
pub(super) fn row_of(ast: &Ast) -> Option<Vec<Ast>> {
    match bare(ast) {
        Ast::Tuple(parts) => Some(parts.clone()),
        Ast::Function(ast::Function { name, args: ast::FunctionArguments::List(list), .. })
            if name.0.len() == 1 && name.to_string().eq_ignore_ascii_case("row") =>
        {
            let part = |arg: &ast::FunctionArg| match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(part)) => Some(part.clone()),
                _ => None,
            };
            list.args.iter().map(part).collect()
        }
        _ => None,
    }
}

/// The expression without parentheses around it.
pub(super) fn bare(mut ast: &Ast) -> &Ast {
    while let Ast::Nested(inner) = ast {
        ast = inner;
    }
    ast
}

fn is_row_comparison(left: &Ast, right: &Ast) -> bool {
    row_of(left).is_some() && row_of(right).is_some()
}

/// PostgreSQL's name of an operator.
pub(super) fn operator_name(op: &BinaryOperator) -> Result<String> {
    let name = match op {
        BinaryOperator::PGCustomBinaryOperator(parts) => {
            return Ok(parts.last().cloned().unwrap_or_default());
        }
        BinaryOperator::Plus
        | BinaryOperator::Minus
        | BinaryOperator::Multiply
        | BinaryOperator::Divide
        | BinaryOperator::Modulo
        | BinaryOperator::StringConcat
        | BinaryOperator::Gt
        | BinaryOperator::Lt
        | BinaryOperator::GtEq
        | BinaryOperator::LtEq
        | BinaryOperator::Eq
        | BinaryOperator::NotEq
        | BinaryOperator::BitwiseAnd
        | BinaryOperator::BitwiseOr
        | BinaryOperator::PGBitwiseXor
        | BinaryOperator::PGBitwiseShiftLeft
        | BinaryOperator::PGBitwiseShiftRight
        | BinaryOperator::PGExp
        | BinaryOperator::PGRegexMatch
        | BinaryOperator::PGRegexIMatch
        | BinaryOperator::PGRegexNotMatch
        | BinaryOperator::PGRegexNotIMatch
        | BinaryOperator::Arrow
        | BinaryOperator::LongArrow
        | BinaryOperator::HashArrow
        | BinaryOperator::HashLongArrow
        | BinaryOperator::AtArrow
        | BinaryOperator::ArrowAt
        | BinaryOperator::Question
        | BinaryOperator::QuestionAnd
        | BinaryOperator::QuestionPipe
        | BinaryOperator::HashMinus
        | BinaryOperator::AtAt
        | BinaryOperator::AtQuestion
        | BinaryOperator::PGOverlap
        | BinaryOperator::PGStartsWith => op.to_string(),
        // These are bound elsewhere.
        BinaryOperator::And
        | BinaryOperator::Or
        | BinaryOperator::PGLikeMatch
        | BinaryOperator::PGNotLikeMatch
        | BinaryOperator::PGILikeMatch
        | BinaryOperator::PGNotILikeMatch => {
            return Err(SqlError::unsupported(format!("operator {op} here"), "Use parentheses."));
        }
        other => {
            return Err(SqlError::unsupported(
                format!("operator {other}"),
                "Use a function of the same meaning.",
            ));
        }
    };
    Ok(name)
}

/// Values that are written like columns (PG 15, chapter 9.26).
fn functions_without_parentheses(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "user",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The beginning of a syntax tree's text.
fn shortened(ast: &Ast) -> String {
    let text = ast.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}
