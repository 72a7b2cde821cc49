//! Walks the tokens of one statement and says where errors are.

use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};

use crate::error::{Result, SqlError, SqlState};

/// Most characters of a token that an error quotes.
pub(super) const NEAR_CHARS_MAX: usize = 60;

/// The 1-based character of a place in the text; 0 if it is unknown.
pub(crate) fn position_of(text: &str, location: Location) -> u32 {
    if location.line == 0 {
        return 0;
    }
    let mut line = 1;
    let mut count: u64 = 0;
    for c in text.chars() {
        if line == location.line {
            break;
        }
        count += 1;
        line += u64::from(c == '\n');
    }
    u32::try_from(count + location.column).unwrap_or(0)
}

/// A place among the tokens of a statement. Whitespace and comments are skipped.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    tokens: &'a [TokenWithSpan],
    next: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor before the first token.
    pub(crate) fn new(text: &'a str, tokens: &'a [TokenWithSpan]) -> Cursor<'a> {
        let mut cursor = Cursor { text, tokens, next: 0 };
        cursor.skip_blank();
        cursor
    }

    fn skip_blank(&mut self) {
        while let Some(TokenWithSpan { token: Token::Whitespace(_), .. }) = self.tokens.get(self.next) {
            self.next += 1;
        }
    }

    /// The next token, or `None` at the end.
    pub(crate) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next).map(|token| &token.token)
    }

    /// Goes past the next token.
    pub(crate) fn advance(&mut self) -> Option<&'a Token> {
        let token = self.peek()?;
        self.next += 1;
        self.skip_blank();
        Some(token)
    }

    /// The tokens that are left.
    pub(crate) fn rest(&self) -> &'a [TokenWithSpan] {
        &self.tokens[self.next..]
    }

    /// Leaves only the last `count` tokens of [`Cursor::rest`].
    pub(crate) fn skip_to_last(&mut self, count: usize) {
        self.next = self.tokens.len() - count;
        self.skip_blank();
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.next >= self.tokens.len()
    }

    fn unquoted(&self) -> Option<&'a Word> {
        match self.peek()? {
            Token::Word(word) if word.quote_style.is_none() => Some(word),
            _ => None,
        }
    }

    /// Whether the next token is this keyword.
    pub(crate) fn is_keyword(&self, keyword: &str) -> bool {
        self.unquoted().is_some_and(|word| word.value.eq_ignore_ascii_case(keyword))
    }

    /// Goes past this keyword if it is next.
    pub(crate) fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        if found {
            self.advance();
        }
        found
    }

    /// Goes past these keywords if they are next, in this order.
    pub(crate) fn take_keywords(&mut self, keywords: &[&str]) -> bool {
        let mut ahead = self.clone();
        let found = keywords.iter().all(|keyword| ahead.take_keyword(keyword));
        if found {
            *self = ahead;
        }
        found
    }

    /// Goes past this token if it is next.
    pub(crate) fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.advance();
        }
        found
    }

    /// Goes past this keyword.
    pub(crate) fn expect_keyword(&mut self, keyword: &str) -> Result<()> {
        if self.take_keyword(keyword) { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// Goes past this token.
    pub(crate) fn expect(&mut self, token: &Token) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// Nothing may be left.
    pub(crate) fn expect_end(&self) -> Result<()> {
        if self.is_at_end() { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// An identifier, folded.
    pub(crate) fn identifier(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.advance();
                Ok(fold_identifier(&word.value, word.quote_style))
            }
            _ => Err(self.syntax_error()),
        }
    }

    /// A string literal, if it is next.
    pub(crate) fn take_string(&mut self) -> Option<String> {
        let text = match self.peek()? {
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(text) => text.value.clone(),
            _ => return None,
        };
        self.advance();
        Some(text)
    }

    /// A string literal.
    pub(crate) fn string(&mut self) -> Result<String> {
        self.take_string().ok_or_else(|| self.syntax_error())
    }

    /// The 1-based character where the next token starts; 0 at the end.
    pub(crate) fn position(&self) -> u32 {
        self.tokens.get(self.next).map_or(0, |token| position_of(self.text, token.span.start))
    }

    /// 42601 at the next token.
    pub(crate) fn syntax_error(&self) -> SqlError {
        match self.tokens.get(self.next) {
            Some(token) => self.syntax_error_at(token),
            None => self.end_of_input_error(),
        }
    }

    /// 42601 at a token.
    pub(crate) fn syntax_error_at(&self, token: &TokenWithSpan) -> SqlError {
        if token.token == Token::EOF {
            return self.end_of_input_error();
        }
        let start = position_of(self.text, token.span.start);
        let end = position_of(self.text, token.span.end);
        let count = (end.saturating_sub(start) as usize).clamp(1, NEAR_CHARS_MAX);
        let near: String = self.text.chars().skip(start as usize - 1).take(count).collect();
        SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{near}\"")).at(start)
    }

    /// 42601 at the token that starts at or after a place.
    pub(super) fn syntax_error_near(&self, line: u64, column: u64) -> SqlError {
        let at = |token: &&TokenWithSpan| {
            let start = token.span.start;
            (start.line, start.column) >= (line, column) && !matches!(token.token, Token::Whitespace(_))
        };
        match self.tokens.iter().find(at) {
            Some(token) => self.syntax_error_at(token),
            None => self.end_of_input_error(),
        }
    }

    /// 42601 behind the last token.
    pub(super) fn end_of_input_error(&self) -> SqlError {
        let end = u32::try_from(self.text.chars().count() + 1).unwrap_or(0);
        SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input").at(end)
    }
}

/// Longest name in bytes, as in PostgreSQL.
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// A name as the catalog knows it: lower case unless quoted, cut to [`NAME_BYTES_MAX`].
pub(crate) fn fold_identifier(value: &str, quote: Option<char>) -> String {
    let mut name = if quote.is_some() { value.to_owned() } else { value.to_lowercase() };
    if name.len() > NAME_BYTES_MAX {
        let end = (0..=NAME_BYTES_MAX).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        name.truncate(end);
    }
    name
}
