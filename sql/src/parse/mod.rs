//! From SQL text to statements.
//!
//! The text is tokenised once by `sqlparser` and cut at semicolons here. Statements about the session (SET, BEGIN,
//! COPY, EXPLAIN, ..) are read by our own small parser in [`utility`], because their PostgreSQL forms must be read
//! exactly; all others by `sqlparser`, after [`rewrite`] has put what it cannot read into other words. Every statement knows its place, so that errors point at a character of the
//! text that the client sent.
//!
//! Invariant: a statement's syntax tree is at most [`DEPTH_MAX`] deep, checked on the tokens before any tree is
//! built, so that walking and dropping it within [`with_stack`] cannot overflow the stack.

mod depth;
mod dialect;
mod rewrite;
mod tokens;
pub(crate) mod utility;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use sqlparser::ast;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use crate::error::{Result, SqlError, SqlState};
pub(crate) use depth::too_deep;
use dialect::Postgres15;
pub(crate) use rewrite::{
    NO_DATA, UNTYPED_COLUMN, is_group_by_distinct, is_limit_in_front, part_assigned, window_name,
};
pub(crate) use tokens::{Cursor, NAME_BYTES_MAX, fold_identifier, position_of};
use utility::Utility;

/// Deepest syntax tree. A level of the tree takes below 1 KiB of stack when walked, see [`with_stack`].
pub const DEPTH_MAX: usize = 6_000;

/// Stack that dropping a tree of [`DEPTH_MAX`] levels may take.
const DROP_STACK_BYTES: usize = 32 << 20;

/// Depth up to which a tree is dropped on the stack as it is.
const DEPTH_SHALLOW: usize = 100;

/// Stack below which `with_stack` takes another one.
const RED_ZONE_BYTES: usize = 128 << 10;

/// Runs a step of a recursive walk with room on the stack for the next step.
pub(crate) fn with_stack<T>(walk: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(RED_ZONE_BYTES, 1 << 20, walk)
}

/// Runs something with so much room on the stack.
pub(crate) fn with_stack_of<T>(bytes: usize, run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(bytes, bytes, run)
}

/// One statement of a message; cheap to clone.
#[derive(Clone, Debug)]
pub struct Statement {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    text: Rc<str>,
    parsed: Parsed,
    parameter_count: usize,
}

/// A statement's syntax tree.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// About data and tables.
    Sql(SyntaxTree<ast::Statement>),
    /// About the session.
    Utility(Utility),
}

/// A tree of `sqlparser` that is dropped with enough stack.
#[derive(Debug)]
pub(crate) struct SyntaxTree<T> {
    root: Option<Box<T>>,
    depth: usize,
}

impl<T> SyntaxTree<T> {
    fn new(root: T, depth: usize) -> SyntaxTree<T> {
        SyntaxTree { root: Some(Box::new(root)), depth }
    }

    /// The tree.
    pub(crate) fn root(&self) -> &T {
        self.root.as_deref().expect("taken only by drop")
    }
}

impl<T> Drop for SyntaxTree<T> {
    fn drop(&mut self) {
        let root = self.root.take();
        if self.depth > DEPTH_SHALLOW {
            stacker::grow(DROP_STACK_BYTES, move || drop(root));
        }
    }
}

impl Statement {
    /// The whole text that it was split from.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// The largest n of `$n` in it.
    pub(crate) fn parameter_count(&self) -> usize {
        self.inner.parameter_count
    }

    /// Its syntax tree.
    pub(crate) fn parsed(&self) -> &Parsed {
        &self.inner.parsed
    }
}

/// The statements of a text; none if it is empty.
///
/// # Errors
/// 42601 if it is not SQL, 54001 if it is nested too deeply, 0A000 for session statements that are not supported.
pub(crate) fn split(sql: &str) -> Result<Vec<Statement>> {
    let text: Rc<str> = sql.into();
    let tokens = tokenize(sql)?;
    let mut statements = Vec::new();
    for tokens in tokens.split(|token| token.token == Token::SemiColon) {
        if tokens.iter().all(|token| matches!(token.token, Token::Whitespace(_))) {
            continue;
        }
        let depth = depth::bound(tokens)?;
        statements.push(statement(&text, tokens, depth)?);
    }
    Ok(statements)
}

/// The expression of a column's DEFAULT, as the catalog keeps it.
///
/// # Errors
/// As [`split`].
pub(crate) fn parse_expression(sql: &str) -> Result<SyntaxTree<ast::Expr>> {
    let tokens = tokenize(sql)?;
    let depth = depth::bound(&tokens)?;
    let mut parser = sql_parser(tokens.clone());
    let expr = parser.parse_expr().map_err(|e| syntax_error(sql, &tokens, e))?;
    let expr = SyntaxTree::new(expr, depth);
    match parser.peek_token_ref().token {
        Token::EOF => Ok(expr),
        _ => Err(Cursor::new(sql, &tokens).syntax_error_at(parser.peek_token_ref())),
    }
}

/// The statement of these tokens.
fn statement(text: &Rc<str>, tokens: &[TokenWithSpan], depth: usize) -> Result<Statement> {
    let parsed = parse_statement(text, tokens, depth)?;
    let number = |token: &TokenWithSpan| match &token.token {
        Token::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok(),
        _ => None,
    };
    let parameter_count = tokens.iter().filter_map(number).max().unwrap_or(0);
    Ok(Statement { inner: Rc::new(Inner { text: text.clone(), parsed, parameter_count }) })
}

/// Reads one statement.
fn parse_statement(text: &Rc<str>, tokens: &[TokenWithSpan], depth: usize) -> Result<Parsed> {
    let mut cursor = Cursor::new(text, tokens);
    match utility::parse(text, &mut cursor, depth)? {
        Some(utility) => Ok(Parsed::Utility(utility)),
        None => parse_sql(text, tokens, depth).map(Parsed::Sql),
    }
}

/// Reads one statement that is not about the session.
fn parse_sql(text: &str, tokens: &[TokenWithSpan], depth: usize) -> Result<SyntaxTree<ast::Statement>> {
    let mut parser = sql_parser(rewrite::for_sqlparser(tokens)?);
    let statement = parser.parse_statement().map_err(|e| syntax_error(text, tokens, e))?;
    let tree = SyntaxTree::new(statement, depth);
    match &parser.peek_token_ref().token {
        Token::EOF => Ok(tree),
        _ => Err(Cursor::new(text, tokens).syntax_error_at(parser.peek_token_ref())),
    }
}

fn sql_parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    // One level of our depth is at most four calls that sqlparser counts.
    Parser::new(&Postgres15).with_recursion_limit(4 * DEPTH_MAX).with_tokens_with_locations(tokens)
}

fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>> {
    if sql.contains('\0') {
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
        return Err(SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message));
    }
    Tokenizer::new(&Postgres15, sql).tokenize_with_location().map_err(|e| lexical_error(sql, &e))
}

/// PostgreSQL's words for text that is no token.
fn lexical_error(sql: &str, error: &TokenizerError) -> SqlError {
    let position = position_of(sql, error.location);
    let rest = || -> String {
        sql.chars().skip((position as usize).saturating_sub(1)).take(tokens::NEAR_CHARS_MAX).collect()
    };
    let what = match error.message.as_str() {
        message if message.contains("Unterminated dollar-quoted") => "unterminated dollar-quoted string",
        message if message.contains("Unterminated") => "unterminated quoted string",
        message if message.contains("multi-line comment") => "unterminated /* comment",
        message if message.contains("close delimiter") => "unterminated quoted identifier",
        _ => "syntax error",
    };
    SqlError::new(SqlState::SYNTAX_ERROR, format!("{what} at or near \"{}\"", rest())).at(position)
}

/// PostgreSQL's words for what `sqlparser` could not read.
fn syntax_error(text: &str, tokens: &[TokenWithSpan], error: ParserError) -> SqlError {
    let message = match error {
        ParserError::RecursionLimitExceeded => return depth::too_deep(),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    let cursor = Cursor::new(text, tokens);
    let Some((expectation, place)) = message.rsplit_once(" at Line: ") else {
        return match message.contains("found: EOF") {
            true => cursor.end_of_input_error(),
            false => SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error: {message}")),
        };
    };
    let mut numbers = place.split(", Column: ").map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(line)), Some(Ok(column))) => cursor.syntax_error_near(line, column),
        _ => SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error: {expectation}")),
    }
}

/// A possibly qualified table name given as text, as `regclass` reads it.
///
/// # Errors
/// 42602 if it is none.
pub(crate) fn parse_table_name(text: &str) -> Result<utility::TableName> {
    let invalid = || SqlError::new(SqlState::INVALID_NAME, format!("invalid name syntax: \"{text}\""));
    let tokens = tokenize(text).map_err(|_| invalid())?;
    let mut cursor = Cursor::new(text, &tokens);
    let mut name = utility::table_name(&mut cursor).map_err(|_| invalid())?;
    cursor.expect_end().map_err(|_| invalid())?;
    name.position = 0;
    Ok(name)
}
