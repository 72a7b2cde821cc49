//! Queries: SELECT and VALUES.

use omen_core::types::PgType;
use sqlparser::ast::{
    self, Distinct, Expr as Ast, LimitClause, OrderBy, OrderByExpr, OrderByKind, SelectFlavor, SetExpr, Value,
};

use super::expr::{Aggregates, ExprScope, bare};
use super::from::Source;
use super::grouping::{self, Grouping};
use super::names::{Relation, Scope, ScopeColumn, fold};
use super::output::{Item, column_infos};
use super::window::{self, Collected, Windows};
use super::{Binder, group, project_set};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::{Coercion, Expr};
use crate::logical::{Aggregate, Logical, SortKey};
use crate::parse::{is_limit_in_front, with_stack};
use crate::session::ColumnInfo;

/// A query with its output columns.
#[derive(Clone, Debug)]
pub(crate) struct BoundQuery {
    /// The plan.
    pub(crate) plan: Logical,
    /// Its columns.
    pub(crate) columns: Vec<ColumnInfo>,
}

/// What becomes of output columns whose type nothing tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Untyped {
    /// They are text.
    Text,
    /// They stay open: the query feeds an INSERT, whose columns tell.
    Keep,
}

/// Where an ORDER BY item comes from.
pub(super) enum OrderSource {
    Item(usize),
    Expr(Expr),
}

/// How often equal rows are given.
pub(super) enum Distinctness {
    /// Each time.
    All,
    /// Once.
    Once,
    /// The first of those that have these in common.
    On(Vec<OrderSource>),
}

impl Distinctness {
    /// The expressions that are no outputs.
    fn exprs_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let on = match self {
            Distinctness::On(on) => on.as_mut_slice(),
            Distinctness::All | Distinctness::Once => &mut [],
        };
        on.iter_mut().filter_map(|source| match source {
            OrderSource::Expr(expr) => Some(expr),
            OrderSource::Item(_) => None,
        })
    }
}

pub(super) struct OrderItem {
    pub(super) source: OrderSource,
    descending: bool,
    nulls_first: bool,
}

impl Binder<'_> {
    /// Binds a query.
    ///
    /// # Errors
    /// All that binding reports.
    pub(crate) fn query(&mut self, query: &ast::Query, untyped: Untyped) -> Result<BoundQuery> {
        with_stack(|| self.query_at_depth(query, untyped))
    }

    fn query_at_depth(&mut self, query: &ast::Query, untyped: Untyped) -> Result<BoundQuery> {
        let ast::Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let hint = "Lock the rows first, in a statement of its own: SELECT .. FROM a WHERE .. FOR UPDATE.";
        self.refuse(!locks.is_empty(), "FOR UPDATE or FOR SHARE inside of a statement", hint)?;
        let foreign = for_clause.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || !pipe_operators.is_empty();
        self.not_postgres(foreign, "this clause")?;
        let named = self.with(with.as_ref())?;
        let bound = self.body(body, order_by.as_ref(), untyped);
        self.ctes.truncate(named);
        let mut bound = bound?;
        let ordered = order_by.is_some();
        bound.plan = self.limit(bound.plan, ordered, limit_clause.as_ref(), fetch.as_ref())?;
        Ok(bound)
    }

    /// Binds what stands between WITH and LIMIT.
    pub(super) fn body(
        &mut self,
        body: &SetExpr,
        order_by: Option<&OrderBy>,
        untyped: Untyped,
    ) -> Result<BoundQuery> {
        Ok(match body {
            SetExpr::Select(select) => self.select(select, order_by, untyped)?,
            SetExpr::Values(values) => self.values(values, order_by)?,
            SetExpr::Query(inner) if order_by.is_none() => self.query(inner, untyped)?,
            SetExpr::Query(inner) => {
                let inner = self.query(inner, Untyped::Text)?;
                self.order_outputs(inner, order_by)?
            }
            SetExpr::SetOperation { .. } => self.set_operation(body, order_by)?,
            SetExpr::Table(_) => {
                return Err(SqlError::unsupported("TABLE here", "Write SELECT * FROM the table."));
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: a write is no subquery")
                    .hint("Name it in WITH, and read what it returns."));
            }
        })
    }

    #[expect(clippy::too_many_lines, reason = "one clause after another")]
    fn select(
        &mut self,
        select: &ast::Select,
        order_by: Option<&OrderBy>,
        untyped: Untyped,
    ) -> Result<BoundQuery> {
        self.refuse_select(select)?;
        let Source { mut plan, scope, tables } = self.from(&select.from)?;
        if let Some(condition) = &select.selection {
            let condition = self.condition(condition, &mut ExprScope::plain(&scope, "WHERE"))?;
            plan = self.filtered(plan, condition)?;
        }
        let mut outputs = ExprScope::aggregating(&scope, "SELECT");
        window::check_named(&select.named_window)?;
        outputs.windows = Some(Windows::of(&select.named_window));
        let mut items = self.items(&select.projection, &mut outputs)?;
        for item in items.iter_mut().filter(|_| untyped == Untyped::Text) {
            let expr = std::mem::replace(&mut item.expr, Expr::Unknown(None));
            item.expr = self.build().output(expr)?;
        }
        let Grouping { mut groups, sets: grouping_sets } = self.group_by(&select.group_by, &items, &scope)?;
        outputs.clause = "HAVING";
        let mut having =
            select.having.as_ref().map(|having| self.condition(having, &mut outputs)).transpose()?;
        outputs.clause = "ORDER BY";
        let mut order = self.order_by(order_by, &items, &mut outputs)?;
        let mut distinct = self.distinct(select.distinct.as_ref(), &items, &mut outputs)?;
        let mut sets = outputs.sets.take().unwrap_or_default();
        let mut windows = outputs.windows.take().map(|windows| windows.calls).unwrap_or_default();
        let columns = column_infos(&items, &scope);
        let Aggregates::Collected(mut aggregates) = outputs.aggregates else {
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "a select list may aggregate"));
        };
        if groups.iter().any(project_set::reads_sets) {
            let exprs = items.iter_mut().map(|item| &mut item.expr).chain(&mut groups).chain(&mut having);
            plan =
                project_set::project(plan, std::mem::take(&mut sets), exprs.chain(order_exprs(&mut order)));
        }
        let groupings = std::mem::take(&mut outputs.groupings);
        let grouped = !groups.is_empty() || grouping_sets.is_some() || !aggregates.is_empty();
        if !groupings.is_empty() && !grouped {
            return Err(grouping::not_grouping());
        }
        if grouped || having.is_some() {
            if let Some(sets) = &grouping_sets {
                let asks = groups.iter().any(|group| self.has_subqueries(group));
                self.refuse(asks, "a subquery in GROUPING SETS", "Compute it in a subquery in FROM.")?;
                plan = self.attach(plan, &mut aggregate_exprs(&mut aggregates))?;
                plan = grouping::expand(plan, &mut groups, sets, &mut aggregates);
            }
            let groupings = grouping::calls(&groupings, &groups, grouping_sets.as_deref())?;
            let outer = self.outer_columns_of(&items, having.as_ref(), &order);
            for (table, offset) in tables.iter().filter(|_| grouping_sets.is_none()) {
                let order = order.iter().filter_map(|item| match &item.source {
                    OrderSource::Expr(expr) => Some(expr),
                    OrderSource::Item(_) => None,
                });
                let mut read = items.iter().map(|item| &item.expr).chain(&having).chain(order).chain(&outer);
                group::add_determined(&mut groups, table, *offset, &mut read);
            }
            let args = sets.iter_mut().flat_map(|call| &mut call.args);
            let others = having.iter_mut().chain(order_exprs(&mut order)).chain(distinct.exprs_mut());
            let others = others.chain(args).chain(windows.iter_mut().flat_map(Collected::exprs_mut));
            self.regroup(&mut items, others, &groups, &groupings, &scope)?;
            let mut below: Vec<&mut Expr> = groups.iter_mut().collect();
            below.extend(aggregate_exprs(&mut aggregates));
            plan = self.attach(plan, &mut below)?;
            plan = grouping::aggregate(plan, groups, aggregates, grouping_sets);
            if let Some(having) = having {
                plan = self.filtered(plan, having)?;
            }
        }
        let mut args: Vec<&mut Expr> = sets.iter_mut().flat_map(|call| &mut call.args).collect();
        args.extend(windows.iter_mut().flat_map(Collected::exprs_mut));
        plan = self.attach(plan, &mut args)?;
        let exprs = items.iter_mut().map(|item| &mut item.expr);
        let args = sets.iter_mut().flat_map(|call| &mut call.args);
        plan = window::plan(plan, windows, exprs.chain(order_exprs(&mut order)).chain(args));
        let exprs = items.iter_mut().map(|item| &mut item.expr);
        plan = project_set::project(plan, sets, exprs.chain(order_exprs(&mut order)));
        let exprs = items.iter_mut().map(|item| &mut item.expr);
        let mut above: Vec<&mut Expr> = exprs.chain(order_exprs(&mut order)).collect();
        plan = self.attach(plan, &mut above)?;
        let exprs = items.into_iter().map(|item| item.expr).collect();
        Ok(BoundQuery { plan: finish_select(plan, exprs, distinct, order)?, columns })
    }

    /// An expression, and what its subqueries read, over groups.
    fn over_groups(
        &mut self,
        expr: Expr,
        groups: &[Expr],
        groupings: &[Expr],
        scope: &Scope,
    ) -> Result<Expr> {
        let expr = group::over_groups(expr, groups, groupings, scope)?;
        self.group_subqueries(&expr, groups, groupings, scope)?;
        Ok(expr)
    }

    /// What the subqueries of a query's clauses read of its rows.
    fn outer_columns_of(&self, items: &[Item<'_>], having: Option<&Expr>, order: &[OrderItem]) -> Vec<Expr> {
        let order = order.iter().filter_map(|item| match &item.source {
            OrderSource::Expr(expr) => Some(expr),
            OrderSource::Item(_) => None,
        });
        let exprs = items.iter().map(|item| &item.expr).chain(having).chain(order);
        exprs.flat_map(|expr| self.outer_columns(expr)).collect()
    }

    /// Rewrites outputs and all else that stands above grouping into expressions over groups.
    fn regroup<'e>(
        &mut self,
        items: &mut [Item<'_>],
        others: impl Iterator<Item = &'e mut Expr>,
        groups: &[Expr],
        groupings: &[Expr],
        scope: &Scope,
    ) -> Result<()> {
        for item in items {
            let place = item.ast.map_or(0, |ast| self.place_of_column(ast));
            let expr = std::mem::replace(&mut item.expr, Expr::Unknown(None));
            item.expr = self.over_groups(expr, groups, groupings, scope).map_err(|e| e.at(place))?;
        }
        for expr in others {
            let own = std::mem::replace(expr, Expr::Unknown(None));
            *expr = self.over_groups(own, groups, groupings, scope)?;
        }
        Ok(())
    }

    /// Refuses the clauses that are not handled.
    pub(super) fn refuse_select(&self, select: &ast::Select) -> Result<()> {
        let ast::Select {
            select_token: _,
            optimizer_hints: _,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from: _,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by: _,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        if into.is_some() {
            let message = "SELECT ... INTO is not allowed here";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        let foreign = select_modifiers.as_ref().is_some_and(ast::SelectModifiers::is_any_set)
            || top.is_some()
            || exclude.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || qualify.is_some()
            || value_table_mode.is_some()
            || *flavor != SelectFlavor::Standard;
        self.not_postgres(foreign, "this form of SELECT")
    }

    fn distinct(
        &mut self,
        distinct: Option<&Distinct>,
        items: &[Item<'_>],
        scope: &mut ExprScope<'_>,
    ) -> Result<Distinctness> {
        Ok(match distinct {
            None | Some(Distinct::All) => Distinctness::All,
            Some(Distinct::Distinct) => Distinctness::Once,
            Some(Distinct::On(asts)) => {
                scope.clause = "DISTINCT ON";
                let on = asts.iter().map(|ast| self.output_or_expr(ast, items, "DISTINCT ON", scope));
                Distinctness::On(on.collect::<Result<_>>()?)
            }
        })
    }

    /// The output column that an ordinal means, if it is one.
    pub(super) fn item_position(&self, ast: &Ast, items: &[Item<'_>], clause: &str) -> Result<Option<usize>> {
        let Ast::Value(value) = bare(ast) else { return Ok(None) };
        match &value.value {
            Value::Number(digits, _) => match digits.parse::<usize>() {
                Ok(number) if (1..=items.len()).contains(&number) => Ok(Some(number - 1)),
                Ok(number) => {
                    let message = format!("{clause} position {number} is not in select list");
                    Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message)
                        .at(crate::parse::position_of(self.text, value.span.start)))
                }
                Err(_) => {
                    let message = format!("non-integer constant in {clause}");
                    Err(SqlError::new(SqlState::SYNTAX_ERROR, message)
                        .at(crate::parse::position_of(self.text, value.span.start)))
                }
            },
            Value::Placeholder(_) => Ok(None),
            _ => {
                let message = format!("non-integer constant in {clause}");
                Err(SqlError::new(SqlState::SYNTAX_ERROR, message)
                    .at(crate::parse::position_of(self.text, value.span.start)))
            }
        }
    }

    pub(super) fn order_by(
        &mut self,
        order_by: Option<&OrderBy>,
        items: &[Item<'_>],
        scope: &mut ExprScope<'_>,
    ) -> Result<Vec<OrderItem>> {
        let Some(order_by) = order_by else { return Ok(Vec::new()) };
        let OrderByKind::Expressions(asts) = &order_by.kind else {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                "syntax error: ORDER BY ALL is not PostgreSQL",
            ));
        };
        self.not_postgres(order_by.interpolate.is_some(), "INTERPOLATE")?;
        asts.iter().map(|ast| self.order_item(ast, items, scope)).collect()
    }

    fn order_item(
        &mut self,
        order: &OrderByExpr,
        items: &[Item<'_>],
        scope: &mut ExprScope<'_>,
    ) -> Result<OrderItem> {
        self.not_postgres(order.with_fill.is_some(), "WITH FILL")?;
        let descending = order.options.asc == Some(false);
        let nulls_first = order.options.nulls_first.unwrap_or(descending);
        let source = self.output_or_expr(&order.expr, items, "ORDER BY", scope)?;
        let pg_type = match &source {
            OrderSource::Item(position) => items[*position].expr.pg_type(),
            OrderSource::Expr(expr) => expr.pg_type(),
        };
        comparable(pg_type, "an ordering")?;
        Ok(OrderItem { source, descending, nulls_first })
    }

    /// What ORDER BY and DISTINCT ON mean: an output column by number or name, or an expression over the input.
    fn output_or_expr(
        &mut self,
        ast: &Ast,
        items: &[Item<'_>],
        clause: &'static str,
        scope: &mut ExprScope<'_>,
    ) -> Result<OrderSource> {
        let position = match self.item_position(ast, items, clause)? {
            Some(position) => Some(position),
            None => match bare(ast) {
                Ast::Identifier(ident) => position_named(&fold(ident), items, clause)?,
                _ => None,
            },
        };
        Ok(match position {
            Some(position) => OrderSource::Item(position),
            None => {
                let expr = self.expr(ast, scope)?;
                let expr = self.build().output(expr)?;
                match items.iter().position(|item| item.expr == expr) {
                    Some(position) => OrderSource::Item(position),
                    None => OrderSource::Expr(expr),
                }
            }
        })
    }

    /// Orders a finished query by its own columns.
    fn order_outputs(&mut self, inner: BoundQuery, order_by: Option<&OrderBy>) -> Result<BoundQuery> {
        let relation =
            Relation { alias: String::new(), table: None, columns: scope_columns(&inner.columns), offset: 0 };
        let scope = Scope::of(relation);
        let items: Vec<Item<'_>> = inner
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| Item {
                expr: Expr::Column { index, pg_type: column.pg_type },
                name: column.name.clone(),
                ast: None,
            })
            .collect();
        let order = self.order_by(order_by, &items, &mut ExprScope::plain(&scope, "ORDER BY"))?;
        let exprs = items.into_iter().map(|item| item.expr).collect();
        Ok(BoundQuery {
            plan: finish_select(inner.plan, exprs, Distinctness::All, order)?,
            columns: inner.columns,
        })
    }

    fn values(&mut self, values: &ast::Values, order_by: Option<&OrderBy>) -> Result<BoundQuery> {
        self.not_postgres(values.explicit_row || values.value_keyword, "this form of VALUES")?;
        let scope = Scope::default();
        let mut rows = Vec::with_capacity(values.rows.len());
        let width = values.rows.first().map_or(0, |row| row.content.len());
        for row in &values.rows {
            if row.content.len() != width {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    "VALUES lists must all be the same length",
                ));
            }
            rows.push(self.exprs(&row.content, &mut ExprScope::plain(&scope, "VALUES"))?);
        }
        let mut types = Vec::with_capacity(width);
        for column in 0..width {
            let cells =
                rows.iter_mut().map(|row| std::mem::replace(&mut row[column], Expr::Unknown(None))).collect();
            let (cells, pg_type) = self.build().unify("VALUES", cells)?;
            types.push(pg_type);
            for (row, cell) in rows.iter_mut().zip(cells) {
                row[column] = cell;
            }
        }
        let columns = types
            .iter()
            .enumerate()
            .map(|(index, pg_type)| ColumnInfo {
                name: format!("column{}", index + 1),
                pg_type: *pg_type,
                table: None,
            })
            .collect();
        let bound = BoundQuery { plan: self.values_plan(rows, types)?, columns };
        if order_by.is_none() { Ok(bound) } else { self.order_outputs(bound, order_by) }
    }

    /// Rows of expressions. With subqueries: each row is computed where its number is.
    fn values_plan(&mut self, mut rows: Vec<Vec<Expr>>, types: Vec<PgType>) -> Result<Logical> {
        if !rows.iter().flatten().any(|expr| self.has_subqueries(expr)) {
            return Ok(Logical::Values { rows, types });
        }
        let number = |row: usize| Expr::Literal {
            value: omen_core::types::Datum::Int8(i64::try_from(row).unwrap_or(i64::MAX)),
            pg_type: PgType::Int8,
        };
        let numbers = (0..rows.len()).map(|row| vec![number(row)]).collect();
        let numbers = Logical::Values { rows: numbers, types: vec![PgType::Int8] };
        let mut exprs: Vec<&mut Expr> = rows.iter_mut().flatten().collect();
        let input = Box::new(self.attach(numbers, &mut exprs)?);
        let mut columns = Vec::with_capacity(types.len());
        for (column, pg_type) in types.into_iter().enumerate() {
            let mut arms = Vec::with_capacity(rows.len());
            for (row, exprs) in rows.iter().enumerate() {
                let left = Box::new(Expr::Column { index: 0, pg_type: PgType::Int8 });
                let is_row = Expr::IsDistinct { left, right: Box::new(number(row)), negated: true };
                arms.push((is_row, exprs[column].clone()));
            }
            columns.push(Expr::Case { arms, otherwise: None, pg_type });
        }
        Ok(Logical::Project { input, exprs: columns })
    }

    pub(super) fn limit(
        &mut self,
        input: Logical,
        ordered: bool,
        clause: Option<&LimitClause>,
        fetch: Option<&ast::Fetch>,
    ) -> Result<Logical> {
        let (mut limit, mut offset) = (None, None);
        let mut is_null = false;
        match clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: count, offset: skip, limit_by }) => {
                self.not_postgres(!limit_by.is_empty(), "LIMIT BY")?;
                limit = count.as_ref().map(|count| self.row_count(count, "LIMIT")).transpose()?;
                is_null = count.as_ref().is_some_and(is_null_literal);
                offset = skip.as_ref().map(|skip| self.row_count(&skip.value, "OFFSET")).transpose()?;
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "LIMIT #,# syntax is not supported")
                    .hint("Use separate LIMIT and OFFSET clauses."));
            }
        }
        if let Some(fetch) = fetch {
            let is_in_front = fetch.quantity.as_ref().is_some_and(is_limit_in_front);
            if fetch.percent || limit.is_some() != is_in_front {
                let near = if fetch.percent { "percent" } else { "fetch" };
                let message = format!("syntax error at or near \"{near}\"");
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
            }
            is_null |= fetch.quantity.as_ref().is_some_and(is_null_literal);
            limit = Some(match (limit, &fetch.quantity) {
                (Some(in_front), _) => in_front,
                (None, Some(count)) => self.row_count(count, "LIMIT")?,
                (None, None) => self.build().number("1")?,
            });
            limit = limit
                .map(|count| self.build().coerce(count, PgType::Int8, Coercion::Assignment))
                .transpose()?;
        }
        if limit.is_none() && offset.is_none() {
            return Ok(input);
        }
        if let (Some(limit), true) = (limit.clone(), fetch.is_some_and(|fetch| fetch.with_ties)) {
            if is_null {
                let message = "row count cannot be null in FETCH FIRST ... WITH TIES clause";
                return Err(SqlError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, message));
            }
            let tied = if ordered { with_ties(input, &limit, offset.as_ref()) } else { None };
            return tied.ok_or_else(|| {
                let message = "WITH TIES cannot be specified without ORDER BY clause";
                SqlError::new(SqlState::SYNTAX_ERROR, message)
            });
        }
        Ok(Logical::Limit { input: Box::new(input), limit, offset })
    }

    fn row_count(&mut self, ast: &Ast, clause: &'static str) -> Result<Expr> {
        let scope = Scope::default();
        let bound = self.expr(ast, &mut ExprScope::plain(&scope, clause)).map_err(|e| match e.state {
            SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_TABLE => {
                let message = format!("argument of {clause} must not contain variables");
                SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message)
            }
            _ => e,
        })?;
        let reads_outer = self.has_subqueries(&bound);
        let what = format!("{clause} of a subquery that reads an outer query");
        self.refuse(reads_outer, &what, "Filter by row_number().")?;
        let pg_type = match &bound {
            Expr::Unknown(_) | Expr::UntypedParameter(_) => PgType::Int8,
            typed => typed.pg_type(),
        };
        let numbers =
            [PgType::Int2, PgType::Int4, PgType::Int8, PgType::Numeric(None), PgType::Float4, PgType::Float8];
        if !numbers.contains(&pg_type.base()) {
            let message = format!("argument of {clause} must be type bigint, not type {pg_type}");
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message));
        }
        self.build().coerce(bound, PgType::Int8, Coercion::Assignment)
    }

    /// Where the first column name of an expression is; 0 if unknown.
    fn place_of_column(&self, ast: &Ast) -> u32 {
        match bare(ast) {
            Ast::Identifier(ident) => self.place_of(ident),
            Ast::CompoundIdentifier(idents) => idents.first().map_or(0, |ident| self.place_of(ident)),
            _ => 0,
        }
    }
}

fn is_null_literal(ast: &Ast) -> bool {
    matches!(bare(ast), Ast::Value(value) if value.value == Value::Null)
}

pub(super) fn order_exprs(order: &mut [OrderItem]) -> impl Iterator<Item = &mut Expr> {
    order.iter_mut().filter_map(|item| match &mut item.source {
        OrderSource::Expr(expr) => Some(expr),
        OrderSource::Item(_) => None,
    })
}

/// The plan with its first rows and those equal to the last of them in its order.
fn with_ties(plan: Logical, limit: &Expr, offset: Option<&Expr>) -> Option<Logical> {
    let keys = match &plan {
        Logical::Sort { keys, .. } => keys.clone(),
        Logical::DistinctOn { input, .. } => match input.as_ref() {
            Logical::Sort { keys, .. } => keys.clone(),
            _ => return None,
        },
        Logical::Project { .. } => {
            let Logical::Project { input, exprs } = plan else { return None };
            let input = Box::new(with_ties(*input, limit, offset)?);
            return Some(Logical::Project { input, exprs });
        }
        _ => return None,
    };
    let columns = keys.iter().map(|key| key.column).collect();
    let (limit, offset) = (limit.clone(), offset.cloned());
    Some(Logical::Ties { input: Box::new(plan), columns, limit, offset })
}

/// The expressions of aggregates.
fn aggregate_exprs(aggregates: &mut [Aggregate]) -> Vec<&mut Expr> {
    aggregates.iter_mut().flat_map(|one| one.call.args.iter_mut().chain(&mut one.filter)).collect()
}

/// Projection, DISTINCT and ORDER BY above what the select list is computed from.
pub(super) fn finish_select(
    input: Logical,
    mut exprs: Vec<Expr>,
    distinct: Distinctness,
    order: Vec<OrderItem>,
) -> Result<Logical> {
    let width = exprs.len();
    let mut keys: Vec<SortKey> = Vec::with_capacity(order.len());
    for item in order {
        let column = match item.source {
            OrderSource::Expr(_) if matches!(distinct, Distinctness::Once) => {
                let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
                return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
            }
            source => column_of(source, &mut exprs, width),
        };
        if !keys.iter().any(|key| key.column == column) {
            keys.push(SortKey { column, descending: item.descending, nulls_first: item.nulls_first });
        }
    }
    let is_once = matches!(distinct, Distinctness::Once);
    let first_of = match distinct {
        Distinctness::On(on) => {
            let on: Vec<usize> = on.into_iter().map(|source| column_of(source, &mut exprs, width)).collect();
            order_for_first(&mut keys, &on)?;
            Some(on)
        }
        Distinctness::Once => {
            exprs.iter().try_for_each(|expr| comparable(expr.pg_type(), "an equality"))?;
            None
        }
        Distinctness::All => None,
    };
    let types: Vec<PgType> = exprs.iter().map(Expr::pg_type).collect();
    let mut plan = Logical::Project { input: Box::new(input), exprs };
    if is_once {
        plan = Logical::Distinct { input: Box::new(plan) };
    }
    if !keys.is_empty() {
        plan = Logical::Sort { input: Box::new(plan), keys };
    }
    if let Some(columns) = first_of {
        plan = Logical::DistinctOn { input: Box::new(plan), columns };
    }
    if types.len() > width {
        let column = |index: usize| Expr::Column { index, pg_type: types[index] };
        plan = Logical::Project { input: Box::new(plan), exprs: (0..width).map(column).collect() };
    }
    Ok(plan)
}

/// The column of what is ordered by, added to the outputs if it is none of them.
fn column_of(source: OrderSource, exprs: &mut Vec<Expr>, width: usize) -> usize {
    match source {
        OrderSource::Item(position) => position,
        OrderSource::Expr(expr) => match exprs[width..].iter().position(|known| *known == expr) {
            Some(position) if !crate::rules::is_volatile(&expr) => width + position,
            _ => {
                exprs.push(expr);
                exprs.len() - 1
            }
        },
    }
}

/// Adds to an order what DISTINCT ON needs; its columns must come first.
fn order_for_first(keys: &mut Vec<SortKey>, on: &[usize]) -> Result<()> {
    let leading = keys.iter().take_while(|key| on.contains(&key.column)).count();
    let covered = |column: &usize| keys[..leading].iter().any(|key| key.column == *column);
    let open: Vec<usize> = on.iter().copied().filter(|column| !covered(column)).collect();
    if leading < keys.len() && !open.is_empty() {
        let message = "SELECT DISTINCT ON expressions must match initial ORDER BY expressions";
        return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
    }
    for column in open {
        if !keys.iter().any(|key| key.column == column) {
            keys.push(SortKey { column, descending: false, nulls_first: false });
        }
    }
    Ok(())
}

/// The output column of this name, for ORDER BY.
fn position_named(name: &str, items: &[Item<'_>], clause: &str) -> Result<Option<usize>> {
    let mut named = items.iter().enumerate().filter(|(_, item)| item.name == name);
    let Some((first, item)) = named.next() else { return Ok(None) };
    if named.any(|(_, other)| other.expr != item.expr) {
        let message = format!("{clause} \"{name}\" is ambiguous");
        return Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message));
    }
    Ok(Some(first))
}

pub(super) fn reads_aggregates(expr: &Expr) -> bool {
    let mut found = false;
    expr.visit(&mut |part| {
        let aggregates = super::expr::AGGREGATE_BASE..super::expr::WINDOWS_BASE;
        found |= matches!(part, Expr::Column { index, .. } if aggregates.contains(index));
    });
    found
}

/// Refuses types without order or equality.
pub(super) fn comparable(pg_type: PgType, what: &str) -> Result<()> {
    match pg_type {
        PgType::Json => {
            let message = format!("could not identify {what} operator for type {pg_type}");
            Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, message))
        }
        _ => Ok(()),
    }
}

pub(super) fn scope_columns(columns: &[ColumnInfo]) -> Vec<ScopeColumn> {
    let column = |column: &ColumnInfo| ScopeColumn {
        name: column.name.clone(),
        pg_type: column.pg_type,
        origin: column.table,
        hidden: false,
    };
    columns.iter().map(column).collect()
}
