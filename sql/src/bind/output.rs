//! Select lists: wildcards and the names of columns.

use sqlparser::ast::{
    Expr as Ast, Function, SelectItem, SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};

use super::expr::{ExprScope, bare};
use super::functions::trim_name;
use super::names::{Named, Relation, Scope, fold, missing_from};
use super::{Binder, types};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::session::ColumnInfo;

/// An output column.
#[derive(Clone, Debug)]
pub(crate) struct Item<'q> {
    /// What it is.
    pub(crate) expr: Expr,
    /// Its name and origin; the type is the expression's once that is final.
    pub(crate) name: String,
    /// As written, unless it comes from a wildcard.
    pub(crate) ast: Option<&'q Ast>,
}

impl Binder<'_> {
    /// Binds a select list.
    pub(crate) fn items<'q>(
        &mut self,
        list: &'q [SelectItem],
        scope: &mut ExprScope<'_>,
    ) -> Result<Vec<Item<'q>>> {
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            match item {
                SelectItem::UnnamedExpr(ast) => {
                    let expr = self.expr(ast, scope)?;
                    items.push(Item { expr, name: column_name(ast), ast: Some(ast) });
                }
                SelectItem::ExprWithAlias { expr: ast, alias } => {
                    self.check_alias(alias)?;
                    let expr = self.expr(ast, scope)?;
                    items.push(Item { expr, name: fold(alias), ast: Some(ast) });
                }
                SelectItem::Wildcard(options) => {
                    self.plain_wildcard(options)?;
                    if scope.columns.relations.is_empty() {
                        let message = "SELECT * with no tables specified is not valid";
                        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                    }
                    items.extend(all_columns(scope.columns, None));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    self.plain_wildcard(options)?;
                    let alias = super::names::parts(name)?.pop().unwrap_or_default();
                    if !scope.columns.relations.iter().any(|relation| relation.alias == alias) {
                        return Err(missing_from(&alias, scope.columns));
                    }
                    items.extend(all_columns(scope.columns, Some(&alias)));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _)
                | SelectItem::ExprWithAliases { .. } => {
                    return Err(SqlError::unsupported("this form of an output column", "Name the columns."));
                }
            }
        }
        Ok(items)
    }

    fn plain_wildcard(&self, options: &WildcardAdditionalOptions) -> Result<()> {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        let there = opt_ilike.is_some()
            || opt_exclude.is_some()
            || opt_except.is_some()
            || opt_replace.is_some()
            || opt_rename.is_some()
            || opt_alias.is_some();
        self.not_postgres(there, "a wildcard with options")
    }
}

/// The visible columns of a scope, or of one relation of it.
fn all_columns<'q>(scope: &Scope, alias: Option<&str>) -> Vec<Item<'q>> {
    let columns = match alias {
        None => scope.named(),
        Some(alias) => {
            scope.relations.iter().filter(|r| r.alias == alias).flat_map(Relation::named).collect()
        }
    };
    columns.into_iter().map(|Named { name, expr }| Item { expr, name, ast: None }).collect()
}

/// What a client is told about output columns. `exprs` are over the columns of `scope`.
pub(crate) fn column_infos(items: &[Item<'_>], scope: &Scope) -> Vec<ColumnInfo> {
    let origin = |index: usize| scope.column_at(index)?.1.origin;
    let info = |item: &Item<'_>| ColumnInfo {
        name: item.name.clone(),
        pg_type: item.expr.pg_type(),
        table: match item.expr {
            Expr::Column { index, .. } => origin(index),
            _ => None,
        },
    };
    items.iter().map(info).collect()
}

/// The name of a column without alias (`FigureColname` of PostgreSQL).
pub(crate) fn column_name(ast: &Ast) -> String {
    named(ast).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// A name and whether it is more than the name of a type, which gives way to names further inside.
fn named(ast: &Ast) -> Option<(String, bool)> {
    let strong = |name: &str| Some((name.to_owned(), true));
    match bare(ast) {
        Ast::Identifier(ident) => Some((fold(ident), true)),
        Ast::CompoundIdentifier(idents) => idents.last().map(|ident| (fold(ident), true)),
        Ast::Function(function) => function_name(function).map(|name| (name, true)),
        Ast::Cast { expr, data_type, .. } => match named(expr) {
            Some((name, true)) => Some((name, true)),
            _ => types::pg_type(data_type).ok().map(|to| (types::internal_name(to).to_owned(), false)),
        },
        Ast::TypedString(typed) => {
            types::pg_type(&typed.data_type).ok().map(|to| (types::internal_name(to).to_owned(), false))
        }
        Ast::Interval(_) => Some(("interval".to_owned(), false)),
        Ast::Case { else_result, .. } => match else_result.as_deref().and_then(named) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".to_owned(), false)),
        },
        Ast::Collate { expr, .. } => named(expr),
        Ast::Subquery(query) => subquery_name(query).map(|name| (name, true)),
        Ast::Exists { negated: false, .. } => strong("exists"),
        Ast::AtTimeZone { .. } => strong("timezone"),
        Ast::Extract { .. } => strong("extract"),
        Ast::Ceil { .. } => strong("ceil"),
        Ast::Floor { .. } => strong("floor"),
        Ast::Position { .. } => strong("position"),
        Ast::Substring { shorthand, .. } => strong(if *shorthand { "substr" } else { "substring" }),
        Ast::Trim { trim_where, .. } => strong(trim_name(*trim_where)),
        Ast::Overlay { .. } => strong("overlay"),
        Ast::Array(_) => strong("array"),
        Ast::CompoundFieldAccess { root, .. } => named(root),
        _ => None,
    }
}

/// A subquery is named as its column.
fn subquery_name(query: &sqlparser::ast::Query) -> Option<String> {
    match query.body.as_ref() {
        sqlparser::ast::SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::UnnamedExpr(ast) => named(ast).map(|(name, _)| name),
            SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
            _ => None,
        },
        sqlparser::ast::SetExpr::Values(_) => Some("column1".to_owned()),
        sqlparser::ast::SetExpr::Query(inner) => subquery_name(inner),
        _ => None,
    }
}

fn function_name(function: &Function) -> Option<String> {
    super::names::parts(&function.name).ok()?.pop()
}
