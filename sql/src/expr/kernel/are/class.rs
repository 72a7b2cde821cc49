//! Sets of characters. Classes are those of the locale C: ASCII only.

/// Ranges of characters, sorted and apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Set {
    ranges: Vec<(char, char)>,
}

impl Set {
    /// One character.
    pub(super) fn of(c: char) -> Set {
        Set { ranges: vec![(c, c)] }
    }

    /// A class by its name in brackets.
    pub(super) fn named(name: &str) -> Option<Set> {
        let test: fn(char) -> bool = match name {
            "alpha" => |c| c.is_ascii_alphabetic(),
            "upper" => |c| c.is_ascii_uppercase(),
            "lower" => |c| c.is_ascii_lowercase(),
            "digit" => |c| c.is_ascii_digit(),
            "xdigit" => |c| c.is_ascii_hexdigit(),
            "alnum" => |c| c.is_ascii_alphanumeric(),
            "space" => |c| c.is_ascii_whitespace() || c == '\u{b}',
            "blank" => |c| c == ' ' || c == '\t',
            "punct" => |c| c.is_ascii_punctuation(),
            "cntrl" => |c| c.is_ascii_control(),
            "graph" => |c| c.is_ascii_graphic(),
            "print" => |c| c.is_ascii_graphic() || c == ' ',
            "ascii" => |c| c.is_ascii(),
            "word" => |c| c.is_ascii_alphanumeric() || c == '_',
            _ => return None,
        };
        let mut set = Set::default();
        ('\0'..='\u{7f}').filter(|c| test(*c)).for_each(|c| set.ranges.push((c, c)));
        Some(set.sorted())
    }

    /// Adds a range.
    pub(super) fn add(&mut self, from: char, to: char) {
        self.ranges.push((from, to));
    }

    /// Adds all of another set.
    pub(super) fn add_all(&mut self, other: &Set) {
        self.ranges.extend_from_slice(&other.ranges);
    }

    /// In order, without overlaps.
    pub(super) fn sorted(mut self) -> Set {
        self.ranges.sort_unstable();
        let mut ranges: Vec<(char, char)> = Vec::new();
        for (from, to) in self.ranges {
            match ranges.last_mut() {
                Some(last) if from as u32 <= last.1 as u32 + 1 => last.1 = last.1.max(to),
                _ => ranges.push((from, to)),
            }
        }
        Set { ranges }
    }

    /// All characters that are not in it; it must be sorted.
    pub(super) fn complement(&self) -> Set {
        let mut ranges = Vec::new();
        let mut next = Some('\0');
        for (from, to) in &self.ranges {
            if let (Some(first), Some(last)) = (next, before(*from))
                && first <= last
            {
                ranges.push((first, last));
            }
            next = after(*to);
        }
        if let Some(first) = next {
            ranges.push((first, char::MAX));
        }
        Set { ranges }
    }

    /// With letters of the other case; it must be sorted.
    pub(super) fn folded(mut self) -> Set {
        for c in 'a'..='z' {
            let upper = c.to_ascii_uppercase();
            let has = (self.holds(c), self.holds(upper));
            if has.0 != has.1 {
                self.ranges.push(if has.0 { (upper, upper) } else { (c, c) });
                self = self.sorted();
            }
        }
        self
    }

    /// Whether a character is in it.
    pub(super) fn holds(&self, c: char) -> bool {
        let at = self.ranges.partition_point(|(_, to)| *to < c);
        self.ranges.get(at).is_some_and(|(from, _)| *from <= c)
    }

    /// Appends where ranges begin, and what is behind them.
    pub(super) fn push_firsts(&self, firsts: &mut Vec<char>) {
        for (from, to) in &self.ranges {
            firsts.push(*from);
            firsts.extend(after(*to));
        }
    }
}

fn before(c: char) -> Option<char> {
    match c {
        '\0' => None,
        '\u{e000}' => Some('\u{d7ff}'),
        c => char::from_u32(c as u32 - 1),
    }
}

fn after(c: char) -> Option<char> {
    match c {
        '\u{d7ff}' => Some('\u{e000}'),
        c => char::from_u32(c as u32 + 1),
    }
}
