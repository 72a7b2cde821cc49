//! Who may connect, from where, and how they must prove who they are: a small `pg_hba.conf` (PG 15, chapter 21.1).

use std::fmt;
use std::net::IpAddr;

/// Most rules.
const RULES_MAX: usize = 1_024;

/// How a client must prove who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Not at all.
    Trust,
    /// By a password that does not travel.
    ScramSha256,
    /// It may not connect.
    Reject,
}

/// What a rule's column of databases or roles admits.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Name {
    All,
    /// Databases only: the one named like the role.
    SameUser,
    Is(String),
}

/// A block of addresses; `None` in a rule means every address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    address: u128,
    /// Bits that count.
    mask: u128,
    is_v4: bool,
}

impl Network {
    fn of(address: IpAddr, bits: u32) -> Option<Network> {
        let (address, width, is_v4) = number(address);
        let host_bits = width.checked_sub(bits)?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Network { address: address & mask, mask, is_v4 })
    }

    fn contains(self, address: IpAddr) -> bool {
        let (address, _, is_v4) = number(address);
        is_v4 == self.is_v4 && address & self.mask == self.address
    }
}

/// The address as a number, its width in bits, and whether it is IPv4.
fn number(address: IpAddr) -> (u128, u32, bool) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32, true),
        IpAddr::V6(v6) => (v6.to_bits(), 128, false),
    }
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    databases: Vec<Name>,
    users: Vec<Name>,
    network: Option<Network>,
    /// Rules for `hostssl` and `local` admit nobody: there is neither TLS nor a Unix socket.
    is_reachable: bool,
    /// What it asks for.
    pub method: Method,
}

impl Rule {
    fn admits(&self, database: &str, user: &str, address: IpAddr) -> bool {
        let fits = |names: &[Name], wanted: &str| {
            names.iter().any(|name| match name {
                Name::All => true,
                Name::SameUser => wanted == user,
                Name::Is(name) => name == wanted,
            })
        };
        self.is_reachable
            && self.network.is_none_or(|network| network.contains(address))
            && fits(&self.users, user)
            && fits(&self.databases, database)
    }
}

/// What is wrong with a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for RuleError {}

/// The rules in order: the first that fits decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules(Vec<Rule>);

impl Default for Rules {
    /// Trusts this machine, asks everybody else for a password.
    fn default() -> Rules {
        let text =
            "host all all 127.0.0.0/8 trust\nhost all all ::1/128 trust\nhost all all all scram-sha-256";
        Rules::parse(text).expect("the default rules are valid")
    }
}

impl Rules {
    /// Reads rules, one on each line: `TYPE DATABASE USER ADDRESS [MASK] METHOD`, `#` begins a comment. TYPE is `host`,
    /// `hostnossl`, `hostssl` or `local`; DATABASE and USER are lists with commas, or `all`; ADDRESS is `all`, an
    /// address or a block; METHOD is `trust`, `scram-sha-256` or `reject`.
    ///
    /// # Errors
    /// The first line that is not such a rule. What PostgreSQL knows and this server does not is an error too.
    pub fn parse(text: &str) -> Result<Rules, RuleError> {
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let fail = |message: String| RuleError { line: index + 1, message };
            let words = words(line).map_err(fail)?;
            if words.is_empty() {
                continue;
            }
            rules.push(parse_rule(&words).map_err(fail)?);
            if rules.len() > RULES_MAX {
                return Err(fail(format!("more than {RULES_MAX} rules")));
            }
        }
        Ok(Rules(rules))
    }

    /// The rule that decides about a connection.
    pub fn find(&self, database: &str, user: &str, address: IpAddr) -> Option<&Rule> {
        let address = address.to_canonical();
        self.0.iter().find(|rule| rule.admits(database, user, address))
    }
}

/// A word and whether it was in quotes, where keywords are plain names.
type Word = (String, bool);

/// The words of a line; each is a list, cut at its commas.
fn words(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut words: Vec<Vec<Word>> = Vec::new();
    let mut characters = line.chars().peekable();
    let mut continues = false;
    while let Some(character) = characters.peek().copied() {
        if character.is_whitespace() {
            characters.next();
            continue;
        }
        if character == '#' {
            break;
        }
        let is_quoted = character == '"';
        let mut word = String::new();
        if is_quoted {
            characters.next();
            loop {
                match characters.next() {
                    Some('"') => break,
                    Some(c) => word.push(c),
                    None => return Err("unterminated quoted word".to_owned()),
                }
            }
        } else {
            while let Some(c) = characters.next_if(|c| !c.is_whitespace() && !matches!(c, ',' | '#' | '"')) {
                word.push(c);
            }
        }
        if continues {
            words.last_mut().expect("a comma follows a word").push((word, is_quoted));
        } else {
            words.push(vec![(word, is_quoted)]);
        }
        continues = characters.next_if_eq(&',').is_some();
    }
    if continues { Err("a list ends in a comma".to_owned()) } else { Ok(words) }
}

fn parse_rule(words: &[Vec<Word>]) -> Result<Rule, String> {
    let [kind, databases, users, rest @ ..] = words else {
        return Err("a rule has a type, databases, users, an address and a method".to_owned());
    };
    let kind = single(kind)?;
    let (network, rest) = match kind {
        "local" => (None, rest),
        "host" | "hostssl" | "hostnossl" => parse_network(rest)?,
        other => return Err(format!("unknown connection type \"{other}\"")),
    };
    let method = match rest {
        [method] => match single(method)? {
            "trust" => Method::Trust,
            "scram-sha-256" => Method::ScramSha256,
            "reject" => Method::Reject,
            other => {
                return Err(format!("unknown method \"{other}\": use trust, scram-sha-256 or reject"));
            }
        },
        [] => return Err("the method is missing".to_owned()),
        _ => return Err("methods have no options".to_owned()),
    };
    Ok(Rule {
        databases: parse_names(databases, true)?,
        users: parse_names(users, false)?,
        network,
        is_reachable: matches!(kind, "host" | "hostnossl"),
        method,
    })
}

fn single(word: &[Word]) -> Result<&str, String> {
    match word {
        [(word, _)] => Ok(word),
        _ => Err("a list is not allowed here".to_owned()),
    }
}

fn parse_names(words: &[Word], are_databases: bool) -> Result<Vec<Name>, String> {
    let name = |(word, is_quoted): &Word| match (word.as_str(), is_quoted) {
        ("all", false) => Ok(Name::All),
        ("sameuser", false) if are_databases => Ok(Name::SameUser),
        ("samerole" | "samegroup" | "replication", false) if are_databases => {
            Err(format!("\"{word}\" is not supported"))
        }
        (name, false) if name.starts_with(['+', '@', '/']) => Err(format!("\"{word}\" is not supported")),
        _ => Ok(Name::Is(word.clone())),
    };
    words.iter().map(name).collect()
}

/// The block of addresses, `None` for all, and the words behind it.
fn parse_network(rest: &[Vec<Word>]) -> Result<(Option<Network>, &[Vec<Word>]), String> {
    let (address, rest) = rest.split_first().ok_or("the address is missing")?;
    let text = single(address)?;
    if text == "all" {
        return Ok((None, rest));
    }
    let invalid = || format!("\"{text}\" is neither \"all\" nor an address nor a block of addresses");
    if let Some((address, bits)) = text.split_once('/') {
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let network = bits.parse().ok().and_then(|bits| Network::of(address, bits)).ok_or_else(invalid)?;
        return Ok((Some(network), rest));
    }
    let address: IpAddr = text.parse().map_err(|_| invalid())?;
    // An address alone must be followed by its mask.
    let (mask, rest) = rest.split_first().ok_or("the mask is missing")?;
    let mask = single(mask)?;
    let mask_invalid = || format!("\"{mask}\" is not a mask");
    let mask: IpAddr = mask.parse().map_err(|_| mask_invalid())?;
    if mask.is_ipv4() != address.is_ipv4() {
        return Err(mask_invalid());
    }
    let (mask_number, width, _) = number(mask);
    let mask_bits = mask_number.count_ones();
    let network = Network::of(address, mask_bits).ok_or_else(mask_invalid)?;
    let is_contiguous = mask_number.checked_shl(128 - width).unwrap_or(0).leading_ones() == mask_bits;
    if is_contiguous { Ok((Some(network), rest)) } else { Err(mask_invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(rules: &Rules, database: &str, user: &str, address: &str) -> Option<Method> {
        rules.find(database, user, address.parse().expect("an address")).map(|rule| rule.method)
    }

    #[test]
    fn default_trusts_loopback_only() {
        let rules = Rules::default();
        for (address, expected) in [
            ("127.0.0.1", Method::Trust),
            ("127.9.9.9", Method::Trust),
            ("::1", Method::Trust),
            ("::ffff:127.0.0.1", Method::Trust),
            ("10.0.0.1", Method::ScramSha256),
            ("::2", Method::ScramSha256),
        ] {
            assert_eq!(method(&rules, "d", "u", address), Some(expected), "{address}");
        }
    }

    #[test]
    fn first_fitting_rule_decides() {
        let rules = Rules::parse(
            "# a comment\n\
             local all all trust\n\
             hostssl all all all trust\n\
             host app,\"all\" bob, alice 10.1.0.0/16 trust # not the rest\n\
             host sameuser all 10.1.2.0 255.255.255.0 scram-sha-256\n\
             host all eve all reject\n\
             hostnossl all \"all\" ::/0 trust\n",
        )
        .expect("valid");
        assert_eq!(method(&rules, "app", "bob", "10.1.9.9"), Some(Method::Trust));
        assert_eq!(method(&rules, "all", "alice", "10.1.9.9"), Some(Method::Trust));
        assert_eq!(method(&rules, "other", "bob", "10.1.9.9"), None);
        assert_eq!(method(&rules, "joe", "joe", "10.1.2.3"), Some(Method::ScramSha256));
        assert_eq!(method(&rules, "joe", "joe", "10.1.3.3"), None);
        assert_eq!(method(&rules, "app", "eve", "8.8.8.8"), Some(Method::Reject));
        assert_eq!(method(&rules, "app", "all", "fe80::1"), Some(Method::Trust));
        assert_eq!(method(&rules, "app", "all", "9.9.9.9"), None, "::/0 has no IPv4 addresses");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in [
            "host all all 127.0.0.1/32",
            "host all all 127.0.0.1/33 trust",
            "host all all 127.0.0.1 trust",
            "host all all 10.0.0.0 255.0.255.0 trust",
            "host all all 10.0.0.0 ffff:: trust",
            "host all all localhost trust",
            "host all all all md5",
            "host all +admins all trust",
            "host replication all all trust",
            "host all all all trust map=x",
            "host all, all all trust,reject",
            "tcp all all all trust",
            "host \"all all all trust",
            "host all",
        ] {
            let error = Rules::parse(&format!("\n{line}")).expect_err(line);
            assert_eq!(error.line, 2, "{line}: {error}");
        }
    }
}
