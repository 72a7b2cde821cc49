//! Typed expressions and their evaluation over Arrow batches.
//!
//! A binder makes them through [`ExprBuilder`], which resolves functions, operators and casts as PostgreSQL does; what
//! it answers needs no names any more. [`Expr::fold`] replaces parameters and constant parts before execution.

pub mod aggregate;
pub mod build;
pub mod function;
pub mod scalar;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use omen_core::error::ValueError;
use omen_core::types::{Datum, PgType};

use crate::types::FormatOptions;
pub use build::{Coercion, ExprBuilder, ParameterTypes};
pub use function::{Function, Volatility};

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
        todo!()
    }

    /// Evaluates it on every row of the batch.
    ///
    /// # Errors
    /// As PostgreSQL would raise for any row.
    pub fn eval(&self, _batch: &RecordBatch, _context: &EvalContext) -> Result<ArrayRef, ValueError> {
        todo!()
    }

    /// Evaluates a condition: rows where the answer is neither false nor NULL are true; the answer has no NULLs.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn eval_predicate(
        &self,
        _batch: &RecordBatch,
        _context: &EvalContext,
    ) -> Result<BooleanArray, ValueError> {
        todo!()
    }

    /// Evaluates an expression without columns.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn eval_constant(&self, _context: &EvalContext) -> Result<Datum, ValueError> {
        todo!()
    }

    /// The same expression with parameters and constant parts replaced by their values, to be evaluated in the same
    /// context. Parts that fail stay as they are, so that a branch that is not taken raises nothing.
    #[must_use]
    pub fn fold(&self, _context: &EvalContext) -> Expr {
        todo!()
    }

    /// Whether no part of it reads a column.
    pub fn is_constant(&self) -> bool {
        todo!()
    }

    /// The strongest volatility of its functions.
    pub fn volatility(&self) -> Volatility {
        todo!()
    }

    /// Calls `visit` for this expression and all parts of it, from the outside in.
    pub fn visit(&self, _visit: &mut dyn FnMut(&Expr)) {
        todo!()
    }

    /// The same expression with every part replaced by what `change` answers for it, from the inside out.
    #[must_use]
    pub fn transform(self, _change: &mut dyn FnMut(Expr) -> Expr) -> Expr {
        todo!()
    }

    /// The conditions that must all be true for this one to be true.
    pub fn into_conjuncts(self) -> Vec<Expr> {
        match self {
            Expr::And(parts) => parts.into_iter().flat_map(Expr::into_conjuncts).collect(),
            other => vec![other],
        }
    }
}

/// What expressions read beside the rows. `Clone` gives another stream of random numbers.
#[derive(Clone, Debug)]
pub struct EvalContext {
    /// Values of `$1`, `$2`, ..
    pub parameters: std::sync::Arc<[Datum]>,
    /// `now()`: start of the transaction, microseconds since 1970 UTC.
    pub transaction_start_us: i64,
    /// `statement_timestamp()`, microseconds since 1970 UTC.
    pub statement_start_us: i64,
    /// The session's settings.
    pub format: FormatOptions,
    /// `current_user`
    pub user: std::sync::Arc<str>,
    /// `current_database()`
    pub database: std::sync::Arc<str>,
    /// `pg_backend_pid()`
    pub backend_pid: i32,
}
