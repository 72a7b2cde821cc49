//! Accepts connections on one core, and lets them end when the server stops.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt;
use omen_core::env::{Env, Listener, Stream};
use omen_core::router::{CancelFlag, Router, SessionId};
use omen_sql::error::{Severity, SqlError, SqlState};
use omen_sql::session::Session;

use super::backend;
use super::config::{Place, ServerConfig};
use super::connection::{Connection, Flow};
use super::handshake::{Handshake, Progress};
use super::input::Input;
use super::scram::{NONCE_BYTES, derive};
use super::shutdown::Shutdown;
use super::startup::Startup;

/// Messages handled before other tasks have their turn.
const MESSAGES_PER_TURN: u32 = 128;

/// Pause after the system could not accept a connection, for lack of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a stopping server looks whether its connections have ended.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// How long cancelled statements may take to stop before their connections are cut.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// How long a connection that is over is still read from, and how much: were it closed with bytes unread, the system
/// would take back what the client was told last.
const LINGER_TIME: Duration = Duration::from_millis(250);
const LINGER_BYTES_MAX: usize = 16 << 20;

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Handshake,
    /// Waits for the client's next message.
    Idle,
    Busy,
    /// Has been told that the server stops; must not run anything any more.
    Ended,
}

/// What the server knows of a connection.
struct Control<S> {
    stream: Rc<S>,
    phase: Cell<Phase>,
    accepted_ns: u64,
    cancel: OnceCell<CancelFlag>,
}

/// The server of one core.
struct Server<E: Env, R> {
    env: E,
    router: R,
    config: Arc<ServerConfig>,
    shutdown: Shutdown,
    connections: RefCell<BTreeMap<u64, Rc<Control<E::Stream>>>>,
    number_last: Cell<u64>,
    /// Whether the task that ends slow handshakes runs.
    is_sweeping: Cell<bool>,
}

/// Serves clients on one core until `shutdown` begins, then lets running statements finish for
/// [`ServerConfig::drain_time`] and ends all connections. Several cores serve the same address, each with its own listener.
pub async fn serve<E: Env, R: Router>(
    env: E,
    router: R,
    listener: E::Listener,
    config: Arc<ServerConfig>,
    shutdown: Shutdown,
) {
    let server = Rc::new(Server {
        env: env.clone(),
        router,
        config,
        shutdown: shutdown.clone(),
        connections: RefCell::default(),
        number_last: Cell::new(0),
        is_sweeping: Cell::new(false),
    });
    env.spawn(Rc::clone(&server).accept(listener));
    shutdown.wait().await;
    server.drain().await;
}

impl<E: Env, R: Router> Server<E, R> {
    /// Accepts for as long as the core lives. Once the server stops, clients are told so.
    async fn accept(self: Rc<Self>, listener: E::Listener) {
        loop {
            let Ok(stream) = listener.accept().await else {
                self.env.sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Clients that are not authenticated yet count for themselves, so that the rest can still be told.
            let most = 2 * self.config.connections_max as usize + 16;
            if self.connections.borrow().len() >= most {
                continue;
            }
            let number = self.number_last.get() + 1;
            self.number_last.set(number);
            let control = Rc::new(Control {
                stream: Rc::new(stream),
                phase: Cell::new(Phase::Handshake),
                accepted_ns: self.env.monotonic_ns(),
                cancel: OnceCell::new(),
            });
            self.connections.borrow_mut().insert(number, Rc::clone(&control));
            self.sweep();
            self.env.spawn(Rc::clone(&self).connection(number, control));
        }
    }

    /// Serves one connection. A panic ends this connection alone: what it held is dropped, its transaction rolled back.
    async fn connection(self: Rc<Self>, number: u64, control: Rc<Control<E::Stream>>) {
        let served = AssertUnwindSafe(self.serve_client(number, &control)).catch_unwind().await;
        if served.is_err() {
            let error = SqlError::new(SqlState::INTERNAL_ERROR, "internal error: the session has ended");
            self.send_last(&control, error).await;
        }
        control.stream.shutdown();
        self.connections.borrow_mut().remove(&number);
    }

    async fn send_last(&self, control: &Control<E::Stream>, error: SqlError) {
        let mut out = Vec::new();
        backend::error(&mut out, &error.severity(Severity::Fatal));
        // The client may be gone; the connection ends either way.
        let _ = control.stream.send(&mut out).await;
    }

    /// Reads and forgets what a client still sends that was told that its connection is over.
    async fn linger(&self, control: &Control<E::Stream>) {
        let discard = async {
            let (mut bytes, mut buffer) = (0, Vec::new());
            while let Ok(received @ 1..) = control.stream.receive(&mut buffer).await {
                bytes += received;
                if bytes > LINGER_BYTES_MAX {
                    return;
                }
                buffer.clear();
            }
        };
        discard.or(self.env.sleep(LINGER_TIME)).await;
    }

    async fn serve_client(&self, number: u64, control: &Control<E::Stream>) {
        let mut input = Input::default();
        let mut out = Vec::new();
        let random = derive(self.config.secret(), [u64::from(self.router.core().0), number]);
        let admitted = self.handshake(control, random, &mut input, &mut out).await;
        if let Some(startup) = admitted {
            match self.begin_session(&startup, random, control, &mut out) {
                Ok((session, held)) => {
                    let mut connection = Connection::new(Rc::clone(&control.stream), session, out);
                    self.serve_session(&mut connection, &mut input, control, &held).await;
                    return;
                }
                Err(error) => backend::error(&mut out, &error.severity(Severity::Fatal)),
            }
        }
        if !out.is_empty() && control.stream.send(&mut out).await.is_ok() {
            self.linger(control).await;
        }
    }

    /// Authenticates the client. `None` if it is not admitted; what it is told is in `out`.
    async fn handshake(
        &self,
        control: &Control<E::Stream>,
        random: [u8; 32],
        input: &mut Input,
        out: &mut Vec<u8>,
    ) -> Option<Startup> {
        let peer =
            control.stream.peer_address().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        let nonce = *random.first_chunk::<NONCE_BYTES>().expect("32 bytes are more than 18");
        let mut handshake = Handshake::new(Arc::clone(&self.config), peer, nonce);
        loop {
            match handshake.step(input.unread(), out) {
                Progress::NeedsMore => {
                    if !out.is_empty() {
                        control.stream.send(out).await.ok()?;
                    }
                    if input.receive(&*control.stream).await.ok()? == 0 {
                        return None;
                    }
                }
                Progress::Consumed(bytes) => input.consume(bytes),
                Progress::Cancel { pid, secret } => {
                    self.router.cancel_session(SessionId(pid), secret);
                    return None;
                }
                Progress::Admitted { consumed, startup } => {
                    input.consume(consumed);
                    return Some(startup);
                }
                Progress::Refused => return None,
            }
        }
    }

    /// Makes the session of an authenticated client and tells it so.
    fn begin_session(
        &self,
        startup: &Startup,
        random: [u8; 32],
        control: &Control<E::Stream>,
        out: &mut Vec<u8>,
    ) -> Result<(Session<R>, Held<R>), SqlError> {
        if self.shutdown.has_begun() {
            return Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down"));
        }
        let place = ServerConfig::take_place(&self.config).ok_or_else(|| {
            SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
        })?;
        let [.., s0, s1, s2, s3] = random;
        let secret = u32::from_be_bytes([s0, s1, s2, s3]);
        let (id, cancel) = self.router.register_session(secret);
        let held = Held { router: self.router.clone(), id, cancel: Rc::clone(&cancel), _place: place };
        let mut session =
            Session::new(self.router.clone(), &startup.user, &startup.database, Rc::clone(&cancel));
        session.set_id(id);
        // Set once, here.
        let _ = control.cancel.set(cancel);
        for (name, value) in &startup.settings {
            session.set_startup_parameter(name, value)?;
        }
        for (name, value) in session.reported_parameters() {
            backend::parameter_status(out, name, value);
        }
        backend::backend_key_data(out, id.0, secret);
        for notice in session.take_notices() {
            backend::error(out, &notice);
        }
        backend::ready_for_query(out, session.transaction_status());
        Ok((session, held))
    }

    /// Handles the messages of a client until it leaves or the server stops.
    async fn serve_session(
        &self,
        connection: &mut Connection<E::Stream, R>,
        input: &mut Input,
        control: &Control<E::Stream>,
        held: &Held<R>,
    ) {
        control.phase.set(Phase::Busy);
        let mut handled = 0;
        loop {
            let flow = match input.message() {
                Ok(Some(incoming)) => connection.handle(incoming).await,
                Ok(None) => {
                    if !self.receive(connection, input, control, held).await {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    connection.end(error);
                    if connection.flush().await.is_ok() {
                        self.linger(control).await;
                    }
                    return;
                }
            };
            if flow == Flow::Close {
                // The client may be gone; the connection ends either way.
                let _ = connection.flush().await;
                return;
            }
            handled += 1;
            if handled % MESSAGES_PER_TURN == 0 {
                self.env.yield_now().await;
            }
        }
    }

    /// Sends what is waiting and waits for more; false if the connection is over.
    async fn receive(
        &self,
        connection: &mut Connection<E::Stream, R>,
        input: &mut Input,
        control: &Control<E::Stream>,
        held: &Held<R>,
    ) -> bool {
        if connection.flush().await.is_err() {
            return false;
        }
        if self.shutdown.has_begun() && !connection.is_copying() {
            self.send_last(control, stopping()).await;
            return false;
        }
        if connection.is_copying() {
            return matches!(input.receive(&*control.stream).await, Ok(1..));
        }
        control.phase.set(Phase::Idle);
        let received = input.receive(&*control.stream).await;
        if control.phase.get() == Phase::Ended {
            return false;
        }
        control.phase.set(Phase::Busy);
        // A cancel request that came while nothing was running is about nothing.
        held.cancel.set(false);
        matches!(received, Ok(1..))
    }

    /// Runs the task that ends handshakes which take too long, unless it runs already.
    fn sweep(self: &Rc<Self>) {
        if self.is_sweeping.replace(true) {
            return;
        }
        let server = Rc::clone(self);
        self.env.spawn(async move {
            let limit_ns = u64::try_from(server.config.authentication_time.as_nanos()).unwrap_or(u64::MAX);
            loop {
                server.env.sleep(server.config.authentication_time / 4).await;
                let now_ns = server.env.monotonic_ns();
                let mut waiting = 0;
                for control in server.connections.borrow().values() {
                    if control.phase.get() != Phase::Handshake {
                        continue;
                    }
                    if now_ns.saturating_sub(control.accepted_ns) > limit_ns {
                        control.stream.shutdown();
                    } else {
                        waiting += 1;
                    }
                }
                if waiting == 0 {
                    server.is_sweeping.set(false);
                    return;
                }
            }
        });
    }

    /// Ends all connections: idle ones now, busy ones after their statement, or when the time is over.
    async fn drain(self: Rc<Self>) {
        for control in self.connections.borrow().values() {
            match control.phase.get() {
                Phase::Handshake => control.stream.shutdown(),
                Phase::Idle => {
                    control.phase.set(Phase::Ended);
                    let (server, control) = (Rc::clone(&self), Rc::clone(control));
                    self.env.spawn(async move {
                        server.send_last(&control, stopping()).await;
                        control.stream.shutdown();
                    });
                }
                Phase::Busy | Phase::Ended => {}
            }
        }
        if self.wait_for_end(self.config.drain_time).await {
            return;
        }
        for control in self.connections.borrow().values() {
            if let Some(cancel) = control.cancel.get() {
                cancel.set(true);
            }
        }
        if self.wait_for_end(CANCEL_TIME).await {
            return;
        }
        self.connections.borrow().values().for_each(|control| control.stream.shutdown());
        self.wait_for_end(CANCEL_TIME).await;
    }

    /// Waits until no connection is left; false if the time is over first.
    async fn wait_for_end(&self, time: Duration) -> bool {
        let start_ns = self.env.monotonic_ns();
        loop {
            if self.connections.borrow().is_empty() {
                return true;
            }
            if u128::from(self.env.monotonic_ns() - start_ns) >= time.as_nanos() {
                return false;
            }
            self.env.sleep(DRAIN_STEP).await;
        }
    }
}

fn stopping() -> SqlError {
    SqlError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// What a session holds of the server, given back when dropped.
struct Held<R: Router> {
    router: R,
    id: SessionId,
    cancel: CancelFlag,
    _place: Place,
}

impl<R: Router> Drop for Held<R> {
    fn drop(&mut self) {
        self.router.unregister_session(self.id);
    }
}
