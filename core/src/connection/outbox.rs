//! What is to be sent: queued as wire bytes, taken by the adapter in one vectored write.
//!
//! ```text
//! data:     [ rest of the frame being written | whole frames ............... ]
//! control:                                    ^ Pong, Ping pass here
//! ```
//!
//! While the kernel takes everything, replies collect in one buffer in the order they were made and
//! leave with one write. Only when it refuses bytes are control frames kept apart, so that they can
//! pass queued data at the next frame boundary.

use super::backlog::{Backlog, Segment};
use super::codec::Codec;
use super::state::Sending;
use super::transmit::next_frame;
use crate::error::{AnswerError, SendError, UpgradeError};
use crate::event::Why;
use crate::frame::{
    CloseCode, Frame, Header, MAX_HEADER, Opcode, RSV1, emit_close, for_each_cut, mask,
};
use crate::limits::Limits;
use crate::upgrade::{Accept, Agreement, Begun, BodyLength, Left, Offer, Response, write_error};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shared frames under this size are copied into the tail when nothing waits: one contiguous write
/// costs less than another segment.
const SHARE_FROM: usize = 4 * 1024;

/// For a peer that does not read, smaller shared frames are worth a segment, which saves memory when
/// many such peers wait for one frame; under this size the segment would cost more than a copy.
const SHARE_BLOCKED_FROM: usize = 128;

/// A source of unpredictable bytes for a client's masking keys and handshake nonce. It must be
/// cryptographically strong: RFC 6455 section 10.3 says what predictable keys allow.
pub trait Entropy: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The sending half of a connection.
pub struct Outbox {
    pub(super) limits: Arc<Limits>,
    /// Present in a client: its frames are masked.
    pub(super) entropy: Option<Box<dyn Entropy>>,
    /// Owned bytes in wire form; those before `sent` have left.
    pub(super) tail: Vec<u8>,
    pub(super) sent: usize,
    /// Data bytes that have not left: the tail's and the shared ones, control frames that were sent in
    /// order included. Those that wait apart in `backlog` do not count.
    pub(super) queued: usize,
    /// Data bytes of the frame under way: control frames pass after them. 0 at a frame boundary.
    pub(super) rest: usize,
    /// Data bytes to leave until the queued Ping has left; 0 when there is none in the data.
    pub(super) ping_mark: u32,
    /// What a peer that does not read costs: nothing but this is allocated for it.
    pub(super) backlog: Option<Box<Backlog>>,
    /// The compression of the connection, if both ends want it.
    pub(super) codec: Option<Box<Codec>>,
    /// The request that waits for an answer.
    pub(super) offer: Option<Box<Offer>>,
    /// The time of the call that gave access to this outbox.
    pub(super) now: Instant,
    /// When the present phase began: the handshake, or the closing.
    pub(super) since: Instant,
    /// When queued bytes last moved, or began to wait.
    pub(super) moved: Instant,
    pub(super) ping: Ping,
    /// When the latest Ping was queued or, once it has left, when it left.
    pub(super) pinged: Instant,
    pub(super) sending: Sending,
    /// [`Limits::message`], or less.
    pub(super) message_limit: u32,
    /// The kernel refused bytes at the last write.
    pub(super) blocked: bool,
    /// The tail's storage belongs to the adapter and goes back to it when empty.
    pub(super) lent: bool,
}

/// Where our latest Ping is.
#[derive(Debug, Copy, Clone, PartialEq)]
pub(super) enum Ping {
    None,
    Queued,
    Left,
}

impl Outbox {
    pub(super) fn new(
        limits: Arc<Limits>,
        entropy: Option<Box<dyn Entropy>>,
        now: Instant,
    ) -> Self {
        Self {
            message_limit: limits.message,
            limits,
            entropy,
            tail: Vec::new(),
            sent: 0,
            queued: 0,
            rest: 0,
            ping_mark: 0,
            backlog: None,
            codec: None,
            offer: None,
            now,
            since: now,
            moved: now,
            ping: Ping::None,
            pinged: now,
            sending: Sending::Handshake,
            blocked: false,
            lent: false,
        }
    }

    // --- for the application -------------------------------------------------------------------

    /// Queues a text message.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued.
    #[inline]
    pub fn text(&mut self, text: &str) -> Result<(), SendError> {
        self.message(Opcode::Text, text.as_bytes())
    }

    /// Queues a binary message.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued.
    #[inline]
    pub fn binary(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.message(Opcode::Binary, data)
    }

    /// Queues a message that was encoded once for many connections. A client masks, and so copies it.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued.
    pub fn send(&mut self, frame: &Frame) -> Result<(), SendError> {
        self.check_room(frame.bytes().len())?;
        let deflated = self.codec.as_mut().and_then(|codec| codec.shared(frame));
        let bytes = deflated.as_ref().unwrap_or(frame.bytes());
        if self.entropy.is_some() {
            self.send_masked(bytes);
        } else if bytes.len() < if self.blocked { SHARE_BLOCKED_FROM } else { SHARE_FROM } {
            self.make_room(bytes.len());
            self.tail.extend_from_slice(bytes);
            self.queued += bytes.len();
        } else {
            self.share(bytes.clone());
        }
        Ok(())
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.2) behind what is queued. Messages that
    /// arrive from now on are discarded; [`Event::Closed`](crate::Event::Closed) comes when the peer
    /// has answered, has left, or [`Limits::close_within`] has passed. A code that may not be sent
    /// gives a Close without code; a reason over 123 bytes is cut. Ignored unless the connection is
    /// open.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        if self.sending == Sending::Open {
            self.push_close(code, reason);
            self.sending = Sending::Closing(code);
            self.since = self.now;
        }
    }

    /// Ends the connection because its peer does not read what it is sent: Close 1008 `slow consumer`
    /// passes what is queued, which is dropped, and [`Cause::Overflow`](crate::Cause::Overflow) is
    /// the next event. The peer may still fetch that Close for [`Limits::drain_within`]. An answer in
    /// pieces is just cut off: nothing can be said inside a body. Ignored unless the connection is open
    /// or such an answer is under way.
    pub fn give_up(&mut self) {
        match self.sending {
            Sending::Open => self.end_with_close(CloseCode::POLICY, Why::Drain.reason()),
            Sending::Responding => {
                self.clear();
                self.offer = None;
                self.since = self.now;
            }
            _ => return,
        }
        self.sending = Sending::GivenUp;
    }

    /// Messages of more bytes than this are refused from now on, as
    /// [`Limits::message`](crate::Limits::message) says, which it cannot exceed: a server gives little
    /// to who is not logged in, and more afterwards.
    pub fn limit_messages(&mut self, bytes: u32) {
        self.message_limit = bytes.min(self.limits.message);
    }

    /// Accepts the upgrade that [`Event::Request`](crate::Event::Request) brought.
    ///
    /// # Errors
    /// [`AnswerError`]; nothing was sent, the request still waits.
    pub fn accept(&mut self, answer: &Accept<'_>) -> Result<(), AnswerError> {
        let offer = unanswered(&self.offer)?;
        offer.accept(answer, &mut self.tail)?;
        let agreed = offer.agreed.filter(|_| !answer.plain);
        self.agree(agreed);
        self.offer = None;
        self.sending = Sending::Open;
        self.pushed_head();
        Ok(())
    }

    /// Answers the request with a complete response; the connection ends with
    /// [`Cause::Answered`](crate::Cause::Answered).
    ///
    /// # Errors
    /// [`AnswerError`]; nothing was sent, the request still waits.
    pub fn respond(&mut self, answer: &Response<'_>) -> Result<(), AnswerError> {
        unanswered(&self.offer)?.respond(answer, &mut self.tail)?;
        self.pushed_head();
        self.answered(answer.status);
        Ok(())
    }

    /// Answers the request with a body of `length` bytes that need not be at hand: what
    /// [`Response::body`] holds of it leaves at once, the rest is given with [`Outbox::body`]. Without
    /// any rest, as for a HEAD request, this is [`Outbox::respond`].
    ///
    /// A peer that takes nothing for [`Limits::drain_within`](crate::Limits::drain_within), or the body
    /// not whole within [`Limits::body_within`](crate::Limits::body_within), is cut off; so is one whose
    /// application gives it nothing for [`Limits::body_silence`](crate::Limits::body_silence).
    ///
    /// # Errors
    /// [`AnswerError`]; nothing was sent, the request still waits.
    pub fn begin_response(
        &mut self,
        answer: &Response<'_>,
        length: u64,
    ) -> Result<(), AnswerError> {
        let left = unanswered(&self.offer)?.begin(answer, length, &mut self.tail)?;
        self.pushed_head();
        self.begun(Begun { status: answer.status, left: Left::Bytes(left) });
        Ok(())
    }

    /// Answers the request with a body whose length nobody knows yet: the head leaves at once, pieces
    /// are given with [`Outbox::body`], and [`Outbox::end_body`] is its end. [`Response::body`] is not
    /// looked at. It leaves in chunks (RFC 9112 section 7.1), or until the end of the transport for
    /// HTTP/1.0. For a HEAD request this is all.
    ///
    /// A peer that takes nothing for [`Limits::drain_within`](crate::Limits::drain_within) is cut off;
    /// so is one whose application gives it nothing for
    /// [`Limits::body_silence`](crate::Limits::body_silence). How long it takes as a whole is the
    /// application's to bound. Whoever ends their half of the transport meanwhile ends the connection,
    /// as in [`Outbox::await_answer`].
    ///
    /// # Errors
    /// [`AnswerError`]; nothing was sent, the request still waits.
    pub fn begin_stream(&mut self, answer: &Response<'_>) -> Result<(), AnswerError> {
        let left = unanswered(&self.offer)?.begin_stream(answer, &mut self.tail)?;
        self.pushed_head();
        if let Some(offer) = &mut self.offer {
            offer.awaited = Some(Duration::ZERO);
        }
        self.begun(Begun { status: answer.status, left });
        Ok(())
    }

    fn begun(&mut self, begun: Begun) {
        match &mut self.offer {
            Some(offer) if begun.left != Left::Bytes(0) => {
                offer.begun = Some(begun);
                self.sending = Sending::Responding;
                (self.since, self.moved) = (self.now, self.now);
            }
            _ => self.answered(begun.status),
        }
    }

    /// The next piece of the body that [`Outbox::begin_response`] or [`Outbox::begin_stream`] has
    /// announced. It is shared, not copied, unless it is a chunk. A piece is taken whole when nothing is queued, so one at a time, each when the one before
    /// has left, holds no more than one for a peer that reads slowly.
    ///
    /// # Errors
    /// [`AnswerError::NothingToAnswer`] when no body is awaited, [`AnswerError::BodySize`] when this is
    /// more than was announced, [`AnswerError::Full`] when it and what is queued exceed
    /// [`Limits::outbox`](crate::Limits::outbox). Nothing was queued.
    pub fn body(&mut self, piece: Bytes) -> Result<(), AnswerError> {
        let begun = self.offer.as_mut().and_then(|offer| offer.begun.as_mut());
        let Begun { left, .. } = begun.ok_or(AnswerError::NothingToAnswer)?;
        let (rest, chunked) = match *left {
            Left::Bytes(left) => {
                let rest = left.checked_sub(piece.len() as u64).ok_or(AnswerError::BodySize)?;
                (Left::Bytes(rest), false)
            }
            open => (open, open == Left::Chunks),
        };
        if self.queued > 0 && self.queued + piece.len() > self.limits.outbox as usize {
            return Err(AnswerError::Full);
        }
        *left = rest;
        if !piece.is_empty() {
            if !self.blocked {
                self.moved = self.now;
            }
            if chunked {
                self.push_chunk(&piece);
            } else {
                self.share(piece);
            }
            // There are no frames among it.
            self.rest = self.queued;
        }
        Ok(())
    }

    /// The body that [`Outbox::begin_stream`] has begun is whole.
    ///
    /// # Errors
    /// [`AnswerError::NothingToAnswer`] when there is none, or its length was announced.
    pub fn end_body(&mut self) -> Result<(), AnswerError> {
        let begun = self.offer.as_mut().and_then(|offer| offer.begun.as_mut());
        let Begun { left, .. } = begun
            .filter(|begun| !matches!(begun.left, Left::Bytes(_)))
            .ok_or(AnswerError::NothingToAnswer)?;
        // The rest has the time of an answer whose length is known.
        self.since = self.now;
        if std::mem::replace(left, Left::Bytes(0)) == Left::Chunks {
            // RFC 9112 section 7.1: the last chunk, and no trailers.
            self.push_chunk(&[]);
            self.rest = self.queued;
        } else if self.queued == 0 {
            self.has_left();
        }
        Ok(())
    }

    fn push_chunk(&mut self, piece: &[u8]) {
        let size = format!("{:x}\r\n", piece.len());
        self.make_room(size.len() + piece.len() + 2);
        for part in [size.as_bytes(), piece, b"\r\n"] {
            self.tail.extend_from_slice(part);
            self.queued += part.len();
        }
    }

    /// Whether [`Outbox::body`] is to be given more.
    pub fn wants_body(&self) -> bool {
        let begun = self.offer.as_ref().and_then(|offer| offer.begun);
        begun.is_some_and(|begun| begun.left != Left::Bytes(0))
    }

    /// The answer to the request may take this long, from the end of its body on, instead of
    /// [`Limits::body_silence`](crate::Limits::body_silence). Meanwhile the transport is read, what comes
    /// is thrown away, and its end ends the connection with [`Cause::Eof`](crate::Cause::Eof): the client
    /// does not wait any more. One that ends its own half of the transport only and goes on reading cannot
    /// be told from that; no common HTTP client does so. Ignored unless a body was
    /// [taken](Outbox::take_body).
    pub fn await_answer(&mut self, within: Duration) {
        if let Some(offer) = self.offer.as_mut().filter(|offer| offer.taken.is_some()) {
            offer.awaited = Some(within);
        }
    }

    /// Takes the body of the request that [`Event::Request`](crate::Event::Request) brought, of at most
    /// `limit` bytes: [`Event::Body`](crate::Event::Body) brings its pieces as they arrive, and
    /// [`Event::BodyEnd`](crate::Event::BodyEnd) its end; answer with [`Outbox::respond`] then, or at
    /// any time before. A client that waits for 100 (RFC 9110 section 10.1.1) is told to go on. A body
    /// that grows over the limit is answered 413 and ends the connection.
    ///
    /// Take it while the event is at hand: a client that does not wait has sent the beginning already,
    /// and what nobody takes is [early data](UpgradeError::EarlyData).
    ///
    /// # Errors
    /// [`AnswerError::BodySize`] when the request announces more than `limit`; nothing was sent, the
    /// request still waits for its answer, which should be 413.
    pub fn take_body(&mut self, limit: u64) -> Result<(), AnswerError> {
        let offer =
            self.offer.as_mut().filter(|offer| offer.taken.is_none() && offer.begun.is_none());
        let offer = offer.ok_or(AnswerError::NothingToAnswer)?;
        if let BodyLength::Known(length) = offer.body
            && length > limit
        {
            return Err(AnswerError::BodySize);
        }
        offer.taken = Some(limit);
        let expects_continue = offer.expects_continue;
        self.since = self.now;
        if expects_continue {
            self.push_head(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        Ok(())
    }

    /// While it holds, [`Wants::read`](crate::Wants::read) is false and no more of the body is read: for
    /// an application that cannot put it away as fast as it comes. What has been read already, at most
    /// one read buffer, still comes. Ignored unless a body is being taken.
    pub fn hold_body(&mut self, hold: bool) {
        if let Some(offer) = self.offer.as_mut().filter(|offer| offer.taken.is_some())
            && std::mem::replace(&mut offer.held, hold)
            && !hold
        {
            offer.released = Some(self.now);
        }
    }

    /// Bytes that have not left yet.
    #[inline]
    pub fn queued(&self) -> usize {
        self.queued + self.backlog.as_ref().map_or(0, |backlog| backlog.control_left())
    }

    /// For how long nothing of what is queued has left, if the kernel has refused to take more.
    pub fn stalled(&self) -> Option<Duration> {
        self.blocked.then(|| self.now.saturating_duration_since(self.moved))
    }

    /// From the latest Ping to now, once for each Ping: to be asked when an
    /// [`Event::Pong`](crate::Event::Pong) is at hand. `None` for a Pong that answers nothing
    /// (RFC 6455 section 5.5.3).
    pub fn round_trip(&mut self) -> Option<Duration> {
        if self.ping != Ping::Left {
            return None;
        }
        self.ping = Ping::None;
        Some(self.now.saturating_duration_since(self.pinged))
    }

    /// Whether messages can be sent now.
    pub fn is_open(&self) -> bool {
        self.sending == Sending::Open
    }

    // --- for the connection --------------------------------------------------------------------

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn is_client(&self) -> bool {
        self.entropy.is_some()
    }

    /// Compression begins, or does not.
    pub(super) fn agree(&mut self, agreed: Option<Agreement>) {
        self.codec = agreed
            .map(|agreed| Box::new(Codec::new(agreed, self.is_client(), &self.limits, self.now)));
    }

    pub(super) fn has_stash(&self) -> bool {
        self.codec.as_ref().is_some_and(|codec| codec.has_stash())
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(super) fn set_offer(&mut self, offer: Offer) {
        self.offer = Some(Box::new(offer));
    }

    /// The application takes the request's body.
    pub(super) fn takes_body(&self) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.taken.is_some())
    }

    /// How long the application may take to answer, if it has said so.
    pub(super) fn awaited(&self) -> Option<Duration> {
        self.offer.as_ref().and_then(|offer| offer.awaited)
    }

    /// Whether the answer under way has a length.
    pub(super) fn is_streaming(&self) -> bool {
        let begun = self.offer.as_ref().and_then(|offer| offer.begun);
        begun.is_some_and(|begun| !matches!(begun.left, Left::Bytes(_)))
    }

    /// The application wants no more of the body for now.
    pub(super) fn holds_body(&self) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.held)
    }

    /// Writes HTTP bytes in front of all frames.
    pub(super) fn push_head<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let value = write(&mut self.tail);
        self.pushed_head();
        value
    }

    /// Refuses the request for a reason the application need not judge.
    pub(super) fn refuse(&mut self, error: UpgradeError) {
        self.offer = None;
        self.push_head(|out| write_error(error, out));
        self.end();
    }

    fn answered(&mut self, status: u16) {
        self.offer = None;
        self.sending = Sending::Answered(status);
        self.since = self.now;
    }

    /// Everything has left: that may have been the end of an answer.
    pub(super) fn has_left(&mut self) {
        if let Some(Begun { status, left: Left::Bytes(0) }) =
            self.offer.as_ref().and_then(|offer| offer.begun)
        {
            self.answered(status);
        }
    }

    /// The answer under way gets no more than it has: its peer sees that it is not whole.
    pub(super) fn cut_answer(&mut self) {
        if let Some(begun) = self.offer.as_ref().and_then(|offer| offer.begun) {
            self.answered(begun.status);
        }
    }

    pub(super) fn is_in_handshake(&self) -> bool {
        self.sending == Sending::Handshake
    }

    /// Closes before there are frames: the server says so in HTTP, the client has nobody to tell.
    pub(super) fn close_handshake(&mut self, code: CloseCode) {
        if self.is_client() {
            self.clear();
        } else {
            self.offer = None;
            self.push_head(|out| write_error(UpgradeError::Closing, out));
        }
        self.sending = Sending::Closing(code);
        self.since = self.now;
    }

    /// The usual time to close begins, if the peer was given a longer one.
    pub(super) fn end_waiting(&mut self) {
        if self.sending == Sending::GivenUp {
            self.sending = Sending::Ended;
            self.since = self.now;
        }
    }

    /// Answers a Ping: in order while the peer reads, else the latest wins.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if self.in_order() {
            self.push_frame(Opcode::Pong, payload);
        } else {
            self.backlog().pong = Some(payload.to_vec());
        }
    }

    /// Queues a Ping ahead of waiting data, unless the last one has not left yet.
    pub(super) fn push_ping(&mut self) {
        self.pinged = self.now;
        if std::mem::replace(&mut self.ping, Ping::Queued) == Ping::Queued {
            return;
        }
        if self.in_order() {
            self.push_frame(Opcode::Ping, &[]);
            // In order means that little is queued.
            self.ping_mark = self.queued as u32;
        } else {
            self.backlog().ping = true;
        }
    }

    /// The last frame: it passes what is queued, which the peer will not need any more. It fails the
    /// connection (RFC 6455 section 7.1.7) or answers the peer's Close with the same (section 5.5.1).
    pub(super) fn end_with_close(&mut self, code: CloseCode, reason: &str) {
        self.make_way();
        self.push_close(code, reason);
        self.end();
    }

    /// Nothing more will be queued.
    pub(super) fn end(&mut self) {
        if !matches!(self.sending, Sending::Closing(_) | Sending::Answered(_) | Sending::GivenUp) {
            self.since = self.now;
        }
        if self.sending != Sending::GivenUp {
            self.sending = Sending::Ended;
        }
    }

    /// Forgets everything: there is nobody to write to.
    pub(super) fn discard(&mut self) {
        self.lent = false;
        self.clear();
        self.offer = None;
        self.sending = Sending::Ended;
    }

    /// Heap bytes held for this connection; a lent buffer that is empty is not its own.
    pub(super) fn retained(&self) -> usize {
        let tail = if self.lent && self.queued == 0 { 0 } else { self.tail.capacity() };
        let backlog = self.backlog.as_ref().map_or(0, |backlog| backlog.retained());
        let codec = self.codec.as_ref().map_or(0, |codec| codec.retained());
        tail + backlog + codec + self.offer.as_ref().map_or(0, |offer| offer.retained())
    }

    // --- private -------------------------------------------------------------------------------

    #[inline]
    fn message(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), SendError> {
        self.check_room(payload.len())?;
        if let Some(codec) = &mut self.codec
            && let Some(deflated) = codec.deflate(self.now, payload)
        {
            for_each_cut(opcode, RSV1, &deflated, |header, piece| self.push(header, piece));
            if let Some(codec) = &mut self.codec {
                codec.sent(deflated);
            }
        } else if payload.len() <= 125 && self.entropy.is_none() {
            let head = [0x80 | opcode as u8, payload.len() as u8];
            self.make_room(payload.len() + 2);
            self.tail.extend_from_slice(&head);
            self.tail.extend_from_slice(payload);
            self.queued += payload.len() + 2;
        } else {
            self.make_room(payload.len() + (payload.len() / Frame::CUT + 1) * MAX_HEADER);
            for_each_cut(opcode, 0, payload, |header, piece| self.push(header, piece));
        }
        Ok(())
    }

    #[inline]
    fn check_room(&self, len: usize) -> Result<(), SendError> {
        if self.sending != Sending::Open {
            return Err(SendError::NotOpen);
        }
        let limit = self.limits.outbox;
        if self.queued > 0 && self.queued + len > limit as usize {
            return Err(SendError::Full { queued: self.queued, limit });
        }
        Ok(())
    }

    /// Appends a frame to the tail; the masking key, in a client, is added here.
    fn push(&mut self, mut header: Header, payload: &[u8]) {
        if let Some(entropy) = &mut self.entropy {
            let mut key = [0; 4];
            entropy.fill(&mut key);
            header.mask = Some(key);
        }
        let mut head = [0; MAX_HEADER];
        let size = header.emit(&mut head);
        self.make_room(size + payload.len());
        self.tail.extend_from_slice(&head[..size]);
        let start = self.tail.len();
        self.tail.extend_from_slice(payload);
        if let Some(key) = header.mask {
            mask::apply(key, &mut self.tail[start..]);
        }
        self.queued += size + payload.len();
    }

    fn push_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let header = Header { fin: true, rsv: 0, opcode, mask: None, len: payload.len() as u64 };
        self.push(header, payload);
    }

    fn push_close(&mut self, code: CloseCode, reason: &str) {
        // Control frames that wait for a half-written one would come after the Close.
        if let Some(backlog) = &mut self.backlog
            && backlog.control_sent > 0
        {
            backlog.pong = None;
            backlog.ping = false;
        }
        let mut payload = Vec::new();
        emit_close(code, reason, &mut payload);
        self.push_frame(Opcode::Close, &payload);
    }

    fn send_masked(&mut self, mut bytes: &[u8]) {
        self.make_room(bytes.len() + (bytes.len() / Frame::CUT + 1) * MAX_HEADER);
        while let Some((header, payload, after)) = next_frame(bytes) {
            self.push(header, payload);
            bytes = after;
        }
    }

    fn share(&mut self, bytes: Bytes) {
        let unsent = self.tail.len() - self.sent;
        self.queued += bytes.len();
        let backlog = self.backlog();
        if unsent > backlog.covered {
            backlog.segments.push_back(Segment::Tail(unsent - backlog.covered));
            backlog.covered = unsent;
        }
        backlog.segments.push_back(Segment::Shared(bytes));
    }

    fn backlog(&mut self) -> &mut Backlog {
        self.backlog.get_or_insert_default()
    }

    /// A head is always the first thing in the queue: it counts as one frame.
    fn pushed_head(&mut self) {
        self.queued = self.tail.len() - self.sent;
        self.rest = self.queued;
    }

    /// Whether a control frame may take its place behind what is queued: little is.
    pub(super) fn in_order(&self) -> bool {
        !self.blocked && self.queued <= Frame::CUT
    }

    #[inline]
    fn make_room(&mut self, len: usize) {
        if self.tail.capacity() - self.tail.len() < len {
            self.grow(len);
        }
    }

    /// Bytes that have left make room first; then the tail doubles, but as long as the limit keeps
    /// what waits small, not beyond half as much again: a slow reader costs about its limit.
    #[cold]
    fn grow(&mut self, len: usize) {
        if self.sent > self.tail.len() / 4 {
            self.tail.drain(..self.sent);
            self.sent = 0;
        }
        let limit = self.limits.outbox as usize;
        let most = limit.saturating_add(limit / 2).saturating_sub(self.tail.len());
        self.tail.reserve_exact(len.max(self.tail.len().min(most)));
    }
}

/// The request that waits for its answer.
fn unanswered(offer: &Option<Box<Offer>>) -> Result<&Offer, AnswerError> {
    let offer = offer.as_deref().filter(|offer| offer.begun.is_none());
    offer.ok_or(AnswerError::NothingToAnswer)
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("queued", &self.queued())
            .field("sending", &self.sending)
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}
