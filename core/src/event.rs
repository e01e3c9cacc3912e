//! What goes up to the application.

use crate::error::{LimitError, ProtocolError, UpgradeError};
use crate::frame::CloseCode;
use crate::upgrade::{RequestHead, ResponseHead};
use std::fmt;

/// Something the application should know. Borrows from the bytes given to
/// [`Connection::receive`](crate::Connection::receive) or from the connection's own buffer.
#[derive(Debug, Copy, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Server: a request is complete. Answer it with [`Outbox::accept`](crate::Outbox::accept) or
    /// [`Outbox::respond`](crate::Outbox::respond), now or before the handshake deadline, or take its
    /// body first with [`Outbox::take_body`](crate::Outbox::take_body).
    Request(RequestHead<'a>),
    /// Server: a piece of the body of a request whose body was taken with
    /// [`Outbox::take_body`](crate::Outbox::take_body); never empty.
    Body(&'a [u8]),
    /// Server: the body is complete. Answer with [`Outbox::respond`](crate::Outbox::respond), now or
    /// within [`Limits::body_silence`](crate::Limits::body_silence).
    BodyEnd,
    /// Client: the server answered something other than 101. [`Event::Closed`] follows.
    Response(ResponseHead<'a>),
    /// The handshake is done: messages may be sent.
    Open,
    /// A complete text message.
    Text(&'a str),
    /// A complete binary message.
    Binary(&'a [u8]),
    /// A Ping; its Pong is already queued.
    Ping(&'a [u8]),
    /// A Pong, asked for or not.
    Pong(&'a [u8]),
    /// The connection has ended for the application: exactly one, always last. The adapter goes on
    /// until [`Wants::end`](crate::Wants::end) says [`End::Drop`](crate::End::Drop).
    Closed(Cause<'a>),
}

/// Why a connection ended.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// The peer sent a Close with this code and reason ([`CloseCode::NO_STATUS`] when it had none).
    Peer(CloseCode, &'a str),
    /// The application closed with this code, and the peer answered, left, or let the close deadline
    /// pass.
    Local(CloseCode),
    /// The transport ended without a Close.
    Eof,
    /// The transport broke off: TLS without its `close_notify` (RFC 8446 section 6.1), or a record that was
    /// changed on its way. Anybody between the two ends can have done it.
    Truncated,
    /// A deadline passed.
    Timeout(Why),
    /// The peer broke RFC 6455.
    Protocol(ProtocolError),
    /// The peer exceeded a limit.
    Limit(LimitError),
    /// The opening handshake failed.
    Upgrade(UpgradeError),
    /// The application answered a request with this HTTP status instead of accepting an upgrade.
    Answered(u16),
    /// The peer did not read what was queued for it within
    /// [`Limits::drain_within`](crate::Limits::drain_within).
    SlowReader,
    /// The application gave the peer up, because more was waiting for it than may
    /// ([`Outbox::give_up`](crate::Outbox::give_up)); no deadline had passed.
    Overflow,
    /// Local misuse: a [`Turn`](crate::Turn) was not drained.
    Abandoned,
}

/// Who ended a connection.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Initiator {
    /// The other end, by a Close, an end of file, or a violation.
    Peer,
    /// This end's application.
    Local,
    /// This end's clock.
    Clock,
}

impl Cause<'_> {
    /// The close code of this ending: the one that was received or sent, or
    /// [`CloseCode::ABNORMAL`] where no Close was possible.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Peer(code, _) | Self::Local(code) => code,
            Self::Protocol(error) => error.close_code(),
            Self::Limit(error) => error.close_code(),
            Self::Timeout(why) => why.close_code(),
            Self::SlowReader | Self::Overflow => CloseCode::POLICY,
            Self::Eof
            | Self::Truncated
            | Self::Upgrade(_)
            | Self::Answered(_)
            | Self::Abandoned => CloseCode::ABNORMAL,
        }
    }

    /// One word for logs and metrics; a fixed set.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer(..) => "peer",
            Self::Local(_) => "local",
            Self::Eof => "eof",
            Self::Truncated => "truncated",
            Self::Timeout(why) => why.name(),
            Self::Protocol(_) => "protocol",
            Self::Limit(_) => "limit",
            Self::Upgrade(_) => "upgrade",
            Self::Answered(_) => "http",
            Self::SlowReader => "slow-reader",
            Self::Overflow => "overflow",
            Self::Abandoned => "abandoned",
        }
    }

    /// Who ended the connection.
    pub const fn initiator(self) -> Initiator {
        match self {
            Self::Local(_) | Self::Answered(_) | Self::Overflow | Self::Abandoned => {
                Initiator::Local
            }
            Self::Timeout(_) | Self::SlowReader => Initiator::Clock,
            _ => Initiator::Peer,
        }
    }
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(code, "") => write!(f, "the peer closed with {code}"),
            Self::Peer(code, reason) => write!(f, "the peer closed with {code}: {reason}"),
            Self::Local(code) => write!(f, "closed here with {code}"),
            Self::Eof => f.write_str("the transport ended without a Close"),
            Self::Truncated => f.write_str("the transport was cut: its TLS has no end"),
            Self::Timeout(why) => f.write_str(why.reason()),
            Self::Protocol(error) => error.fmt(f),
            Self::Limit(error) => error.fmt(f),
            Self::Upgrade(error) => error.fmt(f),
            Self::Answered(status) => write!(f, "answered with HTTP {status}"),
            Self::SlowReader | Self::Overflow => f.write_str("slow consumer"),
            Self::Abandoned => f.write_str("a turn was not drained"),
        }
    }
}

/// Why a deadline exists.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The opening handshake must be complete.
    Handshake,
    /// A request's body must go on, and end.
    Body,
    /// Nothing was heard for a while: a Ping is due. Not an ending.
    Ping,
    /// The peer must show life after a Ping.
    Pong,
    /// The peer must read what is queued for it.
    Drain,
    /// A message that has begun must end.
    Message,
    /// The closing handshake must be complete.
    Close,
    /// Received bytes wait for their turn because the former one inflated its share. Not an ending.
    Resume,
    /// A compression context was not used for a while. Not an ending.
    Idle,
}

impl Why {
    /// The code the connection is closed with when the deadline passes.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Handshake | Self::Body | Self::Close => CloseCode::ABNORMAL,
            _ => CloseCode::POLICY,
        }
    }

    /// One word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake-timeout",
            Self::Body => "body-timeout",
            Self::Ping => "ping",
            Self::Pong => "keepalive-timeout",
            Self::Drain => "slow-reader",
            Self::Message => "message-timeout",
            Self::Close => "close-timeout",
            Self::Resume => "resume",
            Self::Idle => "idle",
        }
    }

    /// The reason sent in the Close frame.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Handshake => "handshake timeout",
            Self::Body => "body timeout",
            Self::Ping => "ping",
            Self::Pong => "keepalive timeout",
            Self::Drain => "slow consumer",
            Self::Message => "message timeout",
            Self::Close => "close timeout",
            Self::Resume => "resume",
            Self::Idle => "idle",
        }
    }
}
