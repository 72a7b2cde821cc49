//! Expressions as text, with the names of the columns that they read.

use std::fmt::Write as _;

use omen_core::types::{Datum, PgType};

use crate::expr::Expr;
use crate::expr::aggregate::Direction;
use crate::logical::{Aggregate, SortKey};
use crate::types::{FormatOptions, text};

/// Longest literal that is shown whole, in characters.
const LITERAL_CHARS_MAX: usize = 60;

/// Most elements of a list that are shown.
const LIST_MAX: usize = 10;

/// The text of an expression.
pub(super) fn expr_text(expr: &Expr, names: &[String]) -> String {
    let list = |exprs: &[Expr]| list_text(exprs.iter(), names);
    match expr {
        Expr::Column { index, .. } => names.get(*index).cloned().unwrap_or_else(|| format!("#{index}")),
        Expr::Outer { scope, index, .. } => format!("outer {scope}.{index}"),
        Expr::Subquery { id, .. } => format!("subquery {id}"),
        Expr::Literal { value, pg_type } => literal_text(value, *pg_type),
        Expr::Unknown(None) => "NULL".to_owned(),
        Expr::Unknown(Some(text)) => quoted(text),
        Expr::Parameter { index, .. } | Expr::UntypedParameter(index) => format!("${}", index + 1),
        Expr::Call { function, args, .. } => call_text(function.name, args, names),
        Expr::Cast { arg, to, .. } => format!("{}::{to}", expr_text(arg, names)),
        Expr::Case { arms, otherwise, .. } => {
            let mut out = "CASE".to_owned();
            for (condition, result) in arms {
                let _ =
                    write!(out, " WHEN {} THEN {}", expr_text(condition, names), expr_text(result, names));
            }
            if let Some(otherwise) = otherwise {
                let _ = write!(out, " ELSE {}", expr_text(otherwise, names));
            }
            out + " END"
        }
        Expr::And(parts) => joined(parts, " AND ", names),
        Expr::Or(parts) => joined(parts, " OR ", names),
        Expr::Not(arg) => format!("NOT {}", expr_text(arg, names)),
        Expr::IsNull { arg, negated } => format!("({} IS {}NULL)", expr_text(arg, names), not(*negated)),
        Expr::IsTruth { arg, truth, negated } => {
            let word = match truth {
                Some(true) => "TRUE",
                Some(false) => "FALSE",
                None => "UNKNOWN",
            };
            format!("({} IS {}{word})", expr_text(arg, names), not(*negated))
        }
        Expr::IsDistinct { left, right, negated } => {
            let (left, right) = (expr_text(left, names), expr_text(right, names));
            format!("({left} IS {}DISTINCT FROM {right})", not(*negated))
        }
        Expr::InList { arg, list: items, negated } => {
            format!("({} {}IN ({}))", expr_text(arg, names), not(*negated), list(items))
        }
        Expr::AnyAll { function, left, array, all } => {
            let word = if *all { "ALL" } else { "ANY" };
            format!("({} {} {word} ({}))", expr_text(left, names), function.name, expr_text(array, names))
        }
        Expr::InSet { arg, negated, .. } => format!("({} {}IN (..))", expr_text(arg, names), not(*negated)),
        Expr::Coalesce(args) => format!("coalesce({})", list(args)),
        Expr::NullIf { value, equal } => {
            format!("nullif({}, {})", expr_text(value, names), expr_text(equal, names))
        }
        Expr::Extreme { args, greatest } => {
            format!("{}({})", if *greatest { "greatest" } else { "least" }, list(args))
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

fn joined(parts: &[Expr], word: &str, names: &[String]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| expr_text(part, names)).collect();
    format!("({})", parts.join(word))
}

fn call_text(name: &str, args: &[Expr], names: &[String]) -> String {
    let is_operator = !name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    match args {
        [left, right] if is_operator => {
            format!("({} {name} {})", expr_text(left, names), expr_text(right, names))
        }
        [arg] if is_operator => format!("({name}{})", expr_text(arg, names)),
        args => format!("{name}({})", list_text(args.iter(), names)),
    }
}

/// Expressions with commas between them.
pub(super) fn list_text<'e>(exprs: impl ExactSizeIterator<Item = &'e Expr>, names: &[String]) -> String {
    let count = exprs.len();
    let mut shown: Vec<String> = exprs.take(LIST_MAX).map(|expr| expr_text(expr, names)).collect();
    if count > LIST_MAX {
        shown.push(format!(".. {} more", count - LIST_MAX));
    }
    shown.join(", ")
}

fn literal_text(value: &Datum, pg_type: PgType) -> String {
    match value {
        Datum::Null => "NULL".to_owned(),
        Datum::Bool(value) => value.to_string(),
        _ => {
            let mut out = Vec::new();
            text::write_datum(pg_type, value, &FormatOptions::default(), &mut out);
            let text = String::from_utf8_lossy(&out);
            match pg_type {
                PgType::Int2
                | PgType::Int4
                | PgType::Int8
                | PgType::Float4
                | PgType::Float8
                | PgType::Numeric(_) => text.into_owned(),
                PgType::Text | PgType::Varchar(_) => quoted(&text),
                other => format!("{}::{other}", quoted(&text)),
            }
        }
    }
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(LITERAL_CHARS_MAX) {
        Some((end, _)) => format!("'{}..'", &text[..end]),
        None => format!("'{text}'"),
    }
}

/// The text of an aggregate.
pub(super) fn aggregate_text(aggregate: &Aggregate, names: &[String]) -> String {
    let call = &aggregate.call;
    let (own, order) = call.args.split_at(call.arg_count());
    let mut args = if own.is_empty() { "*".to_owned() } else { list_text(own.iter(), names) };
    if !order.is_empty() {
        let key = |(expr, direction): (&Expr, &Direction)| {
            format!("{}{}", expr_text(expr, names), if direction.descending { " DESC" } else { "" })
        };
        let keys: Vec<String> = order.iter().zip(&call.order).map(key).collect();
        args += &format!(" ORDER BY {}", keys.join(", "));
    }
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    let filter = match &aggregate.filter {
        Some(filter) => format!(" FILTER (WHERE {})", expr_text(filter, names)),
        None => String::new(),
    };
    format!("{}({distinct}{args}){filter}", call.name)
}

/// The text of an order.
pub(super) fn order_text(keys: &[SortKey], names: &[String]) -> String {
    let key = |key: &SortKey| {
        let name = names.get(key.column).cloned().unwrap_or_else(|| format!("#{}", key.column));
        let direction = if key.descending { " DESC" } else { "" };
        let nulls = match (key.descending, key.nulls_first) {
            (false, true) => " NULLS FIRST",
            (true, false) => " NULLS LAST",
            _ => "",
        };
        format!("{name}{direction}{nulls}")
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}
