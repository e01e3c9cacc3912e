//! What a connection sends compressed, inflated by flate2.

use crate::compressed::{TAIL, Terms, shape};
use crate::input::Input;
use crate::received::Received;
use crate::run::{drain_output, epoch};
use flate2::{Decompress, FlushDecompress};
use moorline_core::frame::Opcode;
use moorline_core::{Accept, Connection, Deflate, Event, Frame, Why};
use std::time::{Duration, Instant};

/// Any program of messages, shared frames and idle times, with any agreement, by either role: a peer
/// that has flate2 and no more than the agreed window reads exactly what was sent; what is under the
/// threshold is plain, and so is everything when only a window of 8 bits would do.
///
/// The input: the agreement, then operations, each with its data.
pub fn deflate(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(2 * 1024)]);
    let options = input.byte();
    let terms = Terms { bits: 8 + (options >> 4) % 8, ..Terms::new(options) };
    let threshold = if options & 8 == 0 { 1 } else { 64 };
    let mut program = Program::new(terms, threshold);
    let mut total = 0;
    while !input.is_empty() && total < 300_000 {
        let [kind, len] = input.bytes();
        let data = shape(input.take(len.into()), kind >> 4 & 3);
        total += data.len();
        program.step(kind, data);
    }
    program.finish();
}

struct Program {
    connection: Connection,
    terms: Terms,
    config: Deflate,
    now: Instant,
    /// All that has left.
    wire: Vec<u8>,
    /// The messages that were taken, in order.
    sent: Vec<(Opcode, Vec<u8>)>,
}

impl Program {
    fn new(terms: Terms, threshold: u32) -> Self {
        let mut limits = terms.limits();
        let deflate = limits.deflate.as_mut().expect("it compresses");
        deflate.threshold = threshold;
        let config = deflate.clone();
        let mut connection = terms.open(&limits);
        let mut head = Vec::new();
        drain_output(&mut connection, &mut head);
        let mut bytes = terms.start();
        let mut turn = connection.receive(epoch(), &mut bytes);
        let mut is_open = false;
        while let Some((event, outbox)) = turn.next_event() {
            match event {
                Event::Request(_) => outbox.accept(&Accept::default()).expect("an upgrade"),
                Event::Open => is_open = true,
                event => panic!("{event:?}"),
            }
        }
        assert!(is_open);
        drain_output(&mut connection, &mut head);
        Self { connection, terms, config, now: epoch(), wire: Vec::new(), sent: Vec::new() }
    }

    fn step(&mut self, kind: u8, mut data: Vec<u8>) {
        self.now += Duration::from_millis(1);
        if kind & 1 == 0 {
            data.iter_mut().for_each(|byte| *byte &= 0x7F);
        }
        let text = std::str::from_utf8(&data);
        let outbox = self.connection.outbox(self.now);
        let opcode = if text.is_ok() { Opcode::Text } else { Opcode::Binary };
        let taken = match (kind >> 1 & 7, text) {
            (0, Ok(text)) => outbox.send(&Frame::text(text)),
            (0, Err(_)) => outbox.send(&Frame::binary(&data)),
            (1, Ok(text)) => outbox.send(&Frame::text_deflated(text, &self.config)),
            (1, Err(_)) => outbox.send(&Frame::binary_deflated(&data, &self.config)),
            (2, _) => {
                // So long that the context is given back.
                if let Some((at, Why::Idle)) = self.connection.deadline() {
                    self.now = self.now.max(at);
                    let mut turn = self.connection.handle_deadline(self.now);
                    assert!(turn.next_event().is_none());
                    assert!(self.connection.retained() < 200 * 1024, "the context is held");
                }
                return;
            }
            (_, Ok(text)) => outbox.text(text),
            (_, Err(_)) => outbox.binary(&data),
        };
        taken.expect("nothing is queued");
        self.sent.push((opcode, data));
        drain_output(&mut self.connection, &mut self.wire);
    }

    fn finish(self) {
        let received = Received::parse(&self.wire, !self.terms.is_server, 0x40);
        assert_eq!(received.messages.len(), self.sent.len());
        let mut history = Vec::new();
        for ((opcode, rsv, payload), (sent_as, sent)) in received.messages.iter().zip(&self.sent) {
            assert_eq!(opcode, sent_as);
            if *rsv == 0 {
                assert!(payload == sent, "a plain message differs");
                continue;
            }
            assert!(self.terms.bits > 8, "zlib cannot write a window of 8 bits");
            assert!(sent.len() >= self.config.threshold as usize);
            // zlib-rs reads with 15 bits whatever it is told: so it is given no more of the past than
            // the agreed window holds.
            let window = if self.terms.alone { 0 } else { 1 << self.terms.bits };
            let past = &history[history.len().saturating_sub(window)..];
            assert!(inflated(past, payload, sent.len()) == *sent, "a message differs");
            history.extend_from_slice(sent);
        }
    }
}

fn inflated(past: &[u8], payload: &[u8], len: usize) -> Vec<u8> {
    let mut context = Decompress::new(false);
    if !past.is_empty() {
        context.set_dictionary(past).expect("raw deflate takes one at any time");
    }
    let input = [payload, &TAIL].concat();
    // Room that is left shows that nothing more comes.
    let mut message = Vec::with_capacity(len + 64);
    let read = context.decompress_vec(&input, &mut message, FlushDecompress::Sync);
    read.expect("it refers to nothing before the window");
    assert_eq!(context.total_in(), input.len() as u64, "all of it is read");
    message
}
