//! What one side sends, the other receives.

use crate::input::Input;
use crate::received::Received;
use crate::run::{ANSWER, REQUEST, client, drain_output, epoch, server};
use moorline_core::frame::{Header, MAX_HEADER, Opcode, mask};
use moorline_core::{Accept, CloseCode, Connection, Event, Frame, Limits, Why};
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// Any program of sends, pings, shared frames and partial writes: the peer gets every message that
/// was taken, whole and in order; control frames come between frames; of the Pings a Pong answers
/// at least the latest; at the end nothing is held.
///
/// The input: options, then an operation with its argument in every two bytes.
pub fn outbox(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(512)]);
    let is_server = input.byte() & 1 == 0;
    let mut program = Program::new(is_server);
    while !input.is_empty() {
        let [kind, argument] = input.bytes();
        program.step(kind, usize::from(argument));
    }
    program.finish();
}

struct Program {
    connection: Connection,
    is_server: bool,
    now: Instant,
    spare: Vec<u8>,
    /// All that has left.
    wire: Vec<u8>,
    /// The messages that were taken, in order.
    sent: Vec<(Opcode, Vec<u8>)>,
    pings_heard: Vec<Vec<u8>>,
    pings_made: usize,
    closed: bool,
}

impl Program {
    fn new(is_server: bool) -> Self {
        let limits = Limits { outbox: 300_000, ..Limits::default() };
        let (mut connection, start) = match is_server {
            true => (server(&limits), REQUEST),
            false => (client(&limits), ANSWER),
        };
        let now = epoch();
        let mut head = Vec::new();
        drain_output(&mut connection, &mut head);
        let mut bytes = start.to_vec();
        let mut turn = connection.receive(now, &mut bytes);
        while let Some((event, outbox)) = turn.next_event() {
            if let Event::Request(_) = event {
                outbox.accept(&Accept::default()).expect("an upgrade");
            }
        }
        drain_output(&mut connection, &mut head);
        Self {
            connection,
            is_server,
            now,
            spare: Vec::new(),
            wire: Vec::new(),
            sent: Vec::new(),
            pings_heard: Vec::new(),
            pings_made: 0,
            closed: false,
        }
    }

    fn step(&mut self, kind: u8, argument: usize) {
        self.now += Duration::from_millis(1);
        let now = self.now;
        match kind % 12 {
            0 => self.send(Opcode::Text, argument),
            1 => self.send(Opcode::Binary, argument * 100),
            2 => self.send(Opcode::Binary, argument * 1000),
            3 => self.share(argument),
            4 => self.share(argument * 1000),
            5 => self.hear_ping(argument % 126),
            6 => self.make_ping(),
            7 => self.write(argument, 8),
            8 => self.write(argument * 500, 1 + argument % 8),
            9 => self.write(0, 8),
            10 => {
                // As an adapter does around a turn.
                let outbox = self.connection.outbox(now);
                outbox.lend(&mut self.spare);
                self.send(Opcode::Text, argument);
                self.write(usize::MAX, 1 + argument % 8);
                self.connection.outbox(now).reclaim(&mut self.spare);
            }
            _ if argument > 250 => {
                self.connection.close(now, CloseCode::NORMAL, "done");
                self.closed = true;
            }
            _ => {}
        }
        assert!(self.connection.retained() <= 2_000_000, "{}", self.connection.retained());
    }

    fn send(&mut self, opcode: Opcode, len: usize) {
        let payload = payload(self.sent.len(), len);
        let outbox = self.connection.outbox(self.now);
        let result = match opcode {
            Opcode::Text => outbox.text(std::str::from_utf8(&payload).expect("ASCII")),
            _ => outbox.binary(&payload),
        };
        if result.is_ok() {
            self.sent.push((opcode, payload));
        }
    }

    fn share(&mut self, len: usize) {
        let payload = payload(self.sent.len(), len);
        let frame = Frame::binary(&payload);
        if self.connection.outbox(self.now).send(&frame).is_ok() {
            self.sent.push((Opcode::Binary, payload));
        }
    }

    fn hear_ping(&mut self, len: usize) {
        let payload = payload(self.pings_heard.len(), len);
        let key = self.is_server.then_some([1, 2, 3, 4]);
        let opcode = Opcode::Ping;
        let header = Header { fin: true, rsv: 0, opcode, mask: key, len: len as u64 };
        let mut head = [0; MAX_HEADER];
        let size = header.emit(&mut head);
        let mut bytes = [&head[..size], &payload].concat();
        mask::apply(key.unwrap_or_default(), &mut bytes[size..]);
        let mut turn = self.connection.receive(self.now, &mut bytes);
        while let Some((event, _)) = turn.next_event() {
            assert_eq!(event, Event::Ping(&payload));
        }
        if !self.closed {
            self.pings_heard.push(payload);
        }
    }

    fn make_ping(&mut self) {
        if let Some((at, Why::Ping)) = self.connection.deadline() {
            self.now = self.now.max(at);
            let mut turn = self.connection.handle_deadline(self.now);
            assert_eq!(turn.next_event().map(|(event, _)| format!("{event:?}")), None);
            self.pings_made += 1;
        }
    }

    /// One vectored write of which the kernel takes `limit` bytes.
    fn write(&mut self, limit: usize, slices: usize) {
        let outbox = self.connection.outbox(self.now);
        if outbox.is_empty() {
            return;
        }
        let mut pieces = [IoSlice::new(&[]); 8];
        let filled = outbox.slices(&mut pieces[..slices]);
        let mut count = 0;
        for piece in &pieces[..filled] {
            let taken = piece.len().min(limit - count);
            self.wire.extend_from_slice(&piece[..taken]);
            count += taken;
        }
        let queued = self.connection.outbox(self.now).queued();
        assert!(count <= queued);
        self.connection.outbox(self.now).written(self.now, count);
    }

    fn finish(mut self) {
        for _ in 0..100_000 {
            if self.connection.outbox(self.now).is_empty() {
                break;
            }
            self.write(usize::MAX, 8);
        }
        assert!(self.connection.outbox(self.now).is_empty(), "it never empties");
        assert_eq!(self.connection.outbox(self.now).queued(), 0);
        assert_eq!(self.connection.retained(), 0);
        let received = Received::parse(&self.wire, !self.is_server, 0);
        assert_eq!(received.messages.len(), self.sent.len());
        let plain = self.sent.into_iter().map(|(opcode, payload)| (opcode, 0, payload));
        assert!(received.messages.into_iter().eq(plain), "messages differ");
        assert_eq!(received.closes, usize::from(self.closed));
        // A Pong that did not have to wait may be overtaken by a later one: order says nothing here.
        let mut heard = self.pings_heard.clone();
        for pong in &received.pongs {
            let ping = heard.iter().position(|ping| ping == pong);
            heard.remove(ping.expect("a Pong without Ping"));
        }
        if !self.closed {
            let latest = self.pings_heard.last();
            assert!(latest.is_none_or(|ping| received.pongs.contains(ping)), "no Pong");
            // One that is still queued is not queued again.
            assert!(received.pings <= self.pings_made);
            assert_eq!(received.pings == 0, self.pings_made == 0);
        }
    }
}

/// ASCII that tells which message it is.
fn payload(number: usize, len: usize) -> Vec<u8> {
    let cycle: Vec<u8> = (0..90).map(|at| b' ' + ((at + number * 7) % 90) as u8).collect();
    let mut payload = cycle.repeat(len / cycle.len() + 1);
    payload.truncate(len);
    payload
}
