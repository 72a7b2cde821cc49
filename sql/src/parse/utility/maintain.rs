//! VACUUM and ANALYZE.

use sqlparser::tokenizer::Token;

use super::super::tokens::Cursor;
use super::{TableName, Utility, single_value, table_name};
use crate::error::{Result, SqlError, SqlState};

/// What a statement looks after: a table, and the columns that are written behind its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Maintained {
    /// The table.
    pub(crate) table: TableName,
    /// The columns.
    pub(crate) columns: Vec<String>,
}

/// `VACUUM`: a merge writes whole new segments, which is what FULL asks for, and with them what planning goes by, which
/// is what ANALYZE asks for; there are no frozen row ids to make, and no locks to skip.
pub(super) fn vacuum(cursor: &mut Cursor<'_>) -> Result<Utility> {
    const KNOWN: [&str; 5] = ["full", "freeze", "analyze", "analyse", "skip_locked"];
    options(cursor, "VACUUM", &["full", "freeze", "verbose", "analyze", "analyse"], &KNOWN)?;
    Ok(Utility::Vacuum(tables(cursor)?))
}

/// `ANALYZE`.
pub(super) fn analyze(cursor: &mut Cursor<'_>) -> Result<Utility> {
    options(cursor, "ANALYZE", &["verbose"], &["skip_locked"])?;
    Ok(Utility::Analyze(tables(cursor)?))
}

/// Options in brackets, or as words in front of the tables.
fn options(cursor: &mut Cursor<'_>, statement: &'static str, words: &[&str], known: &[&str]) -> Result<()> {
    if !cursor.take(&Token::LParen) {
        for word in words.iter().filter(|word| cursor.take_keyword(word)) {
            is_known(statement, word, known)?;
        }
        return Ok(());
    }
    loop {
        let position = cursor.position();
        let name = cursor.identifier()?;
        let value = match cursor.peek() {
            Some(Token::Comma | Token::RParen) | None => None,
            _ => Some(single_value(cursor)?.to_lowercase()),
        };
        match value.as_deref() {
            Some("false" | "off" | "0") => {}
            None | Some("true" | "on" | "1") => is_known(statement, &name, known)?,
            Some(_) => {
                let message = format!("{name} requires a Boolean value");
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(position));
            }
        }
        if !cursor.take(&Token::Comma) {
            return cursor.expect(&Token::RParen);
        }
    }
}

fn is_known(statement: &'static str, option: &str, known: &[&str]) -> Result<()> {
    if known.contains(&option) {
        return Ok(());
    }
    let hint = format!("Use {statement} or {statement} table.");
    Err(SqlError::unsupported(format!("{statement} option \"{option}\""), hint))
}

fn tables(cursor: &mut Cursor<'_>) -> Result<Vec<Maintained>> {
    let mut tables = Vec::new();
    if cursor.is_at_end() {
        return Ok(tables);
    }
    loop {
        let table = table_name(cursor)?;
        let mut columns = Vec::new();
        if cursor.take(&Token::LParen) {
            loop {
                columns.push(cursor.identifier()?);
                if !cursor.take(&Token::Comma) {
                    break;
                }
            }
            cursor.expect(&Token::RParen)?;
        }
        tables.push(Maintained { table, columns });
        if !cursor.take(&Token::Comma) {
            return Ok(tables);
        }
    }
}
