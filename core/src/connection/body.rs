//! The body of a request, on its way through, and how long the one of an answer may take.

use super::Connection;
use super::deadline::at;
use super::handshake::Handshake;
use super::state::Receiving;
use super::turn::{Step, Turn};
use crate::event::{Cause, Why};
use crate::upgrade::{BodyReader, Found, write_body_timeout};
use std::time::Instant;

impl Turn<'_> {
    pub(super) fn read_body(&mut self) -> Step {
        let connection = &mut *self.connection;
        let handshake = connection.handshake.as_mut();
        let Some(body) = handshake.and_then(|handshake| handshake.body.as_mut()) else {
            return Step::Idle;
        };
        match body.next(self.input, &mut self.at) {
            Ok(Found::Nothing) => Step::Idle,
            Ok(Found::Content(range)) => Step::Body(range),
            Ok(Found::End) => {
                // Whatever follows is thrown away: there is one request on a connection.
                connection.receiving = Receiving::Answer;
                connection.outbox.since = connection.outbox.now;
                Step::BodyEnd
            }
            Err(error) => connection.refuse(error),
        }
    }
}

#[allow(clippy::wrong_self_convention, reason = "`to_` names the state that is entered")]
impl Connection {
    /// The application takes the body; the head is not needed any more.
    pub(super) fn to_body(&mut self) {
        let Some(offer) = &self.outbox.offer else { return };
        let body = Some(BodyReader::new(offer.body, offer.taken.unwrap_or_default()));
        self.handshake = Some(Box::new(Handshake { body, ..Handshake::default() }));
        self.receiving = Receiving::Body;
    }

    /// The whole body has its time, and so has each silence in it that is the peer's.
    pub(super) fn body_deadline(&self) -> Option<(Instant, Why)> {
        let (limits, since) = (self.outbox.limits(), self.outbox.since);
        let whole = at(since, limits.body_within, Why::Body);
        if self.outbox.holds_body() {
            return whole;
        }
        let released = self.outbox.offer.as_ref().and_then(|offer| offer.released);
        let silent = released.into_iter().fold(self.heard.max(since), Instant::max);
        let silence = at(silent, limits.body_silence, Why::Body);
        [whole, silence].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The answer as a whole has its time, and so has each piece: the peer's to take it, the
    /// application's to bring the next.
    pub(super) fn response_deadline(&self) -> Option<(Instant, Why)> {
        let limits = self.outbox.limits();
        let whole = if self.outbox.is_streaming() {
            None
        } else {
            at(self.outbox.since, limits.body_within, Why::Body)
        };
        let piece = if self.outbox.is_blocked() {
            at(self.outbox.moved, limits.drain_within, Why::Drain)
        } else {
            at(self.outbox.moved, limits.body_silence, Why::Body)
        };
        [whole, piece].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The body did not come in time.
    pub(super) fn expire_body(&mut self) -> Cause<'static> {
        self.outbox.offer = None;
        self.outbox.push_head(write_body_timeout);
        self.to_discard();
        Cause::Timeout(Why::Body)
    }
}
