//! Receiving: everything that one input leads to.

use super::codec::Broken;
use super::handshake::Refusal;
use super::outbox::Outbox;
use super::spare::MessageSpare;
use super::state::{Receiving, Sending};
use super::{Connection, Control, Frame};
use crate::error::{LimitError, ProtocolError, UpgradeError};
use crate::event::{Cause, Event};
use crate::frame::assembler::Message;
use crate::frame::{CloseCode, Expect, Header, MAX_CONTROL, Opcode, RSV1, mask, parse_close};
use crate::upgrade::{Checked, RequestHead, ResponseHead};
use std::ops::Range;
use std::time::Instant;

/// Everything one input leads to, pulled event by event.
///
/// Drain it: a turn that is dropped early has lost bytes, and the connection ends with
/// [`Cause::Abandoned`].
#[derive(Debug)]
#[must_use = "drain the turn with next_event, or the connection is abandoned"]
pub struct Turn<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) input: &'a mut [u8],
    /// Input that an earlier turn had left, and this one's behind it; `input` is then empty.
    own: Vec<u8>,
    /// The loop's message buffer, if it has one.
    pub(super) spare: Option<&'a mut MessageSpare>,
    pub(super) at: usize,
    cause: Option<Cause<'static>>,
}

/// What one step through the input found: where its bytes are, without borrowing them.
pub(super) enum Step {
    /// Nothing for the application; go on.
    Next,
    /// The input is used up.
    Idle,
    Request(Source, Checked),
    Body(Range<usize>),
    BodyEnd,
    Response(Refusal),
    Open,
    Text(Range<usize>),
    Binary(Range<usize>),
    /// The message that was collected in the connection's buffer.
    Message,
    Ping(Source),
    Pong(Source),
    PeerClosed(Source),
    Closed(Cause<'static>),
}

/// Bytes in the caller's buffer, or this many in the connection's own.
pub(super) enum Source {
    Input(Range<usize>),
    Own(usize),
}

/// Compressed payload is inflated by this many bytes, a multiple of the masking key's length.
const BLOCK: usize = 8 * 1024;

impl<'a> Turn<'a> {
    #[inline]
    pub(super) fn new(
        connection: &'a mut Connection,
        now: Instant,
        input: &'a mut [u8],
        cause: Option<Cause<'static>>,
    ) -> Self {
        connection.outbox.now = now;
        let abandoned = std::mem::replace(&mut connection.in_turn, true);
        let cause = if abandoned {
            connection.to_dead();
            Some(Cause::Abandoned)
        } else {
            cause
        };
        let mut turn = Self { connection, input, own: Vec::new(), spare: None, at: 0, cause };
        if turn.connection.outbox.codec.is_some() {
            turn.take_up();
        }
        turn
    }

    /// The next event and the outbox to answer with; `None` when the input is used up.
    // Always: a loop calls it in one place, where the position then stays in a register.
    #[inline(always)]
    #[must_use = "an event is handed out once"]
    pub fn next_event(&mut self) -> Option<(Event<'_>, &mut Outbox)> {
        // The common case, small enough to be inlined: a whole, final data frame.
        if let Some((opcode, payload)) = self.whole_frame() {
            if opcode == Opcode::Binary {
                return Some((Event::Binary(&self.input[payload]), &mut self.connection.outbox));
            }
            return match utf8(&self.input[payload]) {
                Ok(text) => Some((Event::Text(text), &mut self.connection.outbox)),
                Err(error) => Some(self.connection.fail_with(error)),
            };
        }
        self.next_step()
    }

    /// Takes a final data frame that is completely there and needs no state, and unmasks it. The
    /// rules are those of [`Header::parse`]; whatever is not plain is left to [`Turn::step`].
    #[inline(always)]
    fn whole_frame(&mut self) -> Option<(Opcode, Range<usize>)> {
        let connection = &*self.connection;
        let input = self.input.get_mut(self.at..)?;
        let [first, second, ..] = *input else { return None };
        let opcode = match first {
            0x81 => Opcode::Text,
            0x82 => Opcode::Binary,
            _ => return None,
        };
        if connection.receiving != Receiving::Frames
            || connection.outbox.sending != Sending::Open
            || connection.message_open
            || connection.frame.is_some()
            || connection.head_len != 0
        {
            return None;
        }
        let masked = !connection.outbox.is_client();
        if (second & 0x80 != 0) != masked {
            return None;
        }
        let (mut start, len) = match second & 0x7F {
            126 => {
                let len = u16::from_be_bytes(input.get(2..4)?.try_into().ok()?);
                if len < 126 {
                    return None;
                }
                (4, usize::from(len))
            }
            127 => {
                let len = u64::from_be_bytes(input.get(2..10)?.try_into().ok()?);
                if len <= 0xFFFF {
                    return None;
                }
                (10, usize::try_from(len).ok()?)
            }
            short => (2, usize::from(short)),
        };
        if len > connection.outbox.message_limit as usize {
            return None;
        }
        if masked {
            let key: [u8; 4] = input.get(start..start + 4)?.try_into().ok()?;
            start += 4;
            mask::apply(key, input.get_mut(start..)?.get_mut(..len)?);
        } else {
            input.get(start..)?.get(..len)?;
        }
        let start = self.at + start;
        self.at = start + len;
        self.count_frame();
        Some((opcode, start..self.at))
    }

    #[inline(always)]
    fn count_frame(&mut self) {
        if let Some(spare) = &mut self.spare {
            spare.count_frame();
        }
    }

    /// What an earlier turn has left comes first.
    #[cold]
    fn take_up(&mut self) {
        let Some(codec) = &mut self.connection.outbox.codec else { return };
        self.own = codec.begin_turn();
        if !self.own.is_empty() {
            self.own.extend_from_slice(self.input);
            self.input = &mut [];
        }
    }

    /// The turn has inflated its share: the rest of the input waits.
    fn put_off(&mut self) {
        let rest = if self.own.is_empty() { &self.input[self.at..] } else { &self.own[self.at..] };
        if let Some(codec) = &mut self.connection.outbox.codec {
            codec.stash(rest);
        }
        self.at = self.end();
    }

    fn end(&self) -> usize {
        if self.own.is_empty() { self.input.len() } else { self.own.len() }
    }

    #[inline(never)]
    fn next_step(&mut self) -> Option<(Event<'_>, &mut Outbox)> {
        let step = loop {
            let step = match self.cause.take() {
                Some(cause) => Step::Closed(cause),
                None => self.step(),
            };
            match step {
                Step::Next => {}
                Step::Closed(_) if self.connection.told => {}
                step => break step,
            }
        };
        let connection = &mut *self.connection;
        if let Step::Idle = step {
            connection.rest(self.spare.as_deref_mut());
            return None;
        }
        let Connection { outbox, handshake, message, control, told, .. } = &mut *connection;
        let input = if self.own.is_empty() { &*self.input } else { &self.own[..] };
        let head = handshake.as_ref().map_or(&[][..], |own| &own.bytes);
        let control = control.as_ref().map_or(&[][..], |own| &own.payload);
        let event = match step {
            Step::Request(Source::Input(range), checked) => {
                Event::Request(RequestHead::new(&input[range], checked))
            }
            Step::Request(Source::Own(len), checked) => {
                Event::Request(RequestHead::new(&head[..len], checked))
            }
            Step::Response(Refusal { status, body: (start, _) }) => {
                Event::Response(ResponseHead::new(&head[..start], status, &head[start..]))
            }
            Step::Body(range) => Event::Body(&input[range]),
            Step::BodyEnd => Event::BodyEnd,
            Step::Open => Event::Open,
            // Valid: `begin_data` looked at it.
            Step::Text(range) => Event::Text(utf8(&input[range]).unwrap_or_default()),
            Step::Binary(range) => Event::Binary(&input[range]),
            Step::Message => match message.as_deref() {
                Some(message) if message.is_text() => Event::Text(message.text()),
                message => Event::Binary(message.map_or(&[], Message::binary)),
            },
            Step::Ping(source) => Event::Ping(source.bytes(input, control)),
            Step::Pong(source) => Event::Pong(source.bytes(input, control)),
            Step::PeerClosed(source) => {
                *told = true;
                // It parsed a moment ago.
                let (code, reason) =
                    parse_close(source.bytes(input, control)).unwrap_or((CloseCode::NO_STATUS, ""));
                Event::Closed(Cause::Peer(code, reason))
            }
            Step::Closed(cause) => {
                *told = true;
                Event::Closed(cause)
            }
            Step::Next | Step::Idle => return None,
        };
        Some((event, outbox))
    }

    fn step(&mut self) -> Step {
        let more = self.at < self.end();
        let connection = &mut *self.connection;
        match (connection.receiving, connection.outbox.sending) {
            (Receiving::Head, Sending::Handshake) => self.read_request(),
            (Receiving::Request, Sending::Open) => {
                connection.to_frames();
                Step::Open
            }
            // Accepted and closed at once: the peer's Close is awaited.
            (Receiving::Request, Sending::Closing(_)) => {
                connection.to_frames();
                Step::Next
            }
            (Receiving::Head, Sending::Closing(code)) if connection.is_ended() => {
                connection.to_discard();
                Step::Closed(Cause::Local(code))
            }
            (Receiving::Frames, sending) if connection.is_ended() => {
                connection.to_dead();
                Step::Closed(match sending {
                    Sending::Closing(code) => Cause::Local(code),
                    _ => connection.transport_cause(),
                })
            }
            (
                Receiving::Request | Receiving::Body | Receiving::Answer,
                Sending::Answered(status),
            ) => {
                connection.to_discard();
                Step::Closed(Cause::Answered(status))
            }
            (Receiving::Request, Sending::Handshake) if connection.outbox.takes_body() => {
                connection.to_body();
                Step::Next
            }
            (Receiving::Body, Sending::Handshake) => self.read_body(),
            (Receiving::Request, Sending::Handshake) if self.at < self.input.len() => {
                // RFC 6455 section 4.1: a client waits for the answer before it sends frames.
                connection.refuse(UpgradeError::EarlyData)
            }
            (Receiving::Response, Sending::Handshake) => self.read_response(),
            (Receiving::Refusal, Sending::Handshake) => self.read_refusal(),
            (Receiving::Refused, _) => {
                let status = connection.refusal().map_or(0, |refusal| refusal.status);
                connection.to_dead();
                Step::Closed(Cause::Upgrade(UpgradeError::Status(status)))
            }
            (Receiving::Request | Receiving::Body | Receiving::Answer, Sending::GivenUp) => {
                connection.to_dead();
                Step::Closed(Cause::Overflow)
            }
            (Receiving::Frames, Sending::GivenUp) => {
                connection.to_discard();
                Step::Closed(Cause::Overflow)
            }
            (Receiving::Frames, _)
                if more
                    && connection.outbox.codec.as_ref().is_some_and(|codec| codec.is_spent()) =>
            {
                self.put_off();
                Step::Idle
            }
            (Receiving::Frames, _) if connection.frame.is_some() => self.read_payload(),
            (Receiving::Frames, _) => self.read_header(),
            _ => {
                self.at = self.end();
                Step::Idle
            }
        }
    }

    // --- frames --------------------------------------------------------------------------------

    fn read_header(&mut self) -> Step {
        let connection = &mut *self.connection;
        let expect = Expect {
            masked: !connection.outbox.is_client(),
            continuation: connection.message_open,
            rsv: if connection.outbox.codec.is_some() { RSV1 } else { 0 },
        };
        let input = pick(self.input, &mut self.own);
        let header = loop {
            let rest = &input[self.at..];
            if rest.is_empty() {
                return Step::Idle;
            }
            // A header that straddles reads is collected byte by byte: it has 14 at the most.
            let own = usize::from(connection.head_len);
            let parsed = if own == 0 {
                Header::parse(rest, expect)
            } else {
                connection.head[own] = rest[0];
                connection.head_len += 1;
                self.at += 1;
                Header::parse(&connection.head[..=own], expect)
            };
            match parsed {
                Ok(Some((header, size))) => {
                    if own == 0 {
                        self.at += size;
                    }
                    connection.head_len = 0;
                    break header;
                }
                Ok(None) if own == 0 => {
                    connection.head[..rest.len()].copy_from_slice(rest);
                    connection.head_len = rest.len() as u8;
                    self.at = input.len();
                }
                Ok(None) => {}
                Err(error) => return connection.violated(error),
            }
        };
        self.count_frame();
        if header.opcode.is_control() {
            self.begin_control(header)
        } else {
            self.begin_data(header)
        }
    }

    fn begin_control(&mut self, header: Header) -> Step {
        let payload = self.at..self.at + header.len as usize;
        if let Some(bytes) = pick(self.input, &mut self.own).get_mut(payload.clone()) {
            if let Some(key) = header.mask {
                mask::apply(key, bytes);
            }
            self.at = payload.end;
            return self.control(header.opcode, Source::Input(payload));
        }
        let control = Control { len: 0, payload: [0; MAX_CONTROL] };
        self.connection.control = Some(Box::new(control));
        self.begin_frame(header)
    }

    fn begin_data(&mut self, header: Header) -> Step {
        let connection = &mut *self.connection;
        let now = connection.outbox.now;
        let is_first = !connection.message_open;
        let (fragments, size) = match &connection.message {
            Some(message) if !is_first => {
                (message.fragments.saturating_add(1), message.size.saturating_add(header.len))
            }
            _ => (1, header.len),
        };
        // Before a byte is buffered.
        let limits = connection.outbox.limits();
        let is_compressed = match &connection.message {
            Some(message) if !is_first => message.compressed,
            _ => header.rsv != 0,
        };
        // What does not compress grows a little; the limit holds for what comes out.
        let limit = connection.outbox.message_limit;
        let slack = if is_compressed { limit / 256 + 64 } else { 0 };
        if size > u64::from(limit) + u64::from(slack) {
            return connection.exceeded(LimitError::Message { size, limit });
        }
        if fragments > limits.fragments {
            return connection.exceeded(LimitError::Fragments { limit: limits.fragments });
        }
        let payload = self.at..self.at.saturating_add(header.len as usize);
        if is_first
            && header.fin
            && header.rsv == 0
            && let Some(bytes) = pick(self.input, &mut self.own).get_mut(payload.clone())
        {
            if let Some(key) = header.mask {
                mask::apply(key, bytes);
            }
            self.at = payload.end;
            return match header.opcode {
                Opcode::Text if utf8(bytes).is_err() => {
                    connection.violated(ProtocolError::InvalidUtf8)
                }
                _ if connection.outbox.sending != Sending::Open => Step::Next,
                Opcode::Text => Step::Text(payload),
                _ => Step::Binary(payload),
            };
        }
        let is_text = header.opcode == Opcode::Text;
        let message = match &mut connection.message {
            Some(message) => {
                if is_first {
                    message.restart(is_text, now);
                }
                message
            }
            none => none.insert(
                self.spare
                    .as_deref_mut()
                    .and_then(|spare| spare.take(is_text, now))
                    .unwrap_or_else(|| Box::new(Message::new(is_text, now))),
            ),
        };
        message.fragments = fragments;
        message.size = size;
        message.compressed = is_compressed;
        connection.message_open = true;
        self.begin_frame(header)
    }

    fn begin_frame(&mut self, header: Header) -> Step {
        self.connection.frame = Some(Frame {
            left: header.len,
            key: header.mask,
            opcode: header.opcode,
            fin: header.fin,
        });
        Step::Next
    }

    fn read_payload(&mut self) -> Step {
        let connection = &mut *self.connection;
        let Some(frame) = &mut connection.frame else { return Step::Next };
        let is_compressed = match &connection.message {
            Some(message) => message.compressed && !frame.opcode.is_control(),
            None => false,
        };
        let rest = &mut pick(self.input, &mut self.own)[self.at..];
        if rest.is_empty() && frame.left > 0 {
            return Step::Idle;
        }
        let mut taken = rest.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
        if is_compressed {
            // A little may become a lot: the turn's share is looked at in between.
            taken = taken.min(BLOCK);
        }
        let piece = &mut rest[..taken];
        self.at += taken;
        let Frame { left: before, key, opcode, fin } = *frame;
        frame.key = key.map(|key| mask::rotate(key, taken));
        frame.left -= taken as u64;
        let left = frame.left;
        if left == 0 {
            connection.frame = None;
        }
        if opcode.is_control() {
            let Some(control) = &mut connection.control else { return Step::Idle };
            if let Some(key) = key {
                mask::apply(key, piece);
            }
            control.payload[control.len..control.len + taken].copy_from_slice(piece);
            control.len += taken;
            let len = control.len;
            return if left == 0 { self.control(opcode, Source::Own(len)) } else { Step::Idle };
        }
        let Some(message) = &mut connection.message else { return Step::Idle };
        let limit = connection.outbox.message_limit;
        if is_compressed && let Some(codec) = &mut connection.outbox.codec {
            if let Some(key) = key {
                mask::apply(key, piece);
            }
            if let Err(broken) = codec.inflate(piece, left == 0 && fin, message, limit) {
                return match broken {
                    Broken::Protocol(error) => connection.violated(error),
                    Broken::Limit(error) => connection.exceeded(error),
                };
            }
            return self.end_of_piece(left, fin);
        }
        // Further frames may follow up to the limit: a frame's own length would make many small ones
        // grow the buffer one by one.
        let expected =
            if fin { before } else { u64::from(limit).saturating_sub(message.size - before) };
        message.reserve(taken, usize::try_from(expected).unwrap_or(usize::MAX));
        let valid = match key {
            Some(key) => message.push_masked(key, piece),
            None => message.push(piece),
        };
        if valid.is_err() {
            return connection.violated(ProtocolError::InvalidUtf8);
        }
        self.end_of_piece(left, fin)
    }

    /// A piece of a data frame was taken; `left` bytes of the frame are missing.
    fn end_of_piece(&mut self, left: u64, fin: bool) -> Step {
        let connection = &mut *self.connection;
        if left > 0 || !fin {
            return Step::Next;
        }
        if connection.message.as_mut().is_some_and(|message| message.finish().is_err()) {
            return connection.violated(ProtocolError::InvalidUtf8);
        }
        connection.message_open = false;
        match connection.outbox.sending {
            Sending::Open => Step::Message,
            _ => Step::Next,
        }
    }

    fn control(&mut self, opcode: Opcode, source: Source) -> Step {
        let connection = &mut *self.connection;
        let Connection { outbox, control, .. } = connection;
        let control = control.as_ref().map_or(&[][..], |own| &own.payload);
        let payload = source.bytes(pick(self.input, &mut self.own), control);
        let is_open = outbox.sending == Sending::Open;
        match opcode {
            Opcode::Ping if is_open => {
                outbox.pong(payload);
                Step::Ping(source)
            }
            Opcode::Pong if is_open => Step::Pong(source),
            Opcode::Close => match (parse_close(payload), outbox.sending) {
                (Err(error), _) => connection.violated(error),
                (Ok(_), Sending::Closing(code)) => {
                    connection.clean = true;
                    connection.to_discard();
                    Step::Closed(Cause::Local(code))
                }
                (Ok((code, reason)), _) => {
                    outbox.end_with_close(code, reason);
                    connection.clean = true;
                    connection.to_discard();
                    Step::PeerClosed(source)
                }
            },
            _ => Step::Next,
        }
    }
}

impl Source {
    fn bytes<'b>(&self, input: &'b [u8], own: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Input(range) => &input[range.clone()],
            Self::Own(len) => &own[..*len],
        }
    }
}

impl Connection {
    fn violated(&mut self, error: ProtocolError) -> Step {
        Step::Closed(self.to_failed(Cause::Protocol(error), &error.to_string()))
    }

    fn exceeded(&mut self, error: LimitError) -> Step {
        let mut reason = error.to_string();
        if let LimitError::Message { .. } = error {
            reason.push_str(self.outbox.limits().message_hint);
        }
        Step::Closed(self.to_failed(Cause::Limit(error), &reason))
    }

    /// As [`Connection::violated`], at the end of a turn's call.
    #[cold]
    fn fail_with(&mut self, error: ProtocolError) -> (Event<'_>, &mut Outbox) {
        let cause = self.to_failed(Cause::Protocol(error), &error.to_string());
        self.told = true;
        (Event::Closed(cause), &mut self.outbox)
    }

    /// The turn is over: gives back what only an unfinished message, head or control frame needs.
    fn rest(&mut self, spare: Option<&mut MessageSpare>) {
        self.in_turn = false;
        if !self.message_open
            && let Some(message) = self.message.take()
            && let Some(spare) = spare
        {
            spare.give_back(message);
        }
        if !self.frame.is_some_and(|frame| frame.opcode.is_control()) {
            self.control = None;
        }
        if !matches!(
            self.receiving,
            Receiving::Head
                | Receiving::Body
                | Receiving::Response
                | Receiving::Refusal
                | Receiving::Refused
        ) {
            self.handshake = None;
        }
    }
}

/// The bytes of the turn: what an earlier one has left, or the caller's.
fn pick<'b>(input: &'b mut [u8], own: &'b mut [u8]) -> &'b mut [u8] {
    if own.is_empty() { input } else { own }
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, ProtocolError> {
    // What is short is mostly ASCII, and is checked by words only if nothing else is looked for.
    if bytes.len() < 32
        && let Ok(text) = ascii::AsciiStr::from_ascii(bytes)
    {
        return Ok(text.as_str());
    }
    simdutf8::basic::from_utf8(bytes).map_err(|_| ProtocolError::InvalidUtf8)
}
