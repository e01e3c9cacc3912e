//! Events of this dialect, made of the gateway's own: each is made once, for all connections of a node.
//!
//! A run's text comes in pieces. They are gathered for a little while, as every piece that is told may repeat
//! the text so far, and told as `chat` and as `agent` events. Pieces that wait for a slow reader merge
//! like those of every other link; what they repeat is looked up when they are written.

use super::super::bounded::Forgetful;
use super::super::bus::NodeId;
use super::super::conn::ConnId;
use super::super::json::Object;
use super::super::link::{Dialect, LinkId};
use super::super::retained::Held;
use super::super::ring::{Chunk, Event, Kind, Next, RunName, Stream};
use super::super::send::Cx;
use super::super::{Gateway, Timer};
use super::answers::Final;
use super::attachments::Attachings;
use super::health::Pulse;
use super::history::write_content;
use super::node_invokes::Invokes;
use super::nodes::Nodes;
use super::peer::{Protocol, View};
use super::presence::Left;
use super::session_events::{Spoken, Updated};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long pieces of a run's text are gathered: nobody reads faster.
const GATHER: Duration = Duration::from_millis(75);

/// Bytes of a run's text up to which events repeat it to clients that need only what is new.
const REPEATED: usize = 4096;

/// What this node knows for the connections of this dialect.
pub(in crate::gateway) struct OpenClaw {
    said: BTreeMap<Arc<str>, Said>,
    due: BTreeSet<(Instant, Arc<str>)>,
    /// Calls of `agent` that wait for the end of a run.
    awaited: BTreeMap<Arc<str>, Vec<Awaited>>,
    /// What users call their runs.
    names: Forgetful<(Arc<str>, Arc<str>), Arc<str>>,
    /// How often what was told of who is connected has changed, and how it was told that all is well.
    presence: u64,
    health: u64,
    /// Those who have just left.
    pub(super) left: Left,
    /// When the next one is told that all is well, and who.
    pub(super) pulse: Pulse,
    /// Messages whose files are being stored.
    pub(super) attachings: Attachings,
    pub(super) nodes: Nodes,
    /// What nodes were told to do.
    pub(super) invokes: Invokes,
}

/// What a run has said.
#[derive(Debug)]
struct Said {
    run: Arc<RunName>,
    users: Vec<Arc<str>>,
    text: String,
    /// What is kept of it.
    held: Held,
    /// So much of it was told.
    told: usize,
    /// When the next piece may be told.
    next: Instant,
    due: Option<Instant>,
    /// The numbers of its last events.
    chat: u64,
    agent: u64,
    /// Unix milliseconds.
    started: u64,
}

#[derive(Debug)]
struct Awaited {
    conn: ConnId,
    id: Box<str>,
    since: Instant,
}

/// An `agent` event of the gateway's own.
#[derive(Deserialize)]
struct AgentEvent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    payload: Option<Inner<'a>>,
}

#[derive(Default, Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(rename = "messageId", borrow)]
    id: Option<Cow<'a, str>>,
}

/// A `chat.turn` event of the gateway's own.
#[derive(Deserialize)]
struct TurnEvent<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(rename = "sessionKey", borrow)]
    session: Cow<'a, str>,
    #[serde(rename = "runId", borrow)]
    run: Cow<'a, str>,
    #[serde(rename = "idempotencyKey", borrow)]
    key: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Shutdown {
    #[serde(rename = "restartExpectedMs")]
    expected: Option<u64>,
}

/// Who gets an event.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum To<'a> {
    /// Everybody who sees conversations.
    Readers,
    /// Those of them who want to know of every session.
    Watchers,
    /// Those, and who wants to know what is said in this one.
    Listeners(&'a str),
}

impl OpenClaw {
    pub(in crate::gateway) fn new(names: usize) -> Self {
        Self {
            said: BTreeMap::new(),
            due: BTreeSet::new(),
            awaited: BTreeMap::new(),
            names: Forgetful::new(names),
            presence: 1,
            health: 1,
            left: Left::default(),
            pulse: Pulse::default(),
            attachings: Attachings::default(),
            nodes: Nodes::new(),
            invokes: Invokes::default(),
        }
    }

    pub(super) fn versions<'o>(&self, object: Object<'o>) -> Object<'o> {
        object.num("presence", self.presence).num("health", self.health)
    }

    pub(in crate::gateway) fn presence_changed(&mut self) {
        self.presence += 1;
    }

    pub(super) fn health_told(&mut self) {
        self.health += 1;
    }

    /// What clients call the runs of a session that are under way, as far as anybody here reads them.
    pub(super) fn runs_of(&self, session: &str) -> Vec<&str> {
        let runs = self.said.values().map(|said| &said.run);
        runs.filter(|run| *run.session == *session).map(|run| run.shown()).collect()
    }

    /// The run that a user calls so.
    pub(super) fn run_named(&self, user: &Arc<str>, key: &str) -> Option<Arc<str>> {
        self.names.get(&(user.clone(), Arc::from(key))).cloned()
    }

    /// A request wants to know how a run ends.
    pub(super) fn await_end(&mut self, run: &str, conn: ConnId, id: &str, since: Instant) {
        let awaited = Awaited { conn, id: id.into(), since };
        self.awaited.entry(run.into()).or_default().push(awaited);
    }

    /// Nobody of this connection waits any more.
    pub(in crate::gateway) fn forget(&mut self, conn: ConnId) {
        self.awaited.retain(|_, waiting| {
            waiting.retain(|awaited| awaited.conn != conn);
            !waiting.is_empty()
        });
    }
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

    fn write_agent<'o>(&self, out: &'o mut String, seq: u64, stream: &str, ts: u64) -> Object<'o> {
        Object::new(out)
            .str("runId", self.shown())
            .num("seq", seq)
            .str("stream", stream)
            .num("ts", ts)
            .str("sessionKey", &self.session)
            .str("agentId", self.agent_shown())
    }
}

/// The message of an event that waits, if there is one for this connection.
pub(in crate::gateway) fn write_next(
    out: &mut String,
    next: Next<'_>,
    view: View,
    openclaw: &OpenClaw,
    now_ms: u64,
) {
    // A hole is no message: numbers that are missing tell it.
    let Some(Event(kind)) = next.event else { return };
    match kind {
        Kind::Plain { name, payload, .. } => {
            let mut object = Object::new(out)
                .str("type", "event")
                .str("event", name)
                .raw("payload", payload)
                .num("seq", next.to);
            if *name == "health" {
                object = object.object("stateVersion", |o| openclaw.versions(o));
            }
            object.end();
        }
        Kind::Chunk(chunk) => {
            let text = openclaw.said.get(&chunk.run.run).map(|said| said.text.as_str());
            write_chunk(out, chunk, text, view.protocol, next.to, now_ms);
        }
    }
}

/// A piece of a run's text. `text`: all of it, which may have more by now.
fn write_chunk(
    out: &mut String,
    chunk: &Chunk,
    text: Option<&str>,
    protocol: Protocol,
    seq: u64,
    now_ms: u64,
) {
    let start = chunk.offset as usize;
    let whole = match text.and_then(|text| text.get(..start + chunk.text.len())) {
        Some(text) => Some(text),
        None => (start == 0).then_some(&*chunk.text),
    };
    let is_new = protocol == Protocol::V4;
    let whole = whole.filter(|text| !is_new || text.len() <= REPEATED);
    if !is_new && whole.is_none() {
        // Such clients know nothing but the whole text; the end will tell it.
        return;
    }
    let mut object = Object::new(out).str("type", "event");
    match chunk.stream {
        Stream::Chat => {
            object = object.str("event", "chat");
            let mut chat = chunk.run.write_chat(object.key("payload"), chunk.seq, "delta");
            if is_new {
                chat = chat.str("deltaText", &chunk.text);
                if start == 0 {
                    chat = chat.bool("replace", true);
                }
            }
            if let Some(text) = whole {
                chat = write_message(chat, text, now_ms);
            }
            chat.end();
        }
        Stream::Agent => {
            object = object.str("event", "agent");
            let agent =
                chunk.run.write_agent(object.key("payload"), chunk.seq, "assistant", now_ms);
            agent.object("data", |o| o.maybe_str("text", whole).str("delta", &chunk.text)).end();
        }
    }
    object.num("seq", seq).end();
}

pub(super) fn write_message<'o>(mut object: Object<'o>, text: &str, now_ms: u64) -> Object<'o> {
    let mut message = Object::new(object.key("message")).str("role", "assistant");
    write_content(message.key("content"), text);
    message.num("timestamp", now_ms).end();
    object
}

impl Gateway {
    /// An event of the gateway's own, for the connections of this dialect that these users have here.
    pub(in crate::gateway) fn openclaw_event(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        users: &[Arc<str>],
        event: &Event,
    ) {
        match &event.0 {
            Kind::Chunk(chunk) => self.openclaw_chunk(cx, from, users, chunk),
            Kind::Plain { name: "agent", payload, run: Some(run), .. } => {
                if let Ok(event) = serde_json::from_str::<AgentEvent<'_>>(payload) {
                    self.openclaw_run(cx, from, users, run, &event);
                }
            }
            Kind::Plain { name: "chat.turn", payload, .. } => {
                if let Ok(turn) = serde_json::from_str::<TurnEvent<'_>>(payload) {
                    self.openclaw_turn(cx, from, users, &turn);
                }
            }
            Kind::Plain { name: "session.updated", payload, .. } => {
                if let Ok(event) = serde_json::from_str::<Updated<'_>>(payload) {
                    self.session_updated(cx, from, users, &event);
                }
            }
            Kind::Plain { .. } => {}
        }
    }

    /// Gives an event to the connections that want it.
    pub(super) fn tell(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        users: &[Arc<str>],
        to: To<'_>,
        event: &Event,
    ) {
        for (at, user) in users.iter().enumerate() {
            if users[..at].contains(user) {
                continue;
            }
            let mut after = None;
            while let Some(id) = self.links.next_of(user, after) {
                if self.wants(id, from, to) {
                    self.push_event(cx, id, event.clone());
                }
                after = Some(id);
            }
        }
    }

    fn wants(&self, id: LinkId, from: NodeId, to: To<'_>) -> bool {
        let Some(link) = self.links.get(id) else { return false };
        let Dialect::OpenClaw(view) = link.dialect else { return false };
        if !view.reads || link.is_awaiting(from) {
            return false;
        }
        let peer = || self.conns.get(&link.conn()?)?.openclaw.as_ref();
        match to {
            To::Readers => true,
            To::Watchers => peer().is_some_and(|peer| peer.all_sessions),
            To::Listeners(session) => {
                peer().is_some_and(|peer| peer.all_sessions || peer.sessions.contains(session))
            }
        }
    }

    fn is_read_by(&self, users: &[Arc<str>]) -> bool {
        users.iter().any(|user| {
            let mut after = None;
            std::iter::from_fn(|| {
                after = self.links.next_of(user, after);
                after
            })
            .any(|id| {
                let link = self.links.get(id);
                link.is_some_and(
                    |link| matches!(link.dialect, Dialect::OpenClaw(view) if view.reads),
                )
            })
        })
    }

    // --- a run's text --------------------------------------------------------------------------------

    fn openclaw_chunk(&mut self, cx: &mut Cx<'_>, from: NodeId, users: &[Arc<str>], chunk: &Chunk) {
        if chunk.offset == 0 && !self.openclaw.said.contains_key(&chunk.run.run) {
            if !self.is_read_by(users) {
                return;
            }
            self.said(cx, &chunk.run, users);
        }
        let Some(said) = self.openclaw.said.get_mut(&chunk.run.run) else { return };
        if chunk.offset != said.text.len() as u64 {
            // It began when nobody here was there to see it; whoever has come since is told all of it.
            return;
        }
        said.text.push_str(&chunk.text);
        said.held.add(chunk.text.len());
        if said.due.is_some() {
            return;
        }
        if cx.now < said.next {
            said.due = Some(said.next);
            let due = (said.next, chunk.run.run.clone());
            return self.arm_said(due);
        }
        self.tell_said(cx, from, &chunk.run.run);
    }

    fn said(&mut self, cx: &Cx<'_>, run: &Arc<RunName>, users: &[Arc<str>]) {
        let started = self.ms(cx.now);
        let held = self.retained.hold(&run.owner, 0);
        self.openclaw.said.entry(run.run.clone()).or_insert_with(|| Said {
            run: run.clone(),
            users: users.to_vec(),
            text: String::new(),
            held,
            told: 0,
            next: cx.now,
            due: None,
            chat: 0,
            agent: 0,
            started,
        });
    }

    /// One timer for all: it is armed for the first of them.
    fn arm_said(&mut self, due: (Instant, Arc<str>)) {
        let before = self.openclaw.due.first().map(|(at, _)| *at);
        let at = due.0;
        self.openclaw.due.insert(due);
        if before.is_none_or(|before| at < before) {
            if let Some(before) = before {
                self.timers.remove(&(before, Timer::Said));
            }
            self.timers.insert((at, Timer::Said));
        }
    }

    pub(in crate::gateway) fn said_due(&mut self, cx: &mut Cx<'_>) {
        while let Some((at, run)) = self.openclaw.due.first().cloned() {
            if at > cx.now {
                self.timers.insert((at, Timer::Said));
                return;
            }
            self.openclaw.due.pop_first();
            // Which node it comes from matters only to who waits for that node, and is told later.
            let from = self.home_of_run(&run);
            self.tell_said(cx, from, &run);
        }
    }

    fn home_of_run(&self, run: &str) -> NodeId {
        let home = self.openclaw.said.get(run).map(|said| self.node.home(&said.run.session));
        home.unwrap_or(self.node.id())
    }

    /// Tells what was gathered.
    fn tell_said(&mut self, cx: &mut Cx<'_>, from: NodeId, run: &Arc<str>) {
        let Some(said) = self.openclaw.said.get_mut(run) else { return };
        if let Some(due) = said.due.take() {
            // It is there when a run ends before its time.
            self.openclaw.due.remove(&(due, run.clone()));
        }
        if said.told == said.text.len() {
            return;
        }
        let (name, offset) = (said.run.clone(), said.told as u64);
        let text = said.text[said.told..].to_owned();
        said.told = said.text.len();
        said.next = cx.now + GATHER;
        said.chat += 1;
        said.agent += 1;
        let (chat, agent, users) = (said.chat, said.agent, said.users.clone());
        let event = Event::piece(Stream::Agent, name.clone(), agent, offset, &text);
        self.tell(cx, from, &users, To::Readers, &event);
        let event = Event::piece(Stream::Chat, name, chat, offset, &text);
        self.tell(cx, from, &users, To::Readers, &event);
    }

    // --- a run's course ------------------------------------------------------------------------------

    fn openclaw_run(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        users: &[Arc<str>],
        run: &Arc<RunName>,
        event: &AgentEvent<'_>,
    ) {
        let default = Inner::default();
        let inner = event.payload.as_ref().unwrap_or(&default);
        match &*event.kind {
            "run.started" => {
                self.openclaw_named(users, &run.run, run.key.as_deref());
                if !self.is_read_by(users) {
                    return;
                }
                self.said(cx, run, users);
                let start = self.lifecycle_start(run);
                self.tell(cx, from, users, To::Readers, &start);
                if let Some(text) = &inner.message {
                    let id = inner.id.as_deref();
                    let spoken = Spoken { role: "user", text, id };
                    self.session_message(cx, from, users, run, &spoken);
                }
                self.sessions_changed(cx, from, users, &run.session, "run.started");
            }
            "run.completed" | "run.failed" | "run.cancelled" => {
                if self.is_read_by(users) {
                    self.said(cx, run, users);
                    self.tell_said(cx, from, &run.run);
                    self.openclaw_end(cx, from, users, run, inner);
                }
                self.openclaw.said.remove(&run.run);
                self.end_awaited(cx, run, inner);
            }
            _ => {}
        }
    }

    /// What users call their runs is remembered, as they ask for them by that.
    fn openclaw_named(&mut self, users: &[Arc<str>], run: &str, key: Option<&str>) {
        let Some(key) = key else { return };
        for user in users {
            let name = (user.clone(), Arc::from(key));
            *self.openclaw.names.entry(&name, || Arc::from(run)) = Arc::from(run);
        }
    }

    fn lifecycle_start(&mut self, run: &Arc<RunName>) -> Event {
        let mut payload = String::new();
        if let Some(said) = self.openclaw.said.get_mut(&run.run) {
            said.agent += 1;
            let started = said.started;
            run.write_agent(&mut payload, said.agent, "lifecycle", started)
                .object("data", |o| o.str("phase", "start").num("startedAt", started))
                .end();
        }
        Event::named_of_run("agent", run, &payload, false)
    }

    fn openclaw_end(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        users: &[Arc<str>],
        run: &Arc<RunName>,
        inner: &Inner<'_>,
    ) {
        let now = self.ms(cx.now);
        let Some(said) = self.openclaw.said.get_mut(&run.run) else { return };
        said.chat += 1;
        said.agent += 1;
        let (started, partial) = (said.started, std::mem::take(&mut said.text));
        let aborted = inner.content.is_none() && inner.error.is_none();
        let mut payload = String::new();
        run.write_agent(&mut payload, said.agent, "lifecycle", now)
            .object("data", |o| match &inner.error {
                Some(error) => o.str("phase", "error").str("error", error).num("endedAt", now),
                None => o
                    .str("phase", "end")
                    .num("startedAt", started)
                    .num("endedAt", now)
                    .bool("aborted", aborted)
                    .str("stopReason", if aborted { "aborted" } else { "stop" }),
            })
            .end();
        let end = Event::named_of_run("agent", run, &payload, false);
        payload.clear();
        match (&inner.content, &inner.error) {
            (Some(content), _) => {
                let chat = run.write_chat(&mut payload, said.chat, "final");
                let mut chat = write_message(chat, content, now).str("stopReason", "stop");
                if let Some(usage) = inner.usage {
                    chat = chat.raw("usage", usage.get());
                }
                chat.end();
            }
            (None, Some(error)) => run
                .write_chat(&mut payload, said.chat, "error")
                .str("errorMessage", error)
                .str("errorKind", "unknown")
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
        self.tell(cx, from, users, To::Readers, &end);
        self.tell(cx, from, users, To::Readers, &chat);
        if let Some(content) = &inner.content {
            let id = inner.id.as_deref();
            let spoken = Spoken { role: "assistant", text: content, id };
            self.session_message(cx, from, users, run, &spoken);
        }
        self.sessions_changed(cx, from, users, &run.session, "run.ended");
    }

    /// A turn that waited was stopped before its run began.
    fn openclaw_turn(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        users: &[Arc<str>],
        turn: &TurnEvent<'_>,
    ) {
        self.openclaw_named(users, &turn.run, turn.key.as_deref());
        if turn.state != "cancelled" || self.openclaw.said.contains_key(&*turn.run) {
            return;
        }
        let name = RunName {
            run: Arc::from(&*turn.run),
            agent: super::super::session::agent_of(&turn.session).unwrap_or_default().into(),
            session: Arc::from(&*turn.session),
            owner: users.first().cloned().unwrap_or_default(),
            key: turn.key.as_deref().map(Arc::from),
        };
        let mut payload = String::new();
        name.write_chat(&mut payload, 1, "aborted").str("stopReason", "rpc").end();
        let name = Arc::new(name);
        let event = Event::named_of_run("chat", &name, &payload, true);
        self.tell(cx, from, users, To::Readers, &event);
        self.end_awaited(cx, &name, &Inner::default());
    }

    /// Gives the second answer of `agent` to those who wait for it.
    fn end_awaited(&mut self, cx: &mut Cx<'_>, run: &Arc<RunName>, inner: &Inner<'_>) {
        for Awaited { conn, id, since } in
            self.openclaw.awaited.remove(&run.run).unwrap_or_default()
        {
            if let Some(peer) = self.conns.get_mut(&conn).and_then(|conn| conn.openclaw.as_mut()) {
                peer.awaited = peer.awaited.saturating_sub(1);
            }
            let done = Final {
                key: run.shown(),
                session: &run.session,
                content: inner.content.as_deref(),
                error: inner.error.as_deref(),
                usage: inner.usage.map(RawValue::get),
                ms: cx.now.saturating_duration_since(since).as_millis() as u64,
            };
            self.write_answer(cx, conn, &id, None, |_, out| done.write(out));
        }
    }

    /// The payload of an event that tells who is connected.
    pub(in crate::gateway) fn write_presence_event(&self, out: &mut String, now: Instant) {
        let mut object = Object::new(out);
        self.write_openclaw_presence(object.key("presence"), now);
        object.end();
    }

    /// The whole message of an event that says how new it is.
    pub(in crate::gateway) fn write_versioned(
        &self,
        out: &mut String,
        name: &str,
        payload: &str,
        seq: u64,
    ) {
        Object::new(out)
            .str("type", "event")
            .str("event", name)
            .raw("payload", payload)
            .num("seq", seq)
            .object("stateVersion", |o| self.openclaw.versions(o))
            .end();
    }

    // --- one connection ------------------------------------------------------------------------------

    /// What the gateway tells one link alone: which runs are under way, and that it stops.
    pub(in crate::gateway) fn openclaw_link_event(
        &mut self,
        cx: &mut Cx<'_>,
        id: LinkId,
        event: &Event,
    ) {
        let Some(link) = self.links.get(id) else { return };
        let (Dialect::OpenClaw(view), user) = (link.dialect, link.who.user.clone()) else { return };
        match &event.0 {
            Kind::Plain { name: "shutdown", payload, .. } => {
                let Ok(Shutdown { expected }) = serde_json::from_str(payload) else { return };
                let mut payload = String::new();
                let object = Object::new(&mut payload).str("reason", "gateway stopping");
                match expected {
                    Some(ms) => object.num("restartExpectedMs", ms).end(),
                    None => object.end(),
                }
                self.push_event(cx, id, Event::plain("shutdown", &payload));
            }
            Kind::Plain { name: "agent", run: Some(run), .. } if view.reads => {
                self.said(cx, run, &[run.owner.clone(), user]);
                let start = self.lifecycle_start(run);
                self.push_event(cx, id, start);
            }
            Kind::Chunk(chunk) if view.reads => {
                let from = self.home_of_run(&chunk.run.run);
                self.said(cx, &chunk.run, &[chunk.run.owner.clone(), user]);
                // Those who were there before must not get what this one is told in one piece.
                self.tell_said(cx, from, &chunk.run.run);
                let Some(said) = self.openclaw.said.get_mut(&chunk.run.run) else { return };
                if said.text.len() < chunk.text.len() {
                    said.text.clone_from(&chunk.text);
                    said.held.set(said.text.len());
                    said.told = said.text.len();
                }
                let (name, text) = (said.run.clone(), said.text.clone());
                said.agent += 1;
                said.chat += 1;
                let (agent, chat) = (said.agent, said.chat);
                self.push_event(cx, id, Event::piece(Stream::Agent, name.clone(), agent, 0, &text));
                self.push_event(cx, id, Event::piece(Stream::Chat, name, chat, 0, &text));
            }
            _ => {}
        }
    }
}
