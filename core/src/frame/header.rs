//! The frame header (RFC 6455 section 5.2).
//!
//! ```text
//!  byte 0            byte 1            2 or 8 bytes      4 bytes
//! +-+---+-------+   +-+-----------+   +-------------+   +-------------+
//! |F|RSV|opcode |   |M| length    |   | extended    |   | masking key |
//! |I|123|       |   | | 0..=125   |   | length      |   | if M is set |
//! |N|   |       |   | | 126: 16 b |   | (minimal    |   |             |
//! | |   |       |   | | 127: 64 b |   |  form only) |   |             |
//! +-+---+-------+   +-+-----------+   +-------------+   +-------------+
//! ```

use super::MAX_CONTROL;
use crate::error::ProtocolError;

/// The longest frame header: two bytes, a 64-bit length and a masking key.
pub const MAX_HEADER: usize = 14;

/// What a frame carries (RFC 6455 section 5.2). The reserved values have no variant: they are a
/// [`ProtocolError::ReservedOpcode`].
#[derive(Debug, Copy, Clone, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message under way.
    Continuation = 0x0,
    /// The first, or only, frame of a text message.
    Text = 0x1,
    /// The first, or only, frame of a binary message.
    Binary = 0x2,
    /// The start or the answer of the closing handshake.
    Close = 0x8,
    /// A keep-alive that asks for a [`Opcode::Pong`].
    Ping = 0x9,
    /// The answer to a [`Opcode::Ping`], or an unasked sign of life.
    Pong = 0xA,
}

impl Opcode {
    /// Close, Ping and Pong: never fragmented, at most [`MAX_CONTROL`] bytes.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }
}

/// What the reader of a header may accept at this point of the stream.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Expect {
    /// A server expects masked frames, a client unmasked ones (RFC 6455 section 5.1).
    pub masked: bool,
    /// A fragmented message is under way: data frames must be continuations, and only then.
    pub continuation: bool,
    /// The RSV bits (0x40, 0x20, 0x10) that an extension has given a meaning; 0 without extensions.
    pub rsv: u8,
}

/// A complete header in somebody's bytes. The accessors cannot fail: [`HeaderView::new`] checked the
/// length once. No rule but the length is checked; that is [`Header::parse`].
#[derive(Debug, Copy, Clone)]
pub struct HeaderView<'a>(&'a [u8]);

impl<'a> HeaderView<'a> {
    /// The header at the start of `bytes`, or `None` while it is not all there.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let size = size_of_header(*bytes.get(1)?);
        Some(Self(bytes.get(..size)?))
    }

    /// How many bytes the header has: 2 to [`MAX_HEADER`].
    #[inline]
    pub fn size(self) -> usize {
        self.0.len()
    }

    /// This is the last frame of its message.
    #[inline]
    pub fn fin(self) -> bool {
        self.0[0] & 0x80 != 0
    }

    /// The RSV bits where they stand in the byte: 0x40, 0x20, 0x10.
    #[inline]
    pub fn rsv(self) -> u8 {
        self.0[0] & 0x70
    }

    /// The opcode's four bits, reserved values included.
    #[inline]
    pub fn opcode_bits(self) -> u8 {
        self.0[0] & 0x0F
    }

    /// Whether a masking key is there.
    #[inline]
    pub fn masked(self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// The payload length as sent, in bytes.
    #[inline]
    pub fn len(self) -> u64 {
        match self.0[1] & 0x7F {
            126 => u64::from(u16::from_be_bytes([self.0[2], self.0[3]])),
            127 => u64::from_be_bytes(self.0[2..10].try_into().expect("checked by new")),
            short => u64::from(short),
        }
    }

    /// Whether the payload is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The masking key, when there is one.
    #[inline]
    pub fn mask(self) -> Option<[u8; 4]> {
        self.masked().then(|| self.0[self.0.len() - 4..].try_into().expect("four bytes"))
    }
}

/// A frame header as a value. [`Header::emit`] and [`Header::parse`] are inverses.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// The RSV bits (0x40, 0x20, 0x10).
    pub rsv: u8,
    /// What the frame carries.
    pub opcode: Opcode,
    /// The masking key; `None` from a server.
    pub mask: Option<[u8; 4]>,
    /// The payload's length in bytes, at most 2^63 - 1.
    pub len: u64,
}

impl Header {
    /// Reads the header at the start of `bytes` and says how long it is; `None` while bytes are
    /// missing.
    ///
    /// # Errors
    /// The peer's fault, and reported at the first byte that proves it, so that the verdict does not
    /// depend on how the stream was split.
    #[inline]
    pub fn parse(bytes: &[u8], expect: Expect) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let opcode = check_first(first, expect)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        check_second(second, opcode, expect)?;
        let Some(view) = HeaderView::new(bytes) else {
            // The length is judged as soon as it is there, before the masking key.
            check_extended(bytes)?;
            return Ok(None);
        };
        check_extended(bytes)?;
        let header =
            Self { fin: view.fin(), rsv: view.rsv(), opcode, mask: view.mask(), len: view.len() };
        Ok(Some((header, view.size())))
    }

    /// Writes the header in its shortest form into `out` and says how many bytes it took.
    #[inline]
    pub fn emit(&self, out: &mut [u8; MAX_HEADER]) -> usize {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out[0] = if self.fin { 0x80 } else { 0 } | self.rsv & 0x70 | self.opcode as u8;
        let mut size = if self.len <= 125 {
            out[1] = masked | self.len as u8;
            2
        } else if let Ok(len) = u16::try_from(self.len) {
            out[1] = masked | 126;
            out[2..4].copy_from_slice(&len.to_be_bytes());
            4
        } else {
            out[1] = masked | 127;
            out[2..10].copy_from_slice(&self.len.to_be_bytes());
            10
        };
        if let Some(key) = self.mask {
            out[size..size + 4].copy_from_slice(&key);
            size += 4;
        }
        size
    }
}

#[inline]
fn size_of_header(second: u8) -> usize {
    let extended = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + usize::from(second >> 7) * 4
}

#[inline]
fn check_first(first: u8, expect: Expect) -> Result<Opcode, ProtocolError> {
    let Some(opcode) = Opcode::from_bits(first & 0x0F) else {
        return Err(ProtocolError::ReservedOpcode(first & 0x0F));
    };
    // An extension gives RSV bits a meaning on the first frame of a message only (RFC 7692
    // section 6.1), never on control frames.
    let allowed = match opcode {
        Opcode::Text | Opcode::Binary => expect.rsv,
        _ => 0,
    };
    if first & 0x70 & !allowed != 0 {
        return Err(ProtocolError::ReservedBits(first & 0x70));
    }
    match opcode {
        Opcode::Close | Opcode::Ping | Opcode::Pong if first & 0x80 == 0 => {
            Err(ProtocolError::FragmentedControl(opcode))
        }
        Opcode::Continuation if !expect.continuation => Err(ProtocolError::UnexpectedContinuation),
        Opcode::Text | Opcode::Binary if expect.continuation => {
            Err(ProtocolError::ExpectedContinuation)
        }
        _ => Ok(opcode),
    }
}

#[inline]
fn check_second(second: u8, opcode: Opcode, expect: Expect) -> Result<(), ProtocolError> {
    match (second & 0x80 != 0, expect.masked) {
        (false, true) => return Err(ProtocolError::Unmasked),
        (true, false) => return Err(ProtocolError::Masked),
        _ => {}
    }
    if opcode.is_control() && usize::from(second & 0x7F) > MAX_CONTROL {
        return Err(ProtocolError::LongControl(opcode));
    }
    Ok(())
}

/// RFC 6455 section 5.2: the shortest form must be used and the top bit of a 64-bit length is 0.
#[inline]
fn check_extended(bytes: &[u8]) -> Result<(), ProtocolError> {
    match bytes[1] & 0x7F {
        126 => match bytes.get(2..4) {
            Some(&[0, low]) if low < 126 => Err(ProtocolError::NonMinimalLength),
            _ => Ok(()),
        },
        127 => {
            if bytes.get(2).is_some_and(|top| top & 0x80 != 0) {
                return Err(ProtocolError::HugeLength);
            }
            match bytes.get(2..10) {
                Some([0, 0, 0, 0, 0, 0, _, _]) => Err(ProtocolError::NonMinimalLength),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Expect = Expect { masked: true, continuation: false, rsv: 0 };

    #[test]
    fn lengths_at_the_edges_take_the_shortest_form_and_come_back() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 31, (1 << 63) - 1] {
            let header =
                Header { fin: true, rsv: 0, opcode: Opcode::Binary, mask: Some([1, 2, 3, 4]), len };
            let mut bytes = [0; MAX_HEADER];
            let size = header.emit(&mut bytes);
            let expected = if len < 126 {
                6
            } else if len < 65_536 {
                8
            } else {
                14
            };
            assert_eq!(size, expected, "length {len}");
            assert_eq!(Header::parse(&bytes[..size], SERVER), Ok(Some((header, size))));
            for cut in 0..size {
                assert_eq!(Header::parse(&bytes[..cut], SERVER), Ok(None), "{len} cut at {cut}");
            }
        }
    }

    #[test]
    fn non_minimal_and_huge_lengths_are_refused_before_the_masking_key() {
        for (bytes, error) in [
            (&[0x82, 0xFE, 0, 125][..], ProtocolError::NonMinimalLength),
            (&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], ProtocolError::NonMinimalLength),
            (&[0x82, 0xFF, 0x80], ProtocolError::HugeLength),
        ] {
            assert_eq!(Header::parse(bytes, SERVER), Err(error));
        }
    }

    #[test]
    fn the_first_byte_alone_can_be_refused() {
        let inside = Expect { continuation: true, ..SERVER };
        for (byte, expect, error) in [
            (0x83, SERVER, ProtocolError::ReservedOpcode(3)),
            (0x8F, SERVER, ProtocolError::ReservedOpcode(15)),
            (0xC1, SERVER, ProtocolError::ReservedBits(0x40)),
            (0xF8, SERVER, ProtocolError::ReservedBits(0x70)),
            (0x09, SERVER, ProtocolError::FragmentedControl(Opcode::Ping)),
            (0x80, SERVER, ProtocolError::UnexpectedContinuation),
            (0x81, inside, ProtocolError::ExpectedContinuation),
            (0xC0, Expect { rsv: 0x40, ..inside }, ProtocolError::ReservedBits(0x40)),
            (0xC9, Expect { rsv: 0x40, ..SERVER }, ProtocolError::ReservedBits(0x40)),
        ] {
            assert_eq!(Header::parse(&[byte], expect), Err(error), "{byte:02x}");
        }
        assert_eq!(Header::parse(&[0xC1], Expect { rsv: 0x40, ..SERVER }), Ok(None));
    }

    #[test]
    fn the_second_byte_settles_masking_and_control_length() {
        let client = Expect { masked: false, ..SERVER };
        assert_eq!(Header::parse(&[0x81, 0x05], SERVER), Err(ProtocolError::Unmasked));
        assert_eq!(Header::parse(&[0x81, 0x85], client), Err(ProtocolError::Masked));
        for length in [126, 127] {
            assert_eq!(
                Header::parse(&[0x89, 0x80 | length], SERVER),
                Err(ProtocolError::LongControl(Opcode::Ping))
            );
        }
    }
}
