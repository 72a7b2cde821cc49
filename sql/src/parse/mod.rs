//! From SQL text to statements.
//!
//! The text is tokenised once by `sqlparser` and cut at semicolons here. Statements about the session (SET, BEGIN,
//! COPY, EXPLAIN, ..) are read by our own small parser in [`utility`], because their PostgreSQL forms must be read
//! exactly; all others by `sqlparser`. Every statement knows its place, so that errors point at a character of the
//! text that the client sent.
//!
//! Invariant: a statement's syntax tree is at most [`DEPTH_MAX`] deep, checked on the tokens before any tree is
//! built, so that walking and dropping it within [`with_stack`] cannot overflow the stack.

mod depth;
mod dialect;
mod grouping;
mod tokens;
pub(crate) mod utility;
mod windows;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use crate::error::{Result, SqlError, SqlState};
pub(crate) use depth::too_deep;
use dialect::Postgres15;
pub(crate) use grouping::is_group_by_distinct;
pub(crate) use tokens::{Cursor, NAME_BYTES_MAX, fold_identifier, position_of};
use utility::Utility;
pub(crate) use windows::window_name;

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
    let tokens_for_sqlparser = with_rows_from(with_column_types(without_only(without_data_clause(tokens)?)));
    let tokens_for_sqlparser = windows::with_exclusions(tokens_for_sqlparser);
    let mut parser = sql_parser(grouping::with_group_by_kind(tokens_for_sqlparser));
    let statement = parser.parse_statement().map_err(|e| syntax_error(text, tokens, e))?;
    let tree = SyntaxTree::new(statement, depth);
    match &parser.peek_token_ref().token {
        Token::EOF => Ok(tree),
        _ => Err(Cursor::new(text, tokens).syntax_error_at(parser.peek_token_ref())),
    }
}

/// The tokens of a CREATE TABLE AS without `WITH DATA` at their end.
fn without_data_clause(tokens: &[TokenWithSpan]) -> Result<&[TokenWithSpan]> {
    let is = |index: Option<&usize>, keyword: Keyword| {
        index.is_some_and(
            |index| matches!(&tokens[*index].token, Token::Word(word) if word.keyword == keyword),
        )
    };
    let is_space = |index: &usize| matches!(tokens[*index].token, Token::Whitespace(_));
    let first = (0..tokens.len()).find(|index| !is_space(index));
    let last: Vec<usize> = (0..tokens.len()).rev().filter(|index| !is_space(index)).take(3).collect();
    if !is(first.as_ref(), Keyword::CREATE) || !is(last.first(), Keyword::DATA) {
        return Ok(tokens);
    }
    if is(last.get(1), Keyword::NO) && is(last.get(2), Keyword::WITH) {
        return Err(SqlError::unsupported("WITH NO DATA", "Give the query LIMIT 0."));
    }
    Ok(if is(last.get(1), Keyword::WITH) { &tokens[..last[1]] } else { tokens })
}

/// The type of the columns that a CREATE TABLE AS only names.
pub(crate) const UNTYPED_COLUMN: &str = "unknown";

/// The tokens of `CREATE TABLE t (a, b) AS ..` with a type behind each column, since `sqlparser` wants one.
fn with_column_types(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let words: Vec<usize> =
        (0..tokens.len()).filter(|index| !matches!(tokens[*index].token, Token::Whitespace(_))).collect();
    let at = |place: usize| words.get(place).map(|index| &tokens[*index].token);
    let is = |place: usize, keyword: Keyword| matches!(at(place), Some(Token::Word(word)) if word.keyword == keyword && word.quote_style.is_none());
    let Some(open) = (0..words.len()).find(|place| at(*place) == Some(&Token::LParen)) else { return tokens };
    let begins = |keyword: Keyword| (1..open).any(|place| is(place, keyword));
    if !is(0, Keyword::CREATE) || !begins(Keyword::TABLE) || begins(Keyword::AS) || begins(Keyword::WITH) {
        return tokens;
    }
    let mut names = Vec::new();
    for place in (open + 1..).step_by(2) {
        match (at(place), at(place + 1)) {
            (Some(Token::Word(_)), Some(Token::Comma)) => names.push(words[place]),
            (Some(Token::Word(_)), Some(Token::RParen)) => {
                names.push(words[place]);
                break;
            }
            _ => return tokens,
        }
    }
    for index in names.into_iter().rev() {
        let span = tokens[index].span;
        let pg_type = Token::make_word(UNTYPED_COLUMN, None);
        tokens.splice(index + 1..index + 1, [TokenWithSpan { token: pg_type, span }]);
    }
    tokens
}

/// The tokens without `ONLY` in front of tables: tables have no descendants, so it says nothing.
fn without_only(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let is_only = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case("only"),
        _ => false,
    };
    if !tokens.iter().any(is_only) {
        return tokens.to_vec();
    }
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let before = kept.iter().rev().find(|token| !matches!(token.token, Token::Whitespace(_)));
        let in_front_of_table = before.is_some_and(|before| match &before.token {
            Token::Word(word) => {
                [Keyword::FROM, Keyword::UPDATE, Keyword::TABLE, Keyword::TRUNCATE, Keyword::JOIN]
                    .contains(&word.keyword)
            }
            _ => false,
        });
        if !(in_front_of_table && is_only(token)) {
            kept.push(token.clone());
        }
    }
    kept
}

/// The tokens with `ROWS FROM (` as the name of a function: its arguments are the calls.
fn with_rows_from(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_word = |token: &Token, text: &str| match token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text),
        _ => false,
    };
    if !tokens.iter().any(|token| is_word(&token.token, "rows")) {
        return tokens;
    }
    let places: Vec<usize> =
        (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    for window in places.windows(3).rev() {
        let [rows, from, open] = [window[0], window[1], window[2]];
        let is_rows_from = is_word(&tokens[rows].token, "rows")
            && is_word(&tokens[from].token, "from")
            && tokens[open].token == Token::LParen;
        if is_rows_from {
            tokens[rows].token = Token::make_word(crate::bind::ROWS_FROM, Some('"'));
            tokens.drain(rows + 1..=from);
        }
    }
    tokens
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
