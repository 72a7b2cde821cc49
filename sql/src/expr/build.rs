//! Builds typed expressions: overload resolution, casts, and the types of literals and parameters (PG 15, chapter 10).

use omen_core::types::{Datum, Numeric, PgType};

use super::aggregate::{self, AggregateCall};
use super::cast::{self, category, is_preferred};
use super::registry::{self, Function, Given, Param};
use super::resolve::{self, ArgType, Resolution};
use super::{EvalContext, Expr, Volatility};
use crate::error::{SqlError, SqlState};
use crate::types::text::parse_at;

/// What a conversion is for; later ones allow more (`pg_cast.castcontext`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Coercion {
    /// An argument.
    Implicit,
    /// A value stored in a column.
    Assignment,
    /// `CAST` or `::`.
    Explicit,
}

/// Types of a statement's parameters as far as they are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParameterTypes {
    types: Vec<Option<PgType>>,
}

impl ParameterTypes {
    /// From what the client declared; OID 0 or absent means unknown.
    ///
    /// # Errors
    /// 42704 for an OID that is not a type's.
    pub fn declared(oids: &[u32]) -> Result<ParameterTypes, SqlError> {
        let known = |oid: &u32| match oid {
            // 0 is unspecified, 705 is `unknown`.
            0 | 705 => Ok(None),
            _ => PgType::from_oid(*oid).map(Some).ok_or_else(|| {
                SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))
            }),
        };
        Ok(ParameterTypes { types: oids.iter().map(known).collect::<Result<_, _>>()? })
    }

    /// The expression for `$n`, counted from 0.
    pub fn reference(&mut self, index: usize) -> Expr {
        if self.types.len() <= index {
            self.types.resize(index + 1, None);
        }
        match self.types[index] {
            Some(pg_type) => Expr::Parameter { index, pg_type },
            None => Expr::UntypedParameter(index),
        }
    }

    /// A place where the parameter has this type.
    fn declare(&mut self, index: usize, pg_type: PgType) -> Result<(), SqlError> {
        self.reference(index);
        match self.types[index] {
            Some(known) if known.base() != pg_type => {
                let message = format!("inconsistent types deduced for parameter ${}", index + 1);
                Err(SqlError::new(SqlState::AMBIGUOUS_PARAMETER, message)
                    .detail(format!("{known} versus {pg_type}")))
            }
            _ => {
                self.types[index] = Some(pg_type);
                Ok(())
            }
        }
    }

    /// The types of all parameters, once the statement has been bound.
    ///
    /// # Errors
    /// 42P18 if one is not known.
    pub fn finish(&self) -> Result<Vec<PgType>, SqlError> {
        let known = |(index, pg_type): (usize, &Option<PgType>)| {
            pg_type.ok_or_else(|| {
                let message = format!("could not determine data type of parameter ${}", index + 1);
                SqlError::new(SqlState::INDETERMINATE_DATATYPE, message)
            })
        };
        self.types.iter().enumerate().map(known).collect()
    }
}

/// Makes typed expressions out of names and arguments.
#[derive(Debug)]
pub struct ExprBuilder<'a> {
    /// Reads literals: the session's time zone, `now`.
    pub context: &'a EvalContext,
    /// What is known of parameters; grows.
    pub parameters: &'a mut ParameterTypes,
}

/// The type that is known of an argument.
fn known(expr: &Expr) -> ArgType {
    match expr {
        Expr::Unknown(_) | Expr::UntypedParameter(_) => None,
        typed => Some(typed.pg_type()),
    }
}

fn names_of(args: &[Expr]) -> Vec<String> {
    let name = |arg: &Expr| known(arg).map_or_else(|| "unknown".to_owned(), |known| known.base().to_string());
    args.iter().map(name).collect()
}

fn mismatch(message: String) -> SqlError {
    SqlError::new(SqlState::DATATYPE_MISMATCH, message)
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal { .. })
}

impl ExprBuilder<'_> {
    /// A numeric constant as written, possibly with a sign: `integer`, `bigint` or `numeric`, the first that holds it;
    /// `double precision` if it has an exponent beyond the digits of a numeric, unlike in PostgreSQL.
    ///
    /// # Errors
    /// 22003 if it has too many digits.
    pub fn number(&self, text: &str) -> Result<Expr, SqlError> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(value) = text.parse::<i64>()
        {
            return Ok(match i32::try_from(value) {
                Ok(value) => Expr::Literal { value: Datum::Int4(value), pg_type: PgType::Int4 },
                Err(_) => Expr::Literal { value: Datum::Int8(value), pg_type: PgType::Int8 },
            });
        }
        let value = Numeric::parse(text);
        // A number far beyond the digits of a numeric can only be meant for a float.
        let float = text.parse::<f64>().unwrap_or(0.0);
        let lost = value.as_ref().map_or(true, |value| value.is_zero() && float != 0.0);
        if lost && text.contains(['e', 'E']) && float.is_finite() && float != 0.0 {
            return Ok(Expr::Literal { value: Datum::Float8(float), pg_type: PgType::Float8 });
        }
        Ok(Expr::Literal { value: Datum::Numeric(value?), pg_type: PgType::Numeric(None) })
    }

    /// `CAST(expr AS to)`.
    ///
    /// # Errors
    /// 42846 if there is no such cast; the errors of reading a literal.
    pub fn cast(&mut self, expr: Expr, to: PgType) -> Result<Expr, SqlError> {
        self.coerce(expr, to, Coercion::Explicit)
    }

    /// Converts for the given purpose; literals and parameters take the type on. Arguments keep their modifier, and
    /// stay `varchar` where `text` is wanted.
    ///
    /// # Errors
    /// 42846 if there is no such cast in this context; the errors of reading a literal.
    pub fn coerce(&mut self, expr: Expr, to: PgType, coercion: Coercion) -> Result<Expr, SqlError> {
        let from = match expr {
            Expr::Unknown(text) => return self.read(text, to, coercion),
            Expr::UntypedParameter(index) => {
                self.parameters.declare(index, to.base())?;
                let parameter = Expr::Parameter { index, pg_type: to.base() };
                return if to == to.base() { Ok(parameter) } else { self.coerce(parameter, to, coercion) };
            }
            _ => expr.pg_type(),
        };
        let texts = |pg_type: PgType| matches!(pg_type, PgType::Text | PgType::Varchar(_));
        let implicit = coercion == Coercion::Implicit;
        if from == to || (implicit && (from.base() == to.base() || (texts(from) && texts(to)))) {
            return Ok(expr);
        }
        if from.base() == to.base() && to == to.base() && coercion == Coercion::Assignment {
            return Ok(expr);
        }
        if !cast::can_coerce(from, to, coercion) {
            let message = format!("cannot cast type {} to {}", from.base(), to.base());
            return Err(SqlError::new(SqlState::CANNOT_COERCE, message));
        }
        let literal = is_literal(&expr);
        let cast = Expr::Cast { arg: Box::new(expr), to, explicit: coercion == Coercion::Explicit };
        // A literal becomes one of the new type at once, unless that fails: then it fails when it is evaluated.
        if literal
            && cast.volatility() == Volatility::Immutable
            && let Ok(value) = cast.eval_constant(self.context)
        {
            return Ok(Expr::Literal { value, pg_type: to });
        }
        Ok(cast)
    }

    /// A string literal or NULL as a value of a type.
    fn read(&mut self, text: Option<Box<str>>, to: PgType, coercion: Coercion) -> Result<Expr, SqlError> {
        if matches!(to, PgType::Array(_)) && to != to.base() && coercion == Coercion::Explicit {
            let plain = self.read(text, to.base(), coercion)?;
            return self.coerce(plain, to, coercion);
        }
        let pg_type = if coercion == Coercion::Implicit { to.base() } else { to };
        let value = match (text, to) {
            (None, _) => Datum::Null,
            (Some(text), PgType::Varchar(Some(limit))) if coercion == Coercion::Explicit => {
                Datum::Text(text.chars().take(limit as usize).collect::<String>().into())
            }
            (Some(text), _) => {
                parse_at(pg_type, &text, &self.context.format, self.context.transaction_start_us)?
            }
        };
        Ok(Expr::Literal { value, pg_type })
    }

    /// Converts a value that is stored in a column.
    ///
    /// # Errors
    /// 42804 `column "c" is of type integer but expression is of type text`.
    pub fn assign(&mut self, expr: Expr, to: PgType, column: &str) -> Result<Expr, SqlError> {
        if let Some(from) = known(&expr)
            && !cast::can_coerce(from, to, Coercion::Assignment)
        {
            let message = format!(
                "column \"{column}\" is of type {} but expression is of type {}",
                to.base(),
                from.base()
            );
            return Err(mismatch(message).hint("You will need to rewrite or cast the expression."));
        }
        self.coerce(expr, to, Coercion::Assignment)
    }

    /// A condition; `clause` names it in errors: `WHERE`, `AND`, `CASE/WHEN`.
    ///
    /// # Errors
    /// 42804 `argument of WHERE must be type boolean, not type integer`.
    pub fn condition(&mut self, expr: Expr, clause: &str) -> Result<Expr, SqlError> {
        match known(&expr) {
            None | Some(PgType::Bool) => self.coerce(expr, PgType::Bool, Coercion::Implicit),
            Some(other) => {
                let message = format!("argument of {clause} must be type boolean, not type {}", other.base());
                Err(mismatch(message))
            }
        }
    }

    /// An output column: what is still unknown becomes text.
    ///
    /// # Errors
    /// None in practice; as [`ExprBuilder::coerce`].
    pub fn output(&mut self, expr: Expr) -> Result<Expr, SqlError> {
        match known(&expr) {
            None => self.coerce(expr, PgType::Text, Coercion::Implicit),
            Some(_) => Ok(expr),
        }
    }

    /// Brings all to one type, as CASE, VALUES and UNION do; `construct` names it in errors.
    ///
    /// # Errors
    /// 42804 `CASE types text and integer cannot be matched`.
    pub fn unify(&mut self, construct: &str, exprs: Vec<Expr>) -> Result<(Vec<Expr>, PgType), SqlError> {
        let types: Vec<ArgType> = exprs.iter().map(known).collect();
        let common = common_type(&types).map_err(|(a, b)| {
            mismatch(format!("{construct} types {} and {} cannot be matched", a.base(), b.base()))
        })?;
        let exprs: Vec<Expr> = exprs
            .into_iter()
            .map(|expr| {
                if let Some(from) = known(&expr)
                    && !cast::can_coerce(from, common, Coercion::Implicit)
                {
                    let message =
                        format!("{construct} could not convert type {} to {}", from.base(), common.base());
                    return Err(SqlError::new(SqlState::CANNOT_COERCE, message));
                }
                self.coerce(expr, common, Coercion::Implicit)
            })
            .collect::<Result<_, _>>()?;
        Ok((exprs, common))
    }

    /// A call of a scalar function. `COALESCE`, `NULLIF`, `GREATEST` and `LEAST` are called like functions; a type's
    /// name converts.
    ///
    /// # Errors
    /// 42883 if none fits, 42725 if several do.
    pub fn function(&mut self, name: &str, args: Vec<Expr>) -> Result<Expr, SqlError> {
        match name {
            "coalesce" | "greatest" | "least" if args.is_empty() => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \")\""));
            }
            "coalesce" => return Ok(Expr::Coalesce(self.unify("COALESCE", args)?.0)),
            "greatest" | "least" => {
                let (args, pg_type) = self.unify(&name.to_ascii_uppercase(), args)?;
                self.check_ordered(pg_type)?;
                return Ok(Expr::Extreme { args, greatest: name == "greatest" });
            }
            "nullif" => return self.null_if(name, args),
            _ => {}
        }
        let types: Vec<ArgType> = args.iter().map(known).collect();
        let candidates = registry::functions_named(name);
        match resolve::function(candidates, &types) {
            Resolution::Found(function) => self.call(function, args),
            Resolution::Ambiguous => {
                let message = format!("function {name}({}) is not unique", names_of(&args).join(", "));
                let hint =
                    "Could not choose a best candidate function. You might need to add explicit type casts.";
                Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, message).hint(hint))
            }
            Resolution::Missing => match <[Expr; 1]>::try_from(args) {
                Ok([arg]) => {
                    let castable = |to: &PgType| {
                        known(&arg).is_none_or(|from| cast::can_coerce(from, *to, Coercion::Explicit))
                    };
                    match type_named(name).filter(castable) {
                        Some(to) => self.cast(arg, to),
                        None => Err(missing_function(name, &[arg])),
                    }
                }
                Err(args) => Err(missing_function(name, &args)),
            },
        }
    }

    fn call(&mut self, function: &'static Function, args: Vec<Expr>) -> Result<Expr, SqlError> {
        let types: Vec<ArgType> = args.iter().map(known).collect();
        let shared = resolve::shared_type(function, &types).flatten();
        if shared.is_none() && function.params.iter().any(|p| matches!(p, Param::Array | Param::Element)) {
            let message = "could not determine polymorphic type because input has type unknown";
            return Err(mismatch(message.to_owned()));
        }
        let shared = shared.unwrap_or(PgType::Text);
        let array = shared.array().unwrap_or(shared);
        let args = args.into_iter().enumerate().map(|(i, arg)| match function.param(i) {
            Param::Is(to) => self.coerce(arg, to, Coercion::Implicit),
            Param::Any | Param::NonArray => self.output(arg),
            Param::Array => self.coerce(arg, array, Coercion::Implicit),
            Param::Element => self.coerce(arg, shared, Coercion::Implicit),
        });
        let args = args.collect::<Result<Vec<_>, _>>()?;
        let pg_type = match function.given {
            None => function.result,
            Some(Given::Array) => array,
            Some(Given::Element) => shared,
        };
        Ok(Expr::Call { function, args, pg_type })
    }

    fn null_if(&mut self, name: &str, args: Vec<Expr>) -> Result<Expr, SqlError> {
        let [left, right] = <[Expr; 2]>::try_from(args).map_err(|args| missing_function(name, &args))?;
        let equal = self.operator("=", left, right)?;
        let Expr::Call { args, .. } = &equal else {
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "a comparison is a call"));
        };
        Ok(Expr::NullIf { value: Box::new(args[0].clone()), equal: Box::new(equal) })
    }

    /// Fails for types without order.
    fn check_ordered(&self, pg_type: PgType) -> Result<(), SqlError> {
        if matches!(pg_type, PgType::Json) {
            let message = format!("could not identify a comparison function for type {pg_type}");
            return Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, message));
        }
        Ok(())
    }

    /// A call of an aggregate function; `count(*)` has no arguments.
    ///
    /// # Errors
    /// As [`ExprBuilder::function`].
    pub fn aggregate(
        &mut self,
        name: &str,
        args: Vec<Expr>,
        distinct: bool,
    ) -> Result<AggregateCall, SqlError> {
        let is_lined = |arg: &Expr| matches!(arg.pg_type(), PgType::Array(_)) || registry::is_row_json(arg);
        let name = match args.as_slice() {
            [arg] if name == "json_agg" && is_lined(arg) => aggregate::JSON_AGG_LINES,
            _ => name,
        };
        let args = self.as_json(name, args)?;
        let types: Vec<ArgType> = args.iter().map(known).collect();
        let signature = aggregate::resolve(name, &types, distinct)?;
        let args = args.into_iter().zip(&signature.args);
        let args =
            args.map(|(arg, to)| self.coerce(arg, *to, Coercion::Implicit)).collect::<Result<_, _>>()?;
        Ok(AggregateCall {
            name: signature.name,
            args,
            order: Vec::new(),
            distinct,
            pg_type: signature.result,
        })
    }

    /// The arguments of an aggregate: those of the JSON functions become JSON, keys text.
    fn as_json(&mut self, name: &str, args: Vec<Expr>) -> Result<Vec<Expr>, SqlError> {
        let convert = match name {
            "json_agg" | aggregate::JSON_AGG_LINES | "json_object_agg" => "to_json",
            "jsonb_agg" | "jsonb_object_agg" => "to_jsonb",
            _ => return Ok(args),
        };
        let keyed = name.ends_with("object_agg");
        if args.len() != 1 + usize::from(keyed) {
            return Ok(args);
        }
        let mut converted = Vec::with_capacity(args.len());
        for (index, arg) in args.into_iter().enumerate() {
            let arg = self.output(arg)?;
            converted.push(match keyed && index == 0 {
                true => self.coerce(arg, PgType::Text, Coercion::Explicit)?,
                false => self.function(convert, vec![arg])?,
            });
        }
        Ok(converted)
    }

    /// An infix operator: `+ - * / % ^ || = <> < <= > >= ~ ~* !~ !~* & | # << >>`.
    ///
    /// # Errors
    /// 42883 if none fits, 42725 if several do.
    pub fn operator(&mut self, name: &str, left: Expr, right: Expr) -> Result<Expr, SqlError> {
        let name = if name == "!=" { "<>" } else { name };
        self.operate(name, vec![left, right])
    }

    /// A prefix operator: `- + ~ @ |/ ||/`.
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`].
    pub fn prefix(&mut self, name: &str, arg: Expr) -> Result<Expr, SqlError> {
        self.operate(name, vec![arg])
    }

    fn operate(&mut self, name: &str, operands: Vec<Expr>) -> Result<Expr, SqlError> {
        let types: Vec<ArgType> = operands.iter().map(known).collect();
        let shown = || {
            let names = names_of(&operands);
            match names.as_slice() {
                [left, right] => format!("{left} {name} {right}"),
                _ => format!("{name} {}", names.join(" ")),
            }
        };
        match resolve::operator(registry::operators_named(name), &types) {
            Resolution::Found(function) => self.call(function, operands),
            Resolution::Ambiguous => {
                let hint =
                    "Could not choose a best candidate operator. You might need to add explicit type casts.";
                let message = format!("operator is not unique: {}", shown());
                Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, message).hint(hint))
            }
            Resolution::Missing => {
                let hint = if operands.len() == 1 {
                    "No operator matches the given name and argument type. You might need to add an explicit type cast."
                } else {
                    "No operator matches the given name and argument types. You might need to add explicit type casts."
                };
                let message = format!("operator does not exist: {}", shown());
                Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint))
            }
        }
    }

    /// `a AND b AND ..`
    ///
    /// # Errors
    /// 42804 if one is not boolean.
    pub fn and(&mut self, args: Vec<Expr>) -> Result<Expr, SqlError> {
        let args = args.into_iter().map(|arg| self.condition(arg, "AND"));
        let mut args = args.collect::<Result<Vec<_>, _>>()?;
        Ok(if args.len() == 1 { args.remove(0) } else { Expr::And(args) })
    }

    /// `a OR b OR ..`
    ///
    /// # Errors
    /// 42804 if one is not boolean.
    pub fn or(&mut self, args: Vec<Expr>) -> Result<Expr, SqlError> {
        let args = args.into_iter().map(|arg| self.condition(arg, "OR"));
        let mut args = args.collect::<Result<Vec<_>, _>>()?;
        Ok(if args.len() == 1 { args.remove(0) } else { Expr::Or(args) })
    }

    /// `NOT a`
    ///
    /// # Errors
    /// 42804 if it is not boolean.
    pub fn not(&mut self, arg: Expr) -> Result<Expr, SqlError> {
        Ok(Expr::Not(Box::new(self.condition(arg, "NOT")?)))
    }

    fn negated_if(&mut self, negated: bool, expr: Expr) -> Result<Expr, SqlError> {
        if negated { self.not(expr) } else { Ok(expr) }
    }

    /// `IS [NOT] NULL`
    pub fn is_null(&mut self, arg: Expr, negated: bool) -> Expr {
        Expr::IsNull { arg: Box::new(arg), negated }
    }

    /// `IS [NOT] TRUE | FALSE | UNKNOWN`
    ///
    /// # Errors
    /// 42804 if it is not boolean.
    pub fn is_truth(&mut self, arg: Expr, truth: Option<bool>, negated: bool) -> Result<Expr, SqlError> {
        let clause = match (truth, negated) {
            (Some(true), false) => "IS TRUE",
            (Some(true), true) => "IS NOT TRUE",
            (Some(false), false) => "IS FALSE",
            (Some(false), true) => "IS NOT FALSE",
            (None, false) => "IS UNKNOWN",
            (None, true) => "IS NOT UNKNOWN",
        };
        Ok(Expr::IsTruth { arg: Box::new(self.condition(arg, clause)?), truth, negated })
    }

    /// `IS [NOT] DISTINCT FROM`
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`] for `=`.
    pub fn is_distinct(&mut self, left: Expr, right: Expr, negated: bool) -> Result<Expr, SqlError> {
        // The operator must exist; the comparison itself is of one type.
        self.operator("=", left.clone(), right.clone())?;
        let (mut sides, _) = self.unify("IS DISTINCT FROM", vec![left, right])?;
        let right = Box::new(sides.remove(1));
        Ok(Expr::IsDistinct { left: Box::new(sides.remove(0)), right, negated })
    }

    /// `[NOT] BETWEEN [SYMMETRIC]`
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`].
    pub fn between(
        &mut self,
        arg: Expr,
        low: Expr,
        high: Expr,
        symmetric: bool,
        negated: bool,
    ) -> Result<Expr, SqlError> {
        let inside = |builder: &mut Self, low: Expr, high: Expr| {
            let above = builder.operator(">=", arg.clone(), low)?;
            let below = builder.operator("<=", arg.clone(), high)?;
            builder.and(vec![above, below])
        };
        let mut between = inside(self, low.clone(), high.clone())?;
        if symmetric {
            let turned = inside(self, high, low)?;
            between = self.or(vec![between, turned])?;
        }
        self.negated_if(negated, between)
    }

    /// `[NOT] IN (..)`
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`] for `=`.
    pub fn in_list(&mut self, arg: Expr, list: Vec<Expr>, negated: bool) -> Result<Expr, SqlError> {
        // As in PostgreSQL, constants are looked up together if there are several; others are compared one by one.
        let (constants, others): (Vec<Expr>, Vec<Expr>) = list.into_iter().partition(Expr::is_constant);
        let (list, singles) = if constants.len() > 1 {
            (constants, others)
        } else {
            (Vec::new(), [constants, others].concat())
        };
        let mut found = Vec::with_capacity(singles.len() + 1);
        if !list.is_empty() {
            found.push(self.in_constants(arg.clone(), list)?);
        }
        for item in singles {
            found.push(self.operator("=", arg.clone(), item)?);
        }
        match (found.as_mut_slice(), negated) {
            ([Expr::InList { negated, .. }], true) => {
                *negated = true;
                Ok(found.remove(0))
            }
            _ => {
                let any = self.or(found)?;
                self.negated_if(negated, any)
            }
        }
    }

    fn in_constants(&mut self, arg: Expr, list: Vec<Expr>) -> Result<Expr, SqlError> {
        let types: Vec<ArgType> = std::iter::once(&arg).chain(&list).map(known).collect();
        let matched = common_type(&types).is_ok_and(|common| {
            types.iter().flatten().all(|from| cast::can_coerce(*from, common, Coercion::Implicit))
        });
        if !matched {
            // No type for all: one comparison each.
            let equal = list.into_iter().map(|item| self.operator("=", arg.clone(), item));
            let equal = equal.collect::<Result<Vec<_>, _>>()?;
            return self.or(equal);
        }
        let exprs = std::iter::once(arg).chain(list).collect();
        let (mut exprs, _) = self.unify("IN", exprs)?;
        if let [arg, item, ..] = exprs.as_slice() {
            self.operator("=", arg.clone(), item.clone())?;
        }
        let arg = Box::new(exprs.remove(0));
        Ok(Expr::InList { arg, list: exprs, negated: false })
    }

    /// `ARRAY[..]` of elements of a type, or of one that all become by themselves.
    ///
    /// # Errors
    /// 42804 if there is no such type, 42P18 without elements and type.
    pub fn array(&mut self, elements: Vec<Expr>, element: Option<PgType>) -> Result<Expr, SqlError> {
        let (args, common) = match element {
            Some(element) => {
                let nested = elements.iter().any(|arg| matches!(known(arg), Some(PgType::Array(_))));
                let to = if nested { element.array().unwrap_or(element) } else { element };
                let args = elements.into_iter().map(|arg| self.coerce(arg, to, Coercion::Explicit));
                (args.collect::<Result<Vec<_>, _>>()?, to)
            }
            None if elements.is_empty() => {
                let message = "cannot determine type of empty array";
                let hint = "Explicitly cast to the desired type, for example ARRAY[]::integer[].";
                return Err(SqlError::new(SqlState::INDETERMINATE_DATATYPE, message).hint(hint));
            }
            None => self.unify("ARRAY", elements)?,
        };
        let pg_type = common.array().unwrap_or(common);
        let call = Expr::Call { function: registry::array_constructor(), args, pg_type };
        if let Expr::Call { args, .. } = &call
            && args.iter().all(is_literal)
            && let Ok(value) = call.eval_constant(self.context)
        {
            return Ok(Expr::Literal { value, pg_type });
        }
        Ok(call)
    }

    /// `x op ANY (array)`, or with `all` `x op ALL (array)`.
    ///
    /// # Errors
    /// 42809 if the right side is no array or the operator's result is no boolean; as [`ExprBuilder::operator`].
    pub fn any_all(&mut self, name: &str, left: Expr, array: Expr, all: bool) -> Result<Expr, SqlError> {
        let wrong = |message: &str| SqlError::new(SqlState::WRONG_OBJECT_TYPE, message);
        let left = if known(&left).is_none() && known(&array).is_none() { self.output(left)? } else { left };
        let array = match (known(&array), known(&left)) {
            (None, Some(pg_type)) => {
                let to = pg_type.base().array().unwrap_or(pg_type);
                self.coerce(array, to, Coercion::Implicit)?
            }
            (Some(PgType::Array(_)), _) => array,
            _ => return Err(wrong("op ANY/ALL (array) requires array on right side")),
        };
        let element = array.pg_type().element().unwrap_or(PgType::Text);
        // Stands for an element while the operator is looked for.
        let compared = self.operator(name, left, Expr::Column { index: usize::MAX, pg_type: element })?;
        let Expr::Call { function, mut args, pg_type } = compared else {
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "an operator is a call"));
        };
        if pg_type != PgType::Bool {
            return Err(wrong("op ANY/ALL (array) requires operator to yield boolean"));
        }
        let to = args.pop().map_or(element, |arg| arg.pg_type());
        let array = match to.array() {
            Some(to) if to.base() != array.pg_type().base() => self.coerce(array, to, Coercion::Explicit)?,
            _ => array,
        };
        let left = Box::new(args.pop().unwrap_or(Expr::Unknown(None)));
        Ok(Expr::AnyAll { function, left, array: Box::new(array), all })
    }

    /// `[NOT] LIKE | ILIKE .. [ESCAPE ..]`
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`].
    pub fn like(&mut self, like: LikeParts) -> Result<Expr, SqlError> {
        let LikeParts { arg, pattern, escape, kind, negated } = like;
        let name = match (kind, negated) {
            (LikeKind::Like, false) => "~~",
            (LikeKind::Like, true) => "!~~",
            (LikeKind::ILike, false) => "~~*",
            (LikeKind::ILike, true) => "!~~*",
            (LikeKind::SimilarTo, false) => "~",
            (LikeKind::SimilarTo, true) => "!~",
        };
        let pattern = match (kind, escape) {
            (LikeKind::SimilarTo, None) => self.function("similar_to_escape", vec![pattern])?,
            (LikeKind::SimilarTo, Some(escape)) => {
                self.function("similar_to_escape", vec![pattern, escape])?
            }
            (_, Some(escape)) => self.function("like_escape", vec![pattern, escape])?,
            (_, None) => pattern,
        };
        self.operator(name, arg, pattern)
    }

    /// `CASE [operand] WHEN .. THEN .. [ELSE ..] END`. An operand is compared, and so evaluated, once for each arm.
    ///
    /// # Errors
    /// 42804 if the results have no common type; as [`ExprBuilder::operator`] for `=`.
    pub fn case(
        &mut self,
        operand: Option<Expr>,
        arms: Vec<(Expr, Expr)>,
        otherwise: Option<Expr>,
    ) -> Result<Expr, SqlError> {
        let mut conditions = Vec::with_capacity(arms.len());
        let operand = operand.map(|operand| self.output(operand)).transpose()?;
        // The result of ELSE counts first when their type is looked for.
        let has_otherwise = otherwise.is_some();
        let mut results = vec![otherwise.unwrap_or(Expr::Unknown(None))];
        for (condition, result) in arms {
            conditions.push(match &operand {
                Some(operand) => self.operator("=", operand.clone(), condition)?,
                None => self.condition(condition, "CASE/WHEN")?,
            });
            results.push(result);
        }
        let (results, pg_type) = self.unify("CASE", results)?;
        let mut results = results.into_iter();
        let otherwise = results.next().filter(|_| has_otherwise).map(Box::new);
        Ok(Expr::Case { arms: conditions.into_iter().zip(results).collect(), otherwise, pg_type })
    }
}

fn missing_function(name: &str, args: &[Expr]) -> SqlError {
    let message = format!("function {name}({}) does not exist", names_of(args).join(", "));
    let hint =
        "No function matches the given name and argument types. You might need to add explicit type casts.";
    SqlError::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint)
}

/// The type that a function of its name converts to.
fn type_named(name: &str) -> Option<PgType> {
    Some(match name {
        "bool" => PgType::Bool,
        "int2" => PgType::Int2,
        "int4" => PgType::Int4,
        "int8" => PgType::Int8,
        "float4" => PgType::Float4,
        "float8" => PgType::Float8,
        "numeric" => PgType::Numeric(None),
        "text" => PgType::Text,
        "varchar" => PgType::Varchar(None),
        "date" => PgType::Date,
        "time" => PgType::Time,
        "timestamp" => PgType::Timestamp,
        "timestamptz" => PgType::Timestamptz,
        "interval" => PgType::Interval,
        "uuid" => PgType::Uuid,
        _ => return None,
    })
}

/// `select_common_type` of PostgreSQL: the first type, or a later one that it becomes by itself; the two that do not
/// go together otherwise.
pub(super) fn common_type(types: &[ArgType]) -> Result<PgType, (PgType, PgType)> {
    let mut known = types.iter().flatten().copied();
    let Some(first) = known.next() else { return Ok(PgType::Text) };
    let mut common = first;
    for other in known {
        if other.base() == common.base() {
            // Modifiers that differ are lost.
            common = if other == common { common } else { common.base() };
        } else if category(other) != category(common) {
            return Err((common, other));
        } else if !is_preferred(common)
            && cast::can_coerce(common, other, Coercion::Implicit)
            && !cast::can_coerce(other, common, Coercion::Implicit)
        {
            common = other.base();
        } else {
            common = common.base();
        }
    }
    Ok(common)
}

/// Parts of a LIKE expression.
#[derive(Clone, Debug, PartialEq)]
pub struct LikeParts {
    /// The text.
    pub arg: Expr,
    /// The pattern.
    pub pattern: Expr,
    /// `ESCAPE`
    pub escape: Option<Expr>,
    /// Which of the three.
    pub kind: LikeKind,
    /// `NOT LIKE`
    pub negated: bool,
}

/// Pattern languages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LikeKind {
    /// `LIKE`
    Like,
    /// `ILIKE`
    ILike,
    /// `SIMILAR TO`
    SimilarTo,
}
