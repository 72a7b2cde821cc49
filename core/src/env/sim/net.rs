//! The simulated network: connections in memory with delay, partition and loss.
//!
//! Invariant: bytes of one direction of a connection arrive in the order they were sent, once, or the connection is
//! reset.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::Waker;

use super::NodeId;
use super::world::{Core, Inner};

/// Bytes that one direction holds before its sender waits.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// How long a connection attempt waits behind a partition.
pub const CONNECT_TIMEOUT_NS: u64 = 3_000_000_000;

/// One side of a connection.
pub type EndId = u64;

/// What travels.
enum Packet {
    Data(Vec<u8>),
    Closed,
    Reset,
}

/// One side of a connection.
struct End {
    node: NodeId,
    peer: EndId,
    peer_node: NodeId,
    peer_address: SocketAddr,
    inbox: VecDeque<u8>,
    in_flight_bytes: usize,
    held: VecDeque<Packet>,
    arrival_last_ns: u64,
    closed: bool,
    reset: bool,
    shut: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

struct Listening {
    id: u64,
    core: Rc<Core>,
    backlog: VecDeque<EndId>,
    acceptor: Option<Waker>,
}

/// All connections and listeners.
#[derive(Default)]
pub struct Net {
    ends: BTreeMap<EndId, End>,
    listeners: BTreeMap<(NodeId, u16), Vec<Listening>>,
    partitions: BTreeSet<(NodeId, NodeId)>,
    id_last: u64,
    /// Of a million packets, how many break their connection.
    pub resets_per_million: u64,
}

/// The address of a node.
pub fn node_ip(node: NodeId) -> IpAddr {
    let [high, low] = node.0.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 77, high, low))
}

/// The node that an address means when `from` uses it.
fn node_at(address: IpAddr, from: NodeId) -> io::Result<NodeId> {
    match address {
        ip if ip.is_loopback() || ip.is_unspecified() => Ok(from),
        IpAddr::V4(ip) if ip.octets()[..2] == [10, 77] => {
            Ok(NodeId(u16::from_be_bytes([ip.octets()[2], ip.octets()[3]])))
        }
        _ => Err(io::ErrorKind::HostUnreachable.into()),
    }
}

/// Starts listening; gives the listener and its address.
pub fn listen(inner: &mut Inner, core: &Rc<Core>, mut address: SocketAddr) -> io::Result<(u64, SocketAddr)> {
    if node_at(address.ip(), core.node)? != core.node {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let net = &mut inner.net;
    net.id_last += 1;
    if address.port() == 0 {
        let free = (40_000..u16::MAX).find(|port| !net.listeners.contains_key(&(core.node, *port)));
        address.set_port(free.ok_or(io::ErrorKind::AddrInUse)?);
    }
    let listening =
        Listening { id: net.id_last, core: Rc::clone(core), backlog: VecDeque::new(), acceptor: None };
    net.listeners.entry((core.node, address.port())).or_default().push(listening);
    Ok((net.id_last, address))
}

/// Stops listening.
pub fn unlisten(inner: &mut Inner, node: NodeId, port: u16, id: u64) {
    let Some(all) = inner.net.listeners.get_mut(&(node, port)) else { return };
    let index = all.iter().position(|l| l.id == id);
    let backlog = index.map(|i| all.remove(i).backlog).unwrap_or_default();
    if all.is_empty() {
        inner.net.listeners.remove(&(node, port));
    }
    backlog.into_iter().for_each(|end| reset(inner, end));
}

/// Takes the next connection of a listener, or leaves the waker.
pub fn accept(
    inner: &mut Inner,
    node: NodeId,
    port: u16,
    id: u64,
    waker: &Waker,
) -> Option<io::Result<EndId>> {
    let all = inner.net.listeners.get_mut(&(node, port));
    let Some(listener) = all.and_then(|l| l.iter_mut().find(|l| l.id == id)) else {
        return Some(Err(io::ErrorKind::NotConnected.into()));
    };
    if let Some(end) = listener.backlog.pop_front() {
        return Some(Ok(end));
    }
    listener.acceptor = Some(waker.clone());
    None
}

/// Connects at once; the caller has waited for the delay. `None` means that a partition is in the way.
pub fn connect(inner: &mut Inner, core: &Rc<Core>, address: SocketAddr) -> Option<io::Result<EndId>> {
    let target = match node_at(address.ip(), core.node) {
        Ok(node) => node,
        Err(e) => return Some(Err(e)),
    };
    if inner.net.is_cut(core.node, target) || inner.net.is_cut(target, core.node) {
        return None;
    }
    let count = inner.net.listeners.get(&(target, address.port())).map_or(0, Vec::len);
    if count == 0 {
        return Some(Err(io::ErrorKind::ConnectionRefused.into()));
    }
    let picked = inner.rng.index(count);
    inner.net.id_last += 2;
    let (client, server) = (inner.net.id_last - 1, inner.net.id_last);
    let client_address = SocketAddr::new(node_ip(core.node), 32_768 + (client % 28_000) as u16);
    inner.net.ends.insert(
        client,
        End::new(core.node, server, target, SocketAddr::new(node_ip(target), address.port())),
    );
    inner.net.ends.insert(server, End::new(target, client, core.node, client_address));
    inner.trace("connect", client, u64::from(target.0));
    let listeners = inner.net.listeners.get_mut(&(target, address.port())).expect("counted above");
    listeners[picked].backlog.push_back(server);
    inner.wakes.extend(listeners[picked].acceptor.take());
    Some(Ok(client))
}

/// The peer's address.
pub fn peer_address(inner: &Inner, end: EndId) -> io::Result<SocketAddr> {
    inner.net.ends.get(&end).map(|e| e.peer_address).ok_or_else(|| io::ErrorKind::NotConnected.into())
}

/// Takes bytes that have arrived, often not all of them; 0 at the end of the stream; `None` to wait.
pub fn receive(
    inner: &mut Inner,
    id: EndId,
    buffer: &mut Vec<u8>,
    waker: &Waker,
) -> Option<io::Result<usize>> {
    let Some(end) = inner.net.ends.get_mut(&id) else {
        return Some(Err(io::ErrorKind::ConnectionReset.into()));
    };
    if end.shut {
        return Some(Ok(0));
    }
    if end.reset {
        return Some(Err(io::ErrorKind::ConnectionReset.into()));
    }
    if end.inbox.is_empty() {
        if end.closed {
            return Some(Ok(0));
        }
        end.receiver = Some(waker.clone());
        return None;
    }
    let all = inner.rng.below(4) > 0;
    let len = if all { end.inbox.len() } else { 1 + inner.rng.index(end.inbox.len()) };
    buffer.extend(end.inbox.drain(..len));
    let peer = end.peer;
    if let Some(peer) = inner.net.ends.get_mut(&peer) {
        inner.wakes.extend(peer.sender.take());
    }
    Some(Ok(len))
}

/// Sends as much as the window takes, removing it from the front; `None` to wait for space.
pub fn send(inner: &mut Inner, id: EndId, bytes: &[u8], waker: &Waker) -> Option<io::Result<usize>> {
    let end = match inner.net.ends.get_mut(&id) {
        Some(end) if !end.reset && !end.shut => end,
        _ => return Some(Err(io::ErrorKind::BrokenPipe.into())),
    };
    let peer_id = end.peer;
    let Some(peer) = inner.net.ends.get_mut(&peer_id).filter(|p| !p.shut) else {
        return Some(Err(io::ErrorKind::BrokenPipe.into()));
    };
    let space = WINDOW_BYTES.saturating_sub(peer.inbox.len() + peer.in_flight_bytes);
    if space == 0 {
        let end = inner.net.ends.get_mut(&id).expect("found above");
        end.sender = Some(waker.clone());
        return None;
    }
    let len = space.min(bytes.len());
    peer.in_flight_bytes += len;
    if inner.rng.below(1_000_000) < inner.net.resets_per_million {
        reset(inner, id);
        return Some(Err(io::ErrorKind::ConnectionReset.into()));
    }
    inner.trace("send", id, u64::from(crc32c::crc32c(&bytes[..len])));
    travel(inner, peer_id, Packet::Data(bytes[..len].to_vec()));
    Some(Ok(len))
}

/// Closes both directions; the peer sees the end after all that was sent.
pub fn shutdown(inner: &mut Inner, id: EndId) {
    let Some(end) = inner.net.ends.get_mut(&id) else { return };
    if std::mem::replace(&mut end.shut, true) {
        return;
    }
    let peer = end.peer;
    let wakers = [end.receiver.take(), end.sender.take()];
    inner.wakes.extend(wakers.into_iter().flatten());
    inner.trace("close", id, 0);
    travel(inner, peer, Packet::Closed);
}

/// Forgets one side, whose handle is gone.
pub fn forget(inner: &mut Inner, id: EndId) {
    shutdown(inner, id);
    if let Some(end) = inner.net.ends.remove(&id)
        && let Some(peer) = inner.net.ends.get_mut(&end.peer)
    {
        inner.wakes.extend(peer.sender.take());
    }
}

/// Breaks a connection: this side at once, the peer after the delay.
fn reset(inner: &mut Inner, id: EndId) {
    let Some(end) = inner.net.ends.get_mut(&id) else { return };
    end.reset = true;
    let wakers = [end.receiver.take(), end.sender.take()];
    let peer = end.peer;
    inner.wakes.extend(wakers.into_iter().flatten());
    inner.trace("reset", id, 0);
    travel(inner, peer, Packet::Reset);
}

/// Sends a packet to `to`, behind those that travel already.
fn travel(inner: &mut Inner, to: EndId, packet: Packet) {
    let range = inner.latency.net_ns.clone();
    let delay_ns = inner.draw_ns(&range);
    let now_ns = inner.now_ns;
    let Some(end) = inner.net.ends.get_mut(&to) else { return };
    let arrival_ns = (now_ns + delay_ns).max(end.arrival_last_ns + 1);
    end.arrival_last_ns = arrival_ns;
    inner.schedule(arrival_ns - now_ns, None, move |inner, _| arrive(inner, to, packet));
}

fn arrive(inner: &mut Inner, to: EndId, packet: Packet) {
    let Some(end) = inner.net.ends.get_mut(&to) else { return };
    if !end.held.is_empty() || inner.net.partitions.contains(&(end.peer_node, end.node)) {
        end.held.push_back(packet);
        return;
    }
    deliver(inner, to, packet);
}

fn deliver(inner: &mut Inner, to: EndId, packet: Packet) {
    let Some(end) = inner.net.ends.get_mut(&to) else { return };
    let peer = end.peer;
    match packet {
        Packet::Data(bytes) => {
            end.in_flight_bytes -= bytes.len();
            end.inbox.extend(&bytes);
        }
        Packet::Closed => end.closed = true,
        Packet::Reset => {
            end.reset = true;
            inner.wakes.extend(end.sender.take());
        }
    }
    inner.wakes.extend(end.receiver.take());
    inner.trace("arrive", to, peer);
}

impl End {
    fn new(node: NodeId, peer: EndId, peer_node: NodeId, peer_address: SocketAddr) -> End {
        End {
            node,
            peer,
            peer_node,
            peer_address,
            inbox: VecDeque::new(),
            in_flight_bytes: 0,
            held: VecDeque::new(),
            arrival_last_ns: 0,
            closed: false,
            reset: false,
            shut: false,
            receiver: None,
            sender: None,
        }
    }
}

impl Net {
    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.partitions.contains(&(from, to))
    }

    /// Packets from one node to another wait until [`heal`].
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.partitions.insert((from, to));
    }
}

/// Lets packets pass again, those that waited first.
pub fn heal(inner: &mut Inner, from: NodeId, to: NodeId) {
    inner.net.partitions.remove(&(from, to));
    let waiting = |(_, end): &(&EndId, &End)| end.node == to && end.peer_node == from && !end.held.is_empty();
    let ends: Vec<EndId> = inner.net.ends.iter().filter(waiting).map(|(id, _)| *id).collect();
    for end in ends {
        let range = inner.latency.net_ns.clone();
        let delay_ns = inner.draw_ns(&range);
        inner.schedule(delay_ns, None, move |inner, _| {
            while let Some(packet) = inner.net.ends.get_mut(&end).and_then(|e| e.held.pop_front()) {
                deliver(inner, end, packet);
            }
        });
    }
}

/// The node died: its listeners and connections are gone, peers see a reset.
pub fn end_node(inner: &mut Inner, node: NodeId) {
    inner.net.listeners.retain(|_, all| {
        all.retain(|l| l.core.node != node);
        !all.is_empty()
    });
    let ends: Vec<EndId> = inner.net.ends.iter().filter(|(_, e)| e.node == node).map(|(id, _)| *id).collect();
    for id in ends {
        reset(inner, id);
        inner.net.ends.remove(&id);
    }
}
