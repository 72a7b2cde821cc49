//! One authenticated client: takes its messages one after another and writes the answers.
//!
//! All messages that have arrived are handled before anything is sent, so that a batch costs one receive and one send.
//! Sending earlier than the client asks for is allowed, so Flush has nothing to do.
//!
//! A COPY FROM STDIN turns the connection into a taker of data until it is done, given up or failed; what was to come
//! after it (the other statements of a simple query) waits in [`Copying`].

use std::io;
use std::rc::Rc;

use omen_core::env::Stream;
use omen_core::router::Router;
use omen_core::types::{Datum, PgType};
use omen_sql::error::{Severity, SqlError, SqlState};
use omen_sql::session::{
    CopyIn, CopyOut, Outcome, Prepared, RowBatch, RowStream, Scope, Session, Statement, Tag,
    TransactionStatus,
};
use omen_sql::types::{FormatOptions, binary, text};

use super::backend;
use super::extended::{Extended, skips_after_error};
use super::frontend::{self, Bind, Message, Parse, Target, invalid_utf8, kind, violation};
use super::input::Incoming;
use super::rows::{Formats, Limits, is_binary, write_batch, write_row};

/// Output is sent once there is this much of it.
pub(super) const OUT_BYTES_MAX: usize = 64 << 10;

/// An output buffer larger than this is given back once it is sent: one large value must not cost memory for ever.
const OUT_BYTES_KEPT: usize = 4 * OUT_BYTES_MAX;

/// Whether the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// More messages are welcome.
    Open,
    /// It is over; what is in the output is still to be sent.
    Close,
}

/// Why a message was not answered as it asks for.
enum Fault {
    /// The client is told.
    Statement(SqlError),
    /// The client is gone.
    Gone,
}

impl From<SqlError> for Fault {
    fn from(error: SqlError) -> Fault {
        Fault::Statement(error)
    }
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Fault {
        Fault::Gone
    }
}

/// A statement with its parameters.
struct Portal<R: Router> {
    prepared: Rc<Prepared>,
    params: Vec<Datum>,
    formats: Formats,
    state: PortalState<R>,
}

enum PortalState<R: Router> {
    Bound,
    /// An Execute has stopped at its limit of rows.
    Suspended(Running<R>),
    /// All rows were given: running it again gives none, and this tag.
    Exhausted(Tag),
    /// It has run or failed, and cannot run again.
    Finished,
}

/// A stream of rows, and the batch that is being sent.
struct Running<R: Router> {
    stream: RowStream<R>,
    batch: Option<arrow_array::RecordBatch>,
    /// First row of `batch` that was not sent.
    next_row: usize,
    /// Rows sent by all Executes.
    sent: u64,
}

/// A COPY FROM STDIN that takes data.
struct Copying<R: Router> {
    copy: CopyIn<R>,
    then: Then,
}

/// What comes after a COPY FROM STDIN.
enum Then {
    /// The other statements of the simple query.
    Simple(std::vec::IntoIter<Statement>, Scope),
    /// The next message of the extended protocol.
    Extended,
}

/// How a result's rows are written.
struct Shape<'a> {
    columns: &'a [omen_sql::session::ColumnInfo],
    formats: &'a Formats,
    options: FormatOptions,
}

/// A client.
pub(super) struct Connection<S, R: Router> {
    stream: Rc<S>,
    session: Session<R>,
    extended: Extended<Rc<Prepared>, Portal<R>>,
    copying: Option<Copying<R>>,
    out: Vec<u8>,
    /// Reused from message to message.
    oids: Vec<u32>,
    params: Vec<Datum>,
}

impl<S: Stream, R: Router> Connection<S, R> {
    /// A client whose session has begun; `out` holds what was not sent yet.
    pub(super) fn new(stream: Rc<S>, session: Session<R>, out: Vec<u8>) -> Connection<S, R> {
        let (oids, params) = (Vec::new(), Vec::new());
        Connection { stream, session, extended: Extended::default(), copying: None, out, oids, params }
    }

    /// Whether a COPY FROM STDIN waits for data.
    pub(super) fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    /// Sends what is waiting.
    ///
    /// # Errors
    /// If the client is gone.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        flush(&mut self.out, &*self.stream).await
    }

    /// Tells the client why the connection ends.
    pub(super) fn end(&mut self, error: SqlError) {
        backend::error(&mut self.out, &error.severity(Severity::Fatal));
    }

    /// Handles one message.
    pub(super) async fn handle(&mut self, incoming: Incoming<'_>) -> Flow {
        let handled = if self.copying.is_some() {
            self.take_copy_message(incoming).await
        } else if self.extended.admits(incoming.kind) {
            self.take_message(incoming).await
        } else {
            return Flow::Open;
        };
        let flow = match handled {
            Ok(flow) => flow,
            Err(Fault::Gone) => return Flow::Close,
            Err(Fault::Statement(error)) => self.fail(&error, skips_after_error(incoming.kind)).await,
        };
        if self.out.len() >= OUT_BYTES_MAX && self.flush().await.is_err() { Flow::Close } else { flow }
    }

    async fn take_message(&mut self, incoming: Incoming<'_>) -> Result<Flow, Fault> {
        match frontend::decode(incoming.kind, incoming.body)? {
            Message::Bind(bind) => self.bind(&bind)?,
            Message::Execute(portal, rows_max) => {
                self.execute(portal, rows_max, incoming.sync_follows).await?;
            }
            Message::Sync => {
                self.extended.synced();
                self.finish(None).await;
            }
            Message::Describe(target, name) => self.describe(target, name)?,
            Message::Parse(parse) => self.parse(&parse).await?,
            Message::Query(sql) => self.query(sql).await?,
            Message::Close(target, name) => {
                match target {
                    Target::Statement if name.is_empty() => self.extended.set_statement(None),
                    Target::Statement => self.session.close_statement(name),
                    Target::Portal => self.extended.close_portal(name),
                }
                backend::close_complete(&mut self.out);
            }
            // Flush: see the head of this file. The others come from a client that has not yet seen its COPY fail.
            Message::Flush | Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => {}
            Message::FunctionCall => {
                let hint = "Call the function in a SELECT.";
                return Err(SqlError::unsupported("the function call message", hint).into());
            }
            Message::Password(_) => {
                return Err(violation("invalid frontend message type 112").severity(Severity::Fatal).into());
            }
            Message::Terminate => return Ok(Flow::Close),
        }
        Ok(Flow::Open)
    }

    /// Tells the client of a failed message and undoes what it did. In the extended protocol all messages up to Sync
    /// are skipped then; otherwise the server is ready for the next at once.
    async fn fail(&mut self, error: &SqlError, is_extended: bool) -> Flow {
        self.report(error).await;
        if error.severity == Severity::Fatal {
            return Flow::Close;
        }
        if is_extended {
            self.extended.skip();
        } else {
            self.finish(None).await;
        }
        Flow::Open
    }

    async fn report(&mut self, error: &SqlError) {
        self.session.fail().await;
        self.write_notices();
        backend::error(&mut self.out, error);
        self.drop_portals_outside_transaction();
    }

    fn write_notices(&mut self) {
        for notice in self.session.take_notices() {
            backend::error(&mut self.out, &notice);
        }
    }

    fn drop_portals_outside_transaction(&mut self) {
        if self.session.transaction_status() == TransactionStatus::Idle
            && let Some(portal) = self.extended.end_transaction()
        {
            self.params = portal.params;
        }
    }

    /// Ends the implicit transaction, and the answer with ReadyForQuery. `tag` is that of the last statement, which is
    /// done only if committing succeeds.
    async fn finish(&mut self, tag: Option<Tag>) {
        match self.session.sync().await {
            Ok(()) => {
                self.write_notices();
                if let Some(tag) = tag {
                    backend::command_complete(&mut self.out, tag);
                }
            }
            Err(error) => self.report(&error).await,
        }
        self.drop_portals_outside_transaction();
        for (name, value) in self.session.take_changed_parameters() {
            backend::parameter_status(&mut self.out, name, value);
        }
        backend::ready_for_query(&mut self.out, self.session.transaction_status());
    }
}

/// The simple protocol.
impl<S: Stream, R: Router> Connection<S, R> {
    async fn query(&mut self, sql: &str) -> Result<(), Fault> {
        self.extended.forget_unnamed();
        let statements = self.session.split(sql).await?;
        if statements.is_empty() {
            backend::empty_query(&mut self.out);
        }
        let scope = if statements.len() == 1 { Scope::Alone } else { Scope::UntilSync };
        self.run_statements(statements.into_iter(), scope, None).await
    }

    /// Runs what is left of a simple query. `tag` is that of the statement before, whose CommandComplete is still to be
    /// written.
    async fn run_statements(
        &mut self,
        mut statements: std::vec::IntoIter<Statement>,
        scope: Scope,
        mut tag: Option<Tag>,
    ) -> Result<(), Fault> {
        while let Some(statement) = statements.next() {
            if let Some(tag) = tag.take() {
                backend::command_complete(&mut self.out, tag);
            }
            match self.run_statement(&statement, scope).await? {
                Ran::Done(done) => tag = done,
                Ran::TakesData(copy) => {
                    self.copying = Some(Copying { copy, then: Then::Simple(statements, scope) });
                    return Ok(());
                }
            }
        }
        self.finish(tag).await;
        Ok(())
    }

    async fn run_statement(&mut self, statement: &Statement, scope: Scope) -> Result<Ran<R>, Fault> {
        let prepared = self.session.prepare(statement, &[]).await?;
        let outcome = self.session.execute(&prepared, &[], scope).await?;
        self.write_notices();
        Ok(match outcome {
            Outcome::Done(tag) => Ran::Done(Some(tag)),
            Outcome::Empty => {
                backend::empty_query(&mut self.out);
                Ran::Done(None)
            }
            Outcome::Rows(stream) => {
                let columns = prepared.columns().unwrap_or_default();
                let shape =
                    Shape { columns, formats: &Formats::Text, options: *self.session.settings().format() };
                backend::row_description(&mut self.out, columns, |_| false);
                let mut running = Running::new(stream);
                send_rows(&mut self.out, &*self.stream, &mut running, &shape, usize::MAX).await?;
                self.write_notices();
                Ran::Done(Some(running.stream.tag()))
            }
            Outcome::CopyIn(copy) => {
                backend::copy_in_response(&mut self.out, copy.column_count());
                Ran::TakesData(copy)
            }
            Outcome::CopyOut(copy) => Ran::Done(Some(send_copy(&mut self.out, &*self.stream, copy).await?)),
        })
    }
}

/// What a statement of a simple query came to.
enum Ran<R: Router> {
    Done(Option<Tag>),
    TakesData(CopyIn<R>),
}

/// COPY FROM STDIN.
impl<S: Stream, R: Router> Connection<S, R> {
    async fn take_copy_message(&mut self, incoming: Incoming<'_>) -> Result<Flow, Fault> {
        let taken = match (incoming.kind, &mut self.copying) {
            (kind::COPY_DATA, Some(copying)) => match copying.copy.data(incoming.body).await {
                Ok(()) => return Ok(Flow::Open),
                Err(error) => Err(error),
            },
            // Clients may send these before they know that the statement is a COPY.
            (kind::FLUSH | kind::SYNC, _) => return Ok(Flow::Open),
            (kind::TERMINATE, _) => return Ok(Flow::Close),
            (kind::COPY_DONE, _) => Ok(()),
            (_, Some(copying)) => Err(copying.copy.locate(copy_error(incoming))),
            (_, None) => Err(copy_error(incoming)),
        };
        let Some(Copying { copy, then }) = self.copying.take() else { return Ok(Flow::Open) };
        let finished = match taken {
            Ok(()) => copy.finish().await,
            Err(error) => {
                drop(copy);
                Err(error)
            }
        };
        match (finished, then) {
            (Ok(tag), Then::Simple(statements, scope)) => {
                self.write_notices();
                let ran = self.run_statements(statements, scope, Some(tag)).await;
                match ran {
                    Err(Fault::Statement(error)) => Ok(self.fail(&error, false).await),
                    other => other.map(|()| Flow::Open),
                }
            }
            (Ok(tag), Then::Extended) => {
                self.write_notices();
                backend::command_complete(&mut self.out, tag);
                Ok(Flow::Open)
            }
            (Err(error), then) => Ok(self.fail(&error, matches!(then, Then::Extended)).await),
        }
    }
}

/// Why a message other than data ends a COPY FROM STDIN.
fn copy_error(incoming: Incoming<'_>) -> SqlError {
    if incoming.kind != kind::COPY_FAIL {
        let message = format!("unexpected message type 0x{:02X} during COPY from stdin", incoming.kind);
        return violation(message);
    }
    match frontend::decode(incoming.kind, incoming.body) {
        Ok(Message::CopyFail(reason)) => {
            SqlError::new(SqlState::QUERY_CANCELED, format!("COPY from stdin failed: {reason}"))
        }
        Ok(_) => violation("invalid message format"),
        Err(error) => error,
    }
}

/// The extended protocol.
impl<S: Stream, R: Router> Connection<S, R> {
    async fn parse(&mut self, parse: &Parse<'_>) -> Result<(), SqlError> {
        let is_named = !parse.statement.is_empty();
        if !is_named {
            self.extended.set_statement(None);
        }
        self.oids.clear();
        self.oids.extend(parse.parameter_oids());
        let prepared = self.session.parse(parse.query, &self.oids).await?;
        if is_named {
            self.session.store_statement(parse.statement, prepared)?;
        } else {
            self.extended.set_statement(Some(prepared));
        }
        self.write_notices();
        backend::parse_complete(&mut self.out);
        Ok(())
    }

    fn bind(&mut self, bind: &Bind<'_>) -> Result<(), SqlError> {
        let prepared = self.statement(bind.statement)?;
        let (given, formats) = (bind.parameters.count(), bind.parameter_formats.len());
        let expected = prepared.parameters().len();
        if formats > 1 && formats != given {
            let message = format!("bind message has {formats} parameter formats but {given} parameters");
            return Err(violation(message));
        }
        if given != expected {
            let message = format!(
                "bind message supplies {given} parameters, but prepared statement \"{}\" requires {expected}",
                bind.statement
            );
            return Err(violation(message));
        }
        if let Some(replaced) = self.extended.begin_portal(bind.portal)? {
            self.params = replaced.params;
        }
        let mut params = std::mem::take(&mut self.params);
        params.clear();
        for (index, (value, pg_type)) in bind.parameters.zip(prepared.parameters()).enumerate() {
            params.push(self.parameter(bind, index, *pg_type, value)?);
        }
        let formats = match prepared.columns() {
            Some(columns) => Formats::new(bind.result_formats, columns.len())?,
            None => Formats::Text,
        };
        self.extended
            .put_portal(bind.portal, Portal { prepared, params, formats, state: PortalState::Bound });
        backend::bind_complete(&mut self.out);
        Ok(())
    }

    #[inline]
    fn parameter(
        &self,
        bind: &Bind<'_>,
        index: usize,
        pg_type: PgType,
        value: Option<&[u8]>,
    ) -> Result<Datum, SqlError> {
        let code = bind.parameter_formats.get(index);
        let Some(bytes) = value else { return Ok(Datum::Null) };
        let read = is_binary(code).and_then(|is_binary| {
            if is_binary { Ok(binary::parse(pg_type, bytes)?) } else { self.text_parameter(pg_type, bytes) }
        });
        read.map_err(|error| parameter_context(error, bind.portal, index, code))
    }

    fn text_parameter(&self, pg_type: PgType, bytes: &[u8]) -> Result<Datum, SqlError> {
        let text = std::str::from_utf8(bytes).map_err(|e| invalid_utf8(bytes, e.valid_up_to()))?;
        if let Some(at) = memchr::memchr(0, bytes) {
            return Err(invalid_utf8(bytes, at));
        }
        let options = self.session.settings().format();
        Ok(match pg_type {
            // Only these know the word `now`.
            PgType::Date | PgType::Time | PgType::Timestamp | PgType::Timestamptz => {
                text::parse_at(pg_type, text, options, self.session.router().wall_clock_us())?
            }
            _ => text::parse(pg_type, text, options)?,
        })
    }

    /// The statement of a name, given by Parse or by PREPARE.
    #[inline]
    fn statement(&self, name: &str) -> Result<Rc<Prepared>, SqlError> {
        if name.is_empty() { self.extended.statement().cloned() } else { self.session.stored_statement(name) }
    }

    fn describe(&mut self, target: Target, name: &str) -> Result<(), SqlError> {
        let prepared;
        let (columns, formats) = match target {
            Target::Statement => {
                prepared = self.statement(name)?;
                backend::parameter_description(&mut self.out, prepared.parameters());
                (prepared.columns(), &Formats::Text)
            }
            Target::Portal => {
                let portal = self.extended.portal(name)?;
                (portal.prepared.columns(), &portal.formats)
            }
        };
        match columns {
            Some(columns) => {
                backend::row_description(&mut self.out, columns, |index| formats.is_binary(index))
            }
            None => backend::no_data(&mut self.out),
        }
        Ok(())
    }

    async fn execute(&mut self, name: &str, rows_max: u32, sync_follows: bool) -> Result<(), Fault> {
        let was_in_block = self.session.transaction_status() != TransactionStatus::Idle;
        let portal = self.extended.portal(name)?;
        let running = match std::mem::replace(&mut portal.state, PortalState::Finished) {
            PortalState::Bound => {
                let scope = if sync_follows { Scope::Alone } else { Scope::UntilSync };
                match self.session.execute(&portal.prepared, &portal.params, scope).await? {
                    Outcome::Rows(stream) => Running::new(stream),
                    other => return self.finish_execute(name, other, was_in_block).await,
                }
            }
            PortalState::Suspended(running) => {
                if self.session.transaction_status() == TransactionStatus::Failed {
                    return Err(failed_block().into());
                }
                running
            }
            PortalState::Exhausted(tag) => {
                portal.state = PortalState::Exhausted(tag);
                backend::command_complete(&mut self.out, tag);
                return Ok(());
            }
            PortalState::Finished => {
                let message = format!("portal \"{name}\" cannot be run");
                return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).into());
            }
        };
        self.send_portal(name, running, rows_max).await?;
        self.after_execute(was_in_block);
        Ok(())
    }

    /// Sends rows of a portal: all, or at most `rows_max` if that is not 0.
    async fn send_portal(&mut self, name: &str, mut running: Running<R>, rows_max: u32) -> Result<(), Fault> {
        let options = *self.session.settings().format();
        let portal = self.extended.portal(name)?;
        let columns = portal.prepared.columns().unwrap_or_default();
        let shape = Shape { columns, formats: &portal.formats, options };
        let limit = if rows_max == 0 { usize::MAX } else { rows_max as usize };
        let sent = send_rows(&mut self.out, &*self.stream, &mut running, &shape, limit).await?;
        running.sent += sent.rows;
        if sent.is_suspended {
            portal.state = PortalState::Suspended(running);
            backend::portal_suspended(&mut self.out);
            return Ok(());
        }
        let tag = running.stream.tag();
        // After a pause the tag tells what this Execute gave, as in PostgreSQL.
        let tag = if running.sent > sent.rows { with_rows(tag, sent.rows) } else { tag };
        portal.state = PortalState::Exhausted(with_rows(tag, 0));
        for notice in self.session.take_notices() {
            backend::error(&mut self.out, &notice);
        }
        backend::command_complete(&mut self.out, tag);
        Ok(())
    }

    /// Writes what a statement without rows came to.
    async fn finish_execute(
        &mut self,
        name: &str,
        outcome: Outcome<R>,
        was_in_block: bool,
    ) -> Result<(), Fault> {
        self.write_notices();
        match outcome {
            Outcome::Done(tag) => backend::command_complete(&mut self.out, tag),
            Outcome::Empty => {
                self.extended.portal(name)?.state = PortalState::Bound;
                backend::empty_query(&mut self.out);
            }
            Outcome::CopyIn(copy) => {
                backend::copy_in_response(&mut self.out, copy.column_count());
                self.copying = Some(Copying { copy, then: Then::Extended });
            }
            Outcome::CopyOut(copy) => {
                let tag = send_copy(&mut self.out, &*self.stream, copy).await?;
                backend::command_complete(&mut self.out, tag);
            }
            Outcome::Rows(_) => unreachable!("execute keeps rows for itself"),
        }
        self.after_execute(was_in_block);
        Ok(())
    }

    /// COMMIT and ROLLBACK end all portals at once, not only at Sync.
    #[inline]
    fn after_execute(&mut self, was_in_block: bool) {
        if was_in_block {
            self.drop_portals_outside_transaction();
        }
    }
}

impl<R: Router> Running<R> {
    fn new(stream: RowStream<R>) -> Running<R> {
        Running { stream, batch: None, next_row: 0, sent: 0 }
    }
}

/// 25P02
fn failed_block() -> SqlError {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    SqlError::new(SqlState::IN_FAILED_SQL_TRANSACTION, message)
}

/// The tag with another number of rows.
fn with_rows(tag: Tag, rows: u64) -> Tag {
    match tag {
        Tag::Insert(_) => Tag::Insert(rows),
        Tag::Update(_) => Tag::Update(rows),
        Tag::Delete(_) => Tag::Delete(rows),
        Tag::Select(_) => Tag::Select(rows),
        Tag::Copy(_) => Tag::Copy(rows),
        Tag::Word(word) => Tag::Word(word),
    }
}

/// Says which parameter could not be read, as PostgreSQL does.
#[cold]
fn parameter_context(mut error: SqlError, portal: &str, index: usize, code: u16) -> SqlError {
    let (number, state) = (index + 1, error.state);
    let portal = if portal.is_empty() { "unnamed portal".to_owned() } else { format!("portal \"{portal}\"") };
    // The value itself stays out of logs; text in the wrong encoding is no value yet.
    let has_value = code == 0 && state != SqlState::CHARACTER_NOT_IN_REPERTOIRE;
    let value = if has_value { " = '...'" } else { "" };
    error.context = Some(format!("{portal} parameter ${number}{value}"));
    if state == SqlState::INVALID_BINARY_REPRESENTATION && error.message == "incorrect binary data format" {
        error.message = format!("incorrect binary data format in bind parameter {number}");
    }
    error
}

/// What [`send_rows`] did.
struct Sent {
    rows: u64,
    /// It stopped at its limit; there may be more.
    is_suspended: bool,
}

/// Writes at most `rows_max` rows, sending whenever there is enough.
async fn send_rows<S: Stream, R: Router>(
    out: &mut Vec<u8>,
    stream: &S,
    running: &mut Running<R>,
    shape: &Shape<'_>,
    rows_max: usize,
) -> Result<Sent, Fault> {
    let mut rows = 0;
    loop {
        while let Some(batch) = &running.batch {
            let limits = Limits { rows_max: rows_max - rows, out_bytes_max: OUT_BYTES_MAX };
            let wrote = write_batch(
                out,
                batch,
                running.next_row,
                limits,
                shape.columns,
                shape.formats,
                &shape.options,
            );
            running.next_row += wrote;
            rows += wrote;
            if running.next_row == batch.num_rows() {
                running.batch = None;
            } else if rows == rows_max {
                break;
            } else {
                flush(out, stream).await?;
            }
        }
        if rows == rows_max {
            return Ok(Sent { rows: rows as u64, is_suspended: true });
        }
        match running.stream.next().await? {
            None => return Ok(Sent { rows: rows as u64, is_suspended: false }),
            Some(RowBatch::Row(row)) => {
                write_row(out, &row, shape.columns, shape.formats, &shape.options)?;
                rows += 1;
                if out.len() >= OUT_BYTES_MAX {
                    flush(out, stream).await?;
                }
            }
            Some(RowBatch::Arrow(batch)) => {
                running.next_row = 0;
                running.batch = Some(batch);
            }
        }
    }
}

/// Writes the data of a COPY TO STDOUT, one row in each message.
async fn send_copy<S: Stream, R: Router>(
    out: &mut Vec<u8>,
    stream: &S,
    mut copy: CopyOut<R>,
) -> Result<Tag, Fault> {
    backend::copy_out_response(out, copy.column_count());
    while let Some(rows) = copy.next().await? {
        let mut start = 0;
        for end in rows.ends {
            backend::copy_data(out, &rows.bytes[start..end]);
            start = end;
            if out.len() >= OUT_BYTES_MAX {
                flush(out, stream).await?;
            }
        }
    }
    backend::copy_done(out);
    Ok(copy.tag())
}

/// Sends what is in the buffer and empties it.
async fn flush<S: Stream>(out: &mut Vec<u8>, stream: &S) -> io::Result<()> {
    if !out.is_empty() {
        stream.send(out).await?;
        if out.capacity() > OUT_BYTES_KEPT {
            *out = Vec::new();
        }
    }
    Ok(())
}
