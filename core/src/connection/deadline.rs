//! The one deadline of a connection, derived from timestamps: nothing on the message path touches a
//! timer.

use super::Connection;
use super::outbox::{Outbox, Ping};
use super::state::{Receiving, Sending, TransportEnd};
use crate::error::UpgradeError;
use crate::event::{Cause, Why};
use crate::upgrade::write_timeout;
use std::time::{Duration, Instant};

/// Pings of connections that began together spread over the last tenth of
/// [`Limits::ping_every`](crate::Limits::ping_every), in this many steps.
const SPREAD: u32 = 64;

impl Connection {
    /// When [`Connection::handle_deadline`] is due, and why. Received bytes move it later without
    /// notice: a timer armed for the former time wakes early, which is harmless.
    pub fn deadline(&self) -> Option<(Instant, Why)> {
        let limits = self.outbox.limits();
        let since = self.outbox.since;
        if self.is_owed_closed() {
            return Some((since, Why::Close));
        }
        match (self.receiving, self.outbox.sending) {
            (Receiving::Dead, _) => None,
            // The application gave up outside a turn: the next one tells it the end.
            (_, Sending::GivenUp) if !self.told => Some((since, Why::Resume)),
            // It costs little by now, and a reader that wakes up should learn why.
            (_, Sending::GivenUp) => at(since, limits.drain_within, Why::Close),
            (_, Sending::Closing(_) | Sending::Answered(_) | Sending::Ended) => {
                at(since, limits.close_within, Why::Close)
            }
            (_, Sending::Responding) => self.response_deadline(),
            // It was taken outside a turn: the next one reads it, even if nothing of it will come.
            (Receiving::Request, Sending::Handshake) if self.outbox.takes_body() => {
                Some((since, Why::Resume))
            }
            (Receiving::Body, Sending::Handshake) => self.body_deadline(),
            (Receiving::Answer, Sending::Handshake) => {
                let within = self.outbox.awaited().unwrap_or(limits.body_silence);
                at(since, within, Why::Handshake)
            }
            (_, Sending::Handshake) => at(since, limits.handshake_within, Why::Handshake),
            (_, Sending::Open) => self.open_deadline(),
        }
    }

    fn open_deadline(&self) -> Option<(Instant, Why)> {
        let limits = self.outbox.limits();
        let Outbox { moved, pinged, ping, .. } = self.outbox;
        let alive = if self.outbox.is_blocked() && self.is_paused() {
            // It is not read from, so that it cannot show life but by reading: Drain watches that.
            None
        } else if ping != Ping::None && self.heard < pinged {
            // Any byte from the Ping on proves life. At the same instant counts: a loop reads its
            // clock once, and would take a quick Pong for none.
            at(pinged.max(moved), limits.pong_within, Why::Pong)
        } else {
            at(self.heard, self.ping_every(limits.ping_every), Why::Ping)
        };
        let drained = if self.outbox.is_blocked() {
            at(moved, limits.drain_within, Why::Drain)
        } else {
            None
        };
        // A message that is not read because answers wait is not late.
        let message = match &self.message {
            Some(message) if self.message_open && !self.is_paused() => {
                at(message.started.max(moved), limits.message_within, Why::Message)
            }
            _ => None,
        };
        let codec = self.outbox.codec.as_ref();
        let resume = codec
            .filter(|codec| codec.has_stash() && !self.is_paused())
            .map(|_| (self.outbox.now, Why::Resume));
        let idle = codec.and_then(|codec| codec.idle_at()).map(|at| (at, Why::Idle));
        [alive, drained, message, resume, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn ping_every(&self, ping_every: Duration) -> Duration {
        if ping_every == Duration::MAX {
            return ping_every;
        }
        ping_every - ping_every / (10 * SPREAD) * (u32::from(self.spread) % SPREAD)
    }

    /// Acts on the deadline if it has passed; gives what the application must be told.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Cause<'static>> {
        let (at, why) = self.deadline()?;
        if now < at || self.is_owed_closed() {
            return None;
        }
        match why {
            Why::Ping => {
                self.outbox.push_ping();
                None
            }
            // The turn that this begins takes it up.
            Why::Resume => None,
            Why::Idle => {
                if let Some(codec) = &mut self.outbox.codec {
                    codec.release();
                }
                None
            }
            Why::Handshake => self.expire_handshake(),
            Why::Body | Why::Drain if self.outbox.sending == Sending::Responding => {
                // Half of it has left: nothing can be said any more.
                self.to_dead();
                Some(if why == Why::Drain { Cause::SlowReader } else { Cause::Timeout(why) })
            }
            Why::Body => Some(self.expire_body()),
            Why::Close => {
                let sending = self.outbox.sending;
                self.to_dead();
                match sending {
                    Sending::Closing(code) => Some(Cause::Local(code)),
                    Sending::Answered(status) => Some(Cause::Answered(status)),
                    _ => None,
                }
            }
            Why::Drain => Some(self.to_failed(Cause::SlowReader, why.reason())),
            Why::Pong | Why::Message => Some(self.to_failed(Cause::Timeout(why), why.reason())),
        }
    }

    fn expire_handshake(&mut self) -> Option<Cause<'static>> {
        match self.receiving {
            Receiving::Head => {
                self.outbox.push_head(write_timeout);
                self.to_discard();
                Some(Cause::Timeout(Why::Handshake))
            }
            Receiving::Request | Receiving::Answer => {
                self.outbox.refuse(UpgradeError::Unanswered);
                self.to_discard();
                Some(Cause::Upgrade(UpgradeError::Unanswered))
            }
            // The answer is known; only its body has no end. The turn hands out what has come.
            Receiving::Refusal => {
                self.ended = Some(TransportEnd::Eof);
                None
            }
            _ => {
                self.to_dead();
                Some(Cause::Timeout(Why::Handshake))
            }
        }
    }
}

/// A time too far away to be expressed is never reached.
pub(super) fn at(from: Instant, after: Duration, why: Why) -> Option<(Instant, Why)> {
    from.checked_add(after).map(|at| (at, why))
}
