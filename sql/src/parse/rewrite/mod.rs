//! Says in words that `sqlparser` reads what only PostgreSQL reads.
//!
//! Each step changes the tokens of one statement, whose whitespace is gone by then. Tokens keep their places, and
//! errors are told from the tokens as they came. Where something has no place in the tree that `sqlparser` builds, a
//! name tells it, with a character in it that no name of a client has.

mod assign;
mod exclude;
mod fetch;
mod group_by;
mod nested_joins;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

use crate::error::Result;
pub(crate) use assign::part_assigned;
pub(crate) use exclude::window_name;
pub(crate) use fetch::is_limit_in_front;
pub(crate) use group_by::is_group_by_distinct;

/// The type of the columns that a CREATE TABLE AS only names.
pub(crate) const UNTYPED_COLUMN: &str = "unknown";

/// The name of the subquery whose rows a CREATE TABLE AS leaves out.
pub(crate) const NO_DATA: &str = "\0no data";

/// The tokens of a statement as `sqlparser` wants them.
///
/// # Errors
/// 54001 for what is nested too deeply.
pub(super) fn for_sqlparser(tokens: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>> {
    let mut tokens = solid(tokens);
    take_data_clause(&mut tokens);
    add_column_types(&mut tokens);
    take_only(&mut tokens);
    take_lock_keys(&mut tokens);
    select_tables(&mut tokens);
    name_rows_from(&mut tokens);
    nested_joins::bracket(&mut tokens)?;
    exclude::take_exclusions(&mut tokens);
    group_by::mark_kinds(&mut tokens);
    fetch::move_expressions(&mut tokens);
    assign::bracket_parts(&mut tokens);
    Ok(tokens)
}

/// The tokens without whitespace and comments. String literals with a line's end between them are one literal.
fn solid(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut has_line_end = false;
    for token in tokens {
        if let Token::Whitespace(space) = &token.token {
            has_line_end |= matches!(space, Whitespace::Newline | Whitespace::SingleLineComment { .. });
            continue;
        }
        match (kept.last_mut().map(|last| &mut last.token), &token.token) {
            (Some(Token::SingleQuotedString(text)), Token::SingleQuotedString(more)) if has_line_end => {
                text.push_str(more);
            }
            _ => kept.push(token.clone()),
        }
        has_line_end = false;
    }
    kept
}

/// Whether a token is this word, not quoted.
fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    match &token.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text),
        _ => false,
    }
}

/// Whether a token is one of these keywords, not quoted.
fn is_keyword(token: &TokenWithSpan, keywords: &[Keyword]) -> bool {
    match &token.token {
        Token::Word(word) => word.quote_style.is_none() && keywords.contains(&word.keyword),
        _ => false,
    }
}

/// Takes `WITH DATA` from the end of a CREATE TABLE AS; for `WITH NO DATA`, its query becomes a subquery of that name.
fn take_data_clause(tokens: &mut Vec<TokenWithSpan>) {
    let is_create = tokens.first().is_some_and(|first| is_keyword(first, &[Keyword::CREATE]));
    let count = match tokens.as_slice() {
        [.., with, no, data] if is_word(with, "with") && is_word(no, "no") && is_word(data, "data") => 3,
        [.., with, data] if is_word(with, "with") && is_word(data, "data") => 2,
        _ => 0,
    };
    if !is_create || count == 0 {
        return;
    }
    tokens.truncate(tokens.len() - count);
    let Some(query) = tokens.iter().position(|token| is_keyword(token, &[Keyword::AS])) else { return };
    if count == 3 {
        let span = tokens[query].span;
        let front = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM"), Token::LParen];
        let with_span = |token| TokenWithSpan { token, span };
        tokens.splice(query + 1..query + 1, front.map(with_span));
        tokens.extend([Token::RParen, Token::make_word(NO_DATA, Some('"'))].map(with_span));
    }
}

/// Gives a type to each column of `CREATE TABLE t (a, b) AS ..`.
fn add_column_types(tokens: &mut Vec<TokenWithSpan>) {
    let Some(open) = tokens.iter().position(|token| token.token == Token::LParen) else { return };
    let head = &tokens[..open];
    let has = |keyword: Keyword| head.iter().any(|token| is_keyword(token, &[keyword]));
    let is_create = head.first().is_some_and(|first| is_keyword(first, &[Keyword::CREATE]));
    if !is_create || !has(Keyword::TABLE) || has(Keyword::AS) || has(Keyword::WITH) {
        return;
    }
    let text = |place: usize| tokens.get(place).map_or(&Token::EOF, |token| &token.token);
    let mut close = open;
    while text(close) != &Token::RParen {
        if !matches!(text(close), Token::LParen | Token::Comma) || !matches!(text(close + 1), Token::Word(_))
        {
            return;
        }
        close += 2;
    }
    let untyped = |name: TokenWithSpan| {
        let pg_type = TokenWithSpan { token: Token::make_word(UNTYPED_COLUMN, None), span: name.span };
        [name, pg_type]
    };
    let rest = tokens.split_off(close);
    for token in tokens.split_off(open) {
        match token.token {
            Token::Word(_) => tokens.extend(untyped(token)),
            _ => tokens.push(token),
        }
    }
    tokens.extend(rest);
}

/// Takes `NO KEY` and `KEY` from `FOR NO KEY UPDATE` and `FOR KEY SHARE`: the stronger locks stand for them.
fn take_lock_keys(tokens: &mut Vec<TokenWithSpan>) {
    let is = is_word;
    let mut place = 0;
    while place < tokens.len() {
        let taken = match &tokens[place..] {
            [a, b, c, d, ..] if is(a, "for") && is(b, "no") && is(c, "key") && is(d, "update") => 2,
            [a, b, c, ..] if is(a, "for") && is(b, "key") && is(c, "share") => 1,
            _ => 0,
        };
        tokens.drain(place + 1..place + 1 + taken);
        place += 1;
    }
}

/// Takes `ONLY` from the front of tables: tables have no descendants, so it says nothing.
fn take_only(tokens: &mut Vec<TokenWithSpan>) {
    const IN_FRONT: [Keyword; 5] =
        [Keyword::FROM, Keyword::UPDATE, Keyword::TABLE, Keyword::TRUNCATE, Keyword::JOIN];
    let mut in_front_of_table = false;
    tokens.retain(|token| {
        let is_only = in_front_of_table && is_word(token, "only");
        in_front_of_table = is_keyword(token, &IN_FRONT);
        !is_only
    });
}

/// Makes `SELECT * FROM t` of the query `TABLE t`.
fn select_tables(tokens: &mut Vec<TokenWithSpan>) {
    const IN_FRONT: [Keyword; 6] =
        [Keyword::AS, Keyword::UNION, Keyword::INTERSECT, Keyword::EXCEPT, Keyword::ALL, Keyword::DISTINCT];
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens.drain(..) {
        let begins_query = kept.last().is_none_or(|last| {
            matches!(last.token, Token::LParen | Token::RParen) || is_keyword(last, &IN_FRONT)
        });
        if begins_query && is_keyword(&token, &[Keyword::TABLE]) {
            let select = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            kept.extend(select.map(|part| TokenWithSpan { token: part, span: token.span }));
        } else {
            kept.push(token);
        }
    }
    *tokens = kept;
}

/// Makes `ROWS FROM (` the name of a function: its arguments are the calls.
fn name_rows_from(tokens: &mut Vec<TokenWithSpan>) {
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens.drain(..) {
        kept.push(token);
        if let [.., rows, from, open] = kept.as_mut_slice()
            && is_word(rows, "rows")
            && is_word(from, "from")
            && open.token == Token::LParen
        {
            rows.token = Token::make_word(crate::bind::ROWS_FROM, Some('"'));
            kept.remove(kept.len() - 2);
        }
    }
    *tokens = kept;
}
