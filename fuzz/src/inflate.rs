//! What a connection makes of compressed messages, against flate2 used directly.

use crate::compressed::{Recipe, Sent, TAIL, Terms};
use crate::input::{Input, Pieces};
use crate::run::{App, run};
use flate2::{Decompress, FlushDecompress, Status};
use moorline_core::frame::Opcode;
use moorline_core::{CloseCode, Event, Limits};

/// Compressed messages of a peer with any agreement, in any pieces: what is delivered, and the code
/// of what is refused, is what flate2 gives for each whole message; only the limits come before it.
///
/// The input: the agreement, four lengths of pieces, then a recipe for messages.
pub fn inflate(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(2 * 1024)]);
    let terms = Terms::new(input.byte());
    let pieces = Pieces::new(&mut input);
    let recipe = Recipe::cook(input, &terms);
    let limits = terms.limits();
    let app = App { echo: false, close_after: None };
    let bytes = [&terms.start()[..], &recipe.wire].concat();
    let trace = run(terms.open(&limits), &limits, app, &bytes, Some(pieces));
    let heard: Vec<_> = trace.events.iter().filter(|event| is_message(event)).collect();

    let mut peer = Peer { context: Decompress::new(false), alone: terms.alone };
    let mut code = CloseCode::ABNORMAL;
    let mut told = 0;
    for sent in &recipe.messages {
        let read = peer.read(sent, &limits);
        if sent.payload.len() as u64 > wire_limit(sent, &limits) {
            // Too long by its headers; what is wrong in a first fragment comes before the second.
            let wrong = read.err().unwrap_or(CloseCode::TOO_BIG);
            assert!([CloseCode::TOO_BIG.0, wrong.0].contains(&trace.code), "{}", trace.code);
            code.0 = trace.code;
            break;
        }
        match read {
            Ok(message) => {
                let event = match sent.opcode {
                    Opcode::Text => Event::Text(std::str::from_utf8(&message).expect("checked")),
                    _ => Event::Binary(&message),
                };
                assert_eq!(heard.get(told), Some(&&format!("{event:?}")), "message {told}");
                told += 1;
            }
            Err(fault) => {
                code = fault;
                break;
            }
        }
    }
    assert_eq!(heard.len(), told);
    assert_eq!(trace.code, code.0, "{:?}", trace.events.last());
}

fn is_message(event: &str) -> bool {
    event.starts_with("Text(") || event.starts_with("Binary(")
}

/// What a message may have on the wire: what does not compress grows a little.
fn wire_limit(sent: &Sent, limits: &Limits) -> u64 {
    let slack = if sent.is_compressed { limits.message / 256 + 64 } else { 0 };
    u64::from(limits.message + slack)
}

/// Output after which the ratio is looked at.
const MARK: usize = 16 * 1024;

/// A stored block of no bytes (RFC 1951 section 3.2.4).
const EMPTY_BLOCK: [u8; 5] = [0, 0, 0, 0xFF, 0xFF];

/// A receiver that has all of a message at once.
struct Peer {
    context: Decompress,
    alone: bool,
}

impl Peer {
    fn read(&mut self, sent: &Sent, limits: &Limits) -> Result<Vec<u8>, CloseCode> {
        let is_text = sent.opcode == Opcode::Text;
        let most = limits.message as usize;
        let (mut message, fault) = match sent.is_compressed {
            true => self.inflate(&sent.payload, limits),
            false => (sent.payload.clone(), None),
        };
        let is_long = message.len() > most;
        message.truncate(most);
        let text = std::str::from_utf8(&message).err().filter(|_| is_text);
        match text {
            // In the order of the bytes: a wrong one, one too many, one that is not deflate.
            Some(error) if error.error_len().is_some() => Err(CloseCode::INVALID_DATA),
            _ if is_long => Err(CloseCode::TOO_BIG),
            _ if fault.is_some() => Err(fault.expect("seen")),
            Some(_) => Err(CloseCode::INVALID_DATA),
            None => Ok(message),
        }
    }

    /// The message as far as it goes, and what stopped it.
    fn inflate(&mut self, payload: &[u8], limits: &Limits) -> (Vec<u8>, Option<CloseCode>) {
        let ratio = limits.deflate.as_ref().map_or(0, |deflate| deflate.ratio as usize);
        if self.alone {
            self.context.reset(false);
        }
        let mut message = Vec::new();
        if let Some(fault) = self.piece(payload, &mut message, ratio, limits) {
            return (message, Some(fault));
        }
        let whole = message.len();
        // What the sender left out, and an empty block: a message that was cut short takes them for
        // its own.
        let end = [&TAIL[..], &EMPTY_BLOCK].concat();
        let fault =
            if payload.is_empty() { None } else { self.piece(&end, &mut message, ratio, limits) };
        let is_cut = message.len() > whole || fault.is_some();
        message.truncate(whole);
        (message, is_cut.then_some(CloseCode::INVALID_DATA))
    }

    /// Inflates a piece; gives what stopped it.
    fn piece(
        &mut self,
        piece: &[u8],
        message: &mut Vec<u8>,
        ratio: usize,
        limits: &Limits,
    ) -> Option<CloseCode> {
        let mut rest = piece;
        loop {
            let (before_in, before_out) = (self.context.total_in(), self.context.total_out());
            let start = message.len();
            let end = (start / MARK + 1) * MARK;
            message.resize(end, 0);
            let status =
                self.context.decompress(rest, &mut message[start..], FlushDecompress::Sync);
            let taken = (self.context.total_in() - before_in) as usize;
            message.truncate(start + (self.context.total_out() - before_out) as usize);
            rest = &rest[taken..];
            if message.len() > limits.message as usize {
                return Some(CloseCode::TOO_BIG);
            }
            let stuck = taken == 0 && message.len() == start && !rest.is_empty();
            match status {
                Err(_) => return Some(CloseCode::INVALID_DATA),
                Ok(Status::StreamEnd) => self.context.reset(false),
                Ok(_) if stuck => return Some(CloseCode::INVALID_DATA),
                Ok(_) => {}
            }
            // The cap is looked at where a piece of output is full.
            let read = piece.len() - rest.len();
            if message.len() == end && end > 4 * MARK && end / ratio > read {
                return Some(CloseCode::TOO_BIG);
            }
            if rest.is_empty() && message.len() < end {
                return None;
            }
        }
    }
}
