//! One connection with its socket: the adapter's whole skeleton.

use crate::handler::{ConnId, Handler};
use crate::stream::Stream;
use moorline_core::{Connection, End, MessageSpare, Turn};
use std::io::{self, IoSlice};
use std::time::Instant;

/// Calls of the core per connection and turn of the loop: then the others have theirs.
const CALLS: usize = 4;

/// Slices of one vectored write.
const SLICES: usize = 32;

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: ConnId,
    pub(crate) stream: Stream,
    pub(crate) connection: Connection,
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
    pub(crate) reads: u64,
    pub(crate) writes: u64,
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
        let mut calls = CALLS;
        loop {
            self.flush(now, shared, handler);
            let wants = self.connection.wants();
            match wants.end {
                End::Stay => {}
                End::ShutdownWrite => {
                    if !std::mem::replace(&mut self.shut, true) {
                        // It fails when the peer is gone, which the next read tells.
                        let _ = self.stream.shutdown_write();
                    }
                }
                End::Drop => return Driven::Done,
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

    /// The deadline has passed.
    fn expire(&mut self, now: Instant, shared: &mut Shared, handler: &mut impl Handler) {
        self.connection.outbox(now).lend(&mut shared.spare);
        drain(now, self.id, self.connection.handle_deadline(now), handler);
    }

    /// The socket failed or ended.
    fn end_of_file(&mut self, now: Instant, handler: &mut impl Handler) {
        self.readable = false;
        drain(now, self.id, self.connection.handle_eof(now), handler);
    }

    fn read(&mut self, now: Instant, shared: &mut Shared, handler: &mut impl Handler) {
        shared.reads += 1;
        match self.stream.read(&mut shared.read) {
            Ok(0) => self.end_of_file(now, handler),
            Ok(count) => {
                // A short read has emptied the kernel's buffer, unless an end of file waits.
                self.readable = count == shared.read.len() || self.read_closed;
                handler.received(now);
                self.connection.outbox(now).lend(&mut shared.spare);
                let bytes = &mut shared.read[..count];
                let turn = self.connection.receive_with(now, bytes, &mut shared.message);
                drain(now, self.id, turn, handler);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.end_of_file(now, handler),
        }
    }

    /// One vectored write per turn, unless the kernel takes all of it and there is more.
    fn flush(&mut self, now: Instant, shared: &mut Shared, handler: &mut impl Handler) {
        while self.writable && !self.connection.outbox(now).is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.connection.outbox(now).slices(&mut slices);
            let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            shared.writes += 1;
            match self.stream.write_vectored(&slices[..filled]) {
                Ok(count) => {
                    self.writable = count == offered;
                    let outbox = self.connection.outbox(now);
                    outbox.written(now, count);
                    if outbox.is_empty() && (outbox.is_open() || outbox.wants_body()) {
                        handler.flushed(now, self.id, outbox);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    self.connection.outbox(now).written(now, 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // Whatever the peer sent before it left is of no use without an answer.
                    self.end_of_file(now, handler);
                    self.end_of_file(now, handler);
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
