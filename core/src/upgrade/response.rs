//! The response head as a client sees it.

use super::Agreement;
use super::client::Expected;
use super::head::list;
use super::request::Headers;
use crate::error::UpgradeError;
use crate::limits::Limits;
use std::fmt;

const MAX_HEADERS: usize = 64;

/// A response that was not 101, with the start of its body: the server's explanation.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    head: &'a [u8],
    status: u16,
    body: &'a [u8],
}

impl<'a> ResponseHead<'a> {
    pub(crate) fn new(head: &'a [u8], status: u16, body: &'a [u8]) -> Self {
        Self { head, status, body }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// All headers in order.
    pub fn headers(&self) -> Headers<'a> {
        let start = self.head.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Headers(&self.head[start..])
    }

    /// The first header of this name, any case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body, as far as [`Limits::head`](crate::Limits::head) left room for it.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseHead({}, {} bytes of body)", self.status, self.body.len())
    }
}

/// What a complete response head says.
pub(crate) enum Verdict {
    /// 101, and all that RFC 6455 section 4.2.2 demands.
    Open {
        /// Which of the offered subprotocols was chosen.
        subprotocol: Option<usize>,
        /// Compression, if both want it.
        agreed: Option<Agreement>,
    },
    /// Another status; the body may have this many bytes (`None`: until the end of the transport).
    Refused(u16, Option<usize>),
}

/// Judges a complete response head (RFC 6455 section 4.1, the list after "Once the client's opening
/// handshake has been sent").
pub(crate) fn judge(
    head: &[u8],
    expected: &Expected,
    limits: &Limits,
) -> Result<Verdict, UpgradeError> {
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut storage);
    let status = match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => response.code.unwrap_or_default(),
        Ok(httparse::Status::Partial) => return Err(UpgradeError::Answer("incomplete head")),
        Err(httparse::Error::TooManyHeaders) => return Err(UpgradeError::HeadCount),
        Err(_) => return Err(UpgradeError::Answer("not an HTTP response")),
    };
    let head = ResponseHead::new(head, status, &[]);
    if status != 101 {
        let length = head.header("Content-Length").and_then(|value| {
            std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok())
        });
        return Ok(Verdict::Refused(status, length));
    }
    let has = |name, token: &str| {
        head.headers()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| list(value))
            .any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
    };
    let unique = |name: &str, repeated| {
        let mut values =
            head.headers().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        let first = values.next();
        if values.next().is_some() { Err(UpgradeError::Answer(repeated)) } else { Ok(first) }
    };
    if !has("Upgrade", "websocket") {
        return Err(UpgradeError::Answer("Upgrade is not websocket"));
    }
    if !has("Connection", "upgrade") {
        return Err(UpgradeError::Answer("Connection does not name Upgrade"));
    }
    match unique("Sec-WebSocket-Accept", "Sec-WebSocket-Accept came more than once")? {
        Some(accept) if accept == expected.accept => {}
        _ => return Err(UpgradeError::Answer("Sec-WebSocket-Accept does not match the key")),
    }
    let chosen = unique("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol came more than once")?;
    let subprotocol = chosen.and_then(|chosen| {
        expected.subprotocols.iter().position(|offered| offered.as_bytes() == chosen)
    });
    if chosen.is_some() && subprotocol.is_none() {
        return Err(UpgradeError::Answer("a subprotocol that was not offered"));
    }
    let extensions = head
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions"))
        .map(|(_, value)| value);
    let agreed = Agreement::with_server(extensions, limits).map_err(UpgradeError::Answer)?;
    Ok(Verdict::Open { subprotocol, agreed })
}
