//! What must not run on a loop thread: the store, the agents, the files of uploads, those of a site and
//! the log in memory, each on a thread of its own.

mod echo_agent;
mod logs;
mod media;
pub(crate) mod site;
mod store;

pub(crate) use media::MediaDir;
pub(crate) use store::Store;

use crate::log_tail::LogTail;
use moorline_core::gateway::{BusMessage, HostOutcome, HostWork, JobId, Outcome, Work};
use moorline_mio::Handle;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

/// What reaches a loop from other threads.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A job of this loop finished or streamed a piece.
    Outcome(JobId, Outcome),
    /// Another loop says something.
    Bus(BusMessage),
}

/// Outcomes that wait for a loop. A store or an agent that is faster than the loop waits, too.
const WAITING: usize = 1024;

/// Where to put things for one loop.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    outcomes: SyncSender<(JobId, Outcome)>,
    bus: Sender<BusMessage>,
    handle: Handle,
}

/// What was put into a [`Mailbox`].
#[derive(Debug)]
pub(crate) struct Inbox {
    outcomes: Receiver<(JobId, Outcome)>,
    bus: Receiver<BusMessage>,
}

impl Mailbox {
    pub(crate) fn new(handle: Handle) -> (Self, Inbox) {
        let (outcomes, done) = mpsc::sync_channel(WAITING);
        let (bus, said) = mpsc::channel();
        (Self { outcomes, bus, handle }, Inbox { outcomes: done, bus: said })
    }

    /// Hands an outcome over; blocks while the loop has many to take. Not to be called on a loop.
    fn hand_over(&self, id: JobId, outcome: Outcome) {
        // It fails when the loop has ended: nobody waits for the answer.
        if self.outcomes.send((id, outcome)).is_ok() {
            self.handle.wake();
        }
    }

    /// Says something to the loop, from another one: it never blocks, and so is not bounded here but by
    /// what gateways say to each other.
    pub(crate) fn say(&self, message: BusMessage) {
        if self.bus.send(message).is_ok() {
            self.handle.wake();
        }
    }

    /// Makes the loop look into its inbox again.
    pub(crate) fn wake(&self) {
        self.handle.wake();
    }
}

impl Inbox {
    /// Blocks until there is an outcome or the time is over. Not to be called on a loop.
    pub(crate) fn wait_for_outcome(&self, within: Duration) -> Option<(JobId, Outcome)> {
        self.outcomes.recv_timeout(within).ok()
    }

    /// The next message; other loops' come first, they are the ones that cannot wait.
    pub(crate) fn take(&self) -> Option<Incoming> {
        let said = self.bus.try_recv().ok().map(Incoming::Bus);
        said.or_else(|| self.outcomes.try_recv().ok().map(|(id, done)| Incoming::Outcome(id, done)))
    }
}

/// A job of one loop.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    node: usize,
    id: JobId,
}

/// Something that a loop wants of the process around it.
#[derive(Debug)]
pub(crate) struct HostTask {
    job: Job,
    pub(crate) work: HostWork,
}

impl HostTask {
    /// Hands over what came of it. Not to be called on a loop.
    pub(crate) fn answer(&self, mailboxes: &[Mailbox], outcome: HostOutcome) {
        mailboxes[self.job.node].hand_over(self.job.id, Outcome::Host(outcome));
    }
}

/// Executes the work of all loops.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    store: Sender<store::Task>,
    agent: Sender<echo_agent::Task>,
    media: Sender<media::Task>,
    site: Sender<site::Task>,
    logs: Sender<logs::Task>,
    host: Sender<HostTask>,
}

impl Jobs {
    /// Starts the threads. They end when the last clone of this is dropped; the handles are those of the
    /// ones that must have ended before the state folder is anybody else's.
    pub(crate) fn start(
        mailboxes: &[Mailbox],
        store: Store,
        media: MediaDir,
        log: LogTail,
        host: Sender<HostTask>,
    ) -> io::Result<(Self, [JoinHandle<()>; 2])> {
        let (store, store_thread) = store::start(store, mailboxes.to_vec())?;
        let (media, media_thread) = media::start(media, mailboxes.to_vec())?;
        let agent = echo_agent::start(mailboxes.to_vec())?;
        let site = site::start(mailboxes.to_vec())?;
        let logs = logs::start(log, mailboxes.to_vec())?;
        Ok((Self { store, agent, media, site, logs, host }, [store_thread, media_thread]))
    }

    /// Takes on a piece of work of the loop `node`.
    pub(crate) fn begin(&self, node: usize, id: JobId, work: Work) {
        let job = Job { node, id };
        // Sending fails only when a thread has panicked; the gateway's own deadlines tell the users.
        match work {
            Work::Store(work) => {
                let _ = self.store.send(store::Task { job, work });
            }
            Work::Media(work) => {
                let _ = self.media.send(media::Task { job, work });
            }
            Work::Site(work) => {
                let _ = self.site.send(site::Task { job, work });
            }
            Work::Logs(query) => {
                let _ = self.logs.send(logs::Task { job, query });
            }
            Work::Host(work) => {
                let _ = self.host.send(HostTask { job, work });
            }
            Work::Run(run) => {
                let _ = self.agent.send(echo_agent::Task::Start(job, run));
            }
        }
    }

    /// Stops a run. Work for the store is short and goes on.
    pub(crate) fn cancel(&self, node: usize, id: JobId) {
        let _ = self.agent.send(echo_agent::Task::Cancel(Job { node, id }));
    }
}
