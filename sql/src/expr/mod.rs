//! Typed expressions and their evaluation over Arrow batches.
//!
//! A binder makes them through [`ExprBuilder`], which resolves functions, operators and casts as PostgreSQL does; what
//! it answers needs no names any more. [`Expr::fold`] replaces parameters and constant parts before execution.

pub mod aggregate;
mod any_all;
pub mod build;
mod cast;
mod choose;
mod context;
pub(crate) mod decimals;
pub(crate) mod eval;
mod fold;
mod inset;
mod kernel;
mod logic;
pub mod registry;
mod resolve;
pub(crate) mod sets;
mod to_char;
mod truth;
mod value;
mod walk;

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use omen_core::error::ValueError;
use omen_core::types::{Datum, PgType};

use eval::Frame;

pub use build::{Coercion, ExprBuilder, ParameterTypes};
pub use context::EvalContext;
pub use inset::InSet;
pub use kernel::misc::POSTGRES_VERSION;
pub use kernel::pattern::like_prefix;
pub use registry::{Function, Volatility};
pub use value::datum_at;

/// An expression over the columns of a batch. Typed and free of names, `Send + Sync`.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Column of the batch, by position.
    Column {
        /// Position in the batch.
        index: usize,
        /// Its type.
        pg_type: PgType,
    },
    /// A column of the row that an outer query is at. Only in plans of subqueries, until they are unnested.
    Outer {
        /// Which outer query: the number of the subquery that it evaluates.
        scope: usize,
        /// Position in that query's row.
        index: usize,
        /// Its type.
        pg_type: PgType,
    },
    /// What a subquery answers. Only while a statement is bound.
    Subquery {
        /// Its number in the statement.
        id: usize,
        /// Its type.
        pg_type: PgType,
    },
    /// A constant.
    Literal {
        /// The value, or NULL.
        value: Datum,
        /// Its type.
        pg_type: PgType,
    },
    /// A string literal or NULL (`None`) whose type nothing has told yet. Binders make them, the builder resolves
    /// them; one that is left is text.
    Unknown(Option<Box<str>>),
    /// `$n` whose type nothing has told yet, counted from 0; the builder turns it into `Parameter`.
    UntypedParameter(usize),
    /// `$n`, counted from 0.
    Parameter {
        /// Position in [`EvalContext::parameters`].
        index: usize,
        /// Its type.
        pg_type: PgType,
    },
    /// A function or operator.
    Call {
        /// Which.
        function: &'static Function,
        /// Arguments of the types that it takes.
        args: Vec<Expr>,
        /// Type of the result.
        pg_type: PgType,
    },
    /// A conversion; `to` may carry a modifier.
    Cast {
        /// What is converted.
        arg: Box<Expr>,
        /// To which type.
        to: PgType,
        /// Written by the user: `varchar(n)` truncates instead of failing.
        explicit: bool,
    },
    /// `CASE WHEN .. THEN .. ELSE .. END`; a simple CASE has equality comparisons as conditions.
    Case {
        /// Conditions and results.
        arms: Vec<(Expr, Expr)>,
        /// The result if no condition is true; NULL if absent.
        otherwise: Option<Box<Expr>>,
        /// Type of the result.
        pg_type: PgType,
    },
    /// Conjunction, at least two.
    And(Vec<Expr>),
    /// Disjunction, at least two.
    Or(Vec<Expr>),
    /// Negation.
    Not(Box<Expr>),
    /// `IS [NOT] NULL`
    IsNull {
        /// What is asked.
        arg: Box<Expr>,
        /// `IS NOT NULL`
        negated: bool,
    },
    /// `IS [NOT] TRUE | FALSE | UNKNOWN`
    IsTruth {
        /// What is asked.
        arg: Box<Expr>,
        /// TRUE, FALSE or UNKNOWN (`None`).
        truth: Option<bool>,
        /// `IS NOT ..`
        negated: bool,
    },
    /// `IS [NOT] DISTINCT FROM`; both sides have the same type.
    IsDistinct {
        /// One side.
        left: Box<Expr>,
        /// The other.
        right: Box<Expr>,
        /// `IS NOT DISTINCT FROM`
        negated: bool,
    },
    /// `IN (..)`; all have the same type.
    InList {
        /// What is looked for.
        arg: Box<Expr>,
        /// Where.
        list: Vec<Expr>,
        /// `NOT IN`
        negated: bool,
    },
    /// `IN` with constants that have been made ready by [`Expr::fold`].
    InSet {
        /// What is looked for.
        arg: Box<Expr>,
        /// Where.
        set: Arc<InSet>,
        /// `NOT IN`
        negated: bool,
    },
    /// `x op ANY (array)` and `x op ALL (array)`
    AnyAll {
        /// The operator.
        function: &'static Function,
        /// Its left operand.
        left: Box<Expr>,
        /// An array of its right operands.
        array: Box<Expr>,
        /// `ALL`
        all: bool,
    },
    /// The first argument that is not NULL; all have the same type.
    Coalesce(Vec<Expr>),
    /// The first argument, or NULL if the second expression (an equality) is true.
    NullIf {
        /// The value.
        value: Box<Expr>,
        /// Comparison of value and the other argument.
        equal: Box<Expr>,
    },
    /// `GREATEST` and `LEAST`; all have the same type.
    Extreme {
        /// Candidates.
        args: Vec<Expr>,
        /// `GREATEST`
        greatest: bool,
    },
}

impl Expr {
    /// NULL of a type.
    pub fn null(pg_type: PgType) -> Expr {
        Expr::Literal { value: Datum::Null, pg_type }
    }

    /// The type of its values.
    pub fn pg_type(&self) -> PgType {
        match self {
            Expr::Column { pg_type, .. }
            | Expr::Outer { pg_type, .. }
            | Expr::Subquery { pg_type, .. }
            | Expr::Literal { pg_type, .. }
            | Expr::Parameter { pg_type, .. }
            | Expr::Call { pg_type, .. }
            | Expr::Case { pg_type, .. } => *pg_type,
            Expr::Cast { to, .. } => *to,
            Expr::Unknown(_) | Expr::UntypedParameter(_) => PgType::Text,
            Expr::And(_)
            | Expr::Or(_)
            | Expr::Not(_)
            | Expr::IsNull { .. }
            | Expr::IsTruth { .. }
            | Expr::IsDistinct { .. }
            | Expr::InList { .. }
            | Expr::InSet { .. }
            | Expr::AnyAll { .. } => PgType::Bool,
            Expr::NullIf { value, .. } => value.pg_type(),
            Expr::Coalesce(args) | Expr::Extreme { args, .. } => common_modifier(args),
        }
    }

    /// Evaluates it on every row of the batch.
    ///
    /// # Errors
    /// As PostgreSQL would raise for any row.
    pub fn eval(&self, batch: &RecordBatch, context: &EvalContext) -> Result<ArrayRef, ValueError> {
        Ok(eval::eval(self, Frame::of(batch), context)?.into_array(self.pg_type(), batch.num_rows()))
    }

    /// Evaluates a condition: rows where it is true. The answer has no NULLs.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn eval_predicate(
        &self,
        batch: &RecordBatch,
        context: &EvalContext,
    ) -> Result<BooleanArray, ValueError> {
        Ok(BooleanArray::new(logic::yes(self, Frame::of(batch), context)?, None))
    }

    /// Evaluates an expression without columns.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn eval_constant(&self, context: &EvalContext) -> Result<Datum, ValueError> {
        Ok(eval::eval(self, Frame::constant(), context)?.datum(self.pg_type(), 0))
    }

    /// Whether no part of it reads a column.
    pub fn is_constant(&self) -> bool {
        let mut constant = true;
        self.visit(&mut |part| {
            constant &= !matches!(part, Expr::Column { .. } | Expr::Outer { .. } | Expr::Subquery { .. });
        });
        constant
    }

    /// The strongest volatility of its functions. Text becomes a `timestamptz` in the session's time zone, so casts
    /// among dates and texts are stable.
    pub fn volatility(&self) -> Volatility {
        let mut strongest = Volatility::Immutable;
        self.visit(&mut |part| {
            let own = match part {
                Expr::Call { function, .. } | Expr::AnyAll { function, .. } => function.volatility,
                Expr::Cast { arg, to, .. } if cast_reads_settings(arg.pg_type(), *to) => Volatility::Stable,
                _ => Volatility::Immutable,
            };
            strongest = strongest.max(own);
        });
        strongest
    }

    /// The conditions that must all be true for this one to be true.
    pub fn into_conjuncts(self) -> Vec<Expr> {
        match self {
            Expr::And(parts) => parts.into_iter().flat_map(Expr::into_conjuncts).collect(),
            other => vec![other],
        }
    }
}

/// The type of arguments that share one but for its modifier.
fn common_modifier(args: &[Expr]) -> PgType {
    let Some(first) = args.first().map(Expr::pg_type) else { return PgType::Text };
    if args.iter().all(|arg| arg.pg_type() == first) { first } else { first.base() }
}

fn cast_reads_settings(from: PgType, to: PgType) -> bool {
    let zoned = |pg_type: PgType| matches!(pg_type, PgType::Timestamptz);
    let written = |pg_type: PgType| {
        use PgType::{Bytea, Date, Float4, Float8, Interval, Time, Timestamp, Timestamptz};
        matches!(pg_type, Date | Time | Timestamp | Timestamptz | Interval | Float4 | Float8 | Bytea)
    };
    (zoned(from) != zoned(to)) || (from.is_text() && written(to)) || (to.is_text() && written(from))
}

/// Two sets are the same if they are one.
impl PartialEq for InSet {
    fn eq(&self, other: &InSet) -> bool {
        std::ptr::eq(self, other)
    }
}
