//! Runs at the loop of a worker's connection: told to it, passed on from it, stopped.

use super::super::bus::NodeId;
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::refusal::{Code, Refusal, SOON, cut};
use super::super::retained::{ENTRY, Held};
use super::super::send::{Cx, ReplyTo};
use super::super::work::{JobId, Message, Outcome, Run};
use super::super::{Gateway, agent_work::RunFailure};
use super::news::WorkerNews;
use super::roster::Worker;
use super::saying::Said;
use super::transit::{self, Transit, WINDOW};
use std::sync::Arc;
use std::time::Duration;

/// A run that a worker of this loop was given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) conn: ConnId,
    /// Where the run is, and what it is there.
    home: NodeId,
    job: JobId,
    /// For whom what is kept of it counts.
    user: Arc<str>,
    /// What the answer goes on with. Only while [`WINDOW`] messages are on their way to its home.
    pending: String,
    held: Held,
}

/// How a run ended for its worker: one word, for whoever says something of it later.
pub(super) type Ended = &'static str;

/// Runs that have ended, of which each worker is told so.
const REMEMBERED: usize = 64;

/// What comes of an offer.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Taking {
    /// The worker was told.
    Taken,
    /// It has no room, or is gone.
    Refused,
    /// No message can be so large.
    TooLarge,
}

impl Gateway {
    /// Gives a run to a worker of this loop, if it has room for it.
    pub(super) fn take_run(
        &mut self,
        cx: &mut Cx<'_>,
        (home, job): (NodeId, JobId),
        (conn, login): (ConnId, u64),
        run: &Run,
        attempt: u32,
    ) -> Taking {
        let at = (self.node.id(), conn);
        let is_meant = |worker: &Worker| worker.login == login && worker.has_room();
        if !self.workers.roster.get(at).is_some_and(is_meant) {
            return Taking::Refused;
        }
        let mut payload = String::new();
        write_run(&mut payload, run, attempt, self.config.bounds().run_within);
        let most = self.config.raw.limits.outbox as usize;
        if payload.len() + ENTRY > most {
            return Taking::TooLarge;
        }
        let queued = self.conns.get(&conn).and_then(|state| state.queued.as_ref());
        let queued = queued.map_or(0, Held::bytes);
        if queued > 0 && queued + payload.len() > most / 2 {
            // One message more could end its connection.
            self.change_worker(cx, conn, |worker| worker.blocked = true);
            return Taking::Refused;
        }
        let held = self.retained.hold(&run.user, ENTRY);
        let (user, pending) = (run.user.clone(), String::new());
        let given = Given { conn, home, job, user, pending, held };
        debug_assert!(!self.workers.given.contains_key(&run.run), "a run is given once at a time");
        self.workers.given.insert(run.run.clone(), given);
        self.send_unnumbered(cx, conn, "run.start", &payload);
        self.change_worker(cx, conn, |worker| worker.active += 1);
        Taking::Taken
    }

    /// A worker's connection has taken all that was queued for it.
    pub(in crate::gateway) fn worker_flushed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let at = (self.node.id(), conn);
        if self.workers.roster.get(at).is_some_and(|worker| worker.blocked) {
            self.change_worker(cx, conn, |worker| worker.blocked = false);
        }
    }

    // --- what it says ------------------------------------------------------------------------------

    /// The run that a worker means by a name.
    ///
    /// # Errors
    /// It has no such run, or no more.
    pub(super) fn given_to(&self, to: Option<&ReplyTo>, name: &str) -> Result<Arc<str>, Refusal> {
        let Some(ReplyTo::Local { conn, .. }) = to else {
            return Err(Refusal::new(Code::Internal, "the connection is gone"));
        };
        let shown = cut(name, 128);
        let details = |refusal: Refusal| refusal.details(|o| o.str("runId", shown));
        match self.workers.given.get_key_value(name) {
            Some((run, given)) if given.conn == *conn => return Ok(run.clone()),
            Some(_) => {
                let text = format!("run {shown} was given to another worker");
                return Err(details(Refusal::new(Code::Forbidden, text)));
            }
            None => {}
        }
        let ended = self.workers.ended.get(conn).into_iter().flatten();
        let ended = ended.rev().find(|(run, _)| **run == *name);
        Err(details(match ended {
            Some((_, how)) => {
                let text = format!("run {shown} has ended for this worker: {how}");
                Refusal::new(Code::FailedPrecondition, text)
            }
            None => {
                let text = format!("this worker was not given a run {shown}, or long ago");
                Refusal::new(Code::NotFound, text)
            }
        }))
    }

    /// Passes on what a worker says of a run that it has. Pieces of the answer that cannot go now are
    /// merged.
    ///
    /// # Errors
    /// The run says more than can be passed on; it has failed by that.
    pub(super) fn pass_on(
        &mut self,
        cx: &mut Cx<'_>,
        run: &Arc<str>,
        said: Said,
    ) -> Result<(), Refusal> {
        let own = self.node.id();
        let most = self.config.bounds().answer_bytes;
        let Some(given) = self.workers.given.get(run) else { return Ok(()) };
        if given.home == own {
            let (conn, job) = (given.conn, given.job);
            self.worker_said(cx, (own, conn), (job, run), said);
            return Ok(());
        }
        let transit = self.workers.transit.get(run);
        let (messages, bytes) = transit.map_or((0, 0), |t| (t.messages(), t.bytes()));
        let more = said.bytes();
        let merged = match &said {
            // What makes the answer longer than it may be is its home's to see.
            Said::Outcome(Outcome::Chunk(text))
                if messages >= WINDOW && bytes + given.pending.len() + more <= most =>
            {
                Some(text)
            }
            _ => None,
        };
        let is_flood = said.end().is_none() && (messages >= transit::MOST || bytes > most);
        let room = if merged.is_some() {
            self.room_for(&given.user, more)
        } else if is_flood {
            let text = "the agent says more pieces at once than the gateway can pass on";
            Err(Refusal::exhausted(text, SOON))
        } else {
            let entries = if given.pending.is_empty() { 1 } else { 2 };
            self.room_for(&given.user, more + entries * ENTRY)
        };
        if let Err(refusal) = room {
            // The worker was told that this was taken.
            self.send_pending(run);
            let failure = RunFailure::new(refusal.code, refusal.message()).retry_after(SOON);
            // It has the room that the run itself had here until now.
            self.send_home_said(run, Said::Outcome(Outcome::Failed(failure)), 0);
            self.given_over(cx, run, "failed");
            return Err(refusal);
        }
        if let Some(text) = merged
            && let Some(given) = self.workers.given.get_mut(run)
        {
            given.pending.push_str(text);
            given.held.set(ENTRY + given.pending.len());
            return Ok(());
        }
        self.send_pending(run);
        self.send_home_said(run, said, more);
        Ok(())
    }

    fn send_pending(&mut self, run: &Arc<str>) {
        let Some(given) = self.workers.given.get_mut(run) else { return };
        if !given.pending.is_empty() {
            let text = std::mem::take(&mut given.pending);
            given.held.set(ENTRY);
            let bytes = text.len();
            self.send_home_said(run, Said::Outcome(Outcome::Chunk(text)), bytes);
        }
    }

    /// It counts as so many bytes until it has been taken.
    fn send_home_said(&mut self, run: &Arc<str>, said: Said, bytes: usize) {
        let from = self.node.id();
        let Some(Given { conn, home, job, user, .. }) = self.workers.given.get(run) else { return };
        let (conn, home, job) = (*conn, *home, *job);
        let transit = self.workers.transit.entry(run.clone());
        let transit = transit.or_insert_with(|| Transit::new(home, self.retained.hold(user, 0)));
        transit.push(bytes);
        self.tell_loop(home, WorkerNews::Said { from, conn, job, run: run.clone(), said });
    }

    /// The run's home has taken so many messages.
    pub(super) fn worker_heard(&mut self, run: &Arc<str>, count: usize) {
        let Some(transit) = self.workers.transit.get_mut(run) else { return };
        if transit.take(count) {
            self.workers.transit.remove(run);
        }
        self.send_pending(run);
    }

    // --- endings -----------------------------------------------------------------------------------

    /// A worker has a place more, and is not asked about this run again.
    pub(super) fn given_over(&mut self, cx: &mut Cx<'_>, run: &Arc<str>, how: Ended) {
        let Some(Given { conn, .. }) = self.workers.given.remove(run) else { return };
        let ended = self.workers.ended.entry(conn).or_default();
        ended.push_back((run.clone(), how));
        if ended.len() > REMEMBERED {
            ended.pop_front();
        }
        self.change_worker(cx, conn, |worker| worker.active = worker.active.saturating_sub(1));
    }

    /// A run was stopped, or its home does not know it any more: its worker is told.
    pub(super) fn cancel_given(
        &mut self,
        cx: &mut Cx<'_>,
        (home, conn): (NodeId, ConnId),
        run: &Arc<str>,
        why: &str,
    ) {
        let is_meant = |given: &Given| given.home == home && given.conn == conn;
        if !self.workers.given.get(run).is_some_and(is_meant) {
            // It ended by itself.
            return;
        }
        let mut payload = String::new();
        Object::new(&mut payload).str("runId", run).str("reason", why).end();
        self.send_unnumbered(cx, conn, "run.cancel", &payload);
        self.given_over(cx, run, "cancelled");
    }

    /// Runs of a loop that has begun anew: it does not know them.
    pub(super) fn cancel_given_of(&mut self, cx: &mut Cx<'_>, home: NodeId) {
        self.workers.transit.retain(|_, transit| transit.home() != home);
        let given = self.workers.given.iter().filter(|(_, given)| given.home == home);
        let given: Vec<_> = given.map(|(run, given)| (run.clone(), given.conn)).collect();
        for (run, conn) in given {
            self.cancel_given(cx, (home, conn), &run, "lost");
        }
    }
}

/// The payload of `run.start`.
fn write_run(out: &mut String, run: &Run, attempt: u32, within: Duration) {
    let paths = |out: &mut String, path: &Arc<str>| json::string(out, path);
    let message = |out: &mut String, message: &Message| {
        let mut object = Object::new(out)
            .str("id", &message.id.to_string())
            .str("role", message.author.as_str())
            .str("content", &message.text)
            .maybe_str("label", message.label.as_deref());
        if !message.media.is_empty() {
            object = object.list("media", &message.media, paths);
        }
        object.num("ts", message.at).end();
    };
    Object::new(out)
        .str("runId", &run.run)
        .str("agentId", &run.agent)
        .str("sessionKey", &run.session)
        .str("userId", &run.user)
        .num("attempt", u64::from(attempt))
        .num("withinMs", u64::try_from(within.as_millis()).unwrap_or(u64::MAX))
        .maybe_str("instructions", run.instructions.as_deref())
        .str("message", &run.message)
        .list("media", &run.media, paths)
        .list("history", &run.history, message)
        .end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_told_of_instructions_where_there_are_some() {
        let mut run = Run {
            run: "r".into(),
            agent: "a".into(),
            session: "s".into(),
            user: "u".into(),
            message: "hello".into(),
            media: Vec::new(),
            history: Vec::new(),
            instructions: Some("be brief".into()),
        };
        let mut text = String::new();
        write_run(&mut text, &run, 1, Duration::from_secs(1));
        assert!(text.contains(r#""instructions":"be brief","message":"hello""#), "{text}");
        run.instructions = None;
        text.clear();
        write_run(&mut text, &run, 1, Duration::from_secs(1));
        assert!(!text.contains("instructions"), "{text}");
    }
}
