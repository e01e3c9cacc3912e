//! Messages and endings that own what they say.

use bytes::Bytes;
use moorline_core::{Cause, CloseCode, Opcode};
use std::fmt;

/// A complete message that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Anything else.
    Binary(Bytes),
}

impl Message {
    /// Payload bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, of either kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(data) => data,
        }
    }

    /// The text of a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// What kind of frame carries it.
    pub fn opcode(&self) -> Opcode {
        match self {
            Self::Text(_) => Opcode::Text,
            Self::Binary(_) => Opcode::Binary,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(data: Bytes) -> Self {
        Self::Binary(data)
    }
}

impl From<Vec<u8>> for Message {
    fn from(data: Vec<u8>) -> Self {
        Self::Binary(data.into())
    }
}

/// How a connection ended: [`Cause`] with the peer's reason kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    cause: Cause<'static>,
    reason: Box<str>,
}

impl Closed {
    /// The cause, as the core gave it.
    pub fn cause(&self) -> Cause<'_> {
        match self.cause {
            Cause::Peer(code, _) => Cause::Peer(code, &self.reason),
            other => other,
        }
    }

    /// The close code that was received or sent, or [`CloseCode::ABNORMAL`].
    pub fn code(&self) -> CloseCode {
        self.cause.close_code()
    }

    /// The peer's reason: peer text, to be escaped wherever it is shown.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether one side closed and nothing failed.
    pub fn is_clean(&self) -> bool {
        matches!(self.cause, Cause::Peer(..) | Cause::Local(_))
    }
}

impl From<Cause<'_>> for Closed {
    fn from(cause: Cause<'_>) -> Self {
        let (cause, reason) = match cause {
            Cause::Peer(code, reason) => (Cause::Peer(code, ""), reason),
            Cause::Local(code) => (Cause::Local(code), ""),
            Cause::Timeout(why) => (Cause::Timeout(why), ""),
            Cause::Protocol(error) => (Cause::Protocol(error), ""),
            Cause::Limit(error) => (Cause::Limit(error), ""),
            Cause::Upgrade(error) => (Cause::Upgrade(error), ""),
            Cause::Answered(status) => (Cause::Answered(status), ""),
            Cause::SlowReader => (Cause::SlowReader, ""),
            Cause::Overflow => (Cause::Overflow, ""),
            Cause::Abandoned => (Cause::Abandoned, ""),
            Cause::Truncated => (Cause::Truncated, ""),
            // Eof, and what a later core may add: the transport is gone either way.
            _ => (Cause::Eof, ""),
        };
        Self { cause, reason: reason.into() }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause().fmt(f)
    }
}

impl std::error::Error for Closed {}
