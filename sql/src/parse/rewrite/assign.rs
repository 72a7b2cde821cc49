//! `SET a[1] = value`, which `sqlparser` does not read: it becomes `SET a = (element, a[1], value)`.

use sqlparser::ast::Expr;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::is_keyword;

/// Stands in front of what an assignment to an element or a slice says; no name has its first character.
const ELEMENT: &str = "\0element";

/// What is assigned to, such as `a[1]`, and the value, if it is an element or a slice.
pub(crate) fn part_assigned(value: &Expr) -> Option<(&Expr, &Expr)> {
    match value {
        Expr::Tuple(parts) => match parts.as_slice() {
            [Expr::Identifier(ident), target, value] if ident.value == ELEMENT => Some((target, value)),
            _ => None,
        },
        _ => None,
    }
}

/// Rewrites the assignments to elements and slices of every SET.
pub(super) fn bracket_parts(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while let Some(set) = tokens[place..].iter().position(|token| is_keyword(token, &[Keyword::SET])) {
        place += set + 1;
        loop {
            place = bracket_part(tokens, place);
            place = end_of(tokens, place, &[Keyword::FROM, Keyword::WHERE, Keyword::RETURNING]);
            if tokens.get(place).map(|token| &token.token) != Some(&Token::Comma) {
                break;
            }
            place += 1;
        }
    }
}

/// Rewrites the assignment that begins here, if it is to an element or a slice; answers where to go on.
fn bracket_part(tokens: &mut Vec<TokenWithSpan>, start: usize) -> usize {
    let token = |place: usize| tokens.get(place).map(|token| &token.token);
    if !matches!(token(start), Some(Token::Word(_))) || token(start + 1) != Some(&Token::LBracket) {
        return start;
    }
    let equals = start + 1 + tokens[start + 1..].iter().take_while(|token| token.token != Token::Eq).count();
    if token(equals).is_none() {
        return start;
    }
    let end = end_of(tokens, equals + 1, &[Keyword::FROM, Keyword::WHERE, Keyword::RETURNING]);
    let span = tokens[equals].span;
    let made = |token| TokenWithSpan { token, span };
    let mut part = vec![
        tokens[start].clone(),
        made(Token::Eq),
        made(Token::LParen),
        made(Token::make_word(ELEMENT, None)),
        made(Token::Comma),
    ];
    part.extend_from_slice(&tokens[start..equals]);
    part.push(made(Token::Comma));
    part.extend_from_slice(&tokens[equals + 1..end]);
    part.push(made(Token::RParen));
    let next = start + part.len();
    tokens.splice(start..end, part);
    next
}

/// Where an expression ends that begins here: at a comma, a bracket that it has not opened, or one of these words.
fn end_of(tokens: &[TokenWithSpan], start: usize, words: &[Keyword]) -> usize {
    let mut depth = 0usize;
    for (place, token) in tokens.iter().enumerate().skip(start) {
        let is_open = depth == 0;
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket | Token::Comma | Token::SemiColon | Token::EOF if is_open => {
                return place;
            }
            Token::RParen | Token::RBracket => depth -= 1,
            // IS DISTINCT FROM is an operator.
            _ if is_open && is_keyword(token, words) => {
                let is_operator = place > start && is_keyword(&tokens[place - 1], &[Keyword::DISTINCT]);
                if !is_operator {
                    return place;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}
