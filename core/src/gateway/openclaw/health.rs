//! `health` and `status`, and the event that tells everybody that all is well.
//!
//! What they say of sessions is what the caller may see: everybody's for an admin, else their own.
//!
//! ```text
//! a client comes ──▶ in a second ─┐
//!                                 ├─▶ each user's sessions are counted, one user after the other ──▶ event
//! every minute ───────────────────┘
//! ```

use super::super::Gateway;
use super::super::Timer;
use super::super::jobs::{Job, unavailable};
use super::super::json::{self, Object};
use super::super::link::{Dialect, LinkId};
use super::super::ring::Event;
use super::super::send::{Cx, ReplyTo};
use super::super::work::{Listed, SessionFilter, StoreOutcome, StoreWork};
use super::answers::{PROVIDER, session_id};
use super::browse::Browse;
use super::connect_params::PeerRole;
use super::dispatch::{Call, Done};
use super::scopes::Scopes;
use super::sessions::owner_of;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often everybody is told: what clients expect.
const EVERY: Duration = Duration::from_secs(60);

/// How soon a client that has come is told, if it is still there: a command that asks one thing is not.
const AFTER: Duration = Duration::from_secs(1);

/// Sessions that are told beside their number.
const RECENT: usize = 10;

/// How many sessions each agent has.
type Counts = Vec<(Arc<str>, u64)>;

/// Whose sessions somebody sees: none are all.
type Viewer = Option<Arc<str>>;

/// An answer that is being put together.
#[derive(Debug)]
pub(in crate::gateway) struct Summary {
    status: bool,
    viewer: Viewer,
    /// The caller may see which sessions there are, not only how many.
    reads: bool,
    counts: Option<Counts>,
}

/// What is known of a viewer's sessions.
struct Sessions<'a> {
    counts: &'a Counts,
    recent: &'a [Listed],
}

/// Who is to be told, and when.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    timer: Option<Instant>,
    /// When everybody is.
    next: Option<Instant>,
    waiting: BTreeSet<Viewer>,
    /// Somebody's sessions are being counted.
    counting: bool,
    /// What was told last, of those who are there.
    known: BTreeMap<Viewer, Counts>,
}

pub(super) fn health(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    begin(gateway, cx, call, false)
}

pub(super) fn status(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    begin(gateway, cx, call, true)
}

fn begin(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>, status: bool) -> Done {
    let (viewer, reads) = (owner_of(call), call.scopes.allows(Scopes::READ));
    if let Some(to) = call.to.take() {
        let work = StoreWork::Count { owner: viewer.clone() };
        let browse = Browse::Summary(Summary { status, viewer, reads, counts: None });
        gateway.start_store(cx, work, Job::Browse { to, browse });
    }
    Ok(())
}

impl Gateway {
    /// A piece of it is known: asks for the next one, or answers.
    pub(super) fn summarize(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        mut summary: Summary,
        outcome: StoreOutcome,
    ) {
        let recent = match (outcome, &mut summary.counts) {
            (StoreOutcome::Counted(counts), known @ None) => {
                *known = Some(counts);
                if summary.reads {
                    let owner = summary.viewer.clone();
                    let filter = SessionFilter { owner, ..SessionFilter::default() };
                    let work = StoreWork::List { filter, texts: false, limit: RECENT, offset: 0 };
                    let browse = Browse::Summary(summary);
                    self.start_store(cx, work, Job::Browse { to, browse });
                    return;
                }
                Vec::new()
            }
            (StoreOutcome::List { sessions, .. }, Some(_)) => sessions,
            _ => return self.reply_error(cx, to, &unavailable()),
        };
        let now = cx.now;
        let counts = summary.counts.unwrap_or_default();
        let sessions = Sessions { counts: &counts, recent: &recent };
        self.reply_ok(cx, to, |gateway, out| match summary.status {
            true => gateway.write_openclaw_status(out, now, &sessions),
            false => gateway.write_health(out, now, &sessions),
        });
    }

    /// What is known at once: of sessions what was told last, or none; clients that stay are told in a second.
    pub(super) fn write_openclaw_health(&self, out: &mut String, now: Instant, viewer: &Viewer) {
        let none = Counts::new();
        let counts = self.openclaw.pulse.known.get(viewer).unwrap_or(&none);
        self.write_health(out, now, &Sessions { counts, recent: &[] });
    }

    fn write_health(&self, out: &mut String, now: Instant, sessions: &Sessions<'_>) {
        let (agent, now_ms) = (self.default_agent(), self.ms(now));
        let mut object = Object::new(out)
            .bool("ok", self.store_works(now))
            .num("ts", now_ms)
            .num("durationMs", 0)
            .raw("channels", "{}")
            .raw("channelOrder", "[]")
            .raw("channelLabels", "{}")
            .num("heartbeatSeconds", 0)
            .str("defaultAgentId", agent)
            .list("agents", &self.config.raw.agents, |out, known| {
                let id = self.agent_shown(&known.id);
                let mut object = Object::new(out)
                    .str("agentId", id)
                    .str("name", &known.name)
                    .bool("isDefault", id == agent);
                object = object.object("heartbeat", no_heartbeat);
                sessions.write_ages(object.key("sessions"), Some(&known.id), now_ms);
                object.end();
            });
        sessions.write_ages(object.key("sessions"), None, now_ms);
        object.end();
    }

    fn write_openclaw_status(&self, out: &mut String, now: Instant, sessions: &Sessions<'_>) {
        let (agent, now_ms) = (self.default_agent(), self.ms(now));
        let rows = |out: &mut String, agent: Option<&str>| {
            json::list(out, sessions.recent_of(agent), |out, row| {
                self.write_status_row(out, row, now_ms);
            });
        };
        Object::new(out)
            .str("runtimeVersion", &self.config.raw.version)
            .object("heartbeat", |o| {
                o.str("defaultAgentId", agent).list(
                    "agents",
                    &self.config.raw.agents,
                    |out, known| {
                        let object = Object::new(out).str("agentId", self.agent_shown(&known.id));
                        no_heartbeat(object).end();
                    },
                )
            })
            .raw("channelSummary", "[]")
            .raw("queuedSystemEvents", "[]")
            .object("sessions", |mut o| {
                o = o
                    .raw("paths", "[]")
                    .num("count", sessions.count_of(None))
                    .object("defaults", |o| o.str("model", PROVIDER).raw("contextTokens", "null"));
                rows(o.key("recent"), None);
                o.list("byAgent", &self.config.raw.agents, |out, known| {
                    let mut object = Object::new(out)
                        .str("agentId", self.agent_shown(&known.id))
                        .str("path", "")
                        .num("count", sessions.count_of(Some(&known.id)));
                    rows(object.key("recent"), Some(&known.id));
                    object.end();
                })
            })
            .end();
    }

    fn write_status_row(&self, out: &mut String, row: &Listed, now_ms: u64) {
        Object::new(out)
            .str("agentId", self.agent_of_session(&row.info))
            .str("key", &row.info.key)
            .str("kind", "direct")
            .str("sessionId", &session_id(&row.info.key))
            .num("updatedAt", row.info.updated)
            .num("age", now_ms.saturating_sub(row.info.updated))
            .maybe_str("label", row.info.label.as_deref())
            .str("model", PROVIDER)
            .raw("totalTokens", "null")
            .raw("remainingTokens", "null")
            .raw("percentUsed", "null")
            .raw("contextTokens", "null")
            .raw("flags", "[]")
            .end();
    }

    // --- the event -----------------------------------------------------------------------------------

    /// A client has come.
    pub(super) fn health_soon(&mut self, now: Instant, viewer: Viewer) {
        let next = *self.openclaw.pulse.next.get_or_insert(now + EVERY);
        self.openclaw.pulse.waiting.insert(viewer);
        self.arm_health(next.min(now + AFTER));
    }

    /// One timer for all, and none while nobody is there.
    fn arm_health(&mut self, at: Instant) {
        if self.openclaw.pulse.timer.is_some_and(|armed| armed <= at) {
            return;
        }
        if let Some(armed) = self.openclaw.pulse.timer.replace(at) {
            self.timers.remove(&(armed, Timer::Health));
        }
        self.timers.insert((at, Timer::Health));
    }

    pub(in crate::gateway) fn health_due(&mut self, cx: &mut Cx<'_>) {
        self.openclaw.pulse.timer = None;
        let viewers: BTreeSet<_> = self.operators().map(|(_, viewer)| viewer).collect();
        let pulse = &mut self.openclaw.pulse;
        if viewers.is_empty() {
            (pulse.next, pulse.waiting, pulse.known) = Default::default();
            return;
        }
        pulse.known.retain(|viewer, _| viewers.contains(viewer));
        let next = match pulse.next {
            Some(next) if cx.now < next => {
                pulse.waiting.retain(|viewer| viewers.contains(viewer));
                next
            }
            _ => {
                pulse.waiting = viewers;
                cx.now + EVERY
            }
        };
        pulse.next = Some(next);
        self.arm_health(next);
        self.count_next(cx);
    }

    fn count_next(&mut self, cx: &Cx<'_>) {
        let pulse = &mut self.openclaw.pulse;
        if pulse.counting {
            return;
        }
        let Some(viewer) = pulse.waiting.pop_first() else { return };
        pulse.counting = true;
        let work = StoreWork::Count { owner: viewer.clone() };
        self.start_store(cx, work, Job::Health { viewer });
    }

    /// Sessions were counted, or could not be.
    pub(in crate::gateway) fn health_counted(
        &mut self,
        cx: &mut Cx<'_>,
        viewer: &Viewer,
        outcome: Option<StoreOutcome>,
    ) {
        self.openclaw.pulse.counting = false;
        // That the store fails is news, too.
        if let Some(StoreOutcome::Counted(counts)) = outcome {
            self.openclaw.pulse.known.insert(viewer.clone(), counts);
        }
        let mut payload = String::new();
        self.write_openclaw_health(&mut payload, cx.now, viewer);
        self.openclaw.health_told();
        let event = Event::plain("health", &payload);
        let links: Vec<_> = match viewer {
            Some(user) => {
                let mut after = None;
                let of_user = std::iter::from_fn(|| {
                    after = self.links.next_of(user, after);
                    after
                });
                of_user.filter(|link| self.operator(*link).as_ref() == Some(viewer)).collect()
            }
            None => {
                let of_all = self.operators().filter(|(_, own)| own.is_none());
                of_all.map(|(link, _)| link).collect()
            }
        };
        for link in links {
            self.push_event(cx, link, event.clone());
        }
        self.count_next(cx);
    }

    /// The links of operators, and whose sessions each of them sees.
    fn operators(&self) -> impl Iterator<Item = (LinkId, Viewer)> + '_ {
        self.links.iter().filter_map(|(id, _)| Some((id, self.operator(id)?)))
    }

    fn operator(&self, id: LinkId) -> Option<Viewer> {
        let link = self.links.get(id)?;
        let Dialect::OpenClaw(_) = link.dialect else { return None };
        let conn = self.conns.get(&link.conn()?)?;
        let is_operator = conn.openclaw.as_ref()?.role == PeerRole::Operator;
        let who = conn.principal.as_ref().filter(|_| is_operator)?;
        Some((!who.role.sees_all()).then(|| who.user.clone()))
    }
}

impl Sessions<'_> {
    fn count_of(&self, agent: Option<&str>) -> u64 {
        let counts = self.counts.iter();
        counts.filter(|(id, _)| agent.is_none_or(|agent| **id == *agent)).map(|(_, n)| n).sum()
    }

    fn recent_of<'a>(&'a self, agent: Option<&'a str>) -> impl Iterator<Item = &'a Listed> {
        let rows = self.recent.iter();
        rows.filter(move |row| agent.is_none_or(|agent| *row.info.agent == *agent))
    }

    fn write_ages(&self, out: &mut String, agent: Option<&str>, now_ms: u64) {
        Object::new(out)
            .str("path", "")
            .num("count", self.count_of(agent))
            .list("recent", self.recent_of(agent), |out, row| {
                Object::new(out)
                    .str("key", &row.info.key)
                    .num("updatedAt", row.info.updated)
                    .num("age", now_ms.saturating_sub(row.info.updated))
                    .end();
            })
            .end();
    }
}

/// Agents here are asked, they do not ask by themselves.
fn no_heartbeat(object: Object<'_>) -> Object<'_> {
    object
        .bool("enabled", false)
        .str("every", "disabled")
        .raw("everyMs", "null")
        .str("prompt", "")
        .str("target", "none")
        .num("ackMaxChars", 0)
}
