//! Builds typed expressions: overload resolution, casts, and the types of literals and parameters (PG 15, chapter 10).

use omen_core::types::PgType;

use super::aggregate::{self, AggregateCall};
use super::{EvalContext, Expr};
use crate::error::{SqlError, SqlState};

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

impl ExprBuilder<'_> {
    /// A numeric constant as written: `integer`, `bigint` or `numeric`, the first that holds it.
    ///
    /// # Errors
    /// 22003 if it has too many digits.
    pub fn number(&self, _text: &str) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `CAST(expr AS to)`.
    ///
    /// # Errors
    /// 42846 if there is no such cast; the errors of reading a literal.
    pub fn cast(&mut self, expr: Expr, to: PgType) -> Result<Expr, SqlError> {
        self.coerce(expr, to, Coercion::Explicit)
    }

    /// Converts for the given purpose; literals and parameters take the type on.
    ///
    /// # Errors
    /// 42846 if there is no such cast in this context; the errors of reading a literal.
    pub fn coerce(&mut self, _expr: Expr, _to: PgType, _coercion: Coercion) -> Result<Expr, SqlError> {
        todo!()
    }

    /// Converts a value that is stored in a column.
    ///
    /// # Errors
    /// 42804 `column "c" is of type integer but expression is of type text`.
    pub fn assign(&mut self, _expr: Expr, _to: PgType, _column: &str) -> Result<Expr, SqlError> {
        todo!()
    }

    /// A condition; `clause` names it in errors: `WHERE`, `AND`, `CASE/WHEN`.
    ///
    /// # Errors
    /// 42804 `argument of WHERE must be type boolean, not type integer`.
    pub fn condition(&mut self, _expr: Expr, _clause: &str) -> Result<Expr, SqlError> {
        todo!()
    }

    /// An output column: what is still unknown becomes text.
    ///
    /// # Errors
    /// None in practice; as [`ExprBuilder::coerce`].
    pub fn output(&mut self, _expr: Expr) -> Result<Expr, SqlError> {
        todo!()
    }

    /// Brings all to one type, as CASE, VALUES and UNION do; `construct` names it in errors.
    ///
    /// # Errors
    /// 42804 `CASE types text and integer cannot be matched`.
    pub fn unify(&mut self, _construct: &str, _exprs: Vec<Expr>) -> Result<(Vec<Expr>, PgType), SqlError> {
        todo!()
    }

    /// A call of a scalar function.
    ///
    /// # Errors
    /// 42883 if none fits, 42725 if several do.
    pub fn function(&mut self, _name: &str, _args: Vec<Expr>) -> Result<Expr, SqlError> {
        todo!()
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
        let type_of = |arg: &Expr| match arg {
            Expr::Unknown(_) | Expr::UntypedParameter(_) => None,
            typed => Some(typed.pg_type()),
        };
        let types: Vec<Option<PgType>> = args.iter().map(type_of).collect();
        let signature = aggregate::resolve(name, &types, distinct)?;
        let args = args.into_iter().zip(&signature.args);
        let args =
            args.map(|(arg, to)| self.coerce(arg, *to, Coercion::Implicit)).collect::<Result<_, _>>()?;
        Ok(AggregateCall { name: signature.name, args, distinct, pg_type: signature.result })
    }

    /// An infix operator: `+ - * / % ^ || = <> < <= > >= ~ ~* !~ !~* & | # << >>`.
    ///
    /// # Errors
    /// 42883 if none fits, 42725 if several do.
    pub fn operator(&mut self, _name: &str, _left: Expr, _right: Expr) -> Result<Expr, SqlError> {
        todo!()
    }

    /// A prefix operator: `- + ~ @ |/ ||/`.
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`].
    pub fn prefix(&mut self, _name: &str, _arg: Expr) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `a AND b AND ..`
    ///
    /// # Errors
    /// 42804 if one is not boolean.
    pub fn and(&mut self, _args: Vec<Expr>) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `a OR b OR ..`
    ///
    /// # Errors
    /// 42804 if one is not boolean.
    pub fn or(&mut self, _args: Vec<Expr>) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `NOT a`
    ///
    /// # Errors
    /// 42804 if it is not boolean.
    pub fn not(&mut self, _arg: Expr) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `IS [NOT] NULL`
    pub fn is_null(&mut self, arg: Expr, negated: bool) -> Expr {
        Expr::IsNull { arg: Box::new(arg), negated }
    }

    /// `IS [NOT] TRUE | FALSE | UNKNOWN`
    ///
    /// # Errors
    /// 42804 if it is not boolean.
    pub fn is_truth(&mut self, _arg: Expr, _truth: Option<bool>, _negated: bool) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `IS [NOT] DISTINCT FROM`
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`] for `=`.
    pub fn is_distinct(&mut self, _left: Expr, _right: Expr, _negated: bool) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `[NOT] BETWEEN [SYMMETRIC]`
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`].
    pub fn between(
        &mut self,
        _arg: Expr,
        _low: Expr,
        _high: Expr,
        _symmetric: bool,
        _negated: bool,
    ) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `[NOT] IN (..)`
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`] for `=`.
    pub fn in_list(&mut self, _arg: Expr, _list: Vec<Expr>, _negated: bool) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `[NOT] LIKE | ILIKE .. [ESCAPE ..]`
    ///
    /// # Errors
    /// As [`ExprBuilder::operator`].
    pub fn like(&mut self, _like: LikeParts) -> Result<Expr, SqlError> {
        todo!()
    }

    /// `CASE [operand] WHEN .. THEN .. [ELSE ..] END`
    ///
    /// # Errors
    /// 42804 if the results have no common type; as [`ExprBuilder::operator`] for `=`.
    pub fn case(
        &mut self,
        _operand: Option<Expr>,
        _arms: Vec<(Expr, Expr)>,
        _otherwise: Option<Expr>,
    ) -> Result<Expr, SqlError> {
        todo!()
    }
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
