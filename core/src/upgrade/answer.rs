//! What a server answers to a request.

use super::head::{is_writable, list};
use super::{Agreement, BodyLength, RequestHead, accept_key};
use crate::error::{AnswerError, UpgradeError};
use crate::limits::Limits;
use std::time::{Duration, Instant};

/// The acceptance of an upgrade: 101 with what the application adds.
#[derive(Debug, Copy, Clone, Default)]
pub struct Accept<'a> {
    /// The subprotocol chosen from [`RequestHead::subprotocols`], or none.
    pub subprotocol: Option<&'a str>,
    /// Send and take no compressed messages on this connection, even if its limits and the client
    /// would allow it.
    pub plain: bool,
    /// Further headers, such as `Set-Cookie`.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A complete HTTP answer. The connection ends after it. A 426 also names what to upgrade to.
#[derive(Debug, Copy, Clone)]
pub struct Response<'a> {
    /// The HTTP status, such as 200 or 403.
    pub status: u16,
    /// Further headers; `Content-Length` and `Connection: close` are written by the core.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; left out of the answer to a HEAD request.
    pub body: &'a [u8],
}

impl<'a> Response<'a> {
    /// A plain-text answer.
    pub fn text(status: u16, body: &'a str) -> Self {
        let headers = &[("Content-Type", "text/plain; charset=utf-8")];
        Self { status, headers, body: body.as_bytes() }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: &'a str) -> Self {
        Self { status, headers: &[("Content-Type", "application/json")], body: body.as_bytes() }
    }
}

/// What must be remembered of a request until it is answered.
#[derive(Debug)]
pub(crate) struct Offer {
    /// The accept key, when the request is an upgrade.
    accept: Option<[u8; 28]>,
    subprotocols: Box<[u8]>,
    /// The compression that can be agreed on.
    pub(crate) agreed: Option<Agreement>,
    head_only: bool,
    http_11: bool,
    /// How long the request's body is.
    pub(crate) body: BodyLength,
    /// The client waits for 100 before it sends it.
    pub(crate) expects_continue: bool,
    /// The application takes the body, of at most so many bytes.
    pub(crate) taken: Option<u64>,
    /// The application wants no more of it for now.
    pub(crate) held: bool,
    /// When it wanted more again.
    pub(crate) released: Option<Instant>,
    /// The application may take this long to answer, or streams its answer: whoever ends their half of
    /// the transport meanwhile does not wait for it.
    pub(crate) awaited: Option<Duration>,
    /// The answer was begun.
    pub(crate) begun: Option<Begun>,
}

/// An answer under way.
#[derive(Debug, Copy, Clone)]
pub(crate) struct Begun {
    pub(crate) status: u16,
    pub(crate) left: Left,
}

/// What is to come of an answer's body.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum Left {
    /// So many bytes.
    Bytes(u64),
    /// Chunks, until the application ends it (RFC 9112 section 7.1).
    Chunks,
    /// Whatever comes until the transport ends: HTTP/1.0 knows no chunks (RFC 9112 section 6.3).
    Rest,
}

impl Offer {
    pub(crate) fn new(head: &RequestHead<'_>, limits: &Limits) -> Self {
        let accept =
            head.is_upgrade().then(|| accept_key(head.header("Sec-WebSocket-Key").unwrap_or(b"")));
        let subprotocols: Vec<u8> = head
            .subprotocols()
            .flat_map(|name| name.bytes().chain(std::iter::once(b',')))
            .collect();
        let agreed = Agreement::with_client(head, limits);
        Self {
            accept,
            subprotocols: subprotocols.into(),
            agreed,
            head_only: head.method() == "HEAD",
            http_11: head.is_http_11(),
            body: head.body(),
            expects_continue: head.expects_continue(),
            taken: None,
            held: false,
            released: None,
            awaited: None,
            begun: None,
        }
    }

    /// A number that differs from connection to connection: the client's nonce, hashed.
    pub(crate) fn spread(&self) -> u8 {
        self.accept.map_or(0, |accept| accept[0].wrapping_mul(64).wrapping_add(accept[1]))
    }

    pub(crate) fn retained(&self) -> usize {
        size_of::<Self>() + self.subprotocols.len()
    }

    /// Writes the 101 answer (RFC 6455 section 4.2.2).
    pub(crate) fn accept(&self, answer: &Accept<'_>, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        let Some(accept) = &self.accept else { return Err(AnswerError::NotAnUpgrade) };
        if let Some(chosen) = answer.subprotocol
            && !list(&self.subprotocols).any(|offered| offered == chosen.as_bytes())
        {
            return Err(AnswerError::Subprotocol);
        }
        check(answer.headers)?;
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\n\
              Upgrade: websocket\r\n\
              Connection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(accept);
        out.extend_from_slice(b"\r\n");
        if let Some(chosen) = answer.subprotocol {
            header("Sec-WebSocket-Protocol", chosen, out);
        }
        if let Some(agreed) = self.agreed.filter(|_| !answer.plain) {
            header("Sec-WebSocket-Extensions", &agreed.header(), out);
        }
        for (name, value) in answer.headers {
            header(name, value, out);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Writes a complete HTTP answer.
    pub(crate) fn respond(
        &self,
        answer: &Response<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerError> {
        self.begin(answer, answer.body.len() as u64, out).map(|_| ())
    }

    /// Writes the beginning of an answer whose body has `length` bytes; gives how many are to come.
    pub(crate) fn begin(
        &self,
        answer: &Response<'_>,
        length: u64,
        out: &mut Vec<u8>,
    ) -> Result<u64, AnswerError> {
        check(answer.headers)?;
        if !(200..600).contains(&answer.status) {
            return Err(AnswerError::Status);
        }
        let left = length.checked_sub(answer.body.len() as u64).ok_or(AnswerError::BodySize)?;
        let has_body = write(answer, Length::Known(length), self.head_only, out);
        Ok(if has_body { left } else { 0 })
    }

    /// Writes the head of an answer whose length nobody knows yet; gives how its body goes on.
    pub(crate) fn begin_stream(
        &self,
        answer: &Response<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Left, AnswerError> {
        check(answer.headers)?;
        if !(200..600).contains(&answer.status) {
            return Err(AnswerError::Status);
        }
        let (length, left) = if self.http_11 {
            (Length::Chunked, Left::Chunks)
        } else {
            (Length::Unknown, Left::Rest)
        };
        let head = Response { body: b"", ..*answer };
        let has_body = write(&head, length, self.head_only, out);
        Ok(if has_body { left } else { Left::Bytes(0) })
    }
}

/// Writes the refusal of a request that never reached the application.
pub(crate) fn write_error(error: UpgradeError, out: &mut Vec<u8>) {
    let body = format!("{error}\n");
    let plain = ("Content-Type", "text/plain; charset=utf-8");
    let extra = match error {
        UpgradeError::Method => Some(("Allow", "GET")),
        UpgradeError::Unanswered | UpgradeError::Closing => Some(("Retry-After", "1")),
        _ => None,
    };
    let headers: Vec<_> = std::iter::once(plain).chain(extra).collect();
    write_whole(
        &Response { status: error.status(), headers: &headers, body: body.as_bytes() },
        out,
    );
}

/// Writes the refusal of a request that did not come in time.
pub(crate) fn write_timeout(out: &mut Vec<u8>) {
    let text = "handshake timeout: the request did not come in time\n";
    write_whole(&Response::text(408, text), out);
}

/// Writes the refusal of a request whose body did not come in time.
pub(crate) fn write_body_timeout(out: &mut Vec<u8>) {
    let text = "body timeout: the request's body did not come in time\n";
    write_whole(&Response::text(408, text), out);
}

fn write_whole(answer: &Response<'_>, out: &mut Vec<u8>) {
    write(answer, Length::Known(answer.body.len() as u64), false, out);
}

/// How an answer says where its body ends.
#[derive(Debug, Copy, Clone)]
enum Length {
    Known(u64),
    Chunked,
    Unknown,
}

/// Says whether the body follows.
fn write(answer: &Response<'_>, length: Length, head_only: bool, out: &mut Vec<u8>) -> bool {
    let status = format!("HTTP/1.1 {} {}\r\n", answer.status, reason_phrase(answer.status));
    out.extend_from_slice(status.as_bytes());
    for (name, value) in answer.headers {
        header(name, value, out);
    }
    // RFC 9110 sections 8.6 and 15.4.5: these have no body, and what describes one would mislead.
    let has_body = !matches!(answer.status, 204 | 304);
    match length {
        Length::Known(length) if has_body => header("Content-Length", &length.to_string(), out),
        Length::Chunked if has_body => header("Transfer-Encoding", "chunked", out),
        Length::Known(_) | Length::Chunked | Length::Unknown => {}
    }
    if answer.status == 426 {
        // RFC 9110 section 15.5.22 and RFC 6455 section 4.4.
        header("Upgrade", "websocket", out);
        header("Sec-WebSocket-Version", "13", out);
        header("Connection", "Upgrade, close", out);
    } else {
        header("Connection", "close", out);
    }
    out.extend_from_slice(b"\r\n");
    let follows = has_body && !head_only;
    if follows {
        out.extend_from_slice(answer.body);
    }
    follows
}

fn header(name: &str, value: &str, out: &mut Vec<u8>) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn check(headers: &[(&str, &str)]) -> Result<(), AnswerError> {
    let fine = headers.iter().all(|(name, value)| is_writable(name, value));
    if fine { Ok(()) } else { Err(AnswerError::Header) }
}

/// RFC 9110 section 15; an unknown status has an empty phrase, which RFC 9112 section 4 allows.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "",
    }
}
