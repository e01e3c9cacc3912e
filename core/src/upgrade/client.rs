//! The client's request (RFC 6455 section 4.1).

use super::accept_key;
use super::head::{is_token, is_writable};
use crate::error::AnswerError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a client asks for. The core adds the key, the version and the upgrade headers.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    host: String,
    target: String,
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
}

/// What the answer must match.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) accept: [u8; 28],
    pub(crate) subprotocols: Vec<String>,
}

impl ClientRequest {
    /// A request for `target` (path and query) on `host` (host, and port unless it is the default).
    ///
    /// # Errors
    /// [`AnswerError::Header`] when either could not stand in a request.
    pub fn new(host: &str, target: &str) -> Result<Self, AnswerError> {
        let graphic = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !graphic(host) || !graphic(target) || !target.starts_with('/') {
            return Err(AnswerError::Header);
        }
        Ok(Self {
            host: host.into(),
            target: target.into(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
        })
    }

    /// Adds a header, such as `Authorization` or `Origin`.
    ///
    /// # Errors
    /// [`AnswerError::Header`] when it is not a header or is one that the handshake writes itself.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, AnswerError> {
        if !is_writable(name, value) {
            return Err(AnswerError::Header);
        }
        self.headers.push((name.into(), value.into()));
        Ok(self)
    }

    /// Offers a subprotocol; the first offered is the most wanted.
    ///
    /// # Errors
    /// [`AnswerError::Subprotocol`] when it is not a token or was offered before.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, AnswerError> {
        if !is_token(name.as_bytes()) || self.subprotocols.iter().any(|other| other == name) {
            return Err(AnswerError::Subprotocol);
        }
        self.subprotocols.push(name.into());
        Ok(self)
    }

    /// Writes the request with this nonce and offer of extensions, and says what the answer must
    /// match.
    pub(crate) fn write(
        self,
        nonce: [u8; 16],
        extensions: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Expected {
        let key = STANDARD.encode(nonce);
        let mut line = |parts: &[&str]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        };
        line(&["GET ", &self.target, " HTTP/1.1"]);
        line(&["Host: ", &self.host]);
        line(&["Upgrade: websocket"]);
        line(&["Connection: Upgrade"]);
        line(&["Sec-WebSocket-Key: ", &key]);
        line(&["Sec-WebSocket-Version: 13"]);
        if !self.subprotocols.is_empty() {
            line(&["Sec-WebSocket-Protocol: ", &self.subprotocols.join(", ")]);
        }
        if let Some(extensions) = extensions {
            line(&["Sec-WebSocket-Extensions: ", extensions]);
        }
        for (name, value) in &self.headers {
            line(&[name, ": ", value]);
        }
        line(&[]);
        Expected { accept: accept_key(key.as_bytes()), subprotocols: self.subprotocols }
    }
}
