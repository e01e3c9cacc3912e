//! Deadlines: why each of them exists, and what happens when it is due.

use super::runs::WaitId;
use super::send::Cx;
use super::{CallId, ConnId, Gateway, JobId, LinkId};
use crate::frame::CloseCode;
use std::time::Instant;

/// Why a deadline exists.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
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
}
