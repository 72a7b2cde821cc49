use std::collections::BTreeSet;

use super::{Options, Regex};

/// The groups of the first match.
fn groups(pattern: &str, text: &str) -> Option<Vec<String>> {
    let regex = Regex::new(pattern, Options::default()).expect("an expression");
    let captures = regex.captures(text).expect("little to do")?;
    let shown =
        |group: Option<(usize, usize)>| group.map_or("-".to_owned(), |(from, to)| text[from..to].to_owned());
    Some(captures.into_iter().map(shown).collect())
}

#[test]
fn the_longest_match_counts_and_groups_follow() {
    assert_eq!(groups("(a|ab)(c|bcd)(d*)", "abcd").expect("a match"), ["abcd", "ab", "c", "d"]);
    assert_eq!(groups("(.*?)bar(.*)", "foobarbaz").expect("a match"), ["foobar", "foo", ""]);
    assert_eq!(groups("(ab)\\1", "aab abab").expect("a match"), ["abab", "ab"]);
    assert_eq!(groups("((a)|b)*", "ab").expect("a match"), ["ab", "b", "-"]);
    assert_eq!(groups("(?<!x)y(?=z)", "xyz yz").expect("a match"), ["y"]);
}

#[test]
fn no_expression_panics() {
    let pattern: &str = "(?i)^(a|b[^[:alpha:]\\d-z]{2,3}?)+(?=\\1|\\x41\\u00e9)[[.hyphen.]-z]*\\mé$";
    for (at, _) in pattern.char_indices() {
        for piece in ["", "(", "[", "{1", "\\", "*", "é", "\u{10ffff}", "|"] {
            for text in
                [format!("{}{piece}", &pattern[..at]), format!("{}{piece}{}", &pattern[..at], &pattern[at..])]
            {
                if let Ok(regex) = Regex::new(&text, Options::default()) {
                    for subject in ["", "aab1é", "abab-é"] {
                        drop(regex.captures(subject));
                    }
                }
            }
        }
    }
}

#[test]
fn what_takes_too_long_ends() {
    let long = "x".repeat(1_000_000);
    let tried = Regex::new("(x*)*\\1(x*)\\2*y", Options::default()).expect("an expression");
    assert!(tried.captures(&(long.clone() + "y")).is_err(), "too much work");
    let run = Regex::new("(x+)(y?)$", Options::default()).expect("an expression");
    assert!(run.captures(&long).expect("little to do").is_some());
    for pattern in ["(x*)*(x*)*y(?=z)", "((x+)+\\2)+$", "(x|xx|xxx)*?(x+)*y|\\Yq", "(x*)*\\1(x*)\\2*y"] {
        let regex = Regex::new(pattern, Options::default()).expect("an expression");
        drop(regex.captures(&"x".repeat(3_000)));
    }
    let nested = |inner: &str, quantifier: &str| {
        format!("{}{inner}{}", "(".repeat(40), format!("){quantifier}").repeat(40))
    };
    for pattern in [
        "(".repeat(100_000),
        "(a)".repeat(1_000),
        nested("a", "+"),
        nested("", "+"),
        nested("", "{2}"),
        nested("", "{0,255}").replace('(', "(?:"),
        "(((a{255}){255}){255}){255}".to_owned(),
        format!("({}", "(a|".repeat(150)) + &"\\1{255})".repeat(2),
        "(?=a)".repeat(9),
    ] {
        assert_eq!(Regex::new(&pattern, Options::default()).expect_err("too complex").state.code(), "2201B");
    }
}

/// An expression that likes all as long as possible, as a tree.
enum Naive {
    Char(char),
    Row(Vec<Naive>),
    Choice(Vec<Naive>),
    Times(Box<Naive>, usize, usize),
}

impl Naive {
    fn random(seed: &mut u64, depth: u32) -> Naive {
        let mut below = |limit: u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) % limit
        };
        let kind = if depth == 0 { 0 } else { below(5) };
        let count = below(3) + 1;
        let (low, more) = (below(3) as usize, below(3) as usize + 1);
        let letter = ['a', 'b', 'é'][below(3) as usize];
        let mut inner = |count: u64| (0..count).map(|_| Naive::random(seed, depth - 1)).collect::<Vec<_>>();
        match kind {
            0 => Naive::Char(letter),
            1 | 2 => Naive::Row(inner(count)),
            3 => Naive::Choice(inner(count)),
            _ => Naive::Times(Box::new(Naive::Row(inner(1))), low, low + more),
        }
    }

    /// Every part is a group that is told, or none is.
    fn write(&self, told: bool, out: &mut String) {
        let open = if told { "(" } else { "(?:" };
        match self {
            Naive::Char(c) => out.push(*c),
            Naive::Row(parts) => {
                out.push_str(open);
                parts.iter().for_each(|part| part.write(told, out));
                out.push(')');
            }
            Naive::Choice(parts) => {
                out.push_str(open);
                for (index, part) in parts.iter().enumerate() {
                    out.push_str(if index > 0 { "|" } else { "" });
                    part.write(told, out);
                }
                out.push(')');
            }
            Naive::Times(inner, low, high) => {
                inner.write(told, out);
                out.push_str(&format!("{{{low},{high}}}"));
            }
        }
    }

    fn ends(&self, text: &str, starts: &BTreeSet<usize>) -> BTreeSet<usize> {
        match self {
            Naive::Char(c) => {
                let ends = starts.iter().filter(|at| text[**at..].starts_with(*c));
                ends.map(|at| at + c.len_utf8()).collect()
            }
            Naive::Row(parts) => parts.iter().fold(starts.clone(), |starts, part| part.ends(text, &starts)),
            Naive::Choice(parts) => parts.iter().flat_map(|part| part.ends(text, starts)).collect(),
            Naive::Times(inner, low, high) => {
                let (mut reached, mut all) = (starts.clone(), BTreeSet::new());
                for round in 0..=*high {
                    if round >= *low {
                        all.extend(&reached);
                    }
                    reached = inner.ends(text, &reached);
                }
                all
            }
        }
    }

    fn first(&self, text: &str) -> Option<(usize, usize)> {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        starts.into_iter().find_map(|at| Some((at, *self.ends(text, &BTreeSet::from([at])).last()?)))
    }
}

#[test]
fn random_expressions_match_as_trees_do() {
    let mut seed = 7;
    for round in 0..1_500 {
        let tree = Naive::random(&mut seed, 3);
        let text: String =
            (0..round % 9).map(|bit| ['a', 'b', 'é', 'a'][(seed >> (bit * 2 + 20)) as usize % 4]).collect();
        let expected = tree.first(&text);
        for told in [false, true] {
            let mut pattern = String::new();
            tree.write(told, &mut pattern);
            let regex = Regex::new(&pattern, Options::default()).expect("an expression");
            let found = regex.captures(&text).expect("little to do");
            let whole = found.as_ref().and_then(|groups| groups[0]);
            assert_eq!(whole, expected, "{pattern} in {text}");
            assert_eq!(regex.is_match(&text), Ok(expected.is_some()), "{pattern} in {text}");
            for group in found.into_iter().flatten().flatten() {
                let (from, to) = expected.expect("a match");
                assert!(from <= group.0 && group.1 <= to, "{pattern} in {text}");
            }
            // The same by what is looked for at its end only.
            let ended = Regex::new(&format!("^{pattern}$"), Options::default()).expect("an expression");
            let ends = tree.ends(&text, &BTreeSet::from([0]));
            assert_eq!(ended.is_match(&text), Ok(ends.contains(&text.len())), "{pattern} in {text}");
        }
    }
}
