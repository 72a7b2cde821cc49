//! Whole rows, `t` for a relation `t` of FROM or `ROW(..)`, as arguments of functions that make JSON of them or count them.

use omen_core::types::{Datum, PgType};
use sqlparser::ast::{Expr as Ast, Ident};

use super::Binder;
use super::expr::{ExprScope, bare};
use super::functions::Call;
use super::names::{Named, Relation, Scope, fold, missing_from};
use crate::error::{Result, SqlError};
use crate::expr::{Expr, registry};

/// The functions that take rows.
const TAKERS: [&str; 12] = [
    "count",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

/// Whether a function of this name takes rows.
pub(super) fn is_taken_by(function: &str) -> bool {
    TAKERS.contains(&function)
}

impl Binder<'_> {
    /// Binds the arguments of a call. Rows are JSON then.
    ///
    /// # Errors
    /// All that binding reports; 0A000 for rows where they are not handled.
    pub(super) fn args(&mut self, call: &Call<'_>, scope: &mut ExprScope<'_>) -> Result<Vec<Expr>> {
        if let Some(name) = call.row {
            let alias = super::names::parts(name)?.pop().unwrap_or_default();
            let Some(relation) = scope.columns.relations.iter().find(|relation| relation.alias == alias)
            else {
                return Err(missing_from(&alias, scope.columns));
            };
            return Ok(vec![self.row_of_relation(call, relation, scope.columns)?]);
        }
        let takes_rows = is_taken_by(&call.name);
        let mut args = Vec::with_capacity(call.args.len());
        for ast in &call.args {
            let row = if takes_rows { self.row(call, ast, scope)? } else { None };
            args.push(match row {
                Some(row) => row,
                None => self.expr(ast, scope)?,
            });
        }
        Ok(args)
    }

    /// An argument as a row; `None` if it is none.
    fn row(&mut self, call: &Call<'_>, ast: &Ast, scope: &mut ExprScope<'_>) -> Result<Option<Expr>> {
        let fields = match bare(ast) {
            Ast::Identifier(ident) => return self.row_named(call, ident, scope.columns),
            Ast::Tuple(fields) => self.exprs(fields, scope)?,
            Ast::Function(function) => {
                let row = self.call(function)?;
                if row.name != "row" || function.over.is_some() {
                    return Ok(None);
                }
                self.exprs(row.args.iter().copied(), scope)?
            }
            _ => return Ok(None),
        };
        self.refuse(call.distinct, "DISTINCT of rows", "Name the columns.")?;
        let mut named = Vec::with_capacity(fields.len());
        for (index, field) in fields.into_iter().enumerate() {
            named.push(Named { name: format!("f{}", index + 1), expr: self.build().output(field)? });
        }
        Ok(Some(json_of(named)))
    }

    /// The row that a name means if it is no column's.
    fn row_named(&self, call: &Call<'_>, ident: &Ident, scope: &Scope) -> Result<Option<Expr>> {
        let name = fold(ident);
        if scope.find(None, &name)?.is_some() || scope.function_value(&name).is_some() {
            return Ok(None);
        }
        let relation = scope.relations.iter().find(|relation| relation.alias == name);
        relation.map(|relation| self.row_of_relation(call, relation, scope)).transpose()
    }

    fn row_of_relation(&self, call: &Call<'_>, relation: &Relation, scope: &Scope) -> Result<Expr> {
        self.refuse(call.distinct, "DISTINCT of whole rows", "Name the columns.")?;
        let key = self.key_column(relation);
        // Beside others there may be no row: an outer join says so by NULLs, which the key of a table never is.
        let may_lack = scope.relations.len() > 1;
        let hint = "Name its columns, as in json_build_object, or read it in a query of its own.";
        self.refuse(may_lack && key.is_none(), "the whole row of a subquery beside others", hint)?;
        if call.name == "count" {
            let there = Expr::Literal { value: Datum::Bool(true), pg_type: PgType::Bool };
            return Ok(key.unwrap_or(there));
        }
        let json = json_of(relation.named().collect());
        Ok(match key {
            Some(key) if may_lack => Expr::Case {
                arms: vec![(Expr::IsNull { arg: Box::new(key), negated: false }, Expr::null(PgType::Json))],
                otherwise: Some(Box::new(json)),
                pg_type: PgType::Json,
            },
            _ => json,
        })
    }

    /// A column of the key of the table that a relation is.
    fn key_column(&self, relation: &Relation) -> Option<Expr> {
        let (table, _) = relation.columns.first()?.origin?;
        let column = *self.catalog.table(table)?.schema.key.first()?;
        let pg_type = relation.columns.get(column)?.pg_type;
        Some(Expr::Column { index: relation.offset + column, pg_type })
    }
}

/// A row as JSON.
fn json_of(fields: Vec<Named>) -> Expr {
    let name = |name: String| Expr::Literal { value: Datum::Text(name.into()), pg_type: PgType::Text };
    let args = fields.into_iter().flat_map(|field| [name(field.name), field.expr]).collect();
    Expr::Call { function: registry::row_json(), args, pg_type: PgType::Json }
}

/// 0A000 for a row where it is not handled.
pub(super) fn unsupported() -> SqlError {
    let hint = "Name its columns, or give it to row_to_json, to_jsonb, json_agg or jsonb_agg.";
    SqlError::unsupported("a whole row here", hint)
}
