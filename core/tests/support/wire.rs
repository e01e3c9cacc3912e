//! Frames as bytes, built and read without the code under test.

use super::Role;

/// A frame that was read from the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Wire {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Wire {
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { fin: true, opcode, payload: payload.as_ref().to_vec() }
    }

    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::new(1, text)
    }

    pub fn binary(data: impl AsRef<[u8]>) -> Self {
        Self::new(2, data)
    }

    pub fn pong(data: impl AsRef<[u8]>) -> Self {
        Self::new(10, data)
    }

    pub fn ping() -> Self {
        Self::new(9, b"")
    }

    /// The code of a Close frame; `None` when it carries none.
    pub fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode, 8, "{self:?}");
        Some(u16::from_be_bytes(self.payload.get(..2)?.try_into().ok()?))
    }
}

/// The payload of a Close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A frame with this first byte and its length in the shortest form.
pub fn frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, key, payload.len() as u64);
    match key {
        Some(key) => bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b)),
        None => bytes.extend_from_slice(payload),
    }
    bytes
}

/// A frame's header alone.
pub fn header(first: u8, key: Option<[u8; 4]>, len: u64) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    if len < 126 {
        bytes.push(masked | len as u8);
    } else if len < 65_536 {
        bytes.push(masked | 126);
        bytes.extend_from_slice(&(len as u16).to_be_bytes());
    } else {
        bytes.push(masked | 127);
        bytes.extend_from_slice(&len.to_be_bytes());
    }
    bytes.extend(key.into_iter().flatten());
    bytes
}

/// The key that a peer of `role` masks with.
pub fn peer_key(role: Role) -> Option<[u8; 4]> {
    (role == Role::Server).then_some([0x37, 0xFA, 0x21, 0x3D])
}

/// A frame as the peer of `role` sends it.
pub fn peer_frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, peer_key(role), payload)
}

/// Frames that a connection of `role` has written. They must be whole and keep every rule that RFC
/// 6455 has for a sender.
pub fn parse_frames(role: Role, bytes: &[u8]) -> Vec<Wire> {
    let (frames, rest) = parse_some_frames(role, bytes);
    assert!(rest.is_empty(), "{} bytes of an unfinished frame", rest.len());
    frames
}

/// As [`parse_frames`], with what is left of an unfinished frame.
pub fn parse_some_frames(role: Role, bytes: &[u8]) -> (Vec<Wire>, &[u8]) {
    let (frames, rest) = parse_with_bits(role, bytes);
    assert!(frames.iter().all(|(bits, _)| *bits == 0), "reserved bits");
    (frames.into_iter().map(|(_, frame)| frame).collect(), rest)
}

/// As [`parse_frames`] on a connection that agreed on compression: each frame with whether it begins
/// a compressed message.
pub fn parse_deflate_frames(role: Role, bytes: &[u8]) -> Vec<(bool, Wire)> {
    let (frames, rest) = parse_with_bits(role, bytes);
    assert!(rest.is_empty(), "{} bytes of an unfinished frame", rest.len());
    let compressed = |(bits, frame): (u8, Wire)| {
        // RFC 7692 section 6: RSV1 stands on the first frame of a message and nowhere else.
        assert!(bits == 0 || bits == 0x40 && matches!(frame.opcode, 1 | 2), "{bits:#x} {frame:?}");
        (bits != 0, frame)
    };
    frames.into_iter().map(compressed).collect()
}

fn parse_with_bits(role: Role, mut bytes: &[u8]) -> (Vec<(u8, Wire)>, &[u8]) {
    let mut frames = Vec::new();
    let mut open = false;
    while let Some((frame, rest)) = parse_frame(role, bytes) {
        let last_was_close = frames.last().is_some_and(|(_, frame): &(_, Wire)| frame.opcode == 8);
        assert!(!last_was_close, "a frame after the Close");
        match frame.opcode {
            8..=10 => assert!(frame.fin && frame.payload.len() <= 125, "{frame:?}"),
            0 => {
                assert!(open, "an unexpected continuation");
                open = !frame.fin;
            }
            1 | 2 => {
                assert!(!open, "a message inside a message");
                open = !frame.fin;
            }
            other => panic!("opcode {other}"),
        }
        frames.push((bytes[0] & 0x70, frame));
        bytes = rest;
    }
    (frames, bytes)
}

fn parse_frame(role: Role, bytes: &[u8]) -> Option<(Wire, &[u8])> {
    let [first, second, ..] = *bytes else { return None };
    assert_eq!(second & 0x80 != 0, role == Role::Client, "who masks");
    let (mut at, len) = match second & 0x7F {
        126 => {
            let len = u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()));
            assert!(len > 125, "shortest form");
            (4, len)
        }
        127 => {
            let len = u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap());
            assert!(len > 65_535, "shortest form");
            (10, len)
        }
        short => (2, u64::from(short)),
    };
    let mut key = [0; 4];
    if role == Role::Client {
        key = bytes.get(at..at + 4)?.try_into().unwrap();
        at += 4;
    }
    let payload = bytes.get(at..at + len as usize)?;
    let payload = payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect();
    let frame = Wire { fin: first & 0x80 != 0, opcode: first & 0x0F, payload };
    Some((frame, &bytes[at + len as usize..]))
}

/// Joins the frames of each message: what an application would see, control frames where they stood.
pub fn messages(frames: &[Wire]) -> Vec<Wire> {
    let mut messages: Vec<Wire> = Vec::new();
    let mut under_way: Option<Wire> = None;
    for frame in frames {
        if frame.opcode >= 8 {
            messages.push(frame.clone());
            continue;
        }
        match &mut under_way {
            Some(message) => message.payload.extend_from_slice(&frame.payload),
            none => *none = Some(frame.clone()),
        }
        if frame.fin
            && let Some(mut message) = under_way.take()
        {
            message.fin = true;
            messages.push(message);
        }
    }
    messages
}
