//! Connections that agreed on permessage-deflate (RFC 7692), and compressed frames to feed them.

use crate::frames::push_frame;
use crate::input::{Input, Pieces};
use crate::run::{ANSWER, App, REQUEST, client, run, server};
use flate2::{Compress, Compression, FlushCompress};
use moorline_core::frame::{Header, Opcode};
use moorline_core::{Connection, Deflate, Limits};

/// What a sender leaves out at the end of a message (RFC 7692 section 7.2.1).
pub(crate) const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Bytes to a connection that agreed on compression: any split gives the same events and the same
/// output as none, however much a turn may inflate; memory stays within the limits.
///
/// The input: the agreement, options, four lengths of pieces, then the wire (or a recipe for it).
pub fn compressed_bytes(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(8 * 1024)]);
    let terms = Terms::new(input.byte());
    let options = input.byte();
    let pieces = Pieces::new(&mut input);
    let close_after = (options & 2 != 0).then_some(usize::from(options >> 4));
    let app = App { echo: options & 1 == 0, close_after };
    let wire = match options & 4 {
        0 => input.rest().to_vec(),
        _ => Recipe::cook(input, &terms).wire,
    };
    let limits = terms.limits();
    let bytes = [&terms.start()[..], &wire].concat();
    let whole = run(terms.open(&limits), &limits, app, &bytes, None);
    let split = run(terms.open(&limits), &limits, app, &bytes, Some(pieces.clone()));
    assert_eq!(split, whole);

    // Less per turn only makes more turns of it.
    let mut limits = limits;
    limits.deflate.as_mut().expect("it compresses").turn = 1000;
    let turns = run(terms.open(&limits), &limits, app, &bytes, Some(pieces));
    assert_eq!(turns, whole);
}

/// What both ends have agreed on, and what ours allows.
pub(crate) struct Terms {
    pub(crate) is_server: bool,
    /// No context is taken from message to message, in either direction.
    pub(crate) alone: bool,
    /// The window of both directions, 8 to 15 bits.
    pub(crate) bits: u8,
    /// Limits that short inputs can reach.
    pub(crate) small: bool,
}

impl Terms {
    pub(crate) fn new(options: u8) -> Self {
        Self {
            is_server: options & 1 == 0,
            alone: options & 2 != 0,
            bits: 15 - (options >> 4) % 7,
            small: options & 4 != 0,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        let deflate = Deflate {
            no_context_takeover: self.alone,
            window_bits: self.bits.max(9),
            threshold: 1,
            ratio: if self.small { 20 } else { 100 },
            ..Deflate::default()
        };
        let message = if self.small { 20_000 } else { Limits::default().message };
        Limits { message, deflate: Some(deflate), ..Limits::default() }
    }

    pub(crate) fn open(&self, limits: &Limits) -> Connection {
        if self.is_server { server(limits) } else { client(limits) }
    }

    /// The peer's half of the handshake.
    pub(crate) fn start(&self) -> Vec<u8> {
        let alone = match self.alone {
            true => "; server_no_context_takeover; client_no_context_takeover",
            false => "",
        };
        let (head, bits) = match self.is_server {
            true => (REQUEST, "; client_max_window_bits".into()),
            false => (ANSWER, format!("; client_max_window_bits={}", self.bits)),
        };
        let line = format!(
            "Sec-WebSocket-Extensions: permessage-deflate{alone}{bits}; server_max_window_bits={}\r\n",
            self.bits
        );
        [&head[..head.len() - 2], line.as_bytes(), b"\r\n"].concat()
    }
}

/// Messages from a peer that compresses with flate2, and not always well.
#[derive(Default)]
pub(crate) struct Recipe {
    pub(crate) wire: Vec<u8>,
    pub(crate) messages: Vec<Sent>,
}

/// A message as it stands on the wire.
pub(crate) struct Sent {
    pub(crate) opcode: Opcode,
    pub(crate) is_compressed: bool,
    pub(crate) payload: Vec<u8>,
}

impl Recipe {
    /// One message of every two bytes and as many more as the second says.
    pub(crate) fn cook(mut input: Input<'_>, terms: &Terms) -> Self {
        let mut recipe = Self::default();
        let mut context = None;
        let mut total = 0;
        while !input.is_empty() && total < 300_000 {
            let [kind, len] = input.bytes();
            let mut data = shape(input.take(len.into()), kind >> 3 & 3);
            total += data.len();
            let is_text = kind & 4 == 0;
            if is_text && kind & 0x80 == 0 {
                data.iter_mut().for_each(|byte| *byte &= 0x7F);
            }
            let payload = match kind & 3 {
                1 | 2 => data,
                source => {
                    if terms.alone {
                        context = None;
                    }
                    let level = Compression::new(if kind & 0x40 == 0 { 1 } else { 9 });
                    let context = context.get_or_insert_with(|| {
                        Compress::new_with_window_bits(level, false, terms.bits)
                    });
                    let mut payload = deflated(context, &data);
                    if source == 3 {
                        let at = usize::from(len) * 7 % payload.len();
                        payload[at] ^= 1 << (len % 8);
                    }
                    payload
                }
            };
            let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
            let message = Sent { opcode, is_compressed: kind & 3 != 1, payload };
            recipe.push(message, kind & 0x20 != 0, terms.is_server);
        }
        recipe
    }

    fn push(&mut self, message: Sent, is_cut: bool, masked: bool) {
        let Sent { opcode, is_compressed, payload } = &message;
        let key = masked.then_some([0xC3, 7, 0x3D, 0xA5]);
        let rsv = if *is_compressed { 0x40 } else { 0 };
        let whole = Header { fin: true, rsv, opcode: *opcode, mask: key, len: 0 };
        if is_cut {
            let (first, second) = payload.split_at(payload.len() / 3);
            push_frame(&mut self.wire, Header { fin: false, ..whole }, first);
            let plain = Header { rsv: 0, ..whole };
            push_frame(&mut self.wire, Header { opcode: Opcode::Ping, ..plain }, b"between");
            push_frame(&mut self.wire, Header { opcode: Opcode::Continuation, ..plain }, second);
        } else {
            push_frame(&mut self.wire, whole, payload);
        }
        self.messages.push(message);
    }
}

/// Few bytes of input become much that compresses well, by what came long before, or first well and
/// then badly.
pub(crate) fn shape(seed: &[u8], kind: u8) -> Vec<u8> {
    match kind {
        0 => seed.to_vec(),
        1 => seed.repeat(50),
        2 => noise(seed, seed.len() * 40).repeat(2),
        _ => [seed.repeat(1000), noise(seed, seed.len() * 40)].concat(),
    }
}

fn noise(seed: &[u8], len: usize) -> Vec<u8> {
    let mut state =
        seed.iter().fold(len as u64, |state, byte| state.wrapping_mul(31) + u64::from(*byte));
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(len)
    .collect()
}

/// The compressed form of a message, without its tail.
fn deflated(context: &mut Compress, data: &[u8]) -> Vec<u8> {
    if data.is_empty() {
        // RFC 7692 section 7.2.3.6.
        return vec![0];
    }
    let mut out = Vec::with_capacity(data.len() + data.len() / 8 + 1024);
    context.compress_vec(data, &mut out, FlushCompress::Sync).expect("room for all of it");
    assert!(out.ends_with(&TAIL));
    out.truncate(out.len() - TAIL.len());
    out
}
