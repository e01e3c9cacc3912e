//! What can go wrong, by whose fault it is.
//!
//! | type | whose fault | what the peer is told |
//! |---|---|---|
//! | [`ProtocolError`] | the peer broke RFC 6455 | [`ProtocolError::close_code`] |
//! | [`LimitError`] | the peer exceeded a limit | [`LimitError::close_code`] |
//! | [`UpgradeError`] | the opening handshake failed | [`UpgradeError::status`] |
//! | [`SendError`] | local: the queue is full, or the connection does not take messages | nothing |
//! | [`AnswerError`] | local misuse of the opening handshake | nothing |

use crate::frame::{CloseCode, Opcode};
use std::fmt;

/// The peer broke the protocol. The connection ends with [`ProtocolError::close_code`].
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RSV bits without an extension that gives them a meaning (RFC 6455 section 5.2).
    ReservedBits(u8),
    /// An opcode that RFC 6455 section 5.2 reserves.
    ReservedOpcode(u8),
    /// A control frame without FIN (RFC 6455 section 5.5).
    FragmentedControl(Opcode),
    /// A control frame of more than 125 bytes (RFC 6455 section 5.5).
    LongControl(Opcode),
    /// A continuation without a message under way (RFC 6455 section 5.4).
    UnexpectedContinuation,
    /// A new message inside an unfinished one (RFC 6455 section 5.4).
    ExpectedContinuation,
    /// A client's frame without a masking key (RFC 6455 section 5.1).
    Unmasked,
    /// A server's frame with a masking key (RFC 6455 section 5.1).
    Masked,
    /// A length that is not in its shortest form (RFC 6455 section 5.2).
    NonMinimalLength,
    /// A 64-bit length with its top bit set (RFC 6455 section 5.2).
    HugeLength,
    /// A Close payload of one byte (RFC 6455 section 5.5.1).
    ShortClose,
    /// A Close code that may not be sent (RFC 6455 section 7.4).
    InvalidCloseCode(u16),
    /// A text message or a Close reason that is not UTF-8 (RFC 6455 section 8.1).
    InvalidUtf8,
    /// Compressed data that is not deflate (RFC 7692 section 7.2.2).
    InvalidDeflate,
}

impl ProtocolError {
    /// The code the connection is closed with.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => CloseCode::INVALID_DATA,
            _ => CloseCode::PROTOCOL,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits(bits) => write!(f, "reserved bits {bits:#04x} without an extension"),
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode}"),
            Self::FragmentedControl(opcode) => write!(f, "fragmented {opcode:?} frame"),
            Self::LongControl(opcode) => write!(f, "{opcode:?} frame of more than 125 bytes"),
            Self::UnexpectedContinuation => f.write_str("continuation without a message"),
            Self::ExpectedContinuation => f.write_str("new message inside a fragmented one"),
            Self::Unmasked => f.write_str("client frame without a mask"),
            Self::Masked => f.write_str("server frame with a mask"),
            Self::NonMinimalLength => f.write_str("length not in its shortest form"),
            Self::HugeLength => f.write_str("length over 2^63-1"),
            Self::ShortClose => f.write_str("close payload of one byte"),
            Self::InvalidCloseCode(code) => write!(f, "close code {code} may not be sent"),
            Self::InvalidUtf8 => f.write_str("invalid UTF-8"),
            Self::InvalidDeflate => f.write_str("invalid compressed data"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// The peer exceeded a limit of [`Limits`](crate::Limits).
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitError {
    /// A message of at least `size` bytes where `limit` are allowed; nothing of it was kept.
    Message {
        /// Bytes announced by the frame headers so far; of a compressed message that is too large
        /// only when inflated, one more than the limit.
        size: u64,
        /// [`Limits::message`](crate::Limits::message).
        limit: u32,
    },
    /// A message in more than [`Limits::fragments`](crate::Limits::fragments) frames.
    Fragments {
        /// The limit that was exceeded.
        limit: u32,
    },
    /// A compressed message that grows by more than `Deflate::ratio` when inflated: a bomb.
    Ratio {
        /// The limit that was exceeded.
        limit: u32,
    },
}

impl LimitError {
    /// The code the connection is closed with.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Message { .. } | Self::Ratio { .. } => CloseCode::TOO_BIG,
            Self::Fragments { .. } => CloseCode::POLICY,
        }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { size, limit } => write!(f, "message of {size} bytes exceeds {limit}"),
            Self::Ratio { limit } => {
                write!(f, "compressed message grows more than {limit} times")
            }
            Self::Fragments { limit } => write!(f, "message of more than {limit} fragments"),
        }
    }
}

impl std::error::Error for LimitError {}

/// The opening handshake failed. On a server [`UpgradeError::status`] went to the peer with a body
/// that says the same as the `Display` text.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeError {
    /// Server: the head is not HTTP/1.1 as RFC 9112 has it. The text says what was wrong.
    Malformed(&'static str),
    /// Server: a header that must be unique came twice.
    Repeated(&'static str),
    /// Server: an upgrade with a method other than GET (RFC 6455 section 4.1).
    Method,
    /// Server: a version other than 13 (RFC 6455 section 4.4).
    Version,
    /// Server: the key is not 16 bytes of base64 (RFC 6455 section 4.2.1).
    Key,
    /// Server: a GET or HEAD request announces a body; nothing of it was read.
    Body,
    /// Server: the body has more bytes than the application takes; told as soon as it is known.
    BodySize {
        /// What [`Outbox::take_body`](crate::Outbox::take_body) was given.
        limit: u64,
    },
    /// Server: a transfer coding other than chunked (RFC 9112 section 6.1).
    Coding,
    /// Server: the request target is longer than [`Limits::target`](crate::Limits::target).
    Target,
    /// Server: the head is longer than [`Limits::head`](crate::Limits::head).
    HeadSize,
    /// Server: more than 64 headers.
    HeadCount,
    /// Server: bytes followed the head before the upgrade was accepted.
    EarlyData,
    /// Server: the application gave no answer before the handshake deadline.
    Unanswered,
    /// Server: the application closed the connection before the upgrade.
    Closing,
    /// Server: the bytes are a TLS handshake; this end speaks plain HTTP.
    Tls,
    /// Client: the server answered with this status instead of 101.
    Status(u16),
    /// Client: the 101 answer is not what RFC 6455 section 4.2.2 demands. The text says what is off.
    Answer(&'static str),
}

impl UpgradeError {
    /// The HTTP status a server answers with; 0 for what only a client can meet.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Repeated(_) | Self::Key | Self::EarlyData | Self::Tls => 400,
            Self::Method => 405,
            Self::Body | Self::BodySize { .. } => 413,
            Self::Target => 414,
            Self::Version => 426,
            Self::HeadSize | Self::HeadCount => 431,
            Self::Coding => 501,
            Self::Unanswered | Self::Closing => 503,
            Self::Status(_) | Self::Answer(_) => 0,
        }
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed request: {what}"),
            Self::Repeated(name) => write!(f, "header {name} came more than once"),
            Self::Method => f.write_str("a WebSocket upgrade must be a GET request"),
            Self::Version => f.write_str("Sec-WebSocket-Version must be 13"),
            Self::Key => f.write_str("Sec-WebSocket-Key must be 16 bytes in base64"),
            Self::Body => f.write_str("a request body is not accepted here"),
            Self::BodySize { limit } => {
                write!(f, "the request body is longer than {limit} bytes")
            }
            Self::Coding => f.write_str("the only transfer coding known here is chunked"),
            Self::Target => f.write_str("the request target is too long"),
            Self::HeadSize => f.write_str("the request head is too long"),
            Self::HeadCount => f.write_str("more than 64 headers"),
            Self::EarlyData => f.write_str("data before the upgrade was accepted"),
            Self::Unanswered => f.write_str("no answer in time, try again later"),
            Self::Closing => f.write_str("the server closes, try again later"),
            Self::Tls => f.write_str("this is a TLS handshake, but the listener speaks plain HTTP"),
            Self::Status(status) => write!(f, "the server answered {status} instead of 101"),
            Self::Answer(what) => write!(f, "the server's 101 answer is wrong: {what}"),
        }
    }
}

impl std::error::Error for UpgradeError {}

/// A message was not queued. Nothing of it was kept; what to do is the sender's decision.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// It would take the queue over [`Limits::outbox`](crate::Limits::outbox): the peer reads too
    /// slowly. Drop it, merge it, or close the connection.
    Full {
        /// Bytes queued now.
        queued: usize,
        /// The limit.
        limit: u32,
    },
    /// The handshake is not finished, or a Close was already queued.
    NotOpen,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { queued, limit } => {
                write!(f, "the outbox holds {queued} of {limit} bytes, the peer reads too slowly")
            }
            Self::NotOpen => f.write_str("the connection does not take messages now"),
        }
    }
}

impl std::error::Error for SendError {}

/// An answer to a request was refused locally; nothing was sent.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// There is no request to answer, or it was answered before.
    NothingToAnswer,
    /// The request is not an upgrade: `respond` to it instead.
    NotAnUpgrade,
    /// The subprotocol is not one the client offered (RFC 6455 section 4.2.2).
    Subprotocol,
    /// The body is longer than announced or agreed: a request's than the application takes, which is
    /// answered 413, or an answer's than its length.
    BodySize,
    /// The peer has not taken what is queued: give it the next piece of the body when it has.
    Full,
    /// The HTTP status is not a final one: 200 to 599.
    Status,
    /// A header name is not a token or a value has control characters, or it is one that the core
    /// writes itself.
    Header,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingToAnswer => "no request waits for an answer",
            Self::NotAnUpgrade => "the request is not an upgrade",
            Self::Subprotocol => "the client did not offer this subprotocol",
            Self::BodySize => "the body is longer than announced",
            Self::Full => "the peer has not taken what is queued",
            Self::Status => "the status of an answer is between 200 and 599",
            Self::Header => "a header is not valid or is written by the core itself",
        })
    }
}

impl std::error::Error for AnswerError {}
