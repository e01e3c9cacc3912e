//! Events of this dialect, made of the gateway's own: each is made once, for all connections of a node.
//!
//! Who wants which of them is here; `run_events` and `said` have what a run's are made of.

use super::super::Gateway;
use super::super::bounded::Forgetful;
use super::super::bus::NodeId;
use super::super::conn::ConnId;
use super::super::json::Object;
use super::super::link::{Dialect, LinkId};
use super::super::ring::{Event, Kind, Next, Stream};
use super::super::send::Cx;
use super::attachments::Attachings;
use super::health::Pulse;
use super::node_invokes::Invokes;
use super::nodes::Nodes;
use super::peer::{Protocol, View};
use super::presence::Left;
use super::run_events::{AgentEvent, Awaited, TurnEvent};
use super::said::{Said, write_chunk};
use super::session_events::Updated;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of a run's text that who comes later is told in both streams. Of more, the conversation has it.
const CAUGHT_UP_TWICE: usize = 64 * 1024;

/// What this node knows for the connections of this dialect.
pub(in crate::gateway) struct OpenClaw {
    pub(super) said: BTreeMap<Arc<str>, Said>,
    pub(super) due: BTreeSet<(Instant, Arc<str>)>,
    /// Calls of `agent` that wait for the end of a run.
    pub(super) awaited: BTreeMap<Arc<str>, Vec<Awaited>>,
    /// What users call their runs.
    pub(super) names: Forgetful<(Arc<str>, Arc<str>), Arc<str>>,
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

#[derive(Deserialize)]
struct Shutdown {
    #[serde(rename = "restartExpectedMs")]
    expected: Option<u64>,
}

/// Whom an event is for.
#[derive(Debug, Copy, Clone)]
pub(in crate::gateway) struct Audience<'a> {
    /// The node that says it: clients that still wait for what is under way there are told later.
    pub(in crate::gateway) from: NodeId,
    pub(in crate::gateway) users: &'a [Arc<str>],
}

/// Who of them gets it.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum To<'a> {
    /// Everybody who sees conversations.
    Readers,
    /// Those of them whose clients show what tools do.
    ToolWatchers,
    /// Readers who want to know of every session.
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
    pub(super) fn await_end(&mut self, run: &str, awaited: Awaited) {
        self.awaited.entry(run.into()).or_default().push(awaited);
    }

    /// Whether files of a message are being stored, or somebody waits for what a node was told to do.
    pub(in crate::gateway) fn is_busy(&self) -> bool {
        !self.attachings.is_empty() || !self.invokes.is_empty()
    }

    /// Nobody of this connection waits any more.
    pub(in crate::gateway) fn forget(&mut self, conn: ConnId) {
        self.awaited.retain(|_, waiting| {
            waiting.retain(|awaited| awaited.conn != conn);
            !waiting.is_empty()
        });
    }
}

/// About how much the message of an event takes for a connection.
pub(in crate::gateway) fn message_cost(event: &Event, view: View, openclaw: &OpenClaw) -> usize {
    let cost = event.message_cost();
    match &event.0 {
        Kind::Chunk(chunk) if chunk.stream == Stream::Chat && view.protocol == Protocol::V3 => {
            // It repeats all that was said before.
            let is_known = openclaw.said.contains_key(&chunk.run.run);
            cost + if is_known { 2 * chunk.offset as usize } else { 0 }
        }
        _ => cost,
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

impl Gateway {
    /// An event of the gateway's own, for the connections of this dialect that these users have here.
    pub(in crate::gateway) fn openclaw_event(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        event: &Event,
    ) {
        match &event.0 {
            Kind::Chunk(chunk) if chunk.stream == Stream::Thinking => {
                self.openclaw_thinking(cx, audience, chunk);
            }
            Kind::Chunk(chunk) => self.openclaw_chunk(cx, audience, chunk),
            Kind::Plain { name: "agent", payload, run: Some(run), .. } => {
                if let Ok(event) = serde_json::from_str::<AgentEvent<'_>>(payload) {
                    self.openclaw_run(cx, audience, run, &event);
                }
            }
            Kind::Plain { name: "chat.turn", payload, .. } => {
                if let Ok(turn) = serde_json::from_str::<TurnEvent<'_>>(payload) {
                    self.openclaw_turn(cx, audience, &turn);
                }
            }
            Kind::Plain { name: "session.updated", payload, .. } => {
                if let Ok(event) = serde_json::from_str::<Updated<'_>>(payload) {
                    self.session_updated(cx, audience, &event);
                }
            }
            Kind::Plain { .. } => {}
        }
    }

    /// Gives an event to the connections that want it.
    pub(super) fn tell(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        to: To<'_>,
        event: &Event,
    ) {
        self.tell_but(cx, audience, (to, None), event);
    }

    /// The same, but for one link that is told otherwise.
    pub(super) fn tell_but(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        (to, but): (To<'_>, Option<LinkId>),
        event: &Event,
    ) {
        for (at, user) in audience.users.iter().enumerate() {
            if audience.users[..at].contains(user) {
                continue;
            }
            let mut after = None;
            while let Some(id) = self.links.next_of(user, after) {
                if Some(id) != but && self.wants(id, audience.from, to) {
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
            To::ToolWatchers => view.tools,
            To::Watchers => peer().is_some_and(|peer| peer.all_sessions),
            To::Listeners(session) => {
                peer().is_some_and(|peer| peer.all_sessions || peer.sessions.contains(session))
            }
        }
    }

    pub(super) fn is_read_by(&self, users: &[Arc<str>]) -> bool {
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
                let start = self.lifecycle_start(run, false);
                self.push_event(cx, id, start);
            }
            Kind::Chunk(chunk) if view.reads => {
                let from = self.home_of_run(&chunk.run.run);
                self.said(cx, &chunk.run, &[chunk.run.owner.clone(), user]);
                // Those who were there before must not get what this one is told in one piece, and the other
                // way round.
                self.tell_said(cx, from, &chunk.run.run, Some(id));
                let Some(said) = self.openclaw.said.get_mut(&chunk.run.run) else { return };
                if said.text.len() < chunk.text.len() {
                    said.text.clone_from(&chunk.text);
                    said.held.set(said.text.len());
                    said.told = said.text.len();
                }
                let (name, text) = (said.run.clone(), said.text.clone());
                // The first is the beginning.
                said.agent = said.agent.max(2);
                said.chat = said.chat.max(1);
                let (agent, chat) = (said.agent, said.chat);
                if text.len() <= CAUGHT_UP_TWICE {
                    let piece = Event::piece(Stream::Agent, name.clone(), agent, 0, &text);
                    self.push_event(cx, id, piece);
                }
                self.push_event(cx, id, Event::piece(Stream::Chat, name, chat, 0, &text));
            }
            _ => {}
        }
    }
}
