//! What one loop counts: facts of its gateway become numbers, which other threads may read at any time.

use super::cells::{Counter, Family, Histogram, LONG, SHORT, Writer};
use super::words;
use crate::serve::facts::{initiator_word, why_word};
use moorline_core::Cause;
use moorline_core::gateway::{Agent, AgentLink, Fact, Stats};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// The numbers of one loop.
#[derive(Debug)]
pub(super) struct LoopMetrics {
    pub(super) accepts: Counter,
    pub(super) handshakes_failed: Family<[&'static str; 1], Counter>,
    pub(super) accept_failures: Family<[&'static str; 1], Counter>,
    pub(super) refused: Family<[&'static str; 2], Counter>,
    pub(super) closed: Family<[&'static str; 3], Counter>,
    pub(super) connection_duration: Histogram,
    pub(super) logins: Family<[&'static str; 2], Counter>,
    pub(super) requests: Family<[&'static str; 2], Counter>,
    pub(super) request_duration: Family<[&'static str; 1], Histogram>,
    pub(super) invalid: Counter,
    pub(super) rate_limited: Family<[&'static str; 1], Counter>,
    pub(super) slow_consumers: Counter,
    pub(super) round_trip: Histogram,
    pub(super) resumed: Counter,
    pub(super) gaps: Counter,
    pub(super) replayed: Counter,
    pub(super) turn: Histogram,
    pub(super) runs_started: Family<[AgentName; 1], Counter>,
    pub(super) runs: Family<(AgentName, &'static str), Counter>,
    pub(super) run_duration: Family<[AgentName; 1], Histogram>,
    pub(super) cut: Counter,
    pub(super) pairings: Family<[&'static str; 1], Counter>,
    pub(super) store_failures: Family<[&'static str; 1], Counter>,
    pub(super) uploads: Counter,
    pub(super) uploaded_bytes: Counter,
    pub(super) folded: Family<[&'static str; 2], Counter>,
    /// The scrape for which `snapshot` is.
    answered: AtomicU64,
    snapshot: Mutex<Snapshot>,
}

/// How a loop was when somebody asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) stats: Stats,
    /// TLS handshakes under way.
    pub(crate) handshakes: usize,
    /// Bytes that are queued for clients.
    pub(crate) outbox_bytes: u64,
    /// The longest time for which one of them has taken nothing.
    pub(crate) stalled: Duration,
    /// The configured agents.
    pub(crate) agents: Vec<(String, AgentLink)>,
}

/// An agent of the configuration, or all others together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AgentName(Arc<str>);

impl AgentName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Asks loops for their numbers.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The number of the latest scrape.
    latest: AtomicU64,
    /// Who waits.
    scraper: OnceLock<Thread>,
}

impl Asking {
    /// Begins a scrape on this thread, which is the one for all; gives its number.
    pub(super) fn begin(&self) -> u64 {
        self.scraper.get_or_init(std::thread::current);
        self.latest.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl LoopMetrics {
    pub(super) fn new() -> Self {
        Self {
            accepts: Counter::default(),
            handshakes_failed: Family::default(),
            accept_failures: Family::default(),
            refused: Family::default(),
            closed: Family::default(),
            connection_duration: Histogram::new(LONG),
            logins: Family::default(),
            requests: Family::default(),
            request_duration: Family::default(),
            invalid: Counter::default(),
            rate_limited: Family::default(),
            slow_consumers: Counter::default(),
            round_trip: Histogram::new(SHORT),
            resumed: Counter::default(),
            gaps: Counter::default(),
            replayed: Counter::default(),
            turn: Histogram::new(SHORT),
            runs_started: Family::default(),
            runs: Family::default(),
            run_duration: Family::default(),
            cut: Counter::default(),
            pairings: Family::default(),
            store_failures: Family::default(),
            uploads: Counter::default(),
            uploaded_bytes: Counter::default(),
            folded: Family::default(),
            answered: AtomicU64::new(0),
            snapshot: Mutex::default(),
        }
    }

    /// How the loop was at the latest scrape, and whether that is this one.
    pub(super) fn snapshot(&self, scrape: u64) -> (Snapshot, bool) {
        let answered = self.has_answered(scrape);
        (self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone(), answered)
    }

    pub(super) fn has_answered(&self, scrape: u64) -> bool {
        self.answered.load(Ordering::Acquire) >= scrape
    }
}

/// The loop's own end: it counts here. What it does for each message takes no lock and allocates nothing.
#[derive(Debug)]
pub(crate) struct Recorder {
    metrics: Arc<LoopMetrics>,
    asking: Arc<Asking>,
    agents: BTreeSet<AgentName>,
    other: AgentName,
    handshakes_failed: Writer<[&'static str; 1], Counter>,
    accept_failures: Writer<[&'static str; 1], Counter>,
    refused: Writer<[&'static str; 2], Counter>,
    closed: Writer<[&'static str; 3], Counter>,
    logins: Writer<[&'static str; 2], Counter>,
    requests: Writer<[&'static str; 2], Counter>,
    request_duration: Writer<[&'static str; 1], Histogram>,
    rate_limited: Writer<[&'static str; 1], Counter>,
    runs_started: Writer<[AgentName; 1], Counter>,
    runs: Writer<(AgentName, &'static str), Counter>,
    run_duration: Writer<[AgentName; 1], Histogram>,
    pairings: Writer<[&'static str; 1], Counter>,
    store_failures: Writer<[&'static str; 1], Counter>,
    folded: Writer<[&'static str; 2], Counter>,
}

impl Recorder {
    pub(super) fn new(metrics: Arc<LoopMetrics>, asking: Arc<Asking>, agents: &[Agent]) -> Self {
        let mut recorder = Self {
            metrics,
            asking,
            agents: BTreeSet::new(),
            other: AgentName("other".into()),
            handshakes_failed: Writer::default(),
            accept_failures: Writer::default(),
            refused: Writer::default(),
            closed: Writer::default(),
            logins: Writer::default(),
            requests: Writer::default(),
            request_duration: Writer::default(),
            rate_limited: Writer::default(),
            runs_started: Writer::default(),
            runs: Writer::default(),
            run_duration: Writer::default(),
            pairings: Writer::default(),
            store_failures: Writer::default(),
            folded: Writer::default(),
        };
        recorder.set_agents(agents);
        recorder
    }

    /// The configured agents are these now.
    pub(crate) fn set_agents(&mut self, agents: &[Agent]) {
        self.agents = agents.iter().map(|agent| AgentName(agent.id.as_str().into())).collect();
    }

    /// Whether a scrape waits for [`Recorder::answer`].
    pub(crate) fn is_asked(&self) -> bool {
        !self.metrics.has_answered(self.asking.latest.load(Ordering::Relaxed))
    }

    /// Tells a scrape how the loop is.
    pub(crate) fn answer(&self, snapshot: Snapshot) {
        *self.metrics.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
        let latest = self.asking.latest.load(Ordering::Relaxed);
        self.metrics.answered.store(latest, Ordering::Release);
        if let Some(scraper) = self.asking.scraper.get() {
            scraper.unpark();
        }
    }

    pub(crate) fn turned(&self, took: Duration) {
        self.metrics.turn.observe(took);
    }

    pub(crate) fn round_trip(&self, took: Duration) {
        self.metrics.round_trip.observe(took);
    }

    pub(crate) fn handshake_failed(&mut self, reason: &'static str) {
        self.handshakes_failed.count(&self.metrics.handshakes_failed, [reason]);
    }

    pub(crate) fn accept_failed(&mut self, reason: &'static str) {
        self.accept_failures.count(&self.metrics.accept_failures, [reason]);
    }

    pub(crate) fn folded(&mut self, (line, kind): (&'static str, &'static str)) {
        self.folded.count(&self.metrics.folded, [line, kind]);
    }

    /// Counts a fact.
    pub(crate) fn count(&mut self, fact: &Fact) {
        let all = &*self.metrics;
        match fact {
            Fact::Connected { .. } => all.accepts.add(1),
            Fact::Refused { status, why, .. } => {
                self.refused.count(&all.refused, [words::status(*status), why_word(*why)]);
            }
            Fact::Authenticated { credential, .. } => {
                self.logins.count(&all.logins, [credential.as_str(), "ok"]);
            }
            Fact::AuthFailed { credential, locked, .. } => {
                let result = if locked.is_some() { "locked" } else { "refused" };
                self.logins.count(&all.logins, [credential.as_str(), result]);
            }
            Fact::Pairing { action, .. } => self.pairings.count(&all.pairings, [action.as_str()]),
            Fact::Resumed { replayed, gap, .. } => {
                if *gap { &all.gaps } else { &all.resumed }.add(1);
                all.replayed.add(*replayed as u64);
            }
            Fact::RateLimited { method, .. } => {
                self.rate_limited.count(&all.rate_limited, [method]);
            }
            Fact::InvalidFrame { .. } => all.invalid.add(1),
            Fact::Called { method, error, duration, .. } => {
                let code = error.map_or("ok", |error| error.as_str());
                self.requests.count(&all.requests, [method, code]);
                let times = || Histogram::new(SHORT);
                self.request_duration.to(&all.request_duration, [method], times).observe(*duration);
            }
            Fact::RunStarted { agent, .. } => {
                let agent = self.agent(agent);
                self.runs_started.count(&all.runs_started, [agent]);
            }
            Fact::RunEnded { agent, state, duration, .. } => {
                let agent = self.agent(agent);
                self.runs.count(&all.runs, (agent.clone(), state));
                let times = || Histogram::new(LONG);
                self.run_duration.to(&all.run_duration, [agent], times).observe(*duration);
            }
            Fact::StoreFailed { error } => {
                self.store_failures.count(&all.store_failures, [error]);
            }
            Fact::Uploaded { bytes, .. } => {
                all.uploads.add(1);
                all.uploaded_bytes.add(*bytes);
            }
            Fact::Truncated { .. } => all.cut.add(1),
            Fact::Closed { code, cause, initiator, duration, user, .. } => {
                let labels = [words::close_code(*code), cause, initiator_word(*initiator)];
                self.closed.count(&all.closed, labels);
                if [Cause::SlowReader.name(), Cause::Overflow.name()].contains(cause) {
                    all.slow_consumers.add(1);
                }
                if user.is_some() && *cause != words::ANSWERED {
                    all.connection_duration.observe(*duration);
                }
            }
            _ => {}
        }
    }

    fn agent(&self, id: &str) -> AgentName {
        let known = self.agents.iter().find(|known| &*known.0 == id);
        known.unwrap_or(&self.other).clone()
    }
}
