//! One connection with its socket: the adapter's whole skeleton.

use crate::handler::{ConnId, Handler};
use crate::opening::Opening;
use crate::stream::{Received, Stream, Streams, Written};
use moorline_core::{CloseCode, Connection, End, MessageSpare, Turn};
use std::io::IoSlice;
use std::time::Instant;

/// Calls of the core per connection and turn of the loop: then the others have theirs.
pub(crate) const CALLS: usize = 4;

/// Slices of one vectored write.
const SLICES: usize = 32;

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: ConnId,
    pub(crate) stream: Stream,
    pub(crate) connection: Connection,
    /// The stream carries nothing yet, and the connection has not begun.
    pub(crate) opening: Option<Box<Opening>>,
    /// The kernel may have bytes: edge-triggered readiness is told only once, and must be remembered
    /// while the connection does not want to read.
    pub(crate) readable: bool,
    /// The kernel may take bytes.
    pub(crate) writable: bool,
    /// The peer has shut down its side: a short read is not the last one.
    pub(crate) read_closed: bool,
    /// The write side is shut down.
    pub(crate) shut: bool,
    /// The slot is in the loop's list of those to drive again.
    pub(crate) listed: bool,
}

/// What the loop should do with a slot after it was driven.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Driven {
    /// Wait for readiness.
    Wait,
    /// It used up its budget: drive it again in the next turn.
    Again,
    /// It is finished.
    Done,
}

/// What all connections of a loop share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) read: Box<[u8]>,
    /// Lent to the outbox of the connection that is driven.
    pub(crate) spare: Vec<u8>,
    /// Lent to the connection that collects a message.
    pub(crate) message: MessageSpare,
    pub(crate) streams: Streams,
    /// Steps of handshakes that may still be made in this turn of the loop.
    pub(crate) handshakes: usize,
    /// Frames that were sent.
    pub(crate) frames_sent: u64,
}

impl Slot {
    /// Flush, look at wants, one call, drain the turn; until there is nothing to do or the budget is
    /// used up.
    pub(crate) fn drive(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        handler: &mut impl Handler,
    ) -> Driven {
        if self.opening.is_some()
            && let Some(driven) = self.open(now, shared, handler)
        {
            return driven;
        }
        let mut calls = CALLS;
        loop {
            self.flush(now, shared, handler);
            let wants = self.connection.wants();
            match wants.end {
                End::Stay => {}
                End::ShutdownWrite => {
                    if !std::mem::replace(&mut self.shut, true) {
                        // It fails when the peer is gone, which the next read tells.
                        let _ = self.stream.shutdown_write(&mut shared.streams);
                    }
                }
                End::Drop => {
                    if !self.shut {
                        self.stream.farewell(&mut shared.streams);
                    }
                    return Driven::Done;
                }
            }
            let is_due = wants.wake_at.is_some_and(|at| at <= now);
            if !(is_due || wants.read && self.readable) {
                return Driven::Wait;
            }
            if calls == 0 {
                return Driven::Again;
            }
            calls -= 1;
            if is_due {
                self.expire(now, shared, handler);
            } else {
                self.read(now, shared, handler);
            }
        }
    }

    /// When it must be driven at the latest.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match &self.opening {
            Some(opening) => Some(opening.until()),
            None => self.connection.wants().wake_at,
        }
    }

    /// Closes the connection, whatever its state.
    pub(crate) fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        self.connection.close(now, code, reason);
        if let Some(opening) = &mut self.opening {
            opening.give_up(now);
        }
    }

    /// The deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant, shared: &mut Shared, handler: &mut impl Handler) {
        self.connection.outbox(now).lend(&mut shared.spare);
        drain(now, self.id, self.connection.handle_deadline(now), handler);
    }

    /// The socket failed or ended; `cut` where that was not announced as it should be.
    pub(crate) fn end(&mut self, now: Instant, cut: bool, handler: &mut impl Handler) {
        self.readable = false;
        let turn = match cut {
            true => self.connection.handle_truncation(now),
            false => self.connection.handle_eof(now),
        };
        drain(now, self.id, turn, handler);
    }

    fn read(&mut self, now: Instant, shared: &mut Shared, handler: &mut impl Handler) {
        match self.stream.read(&mut shared.read, &mut shared.streams) {
            Received::Bytes { count, more } => {
                // An end of file may wait behind what emptied the kernel's buffer.
                self.readable = more || self.read_closed;
                handler.received(now);
                self.connection.outbox(now).lend(&mut shared.spare);
                let bytes = &mut shared.read[..count];
                let turn = self.connection.receive_with(now, bytes, &mut shared.message);
                drain(now, self.id, turn, handler);
            }
            Received::Nothing { more } => self.readable = more || self.read_closed,
            Received::Blocked => self.readable = false,
            Received::End => self.end(now, false, handler),
            Received::Broken(_) => self.end(now, true, handler),
        }
    }

    /// One vectored write per turn, unless the kernel takes all of it and there is more.
    fn flush(&mut self, now: Instant, shared: &mut Shared, handler: &mut impl Handler) {
        while self.writable
            && (!self.connection.outbox(now).is_empty() || self.stream.has_pending())
        {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.connection.outbox(now).slices(&mut slices);
            match self.stream.write_vectored(&slices[..filled], &mut shared.streams) {
                Ok(Written { count, all }) => {
                    self.writable = all;
                    let outbox = self.connection.outbox(now);
                    if filled > 0 && (count > 0 || !all) {
                        shared.frames_sent += outbox.frames_in(count);
                        outbox.written(now, count);
                        if outbox.is_empty() && (outbox.is_open() || outbox.wants_body()) {
                            handler.flushed(now, self.id, outbox);
                        }
                    }
                }
                Err(_) => {
                    // Whatever the peer sent before it left is of no use without an answer.
                    let cut = self.stream.announces_end();
                    self.end(now, cut, handler);
                    self.end(now, cut, handler);
                    self.writable = false;
                }
            }
        }
        self.connection.outbox(now).reclaim(&mut shared.spare);
    }
}

fn drain(now: Instant, id: ConnId, mut turn: Turn<'_>, handler: &mut impl Handler) {
    while let Some((event, outbox)) = turn.next_event() {
        handler.event(now, id, event, outbox);
    }
}
