//! Joins inside of joins without brackets: `a JOIN b JOIN c ON .. ON ..` is `a JOIN (b JOIN c ON ..) ON ..`.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::is_keyword;
use crate::error::Result;
use crate::parse::too_deep;

/// Most joins inside of one another; a query reads fewer tables.
const LEVELS_MAX: usize = 256;

/// A join whose condition has not come yet.
struct Open {
    /// Place of the first token of its right side.
    right: usize,
    /// Whether the right side is itself a join.
    is_nested: bool,
}

/// Puts brackets around right sides that are joins.
///
/// # Errors
/// 54001 if they are nested too deeply.
pub(super) fn bracket(tokens: &mut Vec<TokenWithSpan>) -> Result<()> {
    let (mut opening, mut closing) = (Vec::new(), Vec::new());
    // The joins of each level of brackets.
    let mut levels: Vec<Vec<Open>> = vec![Vec::new()];
    for (place, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LParen => levels.push(Vec::new()),
            Token::RParen if levels.len() > 1 => {
                levels.pop();
            }
            _ => {}
        }
        let Some(open) = levels.last_mut() else { continue };
        if is_keyword(token, &[Keyword::JOIN]) {
            if let Some(outer) = open.last_mut() {
                outer.is_nested = true;
            }
            if has_condition(&tokens[..place]) {
                open.push(Open { right: place + 1, is_nested: false });
            }
            if open.len() > LEVELS_MAX {
                return Err(too_deep());
            }
        } else if is_keyword(token, &[Keyword::ON, Keyword::USING])
            && let Some(Open { right, is_nested: true }) = open.pop()
        {
            opening.push(right);
            closing.push(place);
        }
    }
    if opening.is_empty() {
        return Ok(());
    }
    opening.sort_unstable();
    let (mut opening, mut closing) = (opening.into_iter().peekable(), closing.into_iter().peekable());
    let mut kept = Vec::with_capacity(tokens.len() + 2 * opening.len());
    for (place, token) in tokens.drain(..).enumerate() {
        while opening.next_if_eq(&place).is_some() {
            kept.push(TokenWithSpan { token: Token::LParen, span: token.span });
        }
        while closing.next_if_eq(&place).is_some() {
            kept.push(TokenWithSpan { token: Token::RParen, span: token.span });
        }
        kept.push(token);
    }
    *tokens = kept;
    Ok(())
}

/// Whether the join with these tokens in front has a condition: not `CROSS JOIN`, not `NATURAL LEFT OUTER JOIN`.
fn has_condition(front: &[TokenWithSpan]) -> bool {
    const KINDS: [Keyword; 5] =
        [Keyword::INNER, Keyword::LEFT, Keyword::RIGHT, Keyword::FULL, Keyword::OUTER];
    let mut words = front.iter().rev().skip_while(|token| is_keyword(token, &KINDS));
    !words.next().is_some_and(|word| is_keyword(word, &[Keyword::CROSS, Keyword::NATURAL]))
}
