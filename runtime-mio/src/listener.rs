//! The listening sockets: several per port with SO_REUSEPORT, and one that only processes of this machine
//! reach; a budget per turn, and a pause when the process is out of file descriptors.

use crate::stream::{Peer, Stream};
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Type};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Connections the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 4096;

/// Accepts per loop turn: established connections get their turn in between.
const BUDGET: usize = 64;

/// File descriptors that are kept for local connections: commands of the host need one or two, most of all
/// when all others are used up.
const RESERVE: usize = 4;

/// The pause after a failed accept. Shorter would spin, longer would be felt.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds `count` listeners to one address. More than one share the port by SO_REUSEPORT, and only
/// after it was proved that nobody else listens there: the kernel would let a second process of the
/// same user join in silently.
///
/// # Errors
/// What the system says; `AddrInUse` when somebody listens there.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let first = socket(address, false)?;
    if count <= 1 {
        first.listen(BACKLOG)?;
        return Ok(vec![first.into()]);
    }
    // A port of 0 is chosen once, for all of them.
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    drop(first);
    (0..count)
        .map(|_| {
            let socket = socket(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<socket2::Socket> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // The port of a gateway that was killed can be bound again at once.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listener of one loop.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// The kernel may have more connections: readiness is told only once.
    ready: bool,
    /// Nothing is accepted before this time.
    paused_until: Option<Instant>,
    /// Files that are open only to be closed when the process is out of file descriptors.
    reserve: Vec<File>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                // Replies are written whole: waiting to join small ones would only delay them.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Peer::Network(peer)))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                Ok((Stream::Unix(stream), Peer::Local))
            }
        }
    }
}

impl Listener {
    /// Both kinds of socket must be non-blocking.
    pub(crate) fn tcp(socket: std::net::TcpListener) -> Self {
        Self::new(Socket::Tcp(TcpListener::from_std(socket)))
    }

    pub(crate) fn unix(socket: std::os::unix::net::UnixListener) -> Self {
        Self::new(Socket::Unix(UnixListener::from_std(socket)))
    }

    fn new(socket: Socket) -> Self {
        Self { socket, ready: false, paused_until: None, reserve: Vec::new() }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let source: &mut dyn Source = match &mut self.socket {
            Socket::Tcp(socket) => socket,
            Socket::Unix(socket) => socket,
        };
        source.register(registry, token, Interest::READABLE)
    }

    /// Takes file descriptors aside for this listener, as far as there are any. Free of charge when it has
    /// them.
    pub(crate) fn fill_reserve(&mut self) {
        while self.reserve.len() < RESERVE
            && let Ok(file) = File::open("/dev/null")
        {
            self.reserve.push(file);
        }
    }

    pub(crate) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// Whether another round of accepts is due at `now`.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.ready && self.paused_until.is_none_or(|until| until <= now)
    }

    /// When the pause ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.paused_until.filter(|_| self.ready)
    }

    /// Accepts what there is, within the budget.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        mut accepted: impl FnMut(Stream, Peer),
        failed: impl FnOnce(io::Error),
    ) {
        self.paused_until = None;
        for _ in 0..BUDGET {
            match self.socket.accept() {
                Ok((stream, peer)) => accepted(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    return;
                }
                // The peer left before it was accepted.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                // The process is out of file descriptors: this frees one.
                Err(_) if self.reserve.pop().is_some() => {}
                Err(error) => {
                    self.paused_until = Some(now + PAUSE);
                    failed(error);
                    return;
                }
            }
        }
    }

    /// Leaves waiting connections to the kernel until there is room.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + PAUSE);
    }
}
