//! `EXCLUDE` of window frames, which `sqlparser` does not read.
//!
//! It is taken out of the tokens, and told in the name of the window that the definition copies, behind a character
//! that no name has.

use sqlparser::ast::Ident;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::is_word;
use crate::parse::fold_identifier;

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

/// Takes exclusions from the end of window definitions, and tells them in the definitions' names.
pub(super) fn take_exclusions(tokens: &mut Vec<TokenWithSpan>) {
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut open: Vec<usize> = Vec::new();
    let mut next = 0;
    while let Some(token) = tokens.get(next) {
        match &token.token {
            Token::LParen => open.push(kept.len()),
            Token::RParen => {
                open.pop();
            }
            _ => {}
        }
        let found = exclusion(&tokens[next..]).zip(open.last().copied());
        if let Some(((word, count), start)) = found {
            next += count;
            mark(&mut kept, start, word);
        } else {
            kept.push(token.clone());
            next += 1;
        }
    }
    *tokens = kept;
}

/// What is excluded by the tokens that begin here, and how many they are; a bracket closes behind them.
fn exclusion(tokens: &[TokenWithSpan]) -> Option<(&'static str, usize)> {
    let (exclude, rest) = tokens.split_first()?;
    if !is_word(exclude, "exclude") {
        return None;
    }
    let (word, second) =
        EXCLUSIONS.iter().find(|(word, _)| rest.first().is_some_and(|t| is_word(t, word)))?;
    let words = 1 + usize::from(second.is_some());
    if second.is_some_and(|second| !rest.get(1).is_some_and(|token| is_word(token, second))) {
        return None;
    }
    (rest.get(words)?.token == Token::RParen).then_some((word, 1 + words))
}

/// Marks the definition that the bracket at `start` opens.
fn mark(tokens: &mut Vec<TokenWithSpan>, start: usize, word: &str) {
    if let Some(TokenWithSpan { token: Token::Word(own), .. }) = tokens.get_mut(start + 1)
        && own.keyword == Keyword::NoKeyword
    {
        own.value = format!("{}{MARK}{word}", own.value);
        return;
    }
    let value = format!("{MARK}{word}");
    let token = Token::Word(Word { value, quote_style: None, keyword: Keyword::NoKeyword });
    let span = tokens[start].span;
    tokens.insert(start + 1, TokenWithSpan { token, span });
}
