//! Who hears of a run and of a turn, and the events that they are told.

use super::super::Gateway;
use super::super::agent_work::RunFailure;
use super::super::json::Object;
use super::super::ring::Event;
use super::super::send::Cx;
use super::Turn;
use super::ending::write_failure;
use std::sync::Arc;

/// Who hears of a run, besides those who wait for its end.
pub(super) enum Readers {
    /// All connections of these users.
    Users([Arc<str>; 2]),
    /// Requests over HTTP at this node.
    Here,
    /// Requests over HTTP at all nodes.
    Anywhere,
}

impl Turn {
    /// Who hears of its run.
    pub(super) fn readers(&self, owner: &Arc<str>) -> Readers {
        match (&self.apart, &self.once) {
            (None, _) => Readers::Users([owner.clone(), self.user.clone()]),
            (Some(_), None) => Readers::Here,
            // A repeat may have come to any node.
            (Some(_), Some(_)) => Readers::Anywhere,
        }
    }
}

#[derive(Debug, Copy, Clone)]
pub(super) enum Which {
    Running,
    Queued(usize),
}

impl Gateway {
    /// An `agent` event of the session's run, for its owner and for who started it.
    pub(super) fn run_event(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        kind: &str,
        inner: Option<&str>,
        ends: bool,
    ) {
        let Some(live) = self.live.get_mut(session) else { return };
        let Some(run) = &mut live.run else { return };
        run.seq += 1;
        let mut payload = String::with_capacity(256 + inner.map_or(0, str::len));
        run.name.write(&mut payload, kind, run.seq, inner);
        let event = Event::of_run(&run.name, &payload, ends);
        let readers = run.turn.readers(&live.owner);
        self.tell_readers(cx, &readers, &event);
    }

    pub(super) fn tell_readers(&mut self, cx: &mut Cx<'_>, readers: &Readers, event: &Event) {
        match readers {
            Readers::Users(users) => self.event(cx, users, event),
            Readers::Here => self.event_here(cx, self.node.id(), &[], event),
            Readers::Anywhere => self.event(cx, &[], event),
        }
    }

    pub(super) fn turn_event(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        which: Which,
        state: &str,
        failure: Option<&RunFailure>,
    ) {
        let Some(live) = self.live.get(session) else { return };
        let turn = match which {
            Which::Running => live.run.as_ref().map(|run| &run.turn),
            Which::Queued(at) => live.queue.get(at),
        };
        let Some(turn) = turn else { return };
        let mut payload = String::new();
        let object = Object::new(&mut payload)
            .str("turnId", &turn.id)
            .str("state", state)
            .str("sessionKey", session)
            .bool("started", matches!(which, Which::Running));
        let object = turn.name().write(object);
        match failure {
            Some(failure) => write_failure(object, failure).end(),
            None => object.end(),
        }
        let readers = turn.readers(&live.owner);
        self.tell_readers(cx, &readers, &Event::plain("chat.turn", &payload));
    }
}
