//! A small blocking PostgreSQL client (protocol 3.0, simple queries and COPY, text values), for `sql` and `demo`.
//!
//! PostgreSQL 15, chapters 55.2 and 55.7, describe the messages.

mod frame;
mod scram;

use std::fmt;
use std::io::{self, BufReader, BufWriter};
use std::net::TcpStream;
use std::time::Duration;

use frame::{Fields, Message};

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of COPY data per message.
const COPY_CHUNK_BYTES: usize = 64 << 10;

/// Whom to connect as, and where.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`
    pub address: String,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The role's password, for when the node asks.
    pub password: Option<String>,
}

/// An error that the node reported.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `NOTICE`, ...
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Character of the statement, counted from 1.
    pub position: Option<usize>,
}

/// Why a request failed.
#[derive(Debug)]
pub enum ClientError {
    /// No connection, or it broke.
    Io(io::Error),
    /// The node refused the request.
    Server(Box<ServerError>),
    /// The node does not speak the protocol as expected.
    Protocol(String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:  {}: {}", self.severity, self.code, self.message)?;
        self.detail.iter().try_for_each(|detail| write!(f, "\nDETAIL:  {detail}"))?;
        self.hint.iter().try_for_each(|hint| write!(f, "\nHINT:  {hint}"))?;
        self.position.iter().try_for_each(|position| write!(f, "\nAT CHARACTER:  {position}"))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Io(e) => write!(f, "{e}"),
            ClientError::Server(e) => write!(f, "{e}"),
            ClientError::Protocol(what) => f.write_str(what),
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(e: io::Error) -> ClientError {
        ClientError::Io(e)
    }
}

/// A column of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResultColumn {
    /// Its name.
    pub name: String,
    /// OID of its type.
    pub type_oid: u32,
}

/// What a request brings, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Rows of this shape follow.
    Columns(Vec<ResultColumn>),
    /// A row; NULL is `None`.
    Row(Vec<Option<String>>),
    /// A statement has finished, with this tag.
    Complete(String),
    /// The statement was empty.
    Empty,
    /// A notice or warning.
    Notice(Box<ServerError>),
    /// Data of COPY TO STDOUT.
    CopyData(Vec<u8>),
}

/// A connection.
pub struct Client {
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
}

impl Client {
    /// Connects and authenticates.
    ///
    /// # Errors
    /// If the node cannot be reached or does not let us in.
    pub fn connect(target: &Target) -> Result<Client, ClientError> {
        use std::net::ToSocketAddrs;
        let address = target.address.to_socket_addrs()?.next();
        let address =
            address.ok_or_else(|| io::Error::other(format!("no address for {}", target.address)))?;
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        let mut client =
            Client { reader: BufReader::new(stream.try_clone()?), writer: BufWriter::new(stream) };
        let parameters =
            [("user", &*target.user), ("database", &target.database), ("application_name", "omendb")];
        frame::write_startup(&mut client.writer, &parameters)?;
        client.authenticate(target)?;
        client.until_ready(&mut |_| Ok(()))?;
        Ok(client)
    }

    /// Runs a request of one or many statements; `take` gets what it brings. COPY FROM STDIN reads `input`.
    ///
    /// # Errors
    /// The first error; the connection can be used again unless it is [`ClientError::Io`].
    pub fn query(
        &mut self,
        sql: &str,
        input: &mut dyn io::Read,
        take: &mut dyn FnMut(Reply) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        frame::write(&mut self.writer, b'Q', &[sql.as_bytes(), b"\0"])?;
        frame::flush(&mut self.writer)?;
        let mut failed = None;
        loop {
            let message = frame::read(&mut self.reader)?;
            match message.tag {
                b'G' => self.copy_in(input)?,
                b'Z' => return failed.map_or(Ok(()), Err),
                b'E' => failed = failed.or(Some(ClientError::Server(Box::new(server_error(&message)?)))),
                _ => {
                    if let Some(reply) = reply(&message)? {
                        take(reply)?;
                    }
                }
            }
        }
    }

    /// Runs a request and collects its rows as text.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, ClientError> {
        let mut rows = Vec::new();
        self.query(sql, &mut io::empty(), &mut |reply| {
            if let Reply::Row(row) = reply {
                rows.push(row);
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// Sends `input` as the data of COPY FROM STDIN.
    fn copy_in(&mut self, input: &mut dyn io::Read) -> Result<(), ClientError> {
        let mut chunk = vec![0; COPY_CHUNK_BYTES];
        loop {
            match input.read(&mut chunk) {
                Ok(0) => {
                    frame::write(&mut self.writer, b'c', &[])?;
                    break;
                }
                Ok(len) => frame::write(&mut self.writer, b'd', &[&chunk[..len]])?,
                Err(e) => {
                    let why = format!("could not read the input: {e}\0");
                    frame::write(&mut self.writer, b'f', &[why.as_bytes()])?;
                    break;
                }
            }
        }
        Ok(frame::flush(&mut self.writer)?)
    }

    fn authenticate(&mut self, target: &Target) -> Result<(), ClientError> {
        let mut exchange = None;
        loop {
            let message = frame::read(&mut self.reader)?;
            match message.tag {
                b'E' => return Err(ClientError::Server(Box::new(server_error(&message)?))),
                b'N' => continue,
                b'R' => {}
                tag => {
                    return Err(ClientError::Protocol(format!(
                        "the server sent message {:?} during log-in",
                        char::from(tag)
                    )));
                }
            }
            let mut fields = Fields::of(&message);
            let kind = fields.u32()?;
            match kind {
                0 => return Ok(()),
                10 => {
                    let password = target.password.as_deref().ok_or_else(|| {
                        ClientError::Protocol("the server wants a password; set OMENDB_PASSWORD".to_owned())
                    })?;
                    let (begun, first) = scram::Exchange::begin(password);
                    exchange = Some(begun);
                    let len = u32::try_from(first.len()).expect("a short message").to_be_bytes();
                    frame::write(&mut self.writer, b'p', &[b"SCRAM-SHA-256\0", &len, first.as_bytes()])?;
                }
                11 => {
                    let exchange = exchange.as_mut().ok_or_else(out_of_order)?;
                    let last = exchange.answer(fields.rest_text()?).map_err(ClientError::Protocol)?;
                    frame::write(&mut self.writer, b'p', &[last.as_bytes()])?;
                }
                12 => {
                    let exchange = exchange.as_ref().ok_or_else(out_of_order)?;
                    exchange.verify(fields.rest_text()?).map_err(ClientError::Protocol)?;
                }
                kind => {
                    return Err(ClientError::Protocol(format!(
                        "the server wants authentication method {kind}, which is not supported"
                    )));
                }
            }
            frame::flush(&mut self.writer)?;
        }
    }

    fn until_ready(&mut self, take: &mut dyn FnMut(Reply) -> io::Result<()>) -> Result<(), ClientError> {
        loop {
            let message = frame::read(&mut self.reader)?;
            match message.tag {
                b'Z' => return Ok(()),
                b'E' => return Err(ClientError::Server(Box::new(server_error(&message)?))),
                _ => {
                    if let Some(reply) = reply(&message)? {
                        take(reply)?;
                    }
                }
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A courtesy: the node notices a closed socket as well.
        let _ = frame::write(&mut self.writer, b'X', &[]).and_then(|()| frame::flush(&mut self.writer));
    }
}

fn out_of_order() -> ClientError {
    ClientError::Protocol("the server sent SCRAM messages out of order".to_owned())
}

fn reply(message: &Message) -> Result<Option<Reply>, ClientError> {
    let mut fields = Fields::of(message);
    Ok(Some(match message.tag {
        b'T' => {
            let count = fields.u16()?;
            let column = |_| {
                let name = fields.text()?.to_owned();
                fields.skip(6)?;
                let type_oid = fields.u32()?;
                fields.skip(8)?;
                Ok(ResultColumn { name, type_oid })
            };
            Reply::Columns((0..count).map(column).collect::<Result<_, ClientError>>()?)
        }
        b'D' => {
            let count = fields.u16()?;
            Reply::Row((0..count).map(|_| fields.value()).collect::<Result<_, ClientError>>()?)
        }
        b'C' => Reply::Complete(fields.text()?.to_owned()),
        b'I' => Reply::Empty,
        b'N' => Reply::Notice(Box::new(server_error(message)?)),
        b'd' => Reply::CopyData(message.body.clone()),
        _ => return Ok(None),
    }))
}

fn server_error(message: &Message) -> Result<ServerError, ClientError> {
    let mut error = ServerError::default();
    let mut fields = Fields::of(message);
    loop {
        let kind = fields.u8()?;
        if kind == 0 {
            return Ok(error);
        }
        let text = fields.text()?.to_owned();
        match kind {
            b'S' => error.severity = text,
            b'C' => error.code = text,
            b'M' => error.message = text,
            b'D' => error.detail = Some(text),
            b'H' => error.hint = Some(text),
            b'P' => error.position = text.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
