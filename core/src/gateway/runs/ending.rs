//! How runs end, and what is told and kept of that.

use super::super::Gateway;
use super::super::agent_work::{RunFailure, StopReason};
use super::super::fact::Fact;
use super::super::idempotency::Key;
use super::super::jobs::Job;
use super::super::json::Object;
use super::super::refusal::{Code, Refusal};
use super::super::request::RunEnd;
use super::super::send::{Body, Cx};
use super::super::work::{StoreWork, Usage};
use super::RunState;
use super::audience::Which;
use super::turn::Name;
use std::sync::Arc;

/// How a run ended.
pub(super) enum Ending {
    Completed { content: String, usage: Usage, stop: StopReason, message: u64 },
    Failed(RunFailure),
    Cancelled,
}

impl Ending {
    /// It failed for something that may be otherwise in a moment.
    pub(super) fn is_passing(&self) -> bool {
        let passing = [Code::Unavailable, Code::ResourceExhausted];
        matches!(self, Self::Failed(failure) if passing.contains(&failure.code))
    }

    pub(super) fn failure(&self) -> Option<&RunFailure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Completed { .. } | Self::Cancelled => None,
        }
    }

    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The answer to the request whose run ended like this.
    pub(super) fn body(self, run: &Name<'_>, session: &str) -> Body {
        match self {
            Self::Completed { content, usage, stop, message } => Body::ok(|o| {
                run.write(o)
                    .str("sessionKey", session)
                    .str("content", &content)
                    .object("usage", |o| write_usage(o, usage))
                    .str("messageId", &message.to_string())
                    .maybe_str("stopReason", stop.cut_short())
            }),
            Self::Failed(failure) => {
                let text = format!("run failed: {}", failure.error);
                let refusal = Refusal::of_run(&failure, text);
                refusal.details(|o| run.write(o).str("sessionKey", session)).into()
            }
            Self::Cancelled => {
                Body::ok(|o| run.write(o).str("sessionKey", session).bool("cancelled", true))
            }
        }
    }
}

impl From<RunEnd> for Ending {
    fn from(end: RunEnd) -> Self {
        match end {
            RunEnd::Completed { message, content, usage, stop } => {
                Self::Completed { content: content.as_ref().into(), usage, stop, message }
            }
            RunEnd::Failed { timeout, error } => {
                let code = if timeout { Code::AgentTimeout } else { Code::Internal };
                Self::Failed(RunFailure::new(code, &*error))
            }
            RunEnd::Cancelled => Self::Cancelled,
        }
    }
}

impl Gateway {
    pub(super) fn end_run(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, ending: Ending) {
        let state = ending.state();
        let mut payload = String::new();
        match &ending {
            Ending::Completed { content, usage, stop, message } => Object::new(&mut payload)
                .str("content", content)
                .object("usage", |o| write_usage(o, *usage))
                .str("messageId", &message.to_string())
                .str("stopReason", stop.as_str())
                .end(),
            Ending::Failed(failure) => {
                write_failure(Object::new(&mut payload), failure).end();
            }
            Ending::Cancelled => {}
        }
        let kind = match state {
            "completed" => "run.completed",
            "failed" => "run.failed",
            _ => "run.cancelled",
        };
        let payload = Some(payload.as_str()).filter(|json| !json.is_empty());
        self.run_event(cx, session, kind, payload, true);
        if self.is_run_queued(session) {
            self.turn_event(cx, session, Which::Running, state, ending.failure());
        }
        let Some(live) = self.live.get_mut(session) else { return };
        let Some(RunState { turn, since, .. }) = live.run.take() else { return };
        let duration = cx.now.saturating_duration_since(since);
        let owner = live.owner.clone();
        let (run, agent) = (turn.run.clone(), turn.agent.clone());
        self.run_ended(cx, &run, &owner, Some(since), &ending);
        self.note(Fact::RunEnded { run, agent, state, duration });
        if let Some(once) = turn.once.as_ref().filter(|_| turn.apart.is_none()) {
            self.settle(cx, once.key.clone(), &ending);
        }
        // What depends on others may be tried again, with the same key.
        let keep = !ending.is_passing();
        let body = ending.body(&turn.name(), session);
        // Who had to wait was answered then, and the key with that answer.
        match turn.once.as_ref().filter(|_| turn.queued) {
            Some(once) if keep => self.idempotency.ended(&once.key, &body),
            Some(once) if turn.key.is_none() => drop(self.idempotency.forget(&once.key)),
            _ => {}
        }
        self.answer_turn(cx, turn, &body, keep);
        self.next_turn(cx, session);
    }

    fn is_run_queued(&self, session: &str) -> bool {
        let run = self.live.get(session).and_then(|live| live.run.as_ref());
        run.is_some_and(|state| state.turn.queued)
    }

    /// Keeps with the key that its run ended without an answer. Not while the gateway stops: then it is
    /// not the user who stopped it, and a retry begins it again.
    pub(super) fn settle(&mut self, cx: &Cx<'_>, key: Key, ending: &Ending) {
        let end = match ending {
            Ending::Completed { .. } => return,
            ending if ending.is_passing() => return,
            Ending::Failed(RunFailure { code, error, .. }) => {
                let (timeout, error) = (*code == Code::AgentTimeout, error.as_str().into());
                RunEnd::Failed { timeout, error }
            }
            Ending::Cancelled => RunEnd::Cancelled,
        };
        if self.draining.is_some() {
            return;
        }
        let (at, expires) = (self.ms(cx.now), self.forget_at(cx.now));
        let (user, key) = key;
        let work = StoreWork::Settle { user, key, end, at, expires };
        self.start_store(cx, work, Job::Settle);
    }
}

/// Why there is no answer, and when to ask again.
pub(super) fn write_failure<'o>(object: Object<'o>, failure: &RunFailure) -> Object<'o> {
    let object = object.str("error", &failure.error);
    Refusal::of_run(failure, String::new()).write_hints(object)
}

fn write_usage(object: Object<'_>, usage: Usage) -> Object<'_> {
    object
        .num("prompt_tokens", usage.prompt_tokens)
        .num("completion_tokens", usage.completion_tokens)
        .num("total_tokens", usage.prompt_tokens.saturating_add(usage.completion_tokens))
}
