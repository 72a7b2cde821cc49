//! `GROUP BY ALL` and `GROUP BY DISTINCT`, which `sqlparser` does not read in front of expressions.

use sqlparser::ast::Expr;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Stands for DISTINCT in a list of expressions; no name has its first character.
const DISTINCT: &str = "\0distinct";

/// Whether the first expression of GROUP BY says DISTINCT.
pub(crate) fn is_group_by_distinct(ast: &Expr) -> bool {
    matches!(ast, Expr::Identifier(ident) if ident.value == DISTINCT)
}

/// The tokens without ALL behind GROUP BY, and with DISTINCT as the first expression.
pub(super) fn with_group_by_kind(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let words: Vec<usize> =
        (0..tokens.len()).filter(|index| !matches!(tokens[*index].token, Token::Whitespace(_))).collect();
    let is = |place: usize, keyword: Keyword| {
        let token = words.get(place).map(|index| &tokens[*index].token);
        matches!(token, Some(Token::Word(word)) if word.keyword == keyword && word.quote_style.is_none())
    };
    let behind = (2..words.len()).filter(|place| is(place - 2, Keyword::GROUP) && is(place - 1, Keyword::BY));
    let found: Vec<(usize, bool)> = behind
        .filter(|place| is(*place, Keyword::ALL) || is(*place, Keyword::DISTINCT))
        .map(|place| (words[place], is(place, Keyword::DISTINCT)))
        .collect();
    let mut tokens = tokens;
    for (index, distinct) in found.into_iter().rev() {
        let span = tokens[index].span;
        let marker = [Token::make_word(DISTINCT, None), Token::Comma];
        let marker = marker.into_iter().filter(|_| distinct).map(|token| TokenWithSpan { token, span });
        tokens.splice(index..=index, marker.collect::<Vec<_>>());
    }
    tokens
}
