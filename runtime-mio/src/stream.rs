//! A connection's byte stream, whatever it runs over, and who is at its other end.

use crate::tls::{TlsBuffers, TlsFailure, TlsOptions, TlsStream};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

/// Who is at the other end of an accepted connection.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Peer {
    /// It came over the network from this address, which may be this machine's own.
    Network(SocketAddr),
    /// It came over a Unix domain socket: a process of this machine that the socket file's
    /// permissions let in.
    Local,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

/// A non-blocking stream of bytes. Readiness is edge-triggered: only a call that would block means that
/// the kernel has told everything.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// What all streams of a loop share.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) tls: TlsBuffers,
    pub(crate) traffic: Traffic,
}

/// What the system was asked of sockets, and what it took and gave: with TLS these are the bytes of records.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
}

impl Traffic {
    /// One call to read.
    pub(crate) fn read(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        self.reads += 1;
        self.bytes_read += *result.as_ref().unwrap_or(&0) as u64;
        result
    }

    /// One call to write.
    pub(crate) fn wrote(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        self.writes += 1;
        self.bytes_written += *result.as_ref().unwrap_or(&0) as u64;
        result
    }
}

/// What came of reading.
#[derive(Debug)]
pub(crate) enum Received {
    /// So many bytes; there may be more.
    Bytes { count: usize, more: bool },
    /// Nothing for the connection, but there may be more.
    Nothing { more: bool },
    /// Nothing: the kernel tells when there is more.
    Blocked,
    /// The peer has ended its side, or the socket failed where these cannot be told apart.
    End,
    /// The stream broke off.
    Broken(TlsFailure),
}

/// What came of writing.
#[derive(Debug)]
pub(crate) struct Written {
    /// Bytes of the slices that were taken.
    pub(crate) count: usize,
    /// More would be taken, as far as is known; else the kernel tells when.
    pub(crate) all: bool,
}

impl Stream {
    /// Before it is dropped: what can be said of the end is said, where dropping it does not.
    pub(crate) fn farewell(&mut self, shared: &mut Streams) {
        if let Self::Tls(stream) = self {
            // The peer may be gone.
            let _ = stream.shutdown_write(shared);
        }
    }

    /// What an accepted stream becomes where TLS is spoken; processes of this machine need none.
    pub(crate) fn secured(self, options: &TlsOptions) -> Self {
        match self {
            Self::Tcp(socket) => {
                Self::Tls(Box::new(TlsStream::server(socket, options.config.clone())))
            }
            other => other,
        }
    }

    /// It carries nothing yet: reads and writes without bytes bring it on.
    pub(crate) fn is_opening(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.is_opening())
    }

    /// There is something to write, whatever the connection has.
    pub(crate) fn has_pending(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.has_pending())
    }

    /// An end that the peer did not announce is a cut.
    pub(crate) fn announces_end(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    pub(crate) fn read(&mut self, room: &mut [u8], shared: &mut Streams) -> Received {
        let read = match self {
            Self::Tcp(stream) => stream.read(room),
            Self::Unix(stream) => stream.read(room),
            Self::Tls(stream) => return stream.read(room, shared),
        };
        match shared.traffic.read(read) {
            Ok(0) => Received::End,
            // A short read has emptied the kernel's buffer.
            Ok(count) => Received::Bytes { count, more: count == room.len() },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Blocked,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Received::Nothing { more: true }
            }
            Err(_) => Received::End,
        }
    }

    /// Writes what fits, in this order. One slice costs a plain `write`.
    pub(crate) fn write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        shared: &mut Streams,
    ) -> io::Result<Written> {
        let written = match (self, slices) {
            (Self::Tls(stream), slices) => return stream.write_vectored(slices, shared),
            (Self::Tcp(stream), [one]) => stream.write(one),
            (Self::Tcp(stream), many) => stream.write_vectored(many),
            (Self::Unix(stream), [one]) => stream.write(one),
            (Self::Unix(stream), many) => stream.write_vectored(many),
        };
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        match shared.traffic.wrote(written) {
            Ok(count) => Ok(Written { count, all: count == offered }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Written { count: 0, all: false })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Ok(Written { count: 0, all: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the write side; the peer reads to the end of what was written.
    pub(crate) fn shutdown_write(&mut self, shared: &mut Streams) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.shutdown_write(shared),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Tls(stream) => stream.socket(),
        }
    }
}

impl Source for Stream {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}
