//! Messages of the client: frames cut from a byte stream, and their bodies decoded in place.
//!
//! Nothing here allocates or trusts a length: a frame's length is bounded before it is waited for, and every count
//! inside a body is checked against the bytes that are there.

use omen_sql::error::{SqlError, SqlState};

/// Longest message whose length is not limited further, in bytes. Values are at most 16 MiB, written as text twice that.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Longest message of a kind that has no reason to be long (PG 15, `PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// Longest CopyData. It is handed on piece by piece, so it takes no memory.
const COPY_DATA_BYTES_MAX: usize = (1 << 30) - 1;

/// Bytes of kind and length in front of a body.
pub const HEADER_BYTES: usize = 5;

/// Kinds of frontend messages.
pub mod kind {
    #![expect(missing_docs, reason = "named as PG 15, chapter 55.7, names them")]
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// Kind and body length of the frame that begins `input`; `None` if the header is not whole.
///
/// # Errors
/// 08P01 if it is no message or longer than its kind may be: the stream cannot be followed any further.
pub fn header(input: &[u8]) -> Result<Option<(u8, usize)>, SqlError> {
    let Some([kind, length @ ..]) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length_max = match *kind {
        kind::BIND | kind::PARSE | kind::QUERY | kind::FUNCTION_CALL => MESSAGE_BYTES_MAX,
        kind::COPY_DATA => COPY_DATA_BYTES_MAX,
        kind::PASSWORD => SMALL_MESSAGE_BYTES_MAX,
        kind::CLOSE | kind::DESCRIBE | kind::EXECUTE | kind::FLUSH | kind::SYNC | kind::TERMINATE => {
            SMALL_MESSAGE_BYTES_MAX
        }
        kind::COPY_DONE | kind::COPY_FAIL => SMALL_MESSAGE_BYTES_MAX,
        other => return Err(violation(format!("invalid frontend message type {other}"))),
    };
    let length = u32::from_be_bytes(*length) as usize;
    match length.checked_sub(4) {
        Some(body) if length <= length_max => Ok(Some((*kind, body))),
        _ => Err(violation(format!("invalid length {length} of message type \"{}\"", char::from(*kind)))),
    }
}

/// 08P01
pub fn violation(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Simple query.
    Query(&'a str),
    /// Plan a statement.
    Parse(Parse<'a>),
    /// Make a portal.
    Bind(Bind<'a>),
    /// Tell the shape of a statement or portal.
    Describe(Target, &'a str),
    /// Run a portal; at most so many rows, 0 meaning all.
    Execute(&'a str, u32),
    /// Forget a statement or portal.
    Close(Target, &'a str),
    /// Send what is waiting.
    Flush,
    /// End of the implicit transaction and of skipping.
    Sync,
    /// Part of the data of a COPY. Comes in pieces, not as the client cut it.
    CopyData(&'a [u8]),
    /// The data of a COPY is complete.
    CopyDone,
    /// The client gives a COPY up.
    CopyFail(&'a str),
    /// The obsolete function call.
    FunctionCall,
    /// An answer of an authentication exchange.
    Password(&'a [u8]),
    /// The client leaves.
    Terminate,
}

/// What Describe and Close are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// `S`
    Statement,
    /// `P`
    Portal,
}

/// A Parse message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parse<'a> {
    /// Its statement; empty for the unnamed one.
    pub statement: &'a str,
    /// The SQL text.
    pub query: &'a str,
    oids: &'a [[u8; 4]],
}

impl Parse<'_> {
    /// The types that the client gives its parameters, 0 where it gives none.
    pub fn parameter_oids(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.oids.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

/// A Bind message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bind<'a> {
    /// The portal to make; empty for the unnamed one.
    pub portal: &'a str,
    /// The statement it runs.
    pub statement: &'a str,
    /// Formats of the parameters.
    pub parameter_formats: FormatCodes<'a>,
    /// The parameters.
    pub parameters: Parameters<'a>,
    /// Formats of the columns of the result.
    pub result_formats: FormatCodes<'a>,
}

/// A list of format codes: none means text for all, one goes for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FormatCodes<'a>(&'a [[u8; 2]]);

impl FormatCodes<'_> {
    /// Codes in the list.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The code for the value at `index`, which is below the number of values that the list goes for.
    #[inline]
    pub fn get(&self, index: usize) -> u16 {
        match self.0 {
            [] => 0,
            [code] => u16::from_be_bytes(*code),
            codes => u16::from_be_bytes(codes[index]),
        }
    }
}

/// The parameters of a Bind message, read one after another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// Parameters in the message.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let Ok(length) = usize::try_from(length) else {
            self.bytes = rest;
            return Some(None);
        };
        // Checked when the message was decoded.
        let (value, rest) = rest.split_at_checked(length)?;
        self.bytes = rest;
        Some(Some(value))
    }
}

/// Decodes a message. CopyData is not decoded: its body is the data.
///
/// # Errors
/// 08P01 if the body is not what its kind has, 22021 if text in it is not UTF-8. The stream can be followed further.
pub fn decode(kind: u8, body: &[u8]) -> Result<Message<'_>, SqlError> {
    let mut reader = Reader { rest: body };
    let message = match kind {
        kind::QUERY => Message::Query(reader.text()?),
        kind::PARSE => Message::Parse(reader.parse()?),
        kind::BIND => Message::Bind(reader.bind()?),
        kind::DESCRIBE => Message::Describe(reader.target("DESCRIBE")?, reader.text()?),
        kind::EXECUTE => {
            let portal = reader.text()?;
            let rows_max = i32::from_be_bytes(*reader.array::<4>()?);
            Message::Execute(portal, u32::try_from(rows_max).unwrap_or(0))
        }
        kind::CLOSE => Message::Close(reader.target("CLOSE")?, reader.text()?),
        kind::FLUSH => Message::Flush,
        kind::SYNC => Message::Sync,
        kind::COPY_DATA => return Ok(Message::CopyData(body)),
        kind::COPY_DONE => Message::CopyDone,
        kind::COPY_FAIL => Message::CopyFail(reader.text()?),
        kind::FUNCTION_CALL => return Ok(Message::FunctionCall),
        kind::PASSWORD => return Ok(Message::Password(body)),
        kind::TERMINATE => return Ok(Message::Terminate),
        other => return Err(violation(format!("invalid frontend message type {other}"))),
    };
    if reader.rest.is_empty() { Ok(message) } else { Err(violation("invalid message format")) }
}

/// Reads a body from front to back.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], SqlError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(short)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], SqlError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(short)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn count(&mut self) -> Result<usize, SqlError> {
        Ok(usize::from(u16::from_be_bytes(*self.array::<2>()?)))
    }

    /// As many arrays as the count in front of them says.
    #[inline]
    fn arrays<const N: usize>(&mut self) -> Result<&'a [[u8; N]], SqlError> {
        let count = self.count()?;
        Ok(self.bytes(count * N)?.as_chunks::<N>().0)
    }

    /// Text up to a zero byte.
    #[inline]
    fn text(&mut self) -> Result<&'a str, SqlError> {
        let end = memchr::memchr(0, self.rest).ok_or_else(|| violation("invalid string in message"))?;
        let bytes = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        std::str::from_utf8(bytes).map_err(|e| invalid_utf8(bytes, e.valid_up_to()))
    }

    fn target(&mut self, message: &str) -> Result<Target, SqlError> {
        match self.array::<1>()? {
            b"S" => Ok(Target::Statement),
            b"P" => Ok(Target::Portal),
            [other] => Err(violation(format!("invalid {message} message subtype {other}"))),
        }
    }

    fn parse(&mut self) -> Result<Parse<'a>, SqlError> {
        Ok(Parse { statement: self.text()?, query: self.text()?, oids: self.arrays()? })
    }

    fn bind(&mut self) -> Result<Bind<'a>, SqlError> {
        let (portal, statement) = (self.text()?, self.text()?);
        let parameter_formats = FormatCodes(self.arrays()?);
        let count = self.count()?;
        let start = self.rest;
        for _ in 0..count {
            let length = i32::from_be_bytes(*self.array::<4>()?);
            if let Ok(length) = usize::try_from(length) {
                self.bytes(length)?;
            } else if length != -1 {
                return Err(short());
            }
        }
        let parameters = Parameters { count, bytes: &start[..start.len() - self.rest.len()] };
        let result_formats = FormatCodes(self.arrays()?);
        Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
    }
}

#[cold]
fn short() -> SqlError {
    violation("insufficient data left in message")
}

/// 22021 as PostgreSQL words it, with the bytes of the character at `at`.
#[cold]
pub fn invalid_utf8(bytes: &[u8], at: usize) -> SqlError {
    let rest = &bytes[at..];
    let length = match rest.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => 1,
    };
    let shown: Vec<String> = rest.iter().take(length).map(|byte| format!("0x{byte:02x}")).collect();
    let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
    SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use pgwire::messages::extendedquery as pg;

    use super::*;

    fn frame(encoded: &BytesMut) -> (u8, &[u8]) {
        let (kind, length) = header(encoded).expect("valid").expect("whole");
        assert_eq!(encoded.len(), HEADER_BYTES + length);
        (kind, &encoded[HEADER_BYTES..])
    }

    fn encoded(message: &impl pgwire::messages::Message) -> BytesMut {
        let mut buffer = BytesMut::new();
        message.encode(&mut buffer).expect("encodes");
        buffer
    }

    #[test]
    fn reads_what_pgwire_writes() {
        let parse = encoded(&pg::Parse::new(Some("s1".into()), "SELECT $1".into(), vec![0, 23]));
        let (kind, body) = frame(&parse);
        let Ok(Message::Parse(parse)) = decode(kind, body) else { panic!("not Parse") };
        assert_eq!((parse.statement, parse.query), ("s1", "SELECT $1"));
        assert_eq!(parse.parameter_oids().collect::<Vec<_>>(), [0, 23]);

        let values = vec![Some(Bytes::from_static(b"12")), None, Some(Bytes::new())];
        let bind = encoded(&pg::Bind::new(None, Some("s1".into()), vec![0, 1, 1], values, vec![1]));
        let (kind, body) = frame(&bind);
        let Ok(Message::Bind(bind)) = decode(kind, body) else { panic!("not Bind") };
        assert_eq!((bind.portal, bind.statement, bind.parameters.count()), ("", "s1", 3));
        assert_eq!(bind.parameters.collect::<Vec<_>>(), [Some(&b"12"[..]), None, Some(&b""[..])]);
        assert_eq!([0, 1, 2].map(|i| bind.parameter_formats.get(i)), [0, 1, 1]);
        assert_eq!([0, 7].map(|i| bind.result_formats.get(i)), [1, 1]);

        let execute = encoded(&pg::Execute::new(Some("p".into()), 100));
        let (kind, body) = frame(&execute);
        assert_eq!(decode(kind, body), Ok(Message::Execute("p", 100)));
        let describe = encoded(&pg::Describe::new(b'P', None));
        let (kind, body) = frame(&describe);
        assert_eq!(decode(kind, body), Ok(Message::Describe(Target::Portal, "")));
    }

    #[test]
    fn every_cut_of_a_body_is_an_error() {
        let values = vec![Some(Bytes::from_static(b"12")), None];
        let bind =
            encoded(&pg::Bind::new(Some("p".into()), Some("s".into()), vec![0, 1], values, vec![1, 0]));
        let (kind, body) = frame(&bind);
        for cut in 0..body.len() {
            assert!(decode(kind, &body[..cut]).is_err(), "cut at {cut}");
        }
        let longer = [body, b"x"].concat();
        assert!(decode(kind, &longer).is_err());
        let minus_two = b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0";
        assert!(decode(kind::BIND, minus_two).is_err());
        let many = b"\0\0\xff\xff\0\0\0\0";
        assert!(decode(kind::BIND, many).is_err());
    }

    #[test]
    fn lengths_are_bounded_by_kind() {
        assert_eq!(header(b"Q\0\0\0"), Ok(None));
        assert_eq!(header(b"Q\0\0\0\x05"), Ok(Some((b'Q', 1))));
        for wrong in [b"Q\0\0\0\x03", b"Q\x7f\0\0\0", b"Q\xff\xff\xff\xff", b"S\0\0\xff\xff", b"?\0\0\0\x04"]
        {
            let error = header(wrong).expect_err("refused");
            assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION, "{wrong:?}");
        }
        assert_eq!(header(b"d\x3f\xff\xff\xff").map(|h| h.map(|(k, _)| k)), Ok(Some(b'd')));
    }

    #[test]
    fn text_must_be_utf8() {
        let error = decode(kind::QUERY, b"SELECT '\xe9ab'\0").expect_err("not UTF-8");
        assert_eq!(error.state, SqlState::CHARACTER_NOT_IN_REPERTOIRE);
        assert_eq!(error.message, "invalid byte sequence for encoding \"UTF8\": 0xe9 0x61 0x62");
    }
}
