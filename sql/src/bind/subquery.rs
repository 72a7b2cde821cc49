//! Subqueries inside expressions, and what they may read of the queries around them.
//!
//! A subquery that reads nothing of the queries around it is computed once, before the statement runs, and is a
//! parameter from then on; `IN` and the like are, if that holds for both sides. All others become dependent joins: an
//! expression refers to its subquery by number until the plan below the expression is known. Then
//! [`Binder::attach`] puts a dependent join there, which adds a column, and that column takes the subquery's place.

use omen_core::types::{ArrayValue, PgType};
use sqlparser::ast::{self, Expr as Ast};

use super::expr::{Aggregates, ExprScope, bare};
use super::group::{not_grouped, over_groups};
use super::modify::Write;
use super::names::Scope;
use super::select::{BoundQuery, Untyped};
use super::with::has_volatile;
use super::{Binder, LateKind, LateValue};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::logical::{Aggregate, Apply, ApplyKind, Logical};
use crate::parse::too_deep;

/// Most queries around a subquery.
const LEVELS_MAX: usize = 32;

/// In conditions: the row of the subquery's answer.
const ANSWER: usize = usize::MAX;

/// A query that subqueries may refer to.
#[derive(Clone, Debug)]
pub(super) struct OuterQuery {
    /// Its columns.
    pub(super) scope: Scope,
    /// The number of the subquery that is being bound.
    pub(super) number: usize,
    /// Its aggregates: those of its columns alone are its own wherever they are called.
    pub(super) aggregates: Aggregates,
    /// The subquery is inside an argument of one.
    pub(super) in_aggregate: bool,
    /// The clause that the subquery is in.
    pub(super) clause: &'static str,
}

/// A subquery that is not part of a plan yet.
#[derive(Clone, Debug)]
pub(super) struct Subquery {
    plan: Logical,
    scope: usize,
    kind: SubqueryKind,
    /// It reads groups, not rows.
    is_grouped: bool,
}

#[derive(Clone, Debug)]
enum SubqueryKind {
    Scalar,
    /// EXISTS, or with a condition: ANY.
    Mark(Option<Expr>),
}

/// A subquery that is computed once.
#[derive(Clone, Debug)]
pub(crate) struct InitialValue {
    /// The parameter that takes its answer, or the table.
    pub(crate) parameter: usize,
    /// What is computed.
    pub(crate) source: InitialSource,
    /// What its answer is.
    pub(crate) kind: InitialKind,
}

/// What is computed once.
#[derive(Clone, Debug)]
pub(crate) enum InitialSource {
    /// A subquery.
    Query(Logical),
    /// A query of WITH that the binder keeps until it is known who reads it.
    Table,
    /// A write of WITH; its answer is what it returns.
    Write(Write),
}

/// What is computed once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InitialKind {
    /// A value; NULL if there is no row.
    Value,
    /// Whether there is a row.
    Exists,
    /// A table that parts of the statement share.
    Table,
}

/// How `op` compares with the rows of a subquery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    Any,
    All,
}

impl Binder<'_> {
    /// Binds a query that may read the rows of `scope`, and call aggregates of them. Answers the number by which it does.
    pub(super) fn inner_query(
        &mut self,
        query: &ast::Query,
        scope: &mut ExprScope<'_>,
    ) -> Result<(BoundQuery, usize)> {
        if self.outer.len() >= LEVELS_MAX {
            return Err(too_deep());
        }
        let number = self.next_scope();
        self.outer.push(OuterQuery {
            scope: scope.columns.clone(),
            number,
            aggregates: std::mem::replace(&mut scope.aggregates, Aggregates::Forbidden),
            in_aggregate: scope.in_aggregate,
            clause: scope.clause,
        });
        let bound = self.query(query, Untyped::Text);
        if let Some(outer) = self.outer.pop() {
            scope.aggregates = outer.aggregates;
        }
        Ok((bound?, number))
    }

    /// A number that no other dependent join has.
    pub(super) fn next_scope(&mut self) -> usize {
        self.scopes += 1;
        self.scopes - 1
    }

    /// `(SELECT ..)` as a value.
    pub(super) fn scalar_subquery(&mut self, query: &ast::Query, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let (bound, number) = self.inner_query(query, scope)?;
        only_column(&bound)?;
        self.scalar(bound.plan, number)
    }

    /// `ARRAY(SELECT ..)`: the rows of the only column in their order; none are an empty array.
    pub(super) fn array_subquery(&mut self, query: &ast::Query, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let (bound, number) = self.inner_query(query, scope)?;
        let element = only_column(&bound)?;
        let call =
            self.build().aggregate("array_agg", vec![Expr::Column { index: 0, pg_type: element }], false)?;
        let pg_type = call.pg_type;
        let aggregates = vec![Aggregate { call, filter: None }];
        let input = Logical::Aggregate { input: Box::new(bound.plan), groups: Vec::new(), aggregates };
        let empty = ArrayValue::empty(element.element().unwrap_or(element)).into_datum();
        let values = vec![Expr::Column { index: 0, pg_type }, Expr::Literal { value: empty, pg_type }];
        let plan = Logical::Project { input: Box::new(input), exprs: vec![Expr::Coalesce(values)] };
        self.scalar(plan, number)
    }

    /// The columns of `(SELECT ..)` as values.
    pub(super) fn row_subquery(
        &mut self,
        query: &ast::Query,
        scope: &mut ExprScope<'_>,
    ) -> Result<Vec<Expr>> {
        let (bound, _) = self.inner_query(query, scope)?;
        let mut columns = Vec::with_capacity(bound.columns.len());
        for index in 0..bound.columns.len() {
            // Each column is a subquery of its own, with a number of its own.
            let (BoundQuery { plan, columns: infos }, number) = self.inner_query(query, scope)?;
            let column = Expr::Column { index, pg_type: infos[index].pg_type };
            let plan = Logical::Project { input: Box::new(plan), exprs: vec![column] };
            columns.push(self.scalar(plan, number)?);
        }
        Ok(columns)
    }

    fn scalar(&mut self, plan: Logical, number: usize) -> Result<Expr> {
        let pg_type = plan.types()[0];
        if !plan.is_correlated() {
            return Ok(self.initial_value(plan, false, pg_type));
        }
        self.add_subquery(plan, number, SubqueryKind::Scalar, pg_type)
    }

    /// `EXISTS (SELECT ..)`
    pub(super) fn exists(
        &mut self,
        query: &ast::Query,
        negated: bool,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let (bound, number) = self.inner_query(query, scope)?;
        let exists = match bound.plan.is_correlated() {
            false => self.initial_value(bound.plan, true, PgType::Bool),
            true => self.add_subquery(bound.plan, number, SubqueryKind::Mark(None), PgType::Bool)?,
        };
        if negated { self.build().not(exists) } else { Ok(exists) }
    }

    /// `arg op ANY (SELECT ..)` and `arg op ALL (SELECT ..)`; `arg` may be a row.
    pub(super) fn quantified(
        &mut self,
        arg: &Ast,
        op: &str,
        quantifier: Quantifier,
        query: &ast::Query,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        let left = match bare(arg) {
            Ast::Tuple(parts) => self.exprs(parts, scope)?,
            one => vec![self.expr(one, scope)?],
        };
        let (bound, number) = self.inner_query(query, scope)?;
        let message = match bound.columns.len().cmp(&left.len()) {
            std::cmp::Ordering::Less => "subquery has too few columns",
            std::cmp::Ordering::Greater => "subquery has too many columns",
            std::cmp::Ordering::Equal => "",
        };
        if !message.is_empty() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        // x op ALL is: there is no row for which not x op holds.
        let (op, each_negated) = match (quantifier, op) {
            (Quantifier::All, "<>") => ("=", false),
            (Quantifier::All, op) => (op, true),
            (Quantifier::Any, op) => (op, false),
        };
        let mut parts = Vec::with_capacity(left.len());
        for (index, (left, column)) in left.into_iter().zip(&bound.columns).enumerate() {
            let right = Expr::Outer { scope: ANSWER, index, pg_type: column.pg_type };
            let part = self.build().operator(op, left, right)?;
            if part.pg_type() != PgType::Bool {
                let message = "op ANY/ALL (subquery) requires operator to yield boolean";
                return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
            }
            parts.push(part);
        }
        let mut condition = match parts.len() {
            1 => parts.remove(0),
            _ if op == "=" => self.build().and(parts)?,
            _ if op == "<>" => self.build().or(parts)?,
            _ => {
                let hint = "Compare the columns one by one.";
                return Err(SqlError::unsupported(format!("operator {op} on rows of a subquery"), hint));
            }
        };
        if each_negated {
            condition = self.build().not(condition)?;
        }
        let found = self.mark(bound.plan, number, condition)?;
        if quantifier == Quantifier::All { self.build().not(found) } else { Ok(found) }
    }

    fn mark(&mut self, plan: Logical, number: usize, condition: Expr) -> Result<Expr> {
        let mut is_free = !plan.is_correlated();
        condition.visit(&mut |part| {
            is_free &= match part {
                Expr::Column { .. } | Expr::Subquery { .. } => false,
                Expr::Outer { scope, .. } => *scope == ANSWER,
                _ => true,
            }
        });
        if !is_free {
            return self.add_subquery(plan, number, SubqueryKind::Mark(Some(condition)), PgType::Bool);
        }
        let kind = ApplyKind::Mark(Some(over_answer(condition, 0)));
        let apply = Apply { left: Logical::one_row(), right: plan, scope: number, kind };
        Ok(self.initial_value(Logical::Apply(Box::new(apply)), false, PgType::Bool))
    }

    fn add_subquery(
        &mut self,
        plan: Logical,
        scope: usize,
        kind: SubqueryKind,
        pg_type: PgType,
    ) -> Result<Expr> {
        self.subqueries.push(Subquery { plan, scope, kind, is_grouped: false });
        Ok(Expr::Subquery { id: self.subqueries.len() - 1, pg_type })
    }

    fn initial_value(&mut self, plan: Logical, exists: bool, pg_type: PgType) -> Expr {
        self.late.push(LateValue { kind: LateKind::Subquery, args: Vec::new() });
        let parameter = self.parameter_count + self.late.len() - 1;
        let kind = if exists { InitialKind::Exists } else { InitialKind::Value };
        self.initial.push(InitialValue { parameter, source: InitialSource::Query(plan), kind });
        Expr::Parameter { index: parameter, pg_type }
    }

    /// The plan with a column more for each subquery of the expressions, which read these columns then.
    pub(super) fn attach(&mut self, mut plan: Logical, exprs: &mut [&mut Expr]) -> Result<Logical> {
        if self.subqueries.is_empty() {
            return Ok(plan);
        }
        let mut known = Vec::new();
        for expr in exprs {
            plan = self.attach_one(plan, expr, &mut known)?;
        }
        Ok(plan)
    }

    fn attach_one(
        &mut self,
        mut plan: Logical,
        expr: &mut Expr,
        known: &mut Vec<(usize, Expr)>,
    ) -> Result<Logical> {
        for id in subqueries_of(expr) {
            if known.iter().any(|(other, _)| *other == id) {
                continue;
            }
            let Subquery { plan: right, scope, kind, .. } = self.subqueries[id].clone();
            let kind = match kind {
                SubqueryKind::Scalar => ApplyKind::Single,
                SubqueryKind::Mark(None) => ApplyKind::Mark(None),
                SubqueryKind::Mark(Some(mut condition)) => {
                    plan = self.attach_one(plan, &mut condition, known)?;
                    ApplyKind::Mark(Some(over_answer(condition, plan.types().len())))
                }
            };
            plan = self.dependent(Apply { left: plan, right, scope, kind })?;
            let types = plan.types();
            let index = types.len() - 1;
            known.push((id, Expr::Column { index, pg_type: types[index] }));
        }
        let old = std::mem::replace(expr, Expr::Unknown(None));
        *expr = old.transform(&mut |part| match &part {
            Expr::Subquery { id, .. } => match known.iter().find(|(other, _)| other == id) {
                Some((_, column)) => column.clone(),
                None => part,
            },
            _ => part,
        });
        Ok(plan)
    }

    /// Two inputs of a join, each with a column more for each subquery of the conditions that reads it alone; and the
    /// conditions over both, which read these columns then.
    ///
    /// # Errors
    /// 0A000 for a subquery that reads both.
    pub(super) fn attach_to_sides(
        &mut self,
        mut left: Logical,
        mut right: Logical,
        conjuncts: Vec<Expr>,
    ) -> Result<(Logical, Logical, Vec<Expr>)> {
        let width = left.types().len();
        // Columns of the right side are counted from here until it is known where they begin.
        const RIGHT: usize = 1 << 32;
        let mut known: Vec<(usize, Expr)> = Vec::new();
        for id in conjuncts.iter().flat_map(subqueries_of).collect::<Vec<usize>>() {
            if known.iter().any(|(other, _)| *other == id) {
                continue;
            }
            let mut asked = Expr::Subquery { id, pg_type: PgType::Bool };
            let mut reads = [false; 2];
            for column in self.outer_columns(&asked) {
                column.visit(&mut |part| {
                    if let Expr::Column { index, .. } = part {
                        reads[usize::from(*index >= width)] = true;
                    }
                });
            }
            let first = match reads {
                [true, true] => {
                    let what = "a subquery in the condition of a RIGHT or FULL JOIN that reads both sides";
                    return Err(SqlError::unsupported(what, "Write it as a LEFT JOIN."));
                }
                [_, false] => 0,
                [false, true] => width,
            };
            self.shift_outer(id, first);
            let side = if first == 0 { &mut left } else { &mut right };
            let plan = std::mem::replace(side, Logical::one_row());
            *side = self.attach(plan, &mut [&mut asked])?;
            if let Expr::Column { index, .. } = &mut asked
                && first > 0
            {
                *index += RIGHT;
            }
            known.push((id, asked));
        }
        let first_right = left.types().len();
        let over_both = |expr: Expr| {
            expr.transform(&mut |part| match part {
                Expr::Subquery { id, .. } => match known.iter().find(|(other, _)| *other == id) {
                    Some((_, Expr::Column { index, pg_type })) if *index >= RIGHT => {
                        Expr::Column { index: index - RIGHT + first_right, pg_type: *pg_type }
                    }
                    Some((_, column)) => column.clone(),
                    None => part,
                },
                Expr::Column { index, pg_type } if index >= width => {
                    Expr::Column { index: index - width + first_right, pg_type }
                }
                _ => part,
            })
        };
        Ok((left, right, conjuncts.into_iter().map(over_both).collect()))
    }

    /// Makes a subquery read the columns of a row that begins so many columns later.
    fn shift_outer(&mut self, id: usize, by: usize) {
        let Subquery { plan, scope: number, kind, .. } = &mut self.subqueries[id];
        plan.transform_exprs(&mut |part| match part {
            Expr::Outer { scope, index, pg_type } if scope == *number => {
                Expr::Outer { scope, index: index - by, pg_type }
            }
            other => other,
        });
        let SubqueryKind::Mark(Some(condition)) = kind else { return };
        let mut inner = subqueries_of(condition);
        let old = std::mem::replace(condition, Expr::Unknown(None));
        *condition = old.transform(&mut |part| match part {
            Expr::Column { index, pg_type } => Expr::Column { index: index - by, pg_type },
            other => other,
        });
        inner.drain(..).for_each(|id| self.shift_outer(id, by));
    }

    /// A dependent join. Unnesting may read its left side twice, so one that would give other rows is shared.
    ///
    /// # Errors
    /// 0A000 if such a left side reads a query around it, too.
    pub(super) fn dependent(&mut self, mut apply: Apply) -> Result<Logical> {
        if has_volatile(&apply.left) && apply.right.reads_outer(apply.scope) {
            if apply.left.is_correlated() {
                let what = "a subquery that reads volatile rows of a query that reads another one";
                let hint = "Compute the volatile rows in a query of WITH .. AS MATERIALIZED.";
                return Err(SqlError::unsupported(what, hint));
            }
            apply.left = self.shared(apply.left);
        }
        Ok(Logical::Apply(Box::new(apply)))
    }

    /// The plan under a condition.
    pub(super) fn filtered(&mut self, plan: Logical, mut condition: Expr) -> Result<Logical> {
        let plan = self.attach(plan, &mut [&mut condition])?;
        Ok(Logical::Filter { input: Box::new(plan), conjuncts: condition.into_conjuncts() })
    }

    /// Whether an expression has subqueries that are not part of a plan yet.
    pub(super) fn has_subqueries(&self, expr: &Expr) -> bool {
        !self.subqueries.is_empty() && !subqueries_of(expr).is_empty()
    }

    /// The columns of the query around them that the subqueries of an expression read.
    pub(super) fn outer_columns(&self, expr: &Expr) -> Vec<Expr> {
        let mut columns = Vec::new();
        if self.subqueries.is_empty() {
            return columns;
        }
        for id in subqueries_of(expr) {
            let Subquery { plan, scope, kind, .. } = &self.subqueries[id];
            plan.visit_exprs(&mut |part| match part {
                Expr::Outer { scope: of, index, pg_type } if of == scope => {
                    columns.push(Expr::Column { index: *index, pg_type: *pg_type });
                }
                _ => {}
            });
            if let SubqueryKind::Mark(Some(condition)) = kind {
                condition.visit(&mut |part| {
                    if let Expr::Column { .. } = part {
                        columns.push(part.clone());
                    }
                });
                columns.extend(self.outer_columns(condition));
            }
        }
        columns
    }

    /// Lets the subqueries of an expression over groups read the groups.
    pub(super) fn group_subqueries(
        &mut self,
        expr: &Expr,
        groups: &[Expr],
        groupings: &[Expr],
        scope: &Scope,
    ) -> Result<()> {
        if self.subqueries.is_empty() {
            return Ok(());
        }
        for id in subqueries_of(expr) {
            if std::mem::replace(&mut self.subqueries[id].is_grouped, true) {
                continue;
            }
            let number = self.subqueries[id].scope;
            let mut ungrouped = None;
            self.subqueries[id].plan.transform_exprs(&mut |part| match part {
                Expr::Outer { scope: of, index, pg_type } if of == number => {
                    match over_groups(Expr::Column { index, pg_type }, groups, groupings, scope) {
                        Ok(Expr::Column { index, pg_type }) => Expr::Outer { scope: of, index, pg_type },
                        _ => {
                            ungrouped = Some(index);
                            part
                        }
                    }
                }
                other => other,
            });
            if let Some(index) = ungrouped {
                return Err(not_grouped(index, scope, true));
            }
            if let SubqueryKind::Mark(Some(condition)) = self.subqueries[id].kind.clone() {
                let condition = over_groups(condition, groups, groupings, scope)?;
                self.group_subqueries(&condition, groups, groupings, scope)?;
                self.subqueries[id].kind = SubqueryKind::Mark(Some(condition));
            }
        }
        Ok(())
    }

    /// Makes subqueries that read the columns of two inputs side by side read those before `width` as a row of
    /// another dependent join.
    pub(super) fn split_outer(&mut self, expr: &mut Expr, width: usize, of_left: usize) {
        for id in subqueries_of(expr) {
            let number = self.subqueries[id].scope;
            self.subqueries[id].plan.transform_exprs(&mut |part| match part {
                Expr::Outer { scope, index, pg_type } if scope == number => match index.checked_sub(width) {
                    Some(index) => Expr::Outer { scope, index, pg_type },
                    None => Expr::Outer { scope: of_left, index, pg_type },
                },
                other => other,
            });
            if let SubqueryKind::Mark(Some(mut condition)) = self.subqueries[id].kind.clone() {
                self.split_outer(&mut condition, width, of_left);
                self.subqueries[id].kind = SubqueryKind::Mark(Some(condition));
            }
        }
        let old = std::mem::replace(expr, Expr::Unknown(None));
        *expr = old.transform(&mut |part| match part {
            Expr::Column { index, pg_type } => match index.checked_sub(width) {
                Some(index) => Expr::Column { index, pg_type },
                None => Expr::Outer { scope: of_left, index, pg_type },
            },
            other => other,
        });
    }
}

/// The type of a query's column, if it has one.
fn only_column(bound: &BoundQuery) -> Result<PgType> {
    match bound.columns.as_slice() {
        [column] => Ok(column.pg_type),
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "subquery must return only one column")),
    }
}

/// A condition over the columns of two inputs, the answer's behind `width` others.
fn over_answer(condition: Expr, width: usize) -> Expr {
    condition.transform(&mut |part| match part {
        Expr::Outer { scope: ANSWER, index, pg_type } => Expr::Column { index: width + index, pg_type },
        other => other,
    })
}

/// The subqueries of an expression, each once.
fn subqueries_of(expr: &Expr) -> Vec<usize> {
    let mut ids = Vec::new();
    expr.visit(&mut |part| match part {
        Expr::Subquery { id, .. } if !ids.contains(id) => ids.push(*id),
        _ => {}
    });
    ids
}
