//! Bytes as text and back.

use std::io::Write as _;

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::{Datum, PgType};

use super::Call;
use super::lift::{Bytes, Result, Text, text2};
use crate::expr::value::Value;
use crate::types::text::{parse, utf8};

/// `encode(bytea, text)`
pub(crate) fn encode(call: &Call<'_>) -> Result<Value> {
    text2::<Bytes, Text>(call, |bytes, format, out| {
        match Encoding::named(format)? {
            Encoding::Hex => {
                bytes.iter().for_each(|byte| write!(out, "{byte:02x}").expect("a Vec takes all"))
            }
            Encoding::Base64 => super::base64::encode(bytes, out),
            Encoding::Escape => {
                for byte in bytes {
                    match byte {
                        b'\\' => out.extend_from_slice(b"\\\\"),
                        0 | 0x80.. => write!(out, "\\{byte:03o}").expect("a Vec takes all"),
                        _ => out.push(*byte),
                    }
                }
            }
        }
        Ok(())
    })
}

/// `decode(text, text)`
pub(crate) fn decode(call: &Call<'_>) -> Result<Value> {
    let options = call.context.format;
    let read = |text: String, out: &mut Vec<u8>| {
        if let Datum::Bytea(bytes) = parse(PgType::Bytea, &text, &options)? {
            out.extend_from_slice(&bytes);
        }
        Ok(())
    };
    text2::<Text, Text>(call, |text, format, out| match Encoding::named(format)? {
        Encoding::Hex => read(format!("\\x{text}"), out),
        Encoding::Base64 => super::base64::decode(text, out),
        Encoding::Escape => read(text.to_owned(), out),
    })
}

enum Encoding {
    Hex,
    Base64,
    Escape,
}

impl Encoding {
    fn named(name: &str) -> Result<Encoding> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "hex" => Encoding::Hex,
            "base64" => Encoding::Base64,
            "escape" => Encoding::Escape,
            _ => {
                let message = format!("unrecognized encoding: \"{name}\"");
                return Err(ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        })
    }
}

/// `convert_to` and `convert_from`, of which UTF8 is the only encoding.
pub(crate) fn check_encoding(name: &str) -> Result<()> {
    if matches!(name.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode") {
        return Ok(());
    }
    let message = format!("conversion to or from encoding \"{name}\" is not supported");
    Err(ValueError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
}

pub(crate) fn convert_to(call: &Call<'_>) -> Result<Value> {
    text2::<Text, Text>(call, |text, encoding, out| {
        out.extend_from_slice(text.as_bytes());
        check_encoding(encoding)
    })
}

pub(crate) fn convert_from(call: &Call<'_>) -> Result<Value> {
    text2::<Bytes, Text>(call, |bytes, encoding, out| {
        check_encoding(encoding)?;
        out.extend_from_slice(utf8(bytes)?.as_bytes());
        Ok(())
    })
}
