//! Evaluation of paths.
//!
//! Lax mode unwraps arrays where a value is asked for, wraps values where an array is, and takes what is missing for
//! nothing; strict mode fails there. Errors inside of predicates make them unknown.

use std::cmp::Ordering;

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::Numeric;

use super::{Comparison, Method, Node, Path, Step};
use crate::types::json::Value;

/// Why a path has no answer.
pub(super) enum Fail {
    /// What `silent` leaves out.
    Soft(ValueError),
    /// What it does not.
    Hard(ValueError),
}

type Found = Result<Vec<Value>, Fail>;
/// True, false, unknown.
type Truth = Result<Option<bool>, Fail>;

/// What a path is evaluated over.
#[derive(Clone, Copy)]
struct Context<'a> {
    root: &'a Value,
    current: &'a Value,
    vars: &'a [(String, Value)],
    strict: bool,
    /// What is missing is no error: in lax mode, and behind `.**`.
    forgiving: bool,
    /// The length of the innermost array that is subscripted.
    len: usize,
}

fn soft<T>(state: SqlState, message: impl Into<String>) -> Result<T, Fail> {
    Err(Fail::Soft(ValueError::new(state, message.into())))
}

fn boolean(value: bool) -> Value {
    Value::Scalar(if value { "true" } else { "false" }.to_owned())
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Scalar(text) if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
}

fn number(value: &Value) -> Result<Option<Numeric>, Fail> {
    match value {
        Value::Scalar(text) if is_number(value) => Numeric::parse(text).map(Some).map_err(Fail::Soft),
        _ => Ok(None),
    }
}

fn scalar(number: Numeric) -> Value {
    let mut out = Vec::new();
    number.write(&mut out);
    Value::Scalar(String::from_utf8_lossy(&out).into_owned())
}

/// All values that a path finds.
pub(super) fn query(path: &Path, root: &Value, vars: &[(String, Value)]) -> Found {
    let context = Context { root, current: root, vars, strict: path.strict, forgiving: !path.strict, len: 0 };
    context.items(&path.node)
}

impl Context<'_> {
    fn items(&self, node: &Node) -> Found {
        Ok(match node {
            Node::Root => vec![self.root.clone()],
            Node::Current => vec![self.current.clone()],
            Node::Last => vec![Value::Scalar((self.len as i64 - 1).to_string())],
            Node::Literal(value) => vec![value.clone()],
            Node::Variable(name) => match Value::member(self.vars, name) {
                Some(value) => vec![value.clone()],
                None => {
                    let message = format!("could not find jsonpath variable \"{name}\"");
                    return Err(Fail::Hard(ValueError::new(SqlState::UNDEFINED_OBJECT, message)));
                }
            },
            Node::Arith(op, left, right) => {
                let left = self.operand(left, *op, "left")?;
                let right = self.operand(right, *op, "right")?;
                let result = match op {
                    '+' => left.try_add(right),
                    '-' => left.try_sub(right),
                    '*' => left.try_mul(right),
                    '/' => left.try_div(right),
                    _ => left.try_rem(right),
                };
                vec![scalar(result.map_err(Fail::Soft)?)]
            }
            Node::Sign(negative, arg) => {
                let mut out = Vec::new();
                for item in self.unwrapped(arg)? {
                    let Some(value) = number(&item)? else {
                        let sign = if *negative { '-' } else { '+' };
                        let message =
                            format!("operand of unary jsonpath operator {sign} is not a numeric value");
                        return soft(SqlState::SQL_JSON_NUMBER_NOT_FOUND, message);
                    };
                    out.push(scalar(if *negative { value.negated() } else { value }));
                }
                out
            }
            Node::Chain(base, steps) => {
                let mut context = *self;
                let mut items = self.items(base)?;
                for step in steps {
                    let mut next = Vec::new();
                    context.forgiving |= matches!(step, Step::Any(..));
                    for item in &items {
                        context.step(step, item, !self.strict, &mut next)?;
                    }
                    items = next;
                }
                items
            }
            predicate => vec![match self.truth(predicate)? {
                Some(value) => boolean(value),
                None => Value::Scalar("null".to_owned()),
            }],
        })
    }

    /// Values, those of arrays one by one in lax mode.
    fn unwrapped(&self, node: &Node) -> Found {
        let items = self.items(node)?;
        if self.strict {
            return Ok(items);
        }
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Value::Array(inner) => out.extend(inner),
                other => out.push(other),
            }
        }
        Ok(out)
    }

    fn operand(&self, node: &Node, op: char, side: &str) -> Result<Numeric, Fail> {
        if let [item] = self.unwrapped(node)?.as_slice()
            && let Some(number) = number(item)?
        {
            return Ok(number);
        }
        let message = format!("{side} operand of jsonpath operator {op} is not a single numeric value");
        soft(SqlState::SINGLETON_SQL_JSON_ITEM_REQUIRED, message)
    }

    fn missing(&self, state: SqlState, message: impl Into<String>) -> Result<(), Fail> {
        if self.forgiving { Ok(()) } else { soft(state, message) }
    }

    /// Appends what a step makes of a value; `unwrap`: it goes into an array by itself.
    fn step(&self, step: &Step, item: &Value, unwrap: bool, out: &mut Vec<Value>) -> Result<(), Fail> {
        let unwraps = match step {
            Step::Member(_) | Step::AnyMember | Step::Filter(_) => true,
            Step::Method(method) => !matches!(method, Method::Type | Method::Size),
            _ => false,
        };
        if let Value::Array(items) = item
            && unwrap
            && unwraps
        {
            return items.iter().try_for_each(|item| self.step(step, item, false, out));
        }
        match (step, item) {
            (Step::Member(key), Value::Object(members)) => match Value::member(members, key) {
                Some(value) => out.push(value.clone()),
                None => {
                    let message = format!("JSON object does not contain key \"{key}\"");
                    return self.missing(SqlState::SQL_JSON_MEMBER_NOT_FOUND, message);
                }
            },
            (Step::Member(_), _) => {
                let message = "jsonpath member accessor can only be applied to an object";
                return self.missing(SqlState::SQL_JSON_MEMBER_NOT_FOUND, message);
            }
            (Step::AnyMember, Value::Object(members)) => {
                out.extend(members.iter().map(|(_, value)| value.clone()));
            }
            (Step::AnyMember, _) => {
                let message = "jsonpath wildcard member accessor can only be applied to an object";
                return self.missing(SqlState::SQL_JSON_OBJECT_NOT_FOUND, message);
            }
            (Step::AnyElement, Value::Array(items)) => out.extend(items.iter().cloned()),
            (Step::AnyElement, _) if !self.strict => out.push(item.clone()),
            (Step::AnyElement, _) => {
                let message = "jsonpath wildcard array accessor can only be applied to an array";
                return self.missing(SqlState::SQL_JSON_ARRAY_NOT_FOUND, message);
            }
            (Step::Subscripts(list), Value::Array(items)) => return self.subscripts(list, items, out),
            (Step::Subscripts(list), _) if !self.strict => {
                return self.subscripts(list, std::slice::from_ref(item), out);
            }
            (Step::Subscripts(_), _) => {
                let message = "jsonpath array accessor can only be applied to an array";
                return self.missing(SqlState::SQL_JSON_ARRAY_NOT_FOUND, message);
            }
            (Step::Any(from, to), _) => descend(item, 0, *from, *to, out),
            (Step::Filter(predicate), _) => {
                if (Context { current: item, ..*self }).truth(predicate)? == Some(true) {
                    out.push(item.clone());
                }
            }
            (Step::Method(method), _) => return self.method(*method, item, out),
        }
        Ok(())
    }

    fn subscripts(
        &self,
        list: &[(Node, Option<Node>)],
        items: &[Value],
        out: &mut Vec<Value>,
    ) -> Result<(), Fail> {
        let inner = Context { len: items.len(), ..*self };
        let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
        for (from, to) in list {
            let from = inner.subscript(from)?;
            let to = to.as_ref().map_or(Ok(from), |to| inner.subscript(to))?;
            if from < 0 || from > to || to >= len {
                let message = "jsonpath array subscript is out of bounds";
                self.missing(SqlState::INVALID_SQL_JSON_SUBSCRIPT, message)?;
            }
            let from = usize::try_from(from).unwrap_or(0);
            let count = usize::try_from(to + 1).unwrap_or(0).saturating_sub(from);
            out.extend(items.iter().skip(from).take(count).cloned());
        }
        Ok(())
    }

    fn subscript(&self, node: &Node) -> Result<i64, Fail> {
        let items = self.items(node)?;
        let value = match items.as_slice() {
            [item] => number(item)?,
            _ => None,
        };
        let Some(value) = value else {
            let message = "jsonpath array subscript is not a single numeric value";
            return soft(SqlState::INVALID_SQL_JSON_SUBSCRIPT, message);
        };
        match value.trunc(0).and_then(Numeric::to_i32) {
            Ok(value) => Ok(value.into()),
            Err(_) => {
                soft(SqlState::INVALID_SQL_JSON_SUBSCRIPT, "jsonpath array subscript is out of integer range")
            }
        }
    }

    fn method(&self, method: Method, item: &Value, out: &mut Vec<Value>) -> Result<(), Fail> {
        let name = match method {
            Method::Type => {
                let name = match item {
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                    Value::String(_) => "string",
                    Value::Scalar(text) if text == "null" => "null",
                    item if is_number(item) => "number",
                    Value::Scalar(_) => "boolean",
                };
                out.push(Value::String(name.to_owned()));
                return Ok(());
            }
            Method::Size => {
                match item {
                    Value::Array(items) => out.push(Value::Scalar(items.len().to_string())),
                    _ if !self.strict => out.push(Value::Scalar("1".to_owned())),
                    _ => {
                        let message = "jsonpath item method .size() can only be applied to an array";
                        return self.missing(SqlState::SQL_JSON_ARRAY_NOT_FOUND, message);
                    }
                }
                return Ok(());
            }
            Method::Double => {
                out.push(double(item)?);
                return Ok(());
            }
            Method::Ceiling => "ceiling",
            Method::Floor => "floor",
            Method::Abs => "abs",
        };
        let Some(value) = number(item)? else {
            let message = format!("jsonpath item method .{name}() can only be applied to a numeric value");
            return soft(SqlState::NON_NUMERIC_SQL_JSON_ITEM, message);
        };
        let value = match method {
            Method::Ceiling => value.ceil(),
            Method::Floor => value.floor(),
            _ => Ok(value.abs()),
        };
        out.push(scalar(value.map_err(Fail::Soft)?));
        Ok(())
    }

    /// A predicate; errors inside of comparisons make it unknown.
    fn truth(&self, node: &Node) -> Truth {
        Ok(match node {
            Node::And(left, right) => match self.truth(left)? {
                Some(false) => Some(false),
                left => match self.truth(right)? {
                    Some(true) => left,
                    right => right,
                },
            },
            Node::Or(left, right) => match self.truth(left)? {
                Some(true) => Some(true),
                left => match self.truth(right)? {
                    Some(false) => left,
                    right => right,
                },
            },
            Node::Not(arg) => self.truth(arg)?.map(|value| !value),
            Node::IsUnknown(arg) => Some(self.truth(arg)?.is_none()),
            Node::Exists(arg) => self.known(self.items(arg))?.map(|items| !items.is_empty()),
            Node::Compare(op, left, right) => self.pairs(left, Some(right), |a, b| Ok(compare(*op, a, b)))?,
            Node::StartsWith(whole, start) => {
                self.pairs(whole, Some(start), |whole, start| match (whole, start) {
                    (Value::String(whole), Value::String(start)) => Ok(Some(whole.starts_with(start))),
                    _ => Ok(None),
                })?
            }
            Node::LikeRegex(arg, regex) => self.pairs(arg, None, |item, _| match item {
                Value::String(text) => regex.is_match(text).map(Some).map_err(Fail::Hard),
                _ => Ok(None),
            })?,
            _ => None,
        })
    }

    /// Leaves out errors that make a predicate unknown.
    fn known(&self, found: Found) -> Result<Option<Vec<Value>>, Fail> {
        match found {
            Ok(items) => Ok(Some(items)),
            Err(Fail::Soft(_)) => Ok(None),
            Err(hard) => Err(hard),
        }
    }

    /// Whether any pair of values fulfils a condition; strict mode looks at all pairs.
    fn pairs(&self, left: &Node, right: Option<&Node>, test: impl Fn(&Value, &Value) -> Truth) -> Truth {
        let Some(left) = self.known(self.unwrapped(left))? else { return Ok(None) };
        let right = match right {
            Some(right) => self.known(self.unwrapped(right))?,
            None => Some(vec![boolean(true)]),
        };
        let Some(right) = right else { return Ok(None) };
        let (mut yes, mut unknown) = (false, false);
        for a in &left {
            for b in &right {
                match test(a, b)? {
                    None if self.strict => return Ok(None),
                    None => unknown = true,
                    Some(true) if !self.strict => return Ok(Some(true)),
                    Some(value) => yes |= value,
                }
            }
        }
        Ok(if yes { Some(true) } else { (!unknown).then_some(false) })
    }
}

/// The values at the levels `from` to `to` below a value; `None` is the deepest ones.
fn descend(item: &Value, level: u32, from: Option<u32>, to: Option<u32>, out: &mut Vec<Value>) {
    let inner: Vec<&Value> = match item {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    };
    let leaf = item.is_scalar();
    let wanted = match from {
        Some(from) => level >= from && to.is_none_or(|to| level <= to),
        None => leaf && to.is_none_or(|to| level <= to),
    };
    if wanted {
        out.push(item.clone());
    }
    if to.is_none_or(|to| level < to) {
        inner.into_iter().for_each(|item| descend(item, level + 1, from, to, out));
    }
}

fn double(item: &Value) -> Result<Value, Fail> {
    let state = SqlState::NON_NUMERIC_SQL_JSON_ITEM;
    let value = match item {
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(value) => value,
            Err(_) => {
                let message = "string argument of jsonpath item method .double() is not a valid \
                               representation of a double precision number";
                return soft(state, message);
            }
        },
        Value::Scalar(text) if is_number(item) => text.parse().unwrap_or(f64::INFINITY),
        _ => {
            let message = "jsonpath item method .double() can only be applied to a string or numeric value";
            return soft(state, message);
        }
    };
    if !value.is_finite() {
        return soft(state, "NaN or Infinity is not allowed for jsonpath item method .double()");
    }
    match item {
        Value::String(_) => Ok(scalar(Numeric::from_f64(value).map_err(Fail::Soft)?)),
        _ => Ok(item.clone()),
    }
}

fn compare(op: Comparison, a: &Value, b: &Value) -> Option<bool> {
    let is_null = |value: &Value| matches!(value, Value::Scalar(text) if text == "null");
    let order = match (a, b) {
        _ if is_null(a) && is_null(b) => Ordering::Equal,
        _ if is_null(a) || is_null(b) => return Some(op == Comparison::Ne),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Scalar(x), Value::Scalar(y)) => match (is_number(a), is_number(b)) {
            (true, true) => crate::types::json::compare_numbers(x, y),
            (false, false) => x.cmp(y),
            _ => return None,
        },
        _ => return None,
    };
    Some(match op {
        Comparison::Eq => order.is_eq(),
        Comparison::Ne => order.is_ne(),
        Comparison::Lt => order.is_lt(),
        Comparison::Le => order.is_le(),
        Comparison::Gt => order.is_gt(),
        Comparison::Ge => order.is_ge(),
    })
}
