//! Functions and operators that expressions call: names, types, volatility, and the code behind them.
//!
//! A table per subject; which entry a call means is `resolve`'s to find.

mod arrays;
mod dates;
mod json;
mod numbers;
mod operators;
mod session;
mod sets;
mod texts;

use std::sync::LazyLock;

use hashbrown::HashMap;
use omen_core::types::PgType;

use super::Expr;
use super::kernel::Kernel;
use super::sets::{SetKernel, Start, not_a_value};

/// How far the result of a function may change with equal arguments (PG 15, chapter 38.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Volatility {
    /// Never.
    Immutable,
    /// Not within a statement.
    Stable,
    /// With every call.
    Volatile,
}

/// What an argument may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Param {
    /// This type.
    Is(PgType),
    /// Any type.
    Any,
    /// Any type that is no array.
    NonArray,
    /// An array of the type that all parameters of these two kinds share.
    Array,
    /// A value of that type.
    Element,
}

/// A type of a result that follows from those of the arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given {
    /// An array of the type that arguments share.
    Array,
    /// That type.
    Element,
}

/// A function or operator that can be called.
#[derive(Debug)]
pub struct Function {
    /// Name, or the operator's characters.
    pub name: &'static str,
    /// What it takes.
    pub params: &'static [Param],
    /// Type of the result.
    pub result: PgType,
    /// How far the result may change with equal arguments.
    pub volatility: Volatility,
    /// The last parameter may come any number of times, at least once.
    pub variadic: bool,
    /// NULL if any argument is NULL.
    pub strict: bool,
    pub(crate) kernel: Kernel,
    /// The arguments of kinds `Array` and `Element` are converted to a type that all of them become by themselves.
    pub(crate) compatible: bool,
    /// How the type of the result follows from that type.
    pub(crate) given: Option<Given>,
    /// It answers rows.
    pub(crate) set: Option<SetKernel>,
}

impl Function {
    const fn new(name: &'static str, params: &'static [Param], result: PgType, kernel: Kernel) -> Function {
        Function {
            name,
            params,
            result,
            volatility: Volatility::Immutable,
            variadic: false,
            strict: true,
            kernel,
            compatible: false,
            given: None,
            set: None,
        }
    }

    /// A function that answers rows of one column.
    const fn set_of(name: &'static str, params: &'static [Param], result: PgType, start: Start) -> Function {
        let mut function = Function::new(name, params, result, not_a_value);
        function.set = Some(SetKernel { start, columns: &[] });
        function
    }

    /// A function that answers rows of named columns.
    const fn set_with(
        name: &'static str,
        params: &'static [Param],
        result: PgType,
        columns: &'static [(&'static str, PgType)],
        start: Start,
    ) -> Function {
        let mut function = Function::new(name, params, result, not_a_value);
        function.set = Some(SetKernel { start, columns });
        function
    }

    /// The same, with a common type looked for instead of the same type in all places.
    const fn compatible(mut self) -> Function {
        self.compatible = true;
        self
    }

    /// The same, answering an array of the shared type.
    const fn gives_array(mut self) -> Function {
        self.given = Some(Given::Array);
        self
    }

    /// The same, answering the shared type.
    const fn gives_element(mut self) -> Function {
        self.given = Some(Given::Element);
        self
    }

    /// The same, changing with the transaction or the session's settings.
    const fn stable(mut self) -> Function {
        self.volatility = Volatility::Stable;
        self
    }

    /// The same, changing with every call.
    const fn volatile(mut self) -> Function {
        self.volatility = Volatility::Volatile;
        self
    }

    /// The same, with its last parameter any number of times.
    const fn variadic(mut self) -> Function {
        self.variadic = true;
        self
    }

    /// The same, called also with NULLs.
    const fn sees_nulls(mut self) -> Function {
        self.strict = false;
        self
    }

    /// What the `index`-th argument may be.
    pub(crate) fn param(&self, index: usize) -> Param {
        self.params.get(index).or(self.params.last()).copied().unwrap_or(Param::Any)
    }

    /// Whether it takes so many arguments.
    pub(crate) fn takes(&self, count: usize) -> bool {
        if self.variadic { count >= self.params.len() } else { count == self.params.len() }
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Short names of types for the tables.
mod short {
    use omen_core::types::PgType;

    use super::Param;

    pub(super) const BOOL: PgType = PgType::Bool;
    pub(super) const INT2: PgType = PgType::Int2;
    pub(super) const INT4: PgType = PgType::Int4;
    pub(super) const INT8: PgType = PgType::Int8;
    pub(super) const FLOAT4: PgType = PgType::Float4;
    pub(super) const FLOAT8: PgType = PgType::Float8;
    pub(super) const NUMERIC: PgType = PgType::Numeric(None);
    pub(super) const TEXT: PgType = PgType::Text;
    pub(super) const BYTEA: PgType = PgType::Bytea;
    pub(super) const DATE: PgType = PgType::Date;
    pub(super) const TIME: PgType = PgType::Time;
    pub(super) const TIMESTAMP: PgType = PgType::Timestamp;
    pub(super) const TIMESTAMPTZ: PgType = PgType::Timestamptz;
    pub(super) const INTERVAL: PgType = PgType::Interval;
    pub(super) const UUID: PgType = PgType::Uuid;

    pub(super) const I2: Param = Param::Is(INT2);
    pub(super) const I4: Param = Param::Is(INT4);
    pub(super) const I8: Param = Param::Is(INT8);
    pub(super) const F4: Param = Param::Is(FLOAT4);
    pub(super) const F8: Param = Param::Is(FLOAT8);
    pub(super) const NU: Param = Param::Is(NUMERIC);
    pub(super) const TX: Param = Param::Is(TEXT);
    pub(super) const BY: Param = Param::Is(BYTEA);
    pub(super) const DA: Param = Param::Is(DATE);
    pub(super) const TI: Param = Param::Is(TIME);
    pub(super) const TS: Param = Param::Is(TIMESTAMP);
    pub(super) const TZ: Param = Param::Is(TIMESTAMPTZ);
    pub(super) const IV: Param = Param::Is(INTERVAL);
    pub(super) const JS: Param = Param::Is(PgType::Json);
    pub(super) const JB: Param = Param::Is(PgType::Jsonb);
    pub(super) const ANY: Param = Param::Any;
    pub(super) const NON: Param = Param::NonArray;
    pub(super) const ARR: Param = Param::Array;
    pub(super) const ELE: Param = Param::Element;
}

type Index = HashMap<&'static str, Vec<&'static Function>>;

fn index_of(tables: &[&'static [Function]]) -> Index {
    let mut index = Index::new();
    for function in tables.iter().flat_map(|table| table.iter()) {
        index.entry(function.name).or_default().push(function);
    }
    index
}

static FUNCTIONS: LazyLock<Index> = LazyLock::new(|| {
    index_of(&[
        numbers::FUNCTIONS,
        texts::FUNCTIONS,
        dates::FUNCTIONS,
        session::FUNCTIONS,
        sets::FUNCTIONS,
        arrays::FUNCTIONS,
        json::FUNCTIONS,
    ])
});

static OPERATORS: LazyLock<Index> = LazyLock::new(|| {
    index_of(&[
        operators::ARITHMETIC,
        operators::TEXTS,
        operators::DATES,
        json::OPERATORS,
        arrays::OPERATORS,
        operators::COMPARISONS,
    ])
});

/// The functions of a name.
pub(crate) fn functions_named(name: &str) -> &'static [&'static Function] {
    FUNCTIONS.get(name).map_or(&[], Vec::as_slice)
}

/// The operators of a name, of one or two operands.
pub(crate) fn operators_named(name: &str) -> &'static [&'static Function] {
    OPERATORS.get(name).map_or(&[], Vec::as_slice)
}

/// Whether a scalar function of this name exists, with whatever arguments.
pub fn exists(name: &str) -> bool {
    FUNCTIONS.contains_key(name) || matches!(name, "coalesce" | "nullif" | "greatest" | "least")
}

/// The name of [`one_row`].
pub(crate) const ONE_ROW: &str = "one row";

/// The function that answers its argument as one row.
pub(crate) fn one_row() -> &'static Function {
    &sets::ONE_ROW
}

/// `ARRAY[..]`
pub(crate) fn array_constructor() -> &'static Function {
    &arrays::CONSTRUCTOR
}

/// A row as JSON, of names and values that take turns.
pub(crate) fn row_json() -> &'static Function {
    &json::ROW
}

/// Whether it is a row as JSON, or NULL in its place.
pub(crate) fn is_row_json(expr: &Expr) -> bool {
    match expr {
        Expr::Call { function, .. } => std::ptr::eq(*function, row_json()),
        Expr::Case { otherwise: Some(otherwise), .. } => is_row_json(otherwise),
        _ => false,
    }
}

/// `a[i]`
pub(crate) fn array_subscript() -> &'static Function {
    &arrays::SUBSCRIPT
}

/// `a[i:j]`
pub(crate) fn array_slice() -> &'static Function {
    &arrays::SLICE
}

/// An array with an element replaced, or a slice.
pub(crate) fn array_assign(sliced: bool) -> &'static Function {
    if sliced { &arrays::ASSIGN_SLICE } else { &arrays::ASSIGN_ELEMENT }
}
