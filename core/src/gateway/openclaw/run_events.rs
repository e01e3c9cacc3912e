//! The course of runs, as events of this dialect.

use super::super::Gateway;
use super::super::bus::NodeId;
use super::super::conn::ConnId;
use super::super::json::Object;
use super::super::link::Dialect;
use super::super::ring::{Event, RunName};
use super::super::send::Cx;
use super::answers::Final;
use super::events::{Audience, To};
use super::history::write_content;
use super::peer::{Protocol, View};
use super::session_events::Spoken;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// Why a run has failed whose loop knows nothing of it any more.
const LOST: &str = "the gateway has lost this run";

/// Somebody who waits for the end of a run.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) conn: ConnId,
    pub(super) id: Box<str>,
    pub(super) since: Instant,
    /// The run's session.
    pub(super) session: Arc<str>,
    /// What the client calls the run.
    pub(super) key: Arc<str>,
}

/// An `agent` event of the gateway's own.
#[derive(Deserialize)]
pub(super) struct AgentEvent<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) payload: Option<Inner<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Inner<'a> {
    #[serde(borrow)]
    pub(super) message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<Cow<'a, str>>,
    #[serde(rename = "messageId", borrow)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(rename = "stopReason", borrow)]
    pub(super) stop: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(rename = "retryAfterMs")]
    pub(super) retry_after: Option<u64>,
    pub(super) attempt: Option<u64>,
    #[serde(rename = "maxAttempts")]
    pub(super) most: Option<u64>,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(rename = "id", borrow)]
    pub(super) call: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) result: Option<Cow<'a, str>>,
    pub(super) is_error: Option<bool>,
}

/// A `chat.turn` event of the gateway's own.
#[derive(Deserialize)]
pub(super) struct TurnEvent<'a> {
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
    #[serde(rename = "sessionKey", borrow)]
    pub(super) session: Cow<'a, str>,
    #[serde(rename = "runId", borrow)]
    pub(super) run: Cow<'a, str>,
    #[serde(rename = "idempotencyKey", borrow)]
    pub(super) key: Option<Cow<'a, str>>,
    /// Its run had begun: that tells its end itself.
    #[serde(default)]
    pub(super) started: bool,
    /// Why it failed.
    #[serde(flatten, borrow)]
    pub(super) inner: Inner<'a>,
}

impl RunName {
    /// What clients of this dialect call the run.
    pub(super) fn shown(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.run)
    }

    pub(super) fn agent_shown(&self) -> &str {
        super::super::session::agent_of(&self.session).unwrap_or(&self.agent)
    }

    pub(super) fn write_chat<'o>(&self, out: &'o mut String, seq: u64, state: &str) -> Object<'o> {
        Object::new(out)
            .str("runId", self.shown())
            .str("sessionKey", &self.session)
            .str("agentId", self.agent_shown())
            .num("seq", seq)
            .str("state", state)
    }

    pub(super) fn write_agent<'o>(
        &self,
        out: &'o mut String,
        seq: u64,
        stream: &str,
        ts: u64,
    ) -> Object<'o> {
        Object::new(out)
            .str("runId", self.shown())
            .num("seq", seq)
            .str("stream", stream)
            .num("ts", ts)
            .str("sessionKey", &self.session)
            .str("agentId", self.agent_shown())
    }
}

pub(super) fn write_message<'o>(mut object: Object<'o>, text: &str, now_ms: u64) -> Object<'o> {
    let mut message = Object::new(object.key("message")).str("role", "assistant");
    write_content(message.key("content"), text);
    message.num("timestamp", now_ms).end();
    object
}

impl Gateway {
    pub(super) fn openclaw_run(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        run: &Arc<RunName>,
        event: &AgentEvent<'_>,
    ) {
        let default = Inner::default();
        let inner = event.payload.as_ref().unwrap_or(&default);
        match &*event.kind {
            "run.started" => {
                self.openclaw_named(audience.users, &run.run, run.key.as_deref());
                if !self.is_read_by(audience.users) {
                    return;
                }
                self.said(cx, run, audience.users);
                let start = self.lifecycle_start(run, true);
                self.tell(cx, audience, To::Readers, &start);
                if let Some(text) = &inner.message {
                    let id = inner.id.as_deref();
                    let spoken = Spoken { role: "user", text, id };
                    self.session_message(cx, audience, run, &spoken);
                }
                self.sessions_changed(cx, audience, &run.session, "run.started");
            }
            "run.completed" | "run.failed" | "run.cancelled" => {
                self.openclaw_over(cx, audience, run, inner);
            }
            "tool.call" | "tool.result" => self.openclaw_tool(cx, audience, run, inner),
            "run.retrying" => self.openclaw_retrying(cx, audience, run, inner),
            _ => {}
        }
    }

    /// A run has ended.
    fn openclaw_over(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        run: &Arc<RunName>,
        inner: &Inner<'_>,
    ) {
        if self.is_read_by(audience.users) {
            self.said(cx, run, audience.users);
            self.tell_said(cx, audience.from, &run.run, None);
            self.make_pieces_whole(audience.users, &run.run);
            self.openclaw_end(cx, audience, run, inner);
        }
        self.openclaw.said.remove(&run.run);
        self.end_awaited(cx, &run.run, inner);
    }

    /// What a user calls a run is remembered, as they ask for it by that. Of the two that an event of a run is
    /// for, the last one has begun it.
    pub(super) fn openclaw_named(&mut self, users: &[Arc<str>], run: &str, key: Option<&str>) {
        let (Some(key), Some(user)) = (key, users.last()) else { return };
        let name = (user.clone(), Arc::from(key));
        *self.openclaw.names.entry(&name, || Arc::from(run)) = Arc::from(run);
    }

    /// `is_new`: it is told for the first time, and not to somebody who has come later.
    pub(super) fn lifecycle_start(&mut self, run: &Arc<RunName>, is_new: bool) -> Event {
        let mut payload = String::new();
        if let Some(said) = self.openclaw.said.get_mut(&run.run) {
            said.agent += u64::from(is_new || said.agent == 0);
            // What has been said by then is told them with the number of the last event: this comes before it.
            let seq = if is_new { said.agent } else { (said.agent - 1).max(1) };
            let started = said.started;
            run.write_agent(&mut payload, seq, "lifecycle", started)
                .object("data", |o| o.str("phase", "start").num("startedAt", started))
                .end();
        }
        Event::named_of_run("agent", run, &payload, false)
    }

    pub(super) fn openclaw_end(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        run: &Arc<RunName>,
        inner: &Inner<'_>,
    ) {
        let now = self.ms(cx.now);
        let Some(said) = self.openclaw.said.get_mut(&run.run) else { return };
        said.chat += 1;
        said.agent += 1;
        let (started, partial) = (said.started, std::mem::take(&mut said.text));
        let aborted = inner.content.is_none() && inner.error.is_none();
        let stop = inner.stop.as_deref().unwrap_or("stop");
        let mut payload = String::new();
        run.write_agent(&mut payload, said.agent, "lifecycle", now)
            .object("data", |o| match &inner.error {
                Some(error) => o.str("phase", "error").str("error", error).num("endedAt", now),
                None => o
                    .str("phase", "end")
                    .num("startedAt", started)
                    .num("endedAt", now)
                    .bool("aborted", aborted)
                    .str("stopReason", if aborted { "aborted" } else { stop }),
            })
            .end();
        let end = Event::named_of_run("agent", run, &payload, false);
        payload.clear();
        match (&inner.content, &inner.error) {
            (Some(content), _) => {
                let chat = run.write_chat(&mut payload, said.chat, "final");
                let mut chat = write_message(chat, content, now).str("stopReason", stop);
                if let Some(usage) = inner.usage {
                    chat = chat.raw("usage", usage.get());
                }
                chat.end();
            }
            (None, Some(error)) => run
                .write_chat(&mut payload, said.chat, "error")
                .str("errorMessage", error)
                .str("errorKind", error_kind(inner.code.as_deref()))
                .end(),
            (None, None) => {
                let mut chat = run.write_chat(&mut payload, said.chat, "aborted");
                chat = chat.str("stopReason", "rpc");
                if !partial.is_empty() {
                    chat = write_message(chat, &partial, now);
                }
                chat.end();
            }
        }
        let chat = Event::named_of_run("chat", run, &payload, true);
        self.tell(cx, audience, To::Readers, &end);
        self.tell(cx, audience, To::Readers, &chat);
        if let Some(content) = &inner.content {
            let id = inner.id.as_deref();
            let spoken = Spoken { role: "assistant", text: content, id };
            self.session_message(cx, audience, run, &spoken);
        }
        self.sessions_changed(cx, audience, &run.session, "run.ended");
    }

    /// What a run has said is forgotten with its end: pieces of it that wait for clients who want all of it
    /// repeated take that along.
    fn make_pieces_whole(&mut self, users: &[Arc<str>], run: &Arc<str>) {
        let Some(said) = self.openclaw.said.get(run) else { return };
        for user in users {
            let mut after = None;
            while let Some(id) = self.links.next_of(user, after) {
                after = Some(id);
                let dialect = self.links.get(id).map(|link| link.dialect);
                if let Some(Dialect::OpenClaw(View { protocol: Protocol::V3, .. })) = dialect {
                    self.links.with_ring(id, |ring| ring.make_whole(run, &said.text));
                }
            }
        }
    }

    /// The loop of these runs has begun anew: nobody will tell their ends.
    pub(in crate::gateway) fn openclaw_node_restarted(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let inner = Inner { error: Some(Cow::Borrowed(LOST)), ..Inner::default() };
        let lost = |session: &str| self.node.home(session) == node;
        let runs = self.openclaw.said.values().filter(|said| lost(&said.run.session));
        let runs: Vec<_> = runs.map(|said| (said.run.clone(), said.users.clone())).collect();
        for (run, users) in runs {
            let audience = Audience { from: node, users: &users };
            self.openclaw_over(cx, audience, &run, &inner);
        }
        let lost = |awaited: &Awaited| self.node.home(&awaited.session) == node;
        let runs = self.openclaw.awaited.iter().filter(|(_, waiting)| waiting.iter().any(lost));
        let runs: Vec<_> = runs.map(|(run, _)| run.clone()).collect();
        for run in runs {
            self.end_awaited(cx, &run, &inner);
        }
    }

    /// A turn that waited has ended before its run began.
    pub(super) fn openclaw_turn(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        turn: &TurnEvent<'_>,
    ) {
        self.openclaw_named(audience.users, &turn.run, turn.key.as_deref());
        if turn.started || !matches!(&*turn.state, "cancelled" | "failed") {
            return;
        }
        let name = RunName {
            run: Arc::from(&*turn.run),
            agent: super::super::session::agent_of(&turn.session).unwrap_or_default().into(),
            session: Arc::from(&*turn.session),
            owner: audience.users.first().cloned().unwrap_or_default(),
            key: turn.key.as_deref().map(Arc::from),
        };
        let mut payload = String::new();
        match &turn.inner.error {
            Some(error) => name
                .write_chat(&mut payload, 1, "error")
                .str("errorMessage", error)
                .str("errorKind", error_kind(turn.inner.code.as_deref()))
                .end(),
            None => name.write_chat(&mut payload, 1, "aborted").str("stopReason", "rpc").end(),
        }
        let name = Arc::new(name);
        let event = Event::named_of_run("chat", &name, &payload, true);
        self.tell(cx, audience, To::Readers, &event);
        self.end_awaited(cx, &name.run, &turn.inner);
    }

    /// Gives the second answer of `agent` to those who wait for it.
    fn end_awaited(&mut self, cx: &mut Cx<'_>, run: &Arc<str>, inner: &Inner<'_>) {
        for Awaited { conn, id, since, session, key } in
            self.openclaw.awaited.remove(run).unwrap_or_default()
        {
            if let Some(peer) = self.conns.get_mut(&conn).and_then(|conn| conn.openclaw.as_mut()) {
                peer.awaited = peer.awaited.saturating_sub(1);
            }
            let done = Final {
                key: &key,
                session: &session,
                content: inner.content.as_deref(),
                error: inner.error.as_deref(),
                code: inner.code.as_deref(),
                retry_after: inner.retry_after,
                stop: inner.stop.as_deref(),
                usage: inner.usage.map(RawValue::get),
                ms: cx.now.saturating_duration_since(since).as_millis() as u64,
            };
            self.write_answer(cx, conn, &id, None, |_, out| done.write(out));
        }
    }
}

/// The word of this dialect for why a run failed.
fn error_kind(code: Option<&str>) -> &'static str {
    match code {
        Some("AGENT_TIMEOUT") => "timeout",
        Some("RESOURCE_EXHAUSTED") => "rate_limit",
        _ => "unknown",
    }
}
