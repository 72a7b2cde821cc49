//! Cuts a script into its statements at the semicolons outside of quotes and comments, as psql does, so that each runs
//! in a transaction of its own.

/// The statements of a script, without empty ones and without their semicolons.
pub fn statements(script: &str) -> Vec<&str> {
    let bytes = script.as_bytes();
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        if bytes[at] == b';' {
            found.push(&script[start..at]);
            start = at + 1;
        }
        at += token_len(&bytes[at..]);
    }
    found.push(&script[start..]);
    found.retain(|statement| !is_blank(statement));
    found
}

/// Bytes of the quoted text, comment or other character that `rest` begins with; an unended one reaches to the end.
fn token_len(rest: &[u8]) -> usize {
    match rest {
        [b'\'', ..] | [b'"', ..] => quoted_len(rest, false),
        [b'E' | b'e', b'\'', ..] => 1 + quoted_len(&rest[1..], true),
        [b'-', b'-', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => comment_len(rest),
        [b'$', ..] => dollar_len(rest).unwrap_or(1),
        [first, ..] if is_word(*first) => rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len()),
        _ => 1,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A doubled quote inside looks like two adjacent quoted texts, which does no harm.
fn quoted_len(rest: &[u8], backslashes: bool) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' if backslashes => at += 2,
            byte if byte == rest[0] => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Comments nest.
fn comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// `$tag$ ... $tag$`; `None` if this is no dollar quote, such as a parameter `$1`.
fn dollar_len(rest: &[u8]) -> Option<usize> {
    let tag_len = 2 + rest[1..].iter().position(|byte| *byte == b'$')?;
    let tag = &rest[..tag_len];
    let inner = &tag[1..tag_len - 1];
    if inner.first().is_some_and(u8::is_ascii_digit) || !inner.iter().all(|byte| is_word(*byte)) {
        return None;
    }
    let end = rest[tag_len..].windows(tag_len).position(|window| window == tag);
    Some(end.map_or(rest.len(), |end| tag_len + end + tag_len))
}

fn is_blank(statement: &str) -> bool {
    let bytes = statement.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if !(rest[0].is_ascii_whitespace() || rest.starts_with(b"--") || rest.starts_with(b"/*")) {
            return false;
        }
        at += token_len(rest);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_semicolons_cut() {
        let cases: [(&str, &[&str]); 12] = [
            ("", &[]),
            (" ; ;\n-- only a comment\n;", &[]),
            ("select 1", &["select 1"]),
            ("a;b;", &["a", "b"]),
            ("select ';', \"x;y\"; b", &["select ';', \"x;y\"", " b"]),
            ("select 'it''s;'; b", &["select 'it''s;'", " b"]),
            (r"select e'\';'; b", &[r"select e'\';'", " b"]),
            (r"select '\'; b", &[r"select '\'", " b"]),
            ("a -- ; x\n; b", &["a -- ; x\n", " b"]),
            ("a /* ; /* ; */ ; */ ; b", &["a /* ; /* ; */ ; */ ", " b"]),
            ("select $$;$$, $x$;$$;$x$, $1; b", &["select $$;$$, $x$;$$;$x$, $1", " b"]),
            ("a 'unended; b", &["a 'unended; b"]),
        ];
        for (script, expected) in cases {
            assert_eq!(statements(script), expected, "{script}");
        }
    }
}
