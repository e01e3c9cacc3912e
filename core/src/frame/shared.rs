//! A message encoded once for many connections.

use super::header::{Header, MAX_HEADER, Opcode};
use bytes::Bytes;

/// A complete message in a server's wire form, shared by reference count.
///
/// Encode it once, hand it to any number of [`Outbox::send`](crate::Outbox::send). Payloads over
/// [`Frame::CUT`] bytes are cut into several frames, so that a control frame can pass between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
}

impl Frame {
    /// Outgoing messages are cut into frames of this many payload bytes. A Ping, Pong or Close waits
    /// for at most one such frame; smaller ones would cost header bytes and peer-side work.
    pub const CUT: usize = 64 * 1024;

    /// A text message.
    pub fn text(text: &str) -> Self {
        Self::encode(Opcode::Text, text.as_bytes())
    }

    /// A binary message.
    pub fn binary(data: &[u8]) -> Self {
        Self::encode(Opcode::Binary, data)
    }

    /// The wire form: one or more unmasked frames.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn encode(opcode: Opcode, payload: &[u8]) -> Self {
        let frames = payload.len().div_ceil(Self::CUT).max(1);
        let mut bytes = Vec::with_capacity(payload.len() + frames * 10);
        for_each_cut(opcode, payload, |header, piece| {
            let mut head = [0; MAX_HEADER];
            let size = header.emit(&mut head);
            bytes.extend_from_slice(&head[..size]);
            bytes.extend_from_slice(piece);
        });
        Self { bytes: bytes.into() }
    }
}

/// Cuts a message into frames of at most [`Frame::CUT`] payload bytes, unmasked headers.
#[inline]
pub(crate) fn for_each_cut<'a>(
    opcode: Opcode,
    payload: &'a [u8],
    mut each: impl FnMut(Header, &'a [u8]),
) {
    let mut opcode = opcode;
    let mut rest = payload;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(Frame::CUT));
        let fin = after.is_empty();
        each(Header { fin, rsv: 0, opcode, mask: None, len: piece.len() as u64 }, piece);
        if fin {
            return;
        }
        opcode = Opcode::Continuation;
        rest = after;
    }
}
