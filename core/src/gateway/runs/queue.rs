//! Turns on their way to their runs: made durable, and waiting for the one before them.

use super::super::Gateway;
use super::super::agent_work::StopReason;
use super::super::bus;
use super::super::idempotency::Key;
use super::super::jobs::Job;
use super::super::refusal::{Refusal, SOON};
use super::super::request::Mark;
use super::super::retained::ENTRY;
use super::super::send::{Body, Cx, ReplyTo};
use super::super::session::Session;
use super::super::work::{Author, StoreWork};
use super::audience::Which;
use super::turn::queued_body;
use super::{Ending, Live, Turn};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

impl Gateway {
    /// Makes a turn's text durable, if there is room for it.
    pub(in super::super) fn take_turn(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Session,
        mut turn: Turn,
    ) {
        // It is all that is kept of its request from now on.
        if let Some(ReplyTo::Local { held: Some(held), .. }) = &mut turn.to {
            held.set(ENTRY);
        }
        let bytes = turn.bytes();
        if let Err(refusal) = self.room_for(&turn.user, bytes) {
            return self.answer_turn(cx, turn, &refusal.into(), false);
        }
        turn.held = Some(self.retained.hold(&turn.user, bytes));
        if !self.make_live(session, turn.text.len()) {
            let refusal = Refusal::exhausted("too many turns wait already", SOON);
            return self.answer_turn(cx, turn, &refusal.into(), false);
        }
        if turn.apart.is_some() {
            return self.turn_appended(cx, &session.key, turn, Ok(0));
        }
        let mark = turn.once.as_ref().map(|once| Mark::Begin {
            user: once.key.0.clone(),
            key: once.key.1.clone(),
            print: once.print,
            run: turn.run.clone(),
            // However long the run takes, it is not forgotten while it does.
            expires: self.forget_at(cx.now + self.config.bounds().run_within),
        });
        let work = StoreWork::Append {
            session: session.key.clone(),
            create: session.create(),
            author: Author::User,
            text: turn.text.clone(),
            media: turn.media.clone(),
            label: None,
            stop: StopReason::Stop,
            at: self.ms(cx.now),
            mark,
        };
        self.start_store(cx, work, Job::Append { session: session.key.clone(), turn });
    }

    /// When the store forgets a request that has had its effect by then, in Unix milliseconds.
    pub(super) fn forget_at(&self, then: Instant) -> u64 {
        self.ms(then + self.config.bounds().idempotency_within)
    }

    /// Enters a turn of so many bytes into its session, as one that is being made durable. False if
    /// there is no room for it.
    pub(super) fn make_live(&mut self, session: &Session, len: usize) -> bool {
        let bounds = self.config.bounds();
        let room = match self.live.get(&session.key) {
            None => self.live.len() < bounds.live_sessions,
            Some(live) => {
                live.queue.len() + live.appending < bounds.queued_turns
                    && live.waiting_bytes + len <= bounds.queued_bytes
            }
        };
        if !room {
            return false;
        }
        let live = self.live.entry(session.key.clone()).or_insert_with(|| Live {
            owner: session.owner.clone(),
            agent: session.agent.clone(),
            run: None,
            queue: VecDeque::new(),
            waiting_bytes: 0,
            appending: 0,
            dismissed: 0,
        });
        live.appending += 1;
        live.waiting_bytes += len;
        true
    }

    /// The text is durable: runs, or waits its turn.
    pub(in super::super) fn turn_appended(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        mut turn: Turn,
        outcome: Result<u64, Refusal>,
    ) {
        // Nobody begins what would be stopped at once; the text stays in the history.
        let outcome = if self.draining.is_some() { Err(bus::shutting_down()) } else { outcome };
        let Some(live) = self.live.get_mut(session) else { return };
        let dismissed = live.take_appended();
        match outcome {
            Ok(_) if dismissed => self.turn_dismissed(cx, session, turn),
            Err(refusal) => {
                live.waiting_bytes -= turn.text.len();
                self.drop_if_idle(session);
                self.answer_turn(cx, turn, &refusal.into(), false);
            }
            Ok(message) if live.run.is_none() => {
                live.waiting_bytes -= turn.text.len();
                turn.message = message;
                self.start_run(cx, session, turn);
            }
            Ok(message) => {
                turn.message = message;
                turn.queued = true;
                let body = queued_body(&turn, session);
                let (to, key) = (turn.to.take(), turn.key.take());
                live.queue.push_back(turn);
                let at = live.queue.len() - 1;
                self.turn_event(cx, session, Which::Queued(at), "queued", None);
                self.answer(cx, to, key.as_ref(), &body, true);
            }
        }
    }

    pub(super) fn next_turn(&mut self, cx: &mut Cx<'_>, session: &Arc<str>) {
        let Some(live) = self.live.get_mut(session) else { return };
        match live.queue.pop_front() {
            Some(turn) => {
                live.waiting_bytes -= turn.text.len();
                self.start_run(cx, session, turn);
            }
            None => self.drop_if_idle(session),
        }
    }

    /// The text became durable just before its session was deleted or reset.
    fn turn_dismissed(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, turn: Turn) {
        if let Some(live) = self.live.get_mut(session) {
            live.waiting_bytes -= turn.text.len();
            let owner = live.owner.clone();
            self.run_ended(cx, &turn.run, &owner, None, &Ending::Cancelled);
        }
        self.drop_if_idle(session);
        let body = Ending::Cancelled.body(&turn.name(), session);
        self.answer_turn(cx, turn, &body, true);
    }

    pub(super) fn drop_if_idle(&mut self, session: &str) {
        let idle = |live: &Live| live.run.is_none() && live.queue.is_empty() && live.appending == 0;
        if self.live.get(session).is_some_and(idle) {
            self.live.remove(session);
        }
    }

    /// Answers a turn's request and those that came again with its key. `keep`: the run existed, so
    /// its answer is remembered.
    pub(super) fn answer_turn(&mut self, cx: &mut Cx<'_>, turn: Turn, body: &Body, keep: bool) {
        self.answer(cx, turn.to, turn.key.as_ref(), body, keep);
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        to: Option<ReplyTo>,
        key: Option<&Key>,
        body: &Body,
        keep: bool,
    ) {
        let again = match key {
            Some(key) if keep => self.idempotency.finish(key, body),
            Some(key) => self.idempotency.forget(key),
            None => Vec::new(),
        };
        for to in to.into_iter().chain(again) {
            self.reply_body(cx, to, body);
        }
    }
}
