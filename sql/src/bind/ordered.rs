//! ORDER BY inside calls of aggregates, and WITHIN GROUP.

use sqlparser::ast;

use super::Binder;
use super::expr::ExprScope;
use super::functions::Call;
use super::select::comparable;
use crate::error::{Result, SqlError, SqlState};
use crate::expr::Expr;
use crate::expr::aggregate::{AggregateCall, Direction, is_hypothetical, is_ordered_set};

impl Binder<'_> {
    /// Refuses what cannot stand beside WITHIN GROUP.
    pub(super) fn check_within(&self, call: &Call<'_>) -> Result<()> {
        let message = match () {
            () if call.within.is_empty() => return Ok(()),
            () if call.distinct => "cannot use DISTINCT with WITHIN GROUP",
            () if call.ordered() => "cannot use multiple ORDER BY clauses with WITHIN GROUP",
            () => return Ok(()),
        };
        Err(SqlError::new(SqlState::SYNTAX_ERROR, message))
    }

    /// 42809 for an ordered-set aggregate alone.
    pub(super) fn needs_within(&self, call: &Call<'_>) -> SqlError {
        let message = format!("WITHIN GROUP is required for ordered-set aggregate {}", call.name);
        SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
    }

    /// The order inside a call: no ordinals and no names of outputs.
    pub(super) fn call_order(
        &mut self,
        asts: &[ast::OrderByExpr],
        scope: &mut ExprScope<'_>,
    ) -> Result<Vec<(Expr, Direction)>> {
        let mut order = Vec::with_capacity(asts.len());
        for ast in asts {
            self.not_postgres(ast.with_fill.is_some(), "WITH FILL")?;
            let expr = self.expr(&ast.expr, scope)?;
            let descending = ast.options.asc == Some(false);
            let nulls_first = ast.options.nulls_first.unwrap_or(descending);
            order.push((expr, Direction { descending, nulls_first }));
        }
        Ok(order)
    }

    /// The call with its arguments and order.
    pub(super) fn ordered_call(
        &mut self,
        call: &Call<'_>,
        mut args: Vec<Expr>,
        order: Vec<(Expr, Direction)>,
    ) -> Result<AggregateCall> {
        match (is_ordered_set(&call.name), call.within.is_empty()) {
            (true, false) => return self.within_group(call, args, order),
            (true, true) if is_hypothetical(&call.name) || call.name == "mode" => {
                return Err(self.needs_within(call));
            }
            (false, true) => {}
            _ => {
                let sorted: Vec<Expr> = order.into_iter().map(|(expr, _)| expr).collect();
                return Err(self.no_such(call, &args, &sorted));
            }
        }
        if order.is_empty() {
            return self.build().aggregate(&call.name, args, call.distinct);
        }
        // What an untyped literal becomes as an argument, it is in the order, too.
        let unknown = |expr: &Expr| matches!(expr, Expr::Unknown(_) | Expr::UntypedParameter(_));
        let places: Vec<Option<usize>> =
            order.iter().map(|(expr, _)| args.iter().position(|arg| arg == expr)).collect();
        for arg in args.iter_mut().filter(|arg| unknown(arg)) {
            let open = std::mem::replace(arg, Expr::Unknown(None));
            *arg = self.build().output(open)?;
        }
        let mut resolved = self.build().aggregate(&call.name, args, call.distinct)?;
        for ((expr, direction), place) in order.into_iter().zip(places) {
            let expr = match place {
                Some(place) => resolved.args[place].clone(),
                None if call.distinct => {
                    let message =
                        "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
                    return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
                }
                None => self.build().output(expr)?,
            };
            comparable(expr.pg_type(), "an ordering")?;
            resolved.args.push(expr);
            resolved.order.push(direction);
        }
        Ok(resolved)
    }

    /// An ordered-set aggregate: its direct arguments, then the sorted ones, which are also the order.
    fn within_group(
        &mut self,
        call: &Call<'_>,
        direct: Vec<Expr>,
        order: Vec<(Expr, Direction)>,
    ) -> Result<AggregateCall> {
        let direct_count = direct.len();
        let (mut sorted, directions): (Vec<Expr>, Vec<Direction>) = order.into_iter().unzip();
        let mut args = direct;
        if is_hypothetical(&call.name) {
            if args.len() != sorted.len() {
                return Err(self.no_such(call, &args, &sorted));
            }
            for (arg, sorted) in args.iter_mut().zip(&mut sorted) {
                let take = |expr: &mut Expr| std::mem::replace(expr, Expr::Unknown(None));
                let (both, _) = self.build().unify("WITHIN GROUP", vec![take(sorted), take(arg)])?;
                let [own, other] =
                    <[Expr; 2]>::try_from(both).unwrap_or([Expr::Unknown(None), Expr::Unknown(None)]);
                (*sorted, *arg) = (own, other);
            }
        } else if sorted.len() != 1 {
            return Err(self.no_such(call, &args, &sorted));
        }
        args.extend(sorted);
        let mut resolved = self.build().aggregate(&call.name, args, false)?;
        let sorted: Vec<Expr> = resolved.args[direct_count..].to_vec();
        for expr in &sorted {
            comparable(expr.pg_type(), "an ordering")?;
        }
        resolved.args.extend(sorted);
        resolved.order = directions;
        Ok(resolved)
    }

    /// 42883.
    pub(super) fn no_such(&self, call: &Call<'_>, direct: &[Expr], sorted: &[Expr]) -> SqlError {
        let name_of = |expr: &Expr| match expr {
            Expr::Unknown(_) | Expr::UntypedParameter(_) => "unknown".to_owned(),
            expr => expr.pg_type().base().to_string(),
        };
        let types: Vec<String> = direct.iter().chain(sorted).map(name_of).collect();
        let message = format!("function {}({}) does not exist", call.name, types.join(", "));
        SqlError::new(SqlState::UNDEFINED_FUNCTION, message)
    }
}
