//! Patterns of dates and times.

/// A pattern of dates and times, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatePattern {
    pub(super) nodes: Vec<Node>,
    /// `FX`: the text must have the pattern's lengths.
    pub(super) exact: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Node {
    Field(FieldNode),
    /// A space or a separator, which may stand for others when a text is read.
    Separator(char),
    Text(char),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FieldNode {
    pub key: Key,
    /// As the pattern has it.
    pub name: &'static str,
    /// `FM`: without padding.
    pub fill: bool,
    /// `TM`: without padding of names.
    pub translate: bool,
    /// `TH` or, in small letters, `th`.
    pub ordinal: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Era,
    EraDots,
    Meridian,
    MeridianDots,
    Century,
    Day,
    DayShort,
    DayOfYear,
    IsoDayOfYear,
    DayOfMonth,
    DayOfWeek,
    IsoDayOfWeek,
    Fraction(u32),
    Hour24,
    Hour12,
    IsoWeek,
    /// Last digits of the ISO year.
    IsoYear(u32),
    Julian,
    Minute,
    Month,
    MonthName,
    MonthShort,
    Milliseconds,
    Offset,
    Quarter,
    Roman,
    SecondOfDay,
    Second,
    ZoneHour,
    ZoneMinute,
    Zone,
    Microseconds,
    WeekOfYear,
    WeekOfMonth,
    YearComma,
    /// Last digits of the year.
    Year(u32),
}

/// Names in large and in small letters; longer names stand before their beginnings.
const KEYS: [(&str, &str, Key); 57] = [
    ("Day", "Day", Key::Day),
    ("Dy", "Dy", Key::DayShort),
    ("Month", "Month", Key::MonthName),
    ("Mon", "Mon", Key::MonthShort),
    ("A.D.", "a.d.", Key::EraDots),
    ("A.M.", "a.m.", Key::MeridianDots),
    ("AD", "ad", Key::Era),
    ("AM", "am", Key::Meridian),
    ("B.C.", "b.c.", Key::EraDots),
    ("BC", "bc", Key::Era),
    ("CC", "cc", Key::Century),
    ("DAY", "day", Key::Day),
    ("DDD", "ddd", Key::DayOfYear),
    ("DD", "dd", Key::DayOfMonth),
    ("DY", "dy", Key::DayShort),
    ("D", "d", Key::DayOfWeek),
    ("FF1", "ff1", Key::Fraction(1)),
    ("FF2", "ff2", Key::Fraction(2)),
    ("FF3", "ff3", Key::Fraction(3)),
    ("FF4", "ff4", Key::Fraction(4)),
    ("FF5", "ff5", Key::Fraction(5)),
    ("FF6", "ff6", Key::Fraction(6)),
    ("HH24", "hh24", Key::Hour24),
    ("HH12", "hh12", Key::Hour12),
    ("HH", "hh", Key::Hour12),
    ("IDDD", "iddd", Key::IsoDayOfYear),
    ("ID", "id", Key::IsoDayOfWeek),
    ("IW", "iw", Key::IsoWeek),
    ("IYYY", "iyyy", Key::IsoYear(4)),
    ("IYY", "iyy", Key::IsoYear(3)),
    ("IY", "iy", Key::IsoYear(2)),
    ("I", "i", Key::IsoYear(1)),
    ("J", "j", Key::Julian),
    ("MI", "mi", Key::Minute),
    ("MM", "mm", Key::Month),
    ("MONTH", "month", Key::MonthName),
    ("MON", "mon", Key::MonthShort),
    ("MS", "ms", Key::Milliseconds),
    ("OF", "of", Key::Offset),
    ("P.M.", "p.m.", Key::MeridianDots),
    ("PM", "pm", Key::Meridian),
    ("Q", "q", Key::Quarter),
    ("RM", "rm", Key::Roman),
    ("SSSSS", "sssss", Key::SecondOfDay),
    ("SSSS", "ssss", Key::SecondOfDay),
    ("SS", "ss", Key::Second),
    ("TZH", "tzh", Key::ZoneHour),
    ("TZM", "tzm", Key::ZoneMinute),
    ("TZ", "tz", Key::Zone),
    ("US", "us", Key::Microseconds),
    ("WW", "ww", Key::WeekOfYear),
    ("W", "w", Key::WeekOfMonth),
    ("Y,YYY", "y,yyy", Key::YearComma),
    ("YYYY", "yyyy", Key::Year(4)),
    ("YYY", "yyy", Key::Year(3)),
    ("YY", "yy", Key::Year(2)),
    ("Y", "y", Key::Year(1)),
];

impl Key {
    /// Whether digits stand for it in a text.
    pub(super) fn is_digits(self) -> bool {
        use Key::*;
        let letters = matches!(
            self,
            Era | EraDots
                | Meridian
                | MeridianDots
                | Day
                | DayShort
                | MonthName
                | MonthShort
                | Roman
                | Zone
                | Offset
        );
        !letters && !matches!(self, ZoneHour | ZoneMinute)
    }
}

fn key_at(rest: &str) -> Option<(&'static str, Key)> {
    KEYS.iter().find_map(|(upper, lower, key)| {
        let name = [*upper, *lower].into_iter().find(|name| rest.starts_with(name))?;
        Some((name, *key))
    })
}

/// Cuts one of two spellings off the beginning.
fn cut(rest: &mut &str, spellings: [&str; 2]) -> Option<usize> {
    let index = spellings.iter().position(|spelling| rest.starts_with(spelling))?;
    *rest = &rest[spellings[index].len()..];
    Some(index)
}

pub(super) fn is_separator(c: char) -> bool {
    c.is_ascii_punctuation()
}

impl DatePattern {
    /// Reads a pattern; every text is one.
    pub fn parse(pattern: &str) -> DatePattern {
        let mut parsed = DatePattern { nodes: Vec::new(), exact: false };
        let mut rest = pattern;
        while !rest.is_empty() {
            let (mut fill, mut translate) = (false, false);
            loop {
                if cut(&mut rest, ["FM", "fm"]).is_some() {
                    fill = true;
                } else if cut(&mut rest, ["TM", "tm"]).is_some() {
                    translate = true;
                } else if cut(&mut rest, ["FX", "fx"]).is_some() {
                    parsed.exact = true;
                } else {
                    break;
                }
            }
            let Some((name, key)) = key_at(rest) else {
                parsed.text(&mut rest);
                continue;
            };
            rest = &rest[name.len()..];
            let ordinal = cut(&mut rest, ["TH", "th"]).map(|index| index == 1);
            // Spelled numbers are accepted and ignored, as in PostgreSQL.
            let _ = cut(&mut rest, ["SP", "sp"]);
            parsed.nodes.push(Node::Field(FieldNode { key, name, fill, translate, ordinal }));
        }
        parsed
    }

    /// Takes a character or a quoted text.
    fn text(&mut self, rest: &mut &str) {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => self.nodes.extend(chars.next().map(Node::Text)),
                    _ => self.nodes.push(Node::Text(c)),
                }
            }
            *rest = chars.as_str();
            return;
        }
        let escaped = rest.strip_prefix('\\').filter(|after| after.starts_with('"'));
        let mut chars = escaped.unwrap_or(rest).chars();
        if let Some(c) = chars.next() {
            let node =
                if c.is_ascii_whitespace() || is_separator(c) { Node::Separator(c) } else { Node::Text(c) };
            self.nodes.push(node);
        }
        *rest = chars.as_str();
    }
}
