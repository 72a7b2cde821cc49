//! A bound of the depth of a statement's syntax tree, from its tokens alone.
//!
//! Every tree node is made by a bracket, an operator or one of a few keywords. Within one pair of brackets (or
//! between two commas) operators chain: `a + b + c` is as deep as it has operators, but AND binds weaker than
//! comparison, and OR weaker than AND, so the depths of the three kinds add up instead of multiplying.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::DEPTH_MAX;
use crate::error::{Result, SqlError, SqlState};

/// What is inside one pair of brackets, or at the outside.
#[derive(Default)]
struct Level {
    /// Depth of the parts before the last comma.
    before: usize,
    /// Deepest bracket since then.
    inner: usize,
    or: usize,
    and_max: usize,
    and: usize,
    operator_max: usize,
    operator: usize,
}

impl Level {
    fn end_operand(&mut self) {
        self.operator_max = self.operator_max.max(self.operator);
        self.operator = 0;
    }

    fn end_conjunct(&mut self) {
        self.end_operand();
        self.and_max = self.and_max.max(self.and);
        self.and = 0;
    }

    fn end_item(&mut self) {
        self.end_conjunct();
        self.before = self.before.max(self.or + self.and_max + self.operator_max + self.inner);
        (self.or, self.and_max, self.operator_max, self.inner) = (0, 0, 0, 0);
    }
}

/// The depth that the tree of the tokens cannot exceed; 54001 if that is above [`DEPTH_MAX`].
pub(super) fn bound(tokens: &[TokenWithSpan]) -> Result<usize> {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => {
                outer.push(std::mem::take(&mut level));
                if outer.len() > DEPTH_MAX {
                    return Err(too_deep());
                }
            }
            Token::RParen | Token::RBracket => {
                level.end_item();
                let depth = level.before + 1;
                level = outer.pop().unwrap_or_default();
                level.inner = level.inner.max(depth);
            }
            Token::Comma => level.end_item(),
            Token::Word(word) => match word.keyword {
                Keyword::AND => {
                    level.end_operand();
                    level.and += 1;
                }
                Keyword::OR => {
                    level.end_conjunct();
                    level.or += 1;
                }
                Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::IN
                | Keyword::CASE
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::EXPLAIN
                | Keyword::NOTNULL => level.operator += 1,
                _ => {}
            },
            Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::Period => {}
            _ => level.operator += 1,
        }
    }
    while let Some(next) = outer.pop() {
        level.end_item();
        let depth = level.before + 1;
        level = next;
        level.inner = level.inner.max(depth);
    }
    level.end_item();
    if level.before > DEPTH_MAX { Err(too_deep()) } else { Ok(level.before) }
}

/// 54001.
pub(crate) fn too_deep() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .hint("Write the statement with less nesting: use IN lists instead of long OR chains, or split it.")
}
