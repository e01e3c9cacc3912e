//! A stream that is not open yet: its handshake, and how it fails.

use crate::handler::Handler;
use crate::slot::{CALLS, Driven, Shared, Slot};
use crate::stream::{Peer, Received};
use crate::tls::{TlsFailure, TlsOptions};
use moorline_core::{Address, Connection, Limits};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps of handshakes per turn of the loop, of all its connections. A signature takes from a tenth of a
/// millisecond to one, so a burst of clients delays those that are there by that much, not by its size.
pub(crate) const STEPS: usize = 16;

/// How long a failed handshake's last words may take: the kernel resets a connection that is closed
/// before all was read, and they would be lost.
const LINGER: Duration = Duration::from_secs(1);

/// What is waited for, and what then begins.
#[derive(Debug)]
pub(crate) struct Opening {
    until: Instant,
    /// Of an accepted socket, who is announced and what may be sent; the application's own connections
    /// have begun already.
    accepted: Option<(Peer, Arc<Limits>)>,
    /// It has failed, and the peer reads why.
    leaving: bool,
}

impl Opening {
    /// Of an accepted socket, if its stream needs any.
    pub(crate) fn accepted(
        now: Instant,
        peer: Peer,
        limits: &Arc<Limits>,
        options: &TlsOptions,
    ) -> Box<Self> {
        let until = now + options.handshake_within;
        Box::new(Self { until, accepted: Some((peer, limits.clone())), leaving: false })
    }

    /// Of a connection that the application has begun: it has the time of the connection's handshake.
    pub(crate) fn own(now: Instant, connection: &Connection) -> Box<Self> {
        let until = connection.wants().wake_at.unwrap_or(now + LINGER);
        Box::new(Self { until, accepted: None, leaving: false })
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// The next time it is driven is the last.
    pub(crate) fn give_up(&mut self, now: Instant) {
        self.until = now;
        self.leaving |= self.accepted.is_some();
    }
}

impl Slot {
    /// Whose handshake is under way, if this was accepted.
    pub(crate) fn handshake(&self) -> Option<Address> {
        match self.opening.as_ref()?.accepted.as_ref()?.0 {
            Peer::Network(peer) => Some(Address::of(peer.ip())),
            // Its stream needs none.
            Peer::Local => None,
        }
    }

    /// Brings the handshake on; `None` once it is done.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        handler: &mut impl Handler,
    ) -> Option<Driven> {
        let mut calls = CALLS;
        loop {
            if self.writable && self.stream.has_pending() {
                match self.stream.write_vectored(&[], &mut shared.streams) {
                    Ok(written) => self.writable = written.all,
                    Err(_) => return Some(self.fail(now, &TlsFailure::Left, shared, handler)),
                }
            }
            let opening = self.opening.as_ref()?;
            let leaving = opening.leaving;
            if !leaving && !self.stream.is_opening() {
                self.begin(now, handler);
                return None;
            }
            if opening.until <= now {
                return Some(match leaving {
                    true => Driven::Done,
                    false => self.fail(now, &TlsFailure::Timeout, shared, handler),
                });
            }
            if !self.readable {
                return Some(Driven::Wait);
            }
            if calls == 0 || shared.handshakes == 0 {
                return Some(Driven::Again);
            }
            calls -= 1;
            shared.handshakes -= 1;
            match self.stream.read(&mut [], &mut shared.streams) {
                Received::Bytes { more, .. } | Received::Nothing { more } => {
                    self.readable = more || self.read_closed;
                }
                Received::Blocked => self.readable = false,
                Received::End | Received::Broken(_) if leaving => return Some(Driven::Done),
                Received::End => return Some(self.fail(now, &TlsFailure::Left, shared, handler)),
                Received::Broken(failure) => {
                    let driven = self.fail(now, &failure, shared, handler);
                    if driven == Driven::Done {
                        return Some(driven);
                    }
                }
            }
        }
    }

    /// The stream is open: the connection begins, with all the time that it has.
    fn begin(&mut self, now: Instant, handler: &mut impl Handler) {
        // The first bytes may have come together with the handshake's last.
        self.readable = true;
        let accepted = self.opening.take().and_then(|opening| opening.accepted);
        if let Some((peer, limits)) = accepted {
            self.connection = Connection::server(limits, now);
            handler.opened(now, self.id, peer);
        }
    }

    /// Tells the application; [`Driven::Wait`] while the peer has something to read.
    fn fail(
        &mut self,
        now: Instant,
        failure: &TlsFailure,
        shared: &mut Shared,
        handler: &mut impl Handler,
    ) -> Driven {
        let is_lost = matches!(failure, TlsFailure::Left | TlsFailure::Timeout);
        if !is_lost {
            // It fails when the peer is gone, which the next read tells.
            let _ = self.stream.shutdown_write(&mut shared.streams);
        }
        let Some(opening) = &mut self.opening else { return Driven::Done };
        let peer = opening.accepted.as_ref().map(|(peer, _)| *peer);
        opening.leaving = true;
        opening.until = now + LINGER;
        handler.handshake_failed(now, self.id, peer, failure);
        if peer.is_some() {
            return if is_lost { Driven::Done } else { Driven::Wait };
        }
        match failure {
            TlsFailure::Timeout => self.expire(now, shared, handler),
            _ => self.end(now, false, handler),
        }
        Driven::Done
    }

    /// Ends a handshake to make room for others.
    pub(crate) fn crowd_out(&mut self, now: Instant, handler: &mut impl Handler) {
        let opening = self.opening.as_ref().filter(|opening| !opening.leaving);
        if let Some((peer, _)) = opening.and_then(|opening| opening.accepted.as_ref()) {
            handler.handshake_failed(now, self.id, Some(*peer), &TlsFailure::Crowded);
        }
    }
}
