use super::*;

/// The columns and options of a `>` line of the golden file.
fn request(line: &str) -> (Vec<String>, CopyRequest) {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let columns: Vec<String> = words.next().expect("columns").split(',').map(str::to_owned).collect();
    let mut request = CopyRequest::default();
    for word in words {
        let (name, value) = word.split_once('=').expect("name=value");
        let value = String::from_utf8(unescape(value)).expect("options are text");
        let set = || match value.as_str() {
            "*" => ColumnSet::All,
            names => ColumnSet::Positions(
                names.split(',').map(|n| columns.iter().position(|c| c == n).expect("a column")).collect(),
            ),
        };
        match name {
            "format" => request.format = if value == "csv" { CopyFormat::Csv } else { CopyFormat::Text },
            "header" => request.header = if value == "match" { Header::Match } else { Header::Names },
            "delimiter" => request.delimiter = Some(value),
            "null" => request.null = Some(value),
            "quote" => request.quote = Some(value),
            "escape" => request.escape = Some(value),
            "force_quote" => request.force_quote = set(),
            "force_null" => request.force_null = set(),
            "force_not_null" => request.force_not_null = set(),
            other => panic!("unknown option {other}"),
        }
    }
    (columns, request)
}

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

fn error_line(error: &SqlError) -> String {
    let mut line = format!("! {} {}", error.state.code(), escape(error.message.as_bytes()));
    for (name, value) in [("HINT", &error.hint), ("CONTEXT", &error.context)] {
        if let Some(value) = value {
            line.push_str(&format!(" | {name} {}", escape(value.as_bytes())));
        }
    }
    line.push('\n');
    line
}

fn take_rows(mut rows: Rows<'_>, columns: usize, out: &mut String) -> Result<()> {
    while let Some(row) = rows.next()? {
        let mut line = String::from("=");
        for column in 0..columns {
            match row.field(column)? {
                None => line.push_str(" NULL"),
                Some(bytes) => line.push_str(&format!(" \"{}\"", escape(bytes))),
            }
        }
        out.push_str(&line);
        out.push('\n');
    }
    Ok(())
}

/// What the decoder answers to the data when it comes in chunks of `chunk_bytes`.
fn decode(columns: &[String], request: &CopyRequest, data: &[u8], chunk_bytes: usize) -> String {
    let decode = |out: &mut String| {
        let options = CopyOptions::new(request, Direction::From, columns.len())?;
        let mut decoder = Decoder::new(options, "t", columns.to_vec());
        for chunk in data.chunks(chunk_bytes) {
            take_rows(decoder.rows(chunk), columns.len(), out)?;
        }
        take_rows(decoder.finish(), columns.len(), out)
    };
    let mut out = String::new();
    match decode(&mut out) {
        Ok(()) => out,
        Err(error) => error_line(&error),
    }
}

#[test]
fn decodes_as_postgres_does() {
    let golden = include_str!("postgres15.golden");
    let mut cases = 0;
    for case in golden.split("\n\n").filter(|case| case.starts_with('>')) {
        let (head, rest) = case.split_once('\n').expect("a case has two lines");
        let (data, expected) = rest.split_once('\n').unwrap_or((rest, ""));
        let (columns, request) = request(&head[2..]);
        let data = unescape(&data[2..]);
        for chunk_bytes in [1, 2, 3, 5, 1_000] {
            let got = decode(&columns, &request, &data, chunk_bytes);
            assert_eq!(got.trim_end(), expected.trim_end(), "{head}\n{rest}\nin chunks of {chunk_bytes}");
        }
        cases += 1;
    }
    assert!(cases > 500, "only {cases} cases");
}

fn encode(request: &CopyRequest, rows: &[&[Option<&str>]]) -> String {
    let columns = rows[0].len();
    let options = CopyOptions::new(request, Direction::To, columns).expect("allowed");
    let mut encoder = Encoder::new(options, columns);
    let mut out = Vec::new();
    encoder.header(["id", "a,b\t"].into_iter().take(columns), &mut out);
    for row in rows {
        for value in *row {
            match value {
                None => encoder.null_field(&mut out),
                Some(text) => {
                    let start = encoder.start_field(&mut out);
                    out.extend_from_slice(text.as_bytes());
                    encoder.end_field(&mut out, start);
                }
            }
        }
        encoder.end_row(&mut out);
    }
    String::from_utf8(out).expect("text")
}

#[test]
fn encodes_as_postgres_does() {
    let text = CopyRequest::default();
    let rows: &[&[Option<&str>]] =
        &[&[Some("1"), None], &[Some("\u{8}\t\n\u{b}\u{c}\r\u{1}\\N"), Some("")], &[Some("é"), Some("\\.")]];
    assert_eq!(encode(&text, rows), "1\t\\N\n\\b\\t\\n\\v\\f\\r\u{1}\\\\N\t\né\t\\\\.\n");
    let pipe = CopyRequest { delimiter: Some("|".into()), header: Header::Names, ..text };
    assert_eq!(encode(&pipe, &[&[Some("a|b"), Some("c")]]), "id|a,b\\t\na\\|b|c\n");

    let csv = CopyRequest { format: CopyFormat::Csv, header: Header::Names, ..CopyRequest::default() };
    let rows: &[&[Option<&str>]] =
        &[&[Some(""), None], &[Some("a\"b"), Some("x,\ny")], &[Some("\\."), Some("\r")]];
    assert_eq!(encode(&csv, rows), "id,\"a,b\t\"\n\"\",\n\"a\"\"b\",\"x,\ny\"\n\\.,\"\r\"\n");
    let plain = CopyRequest { header: Header::None, ..csv.clone() };
    assert_eq!(encode(&plain, &[&[Some("\\.")]]), "\"\\.\"\n");
    let escape =
        CopyRequest { escape: Some("\\".into()), force_quote: ColumnSet::Positions(vec![1]), ..plain };
    let rows: &[&[Option<&str>]] = &[&[Some("a\"b\\c"), Some("x")], &[Some("a\\b"), None]];
    assert_eq!(encode(&escape, rows), "\"a\\\"b\\\\c\",\"x\"\na\\b,\n");
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let alphabet = ["a", "b", "\\", "\t", "\n", "\r", ",", "\"", ".", "N", "é", "\u{1}"];
    let mut state = 15_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let columns = ["a".to_owned(), "b".to_owned()];
    for format in [CopyFormat::Text, CopyFormat::Csv] {
        let request = CopyRequest { format, ..CopyRequest::default() };
        for _ in 0..500 {
            let mut value = || match random(8) {
                0 => None,
                length => Some((1..length).map(|_| alphabet[random(alphabet.len())]).collect::<String>()),
            };
            let values: Vec<[Option<String>; 2]> = (0..3).map(|_| [value(), value()]).collect();
            let borrowed: Vec<[Option<&str>; 2]> =
                values.iter().map(|row| [row[0].as_deref(), row[1].as_deref()]).collect();
            let rows: Vec<&[Option<&str>]> = borrowed.iter().map(<[_; 2]>::as_slice).collect();
            let mut expected = String::new();
            for row in &borrowed {
                let field = |v: Option<&str>| {
                    v.map_or("NULL".into(), |v| format!("\"{}\"", super::tests::escape(v.as_bytes())))
                };
                expected.push_str(&format!("= {} {}\n", field(row[0]), field(row[1])));
            }
            let data = encode(&request, &rows);
            for chunk_bytes in [1, 7, 1_000] {
                assert_eq!(decode(&columns, &request, data.as_bytes(), chunk_bytes), expected, "{data:?}");
            }
        }
    }
}

/// The fuzz target `copy` looks for the same with more patience.
#[test]
fn any_bytes_mean_the_same_however_they_are_cut() {
    let pieces = ["a", "b,", "\t", "\n", "\r\n", "\r", "\"", "\\", "\\.", "\\N", "x41", "101", "é"];
    let mut state = 7_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let columns = ["a".to_owned(), "b".to_owned()];
    for _ in 0..5_000 {
        let data: String = (0..random(200)).map(|_| pieces[random(pieces.len())]).collect();
        let format = if random(2) == 0 { CopyFormat::Text } else { CopyFormat::Csv };
        let escape = (format == CopyFormat::Csv && random(2) == 0).then(|| "\\".to_owned());
        let request = CopyRequest { format, escape, ..CopyRequest::default() };
        let whole = decode(&columns, &request, data.as_bytes(), usize::MAX);
        let chunk_bytes = 1 + random(20);
        let cut = decode(&columns, &request, data.as_bytes(), chunk_bytes);
        assert_eq!(whole, cut, "{data:?} in chunks of {chunk_bytes}");
    }
}

#[test]
fn contexts_name_the_column_and_its_value() {
    let options =
        CopyOptions::new(&CopyRequest::default(), Direction::From, 2).expect("defaults are allowed");
    let mut decoder = Decoder::new(options, "flights", vec!["a".into(), "dep_time".into()]);
    let mut rows = decoder.rows(b"1\tabc\n\\N\t\\N\n");
    let error = || SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input");
    let row = rows.next().expect("a row").expect("a row");
    let located = row.locate_column(error(), 1);
    assert_eq!(located.context.as_deref(), Some("COPY flights, line 1, column dep_time: \"abc\""));
    assert_eq!(row.locate(error()).context.as_deref(), Some("COPY flights, line 1: \"1\tabc\""));
    let row = rows.next().expect("a row").expect("a row");
    let located = row.locate_column(error(), 0);
    assert_eq!(located.context.as_deref(), Some("COPY flights, line 2, column a: null input"));
    assert!(matches!(rows.next(), Ok(None)));
    assert_eq!(decoder.locate(error()).context.as_deref(), Some("COPY flights, line 2"));
}
