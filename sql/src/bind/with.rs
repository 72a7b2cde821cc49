//! WITH.
//!
//! A query of WITH is bound where it stands. What refers to it reads a shared table by number. A table that is read
//! once, and not MATERIALIZED, takes the place of its reader in the end; others are computed before the statement,
//! once. A query that reads the rows of queries around it is repeated wherever it is read.

use sqlparser::ast::{self, CteAsMaterialized, SetExpr, SetOperator, SetQuantifier};

use super::Binder;
use super::names::fold;
use super::select::{BoundQuery, Untyped, comparable};
use super::subquery::{InitialKind, InitialSource, InitialValue};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::logical::{Logical, Recursive};
use crate::rules::is_volatile;
use crate::session::ColumnInfo;

/// A query of WITH that can be named.
#[derive(Clone, Debug)]
pub(super) struct Cte {
    pub(super) name: String,
    columns: Vec<ColumnInfo>,
    source: CteSource,
}

#[derive(Clone, Debug)]
enum CteSource {
    /// A shared table.
    Table(usize),
    /// A plan that reads rows of queries around it.
    Plan(Logical),
    /// The query that is being bound: its rows of the last step, with the number of queries around it then.
    Working { table: usize, level: usize },
    /// A write that returns nothing.
    Silent,
    /// The query that is being bound cannot be named, for this reason.
    Refused(&'static str),
}

/// A table that parts of a statement share.
#[derive(Clone, Debug)]
pub(super) struct SharedTable {
    readers: usize,
    materialized: Option<bool>,
    plan: Option<Logical>,
}

impl SharedTable {
    /// Whether the plan takes the place of its only reader.
    fn is_inlined(&self) -> bool {
        match (self.materialized, &self.plan) {
            (Some(true), _) | (_, None) => false,
            (Some(false), Some(plan)) => self.readers == 1 || !has_volatile(plan),
            (None, Some(plan)) => self.readers == 1 && !has_volatile(plan),
        }
    }
}

impl Binder<'_> {
    /// Binds a WITH clause; answers how many names there were before.
    pub(crate) fn with(&mut self, with: Option<&ast::With>) -> Result<usize> {
        let before = self.ctes.len();
        let may_write = std::mem::take(&mut self.is_top);
        let Some(with) = with else { return Ok(before) };
        let mut names: Vec<String> = Vec::new();
        for cte in &with.cte_tables {
            let ast::Cte { alias, query, from, materialized, closing_paren_token: _ } = cte;
            self.not_postgres(from.is_some(), "FROM behind WITH")?;
            let name = fold(&alias.name);
            if names.contains(&name) {
                let message = format!("WITH query name \"{name}\" specified more than once");
                return Err(SqlError::new(SqlState::DUPLICATE_ALIAS, message).at(self.place_of(&alias.name)));
            }
            names.push(name.clone());
            if let Some(statement) = write_of(query) {
                if !may_write {
                    let message =
                        "WITH clause containing a data-modifying statement must be at the top level";
                    let error = SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message);
                    return Err(error.at(self.place_of(&alias.name)));
                }
                let cte = self.writing_cte(name, alias, query, statement)?;
                self.ctes.push(cte);
                continue;
            }
            let bound = if with.recursive {
                self.recursive_query(&name, alias, query)?
            } else {
                let mut bound = self.query(query, Untyped::Text)?;
                self.rename_columns(&name, &mut bound.columns, alias)?;
                bound
            };
            let BoundQuery { plan, mut columns } = bound;
            columns.iter_mut().for_each(|column| column.table = None);
            let materialized = materialized.as_ref().map(|m| *m == CteAsMaterialized::Materialized);
            let source = if plan.is_correlated() {
                CteSource::Plan(plan)
            } else {
                CteSource::Table(self.initial_table(materialized, plan))
            };
            self.ctes.push(Cte { name, columns, source });
        }
        Ok(before)
    }

    fn add_table(&mut self, materialized: Option<bool>, plan: Option<Logical>) -> usize {
        self.tables.push(SharedTable { readers: 0, materialized, plan });
        self.tables.len() - 1
    }

    /// A table that is computed before the statement, if anybody reads it.
    fn initial_table(&mut self, materialized: Option<bool>, plan: Logical) -> usize {
        let table = self.add_table(materialized, Some(plan));
        let source = InitialSource::Table;
        self.initial.push(InitialValue { parameter: table, source, kind: InitialKind::Table });
        table
    }

    /// A query of WITH that changes rows, and is named for what it returns.
    fn writing_cte(
        &mut self,
        name: String,
        alias: &ast::TableAlias,
        query: &ast::Query,
        statement: &ast::Statement,
    ) -> Result<Cte> {
        let around = self.with(query.with.as_ref())?;
        let write = self.write(statement);
        self.ctes.truncate(around);
        let Some(write) = write? else {
            return Err(SqlError::unsupported("MERGE", "Use INSERT .. ON CONFLICT, UPDATE and DELETE."));
        };
        let mut columns = write.returning().map_or_else(Vec::new, |returning| returning.columns.clone());
        let returns = write.returning().is_some();
        columns.iter_mut().for_each(|column| column.table = None);
        if returns {
            self.rename_columns(&name, &mut columns, alias)?;
        }
        let table = self.add_table(Some(true), None);
        let source = InitialSource::Write(write);
        self.initial.push(InitialValue { parameter: table, source, kind: InitialKind::Table });
        let source = if returns { CteSource::Table(table) } else { CteSource::Silent };
        Ok(Cte { name, columns, source })
    }

    /// The rows of a plan that reads no query around it, computed once whoever reads them.
    pub(super) fn shared(&mut self, plan: Logical) -> Logical {
        let types = plan.types();
        let table = self.initial_table(Some(true), plan);
        self.tables[table].readers += 1;
        Logical::Shared { table, types }
    }

    fn rename_columns(&self, name: &str, columns: &mut [ColumnInfo], alias: &ast::TableAlias) -> Result<()> {
        if alias.columns.len() > columns.len() {
            let message = format!(
                "WITH query \"{name}\" has {} columns available but {} columns specified",
                columns.len(),
                alias.columns.len()
            );
            let error = SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message);
            return Err(error.at(self.place_of(&alias.name)));
        }
        for (column, name) in columns.iter_mut().zip(&alias.columns) {
            column.name = fold(&name.name);
        }
        Ok(())
    }

    /// A query of WITH RECURSIVE, which need not be recursive.
    fn recursive_query(
        &mut self,
        name: &str,
        alias: &ast::TableAlias,
        query: &ast::Query,
    ) -> Result<BoundQuery> {
        let before = self.ctes.len();
        let refused =
            |reason| Cte { name: name.to_owned(), columns: Vec::new(), source: CteSource::Refused(reason) };
        let SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right } = &*query.body
        else {
            self.ctes.push(refused("does not have the form non-recursive-term UNION [ALL] recursive-term"));
            let bound = self.query(query, Untyped::Text);
            self.ctes.truncate(before);
            let mut bound = bound?;
            self.rename_columns(name, &mut bound.columns, alias)?;
            return Ok(bound);
        };
        let inner = self.with(query.with.as_ref())?;
        self.ctes.push(refused("must not appear within its non-recursive term"));
        let base = self.body(left, None, Untyped::Text);
        self.ctes.pop();
        let mut base = base?;
        self.rename_columns(name, &mut base.columns, alias)?;
        let working = self.add_table(None, None);
        let source = CteSource::Working { table: working, level: self.outer.len() };
        let columns = base.columns.clone();
        self.ctes.push(Cte { name: name.to_owned(), columns, source });
        let step = self.body(right, None, Untyped::Keep);
        self.ctes.truncate(inner.min(before));
        let step = step?;
        match self.tables[working].readers {
            0 => {
                // Not recursive at all.
                let mut bound = self.query(query, Untyped::Text)?;
                self.rename_columns(name, &mut bound.columns, alias)?;
                return Ok(bound);
            }
            1 => {}
            _ => return Err(recursive_reference(name, "must not appear more than once")),
        }
        let there = query.order_by.is_some();
        self.refuse_in_recursion(there, "ORDER BY")?;
        self.refuse_in_recursion(query.limit_clause.is_some() || query.fetch.is_some(), "LIMIT")?;
        let distinct = *set_quantifier != SetQuantifier::All;
        self.recursion(name, base, step, working, distinct)
    }

    fn refuse_in_recursion(&self, there: bool, what: &str) -> Result<()> {
        let message = format!("{what} in a recursive query is not implemented");
        if there { Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)) } else { Ok(()) }
    }

    /// Puts the two terms of a recursive query together.
    fn recursion(
        &mut self,
        name: &str,
        base: BoundQuery,
        step: BoundQuery,
        working: usize,
        distinct: bool,
    ) -> Result<BoundQuery> {
        if base.columns.len() != step.columns.len() {
            let message = "each UNION query must have the same number of columns";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        let mut exprs = Vec::with_capacity(base.columns.len());
        for (index, (known, added)) in base.columns.iter().zip(&step.columns).enumerate() {
            if distinct {
                comparable(known.pg_type, "an equality")?;
            }
            let own = Expr::Column { index, pg_type: known.pg_type };
            let column = match column_of(&step.plan, index) {
                Some(untyped @ (Expr::Unknown(_) | Expr::UntypedParameter(_))) => untyped,
                _ => Expr::Column { index, pg_type: added.pg_type },
            };
            let (mut sides, overall) = self.build().unify("UNION", vec![own, column])?;
            if overall.base() != known.pg_type.base() {
                let message = format!(
                    "recursive query \"{name}\" column {} has type {} in non-recursive term but type {overall} overall",
                    index + 1,
                    known.pg_type
                );
                return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                    .hint("Cast the output of the non-recursive term to the correct type."));
            }
            exprs.push(sides.remove(1));
        }
        let step = Logical::Project { input: Box::new(step.plan), exprs };
        let recursive = Recursive { base: base.plan, step, working, distinct };
        let plan = Logical::Recursive(Box::new(recursive));
        Ok(BoundQuery { plan, columns: base.columns })
    }

    /// What a name of WITH stands for, if it is one.
    pub(super) fn cte(&mut self, name: &str) -> Result<Option<BoundQuery>> {
        let Some(cte) = self.ctes.iter().rev().find(|cte| cte.name == name) else { return Ok(None) };
        let Cte { columns, source, .. } = cte.clone();
        let types = columns.iter().map(|column| column.pg_type).collect();
        let plan = match source {
            CteSource::Plan(plan) => plan,
            CteSource::Table(table) => {
                self.tables[table].readers += 1;
                Logical::Shared { table, types }
            }
            CteSource::Working { level, .. } if level < self.outer.len() => {
                return Err(recursive_reference(name, "must not appear within a subquery"));
            }
            CteSource::Working { table, .. } => {
                self.tables[table].readers += 1;
                Logical::Shared { table, types }
            }
            CteSource::Silent => {
                let message = format!("WITH query \"{name}\" does not have a RETURNING clause");
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            CteSource::Refused(reason) if reason.starts_with("does") => {
                let message = format!("recursive query \"{name}\" {reason}");
                return Err(SqlError::new(SqlState::INVALID_RECURSION, message));
            }
            CteSource::Refused(reason) => return Err(recursive_reference(name, reason)),
        };
        Ok(Some(BoundQuery { plan, columns }))
    }

    /// The plan with the tables in it that nobody else reads.
    pub(crate) fn with_tables(&self, plan: Logical) -> Logical {
        if self.tables.is_empty() {
            return plan;
        }
        crate::parse::with_stack(|| match plan {
            Logical::Shared { table, .. } if self.tables[table].is_inlined() => {
                match self.tables[table].plan.clone() {
                    Some(plan) => self.with_tables(plan),
                    None => plan,
                }
            }
            mut plan => {
                plan.change_inputs(|input| self.with_tables(input));
                plan
            }
        })
    }

    /// The plan of a shared table, if it is to be computed.
    pub(crate) fn shared_table(&self, table: usize) -> Option<Logical> {
        let shared = &self.tables[table];
        if shared.readers == 0 || shared.is_inlined() {
            return None;
        }
        shared.plan.clone().map(|plan| self.with_tables(plan))
    }
}

/// The INSERT, UPDATE, DELETE or MERGE that stands for a query.
pub(crate) fn write_of(query: &ast::Query) -> Option<&ast::Statement> {
    match query.body.as_ref() {
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => Some(statement),
        _ => None,
    }
}

/// A column that a plan gives as a literal.
fn column_of(plan: &Logical, index: usize) -> Option<Expr> {
    match plan {
        Logical::Project { exprs, .. } => exprs.get(index).cloned(),
        _ => None,
    }
}

/// Whether evaluating the plan again may give other rows.
pub(super) fn has_volatile(plan: &Logical) -> bool {
    let mut found = false;
    plan.visit_exprs(&mut |part| found |= matches!(part, Expr::Call { .. }) && is_volatile(part));
    found
}

fn recursive_reference(name: &str, reason: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_RECURSION, format!("recursive reference to query \"{name}\" {reason}"))
}
