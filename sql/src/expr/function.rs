//! Functions and operators that expressions call, and their registry.

use omen_core::types::PgType;

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

/// A function or operator that can be called.
#[derive(Debug)]
pub struct Function {
    /// Name, or the operator's characters.
    pub name: &'static str,
    /// Types of the arguments.
    pub args: &'static [PgType],
    /// Type of the result.
    pub result: PgType,
    /// How far the result may change with equal arguments.
    pub volatility: Volatility,
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Whether a scalar function of this name exists, with whatever arguments.
pub fn exists(_name: &str) -> bool {
    todo!()
}
