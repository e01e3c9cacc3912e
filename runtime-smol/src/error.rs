//! Why there is no connection.

use crate::message::Closed;
use moorline_core::{AnswerError, ResponseHead, UpgradeError};
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

/// How far an attempt to connect came.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing was done yet: the URL or an option is wrong.
    Setup,
    /// Looking up the host's addresses.
    Dns,
    /// Connecting to one of them.
    Tcp,
    /// Asking the proxy for a tunnel.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The opening handshake of RFC 6455.
    Upgrade,
}

impl Phase {
    /// One word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
        }
    }
}

/// No connection came about: in which phase, and why.
#[derive(Debug)]
pub struct ConnectError {
    /// How far it came.
    pub phase: Phase,
    /// What went wrong there.
    pub cause: ConnectCause,
}

/// What went wrong in a phase.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectCause {
    /// The URL or an option is wrong. The text says how.
    Setup(String),
    /// The phase took longer than [`Timeouts`](crate::Timeouts) allow.
    Timeout(Duration),
    /// The system, or the TLS library (as [`io::Error::get_ref`]), says so.
    Io(io::Error),
    /// The server, or the proxy, answered with another status than was asked for.
    Refused(Refusal),
    /// The server's 101 answer is wrong.
    Answer(UpgradeError),
    /// The connection ended during the opening handshake.
    Ended(Closed),
}

impl ConnectError {
    pub(crate) fn setup(what: impl Into<String>) -> Self {
        Self { phase: Phase::Setup, cause: ConnectCause::Setup(what.into()) }
    }

    pub(crate) fn io(phase: Phase, error: io::Error) -> Self {
        Self { phase, cause: ConnectCause::Io(error) }
    }

    /// The HTTP refusal, if that is what it was.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.cause {
            ConnectCause::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether a phase took too long.
    pub fn is_timeout(&self) -> bool {
        matches!(self.cause, ConnectCause::Timeout(_))
    }
}

impl From<AnswerError> for ConnectError {
    fn from(error: AnswerError) -> Self {
        Self::setup(error.to_string())
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.phase.name())?;
        match &self.cause {
            ConnectCause::Setup(what) => f.write_str(what),
            ConnectCause::Timeout(after) => write!(f, "no answer within {after:?}"),
            ConnectCause::Io(error) => error.fmt(f),
            ConnectCause::Refused(refusal) => refusal.fmt(f),
            ConnectCause::Answer(error) => error.fmt(f),
            ConnectCause::Ended(closed) => closed.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            ConnectCause::Io(error) => Some(error),
            ConnectCause::Answer(error) => Some(error),
            ConnectCause::Ended(closed) => Some(closed),
            _ => None,
        }
    }
}

/// An HTTP answer that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Names and values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The start of the body: what the server says, to be escaped wherever it is shown.
    pub body: Vec<u8>,
}

impl Refusal {
    /// The first header of this name, any case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        header.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// How long `Retry-After` asks to wait (RFC 9110 section 10.2.3), counted from `now` when it is
    /// a date.
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let value = self.header("Retry-After")?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    }
}

impl From<ResponseHead<'_>> for Refusal {
    fn from(head: ResponseHead<'_>) -> Self {
        let headers = head.headers().map(|(name, value)| (name.into(), value.into())).collect();
        Self { status: head.status(), headers, body: head.body().into() }
    }
}

impl fmt::Display for Refusal {
    /// The start of the body is shown escaped: it is the peer's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.trim().chars().take(SHOWN).collect();
        if body.is_empty() { Ok(()) } else { write!(f, ": {}", body.escape_debug()) }
    }
}

/// Characters of a refusal's body that are shown.
const SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(retry_after: &str) -> Refusal {
        let headers = vec![("retry-after".into(), retry_after.into())];
        Refusal { status: 503, headers, body: b" slow\x1b[0m\n".to_vec() }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let after = |text| refusal(text).retry_after(now);
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn a_refusal_is_shown_without_what_drives_a_terminal() {
        assert_eq!(refusal("1").to_string(), "HTTP 503: slow\\u{1b}[0m");
    }
}
