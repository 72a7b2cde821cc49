//! FROM: tables, subqueries and joins.
//!
//! A join's conditions are over the columns of its left side followed by those of its right side. Columns that USING or
//! NATURAL merge stay two columns of the input; the merged one is an expression over them that only names refer to.

use std::sync::Arc;

use omen_core::catalog::Table;
use sqlparser::ast::{self, JoinConstraint, JoinOperator, TableFactor};

use super::Binder;
use super::expr::{Aggregates, ExprScope};
use super::names::{Named, Relation, Scope, fold, parts};
use super::select::{BoundQuery, Untyped, scope_columns};
use super::subquery::OuterQuery;
use super::table_function::TableFunction;
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::logical::{Apply, ApplyKind, Join, JoinKind, Logical, ProjectSet, Scan};
use crate::parse::with_stack;

/// Most relations of one FROM. Plans are walked recursively, and join orders are compared pair by pair.
const RELATIONS_MAX: usize = 128;

/// What FROM gives.
pub(super) struct Source {
    /// The plan.
    pub(super) plan: Logical,
    /// Its columns.
    pub(super) scope: Scope,
    /// Its tables, with the positions of their first columns.
    pub(super) tables: Vec<(Arc<Table>, usize)>,
}

impl Source {
    /// The two sources side by side; the plan is the left one's alone.
    fn beside(self, right: Source) -> Result<(Source, Logical)> {
        let width = self.plan.types().len();
        let Source { plan, scope, mut tables } = self;
        if scope.relations.len() + right.scope.relations.len() > RELATIONS_MAX {
            let message = format!("FROM can have at most {RELATIONS_MAX} tables and subqueries");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        tables.extend(right.tables.into_iter().map(|(table, offset)| (table, offset + width)));
        let scope = scope.beside(right.scope.shifted(width))?;
        Ok((Source { plan, scope, tables }, right.plan))
    }

    /// All rows of one beside all rows of the other.
    pub(super) fn crossed(self, right: Source) -> Result<Source> {
        let (mut both, right) = self.beside(right)?;
        both.plan = Logical::Join(Box::new(Join::new(both.plan, right, JoinKind::Inner, Vec::new())));
        Ok(both)
    }
}

impl Source {
    /// With the rows of a function beside each row. `keeps_left`: rows without any are given with NULLs.
    fn with_function(self, function: TableFunction, keeps_left: bool) -> Result<Source> {
        if function.reads_left {
            let TableFunction { relation, calls, ordinality, .. } = function;
            let width = self.plan.types().len();
            let Source { plan, scope, tables } = self;
            let scope = scope.beside(Scope::of(relation).shifted(width))?;
            let set = ProjectSet { input: plan, calls, ordinality, keeps_input: keeps_left };
            return Ok(Source { plan: Logical::ProjectSet(Box::new(set)), scope, tables });
        }
        let (mut both, right) = self.beside(function.alone())?;
        let kind = if keeps_left { JoinKind::Left } else { JoinKind::Inner };
        both.plan = Logical::Join(Box::new(Join::new(both.plan, right, kind, Vec::new())));
        Ok(both)
    }
}

/// `ON TRUE`
fn is_true(constraint: &JoinConstraint) -> bool {
    matches!(constraint, JoinConstraint::On(ast::Expr::Value(value)) if value.value == ast::Value::Boolean(true))
}

impl Binder<'_> {
    /// A join; a dependent one if the right side reads the left one by that number.
    fn joined(
        &mut self,
        left: Logical,
        right: Logical,
        number: usize,
        kind: JoinKind,
        conjuncts: Vec<Expr>,
    ) -> Result<Logical> {
        if !right.reads_outer(number) {
            return Ok(Logical::Join(Box::new(Join::new(left, right, kind, conjuncts))));
        }
        let kind = match kind {
            JoinKind::Inner => ApplyKind::Inner(conjuncts),
            JoinKind::Left => ApplyKind::Left(conjuncts),
            _ => {
                let message = "invalid reference to FROM-clause entry in LATERAL";
                return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message)
                    .detail("The combining JOIN type must be INNER or LEFT for a LATERAL reference."));
            }
        };
        self.dependent(Apply { left, right, scope: number, kind })
    }

    /// Binds a FROM clause.
    ///
    /// # Errors
    /// All that names, conditions and subqueries report.
    pub(super) fn from(&mut self, from: &[ast::TableWithJoins]) -> Result<Source> {
        let siblings = std::mem::take(&mut self.siblings);
        let mut all: Option<Source> = None;
        for item in from {
            let outside: Vec<String> = all.iter().flat_map(|all| aliases(&all.scope)).collect();
            if item.joins.is_empty()
                && let Some(left) = &all
                && let Some(function) = self.table_function(&item.relation, Some(&left.scope))?
            {
                all = all.take().map(|left| left.with_function(function, false)).transpose()?;
                continue;
            }
            let scope = all.as_ref().map(|all| all.scope.clone());
            let (source, number) =
                self.beside_siblings(scope, |binder| binder.table_with_joins(item, &outside))?;
            all = Some(match all {
                None => source,
                Some(left) => {
                    let (mut both, right) = left.beside(source)?;
                    both.plan = self.joined(both.plan, right, number, JoinKind::Inner, Vec::new())?;
                    both
                }
            });
        }
        self.siblings = siblings;
        let nothing = || Source { plan: Logical::one_row(), scope: Scope::default(), tables: Vec::new() };
        Ok(all.unwrap_or_else(nothing))
    }

    /// A table with the joins that follow it. `outside`: what stands in FROM before it, which it cannot refer to.
    fn table_with_joins(&mut self, item: &ast::TableWithJoins, outside: &[String]) -> Result<Source> {
        let mut source = with_stack(|| self.table_factor(&item.relation, outside))?;
        for join in &item.joins {
            source = self.join(source, join, outside)?;
        }
        Ok(source)
    }

    fn join(&mut self, left: Source, join: &ast::Join, outside: &[String]) -> Result<Source> {
        let ast::Join { relation, global, join_operator } = join;
        self.not_postgres(*global, "GLOBAL")?;
        let Some((kind, constraint)) = kind_of(join_operator) else {
            let message = "syntax error: PostgreSQL has no such JOIN, or it lacks ON or USING";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        };
        let is_plain = matches!(constraint, JoinConstraint::None) || is_true(constraint);
        if is_plain
            && matches!(kind, JoinKind::Inner | JoinKind::Left)
            && let Some(function) = self.table_function(relation, Some(&left.scope))?
            && function.reads_left
        {
            return left.with_function(function, kind == JoinKind::Left);
        }
        let (right, number) = self.beside_siblings(Some(left.scope.clone()), |binder| {
            with_stack(|| binder.table_factor(relation, outside))
        })?;
        let columns = (left.scope.named(), right.scope.clone().shifted(left.plan.types().len()).named());
        let (mut both, right) = left.beside(right)?;
        let conjuncts = match constraint {
            JoinConstraint::None => Vec::new(),
            JoinConstraint::On(condition) => {
                let hidden = both.scope.outside.len();
                both.scope.outside.extend_from_slice(outside);
                let bound = self.expr(condition, &mut ExprScope::plain(&both.scope, "JOIN conditions"))?;
                both.scope.outside.truncate(hidden);
                self.build().condition(bound, "JOIN/ON")?.into_conjuncts()
            }
            JoinConstraint::Using(names) => {
                let mut using = Vec::with_capacity(names.len());
                for name in names {
                    using.push(parts(name)?.pop().unwrap_or_default());
                }
                self.merge(&mut both.scope, columns, &using, kind)?
            }
            JoinConstraint::Natural => {
                let has = |columns: &[Named], name: &str| columns.iter().any(|column| column.name == name);
                let mut using: Vec<String> = columns.0.iter().map(|column| column.name.clone()).collect();
                using.retain(|name| has(&columns.1, name));
                self.merge(&mut both.scope, columns, &using, kind)?
            }
        };
        both.plan = self.joined_on(both.plan, right, number, kind, conjuncts)?;
        Ok(both)
    }

    /// Binds what stands beside something that LATERAL may refer to. Answers the number by which it does.
    fn beside_siblings(
        &mut self,
        scope: Option<Scope>,
        bind: impl FnOnce(&mut Self) -> Result<Source>,
    ) -> Result<(Source, usize)> {
        let number = self.next_scope();
        let depth = self.siblings.len();
        self.siblings.extend(scope.map(|scope| OuterQuery {
            scope,
            number,
            aggregates: Aggregates::Forbidden,
            in_aggregate: false,
            clause: "FROM clause of their own query level",
        }));
        let bound = bind(self);
        self.siblings.truncate(depth);
        Ok((bound?, number))
    }

    /// A join under conditions that may have subqueries.
    fn joined_on(
        &mut self,
        left: Logical,
        right: Logical,
        number: usize,
        kind: JoinKind,
        conjuncts: Vec<Expr>,
    ) -> Result<Logical> {
        let (mut asking, plain): (Vec<Expr>, Vec<Expr>) =
            conjuncts.into_iter().partition(|conjunct| self.has_subqueries(conjunct));
        if asking.is_empty() {
            return self.joined(left, right, number, kind, plain);
        }
        let left_width = left.types().len();
        match kind {
            JoinKind::Inner => {
                let mut plan = self.joined(left, right, number, kind, plain)?;
                for conjunct in asking {
                    plan = self.filtered(plan, conjunct)?;
                }
                Ok(plan)
            }
            JoinKind::Left => {
                // Partners are the rows of the right side for which the conditions hold.
                let mut right = right;
                for mut conjunct in plain.into_iter().chain(asking.drain(..)) {
                    self.split_outer(&mut conjunct, left_width, number);
                    right = self.filtered(right, conjunct)?;
                }
                self.joined(left, right, number, JoinKind::Left, Vec::new())
            }
            _ => {
                let right_width = right.types().len();
                let conjuncts = plain.into_iter().chain(asking).collect();
                let (left, right, conjuncts) = self.attach_to_sides(left, right, conjuncts)?;
                let first_right = left.types().len();
                let plan = self.joined(left, right, number, kind, conjuncts)?;
                let types = plan.types();
                let kept = (0..left_width).chain(first_right..first_right + right_width);
                let exprs = kept.map(|index| Expr::Column { index, pg_type: types[index] }).collect();
                Ok(Logical::Project { input: Box::new(plan), exprs })
            }
        }
    }

    /// Merges the columns of these names; answers that they are equal.
    fn merge(
        &mut self,
        scope: &mut Scope,
        (mut left, mut right): (Vec<Named>, Vec<Named>),
        using: &[String],
        kind: JoinKind,
    ) -> Result<Vec<Expr>> {
        let (mut columns, mut conjuncts) = (Vec::new(), Vec::with_capacity(using.len()));
        for (position, name) in using.iter().enumerate() {
            if using[..position].contains(name) {
                let message = format!("column name \"{name}\" appears more than once in USING clause");
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
            }
            let (a, b) = (common(&left, name, "left")?, common(&right, name, "right")?);
            columns.push(Named { name: name.clone(), expr: self.merged_column(a.clone(), b.clone(), kind)? });
            conjuncts.push(self.build().operator("=", a, b)?);
        }
        let is_merged = |column: &Named| using.contains(&column.name);
        left.retain(|column| !is_merged(column));
        right.retain(|column| !is_merged(column));
        columns.extend(left);
        columns.extend(right);
        scope.merged = Some(columns);
        Ok(conjuncts)
    }

    /// What a merged column is (`buildMergedJoinVar` of PostgreSQL).
    fn merged_column(&mut self, left: Expr, right: Expr, kind: JoinKind) -> Result<Expr> {
        let (mut sides, _) = self.build().unify("JOIN/USING", vec![left, right])?;
        if kind == JoinKind::Full {
            return Ok(Expr::Coalesce(sides));
        }
        let is_column = |side: &Expr| matches!(side, Expr::Column { .. });
        let take_right = match kind {
            JoinKind::Right => true,
            JoinKind::Inner => !is_column(&sides[0]) && is_column(&sides[1]),
            _ => false,
        };
        Ok(sides.swap_remove(usize::from(take_right)))
    }

    fn table_factor(&mut self, factor: &TableFactor, outside: &[String]) -> Result<Source> {
        if let Some(function) = self.table_function(factor, None)? {
            return Ok(function.alone());
        }
        match factor {
            TableFactor::Table { name, alias, .. } => {
                self.refuse_table_extras(factor)?;
                if let Some(alias) = alias {
                    self.check_alias(&alias.name)?;
                }
                if let Some(source) = self.file(name, alias.as_ref())? {
                    return Ok(source);
                }
                let name = self.table_name(name)?;
                if name.schema.is_none()
                    && let Some(bound) = self.cte(&name.name)?
                {
                    return query_source(bound, name.name, alias.as_ref());
                }
                let table = self.table(&name)?;
                let shown = alias.as_ref().map_or_else(|| name.name.clone(), |alias| fold(&alias.name));
                let mut relation = Relation::of_table(&table, shown, 0);
                rename(&mut relation, alias.as_ref())?;
                let plan = Logical::Scan(Scan::whole(table.clone()));
                Ok(Source { plan, scope: Scope::of(relation), tables: vec![(table, 0)] })
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                self.not_postgres(sample.is_some(), "a sample of a subquery")?;
                let Some(alias) = alias else {
                    let error = SqlError::new(SqlState::SYNTAX_ERROR, "subquery in FROM must have an alias");
                    return Err(error.hint("For example, FROM (SELECT ...) [AS] foo."));
                };
                let around = self.outer.len();
                if *lateral {
                    self.outer.extend(self.siblings.iter().cloned());
                }
                let bound = self.query(subquery, Untyped::Text);
                self.outer.truncate(around);
                query_source(bound?, String::new(), Some(alias))
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let source = self.table_with_joins(table_with_joins, outside)?;
                match alias {
                    None => Ok(source),
                    Some(alias) => renamed_join(source, alias),
                }
            }
            _ => {
                let hint = "FROM can name tables, subqueries and functions.";
                Err(SqlError::unsupported("this kind of table", hint))
            }
        }
    }

    /// Refuses what may stand beside a table's name.
    pub(crate) fn refuse_table_extras(&self, factor: &TableFactor) -> Result<()> {
        let TableFactor::Table {
            name: _,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } = factor
        else {
            return Ok(());
        };
        self.not_postgres(args.is_some() || *with_ordinality, "a function here")?;
        self.refuse(sample.is_some(), "TABLESAMPLE", "Filter by random() instead.")?;
        let foreign = !with_hints.is_empty()
            || version.is_some()
            || !partitions.is_empty()
            || json_path.is_some()
            || !index_hints.is_empty()
            || alias.as_ref().is_some_and(|alias| alias.at.is_some());
        self.not_postgres(foreign, "this form of a table")
    }
}

fn aliases(scope: &Scope) -> impl Iterator<Item = String> + '_ {
    scope.relations.iter().map(|relation| relation.alias.clone())
}

/// The kind of a join that PostgreSQL has, and its condition.
fn kind_of(operator: &JoinOperator) -> Option<(JoinKind, &JoinConstraint)> {
    let (kind, constraint) = match operator {
        JoinOperator::CrossJoin(JoinConstraint::None) => {
            return Some((JoinKind::Inner, &JoinConstraint::None));
        }
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (JoinKind::Inner, constraint),
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinKind::Left, constraint),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            (JoinKind::Right, constraint)
        }
        JoinOperator::FullOuter(constraint) => (JoinKind::Full, constraint),
        _ => return None,
    };
    (*constraint != JoinConstraint::None).then_some((kind, constraint))
}

/// A query under a name, or the alias that it has.
fn query_source(bound: BoundQuery, name: String, alias: Option<&ast::TableAlias>) -> Result<Source> {
    let mut relation = Relation {
        alias: alias.map_or(name, |alias| fold(&alias.name)),
        table: None,
        columns: scope_columns(&bound.columns),
        offset: 0,
    };
    rename(&mut relation, alias)?;
    Ok(Source { plan: bound.plan, scope: Scope::of(relation), tables: Vec::new() })
}

/// A join in parentheses with an alias is one relation: what it is made of cannot be named any more.
fn renamed_join(source: Source, alias: &ast::TableAlias) -> Result<Source> {
    let named = source.scope.named();
    let columns = named.iter().map(|column| super::names::ScopeColumn {
        name: column.name.clone(),
        pg_type: column.expr.pg_type(),
        origin: match column.expr {
            Expr::Column { index, .. } => source.scope.column_at(index).and_then(|(_, column)| column.origin),
            _ => None,
        },
        hidden: false,
    });
    let mut relation =
        Relation { alias: fold(&alias.name), table: None, columns: columns.collect(), offset: 0 };
    rename_columns(&mut relation, alias, "join expression")?;
    let exprs = named.into_iter().map(|column| column.expr).collect();
    let plan = Logical::Project { input: Box::new(source.plan), exprs };
    let scope = Scope { outside: aliases(&source.scope).collect(), ..Scope::of(relation) };
    Ok(Source { plan, scope, tables: Vec::new() })
}

/// The one column of a name that USING merges.
fn common(columns: &[Named], name: &str, side: &str) -> Result<Expr> {
    let mut named = columns.iter().filter(|column| column.name == name);
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one.expr.clone()),
        (None, _) => {
            let message =
                format!("column \"{name}\" specified in USING clause does not exist in {side} table");
            Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message))
        }
        (Some(_), Some(_)) => {
            let message = format!("common column name \"{name}\" appears more than once in {side} table");
            Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message))
        }
    }
}

/// Gives columns the names of an alias: `AS t (a, b)`.
pub(super) fn rename(relation: &mut Relation, alias: Option<&ast::TableAlias>) -> Result<()> {
    alias.map_or(Ok(()), |alias| rename_columns(relation, alias, "table"))
}

fn rename_columns(relation: &mut Relation, alias: &ast::TableAlias, what: &str) -> Result<()> {
    let visible = relation.columns.iter().filter(|column| !column.hidden).count();
    if alias.columns.len() > visible {
        let message = format!(
            "{what} \"{}\" has {visible} columns available but {} columns specified",
            relation.alias,
            alias.columns.len()
        );
        return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
    }
    for (column, name) in relation.columns.iter_mut().zip(&alias.columns) {
        if name.data_type.is_some() {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                "a column definition list is only allowed for functions returning \"record\"",
            ));
        }
        column.name = fold(&name.name);
    }
    Ok(())
}
