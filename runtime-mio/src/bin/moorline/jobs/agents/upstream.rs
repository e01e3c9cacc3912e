//! One endpoint as an agent's backend: who may ask it now, and whether it works.

use super::super::Mailbox;
use super::connector::Connector;
use super::openai::Body;
use super::pool::{self, Pool};
use crate::config::OpenAiSettings;
use hyper::client::conn::http1::SendRequest;
use moorline_core::Entropy as _;
use moorline_core::gateway::{
    AgentLink, AgentState, Breaker, BreakerState, CallEnd, Model, Permit,
};
use moorline_core::upgrade::Proxy;
use moorline_mio::OsEntropy;
use smol::lock::{Semaphore, SemaphoreGuardArc};
use smol::{Executor, Timer, future};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) struct Upstream {
    agent: String,
    pub(super) settings: OpenAiSettings,
    pub(super) connector: Connector,
    pool: Pool,
    places: Arc<Semaphore>,
    queued: AtomicUsize,
    health: Mutex<Health>,
    /// When the log was told last that a run failed.
    complained: Mutex<Option<Instant>>,
    /// Another one has taken its place: it says nothing any more.
    is_retired: AtomicBool,
    mailboxes: Vec<Mailbox>,
    executor: Arc<Executor<'static>>,
}

/// Runs in a row that an endpoint must refuse before it counts as refusing all of them, where the status alone
/// does not say so: some providers answer 403 or 404 for what one user has asked, and one that is wrong for
/// everybody refuses the next two just as well.
const REFUSED_RUNS: u32 = 3;

/// An endpoint refuses a run.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It would refuse every other one, too: it does not know the gateway's key.
    Certain,
    /// It may have refused this one alone.
    Likely,
}

struct Health {
    breaker: Breaker,
    /// What was told of it last: whether it was asked, and why it refused.
    told: (BreakerState, Option<String>),
    /// What went wrong last. Everybody sees it: there is nothing in it of what the endpoint said.
    reason: Option<String>,
    /// Why it refuses what the gateway asks for, until a run succeeds. The breaker is about what passes by
    /// itself; this does not.
    refusal: Option<String>,
    /// Runs in a row that were refused.
    refused: u32,
    /// Since when something is wrong.
    since: Option<Instant>,
}

/// Nobody else may ask now.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Crowded {
    /// As many wait as may.
    Full,
    /// It waited as long as it may.
    Late,
}

/// A call under way. Dropped without an end it was cancelled, which says nothing about the endpoint.
pub(super) struct Call {
    upstream: Arc<Upstream>,
    permit: Option<Permit>,
}

impl Upstream {
    pub(super) fn new(
        agent: &str,
        settings: &OpenAiSettings,
        proxy: Option<Proxy>,
        executor: Arc<Executor<'static>>,
        mailboxes: Vec<Mailbox>,
    ) -> Self {
        let endpoint = settings.base_url.clone();
        let breaker = Breaker::new(settings.breaker.clone(), Instant::now());
        Self {
            agent: agent.into(),
            connector: Connector::new(endpoint, &settings.authorities, proxy, executor.clone()),
            pool: Pool::default(),
            places: Arc::new(Semaphore::new(settings.max_concurrent)),
            queued: AtomicUsize::new(0),
            health: Mutex::new(Health {
                breaker,
                told: (BreakerState::Closed, None),
                reason: None,
                refusal: None,
                refused: 0,
                since: None,
            }),
            complained: Mutex::new(None),
            is_retired: AtomicBool::new(false),
            settings: settings.clone(),
            mailboxes,
            executor,
        }
    }

    /// Whether these are its settings.
    pub(super) fn is_as(&self, settings: &OpenAiSettings) -> bool {
        self.settings.is_same(settings)
    }

    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// A run has failed for good. One a minute is told aloud: what is wrong may stay so.
    pub(super) fn complain(&self, error: &str) {
        const EVERY: Duration = Duration::from_secs(60);
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        let agent = &self.agent;
        if complained.is_some_and(|at| at.elapsed() < EVERY) {
            tracing::debug!(agent, error, "a run failed");
        } else {
            *complained = Some(Instant::now());
            tracing::warn!(
                agent,
                error,
                "a run failed; more of them are told at level debug for a minute"
            );
        }
    }

    // --- places --------------------------------------------------------------------------------

    /// A place among those that ask at once.
    pub(super) async fn place(&self) -> Result<SemaphoreGuardArc, Crowded> {
        if let Some(place) = self.places.try_acquire_arc() {
            return Ok(place);
        }
        let waiting = Waiting::new(&self.queued);
        if waiting.before >= self.settings.max_queued {
            return Err(Crowded::Full);
        }
        let late = async {
            Timer::after(self.settings.times.queue).await;
            Err(Crowded::Late)
        };
        future::or(async { Ok(self.places.acquire_arc().await) }, late).await
    }

    // --- connections ---------------------------------------------------------------------------

    /// A connection, and whether it was used before. `in_tls` is as [`Connector::connect`] has it.
    pub(super) async fn connection(
        &self,
        in_tls: &AtomicBool,
    ) -> io::Result<(SendRequest<Body>, bool)> {
        match self.pool.take(Instant::now()) {
            Some(sender) => Ok((sender, true)),
            None => Ok((self.connector.connect(in_tls).await?, false)),
        }
    }

    /// The answer was read to its end: the connection can be used again, if the endpoint agrees.
    pub(super) fn keep(self: &Arc<Self>, mut sender: SendRequest<Body>) {
        let upstream = self.clone();
        let keeping = async move {
            if sender.ready().await.is_err() || !upstream.pool.keep(Instant::now(), sender) {
                return;
            }
            // One task as long as there are any.
            let upstream = Arc::downgrade(&upstream);
            loop {
                Timer::after(pool::KEPT / 4).await;
                let Some(upstream) = upstream.upgrade() else { return };
                if !upstream.pool.expire(Instant::now()) {
                    return;
                }
            }
        };
        self.executor.spawn(keeping).detach();
    }

    // --- the breaker ---------------------------------------------------------------------------

    /// Begins a call.
    ///
    /// # Errors
    /// It does not work: what went wrong last, and how long to wait.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Call, (Option<String>, Duration)> {
        let mut health = self.health();
        match health.breaker.begin(Instant::now()) {
            Ok(permit) => {
                self.tell_change(&mut health);
                Ok(Call { upstream: self.clone(), permit: Some(permit) })
            }
            Err(wait) => Err((health.reason.clone(), wait)),
        }
    }

    /// How long it will not be asked, if that is so.
    pub(super) fn closed_for(&self) -> Option<Duration> {
        let until = self.health().breaker.deadline()?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Tells all loops how it is.
    pub(super) fn tell(&self) {
        let health = self.health();
        self.tell_state(&health);
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_change(self: &Arc<Self>, health: &mut Health) {
        let state = health.breaker.state();
        let now = (state, health.refusal.clone());
        if now == health.told {
            return;
        }
        let (before, _) = std::mem::replace(&mut health.told, now);
        let is_well = state == BreakerState::Closed && health.refusal.is_none();
        health.since = match health.since {
            _ if is_well => None,
            Some(since) => Some(since),
            None => Some(Instant::now()),
        };
        let endpoint = self.settings.base_url.authority();
        let (agent, state_word) = (&self.agent, state.as_str());
        match state {
            // What is refused the log has been told with the run.
            _ if state == before && health.refusal.is_some() => {}
            BreakerState::Closed => {
                health.reason = None;
                if is_well {
                    tracing::info!(agent, endpoint, "the agent's model works again");
                }
            }
            _ if state == before => {}
            BreakerState::HalfOpen => {
                tracing::debug!(agent, endpoint, breaker = state_word, "the next run tries it");
            }
            BreakerState::Open => {
                let reason = health.reason.as_deref().unwrap_or_default();
                tracing::warn!(
                    agent,
                    endpoint,
                    reason,
                    "the agent's model fails: not asked for now"
                );
                self.half_open_later(health);
            }
        }
        self.tell_state(health);
    }

    /// Time alone makes it half-open, which is to be seen.
    fn half_open_later(self: &Arc<Self>, health: &Health) {
        let Some(until) = health.breaker.deadline() else { return };
        let upstream = Arc::downgrade(self);
        let waiting = async move {
            Timer::at(until).await;
            if let Some(upstream) = upstream.upgrade() {
                let mut health = upstream.health();
                health.breaker.handle_deadline(Instant::now());
                upstream.tell_change(&mut health);
            }
        };
        self.executor.spawn(waiting).detach();
    }

    fn tell_state(&self, health: &Health) {
        if self.is_retired.load(Ordering::Relaxed) {
            return;
        }
        let breaker = health.breaker.state();
        let (id, provider) = (self.settings.model.clone(), self.settings.base_url.host.clone());
        let (link, reason) = match (breaker, &health.refusal) {
            (BreakerState::Closed, None) => (AgentLink::Up, None),
            (BreakerState::Closed, Some(refusal)) => (AgentLink::Refused, Some(refusal)),
            _ => (breaker.into(), health.reason.as_ref()),
        };
        let state = AgentState {
            link,
            breaker: Some(breaker),
            reason: reason.cloned(),
            since: health.since,
            retry_at: health.breaker.deadline(),
            models: vec![Model { id, provider }],
        };
        for mailbox in &self.mailboxes {
            mailbox.tell_agent(&self.agent, state.clone());
        }
    }
}

impl Call {
    /// It answers: that is all that a probe has to show. A run may take minutes, and others would have to wait
    /// for its end.
    pub(super) fn answers(&mut self) {
        if let Some(permit) = self.permit.take_if(|permit| permit.is_probe()) {
            let mut health = self.upstream.health();
            health.breaker.end(Instant::now(), permit, CallEnd::Succeeded, entropy());
            self.permit = health.breaker.begin(Instant::now()).ok();
            self.upstream.tell_change(&mut health);
        }
    }

    /// It has ended. `reason`: what went wrong, for all who see the agent.
    pub(super) fn end(mut self, end: CallEnd, reason: Option<&str>) {
        self.give_back(end, reason);
    }

    /// The endpoint refuses what the gateway asks for, which says nothing to the breaker.
    pub(super) fn refused(mut self, refusal: Refusal, reason: &str) {
        let permit = self.permit.take();
        let mut health = self.upstream.health();
        health.reason = Some(reason.into());
        health.refused = health.refused.saturating_add(1);
        let is_known = refusal == Refusal::Certain || health.refusal.is_some();
        if is_known || health.refused >= REFUSED_RUNS {
            health.refusal = Some(reason.into());
        }
        if let Some(permit) = permit {
            health.breaker.end(Instant::now(), permit, CallEnd::Neither, entropy());
        }
        self.upstream.tell_change(&mut health);
    }

    fn give_back(&mut self, end: CallEnd, reason: Option<&str>) {
        let permit = self.permit.take();
        // A run whose probe has ended before it may have no other permit, and has still succeeded.
        if permit.is_none() && end != CallEnd::Succeeded {
            return;
        }
        let mut health = self.upstream.health();
        if end == CallEnd::Succeeded {
            health.refusal = None;
            health.refused = 0;
        }
        if let Some(reason) = reason {
            health.refused = 0;
            health.reason = Some(reason.into());
        }
        if let Some(permit) = permit {
            health.breaker.end(Instant::now(), permit, end, entropy());
        }
        self.upstream.tell_change(&mut health);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.give_back(CallEnd::Neither, None);
    }
}

/// Counts somebody who waits, however the waiting ends.
struct Waiting<'c> {
    count: &'c AtomicUsize,
    before: usize,
}

impl<'c> Waiting<'c> {
    fn new(count: &'c AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Spreads times.
pub(super) fn entropy() -> u64 {
    let mut bytes = [0; 8];
    OsEntropy.fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
