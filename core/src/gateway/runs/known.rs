//! A turn whose request the store has seen before: after a restart, or when it was forgotten here. It
//! is answered as it was, or its run is begun again for the message that is stored already.

use super::super::Gateway;
use super::super::bus::{BusMessage, NodeId, Route};
use super::super::idempotency::{Once, other_session};
use super::super::refusal::{Refusal, SOON};
use super::super::request::Known;
use super::super::send::{Cx, ReplyTo};
use super::super::session::{Op, Send, Session, not_yours};
use super::turn::{queued_body, started_body};
use super::{Ending, Turn};
use std::sync::Arc;

impl Gateway {
    /// The store knows the request of this turn, which was to be appended to the session `asked`.
    pub(in super::super) fn turn_known(
        &mut self,
        cx: &mut Cx<'_>,
        asked: &Arc<str>,
        mut turn: Turn,
        known: Known,
    ) {
        let Some(live) = self.live.get_mut(asked) else { return };
        let dismissed = live.take_appended();
        live.waiting_bytes -= turn.text.len();
        self.drop_if_idle(asked);
        let Some(once) = turn.once.clone() else { return };
        let session = &known.session;
        if once.named && session.key != *asked {
            return self.answer_turn(cx, turn, &other_session().into(), false);
        }
        // The request named no session, so nobody has asked yet whose it is.
        if session.owner != once.who.user && !once.who.role.sees_all() {
            return self.answer_turn(cx, turn, &not_yours().into(), false);
        }
        self.idempotency.found(&once.key, &session.key);
        turn.run = known.run;
        if let Some(end) = known.end {
            let body = if turn.ack && !once.latest {
                started_body(&turn, &session.key)
            } else {
                Ending::from(end).body(&turn.name(), &session.key)
            };
            return self.answer_turn(cx, turn, &body, true);
        }
        if dismissed {
            let body = Ending::Cancelled.body(&turn.name(), &session.key);
            return self.answer_turn(cx, turn, &body, true);
        }
        let home = self.node.home(&session.key);
        if home != self.node.id() {
            return self.send_home(cx, home, &session.key, &once, turn);
        }
        let Some(turn) = self.join_run(cx, &session.key, turn) else { return };
        let session = Session {
            key: session.key.clone(),
            owner: session.owner.clone(),
            agent: session.agent.clone(),
            fresh: false,
        };
        if self.make_live(&session, turn.text.len()) {
            self.turn_appended(cx, &session.key, turn, Ok(known.message));
        } else {
            let refusal = Refusal::exhausted("too many turns wait already", SOON);
            self.answer_turn(cx, turn, &refusal.into(), false);
        }
    }

    /// The run may be under way, or wait in the queue: then the request has the answer that it would
    /// have had. Gives the turn back when it is not.
    fn join_run(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, mut turn: Turn) -> Option<Turn> {
        let Some(live) = self.live.get_mut(session) else { return Some(turn) };
        if let Some(state) = &mut live.run
            && state.turn.run == turn.run
        {
            if state.turn.key.is_none() {
                // It had to wait, so its request was answered, and the key with it.
                state.turn.key.clone_from(&turn.key);
            }
            if turn.ack {
                let body = started_body(&turn, session);
                let again = turn.key.as_ref().map(|key| self.idempotency.started(key, &body));
                for to in turn.to.into_iter().chain(again.into_iter().flatten()) {
                    self.reply_body(cx, to, &body);
                }
            } else if let (Some(key), Some(to)) = (turn.key, turn.to) {
                self.taken(&to);
                self.idempotency.wait(&key, to, false);
            }
            return None;
        }
        let waiting = live.queue.iter().find(|waiting| waiting.run == turn.run);
        let Some(waiting) = waiting else { return Some(turn) };
        turn.id.clone_from(&waiting.id);
        let body = queued_body(&turn, session);
        self.answer_turn(cx, turn, &body, true);
        None
    }

    /// The session lives at another node now: there are more of them than before, or fewer.
    fn send_home(
        &mut self,
        cx: &mut Cx<'_>,
        home: NodeId,
        session: &Arc<str>,
        once: &Once,
        turn: Turn,
    ) {
        let again = turn.key.as_ref().map_or_else(Vec::new, |key| self.idempotency.abandon(key));
        let first = turn.to.map(|to| (to, turn.ack));
        for (to, ack) in first.into_iter().chain(again) {
            self.taken(&to);
            let op = Op::Send(Send {
                session: Some(session.clone()),
                agent: Some(turn.agent.clone()),
                text: turn.text.clone(),
                media: turn.media.clone(),
                key: Some(once.key.1.clone()),
                print: Some(once.print),
                ack,
                create: false,
                latest: once.latest,
                instructions: turn.instructions.clone(),
                apart: None,
            });
            self.forward(cx, home, &once.who, op, to);
        }
    }

    /// The node that the request came from need not fear that nobody does it.
    pub(in super::super) fn taken(&mut self, to: &ReplyTo) {
        if let ReplyTo::Remote { node, call } = to {
            self.publish(Route::Node(*node), BusMessage::Taken { call: *call });
        }
    }
}
