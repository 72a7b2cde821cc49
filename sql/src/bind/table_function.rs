//! Functions in FROM. Their arguments may name what stands in FROM before them, as if LATERAL were written.

use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments, TableAlias, TableFactor};

use super::Binder;
use super::expr::ExprScope;
use super::from::{Source, rename};
use super::names::{Relation, Scope, ScopeColumn, fold, parts};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::logical::{Logical, ProjectSet, SetCall};

/// The name of their place in errors.
pub(super) const CLAUSE: &str = "functions in FROM";

/// The name that the parser of statements gives to `ROWS FROM`.
pub(crate) const ROWS_FROM: &str = "rows from";

/// A function in FROM, or several side by side.
pub(super) struct TableFunction {
    /// Its columns, counted from 0.
    pub(super) relation: Relation,
    /// The calls.
    pub(super) calls: Vec<SetCall>,
    /// `WITH ORDINALITY`
    pub(super) ordinality: bool,
    /// The arguments name columns of what stands before it.
    pub(super) reads_left: bool,
}

impl TableFunction {
    /// As a source of its own: its arguments name no columns.
    pub(super) fn alone(self) -> Source {
        let TableFunction { relation, calls, ordinality, .. } = self;
        let set = ProjectSet { input: Logical::one_row(), calls, ordinality, keeps_input: false };
        Source { plan: Logical::ProjectSet(Box::new(set)), scope: Scope::of(relation), tables: Vec::new() }
    }
}

/// A function in FROM as written.
struct Written<'a> {
    name: Vec<String>,
    args: Vec<&'a FunctionArg>,
    ordinality: bool,
    alias: Option<&'a TableAlias>,
}

impl Binder<'_> {
    /// The function that a part of FROM is, if it is one. `left`: what its arguments can name.
    ///
    /// # Errors
    /// All that names and functions report.
    pub(super) fn table_function(
        &mut self,
        factor: &TableFactor,
        left: Option<&Scope>,
    ) -> Result<Option<TableFunction>> {
        let wrapped: Vec<FunctionArg>;
        let written = match factor {
            TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
                self.not_postgres(args.settings.is_some(), "SETTINGS")?;
                Written {
                    name: parts(name)?,
                    args: args.args.iter().collect(),
                    ordinality: *with_ordinality,
                    alias: alias.as_ref(),
                }
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => Written {
                name: parts(name)?,
                args: args.iter().collect(),
                ordinality: *with_ordinality,
                alias: alias.as_ref(),
            },
            TableFactor::UNNEST { alias, array_exprs, with_offset, with_ordinality, .. } => {
                self.not_postgres(*with_offset, "WITH OFFSET")?;
                let args = array_exprs.iter();
                wrapped = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg.clone()))).collect();
                Written {
                    name: vec!["unnest".to_owned()],
                    args: wrapped.iter().collect(),
                    ordinality: *with_ordinality,
                    alias: alias.as_ref(),
                }
            }
            _ => return Ok(None),
        };
        self.bind_table_function(&written, left).map(Some)
    }

    fn bind_table_function(&mut self, written: &Written<'_>, left: Option<&Scope>) -> Result<TableFunction> {
        let empty = Scope::default();
        let mut scope = ExprScope::plain(left.unwrap_or(&empty), CLAUSE);
        let name = match written.name.as_slice() {
            [name] => name.as_str(),
            [schema, name] if schema == "pg_catalog" => name.as_str(),
            [schema, ..] => {
                let message = format!("schema \"{schema}\" does not exist");
                return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, message));
            }
            [] => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "a function without a name")),
        };
        let mut calls = Vec::new();
        match name {
            ROWS_FROM => {
                for arg in &written.args {
                    let FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Function(call))) = arg else {
                        let message = "syntax error: ROWS FROM has functions";
                        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                    };
                    let FunctionArguments::List(list) = &call.args else { continue };
                    let name = parts(&call.name)?.pop().unwrap_or_default();
                    let args: Vec<&FunctionArg> = list.args.iter().collect();
                    calls.push(self.table_call(&name, &args, &mut scope)?);
                }
            }
            "unnest" if written.args.len() > 1 => {
                for arg in &written.args {
                    calls.push(self.table_call(name, &[arg], &mut scope)?);
                }
            }
            _ => calls.push(self.table_call(name, &written.args, &mut scope)?),
        }
        let mut reads_left = false;
        for arg in calls.iter().flat_map(|call| &call.args) {
            reads_left |= !arg.is_constant();
        }
        let relation = relation_of(name, &calls, written)?;
        Ok(TableFunction { relation, calls, ordinality: written.ordinality, reads_left })
    }

    fn table_call(
        &mut self,
        name: &str,
        args: &[&FunctionArg],
        scope: &mut ExprScope<'_>,
    ) -> Result<SetCall> {
        let mut bound = Vec::with_capacity(args.len());
        for arg in args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg else {
                return Err(SqlError::unsupported(
                    "this form of an argument",
                    "Give the arguments in order.",
                ));
            };
            bound.push(self.expr(arg, scope)?);
        }
        if crate::expr::aggregate::exists(name) {
            let message = format!("aggregate functions are not allowed in {CLAUSE}");
            return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
        }
        match self.build().function(name, bound)? {
            Expr::Call { function, args, pg_type } if function.set.is_some() => {
                Ok(SetCall { function, args, pg_type })
            }
            value => {
                let value = self.build().output(value)?;
                let pg_type = value.pg_type();
                Ok(SetCall { function: crate::expr::registry::one_row(), args: vec![value], pg_type })
            }
        }
    }
}

/// The names of a function's columns.
fn relation_of(name: &str, calls: &[SetCall], written: &Written<'_>) -> Result<Relation> {
    let mut columns = Vec::new();
    for call in calls {
        // A plain function's column has the name that was written.
        let own = call.columns();
        let own = own.into_iter().map(|(column, pg_type)| match column {
            crate::expr::registry::ONE_ROW => (name.to_owned(), pg_type),
            column => (column.to_owned(), pg_type),
        });
        columns.extend(own);
    }
    // One column has the name of the relation, unless the function has a name for it.
    let is_named = calls.iter().any(|call| call.function.set.is_some_and(|set| !set.columns.is_empty()));
    if let ([column], Some(alias), false) = (columns.as_mut_slice(), written.alias, is_named) {
        column.0 = fold(&alias.name);
    }
    columns.extend(written.ordinality.then(|| ("ordinality".to_owned(), omen_core::types::PgType::Int8)));
    let columns = columns.into_iter();
    let columns = columns.map(|(name, pg_type)| ScopeColumn { name, pg_type, origin: None, hidden: false });
    let shown = match written.alias {
        Some(alias) => fold(&alias.name),
        None if name == ROWS_FROM => String::new(),
        None => name.to_owned(),
    };
    let table = Some(name.to_owned());
    let mut relation = Relation { alias: shown, table, columns: columns.collect(), offset: 0 };
    rename(&mut relation, written.alias)?;
    Ok(relation)
}
