//! Runs at their own loop: given to a worker, waiting for one, lost with one.

use super::super::agent_work::{Progress, Retrying, RunFailure};
use super::super::bus::{BusMessage, NodeId, Route};
use super::super::refusal::{Code, SOON};
use super::super::retained::{ENTRY, Held};
use super::super::send::Cx;
use super::super::work::{JobId, Message, Outcome, Run};
use super::super::{Action, Fact, Gateway, Timer};
use super::given::Taking;
use super::news::WorkerNews;
use super::policy::{OnLost, WorkerBackend};
use super::roster::WorkerAt;
use super::saying::Said;
use super::transit::Taken;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A run of this loop that a worker answers, or shall.
#[derive(Debug)]
pub(super) struct Handed {
    agent: Arc<str>,
    name: Arc<str>,
    place: Place,
    /// What a worker is told: as long as another one may have to be.
    run: Option<Arc<Run>>,
    held: Held,
    /// How many workers were given it.
    attempt: u32,
    /// Whose loop was too late with its answer: what that worker says of the run may be of the time before, so
    /// it is not given it again.
    late: Option<WorkerAt>,
    /// Until when it waits, once it does.
    patient_until: Option<Instant>,
    /// The timer of its place.
    due: Option<Instant>,
    /// What its worker, at another loop, has said since that loop was told of it.
    taken: Taken,
}

#[derive(Debug)]
enum Place {
    /// It will have failed as soon as whoever began it is done with that.
    Failing(RunFailure),
    Waiting,
    /// The worker's loop has not answered.
    Offered(WorkerAt),
    With(WorkerAt),
}

impl Place {
    fn worker(&self) -> Option<WorkerAt> {
        match self {
            Self::Offered(at) | Self::With(at) => Some(*at),
            Self::Failing(_) | Self::Waiting => None,
        }
    }
}

/// When to come again if there is no worker: as long as one takes to be started.
const NO_WORKER: Duration = Duration::from_secs(5);

impl Gateway {
    /// Gives a run to a worker, or has it wait for one. What comes of it are outcomes of the job, none of
    /// them before this has returned.
    pub(in crate::gateway) fn hand_out(&mut self, cx: &mut Cx<'_>, job: JobId, run: Run) {
        let bytes = bytes(&run);
        let room = self.room_for(&run.user, bytes);
        let held = self.retained.hold(&run.user, if room.is_ok() { bytes } else { ENTRY });
        let handed = Handed {
            agent: run.agent.clone(),
            name: run.run.clone(),
            place: Place::Waiting,
            run: Some(Arc::new(run)),
            held,
            attempt: 1,
            late: None,
            patient_until: None,
            due: None,
            taken: Taken::default(),
        };
        self.workers.handed.insert(job, handed);
        match room {
            Ok(()) => self.place_run(cx, job, false),
            Err(refusal) => {
                let failure = RunFailure::new(refusal.code, refusal.message().to_owned());
                self.fail_soon(cx.now, job, failure.retry_after(SOON));
            }
        }
    }

    /// Offers a run to the worker that has the least to do; if none has room, it waits, behind the others
    /// or before them.
    fn place_run(&mut self, cx: &mut Cx<'_>, job: JobId, first: bool) {
        // Each worker of this loop that refuses has no room any more.
        for _ in 0..=self.workers.roster.len() {
            let Some(handed) = self.workers.handed.get(&job) else { return };
            let (agent, late) = (handed.agent.clone(), handed.late);
            let Some(at) = self.workers.roster.choose(&agent, late) else { break };
            if self.offer(cx, job, at) {
                return;
            }
        }
        self.await_worker(cx, job, first);
    }

    /// Says whether the worker may have it.
    fn offer(&mut self, cx: &mut Cx<'_>, job: JobId, at: WorkerAt) -> bool {
        let Some(handed) = self.workers.handed.get_mut(&job) else { return true };
        let Some(run) = handed.run.clone() else { return true };
        let (attempt, own) = (handed.attempt, self.node.id());
        handed.place = Place::Offered(at);
        let (node, conn) = at;
        let login = self.workers.roster.get(at).map_or(0, |worker| worker.login);
        if node != own {
            let until = cx.now + self.config.bounds().call_within;
            self.arm_handed(job, Some(until));
            let news = WorkerNews::Offer { from: own, conn, login, job, run, attempt };
            self.tell_loop(node, news);
            return true;
        }
        let taking = self.take_run(cx, (own, job), (conn, login), &run, attempt);
        self.run_answered(cx, at, job, taking)
    }

    /// A worker's loop has answered an offer; says whether that is the end of it.
    fn run_answered(&mut self, cx: &Cx<'_>, at: WorkerAt, job: JobId, taking: Taking) -> bool {
        self.workers.roster.offer_over(at);
        let Some(handed) = self.workers.handed.get_mut(&job) else { return true };
        match taking {
            Taking::Taken => {
                handed.place = Place::With(at);
                handed.patient_until = None;
                // Nobody else will be given it.
                let policy = self.config.worker(&handed.agent);
                if policy.is_none_or(|policy| !may_again(policy, handed.attempt)) {
                    handed.run = None;
                    handed.held.set(ENTRY);
                }
                self.arm_handed(job, None);
                true
            }
            Taking::Refused => false,
            Taking::TooLarge => {
                let text = "what the agent has to be told takes more than limits.outbox_bytes";
                self.fail_soon(cx.now, job, RunFailure::new(Code::Internal, text));
                true
            }
        }
    }

    /// The same from another loop.
    pub(super) fn offer_answered(
        &mut self,
        cx: &mut Cx<'_>,
        at: WorkerAt,
        (job, attempt): (JobId, u32),
        taking: Taking,
    ) {
        let is_asked = |handed: &Handed| {
            handed.attempt == attempt && matches!(handed.place, Place::Offered(to) if to == at)
        };
        if !self.workers.handed.get(&job).is_some_and(is_asked) {
            // It was stopped meanwhile, which the worker's loop is being told.
            return;
        }
        if !self.run_answered(cx, at, job, taking) {
            self.place_run(cx, job, true);
        }
    }

    // --- waiting -----------------------------------------------------------------------------------

    fn await_worker(&mut self, cx: &mut Cx<'_>, job: JobId, first: bool) {
        let Some(handed) = self.workers.handed.get_mut(&job) else { return };
        let agent = handed.agent.clone();
        let policy = self.config.worker(&agent);
        let (wait, most) =
            policy.map_or((Duration::ZERO, 0), |policy| (policy.wait, policy.waiting));
        let until = *handed.patient_until.get_or_insert(cx.now + wait);
        let waiting = self.workers.waiting.get(&agent).map_or(0, |queue| queue.len());
        if until <= cx.now {
            let failure = self.no_worker(&agent, wait);
            return self.fail_soon(cx.now, job, failure);
        }
        // What was given to a worker once has its place.
        if waiting >= most && !first {
            let text = "too many runs wait for the agent's workers";
            let failure = RunFailure::new(Code::ResourceExhausted, text).retry_after(SOON);
            return self.fail_soon(cx.now, job, failure);
        }
        handed.place = Place::Waiting;
        let queue = self.workers.waiting.entry(agent).or_default();
        if first {
            queue.push_front(job);
        } else {
            queue.push_back(job);
        }
        self.arm_handed(job, Some(until));
    }

    /// A worker has room, or may have: those that wait for it are given to it.
    pub(super) fn serve_waiting(&mut self, cx: &mut Cx<'_>, agents: &[Arc<str>]) {
        for agent in agents {
            while let Some((job, at)) = self.next_waiting(agent) {
                self.stop_waiting(agent, job);
                if !self.offer(cx, job, at) {
                    self.await_worker(cx, job, true);
                }
            }
        }
    }

    /// The first one that can be given away, and to whom. One that waits for another worker than the one that
    /// has room keeps nobody behind it waiting.
    fn next_waiting(&mut self, agent: &Arc<str>) -> Option<(JobId, WorkerAt)> {
        let workers = &mut self.workers;
        for job in workers.waiting.get(agent)? {
            let late = workers.handed.get(job).and_then(|handed| handed.late);
            match workers.roster.choose(agent, late) {
                Some(at) => return Some((*job, at)),
                None if late.is_none() => return None,
                None => {}
            }
        }
        None
    }

    fn stop_waiting(&mut self, agent: &Arc<str>, job: JobId) {
        if let Some(queue) = self.workers.waiting.get_mut(agent) {
            queue.retain(|waiting| *waiting != job);
            if queue.is_empty() {
                self.workers.waiting.remove(agent);
            }
        }
    }

    fn no_worker(&self, agent: &str, waited: Duration) -> RunFailure {
        let waited = match waited.as_millis() {
            0 => String::new(),
            ms => format!(", and none came within {ms} ms"),
        };
        if self.workers.roster.count(agent).ready > 0 {
            let text = "all workers of the agent have enough to do";
            let text = text.to_owned() + &waited.replace("none came", "none was done");
            RunFailure::new(Code::ResourceExhausted, text).retry_after(SOON)
        } else {
            let text = format!("no worker of the agent is connected to the gateway{waited}");
            RunFailure::new(Code::Unavailable, text).retry_after(NO_WORKER)
        }
    }

    // --- time --------------------------------------------------------------------------------------

    fn arm_handed(&mut self, job: JobId, due: Option<Instant>) {
        let Some(handed) = self.workers.handed.get_mut(&job) else { return };
        if let Some(old) = std::mem::replace(&mut handed.due, due) {
            self.timers.remove(&(old, Timer::Handed(job)));
        }
        if let Some(due) = due {
            self.timers.insert((due, Timer::Handed(job)));
        }
    }

    /// The run that is being begun must be there before it fails.
    fn fail_soon(&mut self, now: Instant, job: JobId, failure: RunFailure) {
        if let Some(handed) = self.workers.handed.get_mut(&job) {
            handed.place = Place::Failing(failure);
            self.arm_handed(job, Some(now));
        }
    }

    pub(in crate::gateway) fn handed_due(&mut self, cx: &mut Cx<'_>, job: JobId) {
        let Some(handed) = self.workers.handed.get_mut(&job) else { return };
        handed.due = None;
        match &handed.place {
            Place::Failing(failure) => {
                let failure = failure.clone();
                self.handed_failed(cx, job, failure);
            }
            Place::Waiting => {
                let agent = handed.agent.clone();
                let wait = self.config.worker(&agent).map_or(Duration::ZERO, |policy| policy.wait);
                let failure = self.no_worker(&agent, wait);
                self.handed_failed(cx, job, failure);
            }
            Place::Offered(at) => {
                // It may have come to the worker nevertheless.
                let (at, run) = (*at, handed.name.clone());
                handed.late = Some(at);
                self.tell_cancel(cx, at, run, "lost");
                self.run_lost(cx, job, "the loop of the agent's worker does not answer");
            }
            Place::With(_) => {}
        }
    }

    // --- endings -----------------------------------------------------------------------------------

    /// A run needs no worker any more. Gives the one that has it.
    fn let_go(&mut self, job: JobId) -> Option<(Handed, Option<WorkerAt>)> {
        self.arm_handed(job, None);
        let mut handed = self.workers.handed.remove(&job)?;
        if let Place::Waiting = handed.place {
            self.stop_waiting(&handed.agent, job);
        }
        let at = handed.place.worker();
        if let Place::Offered(at) = handed.place {
            self.workers.roster.offer_over(at);
        }
        if let Some(((node, _), count)) = at.zip(handed.taken.rest()) {
            self.tell_loop(node, WorkerNews::Heard { run: handed.name.clone(), count });
        }
        Some((handed, at))
    }

    fn handed_failed(&mut self, cx: &mut Cx<'_>, job: JobId, failure: RunFailure) {
        if self.let_go(job).is_some() {
            self.job_result(cx, job, Outcome::Failed(failure));
        }
    }

    /// Nobody waits for an agent's work any more: whoever does it is told. `why` is one word.
    pub(in crate::gateway) fn stop_work(&mut self, cx: &mut Cx<'_>, job: JobId, why: &'static str) {
        match self.let_go(job) {
            None => self.actions.push_back(Action::Cancel { job }),
            Some((handed, Some(at))) => self.tell_cancel(cx, at, handed.name, why),
            Some((_, None)) => {}
        }
    }

    fn tell_cancel(&mut self, cx: &mut Cx<'_>, at: WorkerAt, run: Arc<str>, why: &'static str) {
        let (own, (node, conn)) = (self.node.id(), at);
        if node == own {
            self.cancel_given(cx, (own, conn), &run, why);
        } else {
            self.tell_loop(node, WorkerNews::Cancel { from: own, conn, run, why });
        }
    }

    /// A worker says something of a run that it has.
    pub(super) fn worker_said(
        &mut self,
        cx: &mut Cx<'_>,
        at: WorkerAt,
        (job, run): (JobId, &Arc<str>),
        said: Said,
    ) {
        let is_elsewhere = at.0 != self.node.id();
        let has = |handed: &Handed| matches!(handed.place, Place::With(with) if with == at);
        let Some(handed) = self.workers.handed.get_mut(&job).filter(|handed| has(handed)) else {
            if is_elsewhere {
                self.tell_loop(at.0, WorkerNews::Heard { run: run.clone(), count: 1 });
            }
            return;
        };
        let heard = if is_elsewhere { handed.taken.add(said.bytes()) } else { None };
        if let Said::Outcome(Outcome::Chunk(_) | Outcome::Progress(_)) = &said {
            // Its user hears of it.
            handed.run = None;
            handed.held.set(ENTRY);
        }
        if let Some(count) = heard {
            self.tell_loop(at.0, WorkerNews::Heard { run: run.clone(), count });
        }
        match said {
            Said::Outcome(outcome @ (Outcome::Chunk(_) | Outcome::Progress(_))) => {
                self.job_result(cx, job, outcome);
            }
            Said::Outcome(outcome) => {
                self.let_go(job);
                self.job_result(cx, job, outcome);
            }
            Said::Complete { content, usage, stop } => {
                self.let_go(job);
                let content = content.or_else(|| self.said_so_far(job)).unwrap_or_default();
                self.job_result(cx, job, Outcome::Done { content, usage, stop });
            }
        }
    }

    /// These workers are gone, and with them what they had.
    pub(super) fn workers_lost(&mut self, cx: &mut Cx<'_>, gone: impl Fn(WorkerAt) -> bool) {
        let is_lost = |handed: &Handed| handed.place.worker().is_some_and(&gone);
        let handed = self.workers.handed.iter();
        let lost: Vec<_> =
            handed.filter(|(_, handed)| is_lost(handed)).map(|(job, _)| *job).collect();
        for job in lost {
            self.run_lost(cx, job, "the agent's worker went away");
        }
    }

    /// A run's worker is lost: another one is given it, or it fails.
    fn run_lost(&mut self, cx: &mut Cx<'_>, job: JobId, error: &str) {
        self.arm_handed(job, None);
        let Some(handed) = self.workers.handed.get_mut(&job) else { return };
        let (run, agent) = (handed.name.clone(), handed.agent.clone());
        let policy = self.config.worker(&agent);
        let again = policy.filter(|policy| {
            handed.run.is_some() && may_again(policy, handed.attempt) && self.draining.is_none()
        });
        let most = again.map(|policy| policy.attempts);
        let attempt = handed.attempt;
        let fact = Fact::RunLost { run, agent, attempt, again: most.is_some() };
        self.actions.push_back(Action::Note(fact));
        let Some(most) = most else {
            let failure = RunFailure::new(Code::Unavailable, error).retry_after(SOON);
            return self.handed_failed(cx, job, failure);
        };
        handed.attempt += 1;
        handed.patient_until = None;
        if let Place::Offered(at) = std::mem::replace(&mut handed.place, Place::Waiting) {
            self.workers.roster.offer_over(at);
        }
        let error = error.into();
        let retrying = Retrying { attempt: attempt + 1, most, after: Duration::ZERO, error };
        self.job_result(cx, job, Outcome::Progress(Progress::Retrying(retrying)));
        self.place_run(cx, job, true);
    }

    pub(super) fn tell_loop(&mut self, node: NodeId, news: WorkerNews) {
        self.publish(Route::Node(node), BusMessage::Workers { news });
    }
}

fn may_again(policy: &WorkerBackend, attempt: u32) -> bool {
    policy.on_lost == OnLost::Requeue && attempt < policy.attempts
}

/// What it costs to keep a run, about.
fn bytes(run: &Run) -> usize {
    let said = |message: &Message| ENTRY + message.text.len();
    ENTRY + run.message.len() + run.history.iter().map(said).sum::<usize>()
}
