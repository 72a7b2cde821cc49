//! Messages as bytes: a tag, a length that counts itself, and a body (PG 15, chapter 55.7).

use std::io::{self, Read, Write};

use super::ClientError;

/// Longest message that is believed: far above any row a node sends.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// A message from the node.
#[derive(Debug)]
pub struct Message {
    /// Its kind.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// Reads one message.
pub fn read(reader: &mut impl Read) -> Result<Message, ClientError> {
    let mut header = [0; 5];
    reader.read_exact(&mut header).map_err(closed)?;
    let [tag, length @ ..] = header;
    let length = u32::from_be_bytes(length) as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(ClientError::Protocol(format!(
            "a message of {length} bytes; is this a PostgreSQL server?"
        )));
    }
    let mut body = Vec::new();
    let got = reader.take(length as u64 - 4).read_to_end(&mut body)?;
    if got < length - 4 {
        return Err(closed(io::ErrorKind::UnexpectedEof.into()).into());
    }
    Ok(Message { tag, body })
}

fn closed(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(e.kind(), "the server closed the connection"),
        _ => e,
    }
}

/// Writes one message whose body is all `parts` in order; it may stay in the writer's buffer.
pub fn write(writer: &mut impl Write, tag: u8, parts: &[&[u8]]) -> io::Result<()> {
    writer.write_all(&[tag])?;
    write_body(writer, parts)
}

/// Writes the startup message, which has no tag.
pub fn write_startup(writer: &mut impl Write, parameters: &[(&str, &str)]) -> io::Result<()> {
    let mut body = 196_608u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    write_body(writer, &[&body])?;
    writer.flush()
}

/// Sends what is in the buffer.
pub fn flush(writer: &mut impl Write) -> io::Result<()> {
    writer.flush()
}

fn write_body(writer: &mut impl Write, parts: &[&[u8]]) -> io::Result<()> {
    let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).map_err(|_| io::Error::other("a message longer than 4 GiB"))?;
    writer.write_all(&length.to_be_bytes())?;
    parts.iter().try_for_each(|part| writer.write_all(part))
}

/// Takes a message's body apart.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of this message.
    pub fn of(message: &'a Message) -> Fields<'a> {
        Fields { rest: &message.body }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ClientError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or_else(short)?;
        self.rest = tail;
        Ok(head)
    }

    /// Passes over bytes.
    pub fn skip(&mut self, len: usize) -> Result<(), ClientError> {
        self.take(len).map(|_| ())
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, ClientError> {
        Ok(self.take(1)?[0])
    }

    /// A 16-bit number.
    pub fn u16(&mut self) -> Result<u16, ClientError> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().expect("two bytes")))
    }

    /// A 32-bit number.
    pub fn u32(&mut self) -> Result<u32, ClientError> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    /// Text that a zero byte ends.
    pub fn text(&mut self) -> Result<&'a str, ClientError> {
        let len = self.rest.iter().position(|byte| *byte == 0).ok_or_else(short)?;
        let text = utf8(self.take(len)?)?;
        self.skip(1)?;
        Ok(text)
    }

    /// All that is left, as text.
    pub fn rest_text(&mut self) -> Result<&'a str, ClientError> {
        utf8(self.take(self.rest.len())?)
    }

    /// A value of a row in text format: length, -1 for NULL, and bytes.
    pub fn value(&mut self) -> Result<Option<String>, ClientError> {
        match self.u32()? {
            u32::MAX => Ok(None),
            len => Ok(Some(utf8(self.take(len as usize)?)?.to_owned())),
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, ClientError> {
    std::str::from_utf8(bytes)
        .map_err(|_| ClientError::Protocol("the server sent text that is not UTF-8".to_owned()))
}

fn short() -> ClientError {
    ClientError::Protocol("the server sent a message shorter than its content".to_owned())
}
