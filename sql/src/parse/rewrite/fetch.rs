//! `FETCH FIRST (expression) ROWS`, of which `sqlparser` reads literals only: the expression becomes a LIMIT in front of it.

use sqlparser::ast::Value;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::is_keyword;

/// Stands for the number of rows in FETCH; no text of a client has its first character.
const IN_FRONT: &str = "\0limit";

/// Whether the number of rows of a FETCH is that of the LIMIT in front of it.
pub(crate) fn is_limit_in_front(quantity: &sqlparser::ast::Expr) -> bool {
    matches!(quantity, sqlparser::ast::Expr::Value(value) if value.value == Value::SingleQuotedString(IN_FRONT.into()))
}

/// Moves expressions in brackets from behind FETCH FIRST to a LIMIT in front of it.
pub(super) fn move_expressions(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while let Some(open) = next(tokens, place) {
        place = open;
        let Some(close) = closing(&tokens[open..]).map(|length| open + length) else { return };
        let fetch = open - 2;
        let limit = TokenWithSpan { token: Token::make_keyword("LIMIT"), span: tokens[fetch].span };
        let count =
            TokenWithSpan { token: Token::SingleQuotedString(IN_FRONT.into()), span: tokens[open].span };
        // FETCH FIRST ( .. ) becomes LIMIT ( .. ) FETCH FIRST '..'.
        tokens[fetch..=close].rotate_left(2);
        tokens.insert(close + 1, count);
        tokens.insert(fetch, limit);
    }
}

/// Where the next bracket behind FETCH FIRST is.
fn next(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let is_here = |three: &[TokenWithSpan]| {
        is_keyword(&three[0], &[Keyword::FETCH])
            && is_keyword(&three[1], &[Keyword::FIRST, Keyword::NEXT])
            && three[2].token == Token::LParen
    };
    let rest = tokens.get(from..)?;
    rest.windows(3).position(is_here).map(|place| from + place + 2)
}

/// Where the bracket is closed that the tokens begin with.
fn closing(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0;
    tokens.iter().position(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}
