//! Stopping runs and turns that wait: because somebody asks for it, because their session is to lose what was
//! said, because the gateway stops.

use super::super::Gateway;
use super::super::agent_work::RunFailure;
use super::super::json::{self, Object};
use super::super::principal::Principal;
use super::super::refusal::Code;
use super::super::send::{Cx, ReplyTo};
use super::super::session::{Op, Session};
use super::audience::Which;
use super::turn::Name;
use super::{Ending, Stage, Turn};
use std::sync::Arc;

/// A run that was stopped.
struct Stopped {
    run: Arc<str>,
    key: Option<Arc<str>>,
}

impl Stopped {
    fn of(turn: &Turn) -> Self {
        Self { run: turn.run.clone(), key: turn.once.as_ref().map(|once| once.key.1.clone()) }
    }
}

/// Why runs are stopped.
#[derive(Debug, Copy, Clone)]
enum Why {
    /// Somebody wants it, or what was said is to go.
    Asked,
    /// The gateway ends before their agents have answered. That is nobody's wish: whoever asks the next one
    /// again, with the same key, has the same run.
    Leaving,
}

impl Why {
    fn ending(self) -> Ending {
        match self {
            Self::Asked => Ending::Cancelled,
            Self::Leaving => {
                let text = "the gateway stopped before the agent had answered";
                Ending::Failed(RunFailure::new(Code::Unavailable, text))
            }
        }
    }

    /// What workers are told.
    fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "stopped",
            Self::Leaving => "shutdown",
        }
    }
}

impl Gateway {
    /// `chat.abort` for a session: stops the run, and without a run id also the turns that wait.
    pub(in super::super) fn abort(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Session,
        run: Option<&str>,
        to: ReplyTo,
    ) {
        let stopped = self.stop(cx, &session.key, run, Why::Asked);
        self.reply_ok(cx, to, |_, out| write_abort(out, &stopped));
    }

    /// `chat.abort` with nothing but a run id, for those who see all.
    pub(in super::super) fn abort_by_run(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        op: &Op,
        to: ReplyTo,
    ) {
        let Op::Abort { run: Some(run), .. } = op else { return };
        debug_assert!(who.role.sees_all(), "the handler refused everybody else");
        let session =
            self.live.iter().find(|(_, live)| live.has_run(run)).map(|(key, _)| key.clone());
        let stopped = match session {
            Some(session) => self.stop(cx, &session, Some(run), Why::Asked),
            None => Vec::new(),
        };
        self.reply_ok(cx, to, |_, out| write_abort(out, &stopped));
    }

    /// Stops runs and turns of a session; gives their names.
    fn stop(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        run: Option<&str>,
        why: Why,
    ) -> Vec<Stopped> {
        let mut stopped = Vec::new();
        let is_meant = |turn: &Turn| run.is_none_or(|run| turn.name().is(run));
        // The waiting turns first, or the next would start.
        let mut at = 0;
        loop {
            let Some(live) = self.live.get_mut(session) else { return stopped };
            let Some(turn) = live.queue.get(at) else { break };
            if !is_meant(turn) {
                at += 1;
                continue;
            }
            let ending = why.ending();
            self.turn_event(cx, session, Which::Queued(at), ending.state(), ending.failure());
            let Some(live) = self.live.get_mut(session) else { return stopped };
            if let Some(turn) = live.queue.remove(at) {
                live.waiting_bytes -= turn.text.len();
                let owner = live.owner.clone();
                self.run_ended(cx, &turn.run, &owner, None, &ending);
                if let Some(once) = &turn.once {
                    let body = ending.body(&turn.name(), session);
                    self.idempotency.ended(&once.key, &body);
                }
                stopped.push(Stopped::of(&turn));
            }
        }
        let Some(live) = self.live.get(session) else { return stopped };
        // What is said and only has to be stored cannot be stopped.
        if let Some(state) = &live.run
            && state.stage != Stage::Saving
            && is_meant(&state.turn)
        {
            let (job, working) = (state.job, state.stage == Stage::Working);
            stopped.insert(0, Stopped::of(&state.turn));
            self.drop_job(job);
            if working {
                self.stop_work(cx, job, why.as_str());
            }
            self.end_run(cx, session, why.ending());
        }
        stopped
    }

    /// The session is about to lose what was said: nothing of it shall be answered any more. An answer
    /// that is being stored cannot be stopped; it is there before whatever is asked of the store next.
    pub(in super::super) fn dismiss(&mut self, cx: &mut Cx<'_>, session: &Arc<str>) {
        self.stop(cx, session, None, Why::Asked);
        if let Some(live) = self.live.get_mut(session) {
            live.dismissed = live.appending;
        }
    }

    /// The gateway stops: so do all runs.
    pub(in super::super) fn stop_all(&mut self, cx: &mut Cx<'_>) {
        let sessions: Vec<_> = self.live.keys().cloned().collect();
        for session in sessions {
            self.stop(cx, &session, None, Why::Leaving);
        }
    }
}

/// The answer of the base dialect; `ok` says that the request was understood.
fn write_abort(out: &mut String, stopped: &[Stopped]) {
    let any = !stopped.is_empty();
    Object::new(out)
        .bool("ok", true)
        .bool("aborted", any)
        .bool("stopped", any)
        .bool("forced", false)
        .bool("alreadyAborting", false)
        .bool("notFound", !any)
        .bool("unauthorized", false)
        .list("runIds", stopped, |out, run| json::string(out, &run.run))
        .list("runs", stopped, |out, Stopped { run, key }| {
            Name { run, key: key.as_deref() }.write(Object::new(out)).end();
        })
        .end();
}
