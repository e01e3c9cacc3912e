//! Receiving: everything that one input leads to.

use super::outbox::Outbox;
use super::state::{Receiving, Sending};
use super::{Connection, Control, Frame, Handshake, Refusal};
use crate::error::{LimitError, ProtocolError, UpgradeError};
use crate::event::{Cause, Event};
use crate::frame::assembler::Message;
use crate::frame::{CloseCode, Expect, Header, MAX_CONTROL, Opcode, mask, parse_close};
use crate::upgrade::head::HeadScanner;
use crate::upgrade::{Checked, Offer, RequestHead, ResponseHead, Verdict, judge};
use std::ops::Range;
use std::time::Instant;

/// Everything one input leads to, pulled event by event.
///
/// Drain it: a turn that is dropped early has lost bytes, and the connection ends with
/// [`Cause::Abandoned`].
#[derive(Debug)]
#[must_use = "drain the turn with next_event, or the connection is abandoned"]
pub struct Turn<'a> {
    connection: &'a mut Connection,
    input: &'a mut [u8],
    at: usize,
    cause: Option<Cause<'static>>,
}

/// What one step through the input found: where its bytes are, without borrowing them.
enum Step {
    /// Nothing for the application; go on.
    Next,
    /// The input is used up.
    Idle,
    Request(Source, Checked),
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
enum Source {
    Input(Range<usize>),
    Own(usize),
}

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
        Self { connection, input, at: 0, cause }
    }

    /// The next event and the outbox to answer with; `None` when the input is used up.
    #[inline]
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
        if len > connection.outbox.limits().message as usize {
            return None;
        }
        if masked {
            let key: [u8; 4] = input.get(start..start + 4)?.try_into().ok()?;
            start += 4;
            mask::apply(key, input.get_mut(start..start + len)?);
        } else {
            input.get(start..start + len)?;
        }
        let start = self.at + start;
        self.at = start + len;
        Some((opcode, start..self.at))
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
            connection.rest();
            return None;
        }
        let Connection { outbox, handshake, message, control, told, .. } = &mut *connection;
        let input = &*self.input;
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
        let connection = &mut *self.connection;
        match (connection.receiving, connection.outbox.sending) {
            (Receiving::Head, Sending::Handshake) => self.read_request(),
            (Receiving::Request, Sending::Open) => {
                connection.to_frames();
                Step::Open
            }
            (Receiving::Request, Sending::Answered(status)) => {
                connection.to_discard();
                Step::Closed(Cause::Answered(status))
            }
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
            (Receiving::Frames, _) if connection.frame.is_some() => self.read_payload(),
            (Receiving::Frames, _) => self.read_header(),
            _ => {
                self.at = self.input.len();
                Step::Idle
            }
        }
    }

    // --- the opening handshake -----------------------------------------------------------------

    fn read_request(&mut self) -> Step {
        let connection = &mut *self.connection;
        let limit = connection.outbox.limits().head as usize;
        let input = &self.input[self.at..];
        let found = match &mut connection.handshake {
            Some(handshake) => {
                let taken = handshake.take(input, limit);
                self.at += taken;
                handshake.end_of_head(limit).map(|end| {
                    end.map(|(end, surplus)| {
                        self.at -= surplus;
                        Source::Own(end)
                    })
                })
            }
            None => {
                let mut scanner = HeadScanner::default();
                let found = scanner.scan(input, limit);
                let start = self.at;
                match found {
                    Ok(Some(len)) => {
                        self.at += len;
                        Ok(Some(Source::Input(start..self.at)))
                    }
                    Ok(None) => {
                        self.at = self.input.len();
                        if start < self.at {
                            let bytes = self.input[start..].to_vec();
                            let handshake = Handshake { bytes, scanner, ..Handshake::default() };
                            connection.handshake = Some(Box::new(handshake));
                        }
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        let source = match found {
            Ok(Some(source)) => source,
            Ok(None) => return Step::Idle,
            Err(error) => return connection.refuse(error),
        };
        let head = match &source {
            Source::Input(range) => &self.input[range.clone()],
            Source::Own(len) => {
                connection.handshake.as_ref().map_or(&[][..], |handshake| &handshake.bytes[..*len])
            }
        };
        match RequestHead::parse(head, connection.outbox.limits()) {
            Ok(head) => {
                let (checked, offer) = (head.checked(), Offer::new(&head));
                connection.spread = offer.spread();
                connection.outbox.set_offer(offer);
                connection.receiving = Receiving::Request;
                Step::Request(source, checked)
            }
            Err(error) => connection.refuse(error),
        }
    }

    fn read_response(&mut self) -> Step {
        let connection = &mut *self.connection;
        let limit = connection.outbox.limits().head as usize;
        let Some(handshake) = &mut connection.handshake else { return Step::Idle };
        self.at += handshake.take(&self.input[self.at..], limit);
        let verdict = match handshake.end_of_head(limit) {
            Ok(None) => return Step::Idle,
            Ok(Some((end, surplus))) => {
                self.at -= surplus;
                handshake.judge(end)
            }
            Err(UpgradeError::HeadSize) => Err(UpgradeError::HeadSize),
            Err(_) => Err(UpgradeError::Answer("not an HTTP response")),
        };
        match verdict {
            Ok(Verdict::Open(subprotocol)) => {
                connection.subprotocol = subprotocol.and_then(|index| u8::try_from(index).ok());
                connection.to_frames();
                Step::Open
            }
            Ok(Verdict::Refused(status, length)) => {
                let start = handshake.bytes.len();
                let end = start.saturating_add(length.unwrap_or(usize::MAX)).min(start.max(limit));
                handshake.refusal = Some(Refusal { status, body: (start, end) });
                connection.receiving = Receiving::Refusal;
                Step::Next
            }
            Err(error) => {
                connection.to_dead();
                Step::Closed(Cause::Upgrade(error))
            }
        }
    }

    /// Collects the body of a refusal, so that the user can be told what the server said.
    fn read_refusal(&mut self) -> Step {
        let connection = &mut *self.connection;
        let Some(handshake) = &mut connection.handshake else { return Step::Idle };
        let Some(refusal) = handshake.refusal else { return Step::Idle };
        self.at += handshake.take(&self.input[self.at..], refusal.body.1);
        if handshake.bytes.len() < refusal.body.1 && !connection.eof {
            return Step::Idle;
        }
        connection.receiving = Receiving::Refused;
        Step::Response(refusal)
    }

    // --- frames --------------------------------------------------------------------------------

    fn read_header(&mut self) -> Step {
        let connection = &mut *self.connection;
        let expect = Expect {
            masked: !connection.outbox.is_client(),
            continuation: connection.message_open,
            rsv: 0,
        };
        let header = loop {
            let rest = &self.input[self.at..];
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
                    self.at = self.input.len();
                }
                Ok(None) => {}
                Err(error) => return connection.violated(error),
            }
        };
        if header.opcode.is_control() {
            self.begin_control(header)
        } else {
            self.begin_data(header)
        }
    }

    fn begin_control(&mut self, header: Header) -> Step {
        let payload = self.at..self.at + header.len as usize;
        if let Some(bytes) = self.input.get_mut(payload.clone()) {
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
        if size > u64::from(limits.message) {
            return connection.exceeded(LimitError::Message { size, limit: limits.message });
        }
        if fragments > limits.fragments {
            return connection.exceeded(LimitError::Fragments { limit: limits.fragments });
        }
        let payload = self.at..self.at + header.len as usize;
        if is_first
            && header.fin
            && let Some(bytes) = self.input.get_mut(payload.clone())
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
            none => none.insert(Box::new(Message::new(is_text, now))),
        };
        message.fragments = fragments;
        message.size = size;
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
        let rest = &mut self.input[self.at..];
        let taken = rest.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
        let piece = &mut rest[..taken];
        if let Some(key) = &mut frame.key {
            mask::apply(*key, piece);
            *key = mask::rotate(*key, taken);
        }
        self.at += taken;
        let expected = frame.left as usize;
        frame.left -= taken as u64;
        let Frame { left, opcode, fin, .. } = *frame;
        if left == 0 {
            connection.frame = None;
        }
        if opcode.is_control() {
            let Some(control) = &mut connection.control else { return Step::Idle };
            control.payload[control.len..control.len + taken].copy_from_slice(piece);
            control.len += taken;
            let len = control.len;
            return if left == 0 { self.control(opcode, Source::Own(len)) } else { Step::Idle };
        }
        let Some(message) = &mut connection.message else { return Step::Idle };
        let mut valid = message.push(piece, expected);
        if left == 0 && fin && valid.is_ok() {
            valid = message.finish();
        }
        if valid.is_err() {
            return connection.violated(ProtocolError::InvalidUtf8);
        }
        match left {
            0 if fin => {
                connection.message_open = false;
                match connection.outbox.sending {
                    Sending::Open => Step::Message,
                    _ => Step::Next,
                }
            }
            0 => Step::Next,
            _ => Step::Idle,
        }
    }

    fn control(&mut self, opcode: Opcode, source: Source) -> Step {
        let connection = &mut *self.connection;
        let Connection { outbox, control, .. } = connection;
        let control = control.as_ref().map_or(&[][..], |own| &own.payload);
        let payload = source.bytes(self.input, control);
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

impl Handshake {
    /// Appends what fits under `limit`; says how much.
    fn take(&mut self, input: &[u8], limit: usize) -> usize {
        let room = limit.saturating_sub(self.bytes.len());
        let taken = input.len().min(room);
        if self.bytes.capacity() - self.bytes.len() < taken {
            // Doubling, but never beyond the limit.
            self.bytes.reserve_exact(self.bytes.len().min(room).max(taken));
        }
        self.bytes.extend_from_slice(&input[..taken]);
        taken
    }

    /// The head's length and how many of the bytes taken do not belong to it; those are given back.
    fn end_of_head(&mut self, limit: usize) -> Result<Option<(usize, usize)>, UpgradeError> {
        Ok(self.scanner.scan(&self.bytes, limit)?.map(|end| {
            let surplus = self.bytes.len() - end;
            self.bytes.truncate(end);
            (end, surplus)
        }))
    }

    fn judge(&self, end: usize) -> Result<Verdict, UpgradeError> {
        match &self.expected {
            Some(expected) => judge(&self.bytes[..end], expected),
            None => Err(UpgradeError::Answer("nothing was asked")),
        }
    }
}

impl Connection {
    fn refusal(&self) -> Option<Refusal> {
        self.handshake.as_ref()?.refusal
    }

    fn refuse(&mut self, error: UpgradeError) -> Step {
        self.outbox.refuse(error);
        self.to_discard();
        Step::Closed(Cause::Upgrade(error))
    }

    fn violated(&mut self, error: ProtocolError) -> Step {
        Step::Closed(self.to_failed(Cause::Protocol(error), &error.to_string()))
    }

    fn exceeded(&mut self, error: LimitError) -> Step {
        Step::Closed(self.to_failed(Cause::Limit(error), &error.to_string()))
    }

    /// As [`Connection::violated`], at the end of a turn's call.
    #[cold]
    fn fail_with(&mut self, error: ProtocolError) -> (Event<'_>, &mut Outbox) {
        let cause = self.to_failed(Cause::Protocol(error), &error.to_string());
        self.told = true;
        (Event::Closed(cause), &mut self.outbox)
    }

    /// The turn is over: gives back what only an unfinished message, head or control frame needs.
    fn rest(&mut self) {
        self.in_turn = false;
        if !self.message_open {
            self.message = None;
        }
        if !self.frame.is_some_and(|frame| frame.opcode.is_control()) {
            self.control = None;
        }
        if !matches!(
            self.receiving,
            Receiving::Head | Receiving::Response | Receiving::Refusal | Receiving::Refused
        ) {
            self.handshake = None;
        }
    }
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, ProtocolError> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| ProtocolError::InvalidUtf8)
}
