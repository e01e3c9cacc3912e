//! One loop's gateway, and what it asks for.

use super::facts;
use super::folding::{self, Folding};
use super::operate::Load;
use super::reload::{Reload, ReloadInbox};
use crate::jobs::{Inbox, Incoming, Jobs, Mailbox};
use crate::metrics::{Recorder, Snapshot};
use crate::signals;
use bytes::Bytes;
use moorline_core::gateway::{self, Action, Drain, Gateway, HttpAnswer, Route, deliver};
use moorline_core::{CloseCode, Event, Frame, Outbox};
use moorline_mio::{ConnId, Connections, Handler, Peer, Queued, TlsFailure};
use rustix::io::Errno;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What clients are told of a restart: a start takes less than a second.
const RESTART_EXPECTED: Duration = Duration::from_secs(2);

/// How long a start waits for the store. It goes on without: the store is asked again until it answers,
/// and clients are told to come back.
const STORE_WITHIN: Duration = Duration::from_secs(10);

/// How often a loop looks at the wall clock at most: it is set seldom.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// How often at least, while something ends by it: a loop sleeps as long as the machine does, and would go
/// on sleeping.
const CLOCK_WITHIN: Duration = Duration::from_secs(30);

/// Messages of other threads that a loop takes in one turn.
const INBOX: usize = 64;

/// Hands events to the gateway and carries out its actions.
pub(super) struct GatewayNode {
    index: usize,
    gateway: Gateway,
    inbox: Inbox,
    reloads: ReloadInbox,
    jobs: Jobs,
    load: Arc<Load>,
    /// All loops', this one's included.
    mailboxes: Vec<Mailbox>,
    /// What the gateway said to connections whose turn it was not. It is said before anything later,
    /// so that every connection gets its events in order.
    later: BTreeMap<ConnId, Vec<Later>>,
    folding: Folding,
    recorder: Recorder,
    /// When it last looked at the wall clock.
    clock_seen: Instant,
}

enum Later {
    Send(Frame),
    Close(CloseCode, Cow<'static, str>),
    GiveUp,
    Respond(HttpAnswer),
    Body(Bytes),
    EndBody,
    HoldBody(bool),
}

/// What joins a gateway to the rest of the process.
pub(super) struct Around {
    pub(super) inbox: Inbox,
    pub(super) reloads: ReloadInbox,
    pub(super) jobs: Jobs,
    pub(super) load: Arc<Load>,
    /// All loops', this one's included.
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) recorder: Recorder,
}

impl GatewayNode {
    pub(super) fn new(index: usize, gateway: Gateway, around: Around) -> Self {
        let Around { inbox, reloads, jobs, load, mailboxes, recorder } = around;
        Self {
            index,
            gateway,
            inbox,
            reloads,
            jobs,
            load,
            mailboxes,
            later: BTreeMap::new(),
            folding: Folding::default(),
            recorder,
            clock_seen: Instant::now(),
        }
    }

    /// Learns what an earlier gateway left, before anybody is served.
    pub(super) fn start(&mut self) {
        self.take_actions(None);
        let until = Instant::now() + STORE_WITHIN;
        while !self.gateway.has_started() {
            let now = Instant::now();
            let wake = self.gateway.deadline().map_or(until, |due| due.min(until));
            match self.inbox.wait_for_outcome(wake.saturating_duration_since(now)) {
                Some((job, outcome)) => self.gateway.handle_result(Instant::now(), job, outcome),
                None if until <= now => return,
                None => self.gateway.handle_deadline(Instant::now()),
            }
            self.take_actions(None);
        }
    }

    /// Takes all actions. Those for the connection whose turn it is go straight to its outbox.
    fn take_actions(&mut self, mut own: Option<(ConnId, &mut Outbox)>) {
        while let Some(action) = self.gateway.poll_action() {
            match action {
                Action::Send { to, frame } => match &mut own {
                    Some((id, outbox)) if id.0 == to.0 => deliver(outbox, &frame),
                    _ => self.say_later(to, Later::Send(frame)),
                },
                Action::Close { conn, code, reason } => match &mut own {
                    Some((id, outbox)) if id.0 == conn.0 && outbox.is_open() => {
                        outbox.close(code, &reason);
                    }
                    _ => self.say_later(conn, Later::Close(code, reason)),
                },
                Action::GiveUp { conn } => match &mut own {
                    Some((id, outbox)) if id.0 == conn.0 => outbox.give_up(),
                    _ => self.say_later(conn, Later::GiveUp),
                },
                Action::Respond { conn, answer } => match &mut own {
                    Some((id, outbox)) if id.0 == conn.0 => answer.write(outbox),
                    _ => self.say_later(conn, Later::Respond(answer)),
                },
                Action::Body { conn, piece } => match &mut own {
                    // It fails when the connection has ended, which the gateway is told.
                    Some((id, outbox)) if id.0 == conn.0 => drop(outbox.body(piece)),
                    _ => self.say_later(conn, Later::Body(piece)),
                },
                Action::EndBody { conn } => match &mut own {
                    Some((id, outbox)) if id.0 == conn.0 => drop(outbox.end_body()),
                    _ => self.say_later(conn, Later::EndBody),
                },
                Action::HoldBody { conn, hold } => match &mut own {
                    Some((id, outbox)) if id.0 == conn.0 => outbox.hold_body(hold),
                    _ => self.say_later(conn, Later::HoldBody(hold)),
                },
                Action::Start { job, work } => self.jobs.begin(self.index, job, work),
                Action::Cancel { job } => self.jobs.cancel(self.index, job),
                Action::Publish { to, message } => self.publish(to, &message),
                Action::Note(fact) => self.note(&fact),
            }
        }
    }

    fn note(&mut self, fact: &gateway::Fact) {
        self.recorder.count(fact);
        // Whoever wants every line asks for it.
        if !tracing::enabled!(tracing::Level::DEBUG)
            && let Some(kind) = folding::kind(fact)
            && !self.folding.admit(Instant::now(), kind)
        {
            return self.recorder.folded(kind);
        }
        facts::log(self.index, fact);
    }

    fn say_later(&mut self, conn: gateway::ConnId, later: Later) {
        self.later.entry(ConnId(conn.0)).or_default().push(later);
    }

    /// Takes something that came from another thread.
    fn take(&mut self, now: Instant, incoming: Incoming) {
        match incoming {
            Incoming::Outcome(job, outcome) => self.gateway.handle_result(now, job, outcome),
            Incoming::Bus(message) => self.gateway.handle_message(now, message),
            Incoming::Agent(agent, state) => self.gateway.set_agent_state(&agent, state),
        }
    }

    /// What was said to this connection before its turn.
    fn say_before(&mut self, id: ConnId, outbox: &mut Outbox) {
        if !self.later.is_empty() {
            for later in self.later.remove(&id).unwrap_or_default() {
                match later {
                    Later::Send(frame) => deliver(outbox, &frame),
                    Later::Close(code, reason) if outbox.is_open() => outbox.close(code, &reason),
                    Later::GiveUp => outbox.give_up(),
                    Later::Respond(answer) => answer.write(outbox),
                    Later::Body(piece) => drop(outbox.body(piece)),
                    Later::EndBody => drop(outbox.end_body()),
                    Later::HoldBody(hold) => outbox.hold_body(hold),
                    // What is still HTTP is closed from outside its turn.
                    close @ Later::Close(..) => self.later.entry(id).or_default().push(close),
                }
            }
        }
    }

    fn say(&mut self, connections: &mut Connections<'_>) {
        for (id, said) in std::mem::take(&mut self.later) {
            for later in said {
                match later {
                    Later::Send(frame) => {
                        if let Some(outbox) = connections.outbox(id) {
                            deliver(outbox, &frame);
                        }
                    }
                    Later::Close(code, reason) => connections.close(id, code, &reason),
                    Later::GiveUp => {
                        if let Some(outbox) = connections.outbox(id) {
                            outbox.give_up();
                        }
                    }
                    Later::Respond(answer) => {
                        if let Some(outbox) = connections.outbox(id) {
                            answer.write(outbox);
                        }
                    }
                    Later::Body(piece) => {
                        if let Some(outbox) = connections.outbox(id) {
                            let _ = outbox.body(piece);
                        }
                    }
                    Later::EndBody => {
                        if let Some(outbox) = connections.outbox(id) {
                            let _ = outbox.end_body();
                        }
                    }
                    Later::HoldBody(hold) => {
                        if let Some(outbox) = connections.outbox(id) {
                            outbox.hold_body(hold);
                        }
                    }
                }
            }
        }
    }

    fn publish(&self, to: Route, message: &gateway::BusMessage) {
        for (index, mailbox) in self.mailboxes.iter().enumerate() {
            let wanted = match to {
                Route::Node(node) => usize::from(node.0) == index,
                Route::Others => index != self.index,
            };
            if wanted {
                mailbox.say(message.clone());
            }
        }
    }
}

/// What the wall clock shows, in milliseconds after 1970.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Drop for GatewayNode {
    fn drop(&mut self) {
        facts::log_folded(self.index, self.folding.take_all());
    }
}

impl Handler for GatewayNode {
    fn opened(&mut self, now: Instant, id: ConnId, peer: Peer) {
        let id = gateway::ConnId(id.0);
        match peer {
            Peer::Network(address) => self.gateway.connected(now, id, address),
            Peer::Local => self.gateway.connected_locally(now, id),
        }
        self.take_actions(None);
    }

    /// A client may know by another loop what that has told this one: a key it has made, a device that was
    /// let in, a token that was taken back. Only what had been said by now is taken, so that loops which go on
    /// talking keep no socket waiting.
    fn received(&mut self, now: Instant) {
        for _ in 0..self.inbox.unheard() {
            let Some(said) = self.inbox.hear() else { break };
            self.take(now, said);
            self.take_actions(None);
        }
    }

    fn event(&mut self, now: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        self.say_before(id, outbox);
        if matches!(event, Event::Pong(_))
            && let Some(took) = outbox.round_trip()
        {
            self.recorder.round_trip(took);
        }
        self.gateway.handle(now, gateway::ConnId(id.0), event, outbox);
        self.take_actions(Some((id, outbox)));
    }

    fn flushed(&mut self, now: Instant, id: ConnId, outbox: &mut Outbox) {
        self.say_before(id, outbox);
        self.gateway.handle_flushed(now, gateway::ConnId(id.0), outbox);
        self.take_actions(Some((id, outbox)));
    }

    fn turn(&mut self, now: Instant, connections: &mut Connections<'_>) {
        self.gateway.set_loop_delay(now.elapsed());
        if let Some(Reload { config, limits, tls, done }) = self.reloads.newest() {
            connections.set_limits(limits);
            self.recorder.set_agents(&config.agents);
            if let Some(tls) = tls {
                connections.set_tls(tls);
            }
            // It was checked before it was sent.
            if let Err(error) = self.gateway.reconfigure(now, config) {
                tracing::error!(node = self.index, %error, "a configuration that was good is not");
            }
            drop(done);
            self.take_actions(None);
            self.say(connections);
        }
        // The sockets have their turn between: what is left over waits.
        let mut more = true;
        for _ in 0..INBOX {
            match self.inbox.take() {
                Some(incoming) => self.take(now, incoming),
                None => {
                    more = false;
                    break;
                }
            }
            self.take_actions(None);
            self.say(connections);
        }
        if more {
            self.mailboxes[self.index].wake();
        }
        if now.saturating_duration_since(self.clock_seen) >= CLOCK_EVERY {
            self.clock_seen = now;
            self.gateway.set_wall_clock(now, unix_ms());
        }
        self.gateway.handle_deadline(now);
        self.take_actions(None);
        self.say(connections);
        facts::log_folded(self.index, self.folding.take_due(now));
        self.load.tell(self.gateway.connections().1, self.gateway.runs());
        if self.recorder.is_asked() {
            let Queued { bytes: outbox_bytes, stalled } = connections.queued();
            let stats = self.gateway.stats(now);
            let agents = self.gateway.agent_links().map(|(agent, link)| (agent.into(), link));
            let agents = agents.collect();
            let handshakes = connections.handshakes();
            let snapshot = Snapshot { stats, handshakes, outbox_bytes, stalled, agents };
            self.recorder.answer(snapshot);
        }
    }

    fn turned(&mut self, took: Duration) {
        self.recorder.turned(took);
    }

    fn deadline(&self) -> Option<Instant> {
        let clock = self.gateway.needs_wall_clock().then(|| self.clock_seen + CLOCK_WITHIN);
        self.gateway.deadline().into_iter().chain(self.folding.deadline()).chain(clock).min()
    }

    fn stopping(&mut self, now: Instant, connections: &mut Connections<'_>) {
        self.load.tell_draining();
        let restart = signals::is_restart();
        let reason = if restart { "gateway restarting" } else { "gateway stopping" };
        let restart_expected = restart.then_some(RESTART_EXPECTED);
        self.gateway.drain(now, &Drain { restart, reason: reason.into(), restart_expected });
        self.take_actions(None);
        self.say(connections);
    }

    fn may_stop(&self) -> bool {
        self.gateway.is_drained()
    }

    fn handshake_failed(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: Option<Peer>,
        failure: &TlsFailure,
    ) {
        self.recorder.handshake_failed(failure.reason());
        let kind = (facts::HANDSHAKE_FAILED, failure.reason());
        if !tracing::enabled!(tracing::Level::DEBUG) && !self.folding.admit(now, kind) {
            return self.recorder.folded(kind);
        }
        facts::log_handshake(self.index, id, peer, failure);
    }

    fn accept_failed(&mut self, error: &io::Error) {
        self.recorder.accept_failed(match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => "files",
            Some(Errno::NOBUFS | Errno::NOMEM) => "memory",
            _ => "other",
        });
        tracing::warn!(%error, "cannot accept connections for now");
    }
}
