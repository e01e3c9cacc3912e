//! What the benches share: the payloads, the client's wire bytes, and a transport that plays them
//! for ever.

use moorline_core::frame::mask;
use moorline_core::frame::{Header, MAX_HEADER, Opcode};
use moorline_core::{Accept, Connection, Event, Limits};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

/// The request of the benches: what a browser sends, with the example key of RFC 6455.
pub const REQUEST: &[u8] = b"GET /ws?session=main HTTP/1.1\r\n\
    Host: gateway.example:18790\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: */*\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Origin: https://gateway.example\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    Upgrade: websocket\r\n\r\n";

/// The sizes of the read benches, with their names.
pub const SIZES: [(&str, usize); 6] = [
    ("16B", 16),
    ("125B", 125),
    ("1KiB", 1024),
    ("16KiB", 16 * 1024),
    ("64KiB", 64 * 1024),
    ("1MiB", 1024 * 1024),
];

/// What a payload consists of.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Bytes that are not UTF-8.
    Binary,
    /// English.
    Ascii,
    /// One to four bytes per code point, as chats have it.
    Mixed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Binary, Self::Ascii, Self::Mixed];

    /// As it stands in the names of the benches.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Ascii => "ascii",
            Self::Mixed => "mixed",
        }
    }

    /// A payload of exactly `len` bytes.
    pub fn payload(self, len: usize) -> Vec<u8> {
        let text = match self {
            Self::Binary => return (0..len).map(|at| (at.wrapping_mul(167) >> 3) as u8).collect(),
            Self::Ascii => "The quick brown fox jumps over the lazy dog, then rests for a while. ",
            Self::Mixed => {
                "Привет, как дела? Schöne Grüße aus Köln 👋🏽 — 今日は良い天気ですね。 ok! "
            }
        };
        let mut payload = text.repeat(len / text.len() + 1);
        payload.truncate(payload.floor_char_boundary(len));
        // A code point that does not fit is replaced by spaces.
        payload.extend(std::iter::repeat_n(' ', len - payload.len()));
        payload.into_bytes()
    }
}

/// A client's masked frame in wire form; each `turn` has another key.
pub fn client_frame(kind: Kind, payload: &[u8], turn: u32) -> Vec<u8> {
    let key = turn.wrapping_mul(0x9E37_79B9).wrapping_add(0x37FA_213D).to_be_bytes();
    let opcode = if kind == Kind::Binary { Opcode::Binary } else { Opcode::Text };
    let header = Header { fin: true, rsv: 0, opcode, mask: Some(key), len: payload.len() as u64 };
    let mut head = [0; MAX_HEADER];
    let size = header.emit(&mut head);
    let mut frame = [&head[..size], payload].concat();
    mask::apply(key, &mut frame[size..]);
    frame
}

/// A batch of frames as one readiness event might bring it: as many as fit into [`BATCH`] bytes of
/// wire, at least one.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The wire bytes.
    pub bytes: Vec<u8>,
    /// How many frames they hold.
    pub frames: usize,
}

/// Small enough that source and target stay in a first-level cache: the copy that stands for the
/// kernel's is paid by every reader, and should not be what is measured.
pub const BATCH: usize = 16 * 1024;

impl Batch {
    /// Frames with `len` bytes of `kind`.
    pub fn new(kind: Kind, len: usize) -> Self {
        let payload = kind.payload(len);
        let one = client_frame(kind, &payload, 0).len();
        let frames = (BATCH / one).max(1);
        let bytes =
            (0..frames as u32).flat_map(|turn| client_frame(kind, &payload, turn)).collect();
        Self { bytes, frames }
    }
}

/// A transport that plays a [`Batch`] again and again. One read never goes beyond the end of the
/// batch, as a socket's read does not go beyond what has arrived. Everything written is dropped.
#[derive(Debug, Clone)]
pub struct Endless {
    bytes: Vec<u8>,
    at: usize,
}

impl Endless {
    /// Plays `batch`.
    pub fn new(batch: &Batch) -> Self {
        Self { bytes: batch.bytes.clone(), at: 0 }
    }

    /// What can be read now; at most `len` bytes of it are consumed.
    #[inline]
    pub fn play(&mut self, len: usize) -> &[u8] {
        let start = self.at;
        let end = self.bytes.len().min(start + len);
        self.at = if end == self.bytes.len() { 0 } else { end };
        &self.bytes[start..end]
    }
}

impl Read for Endless {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.play(buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for Endless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that has accepted [`REQUEST`]; its answer has left.
pub fn open_server(limits: Limits, now: Instant) -> Connection {
    let mut server = Connection::server(Arc::new(limits), now);
    let mut request = REQUEST.to_vec();
    let mut turn = server.receive(now, &mut request);
    while let Some((event, outbox)) = turn.next_event() {
        if let Event::Request(_) = event {
            outbox.accept(&Accept::default()).expect("an upgrade");
        }
    }
    let answer = server.outbox(now).queued();
    server.outbox(now).written(now, answer);
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_length_and_kind() {
        for (_, len) in SIZES {
            for kind in Kind::ALL {
                let payload = kind.payload(len);
                assert_eq!(payload.len(), len);
                assert_eq!(payload.is_ascii(), kind == Kind::Ascii);
                assert_eq!(std::str::from_utf8(&payload).is_ok(), kind != Kind::Binary);
            }
        }
    }
}
