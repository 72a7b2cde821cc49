//! `sqlparser`'s PostgreSQL, without what it takes beyond PostgreSQL 15.

use std::any::TypeId;

use sqlparser::ast::{Array, BinaryOperator, CastKind, Expr, Value};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// See the module.
#[derive(Debug)]
pub(super) struct Postgres15;

/// Hands methods through that PostgreSQL's dialect overrides.
macro_rules! as_postgresql {
    ($($name:ident($($arg:ident: $arg_type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $arg_type),*) -> $result {
            PostgreSqlDialect {}.$name($($arg),*)
        })*
    };
}

impl Dialect for Postgres15 {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    /// `SELECT * x`: an alias of a wildcard.
    fn supports_select_wildcard_with_alias(&self) -> bool {
        false
    }

    /// `1_000`, which came with PostgreSQL 16.
    fn supports_numeric_literal_underscores(&self) -> bool {
        false
    }

    /// `5 !`, which went with PostgreSQL 14.
    fn supports_factorial_operator(&self) -> bool {
        false
    }

    /// `json_object('a': 1)`: PostgreSQL 16 has it, and reading it doubles the time for every level of nested calls.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    /// Expressions that a keyword begins. `sqlparser` reads them, too, but when that fails it tries the keyword as a
    /// name, for every level of nesting again; a keyword in front of its bracket is never a name in PostgreSQL.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let Token::Word(word) = &parser.peek_token_ref().token else { return None };
        let keyword = word.keyword;
        let opens = parser.peek_nth_token_ref(1).token == Token::LParen;
        let behind = |parser: &mut Parser<'_>, read: fn(&mut Parser<'_>) -> Result<Expr, ParserError>| {
            parser.advance_token();
            Some(read(parser))
        };
        match keyword {
            Keyword::CASE => behind(parser, |parser| parser.parse_case_expr()),
            Keyword::NOT => behind(parser, |parser| parser.parse_not()),
            Keyword::GROUPING if is_sets(parser) => {
                parser.advance_token();
                behind(parser, grouping_sets)
            }
            Keyword::CAST => behind(parser, |parser| parser.parse_cast_expr(CastKind::Cast)),
            Keyword::EXISTS if opens => behind(parser, |parser| parser.parse_exists_expr(false)),
            Keyword::EXTRACT if opens => behind(parser, |parser| parser.parse_extract_expr()),
            Keyword::CEIL if opens => behind(parser, |parser| parser.parse_ceil_floor_expr(true)),
            Keyword::FLOOR if opens => behind(parser, |parser| parser.parse_ceil_floor_expr(false)),
            Keyword::OVERLAY if opens => behind(parser, |parser| parser.parse_overlay_expr()),
            Keyword::TRIM if opens => behind(parser, |parser| parser.parse_trim_expr()),
            Keyword::POSITION if opens => behind(parser, position),
            Keyword::ARRAY if parser.peek_nth_token_ref(1).token == Token::LBracket => {
                parser.advance_token();
                behind(parser, |parser| parser.parse_array_expr(true))
            }
            Keyword::ARRAY if opens => behind(parser, array_of_query),
            Keyword::ALL if opens => behind(parser, all_patterns),
            Keyword::SUBSTR | Keyword::SUBSTRING if opens => Some(parser.parse_substring()),
            Keyword::INTERVAL if opens => Some(parser.expected_ref("a string", parser.peek_nth_token_ref(1))),
            _ => None,
        }
    }

    as_postgresql! {
        identifier_quote_style(identifier: &str) -> Option<char>;
        is_delimited_identifier_start(ch: char) -> bool;
        is_identifier_start(ch: char) -> bool;
        is_identifier_part(ch: char) -> bool;
        supports_unicode_string_literal() -> bool;
        is_reserved_for_identifier(keyword: Keyword) -> bool;
        is_custom_operator_part(ch: char) -> bool;
        get_next_precedence(parser: &Parser<'_>) -> Option<Result<u8, ParserError>>;
        supports_filter_during_aggregation() -> bool;
        supports_group_by_expr() -> bool;
        prec_value(precedence: Precedence) -> u8;
        allow_extract_custom() -> bool;
        allow_extract_single_quotes() -> bool;
        supports_bitwise_shift_operators() -> bool;
        supports_empty_projections() -> bool;
        supports_nested_comments() -> bool;
        supports_string_escape_constant() -> bool;
        supports_array_typedef_with_brackets() -> bool;
        supports_geometric_types() -> bool;
        supports_notnull_operator() -> bool;
        supports_interval_options() -> bool;
        supports_insert_table_alias() -> bool;
        supports_create_table_like_parenthesized() -> bool;
        supports_comma_separated_trim() -> bool;
    }
}

fn is_sets(parser: &Parser<'_>) -> bool {
    matches!(&parser.peek_nth_token_ref(1).token, Token::Word(word) if word.keyword == Keyword::SETS)
}

/// `GROUPING SETS (..)` inside another one, behind its words.
fn grouping_sets(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let sets = parser.parse_comma_separated(|parser| {
        let is_empty = parser.peek_token_ref().token == Token::LParen
            && parser.peek_nth_token_ref(1).token == Token::RParen;
        if !is_empty {
            return Ok(vec![parser.parse_expr()?]);
        }
        parser.advance_token();
        parser.advance_token();
        Ok(Vec::new())
    })?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::GroupingSets(sets))
}

/// `POSITION(a IN b)`
fn position(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let expr = parser.parse_subexpr(Postgres15.prec_value(Precedence::Between))?;
    parser.expect_keyword(Keyword::IN)?;
    let within = parser.parse_expr()?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Position { expr: Box::new(expr), r#in: Box::new(within) })
}

/// `ALL (..)` where an expression is expected, which is behind LIKE: an operator without left side.
fn all_patterns(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    const BEGIN_QUERY: [Keyword; 3] = [Keyword::SELECT, Keyword::WITH, Keyword::VALUES];
    parser.expect_token(&Token::LParen)?;
    let is_query =
        matches!(&parser.peek_token_ref().token, Token::Word(word) if BEGIN_QUERY.contains(&word.keyword));
    let right = match is_query {
        true => Expr::Subquery(parser.parse_query()?),
        false => parser.parse_expr()?,
    };
    parser.expect_token(&Token::RParen)?;
    let left = Box::new(Expr::Value(Value::Null.into()));
    Ok(Expr::AllOp { left, compare_op: BinaryOperator::Custom("LIKE".to_owned()), right: Box::new(right) })
}

/// `ARRAY(SELECT ..)`
fn array_of_query(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let query = parser.parse_query()?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Array(Array { elem: vec![Expr::Subquery(query)], named: true }))
}
