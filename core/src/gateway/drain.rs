//! The end of a gateway, in order: nothing new is begun, what is under way ends, links are made
//! durable, connections are closed one batch after the other.

use super::bus::{BusMessage, NodeId, Route};
use super::conn::ConnId;
use super::jobs::Job;
use super::json::Object;
use super::link::LinkAt;
use super::ring::Event;
use super::send::Cx;
use super::work::StoreWork;
use super::{Gateway, Timer};
use crate::frame::CloseCode;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How a gateway ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Another gateway takes its place soon: clients are closed with 1012 `service restart` instead of
    /// 1001 `going away`.
    pub restart: bool,
    /// For people; goes to every client.
    pub reason: String,
    /// When clients may come back, from now on; each is told a time of its own in the second half of
    /// up to twice this, so that they do not come at once. `None`: unknown.
    pub restart_expected: Option<Duration>,
}

impl Drain {
    /// The gateway stops for good.
    pub fn stop(reason: &str) -> Self {
        Self { restart: false, reason: reason.into(), restart_expected: None }
    }
}

/// Connections that are closed at once, and how long until the next: the storm of those who come back
/// is as slow as this.
const BATCH: usize = 256;
const PACE: Duration = Duration::from_millis(20);

/// How long nodes may still say something after their runs should have ended.
const GRACE: Duration = Duration::from_secs(1);

/// Records in one piece of work.
const RECORDS: usize = 256;

pub(super) struct Draining {
    code: CloseCode,
    stage: Stage,
    /// When the stage is over, whatever is missing.
    due: Instant,
    /// Nodes that have no run any more.
    quiet: BTreeSet<NodeId>,
    /// Works of the store that make links durable.
    saving: usize,
    to_close: Vec<ConnId>,
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum Stage {
    /// Runs of this or another node are under way.
    Runs,
    /// They were stopped: what they say now still reaches its clients.
    LastCall,
    /// Links are made durable.
    Saving,
    Closing,
    Done,
}

impl Gateway {
    /// Ends the gateway in order: upgrades and requests are refused from now on, every client gets a
    /// `shutdown` event, runs may end within [`Bounds::drain_within`](super::Bounds::drain_within) and
    /// fail with `UNAVAILABLE` then, links are made durable, and connections are closed in batches. A second
    /// call changes nothing.
    pub fn drain(&mut self, now: Instant, drain: &Drain) {
        if self.draining.is_some() {
            return;
        }
        let cx = &mut Cx::at(now);
        let due = now + self.config.bounds().drain_within;
        self.draining = Some(Draining {
            code: if drain.restart { CloseCode::RESTART } else { CloseCode::GOING_AWAY },
            stage: Stage::Runs,
            due,
            quiet: std::mem::take(&mut self.quiet_before),
            saving: 0,
            to_close: Vec::new(),
        });
        self.timers.insert((due, Timer::Drain));
        let conns: Vec<_> = self.conns.keys().copied().collect();
        for conn in conns {
            let local = self.is_local(conn);
            let payload = self.farewell(drain);
            match self.conns.get(&conn).and_then(|state| state.link) {
                Some(LinkAt::Here(link)) => {
                    self.link_event(cx, link, Event::plain("shutdown", &payload));
                }
                Some(LinkAt::There(..)) => self.send_unnumbered(cx, conn, "shutdown", &payload),
                // A request whose run may still end.
                None if self.completions.has(conn) => {}
                // Workers may end what they have.
                None if self.is_worker(conn) => {
                    self.send_unnumbered(cx, conn, "shutdown", &payload);
                }
                // The host itself may, to see how it goes.
                None if local => {}
                // Who is not logged in cannot log in any more.
                None => {
                    self.send_unnumbered(cx, conn, "shutdown", &payload);
                    self.close_for_drain(cx, conn);
                }
            }
        }
        self.drain_on(cx);
    }

    fn farewell(&mut self, drain: &Drain) -> String {
        let mut payload = String::new();
        let object = Object::new(&mut payload).str("reason", &drain.reason);
        match drain.restart_expected {
            None => object.raw("restartExpectedMs", "null").end(),
            Some(expected) => {
                let expected = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX / 2);
                let random = self.random();
                let random =
                    u64::from_be_bytes([0, 0, 0, 0, random[0], random[1], random[2], random[3]]);
                object.num("restartExpectedMs", expected + random % expected.max(1)).end();
            }
        }
        payload
    }

    /// Whether nothing is left to be done: connections may still be closing.
    pub fn is_drained(&self) -> bool {
        self.draining.as_ref().is_some_and(|draining| draining.stage == Stage::Done)
    }

    /// Whether links take nothing in any more: what is made durable must stay as it is.
    pub(super) fn is_frozen(&self) -> bool {
        let runs_may_end = |stage| matches!(stage, Stage::Runs | Stage::LastCall);
        self.draining.as_ref().is_some_and(|draining| !runs_may_end(draining.stage))
    }

    /// Goes on as far as it can. Called whenever a run, a job or the time has ended.
    pub(super) fn drain_on(&mut self, cx: &mut Cx<'_>) {
        let Some(draining) = &self.draining else { return };
        match draining.stage {
            Stage::Runs | Stage::LastCall => {
                let own = self.node.id();
                let is_quiet = self.live.is_empty()
                    && self.calls.is_empty()
                    && self.store_jobs.is_empty()
                    && self.completions.is_empty()
                    && !self.openclaw.is_busy();
                if is_quiet && !draining.quiet.contains(&own) {
                    self.publish(Route::Others, BusMessage::Quiet { node: own });
                    self.now_quiet(own);
                }
                let all = self.draining.as_ref().map(|draining| draining.quiet.len());
                if all == Some(usize::from(self.node.count)) {
                    self.save_links(cx);
                }
            }
            Stage::Saving if draining.saving == 0 => self.begin_closing(cx),
            Stage::Saving | Stage::Closing | Stage::Done => {}
        }
    }

    /// A node has no run any more, and no answer to give.
    pub(super) fn now_quiet(&mut self, node: NodeId) {
        match &mut self.draining {
            Some(draining) => {
                draining.quiet.insert(node);
            }
            // It began to drain before this node.
            None => {
                self.quiet_before.insert(node);
            }
        }
    }

    pub(super) fn drain_due(&mut self, cx: &mut Cx<'_>) {
        let Some(draining) = &mut self.draining else { return };
        match draining.stage {
            Stage::Runs => {
                draining.stage = Stage::LastCall;
                self.stage_ends(cx.now + GRACE);
                self.stop_all(cx);
            }
            Stage::LastCall => self.save_links(cx),
            Stage::Saving => self.begin_closing(cx),
            Stage::Closing => self.close_some(cx),
            Stage::Done => {}
        }
    }

    /// From now on this is when [`Gateway::drain_due`] goes on.
    fn stage_ends(&mut self, at: Instant) {
        if let Some(draining) = &mut self.draining {
            self.timers.remove(&(draining.due, Timer::Drain));
            draining.due = at;
            self.timers.insert((at, Timer::Drain));
        }
    }

    fn save_links(&mut self, cx: &mut Cx<'_>) {
        let at = self.ms(cx.now);
        let expires =
            at + u64::try_from(self.config.bounds().resume_within.as_millis()).unwrap_or(0);
        let records = self.links.save(expires);
        let Some(draining) = &mut self.draining else { return };
        draining.stage = Stage::Saving;
        draining.saving = records.len().div_ceil(RECORDS);
        self.stage_ends(cx.now + self.config.bounds().drain_within);
        for batch in records.chunks(RECORDS) {
            self.start_store(cx, StoreWork::Put { records: batch.to_vec(), at }, Job::SaveLinks);
        }
        self.drain_on(cx);
    }

    /// Some links are durable, or cannot be: then their clients will be told of a gap.
    pub(super) fn links_saved(&mut self, cx: &mut Cx<'_>) {
        if let Some(draining) = &mut self.draining {
            draining.saving = draining.saving.saturating_sub(1);
        }
        self.drain_on(cx);
    }

    fn begin_closing(&mut self, cx: &mut Cx<'_>) {
        if let Some(draining) = &mut self.draining {
            draining.stage = Stage::Closing;
            let to_close = self.conns.iter().filter(|(_, conn)| !conn.local);
            draining.to_close = to_close.map(|(id, _)| *id).collect();
        }
        self.close_some(cx);
    }

    fn close_some(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..BATCH {
            let Some(draining) = &mut self.draining else { return };
            let Some(conn) = draining.to_close.pop() else {
                draining.stage = Stage::Done;
                return;
            };
            let code = draining.code;
            let reason = if code == CloseCode::RESTART { "service restart" } else { "going away" };
            self.close(cx, conn, code, reason, None);
        }
        self.stage_ends(cx.now + PACE);
    }

    fn close_for_drain(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let code = self.draining.as_ref().map_or(CloseCode::GOING_AWAY, |draining| draining.code);
        let reason = if code == CloseCode::RESTART { "service restart" } else { "going away" };
        self.close(cx, conn, code, reason, None);
    }
}
