//! Binding: from syntax to typed expressions and plans, with names resolved against one catalog.
//!
//! Invariant: what binding answers holds no names and no unknown types any more. Whatever a statement says and a
//! binder does not handle is an error (0A000); syntax trees are taken apart field by field for that.

mod array;
pub(crate) mod ddl;
mod expr;
mod file;
mod from;
mod functions;
mod group;
mod grouping;
pub(crate) mod insert;
mod lock;
pub(crate) mod modify;
pub(crate) mod names;
mod ordered;
mod output;
mod project_set;
pub(crate) mod select;
mod set;
pub(crate) mod subquery;
mod table_function;
pub(crate) mod types;
mod whole_row;
mod window;
pub(crate) mod with;

use omen_core::catalog::Catalog;
use omen_core::types::PgType;

use crate::error::{Result, SqlError, SqlState};
use crate::expr::{EvalContext, Expr, ExprBuilder, ParameterTypes};
use crate::files::Files;
use crate::settings::Settings;

pub(crate) use expr::ExprScope;
pub(crate) use table_function::ROWS_FROM;

/// Deepest bound expression. Evaluation recurses without looking at the stack; a level takes about 1 KiB of the 2 MiB
/// that the smallest thread has.
const EXPR_DEPTH_MAX: usize = 600;

/// A value that expressions read like a parameter, but that only the session can compute, before the statement runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LateValue {
    /// What it is.
    pub(crate) kind: LateKind,
    /// Its arguments, which read no columns.
    pub(crate) args: Vec<Expr>,
}

/// Functions of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LateKind {
    /// `pg_total_relation_size`, `pg_relation_size`, `pg_table_size`
    RelationSize,
    /// `current_setting`
    CurrentSetting,
    /// `set_config`
    SetConfig,
    /// A subquery that is computed once.
    Subquery,
}

impl LateKind {
    /// The type of the value.
    pub(crate) fn pg_type(self) -> PgType {
        match self {
            LateKind::RelationSize => PgType::Int8,
            LateKind::CurrentSetting | LateKind::SetConfig | LateKind::Subquery => PgType::Text,
        }
    }
}

/// Binds one statement.
pub(crate) struct Binder<'a> {
    /// The text that positions refer to; empty if there is none.
    pub(crate) text: &'a str,
    /// What exists.
    pub(crate) catalog: &'a Catalog,
    /// Where names are looked up.
    pub(crate) settings: &'a Settings,
    /// How literals are read.
    pub(crate) context: &'a EvalContext,
    /// Files that may be named, if any.
    pub(crate) files: Option<&'a Files>,
    /// Types of `$1`, `$2`, ..; grows.
    pub(crate) parameters: ParameterTypes,
    /// Number of parameters; the late values follow them.
    pub(crate) parameter_count: usize,
    /// Values that follow the parameters.
    pub(crate) late: Vec<LateValue>,
    /// Subqueries whose answers are such values, in the order in which they are computed.
    pub(crate) initial: Vec<subquery::InitialValue>,
    /// The queries around the one that is being bound, from the outside in.
    outer: Vec<subquery::OuterQuery>,
    /// What stands in FROM before what is being bound, for LATERAL.
    siblings: Vec<subquery::OuterQuery>,
    /// Subqueries that expressions refer to.
    subqueries: Vec<subquery::Subquery>,
    /// Queries of WITH that can be named, from the outside in.
    ctes: Vec<with::Cte>,
    /// Tables that parts of the statement share.
    tables: Vec<with::SharedTable>,
    /// Whether the next WITH is that of a statement that may write.
    pub(crate) is_top: bool,
    /// Numbers of dependent joins that are taken.
    scopes: usize,
    depth: usize,
}

impl<'a> Binder<'a> {
    /// A binder of a statement with these parameters.
    pub(crate) fn new(
        text: &'a str,
        catalog: &'a Catalog,
        settings: &'a Settings,
        context: &'a EvalContext,
        parameters: ParameterTypes,
        parameter_count: usize,
    ) -> Binder<'a> {
        Binder {
            text,
            catalog,
            settings,
            context,
            files: None,
            parameters,
            parameter_count,
            late: Vec::new(),
            initial: Vec::new(),
            outer: Vec::new(),
            siblings: Vec::new(),
            subqueries: Vec::new(),
            ctes: Vec::new(),
            tables: Vec::new(),
            is_top: false,
            scopes: 0,
            depth: 0,
        }
    }

    /// Makes expressions.
    pub(crate) fn build(&mut self) -> ExprBuilder<'_> {
        ExprBuilder { context: self.context, parameters: &mut self.parameters }
    }

    /// Refuses a clause that is there.
    pub(crate) fn refuse(&self, there: bool, what: &str, hint: &str) -> Result<()> {
        if there { Err(SqlError::unsupported(what, hint)) } else { Ok(()) }
    }

    /// Refuses syntax that `sqlparser` reads and PostgreSQL does not have.
    pub(crate) fn not_postgres(&self, there: bool, what: &str) -> Result<()> {
        match there {
            true => {
                Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error: {what} is not PostgreSQL")))
            }
            false => Ok(()),
        }
    }
}
