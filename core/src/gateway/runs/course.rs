//! The course of a run: its context is read, its agent works and talks, its answer is made durable.

use super::super::Gateway;
use super::super::agent_work::{RunFailure, StopReason};
use super::super::bus::{BusMessage, Route};
use super::super::fact::Fact;
use super::super::jobs::Job;
use super::super::refusal::{Code, Refusal};
use super::super::request::Mark;
use super::super::ring::{Event, RunName};
use super::super::send::{Cx, ReplyTo};
use super::super::work::{Author, JobId, Message, Run, StoreOutcome, StoreWork, Usage};
use super::audience::Which;
use super::turn::{started, started_body};
use super::{Ending, RunState, Stage, Turn};
use std::sync::Arc;

impl Gateway {
    pub(super) fn start_run(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, mut turn: Turn) {
        let body = started_body(&turn, session);
        let mut early = Vec::new();
        if turn.ack {
            early.extend(turn.to.take());
            if let Some(key) = &turn.key {
                early.extend(self.idempotency.started(key, &body));
            }
        }
        for to in early {
            self.reply_body(cx, to, &body);
        }
        if let Some(ReplyTo::Remote { node, call }) = &turn.to {
            self.publish(Route::Node(*node), BusMessage::Taken { call: *call });
        }
        let (run, agent) = (turn.run.clone(), turn.agent.clone());
        self.note(Fact::RunStarted { run, agent });
        let limit = self.config.bounds().agent_history;
        let (stage, job) = if let Some(history) = &turn.apart {
            (Stage::Working, self.work_on(cx, session, &turn, history.to_vec()))
        } else if limit == 0 {
            (Stage::Working, self.work_on(cx, session, &turn, Vec::new()))
        } else {
            let work = StoreWork::History {
                session: session.clone(),
                before: Some(turn.message),
                limit,
                bytes: self.config.bounds().page_bytes,
            };
            let session = session.clone();
            (Stage::Context, self.start_store(cx, work, Job::Context { session }))
        };
        let queued = turn.queued;
        let message = started(&turn);
        if let Some(live) = self.live.get_mut(session) {
            let name = Arc::new(RunName {
                run: turn.run.clone(),
                agent: turn.agent.clone(),
                session: session.clone(),
                owner: live.owner.clone(),
                key: turn.once.as_ref().map(|once| once.key.1.clone()),
            });
            let held = self.retained.hold(&turn.user, 0);
            let (since, text) = (cx.now, String::new());
            live.run = Some(RunState {
                turn,
                stage,
                job,
                since,
                name,
                seq: 0,
                text,
                held,
                thought: 0,
                told_bytes: 0,
                tool: None,
                calls: 0,
            });
        }
        if queued {
            self.turn_event(cx, session, Which::Running, "running", None);
        }
        self.run_event(cx, session, "run.started", Some(&message), false);
    }

    /// The agent's history was read.
    pub(in super::super) fn run_context(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        outcome: Result<StoreOutcome, Refusal>,
    ) {
        let history = match outcome {
            Ok(StoreOutcome::History { messages, .. }) => messages,
            _ => {
                let error = "the history could not be read";
                let failure = RunFailure::new(Code::Unavailable, error);
                return self.run_failed(cx, session, failure);
            }
        };
        let Some(mut state) = self.live.get_mut(session).and_then(|live| live.run.take()) else {
            return;
        };
        state.job = self.work_on(cx, session, &state.turn, history);
        state.stage = Stage::Working;
        if let Some(live) = self.live.get_mut(session) {
            live.run = Some(state);
        }
    }

    fn work_on(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        turn: &Turn,
        history: Vec<Message>,
    ) -> JobId {
        let user = self.live.get(session).map_or_else(|| turn.user.clone(), |l| l.owner.clone());
        let run = Run {
            run: turn.run.clone(),
            agent: turn.agent.clone(),
            session: session.clone(),
            user,
            message: turn.text.clone(),
            instructions: turn.instructions.clone(),
            media: turn.media.clone(),
            history,
        };
        self.start_agent(cx, run, Job::Run { session: session.clone() })
    }

    pub(in super::super) fn run_chunk(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, text: &str) {
        let most = self.config.bounds().answer_bytes;
        let Some(live) = self.live.get_mut(session) else { return };
        let Some(run) = &mut live.run else { return };
        if run.text.len() + text.len() > most {
            return self.stop_talking(cx, session);
        }
        if let Err(refusal) = self.retained.check(&run.turn.user, text.len(), self.config.bounds())
        {
            let failure = RunFailure::new(refusal.code, refusal.message());
            return self.cut_off(cx, session, failure);
        }
        run.held.add(text.len());
        run.seq += 1;
        let event = Event::chunk(run.name.clone(), run.seq, run.text.len() as u64, text);
        run.text.push_str(text);
        let readers = run.turn.readers(&live.owner);
        self.tell_readers(cx, &readers, &event);
    }

    /// The agent says more than a client could be given.
    fn stop_talking(&mut self, cx: &mut Cx<'_>, session: &Arc<str>) {
        let most = self.config.bounds().answer_bytes;
        let error = format!("the agent's answer has more than {most} bytes");
        self.cut_off(cx, session, RunFailure::new(Code::Internal, error));
    }

    /// There is no place for more of what the agent says.
    pub(super) fn cut_off(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, failure: RunFailure) {
        let job = self.live.get(session).and_then(|live| live.run.as_ref()).map(|run| run.job);
        if let Some(job) = job {
            self.drop_job(job);
            self.stop_work(cx, job, "refused");
        }
        self.run_failed(cx, session, failure);
    }

    /// The agent is done: its answer is made durable before anybody is told.
    pub(in super::super) fn run_done(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        content: String,
        usage: Usage,
        stop: StopReason,
    ) {
        if content.len() > self.config.bounds().answer_bytes {
            return self.stop_talking(cx, session);
        }
        let run = self.live.get(session).and_then(|live| live.run.as_ref());
        if run.is_some_and(|run| run.turn.apart.is_some()) {
            return self.run_saved(cx, session, &content, usage, stop, Some(0));
        }
        let once = run.and_then(|run| run.turn.once.as_ref());
        let mark = once.map(|once| Mark::End {
            user: once.key.0.clone(),
            key: once.key.1.clone(),
            usage,
            expires: self.forget_at(cx.now),
        });
        let work = StoreWork::Append {
            session: session.clone(),
            create: None,
            author: Author::Assistant,
            text: content.as_str().into(),
            media: Vec::new(),
            label: None,
            stop,
            at: self.ms(cx.now),
            mark,
        };
        let job = Job::Save { session: session.clone(), content, usage, stop };
        let job = self.start_store(cx, work, job);
        if let Some(run) = self.live.get_mut(session).and_then(|live| live.run.as_mut()) {
            run.stage = Stage::Saving;
            run.job = job;
        }
    }

    pub(in super::super) fn run_saved(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        content: &str,
        usage: Usage,
        stop: StopReason,
        message: Option<u64>,
    ) {
        let ending = match message {
            Some(message) => Ending::Completed { content: content.into(), usage, stop, message },
            None => {
                let error = "the answer could not be stored";
                Ending::Failed(RunFailure::new(Code::Unavailable, error))
            }
        };
        self.end_run(cx, session, ending);
    }

    pub(in super::super) fn run_failed(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        failure: RunFailure,
    ) {
        self.end_run(cx, session, Ending::Failed(failure));
    }
}
