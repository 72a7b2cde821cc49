//! SQL/JSON path (PG 15, chapter 9.16.2): its functions and operators over `jsonb`.
//!
//! A path is a text. The functions whose names end in `_tz` differ from the others in `.datetime()` alone, which is
//! refused, so they are the same.
//!
//! Invariants: no text panics, and how deep a path nests is bounded before it is evaluated.

mod eval;
mod parse;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::Datum;

use super::Call;
use super::are::Regex;
use super::lift::{Result, each_datum};
use crate::expr::value::Value as Column;
use crate::types::json::Value;
use eval::{Fail, query};

/// An expression or a predicate.
#[derive(Debug)]
enum Node {
    /// `$`
    Root,
    /// `@`
    Current,
    /// `last`
    Last,
    /// `$name`
    Variable(String),
    Literal(Value),
    /// An operator of `+-*/%`.
    Arith(char, Box<Node>, Box<Node>),
    /// `-x` if true, else `+x`.
    Sign(bool, Box<Node>),
    Chain(Box<Node>, Vec<Step>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    IsUnknown(Box<Node>),
    Exists(Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    StartsWith(Box<Node>, Box<Node>),
    LikeRegex(Box<Node>, Regex),
}

impl Node {
    fn is_predicate(&self) -> bool {
        use Node::{And, Compare, Exists, IsUnknown, LikeRegex, Not, Or, StartsWith};
        matches!(
            self,
            And(..)
                | Or(..)
                | Not(_)
                | IsUnknown(_)
                | Exists(_)
                | Compare(..)
                | StartsWith(..)
                | LikeRegex(..)
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// What follows a value.
#[derive(Debug)]
enum Step {
    Member(String),
    AnyMember,
    AnyElement,
    /// Single subscripts and ranges.
    Subscripts(Vec<(Node, Option<Node>)>),
    /// `.**{from to to}`; `None` is `last`.
    Any(Option<u32>, Option<u32>),
    Filter(Node),
    Method(Method),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
}

/// A path that has been read.
#[derive(Debug)]
struct Path {
    strict: bool,
    node: Node,
}

/// The path of a text; those of the last texts are kept, so that a constant one is read once.
fn path_of(text: &str) -> Result<Rc<Path>> {
    const CACHED_MAX: usize = 8;
    thread_local! {
        static CACHE: RefCell<Vec<(String, Rc<Path>)>> = const { RefCell::new(Vec::new()) };
    }
    CACHE.with_borrow_mut(|cache| {
        if let Some((_, path)) = cache.iter().find(|(known, _)| known == text) {
            return Ok(Rc::clone(path));
        }
        let path = Rc::new(parse::parse(text)?);
        if cache.len() == CACHED_MAX {
            cache.remove(0);
        }
        cache.push((text.to_owned(), Rc::clone(&path)));
        Ok(path)
    })
}

fn text(args: &[Datum], index: usize) -> &str {
    match args.get(index) {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

/// The values that a path finds; `None` if an error is left out.
fn found(args: &[Datum], silent: bool) -> Result<Option<Vec<Value>>> {
    let path = path_of(text(args, 1))?;
    let vars = match args.get(2) {
        Some(Datum::Text(vars)) => Value::parse(vars)?,
        _ => Value::Object(Vec::new()),
    };
    let Value::Object(vars) = vars else {
        let detail = "Jsonpath parameters should be encoded as key-value pairs of \"vars\" object.";
        let message = "\"vars\" argument is not an object";
        return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message).with_detail(detail));
    };
    let root = Value::parse(text(args, 0))?;
    match query(&path, &root, &vars) {
        Ok(items) => Ok(Some(items)),
        Err(Fail::Soft(_)) if silent => Ok(None),
        Err(Fail::Soft(error) | Fail::Hard(error)) => Err(error),
    }
}

fn silent(args: &[Datum]) -> bool {
    matches!(args.get(3), Some(Datum::Bool(true)))
}

fn json(value: &Value) -> Datum {
    Datum::Text(value.to_text().into())
}

/// The rows of `jsonb_path_query`.
pub(crate) fn rows(args: &[Datum]) -> Result<Vec<Datum>> {
    Ok(found(args, silent(args))?.unwrap_or_default().iter().map(json).collect())
}

/// `jsonb_path_query_array`
pub(crate) fn array(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| Ok(json(&Value::Array(found(args, silent(args))?.unwrap_or_default()))))
}

/// `jsonb_path_query_first`
pub(crate) fn first(call: &Call<'_>) -> Result<Column> {
    each_datum(call, |args| {
        let items = found(args, silent(args))?.unwrap_or_default();
        Ok(items.first().map_or(Datum::Null, json))
    })
}

/// `jsonb_path_exists`; the operator `@?` is always silent.
pub(crate) fn exists(call: &Call<'_>, operator: bool) -> Result<Column> {
    each_datum(call, |args| {
        let items = found(args, operator || silent(args))?;
        Ok(items.map_or(Datum::Null, |items| Datum::Bool(!items.is_empty())))
    })
}

/// `jsonb_path_match`; the operator `@@` is always silent.
pub(crate) fn matches(call: &Call<'_>, operator: bool) -> Result<Column> {
    each_datum(call, |args| {
        let silent = operator || silent(args);
        let Some(items) = found(args, silent)? else { return Ok(Datum::Null) };
        match items.as_slice() {
            [Value::Scalar(text)] if text == "true" => Ok(Datum::Bool(true)),
            [Value::Scalar(text)] if text == "false" => Ok(Datum::Bool(false)),
            [Value::Scalar(text)] if text == "null" => Ok(Datum::Null),
            _ if silent => Ok(Datum::Null),
            _ => Err(ValueError::new(
                SqlState::SINGLETON_SQL_JSON_ITEM_REQUIRED,
                "single boolean result is expected",
            )),
        }
    })
}
