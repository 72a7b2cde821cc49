//! Sockets on the ring.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::core::Core;
use super::ring::{Request, take_fd};
use crate::env::{Listener, Stream};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// A buffer with less space than this is given more before it receives.
const SPARE_BYTES_MIN: usize = 4_096;

/// More goes through the ring: who sends much gives way to others meanwhile.
const SENT_AT_ONCE_BYTES_MAX: usize = 16 << 10;

/// Space that a buffer is given to receive.
const SPARE_BYTES: usize = 16_384;

/// A listening socket of a [`super::UringEnv`].
pub struct UringListener {
    core: Rc<Core>,
    socket: Rc<Socket>,
}

/// A connected socket of a [`super::UringEnv`].
pub struct UringStream {
    core: Rc<Core>,
    socket: Rc<Socket>,
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
}

fn lost() -> io::Error {
    io::Error::other("the core has ended")
}

/// Listens. Several cores may listen on one address; the kernel spreads connections among them.
pub fn listen(core: &Rc<Core>, address: SocketAddr) -> io::Result<UringListener> {
    let socket = new_socket(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and :: can be listened on side by side.
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(UringListener { core: Rc::clone(core), socket: Rc::new(socket) })
}

/// Connects.
pub async fn connect(core: &Rc<Core>, address: SocketAddr) -> io::Result<UringStream> {
    let socket = Rc::new(new_socket(address)?);
    socket.set_tcp_nodelay(true)?;
    let request = Request::Connect { socket: Rc::clone(&socket), address: Box::new(SockAddr::from(address)) };
    core.ring.start(request).await.0?;
    Ok(UringStream { core: Rc::clone(core), socket })
}

fn ip_address(address: io::Result<SockAddr>) -> io::Result<SocketAddr> {
    address?.as_socket().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an IP address"))
}

impl Listener for UringListener {
    type Stream = UringStream;

    async fn accept(&self) -> io::Result<UringStream> {
        let (result, _) = self.core.ring.start(Request::Accept { socket: Rc::clone(&self.socket) }).await;
        let socket = Socket::from(take_fd(result?));
        socket.set_tcp_nodelay(true)?;
        Ok(UringStream { core: Rc::clone(&self.core), socket: Rc::new(socket) })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        ip_address(self.socket.local_addr())
    }
}

impl UringStream {
    /// Sends what there is room for without waiting, mostly all; how many bytes. So an answer leaves at once and not at the
    /// end of the turn, and the core does not wake to hear that it has left: a system call less for each request.
    fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            sent => sent,
        }
    }
}

impl Stream for UringStream {
    async fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if buffer.capacity() - buffer.len() < SPARE_BYTES_MIN {
            buffer.reserve(SPARE_BYTES);
        }
        loop {
            let request =
                Request::Receive { socket: Rc::clone(&self.socket), buffer: std::mem::take(buffer) };
            let (result, back) = self.core.ring.start(request).await;
            let Some(Request::Receive { buffer: back, .. }) = back else { return Err(lost()) };
            *buffer = back;
            match result {
                Ok(n) => return Ok(n as usize),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    async fn send(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let len = buffer.len();
        let mut sent = if len <= SENT_AT_ONCE_BYTES_MAX { self.send_at_once(buffer)? } else { 0 };
        while sent < len {
            let request =
                Request::Send { socket: Rc::clone(&self.socket), buffer: std::mem::take(buffer), sent };
            let (result, back) = self.core.ring.start(request).await;
            let Some(Request::Send { buffer: back, .. }) = back else { return Err(lost()) };
            *buffer = back;
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => sent += n as usize,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        buffer.clear();
        Ok(())
    }

    fn peer_address(&self) -> io::Result<SocketAddr> {
        ip_address(self.socket.peer_addr())
    }

    fn shutdown(&self) {
        // Fails only if the peer was faster.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
