//! Frames to feed a connection with.

use crate::input::Input;
use moorline_core::frame::{Header, MAX_HEADER, Opcode, mask};

/// Appends a frame with this payload; its length goes into the header, its mask is applied.
pub(crate) fn push_frame(wire: &mut Vec<u8>, header: Header, payload: &[u8]) {
    let mut head = [0; MAX_HEADER];
    let size = Header { len: payload.len() as u64, ..header }.emit(&mut head);
    wire.extend_from_slice(&head[..size]);
    let start = wire.len();
    wire.extend_from_slice(payload);
    mask::apply(header.mask.unwrap_or_default(), &mut wire[start..]);
}

/// Frames whose headers are mostly right, so that short inputs come far.
pub(crate) fn cook(mut input: Input<'_>, masked: bool) -> Vec<u8> {
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
        let header = Header { fin: kind & 8 == 0, rsv: 0, opcode, mask: key, len: 0 };
        push_frame(&mut wire, header, &payload);
    }
    wire
}
