//! `agent.wait`: who waits for the end of a run, and how runs ended that somebody may still ask for.

use super::super::bounded::Forgetful;
use super::super::config::Bounds;
use super::super::json::Object;
use super::super::principal::Principal;
use super::super::refusal::{Code, Refusal, SOON, cut};
use super::super::send::{Cx, ReplyTo};
use super::super::session::not_yours;
use super::super::{Gateway, Timer};
use super::Ending;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names somebody who waits.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct WaitId(u64);

/// Who waits at this node, and what they would have been told had they asked later.
#[derive(Debug)]
pub(in super::super) struct Waits {
    waiting: BTreeMap<WaitId, Wait>,
    /// Those who wait for a run, in the order in which they came.
    of_run: BTreeMap<Arc<str>, Vec<WaitId>>,
    ended: Forgetful<Arc<str>, Ended>,
    next: u64,
}

#[derive(Debug)]
struct Wait {
    run: Arc<str>,
    to: ReplyTo,
    until: Instant,
}

/// The end of a run. Times are Unix milliseconds.
#[derive(Debug)]
struct Ended {
    owner: Arc<str>,
    state: &'static str,
    error: Option<String>,
    started: Option<u64>,
    at: u64,
}

/// Waits at one node at a time. A connection has at most as many as requests without an answer, but
/// one that has gone leaves its own until they end.
const MOST: usize = 4096;

/// Bytes of an agent's error that are kept.
const MAX_ERROR: usize = 256;

impl Waits {
    pub(in super::super) fn new(bounds: &Bounds) -> Self {
        Self {
            waiting: BTreeMap::new(),
            of_run: BTreeMap::new(),
            ended: Forgetful::new(bounds.remembered),
            next: 0,
        }
    }

    pub(in super::super) fn set_bounds(&mut self, bounds: &Bounds) {
        self.ended.set_limit(bounds.remembered);
    }

    fn remove(&mut self, id: WaitId) -> Option<Wait> {
        let wait = self.waiting.remove(&id)?;
        if let Some(ids) = self.of_run.get_mut(&wait.run) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.of_run.remove(&wait.run);
            }
        }
        Some(wait)
    }
}

impl Gateway {
    /// Answers when the run has ended, or with `timeout` when it has not by then. This is the run's
    /// node.
    pub(in super::super) fn wait_for(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        run: Arc<str>,
        within: Duration,
        to: ReplyTo,
    ) {
        let live = self.live.values().find(|live| live.has_run(&run)).map(|live| &live.owner);
        let ended = self.waits.ended.get(&run);
        let Some(owner) = live.or(ended.map(|ended| &ended.owner)) else {
            let text = format!(
                "run not found: {}; it ended too long ago, or before the gateway started: \
                 chat.history has what was said",
                cut(&run, 256)
            );
            return self.reply_error(cx, to, &Refusal::new(Code::NotFound, text));
        };
        if *owner != who.user && !who.role.sees_all() {
            return self.reply_error(cx, to, &not_yours());
        }
        if live.is_none() {
            return self.reply_ok(cx, to, |gateway, out| gateway.write_ended(out, &run));
        }
        if within.is_zero() {
            return self.reply_ok(cx, to, |_, out| write_timeout(out, &run));
        }
        if self.waits.waiting.len() >= MOST {
            let refusal = Refusal::exhausted("too many wait for runs of this node already", SOON);
            return self.reply_error(cx, to, &refusal);
        }
        self.taken(&to);
        let id = WaitId(self.waits.next);
        self.waits.next += 1;
        let until = cx.now + within;
        self.timers.insert((until, Timer::Wait(id)));
        self.waits.of_run.entry(run.clone()).or_default().push(id);
        self.waits.waiting.insert(id, Wait { run, to, until });
    }

    pub(in super::super) fn wait_expired(&mut self, cx: &mut Cx<'_>, id: WaitId) {
        if let Some(Wait { run, to, .. }) = self.waits.remove(id) {
            self.reply_ok(cx, to, |_, out| write_timeout(out, &run));
        }
    }

    /// A run of this owner has ended: tells those who wait, and those who will ask. `since`: when it
    /// began, if it did.
    pub(super) fn run_ended(
        &mut self,
        cx: &mut Cx<'_>,
        run: &Arc<str>,
        owner: &Arc<str>,
        since: Option<Instant>,
        ending: &Ending,
    ) {
        let error = match ending {
            Ending::Failed(failure) => Some(cut(&failure.error, MAX_ERROR).into()),
            _ => None,
        };
        let (owner, state, at) = (owner.clone(), ending.state(), self.ms(cx.now));
        let started = since.map(|since| self.ms(since));
        // A run that was begun again after a failure has one end: the last.
        self.waits.ended.remove(run);
        self.waits.ended.entry(run, || Ended { owner, state, error, started, at });
        for id in self.waits.of_run.remove(run).unwrap_or_default() {
            let Some(Wait { to, until, .. }) = self.waits.waiting.remove(&id) else { continue };
            self.timers.remove(&(until, Timer::Wait(id)));
            self.reply_ok(cx, to, |gateway, out| gateway.write_ended(out, run));
        }
    }

    fn write_ended(&self, out: &mut String, run: &Arc<str>) {
        let Some(ended) = self.waits.ended.get(run) else { return write_timeout(out, run) };
        let status = if ended.state == "completed" { "ok" } else { "error" };
        let mut object =
            Object::new(out).str("runId", run).str("status", status).str("state", ended.state);
        if let Some(started) = ended.started {
            object = object.num("startedAt", started);
        }
        object.num("endedAt", ended.at).maybe_str("error", ended.error.as_deref()).end();
    }
}

fn write_timeout(out: &mut String, run: &str) {
    Object::new(out).str("runId", run).str("status", "timeout").end();
}
