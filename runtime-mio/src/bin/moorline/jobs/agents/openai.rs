//! Asks an endpoint of chat completions, as OpenAI has made them, and tells what it says.
//!
//! ```text
//! place ──▶ breaker ──▶ connection ──▶ request ──▶ head ──▶ events ──▶ the end
//!             ▲                                      │
//!             └── again, while nothing was said ─────┘
//! ```

mod completion;
mod exchange;
mod request;
mod sse;
mod trouble;

pub(super) use exchange::Body;

use super::super::Mailbox;
use super::upstream::{Call, Crowded, Upstream, entropy};
use bytes::Bytes;
use moorline_core::gateway::{Code, JobId, Outcome, Progress, Retrying, Run, RunFailure};
use smol::{Timer, future};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trouble::{Step, Trouble};

/// When to come back if nothing better is known.
const SOON: Duration = Duration::from_secs(1);

/// Where a run's outcomes go.
pub(super) struct Teller<'m> {
    mailbox: &'m Mailbox,
    job: JobId,
}

impl Teller<'_> {
    /// Waits while the loop has many to take; nobody else does.
    async fn tell(&self, outcome: Outcome) {
        self.mailbox.deliver(self.job, outcome).await;
    }
}

/// Does a run. Dropped, it leaves nothing behind: its connection is closed, its place is free.
pub(super) async fn run(upstream: &Arc<Upstream>, run: Run, mailbox: &Mailbox, job: JobId) {
    let teller = Teller { mailbox, job };
    let total = upstream.settings.times.total;
    let late = async {
        Timer::after(total).await;
        let trouble = Trouble::Late(Step::Total, total);
        Outcome::Failed(trouble.failure(upstream, upstream.closed_for()))
    };
    let outcome = future::or(answer(upstream, run, &teller), late).await;
    if let Outcome::Failed(failure) = &outcome {
        upstream.complain(&failure.error);
    }
    teller.tell(outcome).await;
}

async fn answer(upstream: &Arc<Upstream>, run: Run, teller: &Teller<'_>) -> Outcome {
    // Held to the end.
    let _place = match upstream.place().await {
        Ok(place) => place,
        Err(crowded) => return Outcome::Failed(crowded.failure(upstream)),
    };
    // What was said before can be much; it is not kept for longer than it may be needed.
    let mut body = Bytes::from(request::body(&upstream.settings, &run));
    drop(run);
    let retries = &upstream.settings.retries;
    let mut attempt = 1;
    loop {
        let call = match upstream.begin() {
            Ok(call) => call,
            Err((reason, wait)) => return Outcome::Failed(shut(upstream, reason, wait)),
        };
        let (trouble, is_silent) = match exchange::ask(upstream, call, &mut body, teller).await {
            Ok(outcome) => return outcome,
            Err(failed) => failed,
        };
        let wait = backoff(retries.first, attempt, retries.longest);
        // It knows better when it works again, unless that is too long for somebody to sit and wait.
        let asked = trouble.retry_after();
        let wait = asked.map_or(wait, |asked| asked.max(wait));
        let again = is_silent
            && trouble.is_passing()
            && attempt <= retries.most
            && wait <= retries.longest
            && upstream.closed_for().is_none();
        if !again {
            return Outcome::Failed(trouble.failure(upstream, upstream.closed_for()));
        }
        attempt += 1;
        let error = trouble.text(upstream);
        let retrying = Retrying { attempt, most: retries.most + 1, after: wait, error };
        teller.tell(Outcome::Progress(Progress::Retrying(retrying))).await;
        Timer::at(Instant::now() + wait).await;
    }
}

/// Between half of the time and all of it, which doubles each time.
fn backoff(first: Duration, attempt: u32, longest: Duration) -> Duration {
    let most = first.saturating_mul(1 << (attempt - 1).min(20)).min(longest);
    let part = (entropy() >> 32) as u32;
    most / 2 + (most / 2).mul_f64(f64::from(part) / f64::from(u32::MAX))
}

/// The breaker is open.
fn shut(upstream: &Upstream, reason: Option<String>, wait: Duration) -> RunFailure {
    let host = upstream.settings.base_url.authority();
    let why = reason.unwrap_or_else(|| format!("the agent's model at {host} fails"));
    let error = format!("{why}; it is not asked for now");
    RunFailure::new(Code::Unavailable, error).retry_after(wait)
}

impl Crowded {
    fn failure(self, upstream: &Upstream) -> RunFailure {
        let settings = &upstream.settings;
        let (host, most) = (settings.base_url.authority(), settings.max_concurrent);
        let why = match self {
            Self::Full => "and as many wait as may",
            Self::Late => "and none of them has ended in time",
        };
        let error = format!("{most} runs ask the agent's model at {host} already, {why}");
        RunFailure::new(Code::ResourceExhausted, error).retry_after(SOON)
    }
}

/// What a call that failed leaves.
type Failed = (Trouble, bool);

/// Ends a call with what it came to.
fn fail(call: Call, upstream: &Upstream, trouble: Trouble, is_silent: bool) -> Failed {
    let reason = trouble.reason(upstream);
    match trouble.refusal() {
        Some(refusal) => call.refused(refusal, &reason),
        None => call.end(trouble.call_end(), Some(&reason)),
    }
    (trouble, is_silent)
}
