//! The gateway's policy as a second pure machine: who may connect, log in and call what; sessions,
//! runs and events; nodes that work as one.
//!
//! ```text
//!   connections ── connected, handle ──▶ ┌─────────┐ ──▶ answers, straight into the outbox
//!   jobs ───────── handle_result ──────▶ │ Gateway │ ──▶ poll_action: Send, Close, Start, Cancel,
//!   other nodes ── handle_message ─────▶ │         │                  Publish, Note
//!   the clock ──── handle_deadline ────▶ └─────────┘ ──▶ deadline
//! ```
//!
//! A host owns the sockets, says when an outbox has been emptied, and does three things after every turn of a connection and after every
//! other call, in this order: it takes all actions with [`Gateway::poll_action`] until there is none,
//! it writes what the outboxes hold, and it arms one timer for [`Gateway::deadline`]. Taking the
//! actions before anything else happens keeps the events of a connection in their order.
//!
//! ```no_run
//! use moorline_core::gateway::*;
//! use moorline_core::*;
//! use std::time::Instant;
//!
//! /// The part of a host that has nothing to do with sockets.
//! trait Host {
//!     fn outbox(&mut self, conn: ConnId) -> Option<&mut Outbox>;
//!     fn start(&mut self, job: JobId, work: Work);
//!     fn cancel(&mut self, job: JobId);
//!     fn publish(&mut self, to: Route, message: BusMessage);
//!     fn note(&mut self, fact: Fact);
//! }
//!
//! fn act(gateway: &mut Gateway, host: &mut impl Host) {
//!     while let Some(action) = gateway.poll_action() {
//!         match action {
//!             Action::Send { to, frame } => {
//!                 if let Some(outbox) = host.outbox(to) {
//!                     deliver(outbox, &frame);
//!                 }
//!             }
//!             Action::Close { conn, code, reason } => {
//!                 // A host that keeps the whole connection uses `Connection::close`, which also
//!                 // ends what is still an HTTP request.
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     outbox.close(code, &reason);
//!                 }
//!             }
//!             Action::GiveUp { conn } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     outbox.give_up();
//!                 }
//!             }
//!             Action::Respond { conn, answer } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     answer.write(outbox);
//!                 }
//!             }
//!             Action::Body { conn, piece } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     // It fails when the connection has ended, which the gateway is told.
//!                     let _ = outbox.body(piece);
//!                 }
//!             }
//!             Action::EndBody { conn } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     let _ = outbox.end_body();
//!                 }
//!             }
//!             Action::HoldBody { conn, hold } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     outbox.hold_body(hold);
//!                 }
//!             }
//!             Action::Start { job, work } => host.start(job, work),
//!             Action::Cancel { job } => host.cancel(job),
//!             Action::Publish { to, message } => host.publish(to, message),
//!             Action::Note(fact) => host.note(fact),
//!         }
//!     }
//! }
//!
//! fn turn(gateway: &mut Gateway, host: &mut impl Host, conn: ConnId, mut turn: Turn<'_>, now: Instant) {
//!     while let Some((event, outbox)) = turn.next_event() {
//!         gateway.handle(now, conn, event, outbox);
//!     }
//!     act(gateway, host);
//! }
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `http` `static_page` `origin` `cors` `forwarded` `budget` | what is asked before there is a WebSocket |
//! | `upload` `multipart` `media_name` `media_ledger` | files that come before a message names them |
//! | `site` `download` | files that go to browsers |
//! | `dispatch` `intake` `params` `methods` | messages as requests, by one table of methods |
//! | `login` `authenticate` `principal` `proof` `client` `rate` `failures` | who it is, what they may do, how often |
//! | `api_keys` `revocations` `jwt` `pairing` `waiting` `device_pair` `wall_clock` | credentials that come and go while it runs |
//! | `agents` `agent_work` `agent_state` `breaker` | who answers, what they tell, and whether they can be reached |
//! | `chat` `sessions` `session` `change` `inject` `runs` `idempotency` | conversations |
//! | `workers` | agents that other processes answer for |
//! | `jobs` `work` `request` `record` `memory` | what needs I/O, and a store in memory |
//! | `link` `ring` `resume` | what a login owns beyond its socket: events that wait for a client |
//! | `local` `host` `host_work` | connections of the host itself, and what only they may ask |
//! | `load` `drain` `saved_link` | the beginning and the end, and what goes from one gateway to the next |
//! | `bus` `presence` `connections` | many nodes, and who is connected to them |
//! | `tick` | a sign of life for those who do not see Pings |
//! | `logs` `log_ring` | what the process logs, for admins elsewhere |
//! | `config` `reconfigure` `effective` | what an operator decides, decides anew, and can see |
//! | `retained` | how much of all that may be in memory |
//! | `metrics` `stats` | numbers about it, and who may read them |
//! | `send` `json` `refusal` `fact` | what leaves |
//! | `openai_api` | conversations for clients of the HTTP API of OpenAI |
//! | `openclaw` | the second dialect |

mod agent_state;
mod agent_work;
mod agents;
mod api_keys;
mod authenticate;
mod bounded;
mod breaker;
mod budget;
mod bus;
mod call;
mod change;
mod chat;
mod client;
mod config;
mod conn;
mod connections;
mod cors;
mod device_pair;
mod dispatch;
mod download;
mod drain;
mod echo;
mod effective;
mod fact;
mod failures;
mod forwarded;
mod host;
mod host_work;
mod http;
mod idempotency;
mod inject;
mod intake;
mod jobs;
mod json;
mod jwt;
mod late;
mod link;
mod load;
mod local;
mod log_ring;
mod login;
mod logs;
mod media_ledger;
mod media_name;
mod memory;
mod methods;
mod metrics;
mod multipart;
mod openai_api;
mod openclaw;
mod origin;
mod pairing;
mod params;
mod presence;
mod principal;
mod proof;
mod rate;
mod reconfigure;
mod record;
mod refusal;
mod request;
mod resume;
mod retained;
mod revocations;
mod ring;
mod runs;
mod saved_link;
mod send;
mod session;
mod sessions;
mod site;
mod static_page;
mod stats;
mod system;
mod tick;
mod upload;
mod waiting;
mod wall_clock;
mod work;
mod workers;

#[cfg(test)]
#[path = "../../tests/support/epoch.rs"]
mod epoch;

pub use agent_state::{AgentLink, AgentState, Model};
pub use agent_work::{
    MAX_ARGUMENTS, MAX_RESULT, Progress, Retrying, RunFailure, StopReason, ToolCall, ToolResult,
};
pub use api_keys::ApiKey;
pub use breaker::{Breaker, BreakerConfig, BreakerState, CallEnd, Permit};
pub use budget::Crowd;
pub use bus::{Answer, BusMessage, CallId, Node, NodeId, Route};
pub use change::Change;
pub use config::{Agent, Bounds, ConfigError, GatewayConfig, Secret, Token, TokenId};
pub use conn::ConnId;
pub use device_pair::Decision;
pub use drain::Drain;
pub use echo::echo_chunks;
pub use fact::{Credential, Fact, Source, Why};
pub use failures::Guess;
pub use forwarded::ForwardedHeader;
pub use host::{host_methods, host_methods_markdown};
pub use host_work::{DrainProgress, HostOutcome, HostToken, HostWork, Misconfigured, Reloaded};
pub use http::HttpAnswer;
pub use jwt::{JwtAlg, JwtKey, JwtKeyError, JwtKeyId};
pub use link::LinkId;
pub use local::LOCAL_PEER;
pub use log_ring::{LogLevel, LogLine, LogPage, LogQuery, LogRing};
pub use media_ledger::{MediaLedger, MediaRoom, NoRoom};
pub use memory::{MemoryBounds, MemoryStore};
pub use methods::{Method, methods, methods_markdown};
pub use metrics::MetricsAccess;
pub use openclaw::{
    Change as DeviceChange, DeviceNews, DeviceRequest, NodeNews, NodeOnline, NodeOp, NodePairing,
    NodeRequest, OpenClawMethod, PairedDevice, PeerRole, Seen, openclaw_methods,
    openclaw_methods_markdown,
};
pub use pairing::{Device, PairRequest};
pub use params::Param;
pub use presence::Entry;
pub use principal::{Principal, Role};
pub use proof::Proof;
pub use rate::Payers;
pub use record::{Record, RecordKind};
pub use refusal::Code;
pub use request::{Fingerprint, Known, Mark, RunEnd};
pub use resume::{Claim, Resumed};
pub use revocations::Revocation;
pub use ring::Event as LinkEvent;
pub use send::deliver;
pub use session::{Op, Send};
pub use site::Site;
pub use static_page::StaticPage;
pub use stats::{Phases, Stats, Tally};
pub use waiting::PairAction;
pub use work::{
    Author, Exposition, FileVersion, JobId, LISTED_CHARS, Listed, MediaOutcome, MediaWork, Message,
    NewSession, Outcome, Run, SessionFilter, SessionInfo, SiteOutcome, SiteWork, StoreError,
    StoreOutcome, StoreWork, Usage, Work,
};

pub use workers::{OnLost, WorkerBackend, WorkerNews};

use crate::connection::{Entropy, Outbox};
use crate::event::Event;
use crate::frame::{CloseCode, Frame};
use agent_state::AgentStates;
use api_keys::ApiKeys;
use budget::Budget;
use bus::Call;
use bytes::Bytes;
use config::Checked;
use conn::Conn;
use core::net::SocketAddr;
use download::Download;
use drain::Draining;
use failures::Failures;
use idempotency::Idempotency;
use jobs::Pending;
use link::Links;
use load::Loading;
use logs::Tails;
use openai_api::Completions;
use openclaw::{Devices, OpenClaw};
use pairing::Pairings;
use presence::Presence;
use rate::RateLimit;
use retained::Retained;
use revocations::Revocations;
use runs::{Live, WaitId, Waits};
use send::Cx;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tick::Ticks;
use upload::Upload;
use wall_clock::WallClock;
use workers::Workers;

/// The protocol that is spoken.
const PROTOCOL: u64 = 3;

/// What the host must do. All of it: a host that does not know one does not compile.
#[derive(Debug)]
pub enum Action {
    /// Give this to the connection's outbox with [`deliver`].
    Send {
        /// The connection.
        to: ConnId,
        /// The message.
        frame: Frame,
    },
    /// Close the connection with [`Connection::close`](crate::Connection::close).
    Close {
        /// The connection.
        conn: ConnId,
        /// The code.
        code: CloseCode,
        /// The reason.
        reason: Cow<'static, str>,
    },
    /// Call [`Outbox::give_up`] for the connection: its peer does not read.
    GiveUp {
        /// The connection.
        conn: ConnId,
    },
    /// Answer the request of the connection with [`Outbox::respond`].
    Respond {
        /// The connection.
        conn: ConnId,
        /// The answer.
        answer: HttpAnswer,
    },
    /// Give this to the connection's outbox with [`Outbox::body`].
    Body {
        /// The connection.
        conn: ConnId,
        /// The piece.
        piece: Bytes,
    },
    /// Call [`Outbox::end_body`] for the connection.
    EndBody {
        /// The connection.
        conn: ConnId,
    },
    /// Call [`Outbox::hold_body`] for the connection.
    HoldBody {
        /// The connection.
        conn: ConnId,
        /// Whether to hold it or to go on.
        hold: bool,
    },
    /// Do this elsewhere and hand what comes of it to [`Gateway::handle_result`].
    Start {
        /// Its name.
        job: JobId,
        /// What to do.
        work: Work,
    },
    /// Nobody needs this any more. Outcomes that come nevertheless are ignored.
    Cancel {
        /// Its name.
        job: JobId,
    },
    /// Hand this to [`Gateway::handle_message`] of other nodes.
    Publish {
        /// Which ones.
        to: Route,
        /// What to hand over.
        message: BusMessage,
    },
    /// Operators should know this.
    Note(Fact),
}

/// One node of the gateway: all policy of the connections of one loop.
pub struct Gateway {
    config: Checked,
    agents: AgentStates,
    node: Node,
    entropy: Box<dyn Entropy>,
    start: Instant,
    clock: WallClock,
    /// Names this start of this node.
    instance: String,
    conns: BTreeMap<ConnId, Conn>,
    /// WebSockets that were accepted and have not ended. Local ones are not among them.
    accepted: usize,
    links: Links,
    budget: Budget,
    failures: Failures,
    rate: RateLimit,
    api_keys: ApiKeys,
    revocations: Revocations,
    pairings: Pairings,
    /// Connections whose login ends by itself.
    expiring: BTreeSet<ConnId>,
    /// Connections that wait, by the request that they wait for.
    waiters: BTreeMap<Arc<str>, ConnId>,
    /// When the first request to be let in ends.
    pairing_timer: Option<Instant>,
    /// Revoked while the store was still being read: it may answer with what was there before.
    gone_before_start: Vec<Arc<str>>,
    presence: Presence,
    openclaw: OpenClaw,
    retained: Retained,
    tally: Tally,
    scrapes: usize,
    ticks: Ticks,
    tails: Tails,
    devices: Devices,
    workers: Workers,
    uploads: BTreeMap<ConnId, Upload>,
    downloads: BTreeMap<ConnId, Download>,
    completions: Completions,
    /// Uploads that came to nothing, by their paths, until the host has forgotten them; whose they were.
    ending_uploads: BTreeMap<Arc<str>, Arc<str>>,
    live: BTreeMap<Arc<str>, Live>,
    waits: Waits,
    idempotency: Idempotency,
    jobs: BTreeMap<JobId, Pending>,
    /// Those of `jobs` that the store does.
    store_jobs: BTreeSet<JobId>,
    next_job: u64,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
    /// Every deadline; each is taken out when it is not needed any more.
    timers: BTreeSet<(Instant, Timer)>,
    actions: VecDeque<Action>,
    /// Answers and events are written here.
    scratch: String,
    loop_delay: Duration,
    store_failed: bool,
    loading: Loading,
    draining: Option<Draining>,
    /// Nodes that had no run any more before this one began to drain.
    quiet_before: BTreeSet<NodeId>,
}

/// Why a deadline exists.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Connect(ConnId),
    Expiry(ConnId),
    Job(JobId),
    Call(CallId),
    Wait(WaitId),
    Resume(ConnId),
    Link(LinkId),
    Load,
    Pairing,
    Drain,
    Presence,
    Said,
    Tick,
    Tails,
    Health,
    Invokes,
    Completion(ConnId),
    Handed(JobId),
}

impl Gateway {
    /// A gateway that begins at `now`, which is `unix_ms` milliseconds after 1970; when that is set later,
    /// tell it by [`Gateway::set_wall_clock`]. `entropy` makes
    /// session keys and nonces: it must be cryptographically strong.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(
        config: GatewayConfig,
        node: Node,
        entropy: Box<dyn Entropy>,
        now: Instant,
        unix_ms: u64,
    ) -> Result<Self, ConfigError> {
        if node.index >= node.count {
            return Err(ConfigError::Node);
        }
        let config = Checked::new(config)?;
        let bounds = config.bounds();
        let openclaw = OpenClaw::new(bounds.remembered);
        let mut gateway = Self {
            failures: Failures::new(bounds),
            rate: RateLimit::new(config.raw.rate_limit_rpm, bounds),
            waits: Waits::new(bounds),
            idempotency: Idempotency::new(bounds),
            config,
            agents: AgentStates::default(),
            node,
            entropy,
            start: now,
            clock: WallClock::new(now, unix_ms),
            instance: String::new(),
            conns: BTreeMap::new(),
            accepted: 0,
            links: Links::default(),
            budget: Budget::new(node.count),
            api_keys: ApiKeys::default(),
            revocations: Revocations::default(),
            pairings: Pairings::default(),
            expiring: BTreeSet::new(),
            waiters: BTreeMap::new(),
            pairing_timer: None,
            gone_before_start: Vec::new(),
            presence: Presence::default(),
            openclaw,
            retained: Retained::default(),
            tally: Tally::default(),
            scrapes: 0,
            ticks: Ticks::default(),
            tails: Tails::default(),
            devices: Devices::default(),
            workers: Workers::default(),
            uploads: BTreeMap::new(),
            downloads: BTreeMap::new(),
            completions: Completions::default(),
            ending_uploads: BTreeMap::new(),
            live: BTreeMap::new(),
            jobs: BTreeMap::new(),
            store_jobs: BTreeSet::new(),
            next_job: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            timers: BTreeSet::new(),
            actions: VecDeque::new(),
            scratch: String::new(),
            loop_delay: Duration::ZERO,
            store_failed: false,
            loading: Loading::BEGUN,
            draining: None,
            quiet_before: BTreeSet::new(),
        };
        gateway.instance = gateway.uuid();
        let own = node.id();
        gateway.publish(Route::Others, BusMessage::Join { node: own });
        gateway.load(&mut Cx::at(now));
        Ok(gateway)
    }

    /// A socket was accepted. Everything that its [`Connection`](crate::Connection) says goes to
    /// [`Gateway::handle`] from now on, to the [`Event::Closed`] at its end.
    pub fn connected(&mut self, now: Instant, conn: ConnId, peer: SocketAddr) {
        self.conns.insert(conn, Conn::new(peer, now, self.ms(now)));
        self.set_budgeted(conn, true);
        self.note(Fact::Connected { conn, peer });
        // Beyond what can be of use to anybody: not even a request is read.
        let bounds = self.config.bounds();
        if self.conns.len() > bounds.connections.saturating_add(bounds.pre_auth.saturating_mul(2)) {
            let code = CloseCode::TRY_AGAIN;
            self.close(&mut Cx::at(now), conn, code, "try again later", None);
        }
    }

    /// A connection said something. Answers and events for it go straight into its outbox.
    pub fn handle(&mut self, now: Instant, conn: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        let cx = &mut Cx { now, direct: Some((conn, outbox)) };
        match event {
            Event::Request(head) => self.request(cx, conn, &head),
            Event::Open => self.opened(cx, conn),
            Event::Text(text) => {
                self.tally.messages_in += 1;
                self.message(cx, conn, Some(text));
            }
            Event::Binary(data) => {
                self.tally.messages_in += 1;
                let text = simdutf8::basic::from_utf8(data).ok();
                self.message(cx, conn, text);
            }
            Event::Closed(cause) => self.closed(cx, conn, cause),
            Event::Body(piece) if self.completions.has(conn) => {
                self.completion_piece(cx, conn, piece);
            }
            Event::Body(piece) => self.upload_piece(cx, conn, piece),
            Event::BodyEnd if self.completions.has(conn) => self.completion_asked(cx, conn),
            Event::BodyEnd => self.upload_end(cx, conn),
            Event::Ping(_) | Event::Pong(_) | Event::Response(_) => {}
        }
        self.drain_on(cx);
    }

    /// Everything that was queued for a connection has been given to the kernel. Events, or pieces of a
    /// file or an answer, that wait for a client that reads slowly go on now, merged as far as they can be. Call it whenever a write has
    /// emptied the connection's outbox.
    pub fn handle_flushed(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        let cx = &mut Cx { now, direct: Some((conn, outbox)) };
        self.conn_flushed(cx, conn);
        self.tick_flushed(cx, conn);
    }

    /// A job has an outcome. What is not awaited any more is ignored.
    pub fn handle_result(&mut self, now: Instant, job: JobId, outcome: Outcome) {
        let cx = &mut Cx::at(now);
        self.job_result(cx, job, outcome);
        self.drain_on(cx);
    }

    /// Another node says something.
    pub fn handle_message(&mut self, now: Instant, message: BusMessage) {
        let cx = &mut Cx::at(now);
        self.handle_bus(cx, message);
        self.drain_on(cx);
    }

    /// Time has passed. Harmless when nothing is due.
    pub fn handle_deadline(&mut self, now: Instant) {
        let cx = &mut Cx::at(now);
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Connect(conn) => {
                    let (code, reason) = (CloseCode::POLICY, "handshake timeout");
                    self.close(cx, conn, code, reason, Some(crate::event::Why::Handshake.name()));
                }
                Timer::Expiry(conn) => self.expiry_due(cx, conn),
                Timer::Job(job) => self.job_expired(cx, job),
                Timer::Call(call) => self.call_expired(cx, call),
                Timer::Wait(wait) => self.wait_expired(cx, wait),
                Timer::Resume(conn) => self.resume_expired(cx, conn),
                Timer::Link(link) => self.link_due(cx, link),
                Timer::Load => self.load(cx),
                Timer::Pairing => self.pairing_due(cx),
                Timer::Drain => self.drain_due(cx),
                Timer::Presence => self.presence_due(cx),
                Timer::Said => self.said_due(cx),
                Timer::Tick => self.tick_due(cx),
                Timer::Tails => self.tails_due(cx),
                Timer::Health => self.health_due(cx),
                Timer::Invokes => self.invokes_due(cx),
                Timer::Completion(conn) => self.completion_due(cx, conn),
                Timer::Handed(job) => self.handed_due(cx, job),
            }
        }
        self.drain_on(cx);
    }

    /// When [`Gateway::handle_deadline`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// How late the loop is, for `/ready`: how long its present turn has run so far, which is how long
    /// whatever became ready meanwhile has waited.
    pub fn set_loop_delay(&mut self, delay: Duration) {
        self.loop_delay = delay;
    }

    /// What to do next. Take all of it after every call.
    #[must_use = "an action is handed out once"]
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if self.actions.is_empty() && self.actions.capacity() > 1024 {
            // A broadcast has made it large.
            self.actions = VecDeque::new();
        }
        action
    }

    /// Sockets, and how many of them are WebSockets that are not local.
    pub fn connections(&self) -> (usize, usize) {
        (self.conns.len(), self.accepted)
    }

    /// Links, how many of them have no connection, and the bytes of events that they keep.
    pub fn links(&self) -> (usize, usize, usize) {
        self.links.size()
    }

    /// Runs that are under way or wait.
    pub fn runs(&self) -> usize {
        self.live.len()
    }

    /// Runs that are under way or wait, jobs, and calls to other nodes: 0 when nothing is going on.
    pub fn pending(&self) -> usize {
        self.live.len() + self.jobs.len() + self.calls.len()
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("node", &self.node)
            .field("connections", &self.conns.len())
            .field("live", &self.live.len())
            .field("jobs", &self.jobs.len())
            .field("draining", &self.draining.is_some())
            .finish_non_exhaustive()
    }
}
