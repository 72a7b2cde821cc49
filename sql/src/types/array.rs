//! Text and binary forms of arrays: `array_in`, `array_out`, `array_recv` and `array_send` of PostgreSQL.

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::array::{DIMENSIONS_MAX, Dimension, ELEMENTS_MAX};
use omen_core::types::{ArrayValue, Datum, PgType};

use super::{FormatOptions, binary, text};

/// Appends the text of an array.
pub(crate) fn write(array: &ArrayValue, options: &FormatOptions, out: &mut Vec<u8>) {
    if array.dims.iter().any(|dim| dim.lower != 1) {
        for dim in &array.dims {
            let upper = i64::from(dim.lower) + i64::from(dim.len) - 1;
            out.extend_from_slice(format!("[{}:{upper}]", dim.lower).as_bytes());
        }
        out.push(b'=');
    }
    if array.dims.is_empty() {
        return out.extend_from_slice(b"{}");
    }
    let mut values = array.values.iter();
    let mut element = Vec::new();
    write_level(&array.dims, &mut values, out, &mut |value, out| {
        if value.is_null() {
            return out.extend_from_slice(b"NULL");
        }
        element.clear();
        text::write_datum(array.element, value, options, &mut element);
        write_element(&element, out);
    });
}

fn write_level<'v>(
    dims: &[Dimension],
    values: &mut impl Iterator<Item = &'v Datum>,
    out: &mut Vec<u8>,
    write: &mut dyn FnMut(&Datum, &mut Vec<u8>),
) {
    let Some((dim, inner)) = dims.split_first() else {
        if let Some(value) = values.next() {
            write(value, out);
        }
        return;
    };
    out.push(b'{');
    for index in 0..dim.len {
        if index > 0 {
            out.push(b',');
        }
        write_level(inner, values, out, write);
    }
    out.push(b'}');
}

fn write_element(text: &[u8], out: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(*byte);
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(special) {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Reads an array of elements of this type, each by `read`.
///
/// # Errors
/// 22P02 with what is wrong as detail, 2202E and 54000 for its dimensions; those of the elements.
pub(crate) fn parse(
    element: PgType,
    text: &str,
    read: &mut dyn FnMut(&str) -> Result<Datum, ValueError>,
) -> Result<ArrayValue, ValueError> {
    let mut reader =
        Reader { text, bytes: text.as_bytes(), at: 0, lens: Vec::new(), depth: None, values: Vec::new() };
    let bounds = reader.bounds()?;
    if reader.next() != Some(b'{') {
        return Err(reader.malformed(if bounds.is_empty() {
            "Array value must start with \"{\" or dimension information."
        } else {
            "Array contents must start with \"{\"."
        }));
    }
    reader.at += 1;
    reader.level(0, read)?;
    if reader.next().is_some() {
        return Err(reader.malformed("Junk after closing right brace."));
    }
    let lens: Vec<i32> = reader.lens.iter().map(|len| len.unwrap_or(0)).collect();
    if reader.values.is_empty() {
        if bounds.iter().any(|dim| dim.len > 0) {
            return Err(reader.malformed("Specified array dimensions do not match array contents."));
        }
        return Ok(ArrayValue::empty(element));
    }
    let dims = if bounds.is_empty() {
        lens.into_iter().map(|len| Dimension { len, lower: 1 }).collect()
    } else if bounds.iter().map(|dim| dim.len).eq(lens) {
        bounds
    } else {
        return Err(reader.malformed("Specified array dimensions do not match array contents."));
    };
    Ok(ArrayValue { element: element.base(), dims, values: reader.values })
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Lengths of the dimensions, once a level has ended.
    lens: Vec<Option<i32>>,
    /// The number of dimensions, once an element has been read.
    depth: Option<usize>,
    values: Vec<Datum>,
}

const MISMATCH: &str = "Multidimensional arrays must have sub-arrays with matching dimensions.";

impl Reader<'_> {
    fn malformed(&self, detail: impl Into<Box<str>>) -> ValueError {
        let message = format!("malformed array literal: \"{}\"", self.text);
        ValueError::new(SqlState::INVALID_TEXT_REPRESENTATION, message).with_detail(detail)
    }

    /// The next byte that is no white space; goes there.
    fn next(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(|byte| is_space(*byte)) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// `[1:2][0:3]=`
    fn bounds(&mut self) -> Result<Vec<Dimension>, ValueError> {
        let mut dims = Vec::new();
        while self.next() == Some(b'[') {
            self.at += 1;
            if dims.len() >= DIMENSIONS_MAX {
                return Err(too_many_dimensions(dims.len() + 1));
            }
            let first = self.number()?;
            let (lower, upper) = if self.bytes.get(self.at) == Some(&b':') {
                self.at += 1;
                (first, self.number()?)
            } else {
                (1, first)
            };
            if self.bytes.get(self.at) != Some(&b']') {
                return Err(self.malformed("Missing \"]\" after array dimensions."));
            }
            self.at += 1;
            if upper < lower {
                let message = "upper bound cannot be less than lower bound";
                return Err(ValueError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message));
            }
            let len = i64::from(upper) - i64::from(lower) + 1;
            let len = i32::try_from(len).map_err(|_| too_large())?;
            dims.push(Dimension { len, lower });
        }
        if !dims.is_empty() {
            if self.next() != Some(b'=') {
                return Err(self.malformed("Missing \"=\" after array dimensions."));
            }
            self.at += 1;
        }
        Ok(dims)
    }

    fn number(&mut self) -> Result<i32, ValueError> {
        let start = self.at;
        if matches!(self.bytes.get(self.at), Some(b'-' | b'+')) {
            self.at += 1;
        }
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        let digits = &self.text[start..self.at];
        digits
            .parse()
            .map_err(|_| self.malformed("\"[\" must introduce explicitly-specified array dimensions."))
    }

    /// The rest of `{..}`, the elements of one dimension.
    fn level(
        &mut self,
        level: usize,
        read: &mut dyn FnMut(&str) -> Result<Datum, ValueError>,
    ) -> Result<(), ValueError> {
        if level >= DIMENSIONS_MAX {
            return Err(too_many_dimensions(level + 1));
        }
        if self.lens.len() <= level {
            self.lens.push(None);
        }
        let mut count = 0;
        let mut after_comma = false;
        loop {
            match self.next() {
                None => return Err(self.malformed("Unexpected end of input.")),
                Some(b'}') if after_comma || (count == 0 && level > 0) => {
                    return Err(self.malformed("Unexpected \"}\" character."));
                }
                Some(b'}') if count == 0 => {
                    self.at += 1;
                    break;
                }
                Some(b',') => return Err(self.malformed("Unexpected \",\" character.")),
                Some(b'{') => {
                    if self.depth.is_some_and(|depth| depth <= level + 1) {
                        return Err(self.malformed(MISMATCH));
                    }
                    self.at += 1;
                    self.level(level + 1, read)?;
                }
                Some(_) => {
                    if *self.depth.get_or_insert(level + 1) != level + 1 || self.lens.len() > level + 1 {
                        return Err(self.malformed(MISMATCH));
                    }
                    let value = self.element(read)?;
                    self.values.push(value);
                    if self.values.len() > ELEMENTS_MAX {
                        return Err(too_large());
                    }
                }
            }
            count += 1;
            match self.next() {
                Some(b',') => {
                    self.at += 1;
                    after_comma = true;
                }
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                None => return Err(self.malformed("Unexpected end of input.")),
                Some(_) => return Err(self.malformed("Unexpected array element.")),
            }
        }
        if *self.lens[level].get_or_insert(count) == count { Ok(()) } else { Err(self.malformed(MISMATCH)) }
    }

    fn element(
        &mut self,
        read: &mut dyn FnMut(&str) -> Result<Datum, ValueError>,
    ) -> Result<Datum, ValueError> {
        let mut content = Vec::new();
        let mut quoted = false;
        // Where the text ends without the white space behind it, which quotes and backslashes keep.
        let mut end = 0;
        loop {
            let Some(byte) = self.bytes.get(self.at).copied() else {
                return Err(self.malformed("Unexpected end of input."));
            };
            match byte {
                b',' | b'}' => break,
                b'{' => return Err(self.malformed("Unexpected \"{\" character.")),
                b'"' => {
                    if quoted || end > 0 {
                        return Err(self.malformed("Incorrectly quoted array element."));
                    }
                    quoted = true;
                    self.quoted(&mut content)?;
                    end = content.len();
                    continue;
                }
                b'\\' => {
                    self.at += 1;
                    let Some(byte) = self.bytes.get(self.at).copied() else {
                        return Err(self.malformed("Unexpected end of input."));
                    };
                    content.push(byte);
                    end = content.len();
                    // What is escaped is never the word NULL.
                    quoted |= content.len() == 1;
                }
                byte if is_space(byte) => content.push(byte),
                byte => {
                    content.push(byte);
                    end = content.len();
                }
            }
            self.at += 1;
        }
        content.truncate(end);
        if !quoted && content.eq_ignore_ascii_case(b"null") {
            return Ok(Datum::Null);
        }
        // Only ASCII characters were left out.
        read(&String::from_utf8_lossy(&content))
    }

    /// The content of `".."`.
    fn quoted(&mut self, content: &mut Vec<u8>) -> Result<(), ValueError> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.malformed("Unexpected end of input.")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    content.extend(self.bytes.get(self.at));
                }
                Some(byte) => content.push(*byte),
            }
            self.at += 1;
        }
    }
}

/// 54000
pub(crate) fn too_many_dimensions(count: usize) -> ValueError {
    let message =
        format!("number of array dimensions ({count}) exceeds the maximum allowed ({DIMENSIONS_MAX})");
    ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
}

/// 54000
pub(crate) fn too_large() -> ValueError {
    let message = format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})");
    ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
}

/// Appends the binary form: number of dimensions, whether there is a NULL, OID of the element type, length and lower
/// bound of each dimension, then each element as length (-1: NULL) and bytes.
pub(crate) fn write_binary(array: &ArrayValue, out: &mut Vec<u8>) {
    out.extend_from_slice(&(array.dims.len() as i32).to_be_bytes());
    out.extend_from_slice(&i32::from(array.values.iter().any(Datum::is_null)).to_be_bytes());
    out.extend_from_slice(&array.element.oid().to_be_bytes());
    for dim in &array.dims {
        out.extend_from_slice(&dim.len.to_be_bytes());
        out.extend_from_slice(&dim.lower.to_be_bytes());
    }
    for value in &array.values {
        if value.is_null() {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            continue;
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        binary::write_datum(array.element, value, out);
        let len = i32::try_from(out.len() - at - 4).expect("a value is smaller than a message");
        out[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// Reads the binary form.
///
/// # Errors
/// 22P03 if the bytes are not an array, 42804 if it is one of another type, 54000 if it has too many dimensions.
pub(crate) fn parse_binary(element: PgType, bytes: &[u8]) -> Result<ArrayValue, ValueError> {
    let invalid = |message: String| ValueError::new(SqlState::INVALID_BINARY_REPRESENTATION, message);
    let mut rest = bytes;
    let mut number = || -> Result<i32, ValueError> {
        let (bytes, after) = rest.split_first_chunk::<4>().ok_or_else(insufficient)?;
        rest = after;
        Ok(i32::from_be_bytes(*bytes))
    };
    let (count, flags, oid) = (number()?, number()?, number()?);
    let count =
        usize::try_from(count).map_err(|_| invalid(format!("invalid number of dimensions: {count}")))?;
    if count > DIMENSIONS_MAX {
        return Err(too_many_dimensions(count));
    }
    if flags != 0 && flags != 1 {
        return Err(invalid("invalid array flags".to_owned()));
    }
    if oid as u32 != element.oid() {
        let message = format!(
            "binary data has array element type {oid} instead of expected {} ({})",
            element.oid(),
            element.base()
        );
        return Err(ValueError::new(SqlState::DATATYPE_MISMATCH, message));
    }
    let mut dims = Vec::with_capacity(count);
    let mut elements = usize::from(count > 0);
    for _ in 0..count {
        let (len, lower) = (number()?, number()?);
        let size = usize::try_from(len).map_err(|_| too_large())?;
        lower.checked_add(len).ok_or_else(too_large)?;
        elements = elements.checked_mul(size).filter(|all| *all <= ELEMENTS_MAX).ok_or_else(too_large)?;
        dims.push(Dimension { len, lower });
    }
    if elements == 0 {
        return Ok(ArrayValue::empty(element));
    }
    // Every element takes four bytes at least.
    if elements > rest.len() / 4 {
        return Err(insufficient());
    }
    let mut values = Vec::with_capacity(elements);
    for _ in 0..elements {
        let (len, after) = rest.split_first_chunk::<4>().ok_or_else(insufficient)?;
        let len = i32::from_be_bytes(*len);
        rest = after;
        if len == -1 {
            values.push(Datum::Null);
            continue;
        }
        let len = usize::try_from(len).map_err(|_| insufficient())?;
        let (bytes, after) = rest.split_at_checked(len).ok_or_else(insufficient)?;
        rest = after;
        values.push(binary::parse(element, bytes)?);
    }
    if !rest.is_empty() {
        return Err(invalid("incorrect binary data format".to_owned()));
    }
    Ok(ArrayValue { element: element.base(), dims, values })
}

fn insufficient() -> ValueError {
    ValueError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message")
}
