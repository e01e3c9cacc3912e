//! A blocking stream to a gateway, plain or TLS, or within this machine: for commands that ask a few things
//! and end.

use super::failure::{DialFailure, TlsFailure};
use super::server_name;
use moorline_core::upgrade::Url;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Dialed {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// To the socket of a state folder.
    Unix(UnixStream),
}

/// Connects to the first of the addresses that answers, and shakes hands where the URL says `wss`. All
/// of it together takes at most `within`; reads and writes of the stream have no deadline, until
/// [`Dialed::set_read_timeout`] gives them one.
pub(crate) fn connect(
    url: &Url,
    addresses: &[SocketAddr],
    tls: &Arc<ClientConfig>,
    within: Duration,
) -> Result<Dialed, DialFailure> {
    let until = Instant::now() + within;
    let mut failure = None;
    for (index, address) in addresses.iter().enumerate() {
        // An address that swallows packets leaves the others their share.
        let share = left(until) / (addresses.len() - index) as u32;
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(socket) => return secure(url, tls, socket, until).map_err(DialFailure::Tls),
            Err(error) => failure = Some(DialFailure::Connect(*address, error)),
        }
    }
    let nothing = || DialFailure::Tls(TlsFailure::Other("there is no address to dial".into()));
    Err(failure.unwrap_or_else(nothing))
}

/// Shakes hands on a connected socket where the URL says `wss`.
pub(crate) fn secure(
    url: &Url,
    tls: &Arc<ClientConfig>,
    mut socket: TcpStream,
    until: Instant,
) -> Result<Dialed, TlsFailure> {
    // What is written is whole: waiting to join it would only delay it.
    let _ = socket.set_nodelay(true);
    if !url.is_secure() {
        return Ok(Dialed::Plain(socket));
    }
    let mut tls = ClientConnection::new(tls.clone(), server_name(url)?)
        .map_err(|error| TlsFailure::from(&error))?;
    let shaken = shake(&mut tls, &mut socket, until).and_then(|()| {
        socket.set_read_timeout(None)?;
        socket.set_write_timeout(None)
    });
    shaken.map_err(|error| TlsFailure::of_io(&error))?;
    Ok(Dialed::Tls(Box::new(StreamOwned::new(tls, socket))))
}

fn shake(tls: &mut ClientConnection, socket: &mut TcpStream, until: Instant) -> io::Result<()> {
    loop {
        let left = left(until);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Of each call, so that a peer that drips bytes gains no time.
        socket.set_read_timeout(Some(left))?;
        socket.set_write_timeout(Some(left))?;
        if tls.wants_write() {
            tls.write_tls(socket)?;
        } else if !tls.is_handshaking() {
            return Ok(());
        } else {
            if tls.read_tls(socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = tls.process_new_packets() {
                // The alert tells the server's log what was wrong with its certificate.
                let _ = tls.write_tls(socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

impl Dialed {
    /// How long a read may wait for a byte; no time at all is an error.
    pub(crate) fn set_read_timeout(&self, within: Duration) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.set_read_timeout(Some(within)),
            Self::Tls(stream) => stream.sock.set_read_timeout(Some(within)),
            Self::Unix(socket) => socket.set_read_timeout(Some(within)),
        }
    }

    /// How long a write may wait for room.
    pub(crate) fn set_write_timeout(&self, within: Duration) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.set_write_timeout(Some(within)),
            Self::Tls(stream) => stream.sock.set_write_timeout(Some(within)),
            Self::Unix(socket) => socket.set_write_timeout(Some(within)),
        }
    }

    /// This end's address in a network.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_addr().ok(),
            Self::Tls(stream) => stream.sock.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The socket within this machine, which can tell whose process is at the other end.
    pub(crate) fn unix(&self) -> Option<&UnixStream> {
        match self {
            Self::Plain(_) | Self::Tls(_) => None,
            Self::Unix(socket) => Some(socket),
        }
    }

    /// The TLS session, where there is one: its version, and the certificates of the server.
    pub(crate) fn tls(&self) -> Option<&ClientConnection> {
        match self {
            Self::Plain(_) | Self::Unix(_) => None,
            Self::Tls(stream) => Some(&stream.conn),
        }
    }
}

impl Read for Dialed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
            Self::Unix(socket) => socket.read(bytes),
        }
    }
}

impl Write for Dialed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write_vectored(slices),
            Self::Tls(stream) => stream.write_vectored(slices),
            Self::Unix(socket) => socket.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Unix(socket) => socket.flush(),
        }
    }
}
