//! `EXCLUDE` of window frames, which `sqlparser` does not read.
//!
//! It is taken out of the tokens, and told in the name of the window that the definition copies, behind a character
//! that no name has.

use sqlparser::ast::Ident;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::fold_identifier;

/// Between the name and what is excluded.
const MARK: char = '\0';

/// What can be excluded: one word or two.
const EXCLUSIONS: [(&str, Option<&str>); 4] =
    [("current", Some("row")), ("group", None), ("ties", None), ("no", Some("others"))];

/// The name of the window that is copied, and what is excluded: `current`, `group`, `ties` or `no`.
pub(crate) fn window_name(ident: &Ident) -> (Option<String>, Option<&'static str>) {
    let Some((name, exclude)) = ident.value.split_once(MARK) else {
        return (Some(fold_identifier(&ident.value, ident.quote_style)), None);
    };
    let exclude = EXCLUSIONS.iter().find(|(word, _)| *word == exclude).map(|(word, _)| *word);
    ((!name.is_empty()).then(|| fold_identifier(name, ident.quote_style)), exclude)
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(own) if own.quote_style.is_none() && own.value.eq_ignore_ascii_case(word))
}

/// The tokens without exclusions at the end of window definitions.
pub(super) fn with_exclusions(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is_word(&token.token, "exclude")) {
        return tokens;
    }
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut open: Vec<usize> = Vec::new();
    let mut next = 0;
    while next < tokens.len() {
        let token = &tokens[next];
        match &token.token {
            Token::LParen => open.push(kept.len()),
            Token::RParen => {
                open.pop();
            }
            _ => {}
        }
        let found = exclusion(&tokens[next..]).zip(open.last().copied());
        let Some(((word, count), start)) = found else {
            kept.push(token.clone());
            next += 1;
            continue;
        };
        next += count;
        mark(&mut kept, start, word);
    }
    kept
}

/// What is excluded by the tokens that begin here, and how many they are; a bracket closes behind them.
fn exclusion(tokens: &[TokenWithSpan]) -> Option<(&'static str, usize)> {
    if !is_word(&tokens.first()?.token, "exclude") {
        return None;
    }
    let solid = tokens.iter().enumerate().filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)));
    let mut solid = solid.skip(1);
    let first = &solid.next()?.1.token;
    let (word, second) = EXCLUSIONS.iter().find(|(word, _)| is_word(first, word))?;
    if let Some(second) = second
        && !is_word(&solid.next()?.1.token, second)
    {
        return None;
    }
    let (end, closing) = solid.next()?;
    (closing.token == Token::RParen).then_some((word, end))
}

/// Marks the definition that the bracket at `start` opens.
fn mark(kept: &mut Vec<TokenWithSpan>, start: usize, word: &str) {
    let first = kept[start + 1..].iter().position(|token| !matches!(token.token, Token::Whitespace(_)));
    let place = start + 1 + first.unwrap_or(0);
    if let Some(TokenWithSpan { token: Token::Word(own), .. }) = kept.get_mut(place)
        && own.keyword == Keyword::NoKeyword
    {
        own.value = format!("{}{MARK}{word}", own.value);
        return;
    }
    let value = format!("{MARK}{word}");
    let token = Token::Word(Word { value, quote_style: None, keyword: Keyword::NoKeyword });
    let span = kept[start].span;
    kept.insert(start + 1, TokenWithSpan { token, span });
}
