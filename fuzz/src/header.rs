//! Frame headers.

use crate::input::Input;
use moorline_core::frame::{Expect, Header, HeaderView, MAX_HEADER, Opcode};

/// `emit` and `parse` are inverses, and a header that is not all there is never judged differently
/// from the whole one.
///
/// The input: options, an opcode, a length and a key for `emit`; all of it again for `parse`.
pub fn header(data: &[u8]) {
    emit_then_parse(data);
    parse_then_emit(data);
}

fn emit_then_parse(data: &[u8]) {
    const OPCODES: [Opcode; 6] = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ];
    let mut input = Input::new(data);
    let options = input.byte();
    let opcode = OPCODES[usize::from(input.byte() % 6)];
    let shift = input.byte() % 64;
    let len = u64::from_be_bytes(input.bytes()) >> 1 >> shift;
    let header = Header {
        fin: options & 1 == 0 || opcode.is_control(),
        rsv: if matches!(opcode, Opcode::Text | Opcode::Binary) { options & 0x70 } else { 0 },
        opcode,
        mask: (options & 2 == 0).then(|| input.bytes()),
        len: if opcode.is_control() { len % 126 } else { len },
    };
    let expect = Expect {
        masked: header.mask.is_some(),
        continuation: opcode == Opcode::Continuation,
        rsv: header.rsv,
    };
    let mut bytes = [0; MAX_HEADER];
    let size = header.emit(&mut bytes);
    assert_eq!(Header::parse(&bytes, expect), Ok(Some((header, size))));
    let view = HeaderView::new(&bytes).expect("it is all there");
    assert_eq!(
        (view.fin(), view.rsv(), view.opcode_bits(), view.mask(), view.len(), view.size()),
        (header.fin, header.rsv, opcode as u8, header.mask, header.len, size)
    );
}

fn parse_then_emit(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let bytes = input.rest();
    let expect =
        Expect { masked: options & 1 == 0, continuation: options & 2 != 0, rsv: options & 0x40 };
    let whole = Header::parse(bytes, expect);
    for cut in 0..bytes.len().min(MAX_HEADER + 1) {
        match (Header::parse(&bytes[..cut], expect), &whole) {
            (Ok(None), Ok(Some((_, size)))) => assert!(cut < *size),
            (Ok(None), _) => {}
            (judged, whole) => assert_eq!(judged, *whole, "cut at {cut}"),
        }
    }
    if let Ok(Some((header, size))) = whole {
        let mut again = [0; MAX_HEADER];
        assert_eq!(header.emit(&mut again), size);
        assert_eq!(again[..size], bytes[..size]);
    }
}
