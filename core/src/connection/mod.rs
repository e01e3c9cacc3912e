//! One WebSocket connection as a state machine: bytes and time go in by calls, events and bytes to
//! send come out by asking.

mod backlog;
mod body;
#[cfg_attr(not(feature = "deflate"), path = "no_codec.rs")]
mod codec;
mod deadline;
mod handshake;
mod outbox;
mod spare;
mod state;
mod transmit;
mod turn;

pub use outbox::{Entropy, Outbox};
pub use spare::MessageSpare;
pub use state::End;
pub use turn::Turn;

use crate::error::AnswerError;
use crate::frame::assembler::Message;
use crate::frame::{CloseCode, MAX_CONTROL, MAX_HEADER, Opcode};
use crate::limits::Limits;
use crate::upgrade::{Accept, ClientRequest, Response, extension_offer};
use handshake::Handshake;
use state::{Receiving, Sending, TransportEnd};
use std::sync::Arc;
use std::time::Instant;

/// One connection, server or client, from its first byte to its last.
///
/// It owns no socket and no clock. An adapter hands it bytes and the time, drains the [`Turn`], writes
/// what the [`Outbox`] holds, and does what [`Connection::wants`] says. An idle connection owns no
/// heap memory.
#[derive(Debug)]
pub struct Connection {
    outbox: Outbox,
    receiving: Receiving,
    /// A turn was begun and not drained.
    in_turn: bool,
    /// The closing handshake was completed by both sides.
    clean: bool,
    /// The transport has ended; nothing more will be read.
    ended: Option<TransportEnd>,
    /// Between the first and the last frame of a message; `message` then holds its buffer.
    message_open: bool,
    /// The application was told Closed.
    told: bool,
    /// Spreads the pings of connections that began together.
    spread: u8,
    /// Client: which of the offered subprotocols the server chose.
    subprotocol: Option<u8>,
    /// Bytes of a frame header that straddles two reads.
    head_len: u8,
    head: [u8; MAX_HEADER],
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    handshake: Option<Box<Handshake>>,
    message: Option<Box<Message>>,
    control: Option<Box<Control>>,
    /// When bytes last arrived.
    heard: Instant,
}

// An idle connection must stay this small: it is most of what one costs.
const _: () = assert!(size_of::<Connection>() <= 256);

/// A frame of which the header is read and payload is missing.
#[derive(Debug, Copy, Clone)]
struct Frame {
    left: u64,
    /// Rotated so that its first byte falls on the next payload byte.
    key: Option<[u8; 4]>,
    opcode: Opcode,
    fin: bool,
}

/// The payload of a control frame that straddles reads.
#[derive(Debug)]
struct Control {
    len: usize,
    payload: [u8; MAX_CONTROL],
}

/// What a connection asks of its adapter. Ask after every call.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Wants {
    /// Read when the transport is readable. False while the peer does not take its answers.
    pub read: bool,
    /// There is something to write.
    pub write: bool,
    /// What to do with the transport.
    pub end: End,
    /// Call [`Connection::handle_deadline`] at this time. Earlier is harmless.
    pub wake_at: Option<Instant>,
}

impl Connection {
    /// Bytes of the read buffer that serves best: a message of 16 KiB with its header. Any other works.
    ///
    /// What a read brings is then still in the nearest cache when it is unmasked, checked and handed
    /// out or collected. Larger reads save calls of the system, but copying the bytes costs so much
    /// more than the calls that no gain was seen up to 128 KiB.
    pub const READ_BUFFER: usize = 16 * 1024 + 64;

    /// The server's end of a transport that was accepted at `now`.
    pub fn server(limits: Arc<Limits>, now: Instant) -> Self {
        Self::new(Outbox::new(limits, None, now), Receiving::Head, now)
    }

    /// The client's end of a transport that was connected at `now`. The request is in the outbox.
    /// `entropy` gives the nonce now and a masking key for every frame.
    pub fn client(
        request: ClientRequest,
        mut entropy: Box<dyn Entropy>,
        limits: Arc<Limits>,
        now: Instant,
    ) -> Self {
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce);
        let mut connection =
            Self::new(Outbox::new(limits, Some(entropy), now), Receiving::Response, now);
        let extensions = extension_offer(connection.outbox.limits());
        let expected =
            connection.outbox.push_head(|out| request.write(nonce, extensions.as_deref(), out));
        connection.handshake =
            Some(Box::new(Handshake { expected: Some(expected), ..Handshake::default() }));
        connection.spread = nonce[0];
        connection
    }

    fn new(outbox: Outbox, receiving: Receiving, now: Instant) -> Self {
        Self {
            outbox,
            receiving,
            in_turn: false,
            clean: false,
            ended: None,
            message_open: false,
            told: false,
            spread: 0,
            subprotocol: None,
            head_len: 0,
            head: [0; MAX_HEADER],
            frame: None,
            handshake: None,
            message: None,
            control: None,
            heard: now,
        }
    }

    /// Bytes came from the peer. They are unmasked in place and always consumed; drain the turn.
    #[inline]
    pub fn receive<'a>(&'a mut self, now: Instant, bytes: &'a mut [u8]) -> Turn<'a> {
        if !bytes.is_empty() {
            self.heard = now;
        }
        Turn::new(self, now, bytes, None)
    }

    /// As [`Connection::receive`]; a message that does not come whole is collected in the loop's buffer,
    /// if it is there, and else in storage of the connection's own.
    #[inline]
    pub fn receive_with<'a>(
        &'a mut self,
        now: Instant,
        bytes: &'a mut [u8],
        spare: &'a mut MessageSpare,
    ) -> Turn<'a> {
        let mut turn = self.receive(now, bytes);
        turn.spare = Some(spare);
        turn
    }

    /// The transport ended, by an end of file or an error. Nothing more will be received.
    pub fn handle_eof(&mut self, now: Instant) -> Turn<'_> {
        self.outbox.now = now;
        let cause = if self.in_turn { None } else { self.end_transport(TransportEnd::Eof) };
        Turn::new(self, now, &mut [], cause)
    }

    /// As [`Connection::handle_eof`], for a transport that can tell that it was cut, such as TLS that ends
    /// without a `close_notify`: where nothing else explains the end, its cause is
    /// [`Cause::Truncated`](crate::Cause::Truncated).
    pub fn handle_truncation(&mut self, now: Instant) -> Turn<'_> {
        self.outbox.now = now;
        let cause = if self.in_turn { None } else { self.end_transport(TransportEnd::Truncated) };
        Turn::new(self, now, &mut [], cause)
    }

    /// Time has passed. Harmless when nothing is due.
    pub fn handle_deadline(&mut self, now: Instant) -> Turn<'_> {
        self.outbox.now = now;
        let cause = if self.in_turn { None } else { self.expire(now) };
        Turn::new(self, now, &mut [], cause)
    }

    /// The outbox, to send from outside a turn.
    #[inline]
    pub fn outbox(&mut self, now: Instant) -> &mut Outbox {
        self.outbox.now = now;
        &mut self.outbox
    }

    /// Accepts the upgrade outside a turn: see [`Outbox::accept`]. [`Event::Open`](crate::Event::Open)
    /// comes with the next turn.
    ///
    /// # Errors
    /// As [`Outbox::accept`].
    pub fn accept(&mut self, now: Instant, answer: &Accept<'_>) -> Result<(), AnswerError> {
        self.outbox(now).accept(answer)
    }

    /// Answers the request outside a turn: see [`Outbox::respond`].
    ///
    /// # Errors
    /// As [`Outbox::respond`].
    pub fn respond(&mut self, now: Instant, answer: &Response<'_>) -> Result<(), AnswerError> {
        self.outbox(now).respond(answer)
    }

    /// Closes outside a turn: see [`Outbox::close`]. Before the handshake is done a server answers
    /// 503, and a client just ends.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        let outbox = self.outbox(now);
        if outbox.is_in_handshake() {
            outbox.close_handshake(code);
            if matches!(self.receiving, Receiving::Request | Receiving::Body | Receiving::Answer) {
                // The request is answered; what comes now is thrown away as before a request.
                self.receiving = Receiving::Head;
                self.handshake = None;
            }
        } else {
            outbox.cut_answer();
            outbox.close(code, reason);
            if self.told {
                // Whoever closes what was given up does not wait for its reader any longer.
                self.outbox.end_waiting();
            }
        }
    }

    /// What the adapter should wait for and do next.
    #[inline]
    pub fn wants(&self) -> Wants {
        Wants {
            read: !self.is_ended()
                && match self.receiving {
                    Receiving::Dead => false,
                    Receiving::Request => self.outbox.sending != Sending::Handshake,
                    Receiving::Answer => {
                        self.outbox.sending != Sending::Handshake || self.outbox.awaited().is_some()
                    }
                    Receiving::Body => !self.outbox.holds_body(),
                    Receiving::Discard => true,
                    _ => !self.is_paused() && !self.outbox.has_stash(),
                },
            write: !self.outbox.is_empty(),
            end: self.end(),
            wake_at: self.deadline().map(|(at, _)| at),
        }
    }

    /// Client, once open: which of the subprotocols it offered the server chose, counted from 0.
    pub fn subprotocol(&self) -> Option<usize> {
        self.subprotocol.map(usize::from)
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &Limits {
        self.outbox.limits()
    }

    /// Heap bytes this connection holds beyond its own size: 0 while it is idle.
    pub fn retained(&self) -> usize {
        let handshake = self
            .handshake
            .as_ref()
            .map_or(0, |handshake| size_of::<Handshake>() + handshake.bytes.capacity());
        let message =
            self.message.as_ref().map_or(0, |message| size_of::<Message>() + message.retained());
        let control = self.control.as_ref().map_or(0, |_| size_of::<Control>());
        handshake + message + control + self.outbox.retained()
    }

    fn is_paused(&self) -> bool {
        self.outbox.queued() > self.outbox.limits().outbox_pause as usize
    }
}
