//! Sessions: whose they are, where they live, and what is asked of them.

use super::bus::NodeId;
use super::change::Change;
use super::conn::ConnId;
use super::device_pair::Decision;
use super::idempotency::{Met, Once};
use super::jobs::Job;
use super::json;
use super::openai_api;
use super::openclaw;
use super::openclaw::NodeOp;
use super::principal::Principal;
use super::refusal::{Code, Refusal, cut};
use super::request::Fingerprint;
use super::runs::Turn;
use super::send::{Body, Cx, ReplyTo};
use super::work::{Message, NewSession, StoreOutcome, StoreWork};
use super::{Gateway, Node};
use std::sync::Arc;
use std::time::Duration;

/// A request about a session, a run or a connection, as it goes to the node where that lives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Op {
    /// `chat.send`.
    Send(Send),
    /// `chat.history`.
    History {
        /// The session's key.
        session: Arc<str>,
        /// At most so many messages.
        limit: usize,
        /// Only messages before this one.
        before: Option<u64>,
    },
    /// `chat.abort`; one of the two is there.
    Abort {
        /// The session's key.
        session: Option<Arc<str>>,
        /// The run's id.
        run: Option<Arc<str>>,
    },
    /// `chat.inject`.
    Inject {
        /// The session's key.
        session: Arc<str>,
        /// What the assistant says.
        text: Arc<str>,
        /// A label to show.
        label: Option<String>,
    },
    /// `chat.session.status`.
    Status {
        /// The session's key.
        session: Arc<str>,
    },
    /// `agent.wait`.
    Wait {
        /// The run's id.
        run: Arc<str>,
        /// At most so long.
        within: Duration,
    },
    /// `connections.close`.
    Disconnect {
        /// The connection's node.
        node: NodeId,
        /// The connection.
        conn: ConnId,
        /// What its client is told.
        reason: String,
    },
    /// `device.pair.approve` and whatever else is decided about a device.
    Device {
        /// The device's name.
        device: Arc<str>,
        /// What is decided.
        decision: Decision,
    },
    /// `node.invoke` of the second dialect and whatever is decided about a node.
    Node(NodeOp),
    /// `sessions.preview`.
    Preview {
        /// The session's key.
        session: Arc<str>,
        /// At most so many messages.
        limit: usize,
    },
    /// A session begins before anything is said in it.
    Create {
        /// The session's key.
        session: Arc<str>,
        /// The agent's id.
        agent: Arc<str>,
        /// The name that people see.
        label: Option<String>,
    },
    /// `sessions.patch` and whatever else changes a session as a whole.
    Change {
        /// The session's key.
        session: Arc<str>,
        /// What is to become of it.
        change: Change,
    },
}

/// The parameters of `chat.send`.
#[derive(Debug, Clone)]
pub struct Send {
    pub(super) session: Option<Arc<str>>,
    pub(super) agent: Option<Arc<str>>,
    pub(super) text: Arc<str>,
    /// Paths of the user's own files.
    pub(super) media: Vec<Arc<str>>,
    pub(super) key: Option<Arc<str>>,
    /// That of the text and the files, if there is a key.
    pub(super) print: Option<Fingerprint>,
    pub(super) ack: bool,
    /// The session is made if there is none.
    pub(super) create: bool,
    /// A repeat is told the end if it has ended, whatever `ack` says.
    pub(super) latest: bool,
    /// What the agent is told to be, for this run only.
    pub(super) instructions: Option<Arc<str>>,
    /// What was said before, of a conversation that its client keeps: nothing of it is stored.
    pub(super) apart: Option<Arc<[Message]>>,
}

impl Send {
    /// What makes this have its effect once, if it has a key.
    fn once(&self, who: &Principal) -> Option<Once> {
        Some(Once {
            key: (who.user.clone(), self.key.clone()?),
            print: self.print?,
            named: self.session.is_some(),
            who: who.clone(),
            latest: self.latest,
        })
    }
}

/// A session that this principal may use. Only [`Session::check`] and [`Session::fresh`] make one,
/// so whatever takes a `Session` cannot be reached with somebody else's.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) key: Arc<str>,
    pub(super) owner: Arc<str>,
    pub(super) agent: Arc<str>,
    /// It is not in the store yet.
    pub(super) fresh: bool,
}

impl Session {
    /// The ownership check.
    fn check(
        who: &Principal,
        key: &Arc<str>,
        owner: &Arc<str>,
        agent: &Arc<str>,
    ) -> Result<Self, Refusal> {
        if *owner != who.user && !who.role.sees_all() {
            return Err(not_yours());
        }
        let (key, owner, agent) = (key.clone(), owner.clone(), agent.clone());
        Ok(Self { key, owner, agent, fresh: false })
    }

    /// The same under a name that the principal has chosen.
    fn begin(who: &Principal, key: Arc<str>, agent: Arc<str>) -> Result<Self, Refusal> {
        if !openclaw::may_begin(&who.user, &key) || !openai_api::may_begin(&who.user, &key) {
            let text = "this name is that of another user's session";
            return Err(Refusal::new(Code::Forbidden, text));
        }
        Ok(Self::fresh(who, key, agent))
    }

    /// A session that will be the principal's own.
    fn fresh(who: &Principal, key: Arc<str>, agent: Arc<str>) -> Self {
        Self { key, owner: who.user.clone(), agent, fresh: true }
    }

    pub(super) fn create(&self) -> Option<NewSession> {
        self.fresh.then(|| NewSession { owner: self.owner.clone(), agent: self.agent.clone() })
    }
}

impl Op {
    pub(super) fn session(&self) -> Option<&Arc<str>> {
        match self {
            Self::Send(send) => send.session.as_ref(),
            Self::Abort { session, .. } => session.as_ref(),
            Self::Wait { .. } | Self::Disconnect { .. } | Self::Device { .. } | Self::Node(_) => {
                None
            }
            Self::History { session, .. }
            | Self::Inject { session, .. }
            | Self::Status { session }
            | Self::Preview { session, .. }
            | Self::Create { session, .. }
            | Self::Change { session, .. } => Some(session),
        }
    }

    /// How long this takes at most, besides its way to the node that does it.
    pub(super) fn takes(&self) -> Duration {
        match self {
            Self::Node(op) => op.takes(),
            _ => Duration::ZERO,
        }
    }

    /// The node that must do this: that of the session. A send without a session goes where its
    /// idempotency key is remembered, wherever the user's next connection is; the new session then
    /// gets a key that lives there, too.
    fn home(&self, node: Node, user: &str) -> NodeId {
        match (self, self.session()) {
            (_, Some(session)) => node.home(session),
            (Self::Send(Send { key: Some(key), .. }), None) => node.home(&format!("{user}\n{key}")),
            (Self::Abort { run: Some(run), .. } | Self::Wait { run, .. }, None) => {
                run_node(run).filter(|home| home.0 < node.count).unwrap_or(node.id())
            }
            (Self::Disconnect { node, .. }, None) => *node,
            (Self::Device { device, .. }, None) => node.home(device),
            (Self::Node(op), None) => op.home(node),
            _ => node.id(),
        }
    }
}

/// The agent that a session key names: `agent:<id>:…`.
pub(super) fn agent_of(key: &str) -> Option<&str> {
    key.strip_prefix("agent:")?.split(':').next().filter(|agent| !agent.is_empty())
}

/// The node that a run id names: `run-<node>-…`.
fn run_node(run: &str) -> Option<NodeId> {
    run.strip_prefix("run-")?.split('-').next()?.parse().ok().map(NodeId)
}

pub(super) fn not_yours() -> Refusal {
    Refusal::new(Code::Forbidden, "session does not belong to user")
}

fn not_found(key: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("session not found: {}", cut(key, 256)))
}

impl Gateway {
    /// Does this here, or has the session's node do it.
    pub(super) fn route(&mut self, cx: &mut Cx<'_>, who: &Principal, op: Op, to: ReplyTo) {
        let home = op.home(self.node, &who.user);
        if home == self.node.id() {
            self.perform(cx, who, op, to);
        } else {
            self.forward(cx, home, who, op, to);
        }
    }

    /// Does this here: this is the session's node.
    pub(super) fn perform(&mut self, cx: &mut Cx<'_>, who: &Principal, op: Op, to: ReplyTo) {
        let once = match &op {
            Op::Send(send) => send.once(who).map(|once| (once, send.ack)),
            _ => None,
        };
        let to = match once {
            Some((once, ack)) => {
                match self.idempotency.meet(cx.now, &once, op.session(), ack, to) {
                    Met::Nothing(to) => to,
                    Met::Answer(to, body) if once.latest => {
                        return self.reply_body(cx, to, &body.again());
                    }
                    Met::Answer(to, body) => return self.reply_body(cx, to, &body),
                    Met::Conflict(to, refusal) => return self.reply_error(cx, to, &refusal),
                    Met::Running(to) => {
                        // It waits with the others.
                        self.taken(&to);
                        return self.idempotency.wait(&once.key, to, ack);
                    }
                }
            }
            None => to,
        };
        let Some(key) = op.session().cloned() else {
            return match op {
                Op::Send(send) => self.send_to_new(cx, who, send, to),
                Op::Wait { run, within } => self.wait_for(cx, who, run, within, to),
                Op::Disconnect { conn, reason, .. } => self.disconnect(cx, who, conn, reason, to),
                Op::Device { device, decision } => self.decide(cx, who, (device, decision), to),
                Op::Node(op) => self.node_op(cx, who, op, to),
                op => self.abort_by_run(cx, who, &op, to),
            };
        };
        match self.live.get(&key) {
            Some(live) => {
                let session = Session::check(who, &key, &live.owner, &live.agent);
                self.with_session(cx, who, session, op, to);
            }
            None => {
                let work = StoreWork::Open { session: key };
                self.start_store(cx, work, Job::Check { who: who.clone(), op, to });
            }
        }
    }

    /// The store has looked the session up.
    pub(super) fn checked(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        op: Op,
        to: ReplyTo,
        outcome: Result<StoreOutcome, Refusal>,
    ) {
        let Some(key) = op.session().cloned() else { return };
        let session = match (self.live.get(&key), outcome) {
            (_, Err(refusal)) => Err(refusal),
            // Somebody may have begun it since the store looked: then it is theirs.
            (Some(live), Ok(_)) => Session::check(who, &key, &live.owner, &live.agent),
            (None, Ok(StoreOutcome::Opened(info))) => {
                Session::check(who, &key, &info.owner, &info.agent)
            }
            (None, Ok(_)) => match &op {
                Op::Send(send) if send.create || self.config.raw.create_sessions_on_send => {
                    let agent = send.agent.as_deref().or(agent_of(&key));
                    self.agent(agent).and_then(|agent| Session::begin(who, key, agent))
                }
                Op::Create { agent, .. } => {
                    self.agent(Some(agent)).and_then(|agent| Session::begin(who, key, agent))
                }
                _ => Err(not_found(&key)),
            },
        };
        self.with_session(cx, who, session, op, to);
    }

    fn with_session(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        session: Result<Session, Refusal>,
        op: Op,
        to: ReplyTo,
    ) {
        let session = match session {
            Ok(session) => session,
            Err(refusal) => return self.refuse_op(cx, who, &op, to, refusal),
        };
        match op {
            Op::Send(send) => self.send_to(cx, who, &session, send, to),
            Op::History { limit, before, .. } => {
                let bytes = self.config.bounds().page_bytes;
                let work =
                    StoreWork::History { session: session.key.clone(), before, limit, bytes };
                self.start_store(cx, work, Job::History { session: session.key, to });
            }
            Op::Abort { run, .. } => self.abort(cx, &session, run.as_deref(), to),
            Op::Inject { text, label, .. } => self.inject(cx, who, session, text, label, to),
            Op::Create { label, .. } => self.create(cx, who, session, label, to),
            Op::Status { .. } => self.session_status(cx, &session, to),
            // These name no session.
            Op::Wait { run, within } => self.wait_for(cx, who, run, within, to),
            Op::Disconnect { conn, reason, .. } => self.disconnect(cx, who, conn, reason, to),
            Op::Device { device, decision } => self.decide(cx, who, (device, decision), to),
            Op::Node(op) => self.node_op(cx, who, op, to),
            Op::Preview { limit, .. } => {
                let work = StoreWork::Open { session: session.key };
                self.start_store(cx, work, Job::Preview { to, limit });
            }
            Op::Change { change, .. } => self.change(cx, who, session, change, to),
        }
    }

    fn refuse_op(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        op: &Op,
        to: ReplyTo,
        refusal: Refusal,
    ) {
        let body = Body::from(refusal);
        self.reply_body(cx, to, &body);
        if let Op::Send(Send { key: Some(key), .. }) = op {
            for to in self.idempotency.forget(&(who.user.clone(), key.clone())) {
                self.reply_body(cx, to, &body);
            }
        }
    }

    fn send_to_new(&mut self, cx: &mut Cx<'_>, who: &Principal, send: Send, to: ReplyTo) {
        let session = self.agent(send.agent.as_deref()).map(|agent| {
            let key = self.fresh_key(&agent);
            Session::fresh(who, key, agent)
        });
        self.with_session(cx, who, session, Op::Send(send), to);
    }

    fn send_to(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        session: &Session,
        send: Send,
        to: ReplyTo,
    ) {
        let wanted = send.agent.as_deref().unwrap_or(&session.agent);
        let agent = match self.agent(Some(wanted)) {
            Ok(agent) => agent,
            Err(refusal) => return self.refuse_op(cx, who, &Op::Send(send), to, refusal),
        };
        let once = send.once(who);
        if let Some(once) = &once {
            self.idempotency.found(&once.key, &session.key);
        }
        let (run, turn) = (self.uuid(), self.uuid());
        let turn = Turn {
            run: format!("run-{}-{run}", self.node.index).into(),
            id: format!("turn-{turn}"),
            user: who.user.clone(),
            agent,
            text: send.text,
            media: send.media,
            instructions: send.instructions,
            apart: send.apart,
            message: 0,
            ack: send.ack,
            queued: false,
            to: Some(to),
            held: None,
            key: once.as_ref().map(|once| once.key.clone()),
            once,
        };
        self.take_turn(cx, session, turn);
    }

    /// A configured agent, or the default one.
    pub(super) fn agent(&self, id: Option<&str>) -> Result<Arc<str>, Refusal> {
        match id {
            None => Ok(Arc::from(self.config.raw.agents[0].id.as_str())),
            Some(id) => match self.config.agent(id) {
                Some(agent) => Ok(Arc::from(agent.id.as_str())),
                None => {
                    let text = format!("agent not found: {}", cut(id, 128));
                    Err(Refusal::new(Code::NotFound, text))
                }
            },
        }
    }

    /// A key that nobody can guess and that lives at this node.
    pub(super) fn fresh_key(&mut self, agent: &str) -> Arc<str> {
        let mut bytes = self.random();
        loop {
            let key = format!("agent:{agent}:ws:direct:{}", uuid(bytes));
            if self.node.home(&key) == self.node.id() {
                return key.into();
            }
            // The last bytes are varied: 106 bits of the 122 stay unguessable.
            let low = u16::from_be_bytes([bytes[14], bytes[15]]).wrapping_add(1);
            bytes[14..].copy_from_slice(&low.to_be_bytes());
        }
    }

    pub(super) fn uuid(&mut self) -> String {
        uuid(self.random())
    }

    pub(super) fn random(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// Answers `chat.history`.
    pub(super) fn write_history(out: &mut String, session: &str, outcome: &StoreOutcome) {
        let StoreOutcome::History { messages, more } = outcome else { return };
        json::Object::new(out)
            .str("sessionKey", session)
            .list("messages", messages, |out, message| {
                let mut object = json::Object::new(out)
                    .str("id", &message.id.to_string())
                    .str("role", message.author.as_str())
                    .str("content", &message.text)
                    .maybe_str("label", message.label.as_deref());
                if !message.media.is_empty() {
                    let path = |out: &mut String, path: &Arc<str>| json::string(out, path);
                    object = object.list("media", &message.media, path);
                }
                object
                    .maybe_str("stopReason", message.stop.cut_short())
                    .maybe_str("idempotencyKey", message.key.as_deref())
                    .num("ts", message.at)
                    .end();
            })
            .bool("more", *more)
            .end();
    }
}

/// A version 4 UUID (RFC 9562 section 5.4) of random bytes.
pub(super) fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let n = u128::from_be_bytes(bytes);
    let part = |from: u32, bits: u32| (n >> (128 - from - bits)) & ((1 << bits) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(0, 32),
        part(32, 16),
        part(48, 16),
        part(64, 16),
        part(80, 48)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        assert_eq!(uuid([0xFF; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn names_in_keys_and_runs() {
        assert_eq!(agent_of("agent:echo:ws:direct:1"), Some("echo"));
        assert_eq!(agent_of("agent::x"), None);
        assert_eq!(agent_of("other"), None);
        assert_eq!(run_node("run-2-aaaa-bb"), Some(NodeId(2)));
        assert_eq!(run_node("run-x-1"), None);
    }
}
