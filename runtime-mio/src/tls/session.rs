//! One session of rustls, of either side, one step at a time.

use super::TlsFailure;
use super::seal::Seal;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, Error, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// The first byte of a client that speaks TLS: the content type `handshake` (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

pub(super) enum Session {
    /// A server's, of whose client nothing was heard.
    Expected(Arc<ServerConfig>),
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// Where a step's results go.
pub(super) struct Sink<'s> {
    /// For plaintext.
    pub(super) room: &'s mut [u8],
    pub(super) filled: usize,
    /// For the plaintext of a record that does not fit.
    pub(super) overflow: &'s mut Vec<u8>,
    /// For records that the session sends of its own, and those that `seal` makes.
    pub(super) own: &'s mut Vec<u8>,
    pub(super) peer_ended: &'s mut bool,
    /// What to send as soon as the session may.
    pub(super) seal: Option<Seal<'s>>,
}

/// What to do after a step.
pub(super) enum Next {
    Go,
    /// Plaintext went to the overflow.
    Full,
    /// The session has no use for what it was given, until more comes.
    Wait,
    /// What was to be sent is in its place.
    Sealed,
    Failed(Error),
}

impl Session {
    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(Self::Client)
    }

    /// Bytes have come: a server begins its session, if they can be TLS.
    pub(super) fn expect(&mut self, bytes: &[u8]) -> Result<(), TlsFailure> {
        if let Self::Expected(config) = self {
            if bytes.first() != Some(&HANDSHAKE) {
                return Err(TlsFailure::NotTls);
            }
            let session = UnbufferedServerConnection::new(config.clone());
            *self = Self::Server(session.map_err(TlsFailure::Session)?);
        }
        Ok(())
    }

    pub(super) fn is_opening(&self) -> bool {
        match self {
            Self::Expected(_) => true,
            Self::Server(session) => session.is_handshaking(),
            Self::Client(session) => session.is_handshaking(),
        }
    }

    /// One step; says how many bytes it has used up.
    pub(super) fn advance(&mut self, records: &mut [u8], sink: &mut Sink<'_>) -> (usize, Next) {
        match self {
            Self::Expected(_) => (0, Next::Wait),
            Self::Server(session) => take(session.process_tls_records(records), sink),
            Self::Client(session) => take(session.process_tls_records(records), sink),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expected(_) => "Expected",
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
        })
    }
}

fn take<D>(status: UnbufferedStatus<'_, '_, D>, sink: &mut Sink<'_>) -> (usize, Next) {
    let UnbufferedStatus { mut discard, state } = status;
    let next = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut next = Next::Go;
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        if !sink.receive(record.payload) {
                            next = Next::Full;
                        }
                    }
                    Err(error) => next = Next::Failed(error),
                }
            }
            next
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, sink.own),
        // It stands in the pending bytes, which leave before anything else.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Next::Go
        }
        Ok(ConnectionState::PeerClosed) => {
            *sink.peer_ended = true;
            Next::Go
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match sink.seal.take() {
            None => Next::Wait,
            Some(seal) => match seal.run(&mut traffic, sink.own) {
                Ok(()) => Next::Sealed,
                Err(error) => Next::Failed(error),
            },
        },
        // Early data is never accepted; `Closed` and what rustls may add have nothing to take.
        Ok(_) => Next::Wait,
        Err(error) => Next::Failed(error),
    };
    (discard, next)
}

impl Sink<'_> {
    /// Whether there is room for more.
    fn receive(&mut self, plaintext: &[u8]) -> bool {
        let room = &mut self.room[self.filled..];
        if self.overflow.is_empty() && plaintext.len() <= room.len() {
            room[..plaintext.len()].copy_from_slice(plaintext);
            self.filled += plaintext.len();
            true
        } else {
            self.overflow.extend_from_slice(plaintext);
            false
        }
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, own: &mut Vec<u8>) -> Next {
    let start = own.len();
    // The size is known only by asking.
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        own.resize(start + size.required_size, 0);
    }
    match data.encode(&mut own[start..]) {
        Ok(count) => {
            own.truncate(start + count);
            Next::Go
        }
        Err(error) => {
            own.truncate(start);
            Next::Failed(Error::General(error.to_string()))
        }
    }
}
