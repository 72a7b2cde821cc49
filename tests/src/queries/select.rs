//! Queries.

use super::tables::TABLES;
use super::{Column, Generator, Pair, Scope, TYPES, Type};

/// A FROM clause and what it gives.
struct From {
    text: String,
    scope: Scope,
}

impl Generator {
    /// A query, and whether the order of its answer is told.
    pub fn query(&mut self) -> (String, bool) {
        self.restart();
        let mut with = Vec::new();
        while with.len() < 2 && self.may(15) {
            let (text, kinds) = self.body(None, &[]);
            let name = format!("w{}", with.len());
            let columns: Vec<(String, Type)> =
                kinds.iter().enumerate().map(|(index, kind)| (format!("c{index}"), *kind)).collect();
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let how = self.pick(&["", "", "materialized ", "not materialized "]);
            with.push(format!("{name}({}) as {how}({text})", names.join(", ")));
            self.shared.push((name, columns));
        }
        let (body, kinds) = self.body(None, &[]);
        let with = if with.is_empty() { String::new() } else { format!("with {} ", with.join(", ")) };
        let ordered = self.chance(40);
        let order = if ordered { self.order(kinds.len(), 70) } else { String::new() };
        (format!("{with}{body}{order}"), ordered)
    }

    /// A count and a sum that must be equal: of the rows where a condition is true, and of its values.
    pub fn count_pair(&mut self) -> Pair {
        self.restart();
        let From { text, scope } = self.from(&[]);
        let condition = self.condition(&scope, 3);
        Pair {
            plain: format!("select count(*) from {text} where {condition}"),
            parts: format!("select coalesce(sum(case when {condition} then 1 else 0 end), 0) from {text}"),
        }
    }

    /// A query, and the same by a condition's three values.
    pub fn partition_pair(&mut self) -> Pair {
        self.restart();
        let From { text, scope } = self.from(&[]);
        let condition = self.condition(&scope, 3);
        let wheres = [condition.clone(), format!("not {condition}"), format!("{condition} is null")];
        let (first, second) = (self.kind_in(&scope), self.kind_in(&scope));
        let (first, second) = (self.expr(first, &scope, 2), self.expr(second, &scope, 2));
        let union = |parts: &[String], all: &str| parts.join(&format!(" union {all}"));
        match self.below(4) {
            0 => {
                let select = format!("select {first}, {second} from {text}");
                let parts = wheres.map(|part| format!("{select} where {part}"));
                Pair { plain: select, parts: union(&parts, "all ") }
            }
            1 => {
                let select = format!("select distinct {first}, {second} from {text}");
                let parts = wheres.map(|part| format!("{select} where {part}"));
                Pair { plain: select, parts: union(&parts, "") }
            }
            2 => {
                let number = self.expr(Type::Int, &scope, 2);
                let select = format!(
                    "select sum({number}) as a, count({first}) as b, min({number}) as c, max({number}) as d from {text}"
                );
                let parts = wheres.map(|part| format!("{select} where {part}"));
                let parts = union(&parts, "all ");
                Pair {
                    plain: select,
                    parts: format!("select sum(a), sum(b), min(c), max(d) from ({parts}) as parts"),
                }
            }
            _ => {
                let Some(group) = scope.columns.first().map(|column| column.text.clone()) else {
                    return self.partition_pair();
                };
                let (after, calls) = self.grouped(&scope, std::slice::from_ref(&group));
                let condition = self.condition(&after, 2);
                let select = format!("select {group}, {} from {text} group by {group}", calls.join(", "));
                let parts = [condition.clone(), format!("not {condition}"), format!("{condition} is null")]
                    .map(|part| format!("{select} having {part}"));
                Pair { plain: select, parts: union(&parts, "all ") }
            }
        }
    }

    /// ORDER BY all columns, so that it is total, perhaps with a limit.
    fn order(&mut self, columns: usize, limit: u64) -> String {
        let mut keys: Vec<String> = Vec::new();
        for column in 1..=columns {
            let way = self.pick(&["", "", " desc", " nulls first", " desc nulls last"]);
            keys.push(format!("{column}{way}"));
        }
        let mut text = format!(" order by {}", keys.join(", "));
        if self.chance(limit) {
            text += &format!(" limit {}", self.below(12));
            if self.chance(40) {
                text += &format!(" offset {}", self.below(4));
            }
        }
        text
    }

    /// SELECT, or a set operation, and its types.
    fn body(&mut self, want: Option<&[Type]>, outer: &[Column]) -> (String, Vec<Type>) {
        let (first, kinds) = self.select(want, outer);
        if !self.may(12) {
            return (first, kinds);
        }
        let operator =
            self.pick(&["union", "union all", "intersect", "except", "intersect all", "except all"]);
        let (second, _) = self.select(Some(&kinds), outer);
        if outer.is_empty() {
            return (format!("({first}) {operator} ({second})"), kinds);
        }
        (format!("{first} {operator} {second}"), kinds)
    }

    /// A query inside of another.
    pub(super) fn subquery(&mut self, want: Option<&[Type]>, outer: &[Column]) -> String {
        let (text, kinds) = self.body(want, outer);
        if self.chance(12) { format!("{text}{}", self.order(kinds.len(), 100)) } else { text }
    }

    /// A query of one row and column at most.
    pub(super) fn scalar_subquery(&mut self, kind: Type, outer: &[Column]) -> String {
        if self.chance(35) {
            let (text, _) = self.body(Some(&[kind]), outer);
            let way = self.pick(&["", " desc", " nulls first"]);
            return format!("({text} order by 1{way} limit 1)");
        }
        let From { text, scope } = self.from(outer);
        let call = self.aggregate_of(kind, &scope);
        let condition = self.filter(&scope, 75);
        format!("(select {call} from {text}{condition})")
    }

    fn filter(&mut self, scope: &Scope, percent: u64) -> String {
        if !self.chance(percent) {
            return String::new();
        }
        format!(" where {}", self.condition(scope, 3))
    }

    fn select(&mut self, want: Option<&[Type]>, outer: &[Column]) -> (String, Vec<Type>) {
        if outer.is_empty() && self.chance(3) {
            return self.values(want);
        }
        let From { text, scope } = self.from(outer);
        let condition = self.filter(&scope, 60);
        let count = 1 + self.below(3);
        let grouped = self.chance(30);
        let mut tail = String::new();
        let scope = if grouped { self.group(scope, &mut tail) } else { scope };
        let kinds = match want {
            Some(kinds) => kinds.to_vec(),
            None => (0..count).map(|_| self.kind_in(&scope)).collect(),
        };
        let items: Vec<String> = kinds
            .iter()
            .map(|kind| {
                if !grouped && self.chance(12) {
                    self.window(*kind, &scope)
                } else {
                    self.expr(*kind, &scope, 2)
                }
            })
            .collect();
        let distinct = if self.chance(15) { "distinct " } else { "" };
        (format!("select {distinct}{} from {text}{condition}{tail}", items.join(", ")), kinds)
    }

    fn values(&mut self, want: Option<&[Type]>) -> (String, Vec<Type>) {
        let kinds = want.map_or_else(|| vec![self.pick(&TYPES), self.pick(&TYPES)], <[Type]>::to_vec);
        let count = 1 + self.below(3);
        let rows: Vec<String> = (0..count)
            .map(|_| {
                let row: Vec<String> = kinds
                    .iter()
                    .map(|kind| format!("{}::{}", self.value(*kind, false), kind.name()))
                    .collect();
                format!("({})", row.join(", "))
            })
            .collect();
        (format!("values {}", rows.join(", ")), kinds)
    }

    /// Adds GROUP BY and HAVING; answers what can be named behind them.
    fn group(&mut self, scope: Scope, tail: &mut String) -> Scope {
        let mut groups: Vec<String> = Vec::new();
        for _ in 0..self.below(3) {
            let Some(column) = (!scope.columns.is_empty()).then(|| self.pick(&scope.columns)) else { break };
            let group = match column.kind {
                Type::Int | Type::Big if self.chance(30) => format!("({} % 3)", column.text),
                _ => column.text,
            };
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let (after, _) = self.grouped(&scope, &groups);
        if !groups.is_empty() {
            let list = groups.join(", ");
            // OmenDB has these in queries only that read no others.
            let sets = scope.outer.is_empty() && self.chance(30);
            *tail = match self.below(3) {
                _ if !sets => format!(" group by {list}"),
                0 => format!(" group by rollup ({list})"),
                1 => format!(" group by cube ({list})"),
                _ => format!(" group by grouping sets (({list}), ({}), ())", groups[0]),
            };
        }
        if self.chance(30) {
            *tail += &format!(" having {}", self.condition(&after, 2));
        }
        after
    }

    /// What can be named behind GROUP BY: the groups and some aggregates, whose texts are the other answer.
    pub(super) fn grouped(&mut self, scope: &Scope, groups: &[String]) -> (Scope, Vec<String>) {
        let mut columns: Vec<Column> = Vec::new();
        for group in groups {
            let of = scope
                .columns
                .iter()
                .find(|column| group == &column.text || group.contains(&format!("({} ", column.text)));
            let Some(of) = of else { continue };
            columns.push(Column { text: group.clone(), kind: of.kind, plain: group == &of.text });
        }
        let mut calls = Vec::new();
        for _ in 0..1 + self.below(3) {
            let kind = self.pick(&TYPES);
            let call = self.aggregate_of(kind, scope);
            columns.push(Column { text: call.clone(), kind, plain: false });
            calls.push(call);
        }
        (Scope { columns, outer: scope.outer.clone(), keys: None }, calls)
    }

    /// An aggregate of a type. It names columns of its own query only, so that it belongs to it.
    fn aggregate_of(&mut self, kind: Type, scope: &Scope) -> String {
        let own = Scope { columns: scope.columns.clone(), ..Scope::default() };
        let arg = |generator: &mut Generator, kind| {
            let parts = std::mem::take(&mut generator.parts);
            let arg = generator.expr(kind, &own, 1);
            generator.parts = parts;
            arg
        };
        let call = match (kind, self.below(4)) {
            (Type::Big, 0) => "count(*)".to_owned(),
            (Type::Big, 1) => {
                let kind = self.kind_in(&own);
                let distinct = self.pick(&["", "distinct "]);
                format!("count({distinct}{})", arg(self, kind))
            }
            (Type::Big, 2) => format!("sum({})", arg(self, Type::Int)),
            (Type::Numeric, 0) => format!("avg({})", arg(self, Type::Int)),
            (Type::Numeric, 1) => format!("sum(distinct {})", arg(self, Type::Numeric)),
            (Type::Numeric, 2) => format!("sum({})", arg(self, Type::Big)),
            (Type::Bool, _) => {
                let function = self.pick(&["bool_and", "bool_or", "every"]);
                format!("{function}({})", arg(self, Type::Bool))
            }
            (Type::Text, 0) => {
                let text = arg(self, Type::Text);
                format!("string_agg({text}, ',' order by {text})")
            }
            (Type::Text, 1) => {
                let number = arg(self, Type::Int);
                format!("array_agg({number} order by {number} desc)::text")
            }
            _ => {
                let function = self.pick(&["min", "max"]);
                format!("{function}({})", arg(self, kind))
            }
        };
        if !self.chance(15) {
            return call;
        }
        // Behind the call, before a cast.
        let condition = {
            let parts = std::mem::take(&mut self.parts);
            let condition = self.condition(&own, 1);
            self.parts = parts;
            condition
        };
        match call.strip_suffix("::text") {
            Some(call) => format!("(({call} filter (where {condition}))::text)"),
            None => format!("({call} filter (where {condition}))"),
        }
    }

    /// A window function of a type; without one, another expression.
    fn window(&mut self, kind: Type, scope: &Scope) -> String {
        let partition = match self.kind_in(scope) {
            _ if self.chance(30) => String::new(),
            kind => format!("partition by {} ", self.expr(kind, scope, 1)),
        };
        let by = self.kind_in(scope);
        let by = self.expr(by, scope, 1);
        let way = self.pick(&["", " desc", " nulls first"]);
        let total = scope.keys.as_ref().map(|keys| keys.join(", "));
        let over = |order: String| format!("over ({partition}{order})");
        match (kind, total) {
            (Type::Big, Some(keys)) if self.chance(30) => {
                format!("row_number() {}", over(format!("order by {by}{way}, {keys}")))
            }
            (Type::Big, _) if self.chance(50) => {
                let function = self.pick(&["rank()", "dense_rank()"]);
                format!("{function} {}", over(format!("order by {by}{way}")))
            }
            (Type::Big, total) => {
                let arg = self.expr(Type::Int, scope, 1);
                let frame = match &total {
                    Some(_) => self.pick(&[
                        " rows between 1 preceding and 1 following",
                        " rows between unbounded preceding and 1 preceding exclude current row",
                        " groups between 1 preceding and current row",
                    ]),
                    None => self.pick(&[
                        "",
                        " range between unbounded preceding and unbounded following exclude ties",
                    ]),
                };
                let keys = total.map(|keys| format!(", {keys}")).unwrap_or_default();
                format!("sum({arg}) {}", over(format!("order by {by}{way}{keys}{frame}")))
            }
            (kind, Some(keys)) if self.chance(60) => {
                let arg = self.expr(kind, scope, 1);
                let function = self.pick(&[
                    "lag($)",
                    "lead($, 2)",
                    "first_value($)",
                    "last_value($)",
                    "nth_value($, 2)",
                ]);
                format!("{} {}", function.replace('$', &arg), over(format!("order by {by}{way}, {keys}")))
            }
            (Type::Bool, _) => self.expr(kind, scope, 2),
            (kind, _) => {
                let arg = self.expr(kind, scope, 1);
                format!("{}({arg}) {}", self.pick(&["min", "max"]), over(format!("order by {by}{way}")))
            }
        }
    }

    /// Tables and how they are joined.
    fn from(&mut self, outer: &[Column]) -> From {
        let mut from = self.item(outer, None);
        from.scope.outer = outer.to_vec();
        while self.may(35) {
            let lateral = self.chance(15);
            let around = if lateral { Some(from.scope.around()) } else { None };
            let right = self.item(outer, around.as_deref());
            self.join(&mut from, right, lateral);
        }
        from
    }

    fn join(&mut self, from: &mut From, right: From, lateral: bool) {
        let kinds = ["join", "join", "left join", "left join", "cross join", "right join", "full join"];
        let kind = self.pick(if lateral { &kinds[..5] } else { &kinds });
        let pairs: Vec<String> = from
            .scope
            .columns
            .iter()
            .flat_map(|left| right.scope.columns.iter().map(move |right| (left, right)))
            .filter(|(left, right)| left.kind == right.kind && left.kind != Type::Bool)
            .map(|(left, right)| format!("{} = {}", left.text, right.text))
            .collect();
        let scope = &mut from.scope;
        scope.keys = match (scope.keys.take(), right.scope.keys) {
            (Some(left), Some(right)) => Some(left.into_iter().chain(right).collect()),
            _ => None,
        };
        scope.columns.extend(right.scope.columns);
        if kind == "cross join" {
            from.text = format!("{} cross join {}", from.text, right.text);
            return;
        }
        let mut conditions = Vec::new();
        if !pairs.is_empty() && self.chance(85) {
            conditions.push(self.pick(&pairs));
        }
        if kind == "full join" {
            // PostgreSQL has no others of these.
            if conditions.is_empty() {
                conditions.push("true".to_owned());
            }
        } else if conditions.is_empty() || self.chance(25) {
            let scope = from.scope.clone();
            // OmenDB has no subqueries that read both sides of a RIGHT JOIN in its condition.
            let parts = if kind == "right join" { std::mem::take(&mut self.parts) } else { 0 };
            conditions.push(self.condition(&scope, 2));
            self.parts += parts;
        }
        from.text = format!("{} {kind} {} on {}", from.text, right.text, conditions.join(" and "));
    }

    /// A table, or what stands for one; beside others that it may name if `around` is there.
    fn item(&mut self, outer: &[Column], around: Option<&[Column]>) -> From {
        let alias = self.alias();
        let of = |columns: &[(String, Type)]| -> Vec<Column> {
            let column = |(name, kind): &(String, Type)| Column {
                text: format!("{alias}.{name}"),
                kind: *kind,
                plain: true,
            };
            columns.iter().map(column).collect()
        };
        if !self.shared.is_empty() && self.chance(40) {
            let shared = self.shared.clone();
            let (name, columns) = self.pick(&shared);
            let scope = Scope { columns: of(&columns), ..Scope::default() };
            return From { text: format!("{name} as {alias}"), scope };
        }
        if around.is_some() || self.may(12) {
            let (text, kinds) = self.body(None, around.unwrap_or(outer));
            let order = if self.chance(20) { self.order(kinds.len(), 80) } else { String::new() };
            let columns: Vec<(String, Type)> =
                kinds.iter().enumerate().map(|(index, kind)| (format!("c{index}"), *kind)).collect();
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let lateral = if around.is_some() { "lateral " } else { "" };
            let text = format!("{lateral}({text}{order}) as {alias}({})", names.join(", "));
            return From { text, scope: Scope { columns: of(&columns), ..Scope::default() } };
        }
        if self.chance(4) {
            let text = format!("generate_series(0, {}) as {alias}(i)", self.below(5));
            let columns = of(&[("i".to_owned(), Type::Int)]);
            return From {
                text,
                scope: Scope { keys: Some(vec![format!("{alias}.i")]), columns, ..Scope::default() },
            };
        }
        let table = &TABLES[self.below(TABLES.len())];
        let columns: Vec<(String, Type)> =
            table.columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let keys = columns[..table.key].iter().map(|(name, _)| format!("{alias}.{name}")).collect();
        let scope =
            Scope { columns: of(&columns), keys: (table.key > 0).then_some(keys), ..Scope::default() };
        From { text: format!("{} as {alias}", table.name), scope }
    }
}
