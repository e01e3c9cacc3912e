//! A peer that compresses (RFC 7692), with flate2 used directly.

use super::*;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// What a compressor leaves out at the end of a message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// How one end compresses.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Every message stands alone.
    pub alone: bool,
    /// The base-2 logarithm of its window.
    pub bits: u8,
}

/// Of one direction, what [`Terms`] say of `side` in a negotiated header value.
pub fn terms_of(agreed: &str, side: &str) -> Terms {
    let bits = agreed.split_once(&format!("{side}_max_window_bits=")).map_or(15, |(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    });
    Terms { alone: agreed.contains(&format!("{side}_no_context_takeover")), bits }
}

/// The other end of a subject that agreed on compression.
pub struct DeflatePeer {
    role: Role,
    own: Terms,
    theirs: Terms,
    compress: Compress,
    decompress: Decompress,
}

impl DeflatePeer {
    /// The peer of a subject of this role, and what both agreed on.
    pub fn new(role: Role, agreed: &str) -> Self {
        let (client, server) = (terms_of(agreed, "client"), terms_of(agreed, "server"));
        let (own, theirs) = match role {
            Role::Server => (client, server),
            Role::Client => (server, client),
        };
        let (compress, decompress) = (compressor(own), Decompress::new(false));
        let mut peer = Self { role, own, theirs, compress, decompress };
        peer.forget_theirs();
        peer
    }

    /// The compressed form of a message.
    pub fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if self.own.alone {
            self.compress = compressor(self.own);
        }
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 8 + 256);
        self.compress.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        out
    }

    /// A compressed message as frames of at most `fragment` bytes; an exact multiple ends in an empty
    /// one. 0: one frame.
    pub fn frames(&mut self, opcode: u8, payload: &[u8], fragment: usize) -> Vec<u8> {
        let data = self.deflate(payload);
        if fragment == 0 || data.len() <= fragment {
            return peer_frame(self.role, 0xC0 | opcode, &data);
        }
        let mut wire = Vec::new();
        let mut first = 0x40 | opcode;
        for piece in data.chunks(fragment) {
            let last = if piece.len() < fragment { 0x80 } else { 0 };
            wire.extend(peer_frame(self.role, first | last, piece));
            first = 0;
        }
        if data.len().is_multiple_of(fragment) {
            wire.extend(peer_frame(self.role, 0x80, b""));
        }
        wire
    }

    /// The messages and control frames in what the subject has sent, inflated.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Wire> {
        let frames = parse_deflate_frames(self.role, bytes);
        let compressed: Vec<bool> =
            frames.iter().filter(|(_, frame)| frame.opcode != 0).map(|(bit, _)| *bit).collect();
        let frames: Vec<_> = frames.into_iter().map(|(_, frame)| frame).collect();
        let mut messages = messages(&frames);
        // In the order of their first frames only when no control frame stands inside a message.
        assert_eq!(messages.len(), compressed.len(), "whole messages");
        for (message, compressed) in messages.iter_mut().zip(compressed) {
            if compressed {
                message.payload = self.inflate(&message.payload);
            }
        }
        messages
    }

    fn inflate(&mut self, data: &[u8]) -> Vec<u8> {
        if self.theirs.alone {
            self.forget_theirs();
        }
        let data = [data, &TAIL].concat();
        let (mut read, mut out) = (0, Vec::new());
        while read < data.len() {
            out.reserve(64 * 1024);
            let before = self.decompress.total_in();
            self.decompress
                .decompress_vec(&data[read..], &mut out, FlushDecompress::Sync)
                .expect("within the window that was agreed on");
            read += (self.decompress.total_in() - before) as usize;
        }
        out
    }

    fn forget_theirs(&mut self) {
        self.decompress = Decompress::new_with_window_bits(false, self.theirs.bits);
    }
}

fn compressor(terms: Terms) -> Compress {
    Compress::new_with_window_bits(Compression::new(6), false, terms.bits)
}

/// A subject that agreed on compression, and its peer. `wanted` is the peer's offer, or its answer to
/// the subject's offer.
pub fn open_deflate(role: Role, limits: Limits, app: App, wanted: &str) -> (Subject, DeflatePeer) {
    let line = format!("Sec-WebSocket-Extensions: {wanted}\r\n\r\n");
    let (mut subject, agreed) = match role {
        Role::Server => {
            let mut subject = Subject::server(limits, app);
            subject.feed(&[&REQUEST[..REQUEST.len() - 2], line.as_bytes()].concat());
            let answer = String::from_utf8(subject.take_output()).unwrap();
            let agreed = extensions(&answer).unwrap_or_else(|| panic!("{wanted}: {answer}"));
            (subject, agreed)
        }
        Role::Client => {
            let mut subject = Subject::client(limits, app);
            let request = subject.take_output();
            let offer = extensions(std::str::from_utf8(&request).unwrap());
            assert!(offer.is_some(), "the client offers it");
            let answer = answer_to(&request);
            subject.feed(&[&answer[..answer.len() - 2], line.as_bytes()].concat());
            (subject, wanted.to_string())
        }
    };
    assert_eq!(subject.events.pop(), Some(Recorded::Open), "{wanted}");
    subject.events.clear();
    (subject, DeflatePeer::new(role, &agreed))
}

/// The value of `Sec-WebSocket-Extensions` in a head.
pub fn extensions(head: &str) -> Option<String> {
    let (_, rest) = head.split_once("Sec-WebSocket-Extensions: ")?;
    rest.split_once("\r\n").map(|(value, _)| value.to_string())
}
