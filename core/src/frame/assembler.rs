//! A message that is not yet complete: fragments, and frames that straddle two reads.

use super::mask;
use super::utf8::{InvalidUtf8, Utf8Stream};
use std::sync::Arc;
use std::time::Instant;

/// A message of which this much has arrived is worth more room than it needs now.
const LARGE: usize = 64 * 1024;

/// Payload is unmasked, checked and copied by this many bytes, a multiple of the key's length: they stay
/// in the nearest cache meanwhile.
const BLOCK: usize = 16 * 1024;

/// Collects the payload of one message in one contiguous buffer. It grows by what has arrived, never
/// by what a header claims.
#[derive(Debug)]
pub(crate) struct Message {
    text: String,
    /// Binary payload in its first `filled` bytes; the rest is what a former message left, to be
    /// written over.
    binary: Vec<u8>,
    filled: usize,
    utf8: Utf8Stream,
    is_text: bool,
    /// Frames of this message so far, empty ones included.
    pub(crate) fragments: u32,
    /// Payload bytes that the headers of these frames announced.
    pub(crate) size: u64,
    /// The payload is deflate data (RFC 7692).
    pub(crate) compressed: bool,
    /// When the first byte of the message's first frame was seen.
    pub(crate) started: Instant,
    /// Shared with the loop whose buffer this is; `None` for storage of the connection's own.
    pub(crate) lender: Option<Arc<()>>,
}

impl Message {
    pub(crate) fn new(is_text: bool, now: Instant) -> Self {
        Self {
            text: String::new(),
            binary: Vec::new(),
            filled: 0,
            utf8: Utf8Stream::default(),
            is_text,
            fragments: 0,
            size: 0,
            compressed: false,
            started: now,
            lender: None,
        }
    }

    /// Begins the next message in the same buffer, whatever its size: a peer that leaves this one
    /// unfinished holds no more than if it had left the former one unfinished.
    pub(crate) fn restart(&mut self, is_text: bool, now: Instant) {
        // One storage serves both kinds, or a peer that alternates would hold two.
        match (self.is_text, is_text) {
            (true, false) => {
                self.text.clear();
                self.binary = std::mem::take(&mut self.text).into_bytes();
            }
            (false, true) => {
                self.binary.clear();
                let storage = std::mem::take(&mut self.binary);
                self.text = String::from_utf8(storage).unwrap_or_default();
            }
            (true, true) => self.text.clear(),
            (false, false) => {}
        }
        self.filled = 0;
        self.utf8 = Utf8Stream::default();
        self.is_text = is_text;
        self.fragments = 0;
        self.size = 0;
        self.compressed = false;
        self.started = now;
    }

    /// Makes room for `arrived` bytes of payload. `expected` is how much of the message may still come
    /// including them: the buffer doubles as it fills, but never beyond that.
    pub(crate) fn reserve(&mut self, arrived: usize, expected: usize) {
        if self.is_text {
            // An open code point joins what comes.
            let open = self.utf8.open_len();
            let text = &mut self.text;
            text.reserve_exact(growth(
                text.len(),
                text.capacity(),
                open + arrived,
                open.saturating_add(expected),
            ));
        } else {
            let binary = &mut self.binary;
            let additional = growth(self.filled, binary.capacity(), arrived, expected);
            if binary.capacity() - self.filled < additional {
                binary.truncate(self.filled);
                binary.reserve_exact(additional);
            }
        }
    }

    /// Appends unmasked payload.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        if self.is_text {
            self.utf8.push(&mut self.text, piece)
        } else {
            self.binary.truncate(self.filled);
            self.binary.extend_from_slice(piece);
            self.filled = self.binary.len();
            Ok(())
        }
    }

    /// Appends payload that is masked with `key`, whose first byte falls on the first of `piece`. What is
    /// left in `piece` is of no use.
    pub(crate) fn push_masked(
        &mut self,
        key: [u8; 4],
        piece: &mut [u8],
    ) -> Result<(), InvalidUtf8> {
        for block in piece.chunks_mut(BLOCK) {
            let end = self.filled + block.len();
            if !self.is_text
                && let Some(old) = self.binary.get_mut(self.filled..end)
            {
                // Unmasked while it is copied: there is room that needs no zeros first.
                mask::copy(key, block, old);
                self.filled = end;
            } else {
                mask::apply(key, block);
                self.push(block)?;
            }
        }
        Ok(())
    }

    /// The last frame is complete.
    pub(crate) fn finish(&mut self) -> Result<(), InvalidUtf8> {
        if self.is_text { self.utf8.finish() } else { Ok(()) }
    }

    pub(crate) fn is_text(&self) -> bool {
        self.is_text
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn binary(&self) -> &[u8] {
        &self.binary[..self.filled]
    }

    /// Bytes of payload so far, those of an open code point included.
    #[cfg(feature = "deflate")]
    pub(crate) fn len(&self) -> u64 {
        (self.text.len() + self.utf8.open_len() + self.filled) as u64
    }

    /// Heap bytes held, whether filled or not.
    pub(crate) fn retained(&self) -> usize {
        self.text.capacity() + self.binary.capacity()
    }
}

/// How much to reserve beyond `len` before `arrived` bytes are appended.
fn growth(len: usize, capacity: usize, arrived: usize, expected: usize) -> usize {
    if capacity - len >= arrived {
        return arrived;
    }
    // Doubling keeps the copying linear. What has become large grows faster: fresh pages cost more than
    // unused ones, which are not even resident. The message's end keeps the last step from overshooting.
    let more = if len + arrived >= LARGE { (len + arrived).saturating_mul(7) } else { len };
    arrived.max(more.min(expected))
}
