//! Window functions: OVER, named windows and frames.
//!
//! Calls are collected while a select list and ORDER BY are bound; expressions refer to them by position. When grouping
//! is done, those that share partition and order become one node, above a sort that others may share, too.

use omen_core::types::PgType;
use sqlparser::ast::{self, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType};

use super::Binder;
use super::expr::{ExprScope, WINDOWS_BASE, bare};
use super::functions::Call;
use super::names::fold;
use super::select::comparable;
use crate::error::{Result, SqlError, SqlState};
use crate::expr::{Coercion, Expr, aggregate};
use crate::logical::{
    Exclude, Frame, FrameBound, FrameUnits, Logical, SortKey, Window, WindowCall, WindowFunction,
};
use crate::rules::{is_volatile, renumber};

/// What a scope knows of windows.
#[derive(Debug, Default)]
pub(crate) struct Windows<'s> {
    /// The WINDOW clause.
    pub(crate) named: &'s [ast::NamedWindowDefinition],
    /// The calls so far.
    pub(crate) calls: Vec<Collected>,
    /// Inside of what another call may not be.
    inside: Option<&'static str>,
}

impl<'s> Windows<'s> {
    /// No calls yet, beside a WINDOW clause.
    pub(super) fn of(named: &'s [ast::NamedWindowDefinition]) -> Windows<'s> {
        Windows { named, ..Windows::default() }
    }
}

/// A call with its window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Collected {
    partition: Vec<Expr>,
    order: Vec<Order>,
    call: WindowCall,
}

#[derive(Clone, Debug, PartialEq)]
struct Order {
    expr: Expr,
    descending: bool,
    nulls_first: bool,
}

impl Collected {
    /// Its expressions over the input.
    pub(super) fn exprs_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let order = self.order.iter_mut().map(|order| &mut order.expr);
        self.partition.iter_mut().chain(order).chain(self.call.exprs_mut())
    }
}

/// A window as it is put together from a definition and those it copies.
#[derive(Clone, Default)]
struct Spec<'q> {
    partition: &'q [ast::Expr],
    order: &'q [ast::OrderByExpr],
    frame: Option<&'q ast::WindowFrame>,
    exclude: Option<Exclude>,
}

fn windowing_error(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::WINDOWING_ERROR, message)
}

/// The function of windows alone that has this name.
pub(super) fn function_named(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "row_number" => WindowFunction::RowNumber,
        "rank" => WindowFunction::Rank,
        "dense_rank" => WindowFunction::DenseRank,
        "percent_rank" => WindowFunction::PercentRank,
        "cume_dist" => WindowFunction::CumeDist,
        "ntile" => WindowFunction::Ntile,
        "lag" => WindowFunction::Lag,
        "lead" => WindowFunction::Lead,
        "first_value" => WindowFunction::FirstValue,
        "last_value" => WindowFunction::LastValue,
        "nth_value" => WindowFunction::NthValue,
        _ => return None,
    })
}

impl Binder<'_> {
    /// Binds a call with OVER.
    pub(super) fn window_call(
        &mut self,
        call: &Call<'_>,
        over: &WindowType,
        scope: &mut ExprScope<'_>,
    ) -> Result<Expr> {
        if call.within.is_empty() && aggregate::is_hypothetical(&call.name) && !call.args.is_empty() {
            return Err(self.needs_within(call));
        }
        if !call.within.is_empty() || (aggregate::is_ordered_set(&call.name) && !call.args.is_empty()) {
            let message = format!("OVER is not supported for ordered-set aggregate {}", call.name);
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        let aggregate = aggregate::exists(&call.name);
        let function = function_named(&call.name);
        if !aggregate && function.is_none() {
            let args = self.exprs(call.args.iter().copied(), scope)?;
            self.build().function(&call.name, args)?;
            let message = format!(
                "OVER specified, but {} is not a window function nor an aggregate function",
                call.name
            );
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        self.may_call(scope)?;
        self.check_call(call, aggregate)?;
        let inside = |scope: &mut ExprScope<'_>, what| {
            if let Some(windows) = &mut scope.windows {
                windows.inside = what;
            }
        };
        inside(scope, Some("window function calls cannot be nested"));
        let args = self.args(call, scope);
        let clause = std::mem::replace(&mut scope.clause, "FILTER");
        inside(scope, Some("window functions are not allowed in FILTER"));
        let filter = call.filter.map(|filter| self.condition(filter, scope)).transpose();
        scope.clause = clause;
        inside(scope, Some("window functions are not allowed in window definitions"));
        let window = self.window(over, scope);
        inside(scope, None);
        let (args, filter, (partition, order, frame)) = (args?, filter?, window?);
        let mut bound = match function {
            Some(function) if !aggregate || call.args.is_empty() => {
                let (args, pg_type) = self.window_args(function, &call.name, args)?;
                WindowCall { function, args, filter, frame, pg_type }
            }
            _ => {
                let resolved = self.build().aggregate(&call.name, args, false)?;
                let function = WindowFunction::Aggregate(resolved.name);
                WindowCall { function, args: resolved.args, filter, frame, pg_type: resolved.pg_type }
            }
        };
        if call.args.is_empty() && !call.star && call.name == "count" {
            let message = "count(*) must be used to call a parameterless aggregate function";
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        let pg_type = bound.pg_type;
        let volatile = bound.exprs_mut().any(|expr| is_volatile(expr));
        let collected = Collected { partition, order, call: bound };
        let Some(windows) = &mut scope.windows else { return Err(self.not_here(scope)) };
        let known = windows.calls.iter().position(|other| *other == collected && !volatile);
        let position = known.unwrap_or_else(|| {
            windows.calls.push(collected);
            windows.calls.len() - 1
        });
        Ok(Expr::Column { index: WINDOWS_BASE + position, pg_type })
    }

    /// Refuses what aggregates can have and calls with OVER cannot.
    fn check_call(&self, call: &Call<'_>, aggregate: bool) -> Result<()> {
        if call.distinct {
            let message = "DISTINCT is not implemented for window functions";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        if call.ordered() {
            let message = "aggregate ORDER BY is not implemented for window functions";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        if !aggregate && call.filter.is_some() {
            let message = "FILTER is not implemented for non-aggregate window functions";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        Ok(())
    }

    fn not_here(&self, scope: &ExprScope<'_>) -> SqlError {
        windowing_error(format!("window functions are not allowed in {}", scope.clause))
    }

    /// Refuses a call where there may be none.
    fn may_call(&self, scope: &ExprScope<'_>) -> Result<()> {
        if scope.in_aggregate {
            let message = "aggregate function calls cannot contain window function calls";
            return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
        }
        match &scope.windows {
            Some(Windows { inside: Some(message), .. }) => Err(windowing_error(*message)),
            Some(_) if scope.clause != "HAVING" => Ok(()),
            _ => Err(self.not_here(scope)),
        }
    }

    /// The arguments of a function of windows alone, and the type of its result.
    fn window_args(
        &mut self,
        function: WindowFunction,
        name: &str,
        args: Vec<Expr>,
    ) -> Result<(Vec<Expr>, PgType)> {
        let most = match function {
            WindowFunction::Ntile | WindowFunction::FirstValue | WindowFunction::LastValue => 1..=1,
            WindowFunction::NthValue => 2..=2,
            WindowFunction::Lag | WindowFunction::Lead => 1..=3,
            _ => 0..=0,
        };
        let types: Vec<String> = args
            .iter()
            .map(|arg| match arg {
                Expr::Unknown(_) | Expr::UntypedParameter(_) => "unknown".to_owned(),
                arg => arg.pg_type().base().to_string(),
            })
            .collect();
        let missing = || {
            let message = format!("function {name}({}) does not exist", types.join(", "));
            SqlError::new(SqlState::UNDEFINED_FUNCTION, message).hint(
                "No function matches the given name and argument types. You might need to add explicit type casts.",
            )
        };
        if !most.contains(&args.len()) {
            return Err(missing());
        }
        let mut args = args;
        if args.len() == 3 {
            let default = args.swap_remove(2);
            let value = std::mem::replace(&mut args[0], Expr::Unknown(None));
            let (both, _) = self.build().unify("lag", vec![value, default]).map_err(|e| match e.state {
                SqlState::DATATYPE_MISMATCH | SqlState::CANNOT_COERCE => missing(),
                _ => e,
            })?;
            let [value, default] = <[Expr; 2]>::try_from(both).map_err(|_| missing())?;
            args[0] = value;
            args.push(default);
        }
        let number = if function == WindowFunction::Ntile { 0 } else { 1 };
        if args.len() > number {
            let arg = std::mem::replace(&mut args[number], Expr::Unknown(None));
            args[number] =
                self.build().coerce(arg, PgType::Int4, Coercion::Implicit).map_err(|e| match e.state {
                    SqlState::CANNOT_COERCE => missing(),
                    _ => e,
                })?;
        }
        let pg_type = match function {
            WindowFunction::RowNumber | WindowFunction::Rank | WindowFunction::DenseRank => PgType::Int8,
            WindowFunction::PercentRank | WindowFunction::CumeDist => PgType::Float8,
            WindowFunction::Ntile => PgType::Int4,
            _ => {
                let arg = std::mem::replace(&mut args[0], Expr::Unknown(None));
                args[0] = self.build().output(arg)?;
                args[0].pg_type().base()
            }
        };
        Ok((args, pg_type))
    }

    fn window(
        &mut self,
        over: &WindowType,
        scope: &mut ExprScope<'_>,
    ) -> Result<(Vec<Expr>, Vec<Order>, Frame)> {
        let named = scope.windows.as_ref().map_or(&[][..], |windows| windows.named);
        let spec = match over {
            WindowType::NamedWindow(name) => spec_named(&fold(name), named)?,
            WindowType::WindowSpec(spec) => resolved(spec, named)?,
        };
        let mut partition = Vec::with_capacity(spec.partition.len());
        for ast in spec.partition {
            let expr = self.expr(ast, scope)?;
            let expr = self.build().output(expr)?;
            comparable(expr.pg_type(), "an equality")?;
            partition.push(expr);
        }
        let mut order = Vec::with_capacity(spec.order.len());
        for ast in spec.order {
            self.not_postgres(ast.with_fill.is_some(), "WITH FILL")?;
            let expr = self.expr(&ast.expr, scope)?;
            let expr = self.build().output(expr)?;
            comparable(expr.pg_type(), "an ordering")?;
            let descending = ast.options.asc == Some(false);
            let nulls_first = ast.options.nulls_first.unwrap_or(descending);
            order.push(Order { expr, descending, nulls_first });
        }
        let frame = self.frame(&spec, &order, scope)?;
        Ok((partition, order, frame))
    }

    fn frame(&mut self, spec: &Spec<'_>, order: &[Order], scope: &ExprScope<'_>) -> Result<Frame> {
        let exclude = spec.exclude.unwrap_or(Exclude::NoOthers);
        let Some(frame) = spec.frame else {
            let (start, end) = (FrameBound::Unbounded, FrameBound::Current);
            return Ok(Frame { units: FrameUnits::Range, start, end, exclude });
        };
        let units = match frame.units {
            WindowFrameUnits::Rows => FrameUnits::Rows,
            WindowFrameUnits::Range => FrameUnits::Range,
            WindowFrameUnits::Groups => FrameUnits::Groups,
        };
        let end = frame.end_bound.as_ref().unwrap_or(&WindowFrameBound::CurrentRow);
        check_bounds(&frame.start_bound, end)?;
        let has_offset = [&frame.start_bound, end].iter().any(|bound| {
            matches!(bound, WindowFrameBound::Preceding(Some(_)) | WindowFrameBound::Following(Some(_)))
        });
        if units == FrameUnits::Range && has_offset && order.len() != 1 {
            let message = "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column";
            return Err(windowing_error(message));
        }
        if units == FrameUnits::Groups && order.is_empty() {
            return Err(windowing_error("GROUPS mode requires an ORDER BY clause"));
        }
        let start = self.frame_bound(&frame.start_bound, units, order, scope)?;
        let end = self.frame_bound(end, units, order, scope)?;
        Ok(Frame { units, start, end, exclude })
    }

    fn frame_bound(
        &mut self,
        bound: &WindowFrameBound,
        units: FrameUnits,
        order: &[Order],
        scope: &ExprScope<'_>,
    ) -> Result<FrameBound> {
        let (ast, following) = match bound {
            WindowFrameBound::CurrentRow => return Ok(FrameBound::Current),
            WindowFrameBound::Preceding(None) | WindowFrameBound::Following(None) => {
                return Ok(FrameBound::Unbounded);
            }
            WindowFrameBound::Preceding(Some(offset)) => (offset, false),
            WindowFrameBound::Following(Some(offset)) => (offset, true),
        };
        let (word, clause) = match units {
            FrameUnits::Rows => ("ROWS", "window ROWS"),
            FrameUnits::Groups => ("GROUPS", "window GROUPS"),
            FrameUnits::Range => ("RANGE", "window RANGE"),
        };
        let mut own = ExprScope::plain(scope.columns, clause);
        let offset = match bare(ast) {
            // A string alone is read as an interval, but its type is not told yet.
            ast::Expr::Interval(ast::Interval { value, leading_field: None, .. })
                if matches!(bare(value), ast::Expr::Value(_)) =>
            {
                self.expr(value, &mut own)?
            }
            ast => self.expr(ast, &mut own)?,
        };
        if !offset.is_constant() {
            let message = format!("argument of {word} must not contain variables");
            return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        if units == FrameUnits::Range {
            return self.range_bound(offset, following, &order[0]);
        }
        let given = offset.pg_type();
        let untyped = matches!(offset, Expr::Unknown(_) | Expr::UntypedParameter(_));
        let offset =
            self.build().coerce(offset, PgType::Int8, Coercion::Assignment).map_err(|e| match untyped {
                true => e,
                false => {
                    let message =
                        format!("argument of {word} must be type bigint, not type {}", given.base());
                    SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                }
            })?;
        Ok(FrameBound::Offset { following, offset, values: None })
    }

    /// The bound of a RANGE: the order's value, and the same value moved, both of a type that does not overflow.
    fn range_bound(&mut self, offset: Expr, following: bool, order: &Order) -> Result<FrameBound> {
        let from = order.expr.pg_type().base();
        let (offset_type, base) = match from {
            PgType::Int2 | PgType::Int4 | PgType::Int8 => (PgType::Int8, PgType::Numeric(None)),
            PgType::Float4 | PgType::Float8 => (PgType::Float8, PgType::Float8),
            PgType::Numeric(_) => (PgType::Numeric(None), PgType::Numeric(None)),
            PgType::Date | PgType::Timestamp => (PgType::Interval, PgType::Timestamp),
            PgType::Timestamptz => (PgType::Interval, PgType::Timestamptz),
            PgType::Time | PgType::Interval => (PgType::Interval, PgType::Interval),
            _ => {
                let message =
                    format!("RANGE with offset PRECEDING/FOLLOWING is not supported for column type {from}");
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
        };
        let given = offset.pg_type().base();
        let untyped = matches!(offset, Expr::Unknown(_) | Expr::UntypedParameter(_));
        let offset_type = match from {
            PgType::Int2 | PgType::Int4 if untyped => from,
            _ => offset_type,
        };
        let offset = self.build().coerce(offset, offset_type, Coercion::Implicit).map_err(|e| match e.state {
            SqlState::CANNOT_COERCE => {
                let message = format!(
                    "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {from} and offset type {given}"
                );
                SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                    .hint("Cast the offset value to an appropriate type.")
            }
            _ => e,
        })?;
        let value = self.build().coerce(order.expr.clone(), base, Coercion::Implicit)?;
        let by = match base {
            PgType::Numeric(_) => self.build().coerce(offset.clone(), base, Coercion::Implicit)?,
            _ => offset.clone(),
        };
        let operator = if following != order.descending { "+" } else { "-" };
        let moved = self.build().operator(operator, value.clone(), by)?;
        Ok(FrameBound::Offset { following, offset, values: Some(Box::new((value, moved))) })
    }
}

/// PostgreSQL's grammar refuses these.
fn check_bounds(start: &WindowFrameBound, end: &WindowFrameBound) -> Result<()> {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    let message = match (start, end) {
        (Following(None), _) => "frame start cannot be UNBOUNDED FOLLOWING",
        (_, Preceding(None)) => "frame end cannot be UNBOUNDED PRECEDING",
        (CurrentRow, Preceding(_)) => "frame starting from current row cannot have preceding rows",
        (Following(_), CurrentRow | Preceding(_)) => {
            "frame starting from following row cannot have preceding rows"
        }
        _ => return Ok(()),
    };
    Err(windowing_error(message))
}

/// The window of a name.
fn spec_named<'q>(name: &str, named: &'q [ast::NamedWindowDefinition]) -> Result<Spec<'q>> {
    let position = named.iter().position(|window| fold(&window.0) == *name);
    let Some(position) = position else {
        let message = format!("window \"{name}\" does not exist");
        return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
    };
    match &named[position].1 {
        // It can refer to those before it.
        ast::NamedWindowExpr::WindowSpec(spec) => resolved(spec, &named[..position]),
        ast::NamedWindowExpr::NamedWindow(other) => {
            Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{other}\"")))
        }
    }
}

/// A definition with what it copies.
fn resolved<'q>(spec: &'q WindowSpec, named: &'q [ast::NamedWindowDefinition]) -> Result<Spec<'q>> {
    let mut own = Spec {
        partition: &spec.partition_by,
        order: &spec.order_by,
        frame: spec.window_frame.as_ref(),
        exclude: None,
    };
    let Some(ident) = &spec.window_name else { return Ok(own) };
    let (name, exclude) = crate::parse::window_name(ident);
    own.exclude = exclude.map(|word| match word {
        "current" => Exclude::CurrentRow,
        "group" => Exclude::Group,
        "ties" => Exclude::Ties,
        _ => Exclude::NoOthers,
    });
    let Some(name) = name else { return Ok(own) };
    let copied = spec_named(&name, named)?;
    if !own.partition.is_empty() {
        return Err(windowing_error(format!("cannot override PARTITION BY clause of window \"{name}\"")));
    }
    if !own.order.is_empty() && !copied.order.is_empty() {
        return Err(windowing_error(format!("cannot override ORDER BY clause of window \"{name}\"")));
    }
    if copied.frame.is_some() {
        let error = windowing_error(format!("cannot copy window \"{name}\" because it has a frame clause"));
        let plain = own.order.is_empty() && own.frame.is_none();
        return Err(if plain { error.hint("Omit the parentheses in this OVER clause.") } else { error });
    }
    own.partition = copied.partition;
    if own.order.is_empty() {
        own.order = copied.order;
    }
    Ok(own)
}

/// Refuses windows of one name, and those that contradict each other even if nothing uses them.
pub(super) fn check_named(named: &[ast::NamedWindowDefinition]) -> Result<()> {
    for (position, window) in named.iter().enumerate() {
        let name = fold(&window.0);
        if named[..position].iter().any(|other| fold(&other.0) == name) {
            return Err(windowing_error(format!("window \"{name}\" is already defined")));
        }
        spec_named(&name, named)?;
    }
    Ok(())
}

/// The plan with the columns of the calls behind its own; `exprs` refer to calls, and to those columns then.
pub(super) fn plan<'e>(
    input: Logical,
    mut calls: Vec<Collected>,
    exprs: impl Iterator<Item = &'e mut Expr>,
) -> Logical {
    if calls.is_empty() {
        return input;
    }
    let (mut plan, shared) = with_keys(input, &mut calls);
    let mut order: Vec<usize> = (0..shared.len()).collect();
    // Long orders first: a shorter one may be their beginning.
    order.sort_by_key(|window| std::cmp::Reverse(shared[*window].0.len() + shared[*window].1.len()));
    let mut columns = vec![0; calls.len()];
    let mut width = plan.types().len();
    let mut sorted: Vec<SortKey> = Vec::new();
    for window in order {
        let (partition, keys, members) = &shared[window];
        let plain = |column: &usize| SortKey { column: *column, descending: false, nulls_first: false };
        let mut wanted: Vec<SortKey> = partition.iter().map(plain).collect();
        for key in keys {
            if !wanted.iter().any(|known| known.column == key.column) {
                wanted.push(*key);
            }
        }
        if !sorted.starts_with(&wanted) {
            sorted = wanted;
            plan = Logical::Sort { input: Box::new(plan), keys: sorted.clone() };
        }
        for member in members {
            columns[*member] = width;
            width += 1;
        }
        let calls = members.iter().map(|member| calls[*member].call.clone()).collect();
        let (partition, order) = (partition.clone(), keys.clone());
        plan = Logical::Window(Box::new(Window { input: plan, partition, order, calls }));
    }
    exprs.for_each(|expr| {
        renumber(expr, &|index| {
            if (WINDOWS_BASE..super::expr::GROUPINGS_BASE).contains(&index) {
                columns[index - WINDOWS_BASE]
            } else {
                index
            }
        });
    });
    plan
}

/// Partition, order, and which calls have them.
type Shared = (Vec<usize>, Vec<SortKey>, Vec<usize>);

/// The input with the keys of all windows as columns, and the windows over these.
fn with_keys(input: Logical, calls: &mut [Collected]) -> (Logical, Vec<Shared>) {
    let column = |(index, pg_type)| Expr::Column { index, pg_type };
    let mut exprs: Vec<Expr> = input.types().into_iter().enumerate().map(column).collect();
    let width = exprs.len();
    let mut place = |expr: &Expr| match expr {
        Expr::Column { index, .. } => *index,
        expr => exprs.iter().position(|known| known == expr && !is_volatile(expr)).unwrap_or_else(|| {
            exprs.push(expr.clone());
            exprs.len() - 1
        }),
    };
    let mut shared: Vec<Shared> = Vec::new();
    for (number, collected) in calls.iter().enumerate() {
        let partition: Vec<usize> = collected.partition.iter().map(&mut place).collect();
        let mut keys: Vec<SortKey> = Vec::with_capacity(collected.order.len());
        for order in &collected.order {
            let (descending, nulls_first) = (order.descending, order.nulls_first);
            let column = place(&order.expr);
            if !keys.iter().any(|known| known.column == column) {
                keys.push(SortKey { column, descending, nulls_first });
            }
        }
        match shared.iter_mut().find(|(known, order, _)| *known == partition && *order == keys) {
            Some((_, _, members)) => members.push(number),
            None => shared.push((partition, keys, vec![number])),
        }
    }
    let plan = if exprs.len() > width { Logical::Project { input: Box::new(input), exprs } } else { input };
    (plan, shared)
}
