//! Calls of functions and aggregates, and the functions that SQL spells in words.

use omen_core::types::PgType;
use sqlparser::ast::{
    self, CeilFloorKind, DataType, DateTimeField, DuplicateTreatment, Expr as Ast, FunctionArg,
    FunctionArgExpr, FunctionArguments, TrimWhereField,
};

use super::expr::{AGGREGATE_BASE, Aggregates, ExprScope, bare};
use super::project_set::collect_set;
use super::{Binder, LateKind, LateValue};
use crate::error::{Result, SqlError, SqlState};
use crate::expr::{Expr, aggregate, registry};
use crate::logical::Aggregate;

/// A call as written, taken apart.
pub(super) struct Call<'a> {
    pub(super) name: String,
    pub(super) args: Vec<&'a Ast>,
    /// `t` of `f(t.*)`, its only argument.
    pub(super) row: Option<&'a ast::ObjectName>,
    pub(super) star: bool,
    pub(super) distinct: bool,
    pub(super) filter: Option<&'a Ast>,
    pub(super) order: &'a [ast::OrderByExpr],
    pub(super) within: &'a [ast::OrderByExpr],
    pub(super) place: u32,
}

impl Call<'_> {
    /// Whether it says in which order rows come.
    pub(super) fn ordered(&self) -> bool {
        !self.order.is_empty()
    }
}

impl Binder<'_> {
    /// Binds a call.
    pub(super) fn function(&mut self, function: &ast::Function, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let call = self.call(function)?;
        if call.name == "grouping" && function.over.is_none() {
            return self.grouping(&call.args, scope).map_err(|e| e.at(call.place));
        }
        if let Some(over) = &function.over {
            return self.window_call(&call, over, scope).map_err(|e| e.at(call.place));
        }
        let plain = call.within.is_empty();
        if plain
            && super::window::function_named(&call.name).is_some()
            && (call.args.is_empty() || !aggregate::exists(&call.name))
        {
            let message = format!("window function {} requires an OVER clause", call.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).at(call.place));
        }
        if aggregate::exists(&call.name) {
            return self.aggregate(&call, scope).map_err(|e| e.at(call.place));
        }
        if call.star {
            // Whether the function exists is asked first.
            self.build().function(&call.name, Vec::new()).map_err(|e| e.at(call.place))?;
        }
        if !call.within.is_empty() {
            let args = self.exprs(call.args.iter().copied(), scope)?;
            let order = self.call_order(call.within, scope)?;
            let sorted: Vec<Expr> = order.into_iter().map(|(expr, _)| expr).collect();
            return Err(self.no_such(&call, &args, &sorted).at(call.place));
        }
        let reason = match &call {
            Call { star: true, .. } => {
                Some(format!("{}(*) specified, but {} is not an aggregate function", call.name, call.name))
            }
            Call { distinct: true, .. } => {
                Some(format!("DISTINCT specified, but {} is not an aggregate function", call.name))
            }
            Call { order: [_, ..], .. } => {
                Some(format!("ORDER BY specified, but {} is not an aggregate function", call.name))
            }
            Call { filter: Some(_), .. } => {
                Some(format!("FILTER specified, but {} is not an aggregate function", call.name))
            }
            _ => None,
        };
        if let Some(message) = reason {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).at(call.place));
        }
        if let Some(kind) = late_kind(&call.name) {
            return self.late_value(kind, &call, scope).map_err(|e| e.at(call.place));
        }
        let outside = scope.no_sets_in;
        if call.name == "coalesce" {
            scope.no_sets_in = Some("COALESCE");
        }
        let args = self.args(&call, scope);
        scope.no_sets_in = outside;
        let args = args?;
        let name = if call.name == "row_to_json" && args.first().is_some_and(registry::is_row_json) {
            let hint = "Leave out the second argument, or use jsonb_pretty.";
            self.refuse(args.len() > 1, "row_to_json with line feeds", hint)?;
            "to_json"
        } else {
            &call.name
        };
        let bound = self.build().function(name, args).map_err(|e| match e.state {
            SqlState::UNDEFINED_FUNCTION | SqlState::AMBIGUOUS_FUNCTION => e.at(call.place),
            _ => e,
        })?;
        collect_set(bound, scope).map_err(|e| e.at(call.place))
    }

    /// Takes a call apart and refuses what is not handled.
    pub(super) fn call<'a>(&self, function: &'a ast::Function) -> Result<Call<'a>> {
        let mut name = super::names::parts(&function.name)?;
        let place = match function.name.0.first() {
            Some(ast::ObjectNamePart::Identifier(ident)) => self.place_of(ident),
            _ => 0,
        };
        if let [schema, _] = name.as_slice()
            && schema != "pg_catalog"
        {
            let message = format!("schema \"{schema}\" does not exist");
            return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, message).at(place));
        }
        self.not_postgres(
            function.uses_odbc_syntax
                || function.null_treatment.is_some()
                || !matches!(function.parameters, FunctionArguments::None),
            "this form of a call",
        )?;
        let mut call = Call {
            name: name.pop().unwrap_or_default(),
            args: Vec::new(),
            row: None,
            star: false,
            distinct: false,
            filter: function.filter.as_deref(),
            order: &[],
            within: &function.within_group,
            place,
        };
        let list = match &function.args {
            FunctionArguments::None => return Ok(call),
            FunctionArguments::Subquery(_) => {
                self.not_postgres(true, "a query as an argument without parentheses of its own")?;
                return Ok(call);
            }
            FunctionArguments::List(list) => list,
        };
        for clause in &list.clauses {
            match clause {
                ast::FunctionArgumentClause::OrderBy(order) => call.order = order,
                _ => self.not_postgres(true, "this clause of a call")?,
            }
        }
        call.distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => call.args.push(arg),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => call.star = true,
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name))
                    if list.args.len() == 1 && super::whole_row::is_taken_by(&call.name) =>
                {
                    call.row = Some(name);
                }
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(_)) => {
                    let hint = "Name the columns.";
                    return Err(SqlError::unsupported("an argument with a wildcard", hint));
                }
                _ => {
                    return Err(SqlError::unsupported(
                        "this form of an argument",
                        "Give the arguments in order.",
                    ));
                }
            }
        }
        Ok(call)
    }

    fn aggregate(&mut self, call: &Call<'_>, scope: &mut ExprScope<'_>) -> Result<Expr> {
        if call.args.is_empty() && call.row.is_none() && !call.star && call.name == "count" {
            let message = "count(*) must be used to call a parameterless aggregate function";
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        self.check_within(call)?;
        let was_inside = std::mem::replace(&mut scope.in_aggregate, true);
        let clause = std::mem::replace(&mut scope.clause, "FILTER");
        let bound = self.args(call, scope).and_then(|args| {
            let order =
                self.call_order(if call.within.is_empty() { call.order } else { call.within }, scope)?;
            let filter = call.filter.map(|filter| self.condition(filter, scope)).transpose()?;
            Ok((args, order, filter))
        });
        scope.in_aggregate = was_inside;
        scope.clause = clause;
        let (args, order, filter) = bound?;
        let exprs = args.iter().chain(order.iter().map(|(expr, _)| expr)).chain(&filter);
        let owner = self.owner_of_aggregate(exprs);
        let mut aggregate = Aggregate { call: self.ordered_call(call, args, order)?, filter };
        let pg_type = aggregate.call.pg_type;
        let Some(owner) = owner else {
            let position = collect(&mut scope.aggregates, aggregate, was_inside, scope.clause)?;
            return Ok(Expr::Column { index: AGGREGATE_BASE + position, pg_type });
        };
        let owner = &mut self.outer[owner];
        let mut is_nested = owner.in_aggregate;
        for expr in aggregate.call.args.iter_mut().chain(&mut aggregate.filter) {
            let outer = std::mem::replace(expr, Expr::Unknown(None));
            *expr = outer.transform(&mut |part| match part {
                Expr::Outer { scope, index, pg_type } if scope == owner.number => {
                    is_nested |= index >= AGGREGATE_BASE;
                    Expr::Column { index, pg_type }
                }
                other => other,
            });
        }
        let position = collect(&mut owner.aggregates, aggregate, is_nested, owner.clause)?;
        Ok(Expr::Outer { scope: owner.number, index: AGGREGATE_BASE + position, pg_type })
    }

    /// The query whose aggregate it is: the innermost one whose columns the expressions read (PG 15, chapter 4.2.7).
    /// None: this one.
    fn owner_of_aggregate<'e>(&self, exprs: impl Iterator<Item = &'e Expr>) -> Option<usize> {
        let (mut is_own, mut owner) = (false, None);
        for expr in exprs {
            expr.visit(&mut |part| match part {
                Expr::Column { .. } | Expr::Subquery { .. } => is_own = true,
                Expr::Outer { scope, .. } => {
                    owner = owner.max(self.outer.iter().position(|outer| outer.number == *scope));
                }
                _ => {}
            });
        }
        owner.filter(|_| !is_own)
    }

    fn late_value(&mut self, kind: LateKind, call: &Call<'_>, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            // 'name'::regclass and 'name' mean the same table.
            let arg = match bare(arg) {
                Ast::Cast { expr, data_type: DataType::Regclass, .. } => expr,
                _ => *arg,
            };
            let to = if args.len() == 2 || (args.len() == 1 && kind == LateKind::CurrentSetting) {
                PgType::Bool
            } else {
                PgType::Text
            };
            let bound = self.expr(arg, scope)?;
            let bound = self.build().coerce(bound, to, crate::expr::Coercion::Implicit)?;
            if !bound.is_constant() {
                let hint = "Give it a literal or a parameter.";
                return Err(SqlError::unsupported(format!("{}() of a column", call.name), hint));
            }
            args.push(bound);
        }
        let fits = match kind {
            LateKind::RelationSize => args.len() == 1,
            LateKind::CurrentSetting => (1..=2).contains(&args.len()),
            LateKind::SetConfig => args.len() == 3,
            LateKind::Subquery => false,
        };
        if !fits {
            let message = format!("function {} with {} arguments does not exist", call.name, args.len());
            return Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, message));
        }
        self.late.push(LateValue { kind, args });
        Ok(Expr::Parameter { index: self.parameter_count + self.late.len() - 1, pg_type: kind.pg_type() })
    }

    /// `EXTRACT(year FROM x)` and the like, as the functions that they stand for.
    pub(super) fn spelled_function(&mut self, ast: &Ast, scope: &mut ExprScope<'_>) -> Result<Expr> {
        let (name, args): (&str, Vec<Expr>) = match ast {
            Ast::AtTimeZone { timestamp, time_zone } => {
                ("timezone", vec![self.expr(time_zone, scope)?, self.expr(timestamp, scope)?])
            }
            Ast::Extract { field, expr, .. } => {
                let field = Expr::Unknown(Some(field_name(field).into()));
                ("extract", vec![field, self.expr(expr, scope)?])
            }
            Ast::Ceil { expr, field } => {
                self.refuse(!is_plain(field), "CEIL to a field", "Use date_trunc.")?;
                ("ceil", vec![self.expr(expr, scope)?])
            }
            Ast::Floor { expr, field } => {
                self.refuse(!is_plain(field), "FLOOR to a field", "Use date_trunc.")?;
                ("floor", vec![self.expr(expr, scope)?])
            }
            Ast::Position { expr, r#in } => {
                ("strpos", vec![self.expr(r#in, scope)?, self.expr(expr, scope)?])
            }
            Ast::Substring { expr, substring_from, substring_for, .. } => {
                let mut args = vec![self.expr(expr, scope)?];
                match (substring_from, substring_for) {
                    (Some(from), _) => args.push(self.expr(from, scope)?),
                    (None, Some(_)) => args.push(self.build().number("1")?),
                    (None, None) => {}
                }
                if let Some(count) = substring_for {
                    args.push(self.expr(count, scope)?);
                }
                ("substring", args)
            }
            Ast::Trim { trim_where, trim_what, expr, trim_characters } => {
                let mut args = vec![self.expr(expr, scope)?];
                if let Some(what) = trim_what {
                    args.push(self.expr(what, scope)?);
                }
                args.extend(self.exprs(trim_characters.iter().flatten(), scope)?);
                (trim_name(*trim_where), args)
            }
            Ast::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args = vec![self.expr(expr, scope)?, self.expr(overlay_what, scope)?];
                args.push(self.expr(overlay_from, scope)?);
                if let Some(count) = overlay_for {
                    args.push(self.expr(count, scope)?);
                }
                ("overlay", args)
            }
            _ => return Err(SqlError::new(SqlState::INTERNAL_ERROR, "not a function spelled in words")),
        };
        self.build().function(name, args)
    }
}

fn late_kind(name: &str) -> Option<LateKind> {
    match name {
        "pg_total_relation_size" | "pg_relation_size" | "pg_table_size" => Some(LateKind::RelationSize),
        "current_setting" => Some(LateKind::CurrentSetting),
        "set_config" => Some(LateKind::SetConfig),
        _ => None,
    }
}

fn is_plain(field: &CeilFloorKind) -> bool {
    matches!(field, CeilFloorKind::DateTimeField(DateTimeField::NoDateTime))
}

fn field_name(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(ident) => ident.value.to_lowercase(),
        other => other.to_string().to_lowercase(),
    }
}

/// The function that TRIM stands for.
pub(super) fn trim_name(side: Option<TrimWhereField>) -> &'static str {
    match side {
        None | Some(TrimWhereField::Both) => "btrim",
        Some(TrimWhereField::Leading) => "ltrim",
        Some(TrimWhereField::Trailing) => "rtrim",
    }
}

/// Adds an aggregate to those of a query; answers its position.
///
/// # Errors
/// 42803 if none may be called there.
fn collect(
    aggregates: &mut Aggregates,
    aggregate: Aggregate,
    in_aggregate: bool,
    clause: &str,
) -> Result<usize> {
    if in_aggregate {
        let message = "aggregate function calls cannot be nested";
        return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
    }
    let Aggregates::Collected(collected) = aggregates else {
        let message = format!("aggregate functions are not allowed in {clause}");
        return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
    };
    let known = collected.iter().position(|other| *other == aggregate);
    Ok(known.unwrap_or_else(|| {
        collected.push(aggregate);
        collected.len() - 1
    }))
}
