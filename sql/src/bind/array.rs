//! Arrays: constructors, subscripts, and comparisons with their elements.

use omen_core::types::{Datum, PgType};
use sqlparser::ast::{self, AccessExpr, BinaryOperator, Expr as Ast, Subscript};

use super::Binder;
use super::expr::{ExprScope, bare, operator_name};
use super::subquery::Quantifier;
use crate::error::{Result, SqlError, SqlState};
use crate::expr::{Coercion, Expr, registry};

/// Most elements that are written out instead of being looked up in an array.
const LISTED_MAX: usize = 10_000;

/// Whether it is `ARRAY[..]` and not `ARRAY(SELECT ..)`.
pub(super) fn is_list(array: &ast::Array) -> bool {
    !matches!(array.elem.as_slice(), [Ast::Subquery(_)])
}

impl Binder<'_> {
    /// `ARRAY[..]` and `ARRAY(SELECT ..)`, of elements of a type if it is known.
    pub(super) fn array(
        &mut self,
        array: &ast::Array,
        element: Option<PgType>,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        if let [Ast::Subquery(query)] = array.elem.as_slice() {
            return self.array_subquery(query, scope);
        }
        let mut elements = Vec::with_capacity(array.elem.len());
        for ast in &array.elem {
            elements.push(match bare(ast) {
                Ast::Array(inner) if is_list(inner) => self.array(inner, element, scope)?,
                ast => self.expr(ast, scope)?,
            });
        }
        self.build().array(elements, element)
    }

    /// `x op ANY (..)` and, with `all`, `x op ALL (..)`.
    pub(super) fn any_all(
        &mut self,
        left: &Ast,
        op: &BinaryOperator,
        right: &Ast,
        all: bool,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let like = match op {
            BinaryOperator::PGLikeMatch => Some("~~"),
            BinaryOperator::PGNotLikeMatch => Some("!~~"),
            BinaryOperator::PGILikeMatch => Some("~~*"),
            BinaryOperator::PGNotILikeMatch => Some("!~~*"),
            _ => None,
        };
        let name = match like {
            Some(name) => name.to_owned(),
            None => operator_name(op)?,
        };
        if let Ast::Subquery(query) = bare(right) {
            let quantifier = if all { Quantifier::All } else { Quantifier::Any };
            return self.quantified(left, &name, quantifier, query, scope);
        }
        let left = self.expr(left, scope)?;
        let negated = match (op, all) {
            (BinaryOperator::Eq, false) => Some(false),
            (BinaryOperator::NotEq, true) => Some(true),
            _ => None,
        };
        if let (Some(negated), Ast::Array(array)) = (negated, bare(right))
            && !array.elem.is_empty()
            && is_list(array)
            && array.elem.iter().all(|elem| !matches!(bare(elem), Ast::Array(_)))
        {
            let list = self.exprs(&array.elem, scope)?;
            return self.build().in_list(left, list, negated);
        }
        let array = self.expr(right, scope)?;
        let bound = self.build().any_all(&name, left, array, all)?;
        Ok(listed(bound, negated))
    }

    /// `a[1]`, `a[1:2][3]`, `j['key']`
    pub(super) fn access(
        &mut self,
        root: &Ast,
        chain: &[AccessExpr],
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        // `t.a[1]`: names in front are those of a column.
        let names =
            chain.iter().take_while(|access| matches!(access, AccessExpr::Dot(Ast::Identifier(_)))).count();
        let bound = match (root, names) {
            (_, 0) => self.expr(root, scope)?,
            (Ast::Identifier(first), _) => {
                let mut idents = vec![first.clone()];
                idents.extend(chain[..names].iter().filter_map(|access| match access {
                    AccessExpr::Dot(Ast::Identifier(ident)) => Some(ident.clone()),
                    _ => None,
                }));
                self.expr(&Ast::CompoundIdentifier(idents), scope)?
            }
            _ => return Err(fields()),
        };
        let mut subscripts = Vec::with_capacity(chain.len() - names);
        for access in &chain[names..] {
            match access {
                AccessExpr::Subscript(subscript) => subscripts.push(subscript),
                AccessExpr::Dot(_) => return Err(fields()),
            }
        }
        let bound = self.build().output(bound)?;
        match bound.pg_type() {
            PgType::Array(_) => self.subscripts(bound, &subscripts, scope),
            PgType::Jsonb => self.json_subscripts(bound, &subscripts, scope),
            other => {
                let message = format!(
                    "cannot subscript type {} because it does not support subscripting",
                    other.base()
                );
                Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message))
            }
        }
    }

    /// `j['key'][0]`: a path.
    fn json_subscripts(
        &mut self,
        json: Expr,
        subscripts: &[&Subscript],
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let mut args = vec![json];
        for subscript in subscripts {
            let Subscript::Index { index } = subscript else {
                let message = "jsonb subscript does not support slices";
                return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message));
            };
            let bound = self.expr(index, scope)?;
            args.push(self.build().coerce(bound, PgType::Text, Coercion::Explicit)?);
        }
        self.build().function("jsonb_extract_path", args)
    }

    fn subscripts(
        &mut self,
        array: Expr,
        subscripts: &[&Subscript],
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let array_type = array.pg_type();
        let (places, sliced) = self.places(subscripts, scope)?;
        let (function, pg_type) = match (sliced, array_type.element()) {
            (false, Some(element)) => (registry::array_subscript(), element),
            _ => (registry::array_slice(), array_type),
        };
        let args = std::iter::once(array).chain(places).collect();
        Ok(Expr::Call { function, args, pg_type })
    }

    /// The subscripts, and whether they name a slice: then there are two for each dimension.
    fn places(&mut self, subscripts: &[&Subscript], scope: &mut ExprScope<'_>) -> Result<(Vec<Expr>, bool)> {
        if subscripts.len() > omen_core::types::array::DIMENSIONS_MAX {
            let message = format!(
                "number of array dimensions ({}) exceeds the maximum allowed ({})",
                subscripts.len(),
                omen_core::types::array::DIMENSIONS_MAX
            );
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        let sliced = subscripts.iter().any(|subscript| matches!(subscript, Subscript::Slice { .. }));
        let constant = |value: i32| Expr::Literal { value: Datum::Int4(value), pg_type: PgType::Int4 };
        let mut args = Vec::with_capacity(2 * subscripts.len());
        for subscript in subscripts {
            match subscript {
                Subscript::Index { index } if sliced => {
                    args.push(constant(1));
                    args.push(self.subscript(index, scope)?);
                }
                Subscript::Index { index } => args.push(self.subscript(index, scope)?),
                Subscript::Slice { lower_bound, upper_bound, stride } => {
                    self.not_postgres(stride.is_some(), "a slice with a stride")?;
                    for (bound, missing) in [(lower_bound, i32::MIN), (upper_bound, i32::MAX)] {
                        args.push(match bound {
                            Some(bound) => self.subscript(bound, scope)?,
                            None => constant(missing),
                        });
                    }
                }
            }
        }
        Ok((args, sliced))
    }

    /// The array of a column with an element or a slice assigned: `target` is `a[1]`, and `array` what the column holds.
    pub(super) fn assign_part(
        &mut self,
        array: Expr,
        column: &str,
        target: &Ast,
        value: &Ast,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let Ast::CompoundFieldAccess { access_chain, .. } = target else { return Err(fields()) };
        let mut subscripts = Vec::with_capacity(access_chain.len());
        for access in access_chain {
            match access {
                AccessExpr::Subscript(subscript) => subscripts.push(subscript),
                AccessExpr::Dot(_) => return Err(fields()),
            }
        }
        let array_type = array.pg_type();
        let Some(element) = array_type.element() else {
            if array_type == PgType::Jsonb {
                let hint = "Assign jsonb_set(..) to the column.";
                return Err(SqlError::unsupported("assigning to a part of a jsonb value", hint));
            }
            let message = format!(
                "cannot subscript type {} because it does not support subscripting",
                array_type.base()
            );
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message));
        };
        let (places, sliced) = self.places(&subscripts, scope)?;
        let value = self.expr(value, scope)?;
        let value = self.build().assign(value, if sliced { array_type } else { element }, column)?;
        let args = [array, value].into_iter().chain(places).collect();
        Ok(Expr::Call { function: registry::array_assign(sliced), args, pg_type: array_type })
    }

    fn subscript(&mut self, ast: &Ast, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let bound = self.expr(ast, scope)?;
        self.build().coerce(bound, PgType::Int4, Coercion::Assignment).map_err(|error| match error.state {
            SqlState::CANNOT_COERCE => {
                SqlError::new(SqlState::DATATYPE_MISMATCH, "array subscript must have type integer")
            }
            _ => error,
        })
    }
}

fn fields() -> SqlError {
    SqlError::unsupported("a field of a composite value", "Give the columns one by one.")
}

/// A comparison with the elements of a constant as a list, which keys and filters are made of.
fn listed(bound: Expr, negated: Option<bool>) -> Expr {
    let (Some(negated), Expr::AnyAll { left, array, .. }) = (negated, &bound) else { return bound };
    let Expr::Literal { value: Datum::Array(bytes), pg_type } = &**array else { return bound };
    let comparable = |pg_type: PgType| match pg_type.base() {
        PgType::Varchar(_) => PgType::Text,
        other => other,
    };
    let Some(element) = pg_type.element() else { return bound };
    let list = omen_core::types::ArrayValue::of_stored(*pg_type, bytes);
    if list.values.is_empty()
        || list.values.len() > LISTED_MAX
        || comparable(left.pg_type()) != comparable(element)
        || matches!(element, PgType::Json | PgType::Jsonb)
    {
        return bound;
    }
    let literal = |value: Datum| Expr::Literal { value, pg_type: left.pg_type().base() };
    Expr::InList { arg: left.clone(), list: list.values.into_iter().map(literal).collect(), negated }
}
