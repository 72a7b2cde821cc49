//! Statements about the session and the server, read exactly as PostgreSQL writes them.

mod copy;
mod maintain;

use std::rc::Rc;

use omen_core::types::PgType;
use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::tokens::Cursor;
use super::{Statement, SyntaxTree, sql_parser, syntax_error};
use crate::error::{Result, SqlError};
pub(crate) use copy::{CopyOption, CopySource, CopyStatement};
pub(crate) use maintain::Maintained;

/// A statement about the session or the server.
#[derive(Debug)]
pub(crate) enum Utility {
    /// `SET [SESSION | LOCAL] name = value`
    Set(SetStatement),
    /// `RESET name`, or all (`None`)
    Reset(Option<String>),
    /// `SHOW name`, or all (`None`)
    Show(Option<String>),
    /// `BEGIN`, `START TRANSACTION`
    Begin {
        /// Its modes.
        modes: TransactionModes,
        /// The tag: one of the two.
        tag: &'static str,
    },
    /// `COMMIT`, `END`
    Commit {
        /// `AND CHAIN`
        chain: bool,
    },
    /// `ROLLBACK`, `ABORT`
    Rollback {
        /// `AND CHAIN`
        chain: bool,
    },
    /// `SET TRANSACTION`
    SetTransaction(TransactionModes),
    /// `SET SESSION CHARACTERISTICS AS TRANSACTION`
    SetSessionTransaction(TransactionModes),
    /// `DISCARD`
    Discard(Discard),
    /// `DEALLOCATE name`, or all (`None`)
    Deallocate(Option<String>),
    /// `PREPARE name [(types)] AS statement`
    Prepare {
        /// The name.
        name: String,
        /// Types of the parameters.
        types: Vec<ast::DataType>,
        /// What is prepared.
        statement: Statement,
    },
    /// `EXECUTE name [(arguments)]`
    Execute {
        /// The name.
        name: String,
        /// The arguments.
        args: SyntaxTree<Vec<ast::Expr>>,
    },
    /// `CLOSE ALL`, `UNLISTEN *`: ends what a session cannot have begun.
    EndNothing(&'static str),
    /// `CHECKPOINT`
    Checkpoint,
    /// `VACUUM [tables]`
    Vacuum(Vec<Maintained>),
    /// `ANALYZE [tables]`
    Analyze(Vec<Maintained>),
    /// `EXPLAIN`
    Explain {
        /// Run it and tell times.
        analyze: bool,
        /// How it is told.
        format: ExplainFormat,
        /// What is explained.
        statement: Statement,
    },
    /// `COPY`
    Copy(CopyStatement),
}

/// `SET`.
#[derive(Debug)]
pub(crate) struct SetStatement {
    /// The setting, in lower case.
    pub(crate) name: String,
    /// The new value; `None` is DEFAULT.
    pub(crate) value: Option<String>,
    /// Only until the end of the transaction.
    pub(crate) local: bool,
}

/// What DISCARD forgets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Discard {
    /// Everything.
    All,
    /// Plans, sequences or temporary tables, of which a session keeps none.
    Part(&'static str),
}

/// Modes of a transaction; `None` where not said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TransactionModes {
    /// `ISOLATION LEVEL`
    pub(crate) isolation: Option<Isolation>,
    /// `READ ONLY`, `READ WRITE`
    pub(crate) read_only: Option<bool>,
    /// `[NOT] DEFERRABLE`
    pub(crate) deferrable: Option<bool>,
}

/// Isolation levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Isolation {
    /// `READ UNCOMMITTED`, which is READ COMMITTED in PostgreSQL, too
    ReadUncommitted,
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `SERIALIZABLE`
    Serializable,
}

impl Isolation {
    /// As SHOW prints it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Isolation::ReadUncommitted => "read uncommitted",
            Isolation::ReadCommitted => "read committed",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
        }
    }

    /// The level with this name.
    pub(crate) fn parse(name: &str) -> Option<Isolation> {
        let levels = [
            Isolation::ReadUncommitted,
            Isolation::ReadCommitted,
            Isolation::RepeatableRead,
            Isolation::Serializable,
        ];
        levels.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }
}

/// A table's name as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TableName {
    /// Its schema.
    pub(crate) schema: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// Where it is in the text.
    pub(crate) position: u32,
}

/// Reads the statement if it is one of these; `None` if it is not.
pub(super) fn parse(text: &Rc<str>, cursor: &mut Cursor<'_>, depth: usize) -> Result<Option<Utility>> {
    let Some(Token::Word(word)) = cursor.peek() else { return Ok(None) };
    if word.quote_style.is_some() {
        return Ok(None);
    }
    let first = word.value.to_ascii_lowercase();
    let start = cursor.clone();
    cursor.advance();
    let utility = match first.as_str() {
        "set" => set(cursor)?,
        "reset" => Utility::Reset(setting_or_all(cursor)?),
        "show" => Utility::Show(setting_or_all(cursor)?),
        "begin" => {
            skip_work(cursor);
            Utility::Begin { modes: modes(cursor)?, tag: "BEGIN" }
        }
        "start" => {
            cursor.expect_keyword("transaction")?;
            Utility::Begin { modes: modes(cursor)?, tag: "START TRANSACTION" }
        }
        "commit" | "end" => {
            refuse_prepared(cursor)?;
            Utility::Commit { chain: chain(cursor)? }
        }
        "rollback" | "abort" => rollback(cursor)?,
        "savepoint" | "release" => return Err(no_savepoints()),
        "discard" => discard(cursor)?,
        "deallocate" => {
            cursor.take_keyword("prepare");
            Utility::Deallocate(if cursor.take_keyword("all") { None } else { Some(cursor.identifier()?) })
        }
        "prepare" => prepare(text, cursor, depth)?,
        "execute" => execute(text, cursor, depth)?,
        "close" if cursor.take_keyword("all") => Utility::EndNothing("CLOSE CURSOR ALL"),
        "unlisten" if cursor.take(&Token::Mul) => Utility::EndNothing("UNLISTEN"),
        "checkpoint" => Utility::Checkpoint,
        "vacuum" => maintain::vacuum(cursor)?,
        "analyze" | "analyse" => maintain::analyze(cursor)?,
        "explain" => explain(text, cursor, depth)?,
        "copy" => Utility::Copy(copy::parse(text, cursor, depth)?),
        _ => {
            *cursor = start;
            return Ok(None);
        }
    };
    cursor.expect_end()?;
    Ok(Some(utility))
}

fn no_savepoints() -> SqlError {
    SqlError::unsupported("SAVEPOINT", "Use a transaction of its own for what may have to be undone alone.")
}

fn skip_work(cursor: &mut Cursor<'_>) {
    let _ = cursor.take_keyword("work") || cursor.take_keyword("transaction");
}

fn refuse_prepared(cursor: &Cursor<'_>) -> Result<()> {
    match cursor.is_keyword("prepared") {
        true => Err(SqlError::unsupported("two-phase commit by clients", "Use a plain COMMIT or ROLLBACK.")),
        false => Ok(()),
    }
}

fn chain(cursor: &mut Cursor<'_>) -> Result<bool> {
    skip_work(cursor);
    if !cursor.take_keyword("and") {
        return Ok(false);
    }
    let chain = !cursor.take_keyword("no");
    cursor.expect_keyword("chain")?;
    Ok(chain)
}

fn rollback(cursor: &mut Cursor<'_>) -> Result<Utility> {
    refuse_prepared(cursor)?;
    let mut ahead = cursor.clone();
    skip_work(&mut ahead);
    if ahead.is_keyword("to") {
        return Err(no_savepoints());
    }
    Ok(Utility::Rollback { chain: chain(cursor)? })
}

/// Transaction modes up to the end, with or without commas.
fn modes(cursor: &mut Cursor<'_>) -> Result<TransactionModes> {
    let mut modes = TransactionModes::default();
    while !cursor.is_at_end() {
        if cursor.take_keywords(&["isolation", "level"]) {
            modes.isolation = Some(isolation(cursor)?);
        } else if cursor.take_keywords(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if cursor.take_keywords(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if cursor.take_keywords(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else if cursor.take_keyword("deferrable") {
            modes.deferrable = Some(true);
        } else {
            return Err(cursor.syntax_error());
        }
        if cursor.take(&Token::Comma) && cursor.is_at_end() {
            return Err(cursor.syntax_error());
        }
    }
    Ok(modes)
}

fn isolation(cursor: &mut Cursor<'_>) -> Result<Isolation> {
    if cursor.take_keywords(&["read", "uncommitted"]) {
        Ok(Isolation::ReadUncommitted)
    } else if cursor.take_keywords(&["read", "committed"]) {
        Ok(Isolation::ReadCommitted)
    } else if cursor.take_keywords(&["repeatable", "read"]) {
        Ok(Isolation::RepeatableRead)
    } else if cursor.take_keyword("serializable") {
        Ok(Isolation::Serializable)
    } else {
        Err(cursor.syntax_error())
    }
}

fn set(cursor: &mut Cursor<'_>) -> Result<Utility> {
    if cursor.take_keywords(&["session", "characteristics", "as", "transaction"]) {
        return Ok(Utility::SetSessionTransaction(modes(cursor)?));
    }
    if cursor.take_keyword("transaction") {
        if cursor.is_keyword("snapshot") {
            let hint = "Begin the transactions that must agree at the same time.";
            return Err(SqlError::unsupported("SET TRANSACTION SNAPSHOT", hint));
        }
        return Ok(Utility::SetTransaction(modes(cursor)?));
    }
    let local = cursor.take_keyword("local");
    if !local {
        let mut ahead = cursor.clone();
        if ahead.take_keyword("session") && !ahead.is_at_end() && !ahead.is_keyword("to") {
            *cursor = ahead;
        }
    }
    if cursor.is_keyword("authorization") || cursor.is_keyword("role") {
        return Err(SqlError::unsupported("changing the role of a session", "Connect as the other role."));
    }
    let (name, value) = if cursor.take_keywords(&["time", "zone"]) {
        ("timezone".to_owned(), time_zone(cursor)?)
    } else if cursor.take_keyword("names") {
        let value = if cursor.take_keyword("default") { None } else { Some(cursor.string()?) };
        ("client_encoding".to_owned(), value)
    } else {
        let name = setting_name(cursor)?;
        if !cursor.take(&Token::Eq) && !cursor.take_keyword("to") {
            return Err(cursor.syntax_error());
        }
        let value = if name == "search_path" { quoted_names(cursor)? } else { setting_value(cursor)? };
        (name, value)
    };
    Ok(Utility::Set(SetStatement { name, value, local }))
}

fn time_zone(cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    if cursor.take_keyword("default") || cursor.take_keyword("local") {
        return Ok(None);
    }
    if cursor.is_keyword("interval") {
        let hint = "Write the offset in hours: SET TIME ZONE -8.";
        return Err(SqlError::unsupported("SET TIME ZONE INTERVAL", hint));
    }
    setting_value(cursor)
}

fn setting_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let mut name = cursor.identifier()?.to_lowercase();
    while cursor.take(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier()?.to_lowercase());
    }
    Ok(name)
}

/// One or several values; `None` is DEFAULT.
fn setting_value(cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    if cursor.take_keyword("default") {
        return Ok(None);
    }
    let mut value = single_value(cursor)?;
    while cursor.take(&Token::Comma) {
        value.push_str(", ");
        value.push_str(&single_value(cursor)?);
    }
    Ok(Some(value))
}

/// A list of names as `search_path` keeps it: quoted where they need it.
fn quoted_names(cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    if cursor.take_keyword("default") {
        return Ok(None);
    }
    let mut names = vec![quote_name(&single_value(cursor)?)];
    while cursor.take(&Token::Comma) {
        names.push(quote_name(&single_value(cursor)?));
    }
    Ok(Some(names.join(", ")))
}

fn quote_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_plain =
        name.starts_with(plain) && name.chars().all(|c| plain(c) || c.is_ascii_digit() || c == '$');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn single_value(cursor: &mut Cursor<'_>) -> Result<String> {
    if let Some(text) = cursor.take_string() {
        return Ok(text);
    }
    let sign = if cursor.take(&Token::Minus) {
        "-"
    } else {
        cursor.take(&Token::Plus);
        ""
    };
    match cursor.peek() {
        Some(Token::Number(number, _)) => {
            cursor.advance();
            Ok(format!("{sign}{number}"))
        }
        Some(Token::Word(_)) if sign.is_empty() => cursor.identifier(),
        _ => Err(cursor.syntax_error()),
    }
}

fn setting_or_all(cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    if cursor.take_keyword("all") {
        return Ok(None);
    }
    let spelled = [
        (&["time", "zone"][..], "timezone"),
        (&["transaction", "isolation", "level"], "transaction_isolation"),
        (&["session", "authorization"], "session_authorization"),
    ];
    for (words, name) in spelled {
        if cursor.take_keywords(words) {
            return Ok(Some(name.to_owned()));
        }
    }
    setting_name(cursor).map(Some)
}

fn discard(cursor: &mut Cursor<'_>) -> Result<Utility> {
    let parts = [
        ("plans", "DISCARD PLANS"),
        ("sequences", "DISCARD SEQUENCES"),
        ("temp", "DISCARD TEMP"),
        ("temporary", "DISCARD TEMP"),
    ];
    if cursor.take_keyword("all") {
        return Ok(Utility::Discard(Discard::All));
    }
    for (word, tag) in parts {
        if cursor.take_keyword(word) {
            return Ok(Utility::Discard(Discard::Part(tag)));
        }
    }
    Err(cursor.syntax_error())
}

/// The statement that the remaining tokens hold.
fn nested(text: &Rc<str>, cursor: &mut Cursor<'_>, depth: usize) -> Result<Statement> {
    let statement = super::statement(text, cursor.rest(), depth)?;
    cursor.skip_to_last(0);
    Ok(statement)
}

fn prepare(text: &Rc<str>, cursor: &mut Cursor<'_>, depth: usize) -> Result<Utility> {
    if cursor.is_keyword("transaction") {
        return Err(SqlError::unsupported("two-phase commit by clients", "Use a plain COMMIT."));
    }
    let name = cursor.identifier()?;
    let mut types = Vec::new();
    if cursor.take(&Token::LParen) {
        let mut parser = sql_parser(cursor.rest().to_vec());
        let parsed = parser.parse_comma_separated(|parser| parser.parse_data_type());
        types = parsed.map_err(|e| syntax_error(text, cursor.rest(), e))?;
        cursor.skip_to_last(cursor.rest().len() - parser.index());
        cursor.expect(&Token::RParen)?;
    }
    cursor.expect_keyword("as")?;
    if cursor.is_at_end() {
        return Err(cursor.syntax_error());
    }
    let statement = nested(text, cursor, depth)?;
    Ok(Utility::Prepare { name, types, statement })
}

fn execute(text: &Rc<str>, cursor: &mut Cursor<'_>, depth: usize) -> Result<Utility> {
    let name = cursor.identifier()?;
    let mut args = Vec::new();
    if cursor.take(&Token::LParen) {
        let mut parser = sql_parser(cursor.rest().to_vec());
        let parsed = parser.parse_comma_separated(|parser| parser.parse_expr());
        args = parsed.map_err(|e| syntax_error(text, cursor.rest(), e))?;
        cursor.skip_to_last(cursor.rest().len() - parser.index());
        cursor.expect(&Token::RParen)?;
    }
    Ok(Utility::Execute { name, args: SyntaxTree::new(args, depth) })
}

/// A possibly qualified name of a table.
pub(super) fn table_name(cursor: &mut Cursor<'_>) -> Result<TableName> {
    let position = cursor.position();
    let first = cursor.identifier()?;
    if !cursor.take(&Token::Period) {
        return Ok(TableName { schema: None, name: first, position });
    }
    Ok(TableName { schema: Some(first), name: cursor.identifier()?, position })
}

fn explain(text: &Rc<str>, cursor: &mut Cursor<'_>, depth: usize) -> Result<Utility> {
    let mut analyze = false;
    let mut format = ExplainFormat::default();
    let options_follow = cursor.peek() == Some(&Token::LParen) && {
        let mut ahead = cursor.clone();
        ahead.advance();
        !["select", "values", "with", "table"].iter().any(|word| ahead.is_keyword(word))
            && ahead.peek() != Some(&Token::LParen)
    };
    if options_follow {
        cursor.advance();
        loop {
            explain_option(cursor, &mut analyze, &mut format)?;
            if !cursor.take(&Token::Comma) {
                break;
            }
        }
        cursor.expect(&Token::RParen)?;
    } else {
        analyze = cursor.take_keyword("analyze") || cursor.take_keyword("analyse");
        // Everything is told always.
        cursor.take_keyword("verbose");
    }
    if cursor.is_at_end() {
        return Err(cursor.syntax_error());
    }
    Ok(Utility::Explain { analyze, format, statement: nested(text, cursor, depth)? })
}

/// How EXPLAIN tells what it has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ExplainFormat {
    /// In lines.
    #[default]
    Text,
    /// As one JSON document.
    Json,
}

impl ExplainFormat {
    /// Type of the one column.
    pub(crate) fn pg_type(self) -> PgType {
        match self {
            ExplainFormat::Text => PgType::Text,
            ExplainFormat::Json => PgType::Json,
        }
    }
}

/// One option of EXPLAIN (..).
fn explain_option(cursor: &mut Cursor<'_>, analyze: &mut bool, format: &mut ExplainFormat) -> Result<()> {
    let position = cursor.position();
    let name = cursor.identifier()?;
    let value = match cursor.peek() {
        Some(Token::Comma | Token::RParen) | None => None,
        _ => Some(single_value(cursor)?.to_lowercase()),
    };
    let on = !matches!(value.as_deref(), Some("false" | "off" | "0"));
    match (name.as_str(), value.as_deref()) {
        ("analyze" | "analyse", _) => *analyze = on,
        ("format", Some("text")) => *format = ExplainFormat::Text,
        ("format", Some("json")) => *format = ExplainFormat::Json,
        // Everything is told always, with ANALYZE also times and bytes; there are no costs.
        ("verbose" | "buffers" | "costs", _) => {}
        ("summary" | "timing", _) if on => {}
        ("settings" | "wal", _) if !on => {}
        ("format" | "settings" | "wal" | "summary" | "timing", _) => {
            let what = match value {
                Some(value) => format!("EXPLAIN option {} {value}", name.to_uppercase()),
                None => format!("EXPLAIN option {}", name.to_uppercase()),
            };
            return Err(SqlError::unsupported(what, "Use EXPLAIN (ANALYZE, FORMAT TEXT) or (FORMAT JSON)."));
        }
        _ => {
            let message = format!("unrecognized EXPLAIN option \"{name}\"");
            return Err(SqlError::new(crate::error::SqlState::SYNTAX_ERROR, message).at(position));
        }
    }
    Ok(())
}
