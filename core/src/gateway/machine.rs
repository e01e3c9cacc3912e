//! The gateway itself: its state, and what a host says to it.

use super::agent_state::AgentStates;
use super::api_keys::ApiKeys;
use super::budget::Budget;
use super::bus::Call;
use super::config::Checked;
use super::conn::Conn;
use super::download::Download;
use super::drain::Draining;
use super::failures::Failures;
use super::idempotency::Idempotency;
use super::jobs::Pending;
use super::link::Links;
use super::load::Loading;
use super::logs::Tails;
use super::openai_api::Completions;
use super::openclaw::{Devices, OpenClaw};
use super::pairing::Pairings;
use super::presence::Presence;
use super::rate::RateLimit;
use super::retained::Retained;
use super::revocations::Revocations;
use super::runs::{Live, Waits};
use super::send::Cx;
use super::tick::Ticks;
use super::timer::Timer;
use super::upload::Upload;
use super::wall_clock::WallClock;
use super::workers::Workers;
use super::{
    Action, BusMessage, CallId, ConfigError, ConnId, Fact, GatewayConfig, JobId, Node, NodeId,
    Outcome, Route, Tally,
};
use crate::connection::{Entropy, Outbox};
use crate::event::Event;
use crate::frame::CloseCode;
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One node of the gateway: all policy of the connections of one loop.
pub struct Gateway {
    pub(super) config: Checked,
    pub(super) agents: AgentStates,
    pub(super) node: Node,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) start: Instant,
    pub(super) clock: WallClock,
    /// Names this start of this node.
    pub(super) instance: String,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    /// WebSockets that were accepted and have not ended. Local ones are not among them.
    pub(super) accepted: usize,
    pub(super) links: Links,
    pub(super) budget: Budget,
    pub(super) failures: Failures,
    pub(super) rate: RateLimit,
    pub(super) api_keys: ApiKeys,
    pub(super) revocations: Revocations,
    pub(super) pairings: Pairings,
    /// Connections whose login ends by itself.
    pub(super) expiring: BTreeSet<ConnId>,
    /// Connections that wait, by the request that they wait for.
    pub(super) waiters: BTreeMap<Arc<str>, ConnId>,
    /// When the first request to be let in ends.
    pub(super) pairing_timer: Option<Instant>,
    /// Revoked while the store was still being read: it may answer with what was there before.
    pub(super) gone_before_start: Vec<Arc<str>>,
    pub(super) presence: Presence,
    pub(super) openclaw: OpenClaw,
    pub(super) retained: Retained,
    pub(super) tally: Tally,
    pub(super) scrapes: usize,
    pub(super) ticks: Ticks,
    pub(super) tails: Tails,
    pub(super) devices: Devices,
    pub(super) workers: Workers,
    pub(super) uploads: BTreeMap<ConnId, Upload>,
    pub(super) downloads: BTreeMap<ConnId, Download>,
    pub(super) completions: Completions,
    /// Uploads that came to nothing, by their paths, until the host has forgotten them; whose they were.
    pub(super) ending_uploads: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) live: BTreeMap<Arc<str>, Live>,
    pub(super) waits: Waits,
    pub(super) idempotency: Idempotency,
    pub(super) jobs: BTreeMap<JobId, Pending>,
    /// Those of `jobs` that the store does.
    pub(super) store_jobs: BTreeSet<JobId>,
    pub(super) next_job: u64,
    pub(super) calls: BTreeMap<CallId, Call>,
    pub(super) next_call: u64,
    /// Every deadline; each is taken out when it is not needed any more.
    pub(super) timers: BTreeSet<(Instant, Timer)>,
    pub(super) actions: VecDeque<Action>,
    /// Answers and events are written here.
    pub(super) scratch: String,
    pub(super) loop_delay: Duration,
    pub(super) store_failed: bool,
    pub(super) loading: Loading,
    pub(super) draining: Option<Draining>,
    /// Nodes that had no run any more before this one began to drain.
    pub(super) quiet_before: BTreeSet<NodeId>,
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
