//! Compression of message payloads (RFC 7692 section 7.2). Contexts are made on first use.

use crate::limits::Deflate;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a sender leaves out at the end of a message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The same for a receiver, and an empty block behind it that gives nothing and changes nothing. A
/// message that was cut short takes them for data of its own: for output, or for nonsense.
const END: [u8; 9] = [0, 0, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF];

/// Inflated bytes that are handed on at once.
const PIECE: usize = 16 * 1024;

/// The ratio cap holds only beyond this much output: short repetitive texts are no attack.
const RATIO_FREE: u64 = 64 * 1024;

/// Why inflating stopped.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum InflateError<E> {
    /// The data is not deflate, or says more than the window allows.
    Corrupt,
    /// More output per input than this, [`Deflate::ratio`].
    Ratio(u32),
    /// The receiver of the output refused it.
    Refused(E),
}

/// The receiving half: one message after another.
#[derive(Debug)]
pub(crate) struct Inflater {
    context: Option<Decompress>,
    no_context_takeover: bool,
    ratio: u32,
    /// Of the message under way.
    taken: u64,
    given: u64,
}

impl Inflater {
    pub(crate) fn new(no_context_takeover: bool, ratio: u32) -> Self {
        Self { context: None, no_context_takeover, ratio, taken: 0, given: 0 }
    }

    /// Inflates a piece of a message into `sink`, which may refuse.
    pub(crate) fn push<E>(
        &mut self,
        piece: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), InflateError<E>> {
        self.run(piece, &mut sink)
    }

    /// The message is complete, or it is corrupt.
    pub(crate) fn finish<E>(&mut self) -> Result<(), InflateError<E>> {
        // Of a message without a single byte the context knows nothing: it is empty.
        if self.taken > 0 {
            self.run(&END, &mut |_| Err(())).map_err(|_| InflateError::Corrupt)?;
        }
        self.taken = 0;
        self.given = 0;
        if self.no_context_takeover {
            // 40 KiB are not kept between messages that may be minutes apart.
            self.context = None;
        }
        Ok(())
    }

    fn run<E>(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), InflateError<E>> {
        let ratio = u64::from(self.ratio.max(1));
        // A window of 15 bits reads what any smaller one wrote.
        let context = self.context.get_or_insert_with(|| Decompress::new(false));
        let mut output = [0; PIECE];
        loop {
            let (before_in, before_out) = (context.total_in(), context.total_out());
            // To the next multiple within the message: the ratio is looked at in the same places,
            // and what comes out before a fault is judged before it, however the input was split.
            let room = PIECE - (self.given % PIECE as u64) as usize;
            let status = context.decompress(input, &mut output[..room], FlushDecompress::Sync);
            let taken = (context.total_in() - before_in) as usize;
            let given = (context.total_out() - before_out) as usize;
            input = &input[taken..];
            self.taken += taken as u64;
            self.given += given as u64;
            if given > 0 {
                sink(&output[..given]).map_err(InflateError::Refused)?;
            }
            let status = status.map_err(|_| InflateError::Corrupt)?;
            if given == room && self.given > RATIO_FREE && self.given / ratio > self.taken {
                return Err(InflateError::Ratio(self.ratio));
            }
            match status {
                // A final block ends the stream, not the message (RFC 7692 section 7.2.3.4).
                Status::StreamEnd => context.reset(false),
                _ if taken == 0 && given == 0 && !input.is_empty() => {
                    return Err(InflateError::Corrupt);
                }
                _ => {}
            }
            if input.is_empty() && given < room {
                return Ok(());
            }
        }
    }

    /// Heap bytes held: what zlib needs for a window of 15 bits.
    pub(crate) fn retained(&self) -> usize {
        if self.context.is_some() { 48 * 1024 } else { 0 }
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct Deflater {
    context: Option<Compress>,
    no_context_takeover: bool,
    bits: u8,
    level: u32,
}

impl Deflater {
    /// `bits` must be 9 to 15.
    pub(crate) fn new(no_context_takeover: bool, bits: u8, config: &Deflate) -> Self {
        Self { context: None, no_context_takeover, bits: bits.clamp(9, 15), level: config.level }
    }

    /// Appends the compressed form of a whole, non-empty message to `out`.
    pub(crate) fn message(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let (level, bits) = (Compression::new(self.level.min(9)), self.bits);
        let context =
            self.context.get_or_insert_with(|| Compress::new_with_window_bits(level, false, bits));
        let start = out.len();
        let mut input = payload;
        out.reserve(payload.len() / 4 + 64);
        loop {
            let before = context.total_in();
            // It fails only after a stream was finished, which never happens here.
            let _ = context.compress_vec(input, out, FlushCompress::Sync);
            input = &input[(context.total_in() - before) as usize..];
            // Room that is left means that everything was flushed.
            if input.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(out.len().max(64));
        }
        debug_assert!(out[start..].ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        if self.no_context_takeover {
            self.context = None;
        }
    }

    /// The window is the largest there is: whatever was compressed elsewhere fits it.
    pub(crate) fn has_full_window(&self) -> bool {
        self.bits == 15
    }

    /// Something is held for the next message.
    pub(crate) fn has_context(&self) -> bool {
        self.context.is_some()
    }

    /// Forgets what was sent: the next message does not refer to it.
    pub(crate) fn release(&mut self) {
        self.context = None;
    }

    /// Heap bytes held: what zlib needs for its window and hash chains.
    pub(crate) fn retained(&self) -> usize {
        if self.context.is_some() { (1 << (self.bits + 2)) + 128 * 1024 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn collect(all: &mut Vec<u8>) -> impl FnMut(&[u8]) -> Result<(), Infallible> {
        |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn inflate(
        inflater: &mut Inflater,
        pieces: &[&[u8]],
    ) -> Result<Vec<u8>, InflateError<Infallible>> {
        let mut all = Vec::new();
        for piece in pieces {
            inflater.push(piece, collect(&mut all))?;
        }
        inflater.finish()?;
        Ok(all)
    }

    #[test]
    fn messages_come_back_in_any_split_with_and_without_takeover() {
        let text: Vec<u8> =
            (0..100_000u32).flat_map(|n| (n.wrapping_mul(n) % 251).to_le_bytes()).collect();
        for no_context_takeover in [false, true] {
            for bits in 9..=15 {
                let config = Deflate::default();
                let mut deflater = Deflater::new(no_context_takeover, bits, &config);
                let mut inflater = Inflater::new(no_context_takeover, 10_000);
                for len in [1, 5, 100, 4096, 65_536, 400_000] {
                    let mut out = Vec::new();
                    deflater.message(&text[..len], &mut out);
                    let (first, second) = out.split_at(out.len() / 3);
                    let back = inflate(&mut inflater, &[first, second]);
                    assert!(back.as_deref() == Ok(&text[..len]), "{len} bytes, {bits} bits");
                }
                assert_eq!(inflater.context.is_none(), no_context_takeover);
                assert_eq!(deflater.context.is_none(), no_context_takeover);
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc_inflate_to_hello() {
        for example in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            let back = inflate(&mut Inflater::new(false, 100), &[example]);
            assert_eq!(back.as_deref(), Ok(&b"Hello"[..]), "{example:x?}");
        }
        let back = inflate(&mut Inflater::new(false, 100), &[&[0]]);
        assert_eq!(back.as_deref(), Ok(&b""[..]), "an empty message");
    }

    #[test]
    fn a_bomb_stops_at_the_ratio_and_garbage_is_corrupt() {
        let mut bomb = Vec::new();
        Deflater::new(true, 15, &Deflate::default()).message(&vec![0; 10 << 20], &mut bomb);
        let mut given = 0;
        let mut inflater = Inflater::new(true, 100);
        let result = inflater.push(&bomb, |bytes| {
            given += bytes.len();
            Ok::<_, Infallible>(())
        });
        assert_eq!(result, Err(InflateError::Ratio(100)));
        assert!(given <= bomb.len() * 100 + RATIO_FREE as usize, "{given}");
        let corrupt = inflate(&mut Inflater::new(false, 100), &[&[0xFF; 20]]);
        assert_eq!(corrupt, Err(InflateError::Corrupt));
    }
}
