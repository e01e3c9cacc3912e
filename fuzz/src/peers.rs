//! What a hostile or unlucky peer may send after the opening handshake.

use crate::input::{Input, Pieces};
use crate::run::{ANSWER, App, REQUEST, client, run, server, small_limits};
use moorline_core::Frame;
use moorline_core::frame::{Header, MAX_HEADER, Opcode, mask};

/// Bytes to a server: any split gives the same events and the same output as none; there is exactly
/// one `Closed`; memory stays within the limits.
///
/// The input: options, four lengths of pieces, then the wire (or a recipe for it).
pub fn server_bytes(data: &[u8]) {
    check(data, true);
}

/// Bytes to a client, likewise.
pub fn client_bytes(data: &[u8]) {
    check(data, false);
}

fn check(data: &[u8], is_server: bool) {
    let mut input = Input::new(&data[..data.len().min(8 * 1024)]);
    let options = input.byte();
    let pieces = Pieces::new(&mut input);
    let limits = if options & 1 == 0 { Default::default() } else { small_limits() };
    let close_after = (options & 2 != 0).then_some(usize::from(options >> 4));
    let app = App { echo: options & 8 == 0, close_after };
    let payload = if options & 4 == 0 { input.rest().to_vec() } else { cook(input, is_server) };
    let (start, open) =
        if is_server { (REQUEST, server as fn(&_) -> _) } else { (ANSWER, client as fn(&_) -> _) };
    let bytes = [start, &payload].concat();
    let whole = run(open(&limits), &limits, app, &bytes, None);
    let split = run(open(&limits), &limits, app, &bytes, Some(pieces));
    assert_eq!(split, whole);
}

/// Frames whose headers are mostly right, so that short inputs come far.
fn cook(mut input: Input<'_>, masked: bool) -> Vec<u8> {
    const OPCODES: [Opcode; 8] = [
        Opcode::Text,
        Opcode::Binary,
        Opcode::Continuation,
        Opcode::Ping,
        Opcode::Text,
        Opcode::Continuation,
        Opcode::Pong,
        Opcode::Close,
    ];
    let mut wire = Vec::new();
    while !input.is_empty() {
        let [kind, len] = input.bytes();
        let payload = input.take(len.into());
        // Repeated payloads reach the longer forms of the length.
        let payload = payload.repeat(if kind & 0x70 == 0x70 { 50 } else { 1 });
        let opcode = OPCODES[usize::from(kind & 7)];
        let key = masked.then_some([kind, len, 0x3D, 0xA5]);
        let fin = kind & 8 == 0;
        let header = Header { fin, rsv: 0, opcode, mask: key, len: payload.len() as u64 };
        let mut head = [0; MAX_HEADER];
        let size = header.emit(&mut head);
        wire.extend_from_slice(&head[..size]);
        let start = wire.len();
        wire.extend_from_slice(&payload);
        mask::apply(key.unwrap_or_default(), &mut wire[start..]);
        // What is sent back stays in order: with more queued, a Close passes what waits.
        if wire.len() > Frame::CUT / 2 {
            break;
        }
    }
    wire
}
