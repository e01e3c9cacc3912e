//! Work under way: what each outcome is for.

use super::agent_work::{RunFailure, StopReason};
use super::api_keys::ApiKey;
use super::change::Change;
use super::conn::ConnId;
use super::fact::Fact;
use super::idempotency::other_text;
use super::inject::Injection;
use super::link::ResumeToken;
use super::log_ring::LogQuery;
use super::openclaw::{Browse, DeviceJob, NodeJob, Write};
use super::pairing::Device;
use super::principal::Principal;
use super::record::RecordKind;
use super::refusal::{Code, Refusal};
use super::runs::Turn;
use super::send::{Cx, ReplyTo};
use super::session::{Op, Session, not_yours};
use super::upload::Step;
use super::waiting::Asked;
use super::work::{
    JobId, MediaOutcome, MediaWork, Outcome, Run, SessionInfo, SiteOutcome, StoreError,
    StoreOutcome, StoreWork, Usage, Work,
};
use super::{Action, Gateway, Timer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a disk that hangs keeps the place of an upload that came to nothing.
const ABORT_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What an outcome is for.
pub(super) enum Job {
    /// A session was looked up to do this.
    Check {
        who: Principal,
        op: Op,
        to: ReplyTo,
    },
    /// A turn's text is made durable.
    Append {
        session: Arc<str>,
        turn: Turn,
    },
    /// An agent's history is read.
    Context {
        session: Arc<str>,
    },
    /// An agent works.
    Run {
        session: Arc<str>,
    },
    /// An agent's answer is made durable.
    Save {
        session: Arc<str>,
        content: String,
        usage: Usage,
        stop: StopReason,
    },
    /// A message that was put in by hand is made durable.
    Inject {
        injection: Box<Injection>,
        to: ReplyTo,
    },
    /// A session begins without a message.
    Create {
        session: Session,
        by: Arc<str>,
        to: ReplyTo,
    },
    /// Sessions are looked for, for an answer of the dialect of OpenClaw.
    Browse {
        to: ReplyTo,
        browse: Browse,
    },
    /// A user's sessions are counted for the events that say that all is well.
    Health {
        viewer: Option<Arc<str>>,
    },
    /// A file that came with a message is stored.
    Attach {
        name: u64,
    },
    History {
        session: Arc<str>,
        to: ReplyTo,
    },
    /// A session is read for a preview, then its messages.
    Preview {
        to: ReplyTo,
        limit: usize,
    },
    PreviewMessages {
        to: ReplyTo,
        info: SessionInfo,
    },
    /// A session is changed as a whole.
    Change {
        session: Session,
        change: Change,
        by: Arc<str>,
        to: ReplyTo,
    },
    Sessions {
        to: ReplyTo,
        limit: usize,
        offset: usize,
    },
    Status {
        to: ReplyTo,
    },
    /// An ending is kept with its idempotency key; nobody waits for it.
    Settle,
    /// Whether the store works again; nobody waits for it.
    Probe,
    /// What an earlier gateway left.
    Load,
    /// A link that it left is taken out of the store.
    TakeLink {
        token: ResumeToken,
    },
    /// Links are made durable.
    SaveLinks,
    /// An API key is made durable, to be told once.
    MakeKey {
        key: ApiKey,
        text: String,
        to: ReplyTo,
    },
    /// A revoked API key or device is taken out.
    Drop {
        kind: RecordKind,
        name: Arc<str>,
        known: bool,
        to: ReplyTo,
    },
    /// A revocation is made durable.
    Revoke {
        to: ReplyTo,
    },
    /// A device that asks to be let in is made durable.
    Ask {
        name: Arc<str>,
        asked: Asked,
    },
    /// A device that was let in is made durable.
    LetIn {
        device: Device,
        to: ReplyTo,
    },
    /// A device of the second dialect is made durable, or taken out.
    Device(DeviceJob, Write),
    /// What was approved of a node is made durable, or taken out.
    Node(NodeJob),
    /// A record is put in or taken out; nobody waits for it.
    Forget,
    /// The files of a message are looked for.
    FindMedia {
        who: Principal,
        op: Op,
        to: ReplyTo,
    },
    /// A page of the log is read for a request.
    LogPage {
        to: ReplyTo,
    },
    /// New lines of the log are read for a connection.
    Tail {
        conn: ConnId,
    },
    /// What was counted is written for a client.
    Metrics {
        conn: ConnId,
    },
    /// Something is done with an upload's file.
    Media {
        conn: ConnId,
        path: Arc<str>,
        step: Step,
    },
    /// The host does something for its command line.
    Host {
        to: ReplyTo,
    },
    /// A piece of a file is read for a client.
    Site {
        conn: ConnId,
    },
}

pub(super) struct Pending {
    job: Job,
    since: Instant,
    deadline: Instant,
}

impl Gateway {
    pub(super) fn start_store(&mut self, cx: &Cx<'_>, work: StoreWork, job: Job) -> JobId {
        let within = self.config.bounds().store_within;
        let id = self.start(cx, Work::Store(work), job, within);
        self.store_jobs.insert(id);
        id
    }

    /// The host or a worker answers, whichever the agent has.
    pub(super) fn start_agent(&mut self, cx: &mut Cx<'_>, run: Run, job: Job) -> JobId {
        let within = self.config.bounds().run_within;
        if self.config.worker(&run.agent).is_none() {
            return self.start(cx, Work::Run(run), job, within);
        }
        let id = self.await_outcome(cx, job, within);
        self.hand_out(cx, id, run);
        id
    }

    pub(super) fn start_media(&mut self, cx: &Cx<'_>, work: MediaWork, job: Job) {
        let within = match work {
            // Its place is not given to others before the host is done with it.
            MediaWork::Abort { .. } => ABORT_WITHIN,
            _ => self.config.bounds().store_within,
        };
        self.start(cx, Work::Media(work), job, within);
    }

    pub(super) fn start_logs(&mut self, cx: &Cx<'_>, query: LogQuery, job: Job) {
        let within = self.config.bounds().store_within;
        self.start(cx, Work::Logs(query), job, within);
    }

    pub(super) fn start(&mut self, cx: &Cx<'_>, work: Work, job: Job, within: Duration) -> JobId {
        let id = self.await_outcome(cx, job, within);
        self.actions.push_back(Action::Start { job: id, work });
        id
    }

    fn await_outcome(&mut self, cx: &Cx<'_>, job: Job, within: Duration) -> JobId {
        let id = JobId(self.next_job);
        self.next_job += 1;
        let (since, deadline) = (cx.now, cx.now + within);
        self.timers.insert((deadline, Timer::Job(id)));
        self.jobs.insert(id, Pending { job, since, deadline });
        id
    }

    /// How many jobs of the store are of this kind.
    pub(super) fn store_jobs_of(&self, kind: impl Fn(&Job) -> bool) -> usize {
        let jobs = self.store_jobs.iter().filter_map(|id| self.jobs.get(id));
        jobs.filter(|pending| kind(&pending.job)).count()
    }

    /// Forgets a job, whose outcomes will then mean nothing.
    pub(super) fn drop_job(&mut self, id: JobId) -> Option<Job> {
        self.store_jobs.remove(&id);
        let Pending { job, deadline, .. } = self.jobs.remove(&id)?;
        self.timers.remove(&(deadline, Timer::Job(id)));
        Some(job)
    }

    /// What the run of this job has said so far.
    pub(super) fn said_so_far(&self, id: JobId) -> Option<String> {
        match &self.jobs.get(&id)?.job {
            Job::Run { session } => self.run_text(session).map(Into::into),
            _ => None,
        }
    }

    /// Whether the store answers: its last outcome was no failure, and none is late.
    pub(super) fn store_works(&self, now: Instant) -> bool {
        const LATE: Duration = Duration::from_secs(5);
        let oldest = self.store_jobs.first().and_then(|id| self.jobs.get(id));
        !self.store_failed
            && oldest.is_none_or(|job| now.saturating_duration_since(job.since) < LATE)
    }

    /// Somebody asks whether the gateway is ready, which it is not while the store fails. Who is told so
    /// sends nothing that would show that it works again, so it is tried now.
    pub(super) fn probe_store(&mut self, cx: &Cx<'_>) {
        if self.store_failed && self.store_jobs.is_empty() {
            self.start_store(cx, StoreWork::Probe, Job::Probe);
        }
    }

    pub(super) fn job_result(&mut self, cx: &mut Cx<'_>, id: JobId, outcome: Outcome) {
        if let Outcome::Chunk(text) = &outcome {
            if let Some(Pending { job: Job::Run { session }, .. }) = self.jobs.get(&id) {
                let session = session.clone();
                self.run_chunk(cx, &session, text);
            }
            return;
        }
        if let Outcome::Progress(progress) = &outcome {
            if let Some(Pending { job: Job::Run { session }, .. }) = self.jobs.get(&id) {
                let session = session.clone();
                self.run_progress(cx, &session, progress);
            }
            return;
        }
        let Some(job) = self.drop_job(id) else { return };
        match (job, outcome) {
            (Job::Run { session }, Outcome::Done { content, usage, stop }) => {
                self.run_done(cx, &session, content, usage, stop);
            }
            (Job::Run { session }, Outcome::Failed(failure)) => {
                self.run_failed(cx, &session, failure);
            }
            (Job::Run { session }, _) => {
                self.run_failed(cx, &session, "the agent gave no answer".into());
            }
            (Job::FindMedia { who, op, to }, Outcome::Media(outcome)) => {
                self.media_found(cx, &who, op, to, outcome);
            }
            (Job::LogPage { to }, Outcome::Logs(page)) => self.log_page_read(cx, to, Some(&page)),
            (Job::Tail { conn }, Outcome::Logs(page)) => self.tail_read(cx, conn, Some(&page)),
            (Job::Media { conn, path, step }, Outcome::Media(outcome)) => {
                self.media_done(cx, conn, &path, step, outcome);
            }
            (Job::Site { conn }, Outcome::Site(outcome)) => self.site_done(cx, conn, outcome),
            (Job::Site { conn }, _) => self.site_done(cx, conn, SiteOutcome::Failed),
            (Job::Metrics { conn }, Outcome::Metrics(text)) => self.scraped(conn, Some(text)),
            (Job::Metrics { conn }, _) => self.scraped(conn, None),
            (Job::Host { to }, Outcome::Host(outcome)) => {
                self.host_answered(cx, to, Some(&outcome));
            }
            (Job::Host { to }, _) => self.host_answered(cx, to, None),
            (Job::Attach { name }, Outcome::Media(outcome)) => self.attached(cx, name, outcome),
            (job, Outcome::Store(outcome)) => {
                let outcome = self.judge_store(outcome);
                self.store_result(cx, job, outcome);
            }
            (job, _) => self.store_result(cx, job, Err(unavailable())),
        }
    }

    /// No outcome came in time.
    pub(super) fn job_expired(&mut self, cx: &mut Cx<'_>, id: JobId) {
        match self.drop_job(id) {
            None => {}
            Some(Job::Run { session }) => {
                self.stop_work(cx, id, "timeout");
                let error = "the agent did not finish in time";
                self.run_failed(cx, &session, RunFailure::new(Code::AgentTimeout, error));
            }
            Some(Job::FindMedia { who, op, to }) => {
                let late = MediaOutcome::Failed(StoreError::Unavailable);
                self.media_found(cx, &who, op, to, late);
            }
            Some(Job::LogPage { to }) => self.log_page_read(cx, to, None),
            Some(Job::Host { to }) => self.host_answered(cx, to, None),
            Some(Job::Tail { conn }) => self.tail_read(cx, conn, None),
            Some(Job::Media { conn, path, step }) => {
                let late = MediaOutcome::Failed(StoreError::Unavailable);
                self.media_done(cx, conn, &path, step, late);
            }
            Some(Job::Site { conn }) => self.site_done(cx, conn, SiteOutcome::Failed),
            Some(Job::Metrics { conn }) => self.scraped(conn, None),
            Some(Job::Attach { name }) => {
                self.attached(cx, name, MediaOutcome::Failed(StoreError::Unavailable));
            }
            Some(job) => {
                self.store_failed = true;
                self.note(Fact::StoreFailed { error: "timeout" });
                self.store_result(cx, job, Err(unavailable()));
            }
        }
    }

    fn judge_store(&mut self, outcome: StoreOutcome) -> Result<StoreOutcome, Refusal> {
        match outcome {
            StoreOutcome::Failed(error) => {
                // A store without room for one message still works.
                self.store_failed = error != StoreError::Full;
                self.note(Fact::StoreFailed { error: error.as_str() });
                Err(match error {
                    // Somebody has to make room, or other sessions have to go.
                    StoreError::Full => Refusal::exhausted(
                        "the store has no room for this",
                        Duration::from_secs(60),
                    ),
                    StoreError::Unavailable => unavailable(),
                })
            }
            outcome => {
                self.store_failed = false;
                Ok(outcome)
            }
        }
    }

    fn store_result(&mut self, cx: &mut Cx<'_>, job: Job, outcome: Result<StoreOutcome, Refusal>) {
        match job {
            Job::Check { who, op, to } => self.checked(cx, &who, op, to, outcome),
            Job::Append { session, turn } => match outcome {
                Ok(StoreOutcome::Known(known)) => self.turn_known(cx, &session, turn, *known),
                outcome => {
                    let outcome = outcome.and_then(|outcome| appended(&outcome));
                    self.turn_appended(cx, &session, turn, outcome);
                }
            },
            Job::Context { session } => self.run_context(cx, &session, outcome),
            Job::Save { session, content, usage, stop } => {
                let outcome = outcome.and_then(|outcome| appended(&outcome));
                self.run_saved(cx, &session, &content, usage, stop, outcome.ok());
            }
            Job::Inject { injection, to } => {
                let outcome = outcome.and_then(|outcome| appended(&outcome));
                self.injected(cx, &injection, to, outcome);
            }
            Job::Create { session, by, to } => self.created(cx, &session, &by, to, outcome),
            Job::Browse { to, browse } => self.browsed(cx, to, browse, outcome),
            Job::Health { viewer } => self.health_counted(cx, &viewer, outcome.ok()),
            Job::History { session, to } => match outcome {
                Ok(outcome @ StoreOutcome::History { .. }) => {
                    let Some(to) = self.room_to_answer(cx, to, bytes(&outcome)) else { return };
                    self.reply_ok(cx, to, |_, out| Self::write_history(out, &session, &outcome));
                }
                Ok(_) => self.reply_error(cx, to, &gone()),
                Err(refusal) => self.reply_error(cx, to, &refusal),
            },
            Job::Preview { to, limit } => match outcome {
                Ok(outcome) => self.preview_found(cx, to, limit, outcome),
                Err(refusal) => self.reply_error(cx, to, &refusal),
            },
            Job::PreviewMessages { to, info } => match outcome {
                Ok(outcome) => {
                    let Some(to) = self.room_to_answer(cx, to, bytes(&outcome)) else { return };
                    self.preview_read(cx, to, &info, &outcome);
                }
                Err(refusal) => self.reply_error(cx, to, &refusal),
            },
            Job::Change { session, change, by, to } => match outcome {
                Ok(outcome) => self.changed(cx, &session, &change, &by, to, &outcome),
                Err(refusal) => self.reply_error(cx, to, &refusal),
            },
            Job::Sessions { to, limit, offset } => match outcome {
                Ok(StoreOutcome::List { sessions, total }) => self.reply_ok(cx, to, |_, out| {
                    super::sessions::write_list(out, &sessions, total, limit, offset);
                }),
                Ok(_) => self.reply_error(cx, to, &unavailable()),
                Err(refusal) => self.reply_error(cx, to, &refusal),
            },
            Job::Status { to } => match outcome {
                Ok(StoreOutcome::List { total, .. }) => {
                    self.reply_ok(cx, to, |gateway, out| gateway.write_status(out, total));
                }
                Ok(_) => self.reply_error(cx, to, &unavailable()),
                Err(refusal) => self.reply_error(cx, to, &refusal),
            },
            Job::Load => self.loaded(cx, outcome.ok()),
            Job::TakeLink { token } => {
                self.link_taken(&token, matches!(outcome, Ok(StoreOutcome::Removed(_))));
            }
            Job::SaveLinks => self.links_saved(cx),
            Job::MakeKey { key, text, to } => self.key_made(cx, &key, &text, to, &outcome),
            Job::Drop { kind, name, known, to } => {
                self.dropped(cx, kind, &name, known, to, &outcome);
            }
            Job::Ask { name, asked } => self.request_kept(cx, &name, asked, &outcome),
            Job::LetIn { device, to } => self.device_kept(cx, &device, to, &outcome),
            Job::Device(job, write) => self.device_job_done(cx, job, &write, &outcome),
            Job::Node(job) => self.node_job_done(cx, job, &outcome),
            Job::Revoke { to } => self.revocation_kept(cx, to, &outcome),
            Job::Run { .. }
            | Job::Settle
            | Job::Probe
            | Job::Forget
            | Job::Media { .. }
            | Job::Site { .. }
            | Job::Metrics { .. }
            | Job::Attach { .. } => {}
            Job::FindMedia { to, .. } => self.reply_error(cx, to, &unavailable()),
            Job::LogPage { to } => self.log_page_read(cx, to, None),
            Job::Host { to } => self.host_answered(cx, to, None),
            Job::Tail { conn } => self.tail_read(cx, conn, None),
        }
    }
}

/// What is read takes in memory, about.
fn bytes(outcome: &StoreOutcome) -> usize {
    match outcome {
        StoreOutcome::History { messages, .. } => {
            messages.iter().map(|message| message.text.len()).sum()
        }
        _ => 0,
    }
}

fn appended(outcome: &StoreOutcome) -> Result<u64, Refusal> {
    match outcome {
        StoreOutcome::Appended { id } => Ok(*id),
        StoreOutcome::Taken => Err(not_yours()),
        StoreOutcome::Conflict => Err(other_text()),
        _ => Err(gone()),
    }
}

/// It was there when it was looked up.
pub(super) fn gone() -> Refusal {
    Refusal::new(Code::NotFound, "the session is gone")
}

pub(super) fn unavailable() -> Refusal {
    Refusal::new(Code::Unavailable, "the store is not available")
        .retry_after(Duration::from_secs(1))
}
