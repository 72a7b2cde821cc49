//! Names: what identifiers refer to.

use std::sync::Arc;

use omen_core::catalog::Table;
use omen_core::id::TableId;
use omen_core::types::PgType;
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use super::Binder;
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::parse::position_of;
use crate::parse::utility::TableName;

/// A column that expressions may name.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ScopeColumn {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) pg_type: PgType,
    /// The table and column number (from 1) that it is.
    pub(crate) origin: Option<(TableId, i16)>,
    /// Not to be named.
    pub(crate) hidden: bool,
}

/// A table or subquery in FROM, with the name by which its columns can be qualified.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    /// Its alias or name.
    pub(crate) alias: String,
    /// The name of the table that it is.
    pub(crate) table: Option<String>,
    /// Its columns, at consecutive positions of the input.
    pub(crate) columns: Vec<ScopeColumn>,
    /// Position of its first column in the input.
    pub(crate) offset: usize,
}

/// A column as expressions and `*` see it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: String,
    /// What it is: a column of the input, or one made of two by USING.
    pub(crate) expr: Expr,
}

/// What expressions may name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// In order of FROM, which is also the order of their columns.
    pub(crate) relations: Vec<Relation>,
    /// What names without a relation refer to, once a join has merged columns. Before: all columns of all relations.
    pub(crate) merged: Option<Vec<Named>>,
    /// Relations of FROM that are out of reach here, for messages.
    pub(crate) outside: Vec<String>,
}

impl Relation {
    /// A table's columns under a name.
    pub(crate) fn of_table(table: &Table, alias: String, offset: usize) -> Relation {
        let column = |(index, column): (usize, &omen_core::catalog::Column)| ScopeColumn {
            name: column.name.clone(),
            pg_type: column.pg_type,
            origin: Some((table.id, i16::try_from(index + 1).expect("at most 1600 columns"))),
            hidden: column.hidden,
        };
        let columns = table.schema.columns.iter().enumerate().map(column).collect();
        Relation { alias, table: Some(table.name.clone()), columns, offset }
    }
}

impl Relation {
    /// Its columns, as far as they may be named.
    pub(crate) fn named(&self) -> impl Iterator<Item = Named> + '_ {
        let visible = self.columns.iter().enumerate().filter(|(_, column)| !column.hidden);
        visible.map(|(position, column)| Named {
            name: column.name.clone(),
            expr: Expr::Column { index: self.offset + position, pg_type: column.pg_type },
        })
    }
}

impl Scope {
    /// A scope of one relation.
    pub(crate) fn of(relation: Relation) -> Scope {
        Scope { relations: vec![relation], merged: None, outside: Vec::new() }
    }

    /// All that `*` means.
    pub(crate) fn named(&self) -> Vec<Named> {
        match &self.merged {
            Some(merged) => merged.clone(),
            None => self.relations.iter().flat_map(Relation::named).collect(),
        }
    }

    /// The column of this name, in the relation of that alias or in any.
    ///
    /// # Errors
    /// 42702 if several fit.
    pub(crate) fn find(&self, alias: Option<&str>, name: &str) -> Result<Option<Expr>> {
        let mut found = None;
        let mut add = |expr: Expr| match found.replace(expr) {
            None => Ok(()),
            Some(_) => {
                let message = format!("column reference \"{name}\" is ambiguous");
                Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message))
            }
        };
        if let (None, Some(merged)) = (alias, &self.merged) {
            for column in merged.iter().filter(|column| column.name == name) {
                add(column.expr.clone())?;
            }
            return Ok(found);
        }
        for relation in self.relations.iter().filter(|r| alias.is_none_or(|alias| r.alias == alias)) {
            for (position, column) in relation.columns.iter().enumerate() {
                if !column.hidden && column.name == name {
                    add(Expr::Column { index: relation.offset + position, pg_type: column.pg_type })?;
                }
            }
        }
        Ok(found)
    }

    /// The only column of a function in FROM, which the name of the function stands for.
    pub(crate) fn function_value(&self, alias: &str) -> Option<Expr> {
        let relation = self.relations.iter().find(|relation| relation.alias == alias)?;
        match relation.columns.as_slice() {
            // A table's columns have an origin.
            [ScopeColumn { pg_type, origin: None, .. }] if relation.table.is_some() => {
                Some(Expr::Column { index: relation.offset, pg_type: *pg_type })
            }
            _ => None,
        }
    }

    /// The relation and column at a position of the input.
    pub(crate) fn column_at(&self, index: usize) -> Option<(&Relation, &ScopeColumn)> {
        let relation = self.relations.iter().rev().find(|relation| relation.offset <= index)?;
        Some((relation, relation.columns.get(index - relation.offset)?))
    }

    /// The same over an input that has other columns in front.
    pub(crate) fn shifted(mut self, by: usize) -> Scope {
        for relation in &mut self.relations {
            relation.offset += by;
        }
        for column in self.merged.iter_mut().flatten() {
            let expr = std::mem::replace(&mut column.expr, Expr::Unknown(None));
            column.expr = expr.transform(&mut |part| match part {
                Expr::Column { index, pg_type } => Expr::Column { index: index + by, pg_type },
                other => other,
            });
        }
        self
    }

    /// Both scopes, the other one's columns after these.
    ///
    /// # Errors
    /// 42712 if a name stands for two relations.
    pub(crate) fn beside(mut self, other: Scope) -> Result<Scope> {
        for relation in &other.relations {
            if self.relations.iter().any(|known| known.alias == relation.alias) {
                let message = format!("table name \"{}\" specified more than once", relation.alias);
                return Err(SqlError::new(SqlState::DUPLICATE_ALIAS, message));
            }
        }
        if self.merged.is_some() || other.merged.is_some() {
            let mut columns = self.named();
            columns.extend(other.named());
            self.merged = Some(columns);
        }
        self.relations.extend(other.relations);
        self.outside.extend(other.outside);
        Ok(self)
    }
}

/// The folded parts of a name.
///
/// # Errors
/// 42601 if a part is no identifier.
pub(crate) fn parts(name: &ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ObjectNamePart::Function(_) => {
                Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{part}\"")))
            }
        })
        .collect()
}

/// An identifier as the catalog knows it.
pub(crate) fn fold(ident: &Ident) -> String {
    crate::parse::fold_identifier(&ident.value, ident.quote_style)
}

/// The first character of a name in the text; 0 if unknown.
fn place(text: &str, name: &ObjectName) -> u32 {
    match name.0.first() {
        Some(ObjectNamePart::Identifier(ident)) => position_of(text, ident.span.start),
        _ => 0,
    }
}

impl Binder<'_> {
    /// The 1-based character of an identifier; 0 if unknown.
    pub(crate) fn place_of(&self, ident: &Ident) -> u32 {
        position_of(self.text, ident.span.start)
    }

    /// Refuses a string in place of an alias.
    ///
    /// # Errors
    /// 42601.
    pub(crate) fn check_alias(&self, alias: &Ident) -> Result<()> {
        if alias.quote_style != Some('\'') {
            return Ok(());
        }
        let message = format!("syntax error at or near \"{alias}\"");
        Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(self.place_of(alias)))
    }

    /// A table's name as written.
    ///
    /// # Errors
    /// 0A000 if it names another database.
    pub(crate) fn table_name(&self, name: &ObjectName) -> Result<TableName> {
        let position = place(self.text, name);
        let mut parts = parts(name)?;
        if parts.len() == 3 {
            if parts[0] != *self.context.database {
                let message =
                    format!("cross-database references are not implemented: \"{}\"", parts.join("."));
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(position));
            }
            parts.remove(0);
        }
        match <[String; 2]>::try_from(parts) {
            Ok([schema, name]) => Ok(TableName { schema: Some(schema), name, position }),
            Err(mut parts) if parts.len() == 1 => {
                Ok(TableName { schema: None, name: parts.pop().unwrap_or_default(), position })
            }
            Err(parts) => {
                let message = format!("improper relation name (too many dotted names): {}", parts.join("."));
                Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(position))
            }
        }
    }

    /// The table of a name, if there is one.
    ///
    /// # Errors
    /// 3F000 if it names a schema that does not exist, 0A000 for the system catalogs.
    pub(crate) fn find_table(&self, name: &TableName) -> Result<Option<Arc<Table>>> {
        match name.schema.as_deref() {
            None if !self.settings.public_in_path() => Ok(None),
            None | Some("public") => Ok(self.catalog.table_named(&name.name).cloned()),
            Some(schema @ ("pg_catalog" | "information_schema")) => {
                let what = format!("the system catalog \"{schema}.{}\"", name.name);
                let hint =
                    "Ask for the schema of tables with EXPLAIN, or read it from the application's own files.";
                Err(SqlError::unsupported(what, hint).at(name.position))
            }
            Some(schema) => {
                let message = format!("schema \"{schema}\" does not exist");
                Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, message).at(name.position))
            }
        }
    }

    /// The table of a name.
    ///
    /// # Errors
    /// 42P01 if there is none; as [`Binder::find_table`].
    pub(crate) fn table(&self, name: &TableName) -> Result<Arc<Table>> {
        match self.find_table(name) {
            Ok(Some(table)) => Ok(table),
            Ok(None) if name.schema.is_none() && name.name.starts_with("pg_") => {
                let what = format!("the system catalog \"{}\"", name.name);
                Err(SqlError::unsupported(what, "System catalogs are not there yet.").at(name.position))
            }
            Ok(None) => Err(missing_relation(name)),
            Err(error) if error.state == SqlState::INVALID_SCHEMA_NAME => Err(missing_relation(name)),
            Err(error) => Err(error),
        }
    }

    /// The column that a name of one, two or three parts refers to.
    ///
    /// # Errors
    /// 42703, 42702 or 42P01.
    pub(crate) fn column(&self, scope: &Scope, idents: &[Ident]) -> Result<Expr> {
        let at = |error: SqlError| error.at(idents.first().map_or(0, |ident| self.place_of(ident)));
        let names: Vec<String> = idents.iter().map(fold).collect();
        let (alias, name) = match names.as_slice() {
            [name] => (None, name),
            [alias, name] => (Some(alias), name),
            [_, alias, name] => (Some(alias), name),
            _ => {
                let message = format!("improper qualified name (too many dotted names): {}", names.join("."));
                return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, message)));
            }
        };
        if let Some(found) = scope.find(alias.map(String::as_str), name).map_err(at)? {
            return Ok(found);
        }
        let is_own = |alias: &String| scope.relations.iter().any(|relation| relation.alias == *alias);
        if !alias.is_some_and(is_own)
            && let Some(found) = self.outer_column(alias.map(String::as_str), name).map_err(at)?
        {
            return Ok(found);
        }
        let Some(alias) = alias else {
            if let Some(value) = scope.function_value(name) {
                return Ok(value);
            }
            if scope.relations.iter().any(|relation| relation.alias == *name) {
                return Err(at(super::whole_row::unsupported()));
            }
            let message = format!("column \"{name}\" does not exist");
            return Err(at(SqlError::new(SqlState::UNDEFINED_COLUMN, message)));
        };
        if scope.relations.iter().any(|relation| relation.alias == *alias) {
            let message = format!("column {alias}.{name} does not exist");
            return Err(at(SqlError::new(SqlState::UNDEFINED_COLUMN, message)));
        }
        if self.siblings.iter().any(|query| query.scope.relations.iter().any(|one| one.alias == *alias)) {
            return Err(at(out_of_reach(alias)));
        }
        Err(at(missing_from(alias, scope)))
    }
}

impl Binder<'_> {
    /// The column of a query around this one.
    fn outer_column(&self, alias: Option<&str>, name: &str) -> Result<Option<Expr>> {
        for query in self.outer.iter().rev() {
            if let Some(found) = query.scope.find(alias, name)? {
                return Ok(Some(found.transform(&mut |part| match part {
                    Expr::Column { index, pg_type } => Expr::Outer { scope: query.number, index, pg_type },
                    other => other,
                })));
            }
            if let Some(alias) = alias
                && query.scope.relations.iter().any(|relation| relation.alias == alias)
            {
                let message = format!("column {alias}.{name} does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
            }
        }
        Ok(None)
    }
}

/// 42P01 for a table.
fn missing_relation(name: &TableName) -> SqlError {
    let full = match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    };
    SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{full}\" does not exist")).at(name.position)
}

/// 42P01 for an alias.
pub(crate) fn missing_from(alias: &str, scope: &Scope) -> SqlError {
    if let Some(renamed) = scope.relations.iter().find(|relation| relation.table.as_deref() == Some(alias)) {
        let message = format!("invalid reference to FROM-clause entry for table \"{alias}\"");
        let hint = format!("Perhaps you meant to reference the table alias \"{}\".", renamed.alias);
        return SqlError::new(SqlState::UNDEFINED_TABLE, message).hint(hint);
    }
    if scope.outside.iter().any(|outside| outside == alias) {
        return out_of_reach(alias);
    }
    SqlError::new(SqlState::UNDEFINED_TABLE, format!("missing FROM-clause entry for table \"{alias}\""))
}

/// 42P01 for an alias that is in FROM, but not to be named there.
fn out_of_reach(alias: &str) -> SqlError {
    let message = format!("invalid reference to FROM-clause entry for table \"{alias}\"");
    let hint = format!(
        "There is an entry for table \"{alias}\", but it cannot be referenced from this part of the query."
    );
    SqlError::new(SqlState::UNDEFINED_TABLE, message).hint(hint)
}
