//! Whole connections over the simulated network, on a node of one core.

mod script;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use omen_core::env::sim::{NodeId, Sim, SimEnv, SimStream};
use omen_core::env::{Env, Stream};
use omen_core::id::CoreId;
use omen_core::mesh;
use omen_core::node::{MESH_CAPACITY, NodeConfig, NodeCore};

use super::hba::Rules;
use super::{ServerConfig, Shutdown, serve};

const SERVER: NodeId = NodeId(1);
const CLIENT: NodeId = NodeId(2);
const PORT: u16 = 5_442;

/// A running server and what a test needs of it.
struct World {
    sim: Sim,
    shutdown: Shutdown,
    has_ended: Rc<Cell<bool>>,
}

/// A node of one core in the simulator.
fn start_node(sim: &Sim) -> NodeCore<SimEnv> {
    let config = NodeConfig::new(PathBuf::from("/data"), 1, 64 << 20);
    let seat = mesh::connect(1, MESH_CAPACITY).pop().expect("one seat for one core");
    let env = sim.core(SERVER, CoreId(0));
    let started: Rc<RefCell<Option<NodeCore<SimEnv>>>> = Rc::default();
    let slot = Rc::clone(&started);
    env.clone().spawn(async move {
        let node = NodeCore::start(env, seat, &config).await;
        *slot.borrow_mut() = Some(node.expect("an empty node starts"));
    });
    assert!(sim.run_until(|| started.borrow().is_some()), "the node does not start");
    started.take().expect("started")
}

fn world(configure: impl FnOnce(&mut ServerConfig)) -> World {
    let sim = Sim::new(7);
    let node = start_node(&sim);
    let env = sim.core(SERVER, CoreId(0));
    let mut config = ServerConfig::new([9; 32]);
    config.rules = Rules::parse("host all all all trust").expect("valid");
    configure(&mut config);
    let listener = env.listen(sim.address(SERVER, PORT)).expect("a free port");
    let shutdown = Shutdown::default();
    let has_ended = Rc::new(Cell::new(false));
    let served = serve(env.clone(), node, listener, Arc::new(config), shutdown.clone());
    let ended = Rc::clone(&has_ended);
    env.spawn(async move {
        served.await;
        ended.set(true);
    });
    World { sim, shutdown, has_ended }
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
            let (mut holder, _) = Client::connect(&world, &env).await;
            let (mut waiter, messages) = Client::connect(&world, &env).await;
            let (_, key) = messages.iter().find(|(kind, _)| *kind == b'K').expect("BackendKeyData");
            holder.send(&message(b'Q', b"create table t (k int primary key)\0")).await;
            assert_eq!(holder.summary().await, "C Z");
            holder.send(&message(b'Q', b"begin; insert into t values (1)\0")).await;
            assert_eq!(holder.summary().await, "C C Z");
            waiter.send(&message(b'Q', b"insert into t values (1)\0")).await;
            let mut wrong = key.clone();
            wrong[7] ^= 1;
            for body in [&wrong, key] {
                assert!(waiter.received.is_empty());
                let mut other = Client::open(&world, &env).await;
                other.send(&packet(80_877_102, body)).await;
                assert_eq!(other.message().await, None, "nothing is answered");
            }
            assert_eq!(waiter.summary().await, "ERROR:57014 Z");
        },
    );
}

#[test]
fn a_client_that_leaves_takes_its_transaction_along() {
    run(
        |_| {},
        |world, env| async move {
            let (mut first, _) = Client::connect(&world, &env).await;
            first.send(&message(b'Q', b"create table t (k int primary key)\0")).await;
            assert_eq!(first.summary().await, "C Z");
            first.send(&message(b'Q', b"begin; insert into t values (1)\0")).await;
            assert_eq!(first.summary().await, "C C Z");
            first.stream.shutdown();
            let (mut second, _) = Client::connect(&world, &env).await;
            second.send(&message(b'Q', b"copy t from stdin\0")).await;
            second.send(&message(b'd', b"2\n")).await;
            env.sleep(Duration::from_millis(100)).await;
            second.stream.shutdown();
            let (mut third, _) = Client::connect(&world, &env).await;
            third.send(&message(b'Q', b"insert into t values (1), (2)\0")).await;
            assert_eq!(third.summary().await, "C Z");
        },
    );
}

#[test]
fn stopping_lets_a_running_statement_finish() {
    run(
        |_| {},
        |world, env| async move {
            let (mut client, _) = Client::connect(&world, &env).await;
            client.send(&message(b'Q', b"create table t (k int primary key)\0")).await;
            assert_eq!(client.summary().await, "C Z");
            client.send(&message(b'Q', b"copy t from stdin\0")).await;
            assert_eq!(client.message().await.map(|(kind, _)| kind), Some(b'G'));
            world.shutdown.begin();
            env.sleep(Duration::from_secs(1)).await;
            client.send(&[message(b'd', b"1\n2\n"), message(b'c', b"")].concat()).await;
            assert_eq!(client.summary().await, "C Z");
            assert_eq!(client.summary().await, "FATAL:57P01");
            env.sleep(Duration::from_secs(1)).await;
            assert!(world.has_ended.get());
        },
    );
}

#[test]
fn large_results_come_in_pieces() {
    run(
        |_| {},
        |world, env| async move {
            let (mut client, _) = Client::connect(&world, &env).await;
            client.send(&message(b'Q', b"create table t (k int primary key, v text)\0")).await;
            assert_eq!(client.summary().await, "C Z");
            let rows: String = (0..20_000).map(|k| format!("{k}\tvalue {k} of a row\n")).collect();
            client.send(&message(b'Q', b"copy t from stdin\0")).await;
            client.send(&[message(b'd', rows.as_bytes()), message(b'c', b"")].concat()).await;
            assert_eq!(client.summary().await, "G C Z");
            client.send(&message(b'Q', b"select k, v from t order by k\0")).await;
            let messages = client.until_ready().await;
            let values: Vec<&[u8]> =
                messages.iter().filter(|(kind, _)| *kind == b'D').map(|(_, body)| &body[..]).collect();
            assert_eq!(values.len(), 20_000);
            let last = [b"\0\x02\0\0\0\x0519999\0\0\0\x14".as_slice(), b"value 19999 of a row"].concat();
            assert_eq!(values[19_999], last);
            client.send(&message(b'Q', b"copy (select k, v from t order by k) to stdout\0")).await;
            let messages = client.until_ready().await;
            let data: Vec<u8> =
                messages.into_iter().filter(|(kind, _)| *kind == b'd').flat_map(|(_, d)| d).collect();
            assert!(data == rows.as_bytes(), "COPY gives back what it took");
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
