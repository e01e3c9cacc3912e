//! What a peer makes of the bytes it gets.

use moorline_core::frame::{Expect, Header, Opcode, mask};

#[derive(Default)]
pub(crate) struct Received {
    /// Opcode, RSV bits and payload.
    pub(crate) messages: Vec<(Opcode, u8, Vec<u8>)>,
    pub(crate) pings: usize,
    pub(crate) pongs: Vec<Vec<u8>>,
    pub(crate) closes: usize,
}

impl Received {
    /// A parser of its own: what is not frame after frame panics.
    pub(crate) fn parse(mut wire: &[u8], masked: bool, rsv: u8) -> Self {
        let mut received = Self::default();
        let mut open = None::<(Opcode, u8, Vec<u8>)>;
        while !wire.is_empty() {
            assert_eq!(received.closes, 0, "nothing follows a Close");
            let expect = Expect { masked, continuation: open.is_some(), rsv };
            let (header, size) =
                Header::parse(wire, expect).expect("a right header").expect("a whole header");
            let (payload, rest) = wire[size..].split_at(header.len as usize);
            wire = rest;
            let mut payload = payload.to_vec();
            mask::apply(header.mask.unwrap_or_default(), &mut payload);
            match header.opcode {
                Opcode::Ping => received.pings += 1,
                Opcode::Pong => received.pongs.push(payload),
                Opcode::Close => received.closes += 1,
                _ => {
                    let (opcode, rsv, mut message) =
                        open.take().unwrap_or((header.opcode, header.rsv, Vec::new()));
                    message.extend_from_slice(&payload);
                    if header.fin {
                        received.messages.push((opcode, rsv, message));
                    } else {
                        open = Some((opcode, rsv, message));
                    }
                }
            }
        }
        assert!(open.is_none(), "a message without end");
        received
    }
}
