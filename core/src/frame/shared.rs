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
    #[cfg(feature = "deflate")]
    deflated: Option<Bytes>,
}

impl Frame {
    /// Outgoing messages are cut into frames of this many payload bytes. A Ping, Pong or Close waits
    /// for at most one such frame; smaller ones would cost header bytes and peer-side work.
    pub const CUT: usize = 64 * 1024;

    /// A text message.
    pub fn text(text: &str) -> Self {
        Self::new(encode(Opcode::Text, 0, text.as_bytes()))
    }

    /// A binary message.
    pub fn binary(data: &[u8]) -> Self {
        Self::new(encode(Opcode::Binary, 0, data))
    }

    /// The wire form: one or more unmasked frames.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A text message that is also compressed, once, for every connection that agreed to it. Each of
    /// them starts its context anew afterwards, so this is for what many receive.
    #[cfg(feature = "deflate")]
    pub fn text_deflated(text: &str, config: &crate::limits::Deflate) -> Self {
        Self::deflated(Opcode::Text, text.as_bytes(), config)
    }

    /// As [`Frame::text_deflated`], for a binary message.
    #[cfg(feature = "deflate")]
    pub fn binary_deflated(data: &[u8], config: &crate::limits::Deflate) -> Self {
        Self::deflated(Opcode::Binary, data, config)
    }

    #[cfg(feature = "deflate")]
    fn deflated(opcode: Opcode, payload: &[u8], config: &crate::limits::Deflate) -> Self {
        let mut frame = Self::new(encode(opcode, 0, payload));
        if payload.len() >= (config.threshold as usize).max(1) {
            let mut out = Vec::new();
            super::deflate::Deflater::new(true, 15, config).message(payload, &mut out);
            frame.deflated = Some(encode(opcode, RSV1, &out));
        }
        frame
    }

    #[cfg(feature = "deflate")]
    pub(crate) fn deflated_bytes(&self) -> Option<&Bytes> {
        self.deflated.as_ref()
    }

    fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            #[cfg(feature = "deflate")]
            deflated: None,
        }
    }
}

fn encode(opcode: Opcode, rsv: u8, payload: &[u8]) -> Bytes {
    let frames = payload.len().div_ceil(Frame::CUT).max(1);
    let mut bytes = Vec::with_capacity(payload.len() + frames * 10);
    for_each_cut(opcode, rsv, payload, |header, piece| {
        let mut head = [0; MAX_HEADER];
        let size = header.emit(&mut head);
        bytes.extend_from_slice(&head[..size]);
        bytes.extend_from_slice(piece);
    });
    bytes.into()
}

/// The bit that marks a compressed message, on its first frame (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 0x40;

/// Cuts a message into frames of at most [`Frame::CUT`] payload bytes, unmasked headers; `rsv` goes
/// to the first.
#[inline]
pub(crate) fn for_each_cut<'a>(
    opcode: Opcode,
    rsv: u8,
    payload: &'a [u8],
    mut each: impl FnMut(Header, &'a [u8]),
) {
    let (mut opcode, mut rsv) = (opcode, rsv);
    let mut rest = payload;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(Frame::CUT));
        let fin = after.is_empty();
        each(Header { fin, rsv, opcode, mask: None, len: piece.len() as u64 }, piece);
        if fin {
            return;
        }
        (opcode, rsv) = (Opcode::Continuation, 0);
        rest = after;
    }
}
