use omen_core::row::{RowBuilder, RowReader};
use omen_core::types::{Datum, PgType};

use super::*;

fn type_named(name: &str) -> PgType {
    let types = [16, 17, 20, 21, 23, 25, 114, 700, 701, 1043, 1082, 1083, 1114, 1184, 1186, 1700, 2950, 3802];
    match name {
        "varchar(3)" => PgType::Varchar(Some(3)),
        "numeric(5,2)" => PgType::Numeric(Some((5, 2))),
        "timestamp" => PgType::Timestamp,
        "timestamptz" => PgType::Timestamptz,
        "time" => PgType::Time,
        _ => types.into_iter().filter_map(PgType::from_oid).find(|t| t.to_string() == name).expect(name),
    }
}

fn new_york() -> FormatOptions {
    FormatOptions {
        timezone: TimeZone::parse("America/New_York").expect("exists"),
        ..FormatOptions::default()
    }
}

fn text_of(pg_type: PgType, value: &Datum, options: &FormatOptions) -> String {
    let mut out = Vec::new();
    text::write_datum(pg_type, value, options, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

/// Compares reading and writing of every type with what PostgreSQL answered, and the ways to do each among themselves.
#[test]
fn as_postgres() {
    let options = new_york();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in include_str!("../../tests/data/types.txt").lines().filter(|line| !line.starts_with('#')) {
        let [name, input, expected] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let pg_type = type_named(name);
        let parsed = text::parse(pg_type, input, &options);
        let answer = match &parsed {
            Ok(Datum::Bool(value)) => value.to_string(),
            Ok(value) => text_of(pg_type, value, &options),
            Err(e) if e.detail.is_empty() => format!("ERROR {} {}", e.state.code(), e.message),
            Err(e) => format!("ERROR {} {} DETAIL {}", e.state.code(), e.message, e.detail),
        };
        if answer != expected {
            wrong.push(format!("{line}: {answer}"));
        }
        cases += 1;
        let mut row = RowBuilder::default();
        row.start(1);
        let copied = text::parse_into(pg_type, input.as_bytes(), &options, &mut row);
        assert_eq!(copied.as_ref().err(), parsed.as_ref().err(), "{line}");
        if let Ok(value) = parsed {
            round_trip(pg_type, &value, &row.finish().expect("small"), line);
        }
    }
    assert!(wrong.is_empty(), "{} of {cases}\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases > 350);
}

fn round_trip(pg_type: PgType, value: &Datum, row: &[u8], line: &str) {
    let bytes =
        RowReader::new(row, 1).expect("a row").next_bytes(pg_type).expect("a value").expect("not NULL");
    let from_row = omen_core::row::datum_from_bytes(pg_type, bytes).expect(line);
    let same = |a: &Datum, b: &Datum| a == b || format!("{a:?}") == format!("{b:?}");
    assert!(same(&from_row, value), "{line}: {from_row:?}");
    let (mut binary, mut from_bytes) = (Vec::new(), Vec::new());
    binary::write_datum(pg_type, value, &mut binary);
    binary::write_row_bytes(pg_type, bytes, &mut from_bytes);
    assert_eq!(binary, from_bytes, "{line}");
    let back = binary::parse(pg_type, &binary).expect(line);
    assert!(same(&back, value), "{line}: {back:?}");
    if let Some(size) = usize::try_from(pg_type.wire_size()).ok().filter(|size| *size > 0) {
        assert_eq!(binary.len(), size, "{line}");
    }
}

#[test]
fn binary_numerics_as_postgres_sends_them() {
    // numeric_send of PostgreSQL 15.18, in hex.
    let cases = [
        ("0", "0000000000000000"),
        ("0.00", "0000000000000002"),
        ("1", "00010000000000000001"),
        ("-1.5", "000200004000000100011388"),
        ("10000", "00010001000000000001"),
        ("123456789.123456789", "0006000200000009000109291a8504d2162e2328"),
        ("0.0001", "0001ffff000000040001"),
        ("-0.00000001", "0001fffe400000080001"),
        ("NaN", "00000000c0000000"),
    ];
    for (number, hex) in cases {
        let value = Datum::Numeric(omen_core::types::Numeric::parse(number).expect(number));
        let mut out = Vec::new();
        binary::write_datum(PgType::Numeric(None), &value, &mut out);
        let shown: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, hex, "{number}");
    }
}

#[test]
fn wrong_binary_values_are_errors() {
    let cases: [(PgType, &[u8]); 8] = [
        (PgType::Int4, &[1, 2, 3]),
        (PgType::Bool, &[]),
        (PgType::Numeric(None), &[0, 1, 0, 0, 0, 0, 0, 0]),
        (PgType::Numeric(None), &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10]),
        (PgType::Numeric(None), &[0, 0, 0, 0, 1, 0, 0, 0]),
        (PgType::Jsonb, b"\x02{}"),
        (PgType::Text, &[b'a', 0xff]),
        (PgType::Time, &[0x7f; 8]),
    ];
    for (pg_type, bytes) in cases {
        assert!(binary::parse(pg_type, bytes).is_err(), "{pg_type}");
    }
    let message = |bytes: &[u8]| text::utf8(bytes).map(str::len).map_err(|e| e.message);
    let prefix = "invalid byte sequence for encoding \"UTF8\": ";
    assert_eq!(message(b"a\xe2\x28\xa1b"), Err(format!("{prefix}0xe2 0x28 0xa1")));
    assert_eq!(message(b"a\0b"), Err(format!("{prefix}0x00")));
}

#[test]
fn other_settings() {
    let value = |pg_type, input: &str, options: &FormatOptions| {
        let value = text::parse(pg_type, input, options).expect(input);
        text_of(pg_type, &value, options)
    };
    let rounded = FormatOptions { extra_float_digits: 0, ..FormatOptions::default() };
    assert_eq!(value(PgType::Float8, "0.30000000000000004", &rounded), "0.3");
    assert_eq!(value(PgType::Float8, "1e15", &rounded), "1e+15");
    assert_eq!(value(PgType::Float4, "0.1", &FormatOptions { extra_float_digits: -3, ..rounded }), "0.1");
    let escape = FormatOptions { bytea_output: ByteaOutput::Escape, ..FormatOptions::default() };
    assert_eq!(value(PgType::Bytea, "\\x61005cff", &escape), "a\\000\\\\\\377");
    let dmy = FormatOptions { date_order: DateOrder::Dmy, ..FormatOptions::default() };
    assert_eq!(value(PgType::Date, "1/2/2003", &dmy), "2003-02-01");
    let ymd = FormatOptions { date_order: DateOrder::Ymd, ..FormatOptions::default() };
    assert_eq!(value(PgType::Date, "01/02/03", &ymd), "2001-02-03");
    let now = 1_700_000_000_123_456;
    let at = |pg_type, input| {
        text_of(pg_type, &text::parse_at(pg_type, input, &new_york(), now).expect(input), &new_york())
    };
    assert_eq!(at(PgType::Timestamptz, "now"), "2023-11-14 17:13:20.123456-05");
    assert_eq!(at(PgType::Timestamp, "now"), "2023-11-14 17:13:20.123456");
    assert_eq!(at(PgType::Date, "tomorrow"), "2023-11-15");
    assert_eq!(at(PgType::Timestamptz, "yesterday 10:00"), "2023-11-13 10:00:00-05");
    assert!(text::parse(PgType::Date, "today", &new_york()).is_err());
}

/// Bytes that differ from a good value in a few places, from a seed.
fn damaged(good: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound.max(1) as u64) as usize
    };
    let mut bytes = good.to_vec();
    for _ in 0..=next(3) {
        match next(4) {
            0 if !bytes.is_empty() => bytes.truncate(next(good.len())),
            1 => bytes.push(next(256) as u8),
            _ if !bytes.is_empty() => {
                let at = next(bytes.len());
                bytes[at] = [0, 1, 0xFF, b'{', b'"', b'\\', b',', b'['][next(8)];
            }
            _ => {}
        }
    }
    bytes
}

#[test]
fn damaged_arrays_and_json_are_errors_or_values() {
    use omen_core::types::ArrayValue;
    let options = FormatOptions::default();
    let texts = [
        (PgType::Int4.array_of(), "[0:1][1:2]={{1,2},{3,NULL}}"),
        (PgType::Text.array_of(), r#"{a,"b \" c",NULL,"",{}}"#),
        (PgType::Text.array_of(), r#"{"x, y",\{z}"#),
        (PgType::Numeric(None).array_of(), "{1.50,-2}"),
        (PgType::Jsonb.array_of(), r#"{"{\"a\": [1, 2]}"}"#),
        (PgType::Jsonb, r#"{"a": [1, "x\u00e9", null, {"b": -1.5e3}], "c": true}"#),
    ];
    for (pg_type, good) in texts {
        let value = text::parse(pg_type, good, &options);
        for seed in 0..3_000 {
            if let Ok(text) = String::from_utf8(damaged(good.as_bytes(), seed))
                && let Ok(value) = text::parse(pg_type, &text, &options)
            {
                // What was read is written so that it can be read again.
                let written = text_of(pg_type, &value, &options);
                assert_eq!(text::parse(pg_type, &written, &options).as_ref(), Ok(&value), "{text}");
                if pg_type == PgType::Jsonb {
                    assert!(!json::key_of(&written).is_empty());
                    json::raw::members(&written).for_each(|(key, _)| drop(json::raw::unescaped(key)));
                    json::raw::elements(&text).for_each(drop);
                }
            }
        }
        let Ok(value) = value else { continue };
        let mut wire = Vec::new();
        binary::write_datum(pg_type, &value, &mut wire);
        assert_eq!(binary::parse(pg_type, &wire).as_ref(), Ok(&value), "{good}");
        for seed in 0..3_000 {
            drop(binary::parse(pg_type, &damaged(&wire, seed)));
            if let Datum::Array(stored) = &value
                && let Ok(array) = ArrayValue::decode(&damaged(stored, seed))
            {
                let again = array.to_bytes();
                assert_eq!(ArrayValue::decode(&again).expect("written a moment ago").to_bytes(), again);
            }
        }
    }
}
