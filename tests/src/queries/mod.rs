//! Random tables and random queries over them, the same for the same seed.
//!
//! What a query answers follows from the rows alone: sums are of exact types, orders are total where they decide what is
//! answered, nothing divides by zero or leaves its type. So PostgreSQL must answer the same, and so must OmenDB when it
//! runs a query in another way.

mod expr;
mod select;
mod tables;

use crate::rng::Rng;

pub use tables::statements;

/// How much a query may contain: subqueries and joins, all over.
const PARTS_MAX: u32 = 5;

/// The types of columns and expressions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Int,
    Big,
    Numeric,
    Text,
    Date,
    Bool,
}

const TYPES: [Type; 6] = [Type::Int, Type::Big, Type::Numeric, Type::Text, Type::Date, Type::Bool];

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Int => "int",
            Type::Big => "bigint",
            Type::Numeric => "numeric",
            Type::Text => "text",
            Type::Date => "date",
            Type::Bool => "boolean",
        }
    }
}

/// What an expression can name.
#[derive(Clone, Debug)]
struct Column {
    /// A qualified name, or behind GROUP BY the text of an expression.
    text: String,
    kind: Type,
    /// Subqueries can name it.
    plain: bool,
}

/// What can be named at a place.
#[derive(Clone, Default, Debug)]
struct Scope {
    columns: Vec<Column>,
    /// Those of the queries around.
    outer: Vec<Column>,
    /// Columns that tell any two rows apart, if all tables have a key.
    keys: Option<Vec<String>>,
}

impl Scope {
    /// What a subquery at this place sees.
    fn around(&self) -> Vec<Column> {
        self.columns.iter().filter(|column| column.plain).chain(&self.outer).cloned().collect()
    }
}

/// Two queries that must answer the same rows.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The query as it is.
    pub plain: String,
    /// The query in parts: where a condition is true, where it is false, where it is unknown.
    pub parts: String,
}

/// Makes queries.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    /// Number of the next alias.
    alias: u32,
    /// How many more joins and subqueries the query may contain.
    parts: u32,
    /// Queries of WITH.
    shared: Vec<(String, Vec<(String, Type)>)>,
}

impl Generator {
    /// A generator with these choices.
    pub fn new(rng: Rng) -> Generator {
        Generator { rng, alias: 0, parts: 0, shared: Vec::new() }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.below(end as u64) as usize
    }

    /// Whether something happens that happens so many times in 100.
    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len());
        choices[index].clone()
    }

    fn alias(&mut self) -> String {
        self.alias += 1;
        format!("q{}", self.alias)
    }

    /// Takes a part of what the query may contain.
    fn may(&mut self, percent: u64) -> bool {
        let may = self.parts > 0 && self.chance(percent);
        self.parts -= u32::from(may);
        may
    }

    fn restart(&mut self) {
        self.alias = 0;
        self.parts = PARTS_MAX;
        self.shared.clear();
    }
}
