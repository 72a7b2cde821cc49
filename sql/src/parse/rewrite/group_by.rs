//! `GROUP BY ALL` and `GROUP BY DISTINCT`, which `sqlparser` does not read in front of expressions.

use sqlparser::ast::Expr;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::is_keyword;

/// Stands for DISTINCT in a list of expressions; no name has its first character.
const DISTINCT: &str = "\0distinct";

/// Whether the first expression of GROUP BY says DISTINCT.
pub(crate) fn is_group_by_distinct(ast: &Expr) -> bool {
    matches!(ast, Expr::Identifier(ident) if ident.value == DISTINCT)
}

/// Takes ALL from behind GROUP BY, and makes DISTINCT there the first expression.
pub(super) fn mark_kinds(tokens: &mut Vec<TokenWithSpan>) {
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens.drain(..) {
        let is_behind = match kept.as_slice() {
            [.., group, by] => is_keyword(group, &[Keyword::GROUP]) && is_keyword(by, &[Keyword::BY]),
            _ => false,
        };
        if is_behind && is_keyword(&token, &[Keyword::DISTINCT]) {
            let marker = [Token::make_word(DISTINCT, None), Token::Comma];
            kept.extend(marker.map(|marker| TokenWithSpan { token: marker, span: token.span }));
        } else if !(is_behind && is_keyword(&token, &[Keyword::ALL])) {
            kept.push(token);
        }
    }
    *tokens = kept;
}
