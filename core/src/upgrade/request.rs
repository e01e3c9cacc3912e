//! The request head, checked once and then read in place.

use super::head::{is_token, list};
use super::{BodyLength, is_key};
use crate::error::UpgradeError;
use crate::limits::Limits;
use std::fmt;

/// More headers than this are refused with 431. Browsers send about 20.
const MAX_HEADERS: usize = 64;

/// Headers of which a second one would make the request ambiguous.
const SINGLETONS: [&str; 8] = [
    "Host",
    "Origin",
    "Upgrade",
    "Authorization",
    "Content-Length",
    "Transfer-Encoding",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
];

/// A checked request head. Cheap to copy; look-ups walk the head's bytes.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct RequestHead<'a> {
    bytes: &'a [u8],
    checked: Checked,
}

/// What the check of a head found, without its bytes.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    method: u32,
    target: u32,
    upgrade: bool,
    http_11: bool,
    body: BodyLength,
}

impl<'a> RequestHead<'a> {
    /// Checks a complete head, blank line included.
    pub(crate) fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, UpgradeError> {
        let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut storage);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(UpgradeError::Malformed("incomplete head"));
            }
            Err(error) => return Err(refusal(error)),
        }
        let method = request.method.unwrap_or_default();
        let target = request.path.unwrap_or_default();
        if target.len() > limits.target as usize {
            return Err(UpgradeError::Target);
        }
        if !target.starts_with('/') {
            // The absolute form is for proxies, which this is not (RFC 9112 section 3.2).
            return Err(UpgradeError::Malformed("the request target must be a path"));
        }
        let http_11 = request.version == Some(1);
        let (method, target) = (method.len() as u32, target.len() as u32);
        let body = BodyLength::Known(0);
        let checked = Checked { method, target, upgrade: false, http_11, body };
        let mut head = Self { bytes, checked };
        head.check_singletons()?;
        head.check_host(http_11)?;
        head.checked.body = head.check_body(http_11)?;
        // RFC 9110 section 7.8: Upgrade counts only when Connection names it.
        if head.has_token("Upgrade", "websocket") && head.has_token("Connection", "upgrade") {
            head.check_upgrade(http_11)?;
            head.checked.upgrade = true;
        }
        Ok(head)
    }

    /// The head again, from the bytes it was parsed from.
    pub(crate) fn new(bytes: &'a [u8], checked: Checked) -> Self {
        Self { bytes, checked }
    }

    pub(crate) fn checked(&self) -> Checked {
        self.checked
    }

    /// The method, as sent.
    pub fn method(&self) -> &'a str {
        text(&self.bytes[..self.checked.method as usize])
    }

    /// The request target, as sent: path and query.
    pub fn target(&self) -> &'a str {
        let start = self.checked.method as usize + 1;
        text(&self.bytes[start..start + self.checked.target as usize])
    }

    /// The target up to its query.
    pub fn path(&self) -> &'a str {
        self.target().split_once('?').map_or(self.target(), |(path, _)| path)
    }

    /// What follows the `?`, if there is one.
    pub fn query(&self) -> Option<&'a str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    /// All headers in order: names as sent, values as trimmed bytes.
    pub fn headers(&self) -> Headers<'a> {
        let start = self.bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Headers(&self.bytes[start..])
    }

    /// The first header of this name, any case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The first header of this name, if its value is UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&'a str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether this is a valid WebSocket upgrade: then it may be accepted.
    pub fn is_upgrade(&self) -> bool {
        self.checked.upgrade
    }

    /// How long the request's body is. A GET or HEAD request has none, or is refused.
    pub fn body(&self) -> BodyLength {
        self.checked.body
    }

    pub(crate) fn is_http_11(&self) -> bool {
        self.checked.http_11
    }

    /// Whether the client waits for 100 before it sends the body (RFC 9110 section 10.1.1).
    pub(crate) fn expects_continue(&self) -> bool {
        let expected = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        self.checked.http_11
            && self.checked.body != BodyLength::Known(0)
            && self.values("Expect").flat_map(list).any(expected)
    }

    /// What a WebSocket upgrade needs and this request does not have, as header lines. Empty for an
    /// upgrade. Proxies that are not told to pass an upgrade remove the first two.
    pub fn missing_for_upgrade(&self) -> impl Iterator<Item = &'static str> + use<'a> {
        let head = *self;
        let has_key = head.header("Sec-WebSocket-Key").is_some_and(is_key);
        [
            ("Upgrade: websocket", head.has_token("Upgrade", "websocket")),
            ("Connection: Upgrade", head.has_token("Connection", "upgrade")),
            ("Sec-WebSocket-Version: 13", head.header("Sec-WebSocket-Version") == Some(b"13")),
            ("Sec-WebSocket-Key: (16 bytes in base64)", has_key),
        ]
        .into_iter()
        .filter(|(_, there)| !there)
        .map(|(line, _)| line)
    }

    /// The subprotocols the client offers, in its order of preference (RFC 6455 section 4.1).
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values("Sec-WebSocket-Protocol").flat_map(list).map(text)
    }

    pub(crate) fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn has_token(&self, name: &'static str, token: &str) -> bool {
        self.values(name).flat_map(list).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
    }

    fn check_singletons(&self) -> Result<(), UpgradeError> {
        let mut seen = [false; SINGLETONS.len()];
        for (name, _) in self.headers() {
            if let Some(at) = SINGLETONS.iter().position(|single| name.eq_ignore_ascii_case(single))
                && std::mem::replace(&mut seen[at], true)
            {
                return Err(UpgradeError::Repeated(SINGLETONS[at]));
            }
        }
        Ok(())
    }

    fn check_host(&self, http_11: bool) -> Result<(), UpgradeError> {
        match self.header("Host") {
            None if http_11 => Err(UpgradeError::Malformed("Host is missing")),
            Some(host)
                if host.is_empty()
                    || host
                        .iter()
                        .any(|byte| !byte.is_ascii_graphic() || b"/\\@,?#\"<>".contains(byte)) =>
            {
                Err(UpgradeError::Malformed("Host is not a host and port"))
            }
            _ => Ok(()),
        }
    }

    /// How long the body is (RFC 9112 section 6.3). Where a second reading is possible, it is refused:
    /// whoever forwards requests may have taken the other one.
    fn check_body(&self, http_11: bool) -> Result<BodyLength, UpgradeError> {
        let length = match self.header("Content-Length") {
            None => None,
            Some(length) if length.is_empty() || !length.iter().all(u8::is_ascii_digit) => {
                return Err(UpgradeError::Malformed("Content-Length is not a number"));
            }
            // A number that no body has stands for those that do not fit.
            Some(length) => Some(text(length).parse().unwrap_or(u64::MAX)),
        };
        let body = match (self.header("Transfer-Encoding"), length) {
            (None, length) => BodyLength::Known(length.unwrap_or_default()),
            (Some(_), Some(_)) => {
                return Err(UpgradeError::Malformed("Content-Length beside Transfer-Encoding"));
            }
            (Some(_), None) if !http_11 => {
                return Err(UpgradeError::Malformed("Transfer-Encoding needs HTTP/1.1"));
            }
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => BodyLength::Chunked,
            (Some(_), None) => return Err(UpgradeError::Coding),
        };
        // RFC 9110 section 9.3.1: a body of these means nothing, and is known from smuggling only.
        if matches!(self.method(), "GET" | "HEAD") && body != BodyLength::Known(0) {
            return Err(UpgradeError::Body);
        }
        Ok(body)
    }

    /// RFC 6455 section 4.2.1.
    fn check_upgrade(&self, http_11: bool) -> Result<(), UpgradeError> {
        if self.method() != "GET" {
            return Err(UpgradeError::Method);
        }
        if !http_11 {
            return Err(UpgradeError::Malformed("an upgrade needs HTTP/1.1"));
        }
        if self.header("Sec-WebSocket-Version") != Some(b"13") {
            return Err(UpgradeError::Version);
        }
        if !self.header("Sec-WebSocket-Key").is_some_and(is_key) {
            return Err(UpgradeError::Key);
        }
        if !self.values("Sec-WebSocket-Protocol").flat_map(list).all(is_token) {
            return Err(UpgradeError::Malformed("Sec-WebSocket-Protocol is not a list of tokens"));
        }
        Ok(())
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Method and path only: headers and queries carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upgrade = if self.is_upgrade() { ", upgrade" } else { "" };
        write!(f, "RequestHead({} {}{upgrade})", self.method(), self.path())
    }
}

/// The headers of a checked head, in order.
#[derive(Debug, Clone)]
pub struct Headers<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.0.iter().position(|byte| *byte == b'\r')?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(2..).unwrap_or_default();
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((text(&line[..colon]), line[colon + 1..].trim_ascii()))
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn refusal(error: httparse::Error) -> UpgradeError {
    UpgradeError::Malformed(match error {
        httparse::Error::TooManyHeaders => return UpgradeError::HeadCount,
        httparse::Error::HeaderName => "header name",
        httparse::Error::HeaderValue => "header value",
        httparse::Error::NewLine => "line end",
        httparse::Error::Version => "the version must be HTTP/1.1",
        _ => "request line",
    })
}
