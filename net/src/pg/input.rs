//! What has arrived from the client and was not handled yet.
//!
//! Messages are lent from the buffer they were received into. CopyData is lent piece by piece as it arrives, so a long
//! one takes no memory; every other message waits until it is whole, which `frontend::header` bounds.

use std::io;

use omen_core::env::Stream;
use omen_sql::error::SqlError;

use super::frontend::{HEADER_BYTES, header, kind};

/// Space offered to one receive, at least.
const RECEIVE_BYTES_MIN: usize = 8 << 10;

/// Space offered to one receive, at most: what a client that loads data fills.
const RECEIVE_BYTES_MAX: usize = 256 << 10;

/// A message as bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incoming<'a> {
    /// Its kind.
    pub kind: u8,
    /// Its body; of CopyData, a piece.
    pub body: &'a [u8],
    /// A Sync has arrived right behind it.
    pub sync_follows: bool,
}

/// The buffer. Invariant: `start <= buffer.len()`; the bytes before `start` are used up.
#[derive(Debug, Default)]
pub struct Input {
    buffer: Vec<u8>,
    start: usize,
    /// Bytes of the present CopyData that were not lent yet.
    copy_data_left: usize,
    /// Space to offer to the next receive.
    space: usize,
}

impl Input {
    /// What was not used up.
    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Marks bytes as used up.
    pub fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.buffer.len() - self.start, "only what has arrived can be used up");
        self.start += bytes;
    }

    /// The next message; `None` if it has not arrived whole.
    ///
    /// # Errors
    /// If the stream cannot be followed any further.
    #[inline]
    pub fn message(&mut self) -> Result<Option<Incoming<'_>>, SqlError> {
        if self.copy_data_left > 0 {
            return Ok(if self.unread().is_empty() { None } else { Some(self.copy_data()) });
        }
        let Some((kind, length)) = header(self.unread())? else { return Ok(None) };
        let start = self.start + HEADER_BYTES;
        if kind == kind::COPY_DATA {
            self.start = start;
            self.copy_data_left = length;
            return Ok(Some(self.copy_data()));
        }
        let end = start + length;
        let Some(body) = self.buffer.get(start..end) else { return Ok(None) };
        self.start = end;
        let sync_follows = self.buffer[end..].starts_with(&[kind::SYNC, 0, 0, 0, 4]);
        Ok(Some(Incoming { kind, body, sync_follows }))
    }

    /// A piece of CopyData, empty if no more of it has arrived.
    fn copy_data(&mut self) -> Incoming<'_> {
        let start = self.start;
        let end = self.buffer.len().min(start + self.copy_data_left);
        self.start = end;
        self.copy_data_left -= end - start;
        Incoming { kind: kind::COPY_DATA, body: &self.buffer[start..end], sync_follows: false }
    }

    /// Waits for more; 0 means that the client has closed.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn receive<S: Stream>(&mut self, stream: &S) -> io::Result<usize> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            if self.buffer.capacity() > RECEIVE_BYTES_MAX {
                self.buffer = Vec::new();
            }
        } else {
            self.buffer.drain(..self.start);
        }
        self.start = 0;
        self.space = self.space.clamp(RECEIVE_BYTES_MIN, RECEIVE_BYTES_MAX);
        self.buffer.reserve(self.space);
        let spare = self.buffer.capacity() - self.buffer.len();
        let received = stream.receive(&mut self.buffer).await?;
        if received >= spare {
            self.space *= 2;
        } else if received < self.space / 8 {
            self.space /= 2;
        }
        Ok(received)
    }

    #[cfg(test)]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("short");
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn messages_are_the_same_however_they_arrive() {
        let stream = [
            message(b'Q', b"SELECT 1\0"),
            message(b'd', b"some data"),
            message(b'd', b""),
            message(b'c', b""),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ]
        .concat();
        for piece in [1, 2, 3, 7, 1_000] {
            let mut input = Input::default();
            let mut kinds = Vec::new();
            let mut data = Vec::new();
            for bytes in stream.chunks(piece) {
                input.push(bytes);
                while let Some(incoming) = input.message().expect("valid") {
                    if incoming.kind == b'd' {
                        data.extend_from_slice(incoming.body);
                    } else {
                        kinds.push(incoming.kind);
                    }
                    assert_eq!(incoming.sync_follows, incoming.kind == b'E' && piece == 1_000);
                }
            }
            assert_eq!((kinds.as_slice(), data.as_slice()), (&b"QcES"[..], &b"some data"[..]), "{piece}");
            assert!(input.unread().is_empty());
        }
    }

    #[test]
    fn a_bad_header_is_found_before_its_body() {
        let mut input = Input::default();
        input.push(b"Q\x7f\xff\xff\xff");
        assert!(input.message().is_err());
    }
}
