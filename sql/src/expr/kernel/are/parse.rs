//! Reads expressions: the advanced ones, and the extended ones that they grew from.

use std::rc::Rc;

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::class::Set;
use super::{Id, Look, Node, Part, Place, Program, Result, Taste, invalid, too_complex};

/// Most parts of an expression.
const PARTS_MAX: usize = 20_000;
/// Deepest nesting of groups; also most groups, references and changes of taste in a row.
const DEPTH_MAX: usize = 200;
/// Deepest nesting of parts: each level is a frame or two on the stack.
const HEIGHT_MAX: u32 = 600;
/// Most lookarounds: which of them hold at a place is kept in a byte.
const LOOKS_MAX: usize = 8;
/// Most repetitions that can be asked for, as in PostgreSQL.
const REPEAT_MAX: u32 = 255;

/// How an expression is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each letter")]
pub(crate) struct Options {
    /// All matches are meant.
    pub(crate) global: bool,
    /// Letters of either case are the same.
    pub(crate) ignore_case: bool,
    /// A point and sets of what is not meant end at line breaks.
    pub(crate) stop_at_lines: bool,
    /// `^` and `$` are those of lines.
    pub(crate) anchor_lines: bool,
    expanded: bool,
    /// All of it is a text to look for.
    pub(crate) literal: bool,
    extended_only: bool,
}

impl Options {
    /// The options of an operator.
    pub(crate) fn of_case(ignore_case: bool) -> Options {
        Options { ignore_case, ..Options::default() }
    }

    /// Reads the letters that functions take.
    ///
    /// # Errors
    /// 22023 if there is no such option.
    pub(crate) fn parse(text: &str) -> Result<Options> {
        let mut options = Options::default();
        for c in text.chars() {
            if c == 'g' {
                options.global = true;
            } else if !options.set(c)? {
                let message = format!("invalid regular expression option: \"{c}\"");
                return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
        Ok(options)
    }

    /// For functions that look for all matches anyway, or for one only.
    ///
    /// # Errors
    /// 22023 if all are asked for.
    pub(crate) fn without_global(self, name: &str) -> Result<Options> {
        if self.global {
            let message = format!("{name}() does not support the \"global\" option");
            return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        Ok(self)
    }

    fn set(&mut self, letter: char) -> Result<bool> {
        let lines = |options: &mut Options, stop, anchor| {
            (options.stop_at_lines, options.anchor_lines) = (stop, anchor);
        };
        match letter {
            'b' => {
                let message = "basic regular expressions are not supported";
                return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            'c' => self.ignore_case = false,
            'e' => (self.extended_only, self.literal) = (true, false),
            'i' => self.ignore_case = true,
            'm' | 'n' => lines(self, true, true),
            'p' => lines(self, true, false),
            'w' => lines(self, false, true),
            's' => lines(self, false, false),
            'q' => self.literal = true,
            't' => self.expanded = false,
            'x' => self.expanded = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    options: Options,
    parts: Vec<Part>,
    /// How deep each part goes.
    heights: Vec<u32>,
    looks: Vec<Look>,
    /// What the groups hold, once they are closed.
    groups: Vec<Option<Id>>,
    depth: usize,
    /// Whether this is inside of lookaround, where groups are not told.
    looking: bool,
}

/// Reads an expression.
///
/// # Errors
/// 2201B where it is wrong.
pub(super) fn parse(pattern: &str, options: Options) -> Result<Program> {
    let mut reader = Reader {
        chars: pattern.chars().collect(),
        at: 0,
        options,
        parts: Vec::new(),
        heights: Vec::new(),
        looks: Vec::new(),
        groups: Vec::new(),
        depth: 0,
        looking: false,
    };
    reader.beginning()?;
    let root = if reader.options.literal { reader.literals()? } else { reader.expression()? };
    if reader.at < reader.chars.len() {
        return Err(invalid("parentheses () not balanced"));
    }
    let ignore_case = reader.options.ignore_case;
    let groups = reader.groups.len();
    Ok(Program { parts: reader.parts, root, groups, looks: reader.looks, ignore_case })
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn starts(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(index, c)| self.chars.get(self.at + index) == Some(&c))
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.starts(text);
        self.at += if found { text.chars().count() } else { 0 };
        found
    }

    /// What decides about the rest: `***=`, `***:` and options in parentheses.
    fn beginning(&mut self) -> Result<()> {
        if self.options.literal {
            return Ok(());
        }
        if self.eat("***=") {
            self.options.literal = true;
            return Ok(());
        }
        if self.eat("***:") {
            self.options.extended_only = false;
        } else if self.starts("***") {
            return Err(invalid("quantifier operand invalid"));
        }
        if self.options.extended_only || !self.starts("(?") {
            return Ok(());
        }
        if self.chars.get(self.at + 2).is_some_and(char::is_ascii_alphabetic) {
            self.at += 2;
            loop {
                match self.peek() {
                    Some(')') => break,
                    Some(c) if c.is_ascii_alphabetic() && self.options.set(c)? => self.at += 1,
                    _ => return Err(invalid("invalid embedded option")),
                }
            }
            self.at += 1;
        }
        Ok(())
    }

    /// What is known of a part from the parts in it.
    fn describe(&self, node: Node) -> (Part, u32) {
        let mut part = Part { node, taste: None, mixed: false, captures: false, refers: false };
        let mut height = 0;
        let mut inner = |part: &mut Part, id: Id| {
            let inner = &self.parts[id];
            let other = part.taste.is_some() && inner.taste.is_some() && part.taste != inner.taste;
            part.mixed |= inner.mixed || other;
            part.captures |= inner.captures;
            part.refers |= inner.refers;
            part.taste = part.taste.or(inner.taste);
            height = height.max(self.heights[id]);
        };
        match part.node.clone() {
            Node::Empty | Node::Set(_) | Node::At(_) | Node::Look(_) => {}
            Node::Concat(left, right) => [left, right].into_iter().for_each(|id| inner(&mut part, id)),
            Node::Alt(branches) => {
                part.taste = Some(Taste::Longest);
                branches.into_iter().for_each(|id| inner(&mut part, id));
            }
            Node::Repeat { inner: id, .. } => inner(&mut part, id),
            Node::Group(group, id) => {
                inner(&mut part, id);
                part.captures |= group.is_some();
            }
            Node::Back { .. } => part.refers = true,
        }
        (part, height + 1)
    }

    fn push(&mut self, node: Node) -> Result<Id> {
        self.push_liked(node, None)
    }

    /// Adds a part that has a taste of its own.
    fn push_liked(&mut self, node: Node, taste: Option<Taste>) -> Result<Id> {
        let (mut part, height) = self.describe(node);
        if self.parts.len() >= PARTS_MAX || height > HEIGHT_MAX {
            return Err(too_complex());
        }
        part.mixed |= taste.is_some() && part.taste.is_some() && taste != part.taste;
        part.taste = taste.or(part.taste);
        self.parts.push(part);
        self.heights.push(height);
        Ok(self.parts.len() - 1)
    }

    fn character(&mut self, c: char) -> Result<Id> {
        let set = Set::of(c);
        let set = if self.options.ignore_case { set.folded() } else { set };
        self.push(Node::Set(Rc::new(set)))
    }

    fn literals(&mut self) -> Result<Id> {
        let mut items = Vec::new();
        while let Some(c) = self.peek() {
            items.push(self.character(c)?);
            self.at += 1;
        }
        self.branch_of(&items)
    }

    fn expression(&mut self) -> Result<Id> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_complex());
        }
        let mut branches = vec![self.branch()?];
        while self.eat("|") {
            branches.push(self.branch()?);
        }
        self.depth -= 1;
        if branches.len() == 1 { Ok(branches[0]) } else { self.push(Node::Alt(branches)) }
    }

    fn skip(&mut self) {
        loop {
            if self.starts("(?#") && !self.options.extended_only {
                while self.peek().is_some_and(|c| c != ')') {
                    self.at += 1;
                }
                self.at += usize::from(self.peek().is_some());
            } else if self.options.expanded && self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
                self.at += 1;
            } else if self.options.expanded && self.peek() == Some('#') {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn branch(&mut self) -> Result<Id> {
        let mut items = Vec::new();
        loop {
            self.skip();
            match self.peek() {
                None | Some('|' | ')') => break,
                Some(_) => {
                    let (atom, repeats) = self.atom()?;
                    self.skip();
                    items.push(if repeats { self.quantified(atom)? } else { atom });
                }
            }
        }
        self.branch_of(&items)
    }

    /// Whether only the length of a part as a whole counts.
    fn is_plain(&self, id: Id) -> bool {
        let part = &self.parts[id];
        !part.mixed && !part.captures && !part.refers
    }

    /// Parts in a row: plain ones are taken together, and others follow them one by one.
    fn branch_of(&mut self, items: &[Id]) -> Result<Id> {
        // Plain parts, and the one that did not fit behind them.
        let mut pieces: Vec<(&[Id], Option<Id>)> = Vec::new();
        let (mut from, mut taste) = (0, None);
        for (index, id) in items.iter().enumerate() {
            let liked = self.parts[*id].taste;
            if self.is_plain(*id) && (taste.is_none() || liked.is_none() || taste == liked) {
                taste = taste.or(liked);
                continue;
            }
            pieces.push((&items[from..index], Some(*id)));
            (from, taste) = (index + 1, None);
        }
        if pieces.len() > DEPTH_MAX {
            return Err(too_complex());
        }
        let mut whole = None;
        if from < items.len() || pieces.is_empty() {
            whole = Some(self.balanced(&items[from..])?);
        }
        for (plain, item) in pieces.into_iter().rev() {
            for part in item.into_iter().chain((!plain.is_empty()).then(|| self.balanced(plain)).transpose()?)
            {
                whole = Some(match whole {
                    Some(rest) => self.push(Node::Concat(part, rest))?,
                    None => part,
                });
            }
        }
        whole.map_or_else(|| self.push(Node::Empty), Ok)
    }

    fn balanced(&mut self, items: &[Id]) -> Result<Id> {
        match items {
            [] => return self.push(Node::Empty),
            [one] => return Ok(*one),
            _ => {}
        }
        let (left, right) = items.split_at(items.len() / 2);
        let (left, right) = (self.balanced(left)?, self.balanced(right)?);
        self.push(Node::Concat(left, right))
    }

    /// A part, and whether it may be repeated.
    fn atom(&mut self) -> Result<(Id, bool)> {
        let Some(c) = self.peek() else { return Ok((self.push(Node::Empty)?, false)) };
        let lines = self.options.anchor_lines;
        self.at += 1;
        let node = match c {
            '^' => Node::At(if lines { Place::LineStart } else { Place::TextStart }),
            '$' => Node::At(if lines { Place::LineEnd } else { Place::TextEnd }),
            '.' => {
                let none = if self.options.stop_at_lines { Set::of('\n') } else { Set::default() };
                Node::Set(Rc::new(none.complement()))
            }
            '(' => return self.group(),
            '[' => {
                if let Some(place) = self.word_bracket() {
                    return Ok((self.push(Node::At(place))?, false));
                }
                Node::Set(Rc::new(self.bracket()?))
            }
            '*' | '+' | '?' => return Err(invalid("quantifier operand invalid")),
            '{' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                return Err(invalid("quantifier operand invalid"));
            }
            '\\' => return self.escape(),
            c => return Ok((self.character(c)?, true)),
        };
        let repeats = !matches!(node, Node::At(_));
        Ok((self.push(node)?, repeats))
    }

    fn word_bracket(&mut self) -> Option<Place> {
        if self.eat("[:<:]]") {
            return Some(Place::WordStart);
        }
        self.eat("[:>:]]").then_some(Place::WordEnd)
    }

    fn group(&mut self) -> Result<(Id, bool)> {
        let marked = !self.options.extended_only && self.eat("?");
        let look = if !marked || self.eat(":") {
            None
        } else {
            let kinds = [("=", false, false), ("!", false, true), ("<=", true, false), ("<!", true, true)];
            let kind = kinds.into_iter().find(|(sign, ..)| self.eat(sign));
            Some(kind.ok_or_else(|| invalid("quantifier operand invalid"))?)
        };
        let told = !marked && !self.looking;
        let group = self.groups.len();
        if told {
            self.groups.push(None);
        }
        let outside = self.looking;
        self.looking |= look.is_some();
        let inner = self.expression()?;
        self.looking = outside;
        if !self.eat(")") {
            return Err(invalid("parentheses () not balanced"));
        }
        if let Some((_, behind, negated)) = look {
            if self.looks.len() == LOOKS_MAX {
                return Err(too_complex());
            }
            self.looks.push(Look { behind, negated, inner });
            return Ok((self.push(Node::Look(self.looks.len() - 1))?, false));
        }
        let id = self.push(Node::Group(told.then_some(group + 1), inner))?;
        if told {
            self.groups[group] = Some(id);
        }
        Ok((id, true))
    }

    fn number(&mut self) -> Result<Option<u32>> {
        let mut value = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            let next = value.unwrap_or(0) * 10 + digit;
            if next > REPEAT_MAX {
                return Err(invalid("invalid repetition count(s)"));
            }
            value = Some(next);
            self.at += 1;
        }
        Ok(value)
    }

    /// A part with what says how often it comes.
    fn quantified(&mut self, atom: Id) -> Result<Id> {
        // A lone number has no taste.
        let (min, max, likes) = match self.peek() {
            Some('*') => (0, None, true),
            Some('+') => (1, None, true),
            Some('?') => (0, Some(1), true),
            Some('{') if self.chars.get(self.at + 1).is_some_and(char::is_ascii_digit) => {
                self.at += 1;
                let counts = invalid("invalid repetition count(s)");
                let min = self.number()?.unwrap_or(0);
                let likes = self.eat(",");
                let max = if likes { self.number()? } else { Some(min) };
                if max.is_some_and(|max| max < min) {
                    return Err(counts);
                }
                match self.peek() {
                    Some('}') => {}
                    Some(_) => return Err(counts),
                    None => return Err(invalid("braces {} not balanced")),
                }
                (min, max, likes)
            }
            _ => return Ok(atom),
        };
        self.at += 1;
        let lazy = !self.options.extended_only && self.eat("?");
        self.skip();
        let again = match self.peek() {
            Some('*' | '+' | '?') => true,
            Some('{') => self.chars.get(self.at + 1).is_some_and(char::is_ascii_digit),
            _ => false,
        };
        if again {
            return Err(invalid("quantifier operand invalid"));
        }
        let taste = if lazy { Taste::Shortest } else { Taste::Longest };
        self.repeat(atom, min, max, likes.then_some(taste))
    }

    fn repeat(&mut self, inner: Id, min: u32, max: Option<u32>, taste: Option<Taste>) -> Result<Id> {
        let (captures, refers) = (self.parts[inner].captures, self.parts[inner].refers);
        if max == Some(0) {
            if let Node::Group(Some(group), _) = self.parts[inner].node {
                self.groups[group - 1] = None;
            }
            return self.push(Node::Empty);
        }
        if let Node::Back { group, may, .. } = self.parts[inner].node {
            return self.push_liked(Node::Back { group, may, min, max }, taste);
        }
        if (min, max) == (1, Some(1)) {
            return if taste.is_none() {
                Ok(inner)
            } else {
                self.push_liked(Node::Group(None, inner), taste)
            };
        }
        if !captures || refers || min == 0 {
            return self.push_liked(Node::Repeat { inner, min, max }, taste);
        }
        // Only the last round is told.
        let rounds = Node::Repeat { inner, min: min - 1, max: max.map(|max| max - 1) };
        let rounds = self.push_liked(rounds, taste)?;
        self.parts[rounds].captures = false;
        let all = self.push(Node::Concat(rounds, inner))?;
        self.push_liked(Node::Group(None, all), taste)
    }

    fn escape(&mut self) -> Result<(Id, bool)> {
        let wrong = || invalid("invalid escape \\ sequence");
        let c = self.peek().ok_or_else(wrong)?;
        if self.options.extended_only || !c.is_ascii_alphanumeric() {
            self.at += 1;
            return Ok((self.character(c)?, true));
        }
        let place = match c {
            'A' => Some(Place::TextStart),
            'Z' => Some(Place::TextEnd),
            'm' => Some(Place::WordStart),
            'M' => Some(Place::WordEnd),
            'y' => Some(Place::Boundary),
            'Y' => Some(Place::NoBoundary),
            _ => None,
        };
        if let Some(place) = place {
            self.at += 1;
            return Ok((self.push(Node::At(place))?, false));
        }
        if let Some(set) = short_class(c) {
            self.at += 1;
            return Ok((self.push(Node::Set(Rc::new(set)))?, true));
        }
        if let Some(group) = self.reference()? {
            let held = self.groups.get(group.wrapping_sub(1)).copied().flatten();
            return match held.filter(|_| !self.looking) {
                Some(may) => Ok((self.push(Node::Back { group, may, min: 1, max: Some(1) })?, true)),
                None => Err(invalid("invalid backreference number")),
            };
        }
        let c = self.escaped()?;
        Ok((self.character(c)?, true))
    }

    /// A back reference: one digit, or more if there are as many groups.
    fn reference(&mut self) -> Result<Option<usize>> {
        let digits: String =
            self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit()).take(3).collect();
        if digits.is_empty() || digits.starts_with('0') {
            return Ok(None);
        }
        let number: usize = digits.parse().map_err(|_| invalid("invalid backreference number"))?;
        let refers = digits.len() == 1 || number <= self.groups.len();
        self.at += if refers { digits.len() } else { 0 };
        Ok(refers.then_some(number))
    }

    /// The character of an escape; the reader is behind the backslash.
    fn escaped(&mut self) -> Result<char> {
        let wrong = || invalid("invalid escape \\ sequence");
        let c = self.peek().ok_or_else(wrong)?;
        if !c.is_ascii_digit() {
            self.at += 1;
        }
        Ok(match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'B' => '\\',
            'e' => '\u{1b}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'c' => {
                let control = self.peek().ok_or_else(wrong)?;
                self.at += 1;
                char::from_u32(control as u32 & 0o37).ok_or_else(wrong)?
            }
            'u' => self.digits(16, 4, 4)?,
            'U' => self.digits(16, 8, 8)?,
            'x' => self.digits(16, 1, 255)?,
            c if c.is_ascii_digit() => self.digits(8, 1, 3)?,
            c if c.is_ascii_alphanumeric() => return Err(wrong()),
            c => c,
        })
    }

    fn digits(&mut self, base: u32, least: usize, most: usize) -> Result<char> {
        let wrong = || invalid("invalid escape \\ sequence");
        let (mut value, mut count) = (0_u32, 0);
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(base)).filter(|_| count < most) {
            value = value.checked_mul(base).and_then(|value| value.checked_add(digit)).ok_or_else(wrong)?;
            count += 1;
            self.at += 1;
        }
        if count < least { Err(wrong()) } else { char::from_u32(value).ok_or_else(wrong) }
    }

    /// A set in brackets; the reader is behind the first.
    fn bracket(&mut self) -> Result<Set> {
        let negated = self.eat("^");
        let mut set = Set::default();
        let mut first = true;
        loop {
            let c = self.peek().ok_or_else(|| invalid("brackets [] not balanced"))?;
            if c == ']' && !first {
                self.at += 1;
                break;
            }
            let low = self.element(first, &mut set)?;
            first = false;
            let ranged = self.starts("-") && self.chars.get(self.at + 1).is_some_and(|c| *c != ']');
            if !ranged {
                if let Some(low) = low {
                    set.add(low, low);
                }
                continue;
            }
            self.at += 1;
            let range = invalid("invalid character range");
            let Some(low) = low else { return Err(range) };
            match self.element(true, &mut Set::default())? {
                Some(high) if low <= high => set.add(low, high),
                _ => return Err(range),
            }
        }
        let mut set = set.sorted();
        if self.options.ignore_case {
            set = set.folded();
        }
        if negated {
            if self.options.stop_at_lines {
                set.add('\n', '\n');
            }
            set = set.sorted().complement();
        }
        Ok(set)
    }

    /// A character, or a class that is added to the set. A hyphen stands for itself only at the ends.
    fn element(&mut self, may_be_hyphen: bool, set: &mut Set) -> Result<Option<char>> {
        let unbalanced = || invalid("brackets [] not balanced");
        let c = self.peek().ok_or_else(unbalanced)?;
        self.at += 1;
        match (c, self.peek()) {
            ('[', Some(kind @ (':' | '.' | '='))) => {
                self.at += 1;
                let mut name = String::new();
                while !(self.peek() == Some(kind) && self.chars.get(self.at + 1) == Some(&']')) {
                    name.push(self.peek().ok_or_else(unbalanced)?);
                    self.at += 1;
                }
                self.at += 2;
                if kind != ':' {
                    return collating(&name).map(Some);
                }
                let name = match name.as_str() {
                    "upper" | "lower" if self.options.ignore_case => "alpha",
                    name => name,
                };
                set.add_all(&Set::named(name).ok_or_else(|| invalid("invalid character class"))?);
                Ok(None)
            }
            ('\\', Some(escaped)) if !self.options.extended_only => {
                if let Some(class) = short_class(escaped) {
                    self.at += 1;
                    set.add_all(&class);
                    return Ok(None);
                }
                self.escaped().map(Some)
            }
            ('-', Some(next)) if !may_be_hyphen && next != ']' => Err(invalid("invalid character range")),
            _ => Ok(Some(c)),
        }
    }
}

fn short_class(letter: char) -> Option<Set> {
    let set = Set::named(match letter {
        'd' | 'D' => "digit",
        's' | 'S' => "space",
        'w' | 'W' => "word",
        _ => return None,
    })?;
    Some(if letter.is_ascii_uppercase() { set.complement() } else { set })
}

fn collating(name: &str) -> Result<char> {
    const NAMES: [(&str, char); 16] = [
        ("hyphen", '-'),
        ("hyphen-minus", '-'),
        ("period", '.'),
        ("full-stop", '.'),
        ("space", ' '),
        ("tab", '\t'),
        ("newline", '\n'),
        ("comma", ','),
        ("colon", ':'),
        ("semicolon", ';'),
        ("slash", '/'),
        ("backslash", '\\'),
        ("left-square-bracket", '['),
        ("right-square-bracket", ']'),
        ("circumflex", '^'),
        ("underscore", '_'),
    ];
    let mut chars = name.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => {
            let known = NAMES.iter().find(|(known, _)| *known == name);
            known.map(|(_, c)| *c).ok_or_else(|| invalid("invalid collating element"))
        }
    }
}
