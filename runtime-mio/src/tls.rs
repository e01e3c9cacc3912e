//! TLS over a socket, without buffers while nothing is under way.
//!
//! ```text
//!   socket -> [held | read] -> session -> plaintext      the loop's buffer; what is no whole record yet
//!                                                        is held by the stream until the rest comes
//!   socket <- [pending | records] <- session <- slices   the loop's buffer; what the kernel does not take
//!                                                        is pending, and nothing more is encrypted
//! ```
//!
//! rustls is used by its unbuffered interface: it has neither a read nor a write buffer of its own.

mod failure;
mod seal;
mod session;

pub use failure::TlsFailure;

use crate::stream::{Received, Streams, Written};
use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use seal::{AT_ONCE, Seal};
use session::{Next, Session, Sink};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the largest record, with its header (RFC 5246 section 6.2.3; those of TLS 1.3 are smaller).
const RECORD_MAX: usize = 5 + 16 * 1024 + 2048;

/// How a listener speaks TLS.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// Certificates, versions, and what else rustls wants to know. Its `max_early_data_size` must stay 0:
    /// early data can be replayed by anybody.
    pub config: Arc<ServerConfig>,
    /// From the accepted socket to the end of the handshake. Default 5 s: three round trips over a bad
    /// mobile network. The time for the request begins after it. Longer: who only connects holds a place
    /// for longer; shorter: who is far away does not get in.
    pub handshake_within: Duration,
    /// Handshakes of accepted sockets under way in each loop. Default 1,000: each holds at most the 18 KiB of
    /// one record. One more ends another: an [`Address`](moorline_core::Address) that has more than a sixteenth
    /// of the places, and most of all, loses its oldest; while none has, the oldest of all goes. So who fills the
    /// places from one address with sockets that say nothing crowds out nobody else, who does so from many has to
    /// be faster than good handshakes are done, and a proxy alone has all places. With fewer places than 16 the
    /// share is one.
    pub handshakes: usize,
}

impl TlsOptions {
    /// The defaults, with this configuration.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self { config, handshake_within: Duration::from_secs(5), handshakes: 1000 }
    }
}

/// Buffers that all TLS streams of a loop share; there once the first of them needs them.
#[derive(Debug, Default)]
pub(crate) struct TlsBuffers {
    incoming: Box<[u8]>,
    outgoing: Vec<u8>,
    gather: Vec<u8>,
}

/// A socket with a TLS session.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: Session,
    /// Records that came and were not taken by the session; mostly a part of one.
    held: Vec<u8>,
    /// There may be a whole record in `held`.
    held_whole: bool,
    /// Plaintext for which there was no room; at most one record's.
    plain: Vec<u8>,
    /// Records that the kernel did not take, or that the session has to say of its own.
    pending: Vec<u8>,
    /// The peer has sent its close_notify.
    peer_ended: bool,
    /// Nothing more is sent after `pending`; the socket's write side ends with it.
    ending: bool,
    /// Nothing can be received any more: why, until it was told.
    fault: Option<TlsFailure>,
    /// It was.
    faulty: bool,
}

impl TlsStream {
    /// The server's end of an accepted socket. Nothing is allocated for the session before a byte comes.
    pub(crate) fn server(socket: TcpStream, config: Arc<ServerConfig>) -> Self {
        Self::new(socket, Session::Expected(config))
    }

    /// The client's end; the handshake's first message is pending.
    pub(crate) fn client(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let mut stream = Self::new(socket, Session::client(config, name)?);
        stream.take(&mut [], &mut []).result.map(|()| stream)
    }

    fn new(socket: TcpStream, session: Session) -> Self {
        Self {
            socket,
            session,
            held: Vec::new(),
            held_whole: false,
            plain: Vec::new(),
            pending: Vec::new(),
            peer_ended: false,
            ending: false,
            fault: None,
            faulty: false,
        }
    }

    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// The handshake is not done.
    pub(crate) fn is_opening(&self) -> bool {
        self.session.is_opening()
    }

    /// There are records that should be written, whatever the connection has to send.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reads once from the socket at most. `room` must hold a record's plaintext for the stream to get
    /// on; during the handshake it may be empty. After a failure what comes is thrown away.
    pub(crate) fn read(&mut self, room: &mut [u8], shared: &mut Streams) -> Received {
        let Streams { tls: buffers, traffic } = shared;
        if !self.plain.is_empty() {
            let count = room.len().min(self.plain.len());
            room[..count].copy_from_slice(&self.plain[..count]);
            self.plain.drain(..count);
            release(&mut self.plain);
            return Received::Bytes { count, more: true };
        }
        if let Some(fault) = self.fault.take() {
            return self.fail(fault);
        }
        if self.peer_ended {
            return Received::End;
        }
        if buffers.incoming.is_empty() {
            buffers.incoming = vec![0; RECORD_MAX].into();
        }
        let space = &mut buffers.incoming[..];
        let held = self.held.len();
        space[..held].copy_from_slice(&self.held);
        let (mut len, mut more) = (held, true);
        if !self.held_whole || self.faulty {
            // It was full and yet no message: rustls would join handshake messages of up to 64 KiB.
            if held == space.len() {
                return self.fail(TlsFailure::Oversized);
            }
            match traffic.read(self.socket.read(&mut space[held..])) {
                Ok(0) if self.faulty => return Received::End,
                Ok(0) => return self.fail(TlsFailure::Left),
                Ok(count) => {
                    len += count;
                    more = len == space.len();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Received::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Received::Nothing { more };
                }
                Err(_) => return self.fail(TlsFailure::Left),
            }
        }
        if self.faulty {
            return Received::Nothing { more };
        }
        if let Err(fault) = self.session.expect(&space[..len]) {
            if space[0].is_ascii_uppercase() {
                self.pending.extend_from_slice(PLAIN_HTTP);
            }
            return self.fail(fault);
        }
        let taken = self.take(&mut space[..len], room);
        self.held.clear();
        self.held.extend_from_slice(&space[taken.consumed..len]);
        release(&mut self.held);
        self.held_whole = taken.is_full && !self.held.is_empty();
        more |= taken.is_full || self.peer_ended;
        match (taken.result, taken.filled) {
            (Ok(()), 0) => Received::Nothing { more },
            (Ok(()), count) => Received::Bytes { count, more },
            (Err(error), 0) => self.fail(TlsFailure::Session(error)),
            // What was good before it still counts.
            (Err(error), count) => {
                self.held = Vec::new();
                self.fault = Some(TlsFailure::Session(error));
                Received::Bytes { count, more: true }
            }
        }
    }

    fn fail(&mut self, failure: TlsFailure) -> Received {
        self.faulty = true;
        self.held = Vec::new();
        Received::Broken(failure)
    }

    /// Nothing can be received any more, whether or not that was told.
    fn is_broken(&self) -> bool {
        self.faulty || self.fault.is_some()
    }

    /// Hands records to the session.
    fn take(&mut self, records: &mut [u8], room: &mut [u8]) -> Taken {
        let mut sink = Sink {
            room,
            filled: 0,
            overflow: &mut self.plain,
            own: &mut self.pending,
            peer_ended: &mut self.peer_ended,
            seal: None,
        };
        let mut consumed = 0;
        loop {
            let (discard, next) = self.session.advance(&mut records[consumed..], &mut sink);
            consumed += discard;
            let (is_full, result) = match next {
                Next::Go => continue,
                Next::Full => (true, Ok(())),
                Next::Wait | Next::Sealed => (false, Ok(())),
                Next::Failed(error) => {
                    // The alert, if there is one.
                    let _ = self.session.advance(&mut records[consumed..], &mut sink);
                    (false, Err(error))
                }
            };
            return Taken { consumed, filled: sink.filled, is_full, result };
        }
    }

    /// Writes once: what is pending, and as much of the slices as may be encrypted at once.
    pub(crate) fn write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        shared: &mut Streams,
    ) -> io::Result<Written> {
        if !slices.is_empty() && self.is_broken() {
            // Its alert was the last that the session says.
            return Err(io::ErrorKind::InvalidData.into());
        }
        let buffers = &mut shared.tls;
        let out = &mut buffers.outgoing;
        out.clear();
        out.extend_from_slice(&self.pending);
        let mut count = 0;
        if !slices.is_empty() && out.len() < AT_ONCE {
            let data = Seal::Data { slices, gather: &mut buffers.gather, taken: &mut count };
            self.seal(data, out)?;
        }
        self.put(shared).map(|all| Written { count, all })
    }

    /// Sends the close_notify (RFC 8446 section 6.1), and ends the socket's write side behind it.
    pub(crate) fn shutdown_write(&mut self, shared: &mut Streams) -> io::Result<()> {
        let out = &mut shared.tls.outgoing;
        out.clear();
        out.extend_from_slice(&self.pending);
        if !self.is_broken() && !self.is_opening() {
            // It fails when the session has ended by an alert, which says as much.
            let _ = self.seal(Seal::CloseNotify, out);
        }
        self.ending = true;
        self.put(shared).map(drop)
    }

    /// Encrypts behind what is in `out`.
    fn seal(&mut self, seal: Seal<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        let mut sink = Sink {
            room: &mut [],
            filled: 0,
            overflow: &mut self.plain,
            own: out,
            peer_ended: &mut self.peer_ended,
            seal: Some(seal),
        };
        let mut consumed = 0;
        let result = loop {
            let (discard, next) = self.session.advance(&mut self.held[consumed..], &mut sink);
            consumed += discard;
            match next {
                Next::Go | Next::Full => {}
                Next::Sealed => break Ok(()),
                Next::Wait => break Err(io::ErrorKind::NotConnected.into()),
                Next::Failed(error) => {
                    self.fault = Some(TlsFailure::Session(error));
                    consumed = self.held.len();
                    break Err(io::ErrorKind::InvalidData.into());
                }
            }
        };
        self.held.drain(..consumed);
        release(&mut self.held);
        result
    }

    /// Gives the kernel what is in the loop's buffer; what it does not take is pending. Whether it took all.
    fn put(&mut self, shared: &mut Streams) -> io::Result<bool> {
        let out = &shared.tls.outgoing;
        let count = match shared.traffic.wrote(self.socket.write(out)) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        self.pending.clear();
        self.pending.extend_from_slice(&out[count..]);
        release(&mut self.pending);
        let all = self.pending.is_empty();
        if all && self.ending {
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(all)
    }
}

/// What came of records.
struct Taken {
    consumed: usize,
    /// Bytes of plaintext.
    filled: usize,
    /// There was no room for more.
    is_full: bool,
    result: Result<(), rustls::Error>,
}

/// An idle stream owns no buffers.
fn release(buffer: &mut Vec<u8>) {
    if buffer.is_empty() {
        *buffer = Vec::new();
    }
}

/// To whoever speaks HTTP to a port that expects TLS.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 65\r\n\r\n\
    this port speaks TLS: the address begins with https:// or wss://\n";
