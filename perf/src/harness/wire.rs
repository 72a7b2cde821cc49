//! A client that costs little: it blocks, sends prepared statements with parameters as text, and looks at answers only as
//! far as it is asked to.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend::{self, BindError};

/// No statement of a workload takes so long, but for loads.
const REPLY_LIMIT: Duration = Duration::from_secs(600);

/// Where and as whom to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// The role.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<String>,
    /// The database.
    pub database: String,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The connection, or what came through it.
    Connection(String),
    /// The server reports an error: SQLSTATE and message.
    Server(String, String),
    /// An answer is not what it has to be.
    Wrong(String),
}

impl Error {
    /// Whether a transaction is to be tried again: it met another (40001), or a deadlock (40P01).
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Server(state, _) if state == "40001" || state == "40P01")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Connection(why) => write!(f, "connection: {why}"),
            Error::Server(state, message) => write!(f, "{state} {message}"),
            Error::Wrong(what) => write!(f, "wrong answer: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Connection(error.to_string())
    }
}

/// `Ok` or [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What a statement answers.
#[derive(Default)]
pub struct Answer {
    rows: Vec<DataRowBody>,
    /// What was done, such as `UPDATE 1`.
    pub tag: String,
}

impl Answer {
    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns of a row; 0 if there is no such row.
    pub fn column_count(&self, row: usize) -> usize {
        self.rows.get(row).map_or(0, |body| body.ranges().count().unwrap_or(0))
    }

    /// A value as text; `None` for NULL.
    ///
    /// # Errors
    /// If there is no such row or column.
    pub fn text(&self, row: usize, column: usize) -> Result<Option<&str>> {
        let absent = || Error::Wrong(format!("there is no value in row {row}, column {column}"));
        let body = self.rows.get(row).ok_or_else(absent)?;
        let range = body.ranges().nth(column)?.ok_or_else(absent)?;
        let Some(range) = range else { return Ok(None) };
        let text = std::str::from_utf8(&body.buffer()[range]);
        text.map(Some).map_err(|_| Error::Wrong("a text that is not UTF-8".to_owned()))
    }

    /// A number that is not NULL.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number(&self, row: usize, column: usize) -> Result<i64> {
        let text = self.text(row, column)?;
        let number = text.and_then(|text| text.parse().ok());
        number.ok_or_else(|| Error::Wrong(format!("{text:?} is not a whole number")))
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    received: BytesMut,
    out: BytesMut,
}

impl Client {
    /// Connects; TLS is not asked for.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub fn connect(target: &Target) -> Result<Client> {
        let stream = TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        let mut client = Client { stream, received: BytesMut::new(), out: BytesMut::new() };
        let options = [
            ("user", target.user.as_str()),
            ("database", target.database.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", "omendb-perf"),
        ];
        frontend::startup_message(options, &mut client.out)?;
        client.send()?;
        client.authenticate(target)?;
        loop {
            match client.message()? {
                Message::ReadyForQuery(_) => return Ok(client),
                Message::ErrorResponse(body) => return Err(server_error(&body)?),
                _ => {}
            }
        }
    }

    fn authenticate(&mut self, target: &Target) -> Result<()> {
        let password = || {
            let none = || Error::Connection("the server asks for a password".to_owned());
            target.password.as_deref().ok_or_else(none)
        };
        match self.message()? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(password()?.as_bytes(), &mut self.out)?;
                self.send()?;
            }
            Message::AuthenticationSasl(body) => {
                let mechanisms: Vec<_> = body.mechanisms().map(|name| Ok(name.to_owned())).collect()?;
                if !mechanisms.iter().any(|name| name == SCRAM_SHA_256) {
                    return Err(Error::Connection(format!("unknown authentication {mechanisms:?}")));
                }
                self.scram(password()?)?;
            }
            Message::ErrorResponse(body) => return Err(server_error(&body)?),
            _ => return Err(Error::Connection("unknown authentication".to_owned())),
        }
        match self.message()? {
            Message::AuthenticationOk => Ok(()),
            Message::ErrorResponse(body) => Err(server_error(&body)?),
            _ => Err(Error::Connection("authentication does not end".to_owned())),
        }
    }

    /// SCRAM-SHA-256 (RFC 7677).
    fn scram(&mut self, password: &str) -> Result<()> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.out)?;
        self.send()?;
        match self.message()? {
            Message::AuthenticationSaslContinue(body) => scram.update(body.data())?,
            Message::ErrorResponse(body) => return Err(server_error(&body)?),
            _ => return Err(Error::Connection("SCRAM does not go on".to_owned())),
        }
        frontend::sasl_response(scram.message(), &mut self.out)?;
        self.send()?;
        match self.message()? {
            Message::AuthenticationSaslFinal(body) => Ok(scram.finish(body.data())?),
            Message::ErrorResponse(body) => Err(server_error(&body)?),
            _ => Err(Error::Connection("SCRAM does not end".to_owned())),
        }
    }

    /// Runs statements by the simple protocol; the answer has the rows of all.
    ///
    /// # Errors
    /// What the server reports.
    pub fn query(&mut self, sql: &str) -> Result<Answer> {
        frontend::query(sql, &mut self.out)?;
        self.send()?;
        self.answer()
    }

    /// Prepares a statement under a name.
    ///
    /// # Errors
    /// What the server reports.
    pub fn prepare(&mut self, name: &str, sql: &str) -> Result<()> {
        frontend::parse(name, sql, [], &mut self.out)?;
        frontend::sync(&mut self.out);
        self.send()?;
        self.answer().map(drop)
    }

    /// Runs a prepared statement with parameters as text.
    ///
    /// # Errors
    /// What the server reports.
    pub fn run(&mut self, name: &str, params: &[&str]) -> Result<Answer> {
        let write = |param: &&str, out: &mut BytesMut| {
            out.extend_from_slice(param.as_bytes());
            Ok(postgres_protocol::IsNull::No)
        };
        let bound = frontend::bind("", name, [], params, write, [], &mut self.out);
        bound.map_err(|error| match error {
            BindError::Conversion(error) => Error::Connection(error.to_string()),
            BindError::Serialization(error) => error.into(),
        })?;
        frontend::execute("", 0, &mut self.out)?;
        frontend::sync(&mut self.out);
        self.send()?;
        self.answer()
    }

    /// Sends lines to a COPY .. FROM STDIN; answers how many rows it took.
    ///
    /// # Errors
    /// What the server reports.
    pub fn copy(&mut self, sql: &str, lines: impl Iterator<Item = String>) -> Result<u64> {
        frontend::query(sql, &mut self.out)?;
        self.send()?;
        match self.message()? {
            Message::CopyInResponse(_) => {}
            Message::ErrorResponse(body) => {
                let error = server_error(&body)?;
                let _ = self.answer();
                return Err(error);
            }
            _ => return Err(Error::Connection("COPY does not begin".to_owned())),
        }
        const PART_BYTES: usize = 64 << 10;
        let mut part = Vec::with_capacity(2 * PART_BYTES);
        for line in lines {
            part.extend_from_slice(line.as_bytes());
            part.push(b'\n');
            if part.len() >= PART_BYTES {
                frontend::CopyData::new(&part[..])?.write(&mut self.out);
                self.send()?;
                part.clear();
            }
        }
        frontend::CopyData::new(&part[..])?.write(&mut self.out);
        frontend::copy_done(&mut self.out);
        self.send()?;
        let tag = self.answer()?.tag;
        let count = tag.strip_prefix("COPY ").and_then(|count| count.parse().ok());
        count.ok_or_else(|| Error::Wrong(format!("COPY answers {tag:?}")))
    }

    fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn message(&mut self) -> Result<Message> {
        const CHUNK_BYTES: usize = 16 << 10;
        loop {
            if let Some(message) = Message::parse(&mut self.received)? {
                return Ok(message);
            }
            let filled = self.received.len();
            self.received.resize(filled + CHUNK_BYTES, 0);
            let read = self.stream.read(&mut self.received[filled..])?;
            self.received.truncate(filled + read);
            if read == 0 {
                return Err(Error::Connection("the server closed the connection".to_owned()));
            }
        }
    }

    /// All up to the next ReadyForQuery.
    fn answer(&mut self) -> Result<Answer> {
        let (mut answer, mut failed) = (Answer::default(), None);
        loop {
            match self.message()? {
                Message::DataRow(row) => answer.rows.push(row),
                Message::CommandComplete(body) => answer.tag = body.tag()?.to_owned(),
                Message::ErrorResponse(body) => failed = Some(server_error(&body)?),
                Message::ReadyForQuery(_) => return failed.map_or(Ok(answer), Err),
                _ => {}
            }
        }
    }
}

fn server_error(body: &postgres_protocol::message::backend::ErrorResponseBody) -> Result<Error> {
    let (mut state, mut message) = (String::new(), String::new());
    let mut fields = body.fields();
    while let Some(field) = fields.next()? {
        let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => state = value(),
            b'M' => message = value(),
            _ => {}
        }
    }
    Ok(Error::Server(state, message))
}
