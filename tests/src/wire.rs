//! A small client that asks a server of the PostgreSQL protocol by either of its query protocols and gets every value as
//! text, as the server writes it. Other clients ask for binary values once a statement is prepared.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::{backend, frontend};

use crate::asked::Asked;

/// Far above what any statement of a test takes.
const REPLY_LIMIT: Duration = Duration::from_secs(120);

/// The object id of `text`, for the lines that COPY writes.
const COPIED_TYPE: u32 = 25;

/// How statements are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// One `Query` message.
    Simple,
    /// `Parse`, `Bind`, `Describe`, `Execute`, `Sync`.
    Extended,
}

/// What a statement answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// Names of the columns.
    pub names: Vec<String>,
    /// Object ids of the columns' types; none if it answers no rows.
    pub types: Vec<u32>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// What was done, such as `INSERT 0 1`.
    pub tag: String,
}

/// An error that a server reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerError {
    /// SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// What else is told, as [`ERROR_FIELDS`] names it.
    pub fields: Vec<(&'static str, String)>,
}

/// What errors may tell besides code and message, by the letters of the protocol (PG 15, chapter 55.8).
pub const ERROR_FIELDS: [(u8, &str); 6] = [
    (b'D', "DETAIL"),
    (b'H', "HINT"),
    (b'n', "CONSTRAINT"),
    (b'c', "COLUMN"),
    (b'P', "POSITION"),
    (b'W', "CONTEXT"),
];

/// All in one line: `42601 the message | HINT: .. | POSITION: 8`.
impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " | {name}: {value}"))
    }
}

impl std::error::Error for ServerError {}

/// A connection without password and encryption.
#[derive(Debug)]
pub struct WireClient {
    stream: TcpStream,
    received: BytesMut,
}

impl WireClient {
    /// Connects.
    ///
    /// # Errors
    /// If the server cannot be reached or wants a password.
    pub fn connect(address: SocketAddr, user: &str, database: &str) -> io::Result<WireClient> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        let mut client = WireClient { stream, received: BytesMut::new() };
        let mut out = BytesMut::new();
        let parameters = [("user", user), ("database", database), ("client_encoding", "UTF8")];
        frontend::startup_message(parameters, &mut out)?;
        client.stream.write_all(&out)?;
        match client.finish(None)? {
            Ok(_) => Ok(client),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Runs a statement, or by the simple protocol several; answers what the last one did.
    ///
    /// # Errors
    /// The outer one if the connection breaks, the inner one as the server reports it.
    pub fn run(&mut self, sql: &str, protocol: Protocol) -> io::Result<Result<Answer, ServerError>> {
        self.ask(&Asked { sql: sql.to_owned(), ..Asked::default() }, protocol)
    }

    /// Runs a statement with what a script says about it. Parameters need the extended protocol.
    ///
    /// # Errors
    /// The outer one if the connection breaks, the inner one as the server reports it.
    pub fn ask(&mut self, asked: &Asked, protocol: Protocol) -> io::Result<Result<Answer, ServerError>> {
        let mut out = BytesMut::new();
        let protocol = if asked.values.is_some() { Protocol::Extended } else { protocol };
        match protocol {
            Protocol::Simple => frontend::query(&asked.sql, &mut out)?,
            Protocol::Extended => {
                frontend::parse("", &asked.sql, [], &mut out)?;
                let write = |value: &Option<String>, out: &mut BytesMut| {
                    let Some(value) = value else { return Ok(postgres_protocol::IsNull::Yes) };
                    out.extend_from_slice(value.as_bytes());
                    Ok(postgres_protocol::IsNull::No)
                };
                frontend::bind("", "", [], asked.values.iter().flatten(), write, [0], &mut out)
                    .map_err(|_| io::Error::other("a bind message with values as text"))?;
                frontend::describe(b'P', "", &mut out)?;
                frontend::execute("", 0, &mut out)?;
                frontend::sync(&mut out);
            }
        }
        self.stream.write_all(&out)?;
        self.finish(Some((&asked.data, protocol)))
    }

    /// Reads until the server is ready again; gives it what it wants to copy.
    fn finish(&mut self, copied: Option<(&str, Protocol)>) -> io::Result<Result<Answer, ServerError>> {
        let mut answer = Answer::default();
        let mut failed = None;
        let mut lines = Vec::new();
        loop {
            match self.message()? {
                backend::Message::RowDescription(body) => {
                    answer.rows.clear();
                    answer.types = body.fields().map(|field| Ok(field.type_oid())).collect()?;
                    answer.names = body.fields().map(|field| Ok(field.name().to_owned())).collect()?;
                }
                backend::Message::DataRow(body) => {
                    let value = |range: Option<std::ops::Range<usize>>| {
                        Ok(range.map(|range| String::from_utf8_lossy(&body.buffer()[range]).into_owned()))
                    };
                    answer.rows.push(body.ranges().map(value).collect()?);
                }
                backend::Message::CommandComplete(body) => body.tag()?.clone_into(&mut answer.tag),
                backend::Message::ErrorResponse(body) => failed = Some(server_error(&body)?),
                backend::Message::CopyInResponse(_) => {
                    let (data, protocol) = copied.unwrap_or(("", Protocol::Simple));
                    let mut out = BytesMut::new();
                    for piece in data.as_bytes().chunks(7) {
                        frontend::CopyData::new(piece)?.write(&mut out);
                    }
                    frontend::copy_done(&mut out);
                    // Servers leave aside what asked for an answer before the data came.
                    if protocol == Protocol::Extended {
                        frontend::sync(&mut out);
                    }
                    self.stream.write_all(&out)?;
                }
                backend::Message::CopyOutResponse(_) => answer.types = vec![COPIED_TYPE],
                backend::Message::CopyData(body) => lines.extend_from_slice(body.data()),
                backend::Message::ReadyForQuery(_) => {
                    let lines = String::from_utf8_lossy(&lines);
                    answer.rows.extend(lines.lines().map(|line| vec![Some(line.to_owned())]));
                    return Ok(failed.map_or(Ok(answer), Err));
                }
                backend::Message::AuthenticationCleartextPassword
                | backend::Message::AuthenticationMd5Password(_)
                | backend::Message::AuthenticationSasl(_) => {
                    return Err(io::Error::other("the server wants a password"));
                }
                _ => {}
            }
        }
    }

    fn message(&mut self) -> io::Result<backend::Message> {
        loop {
            if let Some(message) = backend::Message::parse(&mut self.received)? {
                return Ok(message);
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(&bytes[..count]),
            }
        }
    }
}

fn server_error(body: &backend::ErrorResponseBody) -> io::Result<ServerError> {
    let mut told = BTreeMap::new();
    let mut fields = body.fields();
    while let Some(field) = fields.next()? {
        told.insert(field.type_(), String::from_utf8_lossy(field.value_bytes()).into_owned());
    }
    let code = told.remove(&b'C').unwrap_or_default();
    let message = told.remove(&b'M').unwrap_or_default();
    let fields = ERROR_FIELDS.iter().filter_map(|(letter, name)| Some((*name, told.remove(letter)?)));
    Ok(ServerError { code, message, fields: fields.collect() })
}
