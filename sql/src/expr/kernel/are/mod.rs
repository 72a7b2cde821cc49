//! PostgreSQL's regular expressions (PG 15, chapter 9.7.3): what they mean, which is not what other engines mean.
//!
//! Of all matches that begin first the longest counts, or the shortest where the expression prefers that; groups are
//! then told piece by piece, each with a preference of its own. [`parse`] reads an expression as a tree, [`nfa`] makes it
//! an automaton forwards and one backwards, [`dfa`] runs them in time linear in the text, and [`search`] says where a
//! match begins and ends and takes it apart, again by runs over parts of the text. Only back references are tried.
//!
//! Invariant: what [`search`] does for one text is bounded by [`search::STEPS_BASE`] and a multiple of its length.

mod class;
mod dfa;
mod nfa;
mod parse;
mod search;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::lift::Result;
use class::Set;
pub(crate) use parse::Options;
pub(crate) use search::Search;

/// The place of a node among those of its expression.
type Id = usize;

/// What a part of an expression likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taste {
    Longest,
    Shortest,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Node {
    Empty,
    Set(Rc<Set>),
    At(Place),
    /// The lookaround of this number.
    Look(usize),
    Concat(Id, Id),
    Alt(Vec<Id>),
    Repeat {
        inner: Id,
        min: u32,
        max: Option<u32>,
    },
    /// A group that is told, or only held together.
    Group(Option<usize>, Id),
    /// What a group holds, so many times.
    Back {
        group: usize,
        /// What the group may hold.
        may: Id,
        min: u32,
        max: Option<u32>,
    },
}

/// A condition on a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    TextStart,
    TextEnd,
    LineStart,
    LineEnd,
    WordStart,
    WordEnd,
    Boundary,
    NoBoundary,
}

/// What must or must not stand in front of a place or behind it.
#[derive(Clone, Copy, Debug)]
struct Look {
    behind: bool,
    negated: bool,
    inner: Id,
}

/// A node and what is known of it.
#[derive(Clone, Debug)]
struct Part {
    node: Node,
    taste: Option<Taste>,
    /// Whether parts of it like different things.
    mixed: bool,
    /// Whether it holds groups that are told.
    captures: bool,
    /// Whether it holds back references.
    refers: bool,
}

/// An expression that has been read.
#[derive(Clone, Debug)]
struct Program {
    parts: Vec<Part>,
    root: Id,
    groups: usize,
    /// Those inside of others come first.
    looks: Vec<Look>,
    ignore_case: bool,
}

/// A regular expression that is ready; copies share what they have learned.
#[derive(Clone, Debug)]
pub(crate) struct Regex {
    ready: Rc<Ready>,
}

#[derive(Debug)]
struct Ready {
    program: Program,
    machine: nfa::Machine,
    cache: RefCell<dfa::Cache>,
}

/// Where the groups of a match begin and end; the first is the whole match.
pub(crate) type Captures = Vec<Option<(usize, usize)>>;

/// An error of the expression.
fn invalid(words: &str) -> ValueError {
    let message = format!("invalid regular expression: {words}");
    ValueError::new(SqlState::INVALID_REGULAR_EXPRESSION, message)
}

fn too_complex() -> ValueError {
    invalid("regular expression is too complex")
}

impl Regex {
    /// Reads an expression.
    ///
    /// # Errors
    /// 2201B where it is wrong or too large.
    pub(crate) fn new(pattern: &str, options: Options) -> Result<Regex> {
        let program = parse::parse(pattern, options)?;
        let machine = nfa::Machine::new(&program)?;
        Ok(Regex { ready: Rc::new(Ready { program, machine, cache: RefCell::default() }) })
    }

    /// Whether there is a match.
    ///
    /// # Errors
    /// 54000 if finding it takes too long.
    pub(crate) fn is_match(&self, text: &str) -> Result<bool> {
        Search::new(self, text)?.is_match()
    }

    /// The first match and its groups.
    ///
    /// # Errors
    /// 54000 if finding it takes too long.
    pub(crate) fn captures(&self, text: &str) -> Result<Option<Captures>> {
        Search::new(self, text)?.captures_at(0, true)
    }
}
