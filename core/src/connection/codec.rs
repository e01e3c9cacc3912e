//! Compression of one connection, both directions (RFC 7692).

use crate::error::{LimitError, ProtocolError};
use crate::frame::Frame;
use crate::frame::assembler::Message;
use crate::frame::deflate::{Deflater, InflateError, Inflater};
use crate::limits::{Deflate, Limits};
use crate::upgrade::{Agreed, Agreement};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// Why a compressed message cannot be read.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    Protocol(ProtocolError),
    Limit(LimitError),
}

/// The compression of a connection that agreed on it. Its contexts exist from their first use.
#[derive(Debug)]
pub(crate) struct Codec {
    inflater: Inflater,
    /// `None` when the peer can only read a window of 8 bits, which zlib cannot write.
    deflater: Option<Deflater>,
    threshold: usize,
    idle: Duration,
    /// When the sending context was used last.
    used: Instant,
    /// What a turn may inflate, and what of it is left.
    turn: u32,
    left: u32,
    /// Input that waits for the next turn.
    stash: Vec<u8>,
    /// The compressed form of the message being sent; kept only while it is.
    scratch: Vec<u8>,
}

impl Codec {
    pub(crate) fn new(agreed: Agreement, is_client: bool, limits: &Limits, now: Instant) -> Self {
        let config = limits.deflate.clone().unwrap_or_default();
        let Agreed {
            server_no_context_takeover,
            client_no_context_takeover,
            server_bits,
            client_bits,
        } = agreed.0;
        let server = (server_no_context_takeover, server_bits);
        let client = (client_no_context_takeover, client_bits);
        let ((own_alone, own_bits), (peer_alone, _)) =
            if is_client { (client, server) } else { (server, client) };
        let deflater = (own_bits > 8).then(|| Deflater::new(own_alone, own_bits, &config));
        let Deflate { threshold, idle, turn, ratio, .. } = config;
        Self {
            inflater: Inflater::new(peer_alone, ratio),
            deflater,
            threshold: threshold as usize,
            idle,
            used: now,
            turn,
            left: turn,
            stash: Vec::new(),
            scratch: Vec::new(),
        }
    }

    // --- receiving -----------------------------------------------------------------------------

    /// A turn begins: gives the input that the former one left.
    pub(crate) fn begin_turn(&mut self) -> Vec<u8> {
        self.left = self.turn;
        std::mem::take(&mut self.stash)
    }

    /// The turn has inflated its share.
    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Keeps input for the next turn.
    pub(crate) fn stash(&mut self, input: &[u8]) {
        self.stash.extend_from_slice(input);
    }

    /// Input waits: nothing should be read, and a turn is due at once.
    pub(crate) fn has_stash(&self) -> bool {
        !self.stash.is_empty()
    }

    /// Inflates a piece of a message; `last` when nothing of it follows. The limit holds for what
    /// comes out, and is kept before it is stored.
    pub(crate) fn inflate(
        &mut self,
        piece: &[u8],
        last: bool,
        message: &mut Message,
        limit: u32,
    ) -> Result<(), Broken> {
        let left = &mut self.left;
        let mut sink = |bytes: &[u8]| {
            *left = left.saturating_sub(bytes.len() as u32);
            let room = u64::from(limit).saturating_sub(message.len()) as usize;
            let (fits, over) = bytes.split_at(bytes.len().min(room));
            message.reserve(fits.len(), room);
            // Before the limit speaks, or the verdict would depend on how the input was split.
            message.push(fits).map_err(|_| Broken::Protocol(ProtocolError::InvalidUtf8))?;
            if over.is_empty() {
                return Ok(());
            }
            let size = u64::from(limit) + 1;
            Err(Broken::Limit(LimitError::Message { size, limit }))
        };
        self.inflater
            .push(piece, &mut sink)
            .and_then(|()| if last { self.inflater.finish() } else { Ok(()) })
            .map_err(|error| match error {
                InflateError::Refused(broken) => broken,
                InflateError::Corrupt => Broken::Protocol(ProtocolError::InvalidDeflate),
                InflateError::Ratio(limit) => Broken::Limit(LimitError::Ratio { limit }),
            })
    }

    // --- sending -------------------------------------------------------------------------------

    /// The compressed form of a message, if it is worth it. Hand it back to [`Codec::sent`].
    pub(crate) fn deflate(&mut self, now: Instant, payload: &[u8]) -> Option<Vec<u8>> {
        if payload.len() < self.threshold.max(1) {
            return None;
        }
        let deflater = self.deflater.as_mut()?;
        self.used = now;
        let mut out = std::mem::take(&mut self.scratch);
        deflater.message(payload, &mut out);
        Some(out)
    }

    /// Takes the storage back.
    pub(crate) fn sent(&mut self, mut out: Vec<u8>) {
        out.clear();
        if out.capacity() <= 64 * 1024 {
            self.scratch = out;
        }
    }

    /// The compressed form that a shared frame carries. It refers to nothing that was sent before, so
    /// any peer can read it; but the peer's window has it from then on and ours does not, so our
    /// context starts anew.
    pub(crate) fn shared(&mut self, frame: &Frame) -> Option<Bytes> {
        let deflater = self.deflater.as_mut().filter(|deflater| deflater.has_full_window())?;
        let bytes = frame.deflated_bytes()?.clone();
        deflater.release();
        Some(bytes)
    }

    /// When the sending context will have been idle for long enough.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        self.deflater.as_ref().filter(|deflater| deflater.has_context())?;
        self.used.checked_add(self.idle)
    }

    /// Gives back what only the next messages would use.
    pub(crate) fn release(&mut self) {
        self.scratch = Vec::new();
        if let Some(deflater) = &mut self.deflater {
            deflater.release();
        }
    }

    pub(crate) fn retained(&self) -> usize {
        size_of::<Self>()
            + self.inflater.retained()
            + self.deflater.as_ref().map_or(0, Deflater::retained)
            + self.stash.capacity()
            + self.scratch.capacity()
    }
}
