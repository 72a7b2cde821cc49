//! `to_char(numeric, pattern)` and `to_number`.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::numeric::Numeric;

use super::{Result, ordinal};

/// Roman numbers are that wide.
const ROMAN_WIDTH: usize = 15;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Nine,
    Zero,
    Point,
    Group,
    Currency,
    Minus,
    Plus,
    Sign,
    Roman {
        lower: bool,
    },
    Ordinal {
        lower: bool,
    },
    /// `S`, `PR`, `V`, `B`, `FM`, `EEEE`: all is in [`NumberPattern`].
    Nothing,
    Text(char),
}

/// Where the sign of `S` stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum SignPlace {
    #[default]
    None,
    Before,
    After,
}

/// A pattern of numbers, read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NumberPattern {
    nodes: Vec<Node>,
    /// Digits before the point.
    pre: usize,
    /// Digits after the point.
    post: usize,
    /// Digits after `V`.
    shift: usize,
    has_shift: bool,
    has_point: bool,
    fill: bool,
    blank: bool,
    /// Position of the first `0`, from 0.
    zero_start: Option<usize>,
    /// Position after the last `0`.
    zero_end: usize,
    sign: SignPlace,
    /// `pre` at the `S`.
    sign_pre: usize,
    has_minus: bool,
    has_plus: bool,
    brackets: bool,
    roman: bool,
    scientific: bool,
}

const NAMES: [(&str, &str); 18] = [
    (",", ","),
    (".", "."),
    ("0", "0"),
    ("9", "9"),
    ("B", "b"),
    ("C", "c"),
    ("D", "d"),
    ("EEEE", "eeee"),
    ("FM", "fm"),
    ("G", "g"),
    ("L", "l"),
    ("MI", "mi"),
    ("PL", "pl"),
    ("PR", "pr"),
    ("RN", "rn"),
    ("SG", "sg"),
    ("S", "s"),
    ("TH", "th"),
];

fn wrong(message: &str) -> ValueError {
    ValueError::new(SqlState::SYNTAX_ERROR, message)
}

impl NumberPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// 42601 for parts that do not go together.
    pub fn parse(pattern: &str) -> Result<NumberPattern> {
        let mut parsed = NumberPattern::default();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            if let Some(quoted) = rest.strip_prefix('"') {
                let mut chars = quoted.chars();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => parsed.nodes.extend(chars.next().map(Node::Text)),
                        _ => parsed.nodes.push(Node::Text(c)),
                    }
                }
                rest = chars.as_str();
                continue;
            }
            if let Some(after) = rest.strip_prefix(['V', 'v']) {
                rest = after;
                parsed.add("V", false)?;
                continue;
            }
            let known =
                NAMES.iter().find(|(upper, lower)| rest.starts_with(upper) || rest.starts_with(lower));
            match known {
                Some((name, lower)) => {
                    parsed.add(name, rest.starts_with(lower))?;
                    rest = &rest[name.len()..];
                }
                None => {
                    let escaped = rest.strip_prefix('\\').filter(|after| after.starts_with('"'));
                    let c = if escaped.is_some() { '"' } else { first };
                    parsed.nodes.push(Node::Text(c));
                    rest = &escaped.unwrap_or(rest)[c.len_utf8()..];
                }
            }
        }
        if parsed.sign == SignPlace::Before
            && parsed.pre == parsed.sign_pre
            && !parsed.has_minus
            && !parsed.has_plus
        {
            parsed.sign = SignPlace::After;
        }
        Ok(parsed)
    }

    /// Adds one part of a pattern by its name in large letters.
    fn add(&mut self, name: &str, lower: bool) -> Result<()> {
        if self.scientific {
            return Err(wrong("\"EEEE\" must be the last pattern used"));
        }
        let node = match name {
            "9" | "0" => return self.add_digit(name == "0"),
            "." | "D" => {
                if self.has_point {
                    return Err(wrong("multiple decimal points"));
                }
                if self.has_shift {
                    return Err(wrong("cannot use \"V\" and decimal point together"));
                }
                self.has_point = true;
                Node::Point
            }
            "V" => {
                if self.has_point {
                    return Err(wrong("cannot use \"V\" and decimal point together"));
                }
                self.has_shift = true;
                Node::Nothing
            }
            "S" | "SG" | "MI" | "PL" | "PR" => return self.add_sign(name),
            "EEEE" => {
                if self.fill
                    || self.sign != SignPlace::None
                    || self.has_minus
                    || self.has_plus
                    || self.brackets
                {
                    return Err(wrong("\"EEEE\" is incompatible with other formats"));
                }
                self.scientific = true;
                Node::Nothing
            }
            "B" => {
                self.blank = self.pre == 0 && self.post == 0;
                Node::Nothing
            }
            "FM" => {
                self.fill = true;
                Node::Nothing
            }
            "RN" => {
                self.roman = true;
                Node::Roman { lower }
            }
            "TH" => Node::Ordinal { lower },
            "L" => Node::Currency,
            "G" | "," => Node::Group,
            _ => Node::Nothing,
        };
        self.nodes.push(node);
        Ok(())
    }

    fn add_digit(&mut self, zero: bool) -> Result<()> {
        if self.brackets {
            return Err(wrong(match zero {
                true => "\"0\" must be ahead of \"PR\"",
                false => "\"9\" must be ahead of \"PR\"",
            }));
        }
        if zero && self.zero_start.is_none() && !self.has_point {
            self.zero_start = Some(self.pre);
        }
        match (self.has_shift, self.has_point) {
            (true, _) => self.shift += 1,
            (_, true) => self.post += 1,
            _ => self.pre += 1,
        }
        if zero {
            self.zero_end = self.pre + self.post;
        }
        self.nodes.push(if zero { Node::Zero } else { Node::Nine });
        Ok(())
    }

    fn add_sign(&mut self, name: &str) -> Result<()> {
        let others = "cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together";
        let node = match name {
            "S" => {
                if self.sign != SignPlace::None {
                    return Err(wrong("cannot use \"S\" twice"));
                }
                if self.has_minus || self.has_plus || self.brackets {
                    return Err(wrong(others));
                }
                self.sign = if self.has_point { SignPlace::After } else { SignPlace::Before };
                self.sign_pre = self.pre;
                Node::Nothing
            }
            _ if self.sign != SignPlace::None => {
                let message = match name {
                    "PR" => "cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together".to_owned(),
                    _ => format!("cannot use \"S\" and \"{name}\" together"),
                };
                return Err(wrong(&message));
            }
            "PR" => {
                if self.has_minus || self.has_plus {
                    return Err(wrong("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                }
                self.brackets = true;
                Node::Nothing
            }
            _ => {
                self.has_minus |= name != "PL";
                self.has_plus |= name != "MI";
                match name {
                    "MI" => Node::Minus,
                    "PL" => Node::Plus,
                    _ => Node::Sign,
                }
            }
        };
        self.nodes.push(node);
        Ok(())
    }

    /// `to_char(numeric, pattern)`, appended; false is NULL, for the empty pattern.
    ///
    /// # Errors
    /// 22003 if the number is too large to be rounded.
    pub fn to_char(&self, value: Numeric, out: &mut String) -> Result<bool> {
        if self.nodes.is_empty() {
            return Ok(false);
        }
        if self.scientific {
            scientific(value, self.post, out);
            return Ok(true);
        }
        let shifted = match self.has_shift {
            true => value.try_mul(Numeric::from_i128(10_i128.pow(self.shift.min(37) as u32))?)?,
            false => value,
        };
        let mut text = Vec::new();
        shifted.round(i32::try_from(self.post).unwrap_or(i32::MAX))?.write(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let negative = text.starts_with('-');
        let digits = text.trim_start_matches('-');
        let pre = self.pre + self.shift;
        let length = digits.find('.').unwrap_or(digits.len());
        let overflow = || format!("{}.{}", "#".repeat(pre), "#".repeat(self.post));
        let number = if length > pre { overflow() } else { digits.to_owned() };
        let mut writer = Writer::new(self, &number, negative, pre.saturating_sub(length));
        for node in &self.nodes {
            if let Node::Roman { lower } = node {
                roman(value, self.fill, *lower, out)?;
            } else {
                writer.node(*node, out);
            }
        }
        Ok(true)
    }

    /// `to_number(text, pattern)`
    ///
    /// # Errors
    /// 22P02 if no number is found, 0A000 for patterns that cannot be read.
    pub fn to_number(&self, text: &str) -> Result<Numeric> {
        if self.scientific || self.roman {
            let what = if self.roman { "\"RN\"" } else { "\"EEEE\"" };
            let message = format!("{what} not supported for input");
            return Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        let mut reader = Reader { rest: text, negative: false, number: String::new(), digits: 0 };
        for node in &self.nodes {
            if reader.rest.is_empty() {
                break;
            }
            reader.node(*node, self);
        }
        reader.trailing_sign();
        let sign = if reader.negative { "-" } else { "" };
        let number = reader.number.trim_end_matches('.');
        let shown = if number.is_empty() { " ".to_owned() } else { format!("{sign}{number}") };
        let value = Numeric::parse(&shown)?;
        if self.has_shift {
            return value.try_div(Numeric::from_i128(10_i128.pow(self.shift.min(37) as u32))?);
        }
        Ok(value)
    }
}

/// What has been written of a number (`NUMProc` of PostgreSQL).
struct Writer<'a> {
    pattern: &'a NumberPattern,
    number: &'a str,
    /// Next byte of `number`.
    at: usize,
    negative: bool,
    /// Digit positions before the number begins.
    spaces: usize,
    /// Digit positions, and signs.
    count: usize,
    /// Positions written.
    current: usize,
    sign_written: bool,
    brackets: bool,
    in_number: bool,
    /// Last byte of `number` that `FM` keeps.
    last_relevant: Option<usize>,
}

impl<'a> Writer<'a> {
    fn new(pattern: &'a NumberPattern, number: &'a str, negative: bool, spaces: usize) -> Writer<'a> {
        let own_sign = pattern.has_minus || pattern.has_plus;
        let sign_written = match own_sign {
            true => pattern.has_minus,
            false => !negative && pattern.fill && pattern.sign == SignPlace::None,
        };
        let mut last_relevant = None;
        if pattern.fill && pattern.has_point {
            last_relevant = number.find('.').map(|point| point.max(number.trim_end_matches('0').len() - 1));
            if pattern.zero_end > spaces {
                let last_zero = (number.len() - 1).min(pattern.zero_end - spaces);
                last_relevant = last_relevant.map(|last| last.max(last_zero));
            }
        }
        let count = (pattern.post + pattern.pre + pattern.shift).saturating_sub(1)
            + usize::from(!sign_written && spaces == 0);
        Writer {
            pattern,
            number,
            at: 0,
            negative,
            spaces,
            count,
            current: 0,
            sign_written,
            brackets: pattern.brackets && (negative || !pattern.fill),
            in_number: false,
            last_relevant,
        }
    }

    fn sign(&self) -> char {
        if self.negative { '-' } else { '+' }
    }

    fn node(&mut self, node: Node, out: &mut String) {
        let fill = self.pattern.fill;
        match node {
            Node::Nine | Node::Zero | Node::Point => self.digit(node, out),
            Node::Group if self.in_number => out.push(','),
            Node::Group | Node::Nothing | Node::Roman { .. } => {
                if node == Node::Group && !fill {
                    out.push(' ');
                }
            }
            Node::Currency => out.push(' '),
            Node::Minus | Node::Plus => {
                if (node == Node::Minus) == self.negative {
                    out.push(self.sign());
                } else if !fill {
                    out.push(' ');
                }
            }
            Node::Sign => out.push(self.sign()),
            Node::Ordinal { lower } => {
                let numbered = !self.pattern.roman && !self.pattern.has_point && !self.negative;
                if numbered && !self.number.starts_with('#') {
                    out.push_str(ordinal(self.number, lower));
                }
            }
            Node::Text(c) => out.push(c),
        }
    }

    /// Whether a 0 before the point is left out: `0.1` as `9.9` is ` .1`.
    fn omits_zero(&self) -> bool {
        let pattern = self.pattern;
        pattern.zero_start.is_none() && self.at == 0 && self.number.starts_with('0') && pattern.post != 0
    }

    fn ends_at_point(&self) -> bool {
        self.last_relevant.is_some_and(|at| self.number.as_bytes()[at] == b'.')
    }

    fn in_zeros(&self) -> bool {
        self.pattern.zero_start.is_some_and(|start| start <= self.current)
    }

    fn digit(&mut self, node: Node, out: &mut String) {
        self.in_number = false;
        let starts = self.current >= self.spaces || self.pattern.zero_start == Some(self.current);
        if !self.sign_written && starts && (!self.omits_zero() || self.ends_at_point()) {
            self.leading_sign(out);
        }
        let fill = self.pattern.fill;
        if self.current < self.spaces {
            if self.in_zeros() {
                out.push('0');
                self.in_number = true;
            } else if !fill {
                out.push(' ');
            }
        } else {
            let byte = self.number.as_bytes().get(self.at).copied();
            match byte {
                Some(b'.') => out.push('.'),
                _ if self.last_relevant.is_some_and(|last| self.at > last) && node != Node::Zero => {}
                Some(_) if self.omits_zero() => {
                    if !fill {
                        out.push(' ');
                    } else if self.ends_at_point() {
                        out.push('0');
                    }
                }
                Some(byte) => {
                    out.push(char::from(byte));
                    self.in_number = true;
                }
                None => self.in_number = true,
            }
            self.at += usize::from(byte.is_some());
        }
        let mut end = self.count + usize::from(self.spaces > 0) + usize::from(self.pattern.has_point);
        if self.last_relevant == Some(self.at) {
            end = self.current;
        }
        if self.current + 1 == end {
            self.trailing_sign(out);
        }
        self.current += 1;
    }

    fn leading_sign(&mut self, out: &mut String) {
        match self.pattern.sign {
            SignPlace::Before => out.push(self.sign()),
            SignPlace::After => return,
            SignPlace::None if self.brackets => out.push(if self.negative { '<' } else { ' ' }),
            SignPlace::None if self.negative => out.push('-'),
            SignPlace::None if !self.pattern.fill => out.push(' '),
            SignPlace::None => {}
        }
        self.sign_written = true;
    }

    fn trailing_sign(&self, out: &mut String) {
        if self.sign_written && self.brackets {
            out.push(if self.negative { '>' } else { ' ' });
        } else if self.pattern.sign == SignPlace::After {
            out.push(self.sign());
        }
    }
}

/// `EEEE`
fn scientific(value: Numeric, digits: usize, out: &mut String) {
    use std::fmt::Write as _;
    if value.is_nan() {
        let _ = write!(out, " #.{}####", "#".repeat(digits));
        return;
    }
    let coefficient = value.coefficient().unsigned_abs();
    out.push(if value.is_negative() { '-' } else { ' ' });
    let mut text = coefficient.to_string();
    let mut exponent = text.len() as i32 - 1 - i32::from(value.scale());
    if coefficient == 0 {
        exponent = 0;
    }
    if text.len() > digits + 1 {
        let up = text.as_bytes()[digits + 1] >= b'5';
        let kept: u128 = text[..=digits].parse().unwrap_or(0);
        text = (kept + u128::from(up)).to_string();
        if text.len() > digits + 1 {
            exponent += 1;
            text.pop();
        }
    }
    let missing = digits + 1 - text.len();
    let point = if digits > 0 { "." } else { "" };
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ =
        write!(out, "{}{point}{}{}e{sign}{:02}", &text[..1], &text[1..], "0".repeat(missing), exponent.abs());
}

/// `RN`
fn roman(value: Numeric, fill: bool, lower: bool, out: &mut String) -> Result<()> {
    const LETTERS: [(u32, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut text = String::new();
    match u32::try_from(value.round(0)?.to_i32()?) {
        Ok(mut number @ 1..4000) => {
            for (worth, letters) in LETTERS {
                while number >= worth {
                    text.push_str(letters);
                    number -= worth;
                }
            }
        }
        _ => text = "#".repeat(ROMAN_WIDTH),
    }
    if lower {
        text.make_ascii_lowercase();
    }
    out.extend(std::iter::repeat_n(' ', if fill { 0 } else { ROMAN_WIDTH.saturating_sub(text.len()) }));
    out.push_str(&text);
    Ok(())
}

/// A number being read.
struct Reader<'a> {
    rest: &'a str,
    negative: bool,
    number: String,
    digits: usize,
}

impl Reader<'_> {
    fn take(&mut self, accept: impl Fn(char) -> bool) -> Option<char> {
        let c = self.rest.chars().next().filter(|c| accept(*c))?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn sign(&mut self) {
        if let Some(c) = self.take(|c| matches!(c, '-' | '+' | '<')) {
            self.negative |= c != '+';
        }
    }

    fn trailing_sign(&mut self) {
        if !self.number.is_empty() {
            self.rest = self.rest.trim_start();
            self.sign();
        }
    }

    fn node(&mut self, node: Node, pattern: &NumberPattern) {
        match node {
            Node::Nine | Node::Zero | Node::Point => {
                self.rest = self.rest.trim_start();
                if self.number.is_empty() {
                    self.sign();
                    self.rest = self.rest.trim_start();
                }
                let has_point = self.number.contains('.');
                let point = pattern.has_point && !has_point;
                if node == Node::Point {
                    let taken = self.take(|c| c == '.' && !has_point);
                    self.number.extend(taken);
                } else if let Some(c) = self.take(|c| c.is_ascii_digit() || point && c == '.') {
                    self.number.push(c);
                    self.digits += usize::from(c != '.');
                }
            }
            Node::Group => _ = self.take(|c| c == ','),
            Node::Currency => _ = self.take(|c| !c.is_ascii_digit() && !matches!(c, '-' | '+' | '.' | ',')),
            Node::Minus | Node::Plus | Node::Sign => self.sign(),
            Node::Ordinal { .. } => {
                for _ in 0..2 {
                    self.take(|c| !c.is_ascii_digit());
                }
            }
            Node::Text(_) => _ = self.take(|c| !c.is_ascii_digit() && !matches!(c, '-' | '+' | '.' | ',')),
            Node::Roman { .. } | Node::Nothing => {}
        }
    }
}
