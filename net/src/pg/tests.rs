//! Whole connections over the simulated network, with a router that holds no data.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use omen_core::catalog::Catalog;
use omen_core::clock::Timestamp;
use omen_core::env::sim::{NodeId, Sim, SimEnv, SimStream};
use omen_core::env::{Env, Stream};
use omen_core::error::{Error, Result};
use omen_core::id::{CoreId, TableId, TxnId};
use omen_core::key::Key;
use omen_core::router::{CancelFlag, CatalogChange, Cursor, ReadView, Router, Scan, SessionId, Transaction};
use omen_core::row::Row;
use omen_core::write_batch::WriteBatch;

use super::hba::Rules;
use super::{ServerConfig, Shutdown, serve};

const SERVER: NodeId = NodeId(1);
const CLIENT: NodeId = NodeId(2);
const PORT: u16 = 5_442;

/// Sessions that exist, with their secrets.
#[derive(Clone, Default)]
struct Empty(Rc<RefCell<BTreeMap<u32, (u32, CancelFlag)>>>);

struct Nothing;

impl Transaction for Nothing {
    fn view(&self) -> ReadView {
        ReadView { snapshot: Timestamp::MAX, txn: TxnId(0) }
    }
    fn refresh(&mut self) {}
    fn has_written(&self) -> bool {
        false
    }
}

impl Cursor for Nothing {
    async fn next(&mut self) -> Result<Option<Vec<arrow_array::RecordBatch>>> {
        Ok(None)
    }
}

impl Router for Empty {
    type Txn = Nothing;
    type Cursor = Nothing;
    fn catalog(&self) -> Arc<Catalog> {
        Arc::new(Catalog::default())
    }
    fn core(&self) -> CoreId {
        CoreId(0)
    }
    fn core_count(&self) -> u16 {
        1
    }
    fn wall_clock_us(&self) -> i64 {
        0
    }
    fn monotonic_us(&self) -> u64 {
        0
    }
    fn random_u64(&self) -> u64 {
        0
    }
    fn row_ids(&self, _table: TableId, _count: u32) -> i64 {
        0
    }
    fn begin(&self) -> Nothing {
        Nothing
    }
    async fn get(
        &self,
        _table: TableId,
        _view: ReadView,
        _key: Key,
        _columns: Arc<[usize]>,
    ) -> Result<Option<Row>> {
        Ok(None)
    }
    async fn get_many(&self, _table: TableId, _view: ReadView, keys: Vec<Key>) -> Result<Vec<Option<Row>>> {
        Ok(vec![None; keys.len()])
    }
    fn scan(&self, _scan: Scan) -> Result<Nothing> {
        Ok(Nothing)
    }
    async fn write(&self, _txn: &mut Nothing, _table: TableId, _writes: WriteBatch) -> Result<()> {
        Err(Error::Busy)
    }
    async fn commit(&self, _txn: Nothing) -> Result<()> {
        Ok(())
    }
    async fn write_and_commit(&self, _txn: Nothing, _table: TableId, _writes: WriteBatch) -> Result<()> {
        Err(Error::Busy)
    }
    async fn rollback(&self, _txn: Nothing) {}
    async fn change_catalog(&self, _change: CatalogChange) -> Result<TableId> {
        Err(Error::Busy)
    }
    async fn checkpoint(&self) -> Result<()> {
        Ok(())
    }
    async fn vacuum(&self, _table: Option<TableId>) -> Result<()> {
        Ok(())
    }
    async fn relation_size_bytes(&self, _table: TableId) -> Result<u64> {
        Ok(0)
    }
    fn register_session(&self, secret: u32) -> (SessionId, CancelFlag) {
        let mut sessions = self.0.borrow_mut();
        let id = sessions.keys().next_back().map_or(1, |last| last + 1);
        let flag = CancelFlag::new(Cell::new(false));
        sessions.insert(id, (secret, Rc::clone(&flag)));
        (SessionId(id), flag)
    }
    fn unregister_session(&self, id: SessionId) {
        self.0.borrow_mut().remove(&id.0);
    }
    fn cancel_session(&self, id: SessionId, secret: u32) {
        if let Some((_, flag)) = self.0.borrow().get(&id.0).filter(|(right, _)| *right == secret) {
            flag.set(true);
        }
    }
}

/// A running server and what a test needs of it.
struct World {
    sim: Sim,
    router: Empty,
    shutdown: Shutdown,
    has_ended: Rc<Cell<bool>>,
}

fn world(configure: impl FnOnce(&mut ServerConfig)) -> World {
    let sim = Sim::new(7);
    let env = sim.core(SERVER, CoreId(0));
    let mut config = ServerConfig::new([9; 32]);
    config.rules = Rules::parse("host all all all trust").expect("valid");
    configure(&mut config);
    let listener = env.listen(sim.address(SERVER, PORT)).expect("a free port");
    let (router, shutdown) = (Empty::default(), Shutdown::default());
    let has_ended = Rc::new(Cell::new(false));
    let served = serve(env.clone(), router.clone(), listener, Arc::new(config), shutdown.clone());
    let ended = Rc::clone(&has_ended);
    env.spawn(async move {
        served.await;
        ended.set(true);
    });
    World { sim, router, shutdown, has_ended }
}

/// Runs a client against a server.
fn run<F: Future<Output = ()>>(
    configure: impl FnOnce(&mut ServerConfig),
    test: impl FnOnce(Rc<World>, SimEnv) -> F,
) {
    let world = Rc::new(world(configure));
    let env = world.sim.core(CLIENT, CoreId(0));
    let sim = world.sim.clone();
    sim.run(test(world, env));
}

struct Client {
    stream: SimStream,
    received: Vec<u8>,
}

impl Client {
    async fn open(world: &World, env: &SimEnv) -> Client {
        let stream = env.connect(world.sim.address(SERVER, PORT)).await.expect("listening");
        Client { stream, received: Vec::new() }
    }

    /// Connects as `omen`; answers all messages up to ReadyForQuery, or up to the end.
    async fn connect(world: &World, env: &SimEnv) -> (Client, Vec<(u8, Vec<u8>)>) {
        let mut client = Client::open(world, env).await;
        client.send(&startup("user\0omen\0application_name\0me\0\0")).await;
        let messages = client.until_ready().await;
        (client, messages)
    }

    async fn send(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        // The server may have closed already.
        let _ = self.stream.send(&mut bytes).await;
    }

    /// The next message; `None` if the server has closed.
    async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(header) = self.received.first_chunk::<5>() {
                let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
                if self.received.len() > length {
                    let rest = self.received.split_off(length + 1);
                    let message = std::mem::replace(&mut self.received, rest);
                    return Some((message[0], message[5..].to_vec()));
                }
            }
            if !matches!(self.stream.receive(&mut self.received).await, Ok(1..)) {
                return None;
            }
        }
    }

    async fn until_ready(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            let is_ready = message.0 == b'Z';
            messages.push(message);
            if is_ready {
                break;
            }
        }
        messages
    }

    /// Kinds of all messages up to ReadyForQuery or the end, SQLSTATEs for errors.
    async fn summary(&mut self) -> String {
        let messages = self.until_ready().await;
        let words: Vec<String> = messages.iter().map(|(kind, body)| summarize(*kind, body)).collect();
        words.join(" ")
    }
}

fn summarize(kind: u8, body: &[u8]) -> String {
    if kind != b'E' {
        return char::from(kind).to_string();
    }
    let fields: Vec<_> = body.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let field = |code: char| fields.iter().find_map(|field| field.strip_prefix(code)).unwrap_or_default();
    format!("{}:{}", field('S'), field('C'))
}

fn startup(body: &str) -> Vec<u8> {
    packet(196_608, body.as_bytes())
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + body.len()).expect("short");
    [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).expect("short");
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

#[test]
fn a_client_is_greeted() {
    run(
        |_| {},
        |world, env| async move {
            let mut client = Client::open(&world, &env).await;
            client.send(&packet(80_877_103, b"")).await;
            client.stream.receive(&mut client.received).await.expect("an answer");
            assert_eq!(client.received, b"N");
            client.received.clear();
            client.send(&startup("user\0omen\0\0")).await;
            let messages = client.until_ready().await;
            assert_eq!(messages.first(), Some(&(b'R', vec![0; 4])), "AuthenticationOk");
            assert_eq!(messages.last(), Some(&(b'Z', b"I".to_vec())));
            assert!(messages.iter().any(|(kind, body)| *kind == b'K' && body.len() == 8));
            client.send(&message(b'X', b"")).await;
            assert_eq!(client.message().await, None);
            assert!(world.router.0.borrow().is_empty(), "the session is forgotten");
        },
    );
}

#[test]
fn errors_skip_until_sync_and_a_batch_is_answered_whole() {
    run(
        |_| {},
        |world, env| async move {
            let (mut client, _) = Client::connect(&world, &env).await;
            let bind = message(b'B', b"\0nothing\0\0\0\0\0\0\0");
            let execute = message(b'E', b"\0\0\0\0\0");
            let batch =
                [bind.clone(), execute.clone(), sync(), execute.clone(), bind.clone(), sync()].concat();
            client.send(&batch).await;
            assert_eq!(client.summary().await, "ERROR:26000 Z");
            assert_eq!(client.summary().await, "ERROR:34000 Z");
            // What belongs to a COPY that has failed is passed over; Close and Flush of nothing succeed.
            let rest = [
                message(b'd', b"data"),
                message(b'c', b""),
                message(b'f', b"no\0"),
                message(b'C', b"Sx\0"),
                message(b'H', b""),
                message(b'D', b"Px\0"),
                message(b'C', b"Sx\0"),
                sync(),
            ];
            client.send(&rest.concat()).await;
            assert_eq!(client.summary().await, "3 ERROR:34000 Z");
            client.send(&message(b'F', b"\0\0\0\x01\0\0\0\0\0\0")).await;
            assert_eq!(client.summary().await, "ERROR:0A000 Z");
            for malformed in
                [message(b'Q', b"SELECT '\xff'\0"), message(b'S', b"x"), message(b'Q', b"no end")]
            {
                client.send(&malformed).await;
                assert!(client.summary().await.ends_with(" Z"));
            }
            for malformed in
                [message(b'P', b"x"), message(b'B', b"\0"), message(b'E', b""), message(b'D', b"Xx\0")]
            {
                client.send(&[malformed, execute.clone(), sync()].concat()).await;
                assert_eq!(client.summary().await, "ERROR:08P01 Z");
            }
        },
    );
}

#[test]
fn a_stream_that_cannot_be_followed_is_closed_and_others_go_on() {
    run(
        |_| {},
        |world, env| async move {
            for wrong in
                [&b"Q\x7f\xff\xff\xff"[..], b"Q\0\0\0\0", b"?\0\0\0\x04", b"S\0\x01\0\0", b"p\0\0\0\x04"]
            {
                let (mut client, _) = Client::connect(&world, &env).await;
                client.send(wrong).await;
                assert_eq!(client.summary().await, "FATAL:08P01", "{wrong:?}");
            }
            for wrong in [
                &b"\xff\xff\xff\xff\0\x03\0\0"[..],
                b"\0\0\0\x04",
                b"GET / HTTP/1.1\r\n\r\n",
                b"\x16\x03\x01\x02\0",
            ] {
                let mut client = Client::open(&world, &env).await;
                client.send(wrong).await;
                assert_eq!(client.summary().await, "FATAL:08P01", "{wrong:?}");
            }
            // The client learns the reason even if it goes on sending.
            let (mut client, _) = Client::connect(&world, &env).await;
            let endless = [b"Q\x7f\xff\xff\xff".to_vec(), vec![b'x'; 1 << 20]].concat();
            client.send(&endless).await;
            assert_eq!(client.summary().await, "FATAL:08P01");
            let (mut client, _) = Client::connect(&world, &env).await;
            client.send(&sync()).await;
            assert_eq!(client.summary().await, "Z");
        },
    );
}

#[test]
fn a_message_may_come_byte_by_byte() {
    run(
        |_| {},
        |world, env| async move {
            let mut client = Client::open(&world, &env).await;
            let close = message(b'C', b"Sx\0");
            for byte in [startup("user\0omen\0\0"), close, sync()].concat() {
                client.send(&[byte]).await;
                env.sleep(Duration::from_millis(1)).await;
            }
            assert!(client.summary().await.ends_with('Z'));
            assert_eq!(client.summary().await, "3 Z");
        },
    );
}

#[test]
fn sessions_are_counted() {
    run(
        |config| config.connections_max = 2,
        |world, env| async move {
            let (first, _) = Client::connect(&world, &env).await;
            let (_second, _) = Client::connect(&world, &env).await;
            let (_, messages) = Client::connect(&world, &env).await;
            let last = messages.last().expect("an answer");
            assert_eq!(summarize(last.0, &last.1), "FATAL:53300");
            first.stream.shutdown();
            env.sleep(Duration::from_secs(1)).await;
            let (_, messages) = Client::connect(&world, &env).await;
            assert_eq!(messages.last().map(|(kind, _)| *kind), Some(b'Z'));
        },
    );
}

#[test]
fn a_cancel_request_needs_the_secret() {
    run(
        |_| {},
        |world, env| async move {
            let (_client, messages) = Client::connect(&world, &env).await;
            let (_, key) = messages.iter().find(|(kind, _)| *kind == b'K').expect("BackendKeyData");
            let flag = Rc::clone(&world.router.0.borrow().values().next().expect("a session").1);
            let mut wrong = key.clone();
            wrong[7] ^= 1;
            for (body, expected) in [(&wrong, false), (key, true)] {
                let mut other = Client::open(&world, &env).await;
                other.send(&packet(80_877_102, body)).await;
                assert_eq!(other.message().await, None, "nothing is answered");
                assert_eq!(flag.get(), expected);
            }
        },
    );
}

#[test]
fn stopping_ends_idle_sessions_and_refuses_new_ones() {
    run(
        |_| {},
        |world, env| async move {
            let (mut idle, _) = Client::connect(&world, &env).await;
            let mut unfinished = Client::open(&world, &env).await;
            env.sleep(Duration::from_secs(1)).await;
            world.shutdown.begin();
            assert_eq!(idle.summary().await, "FATAL:57P01");
            assert_eq!(unfinished.message().await, None);
            env.sleep(Duration::from_secs(1)).await;
            assert!(world.has_ended.get());
            let (_, messages) = Client::connect(&world, &env).await;
            let last = messages.last().expect("an answer");
            assert_eq!(summarize(last.0, &last.1), "FATAL:57P03");
        },
    );
}

#[test]
fn a_client_must_authenticate_in_time() {
    run(
        |config| config.authentication_time = Duration::from_secs(4),
        |world, env| async move {
            let mut slow = Client::open(&world, &env).await;
            slow.send(&startup("user\0omen\0\0")[..9]).await;
            let (mut fast, _) = Client::connect(&world, &env).await;
            env.sleep(Duration::from_secs(3)).await;
            slow.send(b"r").await;
            assert_eq!(slow.message().await, None);
            assert!(env.monotonic_ns() < 7_000_000_000);
            fast.send(&sync()).await;
            assert_eq!(fast.summary().await, "Z", "who is authenticated stays");
        },
    );
}
