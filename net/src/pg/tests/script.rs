//! Sends the messages of `postgres15.golden` and compares the answers with PostgreSQL's.

use super::*;

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next().expect("an escape") {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'x' => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&digits, 16).expect("two digits"));
            }
            other => out.push(other),
        }
    }
    out
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            32..=126 => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

/// The items of a list with commas; `-` is the empty list.
fn list(word: &str) -> Vec<&str> {
    if word == "-" { Vec::new() } else { word.split(',').collect() }
}

fn name(word: &str) -> Vec<u8> {
    let mut bytes = if word == "-" { Vec::new() } else { word.as_bytes().to_vec() };
    bytes.push(0);
    bytes
}

fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).expect("few").to_be_bytes()
}

fn codes(word: &str) -> Vec<u8> {
    let codes = list(word);
    let mut out = count(codes.len()).to_vec();
    codes.iter().for_each(|code| out.extend(code.parse::<u16>().expect("a code").to_be_bytes()));
    out
}

/// The message that a `>` line describes.
fn encode(line: &str) -> Vec<u8> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut words = rest.split(' ');
    let mut next = || words.next().expect("a word");
    match word {
        "Query" => message(b'Q', &[unescape(rest), vec![0]].concat()),
        "Parse" => {
            let mut parts = rest.splitn(3, ' ');
            let (statement, oids) = (name(parts.next().expect("a name")), list(parts.next().expect("types")));
            let mut body = [statement, unescape(parts.next().unwrap_or_default()), vec![0]].concat();
            body.extend(count(oids.len()));
            oids.iter().for_each(|oid| body.extend(oid.parse::<u32>().expect("an oid").to_be_bytes()));
            message(b'P', &body)
        }
        "Bind" => {
            let mut body = [name(next()), name(next()), codes(next())].concat();
            let values = list(next());
            body.extend(count(values.len()));
            for value in values {
                if value == "NULL" {
                    body.extend((-1_i32).to_be_bytes());
                    continue;
                }
                let value = unescape(value);
                body.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
                body.extend(value);
            }
            body.extend(codes(next()));
            message(b'B', &body)
        }
        "Describe" | "Close" => {
            let kind = if word == "Close" { b'C' } else { b'D' };
            message(kind, &[next().as_bytes().to_vec(), name(next())].concat())
        }
        "Execute" => {
            let portal = name(next());
            message(b'E', &[&portal[..], &next().parse::<u32>().expect("rows").to_be_bytes()].concat())
        }
        "CopyData" => message(b'd', &unescape(rest)),
        "CopyDone" => message(b'c', b""),
        "CopyFail" => message(b'f', &[unescape(rest), vec![0]].concat()),
        "Sync" => message(b'S', b""),
        "Flush" => message(b'H', b""),
        "Raw" => {
            let (kind, body) = rest.split_once(' ').expect("a kind and a body");
            message(kind.as_bytes()[0], &unescape(body))
        }
        other => panic!("unknown message {other}"),
    }
}

/// Reads numbers and texts of an answer.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn number(&mut self, bytes: usize) -> i64 {
        let (number, rest) = self.0.split_at(bytes);
        self.0 = rest;
        let negative = number[0] & 0x80 != 0;
        number.iter().fold(if negative { -1 } else { 0 }, |value, byte| value << 8 | i64::from(*byte))
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).expect("a text ends in zero");
        let text = escape(&self.0[..end]);
        self.0 = &self.0[end + 1..];
        text
    }

    fn value(&mut self) -> String {
        match usize::try_from(self.number(4)) {
            Err(_) => "NULL".to_owned(),
            Ok(length) => {
                let (value, rest) = self.0.split_at(length);
                self.0 = rest;
                format!("\"{}\"", escape(value))
            }
        }
    }
}

/// An answer as the golden file writes it.
fn decode(kind: u8, bytes: &[u8]) -> String {
    let mut body = Body(bytes);
    let rest = match kind {
        b'E' | b'N' => {
            let fields: Vec<_> = bytes.split(|byte| *byte == 0).filter(|field| !field.is_empty()).collect();
            let field =
                |code: u8| fields.iter().find(|field| field[0] == code).map(|field| escape(&field[1..]));
            let mut text = [b'S', b'C', b'M'].map(|code| field(code).unwrap_or_default()).join(" ");
            for code in "DHPWstcn".bytes() {
                if let Some(value) = field(code) {
                    text.push_str(&format!(" | {} {value}", char::from(code)));
                }
            }
            text
        }
        b'T' => {
            let columns = (0..body.number(2)).map(|_| {
                let name = body.text();
                let table = if body.number(4) == 0 { "-" } else { "table" };
                let (attribute, oid) = (body.number(2), body.number(4));
                let (size, modifier, format) = (body.number(2), body.number(4), body.number(2));
                format!("{name}:{table}.{attribute}:{oid}:{size}:{modifier}:{format}")
            });
            columns.collect::<Vec<_>>().join(" ")
        }
        b'D' => (0..body.number(2)).map(|_| body.value()).collect::<Vec<_>>().join(" "),
        b't' => (0..body.number(2)).map(|_| body.number(4).to_string()).collect::<Vec<_>>().join(" "),
        b'G' | b'H' => format!("{} {}", body.number(1), body.number(2)),
        b'C' | b'S' => escape(bytes.strip_suffix(b"\0").expect("a text ends in zero")),
        _ => escape(bytes),
    };
    format!("{} {rest}", char::from(kind)).trim_end().to_owned()
}

#[test]
fn answers_as_postgres_does() {
    let golden = include_str!("postgres15.golden");
    run(
        |_| {},
        |world, env| async move {
            let (mut client, _) = Client::connect(&world, &env).await;
            let mut failures = Vec::new();
            for case in golden.split("\n\n").filter(|case| case.contains("\n> ")) {
                let lines = |mark: &'static str| case.lines().filter_map(move |line| line.strip_prefix(mark));
                let batch: Vec<u8> = lines("> ").flat_map(encode).collect();
                client.send(&batch).await;
                env.sleep(Duration::from_secs(1)).await;
                client.send(&message(b'H', b"")).await;
                let expected: Vec<&str> =
                    case.lines().filter_map(|l| l.strip_prefix("= ").or(l.strip_prefix("+ "))).collect();
                let mut got = Vec::new();
                while got.len() < expected.len() {
                    let Some((kind, body)) = client.message().await else { break };
                    got.push(decode(kind, &body));
                }
                if got != expected || !client.received.is_empty() {
                    failures.push(format!("{case}\n\ngot:\n{}", got.join("\n")));
                }
            }
            assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n\n"));
        },
    );
}
