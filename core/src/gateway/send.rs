//! Everything that leaves: answers and events, straight into the outbox where there is one.

use super::bus::{BusMessage, CallId, Route};
use super::conn::{Closing, ConnId};
use super::fact::Fact;
use super::json;
use super::openclaw::{self, Then};
use super::proof::EXPIRED;
use super::refusal::{Code, Refusal};
use super::retained::Held;
use super::{Action, Gateway, NodeId};
use crate::connection::Outbox;
use crate::error::SendError;
use crate::frame::{CloseCode, Frame};
use std::borrow::Cow;
use std::time::Instant;

/// What one call into the gateway has at hand: the time, and the outbox of the connection that
/// caused it. Whatever is for that connection goes there, so its order is the order it was made in.
pub(super) struct Cx<'a> {
    pub(super) now: Instant,
    pub(super) direct: Option<(ConnId, &'a mut Outbox)>,
}

impl Cx<'_> {
    pub(super) fn at(now: Instant) -> Self {
        Self { now, direct: None }
    }

    pub(super) fn outbox(&mut self, conn: ConnId) -> Option<&mut Outbox> {
        match &mut self.direct {
            Some((direct, outbox)) if *direct == conn => Some(outbox),
            _ => None,
        }
    }
}

/// The method of a request.
#[derive(Debug, Copy, Clone)]
pub(super) struct Called {
    pub(super) name: &'static str,
    /// It only reads, so that it may be called again.
    pub(super) reads: bool,
}

/// Where an answer goes. Each is answered once; so is each request.
#[derive(Debug)]
pub(super) enum ReplyTo {
    /// A client of this node.
    Local {
        conn: ConnId,
        id: Box<str>,
        method: Called,
        since: Instant,
        /// What is kept of the request until then.
        held: Option<Held>,
        /// What becomes of the answer in another dialect.
        then: Then,
    },
    /// A client of another node, which keeps what is to be kept.
    Remote { node: NodeId, call: CallId },
    /// A request of this node's HTTP API.
    Api { conn: ConnId },
    /// Nobody needs it any more.
    Nobody,
}

impl ReplyTo {
    /// The same place, for an answer that becomes another one.
    pub(super) fn then(self, then: Then) -> Self {
        match self {
            Self::Local { conn, id, method, since, held, .. } => {
                Self::Local { conn, id, method, since, held, then }
            }
            other => other,
        }
    }
}

/// An answer without its envelope: `"ok":…` and what follows.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) json: String,
    pub(super) error: Option<Code>,
}

impl Body {
    pub(super) fn ok(fill: impl for<'b> FnOnce(json::Object<'b>) -> json::Object<'b>) -> Self {
        let mut json = String::from(OK);
        fill(json::Object::new(&mut json)).end();
        Self { json, error: None }
    }

    /// The payload of a success.
    pub(super) fn payload(&self) -> Option<&str> {
        if self.error.is_some() {
            return None;
        }
        self.json.strip_prefix(OK)
    }

    /// The same, for who has asked before.
    pub(super) fn again(mut self) -> Self {
        if self.error.is_none() && self.json.ends_with('}') {
            self.json.pop();
            self.json.push_str(",\"again\":true}");
        }
        self
    }
}

/// How a success begins.
pub(super) const OK: &str = "\"ok\":true,\"payload\":";

/// How an error begins; its code follows.
const ERROR: &str = "\"ok\":false,\"error\":{\"code\":\"";

impl From<Refusal> for Body {
    fn from(refusal: Refusal) -> Self {
        let mut json = String::new();
        refusal.write(&mut json);
        Self { json, error: Some(refusal.code) }
    }
}

/// Sends a message that was encoded before. When the peer reads so slowly that there is no room for
/// it, the connection is given up with 1008 `slow consumer`: nothing is dropped silently.
pub fn deliver(outbox: &mut Outbox, frame: &Frame) {
    let sent = outbox.send(frame);
    give_up_if_full(outbox, sent);
}

fn give_up_if_full(outbox: &mut Outbox, sent: Result<(), SendError>) {
    if let Err(SendError::Full { .. }) = sent {
        outbox.give_up();
    }
}

/// The whole message of an event.
pub(super) fn write_event(out: &mut String, name: &str, payload: &str, seq: Option<u64>) {
    let event = json::Object::new(out).str("type", "event").str("event", name);
    let event = event.raw("payload", payload);
    match seq {
        Some(seq) => event.num("seq", seq).end(),
        None => event.end(),
    }
}

impl Gateway {
    /// Answers with the payload that `fill` writes.
    pub(super) fn reply_ok(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        fill: impl FnOnce(&Self, &mut String),
    ) {
        self.reply_with(cx, to, None, |gateway, out| {
            out.push_str(OK);
            fill(gateway, out);
        });
    }

    /// Answers with an error.
    pub(super) fn reply_error(&mut self, cx: &mut Cx<'_>, to: ReplyTo, refusal: &Refusal) {
        self.reply_with(cx, to, Some(refusal.code), |_, out| refusal.write(out));
    }

    /// Answers with what was written before.
    pub(super) fn reply_body(&mut self, cx: &mut Cx<'_>, to: ReplyTo, body: &Body) {
        self.reply_with(cx, to, body.error, |_, out| out.push_str(&body.json));
    }

    fn reply_with(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        error: Option<Code>,
        fill: impl FnOnce(&Self, &mut String),
    ) {
        match to {
            ReplyTo::Local { then: Then::AsItIs, conn, id, method, since, held } => {
                drop(held);
                if !self.called(cx, conn, (method, since), error) {
                    return;
                }
                self.write_answer(cx, conn, &id, error, fill);
            }
            ReplyTo::Local { conn, id, method, since, held, then } => {
                let mut json = String::new();
                fill(self, &mut json);
                let then_ = Then::AsItIs;
                let to = ReplyTo::Local { conn, id, method, since, held, then: then_ };
                self.openclaw_answer(cx, to, then, &Body { json, error });
            }
            ReplyTo::Api { conn } => {
                let mut json = String::new();
                fill(self, &mut json);
                self.completion_answered(cx, conn, &Body { json, error });
            }
            ReplyTo::Nobody => {}
            ReplyTo::Remote { node, call } => {
                let mut json = String::new();
                fill(self, &mut json);
                let body = Body { json, error };
                self.publish(Route::Node(node), BusMessage::Answer { call, body: body.into() });
            }
        }
    }

    /// A request is over; says whether its connection is still there.
    pub(super) fn called(
        &mut self,
        cx: &Cx<'_>,
        conn: ConnId,
        (method, since): (Called, Instant),
        error: Option<Code>,
    ) -> bool {
        let duration = cx.now.saturating_duration_since(since);
        self.note(Fact::Called { conn, method: method.name, error, duration });
        let Some(state) = self.conns.get_mut(&conn) else { return false };
        state.in_flight = state.in_flight.saturating_sub(1);
        state.failed += u64::from(error.is_some());
        true
    }

    /// Refuses what never became a request.
    pub(super) fn refuse_frame(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        id: &str,
        refusal: &Refusal,
    ) {
        self.write_answer(cx, conn, id, Some(refusal.code), |_, out| refusal.write(out));
    }

    pub(super) fn write_answer(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        id: &str,
        error: Option<Code>,
        fill: impl FnOnce(&Self, &mut String),
    ) {
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        out.push_str("{\"type\":\"res\",\"id\":");
        json::string(&mut out, id);
        out.push(',');
        let start = out.len() + ERROR.len();
        fill(self, &mut out);
        if let Some(code) = error
            && self.conns.get(&conn).is_some_and(|conn| conn.openclaw.is_some())
        {
            // Refusals are written in the base dialect, whose codes are others.
            out.replace_range(start..start + code.as_str().len(), openclaw::code(code));
        }
        out.push('}');
        self.send_in_time(cx, conn, &out);
        self.give_back(out);
    }

    /// Sends an event that belongs to the connection itself, not to a login: it has no number.
    pub(super) fn send_unnumbered(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        name: &str,
        payload: &str,
    ) {
        if self.conns.get(&conn).is_none_or(|state| state.closing.is_some() || !state.open) {
            return;
        }
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        write_event(&mut out, name, payload, None);
        self.send_text(cx, conn, &out);
        self.give_back(out);
    }

    pub(super) fn send_text(&mut self, cx: &mut Cx<'_>, conn: ConnId, text: &str) {
        self.tally.messages_out += 1;
        match cx.outbox(conn) {
            Some(outbox) => {
                let sent = outbox.text(text);
                give_up_if_full(outbox, sent);
                let queued = outbox.queued();
                let state = self.conns.get_mut(&conn);
                if let Some(held) = state.and_then(|state| state.queued.as_mut()) {
                    held.set(queued);
                }
            }
            None => {
                let state = self.conns.get_mut(&conn).filter(|state| state.closing.is_none());
                let Some(state) = state else { return };
                if let Some(held) = &mut state.queued {
                    held.add(text.len());
                }
                self.actions.push_back(Action::Send { to: conn, frame: Frame::text(text) });
            }
        }
    }

    /// Closes a connection and takes it out of everything that is shared.
    pub(super) fn close(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        code: CloseCode,
        reason: impl Into<Cow<'static, str>>,
        deadline: Option<&'static str>,
    ) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        if state.closing.is_some() {
            return;
        }
        let reason = reason.into();
        let is_expired = reason == EXPIRED;
        match cx.outbox(conn) {
            Some(outbox) => outbox.close(code, &reason),
            None => {
                let reason = reason.clone();
                self.actions.push_back(Action::Close { conn, code, reason });
            }
        }
        state.closing = Some(Closing { code, reason, deadline });
        // Who is sent away for the gateway's sake, or to bring a new credential, may come back to the
        // same events.
        let keep = matches!(code, CloseCode::GOING_AWAY | CloseCode::RESTART) || is_expired;
        self.log_out(cx, conn, keep);
        self.disarm_connect(conn);
    }

    pub(super) fn publish(&mut self, to: Route, message: BusMessage) {
        if self.node.count > 1 {
            self.actions.push_back(Action::Publish { to, message });
        }
    }

    pub(super) fn note(&mut self, fact: Fact) {
        self.actions.push_back(Action::Note(fact));
    }

    /// The scratch is kept, unless one large answer has made it so.
    pub(super) fn give_back(&mut self, scratch: String) {
        const KEEP: usize = 64 * 1024;
        if scratch.capacity() <= KEEP {
            self.scratch = scratch;
        }
    }
}
