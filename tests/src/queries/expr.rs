//! Expressions and conditions.

use super::{Column, Generator, Scope, TYPES, Type};

const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

impl Generator {
    /// A column of a type, if there is one.
    pub(super) fn column(&mut self, kind: Type, scope: &Scope) -> Option<String> {
        let from = |columns: &[Column]| -> Vec<String> {
            columns.iter().filter(|column| column.kind == kind).map(|column| column.text.clone()).collect()
        };
        let (own, outer) = (from(&scope.columns), from(&scope.outer));
        let choices = if own.is_empty() || (!outer.is_empty() && self.chance(35)) { outer } else { own };
        (!choices.is_empty()).then(|| self.pick(&choices))
    }

    fn literal(&mut self, kind: Type) -> String {
        match kind {
            _ if self.chance(8) => format!("null::{}", kind.name()),
            Type::Big => format!("{}::bigint", self.value(kind, false)),
            // Of a known type, as many functions take any.
            Type::Text => format!("text {}", self.value(kind, false)),
            kind => self.value(kind, false),
        }
    }

    /// An expression of a type.
    pub(super) fn expr(&mut self, kind: Type, scope: &Scope, depth: u32) -> String {
        if depth == 0 || self.chance(45) {
            return match self.column(kind, scope) {
                Some(column) if self.chance(85) => column,
                _ => self.literal(kind),
            };
        }
        if self.may(8) {
            return self.scalar_subquery(kind, &scope.around());
        }
        if self.chance(25) {
            return self.choice(kind, scope, depth);
        }
        let sub = |generator: &mut Generator, kind| generator.expr(kind, scope, depth - 1);
        match (kind, self.below(4)) {
            (Type::Bool, _) => self.condition(scope, depth),
            (Type::Int, 0) => {
                let text = sub(self, Type::Text);
                format!("length({text})")
            }
            (Type::Int, 1) => {
                let (left, right) = (sub(self, Type::Date), sub(self, Type::Date));
                format!("({left} - {right})")
            }
            (Type::Big, 0) => format!("({})::bigint", sub(self, Type::Int)),
            (Type::Numeric, 0) => {
                let from = self.pick(&[Type::Int, Type::Big]);
                format!("({})::numeric", sub(self, from))
            }
            (Type::Numeric, 1) => format!("round({}, 1)", sub(self, Type::Numeric)),
            (Type::Int | Type::Big | Type::Numeric, 2) => {
                let arg = sub(self, kind);
                let by = self.pick(&["* 2", "* 3", "% 3", "/ 2", "* (-1)"]);
                format!("({arg} {by})")
            }
            (Type::Int | Type::Big | Type::Numeric, _) => {
                let (left, right) = (sub(self, kind), sub(self, kind));
                match self.below(4) {
                    0 => format!("abs({left})"),
                    1 => format!("(- {left})"),
                    2 => format!("({left} - {right})"),
                    _ => format!("({left} + {right})"),
                }
            }
            (Type::Text, 0) => {
                let from = self.pick(&[Type::Int, Type::Big, Type::Date, Type::Bool]);
                format!("({})::text", sub(self, from))
            }
            (Type::Text, 1) => format!("({} || {})", sub(self, Type::Text), sub(self, Type::Text)),
            (Type::Text, _) => {
                let arg = sub(self, Type::Text);
                let function = self.pick(&[
                    "upper($)",
                    "lower($)",
                    "substr($, 1, 1)",
                    "trim($)",
                    "replace($, 'a', 'x')",
                ]);
                function.replace('$', &arg)
            }
            (Type::Date, _) => {
                let (date, days) = (sub(self, Type::Date), self.value(Type::Int, false));
                format!("({date} + {days})")
            }
        }
    }

    /// What any type can be.
    fn choice(&mut self, kind: Type, scope: &Scope, depth: u32) -> String {
        let first = self.expr(kind, scope, depth - 1);
        let second = self.expr(kind, scope, depth - 1);
        match self.below(6) {
            0 => format!("coalesce({first}, {second})"),
            1 => format!("nullif({first}, {second})"),
            2 => format!("greatest({first}, {second})"),
            3 => format!("least({first}, {second})"),
            _ => {
                let condition = self.condition(scope, depth - 1);
                let rest = if self.chance(75) { format!(" else {second}") } else { String::new() };
                format!("case when {condition} then {first}{rest} end")
            }
        }
    }

    /// Columns and expressions of a type that is in scope rather than not.
    pub(super) fn kind_in(&mut self, scope: &Scope) -> Type {
        let kinds: Vec<Type> = scope.columns.iter().map(|column| column.kind).collect();
        if kinds.is_empty() || self.chance(15) { self.pick(&TYPES) } else { self.pick(&kinds) }
    }

    /// An expression of type boolean.
    pub(super) fn condition(&mut self, scope: &Scope, depth: u32) -> String {
        if depth > 0 && self.may(12) {
            return self.subquery_condition(scope);
        }
        let deeper = depth.saturating_sub(1);
        match self.below(if depth == 0 { 7 } else { 11 }) {
            0..=3 => {
                let kind = self.kind_in(scope);
                let (left, right) = (self.expr(kind, scope, deeper), self.expr(kind, scope, deeper));
                let comparison = match self.below(10) {
                    0 => "is distinct from",
                    1 => "is not distinct from",
                    _ => self.pick(&COMPARISONS),
                };
                format!("({left} {comparison} {right})")
            }
            4 => {
                let kind = self.kind_in(scope);
                let arg = self.expr(kind, scope, deeper);
                format!("({arg} is {})", self.pick(&["null", "not null"]))
            }
            5 => {
                let kind = self.kind_in(scope);
                let arg = self.expr(kind, scope, deeper);
                let count = 1 + self.below(4);
                let list: Vec<String> = (0..count).map(|_| self.expr(kind, scope, 0)).collect();
                let not = self.pick(&["", "", "not "]);
                format!("({arg} {not}in ({}))", list.join(", "))
            }
            6 => match self.column(Type::Bool, scope) {
                Some(column) => column,
                None => {
                    let text = self.expr(Type::Text, scope, deeper);
                    format!("({text} like {})", self.pick(&["'a%'", "'%b'", "'_'", "'%'", "'a\\%'"]))
                }
            },
            7 => {
                let kind = self.kind_in(scope);
                let arg = self.expr(kind, scope, deeper);
                let (low, high) = (self.expr(kind, scope, 0), self.expr(kind, scope, 0));
                format!("({arg} between {low} and {high})")
            }
            8 => format!("(not {})", self.condition(scope, deeper)),
            9 => {
                let arg = self.condition(scope, deeper);
                format!("({arg} is {})", self.pick(&["true", "not true", "false", "not false", "unknown"]))
            }
            _ => {
                let (left, right) = (self.condition(scope, deeper), self.condition(scope, deeper));
                format!("({left} {} {right})", self.pick(&["and", "or"]))
            }
        }
    }

    fn subquery_condition(&mut self, scope: &Scope) -> String {
        let around = scope.around();
        let kind = self.kind_in(scope);
        let not = self.pick(&["", "not "]);
        match self.below(6) {
            0 | 1 => format!("({not}exists ({}))", self.subquery(None, &around)),
            2 | 3 => {
                let left = self.expr(kind, scope, 1);
                format!("({left} {not}in ({}))", self.subquery(Some(&[kind]), &around))
            }
            4 => {
                let other = self.kind_in(scope);
                let (left, right) = (self.expr(kind, scope, 0), self.expr(other, scope, 0));
                format!("(({left}, {right}) {not}in ({}))", self.subquery(Some(&[kind, other]), &around))
            }
            _ => {
                let left = self.expr(kind, scope, 1);
                let (comparison, all) = (self.pick(&COMPARISONS), self.pick(&["any", "all"]));
                format!("({left} {comparison} {all} ({}))", self.subquery(Some(&[kind]), &around))
            }
        }
    }
}
