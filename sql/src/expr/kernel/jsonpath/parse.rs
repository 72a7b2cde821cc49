//! Reads paths.

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::{Comparison, Method, Node, Path, Result, Step};
use crate::expr::kernel::are::Options;
use crate::types::json::{self, Value};

/// Deepest nesting of parentheses, filters and subscripts.
const DEPTH_MAX: usize = 64;
/// Most operators; chains of them are trees as deep.
const OPERATORS_MAX: usize = 256;

#[derive(Clone, PartialEq, Debug)]
enum Token {
    /// Operators and punctuation.
    Sign(&'static str),
    Name(String),
    String(String),
    Number(String),
    Variable(String),
}

const SIGNS: &[&str] = &[
    "**", "&&", "||", "==", "!=", "<>", "<=", ">=", "<", ">", "!", "?", "(", ")", "[", "]", "{", "}", ",",
    ".", "@", "$", "*", "+", "-", "/", "%",
];

struct Reader<'a> {
    text: &'a str,
    /// Tokens and where they begin and end.
    tokens: Vec<(Token, usize, usize)>,
    at: usize,
    depth: usize,
    operators: usize,
    filters: usize,
    subscripts: usize,
}

/// Reads a path.
///
/// # Errors
/// 42601 where it breaks the syntax, 54001 if it is nested too deeply.
pub(super) fn parse(text: &str) -> Result<Path> {
    if text.trim().is_empty() {
        let message = format!("invalid input syntax for type jsonpath: \"{text}\"");
        return Err(ValueError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
    }
    let tokens = tokens(text)?;
    let mut reader = Reader { text, tokens, at: 0, depth: 0, operators: 0, filters: 0, subscripts: 0 };
    let strict = reader.name("strict");
    if !strict {
        reader.name("lax");
    }
    let node = reader.any()?;
    if reader.at < reader.tokens.len() {
        return Err(reader.unexpected());
    }
    Ok(Path { strict, node })
}

fn syntax(part: &str) -> ValueError {
    let place = if part.is_empty() { "end".to_owned() } else { format!("or near \"{part}\"") };
    ValueError::new(SqlState::SYNTAX_ERROR, format!("syntax error at {place} of jsonpath input"))
}

fn is_name(c: char) -> bool {
    !c.is_whitespace() && !"?%$.[]{}()|&!=<>@#,*:-+/\\\"".contains(c)
}

fn tokens(text: &str) -> Result<Vec<(Token, usize, usize)>> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let start = at;
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            let Some(len) = comment.find("*/") else {
                let message = "unexpected end of comment at end of jsonpath input";
                return Err(ValueError::new(SqlState::SYNTAX_ERROR, message));
            };
            at += len + 4;
            continue;
        }
        let token = if c == '"' {
            let (string, len) = quoted(rest)?;
            at += len;
            Token::String(string)
        } else if c == '$' && rest[1..].starts_with(|c| c == '"' || is_name(c)) {
            let (name, len) = if rest[1..].starts_with('"') {
                quoted(&rest[1..])?
            } else {
                let len = rest[1..].find(|c| !is_name(c)).unwrap_or(rest.len() - 1);
                (rest[1..=len].to_owned(), len)
            };
            at += len + 1;
            Token::Variable(name)
        } else if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let len = number_len(rest.as_bytes());
            at += len;
            if text[at..].starts_with(is_name) {
                let message = format!(
                    "trailing junk after numeric literal at or near \"{}\" of jsonpath input",
                    &rest[..len + text[at..].chars().next().map_or(0, char::len_utf8)]
                );
                return Err(ValueError::new(SqlState::SYNTAX_ERROR, message));
            }
            Token::Number(rest[..len].to_owned())
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            at += sign.len();
            Token::Sign(if *sign == "<>" { "!=" } else { sign })
        } else if is_name(c) {
            let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            at += len;
            Token::Name(rest[..len].to_owned())
        } else {
            return Err(syntax(&rest[..c.len_utf8()]));
        };
        out.push((token, start, at));
    }
    Ok(out)
}

fn number_len(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = digits(0);
    if bytes.get(at) == Some(&b'.') {
        at += 1 + digits(at + 1);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits((at + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    at
}

/// A string in quotes, as in JSON, and how many bytes it takes.
fn quoted(text: &str) -> Result<(String, usize)> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                return match Value::parse(&text[..=at]) {
                    Ok(Value::String(string)) => Ok((string, at + 1)),
                    Ok(_) => Err(syntax("\"")),
                    Err(_) => Err(syntax(&text[..=at])),
                };
            }
            _ => {}
        }
    }
    let message = "unexpected end of quoted string at end of jsonpath input";
    Err(ValueError::new(SqlState::SYNTAX_ERROR, message))
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, ..)| token)
    }

    fn unexpected(&self) -> ValueError {
        let part = self.tokens.get(self.at).map_or("", |(_, start, end)| &self.text[*start..*end]);
        syntax(part)
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(own)) if *own == sign);
        self.at += usize::from(found);
        found
    }

    fn name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(own)) if own.eq_ignore_ascii_case(name));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn too_deep() -> ValueError {
        ValueError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
    }

    fn counted(&mut self) -> Result<()> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX { Err(Self::too_deep()) } else { Ok(()) }
    }

    /// An expression or a predicate.
    fn any(&mut self) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Self::too_deep());
        }
        let mut left = self.and()?;
        while left.is_predicate() && self.sign("||") {
            self.counted()?;
            let right = self.and()?;
            left = Node::Or(Box::new(left), Box::new(self.predicate(right)?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Node> {
        let mut left = self.compared()?;
        while left.is_predicate() && self.sign("&&") {
            self.counted()?;
            let right = self.compared()?;
            left = Node::And(Box::new(left), Box::new(self.predicate(right)?));
        }
        Ok(left)
    }

    fn predicate(&self, node: Node) -> Result<Node> {
        if node.is_predicate() { Ok(node) } else { Err(self.unexpected()) }
    }

    fn expression(&self, node: Node) -> Result<Node> {
        if node.is_predicate() { Err(self.unexpected()) } else { Ok(node) }
    }

    fn in_parentheses(&mut self) -> Result<Node> {
        self.expect("(")?;
        let node = self.any()?;
        self.expect(")")?;
        Ok(node)
    }

    fn compared(&mut self) -> Result<Node> {
        if self.sign("!") {
            self.counted()?;
            let arg = if self.name("exists") {
                let arg = self.in_parentheses()?;
                Node::Exists(Box::new(self.expression(arg)?))
            } else {
                let arg = self.in_parentheses()?;
                self.predicate(arg)?
            };
            return Ok(Node::Not(Box::new(arg)));
        }
        if self.name("exists") {
            let arg = self.in_parentheses()?;
            return Ok(Node::Exists(Box::new(self.expression(arg)?)));
        }
        let left = self.sum()?;
        if left.is_predicate() {
            if self.name("is") {
                self.counted()?;
                let unknown = self.name("unknown");
                return if unknown { Ok(Node::IsUnknown(Box::new(left))) } else { Err(self.unexpected()) };
            }
            return Ok(left);
        }
        for (sign, op) in [
            ("==", Comparison::Eq),
            ("!=", Comparison::Ne),
            ("<=", Comparison::Le),
            (">=", Comparison::Ge),
            ("<", Comparison::Lt),
            (">", Comparison::Gt),
        ] {
            if self.sign(sign) {
                let right = self.sum()?;
                let right = self.expression(right)?;
                return Ok(Node::Compare(op, Box::new(left), Box::new(right)));
            }
        }
        if self.name("starts") {
            if !self.name("with") {
                return Err(self.unexpected());
            }
            let start = match self.next() {
                Some(Token::String(text)) => Node::Literal(Value::String(text)),
                Some(Token::Variable(name)) => Node::Variable(name),
                _ => return Err(self.before()),
            };
            return Ok(Node::StartsWith(Box::new(left), Box::new(start)));
        }
        if self.name("like_regex") {
            return self.like_regex(left);
        }
        Ok(left)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    /// The error at the token that was taken last.
    fn before(&mut self) -> ValueError {
        self.at -= 1;
        self.unexpected()
    }

    fn like_regex(&mut self, arg: Node) -> Result<Node> {
        let Some(Token::String(pattern)) = self.next() else { return Err(self.before()) };
        let (mut ignore_case, mut dot_all, mut lines, mut literal) = (false, false, false, false);
        if self.name("flag") {
            let Some(Token::String(flags)) = self.next() else { return Err(self.before()) };
            for flag in flags.chars() {
                match flag {
                    'i' => ignore_case = true,
                    's' => dot_all = true,
                    'm' => lines = true,
                    'q' => literal = true,
                    'x' => {
                        let message = "XQuery \"x\" flag (expanded regular expressions) is not implemented";
                        return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                    }
                    other => {
                        let detail =
                            format!("Unrecognized flag character \"{other}\" in LIKE_REGEX predicate.");
                        let message = "invalid input syntax for type jsonpath";
                        return Err(ValueError::new(SqlState::SYNTAX_ERROR, message).with_detail(detail));
                    }
                }
            }
        }
        let lined = !literal && !dot_all;
        let mut options = Options::of_case(ignore_case);
        (options.literal, options.stop_at_lines, options.anchor_lines) = (literal, lined, !literal && lines);
        let regex = crate::expr::kernel::pattern::regex(&pattern, options)?;
        Ok(Node::LikeRegex(Box::new(arg), regex))
    }

    fn binary(&mut self, signs: &[&str], part: fn(&mut Self) -> Result<Node>) -> Result<Node> {
        let mut left = part(self)?;
        while !left.is_predicate() {
            let Some(sign) = signs.iter().find(|sign| self.sign(sign)) else { break };
            self.counted()?;
            let right = part(self)?;
            let op = sign.chars().next().unwrap_or('+');
            left = Node::Arith(op, Box::new(left), Box::new(self.expression(right)?));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Node> {
        self.binary(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Result<Node> {
        self.binary(&["*", "/", "%"], Self::signed)
    }

    fn signed(&mut self) -> Result<Node> {
        let mut signs = Vec::new();
        while let Some(Token::Sign(sign @ ("+" | "-"))) = self.peek() {
            signs.push(*sign == "-");
            self.at += 1;
            self.counted()?;
        }
        let mut node = self.accessed()?;
        if !signs.is_empty() {
            node = self.expression(node)?;
        }
        for negative in signs.into_iter().rev() {
            node = Node::Sign(negative, Box::new(node));
        }
        Ok(node)
    }

    fn accessed(&mut self) -> Result<Node> {
        let base = match self.next() {
            Some(Token::Sign("$")) => Node::Root,
            Some(Token::Sign("@")) if self.filters > 0 => Node::Current,
            Some(Token::Sign("@")) => {
                return Err(ValueError::new(SqlState::SYNTAX_ERROR, "@ is not allowed in root expressions"));
            }
            Some(Token::Sign("(")) => {
                let node = self.any()?;
                self.expect(")")?;
                node
            }
            Some(Token::Name(name)) if name == "last" => {
                if self.subscripts == 0 {
                    let message = "LAST is allowed only in array subscripts";
                    return Err(ValueError::new(SqlState::SYNTAX_ERROR, message));
                }
                Node::Last
            }
            Some(Token::Name(name)) if matches!(name.as_str(), "null" | "true" | "false") => {
                Node::Literal(Value::Scalar(name))
            }
            Some(Token::String(text)) => Node::Literal(Value::String(text)),
            Some(Token::Variable(name)) => Node::Variable(name),
            Some(Token::Number(text)) => {
                let text = text.strip_suffix('.').unwrap_or(&text);
                let text = if text.starts_with('.') { format!("0{text}") } else { text.replace(".e", "e") };
                Node::Literal(Value::Scalar(json::normalize(&text).map_err(|_| self.before())?))
            }
            _ => return Err(self.before()),
        };
        let mut steps = Vec::new();
        while let Some(step) = self.step()? {
            steps.push(step);
        }
        Ok(if steps.is_empty() { base } else { Node::Chain(Box::new(base), steps) })
    }

    fn step(&mut self) -> Result<Option<Step>> {
        if self.sign("?") {
            self.filters += 1;
            let predicate = self.in_parentheses()?;
            self.filters -= 1;
            return Ok(Some(Step::Filter(self.predicate(predicate)?)));
        }
        if self.sign("[") {
            if self.sign("*") {
                self.expect("]")?;
                return Ok(Some(Step::AnyElement));
            }
            self.subscripts += 1;
            let mut list = Vec::new();
            loop {
                let from = self.any()?;
                let from = self.expression(from)?;
                let to = if self.name("to") {
                    let to = self.any()?;
                    Some(self.expression(to)?)
                } else {
                    None
                };
                list.push((from, to));
                if !self.sign(",") {
                    break;
                }
            }
            self.subscripts -= 1;
            self.expect("]")?;
            return Ok(Some(Step::Subscripts(list)));
        }
        if !self.sign(".") {
            return Ok(None);
        }
        if self.sign("**") {
            return self.levels().map(Some);
        }
        match self.next() {
            Some(Token::Sign("*")) => Ok(Some(Step::AnyMember)),
            Some(Token::String(key)) => Ok(Some(Step::Member(key))),
            Some(Token::Name(key)) if self.sign("(") => self.method(&key).map(Some),
            Some(Token::Name(key)) => Ok(Some(Step::Member(key))),
            _ => Err(self.before()),
        }
    }

    fn method(&mut self, name: &str) -> Result<Step> {
        let method = match name {
            "type" => Method::Type,
            "size" => Method::Size,
            "double" => Method::Double,
            "ceiling" => Method::Ceiling,
            "floor" => Method::Floor,
            "abs" => Method::Abs,
            "keyvalue" | "datetime" => {
                let message = format!("jsonpath item method .{name}() is not supported");
                let detail = match name {
                    "keyvalue" => "Use jsonb_each() on what the path finds.",
                    _ => "Cast what the path finds to a type of dates and times.",
                };
                return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message).with_detail(detail));
            }
            _ => return Err(self.before()),
        };
        self.expect(")")?;
        Ok(Step::Method(method))
    }

    /// What follows `.**`.
    fn levels(&mut self) -> Result<Step> {
        if !self.sign("{") {
            return Ok(Step::Any(Some(0), None));
        }
        let from = self.level()?;
        let to = if self.name("to") { self.level()? } else { from };
        self.expect("}")?;
        Ok(Step::Any(from, to))
    }

    fn level(&mut self) -> Result<Option<u32>> {
        match self.next() {
            Some(Token::Name(name)) if name == "last" => Ok(None),
            Some(Token::Number(text)) => text.parse().map(Some).map_err(|_| self.before()),
            _ => Err(self.before()),
        }
    }
}
