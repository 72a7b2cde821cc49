//! COPY, with the options of today and the older spellings that clients still send.

use std::rc::Rc;

use sqlparser::tokenizer::Token;

use super::super::Statement;
use super::super::tokens::Cursor;
use super::{TableName, table_name};
use crate::error::{Result, SqlError, SqlState};

/// `COPY`.
#[derive(Debug)]
pub(crate) struct CopyStatement {
    /// What is copied.
    pub(crate) source: CopySource,
    /// `FROM STDIN` rather than `TO STDOUT`
    pub(crate) from: bool,
    /// Options in order, names in lower case.
    pub(crate) options: Vec<CopyOption>,
}

/// What is copied.
#[derive(Debug)]
pub(crate) enum CopySource {
    /// A table's columns, or all of them if none are named.
    Table {
        /// The table.
        name: TableName,
        /// The columns.
        columns: Vec<String>,
    },
    /// What a query answers.
    Query(Statement),
}

/// An option.
#[derive(Debug)]
pub(crate) struct CopyOption {
    /// Its name in lower case.
    pub(crate) name: String,
    /// Its value; for columns one each. None if there is none.
    pub(crate) values: Vec<String>,
    /// The columns are `*`.
    pub(crate) all_columns: bool,
    /// Where it is in the text.
    pub(crate) position: u32,
}

/// Reads it behind the word COPY.
pub(super) fn parse(text: &Rc<str>, cursor: &mut Cursor<'_>, depth: usize) -> Result<CopyStatement> {
    let binary = cursor.is_keyword("binary");
    let source = if cursor.peek() == Some(&Token::LParen) {
        CopySource::Query(query(text, cursor, depth)?)
    } else {
        let name = table_name(cursor)?;
        CopySource::Table { name, columns: columns(cursor)? }
    };
    if binary && !matches!(&source, CopySource::Table { name, .. } if name.name == "binary") {
        return Err(binary_unsupported());
    }
    let from = cursor.take_keyword("from");
    if !from {
        cursor.expect_keyword("to")?;
    }
    if from && matches!(source, CopySource::Query(_)) {
        return Err(cursor.syntax_error());
    }
    // PostgreSQL takes either word in both directions.
    if !cursor.take_keyword("stdin") && !cursor.take_keyword("stdout") {
        if cursor.take_keyword("program") || cursor.take_string().is_some() {
            let what = "COPY with files or programs of the server";
            return Err(SqlError::unsupported(what, "Use COPY FROM STDIN or TO STDOUT, or \\copy in psql."));
        }
        return Err(cursor.syntax_error());
    }
    cursor.take_keyword("with");
    let mut options = Vec::new();
    if cursor.take(&Token::LParen) {
        loop {
            options.push(option(cursor)?);
            if !cursor.take(&Token::Comma) {
                break;
            }
        }
        cursor.expect(&Token::RParen)?;
    } else {
        while !cursor.is_at_end() && !cursor.is_keyword("where") {
            options.push(old_option(cursor)?);
        }
    }
    if cursor.is_keyword("where") {
        let hint = "Copy into another table and insert from there what is wanted.";
        return Err(SqlError::unsupported("COPY FROM .. WHERE", hint));
    }
    Ok(CopyStatement { source, from, options })
}

pub(super) fn binary_unsupported() -> SqlError {
    SqlError::unsupported("COPY in binary format", "Use the text or csv format.")
}

fn columns(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if cursor.take(&Token::LParen) {
        loop {
            names.push(cursor.identifier()?);
            if !cursor.take(&Token::Comma) {
                break;
            }
        }
        cursor.expect(&Token::RParen)?;
    }
    Ok(names)
}

/// The statement between parentheses.
fn query(text: &Rc<str>, cursor: &mut Cursor<'_>, depth: usize) -> Result<Statement> {
    cursor.expect(&Token::LParen)?;
    let tokens = cursor.rest();
    let mut open = 1;
    let closing = tokens.iter().position(|token| {
        match token.token {
            Token::LParen => open += 1,
            Token::RParen => open -= 1,
            _ => {}
        }
        open == 0
    });
    let Some(closing) = closing else {
        cursor.skip_to_last(0);
        return Err(cursor.syntax_error());
    };
    let statement = super::super::statement(text, &tokens[..closing], depth)?;
    cursor.skip_to_last(tokens.len() - closing);
    cursor.expect(&Token::RParen)?;
    Ok(statement)
}

/// `name [value | (columns) | *]`
fn option(cursor: &mut Cursor<'_>) -> Result<CopyOption> {
    let position = cursor.position();
    let name = cursor.identifier()?;
    let mut option = CopyOption { name, values: Vec::new(), all_columns: false, position };
    match cursor.peek() {
        Some(Token::Comma | Token::RParen) | None => {}
        Some(Token::LParen) => option.values = columns(cursor)?,
        Some(Token::Mul) => {
            cursor.advance();
            option.all_columns = true;
        }
        Some(Token::Number(number, _)) => {
            cursor.advance();
            option.values.push(number.clone());
        }
        Some(Token::Word(_)) => option.values.push(cursor.identifier()?),
        Some(_) => option.values.push(cursor.string()?),
    }
    Ok(option)
}

/// The spelling from before PostgreSQL 9.0: `CSV HEADER DELIMITER AS ';'`.
fn old_option(cursor: &mut Cursor<'_>) -> Result<CopyOption> {
    let position = cursor.position();
    let make = |name: &str, values: Vec<String>| CopyOption {
        name: name.to_owned(),
        values,
        all_columns: false,
        position,
    };
    if cursor.take_keyword("binary") {
        return Err(binary_unsupported());
    }
    if cursor.take_keyword("csv") {
        return Ok(make("format", vec!["csv".to_owned()]));
    }
    for name in ["header", "freeze"] {
        if cursor.take_keyword(name) {
            return Ok(make(name, Vec::new()));
        }
    }
    for name in ["delimiter", "null", "quote", "escape", "encoding"] {
        if cursor.take_keyword(name) {
            cursor.take_keyword("as");
            return Ok(make(name, vec![cursor.string()?]));
        }
    }
    let force = [
        (&["force", "quote"][..], "force_quote"),
        (&["force", "not", "null"], "force_not_null"),
        (&["force", "null"], "force_null"),
    ];
    for (words, name) in force {
        if cursor.take_keywords(words) {
            let mut option = make(name, Vec::new());
            option.all_columns = cursor.take(&Token::Mul);
            while !option.all_columns {
                option.values.push(cursor.identifier()?);
                if !cursor.take(&Token::Comma) {
                    break;
                }
            }
            return Ok(option);
        }
    }
    Err(cursor.syntax_error())
}

impl CopyOption {
    /// The one value.
    ///
    /// # Errors
    /// 42601 if there is none or several.
    pub(crate) fn value(&self) -> Result<&str> {
        match self.values.as_slice() {
            [value] => Ok(value),
            _ => {
                let message = format!("{} requires a parameter", self.name);
                Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(self.position))
            }
        }
    }

    /// The value as a Boolean; absent means true.
    ///
    /// # Errors
    /// 42601 if it is not one.
    pub(crate) fn boolean(&self) -> Result<bool> {
        let Some(value) = self.values.first() else { return Ok(true) };
        match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Ok(true),
            "false" | "off" | "0" => Ok(false),
            _ => {
                let message = format!("{} requires a Boolean value", self.name);
                Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(self.position))
            }
        }
    }
}
