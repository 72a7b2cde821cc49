//! Base64 as `encode` and `decode` have it: lines of 76 characters (RFC 2045), white space skipped.

use omen_core::SqlState;
use omen_core::error::ValueError;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const LINE_CHARS: usize = 76;

/// Appends the code of some bytes.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for (i, chunk) in bytes.chunks(3).enumerate() {
        if i > 0 && i * 4 % LINE_CHARS == 0 {
            out.push(b'\n');
        }
        let group =
            chunk.iter().enumerate().fold(0u32, |group, (i, byte)| group | u32::from(*byte) << (16 - 8 * i));
        for digit in 0..4 {
            let code = ALPHABET[(group >> (18 - 6 * digit) & 63) as usize];
            out.push(if digit <= chunk.len() { code } else { b'=' });
        }
    }
}

/// Appends the bytes of a code.
pub(super) fn decode(text: &str, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let wrong = |message: String| ValueError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let end = || {
        wrong("invalid base64 end sequence".into())
            .with_detail("Input data is missing padding, is truncated, or is otherwise corrupted.")
    };
    let (mut group, mut digits, mut padding) = (0u32, 0, 0);
    for c in text.chars() {
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        let value = match ALPHABET.iter().position(|code| char::from(*code) == c) {
            Some(value) if padding == 0 => value as u32,
            Some(_) => return Err(end()),
            None if c == '=' && digits >= 2 => {
                padding += 1;
                0
            }
            None if c == '=' => return Err(wrong("unexpected \"=\" while decoding base64 sequence".into())),
            None => {
                return Err(wrong(format!("invalid symbol \"{c}\" found while decoding base64 sequence")));
            }
        };
        group = group << 6 | value;
        digits += 1;
        if digits == 4 {
            let bytes = group.to_be_bytes();
            out.extend_from_slice(&bytes[1..4 - padding.min(2)]);
            (group, digits) = (0, 0);
        }
    }
    if digits == 0 { Ok(()) } else { Err(end()) }
}
