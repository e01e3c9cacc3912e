//! Runs: an agent's work on one turn. They belong to sessions; sockets come and go.
//!
//! ```text
//! text -> durable -> (queued, while another runs) -> context read -> agent works -> answer durable
//! ```

mod known;
mod told;
mod wait;

use super::Gateway;
use super::agent_work::{RunFailure, StopReason};
use super::fact::Fact;
use super::idempotency::{Key, Once};
use super::jobs::Job;
use super::json::{self, Object};
use super::principal::Principal;
use super::refusal::{Code, Refusal, SOON};
use super::request::Mark;
use super::retained::{ENTRY, Held};
use super::ring::{Event, RunName};
use super::send::{Body, Cx, ReplyTo};
use super::session::{Op, Session};
use super::work::{Author, JobId, Message, Run, StoreOutcome, StoreWork, Usage};
use super::{bus, bus::BusMessage};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(super) use wait::{WaitId, Waits};

/// A session with something going on. It lives at its home node only, and not longer than that.
pub(super) struct Live {
    pub(super) owner: Arc<str>,
    pub(super) agent: Arc<str>,
    run: Option<RunState>,
    queue: VecDeque<Turn>,
    /// Bytes of texts that wait or are being made durable.
    waiting_bytes: usize,
    /// Turns whose text is being made durable.
    appending: usize,
    /// So many of those, the first ones, will not run: their session was deleted or reset since.
    dismissed: usize,
}

impl Live {
    /// Whether this run is under way or waits here.
    fn has_run(&self, run: &str) -> bool {
        self.run.as_ref().is_some_and(|state| *state.turn.run == *run)
            || self.queue.iter().any(|turn| *turn.run == *run)
    }

    /// A turn has come from the store; says whether it was dismissed. They come in their order.
    fn take_appended(&mut self) -> bool {
        self.appending -= 1;
        let dismissed = self.dismissed > 0;
        self.dismissed -= usize::from(dismissed);
        dismissed
    }
}

/// Something a user said that an agent shall answer.
pub(super) struct Turn {
    pub(super) run: Arc<str>,
    pub(super) id: String,
    /// Who said it: the owner, or an admin.
    pub(super) user: Arc<str>,
    pub(super) agent: Arc<str>,
    pub(super) text: Arc<str>,
    pub(super) media: Vec<Arc<str>>,
    pub(super) instructions: Option<Arc<str>>,
    /// What was said before, if its client keeps the conversation: then nothing of it is stored, and
    /// nobody hears of it but who has asked.
    pub(super) apart: Option<Arc<[Message]>>,
    /// The message's id once it is durable.
    pub(super) message: u64,
    pub(super) ack: bool,
    /// It had to wait for another run; its request was answered then.
    pub(super) queued: bool,
    pub(super) to: Option<ReplyTo>,
    /// What is kept of it.
    pub(super) held: Option<Held>,
    /// What to answer those with who ask again, until the request has its answer.
    pub(super) key: Option<Key>,
    /// What the store is told of the request, if it has a key.
    pub(super) once: Option<Once>,
}

impl Turn {
    /// What it costs to keep it.
    fn bytes(&self) -> usize {
        let media: usize = self.media.iter().map(|path| path.len()).sum();
        let instructions = self.instructions.as_ref().map_or(0, |text| text.len());
        let apart = self.apart.iter().flat_map(|history| history.iter());
        let apart: usize = apart.map(|message| message.text.len() + size_of::<Message>()).sum();
        ENTRY + self.text.len() + media + instructions + apart
    }

    /// Who hears of its run.
    fn readers(&self, owner: &Arc<str>) -> Readers {
        match (&self.apart, &self.once) {
            (None, _) => Readers::Users([owner.clone(), self.user.clone()]),
            (Some(_), None) => Readers::Here,
            // A repeat may have come to any node.
            (Some(_), Some(_)) => Readers::Anywhere,
        }
    }

    /// What its run is called.
    fn name(&self) -> Name<'_> {
        Name { run: &self.run, key: self.once.as_ref().map(|once| &*once.key.1) }
    }
}

/// Who hears of a run, besides those who wait for its end.
enum Readers {
    /// All connections of these users.
    Users([Arc<str>; 2]),
    /// Requests over HTTP at this node.
    Here,
    /// Requests over HTTP at all nodes.
    Anywhere,
}

/// A run's id, and the idempotency key of the request that it answers: the name that its client knows.
struct Name<'t> {
    run: &'t str,
    key: Option<&'t str>,
}

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

impl Name<'_> {
    fn write<'o>(&self, object: Object<'o>) -> Object<'o> {
        object.str("runId", self.run).maybe_str("idempotencyKey", self.key)
    }

    /// Whether a client means this run by a name.
    fn is(&self, name: &str) -> bool {
        self.run == name || self.key == Some(name)
    }
}

struct RunState {
    turn: Turn,
    stage: Stage,
    job: JobId,
    since: Instant,
    name: Arc<RunName>,
    /// The number of the run's last event.
    seq: u64,
    /// What it has said so far, for who comes later.
    text: String,
    held: Held,
    /// Bytes of its thoughts so far, which are not kept.
    thought: u64,
    /// Bytes of everything that it has told besides its answer.
    told_bytes: usize,
    /// The tool that it waits for.
    tool: Option<Box<str>>,
    /// How often it has used one.
    calls: u64,
}

#[derive(Debug, Copy, Clone, PartialEq)]
enum Stage {
    Context,
    Working,
    Saving,
}

/// How a run ended.
enum Ending {
    Completed { content: String, usage: Usage, stop: StopReason, message: u64 },
    Failed(RunFailure),
    Cancelled,
}

impl Ending {
    /// It failed for something that may be otherwise in a moment.
    fn is_passing(&self) -> bool {
        let passing = [Code::Unavailable, Code::ResourceExhausted];
        matches!(self, Self::Failed(failure) if passing.contains(&failure.code))
    }

    fn state(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Gateway {
    /// Makes a turn's text durable, if there is room for it.
    pub(super) fn take_turn(&mut self, cx: &mut Cx<'_>, session: &Session, mut turn: Turn) {
        // It is all that is kept of its request from now on.
        if let Some(ReplyTo::Local { held: Some(held), .. }) = &mut turn.to {
            held.set(ENTRY);
        }
        let bytes = turn.bytes();
        if let Err(refusal) = self.room_for(&turn.user, bytes) {
            return self.answer_turn(cx, turn, &refusal.into(), false);
        }
        turn.held = Some(self.retained.hold(&turn.user, bytes));
        if !self.make_live(session, turn.text.len()) {
            let refusal = Refusal::exhausted("too many turns wait already", SOON);
            return self.answer_turn(cx, turn, &refusal.into(), false);
        }
        if turn.apart.is_some() {
            return self.turn_appended(cx, &session.key, turn, Ok(0));
        }
        let mark = turn.once.as_ref().map(|once| Mark::Begin {
            user: once.key.0.clone(),
            key: once.key.1.clone(),
            print: once.print,
            run: turn.run.clone(),
            // However long the run takes, it is not forgotten while it does.
            expires: self.forget_at(cx.now + self.config.bounds().run_within),
        });
        let work = StoreWork::Append {
            session: session.key.clone(),
            create: session.create(),
            author: Author::User,
            text: turn.text.clone(),
            media: turn.media.clone(),
            label: None,
            stop: StopReason::Stop,
            at: self.ms(cx.now),
            mark,
        };
        self.start_store(cx, work, Job::Append { session: session.key.clone(), turn });
    }

    /// When the store forgets a request that has had its effect by then, in Unix milliseconds.
    fn forget_at(&self, then: Instant) -> u64 {
        self.ms(then + self.config.bounds().idempotency_within)
    }

    /// Enters a turn of so many bytes into its session, as one that is being made durable. False if
    /// there is no room for it.
    fn make_live(&mut self, session: &Session, len: usize) -> bool {
        let bounds = self.config.bounds();
        let room = match self.live.get(&session.key) {
            None => self.live.len() < bounds.live_sessions,
            Some(live) => {
                live.queue.len() + live.appending < bounds.queued_turns
                    && live.waiting_bytes + len <= bounds.queued_bytes
            }
        };
        if !room {
            return false;
        }
        let live = self.live.entry(session.key.clone()).or_insert_with(|| Live {
            owner: session.owner.clone(),
            agent: session.agent.clone(),
            run: None,
            queue: VecDeque::new(),
            waiting_bytes: 0,
            appending: 0,
            dismissed: 0,
        });
        live.appending += 1;
        live.waiting_bytes += len;
        true
    }

    /// The text is durable: runs, or waits its turn.
    pub(super) fn turn_appended(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        mut turn: Turn,
        outcome: Result<u64, Refusal>,
    ) {
        // Nobody begins what would be stopped at once; the text stays in the history.
        let outcome = if self.draining.is_some() { Err(bus::shutting_down()) } else { outcome };
        let Some(live) = self.live.get_mut(session) else { return };
        let dismissed = live.take_appended();
        match outcome {
            Ok(_) if dismissed => self.turn_dismissed(cx, session, turn),
            Err(refusal) => {
                live.waiting_bytes -= turn.text.len();
                self.drop_if_idle(session);
                self.answer_turn(cx, turn, &refusal.into(), false);
            }
            Ok(message) if live.run.is_none() => {
                live.waiting_bytes -= turn.text.len();
                turn.message = message;
                self.start_run(cx, session, turn);
            }
            Ok(message) => {
                turn.message = message;
                turn.queued = true;
                let body = queued_body(&turn, session);
                let (to, key) = (turn.to.take(), turn.key.take());
                live.queue.push_back(turn);
                let at = live.queue.len() - 1;
                self.turn_event(cx, session, Which::Queued(at), "queued");
                self.answer(cx, to, key.as_ref(), &body, true);
            }
        }
    }

    fn start_run(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, mut turn: Turn) {
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
            self.publish(bus::Route::Node(*node), BusMessage::Taken { call: *call });
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
            self.turn_event(cx, session, Which::Running, "running");
        }
        self.run_event(cx, session, "run.started", Some(&message), false);
    }

    /// What a client that has just come needs to know about this user's runs at this node: that each
    /// has begun, and in one piece what it has said.
    pub(super) fn runs_so_far(&self, user: &str) -> Vec<Event> {
        let mut events = Vec::new();
        for live in self.live.values() {
            let Some(run) = &live.run else { continue };
            if run.turn.apart.is_some() {
                continue;
            }
            if *live.owner != *user && *run.turn.user != *user {
                continue;
            }
            let mut payload = String::new();
            run.name.write(&mut payload, "run.started", 1, Some(&started(&run.turn)));
            events.push(Event::of_run(&run.name, &payload, false));
            if !run.text.is_empty() {
                events.push(Event::chunk(run.name.clone(), run.seq, 0, &run.text));
            }
        }
        events
    }

    /// The agent's history was read.
    pub(super) fn run_context(
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

    pub(super) fn run_chunk(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, text: &str) {
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
    fn cut_off(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, failure: RunFailure) {
        let job = self.live.get(session).and_then(|live| live.run.as_ref()).map(|run| run.job);
        if let Some(job) = job {
            self.drop_job(job);
            self.stop_work(cx, job, "refused");
        }
        self.run_failed(cx, session, failure);
    }

    /// The agent is done: its answer is made durable before anybody is told.
    pub(super) fn run_done(
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

    pub(super) fn run_saved(
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

    pub(super) fn run_failed(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, failure: RunFailure) {
        self.end_run(cx, session, Ending::Failed(failure));
    }

    fn end_run(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, ending: Ending) {
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
                let object = Object::new(&mut payload).str("error", &failure.error);
                Refusal::of_run(failure, String::new()).write_hints(object).end();
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
            self.turn_event(cx, session, Which::Running, state);
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

    fn next_turn(&mut self, cx: &mut Cx<'_>, session: &Arc<str>) {
        let Some(live) = self.live.get_mut(session) else { return };
        match live.queue.pop_front() {
            Some(turn) => {
                live.waiting_bytes -= turn.text.len();
                self.start_run(cx, session, turn);
            }
            None => self.drop_if_idle(session),
        }
    }

    fn drop_if_idle(&mut self, session: &str) {
        let idle = |live: &Live| live.run.is_none() && live.queue.is_empty() && live.appending == 0;
        if self.live.get(session).is_some_and(idle) {
            self.live.remove(session);
        }
    }

    // --- stopping ------------------------------------------------------------------------------

    /// `chat.abort` for a session: stops the run, and without a run id also the turns that wait.
    pub(super) fn abort(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Session,
        run: Option<&str>,
        to: ReplyTo,
    ) {
        let stopped = self.stop(cx, &session.key, run);
        self.reply_ok(cx, to, |_, out| write_abort(out, &stopped));
    }

    /// `chat.abort` with nothing but a run id, for those who see all.
    pub(super) fn abort_by_run(&mut self, cx: &mut Cx<'_>, who: &Principal, op: &Op, to: ReplyTo) {
        let Op::Abort { run: Some(run), .. } = op else { return };
        debug_assert!(who.role.sees_all(), "the handler refused everybody else");
        let session =
            self.live.iter().find(|(_, live)| live.has_run(run)).map(|(key, _)| key.clone());
        let stopped = match session {
            Some(session) => self.stop(cx, &session, Some(run)),
            None => Vec::new(),
        };
        self.reply_ok(cx, to, |_, out| write_abort(out, &stopped));
    }

    /// Stops runs and turns of a session; gives their names.
    fn stop(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, run: Option<&str>) -> Vec<Stopped> {
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
            self.turn_event(cx, session, Which::Queued(at), "cancelled");
            let Some(live) = self.live.get_mut(session) else { return stopped };
            if let Some(turn) = live.queue.remove(at) {
                live.waiting_bytes -= turn.text.len();
                let owner = live.owner.clone();
                self.run_ended(cx, &turn.run, &owner, None, &Ending::Cancelled);
                if let Some(once) = &turn.once {
                    let body = Ending::Cancelled.body(&turn.name(), session);
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
                self.stop_work(cx, job, "stopped");
            }
            self.end_run(cx, session, Ending::Cancelled);
        }
        stopped
    }

    /// The session is about to lose what was said: nothing of it shall be answered any more. An answer
    /// that is being stored cannot be stopped; it is there before whatever is asked of the store next.
    pub(super) fn dismiss(&mut self, cx: &mut Cx<'_>, session: &Arc<str>) {
        self.stop(cx, session, None);
        if let Some(live) = self.live.get_mut(session) {
            live.dismissed = live.appending;
        }
    }

    /// The text became durable just before its session was deleted or reset.
    fn turn_dismissed(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, turn: Turn) {
        if let Some(live) = self.live.get_mut(session) {
            live.waiting_bytes -= turn.text.len();
            let owner = live.owner.clone();
            self.run_ended(cx, &turn.run, &owner, None, &Ending::Cancelled);
        }
        self.drop_if_idle(session);
        let body = Ending::Cancelled.body(&turn.name(), session);
        self.answer_turn(cx, turn, &body, true);
    }

    /// The gateway stops: so do all runs.
    pub(super) fn stop_all(&mut self, cx: &mut Cx<'_>) {
        let sessions: Vec<_> = self.live.keys().cloned().collect();
        for session in sessions {
            self.stop(cx, &session, None);
        }
    }

    // --- being asked ---------------------------------------------------------------------------

    pub(super) fn session_status(&mut self, cx: &mut Cx<'_>, session: &Session, to: ReplyTo) {
        self.reply_ok(cx, to, |gateway, out| {
            let live = gateway.live.get(&session.key);
            let Some(state) = live.and_then(|live| live.run.as_ref()) else {
                let object = Object::new(out).bool("isRunning", false);
                return object.raw("runId", "null").raw("activity", "null").end();
            };
            let phase = match state.stage {
                Stage::Saving => "saving",
                _ if state.tool.is_some() => "tool",
                _ if !state.text.is_empty() => "answering",
                _ => "thinking",
            };
            let object = Object::new(out).bool("isRunning", true);
            state
                .turn
                .name()
                .write(object)
                .object("activity", |o| {
                    let mut o = o.str("phase", phase);
                    match &state.tool {
                        Some(tool) => json::string(o.key("tool"), tool),
                        None => o.key("tool").push_str("null"),
                    }
                    o.num("iteration", state.calls)
                })
                .num("startedAt", gateway.ms(state.since))
                .str("text", &state.text)
                .end();
        });
    }

    /// What the run that is under way in a session has said so far.
    pub(super) fn run_text(&self, session: &str) -> Option<&str> {
        self.live.get(session)?.run.as_ref().map(|run| &*run.text)
    }

    /// Whether an agent has a run at this node.
    pub(super) fn is_agent_running(&self, agent: &str) -> bool {
        let runs = self.live.values().filter_map(|live| live.run.as_ref());
        runs.into_iter().any(|state| *state.turn.agent == *agent)
    }

    fn is_run_queued(&self, session: &str) -> bool {
        let run = self.live.get(session).and_then(|live| live.run.as_ref());
        run.is_some_and(|state| state.turn.queued)
    }

    // --- telling -------------------------------------------------------------------------------

    /// Answers a turn's request and those that came again with its key. `keep`: the run existed, so
    /// its answer is remembered.
    fn answer_turn(&mut self, cx: &mut Cx<'_>, turn: Turn, body: &Body, keep: bool) {
        self.answer(cx, turn.to, turn.key.as_ref(), body, keep);
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        to: Option<ReplyTo>,
        key: Option<&Key>,
        body: &Body,
        keep: bool,
    ) {
        let again = match key {
            Some(key) if keep => self.idempotency.finish(key, body),
            Some(key) => self.idempotency.forget(key),
            None => Vec::new(),
        };
        for to in to.into_iter().chain(again) {
            self.reply_body(cx, to, body);
        }
    }

    /// An `agent` event of the session's run, for its owner and for who started it.
    fn run_event(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        kind: &str,
        inner: Option<&str>,
        ends: bool,
    ) {
        let Some(live) = self.live.get_mut(session) else { return };
        let Some(run) = &mut live.run else { return };
        run.seq += 1;
        let mut payload = String::with_capacity(256 + inner.map_or(0, str::len));
        run.name.write(&mut payload, kind, run.seq, inner);
        let event = Event::of_run(&run.name, &payload, ends);
        let readers = run.turn.readers(&live.owner);
        self.tell_readers(cx, &readers, &event);
    }

    fn tell_readers(&mut self, cx: &mut Cx<'_>, readers: &Readers, event: &Event) {
        match readers {
            Readers::Users(users) => self.event(cx, users, event),
            Readers::Here => self.event_here(cx, self.node.id(), &[], event),
            Readers::Anywhere => self.event(cx, &[], event),
        }
    }

    fn turn_event(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, which: Which, state: &str) {
        let Some(live) = self.live.get(session) else { return };
        let turn = match which {
            Which::Running => live.run.as_ref().map(|run| &run.turn),
            Which::Queued(at) => live.queue.get(at),
        };
        let Some(turn) = turn else { return };
        let mut payload = String::new();
        let object = Object::new(&mut payload)
            .str("turnId", &turn.id)
            .str("state", state)
            .str("sessionKey", session)
            .bool("started", matches!(which, Which::Running));
        turn.name().write(object).end();
        let readers = turn.readers(&live.owner);
        self.tell_readers(cx, &readers, &Event::plain("chat.turn", &payload));
    }
}

/// The inner payload of `run.started`.
fn started(turn: &Turn) -> String {
    let mut payload = String::new();
    Object::new(&mut payload)
        .str("message", &turn.text)
        .str("messageId", &turn.message.to_string())
        .end();
    payload
}

#[derive(Debug, Copy, Clone)]
enum Which {
    Running,
    Queued(usize),
}

fn started_body(turn: &Turn, session: &str) -> Body {
    Body::ok(|o| turn.name().write(o).str("sessionKey", session).str("status", "started"))
}

fn queued_body(turn: &Turn, session: &str) -> Body {
    Body::ok(|o| {
        turn.name().write(o.bool("queued", true)).str("turnId", &turn.id).str("sessionKey", session)
    })
}

fn write_usage(object: Object<'_>, usage: Usage) -> Object<'_> {
    object
        .num("prompt_tokens", usage.prompt_tokens)
        .num("completion_tokens", usage.completion_tokens)
        .num("total_tokens", usage.prompt_tokens.saturating_add(usage.completion_tokens))
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
